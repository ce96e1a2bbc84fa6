//! One-time pads: every byte is used for one XOR, then wiped.

use std::fmt;
use std::marker::PhantomData;

use crate::{Direction, Inbound, Purpose};

/// Bytes XORed, hashed and wiped before the next ones are touched: a multiple of a cache line and of POLYVAL's block, and
/// few enough that the processor works on the next piece while the hash of this one, a chain of multiplications, is under
/// way. Of 64 to 4,096 this was the fastest for sealing and opening together (`make bench`).
const PIECE: usize = 512;

/// A one-time pad for one direction and purpose, consumed from front to back.
pub struct Pad<D, P> {
    bytes: Box<[u8]>,
    used: usize,
    role: PhantomData<(D, P)>,
}

/// A piece of a pad, to be used once. Whatever of it is not used is wiped when it is dropped.
pub struct PadChunk<'pad, D, P> {
    bytes: &'pad mut [u8],
    role: PhantomData<(D, P)>,
}

/// A piece of an inbound pad that waits for its record to prove genuine.
///
/// It is consumed only when [`PendingPad::decrypt`] finds the record genuine: a forged one must not cost it its pad.
pub struct PendingPad<'pad, P> {
    bytes: &'pad mut [u8],
    tag_len: usize,
    used: Used<'pad>,
    role: PhantomData<P>,
}

enum Used<'pad> {
    Cursor(&'pad mut usize, usize),
    Slot(&'pad mut bool),
}

/// The pad has fewer bytes left than were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PadExhausted {
    /// Bytes asked for.
    pub wanted: usize,
    /// Bytes left.
    pub left: usize,
}

impl fmt::Display for PadExhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of pad are needed and {} are left", self.wanted, self.left)
    }
}

impl std::error::Error for PadExhausted {}

impl<D: Direction, P: Purpose> Pad<D, P> {
    pub(crate) fn new(bytes: Box<[u8]>) -> Self {
        Self { bytes, used: 0, role: PhantomData }
    }

    /// Bytes not yet taken.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.used
    }

    /// Takes the next `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<PadChunk<'_, D, P>, PadExhausted> {
        let end = self.end_of(len)?;
        let bytes = &mut self.bytes[self.used..end];
        self.used = end;
        Ok(PadChunk { bytes, role: PhantomData })
    }

    fn end_of(&self, len: usize) -> Result<usize, PadExhausted> {
        let left = self.remaining();
        if len > left { Err(PadExhausted { wanted: len, left }) } else { Ok(self.used + len) }
    }
}

impl<P: Purpose> Pad<Inbound, P> {
    /// The next `text_len` bytes of pad and `tag_len` bytes of tag mask, which stay until committed.
    pub fn pending(&mut self, text_len: usize, tag_len: usize) -> Result<PendingPad<'_, P>, PadExhausted> {
        let end = self.end_of(text_len.saturating_add(tag_len))?;
        let bytes = &mut self.bytes[self.used..end];
        Ok(PendingPad { bytes, tag_len, used: Used::Cursor(&mut self.used, end), role: PhantomData })
    }

    /// Cuts what is left into slots of `text_len` bytes of pad and `tag_len` of tag mask, for records in any order.
    /// A remainder too short for a slot is wiped.
    pub fn into_slots(mut self, text_len: usize, tag_len: usize) -> PadSlots<P> {
        let slot_len = (text_len + tag_len).max(1);
        let bytes: Box<[u8]> = Box::from(&self.bytes[self.used..]);
        self.used = self.bytes.len();
        let slots = bytes.len() / slot_len;
        PadSlots { bytes, used: vec![false; slots].into_boxed_slice(), slot_len, tag_len, role: PhantomData }
    }
}

impl<D, P> Drop for Pad<D, P> {
    fn drop(&mut self) {
        // What was taken was wiped when its chunk was used or dropped.
        zeroize::zeroize_bytes(&mut self.bytes[self.used..]);
    }
}

impl<D: Direction, P: Purpose> PadChunk<'_, D, P> {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The first `at` bytes (all of them if there are fewer) and the rest, each to be used once.
    #[must_use]
    pub fn split(mut self, at: usize) -> (Self, Self) {
        let bytes = std::mem::take(&mut self.bytes);
        let (head, tail) = bytes.split_at_mut(at.min(bytes.len()));
        (Self { bytes: head, role: PhantomData }, PadChunk { bytes: tail, role: PhantomData })
    }

    /// XORs the chunk into `data` and wipes it.
    ///
    /// # Panics
    /// If `data` has another length: the caller cut the chunk for it.
    pub fn xor_into(self, data: &mut [u8]) {
        self.xor_each(data, |_piece| {});
    }

    /// As [`Self::xor_into`], and hands every piece of the result to `each`, in order, while it is at hand: all pieces
    /// but the last have a multiple of 16 bytes.
    ///
    /// # Panics
    /// If `data` has another length: the caller cut the chunk for it.
    pub fn xor_each(mut self, data: &mut [u8], mut each: impl FnMut(&[u8])) {
        assert_eq!(self.bytes.len(), data.len(), "the chunk was cut for this data");
        let (pads, last_pad) = self.bytes.as_chunks_mut::<PIECE>();
        let (pieces, last_piece) = data.as_chunks_mut::<PIECE>();
        for (piece, pad) in pieces.iter_mut().zip(pads) {
            xor(piece, pad);
            zeroize::zeroize_bytes(pad);
            each(piece);
        }
        if !last_piece.is_empty() {
            xor(last_piece, last_pad);
            zeroize::zeroize_bytes(last_pad);
            each(last_piece);
        }
        self.bytes = &mut []; // all of it is wiped
    }

    /// Hands the bytes to `use_once`, for uses other than XOR (a hash key), then wipes them.
    pub fn consume<K>(self, use_once: impl FnOnce(&[u8]) -> K) -> K {
        use_once(self.bytes)
    }
}

impl<D, P> Drop for PadChunk<'_, D, P> {
    fn drop(&mut self) {
        zeroize::zeroize_bytes(self.bytes);
    }
}

impl<P: Purpose> PendingPad<'_, P> {
    /// Decrypts `data` in place and spends the pad, if the record proves genuine; otherwise leaves both as they were.
    ///
    /// `hash` is handed every piece of the ciphertext in order, all but the last a multiple of 16 bytes; `genuine` then
    /// gets the tag mask and decides. One pass over the data, and a second over the pad to wipe it.
    ///
    /// # Panics
    /// If `data` has another length than the text pad: the caller cut the pad for it.
    #[must_use]
    pub fn decrypt<S>(
        self,
        data: &mut [u8],
        mut state: S,
        mut hash: impl FnMut(&mut S, &[u8]),
        genuine: impl FnOnce(S, &[u8]) -> bool,
    ) -> bool {
        let (text, mask) = self.bytes.split_at(self.bytes.len() - self.tag_len);
        assert_eq!(text.len(), data.len(), "the pad was cut for this data");
        let (pads, last_pad) = text.as_chunks::<PIECE>();
        let (pieces, last_piece) = data.as_chunks_mut::<PIECE>();
        for (piece, pad) in pieces.iter_mut().zip(pads) {
            hash(&mut state, piece);
            xor(piece, pad);
        }
        if !last_piece.is_empty() {
            hash(&mut state, last_piece);
            xor(last_piece, last_pad);
        }
        if genuine(state, mask) {
            self.spend();
            true
        } else {
            xor(data, text);
            false
        }
    }

    /// Marks the pad as spent and wipes it.
    fn spend(self) {
        match self.used {
            Used::Cursor(cursor, end) => *cursor = end,
            Used::Slot(flag) => *flag = true,
        }
        zeroize::zeroize_bytes(self.bytes);
    }
}

/// XORs `pad` into `data`, which is as long.
#[inline]
fn xor(data: &mut [u8], pad: &[u8]) {
    for (byte, pad) in data.iter_mut().zip(pad) {
        *byte ^= pad;
    }
}

/// An inbound pad in slots of one size, each usable once and in any order.
pub struct PadSlots<P> {
    bytes: Box<[u8]>,
    used: Box<[bool]>,
    slot_len: usize,
    tag_len: usize,
    role: PhantomData<P>,
}

impl<P: Purpose> PadSlots<P> {
    /// How many slots there are, used or not.
    pub fn slots(&self) -> usize {
        self.used.len()
    }

    /// Whether slot `index` exists and was used.
    pub fn is_used(&self, index: usize) -> bool {
        self.used.get(index).copied().unwrap_or(false)
    }

    /// How many slots were used.
    pub fn used(&self) -> usize {
        self.used.iter().filter(|used| **used).count()
    }

    /// Slot `index`, unless it was used or does not exist.
    pub fn pending(&mut self, index: usize) -> Option<PendingPad<'_, P>> {
        let used = self.used.get_mut(index).filter(|used| !**used)?;
        let start = index * self.slot_len;
        let bytes = &mut self.bytes[start..start + self.slot_len];
        Some(PendingPad { bytes, tag_len: self.tag_len, used: Used::Slot(used), role: PhantomData })
    }
}

impl<P> Drop for PadSlots<P> {
    fn drop(&mut self) {
        zeroize::zeroize_bytes(&mut self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{File, Material, Outbound, SecretBytes, Voice};

    fn material<D: Direction>(len: u8) -> Material<D> {
        Material::from_source(SecretBytes::from_vec((0..len).collect()))
    }

    #[test]
    fn a_pad_is_consumed_from_the_front_and_then_ends() {
        let mut pad = material::<Outbound>(10).into_pad::<File>();
        let mut data = [0; 4];
        pad.take(4).unwrap().xor_into(&mut data);
        assert_eq!(data, [0, 1, 2, 3]);
        pad.take(4).unwrap().xor_into(&mut data);
        assert_eq!(data, [4, 4, 4, 4]);
        assert_eq!(pad.take(3).err(), Some(PadExhausted { wanted: 3, left: 2 }));
    }

    #[test]
    fn used_bytes_are_wiped_at_once() {
        let mut pad = material::<Outbound>(8).into_pad::<File>();
        let (head, tail) = pad.take(6).unwrap().split(2);
        head.xor_into(&mut [0; 2]);
        drop(tail); // not used, wiped all the same
        assert_eq!(*pad.bytes, [0, 0, 0, 0, 0, 0, 6, 7]);
    }

    /// Decrypts `data` as if its record were genuine or forged, and checks what the hash and the judge are shown.
    fn decrypt(pad: PendingPad<'_, impl Purpose>, data: &mut [u8], mask: &[u8], genuine: bool) -> bool {
        let ciphertext = data.to_vec();
        let hash = |hashed: &mut Vec<u8>, piece: &[u8]| hashed.extend_from_slice(piece);
        pad.decrypt(data, Vec::new(), hash, |hashed, shown| {
            assert_eq!((hashed.as_slice(), shown), (ciphertext.as_slice(), mask));
            genuine
        })
    }

    #[test]
    fn a_forged_record_costs_no_pad_and_changes_nothing() {
        let mut pad = material::<Inbound>(12).into_pad::<File>();
        let mut data = [9; 4];
        assert!(!decrypt(pad.pending(4, 2).unwrap(), &mut data, &[4, 5], false));
        assert_eq!((data, pad.remaining()), ([9; 4], 12));
        let mut data = [0; 4];
        assert!(decrypt(pad.pending(4, 2).unwrap(), &mut data, &[4, 5], true));
        assert_eq!((data, pad.remaining()), ([0, 1, 2, 3], 6));
        assert_eq!(pad.bytes[..6], [0; 6]);
    }

    #[test]
    fn long_records_are_worked_on_piece_by_piece_and_no_byte_is_left_out() {
        for len in [PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 17] {
            let pad: Vec<u8> = (1..=u8::MAX).cycle().take(len + 16).collect();
            let secret = || SecretBytes::copy_of(&pad);
            let mut data = vec![0; len];
            let mut out = Material::<Outbound>::from_source(secret()).into_pad::<File>();
            let mut hashed = Vec::new();
            out.take(len).unwrap().xor_each(&mut data, |piece| hashed.extend_from_slice(piece));
            assert_eq!((&data, &hashed), (&pad[..len].to_vec(), &data));
            assert!(out.bytes[..len].iter().all(|byte| *byte == 0));
            let mut back = Material::<Inbound>::from_source(secret()).into_pad::<File>();
            assert!(decrypt(back.pending(len, 16).unwrap(), &mut data, &pad[len..], true));
            assert!(data.iter().chain(&back.bytes).all(|byte| *byte == 0));
        }
    }

    #[test]
    fn slots_open_once_in_any_order() {
        let mut slots = material::<Inbound>(14).into_pad::<Voice>().into_slots(4, 2);
        assert_eq!(slots.slots(), 2);
        let mut data = [0; 4];
        assert!(decrypt(slots.pending(1).unwrap(), &mut data, &[10, 11], true));
        assert_eq!(data, [6, 7, 8, 9]);
        assert!(slots.pending(1).is_none() && slots.is_used(1));
        assert!(slots.pending(2).is_none());
        assert!(slots.pending(0).is_some() && !slots.is_used(0));
        assert_eq!(slots.used(), 1);
    }
}
