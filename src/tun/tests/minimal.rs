//! Minimal encapsulation, beside that of the wire room, which wraps whole packets one by one.

use super::forwarding::{ADAPTER, HOME, forwarder, send};
use super::naive::{DESTINATION, Ip, Tcp, options, payload};
use crate::mobile_ip::Via;
use crate::mobile_ip::wire::TunnelKind;
use crate::mobile_ip::wire::encapsulation::{decapsulate, encapsulate};
use crate::tun::forwarder::Forwarder;
use crate::tun::frame::{FrameHeader, Segments};
use crate::tun::tunnels::{Binding, Congestion, MINIMAL_MTU, Origin, Outer, Side, Tunnel};
use proptest::prelude::*;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

const AGENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const CARE_OF: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);

fn outer(side: Side) -> Outer {
    let (local, remote) = match side {
        Side::MobileNode => (CARE_OF, AGENT),
        Side::HomeAgent => (AGENT, CARE_OF),
    };
    Outer::Minimal { local, remote }
}

fn end(side: Side) -> Forwarder {
    forwarder(Binding {
        side,
        home: HOME,
        networks: Vec::new(),
        tunnels: vec![Tunnel {
            via: Via::Routed,
            outer: outer(side),
            mtu: MINIMAL_MTU,
            reverse: true,
            congestion: Congestion::Normal,
        }],
        receives: Vec::new(),
    })
}

fn origin(side: Side) -> Origin {
    Origin {
        via: Via::Routed,
        outer: outer(side),
    }
}

/// What is left of the adapter's packet, as outer packets.
fn sent(forwarder: &mut Forwarder, header: FrameHeader, packet: &[u8]) -> Vec<Vec<u8>> {
    let sent = send(forwarder, Instant::now(), header, packet);
    assert!(forwarder.outbox.messages.iter().all(|it| it.count == 1));
    sent.into_iter().map(|(_, datagram)| datagram).collect()
}

fn received(forwarder: &mut Forwarder, origin: &Origin, datagram: &[u8]) -> Option<Vec<u8>> {
    // In the midst of others.
    let mut slab = [&[0xee; 5], datagram, &[0xee; 5]].concat();
    forwarder.receive_ip(origin, &mut slab, 5..5 + datagram.len());
    let frame = forwarder.frames.finish(&mut slab).first().cloned();
    forwarder.frames.clear();
    frame.map(|frame| slab[frame.parts[0].clone()].to_vec())
}

fn back() -> Ip {
    Ip {
        source: DESTINATION,
        destination: HOME.octets(),
        ..Ip::default()
    }
}

proptest! {
    #[test]
    fn what_is_wrapped_and_unwrapped_is_as_the_standard_has_it(
        (tos, id, dont_fragment, ttl) in (any::<u8>(), 1..=u16::MAX, any::<bool>(), 1..=u8::MAX),
        options in options(10),
        len in 0..1400_usize,
        from_agent in any::<bool>(),
    ) {
        let (there, here) = if from_agent { (AGENT.octets(), HOME.octets()) } else { (DESTINATION, HOME.octets()) };
        let ip = Ip { tos, id, dont_fragment, ttl, options, source: there, destination: here };
        let packet = ip.packet(99, &payload(len, tos));
        let mut agent = end(Side::HomeAgent);
        let wrapped = sent(&mut agent, FrameHeader::PLAIN, &packet);
        let plain = encapsulate(TunnelKind::Minimal, AGENT, CARE_OF, 0, &packet).unwrap();
        prop_assert_eq!(&wrapped, &[plain]);
        prop_assert_eq!(wrapped[0].len(), packet.len() + if from_agent { 8 } else { 12 });
        let got = received(&mut end(Side::MobileNode), &origin(Side::MobileNode), &wrapped[0]);
        prop_assert_eq!(got, Some(packet));
    }

    #[test]
    fn segments_are_cut_and_each_is_wrapped(
        len in 1..9000_usize,
        size in 100..1400_u16,
        words in options(5),
        tcp_options in options(3),
    ) {
        let ip = Ip { options: words, ..Ip::default() };
        let tcp = Tcp { options: tcp_options, ..Tcp::default() };
        let whole = ip.tcp(&tcp, &payload(len, 3));
        let header = FrameHeader { partial: None, segments: Segments::Tcp(size) };
        let mut mobile = end(Side::MobileNode);
        let wrapped = sent(&mut mobile, header, &whole);
        prop_assert_eq!(wrapped.len(), len.div_ceil(size.into()));
        let mut carried = Vec::new();
        let mut agent = end(Side::HomeAgent);
        for datagram in &wrapped {
            let plain = decapsulate(datagram).unwrap();
            prop_assert_eq!((plain.source, plain.destination), (CARE_OF, AGENT));
            let got = received(&mut agent, &origin(Side::HomeAgent), datagram);
            prop_assert_eq!(got.as_ref(), Some(&plain.packet));
            let headers = whole.len() - len;
            carried.extend_from_slice(&plain.packet[headers..]);
        }
        prop_assert_eq!(carried, payload(len, 3));
    }

    #[test]
    fn what_was_altered_on_the_way_is_read_as_the_wire_room_reads_it_or_not_at_all(
        changes in prop::collection::vec((20..40_usize, any::<u8>()), 1..4),
        cut in 0..49_usize,
    ) {
        let packet = Ip::default().udp([1, 2], b"some data");
        let mut wrapped = encapsulate(TunnelKind::Minimal, CARE_OF, AGENT, 0, &packet).unwrap();
        for (at, octet) in changes {
            wrapped[at] = octet;
        }
        let mut agent = end(Side::HomeAgent);
        let got = received(&mut agent, &origin(Side::HomeAgent), &wrapped);
        if let Some(got) = got {
            prop_assert_eq!(got, decapsulate(&wrapped).unwrap().packet);
        }
        wrapped.truncate(cut);
        prop_assert_eq!(received(&mut agent, &origin(Side::HomeAgent), &wrapped), None);
    }
}

#[test]
fn fragments_go_in_ip_in_ip_and_come_out_of_it() {
    let mut fragment = Ip {
        tos: 0x02,
        dont_fragment: false,
        ..back()
    }
    .packet(17, &payload(1460, 0));
    fragment[6] = 0x20;
    crate::tun::ipv4::seal(&mut fragment[..20]);
    let mut agent = end(Side::HomeAgent);
    let wrapped = sent(&mut agent, FrameHeader::PLAIN, &fragment);
    assert_eq!(wrapped.len(), 1, "1480 octets, and 20 of the outer header");
    let plain = decapsulate(&wrapped[0]).unwrap();
    assert_eq!((plain.kind, &plain.packet), (TunnelKind::IpIp, &fragment));
    let mut mobile = end(Side::MobileNode);
    let got = received(&mut mobile, &origin(Side::MobileNode), &wrapped[0]);
    assert_eq!(got, Some(fragment.clone()));
    // Routers told of congestion, in the outer header.
    let mut marked = wrapped[0].clone();
    marked[1] |= 3;
    let got = received(&mut mobile, &origin(Side::MobileNode), &marked).unwrap();
    assert_eq!(got[1], 0x03);
}

#[test]
fn what_is_too_large_becomes_fragments_that_fit_with_their_header() {
    let mut agent = end(Side::HomeAgent);
    let free = Ip {
        dont_fragment: false,
        ..back()
    };
    let fits = free.udp([1, 2], &payload(usize::from(MINIMAL_MTU) - 28, 0));
    assert_eq!(sent(&mut agent, FrameHeader::PLAIN, &fits)[0].len(), 1500);
    let packet = free.udp([1, 2], &payload(3000, 0));
    let wrapped = sent(&mut agent, FrameHeader::PLAIN, &packet);
    let lengths: Vec<_> = wrapped.iter().map(Vec::len).collect();
    assert_eq!(lengths, [1496, 1496, 136]);
    for datagram in &wrapped {
        assert_eq!(decapsulate(datagram).unwrap().kind, TunnelKind::IpIp);
    }
    // A fragment that is too large is cut again.
    let mut fragment = free.packet(17, &payload(1468, 0));
    fragment[6] = 0x20;
    crate::tun::ipv4::seal(&mut fragment[..20]);
    assert_eq!(sent(&mut agent, FrameHeader::PLAIN, &fragment).len(), 2);
    let fixed = back().udp([1, 2], &payload(1468, 0));
    assert!(sent(&mut agent, FrameHeader::PLAIN, &fixed).is_empty());
    let (_, answer) = &agent.answers[0];
    assert_eq!(answer[26..28], MINIMAL_MTU.to_be_bytes());
}

/// RFC 3024 §4.3.2.
#[test]
fn only_the_tunnels_own_ends_and_the_home_address_get_through() {
    let mut agent = end(Side::HomeAgent);
    let own = Ip::default().udp([1, 2], b"data");
    let foreign = Ip {
        source: [10, 20, 0, 6],
        ..Ip::default()
    }
    .udp([1, 2], b"data");
    let wrapped =
        |packet: &[u8]| encapsulate(TunnelKind::Minimal, CARE_OF, AGENT, 0, packet).unwrap();
    let elsewhere = Origin {
        via: Via::Routed,
        outer: Outer::Minimal {
            local: AGENT,
            remote: Ipv4Addr::new(203, 0, 113, 99),
        },
    };
    let by_link = Origin {
        via: Via::Link(crate::mobile_ip::LinkId(2)),
        ..origin(Side::HomeAgent)
    };
    for (what, origin, packet) in [
        ("another inner source", origin(Side::HomeAgent), &foreign),
        ("another outer source", elsewhere, &own),
        ("another way", by_link, &own),
    ] {
        assert_eq!(
            received(&mut agent, &origin, &wrapped(packet)),
            None,
            "{what}"
        );
    }
    assert_eq!(agent.counts.dropped.not_admitted, 3);
    let here = origin(Side::HomeAgent);
    assert_eq!(
        received(&mut agent, &here, &wrapped(&own)),
        Some(own.clone())
    );
    // No hops are left, and neither is a checksum right.
    let mut late = wrapped(&own);
    late[8] = 0;
    let mut broken = wrapped(&own);
    broken[22] ^= 1;
    // Somebody has cut it, and the kernel has not put it together.
    let mut torn = wrapped(&own);
    torn[6] = 0x20;
    let mut other = wrapped(&own);
    other[9] = 47;
    for malformed in [&late, &broken, &torn, &other] {
        assert_eq!(received(&mut agent, &here, malformed), None);
    }
    assert_eq!(agent.counts.dropped.malformed, 4);
}

#[test]
fn what_a_path_turned_out_to_carry_is_told_with_the_packet_as_it_was() {
    let now = Instant::now();
    for segments in [Segments::Itself, Segments::Tcp(1300)] {
        let mut mobile = end(Side::MobileNode);
        let packet = Ip::default().tcp(&Tcp::default(), &payload(1300, 0));
        let header = FrameHeader {
            partial: None,
            segments,
        };
        let slab = [&[0xee; 3], &header.encode(40)[..], &packet].concat();
        assert_eq!(send(&mut mobile, now, header, &packet).len(), 1);
        let message = mobile.outbox.messages[0].clone();
        mobile.learn_path_mtu(now, &message, 1280, &slab);
        let [(ADAPTER, answer)] = &mobile.answers[..] else {
            panic!("{:?}", mobile.answers);
        };
        // Twelve octets of the tunnel's.
        assert_eq!(answer[26..28], 1268_u16.to_be_bytes());
        assert_eq!(answer[28..], packet[..28], "header and eight octets");
        let soon = now + Duration::from_secs(599);
        assert!(send(&mut mobile, soon, FrameHeader::PLAIN, &packet).is_empty());
    }
}
