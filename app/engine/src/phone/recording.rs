//! Who records, and who lets the other one.
//!
//! Each wish to record gets exactly one no in the end: instead of a yes; or after it, when the person takes the consent
//! back or the recorder stops. By counting them the recorder knows which wish a yes is for, whatever crosses. In a new
//! conversation the recorder asks again by itself, and who still consents lets it without asking the person.

use vernam_session::Message;

use super::Phone;
use super::call::Phase;
use super::limits::MAX_RECORD_ASKS;
use super::talk::numbered;
use super::types::{PhoneEvent, Question};

/// We record.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent things that are so or not")]
pub(super) struct Recorder {
    /// Whether the person wants to.
    pub(super) wanted: bool,
    /// Whether the contact said yes, in this conversation.
    pub(super) on: bool,
    /// Whether the person was told that it is on.
    told: bool,
    /// Whether it is written just now.
    pub(super) writing: bool,
    /// Whether the contact was ever asked.
    ever: bool,
    /// Wishes that have not got their no.
    open: u8,
}

/// The contact records.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent things that are so or not")]
pub(super) struct Consent {
    /// Whether the person is being asked.
    pub(super) asking: bool,
    /// Whether the person will be asked once the connection is back.
    later: bool,
    /// Whether the person said yes.
    pub(super) given: bool,
    /// Whether the person said no, and the contact may not have heard it.
    declined: bool,
    /// The next wish that comes may be an earlier one, told again.
    again: bool,
}

impl Recorder {
    /// A new conversation begins.
    pub(super) fn forget_conversation(&mut self) {
        (self.open, self.on) = (0, false);
    }

    /// What the contact has to be told in it.
    pub(super) fn message_again(&mut self, call: u32) -> Option<Message> {
        if !self.ever {
            None
        } else if self.wanted {
            self.open = 1;
            Some(Message::RecordAsk { call })
        } else {
            Some(Message::RecordStop { call })
        }
    }
}

impl Consent {
    /// A new conversation begins. A question that is open comes again.
    pub(super) fn forget_conversation(&mut self) {
        (self.asking, self.later, self.again) = (false, false, true);
    }

    /// The connection goes away: the question waits until it is back. Whether there was one.
    pub(super) fn put_off(&mut self) -> bool {
        let asking = std::mem::take(&mut self.asking);
        self.later |= asking;
        asking
    }
}

impl Phone {
    /// The person wants to record, or no longer.
    pub(super) fn record(&mut self, contact: &str, on: bool) {
        let Some(call) = self.calls.get_mut(contact).filter(|call| call.phase == Phase::Talking) else {
            return self.refuse(contact, format!("no call with {contact} has been taken: there is nothing to record"));
        };
        if call.recorder.wanted == on {
            return;
        }
        if on && (call.away.is_some() || call.recorder.open >= MAX_RECORD_ASKS) {
            return self.refuse(contact, format!("{contact} cannot be asked just now: try again in a moment"));
        }
        call.recorder.wanted = on;
        let number = numbered(call);
        if on {
            call.recorder.ever = true;
            call.recorder.open += 1;
        } else {
            call.recorder.on = false;
        }
        let told = !on && std::mem::take(&mut call.recorder.told);
        if told {
            self.tell(contact, PhoneEvent::Recorded { ours: true, on: false });
        }
        if let Some(call) = number {
            let message = if on { Message::RecordAsk { call } } else { Message::RecordStop { call } };
            self.send(contact, message);
        }
    }

    /// The contact lets us record, or not (any longer).
    pub(super) fn record_answered(&mut self, contact: &str, number: u32, yes: bool) {
        let Some(call) = self.talking(contact, number) else { return };
        let recorder = &mut call.recorder;
        let about_this = recorder.open == 1 && recorder.wanted;
        if yes {
            if about_this && !recorder.on {
                (recorder.on, recorder.told) = (true, true);
                self.tell(contact, PhoneEvent::Recorded { ours: true, on: true });
            }
            return;
        }
        recorder.open = recorder.open.saturating_sub(1);
        if about_this {
            (recorder.wanted, recorder.on) = (false, false);
            let was_on = std::mem::take(&mut recorder.told);
            let event =
                if was_on { PhoneEvent::Recorded { ours: true, on: false } } else { PhoneEvent::RecordDeclined };
            self.tell(contact, event);
        }
    }

    /// The contact wants to record.
    pub(super) fn record_asked(&mut self, contact: &str, number: u32) {
        let Some(call) = self.talking(contact, number) else { return };
        let (number, away, consent) = (call.number, call.away.is_some(), &mut call.consent);
        let told_again = std::mem::take(&mut consent.again);
        let declined = std::mem::take(&mut consent.declined);
        if consent.given {
            self.send(contact, Message::RecordAnswer { call: number, yes: true });
        } else if told_again && declined {
            self.send(contact, Message::RecordAnswer { call: number, yes: false });
        } else if away {
            consent.later = true;
        } else if !consent.asking {
            consent.asking = true;
            self.tell(contact, PhoneEvent::RecordAsked);
        }
    }

    /// The connection is back: the person is asked what had to wait for it.
    pub(super) fn ask_record_again(&mut self, contact: &str) {
        let Some(call) = self.calls.get_mut(contact) else { return };
        if std::mem::take(&mut call.consent.later) {
            call.consent.asking = true;
            self.tell(contact, PhoneEvent::RecordAsked);
        }
    }

    /// The contact records no more, or no longer wants to.
    pub(super) fn record_stopped(&mut self, contact: &str, number: u32) {
        let Some(call) = self.talking(contact, number) else { return };
        let (number, consent) = (call.number, &mut call.consent);
        (consent.again, consent.declined) = (false, false);
        let asking = std::mem::take(&mut consent.asking);
        let later = std::mem::take(&mut consent.later);
        let given = std::mem::take(&mut consent.given);
        if asking || later || given {
            self.send(contact, Message::RecordAnswer { call: number, yes: false });
        }
        if asking {
            self.tell(contact, PhoneEvent::Lapsed { question: Question::Record });
        }
        if given {
            self.tell(contact, PhoneEvent::Recorded { ours: false, on: false });
        }
    }

    /// The person lets the contact record, or not (any longer).
    pub(super) fn answer_record(&mut self, contact: &str, yes: bool) {
        let Some(call) = self.calls.get_mut(contact).filter(|call| call.consent.asking || call.consent.given) else {
            return self.refuse(contact, format!("{contact} does not ask to record"));
        };
        let consent = &mut call.consent;
        let before = consent.given;
        (consent.asking, consent.given, consent.declined) = (false, yes, !yes);
        let number = numbered(call);
        if let Some(call) = number.filter(|_| before != yes || !yes) {
            self.send(contact, Message::RecordAnswer { call, yes });
        }
        if before != yes {
            self.tell(contact, PhoneEvent::Recorded { ours: false, on: yes });
        }
    }
}
