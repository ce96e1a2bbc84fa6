//! While both talk: who is heard, who is held, whose microphone is off.

use vernam_session::{HangUpReason, Message};

use super::Phone;
use super::call::{Call, Phase};
use super::types::{Output, PhoneEvent};

impl Phone {
    /// Sound begins to flow, or flows again.
    pub(super) fn start(&mut self, contact: &str) {
        let Some(call) = self.calls.get_mut(contact) else { return };
        call.sound = (false, false);
        call.note_suite();
        let (number, terms, held) = (call.number, call.terms, call.held);
        self.put(Output::Start { contact: contact.to_owned(), call: number, terms });
        self.tell(contact, PhoneEvent::Answered { terms });
        if held {
            self.tell(contact, PhoneEvent::HeldHere { on: true });
        }
    }

    /// The person holds a call, or goes on with it.
    pub(super) fn hold(&mut self, contact: &str, on: bool) {
        if self.calls.get(contact).is_none_or(|call| call.phase != Phase::Talking) {
            return self.refuse(contact, format!("there is nothing to hold: no call with {contact} has been taken"));
        }
        if !on {
            self.hold_others(contact);
        }
        self.hold_one(contact, on);
    }

    /// Only one is heard.
    pub(super) fn hold_others(&mut self, contact: &str) {
        let heard = self.calls.iter().filter(|(other, call)| *other != contact && call.is_heard());
        let heard: Vec<_> = heard.map(|(other, _)| other.clone()).collect();
        for other in heard {
            self.hold_one(&other, true);
        }
    }

    pub(super) fn hold_one(&mut self, contact: &str, on: bool) {
        let Some(call) = self.calls.get_mut(contact).filter(|call| call.held != on) else { return };
        call.held = on;
        let (number, taken) = (numbered(call), call.phase == Phase::Talking);
        if let Some(call) = number {
            self.send(contact, Message::Hold { call, on });
        }
        // One that is just being taken is told of as held once it is.
        if taken {
            self.tell(contact, PhoneEvent::HeldHere { on });
        }
    }

    /// The contact holds, or goes on.
    pub(super) fn held(&mut self, contact: &str, number: u32, on: bool) {
        let Some(call) = self.talking(contact, number).filter(|call| call.held_by_contact != on) else { return };
        call.held_by_contact = on;
        self.tell(contact, PhoneEvent::Held { on });
    }

    /// The person switches microphone or loudspeaker.
    pub(super) fn mute(&mut self, muted: bool, deafened: bool) {
        let before = self.is_silent();
        (self.muted, self.deafened) = (muted, deafened);
        if self.is_silent() != before {
            let contacts: Vec<_> = self.calls.keys().cloned().collect();
            for contact in contacts {
                self.tell_muted(&contact, !before);
            }
        }
    }

    /// Whether the microphone is off, for whatever reason.
    pub(super) fn is_silent(&self) -> bool {
        self.muted || self.deafened
    }

    pub(super) fn tell_muted(&mut self, contact: &str, on: bool) {
        let talking = self.calls.get(contact).filter(|call| call.phase == Phase::Talking);
        if let Some(call) = talking.and_then(numbered) {
            self.send(contact, Message::Muted { call, on });
        }
    }

    /// The contact's microphone is off, or on.
    pub(super) fn was_muted(&mut self, contact: &str, number: u32, on: bool) {
        let Some(call) = self.talking(contact, number).filter(|call| call.muted_by_contact != on) else { return };
        call.muted_by_contact = on;
        self.tell(contact, PhoneEvent::Muted { on });
    }

    /// The sound of a call cannot go on.
    pub(super) fn sound_failed(&mut self, contact: &str, number: u32) {
        if self.talking(contact, number).is_some() {
            self.end(contact, HangUpReason::Failed, false);
        }
    }

    /// The call that a message about `number` is about, if it has been taken.
    pub(super) fn talking(&mut self, contact: &str, number: u32) -> Option<&mut Call> {
        self.calls.get_mut(contact).filter(|call| call.is(number) && call.phase == Phase::Talking)
    }
}

/// By which number the contact knows the call, if any.
pub(super) fn numbered(call: &Call) -> Option<u32> {
    call.is_numbered().then_some(call.number)
}
