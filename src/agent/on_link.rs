//! What is said on one link, to neighbours whose addresses say nothing of where they are: frames.

use super::Agent;
use super::mobility::Heard;
use crate::kernel::desired::LinkName;
use crate::mobile_ip::LinkId;
use crate::mobile_ip::wire::advertisement::Discovery;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

/// RFC 1256 §4.2: every router on the link.
pub const ALL_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 2);

/// Heard on a link that the settings listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overheard {
    pub link: LinkId,
    pub name: LinkName,
    /// Of its sender.
    pub mac: [u8; 6],
    pub ttl: u8,
    pub packet: Packet,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// Of type 9 or 10, checksum included.
    Icmp {
        source: Ipv4Addr,
        destination: Ipv4Addr,
        message: Vec<u8>,
    },
    /// A registration request, whoever it was addressed to.
    Request {
        local: SocketAddrV4,
        remote: SocketAddrV4,
        payload: Vec<u8>,
    },
}

/// To leave by that link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub link: LinkName,
    pub to: Receiver,
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub ttl: u8,
    pub payload: Payload,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiver {
    /// The group that the destination is, or all.
    Everybody,
    Mac([u8; 6]),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    Icmp(Vec<u8>),
    Udp {
        source: u16,
        destination: u16,
        payload: Vec<u8>,
    },
}

impl Agent {
    fn is_visited_on(&self, link: LinkName) -> bool {
        let settings = self.settings.foreign_agent.as_ref();
        settings.is_some_and(|settings| settings.link == link)
    }

    pub(super) fn overheard(&mut self, now: Instant, overheard: Overheard) {
        let Overheard {
            link,
            name,
            mac,
            ttl,
            packet,
        } = overheard;
        let (source, destination, message) = match packet {
            Packet::Icmp {
                source,
                destination,
                message,
            } => (source, destination, message),
            Packet::Request {
                local,
                remote,
                payload,
            } => {
                if self.is_visited_on(name) {
                    let addresses = (local, remote);
                    self.foreign_agent_asked(now, addresses, (ttl, mac), payload);
                }
                return;
            }
        };
        // RFC 5944 §2.3: what is for everybody has come over no router.
        if destination.is_multicast() && ttl != 1 {
            return self.count("discovery-ignored");
        }
        match Discovery::decode(&message) {
            Ok(Discovery::Advertisement(advertisement)) => {
                self.mobility_advertised(
                    now,
                    Heard {
                        link,
                        source,
                        mac,
                        advertisement,
                    },
                );
            }
            Ok(Discovery::Solicitation) if self.is_visited_on(name) => {
                self.foreign_agent_solicited(now, source, mac);
            }
            Ok(Discovery::Solicitation) => {}
            Err(error) => {
                tracing::debug!(%error, %source, %name, "not understood");
                self.count("discovery-malformed");
            }
        }
    }
}
