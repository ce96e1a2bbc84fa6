//! Records sound.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{Device, FromSample, Sample, SampleFormat, SizedSample, StreamConfig};
use rtrb::{Consumer, Producer, RingBuffer};

use super::choice::choose;
use super::{Health, OPEN_TIMEOUT, RING_SAMPLES, find, is_monitor, name_of, not_opened};
use crate::{Result, error::DeviceError};

/// A microphone, open until dropped. All its channels are mixed: some headsets send silence on one of two.
pub struct Microphone {
    name: String,
    ring: Consumer<i16>,
    health: Arc<Health>,
    /// Keeps the device open.
    _stream: cpal::Stream,
}

impl Microphone {
    /// Opens the microphone of this id (see [`super::microphones`]), or the default one, and starts it.
    ///
    /// The default is refused when it is the monitor of a loudspeaker: it would send what the peer says back to them.
    pub fn open(id: Option<&str>) -> Result<Self> {
        let device = find("microphone", id, HostTrait::default_input_device)?;
        if id.is_none() && device.id().is_ok_and(|id| is_monitor(&id)) {
            return Err(DeviceError::NotFound { kind: "microphone", name: None }.into());
        }
        let name = name_of(&device);
        let failed = |error: cpal::Error| not_opened("microphone", id, &name, &error);
        let (config, format) = choose(&name, device.supported_input_configs().map_err(failed)?)?;
        let (sink, ring) = RingBuffer::new(RING_SAMPLES);
        let health = Arc::new(Health::default());
        let stream = match format {
            SampleFormat::I16 => build::<i16>(&device, config, sink, &health),
            SampleFormat::I32 => build::<i32>(&device, config, sink, &health),
            _ => build::<f32>(&device, config, sink, &health),
        }
        .map_err(failed)?;
        stream.play().map_err(failed)?;
        tracing::debug!(device = name, channels = config.channels, ?format, "microphone opened");
        Ok(Self { name, ring, health, _stream: stream })
    }

    /// The name to show to a person.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes what was recorded, at most as much as `pcm` holds, and says how many samples; never waits. Fails when
    /// the device has stopped.
    pub fn read(&mut self, pcm: &mut [i16]) -> Result<usize> {
        self.health.check(&self.name)?;
        let mut taken = 0;
        for (place, sample) in pcm.iter_mut().zip(std::iter::from_fn(|| self.ring.pop().ok())) {
            *place = sample;
            taken += 1;
        }
        Ok(taken)
    }

    /// Samples that wait to be read, up to [`RING_SAMPLES`].
    pub fn queued(&self) -> usize {
        self.ring.slots()
    }

    /// Samples that were thrown away because nobody read for longer than the ring holds.
    pub fn missed(&self) -> u64 {
        self.health.missed()
    }
}

fn build<T: SizedSample>(
    device: &Device,
    config: StreamConfig,
    mut sink: Producer<i16>,
    health: &Arc<Health>,
) -> std::result::Result<cpal::Stream, cpal::Error>
where
    i16: FromSample<T>,
{
    let channels = config.channels;
    let (counts, reports) = (Arc::clone(health), Arc::clone(health));
    let record = move |sound: &[T], _: &cpal::InputCallbackInfo| {
        let mut missed = 0;
        for frame in sound.chunks(usize::from(channels)) {
            let sum: i32 = frame.iter().map(|sample| i32::from(i16::from_sample(*sample))).sum();
            let mean = sum / i32::from(channels);
            if sink.push(i16::try_from(mean).unwrap_or_default()).is_err() {
                missed += 1;
            }
        }
        if missed > 0 {
            counts.missed.fetch_add(missed, Ordering::Relaxed);
        }
    };
    device.build_input_stream(config, record, move |error| reports.report(error.kind()), Some(OPEN_TIMEOUT))
}
