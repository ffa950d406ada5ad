//! From a claim to a tunnel: a discovered gateway is believed when IKE has authenticated it as a
//! peer that may protect those addresses, and not before.
//!
//! A claim does not say whom it comes from, or only as a hint. So every peer of the authorization
//! database that may speak for the addresses is tried in turn, the hinted one first.

use super::settings::{Settings, TunnelMode};
use super::wishes::TunnelId;
use crate::ike::settings::{ChildProtocol, Connect, Mode, Peer, RequestId};
use crate::net::{Flow, Identity, Selector, host};
use crate::ted::initiator::DiscoveryId;
use crate::ted::proxies::ProxyId;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// `IKE_SA_INIT` towards one address: this many at once, and one more each `REFILL`. Whoever forges
/// responses cannot have us flood somebody else.
const BURST: u32 = 4;
const REFILL: Duration = Duration::from_secs(1);

/// Targets remembered for that; when full, the one that was idle longest is forgotten.
const MAX_TARGETS: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// For a packet that waits; `proxy` is ours.
    Discovery {
        discovery: DiscoveryId,
        proxy: ProxyId,
        flow: Flow,
    },
    /// To take the place of a tunnel of before the restart.
    Adoption(TunnelId),
    /// To have a tunnel again that lost its local address.
    Replanting,
}

#[derive(Debug)]
pub(super) struct Negotiation {
    pub purpose: Purpose,
    pub local: IpAddr,
    pub remote: IpAddr,
    pub selectors: Vec<Selector>,
    mode: Mode,
    peers: VecDeque<Identity>,
}

#[derive(Debug, Default)]
pub(super) struct Negotiations {
    running: BTreeMap<RequestId, Negotiation>,
    targets: BTreeMap<IpAddr, Budget>,
    next_request: u64,
}

#[derive(Debug)]
struct Budget {
    left: u32,
    since: Instant,
}

impl Negotiation {
    pub(super) fn new(
        purpose: Purpose,
        (local, remote): (IpAddr, IpAddr),
        selectors: Vec<Selector>,
        mode: TunnelMode,
        peers: VecDeque<Identity>,
    ) -> Self {
        // Transport mode carries only what the two ends say themselves.
        let between_ends = selectors
            .iter()
            .all(|s| (s.src, s.dst) == (host(local), host(remote)));
        let mode = match mode {
            TunnelMode::Transport if between_ends => Mode::Transport,
            _ => Mode::Tunnel,
        };
        Self {
            purpose,
            local,
            remote,
            selectors,
            mode,
            peers,
        }
    }

    fn flow(&self) -> Option<Flow> {
        match self.purpose {
            Purpose::Discovery { flow, .. } => Some(flow),
            Purpose::Adoption(_) | Purpose::Replanting => None,
        }
    }
}

/// The peers that may speak for the remote side of every selector when reached at `remote`.
pub(super) fn eligible<'a>(
    settings: &'a Settings,
    selectors: &'a [Selector],
    remote: IpAddr,
) -> impl Iterator<Item = &'a Peer> {
    settings
        .peers
        .iter()
        .filter(move |peer| selectors.iter().all(|s| peer.may_speak_for(s.dst, remote)))
}

impl Negotiations {
    /// The next peer to try for `negotiation`; `None` where all have been tried, or where this
    /// target has had its share for now.
    ///
    /// `initial_contact` tells whether we have nothing with a peer: then it should forget what it had
    /// with an earlier run of us, or with an address that we had.
    pub(super) fn start(
        &mut self,
        now: Instant,
        mut negotiation: Negotiation,
        initial_contact: impl Fn(&Identity) -> bool,
    ) -> Option<Connect> {
        let peer = negotiation.peers.pop_front()?;
        if !self.may_contact(now, negotiation.remote) {
            return None;
        }
        let initial_contact = initial_contact(&peer);
        self.next_request += 1;
        let request = RequestId(self.next_request);
        let connect = Connect {
            request,
            local: negotiation.local,
            remote: negotiation.remote,
            peer,
            selectors: negotiation.selectors.clone(),
            flow: negotiation.flow(),
            mode: negotiation.mode,
            protocol: ChildProtocol::Esp,
            transport_only: false,
            compression: false,
            initial_contact,
            address: None,
        };
        self.running.insert(request, negotiation);
        Some(connect)
    }

    pub(super) fn tables(&self) -> [(&'static str, usize); 2] {
        [
            ("negotiations", self.running.len()),
            ("gateways-contacted", self.targets.len()),
        ]
    }

    pub(super) fn finish(&mut self, request: RequestId) -> Option<Negotiation> {
        self.running.remove(&request)
    }

    pub(super) fn of_discovery(&self, discovery: DiscoveryId) -> Option<RequestId> {
        let wanted = |n: &Negotiation| matches!(n.purpose, Purpose::Discovery { discovery: d, .. } if d == discovery);
        self.running
            .iter()
            .find(|(_, n)| wanted(n))
            .map(|(request, _)| *request)
    }

    /// Requests whose packet or whose tunnel `covered` already serves.
    pub(super) fn superfluous(&self, covered: &[Selector]) -> Vec<RequestId> {
        let served = |n: &Negotiation| match n.flow() {
            Some(flow) => covered.iter().any(|s| s.matches(&flow)),
            None => n
                .selectors
                .iter()
                .all(|s| covered.iter().any(|c| c.contains(s))),
        };
        self.running
            .iter()
            .filter(|(_, n)| served(n))
            .map(|(request, _)| *request)
            .collect()
    }

    /// Gives up whatever was negotiated from this address of ours.
    pub(super) fn abandon(&mut self, local: IpAddr) -> Vec<RequestId> {
        let from_there = self.running.iter().filter(|(_, n)| n.local == local);
        let requests: Vec<RequestId> = from_there.map(|(request, _)| *request).collect();
        for request in &requests {
            self.running.remove(request);
        }
        requests
    }

    /// Whether a tunnel for exactly these selectors is being negotiated.
    pub(super) fn wants(&self, selectors: &[Selector]) -> bool {
        self.running.values().any(|n| n.selectors == selectors)
    }

    fn may_contact(&mut self, now: Instant, target: IpAddr) -> bool {
        if self.targets.len() >= MAX_TARGETS && !self.targets.contains_key(&target) {
            let idle = self
                .targets
                .iter()
                .min_by_key(|(_, b)| b.since)
                .map(|(addr, _)| *addr);
            idle.map(|addr| self.targets.remove(&addr));
        }
        let budget = self.targets.entry(target).or_insert(Budget {
            left: BURST,
            since: now,
        });
        let refilled = now.saturating_duration_since(budget.since).as_secs() / REFILL.as_secs();
        if refilled > 0 {
            budget.left = BURST.min(budget.left.saturating_add(refilled as u32));
            budget.since = now;
        }
        let allowed = budget.left > 0;
        budget.left = budget.left.saturating_sub(1);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(s: &str) -> IpAddr {
        s.parse().unwrap()
    }

    fn negotiation(peers: &[&str]) -> Negotiation {
        let selector = Selector::between(
            "10.1.0.0/16".parse().unwrap(),
            "10.2.0.0/16".parse().unwrap(),
        );
        Negotiation::new(
            Purpose::Adoption(TunnelId(1)),
            (addr("192.0.2.1"), addr("198.51.100.1")),
            vec![selector],
            TunnelMode::Transport,
            peers.iter().map(|p| p.parse().unwrap()).collect(),
        )
    }

    #[test]
    fn peers_are_tried_in_order_and_each_once() {
        let now = Instant::now();
        let mut negotiations = Negotiations::default();
        let first = negotiations
            .start(now, negotiation(&["a.example", "b.example"]), |_| true)
            .unwrap();
        assert_eq!(first.peer.to_string(), "a.example");
        assert_eq!(
            first.mode,
            Mode::Tunnel,
            "prefixes cannot go in transport mode"
        );
        let rest = negotiations.finish(first.request).unwrap();
        let second = negotiations.start(now, rest, |_| true).unwrap();
        assert_eq!(second.peer.to_string(), "b.example");
        let rest = negotiations.finish(second.request).unwrap();
        assert!(negotiations.start(now, rest, |_| true).is_none());
        assert!(negotiations.running.is_empty());
    }

    #[test]
    fn one_target_is_contacted_four_times_and_then_once_a_second() {
        let start = Instant::now();
        let mut negotiations = Negotiations::default();
        let mut contacted = |at| {
            negotiations
                .start(at, negotiation(&["a.example"]), |_| false)
                .is_some()
        };
        assert_eq!((0..10).filter(|_| contacted(start)).count(), 4);
        let later = start + Duration::from_secs(1);
        assert_eq!((0..10).filter(|_| contacted(later)).count(), 1);
    }
}
