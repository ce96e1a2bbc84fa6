use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::{AtEnd, Error, SAMPLE_RATE, Speech};

mod change;
mod hostile;
mod revival;

const SEED: u64 = 0x0b05;

/// A voiced sound with a moving pitch, noise between, and silence: what makes a codec change its mind.
fn sound(seconds: usize, seed: u64) -> Vec<i16> {
    println!("seed {seed:#x}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut phase = 0.0_f64;
    (0..seconds * SAMPLE_RATE as usize)
        .map(|index| {
            let time = index as f64 / f64::from(SAMPLE_RATE);
            phase += (120.0 + 60.0 * (time * 5.0).sin()) / f64::from(SAMPLE_RATE);
            match (time * 4.0) as usize % 4 {
                0 | 1 => {
                    (1..20).map(|k| (phase * f64::from(k) * std::f64::consts::TAU).sin() * 4e3 / f64::from(k)).sum()
                }
                2 => random.random_range(-6e3..6e3),
                _ => 0.0,
            }
        })
        .map(|sample: f64| sample as i16)
        .collect()
}

fn encode_all(settings: CodecSettings, sound: &[i16]) -> Vec<Vec<u8>> {
    let mut encoder = VoiceEncoder::new(settings).unwrap();
    sound
        .chunks_exact(settings.frame().samples())
        .map(|pcm| {
            let mut packet = vec![0; settings.packet_len()];
            encoder.encode(pcm, &mut packet).unwrap_or_else(|error| panic!("{settings:?}: {error}"));
            packet
        })
        .collect()
}

/// Voice, noise and silence, then a person who speaks.
fn all_sorts() -> Vec<i16> {
    [sound(1, SEED), speech(3..4)].concat()
}

/// These seconds of a reading.
fn speech(seconds: std::ops::Range<usize>) -> Vec<i16> {
    let speech = Speech::load(concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/speech/reader.wav")).unwrap();
    let frames = speech.frames(FrameLength::Ms20, AtEnd::Stop);
    frames.skip(seconds.start * 50).take(seconds.len() * 50).flatten().collect()
}

#[test]
fn every_packet_has_one_size_whatever_is_said() {
    let sound = all_sorts();
    for frame in FrameLength::ALL {
        for bit_rate in [6_000, 6_001, 9_999, 16_000, 24_000, 48_000, 64_123, 128_000] {
            for (fec, loss, dred) in [(false, 0, 0), (true, 10, 0), (true, 30, 0), (true, 20, 1_000)] {
                let settings = CodecSettings::new(bit_rate, frame, fec, loss, 1).unwrap();
                check_sizes(settings.with_dred(Duration::from_millis(dred)).unwrap(), &sound);
            }
        }
    }
}

#[test]
fn every_packet_of_every_profile_has_one_size() {
    let sound = all_sorts();
    for settings in Profile::ALL.map(Profile::settings).into_iter().chain(PAD_LADDER) {
        check_sizes(settings, &sound);
        check_sizes(settings, &vec![0; sound.len()]);
        check_sizes(settings, &[i16::MIN, i16::MAX].repeat(sound.len() / 8));
    }
}

/// The encoder itself refuses to give a packet of another size, so that it is enough to encode.
fn check_sizes(settings: CodecSettings, sound: &[i16]) {
    for packet in encode_all(settings, sound) {
        assert_eq!(
            opus::packet::get_nb_samples(&packet, SAMPLE_RATE).unwrap(),
            settings.frame().samples(),
            "{settings:?}"
        );
    }
}

#[test]
fn a_loss_hint_changes_no_size() {
    let settings = CodecSettings::standard();
    let mut encoder = VoiceEncoder::new(settings).unwrap();
    let mut packet = vec![0; settings.packet_len()];
    for (pcm, percent) in sound(2, SEED).chunks_exact(960).zip((0..=100).cycle().step_by(7)) {
        encoder.hint_loss(percent).unwrap();
        encoder.encode(pcm, &mut packet).unwrap();
    }
}

#[test]
fn wrong_buffers_are_refused_in_words() {
    let settings = CodecSettings::standard();
    let mut encoder = VoiceEncoder::new(settings).unwrap();
    let short = encoder.encode(&[0; 959], &mut [0; 80]).unwrap_err();
    assert_eq!(short.to_string(), "a frame of sound must hold 960 samples, this one holds 959");
    let long = encoder.encode(&[0; 960], &mut [0; 81]).unwrap_err();
    assert_eq!(long.to_string(), "a voice packet must hold 80 bytes, this one holds 81");
    let mut decoder = VoiceDecoder::new(settings.frame()).unwrap();
    assert!(matches!(decoder.conceal(&mut [0; 480]), Err(Error::Codec(CodecError::BufferSize { .. }))));
}

#[test]
fn speech_comes_back_at_its_level_after_the_look_ahead() {
    let sound = sound(1, SEED);
    let settings = CodecSettings::new(64_000, FrameLength::Ms20, false, 0, 10).unwrap();
    let delay = VoiceEncoder::new(settings).unwrap().look_ahead();
    let mut decoder = VoiceDecoder::new(settings.frame()).unwrap();
    let mut heard = Vec::new();
    for packet in encode_all(settings, &sound) {
        let mut pcm = vec![0; settings.frame().samples()];
        decoder.decode(&packet, &mut pcm).unwrap();
        heard.extend(pcm);
    }
    let voiced = SAMPLE_RATE as usize / 10..SAMPLE_RATE as usize * 4 / 10;
    let spoken = &sound[voiced.clone()];
    let energy = |sound: &[i16]| product(sound, sound).sqrt();
    let (likeness, lag) = (0..1_500)
        .map(|lag| {
            let heard = &heard[voiced.start + lag..voiced.end + lag];
            (product(spoken, heard) / (energy(spoken) * energy(heard)), lag)
        })
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .unwrap();
    let level = 20.0 * (energy(&heard[voiced.start + lag..voiced.end + lag]) / energy(spoken)).log10();
    println!("look-ahead {delay} samples, found at {lag}, likeness {likeness:.3}, level {level:.2} dB");
    // Opus takes some low tones away from a voice, which turns their phase by a fraction of a millisecond.
    assert!(lag.abs_diff(delay) < SAMPLE_RATE as usize / 1_000, "{lag}");
    assert!(likeness > 0.8 && level.abs() < 1.0);
}

fn product(a: &[i16], b: &[i16]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// Of every second frame lost, the coarse copy in the next packet must come closer than concealment alone.
#[test]
fn recovery_comes_closer_than_concealment() {
    let settings = CodecSettings::standard();
    let packets = encode_all(settings, &sound(4, SEED));
    assert!(packets.iter().filter(|packet| has_recovery(packet)).count() > packets.len() / 3);
    let mut whole = VoiceDecoder::new(settings.frame()).unwrap();
    let mut with_fec = VoiceDecoder::new(settings.frame()).unwrap();
    let mut without = VoiceDecoder::new(settings.frame()).unwrap();
    let (mut error_with, mut error_without) = (0.0, 0.0);
    let mut pcm = [vec![0; 960], vec![0; 960], vec![0; 960]];
    for (index, packet) in packets.iter().enumerate() {
        whole.decode(packet, &mut pcm[0]).unwrap();
        match packets.get(index + 1) {
            Some(next) if index % 4 == 3 && has_recovery(next) => {
                with_fec.recover(next, &mut pcm[1]).unwrap();
                without.conceal(&mut pcm[2]).unwrap();
                error_with += distance(&pcm[0], &pcm[1]);
                error_without += distance(&pcm[0], &pcm[2]);
            }
            _ => {
                with_fec.decode(packet, &mut pcm[1]).unwrap();
                without.decode(packet, &mut pcm[2]).unwrap();
            }
        }
    }
    println!("squared error with FEC {error_with:.3e}, without {error_without:.3e}");
    // Half of this sound is noise, which no copy can bring back as it was.
    assert!(error_with < error_without * 0.7);
}

fn distance(a: &[i16], b: &[i16]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum()
}

#[test]
fn no_recovery_without_fec_and_none_in_damaged_packets() {
    let packets = encode_all(CodecSettings::one_time_pad(), &sound(2, SEED));
    assert!(!packets.iter().any(|packet| has_recovery(packet)));
    assert!(!has_recovery(&[]));
    for toc in 0..=255 {
        assert!(!has_recovery(&[toc]), "{toc}");
    }
}
