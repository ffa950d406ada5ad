//! Install, reconcile and removal of many policies, beside `ip -batch` in the same run.
//!
//! `cargo bench --bench policies [-- COUNT...]` as root. Every round has a network namespace of its
//! own; the first round of each is left out, because it makes the kernel's tables grow.

use nix::sched::{CloneFlags, unshare};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};
use xfrm_agent::kernel::desired::{
    Action, Change, Direction, Key, Lifetime, Mark, Object, Policy, PolicyKey, Revision,
};
use xfrm_agent::kernel::ownership::Band;
use xfrm_agent::kernel::writer::{Options, Report, Writer};
use xfrm_agent::net::{IpNet, Selector};

const ROUNDS: usize = 7;

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
    println!("Linux {}", read("/proc/sys/kernel/osrelease"));
    println!("{}", cpu());
    println!("{}", output("ip", &["-V"]));
    println!("{ROUNDS} rounds each; median (fastest - slowest) in milliseconds\n");
    println!("| policies | what | xfrm-agent | ip -batch | times |");
    println!("| --- | --- | --- | --- | --- |");
    for count in counts {
        let mut rows: BTreeMap<(usize, &str), [Vec<Duration>; 2]> = BTreeMap::new();
        for round in 0..=ROUNDS {
            let ours = in_namespace(move || agent_round(count));
            let theirs = in_namespace(move || ip_round(count));
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
            let (a, b) = (median(&ours), median(&theirs));
            let times = b.as_secs_f64() / a.as_secs_f64();
            println!(
                "| {count} | {what} | {} | {} | {times:.1} |",
                show(&ours),
                show(&theirs)
            );
        }
    }
}

type Measured = Vec<(&'static str, Duration)>;

/// /24 pairs, as far as the numbers go.
fn selector(n: usize) -> Selector {
    let net = |base: u32| {
        let addr = std::net::Ipv4Addr::from(base + ((n as u32) << 8));
        IpNet::new(addr.into(), 24).expect("24 is a length")
    };
    Selector::between(net(0x0a00_0000), net(0x2000_0000))
}

fn policy(n: usize) -> Policy {
    let selector = selector(n);
    Policy {
        key: PolicyKey {
            direction: Direction::Out,
            selector,
            mark: Mark::default(),
            if_id: 0,
        },
        priority: Band::Enforce.priority(selector.specificity()),
        action: Action::Block,
        lifetime: Lifetime::default(),
    }
}

fn agent_round(count: usize) -> Measured {
    let directory = tempfile::tempdir().expect("a directory");
    let runtime_dir = directory.path().to_owned();
    let (writer, _, mut reports) = Writer::start(Options { runtime_dir }).expect("root");
    let mut revision = 0;
    let mut apply = |change: Change| {
        revision += 1;
        let awaited = Revision(revision);
        let start = Instant::now();
        writer.apply(Change {
            revision: awaited,
            ..change
        });
        loop {
            match reports.blocking_recv().expect("the writer runs") {
                Report::Applied { revision } if revision >= awaited => return start.elapsed(),
                Report::Refused { refusal, .. } => panic!("{refusal}"),
                _ => {}
            }
        }
    };
    let put: Vec<Object> = (0..count).map(|n| Object::Policy(policy(n))).collect();
    let remove: Vec<Key> = put.iter().map(Object::key).collect();
    let install = apply(Change {
        put: put.clone(),
        ..Change::default()
    });
    let reconcile = apply(Change {
        put,
        ..Change::default()
    });
    let removal = apply(Change {
        remove,
        ..Change::default()
    });
    vec![
        ("install", install),
        ("no change", reconcile),
        ("removal", removal),
    ]
}

/// Removal by index, which `ip` can do as well, and which is its fast way.
fn ip_round(count: usize) -> Measured {
    let mut add = String::new();
    let mut delete = String::new();
    for n in 0..count {
        let Selector { src, dst, .. } = selector(n);
        let index = 0x6000_0001 + 8 * n as u32;
        let rest = format!("src {src} dst {dst} dir out index {index} action block priority 15000");
        writeln!(add, "xfrm policy add {rest}").expect("memory");
        writeln!(delete, "xfrm policy delete dir out index {index}").expect("memory");
    }
    let batch = |commands: &str| {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(commands.as_bytes()).expect("room for it");
        let start = Instant::now();
        let status = Command::new("ip").arg("-batch").arg(file.path()).status();
        assert!(status.expect("ip is installed").success());
        start.elapsed()
    };
    let install = batch(&add);
    // An update by selector walks the whole tree, minutes for 50,000; a look at everything is the
    // least that whoever compares has to do.
    let start = Instant::now();
    let listed = output("ip", &["xfrm", "policy", "list"]);
    let list = start.elapsed();
    assert!(listed.lines().count() >= count);
    vec![
        ("install", install),
        ("no change", list),
        ("removal", batch(&delete)),
    ]
}

fn in_namespace<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("root may make a network namespace");
            work()
        });
        thread.join().expect("the round ends")
    })
}

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

fn show(times: &[Duration]) -> String {
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let least = times.iter().min().copied().unwrap_or_default();
    let most = times.iter().max().copied().unwrap_or_default();
    format!(
        "{:.1} ({:.1} - {:.1})",
        ms(median(times)),
        ms(least),
        ms(most)
    )
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .expect("it is installed");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn cpu() -> String {
    let info = read("/proc/cpuinfo");
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = info.matches("processor\t").count();
    format!("{cores} x {}", model.map_or("?", |(_, name)| name))
}
