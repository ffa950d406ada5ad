//! What becomes of each packet and of each datagram: no system call, no clock.
//!
//! ```text
//! adapter ─→ send ─┬→ outbox ──→ socket       socket ─→ receive ─┬→ frames ──→ adapter
//!                  └→ answers ─→ adapter                         └→ the agent
//! ```

use super::checksum::Sum;
use super::coalesce::Coalescer;
use super::counts::Counts;
use super::ecn;
use super::fragments::{LEAST_MTU, fragments, too_big};
use super::frame::{self, FrameHeader};
use super::ipv4::{self, Ipv4};
use super::outbox::{Address, Message, Outbox, Part};
use super::segments::{Cut, cut};
use super::tunnels::{AdapterId, Origin, Side, TunnelKey, Tunnels};
use crate::mobile_ip::wire::{TunnelKind, tunnel_data};
use std::ops::Range;
use std::time::Instant;

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
/// Outer IPv4 and UDP.
pub(super) const OUTER_LEN: usize = 28;

#[derive(Debug, Default)]
pub struct Forwarder {
    pub tunnels: Tunnels,
    pub outbox: Outbox,
    pub frames: Coalescer,
    /// Packets for adapters, made here.
    pub answers: Vec<(AdapterId, Vec<u8>)>,
    pub counts: Counts,
}

/// What a datagram is besides a packet for an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    /// All is done.
    Carried,
    /// The agent is to hear it.
    Agents,
}

impl Forwarder {
    /// `read` is what one call read from the adapter: a [`frame`] header and a packet. The header is
    /// overwritten.
    pub fn send(&mut self, now: Instant, adapter: AdapterId, slab: &mut [u8], read: Range<usize>) {
        let packet_at = read.start + frame::LEN;
        let header = slab[read.clone()].first_chunk();
        let Some(header) = header.and_then(FrameHeader::decode) else {
            self.counts.dropped.malformed += 1;
            return;
        };
        let Some(packet) = Ipv4::head(&slab[packet_at..read.end]) else {
            let dropped = &mut self.counts.dropped;
            match slab.get(packet_at).map(|first| first >> 4) {
                Some(6) => dropped.other_version += 1,
                _ => dropped.malformed += 1,
            }
            return;
        };
        let (source, destination) = (packet.source(), packet.destination());
        let Some((side, home, entry)) = self.tunnels.towards(adapter, source, destination) else {
            self.counts.dropped.no_tunnel += 1;
            return;
        };
        let (tos, fixed) = (packet.tos(), packet.must_not_be_fragmented());
        let octets = &mut slab[packet_at..read.end];
        let Ok(cut) = cut(header, octets, &mut self.outbox.heads) else {
            self.counts.dropped.malformed += 1;
            return;
        };
        for (at, held) in entry.tunnels.iter_mut().enumerate() {
            let address = Address {
                via: held.tunnel.via,
                local: held.tunnel.local,
                remote: held.tunnel.remote,
                tos: ecn::encapsulated(tos, held.tunnel.congestion),
                key: TunnelKey { side, home, at },
                one_by_one: held.one_by_one,
            };
            let mtu = held.mtu(now);
            if cut.largest() <= usize::from(mtu) {
                let sent = &mut self.counts.sent;
                sent.count(cut.count(), cut.octets());
                push(&mut self.outbox, address, &cut, slab, packet_at);
                continue;
            }
            let packet = &slab[packet_at..read.end];
            if fixed {
                self.counts.dropped.too_big += 1;
                let answer = Ipv4::head(packet).and_then(|packet| too_big(packet, mtu));
                self.answers.extend(answer.map(|answer| (adapter, answer)));
            } else {
                let fragments = fragments_of(&cut, packet, &self.outbox.heads, mtu);
                for fragment in fragments {
                    self.counts.sent.count(1, fragment.len());
                    let part = self.outbox.write(&fragment);
                    self.outbox.push(address, [part]);
                }
            }
        }
    }

    /// A message did not leave since the path takes `outer` octets at most, headers included: what
    /// it said is told to its sender, and holds for the tunnel.
    pub fn learn_path_mtu(&mut self, now: Instant, message: &Message, outer: usize, slab: &[u8]) {
        let room = outer.saturating_sub(OUTER_LEN + tunnel_data::HEADER_LEN);
        let mtu = u16::try_from(room).unwrap_or(u16::MAX);
        let mtu = mtu.max(LEAST_MTU);
        self.counts.dropped.too_big += message.count as u64;
        let adapter = self.tunnels.adapter_of(message.key);
        if let Some(held) = self.tunnels.held(message.key) {
            held.learn(now, mtu);
        }
        let first = self.outbox.parts.get(message.parts.start);
        let head = first.map(|part| self.outbox.octets(part, slab));
        let packet = head.and_then(|head| Ipv4::head(head.get(tunnel_data::HEADER_LEN..)?));
        let answer = packet
            .filter(|packet| packet.must_not_be_fragmented())
            .and_then(|packet| too_big(packet, mtu));
        if let (Some(adapter), Some(answer)) = (adapter, answer) {
            self.answers.push((adapter, answer));
        }
    }

    /// A message has to be sent datagram by datagram, and so do all that follow it.
    pub fn send_one_by_one(&mut self, message: &Message) {
        if let Some(held) = self.tunnels.held(message.key) {
            held.one_by_one = true;
        }
    }

    /// One datagram; `outer_tos` is the type of service that it came with.
    pub fn receive(
        &mut self,
        origin: &Origin,
        outer_tos: u8,
        slab: &mut [u8],
        datagram: Range<usize>,
    ) -> Handling {
        let octets = &slab[datagram.clone()];
        let packet = match tunnel_data::split(octets) {
            Ok((next_header, packet)) if next_header == TunnelKind::IpIp.protocol() => packet,
            Ok(_) => {
                self.counts.dropped.not_admitted += 1;
                return Handling::Carried;
            }
            Err(_) => return Handling::Agents,
        };
        let Some(packet) = Ipv4::parse(packet).filter(|packet| packet.ttl() > 0) else {
            self.counts.dropped.malformed += 1;
            return Handling::Carried;
        };
        let (len, inner_tos, header_len) = (packet.total(), packet.tos(), packet.header.len());
        // Of a tunnel whose port is not known before this packet, too (RFC 3519 §4.11).
        if *origin.local.ip() == packet.destination() && is_echo(packet, ECHO_REQUEST) {
            return Handling::Agents;
        }
        let admitted = self
            .tunnels
            .admit(origin, packet.source(), packet.destination());
        let Some(admitted) = admitted else {
            self.counts.dropped.not_admitted += 1;
            return Handling::Carried;
        };
        // To a keep-alive, or to somebody here who asks the home agent whether it lives: both hear it.
        let answers = admitted.side == Side::MobileNode
            && *origin.remote.ip() == packet.source()
            && is_echo(packet, ECHO_REPLY);
        let start = datagram.start + tunnel_data::HEADER_LEN;
        let Some(tos) = ecn::decapsulated(outer_tos, inner_tos) else {
            self.counts.dropped.congested += 1;
            return Handling::Carried;
        };
        if tos != inner_tos {
            let header = &mut slab[start..start + header_len];
            // A wrong checksum stays wrong.
            if Sum::of(header).is_right() {
                ipv4::set_tos(header, tos);
            }
        }
        self.counts.received.count(1, len);
        self.frames.push(slab, admitted.adapter, start..start + len);
        if answers {
            Handling::Agents
        } else {
            Handling::Carried
        }
    }
}

fn push(outbox: &mut Outbox, address: Address, cut: &Cut, slab: &mut [u8], packet_at: usize) {
    if cut.is_whole() {
        let start = packet_at - tunnel_data::HEADER_LEN;
        slab[start..packet_at].copy_from_slice(&tunnel_data::header(TunnelKind::IpIp));
        outbox.push(address, [Part::Slab(start..packet_at + cut.octets())]);
        return;
    }
    for at in 0..cut.count() {
        let payload = cut.payload(at);
        let payload = packet_at + payload.start..packet_at + payload.end;
        outbox.push(address, [Part::Heads(cut.head(at)), Part::Slab(payload)]);
    }
}

/// Of every segment, since datagrams keep their boundaries.
fn fragments_of(cut: &Cut, packet: &[u8], heads: &[u8], mtu: u16) -> Vec<Vec<u8>> {
    let segment = |at| {
        let payload = &packet[cut.payload(at)];
        if cut.is_whole() {
            return payload.to_vec();
        }
        [&heads[cut.head(at)][tunnel_data::HEADER_LEN..], payload].concat()
    };
    let segments = (0..cut.count()).map(segment);
    let fragments = segments.filter_map(|segment| Some(fragments(Ipv4::parse(&segment)?, mtu)));
    fragments.flatten().collect()
}

fn is_echo(packet: Ipv4<'_>, kind: u8) -> bool {
    packet.protocol() == ipv4::ICMP
        && !packet.is_fragment()
        && packet.payload.first() == Some(&kind)
}
