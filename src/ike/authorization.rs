//! The peer authorization database (RFC 4301 §4.4.3): who is believed, and for which addresses.

use super::settings::{Peer, Settings};
use crate::net::{Identity, IpNet, Selector};
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

    /// As [`Settings::authorize`], for a child between `local` and `remote`. A contact speaks for
    /// its own address, where its IKE comes from, in a tunnel too: for no other, whatever stands at
    /// its end.
    pub(super) fn authorize_child(
        &self,
        id: &Identity,
        (local, remote): (IpAddr, IpAddr),
        selectors: &[Selector],
    ) -> Result<(), Selector> {
        if self.is_of_contact(id, (local, remote), selectors) {
            return Ok(());
        }
        self.authorize(id, remote, selectors)
    }

    /// Whether a child carries what a contact and we say to each other ourselves, and nothing else.
    pub(super) fn is_of_contact(
        &self,
        id: &Identity,
        (local, remote): (IpAddr, IpAddr),
        selectors: &[Selector],
    ) -> bool {
        let (local, remote) = (IpNet::from(local), IpNet::from(remote));
        self.peer(id).is_some_and(|peer| peer.contact)
            && selectors.iter().all(|s| (s.src, s.dst) == (local, remote))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::settings::Timing;
    use crate::net::Secret;
    use std::collections::BTreeMap;

    #[test]
    fn a_peer_speaks_for_what_lies_wholly_inside_its_prefixes_or_is_itself() {
        let id: Identity = "gw106.example".parse().unwrap();
        let peer = |may_protect: &[&str], may_protect_itself| Peer {
            id: id.clone(),
            psk: Secret::from(&b"psk"[..]),
            may_protect: may_protect.iter().map(|n| n.parse().unwrap()).collect(),
            may_protect_itself,
            contact: false,
        };
        let settings = |peer| Settings {
            identity: "gw104.example".parse().unwrap(),
            peers: vec![peer],
            protects: Vec::new(),
            timing: Timing::default(),
            compression: true,
            gateway: None,
            kept_with: BTreeMap::new(),
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

    #[test]
    fn a_contact_speaks_for_its_own_address_and_no_other() {
        let id: Identity = "bob.example".parse().unwrap();
        let contact = |contact| Settings {
            identity: "alice.example".parse().unwrap(),
            peers: vec![Peer {
                id: id.clone(),
                psk: Secret::from(&b"psk"[..]),
                may_protect: Vec::new(),
                may_protect_itself: false,
                contact,
            }],
            protects: Vec::new(),
            timing: Timing::default(),
            compression: true,
            gateway: None,
            kept_with: BTreeMap::new(),
        };
        let ends: (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.6".parse().unwrap());
        let between = |src: &str, dst: &str| {
            [Selector::between(
                src.parse().unwrap(),
                dst.parse().unwrap(),
            )]
        };
        let own = between("192.0.2.1/32", "192.0.2.6/32");
        let allowed = |is_contact, selectors: &[Selector]| {
            let settings = contact(is_contact);
            settings.authorize_child(&id, ends, selectors).is_ok()
        };
        assert!(allowed(true, &own));
        assert!(!allowed(false, &own));
        for other in [
            between("192.0.2.1/32", "192.0.2.7/32"),
            between("192.0.2.1/32", "192.0.2.6/31"),
            between("192.0.2.2/32", "192.0.2.6/32"),
        ] {
            assert!(!allowed(true, &other), "{}", other[0]);
        }
    }
}
