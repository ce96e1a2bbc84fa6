use super::*;
use crate::FrameLength;

const FRAME: Duration = FrameLength::Ms20.duration();

/// What came out, without the bytes.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Got {
    Packet(u32),
    Lost(u32, u32),
    Waiting(u32),
    Filling,
}

/// A buffer and somebody who plays: decodes as much as is lacking, and stretches by any amount.
struct Listener {
    buffer: JitterBuffer,
    queued: usize,
    got: Vec<Got>,
}

impl Listener {
    fn new(settings: JitterSettings) -> Self {
        Self { buffer: JitterBuffer::new(settings), queued: 0, got: Vec::new() }
    }

    /// With a delay of 20 to 40 ms that never changes.
    fn steady() -> Self {
        let settings = JitterSettings::standard(FrameLength::Ms20);
        let delay = Duration::from_millis(20);
        Self::new(settings.with_min_delay(delay).unwrap().with_start_delay(delay).unwrap())
    }

    fn adaptive() -> Self {
        Self::new(JitterSettings::standard(FrameLength::Ms20))
    }

    fn push(&mut self, seq: u32, now: Duration) -> Pushed {
        self.buffer.push(seq, &seq.to_be_bytes(), now)
    }

    /// One frame's time; what was decoded in it is in `got`, from the number returned on.
    fn pull(&mut self, now: Duration) -> usize {
        let frame = self.buffer.settings().frame().samples();
        let begin = self.got.len();
        self.buffer.tick(now, frame);
        while self.queued < frame {
            self.decode(frame);
        }
        match self.buffer.adjustment(self.queued) {
            Adjustment::Shorten { most, .. } if self.buffer.next_is_held() || self.queued >= frame + most.min(240) => {
                self.queued -= most.min(240);
            }
            Adjustment::Lengthen { most } => self.queued += most.min(240),
            _ => {}
        }
        while self.queued < frame {
            self.decode(frame);
        }
        self.queued -= frame;
        begin
    }

    fn decode(&mut self, frame: usize) {
        let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
        let (got, samples) = match self.buffer.next(self.queued) {
            Playout::Packet { seq, packet } => {
                assert_eq!(number(packet), seq);
                (Got::Packet(seq), frame)
            }
            Playout::Lost { seq, later } => {
                assert_eq!(number(later.packet), later.seq);
                (Got::Lost(seq, later.seq), frame)
            }
            Playout::Waiting { seq } => (Got::Waiting(seq), frame),
            Playout::Filling => (Got::Filling, frame - self.queued),
        };
        self.got.push(got);
        self.queued += samples;
    }

    /// Runs a stream of one packet a frame, without `missing`, and one pull a frame half a frame later.
    fn stream(&mut self, frames: std::ops::Range<u32>, missing: &[u32]) -> Vec<Got> {
        let begin = self.got.len();
        for seq in frames {
            if !missing.contains(&seq) {
                assert_eq!(self.push(seq, at(seq)), Pushed::Kept);
            }
            self.pull(at(seq) + FRAME / 2);
        }
        self.got[begin..].to_vec()
    }

    fn packets(&self) -> Vec<u32> {
        self.got.iter().filter_map(|got| if let Got::Packet(seq) = got { Some(*seq) } else { None }).collect()
    }
}

fn at(frames: u32) -> Duration {
    FRAME * frames
}

#[test]
fn steady_traffic_is_played_whole_and_the_delay_falls_to_the_least() {
    let mut listener = Listener::adaptive();
    let got = listener.stream(0..50, &[]);
    assert_eq!(got[..2], [Got::Filling; 2]);
    assert!(listener.buffer.stats().delay >= Duration::from_millis(40));
    listener.stream(50..1_000, &[]);
    let played = listener.packets();
    assert_eq!(played, (0..u32::try_from(played.len()).unwrap()).collect::<Vec<_>>());
    let stats = listener.buffer.stats();
    println!("{stats:?}");
    assert_eq!((stats.received, stats.filling, stats.lost, stats.waited, stats.skipped), (1_000, 2, 0, 0, 0));
    assert!(stats.delay < Duration::from_millis(20), "{:?}", stats.delay);
    assert_eq!(stats.target, Duration::from_millis(5));
}

#[test]
fn a_lost_packet_is_given_up_in_its_turn_with_a_later_one_at_hand() {
    let mut listener = Listener::steady();
    let got = listener.stream(0..20, &[7, 11]);
    let expected = [
        Got::Packet(6),
        Got::Lost(7, 8),
        Got::Packet(8),
        Got::Packet(9),
        Got::Packet(10),
        Got::Lost(11, 12),
        Got::Packet(12),
    ];
    let from = got.iter().position(|got| *got == Got::Packet(6)).unwrap();
    assert_eq!(got[from..from + expected.len()], expected);
    assert_eq!(listener.buffer.stats().lost, 2);
}

/// Waiting in vain for lost packets leaves the delay as it was.
#[test]
fn a_run_of_lost_packets_is_concealed_once() {
    let mut listener = Listener::steady();
    listener.stream(0..20, &[]);
    let delay = listener.buffer.stats().delay;
    let got = listener.stream(20..40, &[21, 22, 23, 24]);
    let made_up = got.iter().filter(|got| !matches!(got, Got::Packet(_))).count();
    println!("{got:?}");
    assert_eq!(made_up, 4);
    assert_eq!(listener.buffer.stats().lost, 4);
    assert_eq!(listener.buffer.stats().delay, delay);
}

#[test]
fn reordered_and_doubled_packets_are_played_once_in_order() {
    let mut listener = Listener::steady();
    for (tick, seqs) in [[1, 0], [2, 2], [3, 1], [5, 4], [6, 5]].into_iter().enumerate() {
        let now = at(u32::try_from(tick).unwrap() * 2);
        for seq in seqs {
            let _fate = listener.push(seq, now);
        }
        listener.pull(now);
        listener.pull(now + FRAME);
    }
    listener.pull(at(10));
    assert_eq!(listener.packets(), (0..7).collect::<Vec<_>>());
    assert_eq!((listener.buffer.stats().duplicate, listener.buffer.stats().late), (3, 0));
}

#[test]
fn a_stall_is_bridged_then_heard_and_the_delay_shrinks_again() {
    let mut listener = Listener::steady();
    listener.stream(0..100, &[]);
    let before = listener.buffer.stats().delay;
    // Nothing for 5 frames, then all at once.
    (100..105).for_each(|tick| {
        listener.pull(at(tick) + FRAME / 2);
    });
    assert!(matches!(listener.got[listener.got.len() - 3..], [Got::Waiting(_), Got::Waiting(_), Got::Waiting(_)]));
    for seq in 100..105 {
        assert_eq!(listener.push(seq, at(105)), Pushed::Kept);
    }
    listener.stream(105..106, &[]);
    assert!(listener.buffer.stats().delay >= before + FRAME * 3);
    let got = listener.stream(106..200, &[]);
    assert!(got.iter().all(|got| matches!(got, Got::Packet(_))));
    assert!(listener.buffer.stats().delay <= before + Duration::from_millis(7));
    assert_eq!(listener.buffer.stats().skipped, 0);
}

#[test]
fn packets_that_always_come_late_make_the_delay_grow() {
    // Every second packet takes 80 ms more.
    let mut listener = Listener::adaptive();
    for tick in 0..600_u32 {
        for (seq, delay) in [(tick, 0), (tick.saturating_sub(4), 4)] {
            if seq % 2 == u32::from(delay == 4) && tick >= delay {
                let _fate = listener.push(seq, at(tick));
            }
        }
        listener.pull(at(tick) + FRAME / 2);
    }
    let stats = listener.buffer.stats();
    println!("{stats:?}");
    let lost_later = listener.got[100..].iter().filter(|got| matches!(got, Got::Lost(..))).count();
    assert!(lost_later < 10, "{lost_later} of 500");
    assert!((80..=84).contains(&stats.target.as_millis()), "{:?}", stats.target);
}

#[test]
fn a_long_pause_ends_in_silence_and_goes_on_in_time() {
    let mut listener = Listener::steady();
    listener.stream(0..50, &[]);
    let begin = listener.got.len();
    (50..70).for_each(|tick| {
        listener.pull(at(tick) + FRAME / 2);
    });
    let waited = listener.got[begin..].iter().filter(|got| matches!(got, Got::Waiting(50))).count();
    assert_eq!(waited, 9); // 180 ms
    assert_eq!(listener.got.last(), Some(&Got::Filling));
    let before = listener.buffer.stats().delay;
    let got = listener.stream(70..80, &[]);
    assert_eq!(got[..2], [Got::Filling, Got::Packet(70)]);
    assert_eq!(listener.buffer.stats().delay, before);
    assert_eq!(listener.buffer.stats().skipped, 20);
    assert_eq!(listener.push(60, at(80)), Pushed::Late);
}

#[test]
fn a_gap_in_the_numbers_that_took_no_time_is_passed_over() {
    let mut listener = Listener::steady();
    listener.stream(0..50, &[]);
    let delay = listener.buffer.stats().delay;
    for tick in 50..100 {
        assert_eq!(listener.push(tick + 10, at(tick)), Pushed::Kept);
        listener.pull(at(tick) + FRAME / 2);
    }
    assert!(listener.got[2..].iter().all(|got| matches!(got, Got::Packet(_))), "{:?}", listener.got);
    assert_eq!((listener.buffer.stats().skipped, listener.buffer.stats().delay), (10, delay));
}

#[test]
fn a_gap_in_the_numbers_longer_than_the_buffer_leaves_nothing_to_conceal() {
    let mut listener = Listener::steady();
    listener.stream(0..50, &[]);
    for tick in 50..100 {
        assert_eq!(listener.push(tick + 100, at(tick)), Pushed::Kept);
        listener.pull(at(tick) + FRAME / 2);
    }
    assert!(listener.got[2..].iter().all(|got| matches!(got, Got::Packet(_))), "{:?}", listener.got);
}

#[test]
fn when_nobody_pulls_the_newest_sound_is_kept() {
    let mut listener = Listener::steady();
    listener.stream(0..10, &[]);
    for seq in 10..200 {
        assert_eq!(listener.push(seq, at(seq)), Pushed::Kept);
        assert!(listener.buffer.stats().depth <= 20);
    }
    let begin = listener.pull(at(200));
    let Got::Packet(next) = listener.got[begin] else { panic!("there is plenty") };
    assert!(next > 175, "{next}");
}

#[test]
fn one_packet_far_ahead_is_not_believed_two_are() {
    let mut listener = Listener::steady();
    listener.stream(0..10, &[]);
    assert_eq!(listener.push(900_000, at(10)), Pushed::FarAhead);
    let got = listener.stream(10..20, &[]);
    assert!(got.iter().all(|got| matches!(got, Got::Packet(_))));
    assert_eq!(listener.push(900_000, at(20)), Pushed::FarAhead);
    assert_eq!(listener.push(900_000, at(20)), Pushed::FarAhead);
    assert_eq!(listener.push(900_001, at(20)), Pushed::Kept);
    (20..24).for_each(|tick| {
        listener.pull(at(tick));
    });
    assert!(listener.got.contains(&Got::Packet(900_001)));
    assert_eq!(listener.buffer.stats().refused, 3);
}

#[test]
fn the_last_number_of_all_is_played() {
    let mut listener = Listener::steady();
    for seq in u32::MAX - 4..=u32::MAX {
        assert_eq!(listener.push(seq, at(seq - (u32::MAX - 4))), Pushed::Kept);
    }
    (4..12).for_each(|tick| {
        listener.pull(at(tick));
    });
    assert_eq!(listener.packets(), (u32::MAX - 4..=u32::MAX).collect::<Vec<_>>());
    assert_eq!(listener.push(u32::MAX, at(12)), Pushed::Duplicate);
}

#[test]
fn packets_of_impossible_length_are_refused() {
    let mut buffer = JitterBuffer::new(JitterSettings::standard(FrameLength::Ms20));
    assert_eq!(buffer.push(0, &[], at(0)), Pushed::BadLength);
    assert_eq!(buffer.push(0, &[0; MAX_JITTER_PACKET_LEN + 1], at(0)), Pushed::BadLength);
    assert_eq!(buffer.push(0, &[0; MAX_JITTER_PACKET_LEN], at(0)), Pushed::Kept);
    assert_eq!(buffer.stats().refused, 2);
}

#[test]
fn times_at_both_ends_of_a_duration_are_borne() {
    for now in [Duration::ZERO, Duration::MAX] {
        let mut listener = Listener::adaptive();
        for seq in [0, 5, u32::MAX, u32::MAX - 1, 7] {
            let _fate = listener.push(seq, now);
            listener.pull(now);
            listener.pull(Duration::ZERO);
        }
    }
}

mod properties {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    const SEED: u64 = 0x71_77e2;

    fn config() -> ProptestConfig {
        println!("seed {SEED:#x}");
        ProptestConfig { failure_persistence: None, rng_seed: RngSeed::Fixed(SEED), ..ProptestConfig::default() }
    }

    /// What happens in one frame's time.
    #[derive(Debug, Clone)]
    enum Step {
        /// Packets of these numbers, counted from the sender's present one, come; the sender goes on by one.
        Arrive(Vec<i8>),
        /// A packet of any number comes.
        Any(u32),
        /// The sender jumps ahead.
        Jump(u32),
        /// Nobody pulls in this frame's time.
        NoPull,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            20 => prop::collection::vec(-30_i8..3, 0..4).prop_map(Step::Arrive),
            20 => Just(Step::Arrive(vec![0])),
            1 => any::<u32>().prop_map(Step::Any),
            1 => (0_u32..3_000).prop_map(Step::Jump),
            2 => Just(Step::NoPull),
        ]
    }

    fn settings() -> impl Strategy<Value = JitterSettings> {
        (0..FrameLength::ALL.len(), 0_u32..6, 0_u32..3, 3_u32..20).prop_map(|(frame, least, start, above)| {
            let frame = FrameLength::ALL[frame];
            let time = |frames| frame.duration() * frames;
            JitterSettings::new(frame, time(least + start), time(least), time(least + start + above)).unwrap()
        })
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn in_order_once_bounded_and_the_sum_is_right(
            settings in settings(),
            steps in prop::collection::vec(step(), 1..600),
            reach in 0_u32..9,
        ) {
            let frame = settings.frame();
            let mut listener = Listener::new(settings);
            listener.buffer.reach(reach);
            let (mut sender, mut last, mut waited) = (100_u32, None::<u32>, 0);
            let (mut kept, mut lowest) = (std::collections::BTreeSet::new(), u32::MAX);
            for (tick, step) in (0_u32..).zip(steps) {
                let now = frame.duration() * tick;
                let seqs = match &step {
                    Step::Arrive(offsets) => {
                        sender = sender.saturating_add(1);
                        offsets.iter().map(|offset| sender.saturating_add_signed(i32::from(*offset))).collect()
                    }
                    Step::Any(seq) => vec![*seq],
                    Step::Jump(ahead) => {
                        sender = sender.saturating_add(*ahead);
                        Vec::new()
                    }
                    Step::NoPull => continue,
                };
                for seq in seqs {
                    if listener.push(seq, now) == Pushed::Kept {
                        lowest = lowest.min(seq);
                        prop_assert!(kept.insert(seq), "{} was kept twice", seq);
                    }
                }
                prop_assert!(listener.buffer.stats().depth <= settings.max_frames());
                let begin = listener.pull(now);
                for got in &listener.got[begin..] {
                    if let Got::Packet(seq) | Got::Lost(seq, _) = *got {
                        prop_assert!(last.is_none_or(|last| last < seq), "{} after {:?}", seq, last);
                        last = Some(seq);
                    }
                    match *got {
                        Got::Packet(seq) => prop_assert!(kept.contains(&seq)),
                        Got::Lost(seq, later) => {
                            prop_assert!(!kept.contains(&seq));
                            prop_assert!(later > seq && kept.contains(&later));
                        }
                        Got::Waiting(_) | Got::Filling => {}
                    }
                    waited = if matches!(got, Got::Waiting(_)) { waited + 1 } else { 0 };
                    prop_assert!(waited <= frame.frames_in(PATIENCE));
                }
                prop_assert!(listener.got.len() - begin <= 3);
                listener.got.clear();
                let stats = listener.buffer.stats();
                prop_assert!(stats.target + frame.duration() * 2 >= settings.min_delay().min(settings.max_delay()));
                prop_assert!(stats.target <= settings.max_delay());
                prop_assert_eq!(stats.received, kept.len() as u64 + stats.late + stats.duplicate + stats.refused);
            }
            let stats = listener.buffer.stats();
            prop_assert_eq!(
                listener.buffer.head.saturating_sub(u64::from(lowest)),
                stats.played + stats.lost + stats.skipped
            );
        }

        /// Any jitter below the least delay costs nothing at all.
        #[test]
        fn jitter_below_the_least_delay_loses_nothing(delays in prop::collection::vec(0_u64..20_000, 10..400)) {
            let mut listener = Listener::steady();
            let mut arrivals: Vec<_> = (0..).zip(&delays).map(|(seq, delay)| {
                (at(seq) + Duration::from_micros(*delay), seq)
            }).collect();
            arrivals.sort();
            // Nobody knows the quickest way before a packet took it.
            arrivals.insert(0, (Duration::ZERO, 0));
            let mut arrivals = arrivals.into_iter().peekable();
            for tick in 0..u32::try_from(delays.len()).unwrap() {
                let now = at(tick) + FRAME / 2;
                while let Some((time, seq)) = arrivals.next_if(|(time, _)| *time <= now) {
                    let _fate = listener.push(seq, time);
                }
                listener.pull(now);
            }
            let played = listener.packets();
            prop_assert_eq!(&played, &(0..u32::try_from(played.len()).unwrap()).collect::<Vec<_>>());
            let others = listener.got.iter().skip_while(|got| **got == Got::Filling);
            prop_assert!(others.clone().all(|got| matches!(got, Got::Packet(_))), "{:?}", listener.got);
        }
    }
}
