//! Exchange 240: looks for the gateway that protects the destination of a packet.
//!
//! It travels like that packet: from its source to its destination, from its source port (500
//! where it has none) to port 500.

use super::header::Header;
use super::payload::{HEADER_LEN, Payloads, Writer, ip_version, put_addr};
use super::{
    Capabilities, Cookie, DISCOVERY_VERSION, DecodeError, Exchange, PORT, PROBE_LEN, kind, proxy,
};
use crate::net::{Family, Flow, MaskedAddr, Protocol};
use std::net::IpAddr;

const KNOWN: &[u8] = &[
    kind::ID,
    kind::SOURCE_PROXY,
    kind::SUMMARY,
    kind::IKE,
    kind::PADDING,
];

/// Every address in it is of the IP version of `flow`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Random, never zero.
    pub cookie: Cookie,
    pub capabilities: Capabilities,
    /// The initiator's address: where the response goes.
    pub id: IpAddr,
    /// What the initiator protects on the side of the source; may be left out.
    pub source: Option<MaskedAddr>,
    /// Hash that names the maker.
    pub maker: [u8; 16],
    /// Packet P.
    pub flow: Flow,
    /// `IKE_SA_INIT` for whoever answers, in place of some of the padding: it saves the round trip that
    /// would follow. Not looked at here; left out where there is no room.
    pub ike: Option<Vec<u8>>,
}

impl Probe {
    /// The UDP port that the probe leaves from.
    pub fn src_port(flow: &Flow) -> u16 {
        flow.src_port().filter(|port| *port != 0).unwrap_or(PORT)
    }

    /// Exactly [`PROBE_LEN`] octets.
    pub fn encode(&self) -> Vec<u8> {
        let cookies = [self.cookie, Cookie::ZERO];
        let mut writer = Writer::new(Exchange::Probe, cookies, self.capabilities, self.id);
        let version = ip_version(self.flow.family());
        if let Some(source) = &self.source {
            writer.payload(kind::SOURCE_PROXY, |out| {
                out.extend([ip_version(source.family()), 0, 0, 0]);
                proxy::put_masked(out, source);
            });
        }
        writer.payload(kind::SUMMARY, |out| {
            out.extend(self.maker);
            let has_ports = u8::from(self.flow.ports.is_some());
            out.extend([DISCOVERY_VERSION, version, self.flow.protocol, has_ports]);
            put_addr(out, self.flow.src);
            put_addr(out, self.flow.dst);
            if let Some((src, dst)) = self.flow.ports {
                out.extend(src.to_be_bytes());
                out.extend(dst.to_be_bytes());
            }
        });
        // The payloads above never exceed 300 octets, so there is room for the padding.
        let room = PROBE_LEN - HEADER_LEN - writer.len();
        if let Some(ike) = &self.ike
            && HEADER_LEN + ike.len() <= room
        {
            writer.payload(kind::IKE, |out| out.extend(ike));
        }
        let padding = PROBE_LEN - HEADER_LEN - writer.len();
        writer.payload(kind::PADDING, |out| out.resize(out.len() + padding, 0));
        writer.finish()
    }

    pub fn decode(datagram: &[u8]) -> Result<Self, DecodeError> {
        let (header, rest) = Header::decode(datagram, Exchange::Probe)?;
        let payloads = Payloads::split(header.next, rest, KNOWN)?;
        let (maker, flow) = summary(&payloads)?;
        let id = payloads.id()?;
        let source = source_proxy(&payloads)?;
        let family = flow.family();
        if Family::of(id) != family || source.is_some_and(|s| s.family() != family) {
            return Err(DecodeError::MixedVersions);
        }
        Ok(Self {
            cookie: header.initiator,
            capabilities: payloads.capabilities,
            id,
            source,
            maker,
            flow,
            ike: payloads.ike()?,
        })
    }
}

fn summary(payloads: &Payloads<'_>) -> Result<([u8; 16], Flow), DecodeError> {
    let mut body = payloads.one(kind::SUMMARY, "packet summary")?;
    let maker = body.octets()?;
    match body.u8()? {
        DISCOVERY_VERSION => {}
        other => return Err(DecodeError::DiscoveryVersion(other)),
    }
    let family = body.ip_version()?;
    let protocol = body.u8()?;
    let has_ports = body.u8()? & 1 != 0;
    let (src, dst) = (body.addr(family)?, body.addr(family)?);
    let ports = if has_ports {
        if !Protocol::from_number(protocol).has_ports() {
            return Err(DecodeError::Ports(protocol));
        }
        Some((body.u16()?, body.u16()?))
    } else {
        None
    };
    body.end()?;
    let flow = Flow {
        src,
        dst,
        protocol,
        ports,
    };
    Ok((maker, flow))
}

fn source_proxy(payloads: &Payloads<'_>) -> Result<Option<MaskedAddr>, DecodeError> {
    let Some(mut body) = payloads.at_most_one(kind::SOURCE_PROXY, "proxy address")? else {
        return Ok(None);
    };
    let family = body.ip_version()?;
    body.skip(3)?;
    let source = proxy::masked(&mut body, family)?;
    body.end()?;
    Ok(Some(source))
}
