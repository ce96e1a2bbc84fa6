//! What follows from the calls as they are: sound, tone, recording, dialling. Said when it is another than before.

use super::Phone;
use super::call::{Call, Phase};
use super::types::{Output, Tone};

impl Phone {
    /// Says what changed.
    pub(super) fn follow(&mut self) {
        // What falls silent first: two calls are never heard at once, not for a moment.
        self.follow_sound(false);
        self.follow_sound(true);
        self.follow_recording();
        self.follow_dialling();
        let tone = self.due_tone();
        if self.tone != tone {
            self.tone = tone;
            self.put(Output::Play(tone));
        }
    }

    fn follow_sound(&mut self, on: bool) {
        let (silent, deaf) = (self.is_silent(), self.deafened);
        for (contact, call) in &mut self.calls {
            let due = due_sound(call, silent, deaf);
            if !call.flows() || call.sound == due || (due.0 || due.1) != on {
                continue;
            }
            call.sound = due;
            let (sending, hearing) = due;
            self.outputs.push_back(Output::Sound { contact: contact.clone(), sending, hearing });
        }
    }

    fn follow_recording(&mut self) {
        for (contact, call) in &mut self.calls {
            let on = call.recorder.on && call.flows();
            if call.recorder.writing != on {
                call.recorder.writing = on;
                self.outputs.push_back(Output::Record { contact: contact.clone(), on });
            }
        }
    }

    fn follow_dialling(&mut self) {
        for (contact, known) in &mut self.contacts {
            let on = !known.up && self.calls.get(contact).is_some_and(|call| call.away.is_some());
            if known.redialling != on {
                known.redialling = on;
                self.outputs.push_back(Output::Redial { contact: contact.clone(), on });
            }
        }
    }

    /// The tone of what matters most just now.
    fn due_tone(&self) -> Option<Tone> {
        let rings = |call: &Call| call.phase == Phase::Incoming && call.away.is_none();
        let out = |call: &Call| matches!(call.phase, Phase::Calling | Phase::Ringing);
        let any = |test: &dyn Fn(&Call) -> bool| self.calls.values().any(test);
        if any(&rings) {
            let engaged = any(&|call| call.phase != Phase::Incoming);
            return Some(if engaged { Tone::Waiting } else { Tone::Ring });
        }
        if let Some((tone, _)) = self.passing {
            return Some(tone);
        }
        if any(&|call| call.away.is_some() && (out(call) || call.is_heard())) {
            return Some(Tone::Reconnecting);
        }
        if any(&|call| call.phase == Phase::Ringing) && !any(&|call| call.is_heard()) {
            return Some(Tone::Ringback);
        }
        any(&|call| call.is_heard() && call.held_by_contact).then_some(Tone::OnHold)
    }
}

/// Whether the microphone is sent, and whether the contact is heard.
fn due_sound(call: &Call, silent: bool, deaf: bool) -> (bool, bool) {
    let open = call.flows() && !call.held && !call.held_by_contact;
    (open && !silent, open && !deaf)
}
