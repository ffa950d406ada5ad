//! The asking end, for the command line. Blocking: it has nothing else to do.

use super::protocol::{self, Failure, MAX_RESPONSE, ProtocolError, Request, Response};
use crate::agent::snapshot::EventView;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longer than any discovery lasts.
const ANSWER_TIME: Duration = Duration::from_secs(900);

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("is xfrm-agent running? no socket at {}", .0.display())]
    NoSocket(PathBuf),
    #[error("is xfrm-agent running? nobody listens at {}", .0.display())]
    NobodyListens(PathBuf),
    #[error("permission denied at {}: it is open to {who}", path.display())]
    Denied { path: PathBuf, who: String },
    #[error("cannot talk to xfrm-agent at {}: {error}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
    #[error("xfrm-agent hung up without an answer: its log says why")]
    HungUp,
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error(transparent)]
    Failed(#[from] Failure),
    #[error("xfrm-agent answered something else than was asked")]
    Mismatch,
}

/// One connection, good for one request.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

/// A line of `events`.
#[derive(Clone, Debug, PartialEq)]
pub enum Occurrence {
    Event(EventView),
    /// So many were left out.
    Lost(u64),
}

impl Client {
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ClientError::NoSocket(path.into()),
            io::ErrorKind::ConnectionRefused => ClientError::NobodyListens(path.into()),
            io::ErrorKind::PermissionDenied => ClientError::Denied {
                path: path.into(),
                who: allowed(path),
            },
            _ => ClientError::Io {
                path: path.into(),
                error,
            },
        })?;
        Ok(Self {
            stream: BufReader::new(stream),
            path: path.into(),
        })
    }

    /// Asks, and waits for the answer. A [`Response::Failed`] is an error.
    pub fn call(mut self, request: &Request) -> Result<Response, ClientError> {
        self.set_timeout(Some(ANSWER_TIME))?;
        self.send(request)?;
        match self.receive()? {
            Some(Response::Failed(failure)) => Err(failure.into()),
            Some(response) => Ok(response),
            None => Err(ClientError::HungUp),
        }
    }

    /// Subscribes. The iterator ends with the agent, or after an error.
    pub fn events(mut self) -> Result<Events, ClientError> {
        self.send(&Request::Events)?;
        Ok(Events(Some(self)))
    }

    fn set_timeout(&self, timeout: Option<Duration>) -> Result<(), ClientError> {
        let result = self.stream.get_ref().set_read_timeout(timeout);
        result.map_err(|error| self.io(error))
    }

    fn send(&mut self, request: &Request) -> Result<(), ClientError> {
        let line = protocol::encode_request(request);
        match self.stream.get_mut().write_all(&line) {
            // It may have said why before it hung up.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => result.map_err(|error| self.io(error)),
        }
    }

    /// `None` at the end of the stream.
    fn receive(&mut self) -> Result<Option<Response>, ClientError> {
        let mut line = Vec::new();
        let mut limited = self.stream.by_ref().take(MAX_RESPONSE as u64);
        match limited.read_until(b'\n', &mut line) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(self.io(error)),
        }
        if line.last() != Some(&b'\n') {
            if line.len() >= MAX_RESPONSE {
                return Err(ProtocolError::TooLong(MAX_RESPONSE).into());
            }
            return Ok(None);
        }
        Ok(Some(protocol::decode_response(&line)?))
    }

    fn io(&self, error: io::Error) -> ClientError {
        ClientError::Io {
            path: self.path.clone(),
            error,
        }
    }
}

#[derive(Debug)]
pub struct Events(Option<Client>);

impl Iterator for Events {
    type Item = Result<Occurrence, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        let received = self.0.as_mut()?.receive();
        let item = match received {
            Ok(None) => None,
            Ok(Some(Response::Event(event))) => Some(Ok(Occurrence::Event(event))),
            Ok(Some(Response::Lost(count))) => Some(Ok(Occurrence::Lost(count))),
            Ok(Some(Response::Failed(failure))) => Some(Err(failure.into())),
            Ok(Some(_)) => Some(Err(ClientError::Mismatch)),
            Err(error) => Some(Err(error)),
        };
        if !matches!(item, Some(Ok(_))) {
            self.0 = None;
        }
        item
    }
}

/// Who can open the socket, as far as its directory lets us see.
fn allowed(path: &Path) -> String {
    let gid = path.metadata().map(|metadata| metadata.gid());
    let name = gid.ok().filter(|gid| *gid != 0).map(|gid| {
        nix::unistd::Group::from_gid(gid.into())
            .ok()
            .flatten()
            .map_or_else(|| gid.to_string(), |group| group.name)
    });
    match name {
        Some(name) => format!("root and members of the group {name}"),
        None => "root: try sudo, or set control-group in [agent] for those who may look".into(),
    }
}
