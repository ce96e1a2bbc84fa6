//! A token bucket: so much per second in the long run, so much at once after a pause (the meter of RFC 2697, with one
//! bucket). What is larger than the bucket is let through when it is full, and leaves it in debt.

use std::time::Duration;

/// Tokens are counted in billionths, so that nothing is lost between two requests a nanosecond apart.
const NANO: i128 = 1_000_000_000;

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Bucket {
    /// Billionths of a token; below 0: a debt.
    level: i128,
    at: Duration,
}

impl Bucket {
    pub(super) fn full(burst: u64, now: Duration) -> Self {
        Self { level: i128::from(burst) * NANO, at: now }
    }

    /// Adds what has come in since the last time.
    pub(super) fn refill(&mut self, rate: u64, burst: u64, now: Duration) {
        let came = now.saturating_sub(self.at).as_nanos().saturating_mul(rate.into());
        let came = i128::try_from(came).unwrap_or(i128::MAX);
        self.level = self.level.saturating_add(came).min(i128::from(burst) * NANO);
        self.at = now;
    }

    /// How long until `tokens` may be drawn; `None`: now.
    pub(super) fn wait_for(&self, tokens: u64, rate: u64, burst: u64) -> Option<Duration> {
        let missing = i128::from(tokens.min(burst)) * NANO - self.level;
        let missing = u128::try_from(missing).ok().filter(|missing| *missing > 0)?;
        let nanos = missing.div_ceil(rate.max(1).into()).min(super::DAY.as_nanos());
        Some(Duration::from_nanos_u128(nanos))
    }

    pub(super) fn draw(&mut self, tokens: u64) {
        self.level = self.level.saturating_sub(i128::from(tokens) * NANO);
    }

    /// Undoes [`Self::draw`]; the next refill lets nothing stand that is above the brim.
    pub(super) fn give_back(&mut self, tokens: u64) {
        self.level = self.level.saturating_add(i128::from(tokens) * NANO);
    }

    /// Whole tokens in it.
    pub(super) fn level(&self) -> u64 {
        u64::try_from(self.level.max(0) / NANO).unwrap_or(u64::MAX)
    }

    pub(super) fn is_full(&self, burst: u64) -> bool {
        self.level >= i128::from(burst) * NANO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn what_is_drawn_comes_back_at_the_rate() {
        let mut bucket = Bucket::full(1000, at(0));
        assert_eq!(bucket.wait_for(1000, 100, 1000), None);
        bucket.draw(1000);
        assert_eq!(bucket.wait_for(1, 100, 1000), Some(at(10)));
        bucket.refill(100, 1000, at(10));
        assert_eq!((bucket.wait_for(1, 100, 1000), bucket.level()), (None, 1));
        bucket.refill(100, 1000, at(1_000_000));
        assert!(bucket.is_full(1000) && bucket.level() == 1000);
    }

    #[test]
    fn a_request_above_the_burst_is_paid_off_afterwards() {
        let mut bucket = Bucket::full(1000, at(0));
        assert_eq!(bucket.wait_for(3000, 100, 1000), None);
        bucket.draw(3000);
        assert_eq!((bucket.level(), bucket.wait_for(8, 100, 1000)), (0, Some(at(20_080))));
        assert_eq!(bucket.wait_for(3000, 100, 1000), Some(at(30_000)));
    }

    #[test]
    fn the_largest_numbers_do_no_harm() {
        let mut bucket = Bucket::full(u64::MAX, at(0));
        bucket.draw(u64::MAX);
        bucket.give_back(u64::MAX);
        bucket.draw(u64::MAX);
        assert_eq!(bucket.wait_for(u64::MAX, 1, u64::MAX), Some(super::super::DAY));
        bucket.refill(u64::MAX, u64::MAX, Duration::MAX);
        assert!(bucket.is_full(u64::MAX));
    }
}
