//! What holds after every event, whatever the weather, and what holds when it has cleared.

use crate::kernel::Kernel;
use crate::world::{Health, Node, World};
use std::net::IpAddr;
use std::time::Duration;
use xfrm_agent::kernel::desired::{Action, Direction, Policy, SaDirection, SaKey};
use xfrm_agent::kernel::ownership::Band;
use xfrm_agent::net::Flow;

/// No agent needs to be woken so often in any second.
const WAKEUPS_A_SECOND: u32 = 50;

/// A deadline may lead to another for the same instant, but not without end.
const WAKEUPS_AT_ONCE: u32 = 3;

/// Entries of any one table, the kernel's own among them, in networks of up to five gateways with one host each.
const ENTRIES: usize = 200;

/// Tables that fill with traffic rather than with peers, up to bounds of their own.
const REMEMBERED: [(&str, usize); 2] = [("destinations-probed", 4096), ("cookies-spent", 1024)];

impl World {
    /// Called after every event that reached `node`.
    pub(super) fn check(&self, node: usize) {
        assert!(
            self.clear_allowed || self.tally.clear.is_empty(),
            "in the clear: {:?}\n{}",
            self.tally.clear,
            self.story()
        );
        let node = &self.nodes[node];
        if node.health != Health::Booting {
            self.check_refuses_clear(node);
        }
        let wakeups = node.wakeups;
        assert!(
            wakeups.in_second <= WAKEUPS_A_SECOND && wakeups.at_once <= WAKEUPS_AT_ONCE,
            "{}: a storm of timers: {wakeups:?}\n{}",
            node.name,
            self.story()
        );
        if self.large {
            return;
        }
        let kernel = [
            ("SAs in the kernel", node.kernel.sas.len()),
            ("policies in the kernel", node.kernel.policies.len()),
        ];
        for (table, entries) in node.agent.tables().chain(kernel) {
            assert!(
                entries <= bound(table),
                "{}: {entries} {table}\n{}",
                node.name,
                self.story()
            );
        }
    }

    /// One, and it is up.
    pub fn assert_usable_tunnel(&self, node: usize) {
        let tunnels = self.snapshot(node).tunnels;
        let up = tunnels.iter().filter(|tunnel| tunnel.state == "up");
        let name = self.nodes[node].name;
        assert_eq!(up.count(), 1, "{name}: {tunnels:?}\n{}", self.story());
    }

    /// What a failed assertion tells: the last that happened.
    pub fn story(&self) -> String {
        let from = self.tells.len().saturating_sub(200);
        self.tells[from..].join("\n")
    }

    /// Ten seconds after it started, a run has either replaced or removed what it found.
    pub(super) fn audit(&self, node: usize, run: u64) {
        let node = &self.nodes[node];
        if node.run != run || node.health != Health::Well {
            return;
        }
        let kernel = &node.kernel;
        let old: Vec<_> = kernel
            .sas
            .keys()
            .filter(|sa| node.found.contains(sa))
            .collect();
        assert!(
            old.is_empty(),
            "{} still has {old:?}\n{}",
            node.name,
            self.story()
        );
        for policy in kernel.policies.values() {
            let Some(reqid) = tunnel_reqid(policy) else {
                continue;
            };
            let used = kernel.sas.values().any(|(_, sa)| sa.reqid == reqid);
            assert!(
                used,
                "{}: of no use: {policy:?}\n{}",
                node.name,
                self.story()
            );
        }
    }

    /// Nothing that arrives without protection passes.
    fn check_refuses_clear(&self, node: &Node) {
        let ours = |flow: &&Flow| node.nets.iter().any(|net| net.contains(&flow.dst));
        for flow in self.due.iter().filter(ours) {
            assert!(
                !node.kernel.accepts_clear(flow),
                "{} lets {flow} in\n{}",
                node.name,
                self.story()
            );
        }
    }

    /// The weather has cleared: each flow finds exactly one tunnel at either end, and what one
    /// kernel sends with, the other receives with. Keys are replaced now and then, so each flow has
    /// until `patience` is over to be found at peace.
    pub fn assert_peace(&mut self, flows: &[Flow], patience: Duration) {
        let end = self.now + patience;
        let mut unrest: Vec<(Flow, String)>;
        let mut left = flows.to_vec();
        loop {
            unrest = left
                .iter()
                .filter_map(|flow| Some((*flow, self.unrest(flow)?)))
                .collect();
            left = unrest.iter().map(|(flow, _)| *flow).collect();
            if left.is_empty() || self.now >= end {
                break;
            }
            self.run_for(Duration::from_millis(500));
        }
        assert!(unrest.is_empty(), "{unrest:#?}\n{}", self.story());
    }

    /// What is wrong with the tunnel of a flow.
    fn unrest(&self, flow: &Flow) -> Option<String> {
        let place = |address| {
            let behind = |node: &Node| node.nets.iter().any(|net| net.contains(&address));
            let place = self.nodes.iter().position(behind);
            place.expect("every host is behind a gateway")
        };
        let (a, b) = (place(flow.src), place(flow.dst));
        for (here, there, outbound) in [(a, b, *flow), (b, a, flow.reversed())] {
            let (node, peer) = (&self.nodes[here], &self.nodes[there]);
            let name = node.name;
            let policies = tunnel_policies(&node.kernel, &outbound);
            if policies.len() != 1 {
                return Some(format!("{name} has not one policy but {policies:?}"));
            }
            let out = sas(&node.kernel, SaDirection::Out, peer.address);
            let received = sas(&peer.kernel, SaDirection::In, node.address);
            if out.len() != 1 || out != received {
                return Some(format!(
                    "{name} sends with {out:?}, received is {received:?}"
                ));
            }
            let tunnels = self.snapshot(here).tunnels;
            let of_peer = tunnels
                .iter()
                .filter(|t| t.remote == peer.address.to_string());
            let states: Vec<&str> = of_peer.map(|tunnel| &*tunnel.state).collect();
            if states != ["up"] {
                return Some(format!("{name} has tunnels that are {states:?}"));
            }
            let held = node.kernel.held();
            if held.iter().any(|payload| payload.flow == outbound) {
                return Some(format!("{name} holds {held:?}"));
            }
        }
        None
    }
}

fn bound(table: &str) -> usize {
    let own = REMEMBERED.iter().find(|(name, _)| *name == table);
    own.map_or(ENTRIES, |(_, entries)| *entries)
}

/// The reqids of outbound tunnel policies that match.
fn tunnel_policies(kernel: &Kernel, flow: &Flow) -> Vec<u32> {
    let outbound = |policy: &&Policy| policy.key.direction == Direction::Out;
    let policies = kernel.policies.values().filter(outbound);
    policies
        .filter(|policy| policy.key.selector.matches(flow))
        .filter_map(tunnel_reqid)
        .collect()
}

/// Of the policy of a tunnel.
fn tunnel_reqid(policy: &Policy) -> Option<u32> {
    match &policy.action {
        Action::Allow(templates) if Band::of(policy.priority) == Some(Band::Tunnel) => {
            templates.first().map(|template| template.reqid)
        }
        _ => None,
    }
}

/// Between a node and the other end at `peer`.
fn sas(kernel: &Kernel, direction: SaDirection, peer: IpAddr) -> Vec<SaKey> {
    let sas = kernel
        .sas
        .iter()
        .filter(|(_, (_, sa))| sa.direction == direction);
    sas.filter(|(_, (_, sa))| [sa.src, sa.dst].contains(&peer))
        .map(|(key, _)| *key)
        .collect()
}
