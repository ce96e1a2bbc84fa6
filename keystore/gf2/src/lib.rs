//! Products of long polynomials over GF(2): strings of bits multiplied without carries.
//!
//! Any piece of a product, exact, in some `n log n` steps, for secret factors: time and memory depend on lengths alone,
//! and what held a factor is wiped. It does not divide, factor or find irreducible polynomials, and it has no type for
//! a polynomial: words come in, words go out. It uses one core.
//!
//! ```text
//!   a, b, which bits ──► product_bits ──┬─ short: direct ─────────────────────────────┬──► the bits
//!                                       └─ long: transform of each, values, and back ─┘
//!                            Engine: PCLMULQDQ or PMULL if there, else integer multiplication
//! ```
//!
//! ```
//! use vernam_gf2::{Engine, product_bits};
//!
//! // (x^2 + 1) (x + 1) = x^3 + x^2 + x + 1
//! assert_eq!(*product_bits(Engine::fastest(), &[0b101], &[0b11], 0..4), [0b1111]);
//! assert_eq!(*product_bits(Engine::fastest(), &[0b101], &[0b11], 2..9), [0b11]);
//! ```
//!
//! It is here because no library that we know of would do: `gf2poly` binds a C library whose licence is not permissive;
//! `gf2` multiplies bit by bit and branches on the bits; the others multiply words or elements of a field.
//!
//! Start reading in `product.rs`, then `transform.rs`.

mod basis;
mod clmul;
mod field;
mod hardware;
mod product;
#[cfg(test)]
mod seeded;
mod transform;

use std::ops::Range;

use zeroize::Zeroizing;

pub use clmul::Engine;

/// Bits `bits` of the product `a b`.
///
/// A polynomial is a string of coefficients: that of `x^i` is bit `i % 64`, counted from the least significant, of word
/// `i / 64`. So is the answer, from the coefficient of `x^start` on; its last word's bits beyond the range are 0, and
/// those beyond the product are too.
///
/// Beside the answer it takes, until it returns, at most 3/4 of a byte for each bit of the shorter factor and of the
/// range together. The caller has to bound the range.
pub fn product_bits(engine: Engine, a: &[u64], b: &[u64], bits: Range<usize>) -> Zeroizing<Vec<u64>> {
    let len = bits.len();
    let mut out = Zeroizing::new(vec![0; len.div_ceil(64)]);
    let first = bits.start / 64;
    let window = first..bits.end.div_ceil(64).min(a.len() + b.len());
    if a.is_empty() || b.is_empty() || out.is_empty() || window.is_empty() {
        return out;
    }
    let words = if product::is_short(engine, a, b, &window) {
        product::direct(engine, a, b, window)
    } else {
        product::by_transform(engine, a, b, window)
    };
    let shift = bits.start % 64;
    let above = words.iter().skip(1).chain([&0]);
    for (out, (&word, &above)) in std::iter::zip(out.iter_mut(), std::iter::zip(words.iter(), above)) {
        // In two steps, because a shift by 64 is none.
        *out = word >> shift | above << 1 << (63 - shift);
    }
    if let Some(last) = out.last_mut().filter(|_| !len.is_multiple_of(64)) {
        *last &= (1 << (len % 64)) - 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::Seeded;

    /// By the definition, bit by bit.
    fn by_definition(a: &[u64], b: &[u64]) -> Vec<u64> {
        let mut product = vec![0; a.len() + b.len()];
        for i in (0..64 * a.len()).filter(|i| a[i / 64] >> (i % 64) & 1 == 1) {
            for (j, &word) in b.iter().enumerate() {
                product[i / 64 + j] ^= word << (i % 64);
                product[i / 64 + j + 1] ^= word >> 1 >> (63 - i % 64);
            }
        }
        product
    }

    #[test]
    fn both_ways_give_every_window_of_the_product() {
        let mut seeded = Seeded::new(0xfeed);
        for (a, b) in [(1, 1), (3, 2), (2, 9), (17, 16), (40, 7), (100, 100), (129, 64), (300, 5), (33, 411)] {
            let (a, b) = (seeded.words(a), seeded.words(b));
            let product = by_definition(&a, &b);
            for _ in 0..8 {
                let start = seeded.below(product.len());
                let window = start..start + 1 + seeded.below(product.len() - start);
                for engine in [Engine::fastest(), Engine::portable()] {
                    let direct = product::direct(engine, &a, &b, window.clone());
                    assert_eq!(*direct, product[window.clone()], "{} by {}, {window:?}", a.len(), b.len());
                    let fast = product::by_transform(engine, &a, &b, window.clone());
                    assert_eq!(*fast, product[window.clone()], "{} by {}, {window:?}, fast", a.len(), b.len());
                }
            }
        }
    }

    #[test]
    fn long_transforms_agree_with_sums_of_products() {
        let mut seeded = Seeded::new(0xbeef);
        // Transforms of 2^m and of 3 2^m elements, shorter and longer than what is done in one go.
        for (a, b, window) in [(700, 500, 300..800), (3000, 900, 900..3000), (2500, 2000, 0..4500), (5000, 30, 7..4000)]
        {
            let (a, b) = (seeded.words(a), seeded.words(b));
            let engine = Engine::fastest();
            let fast = product::by_transform(engine, &a, &b, window.clone());
            assert_eq!(*fast, *product::direct(engine, &a, &b, window.clone()), "{} by {}", a.len(), b.len());
        }
    }

    #[test]
    fn bits_are_cut_out_where_they_are_asked_for() {
        let mut seeded = Seeded::new(0xcafe);
        let (a, b) = (seeded.words(5), seeded.words(3));
        let product = by_definition(&a, &b);
        let bit = |words: &[u64], at: usize| words.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1);
        for start in [0, 1, 63, 64, 65, 200, 447, 500, 511, 512, 700] {
            for len in [0, 1, 2, 63, 64, 65, 128, 300, 800] {
                let cut = product_bits(Engine::fastest(), &a, &b, start..start + len);
                assert_eq!(cut.len(), len.div_ceil(64));
                for at in 0..cut.len() * 64 {
                    assert_eq!(bit(&cut, at), at < len && bit(&product, start + at), "bit {at} of {start} + {len}");
                }
            }
        }
        assert!(product_bits(Engine::fastest(), &[], &b, 0..70).iter().all(|&word| word == 0));
        assert!(product_bits(Engine::fastest(), &a, &b, 9..9).is_empty());
    }
}
