//! Layer 3: where discovery, IKE and the kernel meet. A plain state machine: `handle(now, event)`,
//! `poll_effect()`, `poll_timeout()`; no clock, socket, tokio or randomness of its own.
//!
//! ```text
//!  FirstPacket ──→ first_packets ──╮
//!  ACQUIRE ──→ held ──→ ted::initiator ──→ SendAs (probe)
//!                            ↑  │ Candidate
//!  Datagram ─────────────────┤  └──→ negotiation ──→ ike::endpoint ──→ Send
//!                            │                            ↑  │ ChildUp
//!  Datagram ─────────────────┼────────────────────────────┘  └──→ tunnels ──→ wishes ──→ Kernel
//!  Diverted ──→ ted::responder ──→ Send (response), SendAs (passed on)
//! ```
//!
//! [`Agent`] routes between these; each owns its own state and deadlines.

mod commands;
mod discovery;
pub mod effect;
pub mod event;
mod first_packets;
pub mod foreign_agent;
mod foundation;
mod held;
pub mod home_agent;
pub mod left_behind;
pub mod mobility;
mod negotiation;
pub mod on_link;
pub mod presence;
mod protected;
pub mod proxy_agent;
mod renumbering;
mod restart;
mod sas;
pub mod settings;
mod shapes;
pub mod snapshot;
#[cfg(test)]
mod stand_in;
mod tunnelling;
pub mod tunnels;
mod view;
pub mod vpn;
pub mod wishes;

use crate::ike;
use crate::kernel::desired::{
    FirstPackets as FirstPacketRule, IpsecProtocol, Key, Policy, PolicyKey, Revision,
};
use crate::net::masked::TooManyPrefixes;
use crate::net::{Flow, Random, Selector, Timers};
use crate::ted;
use crate::ted::proxies::{Proxy, ProxyId};
use effect::{Effect, Routes};
use event::{Event, KernelEvent, Token};
use first_packets::FirstPackets;
use foreign_agent::OwnForeignAgent;
use held::Held;
use home_agent::OwnHomeAgent;
use mobility::Mobility;
use negotiation::Negotiations;
use presence::Relations;
use protected::OnceProtected;
use proxy_agent::OwnProxyAgent;
use renumbering::Renumbering;
use settings::Settings;
use snapshot::{EventView, RefusalView};
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tracing::Level;
use tunnels::Tunnels;
use vpn::Vpn;
use wishes::{Owner, TunnelId, Wishes};

#[derive(Debug)]
pub struct Agent {
    settings: Settings,
    started: Instant,
    routes: Box<dyn Routes>,
    initiator: ted::initiator::Initiator,
    responder: ted::responder::Responder,
    ike: ike::endpoint::Endpoint,
    negotiations: Negotiations,
    tunnels: Tunnels,
    held: Held,
    first_packets: FirstPackets,
    /// Policies that come before traps are not all ours.
    others_decide: bool,
    wishes: Wishes,
    once_protected: OnceProtected,
    /// Every simple proxy and the place of its group, in the order of their numbers.
    proxies: Vec<(usize, Proxy)>,
    /// Which of them each trap of the configuration stands for.
    traps: BTreeMap<PolicyKey, ProxyId>,
    transparent: Option<crate::kernel::desired::TransparentPorts>,
    /// The number of the queue in which first packets wait.
    queue: Option<u16>,
    own: Vec<IpAddr>,
    renumbering: Renumbering,
    /// `None` where the configuration has no `[presence]`.
    relations: Option<Relations>,
    vpn: Vpn,
    /// `None` where the configuration has no `[mobility]`.
    mobility: Option<Box<Mobility>>,
    /// `None` before the store was read, and where the configuration has no `[home-agent]`.
    home: Option<OwnHomeAgent>,
    /// For the one that begins when the store was read.
    home_random: Option<Box<dyn Random>>,
    /// `None` where the configuration has no `[foreign-agent]`.
    foreign: Option<OwnForeignAgent>,
    /// `None` where the configuration has no `[proxy-agent]`.
    surrogates: Option<OwnProxyAgent>,
    timers: Timers<Timer>,
    /// IKE messages that must not leave before the kernel has what they promise.
    awaiting: VecDeque<(Revision, Effect)>,
    barrier: Option<Revision>,
    /// What an earlier run left is known, so that a change says all that stays of it.
    begun: bool,
    /// What the kernel has.
    applied: Revision,
    /// Nobody may be left to wait for the kernel's answer.
    stopping: bool,
    /// Inquiries of the control socket that collect answers.
    discovering: BTreeMap<u64, (Token, Flow)>,
    /// What the kernel does not take for now.
    refusals: BTreeMap<Key, RefusalView>,
    counters: BTreeMap<&'static str, u64>,
    effects: VecDeque<Effect>,
    /// What no peer and no packet waits for: comes when there is no other effect, and the kernel
    /// has what a message or a held packet waits for.
    afterwards: VecDeque<Effect>,
}

/// Effects that wait behind what is urgent.
const MOST_POSTPONED: usize = 64;

/// What the agent itself waits for; the rooms below have their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// Packets of a closed child have had time to arrive.
    ChildGone(ike::effects::ChildId),
    /// A tunnel of before the restart has been replaced, or has had its chance.
    AdoptionEnds(TunnelId),
    /// Is there another way where one of our addresses has gone?
    LookForWay,
}

impl Agent {
    /// Wants everything that the configuration alone demands. The first event must be
    /// [`Event::Found`]: what an earlier run left is in use until then, and the first change after
    /// it says what stays. Only [`Event::Bindings`] may come before it, so that what they want is
    /// in that change.
    ///
    /// `remembered` is what [`Effect::Remember`] last said.
    ///
    /// # Errors
    /// A proxy's mask stands for too many prefixes.
    pub fn new(
        now: Instant,
        settings: Settings,
        remembered: &[Selector],
        routes: Box<dyn Routes>,
        mut random: impl FnMut() -> Box<dyn Random>,
    ) -> Result<Self, TooManyPrefixes> {
        let initiator = ted::initiator::Initiator::new(discovery::config(&settings), random());
        let responder = ted::responder::Responder::new(
            discovery::answers(&settings),
            Vec::new(),
            &mut random(),
        );
        let ike = ike::endpoint::Endpoint::new(tunnelling::config(&settings)?, random());
        let home_random = settings.home_agent.as_ref().map(|_| random());
        let mut agent = Self {
            tunnels: Tunnels::new(settings.interception.pass_mark),
            settings,
            started: now,
            routes,
            initiator,
            responder,
            ike,
            negotiations: Negotiations::default(),
            held: Held::default(),
            first_packets: FirstPackets::default(),
            others_decide: false,
            wishes: Wishes::default(),
            once_protected: OnceProtected::new(remembered),
            proxies: Vec::new(),
            traps: BTreeMap::new(),
            transparent: None,
            queue: None,
            own: Vec::new(),
            renumbering: Renumbering::default(),
            relations: None,
            vpn: Vpn::new(now),
            mobility: None,
            home: None,
            home_random,
            foreign: None,
            surrogates: None,
            timers: Timers::default(),
            awaiting: VecDeque::new(),
            barrier: None,
            begun: false,
            applied: Revision::default(),
            stopping: false,
            discovering: BTreeMap::new(),
            refusals: BTreeMap::new(),
            counters: BTreeMap::new(),
            effects: VecDeque::new(),
            afterwards: VecDeque::new(),
        };
        agent.lay_foundation(&foundation::policies(&agent.settings)?)?;
        agent.want_home_agent();
        agent.start_foreign_agent(now, &mut random);
        agent.start_proxy_agent(now, &mut random);
        agent.relate(now);
        if let Some(settings) = agent.settings.mobility.clone() {
            let is_alone = !agent.settings.serves_mobile_nodes();
            let mobility = Mobility::new(settings, is_alone, random(), &mut agent.wishes);
            agent.mobility = Some(Box::new(mobility));
        }
        agent
            .vpn
            .guard_again(&agent.settings.vpn, remembered, &mut agent.wishes);
        agent.vpn_rely();
        Ok(agent)
    }

    pub fn handle(&mut self, now: Instant, event: Event) {
        match event {
            Event::Found(tunnels) => {
                self.begun = true;
                self.adopt(now, tunnels);
                self.vpn_start(now);
            }
            Event::Carried(packets) => self.adopted_carried(now, &packets),
            Event::Transparent {
                ports,
                first_packets,
            } => {
                (self.transparent, self.queue) = (Some(ports), first_packets);
                self.want_interception();
            }
            Event::FirstPacket(packet) => self.first_packet(now, packet),
            Event::Addresses(own) => {
                self.foreign_agent_addresses(&own);
                self.addresses(now, own);
            }
            Event::Adapters(adapters) => self.adapters(now, adapters),
            Event::VpnInterfaces(interfaces) => self.vpn_interfaces(now, interfaces),
            Event::OutboundPolicies(policies) => self.vpn_outbound(now, policies),
            Event::CommandEnded { run, ended } => self.vpn_command_ended(now, run, ended),
            Event::VpnSays { run, says } => self.vpn_says(now, run, says),
            Event::Gateways(macs) => self.gateways(now, &macs),
            Event::Datagram {
                local,
                remote,
                payload,
            } => {
                self.datagram(now, local, remote, &payload);
            }
            Event::Diverted {
                local,
                remote,
                hop_limit,
                payload,
            } => {
                self.probe(now, local, remote, hop_limit, payload);
            }
            Event::WallClock {
                unix,
                offset,
                doubt,
            } => {
                self.wall_clock(now, unix, offset, doubt);
                self.mobility_clock(now, Duration::from_secs(unix.0), doubt);
                self.home_agent_clock(now, unix, doubt);
                self.foreign_agent_clock(now, unix, doubt);
                self.proxy_agent_clock(now, unix, doubt);
            }
            Event::Stored(kept) => self.stored(now, *kept),
            Event::Networks(known) => self.networks_known(known),
            Event::Home(kept) => self.home_known(&kept),
            Event::Registration(datagram) => self.registration(now, datagram),
            Event::Undelivered(error) => self.foreign_agent_undelivered(now, error),
            Event::OnLink(overheard) => self.overheard(now, overheard),
            Event::Bindings { unix, kept } => self.start_home_agent(now, unix, kept),
            Event::BindingsKept { number } => self.bindings_kept(number),
            Event::Kernel(event) => self.kernel_event(now, event),
            Event::Command { token, command } => self.command(now, token, command),
            Event::Configuration(settings) => self.reconfigure(now, *settings),
            Event::Stop => self.stop(now),
        }
        self.drain(now);
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.initiator.handle_timeout(now);
        self.ike.handle_timeout(now);
        self.held.handle_timeout(now, &mut self.wishes);
        self.first_packets.handle_timeout(now);
        self.vpn_timeout(now);
        self.mobility_timeout(now);
        self.home_agent_timeout(now);
        self.foreign_agent_timeout(now);
        self.proxy_agent_timeout(now);
        if let Some(relations) = &mut self.relations {
            relations.handle_timeout(now, &mut self.wishes);
        }
        while let Some(timer) = self.timers.expired(now) {
            match timer {
                Timer::ChildGone(child) => self.tunnels.child_gone(child, &mut self.wishes),
                Timer::AdoptionEnds(tunnel) => self.tunnels.end_adoption(tunnel, &mut self.wishes),
                Timer::LookForWay => self.look_for_way(now),
            }
        }
        self.drain(now);
    }

    /// When to call [`Self::handle_timeout`]; `None` while nothing waits.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadlines = [
            self.initiator.poll_timeout(),
            self.ike.poll_timeout(),
            self.held.poll_timeout(),
            self.first_packets.poll_timeout(),
            self.relations.as_ref().and_then(Relations::poll_timeout),
            self.vpn.poll_timeout(),
            self.mobility.as_ref().and_then(|m| m.poll_timeout()),
            self.home.as_ref().and_then(OwnHomeAgent::poll_timeout),
            self.foreign
                .as_ref()
                .and_then(OwnForeignAgent::poll_timeout),
            self.surrogates
                .as_ref()
                .and_then(OwnProxyAgent::poll_timeout),
            self.timers.next(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Call until `None` after every input.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        let effect = self.effects.pop_front();
        effect.or_else(|| {
            // Where the kernel's answer is long in coming, memory stays bounded all the same.
            let postponed =
                self.barrier.is_some() && !self.stopping && self.afterwards.len() < MOST_POSTPONED;
            (!postponed).then(|| self.afterwards.pop_front()).flatten()
        })
    }

    fn kernel_event(&mut self, now: Instant, event: KernelEvent) {
        match event {
            KernelEvent::Acquire {
                policy,
                trap,
                flow,
                protocol,
            } => self.acquire(now, policy, trap, flow, protocol),
            KernelEvent::SaExpired { sa, hard } => self.sa_expired(now, sa, hard),
            KernelEvent::SaLost { sa } => self.sa_lost(now, sa),
            KernelEvent::PolicyExpired { policy } => self.policy_expired(now, &policy),
            KernelEvent::Applied { revision } => self.applied(revision),
            KernelEvent::OthersDecide(they_do) => self.others_decide = they_do,
            KernelEvent::Refused { key, refusal } => self.refused(now, key, refusal),
            KernelEvent::Accepted { key } => self.accepted(now, &key),
        }
    }

    /// Lets the rooms' effects meet until nothing moves any more, then publishes what is wanted.
    /// IKE messages that wait for it are in `awaiting` until then.
    fn drain(&mut self, now: Instant) {
        loop {
            if let Some(effect) = self.initiator.poll_effect() {
                self.discovery_effect(now, effect);
            } else if let Some(effect) = self.ike.poll_effect() {
                self.ike_effect(now, effect);
            } else if let Some(effect) = self.relations.as_mut().and_then(Relations::poll_effect) {
                self.relations_effect(now, effect);
            } else if let Some(change) = self.vpn.poll_change() {
                self.vpn_changed(now, &change);
            } else if let Some(wish) = self.mobility.as_mut().and_then(|m| m.poll_effect()) {
                self.mobility_effect(now, wish);
            } else if let Some(news) = self.mobility.as_mut().and_then(|m| m.poll_news()) {
                self.mobility_news(now, news);
            } else if let Some(carrying) = self.mobility.as_mut().and_then(|m| m.poll_carrying()) {
                self.mobility_carries(carrying);
            } else if let Some(effect) = self.home.as_mut().and_then(OwnHomeAgent::poll_effect) {
                self.home_agent_effect(now, effect);
            } else if let Some(effect) =
                self.foreign.as_mut().and_then(OwnForeignAgent::poll_effect)
            {
                self.foreign_agent_effect(now, effect);
            } else if let Some(effect) = self
                .surrogates
                .as_mut()
                .and_then(OwnProxyAgent::poll_effect)
            {
                self.proxy_agent_effect(now, effect);
            } else if let Some(datagram) =
                self.mobility.as_mut().and_then(|m| m.poll_registration())
            {
                self.register(now, datagram);
            } else {
                break;
            }
        }
        self.let_settled_go();
        if !self.begun {
            return;
        }
        if let Some(change) = self.wishes.take_change() {
            self.effects.push_back(Effect::Kernel(change));
        }
    }

    fn lay_foundation(&mut self, policies: &[(Owner, Policy)]) -> Result<(), TooManyPrefixes> {
        for (owner, policy) in policies {
            self.wishes.want_policy(*owner, policy.clone());
        }
        self.traps = discovery::traps(&self.settings)?;
        self.proxies = discovery::placed(&self.settings);
        foundation::surroundings(&self.settings, &mut self.wishes);
        Ok(())
    }

    fn want_interception(&mut self) {
        let Some(divert_to) = self.transparent else {
            return;
        };
        let settings = &self.settings.interception;
        // Validated when the configuration was: the foundation stands on the same prefixes.
        let protected = foundation::locals(&self.settings).unwrap_or_default();
        self.wishes
            .want(crate::kernel::desired::Object::Interception(
                crate::kernel::desired::Interception {
                    protected,
                    divert_to,
                    divert_mark: settings.divert_mark,
                    pass_mark: settings.pass_mark,
                    pass_rate: settings.pass_rate,
                    first_packets: self.queue.map(|queue| FirstPacketRule {
                        queue,
                        towards: foundation::towards(&self.settings),
                    }),
                },
            ));
    }

    /// A tunnel whose policy is refused stays: the trap below it, or whatever else has its place,
    /// decides until the kernel takes it, and its peer need not be asked again. An SA is never
    /// written twice.
    fn refused(&mut self, now: Instant, key: Key, refusal: RefusalView) {
        self.count("kernel-refused");
        let RefusalView {
            attempt,
            error,
            advice,
        } = &refusal;
        tracing::error!(attempt, error, advice, "the kernel refused an object");
        self.publish(now, "kernel-refused", format!("{attempt}: {error}"));
        if let Key::Sa(sa) = &key
            && let Some(child) = self.child_of_sa(sa)
        {
            if sa.protocol == IpsecProtocol::Comp {
                // Another without compression takes its place.
                self.ike.stop_compressing();
            }
            self.ike.child_refused(now, child);
        }
        self.refusals.insert(key, refusal);
    }

    fn accepted(&mut self, now: Instant, key: &Key) {
        if let Some(refusal) = self.refusals.remove(key) {
            self.tell(now, "kernel-accepted", refusal.attempt);
        }
    }

    fn count(&mut self, name: &'static str) {
        *self.counters.entry(name).or_default() += 1;
    }

    /// For whoever follows `events`, and for the log.
    fn tell(&mut self, now: Instant, kind: &'static str, detail: String) {
        self.line(now, Level::INFO, kind, detail);
    }

    /// For whoever follows `events`. Strangers can cause as many of these as the rate limits let
    /// them, so the log has them at `debug`.
    fn publish(&mut self, now: Instant, kind: &'static str, detail: String) {
        self.line(now, Level::DEBUG, kind, detail);
    }

    fn line(&mut self, now: Instant, level: Level, kind: &'static str, detail: String) {
        let at = now.saturating_duration_since(self.started).as_secs_f64();
        let line = EventView {
            at,
            kind: kind.into(),
            detail,
        };
        self.afterwards.push_back(Effect::Tell { line, level });
    }
}
