//! What is heard is what Opus makes of the packets that came, bit for bit, and nothing else.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use vernam_audio::{
    AtEnd, CodecSettings, Decision, Error, FrameLength, JitterSettings, PlayoutDecoder, PlayoutLog, PlayoutStats,
    Speech, VoiceDecoder, VoiceEncoder, replay,
};

fn speech() -> Speech {
    Speech::load(concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/speech/reader.wav")).unwrap()
}

fn encode(settings: CodecSettings, speech: &Speech) -> Vec<Vec<u8>> {
    let mut encoder = VoiceEncoder::new(settings).unwrap();
    speech
        .frames(settings.frame(), AtEnd::Stop)
        .map(|pcm| {
            let mut packet = vec![0; settings.packet_len()];
            encoder.encode(&pcm, &mut packet).unwrap();
            packet
        })
        .collect()
}

struct Heard {
    sound: Vec<i16>,
    log: PlayoutLog,
    stats: PlayoutStats,
}

/// Sends the packets through a wire in virtual time: `delay` says when each arrives after it was sent, if at all.
fn call(frame: FrameLength, packets: &[Vec<u8>], mut delay: impl FnMut(u32) -> Option<Duration>) -> Heard {
    let mut arrivals: Vec<(Duration, u32)> = (0..u32::try_from(packets.len()).unwrap())
        .filter_map(|seq| Some((frame.duration() * seq + delay(seq)?, seq)))
        .collect();
    arrivals.sort_unstable();
    let mut arrivals = arrivals.into_iter().peekable();
    let mut playout = PlayoutDecoder::new(JitterSettings::standard(frame)).unwrap().with_log();
    let mut sound = Vec::new();
    let mut pcm = vec![0; frame.samples()];
    for tick in 0..u32::try_from(packets.len()).unwrap() + 20 {
        let now = frame.duration() * tick;
        while let Some((time, seq)) = arrivals.next_if(|(time, _)| *time <= now) {
            let _ = playout.push(seq, &packets[seq as usize], time);
        }
        playout.pull(now, &mut pcm).unwrap();
        sound.extend_from_slice(&pcm);
    }
    Heard { sound, log: playout.log().unwrap().clone(), stats: playout.stats() }
}

fn replayed(frame: FrameLength, heard: &Heard, packets: &[Vec<u8>]) -> Vec<i16> {
    replay(frame, &heard.log, |seq| packets.get(seq as usize).map(Vec::as_slice)).unwrap()
}

#[test]
fn without_loss_the_sound_is_a_plain_decode_of_all_frames() {
    let speech = speech();
    for settings in [CodecSettings::standard(), CodecSettings::one_time_pad(), CodecSettings::low_delay()] {
        let frame = settings.frame();
        let packets = encode(settings, &speech);
        let heard = call(frame, &packets, |_| Some(Duration::from_millis(30)));

        let mut decoder = VoiceDecoder::new(frame).unwrap();
        let mut plain = vec![0; frame.samples() * packets.len()];
        for (packet, pcm) in packets.iter().zip(plain.chunks_exact_mut(frame.samples())) {
            decoder.decode(packet, pcm).unwrap();
        }
        let silent = heard.log.decisions().iter().take_while(|decision| **decision == Decision::Silence).count();
        let begin = silent * frame.samples();
        assert!(heard.sound[..begin].iter().all(|&sample| sample == 0));
        assert_eq!(heard.sound[begin..begin + plain.len()], plain);
        assert_eq!(heard.sound, replayed(frame, &heard, &packets));
        assert_eq!(heard.stats.jitter.played, packets.len() as u64);
        assert_eq!((heard.stats.recovered, heard.stats.concealed, heard.stats.damaged), (0, 0, 0));
        println!("{settings:?}: {} frames, {silent} of silence before them", packets.len());
    }
}

#[test]
fn with_loss_and_jitter_the_sound_is_opus_own_repair() {
    let speech = speech();
    for (seed, loss) in [(1, 0.05), (2, 0.05), (3, 0.2)] {
        println!("seed {seed}, loss {loss}");
        for settings in [CodecSettings::standard(), CodecSettings::one_time_pad()] {
            let frame = settings.frame();
            let packets = encode(settings, &speech);
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let heard = call(frame, &packets, |_| {
                let delay = Duration::from_micros(random.random_range(20_000..38_000));
                (!random.random_bool(loss)).then_some(delay)
            });
            assert_eq!(heard.sound, replayed(frame, &heard, &packets));

            let PlayoutStats { jitter, recovered, concealed, .. } = heard.stats;
            let lost = packets.len() as u64 - jitter.received;
            println!("{lost} lost, {recovered} recovered, {concealed} concealed, {jitter:?}");
            assert_eq!(recovered + concealed, jitter.lost);
            assert!(jitter.played + jitter.late + jitter.skipped >= jitter.received);
            if settings.fec() {
                assert!(recovered > lost / 3, "most single losses in speech can be recovered");
            } else {
                assert_eq!(recovered, 0);
            }
        }
    }
}

#[test]
fn damaged_packets_are_concealed_and_the_call_goes_on() {
    let settings = CodecSettings::standard();
    let frame = settings.frame();
    let mut packets = encode(settings, &speech());
    packets.truncate(200);
    for seq in [20, 50, 51] {
        packets[seq] = vec![3, 0]; // says it holds no frame at all
    }
    let heard = call(frame, &packets, |_| Some(Duration::ZERO));
    assert_eq!((heard.stats.damaged, heard.stats.concealed), (3, 3));
    assert_eq!(heard.sound, replayed(frame, &heard, &packets));
}

#[test]
fn a_replay_says_which_packet_it_lacks() {
    let settings = CodecSettings::standard();
    let packets = encode(settings, &speech());
    let heard = call(settings.frame(), &packets[..50], |_| Some(Duration::ZERO));
    let lacking = replay(settings.frame(), &heard.log, |seq| (seq != 7).then(|| packets[seq as usize].as_slice()));
    assert!(matches!(lacking, Err(Error::MissingPacket { seq: 7 })));
}
