//! A segment file: the keys of one append, sealed in records and erased in place.

use std::ops::Range;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::disk::{self, DiskFile};
use crate::record::{self, DATA, RECORD};
use crate::store_key::{Keyring, fill_random};
use crate::{Error, KeySpan, Result, StockKey, header};

/// Records read or written at once: 256 KiB.
const BATCH: usize = 64;

/// One segment of a stock. The file is opened for each use, so that a large stock does not run out of descriptors.
pub(crate) struct Segment {
    path: PathBuf,
    id: [u8; 16],
    /// The positions of its keys.
    pub(crate) range: Range<u64>,
    /// Where in the file the first record begins.
    data_at: u64,
}

impl Segment {
    /// Where the segment that begins at `start` is kept.
    pub(crate) fn path(dir: &Path, start: u64) -> PathBuf {
        dir.join(header::file_name(start))
    }

    /// Writes the segment of one append, durably and whole or not at all.
    pub(crate) fn create(dir: &Path, keys: &[StockKey], spans: &[KeySpan], keyring: &Keyring) -> Result<Self> {
        let range = extent(spans);
        let mut id = [0; 16];
        fill_random(&mut id)?;
        let header = header::encode(&id, spans, keyring)?;
        let segment = Self { path: Self::path(dir, range.start), id, range, data_at: header.len() as u64 };
        disk::create(&segment.path, |file| {
            file.write_at(&header, 0)?;
            segment.write_records(file, keys, keyring)
        })?;
        Ok(segment)
    }

    fn write_records(&self, file: &DiskFile, keys: &[StockKey], keyring: &Keyring) -> Result<()> {
        let key = keyring.segment(&self.id);
        let mut keys = keys.iter().map(|key| key.bytes.expose("to seal it into the store"));
        let mut current: &[u8] = &[];
        let mut batch = Zeroizing::new(vec![0; BATCH * RECORD]);
        for first in (0..self.records()).step_by(BATCH) {
            let last = self.records().min(first + BATCH as u64);
            let (records, _) = batch.as_chunks_mut::<RECORD>();
            for (index, record) in (first..last).zip(records.iter_mut()) {
                let positions = self.positions_of(index);
                let live = self.local(index, &positions);
                fill(&mut record::data_mut(record)[..usize::from(live.end)], &mut current, &mut keys);
                record::seal(record, live, &key, index)?;
            }
            let used = index_in_memory(last - first) * RECORD;
            file.write_at(&batch[..used], self.offset_of(first))?;
        }
        Ok(())
    }

    /// Reads the header of the segment at `path`.
    pub(crate) fn open(path: &Path, keyring: &Keyring) -> Result<(Self, Vec<KeySpan>)> {
        let header = header::read(&DiskFile::open(path)?, keyring)?;
        let range = extent(&header.spans);
        if path.file_name().is_none_or(|name| name != header::file_name(range.start).as_str()) {
            let what = "its name does not fit its content; give it back its name, or delete it to forfeit its keys";
            return Err(Error::damaged(path, what));
        }
        Ok((Self { path: path.to_owned(), id: header.id, range, data_at: header.len }, header.spans))
    }

    /// Reads every record, erases what is before `cursor` or cannot be read, and returns the positions that remain.
    pub(crate) fn scan(&self, cursor: u64, keyring: &Keyring) -> Result<Vec<Range<u64>>> {
        let file = DiskFile::open(&self.path)?;
        let key = keyring.segment(&self.id);
        let mut remaining = Vec::new();
        let mut batch = Zeroizing::new(vec![0; BATCH * RECORD]);
        for first in (0..self.records()).step_by(BATCH) {
            let last = self.records().min(first + BATCH as u64);
            let used = index_in_memory(last - first) * RECORD;
            file.read_at(&mut batch[..used], self.offset_of(first))?;
            let (records, _) = batch[..used].as_chunks_mut::<RECORD>();
            for (index, record) in (first..last).zip(records) {
                if record.iter().all(|byte| *byte == 0) {
                    continue;
                }
                let live = record::open(record, &key, index).map_or(0..0, |live| self.global(index, &live));
                let keep = live.start.max(cursor)..live.end.min(self.range.end);
                if keep.is_empty() {
                    file.zero(self.offset_of(index), RECORD as u64)?;
                    continue;
                }
                if keep != live {
                    record::seal(record, self.local(index, &keep), &key, index)?;
                    file.write_at(record, self.offset_of(index))?;
                }
                remaining.push(keep);
            }
        }
        file.sync()?; // also what a program that was killed had written and not synced
        Ok(remaining)
    }

    /// Copies the bytes at the positions `wanted`, all in this segment, to `out`, which has their length.
    /// Returns the positions that could not be read; if there are any, `out` is not to be used.
    pub(crate) fn read(&self, wanted: &Range<u64>, out: &mut [u8], keyring: &Keyring) -> Result<Vec<Range<u64>>> {
        let file = DiskFile::open(&self.path)?;
        let key = keyring.segment(&self.id);
        let (mut out, mut unreadable) = (out, Vec::new());
        let mut batch = Zeroizing::new(vec![0; BATCH * RECORD]);
        let touched = self.records_of(wanted);
        for first in touched.clone().step_by(BATCH) {
            let last = touched.end.min(first + BATCH as u64);
            let used = index_in_memory(last - first) * RECORD;
            file.read_at(&mut batch[..used], self.offset_of(first))?;
            let (records, _) = batch[..used].as_chunks_mut::<RECORD>();
            for (index, record) in (first..last).zip(records) {
                let positions = self.positions_of(index);
                let part = wanted.start.max(positions.start)..wanted.end.min(positions.end);
                let (head, tail) = out.split_at_mut(index_in_memory(part.end - part.start));
                out = tail;
                let live = record::open(record, &key, index).map_or(0..0, |live| self.global(index, &live));
                if live.start <= part.start && part.end <= live.end {
                    let local = self.local(index, &part);
                    head.copy_from_slice(&record::data(record)[usize::from(local.start)..usize::from(local.end)]);
                } else {
                    unreadable.push(positions);
                }
            }
        }
        Ok(unreadable)
    }

    /// Erases, durably, the positions in `touched` that are not in `keep`. A record that `keep` cuts in two is sealed
    /// anew without the rest; if it cannot be read it is erased whole, and its positions are returned as lost.
    pub(crate) fn erase(&self, touched: &Range<u64>, keep: &Range<u64>, keyring: &Keyring) -> Result<Vec<Range<u64>>> {
        let touched = touched.start.max(self.range.start)..touched.end.min(self.range.end);
        if touched.is_empty() {
            return Ok(Vec::new());
        }
        let file = DiskFile::open(&self.path)?;
        let (mut lost, mut zero) = (Vec::new(), Vec::<Range<u64>>::new());
        for index in self.records_of(&touched) {
            let positions = self.positions_of(index);
            let cut = keep.start.max(positions.start)..keep.end.min(positions.end);
            if cut == positions {
                continue;
            }
            if cut.is_empty() || !self.reseal(&file, index, &cut, keyring)? {
                if !cut.is_empty() {
                    lost.push(positions);
                }
                match zero.last_mut() {
                    Some(run) if run.end == index => run.end += 1,
                    _ => zero.push(index..index + 1),
                }
            }
        }
        for run in zero {
            file.zero(self.offset_of(run.start), (run.end - run.start) * RECORD as u64)?;
        }
        file.sync()?;
        Ok(lost)
    }

    /// Seals record `index` anew with only the bytes in `keep`. Says false where none of them can be read.
    fn reseal(&self, file: &DiskFile, index: u64, keep: &Range<u64>, keyring: &Keyring) -> Result<bool> {
        let key = keyring.segment(&self.id);
        let mut record = Zeroizing::new([0; RECORD]);
        file.read_at(&mut *record, self.offset_of(index))?;
        let Some(live) = record::open(&mut record, &key, index).map(|live| self.global(index, &live)) else {
            return Ok(false);
        };
        let left = live.start.max(keep.start)..live.end.min(keep.end);
        if left.is_empty() {
            return Ok(false);
        }
        if left != live {
            record::seal(&mut record, self.local(index, &left), &key, index)?;
            file.write_at(&*record, self.offset_of(index))?;
        }
        Ok(true)
    }

    /// Removes the file, every record of which is erased.
    pub(crate) fn remove(self) -> Result<()> {
        disk::remove(&self.path)
    }

    fn records(&self) -> u64 {
        (self.range.end - self.range.start).div_ceil(DATA as u64)
    }

    fn records_of(&self, positions: &Range<u64>) -> Range<u64> {
        let from_start = positions.start - self.range.start..positions.end - self.range.start;
        from_start.start / DATA as u64..from_start.end.div_ceil(DATA as u64)
    }

    fn positions_of(&self, index: u64) -> Range<u64> {
        let start = self.range.start + index * DATA as u64;
        start..self.range.end.min(start + DATA as u64)
    }

    fn offset_of(&self, index: u64) -> u64 {
        self.data_at + index * RECORD as u64
    }

    /// From positions to bytes within record `index`.
    fn local(&self, index: u64, positions: &Range<u64>) -> Range<u16> {
        let start = self.positions_of(index).start;
        let within = |pos: u64| u16::try_from(pos - start).expect("a record is shorter than 64 KiB");
        within(positions.start)..within(positions.end)
    }

    /// From bytes within record `index` to positions.
    fn global(&self, index: u64, local: &Range<u16>) -> Range<u64> {
        let start = self.positions_of(index).start;
        start + u64::from(local.start)..start + u64::from(local.end)
    }
}

/// Fills `data` from the rest of the current key and those that follow.
fn fill<'k>(mut data: &mut [u8], current: &mut &'k [u8], keys: &mut impl Iterator<Item = &'k [u8]>) {
    while !data.is_empty() {
        if current.is_empty() {
            *current = keys.next().expect("the segment is as long as its keys");
        }
        let (now, later) = current.split_at(current.len().min(data.len()));
        let (head, tail) = data.split_at_mut(now.len());
        head.copy_from_slice(now);
        (*current, data) = (later, tail);
    }
}

/// The positions from the first key to the last.
fn extent(spans: &[KeySpan]) -> Range<u64> {
    let start = spans.first().map_or(0, |span| span.start);
    start..spans.last().map_or(start, |span| span.start + span.len)
}

fn index_in_memory(len: u64) -> usize {
    usize::try_from(len).expect("a part of a buffer in memory")
}
