//! What an earlier run left in the kernel, as tunnels.

use super::tunnels::{Found, FoundSa};
use crate::kernel::desired::{Action, Direction, SaDirection, Template};
use crate::kernel::observed::{ObservedPolicy, ObservedSa};
use crate::kernel::ownership::Band;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Outbound tunnel policies by reqid, each with the SAs of that reqid between its two ends.
pub fn tunnels(policies: &[ObservedPolicy], sas: &[ObservedSa]) -> Vec<Found> {
    let mut by_reqid: BTreeMap<u32, Found> = BTreeMap::new();
    for observed in policies {
        let policy = &observed.policy;
        let outbound = policy.key.direction == Direction::Out;
        if !outbound || Band::of(policy.priority) != Some(Band::Tunnel) {
            continue;
        }
        let Action::Allow(templates) = &policy.action else {
            continue;
        };
        let [template] = templates.as_slice() else {
            continue;
        };
        let found = by_reqid
            .entry(template.reqid)
            .or_insert_with(|| between(template, sas));
        if (found.local, found.remote) == (template.src, template.dst) {
            found.selectors.push(policy.key.selector);
        }
    }
    by_reqid.into_values().collect()
}

fn between(template: &Template, sas: &[ObservedSa]) -> Found {
    let (local, remote) = (template.src, template.dst);
    let direction = |src: IpAddr, dst: IpAddr| match (src, dst) {
        ends if ends == (local, remote) => Some(SaDirection::Out),
        ends if ends == (remote, local) => Some(SaDirection::In),
        _ => None,
    };
    Found {
        local,
        remote,
        protocol: template.protocol,
        mode: template.mode,
        selectors: Vec::new(),
        reqid: template.reqid,
        sas: sas
            .iter()
            .filter(|sa| sa.reqid == template.reqid && sa.mode == template.mode)
            .filter(|sa| sa.key.protocol == template.protocol)
            .filter_map(|sa| {
                Some(FoundSa {
                    key: sa.key,
                    direction: direction(sa.src, sa.key.dst)?,
                    packets: sa.packets,
                })
            })
            .collect(),
    }
}
