//! Whether a request is passed on, or denied and how (RFC 5944 §3.7.2.1, RFC 3024 §4.2.1).

use super::settings::{ReverseTunnels, Settings};
use crate::mobile_ip::wire::{
    AuthenticationKind, Code, Decoded, Extension, Flags, RegistrationRequest, TunnelKind,
};
use std::net::Ipv4Addr;

/// What a request says to the foreign agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Extensions up to here, exclusively, go on to the home agent.
    pub relayed: usize,
    pub encapsulating: bool,
    pub challenge: Option<Vec<u8>>,
}

/// What this agent has no reason to deny. Order: what makes the message untrue, then what cannot be
/// offered.
pub fn check(
    decoded: &Decoded,
    request: &RegistrationRequest,
    ttl: u8,
    settings: &Settings,
) -> Result<Wanted, Code> {
    let flags = request.flags;
    if flags.intersects(Flags::RESERVED) {
        return Err(Code::FA_POORLY_FORMED_REQUEST);
    }
    if let Some(association) = settings.with_mobile_node(request.home) {
        let placed = decoded.only_authenticator(AuthenticationKind::MobileForeign);
        if !placed.is_some_and(|placed| association.verify(&placed)) {
            return Err(Code::FA_MOBILE_NODE_AUTHENTICATION);
        }
    }
    // RFC 5944 §3.6.1.3: the request of a mobile node is signed for its home agent.
    let home = decoded
        .only_authenticator(AuthenticationKind::MobileHome)
        .ok_or(Code::FA_POORLY_FORMED_REQUEST)?;
    if request.home.is_unspecified() {
        // RFC 5944 §3.7.1: visitors are told apart by their home addresses here.
        return Err(Code::FA_NONZERO_HOME_ADDRESS_REQUIRED);
    }
    check_addresses(request, settings)?;
    let for_us = &decoded.extensions()[home.index + 1..];
    let encapsulating = for_us.contains(&Extension::EncapsulatingDelivery);
    let reverse = flags.contains(Flags::REVERSE_TUNNEL);
    if encapsulating && !reverse {
        // RFC 3024 §3.3: never without T.
        return Err(Code::FA_POORLY_FORMED_REQUEST);
    }
    if request.lifetime > settings.lifetime {
        return Err(Code::FA_LIFETIME);
    }
    for (flag, kind) in [
        (Flags::MINIMAL, TunnelKind::Minimal),
        (Flags::GRE, TunnelKind::Gre),
    ] {
        let ours = !flags.contains(Flags::DECAPSULATION);
        if ours && flags.contains(flag) && !settings.offers(kind) {
            return Err(Code::FA_ENCAPSULATION);
        }
    }
    match settings.reverse {
        ReverseTunnels::Mandatory if !reverse => return Err(Code::FA_REVERSE_TUNNEL_MANDATORY),
        ReverseTunnels::Unavailable if encapsulating => return Err(Code::FA_DELIVERY_STYLE),
        // RFC 3024 §4.2.1: from this very link.
        _ if reverse && ttl != 255 => return Err(Code::FA_TOO_DISTANT),
        ReverseTunnels::Unavailable if reverse => return Err(Code::FA_REVERSE_TUNNEL),
        _ => {}
    }
    let challenge = for_us.iter().find_map(|extension| match extension {
        Extension::Challenge(challenge) => Some(challenge.clone()),
        _ => None,
    });
    Ok(Wanted {
        relayed: home.index + 1,
        encapsulating,
        challenge,
    })
}

fn check_addresses(request: &RegistrationRequest, settings: &Settings) -> Result<(), Code> {
    let agent = request.home_agent;
    if settings.own.contains(&agent) || agent == settings.care_of || agent == settings.address {
        return Err(Code::FA_INVALID_HOME_AGENT);
    }
    if !is_host(agent) {
        return Err(Code::FA_MISSING_HOME_AGENT);
    }
    // A visitor with one of our addresses would take it from us.
    if !is_host(request.home) || settings.own.contains(&request.home) {
        return Err(Code::FA_POORLY_FORMED_REQUEST);
    }
    let co_located = request.flags.contains(Flags::DECAPSULATION);
    if !co_located && request.lifetime > 0 && request.care_of != settings.care_of {
        return Err(Code::FA_CARE_OF_ADDRESS);
    }
    Ok(())
}

fn is_host(address: Ipv4Addr) -> bool {
    let special = address.is_unspecified() || address.is_broadcast() || address.is_multicast();
    !special && !address.is_loopback()
}
