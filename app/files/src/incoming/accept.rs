//! How a transfer begins to be received: accepted, with room for it, or taken up again after a crash from what is surely
//! on the disk.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::{Current, Framing, Incoming, Pace, name_aside};
use crate::desk::Desk;
use crate::disk::{self, Unhashed};
use crate::error::IncomingError;
use crate::journal::{Journal, Record, Remembered, Stage};
use crate::layout::Layout;
use crate::manifest::Manifest;
use crate::name::Rules;
use crate::stream::{Parser, Root, TransferId};

/// Entries that we make beside those of the peer.
const OWN_ENTRIES: u64 = 4;

/// What a person said yes to.
#[derive(Clone, Debug)]
pub struct Acceptance {
    /// Which transfer.
    pub id: TransferId,
    /// Where it goes. What is there is never touched.
    pub folder: PathBuf,
    /// How names are made safe.
    pub rules: Rules,
    /// Whatever the application wants to find again after a crash; at most [`MAX_NOTE`](crate::limits::MAX_NOTE) bytes.
    pub note: Vec<u8>,
}

/// The hidden folder of a transfer's files while they come, in the folder where they go.
pub(crate) fn part_name(id: TransferId) -> String {
    format!(".vernam-{id}.part")
}

impl Incoming {
    /// Makes ready for an offer: looks at every name, looks whether there is room, and makes the acceptance durable.
    pub fn accept(desk: &Desk, acceptance: &Acceptance, manifest: Manifest, pace: Pace) -> Result<Self, IncomingError> {
        let Acceptance { id, ref folder, rules, ref note } = *acceptance;
        let layout = Layout::new(&manifest, rules)?;
        let failed = |doing| disk_error(folder, doing);
        let folder = folder.canonicalize().map_err(failed("could not find the folder"))?;
        let failed = |doing| disk_error(&folder, doing);
        let target = disk::open_folder(&folder).map_err(failed("could not open the folder"))?;
        check_room(&folder, &target, &manifest)?;
        let journal = desk.accept(id, rules, note, &folder, &manifest)?;
        // Something of this random name without a journal is a part whose desk is gone.
        let made = disk::remove_folder(&target, part_name(id).as_ref())
            .map_err(failed("could not remove an old part"))
            .and_then(|()| Self::new((desk.clone(), id), folder, target, manifest, layout, journal, pace));
        if made.is_err() {
            let _kept = desk.remove_part(id);
        }
        made
    }

    /// Takes up a transfer that was accepted before: what was recorded as being on the disk is looked for, and what there
    /// is of the file that was on its way is hashed again. `keep_going` is asked now and then, with the bytes hashed so
    /// far.
    pub fn reopen(
        desk: &Desk,
        id: TransferId,
        pace: Pace,
        mut keep_going: impl FnMut(u64) -> bool,
    ) -> Result<Self, IncomingError> {
        let (journal, remembered) = desk.journal(id)?;
        let Remembered { rules, folder, manifest, progress, failed, stage, placed, .. } = remembered;
        let layout = Layout::new(&manifest, rules)?;
        let target = disk::open_folder(&folder).map_err(disk_error(&folder, "could not open the folder"))?;
        let mut incoming = Self::new((desk.clone(), id), folder, target, manifest, layout, journal, pace)?;
        (incoming.stage, incoming.placed, incoming.failed) = (stage, placed, failed);
        let placing = stage != Stage::Receiving;
        let whole = if placing { incoming.manifest.len() } else { incoming.whole_before(progress.entry) };
        incoming.at = incoming.manifest.file_from(whole);
        incoming.complete = incoming.size_before(incoming.at);
        if placing {
            incoming.framing = Framing::Over;
            return Ok(incoming);
        }
        if incoming.at == progress.entry && progress.offset > 0 {
            incoming.current = incoming.look_again(progress.offset, progress.prefix, &mut keep_going)?;
        }
        let at = incoming.at;
        incoming.failed.retain(|(entry, _)| *entry < at);
        // From here on the journal says what was found, so that failures after it do not count.
        incoming.journal.append(&Record::Progress(incoming.resume_point()));
        incoming.journal.sync()?;
        Ok(incoming)
    }

    fn new(
        (desk, id): (Desk, TransferId),
        folder: PathBuf,
        target: OwnedFd,
        manifest: Manifest,
        layout: Layout,
        journal: Journal,
        pace: Pace,
    ) -> Result<Self, IncomingError> {
        let part_name = part_name(id);
        let failed = |doing| disk_error(&folder, doing);
        let part = own_folder(&folder, &target, &part_name)?;
        let files = own_folder(&folder, &part, "files")?;
        let mask = disk::allowed_mode(&part).map_err(failed("could not create a folder"))?;
        disk::flush(&part).and_then(|()| disk::flush(&target)).map_err(failed("could not flush a folder"))?;
        let at = manifest.file_from(0);
        Ok(Self {
            desk,
            id,
            folder,
            target,
            part,
            part_name,
            files,
            manifest,
            layout,
            journal,
            pace,
            mask,
            parser: Parser::default(),
            framing: Framing::Between,
            counts: (0, 0),
            root: Root::default(),
            at,
            current: None,
            failed: Vec::new(),
            ended: Vec::new(),
            complete: 0,
            unflushed: Vec::new(),
            flush_all: false,
            dirty: 0,
            news: false,
            recorded: None,
            lost: false,
            stage: Stage::Receiving,
            placed: std::collections::BTreeMap::new(),
        })
    }

    /// The first file before `entry` that is not there as it should be; `entry` if all are.
    fn whole_before(&self, entry: u32) -> u32 {
        let mut failed = self.failed.iter().map(|(entry, _)| *entry).peekable();
        for (index, wanted) in (0..entry).zip(self.manifest.entries()) {
            let missing = failed.next_if_eq(&index).is_some() || !wanted.is_file();
            let there = || {
                let stat = disk::look(&self.files, name_aside(index).as_ref()).ok();
                stat.is_some_and(|stat| disk::is_file(&stat) && u64::try_from(stat.st_size) == Ok(wanted.size()))
            };
            if !missing && !there() {
                return index;
            }
        }
        entry
    }

    /// Bytes of the files before `entry` that did not fail.
    fn size_before(&self, entry: u32) -> u64 {
        let failed = self.failed.iter().filter(|(index, _)| *index < entry);
        let failed: u64 = failed.filter_map(|(index, _)| Some(self.manifest.get(*index)?.size())).sum();
        let all: u64 = self.manifest.entries().iter().take(entry as usize).map(crate::Entry::size).sum();
        all.saturating_sub(failed)
    }

    /// What is there of the file that was on its way, if it is what was recorded; otherwise it comes anew.
    fn look_again(
        &self,
        offset: u64,
        prefix: crate::Hash,
        keep_going: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Option<Current>, IncomingError> {
        let failed = |doing| disk_error(&self.folder, doing);
        let mut file = match disk::open_to_write(&self.files, &self.file_name()) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("could not go on with a part")(error)),
        };
        match disk::hash_prefix(&mut file, offset, keep_going) {
            Ok(hasher) if hasher.finalize() == prefix.0 => {
                file.set_len(offset).map_err(failed("could not go on with a part"))?;
                // A disk that is full now will say so when it is written to.
                let _room = disk::reserve(&file, self.size());
                Ok(Some(Current { file, hasher, written: offset }))
            }
            Ok(_) | Err(Unhashed::Short) => Ok(None),
            Err(Unhashed::Cancelled) => Err(IncomingError::Cancelled),
            Err(Unhashed::Failed(error)) => Err(failed("could not read a part")(error)),
        }
    }
}

fn disk_error(folder: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> IncomingError {
    let folder = folder.to_owned();
    move |source| IncomingError::Disk { folder, doing, source }
}

/// A folder that only we may look into, made if nothing is there.
fn own_folder(folder: &Path, parent: &OwnedFd, name: &str) -> Result<OwnedFd, IncomingError> {
    let tampered = |what| IncomingError::Tampered { folder: folder.to_owned(), what };
    let own = match disk::make_child(parent, name.as_ref()) {
        Ok(own) => own,
        Err(error) if disk::is_no_folder(&error) => {
            return Err(tampered("the place of the hidden folder is taken"));
        }
        Err(error) => return Err(disk_error(folder, "could not create a folder")(error)),
    };
    let stat =
        rustix::fs::fstat(&own).map_err(|error| disk_error(folder, "could not look at a folder")(error.into()))?;
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(tampered("the hidden folder is somebody else's"));
    }
    disk::set_mode(&own, 0o700).map_err(disk_error(folder, "could not close a folder to others"))?;
    Ok(own)
}

/// Whether the folder's file system has room for all files, each in blocks of its own, and for their names.
fn check_room(folder: &Path, target: &OwnedFd, manifest: &Manifest) -> Result<(), IncomingError> {
    let space = disk::space(target).map_err(disk_error(folder, "could not look for room"))?;
    let blocks = |bytes: u64| bytes.div_ceil(space.block).saturating_mul(space.block);
    let files = manifest.entries().iter().map(|entry| if entry.is_file() { blocks(entry.size()) } else { space.block });
    let needed = files.fold(0, u64::saturating_add);
    let available = space.available;
    if needed > available {
        let folder = folder.to_owned();
        return Err(IncomingError::NoRoom { folder, needed, available, missing: needed - available });
    }
    let entries = u64::from(manifest.len()) + OWN_ENTRIES;
    match space.inodes {
        Some(inodes) if inodes < entries => {
            Err(IncomingError::NoInodes { folder: folder.to_owned(), needed: entries - inodes })
        }
        _ => Ok(()),
    }
}
