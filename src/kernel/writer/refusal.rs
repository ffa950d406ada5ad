//! What the kernel refuses: said once, tried again, and taken back when it is through.
//!
//! ```text
//!  plan ─→ refused ─→ told ─→ with every plan (policies), or after a pause ─→ accepted ─→ told
//! ```
//!
//! A refused policy is planned again with everything that is, so that it follows at once when
//! whatever stood in its way goes. Other objects wait for their time: an attempt may cost a
//! process.

use crate::kernel::desired::{Key, Mark, PolicyKey};
use crate::kernel::netlink::error::KernelError;
use crate::kernel::observed::ObservedPolicy;
use crate::kernel::ownership;
use crate::kernel::plan::{Clash, Scope};
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Pauses between attempts that nothing else causes: doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The kernel, or somebody else's object, stood in the way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{attempt}: {error}; {advice}")]
pub struct Refusal {
    pub key: Key,
    /// In the words of `ip xfrm`, without keys.
    pub attempt: String,
    pub error: KernelError,
    /// What a person can do; commands stand in backquotes.
    pub advice: String,
}

impl Refusal {
    pub(super) fn new(key: Key, attempt: String, error: KernelError) -> Self {
        let advice = advice(&key, error.errno);
        Self {
            key,
            attempt,
            error,
            advice,
        }
    }

    /// Somebody else's object has the key of one that we want.
    pub(super) fn clash(clash: &Clash<'_>) -> Self {
        let taken = |key: Key, text: String, advice: String| Self {
            key,
            attempt: format!("{key}"),
            error: KernelError {
                errno: Errno::EEXIST,
                text: Some(text),
            },
            advice,
        };
        match clash {
            Clash::Policy(there) => Self::policy_clash(there),
            Clash::Link(there) => taken(
                Key::Link(there.name),
                format!("interface {} is somebody else's", there.index),
                format!(
                    "give it another name, or the agent's; `ip link del {}` takes it out",
                    there.name
                ),
            ),
            Clash::Proxy(key) => taken(
                Key::Proxy(*key),
                "somebody else put it there, or the kernel does not keep who".to_owned(),
                format!(
                    "`ip neigh del proxy {} dev {}` takes it out",
                    key.address, key.link
                ),
            ),
        }
    }

    fn policy_clash(there: &ObservedPolicy) -> Self {
        let key = there.policy.key;
        let whose = if ownership::INDICES.contains(&there.index) {
            "somebody gave the agent's own another priority, so it is theirs now"
        } else {
            "it is not the agent's: stop the program that put it there"
        };
        Self {
            key: Key::Policy(key),
            attempt: format!("ip xfrm policy add {key}"),
            error: KernelError {
                errno: Errno::EEXIST,
                text: Some(format!("the selector belongs to {there}")),
            },
            advice: format!("{whose}; `{}` takes it out", removal(there)),
        }
    }
}

/// What takes exactly this policy out. `ip xfrm policy delete` forgets to say a mark of value 0, so
/// the kernel does not find a policy that has one; `deleteall` names each that it lists in full.
fn removal(there: &ObservedPolicy) -> String {
    let key = PolicyKey {
        mark: Mark::default(),
        ..there.policy.key
    };
    format!("ip xfrm policy deleteall {key} index {}", there.index)
}

fn advice(key: &Key, errno: Errno) -> String {
    let advice = match (key, errno) {
        (_, Errno::EPERM | Errno::EACCES) => "run as root or with CAP_NET_ADMIN",
        (_, Errno::ENOSPC | Errno::EDQUOT | Errno::EROFS) if matches!(key, Key::Sysctl(_)) => {
            "make room there: until then packets that wait for a tunnel may be dropped"
        }
        (Key::Policy(_), Errno::EEXIST) => {
            "somebody else's policy has this selector: `ip xfrm policy` shows it"
        }
        (Key::Sa(key), Errno::EEXIST) => {
            return format!(
                "somebody else's SA has this address and SPI, so another SPI is negotiated; `ip xfrm state delete {key}` takes it out"
            );
        }
        (Key::Sa(_), Errno::EPROTONOSUPPORT | Errno::ENOSYS | Errno::ENOENT) => {
            "the kernel lacks this protocol or algorithm: `xfrm-agent doctor` names the modules to load"
        }
        (Key::Route(key), Errno::EEXIST) => {
            return format!(
                "somebody else's route has this metric: `ip route show table {} {}` shows it",
                key.table, key.dst
            );
        }
        (Key::Rule(_), Errno::EEXIST) => "somebody else's rule is the same: `ip rule` shows it",
        (Key::Link(_), Errno::EEXIST) => {
            "the kernel has one such device for each network namespace: `ip -d link` shows it"
        }
        (Key::Link(_), Errno::EOPNOTSUPP | Errno::ENOENT | Errno::ENODEV) => {
            "the kernel lacks it: `modprobe -a tun ipip ip_gre`"
        }
        (
            Key::Route(_) | Key::Address(_) | Key::Proxy(_) | Key::Neighbour(_),
            Errno::ENODEV | Errno::ENETDOWN,
        ) => "it follows when the interface is there and up",
        (Key::Route(_), Errno::EINVAL | Errno::ENETUNREACH) => {
            "it follows when its source address is there"
        }
        (_, Errno::ENOMEM | Errno::ENOBUFS) => "free memory; it is tried again",
        (Key::Interception | Key::Decapsulation, Errno::ENOENT) => "install nftables",
        (Key::Interception | Key::Decapsulation | Key::DecapsulationEntry(_), _) => {
            "load nf_tables and nft_tproxy; `xfrm-agent doctor` says what is missing"
        }
        _ => "`xfrm-agent doctor` says what the kernel can do",
    };
    advice.to_owned()
}

/// Everything that is refused for now.
#[derive(Debug, Default)]
pub(super) struct Refused {
    standing: BTreeMap<Key, Refusal>,
    /// Not done, lest it expose what a refused policy should have covered.
    withheld: Vec<Key>,
    due: Option<Instant>,
    pause: Duration,
}

/// What came of a plan, as far as it is news.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    pub refused: Vec<Refusal>,
    pub accepted: Vec<Key>,
}

impl Refused {
    pub(super) fn is_empty(&self) -> bool {
        self.standing.is_empty() && self.withheld.is_empty()
    }

    /// When it is time to try again, whatever else happens.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// What the next plan should look at as well.
    pub(super) fn again(&self, now: Instant) -> impl Iterator<Item = Key> {
        let everything = self.is_due(now);
        let refused = self.standing.keys().copied();
        let now = move |key: &Key| everything || matches!(key, Key::Policy(_));
        refused.filter(now).chain(self.withheld.iter().copied())
    }

    /// What may be accepted when a link or an address has come.
    pub(super) fn paths(&self) -> impl Iterator<Item = Key> {
        let refused = self.standing.keys().copied();
        refused.filter(|key| {
            matches!(
                key,
                Key::Route(_) | Key::Address(_) | Key::Proxy(_) | Key::Neighbour(_)
            )
        })
    }

    /// Takes in what came of a plan of this scope, whose keys are sorted.
    pub(super) fn settle(
        &mut self,
        now: Instant,
        scope: Scope<'_>,
        refusals: Vec<Refusal>,
        withheld: Vec<Key>,
    ) -> News {
        let planned = |key: &Key| match scope {
            Scope::Everything => true,
            Scope::Keys(keys) => keys.binary_search(key).is_ok(),
        };
        let mut before = std::mem::take(&mut self.standing);
        let mut news = News::default();
        for refusal in refusals {
            if before.remove(&refusal.key).as_ref() != Some(&refusal) {
                news.refused.push(refusal.clone());
            }
            self.standing.insert(refusal.key, refusal);
        }
        for (key, refusal) in before {
            if planned(&key) {
                news.accepted.push(key);
            } else {
                self.standing.insert(key, refusal);
            }
        }
        self.withheld = withheld;
        self.schedule(now, news != News::default());
        news
    }

    fn schedule(&mut self, now: Instant, changed: bool) {
        if self.standing.is_empty() {
            self.due = None;
        } else if changed || self.due.is_none() {
            self.pause = FIRST_PAUSE;
            self.due = Some(now + self.pause);
        } else if self.is_due(now) {
            self.pause = LONGEST_PAUSE.min(self.pause * 2);
            self.due = Some(now + self.pause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::desired::Sysctl;
    use crate::kernel::observed::tests::policy;

    const SYSCTL: Key = Key::Sysctl(Sysctl::XfrmLarvalDrop);

    fn refusal(key: Key, errno: Errno) -> Refusal {
        Refusal::new(key, "attempt".to_owned(), errno.into())
    }

    fn policy_key() -> Key {
        Key::Policy(policy(8, 1).policy.key)
    }

    #[test]
    fn a_refusal_is_told_once_however_often_it_is_repeated_and_again_when_its_reason_changes() {
        let (mut refused, now) = (Refused::default(), Instant::now());
        let key = policy_key();
        let mut told = |errno| {
            let refusals = vec![refusal(key, errno)];
            let news = refused.settle(now, Scope::Keys(&[key]), refusals, Vec::new());
            assert_eq!(news.accepted, []);
            news.refused.len()
        };
        assert_eq!(told(Errno::ENOMEM), 1);
        assert_eq!(told(Errno::ENOMEM), 0);
        assert_eq!(told(Errno::EEXIST), 1);
    }

    #[test]
    fn what_was_refused_is_accepted_when_a_plan_with_it_goes_through_and_not_by_any_other_plan() {
        let (mut refused, now) = (Refused::default(), Instant::now());
        let refusals = vec![refusal(SYSCTL, Errno::ENOSPC)];
        refused.settle(now, Scope::Keys(&[SYSCTL]), refusals, Vec::new());
        let other = [policy_key()];
        let news = refused.settle(now, Scope::Keys(&other), Vec::new(), Vec::new());
        assert_eq!(news, News::default());
        let news = refused.settle(now, Scope::Everything, Vec::new(), Vec::new());
        assert_eq!(news.accepted, [SYSCTL]);
        assert_eq!(refused.due(), None);
    }

    #[test]
    fn policies_and_what_was_withheld_are_in_every_plan_and_the_rest_when_it_is_time() {
        let (mut refused, now) = (Refused::default(), Instant::now());
        let (key, withheld) = (policy_key(), Key::Interception);
        let refusals = || vec![refusal(key, Errno::ENOMEM), refusal(SYSCTL, Errno::ENOSPC)];
        refused.settle(now, Scope::Everything, refusals(), vec![withheld]);
        assert_eq!(refused.again(now).collect::<Vec<_>>(), [key, withheld]);
        let later = now + FIRST_PAUSE;
        let everything: Vec<_> = refused.again(later).collect();
        assert_eq!(everything, [SYSCTL, key, withheld]);
    }

    #[test]
    fn pauses_double_up_to_ten_seconds_and_start_again_when_something_changes() {
        let (mut refused, mut now) = (Refused::default(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let refusals = vec![refusal(SYSCTL, Errno::ENOSPC)];
            refused.settle(now, Scope::Everything, refusals, Vec::new());
            let due = refused.due().unwrap();
            pauses.push((due - now).as_secs());
            now = due;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 10, 10]);
        let changed = vec![refusal(SYSCTL, Errno::EROFS)];
        refused.settle(now, Scope::Everything, changed, Vec::new());
        assert_eq!(refused.due(), Some(now + FIRST_PAUSE));
    }

    #[test]
    fn a_plan_that_comes_before_its_time_does_not_put_the_next_attempt_off() {
        let (mut refused, now) = (Refused::default(), Instant::now());
        let attempt = |refused: &mut Refused, at| {
            let refusals = vec![refusal(SYSCTL, Errno::ENOSPC)];
            refused.settle(at, Scope::Everything, refusals, Vec::new());
            refused.due()
        };
        let due = attempt(&mut refused, now);
        assert_eq!(attempt(&mut refused, now + FIRST_PAUSE / 2), due);
    }

    #[test]
    fn whose_policy_it_is_and_the_command_that_takes_it_out_stand_in_the_refusal_of_a_clash() {
        let mut by_hand = policy(33, 500);
        by_hand.policy.key.mark.mask = 0x8000_0000;
        let text = Refusal::clash(&Clash::Policy(&by_hand)).to_string();
        assert_eq!(
            text,
            "ip xfrm policy add src 10.1.0.0/16 dst 10.2.0.0/16 dir out mark 0x0 mask 0x80000000: \
             the selector belongs to src 10.1.0.0/16 dst 10.2.0.0/16 dir out mark 0x0 mask \
             0x80000000 action block priority 500 index 33 (EEXIST: File exists); it is not the \
             agent's: stop the program that put it there; `ip xfrm policy deleteall src \
             10.1.0.0/16 dst 10.2.0.0/16 dir out index 33` takes it out"
        );
        let altered = policy(ownership::INDICES.start + 1, 500);
        assert!(
            Refusal::clash(&Clash::Policy(&altered))
                .advice
                .contains("the agent's own")
        );
    }
}
