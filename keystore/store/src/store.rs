//! The folder of all stocks: one program at a time, one folder a contact.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ring::hmac;
use vernam_key::{Direction, Inbound, Outbound};

use crate::anchor::{self, Anchors, StoreId};
use crate::store_key::{Keyring, fill_random};
use crate::{Error, FileStock, Notice, Result, StoreKey, disk, pad};

/// Bytes a contact's name may have: with every byte escaped, and a prefix, it must fit a file name of 255.
pub const MAX_CONTACT_BYTES: usize = 80;

const LOCK: &str = "lock";
const CONTACTS: &str = "contacts";
const STORE: &str = "store";
const MAGIC: &[u8; 10] = b"VRNMSTORE\x02";

/// The stocks of one user, in one folder that one program uses at a time.
///
/// The lock is held until the store and every stock opened from it are dropped.
pub struct Store {
    dir: PathBuf,
    key: Arc<StoreKey>,
    shared: Arc<Shared>,
    accept_lost: bool,
}

struct Shared {
    dir: PathBuf,
    anchor_path: PathBuf,
    anchors: Anchors,
    /// Held locked; the lock goes with the file, also when the program is killed.
    _lock: Locks,
    /// The scopes of the stocks that are open.
    open: Mutex<BTreeSet<String>>,
    notices: Mutex<Vec<Notice>>,
}

/// How a stock is opened.
pub(crate) struct Opening {
    /// Its name for people.
    pub(crate) label: String,
    /// Its bytes were all there from the beginning, and are the same in every copy.
    pub(crate) fixed: bool,
    /// Where its anchor is lost, erase it instead of refusing.
    pub(crate) accept_lost: bool,
}

impl Store {
    /// Opens the store in `dir`, or makes one there that only its owner can enter. In the folder `anchors`, which must
    /// lie elsewhere and not be part of the same backup, one small file tells how far the stocks had come, so that an
    /// old copy of the store is noticed: what it holds is then erased, and [`Self::notices`] says so.
    ///
    /// # Errors
    /// [`Error::Locked`] while another program has it open, [`Error::WrongStoreKey`], [`Error::AnchorLost`],
    /// [`Error::Damaged`], or the disk's.
    pub fn open(dir: impl Into<PathBuf>, anchors: impl AsRef<Path>, store_key: StoreKey) -> Result<Self> {
        Self::open_with(dir.into(), anchors.as_ref(), store_key, false)
    }

    /// As [`Self::open`], but erases every stock whose anchor is lost, which nothing else can make safe, and makes the
    /// anchor anew. Only for a person who was told [`Error::AnchorLost`] and decided so. Stocks with an anchor stay.
    ///
    /// # Errors
    /// As [`Self::open`], without [`Error::AnchorLost`].
    pub fn accept_lost_anchor(dir: impl Into<PathBuf>, anchors: impl AsRef<Path>, store_key: StoreKey) -> Result<Self> {
        let store = Self::open_with(dir.into(), anchors.as_ref(), store_key, true)?;
        for contact in store.contacts()? {
            if store.holds::<Outbound>(&contact)? {
                drop(store.outbound(&contact)?);
            }
            if store.holds::<Inbound>(&contact)? {
                drop(store.inbound(&contact)?);
            }
        }
        store.open_every_pad()?;
        Ok(store)
    }

    fn open_with(dir: PathBuf, anchors: &Path, store_key: StoreKey, accept_lost: bool) -> Result<Self> {
        disk::make_dir(&dir)?;
        let lock = lock(&dir)?;
        check_apart(&dir, anchors)?;
        let key = Arc::new(store_key);
        let id = identify(&dir, anchors, &key)?;
        let anchor_path = anchor::path(anchors, &id);
        let anchors = match Anchors::open(anchors, &id, &key)? {
            Some(anchors) => anchors,
            None if accept_lost => {
                Anchors::remove(anchors, &id)?;
                Anchors::create(anchors, &id, &key)?;
                Anchors::open(anchors, &id, &key)?.ok_or_else(|| lost(&dir, &anchor_path))?
            }
            None => return Err(lost(&dir, &anchor_path)),
        };
        let shared = Shared {
            dir: dir.clone(),
            anchor_path,
            anchors,
            _lock: lock,
            open: Mutex::default(),
            notices: Mutex::default(),
        };
        Ok(Self { dir, key, shared: Arc::new(shared), accept_lost })
    }

    /// The stock for what goes to `contact`.
    ///
    /// # Errors
    /// [`Error::AlreadyOpen`], [`Error::ContactName`], [`Error::AnchorLost`], [`Error::Damaged`], or the disk's.
    pub fn outbound(&self, contact: &str) -> Result<FileStock<Outbound>> {
        self.stock(contact)
    }

    /// The stock for what comes from `contact`. Errors as [`Self::outbound`].
    pub fn inbound(&self, contact: &str) -> Result<FileStock<Inbound>> {
        self.stock(contact)
    }

    /// The contacts that have a stock, sorted.
    ///
    /// # Errors
    /// The disk's.
    pub fn contacts(&self) -> Result<Vec<String>> {
        let folder = self.dir.join(CONTACTS);
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let names = disk::list(&folder)?;
        let names = names.iter().filter_map(|path| contact_of(path.file_name()?.to_str()?));
        let names: BTreeSet<String> = names.collect();
        Ok(names.into_iter().collect())
    }

    /// Whether there is a stock of this contact and direction already; opening one makes it.
    ///
    /// # Errors
    /// [`Error::ContactName`].
    pub fn holds<D: Direction>(&self, contact: &str) -> Result<bool> {
        Ok(self.dir.join(CONTACTS).join(folder_name(contact)?).join(D::NAME).is_dir())
    }

    /// What the owner must be told of the stocks that were opened so far, each once.
    pub fn notices(&self) -> Vec<Notice> {
        std::mem::take(&mut *self.shared.notices.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn stock<D: Direction>(&self, contact: &str) -> Result<FileStock<D>> {
        let scope = format!("{}/{}", folder_name(contact)?, D::NAME);
        let dir = self.dir.join(CONTACTS).join(&scope);
        let label = match D::NAME {
            Outbound::NAME => format!("what goes to {contact}"),
            _ => format!("what comes from {contact}"),
        };
        self.open_stock(&dir, scope, label, false)
    }

    /// Opens the stock `scope` in `dir`, or makes it. With `fixed`, an old copy of it has the same bytes.
    pub(crate) fn open_stock<D: Direction>(
        &self,
        dir: &Path,
        scope: String,
        label: String,
        fixed: bool,
    ) -> Result<FileStock<D>> {
        let lease = self.lease(&scope).ok_or_else(|| Error::AlreadyOpen { dir: dir.to_owned() })?;
        disk::make_dir(dir)?;
        for dir in dir.ancestors().skip(1).take(3) {
            disk::sync_dir(dir)?; // also where a program that was killed had made the folder and not synced it
        }
        let opening = Opening { label, fixed, accept_lost: self.accept_lost };
        FileStock::open(dir, Keyring { store_key: Arc::clone(&self.key), scope }, lease, &opening)
    }

    pub(crate) fn lease(&self, scope: &str) -> Option<Lease> {
        Lease::new(&self.shared, scope)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn key(&self) -> &StoreKey {
        &self.key
    }

    /// The store's random name.
    pub(crate) fn id(&self) -> StoreId {
        self.shared.anchors.id()
    }

    /// The folder with the anchors of this store, and of other stores of the same user.
    pub(crate) fn anchors_folder(&self) -> &Path {
        disk::parent(&self.shared.anchor_path)
    }

    /// Whether a stock of this scope was ever there, as far as the anchors of this store tell.
    pub(crate) fn was_ever(&self, scope: &str) -> Result<bool> {
        Ok(self.shared.anchors.find(scope)?.is_some())
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

    pub(crate) fn anchors(&self) -> &Anchors {
        &self.shared.anchors
    }

    pub(crate) fn anchor_lost(&self) -> Error {
        lost(&self.shared.dir, &self.shared.anchor_path)
    }

    pub(crate) fn notify(&self, notice: Notice) {
        self.shared.notices.lock().unwrap_or_else(PoisonError::into_inner).push(notice);
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

/// Recognises the store's own key, so that another one is refused before it takes every record for a torn one, and the
/// store's name.
fn identify(dir: &Path, anchors: &Path, store_key: &StoreKey) -> Result<StoreId> {
    let path = dir.join(STORE);
    let mac = store_key.store_mac();
    let Some(found) = disk::read_small(&path, 1024)? else {
        if dir.join(CONTACTS).exists() || dir.join(pad::FOLDER).exists() {
            let what = "its file `store` is missing, so its key cannot be checked; restore it, or delete the folder";
            return Err(Error::damaged(dir, what));
        }
        let mut id = StoreId::default();
        fill_random(&mut id)?;
        Anchors::create(anchors, &id, store_key)?; // first: a store that is there has one
        let body = [MAGIC.as_slice(), &id].concat();
        let tag = hmac::sign(&mac, &body);
        disk::create(&path, |file| file.write_at(&[&body, tag.as_ref()].concat(), 0))?;
        return Ok(id);
    };
    let parts = found.split_first_chunk::<{ MAGIC.len() }>().filter(|(magic, _)| *magic == MAGIC);
    let parts = parts.and_then(|(_, rest)| rest.split_first_chunk()).filter(|(_, tag)| tag.len() == 32);
    match parts {
        Some((id, tag)) => {
            let wrong = |_unspecified| Error::WrongStoreKey { dir: dir.to_owned() };
            hmac::verify(&mac, &found[..found.len() - tag.len()], tag).map_err(wrong)?;
            Ok(*id)
        }
        None => Err(Error::damaged(&path, "it is not of this program or version; restore it, or delete the folder")),
    }
}

/// Anchors in the store would be copied and restored with it. Compared as they are on disk, where they are there.
fn check_apart(dir: &Path, anchors: &Path) -> Result<()> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_not_there_yet| path.to_owned());
    if real(anchors).starts_with(real(dir)) || anchors.starts_with(dir) {
        return Err(Error::AnchorInside { anchors: anchors.to_owned() });
    }
    Ok(())
}

fn lost(dir: &Path, anchor: &Path) -> Error {
    Error::AnchorLost { dir: dir.to_owned(), anchor: anchor.to_owned() }
}

/// The contact whose folder has this name.
fn contact_of(folder: &str) -> Option<String> {
    let mut rest = folder.strip_prefix("contact-")?.bytes();
    let mut name = Vec::new();
    while let Some(byte) = rest.next() {
        name.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(name).ok()
}

/// A contact's folder: lower-case letters, digits and `-` stand for themselves, every other byte is escaped, so that no
/// name leaves the folder, collides with another where case does not count, or is special to a file system.
pub(crate) fn folder_name(contact: &str) -> Result<String> {
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
