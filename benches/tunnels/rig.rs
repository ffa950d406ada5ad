//! A tunnel between two hosts, a third behind one of them, and what flows.

use super::ends::End;
use super::host::{Host, command, ip};
use super::machine::read;
use super::stream::Stream;
use super::{Direction, Frames, Kind, WIRE};
use std::time::{Duration, Instant};

/// Until TCP sends as fast as it can again, and until what is underway has come.
const SETTLES: Duration = Duration::from_millis(30);
const EMPTIES: Duration = Duration::from_millis(10);

pub struct Rig {
    /// The mobile node is the first host, its home agent the second.
    hosts: [Host; 2],
    ends: Vec<End>,
    stream: Option<Stream>,
    #[expect(dead_code, reason = "kept")]
    correspondent: Host,
    octets: u64,
    seconds: f64,
    busy: f64,
}

pub struct Measured {
    pub gigabits_per_second: f64,
    pub seconds_per_gigabit: f64,
}

impl Rig {
    pub fn set_up(kind: Kind, frames: Frames, direction: Direction) -> Self {
        let hosts = [Host::new(), Host::new()];
        let correspondent = Host::new();
        let [mobile, agent] = &hosts;
        let (peer, beyond) = (agent.thread, correspondent.thread);
        mobile.run(move || {
            ip(&format!(
                "link add cable type veth peer name cable netns {peer}"
            ));
        });
        agent.run(move || {
            ip(&format!(
                "link add wire type veth peer name wire netns {beyond}"
            ));
            ip(&format!("address add {}/24 dev wire", WIRE[0]));
            ip("link set wire up");
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("root");
        });
        correspondent.run(|| {
            ip(&format!("address add {}/24 dev wire", WIRE[1]));
            ip("link set wire up");
            ip(&format!("route add default via {}", WIRE[0]));
        });
        let ends: Vec<_> = hosts
            .iter()
            .enumerate()
            .map(|(at, host)| host.run(move || End::set_up(kind, at)))
            .collect();
        if frames != Frames::Large {
            for (at, host) in hosts.iter().enumerate() {
                host.run(move || {
                    if frames == Frames::Merged {
                        // A veth that could carry large packets puts none together.
                        command("ethtool", "-K cable tso off gro on");
                    }
                    let link = kind.link(at);
                    command("ethtool", &format!("-K {link} tso off gso off"));
                });
            }
            let merges = ["off", "on"][usize::from(frames == Frames::Merged)];
            for host in [agent, &correspondent] {
                host.run(move || {
                    command("ethtool", &format!("-K wire tso off gso off gro {merges}"));
                });
            }
        }
        let stream = Some(Stream::between(mobile, &correspondent, direction));
        Self {
            hosts,
            ends,
            stream,
            correspondent,
            octets: 0,
            seconds: 0.0,
            busy: 0.0,
        }
    }

    /// For so long, while nothing flows in another.
    pub fn flow(&mut self, length: Duration) {
        let stream = self.stream.as_ref().expect("it is there until the end");
        stream.flow(true);
        std::thread::sleep(SETTLES);
        let (before, busy, start) = (stream.received(), processor_seconds(), Instant::now());
        std::thread::sleep(length);
        self.octets += stream.received() - before;
        self.seconds += start.elapsed().as_secs_f64();
        self.busy += processor_seconds() - busy;
        stream.flow(false);
        std::thread::sleep(EMPTIES);
    }

    /// Whenever it flowed.
    pub fn measured(&self) -> Measured {
        assert!(self.octets > 0, "nothing came through the tunnel");
        let kilobits = u32::try_from(self.octets * 8 / 1000).expect("not that long");
        let gigabits = f64::from(kilobits) / 1e6;
        Measured {
            gigabits_per_second: gigabits / self.seconds,
            seconds_per_gigabit: self.busy / gigabits,
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        drop(self.stream.take());
        for (end, host) in self.ends.drain(..).zip(&self.hosts) {
            host.run(move || drop(end));
        }
    }
}

/// Of all processors since the start, but for niced programs: work that is none of ours has a low
/// priority where others are kept off.
fn processor_seconds() -> f64 {
    let stat = read("/proc/stat");
    let fields: Vec<f64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|field| field.parse().ok())
        .collect();
    // user, nice, system, idle, iowait, irq, softirq
    let ticks = fields[0] + fields[2] + fields[5] + fields[6];
    ticks / 100.0
}
