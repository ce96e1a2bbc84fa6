//! What the person is asked: one question at a time, and none that is answered by a key meant for something else.
//!
//! A question stays until it is answered or lapses; another one, however pressing, waits for it. For [`PAUSE`] after what
//! is asked changed, `y` and `n` do nothing: a finger that was already on its way may have meant the question before, or
//! none. A contact that was told no may ask to record again only after [`ASK_AGAIN`]. Nothing here looks at a clock.

use std::collections::BTreeMap;
use std::time::Duration;

use vernam_session::Suite;

use super::words;

/// For how long nothing is answered after what is asked changed: more than a person takes to press a key that was
/// decided on before (about 200 ms to react, and some to see).
pub const PAUSE: Duration = Duration::from_millis(500);
/// How long after a no a contact's further wishes to record are declined without asking.
pub const ASK_AGAIN: Duration = Duration::from_mins(1);

/// What the person is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Take the call?
    Ring {
        /// Who calls.
        contact: String,
        /// What would protect the call, where that is less than the contact's policy asks for.
        less: Option<Suite>,
    },
    /// Go on with less protection?
    Change {
        /// Who asks.
        contact: String,
        /// For what.
        suite: Suite,
        /// What it is now.
        now: Suite,
    },
    /// Go on with less once the pad is used up?
    Weaker {
        /// With whom.
        contact: String,
    },
    /// May the contact record?
    Record {
        /// Who asks.
        contact: String,
    },
    /// Speak through another microphone, now that the chosen one is gone?
    StandIn {
        /// What the sound system calls the one that is there.
        id: String,
        /// Its name.
        name: String,
        /// The one that was chosen.
        instead_of: String,
    },
}

impl Question {
    /// Its name, for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ring { .. } => "ring",
            Self::Change { .. } => "change",
            Self::Weaker { .. } => "weaker",
            Self::Record { .. } => "record",
            Self::StandIn { .. } => "stand_in",
        }
    }

    /// Whom it is about, if it is about a contact.
    pub fn contact(&self) -> Option<&str> {
        match self {
            Self::Ring { contact, .. }
            | Self::Change { contact, .. }
            | Self::Weaker { contact }
            | Self::Record { contact } => Some(contact),
            Self::StandIn { .. } => None,
        }
    }

    /// The question for people, and what `y` and `n` do.
    pub fn words(&self) -> String {
        match self {
            Self::Ring { contact, less: None } => format!("{contact} calls. Take it? y takes it, n declines"),
            Self::Ring { contact, less: Some(suite) } => format!(
                "{contact} calls with LESS protection than you set: {}, not one-time pad. y takes it, n declines",
                words::protection(*suite)
            ),
            Self::Change { contact, suite, now } => format!(
                "{contact} asks to go on with LESS protection: {}. y allows it, n keeps {}",
                words::protection(*suite),
                words::protection(*now)
            ),
            Self::Weaker { contact } => format!(
                "The one-time pad with {contact} is nearly used up. y: ask to go on under AES-256-GCM. n: the call \
                 ends with the pad"
            ),
            Self::Record { contact } => format!("{contact} asks to record this call. y allows it, n does not"),
            Self::StandIn { name, instead_of, .. } => {
                format!("The microphone {instead_of} is gone. Speak through {name}? y does, n sends silence")
            }
        }
    }
}

impl Question {
    /// What it is about, in a few words, while it waits for another.
    pub fn short(&self) -> String {
        match self {
            Self::Ring { contact, .. } => format!("{contact} calls"),
            Self::Change { contact, .. } => format!("less protection with {contact}"),
            Self::Weaker { contact } => format!("the end of the pad with {contact}"),
            Self::Record { contact } => format!("{contact} asks to record"),
            Self::StandIn { .. } => "another microphone".to_owned(),
        }
    }
}

/// The question that is asked now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    now: Option<Question>,
    /// Questions that wait for this one, the most pressing first.
    after: Vec<Question>,
    /// When the one that is asked became another, or none.
    changed: Option<Duration>,
    /// For how long nothing is answered then.
    pause: Duration,
}

impl Default for Asked {
    fn default() -> Self {
        Self { now: None, after: Vec::new(), changed: None, pause: PAUSE }
    }
}

impl Asked {
    /// Answers are taken at once: who answers is a program, which is told what is asked and has no finger.
    pub fn without_pause() -> Self {
        Self { pause: Duration::ZERO, ..Self::default() }
    }

    /// These questions are open at `at`, the most pressing first.
    pub fn settle(&mut self, open: Vec<Question>, at: Duration) {
        let stays = self.now.as_ref().is_some_and(|now| open.contains(now));
        if !stays {
            let next = open.first().cloned();
            if next != self.now {
                self.now = next;
                self.changed = Some(at);
            }
        }
        self.after = open.into_iter().filter(|question| self.now.as_ref() != Some(question)).collect();
    }

    /// What is asked, if anything.
    pub fn question(&self) -> Option<&Question> {
        self.now.as_ref()
    }

    /// The questions that come after it, the most pressing first.
    pub fn after(&self) -> &[Question] {
        &self.after
    }

    /// Whether `y` and `n` mean anything at `now`.
    pub fn takes_answers(&self, now: Duration) -> bool {
        self.changed.is_none_or(|changed| now >= changed + self.pause)
    }
}

/// What to do about a contact's wish to record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Ask the person.
    Ask,
    /// Decline it without asking, and say so: it is the first time since the no.
    DeclineAndSay,
    /// Decline it without asking.
    Decline,
}

/// Which contacts were told no, and may not ask again yet. At most one entry a contact of `home.toml`.
#[derive(Debug, Clone, Default)]
pub struct Refusals(BTreeMap<String, Refusal>);

#[derive(Debug, Clone, Copy)]
struct Refusal {
    at: Duration,
    /// Whether the person was told that the next wish was declined.
    said: bool,
    taken_back: bool,
}

impl Refusals {
    /// The person said no at `at`.
    pub fn refused(&mut self, contact: &str, at: Duration) {
        self.0.insert(contact.to_owned(), Refusal { at, said: false, taken_back: false });
    }

    /// The contact took its wish back at `at`, before there was an answer: that counts as a no, or asking and taking back
    /// in turns could go on for ever.
    pub fn taken_back(&mut self, contact: &str, at: Duration) {
        self.0.insert(contact.to_owned(), Refusal { at, said: false, taken_back: true });
    }

    /// The connection went away. It took the wish away, not the contact, which may ask again once it is back.
    pub fn went_away(&mut self, contact: &str) {
        if self.0.get(contact).is_some_and(|refusal| refusal.taken_back) {
            self.0.remove(contact);
        }
    }

    /// The contact wishes to record, at `at`.
    pub fn wanted(&mut self, contact: &str, at: Duration) -> Wanted {
        match self.0.get_mut(contact) {
            Some(refusal) if at < refusal.at + ASK_AGAIN => {
                if std::mem::replace(&mut refusal.said, true) {
                    Wanted::Decline
                } else {
                    Wanted::DeclineAndSay
                }
            }
            _ => Wanted::Ask,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(contact: &str) -> Question {
        Question::Ring { contact: contact.to_owned(), less: None }
    }

    fn record(contact: &str) -> Question {
        Question::Record { contact: contact.to_owned() }
    }

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_question_is_answered_only_after_it_stood_for_half_a_second() {
        let mut asked = Asked::default();
        assert!(asked.takes_answers(ms(0)), "nothing was ever asked");
        asked.settle(vec![ring("bob")], ms(1_000));
        assert!(!asked.takes_answers(ms(1_000)) && !asked.takes_answers(ms(1_499)));
        assert!(asked.takes_answers(ms(1_500)));
        asked.settle(vec![ring("bob")], ms(1_600));
        assert!(asked.takes_answers(ms(1_600)), "it is the same one");
    }

    #[test]
    fn one_that_comes_later_waits_however_pressing() {
        let mut asked = Asked::default();
        asked.settle(vec![record("bob")], ms(0));
        let change = Question::Change { contact: "bob".to_owned(), suite: Suite::Aes256Gcm, now: Suite::Otp };
        asked.settle(vec![change.clone(), record("bob")], ms(2_000));
        assert_eq!((asked.question(), asked.after()), (Some(&record("bob")), [change.clone()].as_slice()));
        assert!(asked.takes_answers(ms(2_000)));
        asked.settle(vec![change.clone()], ms(3_000));
        assert_eq!((asked.question(), asked.after()), (Some(&change), [].as_slice()));
        assert!(!asked.takes_answers(ms(3_499)) && asked.takes_answers(ms(3_500)));
    }

    #[test]
    fn what_changed_its_meaning_is_another_question() {
        let change = |suite| Question::Change { contact: "bob".to_owned(), suite, now: Suite::Otp };
        let mut asked = Asked::default();
        asked.settle(vec![change(Suite::Aes256Gcm)], ms(0));
        asked.settle(vec![change(Suite::ChaCha20Poly1305)], ms(1_000));
        assert!(!asked.takes_answers(ms(1_100)));
    }

    #[test]
    fn after_a_question_lapsed_a_late_key_does_nothing() {
        let mut asked = Asked::default();
        asked.settle(vec![ring("bob")], ms(0));
        asked.settle(Vec::new(), ms(5_000));
        assert_eq!(asked.question(), None);
        assert!(!asked.takes_answers(ms(5_100)) && asked.takes_answers(ms(5_500)));
    }

    #[test]
    fn a_program_answers_at_once() {
        let mut asked = Asked::without_pause();
        asked.settle(vec![ring("bob")], ms(0));
        assert!(asked.takes_answers(ms(0)));
    }

    #[test]
    fn who_was_told_no_asks_the_person_again_only_after_a_minute() {
        let mut refusals = Refusals::default();
        assert_eq!(refusals.wanted("bob", ms(0)), Wanted::Ask);
        refusals.refused("bob", ms(1_000));
        assert_eq!(refusals.wanted("bob", ms(2_000)), Wanted::DeclineAndSay);
        assert_eq!(refusals.wanted("bob", ms(3_000)), Wanted::Decline);
        assert_eq!(refusals.wanted("carol", ms(3_000)), Wanted::Ask, "she was told nothing");
        assert_eq!(refusals.wanted("bob", ms(60_999)), Wanted::Decline);
        assert_eq!(refusals.wanted("bob", ms(61_000)), Wanted::Ask);
        refusals.taken_back("bob", ms(61_500));
        assert_eq!(refusals.wanted("bob", ms(61_600)), Wanted::DeclineAndSay);
        refusals.went_away("bob");
        assert_eq!(refusals.wanted("bob", ms(61_700)), Wanted::Ask, "it was the connection");
        refusals.refused("bob", ms(62_000));
        refusals.went_away("bob");
        assert_eq!(refusals.wanted("bob", ms(63_000)), Wanted::DeclineAndSay, "it is told once for each no");
    }
}
