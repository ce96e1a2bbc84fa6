//! Messages between the two ends, as bytes. All numbers are little-endian.
//!
//! ```text
//!  kind u8 │ block u64 │ sequence u32 │ payload …
//! ```
//!
//! The sequence counts the messages of one direction in one block, from 0. Only [`Kind::GiveUp`] has none (0).

use super::limits::MAX_MESSAGE_BYTES;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Bob: a stretch of slots, where he detected something in it and in which bases.
    Sift,
    /// Alice: which of the bases were hers too; for these the intensity, and in the test basis her bit.
    SiftReply,
    /// Bob: errors of the test basis in that stretch, whether the block is full and whether there was bright light.
    Errors,
    /// Alice: the seed of error correction.
    Start,
    /// Bob: a question of error correction.
    Ask,
    /// Alice: the answer.
    Answer,
    /// Bob: all is corrected; the errors of the key basis.
    Corrected,
    /// Alice: a hash of her key, under a fresh public key.
    Verify,
    /// Bob: his key has the same hash.
    Verified,
    /// Alice: length and seed of privacy amplification; her tag over all that she has sent in this block.
    Amplify,
    /// Bob: done; his tag over all that he has sent in this block.
    Confirm,
    /// Alice: done too; her tag.
    Commit,
    /// Both: the block is given up, and why.
    GiveUp,
}

impl Kind {
    const ALL: [Self; 13] = [
        Self::Sift,
        Self::SiftReply,
        Self::Errors,
        Self::Start,
        Self::Ask,
        Self::Answer,
        Self::Corrected,
        Self::Verify,
        Self::Verified,
        Self::Amplify,
        Self::Confirm,
        Self::Commit,
        Self::GiveUp,
    ];
}

/// One message, taken apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    pub(super) kind: Kind,
    pub(super) block: u64,
    pub(super) sequence: u32,
    pub(super) payload: &'a [u8],
    /// All of it.
    pub(super) bytes: &'a [u8],
}

impl<'a> Frame<'a> {
    /// `None` if it is too short or too long, or of no known kind.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() > MAX_MESSAGE_BYTES {
            return None;
        }
        let mut reader = Reader(bytes);
        let kind = *Kind::ALL.get(usize::from(reader.u8()?).checked_sub(1)?)?;
        Some(Self { kind, block: reader.u64()?, sequence: reader.u32()?, payload: reader.0, bytes })
    }
}

/// A message with an empty payload, to be appended.
pub(super) fn header(kind: Kind, block: u64, sequence: u32) -> Vec<u8> {
    let place = Kind::ALL.iter().position(|other| *other == kind).expect("ALL holds every kind");
    let mut bytes = Vec::with_capacity(64);
    bytes.push(u8::try_from(place + 1).expect("there are few kinds"));
    bytes.extend_from_slice(&block.to_le_bytes());
    bytes.extend_from_slice(&sequence.to_le_bytes());
    bytes
}

/// Reads from the front; `None` once there is not enough.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Reader<'_> {
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A number between `least` and `most`.
    pub(super) fn f64_in(&mut self, least: f64, most: f64) -> Option<f64> {
        self.array().map(f64::from_le_bytes).filter(|number| (least..=most).contains(number))
    }

    /// A number in as few bytes as it needs, seven bits in each, least significant first; the shortest form only.
    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let part = u64::from(byte & 0x7F);
            if part << shift >> shift != part {
                return None;
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                return (byte != 0 || shift == 0).then_some(number);
            }
        }
        None
    }

    /// `Some` if all was read.
    pub(super) fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// See [`Reader::varint`].
pub(super) fn put_varint(mut number: u64, out: &mut Vec<u8>) {
    loop {
        let part = u8::try_from(number & 0x7F).expect("seven bits fit");
        number >>= 7;
        if number == 0 {
            return out.push(part);
        }
        out.push(part | 0x80);
    }
}

/// Bits in bytes, least significant first.
#[derive(Default)]
pub(super) struct Packer {
    bytes: Vec<u8>,
    /// Bits that fill no word yet, and how many: always fewer than 32.
    word: u64,
    used: u32,
}

impl Packer {
    /// Appends the low `count` bits of `bits`, at most 32; the others must be 0.
    pub(super) fn push(&mut self, bits: u64, count: u32) {
        self.word |= bits << self.used;
        self.used += count;
        if self.used >= 32 {
            self.bytes.extend_from_slice(&self.word.to_le_bytes()[..4]);
            self.word >>= 32;
            self.used -= 32;
        }
    }

    pub(super) fn append_to(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes);
        let rest = usize::try_from(self.used.div_ceil(8)).expect("at most four");
        out.extend_from_slice(&self.word.to_le_bytes()[..rest]);
    }
}

/// Reads what [`Packer`] packed; `false` beyond the end.
pub(super) fn packed(bytes: &[u8], at: usize) -> bool {
    bytes.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1)
}

/// Whether the bits of the last byte beyond `len` are 0, as [`Packer`] leaves them.
pub(super) fn padding_is_zero(bytes: &[u8], len: usize) -> bool {
    (len..bytes.len() * 8).all(|at| !packed(bytes, at))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_header_survives_and_others_are_refused() {
        let mut bytes = header(Kind::Confirm, 7, 300);
        bytes.push(9);
        let frame = Frame::parse(&bytes).unwrap();
        assert_eq!((frame.kind, frame.block, frame.sequence, frame.payload), (Kind::Confirm, 7, 300, &[9][..]));
        assert!(Frame::parse(&bytes[..12]).is_none());
        for kind in [0, 14, 255] {
            bytes[0] = kind;
            assert!(Frame::parse(&bytes).is_none());
        }
        assert!(Frame::parse(&vec![1; MAX_MESSAGE_BYTES + 1]).is_none());
    }

    proptest! {
        #[test]
        fn varints_survive_and_have_one_form(
            number in any::<u64>(),
            bytes in prop::collection::vec(any::<u8>(), 0..12),
        ) {
            let mut out = Vec::new();
            put_varint(number, &mut out);
            let mut reader = Reader(&out);
            prop_assert_eq!(reader.varint(), Some(number));
            prop_assert!(reader.end().is_some());
            let mut reader = Reader(&bytes);
            if let Some(number) = reader.varint() {
                let mut again = Vec::new();
                put_varint(number, &mut again);
                prop_assert_eq!(&bytes[..bytes.len() - reader.0.len()], &again[..]);
            }
        }

        #[test]
        fn bits_survive(bits in prop::collection::vec(any::<bool>(), 0..40)) {
            let mut packer = Packer::default();
            for bit in &bits {
                packer.push(u64::from(*bit), 1);
            }
            let mut out = Vec::new();
            packer.append_to(&mut out);
            prop_assert_eq!(out.len(), bits.len().div_ceil(8));
            prop_assert!(bits.iter().enumerate().all(|(at, bit)| packed(&out, at) == *bit));
            prop_assert!(padding_is_zero(&out, bits.len()));
        }
    }
}
