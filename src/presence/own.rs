//! Where is this machine? Proofs of a site anchor, hints, and what was set by hand.
