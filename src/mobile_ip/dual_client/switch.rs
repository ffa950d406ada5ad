//! The context switch, as types: what comes before what cannot be left out or turned round.
//!
//! ```text
//!                    ┌── inside(proof, registration in the clear) ──────────────→ Open   FIG. 11
//!  Stopped ──────────┤
//!  nothing of S      └── carry(T) → Carried ── through(VPN up) → Tunnelled ── bind(registration over it) → Open
//!                                      │                                                    FIG. 8, 9, 10
//!                                      └── without_vpn(registration) → Open              the null case
//! ```
//!
//! A switch is this walk, made anew after every event from what is true then. Each stage is made from the
//! one before by showing what it needs; only [`Open`] holds a path of S. What is lost takes the walk back
//! to the stage before it in the same step, so S is stopped first, and what comes back leads on from
//! there: nothing has to be undone.

use super::registration::{Carried as CarriedBy, Point};
use super::slots::Bound;
use super::vpn::Adapter;
use crate::mobile_ip::domain::ProvenLink;
use crate::mobile_ip::{Arrangement, Carriage, Encapsulation, LinkId, Path, Place, Through, Via};
use std::net::{IpAddr, Ipv4Addr};

/// Where every walk begins: S has a table that ends in unreachable.
#[derive(Debug)]
pub struct Stopped {
    home: Ipv4Addr,
}

/// T has a way, or the physical address takes its place.
#[derive(Debug)]
pub struct Carried {
    home: Ipv4Addr,
    outer: Option<Carriage>,
    /// T, or X without an outer system and where there is no IPv4.
    below: IpAddr,
}

/// The VPN is up over that, with V or without an adapter.
#[derive(Debug)]
pub struct Tunnelled {
    carried: Carried,
    adapter: Adapter,
}

/// S has a way.
#[derive(Debug)]
pub struct Open(Arrangement);

impl Stopped {
    pub fn new(home: Ipv4Addr) -> Self {
        Self { home }
    }

    /// Nothing of S, whatever T does.
    pub fn stay(self, outer: Option<Carriage>) -> Arrangement {
        Arrangement {
            place: Place::Blocked,
            inner: Carriage {
                home: self.home,
                path: Path::Blocked,
            },
            outer,
        }
    }

    /// The proof and the registration must be of one adapter. `outer` is what keeps a VPN warm.
    pub fn inside(
        self,
        proven: ProvenLink,
        bound: &Bound,
        outer: Option<Carriage>,
    ) -> Result<Open, Self> {
        if bound.attachment.via != Via::Link(proven.link()) {
            return Err(self);
        }
        let path = path_on(proven.link(), bound);
        Ok(Open(self.opened(Place::Inside, path, outer)))
    }

    pub fn carry(self, outer: Option<Carriage>, below: IpAddr) -> Carried {
        Carried {
            home: self.home,
            outer,
            below,
        }
    }

    /// The null case with one system: an administrator has said that there is no VPN.
    pub fn without_vpn(self, link: LinkId, bound: &Bound) -> Open {
        Open(self.opened(Place::WithoutVpn, path_on(link, bound), None))
    }

    fn opened(self, place: Place, path: Path, outer: Option<Carriage>) -> Arrangement {
        Arrangement {
            place,
            inner: Carriage {
                home: self.home,
                path,
            },
            outer,
        }
    }
}

impl Carried {
    /// The VPN is not up.
    pub fn stay(self) -> Arrangement {
        Stopped::new(self.home).stay(self.outer)
    }

    pub fn through(self, adapter: Adapter) -> Tunnelled {
        Tunnelled {
            carried: self,
            adapter,
        }
    }

    /// The null case with two systems: the inner one registers T. The registration must be of that T.
    pub fn without_vpn(self, bound: &Bound) -> Result<Open, Self> {
        let IpAddr::V4(below) = self.below else {
            return Err(self);
        };
        match over(bound, below, Through::OuterHome) {
            Some(path) => Ok(Open(Stopped::new(self.home).opened(
                Place::WithoutVpn,
                path,
                self.outer,
            ))),
            None => Err(self),
        }
    }
}

impl Tunnelled {
    /// The inner registration is not there yet.
    pub fn stay(self) -> Arrangement {
        self.carried.stay()
    }

    /// What the inner system registers: V, or T in its place (FIG. 10).
    pub fn care_of(&self) -> Option<Ipv4Addr> {
        self.adapter.address(self.carried.below)
    }

    /// The registration must be of the address that the VPN gives now.
    pub fn bind(self, bound: &Bound) -> Result<Open, Self> {
        let care_of = self.care_of();
        let Some(path) = care_of.and_then(|care_of| over(bound, care_of, Through::Vpn)) else {
            return Err(self);
        };
        let place = match self.adapter {
            Adapter::Own(_) => Place::OutsideWithAdapter,
            Adapter::None => Place::OutsideWithoutAdapter,
        };
        let stopped = Stopped::new(self.carried.home);
        Ok(Open(stopped.opened(place, path, self.carried.outer)))
    }
}

impl Open {
    pub fn arrangement(self) -> Arrangement {
        self.0
    }
}

/// Over the VPN or over T: always a tunnel with V or T outside, and never anything else.
fn over(bound: &Bound, care_of: Ipv4Addr, through: Through) -> Option<Path> {
    let (Via::Routed, Point::CoLocated(local)) = (bound.attachment.via, bound.attachment.point)
    else {
        return None;
    };
    let CarriedBy::Tunnel(encapsulation) = bound.accepted.carried else {
        return None;
    };
    (local == care_of).then_some(Path::Tunnel {
        local,
        remote: bound.attachment.home_agent,
        encapsulation,
        through,
        // RFC 5265 §2.3: what is sent must have the VPN's address too.
        reverse: true,
    })
}

/// How a home address whose registration ran over `link` uses it.
pub fn path_on(link: LinkId, bound: &Bound) -> Path {
    let gateway = bound.attachment.gateway;
    match bound.accepted.carried {
        CarriedBy::AtHome => Path::Native { link, gateway },
        CarriedBy::ForeignAgent(agent) => Path::Native {
            link,
            gateway: Some(agent),
        },
        CarriedBy::Tunnel(encapsulation) => {
            // A NAT lets nothing else through (RFC 3519 §4.9).
            let reverse =
                bound.attachment.reverse || matches!(encapsulation, Encapsulation::Udp { .. });
            if reverse {
                Path::Tunnel {
                    local: bound.attachment.point.care_of(bound.attachment.home),
                    remote: bound.attachment.home_agent,
                    encapsulation,
                    through: Through::Link { link, gateway },
                    reverse,
                }
            } else {
                Path::Native { link, gateway }
            }
        }
    }
}
