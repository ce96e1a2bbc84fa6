//! Makes sound by decisions: the same decisions over the same packets make the same sound, in a call and in a replay.

use crate::codec::{DecoderEffort, VoiceDecoder};
use crate::stretch::{self, Splice};
use crate::{FrameLength, Result, SAMPLE_RATE};

const SAMPLES_PER_MS: usize = SAMPLE_RATE as usize / 1_000;
/// Concealment in a row begins to fade from here on: what Opus makes up out of so old a sound is no longer speech.
const FADE_FROM: usize = 120 * SAMPLES_PER_MS;
/// And is silent after so much more.
const FADE_OVER: usize = 60 * SAMPLES_PER_MS;
/// Sound that comes back after a fade rises over 5 ms, so that it does not click.
const RISE_OVER: usize = 5 * SAMPLES_PER_MS;
/// Full volume, in the fixed point of the fades.
const FULL: i32 = 1 << 14;

/// A decoder and how far it has faded.
pub(super) struct Maker {
    decoder: VoiceDecoder,
    frame: FrameLength,
    /// Samples concealed in a row.
    concealed: usize,
}

impl Maker {
    pub(super) fn new(frame: FrameLength, effort: DecoderEffort) -> Result<Self> {
        Ok(Self { decoder: VoiceDecoder::with_effort(frame, effort)?, frame, concealed: 0 })
    }

    pub(super) fn packet(&mut self, packet: &[u8], sound: &mut Vec<i16>) -> Result<()> {
        self.append(sound, |decoder, pcm| decoder.decode(packet, pcm).map(|()| true))?;
        Ok(())
    }

    pub(super) fn recover(&mut self, next: &[u8], sound: &mut Vec<i16>) -> Result<()> {
        self.append(sound, |decoder, pcm| decoder.recover(next, pcm).map(|()| true))?;
        Ok(())
    }

    /// `false`, with nothing changed, where `later` does not reach so far back.
    pub(super) fn revive(&mut self, later: &[u8], frames_before: u32, sound: &mut Vec<i16>) -> Result<bool> {
        self.append(sound, |decoder, pcm| decoder.revive(later, frames_before, pcm))
    }

    pub(super) fn conceal(&mut self, sound: &mut Vec<i16>) -> Result<()> {
        let begin = sound.len();
        sound.resize(begin + self.frame.samples(), 0);
        if let Err(error) = self.decoder.conceal(&mut sound[begin..]) {
            sound.truncate(begin);
            return Err(error);
        }
        for sample in &mut sound[begin..] {
            *sample = scaled(*sample, self.volume());
            self.concealed = self.concealed.saturating_add(1);
        }
        Ok(())
    }

    pub(super) fn silence(&mut self, samples: u16, sound: &mut Vec<i16>) {
        sound.resize(sound.len() + usize::from(samples), 0);
        if self.concealed > 0 {
            self.concealed = FADE_FROM + FADE_OVER;
        }
    }

    /// Appends a frame that came, in whatever way.
    fn append(
        &mut self,
        sound: &mut Vec<i16>,
        decode: impl FnOnce(&mut VoiceDecoder, &mut [i16]) -> Result<bool>,
    ) -> Result<bool> {
        let begin = sound.len();
        sound.resize(begin + self.frame.samples(), 0);
        let done = decode(&mut self.decoder, &mut sound[begin..]);
        if !matches!(done, Ok(true)) {
            sound.truncate(begin);
            return done;
        }
        let from = self.volume();
        if from < FULL {
            for (at, sample) in sound[begin..].iter_mut().take(RISE_OVER).enumerate() {
                *sample = scaled(*sample, from + part(FULL - from, at, RISE_OVER));
            }
        }
        self.concealed = 0;
        done
    }

    /// How loud concealment is by now.
    fn volume(&self) -> i32 {
        FULL - part(FULL, self.concealed.saturating_sub(FADE_FROM).min(FADE_OVER), FADE_OVER)
    }
}

/// `whole * count / of`, for counts of samples within a fade.
fn part(whole: i32, count: usize, of: usize) -> i32 {
    let [count, of] = [count, of].map(|count| i32::try_from(count).expect("at most a fade"));
    whole * count / of
}

fn scaled(sample: i16, volume: i32) -> i16 {
    i16::try_from(i32::from(sample) * volume / FULL).expect("volume is at most FULL")
}

/// Carries a splice out; `false` where it does not fit.
pub(super) fn splice(sound: &mut Vec<i16>, way: stretch::Way, at: Splice) -> bool {
    match way {
        stretch::Way::Shorten => stretch::shorten(sound, at),
        stretch::Way::Lengthen => stretch::lengthen(sound, at),
    }
}
