//! A small timing harness: cases that are compared take turns, so that a slow moment of the machine hits them alike.
//!
//! criterion and divan time one function after the other and compare with an earlier run of the same function; what is
//! wanted here is the ratio of two functions in one run, which neither prints.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// One thing to be timed. `batch` does everything that is not to be counted, then the counted work, and returns the
/// time that the counted work took.
pub(crate) struct Case<'a> {
    name: String,
    batch: Box<dyn FnMut() -> Duration + 'a>,
}

impl<'a> Case<'a> {
    /// A case called `name` in the table.
    pub(crate) fn new(name: impl Into<String>, batch: impl FnMut() -> Duration + 'a) -> Self {
        Self { name: name.into(), batch: Box::new(batch) }
    }
}

/// What all cases of one comparison do in one batch.
#[derive(Clone, Copy)]
pub(crate) struct Work {
    /// Operations a batch.
    pub(crate) operations: usize,
    /// Bytes an operation.
    pub(crate) bytes: usize,
}

/// What the project promises of a case.
#[derive(Clone, Copy)]
pub(crate) enum Mark {
    /// Its speed is at least this share of the first case's.
    Speed(f64),
    /// An operation takes less than this.
    Time(Duration),
}

/// Runs the cases in turn, `rounds` times, and returns a table: median time an operation, speed, and the median over
/// the rounds of its speed beside the first case's in the same round.
pub(crate) fn compare(
    title: &str,
    work: Work,
    rounds: usize,
    cases: &mut [Case<'_>],
    marks: &[(&str, Mark)],
) -> String {
    for case in &mut *cases {
        (case.batch)(); // warm up
    }
    let mut times = vec![Vec::with_capacity(rounds); cases.len()];
    for _round in 0..rounds {
        for (case, times) in cases.iter_mut().zip(&mut times) {
            times.push((case.batch)().as_secs_f64() / per_batch(work.operations));
        }
    }
    let mut table = format!("{title}\n");
    let Some(first) = times.first().cloned() else { return table };
    for (case, times) in cases.iter().zip(&times) {
        let seconds = median(times.clone());
        let ratio = median(first.iter().zip(times).map(|(first, this)| first / this).collect());
        let verdict = |met: bool| if met { "met" } else { "MISSED" };
        let mark = match marks.iter().find(|(name, _)| *name == case.name) {
            Some((_, Mark::Speed(least))) => format!("  mark {least:.2}: {}", verdict(ratio >= *least)),
            Some((_, Mark::Time(most))) => format!("  mark {most:?}: {}", verdict(seconds < most.as_secs_f64())),
            None => String::new(),
        };
        let (time, speed) = (readable(seconds), per_batch(work.bytes) / seconds / 1e9);
        // Writing to a String cannot fail.
        let _ = writeln!(table, "  {:<44} {time:>10} {speed:>8.2} GB/s  {ratio:>6.2} x{mark}", case.name);
    }
    table
}

/// How long `work` takes.
pub(crate) fn time<T>(work: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    let made = work();
    let took = start.elapsed();
    drop(std::hint::black_box(made));
    took
}

/// The middle value, or 0 of nothing.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn readable(seconds: f64) -> String {
    if seconds < 1e-6 {
        format!("{:.0} ns", seconds * 1e9)
    } else if seconds < 1e-3 {
        format!("{:.2} us", seconds * 1e6)
    } else {
        format!("{:.2} ms", seconds * 1e3)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^52")]
fn per_batch(count: usize) -> f64 {
    count as f64
}
