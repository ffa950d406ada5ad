//! Plans carried out on a model of the kernel's policy database, after each step of which every
//! packet of a small universe is looked up.

mod paths;

use super::*;
use crate::kernel::desired::{
    Action, Algorithms, Direction, IpsecProtocol, Level, Lifetime, Mark, Mode, RouteKey, RuleKey,
    Sa, Sysctl, Template, Way,
};
use crate::kernel::observed;
use crate::net::{Family, Flow, IpNet, Secret, Selector, Spi};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

const INDEX: u32 = ownership::INDICES.start;

fn observe(policy: Policy, index: u32) -> ObservedPolicy {
    ObservedPolicy {
        limited: false,
        policy,
        index,
        added: 0,
        used: None,
    }
}

/// The kernel, as far as policies go.
#[derive(Clone, Debug, Default)]
struct Model {
    policies: BTreeMap<PolicyKey, ObservedPolicy>,
    next: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Clear,
    Protected,
}

impl Model {
    fn observed(&self) -> Observed {
        let mut observed = Observed::default();
        observed.replace(self.policies.values().cloned().collect(), Vec::new());
        observed
    }

    fn foreign(&self) -> Vec<ObservedPolicy> {
        let foreign = |p: &&ObservedPolicy| !ownership::owns_policy(p);
        self.policies.values().filter(foreign).cloned().collect()
    }

    fn take(&mut self, step: &Step<'_>) {
        match step {
            Step::AddPolicy(policy) => {
                let taken = self.policies.contains_key(&policy.key);
                assert!(!taken, "EEXIST: {step}");
                self.next += 8;
                let there = observe((*policy).clone(), INDEX + 0x10_0000 + self.next);
                self.policies.insert(policy.key, there);
            }
            Step::UpdatePolicy { policy, index } => {
                let there = self
                    .policies
                    .get_mut(&policy.key)
                    .expect("there is one to update");
                assert_eq!(there.index, *index);
                there.policy = (*policy).clone();
            }
            Step::DeletePolicy { key, index } => {
                let there = self.policies.remove(key).expect("there is one to delete");
                assert_eq!(there.index, *index);
            }
            _ => panic!("not a policy: {step}"),
        }
    }

    fn verdict(&self, direction: Direction, flow: &Flow) -> Verdict {
        let matching = self
            .policies
            .values()
            .filter(|p| p.policy.key.direction == direction && p.policy.key.selector.matches(flow));
        match matching.min_by_key(|p| p.policy.priority) {
            Some(best) if !best.policy.action.is_clear() => Verdict::Protected,
            _ => Verdict::Clear,
        }
    }

    fn verdicts(&self) -> Vec<Verdict> {
        universe()
            .map(|(direction, flow)| self.verdict(direction, &flow))
            .collect()
    }
}

/// Every packet between four addresses, in two directions.
fn universe() -> impl Iterator<Item = (Direction, Flow)> {
    let pairs = (0..4u32).flat_map(|s| (0..4u32).map(move |d| (s, d)));
    pairs.flat_map(|(s, d)| {
        let flow = Flow {
            src: Ipv4Addr::from(s).into(),
            dst: Ipv4Addr::from(d).into(),
            protocol: 6,
            ports: Some((1, 2)),
        };
        [Direction::Out, Direction::In].map(|direction| (direction, flow))
    })
}

fn template(reqid: u32) -> Template {
    Template {
        protocol: IpsecProtocol::Esp,
        mode: Mode::Tunnel,
        level: Level::Required,
        src: Ipv4Addr::new(192, 0, 2, 1).into(),
        dst: Ipv4Addr::new(192, 0, 2, 2).into(),
        reqid,
        spi: None,
    }
}

fn net() -> impl Strategy<Value = IpNet> {
    (0u32..4, 30u8..=32).prop_map(|(addr, len)| {
        IpNet::new(Ipv4Addr::from(addr).into(), len)
            .unwrap()
            .trunc()
    })
}

fn key() -> impl Strategy<Value = PolicyKey> {
    (net(), net(), any::<bool>()).prop_map(|(src, dst, out)| PolicyKey {
        direction: if out { Direction::Out } else { Direction::In },
        selector: Selector::between(src, dst),
        mark: Mark::default(),
        if_id: 0,
    })
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        Just(Action::Allow(Vec::new())),
        Just(Action::Block),
        Just(Action::Allow(vec![template(0)])),
        Just(Action::Allow(vec![template(1)])),
    ]
}

/// Bypasses are clear; in the other bands all is mixed. Which of two policies with the same
/// priority is met first is the kernel's affair, so clear ones are even and others odd here.
fn own_policy() -> impl Strategy<Value = Policy> {
    (key(), action(), 0usize..Band::ALL.len(), 0u32..4).prop_map(
        |(key, action, band, specificity)| {
            let band = match Band::ALL[band] {
                Band::Bypass if !action.is_clear() => Band::Tunnel,
                band => band,
            };
            policy(key, action, band.priority(specificity * 2))
        },
    )
}

fn policy(key: PolicyKey, action: Action, priority: u32) -> Policy {
    Policy {
        key,
        priority: priority & !1 | u32::from(!action.is_clear()),
        action,
        lifetime: None,
    }
}

/// Anywhere among ours and before and after them.
fn foreign_policy() -> impl Strategy<Value = Policy> {
    let priority = prop_oneof![0u32..4, 10_990u32..16_000, 100_000u32..100_004];
    (key(), action(), priority).prop_map(|(key, action, priority)| policy(key, action, priority))
}

fn model(own: Vec<Policy>, foreign: Vec<Policy>) -> Model {
    let mut model = Model::default();
    for (i, policy) in own.into_iter().enumerate() {
        let index = INDEX + 8 * i as u32;
        model.policies.insert(policy.key, observe(policy, index));
    }
    for (i, policy) in foreign.into_iter().enumerate() {
        let index = 8 * (1 + i as u32);
        model.policies.insert(policy.key, observe(policy, index));
    }
    model
}

fn desire(policies: Vec<Policy>) -> Desired {
    policies.into_iter().map(Object::Policy).collect()
}

fn everything<'a>(desired: &'a Desired, observed: &'a Observed) -> Plan<'a> {
    plan(desired, observed, Scope::Everything, &BTreeSet::new())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_plan_converges_leaves_foreign_policies_alone_and_uncovers_nothing_on_the_way(
        own in prop::collection::vec(own_policy(), 0..12),
        foreign in prop::collection::vec(foreign_policy(), 0..4),
        wanted in prop::collection::vec(own_policy(), 0..12),
    ) {
        let mut model = model(own, foreign);
        let desired = desire(wanted);
        let foreign = model.foreign();
        let observed = model.observed();
        let plan = everything(&desired, &observed);

        let before = model.verdicts();
        let mut states = Vec::new();
        for (_, step) in &plan.steps {
            model.take(step);
            states.push(model.verdicts());
        }
        let after = model.verdicts();

        for (state, (_, step)) in states.iter().zip(&plan.steps) {
            for (i, packet) in universe().enumerate() {
                let due = before[i] == Verdict::Protected && after[i] == Verdict::Protected;
                prop_assert!(!due || state[i] == Verdict::Protected, "{packet:?} after {step}");
            }
        }
        prop_assert_eq!(model.foreign(), foreign);
        let observed = model.observed();
        let second = everything(&desired, &observed);
        prop_assert!(second.steps.is_empty(), "{:?}", second.steps);
        prop_assert_eq!(second.clashes.len(), plan.clashes.len());
        let clashing: BTreeSet<_> = plan.clashes.iter().filter_map(|clash| match clash {
            Clash::Policy(there) => Some(there.policy.key),
            _ => None,
        }).collect();
        for wanted in desired.all() {
            let Wanted::Other(Object::Policy(policy)) = wanted else { continue };
            if !clashing.contains(&policy.key) {
                prop_assert_eq!(&model.policies[&policy.key].policy, policy);
            }
        }
        let own = model.policies.values().filter(|p| ownership::owns_policy(p));
        prop_assert_eq!(own.count(), desired.len() - clashing.len());
    }

    #[test]
    fn planning_only_the_keys_that_changed_comes_to_the_same(
        own in prop::collection::vec(own_policy(), 0..8),
        wanted in prop::collection::vec(own_policy(), 0..8),
    ) {
        let model = model(own, Vec::new());
        let desired = desire(wanted);
        let observed = model.observed();
        let keys: BTreeSet<Key> = desired.keys()
            .chain(model.policies.keys().map(|key| Key::Policy(*key)))
            .collect();
        let some = plan(&desired, &observed, Scope::Keys(&keys.into_iter().collect::<Vec<_>>()), &BTreeSet::new());
        let all = everything(&desired, &observed);
        let text = |plan: &Plan<'_>| {
            let mut steps: Vec<_> = plan.steps.iter().map(|(_, step)| step.to_string()).collect();
            steps.sort();
            steps
        };
        prop_assert_eq!(text(&some), text(&all));
        let none = plan(&desired, &observed, Scope::Keys(&[]), &BTreeSet::new());
        prop_assert!(none.is_empty());
    }
}

// --- golden plans -------------------------------------------------------------------------------

fn out(src: &str, dst: &str) -> PolicyKey {
    PolicyKey {
        direction: Direction::Out,
        selector: Selector::between(src.parse().unwrap(), dst.parse().unwrap()),
        mark: Mark {
            value: 0,
            mask: 0x8000_0000,
        },
        if_id: 0,
    }
}

fn trap(key: PolicyKey) -> Policy {
    let unspecified = Template {
        mode: Mode::Transport,
        src: Ipv4Addr::UNSPECIFIED.into(),
        dst: Ipv4Addr::UNSPECIFIED.into(),
        ..template(0)
    };
    Policy {
        priority: Band::Trap.priority(32),
        ..policy(key, Action::Allow(vec![unspecified]), 0)
    }
}

fn tunnel(key: PolicyKey, reqid: u32) -> Policy {
    Policy {
        priority: Band::Tunnel.priority(32),
        ..policy(key, Action::Allow(vec![template(reqid)]), 0)
    }
}

fn sa(direction: SaDirection, spi: u32) -> Sa {
    let (here, there) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
    let (src, dst) = match direction {
        SaDirection::In => (there, here),
        SaDirection::Out => (here, there),
    };
    Sa {
        src,
        dst,
        spi: Spi(spi),
        direction,
        mode: Mode::Tunnel,
        reqid: ownership::REQIDS.start,
        algorithms: Algorithms::Aead {
            name: "rfc4106(gcm(aes))",
            key: Secret::new(vec![0x5a; 20]),
            icv_bits: 128,
        },
        replay_window: 64,
        esn: false,
        encapsulation: None,
        lifetime: Lifetime::default(),
        mark: Mark::default(),
        if_id: 0,
        selector: None,
    }
}

fn text(plan: &Plan<'_>) -> Vec<String> {
    plan.steps
        .iter()
        .map(|(_, step)| step.to_string())
        .collect()
}

#[test]
fn a_tunnel_comes_in_as_sas_then_policies_then_the_release_of_what_waits() {
    let (wide, exact) = (
        out("10.1.0.0/16", "10.0.0.0/8"),
        out("10.1.0.0/16", "10.2.0.0/16"),
    );
    let mut observed = Observed::default();
    observed.policy_is(observe(trap(wide), INDEX | 1));
    let mut desired = desire(vec![trap(wide), tunnel(exact, ownership::REQIDS.start)]);
    for sa in [sa(SaDirection::Out, 0x202), sa(SaDirection::In, 0x101)] {
        desired.insert(Object::Sa(Box::new(sa)));
    }
    let release = BTreeSet::from([wide, exact]);
    let plan = plan(&desired, &observed, Scope::Everything, &release);
    assert_eq!(
        text(&plan),
        [
            "ip xfrm state add src 192.0.2.2 dst 192.0.2.1 proto esp spi 0x00000101 reqid 1476395008 mode tunnel aead 'rfc4106(gcm(aes))' … 128 replay-window 64",
            "ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x00000202 reqid 1476395008 mode tunnel aead 'rfc4106(gcm(aes))' … 128 replay-window 64",
            "ip xfrm policy add src 10.1.0.0/16 dst 10.2.0.0/16 dir out mark 0x0 mask 0x80000000 priority 11967 tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 1476395008 mode tunnel",
            "ip xfrm policy update src 10.1.0.0/16 dst 10.0.0.0/8 dir out mark 0x0 mask 0x80000000 priority 14967 tmpl src 0.0.0.0 dst 0.0.0.0 proto esp reqid 0 mode transport",
        ]
    );
}

#[test]
fn a_trap_that_equals_the_tunnel_is_updated_to_it_and_back_and_never_deleted() {
    let key = out("10.1.0.0/16", "10.2.0.0/16");
    let mut observed = Observed::default();
    observed.policy_is(observe(trap(key), INDEX | 1));
    let desired = desire(vec![tunnel(key, 1)]);
    let there = everything(&desired, &observed);
    assert!(text(&there)[0].starts_with("ip xfrm policy update") && there.steps.len() == 1);

    let mut observed = Observed::default();
    observed.policy_is(observe(tunnel(key, 1), INDEX | 1));
    let desired = desire(vec![trap(key)]);
    let back = everything(&desired, &observed);
    assert!(text(&back)[0].starts_with("ip xfrm policy update") && back.steps.len() == 1);
    assert_eq!(back.steps[0].0, Stage::Loosen);
}

#[test]
fn everything_that_is_not_wanted_any_more_goes_in_the_order_that_exposes_last() {
    let mut observed = Observed::default();
    let (bypass, block) = (
        out("10.1.0.0/16", "10.1.0.0/16"),
        out("10.1.0.0/16", "10.3.0.0/16"),
    );
    let clear = Action::Allow(Vec::new());
    observed.policy_is(observe(
        policy(bypass, clear, Band::Bypass.priority(32)),
        INDEX | 1,
    ));
    observed.policy_is(observe(
        policy(block, Action::Block, Band::Failure.priority(32)),
        INDEX | 9,
    ));
    observed.sa_is(observed::tests::sa(0x303, ownership::REQIDS.start));
    let mark = Mark {
        value: 0xc000_0000,
        mask: 0xc000_0000,
    };
    let rule = RuleKey::new(Family::V4, 7370, 7370).mark(mark);
    observed.rules.insert(rule);
    let diverted = RouteKey {
        table: 7370,
        dst: Family::V4.any(),
        metric: 0,
    };
    observed.routes.insert(diverted, Some(Way::Local));
    observed.interception = ObservedInterception::Unknown;
    observed.altered.insert(Sysctl::XfrmLarvalDrop);
    let desired = Desired::default();
    assert_eq!(
        text(&everything(&desired, &observed)),
        [
            "ip xfrm policy delete dir out index 1476395009",
            "ip xfrm policy delete dir out index 1476395017",
            "ip xfrm state delete src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x00000303",
            "nft delete table inet xfrm-agent",
            "ip rule del priority 7370 fwmark 0xc0000000/0xc0000000 lookup 7370 proto 88",
            "ip route del local 0.0.0.0/0 table 7370 proto 88",
            "sysctl net.core.xfrm_larval_drop=(as before)",
        ]
    );
}

#[test]
fn a_vanished_sa_is_reported_and_never_added_again_and_an_adopted_one_stays() {
    let lost = sa(SaDirection::Out, 0x202);
    let adopted = observed::tests::sa(0x303, ownership::REQIDS.start);
    let mut observed = Observed::default();
    observed.sa_is(adopted.clone());
    observed.sa_is(ObservedSa {
        key: lost.key(),
        ..adopted.clone()
    });
    observed.sa_is_gone(&lost.key());
    let (key, adopted_key) = (lost.key(), adopted.key);
    let mut desired = Desired::default();
    desired.insert(Object::Sa(Box::new(lost)));
    desired.insert(Object::AdoptedSa(adopted_key));
    let plan = everything(&desired, &observed);
    assert!(plan.steps.is_empty());
    assert_eq!(plan.lost, [key]);
}

#[test]
fn somebody_elses_policy_with_our_selector_is_a_clash_and_stays() {
    let key = out("10.1.0.0/16", "10.2.0.0/16");
    let mut observed = Observed::default();
    observed.policy_is(observe(policy(key, Action::Block, 0), 9));
    let desired = desire(vec![trap(key)]);
    let plan = everything(&desired, &observed);
    assert!(plan.steps.is_empty());
    assert!(matches!(plan.clashes[..], [Clash::Policy(there)] if there.index == 9));
}

#[test]
fn new_policies_of_the_three_directions_take_turns() {
    let policies = [Direction::In, Direction::Out, Direction::Fwd]
        .into_iter()
        .flat_map(|direction| {
            ["10.2.0.0/16", "10.3.0.0/16"].map(|dst| PolicyKey {
                direction,
                ..out("10.1.0.0/16", dst)
            })
        })
        .map(|key| policy(key, Action::Block, Band::Enforce.priority(32)))
        .collect();
    let (desired, observed) = (desire(policies), Observed::default());
    let plan = everything(&desired, &observed);
    let directions: Vec<_> = plan.steps.iter().map(|(_, step)| step.key()).collect();
    let directions = directions.iter().filter_map(|key| match key {
        Key::Policy(key) => Some(key.direction),
        _ => None,
    });
    let turn = [Direction::In, Direction::Out, Direction::Fwd];
    assert_eq!(directions.collect::<Vec<_>>(), [turn, turn].concat());
}
