//! The folder with a run's secrets: only its owner can enter it, and it goes with the run.
//!
//! A run that is killed cannot remove its folder; the next run of the same person does. What tells a folder in use from
//! one that was left is the lock on the file `lock` in it, which the system lets go when a process ends, however it ends.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use tempfile::TempDir;

const PREFIX: &str = "vernam-demo-secret-";
const LOCK: &str = "lock";
/// The file's name until it is locked, so that no other run takes this folder for one that was left.
const UNLOCKED: &str = "lock.new";

/// The folder; removed when dropped, with all that is in it.
pub(super) struct SecretFolder {
    folder: TempDir,
    /// Held locked until the folder is gone (fields are dropped in this order).
    _lock: File,
}

impl SecretFolder {
    /// A new folder in the system's place for temporary files. Removes what earlier runs left there.
    pub(super) fn new() -> io::Result<Self> {
        Self::new_in(&std::env::temp_dir())
    }

    fn new_in(parent: &Path) -> io::Result<Self> {
        let only_ours = Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().prefix(PREFIX).permissions(only_ours).tempdir_in(parent)?;
        let lock = File::create_new(folder.path().join(UNLOCKED))?;
        lock.try_lock()?;
        fs::rename(folder.path().join(UNLOCKED), folder.path().join(LOCK))?;
        let me = fs::metadata(folder.path())?.uid();
        sweep(parent, me);
        Ok(Self { folder, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Removes it, and says when that fails.
    pub(super) fn close(self) -> io::Result<()> {
        empty(self.folder.path())?;
        self.folder.close()
    }
}

/// Removes the folders of `me` in `parent` that no run holds locked. What cannot be removed now, a later run removes.
fn sweep(parent: &Path, me: u32) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if !entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX)) {
            continue;
        }
        match left_over(&entry.path(), me) {
            // Locked until it is gone, so that two runs that start together do not both remove it.
            Some(_lock) => match empty(&entry.path()).and_then(|()| fs::remove_dir_all(entry.path())) {
                Ok(()) => tracing::info!("the secrets that a killed run had left were removed"),
                Err(error) => tracing::warn!(%error, "the secrets that a killed run had left cannot be removed"),
            },
            None => tracing::debug!("a folder of another run is left alone"),
        }
    }
}

/// The lock of a folder that is ours and that no run uses any more.
fn left_over(folder: &Path, me: u32) -> Option<File> {
    let about = fs::symlink_metadata(folder).ok()?;
    let ours = about.is_dir() && about.uid() == me && about.mode() & 0o022 == 0; // nobody else put anything into it
    let lock = folder.join(LOCK);
    if !ours || !fs::symlink_metadata(&lock).ok()?.is_file() {
        return None;
    }
    let lock = File::open(lock).ok()?;
    lock.try_lock().ok()?;
    Some(lock)
}

/// Removes all but the lock file, which goes last: a folder without it would never be swept.
fn empty(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name() == LOCK {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A folder as a killed run leaves it.
    fn left(parent: &Path, name: &str) -> PathBuf {
        let folder = parent.join(format!("{PREFIX}{name}"));
        fs::create_dir_all(folder.join("alice/store")).expect("a folder");
        fs::set_permissions(&folder, Permissions::from_mode(0o700)).expect("its mode");
        fs::write(folder.join("alice/store/key"), "secret").expect("a secret");
        fs::write(folder.join(LOCK), "").expect("a lock");
        folder
    }

    #[test]
    fn only_its_owner_can_enter_and_it_goes() {
        let parent = tempfile::tempdir().expect("a folder");
        let dropped = SecretFolder::new_in(parent.path()).expect("a secret folder");
        assert_eq!(fs::metadata(dropped.path()).expect("it is there").mode() & 0o7777, 0o700);
        fs::write(dropped.path().join("key"), "secret").expect("a secret");
        let closed = SecretFolder::new_in(parent.path()).expect("another");
        fs::create_dir(closed.path().join("alice")).expect("a folder in it");
        closed.close().expect("removed");
        assert!(dropped.path().join("key").exists(), "a run in progress keeps its secrets");
        drop(dropped);
        assert_eq!(fs::read_dir(parent.path()).expect("the parent").count(), 0);
    }

    #[test]
    fn what_a_killed_run_left_is_removed_and_nothing_else() {
        let parent = tempfile::tempdir().expect("a folder");
        let stale = left(parent.path(), "stale");
        let running = left(parent.path(), "running");
        let held = File::open(running.join(LOCK)).expect("its lock");
        held.try_lock().expect("nobody else's");
        let unlockable = left(parent.path(), "no-lock");
        fs::remove_file(unlockable.join(LOCK)).expect("gone");
        let open_to_all = left(parent.path(), "open-to-all");
        fs::set_permissions(&open_to_all, Permissions::from_mode(0o777)).expect("its mode");
        let elsewhere = left(&parent.path().join("elsewhere"), "target");
        let link = parent.path().join(format!("{PREFIX}link"));
        std::os::unix::fs::symlink(&elsewhere, &link).expect("a link");
        let linked_lock = left(parent.path(), "linked-lock");
        fs::remove_file(linked_lock.join(LOCK)).expect("gone");
        std::os::unix::fs::symlink(elsewhere.join(LOCK), linked_lock.join(LOCK)).expect("a link");
        let other = parent.path().join("other");
        fs::create_dir(&other).expect("a folder");
        fs::write(other.join(LOCK), "").expect("a file");

        let ours = SecretFolder::new_in(parent.path()).expect("a secret folder");
        assert!(!stale.exists() && ours.path().join(LOCK).exists());
        for kept in [&running, &unlockable, &open_to_all, &elsewhere, &link, &linked_lock] {
            assert!(kept.join("alice/store/key").exists(), "{}", kept.display());
        }
        assert!(other.join(LOCK).exists());
        drop(held);
        sweep(parent.path(), fs::metadata(parent.path()).expect("the parent").uid().wrapping_add(1));
        assert!(running.exists(), "another person's");
        drop(SecretFolder::new_in(parent.path()).expect("a secret folder"));
        assert!(!running.exists(), "its run has ended");
    }
}
