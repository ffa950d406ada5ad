//! Where the keyboard can stand in the dialog, and how it gets from one place to the next.

use super::{Draft, choices};
use crate::presence::row::RowField;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Source,
    SourcePort,
    SourceAny,
    Destination,
    DestinationPort,
    DestinationAny,
    EndPoint,
    /// One of the ticks of a field.
    Choice(RowField, usize),
    Register,
    Cancel,
}

pub(super) const SOURCE: [Stop; 3] = [Stop::Source, Stop::SourcePort, Stop::SourceAny];
pub(super) const DESTINATION: [Stop; 3] = [
    Stop::Destination,
    Stop::DestinationPort,
    Stop::DestinationAny,
];

/// As drawn.
pub(super) fn label(field: RowField) -> &'static str {
    match field {
        RowField::Source => "SOURCE ADDRESS:",
        RowField::Destination => "DESTINATION ADDRESS:",
        RowField::SourcePort | RowField::DestinationPort => "PORT:",
        RowField::Transport => "TRANSPORT LAYER:",
        RowField::Direction => "DIRECTION:",
        RowField::Action => "ACTION:",
        RowField::Protocol => "PROTOCOL:",
        RowField::Mode => "MODE:",
        RowField::EndPoint => "END POINT:",
        RowField::Level => "LEVEL:",
    }
}

fn field(stop: Stop) -> Option<RowField> {
    Some(match stop {
        Stop::Source => RowField::Source,
        Stop::SourcePort | Stop::SourceAny => RowField::SourcePort,
        Stop::Destination => RowField::Destination,
        Stop::DestinationPort | Stop::DestinationAny => RowField::DestinationPort,
        Stop::EndPoint => RowField::EndPoint,
        Stop::Choice(field, _) => field,
        Stop::Register | Stop::Cancel => return None,
    })
}

pub(super) fn enabled(draft: &Draft, stop: Stop) -> bool {
    field(stop).is_none_or(|field| draft.counts(field))
}

/// Groups in the order of the figure; within one, the stops from left to right.
fn groups(draft: &Draft) -> Vec<Vec<Stop>> {
    let ticks = |field| -> Vec<Stop> {
        let count = choices(draft, field).len();
        (0..count).map(|index| Stop::Choice(field, index)).collect()
    };
    let mut groups: Vec<Vec<Stop>> = SOURCE
        .into_iter()
        .chain(DESTINATION)
        .map(|stop| vec![stop])
        .collect();
    groups.extend([
        ticks(RowField::Transport),
        ticks(RowField::Direction),
        ticks(RowField::Action),
        ticks(RowField::Protocol),
        ticks(RowField::Mode),
        vec![Stop::EndPoint],
        ticks(RowField::Level),
        vec![Stop::Register],
        vec![Stop::Cancel],
    ]);
    groups.retain(|group| group.iter().all(|stop| enabled(draft, *stop)));
    groups
}

fn place(groups: &[Vec<Stop>], stop: Stop) -> (usize, usize) {
    let mut places = groups.iter().enumerate().filter_map(|(at, group)| {
        let within = group.iter().position(|one| *one == stop)?;
        Some((at, within))
    });
    places.next().unwrap_or((0, 0))
}

pub(super) fn next(draft: &Draft, stop: Stop) -> Stop {
    let groups = groups(draft);
    let (at, _) = place(&groups, stop);
    entrance(draft, &groups[(at + 1) % groups.len()])
}

pub(super) fn previous(draft: &Draft, stop: Stop) -> Stop {
    let groups = groups(draft);
    let (at, _) = place(&groups, stop);
    entrance(draft, &groups[(at + groups.len() - 1) % groups.len()])
}

/// Within its group; from a button or a port to its neighbour.
pub(super) fn beside(draft: &Draft, stop: Stop, step: isize) -> Stop {
    let groups = groups(draft);
    let (at, within) = place(&groups, stop);
    let group = &groups[at];
    match within.checked_add_signed(step).and_then(|to| group.get(to)) {
        Some(neighbour) => *neighbour,
        None if group.len() > 1 => stop,
        None if step > 0 => next(draft, stop),
        None => previous(draft, stop),
    }
}

pub(super) fn of_field(draft: &Draft, wanted: RowField) -> Stop {
    let groups = groups(draft);
    let group = groups.iter().find(|group| field(group[0]) == Some(wanted));
    group.map_or(Stop::Source, |group| entrance(draft, group))
}

/// The one that is ticked; otherwise the first.
fn entrance(draft: &Draft, group: &[Stop]) -> Stop {
    let ticked = |stop: &&Stop| match stop {
        Stop::Choice(field, index) => choices(draft, *field)
            .get(*index)
            .is_some_and(|(_, ticked)| *ticked),
        _ => false,
    };
    *group.iter().find(ticked).unwrap_or(&group[0])
}
