//! The present as plain data, for people.

use super::effect::Override;
use super::registration::{Attachment, Slot};
use super::vpn::VpnPhase;
use crate::mobile_ip::domain::{Conjecture, Domain, Hint};
use crate::mobile_ip::{Arrangement, LinkId};
use std::net::IpAddr;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct View {
    pub arrangement: Arrangement,
    /// What the arrangement waits for, where something is missing.
    pub waits_for: Option<&'static str>,
    pub links: Vec<LinkView>,
    pub registrations: Vec<RegistrationView>,
    pub vpn: VpnPhase,
    /// The name of the site in use outside.
    pub site: Option<String>,
    pub by_hand: Override,
}

#[derive(Clone, Debug)]
pub struct LinkView {
    pub link: LinkId,
    pub name: String,
    pub address: Option<IpAddr>,
    /// What was found; `None` while nothing was.
    pub domain: Option<Domain>,
    pub guess: Conjecture,
    pub hints: Vec<Hint>,
    /// How long the proof of inside still holds.
    pub proved_for: Option<Duration>,
    pub is_flapping: bool,
    pub is_weak: bool,
    pub is_in_use: bool,
}

#[derive(Clone, Debug)]
pub struct RegistrationView {
    pub slot: Slot,
    pub bound: Option<Attachment>,
    pub asking: Option<Attachment>,
    pub round_trip: Option<Duration>,
}
