//! Recording a call: where to, and the passphrase that is typed in on the screen.

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::Context as _;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind};
use vernam_key::SecretBytes;
use zeroize::Zeroizing;

use super::Telephone;
use crate::call::events::CallEvent;
use crate::call::keys::Wish;
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
                self.let_go_of_space().await?;
                self.ask(Typing { contact, text: Zeroizing::new(String::with_capacity(MAX_TYPED)), first: None });
                return Ok(());
            }
            let text = "a recording needs a passphrase: start with --record FILE --passphrase-file FILE".to_owned();
            return self.stage.tell(CallEvent::Warning { contact: Some(contact), text });
        };
        let path = match self.recordings.file.take() {
            Some(named) => named,
            None => {
                private(&self.recordings.folder)
                    .with_context(|| format!("cannot make the folder {}", self.recordings.folder.display()))?;
                tape::new_file(&self.recordings.folder, &contact)
            }
        };
        match Writing::create(&path, secret, &self.troubles).await {
            Ok(writing) => self.line.record(&contact, writing).await,
            Err(error) => self.stage.tell(CallEvent::Warning { contact: Some(contact), text: format!("{error:#}") }),
        }
    }

    /// While a text is typed nobody tells when space is let go.
    async fn let_go_of_space(&mut self) -> anyhow::Result<()> {
        let switches = &mut self.stage.model.switches;
        if !switches.tells_release || !std::mem::take(&mut switches.talking) {
            return Ok(());
        }
        self.line.carry_out(Wish::Talk(false)).await
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

/// Makes the folder, if it is not there, and sees to it that nobody else looks into it: the names of recordings tell who
/// talked with whom, and when.
fn private(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mode = fs::metadata(folder)?.permissions().mode();
    // Nothing for the group and the rest, which are the lowest six bits.
    if mode.trailing_zeros() >= 6 { Ok(()) } else { fs::set_permissions(folder, fs::Permissions::from_mode(0o700)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::tape::Troubles;
    use vernam_engine::Tape as _;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it is there").permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn nobody_else_sees_what_is_recorded_or_that_it_is() {
        let temp = tempfile::tempdir().expect("a folder");
        let folder = temp.path().join("recordings");
        private(&folder).expect("it can be made");
        assert_eq!(mode(&folder), 0o700);
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("it is ours");
        private(&folder).expect("it is there");
        assert_eq!(mode(&folder), 0o700, "one that an earlier version made");
        let words = SecretBytes::copy_of(b"a passphrase of several words");
        let file = folder.join("bob.vrec");
        let mut writing = Writing::create(&file, &words, &Troubles::default()).await.expect("it can be made");
        assert_eq!(mode(&file), 0o600);
        writing.write(&[1; 960], &[2; 960]);
    }
}
