//! The tones of a telephone, made and not recorded.
//!
//! They are numbers only: who is to hear a tone, and for how long, is the caller's. A tone starts and ends without a
//! click, each part along a raised cosine of 10 ms.
//!
//! | tone | sound | cadence | from |
//! |---|---|---|---|
//! | ringback | 425 Hz | 1 s, pause 4 s | ITU-T E.180 (preferred frequency 425 Hz); the cadence of most of Europe |
//! | busy | 425 Hz | 0.5 s, pause 0.5 s | ITU-T E.180 |
//! | waiting | 425 Hz, softer | twice 0.2 s, pause 5 s | the cadence of Germany and others |
//! | recording | 1400 Hz | 0.4 s every 15 s | ITU-T E.180, the warning tone of a recorded call |
//! | ring, ended, reconnecting, on hold | made for this program | | |

use std::f64::consts::{PI, TAU};

use crate::SAMPLE_RATE;

/// Peak of the tones heard in a call, dB below full scale: clearly there, below speech.
const IN_CALL_DBFS: f64 = -20.0;
/// Peak of tones that are mixed into a conversation.
const SOFT_DBFS: f64 = -26.0;
/// Peak of the ring, each of its two notes together.
const RING_DBFS: f64 = -12.0;
/// Length of an edge, samples: 10 ms.
const EDGE: u32 = SAMPLE_RATE / 100;

/// A tone that repeats until it is stopped, or ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ToneKind {
    /// Somebody calls: for the ringer.
    Ring,
    /// It rings at the contact's.
    Ringback,
    /// Somebody calls while another call is on: mixed softly into it.
    Waiting,
    /// The contact is in another call.
    Busy,
    /// The call is over; ends by itself.
    Ended,
    /// The connection is away.
    Reconnecting,
    /// The contact holds the call.
    OnHold,
    /// This call is recorded: mixed in every 15 s, heard by both.
    Recording,
}

impl ToneKind {
    /// Every tone.
    pub const ALL: [Self; 8] = [
        Self::Ring,
        Self::Ringback,
        Self::Waiting,
        Self::Busy,
        Self::Ended,
        Self::Reconnecting,
        Self::OnHold,
        Self::Recording,
    ];

    fn pattern(self) -> &'static Pattern {
        match self {
            Self::Ring => &RING,
            Self::Ringback => &RINGBACK,
            Self::Waiting => &WAITING,
            Self::Busy => &BUSY,
            Self::Ended => &ENDED,
            Self::Reconnecting => &RECONNECTING,
            Self::OnHold => &ON_HOLD,
            Self::Recording => &RECORDING,
        }
    }
}

/// A sound or a pause. A frequency of 0 is a pause.
struct Part {
    hertz: f64,
    millis: u32,
}

/// What a tone is made of.
struct Pattern {
    parts: &'static [Part],
    dbfs: f64,
    /// After so long a note has fallen to a third; endless for a plain tone. Milliseconds.
    fall_millis: f64,
    repeats: bool,
}

const fn part(hertz: f64, millis: u32) -> Part {
    Part { hertz, millis }
}

const fn pause(millis: u32) -> Part {
    Part { hertz: 0.0, millis }
}

const fn plain(parts: &'static [Part], dbfs: f64, repeats: bool) -> Pattern {
    Pattern { parts, dbfs, fall_millis: f64::INFINITY, repeats }
}

/// A chord upwards, twice, as struck on wood: A5, C sharp 6, E6, A6.
static RING: Pattern = Pattern {
    parts: &[
        part(880.0, 140),
        part(1_108.73, 140),
        part(1_318.51, 140),
        part(1_760.0, 480),
        pause(100),
        part(880.0, 140),
        part(1_108.73, 140),
        part(1_318.51, 140),
        part(1_760.0, 480),
        pause(2_100),
    ],
    dbfs: RING_DBFS,
    fall_millis: 160.0,
    repeats: true,
};
static RINGBACK: Pattern = plain(&[part(425.0, 1_000), pause(4_000)], IN_CALL_DBFS, true);
static WAITING: Pattern = plain(&[part(425.0, 200), pause(200), part(425.0, 200), pause(5_000)], SOFT_DBFS, true);
static BUSY: Pattern = plain(&[part(425.0, 500), pause(500)], IN_CALL_DBFS, true);
static ENDED: Pattern =
    plain(&[part(425.0, 180), pause(120), part(425.0, 180), pause(120), part(340.0, 300)], IN_CALL_DBFS, false);
static RECONNECTING: Pattern = plain(&[part(520.0, 90), pause(110), part(390.0, 90), pause(1_710)], SOFT_DBFS, true);
static ON_HOLD: Pattern = plain(&[part(390.0, 120), pause(130), part(390.0, 120), pause(4_630)], SOFT_DBFS, true);
static RECORDING: Pattern = plain(&[part(1_400.0, 400), pause(14_600)], SOFT_DBFS, true);

/// Samples of a tone, from its beginning, 48 kHz mono.
pub struct ToneSource {
    pattern: &'static Pattern,
    /// Which part, and how many of its samples have been given.
    part: usize,
    position: u32,
}

impl ToneSource {
    /// From its beginning.
    pub fn new(kind: ToneKind) -> Self {
        Self { pattern: kind.pattern(), part: 0, position: 0 }
    }

    /// Adds its next samples to `pcm`, saturating. False once it has ended by itself.
    pub fn mix_into(&mut self, pcm: &mut [i16]) -> bool {
        for sample in pcm {
            let Some(part) = self.pattern.parts.get(self.part) else { return false };
            *sample = sample.saturating_add(self.pattern.sample(part, self.position));
            self.position += 1;
            if self.position == part.samples() {
                self.position = 0;
                self.part += 1;
                if self.part == self.pattern.parts.len() && self.pattern.repeats {
                    self.part = 0;
                }
            }
        }
        self.part < self.pattern.parts.len()
    }
}

impl Part {
    fn samples(&self) -> u32 {
        SAMPLE_RATE / 1_000 * self.millis
    }
}

impl Pattern {
    /// The sample of a part at a position in it.
    fn sample(&self, part: &Part, position: u32) -> i16 {
        if part.hertz == 0.0 {
            return 0;
        }
        let seconds = f64::from(position) / f64::from(SAMPLE_RATE);
        let from_edge = position.min(part.samples() - 1 - position);
        let edge = if from_edge < EDGE { 0.5 - 0.5 * (PI * f64::from(from_edge) / f64::from(EDGE)).cos() } else { 1.0 };
        let fall = (-1_000.0 * seconds / self.fall_millis).exp();
        let peak = 32_767.0 * 10.0_f64.powf(self.dbfs / 20.0);
        #[expect(clippy::cast_possible_truncation, reason = "below full scale")]
        let sample = (peak * edge * fall * (TAU * part.hertz * seconds).sin()).round() as i16;
        sample
    }
}

#[cfg(test)]
mod tests;
