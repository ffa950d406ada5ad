use super::naive::{DESTINATION, Ip, SOURCE, Tcp, payload};
use crate::mobile_ip::Via;
use crate::tun::forwarder::{Forwarder, Handling};
use crate::tun::frame::{self, FrameHeader, Segments};
use crate::tun::outbox::Message;
use crate::tun::tunnels::{AdapterId, Binding, Congestion, Origin, Outer, Side, Tunnel};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

pub(super) const ADAPTER: AdapterId = AdapterId(3);
pub(super) const HOME: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 5);
pub(super) const AGENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 2), 434);
pub(super) const MOBILE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 10), 50_000);

fn tunnel(local: SocketAddrV4, remote: SocketAddrV4) -> Tunnel {
    Tunnel {
        via: Via::Routed,
        outer: Outer::Udp { local, remote },
        mtu: 1400,
        reverse: true,
        congestion: Congestion::Normal,
    }
}

fn binding(side: Side) -> Binding {
    let (local, remote) = match side {
        Side::MobileNode => (MOBILE, AGENT),
        Side::HomeAgent => (AGENT, MOBILE),
    };
    Binding {
        side,
        home: HOME,
        networks: Vec::new(),
        tunnels: vec![tunnel(local, remote)],
        receives: Vec::new(),
    }
}

pub(super) fn forwarder(binding: Binding) -> Forwarder {
    let mut forwarder = Forwarder::default();
    forwarder.tunnels.put(ADAPTER, binding);
    forwarder
}

/// Reads a packet from the adapter; the datagrams, with the type of service of their outer header.
pub(super) fn send(
    forwarder: &mut Forwarder,
    now: Instant,
    header: FrameHeader,
    packet: &[u8],
) -> Vec<(u8, Vec<u8>)> {
    let mut slab = [&[0xee; 3], &header.encode(40)[..], packet].concat();
    let end = slab.len();
    forwarder.outbox.clear();
    forwarder.send(now, ADAPTER, &mut slab, 3..end);
    let mut out = Vec::new();
    for message in &forwarder.outbox.messages {
        let parts = &forwarder.outbox.parts[message.parts.clone()];
        let octets: Vec<_> = parts
            .iter()
            .map(|part| forwarder.outbox.octets(part, &slab))
            .collect();
        let octets = octets.concat();
        assert_eq!(octets.len(), message.octets());
        let datagrams = octets.chunks(message.size);
        assert_eq!(datagrams.len(), message.count);
        out.extend(datagrams.map(|datagram| (message.tos, datagram.to_vec())));
    }
    out
}

fn receive(
    forwarder: &mut Forwarder,
    origin: &Origin,
    tos: u8,
    datagram: &[u8],
) -> (Handling, Vec<Vec<u8>>) {
    let mut slab = datagram.to_vec();
    let handling = forwarder.receive(origin, tos, &mut slab, 0..datagram.len());
    let frames = forwarder.frames.finish(&mut slab).to_vec();
    forwarder.frames.clear();
    let packets = frames.iter().map(|frame| {
        assert_eq!(frame.adapter, ADAPTER);
        slab[frame.parts[0].clone()].to_vec()
    });
    (handling, packets.collect())
}

fn origin(local: SocketAddrV4, remote: SocketAddrV4) -> Origin {
    Origin {
        via: Via::Routed,
        outer: Outer::Udp { local, remote },
    }
}

fn in_tunnel(packet: &[u8]) -> Vec<u8> {
    [&[4, 4, 0, 0], packet].concat()
}

#[test]
fn a_packet_of_the_mobile_node_comes_out_at_its_home_agent_and_the_answer_at_its_own_end() {
    let now = Instant::now();
    let mut mobile = forwarder(binding(Side::MobileNode));
    let mut agent = forwarder(binding(Side::HomeAgent));
    let there = Ip {
        tos: 0xba,
        ..Ip::default()
    }
    .udp([1, 2], b"question");
    let sent = send(&mut mobile, now, FrameHeader::PLAIN, &there);
    assert_eq!(sent, [(0xba, in_tunnel(&there))]);
    let got = receive(&mut agent, &origin(AGENT, MOBILE), 0xba, &sent[0].1);
    assert_eq!(got, (Handling::Carried, vec![there]));
    let back = Ip {
        source: DESTINATION,
        destination: SOURCE,
        ..Ip::default()
    };
    let back = back.udp([2, 1], b"answer");
    let sent = send(&mut agent, now, FrameHeader::PLAIN, &back);
    let got = receive(&mut mobile, &origin(MOBILE, AGENT), 0, &sent[0].1);
    assert_eq!(got, (Handling::Carried, vec![back.clone()]));
    assert_eq!(agent.counts.sent.octets, back.len() as u64);
    assert_eq!(mobile.counts.received.packets, 1);
}

/// RFC 3024 §4.3.2, RFC 3519 §4.3.
#[test]
fn only_the_tunnels_own_ends_and_the_home_address_get_through() {
    let mut agent = forwarder(binding(Side::HomeAgent));
    let own = Ip::default().udp([1, 2], b"data");
    let foreign = Ip {
        source: [10, 20, 0, 6],
        ..Ip::default()
    }
    .udp([1, 2], b"data");
    let elsewhere = SocketAddrV4::new(*MOBILE.ip(), 50_001);
    let other = SocketAddrV4::new(*AGENT.ip(), 435);
    let by_link = Origin {
        via: Via::Link(crate::mobile_ip::LinkId(2)),
        ..origin(AGENT, MOBILE)
    };
    for (what, origin, packet) in [
        ("another inner source", origin(AGENT, MOBILE), &foreign),
        ("another outer source", origin(AGENT, elsewhere), &own),
        ("another port of ours", origin(other, MOBILE), &own),
        ("another way", by_link, &own),
    ] {
        let got = receive(&mut agent, &origin, 0, &in_tunnel(packet));
        assert_eq!(got, (Handling::Carried, vec![]), "{what}");
    }
    assert_eq!(agent.counts.dropped.not_admitted, 4);
    // No reverse tunnel was granted.
    let mut forward_only = binding(Side::HomeAgent);
    forward_only.tunnels[0].reverse = false;
    agent.tunnels.put(ADAPTER, forward_only);
    assert!(
        receive(&mut agent, &origin(AGENT, MOBILE), 0, &in_tunnel(&own))
            .1
            .is_empty()
    );
    agent.tunnels.put(ADAPTER, binding(Side::HomeAgent));
    assert!(
        !receive(&mut agent, &origin(AGENT, MOBILE), 0, &in_tunnel(&own))
            .1
            .is_empty()
    );
    agent.tunnels.remove(Side::HomeAgent, HOME);
    assert!(
        receive(&mut agent, &origin(AGENT, MOBILE), 0, &in_tunnel(&own))
            .1
            .is_empty()
    );

    let mut mobile = forwarder(binding(Side::MobileNode));
    let to_us = Ip {
        source: DESTINATION,
        destination: SOURCE,
        ..Ip::default()
    };
    let to_many = Ip {
        destination: [224, 0, 0, 5],
        ..to_us.clone()
    };
    let astray = Ip {
        destination: [10, 20, 0, 6],
        ..to_us.clone()
    };
    for (ip, comes_out) in [(to_us, 1), (to_many, 1), (astray, 0)] {
        let packet = in_tunnel(&ip.udp([1, 2], b"data"));
        let got = receive(&mut mobile, &origin(MOBILE, AGENT), 0, &packet);
        assert_eq!(got.1.len(), comes_out, "{ip:?}");
    }
}

#[test]
fn out_of_the_tunnel_before_comes_as_much_and_nothing_goes_in() {
    let before = SocketAddrV4::new(*MOBILE.ip(), 50_001);
    let packet = Ip::default().udp([1, 2], b"data");
    for side in [Side::HomeAgent, Side::MobileNode] {
        let now_and_before = match side {
            Side::HomeAgent => [(AGENT, MOBILE), (AGENT, before)],
            Side::MobileNode => [(MOBILE, AGENT), (before, AGENT)],
        };
        let [_, (local, remote)] = now_and_before;
        let mut moved = forwarder(Binding {
            receives: vec![tunnel(local, remote)],
            ..binding(side)
        });
        let coming = match side {
            Side::HomeAgent => packet.clone(),
            Side::MobileNode => Ip {
                source: DESTINATION,
                destination: SOURCE,
                ..Ip::default()
            }
            .udp([1, 2], b"data"),
        };
        for (local, remote) in now_and_before {
            let got = receive(&mut moved, &origin(local, remote), 0, &in_tunnel(&coming));
            assert_eq!(got.1.len(), 1, "{side:?} from {remote} to {local}");
        }
        moved.tunnels.put(ADAPTER, binding(side));
        let got = receive(&mut moved, &origin(local, remote), 0, &in_tunnel(&coming));
        assert!(got.1.is_empty(), "{side:?}");
    }
}

#[test]
fn what_is_nobodys_goes_nowhere() {
    let now = Instant::now();
    let mut mobile = forwarder(binding(Side::MobileNode));
    let foreign = Ip {
        source: [10, 20, 0, 6],
        ..Ip::default()
    }
    .udp([1, 2], b"data");
    assert!(send(&mut mobile, now, FrameHeader::PLAIN, &foreign).is_empty());
    let mut agent = forwarder(binding(Side::HomeAgent));
    assert!(send(&mut agent, now, FrameHeader::PLAIN, &foreign).is_empty());
    assert_eq!(agent.counts.dropped.no_tunnel, 1);
    assert!(send(&mut agent, now, FrameHeader::PLAIN, &[0x60; 60]).is_empty());
    assert!(send(&mut agent, now, FrameHeader::PLAIN, &[0x41; 60]).is_empty());
    let dropped = agent.counts.dropped;
    assert_eq!((dropped.other_version, dropped.malformed), (1, 1));
}

#[test]
fn the_longest_prefix_of_mobile_networks_decides_and_comes_and_goes_with_its_binding() {
    let now = Instant::now();
    let mut agent = Forwarder::default();
    let other = Ipv4Addr::new(10, 20, 0, 7);
    let elsewhere = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 99), 434);
    agent.tunnels.put(
        ADAPTER,
        Binding {
            networks: vec!["172.16.0.0/12".parse().unwrap()],
            ..binding(Side::HomeAgent)
        },
    );
    agent.tunnels.put(
        ADAPTER,
        Binding {
            home: other,
            networks: vec!["172.16.9.0/24".parse().unwrap()],
            tunnels: vec![tunnel(AGENT, elsewhere)],
            ..binding(Side::HomeAgent)
        },
    );
    let remote = |agent: &mut Forwarder, destination| {
        let packet = Ip {
            source: DESTINATION,
            destination,
            ..Ip::default()
        }
        .udp([1, 2], b"data");
        send(agent, now, FrameHeader::PLAIN, &packet);
        agent.outbox.messages.first().map(Message::remote)
    };
    assert_eq!(remote(&mut agent, [172, 16, 9, 1]), Some(elsewhere));
    assert_eq!(remote(&mut agent, [172, 16, 8, 1]), Some(MOBILE));
    let inside = Ip {
        source: [172, 16, 9, 1],
        ..Ip::default()
    }
    .udp([1, 2], b"data");
    assert_eq!(
        receive(
            &mut agent,
            &origin(AGENT, elsewhere),
            0,
            &in_tunnel(&inside)
        )
        .1
        .len(),
        1
    );
    assert_eq!(
        receive(&mut agent, &origin(AGENT, MOBILE), 0, &in_tunnel(&inside))
            .1
            .len(),
        0
    );
    agent.tunnels.remove(Side::HomeAgent, other);
    assert_eq!(remote(&mut agent, [172, 16, 9, 1]), Some(MOBILE));
    agent.tunnels.put(ADAPTER, binding(Side::HomeAgent));
    assert_eq!(remote(&mut agent, [172, 16, 9, 1]), None);
}

#[test]
fn each_care_of_address_gets_a_copy() {
    let mut both = binding(Side::HomeAgent);
    let second = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 99), 434);
    both.tunnels.push(tunnel(AGENT, second));
    let mut agent = forwarder(both);
    let packet = Ip {
        source: DESTINATION,
        destination: SOURCE,
        ..Ip::default()
    }
    .tcp(&Tcp::default(), &payload(3000, 0));
    let header = FrameHeader {
        partial: None,
        segments: Segments::Tcp(1000),
    };
    assert_eq!(send(&mut agent, Instant::now(), header, &packet).len(), 6);
    let remotes: Vec<_> = agent.outbox.messages.iter().map(Message::remote).collect();
    assert_eq!(remotes, [MOBILE, second]);
}

/// RFC 6040 §4.2.
#[test]
fn congestion_on_the_way_is_told_to_who_understands_it() {
    let mut agent = forwarder(binding(Side::HomeAgent));
    let origin = origin(AGENT, MOBILE);
    let capable = Ip {
        tos: 0x02,
        ..Ip::default()
    };
    let marked = Ip {
        tos: 0x03,
        ..Ip::default()
    };
    let got = receive(
        &mut agent,
        &origin,
        3,
        &in_tunnel(&capable.udp([1, 2], b"data")),
    );
    assert_eq!(got.1, [marked.udp([1, 2], b"data")]);
    let got = receive(
        &mut agent,
        &origin,
        3,
        &in_tunnel(&Ip::default().udp([1, 2], b"data")),
    );
    assert!(got.1.is_empty());
    assert_eq!(agent.counts.dropped.congested, 1);
    let mut compatible = binding(Side::MobileNode);
    compatible.tunnels[0].congestion = Congestion::Compatible;
    let mut mobile = forwarder(compatible);
    let sent = send(
        &mut mobile,
        Instant::now(),
        FrameHeader::PLAIN,
        &marked.udp([1, 2], b"data"),
    );
    assert_eq!(sent[0].0, 0);
}

#[test]
fn a_packet_that_does_not_fit_is_answered_or_cut_before_it_is_wrapped() {
    let now = Instant::now();
    let mut mobile = forwarder(binding(Side::MobileNode));
    let fixed = Ip::default().udp([1, 2], &payload(1400, 0));
    assert!(send(&mut mobile, now, FrameHeader::PLAIN, &fixed).is_empty());
    let [(ADAPTER, answer)] = &mobile.answers[..] else {
        panic!("{:?}", mobile.answers);
    };
    assert_eq!(answer[20..22], [3, 4]);
    assert_eq!(answer[26..28], 1400_u16.to_be_bytes());
    mobile.answers.clear();
    let free = Ip {
        dont_fragment: false,
        ..Ip::default()
    }
    .udp([1, 2], &payload(1400, 0));
    let sent = send(&mut mobile, now, FrameHeader::PLAIN, &free);
    let lengths: Vec<_> = sent.iter().map(|(_, datagram)| datagram.len()).collect();
    assert_eq!(lengths, [4 + 1396, 4 + 20 + 32]);
    assert!(mobile.answers.is_empty());
}

#[test]
fn what_a_path_turned_out_to_carry_holds_for_ten_minutes_and_is_told_at_once() {
    let now = Instant::now();
    let mut mobile = forwarder(binding(Side::MobileNode));
    let packet = Ip::default().udp([1, 2], &payload(1300, 0));
    let sent = send(&mut mobile, now, FrameHeader::PLAIN, &packet);
    assert_eq!(sent.len(), 1);
    let message = mobile.outbox.messages[0].clone();
    let slab = [&[0; 3 + frame::LEN], &packet[..]].concat();
    let mut slab = slab;
    slab[9..13].copy_from_slice(&[4, 4, 0, 0]);
    mobile.learn_path_mtu(now, &message, 1280, &slab);
    // 20 and 8 octets of the outer header, 4 of the tunnel's.
    let told = |mobile: &Forwarder| {
        mobile
            .answers
            .last()
            .map(|(_, answer)| answer[26..28].to_vec())
    };
    assert_eq!(told(&mobile), Some(1248_u16.to_be_bytes().to_vec()));
    // A renewed binding is the same path.
    mobile.tunnels.put(ADAPTER, binding(Side::MobileNode));
    let soon = now + Duration::from_secs(599);
    assert!(send(&mut mobile, soon, FrameHeader::PLAIN, &packet).is_empty());
    assert_eq!(mobile.answers.len(), 2);
    let later = now + Duration::from_secs(601);
    assert_eq!(
        send(&mut mobile, later, FrameHeader::PLAIN, &packet).len(),
        1
    );
}

#[test]
fn where_segments_are_not_taken_each_datagram_is_a_message() {
    let now = Instant::now();
    let mut mobile = forwarder(binding(Side::MobileNode));
    let packet = Ip::default().tcp(&Tcp::default(), &payload(3500, 0));
    let header = FrameHeader {
        partial: None,
        segments: Segments::Tcp(1000),
    };
    let together = send(&mut mobile, now, header, &packet);
    assert_eq!(mobile.outbox.messages.len(), 1);
    let message = mobile.outbox.messages[0].clone();
    let numbers = mobile.outbox.split(&message);
    let counts = numbers.iter().map(|at| mobile.outbox.messages[*at].count);
    assert_eq!(counts.collect::<Vec<_>>(), [1; 4]);
    mobile.send_one_by_one(&message);
    assert_eq!(send(&mut mobile, now, header, &packet), together);
    assert_eq!(mobile.outbox.messages.len(), 4);
}

#[test]
fn messages_and_keepalives_are_the_agents() {
    let mut agent = forwarder(binding(Side::HomeAgent));
    let from = origin(AGENT, SocketAddrV4::new(*MOBILE.ip(), 9));
    assert_eq!(
        receive(&mut agent, &from, 0, &[1, 0, 0, 0]).0,
        Handling::Agents
    );
    assert_eq!(receive(&mut agent, &from, 0, &[]).0, Handling::Agents);
    // Of a tunnel whose port is not known yet, too.
    let echo = Ip {
        destination: AGENT.ip().octets(),
        ..Ip::default()
    };
    let echo = in_tunnel(&echo.packet(1, &[8, 0, 0, 0, 0, 0, 0, 0]));
    assert_eq!(
        receive(&mut agent, &from, 0, &echo),
        (Handling::Agents, vec![])
    );
    // Another encapsulation than was agreed on.
    assert_eq!(
        receive(&mut agent, &from, 0, &[4, 47, 0, 0]).0,
        Handling::Carried
    );

    let mut mobile = forwarder(binding(Side::MobileNode));
    let reply = Ip {
        source: AGENT.ip().octets(),
        destination: SOURCE,
        ..Ip::default()
    };
    let reply = reply.packet(1, &[0, 0, 0, 0, 0, 0, 0, 0]);
    let got = receive(&mut mobile, &origin(MOBILE, AGENT), 0, &in_tunnel(&reply));
    assert_eq!(
        got,
        (Handling::Agents, vec![reply]),
        "and of whoever pings it here"
    );
}
