//! The field with 2^64 elements, and the points at which polynomials over it are evaluated.
//!
//! An element is a polynomial over GF(2) modulo `x^64 + x^4 + x^3 + x + 1`; bit `i` of the word is its coefficient of
//! `x^i`. The points are sums of the elements of a Cantor basis: `v_0 = 1` and `v_i^2 + v_i = v_(i−1)` (D. G. Cantor,
//! "On arithmetical algorithms over finite fields", J. Combin. Theory A 50, 1989). Point `k` is the sum of the `v_i`
//! for the bits `i` that are set in `k`. They are public: nothing here hides an index.

/// The modulus without `x^64`.
pub(crate) const MODULUS_LOW: u64 = 0x1b;

const MODULUS: u128 = 1 << 64 | MODULUS_LOW as u128;

/// A product's remainder modulo the field's polynomial; low word first.
#[inline]
pub(crate) const fn reduce((low, high): (u64, u64)) -> u64 {
    // What the high word's top four bits bring back above x^63.
    let over = high >> 63 ^ high >> 61 ^ high >> 60;
    let high = high ^ over;
    low ^ high ^ high << 1 ^ high << 3 ^ high << 4
}

/// A factor by which many elements are multiplied, prepared for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Twiddle {
    /// The factor `w`.
    pub(crate) factor: u64,
    /// `w x^64` divided by the modulus, without the remainder. With it `a w` is reduced without looking at its high
    /// word: the modulus goes into `a w` as often as the high word of `a` times `quotient` says. Dividing leaves no
    /// carry over GF(2), so this is exact.
    pub(crate) quotient: u64,
}

impl Twiddle {
    const fn new(factor: u64) -> Self {
        Self { factor, quotient: quotient(factor) }
    }

    /// Point `index`, as a factor.
    pub(crate) fn point(index: usize) -> Self {
        (0..64).filter(|bit| index as u64 >> bit & 1 == 1).fold(Self::default(), |sum, bit| sum.plus(POINTS[bit]))
    }

    /// From the factor of block `block` of a layer to that of the next: from point `2 block` to `2 block + 2`.
    #[inline]
    pub(crate) fn after(self, block: usize) -> Self {
        self.plus(STEPS[(block + 1).trailing_zeros() as usize])
    }

    /// Both parts are linear.
    #[inline]
    const fn plus(self, other: Self) -> Self {
        Self { factor: self.factor ^ other.factor, quotient: self.quotient ^ other.quotient }
    }
}

/// `factor x^64` divided by the modulus, without the remainder.
pub(crate) const fn quotient(factor: u64) -> u64 {
    let (mut rest, mut quotient, mut bit) = ((factor as u128) << 64, 0, 64);
    while bit > 0 {
        bit -= 1;
        if rest >> (64 + bit) & 1 == 1 {
            rest ^= MODULUS << bit;
            quotient |= 1 << bit;
        }
    }
    quotient
}

/// The square of an element.
const fn square(element: u64) -> u64 {
    let (mut wide, mut bit) = (0_u128, 0);
    while bit < 64 {
        wide |= (element as u128 >> bit & 1) << (2 * bit);
        bit += 1;
    }
    #[expect(clippy::cast_possible_truncation, reason = "the two words of it")]
    reduce((wide as u64, (wide >> 64) as u64))
}

/// An element of trace 1: the chain of `v^2 + v` that starts here ends at 1 after 63 steps, its sum being the trace.
const TRACE_ONE: u64 = 1 << 61;

/// The Cantor basis, as factors.
const POINTS: [Twiddle; 64] = {
    let mut basis = [Twiddle::new(TRACE_ONE); 64];
    let mut i = 63;
    while i > 0 {
        let above = basis[i].factor;
        i -= 1;
        basis[i] = Twiddle::new(square(above) ^ above);
    }
    assert!(basis[0].factor == 1, "the basis ends at 1");
    basis
};

/// `STEPS[z]` is the sum of `v_1` to `v_(z+1)`: what changes where a block's index, with 1 added, ends in `z` zero
/// bits.
const STEPS: [Twiddle; 63] = {
    let mut steps = [POINTS[1]; 63];
    let mut z = 1;
    while z < 63 {
        steps[z] = steps[z - 1].plus(POINTS[z + 1]);
        z += 1;
    }
    steps
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_basis_is_cantors() {
        assert_eq!(POINTS[0].factor, 1);
        for pair in POINTS.windows(2) {
            assert_eq!(square(pair[1].factor) ^ pair[1].factor, pair[0].factor);
        }
        // No element twice: the 64 are independent.
        let mut rows = POINTS.map(|point| point.factor);
        for i in 0..64 {
            let pivot = (i..64).find(|&row| rows[row] >> i & 1 == 1).expect("independent of those before");
            rows.swap(i, pivot);
            let row = rows[i];
            (i + 1..64)
                .filter(|&other| rows[other] >> i & 1 == 1)
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|other| rows[other] ^= row);
        }
    }

    #[test]
    fn twiddles_step_from_point_to_point() {
        for first in [0, 1, 7, 1 << 20] {
            let mut twiddle = Twiddle::point(2 * first);
            for block in first..first + 300 {
                assert_eq!(twiddle, Twiddle::point(2 * block), "block {block}");
                assert_eq!(twiddle.quotient, quotient(twiddle.factor), "block {block}");
                twiddle = twiddle.after(block);
            }
        }
    }
}
