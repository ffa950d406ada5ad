//! From a configuration to a daemon that is ready.

use super::inputs::{Inputs, Watchdog, listen_for};
use super::{Daemon, Error, notify};
use crate::agent::effect::Effect;
use crate::agent::event::Event;
use crate::agent::{Agent, left_behind};
use crate::config::Loaded;
use crate::control::server;
use crate::daemon::clock::{self, ClockWatch, WallClock};
use crate::daemon::commands::Commands;
use crate::daemon::control::Calls;
use crate::daemon::events;
use crate::daemon::home_address::HomeAddress;
use crate::daemon::keeper::{Keeper, KeptBindings};
use crate::daemon::memory::Memory;
use crate::daemon::networks::Networks;
use crate::daemon::sockets::ErrorSocket;
use crate::daemon::vpns::Vpns;
use crate::daemon::wiring::{Sockets, System};
use crate::ike::crypto;
use crate::kernel::adapters::Look;
use crate::kernel::features;
use crate::kernel::first_packets::FirstPackets;
use crate::kernel::monitor::Monitor;
use crate::kernel::source_addresses::SourceAddresses;
use crate::kernel::timer::Timer;
use crate::kernel::writer::{self, Report, Writer};
use crate::mobile_ip::home_agent::effects::Kept;
use crate::store::{Bindings, Store, StoreError};
use sd_notify::NotifyState;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};
use tokio::signal::unix::SignalKind;
use tokio::sync::broadcast;
use tokio::sync::mpsc::{self, UnboundedReceiver};

const CALLS_WAITING: usize = 16;
/// Records of the past that are remembered from before the start.
const MOST_HISTORY: usize = 100_000;
/// In the state directory.
const STORE: &str = "presence.redb";
const BINDINGS: &str = "bindings.redb";
/// How long after a restart a tunnel of before must have received something, or nothing is sent
/// into it any more.
const PROOF: Duration = Duration::from_secs(1);

pub(super) async fn serve(
    path: PathBuf,
    loaded: Loaded,
    listener: server::Listener,
) -> Result<(), Error> {
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
    let first_packets = match FirstPackets::open() {
        Ok(queue) => Some(Rc::new(queue)),
        Err(error) => {
            tracing::info!(%error, "a first packet goes at the kernel's next tick when its tunnel is up");
            None
        }
    };
    let inputs = Inputs {
        monitor,
        proof,
        watchdog: Watchdog::new(Instant::now()),
        timer: Timer::open().map_err(|source| Error::Start {
            what: "make a timer",
            source,
        })?,
        datagrams: sockets.datagrams(errors, first_packets.clone()),
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
        Event::Transparent {
            ports: sockets.transparent_ports(),
            first_packets: first_packets.as_ref().map(|queue| queue.number()),
        },
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
        first_packets,
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
