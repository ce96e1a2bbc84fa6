//! A loudspeaker and a microphone in one room, made by numbers: what the processing of `vernam_audio::process` does to
//! the echo, to the person who speaks, and to the time.
//!
//! The room is a direct path and some hundred echoes that fade away, drawn at random from a printed seed. The
//! loudspeaker may distort. The other side reads a book, the near side calls out playing cards (`assets/speech`).

#![expect(clippy::unwrap_used, reason = "helpers of tests")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "lengths and sound, far from the limits"
)]
#![expect(clippy::print_stdout, reason = "seeds and figures, for who looks into a failure")]

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use vernam_audio::process::{Processing, Processor};
use vernam_audio::{FrameLength, SAMPLE_RATE, Speech};

const SECOND: usize = SAMPLE_RATE as usize;
const ECHO_ONLY: Processing = Processing { echo_cancelling: true, ..Processing::OFF };

/// A way from the loudspeaker to the microphone.
struct Room {
    /// Delay in samples and strength of each way that the sound takes.
    ways: Vec<(usize, f32)>,
    distorts: bool,
}

impl Room {
    /// The first sound arrives after `delay_ms`; what follows is 60 dB softer after 350 ms, as in an office.
    fn new(seed: u64, delay_ms: usize, distorts: bool) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let direct = delay_ms * SECOND / 1_000;
        let mut ways = vec![(direct, 0.35)];
        for _ in 0..300 {
            let seconds: f64 = random.random_range(0.001..0.2);
            let strength = 0.08 * 10.0_f64.powf(-3.0 * seconds / 0.35) * random.random_range(-1.0..1.0);
            ways.push((direct + (seconds * SECOND as f64) as usize, strength as f32));
        }
        println!("room of seed {seed}: {delay_ms} ms, distorting: {distorts}");
        Self { ways, distorts }
    }

    /// What the microphone hears of the loudspeaker.
    fn echo(&self, far: &[f32]) -> Vec<f32> {
        let mut heard = vec![0.0; far.len()];
        let played: Vec<f32> =
            far.iter().map(|&value| if self.distorts { (3.0 * value).tanh() / 3.0 } else { value }).collect();
        for &(delay, strength) in &self.ways {
            for (sum, &value) in heard.iter_mut().skip(delay).zip(&played) {
                *sum += strength * value;
            }
        }
        heard
    }
}

fn speech(name: &str, seconds: usize) -> Vec<f32> {
    let path = format!("{}/../../assets/speech/{name}.wav", env!("CARGO_MANIFEST_DIR"));
    let speech = Speech::load(path).unwrap();
    speech.samples().iter().cycle().take(seconds * SECOND).map(|&sample| f32::from(sample) / 32_768.0).collect()
}

/// The hiss of a microphone, about -78 dB below full scale.
fn hiss(seed: u64, len: usize) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| random.random_range(-2.2e-4..2.2e-4)).collect()
}

fn add(one: &[f32], other: &[f32]) -> Vec<f32> {
    one.iter().zip(other).map(|(one, other)| one + other).collect()
}

fn samples(sound: &[f32]) -> Vec<i16> {
    sound.iter().map(|value| (value * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16).collect()
}

/// A call through the processing: `far` is played while `near` comes from the microphone; `turn` may change the
/// processing before each frame.
fn call_with(
    processor: &mut Processor,
    frame: FrameLength,
    far: &[f32],
    near: &[f32],
    mut turn: impl FnMut(usize, &mut Processor),
) -> Vec<f32> {
    let (far, mut sent) = (samples(far), samples(near));
    for (number, (played, pcm)) in
        far.chunks_exact(frame.samples()).zip(sent.chunks_exact_mut(frame.samples())).enumerate()
    {
        turn(number, processor);
        processor.render(played);
        processor.capture(pcm);
    }
    assert_eq!(processor.rebuilds(), 0, "nothing broke");
    sent.into_iter().map(|sample| f32::from(sample) / 32_768.0).collect()
}

fn call(processing: Processing, frame: FrameLength, far: &[f32], near: &[f32]) -> Vec<f32> {
    call_with(&mut Processor::new(processing, frame).unwrap(), frame, far, near, |_, _| ())
}

fn level(sound: &[f32]) -> f64 {
    let energy: f64 = sound.iter().map(|&value| f64::from(value).powi(2)).sum();
    10.0 * (energy / sound.len() as f64).max(1e-12).log10()
}

/// How much softer the echo is sent than it came in, between two seconds.
fn echo_loss(before: &[f32], after: &[f32], seconds: std::ops::Range<usize>) -> f64 {
    let range = seconds.start * SECOND..seconds.end * SECOND;
    level(&before[range.clone()]) - level(&after[range])
}

/// How many samples `after` is behind `before`, by correlation.
fn lag(before: &[f32], after: &[f32]) -> usize {
    let at = |lag: usize| before.iter().zip(&after[lag..]).map(|(a, b)| f64::from(a * b)).sum::<f64>();
    (0..2_000).max_by(|&one, &other| at(one).total_cmp(&at(other))).unwrap()
}

/// How much of `clean` is in `heard`, dB: what else is in there does not count.
fn coherent(clean: &[f32], heard: &[f32]) -> f64 {
    let product = |one: &[f32], other: &[f32]| one.iter().zip(other).map(|(a, b)| f64::from(a * b)).sum::<f64>();
    20.0 * (product(clean, heard) / product(clean, clean)).max(1e-6).log10()
}

/// The samples of some seconds.
fn between(seconds: std::ops::Range<usize>) -> std::ops::Range<usize> {
    seconds.start * SECOND..seconds.end * SECOND
}

/// The median over the frames of 20 ms in which `clean` is speech of how far `heard` is off it, dB: the signal-to-noise
/// ratio of segments, each held between -10 and 35.
fn segmental(clean: &[f32], heard: &[f32]) -> f64 {
    let mut ratios: Vec<f64> = clean
        .chunks_exact(960)
        .zip(heard.chunks_exact(960))
        .filter(|(clean, _)| level(clean) > -40.0)
        .map(|(clean, heard)| {
            let off: Vec<f32> = clean.iter().zip(heard).map(|(clean, heard)| clean - heard).collect();
            (level(clean) - level(&off)).clamp(-10.0, 35.0)
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

/// Processor time of this thread so far, as Linux counts it.
fn processor_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

#[test]
fn echo_is_cancelled_at_any_delay() {
    for (seed, delay_ms, distorts, at_least) in
        [(1, 20, false, 35.0), (2, 90, false, 35.0), (3, 250, false, 35.0), (4, 20, true, 28.0), (5, 140, true, 28.0)]
    {
        let far = speech("reader", 10);
        let echo = add(&Room::new(seed, delay_ms, distorts).echo(&far), &hiss(seed, far.len()));
        let sent = call(ECHO_ONLY, FrameLength::Ms20, &far, &echo);
        let (early, late) = (echo_loss(&echo, &sent, 2..4), echo_loss(&echo, &sent, 5..10));
        println!("  echo softer by {early:.1} dB from 2 to 4 s, by {late:.1} dB from 5 s on");
        assert!(early > 25.0, "{early:.1} dB after 2 s");
        assert!(late > at_least, "{late:.1} dB after 5 s");
    }
}

#[test]
fn frames_of_any_length_and_in_either_order() {
    let far = speech("reader", 9);
    let echo = add(&Room::new(6, 100, false).echo(&far), &hiss(6, far.len()));
    for frame in FrameLength::ALL {
        let sent = call(ECHO_ONLY, frame, &far, &echo);
        let loss = echo_loss(&echo, &sent, 4..9);
        println!("  {} ms: {loss:.1} dB", frame.millis());
        assert!(loss > 28.0, "{loss:.1} dB in frames of {} ms", frame.millis());

        // The microphone's frame first, and the loudspeaker's of the same time after it.
        let mut processor = Processor::new(ECHO_ONLY, frame).unwrap();
        let (played, mut sent) = (samples(&far), samples(&echo));
        for (played, pcm) in played.chunks_exact(frame.samples()).zip(sent.chunks_exact_mut(frame.samples())) {
            processor.capture(pcm);
            processor.render(played);
        }
        let sent: Vec<f32> = sent.into_iter().map(|sample| f32::from(sample) / 32_768.0).collect();
        let loss = echo_loss(&echo, &sent, 4..9);
        println!("  {} ms, microphone first: {loss:.1} dB", frame.millis());
        assert!(loss > 28.0, "{loss:.1} dB, microphone first, in frames of {} ms", frame.millis());
    }
}

#[test]
fn who_speaks_at_the_same_time_is_heard() {
    let far = speech("reader", 16);
    // As loud as the echo.
    let near: Vec<f32> = speech("commands", 16).iter().map(|value| 0.4 * value).collect();
    let silence = vec![0.0; far.len()];
    for (seed, delay_ms, distorts) in [(7, 40, false), (8, 120, false), (9, 80, true)] {
        let echo = add(&Room::new(seed, delay_ms, distorts).echo(&far), &hiss(seed, far.len()));
        // Alone for 4 s, so that the canceller knows the room; then both speak.
        let spoken: Vec<f32> =
            near.iter().enumerate().map(|(i, value)| if i < 4 * SECOND { 0.0 } else { *value }).collect();
        let mixed = add(&echo, &spoken);
        let alone = call(ECHO_ONLY, FrameLength::Ms20, &silence, &add(&spoken, &hiss(seed, far.len())));
        let both = call(ECHO_ONLY, FrameLength::Ms20, &far, &mixed);
        let range = between(5..16);
        let kept = coherent(&alone[range.clone()], &both[range.clone()]);
        let (before, after) = (
            segmental(&spoken[range.clone()], &mixed[range.clone()]),
            segmental(&alone[range.clone()], &both[range.clone()]),
        );
        println!("  speech {kept:+.1} dB; segments {before:.1} dB before, {after:.1} dB after");
        assert!((-4.0..1.0).contains(&kept), "the speech has {kept:+.1} dB");
        assert!(after > before + 1.0, "{before:.1} dB before, {after:.1} dB after");
    }
}

#[test]
fn a_room_that_changes_is_learnt_again() {
    let far = speech("reader", 16);
    let (one, other) = (Room::new(10, 60, false).echo(&far), Room::new(11, 110, false).echo(&far));
    let moved: Vec<f32> = one[..8 * SECOND].iter().chain(&other[8 * SECOND..]).copied().collect();
    let echo = add(&moved, &hiss(10, far.len()));
    let sent = call(ECHO_ONLY, FrameLength::Ms20, &far, &echo);
    let (before, after) = (echo_loss(&echo, &sent, 5..8), echo_loss(&echo, &sent, 12..16));
    println!("  {before:.1} dB before the change, {after:.1} dB from 4 s after it");
    assert!(before > 35.0 && after > 33.0, "{before:.1} dB, then {after:.1} dB");
}

#[test]
fn two_devices_with_two_clocks() {
    let far = speech("reader", 16);
    let echo = Room::new(12, 70, false).echo(&far);
    for parts_per_million in [-200.0, 200.0] {
        // The microphone's clock runs at another pace: its samples lie elsewhere in time.
        let drifting: Vec<f32> = (0..echo.len())
            .map(|i| {
                let place = i as f64 * (1.0 + parts_per_million * 1e-6);
                let (index, share) = (place as usize, place.fract() as f32);
                let at = |index: usize| echo.get(index).copied().unwrap_or(0.0);
                at(index) * (1.0 - share) + at(index + 1) * share
            })
            .collect();
        let drifting = add(&drifting, &hiss(12, far.len()));
        let sent = call(ECHO_ONLY, FrameLength::Ms20, &far, &drifting);
        let loss = echo_loss(&drifting, &sent, 5..15);
        println!("  {parts_per_million} ppm: {loss:.1} dB");
        assert!(loss > 25.0, "{loss:.1} dB at {parts_per_million} ppm");
    }
}

#[test]
fn switching_during_a_call_does_not_click() {
    let seed = 13;
    println!("switches of seed {seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    // A soft wave: whatever jumps in it is bent more than the wave.
    let wave: Vec<f32> = (0..21 * SECOND)
        .map(|i| 0.1 * (std::f64::consts::TAU * 300.0 * i as f64 / SECOND as f64).sin() as f32)
        .collect();
    let silence = vec![0.0; wave.len()];
    let sharpest = |sound: &[f32]| sound.windows(3).map(|of| (of[0] - 2.0 * of[1] + of[2]).abs()).fold(0.0, f32::max);
    for frame in FrameLength::ALL {
        let mut processor = Processor::new(Processing::OFF, frame).unwrap();
        let mut last = 0;
        let sent = call_with(&mut processor, frame, &silence, &wave, |number, processor| {
            if random.random_range(0..300) < frame.millis() {
                processor.set(Processing {
                    echo_cancelling: random.random(),
                    high_pass: random.random(),
                    gain_control: random.random(),
                    noise_suppression: random.random(),
                });
            }
            if number * frame.samples() > 20 * SECOND {
                processor.set(Processing::OFF);
                last = number;
            }
        });
        let (own, bent) = (sharpest(&wave), sharpest(&sent));
        println!("  {} ms: the wave bends by {own:.6}, what is sent by {bent:.6}", frame.millis());
        assert!(
            last > 0 && sent[sent.len() - SECOND / 2..] == wave_as_sent(&wave)[wave.len() - SECOND / 2..],
            "bit for bit"
        );
        assert!(bent < 12.0 * own, "a click in frames of {} ms: {bent} beside {own}", frame.millis());
    }
}

/// Through 16 bits and back.
fn wave_as_sent(wave: &[f32]) -> Vec<f32> {
    samples(wave).into_iter().map(|sample| f32::from(sample) / 32_768.0).collect()
}

#[test]
fn the_delay_is_what_is_stated_and_the_cost_is_told() {
    let far = vec![0.0; 6 * SECOND];
    let near = speech("commands", 6);
    for (name, processing) in [
        ("high-pass", Processing { high_pass: true, ..Processing::OFF }),
        ("echo cancelling", ECHO_ONLY),
        ("gain control", Processing { gain_control: true, ..Processing::OFF }),
        ("noise suppression", Processing { noise_suppression: true, ..Processing::OFF }),
        ("for a loudspeaker", Processing::LOUDSPEAKER),
        ("for headphones", Processing::HEADPHONES),
        ("everything", Processing { noise_suppression: true, ..Processing::LOUDSPEAKER }),
    ] {
        let frame = FrameLength::Ms20;
        let mut processor = Processor::new(processing, frame).unwrap();
        let begin = processor_time();
        let sent = call_with(&mut processor, frame, &far, &near, |_, _| ());
        let cost = processor_time().zip(begin).map(|(end, begin)| end.saturating_sub(begin) / 6);
        let range = between(2..3);
        let measured = Duration::from_secs(lag(&near[range.clone()], &sent[range.start..]) as u64) / SAMPLE_RATE;
        println!(
            "  {name}: {measured:?} later, level {:+.1} dB, {cost:?} of a processor a second",
            level(&sent[range.clone()]) - level(&near[range])
        );
        let stated = processor.added_delay();
        assert!(measured.abs_diff(stated) < Duration::from_micros(1_500), "{name}: {measured:?}, stated {stated:?}");
    }
}

#[test]
fn gain_control_brings_voices_to_one_level_and_leaves_silence_alone() {
    let near = speech("reader", 20);
    let silence = vec![0.0; near.len()];
    let gain = Processing { gain_control: true, ..Processing::OFF };
    let mut levels = Vec::new();
    for factor in [0.1_f32, 0.4, 1.0] {
        let voice: Vec<f32> = near.iter().map(|value| factor * value).collect();
        let sent = call(gain, FrameLength::Ms20, &silence, &voice);
        let range = between(14..20);
        println!("  {:.1} dB in, {:.1} dB out", level(&voice[range.clone()]), level(&sent[range.clone()]));
        levels.push(level(&sent[range]));
    }
    let (least, most) =
        (levels.iter().copied().fold(f64::MAX, f64::min), levels.iter().copied().fold(f64::MIN, f64::max));
    assert!(most - least < 6.0, "voices 20 dB apart come out at {levels:?}");
    let quiet = call(gain, FrameLength::Ms20, &silence, &hiss(14, near.len()));
    let lifted = level(&quiet[between(14..20)]) - level(&hiss(14, near.len()));
    println!("  hiss {lifted:+.1} dB");
    assert!(level(&quiet[between(14..20)]) < -50.0, "hiss was lifted by {lifted:.1} dB");
}

#[test]
fn noise_suppression_takes_noise_and_leaves_speech() {
    let near = speech("commands", 10);
    // A fan: more hum than hiss.
    let mut value = 0.0;
    let noise: Vec<f32> = hiss(15, near.len())
        .into_iter()
        .map(|hiss| {
            value = 0.98 * value + 30.0 * hiss;
            value
        })
        .collect();
    let silence = vec![0.0; near.len()];
    let spoken: Vec<f32> =
        near.iter().enumerate().map(|(i, value)| if i < 5 * SECOND { *value } else { 0.0 }).collect();
    let suppress = Processing { noise_suppression: true, ..Processing::OFF };
    let sent = call(suppress, FrameLength::Ms20, &silence, &add(&spoken, &noise));
    let taken = level(&noise[between(6..10)]) - level(&sent[between(6..10)]);
    // Ten milliseconds later, as stated.
    let kept = coherent(&near[between(2..4)], &sent[2 * SECOND + 480..4 * SECOND + 480]);
    println!("  noise of {:.1} dB softer by {taken:.1} dB, speech {kept:+.1} dB", level(&noise));
    assert!(taken > 20.0, "{taken:.1} dB of noise taken");
    assert!((-2.0..1.0).contains(&kept), "speech has {kept:+.1} dB");
}
