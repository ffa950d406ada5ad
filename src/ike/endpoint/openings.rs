//! `IKE_SA_INIT` ahead of its time, at both ends: [`Opening`].

use super::Endpoint;
use crate::ike::crypto::Group;
use crate::ike::exchanges::init;
use crate::ike::nat;
use crate::ike::opening::{Opening, OpeningId};
use crate::ike::wire::Header;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

/// On their way at once. Whoever looks for more peers than that sends the others `IKE_SA_INIT` when it
/// has found them.
const MAX_OPENINGS: usize = 4;

impl Endpoint {
    /// The `IKE_SA_INIT` of this number, to be sent along from `local`: the same until it is used up or
    /// given up. `None` where too many are on their way.
    pub fn open(&mut self, now: Instant, id: OpeningId, local: IpAddr) -> Option<&[u8]> {
        if !self.openings.contains_key(&id) {
            if self.openings.len() >= MAX_OPENINGS {
                return None;
            }
            let spi = self.draw_spi();
            let opening = Opening::new(&mut self.ctx, now, spi, local, Group::ALL[0]);
            self.openings.insert(id, opening);
        }
        self.openings.get(&id).map(|opening| &opening.request[..])
    }

    /// `remote` has answered it so. The next [`Endpoint::connect`] with `remote` that needs an IKE SA
    /// goes on from there. Believed as little as any other answer.
    pub fn opening_answered(&mut self, id: OpeningId, remote: IpAddr, answer: Vec<u8>) {
        if let Some(opening) = self.openings.get_mut(&id) {
            opening.answer = Some((remote, answer));
        }
    }

    /// Nobody is looked for any more. Unknown ones are ignored.
    pub fn abandon_opening(&mut self, id: OpeningId) {
        self.openings.remove(&id);
    }

    /// What the peer at `remote` is to be told of an `IKE_SA_INIT` that came along. `None` where it
    /// should send one to us: when there is something to be refused, or when so many IKE SAs are
    /// half open that strangers should not make more by this way.
    pub fn answer_opening(
        &mut self,
        now: Instant,
        local: IpAddr,
        remote: IpAddr,
        request: &[u8],
    ) -> Option<Vec<u8>> {
        let [local, remote] = [local, remote].map(|addr| SocketAddr::new(addr, nat::PORT));
        let (header, _) = Header::decode(request).ok()?;
        let crowded = self.half_open.len() >= self.ctx.settings.timing.cookie_threshold / 2;
        let known = self.half_open.answer_to(remote, request).is_some();
        if !init::is_first(&header) || crowded && !known {
            return None;
        }
        let answer = self
            .responder()
            .answer(now, local, remote, &header, request);
        self.ctx.counters.openings_answered += u64::from(answer.is_ok());
        answer.ok()
    }

    /// The one that `remote` has answered to `local`.
    pub(super) fn take_opening(&mut self, local: IpAddr, remote: IpAddr) -> Option<Opening> {
        let answered = |o: &Opening| o.answer.as_ref().is_some_and(|(from, _)| *from == remote);
        let mut openings = self.openings.iter();
        let (id, _) = openings.find(|(_, o)| o.local == local && answered(o))?;
        let id = *id;
        self.openings.remove(&id)
    }
}
