//! Every profile's sound at every loss, scored: the table of `app/audio/README.md`. The codec alone, in virtual time.

use std::fmt::Write as _;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use vernam_audio::codec::{PAD_LADDER, has_recovery};
use vernam_audio::{AtEnd, CodecSettings, Profile, Speech, VoiceDecoder, VoiceEncoder, WavSink};
use vernam_tests::score::{Order, score};

use super::speech;

/// How far ahead a receiver looks for a packet to repair a loss with: what a jitter buffer holds.
const LOOK_AHEAD: usize = 5;
/// Loss in percent, and packets lost in a row.
const LOSSES: [(u8, usize); 5] = [(0, 1), (5, 1), (10, 1), (20, 1), (20, 3)];
/// Draws of losses; where nothing is lost one is enough.
const SEEDS: u64 = 3;

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
#[ignore = "takes minutes; it makes a table and judges nothing"]
fn the_table_of_profiles() {
    let folder = tempfile::tempdir().unwrap();
    let named = Profile::ALL.map(|profile| (profile.to_string(), profile.settings())).into_iter();
    let rungs = PAD_LADDER.map(|rung| (format!("one-time pad, {} kb/s", rung.bit_rate() / 1_000), rung)).into_iter();
    let said = ["reader", "commands"].map(|name| Speech::load(speech(name)).unwrap());
    let texts = ["reader", "commands"].map(speech);
    for (profile, settings) in named.chain(rungs) {
        let mut row = format!("{profile:<26}");
        for (percent, burst) in LOSSES {
            let mut orders = Vec::new();
            for (speech, text) in said.iter().zip(&texts) {
                let mut encoder = VoiceEncoder::new(settings).unwrap();
                let mut packet = vec![0; settings.packet_len()];
                let encode = |pcm: Vec<i16>| encoder.encode(&pcm, &mut packet).map(|()| packet.clone()).unwrap();
                let packets: Vec<_> = speech.frames(settings.frame(), AtEnd::Stop).map(encode).collect();
                for seed in 1..=if percent == 0 { 1 } else { SEEDS } {
                    let lost = lost(packets.len(), f64::from(percent) / 100.0, burst, seed);
                    let file = folder.path().join(format!("{}.wav", orders.len()));
                    let mut sink = WavSink::create(&file).unwrap();
                    sink.write(&heard(settings, &packets, &lost)).unwrap();
                    sink.finish().unwrap();
                    orders.push(Order { name: profile.clone(), said: text.clone(), heard: file, pieces: 1 });
                }
            }
            let scores = score(&orders).unwrap();
            write!(row, " {:>5.2}", super::scored::mean(&scores, |score| score.pesq)).unwrap();
            for order in orders {
                std::fs::remove_file(order.heard).unwrap();
            }
        }
        println!("{row}");
    }
}
