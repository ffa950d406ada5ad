//! Agents that are killed while their kernels go on.

use crate::seeds;
use crate::topologies::{GW_W, GW_X, PING, SECOND, figure_1, out, peer, ping, proxy, settings};
use crate::world::{Fate, Weather, World};
use std::time::Duration;
use xfrm_agent::agent::settings::{FailureAction, TunnelMode};
use xfrm_agent::ike::settings::Peer;

#[test]
fn a_killed_gateway_takes_its_tunnel_up_again_and_replaces_it_within_ten_seconds() {
    for node in 0..2 {
        for seed in 0..20 {
            let mut world = figure_1(seed, Weather::FAIR);
            world.stream(0, out(), 400, PING);
            world.run_for(SECOND * 5);
            let before: Vec<_> = world.nodes[node].kernel.sas.keys().copied().collect();
            assert_eq!(before.len(), 2);
            world.restart(node);
            world.run_for(SECOND * 10);
            let tells = world.story();
            for (place, node) in world.nodes.iter().enumerate() {
                let sas = &node.kernel.sas;
                assert_eq!(sas.len(), 2, "node {place}, seed {seed}: {sas:?}\n{tells}");
                assert!(
                    before.iter().all(|old| !sas.contains_key(old)),
                    "{sas:?}\n{tells}"
                );
            }
            world.run_for(SECOND * 30);
            assert_eq!(world.delivered(&out()), 400, "seed {seed}\n{tells}");
            world.assert_usable_tunnel(0);
            world.assert_usable_tunnel(1);
        }
    }
}

#[test]
fn a_gateway_that_rebooted_is_found_again_by_its_own_traffic() {
    let mut world = figure_1(23, Weather::FAIR);
    world.stream(0, out(), 10, PING);
    world.run_for(SECOND * 2);
    // A reboot leaves nothing in the kernel; the peer still has its end of the tunnel.
    world.befall(Fate::Reboot(1));
    world.run_for(PING);
    world.stream(1, out().reversed(), 50, PING);
    world.run_for(SECOND * 10);
    let tells = world.story();
    assert!(world.delivered(&out().reversed()) >= 49, "{tells}");
    world.assert_usable_tunnel(0);
    world.assert_usable_tunnel(1);
}

/// Both adopt the tunnel of before, both start a new IKE SA as first contact, at every offset.
#[test]
fn two_gateways_restarted_one_after_the_other_lose_little() {
    for delay in [5, 50] {
        for step in 0..80u32 {
            let weather = Weather {
                delay: Duration::from_millis(delay),
                ..Weather::FAIR
            };
            let mut world = figure_1(step.into(), weather);
            world.stream(0, out(), 1, PING);
            world.run_for(SECOND * 5);
            world.restart(0);
            world.run_for(Duration::from_millis(delay) * step / 10);
            world.restart(1);
            world.stream(0, out(), 300, PING);
            world.stream(1, out().reversed(), 300, PING);
            world.run_for(SECOND * 60);
            let tells = world.story();
            // Killed between its two SAs, a gateway cannot account for the one that it has, and
            // what is on its way there is lost.
            for (flow, sent) in [(out(), 301), (out().reversed(), 300)] {
                let arrived = world.delivered(&flow);
                assert!(
                    arrived + 4 >= sent,
                    "{arrived}, delay {delay}, step {step}\n{tells}"
                );
            }
            for node in 0..2 {
                world.assert_usable_tunnel(node);
                assert_eq!(
                    world.nodes[node].kernel.sas.len(),
                    2,
                    "step {step}\n{tells}"
                );
            }
        }
    }
}

/// One gateway was restarted while the other was away for long, and gave its end of the tunnel up.
/// The other finds its own end whole, and must not send into nothing.
#[test]
fn a_tunnel_that_only_one_end_still_has_is_not_sent_into() {
    let mut world = figure_1(31, Weather::FAIR);
    world.stream(0, out(), 1, PING);
    world.run_for(SECOND * 5);
    // 106 is away: its kernel goes on, its agent hears and says nothing.
    world.befall(Fate::Kill(1));
    world.restart(0);
    world.run_for(SECOND * 20);
    assert!(world.nodes[0].kernel.sas.is_empty());
    world.weather.delay = Duration::from_millis(400);
    world.restart(1);
    world.run_for(Duration::from_millis(1100));
    world.stream(1, out().reversed(), 10, PING);
    world.run_for(SECOND * 20);
    let tells = world.story();
    assert_eq!(world.delivered(&out().reversed()), 10, "{tells}");
    world.assert_usable_tunnel(0);
    world.assert_usable_tunnel(1);
}

/// Both then set the tunnel up anew. The second of the two must not keep what the first has
/// replaced any longer: the audit after ten seconds finds nothing of before.
#[test]
fn two_gateways_that_restart_at_once_replace_everything_in_time() {
    seeds::each(0..200, |seed| {
        let mut world = figure_1(seed, Weather::FAIR);
        world.stream(0, out(), 200, PING);
        world.run_for(SECOND * 5);
        // Nothing arrives at first, so that the replacement comes late, at any moment.
        let silence = Duration::from_millis(6000 + 20 * (seed % 200));
        world.befall(Fate::Cut(0, 1));
        world.restart(0);
        world.restart(1);
        world.later(silence, Fate::Mend(0, 1));
        world.weather = Weather::FOUL;
        world.run_for(SECOND * 20);
        world.weather = Weather::FAIR;
        world.run_for(SECOND * 60);
        world.stream(0, out(), 1, PING);
        world.assert_peace(&[out()], SECOND * 30);
    });
}

/// Two hosts that protect what they say themselves. The mode of one is another when it comes back:
/// the tunnel is replaced by one in that mode, while packets go on both ways.
#[test]
fn a_tunnel_that_is_wanted_in_another_mode_after_a_restart_is_replaced_without_a_gap() {
    let (tunnel, transport) = (TunnelMode::Tunnel, TunnelMode::Transport);
    for (seed, modes) in [(1, [tunnel, transport]), (2, [transport, tunnel])] {
        let mut world = World::new(seed, Weather::FAIR);
        for (name, own, other) in [("104", GW_W, GW_X), ("106", GW_X, GW_W)] {
            let known = Peer {
                may_protect_itself: true,
                contact: false,
                ..peer(&format!("{other}.example"), "secret", &[])
            };
            let proxies = [proxy(own, other)];
            let id = format!("{own}.example");
            let mut settings = settings(&id, &proxies, FailureAction::Block, &[known]);
            settings.proxies[0].mode = modes[0];
            world.add(name, own, &[&format!("{own}/32")], settings);
        }
        world.run_for(SECOND);
        let flow = ping(GW_W, GW_X);
        world.stream(0, flow, 200, PING);
        world.stream(1, flow.reversed(), 200, PING);
        world.run_for(SECOND * 5);
        world.restart_with(0, |settings| settings.proxies[0].mode = modes[1]);
        world.run_for(SECOND * 25);
        let names = ["tunnel", "transport"];
        let wanted = names[usize::from(modes[1] == transport)];
        let tunnels = world.snapshot(0).tunnels;
        assert!(
            tunnels.len() == 1 && tunnels[0].mode == wanted,
            "{tunnels:?}"
        );
        for flow in [flow, flow.reversed()] {
            let arrived = world.tally.delivered[&flow].len();
            assert!(arrived >= 199, "{arrived} of 200 {flow}: {}", world.story());
        }
        assert!(world.tally.clear.is_empty(), "{}", world.story());
        world.assert_peace(&[flow, flow.reversed()], SECOND * 30);
    }
}
