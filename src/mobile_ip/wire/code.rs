//! What became of a registration.

use std::fmt;

/// The Code of a registration reply. Values nobody has named here are kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(pub u8);

/// Which end of the relay denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denier {
    ForeignAgent,
    HomeAgent,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $words:literal;)*) => {
        impl Code {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// What the standard says to it, where it is known.
            pub fn words(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($words),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    // RFC 5944 §3.4
    ACCEPTED = 0, "registration accepted";
    ACCEPTED_WITHOUT_SIMULTANEOUS = 1, "registration accepted, but simultaneous mobility bindings unsupported";
    FA_UNSPECIFIED = 64, "reason unspecified";
    FA_PROHIBITED = 65, "administratively prohibited";
    FA_RESOURCES = 66, "insufficient resources";
    FA_MOBILE_NODE_AUTHENTICATION = 67, "mobile node failed authentication";
    FA_HOME_AGENT_AUTHENTICATION = 68, "home agent failed authentication";
    FA_LIFETIME = 69, "requested Lifetime too long";
    FA_POORLY_FORMED_REQUEST = 70, "poorly formed Request";
    FA_POORLY_FORMED_REPLY = 71, "poorly formed Reply";
    FA_ENCAPSULATION = 72, "requested encapsulation unavailable";
    FA_RESERVED = 73, "reserved and unavailable";
    // RFC 3024 §3.4
    FA_REVERSE_TUNNEL = 74, "requested reverse tunnel unavailable";
    FA_REVERSE_TUNNEL_MANDATORY = 75, "reverse tunnel is mandatory and 'T' bit not set";
    FA_TOO_DISTANT = 76, "mobile node too distant";
    FA_CARE_OF_ADDRESS = 77, "invalid care-of address";
    FA_TIMEOUT = 78, "registration timeout";
    FA_DELIVERY_STYLE = 79, "delivery style not supported";
    FA_HOME_NETWORK_UNREACHABLE = 80, "home network unreachable";
    FA_HOME_AGENT_HOST_UNREACHABLE = 81, "home agent host unreachable";
    FA_HOME_AGENT_PORT_UNREACHABLE = 82, "home agent port unreachable";
    FA_HOME_AGENT_UNREACHABLE = 88, "home agent unreachable";
    // RFC 2794 §5
    FA_NONZERO_HOME_ADDRESS_REQUIRED = 96, "home address must not be zero";
    FA_MISSING_NAI = 97, "NAI is missing";
    FA_MISSING_HOME_AGENT = 98, "home agent address is missing";
    FA_MISSING_HOME_ADDRESS = 99, "home address is missing";
    // RFC 4721 §10
    FA_UNKNOWN_CHALLENGE = 104, "unknown challenge";
    FA_MISSING_CHALLENGE = 105, "missing challenge";
    FA_STALE_CHALLENGE = 106, "stale challenge";
    FA_AAA_AUTHENTICATION = 108, "bad AAA authentication";
    FA_WRONG_CHALLENGE_OF_HOME_AGENT = 109, "home agent returned a wrong challenge";
    // RFC 5944 §3.4
    HA_UNSPECIFIED = 128, "reason unspecified";
    HA_PROHIBITED = 129, "administratively prohibited";
    HA_RESOURCES = 130, "insufficient resources";
    HA_MOBILE_NODE_AUTHENTICATION = 131, "mobile node failed authentication";
    HA_FOREIGN_AGENT_AUTHENTICATION = 132, "foreign agent failed authentication";
    HA_IDENTIFICATION = 133, "registration Identification mismatch";
    HA_POORLY_FORMED = 134, "poorly formed Request";
    HA_TOO_MANY_BINDINGS = 135, "too many simultaneous mobility bindings";
    /// The reply says which address of the home agent is right.
    HA_UNKNOWN_HOME_AGENT = 136, "unknown home agent address";
    // RFC 3024 §3.4
    HA_REVERSE_TUNNEL = 137, "requested reverse tunnel unavailable";
    HA_REVERSE_TUNNEL_MANDATORY = 138, "reverse tunnel is mandatory and 'T' bit not set";
    HA_ENCAPSULATION = 139, "requested encapsulation unavailable";
    /// RFC 3519 §3.5.
    HA_UDP_ENCAPSULATION = 142, "requested UDP tunnel encapsulation unavailable";
    /// RFC 4721 §10.
    HA_AAA_AUTHENTICATION = 144, "bad AAA authentication";
    /// RFC 5177 §11: none of the networks can be served.
    HA_MOBILE_NETWORK = 147, "mobile network prefix operation error";
    /// RFC 5177 §11: this mobile node is no mobile router.
    HA_MOBILE_ROUTER = 148, "mobile router operation is not permitted";
    /// Of the foreign agent, whatever its number says (RFC 5944 §3.4).
    FA_INVALID_HOME_AGENT = 194, "invalid home agent address";
}

impl Code {
    pub fn is_accepted(self) -> bool {
        self.0 < 64
    }

    /// `None` where nobody denied.
    pub fn denier(self) -> Option<Denier> {
        match self.0 {
            0..64 => None,
            64..128 | 194 => Some(Denier::ForeignAgent),
            _ => Some(Denier::HomeAgent),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.words() {
            Some(words) => write!(f, "{} ({words})", self.0),
            None => self.0.fmt(f),
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Code({self})")
    }
}
