use super::*;
use crate::mobile_ip::LinkId;
use crate::mobile_ip::client::{self, Attachment, CareOf, Client, Delivery, HomeAgent, UdpTunnel};
use crate::mobile_ip::replay::{Clock, Guard};
use crate::mobile_ip::security::{Algorithm, ReplayProtection, SecurityAssociation};
use crate::mobile_ip::wire::advertisement::{AgentFlags, CommonTraffic, Discovery, Sequence};
use crate::mobile_ip::wire::{
    AuthenticationKind, Extension, Flags, Identification, RegistrationReply, RegistrationRequest,
};
use crate::net::Secret;
use crate::net::random::Seeded;
use proptest::prelude::*;
use std::net::SocketAddrV4;

const LINK: LinkId = LinkId(3);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const CARE_OF: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
const HOME: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 5);
const HOME_AGENT: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 2);
const MAC: Option<[u8; 6]> = Some([2, 0, 0, 0, 0, 5]);

pub(super) fn association(key: &[u8]) -> SecurityAssociation {
    SecurityAssociation {
        spi: 300,
        algorithm: Algorithm::HmacMd5,
        key: Secret::from(key),
        replay: ReplayProtection::default(),
    }
}

pub(super) fn settings() -> Settings {
    Settings {
        link: LINK,
        address: ADDRESS,
        prefix_len: Some(25),
        care_of: CARE_OF,
        own: vec![ADDRESS, CARE_OF],
        lifetime: 600,
        interval: Some(Duration::from_secs(10)),
        required: false,
        traffic: CommonTraffic::Routed,
        reverse: ReverseTunnels::Available,
        tunnels: vec![TunnelKind::Gre],
        challenge: false,
        mobile_nodes: Vec::new(),
        home_agents: Vec::new(),
        most_visitors: 2,
        most_pending: 3,
    }
}

fn agent(settings: Settings) -> (ForeignAgent, Instant) {
    let now = Instant::now();
    let mut agent = ForeignAgent::new(now, settings, Box::new(Seeded(5)));
    while agent.poll_effect().is_some() {}
    (agent, now)
}

pub(super) fn request() -> RegistrationRequest {
    RegistrationRequest {
        flags: Flags::REVERSE_TUNNEL,
        lifetime: 300,
        home: HOME,
        home_agent: HOME_AGENT,
        care_of: CARE_OF,
        identification: Identification(0xe8fe_6f80_1234_5678),
        extensions: Vec::new(),
    }
}

pub(super) fn signed(request: &RegistrationRequest) -> Vec<u8> {
    let mut octets = request.encode();
    association(b"home").sign(AuthenticationKind::MobileHome, &mut octets);
    octets
}

pub(super) fn effects(agent: &mut ForeignAgent) -> Vec<Effect> {
    std::iter::from_fn(|| agent.poll_effect()).collect()
}

fn hear_from(
    agent: &mut ForeignAgent,
    now: Instant,
    from: Ipv4Addr,
    payload: Vec<u8>,
) -> Vec<Effect> {
    let datagram = Datagram {
        via: Via::Link(LINK),
        local: SocketAddrV4::new(ADDRESS, 434),
        remote: SocketAddrV4::new(from, 40434),
        payload,
    };
    agent.handle(
        now,
        Input::Datagram {
            datagram,
            ttl: 255,
            mac: MAC,
        },
    );
    effects(agent)
}

pub(super) fn hear(agent: &mut ForeignAgent, now: Instant, payload: Vec<u8>) -> Vec<Effect> {
    hear_from(agent, now, HOME, payload)
}

fn reply(request: &RegistrationRequest, code: Code, lifetime: u16) -> Vec<u8> {
    let mut octets = RegistrationReply {
        code,
        lifetime,
        home: request.home,
        home_agent: request.home_agent,
        identification: request.identification,
        extensions: Vec::new(),
    }
    .encode();
    association(b"home").sign(AuthenticationKind::MobileHome, &mut octets);
    octets
}

fn hear_up(agent: &mut ForeignAgent, now: Instant, payload: Vec<u8>) -> Vec<Effect> {
    let datagram = Datagram {
        via: Via::Routed,
        local: SocketAddrV4::new(CARE_OF, 434),
        remote: SocketAddrV4::new(HOME_AGENT, 434),
        payload,
    };
    agent.handle(
        now,
        Input::Datagram {
            datagram,
            ttl: 60,
            mac: None,
        },
    );
    effects(agent)
}

fn denial(effects: &[Effect]) -> Option<(Code, u16)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Reply { datagram, .. } => match Decoded::decode(&datagram.payload).ok()?.message {
            Message::Reply(reply) => Some((reply.code, reply.lifetime)),
            _ => None,
        },
        _ => None,
    })
}

#[test]
fn a_registration_is_passed_on_and_back_and_makes_a_visitor() {
    let (mut agent, now) = agent(settings());
    let mut asked = signed(&request());
    let up_to_authenticator = asked.clone();
    Extension::EncapsulatingDelivery.encode(&mut asked);
    let relayed = hear(&mut agent, now, asked);
    let [Effect::Relay(datagram)] = &relayed[..] else {
        panic!("{relayed:?}");
    };
    assert_eq!(datagram.payload, up_to_authenticator);
    assert_eq!(datagram.local, SocketAddrV4::new(CARE_OF, 434));
    assert_eq!(datagram.remote, SocketAddrV4::new(HOME_AGENT, 434));

    let mut answer = reply(&request(), Code::ACCEPTED, 200);
    let signed_by_home = answer.clone();
    Extension::Challenge(vec![1]).encode(&mut answer);
    let down = hear_up(&mut agent, now, answer);
    let [Effect::Visit(visit), Effect::Reply { datagram, mac }] = &down[..] else {
        panic!("{down:?}");
    };
    assert_eq!(
        (visit.home, visit.home_agent, visit.reverse),
        (HOME, HOME_AGENT, Reverse::Encapsulating)
    );
    assert_eq!(*mac, MAC);
    assert_eq!(datagram.payload, signed_by_home);
    assert_eq!(datagram.remote, SocketAddrV4::new(HOME, 40434));
    assert_eq!(agent.view().visitors.len(), 1);

    // Its end is only noticed (RFC 5944 §3.7).
    agent.handle_timeout(now + Duration::from_secs(200));
    let key = VisitorKey {
        home: HOME,
        home_agent: HOME_AGENT,
    };
    let left = effects(&mut agent);
    let left: Vec<_> = left
        .iter()
        .filter(|effect| !matches!(effect, Effect::Advertise { .. }))
        .collect();
    assert_eq!(left, [&Effect::Leave(key)]);
}

#[test]
fn what_is_denied_is_denied_with_its_code() {
    let asked = request;
    let with = |flags| RegistrationRequest { flags, ..asked() };
    let none = || settings();
    let unavailable = || Settings {
        reverse: ReverseTunnels::Unavailable,
        ..settings()
    };
    let mandatory = || Settings {
        reverse: ReverseTunnels::Mandatory,
        ..settings()
    };
    let cases: Vec<(Settings, RegistrationRequest, Code)> = vec![
        (none(), with(Flags(0x04)), Code::FA_POORLY_FORMED_REQUEST),
        (none(), with(Flags(0x01)), Code::FA_POORLY_FORMED_REQUEST),
        (none(), with(Flags::MINIMAL), Code::FA_ENCAPSULATION),
        (unavailable(), asked(), Code::FA_REVERSE_TUNNEL),
        (
            mandatory(),
            with(Flags::NONE),
            Code::FA_REVERSE_TUNNEL_MANDATORY,
        ),
        (
            none(),
            RegistrationRequest {
                lifetime: 601,
                ..asked()
            },
            Code::FA_LIFETIME,
        ),
        (
            none(),
            RegistrationRequest {
                care_of: HOME,
                ..asked()
            },
            Code::FA_CARE_OF_ADDRESS,
        ),
        (
            none(),
            RegistrationRequest {
                home_agent: CARE_OF,
                ..asked()
            },
            Code::FA_INVALID_HOME_AGENT,
        ),
        (
            none(),
            RegistrationRequest {
                home_agent: Ipv4Addr::UNSPECIFIED,
                ..asked()
            },
            Code::FA_MISSING_HOME_AGENT,
        ),
        (
            none(),
            RegistrationRequest {
                home: Ipv4Addr::UNSPECIFIED,
                ..asked()
            },
            Code::FA_NONZERO_HOME_ADDRESS_REQUIRED,
        ),
        (
            none(),
            RegistrationRequest {
                home: ADDRESS,
                ..asked()
            },
            Code::FA_POORLY_FORMED_REQUEST,
        ),
        (
            Settings {
                challenge: true,
                ..settings()
            },
            asked(),
            Code::FA_MISSING_CHALLENGE,
        ),
        (
            Settings {
                most_visitors: 0,
                ..settings()
            },
            asked(),
            Code::FA_RESOURCES,
        ),
        (
            Settings {
                mobile_nodes: vec![(HOME, association(b"visit"))],
                ..settings()
            },
            asked(),
            Code::FA_MOBILE_NODE_AUTHENTICATION,
        ),
    ];
    for (settings, request, code) in cases {
        let (mut agent, now) = agent(settings);
        let heard = hear(&mut agent, now, signed(&request));
        let lifetime = if code == Code::FA_LIFETIME {
            600
        } else {
            request.lifetime
        };
        assert_eq!(denial(&heard), Some((code, lifetime)), "{code}");
        assert_eq!(agent.view().pending, 0);
    }
    let (mut agent, now) = agent(settings());
    let unsigned = hear(&mut agent, now, request().encode());
    assert_eq!(
        denial(&unsigned),
        Some((Code::FA_POORLY_FORMED_REQUEST, 300))
    );
}

#[test]
fn a_reverse_tunnel_is_for_the_link_only() {
    let (mut agent, now) = agent(settings());
    let datagram = Datagram {
        via: Via::Link(LINK),
        local: SocketAddrV4::new(ADDRESS, 434),
        remote: SocketAddrV4::new(HOME, 40434),
        payload: signed(&request()),
    };
    agent.handle(
        now,
        Input::Datagram {
            datagram: datagram.clone(),
            ttl: 254,
            mac: MAC,
        },
    );
    let code = denial(&effects(&mut agent)).map(|(code, _)| code);
    assert_eq!(code, Some(Code::FA_TOO_DISTANT));
    // Once a second (RFC 3024 §4.2.1).
    agent.handle(
        now,
        Input::Datagram {
            datagram,
            ttl: 254,
            mac: MAC,
        },
    );
    assert_eq!(effects(&mut agent), []);
}

#[test]
fn requests_without_an_answer_are_bounded_and_end_with_78() {
    let (mut agent, now) = agent(settings());
    for n in 0..5_u8 {
        let home = Ipv4Addr::new(10, 20, 0, n + 1);
        let asked = RegistrationRequest { home, ..request() };
        let heard = hear_from(&mut agent, now, home, signed(&asked));
        let code = denial(&heard).map(|(code, _)| code);
        assert_eq!(code, (n >= 3).then_some(Code::FA_RESOURCES));
    }
    agent.handle_timeout(now + Duration::from_secs(7));
    let given_up = effects(&mut agent);
    let timeouts = given_up.iter().filter(|effect| {
        denial(std::slice::from_ref(effect)).is_some_and(|(code, _)| code == Code::FA_TIMEOUT)
    });
    assert_eq!(timeouts.count(), 3);
    assert_eq!(agent.view().pending, 0);
}

#[test]
fn icmp_errors_have_the_codes_of_the_standard() {
    let told = |kind, code| Unreachable::of_icmp(kind, code);
    assert_eq!(told(3, 0), Some(Unreachable::Network));
    assert_eq!(told(3, 1), Some(Unreachable::Host));
    assert_eq!(told(3, 3), Some(Unreachable::Port));
    assert_eq!(told(3, 13), Some(Unreachable::Other));
    assert_eq!(told(11, 0), Some(Unreachable::Other));
    assert_eq!((told(3, 4), told(4, 0), told(5, 1)), (None, None, None));
}

#[test]
fn an_unreachable_home_agent_is_told() {
    let (mut agent, now) = agent(settings());
    hear(&mut agent, now, signed(&request()));
    agent.handle(
        now,
        Input::Unreachable {
            home_agent: HOME_AGENT,
            what: Unreachable::Port,
        },
    );
    let code = denial(&effects(&mut agent)).map(|(code, _)| code);
    assert_eq!(code, Some(Code::FA_HOME_AGENT_PORT_UNREACHABLE));
}

#[test]
fn a_denial_of_the_home_agent_leaves_the_visitor_where_it_is() {
    let (mut agent, now) = agent(settings());
    hear(&mut agent, now, signed(&request()));
    hear_up(&mut agent, now, reply(&request(), Code::ACCEPTED, 300));
    let later = RegistrationRequest {
        identification: Identification(9),
        ..request()
    };
    hear(&mut agent, now, signed(&later));
    let down = hear_up(&mut agent, now, reply(&later, Code::HA_PROHIBITED, 0));
    assert!(matches!(down[..], [Effect::Reply { .. }]));
    assert_eq!(agent.view().visitors.len(), 1);
    // And a deregistration takes it away.
    let last = RegistrationRequest {
        lifetime: 0,
        identification: Identification(10),
        ..request()
    };
    hear(&mut agent, now, signed(&last));
    let down = hear_up(&mut agent, now, reply(&last, Code::ACCEPTED, 0));
    assert!(matches!(down[..], [Effect::Leave(_), Effect::Reply { .. }]));
}

#[test]
fn replies_that_nobody_asked_for_change_nothing() {
    let (mut agent, now) = agent(settings());
    assert_eq!(
        hear_up(&mut agent, now, reply(&request(), Code::ACCEPTED, 300)),
        []
    );
    hear(&mut agent, now, signed(&request()));
    let other = RegistrationRequest {
        identification: Identification(1),
        ..request()
    };
    assert_eq!(
        hear_up(&mut agent, now, reply(&other, Code::ACCEPTED, 300)),
        []
    );
    let elsewhere = RegistrationRequest {
        home: CARE_OF,
        ..request()
    };
    assert_eq!(
        hear_up(&mut agent, now, reply(&elsewhere, Code::ACCEPTED, 300)),
        []
    );
    assert_eq!(agent.view().visitors.len(), 0);
    // The second copy of the right one is nobody's either.
    assert_eq!(
        hear_up(&mut agent, now, reply(&request(), Code::ACCEPTED, 300)).len(),
        2
    );
    assert_eq!(
        hear_up(&mut agent, now, reply(&request(), Code::ACCEPTED, 300)),
        []
    );
}

#[test]
fn agents_that_share_keys_sign_for_each_other() {
    let keyed = Settings {
        mobile_nodes: vec![(HOME, association(b"visit"))],
        home_agents: vec![(HOME_AGENT, association(b"agents"))],
        challenge: true,
        ..settings()
    };
    let (mut agent, now) = agent(keyed);
    agent.handle(now, Input::Solicitation { from: HOME });
    let told = effects(&mut agent);
    let [
        Effect::Advertise {
            icmp,
            destination: HOME,
        },
    ] = &told[..]
    else {
        panic!("{told:?}");
    };
    let Ok(Discovery::Advertisement(advertisement)) = Discovery::decode(icmp) else {
        panic!("no advertisement");
    };
    let mut asked = signed(&request());
    let challenge = advertisement.challenge.expect("a challenge");
    Extension::Challenge(challenge).encode(&mut asked);
    association(b"visit").sign(AuthenticationKind::MobileForeign, &mut asked);
    let relayed = hear(&mut agent, now, asked.clone());
    let [Effect::Relay(datagram)] = &relayed[..] else {
        panic!("{relayed:?}");
    };
    let decoded = Decoded::decode(&datagram.payload).expect("a request");
    let placed = decoded.only_authenticator(AuthenticationKind::ForeignHome);
    assert!(association(b"agents").verify(&placed.expect("signed")));
    // A challenge is answered once.
    let again = hear_from(&mut agent, now, CARE_OF, asked);
    assert_eq!(
        denial(&again).map(|(code, _)| code),
        Some(Code::FA_STALE_CHALLENGE)
    );

    let mut answer = reply(&request(), Code::ACCEPTED, 300);
    association(b"agents").sign(AuthenticationKind::ForeignHome, &mut answer);
    let down = hear_up(&mut agent, now, answer);
    let [Effect::Visit(_), Effect::Reply { datagram, .. }] = &down[..] else {
        panic!("{down:?}");
    };
    let decoded = Decoded::decode(&datagram.payload).expect("a reply");
    let placed = decoded.only_authenticator(AuthenticationKind::MobileForeign);
    assert!(association(b"visit").verify(&placed.expect("signed")));
}

#[test]
fn a_reply_that_its_home_agent_has_not_signed_is_rejected() {
    let keyed = Settings {
        home_agents: vec![(HOME_AGENT, association(b"agents"))],
        ..settings()
    };
    let (mut agent, now) = agent(keyed);
    hear(&mut agent, now, signed(&request()));
    let mut forged = reply(&request(), Code::ACCEPTED, 300);
    association(b"guessed").sign(AuthenticationKind::ForeignHome, &mut forged);
    let heard = hear_up(&mut agent, now, forged);
    assert!(heard.contains(&Effect::Suspicious(Suspicion::HomeAgent)));
    let code = denial(&heard).map(|(code, _)| code);
    assert_eq!(code, Some(Code::FA_HOME_AGENT_AUTHENTICATION));
    assert_eq!(agent.view().visitors.len(), 0);
}

// --- advertisements -------------------------------------------------------------------------------

fn advertised(
    effect: &Effect,
) -> (
    Ipv4Addr,
    crate::mobile_ip::wire::advertisement::Advertisement,
) {
    let Effect::Advertise { destination, icmp } = effect else {
        panic!("{effect:?}");
    };
    match Discovery::decode(icmp) {
        Ok(Discovery::Advertisement(advertisement)) => (*destination, advertisement),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_link_is_told_at_once_and_then_at_uneven_times() {
    let now = Instant::now();
    let mut agent = ForeignAgent::new(now, settings(), Box::new(Seeded(5)));
    let (mut last, mut pauses) = (now, Vec::new());
    for number in 0..50 {
        let told = effects(&mut agent);
        let (destination, advertisement) = advertised(&told[0]);
        assert_eq!((destination, advertisement.lifetime), (ALL_SYSTEMS, 30));
        let said = advertisement.agent.expect("an agent");
        assert_eq!(said.sequence, Sequence(number));
        assert!(
            said.flags
                .has(AgentFlags::FOREIGN_AGENT.with(AgentFlags::GRE))
        );
        assert!(!said.flags.has(AgentFlags::MINIMAL));
        assert_eq!(said.care_of, [CARE_OF]);
        let next = agent.poll_timeout().expect("the next one");
        pauses.push(next - last);
        last = next;
        agent.handle_timeout(next);
    }
    let between = Duration::from_millis(7500)..=Duration::from_secs(10);
    assert!(pauses.iter().all(|pause| between.contains(pause)));
    assert!(pauses.iter().any(|pause| *pause != pauses[0]));
}

#[test]
fn solicitations_are_answered_and_floods_are_not() {
    let (mut agent, now) = agent(Settings {
        interval: None,
        ..settings()
    });
    assert_eq!(agent.poll_timeout(), None);
    for _ in 0..100 {
        agent.handle(now, Input::Solicitation { from: HOME });
        agent.handle(
            now,
            Input::Solicitation {
                from: Ipv4Addr::UNSPECIFIED,
            },
        );
    }
    let told = effects(&mut agent);
    let to_all = told
        .iter()
        .filter(|effect| advertised(effect).0 == ALL_SYSTEMS);
    assert_eq!((to_all.count(), told.len()), (1, 21));
    agent.handle(
        now + Duration::from_secs(1),
        Input::Solicitation { from: HOME },
    );
    assert_eq!(effects(&mut agent).len(), 1);
}

#[test]
fn a_full_agent_says_that_it_is_busy() {
    let (mut agent, now) = agent(Settings {
        most_visitors: 1,
        ..settings()
    });
    hear(&mut agent, now, signed(&request()));
    hear_up(&mut agent, now, reply(&request(), Code::ACCEPTED, 300));
    agent.handle(now, Input::Solicitation { from: HOME });
    let told = effects(&mut agent);
    let said = advertised(&told[0]).1.agent.expect("an agent");
    assert!(said.flags.has(AgentFlags::BUSY));
}

// --- with a mobile node ---------------------------------------------------------------------------

#[test]
fn our_mobile_node_registers_through_it() {
    let keyed = Settings {
        challenge: true,
        mobile_nodes: vec![(HOME, association(b"visit"))],
        ..settings()
    };
    let now = Instant::now();
    let unix = Duration::from_secs(1_700_000_000);
    let mut agent = ForeignAgent::new(now, keyed, Box::new(Seeded(5)));
    let told = effects(&mut agent);
    let advertisement = advertised(&told[0]).1;
    let visited = client::ForeignAgent::from_advertisement(ADDRESS, &advertisement);
    let settings = client::Settings {
        home: Some(HOME),
        home_agent: HomeAgent::Known(HOME_AGENT),
        nai: None,
        association: association(b"home"),
        series: 0,
        foreign_agents: vec![(ADDRESS, association(b"visit"))],
        port: 40434,
        lifetime: 1000,
        renewal: None,
        reverse: client::ReverseTunnel::Required,
        encapsulation: TunnelKind::Gre,
        delivery: Delivery::Direct,
        udp: UdpTunnel::Never,
        revocation: false,
        broadcasts: false,
        networks: Vec::new(),
        networks6: Vec::new(),
    };
    let mut node = Client::new(now, settings, Clock::new(now, unix), Box::new(Seeded(7)));
    let attachment = Attachment {
        epoch: 1,
        via: Via::Link(LinkId(9)),
        care_of: CareOf::ForeignAgent(visited.expect("it takes nodes")),
        keep_others: false,
    };
    node.handle(now, client::Input::Attach(attachment));
    let mut guard = Guard::new(ReplayProtection::default());
    let Some(client::Effect::Send(asked)) = node.poll_effect() else {
        panic!("nothing is asked");
    };
    let relayed = hear(&mut agent, now, asked.payload.clone());
    let [Effect::Relay(datagram)] = &relayed[..] else {
        panic!("{relayed:?}");
    };
    let Ok(Message::Request(request)) = Decoded::decode(&datagram.payload).map(|d| d.message)
    else {
        panic!("no request");
    };
    guard.accept(request.identification, &mut Seeded(1));
    let down = hear_up(&mut agent, now, reply(&request, Code::ACCEPTED, 600));
    let [Effect::Visit(visit), Effect::Reply { datagram, .. }] = &down[..] else {
        panic!("{down:?}");
    };
    assert_eq!(
        (visit.tunnel, visit.reverse),
        (TunnelKind::Gre, Reverse::Direct)
    );
    let heard = Datagram {
        payload: datagram.payload.clone(),
        via: asked.via,
        local: asked.local,
        remote: asked.remote,
    };
    node.handle(now, client::Input::Datagram(heard));
    let Some(client::Effect::Outcome(client::Outcome::Registered(registered))) = node.poll_effect()
    else {
        panic!("not registered");
    };
    assert_eq!(
        registered.tunnel,
        client::Tunnel::ByForeignAgent(Delivery::Direct)
    );
    assert_eq!(registered.care_of, CARE_OF);
}

proptest! {
    #[test]
    fn any_octets_leave_the_tables_bounded(
        payloads in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..120)), 0..20),
    ) {
        let (mut agent, now) = agent(settings());
        for (up, payload) in payloads {
            if up { hear_up(&mut agent, now, payload) } else { hear(&mut agent, now, payload) };
        }
        prop_assert_eq!(agent.view().visitors.len(), 0);
        prop_assert!(agent.view().pending <= 3);
    }

    #[test]
    fn a_changed_request_is_relayed_as_it_came_or_denied(at in 1_usize..24, flip: u8) {
        let (mut agent, now) = agent(settings());
        let mut asked = signed(&request());
        asked[at] ^= flip;
        for effect in hear(&mut agent, now, asked.clone()) {
            if let Effect::Relay(datagram) = effect {
                prop_assert_eq!(&datagram.payload, &asked);
            }
        }
    }
}
