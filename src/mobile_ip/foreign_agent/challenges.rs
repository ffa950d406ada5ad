//! Challenges that were advertised or given, and who has used which (RFC 4721 §3.2).

use crate::mobile_ip::wire::Code;
use crate::net::Random;
use std::collections::VecDeque;
use std::net::Ipv4Addr;

/// RFC 4721 §9: the last ones advertised are taken, CHALLENGE_WINDOW; the default is 2. One more, as
/// unicast answers use them up faster.
const WINDOW: usize = 3;
/// Nodes that are remembered for one challenge; beyond them it is used up for everybody.
const MOST_USERS: usize = 1024;
/// RFC 4721 §2: at least 32 bits.
const LENGTH: usize = 16;

#[derive(Debug, Default)]
pub struct Challenges {
    /// The newest last, each with the home addresses that have used it.
    known: VecDeque<(Vec<u8>, Vec<Ipv4Addr>)>,
}

impl Challenges {
    /// A fresh one; the oldest is forgotten.
    pub fn next(&mut self, random: &mut dyn Random) -> Vec<u8> {
        let mut challenge = vec![0; LENGTH];
        random.fill(&mut challenge);
        self.known.push_back((challenge.clone(), Vec::new()));
        if self.known.len() > WINDOW {
            self.known.pop_front();
        }
        challenge
    }

    /// The newest, if `home` may still use it.
    pub fn unused(&self, home: Ipv4Addr) -> Option<Vec<u8>> {
        let (challenge, users) = self.known.back()?;
        (!users.contains(&home)).then(|| challenge.clone())
    }

    /// Whether `home` may use `challenge`; then it is used.
    pub fn answer(&mut self, home: Ipv4Addr, challenge: Option<&[u8]>) -> Result<(), Code> {
        let challenge = challenge.ok_or(Code::FA_MISSING_CHALLENGE)?;
        let at = self.known.iter().position(|(known, _)| known == challenge);
        let at = at.ok_or(Code::FA_UNKNOWN_CHALLENGE)?;
        // RFC 4721 §4: none from before the one that was used last.
        let used = self
            .known
            .iter()
            .skip(at)
            .any(|(_, users)| users.contains(&home));
        let users = &mut self.known[at].1;
        if used || users.len() >= MOST_USERS {
            return Err(Code::FA_STALE_CHALLENGE);
        }
        users.push(home);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::random::Seeded;

    const ALICE: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 5);
    const BOB: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 6);

    #[test]
    fn each_is_good_once_for_each_node_and_never_before_a_later_one() {
        let mut challenges = Challenges::default();
        let mut random = Seeded(1);
        let first = challenges.next(&mut random);
        let second = challenges.next(&mut random);
        assert_eq!(challenges.answer(ALICE, Some(&second)), Ok(()));
        assert_eq!(challenges.answer(BOB, Some(&second)), Ok(()));
        let stale = Err(Code::FA_STALE_CHALLENGE);
        assert_eq!(challenges.answer(ALICE, Some(&second)), stale);
        assert_eq!(challenges.answer(ALICE, Some(&first)), stale);
        assert_eq!(challenges.unused(ALICE), None);
    }

    #[test]
    fn old_ones_are_unknown() {
        let mut challenges = Challenges::default();
        let mut random = Seeded(1);
        let first = challenges.next(&mut random);
        for _ in 0..WINDOW {
            challenges.next(&mut random);
        }
        let unknown = Err(Code::FA_UNKNOWN_CHALLENGE);
        assert_eq!(challenges.answer(ALICE, Some(&first)), unknown);
        let missing = Err(Code::FA_MISSING_CHALLENGE);
        assert_eq!(challenges.answer(ALICE, None), missing);
    }
}
