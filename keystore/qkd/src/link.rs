//! The rate model: a link that runs in virtual time and draws the counts of a whole block at once.
//!
//! It does not send single photons and exchanges no message: what a block would count is drawn from the distributions
//! that follow from the averages of [`crate::optics::Line`], with whoever and whatever is on the line, and the key has
//! the length that the formulas of [`crate::finite`] give for these counts, with error correction at `f` times Shannon's
//! limit. [`crate::PhotonLink`] does it all click by click; the tests compare the two.

mod config;
mod course;

use std::time::Duration;

use rand::{CryptoRng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use vernam_key::SecretBytes;

pub use config::{DEFAULT_QBER_ALARM, LinkConfig, LinkError};

use crate::block::{AuthCost, BlockPair, BlockReport, DiscardReason, Epsilon, KeyBlock, Leakage, LinkEvent, LinkState};
use crate::device::{AUTH_BITS, AUTH_TAGS, DeviceProfile, Means, VERIFICATION_BITS};
use crate::draw::{binomial, system_generator, to_count, to_f64};
use crate::ends::MIN_DETECTIONS;
use crate::eve::Eve;
use crate::finite::{BasisCounts, Bounds, Counts, bounds_with_leak, secret_length};
use crate::optics::Trouble;
use crate::pulse::Basis;
use crate::tally::EveTally;
use course::{Course, Stretch};

/// One decoy-state BB84 link, simulated block by block from the formulas of [`crate::decoy`] and [`crate::finite`]: the
/// fast rate model.
///
/// Its blocks end when their time is up, so an alarm comes with the end of the block that was disturbed. What changes
/// within a block is averaged over its time: clicks, errors and what Eve knows; trouble that grows, in 64 steps. Only
/// light that blinds the detectors spoils the whole block, however short it was.
///
/// A state machine without clock or I/O. Tell it the time with [`Self::advance`], then take what happened with
/// [`Self::poll_event`] until there is nothing left. Blocks are made as they are taken, so that hours of virtual time
/// cost no memory.
pub struct RateLink {
    config: LinkConfig,
    block_time: Duration,
    rng: Box<dyn CryptoRng + Send>,
    now: Duration,
    /// Blocks finished so far.
    blocks: u64,
    block_start: Duration,
    /// Bits that authenticated discarded blocks and that no block has paid back yet.
    owed_bits: u64,
    state: LinkState,
    course: Course,
    tally: EveTally,
}

/// What was drawn for one block.
struct Drawn {
    counts: Counts,
    /// Clicks per pulse of each intensity.
    gains: [f64; 3],
    /// Sifted bits of the key basis that Eve knows.
    known: u64,
}

impl RateLink {
    /// A link at virtual time zero. All randomness comes from `rng`: the key bits, and the scatter of the counts.
    pub fn new(config: LinkConfig, rng: impl CryptoRng + Send + 'static) -> Result<Self, LinkError> {
        config.validate()?;
        Ok(Self {
            block_time: config.block_time(),
            course: Course::new(config.line()),
            config,
            rng: Box::new(rng),
            now: Duration::ZERO,
            blocks: 0,
            block_start: Duration::ZERO,
            owed_bits: 0,
            state: LinkState::Starting,
            tally: EveTally::default(),
        })
    }

    /// A link whose every bit follows from `seed`: for tests and for pictures that must come out the same. Its key is
    /// worth nothing to anybody who wants a secret.
    pub fn from_seed(config: LinkConfig, seed: u64) -> Result<Self, LinkError> {
        Self::new(config, ChaCha20Rng::seed_from_u64(seed))
    }

    /// A link on randomness of the operating system: `ChaCha20` under 256 bits drawn from it.
    pub fn from_os_randomness(config: LinkConfig) -> Result<Self, LinkError> {
        Self::new(config, system_generator()?)
    }

    /// Lets the virtual time since the start become `to`. An earlier time than before changes nothing.
    pub fn advance(&mut self, to: Duration) {
        self.now = self.now.max(to);
    }

    /// The next thing that happened up to now, oldest first; `None` once all of it has been told.
    pub fn poll_event(&mut self) -> Option<LinkEvent> {
        let end = self.next_event_at();
        if end > self.now {
            return None;
        }
        let start = std::mem::replace(&mut self.block_start, end);
        let stretch = self.course.over(&self.config.device, start, end);
        Some(self.finish_block(start, end, &stretch))
    }

    /// Puts somebody on the line, or takes them off it, from the time of the last [`Self::advance`] on. Of a block that
    /// is half made, half is tapped.
    pub fn set_eve(&mut self, eve: Option<Eve>) {
        self.course.set_eve(self.now, eve);
    }

    /// Lets something go wrong with the line, or puts it right, from the time of the last [`Self::advance`] on. Trouble
    /// that grows begins to grow then, and over a block it counts with its average.
    pub fn set_trouble(&mut self, trouble: Option<Trouble>) {
        self.course.set_trouble(self.now, trouble);
    }

    /// Who is on the line now.
    pub fn eve(&self) -> Option<Eve> {
        self.course.eve()
    }

    /// What is wrong with the line now.
    pub fn trouble(&self) -> Option<Trouble> {
        self.course.trouble()
    }

    /// What Eve knew of the last finished block's sifted key: drawn from what she knows on average.
    pub fn eve_tally(&self) -> EveTally {
        self.tally
    }

    /// How the link is doing, as of the last event taken.
    pub fn state(&self) -> LinkState {
        self.state
    }

    /// When the block in the making will be finished: the next time at which to call [`Self::advance`].
    pub fn next_event_at(&self) -> Duration {
        self.block_start.saturating_add(self.block_time)
    }

    /// How long one block takes.
    pub fn block_time(&self) -> Duration {
        self.block_time
    }

    /// The virtual time up to which the link has been told to run.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// What the link was made from.
    pub fn config(&self) -> &LinkConfig {
        &self.config
    }

    fn finish_block(&mut self, start: Duration, end: Duration, stretch: &Stretch) -> LinkEvent {
        let seconds = self.block_time.as_secs_f64();
        let pulses = to_count(self.config.device.pulses_per_second() * seconds);
        let Drawn { counts, gains, known } = draw_block(&self.config.device, &stretch.means, pulses, &mut self.rng);
        self.blocks += 1;
        let mut report = BlockReport {
            number: self.blocks,
            start,
            end,
            pulses,
            counts,
            qber_x: counts.x.qber(),
            qber_z: counts.z.qber(),
            gains,
            bounds: Bounds::NONE,
            leakage: Leakage::default(),
            auth: AuthCost { tags: AUTH_TAGS, bits: 0 },
            analysis: self.config.analysis,
            epsilon: Epsilon { secrecy: 1.0, correctness: 1.0, authentication: 1.0 },
            key_bits: 0,
            rate_bps: 0.0,
            eve: stretch.eve,
        };
        let judged = self.judge(&mut report, stretch.bright_light);
        self.tally = EveTally::of(&report, known, judged.is_ok());
        let bytes = match judged {
            Ok(secret) => self.pay(secret, &mut report),
            Err(reason) => {
                self.owed_bits = self.owed_bits.saturating_add(AUTH_BITS);
                let since = if let LinkState::Alarm { since, .. } = self.state { since } else { end };
                self.state = LinkState::Alarm { since, reason };
                return LinkEvent::Discarded { report, reason };
            }
        };
        self.state = LinkState::Up;
        report.key_bits = bytes * 8;
        report.rate_bps = to_f64(report.key_bits) / seconds;
        report.epsilon = self.epsilon(&report);
        let bytes = usize::try_from(bytes).expect("validate() bounds a block to 100 million bits");
        let bits = SecretBytes::random(bytes, &mut self.rng);
        let copy = SecretBytes::copy_of(bits.expose("the simulation makes the key for both ends"));
        LinkEvent::Block(BlockPair {
            alice: KeyBlock { number: report.number, bits },
            bob: KeyBlock { number: report.number, bits: copy },
            report,
        })
    }

    /// What a block goes through, in the order in which a link does it: the secret bits in it, more than authentication
    /// takes, or why there are none. Fills in what becomes known on the way.
    fn judge(&self, report: &mut BlockReport, bright_light: bool) -> Result<u64, DiscardReason> {
        let (block, config) = (report.number, &self.config);
        if let Some(reason) = self.early_objection(report, bright_light) {
            // The key basis was never corrected, so its errors are known to nobody.
            report.counts.x.errors = [0.0; 3];
            report.qber_x = report.qber_z;
            return Err(reason);
        }
        let device = &config.device;
        report.leakage = Leakage { parities: device.parities(&report.counts.x), verification: VERIFICATION_BITS };
        let tagged = device.tagged(report.pulses, &config.security);
        let (analysis, security) = (config.analysis, &config.security);
        report.bounds = bounds_with_leak(&device.intensities(), &report.counts, &tagged, analysis, security);
        let (qber, threshold) = (report.qber_x, config.qber_alarm);
        if qber > threshold {
            return Err(DiscardReason::QberTooHigh { block, basis: Basis::X, qber, threshold });
        }
        let Leakage { parities, verification } = report.leakage;
        let secret = secret_length(&report.bounds, parities, verification, analysis, security);
        if secret <= AUTH_BITS {
            let (qber, single) = (report.qber(), report.bounds.single);
            let decoys = report.decoy_share(&device.intensities());
            return Err(DiscardReason::NoSecretKey { block, qber, single, decoys });
        }
        Ok(secret)
    }

    /// What speaks against a block before its errors are corrected.
    fn early_objection(&self, report: &BlockReport, bright_light: bool) -> Option<DiscardReason> {
        let (block, qber, threshold) = (report.number, report.qber_z, self.config.qber_alarm);
        let (sifted_bits, tested) = (report.sifted_bits(), to_count(report.counts.z.total()));
        if bright_light && self.config.device.bright_light_monitor {
            return Some(DiscardReason::BrightLight { block });
        }
        if sifted_bits < MIN_DETECTIONS || tested == 0 {
            return Some(DiscardReason::TooFewDetections { block, sifted_bits });
        }
        (qber > threshold).then_some(DiscardReason::QberTooHigh { block, basis: Basis::Z, qber, threshold })
    }

    /// Takes off what authentication costs: this block's tags, and of the rest up to half for those of discarded blocks,
    /// so that key comes as soon as an alarm is over. Returns the bytes that are left.
    fn pay(&mut self, secret: u64, report: &mut BlockReport) -> u64 {
        let left = secret.saturating_sub(AUTH_BITS);
        let paid_back = self.owed_bits.min(left / 2);
        self.owed_bits -= paid_back;
        report.auth.bits = AUTH_BITS + paid_back;
        // What is less than a byte is lost.
        (left - paid_back) / 8
    }

    /// Two different keys of `s` blocks of 128 bits, the last of which holds their number, have the same hash with `s`
    /// chances in 2^128 at most, as in [`crate::distil`]. No block is so long that this exceeds what was asked for:
    /// [`LinkConfig::validate`] saw to it.
    ///
    /// A forged message passes with at most one chance in 2^128 for each 16 bytes of it (Wegman and Carter's polynomial
    /// hash); a message says less than that of one click, but all clicks are in each.
    fn epsilon(&self, report: &BlockReport) -> Epsilon {
        let clicks = report.counts.x.total() + report.counts.z.total();
        let hashed = report.sifted_bits().div_ceil(128) + 1;
        Epsilon {
            secrecy: self.config.security.eps_sec,
            correctness: to_f64(hashed) * (-VERIFICATION_BITS).exp2(),
            authentication: to_f64(report.auth.tags) * (clicks + 1.0) * (-128f64).exp2(),
        }
    }
}

/// Draws what a block of `pulses` counts in each basis, from what they give on average where detectors are awake. What
/// Eve knows is drawn by itself, whether or not Bob's bit is right.
fn draw_block(device: &DeviceProfile, means: &Means, pulses: u64, rng: &mut impl CryptoRng) -> Drawn {
    let (key_share, test_share, p) = (device.q, device.test_share(), device.intensities().p);
    let mut drawn = Drawn { counts: Counts::default(), gains: [0.0; 3], known: 0 };
    let (mut left, mut left_share) = (pulses, 1.0);
    for k in 0..3 {
        let last = p[k + 1..].iter().all(|p| *p <= 0.0);
        let sent = if last { left } else { binomial(left, p[k] / left_share, rng) };
        (left, left_share) = (left - sent, left_share - p[k]);

        let clicks = binomial(sent, means.clicks[k].min(1.0), rng);
        let key = binomial(clicks, key_share, rng);
        let test = binomial(clicks - key, test_share / (1.0 - key_share), rng);
        let mut count = |basis: &mut BasisCounts, sifted: u64| {
            basis.detected[k] = to_f64(sifted);
            basis.errors[k] = to_f64(binomial(sifted, means.qber(k), rng));
        };
        count(&mut drawn.counts.x, key);
        count(&mut drawn.counts.z, test);
        drawn.known += binomial(key, means.known_share(k), rng);
        drawn.gains[k] = if sent == 0 { 0.0 } else { to_f64(clicks) / to_f64(sent) };
    }
    drawn
}

impl std::fmt::Debug for RateLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateLink")
            .field("device", &self.config.device.name)
            .field("loss_db", &self.config.loss_db())
            .field("now", &self.now)
            .field("blocks", &self.blocks)
            .field("state", &self.state)
            .field("eve", &self.eve())
            .field("trouble", &self.trouble())
            .finish_non_exhaustive()
    }
}
