//! What a foreign agent adds to a request for the home agent alone (RFC 5944 §3.5.4).

use super::security::SecurityAssociation;
use super::wire::{AuthenticationKind, Decoded, RegistrationRequest};

/// Why a foreign agent's signature does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// Missing, several, or wrong: 132.
    Wrong,
    /// It shares no key with us: silence.
    Unknown,
}

/// What the reply has to be signed with besides, `known` being the association with whoever sent this
/// request, if there is one (§3.8.2.1 c and d).
pub fn association(
    known: Option<&SecurityAssociation>,
    decoded: &Decoded,
    request: &RegistrationRequest,
) -> Result<Option<SecurityAssociation>, Foreign> {
    let kind = AuthenticationKind::ForeignHome;
    let Some(known) = known else {
        return match decoded.authenticators(kind).next() {
            Some(_) => Err(Foreign::Unknown),
            None => Ok(None),
        };
    };
    let placed = decoded.only_authenticator(kind);
    if request.is_deregistration() || placed.is_some_and(|placed| known.verify(&placed)) {
        Ok(Some(known.clone()))
    } else {
        Err(Foreign::Wrong)
    }
}
