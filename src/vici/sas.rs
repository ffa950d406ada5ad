//! What charon says of an IKE SA: `list-sa` events, and those of IKE SAs and children that come and go.

use super::message::Message;
use std::net::{IpAddr, Ipv4Addr};

/// One IKE SA, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sa {
    /// That of its connection.
    pub name: String,
    pub local: Option<IpAddr>,
    /// Virtual IPs of IPv4 that we were given.
    pub addresses: Vec<Ipv4Addr>,
    /// Names of its children that carry packets.
    pub children: Vec<String>,
    pub is_established: bool,
}

/// Those of one event.
pub fn sas(event: &Message) -> Vec<Sa> {
    event
        .sections()
        .map(|(name, section)| sa(name, section))
        .collect()
}

fn sa(name: &str, section: &Message) -> Sa {
    let text = |name| section.text(name).unwrap_or_default();
    let children = section.section("child-sas");
    let children = children.into_iter().flat_map(Message::sections);
    Sa {
        name: name.to_owned(),
        local: text("local-host").parse().ok(),
        addresses: section
            .list("local-vips")
            .iter()
            .filter_map(|vip| vip.parse().ok())
            .collect(),
        children: children
            .filter_map(|(name, child)| carrying(name, child))
            .collect(),
        // While it is replaced it goes on.
        is_established: matches!(text("state"), "ESTABLISHED" | "REKEYING" | "REKEYED"),
    }
}

/// Its section has a number behind the name, in older versions the name alone.
fn carrying(section: &str, child: &Message) -> Option<String> {
    let carries = matches!(
        child.text("state"),
        Some("INSTALLED" | "REKEYING" | "REKEYED")
    );
    carries.then(|| child.text("name").unwrap_or(section).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vici::message::Value;

    fn section(elements: Vec<(&str, Value)>) -> Value {
        let elements = elements
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        Value::Section(Message(elements.collect()))
    }

    fn text(value: &str) -> Value {
        Value::Text(value.to_owned())
    }

    #[test]
    fn a_listed_sa_has_the_virtual_ip_and_the_children_that_carry() {
        let child = |name, state| section(vec![("name", text(name)), ("state", text(state))]);
        let ike = section(vec![
            ("state", text("ESTABLISHED")),
            ("local-host", text("198.51.100.5")),
            (
                "local-vips",
                Value::List(vec!["10.30.0.5".into(), "fd00::5".into()]),
            ),
            (
                "child-sas",
                section(vec![
                    ("net-1", child("net", "INSTALLED")),
                    ("dmz-2", child("dmz", "DELETING")),
                ]),
            ),
        ]);
        let event = Message(vec![("up".into(), text("yes")), ("office".into(), ike)]);
        let expected = Sa {
            name: "office".into(),
            local: Some([198, 51, 100, 5].into()),
            addresses: vec![[10, 30, 0, 5].into()],
            children: vec!["net".into()],
            is_established: true,
        };
        assert_eq!(sas(&event), [expected]);
    }

    #[test]
    fn one_that_is_still_connecting_or_has_nothing_to_say_carries_nothing() {
        let ike = section(vec![("state", text("CONNECTING"))]);
        let [sa] = &sas(&Message(vec![("office".into(), ike)]))[..] else {
            panic!("one");
        };
        assert!(!sa.is_established && sa.children.is_empty() && sa.local.is_none());
        assert!(sas(&Message::default()).is_empty());
    }
}
