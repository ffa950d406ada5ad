//! What is done with which packets, and how several such lists become one.

use crate::net::{Port, Protocol};
use crate::presence::row::Mode;
use crate::presence::{Class, Protection};
use std::net::IpAddr;
use std::sync::Arc;

/// One of an ordered list: the first whose class contains a packet decides about it. The last of a
/// list is always about [`Class::ANY`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    pub class: Class,
    pub protection: Protection,
    pub mode: Mode,
    /// With [`Mode::Tunnel`] only.
    pub end_point: Option<IpAddr>,
    /// Where IKE detects a NAT, ESP alone will do.
    pub esp_behind_nat: bool,
    /// Why, for people.
    pub because: Arc<str>,
}

/// What is done with packets, without regard to which and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Treatment {
    pub protection: Protection,
    pub mode: Mode,
    pub end_point: Option<IpAddr>,
    pub esp_behind_nat: bool,
}

impl From<Protection> for Treatment {
    fn from(protection: Protection) -> Self {
        Self {
            protection,
            mode: Mode::Transport,
            end_point: None,
            esp_behind_nat: false,
        }
    }
}

impl Treatment {
    /// The least that satisfies both. The way there is that of whoever demands more, and `self`'s
    /// where they demand the same. AH is dispensable behind a NAT only if nobody insists on it.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        let protection = self.protection.join(other.protection);
        if protection.protocols.is_empty() {
            return protection.into();
        }
        let way = if other.protection.demand > self.protection.demand {
            other
        } else {
            self
        };
        let dispenses = |part: Self| part.esp_behind_nat || !part.protection.protocols.ah;
        Self {
            protection,
            mode: way.mode,
            end_point: way.end_point,
            esp_behind_nat: protection.protocols.ah && dispenses(self) && dispenses(other),
        }
    }

    /// Whether whoever asked for `other` is served by this, behind a NAT too.
    pub fn satisfies(self, other: Self) -> bool {
        let joined = self.join(other);
        self.protection.satisfies(other.protection) && joined.esp_behind_nat == self.behind_nat()
    }

    /// `esp_behind_nat` where it says anything.
    fn behind_nat(self) -> bool {
        self.esp_behind_nat && self.protection.protocols.ah
    }
}

impl Clause {
    pub(in crate::presence) fn new(class: Class, treatment: Treatment, because: Arc<str>) -> Self {
        Self {
            class,
            protection: treatment.protection,
            mode: treatment.mode,
            end_point: treatment.end_point,
            esp_behind_nat: treatment.esp_behind_nat,
            because,
        }
    }

    pub fn treatment(&self) -> Treatment {
        Treatment {
            protection: self.protection,
            mode: self.mode,
            end_point: self.end_point,
            esp_behind_nat: self.esp_behind_nat,
        }
    }
}

pub(in crate::presence) fn deciding(clauses: &[Clause], class: Class) -> Option<&Clause> {
    clauses.iter().find(|clause| clause.class.contains(class))
}

fn treatment_of(clauses: &[Clause], class: Class) -> Treatment {
    deciding(clauses, class).map_or(Protection::DISCARD.into(), Clause::treatment)
}

/// What packets of a class get that no clause divides. Where nothing is said, they are discarded.
pub fn protection_of(clauses: &[Clause], class: Class) -> Protection {
    treatment_of(clauses, class).protection
}

/// Whether the kernel would do the same; reasons may differ.
pub fn same_effect(a: &[Clause], b: &[Clause]) -> bool {
    a.len() == b.len()
        && a.iter()
            .zip(b)
            .all(|(a, b)| a.class == b.class && a.treatment() == b.treatment())
}

/// Whether `a` leaves no packet with less than `b` does.
pub fn covers(a: &[Clause], b: &[Clause]) -> bool {
    classes(a.iter().chain(b).map(|clause| clause.class))
        .into_iter()
        .all(|class| treatment_of(a, class).satisfies(treatment_of(b, class)))
}

/// Asks `decide` about every class of packets that can be told apart, and puts the answers in the
/// order in which the first match is the right one: the more specific first. Answers that the
/// clauses after them give as well are left out.
pub(in crate::presence) fn compose<W: PartialEq>(
    given: impl IntoIterator<Item = Class>,
    mut decide: impl FnMut(Class) -> (Treatment, W),
) -> Vec<(Class, Treatment, W)> {
    // From the general to the specific: whether an answer is needed depends on those after it.
    let mut kept: Vec<(Class, Treatment, W)> = Vec::new();
    for class in classes(given).into_iter().rev() {
        let (treatment, why) = decide(class);
        let anyway = kept.iter().rev().find(|(wider, ..)| wider.contains(class));
        if anyway.is_none_or(|(_, t, w)| (t, w) != (&treatment, &why)) {
            kept.push((class, treatment, why));
        }
    }
    kept.reverse();
    kept
}

/// The given classes, everything, and all that they have in common, so that the first that
/// contains a packet lies in every other one that does. Sorted, the more specific first.
pub fn classes(given: impl IntoIterator<Item = Class>) -> Vec<Class> {
    let mut closed = vec![Class::ANY];
    for class in given {
        if closed.contains(&class) {
            continue;
        }
        for at in 0..closed.len() {
            if let Some(common) = closed[at].intersect(class)
                && !closed.contains(&common)
            {
                closed.push(common);
            }
        }
    }
    closed.sort_unstable_by_key(|class| (std::cmp::Reverse(specificity(*class)), *class));
    closed
}

fn specificity(class: Class) -> usize {
    usize::from(class.protocol != Protocol::Any)
        + usize::from(class.own_port != Port::Any)
        + usize::from(class.peer_port != Port::Any)
}
