//! Exchange 241: a gateway says what it protects. It goes from that gateway's own address to the
//! address in the probe's ID payload, port 500 to port 500.

use super::header::{self, Header};
use super::hint::{self, ClaimedIdentity};
use super::payload::{HEADER_LEN, Payloads, Writer};
use super::{Capabilities, Cookie, DecodeError, Exchange, VENDOR_ID, kind, proxy};
use crate::net::Family;
use crate::ted::proxies::Proxy;
use std::net::IpAddr;

const KNOWN: &[u8] = &[
    kind::ID,
    kind::TED_RESPONSE,
    kind::IDENTITY_HINT,
    kind::IKE,
    kind::PADDING,
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Of the probe that it answers.
    pub initiator: Cookie,
    /// The responder's own, never zero.
    pub responder: Cookie,
    pub capabilities: Capabilities,
    /// The responder's address; also the source of the datagram.
    pub id: IpAddr,
    /// Which peer it claims to be, for those who know that peer already.
    pub hint: Option<[u8; hint::LEN]>,
    /// At least one; as the responder wrote them, most wanted first.
    pub proxies: Vec<Proxy>,
    /// The answer to the probe's `IKE_SA_INIT`. Not looked at here.
    pub ike: Option<Vec<u8>>,
}

impl Response {
    /// As many of the proxies, from the front, as fit into `limit` octets; `None` where not even
    /// one does. The answer of IKE comes before all but the first.
    pub fn encode(&self, limit: usize) -> Option<Vec<u8>> {
        let cookies = [self.initiator, self.responder];
        let mut writer = Writer::new(Exchange::Response, cookies, self.capabilities, self.id);
        if let Some(hint) = self.hint {
            writer.payload(kind::IDENTITY_HINT, |out| out.extend(hint));
        }
        let first = self.proxies.first()?;
        let least = writer.len() + HEADER_LEN + proxy::len(first.family());
        if let Some(ike) = &self.ike
            && least + HEADER_LEN + ike.len() <= limit
        {
            writer.payload(kind::IKE, |out| out.extend(ike));
        }
        let empty = writer.len();
        for one in &self.proxies {
            if writer.len() + HEADER_LEN + proxy::len(one.family()) > limit {
                break;
            }
            writer.payload(kind::TED_RESPONSE, |out| proxy::encode(one, out));
        }
        (writer.len() > empty).then(|| writer.finish())
    }

    /// Octets of a response with a hint and one proxy of this IP version.
    pub fn least_len(family: Family) -> usize {
        let id = 4 + usize::from(family.bits() / 8);
        let bodies = [VENDOR_ID.len() + 4, id, hint::LEN, proxy::len(family)];
        header::LEN + bodies.iter().map(|body| HEADER_LEN + body).sum::<usize>()
    }

    pub fn decode(datagram: &[u8]) -> Result<Self, DecodeError> {
        let (header, rest) = Header::decode(datagram, Exchange::Response)?;
        let payloads = Payloads::split(header.next, rest, KNOWN)?;
        let hint = match payloads.at_most_one(kind::IDENTITY_HINT, "identity hint")? {
            None => None,
            Some(mut body) => {
                let digest = body.octets()?;
                body.end()?;
                Some(digest)
            }
        };
        let proxies = payloads
            .all(kind::TED_RESPONSE, "TED response")
            .map(proxy::decode)
            .collect::<Result<Vec<_>, _>>()?;
        if proxies.is_empty() {
            return Err(DecodeError::Missing("TED response"));
        }
        Ok(Self {
            initiator: header.initiator,
            responder: header.responder,
            capabilities: payloads.capabilities,
            id: payloads.id()?,
            hint,
            proxies,
            ike: payloads.ike()?,
        })
    }

    /// Which peer the sender claims to be, in a form that can be compared with known ones.
    pub fn claimed_identity(&self) -> Option<ClaimedIdentity> {
        self.hint
            .map(|digest| ClaimedIdentity::received(self.initiator, self.responder, digest))
    }
}
