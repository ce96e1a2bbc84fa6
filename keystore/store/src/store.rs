//! The folder of all stocks: one program at a time, one folder a contact.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ring::hmac;
use vernam_key::{Direction, Inbound, Outbound};

use crate::store_key::Keyring;
use crate::{Error, FileStock, Result, StoreKey, disk};

/// Bytes a contact's name may have: with every byte escaped, and a prefix, it must fit a file name of 255.
pub const MAX_CONTACT_BYTES: usize = 80;

const LOCK: &str = "lock";
const CONTACTS: &str = "contacts";
const STORE: &str = "store";
const MAGIC: &[u8] = b"VRNMSTORE\x01";

/// The stocks of one user, in one folder that one program uses at a time.
///
/// The lock is held until the store and every stock opened from it are dropped.
pub struct Store {
    dir: PathBuf,
    key: Arc<StoreKey>,
    shared: Arc<Shared>,
}

struct Shared {
    /// Held locked; the lock goes with the file, also when the program is killed.
    _lock: Locks,
    /// The scopes of the stocks that are open.
    open: Mutex<BTreeSet<String>>,
}

impl Store {
    /// Opens the store in `dir`, or makes one there that only its owner can enter.
    ///
    /// # Errors
    /// [`Error::Locked`] while another program has it open, [`Error::WrongStoreKey`], [`Error::Damaged`], or the
    /// disk's.
    pub fn open(dir: impl Into<PathBuf>, store_key: StoreKey) -> Result<Self> {
        let dir = dir.into();
        disk::make_dir(&dir)?;
        let lock = lock(&dir)?;
        check_key(&dir, &store_key)?;
        let shared = Arc::new(Shared { _lock: lock, open: Mutex::default() });
        Ok(Self { dir, key: Arc::new(store_key), shared })
    }

    /// The stock for what goes to `contact`.
    ///
    /// # Errors
    /// [`Error::AlreadyOpen`], [`Error::ContactName`], [`Error::Damaged`], or the disk's.
    pub fn outbound(&self, contact: &str) -> Result<FileStock<Outbound>> {
        self.stock(contact)
    }

    /// The stock for what comes from `contact`. Errors as [`Self::outbound`].
    pub fn inbound(&self, contact: &str) -> Result<FileStock<Inbound>> {
        self.stock(contact)
    }

    fn stock<D: Direction>(&self, contact: &str) -> Result<FileStock<D>> {
        let scope = format!("{}/{}", folder_name(contact)?, D::NAME);
        let dir = self.dir.join(CONTACTS).join(&scope);
        let lease = Lease::new(&self.shared, &scope).ok_or_else(|| Error::AlreadyOpen { dir: dir.clone() })?;
        disk::make_dir(&dir)?;
        for dir in dir.ancestors().skip(1).take(3) {
            disk::sync_dir(dir)?; // also where a program that was killed had made the folder and not synced it
        }
        FileStock::open(&dir, Keyring { store_key: Arc::clone(&self.key), scope }, lease)
    }
}

/// The right to be the one user of a stock; ends when dropped.
pub(crate) struct Lease {
    shared: Arc<Shared>,
    scope: String,
}

impl Lease {
    fn new(shared: &Arc<Shared>, scope: &str) -> Option<Self> {
        let is_new = shared.open.lock().unwrap_or_else(PoisonError::into_inner).insert(scope.to_owned());
        is_new.then(|| Self { shared: Arc::clone(shared), scope: scope.to_owned() })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shared.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.scope);
    }
}

/// Two locks: on the file, and on the folder itself, so that deleting the file lets no second program in.
struct Locks {
    _file: File,
    /// `None` on file systems that lock no folders, such as NFS.
    _folder: Option<File>,
}

fn lock(dir: &Path) -> Result<Locks> {
    let folder = File::open(dir).map_err(Error::io("open the folder", dir))?;
    let folder = match folder.try_lock() {
        Ok(()) => Some(folder),
        Err(TryLockError::WouldBlock) => return Err(Error::Locked { dir: dir.to_owned() }),
        Err(TryLockError::Error(_)) => None,
    };
    let path = dir.join(LOCK);
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&path).map_err(Error::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(Error::Locked { dir: dir.to_owned() }),
        Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path)(error)),
    }
    disk::check_name(&file, &path)?; // the next program must find the file that is locked
    Ok(Locks { _file: file, _folder: folder })
}

/// Recognises the store's own key, so that another one is refused before it takes every record for a torn one.
fn check_key(dir: &Path, store_key: &StoreKey) -> Result<()> {
    let path = dir.join(STORE);
    let mac = store_key.store_mac();
    let Some(found) = disk::read_small(&path, 1024)? else {
        if dir.join(CONTACTS).exists() {
            let what = "its file `store` is missing, so its key cannot be checked; restore it, or delete the folder";
            return Err(Error::damaged(dir, what));
        }
        let tag = hmac::sign(&mac, MAGIC);
        return disk::create(&path, |file| file.write_at(&[MAGIC, tag.as_ref()].concat(), 0));
    };
    match found.split_at_checked(MAGIC.len()) {
        Some((MAGIC, tag)) if tag.len() == 32 => {
            let wrong = |_unspecified| Error::WrongStoreKey { dir: dir.to_owned() };
            hmac::verify(&mac, MAGIC, tag).map_err(wrong)
        }
        _ => Err(Error::damaged(&path, "it is not of this program or version; restore it, or delete the folder")),
    }
}

/// A contact's folder: lower-case letters, digits and `-` stand for themselves, every other byte is escaped, so that no
/// name leaves the folder, collides with another where case does not count, or is special to a file system.
fn folder_name(contact: &str) -> Result<String> {
    if contact.is_empty() || contact.len() > MAX_CONTACT_BYTES {
        return Err(Error::ContactName { len: contact.len() });
    }
    let mut name = String::from("contact-");
    for byte in contact.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' => name.push(char::from(byte)),
            _ => write!(name, "%{byte:02x}").expect("a String takes everything"),
        }
    }
    Ok(name)
}
