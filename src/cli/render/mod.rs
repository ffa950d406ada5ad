//! What the agent says, as text for people: pure functions from its snapshots.
//!
//! Plain text without colours. Nothing is cut off: where a line would be wider than the terminal,
//! its last column goes on below.

pub mod escape;
mod foreign_agent;
mod home_agent;
mod lists;
mod mobility;
mod presence;
mod proxy_agent;
mod status;
mod table;
mod time;
mod vpn;

pub use foreign_agent::{foreign_agent, visitors};
pub use home_agent::{bindings, home_agent};
pub use lists::{discovery, event, forgotten, lost, policies, reloaded, sas, tunnels, withdrawn};
pub use mobility::mobility;
pub use presence::{asked, network, policy_rows, presence, presence_of, protocols};
pub use proxy_agent::proxy_agent;
pub use status::status;
pub use table::Table;
pub(super) use table::wrap;
pub use time::{stamp, until};
pub use vpn::vpn;

/// Columns of the terminal, from `COLUMNS`; 100 where that says nothing sensible.
pub fn width(columns: Option<&str>) -> usize {
    columns
        .and_then(|columns| columns.parse().ok())
        .filter(|columns| (40..=1000).contains(columns))
        .unwrap_or(100)
}

/// Parts of a page, an empty line between them.
pub fn blocks(parts: &[String]) -> String {
    parts.join("\n")
}

/// `1 tunnel`, `2 tunnels`.
pub fn count(n: usize, noun: &str) -> String {
    if n == 1 {
        format!("1 {noun}")
    } else {
        format!("{n} {noun}s")
    }
}

/// The two largest units: `2d 3h`, `5m 7s`.
pub fn span(seconds: u64) -> String {
    let units = [
        (seconds / 86_400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let first = units.iter().position(|(n, _)| *n != 0).unwrap_or(3);
    let shown = units[first..].iter().take(2).filter(|(n, _)| *n != 0);
    let shown: Vec<String> = shown.map(|(n, unit)| format!("{n}{unit}")).collect();
    if shown.is_empty() {
        "0s".into()
    } else {
        shown.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_show_their_two_largest_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (307, "5m 7s"),
            (3600, "1h"),
            (7384, "2h 3m"),
            (183_601, "2d 3h"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }

    #[test]
    fn a_terminal_without_a_sensible_width_has_a_hundred_columns() {
        assert_eq!(width(None), 100);
        assert_eq!(width(Some("80")), 80);
        assert_eq!(width(Some("3")), 100);
        assert_eq!(width(Some("wide")), 100);
    }
}
