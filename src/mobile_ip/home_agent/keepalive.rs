//! Keep-alives of UDP tunnels: echo requests to the home agent, inside the tunnel (RFC 3519 §4.9).

use super::HomeAgent;
use super::effects::UdpEnds;
use crate::mobile_ip::Datagram;
use crate::mobile_ip::wire::{TunnelKind, echo, tunnel_data};
use std::time::Instant;

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
        let Some((home, answer)) = echo::answer(packet, self.settings.address) else {
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
