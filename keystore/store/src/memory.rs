//! A stock in memory, for tests and simulations. It forgets everything when dropped.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::Range;

use vernam_key::{Direction, Material, SecretBytes};
use zeroize::Zeroize;

use crate::book::{Book, spans};
use crate::{KeySpan, Result, Spent, SpentOn, Stock, StockKey, StockStatus, Taken};

const MOVING: &str = "from the stock to the material that leaves it";

/// A [`Stock`] in memory: the same answers as [`crate::FileStock`], nothing on disk.
pub struct MemoryStock<D> {
    book: Book,
    /// Keys by first position; spent bytes are wiped at once.
    keys: BTreeMap<u64, SecretBytes>,
    direction: PhantomData<D>,
}

impl<D: Direction> MemoryStock<D> {
    /// An empty one.
    pub fn new() -> Self {
        Self { book: Book::default(), keys: BTreeMap::new(), direction: PhantomData }
    }

    /// Copies live bytes out and spends them.
    fn spend(&mut self, range: Range<u64>, on: SpentOn) -> Material<D> {
        let mut bytes = Vec::with_capacity(length(&range));
        for (&start, key) in self.keys.range(..range.end) {
            let part = clip(&range, start, key.len());
            bytes.extend_from_slice(&key.expose(MOVING)[part]);
        }
        let bytes = SecretBytes::from_vec(bytes);
        self.book.advance(range.end, Spent::on(on, range.end - range.start));
        self.wipe(0..range.end);
        Material::from_source(bytes)
    }

    fn wipe(&mut self, range: Range<u64>) {
        for (&start, key) in self.keys.range_mut(..range.end) {
            let part = clip(&range, start, key.len());
            key.expose_mut("to wipe it")[part].zeroize();
        }
        self.keys.retain(|start, key| self.book.live_in(*start..start + key.len() as u64).next().is_some());
    }
}

impl<D: Direction> Default for MemoryStock<D> {
    fn default() -> Self {
        Self::new()
    }
}

impl<D: Direction> Stock<D> for MemoryStock<D> {
    fn append(&mut self, keys: Vec<StockKey>) -> Result<Range<u64>> {
        let range = self.book.plan_append(&keys)?;
        let spans = spans(range.start, &keys);
        self.book.insert(std::slice::from_ref(&range), &spans, range.end);
        self.keys.extend(spans.iter().map(|span| span.start).zip(keys.into_iter().map(|key| key.bytes)));
        Ok(range)
    }

    fn hole(&mut self, len: u64) -> Result<Range<u64>> {
        let range = self.book.plan_hole(len)?;
        self.book.extend_hole(range.end);
        Ok(range)
    }

    fn advance_end_to(&mut self, pos: u64) -> Result<()> {
        self.hole(pos.saturating_sub(self.status().end)).map(drop)
    }

    fn take(&mut self, len: u64, on: SpentOn) -> Result<Taken<D>> {
        let range = self.book.plan_take(len)?;
        let start = range.start;
        let material = if len == 0 { nothing() } else { self.spend(range, on) };
        Ok(Taken { start, material })
    }

    fn take_at(&mut self, start: u64, len: u64, on: SpentOn) -> Result<Material<D>> {
        let range = self.book.plan_take_at(start, len)?;
        Ok(if len == 0 { nothing() } else { self.spend(range, on) })
    }

    fn discard_before(&mut self, pos: u64) -> Result<u64> {
        let to = pos.max(self.status().cursor);
        self.book.plan_discard(to)?;
        let lost = self.book.advance(to, Spent::default());
        self.wipe(0..to);
        Ok(lost)
    }

    fn discard_from(&mut self, pos: u64) -> Result<u64> {
        let lost = self.book.forfeit(pos..u64::MAX);
        self.wipe(pos..u64::MAX);
        Ok(lost)
    }

    fn keys_from(&self, pos: u64) -> Vec<KeySpan> {
        self.book.keys_from(pos)
    }

    fn note_matched(&mut self, pos: u64) -> Result<()> {
        self.book.match_to(pos);
        Ok(())
    }

    fn matched(&self) -> u64 {
        self.book.totals().matched
    }

    fn spent(&self) -> Spent {
        self.book.totals().spent
    }

    fn status(&self) -> StockStatus {
        self.book.status()
    }
}

fn nothing<D: Direction>() -> Material<D> {
    Material::from_source(SecretBytes::from_vec(Vec::new()))
}

/// The part of `len` bytes at `start` that lies in `range`, as indices into them.
fn clip(range: &Range<u64>, start: u64, len: usize) -> Range<usize> {
    let index = |pos: u64| usize::try_from(pos.saturating_sub(start)).map_or(len, |index| index.min(len));
    index(range.start)..index(range.end)
}

fn length(range: &Range<u64>) -> usize {
    usize::try_from(range.end - range.start).expect("the bytes are in memory")
}
