//! What carries S from addresses that have a way in the clear: what that is, whether policies of other software
//! protect it, and what stands behind them and ours.
//!
//! ```text
//!  band   direction   selector                            what
//!  last   out         V → inner home agent, IP in IP      block
//!  last   out         V or T → inner home agent, UDP 434  block
//! ```
//!
//! Other software's V or T: from before it is asked for its VPN until that is down. T of a VPN of our own without an
//! adapter: always, since nothing that carries S may ever leave from it but through the VPN.
//!
//! The priority of these is behind those of every key daemon: they decide when no other policy does, so nothing
//! leaves in the clear however late we hear that a policy has gone. They name protocols, which no VPN does, so
//! that their keys are nobody else's.

use super::settings::GatewaySettings;
use super::{Phase, Vpn};
use crate::agent::Agent;
use crate::agent::foundation::verdict;
use crate::agent::wishes::{Owner, Wishes};
use crate::kernel::desired::{Action, Direction, IpsecProtocol, Level, Mark, Policy};
use crate::kernel::ownership::Band;
use crate::mobile_ip::dual_client::Site;
use crate::net::{Port, Protocol, Selector, host};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

const IP_IN_IP: Protocol = Protocol::Is(4);
/// RFC 5944 §1.8, and of tunnels in UDP (RFC 3519 §3).
const REGISTRATION: Port = Port::Is(434);

/// What carries S, and asks for it to be carried, from `local` to the inner home agent.
pub(super) fn carriers(local: IpAddr, agent: Ipv4Addr) -> [Selector; 2] {
    let between = Selector::between(host(local), host(agent.into()));
    [
        between.protocol(IP_IN_IP),
        between
            .protocol(Protocol::UDP)
            .ports(Port::Any, REGISTRATION),
    ]
}

/// Whether every packet that the selector matches is encrypted, or dropped, by what others have in the kernel:
/// somebody's ESP covers it, and nothing comes before that which lets it through.
pub(super) fn is_protected(selector: &Selector, theirs: &[Policy]) -> bool {
    let esp = theirs
        .iter()
        .filter(|policy| encrypts(policy) && policy.key.selector.contains(selector))
        .map(|policy| policy.priority)
        .min();
    let lets_through = |policy: &&Policy| {
        let is_blocked = policy.action == Action::Block;
        !is_blocked && !encrypts(policy) && policy.key.selector.overlaps(selector)
    };
    let clear = theirs
        .iter()
        .filter(lets_through)
        .map(|policy| policy.priority)
        .min();
    esp.is_some_and(|esp| clear.is_none_or(|clear| esp < clear))
}

fn encrypts(policy: &Policy) -> bool {
    let Action::Allow(templates) = &policy.action else {
        return false;
    };
    let mut templates = templates.iter();
    templates.any(|it| it.protocol == IpsecProtocol::Esp && it.level == Level::Required)
}

fn block(selector: Selector) -> Policy {
    let (mark, block) = (Mark::default(), Action::Block);
    verdict(Direction::Out, selector, mark, Band::Last, block)
}

impl Agent {
    /// Blocked before whoever follows the VPN hears of it.
    pub(in crate::agent) fn vpn_rely(&mut self) {
        let agent = self.inner_agent();
        let mut relied_on = match &self.vpn.phase {
            Phase::Other(other) => other.relies_on(agent),
            _ => Vec::new(),
        };
        let kept = self.kept_below_own();
        let carriers = |local: Ipv4Addr| agent.map(|agent| carriers(local.into(), agent));
        relied_on.extend(kept.into_iter().filter_map(carriers).flatten());
        self.vpn.rely(relied_on, &mut self.wishes);
    }

    /// T of each site whose VPN is our own and has no adapter.
    fn kept_below_own(&self) -> BTreeSet<Ipv4Addr> {
        let sites = self.settings.mobility.iter().flat_map(|m| &m.dual.sites);
        let keeps = |site: &&Site| {
            let name = site.gateway.as_deref();
            let gateway = name.and_then(|name| self.settings.vpn.gateway(name));
            gateway.is_some_and(GatewaySettings::keeps_own)
        };
        let outer = sites.filter(keeps).filter_map(|site| site.outer.as_ref());
        outer.map(|system| system.home).collect()
    }
}

impl Vpn {
    /// Relies on others for these, instead of what was relied on before.
    pub(super) fn rely(&mut self, selectors: Vec<Selector>, wishes: &mut Wishes) {
        for selector in &selectors {
            wishes.want_policy(Owner::Vpn, block(*selector));
        }
        let before = std::mem::replace(&mut self.relied_on, selectors);
        for selector in before.iter().filter(|s| !self.relied_on.contains(s)) {
            wishes.withdraw_policy(Owner::Vpn, block(*selector).key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::desired::{Mode, PolicyKey, Template};

    const T: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 5);
    const AGENT: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 2);

    fn carried() -> Selector {
        carriers(T.into(), AGENT)[1]
    }

    fn policy(src: &str, dst: &str, priority: u32, action: Action) -> Policy {
        let [src, dst] = [src, dst].map(|net| net.parse().unwrap());
        Policy {
            key: PolicyKey {
                direction: Direction::Out,
                selector: Selector::between(src, dst),
                mark: Mark::default(),
                if_id: 0,
            },
            priority,
            action,
            lifetime: None,
        }
    }

    fn esp(level: Level, protocol: IpsecProtocol) -> Action {
        let any = Ipv4Addr::UNSPECIFIED.into();
        Action::Allow(vec![Template {
            protocol,
            mode: Mode::Tunnel,
            level,
            src: any,
            dst: any,
            reqid: 1,
            spi: None,
        }])
    }

    #[test]
    fn only_a_policy_that_covers_all_of_it_and_must_encrypt_protects() {
        let required = || esp(Level::Required, IpsecProtocol::Esp);
        let covers = policy("198.51.100.5/32", "10.10.0.0/16", 375_423, required());
        assert!(is_protected(&carried(), &[covers]));
        for other in [
            policy("198.51.100.5/32", "10.11.0.0/16", 375_423, required()),
            policy("10.30.0.5/32", "10.10.0.0/16", 375_423, required()),
            policy(
                "198.51.100.5/32",
                "10.10.0.0/16",
                1,
                esp(Level::Use, IpsecProtocol::Esp),
            ),
            policy(
                "198.51.100.5/32",
                "10.10.0.0/16",
                1,
                esp(Level::Required, IpsecProtocol::Ah),
            ),
            policy("198.51.100.5/32", "10.10.0.0/16", 1, Action::Block),
        ] {
            assert!(
                !is_protected(&carried(), std::slice::from_ref(&other)),
                "{other:?}"
            );
        }
        assert!(!is_protected(&carried(), &[]));
    }

    #[test]
    fn an_exception_that_comes_first_undoes_the_protection_and_one_behind_it_does_not() {
        let required = esp(Level::Required, IpsecProtocol::Esp);
        let covers = policy("0.0.0.0/0", "10.10.0.0/16", 300, required);
        let clear = |priority| {
            policy(
                "0.0.0.0/0",
                "10.10.0.2/32",
                priority,
                Action::Allow(Vec::new()),
            )
        };
        assert!(is_protected(&carried(), &[covers.clone(), clear(301)]));
        // Of two of one priority the kernel takes the older one.
        for priority in [299, 300] {
            assert!(!is_protected(
                &carried(),
                &[covers.clone(), clear(priority)]
            ));
        }
        let block = policy("0.0.0.0/0", "10.10.0.2/32", 1, Action::Block);
        assert!(is_protected(&carried(), &[covers, block]));
    }

    #[test]
    fn what_stands_behind_comes_after_every_key_daemon_and_goes_with_the_vpn() {
        let mut wishes = Wishes::default();
        let mut vpn = Vpn::new(std::time::Instant::now());
        vpn.rely(carriers(T.into(), AGENT).to_vec(), &mut wishes);
        let blocks = |wishes: &Wishes| -> Vec<u32> {
            wishes
                .policies()
                .map(|(_, policy)| policy.priority)
                .collect()
        };
        assert_eq!(blocks(&wishes).len(), 2);
        assert!(
            blocks(&wishes)
                .iter()
                .all(|priority| *priority > 0x8000_0000)
        );
        vpn.rely(Vec::new(), &mut wishes);
        assert!(blocks(&wishes).is_empty());
    }
}
