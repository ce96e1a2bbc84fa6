//! Values of polynomials over GF(2^64) at many points, and transposes of that.
//!
//! The additive fast Fourier transform of Lin, Chung and Han (see [`crate::basis`]) at the points of [`crate::field`].
//! A transform of `len` coefficients takes the first `len` points; `len` is [`fitting`]. Data are changed in place.
#![expect(
    clippy::inline_always,
    reason = "a loop is compiled for the instruction only if all of it is inlined, see `Job`"
)]

use std::ops::Range;

use crate::basis::{self, add};
use crate::clmul::{Engine, Job};
use crate::field::{Twiddle, reduce};

/// The shortest transform.
const SHORTEST: usize = 32;

/// Blocks up to this many elements go through all layers one block after the other, to stay in the cache.
const CACHED: usize = 1 << 11;

/// The smallest length of a transform that is not below `len`: `2^m` or `3 2^m`.
pub(crate) fn fitting(len: usize) -> usize {
    let power = len.next_power_of_two().max(SHORTEST);
    if len <= power / 4 * 3 && power > SHORTEST { power / 4 * 3 } else { power }
}

/// From coefficients to values.
pub(crate) fn evaluate(engine: Engine, data: &mut [u64]) {
    basis::convert(data);
    let (whole, half) = split(data);
    engine.run(Bridge { whole, half, transposed: false });
    layers(engine, Butterfly::Evaluate, whole, 0);
    layers(engine, Butterfly::Evaluate, half, whole.len());
}

/// The transpose of [`evaluate`].
pub(crate) fn evaluate_transposed(engine: Engine, data: &mut [u64]) {
    let (whole, half) = split(data);
    layers(engine, Butterfly::EvaluateTransposed, whole, 0);
    layers(engine, Butterfly::EvaluateTransposed, half, whole.len());
    engine.run(Bridge { whole, half, transposed: true });
    basis::convert_transposed(data);
}

/// The transpose of the inverse of [`evaluate`].
pub(crate) fn interpolate_transposed(engine: Engine, data: &mut [u64]) {
    basis::convert_inverse_transposed(data);
    let (whole, half) = split(data);
    engine.run(Bridge { whole, half, transposed: true });
    layers(engine, Butterfly::InterpolateTransposed, whole, 0);
    layers(engine, Butterfly::InterpolateTransposed, half, whole.len());
}

/// Element by element, `to *= by`.
pub(crate) fn multiply(engine: Engine, to: &mut [u64], by: &[u64]) {
    engine.run(Pointwise { to, by });
}

/// The part that is a power of 2 long, and half as much or nothing.
fn split(data: &mut [u64]) -> (&mut [u64], &mut [u64]) {
    data.split_at_mut(1 << data.len().ilog2())
}

/// All layers of a transform of `2^m` elements, the first of which is point `first`; none of no elements.
fn layers(engine: Engine, butterfly: Butterfly, data: &mut [u64], first: usize) {
    let order = data.len().checked_ilog2().unwrap_or(0);
    if data.len() <= CACHED {
        engine.run(Layers { butterfly, data, halves: 0..order, first });
        return;
    }
    let half = data.len() / 2;
    let largest = |data: &mut [u64]| engine.run(Layers { butterfly, data, halves: order - 1..order, first });
    if butterfly.is_top_down() {
        largest(data);
    }
    let (lower, upper) = data.split_at_mut(half);
    layers(engine, butterfly, lower, first);
    layers(engine, butterfly, upper, first + half);
    if !butterfly.is_top_down() {
        largest(data);
    }
}

/// What a layer does to elements `a` and `b`, half a block apart, in a block with factor `w`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Butterfly {
    /// `a += w b`, then `b += a`.
    Evaluate,
    /// `a += b`, then `b += w a`.
    EvaluateTransposed,
    /// `b += w a`, then `a += b`.
    InterpolateTransposed,
}

impl Butterfly {
    fn is_top_down(self) -> bool {
        self != Self::EvaluateTransposed
    }
}

/// Layers over all of `data`: those in blocks of twice each of `halves`, in the butterfly's order.
struct Layers<'a> {
    butterfly: Butterfly,
    data: &'a mut [u64],
    /// Binary logarithms of half a block.
    halves: Range<u32>,
    first: usize,
}

impl Job for Layers<'_> {
    #[inline(always)]
    fn run<W, S>(self, _: W, scale: S)
    where
        W: Fn(u64, u64) -> (u64, u64) + Copy,
        S: Fn(u64, Twiddle) -> u64 + Copy,
    {
        for done in 0..self.halves.end - self.halves.start {
            let log = if self.butterfly.is_top_down() { self.halves.end - 1 - done } else { self.halves.start + done };
            layer(self.butterfly, self.data, 1 << log, self.first, scale);
        }
    }
}

#[inline(always)]
fn layer<S: Fn(u64, Twiddle) -> u64 + Copy>(
    butterfly: Butterfly,
    data: &mut [u64],
    half: usize,
    first: usize,
    scale: S,
) {
    match butterfly {
        Butterfly::Evaluate => sweep(data, half, first, |a, b, w| {
            let a = a ^ scale(b, w);
            (a, a ^ b)
        }),
        Butterfly::EvaluateTransposed => sweep(data, half, first, |a, b, w| {
            let a = a ^ b;
            (a, b ^ scale(a, w))
        }),
        Butterfly::InterpolateTransposed => sweep(data, half, first, |a, b, w| {
            let b = b ^ scale(a, w);
            (a ^ b, b)
        }),
    }
}

/// Short blocks get loops of their own, of known length.
#[inline(always)]
fn sweep(data: &mut [u64], half: usize, first: usize, change: impl Fn(u64, u64, Twiddle) -> (u64, u64) + Copy) {
    match half {
        1 => blocks(data, 1, first, change),
        2 => blocks(data, 2, first, change),
        4 => blocks(data, 4, first, change),
        _ => blocks(data, half, first, change),
    }
}

#[inline(always)]
fn blocks(data: &mut [u64], half: usize, first: usize, change: impl Fn(u64, u64, Twiddle) -> (u64, u64) + Copy) {
    let number = first / (2 * half);
    let mut twiddle = Twiddle::point(2 * number);
    for (number, block) in (number..).zip(data.chunks_exact_mut(2 * half)) {
        let (lower, upper) = block.split_at_mut(half);
        for (a, b) in std::iter::zip(lower, upper) {
            (*a, *b) = change(*a, *b, twiddle);
        }
        twiddle = twiddle.after(number);
    }
}

/// The step between the two parts of a transform of `3 2^m` elements.
///
/// In the basis the polynomial is `f + s g`: `f` has `2^(m+1)` coefficients and `g` half as many, and `s` is 0 at the
/// points of the first part and 1 at those of the second. There the values are those of `g + f`, of which the lower
/// half plus `v_1` times the upper half is what its points, too few for all of it, have to know.
struct Bridge<'a> {
    whole: &'a mut [u64],
    half: &'a mut [u64],
    transposed: bool,
}

impl Job for Bridge<'_> {
    #[inline(always)]
    fn run<W, S>(self, _: W, scale: S)
    where
        W: Fn(u64, u64) -> (u64, u64) + Copy,
        S: Fn(u64, Twiddle) -> u64 + Copy,
    {
        let w = Twiddle::point(2);
        let (lower, upper) = self.whole.split_at_mut(self.whole.len() / 2);
        if self.transposed {
            add(&mut lower[..self.half.len()], self.half);
            for (to, from) in std::iter::zip(upper, self.half) {
                *to ^= scale(*from, w);
            }
        } else {
            add(self.half, lower);
            for (to, from) in std::iter::zip(self.half, upper) {
                *to ^= scale(*from, w);
            }
        }
    }
}

struct Pointwise<'a> {
    to: &'a mut [u64],
    by: &'a [u64],
}

impl Job for Pointwise<'_> {
    #[inline(always)]
    fn run<W, S>(self, wide: W, _: S)
    where
        W: Fn(u64, u64) -> (u64, u64) + Copy,
        S: Fn(u64, Twiddle) -> u64 + Copy,
    {
        for (to, by) in std::iter::zip(self.to, self.by) {
            *to = reduce(wide(*to, *by));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clmul::{scale, wide};
    use crate::seeded::Seeded;

    fn sum_of_products(a: &[u64], b: &[u64]) -> u64 {
        std::iter::zip(a, b).fold(0, |sum, (&a, &b)| sum ^ reduce(wide(a, b)))
    }

    #[test]
    fn values_are_those_at_the_points() {
        let mut seeded = Seeded::new(8);
        for len in [32, 48, 64, 96, 512, 768] {
            let polynomial = seeded.words(len);
            for engine in [Engine::fastest(), Engine::portable()] {
                let mut values = polynomial.clone();
                evaluate(engine, &mut values);
                for (index, value) in values.into_iter().enumerate() {
                    let point = Twiddle::point(index);
                    let expected = polynomial.iter().rev().fold(0, |sum, coefficient| scale(sum, point) ^ coefficient);
                    assert_eq!(value, expected, "point {index} of {len}, {engine:?}");
                }
            }
        }
    }

    #[test]
    fn transposes_are_transposed() {
        let mut seeded = Seeded::new(9);
        let engine = Engine::fastest();
        for len in [32, 48, 1024, CACHED, CACHED / 2 * 3, 4 * CACHED, 6 * CACHED] {
            let (a, b) = (seeded.words(len), seeded.words(len));
            let (mut values, mut transposed, mut inverse) = (a.clone(), b.clone(), b.clone());
            evaluate(engine, &mut values);
            evaluate_transposed(engine, &mut transposed);
            assert_eq!(sum_of_products(&values, &b), sum_of_products(&a, &transposed), "{len} points");
            interpolate_transposed(engine, &mut inverse);
            assert_eq!(sum_of_products(&values, &inverse), sum_of_products(&a, &b), "{len} points, inverse");
        }
    }

    #[test]
    fn lengths_fit() {
        for len in 1..5000 {
            let found = fitting(len);
            assert!(found >= len && found >= SHORTEST && found.is_multiple_of(16), "{found} for {len}");
            assert!(found.is_power_of_two() || (found / 3).is_power_of_two(), "{found} for {len}");
            assert!(found == SHORTEST || 2 * found < 3 * len, "{found} for {len}");
        }
    }
}
