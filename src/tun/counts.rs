//! What was carried and what was not, for `status`.

/// Since the carrier was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Inner packets, as they are on the way between the tunnel's ends.
    pub sent: Traffic,
    pub received: Traffic,
    /// Datagrams that are no tunnel's data, or keep a tunnel alive: handed to the agent.
    pub handed_over: u64,
    /// The agent did not keep up with them.
    pub not_heard: u64,
    pub dropped: Dropped,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub packets: u64,
    pub octets: u64,
}

impl Traffic {
    pub(super) fn count(&mut self, packets: usize, octets: usize) {
        self.packets += packets as u64;
        self.octets += octets as u64;
    }
}

/// Packets, by why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Nobody's: no binding of the address.
    pub no_tunnel: u64,
    /// IPv6, which no tunnel of ours carries.
    pub other_version: u64,
    /// Nothing that a network stack makes.
    pub malformed: u64,
    /// Too large for its tunnel; answered, where that is allowed.
    pub too_big: u64,
    /// The kernel took it not.
    pub unsent: u64,
    /// Not from the end of the tunnel, or not of its home address (RFC 3024 §4.3.2).
    pub not_admitted: u64,
    /// Routers told of congestion that its transport would not understand (RFC 6040 §4.2).
    pub congested: u64,
    /// The adapter took it not.
    pub undelivered: u64,
}
