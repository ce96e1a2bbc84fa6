use super::*;

const SWITCHES: [Processing; 5] = [
    Processing::OFF,
    Processing { echo_cancelling: true, ..Processing::OFF },
    Processing { high_pass: true, ..Processing::OFF },
    Processing { gain_control: true, ..Processing::OFF },
    Processing { noise_suppression: true, ..Processing::OFF },
];

/// Every value there is, again and again.
fn samples(len: usize) -> Vec<i16> {
    (i16::MIN..=i16::MAX).cycle().step_by(7).take(len).collect()
}

#[test]
fn without_processing_the_sound_passes_bit_for_bit() {
    for frame in FrameLength::ALL {
        let mut processor = Processor::new(Processing::OFF, frame).unwrap();
        assert_eq!(processor.added_delay(), Duration::ZERO);
        for pcm in samples(96_000).chunks_exact(frame.samples()) {
            let mut processed = pcm.to_vec();
            processor.render(pcm);
            processor.capture(&mut processed);
            assert!(processed == pcm, "{frame:?}");
        }
        assert!(processor.rendered.is_empty());
    }
}

#[test]
fn a_switch_takes_effect_and_back() {
    for on in &SWITCHES[1..] {
        let mut processor = Processor::new(Processing::OFF, FrameLength::Ms20).unwrap();
        let wave: Vec<i16> = samples(960).iter().map(|sample| sample / 8).collect();
        let mut run = |on: Processing, frames: usize| {
            processor.set(on);
            assert_eq!(processor.processing(), on);
            let mut changed = false;
            for _ in 0..frames {
                let mut pcm = wave.clone();
                processor.render(&wave);
                processor.capture(&mut pcm);
                changed = pcm != wave;
            }
            changed
        };
        assert!(!run(Processing::OFF, 10), "{on:?}");
        assert!(run(*on, 10), "{on:?}");
        assert!(!run(Processing::OFF, 2), "{on:?}");
        assert!(!run(*on, 2) && !run(Processing::OFF, 1), "switched off while it was warming up: {on:?}");
        assert!(!processor.is_running());
        assert_eq!(processor.rebuilds(), 0);
    }
}

#[test]
fn presets_differ_in_the_echo_only() {
    assert_eq!(Processing::default(), Processing::LOUDSPEAKER);
    assert_eq!(Processing { echo_cancelling: true, ..Processing::HEADPHONES }, Processing::LOUDSPEAKER);
    let delay = |processing| Processor::new(processing, FrameLength::Ms20).unwrap().added_delay();
    assert_eq!(delay(Processing::LOUDSPEAKER), HIGH_PASS_DELAY + ECHO_CANCELLING_DELAY);
    assert_eq!(delay(Processing::HEADPHONES), HIGH_PASS_DELAY);
}

#[test]
fn a_caller_that_never_captures_or_never_renders_costs_no_memory() {
    for frame in FrameLength::ALL {
        let mut processor = Processor::new(Processing::LOUDSPEAKER, frame).unwrap();
        let mut pcm = vec![0; frame.samples()];
        for _ in 0..20 {
            processor.capture(&mut pcm);
        }
        for _ in 0..300 {
            processor.render(&pcm);
        }
        assert!(processor.rendered.len() <= processor.most_rendered);
        for _ in 0..20 {
            processor.capture(&mut pcm);
        }
        assert!(processor.rendered.is_empty());
        assert_eq!(processor.rebuilds(), 0);
    }
}

#[test]
fn sound_at_full_scale_breaks_nothing() {
    let all = Processing { noise_suppression: true, ..Processing::LOUDSPEAKER };
    let mut processor = Processor::new(all, FrameLength::Ms60).unwrap();
    for (number, pcm) in samples(48_000 * 3).chunks_exact(2_880).enumerate() {
        let mut processed: Vec<i16> = match number % 3 {
            0 => pcm.to_vec(),
            1 => vec![i16::MIN; pcm.len()],
            _ => pcm.iter().map(|sample| if *sample < 0 { i16::MIN } else { i16::MAX }).collect(),
        };
        processor.render(&processed);
        processor.capture(&mut processed);
    }
    assert_eq!(processor.rebuilds(), 0);
}

#[test]
fn a_rest_that_fills_no_block_is_left_alone() {
    let mut processor = Processor::new(Processing::LOUDSPEAKER, FrameLength::Ms10).unwrap();
    for len in [0, 1, 479] {
        let mut pcm = samples(len);
        processor.render(&pcm.clone());
        processor.capture(&mut pcm);
        assert_eq!(pcm, samples(len));
    }
}
