use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::Speech;

/// Uniform noise of a level, dB below full scale.
fn noise(seed: u64, dbfs: f64, len: usize) -> Vec<i16> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let peak = 32_768.0 * 10.0_f64.powf(dbfs / 20.0) * 3.0_f64.sqrt();
    #[expect(clippy::cast_possible_truncation, reason = "small")]
    let sample = |value: f64| value.round() as i16;
    (0..len).map(|_| sample(random.random_range(-peak..peak))).collect()
}

/// Pieces of 2.5 s of speech, each followed by two seconds of nothing, from the third second on.
fn conversation() -> Vec<i16> {
    let speech = Speech::load(concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/speech/commands.wav")).unwrap();
    let mut sound = vec![0; 3 * 48_000];
    for piece in speech.samples().chunks(120_000) {
        sound.extend(piece);
        sound.extend(std::iter::repeat_n(0, 2 * 48_000));
    }
    sound
}

fn energy(pcm: &[i16]) -> f64 {
    pcm.iter().map(|&sample| f64::from(sample).powi(2)).sum()
}

/// dB below full scale.
fn level(pcm: &[i16]) -> f64 {
    let len: f64 = pcm.iter().map(|_| 1.0).sum();
    10.0 * (energy(pcm) / len / 32_768.0_f64.powi(2)).max(1e-12).log10()
}

#[test]
fn words_stay_whole_and_pauses_are_found() {
    let speech = conversation();
    for frame in FrameLength::ALL {
        for (seed, dbfs) in [(1, -75.0), (2, -60.0), (3, -50.0)] {
            println!("seed {seed}, noise at {dbfs} dB, frames of {} ms", frame.millis());
            let sound: Vec<i16> =
                speech.iter().zip(noise(seed, dbfs, speech.len())).map(|(one, two)| one.saturating_add(two)).collect();
            let mut activity = VoiceActivity::new(frame);
            let (mut sent, mut sent_energy, mut frames) = (0.0, 0.0, 0.0);
            let mut loud_frames_missed = 0;
            for (pcm, said) in sound.chunks_exact(frame.samples()).zip(speech.chunks_exact(frame.samples())) {
                let voice = activity.is_voice(pcm);
                frames += 1.0;
                if voice {
                    sent += 1.0;
                    sent_energy += energy(said);
                } else if level(said) > f64::max(-40.0, dbfs + 14.0) {
                    loud_frames_missed += 1;
                }
            }
            let share = sent_energy / energy(&speech);
            println!("  sent {:.1} % of the time, {:.3} % of the speech", 100.0 * sent / frames, 100.0 * share);
            assert_eq!(loud_frames_missed, 0, "no word loses its beginning or end");
            assert!(share > 0.999, "{share} of the speech");
            assert!(sent / frames < 0.75, "the pauses were not found");
        }
    }
}

#[test]
fn steady_noise_and_hum_are_no_voice() {
    for (seed, dbfs) in [(4, -70.0), (5, -50.0), (6, -35.0)] {
        println!("seed {seed}, noise at {dbfs} dB");
        let mut activity = VoiceActivity::new(FrameLength::Ms20);
        let sound = noise(seed, dbfs, 30 * 48_000);
        let last = sound.chunks_exact(960).map(|pcm| activity.is_voice(pcm)).collect::<Vec<_>>().split_off(750);
        assert!(last.iter().all(|voice| !voice), "after 15 s it is known");
        assert!((activity.noise_floor_dbfs() - dbfs).abs() < 3.0 || dbfs < -60.0);
    }
    let mut activity = VoiceActivity::new(FrameLength::Ms20);
    let hum: Vec<i16> = (0..48_000)
        .map(|i| {
            #[expect(clippy::cast_possible_truncation, reason = "small")]
            let sample = (600.0 * (std::f64::consts::TAU * 50.0 * f64::from(i) / 48_000.0).sin()) as i16;
            sample
        })
        .collect();
    let hums = hum.chunks_exact(960).filter(|pcm| activity.is_voice(pcm)).count();
    assert!(hums < 25, "hum at -35 dB opens it for {hums} frames of 50");
}

#[test]
fn it_opens_at_once_and_stays_open_for_three_tenths_of_a_second() {
    for frame in FrameLength::ALL {
        let mut activity = VoiceActivity::new(frame);
        let silence = vec![0; frame.samples()];
        assert!(!activity.is_voice(&silence));
        let mut word = silence.clone();
        word[frame.samples() - 400..].copy_from_slice(&noise(7, -30.0, 400));
        assert!(activity.is_voice(&word), "the frame in which a word begins");
        let mut open = 0;
        while activity.is_voice(&silence) {
            open += frame.millis();
        }
        assert!((300..=360).contains(&open), "{open} ms in frames of {}", frame.millis());
    }
}
