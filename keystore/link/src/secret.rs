//! The start-up secret: what two ends authenticate their first blocks with.
//!
//! Wegman-Carter authentication needs a secret that both ends hold before there is a link. It is a file of random
//! bytes, made once ([`StartupSecret::generate`]) and carried to the other end by hand, by somebody who is trusted.
//! Each start of a link takes a piece of it: the *pads* of authentication, of which none may ever be used twice. So
//! before a piece is used, it is struck out of the file, durably:
//!
//! ```text
//!   ┌────────┬────┬──────┬─────┬──────────┬──────────┬───────────────┬───────────────────────────┐
//!   │ magic  │ id │ used │ len │ checksum │ greeting │ 0000000000000 │ secret bytes not yet used │
//!   └────────┴────┴──────┴─────┴──────────┴──────────┴───────────────┴───────────────────────────┘
//!                    │                      │         └─── used ─────┘ ◄── the next start takes these
//!                    │                      └── key with which ends prove that they hold the secret, see `proof.rs`
//!                    └── both ends tell theirs and go on at the larger of the two
//! ```
//!
//! 1. A new file beside the old one gets the new `used`, zeros where the piece was, and the rest; it is synced.
//! 2. It is renamed over the old one, and the folder is synced.
//! 3. The old file, which nobody can open any more, is overwritten with zeros.
//! 4. The piece goes into use.
//!
//! A crash before step 4 loses a piece and never repeats one. What this cannot see is a file brought back from a backup
//! at both ends, or a snapshot of a whole machine, restored while it ran: don't keep one. On disks that write elsewhere
//! than they are told (SSDs), step 3 is best effort.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rand::TryRng as _;
use rand::rngs::SysRng;
use vernam_key::SecretBytes;

/// The length of a new secret, bytes: enough for 256 starts.
pub const SECRET_BYTES: usize = 1 << 20;

/// What one start takes of it, bytes.
pub const START_BYTES: usize = 4 << 10;

/// A file longer than this is none of ours, bytes.
const MAX_SECRET_BYTES: u64 = 64 << 20;

const MAGIC: &[u8; 16] = b"vernam link key2";
const HEADER: usize = 16 + 16 + 8 + 8 + 32;

/// The length of the greeting key, bytes.
const GREETING: usize = 32;

/// Where the secret bytes begin.
const BODY: usize = HEADER + GREETING;

/// A start-up secret, open and locked against a second process.
///
/// The secret bytes stay in the file until [`crate::AliceEnd`] or [`crate::BobEnd`] takes a piece.
pub struct StartupSecret {
    path: PathBuf,
    file: File,
    header: Header,
    greeting: SecretBytes,
}

/// Names one secret; public.
pub(crate) type SecretId = [u8; 16];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    id: SecretId,
    /// Secret bytes struck out.
    used: u64,
    /// Secret bytes in all.
    len: u64,
}

/// Why a start-up secret cannot be used, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The disk's own error.
    #[error("cannot {doing} the start-up secret {path}: {source}", path = path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is a file already.
    #[error("{path} exists already, and a start-up secret is never overwritten: give another name",
        path = .0.display())]
    Exists(PathBuf),
    /// Others may read or change it.
    #[error("others may read the start-up secret {path} (mode {mode:04o}): if nobody did, chmod 600 it; \
             if in doubt, make a new one for both ends", path = path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is no start-up secret, or it is damaged.
    #[error("{path} is no start-up secret, or is damaged ({what}): make a new one for both ends",
        path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Another process has it open.
    #[error("another process uses the start-up secret {path}: each end of each link needs its own",
        path = .0.display())]
    InUse(PathBuf),
    /// All of it is struck out.
    #[error("the start-up secret {path} is used up: make a new one, and copy it to both ends", path = .0.display())]
    UsedUp(PathBuf),
    /// The operating system gave no randomness.
    #[error("the operating system gave no random bits for a start-up secret: {0}")]
    Randomness(#[from] rand::rngs::SysError),
}

type Result<T> = std::result::Result<T, SecretError>;

impl StartupSecret {
    /// Makes a new secret of [`SECRET_BYTES`] at `path`, where there must be no file yet, that only its owner can read
    /// (mode 0600). Copy it to the other end by hand, before either end uses it.
    pub fn generate(path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let mut greeting = SecretBytes::from_vec(vec![0; GREETING]);
        SysRng.try_fill_bytes(greeting.expose_mut("to make it"))?;
        let mut bytes = SecretBytes::from_vec(vec![0; SECRET_BYTES]);
        SysRng.try_fill_bytes(bytes.expose_mut("to make it"))?;
        let mut id = [0; 16];
        SysRng.try_fill_bytes(&mut id)?;
        let header = Header { id, used: 0, len: SECRET_BYTES as u64 };
        let mut file = match create_new(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(SecretError::Exists(path.to_owned()));
            }
            opened => opened.map_err(io_error("create", path))?,
        };
        let written = write_secret(&mut file, &header, &greeting, bytes.expose("to keep it in its file"));
        if let Err(source) = written {
            // Best effort: what is left is refused by its checksum or its length.
            let _ = erase(&mut file, BODY + SECRET_BYTES);
            let _ = fs::remove_file(path);
            return Err(io_error("write", path)(source));
        }
        sync_folder(path)
    }

    /// Opens the secret at `path`, and locks it against other processes until it is dropped.
    ///
    /// # Errors
    /// [`SecretError::Mode`] if others than its owner may do anything with it; the others as their names say.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(io_error("open", path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(SecretError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(io_error("lock", path)(source)),
        }
        let metadata = file.metadata().map_err(io_error("look at", path))?;
        let named = fs::symlink_metadata(path).map_err(io_error("look at", path))?;
        if !named.is_file() || (named.dev(), named.ino()) != (metadata.dev(), metadata.ino()) {
            return Err(damaged(path, "it is a link, or was just replaced"));
        }
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(SecretError::Mode { path: path.to_owned(), mode });
        }
        let mut head = [0; HEADER];
        file.read_exact(&mut head).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => damaged(path, "it is too short"),
            _ => io_error("read", path)(error),
        })?;
        let header = Header::decode(&head).map_err(|what| damaged(path, what))?;
        if metadata.len() != BODY as u64 + header.len {
            return Err(damaged(path, "its length is not what it says"));
        }
        let mut greeting = SecretBytes::from_vec(vec![0; GREETING]);
        file.read_exact(greeting.expose_mut("to read it from its file")).map_err(io_error("read", path))?;
        Ok(Self { path: path.to_owned(), file, header, greeting })
    }

    /// Names the secret, in hexadecimal digits: equal at both ends if they hold the same one. Public.
    pub fn id(&self) -> String {
        in_hex(&self.header.id)
    }

    /// How many more starts it is good for.
    pub fn starts_left(&self) -> u64 {
        (self.header.len - self.header.used) / START_BYTES as u64
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn raw_id(&self) -> SecretId {
        self.header.id
    }

    /// The key with which the ends prove to each other that they hold this secret, a copy.
    pub(crate) fn greeting_key(&self) -> SecretBytes {
        SecretBytes::copy_of(self.greeting.expose("to prove with it that this end holds the secret"))
    }

    /// Bytes struck out so far: the next piece begins there, or later.
    pub(crate) fn used(&self) -> u64 {
        self.header.used
    }

    /// Strikes out all before `from` and the [`START_BYTES`] that follow, and returns these once that is durable.
    ///
    /// `from` is the larger of what both ends have used; an earlier one counts as ours.
    pub(crate) fn take(&mut self, from: u64) -> Result<SecretBytes> {
        let from = from.max(self.header.used);
        let to = from.checked_add(START_BYTES as u64).filter(|to| *to <= self.header.len);
        let to = to.ok_or_else(|| SecretError::UsedUp(self.path.clone()))?;
        let place = |at: u64| usize::try_from(at).map_err(|_too_large| damaged(&self.path, "it is too long"));
        let (first, last, len) = (place(from)?, place(to)?, place(self.header.len)?);

        let mut all = SecretBytes::from_vec(vec![0; len]);
        self.file
            .seek(io::SeekFrom::Start(BODY as u64))
            .and_then(|_start| self.file.read_exact(all.expose_mut("to read it from its file")))
            .map_err(io_error("read", &self.path))?;
        let piece = SecretBytes::copy_of(&all.expose("to take a piece out")[first..last]);
        all.expose_mut("to strike out what is used")[..last].fill(0);

        let header = Header { used: to, ..self.header };
        let new = self.replace(&header, all.expose("to keep the rest in its file"))?;
        let mut old = std::mem::replace(&mut self.file, new);
        self.header = header;
        // It has no name any more. That a failing disk keeps it costs secrecy of pads that were never sent, no more.
        if let Err(error) = erase(&mut old, BODY + len) {
            tracing::warn!(%error, "the old start-up secret could not be overwritten on disk");
        }
        Ok(piece)
    }

    /// Writes a new file in the place of the old one, so that at any time one of them is there whole.
    fn replace(&self, header: &Header, bytes: &[u8]) -> Result<File> {
        let unfinished = self.path.with_added_extension("unfinished");
        remove_left_over(&unfinished).map_err(io_error("remove", &unfinished))?;
        let mut file = create_new(&unfinished).map_err(io_error("create", &unfinished))?;
        let locked = file.try_lock().map_err(io::Error::from);
        locked
            .and_then(|()| write_secret(&mut file, header, &self.greeting, bytes))
            .and_then(|()| fs::rename(&unfinished, &self.path))
            .map_err(io_error("write", &self.path))?;
        sync_folder(&self.path)?;
        Ok(file)
    }
}

impl fmt::Debug for StartupSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartupSecret").field("path", &self.path).field("id", &self.id()).finish_non_exhaustive()
    }
}

impl Header {
    fn encode(&self) -> [u8; HEADER] {
        let mut head = [0; HEADER];
        head[..16].copy_from_slice(MAGIC);
        head[16..32].copy_from_slice(&self.id);
        head[32..40].copy_from_slice(&self.used.to_be_bytes());
        head[40..48].copy_from_slice(&self.len.to_be_bytes());
        let checksum = blake3::hash(&head[..48]);
        head[48..].copy_from_slice(checksum.as_bytes());
        head
    }

    fn decode(head: &[u8; HEADER]) -> std::result::Result<Self, &'static str> {
        let word = |at: usize| head[at..at + 8].iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        if head[..16] != *MAGIC {
            return Err("it does not begin like one");
        }
        if blake3::hash(&head[..48]) != head[48..] {
            return Err("the checksum of its header is wrong");
        }
        let mut id = [0; 16];
        id.copy_from_slice(&head[16..32]);
        let (used, len) = (word(32), word(40));
        if len > MAX_SECRET_BYTES || used > len {
            return Err("the lengths in its header cannot be");
        }
        Ok(Self { id, used, len })
    }
}

pub(crate) fn in_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

fn write_secret(file: &mut File, header: &Header, greeting: &SecretBytes, bytes: &[u8]) -> io::Result<()> {
    file.write_all(&header.encode())?;
    file.write_all(greeting.expose("to keep it in its file"))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Overwrites the first `len` bytes with zeros.
fn erase(file: &mut File, len: usize) -> io::Result<()> {
    file.seek(io::SeekFrom::Start(0))?;
    file.write_all(&vec![0; len])?;
    file.sync_data()
}

/// Overwrites and removes what a crash left: it may hold all that is not yet used, and pieces that are by now.
fn remove_left_over(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        // Whatever a link leads to is none of ours.
        Ok(left) if left.is_file() => {
            let len = left.len().min(BODY as u64 + MAX_SECRET_BYTES);
            let mut file = OpenOptions::new().write(true).open(path)?;
            erase(&mut file, usize::try_from(len).map_err(io::Error::other)?)?;
        }
        Ok(_) => {}
    }
    fs::remove_file(path)
}

fn sync_folder(path: &Path) -> Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_error("sync the folder of", path))
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SecretError {
    let path = path.to_owned();
    move |source| SecretError::Io { doing, path, source }
}

fn damaged(path: &Path, what: &'static str) -> SecretError {
    SecretError::Damaged { path: path.to_owned(), what }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_copies(folder: &Path) -> (PathBuf, PathBuf) {
        let (ours, theirs) = (folder.join("ours"), folder.join("theirs"));
        StartupSecret::generate(&ours).unwrap();
        fs::copy(&ours, &theirs).unwrap();
        (ours, theirs)
    }

    #[test]
    fn two_copies_give_the_same_pieces_and_none_twice() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = two_copies(folder.path());
        let mut seen: Vec<Vec<u8>> = Vec::new();
        for start in 0..3 {
            let (mut a, mut b) = (StartupSecret::load(&ours).unwrap(), StartupSecret::load(&theirs).unwrap());
            assert_eq!(a.id(), b.id());
            assert_eq!(a.starts_left(), 256 - start);
            let from = a.used().max(b.used());
            let (a, b) = (a.take(from).unwrap(), b.take(from).unwrap());
            assert_eq!(a.expose("test"), b.expose("test"));
            assert_eq!(a.len(), START_BYTES);
            seen.push(a.expose("test").to_vec());
        }
        assert!(seen[0] != seen[1] && seen[1] != seen[2] && seen[0] != seen[2]);
    }

    #[test]
    fn what_is_used_is_gone_from_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, _) = two_copies(folder.path());
        let piece = StartupSecret::load(&ours).unwrap().take(2 * START_BYTES as u64).unwrap();
        let text = fs::read(&ours).unwrap();
        let gone = &text[BODY..BODY + 3 * START_BYTES];
        assert!(gone.iter().all(|byte| *byte == 0), "also what lay before");
        assert!(!text.windows(16).any(|window| *window == piece.expose("test")[..16]));
        assert_eq!(StartupSecret::load(&ours).unwrap().used(), 3 * START_BYTES as u64);
        assert_eq!(fs::metadata(&ours).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing lies about");
    }

    #[test]
    fn an_end_that_lost_a_start_catches_up() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = two_copies(folder.path());
        let (mut a, mut b) = (StartupSecret::load(&ours).unwrap(), StartupSecret::load(&theirs).unwrap());
        drop(a.take(0).unwrap()); // and the far end never heard of it
        let from = a.used().max(b.used());
        assert_eq!(a.take(from).unwrap().expose("test"), b.take(from).unwrap().expose("test"));
        assert_eq!(a.used(), b.used());
    }

    #[test]
    fn what_a_crash_left_is_overwritten_before_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, _) = two_copies(folder.path());
        let mut secret = StartupSecret::load(&ours).unwrap();
        let (left, witness) = (ours.with_added_extension("unfinished"), folder.path().join("witness"));
        fs::write(&left, [7; 5000]).unwrap();
        // A second name shows what becomes of the bytes.
        fs::hard_link(&left, &witness).unwrap();
        secret.take(0).unwrap();
        assert_eq!(fs::read(&witness).unwrap(), [0; 5000]);
        assert!(!left.exists());
    }

    #[test]
    fn the_greeting_key_is_the_same_in_both_copies_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = two_copies(folder.path());
        let key = |path: &Path| StartupSecret::load(path).unwrap().greeting_key().expose("test").to_vec();
        let first = key(&ours);
        assert_eq!((first.len(), first.iter().any(|byte| *byte != 0)), (GREETING, true));
        let piece = StartupSecret::load(&ours).unwrap().take(0).unwrap();
        assert!(key(&ours) == first && key(&theirs) == first);
        assert!(!piece.expose("test").windows(GREETING).any(|window| window == first));
    }

    #[test]
    fn a_used_up_secret_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, _) = two_copies(folder.path());
        let mut a = StartupSecret::load(&ours).unwrap();
        drop(a.take((SECRET_BYTES - START_BYTES) as u64).unwrap());
        let error = a.take(0).err().unwrap().to_string();
        assert!(error.contains("used up: make a new one"), "{error}");
        for absurd in [SECRET_BYTES as u64, u64::MAX] {
            assert!(matches!(a.take(absurd), Err(SecretError::UsedUp(_))));
        }
        assert_eq!(a.starts_left(), 0);
    }

    #[test]
    fn files_that_are_not_ours_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = two_copies(folder.path());
        assert!(matches!(StartupSecret::generate(&ours), Err(SecretError::Exists(_))));

        let held = StartupSecret::load(&ours).unwrap();
        assert!(matches!(StartupSecret::load(&ours), Err(SecretError::InUse(_))));
        drop(held);

        fs::set_permissions(&ours, fs::Permissions::from_mode(0o640)).unwrap();
        let error = StartupSecret::load(&ours).unwrap_err().to_string();
        assert!(error.contains("others may read") && error.contains("chmod 600"), "{error}");

        let good = fs::read(&theirs).unwrap();
        for (at, what) in [(0, "begin"), (39, "checksum"), (20, "checksum")] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&theirs, bad).unwrap();
            let error = StartupSecret::load(&theirs).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
        fs::write(&theirs, &good[..good.len() - 1]).unwrap();
        assert!(matches!(StartupSecret::load(&theirs), Err(SecretError::Damaged { .. })));

        let link = folder.path().join("link");
        fs::write(&theirs, &good).unwrap();
        std::os::unix::fs::symlink(&theirs, &link).unwrap();
        assert!(matches!(StartupSecret::load(&link), Err(SecretError::Damaged { .. })));
    }
}
