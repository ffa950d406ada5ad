//! Agents that are killed while their kernels go on.

use crate::seeds;
use crate::topologies::{PING, SECOND, figure_1, out};
use crate::world::{Fate, Weather};
use std::time::Duration;

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
