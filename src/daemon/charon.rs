//! strongSwan's charon, over its VICI socket: brings a connection up and down, and follows what becomes of it.
//!
//! ```text
//!  up    list-sas ─ there? ─ no ─→ initiate ─→ list-sas ─→ V ──→ events: list-sas again
//!  down  terminate
//! ```

use crate::agent::vpn::commands::{Charon, Direction, Ended};
use crate::kernel::timer::{sleep, timeout};
use crate::vici::message::Message;
use crate::vici::packet::{Packet, Packets};
use crate::vici::sas::{Sa, sas};
use nix::unistd::geteuid;
use std::collections::VecDeque;
use std::fmt::Display;
use std::io::{self, ErrorKind::TimedOut};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// What says that an SA may have come, gone or changed.
const CHANGES: [&str; 4] = ["ike-updown", "child-updown", "ike-rekey", "ike-update"];
const LISTED: &str = "list-sa";

/// An event comes before what it tells is done.
const SETTLING: Duration = Duration::from_millis(100);
/// For one answer of a daemon that has nothing else to do.
const ANSWER: Duration = Duration::from_secs(5);

/// A connection of charon's that is up.
#[derive(Debug)]
pub struct Following {
    session: Session,
    charon: Charon,
}

/// Within the patience of `charon`. What it says is as a command would say it.
pub async fn run(charon: &Charon) -> Result<(String, Option<Following>), String> {
    let within = async {
        let mut session = Session::open(charon).await?;
        match charon.direction {
            Direction::Up => {
                let said = session.bring_up(charon).await?;
                let charon = charon.clone();
                Ok((said, Some(Following { session, charon })))
            }
            Direction::Down => {
                session.take_down(charon).await?;
                Ok((String::new(), None))
            }
        }
    };
    let limit = charon.limit + ANSWER;
    let late = |error: io::Error| match error.kind() {
        TimedOut => Err(format!("charon has said nothing for {}s", limit.as_secs())),
        _ => Err(without_timer(&error)),
    };
    timeout(limit, within).await.unwrap_or_else(late)
}

impl Following {
    /// What it says when something has changed. After an error there is nothing to follow any more.
    pub async fn next(&mut self) -> Ended {
        self.session.changed().await?;
        sleep(SETTLING)
            .await
            .map_err(|error| without_timer(&error))?;
        self.session.events.clear();
        let found = timeout(ANSWER, self.session.find(&self.charon)).await;
        let found = found.map_err(|error| match error.kind() {
            TimedOut => "charon does not answer".to_owned(),
            _ => without_timer(&error),
        })??;
        found.map(|sa| said(&sa)).ok_or_else(|| {
            let Charon {
                connection, child, ..
            } = &self.charon;
            format!("charon has ended {child} of {connection}")
        })
    }
}

#[derive(Debug)]
struct Session {
    stream: UnixStream,
    packets: Packets,
    /// Their names, until somebody looks.
    events: VecDeque<String>,
}

impl Session {
    async fn open(charon: &Charon) -> Result<Self, String> {
        let socket = &charon.socket;
        let named = |error: &dyn Display| format!("{}: {error}", socket.display());
        let stream = UnixStream::connect(socket)
            .await
            .map_err(|error| named(&error))?;
        let peer = stream.peer_cred().map_err(|error| named(&error))?;
        if peer.uid() != 0 && peer.uid() != geteuid().as_raw() {
            return Err(named(&format!(
                "uid {} listens there, and not root",
                peer.uid()
            )));
        }
        let (packets, events) = Default::default();
        let mut session = Self {
            stream,
            packets,
            events,
        };
        for event in CHANGES.into_iter().chain([LISTED]) {
            session.register(event).await?;
        }
        Ok(session)
    }

    /// Does nothing where it is up already.
    async fn bring_up(&mut self, charon: &Charon) -> Result<String, String> {
        if let Some(sa) = self.find(charon).await? {
            return Ok(said(&sa));
        }
        let limit = charon.limit.as_millis().to_string();
        let request = Message::of([
            ("ike", charon.connection.as_str()),
            ("child", charon.child.as_str()),
            ("timeout", limit.as_str()),
        ]);
        let answer = self.request("initiate", request).await?;
        succeeded(&answer)?;
        let found = self.find(charon).await?;
        let Charon {
            connection, child, ..
        } = charon;
        let missing = || format!("charon has brought up {connection}, but no child {child}");
        found.map(|sa| said(&sa)).ok_or_else(missing)
    }

    /// It may have gone already.
    async fn take_down(&mut self, charon: &Charon) -> Result<(), String> {
        let limit = charon.limit.as_millis().to_string();
        let request = Message::of([
            ("ike", charon.connection.as_str()),
            ("force", "yes"),
            ("timeout", limit.as_str()),
        ]);
        let answer = self.request("terminate", request).await?;
        match answer.text("matches") {
            Some("0") => Ok(()),
            _ => succeeded(&answer),
        }
    }

    /// The IKE SA of the connection whose child carries.
    ///
    /// # Errors
    /// It begins at another address than it must.
    async fn find(&mut self, charon: &Charon) -> Result<Option<Sa>, String> {
        let request = Message::of([("ike", charon.connection.as_str())]);
        let sas = self.list(request).await?;
        let is_it = |sa: &Sa| {
            sa.name == charon.connection && sa.is_established && sa.children.contains(&charon.child)
        };
        let all: Vec<Sa> = sas.into_iter().filter(is_it).collect();
        let begins_right = |sa: &&Sa| charon.local.is_none() || sa.local == charon.local;
        if let Some(sa) = all.iter().find(begins_right) {
            return Ok(Some(sa.clone()));
        }
        match (all.first().and_then(|sa| sa.local), charon.local) {
            (Some(wrong), Some(local)) => Err(format!(
                "{} begins at {wrong}: give it `local_addrs = {local}`",
                charon.connection
            )),
            _ => Ok(None),
        }
    }

    async fn list(&mut self, request: Message) -> Result<Vec<Sa>, String> {
        self.send_request("list-sas", request).await?;
        let mut listed = Vec::new();
        loop {
            match self.receive().await? {
                Packet::Event { name, message } if name == LISTED => listed.extend(sas(&message)),
                Packet::Event { name, .. } => self.events.push_back(name),
                Packet::Response(_) => return Ok(listed),
                other => return Err(unexpected(&other)),
            }
        }
    }

    async fn register(&mut self, event: &str) -> Result<(), String> {
        let event = event.to_owned();
        self.send(&Packet::Register { event }).await?;
        loop {
            match self.receive().await? {
                // Older versions have fewer.
                Packet::Confirm | Packet::UnknownEvent => return Ok(()),
                Packet::Event { name, .. } => self.events.push_back(name),
                other => return Err(unexpected(&other)),
            }
        }
    }

    async fn request(&mut self, name: &str, message: Message) -> Result<Message, String> {
        self.send_request(name, message).await?;
        loop {
            match self.receive().await? {
                Packet::Response(message) => return Ok(message),
                Packet::Event { name, .. } => self.events.push_back(name),
                Packet::UnknownCommand => return Err(format!("charon knows no {name}")),
                other => return Err(unexpected(&other)),
            }
        }
    }

    async fn changed(&mut self) -> Result<(), String> {
        while self.events.is_empty() {
            match self.receive().await? {
                Packet::Event { name, .. } => self.events.push_back(name),
                other => return Err(unexpected(&other)),
            }
        }
        Ok(())
    }

    async fn send_request(&mut self, name: &str, message: Message) -> Result<(), String> {
        let name = name.to_owned();
        self.send(&Packet::Request { name, message }).await
    }

    async fn send(&mut self, packet: &Packet) -> Result<(), String> {
        let sent = self.stream.write_all(&packet.encode()).await;
        sent.map_err(|error| format!("charon does not listen: {error}"))
    }

    async fn receive(&mut self) -> Result<Packet, String> {
        let mut buffer = [0; 4096];
        loop {
            let packet = self.packets.take();
            if let Some(packet) = packet.map_err(|error| format!("charon sent {error}"))? {
                return Ok(packet);
            }
            match self.stream.read(&mut buffer).await {
                Ok(0) => return Err("charon has ended".to_owned()),
                Ok(len) => self.packets.push(&buffer[..len]),
                Err(error) => return Err(format!("charon is lost: {error}")),
            }
        }
    }
}

fn said(sa: &Sa) -> String {
    match sa.addresses.first() {
        Some(address) => format!("address {address}"),
        None => "no-address".to_owned(),
    }
}

fn without_timer(error: &io::Error) -> String {
    format!("charon is not waited for: {error}")
}

fn succeeded(answer: &Message) -> Result<(), String> {
    match (answer.text("success"), answer.text("errmsg")) {
        (Some("yes"), _) => Ok(()),
        (_, Some(reason)) => Err(format!("charon: {reason}")),
        _ => Err("charon refuses, and does not say why".to_owned()),
    }
}

fn unexpected(packet: &Packet) -> String {
    format!("charon sent what nobody asked for: {packet:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vici::message::Value;
    use std::net::IpAddr;
    use std::path::Path;
    use tokio::net::UnixListener;

    const T: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 5));

    fn charon(socket: &Path, direction: Direction) -> Charon {
        Charon {
            socket: socket.to_owned(),
            connection: "office".into(),
            child: "net".into(),
            direction,
            local: Some(T),
            limit: Duration::from_secs(2),
        }
    }

    fn listed(local: &str, vips: &[&str]) -> Packet {
        let text = |name: &str, value: &str| (name.to_owned(), Value::Text(value.to_owned()));
        let child = Message(vec![text("name", "net"), text("state", "INSTALLED")]);
        let children = Message(vec![("net-1".into(), Value::Section(child))]);
        let vips = vips.iter().map(|vip| (*vip).to_owned()).collect();
        let ike = Message(vec![
            text("state", "ESTABLISHED"),
            text("local-host", local),
            ("local-vips".into(), Value::List(vips)),
            ("child-sas".into(), Value::Section(children)),
        ]);
        let message = Message(vec![("office".into(), Value::Section(ike))]);
        let name = LISTED.to_owned();
        Packet::Event { name, message }
    }

    /// Answers requests with what is next in the script, and notes their names.
    async fn served(listener: UnixListener, mut script: VecDeque<Vec<Packet>>) -> Vec<String> {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut packets, mut heard, mut buffer) = (Packets::default(), Vec::new(), [0; 4096]);
        loop {
            while let Some(packet) = packets.take().unwrap() {
                let answers = match packet {
                    Packet::Register { .. } => vec![Packet::Confirm],
                    Packet::Request { name, .. } => {
                        heard.push(name);
                        script.pop_front().unwrap()
                    }
                    other => panic!("{other:?}"),
                };
                for answer in answers {
                    stream.write_all(&answer.encode()).await.unwrap();
                }
            }
            match stream.read(&mut buffer).await.unwrap() {
                0 => return heard,
                len => packets.push(&buffer[..len]),
            }
        }
    }

    fn yes() -> Packet {
        Packet::Response(Message::of([("success", "yes")]))
    }

    fn listener() -> (tempfile::TempDir, std::path::PathBuf, UnixListener) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("charon.vici");
        let listener = UnixListener::bind(&path).unwrap();
        (dir, path, listener)
    }

    #[tokio::test]
    async fn a_connection_is_initiated_where_it_is_not_up_and_followed_until_it_ends() {
        let (_dir, path, listener) = listener();
        let event = || Packet::Event {
            name: "child-updown".into(),
            message: Message::default(),
        };
        let up = || listed("198.51.100.5", &["10.30.0.5"]);
        let script = vec![
            vec![yes()],
            vec![event(), yes()],
            vec![up(), yes()],
            vec![listed("198.51.100.5", &["10.30.0.6"]), yes(), event()],
            vec![yes()],
        ];
        let heard = served(listener, script.into());
        let client = async {
            let (said, following) = run(&charon(&path, Direction::Up)).await.unwrap();
            let mut following = following.unwrap();
            let changed = (following.next().await, following.next().await);
            (said, changed)
        };
        let (heard, (said, changed)) = tokio::join!(heard, client);
        assert_eq!(
            heard,
            ["list-sas", "initiate", "list-sas", "list-sas", "list-sas"]
        );
        assert_eq!(said, "address 10.30.0.5");
        assert_eq!(changed.0, Ok("address 10.30.0.6".to_owned()));
        assert_eq!(changed.1, Err("charon has ended net of office".to_owned()));
    }

    #[tokio::test]
    async fn what_is_up_is_left_alone_and_without_virtual_ip_there_is_no_address() {
        let (_dir, path, listener) = listener();
        let script = vec![vec![listed("198.51.100.5", &[]), yes()]];
        let client = async {
            run(&charon(&path, Direction::Up))
                .await
                .map(|(said, _)| said)
        };
        let (heard, said) = tokio::join!(served(listener, script.into()), client);
        assert_eq!(heard, ["list-sas"]);
        assert_eq!(said, Ok("no-address".to_owned()));
    }

    #[tokio::test]
    async fn one_that_begins_elsewhere_is_refused_with_the_line_that_mends_it() {
        let (_dir, path, listener) = listener();
        let script = vec![vec![listed("203.0.113.10", &[]), yes()]];
        let client = async {
            run(&charon(&path, Direction::Up))
                .await
                .map(|(said, _)| said)
        };
        let (_, refused) = tokio::join!(served(listener, script.into()), client);
        let mend = "office begins at 203.0.113.10: give it `local_addrs = 198.51.100.5`";
        assert_eq!(refused, Err(mend.to_owned()));
    }

    #[tokio::test]
    async fn a_failure_has_the_daemons_words_and_nothing_to_end_is_no_failure() {
        let no = |errmsg, matches| {
            let message = [("success", "no"), ("errmsg", errmsg), ("matches", matches)];
            vec![Packet::Response(Message::of(message))]
        };
        for (direction, script, expected) in [
            (
                Direction::Up,
                vec![vec![yes()], no("CHILD_SA config 'net' not found", "0")],
                Err("charon: CHILD_SA config 'net' not found".to_owned()),
            ),
            (
                Direction::Down,
                vec![no("no matching SAs", "0")],
                Ok(String::new()),
            ),
            (
                Direction::Down,
                vec![no("timed out", "1")],
                Err("charon: timed out".to_owned()),
            ),
        ] {
            let (_dir, path, listener) = listener();
            let client = async { run(&charon(&path, direction)).await.map(|(said, _)| said) };
            let (_, outcome) = tokio::join!(served(listener, script.into()), client);
            assert_eq!(outcome, expected);
        }
        let nobody = run(&charon(Path::new("/nonexistent/vici"), Direction::Up)).await;
        assert!(nobody.unwrap_err().starts_with("/nonexistent/vici: "));
    }
}
