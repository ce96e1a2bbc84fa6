//! Sifting: which clicks were measured in the basis they were prepared in.
//!
//! Bob names the slots in which something clicked and his bases, about two bytes each; Alice answers with what is
//! needed to sort them: a bit for each, four more for each that matches. Neither says a bit of the key basis.

use std::ops::Range;

use super::limits::MAX_SIFT_DETECTIONS;
use super::wire::{Packer, Reader, packed, padding_is_zero, put_varint};
use crate::pulse::{Basis, Intensity};

/// Bob's first message about a stretch of slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sift {
    /// The last block that Bob finished; 0 if there is none.
    pub(super) finished: u64,
    /// The stretch.
    pub(super) slots: Range<u64>,
    /// Where something clicked, rising, and Bob's basis.
    pub(super) places: Vec<(u64, Basis)>,
}

impl Sift {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.finished.to_le_bytes());
        out.extend_from_slice(&self.slots.start.to_le_bytes());
        put_varint(self.slots.end.saturating_sub(self.slots.start), out);
        put_varint(self.places.len() as u64, out);
        let mut next = self.slots.start;
        for &(slot, basis) in &self.places {
            put_varint(slot.saturating_sub(next) << 1 | u64::from(basis == Basis::Z), out);
            next = slot.saturating_add(1);
        }
    }

    /// `None` unless the stretch is not empty and has its detections in it, each slot once, rising.
    pub(super) fn decode(payload: &[u8]) -> Option<Self> {
        let mut reader = Reader(payload);
        let (finished, start) = (reader.u64()?, reader.u64()?);
        let end = start.checked_add(reader.varint()?)?;
        let count = usize::try_from(reader.varint()?).ok().filter(|count| *count <= MAX_SIFT_DETECTIONS)?;
        let mut places = Vec::with_capacity(count.min(payload.len()));
        let mut next = start;
        for _ in 0..count {
            let code = reader.varint()?;
            let slot = next.checked_add(code >> 1).filter(|slot| *slot < end)?;
            places.push((slot, if code & 1 == 1 { Basis::Z } else { Basis::X }));
            next = slot + 1;
        }
        reader.end()?;
        (start < end).then_some(Self { finished, slots: start..end, places })
    }
}

/// What became of one detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sorted {
    /// The bases differ.
    Lost,
    /// Both chose the key basis.
    Key(Intensity),
    /// Both chose the test basis; what Alice had prepared.
    Test(Intensity, bool),
}

impl Sorted {
    /// How many kinds of entry there are.
    pub(super) const KINDS: usize = 10;

    /// Which kind this is, from 0: the lost one, three of the key, six of the test. A processor cannot foresee which
    /// comes next, so what is done with each is looked up rather than decided.
    pub(super) fn kind(self) -> usize {
        match self {
            Self::Lost => 0,
            Self::Key(intensity) => 1 + intensity.index(),
            Self::Test(intensity, bit) => 4 + 2 * intensity.index() + usize::from(bit),
        }
    }
}

/// Alice's answer: one entry for each detection.
pub(super) fn encode_reply(sorted: &[Sorted], out: &mut Vec<u8>) {
    // For each kind: whether the bases match, and the details with their number of bits.
    const MATCHES: [u64; Sorted::KINDS] = [0, 1, 1, 1, 1, 1, 1, 1, 1, 1];
    const DETAILS: [(u64, u32); Sorted::KINDS] =
        [(0, 0), (0, 2), (1, 2), (2, 2), (0, 3), (4, 3), (1, 3), (5, 3), (2, 3), (6, 3)];
    let mut matches = Packer::default();
    let mut details = Packer::default();
    for entry in sorted {
        let kind = entry.kind();
        matches.push(MATCHES[kind], 1);
        let (bits, count) = DETAILS[kind];
        details.push(bits, count);
    }
    matches.append_to(out);
    details.append_to(out);
}

/// Reads Alice's answer to `places`. `None` if it does not fit them.
pub(super) fn decode_reply(payload: &[u8], places: &[(u64, Basis)]) -> Option<Vec<Sorted>> {
    let (matches, details) = payload.split_at_checked(places.len().div_ceil(8))?;
    let mut at = 0;
    let mut next = || {
        at += 1;
        packed(details, at - 1)
    };
    let mut sorted = Vec::with_capacity(places.len());
    for (number, (_, basis)) in places.iter().enumerate() {
        if !packed(matches, number) {
            sorted.push(Sorted::Lost);
            continue;
        }
        let intensity = *Intensity::ALL.get(usize::from(next()) + 2 * usize::from(next()))?;
        sorted.push(match basis {
            Basis::X => Sorted::Key(intensity),
            Basis::Z => Sorted::Test(intensity, next()),
        });
    }
    let exact = details.len() == at.div_ceil(8) && padding_is_zero(matches, places.len());
    (exact && padding_is_zero(details, at)).then_some(sorted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn basis(z: bool) -> Basis {
        if z { Basis::Z } else { Basis::X }
    }

    proptest! {
        #[test]
        fn messages_survive_and_any_bytes_are_read_or_refused(
            start in 0..1_u64 << 60,
            gaps in prop::collection::vec((0..300_u64, any::<bool>(), 0..5_usize), 0..60),
            more in 1..1_000_u64,
            bytes in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let mut next = start;
            let places: Vec<_> = gaps.iter().map(|(gap, z, _)| {
                next += gap + 1;
                (next - 1, basis(*z))
            }).collect();
            let sift = Sift { finished: 8, slots: start..next + more, places: places.clone() };
            let mut out = Vec::new();
            sift.encode(&mut out);
            prop_assert_eq!(Sift::decode(&out), Some(sift));
            out.push(0);
            prop_assert_eq!(Sift::decode(&out), None);

            let sorted: Vec<_> = gaps.iter().map(|(gap, z, kind)| match (Intensity::ALL.get(*kind), z) {
                (None, _) => Sorted::Lost,
                (Some(intensity), false) => Sorted::Key(*intensity),
                (Some(intensity), true) => Sorted::Test(*intensity, gap % 2 == 1),
            }).collect();
            let mut reply = Vec::new();
            encode_reply(&sorted, &mut reply);
            prop_assert_eq!(decode_reply(&reply, &places), Some(sorted));
            reply.push(0);
            prop_assert_eq!(decode_reply(&reply, &places), None);

            if let Some(sift) = Sift::decode(&bytes) {
                let mut again = Vec::new();
                sift.encode(&mut again);
                prop_assert_eq!(again, bytes.clone());
            }
            if let Some(sorted) = decode_reply(&bytes, &places) {
                let mut again = Vec::new();
                encode_reply(&sorted, &mut again);
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
