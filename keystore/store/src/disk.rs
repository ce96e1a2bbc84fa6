//! The few durable steps that everything on disk is made of. Tests can make any of them the last before a crash.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The end of the name of a file that is still being written. Leftovers of a crash are erased when a stock is opened.
pub(crate) const UNFINISHED: &str = "unfinished";

/// How much is overwritten with zeros in one write.
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// An open file and its path, for messages.
pub(crate) struct DiskFile {
    file: File,
    path: PathBuf,
}

impl DiskFile {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(Error::io("open", path))?;
        check_name(&file, path)?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Makes a file that only its owner can read; never one that is there. Its name is durable after [`sync_dir`].
    pub(crate) fn create_new(path: &Path) -> Result<Self> {
        #[cfg(test)]
        crate::crash::before_step(path)?;
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(path).map_err(Error::io("create", path))?;
        Ok(Self { file, path: path.to_owned() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Locks the file for this program, until it is closed.
    pub(crate) fn try_lock(&self) -> std::result::Result<(), TryLockError> {
        self.file.try_lock()
    }

    pub(crate) fn len(&self) -> Result<u64> {
        Ok(self.file.metadata().map_err(Error::io("look at", &self.path))?.len())
    }

    /// Fills `buf`; what lies beyond the end of the file reads as zeros.
    pub(crate) fn read_at(&self, mut buf: &mut [u8], mut offset: u64) -> Result<()> {
        while !buf.is_empty() {
            match self.file.read_at(buf, offset) {
                Ok(0) => {
                    buf.fill(0);
                    break;
                }
                Ok(n) => {
                    buf = &mut buf[n..];
                    offset += n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("read", &self.path)(error)),
            }
        }
        Ok(())
    }

    /// Writes in place. Durable after [`Self::sync`].
    pub(crate) fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        #[cfg(test)]
        crate::crash::before_write(&self.file, &self.path, buf, offset)?;
        self.file.write_all_at(buf, offset).map_err(Error::io("write", &self.path))
    }

    /// Overwrites `len` bytes with zeros. Durable after [`Self::sync`].
    pub(crate) fn zero(&self, mut offset: u64, mut len: u64) -> Result<()> {
        while len > 0 {
            let now = usize::try_from(len).map_or(ZEROS.len(), |len| len.min(ZEROS.len()));
            self.write_at(&ZEROS[..now], offset)?;
            offset += now as u64;
            len -= now as u64;
        }
        Ok(())
    }

    /// `fdatasync`: what was written is on disk when this returns.
    pub(crate) fn sync(&self) -> Result<()> {
        #[cfg(test)]
        crate::crash::before_sync(&self.path)?;
        // The crash tests keep books of what is synced themselves, and sync too often for a disk.
        if cfg!(test) {
            return Ok(());
        }
        self.file.sync_data().map_err(Error::io("sync", &self.path))
    }
}

/// Makes the file at `path`, which must not exist, so that it is there whole or not at all.
pub(crate) fn create(path: &Path, fill: impl FnOnce(&DiskFile) -> Result<()>) -> Result<()> {
    let unfinished = path.with_added_extension(UNFINISHED);
    let written = write_new(&unfinished, fill).and_then(|()| {
        #[cfg(test)]
        crate::crash::before_rename(&unfinished, path)?;
        fs::rename(&unfinished, path).map_err(Error::io("name", path))
    });
    if written.is_err() {
        // Best effort: what cannot be erased now is erased when the stock is next opened.
        let _ = erase_and_remove(&unfinished);
    }
    written?;
    sync_dir(parent(path))
}

/// Never truncates or follows what stands at `path`: a crash may have left a file there, which is erased, and somebody
/// else a link, which is refused.
fn write_new(path: &Path, fill: impl FnOnce(&DiskFile) -> Result<()>) -> Result<()> {
    #[cfg(test)]
    crate::crash::before_step(path)?;
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create_new(true).mode(0o600);
    let opened = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            erase_and_remove(path)?;
            options.open(path)
        }
        opened => opened,
    };
    let new = DiskFile { file: opened.map_err(Error::io("create", path))?, path: path.to_owned() };
    fill(&new)?;
    new.sync()
}

/// Refuses an open file that is not the plain file named `path` itself, but the target of a link there, or was put in
/// another's place meanwhile. Compared after opening, so that nobody can change the name between check and use.
pub(crate) fn check_name(file: &File, path: &Path) -> Result<()> {
    let named = fs::symlink_metadata(path).map_err(Error::io("look at", path))?;
    let opened = file.metadata().map_err(Error::io("look at", path))?;
    if named.is_file() && (named.dev(), named.ino()) == (opened.dev(), opened.ino()) {
        return Ok(());
    }
    Err(Error::damaged(
        path,
        "it is a link or was just replaced, and a store has plain files only; find out who did that",
    ))
}

/// Overwrites a file with zeros, durably, and removes it.
pub(crate) fn erase_and_remove(path: &Path) -> Result<()> {
    let file = DiskFile::open(path)?;
    file.zero(0, file.len()?)?;
    file.sync()?;
    remove(path)
}

/// Removes a file whose secrets are erased already: should a crash bring it back, nothing is lost or won.
pub(crate) fn remove(path: &Path) -> Result<()> {
    #[cfg(test)]
    crate::crash::before_remove(path)?;
    fs::remove_file(path).map_err(Error::io("remove", path))
}

/// Makes a folder that only its owner can enter, durably, and those above it. One that exists is left as it is.
pub(crate) fn make_dir(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if parent(path) != path {
        make_dir(parent(path))?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(Error::io("make the folder", path)(error)),
        _ => sync_dir(parent(path)),
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    #[cfg(test)]
    crate::crash::before_sync_dir(dir)?;
    let opened = File::open(dir);
    if cfg!(test) {
        return opened.map(drop).map_err(Error::io("sync the folder", dir));
    }
    opened.and_then(|dir| dir.sync_all()).map_err(Error::io("sync the folder", dir))
}

/// The files in a folder, sorted by name.
pub(crate) fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).map_err(Error::io("list", dir))?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()).map_err(Error::io("list", dir)))
        .collect::<Result<Vec<PathBuf>>>()?;
    paths.sort();
    Ok(paths)
}

/// A small file whole, if it exists; at most `limit` bytes of it.
pub(crate) fn read_small(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => {
            let file = opened.map_err(Error::io("open", path))?;
            check_name(&file, path)?;
            file.take(limit).read_to_end(&mut bytes).map_err(Error::io("read", path))?
        }
    };
    Ok(Some(bytes))
}

/// The folder that `path` is in; the current one for a bare name.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}
