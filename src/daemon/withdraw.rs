//! Taking everything of the agent out of the kernel, where no agent runs any more.

use super::run::Error;
use crate::config;
use crate::control::server;
use crate::kernel::writer::{Options, Stop, Writer};
use serde::Serialize;
use std::path::Path;

/// What was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Withdrawn {
    pub policies: usize,
    pub sas: usize,
}

/// What an agent that was stopped, killed or could not start left behind goes, as with
/// `on-stop = "remove"`: policies, SAs, interception; and sysctls become what they were.
///
/// # Errors
/// An agent runs with this configuration, or the kernel refuses to let something go.
pub fn withdraw(path: &Path) -> Result<Withdrawn, Error> {
    let daemon = config::load(path)?.daemon;
    // Held until the end: no agent starts meanwhile.
    let _listener = server::listen(&daemon.runtime_dir, config::CONTROL_SOCKET, None)?;
    let options = Options {
        runtime_dir: daemon.runtime_dir,
    };
    let (writer, found, _reports) = Writer::start(options)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|source| Error::Start {
            what: "start the runtime",
            source,
        })?;
    let refusals = runtime.block_on(writer.stop(Stop::Remove));
    if let Some(refusal) = refusals.into_iter().next() {
        return Err(Error::LeftBehind(Box::new(refusal)));
    }
    Ok(Withdrawn {
        policies: found.policies.len(),
        sas: found.sas.len(),
    })
}
