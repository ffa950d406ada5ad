//! From a change of presence to the policies in the kernel.
//!
//! `cargo bench --bench presence` as root, in network namespaces of its own. The agent and its
//! kernel writer as they are; no peer answers, so no time of IKE is in it.

mod common;

use common::machine::{machine, output, read};
use common::{Spread, in_namespace};
use nix::time::{ClockId, clock_gettime};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedReceiver;
use xfrm_agent::agent::Agent;
use xfrm_agent::agent::effect::{Effect, Reply, Routes};
use xfrm_agent::agent::event::{Command, Event, KernelEvent, Token};
use xfrm_agent::agent::presence::commands::{PresenceCommand, SetPresence};
use xfrm_agent::agent::presence::settings::{Contact, PresenceSettings, Tell};
use xfrm_agent::agent::settings::{FailureAction, OnStop, ProxyGroup, Settings, TunnelMode};
use xfrm_agent::ike::settings::Peer;
use xfrm_agent::kernel::desired::{Mark, Revision};
use xfrm_agent::kernel::writer::{Options, Report, Stop, Writer};
use xfrm_agent::net::random::Seeded;
use xfrm_agent::net::{Port, Protocol, Secret};
use xfrm_agent::presence::row::{Level, Mode};
use xfrm_agent::presence::rules::{Rule, Rulebook, Site, When};
use xfrm_agent::presence::{Class, Location, Protection, Protocols, Timestamp};
use xfrm_agent::ted::proxies::Proxy;

/// Each to external and back.
const CHANGES: usize = 500;
/// Proxies of discovery beside it: three policies each.
const PROXIES: usize = 16_667;
const ROUNDS: usize = 5;

fn main() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "needs root for network namespaces"
    );
    println!("{}", machine());
    println!("\nOne contact goes to another place and comes back, {CHANGES} times; milliseconds\n");
    println!("| other policies | median | 99th percentile | slowest |");
    println!("| --- | --- | --- | --- |");
    for proxies in [0, PROXIES] {
        let spread = in_namespace(move || one_by_one(proxies));
        println!(
            "| {} | {:.2} | {:.2} | {:.2} |",
            proxies * 3,
            spread.percentile(50),
            spread.percentile(99),
            spread.percentile(100)
        );
    }
    println!("\nAll contacts change at once, {ROUNDS} rounds; median (fastest - slowest)\n");
    println!(
        "| contacts | caches | stricter, ms | relaxed, ms | processor time, ms | memory, MB |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    let caches = [Caches::OfOthers, Caches::Ours];
    for (caches, contacts) in caches.map(|c| [(c, 1_000), (c, 10_000)]).concat() {
        let all = in_namespace(move || all_at_once(contacts, caches));
        println!(
            "| {contacts} | {caches} | {} | {} | {} | {} |",
            all.stricter.show(),
            all.relaxed.show(),
            all.processor.show(),
            all.memory
        );
    }
}

struct Onward;

impl Routes for Onward {
    fn source_towards(&mut self, _: IpAddr) -> Option<IpAddr> {
        Some(OWN)
    }
}

const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

fn address(n: usize) -> IpAddr {
    Ipv4Addr::from(0x0a00_0100 + n as u32).into()
}

fn location(name: &str) -> Location {
    name.parse().expect("a location")
}

fn settings(contacts: usize, proxies: usize) -> Settings {
    let peer = |n: usize| format!("peer{n}.example").parse().expect("an identity");
    let strict = Protection::require(Protocols::AH_ESP);
    let rule = |place: &str, then| Rule {
        when: When {
            location: Some(location(place)),
            ..When::default()
        },
        class: Class::ANY,
        then,
        mode: Mode::Transport,
        end_point: None,
        esp_behind_nat: false,
    };
    let between = |n: usize| Proxy {
        local: format!("172.{}.{}.0/24", 16 + n / 256 % 16, n % 256)
            .parse()
            .expect("masked"),
        remote: Ipv4Addr::from(0x3000_0000 + ((n as u32) << 8))
            .to_string()
            .parse()
            .expect("masked"),
        protocol: Protocol::Any,
        local_port: Port::Any,
        remote_port: Port::Any,
    };
    Settings {
        proxies: vec![ProxyGroup {
            name: "others".into(),
            proxies: (0..proxies).map(between).collect(),
            on_failure: FailureAction::Block,
            failure_lifetime: Duration::from_secs(30),
            mode: TunnelMode::Tunnel,
        }],
        peers: (0..contacts)
            .map(|n| Peer {
                id: peer(n),
                psk: Secret::from(&b"not used"[..]),
                may_protect: Vec::new(),
                may_protect_itself: true,
                contact: true,
            })
            .collect(),
        on_stop: OnStop::Remove,
        presence: Some(PresenceSettings {
            entity: "own@example.com".parse().expect("an entity"),
            user: None,
            location: location("office"),
            rulebook: Rulebook {
                rules: vec![rule("office", Protection::CLEAR), rule("external", strict)],
                sites: vec![Site {
                    location: location("office"),
                    addresses: vec!["10.0.0.0/16".parse().expect("a prefix")],
                    anchor: None,
                    anchor_address: None,
                    gateway_macs: Vec::new(),
                }],
                unknown: strict,
                default_level: Level::Require,
            },
            dwell: Duration::ZERO,
            lifetime: Duration::from_secs(600),
            expiry: Duration::from_secs(3600),
            mark: Mark {
                value: 0,
                mask: 0x2000_0000,
            },
            max_contacts: contacts,
            contacts: (0..contacts)
                .map(|n| Contact {
                    entity: format!("peer{n}@example.com").parse().expect("an entity"),
                    peer: peer(n),
                    addresses: vec![address(n)],
                    floor: Protection::CLEAR,
                    tell: Tell::default(),
                    subscribe: false,
                })
                .collect(),
        }),
        vpn: xfrm_agent::agent::vpn::settings::VpnSettings::default(),
        ..Settings::bare("own.example".parse().expect("an identity"))
    }
}

/// The agent with its writer, and what they have said.
struct Machine {
    agent: Agent,
    writer: Writer,
    reports: UnboundedReceiver<Report>,
    applied: Revision,
    wanted: Revision,
    replies: VecDeque<Reply>,
    _directory: tempfile::TempDir,
}

impl Machine {
    fn start(settings: Settings) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let options = Options {
            runtime_dir: directory.path().to_owned(),
        };
        let (writer, _, reports) = Writer::start(options).expect("root");
        let now = Instant::now();
        let mut seed = 0;
        let random = move || -> Box<dyn xfrm_agent::net::Random> {
            seed += 1;
            Box::new(Seeded(seed))
        };
        let agent = Agent::new(now, settings, &[], Box::new(Onward), random).expect("masks");
        let mut machine = Self {
            agent,
            writer,
            reports,
            applied: Revision(0),
            wanted: Revision(0),
            replies: VecDeque::new(),
            _directory: directory,
        };
        machine.handle(Event::Found(Vec::new()));
        machine.handle(Event::Addresses(vec![OWN]));
        let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        machine.handle(Event::WallClock {
            unix: Timestamp(unix.expect("after 1970").as_secs()),
            offset: 0,
            doubt: None,
        });
        machine.settle();
        machine
    }

    fn handle(&mut self, event: Event) {
        self.agent.handle(Instant::now(), event);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.agent.poll_effect() {
            match effect {
                Effect::Kernel(change) => {
                    self.wanted = change.revision;
                    self.writer.apply(change);
                }
                Effect::Reply { reply, .. } => self.replies.push_back(reply),
                _ => {}
            }
        }
    }

    /// Until the kernel has everything, also what waited for the dwell time of nothing.
    fn settle(&mut self) {
        loop {
            let now = Instant::now();
            while self.agent.poll_timeout().is_some_and(|at| at <= now) {
                self.agent.handle_timeout(now);
                self.carry_out();
            }
            if self.applied >= self.wanted {
                return;
            }
            match self.reports.blocking_recv().expect("the writer runs") {
                Report::Applied { revision } => {
                    self.applied = revision;
                    self.handle(Event::Kernel(KernelEvent::Applied { revision }));
                }
                Report::Refused { refusal, .. } => panic!("{refusal}"),
                _ => {}
            }
        }
    }

    fn set(&mut self, n: usize, place: &str) {
        let command = PresenceCommand::Set(SetPresence {
            entity: format!("peer{n}@example.com").parse().expect("an entity"),
            addresses: vec![address(n)],
            user: None,
            location: location(place),
            valid: None,
            hint: false,
        });
        self.handle(Event::Command {
            token: Token(0),
            command: Command::Presence(command),
        });
        match self.replies.pop_front() {
            Some(Reply::Done) => {}
            other => panic!("{other:?}"),
        }
    }

    fn stop(self) {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.build().expect("a runtime");
        runtime.block_on(self.writer.stop(Stop::Remove));
    }
}

fn one_by_one(proxies: usize) -> Spread {
    let mut machine = Machine::start(settings(1, proxies));
    let mut times = Vec::new();
    for n in 0..2 * CHANGES + 20 {
        let place = ["office", "external"][n % 2];
        let (start, before) = (Instant::now(), machine.wanted);
        machine.set(0, place);
        machine.settle();
        // The first ones fill the caches.
        if n >= 20 {
            times.push(start.elapsed());
        }
        assert!(machine.wanted > before, "{place} changes something");
        if n < 2 {
            let policies = output("ip", &["xfrm", "policy", "list", "dir", "out"]);
            assert_eq!(policies.contains("0/0x20000000"), place == "office");
        }
    }
    machine.stop();
    Spread::of(times)
}

const SETTLING: Duration = Duration::from_millis(300);

/// What the processor's caches hold when a round begins.
#[derive(Clone, Copy)]
enum Caches {
    /// Something else, as where presence has not changed for a while.
    OfOthers,
    /// What the round before has left, which is everything where the contacts are few.
    Ours,
}

impl std::fmt::Display for Caches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::OfOthers => "cold",
            Self::Ours => "warm",
        })
    }
}

impl Caches {
    fn prepare(self) {
        if let Self::OfOthers = self {
            // Larger than any cache; each line is written.
            let mut other = vec![0_u8; 256 << 20];
            other.iter_mut().step_by(64).for_each(|octet| *octet = 1);
            std::hint::black_box(other);
        }
    }
}

struct AllAtOnce {
    stricter: Spread,
    relaxed: Spread,
    processor: Spread,
    memory: u64,
}

fn all_at_once(contacts: usize, caches: Caches) -> AllAtOnce {
    let mut machine = Machine::start(settings(contacts, 0));
    let mut round = |place: &str| {
        // The kernel frees what the round before has replaced on its own time.
        std::thread::sleep(SETTLING);
        caches.prepare();
        let (start, processor) = (Instant::now(), processor_time());
        (0..contacts).for_each(|n| machine.set(n, place));
        machine.settle();
        (start.elapsed(), processor_time().saturating_sub(processor))
    };
    let (mut stricter, mut relaxed, mut processor) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..=ROUNDS {
        let (up, cpu) = round("office");
        let (down, more) = round("external");
        if n > 0 {
            relaxed.push(up);
            stricter.push(down);
            processor.push(cpu + more);
        }
    }
    let memory = own_memory();
    machine.stop();
    AllAtOnce {
        stricter: Spread::of(stricter),
        relaxed: Spread::of(relaxed),
        processor: Spread::of(processor),
        memory,
    }
}

/// What this process has in memory now, in MB.
fn own_memory() -> u64 {
    let status = read("/proc/self/status");
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    resident
        .and_then(|kib| kib.parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
        / 1_000_000
}

/// What all threads of this process have had of the processors.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}
