//! What is heard is what Opus makes of the packets that came, bit for bit, and nothing else.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use vernam_audio::playout::MAX_DECISIONS;
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
fn call(settings: JitterSettings, packets: &[Vec<u8>], mut delay: impl FnMut(u32) -> Option<Duration>) -> Heard {
    let frame = settings.frame();
    let mut arrivals: Vec<(Duration, u32)> = (0..u32::try_from(packets.len()).unwrap())
        .filter_map(|seq| Some((frame.duration() * seq + delay(seq)?, seq)))
        .collect();
    arrivals.sort_unstable();
    let mut arrivals = arrivals.into_iter().peekable();
    let mut playout = PlayoutDecoder::new(settings).unwrap().with_log();
    let mut sound = Vec::new();
    let mut pcm = vec![0; frame.samples()];
    for tick in 0..u32::try_from(packets.len()).unwrap() + 20 {
        let now = frame.duration() * tick;
        while let Some((time, seq)) = arrivals.next_if(|(time, _)| *time <= now) {
            let _ = playout.push(seq, &packets[seq as usize], time);
        }
        assert!(playout.pull(now, &mut pcm).unwrap().len() <= MAX_DECISIONS);
        sound.extend_from_slice(&pcm);
    }
    Heard { sound, log: playout.log().unwrap().clone(), stats: playout.stats() }
}

/// The replay, without what was decoded and not heard any more.
fn replayed(frame: FrameLength, heard: &Heard, packets: &[Vec<u8>]) -> Vec<i16> {
    let mut sound = replay(frame, &heard.log, |seq| packets.get(seq as usize).map(Vec::as_slice)).unwrap();
    let made: i64 = heard.log.decisions().iter().map(|decision| decision.samples(frame)).sum();
    assert_eq!(sound.len(), usize::try_from(made).unwrap());
    sound.truncate(heard.sound.len());
    sound
}

/// A delay that never changes.
fn steady(frame: FrameLength) -> JitterSettings {
    let settings = JitterSettings::standard(frame);
    settings.with_min_delay(settings.start_delay()).unwrap()
}

#[test]
fn without_loss_the_sound_is_a_plain_decode_of_all_frames() {
    let speech = speech();
    for settings in [CodecSettings::standard(), CodecSettings::one_time_pad(), CodecSettings::low_delay()] {
        let frame = settings.frame();
        let packets = encode(settings, &speech);
        let heard = call(steady(frame), &packets, |_| Some(Duration::from_millis(30)));

        let mut decoder = VoiceDecoder::new(frame).unwrap();
        let mut plain = vec![0; frame.samples() * packets.len()];
        for (packet, pcm) in packets.iter().zip(plain.chunks_exact_mut(frame.samples())) {
            decoder.decode(packet, pcm).unwrap();
        }
        let silences = heard.log.decisions().iter().map_while(|decision| match decision {
            Decision::Silence(samples) => Some(usize::from(*samples)),
            _ => None,
        });
        let begin: usize = silences.sum();
        assert!(heard.sound[..begin].iter().all(|&sample| sample == 0));
        assert_eq!(heard.sound[begin..begin + plain.len()], plain);
        assert_eq!(heard.sound, replayed(frame, &heard, &packets));
        assert_eq!(heard.stats.jitter.played, packets.len() as u64);
        assert_eq!((heard.stats.recovered, heard.stats.concealed, heard.stats.damaged), (0, 0, 0));
        println!("{settings:?}: {} frames, {begin} samples of silence before them", packets.len());
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
            let heard = call(JitterSettings::standard(frame), &packets, |_| {
                let delay = Duration::from_micros(random.random_range(20_000..38_000));
                (!random.random_bool(loss)).then_some(delay)
            });
            assert_eq!(heard.sound, replayed(frame, &heard, &packets));

            let PlayoutStats { jitter, recovered, concealed, .. } = heard.stats;
            let lost = packets.len() as u64 - jitter.received;
            println!("{lost} lost, {recovered} recovered, {concealed} concealed, {jitter:?}");
            // The rest was waited for in vain, and so was concealed before it was lost.
            assert!((jitter.lost.saturating_sub(jitter.waited)..=jitter.lost).contains(&(recovered + concealed)));
            assert_eq!(jitter.played + jitter.late, jitter.received);
            assert!(jitter.skipped < 10, "{}", jitter.skipped);
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
    let heard = call(steady(frame), &packets, |_| Some(Duration::ZERO));
    assert_eq!((heard.stats.damaged, heard.stats.concealed), (3, 3));
    assert_eq!(heard.sound, replayed(frame, &heard, &packets));
}

#[test]
fn a_replay_says_which_packet_it_lacks() {
    let settings = CodecSettings::standard();
    let packets = encode(settings, &speech());
    let heard = call(steady(settings.frame()), &packets[..50], |_| Some(Duration::ZERO));
    let lacking = replay(settings.frame(), &heard.log, |seq| (seq != 7).then(|| packets[seq as usize].as_slice()));
    assert!(matches!(lacking, Err(Error::MissingPacket { seq: 7 })));
}

#[test]
fn a_log_of_another_call_is_refused_in_words() {
    let settings = CodecSettings::standard();
    let packets = encode(settings, &speech());
    let packet = |seq: u32| packets.get(seq as usize).map(Vec::as_slice);
    for wrong in [
        Decision::Shortened { samples: 500, back: 700 },
        Decision::Shortened { samples: 0, back: 900 },
        Decision::Lengthened { samples: 120, back: 961 },
        Decision::Lengthened { samples: 961, back: 480 },
        Decision::Revived { seq: 1, from: 2 },
    ] {
        let log = [Decision::Packet(0), wrong].into_iter().collect();
        let error = replay(settings.frame(), &log, packet).unwrap_err();
        assert!(matches!(error, Error::WrongLog { index: 1 }), "{wrong:?}: {error}");
    }
}

/// The terms of a call change: packets get smaller, and 10 numbers are left out without any time passing.
#[test]
fn packets_of_another_size_and_a_gap_in_the_numbers_are_not_heard() {
    let (large, small) = (CodecSettings::standard(), CodecSettings::one_time_pad());
    let frame = large.frame();
    let sent = [encode(large, &speech()), encode(small, &speech())];
    let mut playout = PlayoutDecoder::new(JitterSettings::standard(frame)).unwrap();
    let mut pcm = vec![0; frame.samples()];
    let mut decisions = Vec::new();
    for tick in 0..500_u32 {
        let now = frame.duration() * tick;
        let (seq, packets) = if tick < 250 { (tick, &sent[0]) } else { (tick + 10, &sent[1]) };
        let _fate = playout.push(seq, &packets[tick as usize], now);
        decisions.extend_from_slice(playout.pull(now + frame.duration() / 2, &mut pcm).unwrap());
    }
    let odd: Vec<_> = decisions
        .iter()
        .filter(|decision| {
            use Decision::{Lengthened, Packet, Shortened, Silence};
            !matches!(decision, Packet(_) | Silence(_) | Shortened { .. } | Lengthened { .. })
        })
        .collect();
    println!("{:?}", playout.stats());
    assert!(odd.is_empty(), "{odd:?}");
    assert_eq!((playout.stats().jitter.skipped, playout.stats().jitter.late), (10, 0));
}

/// A burst that is over before its first frame is due: the deep redundancy of the packet after it fills all but its last
/// frame, and its coarse copy the last.
#[test]
fn a_burst_is_filled_out_of_the_packet_after_it() {
    let settings = CodecSettings::hard_network();
    let frame = settings.frame();
    let packets = encode(settings, &speech());
    let delay = Duration::from_millis(120);
    let waiting =
        JitterSettings::standard(frame).with_start_delay(delay).and_then(|it| it.with_min_delay(delay)).unwrap();
    let (mut revived, mut recovered) = (0, 0);
    for burst in [100, 350, 600, 850, 1_100_u32] {
        let lost = burst..burst + 3;
        let heard =
            call(waiting, &packets[..burst as usize + 20], |seq| (!lost.contains(&seq)).then_some(Duration::ZERO));
        assert!(heard.sound == replayed(frame, &heard, &packets));

        // The burst makes the delay grow, but only after it. Until then every decision is a frame.
        let frames =
            |decision: &&Decision| !matches!(decision, Decision::Shortened { .. } | Decision::Lengthened { .. });
        let log: PlayoutLog = heard.log.decisions().iter().take_while(frames).copied().collect();
        let sound = replay(frame, &log, |seq| packets.get(seq as usize).map(Vec::as_slice)).unwrap();
        let decisions = log.decisions().iter().skip_while(|decision| matches!(decision, Decision::Silence(_)));
        assert!(decisions.clone().count() >= lost.end as usize, "the burst is in it");
        let begin = sound.len() - decisions.clone().count() * frame.samples();
        let mut decoder = VoiceDecoder::new(frame).unwrap();
        let mut pcm = vec![0; frame.samples()];
        for ((seq, decision), sound) in (0..).zip(decisions).zip(sound[begin..].chunks_exact(frame.samples())) {
            match *decision {
                Decision::Packet(played) => {
                    assert!(played == seq && !lost.contains(&seq));
                    decoder.decode(&packets[seq as usize], &mut pcm).unwrap();
                }
                Decision::Revived { seq: gone, from } => {
                    assert!(gone == seq && lost.contains(&seq) && from == lost.end);
                    assert!(decoder.revive(&packets[from as usize], from - seq, &mut pcm).unwrap());
                    revived += 1;
                }
                Decision::Recovered(gone) => {
                    assert!(gone == seq && seq + 1 == lost.end);
                    decoder.recover(&packets[lost.end as usize], &mut pcm).unwrap();
                    recovered += 1;
                }
                // Where the packet had no room for redundancy, or after the end.
                _ => decoder.conceal(&mut pcm).unwrap(),
            }
            // Concealment of 120 ms and more fades, and so does not sound as Opus made it.
            if seq < burst + 20 {
                assert!(pcm == sound, "frame {seq}, {decision:?}");
            }
        }
    }
    println!("{revived} revived, {recovered} recovered");
    assert!(revived >= 6 && recovered >= 2);
}

/// 120 ms into a long loss the sound fades, and when it comes back it rises.
#[test]
fn a_long_loss_fades_to_silence_and_back_without_a_click() {
    let settings = CodecSettings::standard();
    let frame = settings.frame();
    let packets = encode(settings, &speech());
    // In the middle of speech.
    let heard = call(steady(frame), &packets[..300], |seq| (!(100..140).contains(&seq)).then_some(Duration::ZERO));
    let gone = heard.log.decisions().iter().position(|decision| matches!(decision, Decision::Waited(_))).unwrap();
    let begin = gone * frame.samples();
    let loudest = |from: usize, until: usize| {
        let part = &heard.sound[begin + from * 48..begin + until * 48];
        part.iter().map(|sample| sample.unsigned_abs()).max().unwrap()
    };
    assert_eq!(loudest(180, 700), 0);
    assert!(loudest(700, 1_500) > 1_000, "speech is there again");
    let back = heard.log.decisions().iter().position(|decision| *decision == Decision::Packet(140)).unwrap();
    let at = back * frame.samples();
    assert_eq!(heard.sound[at - 1], 0);
    let steps = heard.sound[at - 1..at + 48].windows(2).map(|pair| pair[0].abs_diff(pair[1])).max().unwrap();
    assert!(steps < 300, "a step of {steps}");
}
