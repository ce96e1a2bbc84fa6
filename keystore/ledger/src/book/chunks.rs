//! Key bytes: sealed in chunks, opened where they are needed, erased where they lie.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use vernam_key::SecretBytes;
use zeroize::Zeroizing;

use super::sql::{insert_rows, int, many_rows, nat32, one_row};
use super::{Book, Side, shift};
use crate::database::Value;
use crate::seal::ChunkPlace;
use crate::{Extent, Fault};

/// Bytes of key in a chunk; the last of a block may be shorter.
pub(super) const CHUNK_BYTES: u32 = 1024;

/// How many chunks are held open at once (4 MiB) before they are written and forgotten.
const MOST_OPEN: usize = 4096;

const WHY: &str = "bits move from their chunk into a key, and are wiped in the chunk";

/// A chunk as it will be after this transaction.
pub(super) struct Chunk {
    len: u32,
    unspent: u32,
    body: Body,
    changed: bool,
}

enum Body {
    /// As it lies in the database.
    Sealed(Vec<u8>),
    Open(SecretBytes),
    /// It does not open, or is not there: its bits are lost.
    Lost,
}

static INSERT_CHUNK: LazyLock<String> = LazyLock::new(|| one_row(INSERT_CHUNKS_HEAD, 6));
static INSERT_CHUNKS: LazyLock<String> = LazyLock::new(|| many_rows(INSERT_CHUNKS_HEAD, 6));
const INSERT_CHUNKS_HEAD: &str = "INSERT INTO chunk (link, block, start_at, len, unspent, sealed)";
const READ_CHUNKS: &str = "SELECT start_at, len, unspent, sealed FROM chunk \
     WHERE link = $1 AND block = $2 AND start_at >= $3 AND start_at < $4 ORDER BY start_at";
const DELETE_CHUNKS: &str = "DELETE FROM chunk WHERE link = $1 AND block = $2 AND start_at >= $3 AND start_at < $4";
const UPDATE_CHUNK: &str =
    "UPDATE chunk SET unspent = $1, sealed = $2 WHERE link = $3 AND block = $4 AND start_at = $5";
const UPDATE_LOST_CHUNK: &str = "UPDATE chunk SET unspent = $1 WHERE link = $2 AND block = $3 AND start_at = $4";
const SPEND_BLOCK: &str = "UPDATE block SET unspent = unspent - $1 WHERE link = $2 AND number = $3 RETURNING unspent";
const DELETE_BLOCK: &str = "DELETE FROM block WHERE link = $1 AND number = $2";

impl Book<'_> {
    /// Seals the bits of a new block.
    pub(super) fn insert_chunks(&mut self, link: i64, block: u64, bits: &SecretBytes) -> Result<(), Fault> {
        const GROUP: usize = 8 * super::sql::MANY;
        let chunks = bits.expose("they are sealed for storage").chunks(CHUNK_BYTES as usize);
        let mut offset = 0;
        let mut waiting: Vec<(u32, u32, Vec<u8>)> = Vec::with_capacity(GROUP);
        for plain in chunks {
            let len = u32::try_from(plain.len()).expect("a chunk has at most CHUNK_BYTES");
            let sealed = self.key.seal(ChunkPlace { link, block, offset }, &SecretBytes::copy_of(plain))?;
            waiting.push((offset, len, sealed));
            offset += len;
            if waiting.len() == GROUP {
                self.insert_sealed(link, block, &waiting)?;
                waiting.clear();
            }
        }
        self.insert_sealed(link, block, &waiting)
    }

    fn insert_sealed(&mut self, link: i64, block: u64, chunks: &[(u32, u32, Vec<u8>)]) -> Result<(), Fault> {
        let rows: Vec<_> = chunks
            .iter()
            .map(|(offset, len, sealed)| {
                let (offset, len) = (Value::Int((*offset).into()), Value::Int((*len).into()));
                [Value::Int(link), Value::Int(int(block)), offset, len, len, Value::Bytes(sealed)]
            })
            .collect();
        insert_rows(self.database, (INSERT_CHUNK.as_str(), INSERT_CHUNKS.as_str()), &rows)
    }

    /// Loads the chunks under `extents`, neighbours together. The extents must be parts of a block that was here.
    pub(super) fn load(&mut self, link: i64, extents: &[Extent]) -> Result<(), Fault> {
        for span in merged(extents) {
            self.load_span(link, span)?;
        }
        Ok(())
    }

    fn load_span(&mut self, link: i64, span: Extent) -> Result<(), Fault> {
        let block = span.block;
        let (first, past) = (floor(span.offset), end(span));
        let place = |offset| ChunkPlace { link, block, offset };
        let mut missing = (first..past).step_by(CHUNK_BYTES as usize);
        if missing.all(|offset| self.state.chunks.contains_key(&place(offset))) {
            return Ok(());
        }
        let coming = (past - first) as usize / CHUNK_BYTES as usize;
        if self.state.chunks.len() + coming > MOST_OPEN {
            self.flush_chunks()?;
            self.state.chunks.clear();
        }
        let mut found = BTreeMap::new();
        let range = [link, int(block), first.into(), past.into()].map(Value::Int);
        self.database.query(READ_CHUNKS, &range, &mut |row| {
            let chunk = Chunk {
                len: nat32(row.int(1)?)?,
                unspent: nat32(row.int(2)?)?,
                body: Body::Sealed(row.bytes(3)?),
                changed: false,
            };
            found.insert(place(nat32(row.int(0)?)?), chunk);
            Ok(())
        })?;
        for (place, chunk) in found {
            self.state.chunks.entry(place).or_insert(chunk);
        }
        for offset in (first..past).step_by(CHUNK_BYTES as usize) {
            let lost = || Chunk { len: 0, unspent: 0, body: Body::Lost, changed: false };
            self.state.chunks.entry(place(offset)).or_insert_with(lost);
        }
        Ok(())
    }

    /// The chunk of the byte at `offset`, opened.
    fn open(&mut self, link: i64, block: u64, offset: u32) -> Result<&mut Chunk, Fault> {
        let place = ChunkPlace { link, block, offset: floor(offset) };
        if !self.state.chunks.contains_key(&place) {
            self.load_span(link, Extent { block, offset, len: 1 })?;
        }
        let chunk = self.state.chunks.get_mut(&place).expect("loading puts every chunk of the span in its place");
        if let Body::Sealed(sealed) = &mut chunk.body {
            let opened = self.key.open(place, std::mem::take(sealed));
            let whole = opened.filter(|plain| plain.len() == chunk.len as usize);
            chunk.body = whole.map_or(Body::Lost, Body::Open);
        }
        Ok(chunk)
    }

    /// The first part of `extent` that cannot be read: what lies in one lost chunk.
    pub(super) fn first_lost(&mut self, link: i64, extent: Extent) -> Result<Option<Extent>, Fault> {
        self.load(link, &[extent])?;
        for piece in pieces(extent) {
            let chunk = self.open(link, piece.block, piece.offset)?;
            if chunk.plain(piece).is_none() {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }

    /// The bytes at `extents`, end to end, or `None` where one of them is lost.
    pub(super) fn read(&mut self, link: i64, extents: &[Extent]) -> Result<Option<SecretBytes>, Fault> {
        self.load(link, extents)?;
        let len = extents.iter().map(|extent| extent.len as usize).sum();
        let mut bytes = Zeroizing::new(Vec::with_capacity(len));
        for piece in extents.iter().flat_map(|&extent| pieces(extent)) {
            let chunk = self.open(link, piece.block, piece.offset)?;
            let Some(plain) = chunk.plain(piece) else { return Ok(None) };
            bytes.extend_from_slice(plain); // the capacity was reserved: nothing is left behind by growing
        }
        Ok(Some(SecretBytes::from_vec(std::mem::take(&mut *bytes))))
    }

    /// Wipes bytes that were not wiped before. The caller keeps the tallies.
    pub(super) fn erase(&mut self, link: i64, extent: Extent) -> Result<(), Fault> {
        if extent.len == 0 {
            return Ok(());
        }
        let (block, stop) = (extent.block, end(extent));
        *self.state.spent.entry((link, block)).or_default() += u64::from(extent.len);
        // Chunks that are covered whole need not be opened.
        let whole = extent.offset.next_multiple_of(CHUNK_BYTES)..floor(stop);
        if whole.start < whole.end {
            let range = [link, int(block), whole.start.into(), whole.end.into()].map(Value::Int);
            self.database.execute(DELETE_CHUNKS, &range)?;
            let place = |offset| ChunkPlace { link, block, offset };
            let open: Vec<_> =
                self.state.chunks.range(place(whole.start)..place(whole.end)).map(|(&place, _)| place).collect();
            for place in open {
                self.state.chunks.remove(&place);
            }
        }
        let head = (extent.offset, stop.min(whole.start));
        let tail = (whole.end.max(head.1), stop);
        for (from, to) in [head, tail] {
            for piece in pieces(Extent { block, offset: from, len: to.saturating_sub(from) }) {
                let chunk = self.open(link, block, piece.offset)?;
                chunk.unspent = chunk.unspent.saturating_sub(piece.len);
                chunk.changed = true;
                if let Body::Open(plain) = &mut chunk.body {
                    let at = (piece.offset % CHUNK_BYTES) as usize;
                    if let Some(used) = plain.expose_mut(WHY).get_mut(at..at + piece.len as usize) {
                        used.fill(0);
                    }
                }
            }
        }
        Ok(())
    }

    /// Erases several extents of one link.
    pub(super) fn erase_all(&mut self, link: i64, extents: &[Extent]) -> Result<(), Fault> {
        merged(extents).into_iter().try_for_each(|span| self.erase(link, span))
    }

    /// Voids the part of our free bytes that lies in the lost chunk of `lost`, from there to `stop`, and tells the peer.
    /// Returns where the chunk ends.
    pub(super) fn void_lost(&mut self, link: i64, lost: Extent, run: super::runs::Run) -> Result<u32, Fault> {
        let stop = floor(lost.offset).saturating_add(CHUNK_BYTES).min(run.stop);
        let extent = Extent { block: lost.block, offset: lost.offset, len: stop - lost.offset };
        self.carve(link, Side::Own, lost.block, run, (lost.offset, stop))?;
        self.erase(link, extent)?;
        let row = self.link(link)?;
        shift(&mut row.pooled_own, &mut row.voided, extent.len.into())?;
        self.tell_void_extent(link, extent)?;
        Ok(stop)
    }

    /// Writes the chunks that changed, and forgets the blocks of which nothing is left.
    pub(super) fn flush_chunks(&mut self) -> Result<(), Fault> {
        for (place, chunk) in &mut self.state.chunks {
            if !std::mem::take(&mut chunk.changed) {
                continue;
            }
            let (link, block, offset) = (Value::Int(place.link), Value::Int(int(place.block)), place.offset);
            let at = Value::Int(offset.into());
            let unspent = Value::Int(chunk.unspent.into());
            if chunk.unspent == 0 {
                self.database.execute(DELETE_CHUNKS, &[link, block, at, Value::Int(i64::from(offset) + 1)])?;
                chunk.body = Body::Lost;
            } else if let Body::Open(plain) = &chunk.body {
                let sealed = self.key.seal(*place, plain)?;
                self.database.execute(UPDATE_CHUNK, &[unspent, Value::Bytes(&sealed), link, block, at])?;
            } else {
                self.database.execute(UPDATE_LOST_CHUNK, &[unspent, link, block, at])?;
            }
        }
        for ((link, block), bytes) in std::mem::take(&mut self.state.spent) {
            let (link, block) = (Value::Int(link), Value::Int(int(block)));
            let mut unspent = None;
            self.database.query(SPEND_BLOCK, &[Value::Int(int(bytes)), link, block], &mut |row| {
                unspent = Some(row.int(0)?);
                Ok(())
            })?;
            if unspent.is_some_and(|unspent| unspent <= 0) {
                self.database.execute(DELETE_BLOCK, &[link, block])?;
            }
        }
        Ok(())
    }
}

impl Chunk {
    /// The bytes of a piece of this chunk, if it could be opened and has them.
    fn plain(&self, piece: Extent) -> Option<&[u8]> {
        let Body::Open(plain) = &self.body else { return None };
        let at = (piece.offset % CHUNK_BYTES) as usize;
        plain.expose(WHY).get(at..at + piece.len as usize)
    }
}

fn floor(offset: u32) -> u32 {
    offset - offset % CHUNK_BYTES
}

/// Where an extent ends. All that come here end within a block.
pub(super) fn end(extent: Extent) -> u32 {
    extent.offset.saturating_add(extent.len)
}

/// The parts of `extent` that lie in one chunk each.
fn pieces(extent: Extent) -> impl Iterator<Item = Extent> {
    let stop = end(extent);
    let mut offset = extent.offset;
    std::iter::from_fn(move || {
        let next = floor(offset).saturating_add(CHUNK_BYTES).min(stop);
        let piece = Extent { block: extent.block, offset, len: next.saturating_sub(offset) };
        offset = next;
        (piece.len > 0).then_some(piece)
    })
}

/// The same bytes in ascending order, with what touches or overlaps joined.
pub(super) fn merged(extents: &[Extent]) -> Vec<Extent> {
    let mut sorted = extents.to_vec();
    sorted.sort_unstable();
    let mut spans: Vec<Extent> = Vec::new();
    for extent in sorted.into_iter().filter(|extent| extent.len > 0) {
        match spans.last_mut() {
            Some(last) if last.block == extent.block && extent.offset <= end(*last) => {
                last.len = end(extent).max(end(*last)) - last.offset;
            }
            _ => spans.push(extent),
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(block: u64, offset: u32, len: u32) -> Extent {
        Extent { block, offset, len }
    }

    #[test]
    fn neighbours_are_joined() {
        let scattered = [extent(2, 8, 8), extent(1, 0, 4), extent(2, 0, 8), extent(1, 5, 1), extent(2, 4, 2)];
        assert_eq!(merged(&scattered), [extent(1, 0, 4), extent(1, 5, 1), extent(2, 0, 16)]);
        assert_eq!(merged(&[extent(1, 0, 0)]), []);
    }

    #[test]
    fn pieces_end_where_chunks_end() {
        let all: Vec<_> = pieces(extent(1, 1000, 2000)).collect();
        assert_eq!(all, [extent(1, 1000, 24), extent(1, 1024, 1024), extent(1, 2048, 952)]);
        assert_eq!(pieces(extent(1, 5, 0)).count(), 0);
        assert_eq!(pieces(extent(1, u32::MAX - 1, 9)).count(), 1, "past the end of all offsets");
    }
}
