//! Which algorithms: what we offer, what we choose of an offer, what we take for an answer
//! (RFC 7296 §2.7, §3.3).

use super::crypto::cipher::{Cipher, KeyBits};
use super::crypto::{Group, Prf, Protection};
use super::effects::Sha2;
use super::settings::ChildProtocol;
use super::wire::{Proposal, ProtocolId, Transform, TransformKind};
use crate::net::Spi;

/// The algorithms of an IKE SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IkeSuite {
    pub cipher: Cipher,
    pub prf: Prf,
    pub group: Group,
}

/// The algorithms of a child SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChildSuite {
    pub protection: Protection,
    /// A key exchange of its own; `None` derives from the IKE SA alone.
    pub group: Option<Group>,
    pub esn: bool,
}

/// What we chose, and how to say so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen<S> {
    pub suite: S,
    /// The peer's SPI: empty for the first IKE SA.
    pub spi: Vec<u8>,
    /// The peer's proposal cut down to the choice, with our SPI still to be put in.
    pub answer: Proposal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    NoProposalChosen,
    /// The proposal would do, with a key exchange in this group (`INVALID_KE_PAYLOAD`).
    WrongGroup(Group),
}

const AES_CBC: u16 = 12;
const AES_GCM_16: u16 = 20;
const KEYS: [KeyBits; 2] = [KeyBits::K256, KeyBits::K128];
const HASHES: [Sha2; 3] = [Sha2::Sha256, Sha2::Sha384, Sha2::Sha512];
/// As a KE or INTEG transform: none is an acceptable choice.
const NONE: u16 = 0;
/// In the order of preference: extended sequence numbers first.
const ESN: [u16; 2] = [1, 0];

fn prf_id(hash: Sha2) -> u16 {
    match hash {
        Sha2::Sha256 => 5,
        Sha2::Sha384 => 6,
        Sha2::Sha512 => 7,
    }
}

fn integ_id(hash: Sha2) -> u16 {
    match hash {
        Sha2::Sha256 => 12,
        Sha2::Sha384 => 13,
        Sha2::Sha512 => 14,
    }
}

fn transforms(kind: TransformKind, ids: impl IntoIterator<Item = u16>) -> Vec<Transform> {
    let ids = ids.into_iter();
    ids.map(|id| Transform::new(kind, id)).collect()
}

/// Encryption with integrity of its own and without cannot share a proposal (RFC 5282 §8), so
/// there are two, each with the transforms `common` to both.
fn offer(protocol: ProtocolId, spi: &[u8], common: &[Transform]) -> Vec<Proposal> {
    let ciphers = |id| KEYS.map(|k| Transform::new(TransformKind::ENCR, id).key_bits(k.bits()));
    let integrity = transforms(TransformKind::INTEG, HASHES.map(integ_id));
    let proposal = |number, parts: &[&[Transform]]| Proposal {
        number,
        protocol,
        spi: spi.to_vec(),
        transforms: parts.concat(),
    };
    vec![
        proposal(1, &[&ciphers(AES_GCM_16), common]),
        proposal(2, &[&ciphers(AES_CBC), &integrity, common]),
    ]
}

impl ChildProtocol {
    pub(super) fn id(self) -> ProtocolId {
        match self {
            Self::Esp => ProtocolId::ESP,
            Self::Ah => ProtocolId::AH,
        }
    }

    pub(super) fn from_id(id: ProtocolId) -> Option<Self> {
        [Self::Esp, Self::Ah].into_iter().find(|p| p.id() == id)
    }

    /// What a proposal of it may consist of (RFC 7296 §3.3.3).
    fn kinds(self) -> &'static [TransformKind] {
        const ALL: [TransformKind; 4] = [
            TransformKind::ENCR,
            TransformKind::INTEG,
            TransformKind::KE,
            TransformKind::ESN,
        ];
        match self {
            Self::Esp => &ALL,
            Self::Ah => &ALL[1..],
        }
    }
}

/// For `IKE_SA_INIT`.
pub fn offer_ike() -> Vec<Proposal> {
    let common = [
        transforms(TransformKind::PRF, HASHES.map(prf_id)),
        transforms(TransformKind::KE, Group::ALL.map(Group::id)),
    ];
    offer(ProtocolId::IKE, &[], &common.concat())
}

/// For the child made within `IKE_AUTH`, which has no key exchange of its own (RFC 7296 §1.2).
pub fn offer_first_child(protocol: ChildProtocol, spi: Spi) -> Vec<Proposal> {
    let common = transforms(TransformKind::ESN, ESN);
    offer_protection(protocol, spi, &common)
}

/// For `CREATE_CHILD_SA`: a key exchange is wanted, and not insisted upon, since a peer whose own
/// proposals have none would refuse otherwise.
pub fn offer_child(protocol: ChildProtocol, spi: Spi) -> Vec<Proposal> {
    let groups = Group::ALL.map(Group::id).into_iter().chain([NONE]);
    let common = [
        transforms(TransformKind::KE, groups),
        transforms(TransformKind::ESN, ESN),
    ];
    offer_protection(protocol, spi, &common.concat())
}

fn offer_protection(protocol: ChildProtocol, spi: Spi, common: &[Transform]) -> Vec<Proposal> {
    let spi = spi.0.to_be_bytes();
    match protocol {
        ChildProtocol::Esp => offer(ProtocolId::ESP, &spi, common),
        ChildProtocol::Ah => vec![Proposal {
            number: 1,
            protocol: ProtocolId::AH,
            spi: spi.to_vec(),
            transforms: [
                &transforms(TransformKind::INTEG, HASHES.map(integ_id)),
                common,
            ]
            .concat(),
        }],
    }
}

/// A proposal while transforms are being chosen from it.
struct Choice<'a> {
    proposal: &'a Proposal,
    chosen: Vec<Transform>,
}

impl Choice<'_> {
    fn find(&self, kind: TransformKind, id: u16, bits: u16) -> Option<Transform> {
        let mut all = self.proposal.transforms.iter();
        all.find(|t| t.kind == kind && t.id == id && t.key_length() == Some(bits))
            .cloned()
    }

    fn offers(&self, kind: TransformKind) -> bool {
        self.proposal.transforms.iter().any(|t| t.kind == kind)
    }

    /// The first of `wanted` that is offered, noted as chosen.
    fn pick<T: Copy>(&mut self, kind: TransformKind, wanted: &[(T, u16, u16)]) -> Option<T> {
        let (value, transform) = wanted
            .iter()
            .find_map(|(value, id, bits)| Some((*value, self.find(kind, *id, *bits)?)))?;
        self.chosen.push(transform);
        Some(value)
    }

    fn cipher(&mut self) -> Option<Cipher> {
        let without_integrity = !self.offers(TransformKind::INTEG)
            || self.find(TransformKind::INTEG, NONE, 0).is_some();
        if without_integrity {
            let wanted = KEYS.map(|k| (Cipher::AesGcm16(k), AES_GCM_16, k.bits()));
            if let Some(cipher) = self.pick(TransformKind::ENCR, &wanted) {
                return Some(cipher);
            }
        }
        let bits = self.pick(TransformKind::ENCR, &KEYS.map(|k| (k, AES_CBC, k.bits())))?;
        Some(Cipher::AesCbc(bits, self.integrity()?))
    }

    fn integrity(&mut self) -> Option<Sha2> {
        self.pick(TransformKind::INTEG, &HASHES.map(|h| (h, integ_id(h), 0)))
    }

    fn protection(&mut self) -> Option<Protection> {
        match ChildProtocol::from_id(self.proposal.protocol)? {
            ChildProtocol::Esp => self.cipher().map(Protection::Esp),
            ChildProtocol::Ah => self.integrity().map(Protection::Ah),
        }
    }

    /// The group of the key exchange that came along, if it will do.
    fn group(&mut self, ke: Option<u16>) -> Result<Option<Group>, Refusal> {
        let offered = |g: &Group| self.find(TransformKind::KE, g.id(), 0).is_some();
        let wanted: Vec<Group> = Group::ALL.into_iter().filter(offered).collect();
        if let Some(group) = wanted.iter().find(|g| Some(g.id()) == ke) {
            self.pick(TransformKind::KE, &[((), group.id(), 0)]);
            return Ok(Some(*group));
        }
        if !self.offers(TransformKind::KE)
            || self.pick(TransformKind::KE, &[((), NONE, 0)]).is_some()
        {
            return Ok(None);
        }
        Err(wanted
            .first()
            .map_or(Refusal::NoProposalChosen, |g| Refusal::WrongGroup(*g)))
    }

    fn finish<S>(self, suite: S) -> Chosen<S> {
        Chosen {
            suite,
            spi: self.proposal.spi.clone(),
            answer: Proposal {
                transforms: self.chosen,
                spi: Vec::new(),
                ..*self.proposal
            },
        }
    }
}

fn consists_of(proposal: &Proposal, kinds: &[TransformKind]) -> bool {
    proposal.transforms.iter().all(|t| kinds.contains(&t.kind))
}

/// The first proposal of the peer's that `choose` can use.
fn choose<S>(
    proposals: &[Proposal],
    understands: impl Fn(&Proposal) -> bool,
    choose: impl Fn(&mut Choice<'_>) -> Result<S, Refusal>,
) -> Result<Chosen<S>, Refusal> {
    let mut refusal = Refusal::NoProposalChosen;
    for proposal in proposals.iter().filter(|p| understands(p)) {
        let mut choice = Choice {
            proposal,
            chosen: Vec::new(),
        };
        match choose(&mut choice) {
            Ok(suite) => return Ok(choice.finish(suite)),
            Err(Refusal::WrongGroup(g)) if refusal == Refusal::NoProposalChosen => {
                refusal = Refusal::WrongGroup(g);
            }
            Err(_) => {}
        }
    }
    Err(refusal)
}

/// As the responder of `IKE_SA_INIT` (`spi_len` 0) or of the exchange that replaces an IKE SA
/// (`spi_len` 8). `ke` is the group of the peer's KE payload.
pub fn choose_ike(
    proposals: &[Proposal],
    spi_len: usize,
    ke: u16,
) -> Result<Chosen<IkeSuite>, Refusal> {
    let known = [
        TransformKind::ENCR,
        TransformKind::PRF,
        TransformKind::INTEG,
        TransformKind::KE,
    ];
    let understands = |p: &Proposal| {
        p.protocol == ProtocolId::IKE && p.spi.len() == spi_len && consists_of(p, &known)
    };
    choose(proposals, understands, |choice| {
        let cipher = choice.cipher().ok_or(Refusal::NoProposalChosen)?;
        let wanted = HASHES.map(|h| (Prf(h), prf_id(h), 0));
        let prf = choice.pick(TransformKind::PRF, &wanted);
        let prf = prf.ok_or(Refusal::NoProposalChosen)?;
        let group = choice.group(Some(ke))?;
        let group = group.ok_or(Refusal::NoProposalChosen)?;
        Ok(IkeSuite { cipher, prf, group })
    })
}

/// As the responder. `ke` is the group of the peer's KE payload, if there is one; `allowed` are
/// the protocols that will do.
pub fn choose_child(
    proposals: &[Proposal],
    ke: Option<u16>,
    allowed: &[ChildProtocol],
) -> Result<Chosen<ChildSuite>, Refusal> {
    let understands = |p: &Proposal| {
        let protocol = ChildProtocol::from_id(p.protocol).filter(|p| allowed.contains(p));
        p.spi.len() == 4 && protocol.is_some_and(|protocol| consists_of(p, protocol.kinds()))
    };
    choose(proposals, understands, |choice| {
        let protection = choice.protection().ok_or(Refusal::NoProposalChosen)?;
        let esn = choice.pick(TransformKind::ESN, &ESN.map(|id| (id == 1, id, 0)));
        // Every proposal should say (RFC 7296 §3.3.3); one that does not means the old numbers.
        if esn.is_none() && choice.offers(TransformKind::ESN) {
            return Err(Refusal::NoProposalChosen);
        }
        let group = choice.group(ke)?;
        Ok(ChildSuite {
            protection,
            group,
            esn: esn.unwrap_or(false),
        })
    })
}

/// Whether an answer is one choice and no more: one proposal, one transform of a kind.
fn is_single(proposals: &[Proposal]) -> bool {
    let [proposal] = proposals else { return false };
    let mut kinds: Vec<_> = proposal.transforms.iter().map(|t| t.kind).collect();
    kinds.sort();
    kinds.windows(2).all(|pair| pair[0] != pair[1])
}

/// As the initiator of `IKE_SA_INIT`: everything that can be chosen from an answer we have
/// offered, so choosing from it checks it.
pub fn accept_ike(answer: &[Proposal], ke: u16) -> Option<IkeSuite> {
    let chosen = choose_ike(answer, 0, ke).ok()?;
    is_single(answer).then_some(chosen.suite)
}

/// As the initiator, who offered `protocol`. `ke` is the group of the answer's KE payload.
pub fn accept_child(
    answer: &[Proposal],
    ke: Option<u16>,
    protocol: ChildProtocol,
) -> Option<(Spi, ChildSuite)> {
    let chosen = choose_child(answer, ke, &[protocol]).ok()?;
    let spi = Spi(u32::from_be_bytes(chosen.spi.try_into().ok()?));
    let sound = is_single(answer) && spi.0 >= Spi::FIRST && chosen.suite.group.map(Group::id) == ke;
    sound.then_some((spi, chosen.suite))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::tests::hex;
    use crate::ike::wire::{Payload, PayloadKind, Payloads};

    const SPI: Spi = Spi(0x0102_0304);
    const ESP: ChildProtocol = ChildProtocol::Esp;
    const AH: ChildProtocol = ChildProtocol::Ah;

    fn answer<S>(chosen: &Chosen<S>, spi: &[u8]) -> Vec<Proposal> {
        vec![Proposal {
            spi: spi.to_vec(),
            ..chosen.answer.clone()
        }]
    }

    #[test]
    fn our_own_offer_is_accepted_at_its_best() {
        let chosen = choose_ike(&offer_ike(), 0, 31).unwrap();
        let best = IkeSuite {
            cipher: Cipher::AesGcm16(KeyBits::K256),
            prf: Prf(Sha2::Sha256),
            group: Group::X25519,
        };
        assert_eq!(chosen.suite, best);
        assert_eq!(accept_ike(&answer(&chosen, &[]), 31), Some(best));
        assert_eq!(accept_ike(&answer(&chosen, &[]), 19), None);
    }

    #[test]
    fn the_group_of_the_key_exchange_at_hand_is_taken_and_another_is_asked_for() {
        assert_eq!(
            choose_ike(&offer_ike(), 0, 19).unwrap().suite.group,
            Group::P256
        );
        let wrong = Err(Refusal::WrongGroup(Group::X25519));
        assert_eq!(choose_ike(&offer_ike(), 0, 14).map(|c| c.suite), wrong);
    }

    #[test]
    fn an_answer_with_two_choices_is_none() {
        assert_eq!(accept_ike(&offer_ike(), 31), None);
        let mut twice = answer(&choose_ike(&offer_ike(), 0, 31).unwrap(), &[]);
        let prf = twice[0]
            .transforms
            .iter()
            .find(|t| t.kind == TransformKind::PRF);
        let again = prf.unwrap().clone();
        twice[0].transforms.push(again);
        assert_eq!(accept_ike(&twice, 31), None);
    }

    #[test]
    fn a_childs_own_key_exchange_is_optional_both_ways() {
        for (ke, group) in [
            (Some(31), Some(Group::X25519)),
            (Some(19), Some(Group::P256)),
            (None, None),
        ] {
            let chosen = choose_child(&offer_child(ESP, SPI), ke, &[ESP]).unwrap();
            assert_eq!(chosen.suite.group, group);
            assert_eq!(chosen.spi, SPI.0.to_be_bytes());
            let answer = answer(&chosen, &SPI.0.to_be_bytes());
            assert_eq!(accept_child(&answer, ke, ESP), Some((SPI, chosen.suite)));
            assert_eq!(accept_child(&answer, ke, AH), None);
        }
        let chosen = choose_child(&offer_first_child(ESP, SPI), None, &[ESP]).unwrap();
        assert_eq!(chosen.suite.group, None);
        assert!(chosen.suite.esn);
    }

    #[test]
    fn a_peer_that_insists_on_a_key_exchange_is_told_which() {
        let mut offer = offer_child(ESP, SPI);
        for proposal in &mut offer {
            proposal
                .transforms
                .retain(|t| t.kind != TransformKind::KE || t.id == 19);
        }
        let refused = choose_child(&offer, Some(31), &[ESP]).map(|c| c.suite);
        assert_eq!(refused, Err(Refusal::WrongGroup(Group::P256)));
    }

    #[test]
    fn what_is_not_understood_is_not_chosen() {
        let mut offer = offer_ike();
        offer[0]
            .transforms
            .push(Transform::new(TransformKind(6), 36));
        let chosen = choose_ike(&offer, 0, 31).unwrap();
        assert_eq!(chosen.answer.number, 2);
        let cbc = Cipher::AesCbc(KeyBits::K256, Sha2::Sha256);
        assert_eq!(chosen.suite.cipher, cbc);
        offer[1]
            .transforms
            .retain(|t| t.kind != TransformKind::INTEG);
        let none = Err(Refusal::NoProposalChosen);
        assert_eq!(choose_ike(&offer, 0, 31).map(|c| c.suite), none);
        assert_eq!(choose_ike(&[], 0, 31).map(|c| c.suite), none);
    }

    #[test]
    fn integrity_beside_an_algorithm_that_has_its_own_must_be_none() {
        let mut offer = offer_first_child(ESP, SPI);
        offer.truncate(1);
        let integ = |id| Transform::new(TransformKind::INTEG, id);
        offer[0].transforms.push(integ(12));
        assert!(choose_child(&offer, None, &[ESP]).is_err());
        offer[0].transforms.push(integ(NONE));
        assert!(choose_child(&offer, None, &[ESP]).is_ok());
    }

    #[test]
    fn ah_is_chosen_where_it_is_allowed_and_with_integrity_alone() {
        for ke in [Some(31), None] {
            let offer = offer_child(AH, SPI);
            let chosen = choose_child(&offer, ke, &[ESP, AH]).unwrap();
            let suite = ChildSuite {
                protection: Protection::Ah(Sha2::Sha256),
                group: ke.and_then(Group::from_id),
                esn: true,
            };
            assert_eq!(chosen.suite, suite);
            let answer = answer(&chosen, &SPI.0.to_be_bytes());
            assert_eq!(accept_child(&answer, ke, AH), Some((SPI, suite)));
            assert_eq!(accept_child(&answer, ke, ESP), None);
            assert!(choose_child(&offer, ke, &[ESP]).is_err());
        }
        let mut offer = offer_first_child(AH, SPI);
        let none = Transform::new(TransformKind::INTEG, NONE);
        offer[0].transforms[..3].fill(none);
        assert!(choose_child(&offer, None, &[AH]).is_err());
        let mut encrypting = offer_first_child(AH, SPI);
        let cipher = Transform::new(TransformKind::ENCR, AES_CBC).key_bits(128);
        encrypting[0].transforms.push(cipher);
        assert!(choose_child(&encrypting, None, &[AH]).is_err());
    }

    #[test]
    fn of_two_protocols_the_peers_first_allowed_is_chosen() {
        let both = [offer_first_child(AH, SPI), offer_first_child(ESP, SPI)].concat();
        let chosen = |allowed: &[_]| choose_child(&both, None, allowed).unwrap().suite;
        assert_eq!(chosen(&[ESP, AH]).protection.protocol(), AH);
        assert_eq!(chosen(&[ESP]).protection.protocol(), ESP);
    }

    /// Written by hand from RFC 7296 §3.3: AH with the three integrity transforms of RFC 4868.
    #[test]
    fn an_offer_of_ah_has_these_octets() {
        let payloads = Payloads(vec![Payload::Sa(offer_first_child(AH, SPI))]);
        let octets = hex("00000038 00000034 01020405 01020304 \
             03000008 0300000c 03000008 0300000d 03000008 0300000e \
             03000008 05000001 00000008 05000000");
        assert_eq!(payloads.encode(), (PayloadKind::SA, octets));
    }
}
