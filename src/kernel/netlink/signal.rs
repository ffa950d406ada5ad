//! How strong an access point is received where an interface is associated with it (nl80211), in dBm.
//!
//! Nothing tells that by itself but alarms that whoever manages the wireless network has set, so it is asked for.

use super::error::KernelError;
use super::generic::{self, Family};
use super::message::{Attributes, Message, Payload};
use super::socket::Requests;
use super::wireless::{
    self, ATTR_BSS, ATTR_IFINDEX, ATTR_MAC, AccessPoints, BSS_STATUS, BSS_STATUS_ASSOCIATED,
    GET_SCAN, NEW_SCAN_RESULTS, of_interface,
};
use netlink_sys::protocols::NETLINK_GENERIC;
use std::collections::BTreeMap;

const GET_STATION: u8 = 17;
const NEW_STATION: u8 = 19;
/// Alarms: a threshold was crossed, or packets or beacons are lost.
pub const NOTIFY_CQM: u8 = 64;

const ATTR_STA_INFO: u16 = 21;
/// Of the last frame.
const STA_INFO_SIGNAL: u16 = 7;
const STA_INFO_SIGNAL_AVG: u16 = 13;
/// In hundredths of a dBm. Drivers that have no dBm have another attribute.
const BSS_SIGNAL_MBM: u16 = 7;

/// Of which interface an alarm is.
pub fn alarm(message: &Message<'_>, family: Family) -> Option<u32> {
    let (command, attributes) = generic::parts(message).filter(|_| message.kind == family.id)?;
    (command == NOTIFY_CQM).then(|| attributes.find_u32(ATTR_IFINDEX))?
}

/// By the index of the interface.
pub type Signals = BTreeMap<u32, i8>;

/// Of those that are used, as far as drivers say it.
///
/// # Errors
/// The kernel does not answer.
pub fn all(access_points: &AccessPoints) -> Result<Signals, KernelError> {
    // Most machines have no wireless.
    if access_points.is_empty() {
        return Ok(Signals::new());
    }
    let mut requests = Requests::open(NETLINK_GENERIC)?;
    let Some(family) = wireless::family(&mut requests)? else {
        return Ok(Signals::new());
    };
    let signals = access_points
        .iter()
        .filter_map(|(interface, access_point)| {
            let dbm = of(&mut requests, family, *interface, *access_point)?;
            Some((*interface, dbm))
        });
    Ok(signals.collect())
}

/// `None` where the driver does not say. It is asked for the access point as a station, whose mean it keeps; where it keeps none,
/// for what was scanned.
fn of(
    requests: &mut Requests,
    family: Family,
    interface: u32,
    access_point: [u8; 6],
) -> Option<i8> {
    let as_station = station(requests, family, interface, access_point);
    as_station.ok().flatten().or_else(|| {
        let request = of_interface(GET_SCAN, interface);
        let scanned = requests.dump(family.id, &request, of_scanned).ok()?;
        // One with several links is as good as its best one.
        scanned.into_iter().max()
    })
}

fn station(
    requests: &mut Requests,
    family: Family,
    interface: u32,
    access_point: [u8; 6],
) -> Result<Option<i8>, KernelError> {
    let ask = |payload: &mut Payload<'_>| {
        payload.put_bytes(&of_interface(GET_STATION, interface));
        payload.attribute_bytes(ATTR_MAC, &[&access_point]);
    };
    requests.fetch(family.id, ask, |message| Some(of_station(message)))
}

fn of_station(message: &Message<'_>) -> Option<i8> {
    let (NEW_STATION, attributes) = generic::parts(message)? else {
        return None;
    };
    let info = Attributes(attributes.find(ATTR_STA_INFO)?);
    let dbm = |kind| told(info.find_u8(kind)?.cast_signed());
    dbm(STA_INFO_SIGNAL_AVG).or_else(|| dbm(STA_INFO_SIGNAL))
}

pub(super) fn of_scanned(message: &Message<'_>) -> Option<i8> {
    let (NEW_SCAN_RESULTS, attributes) = generic::parts(message)? else {
        return None;
    };
    let scanned = Attributes(attributes.find(ATTR_BSS)?);
    if scanned.find_u32(BSS_STATUS)? != BSS_STATUS_ASSOCIATED {
        return None;
    }
    let hundredths = scanned.find_u32(BSS_SIGNAL_MBM)?.cast_signed();
    told(i8::try_from(hundredths / 100).ok()?)
}

/// Drivers that have not heard anything yet say 0, which nobody receives.
fn told(dbm: i8) -> Option<i8> {
    (dbm < 0).then_some(dbm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FAMILY: Family = Family { id: 32, group: 12 };

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = (value.len() as u16 + 4).to_ne_bytes();
        let mut octets = [&length[..], &kind.to_ne_bytes(), value].concat();
        octets.resize(octets.len().next_multiple_of(4), 0);
        octets
    }

    /// The topmost bit says so.
    fn nested(kind: u16, value: &[u8]) -> Vec<u8> {
        attribute(kind | 0x8000, value)
    }

    /// A message of the family, as numbers of linux/nl80211.h.
    fn message(command: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
        [&[command, 1, 0, 0][..], &attributes.concat()].concat()
    }

    fn read<T>(payload: &[u8], read: impl Fn(&Message<'_>) -> T) -> T {
        read(&Message {
            kind: FAMILY.id,
            flags: 0,
            sequence: 0,
            port: 0,
            payload,
        })
    }

    #[test]
    fn of_a_station_the_mean_counts_and_otherwise_its_last_frame() {
        // NL80211_CMD_NEW_STATION, NL80211_ATTR_STA_INFO, NL80211_STA_INFO_INACTIVE_TIME, _SIGNAL, _SIGNAL_AVG
        let station = |signals: &[Vec<u8>]| {
            let info = [attribute(1, &7u32.to_ne_bytes()), signals.concat()].concat();
            let parts = [
                attribute(3, &3u32.to_ne_bytes()),
                attribute(6, &[2, 0, 0, 0, 0, 0]),
                nested(21, &info),
            ];
            message(19, &parts)
        };
        let last = attribute(7, &[0xb0]);
        let mean = attribute(13, &[0xae]);
        let none = attribute(13, &[0]);
        assert_eq!(
            read(&station(&[last.clone(), mean.clone()]), of_station),
            Some(-82)
        );
        assert_eq!(
            read(&station(std::slice::from_ref(&last)), of_station),
            Some(-80)
        );
        assert_eq!(
            read(&station(&[last.clone(), none.clone()]), of_station),
            Some(-80)
        );
        assert_eq!(read(&station(&[none]), of_station), None);
        assert_eq!(read(&station(&[]), of_station), None);
        let mut of_another_command = station(&[mean]);
        of_another_command[0] = 20;
        assert_eq!(read(&of_another_command, of_station), None);
    }

    #[test]
    fn of_what_was_scanned_the_access_point_in_use_counts() {
        // NL80211_CMD_NEW_SCAN_RESULTS, NL80211_ATTR_BSS, NL80211_BSS_SIGNAL_MBM, NL80211_BSS_STATUS
        let scanned = |hundredths: i32, status: Option<u32>| {
            let mut bss = attribute(7, &hundredths.to_ne_bytes());
            bss.extend(status.map_or(Vec::new(), |status| attribute(9, &status.to_ne_bytes())));
            message(34, &[nested(47, &bss)])
        };
        assert_eq!(read(&scanned(-8150, Some(1)), of_scanned), Some(-81));
        assert_eq!(read(&scanned(-8150, None), of_scanned), None);
        assert_eq!(read(&scanned(-8150, Some(0)), of_scanned), None);
        assert_eq!(read(&scanned(0, Some(1)), of_scanned), None);
        assert_eq!(read(&scanned(-100_000, Some(1)), of_scanned), None);
        // NL80211_BSS_SIGNAL_UNSPEC: of 100, whatever that means.
        let in_use = attribute(9, &1u32.to_ne_bytes());
        let unit = [attribute(8, &[60]), in_use].concat();
        let unit = message(34, &[nested(47, &unit)]);
        assert_eq!(read(&unit, of_scanned), None);
    }

    #[test]
    fn an_alarm_names_its_interface() {
        // NL80211_CMD_NOTIFY_CQM, NL80211_ATTR_CQM, NL80211_ATTR_CQM_RSSI_THRESHOLD_EVENT, _RSSI_LEVEL
        let below = [
            attribute(3, &0u32.to_ne_bytes()),
            attribute(9, &(-82i32).to_ne_bytes()),
        ];
        let parts = [
            attribute(1, &1u32.to_ne_bytes()),
            attribute(3, &3u32.to_ne_bytes()),
            nested(94, &below.concat()),
        ];
        let payload = message(64, &parts);
        assert_eq!(read(&payload, |m| alarm(m, FAMILY)), Some(3));
        let another = Family { id: 33, ..FAMILY };
        assert_eq!(read(&payload, |m| alarm(m, another)), None);
        assert_eq!(read(&message(65, &parts), |m| alarm(m, FAMILY)), None);
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_panic(
            payload in prop::collection::vec(any::<u8>(), 0..96),
            command in prop::sample::select(vec![NEW_STATION, NEW_SCAN_RESULTS, NOTIFY_CQM]),
        ) {
            let mut payload = payload;
            if let Some(first) = payload.first_mut() {
                *first = command;
            }
            read(&payload, |message| {
                let _ = (of_station(message), of_scanned(message), alarm(message, FAMILY));
            });
        }
    }
}
