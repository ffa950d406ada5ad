//! What is known of where somebody is, and how far it can be relied upon.

use super::{Moment, Rulebook};
use crate::presence::{Entity, Location, Presence, Timestamp, UserName};
use std::fmt;
use std::net::IpAddr;

/// One end: ours or the peer's.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// Who is there, whether or not anything is known of them.
    pub entity: &'a Entity,
    /// The address that the protection is for. An unspecified one of our own stands for all of
    /// them, and lies in no site.
    pub address: IpAddr,
    /// What was said with authority.
    pub believed: Option<&'a Presence>,
    /// What somebody said who cannot be identified.
    pub hint: Option<&'a Presence>,
}

/// Whether an unauthenticated claim says something else than what is believed. Nobody knows then
/// where that entity is. It does as well where it names a user and the belief none: less that is believed
/// must not dispel a doubt.
pub fn contradicts(hint: &Presence, believed: &Presence) -> bool {
    hint.location != believed.location
        || hint
            .addresses
            .iter()
            .any(|addr| !believed.addresses.contains(addr))
        || hint.user.is_some() && hint.user != believed.user
}

/// Whether a new hint has to take the place of the one that is held (until something is believed
/// anew). A doubt that was raised is not dispelled, nor shortened, by another such claim: otherwise
/// an unauthenticated sender could weaken protection.
pub fn worth_keeping(believed: &Presence, held: Option<&Presence>, hint: &Presence) -> bool {
    let held = held.filter(|held| contradicts(held, believed));
    contradicts(hint, believed) && held.is_none_or(|held| hint.expires > held.expires)
}

/// What a rule may rely upon. `None` is not known.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) location: Option<&'a Location>,
    pub(super) user: Option<&'a UserName>,
    /// Why protection is no weaker than for a stranger.
    pub(super) doubt: Option<Doubt<'a>>,
    /// When it may change without anybody saying anything.
    pub(super) until: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt<'a> {
    NoPresence,
    OfAnother(&'a Entity),
    Expired(Timestamp),
    Contradicted(&'a Location),
    NotNamed(IpAddr),
    Outside(IpAddr, &'a Location),
    NoSite(&'a Location),
}

impl<'a> Standing<'a> {
    /// Of somebody of whom nothing is known: what is judged of them is the strictest.
    pub fn unknown(entity: &'a Entity, address: IpAddr) -> Self {
        Self {
            entity,
            address,
            believed: None,
            hint: None,
        }
    }

    pub(super) fn view(&self, book: &Rulebook, moment: Moment) -> View<'a> {
        let doubted = |doubt, until| View {
            location: None,
            user: None,
            doubt: Some(doubt),
            until,
        };
        let Some(believed) = self.believed else {
            return doubted(Doubt::NoPresence, None);
        };
        if believed.entity != *self.entity {
            return doubted(Doubt::OfAnother(&believed.entity), None);
        }
        if believed.expires <= moment.now {
            return doubted(Doubt::Expired(believed.expires), None);
        }
        let hint = self
            .hint
            .filter(|hint| hint.expires > moment.now && contradicts(hint, believed));
        if let Some(hint) = hint {
            let until = hint.expires.min(believed.expires);
            return doubted(Doubt::Contradicted(&hint.location), Some(until));
        }
        let until = Some(believed.expires);
        if !believed.addresses.contains(&self.address) {
            return doubted(Doubt::NotNamed(self.address), until);
        }
        let doubt = match book.vouches(&believed.location, self.address) {
            Some(true) => None,
            Some(false) => return doubted(Doubt::Outside(self.address, &believed.location), until),
            None => Some(Doubt::NoSite(&believed.location)),
        };
        View {
            location: Some(&believed.location),
            user: believed.user.as_ref(),
            doubt,
            until,
        }
    }
}

impl Rulebook {
    /// Whether the address is one of that location; `None` where no site says which are.
    fn vouches(&self, location: &Location, address: IpAddr) -> Option<bool> {
        let mut nets = self
            .sites
            .iter()
            .filter(|site| site.location == *location)
            .flat_map(|site| &site.addresses)
            .peekable();
        nets.peek()?;
        Some(nets.any(|net| net.contains(&address)))
    }
}

impl fmt::Display for Doubt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPresence => write!(f, "no presence is known"),
            Self::OfAnother(entity) => write!(f, "the presence known is that of {entity}"),
            Self::Expired(at) => write!(f, "expired at {at}"),
            Self::Contradicted(location) => {
                write!(
                    f,
                    "an unauthenticated claim says otherwise: location {location}"
                )
            }
            Self::NotNamed(address) => write!(f, "{address} is not an address of that presence"),
            Self::Outside(address, location) => {
                write!(f, "{address} is not an address of {location}")
            }
            Self::NoSite(location) => write!(f, "no site says which addresses {location} has"),
        }
    }
}
