//! The cursor file: where one stock stands, in two slots that take turns.

use std::path::Path;

use crate::disk::{self, DiskFile};
use crate::slot::{Kind, Mark, PAIR, scope_hash};
use crate::store_key::Keyring;
use crate::{Error, Result};

/// The file's name in the stock's folder.
pub(crate) const NAME: &str = "cursor";

const MAGIC: [u8; 8] = *b"VRNMCUR\x02";

/// The durable state of one stock.
pub(crate) struct CursorFile {
    file: DiskFile,
    keyring: Keyring,
}

impl CursorFile {
    /// Makes the file with `mark` in it.
    pub(crate) fn create(dir: &Path, keyring: &Keyring, mark: Mark) -> Result<Self> {
        let path = dir.join(NAME);
        disk::create(&path, |file| {
            file.zero(0, PAIR)?;
            mark.write(file, 0, &kind(keyring))
        })?;
        Ok(Self { file: DiskFile::open(&path)?, keyring: keyring.clone() })
    }

    /// Reads the newer of the slots that are whole.
    pub(crate) fn open(path: &Path, keyring: &Keyring) -> Result<(Self, Mark)> {
        let file = DiskFile::open(path)?;
        let what = "without it nobody knows which keys are spent; delete the folder it is in, and pair anew";
        let mark = Mark::read(&file, 0, &kind(keyring))?.ok_or_else(|| Error::damaged(path, what))?;
        file.sync()?; // a program that was killed may have written the slot and not synced it
        Ok((Self { file, keyring: keyring.clone() }, mark))
    }

    /// Writes `mark` durably; its turn is the one after that of the mark before it.
    pub(crate) fn write(&self, mark: Mark) -> Result<()> {
        mark.write(&self.file, 0, &kind(&self.keyring))?;
        self.file.sync()
    }
}

fn kind(keyring: &Keyring) -> Kind {
    Kind { magic: MAGIC, scope: scope_hash(&keyring.scope), mac: keyring.cursor() }
}
