//! Takes from SQLite's raw files what SQLite leaves there of erased rows.
//!
//! `secure_delete` overwrites erased cells and freed pages. It leaves two things: the old frames of the write-ahead log,
//! and, on pages that were packed anew, copies of cells in the gap between the cell pointers and the cells, which SQLite
//! never reads. Formats: "Database File Format" of sqlite.org, sections 1.6 (b-tree pages) and 4.1 (WAL file format).
//! Nothing here looks at rows, or at the contents of a page outside that gap.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const WAL_HEADER: usize = 32;
const FRAME_HEADER: u64 = 24;

/// Above this many changed pages the whole file is looked through instead.
const MAX_CHANGED: usize = 1 << 16;

/// Overwritten at a time.
const STRIDE: usize = 1 << 16;

/// Pages that may hold a gap with something in it.
#[derive(Default)]
pub(super) struct Changed {
    pages: BTreeSet<u32>,
    everything: bool,
}

impl Changed {
    /// Every page.
    pub(super) fn everything() -> Self {
        Self { pages: BTreeSet::new(), everything: true }
    }

    /// Adds the pages that the WAL at `path` holds.
    pub(super) fn add_pages_of(&mut self, path: &Path) -> io::Result<()> {
        let wal = match File::open(path) {
            Ok(wal) => wal,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let len = wal.metadata()?.len();
        let mut header = [0; WAL_HEADER];
        if len < WAL_HEADER as u64 {
            return Ok(());
        }
        wal.read_exact_at(&mut header, 0)?;
        let page_size = u64::from(u32::from_be_bytes([header[8], header[9], header[10], header[11]]));
        if page_size < 512 {
            return Ok(()); // zeroed, so that nothing follows
        }
        let mut at = WAL_HEADER as u64;
        while at + FRAME_HEADER <= len {
            let mut page = [0; 4];
            wal.read_exact_at(&mut page, at)?;
            self.pages.insert(u32::from_be_bytes(page));
            at += FRAME_HEADER + page_size;
        }
        if self.pages.len() > MAX_CHANGED {
            *self = Self::everything();
        }
        Ok(())
    }

    /// Overwrites the gaps of these pages in the database file, durably. The WAL must have been moved into it.
    ///
    /// SQLite may have such a page in memory and write it again with what was in the gap: then through the WAL, so that
    /// the page is changed again. A crash in between does no harm, for nobody reads a gap.
    pub(super) fn zero_gaps(&self, database: &File, page_size: usize) -> io::Result<()> {
        let pages = u32::try_from(database.metadata()?.len() / page_size as u64).unwrap_or(u32::MAX);
        let mut page = vec![0; page_size];
        let mut has_written = false;
        let mut zero = |number: u32| -> io::Result<()> {
            let start = u64::from(number - 1) * page_size as u64;
            database.read_exact_at(&mut page, start)?;
            if let Some(gap) = gap(&page, number == 1)
                && page[gap.clone()].iter().any(|&byte| byte != 0)
            {
                page[gap.clone()].fill(0);
                database.write_all_at(&page[gap.clone()], start + gap.start as u64)?;
                has_written = true;
            }
            Ok(())
        };
        if self.everything {
            (1..=pages).try_for_each(&mut zero)?;
        } else {
            self.pages.range(1..=pages).copied().try_for_each(&mut zero)?;
        }
        if has_written { database.sync_data() } else { Ok(()) }
    }
}

/// Where a page has nothing that SQLite reads; `None` for pages that are not of a b-tree.
fn gap(page: &[u8], is_first: bool) -> Option<std::ops::Range<usize>> {
    let header = if is_first { 100 } else { 0 };
    // Overflow and free pages begin with a page number below 2^24, so with 0.
    let pointers = match page.get(header)? {
        0x02 | 0x05 => header + 12,
        0x0a | 0x0d => header + 8,
        _ => return None,
    };
    let number = |at: usize| Some(usize::from(u16::from_be_bytes([*page.get(at)?, *page.get(at + 1)?])));
    let start = pointers + 2 * number(header + 3)?;
    let end = match number(header + 5)? {
        0 => 1 << 16,
        end => end,
    };
    (start <= end && end <= page.len()).then_some(start..end)
}

/// Overwrites the WAL at `path`, of which everything must be in the database file. The header goes first, and durably: a
/// WAL that lost only its later frames would be taken for an older state.
pub(super) fn zero_wal(path: &Path) -> io::Result<()> {
    let wal = match OpenOptions::new().write(true).open(path) {
        Ok(wal) => wal,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let len = usize::try_from(wal.metadata()?.len()).map_err(io::Error::other)?;
    let zeros = vec![0; STRIDE];
    wal.write_all_at(&zeros[..WAL_HEADER.min(len)], 0)?;
    wal.sync_data()?;
    for at in (WAL_HEADER..len).step_by(STRIDE) {
        wal.write_all_at(&zeros[..STRIDE.min(len - at)], at as u64)?;
    }
    wal.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A leaf page of a table with two cells of 100 bytes at its end, and `fill` everywhere else.
    fn leaf(fill: u8) -> Vec<u8> {
        let mut page = vec![fill; 4096];
        page[..8].copy_from_slice(&[0x0d, 0, 0, 0, 2, 0x0f, 0x38, 0]);
        page[8..12].copy_from_slice(&[0x0f, 0x9c, 0x0f, 0x38]);
        page
    }

    #[test]
    fn the_gap_lies_between_pointers_and_cells() {
        assert_eq!(gap(&leaf(1), false), Some(12..0x0f38));
        let mut overflow = leaf(1);
        overflow[0] = 0;
        assert_eq!(gap(&overflow, false), None);
        let mut broken = leaf(1);
        broken[3..5].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(gap(&broken, false), None, "more pointers than fit: not touched");
        assert_eq!(gap(&[0x0d, 0, 0], false), None);
        assert_eq!(gap(&[0; 50], true), None);
    }

    #[test]
    fn only_gaps_of_changed_pages_are_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("database");
        let pages = [vec![0; 4096], leaf(1), leaf(2), leaf(3)];
        std::fs::write(&path, pages.concat()).expect("our own folder");
        let file = OpenOptions::new().read(true).write(true).open(&path).expect("our own file");
        let mut cleaned = leaf(2);
        cleaned[12..0x0f38].fill(0);

        let changed = Changed { pages: [3, 99].into(), everything: false };
        changed.zero_gaps(&file, 4096).expect("our own file");
        let after = std::fs::read(&path).expect("our own file");
        assert!(after == [pages[0].clone(), leaf(1), cleaned, leaf(3)].concat(), "page 3 alone");

        Changed::everything().zero_gaps(&file, 4096).expect("our own file");
        let after = std::fs::read(&path).expect("our own file");
        assert!(after.chunks(4096).skip(1).all(|page| page[12..0x0f38].iter().all(|&byte| byte == 0)));
    }

    #[test]
    fn a_wal_is_zeros_afterwards_whatever_its_length() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("wal");
        zero_wal(&path).expect("there is none, and that is fine");
        for len in [0, 7, 32, 33, STRIDE, STRIDE + 32, 3 * STRIDE + 5] {
            std::fs::write(&path, vec![9; len]).expect("our own folder");
            zero_wal(&path).expect("our own file");
            assert!(std::fs::read(&path).expect("our own file") == vec![0; len], "{len} bytes");
        }
    }
}
