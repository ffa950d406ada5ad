//! The listening end: who may connect, what they may ask, and how much of it.

use super::protocol::{self, Access, FailureKind, MAX_REQUEST, ProtocolError, Request, Response};
use crate::agent::snapshot::EventView;
use crate::config::trusted::{self, Untrusted};
use crate::kernel::timer::{Timer, timeout};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr};
use nix::sys::stat::{Mode, fchmod};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot};
use tokio::task::JoinSet;

/// Events kept for a subscriber that reads slowly; the capacity for the daemon's channel.
pub const EVENTS_KEPT: usize = 1024;

/// Connections at once: of the group's members, and of root, whom they cannot lock out.
const MAX_READERS: usize = 24;
const MAX_ADMINISTRATORS: usize = 8;

/// A client that has not sent its request by then, or has not taken a line, is dropped.
const PATIENCE: Duration = Duration::from_secs(5);
/// Where none can be accepted.
const PAUSE: Duration = Duration::from_millis(100);

const LOCK: &str = "lock";

#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("another xfrm-agent runs{}: it holds {}", pid.map(|p| format!(" (pid {p})")).unwrap_or_default(), path.display())]
    AlreadyRuns { path: PathBuf, pid: Option<u32> },
    #[error(transparent)]
    Directory(#[from] Untrusted),
    #[error("cannot {action} {}: {error}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        error: io::Error,
    },
}

/// The socket, and the right to be the only agent of its runtime directory. Dropping it removes
/// the socket.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
    _lock: Flock<File>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Makes the runtime directory where it is missing, takes its lock, and opens the socket in it:
/// mode 0660, for `group` where there is one. A socket that a dead agent left behind is replaced.
pub fn listen(runtime_dir: &Path, name: &str, group: Option<u32>) -> Result<Listener, ListenError> {
    trusted::make_directory(runtime_dir)?;
    let lock = take_lock(&runtime_dir.join(LOCK))?;
    let path = runtime_dir.join(name);
    let failed = |action| {
        let path = path.clone();
        move |error: io::Error| ListenError::Io {
            action,
            path,
            error,
        }
    };
    // With the lock held, whatever stands there has no owner.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("replace")(error));
        }
        _ => {}
    }
    let socket = bind(&path, group).map_err(failed("listen at"))?;
    Ok(Listener {
        socket,
        path,
        _lock: lock,
    })
}

/// Nobody can connect before owner and mode are right: the socket is made for its owner alone, and
/// listens last.
fn bind(path: &Path, group: Option<u32>) -> io::Result<UnixListener> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    fchmod(&fd, Mode::S_IRUSR | Mode::S_IWUSR)?;
    socket::bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    std::os::unix::fs::chown(path, None, group)?;
    fs::set_permissions(path, Permissions::from_mode(0o660))?;
    socket::listen(&fd, Backlog::new(16)?)?;
    Ok(fd.into())
}

/// The kernel lets go of it when the process ends, however that happens.
fn take_lock(path: &Path) -> Result<Flock<File>, ListenError> {
    let failed = |action| {
        move |error: io::Error| ListenError::Io {
            action,
            path: path.to_owned(),
            error,
        }
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(path)
        .map_err(failed("open"))?;
    let mut lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(
        |(file, errno)| match errno {
            nix::errno::Errno::EWOULDBLOCK => ListenError::AlreadyRuns {
                path: path.to_owned(),
                pid: read_pid(&file),
            },
            errno => failed("lock")(errno.into()),
        },
    )?;
    // Only for people: on a full disk the lock is held all the same.
    let _ = lock
        .set_len(0)
        .and_then(|()| writeln!(lock, "{}", std::process::id()));
    Ok(lock)
}

fn read_pid(file: &File) -> Option<u32> {
    let mut text = String::new();
    Read::take(file, 16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// A request for the daemon to answer. Events are answered here and never become one.
#[derive(Debug)]
pub struct Call {
    pub request: Request,
    pub caller: Caller,
    /// Dropped without an answer: the client is told that the agent is stopping.
    pub reply: oneshot::Sender<Response>,
}

/// Who connected, as the kernel says (`SO_PEERCRED`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    pub uid: u32,
    pub pid: Option<i32>,
}

impl Caller {
    /// Whoever could open the socket may look; root alone may change anything.
    pub fn may(self, access: Access) -> bool {
        access == Access::Look || self.uid == 0
    }
}

/// Serves clients until dropped, which drops them all.
///
/// # Errors
/// The listening socket cannot be used at all. Troubles with single clients are not errors.
pub async fn serve(
    listener: Listener,
    calls: mpsc::Sender<Call>,
    events: broadcast::Sender<EventView>,
) -> io::Result<()> {
    let socket = tokio::net::UnixListener::from_std(listener.socket.try_clone()?)?;
    // When it is needed there may be no descriptor for it.
    let mut pause = Timer::open()?;
    let readers = Arc::new(Semaphore::new(MAX_READERS));
    let administrators = Arc::new(Semaphore::new(MAX_ADMINISTRATORS));
    let mut clients = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            Some(_) = clients.join_next() => continue,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: those in use will be given back.
                tracing::warn!(%error, "cannot accept a control client");
                let now = Instant::now();
                pause.reached(now, now + PAUSE).await?;
                continue;
            }
        };
        let Ok(credentials) = stream.peer_cred() else {
            continue;
        };
        let caller = Caller {
            uid: credentials.uid(),
            pid: credentials.pid(),
        };
        let seats = if caller.uid == 0 {
            &administrators
        } else {
            &readers
        };
        let Ok(seat) = seats.clone().try_acquire_owned() else {
            let busy = Response::failed(FailureKind::Busy, "too many control clients at once");
            // A fresh socket's buffer takes the line at once, or the client goes without.
            let _ = stream.try_write(&protocol::encode_response(&busy));
            continue;
        };
        let (calls, events) = (calls.clone(), events.clone());
        clients.spawn(async move {
            if let Err(error) = converse(stream, caller, PATIENCE, (calls, events)).await {
                tracing::debug!(%error, uid = caller.uid, "control client dropped");
            }
            drop(seat);
        });
    }
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    caller: Caller,
    patience: Duration,
    (calls, events): (mpsc::Sender<Call>, broadcast::Sender<EventView>),
) -> io::Result<()> {
    // Subscribed before the request is read: nothing is missed once the client has sent it.
    let subscription = events.subscribe();
    let request = match timeout(patience, read_request(&mut stream)).await?? {
        Ok(request) => request,
        Err(error) => {
            let response = Response::failed(FailureKind::Malformed, error.to_string());
            return write(&mut stream, patience, &response).await;
        }
    };
    if !caller.may(request.access()) {
        tracing::warn!(
            uid = caller.uid,
            request = request.name(),
            "control request denied"
        );
        let message = format!("only root may {}: try sudo", request.name());
        let response = Response::failed(FailureKind::Denied, message);
        return write(&mut stream, patience, &response).await;
    }
    if request == Request::Events {
        drop(events);
        return push_events(stream, patience, subscription).await;
    }
    drop(subscription);
    if request.access() == Access::Change {
        tracing::info!(
            uid = caller.uid,
            request = request.name(),
            "control request"
        );
    }
    let (reply, answer) = oneshot::channel();
    let call = Call {
        request,
        caller,
        reply,
    };
    let stopping = || Response::failed(FailureKind::Stopping, "the agent is stopping");
    let response = match calls.send(call).await {
        Ok(()) => answer.await.unwrap_or_else(|_| stopping()),
        Err(_) => stopping(),
    };
    write(&mut stream, patience, &response).await
}

async fn read_request(
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<Result<Request, ProtocolError>> {
    let mut line = Vec::new();
    BufReader::new(stream.take(MAX_REQUEST as u64))
        .read_until(b'\n', &mut line)
        .await?;
    if line.last() != Some(&b'\n') {
        if line.len() >= MAX_REQUEST {
            return Ok(Err(ProtocolError::TooLong(MAX_REQUEST)));
        }
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(protocol::decode_request(&line))
}

/// Until the client hangs up, falls asleep, or the agent ends.
async fn push_events(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    patience: Duration,
    mut events: broadcast::Receiver<EventView>,
) -> io::Result<()> {
    use broadcast::error::RecvError;
    let mut ignored = [0; 64];
    loop {
        let response = tokio::select! {
            event = events.recv() => match event {
                Ok(event) => Response::Event(event),
                Err(RecvError::Lagged(count)) => Response::Lost(count),
                Err(RecvError::Closed) => return Ok(()),
            },
            read = stream.read(&mut ignored) => match read? {
                0 => return Ok(()),
                _ => continue,
            },
        };
        write(&mut stream, patience, &response).await?;
    }
}

async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    patience: Duration,
    response: &Response,
) -> io::Result<()> {
    let line = protocol::encode_response(response);
    timeout(patience, stream.write_all(&line)).await?
}

#[cfg(test)]
mod tests;
