use super::naive::{ACK, FIN, Ip, PUSH, Tcp, payload};
use crate::tun::coalesce::Coalescer;
use crate::tun::frame::Segments;
use crate::tun::segments::cut;
use crate::tun::tunnels::AdapterId;
use proptest::prelude::*;
use std::ops::Range;

const ADAPTER: AdapterId = AdapterId(1);

/// What the network stack makes of the frames: for each its packets, cut again where they were put
/// together.
fn frames(packets: &[Vec<u8>]) -> Vec<Vec<Vec<u8>>> {
    let mut slab = Vec::new();
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for packet in packets {
        // Something stands between packets.
        slab.extend([4, 4, 0, 0]);
        ranges.push(slab.len()..slab.len() + packet.len());
        slab.extend(packet);
    }
    let mut coalescer = Coalescer::default();
    // Memory of an earlier batch is used again.
    for _ in 0..2 {
        coalescer.clear();
        for range in &ranges {
            coalescer.push(&slab, ADAPTER, range.clone());
        }
    }
    let frames = coalescer.finish(&mut slab).to_vec();
    let cut_again = |frame: &crate::tun::coalesce::Frame| {
        let parts = frame.parts.iter().map(|part| slab[part.clone()].to_vec());
        let mut packet = parts.collect::<Vec<_>>().concat();
        if frame.header.segments == Segments::Itself {
            return vec![packet];
        }
        let mut heads = Vec::new();
        let cut = cut(frame.header, &mut packet, &mut heads).unwrap();
        assert_eq!(cut.count(), frame.parts.len());
        let one = |at| [&heads[cut.head(at)][4..], &packet[cut.payload(at)]].concat();
        (0..cut.count()).map(one).collect()
    };
    frames.iter().map(cut_again).collect()
}

fn sizes(packets: &[Vec<u8>]) -> Vec<usize> {
    frames(packets).iter().map(Vec::len).collect()
}

/// Segments of one connection, one behind the other.
fn stream(tcp: &Tcp, first_id: u16, lengths: &[usize]) -> Vec<Vec<u8>> {
    let mut sequence = tcp.sequence;
    let mut out = Vec::new();
    for (at, len) in lengths.iter().enumerate() {
        let ip = Ip {
            id: first_id.wrapping_add(at as u16),
            ..Ip::default()
        };
        let segment = Tcp {
            sequence,
            ..tcp.clone()
        };
        out.push(ip.tcp(&segment, &payload(*len, at as u8)));
        sequence = sequence.wrapping_add(*len as u32);
    }
    out
}

#[test]
fn a_stream_becomes_one_packet_and_a_short_segment_ends_it() {
    let packets = stream(
        &Tcp::default(),
        65_534,
        &[1000, 1000, 1000, 400, 1000, 1000],
    );
    assert_eq!(sizes(&packets), [4, 2]);
    assert_eq!(frames(&packets).concat(), packets);
}

#[test]
fn no_packet_becomes_longer_than_its_length_field_can_say() {
    let packets = stream(&Tcp::default(), 0, &[1400; 100]);
    assert_eq!(sizes(&packets), [46, 46, 8]);
}

#[test]
fn two_connections_do_not_disturb_each_other() {
    let other = Tcp {
        ports: [40_001, 443],
        ..Tcp::default()
    };
    let (one, two) = (
        stream(&Tcp::default(), 5, &[500; 6]),
        stream(&other, 9, &[700; 6]),
    );
    let mixed: Vec<_> = one
        .iter()
        .zip(&two)
        .flat_map(|(a, b)| [a.clone(), b.clone()])
        .collect();
    assert_eq!(frames(&mixed), [one, two]);
}

#[test]
fn what_differs_in_anything_but_its_place_in_the_stream_is_left_alone() {
    let ip = Ip::default();
    let first = Tcp::default();
    let second = Tcp {
        sequence: first.sequence.wrapping_add(100),
        ..first.clone()
    };
    let next = Ip {
        id: 8,
        ..ip.clone()
    };
    let data = payload(100, 0);
    let start = ip.tcp(&first, &data);
    let follows = |ip: &Ip, tcp: &Tcp| sizes(&[start.clone(), ip.tcp(tcp, &data)]) == [2];
    assert!(follows(&next, &second));
    // An identification that is always the same, where it says nothing.
    assert!(follows(&ip, &second));
    for (what, ip, tcp) in [
        (
            "type of service",
            Ip {
                tos: 1,
                ..next.clone()
            },
            second.clone(),
        ),
        (
            "hop limit",
            Ip {
                ttl: 63,
                ..next.clone()
            },
            second.clone(),
        ),
        (
            "identification",
            Ip {
                id: 10,
                ..next.clone()
            },
            second.clone(),
        ),
        (
            "Don't Fragment",
            Ip {
                dont_fragment: false,
                ..next.clone()
            },
            second.clone(),
        ),
        (
            "options",
            Ip {
                options: vec![1; 4],
                ..next.clone()
            },
            second.clone(),
        ),
        (
            "sender",
            Ip {
                source: [9; 4],
                ..next.clone()
            },
            second.clone(),
        ),
        (
            "sequence",
            next.clone(),
            Tcp {
                sequence: 5,
                ..second.clone()
            },
        ),
        (
            "acknowledgement",
            next.clone(),
            Tcp {
                acknowledged: 100,
                ..second.clone()
            },
        ),
        (
            "window",
            next.clone(),
            Tcp {
                window: 1,
                ..second.clone()
            },
        ),
        (
            "options of TCP",
            next.clone(),
            Tcp {
                options: vec![1; 4],
                ..second.clone()
            },
        ),
        (
            "end",
            next.clone(),
            Tcp {
                flags: ACK | FIN,
                ..second.clone()
            },
        ),
        (
            "urgent",
            next.clone(),
            Tcp {
                flags: ACK | 0x20,
                ..second.clone()
            },
        ),
    ] {
        assert!(!follows(&ip, &tcp), "{what}");
    }
    let pushed = ip.tcp(
        &Tcp {
            flags: ACK | PUSH,
            ..first.clone()
        },
        &data,
    );
    assert_eq!(sizes(&[pushed, next.tcp(&second, &data)]), [1, 1]);
}

/// Nobody looks at the checksum of what was put together.
#[test]
fn a_wrong_checksum_stays_wrong() {
    for damaged in 0..3 {
        let mut packets = stream(&Tcp::default(), 1, &[300; 3]);
        *packets[damaged].last_mut().unwrap() ^= 1;
        let got = frames(&packets);
        assert_eq!(got.concat(), packets);
        let alone = got.iter().find(|frame| frame.contains(&packets[damaged]));
        assert_eq!(alone.unwrap().len(), 1, "{damaged}");
    }
}

#[test]
fn nothing_is_overtaken_within_a_connection() {
    let data = stream(&Tcp::default(), 1, &[300; 4]);
    let end = Ip {
        id: 5,
        ..Ip::default()
    }
    .tcp(
        &Tcp {
            sequence: Tcp::default().sequence.wrapping_add(600),
            flags: ACK | FIN,
            ..Tcp::default()
        },
        &[],
    );
    let packets = [&data[..2], &[end], &data[2..]].concat();
    let got = frames(&packets);
    assert_eq!(got.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 2]);
    assert_eq!(got.concat(), packets);
}

#[derive(Clone, Debug)]
struct Step {
    connection: u16,
    len: usize,
    flags: u8,
    skip: bool,
    damage: bool,
    udp: bool,
}

fn step() -> impl Strategy<Value = Step> {
    let flags = prop::sample::select(vec![ACK, ACK, ACK, ACK, ACK | PUSH, ACK | FIN, 2]);
    let len = prop::sample::select(vec![0_usize, 1, 99, 100, 100, 100, 101, 1400]);
    let rare = || prop::bool::weighted(0.05);
    (0_u16..20, len, flags, rare(), rare(), rare()).prop_map(
        |(connection, len, flags, skip, damage, udp)| Step {
            connection: connection / 6,
            len,
            flags,
            skip,
            damage,
            udp,
        },
    )
}

proptest! {
    #[test]
    fn whatever_comes_every_packet_goes_on_once_and_in_order(steps in prop::collection::vec(step(), 0..80)) {
        let mut streams = [(0_u32, 0_u16); 4];
        let mut packets = Vec::new();
        for (at, step) in steps.iter().enumerate() {
            let (sequence, id) = &mut streams[usize::from(step.connection)];
            let ip = Ip { id: *id, ..Ip::default() };
            let ports = [step.connection, 80];
            let data = payload(step.len, at as u8);
            let tcp = Tcp { ports, sequence: *sequence, flags: step.flags, ..Tcp::default() };
            let mut packet = if step.udp { ip.udp(ports, &data) } else { ip.tcp(&tcp, &data) };
            if step.damage {
                let last = packet.len() - 1;
                packet[last] ^= 0x55;
            }
            packets.push(packet);
            *sequence = sequence.wrapping_add(step.len as u32 + u32::from(step.skip));
            *id = id.wrapping_add(1);
        }
        let got = frames(&packets).concat();
        let port = |packet: &Vec<u8>| packet[20..22].to_vec();
        for connection in 0..4_u16 {
            let of = |all: &[Vec<u8>]| -> Vec<Vec<u8>> {
                let mine = |packet: &&Vec<u8>| port(packet) == connection.to_be_bytes();
                all.iter().filter(mine).cloned().collect()
            };
            prop_assert_eq!(of(&got), of(&packets));
        }
        prop_assert_eq!(got.len(), packets.len());
    }
}
