//! Finds in what came back what was said: how loud both were, and how much later it came.

use std::collections::VecDeque;
use std::time::Duration;

use vernam_audio::SAMPLE_RATE;

use crate::call::events::EchoHeard;

/// Samples of a step of the envelope: 2.5 ms, so much the delay is exact to.
const STEP: usize = SAMPLE_RATE as usize / 400;
/// Steps that are kept: the last half minute.
const KEPT: usize = 30 * 400;
/// The longest way there and back that is looked for, besides the pause: 2 s.
const LONGEST: usize = 2 * 400;
/// Below this, what came back is something else: a correlation of 1 is the same sound.
const ALIKE: f64 = 0.5;
/// Steps that must overlap for a comparison: a second.
const OVERLAP: usize = 400;
/// Below the quietest sample.
const SILENCE_DBFS: f64 = -96.0;

/// How loud it was, step by step, in both directions.
#[derive(Debug, Default)]
pub(crate) struct Envelopes {
    said: Envelope,
    heard: Envelope,
}

#[derive(Debug, Default)]
struct Envelope {
    steps: VecDeque<f64>,
    /// Steps that are no longer kept.
    dropped: usize,
    power: f64,
    samples: usize,
    peak: i32,
}

impl Envelope {
    fn push(&mut self, pcm: &[i16]) {
        for &sample in pcm {
            self.peak = self.peak.max(i32::from(sample).abs());
            self.power += f64::from(sample).powi(2);
            self.samples += 1;
            if self.samples == STEP {
                if self.steps.len() == KEPT {
                    self.steps.pop_front();
                    self.dropped += 1;
                }
                // The root makes loud moments count for less than all the rest.
                self.steps.push_back(self.power.sqrt());
                (self.power, self.samples) = (0.0, 0);
            }
        }
    }

    fn peak_dbfs(&self) -> f64 {
        if self.peak == 0 { SILENCE_DBFS } else { 20.0 * (f64::from(self.peak) / 32_768.0).log10() }
    }
}

impl Envelopes {
    /// What the microphone gave.
    pub(crate) fn said(&mut self, pcm: &[i16]) {
        self.said.push(pcm);
    }

    /// What was played.
    pub(crate) fn heard(&mut self, pcm: &[i16]) {
        self.heard.push(pcm);
    }

    /// What the test found; `pause` is its own.
    pub(crate) fn found(&self, pause: Duration, lost: u64) -> EchoHeard {
        let tenth = |value: f64| (value * 10.0).round() / 10.0;
        EchoHeard {
            round_trip_ms: self.delay(pause).map(|delay| tenth(delay.as_secs_f64() * 1_000.0)),
            pause_ms: tenth(pause.as_secs_f64() * 1_000.0),
            said_peak_dbfs: tenth(self.said.peak_dbfs()),
            heard_peak_dbfs: tenth(self.heard.peak_dbfs()),
            lost,
        }
    }

    /// The delay at which what was heard is most like what was said.
    fn delay(&self, pause: Duration) -> Option<Duration> {
        let step = Duration::from_micros(2_500);
        let least = usize::try_from(pause.as_micros() / step.as_micros()).ok()?;
        let said: Vec<f64> = self.said.steps.iter().copied().collect();
        let heard: Vec<f64> = self.heard.steps.iter().copied().collect();
        let mut best = (ALIKE, None);
        for lag in least..=least + LONGEST {
            // Both began with the call's first frame.
            let from = (lag + self.said.dropped).saturating_sub(self.heard.dropped);
            let skipped = self.heard.dropped.saturating_sub(lag + self.said.dropped);
            let (Some(said), Some(heard)) = (said.get(skipped..), heard.get(from..)) else { continue };
            let alike = correlation(said, heard);
            if alike > best.0 {
                best = (alike, Some(lag));
            }
        }
        best.1.map(|lag| step * u32::try_from(lag).unwrap_or(u32::MAX))
    }
}

/// How alike two envelopes are over their common length: Pearson's coefficient, 0 where one is flat or too short.
fn correlation(one: &[f64], other: &[f64]) -> f64 {
    let length = one.len().min(other.len());
    if length < OVERLAP {
        return 0.0;
    }
    let (one, other) = (&one[..length], &other[..length]);
    let count = f64::from(u32::try_from(length).unwrap_or(u32::MAX));
    let mean = |values: &[f64]| values.iter().sum::<f64>() / count;
    let (mean_one, mean_other) = (mean(one), mean(other));
    let (mut both, mut first, mut second) = (0.0, 0.0, 0.0);
    for (x, y) in one.iter().zip(other) {
        let (x, y) = (x - mean_one, y - mean_other);
        both += x * y;
        first += x * x;
        second += y * y;
    }
    if first <= f64::EPSILON || second <= f64::EPSILON { 0.0 } else { both / (first * second).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise in bursts, as speech is: a loud third of a second, then a quiet one of changing length.
    fn speech(seconds: u32) -> Vec<i16> {
        let mut state: u32 = 12_345;
        let mut next = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 16
        };
        let mut sound = Vec::new();
        let length = usize::try_from(seconds * SAMPLE_RATE).expect("a few seconds");
        while sound.len() < length {
            let (loud, quiet) = (4_000 + next() % 16_000, next() % 20_000);
            sound.extend((0..loud).map(|_| i16::try_from(next() % 20_000).unwrap_or(0) - 10_000));
            sound.extend((0..quiet).map(|_| 0));
        }
        sound.truncate(length);
        sound
    }

    fn found(delay_ms: usize, quieter: i16, seconds: u32) -> EchoHeard {
        let said = speech(seconds);
        let mut envelopes = Envelopes::default();
        let lag = delay_ms * 48;
        for (frame, pcm) in said.chunks(960).enumerate() {
            envelopes.said(pcm);
            let heard: Vec<i16> =
                (0..960).map(|at| (frame * 960 + at).checked_sub(lag).map_or(0, |at| said[at] / quieter)).collect();
            envelopes.heard(&heard);
        }
        envelopes.found(Duration::from_secs(2), 0)
    }

    #[test]
    fn the_delay_is_found_to_a_step() {
        for delay_ms in [2_003, 2_060, 2_175, 3_400] {
            let found = found(delay_ms, 3, 8);
            let seen = found.round_trip_ms.expect("it is in there");
            #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
            let wrong = (seen - delay_ms as f64).abs();
            assert!(wrong <= 2.5, "{delay_ms} ms: {found:?}");
            assert!((found.said_peak_dbfs - found.heard_peak_dbfs - 9.5).abs() < 0.2, "{found:?}");
        }
    }

    #[test]
    fn it_is_found_after_more_than_is_kept_too() {
        let seen = found(2_050, 1, 36).round_trip_ms.expect("it is in there");
        assert!((seen - 2_050.0).abs() <= 2.5, "{seen}");
    }

    #[test]
    fn silence_and_other_sound_have_no_delay() {
        let mut envelopes = Envelopes::default();
        for pcm in speech(8).chunks(960) {
            envelopes.said(pcm);
            envelopes.heard(&[0; 960]);
        }
        let found = envelopes.found(Duration::from_secs(2), 3);
        assert_eq!((found.round_trip_ms, found.heard_peak_dbfs, found.lost), (None, -96.0, 3));
        assert_eq!(Envelopes::default().found(Duration::from_secs(2), 0).round_trip_ms, None);
    }
}
