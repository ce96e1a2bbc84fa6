//! Turns frames of sound into packets of one size. What they hold besides the frame, coarse copies of earlier ones, is
//! a matter of the settings; the size never is.

use std::ops::RangeInclusive;

use super::libopus::{Encoder, Setting};
use super::{CodecSettings, check_len};
use crate::{Result, error::CodecError};

/// Loss hints that a call's own measurement may set, percent: below, a sudden loss would find no redundancy; above,
/// the speech suffers more than the redundancy helps.
pub const LOSS_HINT: RangeInclusive<u8> = 10..=20;

/// Turns frames of sound into packets of exactly [`CodecSettings::packet_len`] bytes.
pub struct VoiceEncoder {
    opus: Encoder,
    settings: CodecSettings,
    look_ahead: usize,
}

impl VoiceEncoder {
    /// An encoder in its first state.
    pub fn new(settings: CodecSettings) -> Result<Self> {
        let mut opus = Encoder::new()?;
        opus.set(Setting::VariableRate, 0)?;
        opus.set(Setting::SilenceSuppression, 0)?;
        apply(&mut opus, settings)?;
        let look_ahead = opus.look_ahead()?;
        Ok(Self { opus, settings, look_ahead })
    }

    /// The settings in use.
    pub fn settings(&self) -> &CodecSettings {
        &self.settings
    }

    /// Uses other settings from the next frame on. Nothing is started anew: the decoder at the other end hears no
    /// click, because Opus carries its own state from frame to frame and fades between its modes (RFC 6716, section
    /// 4.5). The loss hint becomes that of the new settings.
    ///
    /// A decoder takes packets of one frame length, so `settings` should have the frame length of before.
    pub fn change(&mut self, settings: CodecSettings) -> Result<()> {
        apply(&mut self.opus, settings)?;
        self.settings = settings;
        Ok(())
    }

    /// Delay of the codec itself in samples at 48 kHz: a sound that enters with a frame leaves the decoder so much
    /// after that frame's start. Part of any honest count of the way from mouth to ear.
    pub fn look_ahead(&self) -> usize {
        self.look_ahead
    }

    /// Tells the encoder what loss was measured lately, percent, so that it weighs speech against redundancy. Kept
    /// within [`LOSS_HINT`] and never below the hint of the settings, without which deep redundancy would be left out;
    /// without FEC nothing changes. The size of packets never changes.
    pub fn hint_loss(&mut self, percent: u8) -> Result<()> {
        if !self.settings.fec() {
            return Ok(());
        }
        let percent = percent.clamp(*LOSS_HINT.start(), *LOSS_HINT.end()).max(self.settings.expected_loss());
        Ok(self.opus.set(Setting::ExpectedLoss, i32::from(percent))?)
    }

    /// Encodes one frame: `pcm` of exactly [`FrameLength::samples`](super::FrameLength::samples) samples into `packet`
    /// of exactly [`CodecSettings::packet_len`] bytes.
    ///
    /// Fails, and `packet` must not be sent, if Opus ever makes another size.
    pub fn encode(&mut self, pcm: &[i16], packet: &mut [u8]) -> Result<()> {
        check_len("a frame of sound", "samples", self.settings.frame().samples(), pcm.len())?;
        let expected = self.settings.packet_len();
        check_len("a voice packet", "bytes", expected, packet.len())?;
        let actual = self.opus.encode(pcm, packet)?;
        if actual == expected { Ok(()) } else { Err(CodecError::PacketSize { expected, actual }.into()) }
    }
}

fn apply(opus: &mut Encoder, settings: CodecSettings) -> Result<()> {
    opus.set(Setting::BitRate, exact_bit_rate(settings))?;
    opus.set(Setting::InbandFec, i32::from(settings.fec()))?;
    opus.set(Setting::ExpectedLoss, i32::from(settings.expected_loss()))?;
    opus.set(Setting::Complexity, i32::from(settings.complexity()))?;
    let tens = settings.dred().as_millis() / 10;
    opus.set(Setting::DredDuration, i32::try_from(tens).expect("at most MAX_DRED, which fits"))?;
    Ok(())
}

/// The bit rate that makes exactly `packet_len` bytes a frame, so that Opus has nothing to round.
fn exact_bit_rate(settings: CodecSettings) -> i32 {
    let bits = settings.packet_len() * 8 * 1_000;
    i32::try_from(bits.div_ceil(settings.frame().millis() as usize)).expect("at most MAX_BIT_RATE, which fits")
}
