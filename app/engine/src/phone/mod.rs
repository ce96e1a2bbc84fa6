//! The telephone itself, as pure logic: who rings, who is heard, what is held, and why a call ends.
//!
//! One [`Phone`] serves a person with all their contacts, at most one call with each. It reads no clock, opens no socket
//! and makes no sound: whoever runs it tells it what happened ([`Input`]) with the time, and carries out what it says
//! ([`Output`]), in that order and before telling it the next thing.
//!
//! ```text
//!            Call                Ringing              Answer from the contact
//!   (none) ───────► Calling ───────────────► Ringing ─────────────┐
//!      │                                                          ├──► Talking (active or held)
//!      └──────────► Incoming ─────────────────────────────────────┘
//!            Ring                  Answer by the person
//!
//!   any of them ── Lost ──► away ── Back, or Established and found again ──► as before
//!   any of them ── hung up, refused, too late ──► (none), one CallRecord
//! ```
//!
//! Three rules keep both ends of a call agreed whatever crosses on the way or is lost:
//!
//! - Where both want something at once, the side with the smaller name wins, and each knows it without asking: the other
//!   one gives up its own wish when it sees the winner's (calls that cross, and changes of terms that do).
//! - In a new conversation the side that had called speaks first: it rings again if nobody had answered, else it resumes;
//!   if its person hung up meanwhile, it says so. The other side waits for that, for a bounded time. It does so by the
//!   first number that it has in the conversation, which no new call gets: a client that was started anew remembers no
//!   call, and its ring is another one.
//! - Each wait has an end (`Call::due`), at which the call is over.
//!
//! What the person is asked is open until it is answered, until [`PhoneEvent::Lapsed`], or until what it was about is
//! over; while the connection is away nothing is asked.
//!
//! What is sent and heard, the tone that plays, whether the recording is written and whether the contact is dialled are
//! not kept as states of their own: they follow from the calls, and what changed is said after each input.

mod call;
mod change;
mod end;
mod follow;
mod limits;
mod link;
mod recording;
mod ring;
mod talk;
mod terms;
#[cfg(test)]
mod tests;
mod types;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use vernam_session::{HangUpReason, Message, Suite};

use self::call::{Call, Due};
use self::link::Farewell;
pub use self::types::{
    CallRecord, CallState, CallView, Carried, Input, Output, PhoneEvent, PhoneSettings, Policy, Question, Tone,
    Transmit,
};

/// One person's telephone.
pub struct Phone {
    settings: PhoneSettings,
    contacts: BTreeMap<String, Contact>,
    calls: BTreeMap<String, Call>,
    muted: bool,
    deafened: bool,
    undisturbed: bool,
    now: Duration,
    /// The tone that plays.
    tone: Option<Tone>,
    /// A tone that ends by itself, and when.
    passing: Option<(Tone, Duration)>,
    outputs: VecDeque<Output>,
}

/// What is known of a contact beside its call.
#[derive(Default)]
struct Contact {
    policy: Policy,
    /// What both sides allow, in the conversation that was established last; none if it is over.
    suites: Option<Vec<Suite>>,
    /// Whether the contact can be reached, as far as we know.
    up: bool,
    /// Whether the shell was told to try to reach it.
    redialling: bool,
    /// A call that ended here while the contact could not be told.
    farewell: Option<Farewell>,
    /// The number by which the contact takes up a call from before this conversation. A new call never has it.
    takes_up: Option<u32>,
    /// When a call with it was last over.
    ended: Option<Duration>,
}

impl Phone {
    /// A telephone without a call.
    pub fn new(settings: PhoneSettings) -> Self {
        Self {
            settings,
            contacts: BTreeMap::new(),
            calls: BTreeMap::new(),
            muted: false,
            deafened: false,
            undisturbed: false,
            now: Duration::ZERO,
            tone: None,
            passing: None,
            outputs: VecDeque::new(),
        }
    }

    /// Something happened at `now`.
    ///
    /// What was due before is done first. What makes no sense, from the person, is answered with
    /// [`PhoneEvent::Refused`]; from the contact, it is passed over, or refused with
    /// [`HangUp`](Message::HangUp) if it would be a call.
    pub fn handle(&mut self, input: Input, now: Duration) {
        self.handle_time(now);
        match input {
            Input::Call { contact, number, terms } => self.call(&contact, number, terms),
            Input::Answer { contact } => self.answer(&contact),
            Input::HangUp { contact, reason } => self.hang_up(&contact, reason),
            Input::Hold { contact, on } => self.hold(&contact, on),
            Input::Mute(on) => self.mute(on, self.deafened),
            Input::Deafen(on) => self.mute(self.muted, on),
            Input::DoNotDisturb(on) => self.do_not_disturb(on),
            Input::Policy { contact, policy } => self.contact(&contact).policy = policy,
            Input::Change { contact, number, terms } => self.change(&contact, number, terms),
            Input::AnswerChange { contact, yes } => self.answer_change(&contact, yes),
            Input::Record { contact, on } => self.record(&contact, on),
            Input::AnswerRecord { contact, yes } => self.answer_record(&contact, yes),
            Input::Established { contact, suites, number } => self.established(&contact, suites, number),
            Input::Lost { contact } => self.lost(&contact),
            Input::Back { contact } => self.back(&contact),
            Input::Over { contact } => self.over(&contact),
            Input::Message { contact, message } => self.message(&contact, &message),
            Input::SoundFailed { contact, call } => self.sound_failed(&contact, call),
            Input::KeyUsedUp { contact, call } => self.key_used_up(&contact, call),
            Input::TalkLeft { contact, seconds } => self.talk_left(&contact, seconds),
        }
        self.follow();
    }

    fn message(&mut self, contact: &str, message: &Message) {
        match *message {
            Message::Ring { call, terms } => self.rung(contact, call, terms),
            Message::Ringing { call } => self.ringing(contact, call),
            Message::Answer { call } => self.answered(contact, call),
            Message::HangUp { call, reason } => self.hung_up(contact, call, reason),
            Message::Hold { call, on } => self.held(contact, call, on),
            Message::Muted { call, on } => self.was_muted(contact, call, on),
            Message::ChangeAsk { call, new, terms } => self.change_asked(contact, call, new, terms),
            Message::ChangeAnswer { new, yes } => self.change_answered(contact, new, yes),
            Message::RecordAsk { call } => self.record_asked(contact, call),
            Message::RecordAnswer { call, yes } => self.record_answered(contact, call, yes),
            Message::RecordStop { call } => self.record_stopped(contact, call),
            Message::Resume { call, terms, .. } => self.resumed(contact, call, terms),
            // Not about calls.
            _ => {}
        }
    }

    /// The time has come that [`Self::deadline`] named.
    pub fn handle_time(&mut self, now: Duration) {
        self.now = self.now.max(now);
        while let Some((contact, due)) = self.first_due() {
            match due {
                Due::Answer => self.end(&contact, HangUpReason::NoAnswer, false),
                Due::Resume => self.end(&contact, HangUpReason::Lost, false),
                Due::Question => self.change_lapses(&contact),
                Due::Dry => self.end(&contact, HangUpReason::KeyUsedUp, false),
            }
        }
        self.passing = self.passing.filter(|(_, until)| *until > self.now);
        self.follow();
    }

    /// A call that has waited long enough. What is then done about it always ends that wait.
    fn first_due(&self) -> Option<(String, Due)> {
        let dues = self.calls.iter().filter_map(|(contact, call)| Some((contact, self.due(contact, call)?)));
        let (contact, (_, due)) = dues.filter(|(_, (at, _))| *at <= self.now).min_by_key(|(_, (at, _))| *at)?;
        Some((contact.clone(), due))
    }

    fn due(&self, contact: &str, call: &Call) -> Option<(Duration, Due)> {
        call.due(self.is_up(contact), &self.settings)
    }

    /// When [`Self::handle_time`] has something to do, if ever.
    pub fn deadline(&self) -> Option<Duration> {
        let calls = self.calls.iter().filter_map(|(contact, call)| Some(self.due(contact, call)?.0));
        calls.chain(self.passing.map(|(_, until)| until)).min()
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The calls there are, the one that is heard first, then the oldest.
    pub fn calls(&self) -> Vec<CallView> {
        let mut calls: Vec<_> = self.calls.iter().collect();
        calls.sort_by_key(|(contact, call)| (!call.is_heard(), call.began, *contact));
        calls.into_iter().map(|(contact, call)| call.view(contact)).collect()
    }

    /// Whether the microphone is off, whether the loudspeaker is, and whether nobody may ring.
    pub fn switches(&self) -> (bool, bool, bool) {
        (self.muted, self.deafened, self.undisturbed)
    }

    #[cfg(test)]
    fn poll_is_empty(&self) -> bool {
        self.outputs.is_empty()
    }

    fn contact(&mut self, contact: &str) -> &mut Contact {
        self.contacts.entry(contact.to_owned()).or_default()
    }

    fn is_up(&self, contact: &str) -> bool {
        self.contacts.get(contact).is_some_and(|known| known.up)
    }

    fn is_allowed(&self, contact: &str, suite: Suite) -> bool {
        self.contacts.get(contact).is_some_and(|known| {
            known.suites.as_ref().is_some_and(|suites| terms::allowed(suite, known.policy, suites))
        })
    }

    fn put(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    fn send(&mut self, contact: &str, message: Message) {
        self.put(Output::Send { contact: contact.to_owned(), message });
    }

    fn tell(&mut self, contact: &str, event: PhoneEvent) {
        self.put(Output::Tell { contact: contact.to_owned(), event });
    }

    fn refuse(&mut self, contact: &str, why: impl Into<String>) {
        self.tell(contact, PhoneEvent::Refused { why: why.into() });
    }
}
