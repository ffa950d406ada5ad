//! A row while it is being filled in: what is typed and ticked, and what is wrong with it.

use super::super::text_field::{Kind, TextField};
use crate::cli::render;
use crate::net::{IpNet, Port, Protocol, host};
use crate::presence::row::{Action, Direction, Level, Mode, RowField, RowProblem};
use crate::presence::{Protocols, Row};
use std::net::IpAddr;

const ADDRESS: &str = "type an address or a prefix; 0.0.0.0/0 and ::/0 are any";

#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) source: TextField,
    pub(super) source_port: PortField,
    pub(super) destination: TextField,
    pub(super) destination_port: PortField,
    pub(super) transport: Protocol,
    pub(super) direction: Direction,
    pub(super) action: Action,
    // What follows counts with the action ipsec only, and is kept while another one is ticked.
    pub(super) protocols: Protocols,
    pub(super) mode: Option<Mode>,
    /// Counts with the mode tunnel only.
    pub(super) end_point: TextField,
    pub(super) level: Option<Level>,
}

/// A number, or the tick `any`.
#[derive(Clone, Debug)]
pub(super) struct PortField {
    pub(super) any: bool,
    pub(super) number: TextField,
}

impl PortField {
    fn of(port: Port) -> Self {
        let number = match port {
            Port::Any => String::new(),
            Port::Is(number) => number.to_string(),
        };
        Self {
            any: port == Port::Any,
            number: TextField::new(Kind::Port, number),
        }
    }

    pub(super) fn toggle(&mut self) {
        self.any = !self.any;
        self.number = TextField::new(Kind::Port, "");
    }

    fn port(&self) -> Option<Port> {
        if self.any {
            Some(Port::Any)
        } else {
            self.number.text().parse().ok()
        }
    }
}

impl Draft {
    /// FIG. 12: nothing is said but udp, out and none.
    pub(super) fn blank() -> Self {
        Self {
            source: TextField::new(Kind::Network, ""),
            source_port: PortField::of(Port::Any),
            destination: TextField::new(Kind::Network, ""),
            destination_port: PortField::of(Port::Any),
            transport: Protocol::UDP,
            direction: Direction::Out,
            action: Action::None,
            protocols: Protocols::NONE,
            mode: None,
            end_point: TextField::new(Kind::Address, ""),
            level: None,
        }
    }

    pub(super) fn of(row: &Row) -> Self {
        let end_point = row.end_point.map(|address| address.to_string());
        Self {
            source: TextField::new(Kind::Network, render::network(row.source)),
            source_port: PortField::of(row.source_port),
            destination: TextField::new(Kind::Network, render::network(row.destination)),
            destination_port: PortField::of(row.destination_port),
            transport: row.transport,
            direction: row.direction,
            action: row.action,
            protocols: row.protocols,
            mode: row.mode,
            end_point: TextField::new(Kind::Address, end_point.unwrap_or_default()),
            level: row.level,
        }
    }

    /// Whether a field means anything beside the others.
    pub(super) fn counts(&self, field: RowField) -> bool {
        let ipsec = self.action == Action::Ipsec;
        match field {
            RowField::SourcePort | RowField::DestinationPort => self.transport.has_ports(),
            RowField::Protocol | RowField::Mode | RowField::Level => ipsec,
            RowField::EndPoint => ipsec && self.mode == Some(Mode::Tunnel),
            RowField::Source
            | RowField::Destination
            | RowField::Transport
            | RowField::Direction
            | RowField::Action => true,
        }
    }

    /// The row, or what is not filled in, or not sensibly.
    pub(super) fn row(&self) -> Result<Row, Vec<RowProblem>> {
        let mut problems = Vec::new();
        let mut missing = |field, message: &str| {
            problems.push(RowProblem {
                field,
                message: message.into(),
            });
        };
        let source = network(self.source.text());
        if source.is_none() {
            missing(RowField::Source, ADDRESS);
        }
        let source_port = self.port(RowField::SourcePort, &self.source_port);
        if source_port.is_none() {
            missing(RowField::SourcePort, "type a port, or tick any");
        }
        let destination = network(self.destination.text());
        if destination.is_none() {
            missing(RowField::Destination, ADDRESS);
        }
        let destination_port = self.port(RowField::DestinationPort, &self.destination_port);
        if destination_port.is_none() {
            missing(RowField::DestinationPort, "type a port, or tick any");
        }
        let end_point = match self.end_point.text() {
            text if !self.counts(RowField::EndPoint) || text.is_empty() => None,
            text => {
                let address: Option<IpAddr> = text.parse().ok();
                if address.is_none() {
                    missing(RowField::EndPoint, "that is not an address yet");
                }
                address
            }
        };
        let ipsec = self.action == Action::Ipsec;
        let (Some(source), Some(source_port), Some(destination), Some(destination_port)) =
            (source, source_port, destination, destination_port)
        else {
            return Err(problems);
        };
        let row = Row {
            source,
            source_port,
            destination,
            destination_port,
            transport: self.transport,
            direction: self.direction,
            action: self.action,
            protocols: if ipsec {
                self.protocols
            } else {
                Protocols::NONE
            },
            mode: self.mode.filter(|_| ipsec),
            end_point,
            level: self.level.filter(|_| ipsec),
        };
        if problems.is_empty() {
            problems = row.problems();
        }
        if problems.is_empty() {
            Ok(row)
        } else {
            Err(problems)
        }
    }

    pub(super) fn problems(&self) -> Vec<RowProblem> {
        self.row().err().unwrap_or_default()
    }

    fn port(&self, field: RowField, port: &PortField) -> Option<Port> {
        if self.counts(field) {
            port.port()
        } else {
            Some(Port::Any)
        }
    }
}

fn network(text: &str) -> Option<IpNet> {
    match text.parse::<IpAddr>() {
        Ok(address) => Some(host(address)),
        Err(_) => text.parse::<IpNet>().ok().map(|net| net.trunc()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::figures::{row_for_bob, row_for_john};

    #[test]
    fn a_row_survives_being_drawn() {
        let mut tunnel = row_for_bob();
        tunnel.mode = Some(Mode::Tunnel);
        tunnel.end_point = Some(tunnel.destination.addr());
        tunnel.destination_port = Port::Is(443);
        tunnel.source = "10.0.0.0/8".parse().unwrap();
        for row in [row_for_john(), row_for_bob(), tunnel] {
            assert_eq!(Draft::of(&row).row(), Ok(row));
        }
    }

    #[test]
    fn what_does_not_count_is_left_out_of_the_row() {
        let mut draft = Draft::of(&row_for_bob());
        draft.action = Action::None;
        assert_eq!(draft.row().unwrap().protocols, Protocols::NONE);
        draft.action = Action::Ipsec;
        assert_eq!(draft.row(), Ok(row_for_bob()), "it was kept meanwhile");
        draft.source_port = PortField::of(Port::Is(53));
        draft.transport = Protocol::Any;
        assert_eq!(draft.row().unwrap().source_port, Port::Any);
    }

    #[test]
    fn a_blank_form_names_what_is_missing() {
        let fields = |draft: &Draft| -> Vec<RowField> {
            draft
                .problems()
                .iter()
                .map(|problem| problem.field)
                .collect()
        };
        let mut draft = Draft::blank();
        assert_eq!(fields(&draft), [RowField::Source, RowField::Destination]);
        draft.source = TextField::new(Kind::Network, "192.168.1.1");
        draft.destination = TextField::new(Kind::Network, "192.168.1");
        draft.destination_port.any = false;
        assert_eq!(
            fields(&draft),
            [RowField::Destination, RowField::DestinationPort]
        );
        draft = Draft::of(&row_for_bob());
        draft.mode = Some(Mode::Tunnel);
        draft.end_point = TextField::new(Kind::Address, "192.0");
        assert_eq!(fields(&draft), [RowField::EndPoint]);
    }
}
