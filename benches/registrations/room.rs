//! The protocol room alone, on one thread.

use super::spread::Spread;
use super::{AGENT, home, security};
use nix::time::{ClockId, clock_gettime};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};
use xfrm_agent::mobile_ip::home_agent::HomeAgent;
use xfrm_agent::mobile_ip::home_agent::effects::{Effect, Input};
use xfrm_agent::mobile_ip::home_agent::settings::{
    HomeLink, Limits, MobileNode, NatTraversal, ReverseTunnel, Settings,
};
use xfrm_agent::mobile_ip::replay::Clock;
use xfrm_agent::mobile_ip::security::Algorithm;
use xfrm_agent::mobile_ip::wire::{AuthenticationKind, Flags, RegistrationRequest};
use xfrm_agent::mobile_ip::{Datagram, Via};
use xfrm_agent::net::random::Seeded;

const UNIX: Duration = Duration::from_secs(1_800_000_000);

pub fn measure(counts: &[u32], rounds: usize) {
    println!("{rounds} rounds; median (least - most); a second of the thread's processor time\n");
    println!("| bindings | algorithm | first, a second | renewed, a second |");
    println!("| --- | --- | --- | --- |");
    for algorithm in [Algorithm::HmacMd5, Algorithm::HmacSha256] {
        for count in counts {
            let measured = (0..rounds).map(|_| round(*count, algorithm));
            let (first, renewed): (Vec<_>, Vec<_>) = measured.unzip();
            let (first, renewed) = (Spread::of(first), Spread::of(renewed));
            let (first, renewed) = (first.show(0), renewed.show(0));
            println!("| {count} | {algorithm:?} | {first} | {renewed} |");
        }
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
        home_network: "10.64.0.0/10".parse().expect("a prefix"),
        home_link: HomeLink::Virtual,
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
        let care_of = Ipv4Addr::from(0x6440_0000 + n);
        let mut payload = RegistrationRequest {
            flags: Flags::DECAPSULATION | Flags::REVERSE_TUNNEL,
            lifetime: 300,
            home: home(n),
            home_agent: AGENT,
            care_of,
            identification: clock.timestamp(now).into(),
            extensions: Vec::new(),
        }
        .encode();
        security.sign(AuthenticationKind::MobileHome, &mut payload);
        Datagram {
            via: Via::Routed,
            local: SocketAddrV4::new(AGENT, 434),
            remote: SocketAddrV4::new(care_of, 434),
            payload,
        }
    };
    (0..count).map(request).collect()
}

/// A second: of first registrations, and of their renewals.
fn round(count: u32, algorithm: Algorithm) -> (f64, f64) {
    let start = Instant::now();
    let clock = Clock::new(start, UNIX);
    let settings = settings(count, algorithm);
    let random = Box::new(Seeded(1));
    let mut agent = HomeAgent::new(start, clock, settings, Vec::new(), random);
    let mut pass = |seconds| {
        let now = start + Duration::from_secs(seconds);
        let requests = requests(now, &clock, count, algorithm);
        let began = processor_time();
        let mut sent = 0;
        for request in requests {
            agent.handle(now, Input::Datagram(request));
            while let Some(effect) = agent.poll_effect() {
                sent += u32::from(matches!(effect, Effect::Send(_)));
            }
        }
        let took = processor_time().saturating_sub(began);
        assert_eq!(sent, count);
        f64::from(count) / took.as_secs_f64()
    };
    let both = (pass(0), pass(1));
    assert_eq!(agent.view(start).count(), count as usize);
    both
}

/// Of this thread: what others do with the processor does not count.
fn processor_time() -> Duration {
    let clock = ClockId::CLOCK_THREAD_CPUTIME_ID;
    clock_gettime(clock).expect("every thread has one").into()
}
