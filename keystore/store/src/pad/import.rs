//! Taking a pad file into a store, and finding the pads that are there.
//!
//! ```text
//!   DIR/pads/PAD_ID/pad                  sealed: owner, contact, half, bytes, and the secret of the names
//!                  /outbound, /inbound   a stock for each half, whose bytes never change
//!   ANCHORS/pads/PAD_ID-half             which store took it in, and for whom (taken.rs)
//! ```
//!
//! The folder stays when the pad is used up, its stocks' anchors even when the folder goes, and the record with the
//! anchors even when the store goes: so a user takes a pad in once on one computer. Nothing here can see that a copy of
//! the file is taken in on another computer, by another user, or after the folder of the anchors was lost: who carries
//! the file keeps no copy. What a crash interrupted goes on where it stopped, from the same file.

use std::path::{Path, PathBuf};

use ring::aead::{Aad, NONCE_LEN, Nonce};
use vernam_key::{Direction, Inbound, KeyId, Outbound, SecretBytes};
use zeroize::Zeroizing;

use super::names::{Names, SECRET};
use super::stock::Pad;
use super::taken::{Step, Taken};
use super::{Fingerprint, Half, PadId, PadReader, PadStock};
use crate::store_key::fill_random;
use crate::{Error, FileStock, Result, Stock as _, StockKey, Store, disk};

/// The folder of all pads in a store.
pub(crate) const FOLDER: &str = "pads";

const FILE: &str = "pad";
const MAGIC: [u8; 8] = *b"VRNMPIN\x01";
/// Far more than it can have.
const MAX_FILE: u64 = 1024;
/// Bytes of pad in one segment: what an import holds in memory.
const SEGMENT: u64 = 8 << 20;

/// A pad that was taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The pad's name.
    pub id: PadId,
    /// The contact whose pad it is now.
    pub contact: String,
    /// Bytes for each direction.
    pub each_way: u64,
    /// The words to compare with the contact.
    pub fingerprint: Fingerprint,
    /// The file it came from, which is still there.
    pub file: PathBuf,
}

/// What a store knows of a pad without opening its stocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PadSummary {
    /// The pad's name.
    pub id: PadId,
    /// For whom the file was: the owner of the store.
    pub owner: String,
    /// With whom it is shared.
    pub contact: String,
    /// Bytes for each direction.
    pub each_way: u64,
}

/// What is kept of a pad beside its bytes.
struct Kept {
    summary: PadSummary,
    half: Half,
    names: Names,
}

impl Store {
    /// Takes the pad of an opened file in, as the pad shared with `contact`, durably. `owner` is the name of the
    /// store's owner, where that is known; else a pad must be for the same person as those before it.
    ///
    /// The file stays: see [`crate::pad::erase_file`].
    ///
    /// # Errors
    /// [`Error::PadKnown`], [`Error::PadTaken`], [`Error::PadNotYours`], [`Error::ContactName`], [`Error::Damaged`], or
    /// the disk's. After an error of the disk's, import the same file again.
    pub fn import_pad(&self, mut file: PadReader, contact: &str, owner: Option<&str>) -> Result<Imported> {
        crate::store::folder_name(contact)?;
        let id = file.id();
        let pads = self.all_pads()?;
        let me =
            owner.or_else(|| pads.iter().find(|kept| kept.summary.id != id).map(|kept| kept.summary.owner.as_str()));
        if me.is_some_and(|me| me != file.owner()) || contact == file.owner() {
            let (owner, me) = (file.owner().to_owned(), me.unwrap_or(file.contact()).to_owned());
            return Err(Error::PadNotYours { owner, me });
        }
        let dir = self.pad_dir(id);
        let kept = pads.into_iter().find(|kept| kept.summary.id == id);
        let is_kept = kept.is_some();
        let may_begin = match kept {
            Some(kept) if kept.half != file.outbound_half() => {
                return Err(Error::PadNotYours { owner: file.owner().to_owned(), me: kept.summary.owner });
            }
            Some(kept) => kept.summary.contact == contact,
            None => !self.was_ever(&scope::<Outbound>(id))?,
        };
        if !may_begin {
            return Err(Error::PadKnown { id });
        }
        let mut taken = Taken::by(self.anchors_folder(), self.id(), (id, file.outbound_half()), contact)?;
        // An import that began to fill the store and is not in it any more was deleted, not interrupted.
        if taken.step() == Step::Done || (taken.step() == Step::Filling && !is_kept) {
            return Err(Error::PadKnown { id });
        }
        self.keep(&file, contact)?;
        taken.reach(Step::Filling)?;
        let (mut outbound, mut inbound) = self.pad_stocks(id, contact)?;
        let each_way = file.each_way();
        let unused = outbound.status().cursor == 0 && inbound.status().cursor == 0;
        if !unused || (outbound.status().end >= each_way && inbound.status().end >= each_way) {
            return Err(Error::PadKnown { id });
        }
        let first_is_outbound = file.outbound_half() == Half::First;
        let mut filler = Filler { id, held: SecretBytes::from_vec(Vec::new()) };
        for first in [true, false] {
            if first == first_is_outbound {
                filler.fill(&mut file, &mut outbound, each_way)?;
            } else {
                filler.fill(&mut file, &mut inbound, each_way)?;
            }
        }
        disk::sync_dir(&dir)?;
        taken.reach(Step::Done)?;
        let (fingerprint, file) = file.finish();
        Ok(Imported { id, contact: contact.to_owned(), each_way, fingerprint, file })
    }

    /// The pads in the store, used up or not, in the order of their names. One whose import was interrupted is there
    /// too.
    ///
    /// # Errors
    /// [`Error::Damaged`], or the disk's.
    pub fn pads(&self) -> Result<Vec<PadSummary>> {
        Ok(self.all_pads()?.into_iter().map(|kept| kept.summary).collect())
    }

    /// All pads shared with `contact`, as one source of keys.
    ///
    /// # Errors
    /// As [`Self::outbound`].
    pub fn pad_stock(&self, contact: &str) -> Result<PadStock> {
        let mut pads = Vec::new();
        for Kept { summary, half, names } in self.all_pads()? {
            if summary.contact != contact {
                continue;
            }
            let (outbound, inbound) = self.pad_stocks(summary.id, contact)?;
            if outbound.status().end == summary.each_way && inbound.status().end == summary.each_way {
                pads.push(Pad::new(half, names, outbound, inbound));
            }
        }
        Ok(PadStock::new(pads))
    }

    /// Opens, and so checks, the stocks of every pad.
    pub(crate) fn open_every_pad(&self) -> Result<()> {
        for kept in self.all_pads()? {
            drop(self.pad_stocks(kept.summary.id, &kept.summary.contact)?);
        }
        Ok(())
    }

    fn pad_stocks(&self, id: PadId, contact: &str) -> Result<(FileStock<Outbound>, FileStock<Inbound>)> {
        let dir = self.pad_dir(id);
        let outbound =
            self.open_stock(&dir.join(Outbound::NAME), scope::<Outbound>(id), format!("what goes to {contact}"), true)?;
        let inbound = self.open_stock(
            &dir.join(Inbound::NAME),
            scope::<Inbound>(id),
            format!("what comes from {contact}"),
            true,
        )?;
        Ok((outbound, inbound))
    }

    fn pad_dir(&self, id: PadId) -> PathBuf {
        self.dir().join(FOLDER).join(id.to_string())
    }

    fn all_pads(&self) -> Result<Vec<Kept>> {
        let folder = self.dir().join(FOLDER);
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let mut pads = Vec::new();
        for dir in disk::list(&folder)? {
            let Some(id) = dir.file_name().and_then(|name| id_of(name.to_str()?)) else { continue };
            // Without the file a crash came before anything of it was there.
            if let Some(kept) = self.kept(id, &dir.join(FILE))? {
                pads.push(kept);
            }
        }
        Ok(pads)
    }

    /// Writes down, before the first byte of pad, whose it is.
    fn keep(&self, file: &PadReader, contact: &str) -> Result<()> {
        let (id, path) = (file.id(), self.pad_dir(file.id()).join(FILE));
        if path.exists() {
            return Ok(());
        }
        let mut body = Zeroizing::new(Vec::with_capacity(usize::try_from(MAX_FILE).unwrap_or(0)));
        body.push(file.outbound_half().code());
        body.extend(file.each_way().to_be_bytes());
        body.extend(file.names_secret().expose("to keep it sealed in the store"));
        for name in [file.owner(), contact] {
            body.push(u8::try_from(name.len()).map_err(|_long| Error::ContactName { len: name.len() })?);
            body.extend(name.as_bytes());
        }
        let mut nonce = [0; NONCE_LEN];
        fill_random(&mut nonce)?;
        self.key()
            .pad(&id.0)
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(MAGIC), &mut *body)
            .expect("a short file is far below AES-GCM's limit");
        disk::make_dir(disk::parent(&path))?;
        disk::create(&path, |file| file.write_at(&[MAGIC.as_slice(), &nonce, &body].concat(), 0))
    }

    fn kept(&self, id: PadId, path: &Path) -> Result<Option<Kept>> {
        let Some(found) = disk::read_small(path, MAX_FILE)? else { return Ok(None) };
        let what = "it was altered; put it back, or delete the folder it is in, which gives the pad up";
        let opened = found.split_first_chunk().filter(|(magic, _)| **magic == MAGIC).and_then(|(_, rest)| {
            let (nonce, sealed) = rest.split_first_chunk()?;
            let mut body = Zeroizing::new(sealed.to_vec());
            let key = self.key().pad(&id.0);
            let len = key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(MAGIC), &mut body).ok()?.len();
            parse(id, &body[..len])
        });
        opened.map(Some).ok_or_else(|| Error::damaged(path, what))
    }
}

/// Overwrites a pad file with zeros and removes it, durably. On a disk or stick with flash memory old blocks may stay:
/// they are sealed under the passphrase.
///
/// # Errors
/// The disk's.
pub fn erase_file(path: &Path) -> Result<()> {
    disk::erase_and_remove(path)?;
    disk::sync_dir(disk::parent(path))
}

/// Cuts what a file gives into segments.
struct Filler {
    id: PadId,
    /// What was read of the next half already.
    held: SecretBytes,
}

impl Filler {
    fn fill<D: Direction>(&mut self, file: &mut PadReader, stock: &mut FileStock<D>, each_way: u64) -> Result<()> {
        let mut at = 0;
        while at < each_way {
            let want = (each_way - at).min(SEGMENT);
            let bytes = self.read(file, usize::try_from(want).expect("a segment is short"))?;
            let end = stock.status().end;
            // What an interrupted import brought in already. It ended with a whole segment.
            if at >= end {
                let mut name = [0; 16];
                name[..8].copy_from_slice(&self.id.0[..8]);
                name[8..].copy_from_slice(&at.to_be_bytes());
                stock.append(vec![StockKey { id: KeyId::from_bytes(name), bytes }])?;
            }
            at += want;
        }
        Ok(())
    }

    fn read(&mut self, file: &mut PadReader, want: usize) -> Result<SecretBytes> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(want + (1 << 16)));
        bytes.extend_from_slice(self.held.expose("to append it to the stock"));
        while bytes.len() < want {
            let Some(more) = file.next()? else { break };
            bytes.extend_from_slice(&more);
        }
        let rest = want.min(bytes.len());
        self.held = SecretBytes::copy_of(&bytes[rest..]);
        Ok(SecretBytes::copy_of(&bytes[..rest]))
    }
}

fn scope<D: Direction>(id: PadId) -> String {
    format!("{FOLDER}/{id}/{}", D::NAME)
}

fn id_of(name: &str) -> Option<PadId> {
    let mut id = [0; 16];
    if name.len() != 32 || !name.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase()) {
        return None;
    }
    for (byte, digits) in id.iter_mut().zip(name.as_bytes().as_chunks::<2>().0) {
        *byte = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(PadId(id))
}

fn parse(id: PadId, body: &[u8]) -> Option<Kept> {
    let (half, rest) = body.split_first()?;
    let (each_way, rest) = rest.split_first_chunk()?;
    let (secret, rest) = rest.split_first_chunk::<SECRET>()?;
    let (owner, rest) = text(rest)?;
    let (contact, rest) = text(rest)?;
    let summary = PadSummary { id, owner, contact, each_way: u64::from_be_bytes(*each_way) };
    let names = Names::new(SecretBytes::copy_of(secret));
    rest.is_empty().then_some(Kept { summary, half: Half::of_code(*half)?, names })
}

fn text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (len, rest) = bytes.split_first()?;
    let (text, rest) = rest.split_at_checked(usize::from(*len))?;
    Some((str::from_utf8(text).ok()?.to_owned(), rest))
}
