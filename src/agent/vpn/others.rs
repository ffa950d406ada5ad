//! VPNs of other software in the agent: which command runs, and what the kernel shows of them.

use super::commands::{Below, Ended, Run};
use super::other::{Other, Sight};
use super::settings::OtherVpn;
use super::{Phase, Vpn, Wanted};
use crate::agent::Agent;
use crate::agent::effect::Effect;
use crate::kernel::adapters::Adapter;
use crate::kernel::desired::Policy;
use std::net::Ipv4Addr;
use std::time::Instant;

impl Agent {
    /// The interfaces of VPNs are not what they were.
    pub(in crate::agent) fn vpn_interfaces(&mut self, now: Instant, interfaces: Vec<Adapter>) {
        self.vpn.interfaces = interfaces;
        self.other_seen(now);
    }

    /// The outbound policies of others are not what they were.
    pub(in crate::agent) fn vpn_outbound(&mut self, now: Instant, policies: Vec<Policy>) {
        self.vpn.outbound = policies;
        self.other_seen(now);
    }

    pub(in crate::agent) fn vpn_command_ended(&mut self, now: Instant, run: Run, ended: Ended) {
        let mut fallen = None;
        self.other_changes(now, |other| fallen = other.ended(run, ended));
        match fallen {
            None => self.other_seen(now),
            Some(ended) => self.other_gone(now, ended),
        }
    }

    pub(in crate::agent) fn vpn_says(&mut self, now: Instant, run: Run, says: Ended) {
        if let Err(reason) = &says {
            self.tell(now, "vpn-lost", reason.clone());
        }
        self.other_changes(now, |other| other.says(run, says));
        self.other_seen(now);
    }

    /// The commands are run in the order of the wishes: what ends is waited for.
    pub(super) fn other_rise(&mut self, now: Instant, vpn: OtherVpn) {
        if matches!(&self.vpn.phase, Phase::Other(other) if !other.is_idle()) {
            return;
        }
        let below = Below {
            local: self.vpn.over,
            adapter: self
                .mobility
                .as_ref()
                .and_then(|m| m.leads_out_over(self.vpn.over)),
        };
        let run = self.vpn.next_run();
        let (other, command) = Other::rise(vpn, below, run);
        if let Phase::Other(before) = &self.vpn.phase {
            self.effects.extend(before.run().map(Effect::StopCommand));
        }
        self.effects.push_back(Effect::RunCommand { run, command });
        self.vpn.enter(now, Phase::Other(Box::new(other)));
        self.vpn_rely();
    }

    pub(super) fn other_fall(&mut self, now: Instant) {
        let run = self.vpn.next_run();
        let mut fall = None;
        self.other_changes(now, |other| fall = other.fall(run));
        if let Some((command, cut_short)) = fall {
            self.effects.extend(cut_short.map(Effect::StopCommand));
            self.effects.push_back(Effect::RunCommand { run, command });
        }
    }

    fn other_gone(&mut self, now: Instant, ended: Ended) {
        if let Err(reason) = ended {
            self.tell(now, "vpn-stays-up", reason);
        }
        self.vpn.enter(now, Phase::Down);
        self.vpn_rely();
        self.end_what_is_left(now);
        if matches!(self.vpn.wanted, Wanted::Up { .. }) {
            self.vpn_connect(now);
        }
    }

    fn other_seen(&mut self, now: Instant) {
        let (interfaces, outbound) = (self.vpn.interfaces.clone(), self.vpn.outbound.clone());
        let agent = self.inner_agent();
        let sight = Sight {
            interfaces: &interfaces,
            outbound: &outbound,
            agent,
        };
        self.other_changes(now, |other| other.see(sight));
        self.vpn_rely();
    }

    fn other_changes(&mut self, now: Instant, change: impl FnOnce(&mut Other)) {
        let before = self.vpn.state();
        if let Phase::Other(other) = &mut self.vpn.phase {
            change(other);
            self.vpn.changed(now, &before);
        }
    }

    pub(super) fn inner_agent(&self) -> Option<Ipv4Addr> {
        let mobility = self.settings.mobility.as_ref();
        mobility.map(|mobility| mobility.dual.inner.home_agent)
    }
}

impl Vpn {
    pub(super) fn next_run(&mut self) -> Run {
        self.next_run += 1;
        Run(self.next_run)
    }
}
