//! Recorded network contexts: where were we when we last saw this gateway and this access point?

use super::Domain;
use crate::mobile_ip::Link;
use crate::net::Ipv4Net;

/// So many contexts are kept; the one not seen for longest goes first.
pub const MAX_CONTEXTS: usize = 256;

/// A network as its layer 2 shows it, and which domain it turned out to be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    pub gateway: [u8; 6],
    /// `None` for a wired network.
    pub access_point: Option<[u8; 6]>,
    /// Of its addresses. `None` where that was not recorded.
    pub prefix: Option<Ipv4Net>,
    pub domain: Domain,
    /// How often in a row it was found there.
    pub times: u32,
}

/// How well a recorded context fits what is seen now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// Only the addresses: nobody knows the gateway yet.
    Addresses,
    /// The gateway only: another access point of the same network, or another network.
    Gateway,
    Whole,
}

/// Bounded, newest last.
#[derive(Debug, Default)]
pub struct Contexts {
    kept: Vec<Context>,
}

impl Contexts {
    /// What was remembered before a restart, oldest first.
    pub fn recall(&mut self, contexts: impl IntoIterator<Item = Context>) {
        for context in contexts {
            self.keep(context);
        }
    }

    /// At most [`MAX_CONTEXTS`], in the order in which they are to be recalled.
    pub fn all(&self) -> &[Context] {
        &self.kept
    }

    /// `link` has turned out to be in `domain`. Returns what is new about that, to be remembered.
    pub fn record(&mut self, link: &Link, domain: Domain) -> Option<Context> {
        let (gateway, access_point) = (link.gateway_mac?, link.access_point);
        let known = self.kept.iter().find(|c| is_of(c, gateway, access_point));
        let times = match known {
            Some(known) if known.domain == domain => known.times.saturating_add(1),
            _ => 1,
        };
        let is_new = known.is_none_or(|known| known.domain != domain);
        let context = Context {
            gateway,
            access_point,
            prefix: link.prefix(),
            domain,
            times,
        };
        self.keep(context);
        // Counts alone are not worth a write each time.
        (is_new || times.is_power_of_two()).then_some(context)
    }

    /// Where a network that looks like that of `link` was, by the newest of the best fits.
    pub fn look_up(&self, link: &Link) -> Option<(Domain, Fit)> {
        let Some(gateway) = link.gateway_mac else {
            return self.look_up_addresses(link);
        };
        let same_gateway = self.kept.iter().filter(|c| c.gateway == gateway);
        let fits = same_gateway.map(|c| {
            let whole = c.access_point == link.access_point;
            (c.domain, if whole { Fit::Whole } else { Fit::Gateway })
        });
        fits.max_by_key(|(_, fit)| *fit)
    }

    /// Private prefixes are used everywhere, so all that have it must agree.
    fn look_up_addresses(&self, link: &Link) -> Option<(Domain, Fit)> {
        let prefix = link.prefix()?;
        let mut domains = (self.kept.iter())
            .filter(|c| c.prefix == Some(prefix))
            .map(|c| c.domain);
        let first = domains.next()?;
        domains
            .all(|domain| domain == first)
            .then_some((first, Fit::Addresses))
    }

    fn keep(&mut self, context: Context) {
        self.kept
            .retain(|c| !is_of(c, context.gateway, context.access_point));
        if self.kept.len() >= MAX_CONTEXTS {
            self.kept.remove(0);
        }
        self.kept.push(context);
    }
}

fn is_of(context: &Context, gateway: [u8; 6], access_point: Option<[u8; 6]>) -> bool {
    context.gateway == gateway && context.access_point == access_point
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mobile_ip::LinkId;

    fn link(gateway: u8, access_point: Option<u8>) -> Link {
        Link {
            id: LinkId(2),
            name: "wlan0".into(),
            carrier: true,
            addresses: vec!["192.168.1.2/24".parse().unwrap()],
            ipv6: None,
            gateway: None,
            gateway_mac: Some([gateway; 6]),
            access_point: access_point.map(|octet| [octet; 6]),
            weak: false,
            metric: 600,
        }
    }

    #[test]
    fn the_access_point_tells_two_networks_with_one_gateway_apart() {
        let mut contexts = Contexts::default();
        contexts.record(&link(1, Some(1)), Domain::Inside);
        contexts.record(&link(1, Some(2)), Domain::Outside);
        let seen = |octet| contexts.look_up(&link(1, Some(octet))).unwrap();
        assert_eq!(seen(1), (Domain::Inside, Fit::Whole));
        assert_eq!(seen(2), (Domain::Outside, Fit::Whole));
        assert_eq!(seen(3).1, Fit::Gateway);
        assert!(contexts.look_up(&link(9, Some(1))).is_none());
    }

    #[test]
    fn addresses_speak_until_the_gateway_is_known_and_while_nobody_contradicts() {
        let mut contexts = Contexts::default();
        let mut seen = link(1, None);
        seen.gateway_mac = None;
        assert_eq!(contexts.look_up(&seen), None);
        contexts.record(&link(1, None), Domain::Inside);
        let by_addresses = Some((Domain::Inside, Fit::Addresses));
        assert_eq!(contexts.look_up(&seen), by_addresses);
        assert_eq!(contexts.look_up(&link(9, None)), None);
        contexts.record(&link(2, None), Domain::Outside);
        assert_eq!(contexts.look_up(&seen), None);
        seen.addresses = vec!["192.168.1.2/25".parse().unwrap()];
        assert_eq!(contexts.look_up(&seen), None);
    }

    #[test]
    fn more_networks_than_are_kept_push_out_the_oldest() {
        let mut contexts = Contexts::default();
        for n in 0..=MAX_CONTEXTS {
            let mut seen = link(0, None);
            seen.gateway_mac = Some([0, 0, 0, 0, (n >> 8) as u8, n as u8]);
            assert!(contexts.record(&seen, Domain::Outside).is_some());
        }
        assert_eq!(contexts.kept.len(), MAX_CONTEXTS);
        assert!(contexts.look_up(&link(0, None)).is_none());
    }

    #[test]
    fn what_is_recalled_is_what_there_was_and_no_more_than_is_kept() {
        let mut before = Contexts::default();
        before.record(&link(1, None), Domain::Inside);
        before.record(&link(1, Some(1)), Domain::Outside);
        let mut after = Contexts::default();
        after.recall(before.all().to_vec());
        assert_eq!(after.all(), before.all());
        let too_many = (0..=u8::MAX).map(|octet| Context {
            gateway: [octet; 6],
            access_point: Some([1; 6]),
            prefix: None,
            domain: Domain::Outside,
            times: 1,
        });
        after.recall(too_many);
        assert_eq!(after.all().len(), MAX_CONTEXTS);
        assert!(!after.all().contains(&before.all()[0]));
    }

    #[test]
    fn a_network_that_changes_sides_starts_counting_anew() {
        let mut contexts = Contexts::default();
        for _ in 0..5 {
            contexts.record(&link(1, None), Domain::Inside);
        }
        let changed = contexts.record(&link(1, None), Domain::Outside).unwrap();
        assert_eq!((changed.domain, changed.times), (Domain::Outside, 1));
    }
}
