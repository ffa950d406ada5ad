//! What `mobility` and `status` say.

use super::layout::{VpnAdapter, VpnEnd};
use super::{Mobility, Standing};
use crate::agent::Agent;
use crate::mobile_ip::domain::Context;
use crate::mobile_ip::dual_client::{LinkView, Override, RegistrationView, Vpn, VpnPhase};
use crate::mobile_ip::{Carriage, Encapsulation, LinkId, Path, Through};
use crate::net::{Ipv4Net, Mac};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MobilityView {
    /// `blocked`, `inside`, `outside, with a VPN adapter` …
    pub place: String,
    /// What is missing; empty where nothing is.
    pub waits_for: String,
    /// What an administrator demands: `outside`, `blocked`, or nothing.
    pub by_hand: String,
    /// S, T and V, as far as they are there.
    pub addresses: Vec<HomeView>,
    pub adapters: Vec<PhysicalView>,
    pub registrations: Vec<MobileRegistrationView>,
    /// `absent`, `off`, `coming`, `up`, `warm`, `going` or `waiting`.
    pub vpn: String,
    /// The way in from outside that is used.
    pub site: String,
    /// What is known of networks from before, the newest first. It only makes guesses.
    #[serde(default)]
    pub networks: Vec<NetworkView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkView {
    pub gateway: Mac,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_point: Option<Mac>,
    /// Of the addresses there; absent where that was not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<Ipv4Net>,
    /// `inside` or `outside`.
    pub domain: String,
    /// How often in a row it was found there.
    pub times: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HomeView {
    /// `S`, `T` or `V`.
    pub name: String,
    pub address: Ipv4Addr,
    /// The adapter that holds it.
    pub adapter: String,
    /// What carries it now.
    pub way: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhysicalView {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// `inside` or `outside`, once it was found out; otherwise empty.
    pub domain: String,
    /// A guess, which only orders the work, and how sure it is in percent.
    pub guess: String,
    pub confidence: u8,
    /// What speaks for the guess.
    pub hints: Vec<String>,
    /// How long the proof of being inside still holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proved_for_seconds: Option<u64>,
    pub flapping: bool,
    /// Of a wireless one: how strong its access point is received, where the driver says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal_dbm: Option<i8>,
    /// Others that work come before it.
    #[serde(default)]
    pub weak: bool,
    pub in_use: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MobileRegistrationView {
    pub name: String,
    pub home: Ipv4Addr,
    pub home_agent: Ipv4Addr,
    pub care_of: Ipv4Addr,
    /// `registered`, or `asking` where nobody has answered yet.
    pub state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_microseconds: Option<u64>,
}

impl Agent {
    pub(in crate::agent) fn mobility_view(&self, now: Instant) -> Option<MobilityView> {
        self.mobility.as_ref().map(|mobility| mobility.view(now))
    }
}

impl Mobility {
    pub fn view(&self, now: Instant) -> MobilityView {
        let mut view = MobilityView {
            place: self.arrangement.place.to_string(),
            addresses: self.home_views(),
            ..MobilityView::default()
        };
        let (station, known) = match &self.station {
            Standing::Running(station) => (station.view(now), station.networks()),
            Standing::AwaitingClock(_) => {
                "the time of day".clone_into(&mut view.waits_for);
                return view;
            }
            Standing::AskingForHome(_) => {
                view.waits_for = self.asks_for_home_of();
                return view;
            }
        };
        let waits_for = station.waits_for.unwrap_or_default();
        waits_for.clone_into(&mut view.waits_for);
        let by_hand = match station.by_hand {
            Override::None => "",
            Override::Outside => "outside",
            Override::Blocked => "blocked",
        };
        by_hand.clone_into(&mut view.by_hand);
        view.networks = known.iter().rev().map(network).collect();
        let physical = station.links.iter().map(|link| self.physical(link));
        view.adapters = physical.collect();
        view.registrations = station
            .registrations
            .iter()
            .filter_map(registration)
            .collect();
        let vpn = match (&self.settings.dual.vpn, station.vpn) {
            (Vpn::Absent, _) => "absent",
            (_, VpnPhase::Unknown | VpnPhase::Off) => "off",
            (_, VpnPhase::Coming { .. }) => "coming",
            (_, VpnPhase::Up { .. }) => "up",
            (_, VpnPhase::Warm { .. }) => "warm",
            (_, VpnPhase::Going { .. }) => "going",
            (_, VpnPhase::Waiting { .. }) => "waiting",
        };
        vpn.clone_into(&mut view.vpn);
        view.site = station.site.unwrap_or_default();
        view
    }

    fn physical(&self, link: &LinkView) -> PhysicalView {
        let mut adapters = self.adapters.iter();
        let adapter = adapters.find(|adapter| adapter.index == link.link.0);
        PhysicalView {
            name: link.name.clone(),
            address: link.address,
            domain: link
                .domain
                .map(|domain| domain.to_string())
                .unwrap_or_default(),
            guess: link.guess.domain.to_string(),
            confidence: link.guess.confidence.0,
            hints: link.hints.iter().map(ToString::to_string).collect(),
            proved_for_seconds: link.proved_for.map(|held| held.as_secs()),
            flapping: link.is_flapping,
            signal_dbm: adapter.and_then(|adapter| adapter.signal),
            weak: link.is_weak,
            in_use: link.is_in_use,
        }
    }

    fn home_views(&self) -> Vec<HomeView> {
        let names = &self.settings.adapters;
        let arrangement = &self.arrangement;
        let mut views = vec![HomeView {
            name: "S".to_owned(),
            address: arrangement.inner.home,
            adapter: names.intranet.to_string(),
            way: self.way(&arrangement.inner),
        }];
        views.extend(arrangement.outer.as_ref().map(|outer| HomeView {
            name: "T".to_owned(),
            address: outer.home,
            adapter: names.mobility.to_string(),
            way: self.way(outer),
        }));
        let adapter = |vpn: VpnEnd| match vpn.adapter {
            VpnAdapter::Ours => Some(names.vpn),
            VpnAdapter::Theirs(name) => Some(name),
            VpnAdapter::None => None,
        };
        let vpn = self.vpn.and_then(|vpn| Some((vpn, adapter(vpn)?)));
        views.extend(vpn.map(|(vpn, adapter)| HomeView {
            name: "V".to_owned(),
            address: vpn.address,
            adapter: adapter.to_string(),
            way: "the VPN".to_owned(),
        }));
        views
    }

    fn way(&self, carriage: &Carriage) -> String {
        let name = |link: LinkId| {
            let mut adapters = self.adapters.iter();
            let adapter = adapters.find(|adapter| adapter.index == link.0);
            adapter.map_or_else(|| link.to_string(), |adapter| adapter.name.to_string())
        };
        match &carriage.path {
            Path::Blocked => "none".to_owned(),
            Path::Native { link, .. } => format!("native over {}", name(*link)),
            Path::Tunnel {
                local,
                remote,
                through,
                encapsulation,
                reverse,
            } => {
                let over = match through {
                    Through::Link { link, .. } => name(*link),
                    Through::Vpn => "the VPN".to_owned(),
                    Through::OuterHome => "the outer system".to_owned(),
                };
                let sent = if *reverse { "both ways" } else { "incoming" };
                match encapsulation {
                    Encapsulation::Udp {
                        local_port,
                        remote_port,
                        ..
                    } => format!(
                        "tunnel in UDP {local}:{local_port} to {remote}:{remote_port} over {over}, {sent}"
                    ),
                    Encapsulation::Gre => {
                        format!("tunnel of GRE {local} to {remote} over {over}, {sent}")
                    }
                    Encapsulation::Minimal => {
                        format!("minimal tunnel {local} to {remote} over {over}, {sent}")
                    }
                    Encapsulation::IpIp => {
                        format!("tunnel {local} to {remote} over {over}, {sent}")
                    }
                }
            }
        }
    }
}

fn network(known: &Context) -> NetworkView {
    NetworkView {
        gateway: Mac(known.gateway),
        access_point: known.access_point.map(Mac),
        prefix: known.prefix,
        domain: known.domain.to_string(),
        times: known.times,
    }
}

fn registration(of: &RegistrationView) -> Option<MobileRegistrationView> {
    let attachment = of.bound.or(of.asking)?;
    let state = if of.bound.is_some() {
        "registered"
    } else {
        "asking"
    };
    let round_trip = of.round_trip.map(|rtt| u64::try_from(rtt.as_micros()));
    Some(MobileRegistrationView {
        name: of.slot.to_string(),
        home: attachment.home,
        home_agent: attachment.home_agent,
        care_of: attachment.point.care_of(attachment.home),
        state: state.to_owned(),
        round_trip_microseconds: round_trip.and_then(Result::ok),
    })
}
