//! Where home agents send besides what the arrangement says: make before break.
//!
//! ```text
//!  request over the new adapter ─→ home agent ── packets, to the new address ─→ us, before the answer is read
//!  answer ─────────────────────────────────────────────────────────────────→ us: the arrangement changes
//!  packets to the former address, still on their way ──────────────────────→ us
//! ```
//!
//! So what comes to an address that was asked for is taken out of its tunnel while another one carries, and what
//! comes to the former one for a moment.

use crate::mobile_ip::{Arrangement, Carriage, LinkId, Path, Through};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// What was sent to the former address has arrived by then, or is lost.
const ON_ITS_WAY: Duration = Duration::from_secs(2);

/// What is not answered by then is asked again, or not any more.
const ASKED: Duration = Duration::from_secs(10);

/// One end of a tunnel of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Receiver {
    pub home: Ipv4Addr,
    pub home_agent: Ipv4Addr,
    /// X; V or T where it comes through the VPN.
    pub local: Ipv4Addr,
    /// The adapter of X.
    pub link: Option<LinkId>,
}

#[derive(Debug, Default)]
pub struct Receivers {
    until: BTreeMap<Receiver, Instant>,
}

impl Receivers {
    /// A request leaves. Whether it has to wait until what it brings can be received.
    pub fn asked(&mut self, now: Instant, receiver: Receiver, arrangement: &Arrangement) -> bool {
        let is_elsewhere = |there: Receiver| there.home == receiver.home && there != receiver;
        if !used(arrangement).any(is_elsewhere) {
            return false;
        }
        self.until.insert(receiver, now + ASKED).is_none()
    }

    pub fn moved(&mut self, now: Instant, before: &Arrangement, after: &Arrangement) {
        for left in used(before) {
            if used(after).all(|there| there != left) {
                self.until.insert(left, now + ON_ITS_WAY);
            }
        }
        for there in used(after) {
            self.until.remove(&there);
        }
    }

    /// Whether any is over.
    pub fn expire(&mut self, now: Instant) -> bool {
        let before = self.until.len();
        self.until.retain(|_, until| *until > now);
        self.until.len() < before
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.until.values().min().copied()
    }

    pub fn all(&self) -> Vec<Receiver> {
        self.until.keys().copied().collect()
    }
}

/// The ends of tunnels in use.
fn used(arrangement: &Arrangement) -> impl Iterator<Item = Receiver> {
    let all = [Some(&arrangement.inner), arrangement.outer.as_ref()];
    all.into_iter().flatten().filter_map(receiver)
}

fn receiver(carriage: &Carriage) -> Option<Receiver> {
    let Path::Tunnel {
        local,
        remote,
        through,
        ..
    } = carriage.path
    else {
        return None;
    };
    Some(Receiver {
        home: carriage.home,
        home_agent: remote,
        local,
        link: match through {
            Through::Link { link, .. } => Some(link),
            Through::Vpn | Through::OuterHome => None,
        },
    })
}

#[cfg(test)]
pub mod tests {
    use super::super::layout::tests::{S, S_HA, T, T_HA, V, X};
    use super::*;
    use crate::mobile_ip::{Encapsulation, Place};

    const X2: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 9);
    const ETH0: LinkId = LinkId(5);
    const WLAN0: LinkId = LinkId(6);

    pub fn tunnel(local: Ipv4Addr, remote: Ipv4Addr, through: Through) -> Path {
        Path::Tunnel {
            local,
            remote,
            encapsulation: Encapsulation::IpIp,
            through,
            reverse: true,
        }
    }

    fn over(link: LinkId) -> Through {
        let gateway = None;
        Through::Link { link, gateway }
    }

    fn outside(x: Ipv4Addr, link: LinkId) -> Arrangement {
        let inner = tunnel(V, S_HA, Through::Vpn);
        let outer = tunnel(x, T_HA, over(link));
        Arrangement {
            place: Place::OutsideWithAdapter,
            inner: Carriage {
                home: S,
                path: inner,
            },
            outer: Some(Carriage {
                home: T,
                path: outer,
            }),
        }
    }

    fn asked_for(x: Ipv4Addr, link: LinkId) -> Receiver {
        Receiver {
            home: T,
            home_agent: T_HA,
            local: x,
            link: Some(link),
        }
    }

    #[test]
    fn while_one_adapter_carries_another_that_is_asked_for_receives_and_the_former_for_a_moment() {
        let now = Instant::now();
        let mut receivers = Receivers::default();
        let (old, new) = (asked_for(X, ETH0), asked_for(X2, WLAN0));
        let before = outside(X, ETH0);
        assert!(!receivers.asked(now, old, &before), "a renewal");
        assert!(receivers.asked(now, new, &before));
        assert!(!receivers.asked(now, new, &before), "it is there already");
        assert_eq!(receivers.all(), [new]);
        receivers.moved(now, &before, &outside(X2, WLAN0));
        assert_eq!(receivers.all(), [old]);
        assert_eq!(receivers.poll_timeout(), Some(now + ON_ITS_WAY));
        assert!(!receivers.expire(now));
        assert!(receivers.expire(now + ON_ITS_WAY));
        assert_eq!(receivers.all(), []);
    }

    #[test]
    fn with_nothing_that_carries_nothing_waits_and_what_is_not_answered_is_forgotten() {
        let now = Instant::now();
        let mut receivers = Receivers::default();
        let mut blocked = outside(X, ETH0);
        blocked.outer = None;
        assert!(!receivers.asked(now, asked_for(X2, WLAN0), &blocked));
        assert_eq!(receivers.all(), []);
        assert!(receivers.asked(now, asked_for(X2, WLAN0), &outside(X, ETH0)));
        assert!(receivers.expire(now + ASKED));
        assert_eq!(receivers.all(), []);
    }

    #[test]
    fn what_is_on_its_way_through_the_vpn_is_received_when_s_is_inside() {
        let now = Instant::now();
        let mut receivers = Receivers::default();
        let before = outside(X, ETH0);
        let mut inside = before.clone();
        inside.inner.path = tunnel(X2, S_HA, over(WLAN0));
        receivers.moved(now, &before, &inside);
        let through_vpn = Receiver {
            home: S,
            home_agent: S_HA,
            local: V,
            link: None,
        };
        assert_eq!(receivers.all(), [through_vpn]);
    }
}
