//! A registration request, from what is wanted to octets.

use super::consequences::Repairs;
use super::settings::{Delivery, HomeAgent, ReverseTunnel, Settings, UdpTunnel};
use super::{Attachment, CareOf};
use crate::mobile_ip::wire::advertisement::AgentFlags;
use crate::mobile_ip::wire::{
    AuthenticationKind, Extension, Flags, Identification, Ipv6Prefix, PORT, RegistrationRequest,
    RevocationSupport, TunnelKind, UdpTunnelRequest,
};
use crate::mobile_ip::{Datagram, Via};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

/// A request that was sent, and what its answer has to suit.
#[derive(Clone, Debug)]
pub struct Request {
    pub via: Via,
    pub local: SocketAddrV4,
    pub remote: SocketAddrV4,
    pub octets: Vec<u8>,
    pub identification: Identification,
    pub home: Ipv4Addr,
    pub home_agent: Ipv4Addr,
    pub care_of: Ipv4Addr,
    pub lifetime: u16,
    pub flags: Flags,
    pub encapsulating: bool,
    pub asked_for_udp: bool,
    /// Whether a foreign agent passes it on, and which addresses it has to offer.
    pub through: Option<Ipv4Addr>,
    pub care_of_addresses: usize,
    /// When it was sent first.
    pub asked: Instant,
    pub copies: u32,
}

impl Request {
    pub fn datagram(&self) -> Datagram {
        Datagram {
            via: self.via,
            local: self.local,
            remote: self.remote,
            payload: self.octets.clone(),
        }
    }
}

/// What is known when a request is made.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    pub settings: &'a Settings,
    pub repairs: &'a Repairs,
    pub home: Option<Ipv4Addr>,
    pub home_agent: Option<Ipv4Addr>,
    /// In place of what the foreign agent has advertised.
    pub challenge: Option<&'a [u8]>,
    pub identification: Identification,
    /// Seconds of our clock.
    pub timestamp: u32,
    pub now: Instant,
}

impl Known<'_> {
    fn home(&self) -> Ipv4Addr {
        self.home.unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    /// Where it is not known, the broadcast address of the home network (RFC 5944 §3.6.1.2).
    fn home_agent(&self) -> Ipv4Addr {
        self.home_agent.unwrap_or(match self.settings.home_agent {
            HomeAgent::Known(address) => address,
            HomeAgent::Somewhere(net) => net.broadcast(),
        })
    }

    /// For a care-of address away from home; a lifetime of zero takes it back.
    pub fn away(&self, attachment: &Attachment, lifetime: u16) -> Request {
        let Attachment { care_of, .. } = attachment;
        let agent = care_of.agent();
        let own = care_of.own();
        let registered = match care_of {
            CareOf::CoLocated { address } | CareOf::CoLocatedThrough { address, .. } => *address,
            CareOf::ForeignAgent(agent) => {
                let nth = agent.care_of.get(self.repairs.care_of);
                nth.copied().unwrap_or(agent.address)
            }
        };
        let udp = self.udp_request(care_of);
        let mut flags = self.encapsulation(care_of);
        if own.is_some() {
            flags |= Flags::DECAPSULATION;
        }
        // Broadcasts come wrapped twice through a foreign agent (RFC 5944 §3.6.1.2).
        if self.settings.broadcasts && own.is_some() {
            flags |= Flags::BROADCAST;
        }
        if attachment.keep_others && !self.repairs.single_binding {
            flags |= Flags::SIMULTANEOUS;
        }
        if self.reverse(udp.is_some()) {
            flags |= Flags::REVERSE_TUNNEL;
        }
        let limits = [agent.map(|agent| agent.lifetime), self.repairs.lifetime];
        let lifetime = limits.into_iter().flatten().fold(lifetime, u16::min);
        let encapsulating = self.settings.delivery == Delivery::Encapsulating
            && matches!(care_of, CareOf::ForeignAgent(_))
            && flags.contains(Flags::REVERSE_TUNNEL)
            && !self.repairs.direct_delivery;

        let mut message = self.message(flags, lifetime, registered);
        if let Some(udp) = udp {
            message.extensions.push(Extension::UdpTunnelRequest(udp));
        }
        if self.settings.revocation && agent.is_none() {
            let support = RevocationSupport {
                inform: true,
                timestamp: self.timestamp,
            };
            message
                .extensions
                .push(Extension::RevocationSupport(support));
        }
        if lifetime > 0 {
            let networks = self.settings.networks.iter();
            let asked = networks.map(|net| Extension::MobileNetworkRequest {
                prefix: net.network(),
                prefix_len: net.prefix_len(),
            });
            message.extensions.extend(asked);
            let prefixes = self.settings.networks6.iter();
            let asked = prefixes.map(|net| {
                Extension::Ipv6PrefixRequest(Ipv6Prefix {
                    prefix: net.network(),
                    len: net.prefix_len(),
                })
            });
            message.extensions.extend(asked);
        }
        let mut octets = message.encode();
        let association = &self.settings.association;
        association.sign(AuthenticationKind::MobileHome, &mut octets);
        // RFC 5944 §3.6.1.3: what is for the foreign agent alone comes behind.
        if encapsulating {
            Extension::EncapsulatingDelivery.encode(&mut octets);
        }
        if let Some(agent) = agent {
            let challenge = self.challenge.or(agent.challenge.as_deref());
            if let Some(challenge) = challenge {
                Extension::Challenge(challenge.to_vec()).encode(&mut octets);
            }
            if let Some(association) = self.settings.with_foreign_agent(agent.address) {
                association.sign(AuthenticationKind::MobileForeign, &mut octets);
            }
        }
        // RFC 5944 §3.6.1.1: from the care-of address if it is ours, else from home, or from nowhere.
        let source = own.unwrap_or(self.home());
        let target = agent.map_or(self.home_agent(), |agent| agent.address);
        Request {
            encapsulating,
            asked_for_udp: udp.is_some(),
            through: agent.map(|agent| agent.address),
            care_of_addresses: agent.map_or(0, |agent| agent.care_of.len()),
            ..self.request(attachment.via, source, target, &message, octets)
        }
    }

    /// At home: every binding is to go. The care-of address is the home address (RFC 5944 §3.6.1.2).
    pub fn at_home(&self, via: Via, local: Ipv4Addr, home: Ipv4Addr) -> Request {
        let message = self.message(Flags::NONE, 0, home);
        let mut octets = message.encode();
        let association = &self.settings.association;
        association.sign(AuthenticationKind::MobileHome, &mut octets);
        self.request(via, local, self.home_agent(), &message, octets)
    }

    fn message(&self, flags: Flags, lifetime: u16, care_of: Ipv4Addr) -> RegistrationRequest {
        let nai = self.settings.nai.clone().map(Extension::Nai);
        RegistrationRequest {
            flags,
            lifetime,
            home: self.home(),
            home_agent: self.home_agent(),
            care_of,
            identification: self.identification,
            extensions: nai.into_iter().collect(),
        }
    }

    fn request(
        &self,
        via: Via,
        source: Ipv4Addr,
        target: Ipv4Addr,
        message: &RegistrationRequest,
        octets: Vec<u8>,
    ) -> Request {
        Request {
            via,
            local: SocketAddrV4::new(source, self.settings.port),
            remote: SocketAddrV4::new(target, PORT),
            octets,
            identification: message.identification,
            home: message.home,
            home_agent: message.home_agent,
            care_of: message.care_of,
            lifetime: message.lifetime,
            flags: message.flags,
            encapsulating: false,
            asked_for_udp: false,
            through: None,
            care_of_addresses: 0,
            asked: self.now,
            copies: 0,
        }
    }

    /// M and G only where whoever unwraps is able to (RFC 5944 §3.6.1.2).
    fn encapsulation(&self, care_of: &CareOf) -> Flags {
        let (flag, able) = match self.settings.encapsulation {
            TunnelKind::IpIp => return Flags::NONE,
            TunnelKind::Minimal => (Flags::MINIMAL, AgentFlags::MINIMAL),
            TunnelKind::Gre => (Flags::GRE, AgentFlags::GRE),
        };
        let able = match care_of {
            CareOf::ForeignAgent(agent) => agent.flags.has(able),
            CareOf::CoLocated { .. } | CareOf::CoLocatedThrough { .. } => true,
        };
        if able && !self.repairs.plain_tunnel {
            flag
        } else {
            Flags::NONE
        }
    }

    /// RFC 3519 §3.1.5: a UDP tunnel without a reverse one is of no use behind a NAT.
    fn reverse(&self, udp: bool) -> bool {
        let wanted = self.settings.reverse != ReverseTunnel::Unwanted || udp;
        self.repairs.reverse.unwrap_or(wanted)
    }

    /// RFC 3519 §4.4: never for a foreign agent's address, and through one only where it is behind a
    /// NAT itself and says so.
    fn udp_request(&self, care_of: &CareOf) -> Option<UdpTunnelRequest> {
        let through = match care_of {
            CareOf::CoLocated { .. } => false,
            CareOf::CoLocatedThrough { agent, .. } if agent.flags.has(AgentFlags::UDP_TUNNEL) => {
                true
            }
            CareOf::CoLocatedThrough { .. } | CareOf::ForeignAgent(_) => return None,
        };
        let force = match self.settings.udp {
            UdpTunnel::Never => return None,
            UdpTunnel::WhereTranslated => false,
            UdpTunnel::Forced => true,
        };
        Some(UdpTunnelRequest {
            force,
            through_foreign_agent: through,
            // IP in UDP is what every home agent with UDP tunnels can (RFC 3519 §4.1), and all that we
            // carry so; without a word M and G would count.
            encapsulation: if self.repairs.plain_udp
                || self.settings.encapsulation != TunnelKind::IpIp
            {
                TunnelKind::IpIp.protocol()
            } else {
                0
            },
            reserved: 0,
        })
    }
}
