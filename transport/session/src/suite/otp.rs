//! One-time pad with a Wegman-Carter tag.

use polyval::universal_hash::UniversalHash;
use polyval::{Key, Polyval};
use subtle::ConstantTimeEq;
use vernam_key::{Outbound, PadChunk, PendingPad, Purpose};

use crate::flow::Aad;

/// A full tag before it is masked.
pub(super) type Tag = [u8; 16];

/// The universal hash of a one-time-pad key block, POLYVAL (RFC 8452, section 3), under the block's own secret key.
///
/// # What a tag promises
///
/// A record's tag is `POLYVAL(H, X) xor mask`, where `X` is the authenticated header, the ciphertext (both padded with
/// zeros to 16-byte blocks) and one block with their lengths in bits, `H` is 16 secret bytes that the block's records
/// share, and `mask` is fresh pad for each record. This is the construction of Wegman and Carter (J. Comput. Syst. Sci.
/// 22, 1981). The masks are uniform and independent, so the tags seen tell nothing of `H`, and a forger who sees a record
/// (X, t) and offers (X', t') with X' other than X succeeds exactly if `POLYVAL(H, X) xor POLYVAL(H, X') = t xor t'`.
///
/// *Full tag.* With at most `d` blocks in `X` and `X'`, both sides are polynomials in `H` of degree at most `d` over
/// GF(2^128) without a constant term. They differ, because the encoding above is injective and the length block tells
/// apart messages of different length. So for each of the forger's choices at most `d` of the 2^128 hash keys make the
/// forgery pass: at most `d / 2^128` a try. (POLYVAL's factor x^-128 maps `H` one-to-one and changes nothing.)
///
/// *Tag cut to its first 64 bits* (voice). The forgery passes if the difference of the two polynomials has the wanted
/// first 64 bits. There are 2^64 field elements with these bits; for each of them at most `d` hash keys reach it; so at
/// most `d * 2^64` of the 2^128 hash keys: at most `d / 2^64` a try. A voice datagram of up to 1,024 bytes has
/// d <= 68, so with [`crate::limits::MAX_REFUSALS`] tries against a flow the chance is below 2^-47, whatever the
/// forger's computer. (Cutting works since GF(2^128) addition is XOR, bit by bit; a cut Poly1305 tag, with its addition
/// modulo 2^128, keeps no such bound.)
///
/// `H` is shared by the records of one key block only, and the bound holds for each try on its own, so `n` tries have
/// at most `n` times the chance.
pub struct OtpMac(Polyval);

impl OtpMac {
    /// From the 16 secret bytes at the front of a key block.
    pub(super) fn new(hash_key: &[u8]) -> Self {
        let mut key = Key::default();
        key.copy_from_slice(hash_key);
        let mac = Self(Polyval::new(&key));
        zeroize::zeroize_bytes(&mut key);
        mac
    }

    /// XORs `pad` into `data` and returns the tag of the ciphertext, unmasked. One pass over the data.
    pub(super) fn encrypt<P: Purpose>(&self, aad: &Aad, pad: PadChunk<'_, Outbound, P>, data: &mut [u8]) -> Tag {
        let mut hash = self.0.clone();
        hash.update_padded(aad);
        let len = data.len();
        pad.xor_each(data, |piece| hash.update_padded(piece));
        finish(hash, aad.len(), len)
    }

    /// Decrypts `data` in place with `pad` if `tag` is the tag of `aad` and the ciphertext, masked with the end of `pad`;
    /// otherwise changes neither. Compares in constant time.
    pub(super) fn decrypt<P: Purpose>(&self, aad: &Aad, pad: PendingPad<'_, P>, data: &mut [u8], tag: &[u8]) -> bool {
        let mut hash = self.0.clone();
        hash.update_padded(aad);
        let len = data.len();
        pad.decrypt(data, hash, UniversalHash::update_padded, |hash, mask| {
            let mut expected = finish(hash, aad.len(), len);
            for (byte, mask) in expected.iter_mut().zip(mask) {
                *byte ^= mask;
            }
            tag.len() == mask.len() && bool::from(expected[..mask.len()].ct_eq(tag))
        })
    }

    /// The unmasked tag of a handshake transcript.
    pub(super) fn transcript(&self, transcript: &[u8]) -> Tag {
        let mut hash = self.0.clone();
        hash.update_padded(transcript);
        finish(hash, transcript.len(), 0)
    }
}

/// Adds the block of lengths, in bits, little-endian, and ends the hash.
fn finish(mut hash: Polyval, aad_len: usize, len: usize) -> Tag {
    let mut lengths = [0; 16];
    lengths[..8].copy_from_slice(&(aad_len as u64 * 8).to_le_bytes());
    lengths[8..].copy_from_slice(&(len as u64 * 8).to_le_bytes());
    hash.update_padded(&lengths);
    hash.finalize().into()
}
