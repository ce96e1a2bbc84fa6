//! The tests of randomness: those of NIST, and two more.
//!
//! NIST's are those of L. Bassham et al., "A Statistical Test Suite for Random and Pseudorandom Number Generators for
//! Cryptographic Applications", SP 800-22 Rev. 1a (2010), sections 2.1 to 2.15, as the crate `rng-entropy` has them. Our
//! own are the autocorrelation at many lags (A. Menezes, P. van Oorschot, S. Vanstone, "Handbook of Applied
//! Cryptography", 1996, section 5.4.4 v) and Pearson's chi-square over bytes (D. Knuth, "The Art of Computer
//! Programming", volume 2, section 3.3.1).

use entropy::math::{chi2_pvalue, erfc};
use entropy::nist;
use entropy::result::TestResult;

/// Bits that a sequence should have at least, for the asymptotic distributions of SP 800-22 to hold (sections 2.8.7,
/// 2.10.7, 2.14.7).
pub(crate) const LEAST_BITS: usize = 1_000_000;

/// Below this a p-value counts as a failure.
///
/// One sequence has some 250 p-values, so a generator without fault fails for one sequence in some 4,000.
pub(crate) const SIGNIFICANCE: f64 = 1e-6;

/// Lags of the autocorrelation.
const LAGS: usize = 64;

/// One check of the battery: a name, and its p-values, which may be many.
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) p: Vec<f64>,
}

impl Check {
    /// From the crate's results; those that do not apply to the sequence have no p-value.
    fn new(name: &'static str, results: Vec<TestResult>) -> Self {
        let p = results.into_iter().filter(|result| !result.skipped()).map(|result| {
            // Sums of many terms may end a rounding error above 1.
            assert!((0.0..=1.0 + 1e-9).contains(&result.p_value), "{result}");
            result.p_value.min(1.0)
        });
        Self { name, p: p.collect() }
    }

    /// The smallest p-value; 1 if there is none.
    pub(crate) fn least(&self) -> f64 {
        self.p.iter().copied().fold(1.0, f64::min)
    }

    pub(crate) fn fails(&self) -> bool {
        self.least() < SIGNIFICANCE
    }

    /// Whether its p-values have little to do with each other. Those of the random excursions are about one walk.
    pub(crate) fn independent(&self) -> bool {
        !self.name.starts_with("random excursions")
    }
}

/// All checks of a sequence of zeros and ones.
pub(crate) fn battery(bits: &[u8]) -> Vec<Check> {
    assert!(bits.len() >= LEAST_BITS, "{} bits are too few", bits.len());
    vec![
        Check::new("frequency", vec![nist::frequency::frequency(bits)]),
        // Section 2.2.7: blocks longer than a hundredth of the sequence.
        Check::new("block frequency", vec![nist::block_frequency::block_frequency(bits, bits.len() / 64)]),
        Check::new("runs", vec![nist::runs::runs(bits)]),
        Check::new("longest run", vec![nist::longest_run::longest_run(bits)]),
        Check::new("matrix rank", vec![nist::matrix_rank::matrix_rank(bits)]),
        Check::new("spectral", vec![nist::spectral::spectral(bits)]),
        Check::new("templates", nist::non_overlapping_template::non_overlapping_all(bits)),
        Check::new("overlapping template", vec![nist::overlapping_template::overlapping_template(bits, 9)]),
        Check::new("universal", vec![nist::universal::universal(bits)]),
        Check::new("linear complexity", vec![nist::linear_complexity::linear_complexity(bits, 500)]),
        Check::new("serial", nist::serial::serial_both(bits, 16)),
        Check::new("approximate entropy", vec![nist::approximate_entropy::approximate_entropy(bits, 10)]),
        Check::new(
            "cumulative sums",
            vec![
                nist::cumulative_sums::cumulative_sums_forward(bits),
                nist::cumulative_sums::cumulative_sums_backward(bits),
            ],
        ),
        Check::new("random excursions", nist::random_excursions::random_excursions_all(bits)),
        Check::new("random excursions variant", nist::random_excursions_variant::random_excursions_variant_all(bits)),
        Check { name: "autocorrelation", p: (1..=LAGS).map(|lag| autocorrelation(bits, lag)).collect() },
        Check { name: "bytes", p: vec![bytes(bits)] },
    ]
}

/// How likely bits a `lag` apart differ as far from half of the time as they do: of `A` that differ among `m = n − lag`,
/// `2 (A − m/2)/√m` is about normal.
fn autocorrelation(bits: &[u8], lag: usize) -> f64 {
    let differ = bits.iter().zip(&bits[lag..]).filter(|(a, b)| a != b).count();
    let pairs = float(bits.len() - lag);
    erfc((2.0 * float(differ) - pairs).abs() / (2.0 * pairs).sqrt())
}

/// How likely the 256 bytes, each of eight bits of the sequence, are spread as unevenly as they are.
fn bytes(bits: &[u8]) -> f64 {
    let mut counts = [0; 256];
    for byte in bits.chunks_exact(8) {
        counts[byte.iter().fold(0, |byte, bit| 2 * byte + usize::from(*bit))] += 1;
    }
    let expected = float(bits.len() / 8) / 256.0;
    chi2_pvalue(counts.iter().map(|&count| (float(count) - expected).powi(2) / expected).sum(), 255)
}

/// How likely p-values are spread as unevenly over ten bins as these: SP 800-22, section 4.2.2.
pub(crate) fn uniformity(p: &[f64]) -> f64 {
    let mut bins = [0; 10];
    for p in p {
        let above = (1..10).filter(|bin| *p >= f64::from(*bin) / 10.0).count();
        bins[above] += 1;
    }
    let expected = float(p.len()) / 10.0;
    chi2_pvalue(bins.iter().map(|&count| (float(count) - expected).powi(2) / expected).sum(), 9)
}

pub(crate) fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

/// The first million binary digits of e, from `10.1011…` on: the sequence of SP 800-22's longer examples.
///
/// `e − 2 = 1/2 (1 + 1/3 (1 + 1/4 (…)))`, from the inside out and three factors at a time, each time with only as many
/// words behind the point as still count.
fn digits_of_e() -> Vec<u8> {
    const WORDS: usize = LEAST_BITS.div_ceil(64) + 1;
    let (mut steps, mut passed, mut size) = (Vec::new(), 0, 0.0);
    for first in (2_u32..).step_by(3) {
        while 64.0 * float(passed + 1) < size {
            passed += 1;
        }
        if passed == WORDS {
            break;
        }
        steps.push((u128::from(first), WORDS - passed));
        size += (first..first + 3).map(|k| f64::from(k).log2()).sum::<f64>();
    }
    let mut fraction: Vec<u64> = Vec::new();
    for (first, words) in steps.into_iter().rev() {
        fraction.resize(words, 0);
        let (second, third) = (first + 1, first + 2);
        let mut rest = second * third + third + 1;
        for word in &mut fraction {
            let part = rest << 64 | u128::from(*word);
            *word = u64::try_from(part / (first * second * third)).unwrap();
            rest = part % (first * second * third);
        }
    }
    let digits = (0..LEAST_BITS - 2).map(|at| u8::from(fraction[at / 64] << (at % 64) >> 63 == 1));
    [1, 0].into_iter().chain(digits).collect()
}

#[test]
fn the_battery_has_the_p_values_that_nist_published() {
    let e = digits_of_e();
    // The second table of appendix B.
    let exactly = [
        (nist::frequency::frequency(&e), 0.953_749),
        (nist::block_frequency::block_frequency(&e, 128), 0.211_072),
        (nist::cumulative_sums::cumulative_sums_forward(&e), 0.669_887),
        (nist::cumulative_sums::cumulative_sums_backward(&e), 0.724_266),
        (nist::runs::runs(&e), 0.561_917),
        (nist::matrix_rank::matrix_rank(&e), 0.306_156),
        (nist::non_overlapping_template::non_overlapping_template(&e, 9), 0.078_790),
        (nist::approximate_entropy::approximate_entropy(&e, 10), 0.700_073),
        (nist::serial::serial_both(&e, 16).swap_remove(0), 0.766_182),
        (nist::random_excursions_variant::random_excursions_variant_all(&e).swap_remove(8), 0.826_009),
        (nist::random_excursions::random_excursions_all(&e).swap_remove(4), 0.786_868),
    ];
    // There the crate has probabilities and variances that are more exact than the printed ones.
    let nearly = [
        (nist::longest_run::longest_run(&e), 0.718_945),
        (nist::spectral::spectral(&e), 0.847_187),
        (nist::universal::universal(&e), 0.282_568),
        (nist::linear_complexity::linear_complexity(&e, 500), 0.826_335),
        (nist::overlapping_template::overlapping_template(&e, 9), 0.110_434),
    ];
    for (results, tolerance) in [(&exactly[..], 1e-6), (&nearly[..], 0.05)] {
        for (result, published) in results {
            println!("{result}, published {published}");
            assert!((result.p_value - published).abs() < tolerance, "{result}, published {published}");
        }
    }
}

#[test]
fn our_own_checks_agree_with_figures_by_hand() {
    // At lag 1 of 0011 0011 ... every second pair differs, at lag 2 all do, at lag 4 none.
    let slow: Vec<u8> = (0..100_u8).map(|i| i / 2 % 2).collect();
    assert!(autocorrelation(&slow, 1) > 0.9, "49 or 50 of 99");
    // 98 and 96 standard deviations of 1/2 √m: nothing is left.
    assert!(autocorrelation(&slow, 2) < 1e-20 && autocorrelation(&slow, 4) < 1e-20);
    // 59 of 99 pairs differ: 19/√99 = 1.9096 standard deviations, two-sided 0.0562.
    let mut some = vec![0_u8; 100];
    (1..100).for_each(|i| some[i] = some[i - 1] ^ u8::from(i <= 59));
    assert!((autocorrelation(&some, 1) - 0.0562).abs() < 1e-4, "{}", autocorrelation(&some, 1));
    // Each byte once is as even as can be; 256 times the same gives chi-square 256 * 255.
    let once: Vec<u8> = (0..=255_u8).flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1)).collect();
    assert!(bytes(&once) > 0.999_999 && bytes(&[0; 2048]) < 1e-20);
    assert!(uniformity(&[0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95]) > 0.999_999);
    assert!(uniformity(&[0.05; 30]) < 1e-20);
}
