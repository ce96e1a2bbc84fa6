//! How fast the path delivers, and how much it loses, by rounds of one round-trip time.

use std::time::{Duration, Instant};

/// Rounds of which the fastest counts: BBR (draft-cardwell-iccrg-bbr-congestion-control-02, section 4.1.1.3) takes 10.
const ROUNDS: usize = 10;

/// Packets that must have been acknowledged or lost before their loss is judged. Of 100 packets on a path that loses one
/// in a hundred at random, more than five are lost in 0.05 % of all cases.
const JUDGED_PACKETS: u64 = 100;

/// Deliveries of one path.
#[derive(Clone, Debug)]
pub(super) struct Rate {
    /// When the round began: it ends when a packet that was sent later is acknowledged.
    since: Option<Instant>,
    delivered: u64,
    /// Bytes per second in the last rounds, the newest first.
    rounds: [f64; ROUNDS],
    /// Bytes acknowledged and lost since loss was last judged.
    acknowledged: u64,
    lost: u64,
}

impl Rate {
    pub(super) fn new() -> Self {
        Self { since: None, delivered: 0, rounds: [0.0; ROUNDS], acknowledged: 0, lost: 0 }
    }

    pub(super) fn acknowledged(&mut self, bytes: u64) {
        self.delivered = self.delivered.saturating_add(bytes);
        self.acknowledged = self.acknowledged.saturating_add(bytes);
    }

    pub(super) fn lost(&mut self, bytes: u64) {
        self.lost = self.lost.saturating_add(bytes);
    }

    /// The acknowledgements of a batch are counted, of which `newest` was sent last. Says whether that ends a round.
    pub(super) fn end_of_batch(&mut self, now: Instant, newest: Instant) -> bool {
        let Some(since) = self.since else {
            self.since = Some(now);
            self.delivered = 0;
            return false;
        };
        if newest < since {
            return false;
        }
        let took = now.saturating_duration_since(since).as_secs_f64();
        if took > 0.0 {
            self.rounds.rotate_right(1);
            self.rounds[0] = as_f64(self.delivered) / took;
        }
        self.since = Some(now);
        self.delivered = 0;
        true
    }

    /// The fastest of the last rounds, in bytes per second; zero when unknown.
    pub(super) fn best(&self) -> f64 {
        self.rounds.iter().copied().fold(0.0, f64::max)
    }

    /// What was delivered in `time` at [`Self::best`], in bytes.
    pub(super) fn carried_in(&self, time: Duration) -> u64 {
        as_bytes(self.best() * time.as_secs_f64())
    }

    /// The share lost of the last packets, once there were enough of them.
    pub(super) fn judge_loss(&mut self, mtu: u64) -> Option<f64> {
        let all = self.acknowledged.saturating_add(self.lost);
        if all < JUDGED_PACKETS.saturating_mul(mtu) {
            return None;
        }
        let share = as_f64(self.lost) / as_f64(all);
        (self.acknowledged, self.lost) = (0, 0);
        Some(share)
    }
}

/// Counts of bytes here are far below the 2^52 up to which this is exact.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^52")]
pub(super) fn as_f64(bytes: u64) -> f64 {
    bytes as f64
}

/// Whole bytes; nothing when negative.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast from floating point saturates")]
pub(super) fn as_bytes(bytes: f64) -> u64 {
    bytes as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_one_round_trip_and_the_fastest_counts() {
        let start = Instant::now();
        let (mut rate, trip) = (Rate::new(), Duration::from_millis(40));
        assert!(!rate.end_of_batch(start, start));
        let mut ended = 0;
        for millis in 1..=200_u32 {
            let now = start + Duration::from_millis(millis.into());
            rate.acknowledged(if millis > 100 { 500 } else { 1000 });
            ended += u32::from(rate.end_of_batch(now, now.checked_sub(trip).unwrap()));
        }
        assert_eq!(ended, 5);
        assert!((rate.best() - 1e6).abs() < 1.0, "{rate:?}");
        assert_eq!(rate.carried_in(trip), 40_000);
    }

    #[test]
    fn loss_is_judged_over_enough_packets() {
        let mut rate = Rate::new();
        rate.acknowledged(90_000);
        rate.lost(9_000);
        assert_eq!(rate.judge_loss(1000), None);
        rate.lost(1_000);
        assert_eq!(rate.judge_loss(1000), Some(0.1));
        assert_eq!(rate.judge_loss(1000), None);
    }
}
