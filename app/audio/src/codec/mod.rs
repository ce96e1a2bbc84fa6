//! Opus (RFC 6716): frames of sound to packets of one size, and back, with Opus' own repair of what got lost.
//!
//! It does not decide which repair a lost frame gets ([`playout`](crate::playout) does), and does not touch the clock
//! or the network.
//!
//! | part | what |
//! |---|---|
//! | [`CodecSettings`], [`FrameLength`] | what the two ends agree on, checked |
//! | [`Profile`], [`PAD_LADDER`] | settings with a name: which bit rate, frame length and redundancy for which need |
//! | [`ProfilePolicy`] | which of them a call should have, by loss and stock of pad, never by what is said |
//! | [`VoiceEncoder`] | frames to packets, all of one size |
//! | [`VoiceDecoder`] | packets to frames, and four ways to fill a gap |
//!
//! Codec2 would carry speech at 3.2 kb/s and less, but its Rust port is under LGPL-2.1 only, which this project does
//! not ship; so 6 kb/s of Opus in frames of 60 ms is the lowest rate here.

mod decoder;
mod encoder;
#[expect(unsafe_code, reason = "the calls into libopus, which is C; each says why it is sound")]
mod libopus;
mod policy;
mod profile;
mod settings;

pub use self::decoder::{DecoderEffort, MAX_REVIVED, VoiceDecoder, has_recovery};
pub use self::encoder::{LOSS_HINT, VoiceEncoder};
pub use self::policy::{Conditions, MIN_BETWEEN_CHANGES, MIN_PACKET_IN_CALL, ProfilePolicy, Wish};
pub use self::profile::{PAD_LADDER, Profile, VOICE_TAG_BYTES};
pub use self::settings::{
    CodecSettings, FrameLength, MAX_BIT_RATE, MAX_DRED, MAX_EXPECTED_LOSS, MAX_PACKET_LEN, MIN_BIT_RATE,
};
use crate::{Result, error::CodecError};

fn check_len(what: &'static str, unit: &'static str, expected: usize, actual: usize) -> Result<()> {
    if expected == actual { Ok(()) } else { Err(CodecError::BufferSize { what, expected, actual, unit }.into()) }
}

#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "sines are made in f64"
)]
mod tests;
