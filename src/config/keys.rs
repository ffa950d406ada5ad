//! The names a file may use: the one table that the reader, its suggestions and the
//! documentation agree on.

/// The keys of one table of the file.
#[derive(Debug, PartialEq, Eq)]
pub struct Keys {
    pub table: &'static str,
    pub shape: Shape,
    pub names: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `[table]`.
    Once,
    /// `[[table]]`, any number of times.
    Repeated,
    /// `table = { … }` in another table.
    Inline,
}

pub const IDENTITY: Keys = Keys {
    table: "identity",
    shape: Shape::Once,
    names: &["id"],
};

pub const PROXY: Keys = Keys {
    table: "proxy",
    shape: Shape::Repeated,
    names: &[
        "name",
        "local",
        "remote",
        "protocol",
        "local-port",
        "remote-port",
        "on-failure",
        "failure-lifetime",
        "mode",
    ],
};

pub const PEER: Keys = Keys {
    table: "peer",
    shape: Shape::Repeated,
    names: &["id", "psk-file", "may-protect"],
};

pub const AGENT: Keys = Keys {
    table: "agent",
    shape: Shape::Once,
    names: &[
        "runtime-dir",
        "state-dir",
        "control-group",
        "log-level",
        "on-stop",
        "max-prefixes",
    ],
};

pub const IKE: Keys = Keys {
    table: "ike",
    shape: Shape::Once,
    names: &[
        "retransmit",
        "retransmit-max",
        "give-up",
        "liveness",
        "child-lifetime",
        "half-open",
        "cookie-threshold",
    ],
};

pub const DISCOVERY: Keys = Keys {
    table: "discovery",
    shape: Shape::Once,
    names: &["retransmit", "timeout", "rate", "answer-rate", "addresses"],
};

pub const INTERCEPTION: Keys = Keys {
    table: "interception",
    shape: Shape::Once,
    names: &[
        "pass-mark",
        "divert-mark",
        "table",
        "rule-priority",
        "pass-rate",
    ],
};

pub const PRESENCE: Keys = Keys {
    table: "presence",
    shape: Shape::Once,
    names: &[
        "entity",
        "user",
        "location",
        "unknown",
        "default-level",
        "dwell",
        "lifetime",
        "expiry",
        "mark",
        "max-contacts",
    ],
};

pub const CONTACT: Keys = Keys {
    table: "contact",
    shape: Shape::Repeated,
    names: &["entity", "peer", "address", "floor", "tell", "subscribe"],
};

pub const SITE: Keys = Keys {
    table: "site",
    shape: Shape::Repeated,
    names: &[
        "location",
        "addresses",
        "anchor",
        "anchor-address",
        "gateway-macs",
    ],
};

pub const RULE: Keys = Keys {
    table: "rule",
    shape: Shape::Repeated,
    names: &[
        "location",
        "entity",
        "user",
        "addresses",
        "hours",
        "weekdays",
        "transport",
        "port",
        "own-port",
        "action",
        "protocol",
        "mode",
        "end-point",
        "level",
        "nat",
    ],
};

pub const VPN: Keys = Keys {
    table: "vpn",
    shape: Shape::Repeated,
    names: &[
        "name",
        "peer",
        "gateway",
        "local",
        "subnets",
        "start",
        "up",
        "down",
        "vici",
        "connection",
        "child",
        "command-patience",
        "interface",
        "address",
    ],
};

pub const VPN_GATEWAY: Keys = Keys {
    table: "vpn-gateway",
    shape: Shape::Once,
    names: &["pool", "subnets", "dns", "liveness"],
};

pub const VPN_CLIENT: Keys = Keys {
    table: "vpn-client",
    shape: Shape::Repeated,
    names: &["peer", "addresses", "own-addresses"],
};

pub const MOBILITY: Keys = Keys {
    table: "mobility",
    shape: Shape::Once,
    names: &[
        "home",
        "nai",
        "home-agent",
        "home-network",
        "spi",
        "algorithm",
        "key-file",
        "lifetime",
        "reverse",
        "encapsulation",
        "destinations",
        "networks",
        "vpn-warm",
        "vpn-patience",
        "inside-protection",
        "inside-ranges",
        "inside-agents",
        "outside-agents",
        "clear-probes",
        "foreign-agents",
        "t-monitor",
        "intranet-adapter",
        "mobility-adapter",
        "vpn-adapter",
        "table",
        "rule-priority",
    ],
};

pub const MOBILITY_SITE: Keys = Keys {
    table: "mobility-site",
    shape: Shape::Repeated,
    names: &[
        "name",
        "home",
        "nai",
        "home-agent",
        "home-network",
        "spi",
        "algorithm",
        "key-file",
        "lifetime",
        "reverse",
        "encapsulation",
        "vpn",
        "near",
    ],
};

pub const HOME_AGENT: Keys = Keys {
    table: "home-agent",
    shape: Shape::Once,
    names: &[
        "address",
        "home-network",
        "link",
        "pool",
        "lifetime",
        "reverse-tunnel",
        "encapsulations",
        "nat-traversal",
        "trusted-networks",
        "bindings-each",
        "rate",
        "rate-each",
        "rate-failures",
    ],
};

pub const MOBILE_NODE: Keys = Keys {
    table: "mobile-node",
    shape: Shape::Repeated,
    names: &[
        "home",
        "nai",
        "spi",
        "key-file",
        "algorithm",
        "replay",
        "networks",
    ],
};

pub const FOREIGN_AGENT: Keys = Keys {
    table: "foreign-agent",
    shape: Shape::Once,
    names: &[
        "link",
        "address",
        "prefix-length",
        "care-of",
        "lifetime",
        "interval",
        "registration-required",
        "reverse-tunnel",
        "encapsulations",
        "challenge",
        "routes-others",
        "visitors",
        "table",
        "rule-priority",
    ],
};

pub const PROXY_AGENT: Keys = Keys {
    table: "proxy-agent",
    shape: Shape::Once,
    names: &[
        "address",
        "inside-address",
        "home-agent",
        "encapsulations",
        "inside-networks",
        "lifetime",
        "table",
        "rule-priority",
    ],
};

pub const SURROGATE: Keys = Keys {
    table: "surrogate",
    shape: Shape::Repeated,
    names: &[
        "home",
        "spi",
        "algorithm",
        "key-file",
        "inside-spi",
        "inside-algorithm",
        "inside-key-file",
    ],
};

pub const AGENT_KEY: Keys = Keys {
    table: "agent-key",
    shape: Shape::Repeated,
    names: &[
        "mobile-node",
        "foreign-agent",
        "home-agent",
        "spi",
        "key-file",
        "algorithm",
    ],
};

/// What packets need, without the traffic that a `[[rule]]` names.
const PROTECTION: &[&str] = &["action", "protocol", "level"];

/// In `[presence]`.
pub const UNKNOWN: Keys = Keys {
    table: "unknown",
    shape: Shape::Inline,
    names: PROTECTION,
};

/// In `[[contact]]`.
pub const FLOOR: Keys = Keys {
    table: "floor",
    shape: Shape::Inline,
    names: PROTECTION,
};

/// In the order of the documentation.
pub const TABLES: &[&Keys] = &[
    &IDENTITY,
    &PROXY,
    &PEER,
    &AGENT,
    &IKE,
    &DISCOVERY,
    &INTERCEPTION,
    &PRESENCE,
    &CONTACT,
    &SITE,
    &RULE,
    &VPN,
    &VPN_GATEWAY,
    &VPN_CLIENT,
    &MOBILITY,
    &MOBILITY_SITE,
    &HOME_AGENT,
    &MOBILE_NODE,
    &FOREIGN_AGENT,
    &PROXY_AGENT,
    &SURROGATE,
    &AGENT_KEY,
];

impl Keys {
    /// As it stands in the file.
    pub fn heading(&self) -> String {
        match self.shape {
            Shape::Once => format!("[{}]", self.table),
            Shape::Repeated => format!("[[{}]]", self.table),
            Shape::Inline => format!("`{} = {{ … }}`", self.table),
        }
    }
}

/// The table that `name` is a key of, for a key that stands in the wrong one.
pub fn home_of(name: &str) -> Option<&'static Keys> {
    TABLES.iter().copied().find(|t| t.names.contains(&name))
}

/// The most similar of `known`, which must not be empty.
pub fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> &'k str {
    let lower = name.to_lowercase().replace('_', "-");
    let similarity = |k: &&str| strsim::jaro_winkler(&lower, k);
    known
        .into_iter()
        .max_by(|a, b| similarity(a).total_cmp(&similarity(b)))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_hand_find_the_key_that_was_meant() {
        for (slip, meant) in [
            ("on_failure", "on-failure"),
            ("onfailure", "on-failure"),
            ("localport", "local-port"),
            ("Remote", "remote"),
            ("failure-livetime", "failure-lifetime"),
            ("protokol", "protocol"),
        ] {
            assert_eq!(nearest(slip, PROXY.names.iter().copied()), meant);
        }
    }

    #[test]
    fn no_table_names_a_key_twice() {
        for table in TABLES {
            let mut names = table.names.to_vec();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), table.names.len(), "{}", table.table);
        }
    }
}
