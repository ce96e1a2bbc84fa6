//! What arrives at Bob's end: a list of slots in which something will happen, small enough to travel between processes.

use std::ops::Range;

use thiserror::Error;
use zeroize::Zeroize as _;

use super::secret::push_secret;
use super::{basis_of, code};
use crate::pulse::Basis;

/// Bytes before the candidates of an encoded [`Light`]: first slot, slot after the last, misalignment, brightness.
const HEADER: usize = 25;

/// Bits of the distance to the candidate before that fit into its first byte, beside four bits of state.
const FIRST_BITS: u32 = 3;

/// What arrives at Bob's end in one stretch of slots: only pulses that make a detector click, if it is awake.
///
/// It stands for the light itself: whoever reads it knows what no measurement could tell. Neither `Clone` nor shown by
/// `Debug`; wiped when it is dropped. About ten bytes a candidate in memory, two to three encoded.
pub struct Light {
    slots: Range<u64>,
    misalignment: f64,
    bright: bool,
    at: Vec<u64>,
    states: Vec<u8>,
}

/// Bytes that are no [`Light`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LightError {
    /// They end too early.
    #[error("the list of light pulses ends in the middle: it was cut off on the way, send it again")]
    CutOff,
    /// The stretch of slots ends before it begins.
    #[error("the list of light pulses is for slots {start} to {end}, which run backwards: the sender is at fault")]
    Backwards {
        /// First slot.
        start: u64,
        /// The slot after the last.
        end: u64,
    },
    /// The header holds a number that means nothing.
    #[error("the header of a list of light pulses has an unusable {0}: the sender is at fault")]
    Header(&'static str),
    /// A pulse is in no state that light can be in, or is not encoded in the one way it should be.
    #[error("a light pulse in the list is malformed: the sender is at fault")]
    Malformed,
    /// A pulse lies outside of the stretch of slots.
    #[error("a light pulse lies outside of the slots of its list: the sender is at fault")]
    OutOfRange,
}

/// The state of what arrives in one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Nothing: a detector clicks by itself.
    Noise,
    /// One photon, or several of which two take part in the click.
    Photons {
        /// The basis in which it was prepared.
        basis: Basis,
        /// The bit.
        bit: bool,
        /// Whether there are several.
        several: bool,
    },
    /// Bright light, shaped so that it makes a blinded detector click in this basis and stay silent in the other.
    Fake {
        /// The basis.
        basis: Basis,
        /// The bit.
        bit: bool,
    },
}

impl Arrival {
    /// Four bits: the kind in the upper two, basis and bit in the lower.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Noise => 0,
            Self::Photons { basis, bit, several } => (1 + u8::from(several)) << 2 | code(basis) << 1 | u8::from(bit),
            Self::Fake { basis, bit } => 3 << 2 | code(basis) << 1 | u8::from(bit),
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        let (basis, bit) = (basis_of(code >> 1), code & 1 == 1);
        match code >> 2 {
            0 if code == 0 => Some(Self::Noise),
            kind @ (1 | 2) => Some(Self::Photons { basis, bit, several: kind == 2 }),
            3 => Some(Self::Fake { basis, bit }),
            _ => None,
        }
    }
}

impl Light {
    /// An empty list, with room for `candidates`.
    pub(super) fn new(slots: Range<u64>, misalignment: f64, bright: bool, candidates: usize) -> Self {
        let (at, states) = (Vec::with_capacity(candidates), Vec::with_capacity(candidates));
        Self { slots, misalignment, bright, at, states }
    }

    /// Adds a candidate, in a later slot than those before.
    pub(super) fn push(&mut self, slot: u64, state: u8) {
        self.at.push(slot);
        push_secret(&mut self.states, state);
    }

    /// The slots.
    pub fn slots(&self) -> Range<u64> {
        self.slots.clone()
    }

    /// How many candidates there are: a measure of its size. Not all of them will click.
    pub fn len(&self) -> usize {
        self.at.len()
    }

    /// Whether nothing arrives.
    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    /// The probability that a photon measured in its own basis takes the wrong way (`e_d`), the same for the whole
    /// stretch.
    pub(super) fn misalignment(&self) -> f64 {
        self.misalignment
    }

    /// Whether light so bright came with it that it blinds a detector.
    pub(super) fn bright(&self) -> bool {
        self.bright
    }

    /// The candidates, in rising order of slots.
    pub(super) fn candidates(&self) -> impl Iterator<Item = (u64, Arrival)> {
        let arrival = |code: &u8| Arrival::from_code(*code).expect("only valid codes are pushed or decoded");
        self.at.iter().copied().zip(self.states.iter().map(arrival))
    }

    /// Appends it to `out`, for the wire between two processes: a header of 25 bytes (first slot, slot after the last,
    /// misalignment, one byte of brightness; little endian), then for each candidate its state in four bits and the
    /// slots skipped since the one before in 3, then 7 bits a byte, the lowest first, the top bit saying that more
    /// follow.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(HEADER + 3 * self.at.len());
        out.extend_from_slice(&self.slots.start.to_le_bytes());
        out.extend_from_slice(&self.slots.end.to_le_bytes());
        out.extend_from_slice(&self.misalignment.to_le_bytes());
        out.push(u8::from(self.bright));
        let mut next = self.slots.start;
        for (&slot, &state) in self.at.iter().zip(&self.states) {
            let skipped = slot - next;
            let mut rest = skipped >> FIRST_BITS;
            out.push(low_bits(skipped, FIRST_BITS) << 4 | state | more(rest));
            while rest > 0 {
                let bits = low_bits(rest, 7);
                rest >>= 7;
                out.push(bits | more(rest));
            }
            next = slot + 1;
        }
    }

    /// Reads what [`Self::encode`] wrote, all of `bytes`. They may come from anyone: what does not mean light gives an
    /// error, and memory is at most ten times the length of `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, LightError> {
        let (header, mut rest) = bytes.split_at_checked(HEADER).ok_or(LightError::CutOff)?;
        let word = |at: usize| {
            let word = header.get(at..at + 8).and_then(|word| word.try_into().ok());
            word.map(u64::from_le_bytes).ok_or(LightError::CutOff)
        };
        let slots = word(0)?..word(8)?;
        if slots.start > slots.end {
            return Err(LightError::Backwards { start: slots.start, end: slots.end });
        }
        let misalignment = f64::from_bits(word(16)?);
        if !(0.0..=1.0).contains(&misalignment) {
            return Err(LightError::Header("misalignment"));
        }
        let bright = match header.last() {
            Some(0) => false,
            Some(1) => true,
            _ => return Err(LightError::Header("brightness")),
        };
        let end = slots.end;
        let mut next = Some(slots.start);
        let mut light = Self::new(slots, misalignment, bright, rest.len());
        while !rest.is_empty() {
            let (state, skipped) = candidate(&mut rest)?;
            Arrival::from_code(state).ok_or(LightError::Malformed)?;
            let slot = next.and_then(|next| next.checked_add(skipped)).filter(|slot| *slot < end);
            let slot = slot.ok_or(LightError::OutOfRange)?;
            light.push(slot, state);
            next = slot.checked_add(1);
        }
        Ok(light)
    }
}

/// Takes one candidate off the front: its state, and how many slots were skipped before it.
fn candidate(bytes: &mut &[u8]) -> Result<(u8, u64), LightError> {
    let first = take(bytes)?;
    let mut skipped = u64::from(first >> 4 & 0b111);
    let (mut shift, mut last) = (FIRST_BITS, first);
    while last & 0x80 != 0 {
        last = take(bytes)?;
        let bits = u64::from(last & 0x7F);
        // One number has one encoding: no padding with zeros, nothing beyond 64 bits.
        if last == 0 || shift >= u64::BITS || bits << shift >> shift != bits {
            return Err(LightError::Malformed);
        }
        skipped |= bits << shift;
        shift += 7;
    }
    Ok((first & 0b1111, skipped))
}

fn take(bytes: &mut &[u8]) -> Result<u8, LightError> {
    let (first, rest) = bytes.split_first().ok_or(LightError::CutOff)?;
    *bytes = rest;
    Ok(*first)
}

fn low_bits(number: u64, bits: u32) -> u8 {
    (number & ((1 << bits) - 1)).to_le_bytes()[0]
}

fn more(rest: u64) -> u8 {
    if rest > 0 { 0x80 } else { 0 }
}

impl Drop for Light {
    fn drop(&mut self) {
        self.states.zeroize();
    }
}

impl std::fmt::Debug for Light {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Light {{ slots: {:?}, <{} candidates> }}", self.slots, self.at.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Light {
        let mut light = Light::new(5..u64::MAX, 0.02, true, 0);
        for (i, slot) in [5, 6, 13, 14 + 8, 3_000, 1 << 40, u64::MAX - 1].into_iter().enumerate() {
            let (basis, bit) = (basis_of(u8::from(i % 2 == 0)), i % 3 == 0);
            let arrival = match i % 4 {
                0 => Arrival::Noise,
                1 => Arrival::Fake { basis, bit },
                kind => Arrival::Photons { basis, bit, several: kind == 2 },
            };
            light.push(slot, arrival.code());
        }
        light
    }

    #[test]
    fn survives_the_wire_in_few_bytes() {
        let (light, mut bytes) = (sample(), Vec::new());
        light.encode(&mut bytes);
        let back = Light::decode(&bytes).unwrap();
        assert_eq!((back.slots(), back.bright(), back.len()), (light.slots(), true, 7));
        assert!((back.misalignment() - 0.02).abs() < f64::EPSILON);
        assert!(light.candidates().eq(back.candidates()));
        assert_eq!(bytes.len(), HEADER + 1 + 1 + 1 + 2 + 3 + 7 + 10, "{bytes:?}");
    }

    #[test]
    fn every_cut_and_every_wrong_number_is_an_error() {
        let mut bytes = Vec::new();
        sample().encode(&mut bytes);
        for cut in 0..HEADER {
            assert_eq!(Light::decode(&bytes[..cut]).unwrap_err(), LightError::CutOff);
        }
        assert_eq!(Light::decode(&bytes[..bytes.len() - 1]).unwrap_err(), LightError::CutOff);
        let with = |at: usize, byte: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = byte;
            Light::decode(&bytes).unwrap_err()
        };
        assert!(matches!(with(15, 0), LightError::OutOfRange));
        assert!(matches!(with(7, 0xFF), LightError::OutOfRange | LightError::Backwards { .. }));
        assert_eq!(with(23, 0xFF), LightError::Header("misalignment"));
        assert_eq!(with(24, 2), LightError::Header("brightness"));
        assert_eq!(with(HEADER, 1), LightError::Malformed, "noise has no bit");
        let header = |start: u64, end: u64| {
            let mut bytes = Vec::new();
            Light::new(start..end, 0.0, false, 0).encode(&mut bytes);
            bytes
        };
        assert_eq!(Light::decode(&header(2, 1)).unwrap_err(), LightError::Backwards { start: 2, end: 1 });
        for (tail, error) in [
            (&[0x00, 0x00][..], LightError::OutOfRange),
            (&[0x80, 0x00], LightError::Malformed),
            (&[0x80, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F], LightError::Malformed),
            (&[0x80, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F], LightError::OutOfRange),
        ] {
            assert_eq!(Light::decode(&[&header(7, 8)[..], tail].concat()).unwrap_err(), error, "{tail:?}");
        }
    }

    #[test]
    fn debug_shows_no_light() {
        let text = format!("{:?}", Light::new(0..9, 0.0, false, 0));
        assert_eq!(text, "Light { slots: 0..9, <0 candidates> }");
    }
}
