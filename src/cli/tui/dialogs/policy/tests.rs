//! Where the keyboard goes in the dialog.

use super::*;
use crate::cli::figures::{row_for_bob, row_for_john};

fn visited(row: &Row, key: Key) -> Vec<Stop> {
    let mut dialog = PolicyDialog::new(std::slice::from_ref(row), String::new());
    let mut stops = Vec::new();
    while !stops.contains(&dialog.stop) {
        stops.push(dialog.stop);
        dialog.key(key);
    }
    stops
}

#[test]
fn fields_that_do_not_count_are_passed_over() {
    let visits = |row: &Row, field| {
        let stops = visited(row, Key::Tab);
        stops
            .iter()
            .any(|stop| matches!(stop, Stop::Choice(f, _) if *f == field))
    };
    for field in [RowField::Protocol, RowField::Mode, RowField::Level] {
        assert!(!visits(&row_for_john(), field), "{field:?} without ipsec");
        assert!(visits(&row_for_bob(), field), "{field:?}");
    }
    assert!(!visited(&row_for_bob(), Key::Tab).contains(&Stop::EndPoint));
    let mut tunnel = row_for_bob();
    tunnel.mode = Some(Mode::Tunnel);
    assert!(visited(&tunnel, Key::Tab).contains(&Stop::EndPoint));
    let mut any = row_for_john();
    any.transport = Protocol::Any;
    assert!(!visited(&any, Key::Tab).contains(&Stop::SourcePort));
}

#[test]
fn back_tab_goes_the_same_way_back() {
    for row in [row_for_john(), row_for_bob()] {
        let mut forth = visited(&row, Key::Tab);
        let back = visited(&row, Key::BackTab);
        forth[1..].reverse();
        assert_eq!(forth, back);
    }
}

#[test]
fn entering_a_field_lands_on_its_tick() {
    let stops = visited(&row_for_bob(), Key::Tab);
    assert!(
        stops.contains(&Stop::Choice(RowField::Action, 2)),
        "{stops:?}"
    );
    assert!(
        stops.contains(&Stop::Choice(RowField::Mode, 0)),
        "none is ticked"
    );
}
