//! A stock on disk.
//!
//! The order of every spending: (1) the cursor, durably; (2) its anchor, durably; (3) the erasure, durably; (4) the
//! bytes. A crash after (1) finds the cursor past bytes that nobody got, which are erased on opening. No crash finds a
//! byte given out and still in the files.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::Range;
use std::path::{Path, PathBuf};

use vernam_key::{Direction, Material, SecretBytes};

use crate::book::{Book, Totals, spans};
use crate::disk;
use crate::ledger::{Found, Ledger, Trouble};
use crate::segment::Segment;
use crate::store::{Lease, Opening};
use crate::store_key::Keyring;
use crate::{Error, KeySpan, Notice, Result, Spent, SpentOn, Stock, StockKey, StockStatus, Taken, header};

/// A durable [`Stock`] of one contact and direction, from [`crate::Store::outbound`] or [`crate::Store::inbound`].
///
/// A take waits for the disk three times (some milliseconds on an SSD), whether it is of one byte or of a megabyte:
/// take a second or two of a call at once. After a failed write it is closed ([`Error::Failed`]) until it is opened
/// anew.
pub struct FileStock<D> {
    dir: PathBuf,
    keyring: Keyring,
    book: Book,
    ledger: Ledger,
    segments: BTreeMap<u64, Segment>,
    /// A write failed half-way, so that book and disk may differ.
    failed: bool,
    notice: Option<Notice>,
    /// Keeps others from opening the same stock, and the store's lock.
    _lease: Lease,
    direction: PhantomData<D>,
}

impl<D: Direction> FileStock<D> {
    /// Opens the stock in `dir`, which exists.
    pub(crate) fn open(dir: &Path, keyring: Keyring, lease: Lease, opening: &Opening) -> Result<Self> {
        let mut paths = Vec::new();
        for path in disk::list(dir)? {
            if path.extension().is_some_and(|extension| extension == disk::UNFINISHED) {
                disk::erase_and_remove(&path)?;
            } else if header::is_segment(&path) {
                paths.push(path);
            }
        }
        let Found { mut ledger, totals, trouble } = Ledger::open(dir, &keyring, lease.anchors(), paths.is_empty())?;
        let notice = match &trouble {
            Some(Trouble::AnchorLost) if !opening.accept_lost => return Err(lease.anchor_lost()),
            Some(Trouble::AnchorLost) => Some(Notice::AnchorLost { stock: opening.label.clone() }),
            Some(Trouble::Restored) => {
                let (stock, all, cursor) = (opening.label.clone(), !opening.fixed, totals.cursor);
                Some(Notice::Restored { stock, all, cursor })
            }
            None => None,
        };
        if trouble == Some(Trouble::AnchorLost) || (trouble.is_some() && !opening.fixed) {
            for path in paths.drain(..) {
                disk::erase_and_remove(&path)?;
            }
            disk::sync_dir(dir)?; // before the cursor says that all is well
        }

        let (mut segments, mut keys) = (BTreeMap::new(), Vec::new());
        for path in paths {
            let (segment, spans) = Segment::open(&path, &keyring)?;
            keys.push(spans);
            segments.insert(segment.range.start, segment);
        }
        let mut book = Book::restore(totals);
        let mut previous = 0;
        for (segment, spans) in segments.values().zip(&keys) {
            if segment.range.start < previous {
                return Err(Error::damaged(dir, "two segments hold the same positions; delete the copied one"));
            }
            previous = segment.range.end;
            book.insert(&segment.scan(totals.cursor, &keyring)?, spans, segment.range.end);
        }
        if !book.is_plausible() {
            return Err(Error::damaged(dir, "its files contradict each other; delete the folder, and pair anew"));
        }
        if trouble.is_some() || book.totals() != totals {
            ledger.write(book.totals())?; // before a segment that proves where the end is goes
        }
        if let Some(notice) = &notice {
            lease.notify(notice.clone());
        }
        let direction = PhantomData;
        let mut stock = Self {
            dir: dir.to_owned(),
            keyring,
            book,
            ledger,
            segments,
            failed: false,
            notice,
            _lease: lease,
            direction,
        };
        stock.remove_empty(0..u64::MAX)?;
        disk::sync_dir(dir)?;
        Ok(stock)
    }

    /// Runs a step that changes the disk. When it fails the stock is closed: only opening it anew shows what is there.
    fn durably<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.usable()?;
        self.failed = true;
        let done = step(self)?;
        self.failed = false;
        Ok(done)
    }

    fn usable(&self) -> Result<()> {
        if self.failed { Err(Error::Failed { dir: self.dir.clone() }) } else { Ok(()) }
    }

    /// Reads the bytes of `range`, which are live in the book. `None` if some cannot be read: they are forfeited now.
    fn read(&mut self, range: &Range<u64>) -> Result<Option<SecretBytes>> {
        let len = usize::try_from(range.end - range.start).map_err(|_too_long| self.not_in_memory(range))?;
        let mut bytes = SecretBytes::from_vec(vec![0; len]);
        let mut out = bytes.expose_mut("from the store to the material that leaves it");
        let mut lost = Vec::new();
        for segment in overlapping(&self.segments, range) {
            let part = range.start.max(segment.range.start)..range.end.min(segment.range.end);
            let here;
            (here, out) = out.split_at_mut(usize::try_from(part.end - part.start).expect("a part of a length above"));
            lost.extend(segment.read(&part, here, &self.keyring)?);
        }
        let readable = lost.is_empty();
        for part in lost {
            self.durably(|stock| {
                stock.book.forfeit(part.clone());
                stock.erase(&part, &(0..0))
            })?;
        }
        Ok(readable.then_some(bytes))
    }

    fn not_in_memory(&self, range: &Range<u64>) -> Error {
        Error::NotEnough { wanted: range.end - range.start, longest: self.contiguous() }
    }

    /// Moves the cursor to `to`, having spent the last `spent` bytes before it, and erases what it passed.
    fn pass(&mut self, to: u64, spent: Spent) -> Result<u64> {
        self.durably(|stock| {
            let from = stock.book.totals().cursor;
            stock.ledger.write(stock.book.totals().with_cursor_at(to, spent))?;
            let forfeited = stock.book.advance(to, spent);
            stock.erase(&(from..to), &(to..u64::MAX))?;
            Ok(forfeited)
        })
    }

    fn erase(&mut self, touched: &Range<u64>, keep: &Range<u64>) -> Result<()> {
        let mut lost = Vec::new();
        for segment in overlapping(&self.segments, touched) {
            lost.extend(segment.erase(touched, keep, &self.keyring)?);
        }
        for part in lost {
            self.book.forfeit(part);
        }
        self.remove_empty(touched.clone())
    }

    /// Removes the segments in `touched` that have no key left.
    fn remove_empty(&mut self, touched: Range<u64>) -> Result<()> {
        let empty: Vec<u64> = overlapping(&self.segments, &touched)
            .filter(|segment| self.book.live_in(segment.range.clone()).next().is_none())
            .map(|segment| segment.range.start)
            .collect();
        for start in empty {
            self.segments.remove(&start).map_or(Ok(()), Segment::remove)?;
        }
        Ok(())
    }
}

impl<D: Direction> FileStock<D> {
    /// As [`Stock::take`], for those who hand the bytes on as a key.
    pub(crate) fn take_bytes(&mut self, len: u64, on: SpentOn) -> Result<(u64, SecretBytes)> {
        self.usable()?;
        loop {
            let range = self.book.plan_take(len)?;
            let start = range.start;
            if len == 0 {
                return Ok((start, SecretBytes::from_vec(Vec::new())));
            }
            if let Some(bytes) = self.read(&range)? {
                self.pass(range.end, Spent::on(on, len))?;
                return Ok((start, bytes));
            }
        }
    }

    /// As [`Stock::take_at`], for those who hand the bytes on as a key.
    pub(crate) fn take_bytes_at(&mut self, start: u64, len: u64, on: SpentOn) -> Result<SecretBytes> {
        self.usable()?;
        let range = self.book.plan_take_at(start, len)?;
        if len == 0 {
            return Ok(SecretBytes::from_vec(Vec::new()));
        }
        let bytes = self.read(&range)?.ok_or(Error::NoKeyThere { start, len })?;
        self.pass(range.end, Spent::on(on, len))?;
        Ok(bytes)
    }
}

impl<D: Direction> Stock<D> for FileStock<D> {
    fn append(&mut self, keys: Vec<StockKey>) -> Result<Range<u64>> {
        self.usable()?;
        let range = self.book.plan_append(&keys)?;
        if range.is_empty() {
            return Ok(range);
        }
        let spans = spans(range.start, &keys);
        let segment = Segment::create(&self.dir, &keys, &spans, &self.keyring).inspect_err(|_reported| {
            // A full disk is no reason to close the stock, a segment that may or may not last is.
            self.failed = Segment::path(&self.dir, range.start).exists();
        })?;
        self.durably(|stock| stock.ledger.write(Totals { end: range.end, ..stock.book.totals() }))?;
        self.segments.insert(range.start, segment);
        self.book.insert(std::slice::from_ref(&range), &spans, range.end);
        Ok(range)
    }

    fn hole(&mut self, len: u64) -> Result<Range<u64>> {
        let range = self.book.plan_hole(len)?;
        if !range.is_empty() {
            self.durably(|stock| stock.ledger.write(stock.book.totals().with_hole_to(range.end)))?;
            self.book.extend_hole(range.end);
        }
        Ok(range)
    }

    fn advance_end_to(&mut self, pos: u64) -> Result<()> {
        self.hole(pos.saturating_sub(self.status().end)).map(drop)
    }

    fn take(&mut self, len: u64, on: SpentOn) -> Result<Taken<D>> {
        let (start, bytes) = self.take_bytes(len, on)?;
        Ok(Taken { start, material: Material::from_source(bytes) })
    }

    fn take_at(&mut self, start: u64, len: u64, on: SpentOn) -> Result<Material<D>> {
        self.take_bytes_at(start, len, on).map(Material::from_source)
    }

    fn discard_before(&mut self, pos: u64) -> Result<u64> {
        self.usable()?;
        let cursor = self.book.totals().cursor;
        self.book.plan_discard(pos)?;
        if pos <= cursor { Ok(0) } else { self.pass(pos, Spent::default()) }
    }

    fn discard_from(&mut self, pos: u64) -> Result<u64> {
        let pos = pos.max(self.book.totals().cursor);
        let touched = pos..self.book.totals().end.max(pos);
        self.durably(|stock| {
            let forfeited = stock.book.forfeit(touched.clone());
            if forfeited > 0 {
                stock.ledger.write(stock.book.totals())?; // a copy made before this is an old one
            }
            stock.erase(&touched, &(0..pos))?;
            Ok(forfeited)
        })
    }

    fn keys_from(&self, pos: u64) -> Vec<KeySpan> {
        self.book.keys_from(pos)
    }

    fn note_matched(&mut self, pos: u64) -> Result<()> {
        self.usable()?;
        if self.book.match_to(pos) {
            self.durably(|stock| stock.ledger.write(stock.book.totals()))?;
        }
        Ok(())
    }

    fn matched(&self) -> u64 {
        self.book.totals().matched
    }

    fn spent(&self) -> Spent {
        self.book.totals().spent
    }

    fn take_notice(&mut self) -> Option<Notice> {
        self.notice.take()
    }

    fn status(&self) -> StockStatus {
        self.book.status()
    }
}

/// The segments that share positions with `range`.
fn overlapping<'a>(segments: &'a BTreeMap<u64, Segment>, range: &Range<u64>) -> impl Iterator<Item = &'a Segment> {
    let first = segments.range(..=range.start).next_back().map_or(range.start, |(start, _)| *start);
    let range = range.clone();
    segments
        .range(first..range.end.max(first))
        .map(|(_, segment)| segment)
        .filter(move |segment| segment.range.start < range.end && range.start < segment.range.end)
}
