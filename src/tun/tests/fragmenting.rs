use super::naive::{DESTINATION, Ip, SOURCE, payload};
use crate::mobile_ip::wire::encapsulation::checksum;
use crate::tun::fragments::{LEAST_MTU, fragments, too_big};
use crate::tun::ipv4::Ipv4;
use proptest::prelude::*;

/// Copied, not copied, no operation.
const OPTIONS: [u8; 12] = [0x83, 3, 4, 0x07, 4, 0, 0, 1, 0x94, 4, 0, 0];

proptest! {
    #[test]
    fn fragments_fit_and_come_to_the_whole_again(
        len in 1_usize..4000,
        mtu in LEAST_MTU..1500,
        with_options in any::<bool>(),
        twice in any::<bool>(),
    ) {
        let data = payload(len, 5);
        let options = if with_options { OPTIONS.to_vec() } else { Vec::new() };
        let ip = Ip { dont_fragment: false, options, ..Ip::default() };
        let packet = ip.packet(17, &data);
        let mut all = fragments(Ipv4::parse(&packet).unwrap(), mtu);
        if twice {
            let smaller = |packet: &Vec<u8>| fragments(Ipv4::parse(packet).unwrap(), LEAST_MTU);
            all = all.iter().flat_map(smaller).collect();
        }
        let mut put_together = vec![None; data.len()];
        let last = all.len() - 1;
        for (at, fragment) in all.iter().enumerate() {
            prop_assert!(fragment.len() <= usize::from(mtu));
            let parsed = Ipv4::parse(fragment).unwrap();
            prop_assert!(parsed.is_sound());
            prop_assert_eq!(parsed.id(), 7);
            let field = parsed.fragment_field();
            prop_assert_eq!(field & 0x2000 != 0, at < last);
            let offset = usize::from(field & 0x1fff) * 8;
            for (n, octet) in parsed.payload.iter().enumerate() {
                prop_assert_eq!(put_together[offset + n].replace(*octet), None);
            }
            if with_options && at > 0 {
                let copied = [0x83, 3, 4, 0x94, 4, 0, 0, 0];
                prop_assert_eq!(&parsed.header[20..], &copied[..]);
            }
        }
        let put_together: Option<Vec<u8>> = put_together.into_iter().collect();
        prop_assert_eq!(put_together, Some(data));
    }
}

#[test]
fn whoever_forbids_fragments_is_told_what_fits() {
    let packet = Ip::default().udp([1000, 53], &payload(1500, 0));
    let answer = too_big(Ipv4::parse(&packet).unwrap(), 1400).unwrap();
    let parsed = Ipv4::parse(&answer).unwrap();
    assert_eq!(checksum(parsed.header), 0);
    assert_eq!(
        (parsed.source().octets(), parsed.destination().octets()),
        (DESTINATION, SOURCE)
    );
    assert_eq!(checksum(parsed.payload), 0);
    assert_eq!(parsed.payload[..2], [3, 4]);
    assert_eq!(parsed.payload[4..8], [0, 0, 0x05, 0x78]);
    assert_eq!(parsed.payload[8..], packet[..28]);
}

/// RFC 1122 §3.2.2.
#[test]
fn errors_later_fragments_and_what_is_for_many_are_not_answered() {
    let ip = Ip::default();
    let answered = |packet: &[u8]| too_big(Ipv4::parse(packet).unwrap(), 1000).is_some();
    let echo = ip.packet(1, &[8, 0, 0, 0, 0, 0, 0, 0]);
    let error = ip.packet(1, &[3, 1, 0, 0, 0, 0, 0, 0]);
    assert!(answered(&echo) && !answered(&error));
    let mut later = ip.udp([1, 2], b"data");
    later[7] = 1;
    assert!(!answered(&later));
    for (source, destination) in [
        (SOURCE, [224, 0, 0, 1]),
        (SOURCE, [255; 4]),
        ([0; 4], DESTINATION),
        ([224, 0, 0, 1], DESTINATION),
    ] {
        let ip = Ip {
            source,
            destination,
            ..Ip::default()
        };
        assert!(!answered(&ip.udp([1, 2], b"data")));
    }
}
