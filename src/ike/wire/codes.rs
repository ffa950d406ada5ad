//! Numbers of the IKE registries, as open newtypes: an unknown number is as good a value as a
//! known one.

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident($repr:ty) {
        $($(#[$about:meta])* $konst:ident = $value:literal),+ $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub $repr);

        impl $name {
            $($(#[$about])* pub const $konst: Self = Self($value);)+
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match *self {
                    $(Self::$konst => f.write_str(stringify!($konst)),)+
                    Self(n) => write!(f, "{}({n})", stringify!($name)),
                }
            }
        }
    };
}

codes! {
    /// RFC 7296 §3.1.
    Exchange(u8) {
        IKE_SA_INIT = 34,
        IKE_AUTH = 35,
        CREATE_CHILD_SA = 36,
        INFORMATIONAL = 37,
    }
}

codes! {
    /// RFC 7296 §3.2.
    PayloadKind(u8) {
        NONE = 0,
        SA = 33,
        KE = 34,
        ID_I = 35,
        ID_R = 36,
        CERT = 37,
        CERTREQ = 38,
        AUTH = 39,
        NONCE = 40,
        NOTIFY = 41,
        DELETE = 42,
        VENDOR = 43,
        TS_I = 44,
        TS_R = 45,
        SK = 46,
        CP = 47,
        EAP = 48,
    }
}

codes! {
    /// Security protocol identifiers (RFC 7296 §3.3.1).
    ProtocolId(u8) {
        NONE = 0,
        IKE = 1,
        AH = 2,
        ESP = 3,
    }
}

codes! {
    /// RFC 7296 §3.3.2.
    TransformKind(u8) {
        ENCR = 1,
        PRF = 2,
        INTEG = 3,
        KE = 4,
        ESN = 5,
    }
}

codes! {
    /// `CFG_REQUEST` and so on (RFC 7296 §3.15).
    ConfigurationKind(u8) {
        REQUEST = 1,
        REPLY = 2,
        SET = 3,
        ACK = 4,
    }
}

codes! {
    /// RFC 7296 §3.15.1; 15 bits.
    ConfigurationAttributeKind(u16) {
        INTERNAL_IP4_ADDRESS = 1,
        INTERNAL_IP4_NETMASK = 2,
        INTERNAL_IP4_DNS = 3,
        INTERNAL_IP6_ADDRESS = 8,
        INTERNAL_IP6_DNS = 10,
        INTERNAL_IP4_SUBNET = 13,
        INTERNAL_IP6_SUBNET = 15,
    }
}

codes! {
    /// RFC 7296 §3.10.1. Below 16384 an error, from there on a status.
    NotifyKind(u16) {
        UNSUPPORTED_CRITICAL_PAYLOAD = 1,
        INVALID_IKE_SPI = 4,
        INVALID_MAJOR_VERSION = 5,
        INVALID_SYNTAX = 7,
        INVALID_MESSAGE_ID = 9,
        INVALID_SPI = 11,
        NO_PROPOSAL_CHOSEN = 14,
        INVALID_KE_PAYLOAD = 17,
        AUTHENTICATION_FAILED = 24,
        SINGLE_PAIR_REQUIRED = 34,
        NO_ADDITIONAL_SAS = 35,
        INTERNAL_ADDRESS_FAILURE = 36,
        FAILED_CP_REQUIRED = 37,
        TS_UNACCEPTABLE = 38,
        INVALID_SELECTORS = 39,
        TEMPORARY_FAILURE = 43,
        CHILD_SA_NOT_FOUND = 44,
        INITIAL_CONTACT = 16384,
        IPCOMP_SUPPORTED = 16387,
        NAT_DETECTION_SOURCE_IP = 16388,
        NAT_DETECTION_DESTINATION_IP = 16389,
        COOKIE = 16390,
        USE_TRANSPORT_MODE = 16391,
        REKEY_SA = 16393,
        /// RFC 6023.
        CHILDLESS_IKEV2_SUPPORTED = 16418,
        /// Of private use, between peers that show our vendor ID: a question between agents, and
        /// its answer.
        QUESTION = 40970,
    }
}

impl NotifyKind {
    pub fn is_error(self) -> bool {
        self.0 < 16384
    }
}
