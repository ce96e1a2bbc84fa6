//! Turns sound into voice packets of one size and back: Opus, a jitter buffer, WAV files, loudspeaker and microphone.
//!
//! It does not encrypt, does not touch the network and does not read the clock: packets come and go as plain bytes,
//! and the time is an argument (but for devices, which keep their own).
//!
//! ```text
//!  Speech (WAV) ─┐                          ┌─► JitterBuffer ─► VoiceDecoder ─┐    ┌─► WavSink (WAV)
//!                ├─► VoiceEncoder ─ packets ─┤        └── PlayoutDecoder ──┘   ├────┤
//!  Microphone ───┘                          └─► (what was decided: PlayoutLog)─┘    └─► Speaker
//! ```
//!
//! Everywhere sound is 48 kHz, mono, `i16`; a frame is [`FrameLength::samples`] of it. The call pulls one frame out
//! of [`PlayoutDecoder`] each frame's time, whatever came in; how long sound is held back follows the network, and the
//! sound is stretched a little where that changes.
//!
//! ```
//! use std::time::Duration;
//! use vernam_audio::{CodecSettings, JitterSettings, PlayoutDecoder, VoiceEncoder};
//!
//! # fn main() -> vernam_audio::Result<()> {
//! let settings = CodecSettings::standard();
//! let frame = settings.frame();
//! let mut encoder = VoiceEncoder::new(settings)?;
//! let mut playout = PlayoutDecoder::new(JitterSettings::standard(frame))?;
//!
//! let sound = vec![0; frame.samples()];
//! let mut packet = vec![0; settings.packet_len()];
//! let mut heard = vec![0; frame.samples()];
//! for seq in 0..10 {
//!     let now = frame.duration() * seq;
//!     encoder.encode(&sound, &mut packet)?;
//!     playout.push(seq, &packet, now);
//!     playout.pull(now, &mut heard)?;
//! }
//! assert_eq!(playout.stats().jitter.played, 8); // two frames are held back until the network is known
//! # Ok(())
//! # }
//! ```

pub mod codec;
pub mod device;
pub mod error;
pub mod jitter;
pub mod playout;
pub mod process;
pub mod recording;
mod stretch;
pub mod tone;
pub mod wav;

pub use codec::{CodecSettings, FrameLength, Profile, VoiceDecoder, VoiceEncoder};
pub use error::{CodecError, DeviceError, Error, RecordingError, Result, SettingsError, WavError};
pub use jitter::{JitterBuffer, JitterSettings, JitterStats, Playout, Pushed};
pub use playout::{Decision, PlayoutDecoder, PlayoutLog, PlayoutStats, replay};
pub use wav::{AtEnd, Speech, SpeechFrames, WavSink};

/// Samples per second of all sound in this crate: the rate that Opus works at.
pub const SAMPLE_RATE: u32 = 48_000;
