//! Other terms for a running call, and what happens when its pad runs out.

use vernam_session::{CallTerms, HangUpReason, Message, Suite};

use super::Phone;
use super::call::{Ask, Phase};
use super::limits::{ENOUGH_AGAIN, TALK_WARNINGS, WEAKER_BELOW};
use super::terms::{fits, weaker};
use super::types::{Output, PhoneEvent, Policy, Question};

impl Phone {
    /// The person wants other terms.
    pub(super) fn change(&mut self, contact: &str, number: u32, terms: CallTerms) {
        let allowed = self.is_allowed(contact, terms.suite);
        let now = self.now;
        let Some(call) = self.calls.get_mut(contact).filter(|call| call.flows()) else {
            return self.refuse(contact, format!("no call with {contact} is on: its terms cannot be changed"));
        };
        // Whoever wants less has said so.
        call.weaker_open &= !weaker(terms.suite, call.terms.suite);
        if let Some(question) = call.question {
            // Both want less protection at once: that is a yes.
            if !weaker(question.terms.suite, terms.suite) {
                return self.answer_change(contact, true);
            }
            return self.refuse(contact, format!("answer {contact} first, who asks for other terms"));
        }
        // An honest contact always answers: its telephone says no when its person says nothing.
        if call.asked.is_some() {
            return self.refuse(contact, format!("{contact} has not answered yet"));
        }
        if terms == call.terms {
            return self.refuse(contact, "the call has these terms already");
        }
        if !allowed {
            return self.refuse(contact, format!("{} is not allowed by both sides for {contact}", terms.suite));
        }
        if !fits(terms, call.terms) {
            return self.refuse(contact, "this codec setting does not fit the running call");
        }
        call.asked = Some(Ask { new: number, terms, at: now });
        let call = call.number;
        self.send(contact, Message::ChangeAsk { call, new: number, terms });
    }

    /// The contact wants other terms.
    pub(super) fn change_asked(&mut self, contact: &str, number: u32, new: u32, terms: CallTerms) {
        let allowed = self.is_allowed(contact, terms.suite);
        let (now, smaller) = (self.now, *self.settings.name < *contact);
        let Some(call) = self.calls.get_mut(contact).filter(|call| call.phase == Phase::Talking) else { return };
        if call.is_numbered() && call.asked.is_some() && smaller {
            return; // Both asked at once: ours stands, and the contact sees it.
        }
        if !call.is(number) || call.question.is_some() || !allowed || !fits(terms, call.terms) {
            return self.send(contact, Message::ChangeAnswer { new, yes: false });
        }
        // Ours does not stand, but the person who wanted as little protection has said yes to it.
        let wished = call.asked.take().is_some_and(|asked| !weaker(terms.suite, asked.terms.suite));
        if wished || !weaker(terms.suite, call.terms.suite) {
            self.send(contact, Message::ChangeAnswer { new, yes: true });
            self.go_over(contact, new, terms);
        } else if call.away.is_some() {
            // Whoever waits for the connection is asked nothing.
            self.send(contact, Message::ChangeAnswer { new, yes: false });
        } else {
            call.question = Some(Ask { new, terms, at: now });
            self.tell(contact, PhoneEvent::ChangeAsked { terms });
        }
    }

    /// The person answers the contact.
    pub(super) fn answer_change(&mut self, contact: &str, yes: bool) {
        let Some(call) = self.calls.get_mut(contact) else {
            return self.refuse(contact, format!("there is no call with {contact}"));
        };
        let Some(Ask { new, terms, .. }) = call.question.take() else {
            return self.refuse(contact, format!("{contact} does not ask for other terms"));
        };
        let dry = call.dry;
        self.send(contact, Message::ChangeAnswer { new, yes });
        if yes {
            self.go_over(contact, new, terms);
        } else if dry {
            self.end(contact, HangUpReason::KeyUsedUp, false);
        }
    }

    /// The person says nothing: that is a no.
    pub(super) fn change_lapses(&mut self, contact: &str) {
        self.tell(contact, PhoneEvent::Lapsed { question: Question::Change });
        self.answer_change(contact, false);
    }

    /// The connection goes away: whatever the person is asked is asked no longer. The contact gets its no if `live`.
    pub(super) fn questions_lapse(&mut self, contact: &str, live: bool) {
        let Some(call) = self.calls.get_mut(contact) else { return };
        let change = call.question.take();
        // Whether there is pad once it is back, the sound will tell again.
        call.dry &= change.is_none();
        let weaker = std::mem::take(&mut call.weaker_open);
        call.weaker_wanted = false;
        let record = call.consent.put_off();
        if let Some(Ask { new, .. }) = change.filter(|_| live) {
            self.send(contact, Message::ChangeAnswer { new, yes: false });
        }
        let lapsed =
            [change.map(|_| Question::Change), weaker.then_some(Question::Weaker), record.then_some(Question::Record)];
        for question in lapsed.into_iter().flatten() {
            self.tell(contact, PhoneEvent::Lapsed { question });
        }
    }

    /// The contact answers the person.
    pub(super) fn change_answered(&mut self, contact: &str, new: u32, yes: bool) {
        let Some(call) = self.calls.get_mut(contact) else { return };
        let Some(asked) = call.asked.take_if(|asked| asked.new == new) else { return };
        if yes {
            self.go_over(contact, new, asked.terms);
        } else {
            let dry = call.dry;
            self.tell(contact, PhoneEvent::ChangeDeclined);
            if dry {
                self.end(contact, HangUpReason::KeyUsedUp, false);
            }
        }
    }

    /// Both agreed.
    fn go_over(&mut self, contact: &str, number: u32, terms: CallTerms) {
        let Some(call) = self.calls.get_mut(contact) else { return };
        (call.number_before, call.number, call.terms) = (Some(call.number), number, terms);
        (call.dry, call.warned, call.weaker_wanted, call.weaker_open) = (false, u64::MAX, false, false);
        if call.flows() {
            call.note_suite();
            self.put(Output::Change { contact: contact.to_owned(), call: number, terms });
            self.tell(contact, PhoneEvent::Changed { terms });
        }
    }

    /// How long the pad lasts.
    pub(super) fn talk_left(&mut self, contact: &str, seconds: u64) {
        let policy = self.contact(contact).policy;
        let less = policy != Policy::OtpOnly
            && Suite::ALL.into_iter().any(|suite| suite != Suite::Otp && self.is_allowed(contact, suite));
        let Some(call) = self.calls.get_mut(contact).filter(|call| call.flows() && call.terms.suite == Suite::Otp)
        else {
            return;
        };
        let reached = TALK_WARNINGS.into_iter().filter(|limit| seconds <= *limit).min();
        let enough = seconds >= ENOUGH_AGAIN;
        if enough {
            // It may become little once more.
            (call.warned, call.weaker_wanted) = (call.warned.max(reached.unwrap_or(u64::MAX)), false);
        }
        let lapses = (enough || !less) && std::mem::take(&mut call.weaker_open);
        let due = reached.filter(|due| *due < call.warned);
        call.warned = due.unwrap_or(call.warned);
        let nobody_asked = call.asked.is_none() && call.question.is_none() && !call.weaker_wanted;
        let wanted = seconds < WEAKER_BELOW && nobody_asked && less;
        call.weaker_wanted |= wanted;
        call.weaker_open |= wanted;
        if lapses {
            self.tell(contact, PhoneEvent::Lapsed { question: Question::Weaker });
        }
        if due.is_some() {
            self.tell(contact, PhoneEvent::TalkLeft { seconds });
        }
        if wanted {
            self.tell(contact, PhoneEvent::WeakerWanted);
        }
    }

    /// No pad is left to send with. Whoever has said yes to less protection waits for the other one's word.
    pub(super) fn key_used_up(&mut self, contact: &str, number: u32) {
        let Some(call) = self.talking(contact, number).filter(|call| call.terms.suite == Suite::Otp) else { return };
        let asks = [call.asked, call.question];
        call.dry = asks.into_iter().flatten().any(|ask| ask.terms.suite != Suite::Otp);
        if !call.dry {
            self.end(contact, HangUpReason::KeyUsedUp, false);
        }
    }
}
