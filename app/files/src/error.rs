//! What can go wrong, by whose doing it is: the peer's offer, the peer's stream, our files, our disk.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::limits::{MAX_BYTES, MAX_DEPTH, MAX_ENTRIES, MAX_MANIFEST, MAX_OFFERED_COMPONENT, MAX_PATH};

/// Why a name is refused, and with it the whole offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RefusedWhy {
    /// A name of no characters.
    #[error("a name is empty")]
    Empty,
    /// `.` or `..`, or what becomes that.
    #[error("a name is made of dots, which means another folder")]
    Dots,
    /// A slash or a backslash.
    #[error("a name holds a path separator")]
    Separator,
    /// Byte 0.
    #[error("a name holds a zero character")]
    Nul,
    /// `C:`.
    #[error("a name starts with a drive letter")]
    Drive,
    /// Longer than any file system has names.
    #[error("a name is longer than {MAX_OFFERED_COMPONENT} bytes")]
    LongName,
}

/// An offer that is not taken: its paths are hostile.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the offer is refused: {why} (entry {entry}: \"{path}\")")]
pub struct Refusal {
    /// Which entry of the manifest.
    pub entry: u32,
    /// Its path, safe to print.
    pub path: String,
    /// What is wrong with it.
    pub why: RefusedWhy,
}

/// Bytes that are no manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// It does not begin like one.
    #[error("this is no list of files, or one of a later version: update the program")]
    NotOne,
    /// It says that there are more entries than may be, or none.
    #[error("a transfer holds 1 to {MAX_ENTRIES} files and folders")]
    Entries,
    /// It is too long.
    #[error("the list of files is longer than {MAX_MANIFEST} bytes")]
    TooLong,
    /// It ended before its end, or went on after it.
    #[error("the list of files is cut off, or longer than it says")]
    Length,
    /// Sizes that no disk has.
    #[error("the files are larger than {MAX_BYTES} bytes together")]
    TooLarge,
    /// A folder in a folder in a folder, or an entry in something that is no folder.
    #[error("entry {0} is in no folder, or in more than {MAX_DEPTH} of them")]
    Depth(u32),
    /// A path that is too long.
    #[error("the path of entry {0} is longer than {MAX_PATH} bytes")]
    Path(u32),
    /// Something that the format does not have.
    #[error("entry {0} of the list of files makes no sense")]
    Entry(u32),
}

/// Why files cannot be offered. Nothing was sent.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OfferError {
    /// It cannot be read.
    #[error("{} cannot be read: {source}", .path.display())]
    Unreadable {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is neither a file nor a folder.
    #[error("{} is neither a file nor a folder", .0.display())]
    Neither(PathBuf),
    /// It is the root of the file system, or has no name for another reason.
    #[error("{} has no name to send it under: name what is in it", .0.display())]
    Nameless(PathBuf),
    /// There is nothing to send.
    #[error("there is nothing to send")]
    Nothing,
    /// More than a transfer holds.
    #[error("{} cannot be sent in one transfer: {source}", .path.display())]
    Limit {
        /// Where the limit was reached.
        path: PathBuf,
        /// Which.
        source: ManifestError,
    },
    /// A kept offer that cannot be used again.
    #[error("the kept offer is damaged: offer the files anew")]
    Damaged,
}

/// What cannot be in a stream of content. The peer, or what is between, does not keep to the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A frame of no known type.
    #[error("the sender sent something unknown (frame type {0}): update the program")]
    Unknown(u8),
    /// A frame longer than the limit, or empty.
    #[error("the sender sent a frame of {0} bytes")]
    Length(u32),
    /// A frame where it cannot be.
    #[error("the sender sent the parts of the files out of order")]
    Order,
    /// Another file than the next one, or another place in it.
    #[error("the sender began with file {entry} at byte {offset}, which is not what is missing next")]
    Begin {
        /// The file it began.
        entry: u32,
        /// Where.
        offset: u64,
    },
    /// More bytes than were offered.
    #[error("the sender sent more than was offered for file {0}")]
    TooMuch(u32),
    /// Fewer bytes than were offered.
    #[error("the sender ended file {0} before its end")]
    TooLittle(u32),
    /// The sender's count of files differs from ours.
    #[error("the sender counts other files than those that came")]
    Count,
    /// The sender's hash of all ends differs from ours.
    #[error("the sender ended other files, or otherwise, than what came")]
    Root,
    /// It goes on after its end.
    #[error("the sender went on after the end")]
    AfterEnd,
}

/// A place to begin again at that is not in this offer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// No such place.
    #[error("the receiver wants to go on at a place that the offer does not have")]
    Place,
    /// Whoever asked does not want to wait any more.
    #[error("the check of what is there already was cancelled")]
    Cancelled,
}

/// Why files are not received.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IncomingError {
    /// The offer is hostile.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Too little room, seen before the first byte.
    #[error("{missing} bytes of room are missing in {}: {needed} are needed and {available} are free", .folder.display())]
    NoRoom {
        /// Where.
        folder: PathBuf,
        /// Bytes that the files need on this file system.
        needed: u64,
        /// Bytes that are free.
        available: u64,
        /// Bytes to make free.
        missing: u64,
    },
    /// The disk became full. What came is kept: make room, then go on from [`Incoming::pause`](crate::Incoming::pause).
    #[error("the disk is full: {missing} bytes of room are missing; what came is kept, make room and go on")]
    DiskFull {
        /// Bytes to make free for the rest of the transfer, as far as the file system says.
        missing: u64,
    },
    /// No more files can be made.
    #[error("{} has no room for {needed} more files and folders", .folder.display())]
    NoInodes {
        /// Where.
        folder: PathBuf,
        /// Files and folders that are needed.
        needed: u64,
    },
    /// The sender does not keep to the format.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Something stands where only our parts should be.
    #[error("{} was changed by somebody else while files were received into it: {what}", .folder.display())]
    Tampered {
        /// The folder with the parts.
        folder: PathBuf,
        /// What was found.
        what: &'static str,
    },
    /// The disk does not do what it should.
    #[error("{doing} in {}: {source}", .folder.display())]
    Disk {
        /// Where.
        folder: PathBuf,
        /// What was to be done.
        doing: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// This stream has ended with an error.
    #[error("the stream of files was given up after an error: pause it, and let the sender begin again")]
    Stopped,
    /// Not all files came yet.
    #[error("the transfer is not complete yet")]
    Incomplete,
    /// Whoever asked does not want to wait any more.
    #[error("the check of what is there already was cancelled")]
    Cancelled,
    /// What is kept about the transfer.
    #[error(transparent)]
    Desk(#[from] DeskError),
}

/// What is kept about transfers cannot be written or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DeskError {
    /// The system says so.
    #[error("{doing} {}: {source}", .path.display())]
    Io {
        /// What was to be done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A transfer of this name is known.
    #[error("this transfer was accepted before: it can be taken up again, or removed")]
    Known,
    /// Another process, or another part of this one, works on it.
    #[error("this transfer is under way already")]
    Busy,
    /// No transfer of this name, or its acceptance was cut off.
    #[error("no such transfer was accepted")]
    Unknown,
}
