//! Error correction: Cascade, over all frames of a key at once.
//!
//! It does not verify: a frame that keeps an even number of errors out of sight of every pass stays wrong, and only the
//! hash over the whole key that comes after shows it. It does not authenticate its messages either.
//!
//! **How it goes.** The key is dealt out into frames. Every pass shuffles a frame and cuts it into blocks; the two
//! ends compare the parities of these, and halve each block that differs until the wrong bit is found. Correcting it
//! makes the run that holds it in every *other* pass odd or even again, and what is odd is searched in turn. Every
//! parity ever compared stays in use: a search goes on from the shortest known run that is odd, not from a whole
//! block, and a parity that follows from its neighbours (a right half, the last block of a pass) is never asked for. Each
//! parity that is disclosed counts once; now and then one follows from several others all the same, so that the count is
//! a bit or two too high, never too low.
//!
//! **Variants.** [`Variant::NearShannon`] has block sizes of Martinez-Mateo, Pacher, Peev, Ciurana and Martin,
//! "Demystifying the information reconciliation protocol Cascade" (Quantum Information and Computation 15, 2015), the
//! last variant of their table 3: with `α = log2(1/Q) − 1/2`, blocks of `2^⌈α⌉`, `2^⌈(α+12)/2⌉` and 4,096 bits, then
//! half the frame. Their 14 passes leave one frame in some thousands wrong, ours are 22, and those from the fifth on
//! start together. [`Variant::Classic`] has those of Brassard and Salvail (EUROCRYPT '93, printed 1994): `0.73/Q`,
//! doubling, four passes. Both are searched alike, so that the classic variant discloses less here than is published
//! for it.
//!
//! **Messages.** Where to halve follows from the answers so far, and Alice learns these too if Bob sends *his* parities
//! with the question. So a message is one bit a question, for all frames that are not done yet, and neither end ever
//! reads an index that a stranger may have written: see [`CascadeBob::poll_ask`].
//!
//! ```text
//!  Bob   poll_ask ──── round, his parities ───► answer   Alice
//!        handle_answer ◄─ round, her parities ──
//! ```
//!
//! **Leakage.** [`CascadeAlice::disclosed`] counts Alice's parities, as the published efficiencies do. Bob's parities
//! differ from hers by the parities of the error pattern: they tell Eve where the errors were, not what the bits are.
//! A proof in which Eve may know the error pattern for nothing is content with that; one in which she may not has to
//! count both directions (Tupkary and Lütkenhaus, "Using Cascade in quantum key distribution", Phys. Rev. Applied 20,
//! 064040, 2023), and [`CascadeBob::asked_bits`] is the other half.
//!
//! **Why no LDPC.** From 1 to 11 % `f` stays below 1.07, at any rate and without a table of codes, and of 10,000
//! frames none stayed wrong. Codes of this length take one message instead of hundreds, but cost 1.1 to 1.3, and the
//! closer to the limit their rate is chosen, the more often they fail. Messages are cheap here: all frames share them.

mod frame;
mod leaves;
mod plan;
mod search;
mod shuffled;

use crate::bits::BitString;
use plan::Plan;
pub use plan::{MAX_FRAME_BITS, MIN_FRAME_BITS};
use search::Search;
use shuffled::Shuffled;

/// Bits of a key, at most: at some 9 bytes of memory for each, an end then takes 2.4 GB.
pub const MAX_KEY_BITS: usize = 1 << 28;

/// Bytes before the parities of a message: the number of the round, from 0, least significant byte first.
const HEADER_BYTES: usize = 4;

/// Which block sizes, see the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Brassard and Salvail: `0.73/Q`, doubling, four passes. Fewer rounds, more leakage, more frames that stay wrong.
    Classic,
    /// Near Shannon's limit: Martinez-Mateo et al. 2015, 22 passes.
    NearShannon,
}

/// What both ends must agree on before they start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CascadeConfig {
    /// Which block sizes.
    pub variant: Variant,
    /// Bits of a frame, about: the key is divided evenly. Kept between [`MIN_FRAME_BITS`] and [`MAX_FRAME_BITS`].
    pub frame_bits: usize,
    /// The error rate that is expected, which sets the block sizes. A wrong one costs efficiency, not correctness.
    pub qber: f64,
    /// Public seed of the shuffles. To be drawn when the key is complete: who knows it before can place errors where
    /// no pass sees them.
    pub seed: u64,
}

/// Why a key cannot be corrected. The other end is to be told, and the key dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CascadeError {
    /// A message of another round or length, or out of turn. Nothing has changed: the right one is still welcome.
    #[error("a message of error correction is not the one expected: check that both ends have the same key length")]
    Malformed,
    /// No pair of keys has the parities that were sent.
    #[error("the parities sent for error correction contradict each other: drop the block")]
    Contradiction,
    /// The next questions would disclose more parities than the key has bits.
    #[error("error correction would disclose the whole key: drop the block, its error rate is far above the expected")]
    TooManyParities,
}

/// What the two ends have in common: the search, and bits to take parities of.
struct End {
    key: BitString,
    bits: Shuffled,
    search: Search,
}

impl End {
    fn new(key: BitString, config: &CascadeConfig) -> Self {
        assert!(key.len() <= MAX_KEY_BITS, "a key of {} bits is too long for error correction", key.len());
        let plan = Plan::new(key.len(), config);
        Self { bits: Shuffled::new(&key, &plan), search: Search::new(plan), key }
    }

    /// This end's answers to this round's questions, one bit each.
    fn parities(&self) -> Vec<u64> {
        let word = |questions: &[_]| {
            questions.iter().rev().fold(0, |word, &question| word << 1 | u64::from(self.bits.parity(question)))
        };
        self.search.questions().chunks(64).map(word).collect()
    }

    fn encode(&self, parities: &[u64]) -> Vec<u8> {
        let len = HEADER_BYTES + self.search.questions().len().div_ceil(8);
        let mut message = Vec::with_capacity(len + 8);
        message.extend(self.search.rounds().to_le_bytes());
        message.extend(parities.iter().flat_map(|word| word.to_le_bytes()));
        message.truncate(len);
        message
    }

    /// The other end's parities, from a message that must be of this round.
    fn decode(&self, message: &[u8]) -> Result<Vec<u64>, CascadeError> {
        if let Some(error) = self.search.failed() {
            return Err(error);
        }
        let count = self.search.questions().len();
        let (round, packed) = message.split_first_chunk::<HEADER_BYTES>().ok_or(CascadeError::Malformed)?;
        if u32::from_le_bytes(*round) != self.search.rounds() || packed.len() != count.div_ceil(8) || count == 0 {
            return Err(CascadeError::Malformed);
        }
        let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
        let parities: Vec<u64> = packed.chunks(8).map(word).collect();
        match parities.last() {
            Some(last) if !count.is_multiple_of(64) && last >> (count % 64) != 0 => Err(CascadeError::Malformed),
            _ => Ok(parities),
        }
    }

    fn is_done(&self) -> bool {
        self.search.questions().is_empty() && self.search.failed().is_none()
    }
}

/// Where two ends' parities differ.
fn differences(ours: &[u64], theirs: &[u64]) -> Vec<u64> {
    ours.iter().zip(theirs).map(|(a, b)| a ^ b).collect()
}

/// Alice's end: answers with parities of her key, which stays as it is.
///
/// Holds secret bits: wiped when dropped.
pub struct CascadeAlice {
    end: End,
}

impl CascadeAlice {
    /// Starts with her key.
    ///
    /// # Panics
    /// If the key is longer than [`MAX_KEY_BITS`].
    pub fn new(key: BitString, config: CascadeConfig) -> Self {
        Self { end: End::new(key, &config) }
    }

    /// Answers one message of Bob's.
    pub fn answer(&mut self, ask: &[u8]) -> Result<Vec<u8>, CascadeError> {
        let theirs = self.end.decode(ask)?;
        let ours = self.end.parities();
        let answer = self.end.encode(&ours);
        self.end.search.advance(&differences(&ours, &theirs))?;
        Ok(answer)
    }

    /// Whether Bob has all that he will ask for.
    pub fn is_done(&self) -> bool {
        self.end.is_done()
    }

    /// Bits that Bob has flipped so far: Alice sees it from the parities.
    pub fn corrected(&self) -> u64 {
        self.end.search.corrected()
    }

    /// Messages answered so far.
    pub fn rounds(&self) -> u32 {
        self.end.search.rounds()
    }

    /// Parities of her key disclosed so far: the leakage in bits, see the module.
    pub fn disclosed(&self) -> u64 {
        self.end.search.disclosed()
    }

    /// Gives the key back, as it was.
    pub fn into_key(self) -> BitString {
        self.end.key
    }
}

/// Bob's end: asks, and corrects his key.
///
/// Holds secret bits: wiped when dropped.
pub struct CascadeBob {
    end: End,
    /// The parities that were sent and await Alice's.
    asked: Option<Vec<u64>>,
}

impl CascadeBob {
    /// Starts with his key.
    ///
    /// # Panics
    /// If the key is longer than [`MAX_KEY_BITS`].
    pub fn new(key: BitString, config: CascadeConfig) -> Self {
        Self { end: End::new(key, &config), asked: None }
    }

    /// The next message to Alice; `None` while an answer is awaited, at the end, and after an error.
    ///
    /// Bytes 0 to 3: the round, from 0. Then Bob's own parities for this round's questions, eight to a byte from its
    /// least significant bit, frame by frame; bits left over are 0. Alice's answer has the same form.
    pub fn poll_ask(&mut self) -> Option<Vec<u8>> {
        if self.asked.is_some() || self.end.search.questions().is_empty() || self.end.search.failed().is_some() {
            return None;
        }
        let End { search, bits, .. } = &mut self.end;
        for &question in search.questions() {
            bits.make_ready(question, search);
        }
        let ours = self.end.parities();
        let ask = self.end.encode(&ours);
        self.asked = Some(ours);
        Some(ask)
    }

    /// Takes her answer.
    pub fn handle_answer(&mut self, answer: &[u8]) -> Result<(), CascadeError> {
        let theirs = self.end.decode(answer)?;
        let ours = self.asked.take().ok_or(CascadeError::Malformed)?;
        let End { search, bits, .. } = &mut self.end;
        search.advance(&differences(&ours, &theirs))?;
        for &(frame, bit) in search.found() {
            bits.flip(frame, bit, search.plan());
        }
        Ok(())
    }

    /// Whether all is corrected that will be. That is not to say that the keys are equal, see the module.
    pub fn is_done(&self) -> bool {
        self.end.is_done()
    }

    /// Bits flipped so far.
    pub fn corrected(&self) -> u64 {
        self.end.search.corrected()
    }

    /// Messages answered so far: the round trips it took.
    pub fn rounds(&self) -> u32 {
        self.end.search.rounds()
    }

    /// Parities of Alice's key disclosed so far, as she counts them: the leakage in bits, see the module.
    pub fn disclosed(&self) -> u64 {
        self.end.search.disclosed()
    }

    /// Parities of his own key that Bob has sent with questions that were answered: one for each of Alice's.
    pub fn asked_bits(&self) -> u64 {
        self.end.search.disclosed()
    }

    /// Gives the corrected key back, and which of its bits were flipped: their indices, rising.
    pub fn into_key(self) -> (BitString, Vec<u32>) {
        let End { mut key, search, .. } = self.end;
        let wrong = search.wrong();
        for &index in &wrong {
            key.words_mut()[index as usize / 64] ^= 1 << (index % 64);
        }
        (key, wrong)
    }
}
