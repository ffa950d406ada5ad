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

mod effects;
mod inputs;
mod looking;
mod starting;

use super::carrying::Carrying;
use super::clock::{self, WallClock};
use super::commands::Commands;
use super::control::{Calls, Meaning, reloaded};
use super::events;
use super::heap;
use super::keeper::Keeper;
use super::memory;
use super::sockets;
use super::vpns::Vpns;
use super::wiring::Sockets;
use super::{logging, privileges, urgency};
use crate::agent::Agent;
use crate::agent::event::Event;
use crate::agent::settings::OnStop;
use crate::agent::snapshot::EventView;
use crate::config::{self, Loaded, trusted};
use crate::control::protocol::Response;
use crate::control::server::{self, Call};
use crate::kernel::adapters::{Adapter, Look};
use crate::kernel::desired::LinkName;
use crate::kernel::events::KernelEvent;
use crate::kernel::first_packets::FirstPackets;
use crate::kernel::listing;
use crate::kernel::timer::timeout;
use crate::kernel::writer::{self, Report, Stop, Writer};
use crate::mobile_ip;
use crate::net::masked::TooManyPrefixes;
use crate::store::StoreError;
use inputs::Inputs;
use sd_notify::NotifyState;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::broadcast;
use tokio::sync::mpsc::UnboundedReceiver;
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
    LocalSet::new().block_on(&runtime, starting::serve(path.to_owned(), loaded, listener))
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
    /// `None` where the kernel has no such queue.
    first_packets: Option<Rc<FirstPackets>>,
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

/// Without systemd there is nobody to notify.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not notified");
    }
}
