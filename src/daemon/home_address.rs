//! The home address that a home agent has given us, across restarts: a file in the state directory. Without it the home
//! agent is asked.

use super::state_file::{Error, StateFile};
use crate::agent::mobility::given::GivenHome;
use std::path::Path;

const FILE: &str = "home-address.json";

/// A name has 255 octets at most, each of which may be written as six.
const LARGEST: u64 = 2048;

#[derive(Debug)]
pub(super) struct HomeAddress(StateFile);

impl HomeAddress {
    pub(super) fn new(state_dir: &Path) -> Self {
        let holds = "a home address: it is asked for anew, and the answer replaces it";
        Self(StateFile::new(&state_dir.join(FILE), LARGEST, holds))
    }

    /// `None` where none was ever given.
    pub(super) fn load(&self) -> Result<Option<GivenHome>, Error> {
        self.0.load()
    }

    /// Replaces what was kept, all or nothing.
    pub(super) fn keep(&self, given: &GivenHome) -> Result<(), Error> {
        self.0.keep(given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_was_given_last_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let home = HomeAddress::new(dir.path());
        assert_eq!(home.load().unwrap(), None);
        for last in [9, 10] {
            let given = GivenHome {
                nai: "\u{e9}".repeat(127),
                home_agent: [192, 0, 2, 2].into(),
                home: [198, 51, 100, last].into(),
            };
            home.keep(&given).unwrap();
            let again = HomeAddress::new(dir.path()).load().unwrap();
            assert_eq!(again, Some(given));
        }
    }

    #[test]
    fn what_cannot_be_one_is_refused_with_the_name_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let home = HomeAddress::new(dir.path());
        for wrong in [
            "",
            "{}",
            r#"{"nai":"a","home_agent":"192.0.2.2","home":"::1"}"#,
        ] {
            fs::write(dir.path().join(FILE), wrong).unwrap();
            let error = home.load().unwrap_err().to_string();
            assert!(error.contains(FILE) && error.contains("anew"), "{error}");
        }
    }
}
