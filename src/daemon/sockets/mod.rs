//! The sockets of the agent. All of them pass XFRM policies and carry the pass mark, but for the one
//! whose registrations go where the routing table leads.

mod arp;
mod errors;
mod in_ip;
mod on_link;
mod options;
mod raw;
mod registration;
mod udp;

pub use arp::announce;
pub use errors::ErrorSocket;
pub use in_ip::open_in_ip;
pub use on_link::OnLinkSockets;
pub use raw::{Datagram, RawSockets};
pub use registration::RegistrationSockets;
pub use udp::{Purpose, Received, UdpSocket};

use crate::net::Family;
use std::io;
use std::net::{IpAddr, SocketAddr};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "UDP port {port} ({family:?}) is taken, probably by another {} daemon: \
         `ss -ulpn sport = :{port}` names it; stop it or do not run both", usual(*port)
    )]
    PortTaken { port: u16, family: Family },
    #[error("cannot {what} (port {port}, {family:?}): {source}{}", hint(source))]
    Open {
        port: u16,
        family: Family,
        what: &'static str,
        source: io::Error,
    },
    #[error("cannot send from {local} to {remote}: {source}")]
    Send {
        local: IpAddr,
        remote: SocketAddr,
        source: io::Error,
    },
    #[error("cannot receive: {0}")]
    Receive(io::Error),
    #[error("cannot send {0} octets in one datagram")]
    TooLong(usize),
    #[error("cannot send from {src} to {dst}: different IP versions")]
    MixedFamilies { src: IpAddr, dst: IpAddr },
}

/// Who usually has that port.
fn usual(port: u16) -> &'static str {
    match port {
        434 => "Mobile IP",
        _ => "IKE",
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; the agent needs CAP_NET_ADMIN, CAP_NET_RAW and CAP_NET_BIND_SERVICE: run it as root"
        }
        _ => "",
    }
}
