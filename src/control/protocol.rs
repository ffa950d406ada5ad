//! What is said over the control socket: lines of JSON, each with the version of this vocabulary.
//!
//! ```text
//! → {"version":1,"request":{"discover":{"address":"10.2.0.8"}}}
//! ← {"version":1,"response":{"discovered":{…}}}
//! ```

use crate::agent::presence::commands::{
    Ask, AskReport, PolicyCommand, PolicyEntry, PresenceCommand, PresenceEntry,
};
use crate::agent::snapshot::{BindingView, DiscoverReport, EventView, Snapshot, VisitorView};
use crate::agent::vpn::VpnCommand;
use crate::net::IpNet;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr};

/// Both ends must agree on it; raised where a line changes its meaning.
pub const VERSION: u32 = 1;

/// Longest request in octets, its newline included.
pub const MAX_REQUEST: usize = 4096;

/// Longest response in octets: the presence of 100,000 people fits, each with what is believed and
/// a hint, and a status with 50,000 policies several times.
pub const MAX_RESPONSE: usize = 128 << 20;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    Status,
    Discover(Discover),
    Forget(Forget),
    Reload,
    Presence(PresenceCommand),
    Policy(PolicyCommand),
    /// Asks a peer's agent for its policy towards us, its presence, or both.
    Ask(Ask),
    Vpn(VpnCommand),
    /// Of the agent's own home agent.
    Bindings,
    /// Of the agent's own foreign agent.
    Visitors,
    /// Withdraws the bindings of this home address.
    Revoke(Ipv4Addr),
    /// Answered by [`Response::Event`] for as long as the connection lasts.
    Events,
}

impl Request {
    /// Whether it does anything but look. Discovering and asking a peer send packets.
    pub fn access(&self) -> Access {
        match self {
            Self::Status
            | Self::Bindings
            | Self::Visitors
            | Self::Events
            | Self::Presence(PresenceCommand::List | PresenceCommand::Show(_))
            | Self::Policy(PolicyCommand::List | PolicyCommand::Propose(_)) => Access::Look,
            Self::Discover(_)
            | Self::Forget(_)
            | Self::Reload
            | Self::Presence(PresenceCommand::Set(_) | PresenceCommand::Clear(_))
            | Self::Policy(PolicyCommand::Register(_) | PolicyCommand::Remove(_))
            | Self::Ask(_)
            | Self::Revoke(_)
            | Self::Vpn(_) => Access::Change,
        }
    }

    /// As on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Discover(_) => "discover",
            Self::Forget(_) => "forget",
            Self::Reload => "reload",
            Self::Presence(PresenceCommand::List) => "presence list",
            Self::Presence(PresenceCommand::Show(_)) => "presence show",
            Self::Presence(PresenceCommand::Set(_)) => "presence set",
            Self::Presence(PresenceCommand::Clear(_)) => "presence clear",
            Self::Policy(PolicyCommand::List) => "policy list",
            Self::Policy(PolicyCommand::Propose(_)) => "policy propose",
            Self::Policy(PolicyCommand::Register(_)) => "policy register",
            Self::Policy(PolicyCommand::Remove(_)) => "policy remove",
            Self::Ask(_) => "request",
            Self::Vpn(VpnCommand::Up { .. }) => "vpn up",
            Self::Vpn(VpnCommand::Down) => "vpn down",
            Self::Vpn(VpnCommand::Warm) => "vpn warm",
            Self::Bindings => "bindings",
            Self::Visitors => "visitors",
            Self::Revoke(_) => "revoke",
            Self::Events => "events",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Look,
    Change,
}

/// Send a probe now and report every answer, without setting anything up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Discover {
    /// Destination of the packet that would be protected.
    pub address: IpAddr,
    /// Its source; otherwise the agent chooses one that its proxies protect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
    /// Its protocol number; otherwise that of ICMP for the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u8>,
    /// Its destination port, where the protocol has ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// Let go of addresses that were once protected, so that `on-failure = "clear"` holds for them
/// again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forget {
    /// Everything inside it; `None` is everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<IpNet>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    Status(Box<Snapshot>),
    Discovered(DiscoverReport),
    Forgotten(Forgotten),
    Reloaded(Reloaded),
    Presence(Vec<PresenceEntry>),
    Policies(Vec<PolicyEntry>),
    /// Under this number.
    Registered(u64),
    Asked(AskReport),
    Bindings(Vec<BindingView>),
    Visitors(Vec<VisitorView>),
    /// What was to be done is, and nothing is to be told.
    Done,
    Event(EventView),
    /// So many events were left out, because they came faster than they were read.
    Lost(u64),
    Failed(Failure),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// What was let go of.
    pub prefixes: Vec<IpNet>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// One line for each thing that differs from before; empty where nothing does.
    pub changes: Vec<String>,
    /// `file:line:column: …`
    pub warnings: Vec<String>,
}

/// Why a request was not answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub kind: FailureKind,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The caller may not ask that.
    Denied,
    /// The agent understood and could not do it.
    Refused,
    /// The line was not a request of this version.
    Malformed,
    /// Too many clients at once.
    Busy,
    /// The agent is about to end.
    Stopping,
}

impl Response {
    pub fn failed(kind: FailureKind, message: impl Into<String>) -> Self {
        Self::Failed(Failure {
            kind,
            message: message.into(),
        })
    }
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct RequestLine<R> {
    version: u32,
    request: R,
}

#[derive(Serialize, Deserialize)]
struct ResponseLine<R> {
    version: u32,
    response: R,
}

#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    #[error(
        "the other end speaks version {0} of the control protocol, this one {VERSION}: restart the agent after an upgrade"
    )]
    Version(u32),
    #[error("not a line of the control protocol: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("a line of the control protocol is longer than {0} octets")]
    TooLong(usize),
}

/// With its newline.
pub fn encode_request(request: &Request) -> Vec<u8> {
    encode(&RequestLine {
        version: VERSION,
        request,
    })
}

/// With its newline.
pub fn encode_response(response: &Response) -> Vec<u8> {
    encode(&ResponseLine {
        version: VERSION,
        response,
    })
}

fn encode(line: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(line).expect("only maps with keys that are not text fail");
    line.push(b'\n');
    line
}

pub fn decode_request(line: &[u8]) -> Result<Request, ProtocolError> {
    decode::<RequestLine<Request>>(line).map(|line| line.request)
}

pub fn decode_response(line: &[u8]) -> Result<Response, ProtocolError> {
    decode::<ResponseLine<Response>>(line).map(|line| line.response)
}

fn decode<T: DeserializeOwned>(line: &[u8]) -> Result<T, ProtocolError> {
    // The version first: what another one says need not parse here.
    let Versioned { version } = serde_json::from_slice(line)?;
    if version != VERSION {
        return Err(ProtocolError::Version(version));
    }
    Ok(serde_json::from_slice(line)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::presence::commands::{SetPresence, Told};
    use crate::presence::exchange::Refusal;
    use crate::presence::{Authenticity, Presence, Record, Source, Timestamp};

    fn discover() -> Request {
        Request::Discover(Discover {
            address: "10.2.0.8".parse().unwrap(),
            from: None,
            protocol: Some(6),
            port: Some(80),
        })
    }

    #[test]
    fn requests_are_written_as_documented_and_read_back() {
        let forget = |prefix: Option<&str>| {
            Request::Forget(Forget {
                prefix: prefix.map(|p| p.parse().unwrap()),
            })
        };
        for (request, text) in [
            (Request::Status, r#""status""#),
            (
                discover(),
                r#"{"discover":{"address":"10.2.0.8","protocol":6,"port":80}}"#,
            ),
            (forget(None), r#"{"forget":{}}"#),
            (
                forget(Some("10.2.0.0/16")),
                r#"{"forget":{"prefix":"10.2.0.0/16"}}"#,
            ),
        ] {
            let line = encode_request(&request);
            let expected = format!("{{\"version\":1,\"request\":{text}}}\n");
            assert_eq!(String::from_utf8_lossy(&line), expected);
            assert_eq!(decode_request(&line).unwrap(), request);
        }
    }

    fn set() -> SetPresence {
        SetPresence {
            entity: "bob@example.com".parse().unwrap(),
            addresses: vec!["192.0.2.7".parse().unwrap()],
            user: None,
            location: "external".parse().unwrap(),
            valid: Some(60),
            hint: true,
        }
    }

    #[test]
    fn presence_and_policy_are_asked_as_documented() {
        let row = r#"{"source":"192.168.1.1/32","source_port":"any","destination":"133.134.10.10/32","destination_port":"any","transport":"udp","direction":"out","action":"ipsec","protocols":{"ah":true,"esp":true},"level":"require"}"#;
        for text in [
            r#"{"presence":"list"}"#,
            r#"{"presence":{"show":"bob@example.com"}}"#,
            r#"{"presence":{"set":{"entity":"bob@example.com","location":"office"}}}"#,
            r#"{"presence":{"clear":"bob@example.com"}}"#,
            r#"{"policy":"list"}"#,
            r#"{"policy":{"propose":"bob@example.com"}}"#,
            &format!(r#"{{"policy":{{"register":{row}}}}}"#),
            r#"{"policy":{"remove":3}}"#,
            r#"{"ask":{"address":"192.0.2.7","policy":true,"presence":false}}"#,
        ] {
            let line = format!("{{\"version\":1,\"request\":{text}}}\n");
            let request = decode_request(line.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(decode_request(&encode_request(&request)).unwrap(), request);
        }
        let escape = r#"{"version":1,"request":{"presence":{"set":{"entity":"a@b","location":"office","user":"\u001b[2J"}}}}"#;
        assert!(decode_request(escape.as_bytes()).is_err());
    }

    #[test]
    fn the_longest_claim_fits_a_request() {
        let longest = SetPresence {
            entity: format!("{}@b", "\"".repeat(253)).parse().unwrap(),
            addresses: vec!["2001:db8:1111:1111:1111:1111:1111:1111".parse().unwrap(); 8],
            user: Some("\\".repeat(128).parse().unwrap()),
            location: "x".repeat(64).parse().unwrap(),
            ..set()
        };
        let line = encode_request(&Request::Presence(PresenceCommand::Set(longest)));
        assert!(line.len() <= MAX_REQUEST, "{}", line.len());
    }

    /// With names and addresses longer than most.
    #[test]
    fn the_presence_of_a_hundred_thousand_fits_a_response() {
        let record = Record {
            presence: Presence {
                entity: "firstname.familyname@department.example.com"
                    .parse()
                    .unwrap(),
                addresses: vec!["2001:db8:1111:1111:1111:1111:1111:1111".parse().unwrap(); 2],
                user: Some("Firstname Middlename Familyname".parse().unwrap()),
                location: "headquarters-building-12".parse().unwrap(),
                time: Timestamp(u64::MAX),
                expires: Timestamp(u64::MAX),
                sequence: u64::MAX,
            },
            source: Source::Peer,
            authenticity: Authenticity::Authenticated(
                "laptop-of-familyname.department.example.com".into(),
            ),
            received: Timestamp(u64::MAX),
        };
        let entry = PresenceEntry {
            entity: record.presence.entity.clone(),
            own: false,
            believed: Some(record.clone()),
            hint: Some(record),
            history: Vec::new(),
        };
        let line = encode_response(&Response::Presence(vec![entry]));
        assert!(line.len() * 100_000 <= MAX_RESPONSE, "{}", line.len());
    }

    #[test]
    fn responses_are_read_back() {
        let snapshot = Snapshot {
            identity: "gw104.example".into(),
            ..Snapshot::default()
        };
        for response in [
            Response::Status(Box::new(snapshot)),
            Response::Lost(3),
            Response::Presence(Vec::new()),
            Response::Policies(Vec::new()),
            Response::Bindings(Vec::new()),
            Response::Visitors(Vec::new()),
            Response::Registered(3),
            Response::Asked(AskReport {
                address: "192.0.2.7".parse().unwrap(),
                peer: "bob.example".into(),
                policy: Some(Told::Refused(Refusal::NotAllowed)),
                more: false,
                presence: None,
            }),
            Response::Done,
            Response::failed(FailureKind::Denied, "no"),
        ] {
            let line = encode_response(&response);
            assert_eq!(decode_response(&line).unwrap(), response);
        }
    }

    #[test]
    fn another_version_is_named_before_anything_else_is_read() {
        let error = decode_request(br#"{"version":2,"request":{"levitate":1}}"#).unwrap_err();
        assert!(matches!(error, ProtocolError::Version(2)), "{error}");
    }

    #[test]
    fn unknown_requests_and_unknown_fields_are_refused() {
        for line in [
            &br#"{"version":1,"request":"levitate"}"#[..],
            br#"{"version":1,"request":{"forget":{"prefixes":"10.0.0.0/8"}}}"#,
            br#"{"version":1,"request":{"discover":{"address":"10.2"}}}"#,
            br#"{"request":"status"}"#,
            b"\xff\n",
            b"",
        ] {
            let error = decode_request(line).unwrap_err();
            assert!(matches!(error, ProtocolError::Malformed(_)), "{error}");
        }
    }

    #[test]
    fn only_looking_is_open_to_readers() {
        assert_eq!(Request::Status.access(), Access::Look);
        assert_eq!(Request::Events.access(), Access::Look);
        assert_eq!(Request::Bindings.access(), Access::Look);
        assert_eq!(Request::Visitors.access(), Access::Look);
        let revoke = Request::Revoke(Ipv4Addr::new(198, 51, 100, 5));
        assert_eq!(revoke.access(), Access::Change);
        assert_eq!(discover().access(), Access::Change);
        assert_eq!(Request::Reload.access(), Access::Change);
        let entity = set().entity;
        let presence = |command| Request::Presence(command).access();
        assert_eq!(presence(PresenceCommand::List), Access::Look);
        assert_eq!(
            presence(PresenceCommand::Show(entity.clone())),
            Access::Look
        );
        assert_eq!(presence(PresenceCommand::Set(set())), Access::Change);
        assert_eq!(
            presence(PresenceCommand::Clear(entity.clone())),
            Access::Change
        );
        let policy = |command| Request::Policy(command).access();
        assert_eq!(policy(PolicyCommand::List), Access::Look);
        assert_eq!(policy(PolicyCommand::Propose(entity)), Access::Look);
        assert_eq!(policy(PolicyCommand::Remove(3)), Access::Change);
        let ask = Ask {
            address: "192.0.2.7".parse().unwrap(),
            policy: true,
            presence: true,
        };
        assert_eq!(Request::Ask(ask).access(), Access::Change);
    }
}
