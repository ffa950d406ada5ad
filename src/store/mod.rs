//! Layer 2: what must survive a restart, in one embedded store.
