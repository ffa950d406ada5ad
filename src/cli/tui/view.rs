//! The screen: FIG. 6 above, FIG. 7 below, what there is to say about the chosen line, and a dialog
//! in front of them.

use super::app::{App, Connection, Pane, record};
use super::flow;
use crate::agent::presence::commands::{PolicyEntry, PresenceEntry};
use crate::cli::render::escape::safe;
use crate::cli::render::{network, protocols, stamp, until};
use crate::cli::words::{ACTIONS, DIRECTIONS, LEVELS, MODES, NOTHING, word};
use crate::presence::Source;
use jiff::tz::TimeZone;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Paragraph, Row, Table, Wrap};

const LISTS: &str =
    "Tab other list   Enter open   r request   p propose   n new   d remove   q quit";

/// Columns from which FIG. 7 has room for mode and end point.
const WIDE: u16 = 108;

pub fn view(app: &App, frame: &mut Frame<'_>) {
    let [upper, lower, detail, message, keys] = Layout::vertical([
        Constraint::Fill(1),
        Constraint::Fill(1),
        Constraint::Length(4),
        Constraint::Length(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    presence(app, frame, upper);
    policies(app, frame, lower);
    let [rule, detail] =
        Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(detail);
    frame.render_widget(Line::raw("─".repeat(usize::from(rule.width))), rule);
    let about = Paragraph::new(about(app)).wrap(Wrap { trim: false });
    frame.render_widget(about, detail);
    let said = match &app.connection {
        Connection::Open => app.message.clone(),
        Connection::Gone(reason) => format!("what is shown is old: {reason}"),
    };
    frame.render_widget(Line::styled(said, Modifier::BOLD), message);
    let help = app
        .dialog
        .as_ref()
        .map_or(LISTS, super::dialogs::Dialog::help);
    frame.render_widget(Line::styled(help, Modifier::DIM), keys);
    if let Some(dialog) = &app.dialog {
        dialog.page(&app.zone).draw(frame, frame.area());
    }
}

fn presence(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let inside = titled(
        frame,
        area,
        "PRESENCE INFORMATION DATA BASE",
        app.presence.items().len(),
    );
    let (page, chosen) = app.presence.page(rows_in(inside));
    let rows = page.iter().map(|entry| presence_row(entry, &app.zone));
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(15),
        Constraint::Length(10),
        Constraint::Length(8),
        Constraint::Length(19),
        Constraint::Length(4),
    ];
    let headings = [
        "ENTITY",
        "IP ADDRESS",
        "USER NAME",
        "LOCATION",
        "TIME",
        "FROM",
    ];
    let chosen = (app.pane == Pane::Presence).then_some(chosen);
    table(
        frame,
        inside,
        headings.map(str::to_owned).into(),
        rows,
        &widths,
        chosen,
    );
}

fn presence_row(entry: &PresenceEntry, zone: &TimeZone) -> Vec<String> {
    let Some(record) = record(entry) else {
        let mut cells = vec![entry.entity.to_string()];
        cells.resize(6, NOTHING.into());
        return cells;
    };
    let presence = &record.presence;
    let addresses = &presence.addresses;
    let mut address = addresses
        .first()
        .map_or(NOTHING.into(), ToString::to_string);
    if addresses.len() > 1 {
        address.push('+');
    }
    let from = match record.source {
        Source::Hand => "hand",
        Source::Peer => "peer",
        Source::Own => "own",
        Source::Hint => "hint",
    };
    vec![
        entry.entity.to_string(),
        address,
        presence
            .user
            .as_ref()
            .map_or(NOTHING.into(), ToString::to_string),
        presence.location.to_string(),
        stamp(presence.time, zone),
        from.into(),
    ]
}

fn policies(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let inside = titled(
        frame,
        area,
        "SECURITY POLICY DATA BASE",
        app.policies.items().len(),
    );
    let (page, chosen) = app.policies.page(rows_in(inside));
    let wide = area.width >= WIDE;
    let mut headings = vec![
        "NO.",
        "SOURCE",
        "PORT",
        "DESTINATION",
        "PORT",
        "TL",
        "DIR",
        "ACTION",
        "PROTO",
    ];
    let mut widths = vec![3, 15, 5, 15, 5, 4, 3, 7, 6];
    if wide {
        headings.extend(["MODE", "END POINT"]);
        widths.extend([9, 15]);
    }
    headings.push("LEVEL");
    widths.push(7);
    let widths: Vec<_> = widths.into_iter().map(Constraint::Length).collect();
    let rows = page.iter().map(|entry| policy_row(entry, wide));
    let chosen = (app.pane == Pane::Policies).then_some(chosen);
    let headings = headings.into_iter().map(str::to_owned).collect();
    table(frame, inside, headings, rows, &widths, chosen);
}

fn policy_row(entry: &PolicyEntry, wide: bool) -> Vec<String> {
    let row = &entry.row;
    let mut cells = vec![
        entry
            .number
            .map_or(NOTHING.into(), |number| number.to_string()),
        network(row.source),
        row.source_port.to_string(),
        network(row.destination),
        row.destination_port.to_string(),
        row.transport.to_string(),
        word(DIRECTIONS, row.direction).into(),
        word(ACTIONS, row.action).into(),
        protocols(row.protocols),
    ];
    if wide {
        cells.push(word(MODES, row.mode).into());
        cells.push(
            row.end_point
                .map_or(NOTHING.into(), |address| address.to_string()),
        );
    }
    cells.push(word(LEVELS, row.level).into());
    cells
}

/// The area below the title.
fn titled(frame: &mut Frame<'_>, area: Rect, title: &str, count: usize) -> Rect {
    let [top, inside] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let title = format!("── {title} ({count}) ");
    let rule = "─".repeat(usize::from(top.width).saturating_sub(title.chars().count()));
    frame.render_widget(Line::raw(title + &rule), top);
    inside
}

/// Without the headings.
fn rows_in(area: Rect) -> usize {
    usize::from(area.height.saturating_sub(1))
}

fn table(
    frame: &mut Frame<'_>,
    area: Rect,
    headings: Vec<String>,
    rows: impl Iterator<Item = Vec<String>>,
    widths: &[Constraint],
    chosen: Option<usize>,
) {
    let rows = rows.enumerate().map(|(index, cells)| {
        let style = if Some(index) == chosen {
            Style::new().add_modifier(Modifier::REVERSED)
        } else {
            Style::new()
        };
        Row::new(cells).style(style)
    });
    let headings = Row::new(headings).style(Modifier::BOLD);
    frame.render_widget(Table::new(rows, widths).header(headings), area);
}

/// What the table has no room for.
fn about(app: &App) -> Text<'static> {
    let lines = match app.pane {
        Pane::Presence => app
            .presence
            .chosen()
            .map(|entry| about_presence(entry, &app.zone)),
        Pane::Policies => app.policies.chosen().map(about_policy),
    };
    lines
        .unwrap_or_default()
        .into_iter()
        .map(Line::raw)
        .collect()
}

fn about_presence(entry: &PresenceEntry, zone: &TimeZone) -> Vec<String> {
    let own = if entry.own {
        " (this machine's owner)"
    } else {
        ""
    };
    let Some(record) = record(entry) else {
        return vec![format!("{}{own}: nothing is known", entry.entity)];
    };
    let presence = &record.presence;
    let expires = until(presence.time, presence.expires, zone);
    let mut lines = vec![format!(
        "{}{own} until {expires}, {}",
        entry.entity,
        flow::source(record)
    )];
    if let (Some(_), Some(hint)) = (&entry.believed, &entry.hint) {
        let presence = &hint.presence;
        let since = stamp(presence.time, zone);
        lines.push(format!(
            "hint: {} since {since}, which can only make it stricter",
            presence.location
        ));
    }
    let addresses: Vec<_> = presence.addresses.iter().map(ToString::to_string).collect();
    lines.push(addresses.join(" "));
    lines
}

fn about_policy(entry: &PolicyEntry) -> Vec<String> {
    let row = &entry.row;
    let whom = entry
        .entity
        .as_ref()
        .map_or(String::new(), |entity| format!("{entity}: "));
    let end_point = row
        .end_point
        .map_or(NOTHING.into(), |address| address.to_string());
    vec![
        format!("{whom}{}", safe(&entry.because)),
        format!("mode {}, end point {end_point}", word(MODES, row.mode)),
        match &entry.kernel {
            Some(held) => format!("kernel: {}", safe(held)),
            None => "kernel: holds nothing for it".into(),
        },
    ]
}
