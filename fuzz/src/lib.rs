//! What is fuzzed: for each decoder of octets that others wrote, a function that takes any octets.
//! None may panic, and what is claimed here about results must hold.
//!
//! The targets of libFuzzer (`fuzz_targets/`) call these, and so does `tests/decoders.rs`, over the
//! corpus and a few thousand mutations of it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};
use xfrm_agent::agent::Agent;
use xfrm_agent::agent::effect::{Effect, Routes};
use xfrm_agent::agent::event::Event;
use xfrm_agent::agent::settings::{FailureAction, ProxyGroup, Settings, TunnelMode};
use xfrm_agent::config;
use xfrm_agent::control::protocol;
use xfrm_agent::ike::endpoint::Endpoint;
use xfrm_agent::ike::settings::{ChildProtocol, Connect, Mode, Peer, RequestId, Timing};
use xfrm_agent::ike::wire::{Header, PayloadKind, Payloads};
use xfrm_agent::ike::{self, narrowing, negotiation};
use xfrm_agent::kernel::desired::TransparentPorts;
use xfrm_agent::kernel::netlink::message::{Message, Messages};
use xfrm_agent::kernel::netlink::{
    acquire, address, error, generic, link, neighbour, nftables, policy, queue, route, rule, sa,
    wireless,
};
use xfrm_agent::kernel::{nft, statistics};
use xfrm_agent::mobile_ip::replay::Clock;
use xfrm_agent::mobile_ip::security::{Algorithm, ReplayProtection, SecurityAssociation};
use xfrm_agent::mobile_ip::wire::{
    self, AuthenticationKind, Decoded, TunnelKind, advertisement, encapsulation, tunnel_data,
};
use xfrm_agent::mobile_ip::{Datagram, LinkId, Via, client, home_agent};
use xfrm_agent::net::header;
use xfrm_agent::net::random::Seeded;
use xfrm_agent::net::{Flow, Port, Protocol, Random, Secret, Selector};
use xfrm_agent::presence::exchange::{self, Answer};
use xfrm_agent::ted::interception::classify;
use xfrm_agent::ted::proxies::Proxy;
use xfrm_agent::ted::responder::{self, Intercepted, Responder, Verdict};
use xfrm_agent::ted::wire::{PROBE_LEN, Probe, Response};
use xfrm_agent::tun::forwarder::Forwarder;
use xfrm_agent::tun::tunnels::{AdapterId, Binding, Congestion, Origin, Outer, Side, Tunnel};
use xfrm_agent::vici::packet::{Packet, Packets};
use xfrm_agent::vici::sas::sas as vici_sas;

/// Takes any octets.
pub type Target = fn(&[u8]);

/// By the name of their corpus.
pub const TARGETS: [(&str, Target); 20] = [
    ("ted_probe", ted_probe),
    ("ted_response", ted_response),
    ("ike_message", ike_message),
    ("ike_payloads", ike_payloads),
    ("ike_datagrams", ike_datagrams),
    ("agent_datagrams", agent_datagrams),
    ("netlink", netlink),
    ("packet_headers", packet_headers),
    ("configuration", configuration),
    ("control_lines", control_lines),
    ("nft_listing", nft_listing),
    ("xfrm_stat", xfrm_stat),
    ("policy_exchange", policy_exchange),
    ("mobile_ip_advertisement", mobile_ip_advertisement),
    ("mobile_ip_message", mobile_ip_message),
    ("mobile_ip_encapsulation", mobile_ip_encapsulation),
    ("mobile_ip_datagrams", mobile_ip_datagrams),
    ("tun_frame", tun_frame),
    ("tun_datagrams", tun_datagrams),
    ("vici", vici),
];

const US: &str = "192.0.2.104";
const PEER: &str = "203.0.113.106";
const SITE: &str = "10.1.0.0/16";
const PEERS_SITE: &str = "10.2.0.0/16";

/// A probe, and a gateway that it was meant for.
pub fn ted_probe(octets: &[u8]) {
    classify(octets);
    let Ok(probe) = Probe::decode(octets) else {
        return;
    };
    let encoded = probe.encode();
    assert_eq!(encoded.len(), PROBE_LEN);
    let again = Probe::decode(&encoded).expect("it was encoded from one");
    // Without padding it may have had a longer message of IKE than there is room for beside it.
    let ike = probe.ike.clone().filter(|_| again.ike.is_some());
    assert_eq!(
        again,
        Probe {
            ike,
            ..probe.clone()
        }
    );

    let config = responder::Config {
        proxies: vec![proxy()],
        identity: "gw104.example".parse().expect("an identity"),
        rate: 100,
    };
    let mut responder = Responder::new(config, vec![address(US)], &mut Seeded(1));
    let intercepted = Intercepted {
        src: probe.flow.src,
        dst: probe.flow.dst,
        payload: octets,
    };
    if let Verdict::Answer(answer, _) = responder.judge(Instant::now(), intercepted) {
        let own = match answer.to {
            IpAddr::V4(_) => address(US),
            IpAddr::V6(_) => address("2001:db8::104"),
        };
        let answer = answer
            .encode(own, Some(octets.to_vec()))
            .expect("there was room for one proxy");
        assert!(answer.len() <= octets.len(), "longer than the probe");
        assert!(Response::decode(&answer).is_ok());
    }
}

/// A response to a probe.
pub fn ted_response(octets: &[u8]) {
    classify(octets);
    let Ok(response) = Response::decode(octets) else {
        return;
    };
    let encoded = response.encode(PROBE_LEN).expect("it fitted before");
    assert_eq!(Response::decode(&encoded), Ok(response));
}

/// An IKE message of which everything can be seen.
pub fn ike_message(octets: &[u8]) {
    let Ok((header, body)) = Header::decode(octets) else {
        return;
    };
    payloads(header.next, body);
}

/// What is inside an encrypted IKE message: the type of its first payload, and the payloads.
pub fn ike_payloads(octets: &[u8]) {
    if let Some((first, body)) = octets.split_first() {
        payloads(PayloadKind(*first), body);
    }
}

fn payloads(first: PayloadKind, body: &[u8]) {
    let Ok(payloads) = Payloads::decode(first, body) else {
        return;
    };
    let (kind, chain) = payloads.encode();
    assert_eq!(Payloads::decode(kind, &chain).as_ref(), Ok(&payloads));

    if let Some(proposals) = payloads.proposals() {
        let ke = payloads.key_exchange().map(|(group, _)| group);
        for spi_len in [0, 8] {
            let _ = negotiation::choose_ike(proposals, spi_len, ke.unwrap_or_default());
        }
        let _ = negotiation::accept_ike(proposals, ke.unwrap_or_default());
        let protocols = [ChildProtocol::Esp, ChildProtocol::Ah];
        let _ = negotiation::choose_child(proposals, ke, &protocols);
        for protocol in protocols {
            let _ = negotiation::accept_child(proposals, ke, protocol);
        }
    }
    if let (Some(local), Some(remote)) = (payloads.ts_i(), payloads.ts_r()) {
        narrowing::selectors(local, remote);
        let protected = Selector::between(net(SITE), net("10.0.0.0/8"));
        for selector in narrowing::narrow(local, remote, &[protected]) {
            assert!(protected.contains(&selector), "{selector} is not protected");
        }
    }
}

/// An IKE endpoint that has begun an IKE SA of its own, and datagrams from strangers: each two
/// octets of length, one that says from whom, and the datagram.
pub fn ike_datagrams(octets: &[u8]) {
    let mut now = Instant::now();
    let mut endpoint = Endpoint::new(ike_settings(), Box::new(Seeded(1)));
    endpoint.connect(now, connect());
    for (from, datagram) in datagrams(octets) {
        let port = if from & 1 == 0 { 500 } else { 4500 };
        let remote = if from & 2 == 0 { PEER } else { "198.51.100.7" };
        let (local, remote) = ((address(US), port).into(), (address(remote), port).into());
        endpoint.handle_datagram(now, local, remote, datagram);
        now += Duration::from_millis(u64::from(from) * 4);
        if endpoint.poll_timeout().is_some_and(|at| at <= now) {
            endpoint.handle_timeout(now);
        }
        let effects = std::iter::from_fn(|| endpoint.poll_effect());
        for effect in effects {
            let believed = matches!(effect, ike::effects::Effect::ChildUp { .. });
            assert!(!believed, "a stranger has got a child SA");
        }
    }
    assert_eq!(endpoint.ike_sas().count(), 0, "a stranger is believed");
}

/// A whole agent, with what arrives at its sockets: datagrams, and probes that were diverted to
/// it.
pub fn agent_datagrams(octets: &[u8]) {
    let mut now = Instant::now();
    let random = || -> Box<dyn Random> { Box::new(Seeded(1)) };
    let mut agent = Agent::new(now, settings(), &[], Box::new(NoRoutes), random)
        .expect("its masks are prefixes");
    agent.handle(now, Event::Found(Vec::new()));
    agent.handle(now, Event::Addresses(vec![address(US)]));
    let ports = TransparentPorts { v4: 1, v6: Some(1) };
    let first_packets = Some(1);
    agent.handle(
        now,
        Event::Transparent {
            ports,
            first_packets,
        },
    );
    for (from, datagram) in datagrams(octets) {
        let payload = datagram.to_vec();
        let remote = SocketAddr::from((address(PEER), 500));
        let event = match (from % 3, Probe::decode(datagram)) {
            (0, _) => Event::Datagram {
                local: (address(US), 500).into(),
                remote,
                payload,
            },
            (1, _) | (_, Err(_)) => Event::Datagram {
                local: (address(US), 4500).into(),
                remote: (address(PEER), 4500).into(),
                payload,
            },
            (_, Ok(probe)) => Event::Diverted {
                local: (probe.flow.dst, 500).into(),
                remote: (probe.flow.src, 500).into(),
                hop_limit: from,
                payload,
            },
        };
        let length = datagram.len();
        agent.handle(now, event);
        now += Duration::from_millis(u64::from(from));
        let mut sent = 0;
        while let Some(effect) = agent.poll_effect() {
            match effect {
                Effect::Send { payload, .. } => sent += payload.len(),
                Effect::SendAs { payload, .. } => assert_eq!(payload.len(), length),
                _ => {}
            }
        }
        // RFC 7296 §2.6 and docs/ted.md: nobody is to be flooded in another's name.
        assert!(sent <= length.max(MOST_ANSWERED), "{sent} for {length}");
        if agent.poll_timeout().is_some_and(|at| at <= now) {
            agent.handle_timeout(now);
            while agent.poll_effect().is_some() {}
        }
    }
    let tunnels = agent.tables().find(|(table, _)| *table == "tunnels");
    assert_eq!(tunnels, Some(("tunnels", 0)), "a stranger has got a tunnel");
}

/// An answer to a short `IKE_SA_INIT` may be longer than it, not more.
const MOST_ANSWERED: usize = 600;

/// Messages of the kernel; each is read as every kind that is understood.
pub fn netlink(octets: &[u8]) {
    for message in Messages(octets).take(64) {
        let _ = error::parse(&message);
        for kind in (0x10..0x30).chain([message.kind]) {
            let message = Message { kind, ..message };
            acquire::read(&message);
            sa::read(&message);
            policy::read(&message);
            sa::is_hard_expiry(&message);
            policy::is_hard_expiry(&message);
            link::read(&message);
            link::read_gone(&message);
            address::read(&message);
            route::read(&message);
            rule::read(&message);
            neighbour::default_route(&message);
            neighbour::neighbour(&message);
        }
        // Their kinds are whatever the kernel gave out.
        let family = generic::Family {
            id: message.kind,
            group: 0,
        };
        wireless::change(&message, family);
        wireless::station(&message);
        wireless::associated(&message);
        wireless::is_new_family(&Message {
            kind: generic::CONTROLLER,
            ..message
        });
        // Their kinds say of which subsystem they are.
        let kind = 0x0a00 | message.kind & 0xff;
        nftables::read(&Message { kind, ..message });
        let kind = 0x0300 | message.kind & 0xff;
        queue::read(&Message { kind, ..message });
    }
}

/// The beginning of a packet that somebody forwards through us.
pub fn packet_headers(octets: &[u8]) {
    let Some(flow) = header::flow(octets) else {
        return;
    };
    assert_eq!(flow.src.is_ipv4(), flow.dst.is_ipv4());
    let has_ports = Protocol::from_number(flow.protocol).has_ports();
    assert_eq!(flow.ports.is_some(), has_ports);
}

/// A configuration file.
pub fn configuration(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else {
        return;
    };
    let secret = |_: &_| Ok(Secret::from(&b"0123456789abcdef"[..]));
    match config::parse(text, &secret) {
        Ok(loaded) => {
            // What is accepted is what an agent can start with.
            let random = || -> Box<dyn Random> { Box::new(Seeded(1)) };
            let routes = Box::new(NoRoutes);
            let _ = Agent::new(Instant::now(), loaded.agent, &[], routes, random);
        }
        Err(problems) => assert!(!problems.is_empty(), "refused without a reason"),
    }
}

/// A line of the control socket, of either end.
pub fn control_lines(line: &[u8]) {
    if let Ok(request) = protocol::decode_request(line) {
        let encoded = protocol::encode_request(&request);
        let again = protocol::decode_request(&encoded).expect("it was encoded just now");
        assert_eq!(again, request);
    }
    if let Ok(response) = protocol::decode_response(line) {
        let encoded = protocol::encode_response(&response);
        protocol::decode_response(&encoded).expect("it was encoded just now");
    }
}

/// What `nft -j` prints.
pub fn nft_listing(json: &[u8]) {
    let _ = nft::counted(json);
    if let Ok(once) = nft::settled(json) {
        // Numbers beyond 64 bits may lose their last digits, which nft does not print.
        nft::settled(once.as_bytes()).expect("it was written just now");
    }
}

/// `/proc/net/xfrm_stat`.
pub fn xfrm_stat(octets: &[u8]) {
    statistics::parse(&String::from_utf8_lossy(octets));
}

/// What a peer says about policy and presence, inside IKE.
pub fn policy_exchange(octets: &[u8]) {
    if let Ok(message) = exchange::Message::decode(octets) {
        let encoded = message.encode();
        assert!(encoded.len() <= exchange::MAX_LEN);
        assert_eq!(exchange::Message::decode(&encoded), Ok(message));
    }
    if let Ok(answer) = Answer::decode(octets) {
        let encoded = answer.encode();
        assert!(encoded.len() <= exchange::MAX_LEN);
        assert_eq!(Answer::decode(&encoded), Ok(answer));
    }
}

/// An ICMP message of router discovery.
pub fn mobile_ip_advertisement(octets: &[u8]) {
    if let Ok(message) = advertisement::Discovery::decode(octets) {
        assert_eq!(
            advertisement::Discovery::decode(&message.encode()),
            Ok(message)
        );
    }
}

/// What is sent to port 434, or comes back from there.
pub fn mobile_ip_message(octets: &[u8]) {
    let Ok(decoded) = Decoded::decode(octets) else {
        return;
    };
    assert_eq!(decoded.octets, octets);
    let encoded = match &decoded.message {
        wire::Message::Request(request) => request.encode(),
        wire::Message::Reply(reply) => reply.encode(),
        wire::Message::Revocation(revocation) => revocation.encode(),
        wire::Message::RevocationAck(ack) => ack.encode(),
        wire::Message::TunnelData {
            next_header,
            payload,
        } => {
            let Some(kind) = TunnelKind::of_protocol(*next_header) else {
                return;
            };
            [&tunnel_data::header(kind), &octets[payload.clone()]].concat()
        }
    };
    let again = Decoded::decode(&encoded).map(|again| again.message);
    assert_eq!(again.as_ref(), Ok(&decoded.message));
}

/// A packet out of a tunnel, and one that is to go into it.
pub fn mobile_ip_encapsulation(octets: &[u8]) {
    if let Ok(out) = encapsulation::decapsulate(octets) {
        let (source, destination) = (out.source, out.destination);
        let wrapped = encapsulation::encapsulate(out.kind, source, destination, 7, &out.packet);
        let wrapped = wrapped.expect("it has come in such a tunnel");
        assert_eq!(encapsulation::decapsulate(&wrapped), Ok(out));
    }
    for kind in [TunnelKind::IpIp, TunnelKind::Minimal, TunnelKind::Gre] {
        let wrapped = encapsulation::encapsulate(kind, HOME_AGENT, CARE_OF, 7, octets);
        if let Ok(wrapped) = wrapped {
            let mut out = encapsulation::decapsulate(&wrapped).expect("it was wrapped just now");
            assert_eq!(
                (out.source, out.destination, out.kind),
                (HOME_AGENT, CARE_OF, kind)
            );
            if kind == TunnelKind::Minimal {
                // RFC 2004 §3.2: the checksum is made anew, even where it was wrong before.
                out.packet[10..12].copy_from_slice(&octets[10..12]);
            }
            assert_eq!(out.packet, octets);
        }
    }
}

/// A home agent and its mobile node, and datagrams from anybody who may have heard them before:
/// each two octets of length, one that says to whom and from where, and the datagram.
pub fn mobile_ip_datagrams(octets: &[u8]) {
    let mut now = Instant::now();
    let clock = Clock::new(now, Duration::from_secs(1_700_000_000));
    let random = || Box::new(Seeded(1));
    let mut agent =
        home_agent::HomeAgent::new(now, clock, home_agent_settings(), Vec::new(), random());
    let mut node = client::Client::new(now, mobile_node_settings(), clock, random());
    node.handle(now, client::Input::Attach(attachment()));
    while node.poll_effect().is_some() {}

    let mut bound = false;
    for (choice, payload) in datagrams(octets) {
        let signed = is_signed(payload);
        let seen = if choice & 2 == 0 { CARE_OF } else { NAT };
        let (agents, nodes) = (
            SocketAddrV4::new(HOME_AGENT, wire::PORT),
            SocketAddrV4::new(seen, 40434),
        );
        let to_agent = choice & 1 == 0;
        let (local, remote) = if to_agent {
            (agents, nodes)
        } else {
            (nodes, agents)
        };
        let via = Via::Link(LinkId(2));
        let datagram = Datagram {
            via,
            local,
            remote,
            payload: payload.to_vec(),
        };
        if to_agent {
            agent.handle(now, home_agent::effects::Input::Datagram(datagram));
        } else {
            node.handle(now, client::Input::Datagram(datagram));
        }
        while let Some(effect) = agent.poll_effect() {
            if let home_agent::effects::Effect::Tell(home_agent::effects::Told::Registered {
                ..
            }) = effect
            {
                assert!(to_agent && signed, "a stranger has moved a mobile node");
                bound = true;
            }
        }
        assert!(bound || agent.view(now).next().is_none(), "bound by nobody");
        while let Some(effect) = node.poll_effect() {
            if let client::Effect::Outcome(client::Outcome::Registered(_)) = effect {
                assert!(!to_agent && signed, "a stranger's reply is believed");
            }
        }
        now += Duration::from_millis(u64::from(choice) * 4);
        agent.handle_timeout(now);
        node.handle_timeout(now);
    }
}

/// Whether the mobile node or its home agent may have made this: what is before an authenticator of
/// theirs, signed again, is how it begins.
fn is_signed(payload: &[u8]) -> bool {
    let kind = AuthenticationKind::MobileHome;
    let Ok(decoded) = Decoded::decode(payload) else {
        return false;
    };
    decoded.authenticators(kind).any(|placed| {
        let mut again = decoded.octets_before(placed.index).to_vec();
        association().sign(kind, &mut again);
        payload.starts_with(&again)
    })
}

// --- what the targets stand on --------------------------------------------------------------------

/// Pieces of an input, at most 32: two octets of length, one of choice, and the octets.
fn datagrams(mut octets: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let ([high, low, choice], rest) = octets.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (datagram, rest) = rest.split_at(length.min(rest.len()));
        octets = rest;
        Some((*choice, datagram))
    })
    .take(32)
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn net(text: &str) -> xfrm_agent::net::IpNet {
    text.parse().expect("a prefix")
}

fn proxy() -> Proxy {
    Proxy {
        local: SITE.parse().expect("a prefix"),
        remote: "10.0.0.0/8".parse().expect("a prefix"),
        protocol: Protocol::Any,
        local_port: Port::Any,
        remote_port: Port::Any,
    }
}

fn peer() -> Peer {
    Peer {
        id: "gw106.example".parse().expect("an identity"),
        psk: Secret::from(&b"0123456789abcdef"[..]),
        may_protect: vec![net(PEERS_SITE)],
        may_protect_itself: false,
        contact: false,
    }
}

fn ike_settings() -> ike::settings::Settings {
    ike::settings::Settings {
        identity: "gw104.example".parse().expect("an identity"),
        peers: vec![peer()],
        protects: vec![Selector::between(net(SITE), net("10.0.0.0/8"))],
        timing: Timing::default(),
        compression: true,
        gateway: None,
        kept_with: BTreeMap::new(),
    }
}

fn connect() -> Connect {
    Connect {
        request: RequestId(1),
        local: address(US),
        remote: address(PEER),
        peer: peer().id,
        selectors: vec![Selector::between(net(SITE), net(PEERS_SITE))],
        flow: Some(Flow {
            src: address("10.1.0.102"),
            dst: address("10.2.0.108"),
            protocol: 1,
            ports: None,
        }),
        mode: Mode::Tunnel,
        protocol: ChildProtocol::Esp,
        transport_only: false,
        compression: false,
        initial_contact: true,
        address: None,
    }
}

fn settings() -> Settings {
    Settings {
        proxies: vec![ProxyGroup {
            name: "site".into(),
            proxies: vec![proxy()],
            on_failure: FailureAction::Block,
            failure_lifetime: Duration::from_secs(30),
            mode: TunnelMode::Tunnel,
        }],
        peers: vec![peer()],
        ..Settings::bare("gw104.example".parse().expect("an identity"))
    }
}

const HOME: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 5);
const HOME_AGENT: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 2);
const CARE_OF: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const NAT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

fn association() -> SecurityAssociation {
    SecurityAssociation {
        spi: 256,
        algorithm: Algorithm::HmacMd5,
        key: Secret::from(&b"0123456789abcdef"[..]),
        replay: ReplayProtection::default(),
    }
}

fn home_agent_settings() -> home_agent::settings::Settings {
    home_agent::settings::Settings {
        address: HOME_AGENT,
        home_network: "10.20.0.0/16".parse().expect("a prefix"),
        home_link: home_agent::settings::HomeLink::Virtual,
        mobile_nodes: vec![Arc::new(home_agent::settings::MobileNode {
            home: Some(HOME),
            nai: None,
            security: vec![association()],
            networks: Vec::new(),
            networks6: Vec::new(),
        })],
        foreign_agents: Vec::new(),
        pool: None,
        trusted: Vec::new(),
        encapsulations: vec![TunnelKind::Minimal, TunnelKind::Gre],
        reverse_tunnel: home_agent::settings::ReverseTunnel::Allowed,
        nat: home_agent::settings::NatTraversal::default(),
        limits: home_agent::settings::Limits::default(),
    }
}

fn mobile_node_settings() -> client::Settings {
    client::Settings {
        home: Some(HOME),
        home_agent: client::HomeAgent::Known(HOME_AGENT),
        nai: None,
        association: association(),
        series: 0,
        foreign_agents: Vec::new(),
        port: 40434,
        lifetime: 600,
        renewal: None,
        reverse: client::ReverseTunnel::Wanted,
        encapsulation: TunnelKind::IpIp,
        delivery: client::Delivery::Direct,
        udp: client::UdpTunnel::WhereTranslated,
        revocation: true,
        broadcasts: false,
        networks: Vec::new(),
        networks6: Vec::new(),
    }
}

fn attachment() -> client::Attachment {
    client::Attachment {
        epoch: 1,
        via: Via::Link(LinkId(2)),
        care_of: client::CareOf::CoLocated { address: CARE_OF },
        keep_others: false,
    }
}

struct NoRoutes;

impl Routes for NoRoutes {
    fn source_towards(&mut self, _: IpAddr) -> Option<IpAddr> {
        Some(address(US))
    }
}

const ADAPTER: AdapterId = AdapterId(0);
const MOBILE_NODE: SocketAddrV4 = SocketAddrV4::new(CARE_OF, 434);

const IN_UDP: Outer = Outer::Udp {
    local: SocketAddrV4::new(HOME_AGENT, 434),
    remote: MOBILE_NODE,
};
const MINIMAL: Outer = Outer::Minimal {
    local: HOME_AGENT,
    remote: CARE_OF,
};

/// Of the home agent, towards [`MOBILE_NODE`], which has a tunnel of each kind.
fn forwarder() -> Forwarder {
    let mut forwarder = Forwarder::default();
    let tunnel = |outer| Tunnel {
        via: Via::Routed,
        outer,
        mtu: 600,
        reverse: true,
        congestion: Congestion::Normal,
    };
    let binding = Binding {
        side: Side::HomeAgent,
        home: HOME,
        networks: vec!["10.0.0.0/8".parse().expect("a prefix")],
        tunnels: [IN_UDP, MINIMAL].map(tunnel).into(),
        receives: Vec::new(),
    };
    forwarder.tunnels.put(ADAPTER, binding);
    forwarder
}

/// What an adapter hands over: a header of what is left to do, and a packet.
pub fn tun_frame(octets: &[u8]) {
    let mut forwarder = forwarder();
    let mut slab = octets.to_vec();
    forwarder.send(Instant::now(), ADAPTER, &mut slab, 0..octets.len());
    let outbox = &forwarder.outbox;
    for message in &outbox.messages {
        let parts = outbox.parts[message.parts.clone()].iter();
        let all: Vec<_> = parts.map(|part| outbox.octets(part, &slab)).collect();
        let all = all.concat();
        assert_eq!(all.len(), message.octets());
        for datagram in all.chunks(message.size) {
            if message.outer == IN_UDP {
                assert!(datagram.len() <= 604 && datagram.starts_with(&[4, 4, 0, 0]));
                continue;
            }
            assert!(datagram.len() <= 612);
            let out = encapsulation::decapsulate(datagram).expect("it was wrapped just now");
            assert_eq!((out.source, out.destination), (HOME_AGENT, CARE_OF));
        }
    }
}

/// Datagrams, each behind its length and the type of service it comes with, as those of UDP and as packets of IP;
/// all leave as packets, or none of them does.
pub fn tun_datagrams(octets: &[u8]) {
    received(octets, |forwarder, tos, slab, datagram| {
        let origin = Origin {
            via: Via::Routed,
            outer: IN_UDP,
        };
        forwarder.receive(&origin, tos, slab, datagram);
    });
    received(octets, |forwarder, _, slab, datagram| {
        let origin = Origin {
            via: Via::Routed,
            outer: MINIMAL,
        };
        let before = forwarder.counts.received.packets;
        let whole = slab[datagram.clone()].to_vec();
        forwarder.receive_ip(&origin, slab, datagram.clone());
        let is_received = forwarder.counts.received.packets > before;
        let out = encapsulation::decapsulate(&whole);
        if let (true, Ok(out)) = (is_received, out)
            && out.kind == TunnelKind::Minimal
        {
            let packet = &slab[datagram.end - out.packet.len()..datagram.end];
            assert_eq!(out.packet, packet);
        }
    });
}

fn received(
    octets: &[u8],
    mut receive: impl FnMut(&mut Forwarder, u8, &mut [u8], std::ops::Range<usize>),
) {
    let mut forwarder = forwarder();
    let mut slab = octets.to_vec();
    let mut at = 0;
    while let Some([high, low, tos]) = octets.get(at..at + 3) {
        let start = at + 3;
        let end = start + usize::from(u16::from_be_bytes([*high, *low]));
        let end = end.min(octets.len());
        receive(&mut forwarder, *tos, &mut slab, start..end);
        at = end;
    }
    let received = forwarder.counts.received;
    let frames = forwarder.frames.finish(&mut slab);
    let parts: usize = frames.iter().map(|frame| frame.parts.len()).sum();
    assert_eq!(parts as u64, received.packets);
    for frame in frames {
        let total: usize = frame.parts.iter().map(std::ops::Range::len).sum();
        let first = &slab[frame.parts[0].clone()];
        assert_eq!(usize::from(u16::from_be_bytes([first[2], first[3]])), total);
    }
}

/// What comes from the socket of strongSwan's charon, in two pieces.
pub fn vici(octets: &[u8]) {
    let mut packets = Packets::default();
    for piece in octets.chunks(octets.len().div_ceil(2).max(1)) {
        packets.push(piece);
        while let Ok(Some(packet)) = packets.take() {
            let mut again = Packets::default();
            again.push(&packet.encode());
            assert!(matches!(again.take(), Ok(Some(_))));
            if let Packet::Event { message, .. } = &packet {
                assert!(vici_sas(message).len() <= octets.len());
            }
        }
    }
}
