//! How files that have come get their names: folders are built aside, then what is at the top goes to its place in one
//! step each, and never over anything. A crash in between costs nothing: what has moved has moved.

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;

use super::{Framing, Incoming, Received, name_aside};
use crate::desk::Receipt;
use crate::disk;
use crate::error::IncomingError;
use crate::journal::{Record, Stage};
use crate::limits::{MAX_NUMBER, MAX_TOLD, MAX_UNFLUSHED};
use crate::name;

const TREE: &str = "tree";

impl Incoming {
    /// Puts all that came in place, flushed to the disk, and forgets the transfer. A name that is taken gets a number.
    ///
    /// If it fails, [`Incoming::reopen`] and try again: nothing is lost.
    pub fn finish(mut self) -> Result<Received, IncomingError> {
        if self.framing != Framing::Over {
            return Err(IncomingError::Incomplete);
        }
        if self.stage == Stage::Receiving {
            self.checkpoint()?;
            self.journal.append(&Record::Placing);
            self.journal.sync()?;
        }
        let tree = disk::make_child(&self.part, TREE.as_ref()).map_err(|error| self.full("could not build", error))?;
        if self.stage != Stage::Built {
            self.build(&tree).map_err(|error| self.full("could not give the files their names", error))?;
            self.journal.append(&Record::Built);
            self.journal.sync()?;
        }
        self.place(&tree)?;
        disk::flush(&self.target).map_err(|error| self.failed("could not flush the folder", error))?;
        disk::remove_folder(&self.target, self.part_name.as_ref())
            .map_err(|error| self.failed("could not remove the hidden folder", error))?;
        let failed = u32::try_from(self.failed.len()).expect("no more than there are entries");
        let path = |entry| crate::display(&self.manifest.offered_path(entry)).into_owned();
        let told = self.failed.iter().take(MAX_TOLD).map(|(entry, why)| (path(*entry), *why)).collect();
        let received = Received {
            told,
            placed: self.placed.values().map(|name| self.folder.join(name)).collect(),
            files: self.manifest.files() - failed,
            bytes: self.complete,
            failed: self.failed,
        };
        // Should the sender not hear of it, it will offer the same again, and must be told.
        let receipt = Receipt::Placed { files: received.files, failed, bytes: received.bytes };
        self.desk.keep_receipt(self.id, &receipt)?;
        self.journal.remove()?;
        Ok(received)
    }

    /// Moves the files below their names in `tree`, and gives folders their times and permissions.
    fn build(&mut self, tree: &OwnedFd) -> io::Result<()> {
        let mut folders = Folders { incoming: self, tree, open: Vec::new() };
        for (index, entry) in (0..).zip(self.manifest.entries()) {
            if !entry.is_file() {
                folders.open(Some(index))?;
                continue;
            }
            let (aside, name) = (name_aside(index), self.layout.name(&self.manifest, index));
            let parent = folders.open(entry.parent())?;
            let mut number = 0;
            // A file that is not there has failed, or has moved before a crash. Two names of the offer are one only where
            // the file system takes them for one.
            while let Err(error) = {
                let new = name::numbered(name, number, false);
                disk::rename_new(&self.files, aside.as_ref(), parent, new.as_ref())
            } {
                match error.kind() {
                    ErrorKind::NotFound => break,
                    ErrorKind::AlreadyExists if number < MAX_NUMBER => number += 1,
                    _ => return Err(error),
                }
            }
        }
        let few = self.manifest.folders() as usize <= MAX_UNFLUSHED;
        for (index, entry) in (0..self.manifest.len()).zip(self.manifest.entries()).rev() {
            if !entry.is_file() {
                let folder = folders.open(Some(index))?;
                disk::set_mode(folder, (entry.mode() & self.mask) | 0o700)?;
                disk::set_modified(folder, entry.modified)?;
                if few {
                    disk::flush(folder)?;
                }
            }
        }
        if few { disk::flush(tree) } else { disk::flush_all(tree) }
    }

    /// Moves what is at the top of `tree` to the folder.
    fn place(&mut self, tree: &OwnedFd) -> Result<(), IncomingError> {
        let names = disk::names(tree, usize::MAX).map_err(|error| self.failed("could not list what came", error))?;
        for from in names {
            let look = |folder: &OwnedFd, name: &OsStr| disk::look(folder, name);
            let is_folder = look(tree, &from).is_ok_and(|stat| disk::is_folder(&stat));
            let mut number = 0;
            loop {
                let to = OsString::from(name::numbered(&from.to_string_lossy(), number, is_folder));
                number += 1;
                // Most names that are taken show here, and are not worth a record.
                if number <= MAX_NUMBER && look(&self.target, &to).is_ok() {
                    continue;
                }
                self.journal.append(&Record::Placed { from: &from, to: &to });
                self.journal.write()?;
                match disk::rename_new(tree, &from, &self.target, &to) {
                    Ok(()) => {
                        self.placed.insert(from.clone().into(), to);
                        break;
                    }
                    Err(error) if error.kind() == ErrorKind::AlreadyExists && number <= MAX_NUMBER => {}
                    Err(error) => return Err(self.full("could not put the files in place", error)),
                }
            }
        }
        Ok(())
    }
}

/// The folders on the way to the last one that was asked for, open; each is made if it is not there.
struct Folders<'a> {
    incoming: &'a Incoming,
    tree: &'a OwnedFd,
    open: Vec<(u32, OwnedFd)>,
}

impl Folders<'_> {
    /// A folder of the manifest, or the top.
    fn open(&mut self, index: Option<u32>) -> io::Result<&OwnedFd> {
        let Incoming { manifest, layout, .. } = self.incoming;
        let (mut way, mut at) = (Vec::new(), index);
        while let Some(folder) = at {
            way.push(folder);
            at = manifest.get(folder).and_then(crate::Entry::parent);
        }
        way.reverse();
        let keep = self.open.iter().zip(&way).take_while(|((open, _), wanted)| open == *wanted).count();
        self.open.truncate(keep);
        for folder in &way[keep..] {
            let parent = self.open.last().map_or(self.tree, |(_, parent)| parent);
            let opened = disk::make_child(parent, layout.name(manifest, *folder).as_ref())?;
            self.open.push((*folder, opened));
        }
        Ok(self.open.last().map_or(self.tree, |(_, folder)| folder))
    }
}
