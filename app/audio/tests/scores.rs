//! Writes what is heard of real speech at each profile and loss into WAV files, for `tests/score/score.py` to judge.
//!
//! Ignored, because the scores need Python packages:
//! `VERNAM_SCORES=folder cargo test -p vernam-audio --test scores -- --ignored`, then the script with
//! `assets/speech/NAME.wav` and each `folder/NAME-*.wav`.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::{Path, PathBuf};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use vernam_audio::codec::{PAD_LADDER, has_recovery};
use vernam_audio::{AtEnd, CodecSettings, Profile, Speech, VoiceDecoder, VoiceEncoder, WavSink};

/// How far ahead a receiver looks for a packet to repair a loss with: what a jitter buffer holds.
const LOOK_AHEAD: usize = 5;

/// Which packets get lost: each run of `burst` begins by chance, so that `loss` of all are lost on average.
fn lost(count: usize, loss: f64, burst: usize, seed: u64) -> Vec<bool> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let run = f64::from(u32::try_from(burst).unwrap());
    let begins = loss / (run - loss * (run - 1.0));
    let mut fates = Vec::new();
    while fates.len() < count {
        if random.random_bool(begins) {
            fates.extend(std::iter::repeat_n(true, burst));
        } else {
            fates.push(false);
        }
    }
    fates
}

/// What is heard: FEC from the next packet, deep redundancy from a later one, concealment.
fn heard(settings: CodecSettings, packets: &[Vec<u8>], lost: &[bool]) -> Vec<i16> {
    let mut decoder = VoiceDecoder::new(settings.frame()).unwrap();
    let mut sound = vec![0; settings.frame().samples() * packets.len()];
    for (index, pcm) in sound.chunks_exact_mut(settings.frame().samples()).enumerate() {
        let came = |index: &usize| *index < packets.len() && !lost[*index];
        let later = (index + 1..=index + LOOK_AHEAD).find(came);
        match later {
            _ if came(&index) => decoder.decode(&packets[index], pcm).unwrap(),
            Some(next) if next == index + 1 && has_recovery(&packets[next]) => {
                decoder.recover(&packets[next], pcm).unwrap();
            }
            Some(later) if decoder.revive(&packets[later], u32::try_from(later - index).unwrap(), pcm).unwrap() => {}
            _ => decoder.conceal(pcm).unwrap(),
        }
    }
    sound
}

#[test]
#[ignore = "writes files for the score tool, which needs Python packages"]
fn sound_files_for_the_score_tool() {
    let folder = PathBuf::from(std::env::var_os("VERNAM_SCORES").expect("VERNAM_SCORES names a folder"));
    let assets = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/speech"));
    let named = Profile::ALL.map(|profile| (profile.to_string(), profile.settings())).into_iter();
    let rungs = PAD_LADDER.map(|rung| (format!("pad{}k", rung.bit_rate() / 1_000), rung)).into_iter();
    let profiles: Vec<_> = named.chain(rungs).collect();
    for name in ["reader", "commands"] {
        let speech = Speech::load(assets.join(name).with_extension("wav")).unwrap();
        for (profile, settings) in &profiles {
            let mut encoder = VoiceEncoder::new(*settings).unwrap();
            let mut packet = vec![0; settings.packet_len()];
            let encode = |pcm: Vec<i16>| encoder.encode(&pcm, &mut packet).map(|()| packet.clone()).unwrap();
            let packets: Vec<_> = speech.frames(settings.frame(), AtEnd::Stop).map(encode).collect();
            for (percent, burst) in [(0_u8, 1), (5, 1), (10, 1), (20, 1), (20, 3)] {
                for seed in if percent == 0 { 1..2 } else { 1..4 } {
                    println!("{name} {profile}: {percent} % in runs of {burst}, seed {seed}");
                    let lost = lost(packets.len(), f64::from(percent) / 100.0, burst, seed);
                    let file = folder.join(format!("{name}-{profile}-{percent}x{burst}-{seed}.wav"));
                    let mut sink = WavSink::create(&file).unwrap();
                    sink.write(&heard(*settings, &packets, &lost)).unwrap();
                    sink.finish().unwrap();
                }
            }
        }
    }
}
