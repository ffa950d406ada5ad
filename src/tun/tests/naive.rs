//! Packets built field by field, with the plain checksum.

use crate::mobile_ip::wire::encapsulation::checksum;
use proptest::prelude::*;

pub(super) const SOURCE: [u8; 4] = [10, 20, 0, 5];
pub(super) const DESTINATION: [u8; 4] = [10, 10, 0, 101];
pub(super) const FIN: u8 = 1;
pub(super) const PUSH: u8 = 8;
pub(super) const ACK: u8 = 16;
pub(super) const CWR: u8 = 0x80;

#[derive(Clone, Debug)]
pub(super) struct Ip {
    pub(super) tos: u8,
    pub(super) id: u16,
    pub(super) dont_fragment: bool,
    pub(super) ttl: u8,
    pub(super) source: [u8; 4],
    pub(super) destination: [u8; 4],
    pub(super) options: Vec<u8>,
}

impl Default for Ip {
    fn default() -> Self {
        Self {
            tos: 0,
            id: 7,
            dont_fragment: true,
            ttl: 64,
            source: SOURCE,
            destination: DESTINATION,
            options: Vec::new(),
        }
    }
}

impl Ip {
    pub(super) fn packet(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let header_len = 20 + self.options.len();
        let mut out = vec![0x40 | (header_len / 4) as u8, self.tos];
        out.extend(((header_len + payload.len()) as u16).to_be_bytes());
        out.extend(self.id.to_be_bytes());
        out.extend([u8::from(self.dont_fragment) << 6, 0, self.ttl, protocol]);
        out.extend([0, 0]);
        out.extend(self.source);
        out.extend(self.destination);
        out.extend(&self.options);
        let sum = checksum(&out).to_be_bytes();
        out[10..12].copy_from_slice(&sum);
        out.extend(payload);
        out
    }

    fn pseudo_header(&self, protocol: u8, len: usize) -> Vec<u8> {
        let mut out = [self.source, self.destination].concat();
        out.extend([0, protocol]);
        out.extend((len as u16).to_be_bytes());
        out
    }

    /// As the checksum of whoever leaves it to others.
    pub(super) fn partial(&self, protocol: u8, len: usize) -> [u8; 2] {
        (!checksum(&self.pseudo_header(protocol, len))).to_be_bytes()
    }

    pub(super) fn tcp(&self, tcp: &Tcp, payload: &[u8]) -> Vec<u8> {
        let mut segment = tcp.header();
        segment.extend(payload);
        let mut summed = self.pseudo_header(6, segment.len());
        summed.extend(&segment);
        segment[16..18].copy_from_slice(&checksum(&summed).to_be_bytes());
        self.packet(6, &segment)
    }

    pub(super) fn udp(&self, ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
        let len = 8 + payload.len();
        let mut datagram = ports.map(u16::to_be_bytes).concat();
        datagram.extend((len as u16).to_be_bytes());
        datagram.extend([0, 0]);
        datagram.extend(payload);
        let mut summed = self.pseudo_header(17, len);
        summed.extend(&datagram);
        let sum = match checksum(&summed) {
            0 => 0xffff,
            sum => sum,
        };
        datagram[6..8].copy_from_slice(&sum.to_be_bytes());
        self.packet(17, &datagram)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Tcp {
    pub(super) ports: [u16; 2],
    pub(super) sequence: u32,
    pub(super) acknowledged: u32,
    pub(super) flags: u8,
    pub(super) window: u16,
    pub(super) options: Vec<u8>,
}

impl Default for Tcp {
    fn default() -> Self {
        Self {
            ports: [40_000, 443],
            sequence: u32::MAX - 2000,
            acknowledged: 99,
            flags: ACK,
            window: 500,
            options: Vec::new(),
        }
    }
}

impl Tcp {
    pub(super) fn header(&self) -> Vec<u8> {
        let mut out = self.ports.map(u16::to_be_bytes).concat();
        out.extend(self.sequence.to_be_bytes());
        out.extend(self.acknowledged.to_be_bytes());
        let len = 20 + self.options.len();
        out.extend([(len as u8 / 4) << 4, self.flags]);
        out.extend(self.window.to_be_bytes());
        out.extend([0; 4]);
        out.extend(&self.options);
        out
    }
}

/// So many words of anything.
pub(super) fn options(words: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<[u8; 4]>(), 0..=words).prop_map(|words| words.concat())
}

/// Repeatable, and of every value.
pub(super) fn payload(len: usize, seed: u8) -> Vec<u8> {
    let octet = |n: usize| (n * 167 + n / 251) as u8 ^ seed;
    (0..len).map(octet).collect()
}
