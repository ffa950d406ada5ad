//! A laptop that has a name, and whose home agent gives it its home address.

use super::*;
use crate::kernel::desired::AddressKey;

const ALICE: &str = "alice@example.org";
const GIVEN: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 129);

fn named() -> MobilitySettings {
    let mut settings = single();
    settings.dual.inner.home = Ipv4Addr::UNSPECIFIED;
    settings.inner.nai = Some(ALICE.into());
    settings
}

fn giving(pool: &str) -> Serving {
    let mut serving = serving();
    serving.pool = Some(pool.parse().unwrap());
    serving.mobile_nodes = vec![Arc::new(MobileNode {
        home: None,
        nai: Some(ALICE.into()),
        ..(*serving.mobile_nodes[0]).clone()
    })];
    serving
}

fn start(kept: Option<GivenHome>) -> Laptop {
    let mut laptop = Laptop::start(named());
    let giving = giving("10.20.0.128/29");
    laptop.home_agent.reconfigure(laptop.now, giving);
    if let Some(kept) = kept {
        laptop.hand(Event::Home(kept));
    }
    laptop
}

fn kept() -> GivenHome {
    GivenHome {
        nai: ALICE.into(),
        home_agent: S_HA,
        home: GIVEN,
    }
}

/// What an adapter holds.
fn held(laptop: &Laptop, adapter: &str) -> Vec<String> {
    let objects = laptop.kernel.objects.values();
    let addresses = objects.filter_map(|object| match object {
        Object::Address(AddressKey { link, address }) if link.as_str() == adapter => {
            Some(address.to_string())
        }
        _ => None,
    });
    addresses.collect()
}

fn carries(laptop: &Laptop, care_of: Ipv4Addr, home: Ipv4Addr) -> bool {
    let way = tunnel_from(care_of).replace(&S.to_string(), &home.to_string());
    laptop.ways() == [way, END.into()]
}

#[test]
fn it_is_asked_for_before_anything_else_and_comes_up_when_it_is_given() {
    let mut laptop = start(None);
    assert_eq!(laptop.ways(), [END], "what would take it goes nowhere");
    laptop.clock_is_known();
    assert_eq!(held(&laptop, "intranet0"), [""; 0]);
    let view = laptop.agent.snapshot(laptop.now).mobility.unwrap();
    assert_eq!(
        view.waits_for,
        format!("a home address for {ALICE} from {S_HA}")
    );
    laptop.is_reached = false;
    laptop.on(at("203.0.113.10/25"));
    assert_eq!(
        (laptop.ways(), held(&laptop, "intranet0")),
        (vec![END.into()], vec![])
    );
    laptop.is_reached = true;
    laptop.pass(Duration::from_millis(1500));
    assert!(carries(&laptop, X, GIVEN), "{:?}", laptop.ways());
    assert_eq!(held(&laptop, "intranet0"), ["10.20.0.129/32"]);
    assert_eq!(laptop.given, [kept()]);
    laptop.on(at("203.0.113.138/25"));
    assert!(carries(&laptop, ELSEWHERE, GIVEN), "{:?}", laptop.ways());
    assert_eq!(laptop.given.len(), 1);
}

#[test]
fn what_an_earlier_run_was_given_is_there_at_once() {
    let mut laptop = start(Some(kept()));
    assert_eq!(held(&laptop, "intranet0"), ["10.20.0.129/32"]);
    laptop.clock_is_known();
    laptop.on(at("203.0.113.10/25"));
    assert!(carries(&laptop, X, GIVEN), "{:?}", laptop.ways());
    assert_eq!(laptop.given, []);
    // Of another name or another home agent it is of no use.
    for other in [
        GivenHome {
            nai: "bob@example.org".into(),
            ..kept()
        },
        GivenHome {
            home_agent: X,
            ..kept()
        },
    ] {
        assert_eq!(held(&start(Some(other)), "intranet0"), [""; 0]);
    }
}

#[test]
fn what_may_not_be_had_any_more_is_asked_for_anew() {
    let mut laptop = start(Some(kept()));
    laptop.clock_is_known();
    laptop.on(at("203.0.113.10/25"));
    let other = giving("10.20.0.136/29");
    laptop.home_agent.reconfigure(laptop.now, other);
    laptop.on(at("203.0.113.138/25"));
    let home = Ipv4Addr::new(10, 20, 0, 137);
    assert!(carries(&laptop, ELSEWHERE, home), "{:?}", laptop.ways());
    assert_eq!(held(&laptop, "intranet0"), ["10.20.0.137/32"]);
    assert_eq!(laptop.given, [GivenHome { home, ..kept() }]);
    // Not again and again.
    let third = giving("10.20.0.144/29");
    laptop.home_agent.reconfigure(laptop.now, third);
    laptop.on(at("203.0.113.10/25"));
    assert_eq!(laptop.ways(), [END]);
    laptop.pass(Duration::from_secs(125));
    let home = Ipv4Addr::new(10, 20, 0, 145);
    assert!(carries(&laptop, X, home), "{:?}", laptop.ways());
}

#[test]
fn t_is_given_as_well() {
    let mut settings = settings();
    let outer = settings.dual.sites[0].outer.as_mut().unwrap();
    (outer.home, outer.home_agent) = (Ipv4Addr::UNSPECIFIED, S_HA);
    settings.outer.get_mut(&0).unwrap().nai = Some(ALICE.into());
    let mut laptop = Laptop::start(settings);
    let giving = giving("10.20.0.128/29");
    laptop.home_agent.reconfigure(laptop.now, giving);
    laptop.clock_is_known();
    assert_eq!(held(&laptop, "intranet0"), ["10.20.0.5/32"]);
    laptop.on(at("203.0.113.10/25"));
    assert_eq!(held(&laptop, "mobility0"), ["10.20.0.129/32"]);
    let view = laptop.agent.snapshot(laptop.now).mobility.unwrap();
    let registered: Vec<_> = view.registrations.iter().map(|r| r.home).collect();
    assert_eq!(registered, [GIVEN]);
}

#[test]
fn what_does_not_go_together_with_the_rest_is_told() {
    let mut settings = named();
    settings.dual.mobile_networks = vec!["10.20.0.128/25".parse().unwrap()];
    let mut laptop = Laptop::start(settings);
    laptop
        .home_agent
        .reconfigure(laptop.now, giving("10.20.0.128/29"));
    laptop.clock_is_known();
    laptop.on(at("203.0.113.10/25"));
    assert_eq!(laptop.ways(), [END]);
    assert_eq!(laptop.given, []);
    assert!(laptop.told.contains(&"refused".to_owned()));
}
