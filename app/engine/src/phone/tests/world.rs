//! Telephones joined by conversations that deliver in order, as late as one likes, and that come and go. What they must
//! never do is checked at every step.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;

pub(super) const NAMES: [&str; 3] = ["alice", "bob", "carol"];
/// More than any single input may cause.
const MOST_OUTPUTS: usize = 48;

/// A message under way, in which conversation, and which wish to record it tells of.
struct Letter {
    session: u32,
    message: Message,
    wish: u32,
}

/// One direction, and the side that sends.
#[derive(Default)]
struct Side {
    /// The conversation that this side takes part in.
    at: Option<u32>,
    /// The last one that it took part in.
    last: u32,
    /// Whether its telephone thinks that the other can be reached.
    up: bool,
    next_number: u32,
    /// The highest number that the other side gave.
    last_number: u32,
    queue: VecDeque<Letter>,
    ghost: Ghost,
}

/// What a person has said to the telephone, as far as it matters for what that may do.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent things that are so or not")]
struct Ghost {
    /// Wanted the call: made it or took it.
    wants: bool,
    /// Under which suite the person called, until it answers a call that rings.
    called_under: Option<Suite>,
    /// Said yes to terms that protect less, since they last changed.
    weaker: bool,
    last_suite: Option<Suite>,
    /// Numbers under which both agreed to talk, with their conversation.
    agreed: BTreeSet<(u32, u32)>,
    /// What the telephone does: the flows' number, and what is sent and heard.
    flow: Option<(u32, CallTerms, bool, bool)>,
    waiting: bool,
    writing: bool,
    /// The number of our last wish to record.
    wish: u32,
    /// The contact's wish that we were asked for, and the last one that we agreed to.
    question: u32,
    consent: Option<u32>,
    /// Whether a wish of the contact is before us.
    asked: bool,
    /// What a screen would ask, from events alone.
    open: BTreeSet<Question>,
    /// Whether a screen would show the call as held by us.
    held: bool,
}

pub(super) struct World {
    pub(super) phones: Vec<Phone>,
    sides: BTreeMap<(usize, usize), Side>,
    newest: BTreeMap<(usize, usize), u32>,
    pub(super) now: Duration,
    /// What was told, last.
    pub(super) told: Vec<(usize, String, PhoneEvent)>,
    pub(super) notes: Vec<(usize, CallRecord)>,
    pub(super) tones: Vec<Option<Tone>>,
    pub(super) sent: Vec<(usize, Message)>,
    suites: Vec<Suite>,
    /// Whether it is a person that wants to record just now, and not a telephone that tells it again.
    wishing: bool,
}

fn pair(i: usize, j: usize) -> (usize, usize) {
    (i.min(j), i.max(j))
}

impl World {
    /// Everybody connected with everybody.
    pub(super) fn new(people: usize, max_calls: usize) -> Self {
        let mut world = Self {
            phones: NAMES[..people].iter().map(|name| Phone::new(settings(name, max_calls))).collect(),
            sides: BTreeMap::new(),
            newest: BTreeMap::new(),
            now: secs(100),
            told: Vec::new(),
            notes: Vec::new(),
            tones: vec![None; people],
            sent: Vec::new(),
            suites: Suite::ALL.to_vec(),
            wishing: false,
        };
        let pairs = (0..people).flat_map(|i| (0..people).map(move |j| (i, j))).filter(|(i, j)| i != j);
        for (i, j) in pairs {
            world.sides.insert((i, j), Side::default());
        }
        for (i, j) in world.pairs() {
            world.new_session(i, j);
            world.establish(i, j);
            world.establish(j, i);
        }
        world
    }

    fn pairs(&self) -> Vec<(usize, usize)> {
        self.sides.keys().copied().filter(|(i, j)| i < j).collect()
    }

    fn side(&mut self, i: usize, j: usize) -> &mut Side {
        self.sides.get_mut(&(i, j)).unwrap()
    }

    pub(super) fn view(&self, i: usize, j: usize) -> Option<CallView> {
        self.phones[i].calls().into_iter().find(|view| view.contact == NAMES[j])
    }

    pub(super) fn state(&self, i: usize, j: usize) -> Option<CallState> {
        self.view(i, j).map(|view| view.state)
    }

    /// Sending and hearing.
    pub(super) fn sound(&self, i: usize, j: usize) -> Option<(bool, bool)> {
        self.sides[&(i, j)].ghost.flow.map(|(_, _, sending, hearing)| (sending, hearing))
    }

    pub(super) fn writes(&self, i: usize, j: usize) -> bool {
        self.sides[&(i, j)].ghost.writing
    }

    pub(super) fn allow(&mut self, suites: &[Suite]) {
        self.suites = suites.to_vec();
    }

    /// The client of `i` was started anew: nothing is left of what it and its person did.
    pub(super) fn forget(&mut self, i: usize) {
        for (_, side) in self.sides.iter_mut().filter(|((own, _), _)| *own == i) {
            (side.at, side.up, side.ghost) = (None, false, Ghost::default());
            side.queue.clear();
        }
    }

    /// A conversation begins to be made; each side learns of it by [`Self::establish`].
    pub(super) fn new_session(&mut self, i: usize, j: usize) {
        *self.newest.entry(pair(i, j)).or_default() += 1;
    }

    pub(super) fn establish(&mut self, i: usize, j: usize) {
        let newest = self.newest[&pair(i, j)];
        let suites = self.suites.clone();
        let side = self.side(i, j);
        if side.last == newest {
            return;
        }
        side.last = newest;
        // Who dials has even numbers, the other one odd ones: by turns.
        let even = newest.is_multiple_of(2) == (i < j);
        (side.at, side.up, side.last_number) = (Some(newest), true, 0);
        side.next_number = if even { 2 } else { 3 };
        let number = self.number(i, j);
        self.input(i, Input::Established { contact: NAMES[j].to_owned(), suites, number });
    }

    pub(super) fn number(&mut self, i: usize, j: usize) -> u32 {
        let side = self.side(i, j);
        side.next_number += 2;
        side.next_number - 2
    }

    pub(super) fn lose(&mut self, i: usize, j: usize) {
        self.side(i, j).up = false;
        self.input(i, Input::Lost { contact: NAMES[j].to_owned() });
    }

    /// Only where the other side is still in the same conversation can it be heard again.
    pub(super) fn back(&mut self, i: usize, j: usize) {
        let (mine, theirs) = (self.sides[&(i, j)].at, self.sides[&(j, i)].at);
        if mine.is_some() && mine == theirs && !self.sides[&(i, j)].up {
            self.side(i, j).up = true;
            self.input(i, Input::Back { contact: NAMES[j].to_owned() });
        }
    }

    pub(super) fn over(&mut self, i: usize, j: usize) {
        let side = self.side(i, j);
        (side.at, side.up) = (None, false);
        side.queue.clear();
        self.input(i, Input::Over { contact: NAMES[j].to_owned() });
    }

    /// The oldest message from `i` to `j` arrives, or is found to be of a conversation that `j` has left. Whether there was one.
    pub(super) fn deliver(&mut self, i: usize, j: usize) -> bool {
        let at = self.sides[&(j, i)].at;
        let side = self.side(i, j);
        match side.queue.front() {
            None => return false,
            // Not there yet.
            Some(letter) if at.is_none_or(|at| letter.session > at) && side.at == Some(letter.session) => return false,
            Some(_) => {}
        }
        let Letter { session, message, wish } = side.queue.pop_front().unwrap();
        if at != Some(session) {
            return true;
        }
        let new = match message {
            Message::Ring { call, .. } | Message::Resume { call, .. } => Some(call),
            Message::ChangeAsk { new, .. } => Some(new),
            _ => None,
        };
        let own = self.side(j, i);
        if let Some(number) = new {
            assert!(number > own.last_number, "{} gave number {number} late or twice", NAMES[i]);
            own.last_number = number;
        }
        match message {
            Message::Answer { call } => drop(own.ghost.agreed.insert((session, call))),
            Message::ChangeAnswer { new, yes: true } => drop(own.ghost.agreed.insert((session, new))),
            Message::RecordAsk { .. } => own.ghost.question = wish,
            _ => {}
        }
        self.input(j, Input::Message { contact: NAMES[i].to_owned(), message });
        true
    }

    /// Everything under way arrives, and what that causes.
    pub(super) fn deliver_all(&mut self) {
        let ways: Vec<_> = self.sides.keys().copied().collect();
        for _round in 0..1_000 {
            if !ways.iter().fold(false, |any, (i, j)| self.deliver(*i, *j) || any) {
                return;
            }
        }
        panic!("messages cause messages without end");
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        for i in 0..self.phones.len() {
            let before = self.phones[i].calls();
            self.phones[i].handle_time(self.now);
            self.obey(i, &before);
        }
    }

    pub(super) fn input(&mut self, i: usize, input: Input) {
        let before = self.phones[i].calls();
        self.note_wish(i, &input, &before);
        self.wishing = matches!(input, Input::Record { .. });
        self.phones[i].handle(input, self.now);
        self.obey(i, &before);
    }

    /// What the person says, for the record.
    fn note_wish(&mut self, i: usize, input: &Input, before: &[CallView]) {
        let (Input::Call { contact, .. }
        | Input::Answer { contact }
        | Input::Change { contact, .. }
        | Input::AnswerChange { contact, .. }
        | Input::Record { contact, .. }
        | Input::AnswerRecord { contact, .. }) = input
        else {
            return;
        };
        let j = NAMES.iter().position(|name| name == contact).unwrap();
        let view = before.iter().find(|view| view.contact == *contact);
        let ghost = &mut self.side(i, j).ghost;
        match input {
            Input::Call { terms, .. } => {
                let met = view.is_some_and(|view| {
                    view.state == CallState::Incoming && !terms::weaker(view.terms.suite, terms.suite)
                });
                if view.is_none() || met {
                    (ghost.wants, ghost.called_under) = (true, Some(terms.suite));
                }
            }
            Input::Answer { .. } if view.is_some_and(|view| view.state == CallState::Incoming) => {
                (ghost.wants, ghost.called_under) = (true, None);
            }
            Input::Change { terms, .. } => {
                ghost.weaker |= terms.suite != Suite::Otp;
                if view.is_some_and(|view| terms::weaker(terms.suite, view.terms.suite)) {
                    ghost.open.remove(&Question::Weaker);
                }
            }
            Input::AnswerChange { yes, .. } => {
                ghost.weaker |= yes;
                ghost.open.remove(&Question::Change);
            }
            // Only what is new is a wish of its own; the telephone says so by asking.
            Input::AnswerRecord { yes, .. } => {
                ghost.consent = if *yes { ghost.consent.or(ghost.asked.then_some(ghost.question)) } else { None };
                ghost.asked = false;
                ghost.open.remove(&Question::Record);
            }
            _ => {}
        }
    }

    /// Carries out what a telephone says, and checks that it may.
    fn obey(&mut self, i: usize, before: &[CallView]) {
        let outputs: Vec<_> = std::iter::from_fn(|| self.phones[i].poll_output()).collect();
        assert!(outputs.len() <= MOST_OUTPUTS, "{} outputs at once", outputs.len());
        let mut noted = BTreeMap::<String, usize>::new();
        for output in outputs {
            match output {
                Output::Send { contact, message } => self.send(i, &contact, message),
                Output::Play(tone) => self.tones[i] = tone,
                Output::Tell { contact, event } => {
                    let j = NAMES.iter().position(|name| *name == contact).unwrap();
                    self.side(i, j).ghost.is_told(&event);
                    self.told.push((i, contact, event));
                }
                Output::Note(record) => {
                    *noted.entry(record.contact.clone()).or_default() += 1;
                    let j = NAMES.iter().position(|name| *name == record.contact).unwrap();
                    let ghost = &mut self.side(i, j).ghost;
                    assert!(ghost.flow.is_none() && !ghost.writing, "a call ended, its sound did not");
                    *ghost = Ghost { wish: ghost.wish, question: ghost.question, ..Ghost::default() };
                    self.notes.push((i, record));
                }
                other => self.sound_output(i, &other),
            }
            let heard = self.sides.iter().filter(|((own, _), side)| {
                *own == i && side.ghost.flow.is_some_and(|(_, _, sending, hearing)| sending || hearing)
            });
            assert!(heard.count() <= 1, "{} hears two calls at once", NAMES[i]);
        }
        self.check(i, before, &noted);
    }

    fn send(&mut self, i: usize, contact: &str, message: Message) {
        let j = NAMES.iter().position(|name| *name == contact).unwrap();
        let new_wish = matches!(message, Message::RecordAsk { .. }) && self.wishing;
        self.sent.push((i, message.clone()));
        let side = self.side(i, j);
        let Some(session) = side.at else { return };
        match message {
            Message::Answer { call } => {
                assert!(side.ghost.wants, "{} answers for its person", NAMES[i]);
                side.ghost.agreed.insert((session, call));
            }
            Message::ChangeAnswer { new, yes: true } => drop(side.ghost.agreed.insert((session, new))),
            _ => {}
        }
        side.ghost.wish += u32::from(new_wish);
        let wish = side.ghost.wish;
        side.queue.push_back(Letter { session, message, wish });
    }

    fn sound_output(&mut self, i: usize, output: &Output) {
        let (Output::Start { contact, .. }
        | Output::Change { contact, .. }
        | Output::Sound { contact, .. }
        | Output::Wait { contact }
        | Output::Stop { contact }
        | Output::Record { contact, .. }
        | Output::Redial { contact, .. }) = output
        else {
            panic!("{output:?} is not about sound");
        };
        let j = NAMES.iter().position(|name| name == contact).unwrap();
        let consent = self.may_record(i, j);
        let side = self.side(i, j);
        let (session, ghost) = (side.at, &mut side.ghost);
        match *output {
            Output::Start { call, terms, .. } => {
                assert!(ghost.flow.is_none(), "sound starts twice");
                assert!(ghost.wants, "sound without the person's word");
                assert!(ghost.agreed.contains(&(session.unwrap(), call)), "sound that was not agreed on");
                ghost.goes_under(terms);
                (ghost.flow, ghost.waiting) = (Some((call, terms, false, false)), false);
            }
            Output::Change { call, terms, .. } => {
                let flow = ghost.flow.as_mut().expect("only sound that flows can change");
                (flow.0, flow.1) = (call, terms);
                ghost.goes_under(terms);
            }
            Output::Sound { sending, hearing, .. } => {
                let flow = ghost.flow.as_mut().expect("only sound that flows can be switched");
                (flow.2, flow.3) = (sending, hearing);
            }
            Output::Wait { .. } => {
                assert!(ghost.flow.take().is_some(), "nothing waits");
                ghost.waiting = true;
            }
            Output::Stop { .. } => {
                // Or it was taken while the connection was away, and never flowed.
                (ghost.flow, ghost.waiting) = (None, false);
            }
            Output::Record { on, .. } => {
                assert_ne!(ghost.writing, on, "told twice");
                assert!(!on || consent, "{} records without consent", NAMES[i]);
                ghost.writing = on;
            }
            _ => {}
        }
    }

    /// Whether the contact agreed to our last wish, or its word that it does no longer is on its way.
    fn may_record(&self, i: usize, j: usize) -> bool {
        let (own, other) = (&self.sides[&(i, j)], &self.sides[&(j, i)]);
        let on_its_way = other
            .queue
            .iter()
            .any(|letter| matches!(letter.message, Message::RecordAnswer { yes: false, .. } | Message::HangUp { .. }));
        on_its_way || other.at != own.at || !other.ghost.wants || other.ghost.consent == Some(own.ghost.wish)
    }

    /// What must be so after every step.
    fn check(&self, i: usize, before: &[CallView], noted: &BTreeMap<String, usize>) {
        let (now, phone) = (self.now, &self.phones[i]);
        let calls = phone.calls();
        assert!(phone.poll_is_empty());
        for (j, name) in NAMES.iter().enumerate().take(self.phones.len()).filter(|(j, _)| *j != i) {
            let was = before.iter().any(|view| view.contact == *name);
            let view = calls.iter().find(|view| view.contact == *name);
            let times = noted.get(*name).copied().unwrap_or(0);
            match (was, view.is_some()) {
                // A new call may have taken the place of one that was lost, and have been refused.
                (true, false) => assert!((1..=2).contains(&times), "a call that ended is noted once"),
                (false, true) => assert_eq!(times, 0, "a call that begins is not noted"),
                (_, _) => assert!(times <= 1),
            }
            let side = &self.sides[&(i, j)];
            let Some(view) = view else { continue };
            let (sending, hearing) =
                side.ghost.flow.map_or((false, false), |(_, _, sending, hearing)| (sending, hearing));
            let (muted, deafened, _) = phone.switches();
            let open = view.state == CallState::Active && !view.held_by_contact;
            assert_eq!(sending, open && !muted && !deafened, "{view:?} of {}", NAMES[i]);
            assert_eq!(hearing, open && !deafened, "{view:?} of {}", NAMES[i]);
            let open = self.phones[i].calls[*name].questions();
            assert_eq!(side.ghost.open, open, "what a screen asks at {}: {view:?}", NAMES[i]);
            if matches!(view.state, CallState::Active | CallState::Held) {
                assert_eq!(side.ghost.held, view.state == CallState::Held, "what a screen shows at {}", NAMES[i]);
            } else {
                assert!(open.is_empty(), "asked while nobody is heard: {open:?}");
            }
            if let Some((call, terms, ..)) = side.ghost.flow {
                assert_eq!((call, terms), (view.call, view.terms));
            }
            if !matches!(view.state, CallState::Active | CallState::Held) {
                let latest = now + RING_FOR.max(RECONNECT_FOR) + secs(10);
                assert!(phone.deadline().is_some_and(|at| at > now && at <= latest), "{view:?} may hang for ever");
            }
        }
    }

    /// The network heals, the people do nothing more, and so much time passes that every wait is over.
    pub(super) fn settle(&mut self) {
        for (i, j) in self.pairs() {
            let (here, there) = (self.sides[&(i, j)].at, self.sides[&(j, i)].at);
            if here.is_none() || here != there {
                self.new_session(i, j);
            }
            self.establish(i, j);
            self.establish(j, i);
            self.back(i, j);
            self.back(j, i);
        }
        let until = self.now + RING_FOR.max(RECONNECT_FOR) + secs(20);
        while self.now < until {
            self.deliver_all();
            self.pass(secs(1));
        }
        self.deliver_all();
        for (i, j) in self.pairs() {
            self.agree(i, j);
        }
    }

    /// Both ends of a call say the same.
    fn agree(&self, i: usize, j: usize) {
        let (here, there) = (self.view(i, j), self.view(j, i));
        let (Some(here), Some(there)) = (&here, &there) else {
            assert!(here.is_none() && there.is_none(), "one side only:\n{here:?}\n{there:?}");
            return;
        };
        for view in [here, there] {
            assert!(matches!(view.state, CallState::Active | CallState::Held), "hangs: {view:?}");
        }
        assert_eq!((here.call, here.terms), (there.call, there.terms));
        assert_ne!(here.ours, there.ours);
        for (own, other, i) in [(here, there, i), (there, here, j)] {
            assert_eq!(own.state == CallState::Held, other.held_by_contact);
            let (muted, deafened, _) = self.phones[i].switches();
            assert_eq!(muted || deafened, other.muted_by_contact);
            assert_eq!(own.recording, other.recorded_by_contact, "{own:?}\n{other:?}");
        }
        assert_eq!(self.writes(i, j), here.recording);
        assert_eq!(self.writes(j, i), there.recording);
    }
}

impl Call {
    /// What the person is asked.
    fn questions(&self) -> BTreeSet<Question> {
        let open = [
            self.question.map(|_| Question::Change),
            self.weaker_open.then_some(Question::Weaker),
            self.consent.asking.then_some(Question::Record),
        ];
        open.into_iter().flatten().collect()
    }
}

impl Ghost {
    /// What a screen makes of an event.
    fn is_told(&mut self, event: &PhoneEvent) {
        let asked = match event {
            PhoneEvent::ChangeAsked { .. } => Some(Question::Change),
            PhoneEvent::WeakerWanted => Some(Question::Weaker),
            PhoneEvent::RecordAsked => Some(Question::Record),
            _ => None,
        };
        if let Some(question) = asked {
            assert!(self.open.insert(question), "{question:?} is asked twice");
            self.asked |= question == Question::Record;
        }
        match *event {
            PhoneEvent::Recorded { ours: false, on: false } => (self.asked, self.consent) = (false, None),
            PhoneEvent::Lapsed { question } => {
                assert!(self.open.remove(&question), "{question:?} lapses, and was not open");
                self.asked &= question != Question::Record;
            }
            PhoneEvent::Changed { .. } => {
                self.open.retain(|question| *question == Question::Record);
            }
            PhoneEvent::Answered { .. } => {
                assert!(self.open.is_empty(), "{:?} is open at a call that begins to be heard", self.open);
                self.held = false;
            }
            PhoneEvent::Reconnecting => assert!(self.open.is_empty(), "{:?} is open over an outage", self.open),
            PhoneEvent::HeldHere { on } => self.held = on,
            PhoneEvent::Ended { .. } => self.open.clear(),
            _ => {}
        }
    }

    /// Never weaker terms without the person's own word.
    fn goes_under(&mut self, terms: CallTerms) {
        let before = self.last_suite.or(self.called_under);
        let lessened = before == Some(Suite::Otp) && terms.suite != Suite::Otp;
        assert!(!lessened || self.weaker, "weaker terms without the person's yes");
        if self.last_suite != Some(terms.suite) {
            self.weaker = false;
        }
        self.last_suite = Some(terms.suite);
    }
}
