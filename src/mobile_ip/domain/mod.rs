//! Inside or outside? Each adapter is asked for itself.
//!
//! ```text
//!  ranges, advertisements, smoke-out, contexts ─→ Conjecture ─→ order and delay of the work
//!  registration reply: authenticated, trusted networks, ─→ Proof ─→ the VPN may be off
//!      asked in the clear on this link, nothing changed since
//! ```
//!
//! A conjecture can be forged by whoever owns the network, so it can cost time and nothing else. A proof
//! is the only thing that opens a link for S (RFC 5265 §3.2.3), and it ages (§3.2.4).
//!
//! Refuses to know: how registrations are sent, tunnels, the VPN.

mod choice;
mod conjecture;
mod context;
mod damping;
mod proof;
mod reception;

pub use choice::{Candidate, Choice, Standing};
pub use conjecture::{Confidence, Conjecture, Evidence, Hint, Ranges};
pub use context::{Context, Contexts, Fit, MAX_CONTEXTS};
pub use damping::Damping;
pub use proof::{Epoch, Proof, Proofs, ProvenLink};
pub use reception::{Reception, STRONG_FROM, WEAK_BELOW};

use serde::{Deserialize, Serialize};
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Domain {
    Inside,
    Outside,
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inside => "inside",
            Self::Outside => "outside",
        })
    }
}
