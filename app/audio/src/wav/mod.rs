//! Sound files: any WAV in, as 48 kHz mono; 48 kHz mono WAV out.

mod sink;

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hound::{SampleFormat, WavReader, WavSpec};
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler};

pub use self::sink::{MAX_SINK_HOURS, WavSink};
use crate::{FrameLength, Result, SAMPLE_RATE, error::WavError};

/// Longest piece that is loaded: 58 MB of samples.
pub const MAX_SPEECH: Duration = Duration::from_mins(10);
/// Most channels that are mixed down.
pub const MAX_CHANNELS: u16 = 32;
/// Sample rates that are taken, Hz.
pub const SAMPLE_RATES: std::ops::RangeInclusive<u32> = 4_000..=384_000;

/// A piece of recorded sound in memory: 48 kHz, mono. Cloning is cheap.
#[derive(Clone)]
pub struct Speech {
    samples: Arc<[i16]>,
}

impl Speech {
    /// Loads a WAV file of any common kind: 8 to 32 bit integers or 32 bit floats, any number of channels up to
    /// [`MAX_CHANNELS`] (mixed down), any of [`SAMPLE_RATES`] (resampled).
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|source| WavError::Open { path: path.to_owned(), source })?;
        Self::from_reader(BufReader::new(file))
    }

    /// The same from anything that can be read, such as a file's bytes in memory.
    pub fn from_reader(reader: impl Read) -> Result<Self> {
        let wav = WavReader::new(reader).map_err(WavError::from)?;
        let spec = wav.spec();
        check(spec, wav.duration())?;
        let mono = mix_down(wav)?;
        if mono.is_empty() {
            return Err(WavError::Empty.into());
        }
        let sound = if spec.sample_rate == SAMPLE_RATE { mono } else { resample(&mono, spec.sample_rate)? };
        Ok(Self { samples: sound.into_iter().map(to_i16).collect() })
    }

    /// Sound that is already 48 kHz mono.
    pub fn from_samples(samples: impl Into<Arc<[i16]>>) -> Result<Self> {
        let samples = samples.into();
        let most = usize::try_from(MAX_SPEECH.as_secs() * u64::from(SAMPLE_RATE)).unwrap_or(usize::MAX);
        match samples.len() {
            0 => Err(WavError::Empty.into()),
            len if len > most => Err(too_long().into()),
            _ => Ok(Self { samples }),
        }
    }

    /// The samples.
    pub fn samples(&self) -> &[i16] {
        &self.samples
    }

    /// How long it lasts.
    pub fn duration(&self) -> Duration {
        Duration::from_secs(self.samples.len() as u64) / SAMPLE_RATE
    }

    /// Cuts it into frames, from its start.
    pub fn frames(&self, frame: FrameLength, at_end: AtEnd) -> SpeechFrames {
        SpeechFrames { samples: Arc::clone(&self.samples), frame, at_end, position: 0 }
    }
}

/// What follows the last sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtEnd {
    /// Nothing; the last frame is filled up with silence.
    Stop,
    /// The first sample, for ever.
    Loop,
}

/// Frames of a [`Speech`], one after the other.
#[derive(Clone)]
pub struct SpeechFrames {
    samples: Arc<[i16]>,
    frame: FrameLength,
    at_end: AtEnd,
    position: usize,
}

impl SpeechFrames {
    /// Writes the next frame into `pcm`, of any length, without allocating. False, with silence in `pcm`, when there
    /// is none left.
    pub fn next_into(&mut self, pcm: &mut [i16]) -> bool {
        let mut filled = 0;
        while filled < pcm.len() {
            if self.position == self.samples.len() {
                match self.at_end {
                    AtEnd::Loop => self.position = 0,
                    AtEnd::Stop => break,
                }
            }
            let take = (pcm.len() - filled).min(self.samples.len() - self.position);
            pcm[filled..filled + take].copy_from_slice(&self.samples[self.position..self.position + take]);
            self.position += take;
            filled += take;
        }
        pcm[filled..].fill(0);
        filled > 0
    }
}

impl Iterator for SpeechFrames {
    type Item = Vec<i16>;

    fn next(&mut self) -> Option<Vec<i16>> {
        let mut pcm = vec![0; self.frame.samples()];
        self.next_into(&mut pcm).then_some(pcm)
    }
}

fn check(spec: WavSpec, frames: u32) -> Result<()> {
    let unsupported = |what| Err(WavError::Unsupported { what }.into());
    if !SAMPLE_RATES.contains(&spec.sample_rate) {
        return unsupported(format!("a sample rate of {} Hz", spec.sample_rate));
    }
    if spec.channels == 0 || spec.channels > MAX_CHANNELS {
        return unsupported(format!("{} channels", spec.channels));
    }
    match (spec.sample_format, spec.bits_per_sample) {
        (SampleFormat::Int, 1..=32) | (SampleFormat::Float, 32) => {}
        (format, bits) => return unsupported(format!("samples of {bits} bit {format:?}")),
    }
    if u64::from(frames) > MAX_SPEECH.as_secs() * u64::from(spec.sample_rate) { Err(too_long().into()) } else { Ok(()) }
}

fn too_long() -> WavError {
    WavError::TooLong { max_seconds: MAX_SPEECH.as_secs() }
}

/// All channels to one, as their mean; samples to the range -1 to 1.
fn mix_down(mut wav: WavReader<impl Read>) -> std::result::Result<Vec<f32>, WavError> {
    let spec = wav.spec();
    match spec.sample_format {
        SampleFormat::Float => mean(wav.samples::<f32>(), spec.channels, 1.0),
        SampleFormat::Int => {
            let full_scale = f32::exp2(f32::from(spec.bits_per_sample) - 1.0);
            #[expect(clippy::cast_precision_loss, reason = "24 bits of a sample are enough")]
            let samples = wav.samples::<i32>().map(|sample| sample.map(|sample| sample as f32));
            mean(samples, spec.channels, full_scale)
        }
    }
}

fn mean(
    samples: impl Iterator<Item = hound::Result<f32>>,
    channels: u16,
    full_scale: f32,
) -> std::result::Result<Vec<f32>, WavError> {
    let scale = 1.0 / (full_scale * f32::from(channels));
    let mut mono = Vec::new();
    let (mut sum, mut summed) = (0.0, 0);
    for sample in samples {
        sum += sample?;
        summed += 1;
        if summed == channels {
            // A float file can hold anything; what is not a number is silence.
            mono.push(if sum.is_finite() { sum * scale } else { 0.0 });
            (sum, summed) = (0.0, 0);
        }
    }
    Ok(mono)
}

fn resample(mono: &[f32], rate: u32) -> std::result::Result<Vec<f32>, WavError> {
    /// Input frames a step; sets the filter's sharpness, not the sound's length.
    const CHUNK: usize = 1_024;
    let failed = |reason: String| WavError::Resample { rate, reason };
    let mut resampler = Fft::<f32>::new(rate as usize, SAMPLE_RATE as usize, CHUNK, 1, FixedSync::Input)
        .map_err(|error| failed(error.to_string()))?;
    let input = InterleavedSlice::new(mono, 1, mono.len()).map_err(|error| failed(error.to_string()))?;
    let output = resampler.process_all(&input, mono.len(), None).map_err(|error| failed(error.to_string()))?;
    Ok(output.take_data())
}

fn to_i16(sample: f32) -> i16 {
    #[expect(clippy::cast_possible_truncation, reason = "clamped to the range of i16")]
    let sample = (sample * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16;
    sample
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "sines are made in f64")]
mod tests;
