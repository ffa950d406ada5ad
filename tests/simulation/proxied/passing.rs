//! How datagrams pass between the mobile nodes, the proxy agent and the home agent.

use std::net::SocketAddrV4;

use super::agreed::{HOME_AGENT, PROXY};
use super::strangers::request;
use super::visiting::place_of;
use super::world::{Happening, World};
use crate::roaming::{Heard, Passing};
use xfrm_agent::mobile_ip::dual_client::station::Input;
use xfrm_agent::mobile_ip::proxy_agent::Input as ProxyInput;
use xfrm_agent::mobile_ip::{Datagram, LinkId, Via};

impl World {
    /// From a mobile node.
    pub(super) fn leaves(&mut self, at: usize, datagram: Datagram) {
        self.count();
        let Via::Link(link) = datagram.via else {
            panic!("there is no other way: {}", self.told());
        };
        if let Some(place) = place_of(self, datagram.remote) {
            if self.nodes[at].plugged.get(&link) == Some(&place) {
                self.asks(place, link, datagram);
            }
            return;
        }
        assert_eq!(*datagram.remote.ip(), PROXY, "{}", self.told());
        if let Some(source) = self.nodes[at].seen(link, datagram.local) {
            self.send(&Happening::Proxy(turned(datagram, source)));
        }
    }

    pub(super) fn at_proxy(&mut self, datagram: Datagram) {
        if self.now >= self.proxy.silent_until {
            self.overheard.hear(&datagram);
            self.asks_again(&datagram);
            self.proxy
                .room
                .handle(self.now, ProxyInput::Datagram(datagram));
            self.proxy_says();
        }
    }

    pub(super) fn proxy_says(&mut self) {
        for datagram in self.proxy.carry_out() {
            self.count();
            if *datagram.remote.ip() == HOME_AGENT {
                let source = datagram.local;
                assert_eq!(*source.ip(), self.setup.care_of, "{}", self.told());
                self.overheard.acknowledged(&datagram);
                self.send(&Happening::HomeAgent(turned(datagram, source)));
            } else {
                assert_eq!(*datagram.local.ip(), PROXY, "{}", self.told());
                self.answers(&datagram);
                let at = self.visited.at(*datagram.remote.ip());
                let happening = match at {
                    Some(at) => Happening::Passes(at, Passing::ToAgent(Heard::Answered(datagram))),
                    None => Happening::Nodes(datagram),
                };
                self.send(&happening);
            }
        }
        self.check();
    }

    pub(super) fn at_home_agent(&mut self, datagram: Datagram) {
        let replies = self.home_agent.hear(self.now, datagram);
        self.home_agent_says(replies);
    }

    pub(super) fn home_agent_says(&mut self, replies: Vec<Datagram>) {
        for reply in replies {
            assert_eq!(*reply.remote.ip(), self.setup.care_of, "{}", self.told());
            let source = reply.local;
            self.send(&Happening::Proxy(turned(reply, source)));
        }
        self.check();
    }

    fn asks_again(&mut self, datagram: &Datagram) {
        let Some(request) = request(datagram).filter(|asked| !asked.is_deregistration()) else {
            return;
        };
        let left = self.left.get(&request.home);
        if left.is_some_and(|left| [request.care_of, request.home].contains(left)) {
            self.left.remove(&request.home);
        }
    }

    fn answers(&mut self, answer: &Datagram) {
        if let Some(asked) = self.overheard.answered(answer)
            && asked.is_deregistration()
        {
            self.left.insert(asked.home, asked.care_of);
        }
    }

    /// Whoever has that address now.
    pub(super) fn at_nodes(&mut self, datagram: &Datagram) {
        for at in 0..self.nodes.len() {
            if let Some((link, local)) = self.nodes[at].receiver(datagram.remote) {
                let arrived = Datagram {
                    via: Via::Link(link),
                    local,
                    remote: datagram.local,
                    payload: datagram.payload.clone(),
                };
                self.input(at, Input::Datagram(arrived));
            }
        }
    }

    /// One way, through the weather.
    pub(super) fn send(&mut self, happening: &Happening) {
        for after in self.weather.arrivals(&mut self.random) {
            self.later(after, happening.clone());
        }
    }
}

/// As the other end has it.
pub(super) fn turned(datagram: Datagram, source: SocketAddrV4) -> Datagram {
    Datagram {
        via: Via::Link(LinkId(1)),
        local: datagram.remote,
        remote: source,
        payload: datagram.payload,
    }
}
