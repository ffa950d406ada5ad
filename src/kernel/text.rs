//! Objects in the words of `ip`, `nft` and `sysctl`, for people who read errors and logs. Keys of SAs are never shown.

mod paths;

use super::desired::{
    Action, Algorithms, Direction, IpsecProtocol, Key, Level, Lifetime, Limits, Mark, Mode, Policy,
    PolicyKey, Sa, SaKey, Template,
};
use super::observed::ObservedPolicy;
use super::ownership::{DECAPSULATION_TABLE, NFT_TABLE};
use crate::net::{Port, Protocol, Selector};
use std::fmt::{self, Display, Formatter};

impl Display for Direction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::In => "in",
            Self::Out => "out",
            Self::Fwd => "fwd",
        })
    }
}

impl Display for IpsecProtocol {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Esp => "esp",
            Self::Ah => "ah",
            Self::Comp => "comp",
        })
    }
}

impl Display for Mode {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Transport => "transport",
            Self::Tunnel => "tunnel",
        })
    }
}

/// With a space in front, or nothing where it matches every packet.
struct MarkWords(Mark);

impl Display for MarkWords {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Mark { value: 0, mask: 0 } => Ok(()),
            Mark { value, mask } => write!(f, " mark {value:#x} mask {mask:#x}"),
        }
    }
}

struct SelectorWords<'a>(&'a Selector);

impl Display for SelectorWords<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Selector {
            src,
            dst,
            protocol,
            src_port,
            dst_port,
        } = self.0;
        write!(f, "src {src} dst {dst}")?;
        match *protocol {
            Protocol::Any => {}
            // The one name that `ip` does not know.
            Protocol::ICMPV6 => f.write_str(" proto ipv6-icmp")?,
            protocol @ Protocol::Is(_) => write!(f, " proto {protocol}")?,
        }
        let icmp = matches!(*protocol, Protocol::ICMP | Protocol::ICMPV6);
        let words = if icmp {
            ("type", "code")
        } else {
            ("sport", "dport")
        };
        for (word, port) in [(words.0, src_port), (words.1, dst_port)] {
            if let Port::Is(port) = port {
                write!(f, " {word} {port}")?;
            }
        }
        Ok(())
    }
}

impl Display for PolicyKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let selector = SelectorWords(&self.selector);
        write!(
            f,
            "{selector} dir {}{}",
            self.direction,
            MarkWords(self.mark)
        )?;
        if self.if_id != 0 {
            write!(f, " if_id {:#x}", self.if_id)?;
        }
        Ok(())
    }
}

impl Display for Policy {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.key)?;
        if self.action == Action::Block {
            f.write_str(" action block")?;
        }
        write!(f, " priority {}", self.priority)?;
        if let Some(time) = self.lifetime {
            write!(f, " limit time-hard {}", time.as_secs())?;
        }
        if let Action::Allow(templates) = &self.action {
            templates.iter().try_for_each(|t| write!(f, " {t}"))?;
        }
        Ok(())
    }
}

impl Display for ObservedPolicy {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} index {}", self.policy, self.index)
    }
}

struct LifetimeWords<'a>(&'a Lifetime);

impl Display for LifetimeWords<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (word, limits) in [("soft", &self.0.soft), ("hard", &self.0.hard)] {
            let Limits {
                bytes,
                packets,
                time,
                use_time,
            } = limits;
            let limits = [
                ("byte", *bytes),
                ("packet", *packets),
                ("time", time.map(|t| t.as_secs())),
                ("time-use", use_time.map(|t| t.as_secs())),
            ];
            for (kind, limit) in limits {
                let Some(limit) = limit else { continue };
                match kind {
                    "time-use" => write!(f, " limit time-use-{word} {limit}")?,
                    _ => write!(f, " limit {kind}-{word} {limit}")?,
                }
            }
        }
        Ok(())
    }
}

impl Display for Template {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            protocol,
            mode,
            src,
            dst,
            reqid,
            ..
        } = self;
        write!(f, "tmpl src {src} dst {dst} proto {protocol}")?;
        if let Some(spi) = self.spi {
            write!(f, " spi {spi}")?;
        }
        write!(f, " reqid {reqid} mode {mode}")?;
        if self.level == Level::Use {
            f.write_str(" level use")?;
        }
        Ok(())
    }
}

impl Display for SaKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            dst,
            spi,
            protocol,
            mark,
        } = self;
        write!(
            f,
            "dst {dst} proto {protocol} spi {spi}{}",
            MarkWords(*mark)
        )
    }
}

impl Display for Sa {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "src {} {} reqid {} mode {}",
            self.src,
            self.key(),
            self.reqid,
            self.mode
        )?;
        match &self.algorithms {
            Algorithms::Aead { name, icv_bits, .. } => write!(f, " aead '{name}' … {icv_bits}")?,
            Algorithms::EncryptThenAuth {
                cipher,
                auth,
                truncation_bits,
                ..
            } => write!(
                f,
                " auth-trunc '{auth}' … {truncation_bits} enc '{cipher}' …"
            )?,
            Algorithms::Ah {
                auth,
                truncation_bits,
                ..
            } => write!(f, " auth-trunc '{auth}' … {truncation_bits}")?,
            Algorithms::Deflate => f.write_str(" comp deflate")?,
        }
        write!(f, " replay-window {}", self.replay_window)?;
        if self.esn {
            f.write_str(" flag esn")?;
        }
        if let Some(encap) = self.encapsulation {
            write!(f, " encap espinudp {} {}", encap.src_port, encap.dst_port)?;
        }
        if let Some(selector) = &self.selector {
            write!(f, " sel {}", SelectorWords(selector))?;
        }
        write!(f, "{}", LifetimeWords(&self.lifetime))
    }
}

/// The command whose object it is, and the object.
impl Display for Key {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sysctl(name) => write!(f, "sysctl {name}"),
            Self::Link(name) => write!(f, "ip link {name}"),
            Self::Address(key) => write!(f, "ip address {key}"),
            Self::Route(key) => write!(f, "ip route {key}"),
            Self::Rule(key) => write!(f, "ip rule {key}"),
            Self::Proxy(key) => write!(f, "ip neigh {key}"),
            Self::Neighbour(key) => write!(f, "ip neigh {key}"),
            Self::Interception => write!(f, "nft table inet {NFT_TABLE}"),
            Self::Decapsulation => write!(f, "nft table ip {DECAPSULATION_TABLE}"),
            Self::DecapsulationEntry(entry) => {
                write!(f, "nft element ip {DECAPSULATION_TABLE} {entry}")
            }
            Self::Sa(key) => write!(f, "ip xfrm state {key}"),
            Self::Policy(key) => write!(f, "ip xfrm policy {key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Family;

    #[test]
    fn a_selector_is_said_in_words_that_ip_takes() {
        let any = Family::V6.any();
        let solicitation = Selector::between(any, any)
            .protocol(Protocol::ICMPV6)
            .ports(Port::Is(135), Port::Any);
        let words = SelectorWords(&solicitation).to_string();
        assert_eq!(words, "src ::/0 dst ::/0 proto ipv6-icmp type 135");
        let net = |s: &str| s.parse().unwrap();
        let web = Selector::between(net("10.1.0.0/16"), net("10.2.0.8/32"))
            .protocol(Protocol::TCP)
            .ports(Port::Any, Port::Is(443));
        let words = SelectorWords(&web).to_string();
        assert_eq!(words, "src 10.1.0.0/16 dst 10.2.0.8/32 proto tcp dport 443");
    }
}
