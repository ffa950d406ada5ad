//! One row of the security policy database (FIG. 7, FIG. 8, FIG. 13).

pub(super) mod problems;
mod text;

pub use problems::{RowField, RowProblem};
pub use text::InvalidRow;

use super::{Class, Demand, Protection, Protocols};
use crate::net::{IpNet, Port, Protocol, Selector};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// FIG. 7, 714.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    In,
    Out,
}

/// FIG. 7, 715.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    Discard,
    None,
    Ipsec,
}

/// FIG. 7, 717. None given means transport (FIG. 13 ticks none).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    Transport,
    Tunnel,
}

/// FIG. 7, 719.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Whatever the configuration says.
    Default,
    Use,
    Require,
}

/// As drawn: fields that say nothing are `None`, empty or `any`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    pub source: IpNet,
    pub source_port: Port,
    pub destination: IpNet,
    pub destination_port: Port,
    /// Transport layer protocol.
    pub transport: Protocol,
    pub direction: Direction,
    pub action: Action,
    #[serde(default)]
    pub protocols: Protocols,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_point: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
}

impl Row {
    /// Whose packets, as the kernel's selector has it.
    pub fn selector(&self) -> Selector {
        Selector::between(self.source, self.destination)
            .protocol(self.transport)
            .ports(self.source_port, self.destination_port)
    }

    /// The same for the packets of the other direction; the two are always installed together.
    #[must_use]
    pub fn mirrored(&self) -> Self {
        Self {
            source: self.destination,
            source_port: self.destination_port,
            destination: self.source,
            destination_port: self.source_port,
            direction: match self.direction {
                Direction::In => Direction::Out,
                Direction::Out => Direction::In,
            },
            ..self.clone()
        }
    }

    /// The row as it reads in the direction `out`.
    fn outbound(&self) -> Self {
        match self.direction {
            Direction::Out => self.clone(),
            Direction::In => self.mirrored(),
        }
    }

    pub fn own_side(&self) -> IpNet {
        match self.direction {
            Direction::Out => self.source,
            Direction::In => self.destination,
        }
    }

    pub fn peer_side(&self) -> IpNet {
        match self.direction {
            Direction::Out => self.destination,
            Direction::In => self.source,
        }
    }

    /// Protocol and ports, seen from our side.
    pub fn class(&self) -> Class {
        let outbound = self.outbound();
        Class {
            protocol: outbound.transport,
            own_port: outbound.source_port,
            peer_port: outbound.destination_port,
        }
    }

    /// What it demands, where `default_level` is what the system's configuration says for level
    /// `default` and for none ticked; [`Level::Default`] there stands for `require`.
    pub fn protection(&self, default_level: Level) -> Protection {
        let level = match self.level.unwrap_or(Level::Default) {
            // The kernel has no optional tunnel for outbound packets.
            Level::Default if self.mode == Some(Mode::Tunnel) => Level::Require,
            Level::Default => default_level,
            ticked => ticked,
        };
        match (self.action, level) {
            (Action::Discard, _) => Protection::DISCARD,
            (Action::None, _) => Protection::CLEAR,
            (Action::Ipsec, Level::Use) => Protection {
                demand: Demand::Use,
                protocols: self.protocols,
            },
            (Action::Ipsec, Level::Default | Level::Require) => Protection::require(self.protocols),
        }
    }
}

#[cfg(test)]
mod tests;
