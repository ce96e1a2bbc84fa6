//! The calls into libopus, each behind a safe function that checks lengths first.
//!
//! This is the only module of the crate with code that the compiler does not check. It knows nothing of calls, bit
//! rates or lost frames; it hands slices to libopus and gives back what libopus says. All sound is mono at 48 kHz.
//!
//! # Why the calls are sound
//!
//! - A *state* of libopus is plain memory of a size that libopus names, laid out by its `init` function. That is its
//!   documented second way beside `create` and `destroy`, "intended for applications which use their own allocator".
//!   So [`Memory`] owns it: zeroed, aligned for every type of C, freed by Rust, and free to move to another thread,
//!   because libopus has neither globals that change nor threads of its own.
//! - No state leaves this module, and each is used through `&mut self`: never two calls at once.
//! - Every pointer into sound or packets comes from a slice and goes with that slice's own length. An empty slice
//!   where libopus wants at least one byte is answered here, and so is one longer than the stack should hold.
//! - A setting (`ctl`) is one `int` by value or one pointer to an `int`, as `opus_defines.h` says for each request.

use std::ffi::c_int;

use opusic_sys as sys;

use crate::{SAMPLE_RATE, error::CodecError};

/// Samples per second, as libopus takes it.
const RATE: i32 = SAMPLE_RATE.cast_signed();
const MONO: c_int = 1;

/// Most samples of one call: 120 ms, the longest packet of RFC 6716. libopus keeps so many on the stack.
const MAX_SAMPLES: usize = SAMPLE_RATE as usize / 1_000 * 120;

type Result<T> = std::result::Result<T, CodecError>;

/// One piece of a state, aligned for everything that C puts into it, vector registers included.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Piece([u8; 64]);

/// Memory of a libopus state.
struct Memory(Box<[Piece]>);

impl Memory {
    /// Zeroed memory of at least `bytes`. libopus answers 0 or an error code where it cannot make such a state.
    fn zeroed(action: &'static str, bytes: c_int) -> Result<Self> {
        match usize::try_from(bytes) {
            Ok(bytes @ 1..) => Ok(Self(vec![Piece([0; 64]); bytes.div_ceil(size_of::<Piece>())].into_boxed_slice())),
            _ => Err(refused(action, sys::OPUS_UNIMPLEMENTED)),
        }
    }

    fn pointer<T>(&mut self) -> *mut T {
        self.0.as_mut_ptr().cast()
    }
}

/// A setting of the encoder that is one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setting {
    /// 0 for a constant bit rate.
    VariableRate,
    /// 1 to leave out packets of silence.
    SilenceSuppression,
    /// Bits per second.
    BitRate,
    /// 1 for a coarse copy of each frame in the next packet.
    InbandFec,
    /// Loss to prepare for, percent.
    ExpectedLoss,
    /// 0 (fast) to 10 (best).
    Complexity,
    /// How far back the deep redundancy of a packet may reach, in units of 10 ms. 0 for none.
    DredDuration,
}

impl Setting {
    const fn request(self) -> c_int {
        match self {
            Self::VariableRate => sys::OPUS_SET_VBR_REQUEST,
            Self::SilenceSuppression => sys::OPUS_SET_DTX_REQUEST,
            Self::BitRate => sys::OPUS_SET_BITRATE_REQUEST,
            Self::InbandFec => sys::OPUS_SET_INBAND_FEC_REQUEST,
            Self::ExpectedLoss => sys::OPUS_SET_PACKET_LOSS_PERC_REQUEST,
            Self::Complexity => sys::OPUS_SET_COMPLEXITY_REQUEST,
            Self::DredDuration => sys::OPUS_SET_DRED_DURATION_REQUEST,
        }
    }
}

/// An encoder for speech.
pub(super) struct Encoder(Memory);

impl Encoder {
    pub(super) fn new() -> Result<Self> {
        const ACTION: &str = "set up the voice encoder";
        // SAFETY: takes a number and reads no memory of ours.
        let size = unsafe { sys::opus_encoder_get_size(MONO) };
        let mut memory = Memory::zeroed(ACTION, size)?;
        // SAFETY: the memory has the size that libopus named for this number of channels.
        let code = unsafe { sys::opus_encoder_init(memory.pointer(), RATE, MONO, sys::OPUS_APPLICATION_VOIP) };
        done(ACTION, code)?;
        Ok(Self(memory))
    }

    pub(super) fn set(&mut self, setting: Setting, value: i32) -> Result<()> {
        // SAFETY: the state was set up in `new`; every request of `Setting` takes one `opus_int32` by value.
        let code = unsafe { sys::opus_encoder_ctl(self.0.pointer(), setting.request(), value) };
        done("take a setting of the voice encoder", code)
    }

    /// The encoder's own delay in samples.
    pub(super) fn look_ahead(&mut self) -> Result<usize> {
        let mut samples: i32 = 0;
        let answer: *mut i32 = &raw mut samples;
        // SAFETY: the state was set up in `new`; the request writes one `opus_int32` to where `answer` points.
        let code = unsafe { sys::opus_encoder_ctl(self.0.pointer(), sys::OPUS_GET_LOOKAHEAD_REQUEST, answer) };
        done("tell the voice encoder's delay", code)?;
        Ok(usize::try_from(samples).unwrap_or(0))
    }

    /// Encodes `pcm`, one frame, into the front of `packet` and gives the number of bytes written.
    pub(super) fn encode(&mut self, pcm: &[i16], packet: &mut [u8]) -> Result<usize> {
        let (samples, room) = (length(pcm.len())?, length(packet.len())?);
        // SAFETY: the state was set up in `new`; libopus reads `samples` samples of mono sound from `pcm`, writes at
        // most `room` bytes to `packet`, and refuses a number of samples that is no frame before it reads one.
        let code = unsafe { sys::opus_encode(self.0.pointer(), pcm.as_ptr(), samples, packet.as_mut_ptr(), room) };
        count("encode a frame of voice", code)
    }
}

/// A decoder.
pub(super) struct Decoder(Memory);

impl Decoder {
    /// A decoder whose complexity decides how much is done for the sound: RFC 6716 alone below 5, neural networks for
    /// lost frames from 5 on, and for decoded speech from 6 (`LACE`) and 7 (`NoLACE`) on.
    pub(super) fn new(complexity: i32) -> Result<Self> {
        const ACTION: &str = "set up the voice decoder";
        // SAFETY: takes a number and reads no memory of ours.
        let size = unsafe { sys::opus_decoder_get_size(MONO) };
        let mut memory = Memory::zeroed(ACTION, size)?;
        // SAFETY: the memory has the size that libopus named for this number of channels.
        done(ACTION, unsafe { sys::opus_decoder_init(memory.pointer(), RATE, MONO) })?;
        let request = sys::OPUS_SET_COMPLEXITY_REQUEST;
        // SAFETY: the state was set up by the line before; the request takes one `opus_int32` by value.
        done(ACTION, unsafe { sys::opus_decoder_ctl(memory.pointer(), request, complexity) })?;
        Ok(Self(memory))
    }

    /// Decodes `packet` into `pcm`, or with `copy_of_last` the frame before it out of the coarse copy in it, and gives
    /// the number of samples. No packet at all (an empty one) means: conceal `pcm.len()` samples.
    pub(super) fn decode(
        &mut self,
        action: &'static str,
        packet: &[u8],
        pcm: &mut [i16],
        copy_of_last: bool,
    ) -> Result<usize> {
        let (bytes, samples) = (length(packet.len())?, sound_length(pcm)?);
        let data = if packet.is_empty() { std::ptr::null() } else { packet.as_ptr() };
        let (sound, copy) = (pcm.as_mut_ptr(), c_int::from(copy_of_last));
        // SAFETY: the state was set up in `new`; libopus reads at most `bytes` bytes of the packet, none if it is null,
        // and writes at most `samples` samples of mono sound.
        let code = unsafe { sys::opus_decode(self.0.pointer(), data, bytes, sound, samples, copy) };
        count(action, code)
    }

    /// Conceals `pcm.len()` samples that begin `before` samples before the packet that `dred` was parsed from, led by
    /// what that packet says about them.
    pub(super) fn revive(&mut self, dred: &mut Dred, before: usize, pcm: &mut [i16]) -> Result<usize> {
        let (before, samples) = (length(before)?, sound_length(pcm)?);
        let (from, sound) = (dred.parsed.pointer(), pcm.as_mut_ptr());
        // SAFETY: both states were set up in their `new`; libopus takes features from `dred` only if it was processed,
        // and only as many as it says are there, and writes at most `samples` samples of mono sound.
        let code = unsafe { sys::opus_decoder_dred_decode(self.0.pointer(), from, before, sound, samples) };
        count("revive a lost frame", code)
    }
}

/// A reader of deep redundancy (DRED) and what it read last.
pub(super) struct Dred {
    reader: Memory,
    parsed: Memory,
}

impl Dred {
    pub(super) fn new() -> Result<Self> {
        const ACTION: &str = "set up the reader of deep redundancy";
        // SAFETY: both take nothing and read no memory of ours.
        let sizes = unsafe { (sys::opus_dred_decoder_get_size(), sys::opus_dred_get_size()) };
        let mut reader = Memory::zeroed(ACTION, sizes.0)?;
        // The other has no `init`: `opus_dred_alloc` only allocates. Zeroed, it says that nothing was parsed.
        let parsed = Memory::zeroed(ACTION, sizes.1)?;
        // SAFETY: the memory has the size that libopus named.
        done(ACTION, unsafe { sys::opus_dred_decoder_init(reader.pointer()) })?;
        Ok(Self { reader, parsed })
    }

    /// Reads what `packet` says about at most `max_samples` (at most a second) before it, and gives the samples before the packet at
    /// which that begins and ends: `(0, 0)` where there is nothing.
    pub(super) fn parse(&mut self, packet: &[u8], max_samples: usize) -> Result<(usize, usize)> {
        const ACTION: &str = "read the deep redundancy of a packet";
        if packet.is_empty() {
            return Err(refused(ACTION, sys::OPUS_INVALID_PACKET));
        }
        let (bytes, most, mut end) = (length(packet.len())?, length(max_samples.min(SAMPLE_RATE as usize))?, 0);
        let (reader, parsed, data) = (self.reader.pointer(), self.parsed.pointer(), packet.as_ptr());
        // SAFETY: the reader was set up in `new` and `parsed` has the size that libopus named; libopus reads at most
        // `bytes` bytes of the packet, which has at least one, and writes one `int` to where `end` is.
        let code = unsafe { sys::opus_dred_parse(reader, parsed, data, bytes, most, RATE, &raw mut end, 0) };
        Ok((count(ACTION, code)?, usize::try_from(end).unwrap_or(0)))
    }
}

/// Whether `packet` carries a coarse copy of the frame before it.
pub(super) fn has_copy_of_last(packet: &[u8]) -> bool {
    let Some(bytes) = length(packet.len()).ok().filter(|&bytes| bytes > 0) else { return false };
    // SAFETY: libopus reads at most `bytes` bytes, and there is at least one.
    unsafe { sys::opus_packet_has_lbrr(packet.as_ptr(), bytes) == 1 }
}

/// A length as libopus takes it.
fn length(len: usize) -> Result<i32> {
    i32::try_from(len).ok().ok_or_else(|| refused("take so long a buffer", sys::OPUS_BAD_ARG))
}

fn sound_length(pcm: &[i16]) -> Result<i32> {
    if pcm.len() > MAX_SAMPLES {
        return Err(refused("fill so long a buffer", sys::OPUS_BAD_ARG));
    }
    length(pcm.len())
}

fn done(action: &'static str, code: c_int) -> Result<()> {
    count(action, code).map(drop)
}

fn count(action: &'static str, code: c_int) -> Result<usize> {
    usize::try_from(code).ok().ok_or_else(|| refused(action, code))
}

/// libopus' error codes (`opus_defines.h`) in words.
fn refused(action: &'static str, code: c_int) -> CodecError {
    let reason = match code {
        sys::OPUS_BAD_ARG => "an argument is out of its range",
        sys::OPUS_BUFFER_TOO_SMALL => "the buffer is too small",
        sys::OPUS_INTERNAL_ERROR => "something inside went wrong",
        sys::OPUS_INVALID_PACKET => "the packet is damaged",
        sys::OPUS_UNIMPLEMENTED => "this build of it cannot do that",
        sys::OPUS_INVALID_STATE => "its state is damaged",
        sys::OPUS_ALLOC_FAIL => "there is no memory left",
        _ => "the reason is not known",
    };
    CodecError::Opus { action, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned_zeroed_and_large_enough() {
        let mut memory = Memory::zeroed("test", 65).unwrap();
        assert_eq!(memory.0.len(), 2);
        assert!(memory.0.iter().all(|piece| piece.0 == [0; 64]));
        assert_eq!(memory.pointer::<u8>().addr() % 64, 0);
        for bytes in [0, -1, i32::MIN] {
            assert!(Memory::zeroed("test", bytes).is_err(), "{bytes}");
        }
    }

    #[test]
    fn nothing_parsed_revives_nothing_and_breaks_nothing() {
        let (mut decoder, mut dred) = (Decoder::new(10).unwrap(), Dred::new().unwrap());
        let mut pcm = [1; 960];
        assert_eq!(decoder.revive(&mut dred, 960, &mut pcm).unwrap(), 960);
        assert_eq!(pcm, [0; 960]);
        assert!(dred.parse(&[], 960).is_err());
        assert_eq!(dred.parse(&[0], 960).unwrap(), (0, 0));
    }

    #[test]
    fn empty_and_endless_buffers_are_answered() {
        let (mut encoder, mut decoder) = (Encoder::new().unwrap(), Decoder::new(10).unwrap());
        assert!(encoder.encode(&[], &mut [0; 80]).is_err());
        assert!(encoder.encode(&[0; 960], &mut []).is_err());
        assert!(decoder.decode("test", &[], &mut [], false).is_err());
        let mut long = vec![0; MAX_SAMPLES + 1];
        assert!(decoder.decode("test", &[], &mut long, false).is_err());
        assert!(decoder.revive(&mut Dred::new().unwrap(), 960, &mut long).is_err());
        assert!(!has_copy_of_last(&[]));
    }

    #[test]
    fn the_networks_are_compiled_in() {
        assert!(Decoder::new(11).is_err());
        assert!(Encoder::new().unwrap().set(Setting::DredDuration, 100).is_ok());
        assert!(Dred::new().is_ok());
    }
}
