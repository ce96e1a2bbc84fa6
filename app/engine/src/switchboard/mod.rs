//! The shell around the telephone: what happens becomes [`Input`]s of [`Phone`], and its [`Output`]s become orders to
//! conversations, calls' own tasks, and events.
//!
//! It decides nothing about calls itself but what needs the machine: whether terms make a codec, whether there is pad for
//! them, and how a lost contact is dialled again.

mod adapt;
mod first_pad;
mod line;
mod redial;
mod sound;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use vernam_session::{CallTerms, HangUpReason, Message, Suite};

use self::adapt::{Adapt, Told};
pub(crate) use self::line::Line;
pub(crate) use self::redial::Redials;
use self::sound::LiveCall;
use crate::command::{CallProposal, Command, VoiceIo};
use crate::event::{CallStats, Event};
use crate::limits::{MAX_CALLS, PHONE_NOTES, RAISE_SECONDS, RECONNECT_FOR, RING_TIMEOUT};
use crate::media::{MediaInput, MediaNote, SharedTape};
use crate::peer::{Order, PeerNote, Shared};
use crate::phone::{
    CallRecord, CallState, CallView, Carried, Input, Output, Phone, PhoneEvent, PhoneSettings, Policy, Transmit,
};
use crate::words::words_of;

/// What calls' own tasks say: whose call, which task, and what.
pub(crate) type MediaNotice = (Arc<str>, u64, MediaNote);

/// The telephone and everything it directs. (The locks are never contended: they make the owners of sound shareable by
/// type.)
pub(crate) struct Switchboard {
    phone: Phone,
    shared: Arc<Shared>,
    notes: mpsc::Sender<MediaNotice>,
    lines: BTreeMap<String, Line>,
    calls: BTreeMap<String, LiveCall>,
    /// The sound of calls that are not taken yet.
    sounds: BTreeMap<String, Mutex<Box<dyn VoiceIo>>>,
    /// What records a call once the contact agrees, until the recording is over.
    tapes: BTreeMap<String, SharedTape>,
    /// Which bit rate calls should have.
    adapting: BTreeMap<String, Adapt>,
    /// Contacts whose calls keep the bit rate that was agreed on.
    steady: BTreeSet<String>,
    /// How calls went that the telephone has still to write down.
    ended: BTreeMap<String, Box<CallStats>>,
    /// What calls carried whose end the telephone has still to tell.
    carried: BTreeMap<String, Carried>,
    transmit: Transmit,
    talk: bool,
    tasks: u64,
    /// Whom to dial again.
    pub(crate) redials: Redials,
}

impl Switchboard {
    /// A switchboard without a call, and what calls' own tasks will say.
    pub(crate) fn new(shared: Arc<Shared>) -> (Self, mpsc::Receiver<MediaNotice>) {
        let (notes, said) = mpsc::channel(PHONE_NOTES);
        let settings = PhoneSettings {
            name: shared.name.clone(),
            ring_for: RING_TIMEOUT,
            reconnect_for: RECONNECT_FOR,
            max_calls: MAX_CALLS,
        };
        let this = Self {
            phone: Phone::new(settings),
            shared,
            notes,
            lines: BTreeMap::new(),
            calls: BTreeMap::new(),
            sounds: BTreeMap::new(),
            tapes: BTreeMap::new(),
            adapting: BTreeMap::new(),
            steady: BTreeSet::new(),
            ended: BTreeMap::new(),
            carried: BTreeMap::new(),
            transmit: Transmit::default(),
            talk: false,
            tasks: 0,
            redials: Redials::default(),
        };
        (this, said)
    }

    /// When [`Self::time`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.phone.deadline().map(|deadline| self.shared.epoch + deadline)
    }

    /// Whether sound flows with anybody.
    pub(crate) fn is_talking(&self) -> bool {
        !self.calls.is_empty()
    }

    /// The time has come.
    pub(crate) async fn time(&mut self) {
        let now = self.now();
        if self.phone.deadline().is_some_and(|deadline| deadline <= now) {
            self.phone.handle_time(now);
            self.obey().await;
        }
    }

    /// A conversation began; nothing is proved yet.
    pub(crate) fn connected(&mut self, contact: &str, line: Line) {
        self.lines.insert(contact.to_owned(), line);
    }

    /// A conversation is over: properly, badly, or because the network took it, so that it may come back.
    pub(crate) async fn disconnected(&mut self, contact: &str, proper: bool, lost: bool) {
        self.lines.remove(contact);
        if lost {
            self.redials.failed(contact, Instant::now());
        }
        let contact = contact.to_owned();
        if !proper {
            self.input(Input::Lost { contact: contact.clone() }).await;
        }
        if !lost {
            self.input(Input::Over { contact }).await;
        }
    }

    /// What may protect a contact's calls.
    pub(crate) async fn set_policy(&mut self, contact: &str, policy: Policy, adapts: bool) {
        if adapts {
            self.steady.remove(contact);
        } else {
            self.steady.insert(contact.to_owned());
        }
        self.input(Input::Policy { contact: contact.to_owned(), policy }).await;
    }

    /// Ends every call, with a word to the contacts.
    pub(crate) async fn hang_up_all(&mut self) {
        for call in self.phone.calls() {
            self.input(Input::HangUp { contact: call.contact, reason: HangUpReason::HungUp }).await;
        }
    }

    /// Lets go of every conversation, which then ends.
    pub(crate) fn forget_lines(&mut self) {
        self.lines.clear();
    }

    /// Carries out a command about calls, or gives it back.
    pub(crate) async fn command(&mut self, command: Command) -> Option<Command> {
        match command {
            Command::Call { contact, proposal, io } => self.call(contact, proposal, io).await,
            Command::Answer { contact, io } => {
                self.keep_sound(&contact, io);
                self.input(Input::Answer { contact }).await;
            }
            Command::HangUp { contact, reason } => self.input(Input::HangUp { contact, reason }).await,
            Command::Hold { contact, on } => self.input(Input::Hold { contact, on }).await,
            Command::Mute(on) => self.input(Input::Mute(on)).await,
            Command::Deafen(on) => self.input(Input::Deafen(on)).await,
            Command::DoNotDisturb(on) => self.input(Input::DoNotDisturb(on)).await,
            Command::Transmit(transmit) => {
                self.transmit = transmit;
                self.calls.values().for_each(|call| call.give(MediaInput::Transmit(transmit)));
            }
            Command::Talk(on) => {
                self.talk = on;
                self.calls.values().for_each(|call| call.give(MediaInput::Talk(on)));
            }
            Command::ChangeTerms { contact, proposal } => self.change(contact, proposal).await,
            Command::AnswerChange { contact, yes } => self.input(Input::AnswerChange { contact, yes }).await,
            Command::Record { contact, tape } => {
                let on = tape.is_some();
                self.tapes.remove(&contact);
                if let Some(tape) = tape {
                    self.tapes.insert(contact.clone(), Arc::new(Mutex::new(tape)));
                }
                self.input(Input::Record { contact, on }).await;
            }
            Command::AnswerRecord { contact, yes } => self.input(Input::AnswerRecord { contact, yes }).await,
            // A conversation that is left properly says first that the call is over.
            Command::Disconnect { contact } => {
                if self.phone.calls().iter().any(|call| call.contact == contact) {
                    self.input(Input::HangUp { contact: contact.clone(), reason: HangUpReason::HungUp }).await;
                }
                return Some(Command::Disconnect { contact });
            }
            other => return Some(other),
        }
        None
    }

    async fn call(&mut self, contact: String, proposal: CallProposal, io: Box<dyn VoiceIo>) {
        let Some(terms) = proposal.terms() else {
            return self.warn(contact, "this codec setting cannot be offered").await;
        };
        let Some(line) = self.lines.get_mut(&contact) else {
            let text = format!("{contact} is not connected");
            return self.warn(contact, text).await;
        };
        let number = line.new_number();
        self.keep_sound(&contact, io);
        self.input(Input::Call { contact, number, terms }).await;
    }

    /// Keeps the sound for a call that may begin. A call of ours that rings keeps what it was made with.
    fn keep_sound(&mut self, contact: &str, io: Box<dyn VoiceIo>) {
        let rings_there = |call: &CallView| matches!(call.state, CallState::Calling | CallState::Ringing);
        if !self.phone.calls().iter().any(|call| call.contact == contact && rings_there(call)) {
            self.sounds.insert(contact.to_owned(), Mutex::new(io));
        }
    }

    async fn change(&mut self, contact: String, proposal: CallProposal) {
        let same_frames = self
            .calls
            .get(&contact)
            .is_none_or(|call| u32::from(call.terms.frame_ms) == proposal.codec.frame().millis());
        let Some(terms) = proposal.terms().filter(|_| same_frames) else {
            return self.warn(contact, "a running call keeps its length of frames").await;
        };
        if !self.has_key_for(&contact, terms) {
            return self.warn(contact, "there is too little key in stock for one-time pad").await;
        }
        if let Some(line) = self.lines.get_mut(&contact) {
            let number = line.new_number();
            self.input(Input::Change { contact, number, terms }).await;
        }
    }

    /// Whether a running call may go over to `terms` without running dry at once.
    fn has_key_for(&self, contact: &str, terms: CallTerms) -> bool {
        let already = self.calls.get(contact).is_some_and(|call| call.terms.suite == Suite::Otp);
        terms.suite != Suite::Otp
            || already
            || self.lines.get(contact).is_some_and(|line| line.seconds_of_pad(terms, 0) >= RAISE_SECONDS)
    }

    /// A conversation says something; `line` is which.
    pub(crate) async fn peer_note(&mut self, contact: &str, line: u64, note: PeerNote) {
        let Some(known) = self.lines.get_mut(contact).filter(|known| known.id == line) else { return };
        let contact = contact.to_owned();
        match note {
            PeerNote::Established { suites, verification } => {
                known.stand(verification);
                let number = known.new_number();
                self.input(Input::Established { contact, suites, number }).await;
            }
            PeerNote::Message(Message::Quality { call, lost_percent, burst_tenths, .. }) => {
                if let Some(live) = self.calls.get(&contact).filter(|live| live.call == call) {
                    live.give(MediaInput::Quality { lost_percent, burst_tenths });
                }
            }
            PeerNote::Message(message) => {
                // One-time pad that is not there cannot be agreed on, whoever wants it.
                if let Message::ChangeAsk { new, terms, .. } = message
                    && !self.has_key_for(&contact, terms)
                {
                    return self.order(&contact, Order::Send(Message::ChangeAnswer { new, yes: false }));
                }
                self.input(Input::Message { contact, message }).await;
            }
            PeerNote::VoiceFailed { call, why } => self.sound_failed(contact, call, &why).await,
        }
    }

    /// A call's own task says something.
    pub(crate) async fn media_note(&mut self, (contact, task, note): MediaNotice) {
        if self.calls.get(&*contact).is_none_or(|call| call.id != task) {
            return;
        }
        let contact = contact.to_string();
        match note {
            MediaNote::Tick(mut stats) => {
                if let Some(live) = self.calls.get_mut(&contact) {
                    live.carried = stats.carried();
                }
                if let (Some(in_hand), Some(line)) = (stats.packets_in_hand, self.lines.get(&contact)) {
                    let seconds = line.seconds_of_pad(stats.terms, in_hand);
                    stats.key_left = Some(Duration::from_secs(seconds));
                    let coming =
                        self.calls.get_mut(&contact).map(|live| live.first_pad.is_coming(stats.lasted, seconds));
                    if coming != Some(true) {
                        self.input(Input::TalkLeft { contact: contact.clone(), seconds }).await;
                    }
                }
                self.adapt(&contact, &stats).await;
                let _missed = self.shared.events.try_send(Event::CallTick { contact, stats });
            }
            MediaNote::KeyOver { call } => self.input(Input::KeyUsedUp { contact, call }).await,
            MediaNote::Failed { call, why } => self.sound_failed(contact, call, why).await,
            MediaNote::Lost => {
                if let Some(line) = self.lines.get_mut(&contact) {
                    line.lost = true;
                }
                self.input(Input::Lost { contact }).await;
            }
            MediaNote::Back => {
                // The old connection came back before there was a new one.
                let Some(line) = self.lines.get_mut(&contact).filter(|line| line.lost) else { return };
                line.lost = false;
                self.input(Input::Back { contact }).await;
            }
        }
    }

    /// Whether the connection to a contact is taken for lost.
    pub(crate) fn is_lost(&self, contact: &str) -> bool {
        self.lines.get(contact).is_none_or(|line| line.lost)
    }

    async fn sound_failed(&mut self, contact: String, call: u32, why: &str) {
        self.warn(contact.clone(), format!("the call cannot go on: {why}")).await;
        self.input(Input::SoundFailed { contact, call }).await;
    }

    /// Asks for another bit rate where the network or the stock of pad wants it. The calling side alone does, so that two
    /// wishes never cross: it knows the loss and the stock of both directions.
    async fn adapt(&mut self, contact: &str, stats: &CallStats) {
        let now = self.now();
        let view = self.phone.calls().into_iter().find(|call| call.contact == contact);
        let active = |call: &CallView| call.ours && call.state == CallState::Active && !call.held_by_contact;
        let Some(view) = view.filter(active).filter(|_| !self.steady.contains(contact)) else { return };
        let (Some(line), Some(adapt)) = (self.lines.get_mut(contact), self.adapting.get_mut(contact)) else { return };
        let Some(terms) = adapt.look(view.terms, stats, line.scarce(), now) else { return };
        let number = line.new_number();
        adapt.asks = true;
        self.input(Input::Change { contact: contact.to_owned(), number, terms }).await;
        if let Some(adapt) = self.adapting.get_mut(contact) {
            adapt.asks = false;
        }
    }

    async fn input(&mut self, input: Input) {
        let now = self.now();
        self.phone.handle(input, now);
        self.obey().await;
    }

    /// Carries out what the telephone says.
    async fn obey(&mut self) {
        while let Some((contact, call, why)) = self.obey_once().await {
            self.warn(contact.clone(), format!("the call cannot go on: {why}")).await;
            let now = self.now();
            self.phone.handle(Input::SoundFailed { contact, call }, now);
        }
    }

    /// The same, until a call's sound could not be started: that is for the telephone to hear next.
    async fn obey_once(&mut self) -> Option<(String, u32, String)> {
        let (mut records, mut failed, mut started) = (Vec::new(), None, BTreeSet::new());
        while let Some(output) = self.phone.poll_output() {
            match output {
                Output::Send { contact, message } => {
                    if let Some(adapt) = self.adapting.get_mut(&contact) {
                        adapt.sent(&message);
                    }
                    self.order(&contact, Order::Send(message));
                }
                Output::Start { contact, call, terms } => match self.start(&contact, call, terms) {
                    Ok(()) => {
                        started.insert(contact);
                    }
                    Err(why) => failed = Some((contact, call, why)),
                },
                Output::Change { contact, call, terms } => self.open_voice(&contact, call, terms),
                Output::Sound { contact, sending, hearing } => {
                    started.remove(&contact);
                    self.give(&contact, MediaInput::Sound { sending, hearing });
                }
                Output::Wait { contact } => self.give(&contact, MediaInput::Wait),
                Output::Stop { contact } => self.stop(&contact).await,
                Output::Record { contact, on } => {
                    let tape = self.tapes.get(&contact).filter(|_| on).map(Arc::clone);
                    if on && tape.is_none() {
                        self.warn(contact.clone(), "nothing is recorded: begin the recording again").await;
                    }
                    self.give(&contact, MediaInput::Record(tape));
                }
                Output::Redial { contact, on } => self.redials.set(&contact, on),
                Output::Play(tone) => self.tell(Event::Tone(tone)).await,
                Output::Tell { contact, mut event } => {
                    // Over an outage nothing is written and the recording goes on; this is its end.
                    if matches!(event, PhoneEvent::Recorded { ours: true, on: false } | PhoneEvent::RecordDeclined) {
                        self.tapes.remove(&contact);
                    }
                    if let PhoneEvent::Ended { carried: Some(carried), .. } = &mut event {
                        *carried = self.carried.remove(&contact).unwrap_or_default();
                    }
                    let now = self.now();
                    let told = match &event {
                        PhoneEvent::Answered { terms } => {
                            let adapt = self.adapting.entry(contact.clone()).or_insert_with(|| Adapt::new(*terms, now));
                            adapt.told(&event)
                        }
                        event => self.adapting.get_mut(&contact).map_or(Told::ToThePerson, |adapt| adapt.told(event)),
                    };
                    if told == Told::ToThePerson {
                        self.tell(Event::Call { contact, event }).await;
                    }
                }
                Output::Note(record) => records.push(record),
            }
        }
        // A start is silent both ways unless the same breath said otherwise.
        for contact in started {
            self.give(&contact, MediaInput::Sound { sending: false, hearing: false });
        }
        // After the sound's end, which tells how the call went.
        for record in records {
            self.write_down(record).await;
        }
        let calls = self.phone.calls();
        // Sound that nothing came of is let go: it may hold a microphone open.
        self.sounds.retain(|contact, _| {
            calls
                .iter()
                .any(|call| call.contact == *contact && !matches!(call.state, CallState::Active | CallState::Held))
        });
        failed
    }

    async fn write_down(&mut self, record: CallRecord) {
        self.tapes.remove(&record.contact);
        self.adapting.remove(&record.contact);
        self.redials.set(&record.contact, false);
        let stats = self.ended.remove(&record.contact);
        self.tell(Event::CallRecord { record, stats }).await;
    }

    fn order(&self, contact: &str, order: Order) {
        if let Some(line) = self.lines.get(contact) {
            line.order(order);
        }
    }

    fn give(&self, contact: &str, input: MediaInput) {
        if let Some(call) = self.calls.get(contact) {
            call.give(input);
        }
    }

    fn now(&self) -> Duration {
        self.shared.epoch.elapsed()
    }

    async fn tell(&mut self, event: Event) {
        let _gone = self.shared.events.send(event).await;
    }

    async fn warn(&mut self, contact: String, text: impl Into<String>) {
        self.tell(Event::Warning { contact, text: text.into() }).await;
    }

    /// Tells a conversation's verification words, once, as soon as they are computed.
    fn tell_words(&mut self, contact: &str) {
        let Some(verification) = self.lines.get_mut(contact).and_then(Line::untold_words) else { return };
        let (events, contact) = (self.shared.events.clone(), contact.to_owned());
        tokio::spawn(async move {
            let words = tokio::task::spawn_blocking(move || words_of(&verification)).await;
            let event = match words {
                Ok(Ok(words)) => Event::Words { contact, words },
                Ok(Err(error)) => {
                    Event::Warning { contact, text: format!("no verification words could be made: {error}") }
                }
                Err(_shutting_down) => return,
            };
            let _gone = events.send(event).await;
        });
    }
}

fn into_inner<T>(kept: Mutex<T>) -> T {
    kept.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}
