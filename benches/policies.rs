//! Install, reconcile and removal of many policies, beside `ip -batch` in the same run.
//!
//! `cargo bench --bench policies [-- COUNT...]` as root. Every round has a network namespace of its
//! own, which is used twice: in the first installation the kernel's tables still have to grow, in
//! the second they have grown (they never shrink). The first round of each is left out.

mod common;

use common::machine::{machine, output};
use common::{Spread, in_namespace};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedReceiver;
use xfrm_agent::kernel::desired::{
    Action, Change, Direction, Key, Mark, Object, Policy, PolicyKey, Revision,
};
use xfrm_agent::kernel::ownership::Band;
use xfrm_agent::kernel::writer::{Options, Report, Stop, Writer};
use xfrm_agent::net::{IpNet, Selector};

const ROUNDS: usize = 7;

/// The kernel frees what was removed afterwards, which is no part of what comes next.
const SETTLE: Duration = Duration::from_millis(300);

fn main() {
    let given: Vec<usize> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let counts = if given.is_empty() {
        vec![10_000, 50_000]
    } else {
        given
    };
    assert!(
        nix::unistd::geteuid().is_root(),
        "needs root for network namespaces"
    );
    println!("{}", machine());
    println!("{}", output("ip", &["-V"]));
    println!("{ROUNDS} rounds each; median (fastest - slowest) in milliseconds\n");
    println!("| policies | what | xfrm-agent | ip -batch | times |");
    println!("| --- | --- | --- | --- | --- |");
    for count in counts {
        let mut rows: BTreeMap<(usize, &str), [Vec<Duration>; 2]> = BTreeMap::new();
        for round in 0..=ROUNDS {
            let ours = in_namespace(move || agent_round(count));
            std::thread::sleep(SETTLE);
            let theirs = in_namespace(move || ip_round(count));
            std::thread::sleep(SETTLE);
            if round == 0 {
                continue;
            }
            for (side, measured) in [ours, theirs].into_iter().enumerate() {
                for (place, (what, took)) in measured.into_iter().enumerate() {
                    rows.entry((place, what)).or_default()[side].push(took);
                }
            }
        }
        for ((_, what), [ours, theirs]) in rows {
            let (ours, theirs) = (Spread::of(ours), Spread::of(theirs));
            let times = theirs.median().as_secs_f64() / ours.median().as_secs_f64();
            println!(
                "| {count} | {what} | {} | {} | {times:.1} |",
                ours.show(),
                theirs.show()
            );
        }
    }
}

type Measured = Vec<(&'static str, Duration)>;

/// Between /24s, in all three directions, as an agent's own are.
fn policy(n: usize) -> Policy {
    let net = |base: u32| {
        let addr = std::net::Ipv4Addr::from(base + ((n as u32) << 8));
        IpNet::new(addr.into(), 24).expect("24 is a length")
    };
    let selector = Selector::between(net(0x0a00_0000), net(0x2000_0000));
    Policy {
        key: PolicyKey {
            direction: [Direction::Out, Direction::In, Direction::Fwd][n % 3],
            selector,
            mark: Mark::default(),
            if_id: 0,
        },
        priority: Band::Enforce.priority(selector.specificity()),
        action: Action::Block,
        lifetime: None,
    }
}

const FIRST: &str = "install, new namespace";
const NO_CHANGE: &str = "no change, after a restart";
const REMOVAL: &str = "removal";
const AGAIN: &str = "install, tables grown";

/// A writer and what is asked of it, timed until it answers.
struct Agent {
    writer: Writer,
    reports: UnboundedReceiver<Report>,
    revision: u64,
}

impl Agent {
    fn start(runtime_dir: &Path) -> Self {
        let runtime_dir = runtime_dir.to_owned();
        let (writer, _, reports) = Writer::start(Options { runtime_dir }).expect("root");
        Self {
            writer,
            reports,
            revision: 0,
        }
    }

    fn apply(&mut self, put: Vec<Object>, remove: Vec<Key>) -> Duration {
        self.revision += 1;
        let awaited = Revision(self.revision);
        let start = Instant::now();
        self.writer.apply(Change {
            revision: awaited,
            put,
            remove,
            ..Change::default()
        });
        loop {
            match self.reports.blocking_recv().expect("the writer runs") {
                Report::Applied { revision } if revision >= awaited => return start.elapsed(),
                Report::Refused { refusal, .. } => panic!("{refusal}"),
                _ => {}
            }
        }
    }

    fn stop(self) {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.build().expect("a runtime");
        runtime.block_on(self.writer.stop(Stop::Keep));
    }
}

fn agent_round(count: usize) -> Measured {
    let directory = tempfile::tempdir().expect("a directory");
    let wanted: Vec<Object> = (0..count).map(|n| Object::Policy(policy(n))).collect();
    let keys: Vec<Key> = wanted.iter().map(Object::key).collect();

    let mut agent = Agent::start(directory.path());
    let first = agent.apply(wanted.clone(), Vec::new());
    agent.stop();
    // The end gives the hash thresholds back, for which the kernel arranges its tables anew.
    std::thread::sleep(SETTLE);
    // As after a restart: list, compare, find nothing to do.
    let start = Instant::now();
    let mut agent = Agent::start(directory.path());
    agent.apply(wanted.clone(), Vec::new());
    let no_change = start.elapsed();
    let removal = agent.apply(Vec::new(), keys);
    // Big changes are followed by a look at everything, which is no part of the next.
    agent.apply(Vec::new(), Vec::new());
    std::thread::sleep(SETTLE);
    let again = agent.apply(wanted, Vec::new());
    agent.stop();
    vec![
        (FIRST, first),
        (NO_CHANGE, no_change),
        (REMOVAL, removal),
        (AGAIN, again),
    ]
}

/// With removal by index, which is the fast way that `ip` has as well.
fn ip_round(count: usize) -> Measured {
    let mut add = String::new();
    let mut delete = String::new();
    for n in 0..count {
        let Policy { key, priority, .. } = policy(n);
        let Selector { src, dst, .. } = key.selector;
        let (dir, code) = match key.direction {
            Direction::In => ("in", 0),
            Direction::Out => ("out", 1),
            Direction::Fwd => ("fwd", 2),
        };
        let index = 0x6000_0000 + 8 * n + code;
        writeln!(add, "xfrm policy add src {src} dst {dst} dir {dir} index {index} action block priority {priority}")
            .expect("memory");
        writeln!(delete, "xfrm policy delete dir {dir} index {index}").expect("memory");
    }
    let batch = |commands: &str| {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(commands.as_bytes()).expect("room for it");
        let start = Instant::now();
        let status = Command::new("ip").arg("-batch").arg(file.path()).status();
        assert!(status.expect("ip is installed").success());
        start.elapsed()
    };
    let first = batch(&add);
    // An update by selector walks the whole tree, minutes for 50,000; a look at everything is the
    // least that whoever compares has to do.
    let start = Instant::now();
    let listed = output("ip", &["xfrm", "policy", "list"]);
    let list = start.elapsed();
    assert!(listed.lines().count() >= count);
    let removal = batch(&delete);
    std::thread::sleep(SETTLE);
    let again = batch(&add);
    vec![
        (FIRST, first),
        (NO_CHANGE, list),
        (REMOVAL, removal),
        (AGAIN, again),
    ]
}
