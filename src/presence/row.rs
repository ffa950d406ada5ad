//! One row of the security policy database (FIG. 7, FIG. 8, FIG. 13).

use super::Protocols;
use crate::net::{IpNet, Port, Protocol};
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
