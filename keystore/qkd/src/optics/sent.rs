//! What Alice remembers.

use std::ops::Range;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use zeroize::Zeroize as _;

use super::secret::{push_secret, seek};
use super::{chance, threshold, wipe};
use crate::pulse::{Basis, Intensity, Pulse};

/// What Alice remembers of the pulses that she sent in one stretch of slots.
///
/// A real source remembers all of them; here those are drawn that nobody asked about before only when Bob has a click
/// in their slot, which his detectors give by themselves now and then, from the distribution that they have given that
/// no light of theirs made a click. Neither `Clone` nor shown by `Debug`; wiped when it is dropped.
pub struct Sent {
    slots: Range<u64>,
    at: Vec<u64>,
    pulses: Vec<u8>,
    /// The next candidate, and the first slot that may still be asked.
    cursor: usize,
    asked: u64,
    idle: Option<Idle>,
}

/// Pulses that made no candidate.
struct Idle {
    rng: ChaCha8Rng,
    p_x: u64,
    intensities: [u64; 2],
}

impl Sent {
    /// A memory with room for `candidates`; `intensities` as from [`super::sampler::Sampler::idle`].
    pub(super) fn new(slots: Range<u64>, candidates: usize, p_x: f64, intensities: [u64; 2], seed: [u8; 32]) -> Self {
        let idle = Some(Idle { rng: ChaCha8Rng::from_seed(seed), p_x: threshold(p_x), intensities });
        Self::with_room(slots, candidates, idle)
    }

    /// A memory of just these pulses, and of none in the other slots: for tests of what is built on it.
    pub fn exactly(slots: Range<u64>, mut pulses: Vec<(u64, Pulse)>) -> Self {
        pulses.sort_by_key(|(slot, _)| *slot);
        pulses.dedup_by_key(|(slot, _)| *slot);
        let mut sent = Self::with_room(slots, pulses.len(), None);
        for (slot, pulse) in pulses {
            sent.push(slot, pack::pulse(pulse));
        }
        sent
    }

    fn with_room(slots: Range<u64>, candidates: usize, idle: Option<Idle>) -> Self {
        let asked = slots.start;
        let (at, pulses) = (Vec::with_capacity(candidates), Vec::with_capacity(candidates));
        Self { slots, at, pulses, cursor: 0, asked, idle }
    }

    /// Adds a pulse, in a later slot than those before.
    pub(super) fn push(&mut self, slot: u64, packed: u8) {
        self.at.push(slot);
        push_secret(&mut self.pulses, packed);
    }

    /// How many pulses it holds.
    pub(crate) fn remembered(&self) -> usize {
        self.at.len()
    }

    /// The slots.
    pub fn slots(&self) -> Range<u64> {
        self.slots.clone()
    }

    /// The pulses that made a candidate, by rising slot: for the books that only a simulation can keep.
    pub(crate) fn candidates(&self) -> impl Iterator<Item = (u64, Pulse)> {
        self.at.iter().zip(&self.pulses).map(|(slot, packed)| (*slot, pack::unpack(*packed)))
    }

    /// How the pulse in `slot` was prepared. Slots must be asked in rising order: `None` for one that was asked before
    /// or passed over, and for one outside of [`Self::slots`].
    pub fn pulse(&mut self, slot: u64) -> Option<Pulse> {
        if !self.slots.contains(&slot) || slot < self.asked {
            return None;
        }
        self.asked = slot + 1;
        self.cursor = seek(&self.at, self.cursor, slot);
        if self.at.get(self.cursor) == Some(&slot) {
            return self.pulses.get(self.cursor).map(|packed| pack::unpack(*packed));
        }
        let idle = self.idle.as_mut()?;
        let (first, second) = (idle.rng.next_u64(), idle.rng.next_u64());
        let intensity = match chance(first) {
            drawn if drawn < idle.intensities[0] => Intensity::Signal,
            drawn if drawn < idle.intensities[1] => Intensity::Decoy,
            _ => Intensity::Vacuum,
        };
        let basis = if chance(second) < idle.p_x { Basis::X } else { Basis::Z };
        Some(Pulse { basis, bit: second & 1 == 1, intensity })
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.pulses.zeroize();
        if let Some(idle) = &mut self.idle {
            wipe(&mut idle.rng);
        }
    }
}

impl std::fmt::Debug for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sent {{ slots: {:?}, <{} secret pulses> }}", self.slots, self.at.len())
    }
}

/// A pulse in a byte: brightness in the two lowest bits, then basis, then bit.
pub(super) mod pack {
    use super::super::{basis_of, code};
    use super::{Intensity, Pulse};

    pub(in super::super) fn bit(bit: bool) -> u8 {
        u8::from(bit) << 3
    }

    pub(in super::super) fn pulse(pulse: Pulse) -> u8 {
        let intensity = match pulse.intensity {
            Intensity::Signal => 0,
            Intensity::Decoy => 1,
            Intensity::Vacuum => 2,
        };
        intensity | code(pulse.basis) << 2 | bit(pulse.bit)
    }

    pub(in super::super) fn unpack(packed: u8) -> Pulse {
        let intensity = match packed & 0b11 {
            0 => Intensity::Signal,
            1 => Intensity::Decoy,
            _ => Intensity::Vacuum,
        };
        Pulse { basis: basis_of(packed >> 2), bit: packed >> 3 & 1 == 1, intensity }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_exactly_what_it_was_given_in_rising_order_once() {
        let pulse = |i: u64| Pulse {
            basis: if i.is_multiple_of(2) { Basis::X } else { Basis::Z },
            bit: i.is_multiple_of(3),
            intensity: Intensity::ALL[usize::try_from(i % 3).unwrap()],
        };
        let slots: Vec<u64> = (0..40).map(|i| 10 + i * i).collect();
        let given = slots.iter().rev().map(|slot| (*slot, pulse(*slot))).collect();
        let mut sent = Sent::exactly(10..5_000, given);
        assert!(sent.pulse(9).is_none() && sent.pulse(5_000).is_none());
        for slot in 10..1_000 {
            assert!(sent.pulse(slot) == slots.contains(&slot).then(|| pulse(slot)), "slot {slot}");
            assert!(sent.pulse(slot).is_none(), "asked twice");
        }
        assert!(sent.pulse(10 + 39 * 39).is_some(), "a far jump");
        assert!(sent.pulse(1_000).is_none(), "backwards");
        assert_eq!(format!("{sent:?}"), "Sent { slots: 10..5000, <40 secret pulses> }");
    }
}
