//! What delay the network asks for, learned from when packets came.
//!
//! The *transit* of a packet is the time it came less the time it was due by its number. Where the two clocks have
//! their zero is unknown, so only differences of transits mean anything. The least transit of the last two seconds is
//! the *base*; how much later than the base a packet came is its *relative delay*. The base follows clocks that drift
//! apart and routes that change, so that neither looks like jitter.
//!
//! Relative delays go into a histogram that forgets with a time constant of ten seconds. The target is the delay that
//! covers 199 of 200 packets in it. By the E-model (ITU-T G.107) a conversation suffers from 1 % of lost sound about as
//! much as from 150 ms and more of delay, as long as the whole delay is below 177 ms; so there is little to gain by
//! letting more packets come too late.
//!
//! A network that stalls for a moment and then delivers all at once makes many late packets out of one event. One event
//! may put no more than three quarters of that two-hundredth into the histogram: it alone does not move the target, a
//! second one within the memory does. Packets in time end an event, but not before 200 ms.
//!
//! All times here are in samples at 48 kHz.

use super::SAMPLES_PER_MS;

/// How long a packet keeps being the base: 2 s, in which clocks 500 ppm apart drift by 1 ms.
const BASE_SLICES: usize = 20;
const BASE_SLICE: i64 = 100 * SAMPLES_PER_MS;
/// Width of the histogram's bins.
const BIN: i64 = 2 * SAMPLES_PER_MS;
/// Time constant of forgetting.
const MEMORY: u64 = 10_000 * SAMPLES_PER_MS.unsigned_abs();
/// One packet in so many may come later than the target.
const LATE_ONE_IN: u64 = 200;
/// Late packets within so short a time are one event.
const EVENT: i64 = 200 * SAMPLES_PER_MS;
/// The weight of one packet; a power of two that leaves room for forgetting in integers.
const ONE: u64 = 1 << 24;
/// The start delay counts like so many milliseconds of packets, and so is forgotten after about five seconds.
const START_WEIGHT_MS: u64 = 30;

pub(super) struct Delays {
    /// Samples a frame.
    frame: u64,
    /// The least transit of each tenth of a second, and which tenth it was.
    slices: [(i64, i64); BASE_SLICES],
    base: Option<i64>,
    bins: Box<[u64]>,
    total: u64,
    /// When the present event of lateness began, and what it has put into the histogram.
    event: Option<(i64, u64)>,
    target: i64,
}

impl Delays {
    /// Nothing known but what to begin with. `longest` bounds what is told apart.
    pub(super) fn new(frame: u64, start: i64, longest: i64) -> Self {
        let bins = vec![0; bin_of(longest) + 1].into_boxed_slice();
        let mut delays = Self {
            frame,
            slices: [(i64::MAX, i64::MIN); BASE_SLICES],
            base: None,
            bins,
            total: 0,
            event: None,
            target: 0,
        };
        delays.add(start - 1, ONE * START_WEIGHT_MS * SAMPLES_PER_MS.unsigned_abs() / frame);
        delays.target = delays.quantile();
        delays
    }

    /// The least transit lately; none before the first packet.
    pub(super) fn base(&self) -> Option<i64> {
        self.base
    }

    /// The relative delay that covers all but one in [`LATE_ONE_IN`] packets.
    pub(super) fn target(&self) -> i64 {
        self.target
    }

    /// A packet came at `at`, with this transit.
    pub(super) fn packet(&mut self, at: i64, transit: i64) {
        let relative = transit - self.rebase(at, transit);
        for bin in &mut self.bins {
            *bin -= *bin * self.frame / MEMORY;
        }
        self.total = self.bins.iter().sum();
        let mut weight = ONE;
        if relative > self.target {
            let (since, put) = self.event.unwrap_or((at, 0));
            let most = self.total * 3 / (4 * LATE_ONE_IN);
            weight = weight.min(most.saturating_sub(put));
            self.event = Some((since, put + weight));
        } else {
            self.event = self.event.filter(|(since, _)| at.saturating_sub(*since) < EVENT);
        }
        self.add(relative, weight);
        self.target = self.quantile();
    }

    /// The stream went on at another number: what its packets' transits were says nothing of what they will be.
    pub(super) fn restart(&mut self) {
        self.slices = [(i64::MAX, i64::MIN); BASE_SLICES];
    }

    fn rebase(&mut self, at: i64, transit: i64) -> i64 {
        let now = at.div_euclid(BASE_SLICE);
        let count = i64::try_from(BASE_SLICES).expect("a few");
        let index = usize::try_from(now.rem_euclid(count)).expect("a remainder");
        let slice = &mut self.slices[index];
        *slice = if slice.1 == now { (slice.0.min(transit), now) } else { (transit, now) };
        let young = self.slices.iter().filter(|(_, when)| (now.saturating_sub(count)..=now).contains(when));
        let base = young.map(|(transit, _)| *transit).min().unwrap_or(transit);
        self.base = Some(base);
        base
    }

    fn add(&mut self, relative: i64, weight: u64) {
        let bin = bin_of(relative).min(self.bins.len() - 1);
        self.bins[bin] += weight;
        self.total += weight;
    }

    fn quantile(&self) -> i64 {
        let wanted = self.total - self.total / LATE_ONE_IN;
        let mut edge = 0;
        let mut sum = 0;
        for bin in &self.bins {
            sum += bin;
            edge += BIN;
            if sum >= wanted {
                break;
            }
        }
        edge
    }
}

fn bin_of(relative: i64) -> usize {
    usize::try_from(relative.max(0) / BIN).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: i64 = 20 * SAMPLES_PER_MS;

    fn delays() -> Delays {
        Delays::new(FRAME.unsigned_abs(), 40 * SAMPLES_PER_MS, 400 * SAMPLES_PER_MS)
    }

    /// Sends `count` packets from number `from` on, each late by what `late` says (ms), over clocks apart by `ppm`.
    fn send(delays: &mut Delays, from: i64, count: i64, ppm: i64, late: impl Fn(i64) -> i64) {
        for seq in from..from + count {
            let transit = late(seq) * SAMPLES_PER_MS + seq * FRAME * ppm / 1_000_000;
            delays.packet(seq * FRAME + transit, transit);
        }
    }

    fn millis(samples: i64) -> i64 {
        samples / SAMPLES_PER_MS
    }

    #[test]
    fn the_start_delay_holds_until_the_network_is_known() {
        let mut delays = delays();
        assert_eq!(millis(delays.target()), 40);
        send(&mut delays, 0, 50, 0, |_| 3);
        assert_eq!(millis(delays.target()), 40);
        send(&mut delays, 50, 300, 0, |_| 3);
        assert_eq!(millis(delays.target()), 2);
    }

    #[test]
    fn the_target_covers_regular_lateness() {
        let mut delays = delays();
        send(&mut delays, 0, 500, 0, |seq| if seq % 25 == 24 { 61 } else { 0 });
        assert_eq!(millis(delays.target()), 62);
        send(&mut delays, 500, 1_500, 0, |_| 0);
        assert_eq!(millis(delays.target()), 2);
    }

    #[test]
    fn one_spike_does_not_move_the_target_and_two_do() {
        let mut delays = delays();
        let spike = |seq: i64| if (0..15).contains(&(seq % 100)) { 300 - 20 * (seq % 100) } else { 0 };
        send(&mut delays, 0, 1_500, 0, |_| 0);
        send(&mut delays, 1_500, 15, 0, spike);
        assert_eq!(millis(delays.target()), 2);
        send(&mut delays, 1_515, 85, 0, |_| 0);
        send(&mut delays, 1_600, 15, 0, spike);
        assert!(millis(delays.target()) > 150, "{}", millis(delays.target()));
    }

    #[test]
    fn drift_is_not_jitter() {
        for ppm in [-500, 500] {
            let mut delays = delays();
            send(&mut delays, 0, 30_000, ppm, |seq| seq % 3);
            assert!((2..=6).contains(&millis(delays.target())), "{ppm}: {}", millis(delays.target()));
        }
    }

    #[test]
    fn a_longer_route_is_the_new_base_after_two_seconds() {
        let mut delays = delays();
        send(&mut delays, 0, 1_500, 0, |_| 0);
        send(&mut delays, 1_500, 105, 0, |_| 200);
        assert_eq!(delays.base().map(millis), Some(200));
        assert!(millis(delays.target()) <= 2);
    }
}
