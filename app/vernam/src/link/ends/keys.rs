//! A folder of key files, one a block, from which another program takes key.
//!
//! `block-NUMBER.key` holds the bits of one block, nothing else; NUMBER has twenty digits, so that names sort as blocks
//! came. A file appears whole or not at all, and is never written over. Files and folder are for their owner only.
//!
//! `block-NUMBER.key.unsettled` is a block of Alice's of which nobody can say whether Bob has it, because a run ended
//! before he could show it: her last one, when either process ends. Keys of one number are equal at both ends, so it is
//! enough to compare whether Bob has the number. If so, it can be used; if not, erase it. Because a process may die at
//! any moment, the folder remembers which block is not settled yet (`.unsettled`), and the next start sets it aside.
//!
//! Numbers are unique for one start-up secret and begin anew with the next, so a folder belongs to one secret
//! (`.startup-secret-id`).
//!
//! `link.json` says how the link stands: `{"state":"up","qber":0.02,"threshold":0.11,"rate_bps":1000,"reason":"..."}`.
//!
//! Who takes a file renames it first, to a name of his own on the same disk: then it is his, and a block that turns out
//! void is not erased under his hands. What is left half-done by a crash has a name that begins with a dot, and is
//! erased at the next start.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use rand::rngs::SysRng;
use rand::{SeedableRng as _, rngs::StdRng};
use serde::Serialize;
use vernam_key::SecretBytes;
use vernam_kme::LinkReport;
use vernam_qkd::KeyBlock;

/// Ends of names that only this module uses.
const UNFINISHED: &str = ".key.unfinished";
const VOID: &str = ".key.void";

const SET_ASIDE: &str = ".key.unsettled";
/// Whose files these are: the public id of the start-up secret.
const SECRET_ID: &str = ".startup-secret-id";
/// The number of the block that the far end may not have.
const NOTE: &str = ".unsettled";
const NOTE_UNFINISHED: &str = ".unfinished";
/// How names of files of ours begin, also of those that are set aside.
const BLOCK: &str = "block-";

/// How the link stands.
const SIDECAR: &str = "link.json";

/// Longer than any note, bytes.
const MAX_NOTE: u64 = 64;

/// Larger than any block, bytes: what is erased is not read for its length alone.
const MAX_ERASED: u64 = 64 << 20;

/// What became of the file of a block that is void, or not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It was erased.
    Erased,
    /// It was renamed to `*.key.unsettled`.
    SetAside,
    /// It was not there any more.
    Taken,
    /// There never was one.
    NotKept,
}

/// The folder, locked against a second end.
#[derive(Debug)]
pub struct KeyFolder {
    path: PathBuf,
    handle: File,
    /// What a process that died left unsettled, and what became of it.
    left: Option<(u64, Fate)>,
}

impl KeyFolder {
    /// Opens the folder `path`, or makes it with mode 0700, for key of the start-up secret with the public id `secret`.
    /// Sets aside what a process that died left unsettled.
    ///
    /// # Errors
    /// If it is none, others may use it, another end writes its key there, or it holds key of another secret.
    pub fn open(path: &Path, secret: &str) -> anyhow::Result<Self> {
        let shown = path.display();
        let created = DirBuilder::new().recursive(true).mode(0o700).create(path);
        created.with_context(|| format!("cannot make the folder for key {shown}"))?;
        let handle = File::open(path).with_context(|| format!("cannot open the folder for key {shown}"))?;
        let mode = handle.metadata().with_context(|| format!("cannot look at {shown}"))?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            bail!("others may read the folder for key {shown} (mode {mode:04o}): chmod 700 it, or give a new one");
        }
        match handle.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("another end writes its key to {shown}: give each end a folder of its own")
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(|| format!("cannot lock {shown}")),
        }
        let mut folder = Self { path: path.to_owned(), handle, left: None };
        folder.clear_up().with_context(|| format!("cannot erase what a crash left in {shown}"))?;
        folder.claim(secret)?;
        if let Some(text) = folder.read_note(NOTE)? {
            let number = text.parse().ok().with_context(|| {
                let note = folder.path.join(NOTE);
                format!("{} names no block: compare both ends' last blocks, then remove it", note.display())
            })?;
            folder.left = Some((number, folder.set_aside(number)?)).filter(|(_, fate)| *fate == Fate::SetAside);
        }
        Ok(folder)
    }

    /// Sees to it that no key of another start-up secret is in the folder.
    fn claim(&self, secret: &str) -> anyhow::Result<()> {
        let shown = self.path.display();
        let before = self.read_note(SECRET_ID)?;
        if before.as_deref() == Some(secret) {
            return Ok(());
        }
        let entries = fs::read_dir(&self.path).with_context(|| format!("cannot look into {shown}"))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot look into {shown}"))?;
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(BLOCK)) {
                let whose = before.as_deref().map_or("an unknown one", |id| id.get(..8).unwrap_or(id));
                let ours = secret.get(..8).unwrap_or(secret);
                bail!(
                    "{shown} holds key of another start-up secret ({whose}, this one is {ours}), and block numbers \
                     begin anew with each: move its files away, or give another --keys"
                );
            }
        }
        // What that number named is gone with the secret it belonged to.
        self.remove_note(NOTE)?;
        self.write_note(SECRET_ID, secret)
    }

    /// The block that a process before this one left unsettled, and what became of its file.
    pub fn left_unsettled(&self) -> Option<(u64, Fate)> {
        self.left
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a block's key, durably. A block without key has no file. `settled`: the far end has it for certain; if
    /// not, it is remembered as the one that is not, in the place of the one before, which is settled by then.
    ///
    /// # Errors
    /// If there is a file of that number already, or the disk fails; then there is no new file.
    pub fn keep(&self, block: &KeyBlock, settled: bool) -> anyhow::Result<()> {
        if !settled {
            self.write_note(NOTE, &block.number.to_string())?;
        }
        if block.bits.is_empty() {
            return Ok(());
        }
        let (unfinished, file) = (self.hidden(block.number, UNFINISHED), self.file(block.number));
        if file.symlink_metadata().is_ok() {
            bail!("{} is there already, and key is never written over: give another --keys", file.display());
        }
        let written = create_new(&unfinished).and_then(|mut file| {
            file.write_all(block.bits.expose("to write it into the key file that was asked for"))?;
            file.sync_all()
        });
        // The folder is locked, so nobody of ours made that name meanwhile.
        let written = written.and_then(|()| fs::rename(&unfinished, &file)).and_then(|()| self.handle.sync_all());
        written.or_else(|error| {
            if unfinished.symlink_metadata().is_ok() {
                erase(&unfinished)?;
            }
            Err(error).with_context(|| format!("cannot write the key file {}", file.display()))
        })
    }

    /// Erases the file of a block that the far end never got.
    ///
    /// # Errors
    /// If the disk fails; the file may be left under a name that begins with a dot.
    pub fn forget(&self, number: u64) -> anyhow::Result<Fate> {
        let (file, void) = (self.file(number), self.hidden(number, VOID));
        match fs::rename(&file, &void) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Fate::Taken),
            renamed => renamed.and_then(|()| erase(&void)).and_then(|()| self.handle.sync_all()),
        }
        .with_context(|| format!("cannot erase the void key file {}", file.display()))?;
        Ok(Fate::Erased)
    }

    /// Renames the file of a block that the far end may not have, so that nobody takes it for one that both have.
    ///
    /// # Errors
    /// If the disk fails, or there is such a file already.
    pub fn set_aside(&self, number: u64) -> anyhow::Result<Fate> {
        let (file, aside) = (self.file(number), self.path.join(format!("{BLOCK}{number:020}{SET_ASIDE}")));
        if aside.symlink_metadata().is_ok() && file.symlink_metadata().is_ok() {
            bail!("{} is there already: erase it, if the far end does not have that block", aside.display());
        }
        let fate = match fs::rename(&file, &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Fate::Taken,
            renamed => {
                let renamed = renamed.and_then(|()| self.handle.sync_all());
                renamed.with_context(|| format!("cannot set the key file {} aside", file.display()))?;
                Fate::SetAside
            }
        };
        self.remove_note(NOTE)?;
        Ok(fate)
    }

    /// Says in `link.json` how the link stands, for who reads the folder (`vernam_kme::sources::Sidecar`).
    ///
    /// # Errors
    /// If the disk fails.
    pub fn tell(&self, report: &LinkReport) -> anyhow::Result<()> {
        let text = serde_json::to_string(report).context("the link's state cannot be written")?;
        self.write_note(SIDECAR, &text)
    }

    fn read_note(&self, name: &str) -> anyhow::Result<Option<String>> {
        let path = self.path.join(name);
        let read = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.and_then(|file| {
                let mut text = String::new();
                file.take(MAX_NOTE).read_to_string(&mut text).map(|_length| text)
            }),
        };
        let text = read.with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Some(text.trim_end().to_owned()))
    }

    /// Writes a note, durably, in the place of the one before.
    fn write_note(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let (path, unfinished) = (self.path.join(name), self.path.join(format!("{name}{NOTE_UNFINISHED}")));
        let mut options = OpenOptions::new();
        let written = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished);
        let written = written.and_then(|mut file| {
            file.write_all(format!("{text}\n").as_bytes())?;
            file.sync_all()
        });
        let written = written.and_then(|()| fs::rename(&unfinished, &path)).and_then(|()| self.handle.sync_all());
        written.with_context(|| format!("cannot write {}", path.display()))
    }

    fn remove_note(&self, name: &str) -> anyhow::Result<()> {
        let path = self.path.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => {
                let removed = removed.and_then(|()| self.handle.sync_all());
                removed.with_context(|| format!("cannot remove {}", path.display()))
            }
        }
    }

    fn file(&self, number: u64) -> PathBuf {
        self.path.join(format!("{BLOCK}{number:020}.key"))
    }

    fn hidden(&self, number: u64, end: &str) -> PathBuf {
        self.path.join(format!(".{BLOCK}{number:020}{end}"))
    }

    fn clear_up(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let ours = name.to_str().is_some_and(|name| {
                name.starts_with(".block-") && (name.ends_with(UNFINISHED) || name.ends_with(VOID))
            });
            if ours {
                erase(&entry.path())?;
            }
        }
        self.handle.sync_all()
    }
}

fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Overwrites a file and removes it. Best effort: some disks write elsewhere than they are told.
///
/// With random bits, not zeros: whoever reads it at this moment, against the rules, gets a key that nobody knows.
fn erase(path: &Path) -> io::Result<()> {
    if path.symlink_metadata()?.is_file() {
        let mut file = OpenOptions::new().write(true).open(path)?;
        let length = file.metadata()?.len().min(MAX_ERASED);
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let mut rng = StdRng::try_from_rng(&mut SysRng).map_err(io::Error::other)?;
        file.write_all(SecretBytes::random(length, &mut rng).expose("to write it over a void key"))?;
        file.sync_data()?;
    }
    fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn block(number: u64, byte: u8) -> KeyBlock {
        KeyBlock { number, bits: SecretBytes::from_vec(vec![byte; 40]) }
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .expect("it is there")
            .map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned())
            .filter(|name| name != SECRET_ID)
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_block_is_a_file_for_its_owner_only_and_never_written_over() {
        let tmp = tempfile::tempdir().expect("a folder");
        let path = tmp.path().join("deep/keys");
        let keys = KeyFolder::open(&path, SECRET).expect("it can be made");
        keys.keep(&block(4_294_967_297, 0xA7), true).expect("it can be written");
        keys.keep(&block(4_294_967_298, 0), true).expect("it can be written");
        keys.keep(&KeyBlock { number: 4_294_967_299, bits: SecretBytes::from_vec(Vec::new()) }, true)
            .expect("nothing to do");
        assert_eq!(names(&path), ["block-00000000004294967297.key", "block-00000000004294967298.key"]);
        let file = path.join("block-00000000004294967297.key");
        assert_eq!(fs::read(&file).expect("it is there"), [0xA7; 40]);
        let mode = |path: &Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(&path)), (0o600, 0o700));

        let error = keys.keep(&block(4_294_967_297, 1), true).expect_err("the number is taken").to_string();
        assert!(error.contains("never written over"), "{error}");
        assert_eq!(fs::read(&file).expect("it is there"), [0xA7; 40]);
        assert_eq!(names(&path).len(), 2, "and nothing lies about");
    }

    #[test]
    fn a_void_block_is_erased_unless_somebody_took_it() {
        let tmp = tempfile::tempdir().expect("a folder");
        let path = tmp.path().join("keys");
        let keys = KeyFolder::open(&path, SECRET).expect("it can be made");
        keys.keep(&block(7, 1), true).expect("it can be written");
        keys.keep(&block(8, 1), true).expect("it can be written");
        // A second name shows what becomes of the bits.
        let witness = tmp.path().join("witness");
        fs::hard_link(path.join("block-00000000000000000007.key"), &witness).expect("a second name");
        assert_eq!(keys.forget(7).expect("it can be erased"), Fate::Erased);
        assert_eq!(names(&path), ["block-00000000000000000008.key"]);
        let left = fs::read(&witness).expect("it is there");
        assert!(left.len() == 40 && left != [1; 40] && left != [0; 40]);

        let taken = tmp.path().join("taken");
        fs::rename(path.join("block-00000000000000000008.key"), &taken).expect("it can be taken");
        assert_eq!(keys.forget(8).expect("nothing to do"), Fate::Taken);
        assert_eq!(fs::read(&taken).expect("it is there"), [1; 40]);
    }

    #[test]
    fn what_a_crash_left_is_erased_and_nothing_else() {
        let tmp = tempfile::tempdir().expect("a folder");
        let path = tmp.path().join("keys");
        KeyFolder::open(&path, SECRET).expect("it can be made").keep(&block(1, 1), true).expect("it can be written");
        for name in [".block-00000000000000000002.key.unfinished", ".block-00000000000000000003.key.void", ".other"] {
            fs::write(path.join(name), [1; 40]).expect("it can be written");
        }
        let _keys = KeyFolder::open(&path, SECRET).expect("it can be opened again");
        assert_eq!(names(&path), [".other", "block-00000000000000000001.key"]);
    }

    #[test]
    fn a_folder_that_others_may_use_is_refused() {
        let tmp = tempfile::tempdir().expect("a folder");
        let path = tmp.path().join("keys");
        let keys = KeyFolder::open(&path, SECRET).expect("it can be made");
        let error = KeyFolder::open(&path, SECRET).expect_err("it is in use").to_string();
        assert!(error.contains("a folder of its own"), "{error}");
        drop(keys);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).expect("it is ours");
        let error = KeyFolder::open(&path, SECRET).expect_err("others may read it").to_string();
        assert!(error.contains("mode 0750") && error.contains("chmod 700"), "{error}");
        fs::write(tmp.path().join("file"), "").expect("it can be written");
        KeyFolder::open(&tmp.path().join("file"), SECRET).expect_err("it is no folder");
    }

    #[test]
    fn what_the_far_end_may_not_have_is_set_aside_also_after_a_crash() {
        let tmp = tempfile::tempdir().expect("a folder");
        let path = tmp.path().join("keys");
        let keys = KeyFolder::open(&path, SECRET).expect("it can be made");
        assert_eq!(keys.left_unsettled(), None);
        for number in 1..=3 {
            keys.keep(&block(number, 1), false).expect("it can be written");
        }
        assert_eq!(keys.set_aside(3).expect("it can be renamed"), Fate::SetAside);
        let [one, two, three] = [1, 2, 3].map(|number| format!("block-{number:020}.key"));
        let aside = format!("{three}.unsettled");
        assert_eq!(names(&path), [one.as_str(), &two, &aside]);
        assert_eq!(fs::read(path.join(&aside)).expect("it is there"), [1; 40]);
        drop(keys);
        let keys = KeyFolder::open(&path, SECRET).expect("it can be opened again");
        assert_eq!((keys.left_unsettled(), names(&path).len()), (None, 3), "that was settled in good order");

        // A process that dies says nothing.
        keys.keep(&block(4, 1), false).expect("it can be written");
        keys.keep(&block(5, 1), false).expect("it can be written");
        drop(keys);
        let keys = KeyFolder::open(&path, SECRET).expect("it can be opened again");
        assert_eq!(keys.left_unsettled(), Some((5, Fate::SetAside)));
        assert!(names(&path).contains(&"block-00000000000000000004.key".to_owned()));
        assert!(names(&path).contains(&"block-00000000000000000005.key.unsettled".to_owned()));
        assert_eq!(keys.set_aside(6).expect("nothing to do"), Fate::Taken);

        // Bob's blocks are settled when he has them.
        keys.keep(&block(7, 1), true).expect("it can be written");
        drop(keys);
        assert_eq!(KeyFolder::open(&path, SECRET).expect("it can be opened again").left_unsettled(), None);
    }

    #[test]
    fn how_the_link_stands_is_said_in_a_file_of_its_own() {
        let tmp = tempfile::tempdir().expect("a folder");
        let path = tmp.path().join("keys");
        let keys = KeyFolder::open(&path, SECRET).expect("it can be made");
        keys.tell(&LinkReport { qber: Some(0.25), threshold: 0.5, ..LinkReport::unknown() })
            .expect("it can be written");
        let text = fs::read_to_string(path.join(SIDECAR)).expect("it is there");
        assert_eq!(
            text,
            "{\"state\":\"down\",\"qber\":0.25,\"threshold\":0.5,\"rate_bps\":0.0,\
             \"reason\":\"the link has not reported yet\"}\n"
        );
    }

    #[test]
    fn key_of_two_startup_secrets_does_not_mix() {
        let tmp = tempfile::tempdir().expect("a folder");
        let path = tmp.path().join("keys");
        let other = "fedcba9876543210fedcba9876543210";
        KeyFolder::open(&path, SECRET).expect("it can be made").keep(&block(1, 1), false).expect("it can be written");
        let error = KeyFolder::open(&path, other).expect_err("there is key in it").to_string();
        assert!(error.contains("(01234567, this one is fedcba98)") && error.contains("give another --keys"), "{error}");
        drop(KeyFolder::open(&path, SECRET).expect("it is still ours"));
        for name in names(&path) {
            fs::remove_file(path.join(name)).expect("it can be taken");
        }
        KeyFolder::open(&path, other).expect("there is nothing to mix").keep(&block(1, 1), true).expect("it is free");
        fs::remove_file(path.join(SECRET_ID)).expect("it is there");
        let error = KeyFolder::open(&path, other).expect_err("nobody knows whose that is").to_string();
        assert!(error.contains("an unknown one") && error.contains("move its files away"), "{error}");
    }
}
