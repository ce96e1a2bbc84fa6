//! The table of this crate's README: four rules over the same networks, and what a pull of ours costs.
//!
//! `cargo test -p vernam-audio --test traces -- table::fresh --ignored --nocapture` prints it. Each cell is over several
//! seeds and over all phases of the pulls against the packets. The seeds of `fresh` are not for tuning: whoever changes
//! the rules looks at `tuning` instead, and at `fresh` once at the end.

use std::time::{Duration, Instant};

use vernam_audio::{CodecSettings, JitterSettings, PlayoutDecoder};

use crate::judge::Verdict;
use crate::sent::sent;
use crate::trace::Trace;
use crate::{END, FRAME, LEARNED, MINUTE, fixed, mumble, ours};

/// The tests' own seeds are 1 to 10.
const TUNING: [u64; 2] = [2, 8];
const FRESH: [u64; 3] = [20_011, 20_021, 20_023];
/// When the first pull happens, microseconds.
const PHASES: [u64; 8] = [0, 2_500, 5_000, 7_500, 10_000, 12_500, 15_000, 17_500];

/// A network of one seed.
type Network = fn(u64) -> Trace;

const NETWORKS: [Network; 12] = [
    |seed| Trace::steady(FRAME, MINUTE, seed),
    |seed| Trace::jittery(FRAME, MINUTE, seed),
    |seed| Trace::wifi(FRAME, MINUTE, seed),
    |seed| Trace::spikes(FRAME, MINUTE, seed),
    |seed| Trace::long_stalls(FRAME, MINUTE, seed),
    |seed| Trace::lossy(FRAME, MINUTE, seed),
    |seed| Trace::bursts(CodecSettings::standard(), MINUTE, seed),
    |seed| Trace::bursts(CodecSettings::hard_network(), MINUTE, seed),
    |seed| Trace::reordering(FRAME, MINUTE, seed),
    |seed| Trace::mobile(FRAME, MINUTE * 2, seed),
    |seed| Trace::drifting(FRAME, MINUTE * 5, seed, 200),
    |seed| Trace::drifting(FRAME, MINUTE * 5, seed, -200),
];

struct Rule {
    name: &'static str,
    /// From one pull to the next, microseconds.
    step: u64,
    play: fn(&Trace, u64) -> Verdict,
}

const RULES: [Rule; 5] = [
    Rule { name: "ours", step: 20_000, play: |trace, phase| ours::play(trace, 1, phase).verdict },
    Rule { name: "ours, pulls of 10 ms", step: 10_000, play: |trace, phase| ours::play(trace, 2, phase).verdict },
    Rule { name: "fixed 60 ms", step: 20_000, play: |trace, phase| fixed::play(trace, 60, phase) },
    Rule { name: "fixed 120 ms", step: 20_000, play: |trace, phase| fixed::play(trace, 120, phase) },
    Rule { name: "Mumble's rule", step: 10_000, play: mumble::play },
];

#[test]
#[ignore = "asserts nothing; prints the table of the README, which takes some minutes"]
fn fresh() {
    print(&FRESH);
}

#[test]
#[ignore = "asserts nothing; prints the same table on other seeds"]
fn tuning() {
    print(&TUNING);
}

fn print(seeds: &[u64]) {
    println!("| network | {} |\n|{}", RULES.map(|rule| rule.name).join(" | "), "---|".repeat(RULES.len() + 1));
    for network in NETWORKS {
        let traces: Vec<_> = seeds.iter().map(|seed| network(*seed)).collect();
        let cells = RULES.map(|rule| {
            let verdict = over_all(&traces, &rule);
            let [p50, p95] = [50, 95].map(|percent| verdict.delay(percent, LEARNED, END));
            format!("{p50:.0} / {p95:.0} ms, {:.2} + {:.1} %", verdict.made_up(), verdict.unheard())
        });
        println!("| {} | {} |", traces[0].name, cells.join(" | "));
    }
}

/// All phases and all traces as one, with a thread for each trace.
fn over_all(traces: &[Trace], rule: &Rule) -> Verdict {
    // Clocks that drift apart go through all phases by themselves.
    let phases = |trace: &Trace| if trace.drifts { 1 } else { PHASES.len() };
    let judge = |trace: &Trace| {
        let phases = PHASES[..phases(trace)].iter().filter(|phase| **phase < rule.step);
        phases.map(|phase| (rule.play)(trace, *phase)).reduce(Verdict::and).unwrap()
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = traces.iter().map(|trace| scope.spawn(move || judge(trace))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).reduce(Verdict::and).unwrap()
    })
}

/// What a pull costs. The same pulls are made several times, and of each the least time counts: what other work on the
/// machine takes from one run it hardly takes from the same pull of all runs. The machine decides, so nothing is asserted.
#[test]
#[ignore = "asserts nothing; prints what a pull costs on this machine"]
fn cost() {
    const RUNS: usize = 7;
    for trace in [
        Trace::steady(FRAME, MINUTE, 1),
        Trace::wifi(FRAME, MINUTE, 2),
        Trace::lossy(FRAME, MINUTE, 5),
        Trace::bursts(CodecSettings::hard_network(), MINUTE, 10),
    ] {
        let mut least = vec![Duration::MAX; 3_000];
        let (mut longest, mut what) = (Duration::ZERO, vec![Vec::new(); 3_000]);
        for _ in 0..RUNS {
            let mut playout = PlayoutDecoder::new(JitterSettings::standard(FRAME)).unwrap();
            let mut arrivals = trace.arrivals().into_iter().peekable();
            let mut pcm = vec![0; FRAME.samples()];
            for (pull, (least, what)) in least.iter_mut().zip(&mut what).enumerate() {
                let now = Duration::from_micros(crate::PHASE) + FRAME.duration() * u32::try_from(pull).unwrap();
                while let Some((at, seq)) = arrivals.next_if(|(at, _)| Duration::from_micros(*at) <= now) {
                    let _fate = playout.push(seq, sent(trace.codec).packet(seq), Duration::from_micros(at));
                }
                let began = Instant::now();
                let decisions = playout.pull(now, &mut pcm).unwrap();
                let took = began.elapsed();
                *what = decisions.to_vec();
                (*least, longest) = ((*least).min(took), longest.max(took));
            }
        }
        let mut order: Vec<usize> = (0..least.len()).collect();
        order.sort_unstable_by_key(|pull| least[*pull]);
        println!(
            "{}: a pull takes {:?} in the middle, {:?} in 99 of 100; the longest took {longest:?} at once",
            trace.name, least[order[1_500]], least[order[2_970]]
        );
        for pull in order.iter().rev().take(5) {
            println!("    {:?}: pull {pull}, {:?}", least[*pull], what[*pull]);
        }
    }
}
