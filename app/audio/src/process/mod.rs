//! Makes the microphone's sound fit to send: echo, rumble, noise and level.
//!
//! It opens no device, and it knows neither how long the sound takes from the loudspeaker to the microphone nor how
//! the clocks of the two drift: the echo canceller estimates that from the sound itself, again and again.
//!
//! ```text
//!   what the loudspeaker will play ──► render() ─┐
//!                                                ▼
//!   microphone ──► capture(): high-pass ─► echo canceller ─► noise suppression ─► gain control ──► codec
//!                             └────────────── each a stage that can be switched ──────────┘
//! ```
//!
//! **Blocks.** Every stage works on 10 ms. A frame of 10, 20, 40 or 60 ms is a whole number of such blocks, so that
//! no frame waits for another: the delay of the chain is that of its stages ([`Processor::added_delay`]).
//!
//! **Switching.** A stage that is switched on is built afresh and runs unheard for 100 ms; then the sound fades over
//! from before it to behind it within 10 ms. Switching off is the same fade back, and then the stage is gone. With
//! everything off the sound passes bit for bit.
//!
//! **What breaks.** The stages are other people's code, run on whatever a microphone gives. A stage that panics, or
//! makes something that is not a number, is taken out, the sound goes past it, and half a second later a new one is
//! built and faded in; [`Processor::rebuilds`] counts them.
//!
//! **The delay of the echo.** The echo canceller finds it by itself, tested from 20 ms to a quarter of a second, and follows
//! its drift (a loudspeaker and a microphone of two devices have two clocks; tested at 200 ppm). It needs the loudspeaker's frames in the order
//! and at the pace of the microphone's: one `render` for each `capture`, in either order, and no `render` left out
//! while the loudspeaker runs. What a frame's `render` hands over may come back in the frame of the next `capture`, not
//! earlier.

mod activity;
mod fader;
mod meter;
mod slot;
mod stages;

use std::collections::VecDeque;
use std::time::Duration;

use self::slot::{BLOCK, Block, Slot};
use self::stages::{EchoCanceller, GainControl, HighPass, NoiseSuppressor};
pub use self::{activity::VoiceActivity, fader::Fader, meter::Meter};
use crate::{FrameLength, Result};

/// What the high-pass filter adds to the way of speech. Measured (`tests/room.rs`), as the others.
pub const HIGH_PASS_DELAY: Duration = Duration::from_millis(1);
/// What the echo canceller adds: its filter bank and its blocks of 4 ms.
pub const ECHO_CANCELLING_DELAY: Duration = Duration::from_millis(9);
/// What the noise suppression adds: it works on overlapping windows of two blocks.
pub const NOISE_SUPPRESSION_DELAY: Duration = Duration::from_millis(10);

/// What is done to the sound; each can be switched during a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch")]
pub struct Processing {
    /// Takes the loudspeaker's sound out of the microphone's. Not needed with headphones. Brings the high-pass filter
    /// with it: the canceller works badly on rumble.
    pub echo_cancelling: bool,
    /// Takes hum and rumble out: what is below about 100 Hz.
    pub high_pass: bool,
    /// Evens the loudness out.
    pub gain_control: bool,
    /// Takes noise out; adds delay.
    pub noise_suppression: bool,
}

impl Processing {
    /// Nothing: the sound passes bit for bit.
    pub const OFF: Self =
        Self { echo_cancelling: false, high_pass: false, gain_control: false, noise_suppression: false };
    /// For a loudspeaker in the room: echo, rumble and level are seen to.
    pub const LOUDSPEAKER: Self =
        Self { echo_cancelling: true, high_pass: true, gain_control: true, noise_suppression: false };
    /// For headphones: as [`LOUDSPEAKER`](Self::LOUDSPEAKER) without echo cancelling, which adds delay and has nothing
    /// to cancel.
    pub const HEADPHONES: Self = Self { echo_cancelling: false, ..Self::LOUDSPEAKER };
}

impl Default for Processing {
    /// For a loudspeaker: whoever has headphones loses little, whoever has none would be an echo to the other.
    fn default() -> Self {
        Self::LOUDSPEAKER
    }
}

/// The chain from the microphone to the codec, for frames of one length.
pub struct Processor {
    processing: Processing,
    high_pass: Slot<HighPass>,
    echo: Slot<EchoCanceller>,
    noise: Slot<NoiseSuppressor>,
    gain: Slot<GainControl>,
    /// What the loudspeaker was given and the echo canceller has not seen yet, oldest first.
    rendered: VecDeque<Block>,
    /// Most blocks kept there: two frames, for callers whose `render` and `capture` do not strictly alternate.
    most_rendered: usize,
}

impl Processor {
    /// A chain in its first state.
    pub fn new(processing: Processing, frame: FrameLength) -> Result<Self> {
        let most_rendered = 2 * frame.samples() / BLOCK;
        Ok(Self {
            processing,
            high_pass: Slot::new(),
            echo: Slot::new(),
            noise: Slot::new(),
            gain: Slot::new(),
            rendered: VecDeque::with_capacity(most_rendered + 1),
            most_rendered,
        })
    }

    /// Switches from the next frame on.
    pub fn set(&mut self, processing: Processing) {
        self.processing = processing;
    }

    /// What is switched on.
    pub fn processing(&self) -> Processing {
        self.processing
    }

    /// How much later the sound comes out than it went in, with what is switched on: the same for frames of any
    /// length. Gain control adds nothing.
    pub fn added_delay(&self) -> Duration {
        let of = |on: bool, delay| if on { delay } else { Duration::ZERO };
        of(self.processing.high_pass || self.processing.echo_cancelling, HIGH_PASS_DELAY)
            + of(self.processing.echo_cancelling, ECHO_CANCELLING_DELAY)
            + of(self.processing.noise_suppression, NOISE_SUPPRESSION_DELAY)
    }

    /// How often a stage broke and was taken out to be built anew.
    pub fn rebuilds(&self) -> u64 {
        self.high_pass.broken() + self.echo.broken() + self.noise.broken() + self.gain.broken()
    }

    /// The frame that the loudspeaker is about to play, as it will be played.
    pub fn render(&mut self, pcm: &[i16]) {
        if !self.echo.is_running() && !self.processing.echo_cancelling {
            return;
        }
        for samples in pcm.chunks_exact(BLOCK) {
            if self.rendered.len() == self.most_rendered
                && let Some(oldest) = self.rendered.pop_front()
            {
                self.echo.with(|canceller| canceller.render(&oldest));
            }
            self.rendered.push_back(to_block(samples));
        }
    }

    /// Makes the microphone's frame fit to send, in place. Never fails: what breaks is rebuilt and passed through.
    ///
    /// A rest that fills no block of 10 ms, which a [`FrameLength`] never has, is left as it is.
    pub fn capture(&mut self, pcm: &mut [i16]) {
        let on = self.processing;
        for samples in pcm.chunks_exact_mut(BLOCK) {
            // One block of each side at a time, whatever the frame length: so the canceller sees both at one pace.
            if let Some(block) = self.rendered.pop_front() {
                self.echo.with(|canceller| canceller.render(&block));
            }
            if on == Processing::OFF && !self.is_running() {
                continue;
            }
            let mut block = to_block(samples);
            self.high_pass.run(on.high_pass || on.echo_cancelling, &mut block);
            self.echo.run(on.echo_cancelling, &mut block);
            self.noise.run(on.noise_suppression, &mut block);
            self.gain.run(on.gain_control, &mut block);
            for (sample, &processed) in samples.iter_mut().zip(&block) {
                *sample = to_sample(processed);
            }
        }
        if !on.echo_cancelling && !self.echo.is_running() {
            self.rendered.clear();
        }
    }

    fn is_running(&self) -> bool {
        self.high_pass.is_running() || self.echo.is_running() || self.noise.is_running() || self.gain.is_running()
    }
}

/// Full scale is 1.
fn to_block(samples: &[i16]) -> Block {
    let mut block = [0.0; BLOCK];
    for (value, &sample) in block.iter_mut().zip(samples) {
        *value = f32::from(sample) / 32_768.0;
    }
    block
}

fn to_sample(value: f32) -> i16 {
    #[expect(clippy::cast_possible_truncation, reason = "clamped to the range of i16")]
    let sample = (value * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16;
    sample
}

#[cfg(test)]
mod tests;
