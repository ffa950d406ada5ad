//! Random histories of links. `SEED=1234 cargo test histories` repeats one, `SEEDS=20000` tries more.

use super::networks::{ALL, Network};
use super::world::*;
use crate::mobile_ip::dual_client::*;
use crate::mobile_ip::{LinkId, Path, Place, Through};
use crate::net::Random;
use std::net::Ipv4Addr;
use std::time::Duration;

/// The same seeds every time, or the one that is named.
fn each(seeds: std::ops::Range<u64>, run: impl Fn(u64)) {
    if let Ok(seed) = std::env::var("SEED") {
        return run(seed.parse().expect("SEED is a number"));
    }
    let more = std::env::var("SEEDS").map(|count| count.parse().expect("SEEDS is a number"));
    let end = more.unwrap_or(seeds.end);
    for seed in seeds.start..end {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed)));
        if let Err(panic) = outcome {
            eprintln!("SEED={seed} repeats this");
            std::panic::resume_unwind(panic);
        }
    }
}

fn settings_of(seed: u64) -> Settings {
    let mut settings = settings();
    if seed.is_multiple_of(5) {
        settings.sites.push(site(1));
    }
    if !has_adapter(seed) {
        // S needs a V there.
        for site in &mut settings.sites {
            site.reach = Reach::Ipv4;
        }
    }
    settings.vpn = match seed % 4 {
        0 => Vpn::Absent,
        n => Vpn::Present {
            warm: n == 1,
            patience: SECOND * 10,
        },
    };
    settings
}

fn has_adapter(seed: u64) -> bool {
    !seed.is_multiple_of(7)
}

fn one_step(world: &mut World) {
    let link = 1 + world.random.u32() % 3;
    let network = ALL[world.random.u32() as usize % ALL.len()];
    match world.random.u32() % 20 {
        0 => world.input(Input::Resumed),
        1 => world.vpn_falls(),
        2 => world.advertise(link, Ipv4Addr::new(6, 6, 6, 6), SECOND * 3),
        3 => match world.plugged.get(&LinkId(link)) {
            Some(Network::InsideA) => world.plug_silently(link, Network::FakeInside),
            Some(Network::InsideHome) => world.plug_silently(link, Network::FakeHome),
            _ => {}
        },
        4 => {
            for _ in 0..10 {
                world.plug(link, Network::Unplugged);
                world.run(Duration::from_millis(50));
                world.plug(link, network);
                world.run(Duration::from_millis(50));
            }
        }
        5 => {
            let said = [Override::None, Override::Outside, Override::Blocked];
            let by_hand = said[world.random.u32() as usize % 3];
            world.input(Input::Override(by_hand));
        }
        6 | 7 => {
            let is_weak = world.weak.contains(&LinkId(link));
            world.is_weak(link, !is_weak);
        }
        _ => world.plug(link, network),
    }
    let pause = match world.random.u32() % 3 {
        0 => Duration::from_millis(u64::from(world.random.u32() % 200)),
        1 => Duration::from_millis(u64::from(world.random.u32() % 5_000)),
        _ => Duration::from_millis(u64::from(world.random.u32() % 90_000)),
    };
    world.run(pause);
}

/// Where it must be in the end, and over which adapter, by what is plugged in where.
fn right_end(world: &World) -> (bool, Option<LinkId>) {
    let best = |may_be| best(world, may_be);
    match best(Network::is_inside) {
        Some(link) => (true, Some(link)),
        None => (false, best(Network::has_internet)),
    }
}

/// The numbers of links are in the order of their metrics.
fn best(world: &World, may_be: fn(Network) -> bool) -> Option<LinkId> {
    let links = world.plugged.iter();
    let links = links.filter(|(_, network)| may_be(**network));
    let links = links.map(|(link, _)| *link);
    links.min_by_key(|link| (world.weak.contains(link), *link))
}

fn assert_right(world: &World, settings: &Settings, has_lost: bool) {
    let arrangement = world.client.arrangement();
    let story = || world.story();
    let (is_inside, link) = right_end(world);
    let Some(link) = link else {
        let without_ipv4 = best(world, |network| network == Network::OnlyIpv6);
        return match without_ipv4 {
            Some(link) if settings.vpn != Vpn::Absent && world.weather.has_adapter => {
                assert_over_ipv6(world, link);
            }
            _ => assert_eq!(arrangement.place, Place::Blocked, "{}", story()),
        };
    };
    let address = world.plugged[&link].link(link).usable_address();
    let is_warm = matches!(settings.vpn, Vpn::Present { warm: true, .. });
    if is_inside {
        assert_eq!(arrangement.place, Place::Inside, "{}", story());
        assert_eq!(arrangement.inner.path.clear_on(), Some(link), "{}", story());
        let is_home = world.plugged[&link] == Network::InsideHome;
        let care_of = if is_home { Some(S) } else { address };
        assert_eq!(world.inner.binding, care_of, "{}", story());
        assert_eq!(arrangement.outer.is_some(), is_warm, "{}", story());
        assert!(is_warm || !world.vpn_is_up, "{}", story());
        return;
    }
    let outer = arrangement.outer.as_ref().expect("T is in use");
    let site = usize::from(outer.home != t(0));
    assert_eq!(outer.home, t(site), "{}", story());
    assert!(world.is_bound_at(site, link), "{}", story());
    assert_eq!(outer.path.clear_on(), Some(link), "{}", story());
    let is_outer_home = site == 0 && world.plugged[&link] == Network::OuterHome;
    let is_native = matches!(outer.path, Path::Native { .. });
    // Where answers over it are lost, a home WLAN is taken for a foreign one: a tunnel too many.
    assert!(!is_outer_home || is_native || has_lost, "{}", story());
    let (place, local, through) = match (&settings.vpn, world.weather.has_adapter) {
        (Vpn::Absent, _) => (Place::WithoutVpn, t(site), Through::OuterHome),
        (_, true) => (Place::OutsideWithAdapter, V, Through::Vpn),
        (_, false) => (Place::OutsideWithoutAdapter, t(site), Through::Vpn),
    };
    assert_eq!(arrangement.place, place, "{}", story());
    assert_eq!(world.inner.binding, Some(local), "{}", story());
    let Path::Tunnel {
        local: from,
        through: over,
        reverse: true,
        ..
    } = arrangement.inner.path
    else {
        panic!("S has no reverse tunnel: {}", story());
    };
    assert_eq!((from, over), (local, through), "{}", story());
}

/// The VPN from there, and nothing else.
fn assert_over_ipv6(world: &World, link: LinkId) {
    let arrangement = world.client.arrangement();
    let story = || world.story();
    assert_eq!(world.vpn_over_ipv6(), Some(link), "{}", story());
    assert_eq!(arrangement.place, Place::OutsideWithAdapter, "{}", story());
    assert_eq!(world.inner.binding, Some(V), "{}", story());
    let outer = arrangement.outer.as_ref().map(|outer| &outer.path);
    assert!(
        outer.is_none_or(|path| *path == Path::Blocked),
        "{}",
        story()
    );
    let Path::Tunnel { local, through, .. } = arrangement.inner.path else {
        panic!("S has no tunnel: {}", story());
    };
    assert_eq!((local, through), (V, Through::Vpn), "{}", story());
}

#[test]
fn whatever_happens_to_the_links_it_ends_in_the_right_domain_with_the_tunnels_of_its_figure() {
    each(0..1_200, |seed| {
        let settings = settings_of(seed);
        let mut world = World::new(seed, settings.clone());
        world.weather.loss = [0, 10, 30][seed as usize % 3];
        world.weather.has_adapter = has_adapter(seed);
        for _ in 0..12 {
            one_step(&mut world);
        }
        let has_lost = world.weather.loss > 0;
        world.weather.loss = 0;
        world.input(Input::Override(Override::None));
        world.run(Duration::from_secs(700));
        assert_right(&world, &settings, has_lost);
    });
}

#[test]
fn the_same_seed_makes_the_same_history() {
    let tells = |seed| {
        let mut world = World::new(seed, settings_of(seed));
        world.weather.loss = 20;
        for _ in 0..12 {
            one_step(&mut world);
        }
        world.tells
    };
    for seed in 0..20 {
        assert_eq!(tells(seed), tells(seed));
    }
}
