//! The peer authorization database (RFC 4301 §4.4.3): who is believed, and for which addresses.

use super::settings::{Peer, Settings};
use crate::net::{Identity, Selector};
use std::net::IpAddr;

impl Settings {
    pub fn peer(&self, id: &Identity) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.id == *id)
    }

    /// Whether the peer, reached at `address`, may protect the remote side of every selector. The
    /// error is the first that it may not: one is enough to grant nothing.
    pub fn authorize(
        &self,
        id: &Identity,
        address: IpAddr,
        selectors: &[Selector],
    ) -> Result<(), Selector> {
        let peer = self.peer(id);
        let allowed = |s: &&Selector| !peer.is_some_and(|p| p.may_speak_for(s.dst, address));
        selectors.iter().find(allowed).map_or(Ok(()), |s| Err(*s))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::settings::Timing;
    use crate::net::Secret;

    #[test]
    fn a_peer_speaks_for_what_lies_wholly_inside_its_prefixes_or_is_itself() {
        let id: Identity = "gw106.example".parse().unwrap();
        let peer = |may_protect: &[&str], may_protect_itself| Peer {
            id: id.clone(),
            psk: Secret::from(&b"psk"[..]),
            may_protect: may_protect.iter().map(|n| n.parse().unwrap()).collect(),
            may_protect_itself,
        };
        let settings = |peer| Settings {
            identity: "gw104.example".parse().unwrap(),
            peers: vec![peer],
            protects: Vec::new(),
            timing: Timing::default(),
        };
        let at: IpAddr = "192.0.2.6".parse().unwrap();
        let to = |dst: &str| {
            [Selector::between(
                "10.1.0.0/16".parse().unwrap(),
                dst.parse().unwrap(),
            )]
        };
        let site = settings(peer(&["10.2.0.0/16"], false));
        assert!(site.authorize(&id, at, &to("10.2.3.0/24")).is_ok());
        assert_eq!(
            site.authorize(&id, at, &to("10.0.0.0/8")),
            Err(to("10.0.0.0/8")[0])
        );
        assert!(site.authorize(&id, at, &to("192.0.2.6/32")).is_err());
        assert!(
            site.authorize(&"gw105.example".parse().unwrap(), at, &to("10.2.3.0/24"))
                .is_err()
        );
        let host = settings(peer(&[], true));
        assert!(host.authorize(&id, at, &to("192.0.2.6/32")).is_ok());
        assert!(host.authorize(&id, at, &to("192.0.2.7/32")).is_err());
    }
}
