//! What can be seen of the endpoint from outside, for the status.

use super::Endpoint;
use crate::ike::effects::{ChildId, IkeId};
use crate::ike::sa::Role;
use crate::ike::settings::{ChildProtocol, Mode};
use crate::net::{Identity, Selector, Spi};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

#[derive(Clone, Copy, Debug)]
pub struct IkeView<'a> {
    pub id: IkeId,
    pub peer: &'a Identity,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// Initiator's and responder's.
    pub spis: (u64, u64),
    pub initiated_here: bool,
    pub behind_nat: bool,
    /// Addresses that the peer has given us.
    pub assigned: &'a [IpAddr],
    /// Addresses that we have given the peer.
    pub leased: &'a [IpAddr],
    /// The address of its own that it keeps as a client of ours.
    pub kept: Option<IpAddr>,
    pub established: Instant,
    /// When the peer was last heard.
    pub heard: Instant,
}

#[derive(Clone, Copy, Debug)]
pub struct ChildView<'a> {
    pub id: ChildId,
    pub ike: IkeId,
    pub peer: &'a Identity,
    pub spi_in: Spi,
    pub spi_out: Spi,
    pub protocol: ChildProtocol,
    pub mode: Mode,
    pub selectors: &'a [Selector],
}

impl Endpoint {
    /// Established IKE SAs.
    pub fn ike_sas(&self) -> impl Iterator<Item = IkeView<'_>> {
        let established = self.sas.values().filter(|sa| sa.is_established());
        let gateway = self.ctx.settings.gateway.as_ref();
        established.map(move |sa| IkeView {
            id: sa.id,
            peer: &sa.peer,
            local: sa.local,
            remote: sa.remote,
            spis: (sa.spi_i, sa.spi_r),
            initiated_here: sa.role == Role::Initiator,
            behind_nat: sa.nat,
            assigned: &sa.assigned,
            leased: &sa.leased,
            kept: gateway.and_then(|gateway| sa.kept(gateway)),
            established: sa.established,
            heard: sa.heard,
        })
    }

    pub fn children(&self) -> impl Iterator<Item = ChildView<'_>> {
        self.sas.values().flat_map(|sa| {
            sa.children.values().map(|child| ChildView {
                id: child.id,
                ike: sa.id,
                peer: &sa.peer,
                spi_in: child.spi_in,
                spi_out: child.spi_out,
                protocol: child.protocol,
                mode: child.mode,
                selectors: &child.selectors,
            })
        })
    }

    /// How many entries each of its tables has. Cheap.
    pub fn tables(&self) -> impl Iterator<Item = (&'static str, usize)> {
        let spis = self.by_spis.len() + self.attempts_by_spi.len();
        [
            ("ike-sas", self.sas.len()),
            ("ike-attempts", self.attempts.len()),
            ("ike-openings", self.openings.len()),
            ("ike-half-open", self.half_open.len()),
            ("ike-half-open-remembered", self.half_open.remembered()),
            ("ike-spis", spis),
        ]
        .into_iter()
        .chain(self.ctx.tables())
    }

    /// IKE SAs being set up: ours, and those of peers that have not authenticated yet.
    pub fn unfinished(&self) -> (usize, usize) {
        (self.attempts.len(), self.half_open.len())
    }
}
