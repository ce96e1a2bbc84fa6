//! The file system by handles of folders: nothing here follows a link, or puts anything over something else. It knows
//! nothing of transfers.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, FallocateFlags, FileType, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps, UTIME_OMIT,
    fallocate, fchmod, fstat, fstatvfs, fsync, futimens, linkat, mkdirat, openat, renameat, renameat_with, statat,
    syncfs, unlinkat,
};
use rustix::io::Errno;

use crate::limits::HASH_BLOCK;
use crate::manifest::Time;

/// A folder that a person named; links in its path are theirs.
pub(crate) fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// A folder in a folder, if it is one and no link.
pub(crate) fn open_child(parent: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    Ok(openat(parent, name, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Whether [`open_child`] found a link or a file.
pub(crate) fn is_no_folder(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotADirectory || error.raw_os_error() == Some(Errno::LOOP.raw_os_error())
}

/// A folder in a folder, made if nothing is there.
pub(crate) fn make_child(parent: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    match mkdirat(&parent, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => open_child(parent, name),
        Err(error) => Err(error.into()),
    }
}

/// A file to be read, if it is no link; a pipe does not make us wait.
pub(crate) fn open_to_read(parent: impl AsFd, name: &OsStr) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(openat(parent, name, flags, Mode::empty())?.into())
}

/// A new file that only its owner may read; there must be none.
pub(crate) fn create(parent: impl AsFd, name: &str) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// A file that is there, to go on writing; it must be a file of ours that has no second name.
pub(crate) fn open_to_write(parent: impl AsFd, name: &str) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(parent, name, flags, Mode::empty())?;
    let stat = fstat(&file)?;
    if !is_file(&stat) || stat.st_nlink != 1 || stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(io::Error::new(ErrorKind::PermissionDenied, "it is not the file that was written"));
    }
    Ok(file.into())
}

/// What stands under a name, links not followed.
pub(crate) fn look(parent: impl AsFd, name: &OsStr) -> io::Result<Stat> {
    Ok(statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?)
}

pub(crate) fn is_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

pub(crate) fn is_folder(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// When it was last changed.
pub(crate) fn modified(stat: &Stat) -> Time {
    Time { seconds: stat.st_mtime, nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) }
}

/// Sets when it was last changed, as far as the file system can tell.
pub(crate) fn set_modified(file: impl AsFd, time: Time) -> io::Result<()> {
    let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let modified = Timespec { tv_sec: time.seconds, tv_nsec: time.nanos.into() };
    match futimens(file, &Timestamps { last_access: omit, last_modification: modified }) {
        // A year that the file system does not have.
        Ok(()) | Err(Errno::INVAL | Errno::OVERFLOW | Errno::RANGE) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn set_mode(file: impl AsFd, mode: u16) -> io::Result<()> {
    match fchmod(file, Mode::from_raw_mode(mode.into())) {
        // File systems without permissions.
        Ok(()) | Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The permissions that new files may have in this folder: what the process's mask and the folder's defaults leave.
pub(crate) fn allowed_mode(folder: impl AsFd) -> io::Result<u16> {
    const PROBE: &str = "mask";
    match unlinkat(&folder, PROBE, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    mkdirat(&folder, PROBE, Mode::RWXU | Mode::RWXG | Mode::RWXO)?;
    let stat = statat(&folder, PROBE, AtFlags::SYMLINK_NOFOLLOW);
    unlinkat(&folder, PROBE, AtFlags::REMOVEDIR)?;
    Ok(u16::try_from(stat?.st_mode & 0o777).expect("nine bits") | 0o700)
}

/// Room on a file system.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Space {
    /// Bytes that we may use.
    pub(crate) available: u64,
    /// Bytes by which files grow.
    pub(crate) block: u64,
    /// Files and folders that can still be made, if that is limited.
    pub(crate) inodes: Option<u64>,
}

/// Bytes that we may use in the file system of a folder that a person named.
pub fn free_bytes(folder: &Path) -> io::Result<u64> {
    Ok(space(open_folder(folder)?)?.available)
}

pub(crate) fn space(folder: impl AsFd) -> io::Result<Space> {
    let stat = fstatvfs(folder)?;
    let block = stat.f_frsize.max(1);
    let inodes = (stat.f_files > 0).then_some(stat.f_favail);
    Ok(Space { available: stat.f_bavail.saturating_mul(block), block, inodes })
}

/// Keeps room for a file, without making it longer, where the file system can.
pub(crate) fn reserve(file: &File, len: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::KEEP_SIZE, 0, len) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether it means that there is no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Flushes a file or the names in a folder to the disk.
pub(crate) fn flush(file: impl AsFd) -> io::Result<()> {
    match fsync(file) {
        // File systems that cannot flush a folder.
        Ok(()) | Err(Errno::INVAL | Errno::ROFS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Flushes the whole file system that a folder is on.
pub(crate) fn flush_all(folder: impl AsFd) -> io::Result<()> {
    Ok(syncfs(folder)?)
}

/// Gives something another name that nothing has; fails with [`ErrorKind::AlreadyExists`] otherwise.
pub(crate) fn rename_new(from: impl AsFd, name: &OsStr, to: impl AsFd, new: &OsStr) -> io::Result<()> {
    match renameat_with(&from, name, &to, new, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // Old network and user-space file systems.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => rename_new_in_steps(from, name, to, new),
        Err(error) => Err(error.into()),
    }
}

/// The same where the system cannot do it at once: a second name for a file; for a folder an empty one to take the place
/// of, which no rename can do to anything else.
fn rename_new_in_steps(from: impl AsFd, name: &OsStr, to: impl AsFd, new: &OsStr) -> io::Result<()> {
    if is_folder(&look(&from, name)?) {
        mkdirat(&to, new, Mode::RWXU)?;
        renameat(from, name, to, new)?;
    } else {
        linkat(&from, name, to, new, AtFlags::empty())?;
        unlinkat(from, name, AtFlags::empty())?;
    }
    Ok(())
}

/// The names in a folder, sorted; at most `most` and one more.
pub(crate) fn names(folder: impl AsFd, most: usize) -> io::Result<Vec<Box<OsStr>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).into());
        }
        if names.len() > most {
            break;
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Removes a file, if there is one.
pub(crate) fn remove_file(parent: impl AsFd, name: &OsStr) -> io::Result<()> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Removes a folder and all in it, if a folder is there. Links in it are removed, not followed.
pub(crate) fn remove_folder(parent: impl AsFd, name: &OsStr) -> io::Result<()> {
    let folder = match open_child(&parent, name) {
        Ok(folder) => folder,
        Err(error) if error.kind() == ErrorKind::NotFound || is_no_folder(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    for child in names(&folder, usize::MAX)? {
        match unlinkat(&folder, &*child, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR | Errno::PERM) => remove_folder(&folder, &child)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

/// Why a hash of what a file begins with is not there.
pub(crate) enum Unhashed {
    Short,
    Cancelled,
    Failed(io::Error),
}

/// Hashes the first `len` bytes of a file, which is at its beginning, and asks now and then, with the bytes hashed so
/// far, whether to go on.
pub(crate) fn hash_prefix(
    file: &mut File,
    len: u64,
    keep_going: &mut dyn FnMut(u64) -> bool,
) -> Result<blake3::Hasher, Unhashed> {
    let mut hasher = blake3::Hasher::new();
    let mut block = vec![0; HASH_BLOCK.min(usize::try_from(len).unwrap_or(HASH_BLOCK))];
    let mut done = 0;
    while done < len {
        if !keep_going(done) {
            return Err(Unhashed::Cancelled);
        }
        let most = block.len().min(usize::try_from(len - done).unwrap_or(usize::MAX));
        match file.read(&mut block[..most]) {
            Ok(0) => return Err(Unhashed::Short),
            Ok(read) => {
                hasher.update(&block[..read]);
                done += read as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Unhashed::Failed(error)),
        }
    }
    Ok(hasher)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn neither_way_of_renaming_puts_one_thing_over_another() {
        type Rename = fn(&OwnedFd, &OsStr, &OwnedFd, &OsStr) -> io::Result<()>;
        for rename in [(|a, b, c, d| rename_new(a, b, c, d)) as Rename, |a, b, c, d| rename_new_in_steps(a, b, c, d)] {
            let folder = tempfile::tempdir().unwrap();
            let at = open_folder(folder.path()).unwrap();
            let path = |name: &str| folder.path().join(name);
            fs::write(path("file"), "ours").unwrap();
            fs::create_dir(path("folder")).unwrap();
            fs::write(path("folder/inside"), "ours").unwrap();
            fs::create_dir(path("empty")).unwrap();
            fs::write(path("taken"), "theirs").unwrap();
            std::os::unix::fs::symlink("nowhere", path("link")).unwrap();
            for ours in ["file", "folder"] {
                for taken in ["empty", "taken", "link"] {
                    let error = rename(&at, ours.as_ref(), &at, taken.as_ref()).unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{ours} to {taken}");
                }
            }
            rename(&at, "file".as_ref(), &at, "new file".as_ref()).unwrap();
            rename(&at, "folder".as_ref(), &at, "new folder".as_ref()).unwrap();
            assert_eq!(fs::read(path("new folder/inside")).unwrap(), b"ours");
            assert_eq!(fs::read(path("taken")).unwrap(), b"theirs");
            assert!(!path("file").exists() && !path("folder").exists());
        }
    }

    #[test]
    fn removing_a_folder_leaves_what_links_in_it_lead_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("part/a/b")).unwrap();
        fs::create_dir(path("kept")).unwrap();
        fs::write(path("kept/file"), "kept").unwrap();
        std::os::unix::fs::symlink(path("kept"), path("part/a/link")).unwrap();
        remove_folder(open_folder(folder.path()).unwrap(), "part".as_ref()).unwrap();
        assert!(!path("part").exists());
        assert_eq!(fs::read(path("kept/file")).unwrap(), b"kept");
    }
}
