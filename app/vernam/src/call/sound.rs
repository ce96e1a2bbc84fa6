//! One mouth and one ear for all calls of a telephone: devices, files or silence.
//!
//! Only the call that the person is in has them; the others send and hear silence. Devices and files are opened with
//! the first frame of a call, and closed when the last call is over, so that the microphone is never open outside.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use vernam_audio::device::{Choice, Handset, HandsetControl, HandsetEvent, HandsetSettings, Part};
use vernam_audio::process::Processing;
use vernam_audio::{AtEnd, FrameLength, Speech, SpeechFrames, WavSink};
use vernam_engine::VoiceIo;

use super::echo::Envelopes;
use crate::devices::Device;

/// Devices that a message names at most.
const MAX_NAMED: usize = 8;
/// Names that are tried for a file of what is heard.
const MAX_NAMES: u32 = 1_000;

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
    /// Names of files that were tried.
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
        (number, Box::new(CallVoice { sound: self.clone(), number, frame: None }))
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

    /// What was chosen for a part; off where there are no devices.
    pub(crate) fn chosen(&self, part: Part) -> Choice {
        match (&self.state().behind, part) {
            (Behind::Devices(settings), Part::Microphone) => settings.microphone.clone(),
            (Behind::Devices(settings), Part::Speaker) => settings.speaker.clone(),
            (Behind::Devices(settings), Part::Ringer) => settings.ringer.clone(),
            _ => Choice::Off,
        }
    }

    /// Answers whether the microphone of this id stands in for the chosen one while that is away. Too late is no harm.
    pub(crate) fn stand_in(&self, id: &str, take: bool) {
        if let Some(control) = &*self.control() {
            control.confirm_stand_in(id, take);
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

    /// What is open for frames of this length, if this voice may use it. Whoever else looks at it does so for a moment;
    /// then a frame of silence is better than waiting.
    fn with_open(&self, number: u64, frame: Option<FrameLength>, act: impl FnOnce(&mut Open) -> Option<String>) {
        if self.0.whose.load(Ordering::Relaxed) != number {
            return;
        }
        let Ok(mut state) = self.0.state.try_lock() else { return };
        let state = &mut *state;
        let Some(frame) = frame else { return };
        match (&state.open, &state.behind) {
            (Open::Nothing, Behind::Files { speech, heard }) => {
                let speech = speech.as_ref().map(|speech| speech.frames(frame, AtEnd::Stop));
                let heard = heard.as_ref().map(|path| new_file(path, &mut state.written));
                let heard = heard.and_then(|made| made.map_err(|error| state.troubles.push(error)).ok());
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
    /// The call's frames; what is heard comes in shorter steps.
    frame: Option<FrameLength>,
}

impl CallVoice {
    /// The call's frames, where nobody said so those of the first sound.
    fn frame(&self, pcm: &[i16]) -> Option<FrameLength> {
        self.frame.or_else(|| FrameLength::ALL.into_iter().find(|frame| frame.samples() == pcm.len()))
    }
}

impl VoiceIo for CallVoice {
    fn step(&mut self, frame: FrameLength) -> FrameLength {
        self.frame = Some(frame);
        FrameLength::Ms10
    }

    fn capture(&mut self, pcm: &mut [i16]) {
        pcm.fill(0);
        self.sound.with_open(self.number, self.frame(pcm), |open| {
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
        self.sound.with_open(self.number, self.frame(pcm), |open| match open {
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

/// A file for what is heard that was not there: `heard.wav`, then `heard-2.wav`, and so on. Only its owner can read it.
fn new_file(path: &Path, written: &mut u32) -> Result<WavSink, String> {
    let cannot =
        |path: &Path, error: &dyn std::fmt::Display| format!("what is heard is not kept: {}: {error}", path.display());
    for _ in 0..MAX_NAMES {
        let path = numbered(path, *written);
        *written += 1;
        // Made by us, so that what it is written over by is empty and ours.
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(_made) => return WavSink::create(&path).map_err(|error| cannot(&path, &error)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(cannot(&path, &error)),
        }
    }
    Err(format!("what is heard is not kept: {MAX_NAMES} files with names like {} are there already", path.display()))
}

/// The name of the file after so many.
fn numbered(path: &Path, before: u32) -> PathBuf {
    if before == 0 {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|ending| format!(".{}", ending.to_string_lossy())).unwrap_or_default();
    path.with_file_name(format!("{stem}-{}{extension}", before + 1))
}

/// What a person means by a name.
#[derive(Debug, PartialEq, Eq)]
enum Meant<'a> {
    /// This device.
    One(&'a Device),
    /// Nothing that is there.
    Nothing,
    /// Any of these.
    Several(Vec<&'a Device>),
}

/// The device of this id, or of this name, or with this in its name if there is one such device only.
fn meant<'a>(text: &str, devices: &'a [Device]) -> Meant<'a> {
    if let Some(device) = devices.iter().find(|device| device.id == text) {
        return Meant::One(device);
    }
    let wanted = text.to_lowercase();
    let alike = |fits: &dyn Fn(&str) -> bool| -> Vec<&Device> {
        devices.iter().filter(|device| fits(&device.name.to_lowercase())).collect()
    };
    let exact = alike(&|name| name == wanted);
    let found = if exact.is_empty() { alike(&|name| name.contains(&wanted)) } else { exact };
    match found[..] {
        [] => Meant::Nothing,
        [one] => Meant::One(one),
        _ => Meant::Several(found),
    }
}

/// What is no device: `default` and `off`.
fn no_device(text: &str) -> Option<Choice> {
    match text {
        "default" | "" => Some(Choice::Default),
        "off" => Some(Choice::Off),
        _ => None,
    }
}

/// The device that `home.toml` means by `text`. One that is not there now may come later: its id is kept.
pub(crate) fn choice(text: &str, devices: &[Device]) -> Choice {
    no_device(text).unwrap_or_else(|| match meant(text, devices) {
        Meant::One(device) => Choice::Id(device.id.clone()),
        Meant::Nothing | Meant::Several(_) => Choice::Id(text.to_owned()),
    })
}

/// The device that a person means by `text`, given with `option`.
///
/// # Errors
/// If there is none, or more than one: what there is.
pub(crate) fn asked_for(option: &str, text: &str, devices: &[Device]) -> anyhow::Result<Choice> {
    if let Some(choice) = no_device(text) {
        return Ok(choice);
    }
    let what = if option == "--microphone" { "microphone" } else { "loudspeaker" };
    match meant(text, devices) {
        Meant::One(device) => Ok(Choice::Id(device.id.clone())),
        Meant::Several(found) => anyhow::bail!(
            "{option}: \u{201c}{text}\u{201d} is in the name of more than one {what}: {}. Give the whole name, or an id \
             of `vernam devices`",
            names(found)
        ),
        Meant::Nothing => {
            // What a loudspeaker plays is nobody's voice.
            let there: Vec<_> = devices.iter().filter(|device| !device.monitor).collect();
            let there = if there.is_empty() {
                format!("There is no {what} at all; `{option} off` does without")
            } else {
                let is = if there.len() == 1 { "is" } else { "are" };
                format!("There {is} {}; `vernam devices` shows all", names(there))
            };
            anyhow::bail!("{option}: there is no {what} \u{201c}{text}\u{201d}. {there}");
        }
    }
}

/// The names of devices, as many as one reads.
fn names(devices: Vec<&Device>) -> String {
    let more = devices.len().saturating_sub(MAX_NAMED);
    let names: Vec<String> =
        devices.into_iter().take(MAX_NAMED).map(|device| format!("\u{201c}{}\u{201d}", device.name)).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    names.join(", ") + &more
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
    fn what_is_heard_may_come_in_shorter_steps_than_what_is_said() {
        let temp = tempfile::tempdir().expect("a folder");
        let heard = temp.path().join("heard.wav");
        let sound = Sound::new(Behind::Files { speech: Some(speech()), heard: Some(heard.clone()) });
        let (number, mut voice) = sound.voice();
        sound.give_to(number);
        assert_eq!(voice.step(FrameLength::Ms20), FrameLength::Ms10);
        let mut pcm = [0; 960];
        for step in 0..4 {
            voice.play(&[step + 1; 480]);
            if step % 2 == 1 {
                voice.capture(&mut pcm);
                assert_ne!(pcm, [0; 960]);
            }
        }
        drop(voice);
        assert_eq!(sound.news().1, Vec::<String>::new());
        let written = Speech::load(heard).expect("a file");
        assert_eq!(written.samples().chunks(480).map(|step| step[0]).collect::<Vec<_>>(), [1, 2, 3, 4]);
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
    fn no_file_is_written_over() {
        let temp = tempfile::tempdir().expect("a folder");
        let heard = temp.path().join("heard.wav");
        for name in ["heard.wav", "heard-2.wav"] {
            std::fs::write(temp.path().join(name), "of somebody else").expect("a file");
        }
        let sound = Sound::new(Behind::Files { speech: None, heard: Some(heard) });
        let (number, mut voice) = sound.voice();
        sound.give_to(number);
        voice.play(&[5; 960]);
        drop(voice);
        assert_eq!(sound.news().1, Vec::<String>::new());
        for name in ["heard.wav", "heard-2.wav"] {
            assert_eq!(std::fs::read(temp.path().join(name)).expect("it is there"), b"of somebody else", "{name}");
        }
        assert_eq!(Speech::load(temp.path().join("heard-3.wav")).expect("a file").samples(), [5; 960]);
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

    fn device(id: &str, name: &str, monitor: bool) -> Device {
        Device { id: id.to_owned(), name: name.to_owned(), default: false, monitor }
    }

    #[test]
    fn a_device_goes_by_id_or_name_or_what_is_only_in_its_name() {
        let there = [device("a", "USB Headset", false), device("b", "USB Desk", false), device("c", "usb", false)];
        let one = |text| asked_for("--microphone", text, &there).expect("it is there");
        assert_eq!(one("b"), Choice::Id("b".to_owned()));
        assert_eq!(one("head"), Choice::Id("a".to_owned()));
        assert_eq!(one("USB"), Choice::Id("c".to_owned()), "the whole of one name, and a part of others");
        assert_eq!([one("default"), one("off")], [Choice::Default, Choice::Off]);
        assert_eq!(choice("gone", &there), Choice::Id("gone".to_owned()), "the settings may name what comes later");
    }

    #[test]
    fn what_is_not_there_is_said_with_the_option_and_with_what_there_is() {
        let there = [device("a", "Headset", false), device("b", "Headphones", false), device("m", "Monitor", true)];
        let said =
            |text, there: &[Device]| asked_for("--microphone", text, there).expect_err("it is not there").to_string();
        let unknown = said("hedset", &there);
        for part in ["--microphone", "hedset", "Headset", "Headphones", "vernam devices"] {
            assert!(unknown.contains(part), "{part}: {unknown}");
        }
        assert!(!unknown.contains("Monitor"), "{unknown}");
        let several = said("head", &there);
        assert!(several.contains("more than one") && several.contains("Headphones"), "{several}");
        assert!(said("x", &[]).contains("--microphone off"), "{}", said("x", &[]));
        let many: Vec<Device> = (0..100).map(|number| device("x", &format!("Device {number}"), false)).collect();
        assert!(said("nothing", &many).contains(" and 92 more"), "{}", said("nothing", &many));
        let speaker = asked_for("--ringer", "bell", &there).expect_err("it is not there").to_string();
        assert!(speaker.contains("--ringer") && speaker.contains("loudspeaker"), "{speaker}");
    }
}
