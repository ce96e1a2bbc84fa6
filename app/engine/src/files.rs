//! What the application and the engine say to each other about transfers of files: what is sent, what it costs, how it
//! goes and how it ends. How it is done is `peer/transfers`' business.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use vernam_files::{Failure, LeftOut, Manifest, stream_len};
use vernam_session::Suite;
use vernam_session::limits::{HASH_KEY_LEN, MAX_RECORD_PLAINTEXT, TAG_LEN};

use crate::limits::FILE_BLOCK;

/// Bytes of the list's entry for one file with the longest name, and of what stands before all entries.
const LONGEST_LIST_OF_ONE: u64 = 8 + 1 + 1 + 2 + vernam_files::limits::MAX_OFFERED_COMPONENT as u64 + 12 + 2 + 8;

/// How much a transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileTotals {
    /// Files.
    pub files: u32,
    /// Folders.
    pub folders: u32,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes of the list of names, sizes, times and permissions that goes before them.
    pub list: u64,
}

impl FileTotals {
    pub(crate) fn of(manifest: &Manifest) -> Self {
        let (files, folders) = (manifest.files(), manifest.folders());
        Self { files, folders, bytes: manifest.bytes(), list: manifest.encoded_len() }
    }

    /// The most that it takes of the stock under one-time pad, bytes.
    pub fn pad_cost(&self) -> u64 {
        self.list.saturating_add(self.rest_cost(self.bytes, self.list))
    }

    /// The same of what is left of it: so many bytes of files, and so many of the list.
    pub(crate) fn rest_cost(&self, bytes: u64, list: u64) -> u64 {
        let content = stream_len(self.files, bytes, MAX_RECORD_PLAINTEXT);
        let records = content.div_ceil(MAX_RECORD_PLAINTEXT as u64 - 64) + list.div_ceil(MAX_RECORD_PLAINTEXT as u64);
        // The list is sealed under a block of its own. Where a block ends inside a record, the record becomes two.
        let blocks = content.div_ceil(FILE_BLOCK as u64) + list.div_ceil(FILE_BLOCK as u64) + 2;
        content.saturating_add(TAG_LEN as u64 * (records + blocks) + HASH_KEY_LEN as u64 * blocks)
    }
}

/// The most that one file of so many bytes takes of the stock under one-time pad, whatever its name is.
pub fn file_pad_cost(bytes: u64) -> u64 {
    FileTotals { files: 1, folders: 0, bytes, list: LONGEST_LIST_OF_ONE }.pad_cost()
}

/// What to do where the stock cannot cover files under one-time pad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IfShort {
    /// Say so, and do nothing until [`DecideFiles`](crate::Command::DecideFiles) or
    /// [`CancelFiles`](crate::Command::CancelFiles).
    #[default]
    Ask,
    /// Wait until the stock covers them: it is filled beyond its mark for that.
    Wait,
    /// Send them under this suite instead, if both sides allow it; wait otherwise.
    Under(Suite),
}

/// How a stock cannot cover files under one-time pad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortage {
    /// Bytes of pad that they take.
    pub cost: u64,
    /// Bytes that both sides hold and nothing else has reserved.
    pub usable: u64,
    /// Bytes that are missing.
    pub missing: u64,
    /// How long it will take until they are there, at the rate at which key comes now; `None` if none is known to come.
    pub wait: Option<Duration>,
    /// What both sides allow instead of one-time pad.
    pub instead: Option<Suite>,
}

/// Files of ours that are about to be offered: what they are, and what they cost.
#[derive(Clone)]
pub struct PreparedFiles {
    /// The name of the first of them, safe to show.
    pub name: String,
    /// How much they are.
    pub totals: FileTotals,
    /// What is not sent: links, sockets and the like; the first of them.
    pub left_out: Vec<LeftOut>,
    /// How many those are in all.
    pub left_out_count: u64,
    /// How they will be protected.
    pub suite: Suite,
    /// Bytes of pad that are reserved for them; 0 under an AEAD suite.
    pub cost: u64,
    /// Bytes of usable key that remain for everything else.
    pub remains: u64,
}

/// Files that a contact offers.
#[derive(Clone)]
pub struct OfferedFiles {
    /// The name of the first of them here, safe to show and to use.
    pub name: String,
    /// How much they are.
    pub totals: FileTotals,
    /// How they will be protected.
    pub suite: Suite,
    /// Every name, size, time and permission, as offered: hostile, and shown by
    /// [`display`](vernam_files::display) only.
    pub manifest: Arc<Manifest>,
    /// What the names will be here, and which of them are others than those offered.
    pub layout: Arc<vernam_files::Layout>,
    /// Whether they were accepted before, under a stronger protection: the rest comes under a weaker one only if the
    /// person says yes again.
    pub weaker: bool,
}

impl fmt::Debug for PreparedFiles {
    /// Without names: they are the person's own, and have no place in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { totals, suite, cost, remains, left_out_count, .. } = self;
        write!(f, "PreparedFiles({totals:?} under {suite}, {cost} of pad, {remains} remain, {left_out_count} left out)")
    }
}

impl fmt::Debug for OfferedFiles {
    /// Without names, as above.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OfferedFiles({:?} under {})", self.totals, self.suite)
    }
}

/// Where a transfer stands that is not over.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileStatus {
    /// The contact has been told of it and has not said yes.
    Offered,
    /// It goes; so many bytes were there already.
    Moving {
        /// Bytes.
        there: u64,
    },
    /// It was paused, here or by the contact, or goes on where neither is.
    Paused {
        /// Whether it was paused here.
        here: bool,
        /// Whether the contact paused it.
        there: bool,
    },
    /// It will go on by itself, or when it is told to.
    Waits(FileWait),
    /// The acceptance could not be carried out; the offer stands.
    NotTaken(String),
}

/// What a transfer waits for. What came is kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileWait {
    /// The contact is away; it goes on by itself.
    #[error("the connection is lost: it goes on when the contact is back")]
    Connection,
    /// There is not enough pad; it goes on by itself.
    #[error("{missing} bytes of key are missing: it goes on when they are there")]
    Key {
        /// Bytes.
        missing: u64,
    },
    /// Our disk is full; it goes on by itself when there is room.
    #[error("the disk is full: {missing} bytes of room are missing, and what came is kept")]
    Room {
        /// Bytes.
        missing: u64,
    },
    /// The contact's disk is full.
    #[error("the contact's disk is full: {missing} bytes of room are missing there, and what came is kept")]
    RoomAtContact {
        /// Bytes.
        missing: u64,
    },
    /// It went wrong and is tried again by itself.
    #[error("{0}; it is tried again")]
    Again(String),
    /// It went wrong and is tried again when somebody says so
    /// ([`PauseFiles`](crate::Command::PauseFiles), off).
    #[error("{0}; it is tried again when you say so")]
    Person(String),
}

/// Why a transfer is over without an end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The contact's person did not want it.
    #[error("the contact declined it")]
    Declined,
    /// It was cancelled, or declined, here.
    #[error("it was cancelled here")]
    Cancelled,
    /// The contact cancelled it.
    #[error("the contact cancelled it")]
    CancelledByContact,
    /// The contact's client does not take it: its names are none that it could use.
    #[error("the contact's client refused it")]
    Refused,
    /// The contact does not know of it any more.
    #[error("the contact's client knows nothing of it any more")]
    Forgotten,
    /// It cannot be offered.
    #[error("{0}")]
    Unsendable(String),
}

/// A file that did not come, while the others did.
#[derive(Clone, PartialEq, Eq)]
pub struct FailedFile {
    /// Its path as offered, safe to print.
    pub path: String,
    /// Why.
    pub why: Failure,
}

impl fmt::Debug for FailedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FailedFile({:?})", self.why)
    }
}

/// A transfer that came to its end.
#[derive(Clone, PartialEq, Eq)]
pub struct FileDone {
    /// What was at the top of the offer: where it lies now, or where it was read.
    pub places: Vec<PathBuf>,
    /// Files that came whole.
    pub files: u32,
    /// Files that did not.
    pub failed: u32,
    /// Some of those, as far as this side knows them.
    pub failures: Vec<FailedFile>,
    /// Bytes of the files offered.
    pub bytes: u64,
    /// BLAKE3 of the file, as `b3sum` prints it, where the transfer was one file that this side read to its end since it
    /// was started.
    pub hash: Option<[u8; 32]>,
    /// Since it first moved, or moved first after a restart.
    pub took: Duration,
}

impl fmt::Debug for FileDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { files, failed, bytes, took, .. } = self;
        write!(f, "FileDone({files} files, {failed} failed, {bytes} bytes, {took:?})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_costs_little_more_pad_than_it_has_bytes() {
        assert!(file_pad_cost(0) < 1_200);
        for bytes in [1, 65_536, 1 << 20, 100 << 20] {
            let cost = file_pad_cost(bytes);
            assert!(cost > bytes && cost < bytes + bytes / 500 + 1_300, "{bytes} cost {cost}");
        }
        assert!(file_pad_cost(u64::MAX) > u64::MAX / 2, "no overflow");
    }
}
