//! Layer 1: Tunnel Endpoint Discovery, version 3. Sans-I/O: instants and randomness come in,
//! datagrams and findings go out.
//!
//! ```text
//! end host 102        initiator 104                  responder 106        end host 108
//!      │── packet P ──────→│ no tunnel                      │                    │
//!      │                   │── probe (240), addressed ─────→│ intercepted:       │
//!      │                   │   like P, to 108               │ 108 is protected   │
//!      │                   │   (IKE_SA_INIT goes along)     │                    │
//!      │                   │←── response (241), to the ID ──│                    │
//!      │                   │ merge the proxies, check P     │                    │
//!      │                   │←──────────── IKE ─────────────→│                    │
//! ```
//!
//! [`initiator`] and [`responder`] know nothing of each other; one agent runs both. What is on the
//! wire is [`wire`] and, octet by octet, `docs/ted.md`. Discovery alone grants nothing: a
//! [`Candidate`](initiator::Effect::Candidate) is a claim that IKE has to prove.

pub mod initiator;
pub mod interception;

pub mod limits;
pub mod proxies;
pub mod responder;

pub mod wire;

#[cfg(test)]
mod conversations;
#[cfg(test)]
mod network;

use std::net::IpAddr;

/// Whether a gateway could be reached there: one host's address that means the same to everybody.
/// Whatever is sent to others goes only to such addresses, whoever asked for it.
fn is_endpoint(addr: IpAddr) -> bool {
    let special = match addr {
        IpAddr::V4(a) => a.is_broadcast() || a.octets()[0] == 0 || a.octets()[0] >= 240,
        IpAddr::V6(a) => a.to_ipv4_mapped().is_some() || a.is_unicast_link_local(),
    };
    !(special || addr.is_unspecified() || addr.is_loopback() || addr.is_multicast())
}
