//! The mobile nodes and their bindings, found by home address and by NAI.

use super::effects::{Kept, KeptBinding, Revocable, Tunnel};
use super::pool::Pool;
use super::rate::Rate;
use super::settings::{MobileNode, Settings};
use crate::mobile_ip::Via;
use crate::mobile_ip::replay::{Clock, Guard};
use crate::mobile_ip::wire::Identification;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Instant;

/// Which mobile node: its place in the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct NodeId(u32);

#[derive(Debug)]
pub(super) struct Node {
    pub config: Arc<MobileNode>,
    /// Its own, or the one of the pool that it was given last and nobody else has got since.
    pub home: Option<Ipv4Addr>,
    pub guard: Guard,
    pub bindings: Vec<Binding>,
    pub rate: Rate,
}

#[derive(Clone, Debug)]
pub(super) struct Binding {
    /// As the mobile node said it, which behind a NAT is not where the tunnel goes.
    pub care_of: Ipv4Addr,
    pub identification: Identification,
    /// `None` never ends.
    pub expires: Option<Instant>,
    pub tunnel: Tunnel,
    pub half_bound: bool,
    /// Where the request came from, where it went, and which way.
    pub from: SocketAddrV4,
    pub to: SocketAddrV4,
    pub via: Via,
    pub revocation: Option<Revocable>,
}

#[derive(Debug)]
pub(super) struct Nodes {
    all: Vec<Node>,
    by_home: HashMap<Ipv4Addr, NodeId>,
    by_nai: HashMap<Vec<u8>, NodeId>,
    pool: Option<Pool>,
    /// Bindings of all.
    pub count: usize,
}

impl Nodes {
    pub(super) fn new(now: Instant, settings: &Settings) -> Self {
        let mut nodes = Self {
            all: Vec::with_capacity(settings.mobile_nodes.len()),
            by_home: HashMap::new(),
            by_nai: HashMap::new(),
            pool: settings.pool.map(Pool::new),
            count: 0,
        };
        for config in &settings.mobile_nodes {
            let id = NodeId(nodes.all.len() as u32);
            if let Some(home) = config.home {
                nodes.by_home.insert(home, id);
            }
            if let Some(nai) = &config.nai {
                nodes.by_nai.insert(nai.clone(), id);
            }
            nodes.all.push(Node {
                home: config.home,
                guard: Guard::new(config.protection()),
                bindings: Vec::new(),
                rate: Rate::new(now),
                config: Arc::clone(config),
            });
        }
        nodes
    }

    pub(super) fn by_home(&self, home: Ipv4Addr) -> Option<NodeId> {
        self.by_home.get(&home).copied()
    }

    pub(super) fn by_nai(&self, nai: &[u8]) -> Option<NodeId> {
        self.by_nai.get(nai).copied()
    }

    pub(super) fn at(&self, id: NodeId) -> &Node {
        &self.all[id.0 as usize]
    }

    pub(super) fn at_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.all[id.0 as usize]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Node> {
        self.all.iter()
    }

    /// The home address of a node; one of the pool where it has none. `wanted` is taken where it is
    /// free. `None` where the node may not have that one, or the pool is empty.
    pub(super) fn assign(&mut self, id: NodeId, wanted: Ipv4Addr) -> Option<Ipv4Addr> {
        if let Some(home) = self.at(id).home {
            if !wanted.is_unspecified() && wanted != home {
                return None;
            }
            if let Some(pool) = &mut self.pool {
                pool.used(home);
            }
            return Some(home);
        }
        let by_home = &self.by_home;
        let pool = self.pool.as_mut()?;
        let home = if wanted.is_unspecified() {
            pool.take(|home| !by_home.contains_key(&home))?
        } else {
            let free = pool.contains(wanted) && !by_home.contains_key(&wanted);
            free.then_some(wanted)?
        };
        if let Some(former) = self.by_home.insert(home, id) {
            self.at_mut(former).home = None;
        }
        self.at_mut(id).home = Some(home);
        Some(home)
    }

    /// An address of the pool may be given to somebody else when the last binding there has gone.
    /// Until it is, it stays with its node.
    pub(super) fn unassign(&mut self, id: NodeId) {
        let node = self.at(id);
        if node.config.home.is_some() || !node.bindings.is_empty() {
            return;
        }
        if let (Some(home), Some(pool)) = (node.home, &mut self.pool) {
            pool.idle(home);
        }
    }

    /// Takes back what was kept, where the settings still know the mobile node.
    pub(super) fn restore(&mut self, now: Instant, clock: &Clock, kept: Kept) -> Option<NodeId> {
        let id = match &kept.nai {
            Some(nai) => self.by_nai(nai)?,
            None => self.by_home(kept.home)?,
        };
        let node = self.at_mut(id);
        match (&node.guard, &kept.guard) {
            // A node that once had an address of its own was kept twice: by that, and by its name.
            (Guard::Timestamps(Some(known)), Guard::Timestamps(Some(kept)))
                if known.timestamp().is_after(kept.timestamp()) => {}
            (Guard::Timestamps(_), Guard::Timestamps(_)) | (Guard::Nonces(_), Guard::Nonces(_)) => {
                node.guard = kept.guard;
            }
            _ => {}
        }
        if kept.home.is_unspecified() || self.assign(id, kept.home).is_none() {
            return None;
        }
        let unix = clock.unix(now);
        let alive = kept.bindings.into_iter().filter_map(|kept| {
            let expires = match kept.expires {
                Some(at) => Some(now + at.checked_sub(unix).filter(|left| !left.is_zero())?),
                None => None,
            };
            Some(Binding {
                care_of: kept.care_of,
                identification: kept.identification,
                expires,
                tunnel: kept.tunnel,
                half_bound: kept.half_bound,
                from: kept.from,
                to: kept.to,
                via: kept.via,
                revocation: kept.revocation,
            })
        });
        let mut bindings: Vec<_> = alive.collect();
        bindings.shrink_to_fit();
        self.count += bindings.len();
        self.at_mut(id).bindings = bindings;
        if self.at(id).bindings.is_empty() {
            self.unassign(id);
            return None;
        }
        Some(id)
    }
}

impl Node {
    /// The earliest end of a binding.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.bindings
            .iter()
            .filter_map(|binding| binding.expires)
            .min()
    }

    pub(super) fn has_registered(&self) -> bool {
        let used = !matches!(self.guard, Guard::Timestamps(None) | Guard::Nonces(None));
        used || !self.bindings.is_empty()
    }

    pub(super) fn tunnels(&self) -> Vec<Tunnel> {
        let ready = self.bindings.iter().filter(|binding| !binding.half_bound);
        ready.map(|binding| binding.tunnel.clone()).collect()
    }

    pub(super) fn kept(&self, now: Instant, clock: &Clock) -> Kept {
        let unix = clock.unix(now);
        let bindings = self.bindings.iter().map(|binding| KeptBinding {
            care_of: binding.care_of,
            identification: binding.identification,
            expires: binding
                .expires
                .map(|at| unix + at.saturating_duration_since(now)),
            tunnel: binding.tunnel.clone(),
            half_bound: binding.half_bound,
            from: binding.from,
            to: binding.to,
            via: binding.via,
            revocation: binding.revocation,
        });
        let dynamic = self.config.home.is_none();
        Kept {
            home: self.home.unwrap_or(Ipv4Addr::UNSPECIFIED),
            nai: self.config.nai.clone().filter(|_| dynamic),
            guard: self.guard,
            bindings: bindings.collect(),
        }
    }
}
