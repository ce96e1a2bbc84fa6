//! The sound system itself: what is said is heard, devices come and go, a killed server comes back.

use std::f64::consts::TAU;

use super::*;

#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a sine is made in f64")]
fn tone(seconds: usize) -> Vec<i16> {
    let sample = |index: usize| (8_192.0 * (TAU * 997.0 * index as f64 / f64::from(RATE)).sin()) as i16;
    (0..seconds * RATE as usize).map(sample).collect()
}

/// None, with the reason printed, where there is no `PulseAudio`.
fn sound(devices: &[Device]) -> Option<Sound> {
    match is_available() {
        Ok(()) => Some(Sound::start(devices).unwrap()),
        Err(why) => {
            println!("skipped: {why}");
            None
        }
    }
}

/// The level that 2 % of the loud part is above: the peak of a tone, without what a resampler makes of its end.
fn peak(pcm: &[i16]) -> u16 {
    let mut loud: Vec<u16> = pcm.iter().map(|sample| sample.unsigned_abs()).filter(|level| *level > 100).collect();
    loud.sort_unstable();
    loud.get(loud.len() * 98 / 100).copied().unwrap_or(0)
}

#[test]
fn what_is_said_into_any_microphone_is_heard_there_at_its_level() {
    let devices =
        [Device::microphone("mouth"), Device::microphone("old").at(44_100), Device::microphone("two").of_channels(2)];
    let Some(sound) = sound(&devices) else { return };
    for device in &devices {
        let source = sound.listen_to(device.name()).unwrap();
        let said = sound.say(device.name(), &tone(1), 1, Times::Once).unwrap();
        said.wait().unwrap();
        let heard = source.stop();
        let loudest = peak(&heard.pcm);
        println!("{device:?}: {loudest} of 8192 in {:?}", heard.duration());
        assert!((7_700..8_700).contains(&loudest));
    }
}

#[test]
fn chirps_over_a_loudspeaker_take_no_longer_than_the_recorders_say() {
    let Some(sound) = sound(&[Device::microphone("mouth")]) else { return };
    let recorders = [sound.listen_in("mouth").unwrap(), sound.listen_in("mouth").unwrap()];
    sound.say("mouth", &chirp::chirps(5), 1, Times::Once).unwrap().wait().unwrap();
    let [said, heard] = recorders.map(Listener::stop);
    let delays = chirp::delays(&said, &heard);
    println!("{delays:?}");
    // The same sound recorded twice: each chirp is found in both, and the recorders' clocks agree to a few periods.
    assert!(delays.len() >= 2 || chirp::delays(&heard, &said).len() >= 2, "{delays:?}");
}

#[test]
fn devices_come_and_go_and_a_killed_server_comes_back_with_all_of_them() {
    let Some(mut sound) = sound(&[Device::speaker("ear"), Device::microphone("mouth")]) else { return };
    let sources = |sound: &Sound| sound.control(&["list", "short", "sources"]).unwrap();
    let has = |list: &str, name: &str| list.lines().any(|line| line.split('\t').nth(1) == Some(name));
    assert!(has(&sources(&sound), "mouth") && has(&sources(&sound), "ear.monitor"));
    sound.unplug("mouth").unwrap();
    assert!(!sources(&sound).contains("mouth"));
    assert!(sound.unplug("mouth").is_err() && sound.plug("nose").is_err());
    sound.plug("mouth").unwrap();
    assert!(has(&sources(&sound), "mouth"));
    sound.kill_server();
    assert!(sound.control(&["info"]).is_err());
    sound.unplug("mouth").unwrap_err();
    sound.start_server().unwrap();
    assert!(has(&sources(&sound), "mouth"));
    let info = sound.control(&["info"]).unwrap();
    assert!(info.contains("Default Sink: ear") && info.contains("Default Source: mouth"), "{info}");
    // Nobody listens: there are no streams.
    assert!(sound.streams().unwrap().iter().all(Vec::is_empty));
}
