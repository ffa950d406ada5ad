//! Round trips, refusals, and the octets that `docs/ted.md` prints.

use super::*;
use crate::net::{Flow, Identity, MaskedAddr, Port, Protocol};
use crate::ted::proxies::Proxy;
use md5::{Digest, Md5};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

fn ip(s: &str) -> IpAddr {
    s.parse().unwrap()
}

fn probe_of_fig_1() -> Probe {
    Probe {
        cookie: Cookie(*b"\x01\x23\x45\x67\x89\xab\xcd\xef"),
        capabilities: Capabilities::IKEV2,
        id: ip("192.0.2.104"),
        source: Some("10.1.0.0/16".parse().unwrap()),
        maker: MAKER,
        flow: Flow {
            src: ip("10.1.0.102"),
            dst: ip("10.2.0.108"),
            protocol: 6,
            ports: Some((40000, 443)),
        },
        ike: None,
    }
}

fn ping_probe_over_ipv6() -> Probe {
    Probe {
        id: ip("2001:db8::104"),
        source: None,
        flow: Flow {
            src: ip("2001:db8:1::102"),
            dst: ip("2001:db8:2::108"),
            protocol: 58,
            ports: None,
        },
        ..probe_of_fig_1()
    }
}

fn response_of_fig_1() -> Response {
    let initiator = probe_of_fig_1().cookie;
    let responder = Cookie(*b"\xfe\xdc\xba\x98\x76\x54\x32\x10");
    let gw106 = Identity::Name("gw106.example".to_owned());
    let proxy = Proxy {
        local: "10.2.0.0/16".parse().unwrap(),
        remote: "10.1.0.0/16".parse().unwrap(),
        protocol: Protocol::TCP,
        local_port: Port::Is(443),
        remote_port: Port::Any,
    };
    Response {
        initiator,
        responder,
        capabilities: Capabilities::IKEV2,
        id: ip("198.51.100.106"),
        hint: Some(ClaimedIdentity::digest_of(initiator, responder, &gw106)),
        proxies: vec![proxy],
        ike: None,
    }
}

/// The document is the other end of these vectors: what it prints is what must be sent.
fn vector(title: &str) -> Vec<u8> {
    let document = include_str!("../../../docs/ted.md");
    let (_, after) = document
        .split_once(title)
        .expect("the title stands in docs/ted.md");
    let block = after
        .split("```")
        .nth(1)
        .expect("a block follows the title");
    let lines = block
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_hexdigit()));
    let octets = lines.flat_map(|line| line.split("  ").next().unwrap_or("").split(' '));
    octets
        .map(|octet| u8::from_str_radix(octet, 16).unwrap())
        .collect()
}

/// The document leaves the padding's zeros out.
fn padded(mut octets: Vec<u8>) -> Vec<u8> {
    octets.resize(PROBE_LEN, 0);
    octets
}

#[test]
fn vendor_and_maker_are_the_hashes_of_their_strings() {
    assert_eq!(Md5::digest(VENDOR_STRING)[..], VENDOR_ID);
    assert_eq!(Md5::digest(MAKER_STRING)[..], MAKER);
}

#[test]
fn the_documents_probe_decodes_and_encodes_back() {
    let octets = padded(vector("### Vector 1"));
    assert_eq!(Probe::decode(&octets).unwrap(), probe_of_fig_1());
    assert_eq!(probe_of_fig_1().encode(), octets);
}

#[test]
fn the_documents_ipv6_probe_without_ports_and_proxy_decodes_and_encodes_back() {
    let octets = padded(vector("### Vector 2"));
    assert_eq!(Probe::decode(&octets).unwrap(), ping_probe_over_ipv6());
    assert_eq!(ping_probe_over_ipv6().encode(), octets);
}

#[test]
fn the_documents_response_decodes_and_encodes_back() {
    let octets = vector("### Vector 3");
    assert_eq!(Response::decode(&octets).unwrap(), response_of_fig_1());
    assert_eq!(response_of_fig_1().encode(PROBE_LEN).unwrap(), octets);
}

#[test]
fn the_documents_probe_and_response_with_messages_of_ike_decode_and_encode_back() {
    let octets = padded(vector("### Vector 4"));
    let probe = Probe {
        ike: Some(vec![0xa1, 0xb2, 0xc3, 0xd4]),
        ..probe_of_fig_1()
    };
    assert_eq!(Probe::decode(&octets).unwrap(), probe);
    assert_eq!(probe.encode(), octets);

    let octets = vector("### Vector 5");
    let response = Response {
        ike: Some(vec![0xd4, 0xc3, 0xb2, 0xa1]),
        ..response_of_fig_1()
    };
    assert_eq!(Response::decode(&octets).unwrap(), response);
    assert_eq!(response.encode(PROBE_LEN).unwrap(), octets);
}

#[test]
fn a_message_of_ike_goes_along_where_there_is_room_and_before_all_but_the_first_proxy() {
    let room = PROBE_LEN - 116 - 8;
    for (len, fits) in [(room, true), (room + 1, false)] {
        let probe = Probe {
            ike: Some(vec![7; len]),
            ..probe_of_fig_1()
        };
        let octets = probe.encode();
        assert_eq!(octets.len(), PROBE_LEN);
        let ike = probe.ike.clone().filter(|_| fits);
        assert_eq!(Probe::decode(&octets).unwrap().ike, ike);
    }
    let mut response = response_of_fig_1();
    response.proxies = vec![response.proxies[0]; 100];
    let room = PROBE_LEN - Response::least_len(crate::net::Family::V4) - 4;
    for (len, fits) in [(300, true), (room, true), (room + 1, false)] {
        response.ike = Some(vec![7; len]);
        let octets = response.encode(PROBE_LEN).unwrap();
        assert!(octets.len() <= PROBE_LEN && octets.len() + 28 > PROBE_LEN);
        let heard = Response::decode(&octets).unwrap();
        assert_eq!(heard.ike, response.ike.clone().filter(|_| fits));
        assert!(!heard.proxies.is_empty());
    }
}

#[test]
fn a_second_message_of_ike_is_refused() {
    // The padding renamed to what is there already.
    let octets = with(padded(vector("### Vector 4")), 116, 205);
    let twice = DecodeError::Repeated("IKE message");
    assert_eq!(Probe::decode(&octets), Err(twice));
}

#[test]
fn a_probe_leaves_from_the_packets_port_or_from_500() {
    assert_eq!(Probe::src_port(&probe_of_fig_1().flow), 40000);
    assert_eq!(Probe::src_port(&ping_probe_over_ipv6().flow), 500);
}

#[test]
fn the_hint_is_known_only_by_the_identity_that_made_it() {
    let claimed = response_of_fig_1().claimed_identity().unwrap();
    assert!(claimed.is(&Identity::Name("gw106.example".to_owned())));
    assert!(!claimed.is(&Identity::Mail("gw106.example".to_owned())));
    assert!(!claimed.is(&Identity::Name("gw107.example".to_owned())));
    let replayed = Response {
        initiator: Cookie([7; 8]),
        ..response_of_fig_1()
    };
    let claimed = replayed.claimed_identity().unwrap();
    assert!(!claimed.is(&Identity::Name("gw106.example".to_owned())));
}

#[test]
fn a_response_holds_as_many_proxies_as_fit_from_the_front() {
    let mut response = response_of_fig_1();
    response.proxies = (0..100)
        .map(|n| Proxy {
            local_port: Port::Is(n),
            ..response.proxies[0]
        })
        .collect();
    let octets = response.encode(PROBE_LEN).unwrap();
    assert!(octets.len() <= PROBE_LEN && octets.len() + 28 > PROBE_LEN);
    let heard = Response::decode(&octets).unwrap().proxies;
    assert_eq!(heard, response.proxies[..heard.len()]);

    let least = Response::least_len(crate::net::Family::V4);
    assert_eq!(response.encode(least).unwrap().len(), least);
    assert_eq!(response.encode(least - 1), None);
}

/// The same message with one octet changed.
fn with(mut octets: Vec<u8>, at: usize, value: u8) -> Vec<u8> {
    octets[at] = value;
    octets
}

#[test]
fn a_header_that_is_not_a_probes_is_refused() {
    let probe = probe_of_fig_1().encode();
    let refused = |at, value| Probe::decode(&with(probe.clone(), at, value)).unwrap_err();
    assert_eq!(refused(8, 1), DecodeError::Cookie("responder"));
    assert_eq!(refused(17, 0x20), DecodeError::IsakmpVersion(0x20));
    assert_eq!(refused(18, 241), DecodeError::Exchange(241));
    assert_eq!(refused(19, 1), DecodeError::Flags(1));
    assert_eq!(refused(23, 9), DecodeError::MessageId(9));
    let length = DecodeError::Length {
        header: 1201,
        datagram: 1200,
    };
    assert_eq!(refused(27, 0xb1), length);

    let mut no_cookie = probe.clone();
    no_cookie[..8].fill(0);
    assert_eq!(
        Probe::decode(&no_cookie),
        Err(DecodeError::Cookie("initiator"))
    );
    let mut oversized = probe;
    oversized.push(0);
    assert_eq!(Probe::decode(&oversized), Err(DecodeError::Oversized(1201)));
    let mut response = response_of_fig_1().encode(PROBE_LEN).unwrap();
    response[8..16].fill(0);
    assert_eq!(
        Response::decode(&response),
        Err(DecodeError::Cookie("responder"))
    );
}

/// Offsets into the first vector: vendor ID at 28, ID at 52, proxy address at 64, packet summary at
/// 80 (its maker at 84, its version at 100), padding at 116.
#[test]
fn a_body_that_says_something_else_is_refused() {
    let probe = probe_of_fig_1().encode();
    let refused = |at, value| Probe::decode(&with(probe.clone(), at, value)).unwrap_err();
    assert_eq!(refused(32, 0), DecodeError::ForeignVendor);
    assert_eq!(refused(56, 2), DecodeError::IdType(2));
    assert_eq!(refused(68, 5), DecodeError::IpVersion(5));
    assert_eq!(refused(100, 4), DecodeError::DiscoveryVersion(4));
    assert_eq!(refused(102, 1), DecodeError::Ports(1));
    assert_eq!(
        refused(103, 0),
        DecodeError::Trailing {
            what: "packet summary"
        }
    );
    // The padding renamed to what is there already, and the summary to what nobody knows.
    assert_eq!(refused(80, 201), DecodeError::Repeated("packet summary"));
    assert_eq!(refused(64, 250), DecodeError::Missing("packet summary"));
}

#[test]
fn mixed_ip_versions_are_refused() {
    let probe = Probe {
        id: ip("2001:db8::104"),
        ..probe_of_fig_1()
    };
    assert_eq!(
        Probe::decode(&probe.encode()),
        Err(DecodeError::MixedVersions)
    );
    let probe = Probe {
        source: Some("2001:db8::/32".parse().unwrap()),
        ..probe_of_fig_1()
    };
    assert_eq!(
        Probe::decode(&probe.encode()),
        Err(DecodeError::MixedVersions)
    );
}

#[test]
fn unknown_payloads_are_skipped_unless_critical() {
    // The padding under a number that nobody knows; its flags are the octet after the next payload.
    let unknown = with(probe_of_fig_1().encode(), 80, 250);
    assert_eq!(Probe::decode(&unknown).unwrap(), probe_of_fig_1());
    let critical = with(unknown, 117, 0x80);
    assert_eq!(Probe::decode(&critical), Err(DecodeError::Critical(250)));
    // In a message of another maker the number means nothing at all.
    let foreign = with(critical, 32, 0);
    assert_eq!(Probe::decode(&foreign), Err(DecodeError::ForeignVendor));
}

fn addr(v6: bool) -> impl Strategy<Value = IpAddr> {
    any::<u128>().prop_map(move |bits| {
        if v6 {
            Ipv6Addr::from(bits).into()
        } else {
            Ipv4Addr::from(bits as u32).into()
        }
    })
}

fn masked(v6: bool) -> impl Strategy<Value = MaskedAddr> {
    (addr(v6), addr(v6)).prop_map(|(a, m)| MaskedAddr::new(a, m).unwrap())
}

fn port() -> impl Strategy<Value = Port> {
    prop_oneof![Just(Port::Any), any::<u16>().prop_map(Port::Is)]
}

fn cookie() -> impl Strategy<Value = Cookie> {
    (1..=u64::MAX).prop_map(|bits| Cookie(bits.to_be_bytes()))
}

fn ike(longest: usize) -> impl Strategy<Value = Option<Vec<u8>>> {
    prop::option::of(prop::collection::vec(any::<u8>(), 0..longest))
}

fn probe() -> impl Strategy<Value = Probe> {
    let parts = |v6| {
        let protocol = prop_oneof![
            (any::<u8>(), Just(None)),
            (Just(17u8), any::<(u16, u16)>().prop_map(Some)),
        ];
        let addrs = (addr(v6), addr(v6), addr(v6));
        (addrs, prop::option::of(masked(v6)), protocol)
    };
    let parts = any::<bool>().prop_flat_map(parts);
    (cookie(), any::<u32>(), any::<[u8; 16]>(), parts, ike(900)).prop_map(
        |(cookie, capabilities, maker, ((id, src, dst), source, (protocol, ports)), ike)| Probe {
            cookie,
            capabilities: Capabilities(capabilities),
            id,
            source,
            maker,
            flow: Flow {
                src,
                dst,
                protocol,
                ports,
            },
            ike,
        },
    )
}

fn proxy() -> impl Strategy<Value = Proxy> {
    let halves = any::<bool>().prop_flat_map(|v6| (masked(v6), masked(v6)));
    (halves, any::<u8>(), port(), port()).prop_map(
        |((local, remote), protocol, local_port, remote_port)| Proxy {
            local,
            remote,
            protocol: Protocol::from_number(protocol),
            local_port,
            remote_port,
        },
    )
}

fn response() -> impl Strategy<Value = Response> {
    let id = any::<bool>().prop_flat_map(addr);
    let proxies = prop::collection::vec(proxy(), 1..12);
    let hint = any::<Option<[u8; 16]>>();
    (
        cookie(),
        cookie(),
        any::<u32>(),
        id,
        hint,
        proxies,
        ike(100),
    )
        .prop_map(
            |(initiator, responder, capabilities, id, hint, proxies, ike)| Response {
                initiator,
                responder,
                capabilities: Capabilities(capabilities),
                id,
                hint,
                proxies,
                ike,
            },
        )
}

proptest! {
    #[test]
    fn probes_decode_to_what_was_encoded_and_are_always_as_long(probe in probe()) {
        let octets = probe.encode();
        prop_assert_eq!(octets.len(), PROBE_LEN);
        prop_assert_eq!(Probe::decode(&octets), Ok(probe));
    }

    #[test]
    fn responses_decode_to_what_was_encoded(response in response()) {
        let octets = response.encode(PROBE_LEN).unwrap();
        prop_assert_eq!(Response::decode(&octets), Ok(response));
    }

    #[test]
    fn every_truncation_is_an_error(probe in probe(), response in response(), cut in any::<prop::sample::Index>()) {
        for whole in [probe.encode(), response.encode(PROBE_LEN).unwrap()] {
            // Once as it would arrive, once with a header that has been made to agree.
            let mut short = whole[..cut.index(whole.len())].to_vec();
            prop_assert!(Probe::decode(&short).is_err() && Response::decode(&short).is_err());
            let length = (short.len() as u32).to_be_bytes();
            if let Some(field) = short.get_mut(24..28) {
                field.copy_from_slice(&length);
            }
            prop_assert!(Probe::decode(&short).is_err() && Response::decode(&short).is_err());
        }
    }

    #[test]
    fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..1300)) {
        prop_assert!(Probe::decode(&noise).is_err());
        prop_assert!(Response::decode(&noise).is_err());
    }

    /// Deeper than noise gets: real messages with some octets changed.
    #[test]
    fn mutations_never_panic_and_never_grow(
        probe in probe(), response in response(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let (mut p, mut r) = (probe.encode(), response.encode(PROBE_LEN).unwrap());
        for (at, value) in changes {
            let index = at.index(140);
            p[index] = value;
            let index = at.index(r.len());
            r[index] = value;
        }
        if let Ok(probe) = Probe::decode(&p) {
            prop_assert_eq!(Probe::decode(&probe.encode()), Ok(probe));
        }
        if let Ok(response) = Response::decode(&r) {
            prop_assert!(response.encode(r.len()).is_some_and(|octets| octets.len() <= r.len()));
        }
    }
}
