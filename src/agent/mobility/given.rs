//! The home address of a system whose home agent gives it (RFC 2794): asked for before the dual client begins, kept
//! for the next start, and asked for anew when the home agent says that it may not be had any more.
//!
//! ```text
//!                       nothing kept                    given
//!  the clock is known ───────────────→ asking for home ───────→ the dual client runs
//!         │                                  ↑                    ↑     │
//!         │                                  └────────────────────┼─────┘ denied
//!         └───────────────────────────────────────────────────────┘
//!                       kept
//! ```

use super::settings::Given;
use super::{Mobility, Standing, blocked};
use crate::agent::wishes::Wishes;
use crate::mobile_ip::dual_client::newcomer::Newcomer;
use crate::mobile_ip::dual_client::station::Derived;
use crate::mobile_ip::replay::Clock;
use crate::net::Random;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// A home agent that gives an address and then denies it is not asked more often.
const PAUSE: Duration = Duration::from_secs(60);

/// What a home agent has given us, across restarts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GivenHome {
    pub nai: String,
    pub home_agent: Ipv4Addr,
    pub home: Ipv4Addr,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// To be kept.
    Given(GivenHome),
    /// It does not go together with the settings, or nothing else could begin; why.
    Unusable(String),
}

#[derive(Debug)]
pub(super) struct AskingForHome {
    pub(super) newcomer: Newcomer,
    clock: Clock,
    /// For who comes after it.
    random: Option<Box<dyn Random>>,
}

impl AskingForHome {
    pub(super) fn time_is(&mut self, now: Instant, unix: Duration) {
        self.clock.set(now, unix);
        self.newcomer.time_is(now, unix);
    }
}

impl Mobility {
    /// What an earlier run was given, if it is of this name and this home agent. Before the time of day is known.
    pub fn recall_home(&mut self, kept: &GivenHome, wishes: &mut Wishes) {
        let Some(which) = self.given else { return };
        let Some((system, agreement)) = self.settings.system(which) else {
            return;
        };
        let is_it = agreement.nai.as_deref() == Some(kept.nai.as_bytes())
            && system.home_agent == kept.home_agent;
        if is_it && let Ok(settings) = self.settings.with_home(which, kept.home) {
            self.settings = settings;
            self.arrangement = blocked(&self.settings);
            self.lay_out(wishes);
        }
    }

    pub(super) fn ask_for_home(
        &mut self,
        now: Instant,
        which: Given,
        clock: Clock,
        mut random: Box<dyn Random>,
    ) {
        let Some((system, agreement)) = self.settings.system(which) else {
            return;
        };
        let derived = Box::new(Derived::new(&mut *random));
        let newcomer = Newcomer::new(now, system, agreement, clock, derived);
        self.asked_for_home = Some(now);
        self.station = Standing::AskingForHome(Box::new(AskingForHome {
            newcomer,
            clock,
            random: Some(random),
        }));
        self.tell_links(now);
    }

    /// After anything that has happened to who asks for it.
    pub(super) fn is_home_given(&mut self, now: Instant) {
        let (Standing::AskingForHome(asking), Some(which)) = (&mut self.station, self.given) else {
            return;
        };
        while let Some(datagram) = asking.newcomer.poll_send() {
            self.outgoing.push_back(datagram);
        }
        let Some(home) = asking.newcomer.home() else {
            return;
        };
        let (clock, Some(random)) = (asking.clock, asking.random.take()) else {
            return;
        };
        let with_home = self.settings.with_home(which, home);
        let begun = with_home.map_err(|error| error.to_string());
        let begun = begun.and_then(|settings| {
            self.settings = settings;
            self.begin(now, clock, random)
        });
        if let Err(why) = begun {
            return self.news.push_back(News::Unusable(why));
        }
        if let Some((system, agreement)) = self.settings.system(which) {
            let nai = agreement.nai.as_deref().unwrap_or_default();
            self.news.push_back(News::Given(GivenHome {
                nai: String::from_utf8_lossy(nai).into_owned(),
                home_agent: system.home_agent,
                home,
            }));
        }
    }

    /// The home agent denies this home address. Where it is one that was given, it is asked for anew, and S is blocked
    /// meanwhile. Whether it is.
    pub fn home_denied(&mut self, now: Instant, home: Ipv4Addr, wishes: &mut Wishes) -> bool {
        let Some(which) = self.given else {
            return false;
        };
        let system = self.settings.system(which);
        let is_it = system.is_some_and(|(system, _)| system.home == home);
        let lately = self.asked_for_home.is_some_and(|at| now < at + PAUSE);
        if !is_it || lately {
            return false;
        }
        match std::mem::replace(&mut self.station, Standing::AwaitingClock(None)) {
            Standing::Running(station) => {
                let (clock, random, known) = station.into_parts();
                self.known = known;
                self.arrangement = blocked(&self.settings);
                self.lay_out(wishes);
                self.ask_for_home(now, which, clock, random);
                true
            }
            other => {
                self.station = other;
                false
            }
        }
    }

    /// Of whom and as whom a home address is asked for.
    pub(super) fn asks_for_home_of(&self) -> String {
        let system = self.given.and_then(|which| self.settings.system(which));
        system.map_or_else(String::new, |(system, agreement)| {
            let nai = agreement.nai.as_deref().unwrap_or_default();
            let nai = String::from_utf8_lossy(nai);
            format!("a home address for {nai} from {}", system.home_agent)
        })
    }
}
