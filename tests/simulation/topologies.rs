//! Gateways as they are configured, and the networks that they make.

use crate::clock::Clock;
use crate::world::{Weather, World};
use std::time::Duration;
use xfrm_agent::agent::settings::{FailureAction, ProxyGroup, Settings, TunnelMode};
use xfrm_agent::ike::settings::{Peer, Timing};
use xfrm_agent::net::{Flow, MaskedAddr, Port, Protocol, Random, Secret};
use xfrm_agent::ted::proxies::Proxy;

pub const W: &str = "10.1.0.0/16";
pub const X: &str = "10.2.0.0/16";
pub const Y: &str = "10.3.0.0/16";
pub const GW_W: &str = "192.0.2.104";
pub const GW_X: &str = "203.0.113.106";
pub const GW_Y: &str = "203.0.113.107";
pub const EVERYWHERE: &str = "10.0.0.0/8";

pub const SECOND: Duration = Duration::from_secs(1);
pub const PING: Duration = Duration::from_millis(100);

pub fn proxy(local: &str, remote: &str) -> Proxy {
    let half = |s: &str| s.parse::<MaskedAddr>().unwrap();
    Proxy {
        local: half(local),
        remote: half(remote),
        protocol: Protocol::Any,
        local_port: Port::Any,
        remote_port: Port::Any,
    }
}

pub fn peer(id: &str, psk: &str, may_protect: &[&str]) -> Peer {
    Peer {
        id: id.parse().unwrap(),
        psk: Secret::from(psk.as_bytes()),
        may_protect: may_protect.iter().map(|net| net.parse().unwrap()).collect(),
        may_protect_itself: false,
        contact: false,
    }
}

pub fn settings(
    id: &str,
    proxies: &[Proxy],
    on_failure: FailureAction,
    peers: &[Peer],
) -> Settings {
    Settings {
        proxies: vec![ProxyGroup {
            name: "site".into(),
            proxies: proxies.to_vec(),
            on_failure,
            failure_lifetime: Duration::from_secs(30),
            mode: TunnelMode::Tunnel,
        }],
        peers: peers.to_vec(),
        ..Settings::bare(id.parse().unwrap())
    }
}

pub fn ping(src: &str, dst: &str) -> Flow {
    Flow {
        src: src.parse().unwrap(),
        dst: dst.parse().unwrap(),
        protocol: 1,
        ports: None,
    }
}

pub fn out() -> Flow {
    ping("10.1.0.102", "10.2.0.108")
}

/// What 104 and 106 of FIG. 1 are told.
pub fn west_and_east() -> [Settings; 2] {
    let gateway = |own: &str, [local, remote]: [&str; 2], other: &str| {
        let known = [peer(other, "secret", &[remote])];
        settings(own, &[proxy(local, remote)], FailureAction::Block, &known)
    };
    [
        gateway("gw104.example", [W, X], "gw106.example"),
        gateway("gw106.example", [X, W], "gw104.example"),
    ]
}

/// FIG. 1: 104 is node 0, 106 is node 1.
pub fn figure_1(seed: u64, weather: Weather) -> World {
    let mut world = World::new(seed, weather);
    let [west, east] = west_and_east();
    world.add("104", GW_W, &[W], west);
    world.add("106", GW_X, &[X], east);
    world.run_for(SECOND);
    world.due = vec![out(), out().reversed()];
    world
}

const NAMES: [&str; 5] = ["gw1", "gw2", "gw3", "gw4", "gw5"];

/// Up to five gateways in a row, each for one network, each believing all the others; gateway
/// `n` protects 10.`n+1`.0.0/16 towards all of [`EVERYWHERE`]. Their clocks began at different
/// times and drift by up to 200 ppm.
pub fn mesh(
    seed: u64,
    gateways: usize,
    on_failure: FailureAction,
    timing: &Timing,
    weather: Weather,
) -> World {
    let mut world = World::new(seed, weather);
    let id = |n: usize| format!("gw{}.example", n + 1);
    let net = |n: usize| format!("10.{}.0.0/16", n + 1);
    for (n, name) in NAMES.into_iter().take(gateways).enumerate() {
        let others = (0..gateways).filter(|other| *other != n);
        let peers: Vec<Peer> = others
            .map(|other| {
                let secret = format!("{}-{}", n.min(other), n.max(other));
                peer(&id(other), &secret, &[&net(other)])
            })
            .collect();
        let proxies = [proxy(&net(n), EVERYWHERE)];
        let settings = Settings {
            ike: timing.clone(),
            ..settings(&id(n), &proxies, on_failure, &peers)
        };
        let clock = Clock {
            ahead: Duration::from_millis(world.chance.u64() % 1_000_000_000),
            drift_ppm: (world.chance.u64() % 401) as i32 - 200,
        };
        let address = format!("192.0.2.{}", n + 1);
        world.add_with_clock(name, &address, &[&net(n)], settings, clock);
    }
    world.run_for(SECOND);
    if on_failure == FailureAction::Block {
        world.due = every_pair(gateways);
    }
    world
}

/// From the host behind gateway `from` of a mesh to the one behind `to`.
pub fn across(from: usize, to: usize) -> Flow {
    ping(
        &format!("10.{}.0.9", from + 1),
        &format!("10.{}.0.9", to + 1),
    )
}

/// Each of `gateways` to each other.
pub fn every_pair(gateways: usize) -> Vec<Flow> {
    let pairs = (0..gateways).flat_map(|a| (0..gateways).map(move |b| (a, b)));
    let pairs = pairs.filter(|(a, b)| a != b);
    pairs.map(|(a, b)| across(a, b)).collect()
}
