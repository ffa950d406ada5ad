//! The chain of payloads (RFC 7296 §3.2).

use super::reader::{Reader, length};
use super::{
    Configuration, Delete, IdBody, Notify, NotifyKind, PayloadKind, Proposal, TrafficSelector,
    WireError,
};

/// One payload of a chain, its body not looked into.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------+-+-------------+-------------------------------+
/// | next payload  |C|  reserved   |            length             |
/// +---------------+-+-------------+-------------------------------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawPayload<'a> {
    pub kind: PayloadKind,
    /// What the payload names as its successor: for `SK`, the first payload inside.
    pub next: PayloadKind,
    pub critical: bool,
    pub body: &'a [u8],
}

/// Walks a chain; ends after the first error. `SK` ends the chain, its `next` lies inside.
#[derive(Clone, Debug)]
pub struct RawPayloads<'a> {
    kind: PayloadKind,
    rest: Reader<'a>,
}

impl<'a> RawPayloads<'a> {
    pub fn new(first: PayloadKind, octets: &'a [u8]) -> Self {
        Self {
            kind: first,
            rest: Reader::new(octets, "payload"),
        }
    }

    fn payload(&mut self) -> Result<RawPayload<'a>, WireError> {
        let next = PayloadKind(self.rest.u8()?);
        let critical = self.rest.u8()? & 0x80 != 0;
        let length = self.rest.u16()?;
        let body = self.rest.sub(length, 4, "payload")?.rest();
        Ok(RawPayload {
            kind: self.kind,
            next,
            critical,
            body,
        })
    }
}

impl<'a> Iterator for RawPayloads<'a> {
    type Item = Result<RawPayload<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.kind == PayloadKind::NONE {
            let trailing = !self.rest.is_empty();
            self.rest = Reader::new(&[], "payload");
            return trailing.then_some(Err(WireError::Length("message")));
        }
        let item = self.payload();
        self.kind = match &item {
            Ok(p) if p.kind != PayloadKind::SK => p.next,
            _ => PayloadKind::NONE,
        };
        if item.is_err() {
            self.rest = Reader::new(&[], "payload");
        }
        Some(item)
    }
}

/// A payload that this agent understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    Sa(Vec<Proposal>),
    Ke { group: u16, data: Vec<u8> },
    IdI(IdBody),
    IdR(IdBody),
    Auth { method: u8, data: Vec<u8> },
    Nonce(Vec<u8>),
    Notify(Notify),
    Delete(Delete),
    Vendor(Vec<u8>),
    TsI(Vec<TrafficSelector>),
    TsR(Vec<TrafficSelector>),
    Configuration(Configuration),
}

impl Payload {
    pub fn notify(kind: NotifyKind, data: impl Into<Vec<u8>>) -> Self {
        Self::Notify(Notify::new(kind, data))
    }

    pub fn kind(&self) -> PayloadKind {
        match self {
            Self::Sa(_) => PayloadKind::SA,
            Self::Ke { .. } => PayloadKind::KE,
            Self::IdI(_) => PayloadKind::ID_I,
            Self::IdR(_) => PayloadKind::ID_R,
            Self::Auth { .. } => PayloadKind::AUTH,
            Self::Nonce(_) => PayloadKind::NONCE,
            Self::Notify(_) => PayloadKind::NOTIFY,
            Self::Delete(_) => PayloadKind::DELETE,
            Self::Vendor(_) => PayloadKind::VENDOR,
            Self::TsI(_) => PayloadKind::TS_I,
            Self::TsR(_) => PayloadKind::TS_R,
            Self::Configuration(_) => PayloadKind::CP,
        }
    }

    /// `None` for a payload that may be skipped.
    fn decode(raw: RawPayload<'_>) -> Result<Option<Self>, WireError> {
        let body = raw.body;
        Ok(Some(match raw.kind {
            PayloadKind::SA => Self::Sa(Proposal::decode_list(body)?),
            PayloadKind::KE => {
                let mut r = Reader::new(body, "key exchange");
                let group = r.u16()?;
                r.u16()?;
                let data = r.rest().to_vec();
                Self::Ke { group, data }
            }
            PayloadKind::ID_I => Self::IdI(IdBody::decode(body)?),
            PayloadKind::ID_R => Self::IdR(IdBody::decode(body)?),
            PayloadKind::AUTH => {
                let mut r = Reader::new(body, "authentication");
                let method = r.u8()?;
                r.take(3)?;
                let data = r.rest().to_vec();
                Self::Auth { method, data }
            }
            // RFC 7296 §3.9
            PayloadKind::NONCE if !(16..=256).contains(&body.len()) => {
                return Err(WireError::Value("nonce length"));
            }
            PayloadKind::NONCE => Self::Nonce(body.to_vec()),
            PayloadKind::NOTIFY => Self::Notify(Notify::decode(body)?),
            PayloadKind::DELETE => Self::Delete(Delete::decode(body)?),
            PayloadKind::VENDOR => Self::Vendor(body.to_vec()),
            PayloadKind::TS_I => Self::TsI(TrafficSelector::decode_list(body)?),
            PayloadKind::TS_R => Self::TsR(TrafficSelector::decode_list(body)?),
            PayloadKind::CP => Self::Configuration(Configuration::decode(body)?),
            // Defined by RFC 7296 itself, so known, and of no use here: the critical bit does not
            // count (§2.5).
            PayloadKind::CERT | PayloadKind::CERTREQ | PayloadKind::EAP => return Ok(None),
            kind if raw.critical => return Err(WireError::UnknownCritical(kind.0)),
            _ => return Ok(None),
        }))
    }

    fn encode_body(&self, out: &mut Vec<u8>) {
        match self {
            Self::Sa(proposals) => Proposal::encode_list(proposals, out),
            Self::Ke { group, data } => {
                out.extend_from_slice(&group.to_be_bytes());
                out.extend_from_slice(&[0, 0]);
                out.extend_from_slice(data);
            }
            Self::IdI(id) | Self::IdR(id) => out.extend_from_slice(id.octets()),
            Self::Auth { method, data } => {
                out.extend_from_slice(&[*method, 0, 0, 0]);
                out.extend_from_slice(data);
            }
            Self::Nonce(octets) | Self::Vendor(octets) => out.extend_from_slice(octets),
            Self::Notify(notify) => notify.encode(out),
            Self::Delete(delete) => delete.encode(out),
            Self::TsI(list) | Self::TsR(list) => TrafficSelector::encode_list(list, out),
            Self::Configuration(configuration) => configuration.encode(out),
        }
    }
}

/// Every understood payload of one message, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payloads(pub Vec<Payload>);

/// First payload of the kind that the pattern names.
macro_rules! first {
    ($payloads:expr, $pattern:pat => $value:expr) => {
        $payloads.0.iter().find_map(|p| match p {
            $pattern => Some($value),
            _ => None,
        })
    };
}

impl Payloads {
    pub fn decode(first: PayloadKind, octets: &[u8]) -> Result<Self, WireError> {
        let mut list = Vec::new();
        for raw in RawPayloads::new(first, octets) {
            list.extend(Payload::decode(raw?)?);
        }
        Ok(Self(list))
    }

    /// The kind of the first payload, for the header before it, and the chain.
    pub fn encode(&self) -> (PayloadKind, Vec<u8>) {
        let mut out = Vec::new();
        for (i, payload) in self.0.iter().enumerate() {
            let next = self.0.get(i + 1).map_or(PayloadKind::NONE, Payload::kind);
            let start = out.len();
            out.extend_from_slice(&[next.0, 0, 0, 0]);
            payload.encode_body(&mut out);
            let octets = length(out.len() - start).to_be_bytes();
            out[start + 2..start + 4].copy_from_slice(&octets);
        }
        (self.0.first().map_or(PayloadKind::NONE, Payload::kind), out)
    }

    pub fn proposals(&self) -> Option<&[Proposal]> {
        first!(self, Payload::Sa(proposals) => &proposals[..])
    }

    pub fn key_exchange(&self) -> Option<(u16, &[u8])> {
        first!(self, Payload::Ke { group, data } => (*group, &data[..]))
    }

    pub fn id_i(&self) -> Option<&IdBody> {
        first!(self, Payload::IdI(id) => id)
    }

    pub fn id_r(&self) -> Option<&IdBody> {
        first!(self, Payload::IdR(id) => id)
    }

    /// Method and data.
    pub fn auth(&self) -> Option<(u8, &[u8])> {
        first!(self, Payload::Auth { method, data } => (*method, &data[..]))
    }

    pub fn nonce(&self) -> Option<&[u8]> {
        first!(self, Payload::Nonce(nonce) => &nonce[..])
    }

    pub fn ts_i(&self) -> Option<&[TrafficSelector]> {
        first!(self, Payload::TsI(list) => &list[..])
    }

    pub fn ts_r(&self) -> Option<&[TrafficSelector]> {
        first!(self, Payload::TsR(list) => &list[..])
    }

    pub fn configuration(&self) -> Option<&Configuration> {
        first!(self, Payload::Configuration(configuration) => configuration)
    }

    pub fn notifies(&self) -> impl Iterator<Item = &Notify> {
        self.0.iter().filter_map(|p| match p {
            Payload::Notify(notify) => Some(notify),
            _ => None,
        })
    }

    pub fn notification(&self, kind: NotifyKind) -> Option<&Notify> {
        self.notifies().find(|n| n.kind == kind)
    }

    pub fn notifications(&self, kind: NotifyKind) -> impl Iterator<Item = &Notify> {
        self.notifies().filter(move |n| n.kind == kind)
    }

    /// The first notification that is an error.
    pub fn error(&self) -> Option<&Notify> {
        self.notifies().find(|n| n.kind.is_error())
    }

    pub fn deletes(&self) -> impl Iterator<Item = &Delete> {
        self.0.iter().filter_map(|p| match p {
            Payload::Delete(delete) => Some(delete),
            _ => None,
        })
    }

    pub fn has_vendor(&self, id: &[u8]) -> bool {
        self.0
            .iter()
            .any(|p| matches!(p, Payload::Vendor(octets) if octets == id))
    }
}

impl From<Vec<Payload>> for Payloads {
    fn from(list: Vec<Payload>) -> Self {
        Self(list)
    }
}

#[cfg(test)]
pub(in crate::ike) mod tests {
    use super::*;
    use crate::ike::tests::hex;
    use crate::ike::wire::configuration::tests::configuration;
    use crate::ike::wire::{Attribute, ProtocolId, Transform, TransformKind};
    use crate::net::Spi;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::net::IpAddr;

    fn octets(range: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
        vec(any::<u8>(), range)
    }

    fn attribute() -> impl Strategy<Value = Attribute> {
        prop_oneof![
            any::<u16>().prop_map(Attribute::KeyLength),
            (15u16..0x8000, any::<u16>()).prop_map(|(k, v)| Attribute::Short(k, v)),
            (0u16..0x8000, octets(0..9)).prop_map(|(k, v)| Attribute::Long(k, v)),
        ]
    }

    fn proposal() -> impl Strategy<Value = Proposal> {
        let transform = (any::<u8>(), any::<u16>(), vec(attribute(), 0..3)).prop_map(
            |(kind, id, attributes)| Transform {
                kind: TransformKind(kind),
                id,
                attributes,
            },
        );
        (any::<u8>(), any::<u8>(), octets(0..9), vec(transform, 0..5)).prop_map(
            |(number, protocol, spi, transforms)| Proposal {
                number,
                protocol: ProtocolId(protocol),
                spi,
                transforms,
            },
        )
    }

    fn traffic_selector() -> impl Strategy<Value = TrafficSelector> {
        let addrs = prop_oneof![
            any::<[u32; 2]>().prop_map(|a| a.map(|a| IpAddr::V4(a.into()))),
            any::<[u128; 2]>().prop_map(|a| a.map(|a| IpAddr::V6(a.into()))),
        ];
        (any::<u8>(), any::<(u16, u16)>(), addrs).prop_map(|(protocol, ports, [a, b])| {
            TrafficSelector {
                protocol,
                ports,
                addrs: (a.min(b), a.max(b)),
            }
        })
    }

    /// Any payload at all.
    pub(in crate::ike) fn payload() -> impl Strategy<Value = Payload> {
        let id = || octets(4..20).prop_map(|o| IdBody::decode(&o).unwrap());
        let spis = vec(any::<u32>().prop_map(Spi), 0..5);
        let notify = (any::<u8>(), octets(0..9), any::<u16>(), octets(0..40)).prop_map(
            |(protocol, spi, kind, data)| Notify {
                protocol: ProtocolId(protocol),
                spi,
                kind: NotifyKind(kind),
                data,
            },
        );
        prop_oneof![
            vec(proposal(), 1..4).prop_map(Payload::Sa),
            (any::<u16>(), octets(0..40)).prop_map(|(group, data)| Payload::Ke { group, data }),
            id().prop_map(Payload::IdI),
            id().prop_map(Payload::IdR),
            (any::<u8>(), octets(0..70)).prop_map(|(method, data)| Payload::Auth { method, data }),
            octets(16..257).prop_map(Payload::Nonce),
            notify.prop_map(Payload::Notify),
            (any::<bool>(), spis).prop_map(|(ah, spis)| {
                let protocol = if ah { ProtocolId::AH } else { ProtocolId::ESP };
                Payload::Delete(Delete::Child { protocol, spis })
            }),
            Just(Payload::Delete(Delete::Ike)),
            octets(0..40).prop_map(Payload::Vendor),
            vec(traffic_selector(), 0..5).prop_map(Payload::TsI),
            vec(traffic_selector(), 0..5).prop_map(Payload::TsR),
            configuration().prop_map(Payload::Configuration),
        ]
    }

    proptest! {
        #[test]
        fn payloads_decode_to_what_was_encoded(list in vec(payload(), 0..8)) {
            let payloads = Payloads(list);
            let (first, chain) = payloads.encode();
            prop_assert_eq!(Payloads::decode(first, &chain), Ok(payloads));
        }

        #[test]
        fn whatever_decodes_says_the_same_when_encoded_again(first: u8, chain in octets(0..200)) {
            if let Ok(payloads) = Payloads::decode(PayloadKind(first), &chain) {
                let (first, again) = payloads.encode();
                prop_assert_eq!(Payloads::decode(first, &again), Ok(payloads));
            }
        }

        #[test]
        fn a_sound_chain_with_damaged_octets_never_panics(
            list in vec(payload(), 1..5), damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
            let (first, mut chain) = Payloads(list).encode();
            for (at, value) in damage {
                let at = at.index(chain.len());
                chain[at] = value;
            }
            let _ = Payloads::decode(first, &chain);
        }
    }

    /// Written by hand from RFC 7296 §3.3, §3.4, §3.9 and §3.10.
    #[test]
    fn a_first_message_has_these_octets() {
        let payloads = Payloads(vec![
            Payload::Sa(vec![Proposal {
                number: 1,
                protocol: ProtocolId::IKE,
                spi: Vec::new(),
                transforms: vec![
                    Transform::new(TransformKind::ENCR, 20).key_bits(256),
                    Transform::new(TransformKind::PRF, 5),
                    Transform::new(TransformKind::KE, 31),
                ],
            }]),
            Payload::Ke {
                group: 31,
                data: vec![0xaa; 4],
            },
            Payload::Nonce(vec![0xbb; 16]),
            Payload::notify(NotifyKind::COOKIE, vec![0xcc]),
        ]);
        let octets = hex(
            "22000028 00000024 01010003 0300000c 01000014 800e0100 03000008 02000005 \
             00000008 0400001f \
             2800000c 001f0000 aaaaaaaa \
             29000014 bbbbbbbb bbbbbbbb bbbbbbbb bbbbbbbb \
             00000009 00004006 cc",
        );
        assert_eq!(payloads.encode(), (PayloadKind::SA, octets.clone()));
        assert_eq!(Payloads::decode(PayloadKind::SA, &octets), Ok(payloads));
    }

    /// Written by hand from RFC 7296 §3.11 and §3.13.
    #[test]
    fn traffic_selectors_and_deletes_have_these_octets() {
        let payloads = Payloads(vec![
            Payload::TsI(vec![TrafficSelector {
                protocol: 6,
                ports: (80, 80),
                addrs: ("10.1.0.0".parse().unwrap(), "10.1.255.255".parse().unwrap()),
            }]),
            Payload::Delete(Delete::Child {
                protocol: ProtocolId::ESP,
                spis: vec![Spi(0x0102_0304)],
            }),
            Payload::Delete(Delete::Child {
                protocol: ProtocolId::AH,
                spis: vec![Spi(0x0506_0708)],
            }),
            Payload::Delete(Delete::Ike),
        ]);
        let octets = hex("2a000018 01000000 07060010 00500050 0a010000 0a01ffff \
             2a00000c 03040001 01020304 \
             2a00000c 02040001 05060708 \
             00000008 01000000");
        assert_eq!(payloads.encode(), (PayloadKind::TS_I, octets.clone()));
        assert_eq!(Payloads::decode(PayloadKind::TS_I, &octets), Ok(payloads));
    }

    #[test]
    fn chains_that_end_early_or_late_are_refused() {
        let (first, chain) = Payloads(vec![Payload::Nonce(vec![7; 16])]).encode();
        assert!(Payloads::decode(first, &chain[..19]).is_err());
        assert!(Payloads::decode(first, &[&chain[..], &[0]].concat()).is_err());
        assert!(Payloads::decode(first, &[]).is_err());
        assert!(Payloads::decode(PayloadKind::NONE, &[]).is_ok());
        assert!(Payloads::decode(PayloadKind::NONE, &[0]).is_err());
    }
}
