//! When pulls are due, and which delay is worth aiming at between two of them.
//!
//! All times are in samples at 48 kHz.

use super::SAMPLES_PER_MS;

/// A pull later than this is a clock that stood still, not a late one.
const LONGEST_LATENESS: i64 = 100 * SAMPLES_PER_MS;
/// A late pull moves the pace by this part of its lateness, an early one by all.
const LATE_PART: i64 = 32;
/// So much room a shorter delay must leave before it is aimed at, so that the aim does not swing.
const ROOM: i64 = SAMPLES_PER_MS;

/// The pace of the pulls: a busy machine makes one late now and then, but never early.
pub(super) struct Pace {
    at: Option<i64>,
    step: i64,
}

impl Pace {
    pub(super) const fn new() -> Self {
        Self { at: None, step: 0 }
    }

    /// When the present pull was due.
    pub(super) fn at(&self) -> i64 {
        self.at.unwrap_or(0)
    }

    /// A pull of so many samples.
    pub(super) fn pull(&mut self, now: i64, samples: i64) {
        let due = self.at.map_or(now, |at| at + self.step);
        let late = now - due;
        self.at = Some(if (0..=LONGEST_LATENESS).contains(&late) { due + late / LATE_PART } else { now });
        self.step = samples.max(1);
    }

    /// The delay to aim at where at least `need` is needed and `goal` was aimed at before, both as transits.
    ///
    /// Sound leaves in steps of a whole pull, and a packet must be there when the pull begins in which its first
    /// sample is played. A delay between two steps therefore waits for no packet longer than the step below it does:
    /// it would be of no use. The aim is the first step that is enough.
    pub(super) fn goal(&self, need: i64, goal: Option<i64>) -> i64 {
        let from = |least: i64| least + (self.at() - least).rem_euclid(self.step);
        let Some(before) = goal else { return from(need) };
        // The pace may have moved a little: the same step as before is the one nearest to it.
        let before = from(before - self.step / 2);
        if need > before { from(need) } else { before.min(from(need + ROOM)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: i64 = 960;

    #[test]
    fn late_pulls_do_not_move_the_pace_and_a_pause_does() {
        let mut pace = Pace::new();
        for pull in 0..100 {
            pace.pull(pull * STEP + if pull % 7 == 3 { 700 } else { 0 }, STEP);
            assert!((pull * STEP..pull * STEP + 48).contains(&pace.at()), "{pull}: {}", pace.at());
        }
        pace.pull(200 * STEP, STEP);
        assert_eq!(pace.at(), 200 * STEP);
    }

    #[test]
    fn the_goal_is_a_step_that_is_enough_and_does_not_swing() {
        let mut pace = Pace::new();
        pace.pull(10_100, STEP);
        assert_eq!(pace.goal(0, None), 500);
        assert_eq!(pace.goal(501, Some(500)), 1_460);
        assert_eq!(pace.goal(499, Some(1_460)), 1_460, "too close to the step below");
        assert_eq!(pace.goal(300, Some(1_460)), 500);
        assert_eq!(pace.goal(300, Some(10_000)), 500);
        assert_eq!(pace.goal(300, Some(510)), 500, "the pace moved");
    }
}
