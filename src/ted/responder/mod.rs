//! Answers probes for what this gateway protects (exchange 241), and says of every other probe
//! whether it goes on to the next gateway.
//!
//! ```text
//! probe → well formed? → agrees with its IP header? → destination protected here?
//!           no: drop        no: drop                      no: pass it on
//!      → may its ID be answered, and now? → a proxy holds the packet?
//!           no: drop                         yes: answer, the probe ends here
//!                                            no: answer, so that the initiator learns why,
//!                                                and pass it on: a further gateway may agree
//! ```
//!
//! Nothing is remembered of a probe except counters and a short list of refused ones: the
//! responder's cookie is a keyed hash. What is sent never exceeds what was received.

mod index;
#[cfg(test)]
mod tests;

use super::is_endpoint;
use super::limits::{Allowance, Limiter};
use super::proxies::{Irreconcilable, Proxy};
use super::wire::{Capabilities, ClaimedIdentity, Cookie, DecodeError, PROBE_LEN, Probe, Response};
use crate::net::{Flow, Identity, Random};
use aws_lc_rs::hmac;
use index::Index;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Instant;

/// Answers a second that one ID may cause: enough for 8 flows that are probed at once and their
/// retransmissions.
const EACH_ID: Allowance = Allowance {
    rate: 20,
    burst: 40,
};
const IDS_REMEMBERED: usize = 4096;
const REFUSED_REMEMBERED: usize = 64;
/// No response holds more proxies: at least 28 octets each, payload header included.
const MAX_OFFERED: usize = PROBE_LEN / 28;

#[derive(Clone, Debug)]
pub struct Config {
    pub proxies: Vec<Proxy>,
    pub identity: Identity,
    /// Answers a second in total; zero answers nothing.
    pub rate: u32,
}

/// A probe that was on its way to a destination of ours.
#[derive(Clone, Copy, Debug)]
pub struct Intercepted<'a> {
    /// Source and destination of its IP header.
    pub src: IpAddr,
    pub dst: IpAddr,
    /// After the UDP header.
    pub payload: &'a [u8],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send it with [`Answer::encode`].
    Answer(Answer, Forward),
    /// Send the probe on unaltered, with one hop less to live.
    PassOn,
    Drop(DropReason),
}

/// What happens to the probe itself, once answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    Consume,
    PassOn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DropReason {
    #[error("malformed probe: {0}")]
    Malformed(DecodeError),
    #[error("probe describes {described}, its IP header says {src} > {dst}")]
    NotItsHeader {
        described: Flow,
        src: IpAddr,
        dst: IpAddr,
    },
    #[error("probe asks for an answer to {0}, which is no host's own address")]
    NotAnEndpoint(IpAddr),
    #[error("probe asks for an answer to {0}, which is this gateway")]
    OurOwn(IpAddr),
    #[error("probe asks for an answer to {0}, which this gateway protects")]
    Protected(IpAddr),
    #[error("more probes than are answered in a second")]
    TooMany,
    #[error("probe of {0} octets leaves no room for an answer")]
    TooShort(usize),
}

/// A response that still lacks the address it leaves from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Goes there, from UDP port 500 to UDP port 500.
    pub to: IpAddr,
    /// What the probe was about, for the log.
    pub flow: Flow,
    /// `IKE_SA_INIT`, where the probe brought one and a proxy of ours holds the packet.
    pub ike: Option<Vec<u8>>,
    initiator: Cookie,
    responder: Cookie,
    hint: [u8; 16],
    offered: Vec<Proxy>,
    limit: usize,
}

impl Answer {
    /// `own` is the address of ours that the route to [`Answer::to`] leaves from (or the one that
    /// is configured). It becomes the ID, and the datagram must leave from it, otherwise the
    /// initiator refuses it. `ike` is the answer to [`Answer::ike`]; it goes along where there is room.
    /// `None` where `own` is of the other IP version than [`Answer::to`].
    pub fn encode(self, own: IpAddr, ike: Option<Vec<u8>>) -> Option<Vec<u8>> {
        if own.is_ipv4() != self.to.is_ipv4() {
            return None;
        }
        let response = Response {
            initiator: self.initiator,
            responder: self.responder,
            capabilities: Capabilities::IKEV2,
            id: own,
            hint: Some(self.hint),
            proxies: self.offered,
            ike,
        };
        response.encode(self.limit)
    }
}

/// Somebody's probe for a destination of ours that no proxy of ours agrees with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedProbe {
    pub at: Instant,
    /// The ID in it.
    pub from: IpAddr,
    /// As the initiator wrote it: the destination is ours.
    pub flow: Flow,
    pub what: Irreconcilable,
}

/// How many probes met which end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub answered: u64,
    /// Answered only with what could not be reconciled, and passed on.
    pub irreconcilable: u64,
    pub passed_on: u64,
    pub malformed: u64,
    /// Description and IP header differ, or the ID is not one that may be answered.
    pub refused: u64,
    pub limited: u64,
}

pub struct Responder {
    index: Index,
    own: Vec<IpAddr>,
    identity: Identity,
    secret: hmac::Key,
    limiter: Limiter<IpAddr>,
    refused: VecDeque<RefusedProbe>,
    counters: Counters,
}

impl std::fmt::Debug for Responder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { own, identity, .. } = self;
        f.debug_struct("Responder")
            .field("own", own)
            .field("identity", identity)
            .finish_non_exhaustive()
    }
}

impl Responder {
    /// `own`: every address of this machine.
    pub fn new(config: Config, own: Vec<IpAddr>, rng: &mut dyn Random) -> Self {
        let mut secret = [0; 32];
        rng.fill(&mut secret);
        Self {
            index: Index::new(config.proxies),
            own,
            identity: config.identity,
            secret: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            limiter: Limiter::new(EACH_ID, total(config.rate), IDS_REMEMBERED),
            refused: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    pub fn reload(&mut self, config: Config) {
        self.index = Index::new(config.proxies);
        self.identity = config.identity;
        self.limiter.set_total(total(config.rate));
        self.refused.clear();
    }

    pub fn set_own_addresses(&mut self, own: Vec<IpAddr>) {
        self.own = own;
    }

    pub fn judge(&mut self, now: Instant, probe: Intercepted<'_>) -> Verdict {
        let verdict = self.verdict(now, probe);
        let counters = &mut self.counters;
        *match &verdict {
            Verdict::Answer(_, Forward::Consume) => &mut counters.answered,
            Verdict::Answer(_, Forward::PassOn) => &mut counters.irreconcilable,
            Verdict::PassOn => &mut counters.passed_on,
            Verdict::Drop(DropReason::Malformed(_) | DropReason::TooShort(_)) => {
                &mut counters.malformed
            }
            Verdict::Drop(DropReason::TooMany) => &mut counters.limited,
            Verdict::Drop(_) => &mut counters.refused,
        } += 1;
        verdict
    }

    fn verdict(&mut self, now: Instant, intercepted: Intercepted<'_>) -> Verdict {
        let Intercepted { src, dst, payload } = intercepted;
        let probe = match Probe::decode(payload) {
            Ok(probe) => probe,
            // Another maker's discovery: a gateway further on may understand it.
            Err(DecodeError::ForeignVendor) => return Verdict::PassOn,
            Err(error) => return Verdict::Drop(DropReason::Malformed(error)),
        };
        let flow = probe.flow;
        if (flow.src, flow.dst) != (src, dst) {
            let described = flow;
            return Verdict::Drop(DropReason::NotItsHeader {
                described,
                src,
                dst,
            });
        }
        let (offered, covering) = self.index.protecting(&flow.reversed(), MAX_OFFERED);
        if offered.is_empty() {
            return Verdict::PassOn;
        }
        if let Err(reason) = self.may_answer(probe.id) {
            return Verdict::Drop(reason);
        }
        if payload.len() < Response::least_len(flow.family()) {
            return Verdict::Drop(DropReason::TooShort(payload.len()));
        }
        if !self.limiter.allow(now, probe.id) {
            return Verdict::Drop(DropReason::TooMany);
        }
        let forward = if covering > 0 {
            Forward::Consume
        } else {
            self.remember_refused(now, &probe, &offered);
            Forward::PassOn
        };
        let responder = self.cookie(&probe);
        let answer = Answer {
            to: probe.id,
            flow,
            ike: probe.ike.filter(|_| forward == Forward::Consume),
            initiator: probe.cookie,
            responder,
            hint: ClaimedIdentity::digest_of(probe.cookie, responder, &self.identity),
            offered,
            limit: payload.len(),
        };
        Verdict::Answer(answer, forward)
    }

    /// An ID is whatever a stranger wrote: it must not turn the answer against somebody whom it
    /// could not have come from, or back into what we protect.
    fn may_answer(&self, id: IpAddr) -> Result<(), DropReason> {
        if !is_endpoint(id) {
            Err(DropReason::NotAnEndpoint(id))
        } else if self.own.contains(&id) {
            // Also the way a probe of our own ends that was routed back to us.
            Err(DropReason::OurOwn(id))
        } else if self.index.is_local(id) {
            Err(DropReason::Protected(id))
        } else {
            Ok(())
        }
    }

    /// Unique for each cookie and ID of an initiator, and unknown to everybody else.
    fn cookie(&self, probe: &Probe) -> Cookie {
        let mut context = hmac::Context::with_key(&self.secret);
        context.update(&probe.cookie.0);
        context.update(probe.id.to_string().as_bytes());
        let mut cookie = [0; 8];
        cookie.copy_from_slice(&context.sign().as_ref()[..8]);
        // Zero stands for "not known yet" on the wire.
        cookie[7] |= u8::from(cookie == [0; 8]);
        Cookie(cookie)
    }

    fn remember_refused(&mut self, now: Instant, probe: &Probe, offered: &[Proxy]) {
        let (from, flow) = (probe.id, probe.flow);
        let what = offered
            .iter()
            .filter_map(|p| p.admit(&flow.reversed()).err())
            .fold(Irreconcilable::Address, Irreconcilable::nearer);
        self.refused
            .retain(|old| (old.from, old.flow) != (from, flow));
        if self.refused.len() == REFUSED_REMEMBERED {
            self.refused.pop_front();
        }
        self.refused.push_back(RefusedProbe {
            at: now,
            from,
            flow,
            what,
        });
    }

    /// Probes that could not be reconciled, the newest last.
    pub fn refused_probes(&self) -> impl Iterator<Item = &RefusedProbe> {
        self.refused.iter()
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// How many entries each of its tables has. Cheap.
    pub fn tables(&self) -> impl Iterator<Item = (&'static str, usize)> {
        [
            ("refused-probes", self.refused.len()),
            ("initiators-answered", self.limiter.remembered()),
        ]
        .into_iter()
    }
}

fn total(rate: u32) -> Allowance {
    Allowance { rate, burst: rate }
}

impl Counters {
    /// Each with its stable name.
    pub fn named(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::from([
            ("probes-answered", self.answered),
            ("probes-irreconcilable", self.irreconcilable),
            ("probes-passed-on", self.passed_on),
            ("probes-malformed", self.malformed),
            ("probes-refused", self.refused),
            ("probes-limited", self.limited),
        ])
    }
}
