//! Devices during a call: pulled out and put back, gone with their server, of other rates and channels. Each person has a
//! sound system of their own, so that nothing can be heard but over the call.

use std::f64::consts::TAU;
use std::time::{Duration, Instant};

use serde_json::Value;
use vernam_audio::Speech;
use vernam_tests::sound::{Device, Listener, RATE, Recording, Said, Sound, Times};
use vernam_tests::telephone::{Habits, Handset, PATIENCE, Town};

use super::{PROGRAM, sound_of, speech};

/// What is louder was said by somebody; what is not is silence and what a codec makes of it.
const LOUD: u16 = 800;
/// The last of a recording that is looked at: longer than any pause of the reader.
const LATELY: Duration = Duration::from_millis(1_500);

const TERMS: [&str; 4] = ["--suite", "aes-256-gcm", "--profile", "standard"];

/// Waits until it is so.
#[track_caller]
fn until(what: &str, is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Whether something was said lately.
fn is_loud(listener: &Listener) -> bool {
    let heard = listener.so_far();
    let lately = heard.part(heard.duration().saturating_sub(LATELY), LATELY);
    lately.len() > usize::try_from(RATE).unwrap_or(0) && lately.iter().any(|sample| sample.unsigned_abs() > LOUD)
}

/// Whether nothing was said lately.
fn is_silent(listener: &Listener) -> bool {
    let heard = listener.so_far();
    let lately = heard.part(heard.duration().saturating_sub(LATELY), LATELY);
    lately.len() > usize::try_from(RATE).unwrap_or(0) && lately.iter().all(|sample| sample.unsigned_abs() <= LOUD)
}

fn is_device(event: &Value, kind: &str, part: &str) -> bool {
    event["event"] == kind && event["part"] == part
}

fn lost(person: &Handset, part: &str) {
    person.wait_for(&format!("a lost {part}"), |event| is_device(event, "device_lost", part));
}

/// Waits until a device of this name works again.
fn opened(person: &Handset, part: &str, name: &str) -> Value {
    person.wait_for(&format!("{part} {name}"), |event| {
        is_device(event, "device_opened", part) && event["name"].as_str().is_some_and(|found| found.contains(name))
    })
}

fn says(sound: &Sound, microphone: &str) -> Said {
    let speech = Speech::load(speech("reader")).unwrap();
    sound.say(microphone, speech.samples(), 1, Times::Endless).unwrap()
}

/// Alice has a headset, and a desk set besides, which is her system's default; Bob has one of each.
fn people() -> Option<([Sound; 2], Town)> {
    let hers = ["desk_mouth", "headset_mouth"].map(Device::microphone);
    let ears = ["desk_ear", "headset_ear"].map(Device::speaker);
    let alice = sound_of(&[&hers[..], &ears[..]].concat())?;
    let bob = sound_of(&[Device::microphone("mouth"), Device::speaker("ear")])?;
    let habits = [
        Habits { microphone: hers[1].id(), speaker: ears[1].id(), ..Habits::default() },
        Habits {
            microphone: Device::microphone("mouth").id(),
            speaker: Device::speaker("ear").id(),
            ..Habits::default()
        },
    ];
    Some(([alice, bob], Town::new(PROGRAM, &habits).unwrap()))
}

#[test]
fn whatever_is_pulled_out_of_a_call_it_goes_on_and_what_is_put_back_is_used_again() {
    let Some(([mut hers, his], town)) = people() else { return };
    let (bob, address) = town.answer(Some(&his), &["--auto", "--once"]).unwrap();
    let mut alice = town.call(Some(&hers), address, &TERMS).unwrap();
    opened(&alice, "microphone", "headset_mouth");
    opened(&alice, "speaker", "headset_ear");
    let _bob_speaks = says(&his, "mouth");
    let speaks = says(&hers, "headset_mouth");
    let (at_bob, at_alice) = (his.listen("ear").unwrap(), hers.listen("headset_ear").unwrap());
    until("both to be heard", || is_loud(&at_bob) && is_loud(&at_alice));

    // The microphone. Whatever stands in for it is no loudspeaker's monitor: Bob does not hear himself.
    drop(speaks);
    alice.forget();
    hers.unplug("headset_mouth").unwrap();
    lost(&alice, "microphone");
    until("silence instead of Bob's own voice", || is_silent(&at_bob));
    assert!(is_loud(&at_alice), "Bob speaks, and Alice hears him");
    hers.plug("headset_mouth").unwrap();
    opened(&alice, "microphone", "headset_mouth");
    let speaks = says(&hers, "headset_mouth");
    until("Alice to be heard again", || is_loud(&at_bob));

    // The loudspeaker. The desk's stands in.
    alice.forget();
    drop(at_alice);
    hers.unplug("headset_ear").unwrap();
    lost(&alice, "speaker");
    let stand_in = opened(&alice, "speaker", "desk_ear");
    assert_eq!(stand_in["stands_in"], true, "{stand_in}");
    let at_desk = hers.listen("desk_ear").unwrap();
    until("Bob to be heard from the desk", || is_loud(&at_desk));
    drop(at_desk);
    hers.plug("headset_ear").unwrap();
    opened(&alice, "speaker", "headset_ear");
    let at_alice = hers.listen("headset_ear").unwrap();
    until("Bob to be heard in the headset", || is_loud(&at_alice));

    // All at once.
    drop((at_alice, speaks));
    alice.forget();
    hers.kill_server();
    for part in ["microphone", "speaker"] {
        lost(&alice, part);
    }
    hers.start_server().unwrap();
    opened(&alice, "microphone", "headset_mouth");
    opened(&alice, "speaker", "headset_ear");
    let _speaks = says(&hers, "headset_mouth");
    let at_alice = hers.listen("headset_ear").unwrap();
    until("both to be heard after the server came back", || is_loud(&at_bob) && is_loud(&at_alice));

    let unmoved = alice.all("ended").is_empty() && alice.all("reconnecting").is_empty();
    assert!(unmoved, "the call itself noticed nothing:\n{}\n{}", alice.story(), bob.story());
    alice.end().unwrap();
    bob.wait("ended");
}

#[test]
fn devices_are_open_in_calls_only_and_the_second_call_has_sound_too() {
    let Some(([hers, his], town)) = people() else { return };
    let (mut bob, address) = town.answer(Some(&his), &["--auto"]).unwrap();
    let speaks = [says(&hers, "headset_mouth"), says(&his, "mouth")];
    for _call in 0..2 {
        assert_eq!(his.streams().unwrap()[1], [""; 0], "nobody records outside of a call");
        bob.forget();
        let alice = town.call(Some(&hers), address, &TERMS).unwrap();
        opened(&bob, "microphone", "mouth");
        let ears = [hers.listen("headset_ear").unwrap(), his.listen("ear").unwrap()];
        until("both to be heard", || ears.iter().all(is_loud));
        drop(ears);
        assert_eq!(his.streams().unwrap()[1].len(), 1, "one microphone is open");
        alice.end().unwrap();
        bob.wait("ended");
        until("the microphone to be closed", || his.streams().unwrap()[1].is_empty());
    }
    drop(speaks);
    bob.end().unwrap();
}

/// A second of a tone, on so many channels, all but the first silent.
#[expect(clippy::cast_possible_truncation, reason = "a sine is made in f64")]
fn tone(channels: usize) -> Vec<i16> {
    let samples = (0..RATE).map(|index| (8_192.0 * (TAU * 997.0 * f64::from(index) / f64::from(RATE)).sin()) as i16);
    samples.flat_map(|sample| std::iter::once(sample).chain(std::iter::repeat_n(0, channels - 1))).collect()
}

/// How far off its pitch the tone may be, Hz: sound is resampled by up to 0.3 % (5 cents) to follow a device's clock.
const OFF_PITCH: f64 = 3.5;

/// Of a recording: the tone's peak, and what share of all power is the tone's.
fn measure(sound: &[i16]) -> (f64, f64) {
    let steps = (-7..=7).map(|step| 997.0 + OFF_PITCH * f64::from(step) / 7.0);
    steps.map(|pitch| measure_at(pitch, sound)).max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "sums of sound")]
fn measure_at(pitch: f64, sound: &[i16]) -> (f64, f64) {
    let (mut sine, mut cosine, mut power) = (0.0, 0.0, 0.0);
    for (index, &sample) in sound.iter().enumerate() {
        let angle = TAU * pitch * index as f64 / f64::from(RATE);
        sine += f64::from(sample) * angle.sin();
        cosine += f64::from(sample) * angle.cos();
        power += f64::from(sample).powi(2);
    }
    let scale = 2.0 / sound.len() as f64;
    let peak = (sine * scale).hypot(cosine * scale);
    (peak, peak * peak / 2.0 * sound.len() as f64 / power.max(1.0))
}

/// The best quarter of a second: a loaded machine may well play a gap now and then.
fn best(heard: &Recording) -> (f64, f64) {
    let quarter = RATE as usize / 4;
    let all = heard.pcm.windows(quarter).step_by(quarter / 5).map(measure);
    all.filter(|(peak, _)| *peak > 500.0).max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or_default()
}

#[test]
fn microphones_and_loudspeakers_of_other_rates_and_channels_are_heard_at_their_pitch() {
    let alice = [Device::microphone("mouth").at(44_100), Device::speaker("ear").of_channels(2)];
    let bob = [Device::microphone("mouth").of_channels(2), Device::speaker("ear").at(44_100)];
    let (Some(hers), Some(his)) = (sound_of(&alice), sound_of(&bob)) else { return };
    let habits = || Habits { microphone: alice[0].id(), speaker: alice[1].id(), ..Habits::default() };
    let town = Town::new(PROGRAM, &[habits(), habits()]).unwrap();
    let (answers, address) = town.answer(Some(&his), &["--auto", "--once"]).unwrap();
    let calls = town.call(Some(&hers), address, &TERMS).unwrap();
    for person in [&calls, &answers] {
        opened(person, "microphone", "mouth");
        opened(person, "speaker", "ear");
    }
    // Bob's second channel is silent, as with some headsets.
    let _speaking = [
        hers.say("mouth", &tone(1), 1, Times::Endless).unwrap(),
        his.say("mouth", &tone(2), 2, Times::Endless).unwrap(),
    ];
    let ears = [hers.listen("ear").unwrap(), his.listen("ear").unwrap()];
    for ear in &ears {
        ear.until(Duration::from_secs(4)).unwrap();
    }
    for (who, ear) in ["alice", "bob"].into_iter().zip(ears) {
        let (peak, share) = best(&ear.stop());
        println!(
            "{who} hears the tone at {peak:.0} of 8192, and {:.2} % of the power is something else",
            100.0 * (1.0 - share)
        );
        assert!(peak > 8_192.0 / 5.0 && share > 0.9, "{who}: {peak} {share}");
    }
    calls.end().unwrap();
    answers.wait("ended");
}
