//! Which tunnel was granted, and the keep-alives of a UDP tunnel (RFC 3519 §4.9, §4.10).

use super::asking::Request;
use super::keepalive::{Due, Keepalive};
use super::{Client, Delivery, Effect, Loss, Registered, Timer, Tunnel};
use crate::mobile_ip::Datagram;
use crate::mobile_ip::wire::{Flags, TunnelKind, UdpTunnelReply, tunnel_data};
use std::net::SocketAddrV4;
use std::time::Instant;

impl Client {
    pub(super) fn keepalive(&mut self, request: &Request, udp: UdpTunnelReply) -> Keepalive {
        let id = self.random.u32() as u16;
        // The first one is due that long after the request (RFC 3519 §4.9).
        let mut keepalive = Keepalive::new(request.asked, udp.keepalive, self.shortened, id);
        if request.through.is_some() {
            // RFC 3519 §4.4: it sets the tunnel up.
            keepalive.at_once(request.asked);
        }
        keepalive
    }

    pub(super) fn keep_alive(&mut self, now: Instant) {
        let Some(binding) = &mut self.binding else {
            return;
        };
        let Some(keepalive) = &mut binding.keepalive else {
            return;
        };
        match keepalive.expire(now) {
            Due::Echo => {
                self.timers.set(Timer::Keepalive, keepalive.due());
                let Registered {
                    home, home_agent, ..
                } = binding.registered;
                let mut payload = tunnel_data::header(TunnelKind::IpIp).to_vec();
                payload.extend(keepalive.echo(home, home_agent));
                let request = &binding.request;
                // To the home agent itself, also where a foreign agent passes requests on.
                let remote = SocketAddrV4::new(home_agent, request.remote.port());
                self.effects.push_back(Effect::Send(Datagram {
                    via: request.via,
                    local: request.local,
                    remote,
                    payload,
                }));
            }
            Due::MappingLost => {
                self.shortened = Some(keepalive.shortened());
                self.lose(now, Loss::MappingLost);
            }
        }
    }

    pub(super) fn heard_through_tunnel(
        &mut self,
        now: Instant,
        datagram: &Datagram,
        packet: &[u8],
    ) -> bool {
        let Some(binding) = &mut self.binding else {
            return false;
        };
        let Registered {
            home, home_agent, ..
        } = binding.registered;
        let Some(keepalive) = &mut binding.keepalive else {
            return false;
        };
        let answered =
            *datagram.remote.ip() == home_agent && keepalive.hear(now, packet, home, home_agent);
        if answered {
            self.timers.set(Timer::Keepalive, keepalive.due());
        }
        answered
    }
}

pub fn granted(request: &Request, datagram: &Datagram, keepalive: Option<&Keepalive>) -> Tunnel {
    if !request.flags.contains(Flags::DECAPSULATION) {
        return Tunnel::ByForeignAgent(if request.encapsulating {
            Delivery::Encapsulating
        } else {
            Delivery::Direct
        });
    }
    if let Some(keepalive) = keepalive {
        return Tunnel::Udp {
            local_port: request.local.port(),
            remote_port: datagram.remote.port(),
            keepalive: keepalive.interval(),
        };
    }
    // A reply that accepts accepts the encapsulation that was asked for (RFC 3024 §4.1.2).
    if request.flags.contains(Flags::MINIMAL) {
        Tunnel::Minimal
    } else if request.flags.contains(Flags::GRE) {
        Tunnel::Gre
    } else {
        Tunnel::IpIp
    }
}
