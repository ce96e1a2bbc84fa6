//! Skip sampling: from one slot in which something happens straight to the next.

use rand::Rng;

use super::light::Arrival;
use super::sent::pack;
use super::{other, threshold};
use crate::draw::{to_count, to_f64};
use crate::eve::{Arrives, Cause, Holds, Note};
use crate::pulse::{Basis, Intensity, Pulse};

/// Most outcomes of one candidate; [`Sampler::draw`] takes its number from the upper bits of a random word.
const MOST_OUTCOMES: usize = 1024;

/// Draws the slots in which a detector would click, and what happens in them.
///
/// The gap from one such slot to the next is geometric with `p = Σ p_k Q_k`, over the intensities `k`: one logarithm,
/// however many slots lie in it. Which of the finitely many things happened, in the ratio of their probabilities, is
/// drawn from one table (A. J. Walker's alias method, Electronics Letters 10, 127, 1974), at the same price for any
/// number of them.
pub(super) struct Sampler {
    /// `1/ln(1 − p)`; `None` if nothing ever happens.
    per_log: Option<f64>,
    /// Probability per slot that something happens.
    probability: f64,
    rows: Vec<Row>,
    /// The power of two that is the number of rows.
    row_bits: u32,
    /// Shares of the intensities among the slots in which nothing happened, one after the other added up.
    idle: [u64; 2],
}

/// What happened in a slot but for the bits.
#[derive(Clone, Copy)]
struct Outcome {
    /// Basis and brightness of Alice's pulse.
    pulse: u8,
    /// What arrives, by the bit in it.
    light: [u8; 2],
    /// What Eve holds, by the bit in it.
    note: [u8; 2],
    /// Whether the bit that arrives, and the one that Eve holds, is not Alice's but random.
    foreign: bool,
}

/// One of two outcomes: the first with a chance below the threshold.
#[derive(Clone, Copy)]
struct Row {
    threshold: u64,
    outcomes: [Outcome; 2],
}

/// Something that happened, packed.
#[derive(Clone, Copy)]
pub(super) struct Candidate {
    pub(super) pulse: u8,
    pub(super) light: u8,
    pub(super) note: u8,
}

impl Sampler {
    /// For pulses of which a share `shares[k]` has intensity `k` and meets one of `causes[k]`, in a basis that is X
    /// with probability `p_x`.
    pub(super) fn new(shares: [f64; 3], causes: &[Vec<Cause>; 3], p_x: f64) -> Self {
        let mut outcomes = Vec::new();
        let mut idle = [0.0; 3];
        for (k, intensity) in Intensity::ALL.into_iter().enumerate() {
            idle[k] = shares[k] * (1.0 - causes[k].iter().map(|cause| cause.probability).sum::<f64>()).max(0.0);
            for cause in &causes[k] {
                for (basis, share) in [(Basis::X, p_x), (Basis::Z, 1.0 - p_x)] {
                    let weight = shares[k] * cause.probability * share;
                    let basis_of_eve = |eve, share| (weight * share, Outcome::new(intensity, basis, cause, eve));
                    if matches!(cause.holds, Holds::Nothing | Holds::Bit) {
                        outcomes.push(basis_of_eve(basis, 1.0));
                    } else {
                        outcomes.push(basis_of_eve(basis, 0.5));
                        outcomes.push(basis_of_eve(other(basis), 0.5));
                    }
                }
            }
        }
        outcomes.retain(|(weight, _)| *weight > 0.0);
        let probability = outcomes.iter().map(|(weight, _)| weight).sum::<f64>().min(1.0);
        let per_log = (probability > 0.0).then(|| 1.0 / (-probability).ln_1p());
        let all_idle = idle.iter().sum::<f64>();
        let share = |weight: f64| threshold(if all_idle > 0.0 { weight / all_idle } else { 1.0 });
        let rows = alias_table(&outcomes);
        Self {
            per_log,
            probability,
            row_bits: rows.len().max(1).trailing_zeros(),
            rows,
            idle: [share(idle[0]), share(idle[0] + idle[1])],
        }
    }

    /// How many candidates to make room for in so many slots: more come once in a very long time.
    pub(super) fn room(&self, slots: u64) -> usize {
        let mean = self.probability * to_f64(slots);
        usize::try_from(to_count(mean + 8.0 * mean.sqrt() + 16.0)).unwrap_or(usize::MAX).min(1 << 20)
    }

    /// Slots in which nothing happens before the next in which something does; `u64::MAX` also stands for never.
    pub(super) fn gap(&self, rng: &mut impl Rng) -> u64 {
        self.per_log.map_or(u64::MAX, |per_log| to_count(uniform_open(rng.next_u64()).ln() * per_log))
    }

    /// What happens in such a slot.
    pub(super) fn draw(&self, rng: &mut impl Rng) -> Candidate {
        let word = rng.next_u64();
        let row = usize::try_from(word >> 32 >> (32 - self.row_bits)).unwrap_or_default();
        let Some(row) = self.rows.get(row) else {
            return Candidate { pulse: 0, light: Arrival::Noise.code(), note: Note::Nothing.code() };
        };
        // The row took at most 10 bits off the top, the chance takes the next 48: the lowest bits are free.
        let outcome = &row.outcomes[usize::from(word << self.row_bits >> 16 >= row.threshold)];
        let alice = word & 1 == 1;
        let arriving = if outcome.foreign { word & 2 == 2 } else { alice };
        Candidate {
            pulse: outcome.pulse | pack::bit(alice),
            light: outcome.light[usize::from(arriving)],
            note: outcome.note[usize::from(arriving)],
        }
    }

    /// Thresholds for the intensity of a pulse in a slot in which nothing happened: below the first it is a signal,
    /// below the second a decoy.
    pub(super) fn idle(&self) -> [u64; 2] {
        self.idle
    }
}

impl Outcome {
    fn new(intensity: Intensity, basis: Basis, cause: &Cause, basis_of_eve: Basis) -> Self {
        let resent = matches!(cause.holds, Holds::Outcome | Holds::Invention) && cause.arrives != Arrives::Noise;
        let in_basis = if resent { basis_of_eve } else { basis };
        let light = [false, true].map(|bit| {
            let arrival = match cause.arrives {
                Arrives::Noise => Arrival::Noise,
                Arrives::One => Arrival::Photons { basis: in_basis, bit, several: false },
                Arrives::Several => Arrival::Photons { basis: in_basis, bit, several: true },
                Arrives::Fake => Arrival::Fake { basis: in_basis, bit },
            };
            arrival.code()
        });
        let note = [false, true].map(|bit| {
            let note = match cause.holds {
                Holds::Nothing => Note::Nothing,
                Holds::Bit => Note::Bit(bit),
                Holds::Outcome | Holds::Invention => Note::Outcome { basis: basis_of_eve, bit },
            };
            note.code()
        });
        let foreign = match cause.holds {
            Holds::Nothing | Holds::Bit => false,
            Holds::Outcome => basis_of_eve != basis,
            Holds::Invention => true,
        };
        Self { pulse: pack::pulse(Pulse { basis, bit: false, intensity }), light, note, foreign }
    }
}

/// Uniform in (0, 1], from the upper 53 bits.
fn uniform_open(word: u64) -> f64 {
    to_f64((word >> 11) + 1) * 2f64.powi(-53)
}

/// Rows, as many as a power of two, so that an even choice of a row and a throw against its threshold gives each
/// outcome with a probability in proportion to its weight. Empty if there is nothing to choose from.
fn alias_table(outcomes: &[(f64, Outcome)]) -> Vec<Row> {
    let total = outcomes.iter().map(|(weight, _)| weight).sum::<f64>();
    let (Some((_, first)), true) = (outcomes.first(), total > 0.0) else { return Vec::new() };
    let count = outcomes.len().next_power_of_two();
    assert!(count <= MOST_OUTCOMES, "an attack has a handful of causes, times intensities and bases");
    // Those that fill less than a row are put with those that fill more than one.
    let rows_in = to_f64(count as u64);
    let filled =
        |i: usize| outcomes.get(i).map_or((0.0, *first), |(weight, outcome)| (weight / total * rows_in, *outcome));
    let (mut small, mut large): (Vec<_>, Vec<_>) = (0..count).map(filled).partition(|(fill, _)| *fill < 1.0);
    let mut rows = Vec::with_capacity(count);
    while let Some((fill, outcome)) = small.pop() {
        let Some((rich, donor)) = large.pop() else {
            // Rounding left a row just below full.
            rows.push(Row { threshold: u64::MAX, outcomes: [outcome; 2] });
            continue;
        };
        rows.push(Row { threshold: threshold(fill), outcomes: [outcome, donor] });
        let left = rich - (1.0 - fill);
        if left < 1.0 { small.push((left, donor)) } else { large.push((left, donor)) }
    }
    rows.extend(large.into_iter().map(|(_, outcome)| Row { threshold: u64::MAX, outcomes: [outcome; 2] }));
    rows
}
