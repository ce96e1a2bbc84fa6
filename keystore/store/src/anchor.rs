//! The anchors: how far each stock had come, kept outside the store's folder, so that an old copy of it is noticed.
//!
//! ```text
//!   block 0          magic 8 │ store id 16 │ MAC 32
//!   two blocks each  a pair of slots for one stock (slot.rs): the state it had, and how often it was written
//! ```
//!
//! A stock writes its cursor first and its anchor second, and only then gives bytes out. So a cursor is as new as its
//! anchor or one write ahead; one that lies behind was put back from a copy, and one that is further ahead has an
//! anchor that was.

use std::fs::TryLockError;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ring::hmac;

use crate::disk::{self, DiskFile};
use crate::slot::{Kind, Mark, PAIR, SLOT, scope_hash};
use crate::store_key::StoreKey;
use crate::{Error, Result};

/// Stocks of one store, counting those that are gone: bounds what a damaged file makes us read.
pub const MAX_ANCHORS: u64 = 1 << 16;

const MAGIC: [u8; 8] = *b"VRNMANC\x01";
const ENTRY: [u8; 8] = *b"VRNMANE\x01";
const ID: usize = 16;
/// The header's share of the file, before the first pair: one slot.
const BLOCK: usize = 4096;
const TAG: usize = 32;

/// The random name of a store.
pub(crate) type StoreId = [u8; ID];

/// The anchors of one store's stocks. Locked while it is open: two copies of a store have one file of anchors.
pub(crate) struct Anchors {
    file: Arc<DiskFile>,
    key: Arc<StoreKey>,
    id: StoreId,
    /// Pairs in the file, whole or not.
    pairs: Mutex<u64>,
}

/// What the anchor says of a stock.
pub(crate) struct Anchor {
    file: Arc<DiskFile>,
    offset: u64,
    kind: Kind,
}

/// Where the anchors of the store `id` are kept.
pub(crate) fn path(folder: &Path, id: &StoreId) -> PathBuf {
    folder.join(format!("{:032x}", u128::from_be_bytes(*id)))
}

impl Anchors {
    /// Makes the file of a store that has no stock yet, or none whose anchor is known.
    pub(crate) fn create(folder: &Path, id: &StoreId, key: &StoreKey) -> Result<()> {
        disk::make_dir(folder)?;
        let header = header(id, key);
        disk::create(&path(folder, id), |file| file.write_at(&header, 0))
    }

    /// Opens and locks the file. `None` where it is missing or not genuine.
    pub(crate) fn open(folder: &Path, id: &StoreId, key: &Arc<StoreKey>) -> Result<Option<Self>> {
        let path = path(folder, id);
        if path.symlink_metadata().is_err() {
            return Ok(None);
        }
        let file = DiskFile::open(&path)?;
        match file.try_lock() {
            Ok(()) | Err(TryLockError::Error(_)) => {} // some file systems have no locks
            Err(TryLockError::WouldBlock) => return Err(Error::Locked { dir: path }),
        }
        let mut found = [0; MAGIC.len() + ID + TAG];
        file.read_at(&mut found, 0)?;
        let (body, tag) = found.split_at(MAGIC.len() + ID);
        let expected = header(id, key);
        if hmac::verify(&key.anchor_mac(id), body, tag).is_err() || !expected.starts_with(body) {
            return Ok(None);
        }
        let pairs = file.len()?.saturating_sub(SLOT).div_ceil(PAIR);
        if pairs > MAX_ANCHORS {
            return Ok(None);
        }
        file.sync()?; // also what a program that was killed had written and not synced
        Ok(Some(Self { file: Arc::new(file), key: Arc::clone(key), id: *id, pairs: Mutex::new(pairs) }))
    }

    /// Removes a file that cannot be used, so that a new one can be made.
    pub(crate) fn remove(folder: &Path, id: &StoreId) -> Result<()> {
        let path = path(folder, id);
        if path.symlink_metadata().is_ok() { disk::remove(&path) } else { Ok(()) }
    }

    /// The store's name.
    pub(crate) fn id(&self) -> StoreId {
        self.id
    }

    /// The anchor of a stock, if it has one, and what it says.
    pub(crate) fn find(&self, scope: &str) -> Result<Option<(Anchor, Mark)>> {
        let pairs = *self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = self.kind(scope);
        let mut found: Option<(u64, Mark)> = None;
        for index in 0..pairs {
            let offset = SLOT + index * PAIR;
            if Mark::scope_at(&self.file, offset, ENTRY)?.contains(&kind.scope)
                && let Some(mark) = Mark::read(&self.file, offset, &kind)?
                && found.is_none_or(|(_, best)| mark.turn >= best.turn)
            {
                found = Some((offset, mark));
            }
        }
        Ok(found.map(|(offset, mark)| (Anchor { file: Arc::clone(&self.file), offset, kind }, mark)))
    }

    /// Adds the anchor of a stock, durably.
    pub(crate) fn add(&self, scope: &str, mark: Mark) -> Result<Anchor> {
        let anchor = self.unwritten(scope)?;
        self.file.zero(anchor.offset, PAIR)?;
        anchor.write(mark)?;
        Ok(anchor)
    }

    /// Room for the anchor of a stock. It has none until it is written.
    pub(crate) fn unwritten(&self, scope: &str) -> Result<Anchor> {
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        if *pairs >= MAX_ANCHORS {
            return Err(Error::TooManyStocks);
        }
        let offset = SLOT + *pairs * PAIR;
        *pairs += 1; // also if writing it fails: the pair may be there in part
        Ok(Anchor { file: Arc::clone(&self.file), offset, kind: self.kind(scope) })
    }

    fn kind(&self, scope: &str) -> Kind {
        Kind { magic: ENTRY, scope: scope_hash(scope), mac: self.key.anchor_mac(&self.id) }
    }
}

impl Anchor {
    /// Writes `mark` durably.
    pub(crate) fn write(&self, mark: Mark) -> Result<()> {
        mark.write(&self.file, self.offset, &self.kind)?;
        self.file.sync()
    }
}

fn header(id: &StoreId, key: &StoreKey) -> Vec<u8> {
    let body = [MAGIC.as_slice(), id].concat();
    let tag = hmac::sign(&key.anchor_mac(id), &body);
    let mut block = [body.as_slice(), tag.as_ref()].concat();
    block.resize(BLOCK, 0);
    block
}
