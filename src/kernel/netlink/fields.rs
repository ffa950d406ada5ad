//! The values that policies, SAs and events share, between the kernel's form and ours.

use crate::kernel::desired::{IpsecProtocol, Lifetime, Limits, Mark, Mode};
use crate::net::{Family, IpNet, Port, Protocol, Selector};
use netlink_packet_xfrm as xfrm;
use std::net::IpAddr;
use std::time::Duration;

const AF_INET: u16 = libc::AF_INET as u16;
const AF_INET6: u16 = libc::AF_INET6 as u16;
/// `XFRM_INF`: no limit of bytes or packets.
const UNLIMITED: u64 = u64::MAX;

pub fn family_code(family: Family) -> u16 {
    match family {
        Family::V4 => AF_INET,
        Family::V6 => AF_INET6,
    }
}

pub fn family(code: u16) -> Option<Family> {
    match code {
        AF_INET => Some(Family::V4),
        AF_INET6 => Some(Family::V6),
        _ => None,
    }
}

/// `None` where so many octets are no address.
pub fn ip(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => Some(<[u8; 4]>::try_from(octets).ok()?.into()),
        16 => Some(<[u8; 16]>::try_from(octets).ok()?.into()),
        _ => None,
    }
}

/// Puts the octets of an address where `put` wants them.
pub fn with_octets<T>(addr: IpAddr, put: impl FnOnce(&[u8]) -> T) -> T {
    match addr {
        IpAddr::V4(addr) => put(&addr.octets()),
        IpAddr::V6(addr) => put(&addr.octets()),
    }
}

pub fn address(family: Family, address: &xfrm::Address) -> IpAddr {
    match family {
        Family::V4 => address.to_ipv4().into(),
        Family::V6 => address.to_ipv6().into(),
    }
}

pub fn protocol_code(protocol: IpsecProtocol) -> u8 {
    match protocol {
        IpsecProtocol::Esp => libc::IPPROTO_ESP as u8,
        IpsecProtocol::Ah => libc::IPPROTO_AH as u8,
        IpsecProtocol::Comp => libc::IPPROTO_COMP as u8,
    }
}

pub fn protocol(code: u8) -> Option<IpsecProtocol> {
    match i32::from(code) {
        libc::IPPROTO_ESP => Some(IpsecProtocol::Esp),
        libc::IPPROTO_AH => Some(IpsecProtocol::Ah),
        libc::IPPROTO_COMP => Some(IpsecProtocol::Comp),
        _ => None,
    }
}

pub fn mode_code(mode: Mode) -> u8 {
    match mode {
        Mode::Transport => xfrm::XFRM_MODE_TRANSPORT,
        Mode::Tunnel => xfrm::XFRM_MODE_TUNNEL,
    }
}

pub fn mode(code: u8) -> Option<Mode> {
    match code {
        xfrm::XFRM_MODE_TRANSPORT => Some(Mode::Transport),
        xfrm::XFRM_MODE_TUNNEL => Some(Mode::Tunnel),
        _ => None,
    }
}

/// Host bits are cleared. The structure's own `source_prefix` is not used: it turns `0.0.0.0/8`
/// into `0.0.0.0/0`.
pub fn selector_code(selector: &Selector) -> xfrm::Selector {
    let (src, dst) = (selector.src.trunc(), selector.dst.trunc());
    let (sport, sport_mask) = port_code(selector.src_port);
    let (dport, dport_mask) = port_code(selector.dst_port);
    xfrm::Selector {
        daddr: xfrm::Address::from_ip(&dst.addr()),
        saddr: xfrm::Address::from_ip(&src.addr()),
        dport,
        dport_mask,
        sport,
        sport_mask,
        family: family_code(selector.family()),
        prefixlen_d: dst.prefix_len(),
        prefixlen_s: src.prefix_len(),
        proto: selector.protocol.number(),
        ..xfrm::Selector::default()
    }
}

/// `None` for what we never write and therefore never own: an unknown family, a port range, or one
/// interface or user only.
pub fn selector(code: &xfrm::Selector) -> Option<Selector> {
    let family = family(code.family)?;
    if code.ifindex != 0 || code.user != 0 {
        return None;
    }
    let net = |addr, len| Some(IpNet::new(address(family, addr), len).ok()?.trunc());
    Some(Selector {
        src: net(&code.saddr, code.prefixlen_s)?,
        dst: net(&code.daddr, code.prefixlen_d)?,
        protocol: Protocol::from_number(code.proto),
        src_port: port(code.sport, code.sport_mask)?,
        dst_port: port(code.dport, code.dport_mask)?,
    })
}

fn port_code(port: Port) -> (u16, u16) {
    match port {
        Port::Any => (0, 0),
        Port::Is(port) => (port, u16::MAX),
    }
}

fn port(port: u16, mask: u16) -> Option<Port> {
    match mask {
        0 => Some(Port::Any),
        u16::MAX => Some(Port::Is(port)),
        _ => None,
    }
}

pub fn mark_code(mark: Mark) -> xfrm::nlas::mark::Mark {
    xfrm::nlas::mark::Mark {
        value: mark.value,
        mask: mark.mask,
    }
}

/// From the attribute, which is absent where the mark matches everything.
pub fn mark(attribute: Option<&[u8]>) -> Mark {
    attribute
        .and_then(|value| xfrm::nlas::mark::Mark::parse(value).ok())
        .map(|mark| Mark {
            value: mark.value,
            mask: mark.mask,
        })
        .unwrap_or_default()
}

pub fn lifetime_code(lifetime: &Lifetime) -> xfrm::LifetimeConfig {
    let count = |limit: Option<u64>| limit.unwrap_or(UNLIMITED);
    // Zero seconds is no limit, so less than one second is rounded up.
    let seconds = |time: Option<Duration>| {
        time.map_or(0, |t| {
            (t.as_secs() + u64::from(t.subsec_nanos() > 0)).max(1)
        })
    };
    let (soft, hard) = (&lifetime.soft, &lifetime.hard);
    xfrm::LifetimeConfig {
        soft_byte_limit: count(soft.bytes),
        hard_byte_limit: count(hard.bytes),
        soft_packet_limit: count(soft.packets),
        hard_packet_limit: count(hard.packets),
        soft_add_expires_seconds: seconds(soft.time),
        hard_add_expires_seconds: seconds(hard.time),
        soft_use_expires_seconds: seconds(soft.use_time),
        hard_use_expires_seconds: seconds(hard.use_time),
    }
}

pub fn lifetime(code: &xfrm::LifetimeConfig) -> Lifetime {
    let count = |limit: u64| (limit != UNLIMITED).then_some(limit);
    let seconds = |time: u64| (time != 0).then(|| Duration::from_secs(time));
    Lifetime {
        soft: Limits {
            bytes: count(code.soft_byte_limit),
            packets: count(code.soft_packet_limit),
            time: seconds(code.soft_add_expires_seconds),
            use_time: seconds(code.soft_use_expires_seconds),
        },
        hard: Limits {
            bytes: count(code.hard_byte_limit),
            packets: count(code.hard_packet_limit),
            time: seconds(code.hard_add_expires_seconds),
            use_time: seconds(code.hard_use_expires_seconds),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_prefix_of_the_unspecified_address_keeps_its_length_and_host_bits_are_cleared() {
        let wanted = Selector {
            src: "0.0.0.0/8".parse().unwrap(),
            dst: "10.1.2.3/16".parse().unwrap(),
            ..Selector::between("0.0.0.0/0".parse().unwrap(), "0.0.0.0/0".parse().unwrap())
        };
        let code = selector_code(&wanted);
        assert_eq!((code.prefixlen_s, code.prefixlen_d), (8, 16));
        assert_eq!(code.daddr.to_ipv4().to_string(), "10.1.0.0");
    }

    #[test]
    fn selectors_that_we_cannot_have_written_are_not_ours() {
        let any = selector_code(&Selector::between(Family::V4.any(), Family::V4.any()));
        assert!(selector(&any).is_some());
        for code in [
            xfrm::Selector {
                sport_mask: 0xff00,
                ..any
            },
            xfrm::Selector { ifindex: 3, ..any },
            xfrm::Selector { user: 3, ..any },
            xfrm::Selector { family: 0, ..any },
            xfrm::Selector {
                prefixlen_s: 33,
                ..any
            },
        ] {
            assert_eq!(selector(&code), None, "{code:?}");
        }
    }

    proptest! {
        #[test]
        fn selectors_survive_the_way_to_the_kernel_and_back(
            src: u128, dst: u128, lens in (0u8..=128, 0u8..=128), v6: bool, proto: u8, ports: (Option<u16>, Option<u16>)
        ) {
            let net = |bits: u128, len: u8| {
                if v6 {
                    IpNet::new(IpAddr::V6(bits.into()), len).unwrap()
                } else {
                    IpNet::new(IpAddr::V4((bits as u32).into()), len % 33).unwrap()
                }
            };
            let port = |p: Option<u16>| p.map_or(Port::Any, Port::Is);
            let wanted = Selector::between(net(src, lens.0), net(dst, lens.1))
                .protocol(Protocol::from_number(proto))
                .ports(port(ports.0), port(ports.1));
            prop_assert_eq!(selector(&selector_code(&wanted)), Some(wanted));
        }
    }
}
