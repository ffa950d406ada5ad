//! From an agreed child to what the kernel is told of it.

use crate::ike::effects::{ChildKeys, ChildSa, Sha2};
use crate::kernel::desired::{
    Algorithms, Lifetime, Limits, Mark, Mode, Sa, SaDirection, UdpEncapsulation,
};
use crate::net::{Cpi, Selector};

/// Packets that may arrive out of order.
const REPLAY_WINDOW: u32 = 128;

/// The inbound and the outbound one. `inner` restricts them to what they carry, outbound.
pub(super) fn of_child(
    child: &ChildSa,
    mode: Mode,
    reqid: u32,
    inner: Option<Selector>,
) -> (Sa, Sa) {
    let hard = Limits {
        time: child.hard_lifetime,
        ..Limits::default()
    };
    let incoming = Sa {
        src: child.remote,
        dst: child.local,
        spi: child.spi_in,
        direction: SaDirection::In,
        mode,
        reqid,
        algorithms: algorithms(&child.keys_in),
        replay_window: REPLAY_WINDOW,
        esn: child.esn,
        encapsulation: child.encapsulation.map(|(local, remote)| UdpEncapsulation {
            src_port: remote,
            dst_port: local,
        }),
        lifetime: Lifetime {
            soft: Limits::default(),
            hard,
        },
        mark: Mark::default(),
        if_id: 0,
        selector: inner.map(|s| s.reversed()),
    };
    let outgoing = Sa {
        src: child.local,
        dst: child.remote,
        spi: child.spi_out,
        direction: SaDirection::Out,
        algorithms: algorithms(&child.keys_out),
        encapsulation: child.encapsulation.map(|(local, remote)| UdpEncapsulation {
            src_port: local,
            dst_port: remote,
        }),
        selector: inner,
        ..incoming.clone()
    };
    (incoming, outgoing)
}

/// The compression that goes with a child in transport mode, likewise.
pub(super) fn of_compression(
    child: &ChildSa,
    reqid: u32,
    inner: Option<Selector>,
) -> Option<(Sa, Sa)> {
    let compression = child.compression?;
    let (incoming, outgoing) = of_child(child, Mode::Transport, reqid, inner);
    // Inside of ESP and AH: there are neither numbers nor UDP.
    let compressed = |sa: Sa, cpi: Cpi| Sa {
        spi: cpi.into(),
        algorithms: Algorithms::Deflate,
        replay_window: 0,
        esn: false,
        encapsulation: None,
        ..sa
    };
    Some((
        compressed(incoming, compression.cpi_in),
        compressed(outgoing, compression.cpi_out),
    ))
}

/// The kernel's crypto API name, and how many bits of the result go on the wire (RFC 4868 §2.6).
fn hmac(hash: Sha2) -> (&'static str, u32) {
    match hash {
        Sha2::Sha256 => ("hmac(sha256)", 128),
        Sha2::Sha384 => ("hmac(sha384)", 192),
        Sha2::Sha512 => ("hmac(sha512)", 256),
    }
}

fn algorithms(keys: &ChildKeys) -> Algorithms {
    match keys {
        ChildKeys::AesGcm16 { key } => Algorithms::Aead {
            name: "rfc4106(gcm(aes))",
            key: key.clone(),
            icv_bits: 128,
        },
        ChildKeys::AesCbcHmac { cipher, auth, hash } => {
            let (name, truncation_bits) = hmac(*hash);
            Algorithms::EncryptThenAuth {
                cipher: "cbc(aes)",
                cipher_key: cipher.clone(),
                auth: name,
                auth_key: auth.clone(),
                truncation_bits,
            }
        }
        ChildKeys::AhHmac { auth, hash } => {
            let (name, truncation_bits) = hmac(*hash);
            Algorithms::Ah {
                auth: name,
                auth_key: auth.clone(),
                truncation_bits,
            }
        }
    }
}
