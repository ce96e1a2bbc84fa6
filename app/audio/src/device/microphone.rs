//! Records sound from one microphone.

use std::collections::VecDeque;
use std::sync::Arc;

use rtrb::Consumer;

use super::bridge::{CHUNK, Fixed, to_i16};
use super::stream::{Health, Input};
use super::{DeviceKind, RING_SAMPLES, find};
use crate::{Result, SAMPLE_RATE};

/// A microphone, open until dropped. All its channels are mixed: some headsets send silence on one of two.
pub struct Microphone {
    name: String,
    ring: Consumer<f32>,
    rate: u32,
    /// None for a device of our own rate.
    fixed: Option<Fixed>,
    /// Samples at 48 kHz that were resampled and not read yet: less than a chunk.
    pending: VecDeque<i16>,
    health: Arc<Health>,
    /// Keeps the device open.
    _keep: Box<dyn Send>,
}

impl Microphone {
    /// Opens the microphone of this id (see [`super::microphones`]), or the default one, and starts it.
    ///
    /// The default is refused when it is the monitor of a loudspeaker: it would send what the peer says back to them.
    pub fn open(id: Option<&str>) -> Result<Self> {
        let (system, device) = find(DeviceKind::Microphone, id)?;
        let Input { ring, rate, health, keep } = system.record(&device, Arc::default())?;
        let fixed = (rate != SAMPLE_RATE).then(|| Fixed::new(rate, SAMPLE_RATE)).transpose()?;
        let name = device.info.name;
        tracing::debug!(device = name, rate, "microphone opened");
        Ok(Self { name, ring, rate, fixed, pending: VecDeque::with_capacity(CHUNK), health, _keep: keep })
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
        for place in pcm.iter_mut() {
            let Some(sample) = self.next() else { break };
            *place = sample;
            taken += 1;
        }
        Ok(taken)
    }

    fn next(&mut self) -> Option<i16> {
        let Some(fixed) = &mut self.fixed else { return self.ring.pop().ok().map(to_i16) };
        if self.pending.is_empty() && self.ring.slots() >= fixed.chunk() {
            let recorded = std::iter::from_fn(|| self.ring.pop().ok());
            self.pending.extend(fixed.run(recorded).iter().map(|sample| to_i16(*sample)));
        }
        self.pending.pop_front()
    }

    /// Samples that wait to be read, up to [`RING_SAMPLES`].
    pub fn queued(&self) -> usize {
        let waiting = self.ring.slots() as u64 * u64::from(SAMPLE_RATE) / u64::from(self.rate);
        RING_SAMPLES.min(usize::try_from(waiting).unwrap_or(RING_SAMPLES) + self.pending.len())
    }

    /// Samples that were thrown away because nobody read for longer than the ring holds.
    pub fn missed(&self) -> u64 {
        self.health.missed()
    }
}
