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
use super::minimal;
use super::outbox::{Address, Message, Outbox, Part};
use super::segments::{Cut, cut};
use super::tunnels::{AdapterId, Origin, Outer, Side, TunnelKey, Tunnels};
use crate::mobile_ip::wire::{TunnelKind, tunnel_data};
use std::net::Ipv4Addr;
use std::ops::Range;
use std::time::Instant;

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
/// Of a datagram of any tunnel, what is in front of eight octets of a packet's payload.
const QUOTED: usize = 120;

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
        let is_fragment = packet.is_fragment();
        let octets = &mut slab[packet_at..read.end];
        let Ok(cut) = cut(header, octets, &mut self.outbox.heads) else {
            self.counts.dropped.malformed += 1;
            return;
        };
        for (at, held) in entry.tunnels.iter_mut().enumerate() {
            let address = Address {
                via: held.tunnel.via,
                outer: held.tunnel.outer,
                tos: ecn::encapsulated(tos, held.tunnel.congestion),
                key: TunnelKey { side, home, at },
                one_by_one: held.one_by_one,
            };
            let mtu = held.mtu(now);
            let of_fragments = address.outer.room_of_fragments(mtu);
            let room = if is_fragment { of_fragments } else { mtu };
            if cut.largest() <= usize::from(room) {
                let sent = &mut self.counts.sent;
                sent.count(cut.count(), cut.octets());
                push(&mut self.outbox, address, &cut, slab, packet_at);
                continue;
            }
            let packet = &slab[packet_at..read.end];
            if fixed {
                self.counts.dropped.too_big += 1;
                let answer = Ipv4::head(packet).and_then(|packet| too_big(packet, room));
                self.answers.extend(answer.map(|answer| (adapter, answer)));
            } else {
                let fragments = fragments_of(&cut, packet, &self.outbox.heads, of_fragments);
                for fragment in fragments {
                    self.counts.sent.count(1, fragment.len());
                    let part = self.outbox.write(address, &fragment);
                    self.outbox.push(address, [part]);
                }
            }
        }
    }

    /// A message did not leave since the path takes `outer` octets at most, headers included: what
    /// it said is told to its sender, and holds for the tunnel.
    pub fn learn_path_mtu(&mut self, now: Instant, message: &Message, outer: usize, slab: &[u8]) {
        let room = outer.saturating_sub(message.outer.headers());
        let mtu = u16::try_from(room).unwrap_or(u16::MAX);
        let mtu = mtu.max(LEAST_MTU);
        self.counts.dropped.too_big += message.count as u64;
        let adapter = self.tunnels.adapter_of(message.key);
        if let Some(held) = self.tunnels.held(message.key) {
            held.learn(now, mtu);
        }
        let octets = message.first_octets(QUOTED, &self.outbox, slab);
        let answer = unwrapped(message.outer, octets).and_then(|inner| {
            let packet = Ipv4::head(&inner).filter(|packet| packet.must_not_be_fragmented())?;
            let of_fragments = message.outer.room_of_fragments(mtu);
            too_big(
                packet,
                if packet.is_fragment() {
                    of_fragments
                } else {
                    mtu
                },
            )
        });
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

    /// One datagram of UDP; `outer_tos` is the type of service that it came with.
    pub fn receive(
        &mut self,
        origin: &Origin,
        outer_tos: u8,
        slab: &mut [u8],
        datagram: Range<usize>,
    ) -> Handling {
        match tunnel_data::split(&slab[datagram.clone()]) {
            Ok((next_header, _)) if next_header == TunnelKind::IpIp.protocol() => {
                let start = datagram.start + tunnel_data::HEADER_LEN;
                self.receive_packet(origin, outer_tos, slab, start..datagram.end)
            }
            Ok(_) => {
                self.counts.dropped.not_admitted += 1;
                Handling::Carried
            }
            Err(_) => Handling::Agents,
        }
    }

    /// One datagram of minimal encapsulation, or of IP in IP beside it, with its outer header.
    pub fn receive_ip(&mut self, origin: &Origin, slab: &mut [u8], datagram: Range<usize>) {
        let octets = &mut slab[datagram.clone()];
        let outer = Ipv4::parse(octets).map(|outer| (outer.protocol(), outer.header.len()));
        let start = outer.and_then(|(protocol, header_len)| {
            if protocol != TunnelKind::Minimal.protocol() {
                return Some((header_len, octets[1]));
            }
            // The packet's own type of service.
            let at = minimal::restore(octets)?;
            Some((at, octets[at + 1]))
        });
        let Some((at, outer_tos)) = start else {
            self.counts.dropped.malformed += 1;
            return;
        };
        self.receive_packet(origin, outer_tos, slab, datagram.start + at..datagram.end);
    }

    /// What was in a tunnel.
    fn receive_packet(
        &mut self,
        origin: &Origin,
        outer_tos: u8,
        slab: &mut [u8],
        range: Range<usize>,
    ) -> Handling {
        let start = range.start;
        let Some(packet) = Ipv4::parse(&slab[range]).filter(|packet| packet.ttl() > 0) else {
            self.counts.dropped.malformed += 1;
            return Handling::Carried;
        };
        let (len, inner_tos, header_len) = (packet.total(), packet.tos(), packet.header.len());
        let is_in_udp = matches!(origin.outer, Outer::Udp { .. });
        // Of a tunnel whose port is not known before this packet, too (RFC 3519 §4.11).
        if is_in_udp
            && origin.outer.local() == packet.destination()
            && is_echo(packet, ECHO_REQUEST)
        {
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
        let answers = is_in_udp
            && admitted.side == Side::MobileNode
            && origin.outer.remote() == packet.source()
            && is_echo(packet, ECHO_REPLY);
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
    if let Outer::Minimal { local, remote } = address.outer {
        return push_minimal(outbox, address, (local, remote), cut, (slab, packet_at));
    }
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

/// Headers are written anew, payload stays where it is.
fn push_minimal(
    outbox: &mut Outbox,
    address: Address,
    ends: (Ipv4Addr, Ipv4Addr),
    cut: &Cut,
    (slab, packet_at): (&[u8], usize),
) {
    for at in 0..cut.count() {
        let heads = &mut outbox.heads;
        let payload = cut.payload(at);
        let mut payload = packet_at + payload.start..packet_at + payload.end;
        let start = heads.len();
        if cut.is_whole() {
            let Some(packet) = Ipv4::head(&slab[payload.clone()]) else {
                continue;
            };
            if packet.is_fragment() {
                let octets = &slab[payload.clone()];
                minimal::outer_of_fragment(heads, octets, address.tos, ends);
            } else {
                heads.extend(packet.header);
                payload.start += packet.header.len();
                minimal::wrap(heads, start, ends);
            }
        } else {
            let head = cut.head(at);
            let head = head.start + tunnel_data::HEADER_LEN..head.end;
            let transport = head.start + usize::from(heads[head.start] & 0x0f) * 4;
            heads.extend_from_within(head.start..transport);
            minimal::wrap(heads, start, ends);
            heads.extend_from_within(transport..head.end);
        }
        let head = Part::Heads(start..heads.len());
        outbox.push(address, [head, Part::Slab(payload)]);
    }
}

/// The beginning of the packet in the beginning of a datagram.
fn unwrapped(outer: Outer, mut octets: Vec<u8>) -> Option<Vec<u8>> {
    let start = match outer {
        Outer::Udp { .. } => tunnel_data::HEADER_LEN,
        Outer::Minimal { .. } => {
            let outer = Ipv4::head(&octets)?;
            if outer.protocol() == TunnelKind::Minimal.protocol() {
                minimal::restore(&mut octets)?
            } else {
                outer.header.len()
            }
        }
    };
    Some(octets.split_off(start.min(octets.len())))
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
