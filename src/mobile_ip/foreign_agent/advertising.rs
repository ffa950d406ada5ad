//! When the link is told of the agent, and what (RFC 5944 §2.3, RFC 1256 §6).

use super::settings::{ReverseTunnels, Settings};
use crate::mobile_ip::wire::TunnelKind;
use crate::mobile_ip::wire::advertisement::{
    Advertisement, AgentFlags, Discovery, MobilityAgent, Router, Sequence,
};
use crate::net::Random;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// RFC 1256 §4.1: every host on the link.
pub const ALL_SYSTEMS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);
/// RFC 1256 §5: a few come early after the start.
const MAX_INITIAL_ADVERTISEMENTS: u32 = 3;
const MAX_INITIAL_ADVERT_INTERVAL: Duration = Duration::from_secs(16);
/// Where nothing is sent unasked, RFC 1256 §6.1 has this as lifetime.
const LIFETIME_WHEN_ASKED: u16 = 1800;
/// Answers to solicitations, a second; more than that many hosts do not arrive at once.
const ANSWERS: u32 = 20;

#[derive(Debug)]
pub struct Advertiser {
    sequence: Option<Sequence>,
    sent_unasked: u32,
    /// When the next one to all may be sent.
    to_all_from: Instant,
    /// Of the present second.
    answers: (Instant, u32),
}

impl Advertiser {
    pub fn new(now: Instant) -> Self {
        Self {
            sequence: None,
            sent_unasked: 0,
            to_all_from: now,
            answers: (now, 0),
        }
    }

    /// After which time the next unasked one is due; `None`: never.
    pub fn pause(&self, settings: &Settings, random: &mut dyn Random) -> Option<Duration> {
        let most = settings.interval?;
        // RFC 1256 §6.2.2: anything between three quarters of the longest and the longest.
        let quarter = most / 4;
        let share = f64::from(random.u32()) / f64::from(u32::MAX);
        let pause = most.saturating_sub(quarter.mul_f64(share));
        let early = self.sent_unasked < MAX_INITIAL_ADVERTISEMENTS;
        Some(if early {
            pause.min(MAX_INITIAL_ADVERT_INTERVAL)
        } else {
            pause
        })
    }

    pub fn unasked(&mut self) {
        self.sent_unasked = self.sent_unasked.saturating_add(1);
    }

    /// To whom the answer to a solicitation goes; `None`: too many are asked for. Who has an address
    /// gets its own, so that it need not wait for the others (RFC 1256 §6.2.3).
    pub fn destination(&mut self, now: Instant, from: Ipv4Addr) -> Option<Ipv4Addr> {
        let second = Duration::from_secs(1);
        if from.is_unspecified() {
            // RFC 5944 §2.3: what everybody hears is limited.
            let allowed = now >= self.to_all_from;
            return allowed.then(|| {
                self.to_all_from = now + second;
                ALL_SYSTEMS
            });
        }
        if now >= self.answers.0 + second {
            self.answers = (now, 0);
        }
        self.answers.1 += 1;
        let sensible = !from.is_broadcast() && !from.is_multicast() && !from.is_loopback();
        (sensible && self.answers.1 <= ANSWERS).then_some(from)
    }

    /// The next advertisement as an ICMP message.
    pub fn next(&mut self, settings: &Settings, busy: bool, challenge: Option<Vec<u8>>) -> Vec<u8> {
        // RFC 5944 §2.3.2: 0 is the first after a start.
        let sequence = self.sequence.map_or(Sequence(0), Sequence::next);
        self.sequence = Some(sequence);
        message(settings, sequence, busy, challenge)
    }
}

/// RFC 3543 §4.1: to who has to register anew, as if this agent had started anew. Others' numbers go on.
pub fn forgotten(settings: &Settings, challenge: Option<Vec<u8>>) -> Vec<u8> {
    message(settings, Sequence(0), false, challenge)
}

fn message(
    settings: &Settings,
    sequence: Sequence,
    busy: bool,
    challenge: Option<Vec<u8>>,
) -> Vec<u8> {
    let lifetime = settings.interval.map_or(LIFETIME_WHEN_ASKED, |interval| {
        // Three may be missed (RFC 5944 §2.1); at most 9000 s (RFC 1256 §6.1).
        (interval.as_secs().max(1) * 3).min(9000) as u16
    });
    Discovery::Advertisement(Advertisement {
        traffic: settings.traffic,
        lifetime,
        routers: vec![Router {
            address: settings.address,
            preference: 0,
        }],
        agent: Some(MobilityAgent {
            sequence,
            registration_lifetime: settings.lifetime,
            flags: flags(settings, busy),
            care_of: vec![settings.care_of],
        }),
        prefix_lengths: settings.prefix_len.map(|bits| vec![bits]),
        challenge,
    })
    .encode()
}

fn flags(settings: &Settings, busy: bool) -> AgentFlags {
    let said = [
        (settings.required, AgentFlags::REGISTRATION_REQUIRED),
        (busy, AgentFlags::BUSY),
        (settings.offers(TunnelKind::Minimal), AgentFlags::MINIMAL),
        (settings.offers(TunnelKind::Gre), AgentFlags::GRE),
        // RFC 3543 §3.1: with home agents that share a key with us.
        (!settings.home_agents.is_empty(), AgentFlags::REVOCATION),
        (
            settings.reverse != ReverseTunnels::Unavailable,
            AgentFlags::REVERSE_TUNNEL,
        ),
    ];
    let said = said.into_iter().filter(|(holds, _)| *holds);
    said.fold(AgentFlags::FOREIGN_AGENT, |all, (_, flag)| all.with(flag))
}
