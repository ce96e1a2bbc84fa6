//! The bookkeeping of positions, the same for every stock and without any key byte.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use vernam_key::KeyId;

use crate::stock::{MAX_APPEND_BYTES, MAX_APPEND_KEYS, MAX_HOLE, MAX_POSITION, Spent};
use crate::{Error, KeySpan, Result, StockKey, StockStatus};

/// Which positions hold key, which key it is, and how many were spent or never there.
#[derive(Default)]
pub(crate) struct Book {
    totals: Totals,
    available: u64,
    /// Runs of available bytes, start to end: disjoint, not empty, merged where they touch, none before the cursor.
    live: BTreeMap<u64, u64>,
    /// The keys with live bytes, by first position.
    keys: BTreeMap<u64, KeySpan>,
    ids: BTreeSet<KeyId>,
}

/// The numbers that do not follow from what is in stock. A durable stock keeps them on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) cursor: u64,
    pub(crate) end: u64,
    pub(crate) spent: Spent,
    pub(crate) holes: u64,
    /// The peer is known to have the bytes before this.
    pub(crate) matched: u64,
}

impl Totals {
    /// After a hole that ends the stock at `end`.
    pub(crate) fn with_hole_to(self, end: u64) -> Self {
        Self { end, holes: self.holes + (end - self.end), ..self }
    }

    /// After the cursor moved to `cursor` and `spent` of the bytes it passed were given out.
    pub(crate) fn with_cursor_at(self, cursor: u64, spent: Spent) -> Self {
        Self { cursor, spent: self.spent + spent, ..self }
    }

    /// The furthest of both, for a stock that must not use what either has passed.
    pub(crate) fn or_further(self, other: Self) -> Self {
        let further = if other.cursor > self.cursor { other } else { self };
        Self { cursor: self.cursor.max(other.cursor), end: self.end.max(other.end), matched: 0, ..further }
    }
}

impl Book {
    /// Begins to rebuild a book: [`Self::insert`] what is in stock, then [`Self::is_plausible`].
    pub(crate) fn restore(totals: Totals) -> Self {
        Self { totals, ..Self::default() }
    }

    /// Whether the parts do not exceed the whole.
    pub(crate) fn is_plausible(&self) -> bool {
        let Totals { cursor, end, spent, holes, .. } = self.totals;
        let parts = spent
            .checked_sum()
            .and_then(|spent| spent.checked_add(holes))
            .and_then(|sum| sum.checked_add(self.available));
        cursor <= end && end <= MAX_POSITION && parts.is_some_and(|parts| parts <= end)
    }

    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    pub(crate) fn status(&self) -> StockStatus {
        let Totals { cursor, end, spent, holes, .. } = self.totals;
        let spent = spent.sum();
        StockStatus {
            cursor,
            end,
            available: self.available,
            contiguous: self.live.first_key_value().map_or(0, |(start, end)| end - start),
            spent,
            forfeited: end - spent - holes - self.available,
            holes,
        }
    }

    pub(crate) fn keys_from(&self, pos: u64) -> Vec<KeySpan> {
        let has_bytes_left =
            |span: &&KeySpan| self.live_in(span.start.max(pos)..span.start + span.len).next().is_some();
        self.keys.range(self.first_key_touching(pos)..).map(|(_, span)| span).filter(has_bytes_left).copied().collect()
    }

    /// The positions that `keys` would get.
    pub(crate) fn plan_append(&self, keys: &[StockKey]) -> Result<Range<u64>> {
        if keys.len() > MAX_APPEND_KEYS {
            return Err(Error::AppendTooLarge);
        }
        let (mut len, mut new) = (0, BTreeSet::new());
        for key in keys {
            if key.bytes.is_empty() {
                return Err(Error::EmptyKey { id: key.id });
            }
            if self.ids.contains(&key.id) || !new.insert(key.id) {
                return Err(Error::DuplicateKey { id: key.id });
            }
            len += key.bytes.len() as u64;
        }
        if len > MAX_APPEND_BYTES {
            return Err(Error::AppendTooLarge);
        }
        self.plan_end(len)
    }

    /// The positions that a hole of `len` would get.
    pub(crate) fn plan_hole(&self, len: u64) -> Result<Range<u64>> {
        if len > MAX_HOLE { Err(Error::HoleTooLong { len }) } else { self.plan_end(len) }
    }

    fn plan_end(&self, len: u64) -> Result<Range<u64>> {
        let start = self.totals.end;
        if len > MAX_POSITION - start { Err(Error::PositionsUsedUp) } else { Ok(start..start + len) }
    }

    /// The first run's front that is long enough.
    pub(crate) fn plan_take(&self, len: u64) -> Result<Range<u64>> {
        if len == 0 {
            return Ok(self.totals.cursor..self.totals.cursor);
        }
        let mut longest = 0;
        for (&start, &end) in &self.live {
            if end - start >= len {
                return Ok(start..start + len);
            }
            longest = longest.max(end - start);
        }
        Err(Error::NotEnough { wanted: len, longest })
    }

    /// The range itself, if all of it can be taken.
    pub(crate) fn plan_take_at(&self, start: u64, len: u64) -> Result<Range<u64>> {
        let Totals { cursor, end, .. } = self.totals;
        if start < cursor {
            return Err(Error::AlreadySpent { start, cursor });
        }
        let Some(last) = start.checked_add(len).filter(|last| *last <= end) else {
            return Err(Error::NotYetHere { start, len, end });
        };
        let one_run = len == 0 || self.live.range(..=start).next_back().is_some_and(|(_, run_end)| last <= *run_end);
        if one_run { Ok(start..last) } else { Err(Error::NoKeyThere { start, len }) }
    }

    /// Whether the cursor can move to `pos`.
    pub(crate) fn plan_discard(&self, pos: u64) -> Result<()> {
        let end = self.totals.end;
        if pos > end { Err(Error::NotYetHere { start: pos, len: 0, end }) } else { Ok(()) }
    }

    /// Puts `live`, the readable bytes of some keys, in stock, and moves the end to `end` if that is further.
    pub(crate) fn insert(&mut self, live: &[Range<u64>], spans: &[KeySpan], end: u64) {
        self.totals.end = self.totals.end.max(end);
        for range in live {
            self.insert_live(range.start.max(self.totals.cursor)..range.end);
        }
        for span in spans {
            if self.live_in(span.start..span.start + span.len).next().is_some() {
                self.keys.insert(span.start, *span);
                self.ids.insert(span.id);
            }
        }
    }

    fn insert_live(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        self.available += range.end - range.start;
        let (mut start, mut end) = (range.start, range.end);
        if let Some((&before, _)) = self.live.range(..start).next_back().filter(|(_, run_end)| **run_end == start) {
            start = before;
        }
        if let Some(after) = self.live.remove(&end) {
            end = after;
        }
        self.live.insert(start, end);
    }

    /// Ends the stock with a hole.
    pub(crate) fn extend_hole(&mut self, end: u64) {
        self.totals = self.totals.with_hole_to(end);
    }

    /// The peer has the bytes before `pos`. Says whether that is news.
    pub(crate) fn match_to(&mut self, pos: u64) -> bool {
        let before = self.totals.matched;
        self.totals.matched = before.max(pos.min(self.totals.end));
        self.totals.matched > before
    }

    /// Moves the cursor; `spent` of the bytes passed were given out, the others are forfeited. Returns how many.
    pub(crate) fn advance(&mut self, cursor: u64, spent: Spent) -> u64 {
        let passed = self.forfeit(self.totals.cursor..cursor);
        self.totals = self.totals.with_cursor_at(cursor, spent);
        passed - spent.sum()
    }

    /// Gives up the key in `range` and returns how many bytes that were.
    pub(crate) fn forfeit(&mut self, range: Range<u64>) -> u64 {
        let lost: Vec<Range<u64>> = self.live_in(range.clone()).collect();
        for part in &lost {
            let (&start, &end) = self.live.range(..=part.start).next_back().expect("live_in clips runs of this map");
            self.live.remove(&start);
            if start < part.start {
                self.live.insert(start, part.start);
            }
            if part.end < end {
                self.live.insert(part.end, end);
            }
        }
        let lost = lost.iter().map(|part| part.end - part.start).sum();
        self.available -= lost;
        self.forget_keys(range);
        lost
    }

    /// The available bytes within `range`, in order.
    pub(crate) fn live_in(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let first = self.live.range(..=range.start).next_back().map_or(range.start, |(start, _)| *start);
        self.live
            .range(first..range.end.max(first))
            .map(move |(&start, &end)| start.max(range.start)..end.min(range.end))
            .filter(|part| !part.is_empty())
    }

    /// Forgets the keys that touch `range` and have no bytes left.
    fn forget_keys(&mut self, range: Range<u64>) {
        let first = self.first_key_touching(range.start);
        let dead: Vec<KeySpan> = self
            .keys
            .range(first..range.end.max(first))
            .map(|(_, span)| *span)
            .filter(|span| self.live_in(span.start..span.start + span.len).next().is_none())
            .collect();
        for span in dead {
            self.keys.remove(&span.start);
            self.ids.remove(&span.id);
        }
    }

    /// The first position of the key at `pos`, or `pos` where there is none.
    fn first_key_touching(&self, pos: u64) -> u64 {
        self.keys.range(..=pos).next_back().map_or(pos, |(start, _)| *start)
    }
}

/// Where `keys` stand when the first begins at `start`.
pub(crate) fn spans(start: u64, keys: &[StockKey]) -> Vec<KeySpan> {
    keys.iter()
        .scan(start, |next, key| {
            let span = KeySpan { id: key.id, start: *next, len: key.bytes.len() as u64 };
            *next += span.len;
            Some(span)
        })
        .collect()
}
