//! A handset in use while devices come, go and change.

use std::time::{Duration, Instant};

use vernam_audio::SAMPLE_RATE;
use vernam_audio::device::{Choice, HandsetEvent, Part};

use super::support::{Call, DEADLINE, FRAME, Server, Sine, TONE_HZ, check_tone, id, inside, load, sink, source};

/// A tenth of a second: for so long a followed clock is as good as still.
const PIECE: usize = SAMPLE_RATE as usize / 10;

/// A loudspeaker and a microphone that hears it, both the default.
fn loop_back() -> Server {
    let server = Server::start(&[load(&sink("ear", 48_000, 1)), load(&source("mic", "ear", 48_000, 1))]);
    server.pactl("set-default-sink ear");
    server.pactl("set-default-source mic");
    server
}

fn silent(sound: &[i16]) -> bool {
    sound.iter().all(|sample| *sample == 0)
}

#[test]
fn a_tone_goes_round_clean_and_soon() {
    inside("handset::inside_loop");
}

#[test]
#[ignore = "runs in the environment that the test above makes"]
fn inside_loop() {
    let server = loop_back();
    let mut call = Call::new(Choice::Default, Choice::Default).with_tone();
    call.until_tone();
    let heard = call.hear(1_500);
    check_tone(&heard, PIECE, 50.0, "loop");
    let status = call.control.status();
    assert!(status.microphone.is_some() && status.speaker.is_some(), "{status:?}");
    call.control.choose(Part::Microphone, Choice::Default);
    call.until_tone();
    assert!(status.said_dbfs > -12.0 && status.heard_dbfs > -12.0, "{status:?}");
    println!("{:?}", call.control.flow());
    // The other microphone is made by the server, which keeps 50 ms in it.
    call.control.choose(Part::Microphone, id("ear.monitor"));
    call.until_open(Part::Microphone, "Monitor of ear", false);
    call.until_tone();
    let delay = delay(&mut call);
    println!("{delay:.1} ms from play to capture, without the frame's own 10 ms; {:?}", call.control.flow());
    assert!((0.0..500.0).contains(&delay), "{delay} ms");

    // The microphone is open for as long as the handset is, and no longer.
    assert_eq!(server.pactl("list short source-outputs").lines().filter(|line| line.contains("float32le")).count(), 1);
    let control = call.control.clone();
    drop(call);
    let begin = Instant::now();
    while server.pactl("list short source-outputs").contains("float32le")
        || !server.pactl("list short sink-inputs").is_empty()
    {
        assert!(begin.elapsed() < DEADLINE, "still open: {}", server.pactl("list short source-outputs"));
        std::thread::sleep(Duration::from_millis(20));
    }
    control.choose(Part::Microphone, Choice::Default);
    assert_eq!(control.status().microphone, None);
}

/// From `play` to `capture` through both devices, ms, without the one frame that sound is put into: the median of
/// five clicks.
fn delay(call: &mut Call) -> f64 {
    let mut delays = Vec::new();
    for _ in 0..5 {
        let mut heard: Vec<i16> = Vec::new();
        for frame in 0..30 {
            let mut pcm = [0; FRAME];
            if frame == 10 {
                pcm[0] = 30_000;
            }
            call.exchange(&mut pcm);
            heard.extend(pcm);
        }
        let (at, _) = heard.iter().enumerate().max_by_key(|(_, sample)| sample.unsigned_abs()).unwrap();
        delays.push((at as f64 - (11 * FRAME) as f64) / f64::from(SAMPLE_RATE) * 1e3);
    }
    delays.sort_by(f64::total_cmp);
    delays[delays.len() / 2]
}

#[test]
fn rates_and_channels_of_both_ends_may_differ() {
    inside("handset::inside_rates");
}

#[test]
#[ignore = "runs in the environment that the test above makes"]
fn inside_rates() {
    let server = Server::start(&[load(&sink("ear", 48_000, 2)), load(&sink("low", 16_000, 1))]);
    let cases = [("ear", 44_100, 1), ("ear", 44_100, 2), ("ear", 96_000, 2), ("low", 48_000, 1)];
    for (index, (ear, rate, channels)) in cases.into_iter().enumerate() {
        let name = format!("mic{index}");
        server.plug(&source(&name, ear, rate, channels));
        let mut call = Call::new(id(&name), id(ear)).with_tone();
        call.until_tone();
        check_tone(&call.hear(600), PIECE, 45.0, &format!("{ear}, microphone {rate} Hz, {channels} channels"));
    }
}

#[test]
fn what_is_unplugged_is_replaced_and_taken_again() {
    inside("handset::inside_unplug");
}

#[test]
#[ignore = "runs in the environment that the test above makes"]
fn inside_unplug() {
    let server = loop_back();
    let headset = server.plug(&sink("headset", 48_000, 2));
    server.plug(&source("boom", "headset", 44_100, 2));
    server.pactl("set-default-sink ear");
    server.pactl("set-default-source mic");
    let mut call = Call::new(id("boom"), id("headset")).with_tone();
    call.until_tone();
    call.events.clear();

    // The loudspeaker's stand-in plays at once.
    server.unplug(&headset);
    call.until_lost(Part::Speaker);
    call.until_open(Part::Speaker, "ear", true);
    // The microphone hears this headset, and went with it.
    server.plug(&sink("headset", 44_100, 1));
    call.until_open(Part::Speaker, "headset", false);

    // Chosen anew during the call.
    call.control.choose(Part::Microphone, Choice::Off);
    assert!(silent(&call.hear(200)[2 * FRAME..]), "off is off");
    assert_eq!(call.control.status().microphone, None);
    call.control.choose(Part::Microphone, id("headset.monitor"));
    call.until_open(Part::Microphone, "Monitor of headset", false);
    call.until_tone();
}

#[test]
fn another_microphone_is_heard_only_after_a_yes() {
    inside("handset::inside_question");
}

#[test]
#[ignore = "runs in the environment that the test above makes"]
fn inside_question() {
    let server = loop_back();
    // Hears what the default hears, so that its voice would be the tone too.
    let boom = server.plug(&source("boom", "ear", 44_100, 2));
    let mut call = Call::new(id("boom"), id("ear")).with_tone();
    call.until_tone();
    call.events.clear();

    server.unplug(&boom);
    call.until_lost(Part::Microphone);
    call.frame();
    let (mic, heard) = call.until_offer("mic", "boom");
    assert!(heard.len() > 50 * FRAME && silent(&heard), "a tone was heard before the answer");
    assert_eq!(call.control.offer().unwrap().id, mic);
    assert!(silent(&call.hear(500)) && call.control.status().microphone.is_none(), "no answer is no");
    assert!(!call.control.confirm_stand_in("another", true));
    assert!(call.control.confirm_stand_in(&mic, true) && call.control.offer().is_none());
    call.until_open(Part::Microphone, "mic", true);
    call.until_tone();

    // The chosen one is used again without a question, and its next loss is a new one.
    let boom = server.plug(&source("boom", "ear", 48_000, 1));
    call.until_open(Part::Microphone, "boom", false);
    call.until_tone();
    server.unplug(&boom);
    let (mic, _) = call.until_offer("mic", "boom");
    assert!(call.control.confirm_stand_in(&mic, false));
    call.frame();
    assert!(silent(&call.hear(1_500)), "no is no");
    assert_eq!((call.events.len(), call.control.offer()), (0, None), "{:?}", call.events);
    let boom = server.plug(&source("boom", "ear", 48_000, 1));
    call.until_open(Part::Microphone, "boom", false);

    // A question that nobody answers is moot once the chosen one is back.
    server.unplug(&boom);
    let (mic, _) = call.until_offer("mic", "boom");
    server.plug(&source("boom", "ear", 48_000, 1));
    call.until_open(Part::Microphone, "boom", false);
    assert!(!call.control.confirm_stand_in(&mic, true), "too late");
    assert_eq!(call.control.status().microphone.as_deref(), Some("boom"));
}

#[test]
fn the_sound_server_may_die_and_come_back() {
    inside("handset::inside_restart");
}

#[test]
#[ignore = "runs in the environment that the test above makes"]
fn inside_restart() {
    let mut server = loop_back();
    let mut call = Call::new(id("mic"), id("ear")).with_tone();
    call.until_tone();
    for _ in 0..2 {
        call.events.clear();
        server.kill();
        call.until("both losses", |call| {
            call.events.iter().filter(|event| matches!(event, HandsetEvent::Lost { .. })).count() == 2
        });
        // In the first frame the last sound may still fade out.
        assert!(silent(&call.hear(200)[FRAME..]));
        server.restart();
        call.until_tone();
        let asked = call.events.iter().any(|event| matches!(event, HandsetEvent::Offered { .. }));
        assert!(!asked, "what was chosen came back: {:?}", call.events);
    }
}

#[test]
fn the_default_is_followed_but_never_to_a_monitor() {
    inside("handset::inside_defaults");
}

#[test]
#[ignore = "runs in the environment that the test above makes"]
fn inside_defaults() {
    let server = loop_back();
    server.plug(&sink("other", 48_000, 1));
    let second = server.plug(&source("second", "other", 48_000, 1));
    let mut call = Call::new(Choice::Default, Choice::Default).with_tone();
    call.until_tone();
    call.events.clear();
    server.pactl("set-default-sink other");
    server.pactl("set-default-source second");
    call.until("both to follow", |call| {
        call.events.iter().filter(|event| matches!(event, HandsetEvent::Opened { stands_in: false, .. })).count() == 2
    });
    call.until_tone();
    call.events.clear();
    server.pactl("set-default-source ear.monitor");
    call.hear(700);
    assert!(call.events.is_empty(), "{:?}", call.events);
    // Goes on with what it had.
    call.until_tone();

    // Nobody chose it, so the next default takes over from the one that is gone, and it is said.
    server.pactl("set-default-source second");
    call.events.clear();
    server.unplug(&second);
    call.until_lost(Part::Microphone);
    server.pactl("set-default-source mic");
    call.until_open(Part::Microphone, "mic", true);
    server.pactl("set-default-source ear.monitor");

    drop(call);
    let mut call = Call::new(Choice::Default, Choice::Default).with_tone();
    call.until_lost(Part::Microphone);
    assert!(silent(&call.hear(500)));
}

#[test]
fn an_unplugged_microphone_never_becomes_another_source() {
    inside("handset::inside_rescue");
}

#[test]
#[ignore = "runs in the environment that the test above makes"]
fn inside_rescue() {
    let server =
        Server::start(&[load("module-rescue-streams"), load(&sink("ear", 48_000, 1)), load(&sink("quiet", 48_000, 1))]);
    server.pactl("set-default-sink ear");
    // The server's choice for orphaned streams is what the loudspeaker plays.
    server.pactl("set-default-source ear.monitor");
    let (mut call, mut tone) = (Call::new(id("mic"), id("ear")), Sine::new(TONE_HZ));
    for round in 0..3 {
        let mic = server.plug(&source("mic", "quiet", 48_000, 1));
        call.until_open(Part::Microphone, "mic", false);
        let unplug = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            std::process::Command::new("pactl").args(["unload-module", &mic]).status().unwrap()
        });
        let (begin, mut heard) = (Instant::now(), Vec::new());
        let lost = |call: &Call| call.events.iter().any(|event| matches!(event, HandsetEvent::Lost { .. }));
        while !lost(&call) || heard.len() < 100 * FRAME {
            assert!(begin.elapsed() < DEADLINE, "the loss is not noticed");
            let mut pcm = [0; FRAME];
            tone.fill(&mut pcm);
            call.exchange(&mut pcm);
            heard.extend(pcm);
        }
        assert!(unplug.join().unwrap().success());
        assert!(silent(&heard), "round {round}: another source was heard");
        call.events.clear();
    }
}
