//! What a peer that asks for a child is granted: which of the traffic, and in which mode.

use super::child_sa::Child;
use super::context::Context;
use super::effects::{ClientRefusal, Effect};
use super::narrowing;
use super::sa::IkeSa;
use super::settings::{Client, Mode, Peer};
use super::wire::{NotifyKind, Payloads, TrafficSelector};
use crate::net::Selector;
use std::net::IpAddr;

/// What a contact behind a NAT, or we behind ours, are called by it: our address and its own.
type Names = (IpAddr, IpAddr);

pub(super) struct Grant {
    pub(super) selectors: Vec<Selector>,
    pub(super) mode: Mode,
    pub(super) names: Option<Names>,
}

/// TSr and TSi that answer, in the words of the peer.
pub(super) fn payloads(
    selectors: &[Selector],
    names: Option<Names>,
) -> (Vec<TrafficSelector>, Vec<TrafficSelector>) {
    let (mut local, mut remote) = narrowing::payloads(selectors);
    if let Some((own, peers)) = names {
        rename(&mut local, own);
        rename(&mut remote, peers);
    }
    (local, remote)
}

impl IkeSa {
    /// `replaced` is the child of ours that the new one takes the place of.
    pub(super) fn grant(
        &self,
        ctx: &mut Context,
        request: &Payloads,
        (ts_i, ts_r): (&[TrafficSelector], &[TrafficSelector]),
        replaced: Option<&Child>,
    ) -> Result<Grant, NotifyKind> {
        let wants_transport = request
            .notification(NotifyKind::USE_TRANSPORT_MODE)
            .is_some();
        let asked = if wants_transport {
            Mode::Transport
        } else {
            Mode::Tunnel
        };
        if let Some((selectors, names)) = self.narrow_for_contact(ctx, asked, ts_i, ts_r) {
            return Ok(Grant {
                selectors,
                mode: asked,
                names: Some(names),
            });
        }
        if let Some(gateway) = &ctx.settings.gateway
            && let Some(client) = gateway.clients.get(&self.peer)
        {
            let addresses = self.addresses_of_client(gateway);
            let selectors = narrowing::narrow(ts_r, ts_i, &gateway.allows(&addresses));
            if self.is_of_client(Some(gateway), &selectors) {
                return Ok(Grant {
                    selectors,
                    mode: Mode::Tunnel,
                    names: None,
                });
            }
            if self.leased.is_empty() && ctx.settings.peer(&self.peer).is_some_and(Peer::is_host) {
                let refusal = self.why_not(client, self.kept(gateway), ts_i);
                return Err(self.refuse_client(ctx, refusal));
            }
        }
        // What a gateway gave us or lets us keep is no business of the proxies that we protect: it may
        // replace what we asked it for.
        let of_vpn = replaced.filter(|old| self.is_ours_as_client(&ctx.settings, &old.selectors));
        let of_vpn = of_vpn.map(|old| &old.selectors[..]);
        let selectors = self.narrow(ctx, ts_i, ts_r, of_vpn)?;
        let mode = if wants_transport && self.is_host_to_host(&selectors) {
            Mode::Transport
        } else {
            Mode::Tunnel
        };
        Ok(Grant {
            selectors,
            mode,
            names: None,
        })
    }

    /// Why a client that was given no address is granted nothing.
    fn why_not(
        &self,
        client: &Client,
        kept: Option<IpAddr>,
        ts_i: &[TrafficSelector],
    ) -> ClientRefusal {
        if client.keeps.is_empty() {
            return ClientRefusal::KeepsNone;
        }
        if self.nat {
            return ClientRefusal::Translated;
        }
        let meant = single_address(ts_i).unwrap_or(self.remote.ip());
        if kept == Some(meant) {
            ClientRefusal::NothingBehind
        } else {
            ClientRefusal::NotItsOwn(meant)
        }
    }

    fn refuse_client(&self, ctx: &mut Context, refusal: ClientRefusal) -> NotifyKind {
        // §3.15.4: one that keeps no address should have asked for one.
        let notify = match refusal {
            ClientRefusal::KeepsNone => NotifyKind::FAILED_CP_REQUIRED,
            _ => NotifyKind::TS_UNACCEPTABLE,
        };
        if notify == NotifyKind::TS_UNACCEPTABLE {
            ctx.counters.ts_unacceptable += 1;
        }
        ctx.emit(Effect::ClientRefused {
            peer: self.peer.clone(),
            remote: self.remote.ip(),
            refusal,
        });
        notify
    }

    /// `protects` in place of what the settings say.
    fn narrow(
        &self,
        ctx: &mut Context,
        ts_i: &[TrafficSelector],
        ts_r: &[TrafficSelector],
        protects: Option<&[Selector]>,
    ) -> Result<Vec<Selector>, NotifyKind> {
        let protects = protects.unwrap_or(&ctx.settings.protects);
        let selectors = narrowing::narrow(ts_r, ts_i, protects);
        if selectors.is_empty() {
            ctx.counters.ts_unacceptable += 1;
            return Err(NotifyKind::TS_UNACCEPTABLE);
        }
        let allowed = ctx
            .settings
            .authorize(&self.peer, self.remote.ip(), &selectors);
        if allowed.is_err() {
            ctx.counters.not_authorized += 1;
            return Err(NotifyKind::TS_UNACCEPTABLE);
        }
        Ok(selectors)
    }

    /// What a contact asks for between its address and ours, and what it calls our address and its
    /// own; `None` where it is no contact, or asks for anything beyond.
    ///
    /// Behind a NAT the peer names an address that it has on its side, or that we have on the
    /// other: those of the IKE SA take their place here, and are what it is believed for (RFC 7296
    /// §2.23.1). In a tunnel nobody would change the addresses inside, so there is none.
    fn narrow_for_contact(
        &self,
        ctx: &Context,
        mode: Mode,
        ts_i: &[TrafficSelector],
        ts_r: &[TrafficSelector],
    ) -> Option<(Vec<Selector>, Names)> {
        let (local, remote) = (self.local.ip(), self.remote.ip());
        let names = (single_address(ts_r)?, single_address(ts_i)?);
        if self.nat {
            if mode == Mode::Tunnel || ctx.is_address_of_another(remote, &self.peer) {
                return None;
            }
        } else if names != (local, remote) {
            return None;
        }
        let (mut ts_r, mut ts_i) = (ts_r.to_vec(), ts_i.to_vec());
        rename(&mut ts_r, local);
        rename(&mut ts_i, remote);
        let between = Selector::between(local.into(), remote.into());
        let selectors = narrowing::narrow(&ts_r, &ts_i, &[between]);
        let ends = (local, remote);
        let granted =
            !selectors.is_empty() && ctx.settings.is_of_contact(&self.peer, ends, &selectors);
        granted.then_some((selectors, names))
    }

    /// Transport mode carries the packets of the two ends themselves, and no NAT may lie between.
    fn is_host_to_host(&self, selectors: &[Selector]) -> bool {
        !self.nat
            && selectors
                .iter()
                .all(|s| s.src == self.local.ip().into() && s.dst == self.remote.ip().into())
    }
}

/// The one address that all traffic selectors name.
fn single_address(all: &[TrafficSelector]) -> Option<IpAddr> {
    let (address, _) = all.first()?.addrs;
    let names_it = |ts: &TrafficSelector| ts.addrs == (address, address);
    all.iter().all(names_it).then_some(address)
}

fn rename(all: &mut [TrafficSelector], address: IpAddr) {
    for ts in all {
        ts.addrs = (address, address);
    }
}
