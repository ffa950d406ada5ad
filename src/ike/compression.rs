//! Compression along with a child SA (RFC 7296 §2.22, RFC 3173): each end names the CPI that it
//! receives on. Only between contacts, in transport mode; only DEFLATE, the one that every kernel has.
//!
//! Whoever does not know of it, or does not want it, says nothing, and packets go without.

use super::wire::{Notify, NotifyKind, Payload, Payloads};
use crate::net::Cpi;

/// Compression parameter indices of both directions: each end's own names what it receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    pub cpi_in: Cpi,
    pub cpi_out: Cpi,
}

/// `IPCOMP_DEFLATE` (RFC 2394); it has no attributes.
const DEFLATE: u8 = 2;

pub(super) fn payload(own: Cpi) -> Payload {
    let [high, low] = own.0.to_be_bytes();
    Payload::notify(NotifyKind::IPCOMP_SUPPORTED, [high, low, DEFLATE])
}

/// Where the other end receives DEFLATE, if it says so; one notification for each algorithm.
pub(super) fn cpi_in(payloads: &Payloads) -> Option<Cpi> {
    payloads
        .notifications(NotifyKind::IPCOMP_SUPPORTED)
        .find_map(deflate)
}

fn deflate(notify: &Notify) -> Option<Cpi> {
    match notify.data[..] {
        [high, low, DEFLATE] => {
            Some(Cpi(u16::from_be_bytes([high, low]))).filter(|cpi| cpi.is_negotiable())
        }
        _ => None,
    }
}

/// An answer that speaks of compression in a way that RFC 7296 §2.22 does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotOffered;

/// What an answer makes of the CPI that we offered, if we did. It names one algorithm that was
/// offered, or says nothing.
pub(super) fn agreed(
    offered: Option<Cpi>,
    answer: &Payloads,
) -> Result<Option<Compression>, NotOffered> {
    let mut said = answer.notifications(NotifyKind::IPCOMP_SUPPORTED);
    match (said.next(), said.next()) {
        (None, _) => Ok(None),
        (Some(notify), None) => {
            let cpi_in = offered.ok_or(NotOffered)?;
            let cpi_out = deflate(notify).ok_or(NotOffered)?;
            Ok(Some(Compression { cpi_in, cpi_out }))
        }
        (Some(_), Some(_)) => Err(NotOffered),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(all: &[&[u8]]) -> Payloads {
        let notify = |data: &&[u8]| Payload::notify(NotifyKind::IPCOMP_SUPPORTED, *data);
        Payloads(all.iter().map(notify).collect())
    }

    #[test]
    fn of_several_offers_the_one_that_we_know_counts() {
        let lzs: &[u8] = &[0x12, 0x34, 3];
        let deflate: &[u8] = &[0xab, 0xcd, 2];
        assert_eq!(cpi_in(&said(&[lzs, deflate])), Some(Cpi(0xabcd)));
        assert_eq!(cpi_in(&said(&[lzs])), None);
        assert_eq!(cpi_in(&said(&[])), None);
    }

    #[test]
    fn what_cannot_be_is_no_offer() {
        let odd: [&[u8]; 7] = [
            &[],
            &[2],
            &[1, 2],
            &[0x12, 0x34, 2, 0],
            // Well-known, reserved, private (RFC 3173 §3.3).
            &[0, 2, 2],
            &[0, 255, 2],
            &[0xf0, 0, 2],
        ];
        for data in odd {
            assert_eq!(cpi_in(&said(&[data])), None, "{data:?}");
        }
    }

    #[test]
    fn an_answer_names_one_algorithm_that_was_offered_or_none() {
        let deflate: &[u8] = &[0xab, 0xcd, 2];
        let own = Some(Cpi(300));
        let both = Compression {
            cpi_in: Cpi(300),
            cpi_out: Cpi(0xabcd),
        };
        assert_eq!(agreed(own, &said(&[deflate])), Ok(Some(both)));
        assert_eq!(agreed(own, &said(&[])), Ok(None));
        assert_eq!(agreed(None, &said(&[])), Ok(None));
        assert_eq!(agreed(None, &said(&[deflate])), Err(NotOffered));
        assert_eq!(agreed(own, &said(&[deflate, deflate])), Err(NotOffered));
        assert_eq!(agreed(own, &said(&[&[0xab, 0xcd, 3]])), Err(NotOffered));
    }
}
