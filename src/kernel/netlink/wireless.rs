//! Wireless interfaces and the access points that they are associated with (nl80211).
//!
//! Who that is the kernel tells in each event. It is asked only at the start, and of what has been scanned, as `iw` does: not
//! every driver knows its access point as a station. How strong it is [`super::signal`] asks.

use super::error::KernelError;
use super::generic::{self, Family, header};
use super::message::{Attributes, Message};
use super::socket::Requests;
use nix::errno::Errno;
use std::collections::BTreeMap;

const NAME: &str = "nl80211";
/// Where connections are told of.
const GROUP: &str = "mlme";

const GET_INTERFACE: u8 = 5;
const NEW_INTERFACE: u8 = 7;
pub(super) const GET_SCAN: u8 = 32;
pub(super) const NEW_SCAN_RESULTS: u8 = 34;
pub const CONNECT: u8 = 46;
pub const ROAM: u8 = 47;
pub const DISCONNECT: u8 = 48;

pub(super) const ATTR_IFINDEX: u16 = 3;
const ATTR_IFTYPE: u16 = 5;
pub(super) const ATTR_MAC: u16 = 6;
pub(super) const ATTR_BSS: u16 = 47;
const ATTR_STATUS_CODE: u16 = 72;
const BSS_BSSID: u16 = 1;
pub(super) const BSS_STATUS: u16 = 9;
/// Of an access point with several links (Wi-Fi 7), which events name.
const BSS_MLD_ADDR: u16 = 22;
pub(super) const BSS_STATUS_ASSOCIATED: u32 = 1;
const IFTYPE_STATION: u32 = 2;
const IFTYPE_P2P_CLIENT: u32 = 8;

/// By the index of the interface.
pub type AccessPoints = BTreeMap<u32, [u8; 6]>;

/// `None` on a machine without wireless.
pub fn family(requests: &mut Requests) -> Result<Option<Family>, KernelError> {
    generic::find(requests, NAME, GROUP)
}

/// Whether that says that there is wireless now.
pub fn is_new_family(message: &Message<'_>) -> bool {
    generic::read(message, NAME, GROUP).is_some()
}

/// Which interface has another access point now, and which; `None` is none.
pub fn change(message: &Message<'_>, family: Family) -> Option<(u32, Option<[u8; 6]>)> {
    let (command, attributes) = generic::parts(message).filter(|_| message.kind == family.id)?;
    let interface = attributes.find_u32(ATTR_IFINDEX)?;
    let succeeded = || attributes.find(ATTR_STATUS_CODE) == Some(&[0, 0]);
    match command {
        DISCONNECT => Some((interface, None)),
        CONNECT if succeeded() => Some((interface, Some(mac(&attributes, ATTR_MAC)?))),
        ROAM => Some((interface, Some(mac(&attributes, ATTR_MAC)?))),
        _ => None,
    }
}

/// Of all interfaces.
pub fn access_points(requests: &mut Requests, family: Family) -> Result<AccessPoints, KernelError> {
    let mut found = AccessPoints::new();
    for interface in requests.dump(family.id, &header(GET_INTERFACE), station)? {
        let request = of_interface(GET_SCAN, interface);
        match requests.dump(family.id, &request, associated) {
            Ok(access_points) => found.extend(access_points.first().map(|ap| (interface, *ap))),
            // It went meanwhile.
            Err(error) if error.errno == Errno::ENODEV => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

pub(super) fn of_interface(command: u8, interface: u32) -> Vec<u8> {
    let attribute = [8u16.to_ne_bytes(), ATTR_IFINDEX.to_ne_bytes()].concat();
    [&header(command)[..], &attribute, &interface.to_ne_bytes()].concat()
}

/// The index of one that associates with access points.
pub fn station(message: &Message<'_>) -> Option<u32> {
    let (NEW_INTERFACE, attributes) = generic::parts(message)? else {
        return None;
    };
    let associates = matches!(
        attributes.find_u32(ATTR_IFTYPE)?,
        IFTYPE_STATION | IFTYPE_P2P_CLIENT
    );
    attributes.find_u32(ATTR_IFINDEX).filter(|_| associates)
}

/// Of what was scanned, the access point that is in use.
pub fn associated(message: &Message<'_>) -> Option<[u8; 6]> {
    let (NEW_SCAN_RESULTS, attributes) = generic::parts(message)? else {
        return None;
    };
    let scanned = Attributes(attributes.find(ATTR_BSS)?);
    if scanned.find_u32(BSS_STATUS)? != BSS_STATUS_ASSOCIATED {
        return None;
    }
    mac(&scanned, BSS_MLD_ADDR).or_else(|| mac(&scanned, BSS_BSSID))
}

fn mac(attributes: &Attributes<'_>, kind: u16) -> Option<[u8; 6]> {
    attributes.find(kind)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::netlink::message::Messages;
    use crate::kernel::netlink::signal;
    use proptest::prelude::*;

    const FAMILY: Family = Family { id: 32, group: 12 };
    const ONE: [u8; 6] = [2, 0, 0, 0, 0, 0];
    const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 1];

    // What a kernel 6.1 says of two radios of mac80211_hwsim: in the machine's order of octets, which is little-endian.

    /// Without the operations.
    const NEW_FAMILY: &str = "\
        d4000000100002000100000080000000010200000c0002006e6c3830323131000600010020000000080003000100\
        000008000400000000000800050045010000940007001800010008000200090000000b000100636f6e6669670000\
        18000200080002000a000000090001007363616e000000001c000300080002000b0000000f000100726567756c61\
        746f7279000018000400080002000c000000090001006d6c6d650000000018000500080002000d0000000b000100\
        76656e646f72000014000600080002000e000000080001006e616e00";
    /// Has no index.
    const P2P_DEVICE: &str = "\
        54000000200002000200000080000000070100000800010001000000080005000a0000000c009900020000000100\
        00000a000600420000000100000008002e000a000000050053000000000008006200d0070000";
    const INTERFACE: &str = "\
        900000002000020002000000800000000701000008000300030000000a000400776c616e31000000080001000100\
        000008000500020000000c00990001000000010000000a000600020000000100000008002e000a00000005005300\
        00000000080026006c0900000800220100000000080027000000000008009f00000000000800a0006c0900000800\
    6200d0070000";
    /// In use.
    const SCANNED: &str = "\
        180100002000020003000000800000002201000008002e000700000008000300030000000c009900010000000100\
        0000e8002f000a000100020000000000000004000e000c0003009aa108516e61060034000600000a656e74657270\
        72697365010882848b960c1218240301012a010432043048606c3b0251007f0804004002000000400c000d0071f3\
        0b516e6106003a000b00000a656e7465727072697365010882848b960c1218240301010504010200002a01043204\
        3048606c3b0251007f080400400200000040000006000400640000000600050001040000080002006c0900000800\
        14000000000008000c000000000008000a00e81400000c000f00dc197b44040000000800070048f4ffff08000900\
    01000000";
    /// Not in use.
    const NEIGHBOUR: &str = "\
        100100002000020003000000800000002201000008002e000700000008000300030000000c009900010000000100\
        0000e0002f000a000100020000000001000004000e000c0003005fbb08516e61060034000600000a656e74657270\
        72697365010882848b960c1218240301012a010432043048606c3b0251007f0804004002000000400c000d003bd2\
        08516e6106003a000b00000a656e7465727072697365010882848b960c1218240301010504010200002a01043204\
        3048606c3b0251007f080400400200000040000006000400640000000600050001040000080002006c0900000800\
        14000000000008000c000000000008000a00b81500000c000f006c344138040000000800070048f4ffff";
    const CONNECTED: &str = "\
        a00000002000000000000000000000002e010000080001000100000008000300030000000a000600020000000000\
        0000060048000000000044004d00000a656e7465727072697365010802040b160c12182432043048606c7f0b0400\
        4a02014040400001203b155151525354737475767778797a7b7c7d7e7f80818223004e00010882848b960c121824\
        32043048606c7f0804004002000000405a0324010000";
    const DISCONNECTED: &str = "\
        2c00000020000000000000000000000030010000080001000100000008000300030000000600360001000000";

    fn octets(hex: &str) -> Vec<u8> {
        let pairs = (0..hex.len()).step_by(2).map(|at| &hex[at..at + 2]);
        pairs
            .map(|pair| u8::from_str_radix(pair, 16).unwrap())
            .collect()
    }

    fn read<T>(octets: &[u8], read: impl Fn(&Message<'_>) -> Option<T>) -> Option<T> {
        Messages(octets).find_map(|message| read(&message))
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn what_a_kernel_says_is_read() {
        let family = |m: &Message<'_>| generic::read(m, NAME, GROUP);
        assert_eq!(read(&octets(NEW_FAMILY), family), Some(FAMILY));
        let another = |m: &Message<'_>| generic::read(m, "nlctrl", GROUP);
        assert_eq!(read(&octets(NEW_FAMILY), another), None);
        assert_eq!(read(&octets(INTERFACE), station), Some(3));
        assert_eq!(read(&octets(P2P_DEVICE), station), None);
        assert_eq!(read(&octets(SCANNED), associated), Some(ONE));
        assert_eq!(read(&octets(NEIGHBOUR), associated), None);
        assert_eq!(read(&octets(SCANNED), signal::of_scanned), Some(-30));
        assert_eq!(read(&octets(NEIGHBOUR), signal::of_scanned), None);
        let change = |m: &Message<'_>| change(m, FAMILY);
        assert_eq!(read(&octets(CONNECTED), change), Some((3, Some(ONE))));
        assert_eq!(read(&octets(DISCONNECTED), change), Some((3, None)));
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn what_failed_or_is_of_another_family_changes_nothing() {
        let change = |m: &Message<'_>| change(m, FAMILY);
        let mut refused = octets(CONNECTED);
        // Its status.
        refused[52] = 1;
        assert_eq!(read(&refused, change), None);
        let mut roamed = octets(CONNECTED);
        // With no status, and the last octet of the access point.
        (roamed[16], roamed[45], roamed[50]) = (ROAM, 1, 99);
        assert_eq!(read(&roamed, change), Some((3, Some(OTHER))));
        let mut others = octets(DISCONNECTED);
        others[4] += 1;
        assert_eq!(read(&others, change), None);
    }

    #[test]
    fn of_an_access_point_with_several_links_the_whole_counts() {
        let attribute = |kind: u16, value: &[u8]| {
            let length = (value.len() as u16 + 4).to_ne_bytes();
            let mut octets = [&length[..], &kind.to_ne_bytes(), value].concat();
            octets.resize(octets.len().next_multiple_of(4), 0);
            octets
        };
        let scanned = [
            attribute(BSS_BSSID, &ONE),
            attribute(BSS_STATUS, &BSS_STATUS_ASSOCIATED.to_ne_bytes()),
            attribute(BSS_MLD_ADDR, &OTHER),
        ];
        let payload = [
            &header(NEW_SCAN_RESULTS)[..],
            &attribute(ATTR_BSS, &scanned.concat()),
        ]
        .concat();
        let message = Message {
            kind: 32,
            flags: 0,
            sequence: 0,
            port: 0,
            payload: &payload,
        };
        assert_eq!(associated(&message), Some(OTHER));
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_panic(
            payload in prop::collection::vec(any::<u8>(), 0..96),
            command: u8,
        ) {
            let mut payload = payload;
            if let Some(first) = payload.first_mut() {
                *first = command;
            }
            for kind in [FAMILY.id, generic::CONTROLLER] {
                let message = Message { kind, flags: 0, sequence: 0, port: 0, payload: &payload };
                let _ = (is_new_family(&message), change(&message, FAMILY));
                let _ = (station(&message), associated(&message));
            }
        }
    }
}
