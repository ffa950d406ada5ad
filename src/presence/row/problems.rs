//! Fields that make no sense together (FIG. 8), each with the field that the dialog marks.

use super::{Action, Level, Mode, Row};
use crate::net::{Family, IpNet, Port, Protocol, host};
use crate::presence::Protocols;
use std::net::IpAddr;

/// Who authenticates at an address speaks for that address (RFC 4301 §4.4.3). That the machine at
/// another may speak for it nobody has shown, and what it forwards in the clear nobody sees.
pub(in crate::presence) const END_POINT: &str = "the end point of a tunnel is the peer's own address: nobody has shown that another speaks for it; \
     what lies behind a machine is for a [[proxy]]";

/// The fields of FIG. 8 and columns of FIG. 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RowField {
    Source,
    SourcePort,
    Destination,
    DestinationPort,
    Transport,
    Direction,
    Action,
    Protocol,
    Mode,
    EndPoint,
    Level,
}

/// What somebody who fills in the dialog has to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowProblem {
    pub field: RowField,
    pub message: String,
}

impl Row {
    /// Empty where the row can be registered. In the order of the fields.
    pub fn problems(&self) -> Vec<RowProblem> {
        let mut problems = self.problems_of_addresses();
        problems.extend(self.problems_of_ports());
        if self.action == Action::Ipsec {
            problems.extend(problems_of_ipsec(
                self.protocols,
                self.mode.unwrap_or(Mode::Transport),
                self.end_point,
                self.level == Some(Level::Use),
            ));
            problems.extend(self.problem_of_end_point());
        } else {
            problems.extend(self.problems_without_ipsec());
        }
        problems.sort_by_key(|problem| problem.field);
        problems
    }

    fn problems_of_addresses(&self) -> Vec<RowProblem> {
        if Family::of(self.source.addr()) != Family::of(self.destination.addr()) {
            return vec![problem(
                RowField::Destination,
                "source and destination are of different IP versions",
            )];
        }
        if self.source.prefix_len() == 0 && self.destination.prefix_len() == 0 {
            return vec![problem(
                RowField::Destination,
                "name the source or the destination: a row from any to any address would be about \
                 every packet of this machine",
            )];
        }
        [
            (RowField::Source, self.source),
            (RowField::Destination, self.destination),
        ]
        .into_iter()
        .filter(|(_, net)| !names_hosts(*net))
        .map(|(field, net)| problem(field, format!("{net} is not the address of a host")))
        .collect()
    }

    fn problems_of_ports(&self) -> Vec<RowProblem> {
        [
            (RowField::SourcePort, self.source_port),
            (RowField::DestinationPort, self.destination_port),
        ]
        .into_iter()
        .filter_map(|(field, port)| {
            problem_of_port(self.transport, port).map(|message| problem(field, message))
        })
        .collect()
    }

    fn problem_of_end_point(&self) -> Option<RowProblem> {
        let peer = self.peer_side();
        let message = match (self.mode, self.end_point) {
            (Some(Mode::Tunnel), None) => "a tunnel needs the address of its end point",
            (Some(Mode::Tunnel), Some(end_point)) if !is_host(end_point) => {
                return Some(problem(
                    RowField::EndPoint,
                    format!("{end_point} is not the address of a host"),
                ));
            }
            (_, Some(end_point)) if Family::of(end_point) != Family::of(peer.addr()) => {
                "the end point is of another IP version than source and destination"
            }
            (Some(Mode::Tunnel), Some(end_point)) if host(end_point) != peer => END_POINT,
            _ => return None,
        };
        Some(problem(RowField::EndPoint, message))
    }

    fn problems_without_ipsec(&self) -> Vec<RowProblem> {
        [
            (
                RowField::Protocol,
                !self.protocols.is_empty(),
                "ah, esp and ipcomp",
            ),
            (RowField::Mode, self.mode.is_some(), "a mode"),
            (RowField::EndPoint, self.end_point.is_some(), "an end point"),
            (RowField::Level, self.level.is_some(), "a level"),
        ]
        .into_iter()
        .filter(|(_, given, _)| *given)
        .map(|(field, _, what)| problem(field, format!("{what} only with the action ipsec")))
        .collect()
    }
}

/// Of what a row or a rule says beyond `ipsec`.
pub(in crate::presence) fn problems_of_ipsec(
    protocols: Protocols,
    mode: Mode,
    end_point: Option<IpAddr>,
    optional: bool,
) -> Vec<RowProblem> {
    let mut problems = Vec::new();
    if protocols.ipcomp && !protocols.protects() {
        // RFC 3173 §5; and RFC 7296 §2.22 agrees on it only along with an SA of ESP or AH.
        problems.push(problem(
            RowField::Protocol,
            "ipcomp compresses and protects nothing: with it ah, esp or both",
        ));
    } else if protocols.ipcomp && mode == Mode::Tunnel {
        problems.push(problem(
            RowField::Protocol,
            "ipcomp only with the mode transport: in a tunnel what is too short to compress would \
             need a tunnel of its own",
        ));
    } else if protocols.is_empty() {
        problems.push(problem(RowField::Protocol, "ipsec needs ah, esp or both"));
    }
    if mode == Mode::Transport && end_point.is_some() {
        problems.push(problem(
            RowField::EndPoint,
            "an end point only with the mode tunnel",
        ));
    }
    if mode == Mode::Tunnel && optional {
        // Both directions are installed together, so that a row for `in` has an outbound one too.
        problems.push(problem(
            RowField::Level,
            "the kernel refuses an outbound tunnel at level use: choose require",
        ));
    }
    problems
}

pub(in crate::presence) fn problem_of_port(transport: Protocol, port: Port) -> Option<String> {
    (port != Port::Any && !transport.has_ports()).then(|| {
        format!("port {port} only with a protocol that has ports, such as tcp, udp or sctp")
    })
}

/// A prefix of length 0 means any address; multicast and the unspecified address have no SA.
fn names_hosts(net: IpNet) -> bool {
    net.prefix_len() == 0 || is_host(net.addr())
}

fn is_host(address: IpAddr) -> bool {
    !(address.is_multicast() || address.is_unspecified())
}

fn problem(field: RowField, message: impl Into<String>) -> RowProblem {
    RowProblem {
        field,
        message: message.into(),
    }
}
