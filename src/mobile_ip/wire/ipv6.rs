//! IPv6 prefixes on an IPv4 registration: extension 152 with its sub-types (RFC 5454 §2).
//!
//! ```text
//! request  │ 152 │ 18 │ 1 │ prefix length │ prefix (16)
//! reply    │ 152 │ 20 │ 2 │ code │ prefix length │ reserved │ prefix (16)
//! mode     │ 152 │  2 │ 3 │ reserved
//! ```

use super::reader::Reader;
use std::net::Ipv6Addr;

/// A prefix as it came: its length may be beyond 128, and in a reply 255 stands for a link-local
/// address (RFC 5454 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6Prefix {
    pub prefix: Ipv6Addr,
    pub len: u8,
}

/// What becomes of one prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6ReplyCode(pub u8);

impl Ipv6ReplyCode {
    pub const TO_HOME_ADDRESS: Self = Self(0);
    pub const TO_CARE_OF_ADDRESS: Self = Self(1);
    pub const UNSPECIFIED: Self = Self(8);
    pub const PROHIBITED: Self = Self(9);

    pub fn is_accepted(self) -> bool {
        self.0 < 8
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6PrefixReply {
    pub code: Ipv6ReplyCode,
    pub prefix: Ipv6Prefix,
}

pub(super) enum Body {
    Request(Ipv6Prefix),
    Reply(Ipv6PrefixReply),
    TunnelingMode,
}

/// `None` where it has a form that is not known.
pub(super) fn decode(data: &[u8]) -> Option<Body> {
    let mut r = Reader::new(data, "IPv6 extension");
    let body = match (r.u8().ok()?, data.len()) {
        (1, 18) => {
            let len = r.u8().ok()?;
            let prefix = r.v6().ok()?;
            Body::Request(Ipv6Prefix { prefix, len })
        }
        (2, 20) => {
            let code = Ipv6ReplyCode(r.u8().ok()?);
            let len = r.u8().ok()?;
            r.u8().ok()?;
            let prefix = r.v6().ok()?;
            Body::Reply(Ipv6PrefixReply {
                code,
                prefix: Ipv6Prefix { prefix, len },
            })
        }
        (3, 2) => Body::TunnelingMode,
        _ => return None,
    };
    Some(body)
}

impl Ipv6Prefix {
    pub(super) fn encode_request(self, out: &mut Vec<u8>) {
        out.extend([1, self.len]);
        out.extend(self.prefix.octets());
    }
}

impl Ipv6PrefixReply {
    pub(super) fn encode(self, out: &mut Vec<u8>) {
        out.extend([2, self.code.0, self.prefix.len, 0]);
        out.extend(self.prefix.prefix.octets());
    }
}
