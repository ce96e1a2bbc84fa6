//! What the messages about files say: what is offered, from where on, and why a transfer ends. The list of names and the
//! files themselves are not here: they travel in the file flow.

use crate::limits::{MAX_FILE_BYTES, MAX_FILE_ENTRIES, MAX_FILE_LIST};
use crate::message::read_suite;
use crate::suite::Suite;
use crate::wire::{Malformed, Reader};

/// What files are, before their names are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileTerms {
    /// The sender's name for the transfer: random, and the same however often the rest of it is offered again.
    pub id: [u8; 16],
    /// The suite that they will come under.
    pub suite: Suite,
    /// Files, all folders' together.
    pub files: u32,
    /// Folders.
    pub folders: u32,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes of the list of names, times, permissions and sizes.
    pub list_len: u32,
    /// BLAKE3 of that list: whatever has the same is the same offer.
    pub list_hash: [u8; 32],
}

impl FileTerms {
    /// Whether its numbers are within the protocol's bounds.
    pub fn is_bounded(&self) -> bool {
        let entries = u64::from(self.files) + u64::from(self.folders);
        (1..=MAX_FILE_ENTRIES).contains(&entries)
            && (1..=MAX_FILE_LIST).contains(&self.list_len)
            && self.bytes <= MAX_FILE_BYTES
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id);
        out.push(self.suite.code());
        out.extend_from_slice(&self.files.to_be_bytes());
        out.extend_from_slice(&self.folders.to_be_bytes());
        out.extend_from_slice(&self.bytes.to_be_bytes());
        out.extend_from_slice(&self.list_len.to_be_bytes());
        out.extend_from_slice(&self.list_hash);
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let terms = Self {
            id: from.array()?,
            suite: read_suite(from)?,
            files: from.u32()?,
            folders: from.u32()?,
            bytes: from.u64()?,
            list_len: from.u32()?,
            list_hash: from.array()?,
        };
        Some(terms).filter(Self::is_bounded).ok_or(Malformed)
    }
}

/// How much of a transfer the receiver has: all files before `entry`, and `offset` bytes of that one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilePoint {
    /// The first entry of the list that is not complete; the number of entries if none is.
    pub entry: u32,
    /// Bytes of it that are there.
    pub offset: u64,
    /// BLAKE3 of these bytes.
    pub prefix: [u8; 32],
}

impl FilePoint {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.entry.to_be_bytes());
        out.extend_from_slice(&self.offset.to_be_bytes());
        out.extend_from_slice(&self.prefix);
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { entry: from.u32()?, offset: from.u64()?, prefix: from.array()? })
    }
}

/// Why a try to transfer files is over, while the transfer is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileStopReason {
    /// Its number was used before, or is not the sender's to give.
    Number,
    /// Too many transfers are under way.
    Busy,
    /// This suite is not allowed for it.
    Suite,
    /// The receiver's disk is full.
    Full,
    /// The receiver's disk, or what it stands for, fails.
    Disk,
    /// What came makes no sense.
    Stream,
    /// The sender's key is used up.
    Key,
    /// The sender begins anew.
    Anew,
}

impl FileStopReason {
    /// Every reason, in the order of their codes.
    pub const ALL: [Self; 8] =
        [Self::Number, Self::Busy, Self::Suite, Self::Full, Self::Disk, Self::Stream, Self::Key, Self::Anew];

    pub(crate) fn code(self) -> u8 {
        (0..).zip(Self::ALL).find(|(_, one)| *one == self).map_or(0, |(code, _)| code)
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Self::ALL.get(usize::from(from.u8()?)).copied().ok_or(Malformed)
    }
}

/// Why a transfer is over for good before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileCancelReason {
    /// The receiving person did not want it.
    Declined,
    /// A person wants it no more.
    Cancelled,
    /// Its names, or its list, are none that could be accepted.
    Refused,
    /// No such transfer is known.
    Unknown,
}

impl FileCancelReason {
    /// Every reason, in the order of their codes.
    pub const ALL: [Self; 4] = [Self::Declined, Self::Cancelled, Self::Refused, Self::Unknown];

    pub(crate) fn code(self) -> u8 {
        (0..).zip(Self::ALL).find(|(_, one)| *one == self).map_or(0, |(code, _)| code)
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Self::ALL.get(usize::from(from.u8()?)).copied().ok_or(Malformed)
    }
}
