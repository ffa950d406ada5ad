//! Between what the dual client says of registrations and what the mobile node does.

use super::Registrar;
use crate::mobile_ip::client::{self, CareOf, ForeignAgent};
use crate::mobile_ip::dual_client::{
    Accepted, Attachment, Carried, Generation, Outcome, Point, Slot,
};
use crate::mobile_ip::{Encapsulation, LinkId, Via};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// `None` for what is of another attachment than the present one, or no news.
pub fn translate(slot: Slot, registrar: &Registrar, outcome: &client::Outcome) -> Option<Outcome> {
    use client::Outcome as Said;
    let of_now = |epoch: u64| (epoch == registrar.generation.0).then_some(());
    let is_proof = |proof: Option<client::TrustedNetwork>| {
        proof.is_some_and(|proof| slot == Slot::Clear(proof.link))
    };
    Some(match outcome {
        Said::Registered(registered) => {
            of_now(registered.epoch)?;
            Outcome::Accepted(Accepted {
                asked: registered.asked,
                round_trip: registered.round_trip,
                trusted: is_proof(registered.proof),
                carried: carried(registered, &registrar.attachment),
            })
        }
        Said::Deregistered { epoch, answer } => {
            of_now(*epoch)?;
            let answer = answer.as_ref()?;
            Outcome::Accepted(Accepted {
                asked: answer.asked,
                round_trip: answer.round_trip,
                trusted: is_proof(answer.proof),
                carried: Carried::AtHome,
            })
        }
        Said::Denied {
            epoch,
            code,
            authenticated,
            ..
        } => {
            of_now(*epoch)?;
            // What nobody has signed may be anybody's on the link: it is worth as much as silence.
            if *authenticated {
                Outcome::Refused { code: code.0 }
            } else {
                Outcome::Silent
            }
        }
        Said::Unreachable { epoch } => {
            of_now(*epoch)?;
            Outcome::Silent
        }
        Said::Lost { epoch, .. } => {
            of_now(*epoch)?;
            Outcome::Expired
        }
        Said::Reachable { .. } => return None,
    })
}

fn carried(registered: &client::Registered, attachment: &Attachment) -> Carried {
    match (registered.tunnel, attachment.point) {
        (client::Tunnel::ByForeignAgent(_), Point::ForeignAgent { agent, .. }) => {
            Carried::ForeignAgent(agent)
        }
        (client::Tunnel::IpIp | client::Tunnel::ByForeignAgent(_), _) => {
            Carried::Tunnel(Encapsulation::IpIp)
        }
        (client::Tunnel::Minimal, _) => Carried::Tunnel(Encapsulation::Minimal),
        (client::Tunnel::Gre, _) => Carried::Tunnel(Encapsulation::Gre),
        (
            client::Tunnel::Udp {
                local_port,
                remote_port,
                keepalive,
            },
            _,
        ) => Carried::Tunnel(Encapsulation::Udp {
            local_port,
            remote_port,
            keepalive,
        }),
    }
}

/// From the home address itself: only a source that is the care-of address proves anything.
pub fn home_input(generation: Generation, attachment: &Attachment) -> client::Input {
    client::Input::Home {
        epoch: generation.0,
        via: attachment.via,
        local: attachment.home,
    }
}

/// `None` at home, and where the foreign agent is not known any more.
pub fn attachment_of(
    generation: Generation,
    attachment: &Attachment,
    agents: &BTreeMap<(LinkId, Ipv4Addr), ForeignAgent>,
) -> Option<client::Attachment> {
    let care_of = match (attachment.point, attachment.via) {
        (Point::CoLocated(address), _) => CareOf::CoLocated { address },
        (Point::ForeignAgent { agent, .. }, Via::Link(link)) => {
            CareOf::ForeignAgent(agents.get(&(link, agent))?.clone())
        }
        (Point::ForeignAgent { .. } | Point::AtHome(_), _) => return None,
    };
    Some(client::Attachment {
        epoch: generation.0,
        via: attachment.via,
        care_of,
        keep_others: false,
    })
}
