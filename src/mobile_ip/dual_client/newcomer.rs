//! A mobile node that has a name and no home address (RFC 2794): before anything else it asks its home agent
//! for one, from the link that is best.
//!
//! ```text
//!  links ─→ Newcomer ─── 0.0.0.0, NAI ──→ home agent
//!  home  ←──    ↑    ←── home address ───┘
//! ```
//! Then a [`Station`](super::station::Station) registers that address, and this is done. The binding that the
//! answer made is for the same address, and the station's first request replaces it.

use super::settings::{Reverse, System};
use super::station::Agreement;
use crate::mobile_ip::client::{
    self, Attachment, CareOf, Client, HomeAgent, Outcome, ReverseTunnel, UdpTunnel,
};
use crate::mobile_ip::replay::Clock;
use crate::mobile_ip::{Datagram, Link, LinkId, Via};
use crate::net::Random;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub struct Newcomer {
    client: Client,
    /// From where it is asked.
    at: Option<(LinkId, Ipv4Addr)>,
    epoch: u64,
    home: Option<Ipv4Addr>,
}

impl Newcomer {
    pub fn new(
        now: Instant,
        system: &System,
        agreement: &Agreement,
        clock: Clock,
        random: Box<dyn Random>,
    ) -> Self {
        let settings = client::Settings {
            home: None,
            home_agent: HomeAgent::Known(system.home_agent),
            nai: agreement.nai.clone(),
            association: agreement.association.clone(),
            series: 0,
            foreign_agents: Vec::new(),
            port: agreement.port,
            lifetime: u16::try_from(system.lifetime.as_secs()).unwrap_or(u16::MAX),
            renewal: None,
            reverse: match system.reverse {
                Reverse::Always => ReverseTunnel::Wanted,
                Reverse::Never => ReverseTunnel::Unwanted,
            },
            encapsulation: agreement.encapsulation,
            delivery: agreement.delivery,
            udp: UdpTunnel::WhereTranslated,
            revocation: agreement.revocation,
            broadcasts: false,
            networks: Vec::new(),
            networks6: Vec::new(),
        };
        Self {
            client: Client::new(now, settings, clock, random),
            at: None,
            epoch: 0,
            home: None,
        }
    }

    pub fn links_are(&mut self, now: Instant, links: &[Link]) {
        let usable = links
            .iter()
            .filter_map(|link| Some((link.weak, link.metric, link.id, link.usable_address()?)));
        let best = usable.min().map(|(.., link, address)| (link, address));
        if best == self.at {
            return;
        }
        self.at = best;
        self.epoch += 1;
        let input = match best {
            Some((link, address)) => client::Input::Attach(Attachment {
                epoch: self.epoch,
                via: Via::Link(link),
                care_of: CareOf::CoLocated { address },
                keep_others: false,
            }),
            None => client::Input::Detach,
        };
        self.client.handle(now, input);
    }

    pub fn datagram(&mut self, now: Instant, datagram: Datagram) {
        self.client.handle(now, client::Input::Datagram(datagram));
    }

    /// The time of day was set: since 1970.
    pub fn time_is(&mut self, now: Instant, unix: Duration) {
        self.client.handle(now, client::Input::Time(unix));
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.client.handle_timeout(now);
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.client.poll_timeout()
    }

    /// To be drained after each input.
    pub fn poll_send(&mut self) -> Option<Datagram> {
        while let Some(effect) = self.client.poll_effect() {
            match effect {
                client::Effect::Send(datagram) => return Some(datagram),
                client::Effect::Outcome(Outcome::Registered(registered)) => {
                    self.home = Some(registered.home);
                }
                client::Effect::Outcome(_)
                | client::Effect::Solicit(_)
                | client::Effect::Suspicious(_) => {}
            }
        }
        None
    }

    /// What it was given, once [`Newcomer::poll_send`] has nothing more.
    pub fn home(&self) -> Option<Ipv4Addr> {
        self.home
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mobile_ip::home_agent::HomeAgent as Answering;
    use crate::mobile_ip::home_agent::effects::{Effect, Input};
    use crate::mobile_ip::home_agent::settings as serving;
    use crate::mobile_ip::security::{Algorithm, ReplayProtection, SecurityAssociation};
    use crate::mobile_ip::wire::TunnelKind;
    use crate::net::Secret;
    use crate::net::random::Seeded;
    use std::sync::Arc;

    const UNIX: Duration = Duration::from_secs(1_700_000_000);
    const AGENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

    fn association() -> SecurityAssociation {
        SecurityAssociation {
            spi: 256,
            algorithm: Algorithm::HmacMd5,
            key: Secret::from(&b"0123456789abcdef"[..]),
            replay: ReplayProtection::default(),
        }
    }

    fn newcomer(now: Instant) -> Newcomer {
        let system = System {
            home: Ipv4Addr::UNSPECIFIED,
            home_agent: AGENT,
            home_network: None,
            lifetime: Duration::from_secs(600),
            reverse: Reverse::Always,
        };
        let agreement = Agreement {
            association: association(),
            nai: Some(b"alice@example.org".to_vec()),
            foreign_agents: Vec::new(),
            port: 434,
            encapsulation: TunnelKind::IpIp,
            delivery: client::Delivery::Direct,
            revocation: false,
        };
        let clock = Clock::new(now, UNIX);
        Newcomer::new(now, &system, &agreement, clock, Box::new(Seeded(1)))
    }

    fn home_agent(now: Instant) -> Answering {
        let settings = serving::Settings {
            address: AGENT,
            home_network: "198.51.100.0/24".parse().unwrap(),
            home_link: serving::HomeLink::Virtual,
            mobile_nodes: vec![Arc::new(serving::MobileNode {
                home: None,
                nai: Some(b"alice@example.org".to_vec()),
                security: vec![association()],
                networks: Vec::new(),
                networks6: Vec::new(),
            })],
            foreign_agents: Vec::new(),
            pool: Some("198.51.100.8/29".parse().unwrap()),
            trusted: Vec::new(),
            encapsulations: Vec::new(),
            reverse_tunnel: serving::ReverseTunnel::Allowed,
            nat: serving::NatTraversal::default(),
            limits: serving::Limits::default(),
        };
        // Its clock is not ours: one more round trip.
        let clock = Clock::new(now, UNIX + Duration::from_secs(3600));
        Answering::new(now, clock, settings, Vec::new(), Box::new(Seeded(2)))
    }

    fn link(id: u32, metric: u32, address: &str) -> Link {
        Link {
            id: LinkId(id),
            name: format!("eth{id}"),
            carrier: true,
            addresses: vec![address.parse().unwrap()],
            gateway: None,
            gateway_mac: None,
            access_point: None,
            weak: false,
            ipv6: None,
            metric,
        }
    }

    #[test]
    fn whoever_has_a_name_asks_over_the_best_link_and_is_given_an_address() {
        let now = Instant::now();
        let mut newcomer = newcomer(now);
        assert!(newcomer.poll_send().is_none() && newcomer.poll_timeout().is_none());
        let links = [
            link(2, 600, "203.0.113.138/25"),
            link(3, 100, "203.0.113.10/25"),
        ];
        newcomer.links_are(now, &links);
        let mut agent = home_agent(now);
        let mut rounds = 0;
        while let Some(sent) = newcomer.poll_send() {
            assert_eq!(newcomer.home(), None);
            assert_eq!(sent.via, Via::Link(LinkId(3)));
            assert_eq!(*sent.local.ip(), Ipv4Addr::new(203, 0, 113, 10));
            rounds += 1;
            let datagram = Datagram {
                local: sent.remote,
                remote: sent.local,
                ..sent
            };
            agent.handle(now, Input::Datagram(datagram));
            while let Some(effect) = agent.poll_effect() {
                if let Effect::Send(answer) = effect {
                    newcomer.datagram(
                        now,
                        Datagram {
                            local: answer.remote,
                            remote: answer.local,
                            ..answer
                        },
                    );
                }
            }
        }
        assert_eq!(rounds, 2);
        assert_eq!(newcomer.home(), Some(Ipv4Addr::new(198, 51, 100, 9)));
    }

    #[test]
    fn it_asks_again_until_answered_and_from_where_it_is_then() {
        let now = Instant::now();
        let mut newcomer = newcomer(now);
        newcomer.links_are(now, &[link(2, 100, "203.0.113.138/25")]);
        assert!(newcomer.poll_send().is_some());
        let due = newcomer.poll_timeout().unwrap();
        newcomer.handle_timeout(due);
        assert!(newcomer.poll_send().is_some());
        newcomer.links_are(due, &[link(3, 100, "203.0.113.10/25")]);
        newcomer.handle_timeout(due + Duration::from_secs(1));
        assert_eq!(newcomer.poll_send().unwrap().via, Via::Link(LinkId(3)));
        newcomer.links_are(due, &[]);
        assert_eq!(newcomer.poll_timeout(), None);
        assert_eq!(newcomer.home(), None);
    }
}
