//! The VPN between the systems, whoever's it is: told what to be, believed in what it says, given up on
//! when it says nothing.
//!
//! ```text
//!           Up                 Up{address}            Warm
//!   Off ────────→ Coming ─────────────────→ Up ←──────────────→ Warm
//!    ↑  ↖           │ Failed, or no patience │ Down              │
//!    │   └─ Waiting ←┘←──────────────────────┘                   │
//!    └──────────────── Going ←── Down ───────────────────────────┘
//! ```
//!
//! At first it is unknown: one of other software may stand from an earlier run of ours. Where it is to be off it is told so once,
//! where it is to be up it is asked for as if it were off.
//!
//! One that is to be warm is a spare: while it fails, it is asked for later and later, and nobody asks in between. When it
//! is needed, and in another network, it is asked for at once.

use super::effect::{Tell, VpnCommand, VpnState};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

/// After the first failure; doubled with each.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MOST: Duration = Duration::from_secs(60);

/// The same of a spare: each time, the gateway is asked until there is no patience left.
const SPARE_PAUSE_MOST: Duration = Duration::from_secs(1800);

/// A `down` that hangs is not waited for longer.
const GOING_MOST: Duration = Duration::from_secs(10);

/// Which gateway, over which of our addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    pub gateway: Option<String>,
    pub over: IpAddr,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VpnGoal {
    Off,
    Warm(Leg),
    Up(Leg),
    /// As it is: nothing could change it now.
    AsIs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VpnPhase {
    /// Nothing has been asked of it yet.
    Unknown,
    Off,
    Coming {
        since: Instant,
        has_begun: bool,
    },
    Up {
        address: Option<Ipv4Addr>,
    },
    Warm {
        address: Option<Ipv4Addr>,
    },
    Going {
        since: Instant,
    },
    Waiting {
        until: Instant,
    },
}

/// Whether the VPN shows itself as an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adapter {
    /// FIG. 9, with the address V.
    Own(Ipv4Addr),
    /// FIG. 10: it protects what comes from T.
    None,
}

impl Adapter {
    /// V, or what it binds to in its place; `None` where that is of IPv6.
    pub fn address(self, below: IpAddr) -> Option<Ipv4Addr> {
        match (self, below) {
            (Self::Own(v), _) => Some(v),
            (Self::None, IpAddr::V4(below)) => Some(below),
            (Self::None, IpAddr::V6(_)) => None,
        }
    }
}

/// What it is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Carrying,
    Spare,
}

#[derive(Debug)]
pub struct Supervisor {
    patience: Duration,
    phase: VpnPhase,
    leg: Option<Leg>,
    wanted_for: Use,
    failures: u32,
}

impl Supervisor {
    pub fn new(patience: Duration) -> Self {
        Self {
            patience,
            phase: VpnPhase::Unknown,
            leg: None,
            wanted_for: Use::Carrying,
            failures: 0,
        }
    }

    pub fn phase(&self) -> VpnPhase {
        self.phase
    }

    /// What carries packets now, if anything does.
    pub fn carries(&self) -> Option<Adapter> {
        match self.phase {
            VpnPhase::Up { address: Some(v) } => Some(Adapter::Own(v)),
            VpnPhase::Up { address: None } => Some(Adapter::None),
            _ => None,
        }
    }

    /// Whether its SA exists, carrying or not.
    pub fn is_alive(&self) -> bool {
        matches!(self.phase, VpnPhase::Up { .. } | VpnPhase::Warm { .. })
    }

    /// What the one that is there binds to.
    pub fn over(&self) -> Option<IpAddr> {
        let leg = self.leg.as_ref().filter(|_| self.is_alive())?;
        Some(leg.over)
    }

    pub fn is_coming(&self) -> bool {
        matches!(self.phase, VpnPhase::Coming { .. })
    }

    /// One step towards `goal`.
    pub fn pursue(&mut self, now: Instant, goal: &VpnGoal) -> Option<VpnCommand> {
        let (leg, wanted_for) = match goal {
            VpnGoal::AsIs => return None,
            VpnGoal::Off => return self.end(now),
            VpnGoal::Up(leg) => (leg, Use::Carrying),
            VpnGoal::Warm(leg) => (leg, Use::Spare),
        };
        let before = std::mem::replace(&mut self.wanted_for, wanted_for);
        if (before, wanted_for) == (Use::Spare, Use::Carrying) {
            self.hurry(now);
        }
        match self.phase {
            VpnPhase::Unknown | VpnPhase::Off => Some(self.begin(now, leg)),
            VpnPhase::Waiting { until } if now >= until => Some(self.begin(now, leg)),
            VpnPhase::Waiting { .. } if before != wanted_for => Some(VpnCommand::Down),
            VpnPhase::Waiting { .. } | VpnPhase::Going { .. } => None,
            _ if self.leg.as_ref() != Some(leg) => self.end(now),
            VpnPhase::Up { address } if wanted_for == Use::Spare => {
                self.phase = VpnPhase::Warm { address };
                Some(VpnCommand::Warm)
            }
            VpnPhase::Warm { address } if wanted_for == Use::Carrying => {
                self.phase = VpnPhase::Up { address };
                Some(up(leg))
            }
            VpnPhase::Coming { .. } | VpnPhase::Up { .. } | VpnPhase::Warm { .. } => None,
        }
    }

    /// What failed may not fail any more: it is needed now, or the network is another one.
    pub fn hurry(&mut self, now: Instant) {
        self.failures = 0;
        match &mut self.phase {
            VpnPhase::Waiting { until: when } | VpnPhase::Coming { since: when, .. } => *when = now,
            _ => {}
        }
    }

    /// It may be dead without knowing: nothing comes through it any more.
    pub fn distrust(&mut self, now: Instant) -> Option<VpnCommand> {
        if self.is_alive() { self.end(now) } else { None }
    }

    pub fn hear(&mut self, now: Instant, state: VpnState) -> (Option<VpnCommand>, Option<Tell>) {
        let failures = self.failures;
        let tell = self.follow(now, state);
        // Whoever makes it would try again by itself.
        let is_to_rest = self.failures > failures && self.wanted_for == Use::Spare;
        (is_to_rest.then_some(VpnCommand::Down), tell)
    }

    fn follow(&mut self, now: Instant, state: VpnState) -> Option<Tell> {
        match (state, self.phase) {
            (VpnState::Up { .. }, VpnPhase::Going { .. } | VpnPhase::Off | VpnPhase::Unknown) => {
                None
            }
            (VpnState::Up { address }, VpnPhase::Warm { .. }) => {
                self.phase = VpnPhase::Warm { address };
                None
            }
            (VpnState::Up { address }, _) => {
                self.failures = 0;
                self.phase = VpnPhase::Up { address };
                None
            }
            (VpnState::Connecting, VpnPhase::Coming { since, .. }) => {
                let has_begun = true;
                self.phase = VpnPhase::Coming { since, has_begun };
                None
            }
            (VpnState::Connecting, VpnPhase::Up { .. } | VpnPhase::Warm { .. }) => {
                self.phase = VpnPhase::Coming {
                    since: now,
                    has_begun: true,
                };
                None
            }
            // What it was before it heard of the command.
            (
                VpnState::Down,
                VpnPhase::Coming {
                    has_begun: false, ..
                },
            )
            | (VpnState::Connecting, _)
            | (
                VpnState::Down | VpnState::Failed(_),
                VpnPhase::Unknown | VpnPhase::Off | VpnPhase::Waiting { .. },
            ) => None,
            (VpnState::Down | VpnState::Failed(_), VpnPhase::Going { .. }) => {
                self.phase = VpnPhase::Off;
                None
            }
            (VpnState::Down, VpnPhase::Up { .. } | VpnPhase::Warm { .. }) => {
                self.phase = VpnPhase::Waiting { until: now };
                None
            }
            (VpnState::Down, VpnPhase::Coming { .. }) => {
                self.pause(now);
                None
            }
            (VpnState::Failed(reason), _) => {
                let is_first = self.failures == 0;
                self.pause(now);
                is_first.then_some(Tell::VpnFailed { reason })
            }
        }
    }

    /// What hangs is given up on.
    pub fn handle_timeout(&mut self, now: Instant) -> (Option<VpnCommand>, Option<Tell>) {
        match self.phase {
            VpnPhase::Coming { since, .. } if now >= since + self.patience => {
                let is_first = self.failures == 0;
                self.pause(now);
                let after = self.patience;
                (
                    Some(VpnCommand::Down),
                    is_first.then_some(Tell::VpnLate { after }),
                )
            }
            VpnPhase::Going { since } if now >= since + GOING_MOST => {
                self.phase = VpnPhase::Off;
                (None, Some(Tell::VpnStaysUp))
            }
            _ => (None, None),
        }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            VpnPhase::Coming { since, .. } => Some(since + self.patience),
            VpnPhase::Going { since } => Some(since + GOING_MOST),
            VpnPhase::Waiting { until } => Some(until),
            _ => None,
        }
    }

    fn begin(&mut self, now: Instant, leg: &Leg) -> VpnCommand {
        self.leg = Some(leg.clone());
        self.phase = VpnPhase::Coming {
            since: now,
            has_begun: false,
        };
        up(leg)
    }

    fn end(&mut self, now: Instant) -> Option<VpnCommand> {
        self.failures = 0;
        match self.phase {
            VpnPhase::Off | VpnPhase::Going { .. } => None,
            // Nothing that it says would be waited for.
            VpnPhase::Unknown | VpnPhase::Waiting { .. } => {
                self.phase = VpnPhase::Off;
                Some(VpnCommand::Down)
            }
            _ => {
                self.phase = VpnPhase::Going { since: now };
                Some(VpnCommand::Down)
            }
        }
    }

    fn pause(&mut self, now: Instant) {
        let most = match self.wanted_for {
            Use::Carrying => PAUSE_MOST,
            Use::Spare => SPARE_PAUSE_MOST,
        };
        let pause = PAUSE.saturating_mul(1 << self.failures.min(16)).min(most);
        self.failures = self.failures.saturating_add(1);
        self.phase = VpnPhase::Waiting { until: now + pause };
    }
}

fn up(leg: &Leg) -> VpnCommand {
    VpnCommand::Up {
        gateway: leg.gateway.clone(),
        over: leg.over,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn leg() -> Leg {
        Leg {
            gateway: None,
            over: [198, 51, 100, 5].into(),
        }
    }

    fn came_up(now: Instant) -> Supervisor {
        let mut vpn = Supervisor::new(PATIENCE);
        assert!(vpn.pursue(now, &VpnGoal::Up(leg())).is_some());
        vpn.hear(now, VpnState::Up { address: None });
        vpn
    }

    #[test]
    fn a_hook_that_hangs_is_ended_told_once_and_tried_again_later_and_later() {
        let mut now = Instant::now();
        let mut vpn = Supervisor::new(PATIENCE);
        let (mut told, mut pauses) = (0, Vec::new());
        for _ in 0..8 {
            assert!(vpn.pursue(now, &VpnGoal::Up(leg())).is_some());
            now = vpn.poll_timeout().unwrap();
            let (command, tell) = vpn.handle_timeout(now);
            assert_eq!(command, Some(VpnCommand::Down));
            told += usize::from(tell.is_some());
            assert_eq!(vpn.pursue(now, &VpnGoal::Up(leg())), None);
            let until = vpn.poll_timeout().unwrap();
            pauses.push(until - now);
            now = until;
        }
        assert_eq!(told, 1);
        assert!(pauses.is_sorted() && pauses.last() == Some(&PAUSE_MOST));
    }

    #[test]
    fn a_warm_vpn_carries_again_without_a_new_negotiation() {
        let now = Instant::now();
        let mut vpn = came_up(now);
        assert_eq!(
            vpn.pursue(now, &VpnGoal::Warm(leg())),
            Some(VpnCommand::Warm)
        );
        assert_eq!((vpn.carries(), vpn.is_alive()), (None, true));
        assert!(matches!(
            vpn.pursue(now, &VpnGoal::Up(leg())),
            Some(VpnCommand::Up { .. })
        ));
        assert_eq!(vpn.carries(), Some(Adapter::None));
    }

    #[test]
    fn what_may_stand_from_before_is_told_once_that_it_is_to_be_off() {
        let now = Instant::now();
        let mut vpn = Supervisor::new(PATIENCE);
        assert_eq!(vpn.pursue(now, &VpnGoal::AsIs), None);
        assert_eq!(vpn.pursue(now, &VpnGoal::Off), Some(VpnCommand::Down));
        assert_eq!(vpn.pursue(now, &VpnGoal::Off), None);
        // Outside again before it has gone.
        let goal = VpnGoal::Up(leg());
        assert!(
            vpn.pursue(now, &goal)
                .is_some_and(|it| it != VpnCommand::Down)
        );
        vpn.hear(now, VpnState::Down);
        assert!(vpn.is_coming(), "what was before has gone, not this one");
    }

    #[test]
    fn what_may_stand_from_before_is_taken_over_where_it_is_wanted() {
        for goal in [VpnGoal::Up(leg()), VpnGoal::Warm(leg())] {
            let mut vpn = Supervisor::new(PATIENCE);
            let command = vpn.pursue(Instant::now(), &goal);
            assert!(
                matches!(command, Some(VpnCommand::Up { .. })),
                "{command:?}"
            );
        }
    }

    #[test]
    fn one_that_falls_outside_is_set_up_again_at_once() {
        let now = Instant::now();
        let mut vpn = came_up(now);
        vpn.hear(now, VpnState::Down);
        assert_eq!(vpn.carries(), None);
        assert!(matches!(
            vpn.pursue(now, &VpnGoal::Up(leg())),
            Some(VpnCommand::Up { .. })
        ));
    }

    #[test]
    fn a_down_from_before_the_command_is_no_failure() {
        let now = Instant::now();
        let mut vpn = Supervisor::new(PATIENCE);
        vpn.pursue(now, &VpnGoal::Up(leg()));
        vpn.hear(now, VpnState::Down);
        assert!(vpn.is_coming());
        vpn.hear(now, VpnState::Connecting);
        vpn.hear(now, VpnState::Down);
        assert!(!vpn.is_coming());
    }

    #[test]
    fn another_address_below_means_another_vpn() {
        let now = Instant::now();
        let mut vpn = came_up(now);
        let other = Leg {
            over: [203, 0, 113, 9].into(),
            ..leg()
        };
        assert_eq!(
            vpn.pursue(now, &VpnGoal::Up(other.clone())),
            Some(VpnCommand::Down)
        );
        assert_eq!(vpn.pursue(now, &VpnGoal::Up(other.clone())), None);
        vpn.hear(now, VpnState::Down);
        assert!(vpn.pursue(now, &VpnGoal::Up(other)).is_some());
    }

    #[test]
    fn a_down_that_hangs_is_told_and_not_waited_for() {
        let now = Instant::now();
        let mut vpn = came_up(now);
        assert_eq!(vpn.pursue(now, &VpnGoal::Off), Some(VpnCommand::Down));
        let late = vpn.poll_timeout().unwrap();
        assert_eq!(vpn.handle_timeout(late).1, Some(Tell::VpnStaysUp));
        assert_eq!(vpn.phase(), VpnPhase::Off);
    }

    fn refused() -> VpnState {
        VpnState::Failed("no proposal chosen".to_owned())
    }

    /// It is asked for and refused again and again; the pauses between.
    fn is_refused(vpn: &mut Supervisor, now: &mut Instant, times: usize) -> Vec<Duration> {
        let mut pauses = Vec::new();
        for _ in 0..times {
            let command = vpn.pursue(*now, &VpnGoal::Warm(leg()));
            assert!(
                matches!(command, Some(VpnCommand::Up { .. })),
                "{command:?}"
            );
            vpn.hear(*now, VpnState::Connecting);
            // Whoever makes it does not go on by itself.
            assert_eq!(vpn.hear(*now, refused()).0, Some(VpnCommand::Down));
            assert_eq!(vpn.hear(*now, VpnState::Down), (None, None));
            assert_eq!(vpn.pursue(*now, &VpnGoal::Warm(leg())), None);
            let until = vpn.poll_timeout().unwrap();
            pauses.push(until - *now);
            *now = until;
        }
        pauses
    }

    #[test]
    fn a_spare_is_tried_later_and_later_and_rests_in_between() {
        let mut now = Instant::now();
        let mut vpn = Supervisor::new(PATIENCE);
        let pauses = is_refused(&mut vpn, &mut now, 20);
        assert!(pauses.is_sorted() && pauses[0] == PAUSE);
        assert_eq!(pauses[11..], [SPARE_PAUSE_MOST; 9]);
    }

    #[test]
    fn a_spare_that_is_needed_is_tried_at_once_and_soon_again() {
        let mut now = Instant::now();
        let mut vpn = Supervisor::new(PATIENCE);
        is_refused(&mut vpn, &mut now, 19);
        is_refused(&mut vpn, &mut now.clone(), 1);
        now += SPARE_PAUSE_MOST / 2;
        let goal = VpnGoal::Up(leg());
        let mut pauses = Vec::new();
        for _ in 0..9 {
            assert!(matches!(
                vpn.pursue(now, &goal),
                Some(VpnCommand::Up { .. })
            ));
            assert_eq!(vpn.hear(now, refused()).0, None);
            let until = vpn.poll_timeout().unwrap();
            pauses.push(until - now);
            now = until;
        }
        assert_eq!((pauses[0], pauses[8]), (PAUSE, PAUSE_MOST));
    }

    #[test]
    fn a_try_that_is_under_way_when_it_is_needed_has_all_the_patience() {
        let now = Instant::now();
        let mut vpn = Supervisor::new(PATIENCE);
        vpn.pursue(now, &VpnGoal::Warm(leg()));
        let later = now + PATIENCE / 2;
        assert_eq!(vpn.pursue(later, &VpnGoal::Up(leg())), None);
        assert_eq!(vpn.poll_timeout(), Some(later + PATIENCE));
    }

    #[test]
    fn in_another_network_a_spare_is_tried_at_once() {
        let mut now = Instant::now();
        let mut vpn = Supervisor::new(PATIENCE);
        is_refused(&mut vpn, &mut now, 19);
        is_refused(&mut vpn, &mut now.clone(), 1);
        now += SPARE_PAUSE_MOST / 2;
        vpn.hurry(now);
        assert_eq!(is_refused(&mut vpn, &mut now, 1), [PAUSE]);
    }

    #[test]
    fn one_that_is_waited_for_rests_when_it_is_needed_no_more() {
        for goal in [VpnGoal::Off, VpnGoal::Warm(leg())] {
            let now = Instant::now();
            let mut vpn = Supervisor::new(PATIENCE);
            vpn.pursue(now, &VpnGoal::Up(leg()));
            assert_eq!(vpn.hear(now, refused()).0, None, "it may try by itself");
            assert_eq!(vpn.pursue(now, &goal), Some(VpnCommand::Down));
            assert_eq!(vpn.pursue(now, &goal), None);
        }
    }
}
