//! Who somebody says they are in IKE.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An IKE identity: address, host name or mail form (RFC 7296 §3.5).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identity {
    Address(IpAddr),
    /// `ID_FQDN`: compared without regard to case, stored in lower case.
    Name(String),
    /// `ID_RFC822_ADDR`.
    Mail(String),
    /// A type that this agent does not interpret; kept so that it can be logged and compared.
    Other {
        kind: u8,
        data: Vec<u8>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an identity: use a host name, an IP address, or the form user@host")]
pub struct InvalidIdentity(pub String);

impl FromStr for Identity {
    type Err = InvalidIdentity;

    fn from_str(s: &str) -> Result<Self, InvalidIdentity> {
        let printable = !s.is_empty() && s.len() <= 255 && s.bytes().all(|b| b.is_ascii_graphic());
        if !printable {
            return Err(InvalidIdentity(s.to_owned()));
        }
        if let Ok(addr) = s.parse() {
            return Ok(Self::Address(addr));
        }
        match s.split_once('@') {
            None => Ok(Self::Name(s.to_ascii_lowercase())),
            Some((user, host)) if !user.is_empty() && !host.is_empty() => {
                Ok(Self::Mail(s.to_owned()))
            }
            Some(_) => Err(InvalidIdentity(s.to_owned())),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(addr) => addr.fmt(f),
            Self::Name(s) | Self::Mail(s) => f.write_str(s),
            Self::Other { kind, data } => {
                write!(f, "id-type-{kind}:")?;
                data.iter().take(32).try_for_each(|b| write!(f, "{b:02x}"))
            }
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_addresses_and_mail_forms_parse_and_print_back() {
        for text in [
            "gw104.example",
            "192.0.2.1",
            "2001:db8::1",
            "ann@example.org",
        ] {
            assert_eq!(text.parse::<Identity>().unwrap().to_string(), text);
        }
        assert_eq!(
            "GW104.Example".parse::<Identity>().unwrap().to_string(),
            "gw104.example"
        );
        for text in ["", "a b", "@host", "user@", "na\u{ef}ve"] {
            assert!(text.parse::<Identity>().is_err(), "{text}");
        }
    }
}
