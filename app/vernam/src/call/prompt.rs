//! The prompt for the passphrase of a recording, while a call goes on: typed twice, and never in the way of the call.
//!
//! All plain keys are text here, also `q`, `r`, `y` and `n`. What is asked meanwhile (a ring, less protection) stays on
//! the screen and is answered with Ctrl-Y and Ctrl-N. A prompt ends with its call: then keys do nothing until Enter, Esc,
//! or [`STRAY`] without one, since who is typing does not look, and a passphrase must not hang up or take a call. Nothing
//! here draws, and nothing looks at a clock.

use std::time::Duration;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use vernam_key::SecretBytes;

use crate::stock::passphrase::{MIN_PASSPHRASE, Press, Typed};

/// For how long no key comes from somebody who has noticed that the prompt is gone.
pub(crate) const STRAY: Duration = Duration::from_secs(3);

/// A passphrase that is typed in on the screen. It is wiped when it is dropped.
pub(crate) struct Prompt {
    contact: String,
    typed: Typed,
    /// What was typed first, when it is typed again.
    first: Option<Typed>,
}

/// What came of a key at the prompt.
pub(crate) enum Entered {
    /// It goes on.
    More,
    /// It goes on, and this is to be said.
    Said(String),
    /// The question is answered; the prompt stays.
    Answer(bool),
    /// The person does without a recording.
    Left,
    /// The person ends the telephone.
    Stopped,
    /// Both were the same.
    Done(SecretBytes),
}

impl Prompt {
    /// For the recording of a call with this contact.
    pub(crate) fn new(contact: String) -> Self {
        Self { contact, typed: Typed::default(), first: None }
    }

    /// Whose call it is about.
    pub(crate) fn contact(&self) -> &str {
        &self.contact
    }

    /// What is asked for, and how many characters were typed.
    pub(crate) fn shown(&self) -> (String, usize) {
        let what = if self.first.is_some() { "the same again" } else { "new passphrase for the recording" };
        (what.to_owned(), self.typed.characters())
    }

    /// Takes a key in.
    pub(crate) fn press(&mut self, key: KeyEvent) -> Entered {
        let held = key.modifiers & (KeyModifiers::CONTROL | KeyModifiers::ALT);
        if key.kind == KeyEventKind::Press
            && held == KeyModifiers::CONTROL
            && let KeyCode::Char(answer @ ('y' | 'Y' | 'n' | 'N')) = key.code
        {
            return Entered::Answer(matches!(answer, 'y' | 'Y'));
        }
        match self.typed.press(key) {
            Press::Taken => Entered::More,
            Press::Left => Entered::Left,
            Press::Stopped => Entered::Stopped,
            Press::Done => self.enter(),
        }
    }

    fn enter(&mut self) -> Entered {
        let Some(first) = self.first.take() else {
            if self.typed.len() < MIN_PASSPHRASE {
                let text = format!("the passphrase must have at least {MIN_PASSPHRASE} bytes: several words are best");
                return Entered::Said(text);
            }
            self.first = Some(std::mem::take(&mut self.typed));
            return Entered::More;
        };
        let again = std::mem::take(&mut self.typed);
        if first.is(&again) {
            return Entered::Done(first.secret());
        }
        Entered::Said("the two passphrases differ: once more, from the beginning".to_owned())
    }
}

/// Keys that were meant for a prompt which ended by itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stray {
    until: Option<Duration>,
}

impl Stray {
    /// The prompt ended by itself at `now`.
    pub(crate) fn begin(&mut self, now: Duration) {
        self.until = Some(now + STRAY);
    }

    /// Whether a key at `now` means nothing.
    pub(crate) fn drops(&mut self, key: KeyEvent, now: Duration) -> bool {
        let drops = self.until.is_some_and(|until| now < until);
        let last = key.kind == KeyEventKind::Press && matches!(key.code, KeyCode::Enter | KeyCode::Esc);
        self.until = (drops && !last).then_some(now + STRAY);
        drops
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(code: KeyCode) -> KeyEvent {
        KeyEvent::new(code, KeyModifiers::NONE)
    }

    fn control(c: char) -> KeyEvent {
        KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL)
    }

    fn enter(prompt: &mut Prompt, text: &str) -> Entered {
        for c in text.chars() {
            assert!(matches!(prompt.press(key(KeyCode::Char(c))), Entered::More), "{c}");
        }
        prompt.press(key(KeyCode::Enter))
    }

    fn prompt() -> Prompt {
        Prompt::new("bob".to_owned())
    }

    #[test]
    fn what_is_typed_twice_is_the_passphrase_to_the_letter() {
        for text in ["my queer yarn", "  r y n q m Q  ", "Zoë's 密码 🎲🎲"] {
            let mut prompt = prompt();
            assert!(matches!(enter(&mut prompt, text), Entered::More));
            assert_eq!(prompt.shown(), ("the same again".to_owned(), 0));
            let Entered::Done(words) = enter(&mut prompt, text) else { panic!("they are the same") };
            assert_eq!(words.expose("to compare"), text.as_bytes());
        }
    }

    #[test]
    fn one_that_is_short_or_differs_is_said_and_typed_once_more() {
        let mut prompt = prompt();
        assert!(matches!(enter(&mut prompt, "short"), Entered::Said(_)));
        assert_eq!(prompt.shown().1, 5, "it can be made longer");
        assert!(matches!(enter(&mut prompt, " no more"), Entered::More));
        let Entered::Said(differs) = enter(&mut prompt, "short no mroe") else { panic!("they differ") };
        assert!(differs.contains("differ"));
        assert_eq!(prompt.shown(), ("new passphrase for the recording".to_owned(), 0));
    }

    #[test]
    fn a_question_is_answered_without_a_letter_of_the_passphrase() {
        let mut prompt = prompt();
        prompt.press(key(KeyCode::Char('y')));
        assert!(matches!(prompt.press(control('y')), Entered::Answer(true)));
        assert!(matches!(prompt.press(control('n')), Entered::Answer(false)));
        assert_eq!(prompt.shown().1, 1);
        assert!(matches!(prompt.press(key(KeyCode::Esc)), Entered::Left));
        assert!(matches!(prompt.press(control('c')), Entered::Stopped));
    }

    #[test]
    fn keys_of_a_prompt_that_is_gone_mean_nothing_until_it_was_noticed() {
        let at = Duration::from_secs;
        let q = key(KeyCode::Char('q'));
        let mut stray = Stray::default();
        assert!(!stray.drops(q, at(0)));
        stray.begin(at(1));
        assert!(stray.drops(q, at(3)) && stray.drops(q, at(5)) && stray.drops(q, at(7)));
        assert!(!stray.drops(q, at(10)) && !stray.drops(q, at(10)));
        for last in [KeyCode::Enter, KeyCode::Esc] {
            stray.begin(at(20));
            assert!(stray.drops(q, at(21)) && stray.drops(key(last), at(21)));
            assert!(!stray.drops(q, at(21)));
        }
    }
}
