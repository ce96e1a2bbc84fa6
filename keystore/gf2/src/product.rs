//! Pieces of products, word by word or by transform.
#![expect(
    clippy::inline_always,
    reason = "a loop is compiled for the instruction only if all of it is inlined, see `Job`"
)]

use std::ops::Range;

use zeroize::Zeroizing;

use crate::clmul::{Engine, Job};
use crate::field::Twiddle;
use crate::transform;

/// Bits of a coefficient in a transform. The product of two has 63 bits, and sums of such fit an element of the field.
const PACK: usize = 32;

/// Whether [`direct`] is faster than [`by_transform`], as measured on one server (x86-64, 2.6 GHz).
///
/// The time of the first goes with the products of words, that of the second with its length times the logarithm. With
/// the processor's multiplication the two meet where there are 3.4 times as many products, without where there are 2.
pub(crate) fn is_short(engine: Engine, a: &[u64], b: &[u64], window: &Range<usize>) -> bool {
    let shorter = a.len().min(b.len());
    let len = transform_len(shorter, window);
    let products = if engine.is_hardware() { 3 } else { 2 } * len.saturating_mul(len.ilog2() as usize);
    shorter.saturating_mul(window.len()) < products
}

/// Words of the product `window`, each the sum of products of words: quadratic, but without overhead.
pub(crate) fn direct(engine: Engine, a: &[u64], b: &[u64], window: Range<usize>) -> Zeroizing<Vec<u64>> {
    let mut out = Zeroizing::new(vec![0; window.len()]);
    engine.run(Direct { a, b, first: window.start, out: &mut out });
    out
}

struct Direct<'a> {
    a: &'a [u64],
    b: &'a [u64],
    first: usize,
    out: &'a mut [u64],
}

impl Job for Direct<'_> {
    #[inline(always)]
    fn run<W, S>(self, wide: W, _: S)
    where
        W: Fn(u64, u64) -> (u64, u64) + Copy,
        S: Fn(u64, Twiddle) -> u64 + Copy,
    {
        // Both words of the sum of the products a_i b_j with i + j = at.
        let column = |at: usize| {
            let from = (at + 1).saturating_sub(self.b.len());
            let upto = self.a.len().min(at + 1).max(from);
            let products = std::iter::zip(&self.a[from..upto], self.b[..at + 1 - from].iter().rev());
            let mut sum = (0, 0);
            for (&a, &b) in products {
                let product = wide(a, b);
                sum = (sum.0 ^ product.0, sum.1 ^ product.1);
            }
            sum
        };
        let mut carried = if self.first == 0 { 0 } else { column(self.first - 1).1 };
        for (at, out) in (self.first..).zip(self.out) {
            let (low, high) = column(at);
            *out = low ^ carried;
            carried = high;
        }
    }
}

/// Words of the product `window`, by transform: `n log n`.
///
/// With the factors cut into coefficients of half a word, the wanted coefficients of the product are a piece of a
/// Toeplitz matrix times one factor; the transpose of that matrix multiplies a polynomial of `window.len() + 1`
/// coefficients by the other factor turned around. So the transposed transforms, in reverse order, give the piece, and
/// they need to be as long as that shorter product only.
pub(crate) fn by_transform(engine: Engine, a: &[u64], b: &[u64], window: Range<usize>) -> Zeroizing<Vec<u64>> {
    let (a, b) = if a.len() < b.len() { (b, a) } else { (a, b) };
    let turned = 2 * b.len();
    let len = transform_len(b.len(), &window);
    let window = 2 * window.start..2 * window.end;
    // The piece of `a` that can reach the window. Half words before its start and behind its end are 0.
    let mut piece = Zeroizing::new(vec![0; len]);
    let missing = turned.saturating_sub(window.start);
    let from = window.start.saturating_sub(turned);
    let count = (window.len() + turned).saturating_sub(missing);
    std::iter::zip(&mut piece[missing.min(len)..], halfwords(a).skip(from).take(count))
        .for_each(|(to, half)| *to = half);
    let mut multiplier = Zeroizing::new(vec![0; len]);
    std::iter::zip(multiplier[..turned].iter_mut().rev(), halfwords(b)).for_each(|(to, half)| *to = half);

    transform::evaluate(engine, &mut multiplier);
    transform::interpolate_transposed(engine, &mut piece);
    transform::multiply(engine, &mut piece, &multiplier);
    transform::evaluate_transposed(engine, &mut piece);

    // Each coefficient reaches into the next half word.
    let sums = piece[..=window.len()].windows(2).map(|pair| (pair[0] >> PACK) ^ (pair[1] & HALFWORD));
    let mut out = Zeroizing::new(vec![0; window.len().div_ceil(2)]);
    for (at, half) in sums.enumerate() {
        out[at / 2] |= half << (at % 2 * PACK);
    }
    out
}

const HALFWORD: u64 = (1 << PACK) - 1;

fn halfwords(words: &[u64]) -> impl Iterator<Item = u64> {
    words.iter().flat_map(|word| [word & HALFWORD, word >> PACK])
}

/// Half words of the shorter factor and of the window: the length of the product that the transforms must hold.
fn transform_len(shorter: usize, window: &Range<usize>) -> usize {
    transform::fitting(2 * (shorter + window.len()))
}
