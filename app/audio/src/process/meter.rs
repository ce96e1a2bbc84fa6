//! How loud it is, for people to look at.

use crate::SAMPLE_RATE;

/// Silence, dB below full scale: the step of 16 bits.
const SILENCE: f64 = -96.0;
/// How fast the pointer falls, dB a second: 20 dB in 1.7 s, as the programme meter of IEC 60268-10, type I.
const FALL_PER_SECOND: f64 = 20.0 / 1.7;

/// A level meter of peaks: rises at once, falls slowly.
pub struct Meter {
    dbfs: f64,
}

impl Meter {
    /// At silence.
    pub fn new() -> Self {
        Self { dbfs: SILENCE }
    }

    /// The level after this frame of any length, dB below full scale (0 is the loudest there is, -96 is silence).
    pub fn push(&mut self, pcm: &[i16]) -> f64 {
        let peak = pcm.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or(0);
        let level = if peak == 0 { SILENCE } else { 20.0 * (f64::from(peak) / 32_768.0).log10() };
        #[expect(clippy::cast_precision_loss, reason = "the length of a frame")]
        let seconds = pcm.len() as f64 / f64::from(SAMPLE_RATE);
        self.dbfs = level.max(self.dbfs - FALL_PER_SECOND * seconds).max(SILENCE);
        self.dbfs
    }

    /// The level.
    pub fn dbfs(&self) -> f64 {
        self.dbfs
    }
}

impl Default for Meter {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(level: f64, expected: f64) {
        assert!((level - expected).abs() < 0.01, "{level}, expected {expected}");
    }

    #[test]
    fn rises_at_once_and_falls_twenty_decibels_in_one_and_seven_tenths_of_a_second() {
        let mut meter = Meter::new();
        near(meter.dbfs(), -96.0);
        near(meter.push(&[0, 0, i16::MIN, 0]), 0.0);
        let silence = [0; 480];
        for _ in 0..170 {
            meter.push(&silence);
        }
        near(meter.dbfs(), -20.0);
        near(meter.push(&[16_384]), -6.02);
        for _ in 0..1_000 {
            meter.push(&silence);
        }
        near(meter.dbfs(), -96.0);
    }

    #[test]
    fn a_louder_frame_is_shown_and_a_softer_one_is_not() {
        let mut meter = Meter::new();
        near(meter.push(&[3_277; 480]), -20.0);
        assert!(meter.push(&[328; 480]) > -20.2, "still falling");
        near(meter.push(&[-32_767; 480]), 0.0);
        meter.push(&[]);
        near(meter.dbfs(), 0.0);
    }
}
