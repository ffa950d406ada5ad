//! A client that keeps its address: no adapter, and the tunnel is for the address that it begins at.

use super::*;

const T: &str = ADDRESSES[CLIENT];
const INSIDE: &str = "10.10.0.7";

fn client(start: Start) -> Settings {
    let mut client = settings(CLIENT, start);
    client.vpn.gateways[0].speaks_from = SpeaksFrom::Own;
    client
}

/// Which lets it keep these.
fn gateway(keeps: &[&str]) -> Settings {
    let mut gateway = settings(GATEWAY, Start::Down);
    let served = gateway.vpn.serves.as_mut().unwrap();
    for client in served.gateway.clients.values_mut() {
        client.keeps = keeps.iter().map(|net| net.parse().unwrap()).collect();
        served.pool.extend(&client.keeps);
    }
    gateway
}

fn world(seed: u64, start: Start) -> World {
    World::with(seed, [client(start), gateway(&["203.0.113.9/32"])])
}

fn out(world: &World) -> Fate {
    world.fate(CLIENT, Direction::Out, T, INSIDE)
}

fn inward(world: &World) -> Fate {
    world.fate(CLIENT, Direction::In, INSIDE, T)
}

#[test]
fn it_is_up_without_an_address_and_both_ends_carry_exactly_its_own() {
    let mut world = world(1, Start::Up);
    let unprotected = |world: &World| {
        [
            world.fate(GATEWAY, Direction::Out, INSIDE, T),
            world.fate(GATEWAY, Direction::Fwd, T, INSIDE),
            world.fate(GATEWAY, Direction::In, T, INSIDE),
        ]
    };
    let none = [Fate::Blocked, Fate::Blocked, Fate::Blocked];
    assert_eq!(unprotected(&world), none, "before there is a tunnel");
    world.seconds(1);
    let VpnState::Up(connection) = world.hosts[CLIENT].agent.vpn_state() else {
        panic!("{:?}", world.hosts[CLIENT].agent.vpn_state());
    };
    assert!(connection.addresses.is_empty() && connection.dns.is_empty());
    assert_eq!(connection.local, Some(addr(T)));
    assert_eq!(connection.subnets, ["10.10.0.0/16".parse().unwrap()]);
    assert_eq!((out(&world), inward(&world)), (Fate::Tunnel, Fate::Tunnel));
    let elsewhere = world.fate(CLIENT, Direction::Out, T, ADDRESSES[GATEWAY]);
    assert_eq!(elsewhere, Fate::Clear, "what is not behind the gateway");
    let all = [Fate::Tunnel, Fate::Tunnel, Fate::Tunnel];
    assert_eq!(unprotected(&world), all);
    let view = world.hosts[GATEWAY].agent.snapshot(world.now).vpn;
    assert_eq!(view.clients[0].addresses, [T]);
}

#[test]
fn it_is_guarded_from_before_the_gateway_is_asked_until_the_vpn_is_down() {
    for seed in 0..10 {
        let mut world = world(seed, Start::Down);
        world.seconds(1);
        assert_eq!(out(&world), Fate::Clear, "nobody wants a VPN");
        // Nobody answers.
        world.loss = 1000;
        world.command(VpnCommand::Up { name: None });
        assert_eq!((out(&world), inward(&world)), (Fate::Held, Fate::Blocked));
        world.seconds(60);
        assert_eq!((out(&world), inward(&world)), (Fate::Held, Fate::Blocked));
        world.loss = 300;
        world.seconds(90);
        assert!(world.is_up() && out(&world) == Fate::Tunnel, "seed {seed}");
        // The gateway is gone for three minutes.
        world.loss = 1000;
        for _ in 0..180 {
            world.seconds(1);
            let expected = if world.is_up() {
                Fate::Tunnel
            } else {
                Fate::Held
            };
            assert_eq!(out(&world), expected, "seed {seed}");
            assert_ne!(inward(&world), Fate::Clear, "seed {seed}");
        }
        assert!(!world.is_up(), "seed {seed}: liveness");
        world.loss = 300;
        world.seconds(90);
        assert!(world.is_up(), "seed {seed}");
        world.loss = 0;
        world.command(VpnCommand::Down);
        world.seconds(3);
        assert_eq!(out(&world), Fate::Clear);
        assert!(world.hosts[CLIENT].remembered.is_empty());
        let view = world.hosts[GATEWAY].agent.snapshot(world.now).vpn;
        assert!(view.clients.is_empty());
    }
}

#[test]
fn an_earlier_run_is_gone_on_with_and_so_is_a_gateway_that_has_forgotten_everything() {
    let mut world = world(2, Start::Up);
    world.seconds(1);
    let remembered = world.hosts[CLIENT].remembered.clone();
    world.hosts[CLIENT] = host(world.now, CLIENT, client(Start::Up), &remembered, 77);
    world.loss = 1000;
    world.begin(CLIENT);
    assert_eq!((out(&world), inward(&world)), (Fate::Held, Fate::Blocked));
    world.loss = 0;
    world.seconds(5);
    assert_eq!(out(&world), Fate::Tunnel);
    let view = world.hosts[GATEWAY].agent.snapshot(world.now).vpn;
    assert_eq!(view.clients.len(), 1, "the earlier run's has gone");
    let again = gateway(&["203.0.113.9/32"]);
    world.hosts[GATEWAY] = host(world.now, GATEWAY, again, &[], 78);
    world.begin(GATEWAY);
    world.seconds(120);
    assert!(world.is_up() && out(&world) == Fate::Tunnel);
    let back = world.fate(GATEWAY, Direction::Out, INSIDE, T);
    assert_eq!(back, Fate::Tunnel);
}

#[test]
fn a_warm_one_is_up_again_without_a_round_trip() {
    let mut world = world(3, Start::Up);
    world.seconds(1);
    world.command(VpnCommand::Warm);
    world.loss = 1000;
    world.seconds(1500);
    assert_eq!(out(&world), Fate::Tunnel);
    world.loss = 0;
    world.command(VpnCommand::Up { name: None });
    assert!(world.is_up());
    world.seconds(60);
    assert!(world.is_up() && out(&world) == Fate::Tunnel);
}

#[test]
fn where_it_may_keep_none_both_ends_say_so_and_nothing_leaves() {
    for keeps in [&[][..], &["203.0.113.10/32"]] {
        let mut world = World::with(4, [client(Start::Up), gateway(keeps)]);
        world.seconds(60);
        let told = |of: usize, kind: &str| world.hosts[of].told.iter().any(|it| it == kind);
        assert!(told(GATEWAY, "vpn-client-refused") && told(CLIENT, "vpn-failed"));
        assert!(!world.is_up() && out(&world) == Fate::Held);
        let view = world.hosts[GATEWAY].agent.snapshot(world.now).vpn;
        assert!(view.clients.is_empty());
    }
}

#[test]
fn a_reload_makes_of_one_kind_the_other() {
    let mut world = world(5, Start::Up);
    world.seconds(1);
    world.event(
        CLIENT,
        Event::Configuration(Box::new(settings(CLIENT, Start::Up))),
    );
    world.seconds(5);
    assert_eq!(world.out(), Fate::Tunnel, "from V");
    assert_eq!(out(&world), Fate::Clear, "nobody speaks from it any more");
    world.event(CLIENT, Event::Configuration(Box::new(client(Start::Up))));
    world.seconds(5);
    assert_eq!(out(&world), Fate::Tunnel);
    assert!(world.is_up());
    // One that changes nothing leaves it alone.
    let ups = |world: &World| {
        world.hosts[CLIENT]
            .told
            .iter()
            .filter(|it| *it == "vpn-up")
            .count()
    };
    let before = ups(&world);
    world.event(CLIENT, Event::Configuration(Box::new(client(Start::Up))));
    world.seconds(5);
    assert_eq!((ups(&world), out(&world)), (before, Fate::Tunnel));
}
