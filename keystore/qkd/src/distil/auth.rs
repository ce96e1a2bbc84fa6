//! Wegman-Carter tags, and the key that they take.
//!
//! A tag is `POLYVAL_H(transcript) xor pad` (M. N. Wegman and J. L. Carter, J. Comput. Syst. Sci. 22, 265, 1981;
//! POLYVAL: RFC 8452, section 3). `H` is secret and stays the same, one for each direction; the pad is 128 bits that
//! are used once. The transcript is all messages of one direction in one block, each after a 16-byte block with its
//! length and padded with zeros to whole blocks of 16 bytes, and one block with their number at the end: no two
//! transcripts are encoded alike. Whoever forges a tag without knowing `H` succeeds with at most `s / 2^128`, `s` the
//! blocks of 16 bytes of the longer transcript: the difference of the two is a polynomial in `H` of no higher degree.

use std::collections::VecDeque;

use polyval::universal_hash::UniversalHash as _;
use polyval::{Key, Polyval};
use thiserror::Error;
use vernam_key::SecretBytes;
use zeroize::{Zeroize as _, Zeroizing};

use super::limits;
use crate::draw::to_f64;

/// Bytes of a tag and of the pad that masks it.
pub(super) const TAG_BYTES: usize = 16;

/// Bits of a pad.
pub(super) const PAD_BITS: u64 = 8 * TAG_BYTES as u64;

/// Tags in a block that passes: two of Alice's, one of Bob's.
pub(super) const TAGS_PER_BLOCK: u64 = 3;

/// The start-up secret that was installed at both ends: authenticates the first blocks, until the link's own output
/// replaces it.
///
/// Neither `Clone` nor shown by `Debug`. A secret serves one run of one link: pads that are used a second time tell a
/// listener enough to forge tags. So a link that is started anew needs a new secret.
pub struct AuthKey(SecretBytes);

/// The start-up secret is too short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a start-up secret of {0} bytes: make one of at least {min} bytes and install it at both ends",
    min = limits::MIN_AUTH_KEY_BYTES)]
pub struct AuthKeyTooShort(pub usize);

impl AuthKey {
    /// From at least [`limits::MIN_AUTH_KEY_BYTES`] secret bytes, the same at both ends. What exceeds
    /// [`limits::MAX_AUTH_KEY_BYTES`] is not used. The more there are, the longer the link withstands somebody who
    /// spoils its blocks at the last step, which costs pads.
    pub fn new(secret: SecretBytes) -> Result<Self, AuthKeyTooShort> {
        if secret.len() < limits::MIN_AUTH_KEY_BYTES { Err(AuthKeyTooShort(secret.len())) } else { Ok(Self(secret)) }
    }

    /// Pads for Alice's messages, and for Bob's. She has two tags in a block where he has one.
    pub(super) fn split(self) -> (Pads, Pads) {
        let mut rest = self.0;
        let mut used = rest.split_to(limits::MAX_AUTH_KEY_BYTES);
        let keys = [used.split_to(TAG_BYTES), used.split_to(TAG_BYTES)];
        let pads = used.len() / TAG_BYTES;
        let for_alice = used.split_to(pads.div_ceil(3) * 2 * TAG_BYTES);
        let [alice, bob] = keys;
        (Pads::new(&alice, for_alice), Pads::new(&bob, used))
    }
}

impl std::fmt::Debug for AuthKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AuthKey(<{} secret bytes>)", self.0.len())
    }
}

/// What authenticates one direction: the hash key, and the pads that are left.
pub(super) struct Pads {
    hash: Polyval,
    stock: VecDeque<SecretBytes>,
    /// How many pads were taken since the start: the index of the first in stock.
    first: u64,
    /// The stock that refills aim at.
    target: usize,
}

impl Pads {
    fn new(hash_key: &SecretBytes, pads: SecretBytes) -> Self {
        let mut key = Key::default();
        key.copy_from_slice(hash_key.expose("the hash key of the tags goes into the hash"));
        let mut new = Self { hash: Polyval::new(&key), stock: VecDeque::new(), first: 0, target: 0 };
        key.zeroize();
        new.refill(pads);
        new.target = new.stock.len();
        new
    }

    /// Adds pads at the end; what is left over of `key` is dropped.
    pub(super) fn refill(&mut self, mut key: SecretBytes) {
        while key.len() >= TAG_BYTES {
            self.stock.push_back(key.split_to(TAG_BYTES));
        }
    }

    /// The next pad to be used, and its index; it is gone with that.
    pub(super) fn take(&mut self) -> Option<(u64, SecretBytes)> {
        let pad = self.stock.pop_front()?;
        self.first += 1;
        Some((self.first - 1, pad))
    }

    /// How many are left.
    pub(super) fn left(&self) -> usize {
        self.stock.len()
    }

    /// How many are missing once `more` were taken and `coming` have come.
    pub(super) fn missing(&self, more: usize, coming: usize) -> usize {
        (self.target + more).saturating_sub(self.stock.len() + coming)
    }

    /// A transcript to begin with.
    pub(super) fn transcript(&self) -> Transcript {
        Transcript { hash: self.hash.clone(), blocks: 0, messages: 0 }
    }

    /// Whether the far end's tag is right; compared in constant time. `coming` are pads that the far end may have got
    /// already, to follow those in stock.
    pub(super) fn is_right(&self, index: u64, transcript: &Transcript, tag: &[u8], coming: &[u8]) -> bool {
        let place = index.checked_sub(self.first).and_then(|place| usize::try_from(place).ok());
        place.is_some_and(|place| match self.stock.get(place) {
            Some(pad) => transcript.matches(pad.expose("a pad masks the tag that it is compared with"), tag),
            None => {
                let pad = coming.chunks_exact(TAG_BYTES).nth(place - self.stock.len());
                pad.is_some_and(|pad| transcript.matches(pad, tag))
            }
        })
    }

    /// Drops the pad of a tag that was right, and all before it: the far end may have used them for messages that never
    /// came.
    pub(super) fn drop_through(&mut self, index: u64) {
        while self.first <= index && self.stock.pop_front().is_some() {
            self.first += 1;
        }
    }
}

/// All messages of one direction in one block, hashed as they come. Secret in part: it holds the hash key.
#[derive(Clone)]
pub(super) struct Transcript {
    hash: Polyval,
    blocks: u64,
    messages: u64,
}

impl Transcript {
    /// Adds one message.
    pub(super) fn add(&mut self, message: &[u8]) {
        let len = message.len() as u64;
        self.hash.update_padded(&u128::from(len).to_le_bytes());
        self.hash.update_padded(message);
        self.blocks += 1 + len.div_ceil(TAG_BYTES as u64);
        self.messages += 1;
    }

    /// The tag under `pad`.
    pub(super) fn tag(&self, pad: &[u8]) -> [u8; TAG_BYTES] {
        let mut hash = self.hash.clone();
        hash.update_padded(&u128::from(self.messages).to_le_bytes());
        let mut tag: [u8; TAG_BYTES] = hash.finalize().into();
        for (byte, mask) in tag.iter_mut().zip(pad) {
            *byte ^= mask;
        }
        tag
    }

    fn matches(&self, pad: &[u8], tag: &[u8]) -> bool {
        let expected = Zeroizing::new(self.tag(pad));
        let differing = expected.iter().zip(tag).fold(0, |all, (ours, theirs)| all | (ours ^ theirs));
        tag.len() == TAG_BYTES && std::hint::black_box(differing) == 0
    }

    /// How likely a forged transcript as long as this one passes, at most.
    pub(super) fn forgery_bound(&self) -> f64 {
        to_f64(self.blocks + 1) * 0.5_f64.powi(128)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both() -> ((Pads, Pads), (Pads, Pads)) {
        let secret = || SecretBytes::from_vec((0..1024).map(|i| u8::try_from(i * 7 % 251).unwrap()).collect());
        (AuthKey::new(secret()).unwrap().split(), AuthKey::new(secret()).unwrap().split())
    }

    #[test]
    fn a_start_up_secret_becomes_two_keys_and_62_pads() {
        let ((alice, bob), _) = both();
        assert_eq!((alice.left(), bob.left()), (42, 20));
        let short = AuthKey::new(SecretBytes::from_vec(vec![1; 1023])).unwrap_err();
        assert!(short.to_string().contains("1023") && short.to_string().contains("at least 1024"), "{short}");
        let shown = format!("{:?}", AuthKey::new(SecretBytes::from_vec(vec![0xA7; 2000])).unwrap());
        assert_eq!(shown, "AuthKey(<2000 secret bytes>)");
    }

    #[test]
    fn a_tag_passes_once_and_pads_may_be_skipped() {
        let ((mut ours, _), (mut theirs, _)) = both();
        let mut transcript = ours.transcript();
        transcript.add(b"first");
        let (_, lost) = ours.take().unwrap();
        transcript.tag(lost.expose("test"));
        let (index, pad) = ours.take().unwrap();
        let tag = transcript.tag(pad.expose("test"));
        let mut heard = theirs.transcript();
        heard.add(b"first");
        let right = |theirs: &Pads, index, tag: &[u8]| theirs.is_right(index, &heard, tag, &[]);
        assert!(right(&theirs, index, &tag) && !right(&theirs, index, &tag[..15]));
        assert!(!right(&theirs, index + 1, &tag) && !right(&theirs, u64::MAX, &tag));
        assert!(!theirs.is_right(42, &heard, &tag, &[]), "no pad there yet");
        assert!(theirs.is_right(42, &heard, &heard.tag(&[5; 16]), &[5; 16]), "but one is coming");
        theirs.drop_through(index);
        assert_eq!((theirs.left(), theirs.first), (40, 2));
        assert!(!right(&theirs, index, &tag), "no pad serves twice");
    }

    #[test]
    fn transcripts_differ_in_every_byte_and_in_their_cuts() {
        let ((pads, bob), _) = both();
        let tag = |pads: &Pads, messages: &[&[u8]]| {
            let mut transcript = pads.transcript();
            for message in messages {
                transcript.add(message);
            }
            transcript.tag(&[0; 16])
        };
        let whole = tag(&pads, &[b"ab", b"c"]);
        for other in [&[&b"a"[..], b"bc"][..], &[b"abc"], &[b"ab", b"c", b""], &[b"ab\0", b"c"], &[b"c", b"ab"], &[]] {
            assert_ne!(tag(&pads, other), whole);
        }
        assert_ne!(tag(&bob, &[b"ab", b"c"]), whole, "each direction has its own key");
        let mut transcript = pads.transcript();
        transcript.add(&[0; 33]);
        assert!((transcript.forgery_bound() * 2.0_f64.powi(128) - 5.0).abs() < 1e-9);
    }

    #[test]
    fn refills_follow_in_order() {
        let ((mut ours, _), _) = both();
        for _ in 0..40 {
            ours.take();
        }
        assert_eq!(ours.missing(2, 3), 39);
        ours.refill(SecretBytes::from_vec([[1; 16], [2; 16]].concat()));
        assert_eq!(ours.left(), 4);
        ours.take();
        ours.take();
        let (index, pad) = ours.take().unwrap();
        assert_eq!((index, pad.expose("test")[0]), (42, 1));
    }
}
