//! The words by which two people make sure that nobody sits between them.
//!
//! Somebody in the middle has two sessions with two transcripts, and would have to find two that give the same words
//! while the handshakes wait. So the words are made by a memory-hard function: one try takes 64 MiB and a good part of a
//! second, and half of 2^44 tries are needed for an even chance. It does not replace the proof of the quantum key, which
//! comes first; it also holds where that key was stolen.

use argon2::{Algorithm, Argon2, Params, Version};
use bip39::Language;

/// Argon2id with the second recommended parameters (RFC 9106, section 4).
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 4;
/// Fixed, so that both ends compute the same. The transcript is fresh every time, which is what a salt is for.
const SALT: &[u8] = b"vernam/1 words 4x11";
/// Words of 11 bits each.
const WORDS: usize = 4;

/// The words of a session, from [`vernam_session::Session::verification`]. Takes 64 MiB and a good part of a second.
pub(crate) fn words_of(verification: &[u8; 32]) -> Result<[String; WORDS], argon2::Error> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(8))?;
    let mut hash = [0; 8];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(verification, SALT, &mut hash)?;
    let bits = u64::from_be_bytes(hash);
    let list = Language::English.word_list();
    // The first word is in the topmost 11 bits.
    Ok([0, 1, 2, 3].map(|word| {
        let index = usize::try_from(bits >> (64 - 11 * (word + 1)) & 0x7ff).unwrap_or(0);
        list[index].to_owned()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_transcript_gives_the_same_words_and_another_one_others() {
        let words = words_of(&[7; 32]).unwrap();
        assert_eq!(words, words_of(&[7; 32]).unwrap());
        let mut other = [7; 32];
        other[31] ^= 1;
        assert_ne!(words, words_of(&other).unwrap());
        assert!(words.iter().all(|word| Language::English.word_list().contains(&word.as_str())));
    }
}
