//! What stands in the kernel between us and one address of a contact.
//!
//! ```text
//!  band             mark            lifetime   what
//!  presence         —               —          classes that must be protected, the narrower first
//!  presence         0/0x20000000    60 s       classes that need not be
//!  presence-strict  —               —          everything else, and all of it when the rest has run out
//! ```
//!
//! A relaxed policy and the strict one beneath it have one selector; the mark, which no packet is
//! expected to carry, makes them two objects to the kernel. The agent renews the relaxed ones; if
//! it dies, the kernel drops them by itself.
//!
//! The selectors say `any` for our side: an address that the machine has just got is protected
//! before the agent has heard of it.

use crate::agent::foundation::without;
use crate::kernel::desired::{
    Action, Direction, IpsecProtocol, Level, Mark, Mode, Policy, PolicyKey, Template,
};
use crate::kernel::ownership::Band;
use crate::net::{Family, Selector, host};
use crate::presence::rules::Clause;
use crate::presence::{Class, Demand, Protection};
use std::net::IpAddr;
use std::time::Duration;

/// What the policies of one contact's address are made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ground {
    pub address: IpAddr,
    pub reqid: u32,
    /// One bit.
    pub mark: Mark,
    pub lifetime: Duration,
    /// What lies underneath: as for a stranger.
    pub strict: Protection,
    /// A NAT stands between: AH cannot pass.
    pub nat: bool,
    /// Nothing may be relaxed: something else protects these addresses.
    pub rigid: bool,
}

impl Ground {
    /// In `direction`, from clauses of which the first that contains a packet's class decides, and
    /// the last contains all.
    pub(super) fn policies(&self, direction: Direction, clauses: &[Clause]) -> Vec<Policy> {
        let Some((last, narrower)) = clauses.split_last() else {
            return vec![self.strict_policy(direction, self.strict, false)];
        };
        let mut policies = Vec::new();
        let relaxes = |clause: &Clause| clause.protection.demand < Demand::Require;
        if relaxes(last) && !self.rigid {
            policies.push(self.strict_policy(direction, self.strict, last.esp_behind_nat));
            policies.push(self.relaxed_policy(direction, last));
        } else {
            let protection = if relaxes(last) {
                self.strict
            } else {
                last.protection
            };
            policies.push(self.strict_policy(direction, protection, last.esp_behind_nat));
        }
        for clause in narrower {
            if clause.class == Class::ANY || clause.protection == last.protection {
                continue;
            }
            if !relaxes(clause) {
                policies.push(Policy {
                    key: self.key(direction, clause.class, Mark::default()),
                    priority: self.priority(Band::Presence, direction, clause.class),
                    action: self.action(clause.protection, clause.esp_behind_nat),
                    lifetime: None,
                });
            } else if !self.rigid {
                policies.push(self.relaxed_policy(direction, clause));
            }
        }
        policies
    }

    fn strict_policy(
        &self,
        direction: Direction,
        protection: Protection,
        esp_behind_nat: bool,
    ) -> Policy {
        Policy {
            key: self.key(direction, Class::ANY, Mark::default()),
            priority: self.priority(Band::PresenceStrict, direction, Class::ANY),
            action: self.action(protection, esp_behind_nat),
            lifetime: None,
        }
    }

    fn relaxed_policy(&self, direction: Direction, clause: &Clause) -> Policy {
        Policy {
            key: self.key(direction, clause.class, without(self.mark)),
            priority: self.priority(Band::Presence, direction, clause.class),
            action: self.action(clause.protection, clause.esp_behind_nat),
            lifetime: Some(self.lifetime),
        }
    }

    pub(super) fn selector(&self, direction: Direction, class: Class) -> Selector {
        let any = Family::of(self.address).any();
        let outbound = class.of(Selector::between(any, host(self.address)));
        match direction {
            Direction::Out => outbound,
            Direction::In | Direction::Fwd => outbound.reversed(),
        }
    }

    fn key(&self, direction: Direction, class: Class, mark: Mark) -> PolicyKey {
        PolicyKey {
            direction,
            selector: self.selector(direction, class),
            mark,
            if_id: 0,
        }
    }

    fn priority(&self, band: Band, direction: Direction, class: Class) -> u32 {
        band.priority(self.selector(direction, class).specificity())
    }

    /// What becomes of a clause that demands AH where that cannot pass.
    pub(super) fn behind_nat(&self, clause: &Clause) -> Option<&'static str> {
        (self.nat && clause.protection.protocols.ah).then_some(if clause.esp_behind_nat {
            "ESP alone, since AH cannot pass a NAT"
        } else {
            "blocked, since AH cannot pass a NAT"
        })
    }

    /// Compressed first, then ESP, and AH around it (RFC 3173 §2).
    ///
    /// Compression is optional in any case: what is short, or does not become shorter, is sent as it is
    /// (RFC 3173 §2.2), and a peer that does not do it is no less protected.
    fn action(&self, protection: Protection, esp_behind_nat: bool) -> Action {
        let level = match protection.demand {
            Demand::Discard => return Action::Block,
            Demand::None => return Action::Allow(Vec::new()),
            Demand::Use => Level::Use,
            Demand::Require => Level::Required,
        };
        let mut protocols = protection.protocols;
        if self.nat && protocols.ah {
            if !esp_behind_nat {
                return Action::Block;
            }
            (protocols.ah, protocols.esp) = (false, true);
        }
        let any = match self.address {
            IpAddr::V4(_) => IpAddr::from([0; 4]),
            IpAddr::V6(_) => IpAddr::from([0; 16]),
        };
        let template = |protocol| Template {
            protocol,
            mode: Mode::Transport,
            level: if protocol == IpsecProtocol::Comp {
                Level::Use
            } else {
                level
            },
            src: any,
            dst: any,
            reqid: self.reqid,
            spi: None,
        };
        let esp = protocols.esp.then(|| template(IpsecProtocol::Esp));
        let ah = protocols.ah.then(|| template(IpsecProtocol::Ah));
        let comp = protocols.ipcomp.then(|| template(IpsecProtocol::Comp));
        Action::Allow(comp.into_iter().chain(esp).chain(ah).collect())
    }
}
