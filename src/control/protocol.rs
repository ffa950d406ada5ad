//! What is said over the control socket: lines of JSON, each with the version of this vocabulary.
//!
//! ```text
//! → {"version":1,"request":{"discover":{"address":"10.2.0.8"}}}
//! ← {"version":1,"response":{"discovered":{…}}}
//! ```

use crate::agent::snapshot::{DiscoverReport, EventView, Snapshot};
use crate::net::IpNet;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Both ends must agree on it; raised where a line changes its meaning.
pub const VERSION: u32 = 1;

/// Longest request in octets, its newline included.
pub const MAX_REQUEST: usize = 4096;

/// Longest response in octets: a status with 50,000 policies fits several times.
pub const MAX_RESPONSE: usize = 64 << 20;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    Status,
    Discover(Discover),
    Forget(Forget),
    Reload,
    /// Answered by [`Response::Event`] for as long as the connection lasts.
    Events,
}

impl Request {
    /// Whether it does anything but look. A discovery sends packets.
    pub fn access(&self) -> Access {
        match self {
            Self::Status | Self::Events => Access::Look,
            Self::Discover(_) | Self::Forget(_) | Self::Reload => Access::Change,
        }
    }

    /// As on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Discover(_) => "discover",
            Self::Forget(_) => "forget",
            Self::Reload => "reload",
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

    #[test]
    fn responses_are_read_back() {
        let snapshot = Snapshot {
            identity: "gw104.example".into(),
            ..Snapshot::default()
        };
        for response in [
            Response::Status(Box::new(snapshot)),
            Response::Lost(3),
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
        assert_eq!(discover().access(), Access::Change);
        assert_eq!(Request::Reload.access(), Access::Change);
    }
}
