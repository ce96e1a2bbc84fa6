//! How long each act lasts, and how much key must be there for it.

use std::time::Duration;

use anyhow::Context as _;
use vernam_audio::{CodecSettings, FrameLength};
use vernam_session::{Suite as Wire, voice_pad_len};

use crate::cli::{DemoOptions, Eve, FileChoice};
use crate::demo::events::Suite;

/// The demo's frames.
pub(super) const FRAME: FrameLength = FrameLength::Ms20;
/// Connectors and one switch on the way, dB (`switch 1-3 dB, connector .3 dB`: this project's modelling choice).
pub(super) const EXTRA_LOSS_DB: f64 = 1.0;
/// Setting up and summing up, together.
const AROUND: Duration = Duration::from_secs(9);
/// Talk that the stock should hold when the last act begins, at least and at most.
const FINALE_TALK: [Duration; 2] = [Duration::from_secs(4), Duration::from_secs(9)];
/// Of the last act's length, what is not that talk: key in hand, keys that come whole, and the time until the link is
/// tapped.
const AROUND_FINALE: Duration = Duration::from_secs(11);
/// Pad that texts are given, each way.
const TEXT_PAD: u64 = 2 * 1_024;
/// What the handshake takes from the KME, bytes.
const HANDSHAKE: u64 = 8 * 1_024;
/// Bytes of one block of the control stream's pad.
const CONTROL_BLOCK: u64 = 8 * 1_024;

/// How long the calls last.
pub(super) struct Lengths {
    first: Duration,
    other: Duration,
    finale: Duration,
}

impl Lengths {
    /// The run's length, shared out: the first call gets most, since a file and messages go with it.
    pub(super) fn of(options: &DemoOptions) -> Self {
        let left = options.duration.saturating_sub(AROUND).max(Duration::from_secs(8));
        let calls = u32::try_from(options.suites.len()).unwrap_or(u32::MAX - 1);
        let finale = if options.eve == Eve::NearTheEnd { left.mul_f64(0.32) } else { Duration::ZERO };
        let talk = left.saturating_sub(finale);
        // With three calls: one half, one quarter, one quarter.
        let first = if calls == 1 { talk } else { talk * 2 / (calls + 1) };
        Self { first, other: talk / (calls + 1), finale }
    }

    pub(super) fn of_call(&self, first: bool) -> Duration {
        if first { self.first } else { self.other }
    }
}

/// Key that must be there, in bytes, for Alice's and Bob's sending.
pub(super) struct Budget {
    /// What the link must have made before the first call.
    pub(super) made: [u64; 2],
    /// Up to where the clients fill their stocks before the first call.
    pub(super) marks: [u64; 2],
    /// At what level they keep them from then on.
    pub(super) finale: u64,
    /// Bytes of one-time pad that a second of talk costs.
    pub(super) pad_per_second: u64,
}

impl Budget {
    pub(super) fn of(options: &DemoOptions, lengths: &Lengths, file_bytes: u64) -> anyhow::Result<Self> {
        let packet = codec(options, Suite::Otp)?.packet_len();
        let per_second = usize::try_from(FRAME.frames_in(Duration::from_secs(1)))?;
        // A block of two seconds has one hash key.
        let pad = |time: Duration| {
            let blocks = time.as_secs() / 2 + 2;
            blocks * voice_pad_len(packet, 2 * per_second) as u64
        };
        let talk = if options.suites.contains(&Suite::Otp) { pad(lengths.first) } else { 0 };
        let finale = pad(lengths.finale.saturating_sub(AROUND_FINALE).clamp(FINALE_TALK[0], FINALE_TALK[1]));
        let file = if file_suite(options) == Suite::Otp { vernam_engine::file_pad_cost(file_bytes) } else { 0 };
        let sends = [talk + file + TEXT_PAD, talk + TEXT_PAD];
        let marks = sends.map(|bytes| bytes + CONTROL_BLOCK + finale);
        let made = marks.map(|mark| {
            // Each announced key of 8 KiB costs 20 bytes of control pad, and control pad comes in blocks, which are taken
            // out of the stock while it is being filled. Keys are taken whole: up to one more than the mark asks for.
            let control = (mark / 8_192 * 20 / CONTROL_BLOCK + 3) * CONTROL_BLOCK;
            mark + control + HANDSHAKE + 8_192
        });
        Ok(Self { made, marks, finale, pad_per_second: voice_pad_len(packet, per_second) as u64 })
    }
}

/// What protects the file: one-time pad where there is a one-time-pad call.
pub(super) fn file_suite(options: &DemoOptions) -> Suite {
    if options.suites.contains(&Suite::Otp) { Suite::Otp } else { options.suites[0] }
}

/// The codec of a call.
pub(super) fn codec(options: &DemoOptions, suite: Suite) -> anyhow::Result<CodecSettings> {
    let base = if suite == Suite::Otp { CodecSettings::one_time_pad() } else { CodecSettings::standard() };
    let codec = base.with_frame(FRAME);
    match options.bit_rate_bps {
        Some(rate) => codec.with_bit_rate(rate).context("the bit rate cannot be used"),
        None => Ok(codec),
    }
}

/// The suite as the session names it.
pub(super) fn wire_suite(suite: Suite) -> Wire {
    match suite {
        Suite::Otp => Wire::Otp,
        Suite::Aes256Gcm => Wire::Aes256Gcm,
        Suite::ChaCha20Poly1305 => Wire::ChaCha20Poly1305,
    }
}

/// Bytes of the file to send.
pub(super) fn file_size(options: &DemoOptions) -> anyhow::Result<u64> {
    match &options.file {
        FileChoice::Path(path) => {
            Ok(std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len())
        }
        FileChoice::MadeUp { bytes } => Ok(*bytes),
    }
}
