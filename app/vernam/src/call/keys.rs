//! What a key means, which depends on what is on the screen: a question, a list, a call.

use std::time::Duration;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use vernam_engine::Transmit;
use vernam_session::Suite;

use super::model::{Call, DevicePart, Menu, Model, Phase};
use super::question::Question;

/// Presses of space that follow each other closer than this are a key held down, which the terminal repeats (ten to
/// thirty times a second are usual), and no further presses. So a key that is held switches the microphone on, and off
/// at its first repetition: a microphone that is closed too early does no harm, one that stays open may.
const REPEATED: Duration = Duration::from_millis(150);

/// The longest time in which a terminal that tells when a key is let go says nothing of one that is down: what a slow
/// keyboard waits before it repeats. After it space counts as let go, so that a release which was lost on the way (the
/// window lost the focus, the line was cut) does not leave the microphone open.
pub const NO_SIGN: Duration = Duration::from_secs(2);

/// What the person wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Take a call.
    Answer(String),
    /// Not take it.
    Decline(String),
    /// End a call.
    HangUp(String),
    /// Hold a call, or go on with it.
    Hold(String, bool),
    /// The microphone off.
    Mute(bool),
    /// Microphone and loudspeaker off.
    Deafen(bool),
    /// Nobody rings.
    DoNotDisturb(bool),
    /// When the microphone's sound is sent.
    Transmit(Transmit),
    /// The person talks, under push-to-talk, or no longer.
    Talk(bool),
    /// What is done to the voice: the switches as they are now.
    Process,
    /// Show the devices to choose from.
    OpenMenu(DevicePart),
    /// Use this device; `None` is the default.
    Choose(DevicePart, Option<String>),
    /// Protect a call otherwise.
    Protect(String, Suite),
    /// Let the contact protect it otherwise, or not.
    AllowChange(String, bool),
    /// Go on under AES once the pad is used up.
    GoOnUnderAes(String),
    /// Not go on with less: the call ends with the pad.
    EndWithPad(String),
    /// Let the contact record, or not any longer.
    AllowRecord(String, bool),
    /// Speak through this microphone while the chosen one is away, or stay silent.
    StandIn(String, bool),
    /// Record a call, once a passphrase is there and the contact agrees.
    Record(String),
    /// No longer record it.
    StopRecording(String),
    /// End.
    Quit,
}

/// Takes a key in, at `now`: changes what only the screen knows, and gives what is to be done.
pub fn pressed(key: KeyEvent, model: &mut Model, now: Duration) -> Option<Wish> {
    model.tick(now);
    if key.code == KeyCode::Char(' ') && (model.menu.is_none() || key.kind == KeyEventKind::Release) {
        return space(key.kind, model);
    }
    // A key held down is one press, but to walk through a list.
    if key.kind == KeyEventKind::Release || (key.kind == KeyEventKind::Repeat && model.menu.is_none()) {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return quits(key).then_some(Wish::Quit);
    }
    if let KeyCode::Char(answer @ ('y' | 'Y' | 'n' | 'N')) = key.code
        && (model.question().is_some() || !model.asked.takes_answers(now))
    {
        if key.kind == KeyEventKind::Repeat {
            // Held down, it answers one question.
            return None;
        }
        return answered(matches!(answer, 'y' | 'Y'), model, now);
    }
    if let Some(menu) = model.menu.take() {
        return in_menu(key.code, menu, model);
    }
    let call = model.call().cloned();
    let talked = call.as_ref().filter(|call| call.is_on());
    let switches = &mut model.switches;
    Some(match key.code {
        KeyCode::Char('m') => {
            switches.muted = !switches.muted;
            Wish::Mute(switches.muted)
        }
        KeyCode::Char('d') => {
            switches.deafened = !switches.deafened;
            Wish::Deafen(switches.deafened)
        }
        KeyCode::Char('D') => {
            switches.do_not_disturb = !switches.do_not_disturb;
            Wish::DoNotDisturb(switches.do_not_disturb)
        }
        KeyCode::Char('t') => {
            switches.talking = false;
            switches.transmit = match switches.transmit {
                Transmit::Open => Transmit::PushToTalk,
                Transmit::PushToTalk => Transmit::Voice,
                Transmit::Voice => Transmit::Open,
            };
            Wish::Transmit(switches.transmit)
        }
        KeyCode::Char('n') if !switches.without_devices => {
            switches.noise_suppression = !switches.noise_suppression;
            Wish::Process
        }
        KeyCode::Char('e') if !switches.without_devices => {
            switches.echo_cancelling = !switches.echo_cancelling;
            Wish::Process
        }
        KeyCode::Char('f') if !switches.without_devices => {
            switches.high_pass = !switches.high_pass;
            Wish::Process
        }
        KeyCode::Char('g') if !switches.without_devices => {
            switches.gain_control = !switches.gain_control;
            Wish::Process
        }
        KeyCode::Char('M') if !switches.without_devices => Wish::OpenMenu(DevicePart::Microphone),
        KeyCode::Char('S') if !switches.without_devices => Wish::OpenMenu(DevicePart::Speaker),
        KeyCode::Char('R') if !switches.without_devices => Wish::OpenMenu(DevicePart::Ringer),
        KeyCode::Char('h') => {
            let call = talked?;
            Wish::Hold(call.contact.clone(), !call.held)
        }
        KeyCode::Tab => {
            let other = model.calls.get(1)?;
            if other.phase == Phase::Incoming {
                let contact = other.contact.clone();
                model.decide(&contact);
                Wish::Answer(contact)
            } else {
                Wish::Hold(other.contact.clone(), false)
            }
        }
        KeyCode::Char('r') => {
            let call = talked?;
            match (call.recording, call.recording_by_contact) {
                (true, _) => Wish::StopRecording(call.contact.clone()),
                // A yes can be taken back.
                (false, true) => Wish::AllowRecord(call.contact.clone(), false),
                (false, false) => Wish::Record(call.contact.clone()),
            }
        }
        KeyCode::Char('o') => {
            let call = talked?;
            let suite = if call.terms.suite == Suite::Otp { Suite::Aes256Gcm } else { Suite::Otp };
            Wish::Protect(call.contact.clone(), suite)
        }
        KeyCode::Char('q') | KeyCode::Esc => match call {
            Some(call) => Wish::HangUp(call.contact),
            None => Wish::Quit,
        },
        KeyCode::Char('Q') => Wish::Quit,
        _ => return None,
    })
}

/// Whether it is the key that ends the telephone wherever it is pressed.
pub fn quits(key: KeyEvent) -> bool {
    key.kind == KeyEventKind::Press
        && key.modifiers.contains(KeyModifiers::CONTROL)
        && matches!(key.code, KeyCode::Char('c' | 'd'))
}

/// Answers what is asked at `now`, if it stood long enough: else it may be meant for what was asked a moment ago.
pub fn answered(yes: bool, model: &mut Model, now: Duration) -> Option<Wish> {
    model.tick(now);
    if !model.asked.takes_answers(model.now) {
        return None;
    }
    let question = model.question().cloned()?;
    model.answer(&question);
    Some(said(question, yes))
}

/// Closes the microphone if nothing was heard of space for [`NO_SIGN`] where the terminal tells when it is let go.
pub fn lost_release(model: &mut Model) -> Option<Wish> {
    let switches = &mut model.switches;
    let lost = switches.tells_release && model.space_at.is_none_or(|last| model.now >= last + NO_SIGN);
    (lost && std::mem::take(&mut switches.talking)).then_some(Wish::Talk(false))
}

/// The answer to a question, as what is to be done.
fn said(question: Question, yes: bool) -> Wish {
    match question {
        Question::Ring { contact, .. } if yes => Wish::Answer(contact),
        Question::Ring { contact, .. } => Wish::Decline(contact),
        Question::Change { contact, .. } => Wish::AllowChange(contact, yes),
        Question::Weaker { contact } if yes => Wish::GoOnUnderAes(contact),
        Question::Weaker { contact } => Wish::EndWithPad(contact),
        Question::Record { contact } => Wish::AllowRecord(contact, yes),
        Question::StandIn { id, .. } => Wish::StandIn(id, yes),
    }
}

/// Space, under push-to-talk: talks while it is down where the terminal tells when it is let go, else begins to talk and
/// ends it. Outside a call nobody begins to talk, or the next call would find the microphone open.
fn space(kind: KeyEventKind, model: &mut Model) -> Option<Wish> {
    if model.switches.transmit != Transmit::PushToTalk {
        return None;
    }
    let tells_release = model.switches.tells_release;
    let repeated = model.space_at.is_some_and(|before| model.now < before + REPEATED);
    if kind != KeyEventKind::Release && (tells_release || kind == KeyEventKind::Press) {
        model.space_at = Some(model.now);
    }
    let in_call = model.calls.iter().any(Call::is_on);
    let talking = match kind {
        KeyEventKind::Press if tells_release => in_call,
        KeyEventKind::Press if repeated => return None,
        KeyEventKind::Press => in_call && !model.switches.talking,
        KeyEventKind::Repeat => return None,
        KeyEventKind::Release => false,
    };
    (std::mem::replace(&mut model.switches.talking, talking) != talking).then_some(Wish::Talk(talking))
}

fn in_menu(code: KeyCode, mut menu: Menu, model: &mut Model) -> Option<Wish> {
    let last = menu.ids.len().saturating_sub(1);
    match code {
        KeyCode::Up | KeyCode::Char('k') => menu.marked = menu.marked.saturating_sub(1),
        KeyCode::Down | KeyCode::Char('j') => menu.marked = (menu.marked + 1).min(last),
        KeyCode::Enter => {
            let id = menu.ids.get(menu.marked)?.clone();
            return Some(Wish::Choose(menu.part, id));
        }
        KeyCode::Esc | KeyCode::Char('q') => return None,
        KeyCode::Char(digit @ '1'..='9') => {
            let index = usize::try_from(u32::from(digit) - u32::from('1')).ok()?;
            let id = menu.ids.get(index)?.clone();
            return Some(Wish::Choose(menu.part, id));
        }
        _ => {}
    }
    model.menu = Some(menu);
    None
}

#[cfg(test)]
mod tests {
    use super::super::events::{CallEvent, Stamped, Terms};
    use super::*;

    const TERMS: Terms = Terms { suite: Suite::Otp, bit_rate_bps: 16_000, frame_ms: 20 };

    /// Told two seconds after whatever was before.
    fn told(model: &mut Model, event: CallEvent) {
        model.apply(&Stamped { at: model.now + Duration::from_secs(2), event });
    }

    fn talking() -> Model {
        let mut model = Model::default();
        told(&mut model, CallEvent::Calling { contact: "bob".to_owned(), terms: TERMS });
        told(&mut model, CallEvent::Answered { contact: "bob".to_owned(), terms: TERMS });
        model
    }

    /// Pressed a second after whatever was before.
    fn press(model: &mut Model, code: KeyCode) -> Option<Wish> {
        press_after(model, code, 1_000)
    }

    fn press_after(model: &mut Model, code: KeyCode, millis: u64) -> Option<Wish> {
        let now = model.now + Duration::from_millis(millis);
        pressed(KeyEvent::new(code, KeyModifiers::NONE), model, now)
    }

    fn bob() -> String {
        "bob".to_owned()
    }

    fn incoming(contact: &str) -> CallEvent {
        CallEvent::Incoming { contact: contact.to_owned(), terms: TERMS, waiting: true, weaker: false }
    }

    #[test]
    fn a_question_takes_y_and_n_before_anything_else() {
        let mut model = talking();
        assert_eq!(press(&mut model, KeyCode::Char('n')), Some(Wish::Process));
        told(&mut model, CallEvent::RecordAsked { contact: bob() });
        let terms = Terms { suite: Suite::Aes256Gcm, ..TERMS };
        told(&mut model, CallEvent::ChangeAsked { contact: bob(), terms });
        // What was asked first stays until it is answered.
        assert_eq!(press(&mut model, KeyCode::Char('y')), Some(Wish::AllowRecord(bob(), true)));
        assert_eq!(press(&mut model, KeyCode::Char('n')), Some(Wish::AllowChange(bob(), false)));
        told(&mut model, CallEvent::WeakerWanted { contact: bob() });
        assert_eq!(press(&mut model, KeyCode::Char('n')), Some(Wish::EndWithPad(bob())));
        assert_eq!(model.question(), None);
        told(&mut model, CallEvent::WeakerWanted { contact: bob() });
        assert_eq!(press(&mut model, KeyCode::Char('y')), Some(Wish::GoOnUnderAes(bob())));
    }

    #[test]
    fn a_key_that_was_on_its_way_when_the_question_came_does_nothing() {
        let mut model = talking();
        told(&mut model, CallEvent::RecordAsked { contact: bob() });
        for key in ['y', 'n', 'Y'] {
            assert_eq!(press_after(&mut model, KeyCode::Char(key), 160), None, "{key}");
        }
        assert!(!model.switches.noise_suppression, "nor does it do what it does without a question");
        assert_eq!(press_after(&mut model, KeyCode::Char('m'), 0), Some(Wish::Mute(true)), "others do");
        assert_eq!(press_after(&mut model, KeyCode::Char('n'), 20), Some(Wish::AllowRecord(bob(), false)));
    }

    #[test]
    fn a_question_that_lapsed_leaves_no_yes_to_the_next() {
        for lapse in [
            CallEvent::Lapsed { contact: bob(), question: "record".to_owned() },
            CallEvent::Reconnecting { contact: bob() },
            CallEvent::Answered { contact: bob(), terms: TERMS },
            CallEvent::RecordingByContact { contact: bob(), on: false },
            CallEvent::Ended {
                contact: bob(),
                reason: vernam_session::HangUpReason::HungUp,
                ours: true,
                by_contact: true,
                lasted_s: None,
                sent: None,
                received: None,
            },
        ] {
            let mut model = talking();
            told(&mut model, CallEvent::RecordAsked { contact: bob() });
            let carol = incoming("carol");
            told(&mut model, carol);
            assert_eq!(model.question(), Some(&Question::Record { contact: bob() }));
            told(&mut model, lapse.clone());
            let ring = Question::Ring { contact: "carol".to_owned(), less: None };
            assert_eq!(model.question(), Some(&ring), "{lapse:?}");
            assert_eq!(press_after(&mut model, KeyCode::Char('y'), 300), None, "meant for what is gone: {lapse:?}");
            assert_eq!(press(&mut model, KeyCode::Char('y')), Some(Wish::Answer("carol".to_owned())));
            assert_eq!(model.question(), None, "asked once");
        }
    }

    #[test]
    fn another_microphone_takes_a_yes() {
        let mut model = talking();
        let offered = || CallEvent::DeviceOffered {
            part: "microphone".to_owned(),
            id: "desk".to_owned(),
            name: "Desk".to_owned(),
            instead_of: "Headset".to_owned(),
        };
        told(&mut model, offered());
        assert_eq!(press(&mut model, KeyCode::Char('n')), Some(Wish::StandIn("desk".to_owned(), false)));
        assert_eq!(model.question(), None);
        told(&mut model, offered());
        assert_eq!(press(&mut model, KeyCode::Char('y')), Some(Wish::StandIn("desk".to_owned(), true)));
        told(&mut model, offered());
        told(&mut model, CallEvent::DeviceWithdrawn { part: "microphone".to_owned(), id: "desk".to_owned() });
        assert_eq!((model.question(), model.offer.is_none()), (None, true));
    }

    #[test]
    fn where_nobody_is_there_nothing_is_asked() {
        let mut model = talking();
        model.attended = super::super::model::Attended::Nobody;
        told(&mut model, CallEvent::RecordAsked { contact: bob() });
        told(&mut model, incoming("carol"));
        assert_eq!(model.question(), None);
    }

    #[test]
    fn q_ends_the_call_first_and_then_the_telephone() {
        let mut model = talking();
        assert_eq!(press(&mut model, KeyCode::Char('q')), Some(Wish::HangUp("bob".to_owned())));
        model.calls.clear();
        assert_eq!(press(&mut model, KeyCode::Char('q')), Some(Wish::Quit));
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(pressed(interrupt, &mut talking(), Duration::ZERO), Some(Wish::Quit));
    }

    #[test]
    fn space_talks_only_under_push_to_talk() {
        let mut model = talking();
        assert_eq!(press(&mut model, KeyCode::Char(' ')), None);
        assert_eq!(press(&mut model, KeyCode::Char('t')), Some(Wish::Transmit(Transmit::PushToTalk)));
        assert_eq!(press(&mut model, KeyCode::Char(' ')), Some(Wish::Talk(true)));
        assert_eq!(press(&mut model, KeyCode::Char(' ')), Some(Wish::Talk(false)));
        assert_eq!(press(&mut model, KeyCode::Char('t')), Some(Wish::Transmit(Transmit::Voice)));
    }

    #[test]
    fn space_held_down_where_nobody_tells_when_it_is_let_go_leaves_the_microphone_closed() {
        let mut model = talking();
        press(&mut model, KeyCode::Char('t'));
        assert_eq!(press(&mut model, KeyCode::Char(' ')), Some(Wish::Talk(true)));
        assert_eq!(press_after(&mut model, KeyCode::Char(' '), 400), Some(Wish::Talk(false)));
        for _ in 0..40 {
            assert_eq!(press_after(&mut model, KeyCode::Char(' '), 33), None);
        }
        assert!(!model.switches.talking);
        assert_eq!(press(&mut model, KeyCode::Char(' ')), Some(Wish::Talk(true)));
    }

    #[test]
    fn where_the_terminal_tells_it_one_talks_while_space_is_down() {
        let mut model = talking();
        model.switches.tells_release = true;
        let key = |model: &mut Model, kind| {
            let key = KeyEvent::new_with_kind(KeyCode::Char(' '), KeyModifiers::NONE, kind);
            pressed(key, model, model.now)
        };
        assert_eq!(key(&mut model, KeyEventKind::Press), None, "it is not push-to-talk");
        assert_eq!(press(&mut model, KeyCode::Char('t')), Some(Wish::Transmit(Transmit::PushToTalk)));
        assert_eq!(key(&mut model, KeyEventKind::Press), Some(Wish::Talk(true)));
        for _ in 0..3 {
            assert_eq!(key(&mut model, KeyEventKind::Repeat), None);
        }
        assert_eq!(key(&mut model, KeyEventKind::Press), None, "a press whose end was not seen");
        assert_eq!(key(&mut model, KeyEventKind::Release), Some(Wish::Talk(false)));
        assert_eq!(key(&mut model, KeyEventKind::Release), None);
    }

    #[test]
    fn a_release_that_is_lost_leaves_the_microphone_open_for_two_seconds_at_most() {
        let mut model = talking();
        press(&mut model, KeyCode::Char('t'));
        model.switches.tells_release = true;
        assert_eq!(press(&mut model, KeyCode::Char(' ')), Some(Wish::Talk(true)));
        let nearly = Duration::from_millis(1_999);
        let pressed_at = model.now;
        model.tick(pressed_at + nearly);
        assert_eq!(lost_release(&mut model), None);
        let repeat = KeyEvent::new_with_kind(KeyCode::Char(' '), KeyModifiers::NONE, KeyEventKind::Repeat);
        let at = model.now;
        assert_eq!(pressed(repeat, &mut model, at), None, "it is still down");
        model.tick(at + nearly);
        assert_eq!(lost_release(&mut model), None);
        model.tick(at + NO_SIGN);
        assert_eq!(lost_release(&mut model), Some(Wish::Talk(false)));
        assert_eq!((lost_release(&mut model), model.switches.talking), (None, false));
        // Where it is not told one talks for as long as one likes.
        model.switches.tells_release = false;
        assert_eq!(press(&mut model, KeyCode::Char(' ')), Some(Wish::Talk(true)));
        model.tick(model.now + 10 * NO_SIGN);
        assert_eq!(lost_release(&mut model), None);
    }

    #[test]
    fn nobody_begins_to_talk_outside_a_call() {
        for tells_release in [false, true] {
            let mut model = Model::default();
            model.switches.tells_release = tells_release;
            press(&mut model, KeyCode::Char('t'));
            assert_eq!(press(&mut model, KeyCode::Char(' ')), None);
            told(&mut model, incoming("bob"));
            assert_eq!(press(&mut model, KeyCode::Char(' ')), None, "it only rings");
            assert!(!model.switches.talking);
        }
    }

    #[test]
    fn a_switch_held_down_is_switched_once() {
        let mut model = talking();
        assert_eq!(press(&mut model, KeyCode::Char('m')), Some(Wish::Mute(true)));
        let repeat = KeyEvent::new_with_kind(KeyCode::Char('m'), KeyModifiers::NONE, KeyEventKind::Repeat);
        assert_eq!(pressed(repeat, &mut model, Duration::from_secs(9)), None);
        assert!(model.switches.muted);
    }

    #[test]
    fn a_list_takes_all_keys_until_it_is_closed() {
        let mut model = talking();
        assert_eq!(press(&mut model, KeyCode::Char('M')), Some(Wish::OpenMenu(DevicePart::Microphone)));
        let ids = vec![None, Some("a".to_owned()), Some("b".to_owned())];
        let names = ["default", "A", "B"].map(str::to_owned).to_vec();
        let menu = Menu { part: DevicePart::Microphone, ids, names, marked: 0 };
        model.menu = Some(menu.clone());
        assert_eq!(press(&mut model, KeyCode::Char('m')), None);
        assert_eq!(press(&mut model, KeyCode::Down), None);
        let chosen = Wish::Choose(DevicePart::Microphone, Some("a".to_owned()));
        assert_eq!(press(&mut model, KeyCode::Enter), Some(chosen));
        assert_eq!(model.menu, None);
        model.menu = Some(menu.clone());
        told(&mut model, incoming("carol"));
        assert_eq!(press(&mut model, KeyCode::Char('y')), Some(Wish::Answer("carol".to_owned())), "but of a question");
        assert!(model.menu.is_some());
        model.menu = Some(menu);
        assert_eq!(press(&mut model, KeyCode::Char('9')), None);
        assert_eq!((model.menu, model.switches.muted), (None, false));
    }

    #[test]
    fn without_a_call_nothing_is_held_or_recorded() {
        let mut model = Model::default();
        for code in ['h', 'r', 'o', 'y'] {
            assert_eq!(press(&mut model, KeyCode::Char(code)), None, "{code}");
        }
        assert_eq!(press(&mut model, KeyCode::Tab), None);
    }
}
