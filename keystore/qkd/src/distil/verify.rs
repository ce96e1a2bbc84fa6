//! Whether the two corrected keys are the same.
//!
//! Alice draws a fresh 128-bit key `H`, makes it public and with it `POLYVAL_H` of her bits (RFC 8452, section 3),
//! padded with zeros to blocks of 128, and of one block more with their number. Two keys that differ have the same
//! hash for at most `s` of the 2^128 keys `H`, `s` the number of blocks: their difference is a polynomial in `H` of
//! degree `s` at most. The hash tells Eve 128 bits about the key, which are taken off again.

use polyval::universal_hash::UniversalHash as _;
use polyval::{Key, Polyval};
use zeroize::Zeroizing;

use crate::bits::BitString;
use crate::draw::to_f64;

/// Bytes of the key of the hash, and of the hash.
pub(super) const HASH_BYTES: usize = 16;

/// Bits that the hash discloses.
pub(super) const DISCLOSED_BITS: u64 = 128;

/// Words hashed at a time.
const CHUNK: usize = 64;

/// The hash of `bits` under `key`.
pub(super) fn hash(key: &[u8; HASH_BYTES], bits: &BitString) -> [u8; HASH_BYTES] {
    let mut hash = Polyval::new(&Key::from(*key));
    let mut buffer = Zeroizing::new([0; CHUNK * 8]);
    for words in bits.words().chunks(CHUNK) {
        for (bytes, word) in buffer.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        hash.update_padded(&buffer[..words.len() * 8]);
    }
    hash.update_padded(&(bits.len() as u128).to_le_bytes());
    hash.finalize().into()
}

/// How likely two different keys of `bits` pass as the same, at most.
pub(super) fn collision_bound(bits: u64) -> f64 {
    to_f64(bits.div_ceil(128) + 1) * 0.5_f64.powi(128)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_polyval_of_the_whole_and_sees_every_bit_and_the_length() {
        const KEY: [u8; 16] = [0x52; 16];
        let make = |len: usize, flip: usize| {
            let mut bits = BitString::new();
            (0..len).for_each(|i| bits.push((i * i % 11 < 5) ^ (i == flip)));
            bits
        };
        let len = CHUNK * 64 + 1000;
        let bits = make(len, usize::MAX);
        let mut bytes: Vec<u8> = bits.words().iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.resize(bytes.len().next_multiple_of(16), 0);
        bytes.extend_from_slice(&(len as u128).to_le_bytes());
        let mut whole = Polyval::new(&Key::from(KEY));
        whole.update_padded(&bytes);
        let expected: [u8; 16] = whole.finalize().into();
        assert_eq!(hash(&KEY, &bits), expected);
        for flip in [0, 63, 64, 127, 128, CHUNK * 64, len - 1] {
            assert_ne!(hash(&KEY, &make(len, flip)), expected);
        }
        let mut longer = make(len, usize::MAX);
        longer.push(false);
        assert_ne!(hash(&KEY, &longer), expected, "a zero more");
        assert!((collision_bound(129) * 2.0_f64.powi(128) - 3.0).abs() < 1e-9);
    }
}
