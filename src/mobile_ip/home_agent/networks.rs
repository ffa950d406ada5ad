//! Networks and IPv6 prefixes behind a mobile node (RFC 5177 §6.3, RFC 5454 §3.3).

use super::settings::MobileNode;
use crate::mobile_ip::wire::{
    Code, Extension, Ipv6PrefixReply, Ipv6ReplyCode, MobileNetworkAck, MobileNetworkCode,
    NetworkMode,
};
use crate::net::{Ipv4Net, Ipv6Net};

/// What is served, and the extensions that say so.
#[derive(Debug, Default)]
pub(super) struct Networks {
    pub v4: Vec<Ipv4Net>,
    pub v6: Vec<Ipv6Net>,
    pub replies: Vec<Extension>,
}

impl Networks {
    /// `signed` are the extensions that the mobile node's authenticator covers; `reverse`, that what it sends comes
    /// out of a tunnel.
    pub(super) fn of(
        node: &MobileNode,
        signed: &[Extension],
        reverse: bool,
    ) -> Result<Self, (Code, Vec<Extension>)> {
        let mut served = Self::default();
        served.v4(node, signed)?;
        served.v6(node, signed, reverse);
        Ok(served)
    }

    fn v4(
        &mut self,
        node: &MobileNode,
        signed: &[Extension],
    ) -> Result<(), (Code, Vec<Extension>)> {
        let mut asked = 0;
        for extension in signed {
            let Extension::MobileNetworkRequest { prefix, prefix_len } = extension else {
                continue;
            };
            if node.networks.is_empty() {
                return Err((Code::HA_MOBILE_ROUTER, Vec::new()));
            }
            asked += 1;
            let net = Ipv4Net::new(*prefix, *prefix_len).map(|net| net.trunc());
            let code = match net {
                Ok(net) if *prefix_len != 0 => {
                    if node.networks.contains(&net) {
                        if !self.v4.contains(&net) {
                            self.v4.push(net);
                        }
                        MobileNetworkCode::SUCCESS
                    } else {
                        MobileNetworkCode::UNAUTHORIZED
                    }
                }
                _ => MobileNetworkCode::INVALID_PREFIX_LENGTH,
            };
            self.replies
                .push(Extension::MobileNetworkAck(MobileNetworkAck {
                    mode: NetworkMode::Explicit,
                    code,
                    prefix: *prefix,
                    prefix_len: *prefix_len,
                }));
        }
        if asked > 0 && self.v4.is_empty() {
            return Err((Code::HA_MOBILE_NETWORK, std::mem::take(&mut self.replies)));
        }
        if asked == 0 {
            // Implicit mode: what is configured is served.
            self.v4.clone_from(&node.networks);
            let acks = node.networks.iter().map(|net| {
                Extension::MobileNetworkAck(MobileNetworkAck {
                    mode: NetworkMode::Implicit,
                    code: MobileNetworkCode::SUCCESS,
                    prefix: net.network(),
                    prefix_len: net.prefix_len(),
                })
            });
            self.replies.extend(acks);
        }
        Ok(())
    }

    fn v6(&mut self, node: &MobileNode, signed: &[Extension], reverse: bool) {
        let to_care_of = signed.contains(&Extension::Ipv6TunnelingMode);
        for extension in signed {
            let Extension::Ipv6PrefixRequest(prefix) = extension else {
                continue;
            };
            let net = Ipv6Net::new(prefix.prefix, prefix.len).map(|net| net.trunc());
            let code = match net {
                Ok(net) if self.v6.contains(&net) => continue,
                // RFC 5454 §3.3.2: it is in IPv4 to and from the home address, which any tunnel takes. Nothing
                // here puts it into that of the care-of address itself, and from a home address that comes in
                // the clear it could be anybody's.
                Ok(net) if node.networks6.contains(&net) => {
                    if reverse && !to_care_of {
                        self.v6.push(net);
                        Ipv6ReplyCode::TO_HOME_ADDRESS
                    } else {
                        Ipv6ReplyCode::UNSPECIFIED
                    }
                }
                _ => Ipv6ReplyCode::PROHIBITED,
            };
            self.replies
                .push(Extension::Ipv6PrefixReply(Ipv6PrefixReply {
                    code,
                    prefix: *prefix,
                }));
        }
    }
}
