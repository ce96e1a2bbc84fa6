//! How a call ends: everybody is told, and the history keeps it.

use std::time::Duration;

use vernam_session::{HangUpReason, Message};

use super::call::{Call, Phase};
use super::limits::{BUSY_FOR, ENDED_FOR, JUST_ENDED};
use super::talk::numbered;
use super::types::{Carried, Output, PhoneEvent, Tone};
use super::{Contact, Phone};

impl Phone {
    /// The person ends, declines or cancels. Declining is what it is, whatever the person calls it.
    pub(super) fn hang_up(&mut self, contact: &str, reason: HangUpReason) {
        let Some(call) = self.calls.get(contact) else {
            // Both hung up at once: that is what the person wanted.
            let just_now = |known: &Contact| known.ended.is_some_and(|ended| self.now < ended + JUST_ENDED);
            if !self.contacts.get(contact).is_some_and(just_now) {
                self.refuse(contact, format!("there is no call with {contact}"));
            }
            return;
        };
        let declined = call.phase == Phase::Incoming && reason == HangUpReason::HungUp;
        let reason = if declined { HangUpReason::Declined } else { reason };
        let playing = self.passing;
        self.end(contact, reason, false);
        // Whoever hangs up knows it.
        self.passing = playing;
    }

    /// The contact ended, declined or cancelled.
    pub(super) fn hung_up(&mut self, contact: &str, number: u32, reason: HangUpReason) {
        if self.calls.get(contact).is_some_and(|call| call.is(number)) {
            self.end(contact, reason, true);
        }
    }

    /// The call is over.
    pub(super) fn end(&mut self, contact: &str, reason: HangUpReason, by_contact: bool) {
        let Some(call) = self.calls.remove(contact) else { return };
        if !by_contact {
            if let Some(call) = numbered(&call) {
                self.send(contact, Message::HangUp { call, reason });
            }
            self.leave_farewell(contact, &call, reason);
        }
        // The contact may not have seen that its call took the place of ours.
        if let Some(call) = call.absorbed {
            self.send(contact, Message::HangUp { call, reason });
        }
        self.close(contact, call, reason, by_contact);
    }

    /// The same, when there is nobody to tell.
    pub(super) fn close(&mut self, contact: &str, call: Call, reason: HangUpReason, by_contact: bool) {
        if call.recorder.writing {
            self.put(Output::Record { contact: contact.to_owned(), on: false });
        }
        if call.phase == Phase::Talking {
            self.put(Output::Stop { contact: contact.to_owned() });
        }
        self.contact(contact).ended = Some(self.now);
        let carried = call.answered.map(|_since| Carried::default());
        self.tell(contact, PhoneEvent::Ended { reason, by_contact, ours: call.ours, carried });
        self.passing = ending_tone(&call, reason, by_contact)
            .map_or(self.passing, |(tone, length)| Some((tone, self.now + length)));
        self.note(contact, call, reason, by_contact);
    }

    /// For the history.
    pub(super) fn note(&mut self, contact: &str, call: Call, reason: HangUpReason, by_contact: bool) {
        let record = call.record(contact, self.now, reason, by_contact);
        self.put(Output::Note(record));
    }
}

/// What tells the person by ear that a call is over, and for how long.
fn ending_tone(call: &Call, reason: HangUpReason, by_contact: bool) -> Option<(Tone, Duration)> {
    let turned_away = matches!(
        reason,
        HangUpReason::Busy | HangUpReason::NotDisturbed | HangUpReason::Declined | HangUpReason::Weaker
    );
    match call.phase {
        Phase::Incoming => None,
        Phase::Calling | Phase::Ringing if by_contact && turned_away => Some((Tone::Busy, BUSY_FOR)),
        _ => Some((Tone::Ended, ENDED_FOR)),
    }
}
