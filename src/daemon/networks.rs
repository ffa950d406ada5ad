//! What is known of networks, across restarts: a file in the state directory, which makes guesses better
//! and proves nothing.

use super::state_file::{Error, StateFile};
use crate::mobile_ip::domain::{Context, Domain, MAX_CONTEXTS};
use crate::net::{Ipv4Net, Mac};
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use std::path::Path;

const FILE: &str = "networks.json";

/// Twice what so many networks take.
const LARGEST: u64 = 384 * MAX_CONTEXTS as u64;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    gateway: Mac,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_point: Option<Mac>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prefix: Option<Ipv4Net>,
    domain: Domain,
    times: NonZeroU32,
}

#[derive(Debug)]
pub(super) struct Networks(StateFile);

impl Networks {
    pub(super) fn new(state_dir: &Path) -> Self {
        let holds = "what is known of networks: they are learnt anew, and the next one replaces it";
        Self(StateFile::new(&state_dir.join(FILE), LARGEST, holds))
    }

    /// Oldest first; empty where nothing was ever kept.
    pub(super) fn load(&self) -> Result<Vec<Context>, Error> {
        let entries: Vec<Entry> = self.0.load()?.unwrap_or_default();
        if entries.len() > MAX_CONTEXTS {
            return Err(self.0.wrong(format!("there are more than {MAX_CONTEXTS}")));
        }
        Ok(entries.into_iter().map(Context::from).collect())
    }

    /// Replaces what was kept, all or nothing.
    pub(super) fn keep(&self, known: &[Context]) -> Result<(), Error> {
        let entries: Vec<Entry> = known.iter().map(Entry::from).collect();
        self.0.keep(&entries)
    }
}

impl From<Entry> for Context {
    fn from(entry: Entry) -> Self {
        Self {
            gateway: entry.gateway.0,
            access_point: entry.access_point.map(|mac| mac.0),
            prefix: entry.prefix,
            domain: entry.domain,
            times: entry.times.get(),
        }
    }
}

impl From<&Context> for Entry {
    fn from(context: &Context) -> Self {
        Self {
            gateway: Mac(context.gateway),
            access_point: context.access_point.map(Mac),
            prefix: context.prefix,
            domain: context.domain,
            times: NonZeroU32::new(context.times).unwrap_or(NonZeroU32::MIN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn known(count: u16) -> Vec<Context> {
        let context = |n: u16| {
            let [high, low] = n.to_be_bytes();
            Context {
                gateway: [0xfe, 0, 0, 0, high, low],
                access_point: n.is_multiple_of(2).then_some([0xff; 6]),
                prefix: n
                    .is_multiple_of(5)
                    .then(|| "255.255.255.252/30".parse().unwrap()),
                domain: if n.is_multiple_of(3) {
                    Domain::Inside
                } else {
                    Domain::Outside
                },
                times: u32::MAX,
            }
        };
        (0..count).map(context).collect()
    }

    #[test]
    fn as_many_networks_as_are_kept_are_there_after_a_restart_in_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let networks = Networks::new(dir.path());
        assert_eq!(networks.load().unwrap(), []);
        let most = known(MAX_CONTEXTS as u16);
        networks.keep(&most).unwrap();
        assert_eq!(Networks::new(dir.path()).load().unwrap(), most);
        networks.keep(&most[..1]).unwrap();
        assert_eq!(networks.load().unwrap(), most[..1]);
    }

    #[test]
    fn what_cannot_be_one_is_refused_with_the_name_of_the_file_and_replaced_by_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let networks = Networks::new(dir.path());
        let one = |gateway: &str, domain: &str, rest: &str| {
            format!(r#"[{{"gateway":"{gateway}","domain":"{domain}",{rest}}}]"#)
        };
        let gateway = "02:00:00:00:00:01";
        let too_many = serde_json::to_string(
            &known(MAX_CONTEXTS as u16 + 1)
                .iter()
                .map(Entry::from)
                .collect::<Vec<_>>(),
        );
        for wrong in [
            String::new(),
            "[{\"gateway\":".to_owned(),
            one("02:00:00:00:00", "inside", r#""times":1"#),
            one(gateway, "everywhere", r#""times":1"#),
            one(gateway, "inside", r#""times":0"#),
            one(gateway, "inside", r#""times":1,"proved":true"#),
            too_many.unwrap(),
            " ".repeat(LARGEST as usize + 1),
        ] {
            fs::write(dir.path().join(FILE), &wrong).unwrap();
            let error = networks.load().unwrap_err().to_string();
            assert!(error.contains(FILE) && error.contains("anew"), "{error}");
        }
        networks.keep(&known(2)).unwrap();
        assert_eq!(networks.load().unwrap(), known(2));
    }
}
