//! What `[presence]` and its tables were read as.

use super::super::render::Table;
use crate::agent::presence::settings::{Contact, PresenceSettings};
use crate::config;
use crate::net::{Mac, Port};
use crate::presence::Class;
use crate::presence::row::Level;
use crate::presence::rules::{self, Hours, When};
use serde::Serialize;

/// Protections are shown as `require ah+esp`.
#[derive(Debug, Serialize)]
pub struct Presence {
    pub entity: String,
    pub user: Option<String>,
    /// While nothing proves better.
    pub location: String,
    pub unknown: String,
    pub default_level: &'static str,
    pub dwell_ms: u128,
    pub lifetime_ms: u128,
    pub expiry_ms: u128,
    pub mark: u32,
    pub max_contacts: usize,
    pub contacts: Vec<ReadContact>,
    pub sites: Vec<Site>,
    /// In the order in which they are tried.
    pub rules: Vec<Rule>,
    #[serde(skip)]
    times: [String; 3],
}

#[derive(Debug, Serialize)]
pub struct ReadContact {
    pub entity: String,
    pub peer: String,
    pub addresses: Vec<String>,
    pub floor: String,
    pub tell: Vec<&'static str>,
    pub subscribe: bool,
}

#[derive(Debug, Serialize)]
pub struct Site {
    pub location: String,
    pub addresses: Vec<String>,
    pub anchor: Option<String>,
    pub anchor_address: Option<String>,
    pub gateway_macs: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct Rule {
    /// All of them; empty is always.
    pub when: Vec<String>,
    pub traffic: String,
    pub then: String,
}

impl Presence {
    pub(super) fn of(settings: &PresenceSettings) -> Self {
        let book = &settings.rulebook;
        let times = [settings.dwell, settings.lifetime, settings.expiry];
        Self {
            entity: settings.entity.to_string(),
            user: settings.user.as_ref().map(ToString::to_string),
            location: settings.location.to_string(),
            unknown: book.unknown.to_string(),
            default_level: match book.default_level {
                Level::Use => "use",
                Level::Default | Level::Require => "require",
            },
            dwell_ms: settings.dwell.as_millis(),
            lifetime_ms: settings.lifetime.as_millis(),
            expiry_ms: settings.expiry.as_millis(),
            mark: settings.mark.mask,
            max_contacts: settings.max_contacts,
            contacts: settings.contacts.iter().map(ReadContact::of).collect(),
            sites: book.sites.iter().map(Site::of).collect(),
            rules: book.rules.iter().map(Rule::of).collect(),
            times: times.map(config::show_duration),
        }
    }

    /// A block for each table.
    pub(super) fn render(&self, width: usize) -> Vec<String> {
        let [dwell, lifetime, expiry] = &self.times;
        let who = match &self.user {
            Some(user) => format!("{} ({user})", self.entity),
            None => self.entity.clone(),
        };
        let mut general = Table::bare(2);
        general.row(["entity", &who]);
        general.row([
            "location",
            &format!("{}, while nothing proves better", self.location),
        ]);
        general.row(["unknown", &self.unknown]);
        general.row(["default level", self.default_level]);
        general.row(["dwell", dwell]);
        general.row(["lifetime", lifetime]);
        general.row(["expiry", expiry]);
        general.row(["mark", &format!("0x{:08x}", self.mark)]);

        let mut contacts = Table::new(&["ENTITY", "PEER", "FLOOR", "TELL", "SUBSCRIBE", "ADDRESS"]);
        for contact in &self.contacts {
            contacts.row([
                &contact.entity,
                &contact.peer,
                &contact.floor,
                &or_dash(&contact.tell.join(", ")),
                if contact.subscribe { "yes" } else { "no" },
                &or_dash(&contact.addresses.join(", ")),
            ]);
        }
        let mut sites = Table::new(&["LOCATION", "ANCHOR", "GATEWAYS", "ADDRESSES"]);
        for site in &self.sites {
            let anchor = match (&site.anchor, &site.anchor_address) {
                (None, _) => "-".to_owned(),
                (Some(anchor), None) => format!("{anchor} (this machine)"),
                (Some(anchor), Some(address)) => format!("{anchor} at {address}"),
            };
            let macs = or_dash(&site.gateway_macs.join(", "));
            sites.row([&site.location, &anchor, &macs, &site.addresses.join(", ")]);
        }
        let mut rules = Table::new(&["RULE", "TRAFFIC", "THEN", "WHEN"]);
        for (number, rule) in (1..).zip(&self.rules) {
            let number = format!("{number}");
            let when = match &rule.when[..] {
                [] => "always".to_owned(),
                conditions => conditions.join(", "),
            };
            rules.row([&number, &rule.traffic, &rule.then, &when]);
        }
        vec![
            format!("Presence\n{}", general.render(width)),
            format!("Contacts\n{}", contacts.render(width)),
            format!("Sites\n{}", sites.render(width)),
            format!("Rules\n{}", rules.render(width)),
        ]
    }
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.to_owned()
}

impl ReadContact {
    fn of(contact: &Contact) -> Self {
        let tell = [
            (contact.tell.policy, "policy"),
            (contact.tell.presence, "presence"),
        ];
        Self {
            entity: contact.entity.to_string(),
            peer: contact.peer.to_string(),
            addresses: strings(&contact.addresses),
            floor: contact.floor.to_string(),
            tell: tell
                .iter()
                .filter(|(on, _)| *on)
                .map(|(_, name)| *name)
                .collect(),
            subscribe: contact.subscribe,
        }
    }
}

impl Site {
    fn of(site: &rules::Site) -> Self {
        let mac = |mac: &[u8; 6]| Mac(*mac).to_string();
        Self {
            location: site.location.to_string(),
            addresses: strings(&site.addresses),
            anchor: site.anchor.as_ref().map(ToString::to_string),
            anchor_address: site.anchor_address.map(|addr| addr.to_string()),
            gateway_macs: site.gateway_macs.iter().map(mac).collect(),
        }
    }
}

impl Rule {
    fn of(rule: &rules::Rule) -> Self {
        let nat = if rule.esp_behind_nat {
            ", esp behind a NAT"
        } else {
            ""
        };
        Self {
            when: conditions(&rule.when),
            traffic: traffic(rule.class),
            then: format!("{}{nat}", rule.then),
        }
    }
}

fn conditions(when: &When) -> Vec<String> {
    let mut all = Vec::new();
    all.extend(when.location.iter().map(|l| format!("location {l}")));
    all.extend(when.entity.iter().map(|e| format!("entity {e}")));
    all.extend(when.user.iter().map(|u| format!("user {u}")));
    if !when.addresses.is_empty() {
        all.push(format!(
            "address in {}",
            strings(&when.addresses).join(" or ")
        ));
    }
    all.extend(when.hours.map(hours));
    all
}

/// `mon tue 09:00-17:30`.
fn hours(hours: Hours) -> String {
    const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let days = hours.weekdays.map(|days| {
        let named = (0..).zip(DAYS).filter(|(bit, _)| days.0 & (1 << bit) != 0);
        named.map(|(_, day)| day).collect::<Vec<_>>().join(" ") + " "
    });
    let time = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
    format!(
        "{}{}-{}",
        days.unwrap_or_default(),
        time(hours.from),
        time(hours.to)
    )
}

/// `udp`, `udp port 5060`, `udp own port 68 port 67`.
fn traffic(class: Class) -> String {
    let port = |name: &str, port| match port {
        Port::Any => String::new(),
        Port::Is(port) => format!(" {name} {port}"),
    };
    format!(
        "{}{}{}",
        class.protocol,
        port("own port", class.own_port),
        port("port", class.peer_port)
    )
}

fn strings<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::checked;

    #[test]
    fn presence_is_spelled_out() {
        let (report, text) = checked(
            r#"
            [identity]
            id = "alice.example"
            [[peer]]
            id = "bob.example"
            psk-file = "gw106.psk"
            may-protect = "self"
            [presence]
            entity = "peerA@example.com"
            user = "Alice"
            [[contact]]
            entity = "peerB@example.com"
            peer = "bob.example"
            address = "192.168.1.2"
            tell = ["presence", "policy"]
            [[contact]]
            entity = "peerC@example.com"
            peer = "bob.example"
            floor = { action = "ipsec", protocol = "esp" }
            subscribe = false
            [[site]]
            location = "lab"
            addresses = ["10.1.0.0/16", "2001:db8::/32"]
            anchor = "alice.example"
            [[site]]
            location = "office"
            addresses = "192.168.1.0/24"
            anchor = "bob.example"
            anchor-address = "192.168.1.254"
            gateway-macs = "02:00:00:00:00:aB"
            [[rule]]
            location = "office"
            addresses = ["192.168.1.0/28", "192.168.1.64/28"]
            hours = "09:00-17:30"
            weekdays = ["tue", "mon"]
            action = "none"
            [[rule]]
            entity = "peerB@example.com"
            user = "Bob"
            transport = "udp"
            own-port = 68
            port = 67
            action = "ipsec"
            protocol = "esp"
            [[rule]]
            action = "ipsec"
            protocol = ["ah", "esp"]
            level = "use"
            nat = "esp"
            "#,
        );
        assert!(report.accepted, "{text}");
        let (_, shown) = text.split_once("Presence\n").unwrap();
        assert_eq!(
            shown,
            "\
entity         peerA@example.com (Alice)
location       external, while nothing proves better
unknown        require ah+esp
default level  require
dwell          10s
lifetime       1m
expiry         1h
mark           0x20000000

Contacts
ENTITY             PEER         FLOOR        TELL              SUBSCRIBE  ADDRESS
peerB@example.com  bob.example  none         policy, presence  yes        192.168.1.2
peerC@example.com  bob.example  require esp  -                 no         -

Sites
LOCATION  ANCHOR                        GATEWAYS           ADDRESSES
lab       alice.example (this machine)  -                  10.1.0.0/16, 2001:db8::/32
office    bob.example at 192.168.1.254  02:00:00:00:00:ab  192.168.1.0/24

Rules
RULE  TRAFFIC                  THEN                          WHEN
1     any                      none                          location office, address in \
192.168.1.0/28 or 192.168.1.64/28, mon tue 09:00-17:30
2     udp own port 68 port 67  require esp                   entity peerB@example.com, user Bob
3     any                      use ah+esp, esp behind a NAT  always

c.toml: accepted
"
        );
        let json = serde_json::to_value(&report).unwrap();
        let presence = &json["interpretation"]["presence"];
        assert_eq!(presence["rules"][2]["then"], "use ah+esp, esp behind a NAT");
        assert_eq!(presence["rules"][2]["when"], serde_json::json!([]));
        assert_eq!(presence["mark"], 0x2000_0000);
        assert_eq!(presence["contacts"][1]["floor"], "require esp");
        assert_eq!(presence["lifetime_ms"], 60_000);
        assert!(!json.to_string().contains("horse"), "{json}");
    }
}
