//! How long sound takes from one place to another, by chirps: short sweeps that are found again to the sample whatever a
//! codec made of them.
//!
//! It plays and records nothing: it makes the sound, and finds it in recordings.

use std::f64::consts::{PI, TAU};
use std::time::Duration;

use super::{RATE, Recording};

/// Length of a chirp.
pub const CHIRP: Duration = Duration::from_millis(20);
/// From one chirp's beginning to the next one's: what a delay must stay below.
pub const EVERY: Duration = Duration::from_millis(400);
/// The sweep goes from here to there, Hz: what a codec for speech passes.
const SWEEP_HZ: (f64, f64) = (500.0, 6_000.0);
/// Loudness of a chirp, of full scale.
const PEAK: f64 = 0.5;
/// Loudness of the noise between and under chirps, of full scale: a room's. After silence a codec for speech takes a sudden
/// sweep for something else, and makes so little of it that it cannot be found again.
const NOISE: f64 = 0.03;
/// Least normalised correlation, 0 to 1, at which a chirp is believed to be found. Behind Opus at 16 to 48 kb/s most have 0.5
/// to 0.9, and none of those is off its place by more than 0.2 ms; some of those below 0.4 are.
const LEAST_LIKENESS: f64 = 0.45;
/// What is so far below a chirp, as a ratio of amplitudes, is not looked at.
const FAINT: f64 = 0.14;

const CHIRP_LEN: usize = (RATE / 50) as usize;
const EVERY_LEN: usize = (RATE * 2 / 5) as usize;

/// A chirp in floating point: a linear sweep under half a sine, so that it begins and ends without a click.
#[expect(clippy::cast_precision_loss, reason = "some hundreds of samples")]
fn sweep() -> Vec<f64> {
    let length = CHIRP.as_secs_f64();
    let sample = |index: usize| {
        let time = index as f64 / f64::from(RATE);
        let phase = TAU * (SWEEP_HZ.0 * time + (SWEEP_HZ.1 - SWEEP_HZ.0) * time * time / (2.0 * length));
        phase.sin() * (PI * time / length).sin()
    };
    (0..CHIRP_LEN).map(sample).collect()
}

/// One chirp.
#[expect(clippy::cast_possible_truncation, reason = "half of full scale")]
pub fn chirp() -> Vec<i16> {
    sweep().iter().map(|sample| (sample * PEAK * f64::from(i16::MAX)) as i16).collect()
}

/// So many chirps, one every [`EVERY`], in the noise of a room.
pub fn chirps(count: usize) -> Vec<i16> {
    let one = chirp();
    let mut noise = Noise::default();
    let mut sound = Vec::with_capacity(count * EVERY_LEN);
    for _ in 0..count {
        let rest = std::iter::repeat_n(&0, EVERY_LEN - CHIRP_LEN);
        sound.extend(one.iter().chain(rest).map(|sample| sample + noise.sample()));
    }
    sound
}

/// The noise of a room: white, the same every time.
#[derive(Debug, Clone, Default)]
pub struct Noise(u32);

impl Noise {
    /// Its next sample.
    #[expect(clippy::cast_possible_truncation, reason = "a small share of full scale")]
    pub fn sample(&mut self) -> i16 {
        // The constants are those of Numerical Recipes.
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let unit = f64::from(self.0 >> 8) / f64::from(1 << 23) - 1.0;
        (unit * NOISE * f64::from(i16::MAX)) as i16
    }
}

/// Where chirps begin in a recording, in samples.
pub fn find(pcm: &[i16]) -> Vec<usize> {
    search(pcm).into_iter().map(|(at, _)| at).collect()
}

/// The same, each with how like a chirp it is, 0 to 1.
fn search(pcm: &[i16]) -> Vec<(usize, f64)> {
    let sweep = sweep();
    let own: f64 = sweep.iter().map(|sample| sample * sample).sum();
    let square = |sample: i16| f64::from(sample) * f64::from(sample);
    let Some(last) = pcm.len().checked_sub(CHIRP_LEN) else { return Vec::new() };
    let mut power: f64 = pcm[..CHIRP_LEN].iter().map(|sample| square(*sample)).sum();
    let quiet = own * (PEAK * f64::from(i16::MAX) * FAINT).powi(2);
    let mut found: Vec<(usize, f64)> = Vec::new();
    for at in 0..=last {
        if power > quiet {
            let product: f64 =
                pcm[at..at + CHIRP_LEN].iter().zip(&sweep).map(|(heard, said)| f64::from(*heard) * said).sum();
            // The sign is left out: a device may turn the phase.
            let likeness = product.abs() / (power * own).sqrt();
            if likeness > LEAST_LIKENESS {
                match found.last_mut() {
                    Some(before) if at - before.0 < EVERY_LEN / 2 => {
                        if likeness > before.1 {
                            *before = (at, likeness);
                        }
                    }
                    _ => found.push((at, likeness)),
                }
            }
        }
        if at < last {
            power += square(pcm[at + CHIRP_LEN]) - square(pcm[at]);
        }
    }
    found
}

/// How much later each chirp of `said` is found in `heard`, recorded at the same time and in the same way; those that are not
/// found again before the next one are left out.
pub fn delays(said: &Recording, heard: &Recording) -> Vec<Duration> {
    let epoch = said.began.min(heard.began);
    let times = |recording: &Recording| -> Vec<Duration> {
        let offset = recording.began - epoch;
        find(&recording.pcm).into_iter().map(|at| offset + Duration::from_secs(at as u64) / RATE).collect()
    };
    let (said, heard) = (times(said), times(heard));
    said.into_iter()
        .filter_map(|at| {
            let delay = heard.iter().find_map(|found| found.checked_sub(at))?;
            (delay < EVERY).then_some(delay)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use vernam_audio::{CodecSettings, VoiceDecoder, VoiceEncoder};

    use super::*;

    #[test]
    fn chirps_are_found_to_the_sample_in_noise_and_upside_down() {
        let began = Instant::now();
        let said = Recording { pcm: chirps(5), began };
        let mut pcm = vec![0; 2_345];
        pcm.extend(said.pcm.iter().map(|sample| -sample / 2));
        let heard = Recording { pcm, began: began + Duration::from_millis(7) };
        let expected = Duration::from_secs(2_345) / RATE + Duration::from_millis(7);
        let delays = delays(&said, &heard);
        assert_eq!(delays.len(), 5);
        assert!(delays.iter().all(|delay| delay.abs_diff(expected) < Duration::from_micros(50)), "{delays:?}");
    }

    #[test]
    fn a_codec_for_speech_leaves_chirps_where_they_are() {
        for settings in [CodecSettings::standard(), CodecSettings::low_delay(), CodecSettings::one_time_pad()] {
            let frame = settings.frame();
            let (mut encoder, mut decoder) = (VoiceEncoder::new(settings).unwrap(), VoiceDecoder::new(frame).unwrap());
            let (mut packet, mut pcm) = (vec![0; settings.packet_len()], vec![0; frame.samples()]);
            let (said, mut heard) = (chirps(10), Vec::new());
            for frame in said.chunks_exact(frame.samples()) {
                encoder.encode(frame, &mut packet).unwrap();
                decoder.decode(&packet, &mut pcm).unwrap();
                heard.extend_from_slice(&pcm);
            }
            let places: Vec<(usize, f64)> = search(&heard);
            println!("{settings:?}: look-ahead {}, {places:?}", encoder.look_ahead());
            assert!(places.len() >= 4, "{}", places.len());
            for (at, likeness) in places {
                assert!((at % EVERY_LEN).abs_diff(encoder.look_ahead()) < 20, "{at} {likeness}");
            }
        }
    }

    #[test]
    fn silence_and_noise_hold_no_chirp() {
        let mut noise = Noise::default();
        let noise: Vec<i16> = (0..96_000).map(|_| noise.sample() * 16).collect();
        assert!(find(&vec![0; 96_000]).is_empty() && find(&noise).is_empty() && find(&[1; 10]).is_empty());
    }
}
