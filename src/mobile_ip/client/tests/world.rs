//! A mobile node in virtual time, and a home agent that is as simple as the standard allows.

use super::super::*;
use crate::mobile_ip::LinkId;
use crate::mobile_ip::replay::Guard;
use crate::mobile_ip::security::{Algorithm, ReplayProtection, SecurityAssociation};
use crate::mobile_ip::wire::{
    AuthenticationKind, Code, Extension, Identification, RegistrationReply, RegistrationRequest,
    TunnelKind,
};
use crate::net::random::Seeded;
use crate::net::{Ipv4Net, Secret};
use std::net::SocketAddrV4;

pub const HOME: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 5);
pub const AGENT: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 2);
pub const CARE_OF: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
pub const FOREIGN: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
pub const LINK: Via = Via::Link(LinkId(2));
pub const UNIX: Duration = Duration::from_secs(1_700_000_000);

pub fn association(replay: ReplayProtection) -> SecurityAssociation {
    SecurityAssociation {
        spi: 256,
        algorithm: Algorithm::HmacSha256,
        key: Secret::from(&b"between node and home"[..]),
        replay,
    }
}

pub fn settings() -> Settings {
    Settings {
        home: Some(HOME),
        home_agent: HomeAgent::Known(AGENT),
        nai: None,
        association: association(ReplayProtection::default()),
        series: 0,
        foreign_agents: Vec::new(),
        port: 40434,
        lifetime: 600,
        renewal: None,
        reverse: ReverseTunnel::Required,
        encapsulation: TunnelKind::IpIp,
        delivery: Delivery::Direct,
        udp: UdpTunnel::Never,
        revocation: false,
        broadcasts: false,
        networks: Vec::new(),
        networks6: Vec::new(),
    }
}

pub fn co_located(epoch: u64) -> Attachment {
    Attachment {
        epoch,
        via: LINK,
        care_of: CareOf::CoLocated { address: CARE_OF },
        keep_others: false,
    }
}

pub fn home_network() -> Ipv4Net {
    "10.20.0.0/24".parse().expect("a prefix")
}

/// What a home agent does with one authenticated request.
pub struct Answer {
    pub code: Code,
    pub lifetime: u16,
    /// Under the authenticator.
    pub extensions: Vec<Extension>,
}

/// Accepts whatever is signed and fresh, as long as it asks for.
pub fn accept(request: &RegistrationRequest) -> Answer {
    Answer {
        code: Code::ACCEPTED,
        lifetime: request.lifetime,
        extensions: Vec::new(),
    }
}

pub struct Home {
    pub association: SecurityAssociation,
    pub clock: Clock,
    pub guard: Guard,
    pub random: Seeded,
    pub address: Ipv4Addr,
    /// Of accepted requests, in their order.
    pub accepted: Vec<(Ipv4Addr, u16)>,
}

impl Home {
    pub fn new(now: Instant, replay: ReplayProtection) -> Self {
        Self {
            association: association(replay),
            clock: Clock::new(now, UNIX),
            guard: Guard::new(replay),
            random: Seeded(99),
            address: AGENT,
            accepted: Vec::new(),
        }
    }

    /// The payload of its reply; `None` where it is silent.
    pub fn reply(
        &mut self,
        now: Instant,
        payload: &[u8],
        judge: impl FnOnce(&RegistrationRequest) -> Answer,
    ) -> Option<Vec<u8>> {
        let decoded = Decoded::decode(payload).expect("a request can be decoded");
        let Message::Request(request) = &decoded.message else {
            panic!("no request");
        };
        let placed = decoded.only_authenticator(AuthenticationKind::MobileHome)?;
        if !self.association.verify(&placed) {
            return None;
        }
        let replay = self.association.replay;
        let id = request.identification;
        if !self.guard.is_fresh(now, &self.clock, replay, id) {
            let id = self
                .guard
                .refuse(now, &self.clock, replay, id, &mut self.random);
            let mismatch = Answer {
                code: Code::HA_IDENTIFICATION,
                lifetime: 0,
                extensions: Vec::new(),
            };
            return Some(self.sign(request, id, mismatch));
        }
        let id = self.guard.accept(id, &mut self.random);
        let answer = judge(request);
        if answer.code.is_accepted() {
            self.accepted.push((request.care_of, answer.lifetime));
        }
        Some(self.sign(request, id, answer))
    }

    pub fn sign(
        &self,
        request: &RegistrationRequest,
        identification: Identification,
        answer: Answer,
    ) -> Vec<u8> {
        let home = if request.home.is_unspecified() {
            HOME
        } else {
            request.home
        };
        let mut octets = RegistrationReply {
            code: answer.code,
            lifetime: answer.lifetime,
            home,
            home_agent: self.address,
            identification,
            extensions: answer.extensions,
        }
        .encode();
        self.association
            .sign(AuthenticationKind::MobileHome, &mut octets);
        octets
    }
}

/// A mobile node, what it has sent, and what it has said.
pub struct Node {
    pub start: Instant,
    pub now: Instant,
    pub client: Client,
    pub sent: Vec<Datagram>,
    pub outcomes: Vec<Outcome>,
    pub suspicions: Vec<Suspicion>,
    pub solicited: usize,
}

impl Node {
    pub fn new(settings: Settings) -> Self {
        let start = Instant::now();
        let clock = Clock::new(start, UNIX);
        Self {
            start,
            now: start,
            client: Client::new(start, settings, clock, Box::new(Seeded(7))),
            sent: Vec::new(),
            outcomes: Vec::new(),
            suspicions: Vec::new(),
            solicited: 0,
        }
    }

    pub fn input(&mut self, input: Input) -> &mut Self {
        self.client.handle(self.now, input);
        self.drain();
        self
    }

    pub fn hear(&mut self, payload: Vec<u8>) -> &mut Self {
        let newest = self.sent.last().expect("something was sent").clone();
        self.input(Input::Datagram(Datagram { payload, ..newest }))
    }

    /// Until `seconds` have passed since the start.
    pub fn wait_until(&mut self, seconds: f64) -> &mut Self {
        let until = self.start + Duration::from_secs_f64(seconds);
        while let Some(at) = self.client.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.client.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
        self
    }

    fn drain(&mut self) {
        while let Some(effect) = self.client.poll_effect() {
            match effect {
                Effect::Send(datagram) => self.sent.push(datagram),
                Effect::Outcome(outcome) => self.outcomes.push(outcome),
                Effect::Suspicious(why) => self.suspicions.push(why),
                Effect::Solicit(_) => self.solicited += 1,
            }
        }
    }

    /// The newest datagram, as a request.
    pub fn asked(&self) -> RegistrationRequest {
        request(self.sent.last().expect("something was sent"))
    }

    pub fn registered(&self) -> &Registered {
        match self.outcomes.last() {
            Some(Outcome::Registered(registered)) => registered,
            other => panic!("not registered but {other:?}"),
        }
    }
}

pub fn request(datagram: &Datagram) -> RegistrationRequest {
    match Decoded::decode(&datagram.payload).map(|decoded| decoded.message) {
        Ok(Message::Request(request)) => request,
        other => panic!("no request but {other:?}"),
    }
}

pub fn at(address: Ipv4Addr, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(address, port)
}
