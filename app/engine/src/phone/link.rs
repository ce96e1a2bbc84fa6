//! Conversations come and go, and calls outlive them.

use std::time::Duration;

use vernam_session::{CallTerms, HangUpReason, Message, Suite};

use super::Phone;
use super::call::{Call, Phase};
use super::limits::{GRACE, RESUME_WITHIN};
use super::terms::{fits, weaker};
use super::types::{Output, PhoneEvent};

/// What is left of a call that ended here while the contact could not be told.
pub(super) struct Farewell {
    ours: bool,
    talking: bool,
    number: u32,
    terms: CallTerms,
    pub(super) reason: HangUpReason,
    /// Later the contact has given up by itself.
    until: Duration,
    /// Whether a new conversation stands, in which the contact will speak of it.
    armed: bool,
}

impl Phone {
    /// The contact cannot be reached.
    pub(super) fn lost(&mut self, contact: &str) {
        self.contact(contact).up = false;
        self.send_away(contact, true);
    }

    /// `live` says whether what is sent now may still reach the contact in the conversation that the call is in.
    fn send_away(&mut self, contact: &str, live: bool) {
        let now = self.now;
        if self.calls.get(contact).is_some_and(|call| call.away.is_none()) {
            self.questions_lapse(contact, live);
        }
        let Some(call) = self.calls.get_mut(contact).filter(|call| call.away.is_none()) else { return };
        call.away = Some(now);
        if call.phase == Phase::Talking {
            self.put(Output::Wait { contact: contact.to_owned() });
        }
        self.tell(contact, PhoneEvent::Reconnecting);
    }

    /// The contact is heard again, where it was.
    pub(super) fn back(&mut self, contact: &str) {
        let known = self.contact(contact);
        if known.up || known.suites.is_none() {
            return;
        }
        known.up = true;
        // It was told by the message that says so, unless that was in an earlier conversation still.
        known.farewell = known.farewell.take().filter(|farewell| farewell.armed);
        let until = self.now + RESUME_WITHIN;
        if let Some(by) = self.calls.get_mut(contact).and_then(|call| call.rejoin_by.as_mut()) {
            *by = until; // What the contact said meanwhile is on its way.
        }
        self.go_on(contact);
    }

    /// The connection is there, and both know by which number the call goes: as before.
    pub(super) fn go_on(&mut self, contact: &str) {
        let up = self.is_up(contact);
        let Some(call) = self.calls.get_mut(contact) else { return };
        if !up || call.rejoin_by.is_some() || call.away.take().is_none() {
            return;
        }
        match call.phase {
            Phase::Calling => {}
            Phase::Ringing => self.tell(contact, PhoneEvent::Ringing),
            Phase::Incoming => {
                let terms = call.terms;
                self.tell_incoming(contact, terms);
            }
            Phase::Talking => {
                call.resumed = call.resumed.saturating_add(1);
                self.start(contact);
                self.ask_record_again(contact);
            }
        }
    }

    /// A new conversation stands. Numbers of the earlier one mean nothing in it.
    pub(super) fn established(&mut self, contact: &str, suites: Vec<Suite>, number: u32) {
        self.send_away(contact, false);
        let now = self.now;
        let known = self.contact(contact);
        (known.up, known.suites) = (true, Some(suites));
        // The initiator gives out even numbers, the responder odd ones, from 2 and 3 on.
        known.takes_up = Some(number ^ 1);
        let farewell = known.farewell.take().filter(|farewell| now < farewell.until);
        let Some(call) = self.calls.get_mut(contact) else {
            return self.say_farewell(contact, farewell, number);
        };
        call.forget_conversation();
        call.rejoin_by = Some(now + RESUME_WITHIN);
        if !call.ours {
            return; // The contact speaks first.
        }
        let (was, terms) = (call.number, call.terms_to_resume());
        call.number = number;
        if call.phase == Phase::Talking {
            call.resume_terms = Some(terms);
            self.send(contact, Message::Resume { was, call: number, terms });
        } else {
            (call.phase, call.rejoin_by, call.away) = (Phase::Calling, None, None);
            self.send(contact, Message::Ring { call: number, terms });
        }
        if self.is_allowed(contact, terms.suite) {
            self.tell_all_about(contact);
        } else {
            self.end(contact, HangUpReason::Lost, false);
        }
    }

    /// What of the call the other side may not have heard.
    pub(super) fn tell_all_about(&mut self, contact: &str) {
        let silent = self.is_silent();
        let Some(call) = self.calls.get_mut(contact).filter(|call| call.phase == Phase::Talking) else { return };
        let (number, held) = (call.number, call.held);
        let recording = call.recorder.message_again(number);
        self.send(contact, Message::Hold { call: number, on: held });
        self.send(contact, Message::Muted { call: number, on: silent });
        if let Some(message) = recording {
            self.send(contact, message);
        }
    }

    /// The contact goes on with its call. That there is one is enough: two people have at most one, so the number that
    /// it had need not be compared.
    pub(super) fn resumed(&mut self, contact: &str, number: u32, terms: CallTerms) {
        let allowed = self.is_allowed(contact, terms.suite);
        let resumable = |call: &&mut Call| !call.ours && call.phase == Phase::Talking && call.rejoin_by.is_some();
        let Some(call) = self.calls.get_mut(contact).filter(resumable) else {
            let reason = self.take_farewell(contact).map_or(HangUpReason::Lost, |farewell| farewell.reason);
            return self.send(contact, Message::HangUp { call: number, reason });
        };
        // Less than we know of only if it is what we had asked for, and the contact's yes was lost on its way.
        let wished = call.resume_terms.take() == Some(terms);
        if !allowed || !fits(terms, call.terms) || (weaker(terms.suite, call.terms.suite) && !wished) {
            self.send(contact, Message::HangUp { call: number, reason: HangUpReason::Failed });
            return self.end(contact, HangUpReason::Failed, false);
        }
        (call.number, call.terms, call.rejoin_by) = (number, terms, None);
        self.send(contact, Message::Answer { call: number });
        self.tell_all_about(contact);
        self.go_on(contact);
    }

    /// The conversation is over, and will not come back.
    pub(super) fn over(&mut self, contact: &str) {
        let known = self.contact(contact);
        (known.up, known.suites, known.farewell) = (false, None, None);
        if let Some(call) = self.calls.remove(contact) {
            let (reason, by_contact) =
                if call.away.is_some() { (HangUpReason::Lost, false) } else { (HangUpReason::HungUp, true) };
            self.close(contact, call, reason, by_contact);
        }
    }

    /// Remembers for the contact what it could not be told.
    pub(super) fn leave_farewell(&mut self, contact: &str, call: &Call, reason: HangUpReason) {
        let (now, reconnect_for) = (self.now, self.settings.reconnect_for);
        let known = self.contact(contact);
        let Some(away) = call.away.filter(|_| !known.up || !call.is_numbered()) else { return };
        if !call.ours && matches!(reason, HangUpReason::Lost | HangUpReason::StartedAnew) {
            return; // What the contact hears of a call that nobody knows.
        }
        known.farewell = Some(Farewell {
            ours: call.ours,
            talking: call.phase == Phase::Talking,
            number: call.number,
            terms: call.terms,
            reason,
            until: now.max(away + reconnect_for) + GRACE,
            armed: !call.is_numbered(),
        });
    }

    /// In a new conversation: goes on with the call that the person has ended, and ends it, in one breath.
    fn say_farewell(&mut self, contact: &str, farewell: Option<Farewell>, number: u32) {
        let until = self.now + RESUME_WITHIN;
        match farewell {
            Some(Farewell { ours: true, talking, number: was, terms, reason, .. }) => {
                let first = if talking {
                    Message::Resume { was, call: number, terms }
                } else {
                    Message::Ring { call: number, terms }
                };
                self.send(contact, first);
                self.send(contact, Message::HangUp { call: number, reason });
            }
            Some(farewell) => {
                let until = farewell.until.max(until);
                self.contact(contact).farewell = Some(Farewell { until, armed: true, ..farewell });
            }
            None => {}
        }
    }

    /// What is left of the call that the contact speaks of.
    pub(super) fn take_farewell(&mut self, contact: &str) -> Option<Farewell> {
        let now = self.now;
        let known = self.contacts.get_mut(contact)?;
        if known.farewell.as_ref()?.armed {
            known.farewell.take().filter(|farewell| now < farewell.until)
        } else {
            None
        }
    }
}

impl Call {
    /// What was under way in a conversation that is no more.
    fn forget_conversation(&mut self) {
        // What the contact may have agreed to unbeknown to us is what we asked for last.
        self.resume_terms = self.asked.take().map(|asked| asked.terms).or(self.resume_terms);
        (self.absorbed, self.number_before, self.question, self.dry) = (None, None, None, false);
        self.recorder.forget_conversation();
        self.consent.forget_conversation();
    }

    /// The terms to resume a call of ours with. If we had asked for more protection, the contact may have agreed and
    /// may count on it, and would agree now; if for less, the contact will take what there was before.
    fn terms_to_resume(&self) -> CallTerms {
        self.resume_terms.filter(|wished| weaker(self.terms.suite, wished.suite)).unwrap_or(self.terms)
    }
}
