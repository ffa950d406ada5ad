//! The socket with real clients, and with callers that a test cannot be.

use super::*;
use crate::agent::snapshot::Snapshot;
use crate::control::client::{Client, ClientError, Occurrence};
use crate::control::protocol::{Discover, Forget};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use tokio::io::DuplexStream;

const ROOT: Caller = Caller { uid: 0, pid: None };
const READER: Caller = Caller {
    uid: 1000,
    pid: None,
};
const SOCKET: &str = "control.sock";
const IMPATIENT: Duration = Duration::from_millis(50);

struct Daemon {
    calls: mpsc::Sender<Call>,
    events: broadcast::Sender<EventView>,
}

/// Answers every call with the same snapshot.
fn daemon() -> Daemon {
    let (calls, mut asked) = mpsc::channel::<Call>(4);
    tokio::spawn(async move {
        while let Some(call) = asked.recv().await {
            let _ = call.reply.send(answer());
        }
    });
    Daemon {
        calls,
        events: broadcast::channel(4).0,
    }
}

fn answer() -> Response {
    Response::Status(Box::new(Snapshot {
        identity: "gw104.example".into(),
        ..Snapshot::default()
    }))
}

fn event(n: u32) -> EventView {
    EventView {
        at: f64::from(n),
        kind: "probe".into(),
        detail: format!("number {n}"),
    }
}

fn connect(daemon: &Daemon, caller: Caller) -> DuplexStream {
    connect_to(daemon, caller, PATIENCE)
}

fn connect_to(daemon: &Daemon, caller: Caller, patience: Duration) -> DuplexStream {
    let (client, server) = tokio::io::duplex(8192);
    let channels = (daemon.calls.clone(), daemon.events.clone());
    tokio::spawn(async move { converse(server, caller, patience, channels).await });
    client
}

async fn answers(mut client: DuplexStream, line: &[u8]) -> Response {
    client.write_all(line).await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    protocol::decode_response(&answer).unwrap()
}

fn failure(response: Response) -> (FailureKind, String) {
    match response {
        Response::Failed(failure) => (failure.kind, failure.message),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn members_of_the_group_may_look_and_root_alone_may_change() {
    let daemon = daemon();
    let status = protocol::encode_request(&Request::Status);
    assert_eq!(answers(connect(&daemon, READER), &status).await, answer());
    let discover = Request::Discover(Discover {
        address: "10.2.0.8".parse().unwrap(),
        from: None,
        protocol: None,
        port: None,
    });
    let forget = Request::Forget(Forget { prefix: None });
    for request in [discover, forget, Request::Reload] {
        let line = protocol::encode_request(&request);
        let denied = failure(answers(connect(&daemon, READER), &line).await);
        let message = format!("only root may {}: try sudo", request.name());
        assert_eq!(denied, (FailureKind::Denied, message));
        assert_eq!(answers(connect(&daemon, ROOT), &line).await, answer());
    }
}

#[tokio::test]
async fn nonsense_and_endless_lines_are_answered_with_what_is_wrong() {
    let daemon = daemon();
    let (kind, message) = failure(answers(connect(&daemon, ROOT), b"hello\n").await);
    assert_eq!(kind, FailureKind::Malformed);
    assert!(
        message.starts_with("not a line of the control protocol: "),
        "{message}"
    );
    let endless = vec![b' '; MAX_REQUEST];
    let (_, message) = failure(answers(connect(&daemon, ROOT), &endless).await);
    assert_eq!(
        message,
        "a line of the control protocol is longer than 4096 octets"
    );
    let newer = b"{\"version\":9,\"request\":\"status\"}\n";
    let (_, message) = failure(answers(connect(&daemon, ROOT), newer).await);
    assert!(message.contains("speaks version 9"), "{message}");
}

#[tokio::test]
async fn an_agent_that_is_ending_says_so() {
    let (calls, asked) = mpsc::channel(1);
    drop(asked);
    let daemon = Daemon {
        calls,
        events: broadcast::channel(1).0,
    };
    let status = protocol::encode_request(&Request::Status);
    let (kind, _) = failure(answers(connect(&daemon, ROOT), &status).await);
    assert_eq!(kind, FailureKind::Stopping);
}

#[tokio::test]
async fn a_client_that_says_nothing_is_dropped() {
    let daemon = daemon();
    let mut client = connect_to(&daemon, READER, IMPATIENT);
    client.write_all(b"{\"version\"").await.unwrap();
    let mut nothing = Vec::new();
    assert_eq!(client.read_to_end(&mut nothing).await.unwrap(), 0);
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_is_dropped() {
    let daemon = daemon();
    let mut client = connect_to(&daemon, READER, IMPATIENT);
    let request = protocol::encode_request(&Request::Events);
    client.write_all(&request).await.unwrap();
    let mut long = event(0);
    long.detail = "x".repeat(8192);
    while daemon.events.receiver_count() == 0 {
        tokio::task::yield_now().await;
    }
    daemon.events.send(long).unwrap();
    let dropped = async {
        while daemon.events.receiver_count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    let dropped = timeout(100 * IMPATIENT, dropped).await;
    dropped.expect("it is dropped");
}

#[tokio::test]
async fn a_subscriber_that_lags_is_told_how_much_it_missed() {
    let daemon = daemon();
    let subscription = daemon.events.subscribe();
    for n in 0..10 {
        daemon.events.send(event(n)).unwrap();
    }
    let (client, server) = tokio::io::duplex(8192);
    tokio::spawn(push_events(server, PATIENCE, subscription));
    let mut lines = BufReader::new(client).lines();
    let mut next = async || {
        let line = lines.next_line().await.unwrap().unwrap();
        protocol::decode_response(line.as_bytes()).unwrap()
    };
    assert_eq!(next().await, Response::Lost(6));
    assert_eq!(next().await, Response::Event(event(6)));
}

#[test]
fn only_one_agent_holds_a_directory_and_a_dead_one_leaves_nothing_in_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let first = listen(dir.path(), SOCKET, None).unwrap();
    let error = listen(dir.path(), SOCKET, None).unwrap_err().to_string();
    let expected = format!(
        "another xfrm-agent runs (pid {}): it holds {}",
        std::process::id(),
        dir.path().join(LOCK).display()
    );
    assert_eq!(error, expected);
    drop(first);
    assert!(!dir.path().join(SOCKET).exists());
    // What `kill -9` leaves: a socket that nobody listens at, and a lock that nobody holds.
    drop(UnixListener::bind(dir.path().join(SOCKET)).unwrap());
    let second = listen(dir.path(), SOCKET, Some(nix::unistd::getegid().as_raw())).unwrap();
    let metadata = second.path.metadata().unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0o660);
}

#[test]
fn a_runtime_directory_that_others_can_write_to_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
    let error = listen(dir.path(), SOCKET, None).unwrap_err().to_string();
    assert!(
        error.contains("can be written by others (mode 0777)"),
        "{error}"
    );
}

#[tokio::test]
async fn the_blocking_client_gets_answers_and_events_over_a_real_socket() {
    let dir = tempfile::tempdir().unwrap();
    let listener = listen(dir.path(), SOCKET, None).unwrap();
    let path = listener.path.clone();
    let daemon = daemon();
    let events = daemon.events.clone();
    let server = tokio::spawn(serve(listener, daemon.calls, daemon.events));

    let asked = path.clone();
    let client = move || Client::connect(&asked)?.call(&Request::Status);
    let response = tokio::task::spawn_blocking(client).await.unwrap();
    assert_eq!(response.unwrap(), answer());

    let follow = path.clone();
    let follower = tokio::task::spawn_blocking(move || {
        let mut events = Client::connect(&follow).unwrap().events().unwrap();
        events.next().unwrap().unwrap()
    });
    while events.receiver_count() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    events.send(event(7)).unwrap();
    assert_eq!(follower.await.unwrap(), Occurrence::Event(event(7)));

    server.abort();
    assert!(server.await.unwrap_err().is_cancelled());
    assert!(matches!(
        Client::connect(&path),
        Err(ClientError::NoSocket(_))
    ));
}

#[test]
fn a_client_without_an_agent_is_told_where_it_looked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(SOCKET);
    let error = |path: &Path| Client::connect(path).unwrap_err().to_string();
    let p = path.display();
    assert_eq!(
        error(&path),
        format!("is xfrm-agent running? no socket at {p}")
    );
    drop(UnixListener::bind(&path).unwrap());
    assert_eq!(
        error(&path),
        format!("is xfrm-agent running? nobody listens at {p}")
    );
}

#[tokio::test]
async fn clients_beyond_the_bound_are_turned_away_politely() {
    let dir = tempfile::tempdir().unwrap();
    let listener = listen(dir.path(), SOCKET, None).unwrap();
    let path = listener.path.clone();
    let daemon = daemon();
    tokio::spawn(serve(listener, daemon.calls, daemon.events));
    let refused = tokio::task::spawn_blocking(move || {
        // More than either sort of caller may have, whichever this test is.
        let silent = (0..MAX_READERS).map(|_| UnixStream::connect(&path).unwrap());
        let _silent: Vec<_> = silent.collect();
        Client::connect(&path)?.call(&Request::Status)
    });
    let message = refused.await.unwrap().unwrap_err().to_string();
    assert_eq!(message, "too many control clients at once");
}
