//! Two clocks that differ, in virtual time: the controller alone for ten minutes, and with real sound for some seconds.

use std::f64::consts::TAU;
use std::ops::RangeInclusive;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::bridge::{Intake, Outlet};
use super::drift::{DriftController, MOST_SPEED};
use super::stream::ring;

const RATES: [u32; 4] = [16_000, 44_100, 48_000, 96_000];
const PPM: [f64; 3] = [-200.0, 0.0, 200.0];
const FRAME: usize = 480;
const FRAMES_PER_SECOND: usize = 100;
const PEAK: f64 = 16_384.0;

/// A device whose clock runs by `ppm` too fast, and whose callbacks come in any size.
struct Device {
    rate: f64,
    moved: f64,
    next: usize,
    sizes: RangeInclusive<usize>,
    random: ChaCha8Rng,
}

impl Device {
    fn new(rate: u32, ppm: f64, sizes: RangeInclusive<usize>, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let next = random.random_range(sizes.clone());
        Self { rate: f64::from(rate) * (1.0 + ppm / 1e6), moved: 0.0, next, sizes, random }
    }

    /// The size of the next callback, if it comes before this time, s.
    fn callback(&mut self, now: f64) -> Option<usize> {
        let due = (self.moved + self.next as f64) / self.rate;
        if due > now {
            return None;
        }
        let size = self.next;
        self.moved += size as f64;
        self.next = self.random.random_range(self.sizes.clone());
        Some(size)
    }
}

/// What ten minutes showed, after the first half one.
#[derive(Debug, Default)]
struct Seen {
    gaps: u32,
    most: usize,
    sum: f64,
    /// Farthest that the speed was from the clocks' true difference, relative.
    off: f64,
    skipped: usize,
}

const MINUTES_10: usize = 600 * FRAMES_PER_SECOND;
const SETTLED: usize = 30 * FRAMES_PER_SECOND;

impl Seen {
    fn note(&mut self, frame: usize, rest: usize, skipped: usize, off: f64) {
        if frame > SETTLED {
            self.most = self.most.max(rest);
            self.sum += rest as f64;
            self.off = self.off.max(off.abs());
            self.skipped += skipped;
        }
    }

    fn check(&self, what: &str, rate: u32, largest: usize) {
        let millis = |samples: f64| samples / f64::from(rate) * 1e3;
        let mean = millis(self.sum / (MINUTES_10 - SETTLED) as f64);
        let most = millis(self.most as f64);
        println!("{what}: waits {mean:.1} ms, at most {most:.1}; speed off by {:.0} ppm; {self:?}", self.off * 1e6);
        assert_eq!((self.gaps, self.skipped), (0, 0), "{what}: {self:?}");
        assert!(most < millis(2.0 * largest as f64) + 20.0, "{what}: {most} ms");
        let regular = largest < rate as usize / 50;
        assert!(self.off < if regular { 0.000_5 } else { 2.0 * MOST_SPEED }, "{what}: pitch {self:?}");
    }
}

fn callbacks(rate: u32) -> [RangeInclusive<usize>; 3] {
    let rate = rate as usize;
    [rate / 400..=rate / 400, 1..=rate / 100, rate / 12..=rate / 12]
}

fn count(samples: f64) -> usize {
    samples as usize
}

#[test]
fn a_microphones_clock_is_followed_for_ten_minutes() {
    for (seed, rate) in (1..).zip(RATES) {
        for ppm in PPM {
            for sizes in callbacks(rate) {
                let what = format!("microphone, {rate} Hz, {ppm} ppm, callbacks {sizes:?}, seed {seed}");
                let largest = *sizes.end();
                let mut device = Device::new(rate, ppm, sizes, seed);
                let mut controller = DriftController::new(rate);
                let (mut fill, mut before, mut flowing) = (0, 0, false);
                let (mut position, mut seen) = (0.0, Seen::default());
                for frame in 1..MINUTES_10 {
                    // The call's thread wakes up to 2 ms late.
                    let late = device.random.random_range(0.0..0.002);
                    let now = frame as f64 / FRAMES_PER_SECOND as f64 + late;
                    while let Some(size) = device.callback(now) {
                        fill += size;
                    }
                    let ideal = f64::from(rate) / FRAMES_PER_SECOND as f64 * (1.0 + controller.speed());
                    let wanted = count(position + ideal) - count(position);
                    if !flowing {
                        let delivered = fill - std::mem::replace(&mut before, fill);
                        if fill < wanted + controller.aim() {
                            controller.wait(FRAME);
                            continue;
                        }
                        fill = fill.min(wanted + controller.aim() + delivered.saturating_sub(wanted));
                        flowing = true;
                    }
                    if fill < wanted {
                        controller.ran_dry();
                        (flowing, before) = (false, fill);
                        seen.gaps += u32::from(frame > SETTLED);
                        continue;
                    }
                    fill -= wanted;
                    position += ideal;
                    let surplus = controller.observe(fill, FRAME);
                    fill -= surplus;
                    seen.note(frame, fill, surplus, controller.speed() - ppm / 1e6);
                }
                seen.check(&what, rate, largest);
            }
        }
    }
}

#[test]
fn a_loudspeakers_clock_is_followed_for_ten_minutes() {
    for (seed, rate) in (11..).zip(RATES) {
        for ppm in PPM {
            for sizes in callbacks(rate) {
                let what = format!("loudspeaker, {rate} Hz, {ppm} ppm, callbacks {sizes:?}, seed {seed}");
                let largest = *sizes.end();
                let mut device = Device::new(rate, ppm, sizes, seed);
                let mut controller = DriftController::new(rate);
                let (mut fill, mut dry, mut position, mut seen) = (0, true, 0.0, Seen::default());
                for frame in 1..MINUTES_10 {
                    let late = device.random.random_range(0.0..0.002);
                    let now = frame as f64 / FRAMES_PER_SECOND as f64 + late;
                    while let Some(size) = device.callback(now) {
                        dry |= fill < size;
                        fill = fill.saturating_sub(size);
                    }
                    let mut surplus = 0;
                    if std::mem::take(&mut dry) {
                        controller.ran_dry();
                        fill = fill.max(controller.aim());
                        seen.gaps += u32::from(frame > SETTLED);
                    } else {
                        surplus = controller.observe(fill, FRAME);
                        seen.note(frame, fill, surplus, controller.speed() + ppm / 1e6);
                    }
                    let ideal = f64::from(rate) / FRAMES_PER_SECOND as f64 * (1.0 - controller.speed());
                    fill += (count(position + ideal) - count(position)).saturating_sub(surplus);
                    position += ideal;
                }
                seen.check(&what, rate, largest);
            }
        }
    }
}

#[test]
fn after_a_stall_the_delay_comes_back() {
    let mut controller = DriftController::new(48_000);
    let mut fill = 300;
    for _ in 0..300 {
        assert_eq!(controller.observe(fill, FRAME), 0);
    }
    fill += 9_600;
    let mut frames = 0;
    while fill > controller.aim() + 960 {
        fill -= controller.observe(fill, FRAME);
        frames += 1;
        assert!(frames < 300, "three seconds after 200 ms too many there are still {fill}");
    }
    assert_eq!(controller.observe(40_000, FRAME), 40_000 - controller.aim(), "at once where it is absurd");
}

#[test]
fn what_a_short_stall_left_behind_goes_in_silence() {
    let mut controller = DriftController::new(48_000);
    let aim = controller.aim();
    let watch = |controller: &mut DriftController, fill: usize| {
        for _ in 0..3 * FRAMES_PER_SECOND {
            let _at_the_beginning = controller.observe(fill, FRAME);
        }
    };
    watch(&mut controller, aim);
    assert_eq!(controller.in_silence(), 0, "nothing is too much");
    watch(&mut controller, aim + 150);
    assert_eq!(controller.in_silence(), 0, "it is not worth a seam");
    watch(&mut controller, aim + 720);
    // The aim has sunk meanwhile: nothing ran dry.
    let over = aim + 720 - controller.aim();
    let surplus = controller.in_silence();
    assert!((over - 20..=over).contains(&surplus), "{surplus} of {over}");
    assert_eq!(controller.in_silence(), 0, "once");
}

/// A loudspeaker whose ring holds 20 ms too much from the third second on, after 4 s of sound of this peak.
fn waits_after_a_stall(peak: f64) -> f64 {
    let (sink, mut source) = ring(48_000);
    let mut outlet = Outlet::new(sink, 48_000).unwrap();
    let (mut at, mut waited) = (0_u32, 0);
    for frame in 0..10 * FRAMES_PER_SECOND {
        let pcm: Vec<i16> =
            (at..).map(|at| (peak * (TAU * 997.0 * f64::from(at) / 48_000.0).sin()) as i16).take(FRAME).collect();
        at += FRAME as u32;
        outlet.give(&pcm);
        waited = source.slots();
        let stalls = (300..302).contains(&frame);
        for _ in 0..if stalls { 0 } else { FRAME } {
            let _dry = source.pop();
        }
    }
    (waited - FRAME) as f64 / 48.0
}

#[test]
fn a_stalls_delay_is_gone_soon_where_it_is_silent_and_no_sound_is_cut() {
    let (silent, loud) = (waits_after_a_stall(50.0), waits_after_a_stall(PEAK));
    println!("7 s after a stall of 20 ms there wait {silent:.1} ms in silence, {loud:.1} ms in sound");
    assert!(silent < 9.0 && loud > 12.0 && loud < 27.0, "{silent} {loud}");
}

#[test]
fn the_aim_rises_with_gaps_and_sinks_again() {
    let mut controller = DriftController::new(48_000);
    let first = controller.aim();
    for _ in 0..100 {
        controller.ran_dry();
        for _ in 0..FRAMES_PER_SECOND {
            controller.observe(0, FRAME);
        }
    }
    assert_eq!(controller.aim(), 48_000 * 80 / 1_000, "bounded");
    for _ in 0..20 * 60 * FRAMES_PER_SECOND {
        controller.observe(controller.aim(), FRAME);
    }
    assert!(controller.aim() < first, "{} of {first}", controller.aim());
}

/// How far the worst sample is from the sine around it, relative to its peak. A click or a lost sample shows.
fn worst(sound: &[i16]) -> f64 {
    let mut worst = 0.0_f64;
    for piece in sound.windows(FRAME).step_by(FRAME / 2) {
        let three = || piece.windows(3).map(|three| (f64::from(three[0]) + f64::from(three[2]), f64::from(three[1])));
        let (product, square) = three().fold((0.0, 0.0), |(product, square), (sides, middle)| {
            (product + sides * middle, square + middle * middle)
        });
        let cosine = product / square.max(1.0);
        worst = three().fold(worst, |worst, (sides, middle)| worst.max((sides - cosine * middle).abs() / PEAK));
    }
    worst
}

#[test]
fn a_lost_sample_would_be_seen() {
    let sine = |index: u32| (PEAK * (TAU * 997.0 * f64::from(index) / 48_000.0).sin()) as i16;
    let whole: Vec<i16> = (0..4_800).map(sine).collect();
    assert!(worst(&whole) < 0.000_5, "{}", worst(&whole));
    let broken: Vec<i16> = (0..4_800).filter(|index| *index != 2_400).map(sine).collect();
    assert!(worst(&broken) > 0.01, "{}", worst(&broken));
}

#[test]
fn a_sine_from_a_microphone_has_no_click() {
    for (seed, rate) in (21..).zip(RATES) {
        for ppm in [-200.0, 200.0] {
            let mut device = Device::new(rate, ppm, 1..=rate as usize / 200, seed);
            let (mut sink, source) = ring(rate);
            let mut intake = Intake::new(source, rate).unwrap();
            let (mut at, mut heard, mut gaps) = (0_u32, Vec::new(), 0);
            for frame in 1..16 * FRAMES_PER_SECOND {
                while let Some(size) = device.callback(frame as f64 / FRAMES_PER_SECOND as f64) {
                    for _ in 0..size {
                        let sample = PEAK / 32_768.0 * (TAU * 997.0 * f64::from(at) / device.rate).sin();
                        sink.push(sample as f32).unwrap();
                        at += 1;
                    }
                }
                let mut pcm = [0; FRAME];
                intake.fill(&mut pcm, false);
                if frame > 10 * FRAMES_PER_SECOND {
                    heard.extend(pcm);
                } else {
                    gaps = intake.gaps();
                }
            }
            let worst = worst(&heard);
            println!("{rate} Hz, {ppm} ppm, seed {seed}: worst sample off by {worst:.5}");
            assert!(worst < 0.001, "{rate} Hz, {ppm} ppm: {worst}");
            assert_eq!(intake.gaps(), gaps, "{rate} Hz, {ppm} ppm: gaps after the first ten seconds");
            let peak = heard.iter().copied().max().unwrap();
            assert!((f64::from(peak) / PEAK - 1.0).abs() < 0.02, "{rate} Hz: {peak}");
        }
    }
}

#[test]
fn a_sine_to_a_loudspeaker_has_no_click() {
    for (seed, rate) in (31..).zip(RATES) {
        for ppm in [-200.0, 200.0] {
            let mut device = Device::new(rate, ppm, 1..=rate as usize / 200, seed);
            let (sink, mut source) = ring(rate);
            let mut outlet = Outlet::new(sink, rate).unwrap();
            let (mut at, mut heard) = (0_u32, Vec::new());
            for frame in 1..16 * FRAMES_PER_SECOND {
                while let Some(size) = device.callback(frame as f64 / FRAMES_PER_SECOND as f64) {
                    for _ in 0..size {
                        let sample = source.pop().unwrap_or_default();
                        if frame > 10 * FRAMES_PER_SECOND {
                            heard.push((sample * 32_768.0) as i16);
                        }
                    }
                }
                let mut pcm = [0; FRAME];
                for place in &mut pcm {
                    *place = (PEAK * (TAU * 997.0 * f64::from(at) / 48_000.0).sin()) as i16;
                    at += 1;
                }
                outlet.give(&pcm);
            }
            let worst = worst(&heard);
            println!("{rate} Hz, {ppm} ppm, seed {seed}: worst sample off by {worst:.5}");
            assert!(worst < 0.001, "{rate} Hz, {ppm} ppm: {worst}, {} gaps", outlet.gaps());
        }
    }
}

#[test]
fn what_breaks_off_fades_and_never_jumps() {
    let (mut sink, source) = ring(48_000);
    let mut intake = Intake::new(source, 48_000).unwrap();
    let mut heard = Vec::new();
    for frame in 0..200 {
        for _ in 0..if frame % 40 < 30 { FRAME } else { 0 } {
            sink.push(0.5).unwrap();
        }
        let mut pcm = [0; FRAME];
        intake.fill(&mut pcm, (100..110).contains(&frame));
        heard.extend(pcm);
    }
    let jump = heard.windows(2).map(|two| two[0].abs_diff(two[1])).max().unwrap();
    assert!(heard.iter().any(|sample| *sample > 16_000) && jump < 700, "{jump}");
    assert!(heard[105 * FRAME..110 * FRAME].iter().all(|sample| *sample == 0), "muted");
    assert_eq!(heard.last(), Some(&0));
}

#[test]
fn frames_of_every_length_come_whole() {
    for millis in [10, 20, 40, 60] {
        let frame = crate::FrameLength::from_millis(millis).unwrap().samples();
        let (mut sink, source) = ring(44_100);
        let mut intake = Intake::new(source, 44_100).unwrap();
        let (out, mut back) = ring(44_100);
        let mut outlet = Outlet::new(out, 44_100).unwrap();
        let mut pcm = vec![0; frame];
        for _ in 0..100 {
            for _ in 0..frame * 441 / 480 {
                sink.push(0.25).unwrap();
                let _ = back.pop();
            }
            intake.fill(&mut pcm, false);
            outlet.give(&pcm);
        }
        assert!((pcm[0] - 8_192).abs() < 100 && intake.gaps() + outlet.gaps() <= 2, "{millis} ms: {}", pcm[0]);
    }
}
