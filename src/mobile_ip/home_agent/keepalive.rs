//! Keep-alives of UDP tunnels: echo requests to the home agent, inside the tunnel (RFC 3519 §4.9).

use super::HomeAgent;
use super::effects::UdpEnds;
use crate::mobile_ip::Datagram;
use crate::mobile_ip::wire::encapsulation::checksum;
use crate::mobile_ip::wire::{TunnelKind, tunnel_data};
use std::net::Ipv4Addr;
use std::time::Instant;

const ICMP: u8 = 1;
const ECHO_REQUEST: u8 = 8;
/// Of the IPv4 header: more fragments, and where this one belongs.
const MORE_OR_OFFSET: u16 = 0x3fff;

impl HomeAgent {
    /// Answers an echo request that came through the tunnel of its sender. Everything else that is
    /// tunnelled belongs to the data path.
    pub(super) fn tunnel_data(
        &mut self,
        now: Instant,
        datagram: &Datagram,
        next_header: u8,
        packet: &[u8],
    ) {
        let Some((home, answer)) = answer(packet, self.settings.address) else {
            return;
        };
        if next_header != TunnelKind::IpIp.protocol() {
            return;
        }
        let Some(id) = self.nodes.by_home(home) else {
            return;
        };
        let node = self.nodes.at_mut(id);
        let half_bound = node.bindings.iter_mut().find(|binding| {
            // RFC 3519 §4.6: the port may differ from that of the request, the address may not.
            binding.half_bound && binding.from.ip() == datagram.remote.ip()
        });
        let completed = half_bound.is_some();
        if let Some(binding) = half_bound {
            binding.half_bound = false;
            binding.tunnel.remote = *datagram.remote.ip();
            binding.tunnel.udp = Some(UdpEnds {
                local: datagram.local,
                remote: datagram.remote,
            });
        }
        let bound = node.bindings.iter().any(|binding| {
            let ends = |udp: UdpEnds| udp.remote == datagram.remote && udp.local == datagram.local;
            binding.tunnel.kind == TunnelKind::IpIp && binding.tunnel.udp.is_some_and(ends)
        });
        if completed {
            self.keep(now, id);
            self.announce(id, true);
        }
        if bound {
            let mut payload = tunnel_data::header(TunnelKind::IpIp).to_vec();
            payload.extend(answer);
            self.send(datagram.via, datagram.local, datagram.remote, payload);
        }
    }
}

/// The sender of an echo request to `us`, and the echo reply.
fn answer(packet: &[u8], us: Ipv4Addr) -> Option<(Ipv4Addr, Vec<u8>)> {
    let header_len = usize::from(packet.first()? & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
    let packet = packet.get(..total)?;
    let (header, icmp) = packet.split_at_checked(header_len)?;
    // Options and fragments are not what a keep-alive has.
    let fragment = u16::from_be_bytes([*header.get(6)?, *header.get(7)?]) & MORE_OR_OFFSET;
    let whole = header_len == 20 && header[0] == 0x45 && fragment == 0;
    let sound = whole && header[9] == ICMP && checksum(header) == 0 && checksum(icmp) == 0;
    if !sound || icmp.len() < 8 || icmp[..2] != [ECHO_REQUEST, 0] {
        return None;
    }
    let address =
        |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
    let home = address(12);
    if address(16) != us {
        return None;
    }
    let mut answer = packet.to_vec();
    answer[8] = 64;
    answer[12..16].copy_from_slice(&us.octets());
    answer[16..20].copy_from_slice(&home.octets());
    answer[10..12].fill(0);
    let sum = checksum(&answer[..20]);
    answer[10..12].copy_from_slice(&sum.to_be_bytes());
    answer[20] = 0;
    answer[22..24].fill(0);
    let sum = checksum(&answer[20..]);
    answer[22..24].copy_from_slice(&sum.to_be_bytes());
    Some((home, answer))
}
