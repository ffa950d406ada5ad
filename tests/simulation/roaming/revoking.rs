//! Home agents that take bindings back (RFC 3543).

use super::agreed::S;
use super::sites;
use super::world::{Which, World};
use xfrm_agent::mobile_ip::wire::{Decoded, Message};
use xfrm_agent::mobile_ip::{Datagram, Via};

impl World {
    pub fn revoke(&mut self, which: Which) {
        self.tell(&format_args!("{which:?} revokes"));
        let home = match which {
            Which::Inner => S,
            Which::Outer(site) => sites::home(site),
        };
        let now = self.now;
        for datagram in self.home(which).revoke(now, home) {
            self.replies(which, datagram);
        }
    }

    /// The client says that it knows that the inner home agent has taken back what it had over this adapter. It has said so
    /// before where what it said was lost.
    pub(super) fn knows_of_revocation(&mut self, sent: &Datagram) {
        let decoded = Decoded::decode(&sent.payload).expect("what the client sends is right");
        if let (Message::RevocationAck(ack), Via::Link(link)) = (decoded.message, sent.via)
            && ack.home == S
            && self.life.acknowledged.insert((link, ack.identifier))
        {
            self.life.revoked.insert(link);
        }
    }

    /// After an event: what had been proved there has to be proved again.
    pub(super) fn unprove_revoked(&mut self) {
        for link in std::mem::take(&mut self.life.revoked) {
            self.witnessed.remove(&link);
            self.check();
        }
    }
}
