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
//! A tunnel is between the two addresses themselves, and its end at the contact is the only one that
//! policies name: ours is what the route says.
//!
//! The selectors say `any` for our side: an address that the machine has just got is protected
//! before the agent has heard of it.

use crate::agent::foundation::without;
use crate::kernel::desired::{
    Action, Direction, IpsecProtocol, Level, Mark, Mode, Policy, PolicyKey, Template,
};
use crate::kernel::ownership::Band;
use crate::net::{Family, Selector, host};
use crate::presence::row::Mode as Way;
use crate::presence::rules::{Clause, Treatment};
use crate::presence::{Class, Demand, Protection, Protocols};
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
    /// Tunnels are, or were, in use: what still comes by one is accepted where clear packets are.
    pub tunnels: bool,
    /// In which mode protection was required last: what lies underneath stays so, for what is under
    /// way when it is uncovered, and when it is covered.
    pub last_way: Way,
}

impl Ground {
    /// In `direction`, from clauses of which the first that contains a packet's class decides, and
    /// the last contains all.
    pub(super) fn policies(&self, direction: Direction, clauses: &[Clause]) -> Vec<Policy> {
        let Some((last, narrower)) = clauses.split_last() else {
            return vec![self.strict_policy(direction, self.strict.into())];
        };
        let mut policies = Vec::new();
        let relaxes = |clause: &Clause| clause.protection.demand < Demand::Require;
        if relaxes(last) && !self.rigid {
            policies.push(self.strict_policy(direction, self.underneath(last)));
            policies.push(self.relaxed_policy(direction, last));
        } else if relaxes(last) {
            policies.push(self.strict_policy(direction, self.underneath(last)));
        } else {
            policies.push(self.strict_policy(direction, last.treatment()));
        }
        for clause in narrower {
            if clause.class == Class::ANY || clause.treatment() == last.treatment() {
                continue;
            }
            if !relaxes(clause) {
                policies.push(Policy {
                    key: self.key(direction, clause.class, Mark::default()),
                    priority: self.priority(Band::Presence, direction, clause.class),
                    action: self.action(direction, clause.treatment()),
                    lifetime: None,
                });
            } else if !self.rigid {
                policies.push(self.relaxed_policy(direction, clause));
            }
        }
        policies
    }

    fn underneath(&self, relaxed: &Clause) -> Treatment {
        Treatment {
            esp_behind_nat: relaxed.esp_behind_nat,
            mode: self.last_way,
            ..self.strict.into()
        }
    }

    fn strict_policy(&self, direction: Direction, treatment: Treatment) -> Policy {
        Policy {
            key: self.key(direction, Class::ANY, Mark::default()),
            priority: self.priority(Band::PresenceStrict, direction, Class::ANY),
            action: self.action(direction, treatment),
            lifetime: None,
        }
    }

    fn relaxed_policy(&self, direction: Direction, clause: &Clause) -> Policy {
        Policy {
            key: self.key(direction, clause.class, without(self.mark)),
            priority: self.priority(Band::Presence, direction, clause.class),
            action: self.action(direction, clause.treatment()),
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

    /// What a NAT makes of a clause.
    pub(super) fn behind_nat(&self, clause: &Clause) -> Option<&'static str> {
        if !self.nat {
            None
        } else if clause.protection.protocols.ah && clause.esp_behind_nat {
            Some("ESP alone, since AH cannot pass a NAT")
        } else if clause.protection.protocols.ah {
            Some("blocked, since AH cannot pass a NAT")
        } else if clause.mode == Way::Tunnel {
            Some("transport, since a NAT does not change the addresses inside of a tunnel")
        } else {
            None
        }
    }

    /// Compressed first, then ESP, and AH around it (RFC 3173 §2).
    ///
    /// Compression is optional in any case: what is short, or does not become shorter, is sent as it
    /// is (RFC 3173 §2.2), and a peer that does not do it is no less protected.
    fn action(&self, direction: Direction, treatment: Treatment) -> Action {
        let Treatment {
            protection,
            esp_behind_nat,
            mode,
            ..
        } = treatment;
        let mut protocols = protection.protocols;
        if self.nat && protocols.ah {
            if !esp_behind_nat {
                return Action::Block;
            }
            (protocols.ah, protocols.esp) = (false, true);
        }
        let mut templates = match protection.demand {
            Demand::Discard => return Action::Block,
            Demand::None => Vec::new(),
            Demand::Use => self.in_transport(protocols, Level::Use),
            // Where addresses are translated both ends know it, and neither has a tunnel.
            Demand::Require if mode == Way::Tunnel && !self.nat && !self.rigid => {
                return Action::Allow(self.through_tunnel(direction, protocols));
            }
            Demand::Require => self.in_transport(protocols, Level::Required),
        };
        if self.tunnels && direction == Direction::In && protection.demand < Demand::Require {
            // Else the kernel takes nothing from a tunnel, though it takes clear packets.
            let from = |protocol| self.tunnel(direction, protocol, Level::Use);
            templates.extend([IpsecProtocol::Esp, IpsecProtocol::Ah].map(from));
        }
        Action::Allow(templates)
    }

    fn in_transport(&self, protocols: Protocols, level: Level) -> Vec<Template> {
        let template = |protocol, level| self.template(protocol, Mode::Transport, level);
        let comp = protocols
            .ipcomp
            .then(|| template(IpsecProtocol::Comp, Level::Use));
        let esp = protocols.esp.then(|| template(IpsecProtocol::Esp, level));
        let ah = protocols.ah.then(|| template(IpsecProtocol::Ah, level));
        comp.into_iter().chain(esp).chain(ah).collect()
    }

    /// The innermost protocol makes the tunnel, and AH goes around that of ESP.
    fn through_tunnel(&self, direction: Direction, protocols: Protocols) -> Vec<Template> {
        let required = Level::Required;
        if !protocols.esp {
            return vec![self.tunnel(direction, IpsecProtocol::Ah, required)];
        }
        let around = protocols
            .ah
            .then(|| self.template(IpsecProtocol::Ah, Mode::Transport, required));
        let tunnel = self.tunnel(direction, IpsecProtocol::Esp, required);
        std::iter::once(tunnel).chain(around).collect()
    }

    fn tunnel(&self, direction: Direction, protocol: IpsecProtocol, level: Level) -> Template {
        let mut template = self.template(protocol, Mode::Tunnel, level);
        match direction {
            Direction::Out => template.dst = self.address,
            Direction::In | Direction::Fwd => template.src = self.address,
        }
        template
    }

    fn template(&self, protocol: IpsecProtocol, mode: Mode, level: Level) -> Template {
        let any = Family::of(self.address).unspecified();
        Template {
            protocol,
            mode,
            level,
            src: any,
            dst: any,
            reqid: self.reqid,
            spi: None,
        }
    }
}
