//! What Eve holds.

use std::fmt;
use std::ops::Range;

use zeroize::Zeroize as _;

use super::Eve;
use crate::optics::secret::{push_secret, seek};
use crate::pulse::Basis;

/// What Eve holds of the pulses of one stretch of slots that reached Bob. Nobody else may see it.
///
/// Kept so that tests can compare what she really learned with what privacy amplification took off. Neither `Clone` nor
/// shown by `Debug`; wiped when it is dropped.
pub struct EveNotes {
    slots: Range<u64>,
    eve: Option<Eve>,
    at: Vec<u64>,
    notes: Vec<u8>,
    /// The next note that may be asked for.
    cursor: usize,
}

/// What Eve holds of one pulse. Secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// Nothing.
    Nothing,
    /// A photon that waits in her memory, or the setting itself: with the basis announced, she has Alice's bit.
    Bit(bool),
    /// What she measured: Alice's bit if the pulse was in this basis, else worth nothing. If she blinded Bob, it is
    /// what he has, when he chose this basis.
    Outcome {
        /// The basis that she chose.
        basis: Basis,
        /// What she found.
        bit: bool,
    },
}

impl Note {
    /// The kind in the upper bits, the bit in the lowest.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Nothing => 0,
            Self::Bit(bit) => 2 | u8::from(bit),
            Self::Outcome { basis: Basis::X, bit } => 4 | u8::from(bit),
            Self::Outcome { basis: Basis::Z, bit } => 6 | u8::from(bit),
        }
    }

    fn from_code(code: u8) -> Self {
        let bit = code & 1 == 1;
        match code >> 1 {
            1 => Self::Bit(bit),
            2 => Self::Outcome { basis: Basis::X, bit },
            3 => Self::Outcome { basis: Basis::Z, bit },
            _ => Self::Nothing,
        }
    }
}

impl EveNotes {
    /// An empty notebook, with room for so many if there is anybody to keep it.
    pub(crate) fn new(slots: Range<u64>, eve: Option<Eve>, candidates: usize) -> Self {
        let room = if eve.is_some() { candidates } else { 0 };
        Self { slots, eve, at: Vec::with_capacity(room), notes: Vec::with_capacity(room), cursor: 0 }
    }

    /// Adds a note, of a later slot than those before.
    pub(crate) fn push(&mut self, slot: u64, code: u8) {
        if code != Note::Nothing.code() {
            self.at.push(slot);
            push_secret(&mut self.notes, code);
        }
    }

    /// The slots.
    pub fn slots(&self) -> Range<u64> {
        self.slots.clone()
    }

    /// Who keeps them; `None` if nobody is on the line.
    pub fn eve(&self) -> Option<Eve> {
        self.eve
    }

    /// What she holds of the pulse in `slot`. Slots must be asked in rising order; [`Note::Nothing`] for one that was
    /// passed over.
    pub fn note(&mut self, slot: u64) -> Note {
        self.cursor = seek(&self.at, self.cursor, slot);
        if self.at.get(self.cursor) != Some(&slot) {
            return Note::Nothing;
        }
        self.notes.get(self.cursor).map_or(Note::Nothing, |code| Note::from_code(*code))
    }

    /// The bit of the pulse in `slot`, if Eve has it once `basis` is announced as that of both Alice and Bob. Slots
    /// must be asked in rising order.
    pub fn knows(&mut self, slot: u64, basis: Basis) -> Option<bool> {
        match self.note(slot) {
            Note::Bit(bit) => Some(bit),
            Note::Outcome { basis: measured, bit } if measured == basis => Some(bit),
            Note::Outcome { .. } | Note::Nothing => None,
        }
    }
}

impl Drop for EveNotes {
    fn drop(&mut self) {
        self.notes.zeroize();
    }
}

impl fmt::Debug for EveNotes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EveNotes {{ slots: {:?}, eve: {:?}, <{} secret notes> }}", self.slots, self.eve, self.at.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_back_by_slot_and_open_with_the_basis() {
        let all = [
            Note::Nothing,
            Note::Bit(true),
            Note::Outcome { basis: Basis::X, bit: false },
            Note::Outcome { basis: Basis::Z, bit: true },
            Note::Bit(false),
        ];
        let mut notes = EveNotes::new(0..100, Some(Eve::beam_splitting()), 0);
        (10..).zip(all).for_each(|(slot, note)| notes.push(slot, note.code()));
        for slot in 0..100usize {
            let expected = slot.checked_sub(10).and_then(|i| all.get(i)).copied().unwrap_or(Note::Nothing);
            assert!(notes.note(slot as u64) == expected, "slot {slot}");
        }
        assert_eq!(
            format!("{notes:?}"),
            "EveNotes { slots: 0..100, eve: Some(Eve { attack: BeamSplitting }), <4 secret notes> }"
        );
        for (basis, known) in [
            (Basis::X, [None, Some(true), Some(false), None, Some(false)]),
            (Basis::Z, [None, Some(true), None, Some(true), Some(false)]),
        ] {
            notes.cursor = 0;
            assert!((10..15).map(|slot| notes.knows(slot, basis)).eq(known), "{basis:?}");
        }
    }
}
