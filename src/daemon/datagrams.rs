//! The agent's sockets, read by its own loop: a reply leaves before it is asked whether more has
//! come, and no task has to be woken for it.

use super::sockets::{ErrorSocket, OnLinkSockets, Received, RegistrationSockets, UdpSocket};
use crate::agent::event::Event;
use crate::kernel::first_packets::{FirstPacket, FirstPackets};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Larger than any datagram.
const BUFFER: usize = 65_536;

/// RFC 3948 §2.2: what stands before IKE on port 4500, where ESP has its SPI.
pub(super) const NON_ESP_MARKER: [u8; 4] = [0; 4];

/// Which event a socket's datagrams are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    Ike,
    NatTraversal,
    Transparent,
}

/// All the sockets, of which each gets its turn. What is not read yet waits in them.
#[derive(Debug)]
pub(super) struct Datagrams {
    /// The one that has waited longest comes first.
    sockets: VecDeque<(Source, Rc<UdpSocket>)>,
    registration: Rc<RegistrationSockets>,
    on_link: Rc<OnLinkSockets>,
    /// Of a foreign agent.
    errors: Option<ErrorSocket>,
    first_packets: Option<Rc<FirstPackets>>,
    /// Whether those of registrations are asked before the others.
    registration_first: bool,
    buffer: Box<[u8]>,
}

impl Datagrams {
    pub(super) fn new(
        sockets: impl IntoIterator<Item = (Source, Rc<UdpSocket>)>,
        registration: Rc<RegistrationSockets>,
        on_link: Rc<OnLinkSockets>,
        errors: Option<ErrorSocket>,
        first_packets: Option<Rc<FirstPackets>>,
    ) -> Self {
        Self {
            sockets: sockets.into_iter().collect(),
            registration,
            on_link,
            errors,
            first_packets,
            registration_first: false,
            buffer: vec![0; BUFFER].into(),
        }
    }

    /// The next event; never, once every socket is lost. May be dropped while it waits without
    /// losing one.
    pub(super) async fn next(&mut self) -> Event {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// What was read at once with the last event.
    pub(super) fn at_hand(&mut self) -> Option<Event> {
        self.registration.at_hand().map(Event::Registration)
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        if let Some(packet) = self.poll_first_packets(context) {
            return Poll::Ready(Event::FirstPacket(packet));
        }
        self.registration_first = !self.registration_first;
        if self.registration_first {
            let registration = self.poll_registration(context);
            registration.map_or_else(|| self.poll_sockets(context), Poll::Ready)
        } else {
            let polled = self.poll_sockets(context);
            if polled.is_ready() {
                return polled;
            }
            let registration = self.poll_registration(context);
            registration.map_or(Poll::Pending, Poll::Ready)
        }
    }

    /// Before all others: there are no more of them than the table's rate.
    fn poll_first_packets(&mut self, context: &mut Context<'_>) -> Option<FirstPacket> {
        match self
            .first_packets
            .as_ref()?
            .poll_receive(context, &mut self.buffer)
        {
            Poll::Ready(Ok(packet)) => Some(packet),
            Poll::Ready(Err(error)) => {
                tracing::warn!(%error, "first packets are not heard of any more");
                self.first_packets = None;
                None
            }
            Poll::Pending => None,
        }
    }

    fn poll_registration(&mut self, context: &mut Context<'_>) -> Option<Event> {
        if let Poll::Ready(datagram) = self.registration.poll_receive(context) {
            return Some(Event::Registration(datagram));
        }
        if let Poll::Ready(overheard) = self.on_link.poll_receive(context, &mut self.buffer) {
            return Some(Event::OnLink(overheard));
        }
        match self
            .errors
            .as_ref()?
            .poll_receive(context, &mut self.buffer)
        {
            Poll::Ready(Ok(error)) => Some(Event::Undelivered(error)),
            Poll::Ready(Err(error)) => {
                tracing::warn!(%error, "ICMP errors are not heard any more");
                self.errors = None;
                None
            }
            Poll::Pending => None,
        }
    }

    fn poll_sockets(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        let mut silent = 0;
        while silent < self.sockets.len() {
            let (source, socket) = &self.sockets[0];
            let (source, polled) = (*source, socket.poll_receive(context, &mut self.buffer));
            if let Poll::Ready(Err(error)) = polled {
                tracing::error!(%error, port = socket.port(), "a socket is lost");
                self.sockets.pop_front();
                continue;
            }
            self.sockets.rotate_left(1);
            let Poll::Ready(Ok(received)) = polled else {
                silent += 1;
                continue;
            };
            silent = 0;
            if let Some(event) = event(source, received, &self.buffer[..received.len]) {
                return Poll::Ready(event);
            }
        }
        Poll::Pending
    }
}

fn event(source: Source, received: Received, payload: &[u8]) -> Option<Event> {
    let Received {
        local,
        remote,
        hop_limit,
        ..
    } = received;
    match source {
        Source::Ike => Some(Event::Datagram {
            local,
            remote,
            payload: payload.to_vec(),
        }),
        // What is left here is not ESP; a NAT keepalive is one octet and says nothing.
        Source::NatTraversal => {
            payload
                .strip_prefix(&NON_ESP_MARKER)
                .map(|payload| Event::Datagram {
                    local,
                    remote,
                    payload: payload.to_vec(),
                })
        }
        // The socket's own port is not secret; only what was diverted was meant for port 500.
        Source::Transparent => (local.port() == 500).then(|| Event::Diverted {
            local,
            remote,
            hop_limit,
            payload: payload.to_vec(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sockets::Purpose;
    use super::*;
    use crate::net::Family;
    use std::net::{Ipv4Addr, UdpSocket as Sender};
    use std::time::Duration;
    use tokio::time::timeout;

    /// Two sockets, and how to send to each; the options need privileges.
    fn sockets() -> Option<[(Rc<UdpSocket>, Sender); 2]> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("not run: needs root for sockets that pass policies");
            return None;
        }
        Some([(); 2].map(|()| {
            let socket = UdpSocket::open(Family::V4, Purpose::Transparent, 0).unwrap();
            let sender = Sender::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            sender
                .connect((Ipv4Addr::LOCALHOST, socket.port()))
                .unwrap();
            (Rc::new(socket), sender)
        }))
    }

    fn reading(sockets: &[(Rc<UdpSocket>, Sender); 2]) -> Datagrams {
        let registration = Rc::new(RegistrationSockets::new(0));
        let sockets = sockets.each_ref().map(|(s, _)| (Source::Ike, s.clone()));
        Datagrams::new(sockets, registration, Rc::default(), None, None)
    }

    /// What comes next, if it is there.
    async fn heard(datagrams: &mut Datagrams) -> Option<Vec<u8>> {
        match timeout(Duration::from_millis(100), datagrams.next()).await {
            Ok(Event::Datagram { payload, .. }) => Some(payload),
            Ok(other) => panic!("{other:?}"),
            Err(_) => None,
        }
    }

    #[tokio::test]
    async fn one_among_many_gets_its_turn_and_none_is_lost() {
        let Some(sockets) = sockets() else { return };
        let mut datagrams = reading(&sockets);
        let [(_, loud), (_, quiet)] = &sockets;
        for _ in 0..50 {
            loud.send(b"again").unwrap();
        }
        quiet.send(b"once").unwrap();
        // What has come is seen at the next look at the sockets.
        tokio::time::sleep(Duration::from_millis(10)).await;
        let mut payloads = Vec::new();
        while let Some(payload) = heard(&mut datagrams).await {
            payloads.push(payload);
        }
        assert_eq!(payloads.len(), 51);
        let place = payloads.iter().position(|payload| payload == b"once");
        assert!(place.is_some_and(|place| place < 2), "{place:?}");
    }

    #[tokio::test]
    async fn a_wait_that_was_given_up_loses_nothing() {
        let Some(sockets) = sockets() else { return };
        let mut datagrams = reading(&sockets);
        assert_eq!(heard(&mut datagrams).await, None);
        for (_, sender) in &sockets {
            sender.send(b"late").unwrap();
            assert_eq!(heard(&mut datagrams).await.as_deref(), Some(&b"late"[..]));
        }
        assert_eq!(heard(&mut datagrams).await, None);
    }

    #[test]
    fn only_ike_on_port_4500_and_only_probes_that_were_diverted_are_heard() {
        let received = |local: &str, len| Received {
            local: local.parse().unwrap(),
            remote: "192.0.2.1:500".parse().unwrap(),
            hop_limit: 64,
            len,
        };
        let at_4500 = |payload: &[u8]| {
            let received = received("192.0.2.2:4500", payload.len());
            event(Source::NatTraversal, received, payload)
        };
        assert!(matches!(at_4500(&[0, 0, 0, 0, 7]),
            Some(Event::Datagram { payload, .. }) if payload == [7]));
        assert!(at_4500(&[0xff]).is_none(), "a NAT keepalive");
        let diverted = |local| event(Source::Transparent, received(local, 1), &[7]);
        assert!(matches!(
            diverted("10.2.0.8:500"),
            Some(Event::Diverted { .. })
        ));
        assert!(diverted("192.0.2.2:40000").is_none());
    }
}
