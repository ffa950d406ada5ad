//! Whole networks of agents in virtual time: every run of a seed is the same run.
//!
//! That nothing crosses in the clear, and whatever else `invariants` holds after every event, no
//! test has to say again.

mod absent;
mod clock;
mod crowding;
mod enduring;
mod establishing;
mod fates;
mod invariants;
mod kernel;
mod network;
mod node;
mod obstacles;
mod proxied;
mod refusing;
mod restarting;
mod roaming;
mod seeds;
mod topologies;
mod trace;
mod weathering;
mod world;
