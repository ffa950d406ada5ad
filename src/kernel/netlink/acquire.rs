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
