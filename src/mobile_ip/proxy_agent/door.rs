//! The outer side: what a home agent checks before it grants anything (RFC 5944 §3.8.2.1), and its
//! replies.

use super::settings::{Node, Settings};
use crate::mobile_ip::Datagram;
use crate::mobile_ip::replay::{Clock, Guard};
use crate::mobile_ip::security::SecurityAssociation;
use crate::mobile_ip::wire::{
    AuthenticationKind, Code, Decoded, Extension, Flags, INFINITE, Identification,
    RegistrationReply, RegistrationRequest, TunnelKind, UdpTunnelReply,
};
use crate::net::Random;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

/// Where a request came from, and its reply goes to.
#[derive(Clone, Debug)]
pub struct Sender {
    pub datagram: Datagram,
    /// With a foreign agent that it came through.
    pub foreign_agent: Option<SecurityAssociation>,
    /// Whether that one should have signed it, and has not.
    pub is_wrong: bool,
}

/// A request that is authentic and fresh, until it is answered.
#[derive(Clone, Debug)]
pub struct Visit {
    pub from: Sender,
    pub request: RegistrationRequest,
    /// Of the reply; what was asked with is used up.
    pub identification: Identification,
    /// Where its tunnel ends.
    pub end: End,
    /// Whether UDP was forced, if it is used.
    forced: bool,
}

/// The far end of a tunnel to a mobile node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    IpIp(Ipv4Addr),
    Gre(Ipv4Addr),
    /// Behind a NAT: as the request was seen to come (RFC 3519).
    Udp(SocketAddrV4),
}

/// Seconds: short, because nobody has authenticated from where the request came (RFC 3519 §5.2).
const LONGEST_IN_UDP: u16 = 60;

impl End {
    /// The longest registration, in seconds.
    pub fn longest(self) -> u16 {
        match self {
            Self::IpIp(_) | Self::Gre(_) => INFINITE,
            Self::Udp(_) => LONGEST_IN_UDP,
        }
    }
}

/// What is said without asking the inner home agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: Code,
    pub identification: Identification,
    /// The home agent to go to.
    pub home_agent: Ipv4Addr,
}

/// Whether the request is the mobile node's own.
pub fn is_signed(decoded: &Decoded, node: &Node) -> bool {
    let placed = decoded.only_authenticator(AuthenticationKind::MobileHome);
    placed.is_some_and(|placed| node.outer.verify(&placed))
}

/// What a request that [`is_signed`] is measured by.
#[derive(Clone, Copy, Debug)]
pub struct Door<'a> {
    pub now: Instant,
    pub clock: &'a Clock,
    pub node: &'a Node,
    pub settings: &'a Settings,
}

impl Door<'_> {
    pub fn examine(
        &self,
        from: &Sender,
        request: &RegistrationRequest,
        guard: &mut Guard,
        random: &mut dyn Random,
    ) -> Result<Visit, Refusal> {
        let Self {
            now,
            clock,
            node,
            settings,
        } = *self;
        let replay = node.outer.replay;
        let id = request.identification;
        let refuse = |code, identification, home_agent| {
            Err(Refusal {
                code,
                identification,
                home_agent,
            })
        };
        if !guard.is_fresh(now, clock, replay, id) {
            let id = guard.refuse(now, clock, replay, id, random);
            return refuse(Code::HA_IDENTIFICATION, id, settings.outer);
        }
        if from.is_wrong {
            // Not used up: who altered what follows the mobile node's signature must not spoil the request.
            return refuse(Code::HA_FOREIGN_AGENT_AUTHENTICATION, id, settings.outer);
        }
        let identification = guard.accept(id, random);
        let remote = from.datagram.remote;
        let source = *remote.ip();
        let is_inside = settings.inside.iter().any(|net| net.contains(&source));
        if is_inside && !request.is_deregistration() {
            // Who is inside has no need of us: the document has it go to the inner home agent. What it had outside it
            // takes back from there.
            return refuse(
                Code::HA_UNKNOWN_HOME_AGENT,
                identification,
                settings.home_agent,
            );
        }
        if request.home_agent != settings.outer {
            return refuse(Code::HA_UNKNOWN_HOME_AGENT, identification, settings.outer);
        }
        if request.flags.intersects(Flags::RESERVED) {
            return refuse(Code::HA_POORLY_FORMED, identification, settings.outer);
        }
        let udp = request
            .extensions
            .iter()
            .find_map(|extension| match extension {
                Extension::UdpTunnelRequest(udp) => Some(*udp),
                _ => None,
            });
        let translated = source != request.care_of && source != request.home;
        let (end, forced) = match udp {
            // RFC 3519 §4.6: only for who unwraps itself.
            Some(_) if !request.flags.contains(Flags::DECAPSULATION) => {
                return refuse(Code::HA_POORLY_FORMED, identification, settings.outer);
            }
            Some(udp) if udp.force || translated => {
                let kind = match udp.encapsulation {
                    0 => Some(request.flags.encapsulation()),
                    protocol => TunnelKind::of_protocol(protocol),
                };
                if kind != Some(TunnelKind::IpIp) {
                    return refuse(Code::HA_UDP_ENCAPSULATION, identification, settings.outer);
                }
                (End::Udp(remote), !translated)
            }
            _ => match request.flags.encapsulation() {
                // Everybody can that (RFC 5944 §4.1).
                TunnelKind::IpIp => (End::IpIp(request.care_of), false),
                TunnelKind::Gre if settings.encapsulations.contains(&TunnelKind::Gre) => {
                    (End::Gre(request.care_of), false)
                }
                TunnelKind::Gre | TunnelKind::Minimal => {
                    return refuse(Code::HA_ENCAPSULATION, identification, settings.outer);
                }
            },
        };
        Ok(Visit {
            from: from.clone(),
            request: request.clone(),
            identification,
            end,
            forced,
        })
    }
}

impl Refusal {
    pub fn reply(&self, from: &Sender, request: &RegistrationRequest, node: &Node) -> Datagram {
        let reply = RegistrationReply {
            code: self.code,
            lifetime: 0,
            home: request.home,
            home_agent: self.home_agent,
            identification: self.identification,
            extensions: Vec::new(),
        };
        send(from, &reply, node)
    }
}

impl Visit {
    pub fn reply(&self, code: Code, lifetime: u16, node: &Node, settings: &Settings) -> Datagram {
        let code = match code {
            // One tunnel a node is stitched to one.
            Code::ACCEPTED if self.request.flags.contains(Flags::SIMULTANEOUS) => {
                Code::ACCEPTED_WITHOUT_SIMULTANEOUS
            }
            code => code,
        };
        let udp = matches!(self.end, End::Udp(_)) && code.is_accepted() && lifetime > 0;
        let udp = udp.then_some(Extension::UdpTunnelReply(UdpTunnelReply {
            code: UdpTunnelReply::WILL_DO,
            forced: self.forced,
            keepalive: settings.keepalive,
        }));
        let reply = RegistrationReply {
            code,
            lifetime,
            home: self.request.home,
            home_agent: settings.outer,
            identification: self.identification,
            extensions: udp.into_iter().collect(),
        };
        send(&self.from, &reply, node)
    }
}

/// To where the request came from, from where it came to (RFC 5944 §3.4).
fn send(from: &Sender, reply: &RegistrationReply, node: &Node) -> Datagram {
    let mut payload = reply.encode();
    node.outer
        .sign(AuthenticationKind::MobileHome, &mut payload);
    if let Some(foreign_agent) = &from.foreign_agent {
        foreign_agent.sign(AuthenticationKind::ForeignHome, &mut payload);
    }
    let Datagram {
        via, local, remote, ..
    } = from.datagram;
    Datagram {
        via,
        local,
        remote,
        payload,
    }
}
