//! Lists `PulseAudio`'s devices within a bounded time, and records from one of them that nothing can take its place.
//!
//! It plays nothing: loudspeakers are opened through cpal. So is a microphone of any other sound system; but cpal
//! cannot ask `PulseAudio` that a stream must not be moved, and a server moves the streams of an unplugged microphone
//! to another source, perhaps to what a loudspeaker plays. With this flag the server ends the stream instead.

use std::ffi::CString;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::Thread;
use std::time::{Duration, Instant};

use cpal::{DeviceId, HostId};
use pulseaudio::protocol::{RecordStreamParams, SampleFormat, SampleSpec, stream};
use pulseaudio::{Client, ClientError, RecordStream};

use super::mixdown::{MAX_DEVICE_CHANNELS, Mixdown};
use super::stream::{Health, Input, period, ring};
use super::{DeviceInfo, DeviceKind, Listed, Listing};
use crate::{Result, error::DeviceError};

/// How long a server may take to answer.
const ANSWER: Duration = Duration::from_secs(1);
/// Sound that waits in the server at most for us, ms, before the oldest is lost.
const SERVER_BUFFER_MILLIS: u32 = 200;
/// Bytes of a sample as we ask for it, and in which any other fits without loss.
const SAMPLE_LEN: usize = 4;

/// A connection to the server.
pub(super) struct Server {
    client: Client,
}

impl Server {
    /// Connects. May block for longer than [`ANSWER`] where a server takes connections and says nothing.
    pub(super) fn connect() -> Result<Self> {
        let client = Client::from_env(c"vernam").map_err(|error| silent(&error))?;
        Ok(Self { client })
    }

    /// All devices, as they are now.
    pub(super) fn list(&self) -> Result<Listing> {
        let defaults = answer(self.client.server_info())?;
        let sources = answer(self.client.list_sources())?;
        let sinks = answer(self.client.list_sinks())?;
        let of = |name: &CString, description: Option<&CString>, default: Option<&CString>, spec: &SampleSpec| {
            let text = |name: &CString| name.to_string_lossy().into_owned();
            DeviceInfo {
                id: DeviceId::new(HostId::PulseAudio, name.to_string_lossy()).to_string(),
                name: text(description.unwrap_or(name)),
                kind: DeviceKind::Speaker,
                is_default: default == Some(name),
                is_monitor: false,
                rate: spec.sample_rate,
                channels: u16::from(spec.channels),
            }
        };
        let microphones = sources.iter().map(|source| {
            let default = defaults.default_source_name.as_ref();
            let info = of(&source.name, source.description.as_ref(), default, &source.sample_spec);
            let is_monitor = source.monitor_of_sink_index.is_some() || info.id.ends_with(".monitor");
            Listed { info: DeviceInfo { kind: DeviceKind::Microphone, is_monitor, ..info }, index: Some(source.index) }
        });
        let speakers = sinks.iter().map(|sink| {
            let default = defaults.default_sink_name.as_ref();
            let info = of(&sink.name, sink.description.as_ref(), default, &sink.sample_spec);
            Listed { info, index: Some(sink.index) }
        });
        Ok(Listing { microphones: microphones.collect(), speakers: speakers.collect() })
    }

    /// Records from this source, at its own rate and with all its channels.
    pub(super) fn record(&self, device: &Listed, health: Arc<Health>) -> Result<Input> {
        let name = &device.info.name;
        let failed = |error: &ClientError| DeviceError::Failed { name: name.clone(), reason: error.to_string() };
        let index = device.index.ok_or(DeviceError::NotFound { kind: "microphone", name: None })?;
        let source = wait(self.client.source_info(index)).ok_or_else(no_answer)?.map_err(|error| failed(&error))?;
        let rate = source.sample_spec.sample_rate;
        let channels = u16::from(source.sample_spec.channels);
        if !(1..=MAX_DEVICE_CHANNELS).contains(&channels) {
            let reason = format!("it has {channels} channels");
            return Err(DeviceError::Unsuitable { name: name.clone(), reason }.into());
        }
        let frame_len = SAMPLE_LEN * usize::from(channels);
        let bytes = |samples: u32| samples * u32::from(channels) * 4;
        let params = RecordStreamParams {
            sample_spec: SampleSpec { format: SampleFormat::Float32Le, ..source.sample_spec },
            channel_map: source.channel_map,
            source_index: Some(index),
            buffer_attr: stream::BufferAttr {
                max_length: bytes(rate / 1_000 * SERVER_BUFFER_MILLIS),
                fragment_size: bytes(period(rate)),
                ..stream::BufferAttr::default()
            },
            flags: stream::StreamFlags { no_move: true, adjust_latency: true, ..stream::StreamFlags::default() },
            ..RecordStreamParams::default()
        };
        let (mut sink, ring) = ring(rate);
        let mut mixdown = Mixdown::new(channels, rate);
        let counts = Arc::clone(&health);
        // Runs in the audio thread: no lock, no allocation, no log.
        let record = move |sound: &[u8]| {
            let mut missed = 0;
            for frame in sound.chunks_exact(frame_len) {
                let samples = frame.as_chunks::<SAMPLE_LEN>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
                missed += u64::from(sink.push(mixdown.mix(samples)).is_err());
            }
            counts.moved(missed);
        };
        let stream: RecordStream = wait(self.client.create_record_stream(params, record))
            .ok_or_else(no_answer)?
            .map_err(|error| failed(&error))?;
        if stream.sink() != index {
            // A filter of the server's may have put it elsewhere.
            return Err(DeviceError::Failed {
                name: name.clone(),
                reason: "another source came in its place".to_owned(),
            }
            .into());
        }
        Ok(Input { ring, rate, health, keep: Box::new(stream) })
    }
}

fn silent(error: &ClientError) -> DeviceError {
    DeviceError::NoSoundSystem { reason: error.to_string() }
}

fn no_answer() -> DeviceError {
    DeviceError::NoSoundSystem { reason: "it does not answer".to_owned() }
}

fn answer<T>(question: impl Future<Output = std::result::Result<T, ClientError>>) -> Result<T> {
    Ok(wait(question).ok_or_else(no_answer)?.map_err(|error| silent(&error))?)
}

/// Waits for an answer, but no longer than [`ANSWER`].
fn wait<T>(future: impl Future<Output = T>) -> Option<T> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    let end = Instant::now() + ANSWER;
    loop {
        if let Poll::Ready(answer) = future.as_mut().poll(&mut context) {
            return Some(answer);
        }
        let left = end.checked_duration_since(Instant::now())?;
        std::thread::park_timeout(left);
    }
}
