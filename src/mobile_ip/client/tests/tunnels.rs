//! NAT, keep-alives, proof of being inside, and probes.

use super::super::*;
use super::world::*;
use crate::mobile_ip::LinkId;
use crate::mobile_ip::security::ReplayProtection;
use crate::mobile_ip::wire::{
    Code, Decoded, Extension, Flags, Ipv6Prefix, Ipv6PrefixReply, Ipv6ReplyCode, TunnelKind,
    UdpTunnelReply, UdpTunnelRequest,
};
use crate::net::Ipv6Net;

fn registered_with(settings: Settings, extensions: Vec<Extension>) -> (Node, Home) {
    let mut node = Node::new(settings);
    let mut home = Home::new(node.start, ReplayProtection::default());
    node.input(Input::Attach(co_located(1)));
    answer_with(&mut node, &mut home, extensions);
    (node, home)
}

fn answer_with(node: &mut Node, home: &mut Home, extensions: Vec<Extension>) {
    let payload = node.sent.last().expect("sent").payload.clone();
    let reply = home.reply(node.now, &payload, |request| Answer {
        extensions,
        ..accept(request)
    });
    node.hear(reply.expect("a reply"));
}

fn behind_nat() -> Settings {
    Settings {
        udp: UdpTunnel::WhereTranslated,
        ..settings()
    }
}

fn assent(keepalive: u16) -> Vec<Extension> {
    vec![Extension::UdpTunnelReply(UdpTunnelReply {
        code: UdpTunnelReply::WILL_DO,
        forced: false,
        keepalive,
    })]
}

#[test]
fn ipv6_prefixes_are_asked_for_and_those_in_a_tunnel_of_the_home_address_are_had() {
    let nets = ["2001:db8:5::/64", "2001:db8:6::/64", "2001:db8:7::/64"];
    let nets = nets.map(|net| net.parse::<Ipv6Net>().unwrap());
    let prefix = |net: Ipv6Net| Ipv6Prefix {
        prefix: net.network(),
        len: net.prefix_len(),
    };
    let settings = Settings {
        networks6: nets.to_vec(),
        ..settings()
    };
    let codes = [
        Ipv6ReplyCode::TO_HOME_ADDRESS,
        // What was not asked for, and what is refused.
        Ipv6ReplyCode::TO_CARE_OF_ADDRESS,
        Ipv6ReplyCode::PROHIBITED,
    ];
    let replies = nets.into_iter().zip(codes).map(|(net, code)| {
        let prefix = prefix(net);
        Extension::Ipv6PrefixReply(Ipv6PrefixReply { code, prefix })
    });
    let (node, _) = registered_with(settings, replies.collect());
    let sent = Decoded::decode(&node.sent[0].payload).unwrap();
    for net in nets {
        let asked = Extension::Ipv6PrefixRequest(prefix(net));
        assert!(sent.extensions().contains(&asked), "{net}");
    }
    assert!(!sent.extensions().contains(&Extension::Ipv6TunnelingMode));
    assert_eq!(node.registered().networks6, nets[..1]);
}

fn inside() -> Vec<Extension> {
    vec![Extension::TrustedNetworksConfigured]
}

/// The answer to the echo in a keep-alive.
fn echoed(keepalive: &Datagram) -> Vec<u8> {
    let mut octets = keepalive.payload.clone();
    let (source, destination) = (octets[16..20].to_vec(), octets[20..24].to_vec());
    octets[16..20].copy_from_slice(&destination);
    octets[20..24].copy_from_slice(&source);
    octets[24] = 0;
    // 8 less in the type is 8 more in the checksum's high octet.
    let checksum = u16::from_be_bytes([octets[26], octets[27]]);
    let (sum, over) = checksum.overflowing_add(0x0800);
    octets[26..28].copy_from_slice(&(sum + u16::from(over)).to_be_bytes());
    octets
}

#[test]
fn behind_a_nat_packets_go_over_udp_and_the_mapping_is_kept() {
    let (mut node, _) = registered_with(behind_nat(), assent(20));
    assert!(
        node.asked()
            .extensions
            .contains(&Extension::UdpTunnelRequest(UdpTunnelRequest::default()))
    );
    let tunnel = Tunnel::Udp {
        local_port: 40434,
        remote_port: 434,
        keepalive: Duration::from_secs(20),
    };
    assert_eq!(node.registered().tunnel, tunnel);
    // Whoever would like GRE says that in UDP it is IP in IP.
    let gre = Settings {
        encapsulation: TunnelKind::Gre,
        ..behind_nat()
    };
    let (wishing, _) = registered_with(gre, assent(20));
    assert!(wishing.asked().flags.contains(Flags::GRE));
    let plain = UdpTunnelRequest {
        encapsulation: 4,
        ..UdpTunnelRequest::default()
    };
    let extensions = wishing.asked().extensions;
    assert!(extensions.contains(&Extension::UdpTunnelRequest(plain)));
    assert_eq!(wishing.registered().tunnel, tunnel);
    node.wait_until(20.0);
    let keepalive = node.sent.last().expect("an echo").clone();
    assert_eq!(keepalive.payload[..4], [4, 4, 0, 0]);
    assert_eq!(
        (keepalive.local, keepalive.remote),
        (at(CARE_OF, 40434), at(AGENT, 434))
    );
    node.hear(echoed(&keepalive)).wait_until(39.0);
    assert_eq!(node.sent.len(), 2);
    node.wait_until(40.0);
    assert_eq!(node.sent.len(), 3);
}

#[test]
fn a_lost_mapping_is_registered_anew_and_kept_alive_twice_as_often() {
    let (mut node, mut home) = registered_with(behind_nat(), assent(60));
    node.wait_until(70.0);
    let lost = Outcome::Lost {
        epoch: 1,
        why: Loss::MappingLost,
    };
    assert_eq!(node.outcomes.last(), Some(&lost));
    answer_with(&mut node, &mut home, assent(60));
    let Tunnel::Udp { keepalive, .. } = node.registered().tunnel else {
        panic!("still behind the NAT");
    };
    assert_eq!(keepalive, Duration::from_secs(30));
    // Somewhere else nothing of that counts.
    node.input(Input::Attach(co_located(2)));
    answer_with(&mut node, &mut home, assent(60));
    let Tunnel::Udp { keepalive, .. } = node.registered().tunnel else {
        panic!("behind another NAT");
    };
    assert_eq!(keepalive, Duration::from_secs(60));
}

#[test]
fn udp_that_was_not_asked_for_or_is_declined_is_not_used() {
    let (node, _) = registered_with(settings(), assent(20));
    assert_eq!(node.registered().tunnel, Tunnel::IpIp);
    let declined = vec![Extension::UdpTunnelReply(UdpTunnelReply {
        code: UdpTunnelReply::DECLINED,
        forced: false,
        keepalive: 0,
    })];
    let (node, _) = registered_with(behind_nat(), declined);
    assert_eq!(node.registered().tunnel, Tunnel::IpIp);
}

#[test]
fn inside_is_proved_by_the_link_that_was_asked_over() {
    let (node, _) = registered_with(settings(), inside());
    let proof = TrustedNetwork {
        link: LinkId(2),
        asked: node.start,
    };
    assert_eq!(node.registered().proof, Some(proof));
}

#[test]
fn nothing_is_proved_through_a_tunnel_a_nat_or_another_link() {
    let mut both = inside();
    both.extend(assent(0));
    let (node, _) = registered_with(behind_nat(), both);
    assert_eq!(node.registered().proof, None, "the address is translated");

    let mut node = Node::new(settings());
    let mut home = Home::new(node.start, ReplayProtection::default());
    let routed = Attachment {
        via: Via::Routed,
        ..co_located(1)
    };
    node.input(Input::Attach(routed));
    answer_with(&mut node, &mut home, inside());
    assert_eq!(node.registered().proof, None, "through the VPN");

    node.input(Input::Attach(co_located(2)));
    let sent = node.sent.last().expect("sent").clone();
    let payload = home.reply(node.now, &sent.payload, |request| Answer {
        extensions: inside(),
        ..accept(request)
    });
    node.input(Input::Datagram(Datagram {
        via: Via::Link(LinkId(3)),
        payload: payload.expect("a reply"),
        ..sent
    }));
    assert_eq!(node.registered().proof, None, "over another link");
}

#[test]
fn what_was_asked_before_the_link_changed_proves_nothing() {
    let mut node = Node::new(settings());
    let mut home = Home::new(node.start, ReplayProtection::default());
    node.input(Input::Attach(co_located(1)));
    let payload = node.sent[0].payload.clone();
    let before = home.reply(node.now, &payload, |request| Answer {
        extensions: inside(),
        ..accept(request)
    });
    node.input(Input::Attach(co_located(2)));
    node.hear(before.expect("a reply"));
    assert!(node.outcomes.is_empty());
}

#[test]
fn a_proof_is_renewed_in_time_whatever_the_lifetime() {
    let monitored = Settings {
        renewal: Some(T_MONITOR.saturating_sub(Duration::from_secs(10))),
        ..settings()
    };
    let (mut node, _) = registered_with(monitored, inside());
    node.wait_until(50.0);
    assert_eq!(node.sent.len(), 2);
}

#[test]
fn a_stale_probe_is_answered_and_changes_no_binding() {
    let mut node = Node::new(settings());
    let mut home = Home::new(node.start, ReplayProtection::default());
    node.input(Input::Probe {
        via: LINK,
        local: CARE_OF,
    });
    assert!(node.asked().flags.contains(Flags::SIMULTANEOUS));
    node.wait_until(0.03);
    let reply = home
        .reply(node.now, &node.sent[0].payload, accept)
        .expect("a reply");
    node.hear(reply.clone());
    let reachable = Outcome::Reachable {
        round_trip: Duration::from_millis(30),
        via: LINK,
    };
    assert_eq!(node.outcomes, [reachable]);
    assert!(home.accepted.is_empty());
    assert_eq!(node.client.poll_timeout(), None);
    // Once is enough.
    node.hear(reply);
    assert_eq!(node.outcomes.len(), 1);
}

#[test]
fn a_probe_beside_a_registration_disturbs_it_not() {
    let mut node = Node::new(settings());
    let mut home = Home::new(node.start, ReplayProtection::default());
    node.input(Input::Attach(co_located(1)));
    node.input(Input::Probe {
        via: LINK,
        local: CARE_OF,
    });
    let probed = home.reply(node.now, &node.sent[1].payload, accept);
    let asked = home.reply(node.now, &node.sent[0].payload, accept);
    node.hear(probed.expect("133"))
        .hear(asked.expect("accepted"));
    node.registered();
    assert_eq!(node.sent.len(), 2);
}

#[test]
fn an_unsigned_answer_to_a_probe_says_nothing() {
    let mut node = Node::new(settings());
    let mut home = Home::new(node.start, ReplayProtection::default());
    home.association.key = crate::net::Secret::from(&b"somebody else"[..]);
    node.input(Input::Probe {
        via: LINK,
        local: CARE_OF,
    });
    let asked = node.asked();
    let forged = home.sign(
        &asked,
        asked.identification,
        Answer {
            code: Code::HA_IDENTIFICATION,
            lifetime: 0,
            extensions: Vec::new(),
        },
    );
    node.hear(forged);
    assert!(node.outcomes.is_empty());
}
