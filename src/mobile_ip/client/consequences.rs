//! What each code of a reply asks for (RFC 5944 §3.6.2.3 and the standards that add codes).

use super::settings::{Delivery, ReverseTunnel, Settings, UdpTunnel};
use crate::mobile_ip::wire::{Code, TunnelKind};

/// Seconds. A foreign agent that takes less keeps us busy, and most of its denials are not signed.
const LEAST_LIFETIME: u16 = 10;

/// What is left out of a request, or added, because somebody wanted it so. Each once an attachment:
/// two agents that want the opposite of each other end in a denial, not in a loop.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one thing that was refused, independent of the others"
)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repairs {
    /// The longest lifetime that a foreign agent takes.
    pub lifetime: Option<u16>,
    pub plain_tunnel: bool,
    pub reverse: Option<bool>,
    pub single_binding: bool,
    pub direct_delivery: bool,
    /// IP in UDP, whatever M and G say: everybody can that (RFC 3519 §4.1).
    pub plain_udp: bool,
    /// Which care-of address of the foreign agent (RFC 5944 §2.4).
    pub care_of: usize,
    challenged: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consequence {
    Accepted,
    /// Something in the request is to be otherwise, and is by now: ask again at once.
    Repaired,
    /// Adjust the identification and ask again.
    Resynchronise,
    /// The reply says where the home agent is.
    HomeAgentFound,
    /// Ask again with the challenge of the reply, or of a new advertisement (RFC 4721 §3.5).
    Challenge,
    /// Somebody on the way got no answer either, or challenges again: ask again when it is time.
    Wait,
    /// Nothing that we may change would help.
    GiveUp,
}

/// What a care-of address is registered with, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub lifetime: u16,
    pub care_of_addresses: usize,
    pub discovering: bool,
}

pub fn of(
    code: Code,
    granted: u16,
    asked: Asked,
    settings: &Settings,
    repairs: &mut Repairs,
) -> Consequence {
    use Consequence as C;
    let repaired = match code {
        code if code.is_accepted() => {
            // Whatever was advertised meanwhile, the next one may be challenged again.
            repairs.challenged = false;
            return C::Accepted;
        }
        Code::HA_IDENTIFICATION => return C::Resynchronise,
        // Only who asks for an unknown home agent is told another one's address.
        Code::HA_UNKNOWN_HOME_AGENT if asked.discovering => return C::HomeAgentFound,
        Code::FA_TIMEOUT
        | Code::FA_HOME_NETWORK_UNREACHABLE
        | Code::FA_HOME_AGENT_HOST_UNREACHABLE
        | Code::FA_HOME_AGENT_PORT_UNREACHABLE
        | Code::FA_HOME_AGENT_UNREACHABLE => return C::Wait,
        Code::FA_UNKNOWN_CHALLENGE | Code::FA_MISSING_CHALLENGE | Code::FA_STALE_CHALLENGE => {
            let first = !repairs.challenged;
            repairs.challenged = true;
            // One that went with a request that was lost is used up: the repetition has the one of the reply.
            return if first { C::Challenge } else { C::Wait };
        }
        // RFC 5944 §3.6.2.3: no more than the reply says.
        Code::FA_LIFETIME => {
            let shorter = granted >= LEAST_LIFETIME && granted < asked.lifetime;
            shorter && repairs.lifetime.replace(granted).is_none()
        }
        Code::FA_ENCAPSULATION | Code::HA_ENCAPSULATION => {
            let wished = settings.encapsulation != TunnelKind::IpIp;
            wished && !std::mem::replace(&mut repairs.plain_tunnel, true)
        }
        // Without a reverse tunnel it may be registered and yet send nothing (RFC 3024 §4.1.2).
        Code::FA_REVERSE_TUNNEL | Code::HA_REVERSE_TUNNEL => {
            let dispensable = settings.reverse == ReverseTunnel::Wanted;
            dispensable && repairs.reverse.replace(false).is_none()
        }
        Code::FA_REVERSE_TUNNEL_MANDATORY | Code::HA_REVERSE_TUNNEL_MANDATORY => {
            let unwanted = settings.reverse == ReverseTunnel::Unwanted;
            unwanted && repairs.reverse.replace(true).is_none()
        }
        Code::HA_TOO_MANY_BINDINGS => !std::mem::replace(&mut repairs.single_binding, true),
        Code::HA_UDP_ENCAPSULATION => {
            let wished = settings.udp != UdpTunnel::Never;
            wished && !std::mem::replace(&mut repairs.plain_udp, true)
        }
        Code::FA_DELIVERY_STYLE => {
            let wished = settings.delivery != Delivery::Direct;
            wished && !std::mem::replace(&mut repairs.direct_delivery, true)
        }
        Code::FA_CARE_OF_ADDRESS => {
            repairs.care_of += 1;
            repairs.care_of < asked.care_of_addresses
        }
        _ => false,
    };
    if repaired { C::Repaired } else { C::GiveUp }
}
