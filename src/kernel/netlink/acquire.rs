//! `ACQUIRE`: a packet met a policy whose SA does not exist.

use super::message::{Message, attributes_after};
use super::{fields, policy};
use crate::kernel::events::Acquire;
use crate::kernel::ownership;
use crate::net::{Flow, Port, Protocol};
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
    let family = fields::family(acquire.selector.family)?;
    let protocol = acquire.selector.proto;
    let ports = fields::selector(&acquire.selector).and_then(|s| match (s.src_port, s.dst_port) {
        (Port::Is(src), Port::Is(dst)) => Some((src, dst)),
        _ => None,
    });
    Some(Acquire {
        own: ownership::owns_policy(&policy),
        policy: policy.policy.key,
        index: policy.index,
        flow: Flow {
            src: fields::address(family, &acquire.selector.saddr),
            dst: fields::address(family, &acquire.selector.daddr),
            protocol,
            // For ICMP the kernel puts type and code there.
            ports: ports.filter(|_| Protocol::from_number(protocol).has_ports()),
        },
        protocol: fields::protocol(acquire.id.proto)?,
        sequence: acquire.seq,
    })
}
