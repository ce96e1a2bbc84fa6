//! What a run of `vernam link` tells. Everything that is shown is made from these events only; none of them can hold
//! a bit of key.

use std::time::Duration;

use serde::Serialize;
use vernam_qkd::{
    BlockReport, EveTally, Intensity, LinkConfig, Progress,
    finite::{Analysis, Decoys, PhaseBound, Tail},
};

use crate::cli::ModelChoice;

/// An event, and the virtual time at which it happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stamped {
    /// Virtual seconds since the link started.
    pub t: f64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The link starts.
    Started(Setup),
    /// The block in the making has grown.
    Progress(Growing),
    /// A block passed: both ends have key.
    Block(Box<Block>),
    /// A block was thrown away at both ends.
    Discarded(Box<Block>),
    /// Somebody came on the line, or something went wrong with it. Only the simulation knows.
    Disturbed {
        /// Who.
        eve: Option<String>,
        /// What.
        trouble: Option<String>,
    },
    /// The run is over.
    Ended(Sums),
}

/// What link this is, and what it does with nobody on the line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setup {
    /// Name of the device.
    pub device: String,
    /// Length of the fibre, km.
    pub length_km: f64,
    /// Loss of the whole line, dB.
    pub loss_db: f64,
    /// Clicks a second by light of other channels.
    pub background_per_s: f64,
    /// `photons` or `rate`.
    pub model: &'static str,
    /// What all randomness follows from; `None` if it is the operating system's.
    pub seed: Option<u64>,
    /// Time between two blocks, at the least.
    pub block_s: f64,
    /// Virtual time after which it ends.
    pub duration_s: Option<f64>,
    /// QBER above which a block is thrown away.
    pub threshold: f64,
    /// How the length of the key is arrived at.
    pub analysis: &'static str,
    /// Which bound takes the phase error to the key basis.
    pub phase: &'static str,
    /// Mean photon numbers of the three kinds of pulses.
    pub mu: [f64; 3],
    /// Shares of the pulses.
    pub shares: [f64; 3],
    /// Clicks per pulse of each kind with nobody on the line.
    pub expected_gains: [f64; 3],
    /// QBER of the sifted bits with nobody on the line.
    pub expected_qber: f64,
    /// Bits disclosed in error correction over Shannon's limit, as the formulas for the two rates take them.
    pub f: f64,
    /// Key bits a second with nobody on the line, from blocks as they are made here.
    pub expected_bps: f64,
    /// The same from endless blocks.
    pub endless_bps: f64,
}

/// What is known of a block while it is being made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Growing {
    /// The block.
    pub block: u64,
    /// Pulses so far.
    pub pulses: u64,
    /// Sifted bits of the key basis so far.
    pub sifted_x: u64,
    /// Sifted bits of the test basis so far.
    pub sifted_z: u64,
    /// QBER of the test basis in the last stretch.
    pub qber_z: f64,
    /// Clicks per pulse of each kind so far.
    pub gains: [f64; 3],
}

/// What was measured in one block, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Block {
    /// Its number; the first is 1.
    pub block: u64,
    /// Virtual time of its first pulse.
    pub start_s: f64,
    /// Virtual time at which it was finished.
    pub end_s: f64,
    /// Pulses sent.
    pub pulses: u64,
    /// Sifted bits of the key basis.
    pub sifted_x: u64,
    /// Wrong ones among them; 0 while nobody knows, as `qber_x` says.
    pub errors_x: u64,
    /// Sifted bits of the test basis.
    pub sifted_z: u64,
    /// Wrong ones among them.
    pub errors_z: u64,
    /// QBER of the key basis; `None` if the block was thrown away before it was corrected: then nobody knows it.
    pub qber_x: Option<f64>,
    /// QBER of the test basis.
    pub qber_z: f64,
    /// Clicks per pulse of each kind, brightest first.
    pub gains: [f64; 3],
    /// At least so many bits of the key basis came from vacuum pulses.
    pub vacuum_bits: u64,
    /// At least so many came from single photons.
    pub single_bits: u64,
    /// At most this share of those has a phase error.
    pub phase_error: f64,
    /// Parities disclosed in error correction, bits.
    pub parity_bits: u64,
    /// The hash that shows that both ends hold the same, bits.
    pub hash_bits: u64,
    /// Tags of the classical channel.
    pub auth_tags: u64,
    /// Key kept back for them, bits.
    pub auth_bits: u64,
    /// Key that each end got, bits.
    pub key_bits: u64,
    /// The same, a second.
    pub rate_bps: f64,
    /// How likely it may be that something is wrong with the key, to three digits; `None` if there is none.
    pub epsilon: Option<f64>,
    /// Why it was thrown away.
    pub reason: Option<String>,
    /// Whether somebody was on the line. Only the simulation knows.
    pub tapped: bool,
    /// What Eve knows of it. Only the simulation knows, and only the one that sends photons.
    pub eve: Option<EveKnows>,
    /// Decoys that clicked for each signal that did, as a share of what their brightness lets expect. An end of a link
    /// in two processes does not say.
    pub decoy_share: Option<f64>,
    /// Whether Eve knows no more of the key than was assumed; `None` if there is no key, if nobody was on the line, and
    /// at an end of a link in two processes. Only the simulation knows.
    pub secret: Option<bool>,
}

/// What Eve knows of the sifted key of a block, beside what was assumed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct EveKnows {
    /// Bits that she knows for certain.
    pub known_bits: u64,
    /// Bits that privacy amplification assumed she may know; all of them in a block without key.
    pub assumed_bits: u64,
}

/// What the run came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Sums {
    /// Blocks that gave key.
    pub blocks: u64,
    /// Blocks thrown away.
    pub discarded: u64,
    /// Key made, bits.
    pub key_bits: u64,
    /// Key that authentication took, bits.
    pub auth_bits: u64,
    /// Sifted bits of blocks thrown away.
    pub discarded_sifted: u64,
    /// Blocks of key that Eve knows more of than was assumed. Only the simulation knows.
    pub unsafe_blocks: u64,
    /// Virtual time of all finished blocks, of those thrown away too.
    pub finished_s: f64,
}

impl Setup {
    /// What the link of `config` is, simulated so and for so long.
    pub(crate) fn of(config: &LinkConfig, model: ModelChoice, seed: Option<u64>, duration: Option<Duration>) -> Self {
        let (device, channel) = (&config.device, config.channel());
        let kinds = device.intensities();
        // The detectors are blind for a while after each click; that takes the same share off every gain.
        let awake = device.awake_share(&channel);
        let expected = config.expect(None);
        Self {
            device: device.name.clone(),
            length_km: config.length_km,
            loss_db: config.loss_db(),
            background_per_s: config.background * device.pulse_rate_hz,
            model: match model {
                ModelChoice::Photons => "photons",
                ModelChoice::Rate => "rate",
            },
            seed,
            block_s: config.block_pace.as_secs_f64(),
            duration_s: duration.map(|duration| duration.as_secs_f64()),
            threshold: config.qber_alarm,
            analysis: analysis_name(config.analysis),
            phase: phase_name(config.analysis.phase),
            mu: kinds.mu,
            shares: kinds.p,
            expected_gains: kinds.mu.map(|mu| channel.observe(mu).gain * awake),
            expected_qber: expected.qber,
            f: device.f,
            expected_bps: expected.key_bps,
            endless_bps: expected.asymptotic_bps,
        }
    }
}

impl Growing {
    pub(crate) fn of(progress: &Progress) -> Self {
        let sum = |detected: [f64; 3]| count(detected.iter().sum());
        Self {
            block: progress.number,
            pulses: progress.pulses,
            sifted_x: sum(progress.counts.x.detected),
            sifted_z: sum(progress.counts.z.detected),
            qber_z: progress.qber_z,
            gains: progress.gains,
        }
    }
}

impl Block {
    pub(crate) fn of(report: &BlockReport, reason: Option<String>, tally: Option<EveTally>) -> Self {
        let sum = |counts: [f64; 3]| count(counts.iter().sum());
        let (x, z, bounds) = (&report.counts.x, &report.counts.z, &report.bounds);
        let eve = tally
            .map(|tally| EveKnows { known_bits: tally.known_bits, assumed_bits: count(tally.assumed_bits.ceil()) });
        let gave_key = reason.is_none();
        Self {
            block: report.number,
            start_s: report.start.as_secs_f64(),
            end_s: report.end.as_secs_f64(),
            pulses: report.pulses,
            sifted_x: sum(x.detected),
            errors_x: sum(x.errors),
            sifted_z: sum(z.detected),
            errors_z: sum(z.errors),
            // Until it is corrected, the library has the test basis's here.
            qber_x: (report.leakage.parities > 0.0).then_some(report.qber_x),
            qber_z: report.qber_z,
            gains: report.gains,
            vacuum_bits: count(bounds.vacuum.floor()),
            single_bits: count(bounds.single.floor()),
            phase_error: bounds.phase_error,
            parity_bits: count(report.leakage.parities),
            hash_bits: count(report.leakage.verification),
            auth_tags: report.auth.tags,
            auth_bits: report.auth.bits,
            key_bits: report.key_bits,
            rate_bps: report.rate_bps,
            epsilon: gave_key.then(|| three_digits(report.epsilon.total().min(1.0))),
            reason,
            tapped: report.eve,
            eve,
            decoy_share: None,
            secret: eve.filter(|_| gave_key && report.eve).map(|eve| eve.known_bits <= eve.assumed_bits),
        }
    }

    /// How many pulses clicked, of the kinds whose shares are `shares`.
    pub fn clicks(&self, shares: &[f64; 3]) -> u64 {
        clicks(self.pulses, &self.gains, shares)
    }
}

impl Growing {
    /// How many pulses clicked so far, of the kinds whose shares are `shares`.
    pub fn clicks(&self, shares: &[f64; 3]) -> u64 {
        clicks(self.pulses, &self.gains, shares)
    }
}

impl Sums {
    /// Adds a block.
    pub(crate) fn add(&mut self, block: &Block) {
        self.finished_s += block.end_s - block.start_s;
        if block.reason.is_some() {
            self.discarded += 1;
            self.discarded_sifted += block.sifted_x;
        } else {
            self.blocks += 1;
            self.key_bits += block.key_bits;
            self.auth_bits += block.auth_bits;
            self.unsafe_blocks += u64::from(block.secret == Some(false));
        }
    }
}

fn clicks(pulses: u64, gains: &[f64; 3], shares: &[f64; 3]) -> u64 {
    let mean: f64 = Intensity::ALL.iter().map(|kind| gains[kind.index()] * shares[kind.index()]).sum();
    count(float(pulses) * mean)
}

fn analysis_name(analysis: Analysis) -> &'static str {
    match (analysis.decoys, analysis.tail) {
        (Decoys::Two, Tail::Chernoff) => "lim-chernoff",
        (Decoys::Two, Tail::Hoeffding) => "lim-hoeffding",
        (Decoys::One, Tail::Chernoff) => "rusca-chernoff",
        (Decoys::One, Tail::Hoeffding) => "rusca-hoeffding",
    }
}

fn phase_name(phase: PhaseBound) -> &'static str {
    match phase {
        PhaseBound::Gamma => "gamma",
        PhaseBound::Serfling => "serfling",
    }
}

/// The number without digits that say nothing.
fn three_digits(number: f64) -> f64 {
    format!("{number:.2e}").parse().unwrap_or(number)
}

/// A count that the library keeps as a float.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturating is what is wanted")]
pub(crate) fn count(number: f64) -> u64 {
    number.round() as u64
}

/// A count as a float.
#[expect(clippy::cast_precision_loss, reason = "counts stay below 2^53")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}
