//! What the telephone's screen shows: state folded from events, and nothing else.

use std::collections::VecDeque;
use std::time::Duration;

use vernam_engine::Transmit;
use vernam_session::Suite;

pub use crate::demo::model::{LogLine, Mood};

use super::events::{CallEvent, EchoHeard, Stamped, Terms, Tick};
use super::question::{Asked, Question};
use super::{plain, words};
use crate::complaint;

/// Lines of the log that are kept for the screen.
const LOG: usize = 200;

/// Where a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// We called, and have heard nothing yet.
    Calling,
    /// It rings at the contact's.
    Ringing,
    /// It rings here.
    Incoming,
    /// Both took it.
    Talking,
    /// The connection is away.
    Reconnecting,
}

/// One call.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "independent things that are so or not")]
pub struct Call {
    /// With whom.
    pub contact: String,
    /// Where it is.
    pub phase: Phase,
    /// What was proposed or agreed.
    pub terms: Terms,
    /// Whether what the contact proposed is less than our policy for it asks for.
    pub proposed_less: bool,
    /// When it was taken.
    pub answered: Option<Duration>,
    /// Whether the person has said what to do about its ringing.
    pub decided: bool,
    /// Whether we hold it.
    pub held: bool,
    /// Whether the contact holds it.
    pub held_by_contact: bool,
    /// Whether the contact's microphone is off.
    pub muted_by_contact: bool,
    /// Whether it is recorded here.
    pub recording: bool,
    /// Whether it is recorded at the contact's.
    pub recording_by_contact: bool,
    /// What the contact asks for that protects less.
    pub change_asked: Option<Terms>,
    /// Whether the contact asks to record.
    pub record_asked: bool,
    /// Whether the person has to say if less may protect the call once the pad is used up.
    pub weaker_wanted: bool,
    /// How it goes.
    pub tick: Option<Tick>,
    /// Seconds of one-time pad left, as last said.
    pub left_s: Option<u64>,
}

impl Call {
    /// What protects the call right now: the weaker of both directions, while they differ.
    pub fn protected_by(&self) -> Suite {
        let heard = self.tick.iter().flat_map(|tick| [tick.sent_under, tick.received_under]);
        let weakest = heard.fold(self.terms.suite, |one, other| if words::is_weaker(other, one) { other } else { one });
        if self.is_on() { weakest } else { self.terms.suite }
    }

    /// What was asked about it is asked no longer.
    fn forget_questions(&mut self) {
        (self.change_asked, self.weaker_wanted, self.record_asked) = (None, false, false);
    }

    /// Whether it was taken.
    pub fn is_on(&self) -> bool {
        matches!(self.phase, Phase::Talking | Phase::Reconnecting)
    }
}

/// What the person set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch")]
pub struct Switches {
    /// The microphone is off.
    pub muted: bool,
    /// Microphone and loudspeaker are off.
    pub deafened: bool,
    /// Nobody rings.
    pub do_not_disturb: bool,
    /// When the microphone's sound is sent.
    pub transmit: Transmit,
    /// Whether the person talks, under push-to-talk.
    pub talking: bool,
    /// The loudspeaker's sound is taken out of the microphone's.
    pub echo_cancelling: bool,
    /// Noise is taken out.
    pub noise_suppression: bool,
    /// What is too low for a voice is taken out.
    pub high_pass: bool,
    /// The loudness is evened out.
    pub gain_control: bool,
    /// Files or silence instead of devices: no switch of a device does anything.
    pub without_devices: bool,
    /// Whether the terminal tells when a key is let go, so that the person talks while space is down.
    pub tells_release: bool,
}

/// Which of the three devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DevicePart {
    /// Where the voice comes from.
    Microphone,
    /// Where the contact is heard.
    Speaker,
    /// Where it rings.
    Ringer,
}

impl DevicePart {
    /// Its name in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Microphone => "microphone",
            Self::Speaker => "speaker",
            Self::Ringer => "ringer",
        }
    }
}

/// A list to choose a device from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Menu {
    /// Which device is chosen.
    pub part: DevicePart,
    /// The ids to choose from; `None` is the default.
    pub ids: Vec<Option<String>>,
    /// Their names, in the same order.
    pub names: Vec<String>,
    /// Which of them is marked.
    pub marked: usize,
}

/// A microphone that could stand in for the one that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// What the sound system calls it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The one that was chosen.
    pub instead_of: String,
    /// Whether the person is still to say yes or no.
    pub open: bool,
}

/// Who is there to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Attended {
    /// A person, at a terminal.
    #[default]
    Person,
    /// A program, or nobody, which cannot know what a microphone hears.
    Program,
    /// Nobody: calls are taken without asking.
    Nobody,
}

/// Everything that is shown.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Model {
    /// Whose telephone it is.
    pub name: String,
    /// Where it listens.
    pub address: String,
    /// The time, since the start.
    pub now: Duration,
    /// The calls, the one that is heard first.
    pub calls: Vec<Call>,
    /// Verification words, by contact.
    pub words: Vec<(String, Vec<String>)>,
    /// What the person set.
    pub switches: Switches,
    /// The devices in use: microphone, loudspeaker.
    pub devices: [Option<String>; 2],
    /// The microphone that could stand in for the chosen one, while that is away.
    pub offer: Option<Offer>,
    /// What the person is asked.
    pub asked: Asked,
    /// Who that is.
    pub attended: Attended,
    /// When space was last pressed.
    pub space_at: Option<Duration>,
    /// The list that is open.
    pub menu: Option<Menu>,
    /// The passphrase that is typed in: what for, and how many characters there are. They themselves are not here.
    pub prompt: Option<(String, usize)>,
    /// What happened, the oldest first.
    pub log: VecDeque<LogLine>,
    /// What the echo test found.
    pub echo: Option<EchoHeard>,
    /// Whether it is the echo test.
    pub is_echo_test: bool,
    /// Whether the telephone is ending.
    pub stopping: bool,
}

impl Model {
    /// Takes an event in.
    pub fn apply(&mut self, stamped: &Stamped) {
        self.now = self.now.max(stamped.at);
        self.change(&stamped.event, stamped.at);
        self.settle();
        if let Some((mood, text)) = plain::tell(&stamped.event) {
            if self.log.len() == LOG {
                self.log.pop_front();
            }
            let text = complaint::one_line(&text).into_owned();
            self.log.push_back(LogLine { at: stamped.at, mood, text });
        }
    }

    /// The time goes on.
    pub fn tick(&mut self, now: Duration) {
        self.now = self.now.max(now);
    }

    fn change(&mut self, event: &CallEvent, at: Duration) {
        match event {
            CallEvent::Started { name, address } => {
                self.name.clone_from(name);
                self.address.clone_from(address);
            }
            CallEvent::Words { contact, words } => {
                self.forget_words(contact);
                self.words.push((contact.clone(), words.clone()));
            }
            // They are the words of a connection, and of no later one.
            CallEvent::Dialling { contact, .. }
            | CallEvent::Connected { contact, .. }
            | CallEvent::Disconnected { contact, .. } => self.forget_words(contact),
            CallEvent::Calling { contact, terms } => self.begin(contact, Phase::Calling, *terms),
            CallEvent::Incoming { contact, terms, weaker, .. } => {
                self.begin(contact, Phase::Incoming, *terms);
                self.with(contact, |call| call.proposed_less = *weaker);
            }
            CallEvent::Ringing { contact } => self.with(contact, |call| call.phase = Phase::Ringing),
            CallEvent::Answered { contact, terms } => {
                let mut heard = true;
                self.with(contact, |call| {
                    call.phase = Phase::Talking;
                    call.terms = *terms;
                    call.answered.get_or_insert(at);
                    call.forget_questions();
                    heard = !call.held;
                });
                if heard {
                    self.hear(contact);
                }
            }
            CallEvent::Changed { contact, terms } => self.with(contact, |call| {
                call.terms = *terms;
                call.change_asked = None;
                call.weaker_wanted = false;
                call.left_s = None;
            }),
            CallEvent::ChangeAsked { contact, terms } => self.with(contact, |call| call.change_asked = Some(*terms)),
            CallEvent::TalkLeft { contact, left_s } => self.with(contact, |call| call.left_s = Some(*left_s)),
            CallEvent::WeakerWanted { contact } => self.with(contact, |call| call.weaker_wanted = true),
            CallEvent::Lapsed { contact, question } => self.with(contact, |call| match question.as_str() {
                "change" => call.change_asked = None,
                "weaker" => call.weaker_wanted = false,
                "record" => call.record_asked = false,
                _ => {}
            }),
            CallEvent::Held { contact, on } => {
                self.with(contact, |call| call.held = *on);
                if !on {
                    self.hear(contact);
                }
            }
            CallEvent::HeldByContact { contact, on } => self.with(contact, |call| call.held_by_contact = *on),
            CallEvent::MutedByContact { contact, on } => self.with(contact, |call| call.muted_by_contact = *on),
            CallEvent::RecordAsked { contact } => self.with(contact, |call| call.record_asked = true),
            CallEvent::Recording { contact, on } => self.with(contact, |call| call.recording = *on),
            CallEvent::RecordingByContact { contact, on } => self.with(contact, |call| {
                call.recording_by_contact = *on;
                call.record_asked = false;
            }),
            CallEvent::Reconnecting { contact } => {
                self.forget_words(contact);
                self.with(contact, |call| {
                    call.phase = Phase::Reconnecting;
                    call.forget_questions();
                });
            }
            CallEvent::Tick(tick) => self.with(&tick.contact, |call| {
                call.left_s = tick.key_left_s;
                call.tick = Some((**tick).clone());
            }),
            CallEvent::Ended { contact, .. } => {
                self.calls.retain(|call| call.contact != *contact);
                if self.calls.is_empty() {
                    // No device is open, and none is needed.
                    self.offer = None;
                    self.devices = [None, None];
                }
            }
            CallEvent::DeviceOpened { part, name, .. } => self.device(part, Some(name)),
            CallEvent::DeviceLost { part, .. } => self.device(part, None),
            CallEvent::DeviceOffered { id, name, instead_of, .. } => {
                let [name, instead_of] = [name, instead_of].map(|name| complaint::one_line(name).into_owned());
                let id = id.clone();
                self.offer = Some(Offer { id, name, instead_of, open: true });
            }
            CallEvent::DeviceWithdrawn { id, .. } => self.offer = self.offer.take().filter(|offer| offer.id != *id),
            CallEvent::EchoHeard(heard) => self.echo = Some(*heard),
            CallEvent::Stopped { .. } => self.stopping = true,
            _ => {}
        }
    }

    fn begin(&mut self, contact: &str, phase: Phase, terms: Terms) {
        self.calls.retain(|call| call.contact != contact);
        self.calls.push(Call {
            contact: contact.to_owned(),
            phase,
            terms,
            proposed_less: false,
            answered: None,
            decided: false,
            held: false,
            held_by_contact: false,
            muted_by_contact: false,
            recording: false,
            recording_by_contact: false,
            change_asked: None,
            record_asked: false,
            weaker_wanted: false,
            tick: None,
            left_s: None,
        });
    }

    fn forget_words(&mut self, contact: &str) {
        self.words.retain(|(whose, _)| whose != contact);
    }

    fn with(&mut self, contact: &str, change: impl FnOnce(&mut Call)) {
        if let Some(call) = self.calls.iter_mut().find(|call| call.contact == contact) {
            change(call);
        }
    }

    /// The call that is heard comes first.
    fn hear(&mut self, contact: &str) {
        self.calls.sort_by_key(|call| call.contact != contact);
    }

    fn device(&mut self, part: &str, name: Option<&String>) {
        let slot = match part {
            "microphone" => 0,
            "speaker" => 1,
            _ => return,
        };
        self.devices[slot] = name.map(|name| complaint::one_line(name).into_owned());
        if slot == 0 && name.is_some() {
            // Whatever was offered, this is the microphone now.
            self.offer = None;
        }
    }

    /// The call that the keys are about: the one that is heard, else the first that there is.
    pub fn call(&self) -> Option<&Call> {
        self.calls.first()
    }

    /// The verification words of a contact.
    pub fn words_of(&self, contact: &str) -> Option<String> {
        let words = self.words.iter().find(|(whose, _)| whose == contact);
        words.map(|(_, words)| words.join(" ")).filter(|words| !words.is_empty())
    }

    /// What the person is asked, if anything: one question at a time.
    pub fn question(&self) -> Option<&Question> {
        self.asked.question()
    }

    /// Everything that waits for an answer, the most pressing first.
    fn open(&self) -> Vec<Question> {
        let mut open = Vec::new();
        let asks = self.attended != Attended::Nobody;
        for call in self.calls.iter().filter(|call| call.phase == Phase::Talking) {
            let contact = || call.contact.clone();
            let change = call.change_asked.filter(|_| asks);
            let change =
                change.map(|terms| Question::Change { contact: contact(), suite: terms.suite, now: call.terms.suite });
            open.extend(change);
            open.extend(call.weaker_wanted.then(|| Question::Weaker { contact: contact() }));
            open.extend((call.record_asked && asks).then(|| Question::Record { contact: contact() }));
        }
        if let Some(Offer { id, name, instead_of, open: true }) = &self.offer
            && self.attended == Attended::Person
        {
            let (id, name, instead_of) = (id.clone(), name.clone(), instead_of.clone());
            open.push(Question::StandIn { id, name, instead_of });
        }
        let rings = self.calls.iter().filter(|call| asks && call.phase == Phase::Incoming && !call.decided);
        open.extend(rings.map(|call| Question::Ring {
            contact: call.contact.clone(),
            less: call.proposed_less.then_some(call.terms.suite),
        }));
        let rank = |question: &Question| match question {
            Question::Change { .. } => 0,
            Question::Weaker { .. } => 1,
            Question::StandIn { .. } => 2,
            Question::Record { .. } => 3,
            Question::Ring { .. } => 4,
        };
        open.sort_by_key(rank);
        open
    }

    fn settle(&mut self) {
        let open = self.open();
        self.asked.settle(open, self.now);
    }

    /// The question was answered, and goes away.
    pub fn answer(&mut self, question: &Question) {
        match question {
            Question::Ring { contact, .. } => self.with(contact, |call| call.decided = true),
            Question::Change { contact, .. } => self.with(contact, |call| call.change_asked = None),
            Question::Weaker { contact } => self.with(contact, |call| call.weaker_wanted = false),
            Question::Record { contact } => self.with(contact, |call| call.record_asked = false),
            Question::StandIn { .. } => {
                if let Some(offer) = &mut self.offer {
                    offer.open = false;
                }
            }
        }
        self.settle();
    }

    /// The person said what to do about a call that rings.
    pub(super) fn decide(&mut self, contact: &str) {
        self.with(contact, |call| call.decided = true);
        self.settle();
    }

    /// How long the call that is heard lasts.
    pub fn lasted(&self, call: &Call) -> Option<Duration> {
        call.answered.map(|since| self.now.saturating_sub(since))
    }
}
