//! Plays sound.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{Device, FromSample, SampleFormat, SizedSample, StreamConfig};
use rtrb::{Consumer, Producer, RingBuffer};

use super::choice::choose;
use super::{Health, OPEN_TIMEOUT, RING_SAMPLES, find, name_of, not_opened};
use crate::Result;

/// A loudspeaker that plays what is written to it. Silence where nothing is; stops when dropped.
pub struct Speaker {
    name: String,
    ring: Producer<i16>,
    health: Arc<Health>,
    /// Keeps the device open.
    _stream: cpal::Stream,
}

impl Speaker {
    /// Opens the loudspeaker of this id (see [`super::speakers`]), or the default one, and starts it.
    pub fn open(id: Option<&str>) -> Result<Self> {
        let device = find("loudspeaker", id, HostTrait::default_output_device)?;
        let name = name_of(&device);
        let failed = |error: cpal::Error| not_opened("loudspeaker", id, &name, &error);
        let (config, format) = choose(&name, device.supported_output_configs().map_err(failed)?)?;
        let (ring, source) = RingBuffer::new(RING_SAMPLES);
        let health = Arc::new(Health::default());
        let stream = match format {
            SampleFormat::I16 => build::<i16>(&device, config, source, &health),
            SampleFormat::I32 => build::<i32>(&device, config, source, &health),
            _ => build::<f32>(&device, config, source, &health),
        }
        .map_err(failed)?;
        stream.play().map_err(failed)?;
        tracing::debug!(device = name, channels = config.channels, ?format, "loudspeaker opened");
        Ok(Self { name, ring, health, _stream: stream })
    }

    /// The name to show to a person.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Queues sound and says how many samples there was room for; never waits. Fails when the device has stopped.
    pub fn write(&mut self, pcm: &[i16]) -> Result<usize> {
        self.health.check(&self.name)?;
        let room = self.ring.slots().min(pcm.len());
        for sample in &pcm[..room] {
            // There is room: only the audio thread takes, and it makes more.
            let _ = self.ring.push(*sample);
        }
        Ok(room)
    }

    /// Samples that wait to be played, up to [`RING_SAMPLES`].
    pub fn queued(&self) -> usize {
        RING_SAMPLES - self.ring.slots()
    }

    /// Samples of silence that were played because nothing was queued, after the first sound.
    pub fn missed(&self) -> u64 {
        self.health.missed()
    }
}

fn build<T: SizedSample + FromSample<i16>>(
    device: &Device,
    config: StreamConfig,
    mut source: Consumer<i16>,
    health: &Arc<Health>,
) -> std::result::Result<cpal::Stream, cpal::Error> {
    let channels = usize::from(config.channels);
    let (counts, reports) = (Arc::clone(health), Arc::clone(health));
    let mut started = false;
    let play = move |out: &mut [T], _: &cpal::OutputCallbackInfo| {
        let mut missed = 0;
        for frame in out.chunks_mut(channels) {
            let sample = if let Ok(sample) = source.pop() {
                started = true;
                sample
            } else {
                missed += 1;
                0
            };
            frame.fill(T::from_sample(sample));
        }
        if started && missed > 0 {
            counts.missed.fetch_add(missed, Ordering::Relaxed);
        }
    };
    device.build_output_stream(config, play, move |error| reports.report(error.kind()), Some(OPEN_TIMEOUT))
}
