//! One loudspeaker, one microphone, the ringer.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vernam_audio::device::{Choice, Microphone, RING_SAMPLES, Ringer, Speaker, devices, microphones, speakers};
use vernam_audio::tone::ToneKind;
use vernam_audio::{DeviceError, Error, SAMPLE_RATE};

use super::support::{DEADLINE, Ended, Server, Sine, TONE_HZ, check_tone, child, inside, load, sink};

const HALF_SECOND: usize = SAMPLE_RATE as usize / 2;

fn two_loudspeakers() -> Server {
    let server = Server::start(&[load(&sink("ear", 48_000, 1)), load(&sink("mouth", 48_000, 1))]);
    server.pactl("set-default-sink ear");
    server.pactl("set-default-source ear.monitor");
    server
}

/// Plays the tone for so many samples, calling `each_turn` while waiting for the device.
fn play(speaker: &mut Speaker, samples: usize, mut each_turn: impl FnMut()) {
    let mut sound = vec![0; samples];
    Sine::new(TONE_HZ).fill(&mut sound);
    let (mut written, begin) = (0, Instant::now());
    while written < sound.len() || speaker.queued() > 0 {
        assert!(begin.elapsed() < DEADLINE, "the loudspeaker does not take the sound");
        written += speaker.write(&sound[written..]).unwrap();
        assert!(speaker.queued() <= RING_SAMPLES);
        each_turn();
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_tone_through_the_speaker_is_heard_at_its_level_and_pitch() {
    inside("ends::inside_play_a_tone");
}

#[test]
#[ignore = "runs in the environment that the test above makes"]
fn inside_play_a_tone() {
    let _server = two_loudspeakers();
    let mut recorder = Command::new("parec");
    recorder.args(["--device=ear.monitor", "--latency-msec=20", "--rate=48000", "--channels=1", "--format=s16le"]);
    let mut recorder = Ended(recorder.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
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
    let listed = speakers().unwrap();
    assert_eq!(listed.len(), 2, "{listed:?}");
    let default = listed.iter().find(|device| device.is_default).unwrap();
    assert!(default.id.ends_with("ear"), "{default:?}");
    let mut speaker = Speaker::open(Some(&default.id)).unwrap();
    play(&mut speaker, 2 * SAMPLE_RATE as usize, || ());
    println!("{}: {} samples missed", speaker.name(), speaker.missed());
    check_tone(&listener.join().unwrap(), HALF_SECOND, 50.0, "parec");
}

#[test]
fn a_microphone_hears_the_tone_and_default_monitors_are_refused() {
    inside("ends::inside_hear_a_tone");
}

#[test]
#[ignore = "runs in the environment that the test above makes"]
fn inside_hear_a_tone() {
    let server = two_loudspeakers();
    let listed = microphones().unwrap();
    assert!(listed.iter().all(|device| device.is_monitor), "{listed:?}");
    assert!(matches!(Microphone::open(None), Err(Error::Device(DeviceError::NotFound { .. }))));
    let missing = Speaker::open(Some("pulseaudio:no-such-thing")).err().unwrap();
    assert_eq!(missing.to_string(), "there is no loudspeaker named \"pulseaudio:no-such-thing\"");

    let ear = listed.iter().find(|device| device.id.ends_with("ear.monitor")).unwrap();
    let mut microphone = Microphone::open(Some(&ear.id)).unwrap();
    let mut speaker = Speaker::open(None).unwrap();
    let mut heard = Vec::new();
    play(&mut speaker, 2 * SAMPLE_RATE as usize, || {
        let mut pcm = [0; 4_800];
        let taken = microphone.read(&mut pcm).unwrap();
        heard.extend_from_slice(&pcm[..taken]);
    });
    println!("{} samples missed by the microphone, {} by the speaker", microphone.missed(), speaker.missed());
    check_tone(&heard, HALF_SECOND, 50.0, microphone.name());

    drop((microphone, speaker));
    server.plug(&sink("low", 16_000, 2));
    let all = devices().unwrap();
    let low = all.iter().find(|device| device.id == "pulseaudio:low").unwrap();
    assert_eq!((low.rate, low.channels), (16_000, 2), "{low:?}");
    assert!(all.iter().skip(3).all(|device| device.is_monitor), "loudspeakers first: {all:?}");
    let mut microphone = Microphone::open(Some("pulseaudio:low.monitor")).unwrap();
    let mut speaker = Speaker::open(Some("pulseaudio:low")).unwrap();
    let mut heard = Vec::new();
    play(&mut speaker, 100 * 480, || {
        let mut pcm = [0; 4_800];
        let taken = microphone.read(&mut pcm).unwrap();
        heard.extend_from_slice(&pcm[..taken]);
    });
    check_tone(&heard, HALF_SECOND, 45.0, "16 kHz and two channels");
}

#[test]
fn the_ringer_holds_its_loudspeaker_only_while_it_rings() {
    inside("ends::inside_ring");
}

#[test]
#[ignore = "runs in the environment that the test above makes"]
fn inside_ring() {
    let server = two_loudspeakers();
    let streams = || server.pactl("list short sink-inputs").lines().count();
    let wait_for = |count: usize| {
        let begin = Instant::now();
        while streams() != count {
            assert!(begin.elapsed() < DEADLINE, "{count} streams do not come");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let mut listener = Microphone::open(Some("pulseaudio:mouth.monitor")).unwrap();
    let ringer = Ringer::new(Choice::Id("pulseaudio:mouth".to_owned()));
    assert_eq!(streams(), 0);
    ringer.play(Some(ToneKind::Ring));
    wait_for(1);
    let begin = Instant::now();
    let mut pcm = [0; 4_800];
    while pcm.iter().all(|sample| *sample == 0) {
        assert!(begin.elapsed() < DEADLINE, "nothing rings; {:?}", ringer.events());
        listener.read(&mut pcm).unwrap();
        std::thread::sleep(Duration::from_millis(10));
    }
    ringer.choose(Choice::Default);
    std::thread::sleep(Duration::from_millis(100));
    wait_for(1);
    ringer.play(None);
    wait_for(0);
    ringer.play(Some(ToneKind::Ended));
    wait_for(1);
    wait_for(0);
    ringer.play(Some(ToneKind::Ring));
    wait_for(1);
    drop(ringer);
    wait_for(0);
}

#[test]
fn without_a_sound_system_the_error_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = child("ends::inside_no_sound", directory.path());
    child.env("ALSA_CONFIG_PATH", directory.path().join("none.conf"));
    assert!(child.status().unwrap().success(), "see above");
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
