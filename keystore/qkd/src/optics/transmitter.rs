//! Alice's light source, and the sampling of what comes out at the far end of the line.

use std::ops::Range;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::sampler::Sampler;
use super::{Light, Line, Sent, Trouble, renew, wipe};
use crate::DeviceProfile;
use crate::draw::to_f64;
use crate::eve::{Eve, EveNotes};
use crate::pulse::Intensity;

/// Alice's light source and the line, with whoever is on it.
pub struct Transmitter {
    rng: ChaCha8Rng,
    line: Line,
    shares: [f64; 3],
    p_x: f64,
    slots_per_second: f64,
    /// The first slot that the present trouble was on the line, once something was sent through it.
    trouble_since: Option<u64>,
    /// Kept while nothing changes.
    sampler: Option<Sampler>,
}

impl Transmitter {
    /// A source and a line of `loss_db`, at slot 0. `background` is the probability per slot of a click by light of
    /// other channels in the fibre; it adds to `Y0`. `rng` seeds the generator of all that happens here, Alice's bits
    /// and bases among it, and is not used afterwards: 256 bits for `ChaCha` with 8 rounds.
    pub fn new(device: &DeviceProfile, loss_db: f64, background: f64, mut rng: impl Rng) -> Self {
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        let line = Line::new(device, loss_db, background);
        Self {
            rng: ChaCha8Rng::from_seed(seed),
            shares: line.shares(),
            line,
            p_x: device.q.sqrt(),
            slots_per_second: device.pulse_rate_hz * device.duty,
            trouble_since: None,
            sampler: None,
        }
    }

    /// Puts somebody on the line, or takes them off it, from the next [`Self::send`] on.
    pub fn set_eve(&mut self, eve: Option<Eve>) {
        self.line.set_eve(eve);
        self.sampler = None;
    }

    /// Brings honest trouble to the line, or mends it, from the next [`Self::send`] on: trouble that grows with time
    /// starts to grow with the first slot sent then.
    pub fn set_trouble(&mut self, trouble: Option<Trouble>) {
        self.line.set_trouble(trouble);
        self.trouble_since = None;
        self.sampler = None;
    }

    /// The line, with whoever and whatever is on it.
    pub fn line(&self) -> &Line {
        &self.line
    }

    /// Sends the pulses of the next `slots`.
    ///
    /// Trouble that grows counts as it stands in the middle of the stretch, so stretches should be shorter than the
    /// time in which it changes much; its time runs with the slots, pauses of the duty cycle included. Memory goes
    /// with the clicks, at some 30 bytes each.
    pub fn send(&mut self, slots: Range<u64>) -> (Sent, Light, EveNotes) {
        let seconds = self.trouble_seconds(&slots);
        let sampler = self.sampler.take().unwrap_or_else(|| {
            Sampler::new(self.shares, &Intensity::ALL.map(|k| self.line.causes(k, seconds)), self.p_x)
        });
        let room = sampler.room(slots.end.saturating_sub(slots.start));
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let mut sent = Sent::new(slots.clone(), room, self.p_x, sampler.idle(), seed);
        let mut light = Light::new(slots.clone(), self.line.misalignment(seconds), self.line.is_bright(), room);
        let mut notes = EveNotes::new(slots.clone(), self.line.eve(), room);
        let mut slot = slots.start;
        loop {
            slot = slot.saturating_add(sampler.gap(&mut self.rng));
            if slot >= slots.end {
                break;
            }
            let candidate = sampler.draw(&mut self.rng);
            sent.push(slot, candidate.pulse);
            light.push(slot, candidate.light);
            notes.push(slot, candidate.note);
            slot += 1;
        }
        renew(&mut self.rng);
        if !self.line.changes_with_time() {
            self.sampler = Some(sampler);
        }
        (sent, light, notes)
    }

    /// How long the trouble on the line has lasted in the middle of `slots`, in seconds.
    fn trouble_seconds(&mut self, slots: &Range<u64>) -> f64 {
        let since = *self.trouble_since.get_or_insert(slots.start);
        let middle = slots.start + slots.end.saturating_sub(slots.start) / 2;
        to_f64(middle.saturating_sub(since)) / self.slots_per_second
    }
}

impl Drop for Transmitter {
    fn drop(&mut self) {
        wipe(&mut self.rng);
    }
}

impl std::fmt::Debug for Transmitter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transmitter").field("line", &self.line).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::RngExt as _;

    use super::super::light::Arrival;
    use super::*;
    use crate::draw::to_count;
    use crate::pulse::{Basis, Pulse};

    const SEED: u64 = 31;
    const SLOTS: u64 = 300_000;

    /// Everything that can be told apart about a candidate: slots skipped before it, capped; pulse; kind of arrival.
    type Cell = (u64, usize, bool, bool, u8);

    fn cell(skipped: u64, pulse: Pulse, arrival: Arrival) -> Cell {
        let kind = match arrival {
            Arrival::Noise => 0,
            Arrival::Photons { several, .. } => 1 + u8::from(several),
            Arrival::Fake { .. } => unreachable!("nobody is on the line"),
        };
        (skipped.min(7), pulse.intensity.index(), pulse.basis == Basis::X, pulse.bit, kind)
    }

    /// A number of photons from a laser, by multiplying uniform numbers (D. E. Knuth).
    fn photons(mean: f64, rng: &mut impl Rng) -> u64 {
        let (mut n, mut left) = (0, rng.random::<f64>());
        while left > (-mean).exp() {
            n += 1;
            left *= rng.random::<f64>();
        }
        n
    }

    /// Pulse by pulse, photon by photon.
    fn by_brute_force(device: &DeviceProfile) -> BTreeMap<Cell, u64> {
        let mut rng = ChaCha8Rng::seed_from_u64(SEED);
        let (mut cells, mut skipped) = (BTreeMap::new(), 0);
        for _ in 0..SLOTS {
            let drawn = rng.random::<f64>();
            let (intensity, mean) = match drawn {
                _ if drawn < device.p_signal => (Intensity::Signal, device.mu),
                _ if drawn < device.p_signal + device.p_decoy => (Intensity::Decoy, device.nu),
                _ => (Intensity::Vacuum, device.mu_vacuum),
            };
            let basis = if rng.random::<f64>() < device.q.sqrt() { Basis::X } else { Basis::Z };
            let pulse = Pulse { basis, bit: rng.random(), intensity };
            let detected = (0..photons(mean, &mut rng)).filter(|_| rng.random::<f64>() < device.eta_bob).count();
            // The loose form: light and noise exclude each other, and noise has Y0 of all slots.
            let noise = rng.random::<f64>() < device.y0 / (-device.eta_bob * mean).exp();
            let arrival = match detected {
                0 if !noise => {
                    skipped += 1;
                    continue;
                }
                0 => Arrival::Noise,
                n => Arrival::Photons { basis, bit: pulse.bit, several: n > 1 },
            };
            *cells.entry(cell(skipped, pulse, arrival)).or_default() += 1;
            skipped = 0;
        }
        cells
    }

    #[test]
    fn skipping_gives_what_drawing_every_pulse_gives() {
        println!("seed {SEED}");
        let device = DeviceProfile {
            eta_bob: 0.6,
            y0: 0.05,
            mu: 1.0,
            nu: 0.4,
            mu_vacuum: 0.1,
            p_signal: 0.5,
            p_decoy: 0.3,
            ..DeviceProfile::named("metro-40mhz").unwrap()
        };
        let mut alice = Transmitter::new(&device, 0.0, 0.0, ChaCha8Rng::seed_from_u64(SEED + 1));
        let (mut sent, light, _) = alice.send(0..SLOTS);
        let (mut skipping, mut next) = (BTreeMap::<Cell, u64>::new(), 0);
        for (slot, arrival) in light.candidates() {
            let pulse = sent.pulse(slot).unwrap();
            if let Arrival::Photons { basis, bit, .. } = arrival {
                assert!(basis == pulse.basis && bit == pulse.bit, "light arrives as it was sent");
            }
            *skipping.entry(cell(slot - next, pulse, arrival)).or_default() += 1;
            next = slot + 1;
        }
        let brute = by_brute_force(&device);
        // The two-sample chi-square over cells that hold enough in both.
        let total = |cells: &BTreeMap<Cell, u64>| to_f64(cells.values().sum());
        let ratio = (total(&brute) / total(&skipping)).sqrt();
        let (mut chi, mut cells) = (0.0, 0.0);
        for (cell, &ours) in &skipping {
            let (ours, theirs) = (to_f64(ours), to_f64(brute.get(cell).copied().unwrap_or_default()));
            if ours + theirs >= 20.0 {
                chi += (ours * ratio - theirs / ratio).powi(2) / (ours + theirs);
                cells += 1.0;
            }
        }
        let sigmas = (chi - cells) / (2.0 * f64::sqrt(cells));
        assert!(to_count(cells) > 150 && sigmas.abs() < 4.0, "chi-square {chi} of {cells} cells");
        assert!((total(&brute) / total(&skipping) - 1.0).abs() < 0.01);
    }
}
