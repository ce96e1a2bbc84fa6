//! The folder in which what survives a crash is kept: journals of transfers that come, and offers that go. It lists
//! them, and removes what nobody wants any more; it holds no content.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::disk;
use crate::error::{DeskError, OfferError};
use crate::incoming::part_name;
use crate::journal::{Journal, Record, Remembered};
use crate::limits::MAX_RECEIPTS;
use crate::manifest::Manifest;
use crate::name::Rules;
use crate::offer::Offer;
use crate::stream::{Hash, TransferId, u32_at, u64_at};

const JOURNAL: &str = "journal";
const OFFER: &str = "offer";
const RECEIPT: &str = "done";
const PAUSED: &str = "paused";

/// The folder. Its files name what is sent and received, so only its owner may look into it.
#[derive(Clone, Debug)]
pub struct Desk {
    folder: PathBuf,
}

/// A transfer that was accepted and is not finished.
#[derive(Clone, Debug)]
pub struct Part {
    /// Which.
    pub id: TransferId,
    /// What it is: the hash of its manifest. None if its acceptance was cut off, and nothing came.
    pub manifest: Option<Hash>,
    /// The folder it goes into.
    pub folder: PathBuf,
    /// Its bytes.
    pub bytes: u64,
    /// How many of them are surely on the disk.
    pub there: u64,
    /// What the application keeps with it.
    pub note: Note,
}

/// What the application keeps with an offer or an acceptance; at most [`MAX_NOTE`](crate::limits::MAX_NOTE) bytes.
pub type Note = Vec<u8>;

/// How a transfer that was offered to us ended, for a sender that did not hear of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// All is in place that came.
    Placed {
        /// Files that came whole.
        files: u32,
        /// Files that did not.
        failed: u32,
        /// Bytes that came.
        bytes: u64,
    },
    /// It is not wanted any more.
    Cancelled,
}

impl Receipt {
    const LEN: usize = 1 + 4 + 4 + 8;

    fn to_bytes(self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        if let Self::Placed { files, failed, bytes } = self {
            out[0] = 1;
            out[1..5].copy_from_slice(&files.to_be_bytes());
            out[5..9].copy_from_slice(&failed.to_be_bytes());
            out[9..].copy_from_slice(&bytes.to_be_bytes());
        }
        out
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes.first().filter(|_| bytes.len() == Self::LEN)? {
            0 => Some(Self::Cancelled),
            1 => Some(Self::Placed { files: u32_at(bytes, 1), failed: u32_at(bytes, 5), bytes: u64_at(bytes, 9) }),
            _ => None,
        }
    }
}

impl Desk {
    /// Opens it, or makes it, for its owner only.
    pub fn open(folder: &Path) -> Result<Self, DeskError> {
        let failed = |source| DeskError::Io { doing: "could not make", path: folder.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        Ok(Self { folder: folder.canonicalize().map_err(failed)? })
    }

    /// All transfers that were accepted and are neither finished nor removed, by their names.
    pub fn parts(&self) -> Result<Vec<Part>, DeskError> {
        let mut parts = Vec::new();
        for id in self.ids(JOURNAL)? {
            match Journal::peek(&self.path(id, JOURNAL)) {
                Ok(found) => {
                    let before = found.manifest.entries().iter().take(found.progress.entry as usize);
                    let there = before.map(crate::Entry::size).sum::<u64>() + found.progress.offset;
                    let bytes = found.manifest.bytes();
                    let (manifest, folder, note) = (Some(found.hash), found.folder, found.note);
                    parts.push(Part { id, manifest, folder, bytes, there, note });
                }
                Err(DeskError::Unknown) => {
                    let (folder, note) = (PathBuf::new(), Note::new());
                    parts.push(Part { id, manifest: None, folder, bytes: 0, there: 0, note });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(parts)
    }

    /// Removes a transfer that was accepted, and what came of it. Files that have their names already stay.
    pub fn remove_part(&self, id: TransferId) -> Result<(), DeskError> {
        let path = self.path(id, JOURNAL);
        match Journal::open(&path) {
            Ok((journal, found)) => {
                if let Ok(folder) = disk::open_folder(&found.folder) {
                    let name = part_name(id);
                    let path = found.folder.join(&name);
                    let failed = |source| DeskError::Io { doing: "could not remove", path, source };
                    disk::remove_folder(folder, name.as_ref()).map_err(failed)?;
                }
                self.remove(&path)?;
                drop(journal);
                self.set_paused(id, false)
            }
            // Its acceptance was cut off: there is nothing else.
            Err(DeskError::Unknown) => self.remove(&path),
            Err(error) => Err(error),
        }
    }

    /// Keeps an offer, so that it can be sent on after a crash of ours. One that was kept before is replaced.
    pub fn keep_offer(&self, id: TransferId, offer: &Offer, note: &[u8]) -> Result<(), DeskError> {
        self.keep(id, OFFER, &offer.to_bytes(note))
    }

    /// Remembers how a transfer that was offered to us ended; the oldest of too many are forgotten.
    pub fn keep_receipt(&self, id: TransferId, receipt: &Receipt) -> Result<(), DeskError> {
        self.keep(id, RECEIPT, &receipt.to_bytes())?;
        let mut kept = self.ids(RECEIPT)?;
        if kept.len() > MAX_RECEIPTS {
            kept.sort_by_cached_key(|id| fs::metadata(self.path(*id, RECEIPT)).and_then(|found| found.modified()).ok());
            let forgotten = kept.len() - MAX_RECEIPTS;
            kept.iter().take(forgotten).try_for_each(|id| self.remove(&self.path(*id, RECEIPT)))?;
        }
        Ok(())
    }

    /// How a transfer that was offered to us ended, if it did.
    pub fn receipt(&self, id: TransferId) -> Option<Receipt> {
        Receipt::from_bytes(&fs::read(self.path(id, RECEIPT)).ok()?)
    }

    /// Writes a small file of ours, so that there is the old one or the new one, whatever happens.
    fn keep(&self, id: TransferId, kind: &str, bytes: &[u8]) -> Result<(), DeskError> {
        let (path, aside) = (self.path(id, kind), self.path(id, "new"));
        let keep = || -> io::Result<()> {
            let _stale = fs::remove_file(&aside);
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&aside, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        keep().map_err(|source| DeskError::Io { doing: "could not write", path: path.clone(), source })
    }

    /// An offer that was kept, and what was kept with it; its files are the same only if they have the times and sizes
    /// that they had.
    pub fn offer(&self, id: TransferId) -> Result<(Offer, Note), OfferError> {
        let path = self.path(id, OFFER);
        let bytes = fs::read(&path).map_err(|source| OfferError::Unreadable { path, source })?;
        Offer::from_bytes(&bytes)
    }

    /// All offers that are kept, by their names.
    pub fn offers(&self) -> Result<Vec<TransferId>, DeskError> {
        self.ids(OFFER)
    }

    /// Forgets an offer.
    pub fn remove_offer(&self, id: TransferId) -> Result<(), DeskError> {
        self.remove(&self.path(id, OFFER))?;
        self.set_paused(id, false)
    }

    /// Remembers that a transfer is paused here, or that it is not any more. What is no longer on the desk is forgotten
    /// with [`Self::paused`].
    pub fn set_paused(&self, id: TransferId, on: bool) -> Result<(), DeskError> {
        if on { self.keep(id, PAUSED, &[]) } else { self.remove(&self.path(id, PAUSED)) }
    }

    /// The transfers on the desk that are paused here.
    pub fn paused(&self) -> Result<Vec<TransferId>, DeskError> {
        let mut paused = self.ids(PAUSED)?;
        paused.retain(|id| [JOURNAL, OFFER].iter().any(|kind| self.path(*id, kind).exists()));
        Ok(paused)
    }

    /// Makes an acceptance durable.
    pub(crate) fn accept(
        &self,
        id: TransferId,
        rules: Rules,
        note: &[u8],
        folder: &Path,
        manifest: &Manifest,
    ) -> Result<Journal, DeskError> {
        let path = self.path(id, JOURNAL);
        let mut journal = Journal::create(&path)?;
        let write = |journal: &mut Journal| {
            journal.append(&Record::Accepted { rules, note, folder });
            for piece in manifest.pieces() {
                journal.append(&Record::Manifest(&piece));
                journal.write()?;
            }
            journal.append(&Record::Sealed(manifest.hash()));
            journal.sync()?;
            let failed = |source| DeskError::Io { doing: "could not flush", path: self.folder.clone(), source };
            File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(failed)
        };
        match write(&mut journal) {
            Ok(()) => Ok(journal),
            Err(error) => {
                let _none = fs::remove_file(&path);
                Err(error)
            }
        }
    }

    pub(crate) fn journal(&self, id: TransferId) -> Result<(Journal, Remembered), DeskError> {
        Journal::open(&self.path(id, JOURNAL))
    }

    fn path(&self, id: TransferId, kind: &str) -> PathBuf {
        self.folder.join(format!("{id}.{kind}"))
    }

    fn remove(&self, path: &Path) -> Result<(), DeskError> {
        let remove = || match fs::remove_file(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => File::open(&self.folder)?.sync_all(),
        };
        remove().map_err(|source| DeskError::Io { doing: "could not remove", path: path.to_owned(), source })
    }

    fn ids(&self, kind: &str) -> Result<Vec<TransferId>, DeskError> {
        let failed = |source| DeskError::Io { doing: "could not list", path: self.folder.clone(), source };
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(kind)?.strip_suffix('.'));
            ids.extend(id.and_then(TransferId::parse));
        }
        ids.sort_unstable();
        Ok(ids)
    }
}
