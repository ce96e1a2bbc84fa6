//! Where key comes from, other than from a link in the same process: a folder of key files, or another vendor's KME.
//!
//! Each source is a [`crate::KeySource`] for one link, and both ends of the link run one of the same kind. A source
//! decides which bits come under which number; it keeps no pool and hands out no key: that is the ledger.
//!
//! - [`Directory`]: a folder into which a QKD device's exporter, or `vernam link alice|bob --keys`, writes one file a
//!   block.
//! - [`Upstream`]: a KME of another vendor at each end that speaks ETSI GS QKD 014. The two ends agree over
//!   [`crate::SourceTalk`] which of its keys make up which block.
//!
//! What both promise: keys of one number are equal at both ends, or one end has none, as long as the device or vendor
//! keeps the same promise; and no key is given under two numbers, whatever is lost or crashes in between.

mod directory;
mod report;
mod upstream;

use std::path::PathBuf;

pub use directory::{Directory, DirectoryConfig, InvalidPattern, MAX_ERA, NamePattern, Sidecar};
pub use upstream::{Ask, Pooled, Upstream, UpstreamConfig, UpstreamRole};

/// The largest block that a source gives, in bytes: 8 Mbit, minutes of a good metro link.
pub const MAX_BLOCK_BYTES: u64 = 1 << 20;

/// The highest block number: what every database can store.
const MAX_NUMBER: u64 = i64::MAX as u64;

/// A source cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The folder is not there, or cannot be used.
    #[error("the key folder {} cannot be used: {reason}", path.display())]
    Folder {
        /// Which one.
        path: PathBuf,
        /// Why not, in plain words.
        reason: String,
    },
    /// A setting that cannot be.
    #[error("the source's setting {setting} is wrong: {reason}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}
