//! argv → daemon or client command.

use std::process::ExitCode;

fn main() -> ExitCode {
    xfrm_agent::cli::main()
}
