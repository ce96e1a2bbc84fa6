//! Plays sound on one loudspeaker.

use std::sync::Arc;

use rtrb::Producer;

use super::bridge::{CHUNK, Fixed};
use super::stream::{Health, Output};
use super::{DeviceKind, RING_SAMPLES, find};
use crate::{Result, SAMPLE_RATE};

/// A loudspeaker that plays what is written to it. Silence where nothing is; stops when dropped.
pub struct Speaker {
    name: String,
    ring: Producer<f32>,
    rate: u32,
    /// None for a device of our own rate.
    fixed: Option<Fixed>,
    /// Samples at 48 kHz that do not fill a chunk of the resampler yet.
    pending: Vec<i16>,
    health: Arc<Health>,
    /// Keeps the device open.
    _keep: Box<dyn Send>,
}

impl Speaker {
    /// Opens the loudspeaker of this id (see [`super::speakers`]), or the default one, and starts it.
    pub fn open(id: Option<&str>) -> Result<Self> {
        let (system, device) = find(DeviceKind::Speaker, id)?;
        let Output { ring, rate, health, keep } = system.play(&device, Arc::default())?;
        let fixed = (rate != SAMPLE_RATE).then(|| Fixed::new(SAMPLE_RATE, rate)).transpose()?;
        let name = device.info.name;
        tracing::debug!(device = name, rate, "loudspeaker opened");
        Ok(Self { name, ring, rate, fixed, pending: Vec::with_capacity(CHUNK), health, _keep: keep })
    }

    /// The name to show to a person.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Queues sound and says how many samples there was room for; never waits. Fails when the device has stopped.
    ///
    /// For a device of another rate than 48 kHz the last 10 ms are played once more is written.
    pub fn write(&mut self, pcm: &[i16]) -> Result<usize> {
        self.health.check(&self.name)?;
        let room = RING_SAMPLES.saturating_sub(self.queued()).min(pcm.len());
        for sample in &pcm[..room] {
            let Some(fixed) = &mut self.fixed else {
                // There is room: only the audio thread takes, and it makes more.
                let _ = self.ring.push(f32::from(*sample) / 32_768.0);
                continue;
            };
            self.pending.push(*sample);
            if self.pending.len() == CHUNK {
                for sample in fixed.run(self.pending.drain(..).map(|sample| f32::from(sample) / 32_768.0)) {
                    let _ = self.ring.push(*sample);
                }
            }
        }
        Ok(room)
    }

    /// Samples that wait to be played, up to [`RING_SAMPLES`].
    pub fn queued(&self) -> usize {
        let waiting = (self.ring.buffer().capacity() - self.ring.slots()) as u64;
        let waiting = waiting * u64::from(SAMPLE_RATE) / u64::from(self.rate);
        RING_SAMPLES.min(usize::try_from(waiting).unwrap_or(RING_SAMPLES) + self.pending.len())
    }

    /// Samples of silence that were played because nothing was queued, after the first sound.
    pub fn missed(&self) -> u64 {
        self.health.missed()
    }
}
