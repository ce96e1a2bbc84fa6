use super::*;
use crate::FrameLength;

const FRAME: Duration = FrameLength::Ms20.duration();

fn buffer() -> JitterBuffer {
    JitterBuffer::new(JitterSettings::standard(FrameLength::Ms20))
}

fn at(frames: u32) -> Duration {
    FRAME * frames
}

/// What a pull gave, without the bytes; checks that the bytes belong to the number.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Got {
    Packet(u32),
    Lost(u32, Option<u32>),
    Waiting(u32),
    Filling,
}

fn push(buffer: &mut JitterBuffer, seq: u32, now: Duration) -> Pushed {
    buffer.push(seq, &seq.to_be_bytes(), now)
}

fn pull(buffer: &mut JitterBuffer, now: Duration) -> Got {
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
    match buffer.pull(now) {
        Playout::Packet { seq, packet } => {
            assert_eq!(number(packet), seq);
            Got::Packet(seq)
        }
        Playout::Lost { seq, next } => Got::Lost(seq, next.map(number)),
        Playout::Waiting { seq } => Got::Waiting(seq),
        Playout::Filling => Got::Filling,
    }
}

/// Runs a stream of one packet a frame, without `missing`, and one pull a frame half a frame later.
fn stream(buffer: &mut JitterBuffer, frames: std::ops::Range<u32>, missing: &[u32]) -> Vec<Got> {
    frames
        .map(|seq| {
            if !missing.contains(&seq) {
                assert_eq!(push(buffer, seq, at(seq)), Pushed::Kept);
            }
            pull(buffer, at(seq) + FRAME / 2)
        })
        .collect()
}

#[test]
fn steady_traffic_is_played_whole_after_the_start_delay() {
    let mut buffer = buffer();
    let got = stream(&mut buffer, 0..1_000, &[]);
    assert_eq!(got[..2], [Got::Filling; 2]);
    for (played, got) in (0..).zip(&got[2..]) {
        assert_eq!(*got, Got::Packet(played));
    }
    let stats = buffer.stats();
    assert_eq!((stats.received, stats.played, stats.filling, stats.depth), (1_000, 998, 2, 2));
    assert_eq!((stats.lost, stats.waited, stats.late, stats.skipped), (0, 0, 0, 0));
}

#[test]
fn a_lost_packet_is_given_up_in_its_turn_with_the_next_at_hand() {
    let mut buffer = buffer();
    let got = stream(&mut buffer, 0..20, &[7, 11, 12]);
    assert_eq!(
        got[8..],
        [
            Got::Packet(6),
            Got::Lost(7, Some(8)),
            Got::Packet(8),
            Got::Packet(9),
            Got::Packet(10),
            Got::Lost(11, None),
            Got::Lost(12, Some(13)),
            Got::Packet(13),
            Got::Packet(14),
            Got::Packet(15),
            Got::Packet(16),
            Got::Packet(17),
        ]
    );
    assert_eq!(buffer.stats().lost, 3);
}

#[test]
fn reordered_and_doubled_packets_are_played_once_in_order() {
    let mut buffer = buffer();
    let mut got = Vec::new();
    for (tick, seqs) in [[1, 0], [2, 2], [3, 1], [5, 4], [6, 5]].into_iter().enumerate() {
        let now = at(u32::try_from(tick).unwrap() * 2);
        for seq in seqs {
            let _ = push(&mut buffer, seq, now);
        }
        got.push(pull(&mut buffer, now));
        got.push(pull(&mut buffer, now + FRAME));
    }
    let played: Vec<_> = got.into_iter().filter(|got| matches!(got, Got::Packet(_))).collect();
    assert_eq!(played, (0..7).map(Got::Packet).collect::<Vec<_>>());
    assert_eq!((buffer.stats().duplicate, buffer.stats().late), (3, 0));
}

#[test]
fn a_stall_is_bridged_then_heard_and_the_delay_shrinks_again() {
    let mut buffer = buffer();
    stream(&mut buffer, 0..100, &[]);
    // Nothing for 5 frames, then all at once.
    let got: Vec<_> = (100..105).map(|tick| pull(&mut buffer, at(tick) + FRAME / 2)).collect();
    assert_eq!(got, [Got::Packet(98), Got::Packet(99), Got::Waiting(100), Got::Waiting(100), Got::Waiting(100)]);
    for seq in 100..105 {
        assert_eq!(push(&mut buffer, seq, at(105)), Pushed::Kept);
    }
    let got = stream(&mut buffer, 105..165, &[]);
    assert_eq!(got[..60], (100..160).map(Got::Packet).collect::<Vec<_>>());
    assert_eq!(buffer.stats().target, 5);
    // Three whiles of 1.5 s, and what it takes to see the first.
    let got = stream(&mut buffer, 165..105 + 4 * 76, &[]);
    assert!(got.iter().all(|got| matches!(got, Got::Packet(_))));
    let stats = buffer.stats();
    assert_eq!((stats.target, stats.depth, stats.skipped), (2, 2, 3));
}

#[test]
fn packets_that_always_come_late_make_the_delay_grow() {
    // Every second packet takes 80 ms more: twice the start delay.
    let mut buffer = buffer();
    let mut heard = Vec::new();
    for tick in 0..600_u32 {
        for (seq, delay) in [(tick, 0), (tick.saturating_sub(4), 4)] {
            if seq % 2 == u32::from(delay == 4) && tick >= delay {
                let _ = push(&mut buffer, seq, at(tick));
            }
        }
        heard.push(pull(&mut buffer, at(tick) + FRAME / 2));
    }
    let late_after_a_while = heard[100..].iter().filter(|got| matches!(got, Got::Lost(..))).count();
    let stats = buffer.stats();
    println!("{stats:?}, lost after 2 s: {late_after_a_while}");
    assert!(late_after_a_while < 10, "{late_after_a_while} of 500");
}

#[test]
fn a_long_pause_ends_in_silence_and_starts_afresh() {
    let mut buffer = buffer();
    stream(&mut buffer, 0..50, &[]);
    let got: Vec<_> = (50..70).map(|tick| pull(&mut buffer, at(tick) + FRAME / 2)).collect();
    assert_eq!(got.iter().filter(|got| matches!(got, Got::Waiting(50))).count(), 6); // 120 ms
    assert_eq!(*got.last().unwrap(), Got::Filling);
    let got = stream(&mut buffer, 70..80, &[]);
    assert_eq!(got[..3], [Got::Filling, Got::Filling, Got::Packet(70)]);
    assert_eq!(buffer.stats().skipped, 20);
    assert_eq!(push(&mut buffer, 60, at(80)), Pushed::Late);
}

#[test]
fn when_nobody_pulls_the_newest_sound_is_kept() {
    let mut buffer = buffer();
    stream(&mut buffer, 0..10, &[]);
    for seq in 10..200 {
        assert_eq!(push(&mut buffer, seq, at(seq)), Pushed::Kept);
        assert!(buffer.stats().depth <= 20);
    }
    let Got::Packet(next) = pull(&mut buffer, at(200)) else { panic!("there is plenty") };
    assert!(next > 175, "{next}");
}

#[test]
fn one_packet_far_ahead_is_not_believed_two_are() {
    let mut buffer = buffer();
    stream(&mut buffer, 0..10, &[]);
    assert_eq!(push(&mut buffer, 900_000, at(10)), Pushed::FarAhead);
    let got = stream(&mut buffer, 10..20, &[]);
    assert_eq!(got, (8..18).map(Got::Packet).collect::<Vec<_>>());
    assert_eq!(push(&mut buffer, 900_000, at(20)), Pushed::FarAhead);
    assert_eq!(push(&mut buffer, 900_000, at(20)), Pushed::FarAhead);
    assert_eq!(push(&mut buffer, 900_001, at(20)), Pushed::Kept);
    assert_eq!(pull(&mut buffer, at(20)), Got::Lost(900_000, Some(900_001)));
}

/// Two sound cards whose clocks differ by 200 ppm are six frames apart after 10 minutes.
#[test]
fn clocks_that_drift_apart_cost_one_frame_each_time_and_no_more() {
    for (pull_micros, waited, skipped) in [(19_996, 3..=6, 0..=0), (20_004, 0..=0, 4..=6)] {
        let mut buffer = buffer();
        let (mut sent, mut lost) = (0, 0);
        for pulls in 0..30_000_u64 {
            let now = Duration::from_micros(pulls * pull_micros);
            while at(sent) <= now {
                assert_eq!(push(&mut buffer, sent, at(sent)), Pushed::Kept);
                sent += 1;
            }
            lost += u64::from(matches!(pull(&mut buffer, now), Got::Lost(..)));
            assert!(buffer.stats().depth <= 5);
        }
        let stats = buffer.stats();
        println!("{pull_micros} us: {stats:?}");
        assert_eq!((lost, stats.late), (0, 0));
        assert!(waited.contains(&stats.waited) && skipped.contains(&stats.skipped));
    }
}

#[test]
fn the_last_number_of_all_is_played() {
    let mut buffer = buffer();
    for seq in u32::MAX - 4..=u32::MAX {
        assert_eq!(push(&mut buffer, seq, at(0)), Pushed::Kept);
    }
    for seq in u32::MAX - 4..=u32::MAX {
        assert_eq!(pull(&mut buffer, at(3)), Got::Packet(seq));
    }
    assert_eq!(push(&mut buffer, u32::MAX, at(4)), Pushed::Duplicate);
}

#[test]
fn packets_of_impossible_length_are_refused() {
    let mut buffer = buffer();
    assert_eq!(buffer.push(0, &[], at(0)), Pushed::BadLength);
    assert_eq!(buffer.push(0, &[0; MAX_JITTER_PACKET_LEN + 1], at(0)), Pushed::BadLength);
    assert_eq!(buffer.push(0, &[0; MAX_JITTER_PACKET_LEN], at(0)), Pushed::Kept);
    assert_eq!(buffer.stats().refused, 2);
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
        /// The sender jumps ahead.
        Jump(u32),
        /// Nobody pulls in this frame's time.
        NoPull,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            20 => prop::collection::vec(-30_i8..3, 0..4).prop_map(Step::Arrive),
            20 => Just(Step::Arrive(vec![0])),
            1 => (0_u32..3_000).prop_map(Step::Jump),
            2 => Just(Step::NoPull),
        ]
    }

    fn settings() -> impl Strategy<Value = JitterSettings> {
        (0..FrameLength::ALL.len(), 1_u32..6, 2_u32..20, 1_u32..10, 10_u32..100).prop_map(
            |(frame, start, above, patience, calm)| {
                let frame = FrameLength::ALL[frame];
                let time = |frames| frame.duration() * frames;
                JitterSettings::new(frame, time(start), time(start + above), time(patience), time(calm)).unwrap()
            },
        )
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn in_order_once_bounded_and_the_sum_is_right(
            settings in settings(),
            steps in prop::collection::vec(step(), 1..600),
        ) {
            let frame = settings.frame().duration();
            let mut buffer = JitterBuffer::new(settings);
            let (mut sender, mut pulls) = (100_u32, 0_u64);
            let (mut last, mut waited) = (None::<u32>, (0, 0));
            let (mut kept, mut lowest) = (std::collections::BTreeSet::new(), u32::MAX);
            for (tick, step) in (0_u32..).zip(steps) {
                let now = frame * tick;
                match &step {
                    Step::Arrive(offsets) => {
                        for offset in offsets {
                            let seq = sender.saturating_add_signed(i32::from(*offset));
                            if push(&mut buffer, seq, now) == Pushed::Kept {
                                lowest = lowest.min(seq);
                                prop_assert!(kept.insert(seq), "{} was kept twice", seq);
                            }
                        }
                        sender += 1;
                    }
                    Step::Jump(ahead) => sender += ahead,
                    Step::NoPull => continue,
                }
                prop_assert!(buffer.stats().depth <= settings.max_frames());
                pulls += 1;
                let got = pull(&mut buffer, now);
                if let Got::Packet(seq) | Got::Lost(seq, _) = got {
                    prop_assert!(last.is_none_or(|last| last < seq), "{} after {:?}", seq, last);
                    last = Some(seq);
                }
                match got {
                    Got::Packet(seq) => prop_assert!(kept.contains(&seq)),
                    Got::Lost(seq, next) => {
                        prop_assert!(!kept.contains(&seq));
                        prop_assert!(next.is_none_or(|next| next == seq + 1 && kept.contains(&next)));
                    }
                    Got::Waiting(_) | Got::Filling => {}
                }
                if let Got::Waiting(seq) = got {
                    waited = if waited.0 == seq { (seq, waited.1 + 1) } else { (seq, 1) };
                    prop_assert!(waited.1 <= settings.patience_frames());
                }
                let stats = buffer.stats();
                prop_assert!(stats.target >= settings.start_frames() && stats.target < settings.max_frames());
                prop_assert_eq!(stats.played + stats.lost + stats.waited + stats.filling, pulls);
                prop_assert_eq!(stats.received, kept.len() as u64 + stats.late + stats.duplicate + stats.refused);
            }
            let stats = buffer.stats();
            prop_assert_eq!(buffer.head.saturating_sub(u64::from(lowest)), stats.played + stats.lost + stats.skipped);
        }

        /// Any jitter below the start delay costs nothing at all.
        #[test]
        fn jitter_below_the_start_delay_loses_nothing(delays in prop::collection::vec(0_u64..20_000, 10..400)) {
            let settings = JitterSettings::standard(FrameLength::Ms20);
            let mut buffer = JitterBuffer::new(settings);
            let mut arrivals: Vec<_> = (0..).zip(&delays).map(|(seq, delay)| {
                (at(seq) + Duration::from_micros(*delay), seq)
            }).collect();
            arrivals.sort();
            let mut arrivals = arrivals.into_iter().peekable();
            let mut played = 0;
            for tick in 0..u32::try_from(delays.len()).unwrap() {
                let now = at(tick) + FRAME / 2;
                while let Some((time, seq)) = arrivals.next_if(|(time, _)| *time <= now) {
                    prop_assert_eq!(push(&mut buffer, seq, time), Pushed::Kept);
                }
                match pull(&mut buffer, now) {
                    Got::Packet(seq) => {
                        prop_assert_eq!(seq, played);
                        played += 1;
                    }
                    got => prop_assert!(got == Got::Filling && played == 0, "{:?} at {}", got, tick),
                }
            }
        }
    }
}
