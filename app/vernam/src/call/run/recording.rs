//! Recording a call: where to, and the passphrase that is typed in on the screen.

use std::path::PathBuf;

use anyhow::Context as _;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind};
use vernam_key::SecretBytes;
use zeroize::Zeroizing;

use super::Telephone;
use crate::call::events::CallEvent;
use crate::call::tape::{self, Writing};
use crate::stock::passphrase;

/// Longest passphrase that is typed, bytes.
const MAX_TYPED: usize = 1_024;

/// Where recordings go, and under which passphrase.
pub(crate) struct Recordings {
    /// The folder for those that nobody named.
    pub(crate) folder: PathBuf,
    /// The file that was named, for the first call.
    pub(crate) file: Option<PathBuf>,
    /// The passphrase, once there is one.
    pub(crate) words: Option<SecretBytes>,
}

/// A passphrase that is typed in on the screen.
pub(super) struct Typing {
    contact: String,
    text: Zeroizing<String>,
    /// What was typed first, when it is typed again.
    first: Option<Zeroizing<String>>,
}

impl Telephone {
    /// Records a call once there is a passphrase.
    pub(super) async fn record(&mut self, contact: String) -> anyhow::Result<()> {
        let Some(secret) = &self.recordings.words else {
            if self.stage.is_screen() {
                self.ask(Typing { contact, text: Zeroizing::new(String::with_capacity(MAX_TYPED)), first: None });
                return Ok(());
            }
            let text = "a recording needs a passphrase: start with --record FILE --passphrase-file FILE".to_owned();
            return self.stage.tell(CallEvent::Warning { contact: Some(contact), text });
        };
        let path = match self.recordings.file.take() {
            Some(named) => named,
            None => {
                std::fs::create_dir_all(&self.recordings.folder)
                    .with_context(|| format!("cannot make the folder {}", self.recordings.folder.display()))?;
                tape::new_file(&self.recordings.folder, &contact)
            }
        };
        match Writing::create(&path, secret, &self.troubles).await {
            Ok(writing) => self.line.record(&contact, writing).await,
            Err(error) => self.stage.tell(CallEvent::Warning { contact: Some(contact), text: format!("{error:#}") }),
        }
    }

    fn ask(&mut self, typing: Typing) {
        let what = if typing.first.is_some() { "the same again" } else { "new passphrase for the recording" };
        self.stage.model.prompt = Some((what.to_owned(), typing.text.chars().count()));
        self.typing = Some(typing);
    }

    /// A key of a passphrase.
    pub(super) async fn typed(&mut self, mut typing: Typing, key: KeyEvent) -> anyhow::Result<()> {
        if key.kind == KeyEventKind::Release {
            self.ask(typing);
            return Ok(());
        }
        match key.code {
            KeyCode::Esc => self.stage.model.prompt = None,
            KeyCode::Enter => match typing.first.take() {
                None if typing.text.len() < passphrase::MIN_PASSPHRASE => {
                    let least = passphrase::MIN_PASSPHRASE;
                    let text = format!("the passphrase must have at least {least} bytes: several words are best");
                    self.stage.tell(CallEvent::Warning { contact: None, text })?;
                    self.ask(typing);
                }
                None => {
                    let first = std::mem::replace(&mut typing.text, Zeroizing::new(String::with_capacity(MAX_TYPED)));
                    typing.first = Some(first);
                    self.ask(typing);
                }
                Some(first) if *first == *typing.text => {
                    self.stage.model.prompt = None;
                    self.recordings.words = Some(SecretBytes::copy_of(first.as_bytes()));
                    return self.record(typing.contact).await;
                }
                Some(_differs) => {
                    let text = "the two passphrases differ: once more".to_owned();
                    self.stage.tell(CallEvent::Warning { contact: None, text })?;
                    typing.text = Zeroizing::new(String::with_capacity(MAX_TYPED));
                    self.ask(typing);
                }
            },
            KeyCode::Backspace => {
                let _last = typing.text.pop();
                self.ask(typing);
            }
            KeyCode::Char(character) => {
                if typing.text.len() + character.len_utf8() <= MAX_TYPED {
                    typing.text.push(character);
                }
                self.ask(typing);
            }
            _ => self.ask(typing),
        }
        Ok(())
    }
}
