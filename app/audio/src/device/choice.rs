//! Chooses among the ways in which a device can be opened: its own rate and channels, in a sample format that loses
//! nothing.

use cpal::{
    BufferSize, SampleFormat, StreamConfig, SupportedBufferSize, SupportedStreamConfig, SupportedStreamConfigRange,
};

use super::mixdown::MAX_DEVICE_CHANNELS;
use super::stream::period;
use crate::wav::SAMPLE_RATES;
use crate::{SAMPLE_RATE, error::DeviceError};

/// Sample formats, best first: the ones that hold our sound without loss, then the rest.
const FORMATS: [SampleFormat; 12] = [
    SampleFormat::I16,
    SampleFormat::F32,
    SampleFormat::I32,
    SampleFormat::I24,
    SampleFormat::F64,
    SampleFormat::I64,
    SampleFormat::U16,
    SampleFormat::U24,
    SampleFormat::U32,
    SampleFormat::U64,
    SampleFormat::I8,
    SampleFormat::U8,
];

/// The device's own configuration where we speak it, else the nearest of those on offer.
pub(super) fn choose(
    name: &str,
    own: Option<&SupportedStreamConfig>,
    offers: impl Iterator<Item = SupportedStreamConfigRange>,
) -> Result<(StreamConfig, SampleFormat), DeviceError> {
    if let Some(own) = own
        && FORMATS.contains(&own.sample_format())
        && SAMPLE_RATES.contains(&own.sample_rate())
        && (1..=MAX_DEVICE_CHANNELS).contains(&own.channels())
    {
        return Ok((config(own.channels(), own.sample_rate(), own.buffer_size()), own.sample_format()));
    }
    let rank = |format| FORMATS.iter().position(|known| *known == format);
    offers
        .filter(|offer| (1..=MAX_DEVICE_CHANNELS).contains(&offer.channels()))
        .filter(|offer| {
            SAMPLE_RATES.start().max(&offer.min_sample_rate()) <= SAMPLE_RATES.end().min(&offer.max_sample_rate())
        })
        .filter_map(|offer| rank(offer.sample_format()).map(|rank| (rank, offer)))
        .map(|(rank, offer)| {
            let lowest = offer.min_sample_rate().max(*SAMPLE_RATES.start());
            let rate = SAMPLE_RATE.clamp(lowest, offer.max_sample_rate().min(*SAMPLE_RATES.end()).max(lowest));
            (rate.abs_diff(SAMPLE_RATE), offer.channels(), rank, rate, offer)
        })
        .min_by_key(|(distance, channels, rank, ..)| (*distance, *channels, *rank))
        .map(|(_, channels, _, rate, offer)| (config(channels, rate, offer.buffer_size()), offer.sample_format()))
        .ok_or_else(|| DeviceError::Unsuitable {
            name: name.to_owned(),
            reason: "none of its rates and sample formats is known".to_owned(),
        })
}

fn config(channels: u16, sample_rate: u32, buffer: &SupportedBufferSize) -> StreamConfig {
    let wanted = period(sample_rate);
    let period = match buffer {
        SupportedBufferSize::Range { min, max } => wanted.clamp(*min, (*max).max(*min)),
        SupportedBufferSize::Unknown => wanted,
    };
    StreamConfig { channels, sample_rate, buffer_size: BufferSize::Fixed(period) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(channels: u16, rates: (u32, u32), format: SampleFormat) -> SupportedStreamConfigRange {
        let buffer = SupportedBufferSize::Range { min: 64, max: 100 };
        SupportedStreamConfigRange::new(channels, rates.0, rates.1, buffer, format)
    }

    #[test]
    fn the_nearest_rate_then_few_channels_then_the_best_format_with_a_period_that_is_possible() {
        let offers = [
            offer(2, (8_000, 48_000), SampleFormat::I16),
            offer(1, (8_000, 48_000), SampleFormat::I32),
            offer(1, (8_000, 48_000), SampleFormat::F32),
            offer(1, (8_000, 44_100), SampleFormat::I16),
            offer(1, (8_000, 48_000), SampleFormat::U8),
        ];
        let (config, format) = choose("x", None, offers.into_iter()).unwrap();
        assert_eq!((config.channels, config.sample_rate, format), (1, 48_000, SampleFormat::F32));
        assert_eq!(config.buffer_size, BufferSize::Fixed(100));
    }

    #[test]
    fn a_device_is_taken_as_it_is() {
        let buffer = SupportedBufferSize::Unknown;
        let own = SupportedStreamConfig::new(2, 44_100, buffer, SampleFormat::I24);
        let (config, format) = choose("x", Some(&own), std::iter::empty()).unwrap();
        assert_eq!((config.channels, config.sample_rate, format), (2, 44_100, SampleFormat::I24));
        assert_eq!(config.buffer_size, BufferSize::Fixed(220));
    }

    #[test]
    fn a_device_that_offers_nothing_known_is_refused_by_name() {
        let error = choose("Old Card", None, std::iter::once(offer(2, (400, 900), SampleFormat::I16))).unwrap_err();
        assert!(error.to_string().contains("Old Card"), "{error}");
    }
}
