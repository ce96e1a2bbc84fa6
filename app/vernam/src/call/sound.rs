//! One mouth and one ear for all calls of a telephone: devices, files or silence.
//!
//! Only the call that the person is in has them; the others send and hear silence. Devices and files are opened with
//! the first frame of a call, and closed when the last call is over, so that the microphone is never open outside.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use vernam_audio::device::{Choice, DeviceInfo, Handset, HandsetControl, HandsetEvent, HandsetSettings, Part};
use vernam_audio::process::Processing;
use vernam_audio::{AtEnd, FrameLength, Speech, SpeechFrames, WavSink};
use vernam_engine::VoiceIo;

use super::echo::Envelopes;

/// What stands behind mouth and ear.
pub(crate) enum Behind {
    /// This machine's devices.
    Devices(HandsetSettings),
    /// What is said, and where what is heard goes.
    Files {
        /// Nothing is silence.
        speech: Option<Speech>,
        /// Nothing is nowhere. The second call's file has a `-2` in its name, and so on.
        heard: Option<PathBuf>,
    },
    /// Silence.
    Nothing,
}

/// Mouth and ear. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Sound(Arc<Shared>);

struct Shared {
    /// The number of the voice that has mouth and ear; 0 is none.
    whose: AtomicU64,
    /// The number of the newest voice.
    newest: AtomicU64,
    state: Mutex<State>,
    /// Who is told what is said and heard.
    watch: OnceLock<Arc<Mutex<Envelopes>>>,
    /// Held for a moment only: to choose a device, never while one works.
    control: Mutex<Option<HandsetControl>>,
}

struct State {
    behind: Behind,
    open: Open,
    /// Voices there are.
    voices: u32,
    /// Calls that wrote a file.
    written: u32,
    /// What the person should know.
    troubles: Vec<String>,
}

enum Open {
    Nothing,
    Handset(Box<Handset>, FrameLength),
    Files { speech: Option<SpeechFrames>, heard: Option<WavSink> },
}

impl Sound {
    pub(crate) fn new(behind: Behind) -> Self {
        let state = State { behind, open: Open::Nothing, voices: 0, written: 0, troubles: Vec::new() };
        Self(Arc::new(Shared {
            whose: AtomicU64::new(0),
            newest: AtomicU64::new(0),
            state: Mutex::new(state),
            watch: OnceLock::new(),
            control: Mutex::new(None),
        }))
    }

    /// Tells what is said and heard from now on to `envelopes`; once.
    pub(crate) fn watch(&self, envelopes: Arc<Mutex<Envelopes>>) {
        let _once = self.0.watch.set(envelopes);
    }

    fn watched(&self, tell: impl FnOnce(&mut Envelopes)) {
        if let Some(mut envelopes) = self.0.watch.get().and_then(|watch| watch.try_lock().ok()) {
            tell(&mut envelopes);
        }
    }

    /// A voice for a call, and its number for [`Self::give_to`].
    pub(crate) fn voice(&self) -> (u64, Box<dyn VoiceIo>) {
        let number = self.0.newest.fetch_add(1, Ordering::Relaxed) + 1;
        self.state().voices += 1;
        (number, Box::new(CallVoice { sound: self.clone(), number }))
    }

    /// This voice has mouth and ear from now on.
    pub(crate) fn give_to(&self, number: u64) {
        self.0.whose.store(number, Ordering::Relaxed);
    }

    /// Uses another device from now on.
    pub(crate) fn choose(&self, part: Part, choice: Choice) {
        if let Some(control) = &*self.control() {
            control.choose(part, choice.clone());
        }
        if let Behind::Devices(settings) = &mut self.state().behind {
            match part {
                Part::Microphone => settings.microphone = choice,
                Part::Speaker => settings.speaker = choice,
                Part::Ringer => settings.ringer = choice,
            }
        }
    }

    /// Switches the processing of the voice.
    pub(crate) fn process(&self, processing: Processing) {
        if let Some(control) = &*self.control() {
            control.process(processing);
        }
        if let Behind::Devices(settings) = &mut self.state().behind {
            settings.processing = processing;
        }
    }

    /// What happened to the devices and files since it was last asked.
    pub(crate) fn news(&self) -> (Vec<HandsetEvent>, Vec<String>) {
        let events = self.control().as_ref().map(HandsetControl::events).unwrap_or_default();
        (events, std::mem::take(&mut self.state().troubles))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn control(&self) -> MutexGuard<'_, Option<HandsetControl>> {
        self.0.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is open for frames of so many samples, if this voice may use it. Whoever else looks at it does so for a
    /// moment; then a frame of silence is better than waiting.
    fn with_open(&self, number: u64, samples: usize, act: impl FnOnce(&mut Open) -> Option<String>) {
        if self.0.whose.load(Ordering::Relaxed) != number {
            return;
        }
        let Ok(mut state) = self.0.state.try_lock() else { return };
        let state = &mut *state;
        let frame = FrameLength::ALL.into_iter().find(|frame| frame.samples() == samples);
        let Some(frame) = frame else { return };
        match (&state.open, &state.behind) {
            (Open::Nothing, Behind::Files { speech, heard }) => {
                let speech = speech.as_ref().map(|speech| speech.frames(frame, AtEnd::Stop));
                let heard = heard.as_ref().map(|path| WavSink::create(numbered(path, state.written)));
                state.written += 1;
                let heard = heard.and_then(|made| made.map_err(|error| state.troubles.push(error.to_string())).ok());
                state.open = Open::Files { speech, heard };
            }
            (Open::Nothing, Behind::Devices(settings)) => self.open_handset(settings.clone(), frame, state),
            (Open::Handset(_, open), Behind::Devices(settings)) if *open != frame => {
                self.open_handset(settings.clone(), frame, state);
            }
            _ => {}
        }
        state.troubles.extend(act(&mut state.open));
    }

    fn open_handset(&self, settings: HandsetSettings, frame: FrameLength, state: &mut State) {
        // The old one first: some devices can be opened once only.
        state.open = Open::Nothing;
        match Handset::open(settings, frame) {
            Ok((handset, control)) => {
                *self.control() = Some(control);
                state.open = Open::Handset(Box::new(handset), frame);
            }
            Err(error) => {
                state.troubles.push(error.to_string());
                // Said once: the call goes on in silence.
                state.behind = Behind::Nothing;
            }
        }
    }

    fn close(&self, number: u64) {
        let _was_ours = self.0.whose.compare_exchange(number, 0, Ordering::Relaxed, Ordering::Relaxed);
        let mut state = self.state();
        state.voices -= 1;
        if state.voices > 0 {
            return;
        }
        let open = std::mem::replace(&mut state.open, Open::Nothing);
        if let Open::Files { heard: Some(sink), .. } = open
            && let Err(error) = sink.finish()
        {
            state.troubles.push(error.to_string());
        }
        drop(state);
        *self.control() = None;
    }
}

/// One call's share of mouth and ear.
struct CallVoice {
    sound: Sound,
    number: u64,
}

impl VoiceIo for CallVoice {
    fn capture(&mut self, pcm: &mut [i16]) {
        pcm.fill(0);
        self.sound.with_open(self.number, pcm.len(), |open| {
            match open {
                Open::Nothing => {}
                Open::Handset(handset, _) => handset.capture(pcm),
                Open::Files { speech, .. } => {
                    if speech.as_mut().is_some_and(|frames| !frames.next_into(pcm)) {
                        // At its end: silence from now on.
                        *speech = None;
                    }
                }
            }
            None
        });
        self.sound.watched(|envelopes| envelopes.said(pcm));
    }

    fn play(&mut self, pcm: &[i16]) {
        self.sound.watched(|envelopes| envelopes.heard(pcm));
        self.sound.with_open(self.number, pcm.len(), |open| match open {
            Open::Nothing => None,
            Open::Handset(handset, _) => {
                handset.play(pcm);
                None
            }
            Open::Files { heard, .. } => {
                let error = heard.as_mut()?.write(pcm).err()?;
                // A full disk is told once; the call goes on.
                *heard = None;
                Some(error.to_string())
            }
        });
    }
}

impl Drop for CallVoice {
    fn drop(&mut self) {
        self.sound.close(self.number);
    }
}

/// `heard.wav`, then `heard-2.wav`, and so on.
fn numbered(path: &Path, before: u32) -> PathBuf {
    if before == 0 {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|ending| format!(".{}", ending.to_string_lossy())).unwrap_or_default();
    path.with_file_name(format!("{stem}-{}{extension}", before + 1))
}

/// The device that a person means by `text`: `default`, `off`, an id, or a name (or a piece of one, if it is of one
/// device only). One that is not there now may come later: its id is kept.
pub(crate) fn choice(text: &str, devices: &[DeviceInfo]) -> Choice {
    match text {
        "default" | "" => return Choice::Default,
        "off" => return Choice::Off,
        _ => {}
    }
    if devices.iter().any(|device| device.id == text) {
        return Choice::Id(text.to_owned());
    }
    let wanted = text.to_lowercase();
    let alike = |exact: bool| {
        let fits = |name: &str| if exact { name == wanted } else { name.contains(&wanted) };
        let mut found = devices.iter().filter(|device| fits(&device.name.to_lowercase()));
        found.next().filter(|_| found.next().is_none())
    };
    let found = alike(true).or_else(|| alike(false));
    Choice::Id(found.map_or_else(|| text.to_owned(), |device| device.id.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speech() -> Speech {
        Speech::from_samples((1..=2_000).map(|sample| sample % 999 + 1).collect::<Vec<i16>>()).expect("some sound")
    }

    #[test]
    fn only_the_call_that_one_is_in_has_mouth_and_ear() {
        let sound = Sound::new(Behind::Files { speech: Some(speech()), heard: None });
        let ((one, mut first), (two, mut second)) = (sound.voice(), sound.voice());
        let mut pcm = [7; 960];
        first.capture(&mut pcm);
        assert_eq!(pcm, [0; 960], "nobody has it yet");
        sound.give_to(one);
        first.capture(&mut pcm);
        assert_eq!(pcm[..3], [2, 3, 4]);
        second.capture(&mut pcm);
        assert_eq!(pcm, [0; 960]);
        sound.give_to(two);
        second.capture(&mut pcm);
        assert_ne!(pcm, [0; 960], "the speech goes on in the other call");
        drop(second);
        first.capture(&mut pcm);
        assert_eq!(pcm, [0; 960]);
    }

    #[test]
    fn each_call_gets_a_file_of_its_own() {
        let temp = tempfile::tempdir().expect("a folder");
        let heard = temp.path().join("heard.wav");
        let sound = Sound::new(Behind::Files { speech: None, heard: Some(heard.clone()) });
        for said in [100, 200] {
            let (number, mut voice) = sound.voice();
            sound.give_to(number);
            voice.play(&[said; 960]);
        }
        assert_eq!(sound.news().1, Vec::<String>::new());
        for (path, said) in [(heard, 100), (temp.path().join("heard-2.wav"), 200)] {
            assert_eq!(Speech::load(path).expect("a file").samples(), [said; 960]);
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_is_told_once() {
        let temp = tempfile::tempdir().expect("a folder");
        let sound = Sound::new(Behind::Files { speech: None, heard: Some(temp.path().join("no/such/heard.wav")) });
        let (number, mut voice) = sound.voice();
        sound.give_to(number);
        voice.play(&[1; 960]);
        voice.play(&[1; 960]);
        assert_eq!(sound.news().1.len(), 1);
    }
}
