//! Says how much faster or slower a device's ring is to be emptied or filled, so that two clocks stay together.
//!
//! It moves no sound and reads no clock: it is told how many samples were in the ring at the lowest point of each
//! frame, and its time is the frames' own.
//!
//! A device and the call each have a clock; 200 ppm between them are 120 ms after ten minutes. What the ring holds
//! just after a frame was taken (microphone), or just before one is given (loudspeaker), is what is left for a
//! device that comes late. The lowest such rest of the last two seconds must be small, for the delay's sake, and above
//! nothing, for the sound's. A proportional and integral controller steers it: slowly enough that the pitch moves by
//! less than 5 cents (0.3 %), which nobody hears, and without a step in the wave.

use std::time::Duration;

use crate::SAMPLE_RATE;

/// The rest that is aimed at when nothing ever came late, s. Below it an ordinary machine's thread switches show.
const LEAST_REST: f64 = 0.003;
/// The rest that is aimed at in the beginning, s: until the device's habits are known.
const FIRST_REST: f64 = 0.006;
/// The most rest that is aimed at, s. Beyond it a gap is the smaller evil.
const MOST_REST: f64 = 0.080;
/// How much more rest is aimed at after the ring ran dry, at least, s; else half as much again.
const AFTER_GAP: f64 = 0.004;
/// No raise within this time after the device was opened, s: that it took some sound to start says nothing.
const BEGINNING: f64 = 0.5;
/// No second raise for the same trouble within this time, s.
const SAME_TROUBLE: f64 = 0.1;
/// Part of the device's swing (what the rest rises and falls by) that is added to the aim: who delivers by the tenth of
/// a second is late by more than who delivers by the hundredth.
const OF_SWING: f64 = 1.0 / 16.0;
/// How fast the rest that is aimed at shrinks back, s per s: 1 ms each 5 s.
const SHRINK: f64 = 0.000_2;
/// Without a gap for this long the shrinking begins, s.
const CALM: f64 = 5.0;
/// What lies more than this above the aim is thrown away at once, s: only after a stall is there so much.
const TOO_MUCH: f64 = 0.025;
/// What lies more than this above the aim is thrown away even if it was there only for a moment, s.
const FAR_TOO_MUCH: f64 = 0.300;
/// What lies more than this above the aim is thrown away in silence, where nobody hears it, s.
const TOO_MUCH_IN_SILENCE: f64 = 0.004;
/// This long after a beginning, what is too much is thrown away at once, s: a device may take a while to start, and
/// sound piles up meanwhile.
const SETTLING: f64 = 0.75;
/// What is not worth throwing away then, s.
const LITTLE: f64 = 0.002;
/// Length of one of the pieces of time whose lowest rests are compared, s.
const BUCKET: f64 = 0.25;
/// Pieces that are compared: two seconds.
const BUCKETS: usize = 8;
/// Relative speed per second of error. With [`INTEGRAL`] it settles in about 20 s without overshoot.
const PROPORTIONAL: f64 = 0.1;
/// Relative speed per second of error and second of time: the clocks' difference is learned by it.
const INTEGRAL: f64 = 0.002_5;
/// Errors above this are not learned from, s: they are jitter or a stall, not a clock.
const LEARNABLE: f64 = 0.010;
/// The most difference of clocks that is learned: ten times what crystals differ by.
const MOST_LEARNED: f64 = 0.001;
/// The most that the speed ever changes, relative: 5 cents of pitch.
pub(super) const MOST_SPEED: f64 = 0.003;

/// Keeps a ring between a device and the call as full as it must be.
#[derive(Debug, Clone)]
pub(super) struct DriftController {
    /// Samples per second of what is in the ring.
    rate: f64,
    /// The aim, s.
    rest: f64,
    /// Lowest and highest rests, samples: the running piece first.
    seen: [Option<(f64, f64)>; BUCKETS],
    /// Time in the running piece, s.
    in_bucket: f64,
    /// Time since the device was opened, s.
    age: f64,
    /// Time since the ring last ran dry, s.
    since_gap: f64,
    /// Time since the ring was last empty or thrown away from, until it has settled, s.
    settling: Option<f64>,
    /// The clocks' difference, as far as it is known, relative.
    learned: f64,
    speed: f64,
}

impl DriftController {
    /// For a ring of samples of this rate, Hz.
    pub(super) fn new(rate: u32) -> Self {
        Self {
            rate: f64::from(rate),
            rest: FIRST_REST,
            seen: [None; BUCKETS],
            in_bucket: 0.0,
            age: 0.0,
            since_gap: 0.0,
            settling: Some(0.0),
            learned: 0.0,
            speed: 0.0,
        }
    }

    /// What the ring should hold at its lowest point, samples.
    pub(super) fn aim(&self) -> usize {
        count(self.rest * self.rate)
    }

    /// The lowest rest of the last two seconds.
    pub(super) fn lowest(&self) -> Duration {
        Duration::try_from_secs_f64(self.extremes().0 / self.rate).unwrap_or_default()
    }

    /// The lowest and the highest rest of the last two seconds, samples. Without end where none is known.
    fn extremes(&self) -> (f64, f64) {
        let wider = |(low, high): (f64, f64), seen: &(f64, f64)| (low.min(seen.0), high.max(seen.1));
        self.seen.iter().flatten().fold((f64::INFINITY, f64::NEG_INFINITY), wider)
    }

    /// How much faster than its rate the ring is to be emptied, or slower filled, relative: within [`MOST_SPEED`].
    pub(super) fn speed(&self) -> f64 {
        self.speed
    }

    /// Takes what the ring holds at the lowest point of a frame of so many samples at 48 kHz, and says how many
    /// samples of the ring to throw away: almost always none.
    pub(super) fn observe(&mut self, rest: usize, frame: usize) -> usize {
        let rest = precise(rest);
        let time = precise(frame) / f64::from(SAMPLE_RATE);
        self.age += time;
        self.since_gap += time;
        if self.since_gap > CALM {
            self.rest = (self.rest - SHRINK * time).max(LEAST_REST);
        }
        let (low, high) = self.seen[0].unwrap_or((rest, rest));
        self.seen[0] = Some((low.min(rest), high.max(rest)));
        self.in_bucket += time;

        let settled = self.settling.is_some_and(|since| since + time >= SETTLING);
        self.settling = self.settling.filter(|_| !settled).map(|since| since + time);
        let (low, high) = self.extremes();
        let aim = self.rest + (high - low) / self.rate * OF_SWING;
        let error = low / self.rate - aim;
        let full = self.seen.iter().all(Option::is_some);
        let now = rest / self.rate - aim;
        let latest = self.seen[..2].iter().flatten().fold(f64::INFINITY, |low, seen| low.min(seen.0));
        let latest = latest / self.rate - aim;
        let surplus = match () {
            () if now > FAR_TOO_MUCH => now,
            () if settled && latest > LITTLE => latest,
            () if full && error > TOO_MUCH => error,
            () => 0.0,
        };
        if surplus > 0.0 {
            self.forget();
            return count(surplus * self.rate);
        }
        if error.abs() < LEARNABLE {
            self.learned = (self.learned + INTEGRAL * error * time).clamp(-MOST_LEARNED, MOST_LEARNED);
        }
        self.speed = (self.learned + PROPORTIONAL * error).clamp(-MOST_SPEED, MOST_SPEED);
        if self.in_bucket >= BUCKET {
            self.in_bucket -= BUCKET;
            self.seen.rotate_right(1);
            self.seen[0] = None;
        }
        0
    }

    /// The sound is silence now: how many samples of the ring to throw away. At full sound the speed would take half a
    /// minute to get rid of what a stall of some milliseconds left behind.
    pub(super) fn in_silence(&mut self) -> usize {
        let surplus = self.error();
        // The running piece may have only just begun.
        let known = self.seen[1..].iter().all(Option::is_some);
        if !known || surplus <= TOO_MUCH_IN_SILENCE {
            return 0;
        }
        self.forget();
        count(surplus * self.rate)
    }

    /// How far the lowest rest is above the aim, s.
    fn error(&self) -> f64 {
        let (low, high) = self.extremes();
        low / self.rate - (self.rest + (high - low) / self.rate * OF_SWING)
    }

    /// A frame's time of so many samples at 48 kHz went by in which the ring was too empty to take from.
    pub(super) fn wait(&mut self, frame: usize) {
        let time = precise(frame) / f64::from(SAMPLE_RATE);
        self.age += time;
        self.since_gap += time;
    }

    /// The ring ran dry: aims higher from now on, and starts to watch anew.
    pub(super) fn ran_dry(&mut self) {
        if self.age > BEGINNING && self.since_gap > SAME_TROUBLE {
            self.rest = (self.rest + AFTER_GAP.max(self.rest / 2.0)).min(MOST_REST);
        }
        self.since_gap = 0.0;
        self.settling = Some(0.0);
        self.forget();
    }

    /// Forgets what the ring held, not what was learned of the clocks.
    fn forget(&mut self) {
        self.seen = [None; BUCKETS];
        self.in_bucket = 0.0;
        self.speed = self.learned;
    }
}

fn precise(samples: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a ring holds far less than 2^52 samples")]
    let samples = samples as f64;
    samples
}

fn count(samples: f64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, and less than a ring")]
    let samples = samples.round().max(0.0) as usize;
    samples
}
