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
    /// A recording could not be written or read.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// A replay needs a packet that the caller did not hand over.
    #[error("the replay needs packet {seq}, which is not among the packets given")]
    MissingPacket {
        /// The packet's number.
        seq: u32,
    },
    /// A replay's log holds a decision that its packets do not bear out.
    #[error(
        "the replay's decision {index} does not fit the ones before it and its packets; the log is not of this call"
    )]
    WrongLog {
        /// The decision's place in the log, from 0 on.
        index: usize,
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
    /// Deep redundancy that reaches too far.
    #[error("deep redundancy of {millis} ms is not possible; choose 0 to {max}")]
    Dred {
        /// What was asked for, milliseconds.
        millis: u128,
        /// Highest possible, milliseconds.
        max: u128,
    },
    /// No profile has this name.
    #[error("there is no voice profile {name:?}; choose standard, low-delay, hard-network or one-time-pad")]
    Profile {
        /// What was asked for.
        name: String,
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
        /// What libopus' error code means.
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
    /// Longer than any packet of a call.
    #[error("a voice packet of {len} bytes is longer than any of a call ({max} bytes)")]
    PacketTooLong {
        /// Its length in bytes.
        len: usize,
        /// The limit.
        max: usize,
    },
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
    /// The device takes or gives sound in no way that we speak.
    #[error("{name:?} cannot be used: {reason}")]
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

/// A recording could not be written or read. No text of these holds the passphrase.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// Too short or too long a passphrase.
    #[error("a passphrase must have {min} to {max} bytes: several words are best")]
    Passphrase {
        /// Fewest.
        min: usize,
        /// Most.
        max: usize,
    },
    /// The passphrase could not be made into a key.
    #[error("the passphrase cannot be stretched to a key ({reason}); it takes 64 MiB of memory")]
    Stretch {
        /// Why not.
        reason: String,
    },
    /// The operating system gave no random bytes.
    #[error("the operating system gives no random bytes, so nothing can be encrypted; the call is not recorded")]
    NoRandomness,
    /// Something of that name is there.
    #[error("{} is there already and is not overwritten; choose another name", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be created.
    #[error("cannot create {}: {source}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file cannot be opened.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Writing stopped part way.
    #[error("the recording cannot be written any further: {source}; what was written before can be exported")]
    Write {
        /// The system's reason.
        source: std::io::Error,
    },
    /// Reading stopped part way.
    #[error("the recording cannot be read to its end: {source}")]
    Read {
        /// The system's reason.
        source: std::io::Error,
    },
    /// It has its greatest length.
    #[error("the recording is full after {max_hours} hours; all until then is in it, the call goes on unrecorded")]
    Full {
        /// The limit.
        max_hours: u32,
    },
    /// The thread that writes is gone, by a fault of ours.
    #[error("the recording stopped by a fault of this program; what was written before can be exported")]
    Stopped,
    /// Another kind of file.
    #[error("this file is not a recording of this program")]
    NotARecording,
    /// A recording that this version does not know.
    #[error("this recording has version {found} of the format; a newer release of this program can read it")]
    Version {
        /// The version.
        found: u8,
    },
    /// The head of the file does not open.
    #[error("the passphrase does not open this recording; check it (or the file's first bytes are damaged)")]
    WrongPassphrase,
}

impl RecordingError {
    pub(crate) fn writing(source: std::io::Error) -> Self {
        Self::Write { source }
    }

    pub(crate) fn reading(source: std::io::Error) -> Self {
        Self::Read { source }
    }
}
