//! Layer 4: argv, and the commands that talk to a running agent through [`crate::control`].

use std::process::ExitCode;

pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
