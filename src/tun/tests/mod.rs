//! Packets through the room without input and output, beside a naive construction of the same.

mod coalescing;
mod forwarding;
mod fragmenting;
mod minimal;
mod naive;
mod segmenting;
