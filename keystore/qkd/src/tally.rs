//! What Eve knows of the sifted key, beside what privacy amplification takes off: a book that only a simulation can keep.

use crate::block::BlockReport;
use crate::decoy::binary_entropy;
use crate::draw::to_f64;
use crate::finite::Bounds;

/// Eve's knowledge of the sifted key of one block, and what the two ends assumed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EveTally {
    /// The block; 0 before there is one.
    pub block: u64,
    /// Sifted bits of its key basis.
    pub sifted_bits: u64,
    /// How many of them she knows for certain, from the light alone.
    pub known_bits: u64,
    /// How many of them privacy amplification assumes that she may know from the light:
    /// `n_X − s_X0 − s_X1 (1 − h(φ_X))` with the bounds of the block. All of them if the block gave no key.
    pub assumed_bits: f64,
}

impl EveTally {
    /// What she knew of a finished block, and what was assumed; `gave_key` if it passed.
    pub(crate) fn of(report: &BlockReport, known_bits: u64, gave_key: bool) -> Self {
        let Bounds { vacuum, single, phase_error, .. } = report.bounds;
        let secret = if gave_key { vacuum + single * (1.0 - binary_entropy(phase_error)) } else { 0.0 };
        let (block, sifted_bits) = (report.number, report.sifted_bits());
        let sifted = to_f64(sifted_bits);
        Self { block, sifted_bits, known_bits, assumed_bits: (sifted - secret).clamp(0.0, sifted) }
    }
}

/// The book.
#[derive(Default)]
pub(crate) struct Tally {
    /// Slots of sifted bits that she knows, rising: of the block in the making, and of what comes after it.
    known: Vec<u64>,
    last: EveTally,
}

impl Tally {
    /// Adds what she learned in one stretch of light: the slots of the bits, rising.
    pub(crate) fn add(&mut self, slots: impl Iterator<Item = u64>) {
        self.known.extend(slots);
    }

    /// A block is finished that ended before slot `end`; `gave_key` if it passed.
    pub(crate) fn close(&mut self, report: &BlockReport, end: u64, gave_key: bool) {
        let in_block = self.known.partition_point(|slot| *slot < end);
        self.known.drain(..in_block);
        self.last = EveTally::of(report, in_block as u64, gave_key);
    }

    /// The last finished block.
    pub(crate) fn last(&self) -> EveTally {
        self.last
    }
}
