//! Log lines on standard error, where systemd and people expect them.

use crate::agent::snapshot::EventView;
use std::io::IsTerminal;
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// `RUST_LOG` overrides the configured level. Lines carry no time under systemd, which adds its
/// own.
pub(super) fn start(level: Level) {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::from_level(level).into())
        .from_env_lossy();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    // A second start in one process (tests) keeps the first.
    let _ = if std::env::var_os("JOURNAL_STREAM").is_some() {
        lines.without_time().try_init()
    } else {
        lines.try_init()
    };
}

/// What the agent tells. A macro's level is fixed where it stands.
pub(super) fn line(line: &EventView, level: Level) {
    let (kind, detail) = (&*line.kind, &*line.detail);
    if level == Level::INFO {
        tracing::info!(kind, detail);
    } else {
        tracing::debug!(kind, detail);
    }
}
