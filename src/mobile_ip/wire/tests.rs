//! Golden messages, round trips, refusals.

use super::*;
use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let octet = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(octet).collect()
}

fn encode(message: &Message) -> Option<Vec<u8>> {
    match message {
        Message::Request(request) => Some(request.encode()),
        Message::Reply(reply) => Some(reply.encode()),
        Message::TunnelData { .. } => None,
        Message::Revocation(revocation) => Some(revocation.encode()),
        Message::RevocationAck(ack) => Some(ack.encode()),
    }
}

/// Written by hand from the drawings of the standards, one line a field.
#[test]
fn a_request_with_every_kind_of_extension_is_read_field_by_field() {
    let octets = hex("01 a2 012c  0a140005 0a0a0002 cb00710a e8fe6f8080000001
         83 05 75 40 62 2e 63
         90 06 00 00 c0 04 0000
         94 06 00 18 0a160000
         98 12 01 40 20010db8000000010000000000000000
         98 02 03 00
         c8 02 beef
         20 06 00000100 aabb
         82 00
         84 04 01020304
         89 06 8000 00000009
         21 06 00000101 ccdd");
    let decoded = Decoded::decode(&octets).unwrap();
    let Message::Request(request) = &decoded.message else {
        panic!("{decoded:?}");
    };
    assert_eq!(request.flags.to_string(), "S-D---T-");
    assert_eq!(request.lifetime, 300);
    assert_eq!(request.home, Ipv4Addr::new(10, 20, 0, 5));
    assert_eq!(request.home_agent, Ipv4Addr::new(10, 10, 0, 2));
    assert_eq!(request.care_of, Ipv4Addr::new(203, 0, 113, 10));
    assert_eq!(
        request.identification,
        Identification(0xe8fe_6f80_8000_0001)
    );
    assert_eq!(request.nai(), Some(&b"u@b.c"[..]));
    let authentication = |kind, spi, value: &[u8]| {
        Extension::Authentication(Authenticator {
            kind,
            spi,
            value: value.to_vec(),
        })
    };
    let v6: Ipv6Addr = "2001:db8:0:1::".parse().unwrap();
    let expected = [
        Extension::Nai(b"u@b.c".to_vec()),
        Extension::UdpTunnelRequest(UdpTunnelRequest {
            force: true,
            through_foreign_agent: true,
            encapsulation: 4,
            reserved: 0,
        }),
        Extension::MobileNetworkRequest {
            prefix: Ipv4Addr::new(10, 22, 0, 0),
            prefix_len: 24,
        },
        Extension::Ipv6PrefixRequest(Ipv6Prefix {
            prefix: v6,
            len: 64,
        }),
        Extension::Ipv6TunnelingMode,
        Extension::Unknown {
            kind: 200,
            data: vec![0xbe, 0xef],
        },
        authentication(AuthenticationKind::MobileHome, 256, &[0xaa, 0xbb]),
        Extension::EncapsulatingDelivery,
        Extension::Challenge(vec![1, 2, 3, 4]),
        Extension::RevocationSupport(RevocationSupport {
            inform: true,
            timestamp: 9,
        }),
        authentication(AuthenticationKind::MobileForeign, 257, &[0xcc, 0xdd]),
    ];
    assert_eq!(request.extensions, expected);
    assert_eq!(request.encode(), octets);

    let placed = decoded
        .only_authenticator(AuthenticationKind::MobileHome)
        .unwrap();
    assert_eq!(placed.index, 6);
    assert!(placed.signed.ends_with(&hex("2006 00000100")));
    assert!(decoded.octets_before(7).ends_with(&hex("00000100 aabb")));
    assert_eq!(decoded.octets_before(11), &octets[..]);
    assert!(
        decoded
            .only_authenticator(AuthenticationKind::ForeignHome)
            .is_none()
    );
}

#[test]
fn a_reply_and_both_messages_of_a_revocation_are_read_field_by_field() {
    let reply = hex("03 00 003c  0a140005 0a0a0002 e8fe6f8080000001
         2c 06 00 00 8000 006e
         94 08 01 00 18 00 0a160000
         94 08 02 02 18 00 0a170000
         95 02 00 00
         98 14 02 01 40 00 20010db8000000010000000000000000
         24 01 0008 00000002 01020304
         00");
    let decoded = Decoded::decode(&reply).unwrap();
    let Message::Reply(read) = &decoded.message else {
        panic!("{decoded:?}");
    };
    assert_eq!((read.code, read.lifetime), (Code::ACCEPTED, 60));
    assert_eq!(
        read.extensions[0],
        Extension::UdpTunnelReply(UdpTunnelReply {
            code: UdpTunnelReply::WILL_DO,
            forced: true,
            keepalive: 110,
        })
    );
    assert_eq!(read.extensions[3], Extension::TrustedNetworksConfigured);
    assert_eq!(read.extensions[6], Extension::Padding);
    assert_eq!(read.encode(), reply);

    let revocation = hex("07 00 c000 0a140005 0a0a0002 cb00710a 00000010");
    let decoded = Decoded::decode(&revocation).unwrap();
    assert_eq!(
        decoded.message,
        Message::Revocation(Revocation {
            by_home_agent: true,
            inform: true,
            home: Ipv4Addr::new(10, 20, 0, 5),
            home_domain: Ipv4Addr::new(10, 10, 0, 2),
            foreign_domain: Ipv4Addr::new(203, 0, 113, 10),
            identifier: 16,
            extensions: Vec::new(),
        })
    );
    assert_eq!(encode(&decoded.message), Some(revocation));

    let ack = hex("0f 00 8000 0a140005 00000010");
    let decoded = Decoded::decode(&ack).unwrap();
    assert_eq!(encode(&decoded.message), Some(ack));

    let data = Decoded::decode(&hex("04 04 ffff 4500")).unwrap();
    let Message::TunnelData {
        next_header,
        payload,
    } = data.message
    else {
        panic!("{data:?}");
    };
    assert_eq!((next_header, &data.octets[payload]), (4, &[0x45, 0][..]));
}

#[test]
fn what_must_not_be_skipped_is_an_error_that_names_it() {
    let mut octets = hex("03 00 003c 0a140005 0a0a0002 e8fe6f8080000001");
    octets.extend([99, 1, 0]);
    let error = Decoded::decode(&octets).unwrap_err();
    assert_eq!(error, WireError::UnknownExtension(99));
    assert_eq!(
        error.to_string(),
        "extension of type 99 is unknown and must not be skipped"
    );
    assert_eq!(Decoded::decode(&[9]), Err(WireError::UnknownMessage(9)));
    let bad_reply = hex("03 00 003c 0a140005 0a0a0002 e8fe6f8080000001 2c 06 01 00 8000 006e");
    assert_eq!(
        Decoded::decode(&bad_reply),
        Err(WireError::Length("UDP tunnel reply"))
    );
}

#[test]
fn a_message_of_many_extensions_is_refused() {
    let mut octets = hex("0f 00 0000 0a140005 00000010");
    octets.resize(octets.len() + MAX_EXTENSIONS, 0);
    assert!(Decoded::decode(&octets).is_ok());
    octets.push(0);
    assert_eq!(
        Decoded::decode(&octets),
        Err(WireError::TooMany(MAX_EXTENSIONS, "extensions"))
    );
}

#[test]
fn codes_say_who_denied() {
    assert!(Code::ACCEPTED_WITHOUT_SIMULTANEOUS.is_accepted());
    assert_eq!(Code::FA_TIMEOUT.denier(), Some(code::Denier::ForeignAgent));
    assert_eq!(
        Code::FA_INVALID_HOME_AGENT.denier(),
        Some(code::Denier::ForeignAgent)
    );
    assert_eq!(
        Code::HA_PROHIBITED.to_string(),
        "129 (administratively prohibited)"
    );
    assert_eq!(Code(222).to_string(), "222");
}

fn octets(most: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..=most)
}

fn extension() -> impl Strategy<Value = Extension> {
    let kinds = prop_oneof![
        Just(AuthenticationKind::MobileHome),
        Just(AuthenticationKind::MobileForeign),
        Just(AuthenticationKind::ForeignHome),
    ];
    let v4 = any::<u32>().prop_map(Ipv4Addr::from);
    let v6 = (any::<u128>(), any::<u8>()).prop_map(|(prefix, len)| Ipv6Prefix {
        prefix: prefix.into(),
        len,
    });
    prop_oneof![
        (kinds, any::<u32>(), octets(251)).prop_map(|(kind, spi, value)| {
            Extension::Authentication(Authenticator { kind, spi, value })
        }),
        (any::<u8>(), any::<u32>(), octets(300)).prop_map(|(sub_type, spi, value)| {
            Extension::GeneralizedAuthentication {
                sub_type,
                spi,
                value,
            }
        }),
        octets(255).prop_map(Extension::Nai),
        octets(255).prop_map(Extension::Challenge),
        Just(Extension::EncapsulatingDelivery),
        Just(Extension::TrustedNetworksConfigured),
        Just(Extension::Ipv6TunnelingMode),
        Just(Extension::Padding),
        (any::<bool>(), any::<u32>()).prop_map(|(inform, timestamp)| {
            Extension::RevocationSupport(RevocationSupport { inform, timestamp })
        }),
        (any::<bool>(), any::<bool>(), any::<u8>(), any::<u16>()).prop_map(
            |(force, through_foreign_agent, encapsulation, reserved)| {
                Extension::UdpTunnelRequest(UdpTunnelRequest {
                    force,
                    through_foreign_agent,
                    encapsulation,
                    reserved,
                })
            }
        ),
        (any::<u8>(), any::<bool>(), any::<u16>()).prop_map(|(code, forced, keepalive)| {
            Extension::UdpTunnelReply(UdpTunnelReply {
                code,
                forced,
                keepalive,
            })
        }),
        (v4.clone(), any::<u8>()).prop_map(|(prefix, prefix_len)| {
            Extension::MobileNetworkRequest { prefix, prefix_len }
        }),
        (v4, any::<u8>(), any::<u8>()).prop_map(|(prefix, prefix_len, code)| {
            Extension::MobileNetworkAck(MobileNetworkAck {
                mode: NetworkMode::Implicit,
                code: MobileNetworkCode(code),
                prefix,
                prefix_len,
            })
        }),
        v6.clone().prop_map(Extension::Ipv6PrefixRequest),
        (v6, any::<u8>()).prop_map(|(prefix, code)| {
            Extension::Ipv6PrefixReply(Ipv6PrefixReply {
                code: Ipv6ReplyCode(code),
                prefix,
            })
        }),
        (200u8..=255, octets(255)).prop_map(|(kind, data)| Extension::Unknown { kind, data }),
    ]
}

prop_compose! {
    fn request()(
        flags: u8, lifetime: u16, home: u32, home_agent: u32, care_of: u32, identification: u64,
        extensions in proptest::collection::vec(extension(), 0..8),
    ) -> RegistrationRequest {
        RegistrationRequest {
            flags: Flags(flags),
            lifetime,
            home: home.into(),
            home_agent: home_agent.into(),
            care_of: care_of.into(),
            identification: Identification(identification),
            extensions,
        }
    }
}

proptest! {
    #[test]
    fn a_request_survives_the_wire(request in request()) {
        let decoded = Decoded::decode(&request.encode()).unwrap();
        prop_assert_eq!(decoded.message, Message::Request(request));
    }

    #[test]
    fn a_reply_survives_the_wire(request in request(), code: u8) {
        let reply = RegistrationReply {
            code: Code(code),
            lifetime: request.lifetime,
            home: request.home,
            home_agent: request.home_agent,
            identification: request.identification,
            extensions: request.extensions,
        };
        let decoded = Decoded::decode(&reply.encode()).unwrap();
        prop_assert_eq!(decoded.message, Message::Reply(reply));
    }

    #[test]
    fn altered_and_cut_messages_are_read_or_refused(
        request in request(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut octets = request.encode();
        for (at, octet) in changes {
            let at = at.index(octets.len());
            octets[at] = octet;
        }
        octets.truncate(cut.index(octets.len() + 1));
        if let Ok(decoded) = Decoded::decode(&octets) {
            prop_assert_eq!(&decoded.octets, &octets);
            if let Some(again) = encode(&decoded.message) {
                prop_assert_eq!(Decoded::decode(&again).unwrap().message, decoded.message);
            }
        }
    }

    #[test]
    fn any_octets_are_read_or_refused(octets in octets(200)) {
        let _ = Decoded::decode(&octets);
    }
}
