//! What a receiver made of a trace.

use crate::trace::{LEAST, Trace};

/// What is played at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    /// The frame of this packet.
    Packet(u32),
    /// The copy of this frame in another packet.
    Copy(u32),
    /// Something made up.
    MadeUp,
}

/// A part of what is played, from `at` (microseconds by the receiver's clock) on, for so many samples.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Played {
    pub(crate) at: u64,
    pub(crate) samples: i64,
    pub(crate) part: Part,
}

/// The judgement, from the first packet played on.
#[derive(Default)]
pub(crate) struct Verdict {
    /// When each packet was played, and how much later than the quickest network would have brought it, ms.
    delays: Vec<(u64, f64)>,
    /// Samples: all, made up, and out of copies.
    total: i64,
    made_up: i64,
    copies: i64,
    /// Packets that came, and of these the ones that were not played.
    came: usize,
    unheard: usize,
}

impl Verdict {
    pub(crate) fn of(trace: &Trace, played: &[Played]) -> Self {
        let first = played.iter().position(|played| matches!(played.part, Part::Packet(_))).unwrap();
        let played = &played[first..];
        let mut verdict = Self::default();
        for Played { at, samples, part } in played.iter().copied() {
            verdict.total += samples;
            match part {
                Part::Packet(seq) => {
                    let quickest = trace.packets[seq as usize].0 + LEAST;
                    verdict.delays.push((at, (at as f64 - quickest as f64) / 1_000.0));
                }
                Part::Copy(_) => verdict.copies += samples,
                Part::MadeUp => verdict.made_up += samples,
            }
        }
        let numbers: Vec<_> = played
            .iter()
            .filter_map(|played| if let Part::Packet(seq) = played.part { Some(seq) } else { None })
            .collect();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "each once, in order");
        // What comes after the end is nobody's fault.
        let (from, until) = (numbers[0], *numbers.last().unwrap());
        verdict.came = (from..=until).filter(|seq| trace.packets[*seq as usize].1.is_some()).count();
        verdict.unheard = verdict.came - numbers.len();
        verdict
    }

    /// Both as if they were one.
    #[must_use]
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.delays.extend(other.delays);
        Self {
            delays: self.delays,
            total: self.total + other.total,
            made_up: self.made_up + other.made_up,
            copies: self.copies + other.copies,
            came: self.came + other.came,
            unheard: self.unheard + other.unheard,
        }
    }

    /// Made up, percent of the sound.
    pub(crate) fn made_up(&self) -> f64 {
        100.0 * self.made_up as f64 / self.total as f64
    }

    /// Out of copies, percent of the sound.
    pub(crate) fn copies(&self) -> f64 {
        100.0 * self.copies as f64 / self.total as f64
    }

    /// Packets that came and were not played, percent.
    pub(crate) fn unheard(&self) -> f64 {
        100.0 * self.unheard as f64 / self.came as f64
    }

    /// The delay that so many percent of the packets did not exceed, of those played from `from` to `until` (s).
    pub(crate) fn delay(&self, percent: usize, from: f64, until: f64) -> f64 {
        let seconds = |at: u64| at as f64 / 1e6;
        let within = self.delays.iter().filter(|(at, _)| (from..until).contains(&seconds(*at)));
        let mut delays: Vec<f64> = within.map(|(_, delay)| *delay).collect();
        delays.sort_by(f64::total_cmp);
        delays[(delays.len() * percent).div_ceil(100).max(1) - 1]
    }
}
