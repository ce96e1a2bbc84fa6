//! Opus (RFC 6716): frames of sound to packets of one size, and back, with Opus' own repair of what got lost.

mod settings;

use std::ops::RangeInclusive;

use opus::{Application, Bitrate, Channels};

pub use self::settings::{CodecSettings, FrameLength, MAX_BIT_RATE, MAX_EXPECTED_LOSS, MAX_PACKET_LEN, MIN_BIT_RATE};
use crate::{Result, SAMPLE_RATE, error::CodecError};

/// Loss hints that a call's own measurement may set, percent: below, a sudden loss would find no redundancy; above,
/// the speech suffers more than the redundancy helps.
pub const LOSS_HINT: RangeInclusive<u8> = 10..=20;

/// Turns frames of sound into packets of exactly [`CodecSettings::packet_len`] bytes.
pub struct VoiceEncoder {
    opus: opus::Encoder,
    settings: CodecSettings,
    look_ahead: usize,
}

impl VoiceEncoder {
    /// An encoder in its first state.
    pub fn new(settings: CodecSettings) -> Result<Self> {
        let (opus, look_ahead) =
            set_up(settings).map_err(|error| CodecError::opus("set up the voice encoder", &error))?;
        Ok(Self { opus, settings, look_ahead })
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &CodecSettings {
        &self.settings
    }

    /// Delay of the codec itself in samples at 48 kHz: a sound that enters with a frame leaves the decoder so much
    /// after that frame's start. Part of any honest count of the way from mouth to ear.
    pub fn look_ahead(&self) -> usize {
        self.look_ahead
    }

    /// Tells the encoder what loss was measured lately, percent, so that it weighs speech against redundancy. Kept
    /// within [`LOSS_HINT`]; without FEC nothing changes. The size of packets never changes.
    pub fn hint_loss(&mut self, percent: u8) -> Result<()> {
        if !self.settings.fec() {
            return Ok(());
        }
        let percent = percent.clamp(*LOSS_HINT.start(), *LOSS_HINT.end());
        let hinted = self.opus.set_packet_loss_perc(i32::from(percent));
        Ok(hinted.map_err(|error| CodecError::opus("take a loss hint", &error))?)
    }

    /// Encodes one frame: `pcm` of exactly [`FrameLength::samples`] samples into `packet` of exactly
    /// [`CodecSettings::packet_len`] bytes.
    ///
    /// Fails, and `packet` must not be sent, if Opus ever makes another size.
    pub fn encode(&mut self, pcm: &[i16], packet: &mut [u8]) -> Result<()> {
        check_len("a frame of sound", "samples", self.settings.frame().samples(), pcm.len())?;
        let expected = self.settings.packet_len();
        check_len("a voice packet", "bytes", expected, packet.len())?;
        let actual =
            self.opus.encode(pcm, packet).map_err(|error| CodecError::opus("encode a frame of voice", &error))?;
        if actual == expected { Ok(()) } else { Err(CodecError::PacketSize { expected, actual }.into()) }
    }
}

fn set_up(settings: CodecSettings) -> opus::Result<(opus::Encoder, usize)> {
    let mut opus = opus::Encoder::new(SAMPLE_RATE, Channels::Mono, Application::Voip)?;
    opus.set_vbr(false)?;
    opus.set_dtx(false)?;
    opus.set_bitrate(Bitrate::Bits(exact_bit_rate(settings)))?;
    opus.set_inband_fec(settings.fec())?;
    opus.set_packet_loss_perc(i32::from(settings.expected_loss()))?;
    opus.set_complexity(i32::from(settings.complexity()))?;
    let look_ahead = usize::try_from(opus.get_lookahead()?).unwrap_or(0);
    Ok((opus, look_ahead))
}

/// The bit rate that makes exactly `packet_len` bytes a frame, so that Opus has nothing to round.
fn exact_bit_rate(settings: CodecSettings) -> i32 {
    let bits = settings.packet_len() * 8 * 1_000;
    i32::try_from(bits.div_ceil(settings.frame().millis() as usize)).expect("at most MAX_BIT_RATE, which fits")
}

/// Turns packets into frames of sound, and makes up for the ones that did not come.
///
/// The calls must follow the order of the frames: each of [`decode`](Self::decode), [`recover`](Self::recover) and
/// [`conceal`](Self::conceal) stands for one frame of the call and moves the decoder on by that frame.
pub struct VoiceDecoder {
    opus: opus::Decoder,
    frame: FrameLength,
}

impl VoiceDecoder {
    /// A decoder in its first state, for packets of this frame length.
    pub fn new(frame: FrameLength) -> Result<Self> {
        let opus = opus::Decoder::new(SAMPLE_RATE, Channels::Mono)
            .map_err(|error| CodecError::opus("set up the voice decoder", &error))?;
        Ok(Self { opus, frame })
    }

    /// The frame length it expects.
    pub fn frame(&self) -> FrameLength {
        self.frame
    }

    /// Decodes the frame in `packet` into `pcm` of exactly [`FrameLength::samples`] samples.
    ///
    /// A packet of another duration or one that is not Opus is refused before it touches the decoder, so that the
    /// caller can conceal the frame instead.
    pub fn decode(&mut self, packet: &[u8], pcm: &mut [i16]) -> Result<()> {
        self.check_packet(packet)?;
        self.run("decode a frame of voice", packet, pcm, false)
    }

    /// Makes up for one frame that did not come, out of what was heard before (Opus' packet loss concealment).
    pub fn conceal(&mut self, pcm: &mut [i16]) -> Result<()> {
        self.run("conceal a lost frame", &[], pcm, false)
    }

    /// Decodes the frame *before* `next` out of the coarse copy that `next` carries (Opus' in-band FEC).
    ///
    /// Where [`has_recovery`] is false Opus conceals instead. `next` itself must still be decoded afterwards.
    pub fn recover(&mut self, next: &[u8], pcm: &mut [i16]) -> Result<()> {
        self.check_packet(next)?;
        self.run("recover a lost frame", next, pcm, true)
    }

    fn run(&mut self, action: &'static str, packet: &[u8], pcm: &mut [i16], fec: bool) -> Result<()> {
        let expected = self.frame.samples();
        check_len("a frame of sound", "samples", expected, pcm.len())?;
        let actual = self.opus.decode(packet, pcm, fec).map_err(|error| CodecError::opus(action, &error))?;
        if actual == expected { Ok(()) } else { Err(CodecError::PacketDuration { expected, actual }.into()) }
    }

    fn check_packet(&self, packet: &[u8]) -> Result<()> {
        let not_opus = CodecError::NotOpus { len: packet.len() };
        let Ok(actual) = opus::packet::get_nb_samples(packet, SAMPLE_RATE) else { return Err(not_opus.into()) };
        let expected = self.frame.samples();
        if actual == expected { Ok(()) } else { Err(CodecError::PacketDuration { expected, actual }.into()) }
    }
}

/// Whether `packet` carries a coarse copy of the frame before it.
///
/// RFC 6716, sections 3.1 and 4.2.3: a SILK or hybrid frame begins with one voice-activity bit for each 20 ms of
/// SILK and then one bit that says whether redundancy (LBRR) follows; all of them stand uncompressed in the first byte.
pub fn has_recovery(packet: &[u8]) -> bool {
    const FIRST_CELT_ONLY_CONFIG: u8 = 16;
    let Some(config) = packet.first().map(|toc| toc >> 3) else { return false };
    let silk_frames = match config {
        FIRST_CELT_ONLY_CONFIG.. => return false,
        0..=11 => match config % 4 {
            0 | 1 => 1,
            twenties => twenties,
        },
        _ => 1,
    };
    let Ok(parsed) = opus::packet::parse(packet) else { return false };
    let Some(first) = parsed.frames.first().and_then(|frame| frame.first()) else { return false };
    first >> (7 - silk_frames) & 1 == 1
}

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
