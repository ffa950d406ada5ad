//! How strong access points are received, from the kernel to the way of S.

use super::*;
use crate::mobile_ip::domain::{STRONG_FROM, WEAK_BELOW};

/// A WLAN of the smaller metric, and a modem.
fn both(signal: Option<i8>) -> Vec<Adapter> {
    let modem = adapter(6, "wwan0", "203.0.113.138/25", [203, 0, 113, 129].into());
    let mut adapters = vec![adapter(
        5,
        "wlan0",
        "203.0.113.10/25",
        [203, 0, 113, 1].into(),
    )];
    adapters[0].access_point = Some([2; 6]);
    adapters[0].signal = signal;
    adapters.push(modem);
    adapters[1].gateway.as_mut().unwrap().metric = 700;
    adapters
}

/// Where S is, when that has settled.
fn used(laptop: &mut Laptop, signal: Option<i8>) -> String {
    laptop.on(both(signal));
    laptop.pass(Duration::from_secs(5));
    laptop.ways()[0].clone()
}

#[test]
fn a_signal_that_becomes_weak_moves_s_and_one_in_between_does_not() {
    let mut laptop = Laptop::start(single());
    laptop.clock_is_known();
    for (signal, care_of) in [
        (Some(-50), X),
        (Some(WEAK_BELOW), X),
        (Some(WEAK_BELOW - 1), ELSEWHERE),
        (Some(STRONG_FROM - 1), ELSEWHERE),
        (None, ELSEWHERE),
        (Some(STRONG_FROM), X),
        (Some(WEAK_BELOW), X),
        (None, X),
    ] {
        let used = used(&mut laptop, signal);
        assert_eq!(used, tunnel_from(care_of), "{signal:?}");
    }
}

#[test]
fn the_way_is_never_missing_meanwhile() {
    let mut laptop = Laptop::start(single());
    laptop.clock_is_known();
    used(&mut laptop, Some(-50));
    for signal in [-90, -50] {
        laptop.on(both(Some(signal)));
        for _ in 0..50 {
            laptop.pass(Duration::from_millis(100));
            assert_ne!(laptop.ways(), [END]);
        }
    }
}

#[test]
fn the_view_shows_the_signal_and_that_it_is_weak() {
    let mut laptop = Laptop::start(single());
    laptop.clock_is_known();
    let shown = |laptop: &mut Laptop, signal| {
        used(laptop, signal);
        let view = laptop.agent.snapshot(laptop.now).mobility.unwrap();
        let shown = view.adapters.iter();
        let shown = shown.map(|adapter| (adapter.signal_dbm, adapter.weak, adapter.in_use));
        shown.collect::<Vec<_>>()
    };
    let strong = [(Some(-60), false, true), (None, false, false)];
    assert_eq!(shown(&mut laptop, Some(-60)), strong);
    let weak = [(Some(-88), true, false), (None, false, true)];
    assert_eq!(shown(&mut laptop, Some(-88)), weak);
}
