//! What both ends count of a block, and what follows from it: the same at both, so that they come to the same end.

use std::ops::Range;
use std::time::Duration;

use super::auth::{PAD_BITS, TAGS_PER_BLOCK};
use super::cascade::CascadeConfig;
use super::sift::Sorted;
use super::{EndConfig, verify};
use crate::block::{AuthCost, BlockReport, DiscardReason, Epsilon, Leakage, Progress, decoy_share};
use crate::decoy::binary_entropy;
use crate::draw::to_f64;
use crate::finite::{BasisCounts, Bounds, Counts, Decoys, Tagged, bounds_with_leak, secret_length};
use crate::pulse::{Basis, Intensity};

/// Bits of a frame of error correction.
const FRAME_BITS: usize = 1 << 14;

/// By how many standard deviations the errors must exceed the alarm before a block is given up that is not full yet.
const CLEARLY: f64 = 5.0;

/// One count for each intensity.
pub(super) type ByIntensity = [u64; 3];

/// What is public of a block.
pub(super) struct Tally {
    pub(super) number: u64,
    slots: Range<u64>,
    pub(super) pulses: u64,
    x: ByIntensity,
    z: ByIntensity,
    x_errors: Option<ByIntensity>,
    z_errors: ByIntensity,
    /// Bits and errors of the test basis in the last stretch.
    last: (u64, u64),
    bright_light: bool,
    /// Parities disclosed; known at both ends once all is corrected.
    disclosed: u64,
    verified: bool,
}

/// What the ends agree on at the end of a block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Passed {
    /// Bits for new pads.
    pub(super) auth_bits: u64,
    /// Bits of key.
    pub(super) key_bits: u64,
    /// How likely one of the block's tags was forged, at most.
    pub(super) forgery: f64,
}

impl Tally {
    pub(super) fn new(number: u64, start: u64) -> Self {
        Self {
            number,
            slots: start..start,
            pulses: 0,
            x: [0; 3],
            z: [0; 3],
            x_errors: None,
            z_errors: [0; 3],
            last: (0, 0),
            bright_light: false,
            disclosed: 0,
            verified: false,
        }
    }

    /// Adds a stretch, once it is sorted.
    pub(super) fn add_stretch(&mut self, slots: &Range<u64>, sorted: &[Sorted]) {
        self.slots.end = slots.end;
        self.pulses += slots.end - slots.start;
        let before = self.z.iter().sum::<u64>();
        let mut kinds = [0; Sorted::KINDS];
        for entry in sorted {
            kinds[entry.kind()] += 1;
        }
        for intensity in Intensity::ALL {
            let test = |bit| kinds[Sorted::Test(intensity, bit).kind()];
            self.x[intensity.index()] += kinds[Sorted::Key(intensity).kind()];
            self.z[intensity.index()] += test(false) + test(true);
        }
        self.last = (self.z.iter().sum::<u64>() - before, 0);
    }

    /// Adds the errors in the test basis of the stretch that was added last. `None` if there were not so many bits.
    pub(super) fn add_errors(&mut self, errors: ByIntensity, bright_light: bool) -> Option<()> {
        let mut all = self.z_errors;
        for (sum, more) in all.iter_mut().zip(errors) {
            *sum = sum.checked_add(more)?;
        }
        let in_stretch: u64 = errors.iter().try_fold(0_u64, |sum, more| sum.checked_add(*more))?;
        if in_stretch > self.last.0 || all.iter().zip(self.z).any(|(errors, bits)| *errors > bits) {
            return None;
        }
        (self.z_errors, self.last.1) = (all, in_stretch);
        self.bright_light |= bright_light;
        Some(())
    }

    /// Adds what error correction found. `None` if there were not so many bits.
    pub(super) fn add_correction(&mut self, errors: ByIntensity, disclosed: u64) -> Option<()> {
        if errors.iter().zip(self.x).any(|(errors, bits)| *errors > bits) {
            return None;
        }
        self.x_errors = Some(errors);
        self.disclosed = disclosed;
        Some(())
    }

    /// Notes that the hash of the key was disclosed.
    pub(super) fn add_verification(&mut self) {
        self.verified = true;
    }

    /// Sifted bits of the key basis.
    pub(super) fn sifted_bits(&self) -> u64 {
        self.x.iter().sum()
    }

    /// Whether the block has its size.
    pub(super) fn is_full(&self, config: &EndConfig) -> bool {
        self.pulses >= config.block_slots || self.sifted_bits() >= config.block_bits
    }

    /// How both ends begin error correction. The error rate is that of the test basis, with half an error and one bit
    /// more than counted: it is never 0.
    pub(super) fn cascade(&self, config: &EndConfig, seed: u64) -> CascadeConfig {
        let (bits, errors) = (self.z.iter().sum::<u64>(), self.z_errors.iter().sum::<u64>());
        let qber = (to_f64(errors) + 0.5) / (to_f64(bits) + 1.0);
        CascadeConfig { variant: config.cascade, frame_bits: FRAME_BITS, qber, seed }
    }

    /// What speaks against the block after a stretch.
    pub(super) fn objection(&self, config: &EndConfig) -> Option<DiscardReason> {
        let (block, threshold) = (self.number, config.qber_alarm);
        let long_enough = self.pulses >= config.least_slots;
        if self.bright_light && (long_enough || self.is_full(config)) {
            return Some(DiscardReason::BrightLight { block });
        }
        let (bits, qber) = (self.z.iter().sum::<u64>(), self.qber_z());
        let too_high = DiscardReason::QberTooHigh { block, basis: Basis::Z, qber, threshold };
        let scatter = (threshold * (1.0 - threshold) / to_f64(bits.max(1))).sqrt();
        if long_enough && bits >= config.min_detections && qber > threshold + CLEARLY * scatter {
            return Some(too_high);
        }
        if !self.is_full(config) {
            return None;
        }
        if self.sifted_bits() < config.min_detections || bits == 0 {
            return Some(DiscardReason::TooFewDetections { block, sifted_bits: self.sifted_bits() });
        }
        if qber > threshold {
            return Some(too_high);
        }
        // One decoy needs the errors of the key basis, which are not known yet.
        if config.analysis.decoys == Decoys::One {
            return None;
        }
        // No error correction discloses less than Shannon's limit.
        let least = to_f64(self.sifted_bits()) * binary_entropy(qber);
        self.no_key(config, self.length(config, least) == 0)
    }

    /// What speaks against the block once its errors are known. `kept` bits of its output at least are not for key.
    pub(super) fn objection_after_correction(&self, config: &EndConfig, kept: u64) -> Option<DiscardReason> {
        let (block, qber, threshold) = (self.number, self.qber_x(), config.qber_alarm);
        if qber > threshold {
            return Some(DiscardReason::QberTooHigh { block, basis: Basis::X, qber, threshold });
        }
        self.no_key(config, self.output_bits(config) <= kept)
    }

    fn no_key(&self, config: &EndConfig, none: bool) -> Option<DiscardReason> {
        let (block, qber) = (self.number, self.qber_x().max(self.qber_z()));
        none.then(|| DiscardReason::NoSecretKey {
            block,
            qber,
            single: self.bounds(config).single,
            decoys: decoy_share(&self.gains(config), &config.intensities),
        })
    }

    /// Bits that privacy amplification gives, in whole bytes: pads and key.
    pub(super) fn output_bits(&self, config: &EndConfig) -> u64 {
        self.length(config, to_f64(self.disclosed)) / 8 * 8
    }

    fn length(&self, config: &EndConfig, disclosed: f64) -> u64 {
        let hash = to_f64(verify::DISCLOSED_BITS);
        let length = secret_length(&self.bounds(config), disclosed, hash, config.analysis, &config.security);
        length.min(self.sifted_bits())
    }

    fn bounds(&self, config: &EndConfig) -> Bounds {
        let mut counts = self.counts();
        if self.x_errors.is_none() {
            // The analysis with one decoy asks for the errors of the key basis: as in the test basis, so far.
            let rates = [0, 1, 2].map(|k| counts.z.errors[k] / counts.z.detected[k].max(1.0));
            counts.x.errors = [0, 1, 2].map(|k| (counts.x.detected[k] * rates[k]).round());
        }
        let (key, test) = (config.p_x * config.p_x, (1.0 - config.p_x) * (1.0 - config.p_x));
        let (intensities, security) = (&config.intensities, &config.security);
        let tagged = Tagged::new(self.pulses, intensities, key, test, config.trojan_photons, security);
        bounds_with_leak(intensities, &counts, &tagged, config.analysis, security)
    }

    fn counts(&self) -> Counts {
        let basis = |bits: ByIntensity, errors: ByIntensity| BasisCounts {
            detected: bits.map(to_f64),
            errors: errors.map(to_f64),
        };
        Counts { x: basis(self.x, self.x_errors.unwrap_or_default()), z: basis(self.z, self.z_errors) }
    }

    fn qber_z(&self) -> f64 {
        share(self.z_errors.iter().sum(), self.z.iter().sum())
    }

    fn qber_x(&self) -> f64 {
        self.x_errors.map_or_else(|| self.qber_z(), |errors| share(errors.iter().sum(), self.sifted_bits()))
    }

    /// Clicks per pulse: those that passed sifting, over those pulses for which both chose the same basis.
    fn gains(&self, config: &EndConfig) -> [f64; 3] {
        let sifting = config.p_x * config.p_x + (1.0 - config.p_x) * (1.0 - config.p_x);
        [0, 1, 2].map(|k| {
            let sent = to_f64(self.pulses) * config.intensities.p[k] * sifting;
            if sent > 0.0 { to_f64(self.x[k] + self.z[k]) / sent } else { 0.0 }
        })
    }

    /// For the event after each stretch.
    pub(super) fn progress(&self, config: &EndConfig) -> Progress {
        Progress {
            number: self.number,
            at: time(self.slots.end, config),
            pulses: self.pulses,
            counts: self.counts(),
            qber_z: share(self.last.1, self.last.0),
            gains: self.gains(config),
        }
    }

    /// The report on a block that passed, or on one that did not.
    pub(super) fn report(&self, config: &EndConfig, passed: Option<Passed>) -> BlockReport {
        let (start, end) = (time(self.slots.start, config), time(self.slots.end, config));
        let auth =
            passed.map_or_else(AuthCost::default, |passed| AuthCost { tags: TAGS_PER_BLOCK, bits: passed.auth_bits });
        let epsilon =
            passed.map_or(Epsilon { secrecy: 1.0, correctness: 1.0, authentication: 1.0 }, |passed| Epsilon {
                secrecy: config.security.eps_sec,
                correctness: verify::collision_bound(self.sifted_bits()),
                authentication: passed.forgery,
            });
        let key_bits = passed.map_or(0, |passed| passed.key_bits);
        let seconds = end.saturating_sub(start).as_secs_f64();
        BlockReport {
            number: self.number,
            start,
            end,
            pulses: self.pulses,
            counts: self.counts(),
            qber_x: self.qber_x(),
            qber_z: self.qber_z(),
            gains: self.gains(config),
            bounds: self.bounds(config),
            leakage: Leakage {
                parities: to_f64(self.disclosed),
                verification: if self.verified { to_f64(verify::DISCLOSED_BITS) } else { 0.0 },
            },
            auth,
            analysis: config.analysis,
            epsilon,
            key_bits,
            rate_bps: if seconds > 0.0 { to_f64(key_bits) / seconds } else { 0.0 },
            eve: false,
        }
    }
}

/// How many pads for Alice's messages and for Bob's are taken from an output of `output_bits`, if so many are missing.
/// At least those that the block itself took; beyond them at most half of the output, so that key still flows when many
/// were lost.
pub(super) fn refill(output_bits: u64, missing: (usize, usize)) -> (u16, u16) {
    let most = (output_bits / 2 / PAD_BITS).max(TAGS_PER_BLOCK);
    let for_bob = (missing.1 as u64).min(most / 3);
    let for_alice = (missing.0 as u64).min(most - for_bob);
    (u16::try_from(for_alice).unwrap_or(u16::MAX), u16::try_from(for_bob).unwrap_or(u16::MAX))
}

/// Bits of the pads of [`refill`].
pub(super) fn refill_bits(pads: (u16, u16)) -> u64 {
    (u64::from(pads.0) + u64::from(pads.1)) * PAD_BITS
}

/// Share of wrong bits; 1/2 if there is nothing to measure.
fn share(errors: u64, bits: u64) -> f64 {
    if bits == 0 { 0.5 } else { to_f64(errors) / to_f64(bits) }
}

/// When a slot is sent.
fn time(slot: u64, config: &EndConfig) -> Duration {
    Duration::try_from_secs_f64(to_f64(slot) / config.slots_per_second).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distil::cascade::Variant;
    use crate::finite::{Analysis, Intensities, Security};
    use crate::pulse::Intensity;

    fn config() -> EndConfig {
        EndConfig {
            intensities: Intensities { mu: [0.48, 0.1, 0.0], p: [0.7, 0.2, 0.1] },
            p_x: 0.6,
            analysis: Analysis::default(),
            security: Security { eps_sec: 1e-10, eps_cor: 1e-10 },
            qber_alarm: 0.11,
            block_slots: 2_000,
            first_block: 1,
            least_slots: 1_500,
            block_bits: 1_000,
            min_detections: 100,
            cascade: Variant::Classic,
            slots_per_second: 1_000.0,
            trojan_photons: 0.0,
            timeout: Duration::from_secs(1),
        }
    }

    fn with_test_bits(slots: u64, bits: usize, errors: u64) -> Tally {
        let mut tally = Tally::new(3, 500);
        let sorted = [vec![Sorted::Test(Intensity::Signal, true); bits], vec![Sorted::Key(Intensity::Decoy); bits]];
        tally.add_stretch(&(500..500 + slots), &sorted.concat());
        tally.add_errors([errors, 0, 0], false).unwrap();
        tally
    }

    #[test]
    fn the_alarm_waits_for_the_end_unless_errors_are_clearly_too_many() {
        // 11 % of 400 bits scatter by 6.3; 5 of those above 44 is 75.3.
        assert_eq!(with_test_bits(1_999, 400, 75).objection(&config()), None);
        let clearly = with_test_bits(1_999, 400, 76).objection(&config());
        assert!(matches!(clearly, Some(DiscardReason::QberTooHigh { block: 3, basis: Basis::Z, .. })), "{clearly:?}");
        assert_eq!(with_test_bits(1_499, 400, 76).objection(&config()), None, "too early to judge");
        assert_eq!(with_test_bits(1_999, 99, 60).objection(&config()), None, "too few to judge");
        let full = with_test_bits(2_000, 400, 45).objection(&config());
        assert!(matches!(full, Some(DiscardReason::QberTooHigh { .. })), "{full:?}");
        let few = with_test_bits(2_000, 99, 0).objection(&config());
        assert_eq!(few, Some(DiscardReason::TooFewDetections { block: 3, sifted_bits: 99 }));
        assert!(with_test_bits(1, 1_000, 0).is_full(&config()));
    }

    #[test]
    fn counts_that_cannot_be_are_refused() {
        let mut tally = with_test_bits(10, 5, 0);
        assert_eq!(tally.add_errors([6, 0, 0], false), None);
        assert_eq!(tally.add_errors([0, 1, 0], false), None);
        assert_eq!(tally.add_errors([u64::MAX, 1, 0], false), None);
        assert_eq!(tally.add_correction([0, 6, 0], 3), None);
        assert_eq!(tally.add_correction([1, 0, 0], 3), None);
        assert_eq!(tally.add_correction([0, 5, 0], 3), Some(()));
    }

    #[test]
    fn gains_and_times_follow_from_the_slots() {
        let report = with_test_bits(1_000, 50, 0).report(&config(), None);
        assert_eq!((report.start, report.end), (Duration::from_millis(500), Duration::from_millis(1_500)));
        // 50 bits in each basis; 0.52 of the pulses have two bases alike.
        assert!((report.gains[0] - 50.0 / (1_000.0 * 0.7 * 0.52)).abs() < 1e-12);
        assert!((report.gains[1] - 50.0 / (1_000.0 * 0.2 * 0.52)).abs() < 1e-12);
        assert!(report.gains[2].abs() < 1e-12 && (report.epsilon.total() - 3.0).abs() < 1e-12);
    }

    #[test]
    fn pads_come_back_but_not_at_the_cost_of_all_key() {
        assert_eq!(refill(100_000, (2, 1)), (2, 1));
        assert_eq!(refill(100_000, (40, 20)), (40, 20));
        assert_eq!(refill(100, (40, 20)), (2, 1), "what the block itself took, if it gives so much");
        let some = refill(10 * 256, (40, 20));
        assert_eq!((some, refill_bits(some)), ((7, 3), 1_280));
    }
}
