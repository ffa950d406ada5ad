//! `ACQUIRE`: a packet met a policy whose SA does not exist.

use super::message::{Message, attributes_after};
use super::{fields, policy};
use crate::kernel::events::Acquire;
use crate::kernel::ownership;
use crate::net::{Flow, Port};
use netlink_packet_xfrm as xfrm;
use xfrm::constants::XFRM_MSG_ACQUIRE;

/// `None` for a message that is cut short, or about a policy that cannot be ours (a socket's own,
/// a range of ports).
pub fn read(message: &Message<'_>) -> Option<Acquire> {
    if message.kind != XFRM_MSG_ACQUIRE {
        return None;
    }
    let acquire = xfrm::UserAcquire::parse(message.payload).ok()?;
    let attributes = attributes_after(message.payload, xfrm::XFRM_USER_ACQUIRE_LEN);
    let policy = policy::read_info(&acquire.policy, &attributes)?;
    // The packet may have been bound to a device, which is no matter of ours.
    let packet = fields::selector(&xfrm::Selector {
        ifindex: 0,
        ..acquire.selector
    })?;
    let ports = match (packet.src_port, packet.dst_port) {
        // For ICMP the kernel puts type and code there.
        (Port::Is(src), Port::Is(dst)) if packet.protocol.has_ports() => Some((src, dst)),
        _ => None,
    };
    Some(Acquire {
        own: ownership::owns_policy(&policy),
        policy: policy.policy.key,
        priority: policy.policy.priority,
        index: policy.index,
        flow: Flow {
            src: packet.src.addr(),
            dst: packet.dst.addr(),
            protocol: packet.protocol.number(),
            ports,
        },
        protocol: fields::protocol(acquire.id.proto)?,
        sequence: acquire.seq,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Selector;
    use netlink_packet_core::Emitable;
    use proptest::prelude::*;

    fn message(payload: &[u8]) -> Message<'_> {
        Message {
            kind: XFRM_MSG_ACQUIRE,
            flags: 0,
            sequence: 0,
            port: 0,
            payload,
        }
    }

    fn acquire(protocol: u8) -> Vec<u8> {
        let trap = Selector::between(
            "10.1.0.0/16".parse().unwrap(),
            "10.2.0.0/16".parse().unwrap(),
        );
        let packet = Selector::between(
            "10.1.0.1/32".parse().unwrap(),
            "10.2.0.9/32".parse().unwrap(),
        )
        .protocol(crate::net::Protocol::from_number(protocol))
        .ports(Port::Is(8), Port::Is(0));
        let acquire = xfrm::UserAcquire {
            id: xfrm::Id {
                proto: 50,
                ..xfrm::Id::default()
            },
            selector: xfrm::Selector {
                ifindex: 3,
                ..fields::selector_code(&packet)
            },
            policy: xfrm::UserPolicyInfo {
                selector: fields::selector_code(&trap),
                direction: 1,
                index: ownership::INDICES.start | 1,
                priority: ownership::Band::Bypass.priority(u32::MAX),
                ..xfrm::UserPolicyInfo::default()
            },
            seq: 5,
            ..xfrm::UserAcquire::default()
        };
        let mut payload = vec![0; acquire.buffer_len()];
        acquire.emit(&mut payload);
        payload
    }

    #[test]
    fn the_packet_and_the_trap_that_it_met_are_named() {
        let payload = acquire(17);
        let acquire = read(&message(&payload)).unwrap();
        assert_eq!(
            acquire.flow.to_string(),
            "10.1.0.1 port 8 > 10.2.0.9 port 0 udp"
        );
        assert_eq!(
            acquire.policy.selector.to_string(),
            "10.1.0.0/16 > 10.2.0.0/16 any"
        );
        assert!(acquire.own);
        assert_eq!(acquire.sequence, 5);
    }

    #[test]
    fn type_and_code_of_icmp_are_no_ports() {
        assert_eq!(read(&message(&acquire(1))).unwrap().flow.ports, None);
        assert_eq!(read(&message(&acquire(58))).unwrap().flow.ports, None);
    }

    proptest! {
        #[test]
        fn one_cut_short_or_altered_is_read_without_panic(cut in 0usize..300, at in 0usize..280, octet: u8) {
            let mut payload = acquire(17);
            payload[at] = octet;
            payload.truncate(cut);
            let _ = read(&message(&payload));
        }
    }
}
