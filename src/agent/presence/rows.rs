//! Clauses as rows of the security policy database (FIG. 7).

use crate::net::{Family, IpNet, host};
use crate::presence::row::{Action, Direction, Level, Mode, Row};
use crate::presence::rules::Clause;
use crate::presence::{Demand, Protection};
use std::net::IpAddr;

/// For packets between us, at one address if that is known, and `theirs`.
pub(super) fn row(clause: &Clause, own: Option<IpAddr>, theirs: IpAddr, out: Direction) -> Row {
    let Protection { demand, protocols } = clause.protection;
    let (action, level) = match demand {
        Demand::None => (Action::None, None),
        Demand::Use => (Action::Ipsec, Some(Level::Use)),
        Demand::Require => (Action::Ipsec, Some(Level::Require)),
        Demand::Discard => (Action::Discard, None),
    };
    let any: IpNet = Family::of(theirs).any();
    let outbound = Row {
        source: own.map_or(any, host),
        source_port: clause.class.own_port,
        destination: host(theirs),
        destination_port: clause.class.peer_port,
        transport: clause.class.protocol,
        direction: Direction::Out,
        action,
        protocols,
        mode: (action == Action::Ipsec).then_some(clause.mode),
        end_point: (clause.mode == Mode::Tunnel).then_some(theirs),
        level,
    };
    match out {
        Direction::Out => outbound,
        Direction::In => outbound.mirrored(),
    }
}
