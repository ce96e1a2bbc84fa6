//! Runs of a whole link, photon by photon, and what came of them.

use std::time::Duration;

use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use vernam_qkd::optics::{Line, Note, Receiver, Transmitter, Trouble};
use vernam_qkd::{Basis, DeviceProfile, Eve, Intensity};

pub(crate) const SEED: u64 = 0x0911_7050;
pub(crate) const BASES: [Basis; 2] = [Basis::X, Basis::Z];

pub(crate) fn rng(stream: u64) -> ChaCha20Rng {
    println!("seed {SEED:#x}, stream {stream}");
    let mut rng = ChaCha20Rng::seed_from_u64(SEED);
    rng.set_stream(stream);
    rng
}

/// A built-in device that also sends decoys, with detectors that are always awake.
pub(crate) fn device(name: &str) -> DeviceProfile {
    let device = DeviceProfile::named(name).unwrap();
    DeviceProfile { p_signal: 0.6, p_decoy: 0.25, dead_time_us: 0.0, ..device }
}

/// Everything ideal but the source.
pub(crate) fn perfect() -> DeviceProfile {
    DeviceProfile { y0: 0.0, e_d: 0.0, eta_bob: 0.1, ..device("metro-40mhz") }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole numbers far below 2^53")]
pub(crate) fn whole(x: f64) -> u64 {
    x as u64
}

/// What came of a number of slots: counts by intensity, and by basis where both chose the same.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) slots: u64,
    pub(crate) candidates: u64,
    pub(crate) clicks: [u64; 3],
    pub(crate) sifted: [[u64; 2]; 3],
    pub(crate) errors: [[u64; 2]; 3],
    pub(crate) known: [u64; 3],
    /// Of the known ones, those that are Alice's bit, and those that are Bob's.
    pub(crate) alices: u64,
    pub(crate) bobs: u64,
    /// Of the clicks in the other basis than Alice's: how many, and how many have her bit.
    pub(crate) crossed: [u64; 2],
    /// Of what Eve measured in the other basis than Alice's: likewise; then, where Bob chose Eve's basis, his bits.
    pub(crate) in_vain: [u64; 2],
    pub(crate) resent: [u64; 2],
    pub(crate) bright: bool,
}

impl Tally {
    pub(crate) fn clicks_and_pulses(&self, k: Intensity, device: &DeviceProfile) -> (f64, f64) {
        (float(self.clicks[k.index()]), float(self.slots) * share(device, k))
    }

    pub(crate) fn sifted(&self) -> u64 {
        self.sifted.iter().flatten().sum()
    }

    pub(crate) fn errors(&self) -> u64 {
        self.errors.iter().flatten().sum()
    }
}

pub(crate) fn share(device: &DeviceProfile, k: Intensity) -> f64 {
    [device.p_signal, device.p_decoy, 1.0 - device.p_signal - device.p_decoy][k.index()]
}

pub(crate) fn count(total_and_hits: &mut [u64; 2], hit: bool) {
    total_and_hits[0] += 1;
    total_and_hits[1] += u64::from(hit);
}

/// Asserts that a count of independent events is within four standard deviations of its mean. Counts of a few scatter
/// more widely than a normal distribution says, hence the three.
pub(crate) fn assert_count(what: &str, count: f64, mean: f64, p: f64) {
    let sigma = (mean * (1.0 - p)).max(0.0).sqrt();
    let allowed = 4.0 * sigma + if mean < 50.0 { 3.0 } else { 0.0 };
    assert!((count - mean).abs() <= allowed, "{what}: {count} where {mean:.1} ± {sigma:.1} is expected");
}

pub(crate) struct Setup {
    pub(crate) device: DeviceProfile,
    pub(crate) loss_db: f64,
    pub(crate) eve: Option<Eve>,
    pub(crate) trouble: Option<Trouble>,
}

impl Setup {
    pub(crate) fn new(device: DeviceProfile, km: f64) -> Self {
        let loss_db = device.loss_db(km, 0.0);
        Self { device, loss_db, eve: None, trouble: None }
    }

    pub(crate) fn eve(self, eve: Eve) -> Self {
        Self { eve: Some(eve), ..self }
    }

    pub(crate) fn line(&self) -> Line {
        let mut line = Line::new(&self.device, self.loss_db, 0.0);
        line.set_eve(self.eve);
        line.set_trouble(self.trouble);
        line
    }

    pub(crate) fn mean_gain(&self) -> f64 {
        let gain = |k| share(&self.device, k) * self.line().observe(k, Duration::ZERO).gain;
        Intensity::ALL.map(gain).iter().sum()
    }

    /// Sends until so many clicks are to be expected.
    pub(crate) fn run(&self, clicks: f64) -> Tally {
        let mut alice = Transmitter::new(&self.device, self.loss_db, 0.0, rng(1));
        alice.set_eve(self.eve);
        alice.set_trouble(self.trouble);
        let mut bob = Receiver::new(&self.device, rng(2));
        let mut tally = Tally::default();
        let stretch = whole(clicks / self.mean_gain() / 10.0);
        for _ in 0..10 {
            let slots = tally.slots..tally.slots + stretch;
            let (mut sent, light, mut notes) = alice.send(slots.clone());
            tally.slots = slots.end;
            tally.candidates += light.len() as u64;
            for click in bob.detect(&light) {
                let pulse = sent.pulse(click.slot).unwrap();
                let k = pulse.intensity.index();
                tally.clicks[k] += 1;
                if let Note::Outcome { basis, bit } = notes.note(click.slot)
                    && basis != pulse.basis
                {
                    count(&mut tally.in_vain, bit == pulse.bit);
                    if basis == click.basis {
                        count(&mut tally.resent, bit == click.bit);
                    }
                }
                if pulse.basis != click.basis {
                    count(&mut tally.crossed, pulse.bit == click.bit);
                    continue;
                }
                let basis = usize::from(click.basis == Basis::Z);
                tally.sifted[k][basis] += 1;
                tally.errors[k][basis] += u64::from(pulse.bit != click.bit);
                if let Some(bit) = notes.knows(click.slot, click.basis) {
                    tally.known[k] += 1;
                    tally.alices += u64::from(bit == pulse.bit);
                    tally.bobs += u64::from(bit == click.bit);
                }
            }
            tally.bright |= bob.saw_bright_light();
        }
        tally
    }

    /// Runs, and compares gain, QBER and Eve's knowledge with what the line says of itself.
    pub(crate) fn agrees_with_its_formulas(&self, clicks: f64) -> Tally {
        let tally = self.run(clicks);
        for k in Intensity::ALL {
            let expected = self.line().observe(k, Duration::ZERO);
            let (count, pulses) = tally.clicks_and_pulses(k, &self.device);
            assert_count(&format!("clicks of {k:?}"), count, pulses * expected.gain, expected.gain);
            let sifted = float(tally.sifted[k.index()].iter().sum());
            let errors = float(tally.errors[k.index()].iter().sum());
            assert_count(&format!("errors of {k:?}"), errors, sifted * expected.qber, expected.qber);
            let known = self.line().known_to_eve(k, Duration::ZERO);
            assert_count(&format!("known of {k:?}"), float(tally.known[k.index()]), sifted * known, known);
        }
        tally
    }
}
