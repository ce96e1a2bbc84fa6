//! The anchor of a SQLite ledger: a small file that tells a ledger which was put back from an older copy.
//!
//! Ledger and anchor both hold a generation, which goes up at each start and end, and with each scrub in between: first
//! in the ledger, durably, then in the anchor. So a ledger is never behind its anchor, unless it was put back. What is
//! not noticed: a copy that is put back together with its anchor, and one that is younger than the last generation (some
//! ten seconds). It protects against a mistake, not against somebody who writes files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};

use crate::OpenError;
use crate::kek::sync_folder_of;

const MAGIC: &str = "vernam-ledger anchor 1";
/// The longest anchor that is read, in bytes.
const MOST: u64 = 512;

/// The anchor of one ledger.
pub(super) struct Anchor {
    path: PathBuf,
    /// Which ledger it is the anchor of: a hash of its wrapped data key.
    ledger: String,
}

impl Anchor {
    /// Checks that the ledger of `generation` (0: it was just made) is not older than its anchor.
    pub(super) fn check(path: PathBuf, fingerprint: &[u8], generation: i64, place: &str) -> Result<Self, OpenError> {
        let ledger = STANDARD.encode(digest(&SHA256, fingerprint).as_ref());
        let anchor = Self { path, ledger };
        if generation == 0 {
            return Ok(anchor); // an anchor that is there was another ledger's
        }
        let named = anchor.path.display().to_string();
        match anchor.read() {
            Ok(Some(text)) if text.is_empty() => Ok(anchor), // somebody says that this ledger is the newest
            Ok(Some(text)) => match anchor.generation(&text) {
                Some(anchored) if anchored <= generation => Ok(anchor),
                Some(_later) => Err(OpenError::Restored { place: place.to_owned(), anchor: named }),
                None => Err(OpenError::AnchorLost { place: place.to_owned(), anchor: named }),
            },
            Ok(None) => Err(OpenError::AnchorLost { place: place.to_owned(), anchor: named }),
            Err(error) => Err(OpenError::Storage { place: named, reason: error.to_string() }),
        }
    }

    /// Writes the generation durably. The ledger must hold it durably already.
    pub(super) fn write(&self, generation: i64) -> io::Result<()> {
        let unfinished = self.path.with_added_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        write!(file, "{MAGIC}\n{}\n{generation}\n", self.ledger)?;
        file.sync_all()?;
        fs::rename(&unfinished, &self.path)?;
        sync_folder_of(&self.path)
    }

    fn read(&self) -> io::Result<Option<String>> {
        match File::open(&self.path) {
            Ok(file) => {
                let mut text = String::new();
                file.take(MOST).read_to_string(&mut text)?;
                Ok(Some(text))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The generation in an anchor of this ledger.
    fn generation(&self, text: &str) -> Option<i64> {
        let mut lines = text.lines();
        let is_ours = lines.next() == Some(MAGIC) && lines.next() == Some(&*self.ledger);
        lines.next().filter(|_| is_ours)?.parse().ok()
    }
}

/// Where the anchor lies unless it is told: beside the ledger.
pub(super) fn beside(ledger: &Path) -> PathBuf {
    let mut name = ledger.as_os_str().to_owned();
    name.push("-anchor");
    name.into()
}
