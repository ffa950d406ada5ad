//! Router discovery as mobility agents use it: the ICMP messages of RFC 1256 with the extensions of
//! RFC 5944 §2.1 and RFC 4721 §2. Whoever sends one is not authenticated: it may say where to try,
//! never what to believe.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+---------------+-------------------------------+
//! |    Type 9     |  Code 0 / 16  |           Checksum            |
//! +---------------+---------------+-------------------------------+
//! |   Num Addrs   | Entry Size 2  |           Lifetime            |
//! +---------------+---------------+-------------------------------+
//! |              Router Address, Preference (repeated)            |
//! +---------------+---------------+-------------------------------+
//! |    Type 16    |    Length     |        Sequence Number        |
//! +---------------+---------------+-------------------------------+
//! |     Registration Lifetime     |R|B|H|F|M|G|r|T|U|X|I|reserved |
//! +-------------------------------+-------------------------------+
//! |                  Care-of Address (repeated)                   |
//! +---------------------------------------------------------------+
//! | prefix lengths (19), challenge (24), padding (0)              |
//! +---------------------------------------------------------------+
//! ```
//!
//! [`Discovery`] is the ICMP message without its IP header.

use std::net::Ipv4Addr;

const ADVERTISEMENT: u8 = 9;
const SOLICITATION: u8 = 10;
const PADDING: u8 = 0;
const MOBILITY_AGENT: u8 = 16;
const PREFIX_LENGTHS: u8 = 19;
const CHALLENGE: u8 = 24;
/// From here on, an extension that is not understood is skipped (RFC 5944 §1.8).
const FIRST_SKIPPABLE: u8 = 128;
/// Words of one router address and its preference (RFC 1256 §3).
const ENTRY_WORDS: u8 = 2;
/// What fits behind the sequence number, lifetime and flags in an extension of 255 octets.
const MOST_CARE_OF: usize = 62;

/// What is asked and answered on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discovery {
    Solicitation,
    Advertisement(Advertisement),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertisement {
    pub traffic: CommonTraffic,
    /// Seconds for which the advertisement holds unless it is repeated; zero takes it back.
    pub lifetime: u16,
    /// At most 255; more are not encoded.
    pub routers: Vec<Router>,
    /// `None`: a router that is no mobility agent.
    pub agent: Option<MobilityAgent>,
    /// Bits of each router's prefix, in their order; either of all or of none.
    pub prefix_lengths: Option<Vec<u8>>,
    /// What a request has to repeat (RFC 4721 §2), 1 to 255 octets.
    pub challenge: Option<Vec<u8>>,
}

/// The ICMP code: whether the agent routes for everybody on the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommonTraffic {
    Routed,
    /// Only for mobile nodes that are registered (RFC 5944 §2.1).
    NotRouted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Router {
    pub address: Ipv4Addr,
    /// Higher is preferred; `i32::MIN` is no default router (RFC 1256 §2).
    pub preference: i32,
}

/// What makes a router a mobility agent (RFC 5944 §2.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MobilityAgent {
    pub sequence: Sequence,
    /// Longest registration that a foreign agent accepts, in seconds; 0xffff is for ever.
    pub registration_lifetime: u16,
    pub flags: AgentFlags,
    /// In order of preference (RFC 5944 §2.4); at most 62, more are not encoded.
    pub care_of: Vec<Ipv4Addr>,
}

/// Number of an advertisement since the agent started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sequence(pub u16);

impl Sequence {
    /// RFC 5944 §2.3.2: 0xffff is followed by 256, so that only a start begins at 0.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).unwrap_or(256))
    }

    /// The agent has started anew since it sent `earlier`, and knows no visitor any more (RFC 5944
    /// §2.4.4).
    pub fn restarted_since(self, earlier: Self) -> bool {
        self < earlier && self.0 < 256
    }
}

/// Bits as on the wire. Reserved ones are kept when decoded and ignored by everybody (RFC 5944 §2.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentFlags(pub u16);

impl AgentFlags {
    /// R: to be registered with, even when the care-of address is the node's own.
    pub const REGISTRATION_REQUIRED: Self = Self(0x8000);
    /// B: no further nodes.
    pub const BUSY: Self = Self(0x4000);
    /// H: a home agent on this link.
    pub const HOME_AGENT: Self = Self(0x2000);
    /// F: a foreign agent on this link.
    pub const FOREIGN_AGENT: Self = Self(0x1000);
    /// M: takes minimal encapsulation.
    pub const MINIMAL: Self = Self(0x0800);
    /// G: takes GRE.
    pub const GRE: Self = Self(0x0400);
    /// T: takes reverse tunnels (RFC 3024 §3.1).
    pub const REVERSE_TUNNEL: Self = Self(0x0100);
    /// U: behind a NAT and tunnels over UDP (RFC 3519 §3.4).
    pub const UDP_TUNNEL: Self = Self(0x0080);
    /// X: supports revocation (RFC 3543 §3.1).
    pub const REVOCATION: Self = Self(0x0040);
    /// I: supports regional registration (RFC 4857).
    pub const REGIONAL: Self = Self(0x0020);

    pub fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    #[must_use]
    pub fn with(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdvertisementError {
    #[error("the message ends within its {0}")]
    Truncated(&'static str),
    #[error("wrong ICMP checksum")]
    Checksum,
    #[error("ICMP type {kind}, code {code} is no router discovery")]
    Kind { kind: u8, code: u8 },
    #[error("router entries of {0} words")]
    EntrySize(u8),
    #[error("length {length} does not suit extension {kind}")]
    Length { kind: u8, length: u8 },
    #[error("extension {0} stands there twice")]
    Twice(u8),
    #[error("extension {0} is not known, and must be")]
    Unknown(u8),
    #[error("the agent says of itself what cannot be: flags {0:#06x}")]
    Flags(u16),
}

impl Discovery {
    /// The octets after the IP header, checksum included.
    pub fn decode(octets: &[u8]) -> Result<Self, AdvertisementError> {
        let mut rest = octets;
        let [kind, code, _, _] = array(&mut rest, "header")?;
        match (kind, code) {
            (SOLICITATION, 0) => array::<4>(&mut rest, "header").map(|_| Self::Solicitation),
            (ADVERTISEMENT, 0) => {
                Advertisement::decode(CommonTraffic::Routed, rest).map(Self::Advertisement)
            }
            (ADVERTISEMENT, 16) => {
                Advertisement::decode(CommonTraffic::NotRouted, rest).map(Self::Advertisement)
            }
            _ => Err(AdvertisementError::Kind { kind, code }),
        }
        .and_then(|message| match internet_checksum(octets) {
            0 => Ok(message),
            _ => Err(AdvertisementError::Checksum),
        })
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = match self {
            Self::Solicitation => vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0],
            Self::Advertisement(advertisement) => advertisement.encode(),
        };
        let checksum = internet_checksum(&out);
        out[2..4].copy_from_slice(&checksum.to_be_bytes());
        out
    }
}

impl Advertisement {
    fn decode(traffic: CommonTraffic, mut rest: &[u8]) -> Result<Self, AdvertisementError> {
        let [count, words, high, low] = array(&mut rest, "header")?;
        if words < ENTRY_WORDS {
            return Err(AdvertisementError::EntrySize(words));
        }
        let mut routers = Vec::with_capacity(count.into());
        for _ in 0..count {
            let mut entry = take(&mut rest, usize::from(words) * 4, "router addresses")?;
            routers.push(Router {
                address: array(&mut entry, "router addresses")?.into(),
                preference: i32::from_be_bytes(array(&mut entry, "router addresses")?),
            });
        }
        let mut decoded = Self {
            traffic,
            lifetime: u16::from_be_bytes([high, low]),
            routers,
            agent: None,
            prefix_lengths: None,
            challenge: None,
        };
        while let Some((&kind, after)) = rest.split_first() {
            rest = after;
            if kind != PADDING {
                let [length] = array(&mut rest, "extensions")?;
                let data = take(&mut rest, length.into(), "extensions")?;
                decoded.extend(kind, length, data)?;
            }
        }
        Ok(decoded)
    }

    fn extend(&mut self, kind: u8, length: u8, data: &[u8]) -> Result<(), AdvertisementError> {
        let twice = match kind {
            MOBILITY_AGENT => {
                let agent = MobilityAgent::decode(data)
                    .ok_or(AdvertisementError::Length { kind, length })??;
                self.agent.replace(agent).is_some()
            }
            // RFC 5944 §2.1.2: one length for each router.
            PREFIX_LENGTHS if data.len() == self.routers.len() => {
                self.prefix_lengths.replace(data.to_vec()).is_some()
            }
            CHALLENGE if !data.is_empty() => self.challenge.replace(data.to_vec()).is_some(),
            PREFIX_LENGTHS | CHALLENGE => return Err(AdvertisementError::Length { kind, length }),
            FIRST_SKIPPABLE.. => false,
            _ => return Err(AdvertisementError::Unknown(kind)),
        };
        if twice {
            return Err(AdvertisementError::Twice(kind));
        }
        Ok(())
    }

    fn encode(&self) -> Vec<u8> {
        let code = match self.traffic {
            CommonTraffic::Routed => 0,
            CommonTraffic::NotRouted => 16,
        };
        let count = u8::try_from(self.routers.len()).unwrap_or(u8::MAX);
        let mut out = vec![ADVERTISEMENT, code, 0, 0, count, ENTRY_WORDS];
        out.extend_from_slice(&self.lifetime.to_be_bytes());
        for router in self.routers.iter().take(count.into()) {
            out.extend_from_slice(&router.address.octets());
            out.extend_from_slice(&router.preference.to_be_bytes());
        }
        if let Some(agent) = &self.agent {
            extension(&mut out, MOBILITY_AGENT, &agent.encode());
        }
        if let Some(lengths) = &self.prefix_lengths {
            extension(&mut out, PREFIX_LENGTHS, lengths);
        }
        if let Some(challenge) = &self.challenge {
            extension(&mut out, CHALLENGE, challenge);
        }
        // RFC 5944 §2.1.3: last, and only to make the length even.
        if out.len() % 2 == 1 {
            out.push(PADDING);
        }
        out
    }

    /// The prefix that a router says it is in, if it says so sensibly.
    pub fn prefix(&self, index: usize) -> Option<crate::net::Ipv4Net> {
        let bits = *self.prefix_lengths.as_ref()?.get(index)?;
        let address = self.routers.get(index)?.address;
        Some(crate::net::Ipv4Net::new(address, bits).ok()?.trunc())
    }
}

impl MobilityAgent {
    /// `None`: the length is none that such an extension has.
    fn decode(mut data: &[u8]) -> Option<Result<Self, AdvertisementError>> {
        let [s0, s1, l0, l1, f0, f1] = *data.split_off(..6)?.first_chunk()?;
        let (addresses, []) = data.as_chunks::<4>() else {
            return None;
        };
        let flags = AgentFlags(u16::from_be_bytes([f0, f1]));
        let care_of: Vec<_> = addresses.iter().map(|octets| (*octets).into()).collect();
        let foreign = flags.has(AgentFlags::FOREIGN_AGENT);
        let serves = foreign || flags.has(AgentFlags::HOME_AGENT);
        let of_foreign =
            flags.has(AgentFlags::BUSY) || flags.has(AgentFlags::REGISTRATION_REQUIRED);
        // RFC 5944 §2.1.1: F or H; R and B only with F; with F at least one care-of address.
        if !serves || (of_foreign && !foreign) || (foreign && care_of.is_empty()) {
            return Some(Err(AdvertisementError::Flags(flags.0)));
        }
        Some(Ok(Self {
            sequence: Sequence(u16::from_be_bytes([s0, s1])),
            registration_lifetime: u16::from_be_bytes([l0, l1]),
            flags,
            care_of,
        }))
    }

    fn encode(&self) -> Vec<u8> {
        let words = [self.sequence.0, self.registration_lifetime, self.flags.0];
        let words = words.iter().flat_map(|word| word.to_be_bytes());
        let addresses = self.care_of.iter().take(MOST_CARE_OF);
        words.chain(addresses.flat_map(Ipv4Addr::octets)).collect()
    }
}

/// An extension; one that is too long for its length octet is cut.
fn extension(out: &mut Vec<u8>, kind: u8, data: &[u8]) {
    let length = u8::try_from(data.len()).unwrap_or(u8::MAX);
    out.extend_from_slice(&[kind, length]);
    out.extend_from_slice(&data[..length.into()]);
}

fn take<'a>(
    rest: &mut &'a [u8],
    n: usize,
    what: &'static str,
) -> Result<&'a [u8], AdvertisementError> {
    rest.split_off(..n)
        .ok_or(AdvertisementError::Truncated(what))
}

fn array<const N: usize>(
    rest: &mut &[u8],
    what: &'static str,
) -> Result<[u8; N], AdvertisementError> {
    let (head, tail) = rest
        .split_first_chunk()
        .ok_or(AdvertisementError::Truncated(what))?;
    *rest = tail;
    Ok(*head)
}

/// The checksum of RFC 1071: zero over octets that contain a right one.
pub(in crate::mobile_ip) fn internet_checksum(octets: &[u8]) -> u16 {
    let (pairs, odd) = octets.as_chunks::<2>();
    let whole: u32 = pairs
        .iter()
        .map(|pair| u32::from(u16::from_be_bytes(*pair)))
        .sum();
    let mut sum = whole + odd.first().map_or(0, |octet| u32::from(*octet) << 8);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn address(text: &str) -> Ipv4Addr {
        text.parse().expect("an address")
    }

    fn foreign_agent() -> Advertisement {
        let flags = AgentFlags::FOREIGN_AGENT.with(AgentFlags::REVERSE_TUNNEL);
        Advertisement {
            traffic: CommonTraffic::NotRouted,
            lifetime: 9,
            routers: vec![Router {
                address: address("203.0.113.1"),
                preference: 0,
            }],
            agent: Some(MobilityAgent {
                sequence: Sequence(7),
                registration_lifetime: 600,
                flags: flags.with(AgentFlags::REGISTRATION_REQUIRED),
                care_of: vec![address("203.0.113.1")],
            }),
            prefix_lengths: Some(vec![25]),
            challenge: Some(vec![0xde, 0xad, 0xbe, 0xef]),
        }
    }

    /// Octets written by hand from the figures of RFC 1256 §3, RFC 5944 §2.1 and RFC 4721 §2.
    const FOREIGN_AGENT: [u8; 38] = [
        9, 16, 0x0c, 0xc0, 1, 2, 0, 9, // header
        203, 0, 113, 1, 0, 0, 0, 0, // router
        16, 10, 0, 7, 0x02, 0x58, 0x91, 0x00, 203, 0, 113, 1, // mobility agent
        19, 1, 25, // prefix length
        24, 4, 0xde, 0xad, 0xbe, 0xef, // challenge
        0,    // padding
    ];

    #[test]
    fn a_foreign_agent_is_encoded_as_the_figures_are_drawn() {
        let message = Discovery::Advertisement(foreign_agent());
        assert_eq!(message.encode(), FOREIGN_AGENT);
        assert_eq!(Discovery::decode(&FOREIGN_AGENT), Ok(message));
        let prefix = foreign_agent().prefix(0);
        assert_eq!(prefix, "203.0.113.0/25".parse().ok());
    }

    #[test]
    fn a_solicitation_is_eight_octets() {
        let octets = [10, 0, 0xf5, 0xff, 0, 0, 0, 0];
        assert_eq!(Discovery::Solicitation.encode(), octets);
        assert_eq!(Discovery::decode(&octets), Ok(Discovery::Solicitation));
    }

    #[test]
    fn a_plain_router_is_no_mobility_agent() {
        let octets = with_checksum(&[9, 0, 0, 0, 1, 2, 7, 8, 10, 0, 0, 1, 0x80, 0, 0, 0]);
        let Ok(Discovery::Advertisement(plain)) = Discovery::decode(&octets) else {
            panic!("RFC 1256 without extensions");
        };
        assert_eq!(plain.agent, None);
        assert_eq!(plain.routers[0].preference, i32::MIN);
    }

    #[test]
    fn the_sequence_tells_a_restart_from_an_overflow() {
        assert_eq!(Sequence(0xffff).next(), Sequence(256));
        assert!(!Sequence(256).restarted_since(Sequence(0xffff)));
        assert!(Sequence(0).restarted_since(Sequence(0xffff)));
        assert!(Sequence(3).restarted_since(Sequence(4)));
        assert!(!Sequence(300).restarted_since(Sequence(400)));
        assert!(!Sequence(4).restarted_since(Sequence(4)));
    }

    #[test]
    fn reserved_bits_and_skippable_extensions_are_ignored() {
        let mut octets = FOREIGN_AGENT[..37].to_vec();
        octets[23] |= 0x1f;
        octets[22] |= 0x02;
        octets.extend_from_slice(&[200, 2, 1, 2]);
        let octets = with_checksum(&octets);
        let Ok(Discovery::Advertisement(decoded)) = Discovery::decode(&octets) else {
            panic!("they are to be ignored");
        };
        assert_eq!(decoded.agent.expect("an agent").flags, AgentFlags(0x931f));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        use AdvertisementError as E;
        let refused = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut octets = FOREIGN_AGENT.to_vec();
            change(&mut octets);
            Discovery::decode(&with_checksum(&octets)).expect_err("it must be refused")
        };
        assert_eq!(refused(&|o| o[5] = 1), E::EntrySize(1));
        assert_eq!(refused(&|o| o[4] = 0), E::Unknown(113));
        assert_eq!(refused(&|o| o[22] = 0x80), E::Flags(0x8000));
        assert_eq!(
            refused(&|o| o[17] = 9),
            E::Length {
                kind: 16,
                length: 9
            }
        );
        assert_eq!(
            refused(&|o| o[28] = 16),
            E::Length {
                kind: 16,
                length: 1
            }
        );
        let twice = [24, 1, 9, 0];
        assert_eq!(refused(&|o| o.extend_from_slice(&twice)), E::Twice(24));
        assert_eq!(refused(&|o| o[1] = 3), E::Kind { kind: 9, code: 3 });
        assert_eq!(refused(&|o| o.truncate(30)), E::Truncated("extensions"));
        let mut octets = FOREIGN_AGENT;
        octets[30] ^= 1;
        assert_eq!(Discovery::decode(&octets), Err(E::Checksum));
    }

    fn with_checksum(octets: &[u8]) -> Vec<u8> {
        let mut octets = octets.to_vec();
        octets[2..4].fill(0);
        let checksum = internet_checksum(&octets);
        octets[2..4].copy_from_slice(&checksum.to_be_bytes());
        octets
    }

    prop_compose! {
        fn any_agent()(
            sequence: u16,
            registration_lifetime: u16,
            flags: u16,
            care_of in vec(any::<Ipv4Addr>(), 1..=MOST_CARE_OF),
        ) -> MobilityAgent {
            MobilityAgent {
                sequence: Sequence(sequence),
                registration_lifetime,
                flags: AgentFlags(flags).with(AgentFlags::FOREIGN_AGENT),
                care_of,
            }
        }
    }

    prop_compose! {
        fn any_advertisement()(
            routers in vec(any::<(Ipv4Addr, i32)>(), 0..8),
            lengths in proptest::option::of(vec(any::<u8>(), 8)),
            agent in proptest::option::of(any_agent()),
            challenge in proptest::option::of(vec(any::<u8>(), 1..=255)),
            lifetime: u16,
            common: bool,
        ) -> Advertisement {
            Advertisement {
                traffic: if common { CommonTraffic::Routed } else { CommonTraffic::NotRouted },
                lifetime,
                prefix_lengths: lengths.map(|bits| bits[..routers.len()].to_vec()),
                routers: routers
                    .into_iter()
                    .map(|(address, preference)| Router { address, preference })
                    .collect(),
                agent,
                challenge,
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(advertisement in any_advertisement()) {
            let message = Discovery::Advertisement(advertisement);
            let octets = message.encode();
            prop_assert_eq!(octets.len() % 2, 0);
            prop_assert_eq!(Discovery::decode(&octets), Ok(message));
        }

        #[test]
        fn any_octets_are_read_or_refused(octets in vec(any::<u8>(), 8..120)) {
            let mut octets = octets;
            octets[0] = 9 + octets[0] % 2;
            octets[1] &= 16;
            let octets = with_checksum(&octets);
            if let Ok(message) = Discovery::decode(&octets) {
                prop_assert_eq!(Discovery::decode(&message.encode()), Ok(message));
            }
        }
    }
}
