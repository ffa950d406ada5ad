//! Security associations: `NEWSA`, `DELSA`, `EXPIRE` and what dumps and events say of them. Keys go
//! to the kernel and are never read back.

use super::fields;
use super::message::{Attributes, Batch, Message, Payload, attributes_after};
use crate::kernel::desired::{
    Algorithms, IpsecProtocol, Mark, Mode, Sa, SaDirection, SaKey, UdpEncapsulation,
};
use crate::kernel::observed::ObservedSa;
use crate::net::{Family, Secret, Spi};
use netlink_packet_xfrm as xfrm;
use xfrm::UserSaInfo;
use xfrm::constants::{
    XFRM_MSG_DELSA, XFRM_MSG_EXPIRE, XFRM_MSG_NEWSA, XFRM_MSG_UPDSA, XFRMA_ALG_AEAD,
    XFRMA_ALG_AUTH_TRUNC, XFRMA_ALG_COMP, XFRMA_ALG_CRYPT, XFRMA_ENCAP, XFRMA_IF_ID,
    XFRMA_LASTUSED, XFRMA_MARK, XFRMA_REPLAY_ESN_VAL, XFRMA_SA, XFRMA_SRCADDR,
};

/// The SA carries packets of either IP version: tunnel mode without a selector of its own.
const STATE_AF_UNSPEC: u8 = 32;
/// AH's header padded to 4 octets instead of 8, as RFC 4302 §3.3.3.2.1 asks over IPv4.
const STATE_ALIGN4: u8 = 64;
const STATE_ESN: u8 = 128;
/// `UDP_ENCAP_ESPINUDP`.
const ENCAP_ESP_IN_UDP: u16 = 2;
/// Beyond this window the kernel's old 32-bit form does not reach.
const SHORT_WINDOW: u32 = 32;
/// `XFRMA_REPLAY_ESN_MAX`, in packets.
const LONGEST_WINDOW: u32 = 4096;

/// How the replay window is written.
///
/// No SA carries `XFRMA_SA_DIR`: kernels from 6.10 on refuse a window above 0 on an outbound SA
/// that has it, kernels before refuse a window of 0 with extended sequence numbers. Without the
/// attribute every kernel takes 0 outbound, and 32 outbound with ESN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Replay {
    Short(u8),
    Extended(u32),
}

impl Replay {
    fn of(sa: &Sa) -> Self {
        let window = match sa.direction {
            SaDirection::In => sa.replay_window.min(LONGEST_WINDOW),
            SaDirection::Out => 0,
        };
        if sa.esn {
            Self::Extended(window.max(SHORT_WINDOW))
        } else if window > SHORT_WINDOW {
            Self::Extended(window)
        } else {
            Self::Short(window as u8)
        }
    }
}

/// Adds it; `EEXIST` where the kernel has one with the same key.
pub fn add(batch: &mut Batch, sa: &Sa) {
    let family = Family::of(sa.dst);
    let replay = Replay::of(sa);
    let mut state = 0;
    if sa.selector.is_none() && sa.mode == Mode::Tunnel {
        state |= STATE_AF_UNSPEC;
    }
    if sa.protocol() == IpsecProtocol::Ah && family == Family::V4 {
        state |= STATE_ALIGN4;
    }
    if sa.esn {
        state |= STATE_ESN;
    }
    batch.message(
        XFRM_MSG_NEWSA,
        super::message::flags::CREATE | super::message::flags::EXCLUSIVE,
        |payload| {
            payload.put(&UserSaInfo {
                selector: sa
                    .selector
                    .as_ref()
                    .map(fields::selector_code)
                    .unwrap_or_default(),
                id: xfrm::Id {
                    daddr: xfrm::Address::from_ip(&sa.dst),
                    spi: sa.spi.0,
                    proto: fields::protocol_code(sa.protocol()),
                },
                saddr: xfrm::Address::from_ip(&sa.src),
                lifetime_cfg: fields::lifetime_code(&sa.lifetime),
                reqid: sa.reqid,
                family: fields::family_code(family),
                mode: fields::mode_code(sa.mode),
                replay_window: match replay {
                    Replay::Short(window) => window,
                    Replay::Extended(_) => 0,
                },
                flags: state,
                ..UserSaInfo::default()
            });
            put_algorithms(payload, &sa.algorithms);
            if let Replay::Extended(window) = replay {
                put_extended_replay(payload, window);
            }
            if let Some(encapsulation) = sa.encapsulation {
                payload.attribute(
                    XFRMA_ENCAP,
                    &xfrm::nlas::encap_tmpl::EncapTmpl {
                        encap_type: ENCAP_ESP_IN_UDP,
                        encap_sport: encapsulation.src_port,
                        encap_dport: encapsulation.dst_port,
                        encap_oa: xfrm::Address::default(),
                    },
                );
            }
            put_mark(payload, sa.mark);
            if sa.if_id != 0 {
                payload.attribute_bytes(XFRMA_IF_ID, &[&sa.if_id.to_ne_bytes()]);
            }
        },
    );
}

pub fn delete(batch: &mut Batch, key: &SaKey, src: std::net::IpAddr) {
    batch.message(XFRM_MSG_DELSA, 0, |payload| {
        payload.put(&xfrm::UserSaId {
            daddr: xfrm::Address::from_ip(&key.dst),
            spi: key.spi.0,
            family: fields::family_code(Family::of(key.dst)),
            proto: fields::protocol_code(key.protocol),
        });
        payload.attribute(XFRMA_SRCADDR, &xfrm::Address::from_ip(&src));
        put_mark(payload, key.mark);
    });
}

pub(super) fn put_mark(payload: &mut Payload<'_>, mark: Mark) {
    if mark != Mark::default() {
        payload.attribute(XFRMA_MARK, &fields::mark_code(mark));
    }
}

/// The attributes are written octet by octet, so that the key is copied once, into the batch,
/// which is wiped.
fn put_algorithms(payload: &mut Payload<'_>, algorithms: &Algorithms) {
    match algorithms {
        Algorithms::Aead {
            name,
            key,
            icv_bits,
        } => put_algorithm(payload, XFRMA_ALG_AEAD, name, key, Some(*icv_bits)),
        Algorithms::EncryptThenAuth {
            cipher,
            cipher_key,
            auth,
            auth_key,
            truncation_bits,
        } => {
            let truncation = Some(*truncation_bits);
            put_algorithm(payload, XFRMA_ALG_AUTH_TRUNC, auth, auth_key, truncation);
            put_algorithm(payload, XFRMA_ALG_CRYPT, cipher, cipher_key, None);
        }
        Algorithms::Ah {
            auth,
            auth_key,
            truncation_bits,
        } => {
            let truncation = Some(*truncation_bits);
            put_algorithm(payload, XFRMA_ALG_AUTH_TRUNC, auth, auth_key, truncation);
        }
        Algorithms::Deflate => {
            let no_key = Secret::new(Vec::new());
            put_algorithm(payload, XFRMA_ALG_COMP, "deflate", &no_key, None);
        }
    }
}

/// ```text
/// | name, 64 octets | key length in bits | ICV or truncation length in bits | key |
/// ```
/// where the second length is absent for ciphers.
fn put_algorithm(
    payload: &mut Payload<'_>,
    attribute: u16,
    name: &str,
    key: &Secret,
    check_bits: Option<u32>,
) {
    let mut padded = [0; 64];
    // The last octet stays zero: the kernel reads a C string.
    let len = name.len().min(63);
    padded[..len].copy_from_slice(&name.as_bytes()[..len]);
    let key_bits = (key.len() as u32 * 8).to_ne_bytes();
    let check_bits = check_bits.map(u32::to_ne_bytes);
    payload.attribute_bytes(
        attribute,
        &[
            &padded,
            &key_bits,
            check_bits.as_ref().map_or(&[], |b| &b[..]),
            // The kernel needs it to protect packets.
            key.expose(),
        ],
    );
}

fn put_extended_replay(payload: &mut Payload<'_>, window: u32) {
    let words = window.div_ceil(32);
    payload.attribute(
        XFRMA_REPLAY_ESN_VAL,
        &xfrm::nlas::replay_esn::ReplayEsn {
            bmp_len: words,
            replay_window: window,
            bmp: vec![0; words as usize],
            ..Default::default()
        },
    );
}

/// What a dump or an event says of an SA: `NEWSA`, `UPDSA`, `DELSA`, `EXPIRE`. `None` for larval
/// SAs, other protocols and messages that are cut short.
pub fn read(message: &Message<'_>) -> Option<ObservedSa> {
    let payload = message.payload;
    let (info, attributes) = match message.kind {
        XFRM_MSG_NEWSA | XFRM_MSG_UPDSA => (
            payload,
            attributes_after(payload, xfrm::XFRM_USER_SA_INFO_LEN),
        ),
        XFRM_MSG_DELSA => {
            let attributes = attributes_after(payload, xfrm::XFRM_USER_SA_ID_LEN);
            (attributes.find(XFRMA_SA)?, attributes)
        }
        XFRM_MSG_EXPIRE => (
            payload,
            attributes_after(payload, xfrm::XFRM_USER_EXPIRE_LEN),
        ),
        _ => return None,
    };
    read_info(&UserSaInfo::parse(info).ok()?, &attributes)
}

/// Whether an `EXPIRE` says that the SA is gone, rather than that it should be replaced.
pub fn is_hard_expiry(message: &Message<'_>) -> bool {
    message.kind == XFRM_MSG_EXPIRE
        && message
            .payload
            .get(xfrm::XFRM_USER_SA_INFO_LEN)
            .is_some_and(|hard| *hard != 0)
}

fn read_info(info: &UserSaInfo, attributes: &Attributes<'_>) -> Option<ObservedSa> {
    let family = fields::family(info.family)?;
    if info.id.spi == 0 {
        return None;
    }
    let encapsulation = attributes
        .find(XFRMA_ENCAP)
        .and_then(|value| xfrm::nlas::encap_tmpl::EncapTmpl::parse(value).ok())
        .map(|encap| UdpEncapsulation {
            src_port: encap.encap_sport,
            dst_port: encap.encap_dport,
        });
    let last_used = attributes
        .find(XFRMA_LASTUSED)
        .and_then(|value| value.first_chunk::<8>())
        .map(|value| u64::from_ne_bytes(*value));
    let first_used = info.lifetime_cur.use_time;
    Some(ObservedSa {
        key: SaKey {
            dst: fields::address(family, &info.id.daddr),
            spi: Spi(info.id.spi),
            protocol: fields::protocol(info.id.proto)?,
            mark: fields::mark(attributes.find(XFRMA_MARK)),
        },
        src: fields::address(family, &info.saddr),
        mode: fields::mode(info.mode)?,
        reqid: info.reqid,
        if_id: attributes.find_u32(XFRMA_IF_ID).unwrap_or(0),
        encapsulation,
        lifetime: fields::lifetime(&info.lifetime_cfg),
        bytes: info.lifetime_cur.bytes,
        packets: info.lifetime_cur.packets,
        added: info.lifetime_cur.add_time,
        first_used: (first_used != 0).then_some(first_used),
        last_used,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::desired::{Lifetime, Limits};
    use crate::kernel::netlink::message::Messages;
    use netlink_packet_core::Emitable;
    use proptest::prelude::*;
    use std::time::Duration;

    fn inbound() -> Sa {
        Sa {
            src: "2001:db8::2".parse().unwrap(),
            dst: "2001:db8::1".parse().unwrap(),
            spi: Spi(0x1234_5678),
            direction: SaDirection::In,
            mode: Mode::Tunnel,
            reqid: 0x5800_0007,
            algorithms: Algorithms::Aead {
                name: "rfc4106(gcm(aes))",
                key: Secret::new(b"twenty octets of key".to_vec()),
                icv_bits: 128,
            },
            replay_window: 64,
            esn: false,
            encapsulation: Some(UdpEncapsulation {
                src_port: 4500,
                dst_port: 4501,
            }),
            lifetime: Lifetime {
                soft: Limits::default(),
                hard: Limits {
                    time: Some(Duration::from_millis(1500)),
                    ..Limits::default()
                },
            },
            mark: Mark { value: 1, mask: 3 },
            if_id: 4,
            selector: None,
        }
    }

    fn written(sa: &Sa) -> Vec<u8> {
        let mut batch = Batch::new(1);
        add(&mut batch, sa);
        batch.bytes().to_vec()
    }

    #[test]
    fn an_sa_reads_back_as_written_without_its_key() {
        let sa = inbound();
        let bytes = written(&sa);
        let there = read(&Messages(&bytes).next().unwrap()).unwrap();
        assert_eq!(there.key, sa.key());
        assert_eq!(
            (there.src, there.mode, there.reqid),
            (sa.src, sa.mode, sa.reqid)
        );
        assert_eq!(
            (there.encapsulation, there.if_id),
            (sa.encapsulation, sa.if_id)
        );
        let hard = there.lifetime.hard.time;
        assert_eq!(
            hard,
            Some(Duration::from_secs(2)),
            "rounded up, never to no limit"
        );
    }

    /// The kernel refuses an SPI of more than 16 bits, a replay window that is checked (IPComp has no
    /// numbers), and any other algorithm beside it.
    #[test]
    fn compression_is_one_algorithm_without_a_key_and_a_cpi() {
        let sa = Sa {
            spi: Spi(0x1234),
            mode: Mode::Transport,
            algorithms: Algorithms::Deflate,
            replay_window: 0,
            encapsulation: None,
            ..inbound()
        };
        let bytes = written(&sa);
        let message = Messages(&bytes).next().unwrap();
        let attributes = attributes_after(message.payload, xfrm::XFRM_USER_SA_INFO_LEN);
        let mut expected = [0; 68];
        expected[..7].copy_from_slice(b"deflate");
        assert_eq!(attributes.find(XFRMA_ALG_COMP), Some(&expected[..]));
        for other in [
            XFRMA_ALG_AEAD,
            XFRMA_ALG_AUTH_TRUNC,
            XFRMA_ALG_CRYPT,
            XFRMA_REPLAY_ESN_VAL,
        ] {
            assert_eq!(attributes.find(other), None);
        }
        let info = UserSaInfo::parse(message.payload).unwrap();
        assert_eq!(
            (info.id.proto, info.id.spi, info.replay_window),
            (108, 0x1234, 0)
        );
        assert_eq!(read(&message).unwrap().key, sa.key());
        assert!(sa.to_string().contains("proto comp spi 0x00001234"), "{sa}");
        assert!(sa.to_string().contains("comp deflate"), "{sa}");
    }

    #[test]
    fn no_debug_output_holds_key_octets() {
        let mut batch = Batch::new(1);
        add(&mut batch, &inbound());
        let message = Messages(batch.bytes()).next().unwrap();
        for text in [
            format!("{batch:?}"),
            format!("{message:?}"),
            format!("{:?}", inbound()),
            inbound().to_string(),
        ] {
            assert!(
                !text.contains("116, 119, 101") && !text.contains("twenty"),
                "{text}"
            );
        }
        assert!(
            batch.bytes().windows(6).any(|w| w == b"twenty"),
            "it is there"
        );
    }

    #[test]
    fn a_cleared_batch_holds_no_key_in_what_its_buffer_still_shows() {
        let mut batch = Batch::new(1);
        add(&mut batch, &inbound());
        let len = batch.bytes().len();
        batch.clear();
        batch.message(0, 0, |payload| payload.put_bytes(&vec![0; len - 16]));
        assert!(!batch.bytes().windows(6).any(|w| w == b"twenty"));
    }

    #[test]
    fn the_replay_window_takes_the_form_that_every_kernel_accepts() {
        let replay = |direction, replay_window, esn| {
            Replay::of(&Sa {
                direction,
                replay_window,
                esn,
                ..inbound()
            })
        };
        for (direction, window, esn, expected) in [
            (SaDirection::In, 0, false, Replay::Short(0)),
            (SaDirection::In, 32, false, Replay::Short(32)),
            (SaDirection::In, 33, false, Replay::Extended(33)),
            (SaDirection::In, 0, true, Replay::Extended(32)),
            (SaDirection::In, 9999, true, Replay::Extended(4096)),
            (SaDirection::Out, 64, false, Replay::Short(0)),
            (SaDirection::Out, 64, true, Replay::Extended(32)),
        ] {
            assert_eq!(replay(direction, window, esn), expected);
        }
    }

    /// `EXPIRE`: the SA, one octet and its padding, then attributes.
    #[test]
    fn an_expiry_keeps_its_attributes_and_says_how_final_it_is() {
        let bytes = written(&inbound());
        let whole = Messages(&bytes).next().unwrap();
        let (info, attributes) = whole.payload.split_at(xfrm::XFRM_USER_SA_INFO_LEN);
        for hard in [0, 1] {
            let payload = [info, &[hard, 0, 0, 0, 0, 0, 0, 0], attributes].concat();
            let message = Message {
                kind: XFRM_MSG_EXPIRE,
                payload: &payload,
                ..whole
            };
            assert_eq!(is_hard_expiry(&message), hard == 1);
            assert_eq!(read(&message).unwrap().key, inbound().key(), "its mark too");
        }
    }

    #[test]
    fn a_deletion_names_the_whole_sa_and_larval_ones_are_passed_over() {
        let bytes = written(&inbound());
        let whole = Messages(&bytes).next().unwrap();
        let (info, attributes) = whole.payload.split_at(xfrm::XFRM_USER_SA_INFO_LEN);
        let mut batch = Batch::new(1);
        batch.message(XFRM_MSG_DELSA, 0, |payload| {
            payload.put(&xfrm::UserSaId::default());
            payload.attribute_bytes(XFRMA_SA, &[info]);
            payload.put_bytes(attributes);
        });
        let there = read(&Messages(batch.bytes()).next().unwrap()).unwrap();
        assert_eq!(there.key, inbound().key());

        let larval = UserSaInfo {
            family: fields::family_code(Family::V4),
            ..UserSaInfo::default()
        };
        let mut payload = vec![0; larval.buffer_len()];
        larval.emit(&mut payload);
        assert_eq!(
            read(&Message {
                payload: &payload,
                ..whole
            }),
            None
        );
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_panic(kind in 0x10u16..0x29, octets in prop::collection::vec(any::<u8>(), 0..500)) {
            let message = Message { kind, flags: 0, sequence: 0, port: 0, payload: &octets };
            let _ = (read(&message), is_hard_expiry(&message));
        }

        #[test]
        fn an_sa_cut_short_or_altered_is_read_without_panic(cut in 0usize..600, at in 0usize..600, octet: u8) {
            let mut bytes = written(&inbound());
            let at = at % bytes.len();
            bytes[at] = octet;
            bytes.truncate(bytes.len().min(cut));
            for message in Messages(&bytes) {
                let _ = (read(&message), is_hard_expiry(&message));
            }
        }
    }
}
