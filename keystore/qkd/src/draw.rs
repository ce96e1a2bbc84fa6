//! Random counts.

use rand::rngs::{SysError, SysRng};
use rand::{Rng, RngExt, SeedableRng, TryRng};
use rand_chacha::ChaCha20Rng;
use zeroize::Zeroize as _;

/// Above this variance the binomial distribution is drawn as the normal one that it has become.
const NORMAL_FROM_VARIANCE: f64 = 100.0;

/// How many of `n` independent trials of probability `p` succeed.
///
/// Exact (by the geometric gaps between successes) while the variance is small; rounded from a normal distribution of
/// the same mean and variance above [`NORMAL_FROM_VARIANCE`], where the two differ by less than any count here shows.
pub(crate) fn binomial(n: u64, p: f64, rng: &mut impl Rng) -> u64 {
    if p > 0.5 {
        return n - binomial(n, 1.0 - p, rng);
    }
    if p <= 0.0 || n == 0 {
        return 0;
    }
    let trials = to_f64(n);
    let variance = trials * p * (1.0 - p);
    if variance > NORMAL_FROM_VARIANCE {
        let drawn = trials * p + variance.sqrt() * standard_normal(rng);
        return to_count(drawn.round()).min(n);
    }
    let log_fail = (-p).ln_1p();
    let (mut successes, mut position) = (0, 0.0);
    loop {
        position += (uniform_open(rng).ln() / log_fail).floor() + 1.0;
        if position > trials {
            return successes;
        }
        successes += 1;
    }
}

/// A generator under 256 bits drawn from the operating system.
pub(crate) fn system_generator() -> Result<ChaCha20Rng, SysError> {
    let mut seed = [0; 32];
    SysRng.try_fill_bytes(&mut seed)?;
    let generator = ChaCha20Rng::from_seed(seed);
    seed.zeroize();
    Ok(generator)
}

/// A count as a float; exact below 2^53, which no count here reaches.
#[expect(clippy::cast_precision_loss, reason = "counts of bits and pulses stay below 2^53")]
pub(crate) fn to_f64(count: u64) -> f64 {
    count as f64
}

/// A float as a count: fractions are cut off, what is negative becomes 0.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturating is what is wanted")]
pub(crate) fn to_count(x: f64) -> u64 {
    x as u64
}

/// Box and Muller's method; the second of the pair is not kept.
fn standard_normal(rng: &mut impl Rng) -> f64 {
    let radius = (-2.0 * uniform_open(rng).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

/// Uniform in (0, 1]: its logarithm is finite.
fn uniform_open(rng: &mut impl Rng) -> f64 {
    1.0 - rng.random::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_variance_are_binomial_on_both_sides_of_the_switch() {
        const SEED: u64 = 20;
        println!("seed {SEED}");
        let mut rng = ChaCha20Rng::seed_from_u64(SEED);
        for (n, p) in [(50, 0.1), (1_000, 0.01), (900, 0.11), (1_000, 0.2), (1_000_000, 0.02), (40, 0.9)] {
            let draws: Vec<f64> = (0..20_000).map(|_| to_f64(binomial(n, p, &mut rng))).collect();
            let count = to_f64(draws.len() as u64);
            let mean = draws.iter().sum::<f64>() / count;
            let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
            let (expected, spread) = (to_f64(n) * p, to_f64(n) * p * (1.0 - p));
            assert!((mean - expected).abs() < 4.0 * (spread / count).sqrt(), "mean {mean}, not {expected}");
            assert!((variance / spread - 1.0).abs() < 4.0 * (2.2 / count).sqrt(), "variance {variance}, not {spread}");
        }
    }

    #[test]
    fn edges() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        assert_eq!(binomial(0, 0.5, &mut rng), 0);
        assert_eq!(binomial(10, 0.0, &mut rng), 0);
        assert_eq!(binomial(10, 1.0, &mut rng), 10);
        assert_eq!(to_count(-3.0), 0);
    }
}
