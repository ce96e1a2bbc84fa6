//! A call that is written down: the file, its passphrase, and `vernam recording export`.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use vernam_audio::recording::{self, Exported, Recorder};
use vernam_engine::Tape;
use vernam_key::SecretBytes;

use super::words;
use crate::cli::ExportOptions;
use crate::history::now_unix_s;
use crate::stock::passphrase;

/// What went wrong with recordings, for the person.
#[derive(Clone, Default)]
pub(crate) struct Troubles(Arc<Mutex<Vec<String>>>, Arc<AtomicBool>);

impl Troubles {
    /// Everything since it was last asked.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a recording stopped by itself since it was last asked.
    pub(crate) fn take_stopped(&self) -> bool {
        self.1.swap(false, Ordering::Relaxed)
    }

    fn add(&self, text: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }
}

/// A recording that is being written. Dropping it ends it; one in which nothing stands is removed.
pub(crate) struct Writing {
    recorder: Option<Recorder>,
    path: PathBuf,
    is_empty: bool,
    troubles: Troubles,
}

impl Writing {
    /// Makes the file; its key is made from the passphrase, which takes about a second.
    pub(crate) async fn create(path: &Path, words: &SecretBytes, troubles: &Troubles) -> anyhow::Result<Self> {
        let text = words.expose("to make the recording's key from");
        let text = zeroize::Zeroizing::new(
            std::str::from_utf8(text).context("the passphrase of a recording must be text (UTF-8)")?.to_owned(),
        );
        let file = path.to_owned();
        let made = tokio::task::spawn_blocking(move || Recorder::create(&file, &text)).await?;
        let recorder = made.with_context(|| format!("cannot record to {}", path.display()))?;
        Ok(Self { recorder: Some(recorder), path: path.to_owned(), is_empty: true, troubles: troubles.clone() })
    }
}

impl Tape for Writing {
    fn write(&mut self, said: &[i16], heard: &[i16]) {
        self.is_empty = false;
        let Some(recorder) = &mut self.recorder else { return };
        recorder.write(said, heard);
        if recorder.has_stopped() {
            self.troubles.1.store(true, Ordering::Relaxed);
            self.end();
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.end();
    }
}

impl Writing {
    /// Ends the file, and says so if it is not whole.
    fn end(&mut self) {
        let Some(recorder) = self.recorder.take() else { return };
        let (path, is_empty, troubles) = (self.path.clone(), self.is_empty, self.troubles.clone());
        let end = move || {
            let ended = recorder.finish();
            let ended = ended.map_err(|error| format!("the recording {} is not whole: {error}", path.display()));
            let ended = match ended {
                // The contact said no.
                Ok(()) if is_empty => std::fs::remove_file(&path)
                    .map_err(|error| format!("the empty recording {} cannot be removed: {error}", path.display())),
                other => other,
            };
            if let Err(text) = ended {
                troubles.add(text);
            }
        };
        // The end is written to disk, for which a call's task must not wait.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(end)),
            Err(_outside) => end(),
        }
    }
}

/// A name that does not exist yet for a recording in `folder`, made of the contact and the time (UTC).
pub(crate) fn new_file(folder: &Path, contact: &str) -> PathBuf {
    let plain = |c: char| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
    let name: String = contact.chars().map(plain).collect();
    let moment = words::moment(now_unix_s()).replace([' ', ':'], "-");
    let named = |number: u32| match number {
        1 => folder.join(format!("{name}-{moment}.vrec")),
        _ => folder.join(format!("{name}-{moment}-{number}.vrec")),
    };
    (1..1_000).map(named).find(|path| path.symlink_metadata().is_err()).unwrap_or_else(|| named(1_000))
}

/// `vernam recording export`; returns the exit status.
///
/// # Errors
/// If it cannot be read with this passphrase, or the WAV not be written.
pub fn export(options: &ExportOptions) -> anyhow::Result<u8> {
    let words = match &options.passphrase_file {
        Some(file) => passphrase::from_file(file)?,
        None => passphrase::ask("Passphrase of the recording: ")?,
    };
    let text =
        std::str::from_utf8(words.expose("to open the recording")).context("the passphrase must be text (UTF-8)")?;
    let exported = recording::export(&options.recording, text, &options.wav)
        .with_context(|| format!("cannot export {}", options.recording.display()))?;
    let said = told(&exported, &options.wav);
    // It is done, whoever reads that.
    let _gone = said.iter().try_for_each(|line| writeln!(io::stdout(), "{line}"));
    Ok(u8::from(!exported.is_whole()))
}

/// What came of it, in lines.
fn told(exported: &Exported, wav: &Path) -> Vec<String> {
    let lasts = words::clock(exported.duration);
    let mut told = vec![format!("{} is written: {lasts}. It is not encrypted.", wav.display())];
    if exported.cut_short {
        let why = "The recording is not finished: its end is missing. If the call still goes on, export it once more \
                   after the call, to another file.";
        told.push(why.to_owned());
    }
    if exported.damaged > 0 {
        told.push(format!("{} pieces of half a second are damaged; they are silence.", exported.damaged));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A passphrase with all that a person may type.
    const WORDS: &str = "  quiet yarn, Zoë's 密码 r q n  ";

    fn options(temp: &Path, wav: &str) -> ExportOptions {
        let file = temp.join("words");
        std::fs::write(&file, format!("{WORDS}\n")).expect("a file");
        ExportOptions { recording: temp.join("bob.vrec"), wav: temp.join(wav), passphrase_file: Some(file) }
    }

    #[tokio::test]
    async fn a_recording_opens_with_its_passphrase_also_while_it_goes_on() {
        let temp = tempfile::tempdir().expect("a folder");
        let words = SecretBytes::copy_of(WORDS.as_bytes());
        let mut writing =
            Writing::create(&temp.path().join("bob.vrec"), &words, &Troubles::default()).await.expect("it can be made");
        let early = recording::export(&temp.path().join("bob.vrec"), WORDS, &temp.path().join("early.wav"));
        let early = early.expect("what there is");
        let said = told(&early, Path::new("early.wav")).join("\n");
        assert!(said.contains("not finished") && said.contains("still goes on"), "{said}");
        writing.write(&[1; 960], &[2; 960]);
        let recorder = writing.recorder.take().expect("it goes on");
        tokio::task::spawn_blocking(move || recorder.finish()).await.expect("no panic").expect("it ends");
        assert_eq!(export(&options(temp.path(), "whole.wav")).expect("it opens"), 0);
        assert_eq!(told(&Exported { cut_short: false, ..early }, Path::new("early.wav")).len(), 1);
    }

    #[test]
    fn a_recording_gets_a_name_of_its_own() {
        let temp = tempfile::tempdir().expect("a folder");
        let first = new_file(temp.path(), "../bob");
        assert!(first.starts_with(temp.path()) && first.parent() == Some(temp.path()), "{}", first.display());
        std::fs::write(&first, "").expect("a file");
        let second = new_file(temp.path(), "../bob");
        assert_ne!(first, second);
    }
}
