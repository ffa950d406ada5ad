//! Those who know no key: what they write, and what they have overheard, changes nothing at the proxy agent.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

use super::agreed::{HOME_AGENT, NODES, PROXY, home};
use super::world::World;
use xfrm_agent::mobile_ip::client::{Doing, Registered};
use xfrm_agent::mobile_ip::proxy_agent::{Input, Stitch};
use xfrm_agent::mobile_ip::security::SecurityAssociation;
use xfrm_agent::mobile_ip::wire::{
    AuthenticationKind, Code, Decoded, Extension, Flags, Identification, Message,
    RegistrationReply, RegistrationRequest, Revocation,
};
use xfrm_agent::mobile_ip::{Datagram, LinkId, Via};
use xfrm_agent::net::{Random, Secret};

const STRANGER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 200), 4_000);
/// Source addresses are anybody's.
const AS_HOME_AGENT: SocketAddrV4 = SocketAddrV4::new(HOME_AGENT, 434);
/// What they remember.
const MOST: usize = 16;

/// How a node stands at the proxy agent.
#[derive(Debug, PartialEq)]
struct Standing {
    stitched: Option<Stitch>,
    until: Option<Instant>,
    doing: Doing,
    registered: Option<Registered>,
}

/// What has come to the proxy agent since it began.
#[derive(Default)]
pub struct Overheard {
    requests: Vec<Datagram>,
    /// By the inner home agent.
    revocations: Vec<Datagram>,
    /// What works once, and did.
    used: Vec<Datagram>,
}

impl Overheard {
    pub fn hear(&mut self, datagram: &Datagram) {
        let is_request = *datagram.local.ip() == PROXY && *datagram.remote.ip() != HOME_AGENT;
        let heard = if is_request {
            &mut self.requests
        } else if revocation(datagram).is_some() {
            &mut self.revocations
        } else {
            &mut self.used
        };
        heard.push(datagram.clone());
        if heard.len() > MOST {
            heard.remove(0);
        }
    }

    /// What was granted. A request that is refused may be fresh later, when clocks are apart (RFC 5944 §5.7.1).
    pub fn answered(&mut self, answer: &Datagram) -> Option<RegistrationRequest> {
        let accepted = accepted(answer)?;
        let mut asked = self.requests.iter().rev();
        let (datagram, request) = asked.find_map(|datagram| {
            let request = request(datagram).filter(|_| datagram.remote == answer.remote)?;
            (request.identification.low() == accepted).then_some((datagram.clone(), request))
        })?;
        self.used.push(datagram);
        Some(request)
    }

    /// The proxy agent says that something has been taken back. What nobody has acknowledged may be of what was granted since, in
    /// the same second (RFC 3543 §3.5): that works later.
    pub fn acknowledged(&mut self, ack: &Datagram) {
        let Ok(decoded) = Decoded::decode(&ack.payload) else {
            return;
        };
        let Message::RevocationAck(ack) = decoded.message else {
            return;
        };
        let key = Some((ack.home, ack.identifier));
        let mut revocations = self.revocations.iter();
        let of_it = revocations.position(|datagram| revocation(datagram) == key);
        self.used
            .extend(of_it.map(|at| self.revocations.remove(at)));
    }
}

/// Of which home address, and when.
fn revocation(datagram: &Datagram) -> Option<(Ipv4Addr, u32)> {
    match Decoded::decode(&datagram.payload).ok()?.message {
        Message::Revocation(revocation) => Some((revocation.home, revocation.identifier)),
        _ => None,
    }
}

/// The half of the identification that an answer repeats.
fn accepted(answer: &Datagram) -> Option<u32> {
    match Decoded::decode(&answer.payload).ok()?.message {
        Message::Reply(reply) if reply.code.is_accepted() => Some(reply.identification.low()),
        _ => None,
    }
}

pub fn request(datagram: &Datagram) -> Option<RegistrationRequest> {
    match Decoded::decode(&datagram.payload).ok()?.message {
        Message::Request(request) => Some(request),
        _ => None,
    }
}

impl World {
    pub fn stranger_tries(&mut self) {
        let node = self.random.u32() as usize % NODES;
        let heard = self.overheard.used.len();
        let at = self.random.u32() as usize % heard.max(1);
        let of_before = self.overheard.used.get(at).cloned();
        let inside = SocketAddrV4::new(self.setup.care_of, 434);
        let outside = SocketAddrV4::new(PROXY, 434);
        let (remote, local, payload) = match (self.random.u32() % 5, of_before) {
            (0, Some(datagram)) => (datagram.remote, datagram.local, datagram.payload),
            (1, Some(datagram)) => (STRANGER, datagram.local, datagram.payload),
            (2, Some(datagram)) => (datagram.remote, datagram.local, self.spoiled(&datagram)),
            (3, _) => (AS_HOME_AGENT, inside, self.of_home_agent(node)),
            _ => (STRANGER, outside, self.forged_request(node)),
        };
        let tried = Datagram {
            via: Via::Link(LinkId(1)),
            local,
            remote,
            payload,
        };
        self.tell(&format_args!("a stranger sends {tried:?}"));
        let before = self.standings();
        self.proxy
            .room
            .handle(self.now, Input::Datagram(tried.clone()));
        for answer in self.proxy.carry_out() {
            // Where the way back is not known to be right, no more comes back than was sent.
            let is_outside = *tried.remote.ip() != HOME_AGENT;
            let is_more = answer.payload.len() > tried.payload.len();
            assert!(!(is_outside && is_more), "{answer:?}: {}", self.told());
            assert_eq!(accepted(&answer), None, "{}", self.told());
        }
        assert_eq!(before, self.standings(), "{}", self.told());
    }

    fn standings(&self) -> Vec<Standing> {
        let views = self.proxy.room.view().into_iter();
        let standings = views.map(|view| Standing {
            stitched: view.stitched,
            until: view.until,
            doing: view.inner.doing,
            registered: view.inner.registered,
        });
        standings.collect()
    }

    /// One bit is another one, or the end is missing.
    fn spoiled(&mut self, datagram: &Datagram) -> Vec<u8> {
        let mut payload = datagram.payload.clone();
        let at = self.random.u32() as usize % payload.len();
        if self.percent(50) {
            payload.truncate(at);
        } else {
            payload[at] ^= 1 << (self.random.u32() % 8);
        }
        payload
    }

    fn forged_request(&mut self, node: usize) -> Vec<u8> {
        let leaves = self.percent(50);
        let mut payload = RegistrationRequest {
            flags: Flags::DECAPSULATION | Flags::REVERSE_TUNNEL,
            lifetime: if leaves { 0 } else { 300 },
            home: home(node),
            home_agent: PROXY,
            care_of: *STRANGER.ip(),
            identification: self.known_identification(),
            extensions: Vec::new(),
        }
        .encode();
        self.guess()
            .sign(AuthenticationKind::MobileHome, &mut payload);
        payload
    }

    /// An answer to the surrogate, or the end of its binding.
    fn of_home_agent(&mut self, node: usize) -> Vec<u8> {
        let identification = self.known_identification();
        let mut payload = if self.percent(50) {
            RegistrationReply {
                code: [Code::ACCEPTED, Code::HA_PROHIBITED, Code::HA_IDENTIFICATION]
                    [self.random.u32() as usize % 3],
                lifetime: 300,
                home: home(node),
                home_agent: HOME_AGENT,
                identification,
                extensions: vec![Extension::TrustedNetworksConfigured],
            }
            .encode()
        } else {
            Revocation {
                by_home_agent: true,
                inform: false,
                home: home(node),
                home_domain: HOME_AGENT,
                foreign_domain: self.setup.care_of,
                identifier: identification.high(),
                extensions: Vec::new(),
            }
            .encode()
        };
        self.guess()
            .sign(AuthenticationKind::MobileHome, &mut payload);
        payload
    }

    /// Anybody on the way reads those.
    fn known_identification(&self) -> Identification {
        let heard = self.overheard.requests.iter().chain(&self.overheard.used);
        let mut ids = heard.filter_map(|d| match Decoded::decode(&d.payload).ok()?.message {
            Message::Request(request) => Some(request.identification),
            Message::Reply(reply) => Some(reply.identification),
            _ => None,
        });
        ids.next_back()
            .unwrap_or_else(|| Identification::of_halves(0, 0))
    }

    fn guess(&self) -> SecurityAssociation {
        SecurityAssociation {
            key: Secret::from(&b"a guess"[..]),
            ..self.setup.outer_key(0)
        }
    }
}
