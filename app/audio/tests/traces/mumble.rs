//! Mumble's rule, to compare with: what Mumble 1.3 does to incoming speech, which is the jitter buffer of the Speex
//! library, asked every 10 ms. Written from a description of the algorithm; no code of either is in here.
//!
//! - Time is counted in samples of the stream. A *pointer* says what is due; it goes on by what was handed out. The
//!   margin is one step of 10 ms (Mumble's default).
//! - Each packet has a *timing*: its own time less the pointer's when it came, less the margin. Below 0 it was late.
//!   Timings are kept in three windows of 333 packets, of each the 40 least; when the youngest window is full, the oldest
//!   is dropped.
//! - The best shift of the delay is searched over the least timings of all windows, in order: shifting by the k-th costs
//!   its value, rounded down to whole steps, and a price for each of the k packets that would then be late; being the
//!   first to shorten the delay costs four packets more. The price of a late packet grows with the spread of the timings
//!   (`1 + spread / 40`, times 1,000 over the number of packets known). Until 40 packets are known it never shortens.
//! - The best shift is carried out when a packet was missing, and after each packet whose level was below the least level
//!   lately plus a hundredth of the range of levels (until the first such moment, after each step): a longer delay by one
//!   step of concealment, while the timings are taken to have shifted by all of it; a shorter one by jumping ahead over
//!   the sound in between.
//! - A missing packet is concealed, step by step. Mumble uses no copies. After 20 in a row the next packet sets the
//!   pointer anew.
//! - Left out: at the start of a spurt of talk Mumble waits until as many packets are there as were held lately on
//!   average. Each trace here is one spurt, and at its start that number is 0.

use std::collections::BTreeMap;

use crate::judge::{Part, Played, Verdict};
use crate::sent::sent;
use crate::trace::Trace;

const STEP: i64 = 480;
const MARGIN: i64 = 480;
const WINDOWS: usize = 3;
const WINDOW_PACKETS: usize = 333;
const TOP: usize = 40;
/// Packets of all windows: 100 times [`TOP`] over the 4 % of late packets that Speex allows by default.
const ALL_PACKETS: i64 = 1_000;

#[derive(Default)]
struct Window {
    count: usize,
    least: Vec<i64>,
}

struct Speex {
    span: i64,
    packets: BTreeMap<i64, Option<i64>>,
    pointer: Option<i64>,
    next_stop: i64,
    buffered: i64,
    windows: [Window; WINDOWS],
    spread_price: i64,
    lost: u32,
    insert: i64,
    /// Whether the shift is still carried out after every step.
    every_step: bool,
}

enum Got {
    Packet(i64),
    Insert,
    Missing,
}

impl Speex {
    fn put(&mut self, time: i64) {
        let pointer = self.pointer;
        if let Some(pointer) = pointer {
            self.packets.retain(|time, _| time + self.span > pointer);
        }
        let late = pointer.is_some() && time < self.next_stop;
        if late {
            self.timing(time - self.next_stop - MARGIN);
        }
        if self.lost > 20 {
            self.pointer = None;
            self.packets.clear();
            self.windows = std::array::from_fn(|_| Window::default());
            self.spread_price = 1;
            self.lost = 0;
            self.insert = 0;
            self.buffered = 0;
        }
        if self.pointer.is_none_or(|pointer| time + self.span + STEP >= pointer) {
            let came = (self.pointer.is_some() && !late).then_some(self.next_stop);
            self.packets.insert(time, came);
        }
    }

    fn timing(&mut self, timing: i64) {
        if self.windows[0].count >= WINDOW_PACKETS {
            self.windows.rotate_right(1);
            self.windows[0] = Window::default();
        }
        let window = &mut self.windows[0];
        window.count += 1;
        let at = window.least.partition_point(|other| *other <= timing);
        window.least.insert(at, timing);
        window.least.truncate(TOP);
    }

    fn shift(&mut self, by: i64) {
        for window in &mut self.windows {
            window.least.iter_mut().for_each(|timing| *timing += by);
        }
    }

    fn best_shift(&mut self) -> i64 {
        let count = self.windows.iter().map(|window| window.count).sum::<usize>();
        if count == 0 {
            return 0;
        }
        let price = self.spread_price * ALL_PACKETS / i64::try_from(count).unwrap();
        let mut all: Vec<i64> = self.windows.iter().flat_map(|window| window.least.iter().copied()).collect();
        all.sort_unstable();
        all.truncate(TOP);
        let (mut best, mut best_cost, mut late, mut penalty) = (0, i64::MAX, 0, false);
        for timing in &all {
            let shift = timing.div_euclid(STEP) * STEP;
            let cost = price * late - shift;
            if cost < best_cost {
                (best, best_cost) = (shift, cost);
            }
            late += 1;
            if shift >= 0 && !penalty {
                penalty = true;
                late += 4;
            }
        }
        self.spread_price = 1 + (all[all.len() - 1] - all[0]) / 40;
        if count < TOP && best > 0 { 0 } else { best }
    }

    fn get(&mut self) -> Got {
        let Some(pointer) = self.pointer.or_else(|| self.packets.keys().next().copied()) else { return Got::Missing };
        if self.pointer.is_none() {
            self.next_stop = pointer;
        }
        self.pointer = Some(pointer);
        if self.insert != 0 {
            let insert = std::mem::take(&mut self.insert);
            self.pointer = Some(pointer + insert);
            self.buffered = insert - STEP;
            return Got::Insert;
        }
        // The packet that covers the pointer, or the first to begin within the step.
        let covers = self.packets.range(..=pointer).next_back().filter(|(time, _)| **time + self.span > pointer);
        let found = covers.or_else(|| self.packets.range(pointer..pointer + STEP).next());
        if let Some((&time, &came)) = found {
            self.packets.remove(&time);
            self.lost = 0;
            if let Some(came) = came {
                self.timing(time - came - MARGIN);
            }
            self.pointer = Some(time + self.span);
            self.buffered = time + self.span - pointer - STEP;
            return Got::Packet(time);
        }
        self.lost += 1;
        let best = self.best_shift();
        if best < 0 {
            self.shift(-best);
            self.buffered = -best - STEP;
            return Got::Insert;
        }
        self.pointer = Some(pointer + STEP);
        self.buffered = 0;
        Got::Missing
    }

    /// A step was played.
    fn tick(&mut self) {
        if self.every_step {
            self.adjust();
        }
        if let Some(pointer) = self.pointer {
            self.next_stop = pointer - self.buffered.max(0);
        }
        self.buffered = 0;
    }

    fn adjust(&mut self) {
        let Some(pointer) = self.pointer else { return };
        let best = self.best_shift();
        if best != 0 {
            self.shift(-best);
            self.pointer = Some(pointer + best);
            if best < 0 {
                self.insert = -best;
            }
        }
    }
}

/// Mumble's sense of quiet: a range of levels that widens at once and narrows slowly.
#[derive(Default)]
struct Levels {
    least: f64,
    most: f64,
}

impl Levels {
    fn is_quiet(&mut self, level: f64) -> bool {
        if level >= self.most {
            self.most = level;
        } else if level <= self.least {
            self.least = level;
        } else {
            self.most *= 0.99;
            self.least += 0.0001 * level;
        }
        level < self.least + 0.01 * (self.most - self.least)
    }
}

/// With the first pull at `phase` microseconds.
pub(crate) fn play(trace: &Trace, phase: u64) -> Verdict {
    let span = i64::from(trace.frame().millis()) * 48;
    let mut buffer = Speex {
        span,
        packets: BTreeMap::new(),
        pointer: None,
        next_stop: 0,
        buffered: 0,
        windows: std::array::from_fn(|_| Window::default()),
        spread_price: 1,
        lost: 0,
        insert: 0,
        every_step: true,
    };
    let (sent, mut range) = (sent(trace.codec), Levels::default());
    let mut arrivals = trace.arrivals().into_iter().peekable();
    let mut played = Vec::new();
    let mut busy_until = 0;
    let end = trace.packets.last().unwrap().0;
    for pull in (0..).map(|pull| phase + pull * 10_000).take_while(|at| *at < end) {
        while let Some((_, seq)) = arrivals.next_if(|(at, _)| *at <= pull) {
            buffer.put(i64::from(seq) * span);
        }
        if pull >= busy_until {
            let (samples, part, adjust) = match buffer.get() {
                Got::Packet(time) => {
                    let seq = u32::try_from(time / span).unwrap();
                    (span, Part::Packet(seq), range.is_quiet(sent.level(seq)))
                }
                Got::Insert | Got::Missing => (STEP, Part::MadeUp, true),
            };
            if adjust {
                buffer.every_step = false;
                buffer.adjust();
            }
            played.push(Played { at: pull, samples, part });
            busy_until = pull + u64::try_from(samples / 48).unwrap() * 1_000;
            for _ in 0..samples / STEP {
                buffer.tick();
            }
        }
    }
    Verdict::of(trace, &played)
}
