//! How presence and policies are said on the command line.

use crate::agent::presence::commands::{Ask, SetPresence};
use crate::cli::arguments::{Output, prefix};
use crate::cli::words::{ACTIONS, DIRECTIONS, LEVELS, MODES, PROTOCOLS, Words};
use crate::config;
use crate::net::{IpNet, Port, Protocol};
use crate::presence::record::MAX_ADDRESSES;
use crate::presence::row::{Action, Direction, Level, Mode};
use crate::presence::{Entity, Location, Protocols, Row, UserName};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args, Subcommand};
use std::net::IpAddr;

#[derive(Debug, Subcommand)]
pub enum Presence {
    /// List what is believed of whom.
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Show what is believed of somebody, and what was before.
    Show {
        /// As `user@domain`.
        entity: Entity,
        #[command(flatten)]
        output: Output,
    },
    /// Say where somebody is. Said of ourselves, it is told to the peers that may know.
    Set {
        #[command(flatten)]
        claim: Claim,
        #[command(flatten)]
        output: Output,
    },
    /// Forget what is believed of somebody: what follows is as strict as for a stranger.
    Clear {
        /// As `user@domain`.
        entity: Entity,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Args)]
pub struct Claim {
    /// As `user@domain`.
    entity: Entity,
    /// Such as `office` or `external`.
    #[arg(long)]
    location: Location,
    /// Of that machine, up to eight times; otherwise those that are known.
    #[arg(long = "address", value_name = "ADDRESS")]
    addresses: Vec<IpAddr>,
    /// What the person is called.
    #[arg(long, value_name = "NAME")]
    user: Option<UserName>,
    /// For how long it holds, such as `30m` or `8h`.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = seconds)]
    valid: u32,
    /// From a source that can be forged: it may only make things stricter.
    #[arg(long)]
    hint: bool,
}

impl Claim {
    /// Refused where there are more addresses than presence can name.
    pub(super) fn command(self) -> Result<SetPresence, String> {
        if self.addresses.len() > MAX_ADDRESSES {
            return Err(format!("presence names {MAX_ADDRESSES} addresses at most"));
        }
        Ok(SetPresence {
            entity: self.entity,
            addresses: self.addresses,
            user: self.user,
            location: self.location,
            valid: Some(self.valid),
            hint: self.hint,
        })
    }
}

#[derive(Debug, Subcommand)]
pub enum Policy {
    /// List the rows, registered ones and those that follow from rules and presence.
    List {
        /// Beside each row, what the kernel holds for it, as `ip xfrm policy` says it.
        #[arg(long)]
        kernel: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Show the rows that rules and presence propose for somebody now.
    Propose {
        /// As `user@domain`.
        entity: Entity,
        #[command(flatten)]
        output: Output,
    },
    /// Register a row, in both directions. It can make things stricter, never weaker, and survives
    /// restarts.
    Register {
        #[command(flatten)]
        row: RowOptions,
        #[command(flatten)]
        output: Output,
    },
    /// Remove a registered row.
    Remove {
        /// As `policy list` numbers it.
        number: u64,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Args)]
pub struct RowOptions {
    /// Address or prefix.
    #[arg(long, value_name = "ADDRESS", value_parser = prefix)]
    source: IpNet,
    /// Number, or `any`.
    #[arg(long, value_name = "PORT", default_value = "any")]
    source_port: Port,
    /// Address or prefix.
    #[arg(long, value_name = "ADDRESS", value_parser = prefix)]
    destination: IpNet,
    /// Number, or `any`.
    #[arg(long, value_name = "PORT", default_value = "any")]
    destination_port: Port,
    /// Transport layer protocol: udp, tcp, any.
    #[arg(long, value_name = "PROTOCOL", default_value = "any")]
    transport: Protocol,
    /// In which source and destination are meant; both are installed.
    #[arg(long, default_value = "out", value_parser = one_of(DIRECTIONS))]
    direction: Direction,
    /// What befalls the packets.
    #[arg(long, value_parser = one_of(ACTIONS))]
    action: Action,
    /// IPsec protocol; several times for several.
    #[arg(long = "protocol", value_name = "PROTOCOL", value_parser = one_of(PROTOCOLS), action = ArgAction::Append)]
    protocols: Vec<Protocols>,
    /// Of IPsec; otherwise transport.
    #[arg(long, value_parser = one_of(MODES))]
    mode: Option<Mode>,
    /// The far end of a tunnel.
    #[arg(long, value_name = "ADDRESS")]
    end_point: Option<IpAddr>,
    /// How much the packets need it.
    #[arg(long, value_parser = one_of(LEVELS))]
    level: Option<Level>,
}

impl From<RowOptions> for Row {
    fn from(options: RowOptions) -> Self {
        Self {
            source: options.source,
            source_port: options.source_port,
            destination: options.destination,
            destination_port: options.destination_port,
            transport: options.transport,
            direction: options.direction,
            action: options.action,
            protocols: options
                .protocols
                .into_iter()
                .fold(Protocols::NONE, Protocols::union),
            mode: options.mode,
            end_point: options.end_point,
            level: options.level,
        }
    }
}

#[derive(Debug, Args)]
pub struct Questions {
    /// Of the peer.
    address: IpAddr,
    /// Ask what policy it applies to us.
    #[arg(long)]
    policy: bool,
    /// Ask where it is.
    #[arg(long)]
    presence: bool,
}

impl Questions {
    pub(super) fn ask(&self) -> Ask {
        let both = !self.policy && !self.presence;
        Ask {
            address: self.address,
            policy: self.policy || both,
            presence: self.presence || both,
        }
    }
}

fn one_of<T: Copy + Send + Sync + 'static>(words: Words<T>) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(words.iter().map(|(word, _)| *word)).map(move |given| {
        let found = words.iter().find(|(word, _)| *word == given);
        found.expect("clap accepts these words only").1
    })
}

fn seconds(text: &str) -> Result<u32, String> {
    config::parse_duration(text)
        .and_then(|time| u32::try_from(time.as_secs()).ok())
        .filter(|seconds| *seconds > 0)
        .ok_or_else(|| "a time is written like 90s, 30m, 8h or 7d".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    enum Line {
        #[command(subcommand)]
        Presence(Presence),
        #[command(subcommand)]
        Policy(Policy),
        Request(Questions),
    }

    fn parse(line: &str) -> Result<Line, String> {
        let words = std::iter::once("xfrm-agent").chain(line.split_whitespace());
        Line::try_parse_from(words).map_err(|error| error.to_string())
    }

    fn row(options: &str) -> Row {
        match parse(&format!("policy register {options}")) {
            Ok(Line::Policy(Policy::Register { row, .. })) => row.into(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_row_of_figure_13_can_be_said() {
        let options = "--source 192.168.1.1 --destination 133.134.10.10 --transport udp \
                       --direction out --action ipsec --protocol ah --protocol esp --level require";
        assert_eq!(
            row(options),
            Row {
                source: "192.168.1.1/32".parse().unwrap(),
                source_port: Port::Any,
                destination: "133.134.10.10/32".parse().unwrap(),
                destination_port: Port::Any,
                transport: Protocol::UDP,
                direction: Direction::Out,
                action: Action::Ipsec,
                protocols: Protocols::AH_ESP,
                mode: None,
                end_point: None,
                level: Some(Level::Require),
            }
        );
    }

    #[test]
    fn a_word_that_is_none_is_refused_with_those_that_are() {
        let options = "--source 192.0.2.1 --destination 192.0.2.2 --action";
        let error = parse(&format!("policy register {options} ipsek")).unwrap_err();
        assert!(error.contains("discard, none, ipsec"), "{error}");
        assert!(parse("policy register --source 192.0.2.1 --action none").is_err());
    }

    #[test]
    fn names_that_would_move_the_cursor_are_refused() {
        let error = parse("presence set a@b --location office --user \x1b[2J").unwrap_err();
        assert!(error.contains("without control characters"), "{error}");
        let error = parse("presence show nobody").unwrap_err();
        assert!(error.contains("user@domain"), "{error}");
    }

    #[test]
    fn presence_holds_for_an_hour_unless_it_is_said() {
        let claim = |line: &str| match parse(&format!("presence set a@b --location office{line}")) {
            Ok(Line::Presence(Presence::Set { claim, .. })) => claim.command(),
            other => panic!("{other:?}"),
        };
        assert_eq!(claim("").unwrap().valid, Some(3600));
        assert_eq!(claim(" --valid 90").unwrap().valid, Some(90));
        assert!(parse("presence set a@b --location office --valid 0").is_err());
        assert!(claim(&" --address 192.0.2.1".repeat(8)).is_ok());
        let error = claim(&" --address 192.0.2.1".repeat(9)).unwrap_err();
        assert_eq!(error, "presence names 8 addresses at most");
    }

    #[test]
    fn a_request_for_nothing_in_particular_is_for_both() {
        let asked = |line: &str| match parse(line) {
            Ok(Line::Request(request)) => (request.ask().policy, request.ask().presence),
            other => panic!("{other:?}"),
        };
        assert_eq!(asked("request 192.0.2.2"), (true, true));
        assert_eq!(asked("request 192.0.2.2 --policy"), (true, false));
        assert_eq!(asked("request 192.0.2.2 --presence"), (false, true));
        assert_eq!(asked("request 192.0.2.2 --presence --policy"), (true, true));
    }
}
