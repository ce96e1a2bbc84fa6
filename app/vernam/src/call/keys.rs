//! What a key means, which depends on what is on the screen: a question, a list, a call.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use vernam_engine::Transmit;
use vernam_session::Suite;

use super::model::{DevicePart, Menu, Model, Phase, Question};

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
    /// Let the contact record, or not any longer.
    AllowRecord(String, bool),
    /// Record a call, once a passphrase is there and the contact agrees.
    Record(String),
    /// No longer record it.
    StopRecording(String),
    /// End.
    Quit,
}

/// Takes a key press in: changes what only the screen knows, and gives what is to be done.
pub fn pressed(key: KeyEvent, model: &mut Model) -> Option<Wish> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return matches!(key.code, KeyCode::Char('c' | 'd')).then_some(Wish::Quit);
    }
    if let Some(menu) = model.menu.take() {
        return in_menu(key.code, menu, model);
    }
    if let (Some(question), KeyCode::Char(answer @ ('y' | 'Y' | 'n' | 'N'))) = (model.question(), key.code) {
        model.answer(&question);
        return said(question, matches!(answer, 'y' | 'Y'));
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
        KeyCode::Char(' ') if switches.transmit == Transmit::PushToTalk => {
            switches.talking = !switches.talking;
            Wish::Talk(switches.talking)
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
        KeyCode::Char('g') if !switches.without_devices => {
            switches.gain_control = !switches.gain_control;
            Wish::Process
        }
        KeyCode::Char('M') if !switches.without_devices => Wish::OpenMenu(DevicePart::Microphone),
        KeyCode::Char('S') if !switches.without_devices => Wish::OpenMenu(DevicePart::Speaker),
        KeyCode::Char('R') if !switches.without_devices => Wish::OpenMenu(DevicePart::Ringer),
        KeyCode::Char('h') => {
            let call = talked?;
            Wish::Hold(call.contact.clone(), call.phase != Phase::Held)
        }
        KeyCode::Tab => {
            let other = model.calls.get(1)?;
            if other.phase == Phase::Incoming {
                Wish::Answer(other.contact.clone())
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

/// The answer to a question, as what is to be done.
fn said(question: Question, yes: bool) -> Option<Wish> {
    Some(match question {
        Question::Ring { contact } if yes => Wish::Answer(contact),
        Question::Ring { contact } => Wish::Decline(contact),
        Question::Change { contact, .. } => Wish::AllowChange(contact, yes),
        Question::Weaker { contact } if yes => Wish::GoOnUnderAes(contact),
        // The call then ends when the pad does.
        Question::Weaker { .. } => return None,
        Question::Record { contact } => Wish::AllowRecord(contact, yes),
    })
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
    use std::time::Duration;

    use super::super::events::{CallEvent, Stamped, Terms};
    use super::*;

    const TERMS: Terms = Terms { suite: Suite::Otp, bit_rate_bps: 16_000, frame_ms: 20 };

    fn told(model: &mut Model, event: CallEvent) {
        model.apply(&Stamped { at: Duration::ZERO, event });
    }

    fn talking() -> Model {
        let mut model = Model::default();
        told(&mut model, CallEvent::Calling { contact: "bob".to_owned(), terms: TERMS });
        told(&mut model, CallEvent::Answered { contact: "bob".to_owned(), terms: TERMS });
        model
    }

    fn press(model: &mut Model, code: KeyCode) -> Option<Wish> {
        pressed(KeyEvent::new(code, KeyModifiers::NONE), model)
    }

    #[test]
    fn a_question_takes_y_and_n_before_anything_else() {
        let mut model = talking();
        let bob = || "bob".to_owned();
        assert_eq!(press(&mut model, KeyCode::Char('n')), Some(Wish::Process));
        told(&mut model, CallEvent::RecordAsked { contact: bob() });
        let terms = Terms { suite: Suite::Aes256Gcm, ..TERMS };
        told(&mut model, CallEvent::ChangeAsked { contact: bob(), terms });
        assert_eq!(press(&mut model, KeyCode::Char('n')), Some(Wish::AllowChange(bob(), false)));
        assert_eq!(press(&mut model, KeyCode::Char('y')), Some(Wish::AllowRecord(bob(), true)));
        told(&mut model, CallEvent::WeakerWanted { contact: bob() });
        assert_eq!(press(&mut model, KeyCode::Char('n')), None);
        assert_eq!(model.question(), None);
        told(&mut model, CallEvent::WeakerWanted { contact: bob() });
        assert_eq!(press(&mut model, KeyCode::Char('y')), Some(Wish::GoOnUnderAes(bob())));
    }

    #[test]
    fn q_ends_the_call_first_and_then_the_telephone() {
        let mut model = talking();
        assert_eq!(press(&mut model, KeyCode::Char('q')), Some(Wish::HangUp("bob".to_owned())));
        model.calls.clear();
        assert_eq!(press(&mut model, KeyCode::Char('q')), Some(Wish::Quit));
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(pressed(interrupt, &mut talking()), Some(Wish::Quit));
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
