//! Whether the microphone's sound leaves a call: mute, hold, push-to-talk and voice activation.
//!
//! What does not leave is silence, coded and sent as speech is: nothing of it shows on the wire.

use vernam_audio::FrameLength;
use vernam_audio::process::{Meter, VoiceActivity};

use crate::phone::Transmit;

pub(super) struct Gate {
    /// What the telephone says: not muted, not held.
    pub(super) sending: bool,
    transmit: Transmit,
    /// The key of push-to-talk is pressed.
    talk: bool,
    activity: VoiceActivity,
    meter: Meter,
    open: bool,
}

impl Gate {
    pub(super) fn new(frame: FrameLength, transmit: Transmit, talk: bool) -> Self {
        Self { sending: false, transmit, talk, activity: VoiceActivity::new(frame), meter: Meter::new(), open: false }
    }

    pub(super) fn set_transmit(&mut self, transmit: Transmit) {
        self.transmit = transmit;
    }

    pub(super) fn set_talk(&mut self, talk: bool) {
        self.talk = talk;
    }

    /// Lets a frame pass, or makes silence of it.
    pub(super) fn pass(&mut self, pcm: &mut [i16]) {
        self.meter.push(pcm);
        // Asked every frame, so that it knows the background when it is needed.
        let voice = self.activity.is_voice(pcm);
        self.open = self.sending
            && match self.transmit {
                Transmit::Open => true,
                Transmit::PushToTalk => self.talk,
                Transmit::Voice => voice,
            };
        if !self.open {
            pcm.fill(0);
        }
    }

    /// Whether the last frame passed.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// How loud the microphone is, dB below full scale.
    pub(super) fn dbfs(&self) -> f64 {
        self.meter.dbfs()
    }
}
