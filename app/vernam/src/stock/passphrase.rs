//! Asking for a passphrase: on the terminal, unseen, or from a file.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use ratatui::crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers, read};
use ratatui::crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use vernam_key::SecretBytes;
use vernam_store::pad::MAX_PASSPHRASE;
pub(crate) use vernam_store::pad::MIN_PASSPHRASE;

/// The first line of a file, without its end.
pub(crate) fn from_file(path: &Path) -> anyhow::Result<SecretBytes> {
    let found = path.metadata().with_context(|| format!("cannot read {}", path.display()))?;
    if found.len() > 2 * MAX_PASSPHRASE as u64 {
        bail!("{} is too long for a passphrase", path.display());
    }
    let all = SecretBytes::from_vec(std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?);
    let line = all.expose("to cut the first line off").split(|byte| *byte == b'\n').next().unwrap_or_default();
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
    // Room for all of it at once, so that no copy is left behind when it grows.
    let mut typed = zeroize::Zeroizing::new(String::with_capacity(MAX_PASSPHRASE + 4));
    loop {
        let Event::Key(key) = read()? else { continue };
        if key.kind == KeyEventKind::Release {
            continue;
        }
        match key.code {
            KeyCode::Enter => return Ok(SecretBytes::copy_of(typed.as_bytes())),
            KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => bail!("stopped"),
            KeyCode::Char(c) if typed.len() < MAX_PASSPHRASE => typed.push(c),
            KeyCode::Backspace => drop(typed.pop()),
            _ => {}
        }
    }
}

/// Standard error: standard output may go into a file.
fn say(words: &str) {
    let mut out = io::stderr();
    let _gone = out.write_all(words.as_bytes()).and_then(|()| out.flush());
}
