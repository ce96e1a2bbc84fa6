//! Chooses among the ways in which a device can be opened: 48 kHz, few channels, a sample format that we speak.

use cpal::{BufferSize, SampleFormat, StreamConfig, SupportedBufferSize, SupportedStreamConfigRange};

use super::PERIOD_SAMPLES;
use crate::{SAMPLE_RATE, error::DeviceError};

/// Most channels of a device that are opened; the voice goes to all of them, or is mixed from them.
const MAX_DEVICE_CHANNELS: u16 = 32;

/// Sample formats we speak, best first: our own, then the ones that hold it without loss.
const FORMATS: [SampleFormat; 3] = [SampleFormat::I16, SampleFormat::F32, SampleFormat::I32];

pub(super) fn choose(
    name: &str,
    offers: impl Iterator<Item = SupportedStreamConfigRange>,
) -> Result<(StreamConfig, SampleFormat), DeviceError> {
    let rank = |format| FORMATS.iter().position(|known| *known == format);
    offers
        .filter(|offer| (offer.min_sample_rate()..=offer.max_sample_rate()).contains(&SAMPLE_RATE))
        .filter(|offer| (1..=MAX_DEVICE_CHANNELS).contains(&offer.channels()))
        .filter_map(|offer| rank(offer.sample_format()).map(|rank| (offer.channels(), rank, offer)))
        .min_by_key(|(channels, rank, _)| (*channels, *rank))
        .map(|(channels, _, offer)| {
            let period = match offer.buffer_size() {
                SupportedBufferSize::Range { min, max } => PERIOD_SAMPLES.clamp(*min, (*max).max(*min)),
                SupportedBufferSize::Unknown => PERIOD_SAMPLES,
            };
            let config = StreamConfig { channels, sample_rate: SAMPLE_RATE, buffer_size: BufferSize::Fixed(period) };
            (config, offer.sample_format())
        })
        .ok_or_else(|| DeviceError::Unsuitable {
            name: name.to_owned(),
            reason: "it offers no 48 kHz in 16 or 32 bit samples".to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(channels: u16, rate: u32, format: SampleFormat) -> SupportedStreamConfigRange {
        let buffer = SupportedBufferSize::Range { min: 64, max: 256 };
        SupportedStreamConfigRange::new(channels, 8_000, rate, buffer, format)
    }

    #[test]
    fn fewest_channels_then_the_best_format_with_a_period_that_is_possible() {
        let offers = [
            offer(2, 48_000, SampleFormat::I16),
            offer(1, 48_000, SampleFormat::I32),
            offer(1, 48_000, SampleFormat::F32),
            offer(1, 44_100, SampleFormat::I16),
            offer(1, 48_000, SampleFormat::U8),
        ];
        let (config, format) = choose("x", offers.into_iter()).unwrap();
        assert_eq!((config.channels, config.sample_rate, format), (1, 48_000, SampleFormat::F32));
        assert_eq!(config.buffer_size, BufferSize::Fixed(256));
    }

    #[test]
    fn a_device_without_48_khz_is_refused_by_name() {
        let error = choose("Old Card", std::iter::once(offer(2, 44_100, SampleFormat::I16))).unwrap_err();
        assert!(error.to_string().contains("Old Card"), "{error}");
    }
}
