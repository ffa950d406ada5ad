//! The newest way of a home address, and beside it for a moment the one before.
//!
//! A sender may be held up between finding a route and leaving by it. Where the route is replaced meanwhile, the
//! kernel empties what it had found, and discards the packet without a word. So a new way is a route of its own
//! that is preferred, and its tunnel has a table of its own to find the adapter in; the former way stays until
//! nobody can be using it:
//!
//! ```text
//!  turn 0   metric 1024                        first table below
//!  turn 1   metric 1023    1024 for a second   second table
//!  turn 2   metric 1022    1023 for a second   first table
//! ```
//!
//! Should the kernel lose the new way, the former one carries again. So it stays only where it is a tunnel, and
//! at least as safe as what follows.

use crate::mobile_ip::{Arrangement, Path};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// A sender that was held up goes on within this time.
const HELD_UP: Duration = Duration::from_secs(1);

/// How many there are before the metric begins again.
const TURNS: u32 = 1024;

/// Which of its ways a home address has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn(u32);

impl Turn {
    /// Of its route: each is preferred to the one before, but for one in [`TURNS`].
    pub fn metric(self) -> u32 {
        TURNS - self.0
    }

    /// Which of the two tables below it takes, 0 or 1.
    pub fn parity(self) -> u32 {
        self.0 % 2
    }

    fn next(self) -> Self {
        Self((self.0 + 1) % TURNS)
    }
}

/// Of all home addresses.
#[derive(Debug, Default)]
pub struct Turns {
    of: BTreeMap<Ipv4Addr, Turning>,
}

#[derive(Debug, Default)]
struct Turning {
    turn: Turn,
    former: Option<Former>,
}

/// The way before the newest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Former {
    pub path: Path,
    pub turn: Turn,
    until: Instant,
}

impl Turns {
    pub fn moved(&mut self, now: Instant, before: &Arrangement, after: &Arrangement) {
        let (inner, follows) = (&before.inner, &after.inner);
        // Behind a way in the clear there may be another network by now than what it was proved to be.
        let is_safe = before.place == after.place || inner.path.is_in_vpn();
        if inner.home == follows.home && inner.path != follows.path {
            let stays = is_safe && is_tunnel(&follows.path);
            self.turn(now, inner.home, &inner.path, stays);
        }
        // What T carries is safe by itself.
        if let Some(outer) = &before.outer {
            let follows = after.outer.as_ref().filter(|next| next.home == outer.home);
            if follows != Some(outer) {
                self.turn(now, outer.home, &outer.path, true);
            }
        }
    }

    fn turn(&mut self, now: Instant, home: Ipv4Addr, path: &Path, stays: bool) {
        let turning = self.of.entry(home).or_default();
        let turn = turning.turn;
        turning.turn = turn.next();
        // One that would be preferred to its follower goes at once.
        let stays = stays && is_tunnel(path) && turning.turn.metric() < turn.metric();
        turning.former = stays.then(|| Former {
            path: path.clone(),
            turn,
            until: now + HELD_UP,
        });
    }

    pub fn newest(&self, home: Ipv4Addr) -> Turn {
        self.of.get(&home).map_or_else(Turn::default, |at| at.turn)
    }

    pub fn former(&self, home: Ipv4Addr) -> Option<&Former> {
        self.of.get(&home)?.former.as_ref()
    }

    /// Whether any is over.
    pub fn expire(&mut self, now: Instant) -> bool {
        let mut is_over = false;
        for turning in self.of.values_mut() {
            is_over |= turning.former.take_if(|f| f.until <= now).is_some();
        }
        is_over
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let formers = self.of.values().filter_map(|at| at.former.as_ref());
        formers.map(|former| former.until).min()
    }
}

/// What is sent goes through it too.
fn is_tunnel(path: &Path) -> bool {
    matches!(path, Path::Tunnel { reverse: true, .. })
}

#[cfg(test)]
pub mod tests {
    use super::super::layout::tests::{ETH0, S, S_HA, T, T_HA, V, X, arrangement};
    use super::super::receiving::tests::tunnel;
    use super::*;
    use crate::mobile_ip::{LinkId, Place, Through};

    /// All at the same time.
    pub fn turned<'a>(history: impl IntoIterator<Item = &'a Arrangement>) -> Turns {
        let mut turns = Turns::default();
        let now = Instant::now();
        let mut history = history.into_iter();
        if let Some(mut before) = history.next() {
            for after in history {
                turns.moved(now, before, after);
                before = after;
            }
        }
        turns
    }

    fn over(link: u32, remote: Ipv4Addr) -> Path {
        let through = Through::Link {
            link: LinkId(link),
            gateway: None,
        };
        tunnel(X, remote, through)
    }

    fn inside(link: u32) -> Arrangement {
        arrangement(Place::Inside, over(link, S_HA), None)
    }

    fn outside(link: u32) -> Arrangement {
        let inner = tunnel(V, S_HA, Through::Vpn);
        arrangement(Place::OutsideWithAdapter, inner, Some(over(link, T_HA)))
    }

    /// What S and T have besides, after a move from the one to the other.
    fn formers(before: &Arrangement, after: &Arrangement) -> [Option<Path>; 2] {
        let turns = turned([before, after]);
        [S, T].map(|home| turns.former(home).map(|former| former.path.clone()))
    }

    #[test]
    fn the_former_way_stays_where_it_is_as_safe() {
        let [here, there] = [inside(1), inside(2)];
        assert_eq!(formers(&here, &there), [Some(here.inner.path), None]);
        let [here, there] = [outside(1), outside(2)];
        let of_t = || Some(over(1, T_HA));
        assert_eq!(formers(&here, &there), [None, of_t()], "S has the same");
        let in_vpn = Some(here.inner.path.clone());
        assert_eq!(formers(&here, &inside(2)), [in_vpn, of_t()]);
        assert_eq!(
            formers(&inside(1), &outside(2)),
            [None, None],
            "in the clear"
        );
        assert_eq!(formers(&here, &here), [None, None]);
    }

    #[test]
    fn what_is_blocked_or_in_no_tunnel_has_no_other_way() {
        let link = ETH0;
        let gateway = None;
        let at_home = arrangement(Place::Inside, Path::Native { link, gateway }, None);
        let blocked = arrangement(Place::Blocked, Path::Blocked, None);
        let blocked_inside = arrangement(Place::Inside, Path::Blocked, None);
        for after in [&at_home, &blocked, &blocked_inside] {
            assert_eq!(formers(&inside(1), after), [None, None]);
            assert_eq!(formers(after, &inside(1)), [None, None]);
        }
    }

    #[test]
    fn each_turn_is_preferred_but_the_one_that_begins_again_which_stands_alone() {
        let mut turns = Turns::default();
        let mut now = Instant::now();
        for _ in 0..3 {
            for number in 1..=TURNS {
                let [before, after] = [number + 1, number].map(|at| inside(at % 2));
                let former = turns.newest(S);
                turns.moved(now, &before, &after);
                let newest = turns.newest(S);
                assert_ne!(newest.parity(), former.parity());
                assert_ne!(newest.metric(), 0);
                let is_beside = turns.former(S).is_some();
                assert_eq!(is_beside, newest.metric() < former.metric());
                assert_eq!(is_beside, number < TURNS);
                assert_eq!(turns.poll_timeout(), is_beside.then(|| now + HELD_UP));
                assert!(!turns.expire(now));
                now += HELD_UP;
                assert_eq!(turns.expire(now), is_beside);
                assert_eq!(turns.former(S), None);
            }
        }
    }
}
