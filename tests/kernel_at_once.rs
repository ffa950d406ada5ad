//! Small changes, carried out by whoever has them, beside the writer's thread. Needs root, no ESP.

mod kernel;

use kernel::{Kernel, in_namespace, policy, run, selector, trap_template};
use std::time::{Duration, Instant};
use xfrm_agent::kernel::desired::{
    Action, Change, Direction, Neighbour, NeighbourKey, Object, Revision, Route, RouteKey, Sysctl,
    Way,
};
use xfrm_agent::kernel::events::KernelEvent;
use xfrm_agent::kernel::ownership::Band;
use xfrm_agent::kernel::writer::{Report, Stop};

const TABLE: u32 = 7400;

fn trap(n: usize) -> Object {
    let dst = format!("10.{}.{}.0/24", 128 + n / 256, n % 256);
    let action = Action::Allow(vec![trap_template(false)]);
    let selector = selector("10.1.0.0/16", &dst);
    Object::Policy(policy(Direction::Out, selector, Band::Trap, action))
}

/// In a table of ours.
fn unreachable(dst: &str) -> Object {
    let key = RouteKey {
        table: TABLE,
        dst: dst.parse().unwrap(),
        metric: 7,
    };
    let way = Way::Unreachable;
    Object::Route(Route { key, way })
}

fn put(objects: impl IntoIterator<Item = Object>) -> Change {
    Change {
        put: objects.into_iter().collect(),
        ..Change::default()
    }
}

fn remove(object: &Object) -> Change {
    Change {
        remove: vec![object.key()],
        ..Change::default()
    }
}

fn is_there(n: usize) -> bool {
    let Object::Policy(wanted) = trap(n) else {
        return false;
    };
    run("ip", "xfrm policy").contains(&format!("dst {}", wanted.key.selector.dst))
}

/// A writer with its first change behind it, whose thread sleeps.
fn at_rest() -> Kernel {
    let mut kernel = Kernel::open();
    kernel.put(vec![trap(0)]);
    rest();
    kernel
}

/// Time for the thread to read what events say of the last change.
fn rest() {
    std::thread::sleep(Duration::from_millis(100));
}

fn applied(report: &Report) -> Option<Revision> {
    match report {
        Report::Applied { revision } => Some(*revision),
        _ => None,
    }
}

#[test]
fn a_policy_is_in_the_kernel_and_the_answer_there_when_the_call_returns() {
    in_namespace(|| {
        let mut kernel = at_rest();
        let (revision, much) = kernel.begin(put([trap(1)]));
        assert!(is_there(1));
        assert_eq!(much, 1);
        assert_eq!(applied(&kernel.report()), Some(revision));
        rest();
        let (revision, much) = kernel.begin(remove(&trap(1)));
        assert!(!is_there(1));
        assert_eq!(much, 1);
        assert_eq!(applied(&kernel.report()), Some(revision));
        kernel.stop(Stop::Remove);
        assert_eq!(run("ip", "xfrm policy"), "");
    });
}

#[test]
fn a_route_is_there_when_the_call_returns_though_nobody_has_read_what_happened_before() {
    in_namespace(|| {
        let table = TABLE.to_string();
        let shown = || run("ip", &format!("route show table {table}"));
        let mut kernel = at_rest();
        let first = unreachable("10.77.0.0/16");
        let (revision, much) = kernel.begin(put([first.clone()]));
        assert!(shown().contains("10.77.0.0/16"));
        assert_eq!(much, 1);
        assert_eq!(applied(&kernel.report()), Some(revision));
        rest();
        // Events that the thread may or may not have seen by then: either way it is done.
        run("ip", "link add nobody type veth");
        let (revision, _) = kernel.begin(put([unreachable("10.78.0.0/16")]));
        assert_eq!(applied(&kernel.report()), Some(revision));
        assert!(shown().contains("10.78.0.0/16"));
        rest();
        // Somebody takes ours out; the next wish does not wait for its being put back, nor prevent that.
        run(
            "ip",
            &format!("route del 10.77.0.0/16 table {table} metric 7"),
        );
        let (revision, _) = kernel.begin(remove(&unreachable("10.78.0.0/16")));
        assert_eq!(applied(&kernel.report()), Some(revision));
        rest();
        assert!(shown().contains("10.77.0.0/16") && !shown().contains("10.78.0.0/16"));
        kernel.stop(Stop::Remove);
    });
}

#[test]
fn a_neighbour_which_has_no_events_is_left_to_the_thread() {
    in_namespace(|| {
        run("ip", "link add nobody type veth");
        run("ip", "link set nobody up");
        let mut kernel = at_rest();
        let key = NeighbourKey {
            link: "nobody".parse().unwrap(),
            address: "10.9.9.9".parse().unwrap(),
        };
        let mac = [2, 0, 0, 0, 0, 9];
        let wanted = || Object::Neighbour(Neighbour { key, mac });
        let shown = || run("ip", "neigh show dev nobody");
        for _ in 0..2 {
            assert_eq!(kernel.begin(put([wanted()])).1, 0);
            assert!(applied(&kernel.report()).is_some());
            assert!(shown().contains("02:00:00:00:00:09"));
            rest();
            // It goes with the link, and comes back with it.
            run("ip", "link set nobody down");
            run("ip", "link set nobody up");
            rest();
            assert!(
                shown().contains("02:00:00:00:00:09 PERMANENT"),
                "{}",
                shown()
            );
            assert_eq!(kernel.begin(remove(&wanted())).1, 0);
            assert!(applied(&kernel.report()).is_some());
            assert!(!shown().contains("02:00:00:00:00:09"));
            rest();
        }
        kernel.stop(Stop::Remove);
    });
}

#[test]
fn the_first_change_and_those_of_other_kinds_are_left_to_the_thread() {
    in_namespace(|| {
        let mut kernel = Kernel::open();
        assert_eq!(kernel.begin(put([trap(0)])).1, 0, "first");
        assert!(applied(&kernel.report()).is_some());
        rest();
        let sysctl = Object::Sysctl(Sysctl::XfrmLarvalDrop, "1".to_owned());
        assert_eq!(kernel.begin(put([sysctl])).1, 0, "a file to write");
        assert!(applied(&kernel.report()).is_some());
        rest();
        assert_eq!(kernel.begin(put((1..300).map(trap))).1, 0, "many");
        assert!(applied(&kernel.report()).is_some());
        rest();
        let route = unreachable("10.77.0.0/16");
        assert_eq!(kernel.begin(put([route])).1, 0, "one of many moves");
        assert!(applied(&kernel.report()).is_some());
        kernel.stop(Stop::Remove);
    });
}

#[test]
fn behind_a_change_of_thousands_a_small_one_waits_its_turn_and_its_sender_does_not() {
    in_namespace(|| {
        let mut kernel = at_rest();
        let (many, _) = kernel.begin(put((1..20_000).map(trap)));
        let start = Instant::now();
        let (last, much) = kernel.begin(remove(&trap(7)));
        assert!(start.elapsed() < Duration::from_millis(20));
        assert_eq!(much, 0);
        // Merged, or one after the other.
        let mut done = applied(&kernel.report()).unwrap();
        assert!(done == many || done == last);
        while done < last {
            done = applied(&kernel.report()).unwrap();
        }
        assert!(is_there(8) && !is_there(7));
        kernel.stop(Stop::Remove);
        assert_eq!(run("ip", "xfrm policy"), "");
    });
}

#[test]
fn what_waits_in_the_channel_was_said_before() {
    in_namespace(|| {
        let mut kernel = at_rest();
        let Object::Policy(wanted) = trap(0) else {
            unreachable!("a policy");
        };
        run("ip", &format!("xfrm policy delete {}", wanted.key));
        rest();
        // The thread has put it back, which nobody has read yet, and sleeps again.
        let (revision, much) = kernel.begin(put([trap(1)]));
        let reports: Vec<Report> = (0..much).map(|_| kernel.report()).collect();
        assert_eq!(reports.last().and_then(applied), Some(revision));
        kernel.stop(Stop::Remove);
    });
}

#[test]
fn a_refusal_at_once_is_tried_again_by_the_thread_until_it_is_accepted() {
    in_namespace(|| {
        let mut kernel = at_rest();
        let Object::Policy(wanted) = trap(1) else {
            unreachable!("a policy");
        };
        // Somebody else's, with the same selector.
        let theirs = format!("xfrm policy add {} action block", wanted.key);
        run("ip", &theirs);
        rest();
        let (revision, much) = kernel.begin(put([trap(1), trap(2)]));
        assert_eq!(much, 2);
        let refused = |report: &Report| matches!(report, Report::Refused { refusal, .. } if refusal.key == trap(1).key());
        assert!(refused(&kernel.report()));
        assert_eq!(applied(&kernel.report()), Some(revision));
        assert!(is_there(2));
        run("ip", &format!("xfrm policy delete {}", wanted.key));
        loop {
            match kernel.report() {
                Report::Accepted { key } if key == trap(1).key() => break,
                Report::Event(KernelEvent::Overrun) => panic!("nothing is lost"),
                _ => {}
            }
        }
        assert!(is_there(1));
        rest();
        assert_eq!(kernel.begin(remove(&trap(2))).1, 1, "at once again");
        kernel.stop(Stop::Remove);
    });
}
