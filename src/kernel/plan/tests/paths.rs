//! Plans of links, addresses, routes and rules: golden ones, and carried out on a model after each
//! step of which the packets of an address of ours are looked up.

use super::*;
use crate::kernel::desired::{
    AddressKey, DecapsulationEntry, Encapsulation, Fragmenting, Judging, Link, LinkKind, LinkName,
    Offload, ProxyKey, Route, Takers,
};
use crate::kernel::observed::links::tests::link;
use std::net::IpAddr;

const TABLE: u32 = 7400;
const HOME: &str = "10.20.0.5";

fn name(text: &str) -> LinkName {
    text.parse().unwrap()
}

fn end() -> Route {
    Route {
        key: RouteKey::end_of(TABLE, Family::V4),
        way: Way::Unreachable,
    }
}

fn default(way: Way) -> Route {
    Route {
        key: RouteKey {
            table: TABLE,
            dst: Family::V4.any(),
            metric: 0,
        },
        way,
    }
}

fn native(link: &str, gateway: &str) -> Way {
    Way::Link {
        link: name(link),
        gateway: Some(gateway.parse().unwrap()),
        source: None,
    }
}

fn tunnel(care_of: &str) -> Way {
    Way::Encapsulated {
        link: name("xa-ipip"),
        encapsulation: Encapsulation {
            src: care_of.parse().unwrap(),
            dst: "192.0.2.2".parse().unwrap(),
            ttl: 64,
            fragmenting: Fragmenting::Forbidden,
        },
        source: None,
    }
}

fn rule() -> RuleKey {
    RuleKey::new(Family::V4, 7400, TABLE).from(format!("{HOME}/32").parse().unwrap())
}

fn anchor() -> Link {
    Link {
        name: name("intranet0"),
        kind: LinkKind::Tun(Offload::None),
        mtu: 1400,
    }
}

fn carrier() -> Link {
    Link {
        name: name("xa-ipip"),
        ..anchor()
    }
}

fn address() -> AddressKey {
    AddressKey {
        link: name("intranet0"),
        address: format!("{HOME}/32").parse().unwrap(),
    }
}

fn desire(objects: Vec<Object>) -> Desired {
    objects.into_iter().collect()
}

/// A home address with its table; the way is what changes.
fn home(way: Option<Way>) -> Vec<Object> {
    let mut objects = vec![
        Object::Link(anchor()),
        Object::Link(carrier()),
        Object::Address(address()),
        Object::Rule(rule()),
        Object::Route(end()),
    ];
    objects.extend(way.map(|way| Object::Route(default(way))));
    objects
}

/// With the links that others made.
fn machine() -> Observed {
    let mut observed = Observed::default();
    observed.links.is(link(2, "eth0", None));
    observed.links.is(link(3, "xa-ipip", Some("xfrm-agent")));
    observed
}

/// The kernel does a step.
fn take(observed: &mut Observed, step: &Step<'_>) {
    match *step {
        Step::AddLink(wanted) => {
            let made = link(9, wanted.name.as_str(), Some("xfrm-agent"));
            observed.links.is(made);
        }
        Step::DeleteLink { index, .. } => drop(observed.links.is_gone(index)),
        Step::AddAddress(key) => drop(observed.addresses.insert(key)),
        Step::DeleteAddress(key) => drop(observed.addresses.remove(&key)),
        Step::AddRule(key) => drop(observed.rules.insert(key)),
        Step::DeleteRule(key) => drop(observed.rules.remove(&key)),
        Step::AddRoute(route) | Step::ReplaceRoute(route) => {
            let index = |name| observed.links.index(name).expect("the link is there");
            let way = route.way.over(route.way.link().map_or(0, index));
            let before = observed.routes.insert(route.key, Some(way));
            let replaces = matches!(step, Step::ReplaceRoute(_));
            assert_eq!(before.is_some(), replaces, "{step}");
        }
        Step::DeleteRoute { key, .. } => drop(observed.routes.remove(&key).expect("it is there")),
        _ => panic!("not expected: {step}"),
    }
}

#[test]
fn a_home_address_comes_in_behind_its_rule_and_the_end_of_its_table_and_leaves_before_them() {
    let desired = desire(home(Some(native("eth0", "203.0.113.1"))));
    let mut observed = machine();
    let before = observed.clone();
    let there = everything(&desired, &before);
    assert_eq!(
        text(&there),
        [
            "ip tuntap add intranet0 mode tun mtu 1400",
            "ip route add unreachable 0.0.0.0/0 table 7400 proto 88 metric 4294967295",
            "ip rule add priority 7400 from 10.20.0.5/32 lookup 7400 proto 88",
            "ip address add 10.20.0.5/32 dev intranet0",
            "ip route add 0.0.0.0/0 table 7400 proto 88 via 203.0.113.1 dev eth0 onlink",
        ]
    );
    for (_, step) in &there.steps {
        take(&mut observed, step);
    }
    let again = everything(&desired, &observed);
    assert!(again.is_empty(), "{:?}", text(&again));
    let nothing = Desired::default();
    assert_eq!(
        text(&everything(&nothing, &observed)),
        [
            "ip address del 10.20.0.5/32 dev intranet0",
            "ip rule del priority 7400 from 10.20.0.5/32 lookup 7400 proto 88",
            "ip route del unreachable 0.0.0.0/0 table 7400 proto 88 metric 4294967295",
            "ip route del 0.0.0.0/0 table 7400 proto 88",
            "ip link del xa-ipip",
            "ip link del intranet0",
        ]
    );
}

#[test]
fn a_switch_replaces_the_way_when_its_tunnel_is_protected_and_a_blocked_one_is_closed_first() {
    let mut observed = machine();
    for (_, step) in &everything(
        &desire(home(Some(native("eth0", "203.0.113.1")))),
        &observed.clone(),
    )
    .steps
    {
        take(&mut observed, step);
    }
    let mut desired = desire(home(Some(tunnel("203.0.113.10"))));
    let policy = tunnel_policy();
    desired.insert(Object::Policy(policy));
    let switch = everything(&desired, &observed);
    assert_eq!(
        text(&switch)[1..],
        [
            "ip route replace 0.0.0.0/0 table 7400 proto 88 encap ip src 203.0.113.10 dst 192.0.2.2 ttl 64 dont-fragment dev xa-ipip"
        ]
    );
    assert!(text(&switch)[0].starts_with("ip xfrm policy add"));

    let blocked = desire(home(None));
    let closing = everything(&blocked, &observed);
    assert_eq!(closing.steps[0].0, Stage::Close);
    assert_eq!(
        text(&closing)[0],
        "ip route del 0.0.0.0/0 table 7400 proto 88"
    );
}

#[test]
fn a_rule_that_leads_past_a_table_comes_behind_the_policy_that_keeps_in_and_goes_before_it() {
    let agent: IpNet = "10.10.0.2/32".parse().unwrap();
    let past = RuleKey {
        to: Some(agent),
        ..RuleKey::new(Family::V4, 7399, 254).from(format!("{HOME}/32").parse().unwrap())
    };
    let kept_in = Policy {
        priority: Band::Trap.priority(32),
        ..policy(out(&format!("{HOME}/32"), "10.10.0.2/32"), Action::Block, 0)
    };
    let mut objects = home(None);
    let plain = desire(objects.clone());
    objects.extend([Object::Rule(past), Object::Policy(kept_in.clone())]);
    let exempting = desire(objects);
    let stage = |plan: &Plan<'_>, is_it: &dyn Fn(&Step<'_>) -> bool| {
        let mut steps = plan.steps.iter();
        steps.position(|(_, step)| is_it(step)).expect("the step")
    };
    let mut observed = machine();
    let plan = everything(&exempting, &observed);
    let adds = |step: &Step<'_>| matches!(step, Step::AddRule(key) if *key == past);
    let keeps = |step: &Step<'_>| matches!(step, Step::AddPolicy(_));
    assert!(stage(&plan, &keeps) < stage(&plan, &adds));
    observed.rules.insert(past);
    observed.replace(vec![observe(kept_in, INDEX + 1)], Vec::new());
    let plan = everything(&plain, &observed);
    let ends = |step: &Step<'_>| matches!(step, Step::DeleteRule(key) if *key == past);
    let frees = |step: &Step<'_>| matches!(step, Step::DeletePolicy { .. });
    assert!(stage(&plan, &ends) < stage(&plan, &frees));
}

fn tunnel_policy() -> Policy {
    super::tunnel(out("203.0.113.10/32", "192.0.2.2/32"), 1)
}

#[test]
fn somebody_elses_link_is_a_clash_and_nothing_goes_over_it() {
    let mut observed = machine();
    observed.links.is(link(4, "intranet0", Some("mine")));
    let mut objects = home(None);
    objects.push(Object::Route(default(native("intranet0", "10.0.0.1"))));
    let desired = desire(objects);
    let plan = everything(&desired, &observed);
    assert!(matches!(plan.clashes[..], [Clash::Link(there)] if there.index == 4));
    assert_eq!(plan.steps.len(), 2, "{:?}", text(&plan));
}

#[test]
fn a_binding_is_let_through_with_its_route_and_its_proxy_goes_before_the_route_does() {
    let home: Ipv4Addr = HOME.parse().unwrap();
    let (here, there) = (
        "192.0.2.2".parse().unwrap(),
        "203.0.113.10".parse().unwrap(),
    );
    let entry = DecapsulationEntry::Binding {
        src: there,
        dst: here,
        inner: home,
    };
    let binding = Route {
        key: RouteKey::to_host(254, home),
        way: tunnel("192.0.2.2"),
    };
    let proxy = ProxyKey {
        link: name("eth0"),
        address: IpAddr::V4(home),
    };
    let mut desired = desire(vec![
        Object::Decapsulation(Judging::HOME_AGENT),
        Object::DecapsulationEntry(DecapsulationEntry::End(here)),
        Object::DecapsulationEntry(entry),
        Object::Route(binding),
        Object::Proxy(proxy),
        Object::Link(carrier()),
    ]);
    let mut observed = machine();
    assert_eq!(
        text(&everything(&desired, &observed)),
        [
            "nft table ip xfrm-agent-tunnels",
            "nft add element ip xfrm-agent-tunnels ends { 192.0.2.2 }",
            "nft add element ip xfrm-agent-tunnels bindings { 203.0.113.10 . 192.0.2.2 . 0xa140005 }",
            "ip route add 10.20.0.5/32 table 254 proto 88 metric 169082885 encap ip src 192.0.2.2 dst 192.0.2.2 ttl 64 dont-fragment dev xa-ipip",
            "ip neigh add proxy 10.20.0.5 dev eth0 protocol 88",
        ]
    );
    observed.decapsulation = ObservedDecapsulation::AsWritten(Judging::HOME_AGENT);
    observed.decapsulation_entries.insert(entry);
    observed
        .routes
        .insert(binding.key, Some(binding.way.over(3)));
    observed.proxies.insert(proxy, Whose::Ours);
    for key in [
        Key::DecapsulationEntry(entry),
        Key::Route(binding.key),
        Key::Proxy(proxy),
    ] {
        desired.remove(&key);
    }
    observed
        .decapsulation_entries
        .insert(DecapsulationEntry::End(here));
    assert_eq!(
        text(&everything(&desired, &observed)),
        [
            "nft delete element ip xfrm-agent-tunnels bindings { 203.0.113.10 . 192.0.2.2 . 0xa140005 }",
            "ip neigh del proxy 10.20.0.5 dev eth0 protocol 88",
            "ip route del 10.20.0.5/32 table 254 proto 88 metric 169082885",
        ]
    );
    // The table is another one where user space takes some.
    let also = Object::Decapsulation(Judging {
        takers: Takers::UserSpaceToo,
        ..Judging::HOME_AGENT
    });
    desired.insert(also);
    let plan = text(&everything(&desired, &observed));
    assert_eq!(plan[0], "nft table ip xfrm-agent-tunnels");
}

/// Where packets from the home address go.
fn verdict(observed: &Observed) -> Option<crate::kernel::observed::ObservedWay> {
    let main = Some(Way::Link {
        link: 0,
        gateway: None,
        source: None,
    });
    if !observed.addresses.contains(&address()) {
        // Nobody can send from it.
        return None;
    }
    if !observed.rules.contains(&rule()) {
        return main;
    }
    let mut ways = observed.routes.iter().filter(|(key, _)| key.table == TABLE);
    match ways.next() {
        Some((_, Some(Way::Unreachable))) => None,
        Some((_, way)) => *way,
        None => main,
    }
}

fn state() -> impl Strategy<Value = Vec<Object>> {
    let way = prop_oneof![
        Just(None),
        Just(Some(native("eth0", "203.0.113.1"))),
        Just(Some(tunnel("203.0.113.10"))),
        Just(Some(tunnel("203.0.113.11"))),
    ];
    let none = vec![Object::Link(carrier())];
    prop_oneof![1 => Just(none), 4 => way.prop_map(home)]
}

proptest! {
    #[test]
    fn on_every_way_from_one_state_to_another_packets_go_as_before_or_as_after_or_nowhere(
        states in prop::collection::vec(state(), 1..6),
    ) {
        let mut observed = machine();
        for wanted in states {
            let desired = desire(wanted);
            let snapshot = observed.clone();
            let plan = everything(&desired, &snapshot);
            let mut seen = vec![verdict(&observed)];
            for (_, step) in &plan.steps {
                take(&mut observed, step);
                seen.push(verdict(&observed));
            }
            let (before, after) = (seen[0], seen[seen.len() - 1]);
            for there in seen {
                prop_assert!(there.is_none() || there == before || there == after, "{there:?}");
            }
            let again = everything(&desired, &observed);
            prop_assert!(again.is_empty(), "{:?}", text(&again));
        }
    }
}
