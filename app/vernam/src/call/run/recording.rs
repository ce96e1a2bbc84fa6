//! Recording a call: where to, and the passphrase that is typed in on the screen.

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::{fs, io};

use ratatui::crossterm::event::KeyEvent;
use tokio::task::JoinHandle;
use vernam_key::SecretBytes;

use super::Telephone;
use crate::call::events::CallEvent;
use crate::call::keys::{self, Wish};
use crate::call::prompt::{Entered, Prompt, STRAY};
use crate::call::tape::{self, Writing};
use crate::complaint;

/// Where recordings go, and under which passphrase.
pub(crate) struct Recordings {
    /// The folder for those that nobody named.
    pub(crate) folder: PathBuf,
    /// The file that was named, for the first call.
    pub(crate) file: Option<PathBuf>,
    /// The passphrase, once there is one.
    pub(crate) words: Option<SecretBytes>,
}

/// A file for a recording that is being made. Its key takes about a second, and the call goes on meanwhile.
pub(super) struct Making {
    contact: String,
    file: JoinHandle<anyhow::Result<Writing>>,
}

impl Telephone {
    /// Records a call once there is a passphrase.
    pub(super) async fn record(&mut self, contact: String) -> anyhow::Result<()> {
        if self.making.is_some() {
            let text = "a recording is just being made".to_owned();
            return self.stage.tell(CallEvent::Warning { contact: Some(contact), text });
        }
        let Some(secret) = &self.recordings.words else {
            if self.stage.is_screen() {
                self.let_go_of_space().await?;
                self.prompt = Some(Prompt::new(contact));
                self.show_prompt();
                return Ok(());
            }
            let text = "a recording needs a passphrase: start with --record FILE --passphrase-file FILE".to_owned();
            return self.stage.tell(CallEvent::Warning { contact: Some(contact), text });
        };
        let words = SecretBytes::copy_of(secret.expose("to make the recording's key from"));
        let path = match self.recordings.file.take() {
            Some(named) => named,
            None => match private(&self.recordings.folder) {
                Ok(()) => tape::new_file(&self.recordings.folder, &contact),
                // The call goes on without.
                Err(error) => {
                    let text = format!("cannot make the folder {}: {error}", self.recordings.folder.display());
                    return self.stage.tell(CallEvent::Warning { contact: Some(contact), text });
                }
            },
        };
        let troubles = self.troubles.clone();
        let file = tokio::spawn(async move { Writing::create(&path, &words, &troubles).await });
        self.making = Some(Making { contact, file });
        Ok(())
    }

    /// Begins to write into the file that was being made, if that is done and the call still goes on.
    pub(super) async fn look_at_making(&mut self) -> anyhow::Result<()> {
        let Some(Making { contact, file }) = self.making.take_if(|making| making.file.is_finished()) else {
            return Ok(());
        };
        match file.await? {
            // Dropping it removes a file in which nothing stands.
            Ok(_too_late) if !self.is_on(&contact) => Ok(()),
            Ok(writing) => self.line.record(&contact, writing).await,
            Err(error) => {
                let text = complaint::said(&error);
                self.stage.tell(CallEvent::Warning { contact: Some(contact), text })
            }
        }
    }

    /// Waits for a file that is being made, so that none is left behind.
    pub(super) async fn leave_making(making: Option<Making>) {
        if let Some(making) = making {
            let _made = making.file.await;
        }
    }

    fn is_on(&self, contact: &str) -> bool {
        self.stage.model.calls.iter().any(|call| call.contact == contact && call.is_on())
    }

    /// While a text is typed nobody tells when space is let go.
    async fn let_go_of_space(&mut self) -> anyhow::Result<()> {
        if self.stage.model.switches.tells_release { self.stop_talking().await } else { Ok(()) }
    }

    /// What the screen may show of the prompt.
    fn show_prompt(&mut self) {
        self.stage.model.prompt = self.prompt.as_ref().map(Prompt::shown);
    }

    /// A key of a passphrase.
    pub(super) async fn typed(&mut self, key: KeyEvent) -> anyhow::Result<()> {
        let Some(prompt) = &mut self.prompt else { return Ok(()) };
        let contact = prompt.contact().to_owned();
        let entered = prompt.press(key);
        if matches!(entered, Entered::Left | Entered::Stopped | Entered::Done(_)) {
            self.prompt = None;
        }
        self.show_prompt();
        match entered {
            Entered::More | Entered::Left => Ok(()),
            Entered::Said(text) => self.stage.tell(CallEvent::Warning { contact: None, text }),
            Entered::Stopped => self.wish(Wish::Quit).await,
            Entered::Done(words) => {
                self.recordings.words = Some(words);
                self.record(contact).await
            }
            Entered::Answer(yes) => {
                let now = self.stage.now();
                let wish = keys::answered(yes, &mut self.stage.model, now);
                self.stage.tell_asked()?;
                match wish {
                    Some(wish) => self.wish(wish).await,
                    None => Ok(()),
                }
            }
        }
    }

    /// A prompt ends with its call, and what was typed is wiped.
    pub(super) fn leave_prompt_of_no_call(&mut self) -> anyhow::Result<()> {
        let over = self.prompt.as_ref().map(|prompt| prompt.contact().to_owned());
        let Some(contact) = over.filter(|contact| !self.is_on(contact)) else { return Ok(()) };
        self.prompt = None;
        self.show_prompt();
        self.stray.begin(self.stage.now());
        // Two lines: on a screen each must be read whole.
        let texts = [
            format!("the call with {contact} is over; the passphrase is wiped"),
            format!("keys count again after Enter, Esc or {} s without one", STRAY.as_secs()),
        ];
        for text in texts {
            self.stage.tell(CallEvent::Warning { contact: Some(contact.clone()), text })?;
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
