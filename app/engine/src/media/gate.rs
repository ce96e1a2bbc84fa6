//! Whether the microphone's sound leaves a call: mute, hold, push-to-talk and voice activation.
//!
//! What does not leave is silence, coded and sent as speech is: nothing of it shows on the wire.

use vernam_audio::FrameLength;
use vernam_audio::process::{Fader, Meter, VoiceActivity};

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
    fader: Fader,
}

impl Gate {
    pub(super) fn new(frame: FrameLength, transmit: Transmit, talk: bool) -> Self {
        let activity = VoiceActivity::new(frame);
        let (meter, fader) = (Meter::new(), Fader::default());
        Self { sending: false, transmit, talk, activity, meter, open: false, fader }
    }

    pub(super) fn set_transmit(&mut self, transmit: Transmit) {
        self.transmit = transmit;
    }

    pub(super) fn set_talk(&mut self, talk: bool) {
        self.talk = talk;
    }

    /// Lets a frame pass, or makes silence of it, without a click. Nothing of a frame that does not pass is heard: what
    /// is heard in it is the end of the one before.
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
        self.fader.pass(pcm, self.open);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mute_is_silence_within_a_frame_without_a_click() {
        for frame in FrameLength::ALL {
            let mut gate = Gate::new(frame, Transmit::Open, false);
            gate.sending = true;
            let said = vec![12_000; frame.samples()];
            let mut passed = said.clone();
            gate.pass(&mut passed);
            assert!(passed[0] < 100 && passed[300..] == said[300..], "it rises, and then it is what was said");
            gate.sending = false;
            let mut muted = said.clone();
            gate.pass(&mut muted);
            assert!(muted[0] > 11_000 && muted.is_sorted_by(|one, next| one >= next), "{:?}", &muted[..9]);
            assert_eq!(muted[frame.samples() - 1], 0);
            let mut after = said.clone();
            gate.pass(&mut after);
            assert!(!gate.is_open() && after.iter().all(|sample| *sample == 0));
        }
    }
}
