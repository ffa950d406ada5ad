//! The encrypted payload (RFC 7296 §3.14, RFC 5282), and the algorithms it shares with ESP.

use crate::ike::effects::Sha2;
use crate::ike::settings::ChildProtocol;
use crate::ike::wire::{Header, PayloadKind, Payloads, RawPayloads, WireError};
use crate::net::{Random, Secret};
use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{
    AES_128, AES_256, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext,
    UnboundCipherKey,
};
use aws_lc_rs::{hmac, iv::FixedLength};
use zeroize::Zeroizing;

/// How octets are encrypted and authenticated, in IKE and in ESP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cipher {
    /// With a 16-octet ICV.
    AesGcm16(KeyBits),
    AesCbc(KeyBits, Sha2),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyBits {
    K128,
    K256,
}

impl KeyBits {
    pub fn bits(self) -> u16 {
        match self {
            Self::K128 => 128,
            Self::K256 => 256,
        }
    }

    pub fn octets(self) -> usize {
        usize::from(self.bits() / 8)
    }
}

/// How a child SA protects packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protection {
    Esp(Cipher),
    /// HMAC, truncated as RFC 4868 says.
    Ah(Sha2),
}

impl Protection {
    pub fn protocol(self) -> ChildProtocol {
        match self {
            Self::Esp(_) => ChildProtocol::Esp,
            Self::Ah(_) => ChildProtocol::Ah,
        }
    }

    pub fn key_len(self) -> usize {
        match self {
            Self::Esp(cipher) => cipher.key_len(),
            Self::Ah(_) => 0,
        }
    }

    pub fn auth_len(self) -> usize {
        match self {
            Self::Esp(cipher) => cipher.auth_len(),
            Self::Ah(hash) => hash.octets(),
        }
    }
}

/// Part of the key material that becomes part of every nonce (RFC 4106 §8.1, RFC 5282 §7.1).
const GCM_SALT: usize = 4;
const GCM_IV: usize = 8;
const GCM_ICV: usize = 16;
const BLOCK: usize = 16;
const SK_HEADER: usize = 4;

impl Cipher {
    /// Octets of key material for encryption, the salt included.
    pub fn key_len(self) -> usize {
        match self {
            Self::AesGcm16(bits) => bits.octets() + GCM_SALT,
            Self::AesCbc(bits, _) => bits.octets(),
        }
    }

    /// Octets of key material for integrity: none where encryption brings its own.
    pub fn auth_len(self) -> usize {
        match self {
            Self::AesGcm16(_) => 0,
            Self::AesCbc(_, hash) => hash.octets(),
        }
    }
}

/// Why an encrypted message was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Forged, damaged or meant for another; to be ignored without a trace (RFC 7296 §2.21).
    #[error("integrity check failed")]
    Integrity,
    /// The peer itself sent it so.
    #[error("authentic, but {0}")]
    Contents(WireError),
}

/// The keys of one direction of an IKE SA.
#[derive(Debug)]
pub struct Direction {
    cipher: Cipher,
    key: Secret,
    auth: Secret,
    /// Messages sealed; the IV of GCM, which must never come twice under one key.
    sealed: u64,
}

impl Direction {
    /// `key` and `auth` are `key_len` and `auth_len` octets long.
    pub fn new(cipher: Cipher, key: Secret, auth: Secret) -> Self {
        debug_assert_eq!(
            (key.len(), auth.len()),
            (cipher.key_len(), cipher.auth_len())
        );
        Self {
            cipher,
            key,
            auth,
            sealed: 0,
        }
    }

    /// A whole message: header, `SK` payload around `payloads`, check value.
    ///
    /// ```text
    /// | header | next, 0, length | IV | encrypted: payloads, padding, pad length | ICV |
    /// ```
    pub fn seal(
        &mut self,
        mut header: Header,
        payloads: &Payloads,
        rng: &mut dyn Random,
    ) -> Vec<u8> {
        header.next = PayloadKind::SK;
        let (first, chain) = payloads.encode();
        let mut plain = Zeroizing::new(chain);
        let (iv_len, icv_len, block) = match self.cipher {
            Cipher::AesGcm16(_) => (GCM_IV, GCM_ICV, 1),
            Cipher::AesCbc(_, hash) => (BLOCK, hash.icv_len(), BLOCK),
        };
        let padding = (block - (plain.len() + 1) % block) % block;
        let padded = plain.len() + padding;
        plain.resize(padded, 0);
        plain.push(padding as u8);
        let body = SK_HEADER + iv_len + plain.len() + icv_len;
        let mut out = header.encode(body);
        let length = u16::try_from(body).unwrap_or(0).to_be_bytes();
        out.extend_from_slice(&[first.0, 0, length[0], length[1]]);
        match self.cipher {
            Cipher::AesGcm16(bits) => {
                self.sealed += 1;
                let iv = self.sealed.to_be_bytes();
                let tag = self
                    .gcm(bits)
                    .seal_in_place_separate_tag(self.gcm_nonce(iv), Aad::from(&out[..]), &mut plain)
                    .expect("messages are far shorter than GCM's limit");
                out.extend_from_slice(&iv);
                out.extend_from_slice(&plain);
                out.extend_from_slice(tag.as_ref());
            }
            Cipher::AesCbc(bits, hash) => {
                let mut iv = [0; BLOCK];
                rng.fill(&mut iv);
                EncryptingKey::cbc(self.cbc_key(bits))
                    .and_then(|key| {
                        let context = EncryptionContext::Iv128(FixedLength::from(iv));
                        key.less_safe_encrypt(&mut plain, context)
                    })
                    .expect("the plaintext was padded to whole blocks");
                out.extend_from_slice(&iv);
                out.extend_from_slice(&plain);
                let icv = hmac::sign(&self.hmac_key(hash), &out);
                out.extend_from_slice(&icv.as_ref()[..hash.icv_len()]);
            }
        }
        out
    }

    /// The payloads inside a message that [`Header::decode`] accepted.
    pub fn open(&self, datagram: &[u8]) -> Result<Payloads, OpenError> {
        let (header, body) = Header::decode(datagram).map_err(|_| OpenError::Integrity)?;
        // Payloads in front of SK are not protected from being added; nobody sends any.
        let sk = match RawPayloads::new(header.next, body).next() {
            Some(Ok(raw)) if raw.kind == PayloadKind::SK => raw,
            _ => return Err(OpenError::Integrity),
        };
        if sk.body.len() + SK_HEADER != body.len() {
            return Err(OpenError::Integrity);
        }
        let plain = self
            .decrypt(datagram, sk.body)
            .ok_or(OpenError::Integrity)?;
        let (padding, rest) =
            plain
                .split_last()
                .ok_or(OpenError::Contents(WireError::Truncated(
                    "encrypted payload",
                )))?;
        let chain = rest
            .len()
            .checked_sub(usize::from(*padding))
            .ok_or(OpenError::Contents(WireError::Length("padding")))?;
        Payloads::decode(sk.next, &rest[..chain]).map_err(OpenError::Contents)
    }

    /// `body` is the end of `datagram`.
    fn decrypt(&self, datagram: &[u8], body: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let covered = datagram.len() - body.len();
        match self.cipher {
            Cipher::AesGcm16(bits) => {
                let (iv, sealed) = body.split_first_chunk::<GCM_IV>()?;
                let mut sealed = Zeroizing::new(sealed.to_vec());
                let aad = Aad::from(&datagram[..covered]);
                let plain = self
                    .gcm(bits)
                    .open_in_place(self.gcm_nonce(*iv), aad, &mut sealed)
                    .ok()?
                    .len();
                sealed.truncate(plain);
                Some(sealed)
            }
            Cipher::AesCbc(bits, hash) => {
                let split = body.len().checked_sub(hash.icv_len())?;
                let (encrypted, icv) = body.split_at(split);
                let authentic = hmac::sign(
                    &self.hmac_key(hash),
                    &datagram[..datagram.len() - hash.icv_len()],
                );
                if !super::constant_time_eq(&authentic.as_ref()[..hash.icv_len()], icv) {
                    return None;
                }
                let (iv, blocks) = encrypted.split_first_chunk::<BLOCK>()?;
                let mut plain = Zeroizing::new(blocks.to_vec());
                let context = DecryptionContext::Iv128(FixedLength::from(*iv));
                DecryptingKey::cbc(self.cbc_key(bits))
                    .and_then(|key| key.decrypt(&mut plain, context).map(|_| ()))
                    .ok()?;
                Some(plain)
            }
        }
    }

    fn gcm(&self, bits: KeyBits) -> LessSafeKey {
        let algorithm = match bits {
            KeyBits::K128 => &AES_128_GCM,
            KeyBits::K256 => &AES_256_GCM,
        };
        let key = UnboundKey::new(algorithm, &self.key.expose()[..bits.octets()]);
        LessSafeKey::new(key.expect("the key has the algorithm's length"))
    }

    fn gcm_nonce(&self, iv: [u8; GCM_IV]) -> Nonce {
        let mut nonce = [0; GCM_SALT + GCM_IV];
        let salt = self.key.len() - GCM_SALT;
        nonce[..GCM_SALT].copy_from_slice(&self.key.expose()[salt..]);
        nonce[GCM_SALT..].copy_from_slice(&iv);
        Nonce::assume_unique_for_key(nonce)
    }

    fn cbc_key(&self, bits: KeyBits) -> UnboundCipherKey {
        let algorithm = match bits {
            KeyBits::K128 => &AES_128,
            KeyBits::K256 => &AES_256,
        };
        UnboundCipherKey::new(algorithm, self.key.expose())
            .expect("the key has the algorithm's length")
    }

    fn hmac_key(&self, hash: Sha2) -> hmac::Key {
        hmac::Key::new(hash.hmac(), self.auth.expose())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::wire::{Exchange, NotifyKind, Payload};
    use crate::net::random::Seeded;

    const ALL: [Cipher; 5] = [
        Cipher::AesGcm16(KeyBits::K128),
        Cipher::AesGcm16(KeyBits::K256),
        Cipher::AesCbc(KeyBits::K128, Sha2::Sha256),
        Cipher::AesCbc(KeyBits::K256, Sha2::Sha384),
        Cipher::AesCbc(KeyBits::K256, Sha2::Sha512),
    ];

    fn direction(cipher: Cipher) -> Direction {
        let key = |len| Secret::new((0..len).map(|n| n as u8).collect());
        Direction::new(cipher, key(cipher.key_len()), key(cipher.auth_len()))
    }

    fn header() -> Header {
        Header {
            spi_i: 1,
            spi_r: 2,
            next: PayloadKind::NONE,
            exchange: Exchange::INFORMATIONAL,
            from_initiator: true,
            response: false,
            message_id: 3,
        }
    }

    #[test]
    fn sealed_payloads_open_whatever_their_length() {
        for cipher in ALL {
            for len in 0..40 {
                let inner = Payloads(vec![Payload::notify(NotifyKind::COOKIE, vec![7; len])]);
                let sealed = direction(cipher).seal(header(), &inner, &mut Seeded(len as u64));
                assert_eq!(
                    direction(cipher).open(&sealed),
                    Ok(inner),
                    "{cipher:?} {len}"
                );
            }
            let empty = direction(cipher).seal(header(), &Payloads::default(), &mut Seeded(1));
            assert_eq!(direction(cipher).open(&empty), Ok(Payloads::default()));
        }
    }

    #[test]
    fn no_octet_can_be_changed_or_cut() {
        for cipher in ALL {
            let inner = Payloads(vec![Payload::Nonce(vec![7; 20])]);
            let sealed = direction(cipher).seal(header(), &inner, &mut Seeded(1));
            for i in 0..sealed.len() {
                let mut forged = sealed.clone();
                forged[i] ^= 0x01;
                assert_eq!(
                    direction(cipher).open(&forged),
                    Err(OpenError::Integrity),
                    "{cipher:?} {i}"
                );
                assert_eq!(
                    direction(cipher).open(&sealed[..i]),
                    Err(OpenError::Integrity)
                );
            }
        }
    }

    #[test]
    fn gcm_never_uses_an_iv_twice() {
        let mut direction = direction(ALL[0]);
        let mut ivs: Vec<_> = (0..10)
            .map(|_| {
                let sealed = direction.seal(header(), &Payloads::default(), &mut Seeded(1));
                sealed[Header::LEN + SK_HEADER..][..GCM_IV].to_vec()
            })
            .collect();
        ivs.dedup();
        assert_eq!(ivs.len(), 10);
    }

    /// The layout spelled out: GCM's associated data ends where the IV begins (RFC 5282 §5.1).
    #[test]
    fn a_sealed_empty_message_has_these_fixed_octets() {
        let sealed = direction(ALL[0]).seal(header(), &Payloads::default(), &mut Seeded(1));
        let expected = [
            0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 46, 0x20, 37, 0x08, 0, 0, 0, 3, 0, 0,
            0, 57, 0, 0, 0, 29, 0, 0, 0, 0, 0, 0, 0, 1,
        ];
        assert_eq!(sealed[..40], expected);
        assert_eq!(sealed.len(), 57);
    }
}
