//! Every bound on what a peer, or a folder, can make us hold.

/// Files and folders in one transfer.
pub const MAX_ENTRIES: u32 = 1_000_000;
/// Longest relative path, bytes of UTF-8 with its separators; `PATH_MAX` of Linux.
pub const MAX_PATH: usize = 4_096;
/// Longest name of one file or folder that is kept, bytes of UTF-8; `NAME_MAX` of Linux.
pub const MAX_COMPONENT: usize = 255;
/// Longest name that is accepted in an offer, to be shortened: 255 UTF-16 units, as NTFS and APFS allow, are up to three
/// bytes each.
pub const MAX_OFFERED_COMPONENT: usize = 765;
/// Folders in folders: components of the longest path.
pub const MAX_DEPTH: usize = 64;
/// Bytes of an encoded manifest.
pub const MAX_MANIFEST: u64 = 128 << 20;
/// Bytes of one file, and of all files of a transfer: what a signed offset can name.
pub const MAX_BYTES: u64 = i64::MAX as u64;
/// Changed names, and things left out, of which each is told; of the others only how many there are.
pub const MAX_TOLD: usize = 1_000;
/// Numbers tried behind a name that is taken.
pub const MAX_NUMBER: u32 = 10_000;
/// Bytes of one frame of content.
pub const MAX_FRAME: usize = 1 << 20;
/// Least room for a piece of the stream: any frame but content fits it.
pub const MIN_PIECE: usize = 64;
/// Bytes that the application may keep with an offer or an acceptance.
pub const MAX_NOTE: usize = 255;
/// Transfers whose end is remembered, so that a sender who did not hear of it is told again. The oldest go first.
pub const MAX_RECEIPTS: usize = 1_000;
/// Bytes of one record of the journal.
pub const MAX_RECORD: usize = 64 << 10;
/// Bytes of a journal that are read: a manifest, a record for each file that failed or got its name, and progress.
pub const MAX_JOURNAL: u64 = 1 << 30;
/// Finished files that are held open until they are flushed; if there are more, their whole file system is flushed.
pub const MAX_UNFLUSHED: usize = 16;
/// Bytes read at once when what is on the disk is hashed again.
pub const HASH_BLOCK: usize = 1 << 20;
