//! What keeps packets of V from leaving, or coming in, in the clear; and those of T, where the VPN has no
//! adapter.
//!
//! ```text
//!  band      direction   selector        what
//!  tunnel    in out fwd  V ↔ subnet      the tunnel's own, while it is up
//!  trap      out         V → subnet      held
//!  enforce   in          subnet → V      block
//! ```

use super::Vpn;
use super::settings::VpnSettings;
use crate::agent::foundation::{trap, verdict};
use crate::agent::wishes::{Owner, Wishes};
use crate::kernel::desired::{Action, Direction, Mark, Policy};
use crate::kernel::ownership::Band;
use crate::net::{IpNet, Selector, host};
use std::net::IpAddr;

fn policies(selector: Selector) -> [Policy; 2] {
    [
        trap(selector, Mark::default(), Band::Trap),
        verdict(
            Direction::In,
            selector.reversed(),
            Mark::default(),
            Band::Enforce,
            Action::Block,
        ),
    ]
}

impl Vpn {
    /// What an earlier run guarded: `remembered` is everything that was once protected.
    pub(in crate::agent) fn guard_again(
        &mut self,
        settings: &VpnSettings,
        remembered: &[Selector],
        wishes: &mut Wishes,
    ) {
        let subnets: Vec<&IpNet> = settings.gateways.iter().flat_map(|g| &g.subnets).collect();
        let ours = |s: &&Selector| {
            s.src == host(s.src.addr()) && subnets.iter().any(|net| net.contains(&s.dst))
        };
        let guarded: Vec<Selector> = remembered.iter().filter(ours).copied().collect();
        self.guard(guarded, wishes);
    }

    /// Guards these instead of what was guarded before. Returns what is not any more.
    pub(super) fn guard(&mut self, guarded: Vec<Selector>, wishes: &mut Wishes) -> Vec<Selector> {
        for policy in guarded.iter().flat_map(|s| policies(*s)) {
            wishes.want_policy(Owner::Vpn, policy);
        }
        let mut before = std::mem::replace(&mut self.guarded, guarded);
        before.retain(|s| !self.guarded.contains(s));
        for policy in before.iter().flat_map(|s| policies(*s)) {
            wishes.withdraw_policy(Owner::Vpn, policy.key);
        }
        before
    }

    /// The tunnel takes what was held.
    pub(super) fn release(&self, wishes: &mut Wishes) {
        for selector in &self.guarded {
            let [held, _] = policies(*selector);
            wishes.release(held.key);
        }
    }

    /// The addresses that are guarded: asked for again.
    pub(super) fn had(&self) -> Vec<IpAddr> {
        let mut addresses: Vec<IpAddr> = self.guarded.iter().map(|s| s.src.addr()).collect();
        addresses.dedup();
        addresses
    }
}
