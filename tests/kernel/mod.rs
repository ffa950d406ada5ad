//! A network namespace for one test, and objects to put into its kernel.

#![allow(dead_code, reason = "each test binary uses some of it")]

use nix::sched::{CloneFlags, unshare};
use std::collections::VecDeque;
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedReceiver;
use xfrm_agent::kernel::desired::{
    Action, Change, Direction, IpsecProtocol, Level, Mark, Mode, Object, Policy, PolicyKey,
    Revision, Template,
};
use xfrm_agent::kernel::events::KernelEvent;
use xfrm_agent::kernel::ownership::Band;
use xfrm_agent::kernel::writer::{Found, Options, Refusal, Report, Stop, Writer};
use xfrm_agent::net::Selector;

/// Runs a test in a network namespace of its own, which ends with it. Not root: says so and
/// returns.
pub(crate) fn in_namespace(test: impl FnOnce() + Send) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not run: needs root for a network namespace");
        return;
    }
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("root may make a network namespace");
            run("ip", "link set lo up");
            test();
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Runs a command in the calling thread's namespace; arguments have no spaces of their own.
pub(crate) fn run(program: &str, arguments: &str) -> String {
    let output = Command::new(program)
        .args(arguments.split_whitespace())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A writer and all that it says, driven from a test.
pub(crate) struct Kernel {
    runtime: tokio::runtime::Runtime,
    writer: Option<Writer>,
    reports: UnboundedReceiver<Report>,
    /// What was said while a change was carried out at once.
    said: VecDeque<Report>,
    pub(crate) found: Found,
    revision: u64,
    /// How often the writer has lost track of the kernel.
    pub(crate) overruns: usize,
    pub(crate) directory: tempfile::TempDir,
}

impl Kernel {
    pub(crate) fn open() -> Self {
        Self::open_in(tempfile::tempdir().unwrap())
    }

    /// With the settings remembered by an earlier one.
    pub(crate) fn open_in(directory: tempfile::TempDir) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let options = Options {
            runtime_dir: directory.path().to_owned(),
        };
        let (writer, found, reports) = Writer::start(options).unwrap();
        Self {
            runtime,
            writer: Some(writer),
            reports,
            said: VecDeque::new(),
            found,
            revision: 0,
            overruns: 0,
            directory,
        }
    }

    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Has a change carried out as the daemon does, at once where the writer can. Returns its
    /// revision and how much was said at once.
    pub(crate) fn begin(&mut self, change: Change) -> (Revision, usize) {
        self.revision += 1;
        let revision = Revision(self.revision);
        let change = Change { revision, ..change };
        let writer = self.writer.as_ref().unwrap();
        let said = writer.apply_at_once(Instant::now(), change, &mut self.reports);
        let much = said.len();
        self.said.extend(said);
        (revision, much)
    }

    /// Puts and removes, waits until it is done, and returns what was refused.
    pub(crate) fn try_apply(&mut self, change: Change) -> Vec<Refusal> {
        let (revision, _) = self.begin(change);
        let mut refusals = Vec::new();
        loop {
            match self.report() {
                Report::Applied { revision: done } if done == revision => return refusals,
                Report::Refused { refusal, .. } => refusals.push(refusal),
                _ => {}
            }
        }
    }

    pub(crate) fn apply(&mut self, change: Change) {
        let refusals = self.try_apply(change);
        assert!(refusals.is_empty(), "{refusals:#?}");
    }

    pub(crate) fn put(&mut self, put: Vec<Object>) {
        self.apply(Change {
            put,
            ..Change::default()
        });
    }

    pub(crate) fn report(&mut self) -> Report {
        let next = self.reports.recv();
        let report = self.said.pop_front().unwrap_or_else(|| {
            self.runtime
                .block_on(async { tokio::time::timeout(Duration::from_secs(60), next).await })
                .expect("the writer answers within a minute")
                .expect("the writer runs")
        });
        if let Report::Event(KernelEvent::Overrun) = report {
            self.overruns += 1;
        }
        report
    }

    pub(crate) fn forget_acquires(&self) {
        self.writer.as_ref().unwrap().forget_acquires();
    }

    pub(crate) fn stop(mut self, how: Stop) -> tempfile::TempDir {
        let writer = self.writer.take().unwrap();
        let refusals = self.runtime.block_on(writer.stop(how));
        assert!(refusals.is_empty(), "{refusals:#?}");
        self.directory
    }

    /// As `kill -9` leaves things.
    pub(crate) fn kill(self) -> tempfile::TempDir {
        self.directory
    }
}

pub(crate) fn selector(src: &str, dst: &str) -> Selector {
    Selector::between(src.parse().unwrap(), dst.parse().unwrap())
}

pub(crate) fn policy(
    direction: Direction,
    selector: Selector,
    band: Band,
    action: Action,
) -> Policy {
    Policy {
        key: PolicyKey {
            direction,
            selector,
            mark: Mark::default(),
            if_id: 0,
        },
        priority: band
            .priority(u32::from(selector.src.prefix_len()) + u32::from(selector.dst.prefix_len())),
        action,
        lifetime: None,
    }
}

/// What a trap asks for: transport-mode ESP between whatever addresses the packet has.
pub(crate) fn trap_template(v6: bool) -> Template {
    let any = if v6 { "::" } else { "0.0.0.0" };
    Template {
        protocol: IpsecProtocol::Esp,
        mode: Mode::Transport,
        level: Level::Required,
        src: any.parse().unwrap(),
        dst: any.parse().unwrap(),
        reqid: 0,
        spi: None,
    }
}

pub(crate) fn key(object: &Object) -> Option<PolicyKey> {
    match object {
        Object::Policy(policy) => Some(policy.key),
        _ => None,
    }
}

/// A device that sends whatever it is given, to nobody.
pub(crate) fn device(name: &str) {
    run(
        "ip",
        &format!("link add {name} type veth peer name {name}x"),
    );
    // No neighbour has to be found first.
    run("ip", &format!("link set {name} arp off up"));
    run("ip", &format!("link set {name}x up"));
}

/// Packets that have left a device.
pub(crate) fn transmitted(device: &str) -> u64 {
    let json: serde_json::Value =
        serde_json::from_str(&run("ip", &format!("-j -s link show {device}"))).unwrap();
    json[0]["stats64"]["tx"]["packets"].as_u64().unwrap()
}
