//! The life of the daemon.
//!
//! ```text
//! configuration → control socket (is another agent running?) → capabilities reduced
//!   → sockets, which nobody reads yet
//!   → what is in the kernel? → traps, enforcement          nothing in the clear from here on
//!   → datagrams → interception → ready
//!   → events and effects until told to stop
//!   → goodbye to peers, kernel objects kept or removed, sysctls given back
//! ```

mod looking;

use super::carrying::{self, Carrying};
use super::clock::{self, ClockWatch, WallClock};
use super::commands::Commands;
use super::control::{Calls, Meaning, reloaded};
use super::datagrams::Datagrams;
use super::events;
use super::heap;
use super::home_address::HomeAddress;
use super::keeper::{Keeper, KeptBindings};
use super::memory::{self, Memory};
use super::networks::Networks;
use super::sockets::{self, ErrorSocket};
use super::vpns::Vpns;
use super::wiring::{Sockets, System};
use super::{logging, privileges, urgency};
use crate::agent::effect::{Effect, Reply};
use crate::agent::event::Event;
use crate::agent::settings::OnStop;
use crate::agent::snapshot::EventView;
use crate::agent::{Agent, left_behind};
use crate::config::{self, Loaded, trusted};
use crate::control::protocol::Response;
use crate::control::server::{self, Call};
use crate::ike::crypto;
use crate::kernel::adapters::{Adapter, Look};
use crate::kernel::desired::LinkName;
use crate::kernel::events::KernelEvent;
use crate::kernel::monitor::Monitor;
use crate::kernel::source_addresses::SourceAddresses;
use crate::kernel::timer::{Timer, timeout};
use crate::kernel::writer::{self, Report, Stop, Writer};
use crate::kernel::{features, listing};
use crate::mobile_ip;
use crate::mobile_ip::home_agent::effects::Kept;
use crate::net::masked::TooManyPrefixes;
use crate::store::{Bindings, Store, StoreError};
use sd_notify::NotifyState;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::broadcast;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::task::LocalSet;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Configuration(#[from] config::Error),
    #[error(transparent)]
    Prefixes(#[from] TooManyPrefixes),
    #[error(transparent)]
    Listen(#[from] server::ListenError),
    #[error(transparent)]
    Privileges(#[from] privileges::Error),
    #[error(transparent)]
    Kernel(#[from] writer::StartError),
    #[error(transparent)]
    Sockets(#[from] sockets::Error),
    #[error(transparent)]
    Memory(#[from] memory::Error),
    #[error(transparent)]
    Directory(#[from] trusted::Untrusted),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("left behind: {0}")]
    LeftBehind(Box<writer::Refusal>),
    #[error("cannot {what}: {source}")]
    Start {
        what: &'static str,
        source: io::Error,
    },
}

const CALLS_WAITING: usize = 16;
/// Records of the past that are remembered from before the start.
const MOST_HISTORY: usize = 100_000;
/// In the state directory.
const STORE: &str = "presence.redb";
const BINDINGS: &str = "bindings.redb";
/// How long after a restart a tunnel of before must have received something, or nothing is sent
/// into it any more.
const PROOF: Duration = Duration::from_secs(1);
/// At stop: how long goodbyes and removals may take.
const GOODBYE: Duration = Duration::from_millis(300);

/// Runs the agent with this configuration file until a signal ends it.
pub fn run(path: &Path) -> Result<(), Error> {
    let loaded = config::load(path)?;
    heap::give_back();
    logging::start(loaded.daemon.log_level);
    if !loaded.warnings.is_empty() {
        tracing::warn!("{}", config::listed(path, &loaded.warnings));
    }
    let daemon = &loaded.daemon;
    let group = daemon.control_group.as_ref().map(|group| group.gid);
    let listener = server::listen(&daemon.runtime_dir, config::CONTROL_SOCKET, group)?;
    trusted::make_directory(&daemon.state_dir)?;
    // Root may still do that; what it starts does not inherit it.
    if let Err(error) = urgency::raise() {
        tracing::debug!(%error, "the agent is scheduled as everything is");
    }
    // Before any thread is started, so that all of them have no more than this.
    privileges::reduce()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(|source| Error::Start {
            what: "start the runtime",
            source,
        })?;
    LocalSet::new().block_on(&runtime, serve(path.to_owned(), loaded, listener))
}

struct Daemon {
    path: PathBuf,
    loaded: Loaded,
    agent: Agent,
    writer: Writer,
    reports: UnboundedReceiver<Report>,
    /// What the kernel has answered while effects were carried out.
    answers: Vec<Report>,
    /// Messages of Mobile IP that leave together.
    registrations: Vec<mobile_ip::Datagram>,
    sockets: Sockets,
    keeper: Keeper,
    /// Once something has to be carried in user space.
    carrying: Option<Rc<Carrying>>,
    commands: Commands,
    vpns: Vpns,
    clock: WallClock,
    /// When the last event came.
    now: Instant,
    look: Look,
    links: Vec<(LinkName, bool)>,
    adapters: Vec<Adapter>,
    calls: Calls,
    lines: broadcast::Sender<EventView>,
}

impl Daemon {
    async fn serve(mut self, mut inputs: Inputs) -> Result<(), Error> {
        loop {
            self.carry_out_all();
            let deadlines = [self.agent.poll_timeout(), inputs.proof];
            let deadline = deadlines
                .into_iter()
                .flatten()
                .fold(inputs.watchdog.due, Instant::min);
            tokio::select! {
                biased;
                Some(report) = self.reports.recv() => {
                    if let Some(event) = events::of_report(report) {
                        self.handle(event);
                    }
                    self.attach_missing();
                }
                event = inputs.monitor.next() => {
                    let event = event.map_err(|source| Error::Start {
                        what: "go on listening to the kernel",
                        source,
                    })?;
                    match event {
                        KernelEvent::LinkChanged => self.look_around(true),
                        KernelEvent::AddressChanged => self.look_at_addresses(),
                        KernelEvent::GatewayChanged(routes) => self.default_routes_are(routes),
                        KernelEvent::AccessPointsChanged(known) => self.access_points_are(known),
                        KernelEvent::SignalsChanged => self.signals_are_others(),
                        event => {
                            let is_overrun = matches!(event, KernelEvent::Overrun);
                            if let Some(event) = events::of_kernel(event) {
                                self.handle(event);
                            }
                            if is_overrun {
                                self.look_around(true);
                            }
                        }
                    }
                }
                doubt = inputs.clock.changed() => {
                    let doubt = doubt.map_err(|source| Error::Start {
                        what: "go on watching the clock",
                        source,
                    })?;
                    tracing::warn!(?doubt, "the clock is not what it was");
                    self.look_at_clock();
                    self.handle(clock::reading(Some(doubt)));
                }
                Some(event) = inputs.told.recv() => self.handle(event),
                Some(number) = inputs.kept.recv() => {
                    self.handle(Event::BindingsKept { number });
                }
                now = inputs.timer.reached(self.now, deadline) => {
                    self.now = now.map_err(|source| Error::Start {
                        what: "go on waiting for the time",
                        source,
                    })?;
                    self.agent.handle_timeout(self.now);
                    if inputs.proof.is_some_and(|proof| proof <= self.now) {
                        inputs.proof = None;
                        self.count_carried();
                    }
                    if inputs.watchdog.ticks(self.now) {
                        self.tick();
                    }
                }
                Some(call) = inputs.calls.recv() => self.call(call),
                _ = inputs.reload.recv() => drop(self.reload()),
                _ = inputs.terminate.recv() => break,
                _ = inputs.interrupt.recv() => break,
                // Last, because strangers can send without end.
                event = inputs.datagrams.next() => {
                    self.handle(event);
                    while let Some(event) = inputs.datagrams.at_hand() {
                        self.agent.handle(self.now, event);
                    }
                }
            }
        }
        notify(&[NotifyState::Stopping]);
        Box::pin(self.stop()).await;
        Ok(())
    }

    fn handle(&mut self, event: Event) {
        self.now = Instant::now();
        self.agent.handle(self.now, event);
    }

    /// What is looked at now and then.
    fn tick(&mut self) {
        notify(&[NotifyState::Watchdog]);
        self.keeper.try_again();
        self.attach_missing();
        self.look_at_clock();
        // Summer time comes without a step.
        self.handle(clock::reading(None));
        self.look_at_gateways();
        self.look_at_signals();
        self.look_around(false);
    }

    /// What the tunnels that were found have carried since.
    fn count_carried(&mut self) {
        match listing::own_sas() {
            Ok(sas) => {
                let carried = sas.iter().map(|sa| (sa.key, sa.packets)).collect();
                self.handle(Event::Carried(carried));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot tell whether tunnels of before carry anything");
            }
        }
    }

    /// Does everything that the agent wants done, and what it wants when the kernel has answered at
    /// once.
    fn carry_out_all(&mut self) {
        loop {
            while let Some(effect) = self.agent.poll_effect() {
                if let Effect::SendRegistration(datagram) = effect {
                    self.registrations.push(datagram);
                } else {
                    self.send_registrations();
                    self.carry_out(effect);
                }
            }
            self.send_registrations();
            if self.answers.is_empty() {
                return;
            }
            for report in std::mem::take(&mut self.answers) {
                if let Some(event) = events::of_report(report) {
                    self.agent.handle(self.now, event);
                }
            }
            self.attach_missing();
        }
    }

    fn send_registrations(&mut self) {
        if self.registrations.is_empty() {
            return;
        }
        self.sockets
            .send_registrations(&self.registrations, |error| not_sent(&error));
        self.registrations.clear();
    }

    fn carry_out(&mut self, effect: Effect) {
        let sent = match effect {
            Effect::Kernel(change) => {
                let answers = self
                    .writer
                    .apply_at_once(self.now, change, &mut self.reports);
                return self.answers.extend(answers);
            }
            Effect::Reply { token, mut reply } => {
                if let (Reply::Status(snapshot), Some(carrying)) = (&mut reply, &self.carrying) {
                    let counters = carrying::counters(carrying.counts());
                    let named = counters.map(|(name, count)| (name.to_owned(), count));
                    snapshot.counters.extend(named);
                }
                return self.calls.answer(token, reply);
            }
            Effect::Carry { adapter, binding } => {
                if let Some(carrying) = self.carrying() {
                    carrying.put(adapter, binding);
                }
                return;
            }
            Effect::CarryNoMore { side, home } => {
                if let Some(carrying) = &self.carrying {
                    carrying.remove(side, home);
                }
                return;
            }
            Effect::Tell { line, level } => {
                logging::line(&line, level);
                // Nobody follows: nobody is told.
                return drop(self.lines.send(line));
            }
            Effect::RunCommand { run, command } => return self.commands.run(run, command),
            Effect::StopCommand(run) => return self.commands.stop(run),
            Effect::Remember(selectors) => return self.keeper.keep(selectors),
            Effect::KeepNetworks(known) => return self.keeper.keep_networks(known),
            Effect::KeepHome(given) => return self.keeper.keep_home(given),
            Effect::Keep(keep) => return self.keeper.keep_presence(keep),
            Effect::KeepBinding { number, kept } => {
                return self.keeper.keep_binding(number, *kept);
            }
            Effect::Send {
                local,
                remote,
                payload,
            } => self.sockets.send(local, remote, &payload),
            Effect::SendAs {
                src,
                dst,
                hop_limit,
                payload,
            } => self.sockets.send_as(src, dst, hop_limit, &payload),
            Effect::Announce { link, address } => {
                if let Err(error) = sockets::announce(link, address) {
                    tracing::warn!(%error, %link, %address, "hosts on that link learn late where it is");
                }
                return;
            }
            Effect::OnLink(frame) => {
                if let Err(error) = self.sockets.send_on_link(&frame) {
                    tracing::debug!(%error, link = %frame.link, "not sent; it is sent again in time");
                }
                return;
            }
            Effect::SendRegistration(datagram) => {
                return self
                    .sockets
                    .send_registrations(&[datagram], |error| not_sent(&error));
            }
        };
        if let Err(error) = sent {
            not_sent(&error);
        }
    }

    /// Started when it is needed first.
    fn carrying(&mut self) -> Option<Rc<Carrying>> {
        if self.carrying.is_none() {
            let mark = self.loaded.agent.interception.pass_mark.value;
            let carrying = Carrying::start(mark).map(Rc::new);
            self.carrying = carrying
                .inspect_err(|error| tracing::error!(%error, "tunnels in UDP carry nothing"))
                .ok();
            if let Some(carrying) = self.carrying.clone()
                && let Err(error) = self.sockets.carry(carrying)
            {
                tracing::error!(%error, "tunnels in UDP carry nothing");
            }
        }
        self.carrying.clone()
    }

    fn attach_missing(&self) {
        if let Some(carrying) = &self.carrying {
            carrying.attach_missing();
        }
    }

    fn call(&mut self, call: Call) {
        let proxies = &self.loaded.agent.proxies;
        let protected = |dst| {
            let all = proxies.iter().flat_map(|group| &group.proxies);
            all.filter(|p| p.remote.contains_addr(dst))
                .map(|p| p.local.addr())
                .next()
        };
        match self.calls.accept(call, protected) {
            Meaning::Ask(token, command) => self.handle(Event::Command { token, command }),
            Meaning::Reload(caller) => {
                let response = self.reload();
                // A caller that has gone away does not need it.
                let _ = caller.send(response);
            }
            Meaning::Done => {}
        }
    }

    /// A file with a mistake changes nothing.
    fn reload(&mut self) -> Response {
        notify(&[
            NotifyState::Reloading,
            NotifyState::monotonic_usec_now().unwrap_or(NotifyState::Reloading),
        ]);
        let (response, new) = reloaded(&self.path, &self.loaded, config::load(&self.path));
        heap::give_back();
        match new {
            Some(new) => {
                let settings = Box::new(new.agent.clone());
                self.loaded = new;
                self.handle(Event::Configuration(settings));
                self.vpns.watch(&self.loaded.agent.vpn);
                self.look_at_signals();
                self.look_around(false);
                self.look_at_gateways();
                self.keeper.try_again();
            }
            None => tracing::error!(?response, "the configuration stays as it was"),
        }
        notify(&[NotifyState::Ready]);
        response
    }

    async fn stop(mut self) {
        self.handle(Event::Stop);
        self.carry_out_all();
        // Goodbyes that wait for the kernel leave when it has answered.
        let end = Instant::now() + GOODBYE;
        let left = || end.saturating_duration_since(Instant::now());
        while let Ok(Some(report)) = timeout(left(), self.reports.recv()).await {
            if let Some(event) = events::of_report(report) {
                self.handle(event);
            }
            self.carry_out_all();
        }
        let how = match self.loaded.agent.on_stop {
            OnStop::Keep => Stop::Keep,
            OnStop::Remove => Stop::Remove,
        };
        for refusal in self.writer.stop(how).await {
            tracing::error!(%refusal, "left behind");
        }
        self.keeper.finish();
    }
}

/// Everything the daemon waits for.
struct Inputs {
    monitor: Monitor,
    /// When it is to be seen whether the tunnels of before carry anything.
    proof: Option<Instant>,
    watchdog: Watchdog,
    /// For these two, and whatever the agent waits for.
    timer: Timer,
    datagrams: Datagrams,
    /// How far bindings are kept.
    kept: UnboundedReceiver<u64>,
    /// By tasks of ours.
    told: UnboundedReceiver<Event>,
    calls: mpsc::Receiver<Call>,
    clock: ClockWatch,
    reload: Signal,
    terminate: Signal,
    interrupt: Signal,
}

fn not_sent(error: &sockets::Error) {
    tracing::debug!(%error, "not sent; it is sent again or given up in time");
}

fn listen_for(kind: SignalKind) -> Result<Signal, Error> {
    signal(kind).map_err(|source| Error::Start {
        what: "listen for signals",
        source,
    })
}

/// When the next tick is due, the first at once.
struct Watchdog {
    due: Instant,
    interval: Duration,
}

impl Watchdog {
    /// Half of what systemd allows; where it watches nothing, a tick that notifies nobody.
    fn new(now: Instant) -> Self {
        let allowed = sd_notify::watchdog_enabled().unwrap_or(Duration::from_secs(60));
        Self {
            due: now,
            interval: allowed / 2,
        }
    }

    /// Ticks that nobody has seen are not made up for.
    fn ticks(&mut self, now: Instant) -> bool {
        let is_due = self.due <= now;
        if is_due {
            self.due = now + self.interval;
        }
        is_due
    }
}

/// Without systemd there is nobody to notify.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not notified");
    }
}

async fn serve(path: PathBuf, loaded: Loaded, listener: server::Listener) -> Result<(), Error> {
    let options = writer::Options {
        runtime_dir: loaded.daemon.runtime_dir.clone(),
    };
    let mark = loaded.agent.interception.pass_mark.value;
    // Changes nothing yet, and has the kernel load what the sockets' exemptions need.
    let (writer, found, mut reports) = Writer::start(options)?;
    // Nobody reads them before the kernel protects.
    let sockets = match Sockets::open(mark) {
        // What is protected already stays so: by an agent that runs here with another runtime
        // directory, whose objects these are, or since one ran.
        Err(error) if !found.policies.is_empty() => return Err(error.into()),
        other => other,
    };
    let monitor = Monitor::open().map_err(|source| Error::Start {
        what: "listen to the kernel's ACQUIREs",
        source,
    })?;
    let mut look = Look::open().map_err(|source| Error::Start {
        what: "ask the kernel for links and addresses",
        source,
    })?;
    look.access_points_are(monitor.access_points().clone());
    let routes = SourceAddresses::open(mark).map_err(|source| Error::Start {
        what: "ask the kernel for routes",
        source,
    })?;
    let memory = Memory::new(&loaded.daemon.state_dir);
    // What must be protected is held or blocked even by a start that fails because of this.
    let remembered = memory.load();
    // Routes of bindings that an earlier run left stay in use where these are known in time.
    let bindings = open_bindings(&loaded);
    let mut agent = Agent::new(
        Instant::now(),
        loaded.agent.clone(),
        remembered.as_deref().unwrap_or_default(),
        Box::new(routes),
        || Box::new(System::new()),
    )?;
    let tunnels = left_behind::tunnels(&found.policies, &found.sas);
    let adopting = !tunnels.is_empty();
    let (bindings, unread) = match bindings {
        Ok(Some((store, kept))) => {
            let unix = clock::unix();
            agent.handle(Instant::now(), Event::Bindings { unix, kept });
            (Some(store), None)
        }
        Ok(None) => (None, None),
        Err(error) => (None, Some(error)),
    };
    agent.handle(Instant::now(), Event::Found(tunnels));
    // Held or blocked what must be protected, before anything else is done.
    let waiting = settled(&mut agent, &writer, &mut reports).await;

    crypto::warm_up(&mut System::new());
    warm_up().await;
    let sockets = sockets?;
    if loaded.agent.has_mobile_ip_role() {
        sockets.listen_for_registrations()?;
    }
    remembered?;
    if let Some(error) = unread {
        return Err(error.into());
    }
    let mut store = open_store(&loaded)?;
    if let Some(store) = &mut store {
        agent.handle(
            Instant::now(),
            Event::Stored(Box::new(store.load(MOST_HISTORY)?)),
        );
    }
    let networks = Networks::new(&loaded.daemon.state_dir);
    let home = HomeAddress::new(&loaded.daemon.state_dir);
    if loaded.agent.mobility.is_some() {
        match networks.load() {
            Ok(known) => agent.handle(Instant::now(), Event::Networks(known)),
            Err(error) => tracing::error!(%error, "guesses begin without what was known"),
        }
        match home.load() {
            Ok(None) => {}
            Ok(Some(kept)) => agent.handle(Instant::now(), Event::Home(kept)),
            Err(error) => tracing::error!(%error, "the home address is asked for"),
        }
    }
    agent.handle(Instant::now(), clock::reading(None));
    let proof = adopting.then(|| Instant::now() + PROOF);
    let (sender, kept) = mpsc::unbounded_channel();
    let bindings = bindings.map(|store| KeptBindings::new(store, sender));
    let (tell, told) = mpsc::unbounded_channel();
    let (calls_sender, calls) = mpsc::channel(CALLS_WAITING);
    let (lines, _) = broadcast::channel(server::EVENTS_KEPT);
    tokio::task::spawn_local(server::serve(listener, calls_sender, lines.clone()));
    let relays = loaded.agent.foreign_agent.is_some();
    let errors = relays.then(ErrorSocket::open).transpose();
    let errors = errors.map_err(|source| Error::Start {
        what: "hear ICMP errors, which need CAP_NET_RAW,",
        source,
    })?;
    let inputs = Inputs {
        monitor,
        proof,
        watchdog: Watchdog::new(Instant::now()),
        timer: Timer::open().map_err(|source| Error::Start {
            what: "make a timer",
            source,
        })?,
        datagrams: sockets.datagrams(errors),
        kept,
        told,
        calls,
        clock: ClockWatch::open().map_err(|source| Error::Start {
            what: "watch the clock",
            source,
        })?,
        reload: listen_for(SignalKind::hangup())?,
        terminate: listen_for(SignalKind::terminate())?,
        interrupt: listen_for(SignalKind::interrupt())?,
    };
    agent.handle(Instant::now(), Event::Addresses(look.addresses()));
    agent.handle(
        Instant::now(),
        Event::Transparent(sockets.transparent_ports()),
    );
    // Ready means that probes are intercepted, too.
    let intercepting = settled(&mut agent, &writer, &mut reports).await;
    let calls = Calls::default();
    let keeper = Keeper::start(memory, (networks, home), store, bindings).map_err(|source| {
        Error::Start {
            what: "start the thread that keeps what the next start should know",
            source,
        }
    })?;
    let mut daemon = Daemon {
        path,
        loaded,
        agent,
        writer,
        reports,
        answers: Vec::new(),
        registrations: Vec::new(),
        sockets,
        keeper,
        carrying: None,
        commands: Commands::new(tell.clone()),
        vpns: Vpns::new(tell),
        clock: WallClock::new(Instant::now(), SystemTime::now()),
        now: Instant::now(),
        links: look.links(),
        look,
        adapters: Vec::new(),
        calls,
        lines,
    };
    daemon.look_at_signals();
    daemon.look_at_adapters();
    for effect in waiting.into_iter().chain(intercepting) {
        daemon.carry_out(effect);
    }
    daemon.vpns.watch(&daemon.loaded.agent.vpn);
    daemon.look_at_vpns();
    tracing::info!("ready");
    notify(&[NotifyState::Ready]);
    Box::pin(daemon.serve(inputs)).await
}

/// Where presence is configured.
fn open_store(loaded: &Loaded) -> Result<Option<Store>, Error> {
    let wanted = loaded.agent.presence.is_some();
    let path = loaded.daemon.state_dir.join(STORE);
    Ok(wanted.then(|| Store::open(&path)).transpose()?)
}

/// Where there is a home agent: its store, and what it has kept.
fn open_bindings(loaded: &Loaded) -> Result<Option<(Bindings, Vec<Kept>)>, StoreError> {
    if loaded.agent.home_agent.is_none() {
        return Ok(None);
    }
    let mut store = Bindings::open(&loaded.daemon.state_dir.join(BINDINGS))?;
    let kept = store.load()?;
    Ok(Some((store, kept)))
}

/// The first tunnel should not wait for kernel modules. A kernel that cannot do ESP is an error for
/// a person to mend, and no reason to let anything through: traps and blocks are in.
async fn warm_up() {
    match tokio::task::spawn_blocking(features::warm_up).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(
            %error,
            "this kernel takes no ESP SA, so no tunnel can come up and what must be protected is \
             blocked: `xfrm-agent doctor` says what is missing"
        ),
        Err(error) => tracing::error!(%error, "the kernel was not tried"),
    }
}

/// Waits until the kernel has all that the agent wants of it. Returns what it wants done besides.
async fn settled(
    agent: &mut Agent,
    writer: &Writer,
    reports: &mut UnboundedReceiver<Report>,
) -> Vec<Effect> {
    let mut later = Vec::new();
    let mut awaited = None;
    loop {
        while let Some(effect) = agent.poll_effect() {
            match effect {
                Effect::Kernel(change) => {
                    awaited = Some(change.revision);
                    writer.apply(change);
                }
                other => later.push(other),
            }
        }
        let Some(revision) = awaited else {
            return later;
        };
        // Ends only with the writer itself, and then there is nothing to wait for.
        let Some(report) = reports.recv().await else {
            return later;
        };
        if matches!(report, Report::Applied { revision: applied } if applied >= revision) {
            awaited = None;
        }
        if let Some(event) = events::of_report(report) {
            agent.handle(Instant::now(), event);
        }
    }
}
