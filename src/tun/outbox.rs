//! Datagrams of one batch, those of one tunnel behind each other in one message: the kernel cuts it
//! where the segment size says (`UDP_SEGMENT`).

use super::minimal;
use super::socket::SocketKind;
use super::tunnels::{Outer, TunnelKey};
use crate::mobile_ip::Via;
use crate::mobile_ip::wire::{TunnelKind, tunnel_data};
use std::net::SocketAddrV4;
use std::ops::Range;

/// `UDP_MAX_SEGMENTS` of kernels before 6.9; later ones take more.
const MOST_SEGMENTS: usize = 64;
/// What UDP over IPv4 can hold.
const MOST_OCTETS: usize = 65_507;

/// Where octets are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// In the buffer that the adapter was read into.
    Slab(Range<usize>),
    /// Among the heads that [`cut`](super::segments::cut) wrote.
    Heads(Range<usize>),
}

impl Part {
    fn len(&self) -> usize {
        match self {
            Self::Slab(range) | Self::Heads(range) => range.len(),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Message {
    pub via: Via,
    pub outer: Outer,
    /// Type of service of the outer header.
    pub tos: u8,
    /// Octets of each datagram but the last, which may have fewer.
    pub size: usize,
    pub count: usize,
    /// In [`Outbox::parts`].
    pub parts: Range<usize>,
    pub(super) key: TunnelKey,
    len: usize,
    /// Its last datagram is shorter than the others.
    full: bool,
}

/// Where a datagram goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Address {
    pub(super) via: Via,
    pub(super) outer: Outer,
    pub(super) tos: u8,
    pub(super) key: TunnelKey,
    pub(super) one_by_one: bool,
}

#[derive(Debug, Default)]
pub struct Outbox {
    pub heads: Vec<u8>,
    pub parts: Vec<Part>,
    pub messages: Vec<Message>,
}

impl Outbox {
    pub(super) fn push(&mut self, address: Address, datagram: impl IntoIterator<Item = Part>) {
        let start = self.parts.len();
        self.parts.extend(datagram);
        let end = self.parts.len();
        let len = self.parts[start..end].iter().map(Part::len).sum();
        if let Some(last) = self.messages.last_mut()
            && last.takes(address, len)
        {
            last.parts.end = end;
            last.len += len;
            last.count += 1;
            last.full = len < last.size;
            return;
        }
        self.messages.push(Message {
            via: address.via,
            outer: address.outer,
            tos: address.tos,
            size: len,
            count: 1,
            parts: start..end,
            key: address.key,
            len,
            full: address.one_by_one,
        });
    }

    /// A packet that was made here, in IP in IP.
    pub(super) fn write(&mut self, address: Address, packet: &[u8]) -> Part {
        let start = self.heads.len();
        match address.outer {
            Outer::Udp { .. } => self.heads.extend(tunnel_data::header(TunnelKind::IpIp)),
            Outer::Minimal { local, remote } => {
                minimal::outer_of_fragment(&mut self.heads, packet, address.tos, (local, remote));
            }
        }
        self.heads.extend(packet);
        Part::Heads(start..self.heads.len())
    }

    /// The numbers of new messages, one for each datagram of this one.
    pub(super) fn split(&mut self, message: &Message) -> Vec<usize> {
        let mut numbers = Vec::with_capacity(message.count);
        let mut start = message.parts.start;
        let mut len = 0;
        for at in message.parts.clone() {
            len += self.parts[at].len();
            if len == message.size || at + 1 == message.parts.end {
                numbers.push(self.messages.len());
                self.messages.push(Message {
                    size: len,
                    count: 1,
                    parts: start..at + 1,
                    len,
                    full: true,
                    ..message.clone()
                });
                (start, len) = (at + 1, 0);
            }
        }
        numbers
    }

    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub fn clear(&mut self) {
        self.heads.clear();
        self.parts.clear();
        self.messages.clear();
    }

    pub fn octets<'a>(&'a self, part: &Part, slab: &'a [u8]) -> &'a [u8] {
        match part {
            Part::Slab(range) => &slab[range.clone()],
            Part::Heads(range) => &self.heads[range.clone()],
        }
    }
}

impl Message {
    fn takes(&self, address: Address, len: usize) -> bool {
        !self.full
            && !address.one_by_one
            && len <= self.size
            && self.count < MOST_SEGMENTS
            && self.len + len <= MOST_OCTETS
            && (self.key, self.tos) == (address.key, address.tos)
    }

    /// By which socket.
    pub(super) fn socket_kind(&self) -> SocketKind {
        match self.outer {
            Outer::Udp { .. } => SocketKind::Udp,
            Outer::Minimal { .. } => SocketKind::Minimal,
        }
    }

    /// To whom the kernel is to send it.
    pub fn remote(&self) -> SocketAddrV4 {
        match self.outer {
            Outer::Udp { remote, .. } => remote,
            Outer::Minimal { remote, .. } => SocketAddrV4::new(remote, 0),
        }
    }

    /// Of its first datagram, so many at most.
    pub(super) fn first_octets(&self, most: usize, outbox: &Outbox, slab: &[u8]) -> Vec<u8> {
        let parts = &outbox.parts[self.parts.clone()];
        let octets = parts.iter().flat_map(|part| outbox.octets(part, slab));
        octets.take(most.min(self.size)).copied().collect()
    }

    /// Of all its datagrams, the tunnel headers included.
    pub fn octets(&self) -> usize {
        self.len
    }
}
