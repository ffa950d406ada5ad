//! A VPN of other software, between two commands.
//!
//! ```text
//!        up           ended well            V is seen, and protected
//!  ───────→ Rising ──────────────→ Waiting ─────────────────────────→ Up
//!             │ failed, or killed      ↑              lost              │
//!             ↓                        └───────────────────────────────┘
//!          Failed        Falling ←── down ── any          Falling ── ended ──→ gone
//! ```
//!
//! strongSwan's charon tells of what it has brought up until it is stopped: another V, or that it has gone.
//! Software that watches its VPN itself brings it back without a command: Waiting and Up follow what is seen.

use super::commands::{self, Below, Command, Direction, Ended, Run};
use super::protection::{carriers, is_protected};
use super::settings::{OtherVpn, Shape};
use super::{Connection, VpnState};
use crate::kernel::adapters::Adapter;
use crate::kernel::desired::Policy;
use crate::net::Selector;
use std::net::{IpAddr, Ipv4Addr};

#[derive(Debug)]
pub(super) struct Other {
    vpn: OtherVpn,
    below: Below,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Rising {
        run: Run,
    },
    Waiting {
        run: Run,
        said: Option<Ipv4Addr>,
        lost: Lost,
    },
    Up {
        run: Run,
        address: Option<Ipv4Addr>,
        said: Option<Ipv4Addr>,
    },
    Failed {
        reason: String,
    },
    /// Whoever brought it up says so.
    Gone,
    Falling {
        run: Run,
    },
}

/// Whether it was up before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    No,
    Yes,
}

/// It carries nothing now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unseen;

const NOWHERE_TO_BEGIN: &str = "`up` said `no-address`, and the network has no IPv4: there is nothing that S could be carried from";

/// What the kernel shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight<'a> {
    pub(super) interfaces: &'a [Adapter],
    /// Outbound policies of others.
    pub(super) outbound: &'a [Policy],
    /// The inner home agent, where there is one: S is carried to it.
    pub(super) agent: Option<Ipv4Addr>,
}

impl Other {
    /// With the command that brings it up.
    pub(super) fn rise(vpn: OtherVpn, below: Below, run: Run) -> (Self, Command) {
        let command = commands::command(&vpn, Direction::Up, below);
        let stage = Stage::Rising { run };
        (Self { vpn, below, stage }, command)
    }

    /// One that may stand from before, with the command that ends it.
    pub(super) fn left(vpn: OtherVpn, below: Below, run: Run) -> (Self, Command) {
        let command = commands::command(&vpn, Direction::Down, below);
        let stage = Stage::Falling { run };
        (Self { vpn, below, stage }, command)
    }

    /// The command that ends it, and the run that it cuts short. `None` where it is ending already.
    pub(super) fn fall(&mut self, run: Run) -> Option<(Command, Option<Run>)> {
        if matches!(self.stage, Stage::Falling { .. }) {
            return None;
        }
        let cut_short = self.run();
        self.stage = Stage::Falling { run };
        let command = commands::command(&self.vpn, Direction::Down, self.below);
        Some((command, cut_short))
    }

    /// Whether a command may bring it up now.
    pub(super) fn is_idle(&self) -> bool {
        let was_lost = Lost::Yes;
        matches!(&self.stage, Stage::Failed { .. } | Stage::Gone)
            || matches!(&self.stage, Stage::Waiting { lost, .. } if *lost == was_lost)
    }

    /// Which may have more to say.
    pub(super) fn run(&self) -> Option<Run> {
        match self.stage {
            Stage::Rising { run } | Stage::Waiting { run, .. } | Stage::Up { run, .. } => Some(run),
            Stage::Failed { .. } | Stage::Gone | Stage::Falling { .. } => None,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.stage, Stage::Up { .. })
    }

    pub(super) fn is_of(&self, vpn: &OtherVpn) -> bool {
        self.vpn == *vpn
    }

    /// `Some` where this run was to end it, with how that went.
    pub(super) fn ended(&mut self, run: Run, ended: Ended) -> Option<Ended> {
        match self.stage {
            Stage::Rising { run: awaited } if awaited == run => {
                let said = ended.and_then(|output| match self.vpn.shape {
                    Shape::Said => commands::said(&output),
                    Shape::Interface(_) | Shape::NoAddress => Ok(None),
                });
                let is_in_ipv6 = self.below.local.is_some_and(|local| local.is_ipv6());
                self.stage = match said {
                    Ok(None) if is_in_ipv6 && self.vpn.shape == Shape::Said => Stage::Failed {
                        reason: NOWHERE_TO_BEGIN.to_owned(),
                    },
                    Ok(said) => Stage::Waiting {
                        run,
                        said,
                        lost: Lost::No,
                    },
                    Err(reason) => Stage::Failed { reason },
                };
                None
            }
            Stage::Falling { run: awaited } if awaited == run => Some(ended),
            // It was cut short.
            _ => None,
        }
    }

    /// Of what this run has brought up, without having been asked.
    pub(super) fn says(&mut self, run: Run, says: Ended) {
        match &mut self.stage {
            Stage::Waiting { run: it, said, .. } | Stage::Up { run: it, said, .. }
                if *it == run =>
            {
                match (says, self.vpn.shape) {
                    (Err(_), _) => self.stage = Stage::Gone,
                    (Ok(output), Shape::Said) => {
                        *said = commands::said(&output).unwrap_or(*said);
                    }
                    (Ok(_), Shape::Interface(_) | Shape::NoAddress) => {}
                }
            }
            _ => {}
        }
    }

    /// What is seen decides between Waiting and Up.
    pub(super) fn see(&mut self, sight: Sight<'_>) {
        let (run, said, lost) = match self.stage {
            Stage::Waiting { run, said, lost } => (run, said, lost),
            Stage::Up { run, said, .. } => (run, said, Lost::Yes),
            _ => return,
        };
        self.stage = match self.address(said, sight) {
            Ok(address) => Stage::Up { run, address, said },
            Err(Unseen) => Stage::Waiting { run, said, lost },
        };
    }

    /// V, or `None` where there is none.
    fn address(
        &self,
        said: Option<Ipv4Addr>,
        sight: Sight<'_>,
    ) -> Result<Option<Ipv4Addr>, Unseen> {
        if let Shape::Interface(name) = self.vpn.shape {
            let mut interfaces = sight.interfaces.iter().filter(|it| it.name == name);
            let interface = interfaces.find(|it| it.carrier).ok_or(Unseen)?;
            let address = interface.addresses.first().ok_or(Unseen)?;
            return Ok(Some(address.addr()));
        }
        // What carries S to the inner home agent: from V in IP in IP, otherwise from T in UDP.
        let (Some(agent), Some(local)) = (sight.agent, said.map(IpAddr::V4).or(self.below.local))
        else {
            return Ok(said);
        };
        if local.is_ipv6() {
            return Err(Unseen);
        }
        let [in_ip, in_udp] = carriers(local, agent);
        let needed = if said.is_some() { in_ip } else { in_udp };
        let is_protected = is_protected(&needed, sight.outbound);
        is_protected.then_some(said).ok_or(Unseen)
    }

    /// What must not leave unless other software protects it, from before it is up until it has gone.
    pub(super) fn relies_on(&self, agent: Option<Ipv4Addr>) -> Vec<Selector> {
        if matches!(self.vpn.shape, Shape::Interface(_)) {
            return Vec::new();
        }
        let said = match self.stage {
            Stage::Waiting { said, .. } | Stage::Up { said, .. } => said.map(IpAddr::V4),
            _ => None,
        };
        let locals = [self.below.local, said].into_iter().flatten();
        let carriers = |local: IpAddr| Some(carriers(local, agent?));
        // What begins at an address of IPv6 is the VPN itself.
        let v4 = locals.filter(IpAddr::is_ipv4);
        v4.filter_map(carriers).flatten().collect()
    }

    pub(super) fn state(&self) -> VpnState {
        match &self.stage {
            Stage::Rising { .. } | Stage::Waiting { lost: Lost::No, .. } => VpnState::Connecting,
            Stage::Gone
            | Stage::Waiting {
                lost: Lost::Yes, ..
            } => VpnState::Down,
            Stage::Up { address, .. } => VpnState::Up(self.connection(*address)),
            Stage::Failed { reason } => VpnState::Failed(reason.clone()),
            Stage::Falling { .. } => VpnState::Disconnecting,
        }
    }

    fn connection(&self, address: Option<Ipv4Addr>) -> Connection {
        Connection {
            name: self.vpn.name.clone(),
            gateway: self.vpn.gateway_from(self.below.local),
            local: self.below.local,
            addresses: address.into_iter().map(IpAddr::V4).collect(),
            interface: match self.vpn.shape {
                Shape::Interface(name) => Some(name),
                Shape::Said | Shape::NoAddress => None,
            },
            dns: Vec::new(),
            subnets: Vec::new(),
        }
    }
}
