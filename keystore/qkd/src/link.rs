//! A link that runs in virtual time.

use std::collections::VecDeque;
use std::time::Duration;

use rand::rngs::SysRng;
use rand::{CryptoRng, SeedableRng, TryRng};
use rand_chacha::ChaCha20Rng;
use thiserror::Error;
use vernam_key::SecretBytes;

use crate::block::{BlockPair, BlockReport, DiscardReason, KeyBlock, LinkEvent, LinkState};
use crate::decoy::Channel;
use crate::device::{DeviceProfile, Expectation, ProfileError};
use crate::draw::{binomial, to_count, to_f64};
use crate::eve::Eve;

/// The hard alarm: above a QBER of 11.0 % not even an ideal link has key, for `1 − 2h(e) = 0` at 11.0028 % (Shor and
/// Preskill, Phys. Rev. Lett. 85, 441, 2000).
pub const DEFAULT_QBER_ALARM: f64 = 0.11;

/// A pace of blocks that one can watch. See [`LinkConfig::block_pace`].
pub const LIVE_BLOCK_PACE: Duration = Duration::from_secs(1);

/// Sifted bits that a block waits for, so that its QBER means something: at 5 % it then scatters by half a percent.
const MIN_SAMPLE_BITS: f64 = 2_000.0;

/// A block is finished after this long, however few bits there are.
const MAX_BLOCK: Duration = Duration::from_hours(1);

/// No block may hold more key than this, in bytes: it is made in memory, twice.
const MAX_BLOCK_BYTES: f64 = 128.0 * 1024.0 * 1024.0;

/// A block of fewer sifted bits than this is called [`DiscardReason::TooFewDetections`].
const MIN_DETECTIONS: u64 = 100;

/// Where a link lies and what stands at its ends.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkConfig {
    /// The equipment.
    pub device: DeviceProfile,
    /// Length of the fibre, km.
    pub length_km: f64,
    /// Loss of what is in the line beside fibre, dB: 1 to 3 for a switch, 0.3 for a connector.
    pub extra_loss_db: f64,
    /// QBER above which a block is discarded and the link is in alarm.
    pub qber_alarm: f64,
    /// Time between two blocks, at the least; a slow link takes longer, until it has bits enough to judge the QBER.
    ///
    /// In the field it is minutes ([`DeviceProfile::block_seconds`]), for a long block pays less for its statistics.
    /// Somebody who watches a demonstration wants to see blocks arrive and alarms come at once, so it can be set to
    /// [`LIVE_BLOCK_PACE`]. Real equipment would make less key from blocks so short; this model, which is asymptotic,
    /// makes the same. That is a choice of this project.
    pub block_pace: Duration,
}

/// A link that cannot be set up, and what to do about it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The device profile is not usable.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// A number of the link itself lies outside of what it means.
    #[error("a link with {field} = {value}: {rule}")]
    Field {
        /// The field of [`LinkConfig`].
        field: &'static str,
        /// What it was set to.
        value: f64,
        /// What it must be.
        rule: &'static str,
    },
    /// The operating system gave no randomness.
    #[error("the operating system gave no random bits to start the link with: {0}")]
    Randomness(#[from] rand::rngs::SysError),
}

/// One decoy-state BB84 link, simulated block by block from the formulas of [`crate::decoy`]: the fast rate model.
///
/// A state machine without clock or I/O. Tell it the time with [`Self::advance`], then take what happened with
/// [`Self::poll_event`] until there is nothing left. Blocks are made as they are taken, so that hours of virtual time
/// cost no memory.
pub struct RateLink {
    config: LinkConfig,
    /// The line as it is with nobody on it.
    channel: Channel,
    block_time: Duration,
    rng: Box<dyn CryptoRng + Send>,
    now: Duration,
    /// Blocks finished so far.
    blocks: u64,
    block_start: Duration,
    /// Key bits promised but not delivered: less than a byte, so that the rate is exact in the long run.
    carried_bits: f64,
    state: LinkState,
    /// Who is on the line at the start of the block in the making.
    eve: Option<Eve>,
    /// Who comes and goes after that, and when.
    changes: VecDeque<(Duration, Option<Eve>)>,
}

impl LinkConfig {
    /// A line of `length_km` without anything spliced in, with the device's own pace of blocks and the 11 % alarm.
    pub fn new(device: DeviceProfile, length_km: f64) -> Self {
        let block_pace = device.block_pace();
        Self { device, length_km, extra_loss_db: 0.0, qber_alarm: DEFAULT_QBER_ALARM, block_pace }
    }

    /// Loss of the whole line, dB.
    pub fn loss_db(&self) -> f64 {
        self.device.loss_db(self.length_km, self.extra_loss_db)
    }

    /// The line with nobody on it.
    pub fn channel(&self) -> Channel {
        self.device.channel(self.loss_db())
    }

    /// What the model says of the link on average, with or without somebody on the line.
    pub fn expect(&self, eve: Option<&Eve>) -> Expectation {
        let channel = self.channel();
        self.device.expect(&eve.map_or(channel, |eve| eve.on(&channel)))
    }

    /// Checks the device and every number of the line.
    pub fn validate(&self) -> Result<(), LinkError> {
        self.device.validate()?;
        let check = |field, value, ok, rule| if ok { Ok(()) } else { Err(LinkError::Field { field, value, rule }) };
        let (length, extra, alarm) = (self.length_km, self.extra_loss_db, self.qber_alarm);
        check("length_km", length, (0.0..=10_000.0).contains(&length), "must be 0 to 10000 km")?;
        check("extra_loss_db", extra, (0.0..=1_000.0).contains(&extra), "must be 0 to 1000 dB")?;
        let usable = alarm > 0.0 && alarm <= 0.5;
        check("qber_alarm", alarm, usable, "must be above 0 and at most 0.5; 0.11 is usual")?;
        let pace = self.block_pace.as_secs_f64();
        check("block_pace", pace, (0.001..=86_400.0).contains(&pace), "must be 0.001 to 86400 seconds")?;
        let bytes = self.expect(None).key_bps * self.block_time().as_secs_f64() / 8.0;
        check("block_pace", pace, bytes <= MAX_BLOCK_BYTES, "blocks would exceed 128 MiB; let them be shorter")
    }

    /// How long one block takes.
    fn block_time(&self) -> Duration {
        let sifted_bps = self.expect(None).sifted_bps;
        let for_sample = if sifted_bps * MAX_BLOCK.as_secs_f64() > MIN_SAMPLE_BITS {
            Duration::from_secs_f64(MIN_SAMPLE_BITS / sifted_bps)
        } else {
            MAX_BLOCK
        };
        for_sample.max(self.block_pace)
    }
}

impl RateLink {
    /// A link at virtual time zero. All randomness comes from `rng`: the key bits, and the scatter of the counts.
    pub fn new(config: LinkConfig, rng: impl CryptoRng + Send + 'static) -> Result<Self, LinkError> {
        config.validate()?;
        Ok(Self {
            channel: config.channel(),
            block_time: config.block_time(),
            config,
            rng: Box::new(rng),
            now: Duration::ZERO,
            blocks: 0,
            block_start: Duration::ZERO,
            carried_bits: 0.0,
            state: LinkState::Starting,
            eve: None,
            changes: VecDeque::new(),
        })
    }

    /// A link whose every bit follows from `seed`: for tests and for pictures that must come out the same. Its key is
    /// worth nothing to anybody who wants a secret.
    pub fn from_seed(config: LinkConfig, seed: u64) -> Result<Self, LinkError> {
        Self::new(config, ChaCha20Rng::seed_from_u64(seed))
    }

    /// A link on randomness of the operating system: `ChaCha20` under 256 bits drawn from it.
    pub fn from_os_randomness(config: LinkConfig) -> Result<Self, LinkError> {
        let mut seed = [0; 32];
        SysRng.try_fill_bytes(&mut seed)?;
        Self::new(config, ChaCha20Rng::from_seed(seed))
    }

    /// Lets the virtual time since the start become `to`. An earlier time than before changes nothing.
    pub fn advance(&mut self, to: Duration) {
        self.now = self.now.max(to);
    }

    /// The next thing that happened up to now, oldest first; `None` once all of it has been told.
    pub fn poll_event(&mut self) -> Option<LinkEvent> {
        let end = self.next_block_at();
        if end > self.now {
            return None;
        }
        let start = std::mem::replace(&mut self.block_start, end);
        let eve = self.average_eve(start, end);
        Some(self.finish_block(start, end, eve.as_ref()))
    }

    /// Puts somebody on the line, or takes them off it, from the time of the last [`Self::advance`] on. Of a block that
    /// is half made, half is tapped.
    pub fn set_eve(&mut self, eve: Option<Eve>) {
        if self.changes.back().is_some_and(|(at, _)| *at == self.now) {
            self.changes.pop_back();
        }
        self.changes.push_back((self.now, eve));
    }

    /// Who is on the line now.
    pub fn eve(&self) -> Option<Eve> {
        self.changes.back().map_or(self.eve, |(_, eve)| *eve)
    }

    /// How the link is doing, as of the last event taken.
    pub fn state(&self) -> LinkState {
        self.state
    }

    /// When the block in the making will be finished: the next time at which to call [`Self::advance`].
    pub fn next_block_at(&self) -> Duration {
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

    /// The share of a block's pulses that was intercepted. An average over the time does, for the error rate is linear
    /// in that share.
    fn average_eve(&mut self, start: Duration, end: Duration) -> Option<Eve> {
        let share = |eve: Option<Eve>| eve.map_or(0.0, |eve| eve.intercepted());
        let (mut taken, mut since) = (0.0, start);
        while let Some((at, next)) = self.changes.pop_front_if(|(at, _)| *at < end) {
            taken += share(self.eve) * at.saturating_sub(since).as_secs_f64();
            (since, self.eve) = (at.max(since), next);
        }
        taken += share(self.eve) * end.saturating_sub(since).as_secs_f64();
        let average = (taken / self.block_time.as_secs_f64()).min(1.0);
        if average > 0.0 { Eve::intercept_resend(average).ok() } else { None }
    }

    fn finish_block(&mut self, start: Duration, end: Duration, eve: Option<&Eve>) -> LinkEvent {
        let channel = eve.map_or(self.channel, |eve| eve.on(&self.channel));
        let expected = self.config.device.expect(&channel);
        let seconds = self.block_time.as_secs_f64();
        let pulses = to_count(self.config.device.signals_per_second(&channel) * seconds);
        let sifted_bits = binomial(pulses, self.config.device.q * expected.signal.gain, &mut self.rng);
        let error_bits = binomial(sifted_bits, expected.signal.qber, &mut self.rng);
        self.blocks += 1;
        let mut report = BlockReport {
            number: self.blocks,
            start,
            end,
            sifted_bits,
            error_bits,
            qber: if sifted_bits == 0 { 0.5 } else { to_f64(error_bits) / to_f64(sifted_bits) },
            gain: expected.signal.gain,
            y1_lower: expected.single.y1,
            e1_upper: expected.single.e1,
            key_bits: 0,
            rate_bps: 0.0,
            eve: eve.is_some(),
        };
        if let Some(reason) = self.objection(&report, &expected) {
            let since = if let LinkState::Alarm { since, .. } = self.state { since } else { end };
            self.state = LinkState::Alarm { since, reason };
            return LinkEvent::Discarded { report, reason };
        }

        self.state = LinkState::Up;
        self.carried_bits += expected.key_bps * seconds;
        let bytes = to_count(self.carried_bits / 8.0);
        report.key_bits = bytes * 8;
        report.rate_bps = expected.key_bps;
        self.carried_bits -= to_f64(report.key_bits);
        let bytes = usize::try_from(bytes).expect("validate() bounds a block to MAX_BLOCK_BYTES");
        let bits = SecretBytes::random(bytes, &mut self.rng);
        let copy = SecretBytes::copy_of(bits.expose("the simulation makes the key for both ends"));
        LinkEvent::Block(BlockPair {
            alice: KeyBlock { number: report.number, bits },
            bob: KeyBlock { number: report.number, bits: copy },
            report,
        })
    }

    fn objection(&self, report: &BlockReport, expected: &Expectation) -> Option<DiscardReason> {
        let (block, qber, threshold) = (report.number, report.qber, self.config.qber_alarm);
        if report.sifted_bits < MIN_DETECTIONS {
            Some(DiscardReason::TooFewDetections { block, sifted_bits: report.sifted_bits })
        } else if qber > threshold {
            Some(DiscardReason::QberTooHigh { block, qber, threshold })
        } else if expected.key_bps <= 0.0 {
            Some(DiscardReason::NoSecretKey { block, qber })
        } else {
            None
        }
    }
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
            .finish_non_exhaustive()
    }
}
