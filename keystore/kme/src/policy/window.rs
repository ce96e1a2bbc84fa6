//! Sums over a window that slides: of the last 16 slots of time, in constant memory.

use std::time::Duration;

/// How finely the window slides.
pub(super) const SLOTS: u64 = 16;
const LEN: usize = 16;

/// How long a slot of a window is, at least a millisecond.
pub(super) fn slot_length(window: Duration) -> Duration {
    (window / 16).max(Duration::from_millis(1))
}

/// The slot of an instant.
pub(super) fn slot(time: Duration, length: Duration) -> u64 {
    u64::try_from(time.as_nanos() / length.as_nanos().max(1)).unwrap_or(u64::MAX)
}

/// When a slot begins.
pub(super) fn start(slot: u64, length: Duration) -> Duration {
    Duration::from_nanos_u128(u128::from(slot).saturating_mul(length.as_nanos()).min(Duration::MAX.as_nanos()))
}

#[derive(Debug, Clone, Default)]
pub(super) struct Slots {
    sums: [u64; LEN],
    newest: u64,
}

impl Slots {
    /// Counts `amount` in `slot`, if that is still within the window.
    pub(super) fn add(&mut self, slot: u64, amount: u64) {
        if slot > self.newest {
            let passed = (slot - self.newest).min(SLOTS);
            for back in 0..passed {
                self.sums[index(slot - back)] = 0;
            }
            self.newest = slot;
        }
        if self.holds(slot) {
            let sum = &mut self.sums[index(slot)];
            *sum = sum.saturating_add(amount);
        }
    }

    /// Takes back what was counted in `slot`, if that is still within the window.
    pub(super) fn take(&mut self, slot: u64, amount: u64) {
        if slot <= self.newest && self.holds(slot) {
            let sum = &mut self.sums[index(slot)];
            *sum = sum.saturating_sub(amount);
        }
    }

    /// The sum over the window that ends with `slot`, which is not older than any counted.
    pub(super) fn sum(&self, slot: u64) -> u64 {
        let counted = (0..SLOTS).filter_map(|back| self.newest.checked_sub(back));
        let within = counted.filter(|counted| slot.saturating_sub(*counted) < SLOTS);
        within.fold(0, |sum: u64, counted| sum.saturating_add(self.sums[index(counted)]))
    }

    fn holds(&self, slot: u64) -> bool {
        self.newest.saturating_sub(slot) < SLOTS
    }
}

fn index(slot: u64) -> usize {
    usize::try_from(slot % SLOTS).expect("less than 16")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_window_is_gone() {
        let mut slots = Slots::default();
        slots.add(0, 1);
        slots.add(3, 2);
        slots.add(15, 4);
        assert_eq!([15, 16, 18, 19, 30, 31, u64::MAX].map(|slot| slots.sum(slot)), [7, 6, 6, 4, 4, 0, 0]);
        slots.add(18, 8);
        assert_eq!(slots.sum(18), 14);
        slots.take(3, 2);
        slots.take(2, 99);
        slots.add(1, 99);
        assert_eq!(slots.sum(18), 12, "slots 1 and 2 have left the window");
        slots.add(1000, 16);
        assert_eq!(slots.sum(1000), 16);
        slots.add(u64::MAX, 1);
        slots.add(u64::MAX, u64::MAX);
        assert_eq!(slots.sum(u64::MAX), u64::MAX);
    }
}
