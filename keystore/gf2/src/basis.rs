//! From coefficients to the basis in which a polynomial is evaluated fast, by additions alone.
//!
//! That basis is of S.-J. Lin, W.-H. Chung and Y. S. Han, "Novel polynomial basis and its application to Reed-Solomon
//! erasure codes", FOCS 2014: element `k` is the product of the `s_i(x)` for the bits `i` set in `k`, with `s_i` the
//! polynomial that vanishes at the first `2^i` points. With a Cantor basis `s_(2^k)(x) = x^(2^(2^k)) + x`, so a
//! polynomial is written in powers of such an `s_i` by adding its upper part to lower ones, and then its digits and the
//! polynomial of the digits in the same way (S. Gao, T. Mateer, "Additive fast Fourier transforms over finite fields",
//! IEEE Trans. Inf. Theory 56, 2010).
//!
//! Element `k` has degree `k`. So the first coefficients of the result depend on nothing that is zero behind the end,
//! and any length will do.

/// How the two parts of a step are added.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sum {
    /// The upper to the lower, from the top.
    Down,
    /// The lower to the upper, from the top: the inverse of `Down`, transposed.
    UpFromTop,
    /// The lower to the upper, from the bottom: `Down`, transposed.
    UpFromBottom,
}

/// In every block of `2 half` coefficients, the part from `half` on and the equally long one from `shift` on are added:
/// the rewriting of `x^half` as `y + x^shift`, with `y = x^half + x^shift`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    half: usize,
    shift: usize,
}

/// Blocks of so many coefficients, and in them blocks of so many, go through all the steps that stay within them one
/// block after the other: they fit the second and the first cache of today's processors.
const CACHED: &[usize] = &[1 << 16, 1 << 12];

/// The steps within 16 coefficients, the last ones of every conversion. Known here, so that they are unrolled.
const LAST: [Step; 4] =
    [Step { half: 8, shift: 2 }, Step { half: 4, shift: 1 }, Step { half: 8, shift: 4 }, Step { half: 2, shift: 1 }];

/// Rewrites coefficients into the basis.
///
/// The length, here and below, is a multiple of 16 and at least 32.
pub(crate) fn convert(data: &mut [u64]) {
    add_all(&steps(data.len()), data, CACHED, |step, block| step.add(block, Sum::Down));
    last(data, |block| LAST.iter().for_each(|step| step.add(block, Sum::Down)));
}

/// The transpose of the inverse of [`convert`].
pub(crate) fn convert_inverse_transposed(data: &mut [u64]) {
    add_all(&steps(data.len()), data, CACHED, |step, block| step.add(block, Sum::UpFromTop));
    last(data, |block| LAST.iter().for_each(|step| step.add(block, Sum::UpFromTop)));
}

/// The transpose of [`convert`].
pub(crate) fn convert_transposed(data: &mut [u64]) {
    last(data, |block| LAST.iter().rev().for_each(|step| step.add(block, Sum::UpFromBottom)));
    let mut steps = steps(data.len());
    steps.reverse();
    add_all(&steps, data, CACHED, |step, block| step.add(block, Sum::UpFromBottom));
}

/// All `steps` in order, where possible block by block of the sizes in `cached`, largest first.
fn add_all(steps: &[Step], data: &mut [u64], cached: &[usize], add: impl Fn(Step, &mut [u64]) + Copy) {
    let largest = cached.first().copied().unwrap_or(0);
    let fits = |step: &Step| 2 * step.half <= largest;
    for group in steps.chunk_by(|one, next| fits(one) == fits(next)) {
        if group.first().is_some_and(fits) {
            data.chunks_mut(largest).for_each(|block| add_all(group, block, &cached[1..], add));
        } else {
            for &step in group {
                add(step, data);
            }
        }
    }
}

#[inline]
fn last(data: &mut [u64], work: impl Fn(&mut [u64; 16])) {
    data.as_chunks_mut().0.iter_mut().for_each(work);
}

/// All steps but [`LAST`] of a conversion of `len` coefficients, in order.
fn steps(len: usize) -> Vec<Step> {
    /// Steps for polynomials of `2^order` coefficients that are `2^unit` apart.
    fn gather(steps: &mut Vec<Step>, unit: u32, order: u32) {
        if order < 2 || unit + order <= 4 {
            return;
        }
        // Digits of 2^digit coefficients, in powers of x^(2^digit) + x; `digit` is a power of 2.
        let digit = order.next_power_of_two() / 2;
        let rounds = (0..order - digit).rev();
        steps.extend(rounds.map(|round| Step { half: 1 << (unit + digit + round), shift: 1 << (unit + round) }));
        gather(steps, unit + digit, order - digit);
        gather(steps, unit, digit);
    }
    let mut steps = Vec::new();
    gather(&mut steps, 0, len.next_power_of_two().ilog2());
    steps
}

impl Step {
    #[inline]
    fn add(self, data: &mut [u64], sum: Sum) {
        for block in data.chunks_mut(2 * self.half) {
            let len = block.len().saturating_sub(self.half);
            if len == 0 {
                continue;
            }
            // Two parts overlap by less than `apart`; cut there, they do not.
            let apart = self.half - self.shift;
            let (first, second) = (0..len.min(apart), len.min(apart)..len);
            let pieces = if sum == Sum::UpFromBottom { [first, second] } else { [second, first] };
            for piece in pieces {
                let (below, above) = block.split_at_mut(self.half + piece.start);
                let lower = &mut below[self.shift + piece.start..self.shift + piece.end];
                let upper = &mut above[..piece.len()];
                if sum == Sum::Down { add(lower, upper) } else { add(upper, lower) }
            }
        }
    }
}

/// `to += from`.
#[inline]
pub(crate) fn add(to: &mut [u64], from: &[u64]) {
    std::iter::zip(to, from).for_each(|(to, from)| *to ^= from);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::Seeded;

    const LENGTHS: [usize; 10] = [32, 48, 64, 96, 128, 512, 768, 1024, 1 << 14, 3 << 13];

    /// A step by its definition, one coefficient at a time.
    fn slowly(step: Step, data: &mut [u64]) {
        for start in (0..data.len()).step_by(2 * step.half) {
            for j in (0..step.half).rev().filter(|j| start + step.half + j < data.len()).collect::<Vec<_>>() {
                data[start + step.shift + j] ^= data[start + step.half + j];
            }
        }
    }

    fn all_steps(len: usize) -> Vec<Step> {
        steps(len).into_iter().chain(LAST).collect()
    }

    fn sum_of_products(a: &[u64], b: &[u64]) -> u64 {
        std::iter::zip(a, b).fold(0, |sum, (a, b)| sum ^ a & b)
    }

    #[test]
    fn steps_are_as_defined() {
        let mut seeded = Seeded::new(5);
        for len in LENGTHS {
            let mut fast = seeded.words(len);
            let mut slow = fast.clone();
            convert(&mut fast);
            for step in all_steps(len) {
                slowly(step, &mut slow);
            }
            assert_eq!(fast, slow, "{len} coefficients");
        }
    }

    #[test]
    fn transposes_are_transposed() {
        let mut seeded = Seeded::new(6);
        for len in LENGTHS {
            let (a, b) = (seeded.words(len), seeded.words(len));
            let (mut converted, mut transposed, mut inverse) = (a.clone(), b.clone(), b.clone());
            convert(&mut converted);
            convert_transposed(&mut transposed);
            assert_eq!(sum_of_products(&converted, &b), sum_of_products(&a, &transposed), "{len} coefficients");
            convert_inverse_transposed(&mut inverse);
            assert_eq!(sum_of_products(&converted, &inverse), sum_of_products(&a, &b), "{len} coefficients, inverse");
        }
    }
}
