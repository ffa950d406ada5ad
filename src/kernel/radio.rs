//! Which access point each wireless interface is associated with, from the start and by events; nothing is asked in between.
//! And when somebody else's alarm says that it should be asked how strong one is.

use super::netlink::error::KernelError;
use super::netlink::generic::{CONTROLLER, CTRL_CMD_NEWFAMILY, Family};
use super::netlink::message::Message;
use super::netlink::signal::{self, NOTIFY_CQM};
use super::netlink::socket::{Listener, Requests};
use super::netlink::wireless::{self, AccessPoints, CONNECT, DISCONNECT, ROAM};
use super::socket_filter::{equals, statement};
use libc::{BPF_ABS, BPF_B, BPF_K, BPF_LD, BPF_RET, sock_filter};
use netlink_sys::protocols::NETLINK_GENERIC;
use std::io;

/// Stations that come to an access point of this machine, and scans, need not wake anybody.
///
/// ```text
///  0       4      6                16
///  length  kind   flags …          command …
/// ```
const COMINGS_AND_GOINGS: [sock_filter; 8] = [
    statement(BPF_LD | BPF_B | BPF_ABS, 16),
    equals(CONNECT as u32, 5, 0),
    equals(ROAM as u32, 4, 0),
    equals(DISCONNECT as u32, 3, 0),
    equals(NOTIFY_CQM as u32, 2, 0),
    equals(CTRL_CMD_NEWFAMILY as u32, 1, 0),
    statement(BPF_RET | BPF_K, 0),
    statement(BPF_RET | BPF_K, u32::MAX),
];

/// Without a wireless interface: a socket that nobody wakes.
#[derive(Debug, Default)]
pub struct Radio {
    /// `None` until a driver is there, which may be plugged in.
    family: Option<Family>,
    known: AccessPoints,
    /// Whether events were lost, or a driver has come.
    doubtful: bool,
    /// Whether something was heard since somebody was told.
    concerned: bool,
    /// Whether an access point that is used may have become weaker or stronger since.
    alarmed: bool,
}

impl Radio {
    /// In the calling thread's network namespace.
    pub fn open() -> io::Result<(Self, Listener)> {
        let mut listener = Listener::open(NETLINK_GENERIC, &[CONTROLLER.into()])?;
        listener.filter(&COMINGS_AND_GOINGS)?;
        let mut radio = Self::default();
        radio.look(&mut listener);
        Ok((radio, listener))
    }

    pub fn access_points(&self) -> &AccessPoints {
        &self.known
    }

    pub fn hear(&mut self, message: &Message<'_>) {
        if wireless::is_new_family(message) {
            self.lost_track();
        }
        let alarm = self.family.and_then(|f| signal::alarm(message, f));
        // One that is an access point itself hears of its stations.
        self.alarmed |= alarm.is_some_and(|interface| self.known.contains_key(&interface));
        let change = self.family.and_then(|f| wireless::change(message, f));
        let Some((interface, access_point)) = change else {
            return;
        };
        match access_point {
            Some(mac) => self.known.insert(interface, mac),
            None => self.known.remove(&interface),
        };
        self.concerned = true;
    }

    pub fn lost_track(&mut self) {
        (self.doubtful, self.concerned) = (true, true);
    }

    /// The access points, where they may not be what they were when this was asked before.
    pub fn news(&mut self, listener: &mut Listener) -> Option<AccessPoints> {
        if !std::mem::take(&mut self.concerned) {
            return None;
        }
        if std::mem::take(&mut self.doubtful) {
            self.look(listener);
        }
        Some(self.known.clone())
    }

    /// Whether it should be asked how strong they are, since this was asked before.
    pub fn is_alarmed(&mut self) -> bool {
        std::mem::take(&mut self.alarmed)
    }

    /// Makes guesses better and nothing else, so it may fail.
    fn look(&mut self, listener: &mut Listener) {
        if let Err(error) = self.try_to_look(listener) {
            tracing::warn!(%error, "cannot tell which access points are used");
        }
    }

    fn try_to_look(&mut self, listener: &mut Listener) -> Result<(), KernelError> {
        self.known.clear();
        let mut requests = Requests::open(NETLINK_GENERIC)?;
        self.family = wireless::family(&mut requests)?;
        if let Some(family) = self.family {
            listener.join(family.group)?;
            self.known = wireless::access_points(&mut requests, family)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::netlink::generic::header;
    use crate::kernel::netlink::message::{Batch, Messages};
    use crate::kernel::socket_filter::passes;

    /// An event of interface 3, with an access point or without.
    fn event(kind: u16, command: u8, access_point: Option<[u8; 6]>) -> Vec<u8> {
        let mut batch = Batch::new(0);
        batch.message(kind, 0, |payload| {
            payload.put_bytes(&header(command));
            payload.attribute_bytes(3, &[&3u32.to_ne_bytes()]);
            if let Some(mac) = access_point {
                payload.attribute_bytes(6, &[&mac]);
            }
        });
        batch.bytes().to_vec()
    }

    #[test]
    fn only_what_says_where_an_interface_is_wakes_anybody() {
        for command in 0..=u8::MAX {
            let wanted = [CTRL_CMD_NEWFAMILY, CONNECT, ROAM, DISCONNECT, NOTIFY_CQM];
            let is_wanted = wanted.contains(&command);
            let message = event(32, command, None);
            assert_eq!(
                passes(&COMINGS_AND_GOINGS, &message),
                is_wanted,
                "{command}"
            );
        }
    }

    #[test]
    fn events_are_followed_and_only_what_concerned_is_news() {
        let family = Family { id: 32, group: 12 };
        let mut radio = Radio {
            family: Some(family),
            ..Radio::default()
        };
        let mut hear = |message: &[u8]| {
            Messages(message).for_each(|message| radio.hear(&message));
            (
                std::mem::take(&mut radio.concerned),
                radio.known.get(&3).copied(),
            )
        };
        assert_eq!(hear(&event(33, ROAM, Some([9; 6]))), (false, None));
        assert_eq!(hear(&event(32, ROAM, Some([1; 6]))), (true, Some([1; 6])));
        assert_eq!(hear(&event(32, CONNECT, None)), (false, Some([1; 6])));
        assert_eq!(hear(&event(32, DISCONNECT, None)), (true, None));
        assert!(!radio.doubtful);
    }

    #[test]
    fn an_alarm_counts_where_an_access_point_is_used() {
        let mut radio = Radio {
            family: Some(Family { id: 32, group: 12 }),
            ..Radio::default()
        };
        let alarm = event(32, NOTIFY_CQM, Some([1; 6]));
        Messages(&alarm).for_each(|message| radio.hear(&message));
        assert!(!radio.is_alarmed());
        radio.known.insert(3, [1; 6]);
        Messages(&alarm).for_each(|message| radio.hear(&message));
        assert!(radio.is_alarmed() && !radio.is_alarmed());
        assert!(!radio.concerned, "the access points are the same");
    }
}
