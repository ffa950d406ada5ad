//! The commands that bring other software's VPN up and down: what they are told, and what they say.

use super::settings::{Driver, OtherVpn};
use crate::kernel::desired::LinkName;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

/// One run of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run(pub u64);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Program(Program),
    Charon(Charon),
}

/// To be run as it is, with this environment and no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The program and its arguments; not empty.
    pub words: Vec<String>,
    pub environment: Vec<(&'static str, String)>,
    /// One that takes longer is killed, with what it has started.
    pub limit: Duration,
}

/// For strongSwan's charon. What it has brought up is followed until the run is stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charon {
    pub socket: PathBuf,
    pub connection: String,
    pub child: String,
    pub direction: Direction,
    /// Where it must begin.
    pub local: Option<IpAddr>,
    pub limit: Duration,
}

/// How it ended: with what it said, or why it did not work.
pub type Ended = Result<String, String>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Up,
    Down,
}

/// Where its packets should come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Below {
    /// T, or X where there is no outer system, or no IPv4.
    pub(super) local: Option<IpAddr>,
    /// The adapter that leads out of this machine now.
    pub(super) adapter: Option<LinkName>,
}

pub(super) fn command(vpn: &OtherVpn, direction: Direction, below: Below) -> Command {
    let limit = vpn.patience;
    match &vpn.driver {
        Driver::Programs { up, down } => {
            let words = match direction {
                Direction::Up => up,
                Direction::Down => down,
            };
            Command::Program(Program {
                words: words.clone(),
                environment: environment(vpn, direction, below),
                limit,
            })
        }
        Driver::Charon {
            socket,
            connection,
            child,
        } => Command::Charon(Charon {
            socket: socket.clone(),
            connection: connection.clone(),
            child: child.clone(),
            direction,
            local: below.local,
            limit,
        }),
    }
}

fn environment(vpn: &OtherVpn, direction: Direction, below: Below) -> Vec<(&'static str, String)> {
    let action = match direction {
        Direction::Up => "up",
        Direction::Down => "down",
    };
    let gateway = vpn.gateway_from(below.local);
    let all = [
        ("XFRM_AGENT_ACTION", Some(action.to_owned())),
        ("XFRM_AGENT_VPN", Some(vpn.name.clone())),
        ("XFRM_AGENT_GATEWAY", gateway.map(|it| it.to_string())),
        ("XFRM_AGENT_LOCAL", below.local.map(|it| it.to_string())),
        ("XFRM_AGENT_ADAPTER", below.adapter.map(|it| it.to_string())),
    ];
    let known = all
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    known.collect()
}

/// V, as `up` has said it on a line of its own: the last such line holds. `Ok(None)` is `no-address`.
pub(super) fn said(output: &str) -> Result<Option<Ipv4Addr>, String> {
    let line =
        |line: &str| match line.trim().split_once(' ') {
            Some(("address", address)) => {
                Some(address.trim().parse().map(Some).map_err(|_| {
                    format!("`up` said `address {address}`, which is no IPv4 address")
                }))
            }
            None if line.trim() == "no-address" => Some(Ok(None)),
            _ => None,
        };
    output.lines().filter_map(line).next_back().unwrap_or_else(|| {
        Err(
            "`up` said neither `address ADDRESS` nor `no-address`: name the VPN's `interface`, or set \
             `address = \"none\"`, where it has nothing to say"
                .to_owned(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v_is_what_the_command_said_last() {
        let v = Ipv4Addr::new(10, 30, 0, 5);
        assert_eq!(said("dialling\naddress 10.30.0.5\n"), Ok(Some(v)));
        assert_eq!(said("address 10.30.0.4\n address  10.30.0.5"), Ok(Some(v)));
        assert_eq!(said("no-address\r\n"), Ok(None));
        for silence in [
            "",
            "connected to 192.0.2.1\n",
            "addresses 10.30.0.5",
            "no-address-yet",
        ] {
            assert!(said(silence).unwrap_err().contains("neither"), "{silence}");
        }
        for wrong in ["address gateway", "address 10.30.0.5/24", "address fd00::1"] {
            assert!(
                said(wrong).unwrap_err().contains("no IPv4 address"),
                "{wrong}"
            );
        }
    }
}
