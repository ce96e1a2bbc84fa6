//! What Bob keeps of his detections, until Alice has said which of them count.

use std::collections::VecDeque;
use std::ops::Range;

use zeroize::Zeroize as _;

use super::limits::{MAX_SIFT_DETECTIONS, MAX_STRETCHES, MAX_WAITING_DETECTIONS};
use crate::bits::BitString;
use crate::pulse::{Basis, Detection};

/// One stretch as Bob keeps it until it is sifted: what is public of it, and his bits.
pub(super) struct Stretch {
    pub(super) slots: Range<u64>,
    pub(super) places: Vec<(u64, Basis)>,
    pub(super) bits: BitString,
    pub(super) bright_light: bool,
}

/// What Bob has detected and not sifted yet.
#[derive(Default)]
pub(super) struct Waiting {
    stretches: VecDeque<Stretch>,
    /// How many detections of the first stretch were taken already.
    taken: usize,
    /// Detections in all stretches.
    detections: usize,
    /// End of the latest stretch.
    until: u64,
}

impl Waiting {
    /// Keeps a stretch, if it lies after all before it. Detections outside of it or out of order are left out.
    pub(super) fn keep(&mut self, slots: Range<u64>, mut detections: Vec<Detection>, bright_light: bool) {
        if slots.is_empty() || slots.start < self.until {
            return;
        }
        self.until = slots.end;
        let mut places = Vec::with_capacity(detections.len());
        let mut bits = BitString::with_capacity(detections.len());
        let mut next = slots.start;
        for detection in &mut detections {
            if (next..slots.end).contains(&detection.slot) {
                places.push((detection.slot, detection.basis));
                bits.push(detection.bit);
                next = detection.slot + 1;
            }
            detection.bit.zeroize();
        }
        self.detections += places.len();
        self.stretches.push_back(Stretch { slots, places, bits, bright_light });
        while self.stretches.len() > MAX_STRETCHES
            || self.stretches.len() > 1 && self.detections > MAX_WAITING_DETECTIONS
        {
            self.drop_first();
        }
    }

    /// The next slots to sift, at most `max_slots` of them: as many stretches as follow each other without a gap and
    /// fit into one message.
    pub(super) fn next(&mut self, max_slots: u64) -> Option<Stretch> {
        let start = self.stretches.front()?.slots.start;
        let limit = start.saturating_add(max_slots);
        let mut batch =
            Stretch { slots: start..start, places: Vec::new(), bits: BitString::new(), bright_light: false };
        while let Some(first) = self.stretches.front_mut().filter(|first| first.slots.start == batch.slots.end) {
            if batch.slots.end >= limit {
                break;
            }
            let room = MAX_SIFT_DETECTIONS - batch.places.len();
            let left = &first.places[self.taken..];
            let count = left.partition_point(|(slot, _)| *slot < limit).min(room);
            batch.places.extend_from_slice(&left[..count]);
            (self.taken..self.taken + count).for_each(|at| batch.bits.push(first.bits.get(at)));
            batch.bright_light |= first.bright_light;
            // A message that is full ends before the first detection that did not fit.
            let end = left.get(count).map_or(first.slots.end, |(slot, _)| *slot).min(first.slots.end).min(limit);
            batch.slots.end = end;
            if end == first.slots.end {
                self.drop_first();
            } else {
                first.slots.start = end;
                self.taken += count;
                break;
            }
        }
        (!batch.slots.is_empty()).then_some(batch)
    }

    fn drop_first(&mut self) {
        if let Some(first) = self.stretches.pop_front() {
            self.detections -= first.places.len();
            self.taken = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detections(slots: impl Iterator<Item = u64>) -> Vec<Detection> {
        let basis = |z: bool| if z { Basis::Z } else { Basis::X };
        slots.map(|slot| Detection { slot, basis: basis(slot.is_multiple_of(3)), bit: slot % 5 < 2 }).collect()
    }

    #[test]
    fn stretches_are_cut_and_joined_without_losing_a_bit() {
        for (lens, max_slots) in [(vec![100, 50, 70], 60), (vec![10; 9], 1_000), (vec![90_000], 1 << 40), (vec![5], 1)]
        {
            let mut waiting = Waiting::default();
            let mut start = 7;
            for len in &lens {
                waiting.keep(start..start + len, detections((start..start + len).filter(|slot| slot % 7 != 1)), false);
                start += len;
            }
            let (mut next, mut found) = (7, Vec::new());
            while let Some(batch) = waiting.next(max_slots) {
                assert_eq!(batch.slots.start, next);
                assert!(batch.slots.end - next <= max_slots && batch.places.len() <= MAX_SIFT_DETECTIONS);
                assert_eq!(batch.places.len(), batch.bits.len());
                next = batch.slots.end;
                for (at, (slot, basis)) in batch.places.iter().enumerate() {
                    assert!(batch.slots.contains(slot));
                    found.push((*slot, *basis, batch.bits.get(at)));
                }
            }
            assert_eq!(next, start);
            let all = detections((7..start).filter(|slot| slot % 7 != 1));
            assert!(found.iter().copied().eq(all.iter().map(|d| (d.slot, d.basis, d.bit))));
            assert_eq!(waiting.detections, 0);
        }
    }

    #[test]
    fn gaps_are_not_joined_and_nonsense_is_left_out() {
        let mut waiting = Waiting::default();
        waiting.keep(0..10, detections([3, 2, 12, 3, 5].into_iter()), false);
        waiting.keep(5..15, detections(6..8), false);
        waiting.keep(20..30, detections(20..22), true);
        let first = waiting.next(100).unwrap();
        assert_eq!((first.slots, first.places.len(), first.bright_light), (0..10, 2, false));
        let second = waiting.next(100).unwrap();
        assert_eq!((second.slots, second.places.len(), second.bright_light), (20..30, 2, true));
        assert!(waiting.next(100).is_none());
    }

    #[test]
    fn what_waits_is_bounded_and_the_oldest_go_first() {
        let mut waiting = Waiting::default();
        for start in 0..MAX_STRETCHES as u64 + 10 {
            waiting.keep(start * 10..start * 10 + 10, detections(start * 10..start * 10 + 2), false);
        }
        assert_eq!((waiting.stretches.len(), waiting.detections), (MAX_STRETCHES, 2 * MAX_STRETCHES));
        assert_eq!(waiting.next(10).unwrap().slots, 100..110);
    }
}
