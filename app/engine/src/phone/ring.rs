//! From the first ring until somebody takes the call, or nobody does.

use vernam_session::{CallTerms, HangUpReason, Message};

use super::Phone;
use super::call::{Call, Phase};
use super::terms::{fits, sane, weaker};
use super::types::PhoneEvent;

impl Phone {
    /// The person calls.
    pub(super) fn call(&mut self, contact: &str, number: u32, terms: CallTerms) {
        match self.calls.get(contact) {
            Some(call) if call.phase == Phase::Incoming => return self.meet(contact, terms),
            Some(_) => return self.refuse(contact, format!("there is a call with {contact} already")),
            None => {}
        }
        if self.calls.len() >= self.settings.max_calls {
            return self.refuse(contact, "there are too many calls already: end one of them first");
        }
        if !self.is_up(contact) {
            return self.refuse(contact, format!("{contact} is not connected"));
        }
        if !self.is_allowed(contact, terms.suite) {
            return self.refuse(contact, format!("{} is not allowed by both sides for {contact}", terms.suite));
        }
        if !sane(terms) {
            return self.refuse(contact, "this codec setting cannot be offered");
        }
        // Whoever calls listens for an answer, and no longer to somebody else.
        self.hold_others(contact);
        self.contact(contact).farewell = None;
        self.send(contact, Message::Ring { call: number, terms });
        self.calls.insert(contact.to_owned(), Call::new(true, number, terms, Phase::Calling, self.now));
    }

    /// The person calls a contact who is just ringing here: both want to talk. That call is taken, unless it protects
    /// less than the person now asked for: then it still rings.
    fn meet(&mut self, contact: &str, asked: CallTerms) {
        let Some(call) = self.calls.get(contact) else { return };
        let terms = call.terms;
        if call.away.is_some() {
            self.refuse(contact, format!("the connection to {contact} is away: it rings again when it is back"));
        } else if weaker(terms.suite, asked.suite) {
            self.tell_incoming(contact, terms);
        } else {
            self.take(contact);
        }
    }

    /// The contact calls, for the first time or again after the connection was away.
    pub(super) fn rung(&mut self, contact: &str, number: u32, terms: CallTerms) {
        let taken_up = self.contacts.get(contact).is_some_and(|known| known.takes_up == Some(number));
        let Some(call) = self.calls.get(contact) else { return self.first_rung(contact, number, terms) };
        match (call.phase, call.ours, call.rejoin_by.is_some()) {
            (Phase::Calling | Phase::Ringing, _, _) => self.crossed(contact, number, terms),
            (Phase::Incoming | Phase::Talking, false, true) if taken_up => self.rung_again(contact, number, terms),
            // The contact knows nothing any longer of the call that we want to go on with.
            (Phase::Incoming | Phase::Talking, _, true) => {
                self.end(contact, HangUpReason::StartedAnew, false);
                self.first_rung(contact, number, terms);
            }
            _ => self.send(contact, Message::HangUp { call: number, reason: HangUpReason::Busy }),
        }
    }

    fn first_rung(&mut self, contact: &str, number: u32, terms: CallTerms) {
        if let Some(farewell) = self.take_farewell(contact) {
            // The same call, which the person has ended while the contact could not be told.
            return self.send(contact, Message::HangUp { call: number, reason: farewell.reason });
        }
        let call = Call::new(false, number, terms, Phase::Incoming, self.now);
        let refusal = if !self.is_up(contact) || !sane(terms) || !self.is_allowed(contact, terms.suite) {
            Some(HangUpReason::Failed)
        } else if self.undisturbed {
            Some(HangUpReason::NotDisturbed)
        } else if self.calls.len() >= self.settings.max_calls {
            Some(HangUpReason::Busy)
        } else {
            None
        };
        match refusal {
            Some(reason) => {
                self.send(contact, Message::HangUp { call: number, reason });
                if reason == HangUpReason::Failed {
                    self.refuse(contact, format!("{contact} called, but not in a way that is allowed here"));
                }
                self.note(contact, call, reason, false);
            }
            None => {
                self.calls.insert(contact.to_owned(), call);
                self.ring(contact);
            }
        }
    }

    /// It rings here, by the number and terms that the call has now.
    fn ring(&mut self, contact: &str) {
        let Some(call) = self.calls.get(contact) else { return };
        let (number, terms) = (call.number, call.terms);
        self.send(contact, Message::Ringing { call: number });
        self.tell_incoming(contact, terms);
    }

    pub(super) fn tell_incoming(&mut self, contact: &str, terms: CallTerms) {
        let waiting = self.is_engaged(contact);
        self.tell(contact, PhoneEvent::Incoming { terms, waiting });
    }

    /// Both rang. The call of the side with the smaller name stands; the other side takes it at once, since its person
    /// wanted to talk, unless it protects less than what that person had asked for: then it rings.
    fn crossed(&mut self, contact: &str, number: u32, terms: CallTerms) {
        if *self.settings.name < *contact {
            return; // The contact takes ours as soon as it sees it.
        }
        let allowed = sane(terms) && self.is_allowed(contact, terms.suite);
        let Some(call) = self.calls.get_mut(contact) else { return };
        let own = call.terms;
        if !allowed {
            self.send(contact, Message::HangUp { call: number, reason: HangUpReason::Failed });
            return self.end(contact, HangUpReason::Failed, false);
        }
        (call.absorbed, call.number, call.terms, call.ours) = (Some(call.number), number, terms, false);
        if weaker(terms.suite, own.suite) {
            call.phase = Phase::Incoming;
            self.ring(contact);
        } else {
            self.take(contact);
        }
    }

    /// A call that had rung here, or that we had answered without the contact hearing of it, in a new conversation.
    fn rung_again(&mut self, contact: &str, number: u32, terms: CallTerms) {
        let allowed = sane(terms) && self.is_allowed(contact, terms.suite);
        let up = self.is_up(contact);
        let Some(call) = self.calls.get_mut(contact) else { return };
        let other = !fits(terms, call.terms) || weaker(terms.suite, call.terms.suite);
        if !allowed {
            self.send(contact, Message::HangUp { call: number, reason: HangUpReason::Failed });
            self.end(contact, HangUpReason::Failed, false);
            self.take_farewell(contact);
            return;
        }
        if call.phase == Phase::Talking && other {
            // Not the call that there was.
            self.end(contact, HangUpReason::Lost, false);
            self.take_farewell(contact);
            return self.first_rung(contact, number, terms);
        }
        (call.number, call.terms, call.rejoin_by) = (number, terms, None);
        if call.phase == Phase::Talking {
            // For the contact it begins now.
            let (held, muted) = (std::mem::take(&mut call.held_by_contact), std::mem::take(&mut call.muted_by_contact));
            let recorded = std::mem::take(&mut call.consent).given;
            let events = [
                held.then_some(PhoneEvent::Held { on: false }),
                muted.then_some(PhoneEvent::Muted { on: false }),
                recorded.then_some(PhoneEvent::Recorded { ours: false, on: false }),
            ];
            for event in events.into_iter().flatten() {
                self.tell(contact, event);
            }
            self.send(contact, Message::Answer { call: number });
            self.tell_all_about(contact);
            self.go_on(contact);
        } else {
            if up {
                call.away = None;
            }
            self.ring(contact);
        }
    }

    /// It rings at the contact's.
    pub(super) fn ringing(&mut self, contact: &str, number: u32) {
        let Some(call) = self.calls.get_mut(contact).filter(|call| call.is(number)) else { return };
        if call.phase == Phase::Calling {
            call.phase = Phase::Ringing;
            self.tell(contact, PhoneEvent::Ringing);
        }
    }

    /// The person takes a call.
    pub(super) fn answer(&mut self, contact: &str) {
        match self.calls.get(contact) {
            Some(call) if call.phase != Phase::Incoming => {
                self.refuse(contact, format!("{contact} is not calling"));
            }
            Some(call) if call.away.is_some() => {
                self.refuse(contact, format!("the connection to {contact} is away: it rings again when it is back"));
            }
            Some(_) => self.take(contact),
            None => self.refuse(contact, format!("{contact} is not calling")),
        }
    }

    /// We take the contact's call.
    fn take(&mut self, contact: &str) {
        let Some(number) = self.calls.get(contact).map(|call| call.number) else { return };
        self.send(contact, Message::Answer { call: number });
        self.hold_others(contact);
        self.begin(contact);
    }

    /// The contact took our call, or goes on with it.
    pub(super) fn answered(&mut self, contact: &str, number: u32) {
        let Some(call) = self.calls.get_mut(contact).filter(|call| call.ours && call.is(number)) else { return };
        match call.phase {
            Phase::Calling | Phase::Ringing => {
                // Whatever is heard now was wished for after this call was made.
                let engaged = self.calls.values().any(Call::is_heard);
                if engaged {
                    self.hold_one(contact, true);
                }
                self.begin(contact);
            }
            Phase::Talking if call.rejoin_by.is_some() => {
                call.rejoin_by = None;
                if let Some(terms) = call.resume_terms.take() {
                    call.terms = terms;
                }
                self.go_on(contact);
            }
            _ => {}
        }
    }

    /// Both took it.
    fn begin(&mut self, contact: &str) {
        let now = self.now;
        let Some(call) = self.calls.get_mut(contact) else { return };
        call.phase = Phase::Talking;
        call.answered = Some(now);
        if call.flows() {
            self.start(contact);
        }
        if self.is_silent() {
            self.tell_muted(contact, true);
        }
    }

    /// The person wants no calls, or wants them again.
    pub(super) fn do_not_disturb(&mut self, on: bool) {
        self.undisturbed = on;
        if on {
            let ringing = self.calls.iter().filter(|(_, call)| call.phase == Phase::Incoming);
            let ringing: Vec<_> = ringing.map(|(contact, _)| contact.clone()).collect();
            for contact in ringing {
                self.end(&contact, HangUpReason::NotDisturbed, false);
            }
        }
    }

    /// Whether the person is busy with another call than that with `contact`.
    pub(super) fn is_engaged(&self, contact: &str) -> bool {
        self.calls.iter().any(|(other, call)| other != contact && call.phase != Phase::Incoming)
    }
}
