//! A registration request, from its authenticator to its reply (RFC 5944 §3.8.2, §3.8.3).

use super::effects::{Revocable, Told, Tunnel, UdpEnds};
use super::judging::{Service, Udp, judge};
use super::networks::Networks;
use super::nodes::{Binding, NodeId};
use super::{Datagram, HomeAgent};
use crate::mobile_ip::foreign_home::{self, Foreign};
use crate::mobile_ip::security::SecurityAssociation;
use crate::mobile_ip::wire::{
    AuthenticationKind, Code, Decoded, Extension, Flags, INFINITE, Identification,
    RegistrationReply, RegistrationRequest, RevocationSupport, TunnelKind,
};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

/// A request that is being answered.
struct Asked<'a> {
    datagram: &'a Datagram,
    decoded: &'a Decoded,
    request: &'a RegistrationRequest,
    id: NodeId,
    /// Signs the reply.
    security: SecurityAssociation,
    /// Which extension the mobile node's authenticator is.
    signed_at: usize,
    foreign_agent: Option<SecurityAssociation>,
}

/// What goes into a reply beside what every reply has.
#[derive(Default)]
struct Answer {
    code: Option<Code>,
    lifetime: u16,
    extensions: Vec<Extension>,
    /// Extension 149 where the source is trusted: never to a request whose authenticator is wrong.
    authentic: bool,
    revocation: Option<Revocable>,
}

impl Answer {
    fn denied(code: Code) -> Self {
        Self {
            code: Some(code),
            authentic: true,
            ..Self::default()
        }
    }
}

impl HomeAgent {
    pub(super) fn request(
        &mut self,
        now: Instant,
        datagram: &Datagram,
        decoded: &Decoded,
        request: &RegistrationRequest,
    ) {
        let source = *datagram.remote.ip();
        let trusted = &self.settings.trusted;
        if !trusted.is_empty() && !trusted.iter().any(|net| net.contains(&source)) {
            // RFC 5265 §4.3
            self.counters.untrusted += 1;
            return;
        }
        let Some((id, placed)) = self.sender(request).zip(
            decoded
                .authenticators(AuthenticationKind::MobileHome)
                .next(),
        ) else {
            // RFC 5944 §3.8.2.1 a: no security association, or no authenticator.
            self.counters.strangers += 1;
            return;
        };
        let node = self.nodes.at(id);
        let spi = placed.authenticator.spi;
        let named = node.config.security.iter().find(|sa| sa.spi == spi);
        let Some(fallback) = node.config.security.first() else {
            self.counters.strangers += 1;
            return;
        };
        let authentic = named.is_some_and(|sa| sa.verify(&placed));
        let mut asked = Asked {
            datagram,
            decoded,
            request,
            id,
            security: named.unwrap_or(fallback).clone(),
            signed_at: placed.index,
            foreign_agent: None,
        };
        let known = self.foreign_agents.get(&source);
        let foreign = foreign_home::association(known.map(|a| &a.security), decoded, request);
        if let Ok(known) = &foreign {
            asked.foreign_agent.clone_from(known);
        }
        if !authentic {
            if self.failures.take(now, self.settings.limits.rate_failures) {
                let mut answer = Answer::denied(Code::HA_MOBILE_NODE_AUTHENTICATION);
                answer.authentic = false;
                self.reply(now, &asked, request.home, request.identification, answer);
            } else {
                self.counters.too_many += 1;
            }
            return;
        }
        if !self
            .nodes
            .at_mut(id)
            .rate
            .take(now, self.settings.limits.rate_each)
        {
            self.counters.too_many += 1;
            return;
        }
        let protection = self.nodes.at(id).config.protection();
        let guard = &mut self.nodes.at_mut(id).guard;
        if !guard.is_fresh(now, &self.clock, protection, request.identification) {
            if let Some(left) = self.duplicate(now, &asked) {
                let answer = Answer {
                    code: Some(self.accepted_code(request, false)),
                    lifetime: left,
                    authentic: true,
                    ..Answer::default()
                };
                let home = self.nodes.at(id).home.unwrap_or(request.home);
                self.reply(now, &asked, home, request.identification, answer);
                return;
            }
            let guard = &mut self.nodes.at_mut(id).guard;
            let (id, random) = (request.identification, &mut *self.random);
            let refused = guard.refuse(now, &self.clock, protection, id, random);
            let answer = Answer::denied(Code::HA_IDENTIFICATION);
            self.reply(now, &asked, request.home, refused, answer);
            return;
        }
        match foreign {
            Ok(_) => {}
            // Not used up: who altered what follows the authenticator must not spoil the request.
            Err(Foreign::Wrong) => {
                let answer = Answer::denied(Code::HA_FOREIGN_AGENT_AUTHENTICATION);
                self.reply(now, &asked, request.home, request.identification, answer);
                return;
            }
            Err(Foreign::Unknown) => {
                self.counters.unknown_foreign_agents += 1;
                return;
            }
        }
        let guard = &mut self.nodes.at_mut(id).guard;
        let used = guard.accept(request.identification, &mut *self.random);
        let before = self.nodes.at(id).home;
        let (home, answer) = match self.serve(now, &asked) {
            Ok((home, answer)) => (home, answer),
            Err(answer) => {
                // The reply names the address that the request named.
                self.keep(now, id);
                self.nodes.unassign(id);
                (
                    before
                        .filter(|_| request.home.is_unspecified())
                        .unwrap_or(request.home),
                    answer,
                )
            }
        };
        self.reply(now, &asked, home, used, answer);
    }

    /// Whose request this claims to be. A name comes before an address: one of the pool may be
    /// somebody else's by now.
    fn sender(&self, request: &RegistrationRequest) -> Option<NodeId> {
        let named = request.nai().and_then(|nai| self.nodes.by_nai(nai));
        named.or_else(|| self.nodes.by_home(request.home))
    }

    /// What is left of an accepted registration that this request repeats from the same place (RFC
    /// 5944 §3.8.2.2). From any other place it is a replay; so it is where the reply would have to
    /// repeat more than a lifetime, for a UDP tunnel or networks.
    fn duplicate(&self, now: Instant, asked: &Asked<'_>) -> Option<u16> {
        let request = asked.request;
        let mut bindings = self.nodes.at(asked.id).bindings.iter();
        let binding = bindings.find(|binding| {
            binding.care_of == request.care_of
                && binding.identification == request.identification
                && binding.from == asked.datagram.remote
                && binding.via == asked.datagram.via
                && binding.tunnel.udp.is_none()
                && binding.tunnel.networks.is_empty()
                && binding.tunnel.networks6.is_empty()
                && request.lifetime != 0
        })?;
        Some(match binding.expires {
            Some(at) => at.saturating_duration_since(now).as_secs().min(0xfffe) as u16,
            None => INFINITE,
        })
    }

    /// Whether the bindings of other care-of addresses stay, as the request asks (RFC 5944 §3.8.2.2). A datagram is
    /// copied where user space wraps it, and nowhere else, so all of them have to be such tunnels.
    fn keeps_others(&self, id: NodeId, request: &RegistrationRequest, service: Service) -> bool {
        let mut held = self.nodes.at(id).bindings.iter();
        request.flags.contains(Flags::SIMULTANEOUS)
            && self.settings.limits.bindings_each > 1
            && (matches!(service.udp, Udp::Tunnel { .. }) || service.kind == TunnelKind::Minimal)
            && held.all(|held| held.tunnel.is_copied() || held.care_of == request.care_of)
    }

    fn accepted_code(&self, request: &RegistrationRequest, keeps_others: bool) -> Code {
        let asked = request.flags.contains(Flags::SIMULTANEOUS);
        if self.settings.limits.bindings_each > 1 && asked == keeps_others {
            Code::ACCEPTED
        } else {
            Code::ACCEPTED_WITHOUT_SIMULTANEOUS
        }
    }

    fn serve(&mut self, now: Instant, asked: &Asked<'_>) -> Result<(Ipv4Addr, Answer), Answer> {
        let request = asked.request;
        if request.flags.intersects(Flags::RESERVED) {
            // RFC 5944 §3.8.2.3
            return Err(Answer::denied(Code::HA_POORLY_FORMED));
        }
        let us = self.settings.address;
        if request.home_agent != us || *asked.datagram.local.ip() != us {
            return Err(Answer::denied(Code::HA_UNKNOWN_HOME_AGENT));
        }
        let stranger = |nai: &[u8]| self.nodes.by_nai(nai) != Some(asked.id);
        if request.nai().is_some_and(stranger) {
            return Err(Answer::denied(Code::HA_PROHIBITED));
        }
        if request.is_deregistration() {
            return Ok(self.deregister(now, asked));
        }
        let source = *asked.datagram.remote.ip();
        let service =
            judge(&self.settings, request, asked.signed_at, source).map_err(Answer::denied)?;
        if unusable(request.care_of) || request.care_of == us {
            return Err(Answer::denied(Code::HA_PROHIBITED));
        }
        let signed = &request.extensions[..asked.signed_at];
        let node = &self.nodes.at(asked.id).config;
        let networks =
            Networks::of(node, signed, service.reverse).map_err(|(code, extensions)| Answer {
                extensions,
                ..Answer::denied(code)
            })?;
        self.bind(now, asked, service, networks)
    }

    fn deregister(&mut self, now: Instant, asked: &Asked<'_>) -> (Ipv4Addr, Answer) {
        let (id, request) = (asked.id, asked.request);
        let home = self.nodes.at(id).home.unwrap_or(request.home);
        let all = request.care_of == home;
        let dropped =
            self.drop_bindings(now, id, |binding| all || binding.care_of == request.care_of);
        if dropped.is_empty() {
            self.keep(now, id);
        }
        self.counters.accepted += 1;
        self.tell(Told::Deregistered { home });
        // Others stay, unless all were to go.
        let keeps_others = request.flags.contains(Flags::SIMULTANEOUS);
        let answer = Answer {
            code: Some(self.accepted_code(request, keeps_others)),
            authentic: true,
            ..Answer::default()
        };
        (home, answer)
    }

    fn bind(
        &mut self,
        now: Instant,
        asked: &Asked<'_>,
        service: Service,
        networks: Networks,
    ) -> Result<(Ipv4Addr, Answer), Answer> {
        let (id, request, datagram) = (asked.id, asked.request, asked.datagram);
        let limits = self.settings.limits;
        let held = &self.nodes.at(id).bindings;
        let keeps_others = self.keeps_others(id, request, service);
        let others = held
            .iter()
            .filter(|held| held.care_of != request.care_of)
            .count();
        let stay = if keeps_others { others } else { 0 };
        if stay + 1 > limits.bindings_each {
            return Err(Answer::denied(Code::HA_TOO_MANY_BINDINGS));
        }
        if self.nodes.count - held.len() + stay + 1 > limits.bindings {
            return Err(Answer::denied(Code::HA_RESOURCES));
        }
        let was_bound = !held.is_empty();
        let Some(home) = self.nodes.assign(id, request.home) else {
            let code = if request.home.is_unspecified() {
                Code::HA_RESOURCES
            } else {
                Code::HA_PROHIBITED
            };
            return Err(Answer::denied(code));
        };
        if request.care_of == home {
            return Err(Answer::denied(Code::HA_PROHIBITED));
        }
        let local = self.own_end(datagram);
        let (remote, udp, half_bound) = match service.udp {
            Udp::Tunnel { half_bound, .. } => {
                let ends = UdpEnds {
                    local,
                    remote: datagram.remote,
                };
                (*datagram.remote.ip(), Some(ends), half_bound)
            }
            Udp::NotAsked | Udp::Declined => (request.care_of, None, false),
        };
        let revocation = revocable(asked);
        let ends = now + Duration::from_secs(service.lifetime.into());
        let binding = Binding {
            care_of: request.care_of,
            identification: request.identification,
            expires: (service.lifetime != INFINITE).then_some(ends),
            tunnel: Tunnel {
                local: self.settings.address,
                remote,
                kind: service.kind,
                udp,
                reverse: service.reverse,
                networks: networks.v4,
                networks6: networks.v6,
            },
            half_bound,
            from: datagram.remote,
            to: local,
            via: datagram.via,
            revocation,
        };
        let node = self.nodes.at_mut(id);
        let before = node.bindings.len();
        if keeps_others {
            node.bindings.retain(|held| held.care_of != request.care_of);
        } else {
            node.bindings.clear();
        }
        // Most have one, and room for four by default is half a kilobyte.
        node.bindings.reserve_exact(1);
        node.bindings.push(binding);
        self.nodes.count = self.nodes.count - before + self.nodes.at(id).bindings.len();
        self.counters.accepted += 1;
        self.stop_repeating(home, request.care_of);
        self.keep(now, id);
        self.announce(id, was_bound);
        self.tell(Told::Registered {
            home,
            care_of: request.care_of,
            lifetime: service.lifetime,
        });
        let mut extensions: Vec<_> = service
            .udp
            .reply(self.settings.nat.keepalive)
            .into_iter()
            .collect();
        extensions.extend(networks.replies);
        let answer = Answer {
            code: Some(self.accepted_code(request, keeps_others)),
            lifetime: service.lifetime,
            extensions,
            authentic: true,
            revocation,
        };
        Ok((home, answer))
    }

    /// The end that a datagram came to, by its unicast address (RFC 5944 §3.8.3.1).
    fn own_end(&self, datagram: &Datagram) -> SocketAddrV4 {
        SocketAddrV4::new(self.settings.address, datagram.local.port().max(1))
    }

    fn reply(
        &mut self,
        now: Instant,
        asked: &Asked<'_>,
        home: Ipv4Addr,
        identification: Identification,
        answer: Answer,
    ) {
        let (request, datagram) = (asked.request, asked.datagram);
        if unusable(*datagram.remote.ip()) || datagram.remote.port() == 0 {
            return;
        }
        let code = answer.code.unwrap_or(Code::HA_UNSPECIFIED);
        let mut extensions = Vec::new();
        if let Some(nai) = request.nai() {
            // RFC 2794 §3
            extensions.push(Extension::Nai(nai.to_vec()));
        }
        extensions.extend(answer.extensions);
        let source = datagram.remote.ip();
        let trusted = self.settings.trusted.iter().any(|net| net.contains(source));
        if answer.authentic && trusted && *source == request.care_of {
            extensions.push(Extension::TrustedNetworksConfigured);
        }
        let support = answer.revocation.map(|revocable| {
            let support = Extension::RevocationSupport(RevocationSupport {
                inform: revocable.inform,
                timestamp: self.clock.timestamp(now).seconds(),
            });
            (revocable.direct, support)
        });
        if let Some((true, support)) = &support {
            extensions.push(support.clone());
        }
        let mut payload = RegistrationReply {
            code,
            lifetime: answer.lifetime,
            home,
            home_agent: self.settings.address,
            identification,
            extensions,
        }
        .encode();
        // RFC 5944 §3.8.3.3: what the foreign agent alone needs follows the first signature.
        asked
            .security
            .sign(AuthenticationKind::MobileHome, &mut payload);
        if let Some(foreign) = &asked.foreign_agent {
            if let Some((false, support)) = &support {
                support.encode(&mut payload);
            }
            foreign.sign(AuthenticationKind::ForeignHome, &mut payload);
        }
        if !code.is_accepted() {
            self.counters.denied += 1;
            self.tell(Told::Denied {
                home: request.home,
                nai: request.nai().map(<[u8]>::to_vec),
                from: datagram.remote,
                code,
            });
        }
        let local = self.own_end(datagram);
        self.send(datagram.via, local, datagram.remote, payload);
    }
}

/// Whether the other end said, under a signature, that it understands revocation (RFC 3543 §3.2).
fn revocable(asked: &Asked<'_>) -> Option<Revocable> {
    let mut all = asked.request.extensions.iter().enumerate();
    let (index, support) = all.find_map(|(index, extension)| match extension {
        Extension::RevocationSupport(support) => Some((index, support)),
        _ => None,
    })?;
    let direct = index < asked.signed_at;
    let foreign = asked
        .decoded
        .only_authenticator(AuthenticationKind::ForeignHome);
    let signed = foreign.is_some_and(|placed| index < placed.index);
    let by_foreign = asked.foreign_agent.is_some() && signed;
    (direct || by_foreign).then_some(Revocable {
        direct,
        inform: support.inform,
        timestamp: support.timestamp,
    })
}

fn unusable(address: Ipv4Addr) -> bool {
    address.is_unspecified()
        || address.is_broadcast()
        || address.is_multicast()
        || address.is_loopback()
}
