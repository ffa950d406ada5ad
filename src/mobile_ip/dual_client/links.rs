//! What is known of each physical adapter.

use super::effect::Advertisement;
use super::registration::Point;
use super::settings::System;
use super::without_ipv4::WITHOUT_IPV4;
use crate::mobile_ip::Link;
use crate::mobile_ip::domain::{Damping, Domain, Evidence};
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

/// More adapters than this are ignored.
pub const MAX_LINKS: usize = 16;

/// In a network found to be outside, the inner home agent is asked again after this; doubled each time.
const ASK_AGAIN: Duration = Duration::from_secs(15);
const ASK_AGAIN_MOST: Duration = Duration::from_secs(300);

/// A home network whose home agent did not agree is asked for again after this.
const HOME_AGAIN: Duration = Duration::from_secs(120);

const UNTRUSTED_PAUSE: Duration = Duration::from_secs(3600);

/// An adapter over which nobody answered is the last choice for so long; doubled each time.
const FAILING: Duration = Duration::from_secs(10);
const FAILING_MOST: Duration = Duration::from_secs(300);

/// What is known against a network being a home network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Away {
    Unknown,
    /// The home agent did not agree, or its answer was lost.
    Until(Instant),
    Always,
}

/// Whether the inner home agent has been smoked out here: a stale request that moves no binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmokeOut {
    NotAsked,
    Asked,
    Answered,
}

#[derive(Debug)]
pub struct Tracked {
    pub link: Link,
    /// When the present state of its connection began.
    pub began: Instant,
    pub damping: Damping,
    pub evidence: Evidence,
    /// What was found in this state of its connection.
    pub found: Option<Domain>,
    /// Found before it was known who the gateway is, without which there is nothing to know the network by.
    pub unrecorded: Option<Domain>,
    /// When the inner home agent may be asked in the clear.
    pub ask_from: Instant,
    pub smoke_out: SmokeOut,
    pause: Duration,
    failing_until: Option<Instant>,
    failures: u32,
    /// It looks like a home network and did not turn out to be one.
    away: Away,
    advertisement: Option<(Advertisement, Instant)>,
    /// Nobody has answered through the agent; with an address of its own, it is left out until then.
    agent_fails_until: Option<Instant>,
    agent_failures: u32,
}

impl Tracked {
    pub fn new(now: Instant, link: Link) -> Self {
        Self {
            link,
            began: now,
            damping: Damping::default(),
            evidence: Evidence::default(),
            found: None,
            unrecorded: None,
            ask_from: now,
            smoke_out: SmokeOut::NotAsked,
            pause: ASK_AGAIN,
            failing_until: None,
            failures: 0,
            away: Away::Unknown,
            advertisement: None,
            agent_fails_until: None,
            agent_failures: 0,
        }
    }

    /// Its connection is another one: nothing that was known holds. Its history of coming and going stays.
    pub fn begin(&mut self, now: Instant) {
        let damping = std::mem::take(&mut self.damping);
        *self = Self {
            damping,
            ..Self::new(now, self.link.clone())
        };
    }

    pub fn advertised(&mut self, now: Instant, advertisement: Advertisement) {
        let agent = advertisement.agent;
        let until = now + advertisement.lifetime.min(Duration::from_secs(9000));
        let offers = !advertisement.care_of.is_empty();
        match self.advertisement(now).map(|known| known.agent) {
            // The first one stays as long as it lives: a stranger cannot take its place by being louder.
            Some(known) if known != agent => {}
            None if !offers => {}
            // RFC 5944 §2.1.1: one that takes no further nodes keeps those that it has.
            Some(_) if !offers && until > now => {
                if let Some((_, lives)) = &mut self.advertisement {
                    *lives = until;
                }
            }
            _ => self.advertisement = Some((advertisement, until)),
        }
    }

    fn advertisement(&self, now: Instant) -> Option<&Advertisement> {
        let (advertisement, until) = self.advertisement.as_ref()?;
        (now < *until).then_some(advertisement)
    }

    /// How `system` would attach here; `None` while it cannot.
    pub fn point(&self, now: Instant, system: &System) -> Option<Point> {
        if !self.link.carrier || self.damping.is_held(now) {
            return None;
        }
        let own = self.link.usable_address();
        if let (Some(network), Some(own), false) = (system.home_network, own, self.is_away(now))
            && self.link.lies_in(network)
        {
            return Some(Point::AtHome(own));
        }
        let agent = self.advertisement(now).and_then(|advertisement| {
            let care_of = *advertisement.care_of.first()?;
            let is_failing = self.agent_fails_until.is_some_and(|until| now < until);
            let is_wanted = advertisement.registration_required && !is_failing || own.is_none();
            is_wanted.then_some(Point::ForeignAgent {
                agent: advertisement.agent,
                care_of,
            })
        });
        agent.or(own.map(Point::CoLocated))
    }

    fn is_away(&self, now: Instant) -> bool {
        match self.away {
            Away::Unknown => false,
            Away::Until(until) => now < until,
            Away::Always => true,
        }
    }

    pub fn is_not_home(&mut self, now: Instant) {
        if self.away != Away::Always {
            self.away = Away::Until(now + HOME_AGAIN);
        }
    }

    pub fn is_never_home(&mut self) {
        self.away = Away::Always;
    }

    pub fn is_usable(&self, now: Instant) -> bool {
        self.link.carrier && self.has_ipv4(now) && !self.damping.is_held(now)
    }

    /// From where a VPN leads out, where the network has given nothing else in time, and no agent has.
    pub fn lone_ipv6(&self, now: Instant) -> Option<Ipv6Addr> {
        let is_alone = !self.has_ipv4(now) && now >= self.began + WITHOUT_IPV4;
        let may = self.link.carrier && is_alone && !self.damping.is_held(now);
        self.link.ipv6.filter(|_| may)
    }

    fn has_ipv4(&self, now: Instant) -> bool {
        let has_agent = || {
            self.advertisement(now)
                .is_some_and(|a| !a.care_of.is_empty())
        };
        self.link.usable_address().is_some() || has_agent()
    }

    pub fn is_failing(&self, now: Instant) -> bool {
        self.failing_until.is_some_and(|until| now < until)
    }

    /// Nobody answers here.
    pub fn fails(&mut self, now: Instant) {
        let pause = FAILING
            .saturating_mul(1 << self.failures.min(8))
            .min(FAILING_MOST);
        self.failures = self.failures.saturating_add(1);
        self.failing_until = Some(now + pause);
    }

    pub fn works(&mut self) {
        (self.failing_until, self.failures) = (None, 0);
    }

    /// Nobody answers through the agent of this link, or it does not want us: with an address of its own
    /// the link does without for a while, longer each time. Whether there is one.
    pub fn agent_fails(&mut self, now: Instant) -> bool {
        let pause = FAILING.saturating_mul(1 << self.agent_failures.min(8));
        self.agent_failures = self.agent_failures.saturating_add(1);
        self.agent_fails_until = Some(now + pause.min(FAILING_MOST));
        self.link.usable_address().is_some()
    }

    pub fn agent_works(&mut self) {
        (self.agent_fails_until, self.agent_failures) = (None, 0);
    }

    /// Whether nobody has answered here before either.
    pub fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// The inner home agent does not answer here.
    pub fn found_outside(&mut self, now: Instant) {
        self.found = Some(Domain::Outside);
        self.put_off(now);
    }

    /// Not asked again for a while, longer each time.
    pub fn put_off(&mut self, now: Instant) {
        self.smoke_out = SmokeOut::NotAsked;
        self.ask_from = now + self.pause;
        self.pause = (self.pause * 2).min(ASK_AGAIN_MOST);
    }

    /// The inner home agent answers here, and does not call it trusted: asking moves the binding for
    /// nothing.
    pub fn is_not_trusted(&mut self, now: Instant) {
        self.ask_from = now + UNTRUSTED_PAUSE;
    }

    /// Something new speaks for asking again.
    pub fn ask_again(&mut self, now: Instant) {
        self.ask_from = now;
        self.pause = ASK_AGAIN;
    }

    pub fn deadlines(&self, now: Instant) -> impl Iterator<Item = Instant> {
        let conjecture = self.evidence.conjecture();
        let advertisement = self.advertisement.as_ref().map(|(_, until)| *until);
        let away = match self.away {
            Away::Until(until) => Some(until),
            Away::Unknown | Away::Always => None,
        };
        let all = [
            away,
            self.damping.held_until(now),
            self.failing_until,
            self.agent_fails_until,
            Some(self.ask_from),
            Some(self.began + conjecture.outer_delay()),
            Some(self.began + conjecture.vpn_delay()),
            self.link.ipv6.map(|_| self.began + WITHOUT_IPV4),
            advertisement,
        ];
        all.into_iter().flatten().filter(move |at| *at > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mobile_ip::LinkId;
    use crate::mobile_ip::dual_client::Reverse;
    use std::net::Ipv4Addr;

    const OWN: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
    const AGENT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
    const STRANGER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 66);
    const THROUGH: Point = Point::ForeignAgent {
        agent: AGENT,
        care_of: AGENT,
    };

    fn tracked(now: Instant, addresses: &[&str]) -> Tracked {
        let addresses = addresses.iter().map(|text| text.parse().unwrap());
        let link = crate::mobile_ip::Link {
            id: LinkId(1),
            name: "eth0".into(),
            carrier: true,
            addresses: addresses.collect(),
            gateway: None,
            gateway_mac: None,
            access_point: None,
            weak: false,
            ipv6: None,
            metric: 100,
        };
        Tracked::new(now, link)
    }

    fn advertisement(agent: Ipv4Addr, care_of: &[Ipv4Addr]) -> Advertisement {
        Advertisement {
            link: LinkId(1),
            agent,
            care_of: care_of.to_vec(),
            registration_required: true,
            lifetime: Duration::from_secs(30),
        }
    }

    fn system() -> System {
        System {
            home: Ipv4Addr::new(198, 51, 100, 5),
            home_agent: Ipv4Addr::new(192, 0, 2, 2),
            home_network: None,
            lifetime: Duration::from_secs(600),
            reverse: Reverse::Always,
        }
    }

    #[test]
    fn an_agent_through_which_nobody_answers_is_done_without_for_a_while() {
        let now = Instant::now();
        let mut link = tracked(now, &["203.0.113.10/25"]);
        link.advertised(now, advertisement(AGENT, &[AGENT]));
        assert_eq!(link.point(now, &system()), Some(THROUGH));
        assert!(link.agent_fails(now));
        assert_eq!(link.point(now, &system()), Some(Point::CoLocated(OWN)));
        let again = now + FAILING;
        assert!(link.deadlines(now).any(|at| at == again));
        assert_eq!(link.point(again, &system()), Some(THROUGH));
        link.agent_fails(again);
        let later = again + FAILING;
        assert_eq!(link.point(later, &system()), Some(Point::CoLocated(OWN)));
        link.agent_works();
        assert_eq!(link.point(later, &system()), Some(THROUGH));
    }

    #[test]
    fn without_an_address_there_is_nobody_else() {
        let now = Instant::now();
        let mut link = tracked(now, &[]);
        assert_eq!(link.point(now, &system()), None);
        link.advertised(now, advertisement(AGENT, &[AGENT]));
        assert!(!link.agent_fails(now));
        assert_eq!(link.point(now, &system()), Some(THROUGH));
    }

    #[test]
    fn who_offers_nothing_takes_nobodys_place_and_a_busy_agent_keeps_us() {
        let now = Instant::now();
        let mut link = tracked(now, &["203.0.113.10/25"]);
        link.advertised(now, advertisement(STRANGER, &[]));
        link.advertised(now, advertisement(AGENT, &[AGENT]));
        let later = now + Duration::from_secs(20);
        link.advertised(later, advertisement(AGENT, &[]));
        let later = now + Duration::from_secs(40);
        assert_eq!(link.point(later, &system()), Some(THROUGH));
        let gone = Advertisement {
            lifetime: Duration::ZERO,
            ..advertisement(AGENT, &[])
        };
        link.advertised(later, gone);
        assert_eq!(link.point(later, &system()), Some(Point::CoLocated(OWN)));
    }
}
