//! The Configuration payload (RFC 7296 §3.15): what a remote-access client asks its gateway for,
//! and what it is given.

use super::WireError;
use super::codes::{ConfigurationAttributeKind as Kind, ConfigurationKind};
use super::reader::{Reader, length};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// More than any peer of good will sends.
pub const MAX_ATTRIBUTES: usize = 128;

/// The highest bit of an attribute's type is reserved, and ignored (RFC 7296 §3.15.1).
const TYPE_BITS: u16 = 0x7fff;

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------+-----------------------------------------------+
/// |   CFG type    |                   reserved                    |
/// +-+-------------+---------------+-------------------------------+
/// |R|       attribute type        |            length             |  any number
/// +-+-----------------------------+-------------------------------+
/// |                             value                             |
/// +---------------------------------------------------------------+
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    pub kind: ConfigurationKind,
    pub attributes: Vec<ConfigurationAttribute>,
}

/// `None` is an attribute of no length: in a request, "some".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigurationAttribute {
    Ip4Address(Option<Ipv4Addr>),
    Ip4Netmask(Option<Ipv4Addr>),
    Ip4Dns(Option<Ipv4Addr>),
    /// Address and mask.
    Ip4Subnet(Option<(Ipv4Addr, Ipv4Addr)>),
    /// Address and prefix length.
    Ip6Address(Option<(Ipv6Addr, u8)>),
    Ip6Dns(Option<Ipv6Addr>),
    Ip6Subnet(Option<(Ipv6Addr, u8)>),
    /// Of another kind than those above.
    Other {
        kind: Kind,
        value: Vec<u8>,
    },
}

impl Configuration {
    /// Addresses that it names, in its order.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.attributes.iter().filter_map(|a| match a {
            ConfigurationAttribute::Ip4Address(Some(addr)) => Some(IpAddr::V4(*addr)),
            ConfigurationAttribute::Ip6Address(Some((addr, _))) => Some(IpAddr::V6(*addr)),
            _ => None,
        })
    }

    pub(super) fn decode(octets: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(octets, "configuration");
        let kind = ConfigurationKind(r.u8()?);
        r.take(3)?;
        let mut attributes = Vec::new();
        while !r.is_empty() {
            if attributes.len() >= MAX_ATTRIBUTES {
                return Err(WireError::TooMany(
                    MAX_ATTRIBUTES,
                    "configuration attributes",
                ));
            }
            let kind = Kind(r.u16()? & TYPE_BITS);
            let length = r.u16()?;
            let value = r.sub(length, 0, "configuration attribute")?.rest();
            attributes.push(ConfigurationAttribute::decode(kind, value)?);
        }
        Ok(Self { kind, attributes })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.kind.0, 0, 0, 0]);
        for attribute in &self.attributes {
            let value = attribute.value();
            out.extend_from_slice(&(attribute.kind().0 & TYPE_BITS).to_be_bytes());
            out.extend_from_slice(&length(value.len()).to_be_bytes());
            out.extend_from_slice(&value);
        }
    }
}

impl ConfigurationAttribute {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Ip4Address(_) => Kind::INTERNAL_IP4_ADDRESS,
            Self::Ip4Netmask(_) => Kind::INTERNAL_IP4_NETMASK,
            Self::Ip4Dns(_) => Kind::INTERNAL_IP4_DNS,
            Self::Ip4Subnet(_) => Kind::INTERNAL_IP4_SUBNET,
            Self::Ip6Address(_) => Kind::INTERNAL_IP6_ADDRESS,
            Self::Ip6Dns(_) => Kind::INTERNAL_IP6_DNS,
            Self::Ip6Subnet(_) => Kind::INTERNAL_IP6_SUBNET,
            Self::Other { kind, .. } => *kind,
        }
    }

    fn decode(kind: Kind, value: &[u8]) -> Result<Self, WireError> {
        Ok(match kind {
            Kind::INTERNAL_IP4_ADDRESS => Self::Ip4Address(fixed(value)?.map(v4)),
            Kind::INTERNAL_IP4_NETMASK => Self::Ip4Netmask(fixed(value)?.map(v4)),
            Kind::INTERNAL_IP4_DNS => Self::Ip4Dns(fixed(value)?.map(v4)),
            Kind::INTERNAL_IP4_SUBNET => {
                let both = fixed::<8>(value)?;
                Self::Ip4Subnet(
                    both.map(|[a, b, c, d, e, f, g, h]| (v4([a, b, c, d]), v4([e, f, g, h]))),
                )
            }
            Kind::INTERNAL_IP6_ADDRESS => Self::Ip6Address(prefixed(value)?),
            Kind::INTERNAL_IP6_DNS => Self::Ip6Dns(fixed(value)?.map(v6)),
            Kind::INTERNAL_IP6_SUBNET => Self::Ip6Subnet(prefixed(value)?),
            kind => Self::Other {
                kind,
                value: value.to_vec(),
            },
        })
    }

    fn value(&self) -> Vec<u8> {
        match self {
            Self::Ip4Address(addr) | Self::Ip4Netmask(addr) | Self::Ip4Dns(addr) => {
                addr.map(|a| a.octets().to_vec()).unwrap_or_default()
            }
            Self::Ip4Subnet(subnet) => subnet
                .map(|(net, mask)| [net.octets(), mask.octets()].concat())
                .unwrap_or_default(),
            Self::Ip6Address(net) | Self::Ip6Subnet(net) => net
                .map(|(addr, length)| [&addr.octets()[..], &[length]].concat())
                .unwrap_or_default(),
            Self::Ip6Dns(addr) => addr.map(|a| a.octets().to_vec()).unwrap_or_default(),
            Self::Other { value, .. } => value.clone(),
        }
    }
}

/// A value of one length, or of none.
fn fixed<const N: usize>(value: &[u8]) -> Result<Option<[u8; N]>, WireError> {
    if value.is_empty() {
        return Ok(None);
    }
    let octets = value.try_into();
    octets
        .map(Some)
        .map_err(|_| WireError::Length("configuration attribute"))
}

fn prefixed(value: &[u8]) -> Result<Option<(Ipv6Addr, u8)>, WireError> {
    let Some(octets) = fixed::<17>(value)? else {
        return Ok(None);
    };
    let (addr, length) = (&octets[..16], octets[16]);
    if length > 128 {
        return Err(WireError::Value("prefix length"));
    }
    let addr = fixed::<16>(addr)?.map(v6);
    Ok(addr.map(|addr| (addr, length)))
}

fn v4(octets: [u8; 4]) -> Ipv4Addr {
    octets.into()
}

fn v6(octets: [u8; 16]) -> Ipv6Addr {
    octets.into()
}

#[cfg(test)]
pub(in crate::ike) mod tests {
    use super::*;
    use crate::ike::tests::hex;
    use crate::ike::wire::{Payload, PayloadKind, Payloads};
    use ConfigurationAttribute as Is;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    fn attribute() -> impl Strategy<Value = ConfigurationAttribute> {
        let prefix = || option::of((any::<Ipv6Addr>(), 0..=128u8));
        // Types that have a variant of their own are not others.
        let other = (26..=0x7fffu16, vec(any::<u8>(), 0..20));
        prop_oneof![
            any::<Option<Ipv4Addr>>().prop_map(Is::Ip4Address),
            any::<Option<Ipv4Addr>>().prop_map(Is::Ip4Netmask),
            any::<Option<Ipv4Addr>>().prop_map(Is::Ip4Dns),
            any::<Option<(Ipv4Addr, Ipv4Addr)>>().prop_map(Is::Ip4Subnet),
            prefix().prop_map(Is::Ip6Address),
            any::<Option<Ipv6Addr>>().prop_map(Is::Ip6Dns),
            prefix().prop_map(Is::Ip6Subnet),
            other.prop_map(|(kind, value)| Is::Other {
                kind: Kind(kind),
                value
            }),
        ]
    }

    pub(in crate::ike) fn configuration() -> impl Strategy<Value = Configuration> {
        (any::<u8>(), vec(attribute(), 0..6)).prop_map(|(kind, attributes)| Configuration {
            kind: ConfigurationKind(kind),
            attributes,
        })
    }

    /// Written by hand from RFC 7296 §3.15 and §3.15.1.
    #[test]
    fn a_request_and_its_reply_have_these_octets() {
        let request = Configuration {
            kind: ConfigurationKind::REQUEST,
            attributes: vec![
                Is::Ip4Address(None),
                Is::Ip4Dns(None),
                Is::Other {
                    kind: Kind(7),
                    value: Vec::new(),
                },
                Is::Ip6Address(Some(("2001:db8::5".parse().unwrap(), 64))),
            ],
        };
        let reply = Configuration {
            kind: ConfigurationKind::REPLY,
            attributes: vec![
                Is::Ip4Address(Some("10.30.0.5".parse().unwrap())),
                Is::Ip4Netmask(Some("255.255.255.255".parse().unwrap())),
                Is::Ip4Dns(Some("10.10.0.53".parse().unwrap())),
                Is::Ip4Subnet(Some((
                    "10.10.0.0".parse().unwrap(),
                    "255.255.0.0".parse().unwrap(),
                ))),
            ],
        };
        for (configuration, octets) in [
            (
                request,
                "00000029 01000000 00010000 00030000 00070000 \
                 00080011 20010db8 00000000 00000000 00000005 40",
            ),
            (
                reply,
                "0000002c 02000000 00010004 0a1e0005 00020004 ffffffff \
                 00030004 0a0a0035 000d0008 0a0a0000 ffff0000",
            ),
        ] {
            let octets = hex(octets);
            let payloads = Payloads(vec![Payload::Configuration(configuration)]);
            assert_eq!(payloads.encode(), (PayloadKind::CP, octets.clone()));
            assert_eq!(Payloads::decode(PayloadKind::CP, &octets), Ok(payloads));
        }
    }

    #[test]
    fn the_reserved_bit_is_ignored_and_odd_lengths_are_refused() {
        let decode = |octets: &str| Configuration::decode(&hex(octets));
        let dns = Is::Ip4Dns(None);
        assert_eq!(decode("01000000 80030000").unwrap().attributes, [dns]);
        for odd in [
            "010000",
            "01000000 0001",
            "01000000 00010003 0a1e00",
            "01000000 00010004 0a1e00",
            "01000000 00080010 20010db8 00000000 00000000 00000005",
            "01000000 00080011 20010db8 00000000 00000000 00000005 81",
        ] {
            assert!(decode(odd).is_err(), "{odd}");
        }
        let many = ["01000000", &"00070000".repeat(MAX_ATTRIBUTES + 1)].concat();
        assert!(decode(&many).is_err());
    }
}
