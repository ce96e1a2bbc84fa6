use super::*;

fn sound(kind: ToneKind, seconds: u32) -> Vec<i16> {
    let mut pcm = vec![0; (seconds * SAMPLE_RATE) as usize];
    ToneSource::new(kind).mix_into(&mut pcm);
    pcm
}

fn peak(pcm: &[i16]) -> i16 {
    pcm.iter().map(|sample| sample.saturating_abs()).max().unwrap()
}

/// Lengths of sound and pause by turns, milliseconds, from the beginning; a pause is 15 ms or more of nothing.
fn cadence(pcm: &[i16]) -> Vec<u32> {
    let block = SAMPLE_RATE / 1_000 * 5;
    let on: Vec<bool> = pcm.chunks(block as usize).map(|block| peak(block) > 8).collect();
    let mut runs = Vec::new();
    for run in on.chunk_by(|one, next| one == next) {
        runs.push(5 * u32::try_from(run.len()).unwrap());
    }
    runs
}

/// By its upward zero crossings.
fn hertz(pcm: &[i16]) -> f64 {
    let up: Vec<usize> =
        pcm.windows(2).enumerate().filter(|(_, pair)| pair[0] < 0 && pair[1] >= 0).map(|(i, _)| i).collect();
    let periods = u32::try_from(up.len() - 1).unwrap();
    let samples = u32::try_from(up[up.len() - 1] - up[0]).unwrap();
    f64::from(periods) * f64::from(SAMPLE_RATE) / f64::from(samples)
}

fn near(value: f64, expected: f64, tolerance: f64) {
    assert!((value - expected).abs() <= tolerance, "{value}, expected {expected}");
}

#[test]
fn the_standard_s_frequencies_and_cadences() {
    for (kind, expected, first) in [
        (ToneKind::Ringback, 425.0, vec![1_000, 4_000, 1_000, 4_000]),
        (ToneKind::Busy, 425.0, vec![500, 500, 500, 500]),
        (ToneKind::Waiting, 425.0, vec![200, 200, 200, 5_000, 200]),
        (ToneKind::Recording, 1_400.0, vec![400, 14_600, 400]),
    ] {
        let pcm = sound(kind, 20);
        near(hertz(&pcm[..(SAMPLE_RATE / 5) as usize]), expected, 0.01 * expected);
        let runs = cadence(&pcm);
        for (run, expected) in runs.iter().zip(&first) {
            assert!(run.abs_diff(*expected) <= 10, "{kind:?}: {runs:?}, expected {first:?}");
        }
        assert!(runs.len() >= first.len());
    }
}

#[test]
fn loudness_is_pleasant() {
    for (kind, dbfs) in ToneKind::ALL.into_iter().zip([-12.0, -20.0, -26.0, -20.0, -20.0, -26.0, -26.0, -26.0]) {
        let level = 20.0 * (f64::from(peak(&sound(kind, 6))) / 32_767.0).log10();
        // A note that fades is softer than its pattern from its first full wave on.
        near(level, dbfs, if kind == ToneKind::Ring { 1.0 } else { 0.1 });
    }
}

#[test]
fn nothing_clicks() {
    for kind in ToneKind::ALL {
        let pcm = sound(kind, 20);
        let pattern = kind.pattern();
        let highest = pattern.parts.iter().map(|part| part.hertz).fold(0.0, f64::max);
        let steepest = f64::from(peak(&pcm)) * TAU * highest / f64::from(SAMPLE_RATE);
        let step = pcm.windows(2).map(|pair| (i32::from(pair[1]) - i32::from(pair[0])).abs()).max().unwrap();
        assert!(f64::from(step) < 1.1 * steepest + 2.0, "{kind:?}: a step of {step}, a wave makes {steepest:.0}");
        // A wave that bends no more than itself begins and ends softly.
        let bend =
            pcm.windows(3).map(|of| (i32::from(of[0]) - 2 * i32::from(of[1]) + i32::from(of[2])).abs()).max().unwrap();
        let own = steepest * TAU * highest / f64::from(SAMPLE_RATE);
        assert!(f64::from(bend) < 1.2 * own + 3.0, "{kind:?}: a bend of {bend}, a wave makes {own:.0}");
    }
}

#[test]
fn only_the_end_of_a_call_ends_by_itself() {
    for kind in ToneKind::ALL {
        let mut tone = ToneSource::new(kind);
        let mut pcm = vec![0; 60 * SAMPLE_RATE as usize];
        assert_eq!(tone.mix_into(&mut pcm), kind != ToneKind::Ended, "{kind:?}");
    }
    let mut tone = ToneSource::new(ToneKind::Ended);
    let mut frames = 1;
    while tone.mix_into(&mut [0; 480]) {
        frames += 1;
    }
    assert_eq!(frames, 90, "0.9 s");
    let mut rest = [7; 480];
    assert!(!tone.mix_into(&mut rest));
    assert_eq!(rest, [7; 480]);
}

#[test]
fn frames_of_any_length_make_the_same_sound() {
    for kind in ToneKind::ALL {
        let whole = sound(kind, 2);
        let mut pieces = vec![0; whole.len()];
        let mut tone = ToneSource::new(kind);
        for (piece, len) in pieces.chunks_mut(977).zip([977].into_iter().cycle()) {
            assert!(piece.len() <= len);
            tone.mix_into(piece);
        }
        assert!(pieces == whole, "{kind:?}");
    }
}

#[test]
fn a_tone_is_added_to_what_is_there() {
    let alone = sound(ToneKind::Busy, 1);
    let mut mixed = vec![1_000; alone.len()];
    ToneSource::new(ToneKind::Busy).mix_into(&mut mixed);
    assert!(mixed.iter().zip(&alone).all(|(mixed, alone)| *mixed == 1_000 + alone));
    let mut loud = vec![i16::MAX; alone.len()];
    ToneSource::new(ToneKind::Busy).mix_into(&mut loud);
    assert_eq!(peak(&loud), i16::MAX);
    assert!(loud.iter().all(|sample| *sample > 28_000), "saturated, not wrapped");
}
