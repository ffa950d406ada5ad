//! Whether an authentic, fresh request can be served, and how (RFC 5944 §3.8.2.3, RFC 3024 §4.3.1,
//! RFC 3519 §4.6). A pure function of the request and the settings.

use super::settings::{ReverseTunnel, Settings};
use crate::mobile_ip::wire::{
    Code, Extension, Flags, INFINITE, RegistrationRequest, TunnelKind, UdpTunnelReply,
    UdpTunnelRequest,
};
use std::net::Ipv4Addr;

/// What will be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub kind: TunnelKind,
    pub reverse: bool,
    pub udp: Udp,
    pub lifetime: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Udp {
    NotAsked,
    Declined,
    Tunnel { forced: bool, half_bound: bool },
}

impl Udp {
    pub(super) fn reply(self, keepalive: u16) -> Option<Extension> {
        let (code, forced) = match self {
            Self::NotAsked => return None,
            Self::Declined => (UdpTunnelReply::DECLINED, false),
            Self::Tunnel { forced, .. } => (UdpTunnelReply::WILL_DO, forced),
        };
        Some(Extension::UdpTunnelReply(UdpTunnelReply {
            code,
            forced,
            keepalive: if code == UdpTunnelReply::WILL_DO {
                keepalive
            } else {
                0
            },
        }))
    }
}

/// `signed_at` is which extension the mobile node's authenticator is: before it the mobile node
/// speaks, behind it the foreign agent.
pub(super) fn judge(
    settings: &Settings,
    request: &RegistrationRequest,
    signed_at: usize,
    source: Ipv4Addr,
) -> Result<Service, Code> {
    let flags = request.flags;
    let udp = udp(settings, request, signed_at, source)?;
    let asked = udp_request(request, signed_at).map_or(0, |(asked, _)| asked.encapsulation);
    let kind = match (udp, asked) {
        (Udp::Tunnel { .. }, 1..) => TunnelKind::of_protocol(asked),
        _ => Some(flags.encapsulation()),
    };
    let kind = match (udp, kind) {
        // RFC 3519 §4.1: everybody can that, and nothing else is offered in UDP.
        (_, Some(TunnelKind::IpIp)) => TunnelKind::IpIp,
        (Udp::Tunnel { .. }, _) | (_, None) => return Err(Code::HA_UDP_ENCAPSULATION),
        (_, Some(kind)) if offers(settings, kind) => kind,
        _ => return Err(Code::HA_ENCAPSULATION),
    };
    let reverse = flags.contains(Flags::REVERSE_TUNNEL);
    match settings.reverse_tunnel {
        ReverseTunnel::Refused if reverse => return Err(Code::HA_REVERSE_TUNNEL),
        ReverseTunnel::Required if !reverse => return Err(Code::HA_REVERSE_TUNNEL_MANDATORY),
        _ => {}
    }
    let most = match udp {
        Udp::Tunnel { .. } => settings.nat.lifetime.min(settings.limits.lifetime),
        Udp::NotAsked | Udp::Declined => settings.limits.lifetime,
    };
    // RFC 5944 §3.8.2.2: never longer than asked; INFINITE is the greatest number as well.
    let lifetime = request.lifetime.min(most);
    debug_assert!(lifetime < INFINITE || most == INFINITE);
    Ok(Service {
        kind,
        reverse,
        udp,
        lifetime,
    })
}

pub(super) fn offers(settings: &Settings, kind: TunnelKind) -> bool {
    kind == TunnelKind::IpIp || settings.encapsulations.contains(&kind)
}

/// The first one, and where it stands.
fn udp_request(
    request: &RegistrationRequest,
    signed_at: usize,
) -> Option<(UdpTunnelRequest, Speaker)> {
    let mut all = request.extensions.iter().enumerate();
    all.find_map(|(index, extension)| match extension {
        Extension::UdpTunnelRequest(asked) if index < signed_at => {
            Some((*asked, Speaker::MobileNode))
        }
        Extension::UdpTunnelRequest(asked) => Some((*asked, Speaker::ForeignAgent)),
        _ => None,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaker {
    MobileNode,
    ForeignAgent,
}

fn udp(
    settings: &Settings,
    request: &RegistrationRequest,
    signed_at: usize,
    source: Ipv4Addr,
) -> Result<Udp, Code> {
    let Some((asked, speaker)) = udp_request(request, signed_at) else {
        return Ok(Udp::NotAsked);
    };
    // RFC 3519 §4.6.1
    let co_located = request.flags.contains(Flags::DECAPSULATION);
    if co_located != (speaker == Speaker::MobileNode) || asked.reserved != 0 {
        return Err(Code::HA_POORLY_FORMED);
    }
    let behind_nat = source != request.care_of;
    match (behind_nat, asked.force) {
        (false, false) => Ok(Udp::Declined),
        (true, _) if !settings.nat.allowed => Err(Code::HA_PROHIBITED),
        (false, true) if !(settings.nat.allowed && settings.nat.forced_allowed) => {
            Err(Code::HA_PROHIBITED)
        }
        (_, forced) => Ok(Udp::Tunnel {
            forced,
            half_bound: asked.through_foreign_agent,
        }),
    }
}
