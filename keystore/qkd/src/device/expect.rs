//! What to expect of a device on a line, on average.

use std::time::Duration;

use super::{DeviceProfile, Means};
use crate::decoy::{Channel, NOISE_ERROR, Observed, SinglePhoton, binary_entropy, two_decoys};
use crate::distil::limits::MAX_BLOCK_BITS;
use crate::draw::{to_count, to_f64};
use crate::finite::{Analysis, BasisCounts, Counts, Security, Tagged, bounds_with_leak, secret_length};

/// Bits of the hash that shows that both ends hold the same.
pub(crate) const VERIFICATION_BITS: f64 = 128.0;

/// Wegman-Carter tags in one block of the rate model: on what Bob detected, on Alice's answer, and on the correction.
pub(crate) const AUTH_TAGS: u64 = 3;

/// Key bits that the tags of one block take, 128 each.
pub(crate) const AUTH_BITS: u64 = AUTH_TAGS * 128;

/// Sifted bits of either basis that a block waits for, so that its QBER means something: at 5 % it then scatters by
/// half a percent.
const MIN_SAMPLE_BITS: f64 = 2_000.0;

/// A block that still has not its [`MIN_SAMPLE_BITS`] is finished after this long.
const MAX_WAIT: Duration = Duration::from_hours(1);

/// What the model says of a link of a given loss, on average over many blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expectation {
    /// The signal pulses: gain and QBER.
    pub signal: Observed,
    /// Share of wrong bits among the sifted ones of all intensities: the QBER that a block shows.
    pub qber: f64,
    /// Bounds on the single photons from endless pulses.
    pub single: SinglePhoton,
    /// Sifted bits of the key basis per second, all intensities.
    pub sifted_bps: f64,
    /// How long a block takes.
    pub block: Duration,
    /// Secret bits per second, authentication paid, from blocks of that length; 0 when there is no key to be had.
    pub key_bps: f64,
    /// Secret bits per second that blocks of any length stay below.
    pub asymptotic_bps: f64,
}

impl DeviceProfile {
    /// What to expect of `channel`, which may have an eavesdropper on it, from blocks as in the field
    /// ([`Self::block_pace`], [`Self::block_bits`]) with the default analysis and security.
    pub fn expect(&self, channel: &Channel) -> Expectation {
        let block = self.block_time(channel, self.block_pace());
        self.expect_in_blocks(channel, block, Analysis::default(), &Security::default())
    }

    /// What to expect of `channel` from blocks that take `block`.
    ///
    /// The key rate is that of a block with exactly the counts to be expected. Where a block hardly holds key the
    /// scatter of the counts matters, and the average over many blocks is another.
    pub fn expect_in_blocks(
        &self,
        channel: &Channel,
        block: Duration,
        analysis: Analysis,
        security: &Security,
    ) -> Expectation {
        self.expect_of(&self.means(channel), block, analysis, security)
    }

    /// The same of anything of which the averages are known; those do not hold the dead time yet.
    pub(crate) fn expect_of(
        &self,
        means: &Means,
        block: Duration,
        analysis: Analysis,
        security: &Security,
    ) -> Expectation {
        let intensities = self.intensities();
        let observed = [0, 1, 2].map(|k| means.observed(k, intensities.mu[k]));
        let [signal, weak, weaker] = observed;
        // The intensities were checked; a profile that was not gets bounds that give no key.
        let single = two_decoys(&signal, &weak, &weaker).unwrap_or(SinglePhoton { y1: 0.0, e1: NOISE_ERROR });

        let awake_pulses = self.awake_pulses_per_second(means);
        let per_second = self.expected_counts(means, awake_pulses);
        let seconds = block.as_secs_f64();
        let counts = self.expected_counts(means, awake_pulses * seconds);
        let tagged = self.tagged(to_count(self.pulses_per_second() * seconds), security);
        let bounds = bounds_with_leak(&intensities, &counts, &tagged, analysis, security);
        let length = secret_length(&bounds, self.parities(&counts.x), VERIFICATION_BITS, analysis, security);
        let key_bps = if seconds > 0.0 { to_f64(length.saturating_sub(AUTH_BITS)) / seconds } else { 0.0 };

        Expectation {
            signal,
            qber: per_second.x.qber(),
            single,
            sifted_bps: per_second.x.total(),
            block,
            key_bps,
            asymptotic_bps: (awake_pulses * self.asymptotic_rate(observed, &single)).max(0.0),
        }
    }

    /// Secret bits per second over a line of `loss_db` that nobody taps, from blocks as in the field.
    pub fn key_rate_bps(&self, loss_db: f64) -> f64 {
        self.expect(&self.channel(loss_db)).key_bps
    }

    /// How long a block takes that is wanted after `pace`: it is finished later when there are too few bits to judge the
    /// QBER of both bases, but in any case when [`Self::block_bits`] of the key basis arrived.
    pub fn block_time(&self, channel: &Channel, pace: Duration) -> Duration {
        let means = self.means(channel);
        let per_second = self.expected_counts(&means, self.awake_pulses_per_second(&means));
        let within = |bits: f64, bps: f64, limit: Duration| {
            let fits = bits < bps * limit.as_secs_f64();
            if fits { Duration::from_secs_f64(bits / bps) } else { limit }
        };
        let scarcer = per_second.x.total().min(per_second.z.total());
        let wanted = pace.max(within(MIN_SAMPLE_BITS, scarcer, MAX_WAIT));
        within(to_f64(self.full_block()), per_second.x.total(), wanted)
    }

    /// Sifted bits of the key basis with which a block is full: [`Self::block_bits`], or what the post-processing takes
    /// at most.
    pub(crate) fn full_block(&self) -> u64 {
        u64::from(self.block_bits).min(MAX_BLOCK_BITS)
    }

    /// Pulses that Alice sends per second, of all intensities, pauses included.
    pub fn pulses_per_second(&self) -> f64 {
        self.pulse_rate_hz * self.duty
    }

    /// Share of the time for which the detectors are awake.
    ///
    /// All of them together would click `R0` times a second while pulses are sent, and all are held off for `τ` after
    /// each click, so they count `R0/(1 + R0 τ)`: the dead time takes a share off everything, and caps short links.
    pub fn awake_share(&self, channel: &Channel) -> f64 {
        self.awake_share_of(&self.means(channel))
    }

    /// [`Self::awake_share`] of anything of which the averages are known.
    pub(crate) fn awake_share_of(&self, means: &Means) -> f64 {
        let clicks = self.pulse_rate_hz * means.mean_clicks(&self.intensities().p);
        1.0 / (1.0 + clicks * self.dead_time_us * 1e-6)
    }

    /// Bits that error correction of these sifted bits discloses, in whole bits: `f n h(E)`.
    pub(crate) fn parities(&self, sifted: &BasisCounts) -> f64 {
        (self.f * sifted.total() * binary_entropy(sifted.qber().min(NOISE_ERROR))).ceil()
    }

    /// Bits of a block of `pulses` whose settings Eve may have seen.
    pub(crate) fn tagged(&self, pulses: u64, security: &Security) -> Tagged {
        Tagged::new(pulses, &self.intensities(), self.q, self.test_share(), self.trojan_photons, security)
    }

    fn means(&self, channel: &Channel) -> Means {
        Means::of_channel(channel, &self.intensities().mu)
    }

    fn awake_pulses_per_second(&self, means: &Means) -> f64 {
        self.pulses_per_second() * self.awake_share_of(means)
    }

    /// What `pulses` that meet awake detectors are expected to give.
    fn expected_counts(&self, means: &Means, pulses: f64) -> Counts {
        let p = self.intensities().p;
        let basis = |share: f64| {
            let expected = |sums: &[f64; 3]| [0, 1, 2].map(|k| pulses * share * p[k] * sums[k]);
            BasisCounts { detected: expected(&means.clicks), errors: expected(&means.errors) }
        };
        Counts { x: basis(self.q), z: basis(self.test_share()) }
    }

    /// Secret bits per pulse when there are endless ones, the shares of bases and decoys being what they are: what
    /// becomes of `s_X0 + s_X1 (1 − h(φ)) − f n h(E)` per pulse.
    fn asymptotic_rate(&self, observed: [Observed; 3], single: &SinglePhoton) -> f64 {
        let intensities = self.intensities();
        let (mut tau0, mut tau1, mut gain, mut errors) = (0.0, 0.0, 0.0, 0.0);
        for (seen, p) in observed.iter().zip(intensities.p) {
            let (mu, empty) = (seen.intensity, (-seen.intensity).exp());
            tau0 += p * empty;
            tau1 += p * empty * mu;
            gain += p * seen.gain;
            errors += p * seen.gain * seen.qber;
        }
        let [_, weak, weaker] = observed;
        let (nu1, nu2) = (weak.intensity, weaker.intensity);
        let y0 = (nu1 * weaker.gain * nu2.exp() - nu2 * weak.gain * nu1.exp()) / (nu1 - nu2);
        let secret = tau0 * y0.max(0.0) + tau1 * single.y1 * (1.0 - binary_entropy(single.e1));
        let qber = if gain > 0.0 { errors / gain } else { NOISE_ERROR };
        self.q * (secret - self.f * gain * binary_entropy(qber))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_time_caps_the_clicks_and_afterpulses_add_noise() {
        let base = DeviceProfile::named("metro-625mhz").unwrap();
        let slow = DeviceProfile { dead_time_us: 10.0, duty: 1.0, ..base.clone() };
        let channel = slow.channel(2.3);
        let clicks = slow.awake_pulses_per_second(&slow.means(&channel)) * slow.mean_gain(&channel);
        assert!(clicks < 1e5 && clicks > 0.9e5, "{clicks}");
        let more = DeviceProfile { detectors: 4, ..slow.clone() };
        assert!((more.awake_share(&channel) / slow.awake_share(&channel) - 1.0).abs() < 1e-12, "all are held off");

        let noisy = DeviceProfile { afterpulse: 0.02, ..base.clone() };
        let (quiet, loud) = (base.channel(2.3), noisy.channel(2.3));
        let mean = noisy.mean_gain(&loud);
        assert!((loud.y0 - quiet.y0 - 0.02 * mean).abs() < 1e-12, "the afterpulses' own afterpulses are counted");
        assert!(noisy.expect(&loud).key_bps < base.expect(&quiet).key_bps);
        let beside = base.channel_beside(2.3, 1e-5);
        assert!((beside.y0 - quiet.y0 - 1e-5).abs() < 1e-18, "other traffic adds to the noise");
    }

    #[test]
    fn longer_blocks_approach_the_limit() {
        for name in DeviceProfile::names() {
            let device = DeviceProfile::named(name).unwrap();
            let channel = device.channel(4.0);
            let rate = |seconds| {
                let block = Duration::from_secs(seconds);
                let e = device.expect_in_blocks(&channel, block, Analysis::default(), &Security::default());
                e.key_bps / e.asymptotic_bps
            };
            let (hour, day, year) = (rate(3_600), rate(86_400), rate(31_536_000));
            assert!(hour < day && day < year && year < 1.0 && year > 0.99, "{name}: {hour} {day} {year}");
        }
    }

    #[test]
    fn the_key_rate_is_what_a_mean_block_leaves_after_authentication() {
        let (device, security) = (DeviceProfile::named("metro-40mhz").unwrap(), Security::default());
        let channel = device.channel(4.0);
        let analysis = Analysis::default();
        let link = device.expect_in_blocks(&channel, Duration::from_secs(10), analysis, &security);
        let counts = device.expected_counts(&device.means(&channel), 10.0 * 20e6);
        let bounds = crate::finite::bounds(&device.intensities(), &counts, analysis, &security);
        let secret = secret_length(&bounds, device.parities(&counts.x), 128.0, analysis, &security);
        assert!((link.key_bps * 10.0 - to_f64(secret - 384)).abs() < 1e-6, "{} of {secret}", link.key_bps);
    }

    #[test]
    fn a_block_ends_when_it_is_due_full_or_large_enough() {
        let device = DeviceProfile::named("metro-40mhz").unwrap();
        let (near, far, dark) = (device.channel(4.0), device.channel(40.0), device.channel(200.0));
        let dark = Channel { y0: 0.0, ..dark };
        let second = Duration::from_secs(1);
        assert_eq!(device.block_time(&near, second), second);
        let full = device.block_time(&near, Duration::from_hours(24));
        let bits = full.as_secs_f64() * device.expect(&near).sifted_bps;
        assert!((bits / f64::from(device.block_bits) - 1.0).abs() < 1e-6, "{bits}");
        let waits = device.block_time(&far, second);
        assert!(waits > second && waits < MAX_WAIT, "{waits:?}");
        assert_eq!(device.block_time(&dark, second), MAX_WAIT);
        let untested = DeviceProfile { q: 0.9999, ..device };
        let bits = untested.block_time(&near, second).as_secs_f64() * untested.expect(&near).sifted_bps;
        assert!((bits / 1e7 - 1.0).abs() < 1e-6, "a block that waits for its test basis is full all the same: {bits}");
    }
}
