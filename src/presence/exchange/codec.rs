//! Messages and answers to and from octets.

#![expect(
    clippy::needless_pass_by_value,
    reason = "every reader of a field has one shape"
)]

use super::cbor::{self, Fields, Map, unsigned};
use super::{
    Answer, Demanded, MAX_DEMANDS, MAX_LEN, Malformed, Message, Posture, Refusal, Told, VERSION,
};
use crate::net::{IpNet, Port, Protocol};
use crate::presence::record::MAX_ADDRESSES;
use crate::presence::row::{Action, Direction, Level, Mode};
use crate::presence::{Class, Demand, Presence, Protection, Protocols, Row, Timestamp, UserName};
use ciborium::Value;
use std::net::IpAddr;
use std::str::FromStr;

const ASK: u64 = 1;
const PUBLISH: u64 = 2;
const POSTURE: u64 = 3;
const ATTEST: u64 = 4;

const TOLD: u64 = 129;
const ACCEPTED: u64 = 130;
const REFUSED: u64 = 131;
const POSTURE_TOO: u64 = 132;
const ATTESTED: u64 = 133;

impl Message {
    /// At most [`MAX_LEN`] octets.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, contents) = match self {
            Self::Ask {
                policy,
                presence,
                subscribe,
            } => {
                let map = Map::new().with(0, *policy).with(1, *presence);
                (ASK, map.with_some(2, *subscribe).build())
            }
            Self::Publish(presence) => (PUBLISH, presence_value(presence)),
            Self::Posture(posture) => (POSTURE, posture_value(posture)),
            Self::Attest => (ATTEST, Map::new().build()),
        };
        cbor::encode(&envelope(kind, contents))
    }

    pub fn decode(octets: &[u8]) -> Result<Self, Malformed> {
        let (kind, contents) = open(octets)?;
        let mut fields = Fields::of(contents, "contents")?;
        Ok(match kind {
            ASK => Self::Ask {
                policy: fields.required(0, "policy", flag)?,
                presence: fields.required(1, "presence", flag)?,
                subscribe: fields.optional(2, "subscribe", number)?,
            },
            PUBLISH => Self::Publish(presence(fields)?),
            POSTURE => Self::Posture(posture(fields)?),
            ATTEST => Self::Attest,
            other => return Err(Malformed::UnknownKind(other)),
        })
    }
}

impl Answer {
    /// At most [`MAX_LEN`] octets: rows that do not fit are left out, the last first, and `more` says
    /// so.
    pub fn encode(&self) -> Vec<u8> {
        let octets = cbor::encode(&self.value());
        match self {
            Self::Told {
                policy: Some(Told::Granted(rows)),
                presence,
                subscribed,
                ..
            } if octets.len() > MAX_LEN => {
                let told = |rows| Self::Told {
                    policy: Some(Told::Granted(rows)),
                    more: true,
                    presence: presence.clone(),
                    subscribed: *subscribed,
                };
                let without = cbor::encode(&told(Vec::new()).value()).len();
                // The head of a longer array has two octets more.
                let mut left = MAX_LEN - without - 2;
                let fitting = rows.iter().take_while(|row| {
                    let length = cbor::encode(&row_value(row)).len();
                    let fits = length <= left;
                    left = left.saturating_sub(length);
                    fits
                });
                cbor::encode(&told(fitting.cloned().collect()).value())
            }
            _ => octets,
        }
    }

    fn value(&self) -> Value {
        let (kind, contents) = match self {
            Self::Told {
                policy,
                more,
                presence,
                subscribed,
            } => {
                let rows = |rows: &Vec<Row>| Value::Array(rows.iter().map(row_value).collect());
                let map = Map::new()
                    .with_some(0, policy.as_ref().map(|told| told_value(told, rows)))
                    .with_some(1, more.then_some(true))
                    .with_some(
                        2,
                        presence
                            .as_ref()
                            .map(|told| told_value(told, presence_value)),
                    )
                    .with_some(3, *subscribed);
                (TOLD, map.build())
            }
            Self::Accepted => (ACCEPTED, Map::new().build()),
            Self::Refused(refusal) => (REFUSED, Map::new().with(0, refusal.code()).build()),
            Self::Posture(posture) => (POSTURE_TOO, posture_value(posture)),
            Self::Attested { location, address } => {
                let map = Map::new().with(0, location.as_str());
                (ATTESTED, map.with(1, address_value(*address)).build())
            }
        };
        envelope(kind, contents)
    }

    pub fn decode(octets: &[u8]) -> Result<Self, Malformed> {
        let (kind, contents) = open(octets)?;
        let mut fields = Fields::of(contents, "contents")?;
        Ok(match kind {
            TOLD => Self::Told {
                policy: fields.nested(0, |value| told(value, "policy", rows))?,
                more: fields.optional(1, "more", flag)?.unwrap_or_default(),
                presence: fields.nested(2, |value| {
                    told(value, "presence", |value| {
                        presence(Fields::of(value, "presence")?)
                    })
                })?,
                subscribed: fields.optional(3, "subscribed", number)?,
            },
            ACCEPTED => Self::Accepted,
            REFUSED => Self::Refused(fields.required(0, "refusal", refusal)?),
            POSTURE_TOO => Self::Posture(posture(fields)?),
            ATTESTED => Self::Attested {
                location: fields.required(0, "location", parsed)?,
                address: fields.required(1, "address", address)?,
            },
            other => return Err(Malformed::UnknownKind(other)),
        })
    }
}

impl Refusal {
    fn code(self) -> u8 {
        match self {
            Self::NotAllowed => 1,
            Self::Replayed => 2,
            Self::NotYourEntity => 3,
            Self::Malformed => 4,
            Self::NotUnderstood => 5,
            Self::Busy => 6,
            Self::Other(code) => code,
        }
    }
}

fn envelope(kind: u64, contents: Value) -> Value {
    Value::Array(vec![VERSION.into(), kind.into(), contents])
}

/// The version comes first and alone decides what the rest means.
fn open(octets: &[u8]) -> Result<(u64, Value), Malformed> {
    let Value::Array(parts) = cbor::decode(octets)? else {
        return Err(Malformed::NotAMessage);
    };
    match parts.first().and_then(unsigned) {
        Some(VERSION) => {}
        Some(other) => return Err(Malformed::UnknownVersion(other)),
        None => return Err(Malformed::NotAMessage),
    }
    let Ok([_, kind, contents]) = <[Value; 3]>::try_from(parts) else {
        return Err(Malformed::NotAMessage);
    };
    let kind = unsigned(&kind).ok_or(Malformed::NotAMessage)?;
    Ok((kind, contents))
}

// --- what is told or refused, postures, presence --------------------------------------------------

fn told_value<T>(told: &Told<T>, value: impl FnOnce(&T) -> Value) -> Value {
    match told {
        Told::Granted(granted) => value(granted),
        Told::Refused(refusal) => refusal.code().into(),
    }
}

fn told<T>(
    value: Value,
    what: &'static str,
    read: impl FnOnce(Value) -> Result<T, Malformed>,
) -> Result<Told<T>, Malformed> {
    if value.is_integer() {
        let refusal = refusal(value).ok_or(Malformed::Field(what))?;
        return Ok(Told::Refused(refusal));
    }
    read(value).map(Told::Granted)
}

fn refusal(value: Value) -> Option<Refusal> {
    Some(match number(value)? {
        1 => Refusal::NotAllowed,
        2 => Refusal::Replayed,
        3 => Refusal::NotYourEntity,
        4 => Refusal::Malformed,
        5 => Refusal::NotUnderstood,
        6 => Refusal::Busy,
        other => Refusal::Other(other),
    })
}

fn posture_value(posture: &Posture) -> Value {
    let demands = posture.demands.iter().take(MAX_DEMANDS).map(demand_value);
    Map::new()
        .with(0, posture.epoch)
        .with(1, Value::Array(demands.collect()))
        .build()
}

fn posture(mut fields: Fields) -> Result<Posture, Malformed> {
    Ok(Posture {
        epoch: fields.required(0, "epoch", number)?,
        demands: fields
            .nested(1, |value| match value {
                Value::Array(values) if values.len() <= MAX_DEMANDS => {
                    values.into_iter().map(demand).collect()
                }
                _ => Err(Malformed::Field("demands")),
            })?
            .ok_or(Malformed::Field("demands"))?,
    })
}

fn demand_value(demanded: &Demanded) -> Value {
    let Demanded {
        class,
        protection,
        mode,
    } = demanded;
    let tunnel = *mode == Mode::Tunnel;
    Map::new()
        .with(0, coded(protection.demand, DEMANDS))
        .with_some(1, protocols_value(protection.protocols))
        .with_some(2, protocol_value(class.protocol))
        .with_some(3, port_value(class.peer_port))
        .with_some(4, port_value(class.own_port))
        .with_some(5, tunnel.then(|| coded(*mode, MODES)))
        .build()
}

fn demand(value: Value) -> Result<Demanded, Malformed> {
    let mut fields = Fields::of(value, "demand")?;
    let demand = fields.required(0, "demand", |v| decoded(v, DEMANDS))?;
    let protocols = fields.optional(1, "protocols", protocols)?;
    let protocols = protocols.unwrap_or_default();
    let needs_protocols = matches!(demand, Demand::Use | Demand::Require);
    // Compression alone protects nothing, so that nobody can demand it as protection.
    let fits = if needs_protocols {
        protocols.protects()
    } else {
        protocols.is_empty()
    };
    if !fits {
        return Err(Malformed::Field("protocols"));
    }
    let class = Class {
        protocol: fields
            .optional(2, "transport", protocol)?
            .unwrap_or_default(),
        peer_port: fields
            .optional(3, "sender's port", port)?
            .unwrap_or_default(),
        own_port: fields
            .optional(4, "receiver's port", port)?
            .unwrap_or_default(),
    };
    let mode = fields.optional(5, "mode", |v| decoded(v, MODES))?;
    let mode = mode.unwrap_or(Mode::Transport);
    // The kernel has no optional tunnel for outbound packets.
    if mode == Mode::Tunnel && demand != Demand::Require {
        return Err(Malformed::Field("mode"));
    }
    Ok(Demanded {
        class,
        protection: Protection { demand, protocols },
        mode,
    })
}

fn presence_value(presence: &Presence) -> Value {
    let addresses = presence.addresses.iter().map(|a| address_value(*a));
    Map::new()
        .with(0, presence.entity.as_str())
        .with(1, Value::Array(addresses.collect()))
        .with_some(2, presence.user.as_ref().map(UserName::as_str))
        .with(3, presence.location.as_str())
        .with(4, presence.time.0)
        .with(5, presence.expires.0)
        .with(6, presence.sequence)
        .build()
}

fn presence(mut fields: Fields) -> Result<Presence, Malformed> {
    Ok(Presence {
        entity: fields.required(0, "entity", parsed)?,
        addresses: fields.required(1, "addresses", addresses)?,
        user: fields.optional(2, "user", parsed)?,
        location: fields.required(3, "location", parsed)?,
        time: Timestamp(fields.required(4, "time", number)?),
        expires: Timestamp(fields.required(5, "expires", number)?),
        sequence: fields.required(6, "sequence", number)?,
    })
}

/// Sorted, each once, as [`Presence`] has them.
fn addresses(value: Value) -> Option<Vec<IpAddr>> {
    let values = value.into_array().ok()?;
    let addresses: Vec<_> = values.into_iter().map(address).collect::<Option<_>>()?;
    let ascending = addresses.windows(2).all(|pair| pair[0] < pair[1]);
    (ascending && (1..=MAX_ADDRESSES).contains(&addresses.len())).then_some(addresses)
}

// --- rows -----------------------------------------------------------------------------------------

fn row_value(row: &Row) -> Value {
    Map::new()
        .with(0, net_value(row.source))
        .with_some(1, port_value(row.source_port))
        .with(2, net_value(row.destination))
        .with_some(3, port_value(row.destination_port))
        .with_some(4, protocol_value(row.transport))
        .with(5, coded(row.direction, DIRECTIONS))
        .with(6, coded(row.action, ACTIONS))
        .with_some(7, protocols_value(row.protocols))
        .with_some(8, row.mode.map(|mode| coded(mode, MODES)))
        .with_some(9, row.end_point.map(address_value))
        .with_some(10, row.level.map(|level| coded(level, LEVELS)))
        .build()
}

fn rows(value: Value) -> Result<Vec<Row>, Malformed> {
    let Value::Array(values) = value else {
        return Err(Malformed::Field("policy"));
    };
    values.into_iter().map(row).collect()
}

fn row(value: Value) -> Result<Row, Malformed> {
    let mut fields = Fields::of(value, "row")?;
    Ok(Row {
        source: fields.required(0, "source", net)?,
        source_port: fields.optional(1, "source port", port)?.unwrap_or_default(),
        destination: fields.required(2, "destination", net)?,
        destination_port: fields
            .optional(3, "destination port", port)?
            .unwrap_or_default(),
        transport: fields
            .optional(4, "transport", protocol)?
            .unwrap_or_default(),
        direction: fields.required(5, "direction", |v| decoded(v, DIRECTIONS))?,
        action: fields.required(6, "action", |v| decoded(v, ACTIONS))?,
        protocols: fields
            .optional(7, "protocols", protocols)?
            .unwrap_or_default(),
        mode: fields.optional(8, "mode", |v| decoded(v, MODES))?,
        end_point: fields.optional(9, "end point", address)?,
        level: fields.optional(10, "level", |v| decoded(v, LEVELS))?,
    })
}

/// By their codes, 0 first.
const DIRECTIONS: &[Direction] = &[Direction::In, Direction::Out];
const ACTIONS: &[Action] = &[Action::Discard, Action::None, Action::Ipsec];
const MODES: &[Mode] = &[Mode::Transport, Mode::Tunnel];
const DEMANDS: &[Demand] = &[Demand::None, Demand::Use, Demand::Require, Demand::Discard];
const LEVELS: &[Level] = &[Level::Default, Level::Use, Level::Require];

fn coded<T: PartialEq>(choice: T, choices: &[T]) -> u64 {
    let code = choices.iter().position(|c| *c == choice);
    code.expect("every choice has a code") as u64
}

fn decoded<T: Copy>(value: Value, choices: &[T]) -> Option<T> {
    choices.get(number::<usize>(value)?).copied()
}

fn protocol_value(protocol: Protocol) -> Option<u8> {
    Some(protocol.number()).filter(|number| *number != 0)
}

fn protocols_value(protocols: Protocols) -> Option<u8> {
    let Protocols { ah, esp, ipcomp } = protocols;
    let bits = u8::from(ah) | u8::from(esp) << 1 | u8::from(ipcomp) << 2;
    Some(bits).filter(|bits| *bits != 0)
}

fn protocols(value: Value) -> Option<Protocols> {
    let bits = number::<u8>(value)?;
    (1..8).contains(&bits).then_some(Protocols {
        ah: bits & 1 != 0,
        esp: bits & 2 != 0,
        ipcomp: bits & 4 != 0,
    })
}

fn port_value(port: Port) -> Option<u16> {
    match port {
        Port::Any => None,
        Port::Is(port) => Some(port),
    }
}

fn port(value: Value) -> Option<Port> {
    number(value).filter(|port| *port != 0).map(Port::Is)
}

fn protocol(value: Value) -> Option<Protocol> {
    number(value).filter(|n| *n != 0).map(Protocol::Is)
}

// --- values ---------------------------------------------------------------------------------------

fn net_value(net: IpNet) -> Value {
    Value::Array(vec![address_value(net.addr()), net.prefix_len().into()])
}

fn net(value: Value) -> Option<IpNet> {
    let [prefix, length] = value.into_array().ok()?.try_into().ok()?;
    IpNet::new(address(prefix)?, number(length)?).ok()
}

fn address_value(address: IpAddr) -> Value {
    Value::Bytes(match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    })
}

fn address(value: Value) -> Option<IpAddr> {
    let octets = value.into_bytes().ok()?;
    if let Ok(v4) = <[u8; 4]>::try_from(&octets[..]) {
        return Some(v4.into());
    }
    <[u8; 16]>::try_from(&octets[..]).ok().map(IpAddr::from)
}

fn flag(value: Value) -> Option<bool> {
    value.as_bool()
}

fn number<T: TryFrom<u64>>(value: Value) -> Option<T> {
    T::try_from(unsigned(&value)?).ok()
}

fn parsed<T: FromStr>(value: Value) -> Option<T> {
    value.as_text()?.parse().ok()
}
