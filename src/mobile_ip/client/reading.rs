//! Whether a reply may be believed (RFC 5944 §3.6.2.1), and what its extensions say.

use super::Suspicion;
use super::asking::Request;
use super::settings::Settings;
use crate::mobile_ip::Datagram;
use crate::mobile_ip::security::ReplayProtection;
use crate::mobile_ip::wire::code::Denier;
use crate::mobile_ip::wire::{
    AuthenticationKind, Decoded, Extension, Ipv6Prefix, Ipv6ReplyCode, MobileNetworkCode,
    RegistrationReply, UdpTunnelReply,
};
use crate::net::{Ipv4Net, Ipv6Net};

/// What a believed reply says beside its code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Signed by who speaks, the home agent or a foreign agent that shares a key with us.
    pub authenticated: bool,
    pub udp: Option<UdpTunnelReply>,
    /// RFC 5265 §3.4.
    pub trusted_networks_configured: bool,
    /// The home agent revokes, and this is its time (RFC 3543 §3.2).
    pub revocation_time: Option<u32>,
    pub networks: Vec<Ipv4Net>,
    pub networks6: Vec<Ipv6Net>,
    /// Of the foreign agent, for the next request (RFC 4721 §3.3).
    pub challenge: Option<Vec<u8>>,
}

/// `Err(None)`: none of ours, or one of those that everybody can send.
pub fn believe(
    datagram: &Datagram,
    decoded: &Decoded,
    reply: &RegistrationReply,
    request: &Request,
    settings: &Settings,
) -> Result<Said, Option<Suspicion>> {
    // RFC 5944 §5.7.1: a timestamp that was accepted comes back whole. Half of it may be that of another moment, and the
    // answer of then.
    let is_answered_whole =
        reply.code.is_accepted() && settings.association.replay != ReplayProtection::Nonces;
    // An identification that nobody guesses comes first, so that strangers fill no log.
    if reply.identification.low() != request.identification.low()
        || (is_answered_whole && reply.identification != request.identification)
        || datagram.local.port() != request.local.port()
        || (!request.home.is_unspecified() && reply.home != request.home)
    {
        return Err(None);
    }
    let mut said = Said::default();
    if let Some(agent) = request.through {
        if let Some(association) = settings.with_foreign_agent(agent) {
            let placed = decoded.only_authenticator(AuthenticationKind::MobileForeign);
            if !placed.is_some_and(|placed| association.verify(&placed)) {
                return Err(Some(Suspicion::WrongForeignAuthenticator));
            }
            said.authenticated = true;
        }
        said.challenge = decoded
            .extensions()
            .iter()
            .find_map(|extension| match extension {
                Extension::Challenge(challenge) => Some(challenge.clone()),
                _ => None,
            });
    }
    if reply.code.denier() == Some(Denier::ForeignAgent) {
        // From the one that was asked, not from anybody.
        return match request.through {
            Some(agent) if *datagram.remote.ip() == agent => Ok(said),
            _ => Err(None),
        };
    }
    let placed = decoded
        .only_authenticator(AuthenticationKind::MobileHome)
        .ok_or(Some(Suspicion::NotAuthenticated))?;
    if !settings.association.verify(&placed) {
        return Err(Some(Suspicion::WrongAuthenticator));
    }
    said.authenticated = true;
    // Behind the authenticator anybody on the way may have added something.
    for extension in &decoded.extensions()[..placed.index] {
        match extension {
            Extension::UdpTunnelReply(udp) => said.udp = Some(*udp),
            Extension::TrustedNetworksConfigured => said.trusted_networks_configured = true,
            Extension::RevocationSupport(support) => said.revocation_time = Some(support.timestamp),
            Extension::MobileNetworkAck(ack) if ack.code == MobileNetworkCode::SUCCESS => {
                said.networks
                    .extend(Ipv4Net::new(ack.prefix, ack.prefix_len));
            }
            // The only way that was asked for.
            Extension::Ipv6PrefixReply(reply) if reply.code == Ipv6ReplyCode::TO_HOME_ADDRESS => {
                let Ipv6Prefix { prefix, len } = reply.prefix;
                said.networks6.extend(Ipv6Net::new(prefix, len));
            }
            _ => {}
        }
    }
    Ok(said)
}
