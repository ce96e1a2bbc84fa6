//! The two AEAD suites: AES-256-GCM by ring, ChaCha20-Poly1305 by RustCrypto.

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use ring::{aead, hkdf};
use zeroize::Zeroizing;

use super::{Exporter, Suite};
use crate::error::{KeyError, Refusal};
use crate::flow::Aad;
use crate::labels;
use crate::limits::TAG_LEN;

/// One AEAD key. The ChaCha20 key is wiped on drop; ring keeps AES round keys to itself and does not wipe them, which
/// `transport/PROTOCOL.md` says under "What is not promised".
pub(super) enum AeadKey {
    Aes(Box<aead::LessSafeKey>),
    ChaCha(Box<ChaCha20Poly1305>),
}

/// 32 bytes out of HKDF.
struct KeyLen;

impl hkdf::KeyType for KeyLen {
    fn len(&self) -> usize {
        32
    }
}

impl AeadKey {
    /// HKDF-SHA-256 (RFC 5869) with the TLS exporter as salt, QKD key as input and the label and `context` as info:
    /// the key is unknown as long as one of the two layers holds.
    pub(super) fn derive(suite: Suite, exporter: &Exporter, seed: &[u8], context: &[u8; 32]) -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0; 32]);
        hkdf::Salt::new(hkdf::HKDF_SHA256, exporter.bytes())
            .extract(seed)
            .expand(&[labels::AEAD_KEY, context], KeyLen)
            .and_then(|okm| okm.fill(bytes.as_mut_slice()))
            .map_err(|ring::error::Unspecified| KeyError::Derivation)?;
        Ok(match suite {
            Suite::Aes256Gcm => {
                let key = aead::UnboundKey::new(&aead::AES_256_GCM, bytes.as_slice())
                    .map_err(|ring::error::Unspecified| KeyError::Derivation)?;
                Self::Aes(Box::new(aead::LessSafeKey::new(key)))
            }
            Suite::ChaCha20Poly1305 => Self::ChaCha(Box::new(ChaCha20Poly1305::new((&*bytes).into()))),
            Suite::Otp => return Err(KeyError::Derivation),
        })
    }

    pub(super) fn seal(&self, aad: &Aad, seq: u64, data: &mut [u8], tag: &mut [u8]) -> Result<(), KeyError> {
        match self {
            Self::Aes(key) => {
                let nonce = aead::Nonce::assume_unique_for_key(nonce(seq));
                let made = key
                    .seal_in_place_separate_tag(nonce, aead::Aad::from(aad), data)
                    .map_err(|ring::error::Unspecified| KeyError::Sealing)?;
                tag.copy_from_slice(made.as_ref());
            }
            Self::ChaCha(key) => {
                let made = key
                    .encrypt_inout_detached(&nonce(seq).into(), aad, data.into())
                    .map_err(|_opaque| KeyError::Sealing)?;
                tag.copy_from_slice(&made);
            }
        }
        Ok(())
    }

    pub(super) fn open(&self, aad: &Aad, seq: u64, data: &mut [u8], tag: &[u8]) -> Result<(), Refusal> {
        let tag: [u8; TAG_LEN] = tag.try_into().map_err(|_length| Refusal::Malformed)?;
        match self {
            Self::Aes(key) => key
                .open_in_place_separate_tag(
                    aead::Nonce::assume_unique_for_key(nonce(seq)),
                    aead::Aad::from(aad),
                    tag.into(),
                    data,
                    0..,
                )
                .map(|_plaintext| ())
                .map_err(|ring::error::Unspecified| Refusal::Forged),
            Self::ChaCha(key) => key
                .decrypt_inout_detached(&nonce(seq).into(), aad, data.into(), &tag.into())
                .map_err(|_opaque| Refusal::Forged),
        }
    }
}

/// 32 zero bits and the record's number, which never repeats under one key.
fn nonce(seq: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&seq.to_be_bytes());
    nonce
}
