//! Loudspeaker and microphone over a real sound system: a private `PulseAudio` with loudspeakers that lead nowhere.
//!
//! A process cannot change its own environment safely, so each test starts itself again as a child inside the private
//! sound system. Without `PulseAudio` the tests say so and pass.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]
#![expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "sines are made in f64")]

use std::f64::consts::TAU;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use vernam_audio::device::{Microphone, RING_SAMPLES, Speaker, microphones, speakers};
use vernam_audio::{DeviceError, Error, SAMPLE_RATE};

const TONE_HZ: f64 = 997.0;
const TONE_PEAK: f64 = 16_384.0;
const DEADLINE: Duration = Duration::from_secs(20);

/// Ends its process, and only that, when dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct SoundSystem {
    directory: tempfile::TempDir,
    _server: Ended,
}

impl SoundSystem {
    /// None, with the reason printed by the caller, when there is no `PulseAudio` on this machine.
    fn start() -> Option<Self> {
        for tool in ["pulseaudio", "pactl", "parec"] {
            Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let sink = |name| {
            format!("load-module module-null-sink sink_name={name} rate=48000 channels=1 format=s16le norewinds=1")
        };
        let script = [
            ".fail".to_owned(),
            format!("load-module module-native-protocol-unix auth-anonymous=1 socket={}", socket(path)),
            sink("ear"),
            sink("mouth"),
            "set-default-sink ear\n".to_owned(),
        ]
        .join("\n");
        std::fs::write(path.join("start.pa"), script).unwrap();
        let mut server = Command::new("pulseaudio");
        server.args(["-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "--enable-memfd=no"]);
        server.args(["--log-level=error", "-F"]).arg(path.join("start.pa"));
        let server = Ended(inside(&mut server, path).stderr(Stdio::null()).spawn().unwrap());
        let system = Self { directory, _server: server };
        let begin = Instant::now();
        while !system.command("pactl").arg("info").stdout(Stdio::null()).status().unwrap().success() {
            assert!(begin.elapsed() < DEADLINE, "PulseAudio does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(system)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        inside(&mut command, self.directory.path()).stderr(Stdio::null());
        command
    }

    /// Runs the ignored test of this name in a child process, inside this sound system.
    fn run(&self, test: &str) {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", test, "--ignored", "--nocapture"]);
        assert!(inside(&mut child, self.directory.path()).status().unwrap().success(), "{test} failed, see above");
    }
}

fn socket(directory: &Path) -> String {
    directory.join("native").display().to_string()
}

fn inside<'a>(command: &'a mut Command, directory: &Path) -> &'a mut Command {
    for name in ["PULSE_RUNTIME_PATH", "PULSE_STATE_PATH", "PULSE_CONFIG_PATH", "XDG_RUNTIME_DIR", "HOME"] {
        command.env(name, directory);
    }
    command.env("PULSE_SERVER", format!("unix:{}", socket(directory))).env("PULSE_COOKIE", directory.join("cookie"))
}

fn tone() -> impl Iterator<Item = i16> {
    (0..).map(|index: u32| (TONE_PEAK * (TAU * TONE_HZ * f64::from(index) / f64::from(SAMPLE_RATE)).sin()) as i16)
}

/// Of half a second of sound: the tone's peak, and what is not the tone, in dB below it. A gap or click would show.
fn measure(sound: &[i16]) -> (f64, f64) {
    let angle = |index: usize| TAU * TONE_HZ * index as f64 / f64::from(SAMPLE_RATE);
    let (mut sine, mut cosine) = (0.0, 0.0);
    for (index, &sample) in sound.iter().enumerate() {
        sine += f64::from(sample) * angle(index).sin();
        cosine += f64::from(sample) * angle(index).cos();
    }
    let scale = 2.0 / sound.len() as f64;
    let (sine, cosine) = (sine * scale, cosine * scale);
    let rest: f64 = sound
        .iter()
        .enumerate()
        .map(|(index, &sample)| (f64::from(sample) - sine * angle(index).sin() - cosine * angle(index).cos()).powi(2))
        .sum();
    let peak = sine.hypot(cosine);
    (peak, 10.0 * (peak * peak / 2.0 / (rest / sound.len() as f64).max(1e-9)).log10())
}

/// Checks the best half second out of a recording of the tone: its level, and that it is nothing but the tone.
///
/// The best of them, because a loaded machine may well play a gap now and then.
fn check_tone(recording: &[i16], who: &str) {
    let half = SAMPLE_RATE as usize / 2;
    let (peak, clean) = recording
        .windows(half)
        .step_by(half / 10)
        .map(measure)
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .expect("at least half a second was recorded");
    println!("{who}: tone at {peak:.0} of {TONE_PEAK:.0}, everything else {clean:.1} dB below it");
    assert!((peak / TONE_PEAK).log10().abs() * 20.0 < 0.5, "level {peak}");
    assert!(clean > 50.0, "{clean} dB");
}

#[test]
fn a_tone_through_the_speaker_is_heard_at_its_level_and_pitch() {
    let Some(system) = SoundSystem::start() else {
        println!("skipped: PulseAudio is not installed (apt install pulseaudio pulseaudio-utils)");
        return;
    };
    let mut recorder = system.command("parec");
    recorder.args(["--device=ear.monitor", "--latency-msec=20", "--rate=48000", "--channels=1", "--format=s16le"]);
    let mut recorder = Ended(recorder.stdout(Stdio::piped()).spawn().unwrap());
    let mut pipe = recorder.0.stdout.take().unwrap();
    let listener = std::thread::spawn(move || {
        let (mut sound, mut chunk, mut loud) = (Vec::new(), [0; 1_920], 0);
        let begin = Instant::now();
        while loud < SAMPLE_RATE && begin.elapsed() < DEADLINE && pipe.read_exact(&mut chunk).is_ok() {
            let samples = chunk.as_chunks::<2>().0.iter().map(|bytes| i16::from_le_bytes(*bytes));
            if samples.clone().any(|sample| sample != 0) {
                loud += 960;
                sound.extend(samples);
            }
        }
        sound
    });
    system.run("inside_play_a_tone");
    check_tone(&listener.join().unwrap(), "parec");
}

#[test]
#[ignore = "runs inside the sound system that the test above starts"]
fn inside_play_a_tone() {
    let listed = speakers().unwrap();
    assert_eq!(listed.len(), 2, "{listed:?}");
    let default = listed.iter().find(|device| device.is_default).unwrap();
    assert!(default.id.ends_with("ear"), "{default:?}");
    let mut speaker = Speaker::open(Some(&default.id)).unwrap();
    play(&mut speaker, 2 * SAMPLE_RATE as usize, |_| ());
    println!("{}: {} samples missed", speaker.name(), speaker.missed());
}

#[test]
fn a_microphone_hears_the_tone_and_default_monitors_are_refused() {
    let Some(system) = SoundSystem::start() else {
        println!("skipped: PulseAudio is not installed (apt install pulseaudio pulseaudio-utils)");
        return;
    };
    system.run("inside_hear_a_tone");
}

#[test]
#[ignore = "runs inside the sound system that the test above starts"]
fn inside_hear_a_tone() {
    let listed = microphones().unwrap();
    assert!(listed.iter().all(|device| device.is_monitor), "{listed:?}");
    assert!(matches!(Microphone::open(None), Err(Error::Device(DeviceError::NotFound { .. }))));
    let missing = Speaker::open(Some("pulseaudio:no-such-thing")).err().unwrap();
    assert_eq!(missing.to_string(), "there is no loudspeaker named \"pulseaudio:no-such-thing\"");

    let ear = listed.iter().find(|device| device.id.ends_with("ear.monitor")).unwrap();
    let mut microphone = Microphone::open(Some(&ear.id)).unwrap();
    let mut speaker = Speaker::open(None).unwrap();
    let mut heard = Vec::new();
    play(&mut speaker, 2 * SAMPLE_RATE as usize, |_| {
        let mut pcm = [0; 4_800];
        let taken = microphone.read(&mut pcm).unwrap();
        heard.extend_from_slice(&pcm[..taken]);
    });
    println!("{} samples missed by the microphone, {} by the speaker", microphone.missed(), speaker.missed());
    check_tone(&heard, microphone.name());
}

/// Plays the tone for so many samples, calling `each_turn` while waiting for the device.
fn play(speaker: &mut Speaker, samples: usize, mut each_turn: impl FnMut(usize)) {
    let sound: Vec<i16> = tone().take(samples).collect();
    let (mut written, begin) = (0, Instant::now());
    while written < sound.len() || speaker.queued() > 0 {
        assert!(begin.elapsed() < DEADLINE, "the loudspeaker does not take the sound");
        written += speaker.write(&sound[written..]).unwrap();
        assert!(speaker.queued() <= RING_SAMPLES);
        each_turn(written);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn without_a_sound_system_the_error_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "inside_no_sound", "--ignored", "--nocapture"]);
    child.env("ALSA_CONFIG_PATH", directory.path().join("none.conf"));
    assert!(inside(&mut child, directory.path()).status().unwrap().success(), "see above");
}

#[test]
#[ignore = "runs in the environment without sound that the test above makes"]
fn inside_no_sound() {
    println!("{:?}", speakers());
    let error = Speaker::open(None).err().expect("there is no sound");
    println!("{error}");
    assert!(
        matches!(error, Error::Device(DeviceError::NoSoundSystem { .. } | DeviceError::NotFound { .. })),
        "{error:?}"
    );
}
