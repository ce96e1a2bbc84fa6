//! Writes a stream of content to files aside, each checked against the sender's hash, and remembers how far it is surely
//! on the disk. Giving the files their names is [`finish`](Incoming::finish)'s, at the end.
//!
//! While it comes, a file is called by its number in `.vernam-ID.part/files`; so nothing that a peer chose touches the
//! disk, and what is there after a crash needs no guessing.

mod accept;
mod place;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

pub use self::accept::Acceptance;
pub(crate) use self::accept::part_name;
use crate::desk::Desk;
use crate::disk;
use crate::error::{FrameError, IncomingError};
use crate::journal::{Journal, Record, Stage};
use crate::layout::Layout;
use crate::limits::MAX_UNFLUSHED;
use crate::manifest::Manifest;
use crate::stream::{Failure, FileEnd, Frame, Hash, Parser, ResumePoint, Root, TransferId};

/// Files from this size on have their room kept before the first byte, so that a full disk shows early.
const RESERVE_FROM: u64 = 1 << 20;

/// How often progress is made durable: each costs a flush of the disk, and so much may have to come again after a crash.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// After so many bytes.
    pub bytes: u64,
    /// After so much time.
    pub time: Duration,
}

impl Default for Pace {
    /// 64 MiB, 2 s.
    fn default() -> Self {
        Self { bytes: 64 << 20, time: Duration::from_secs(2) }
    }
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Where what was at the top of the offer is now.
    pub placed: Vec<PathBuf>,
    /// Files that came whole.
    pub files: u32,
    /// Their bytes.
    pub bytes: u64,
    /// Files that did not come, by their entries, and why.
    pub failed: Vec<(u32, Failure)>,
    /// The paths of the first of those as offered, safe to print, and why.
    pub told: Vec<(String, Failure)>,
}

/// A transfer that was accepted and is on its way.
pub struct Incoming {
    desk: Desk,
    id: TransferId,
    folder: PathBuf,
    target: OwnedFd,
    part: OwnedFd,
    part_name: String,
    files: OwnedFd,
    manifest: Manifest,
    layout: Layout,
    journal: Journal,
    pace: Pace,
    /// Permissions that may be given here.
    mask: u16,

    parser: Parser,
    framing: Framing,
    /// Files that came whole, and that failed, since the stream began.
    counts: (u32, u32),
    root: Root,

    /// The file that comes, or will come next; the number of entries if none.
    at: u32,
    /// As much of it as is there.
    current: Option<Current>,
    failed: Vec<(u32, Failure)>,
    ended: Vec<FileEnd>,
    /// Bytes of the files before `at` that came whole.
    complete: u64,

    unflushed: Vec<File>,
    flush_all: bool,
    /// Bytes since the last record of progress, and whether there is anything new at all.
    dirty: u64,
    news: bool,
    recorded: Option<Duration>,
    /// A flush failed: nobody knows what of it is on the disk.
    lost: bool,

    stage: Stage,
    placed: BTreeMap<OsString, OsString>,
}

/// Where in the stream we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Between,
    Content,
    Over,
    /// Something went wrong; the rest of the piece was not taken.
    Broken,
}

/// What a file is called until all are there.
fn name_aside(index: u32) -> String {
    format!("{index:07}")
}

struct Current {
    file: File,
    hasher: blake3::Hasher,
    written: u64,
}

impl Incoming {
    /// Takes the next piece of the stream. `now` is any clock that only moves forward; progress is made durable by it.
    ///
    /// After an error this stream is over: [`Self::pause`], and the sender begins another one at that point.
    pub fn push(&mut self, mut piece: &[u8], now: Duration) -> Result<(), IncomingError> {
        if self.framing == Framing::Broken {
            return Err(IncomingError::Stopped);
        }
        let taken = self.take(&mut piece);
        if taken.is_err() {
            self.framing = Framing::Broken;
        }
        taken?;
        let since = now.saturating_sub(*self.recorded.get_or_insert(now));
        if self.dirty >= self.pace.bytes || (self.news && since >= self.pace.time) {
            self.recorded = Some(now);
            self.checkpoint().inspect_err(|_error| self.framing = Framing::Broken)?;
        }
        Ok(())
    }

    /// Files that came to their end since this was asked last.
    pub fn drain_ends(&mut self) -> impl Iterator<Item = FileEnd> + '_ {
        self.ended.drain(..)
    }

    /// Whether all has come, so that [`Self::finish`] can put it in place.
    pub fn is_complete(&self) -> bool {
        self.framing == Framing::Over
    }

    /// What is received.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What it will be called.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The folder it goes into.
    pub fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// Bytes that have come, of files that did not fail.
    pub fn bytes(&self) -> u64 {
        self.complete + self.current.as_ref().map_or(0, |current| current.written)
    }

    /// What the sender needs to know to go on from here.
    pub fn resume_point(&self) -> ResumePoint {
        let current = self.current.as_ref();
        let prefix = current.map_or_else(|| blake3::hash(b""), |current| current.hasher.finalize());
        ResumePoint { entry: self.at, offset: current.map_or(0, |current| current.written), prefix: prefix.into() }
    }

    /// The stream ended before its time: what is there is made durable, and another stream may begin at the point.
    ///
    /// Fails if the disk could not flush what was written: then take the transfer up again with
    /// [`Incoming::reopen`], which looks at what is really there.
    pub fn pause(&mut self) -> Result<ResumePoint, IncomingError> {
        match self.checkpoint() {
            // Progress that is not remembered costs only time, and only after a crash.
            Ok(()) | Err(IncomingError::Desk(_)) => {}
            Err(error) => return Err(error),
        }
        self.parser = Parser::default();
        if self.framing != Framing::Over {
            self.framing = Framing::Between;
        }
        (self.counts, self.root) = ((0, 0), Root::default());
        Ok(self.resume_point())
    }

    /// Bytes of room that the rest of the transfer lacks; 0 if it can go on.
    pub fn missing_room(&self) -> Result<u64, IncomingError> {
        let space = disk::space(&self.target).map_err(|error| self.failed("could not look for room", error))?;
        let rest = self.manifest.entries().get(self.at as usize..).unwrap_or_default();
        let needed: u64 = rest.iter().map(|entry| entry.size().next_multiple_of(space.block)).sum();
        let ours = self.current.as_ref().and_then(|current| rustix::fs::fstat(&current.file).ok());
        let ours = ours.and_then(|stat| u64::try_from(stat.st_blocks).ok()).map_or(0, |blocks| blocks * 512);
        Ok(needed.saturating_sub(ours).saturating_sub(space.available))
    }

    fn take(&mut self, piece: &mut &[u8]) -> Result<(), IncomingError> {
        // The parser is taken out while its frames, which hold nothing of it, are used.
        let mut parser = std::mem::take(&mut self.parser);
        while let Some(frame) = parser.next(piece)? {
            self.frame(frame)?;
        }
        self.parser = parser;
        Ok(())
    }

    fn frame(&mut self, frame: Frame<'_>) -> Result<(), IncomingError> {
        match (self.framing, frame) {
            (Framing::Between, Frame::Begin { entry, offset }) => self.begin(entry, offset),
            (Framing::Content, Frame::Data(content)) => self.write(content),
            (Framing::Content, Frame::End(hash)) => {
                self.root.file(self.at, Ok(hash));
                self.end(hash)
            }
            (Framing::Content, Frame::Failed(failure)) => {
                self.root.file(self.at, Err(failure));
                self.give_up(failure)
            }
            (Framing::Between, Frame::Done { sent, failed, root }) if self.at == self.manifest.len() => {
                if (sent, failed) != self.counts {
                    return Err(FrameError::Count.into());
                }
                if root != self.root.hash() {
                    return Err(FrameError::Root.into());
                }
                self.framing = Framing::Over;
                Ok(())
            }
            (Framing::Between, Frame::Done { .. }) => Err(FrameError::Count.into()),
            // Another stream, whose sender could not know that all is there.
            (Framing::Over, Frame::Done { sent: 0, failed: 0, root })
                if self.counts == (0, 0) && root == self.root.hash() =>
            {
                Ok(())
            }
            (Framing::Over, _) => Err(FrameError::AfterEnd.into()),
            _ => Err(FrameError::Order.into()),
        }
    }

    fn begin(&mut self, entry: u32, offset: u64) -> Result<(), IncomingError> {
        let there = self.current.as_ref().map_or(0, |current| current.written);
        if entry != self.at || entry >= self.manifest.len() || (offset != there && offset != 0) {
            return Err(FrameError::Begin { entry, offset }.into());
        }
        if offset == 0 {
            // The sender's file is another one than before. What was recorded of the old one will not match its hash.
            self.current = None;
        }
        self.framing = Framing::Content;
        Ok(())
    }

    fn write(&mut self, mut content: &[u8]) -> Result<(), IncomingError> {
        let size = self.size();
        let mut current = self.current()?;
        let outcome = loop {
            if content.is_empty() {
                break Ok(());
            }
            if content.len() as u64 > size - current.written {
                break Err(FrameError::TooMuch(self.at).into());
            }
            match current.file.write(content) {
                Ok(0) => break Err(self.failed("could not write", ErrorKind::WriteZero.into())),
                Ok(written) => {
                    current.hasher.update(&content[..written]);
                    current.written += written as u64;
                    self.dirty += written as u64;
                    self.news = true;
                    content = &content[written..];
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Err(self.full_or_failed(&current, error)),
            }
        };
        self.current = Some(current);
        outcome
    }

    fn end(&mut self, hash: Hash) -> Result<(), IncomingError> {
        let current = self.current()?;
        if current.written != self.size() {
            self.current = Some(current);
            return Err(FrameError::TooLittle(self.at).into());
        }
        if current.hasher.finalize() != hash.0 {
            return self.give_up(Failure::Damaged);
        }
        let entry = &self.manifest.entries()[self.at as usize];
        let dress = disk::set_mode(&current.file, entry.mode() & self.mask)
            .and_then(|()| disk::set_modified(&current.file, entry.modified));
        dress.map_err(|error| self.failed("could not set time and permissions", error))?;
        self.complete += current.written;
        if self.unflushed.len() < MAX_UNFLUSHED {
            self.unflushed.push(current.file);
        } else {
            self.flush_all = true;
        }
        self.counts.0 += 1;
        self.next(Ok(hash));
        Ok(())
    }

    fn give_up(&mut self, failure: Failure) -> Result<(), IncomingError> {
        self.current = None;
        disk::remove_file(&self.files, self.file_name().as_ref())
            .map_err(|error| self.failed("could not remove a file that did not come", error))?;
        self.failed.push((self.at, failure));
        self.journal.append(&Record::Failed { entry: self.at, failure });
        // Damage is seen here: the sender counts the file as sent.
        if failure == Failure::Damaged {
            self.counts.0 += 1;
        } else {
            self.counts.1 += 1;
        }
        self.next(Err(failure));
        Ok(())
    }

    fn next(&mut self, outcome: Result<Hash, Failure>) {
        self.ended.push(FileEnd { entry: self.at, outcome });
        self.at = self.manifest.file_from(self.at + 1);
        self.framing = Framing::Between;
        self.news = true;
    }

    fn size(&self) -> u64 {
        self.manifest.get(self.at).map_or(0, crate::Entry::size)
    }

    /// What the file that comes is called meanwhile.
    fn file_name(&self) -> String {
        name_aside(self.at)
    }

    /// The file that comes, made if nothing of it is there.
    fn current(&mut self) -> Result<Current, IncomingError> {
        if let Some(current) = self.current.take() {
            return Ok(current);
        }
        let (name, size) = (self.file_name(), self.size());
        let file = disk::remove_file(&self.files, name.as_ref())
            .and_then(|()| disk::create(&self.files, &name))
            .map_err(|error| self.full("could not create a file", error))?;
        let current = Current { file, hasher: blake3::Hasher::new(), written: 0 };
        if size >= RESERVE_FROM
            && let Err(error) = disk::reserve(&current.file, size)
        {
            return Err(self.full_or_failed(&current, error));
        }
        Ok(current)
    }

    /// Flushes all that came, and remembers how far that is.
    fn checkpoint(&mut self) -> Result<(), IncomingError> {
        if self.lost {
            return Err(self.failed("could not flush what was received", ErrorKind::Other.into()));
        }
        if !self.news {
            return Ok(());
        }
        let flushed = if self.flush_all {
            disk::flush_all(&self.files)
        } else {
            let closed = self.unflushed.iter().try_for_each(disk::flush);
            let current = self.current.iter().try_for_each(|current| disk::flush(&current.file));
            closed.and(current).and_then(|()| disk::flush(&self.files))
        };
        if let Err(error) = flushed {
            self.lost = true;
            return Err(self.full("could not flush what was received", error));
        }
        self.unflushed.clear();
        (self.flush_all, self.dirty, self.news) = (false, 0, false);
        self.journal.append(&Record::Progress(self.resume_point()));
        Ok(self.journal.sync()?)
    }

    fn failed(&self, doing: &'static str, source: io::Error) -> IncomingError {
        IncomingError::Disk { folder: self.folder.clone(), doing, source }
    }

    fn full(&self, doing: &'static str, error: io::Error) -> IncomingError {
        if disk::is_full(&error) {
            IncomingError::DiskFull { missing: self.missing_room().unwrap_or(0).max(1) }
        } else {
            self.failed(doing, error)
        }
    }

    /// The same while the file that comes is in other hands.
    fn full_or_failed(&self, current: &Current, error: io::Error) -> IncomingError {
        match self.full("could not write", error) {
            IncomingError::DiskFull { missing } => {
                let blocks = rustix::fs::fstat(&current.file).map_or(0, |stat| stat.st_blocks);
                let ours = u64::try_from(blocks).unwrap_or(0) * 512;
                IncomingError::DiskFull { missing: missing.saturating_sub(ours).max(1) }
            }
            other => other,
        }
    }
}
