//! How many registrations a second the home agent's room takes, by the number of its bindings.
//!
//! `cargo bench --bench registrations`. Needs no root.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};
use xfrm_agent::mobile_ip::home_agent::HomeAgent;
use xfrm_agent::mobile_ip::home_agent::effects::{Effect, Input};
use xfrm_agent::mobile_ip::home_agent::settings::{
    Limits, MobileNode, NatTraversal, ReverseTunnel, Settings,
};
use xfrm_agent::mobile_ip::replay::Clock;
use xfrm_agent::mobile_ip::security::{Algorithm, ReplayProtection, SecurityAssociation};
use xfrm_agent::mobile_ip::wire::{AuthenticationKind, Flags, RegistrationRequest};
use xfrm_agent::mobile_ip::{Datagram, Via};
use xfrm_agent::net::Secret;
use xfrm_agent::net::random::Seeded;

const AGENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const UNIX: Duration = Duration::from_secs(1_800_000_000);

fn main() {
    println!("| bindings | algorithm | first, a second | refresh, a second | memory each |");
    println!("| --- | --- | --- | --- | --- |");
    for algorithm in [Algorithm::HmacMd5, Algorithm::HmacSha256] {
        for count in [1_000, 10_000, 100_000] {
            measure(count, algorithm);
        }
    }
}

fn home(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a10_0000 + n)
}

fn security(algorithm: Algorithm) -> SecurityAssociation {
    SecurityAssociation {
        spi: 256,
        algorithm,
        key: Secret::from(&b"0123456789abcdef0123456789abcdef"[..]),
        replay: ReplayProtection::default(),
    }
}

fn settings(count: u32, algorithm: Algorithm) -> Settings {
    let node = |n| MobileNode {
        home: Some(home(n)),
        nai: None,
        security: vec![security(algorithm)],
        networks: Vec::new(),
        networks6: Vec::new(),
    };
    Settings {
        address: AGENT,
        home_network: "10.16.0.0/12".parse().expect("a prefix"),
        home_link: xfrm_agent::mobile_ip::home_agent::settings::HomeLink::Virtual,
        mobile_nodes: (0..count).map(node).map(Arc::new).collect(),
        foreign_agents: Vec::new(),
        pool: None,
        trusted: Vec::new(),
        encapsulations: Vec::new(),
        reverse_tunnel: ReverseTunnel::Allowed,
        nat: NatTraversal::default(),
        limits: Limits {
            rate: 1_000_000_000,
            rate_each: 1_000_000_000,
            ..Limits::default()
        },
    }
}

fn requests(now: Instant, clock: &Clock, count: u32, algorithm: Algorithm) -> Vec<Datagram> {
    let security = security(algorithm);
    let request = |n| {
        let mut payload = RegistrationRequest {
            flags: Flags::DECAPSULATION | Flags::REVERSE_TUNNEL,
            lifetime: 300,
            home: home(n),
            home_agent: AGENT,
            care_of: Ipv4Addr::from(0xc000_0000 + n),
            identification: clock.timestamp(now).into(),
            extensions: Vec::new(),
        }
        .encode();
        security.sign(AuthenticationKind::MobileHome, &mut payload);
        Datagram {
            via: Via::Routed,
            local: SocketAddrV4::new(AGENT, 434),
            remote: SocketAddrV4::new(Ipv4Addr::from(0xc000_0000 + n), 434),
            payload,
        }
    };
    (0..count).map(request).collect()
}

fn measure(count: u32, algorithm: Algorithm) {
    let start = Instant::now();
    let clock = Clock::new(start, UNIX);
    let before = resident();
    let random = Box::new(Seeded(1));
    let settings = settings(count, algorithm);
    let mut agent = HomeAgent::new(start, clock, settings, Vec::new(), random);
    let mut each = Vec::new();
    let mut used = 0;
    for round in 0..2 {
        let now = start + Duration::from_secs(round);
        let requests = requests(now, &clock, count, algorithm);
        let begin = Instant::now();
        let mut sent = 0;
        for request in requests {
            agent.handle(now, Input::Datagram(request));
            while let Some(effect) = agent.poll_effect() {
                sent += u32::from(matches!(effect, Effect::Send(_)));
            }
        }
        each.push(f64::from(count) / begin.elapsed().as_secs_f64());
        assert_eq!(sent, count);
        used = resident().saturating_sub(before);
    }
    assert_eq!(agent.view(start).count(), count as usize);
    println!(
        "| {count} | {algorithm:?} | {:.0} | {:.0} | {} octets |",
        each[0],
        each[1],
        used * 1024 / u64::from(count)
    );
}

/// KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().split(' ').next()?.parse().ok());
    kib.unwrap_or_default()
}
