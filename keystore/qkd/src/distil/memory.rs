//! What Alice keeps of the pulses that she sent, until Bob has said where he detected something.

use std::collections::VecDeque;
use std::ops::Range;

use super::limits::{MAX_REMEMBERED_PULSES, MAX_STRETCHES};
use super::sift::{Sift, Sorted};
use crate::bits::BitString;
use crate::optics::Sent;
use crate::pulse::Basis;

/// What Alice remembers of the slots that are not sifted yet.
#[derive(Default)]
pub(super) struct Memory {
    stretches: VecDeque<Sent>,
    /// Pulses in them.
    pulses: usize,
    /// Every slot before this one was sifted or is lost: none is ever sifted twice.
    used_until: u64,
}

impl Memory {
    /// Keeps one stretch more, which must lie after all others; forgets the oldest if there are too many.
    pub(super) fn keep(&mut self, sent: Sent) {
        let slots = sent.slots();
        let after = self.stretches.back().map_or(self.used_until, |last| last.slots().end);
        if slots.is_empty() || slots.start < after {
            return;
        }
        self.pulses += sent.remembered();
        self.stretches.push_back(sent);
        while self.stretches.len() > MAX_STRETCHES || self.stretches.len() > 1 && self.pulses > MAX_REMEMBERED_PULSES {
            self.forget_first();
        }
    }

    /// Whether every slot of `slots` was sent, is remembered, and was not sifted yet.
    pub(super) fn covers(&self, slots: &Range<u64>) -> bool {
        if slots.start < self.used_until {
            return false;
        }
        let mut next = slots.start;
        for stretch in self.stretches.iter().map(Sent::slots).skip_while(|stretch| stretch.end <= slots.start) {
            if stretch.start > next {
                return false;
            }
            next = stretch.end;
            if next >= slots.end {
                return true;
            }
        }
        false
    }

    /// Sorts the detections of a stretch that is covered; appends her bits of the key basis to `key`. The stretch and
    /// all before it are forgotten.
    pub(super) fn sort(&mut self, sift: &Sift, key: &mut BitString) -> Vec<Sorted> {
        self.used_until = sift.slots.end;
        let mut sorted = Vec::with_capacity(sift.places.len());
        for &(slot, basis) in &sift.places {
            self.forget_before(slot);
            let pulse = self.stretches.front_mut().and_then(|stretch| stretch.pulse(slot));
            sorted.push(match pulse.filter(|pulse| pulse.basis == basis) {
                None => Sorted::Lost,
                Some(pulse) if basis == Basis::X => {
                    key.push(pulse.bit);
                    Sorted::Key(pulse.intensity)
                }
                Some(pulse) => Sorted::Test(pulse.intensity, pulse.bit),
            });
        }
        self.forget_before(sift.slots.end);
        sorted
    }

    fn forget_before(&mut self, slot: u64) {
        while self.stretches.front().is_some_and(|stretch| stretch.slots().end <= slot) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some(first) = self.stretches.pop_front() {
            self.pulses -= first.remembered();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pulse::{Intensity, Pulse};

    fn basis(z: bool) -> Basis {
        if z { Basis::Z } else { Basis::X }
    }

    #[test]
    fn the_oldest_are_forgotten_when_there_are_too_many_pulses() {
        let pulse = Pulse { basis: Basis::X, bit: true, intensity: Intensity::Signal };
        let per_stretch = MAX_REMEMBERED_PULSES / 4 + 1;
        let mut memory = Memory::default();
        for number in 0..5 {
            let start = number * 10_000_000;
            let slots = start..start + per_stretch as u64;
            memory.keep(Sent::exactly(slots.clone(), slots.map(|slot| (slot, pulse)).collect()));
        }
        assert_eq!((memory.stretches.len(), memory.pulses), (3, 3 * per_stretch));
        assert!(!memory.covers(&(10_000_000..10_000_001)) && memory.covers(&(20_000_000..20_000_001)));
    }

    #[test]
    fn alice_answers_for_each_slot_once() {
        let pulse =
            |slot: u64| Pulse { basis: basis(slot.is_multiple_of(2)), bit: slot % 4 < 2, intensity: Intensity::Decoy };
        let mut memory = Memory::default();
        for start in [100, 200, 400] {
            let slots = start..start + 100;
            memory.keep(Sent::exactly(slots.clone(), slots.map(|slot| (slot, pulse(slot))).collect()));
        }
        for (slots, covered) in [
            (100..300, true),
            (150..160, true),
            (99..110, false),
            (250..401, false),
            (300..400, false),
            (450..501, false),
        ] {
            assert_eq!(memory.covers(&slots), covered, "{slots:?}");
        }
        let places = vec![(150, Basis::Z), (151, Basis::X), (152, Basis::X), (250, Basis::Z), (251, Basis::X)];
        let sift = Sift { finished: 0, slots: 120..260, places };
        let mut key = BitString::new();
        let sorted = memory.sort(&sift, &mut key);
        let decoy = Intensity::Decoy;
        assert_eq!(sorted[..3], [Sorted::Test(decoy, false), Sorted::Key(decoy), Sorted::Lost]);
        assert_eq!(sorted[3..], [Sorted::Test(decoy, false), Sorted::Key(decoy)]);
        assert_eq!((key.len(), key.get(0), key.get(1)), (2, false, false));
        assert!(!memory.covers(&(255..270)) && memory.covers(&(260..270)), "no slot is sifted twice");
        memory.keep(Sent::exactly(450..600, Vec::new()));
        assert!(!memory.covers(&(500..510)), "stretches rise");
    }
}
