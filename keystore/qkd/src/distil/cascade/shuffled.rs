//! One end's bits in the order of every pass.

use zeroize::{Zeroize as _, Zeroizing};

use super::frame::Question;
use super::plan::{Pass, Plan};
use super::search::Search;
use crate::bits::BitString;

/// The bits of all frames, once for every pass and in its order, so that the parity of a block is that of a run.
///
/// Frame by frame, and within a frame pass by pass. Secret: wiped when dropped, not shown.
pub(super) struct Shuffled {
    words: Vec<u64>,
    passes: usize,
    frame_words: usize,
    /// For each frame: the passes before this one hold its corrections.
    corrected_to: Vec<u8>,
}

impl Shuffled {
    pub(super) fn new(key: &BitString, plan: &Plan) -> Self {
        let (passes, frame_words) = (plan.passes.len(), plan.frame_words());
        let words = vec![0; plan.frames * passes * frame_words];
        let mut shuffled = Self { words, passes, frame_words, corrected_to: vec![0; plan.frames] };
        let mut slices = Zeroizing::new(vec![0; plan.frame_bits]);
        for first in (0..plan.frames).step_by(64) {
            let lanes = (plan.frames - first).min(64);
            for (bit, slice) in slices.iter_mut().enumerate() {
                *slice = window(key, bit * plan.frames + first, lanes);
            }
            shuffled.fill(first, lanes, &slices, plan);
        }
        shuffled
    }

    /// Takes in up to 64 frames; bit `l` of `slices[i]` is bit `i` of frame `first + l`.
    fn fill(&mut self, first: usize, lanes: usize, slices: &[u64], plan: &Plan) {
        let mut square = Zeroizing::new([0; 64]);
        for (pass, Pass { order, .. }) in plan.passes.iter().enumerate() {
            for (word, chunk) in order.chunks(64).enumerate() {
                square.fill(0);
                for (row, &bit) in square.iter_mut().zip(chunk) {
                    *row = slices[usize::from(bit)];
                }
                transpose(&mut square);
                for (lane, &row) in square.iter().enumerate().take(lanes) {
                    let base = self.base(first + lane, pass);
                    self.words[base + word] = row;
                }
            }
        }
    }

    #[inline]
    fn base(&self, frame: usize, pass: usize) -> usize {
        (frame * self.passes + pass) * self.frame_words
    }

    /// The answer to a question, which is about one place or more.
    #[inline]
    pub(super) fn parity(&self, question: Question) -> bool {
        let base = self.base(question.frame(), question.pass());
        let (from, to) = question.run();
        let (last, words) = (to - 1, &self.words[base..base + self.frame_words]);
        let (first_mask, last_mask) = (u64::MAX << (from % 64), u64::MAX >> (63 - last % 64));
        let sum = match &words[from / 64..=last / 64] {
            [only] => only & first_mask & last_mask,
            [first, middle @ .., last] => {
                middle.iter().fold(first & first_mask ^ last & last_mask, |sum, &word| sum ^ word)
            }
            [] => 0,
        };
        sum.count_ones() & 1 == 1
    }

    /// Flips one bit of a frame, in the passes that are ready.
    pub(super) fn flip(&mut self, frame: usize, bit: u16, plan: &Plan) {
        for pass in 0..self.corrected_to[frame].into() {
            self.flip_in(frame, pass, plan.passes[pass].place[usize::from(bit)]);
        }
    }

    /// Makes ready for a question: brings its pass, and those before it, up to date with all that was found wrong.
    ///
    /// Most errors are found before the later passes start. To flip them there pass by pass, and not every bit in all
    /// passes at once, keeps memory close.
    #[inline]
    pub(super) fn make_ready(&mut self, question: Question, search: &Search) {
        let frame = question.frame();
        while usize::from(self.corrected_to[frame]) <= question.pass() {
            let pass = usize::from(self.corrected_to[frame]);
            for bit in search.wrong_in(frame) {
                self.flip_in(frame, pass, search.plan().passes[pass].place[bit]);
            }
            self.corrected_to[frame] += 1;
        }
    }

    #[inline]
    fn flip_in(&mut self, frame: usize, pass: usize, place: u16) {
        let base = self.base(frame, pass);
        self.words[base + usize::from(place / 64)] ^= 1 << (place % 64);
    }
}

impl Drop for Shuffled {
    fn drop(&mut self) {
        self.words.zeroize();
    }
}

/// Bits `at..at + count` of a key, `count` up to 64; 0 behind its end.
fn window(key: &BitString, at: usize, count: usize) -> u64 {
    let word = |index: usize| key.words().get(index).copied().unwrap_or(0);
    let (index, shift) = (at / 64, at % 64);
    let low = word(index) >> shift;
    let high = if shift == 0 { 0 } else { word(index + 1) << (64 - shift) };
    (low | high) & (u64::MAX >> (64 - count))
}

/// Swaps rows and columns of a square of bits: bit `c` of row `r` goes to bit `r` of row `c`.
fn transpose(square: &mut [u64; 64]) {
    let mut width = 32;
    let mut mask = 0x0000_0000_ffff_ffff_u64;
    while width > 0 {
        for pair in square.chunks_exact_mut(2 * width) {
            let (upper, lower) = pair.split_at_mut(width);
            for (a, b) in upper.iter_mut().zip(lower) {
                let moved = ((*a >> width) ^ *b) & mask;
                *a ^= moved << width;
                *b ^= moved;
            }
        }
        width /= 2;
        mask ^= mask << width;
    }
}
