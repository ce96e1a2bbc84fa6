//! Other settings in the middle of speech: one encoder, one decoder, no click.

use super::*;

const FRAMES_EACH: usize = 7;

/// The sharpest corner (second difference) within 5 ms of each of these samples.
fn corners(sound: &[i16], at: impl Iterator<Item = usize>, reach: usize) -> Vec<i32> {
    let sharpest = |at: usize| {
        let near = &sound[at - reach..(at + reach).min(sound.len())];
        let corner = |three: &[i16]| (i32::from(three[0]) - 2 * i32::from(three[1]) + i32::from(three[2])).abs();
        near.windows(3).map(corner).max().unwrap()
    };
    at.map(sharpest).collect()
}

/// Plays `sound`, changing to the next of `rates` every few frames; `anew` begins with a new encoder and decoder.
fn play(sound: &[i16], rates: &[CodecSettings], anew: bool) -> Vec<i16> {
    let mut encoder = VoiceEncoder::new(rates[0]).unwrap();
    let mut decoder = VoiceDecoder::new(FrameLength::Ms20).unwrap();
    let mut heard = vec![0; sound.len()];
    for (index, (said, heard)) in sound.chunks_exact(960).zip(heard.chunks_exact_mut(960)).enumerate() {
        let settings = rates[index / FRAMES_EACH % rates.len()];
        if index % FRAMES_EACH == 0 && anew {
            encoder = VoiceEncoder::new(settings).unwrap();
            decoder = VoiceDecoder::new(FrameLength::Ms20).unwrap();
        } else if index % FRAMES_EACH == 0 {
            encoder.change(settings).unwrap();
            assert_eq!(encoder.settings(), &settings);
        }
        let mut packet = vec![0; settings.packet_len()];
        encoder.encode(said, &mut packet).unwrap();
        decoder.decode(&packet, heard).unwrap();
    }
    heard
}

#[test]
fn a_change_of_settings_makes_no_click() {
    let sound = speech(2..8);
    let at_20_ms = |settings: CodecSettings| settings.with_frame(FrameLength::Ms20);
    let rates: Vec<_> = [CodecSettings::standard(), CodecSettings::one_time_pad(), CodecSettings::hard_network()]
        .into_iter()
        .chain(PAD_LADDER.map(at_20_ms))
        .filter(|settings| settings.packet_len() >= MIN_PACKET_IN_CALL)
        .collect();
    let changes = || (FRAMES_EACH..sound.len() / 960 - 1).step_by(FRAMES_EACH).map(|frame| frame * 960);
    // Sharpest corners near each change, beside those that the same speech has around there anyway, with the settings
    // before or after.
    let steady: Vec<_> = rates.iter().map(|&rate| corners(&play(&sound, &[rate], false), changes(), 4 * 960)).collect();
    let anyway = |change: usize| steady[change % rates.len()][change].max(steady[(change + 1) % rates.len()][change]);
    let clicks = |heard: &[i16]| {
        let ratios = corners(heard, changes(), 480).into_iter().enumerate();
        ratios.map(|(change, corner)| f64::from(corner) / f64::from(anyway(change) + 100)).collect::<Vec<_>>()
    };
    let most = |ratios: &[f64]| ratios.iter().copied().fold(0.0, f64::max);
    let (ours, anew) = (clicks(&play(&sound, &rates, false)), clicks(&play(&sound, &rates, true)));
    println!("{} changes: corners up to {:.2}; begun anew: {:.2}", ours.len(), most(&ours), most(&anew));
    assert!(ours.len() > 40);
    assert!(most(&ours) < 1.5, "{ours:.2?}");
    assert!(most(&anew) > 2.0, "the measure sees clicks");
}

#[test]
fn a_change_comes_into_force_with_the_next_frame() {
    let sound = sound(1, SEED);
    let mut encoder = VoiceEncoder::new(CodecSettings::standard()).unwrap();
    for (said, settings) in sound.chunks_exact(960).zip(Profile::ALL.map(Profile::settings).into_iter().cycle()) {
        let settings = settings.with_frame(FrameLength::Ms20);
        encoder.change(settings).unwrap();
        encoder.encode(said, &mut vec![0; settings.packet_len()]).unwrap();
        assert!(encoder.encode(said, &mut vec![0; settings.packet_len() + 1]).is_err());
    }
}
