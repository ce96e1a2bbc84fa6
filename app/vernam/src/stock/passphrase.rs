//! Asking for a passphrase: on the terminal, unseen, or from a file.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, read};
use ratatui::crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use vernam_key::SecretBytes;
use vernam_store::pad::MAX_PASSPHRASE;
pub(crate) use vernam_store::pad::MIN_PASSPHRASE;
use zeroize::{Zeroize as _, Zeroizing};

/// The first line of a file, without its end. A pipe is read as well, so that a shell's `<(command)` can give it.
pub(crate) fn from_file(path: &Path) -> anyhow::Result<SecretBytes> {
    let reading = || format!("cannot read {}", path.display());
    let most = 2 * MAX_PASSPHRASE;
    // Room for all of it at once, so that no copy is left behind when it grows.
    let mut all = Zeroizing::new(Vec::with_capacity(most + 1));
    let file = File::open(path).with_context(reading)?;
    file.take(most as u64 + 1).read_to_end(&mut all).with_context(reading)?;
    if all.len() > most {
        bail!("{} is too long for a passphrase", path.display());
    }
    let line = all.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        bail!("the first line of {} is empty: the passphrase must be there", path.display());
    }
    Ok(SecretBytes::copy_of(line))
}

/// Asks twice for a new passphrase for something, until both are the same.
pub(crate) fn ask_new(what: &str) -> anyhow::Result<SecretBytes> {
    loop {
        let first = ask(&format!("New passphrase for {what}: "))?;
        if first.len() < MIN_PASSPHRASE {
            say(&format!("It must have at least {MIN_PASSPHRASE} bytes: several words are best. Once more.\n"));
            continue;
        }
        let again = ask("The same again: ")?;
        if first.expose("to compare") == again.expose("to compare") {
            return Ok(first);
        }
        say("They differ. Once more.\n");
    }
}

/// Asks until something is typed.
pub(crate) fn ask(words: &str) -> anyhow::Result<SecretBytes> {
    if !io::stdin().is_terminal() {
        bail!("a passphrase is needed, and there is no terminal to ask on: give it in a file, with --passphrase-file");
    }
    loop {
        let typed = ask_once(words)?;
        if !typed.is_empty() {
            return Ok(typed);
        }
        say("It is empty. Once more.\n");
    }
}

fn ask_once(words: &str) -> anyhow::Result<SecretBytes> {
    say(words);
    enable_raw_mode().context("the terminal cannot be told to hide what is typed")?;
    let typed = line();
    let shown = disable_raw_mode();
    say("\n");
    shown.context("the terminal does not show again what is typed; run `stty sane`")?;
    typed
}

fn line() -> anyhow::Result<SecretBytes> {
    let mut typed = Typed::default();
    loop {
        let Event::Key(key) = read()? else { continue };
        match typed.press(key) {
            Press::Taken | Press::Left => {}
            Press::Done => return Ok(typed.secret()),
            Press::Stopped => bail!("stopped"),
        }
    }
}

/// A passphrase that is typed in: the one place that says which key does what, so that what is typed on the telephone's
/// screen is what is typed at a prompt. It is wiped when it is dropped.
pub(crate) struct Typed(Zeroizing<String>);

/// What came of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Press {
    /// It is part of the passphrase, mended it, or means nothing in one.
    Taken,
    /// Enter.
    Done,
    /// Esc.
    Left,
    /// Ctrl-C or Ctrl-D.
    Stopped,
}

impl Default for Typed {
    fn default() -> Self {
        // Room for all of it at once, so that no copy is left behind when it grows.
        Self(Zeroizing::new(String::with_capacity(MAX_PASSPHRASE)))
    }
}

impl Typed {
    /// A key. Backspace (also as Ctrl-H) takes the last character away, Ctrl-U all of them. The end of a line that is
    /// pasted is Enter. Tab and the other keys that make no character are not part of a passphrase.
    pub(crate) fn press(&mut self, key: KeyEvent) -> Press {
        if key.kind == KeyEventKind::Release {
            return Press::Taken;
        }
        let held = key.modifiers & (KeyModifiers::CONTROL | KeyModifiers::ALT);
        match key.code {
            KeyCode::Enter => return Press::Done,
            KeyCode::Esc => return Press::Left,
            KeyCode::Backspace => drop(self.0.pop()),
            KeyCode::Char(control) if held == KeyModifiers::CONTROL => match control.to_ascii_lowercase() {
                'c' | 'd' => return Press::Stopped,
                'j' | 'm' => return Press::Done,
                'h' => drop(self.0.pop()),
                'u' => self.0.zeroize(),
                _ => {}
            },
            // With Alt alone it is a command to some program; with both it is how some keyboards make a character.
            KeyCode::Char(c) if held != KeyModifiers::ALT && self.0.len() + c.len_utf8() <= MAX_PASSPHRASE => {
                self.0.push(c);
            }
            _ => {}
        }
        Press::Taken
    }

    /// Bytes of it.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Characters of it.
    pub(crate) fn characters(&self) -> usize {
        self.0.chars().count()
    }

    /// Whether both are the same.
    pub(crate) fn is(&self, other: &Self) -> bool {
        *self.0 == *other.0
    }

    /// A copy to keep.
    pub(crate) fn secret(&self) -> SecretBytes {
        SecretBytes::copy_of(self.0.as_bytes())
    }
}

/// Standard error: standard output may go into a file.
fn say(words: &str) {
    let mut out = io::stderr();
    let _gone = out.write_all(words.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(code: KeyCode, modifiers: KeyModifiers) -> KeyEvent {
        KeyEvent::new(code, modifiers)
    }

    fn typed(text: &str) -> Typed {
        let mut typed = Typed::default();
        for c in text.chars() {
            assert_eq!(typed.press(key(KeyCode::Char(c), KeyModifiers::NONE)), Press::Taken, "{c}");
        }
        typed
    }

    #[test]
    fn every_character_is_part_of_it_whatever_key_of_the_telephone_it_is() {
        for text in ["a q r y n and m t space", "QRYN 123 !?", "Zoë naïve 密码 🎲", "  two  spaces  "] {
            let typed = typed(text);
            let secret = typed.secret();
            assert_eq!(secret.expose("to compare"), text.as_bytes());
            assert_eq!(typed.characters(), text.chars().count());
        }
        let mut shifted = Typed::default();
        shifted.press(key(KeyCode::Char('Q'), KeyModifiers::SHIFT));
        let both = KeyModifiers::CONTROL | KeyModifiers::ALT;
        shifted.press(key(KeyCode::Char('@'), both));
        assert!(shifted.is(&typed("Q@")));
    }

    #[test]
    fn what_makes_no_character_is_no_part_of_it() {
        let mut entered = typed("wörds");
        let none = KeyModifiers::NONE;
        for (code, modifiers) in [
            (KeyCode::Tab, none),
            (KeyCode::BackTab, KeyModifiers::SHIFT),
            (KeyCode::Left, none),
            (KeyCode::Delete, none),
            (KeyCode::F(1), none),
            (KeyCode::Char('a'), KeyModifiers::CONTROL),
            (KeyCode::Char('x'), KeyModifiers::ALT),
        ] {
            assert_eq!(entered.press(key(code, modifiers)), Press::Taken, "{code:?}");
            assert!(entered.is(&typed("wörds")), "{code:?}");
        }
        let let_go = KeyEvent::new_with_kind(KeyCode::Char('s'), none, KeyEventKind::Release);
        assert_eq!((entered.press(let_go), entered.characters()), (Press::Taken, 5));
    }

    #[test]
    fn it_can_be_mended_ended_left_and_stopped() {
        let mut entered = typed("wordö");
        entered.press(key(KeyCode::Backspace, KeyModifiers::NONE));
        entered.press(key(KeyCode::Char('h'), KeyModifiers::CONTROL));
        assert!(entered.is(&typed("wor")));
        entered.press(key(KeyCode::Char('u'), KeyModifiers::CONTROL));
        assert_eq!(entered.len(), 0);
        entered.press(key(KeyCode::Backspace, KeyModifiers::NONE));
        let mut ends = |code, modifiers| entered.press(key(code, modifiers));
        assert_eq!(ends(KeyCode::Enter, KeyModifiers::NONE), Press::Done);
        // What a terminal in raw mode makes of the end of a pasted line.
        assert_eq!(ends(KeyCode::Char('j'), KeyModifiers::CONTROL), Press::Done);
        assert_eq!(ends(KeyCode::Char('c'), KeyModifiers::CONTROL), Press::Stopped);
        assert_eq!(ends(KeyCode::Esc, KeyModifiers::NONE), Press::Left);
    }

    #[test]
    fn no_more_is_taken_than_a_key_is_made_of() {
        let long = typed(&"ö".repeat(MAX_PASSPHRASE));
        assert_eq!(long.len(), MAX_PASSPHRASE);
        assert_eq!(MAX_PASSPHRASE, vernam_audio::recording::MAX_PASSPHRASE);
        assert_eq!(MIN_PASSPHRASE, vernam_audio::recording::MIN_PASSPHRASE);
    }

    #[test]
    fn of_a_file_the_first_line_counts_and_what_is_no_passphrase_is_not_read() {
        let temp = tempfile::tempdir().expect("a folder");
        let path = temp.path().join("words");
        std::fs::write(&path, "Zoë's  words \r\nmore\n").expect("a file");
        let words = from_file(&path).expect("it is there");
        assert_eq!(words.expose("to compare"), "Zoë's  words ".as_bytes());
        for wrong in [vec![b'a'; 2 * MAX_PASSPHRASE + 1], Vec::new(), b"\nwords".to_vec()] {
            std::fs::write(&path, wrong).expect("a file");
            assert!(from_file(&path).is_err());
        }
        assert!(from_file(Path::new("/dev/zero")).is_err(), "one without an end");
        assert!(from_file(temp.path()).is_err(), "a folder");
    }
}
