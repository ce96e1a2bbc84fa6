//! The words that two people compare: whether they have the same pad, unaltered.

use std::fmt;

use polyval::universal_hash::UniversalHash;
use polyval::{Key, Polyval};
use vernam_key::SecretBytes;

use super::PadId;

/// Bytes of the hash key, and of the mask.
const KEY: usize = 16;
/// Bytes shown. Another pad of 2^36 blocks has the same words with a chance of at most 2^36 / 2^64.
const SHOWN: usize = 8;

/// Four words that are the same for both files of a pair, and for no others. They tell nothing of the pad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; SHOWN]);

/// Sixteen bits a word, as consonant, vowel, consonant, vowel, consonant: easy to say over a bad line
/// (the coding is that of Wilkerson's proquints, arXiv:0901.4016).
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const CONSONANTS: [char; 16] = ['b', 'd', 'f', 'g', 'h', 'j', 'k', 'l', 'm', 'n', 'p', 'r', 's', 't', 'v', 'z'];
        const VOWELS: [char; 4] = ['a', 'i', 'o', 'u'];
        for (index, pair) in self.0.as_chunks::<2>().0.iter().enumerate() {
            let bits = usize::from(u16::from_be_bytes(*pair));
            if index > 0 {
                f.write_str(" ")?;
            }
            for (letters, shift) in
                [(&CONSONANTS[..], 12), (&VOWELS, 10), (&CONSONANTS, 6), (&VOWELS, 4), (&CONSONANTS, 0)]
            {
                write!(f, "{}", letters[bits >> shift & (letters.len() - 1)])?;
            }
        }
        Ok(())
    }
}

/// Computes a [`Fingerprint`] while the pad goes by: POLYVAL (RFC 8452, section 3) of name, pad and length, masked.
pub(super) struct Hasher {
    hash: Polyval,
    mask: SecretBytes,
    len: u64,
}

impl Hasher {
    /// With the first 32 bytes of a pad's secret.
    pub(super) fn new(id: PadId, secret: &[u8]) -> Self {
        let mut key = Key::default();
        key.copy_from_slice(&secret[..KEY]);
        let mut hash = Polyval::new(&key);
        zeroize::zeroize_bytes(&mut key);
        hash.update_padded(&id.0);
        Self { hash, mask: SecretBytes::copy_of(&secret[KEY..2 * KEY]), len: 0 }
    }

    /// The next bytes of the pad: whole blocks of 16, but for the last.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.hash.update_padded(bytes);
        self.len += bytes.len() as u64;
    }

    pub(super) fn finish(mut self) -> Fingerprint {
        let mut block = [0; 16];
        block[..8].copy_from_slice(&self.len.to_le_bytes());
        self.hash.update_padded(&block);
        let hash: [u8; 16] = self.hash.finalize().into();
        let mask = self.mask.expose("to hide the hash of the pad");
        let mut shown = [0; SHOWN];
        for ((shown, hash), mask) in shown.iter_mut().zip(hash).zip(mask) {
            *shown = hash ^ mask;
        }
        Fingerprint(shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_can_be_said_and_differ_by_one_bit_of_pad() {
        assert_eq!(Fingerprint([0x7f, 0, 0, 1, 0xff, 0xff, 0, 0]).to_string(), "lusab babad zuzuz babab");
        let secret = [7; 64];
        let of = |pad: &[u8]| {
            let mut hasher = Hasher::new(PadId([1; 16]), &secret);
            hasher.update(pad);
            hasher.finish()
        };
        let mut pad = vec![9; 1_000];
        let before = of(&pad);
        assert_eq!(of(&pad), before);
        pad[999] ^= 1;
        assert_ne!(of(&pad), before);
        assert_ne!(of(&[9; 1_008]), of(&[[9_u8; 1_000].as_slice(), &[0; 8]].concat()));
        assert_ne!(of(&[0; 15]), of(&[0; 16]), "the length counts");
    }
}
