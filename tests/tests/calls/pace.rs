//! What an observer on the wire sees of a call: datagrams of one size at one pace, whether somebody speaks, is silent, has
//! muted the microphone or holds the call.

use std::collections::BTreeMap;
use std::time::Duration;

use vernam_audio::{CodecSettings, Speech, WavSink};
use vernam_session::{Suite, voice_datagram_len};
use vernam_tests::sound::RATE;
use vernam_tests::telephone::{Habits, Handset, Town};
use vernam_tests::wire::{Seen, Way, Wire};

use super::{PROGRAM, speech};

/// How long each thing is looked at.
const LOOK: Duration = Duration::from_secs(3);
/// Left out after each change: the word that tells the contact of it goes over the wire too.
const SETTLE: Duration = Duration::from_millis(700);
/// A packet's sound.
const FRAME: Duration = Duration::from_millis(20);
/// A datagram of voice by itself: QUIC's short header (flags, the contact's 8-byte connection ID, a packet number of two
/// bytes), the datagram frame's type, and QUIC's tag around ours.
const VOICE: usize = 1 + 8 + 2 + 1 + 16 + voice_datagram_len(Suite::Aes256Gcm, CodecSettings::standard().packet_len());
/// What QUIC may add to it: an acknowledgement, when one is due. That depends on when the other end's datagrams came, and
/// on nothing that is said.
const RIDES_ALONG: usize = 16;
/// Seconds of speech at the beginning of what is said; silence follows.
const SPEECH_S: usize = 9;

/// What was seen of one direction in one look.
#[derive(Debug)]
struct Look {
    what: &'static str,
    way: Way,
    /// Datagrams by size.
    sizes: BTreeMap<usize, usize>,
    /// The smallest that carries voice.
    size: usize,
    /// How many carry voice.
    voice: usize,
    /// Between one and the next: the middle one of all, and the one that nine of ten are below.
    gaps: [Duration; 2],
}

fn look(what: &'static str, way: Way, seen: &[Seen]) -> Look {
    let mut sizes = BTreeMap::new();
    let of_way = || seen.iter().filter(move |one| one.way == way);
    for one in of_way() {
        *sizes.entry(one.len).or_insert(0) += 1;
    }
    let size = sizes.range(VOICE..).next().map(|(size, _)| *size).unwrap_or_default();
    let is_voice = |one: &&Seen| (size..=size + RIDES_ALONG).contains(&one.len);
    let times: Vec<Duration> = of_way().filter(is_voice).map(|one| one.at).collect();
    let mut gaps: Vec<Duration> = times.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
    gaps.sort_unstable();
    let at = |share: usize| gaps.get(gaps.len() * share / 10).copied().unwrap_or_default();
    Look { what, way, size, voice: times.len(), gaps: [at(5), at(9)], sizes }
}

/// Looks at the wire for a while, once what was just changed is over.
fn watch(what: &'static str, wire: &Wire) -> Vec<Look> {
    std::thread::sleep(SETTLE);
    let from = wire.now();
    std::thread::sleep(LOOK);
    let seen = wire.seen(from);
    assert!(seen.iter().all(Seen::is_after_handshake), "a new connection during {what}");
    Way::BOTH.map(|way| look(what, way, &seen)).into()
}

fn press(person: &mut Handset, key: &str) {
    person.press(&format!("{key}\n")).unwrap();
}

#[test]
fn one_size_and_one_pace_over_speech_silence_mute_and_hold() {
    let town = Town::new(PROGRAM, &[Habits::default(), Habits::default()]).unwrap();
    // Some seconds of speech, then silence for the rest of the call.
    let reader = Speech::load(speech("reader")).unwrap();
    let said = town.folder().join("said.wav");
    let mut file = WavSink::create(&said).unwrap();
    file.write(&reader.samples()[..SPEECH_S * RATE as usize]).unwrap();
    file.finish().unwrap();
    let said = said.display().to_string();
    let (bob, address) = town.answer(None, &["--auto", "--once", "--no-sound"]).unwrap();
    let wire = Wire::to(address, 1).unwrap();
    let terms = ["--suite", "aes-256-gcm", "--profile", "standard", "--speech", &said];
    let mut alice = town.call(None, wire.addr, &terms).unwrap();
    for person in [&alice, &bob] {
        person.wait("answered");
    }
    // QUIC finds out what the path takes, and the KMEs' first keys are fetched.
    std::thread::sleep(Duration::from_secs(1));
    let mut looks = watch("speech", &wire);
    let level = |alice: &Handset| alice.tick().and_then(|tick| tick["said_dbfs"].as_f64()).unwrap_or_default();
    assert!(level(&alice) > -60.0, "she speaks: {}", alice.tick().unwrap_or_default());
    std::thread::sleep(Duration::from_secs(SPEECH_S as u64).saturating_sub(LOOK));
    looks.extend(watch("silence", &wire));
    press(&mut alice, "m");
    bob.wait("muted_by_contact");
    looks.extend(watch("mute", &wire));
    press(&mut alice, "m");
    press(&mut alice, "h");
    bob.wait("held_by_contact");
    looks.extend(watch("hold", &wire));
    press(&mut alice, "h");
    let kept = town.folder().join("call.pcap");
    wire.write_pcap(&kept).unwrap();
    for look in &looks {
        println!("{look:?}");
    }
    let (first, expected) = (&looks[0], LOOK.div_duration_f64(FRAME));
    for look in &looks {
        let beside = look.size.abs_diff(first.size);
        assert!(
            beside <= RIDES_ALONG,
            "{} {:?}: {} bytes, and {} over speech",
            look.what,
            look.way,
            look.size,
            first.size
        );
        // What is smaller is an acknowledgement by itself; what is larger would be voice of another size, but for a word on
        // the control stream now and then.
        let others: usize = look.sizes.range(look.size + RIDES_ALONG + 1..).map(|(_, count)| count).sum();
        assert!(
            others * 20 <= look.voice,
            "{} {:?}: {others} datagrams are larger than voice: {:?}",
            look.what,
            look.way,
            look.sizes
        );
        // Of half the packets: a busy machine delays some, and never all.
        assert!(look.gaps[0].abs_diff(FRAME) < FRAME / 4, "{} {:?}: {:?} apart", look.what, look.way, look.gaps);
        let count = f64::from(u32::try_from(look.voice).unwrap());
        assert!((count / expected - 1.0).abs() < 0.1, "{} {:?}: {count} of {expected}", look.what, look.way);
    }
    alice.end().unwrap();
    bob.wait("ended");
}
