//! The agent's ways out: which socket a datagram leaves from, where randomness and routes come from.

use super::carrying::Carrying;
use super::datagrams::{Datagrams, NON_ESP_MARKER, Source};
use super::sockets::{
    self, Datagram, ErrorSocket, OnLinkSockets, Purpose, RawSockets, RegistrationSockets, UdpSocket,
};
use crate::agent::effect::Routes;
use crate::agent::on_link::Frame;
use crate::kernel::desired::{LinkName, TransparentPorts};
use crate::kernel::first_packets::FirstPackets;
use crate::kernel::source_addresses::SourceAddresses;
use crate::mobile_ip;
use crate::net::{Family, Random};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

pub(super) struct Sockets {
    ike: [Rc<UdpSocket>; 2],
    nat_traversal: [Rc<UdpSocket>; 2],
    transparent: [Rc<UdpSocket>; 2],
    raw: RawSockets,
    registration: Rc<RegistrationSockets>,
    on_link: Rc<OnLinkSockets>,
}

impl Sockets {
    pub(super) fn open(mark: u32) -> Result<Self, sockets::Error> {
        let open = |purpose| -> Result<[Rc<UdpSocket>; 2], sockets::Error> {
            let [v4, v6] =
                [Family::V4, Family::V6].map(|family| UdpSocket::open(family, purpose, mark));
            Ok([Rc::new(v4?), Rc::new(v6?)])
        };
        Ok(Self {
            ike: open(Purpose::Ike)?,
            nat_traversal: open(Purpose::NatTraversal)?,
            transparent: open(Purpose::Transparent)?,
            raw: RawSockets::open(mark)?,
            registration: Rc::new(RegistrationSockets::new(mark)),
            on_link: Rc::default(),
        })
    }

    /// Where the configuration has a role of Mobile IP. Nothing leaves from port 434 before.
    pub(super) fn listen_for_registrations(&self) -> Result<(), sockets::Error> {
        self.registration.open()
    }

    /// To be read, by one reader, and `first_packets` with them. `errors` has what ICMP says of requests that were
    /// passed on.
    pub(super) fn datagrams(
        &self,
        errors: Option<ErrorSocket>,
        first_packets: Option<Rc<FirstPackets>>,
    ) -> Datagrams {
        let kinds = [
            (Source::Ike, &self.ike),
            (Source::NatTraversal, &self.nat_traversal),
            (Source::Transparent, &self.transparent),
        ];
        let of_kind = |(source, sockets)| {
            let sockets: &[Rc<UdpSocket>; 2] = sockets;
            sockets.clone().map(|socket| (source, socket))
        };
        let registration = self.registration.clone();
        let sockets = kinds.into_iter().flat_map(of_kind);
        let on_link = self.on_link.clone();
        Datagrams::new(sockets, registration, on_link, errors, first_packets)
    }

    pub(super) fn send_as(
        &self,
        src: SocketAddr,
        dst: SocketAddr,
        hop_limit: u8,
        payload: &[u8],
    ) -> Result<(), sockets::Error> {
        self.raw.send(&Datagram {
            src,
            dst,
            hop_limit,
            payload,
        })
    }

    pub(super) fn send(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
        payload: &[u8],
    ) -> Result<(), sockets::Error> {
        let by_family = |sockets: &[Rc<UdpSocket>; 2]| match remote {
            SocketAddr::V4(_) => sockets[0].clone(),
            SocketAddr::V6(_) => sockets[1].clone(),
        };
        if local.port() == 4500 {
            let parts = [IoSlice::new(&NON_ESP_MARKER), IoSlice::new(payload)];
            by_family(&self.nat_traversal).send(local.ip(), remote, &parts)
        } else {
            by_family(&self.ike).send(local.ip(), remote, &[IoSlice::new(payload)])
        }
    }

    /// Tells of each that does not leave.
    pub(super) fn send_registrations(
        &self,
        datagrams: &[mobile_ip::Datagram],
        failed: impl FnMut(sockets::Error),
    ) {
        self.registration.send(datagrams, failed);
    }

    /// Of these links, and of no others, mobility agents are heard.
    pub(super) fn listen_on(&self, links: &[(LinkName, u32)]) {
        self.on_link.links(links);
    }

    pub(super) fn send_on_link(&self, frame: &Frame) -> io::Result<()> {
        self.on_link.send(frame)
    }

    /// From now on registrations are heard through it.
    pub(super) fn carry(&self, carrying: Rc<Carrying>) -> Result<(), sockets::Error> {
        self.registration.carry(carrying)
    }

    pub(super) fn transparent_ports(&self) -> TransparentPorts {
        TransparentPorts {
            v4: self.transparent[0].port(),
            v6: Some(self.transparent[1].port()),
        }
    }
}

/// The system's generator.
pub(super) struct System(SystemRandom);

impl System {
    pub(super) fn new() -> Self {
        Self(SystemRandom::new())
    }
}

impl Random for System {
    fn fill(&mut self, out: &mut [u8]) {
        // It fails only where the kernel has no getrandom, and nothing could be secure then.
        self.0
            .fill(out)
            .expect("the system's random generator works");
    }
}

impl Routes for SourceAddresses {
    fn source_towards(&mut self, dst: IpAddr) -> Option<IpAddr> {
        self.towards(dst)
    }
}
