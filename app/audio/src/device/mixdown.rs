//! Mixes a device's channels into one.
//!
//! Many headsets have two channels and send silence on one of them; a plain mean would halve their voice. So the mean
//! is of the channels that carry sound: those whose peak of the last second is within 30 dB of the loudest one's.
//! Where that number changes, the level glides within some 20 ms.

/// Most channels of a device that are opened; the voice goes to all of them, or is mixed from them.
pub(super) const MAX_DEVICE_CHANNELS: u16 = 32;

/// A channel this much below the loudest one is silent: 30 dB.
const SILENT: f32 = 0.032;
/// The peaks are forgotten to a third in this time, s.
const MEMORY: f32 = 1.0;
/// The weight reaches two thirds of a change in this time, s.
const GLIDE: f32 = 0.02;

/// Allocates nothing: it lives in the audio thread.
#[derive(Debug)]
pub(super) struct Mixdown {
    peaks: [f32; MAX_DEVICE_CHANNELS as usize],
    channels: usize,
    /// Of the sum of all channels.
    weight: f32,
    forget: f32,
    glide: f32,
}

impl Mixdown {
    /// For a device of so many channels, at most [`MAX_DEVICE_CHANNELS`], and this rate, Hz.
    pub(super) fn new(channels: u16, rate: u32) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a sample rate is far below 2^24")]
        let rate = rate as f32;
        let channels = channels.clamp(1, MAX_DEVICE_CHANNELS);
        Self {
            peaks: [0.0; MAX_DEVICE_CHANNELS as usize],
            channels: usize::from(channels),
            weight: 1.0 / f32::from(channels),
            forget: 1.0 - 1.0 / (MEMORY * rate),
            glide: 1.0 / (GLIDE * rate),
        }
    }

    /// One sample of each channel into one. Channels beyond the number given are left out.
    pub(super) fn mix(&mut self, frame: impl Iterator<Item = f32>) -> f32 {
        let (mut sum, mut loudest) = (0.0, 0.0_f32);
        for (peak, sample) in self.peaks[..self.channels].iter_mut().zip(frame) {
            *peak = (*peak * self.forget).max(sample.abs());
            loudest = loudest.max(*peak);
            sum += sample;
        }
        if self.channels == 1 {
            return sum;
        }
        let floor = loudest * SILENT;
        let mut alive = 0_u16;
        for peak in &self.peaks[..self.channels] {
            alive += u16::from(*peak >= floor);
        }
        self.weight += (1.0 / f32::from(alive.max(1)) - self.weight) * self.glide;
        sum * self.weight
    }
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "sines of short length")]
mod tests {
    use super::*;

    fn level(gains: &[f32]) -> f32 {
        let mut mixdown = Mixdown::new(u16::try_from(gains.len()).unwrap(), 48_000);
        let mut peak = 0.0_f32;
        for index in 0..24_000 {
            let sample = 0.5 * (index as f32 * 0.13).sin();
            let mixed = mixdown.mix(gains.iter().map(|gain| gain * sample));
            if index > 12_000 {
                peak = peak.max(mixed.abs());
            }
        }
        peak
    }

    #[test]
    fn a_silent_channel_does_not_halve_the_voice() {
        for gains in [&[1.0][..], &[1.0, 1.0], &[1.0, 0.0], &[0.0, 1.0], &[0.0, 1.0, 0.001, 1.0]] {
            assert!((level(gains) - 0.5).abs() < 0.005, "{gains:?}: {}", level(gains));
        }
        assert!((level(&[1.0, 0.5]) - 0.375).abs() < 0.005, "two channels that both speak are a mean");
    }

    #[test]
    fn silence_stays_silence() {
        let mut mixdown = Mixdown::new(2, 44_100);
        assert!((0..1_000).all(|_| mixdown.mix([0.0, 0.0].into_iter()).abs() < f32::EPSILON));
    }
}
