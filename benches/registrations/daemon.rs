//! The daemon as it is, in network namespaces: from its socket through the room, the store and the kernel, and back.

use super::host::ip;
use super::machine::{output, read};
use super::network::{Network, Tunnels};
use super::nodes::{Nodes, Registered};
use super::number;
use super::spread::Spread;
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Octets, of a packet in a tunnel of IP in IP.
const MTU: u16 = 1480;

/// One network for each number of bindings; all stay until the end, so that what they forward can be compared in turns.
struct Crowd {
    count: u32,
    network: Network,
    areas: [Arc<Nodes>; 2],
}

struct Measured {
    a_second: f64,
    /// Of the agent, for each registration.
    microseconds: f64,
    repeated: u32,
}

const WHAT: [&str; 4] = ["first", "renewed", "moved", "ended"];

pub fn measure(tunnels: Tunnels, counts: &[u32], rounds: usize) {
    touch_memory();
    let iperf3 = output("iperf3", &["--version"]);
    println!("{}", iperf3.lines().next().unwrap_or_default());
    println!(
        "{rounds} rounds; median (least - most); the mobile nodes had to share the processors with the agent\n"
    );
    println!("| bindings | registrations | a second | processor time of the agent each, µs |");
    println!("| --- | --- | --- | --- |");
    let mut memory = Vec::new();
    let mut crowds = Vec::new();
    for count in counts {
        let mut crowd = Crowd::new(*count, tunnels);
        let unbound = crowd.network.resident();
        let rows = crowd.register(rounds);
        for (what, measured) in WHAT.iter().zip(&rows) {
            // With one round nobody is at home again.
            if measured.is_empty() {
                continue;
            }
            let speed = Spread::of(measured.iter().map(|it| it.a_second)).show(0);
            let cost = Spread::of(measured.iter().map(|it| it.microseconds)).show(0);
            let repeated: u32 = measured.iter().map(|it| it.repeated).sum();
            let again = match repeated {
                0 => String::new(),
                again => format!(", {again} asked again"),
            };
            println!("| {count} | {what}{again} | {speed} | {cost} |");
        }
        memory.push(crowd.memory(unbound));
        crowds.push(crowd);
    }
    println!(
        "\n| bindings | agent with none, MB | octets more for each | all octets for each | in the store | back after kill -9, s |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    for row in memory {
        println!("{row}");
    }
    if tunnels == Tunnels::InKernel {
        forward(&crowds, rounds);
    }
}

/// A guest's memory is slow when it is used for the first time, because its host has to find it.
fn touch_memory() {
    const PAGE: usize = 4096;
    if !read("/proc/cpuinfo").contains("User Mode Linux") {
        return;
    }
    let available = read("/proc/meminfo");
    let available = available.lines().find_map(|line| {
        let kib = line.strip_prefix("MemAvailable:")?.trim();
        kib.split(' ').next()?.parse::<usize>().ok()
    });
    // As much as leaves room for everybody else.
    let mut octets = vec![0u8; available.unwrap_or_default() * 1024 / 10 * 9];
    octets.iter_mut().step_by(PAGE).for_each(|octet| *octet = 1);
    std::hint::black_box(&octets);
}

impl Crowd {
    fn new(count: u32, tunnels: Tunnels) -> Self {
        let network = Network::new(count);
        let area = |area| {
            let nodes = move || Arc::new(Nodes::in_area(area, count, tunnels));
            network.nodes.run(nodes)
        };
        let areas = [area(0), area(1)];
        Self {
            count,
            network,
            areas,
        }
    }

    /// In the order of [`WHAT`].
    fn register(&self, rounds: usize) -> [Vec<Measured>; 4] {
        let mut all: [Vec<Measured>; 4] = Default::default();
        for round in 0..rounds {
            if round > 0 {
                all[3].push(self.measured(1, 0));
                self.await_bindings(0);
            }
            all[0].push(self.measured(0, 1800));
            self.await_bindings(self.count as usize);
            all[1].push(self.measured(0, 1800));
            all[2].push(self.measured(1, 1800));
            self.await_bindings(self.count as usize);
        }
        all
    }

    fn measured(&self, area: usize, lifetime: u16) -> Measured {
        let nodes = Arc::clone(&self.areas[area]);
        let before = self.network.processor_time();
        let Registered { took, repeated } =
            self.network.nodes.run(move || nodes.register(lifetime));
        // What is left to do when all are answered is part of it.
        std::thread::sleep(Duration::from_millis(100));
        let busy = self.network.processor_time() - before;
        Measured {
            a_second: f64::from(self.count) / took.as_secs_f64(),
            microseconds: busy * 1e6 / f64::from(self.count),
            repeated,
        }
    }

    fn await_bindings(&self, expected: usize) {
        let found = self.network.bindings();
        assert_eq!(found, Some(expected), "bindings");
    }

    /// A row of the table.
    fn memory(&mut self, unbound: u64) -> String {
        let count = u64::from(self.count);
        // What is forgotten two seconds after a move has gone by then.
        std::thread::sleep(Duration::from_secs(3));
        let resident = self.network.resident();
        let stored = self.network.stored() / count;
        let more = resident.saturating_sub(unbound) / count;
        self.network.kill();
        let began = Instant::now();
        self.network.start();
        self.await_bindings(self.count as usize);
        format!(
            "| {count} | {} | {more} | {} | {stored} | {:.1} |",
            unbound / 1_000_000,
            resident / count,
            began.elapsed().as_secs_f64(),
        )
    }

    /// One mobile node gets its end of the tunnel, and gives its home address.
    fn open_tunnel(&self) -> Ipv4Addr {
        let (home, care_of) = self.areas[1].first();
        self.network.nodes.run(move || {
            let agent = super::AGENT;
            ip(&format!(
                "link add tunnel type ipip local {care_of} remote {agent} ttl 64"
            ));
            ip(&format!("address add {home}/32 dev tunnel"));
            ip(&format!("link set tunnel mtu {MTU} up"));
            ip(&format!("route add 192.0.3.0/24 dev tunnel src {home}"));
        });
        home
    }
}

/// Gigabits a second through each home agent, in turns.
fn forward(crowds: &[Crowd], rounds: usize) {
    let seconds = number("LENGTH", 3);
    println!("\n| bindings | direction | Gbit/s, one TCP connection | of the first row's |");
    println!("| --- | --- | --- | --- |");
    let homes: Vec<_> = crowds.iter().map(Crowd::open_tunnel).collect();
    for (direction, reverse) in [("to the mobile node", ""), ("from the mobile node", "-R")] {
        let mut speeds = vec![Vec::new(); crowds.len()];
        for _ in 0..rounds {
            for ((crowd, home), speeds) in crowds.iter().zip(&homes).zip(&mut speeds) {
                speeds.push(crowd.transfer(*home, seconds, reverse));
            }
        }
        let spreads: Vec<_> = speeds.into_iter().map(Spread::of).collect();
        for (crowd, spread) in crowds.iter().zip(&spreads) {
            let share = spread.median / spreads[0].median;
            let (count, speed) = (crowd.count, spread.show(2));
            println!("| {count} | {direction} | {speed} | {share:.2} |");
        }
    }
}

impl Crowd {
    fn transfer(&self, home: Ipv4Addr, seconds: usize, reverse: &'static str) -> f64 {
        let server = move || iperf(&format!("-s -1 -B {home}"));
        let mut server = self.network.nodes.run(server);
        std::thread::sleep(Duration::from_millis(300));
        let client = move || iperf(&format!("-c {home} -t {seconds} -J {reverse}"));
        let client = self.network.correspondent.run(client);
        let said = client.wait_with_output().expect("iperf3 ends");
        server.kill().ok();
        server.wait().expect("it has ended");
        let said: serde_json::Value = serde_json::from_slice(&said.stdout).expect("JSON of iperf3");
        let speed = said["end"]["sum_received"]["bits_per_second"].as_f64();
        speed.unwrap_or_else(|| panic!("{said}")) / 1e9
    }
}

fn iperf(arguments: &str) -> Child {
    Command::new("iperf3")
        .args(arguments.split_whitespace())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("iperf3 is installed")
}
