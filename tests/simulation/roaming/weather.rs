//! What becomes of the datagrams of those who roam, on their way.

use std::time::Duration;
use xfrm_agent::net::Random;
use xfrm_agent::net::random::Seeded;

#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// Percent of datagrams, each way.
    pub loss: u32,
    /// Percent that come twice.
    pub copies: u32,
    /// Percent that come so late that others overtake them.
    pub late: u32,
}

impl Weather {
    /// Fair, and three kinds of foul, in turns.
    pub fn of_seed(seed: u64) -> Self {
        let [loss, copies, late] = match seed % 4 {
            0 => [0, 0, 0],
            1 => [30, 0, 0],
            2 => [0, 20, 20],
            _ => [30, 10, 10],
        };
        Self { loss, copies, late }
    }

    /// How long a datagram is underway, once for each time that it arrives.
    pub fn arrivals(self, random: &mut Seeded) -> Vec<Duration> {
        let copies = 1 + u32::from(percent(random, self.copies));
        let once = |_| {
            if percent(random, self.loss) {
                return None;
            }
            let mut delay = 5 + u64::from(random.u32() % 20);
            if percent(random, self.late) {
                delay += u64::from(random.u32() % 3_000);
            }
            Some(Duration::from_millis(delay))
        };
        (0..copies).filter_map(once).collect()
    }
}

pub fn percent(random: &mut Seeded, chance: u32) -> bool {
    random.u32() % 100 < chance
}
