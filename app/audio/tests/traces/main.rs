//! The playout over bad networks, in virtual time: how long sound is held back, and how much of it has to be made up.
//!
//! Every trace is made from a seed. The tests here are bounds; the table that compares is in [`table`].

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "delays of minutes in floating point"
)]

mod fixed;
mod judge;
mod mumble;
mod ours;
mod sent;
mod table;
mod trace;

use std::time::Duration;

use vernam_audio::{CodecSettings, Decision, FrameLength};

use self::ours::Ours;
use self::trace::Trace;

const FRAME: FrameLength = FrameLength::Ms20;
const MINUTE: Duration = Duration::from_mins(1);
/// No trace's verdict depends on its first seconds: the start delay is forgotten by then.
const LEARNED: f64 = 10.0;
const END: f64 = f64::INFINITY;

/// When in a frame's time these tests pull, microseconds: not when packets are sent. The table has all phases.
const PHASE: u64 = 7_300;

fn ours(trace: &Trace) -> Ours {
    in_parts(trace, 1)
}

fn in_parts(trace: &Trace, parts: usize) -> Ours {
    let ours = ours::play(trace, parts, PHASE);
    print(&ours);
    ours.check_replay(trace);
    ours
}

fn print(Ours { verdict, stats, longest, .. }: &Ours) {
    let [p50, p95] = [50, 95].map(|percent| verdict.delay(percent, LEARNED, END));
    println!(
        "delay {p50:.1} ms, {p95:.1} ms; made up {:.2} %, copies {:.2} %, unheard {:.2} %; {stats:?}, longest {longest:?}",
        verdict.made_up(),
        verdict.copies(),
        verdict.unheard(),
    );
}

#[test]
fn a_steady_network_costs_little_delay_and_no_concealment() {
    for (frame, most) in
        [(FRAME, 30.0), (FrameLength::Ms10, 20.0), (FrameLength::Ms40, 50.0), (FrameLength::Ms60, 70.0)]
    {
        let ours = ours(&Trace::steady(frame, MINUTE, 1));
        assert!(ours.verdict.made_up() + ours.verdict.unheard() <= 0.0);
        assert!(ours.verdict.delay(95, LEARNED, END) < most);
    }
}

#[test]
fn smaller_pulls_make_less_delay_of_long_frames() {
    let trace = Trace::steady(FrameLength::Ms60, MINUTE, 1);
    let ours = in_parts(&trace, 6);
    assert!(ours.verdict.made_up() <= 0.0);
    assert!(ours.verdict.delay(95, LEARNED, END) < 25.0, "{}", ours.verdict.delay(95, LEARNED, END));
}

#[test]
fn under_30_ms_of_jitter_60_ms_are_enough() {
    let ours = ours(&Trace::jittery(FRAME, MINUTE, 7));
    assert!(ours.verdict.delay(95, LEARNED, END) <= 60.0);
    assert!(ours.verdict.made_up() < 0.5, "{}", ours.verdict.made_up());
}

#[test]
fn wifi_bursts_are_ridden_out() {
    let ours = ours(&Trace::wifi(FRAME, MINUTE * 2, 2));
    assert!(ours.verdict.made_up() < 2.0, "{}", ours.verdict.made_up());
    assert!(ours.verdict.delay(95, LEARNED, END) < 130.0);
}

#[test]
fn after_a_spike_the_delay_is_back_within_five_seconds() {
    for frame in FrameLength::ALL {
        let ours = ours(&Trace::spikes(frame, MINUTE, 3));
        // Spikes at 10 s, 30 s, 50 s.
        for spike in [10.0, 30.0, 50.0] {
            let [before, during, after] = [(spike - 2.0, spike), (spike, spike + 1.0), (spike + 5.0, spike + 9.0)]
                .map(|(from, until)| ours.verdict.delay(100, from, until));
            println!(
                "{frame:?}, spike at {spike} s: {before:.1} ms before, {during:.1} ms in it, {after:.1} ms from 5 s on"
            );
            assert!(during > 200.0, "the spike is seen");
            assert!(after < before + 10.0, "{after}");
        }
        assert!(ours.verdict.unheard() < 0.1, "what was late is heard: {}", ours.verdict.unheard());
    }
}

#[test]
fn after_a_stall_of_two_seconds_the_call_goes_on_where_it_is() {
    let ours = ours(&Trace::long_stalls(FRAME, MINUTE, 4));
    assert!(ours.longest <= Duration::from_millis(460), "{:?}", ours.longest);
    let after = ours.verdict.delay(100, 22.0, 44.0);
    assert!(after < 35.0, "{after}");
    // 2 s of 60 twice, of which the fade is concealment and the rest silence.
    assert!(ours.verdict.made_up() < 7.0);
}

#[test]
fn lost_packets_are_recovered_from_the_ones_after_them() {
    let ours = ours(&Trace::lossy(FRAME, MINUTE, 5));
    // At 20 % every fifth loss has no packet after it, and Opus copies only speech.
    assert!(ours.verdict.copies() > 9.0, "{}", ours.verdict.copies());
    assert!(ours.verdict.made_up() + ours.verdict.copies() < 21.0);
    // One frame more than the jitter asks for.
    assert!(ours.verdict.delay(95, LEARNED, END) < 75.0);
    assert!(ours.verdict.unheard() < 0.1);
}

/// Every burst is longer than Opus' own copies reach. What revives it is in the log, and so in the replay.
#[test]
fn losses_in_bursts_are_revived() {
    let (standard, hard) = (CodecSettings::standard(), CodecSettings::hard_network());
    for parts in [1, 2] {
        let [without, with] = [standard, hard].map(|codec| in_parts(&Trace::bursts(codec, MINUTE, 10), parts));
        let revived = |ours: &Ours| {
            let decisions = ours.decisions().iter();
            decisions.filter(|decision| matches!(decision, Decision::Revived { .. })).count()
        };
        assert_eq!(revived(&without), 0);
        assert_eq!(revived(&with) as u64, with.stats.revived);
        assert!(with.stats.revived > 100, "{}", with.stats.revived);
        assert!(with.stats.recovered > 20, "the last of a burst is recovered: {}", with.stats.recovered);
        let [without, with] = [without, with].map(|ours| ours.verdict.made_up());
        assert!(with < without * 0.4, "{with} % instead of {without} %");
    }
}

#[test]
fn reordered_packets_are_heard() {
    let ours = ours(&Trace::reordering(FRAME, MINUTE, 6));
    assert!(ours.verdict.unheard() < 1.0, "{}", ours.verdict.unheard());
    assert!(ours.verdict.delay(95, LEARNED, END) < 80.0);
}

#[test]
fn a_phone_on_the_move_is_followed() {
    let ours = ours(&Trace::mobile(FRAME, MINUTE * 2, 8));
    assert!(ours.verdict.made_up() < 3.0, "{}", ours.verdict.made_up());
    assert!(ours.verdict.unheard() < 1.0, "{}", ours.verdict.unheard());
}

fn drift(ppm: i64) -> Ours {
    let ours = ours::play(&Trace::drifting(FRAME, MINUTE * 10, 9, ppm), 1, PHASE);
    print(&ours);
    assert!(ours.verdict.made_up() <= 0.0, "{}", ours.verdict.made_up());
    assert!(ours.verdict.unheard() <= 0.0);
    let [first, last] = [(60.0, 180.0), (480.0, 600.0)].map(|(from, until)| ours.verdict.delay(95, from, until));
    println!("{first:.1} ms in the second and third minute, {last:.1} ms in the last two");
    assert!(first < 35.0 && last < 35.0);
    ours
}

/// 120 ms apart after ten minutes; the start delay is up to 40 ms too long.
const APART: std::ops::Range<u64> = 3_840..9_600;

#[test]
fn a_slow_sender_makes_no_delay_and_no_gap_for_ten_minutes() {
    let stretched = drift(200).stats.lengthened;
    assert!(APART.contains(&stretched), "{stretched} samples");
}

#[test]
fn a_fast_sender_makes_no_delay_and_no_gap_for_ten_minutes() {
    let stretched = drift(-200).stats.shortened;
    assert!(APART.contains(&stretched), "{stretched} samples");
}
