//! Opens streams through cpal: moves samples of any format between a device and a ring, and counts.
//!
//! The functions that cpal calls take no lock, allocate nothing and write no log. They take any number of samples at
//! a time, whatever was asked for.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Thread;
use std::time::Duration;

use cpal::traits::{DeviceTrait, StreamTrait};
use cpal::{Device, ErrorKind, FromSample, I24, SampleFormat, SizedSample, StreamConfig, U24};
use rtrb::{Consumer, Producer, RingBuffer};

use super::bridge::Seam;
use super::mixdown::Mixdown;
use crate::{Result, error::DeviceError};

/// How long a sound system may take to open a device.
pub(super) const OPEN_TIMEOUT: Duration = Duration::from_secs(3);
/// What a ring holds at most, ms: far more than waits in it, for devices that deliver by the tenth of a second.
const RING_MILLIS: u32 = 500;

/// Samples that a device of this rate is asked to take or give at a time: 5 ms.
///
/// Measured through null sinks, program to program: 120 samples at 48 kHz take 3 ms, 240 5.5 ms, 480 10.4 ms. The
/// shortest cost 20 % of a core for a call's two devices, and leave a loudspeaker's thread 2.5 ms to be late. Left to
/// itself, `PulseAudio` takes 2 s; and what is asked for is a wish, so no code relies on it.
pub(super) fn period(rate: u32) -> u32 {
    (rate / 200).max(1)
}

/// A ring for a device of this rate.
pub(super) fn ring(rate: u32) -> (Producer<f32>, Consumer<f32>) {
    RingBuffer::new(usize::try_from(u64::from(rate) * u64::from(RING_MILLIS) / 1_000).unwrap_or(1))
}

/// What the audio thread reports, without a lock.
#[derive(Default)]
pub(super) struct Health {
    /// Times that the device took or gave sound.
    turns: AtomicU64,
    /// Samples that were not there in time, or had no room.
    missed: AtomicU64,
    /// Why the device stopped, if it did. Set once, so nobody ever waits for it, and a storm of errors costs nothing.
    failed: OnceLock<ErrorKind>,
    /// Who is to be woken when it fails.
    watcher: Option<Thread>,
}

impl Health {
    /// Wakes this thread when the device stops.
    pub(super) fn watched_by(watcher: Thread) -> Self {
        Self { watcher: Some(watcher), ..Self::default() }
    }

    pub(super) fn moved(&self, missed: u64) {
        self.turns.fetch_add(1, Ordering::Relaxed);
        if missed > 0 {
            self.missed.fetch_add(missed, Ordering::Relaxed);
        }
    }

    /// Notes an error of a stream. One that `may_move` goes on where the sound system led it to another device.
    fn report(&self, kind: ErrorKind, may_move: bool) {
        let harmless = match kind {
            ErrorKind::Xrun | ErrorKind::RealtimeDenied => true,
            ErrorKind::DeviceChanged => may_move,
            _ => false,
        };
        // Still working; a gap in the sound shows in `missed`.
        if !harmless
            && self.failed.set(kind).is_ok()
            && let Some(watcher) = &self.watcher
        {
            watcher.unpark();
        }
    }

    pub(super) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    pub(super) fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// Why the device stopped, if it did.
    pub(super) fn failed(&self) -> Option<ErrorKind> {
        self.failed.get().copied()
    }

    pub(super) fn check(&self, name: &str) -> Result<()> {
        match self.failed() {
            None => Ok(()),
            Some(kind) => Err(DeviceError::Failed { name: name.to_owned(), reason: kind.to_string() }.into()),
        }
    }
}

/// An open microphone: one channel, at the device's own rate.
pub(super) struct Input {
    pub(super) ring: Consumer<f32>,
    pub(super) rate: u32,
    pub(super) health: Arc<Health>,
    /// Keeps the device open.
    pub(super) keep: Box<dyn Send>,
}

/// An open loudspeaker: one channel that goes to all of them, at the device's own rate.
pub(super) struct Output {
    pub(super) ring: Producer<f32>,
    pub(super) rate: u32,
    pub(super) health: Arc<Health>,
    /// Keeps the device open.
    pub(super) keep: Box<dyn Send>,
}

/// Calls `$build::<T>(…)` with the sample type of a format; formats that are not plain numbers are refused.
macro_rules! by_format {
    ($format:expr, $build:ident, $($argument:expr),*) => {
        match $format {
            SampleFormat::I8 => $build::<i8>($($argument),*),
            SampleFormat::I16 => $build::<i16>($($argument),*),
            SampleFormat::I24 => $build::<I24>($($argument),*),
            SampleFormat::I32 => $build::<i32>($($argument),*),
            SampleFormat::I64 => $build::<i64>($($argument),*),
            SampleFormat::U8 => $build::<u8>($($argument),*),
            SampleFormat::U16 => $build::<u16>($($argument),*),
            SampleFormat::U24 => $build::<U24>($($argument),*),
            SampleFormat::U32 => $build::<u32>($($argument),*),
            SampleFormat::U64 => $build::<u64>($($argument),*),
            SampleFormat::F32 => $build::<f32>($($argument),*),
            SampleFormat::F64 => $build::<f64>($($argument),*),
            _ => Err(ErrorKind::UnsupportedConfig.into()),
        }
    };
}

/// Opens a microphone and starts it.
pub(super) fn record(
    device: &Device,
    config: StreamConfig,
    format: SampleFormat,
    health: Arc<Health>,
) -> std::result::Result<Input, cpal::Error> {
    let (sink, ring) = ring(config.sample_rate);
    let stream = by_format!(format, build_input, device, config, sink, &health)?;
    stream.play()?;
    Ok(Input { ring, rate: config.sample_rate, health, keep: Box::new(stream) })
}

/// Opens a loudspeaker and starts it.
pub(super) fn play(
    device: &Device,
    config: StreamConfig,
    format: SampleFormat,
    health: Arc<Health>,
) -> std::result::Result<Output, cpal::Error> {
    let (ring, source) = ring(config.sample_rate);
    let stream = by_format!(format, build_output, device, config, source, &health)?;
    stream.play()?;
    Ok(Output { ring, rate: config.sample_rate, health, keep: Box::new(stream) })
}

fn build_input<T: SizedSample>(
    device: &Device,
    config: StreamConfig,
    mut sink: Producer<f32>,
    health: &Arc<Health>,
) -> std::result::Result<cpal::Stream, cpal::Error>
where
    f32: FromSample<T>,
{
    let mut mixdown = Mixdown::new(config.channels, config.sample_rate);
    let channels = usize::from(config.channels);
    let (counts, reports) = (Arc::clone(health), Arc::clone(health));
    let record = move |sound: &[T], _: &cpal::InputCallbackInfo| {
        let mut missed = 0;
        for frame in sound.chunks_exact(channels) {
            let mixed = mixdown.mix(frame.iter().map(|sample| f32::from_sample_(*sample)));
            missed += u64::from(sink.push(mixed).is_err());
        }
        counts.moved(missed);
    };
    device.build_input_stream(config, record, move |error| reports.report(error.kind(), false), Some(OPEN_TIMEOUT))
}

fn build_output<T: SizedSample + FromSample<f32>>(
    device: &Device,
    config: StreamConfig,
    mut source: Consumer<f32>,
    health: &Arc<Health>,
) -> std::result::Result<cpal::Stream, cpal::Error> {
    let channels = usize::from(config.channels);
    let (counts, reports) = (Arc::clone(health), Arc::clone(health));
    let mut started = false;
    let mut seam = Seam::default();
    let play = move |out: &mut [T], _: &cpal::OutputCallbackInfo| {
        let mut missed = 0;
        for frame in out.chunks_mut(channels) {
            let sample = if let Ok(sample) = source.pop() {
                started = true;
                seam.sound(sample)
            } else {
                missed += u64::from(started);
                seam.gap()
            };
            frame.fill(T::from_sample_(sample.clamp(-1.0, 1.0)));
        }
        counts.moved(missed);
    };
    device.build_output_stream(config, play, move |error| reports.report(error.kind(), true), Some(OPEN_TIMEOUT))
}
