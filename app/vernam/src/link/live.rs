//! What the screen shows: state folded from events. No clock, no terminal.

use std::collections::VecDeque;

use super::events::{Block, Event, Growing, Setup, Stamped, Sums, float};

/// Blocks of which the charts know.
const KEPT: usize = 512;
/// Standard deviations by which a count may be off before it is called so.
const SIGMAS: f64 = 5.0;
/// And the share by which it may be off besides: the expectation is the model's loose form.
const SLACK: f64 = 0.03;

/// The link as the screen shows it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Live {
    /// What link it is.
    pub setup: Option<Setup>,
    /// Virtual time, seconds.
    pub now: f64,
    /// The block in the making.
    pub growing: Option<Growing>,
    /// The last blocks, oldest first.
    pub blocks: VecDeque<Block>,
    /// Who and what is on the line, in words; only the simulation knows.
    pub disturbed: Option<String>,
    /// Whether it is Eve.
    pub eve: bool,
    /// Sums so far.
    pub sums: Sums,
    /// Whether the run is over.
    pub ended: bool,
}

/// How the clicks of one kind of pulses compare with what is expected of a line with nobody on it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gain {
    /// Mean photon number.
    pub mu: f64,
    /// Clicks per pulse.
    pub seen: f64,
    /// Clicks per pulse with nobody on the line.
    pub expected: f64,
    /// How they compare.
    pub verdict: Verdict,
}

/// How a count compares with its expectation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It fits.
    Fits,
    /// There is too little.
    Low,
    /// There is too much.
    High,
}

impl Live {
    /// Takes an event in.
    pub fn apply(&mut self, stamped: &Stamped) {
        self.now = self.now.max(stamped.t);
        match &stamped.event {
            Event::Started(setup) => self.setup = Some(setup.clone()),
            Event::Progress(growing) => self.growing = Some(growing.clone()),
            Event::Block(block) | Event::Discarded(block) => {
                self.sums.add(block);
                self.growing = None;
                if self.blocks.len() == KEPT {
                    self.blocks.pop_front();
                }
                self.blocks.push_back(Block::clone(block));
            }
            Event::Disturbed { eve, trouble } => {
                self.disturbed = Some(super::records::disturbance(eve.as_deref(), trouble.as_deref()));
                self.eve = eve.is_some();
            }
            Event::Ended(_) => self.ended = true,
        }
    }

    /// Lets virtual time pass without an event.
    pub fn tick(&mut self, now: f64) {
        self.now = self.now.max(now);
    }

    /// The last finished block.
    pub fn last(&self) -> Option<&Block> {
        self.blocks.back()
    }

    /// Why there is no key, if the last block was thrown away.
    pub fn alarm(&self) -> Option<&str> {
        self.last()?.reason.as_deref()
    }

    /// The gains of the block in the making, or of the last one while there is nothing yet.
    pub fn gains(&self) -> Option<[Gain; 3]> {
        let setup = self.setup.as_ref()?;
        let (pulses, seen) = match (&self.growing, self.last()) {
            (Some(growing), _) => (growing.pulses, growing.gains),
            (None, Some(block)) => (block.pulses, block.gains),
            (None, None) => return None,
        };
        Some(std::array::from_fn(|kind| {
            let (seen, expected) = (seen[kind], setup.expected_gains[kind]);
            let sent = float(pulses) * setup.shares[kind];
            let (counted, due) = (sent * seen, sent * expected);
            let spread = SIGMAS * due.max(1.0).sqrt() + SLACK * due;
            let verdict = match counted - due {
                off if off < -spread => Verdict::Low,
                off if off > spread => Verdict::High,
                _ => Verdict::Fits,
            };
            Gain { mu: setup.mu[kind], seen, expected, verdict }
        }))
    }
}
