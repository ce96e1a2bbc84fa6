//! What both ends work out from the configuration alone: frames, passes, shuffles.

use super::{CascadeConfig, Variant};
use crate::draw::to_count;

/// Bits of a frame, at least: many tiny frames would cost more memory than their bits are worth.
pub const MIN_FRAME_BITS: usize = 1024;
/// Bits of a frame, at most. A key is divided evenly, so that a frame may grow to one and a half of this; its places
/// still fit 16 bits.
pub const MAX_FRAME_BITS: usize = 32_768;
/// Error rates are taken to lie in this range: below, blocks would be longer than any frame; above, nothing is left.
const QBER_RANGE: (f64, f64) = (1e-6, 0.5);
/// Passes of the near-Shannon variant: the 14 of Martinez-Mateo et al. 2015 and eight more.
///
/// After 14, about one frame in 5,000 keeps two errors that no pass has parted, and one such frame costs the whole key
/// it belongs to: one in eight if the key has 600 frames. Each further pass halves that for one parity a frame.
const NEAR_SHANNON_PASSES: usize = 22;
/// Of these, all from the sixth on start together with the fifth: they ask for one parity each in any case,
/// and hardly an error is left. To start more of them together saves one round each and takes longer to compute.
const NEAR_SHANNON_TOGETHER_FROM: usize = 5;
/// Passes of Brassard and Salvail 1994.
const CLASSIC_PASSES: usize = 4;

/// Frames and passes of one key.
///
/// Bit `i` of the key is bit `i / frames` of frame `i % frames`: a burst of errors spreads over all frames.
pub(super) struct Plan {
    /// Bits of the key.
    pub(super) key_bits: usize,
    /// How many frames.
    pub(super) frames: usize,
    /// Bits of each frame; the last bit of some may lie behind the key's end, and is then 0 at both ends.
    pub(super) frame_bits: usize,
    /// The passes, in order. All frames share their shuffles.
    pub(super) passes: Vec<Pass>,
    /// Passes from this one on start in the same round as the one before them.
    pub(super) together_from: usize,
}

/// One pass over a frame.
pub(super) struct Pass {
    /// Bits of a block; the last block may be shorter.
    pub(super) block: usize,
    /// Which bit of the frame stands at each place.
    pub(super) order: Vec<u16>,
    /// At which place each bit of the frame stands.
    pub(super) place: Vec<u16>,
}

impl Plan {
    pub(super) fn new(key_bits: usize, config: &CascadeConfig) -> Self {
        let wanted = config.frame_bits.clamp(MIN_FRAME_BITS, MAX_FRAME_BITS);
        let frames = ((key_bits + wanted / 2) / wanted).max(usize::from(key_bits > 0));
        let frame_bits = key_bits.div_ceil(frames.max(1));
        let mut draws = SplitMix64(config.seed);
        let passes = block_sizes(config.variant, config.qber, frame_bits)
            .into_iter()
            .map(|block| Pass::new(block, frame_bits, &mut draws))
            .collect();
        let together_from = match config.variant {
            Variant::Classic => CLASSIC_PASSES,
            Variant::NearShannon => NEAR_SHANNON_TOGETHER_FROM,
        };
        Self { key_bits, frames, frame_bits, passes, together_from }
    }

    /// Words that hold one bit per bit of a frame.
    pub(super) fn frame_words(&self) -> usize {
        self.frame_bits.div_ceil(64)
    }

    /// Where in the key a bit of a frame is; `None` behind the key's end.
    pub(super) fn key_index(&self, frame: usize, bit: usize) -> Option<usize> {
        Some(bit * self.frames + frame).filter(|&index| index < self.key_bits)
    }
}

impl Pass {
    fn new(block: usize, frame_bits: usize, draws: &mut SplitMix64) -> Self {
        let narrow = |at: usize| u16::try_from(at).expect("MAX_FRAME_BITS and a half fit 16 bits");
        let mut order: Vec<u16> = (0..frame_bits).map(narrow).collect();
        for at in (1..frame_bits).rev() {
            order.swap(at, draws.below(at + 1));
        }
        let mut place = vec![0; frame_bits];
        for (at, &bit) in order.iter().enumerate() {
            place[usize::from(bit)] = narrow(at);
        }
        Self { block, order, place }
    }
}

/// Bits of a block, pass by pass.
fn block_sizes(variant: Variant, qber: f64, frame_bits: usize) -> Vec<usize> {
    let qber = if qber.is_nan() { QBER_RANGE.1 } else { qber.clamp(QBER_RANGE.0, QBER_RANGE.1) };
    let half = frame_bits.div_ceil(2).max(1);
    let sizes: Vec<usize> = match variant {
        Variant::Classic => {
            let first = to_usize((0.73 / qber).ceil());
            (0..CLASSIC_PASSES).map(|pass| first << pass).collect()
        }
        Variant::NearShannon => {
            let alpha = -qber.log2() - 0.5;
            let first = to_usize(alpha.ceil().exp2());
            let second = to_usize(f64::midpoint(alpha, 12.0).ceil().exp2());
            let fixed = [first, second, 4096];
            (0..NEAR_SHANNON_PASSES).map(|pass| fixed.get(pass).copied().unwrap_or(half)).collect()
        }
    };
    sizes.into_iter().map(|size| size.clamp(1, half)).collect()
}

fn to_usize(x: f64) -> usize {
    usize::try_from(to_count(x)).unwrap_or(usize::MAX)
}

/// The generator `SplitMix64` of Steele, Lea and Flood 2014: both ends draw the same shuffles from a public seed, so it
/// has to be even and fast, not hard to predict.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`, a length of a frame; uneven by less than 2^-16.
    fn below(&mut self, bound: usize) -> usize {
        let scaled = (self.next() >> 32) * (bound as u64);
        usize::try_from(scaled >> 32).expect("below a usize")
    }
}
