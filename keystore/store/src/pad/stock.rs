//! The pads shared with one contact as a source of keys: each byte goes out once, on either side.

use std::collections::BTreeMap;

use vernam_key::{Inbound, KeyId, Outbound, SecretBytes};

use super::Half;
use super::names::{Names, Place};
use crate::{Error, FileStock, Notice, Result, SpentOn, Stock as _, StockKey};

/// Bytes of the longest key out of a pad.
pub const MAX_PAD_KEY: u32 = 1 << 16;
/// Bytes of the keys of one [`PadStock::take`].
pub const MAX_PAD_TAKE: u64 = 4 << 20;
/// Key passed over by one that was collected out of turn is held so long for its own turn, in bytes; more is forfeited,
/// the oldest first.
pub const MAX_EARLY_BYTES: usize = 4 << 20;

/// The pads shared with one contact, from [`crate::Store::pad_stock`].
///
/// Keys that this side takes, the other collects by name. What is given out is durably marked spent and erased before.
pub struct PadStock {
    pads: Vec<Pad>,
}

pub(super) struct Pad {
    /// Which half is for what we send.
    half: Half,
    names: Names,
    outbound: FileStock<Outbound>,
    inbound: FileStock<Inbound>,
    /// Spent on disk, and not collected yet, by position.
    early: BTreeMap<u64, SecretBytes>,
}

impl PadStock {
    pub(super) fn new(pads: Vec<Pad>) -> Self {
        Self { pads }
    }

    /// Bytes left for what we send and for what the contact sends.
    pub fn left(&self) -> (u64, u64) {
        let sum = |each: fn(&Pad) -> u64| self.pads.iter().map(each).sum();
        (sum(|pad| pad.outbound.status().available), sum(|pad| pad.inbound.status().available))
    }

    /// Bytes that keys of `least` bytes or more can be cut from now: those of one pad, as no key spans two.
    pub fn room(&self, least: u64) -> u64 {
        let rooms = || self.pads.iter().map(|pad| pad.outbound.contiguous());
        rooms().find(|room| *room >= least).or_else(|| rooms().max()).unwrap_or(0)
    }

    /// Takes up to `number` keys of `bytes` bytes for what we send, at most [`MAX_PAD_TAKE`] bytes together. There are
    /// fewer where the pad ends.
    ///
    /// # Errors
    /// [`Error::PadUsedUp`] where there is not one, [`Error::PadKeySize`], or the disk's.
    pub fn take(&mut self, number: u32, bytes: u32) -> Result<Vec<StockKey>> {
        if bytes == 0 || bytes > MAX_PAD_KEY {
            return Err(Error::PadKeySize { bytes });
        }
        let each = u64::from(bytes);
        let left = self.left().0;
        let pad = self.pads.iter_mut().find(|pad| pad.outbound.contiguous() >= each);
        let pad = pad.ok_or(Error::PadUsedUp { wanted: each, left })?;
        let number = u64::from(number).min(pad.outbound.contiguous() / each).min(MAX_PAD_TAKE / each);
        let (start, all) = pad.outbound.take_bytes(number * each, SpentOn::Other)?;
        let all = all.expose("to cut it into keys");
        let keys = (start..).step_by(bytes as usize).zip(all.chunks_exact(bytes as usize));
        let named = |(start, bytes): (u64, &[u8])| StockKey {
            id: pad.names.name(Place { half: pad.half, start, len: each }),
            bytes: SecretBytes::copy_of(bytes),
        };
        Ok(keys.map(named).collect())
    }

    /// The keys that the contact took under these names, in this order, each once. They may be asked for in another
    /// order than they were taken in.
    ///
    /// # Errors
    /// [`Error::PadUnknownKey`] for a name that is of none of these pads, then nothing is spent;
    /// [`Error::AlreadySpent`], [`Error::NoKeyThere`], or the disk's.
    pub fn collect(&mut self, ids: &[KeyId]) -> Result<Vec<StockKey>> {
        let mut places = Vec::with_capacity(ids.len());
        for id in ids {
            let found = self.pads.iter().enumerate().find_map(|(index, pad)| {
                let place = pad.names.place(*id).filter(|place| place.half == pad.half.other())?;
                (place.len <= u64::from(MAX_PAD_KEY)).then_some((index, place))
            });
            places.push(found.ok_or(Error::PadUnknownKey { id: *id })?);
        }
        let mut keys = Vec::with_capacity(ids.len());
        let mut next = 0;
        while let Some(&(index, first)) = places.get(next) {
            // Neighbours are spent together: each spending waits for the disk.
            let (mut end, mut count) = (first.start + first.len, 1);
            while let Some((_, place)) = places.get(next + count).filter(|(other, _)| *other == index)
                && place.start == end
                && end - first.start + place.len <= MAX_PAD_TAKE
            {
                end += place.len;
                count += 1;
            }
            let run = self.pads[index].collect(first.start, end - first.start)?;
            let mut rest = run.expose("to cut it into keys");
            for (id, (_, place)) in ids[next..].iter().zip(&places[next..next + count]) {
                let len = usize::try_from(place.len).expect("at most MAX_PAD_KEY");
                let (key, more) = rest.split_at(len);
                keys.push(StockKey { id: *id, bytes: SecretBytes::copy_of(key) });
                rest = more;
            }
            next += count;
        }
        Ok(keys)
    }

    /// What the owner must be told, each once.
    pub fn take_notice(&mut self) -> Option<Notice> {
        self.pads.iter_mut().find_map(|pad| pad.outbound.take_notice().or_else(|| pad.inbound.take_notice()))
    }
}

impl Pad {
    pub(super) fn new(half: Half, names: Names, outbound: FileStock<Outbound>, inbound: FileStock<Inbound>) -> Self {
        Self { half, names, outbound, inbound, early: BTreeMap::new() }
    }

    fn collect(&mut self, start: u64, len: u64) -> Result<SecretBytes> {
        let cursor = self.inbound.status().cursor;
        if start < cursor {
            return self.out_of_turn(start, len).ok_or(Error::AlreadySpent { start, cursor });
        }
        let gap = usize::try_from(start - cursor).unwrap_or(usize::MAX);
        if gap == 0 || gap > MAX_EARLY_BYTES {
            return self.inbound.take_bytes_at(start, len, SpentOn::Other);
        }
        match self.inbound.take_bytes_at(cursor, start - cursor + len, SpentOn::Other) {
            Ok(mut passed) => {
                let held = passed.split_to(gap);
                self.early.insert(cursor, held);
                self.forget_oldest();
                Ok(passed)
            }
            // Something of what is passed over is not there any more.
            Err(Error::NoKeyThere { .. }) => self.inbound.take_bytes_at(start, len, SpentOn::Other),
            Err(error) => Err(error),
        }
    }

    /// Cuts a key out of what was passed over.
    fn out_of_turn(&mut self, start: u64, len: u64) -> Option<SecretBytes> {
        let (&from, held) = self.early.range(..=start).next_back()?;
        if start + len > from + held.len() as u64 {
            return None;
        }
        let mut key = self.early.remove(&from)?;
        let before = key.split_to(usize::try_from(start - from).ok()?);
        let wanted = key.split_to(usize::try_from(len).ok()?);
        for (at, part) in [(from, before), (start + len, key)] {
            if !part.is_empty() {
                self.early.insert(at, part);
            }
        }
        Some(wanted)
    }

    fn forget_oldest(&mut self) {
        while self.early.values().map(SecretBytes::len).sum::<usize>() > MAX_EARLY_BYTES {
            self.early.pop_first();
        }
    }
}
