//! Agents that are killed while their kernels go on.

use crate::seeds;
use crate::topologies::{GW_W, GW_X, PING, SECOND, figure_1, out, peer, ping, proxy, settings};
use crate::world::{Fate, Weather, World};
use std::time::Duration;
use xfrm_agent::agent::settings::{FailureAction, TunnelMode};
use xfrm_agent::ike::settings::Peer;

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
