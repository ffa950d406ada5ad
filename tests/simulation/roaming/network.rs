//! How datagrams pass: who reaches whom from where, what is lost, late or there twice.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::agreed::{S, S_AGENT};
use super::places::Network;
use super::sites;
use super::visited::{Heard, Passing};
use super::world::{Happening, Which, World};
use xfrm_agent::mobile_ip::dual_client::station::Input;
use xfrm_agent::mobile_ip::wire::{
    AuthenticationKind, Code, Decoded, Extension, Message, RegistrationReply,
};
use xfrm_agent::mobile_ip::{Datagram, LinkId, Via};

/// As a home agent has its own network.
const AGENTS_LINK: Via = Via::Link(LinkId(1));

impl World {
    /// From the client.
    pub(super) fn leaves(&mut self, datagram: Datagram) {
        self.count();
        self.asks_inner(&datagram);
        self.knows_of_revocation(&datagram);
        let to = *datagram.remote.ip();
        if let (Some(at), Via::Link(link)) = (self.visited.at(to), datagram.via) {
            let is_there = self.plugged.get(&link) == Some(&self.visited.place(at));
            if is_there {
                let asked = Passing::ToAgent(Heard::Asked(link, datagram));
                self.send(&Happening::Passes(at, asked));
            }
            return;
        }
        let Some(which) = who_is(to) else {
            panic!("nobody is to be asked there: {}", self.told());
        };
        let Some(source) = self.source_at(which, &datagram) else {
            return;
        };
        let arriving = Datagram {
            via: AGENTS_LINK,
            local: datagram.remote,
            remote: source,
            payload: datagram.payload,
        };
        self.send(&Happening::AtAgent(which, arriving));
    }

    /// From a foreign agent, to a home agent. There is the wall.
    pub(super) fn relayed(&mut self, place: Network, datagram: Datagram) {
        let which = who_is(*datagram.remote.ip()).expect("it was asked for");
        if which != Which::Inner || place.is_inside() {
            let arriving = Datagram {
                via: AGENTS_LINK,
                local: datagram.remote,
                remote: datagram.local,
                payload: datagram.payload,
            };
            self.send(&Happening::AtAgent(which, arriving));
        }
    }

    /// Whom a home agent takes this for, if it comes to it.
    fn source_at(&mut self, which: Which, datagram: &Datagram) -> Option<SocketAddrV4> {
        let link = match datagram.via {
            Via::Routed => {
                let is_of_vpn = *datagram.local.ip() == self.over_the_vpn();
                let passes = which == Which::Inner && is_of_vpn && self.vpn_passes();
                return passes.then_some(datagram.local);
            }
            Via::Link(link) => link,
        };
        let network = self.plugged.get(&link).copied()?;
        let visit = self.visits[&link];
        match (which, network) {
            (_, Network::Unplugged) => None,
            (Which::Inner, Network::FakeForging) => {
                self.forges(datagram, link);
                None
            }
            // The wall stops what comes in the clear from outside, but an accomplice may have a hole in it.
            (Which::Inner, network) if !network.is_inside() => (network == Network::FakeRelaying)
                .then(|| network.seen(link, visit, datagram.local)),
            _ => Some(network.seen(link, visit, datagram.local)),
        }
    }

    /// An answer with another key that says all that a genuine one would, and a genuine one of before.
    fn forges(&mut self, datagram: &Datagram, link: LinkId) {
        let decoded = Decoded::decode(&datagram.payload).expect("what the client sends is right");
        let Message::Request(request) = decoded.message else {
            return;
        };
        let mut forged = RegistrationReply {
            code: Code::ACCEPTED,
            lifetime: request.lifetime,
            home: request.home,
            home_agent: request.home_agent,
            identification: request.identification,
            extensions: vec![Extension::TrustedNetworksConfigured],
        }
        .encode();
        let association = self.setup.association(b"a guess");
        association.sign(AuthenticationKind::MobileHome, &mut forged);
        for payload in [Some(forged), self.overheard.clone()].into_iter().flatten() {
            self.send(&Happening::AtClient(Datagram {
                via: Via::Link(link),
                local: datagram.local,
                remote: datagram.remote,
                payload,
            }));
        }
    }

    pub(super) fn reaches(&mut self, which: Which, datagram: Datagram) {
        let now = self.now;
        for reply in self.home(which).hear(now, datagram) {
            self.replies(which, reply);
        }
    }

    /// From a home agent.
    pub(super) fn replies(&mut self, which: Which, reply: Datagram) {
        // Also what went over the VPN: an accomplice inside reads that.
        if which == Which::Inner {
            self.overheard = Some(reply.payload.clone());
        }
        self.send(&Happening::AtClient(Datagram {
            via: Via::Routed,
            ..reply
        }));
    }

    /// Where it comes out, if it does. What an agent sends has the client as its remote end.
    pub(super) fn returns(&mut self, datagram: Datagram) {
        if let Some(at) = self.visited.at(*datagram.remote.ip()) {
            return self.passes(at, Passing::ToAgent(Heard::Answered(datagram)));
        }
        // A forged one is on its link already.
        let is_forged = matches!(datagram.via, Via::Link(_));
        let arrived = if is_forged {
            Some(datagram)
        } else {
            let which = who_is(*datagram.local.ip()).expect("an agent has sent it");
            self.arrival(which, datagram.remote).map(|(via, local)| {
                if which == Which::Inner {
                    self.witness(via, &datagram);
                }
                Datagram {
                    via,
                    local,
                    remote: datagram.local,
                    payload: datagram.payload,
                }
            })
        };
        if let Some(arrived) = arrived {
            self.input(Input::Datagram(arrived));
            self.unprove_revoked();
        }
    }

    fn arrival(&self, which: Which, to: SocketAddrV4) -> Option<(Via, SocketAddrV4)> {
        if which == Which::Inner && *to.ip() == self.over_the_vpn() {
            return self.vpn_passes().then_some((Via::Routed, to));
        }
        // Where two are on one home network, its hosts know the better one.
        let mut plugged: Vec<_> = self.plugged.iter().collect();
        plugged.sort_by_key(|(link, _)| self.rank(**link));
        plugged.into_iter().find_map(|(link, network)| {
            let is_home = match which {
                Which::Inner => *network == Network::InsideHome && *to.ip() == S,
                Which::Outer(site) => {
                    *network == Network::OuterHome && site == 0 && *to.ip() == sites::home(site)
                }
            };
            if is_home {
                return Some((Via::Link(*link), to));
            }
            let is_let_in =
                which != Which::Inner || network.is_inside() || *network == Network::FakeRelaying;
            let local = network.receiver(*link, self.visits[link], to)?;
            is_let_in.then_some((Via::Link(*link), local))
        })
    }

    fn asks_inner(&mut self, datagram: &Datagram) {
        let decoded = Decoded::decode(&datagram.payload).expect("what the client sends is right");
        if let Message::Request(request) = decoded.message
            && request.home == S
        {
            self.life.asked.insert(request.identification.low());
        }
    }

    /// Notes that the inner home agent agrees to what was asked in this life; and, where that has the extension and comes
    /// over an adapter from inside, which it is.
    pub(super) fn witness(&mut self, via: Via, datagram: &Datagram) {
        if self.life.is_over {
            return;
        }
        let decoded = Decoded::decode(&datagram.payload).expect("what the agent sends is right");
        let Message::Reply(reply) = &decoded.message else {
            return;
        };
        if !reply.code.is_accepted() || !self.life.asked.contains(&reply.identification.low()) {
            return;
        }
        self.life.is_answered = true;
        if let Via::Link(link) = via
            && self.plugged[&link].is_inside()
            && reply
                .extensions
                .contains(&Extension::TrustedNetworksConfigured)
        {
            self.witnessed.insert(link);
        }
    }

    /// One way, through the weather.
    pub(super) fn send(&mut self, happening: &Happening) {
        for after in self.weather.arrivals(&mut self.random) {
            self.later(after, happening.clone());
        }
    }
}

fn who_is(agent: Ipv4Addr) -> Option<Which> {
    if agent == S_AGENT {
        return Some(Which::Inner);
    }
    sites::of_agent(agent).map(Which::Outer)
}
