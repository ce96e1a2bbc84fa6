use super::*;

/// A voice-like sound: ten harmonics of `pitch` Hz, each softer than the one before, on top of a little noise.
fn voice(pitch: f64, samples: usize) -> Vec<i16> {
    let mut noise = 12_345_u32;
    (0..samples)
        .map(|at| {
            let time = f64::from(u32::try_from(at).unwrap()) / 48_000.0;
            let tone: f64 = (1..=10)
                .map(|harmonic| {
                    let harmonic = f64::from(harmonic);
                    (std::f64::consts::TAU * pitch * harmonic * time + harmonic).sin() / harmonic
                })
                .sum();
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (tone * 6_000.0) as i16 + ((noise >> 25) as i16 - 64)
        })
        .collect()
}

fn noise(samples: usize, loudness: u32) -> Vec<i16> {
    let mut state = 99_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 16) * 2 * loudness / 65_536) as i16 - loudness as i16
    };
    (0..samples).map(|_| next()).collect()
}

fn loudest_step(sound: &[i16]) -> i32 {
    sound.windows(2).map(|pair| (i32::from(pair[1]) - i32::from(pair[0])).abs()).max().unwrap()
}

fn changed(sound: &[i16], from: usize, way: Way, most: usize, haste: bool) -> Option<(Splice, Vec<i16>)> {
    let mut ear = Ear::default();
    ear.hear(sound);
    let splice = ear.find(sound, from, way, most, haste)?;
    let mut changed = sound.to_vec();
    let done = match way {
        Way::Shorten => shorten(&mut changed, splice),
        Way::Lengthen => lengthen(&mut changed, splice),
    };
    assert!(done, "{splice:?} does not fit");
    Some((splice, changed))
}

#[test]
fn a_voice_changes_by_whole_periods_without_a_step() {
    for pitch in [80.0, 110.0, 160.0, 220.0, 350.0] {
        let sound = voice(pitch, HISTORY + ENOUGH);
        for way in [Way::Shorten, Way::Lengthen] {
            let (splice, changed) = changed(&sound, HISTORY, way, usize::MAX, false).unwrap();
            let period = 48_000.0 / pitch;
            let periods = f64::from(splice.samples) / period;
            println!("{pitch} Hz {way:?}: {splice:?}, {periods} periods");
            assert!((periods - periods.round()).abs() * period < 3.0, "{pitch} Hz: {periods} periods");
            let samples = usize::from(splice.samples);
            let expected = if way == Way::Shorten { sound.len() - samples } else { sound.len() + samples };
            assert_eq!(changed.len(), expected);
            assert!(loudest_step(&changed) < loudest_step(&sound) * 11 / 10);
            // What is around the splice stays as it was.
            let place = sound.len() - usize::from(splice.back);
            assert!(place >= HISTORY);
            assert_eq!(changed[..place], sound[..place]);
            assert_eq!(changed[changed.len() - 100..], sound[sound.len() - 100..]);
        }
    }
}

const HISTORY: usize = 1_440;

#[test]
fn loud_noise_is_left_alone_and_quiet_noise_is_not() {
    let loud = noise(HISTORY + ENOUGH, 8_000);
    let quiet = noise(HISTORY + ENOUGH, 20);
    for way in [Way::Shorten, Way::Lengthen] {
        assert_eq!(changed(&loud, HISTORY, way, usize::MAX, false), None);
        assert!(changed(&quiet, HISTORY, way, usize::MAX, false).is_some());
    }
    let mut after_speech = Ear::default();
    after_speech.hear(&voice(120.0, 960));
    let soft = noise(HISTORY + ENOUGH, 300);
    assert!(after_speech.find(&soft, HISTORY, Way::Shorten, usize::MAX, false).is_some());
}

#[test]
fn no_more_is_changed_than_was_asked_for() {
    let sound = vec![0; HISTORY + ENOUGH];
    for most in [0, SHORTEST_PIECE - 1, SHORTEST_PIECE, 200, 700] {
        for way in [Way::Shorten, Way::Lengthen] {
            let found = changed(&sound, HISTORY, way, most, false);
            assert_eq!(found.is_some(), most >= SHORTEST_PIECE, "{most}");
            assert!(found.is_none_or(|(splice, _)| usize::from(splice.samples) <= most));
        }
    }
}

#[test]
fn any_length_of_sound_is_searched_without_harm() {
    for unplayed in [0, 1, 119, 240, 359, 360, 480, 500, 601, 960, 2_880, 9_000] {
        for history in [0, 100, 120, 719, 1_440] {
            let sound = voice(150.0, history + unplayed);
            for way in [Way::Shorten, Way::Lengthen] {
                if let Some((splice, changed)) = changed(&sound, history, way, usize::MAX, true) {
                    let place = sound.len() - usize::from(splice.back);
                    assert!(place >= history, "sound that was played cannot be changed");
                    assert_eq!(changed[..history], sound[..history]);
                }
            }
        }
    }
}

#[test]
fn splices_that_do_not_fit_change_nothing() {
    let sound = voice(150.0, 960);
    for (back, samples) in [(961, 120), (960, 0), (100, 120), (200, 120), (960, u16::MAX), (u16::MAX, 120)] {
        let mut copy = sound.clone();
        assert!(!shorten(&mut copy, Splice { back, samples }), "{back}, {samples}");
        assert_eq!(copy, sound);
        if back != 200 {
            assert!(!lengthen(&mut copy, Splice { back, samples }), "{back}, {samples}");
            assert_eq!(copy, sound);
        }
    }
}
