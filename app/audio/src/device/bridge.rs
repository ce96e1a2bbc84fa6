//! Carries sound between a device's ring and the call: resamples, follows the device's clock, and hides the seams.
//!
//! It opens no device and never waits. Where a ring runs dry the last sample fades out within some milliseconds, and
//! what comes after it fades in: a gap, but no click.

use std::time::Duration;

use rtrb::{Consumer, Producer};
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{
    Adjustable, Async, FixedAsync, Resampler, SincInterpolationParameters, SincInterpolationType, WindowFunction,
};

use super::drift::{DriftController, MOST_SPEED};
use crate::{Result, SAMPLE_RATE, error::DeviceError};

/// Samples at 48 kHz that are resampled at a time: the shortest frame, 10 ms. All frames are whole multiples.
pub(super) const CHUNK: usize = SAMPLE_RATE as usize / 100;
/// Length of the resampling filter, samples of the slower side. Half of it is delay: 0.7 ms at 48 kHz.
const FILTER: usize = 64;
/// Samples over which sound fades in after a gap: 5 ms.
const FADE_IN: f32 = 240.0;
/// Samples that a resampler still holds of what was before a gap.
const HOLD: f32 = 64.0;
/// What is left of the last sample of a broken-off sound after each further one: gone within 4 ms.
const DECAY: f32 = 0.97;

/// Below this all sound is silence for our purpose: 50 dB below full scale, the noise of a quiet room.
const SILENT: u16 = 100;

fn resampler(from: u32, to: u32, fixed: FixedAsync) -> Result<Async<f32>> {
    let filter = FILTER * usize::try_from(from.div_ceil(to.min(from))).unwrap_or(1);
    let mut parameters = SincInterpolationParameters::new(filter, WindowFunction::BlackmanHarris2);
    parameters.interpolation = SincInterpolationType::Cubic;
    let ratio = f64::from(to) / f64::from(from);
    Async::new_sinc(ratio, 1.0 + 2.0 * MOST_SPEED, &parameters, CHUNK, 1, fixed).map_err(|error| {
        DeviceError::Unsuitable { name: "resampler".to_owned(), reason: format!("{from} to {to} Hz: {error}") }.into()
    })
}

/// Runs one chunk through; how many samples came out.
fn convert(resampler: &mut Async<f32>, speed: f64, input: &[f32], output: &mut [f32]) -> usize {
    let (taken, given) = (input.len(), output.len());
    // The lengths are the resampler's own; what it cannot do all the same is silence.
    let Ok(input) = InterleavedSlice::new(input, 1, taken) else { return 0 };
    let Ok(mut output) = InterleavedSlice::new_mut(output, 1, given) else { return 0 };
    // Within the range it was made for, see `resampler`; the ramp keeps the wave without a kink.
    let _ = resampler.set_resample_ratio_relative(speed, true);
    resampler.process_into_buffer(&input, &mut output, None).map_or(0, |(_, made)| made)
}

/// Resamples without following a clock, chunk by chunk.
pub(super) struct Fixed {
    resampler: Async<f32>,
    input: Vec<f32>,
    output: Vec<f32>,
}

impl Fixed {
    /// From one rate to another, Hz.
    pub(super) fn new(from: u32, to: u32) -> Result<Self> {
        let resampler = resampler(from, to, FixedAsync::Input)?;
        Ok(Self { input: vec![0.0; CHUNK], output: vec![0.0; resampler.output_frames_max()], resampler })
    }

    /// Samples that go in at a time.
    pub(super) fn chunk(&self) -> usize {
        self.input.len()
    }

    /// Takes [`Self::chunk`] samples, or fewer and silence.
    pub(super) fn run(&mut self, mut sound: impl Iterator<Item = f32>) -> &[f32] {
        for place in &mut self.input {
            *place = sound.next().unwrap_or(0.0);
        }
        let made = convert(&mut self.resampler, 1.0, &self.input, &mut self.output);
        &self.output[..made]
    }
}

/// Takes the edges off where sound breaks off and begins again.
#[derive(Debug, Default)]
pub(super) struct Seam {
    last: f32,
    /// What is left of the sound that broke off.
    tail: f32,
    /// 1 once faded in. Below nothing while the resampler still holds what was before the seam.
    gain: f32,
}

impl Seam {
    /// The next sample does not follow the last one.
    pub(super) fn cut(&mut self) {
        self.tail = self.last;
        self.gain = -HOLD / FADE_IN;
    }

    /// A sample that is there.
    pub(super) fn sound(&mut self, sample: f32) -> f32 {
        self.gain = (self.gain + 1.0 / FADE_IN).min(1.0);
        self.fade(sample)
    }

    /// In the place of a sample that is not there.
    pub(super) fn gap(&mut self) -> f32 {
        if self.gain > -HOLD / FADE_IN {
            self.cut();
        }
        self.fade(0.0)
    }

    fn fade(&mut self, sample: f32) -> f32 {
        // Too quiet to hear, and such numbers are slow to multiply.
        self.tail = if self.tail.abs() < 1e-6 { 0.0 } else { self.tail * DECAY };
        self.last = sample * self.gain.max(0.0) + self.tail;
        self.last
    }
}

/// The call's end of a microphone's ring.
pub(super) struct Intake {
    ring: Consumer<f32>,
    resampler: Async<f32>,
    drift: DriftController,
    seam: Seam,
    device: Vec<f32>,
    voice: Vec<f32>,
    /// Whether sound flows; before, the ring fills up to the aim.
    flowing: bool,
    /// What was in the ring a frame ago, while no sound flows.
    before: usize,
    gaps: u64,
}

impl Intake {
    /// For a ring that a device fills at this rate, Hz.
    pub(super) fn new(ring: Consumer<f32>, rate: u32) -> Result<Self> {
        let resampler = resampler(rate, SAMPLE_RATE, FixedAsync::Output)?;
        Ok(Self {
            ring,
            drift: DriftController::new(rate),
            seam: Seam::default(),
            device: vec![0.0; resampler.input_frames_max()],
            voice: vec![0.0; resampler.output_frames_max()],
            resampler,
            flowing: false,
            before: 0,
            gaps: 0,
        })
    }

    /// Fills a frame. With `muted` the sound is thrown away and silence given.
    pub(super) fn fill(&mut self, pcm: &mut [i16], muted: bool) {
        if !self.flowing {
            self.begin(pcm.len());
        }
        for part in pcm.chunks_mut(CHUNK) {
            let made = if self.flowing { self.chunk() } else { 0 };
            for (index, place) in part.iter_mut().enumerate() {
                let there = index < made && !muted;
                *place = to_i16(if there { self.seam.sound(self.voice[index]) } else { self.seam.gap() });
            }
        }
        if self.flowing {
            let mut surplus = self.drift.observe(self.ring.slots(), pcm.len());
            if is_silent(pcm) {
                surplus += self.drift.in_silence();
            }
            self.skip(surplus);
        }
    }

    /// Lets sound flow once there is enough. What is more is too old: but a device that delivers much at a time has
    /// just delivered it, and will not again for long.
    fn begin(&mut self, samples: usize) {
        let there = self.ring.slots();
        let delivered = there.saturating_sub(std::mem::replace(&mut self.before, there));
        let needed = self.resampler.input_frames_next() * samples.div_ceil(CHUNK);
        let wanted = needed + self.drift.aim() + delivered.saturating_sub(needed);
        if there >= needed + self.drift.aim() {
            self.skip(there.saturating_sub(wanted));
            self.flowing = true;
        } else {
            self.drift.wait(samples);
        }
    }

    /// Times that the ring ran dry.
    pub(super) fn gaps(&self) -> u64 {
        self.gaps
    }

    /// Sound of the device that waits at the lowest point of a frame.
    pub(super) fn waits(&self) -> Duration {
        self.drift.lowest()
    }

    /// Makes one chunk of voice; how many samples, none where the ring is too empty.
    fn chunk(&mut self) -> usize {
        let wanted = self.resampler.input_frames_next();
        if self.ring.slots() < wanted {
            self.flowing = false;
            self.before = self.ring.slots();
            self.gaps += 1;
            self.drift.ran_dry();
            return 0;
        }
        for (place, sample) in self.device[..wanted].iter_mut().zip(std::iter::from_fn(|| self.ring.pop().ok())) {
            *place = sample;
        }
        let speed = 1.0 / (1.0 + self.drift.speed());
        convert(&mut self.resampler, speed, &self.device[..wanted], &mut self.voice)
    }

    fn skip(&mut self, samples: usize) {
        if samples > 0
            && let Ok(chunk) = self.ring.read_chunk(samples.min(self.ring.slots()))
        {
            chunk.commit_all();
            self.seam.cut();
        }
    }
}

/// The call's end of a loudspeaker's ring.
pub(super) struct Outlet {
    ring: Producer<f32>,
    resampler: Async<f32>,
    drift: DriftController,
    seam: Seam,
    voice: Vec<f32>,
    device: Vec<f32>,
    /// Samples of the device that are left out before the next ones are given.
    surplus: usize,
    flowing: bool,
    gaps: u64,
}

impl Outlet {
    /// For a ring that a device empties at this rate, Hz.
    pub(super) fn new(ring: Producer<f32>, rate: u32) -> Result<Self> {
        let resampler = resampler(SAMPLE_RATE, rate, FixedAsync::Input)?;
        Ok(Self {
            ring,
            drift: DriftController::new(rate),
            seam: Seam::default(),
            voice: vec![0.0; CHUNK],
            device: vec![0.0; resampler.output_frames_max()],
            resampler,
            surplus: 0,
            flowing: false,
            gaps: 0,
        })
    }

    /// Gives a frame. What finds no room is lost: the device stands still.
    pub(super) fn give(&mut self, pcm: &[i16]) {
        let waiting = self.waiting();
        if !self.flowing || waiting == 0 {
            if self.flowing {
                self.gaps += 1;
                self.drift.ran_dry();
            }
            self.flowing = true;
            self.seam.cut();
            for _ in 0..self.drift.aim().saturating_sub(waiting) {
                let _ = self.ring.push(0.0);
            }
        } else {
            self.surplus += self.drift.observe(waiting, pcm.len());
            if is_silent(pcm) {
                self.surplus += self.drift.in_silence();
            }
        }
        for part in pcm.chunks(CHUNK) {
            self.voice.fill(0.0);
            for (place, sample) in self.voice.iter_mut().zip(part) {
                *place = f32::from(*sample) / 32_768.0;
            }
            let made = convert(&mut self.resampler, 1.0 - self.drift.speed(), &self.voice, &mut self.device);
            let left_out = self.surplus.min(made);
            self.surplus -= left_out;
            if left_out > 0 {
                self.seam.cut();
            }
            for sample in &self.device[left_out..made] {
                let _ = self.ring.push(self.seam.sound(*sample));
            }
        }
    }

    /// Times that the ring ran dry.
    pub(super) fn gaps(&self) -> u64 {
        self.gaps
    }

    /// Sound that waits for the device at the lowest point of a frame.
    pub(super) fn waits(&self) -> Duration {
        self.drift.lowest()
    }

    fn waiting(&self) -> usize {
        self.ring.buffer().capacity() - self.ring.slots()
    }
}

fn is_silent(pcm: &[i16]) -> bool {
    pcm.iter().all(|sample| sample.unsigned_abs() < SILENT)
}

pub(super) fn to_i16(sample: f32) -> i16 {
    #[expect(clippy::cast_possible_truncation, reason = "clamped to the range of i16")]
    let sample = (sample * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16;
    sample
}
