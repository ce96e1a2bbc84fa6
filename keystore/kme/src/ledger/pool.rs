//! One half of the link's blocks: bits that one KME may cut, addressed by position.

use std::collections::BTreeMap;

use vernam_key::SecretBytes;

use super::Extent;

/// Free bytes by position. Work grows with the pieces touched, never with the size of the pool.
#[derive(Default)]
pub(super) struct Pool {
    halves: BTreeMap<u64, Half>,
    /// Free runs, (block, offset) to length. Neighbours are always joined.
    free: BTreeMap<(u64, u32), u32>,
    free_bytes: u64,
}

struct Half {
    /// The block's offset of `bits[0]`.
    base: u32,
    bits: SecretBytes,
    /// Bytes that are free, or cut and may come back.
    unsettled: u32,
}

const WHY: &str = "bits move from the pool into a key, and are wiped in the pool";

impl Pool {
    pub(super) fn free_bytes(&self) -> u64 {
        self.free_bytes
    }

    /// The caller sees to it that a block comes once.
    pub(super) fn insert(&mut self, block: u64, base: u32, bits: SecretBytes) {
        let len = u32::try_from(bits.len()).expect("the ledger checks the length of a block");
        if len > 0 {
            self.free.insert((block, base), len);
            self.free_bytes += u64::from(len);
            self.halves.insert(block, Half { base, bits, unsettled: len });
        }
    }

    /// Cuts `len` bytes from the front, or nothing. They may come back with [`Self::put_back`], or are settled.
    pub(super) fn take_front(&mut self, len: usize) -> Option<(Vec<Extent>, SecretBytes)> {
        if (len as u64) > self.free_bytes {
            return None;
        }
        let mut extents = Vec::new();
        let mut left = len;
        while left > 0 {
            let (&(block, offset), &run) = self.free.first_key_value().expect("the sum of the free runs was checked");
            let piece = u32::try_from(left).map_or(run, |left| left.min(run));
            extents.push(Extent { block, offset, len: piece });
            left -= piece as usize;
            self.occupy(extents[extents.len() - 1]);
        }
        let bits = self.move_out(&extents);
        Some((extents, bits))
    }

    /// Cuts exactly these bytes, or nothing if one of them is not free. They may come back or be settled as well.
    pub(super) fn take_exact(&mut self, extents: &[Extent]) -> Option<SecretBytes> {
        for (done, &extent) in extents.iter().enumerate() {
            if !self.is_free(extent) {
                for &taken in &extents[..done] {
                    self.release(taken);
                }
                return None;
            }
            self.occupy(extent);
        }
        Some(self.move_out(extents))
    }

    /// Undoes [`Self::take_front`] or [`Self::take_exact`].
    pub(super) fn put_back(&mut self, extents: &[Extent], bits: &SecretBytes) {
        let mut rest = bits.expose(WHY);
        for &extent in extents {
            let (piece, tail) = rest.split_at(extent.len as usize);
            rest = tail;
            self.place(extent).copy_from_slice(piece);
            self.release(extent);
        }
    }

    /// The bytes cut from `extents` will not come back.
    pub(super) fn settle(&mut self, extents: &[Extent]) {
        for extent in extents {
            let half = self.halves.get_mut(&extent.block).expect("a half stays until its last byte is settled");
            half.unsettled -= extent.len;
            if half.unsettled == 0 {
                self.halves.remove(&extent.block);
            }
        }
    }

    /// Wipes what is free of `extent` and returns how many bytes that was.
    pub(super) fn void(&mut self, extent: Extent) -> u64 {
        let Some(end) = extent.offset.checked_add(extent.len) else { return 0 };
        let mut voided = 0;
        while let Some(piece) = self.first_free_within(extent.block, extent.offset, end) {
            self.occupy(piece);
            self.place(piece).fill(0);
            self.settle(&[piece]);
            voided += u64::from(piece.len);
        }
        voided
    }

    fn first_free_within(&self, block: u64, start: u32, end: u32) -> Option<Extent> {
        let before = self.free.range(..=(block, start)).next_back();
        let after = self.free.range((block, start)..(block, end)).next();
        before.into_iter().chain(after).find_map(|(&(run_block, run_start), &run)| {
            let from = run_start.max(start);
            let to = (run_start + run).min(end);
            (run_block == block && from < to).then(|| Extent { block, offset: from, len: to - from })
        })
    }

    fn is_free(&self, extent: Extent) -> bool {
        let Some(end) = extent.offset.checked_add(extent.len) else { return false };
        let run = self.free.range(..=(extent.block, extent.offset)).next_back();
        extent.len > 0 && run.is_some_and(|(&(block, start), &run)| block == extent.block && start + run >= end)
    }

    /// Takes a free extent out of its run.
    fn occupy(&mut self, extent: Extent) {
        let (&(block, start), &run) =
            self.free.range(..=(extent.block, extent.offset)).next_back().expect("the caller knows that it is free");
        self.free.remove(&(block, start));
        if extent.offset > start {
            self.free.insert((block, start), extent.offset - start);
        }
        let (end, run_end) = (extent.offset + extent.len, start + run);
        if run_end > end {
            self.free.insert((block, end), run_end - end);
        }
        self.free_bytes -= u64::from(extent.len);
    }

    /// Makes an extent free again and joins it with its neighbours.
    fn release(&mut self, extent: Extent) {
        let Extent { block, mut offset, mut len } = extent;
        self.free_bytes += u64::from(len);
        if let Some(next) = self.free.remove(&(block, offset + len)) {
            len += next;
        }
        if let Some((&(before, start), &run)) = self.free.range(..(block, offset)).next_back()
            && before == block
            && start + run == offset
        {
            self.free.remove(&(block, start));
            offset = start;
            len += run;
        }
        self.free.insert((block, offset), len);
    }

    fn move_out(&mut self, extents: &[Extent]) -> SecretBytes {
        let mut bits = Vec::with_capacity(extents.iter().map(|extent| extent.len as usize).sum());
        for &extent in extents {
            let place = self.place(extent);
            bits.extend_from_slice(place);
            place.fill(0);
        }
        SecretBytes::from_vec(bits)
    }

    fn place(&mut self, extent: Extent) -> &mut [u8] {
        let half = self.halves.get_mut(&extent.block).expect("a half stays until its last byte is settled");
        let start = (extent.offset - half.base) as usize;
        &mut half.bits.expose_mut(WHY)[start..start + extent.len as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(block: u64, offset: u32, len: u32) -> Extent {
        Extent { block, offset, len }
    }

    fn pool() -> Pool {
        let mut pool = Pool::default();
        pool.insert(1, 0, SecretBytes::from_vec((0..10).collect()));
        pool.insert(4, 10, SecretBytes::from_vec((10..20).collect()));
        pool
    }

    #[test]
    fn a_cut_runs_over_the_end_of_a_block_and_can_come_back() {
        let mut pool = pool();
        let (extents, bits) = pool.take_front(12).unwrap();
        assert_eq!(extents, [extent(1, 0, 10), extent(4, 10, 2)]);
        assert_eq!(bits.expose("test"), (0..12).collect::<Vec<u8>>());
        assert_eq!(pool.halves[&1].bits.expose("test"), [0; 10], "a cut wipes the pool's copy");
        assert!(pool.take_front(9).is_none());
        pool.put_back(&extents, &bits);
        assert_eq!((pool.free_bytes(), pool.free.len()), (20, 2));
        assert_eq!(pool.take_front(20).unwrap().1.expose("test"), (0..20).collect::<Vec<u8>>());
    }

    #[test]
    fn exact_cuts_are_all_or_nothing() {
        let mut pool = pool();
        assert_eq!(pool.take_exact(&[extent(4, 15, 2), extent(1, 3, 1)]).unwrap().expose("test"), [15, 16, 3]);
        for taken in
            [extent(1, 3, 1), extent(1, 0, 10), extent(4, 9, 1), extent(4, 18, 3), extent(2, 0, 1), extent(1, 0, 0)]
        {
            assert!(pool.take_exact(&[extent(1, 8, 2), taken]).is_none(), "{taken:?}");
        }
        assert!(pool.take_exact(&[extent(1, 8, 2), extent(1, 9, 1)]).is_none(), "the same byte twice");
        assert_eq!(pool.free_bytes(), 17);
        assert!(pool.take_exact(&[extent(1, 8, 2)]).is_some());
    }

    #[test]
    fn voiding_takes_what_is_free_and_no_more() {
        let mut pool = pool();
        pool.take_exact(&[extent(1, 4, 2)]).unwrap();
        pool.settle(&[extent(1, 4, 2)]);
        assert_eq!(pool.void(extent(1, 2, 6)), 4);
        assert_eq!(pool.void(extent(1, 0, u32::MAX)), 4);
        assert_eq!(pool.void(extent(1, 0, 10)), 0);
        assert_eq!((pool.free_bytes(), pool.halves.len()), (10, 1), "an empty half is dropped");
    }
}
