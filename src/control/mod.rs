//! Layer 4.
