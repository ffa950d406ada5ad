//! Authentication with a pre-shared key (RFC 7296 §2.15).

use super::{IkeKeys, constant_time_eq};
use crate::ike::wire::IdBody;
use crate::net::Secret;

/// Shared Key Message Integrity Code.
pub const SHARED_KEY: u8 = 2;

const KEY_PAD: &[u8] = b"Key Pad for IKEv2";

/// Which end of the IKE SA proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prover {
    Initiator,
    Responder,
}

/// What one end proves: that it saw this conversation, and that it is who it says.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    pub prover: Prover,
    /// The prover's own `IKE_SA_INIT` message, from the header on, as the other end received it.
    pub message: &'a [u8],
    /// The nonce of the other end.
    pub nonce: &'a [u8],
    pub id: &'a IdBody,
}

impl Claim<'_> {
    /// `prf( prf(Shared Secret, "Key Pad for IKEv2"), <SignedOctets>)`.
    pub fn prove(&self, keys: &IkeKeys, psk: &Secret) -> Secret {
        let prove = match self.prover {
            Prover::Initiator => &keys.prove_initiator,
            Prover::Responder => &keys.prove_responder,
        };
        let maced_id = keys.prf.compute(prove.expose(), &[self.id.octets()]);
        let key = keys.prf.compute(psk.expose(), &[KEY_PAD]);
        keys.prf
            .compute(key.expose(), &[self.message, self.nonce, maced_id.expose()])
    }

    pub fn verify(&self, keys: &IkeKeys, psk: &Secret, method: u8, proof: &[u8]) -> bool {
        let expected = self.prove(keys, psk);
        constant_time_eq(expected.expose(), proof) && method == SHARED_KEY
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::crypto::Prf;
    use crate::ike::crypto::cipher::{Cipher, KeyBits};
    use crate::ike::crypto::keymat::Nonces;
    use crate::ike::effects::Sha2;

    #[test]
    fn a_proof_holds_for_its_claim_and_for_no_other() {
        let nonces = Nonces {
            initiator: &[1; 32],
            responder: &[2; 32],
        };
        let cipher = Cipher::AesGcm16(KeyBits::K256);
        let shared = Secret::new(vec![3; 32]);
        let keys = IkeKeys::first(Prf(Sha2::Sha256), cipher, &shared, nonces, (4, 5));
        let (psk, other) = (Secret::from(&b"right"[..]), Secret::from(&b"wrong"[..]));
        let id = IdBody::from(&"gw104.example".parse().unwrap());
        let impostor = IdBody::from(&"gw105.example".parse().unwrap());
        let claim = Claim {
            prover: Prover::Initiator,
            message: b"message",
            nonce: &[2; 32],
            id: &id,
        };
        let proof = claim.prove(&keys, &psk);
        let verify =
            |claim: Claim<'_>, psk, method| claim.verify(&keys, psk, method, proof.expose());
        assert!(verify(claim, &psk, SHARED_KEY));
        assert!(!verify(claim, &other, SHARED_KEY));
        assert!(!verify(claim, &psk, 1));
        let prover = Prover::Responder;
        assert!(!verify(Claim { prover, ..claim }, &psk, SHARED_KEY));
        assert!(!verify(
            Claim {
                nonce: &[1; 32],
                ..claim
            },
            &psk,
            SHARED_KEY
        ));
        assert!(!verify(
            Claim {
                message: b"massage",
                ..claim
            },
            &psk,
            SHARED_KEY
        ));
        assert!(!verify(
            Claim {
                id: &impostor,
                ..claim
            },
            &psk,
            SHARED_KEY
        ));
    }
}
