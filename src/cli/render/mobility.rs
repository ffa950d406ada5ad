//! Where a mobile node thinks it is, why, and which tunnels carry what.

use super::{Table, blocks, span};
use crate::agent::mobility::view::{MobilityView, PhysicalView};

pub fn mobility(view: &MobilityView, width: usize) -> String {
    let mut table = Table::bare(2);
    let place = match view.waits_for.as_str() {
        "" => view.place.clone(),
        missing => format!("{}, waiting for {missing}", view.place),
    };
    for (name, value) in [
        ("place", place.as_str()),
        ("by hand", &view.by_hand),
        ("site", &view.site),
        ("vpn", &view.vpn),
    ] {
        if !value.is_empty() {
            table.row([name, value]);
        }
    }
    let mut parts = vec![format!("Mobility\n{}", table.render(width))];
    let mut homes = Table::new(&["", "address", "adapter", "way"]);
    for home in &view.addresses {
        let address = home.address.to_string();
        homes.row([&home.name, &address, &home.adapter, &home.way]);
    }
    parts.push(format!("Addresses\n{}", homes.render(width)));
    if !view.adapters.is_empty() {
        let mut adapters = Table::new(&["adapter", "address", "domain", "why"]);
        for adapter in &view.adapters {
            let address = adapter.address.map(|a| a.to_string()).unwrap_or_default();
            let name = match (adapter.in_use, adapter.flapping) {
                (true, _) => format!("{} *", adapter.name),
                (false, true) => format!("{} (flapping)", adapter.name),
                (false, false) => adapter.name.clone(),
            };
            adapters.row([&name, &address, &adapter.domain, &why(adapter)]);
        }
        parts.push(format!(
            "Physical adapters, * in use\n{}",
            adapters.render(width)
        ));
    }
    if !view.registrations.is_empty() {
        let mut table = Table::new(&["registration", "home", "care-of", "agent", "state"]);
        for registration in &view.registrations {
            let round_trip = registration.round_trip_microseconds.map(|us| {
                let (ms, rest) = (us / 1000, us / 100 % 10);
                format!(", {ms}.{rest} ms")
            });
            let state = format!("{}{}", registration.state, round_trip.unwrap_or_default());
            table.row([
                &registration.name,
                &registration.home.to_string(),
                &registration.care_of.to_string(),
                &registration.home_agent.to_string(),
                &state,
            ]);
        }
        parts.push(format!("Registrations\n{}", table.render(width)));
    }
    blocks(&parts)
}

fn why(adapter: &PhysicalView) -> String {
    let mut why = Vec::new();
    match (adapter.signal_dbm, adapter.weak) {
        (Some(dbm), true) => why.push(format!("signal {dbm} dBm, weak")),
        (Some(dbm), false) => why.push(format!("signal {dbm} dBm")),
        (None, true) => why.push("weak signal".to_owned()),
        (None, false) => {}
    }
    if let Some(seconds) = adapter.proved_for_seconds {
        why.push(format!("proved for another {}", span(seconds)));
    }
    if adapter.confidence > 50 {
        why.push(format!(
            "guess: {}, {} %",
            adapter.guess, adapter.confidence
        ));
    }
    why.extend(adapter.hints.iter().cloned());
    why.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::mobility::view::{HomeView, MobileRegistrationView};

    #[test]
    fn the_place_what_is_missing_and_the_way_of_each_address_are_on_one_page() {
        let view = MobilityView {
            place: "blocked".into(),
            waits_for: "the VPN".into(),
            addresses: vec![HomeView {
                name: "T".into(),
                address: [198, 51, 100, 5].into(),
                adapter: "mobility0".into(),
                way: "tunnel 203.0.113.10 to 192.0.2.2 over wlan0, both ways".into(),
            }],
            adapters: vec![PhysicalView {
                name: "wlan0".into(),
                address: Some([203, 0, 113, 10].into()),
                domain: "outside".into(),
                guess: "outside".into(),
                confidence: 82,
                hints: vec!["the address is of a range outside".into()],
                proved_for_seconds: None,
                flapping: false,
                signal_dbm: Some(-82),
                weak: true,
                in_use: true,
            }],
            registrations: vec![MobileRegistrationView {
                name: "outer registration 0".into(),
                home: [198, 51, 100, 5].into(),
                home_agent: [192, 0, 2, 2].into(),
                care_of: [203, 0, 113, 10].into(),
                state: "registered".into(),
                round_trip_microseconds: Some(20_450),
            }],
            vpn: "coming".into(),
            ..MobilityView::default()
        };
        let text = mobility(&view, 140);
        for part in [
            "blocked, waiting for the VPN",
            "tunnel 203.0.113.10 to 192.0.2.2 over wlan0, both ways",
            "wlan0 *",
            "signal -82 dBm, weak",
            "guess: outside, 82 %",
            "registered, 20.4 ms",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
