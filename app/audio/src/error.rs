//! What can go wrong with voice, by whose fault it is, in words for the person who must act on it.

use std::path::PathBuf;

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that this crate reports.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting outside its range: the caller's, or the person's choice on the command line.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The codec refused. Most often a damaged packet from the peer.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A sound file could not be read or written.
    #[error(transparent)]
    Wav(#[from] WavError),
    /// A loudspeaker or microphone could not be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A replay needs a packet that the caller did not hand over.
    #[error("the replay needs packet {seq}, which is not among the packets given")]
    MissingPacket {
        /// The packet's number.
        seq: u32,
    },
}

/// A setting outside its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// Opus has no such frame length, or this crate does not offer it.
    #[error("a voice frame of {millis} ms is not possible; choose 10, 20, 40 or 60")]
    FrameLength {
        /// What was asked for, milliseconds.
        millis: u32,
    },
    /// Bit rate out of range.
    #[error("a voice bit rate of {bit_rate} bit/s is not possible; choose {min} to {max}")]
    BitRate {
        /// What was asked for, bits per second.
        bit_rate: u32,
        /// Lowest possible.
        min: u32,
        /// Highest possible.
        max: u32,
    },
    /// Loss hint out of range.
    #[error("an expected loss of {percent} % is not possible; choose 0 to {max}")]
    ExpectedLoss {
        /// What was asked for, percent.
        percent: u8,
        /// Highest possible.
        max: u8,
    },
    /// Encoder complexity out of range.
    #[error("an encoder complexity of {complexity} is not possible; choose 0 (fast) to 10 (best)")]
    Complexity {
        /// What was asked for.
        complexity: u8,
    },
    /// Jitter buffer delays that contradict each other or the limits.
    #[error("jitter buffer: {reason}")]
    Jitter {
        /// What is wrong with them.
        reason: &'static str,
    },
}

/// The codec refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// libopus said no.
    #[error("Opus could not {action}: {reason}")]
    Opus {
        /// What was tried.
        action: &'static str,
        /// libopus' own description of the cause.
        reason: &'static str,
    },
    /// A buffer of the caller has the wrong size.
    #[error("{what} must hold {expected} {unit}, this one holds {actual}")]
    BufferSize {
        /// Which buffer.
        what: &'static str,
        /// The size it must have.
        expected: usize,
        /// The size it has.
        actual: usize,
        /// Unit of both sizes.
        unit: &'static str,
    },
    /// The encoder gave another size than the settings promise. The packet must not be sent: its size would tell
    /// something of what was said.
    #[error("Opus made a packet of {actual} bytes where every packet must have {expected}; it must not be sent")]
    PacketSize {
        /// Promised bytes.
        expected: usize,
        /// Bytes made.
        actual: usize,
    },
    /// The packet holds another length of sound than the call agreed on.
    #[error("a voice packet holds {actual} samples of sound where the call agreed on {expected}")]
    PacketDuration {
        /// Agreed samples at 48 kHz.
        expected: usize,
        /// Samples in the packet.
        actual: usize,
    },
    /// Not an Opus packet.
    #[error("a voice packet of {len} bytes is not Opus")]
    NotOpus {
        /// Its length in bytes.
        len: usize,
    },
}

impl CodecError {
    pub(crate) fn opus(action: &'static str, error: &opus::Error) -> Self {
        Self::Opus { action, reason: error.description() }
    }
}

/// A sound file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WavError {
    /// The file cannot be opened or created.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Reading or writing stopped part way.
    #[error("the sound file cannot be read or written to its end: {0}")]
    Io(#[from] std::io::Error),
    /// Not a WAV file, or a damaged one.
    #[error("this is not a WAV file that can be read ({reason}); convert it to WAV with 16 bit samples")]
    Format {
        /// What the reader found.
        reason: String,
    },
    /// A WAV file of a kind that is not supported.
    #[error("this WAV file has {what}, which is not supported; convert it to 48 kHz, mono, 16 bit")]
    Unsupported {
        /// What is special about it.
        what: String,
    },
    /// No sound in it.
    #[error("the WAV file holds no sound")]
    Empty,
    /// Longer than this crate loads.
    #[error("the WAV file is longer than {max_seconds} s; cut it to a shorter piece")]
    TooLong {
        /// The limit.
        max_seconds: u64,
    },
    /// A WAV file cannot grow further: its header counts bytes in 32 bits.
    #[error("the sound file is full after {max_hours} hours; the call goes on without being written")]
    Full {
        /// The limit.
        max_hours: u64,
    },
    /// The resampler failed.
    #[error("the sound cannot be brought from {rate} Hz to 48000 Hz: {reason}")]
    Resample {
        /// Rate of the file.
        rate: u32,
        /// The resampler's reason.
        reason: String,
    },
}

impl From<hound::Error> for WavError {
    fn from(error: hound::Error) -> Self {
        match error {
            hound::Error::IoError(source) => Self::Io(source),
            other => Self::Format { reason: other.to_string() },
        }
    }
}

/// A loudspeaker or microphone could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// No sound system answers on this machine.
    #[error("this machine has no sound system that answers ({reason}); calls can still use sound files")]
    NoSoundSystem {
        /// Why, in the sound system's words.
        reason: String,
    },
    /// A sound system, but no such device.
    #[error("there is no {kind} {}", name.as_ref().map_or("on this machine".to_owned(), |name| format!("named {name:?}")))]
    NotFound {
        /// "loudspeaker" or "microphone".
        kind: &'static str,
        /// The name asked for; none for the default device.
        name: Option<String>,
    },
    /// The device does not take 48 kHz in a sample format that we speak.
    #[error("{name:?} does not take sound at 48 kHz: {reason}")]
    Unsuitable {
        /// The device.
        name: String,
        /// Why not.
        reason: String,
    },
    /// The device could not be opened or started, or stopped working.
    #[error("{name:?} does not work: {reason}")]
    Failed {
        /// The device.
        name: String,
        /// Why, in the sound system's words.
        reason: String,
    },
}
