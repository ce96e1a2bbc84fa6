//! How long packets wait in queues: the round-trip time of the empty path, and what stands above it now.

use std::time::{Duration, Instant};

/// How long the shortest round-trip time is remembered: between once and twice this. After a change of route to a longer
/// path the old one is forgotten then. Copa (Arun and Balakrishnan, NSDI 2018, section 2) takes 10 s, LEDBAT (RFC 6817,
/// section 2.4.2) ten minutes: too short a memory takes the queue that a stranger keeps full for the empty path.
const MEMORY: Duration = Duration::from_secs(30);

/// Filters over the round-trip times of one path.
#[derive(Clone, Debug)]
pub(super) struct Delays {
    /// The shortest since `base_since`, and of the period before.
    base: [Duration; 2],
    base_since: Instant,
    /// The shortest since `recent_since`, and of the half round trip before.
    recent: [Duration; 2],
    recent_since: Instant,
    known: bool,
}

impl Delays {
    pub(super) fn new(now: Instant) -> Self {
        let unknown = [Duration::MAX; 2];
        Self { base: unknown, base_since: now, recent: unknown, recent_since: now, known: false }
    }

    /// The acknowledgement of a packet came `rtt` after it was sent. Nothing is forgotten while `others` keep the queue
    /// full: the path cannot be seen empty then.
    pub(super) fn sample(&mut self, now: Instant, rtt: Duration, others: bool) {
        if others {
            self.base_since = now;
        }
        roll(&mut self.base, &mut self.base_since, now, MEMORY);
        let half = self.standing() / 2;
        roll(&mut self.recent, &mut self.recent_since, now, if self.known { half } else { Duration::ZERO });
        self.base[0] = self.base[0].min(rtt);
        self.recent[0] = self.recent[0].min(rtt);
        self.known = true;
    }

    /// What was seen before counts no more: the path has this round-trip time.
    pub(super) fn rebase(&mut self, now: Instant, base: Duration) {
        (self.base, self.base_since) = ([base, Duration::MAX], now);
    }

    /// Whether there was a sample yet.
    pub(super) fn known(&self) -> bool {
        self.known
    }

    /// The round-trip time of the path when its queues are empty, as far as was seen; zero when unknown.
    pub(super) fn base(&self) -> Duration {
        if self.known { self.base[0].min(self.base[1]) } else { Duration::ZERO }
    }

    /// The round-trip time at the moment: the shortest of the last half to whole round trip, so that neither a peer's late
    /// acknowledgement nor a radio's hiccup counts (the "standing" round-trip time of Copa, section 2).
    pub(super) fn standing(&self) -> Duration {
        if self.known { self.recent[0].min(self.recent[1]) } else { Duration::ZERO }
    }

    /// What stands in queues at the moment.
    pub(super) fn queueing(&self) -> Duration {
        self.standing().saturating_sub(self.base())
    }
}

/// Begins a new period when `length` has passed; after two, nothing old is left.
fn roll(shortest: &mut [Duration; 2], since: &mut Instant, now: Instant, length: Duration) {
    let passed = now.saturating_duration_since(*since);
    if passed > length {
        let old = if passed > 2 * length { Duration::MAX } else { shortest[0] };
        *shortest = [Duration::MAX, old];
        *since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_hiccup_is_no_queue_but_a_queue_is_seen_after_a_round_trip() {
        let start = Instant::now();
        let mut delays = Delays::new(start);
        assert_eq!((delays.known(), delays.queueing()), (false, Duration::ZERO));
        for millis in 0..100 {
            delays.sample(start + ms(millis), ms(if millis % 5 == 0 { 20 } else { 70 }), false);
        }
        assert_eq!((delays.base(), delays.queueing()), (ms(20), Duration::ZERO));
        for millis in 100..130 {
            delays.sample(start + ms(millis), ms(35), false);
        }
        assert_eq!((delays.base(), delays.queueing()), (ms(20), ms(15)));
    }

    #[test]
    fn a_shorter_path_is_seen_at_once_and_a_longer_one_within_a_minute() {
        let start = Instant::now();
        let mut delays = Delays::new(start);
        let mut last = Duration::ZERO;
        for tenth in 0..650_u64 {
            delays.sample(start + ms(100 * tenth), ms(if tenth < 20 { 20 } else { 80 }), false);
            if delays.base() == ms(20) {
                last = ms(100 * tenth);
            }
        }
        assert!(last >= MEMORY && last <= 2 * MEMORY + ms(200), "forgotten after {last:?}");
        delays.sample(start + ms(65_000), ms(10), false);
        assert_eq!(delays.base(), ms(10));
    }

    #[test]
    fn what_others_keep_full_is_not_taken_for_the_path() {
        let start = Instant::now();
        let mut delays = Delays::new(start);
        for second in 0..600 {
            delays.sample(start + ms(1000 * second), ms(if second == 0 { 20 } else { 80 }), true);
        }
        assert_eq!(delays.base(), ms(20));
        delays.rebase(start, ms(80));
        assert_eq!(delays.base(), ms(80));
    }
}
