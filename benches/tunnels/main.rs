//! Throughput of the data paths of mobility beside a tunnel of the kernel's, in the same run.
//!
//! `cargo bench --bench tunnels -- userspace` on a kernel with TUN and VXLAN: the carrier beside
//! VXLAN. `-- kernel` on one with IP in IP: routes that encapsulate, as the agent makes them, at either end and at both,
//! beside bare tunnel devices. As root, with ethtool. Each tunnel has its own network namespaces and TCP connection; they flow
//! in short turns, every second time in the opposite order, and are made anew for each round:
//!
//! ```text
//!  mobile node ─── cable: a tunnel ─── home agent ─── wire ─── correspondent
//! ```

#[path = "../common/host.rs"]
mod host;
#[path = "../common/machine.rs"]
mod machine;
#[path = "../common/spread.rs"]
mod spread;

mod ends;
mod rig;
mod stream;

use machine::{machine, output};
use rig::{Measured, Rig};
use spread::Spread;
use std::net::Ipv4Addr;
use std::time::Duration;
use xfrm_agent::kernel::desired::LinkName;

/// Of the cable's ends, and of the tunnel's.
const OUTER: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)];
const INNER: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 9, 0, 2)];
/// The wire's ends: the home agent's, and the correspondent.
const WIRE: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 8, 0, 1), Ipv4Addr::new(10, 8, 0, 2)];
const WIRE_NETWORK: &str = "10.8.0.0";
const TUNNEL: LinkName = LinkName::literal("xa-ipip");

/// Turns of a tunnel in a round: what else the machine does comes and goes within fewer.
const TURNS: u32 = 8;

/// With fewer rounds not even the least and the most have the median between them 19 times in 20.
const FEWEST: usize = 6;

fn main() {
    let mode = std::env::args().nth(1).unwrap_or_default();
    let rounds: usize = number("ROUNDS", 40);
    let seconds: f64 = number("LENGTH", 0.4);
    assert!(rounds >= FEWEST, "ROUNDS is at least {FEWEST}");
    assert!(nix::unistd::geteuid().is_root(), "needs root");
    // The bare one first.
    let (kinds, sizes): (&[_], &[_]) = match mode.as_str() {
        "kernel" => (
            &[[false, false], [true, false], [false, true], [true, true]].map(Kind::InIp),
            &[Frames::Large, Frames::Mtu, Frames::Merged],
        ),
        _ => (
            &[Kind::Vxlan, Kind::Carrier, Kind::Crowded],
            &[Frames::Large, Frames::Mtu],
        ),
    };
    println!("{}", machine());
    println!("{}", output("ip", &["-V"]));
    println!(
        "{rounds} rounds, {seconds} s of each in {TURNS} turns; median (least - most); of the other's, which is that of the same round: median (between which it is, 19 times in 20); processor seconds of the whole machine without niced programs\n"
    );
    println!("| frames | direction | tunnel | Gbit/s | of the other's | processor s a Gbit |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for &frames in sizes {
        for direction in [Direction::Up, Direction::Down] {
            let length = Duration::from_secs_f64(seconds);
            let measured = in_turns(kinds, frames, direction, (rounds, length));
            report(kinds, frames, direction, &measured);
        }
    }
}

fn number<T: std::str::FromStr>(name: &str, usual: T) -> T {
    let given = std::env::var(name).ok();
    given.map_or(usual, |given| {
        let number = given.parse().ok();
        number.unwrap_or_else(|| panic!("{name} is a number, not '{given}'"))
    })
}

/// For each kind what each round measured.
fn in_turns(
    kinds: &[Kind],
    frames: Frames,
    direction: Direction,
    (rounds, length): (usize, Duration),
) -> Vec<Vec<Measured>> {
    let mut measured: Vec<_> = kinds.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        // Anew for each round: a connection may be lucky with what the processor keeps of it.
        let set_up = |&kind| Rig::set_up(kind, frames, direction);
        let mut rigs: Vec<_> = kinds.iter().map(set_up).collect();
        for turn in 0..TURNS {
            let flow = |rig: &mut Rig| rig.flow(length / TURNS);
            // Whatever grows during a round is to nobody's advantage.
            if turn % 2 == 0 {
                rigs.iter_mut().for_each(flow);
            } else {
                rigs.iter_mut().rev().for_each(flow);
            }
        }
        for (rig, measured) in rigs.iter().zip(&mut measured) {
            measured.push(rig.measured());
        }
    }
    measured
}

fn report(kinds: &[Kind], frames: Frames, direction: Direction, measured: &[Vec<Measured>]) {
    let bare = &measured[0];
    for (kind, measured) in kinds.iter().zip(measured) {
        let each = |of: fn(&Measured) -> f64| Spread::of(measured.iter().map(of));
        let speed = each(|m| m.gigabits_per_second);
        let cost = each(|m| m.seconds_per_gigabit);
        // Round by round: the machine is not the same from one minute to the next.
        let pairs = measured.iter().zip(bare);
        let share = pairs.map(|(m, bare)| m.gigabits_per_second / bare.gigabits_per_second);
        let (frames, direction, name) = (frames.name(), direction.name(), kind.name());
        let share = median(share.collect());
        let (speed, cost) = (speed.show(1), cost.show(3));
        println!("| {frames} | {direction} | {name} | {speed} | {share} | {cost} |");
    }
}

/// With what the true one is between, 19 times in 20 at least. Each of `n` values is below that or not as a coin shows heads or
/// not: as many are as half of `n`, give or take two standard deviations, which are the root of `n`, and one.
fn median(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    let outside = ((n - (4 * n).isqrt()) / 2).saturating_sub(1);
    let (median, low, high) = (values[n / 2], values[outside], values[n - 1 - outside]);
    format!("{median:.3} ({low:.3} - {high:.3})")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Vxlan,
    Carrier,
    /// With as many other mobile nodes at the home agent as it may have.
    Crowded,
    /// IP in IP of the kernel's: at which ends it is as the agent makes it, at the mobile node and at its home agent, and not a
    /// bare device.
    InIp([bool; 2]),
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Vxlan => "kernel VXLAN",
            Self::Carrier => "agent, in user space (UDP)",
            Self::Crowded => "the same, 100,000 bindings",
            Self::InIp([false, false]) => "kernel ipip",
            Self::InIp([true, false]) => "agent at the mobile node (ipip)",
            Self::InIp([false, true]) => "agent at the home agent (ipip)",
            Self::InIp([true, true]) => "agent at both (ipip)",
        }
    }

    /// What sends through the tunnel at one end.
    fn link(self, at: usize) -> LinkName {
        match self {
            Self::InIp(ours) if ours[at] => TUNNEL,
            _ => LinkName::literal("tunnel"),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Frames {
    /// TCP hands over up to 64 kB at once.
    Large,
    /// Without TSO and GSO on the tunnel.
    Mtu,
    /// The same, over a cable that puts packets together again before the tunnel sees them, as network cards do.
    Merged,
}

impl Frames {
    fn name(self) -> &'static str {
        match self {
            Self::Large => "TSO",
            Self::Mtu => "MTU",
            Self::Merged => "MTU, GRO",
        }
    }
}

#[derive(Clone, Copy)]
enum Direction {
    /// From the mobile node.
    Up,
    Down,
}

impl Direction {
    fn name(self) -> &'static str {
        match self {
            Self::Up => "to the home agent",
            Self::Down => "to the mobile node",
        }
    }
}
