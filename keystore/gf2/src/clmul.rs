//! Products of 64-bit polynomials, by the processor or by integer multiplication.

use crate::field::{self, Twiddle};
use crate::hardware;

/// What multiplies. Both give the same products; neither branches or reads memory by a factor's value.
#[derive(Clone, Copy, Debug)]
pub struct Engine(Option<hardware::Multiplier>);

impl Engine {
    /// The processor's carry-less multiplication if it has one, else [`Engine::portable`].
    pub fn fastest() -> Self {
        Self(hardware::Multiplier::detect())
    }

    /// Integer multiplication of bits set apart: runs anywhere, some ten times slower.
    pub fn portable() -> Self {
        Self(None)
    }

    /// Whether the processor's carry-less multiplication is used.
    pub fn is_hardware(self) -> bool {
        self.0.is_some()
    }

    /// Does `job`.
    pub(crate) fn run(self, job: impl Job) {
        match self.0 {
            Some(multiplier) => multiplier.run(job),
            None => job.run(wide, scale),
        }
    }
}

/// A loop over products.
///
/// The loop is compiled once for each way to multiply, with the multiplication inlined. For that, `run` and all between
/// it and the multiplication has to be inlined into the function that is compiled for the instruction.
pub(crate) trait Job {
    /// Runs it. `wide(a, b)` is the product of two words, low word first; `scale(a, t)` that of `a` and `t.factor` in
    /// GF(2^64).
    fn run<W, S>(self, wide: W, scale: S)
    where
        W: Fn(u64, u64) -> (u64, u64) + Copy,
        S: Fn(u64, Twiddle) -> u64 + Copy;
}

/// Low and high word.
#[expect(clippy::cast_possible_truncation, reason = "that is what it is for")]
#[inline]
pub(crate) fn halves(both: u128) -> (u64, u64) {
    (both as u64, (both >> 64) as u64)
}

/// Bits `index`, `index + 5`, ... of 128.
const fn fifths(index: usize) -> u128 {
    let (mut mask, mut bit) = (0, index);
    while bit < 128 {
        mask |= 1 << bit;
        bit += 5;
    }
    mask
}

const FIFTHS: [u128; 5] = [fifths(0), fifths(1), fifths(2), fifths(3), fifths(4)];

/// The product of two polynomials of degree below 64, low word first, by integer multiplication.
///
/// Each factor is split into five, of every fifth bit. In the integer product of two such parts at most 13 bits meet in
/// a column, so its sum ends before the next column, five bits on; the lowest bit of a column is the sum over GF(2).
/// No branch and no address depends on a factor; that integer multiplication takes the same time for all factors holds
/// for the processors of desktops and servers, not for some small ones.
#[inline]
pub(crate) fn wide(a: u64, b: u64) -> (u64, u64) {
    let parts = |word: u64| FIFTHS.map(|mask| u128::from(word) & mask);
    let parts_of_b = parts(b);
    let mut columns = [0; 5];
    for (i, a) in parts(a).into_iter().enumerate() {
        for (j, b) in parts_of_b.into_iter().enumerate() {
            columns[(i + j) % 5] ^= a * b;
        }
    }
    halves(std::iter::zip(columns, FIFTHS).fold(0, |sum, (column, mask)| sum | column & mask))
}

/// `a` times `t.factor` in GF(2^64), by integer multiplication.
#[inline]
pub(crate) fn scale(a: u64, t: Twiddle) -> u64 {
    field::reduce(wide(a, t.factor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::quotient;
    use crate::seeded::Seeded;

    /// By the definition, bit by bit.
    fn by_definition(a: u64, b: u64) -> (u64, u64) {
        halves((0..64).filter(|bit| b >> bit & 1 == 1).fold(0, |sum, bit| sum ^ u128::from(a) << bit))
    }

    struct Products<'a>(&'a [(u64, u64)], &'a mut Vec<((u64, u64), u64)>);

    impl Job for Products<'_> {
        #[expect(clippy::inline_always, reason = "as every job")]
        #[inline(always)]
        fn run<W, S>(self, wide: W, scale: S)
        where
            W: Fn(u64, u64) -> (u64, u64) + Copy,
            S: Fn(u64, Twiddle) -> u64 + Copy,
        {
            let product = |&(a, b): &(u64, u64)| (wide(a, b), scale(a, Twiddle { factor: b, quotient: quotient(b) }));
            self.1.extend(self.0.iter().map(product));
        }
    }

    #[test]
    fn every_engine_multiplies_as_the_definition_says() {
        let mut seeded = Seeded::new(0x1f2e_3d4c);
        let mut pairs = vec![(0, 0), (u64::MAX, u64::MAX), (1, u64::MAX), (1 << 63, 1 << 63), (u64::MAX, 1 << 63)];
        pairs.extend((0..2000).map(|_| (seeded.word(), seeded.word())));
        for engine in [Engine::portable(), Engine::fastest()] {
            let mut products = Vec::new();
            engine.run(Products(&pairs, &mut products));
            for (&(a, b), (full, reduced)) in std::iter::zip(&pairs, products) {
                assert_eq!(full, by_definition(a, b), "{a:#x} times {b:#x}, {engine:?}");
                assert_eq!(reduced, field::reduce(full), "{a:#x} times {b:#x} in the field, {engine:?}");
            }
        }
    }
}
