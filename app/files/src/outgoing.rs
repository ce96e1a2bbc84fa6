//! Reads the files of an offer into one stream of bytes, many small ones into one piece, and says of each whether it came
//! through as it was offered. A file that fails does not stop the others. It sends nothing itself.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::sync::Arc;

use rustix::fs::{Stat, fstat};
use rustix::io::Errno;

use crate::disk::{self, Unhashed};
use crate::error::ResumeError;
use crate::limits::{MAX_FRAME, MIN_PIECE};
use crate::offer::{Offer, Opener};
use crate::stream::{DATA_HEADER, Failure, FileEnd, Frame, ResumePoint, Root, data_header, stream_len};

/// An offer on its way.
pub struct Outgoing {
    offer: Arc<Offer>,
    opener: Opener,
    /// The file that is read, or the next one.
    at: u32,
    reading: Option<Reading>,
    /// How much of the first file the receiver has, and the hash of it.
    prefix: Option<(u64, blake3::Hasher)>,
    /// Files that were not begun yet, and their bytes.
    coming: (u32, u64),
    done: bool,
    sent: Sent,
    root: Root,
    ended: Vec<FileEnd>,
}

/// What came of it, since the stream began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Sent {
    /// Files that were read to their end.
    pub files: u32,
    /// Files that were not.
    pub failed: u32,
    /// Bytes of content that were read.
    pub bytes: u64,
}

struct Reading {
    file: File,
    stat: Stat,
    hasher: blake3::Hasher,
    left: u64,
}

impl Outgoing {
    /// All of it.
    pub fn new(offer: impl Into<Arc<Offer>>) -> Self {
        let offer = offer.into();
        let coming = (offer.manifest().files(), offer.manifest().bytes());
        Self {
            offer,
            opener: Opener::default(),
            at: 0,
            reading: None,
            prefix: None,
            coming,
            done: false,
            sent: Sent::default(),
            root: Root::default(),
            ended: Vec::new(),
        }
    }

    /// What the receiver does not have yet. What it has of the next file is compared with ours, which reads that much;
    /// if it differs, that file starts anew. `keep_going` is asked now and then, with the bytes compared so far.
    pub fn resume(
        offer: impl Into<Arc<Offer>>,
        point: &ResumePoint,
        mut keep_going: impl FnMut(u64) -> bool,
    ) -> Result<Self, ResumeError> {
        let mut outgoing = Self::new(offer);
        let offer = &outgoing.offer;
        let size = offer.manifest().get(point.entry).map_or(0, crate::Entry::size);
        if point.entry > offer.manifest().len() || point.offset > size {
            return Err(ResumeError::Place);
        }
        outgoing.at = point.entry;
        for entry in offer.manifest().entries().iter().take(point.entry as usize).filter(|entry| entry.is_file()) {
            outgoing.coming = (outgoing.coming.0 - 1, outgoing.coming.1 - entry.size());
        }
        if point.offset > 0
            && let Ok(mut file) = outgoing.opener.file(offer, point.entry)
        {
            match disk::hash_prefix(&mut file, point.offset, &mut keep_going) {
                Ok(hasher) if hasher.finalize() == point.prefix.0 => outgoing.prefix = Some((point.offset, hasher)),
                Err(Unhashed::Cancelled) => return Err(ResumeError::Cancelled),
                // The reading proper will say what is the matter with it.
                Ok(_) | Err(Unhashed::Short | Unhashed::Failed(_)) => {}
            }
        }
        Ok(outgoing)
    }

    /// Appends the next bytes of the stream to `out`: at most `max`, which is at least [`MIN_PIECE`], and nearly as many
    /// unless the end is near. False when all is over, and nothing was appended.
    pub fn read(&mut self, out: &mut Vec<u8>, max: usize) -> bool {
        let (begin, end) = (out.len(), out.len() + max.max(MIN_PIECE));
        // Whatever a step appends fits into what is left, because content leaves room for the end of its file.
        while !self.done && end - out.len() >= MIN_PIECE {
            self.step(out, end);
        }
        out.len() > begin
    }

    /// The most that [`Self::read`] will still append in pieces of `max` bytes; what the receiver has of the next file is
    /// not counted off before it is begun.
    pub fn left(&self, max: usize) -> u64 {
        let (files, bytes) = self.coming;
        let reading = self.reading.as_ref().map_or(0, |reading| reading.left);
        let files = files + u32::from(self.reading.is_some());
        if self.done { 0 } else { stream_len(files, bytes + reading, max) }
    }

    /// Files that came to their end since this was asked last.
    pub fn drain_ends(&mut self) -> impl Iterator<Item = FileEnd> + '_ {
        self.ended.drain(..)
    }

    /// What came of it so far; of all of it when [`Self::read`] has said that it is over.
    pub fn sent(&self) -> Sent {
        self.sent
    }

    fn step(&mut self, out: &mut Vec<u8>, end: usize) {
        match self.reading.take() {
            None => {
                self.at = self.offer.manifest().file_from(self.at);
                if self.at == self.offer.manifest().len() {
                    let Sent { files: sent, failed, .. } = self.sent;
                    Frame::Done { sent, failed, root: self.root.hash() }.put(out);
                    self.done = true;
                    return;
                }
                let prefix = self.prefix.take();
                let offset = prefix.as_ref().map_or(0, |(offset, _)| *offset);
                let size = self.offer.manifest().get(self.at).map_or(0, crate::Entry::size);
                self.coming = (self.coming.0 - 1, self.coming.1 - size);
                Frame::Begin { entry: self.at, offset }.put(out);
                match self.open(prefix) {
                    Ok(reading) => self.reading = Some(reading),
                    Err(failure) => self.end(out, Err(failure)),
                }
            }
            Some(reading) if reading.left == 0 => {
                let outcome = self.check(&reading).map(|()| reading.hasher.finalize().into());
                self.end(out, outcome);
            }
            Some(mut reading) => match reading.read(out, end) {
                Ok(read) => {
                    self.sent.bytes += read;
                    self.reading = Some(reading);
                }
                Err(failure) => self.end(out, Err(failure)),
            },
        }
    }

    fn end(&mut self, out: &mut Vec<u8>, outcome: Result<crate::Hash, Failure>) {
        match outcome {
            Ok(hash) => {
                Frame::End(hash).put(out);
                self.sent.files += 1;
            }
            Err(failure) => {
                Frame::Failed(failure).put(out);
                self.sent.failed += 1;
            }
        }
        self.root.file(self.at, outcome);
        self.ended.push(FileEnd { entry: self.at, outcome });
        self.at += 1;
    }

    /// Opens the next file, which must be the one that was offered.
    fn open(&mut self, prefix: Option<(u64, blake3::Hasher)>) -> Result<Reading, Failure> {
        let mut file = self.opener.file(&self.offer, self.at).map_err(|error| failure(&error))?;
        let stat = fstat(&file).map_err(|error| failure(&error.into()))?;
        let entry = self.offer.manifest().get(self.at).expect("file_from gave it");
        if !disk::is_file(&stat) || !self.offer.is_same(self.at, &stat) {
            return Err(Failure::Changed);
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        match size.cmp(&entry.size()) {
            std::cmp::Ordering::Less => return Err(Failure::Shorter),
            std::cmp::Ordering::Greater => return Err(Failure::Longer),
            std::cmp::Ordering::Equal if disk::modified(&stat) != entry.modified => return Err(Failure::Changed),
            std::cmp::Ordering::Equal => {}
        }
        let (offset, hasher) = prefix.unwrap_or_default();
        if offset > 0 {
            file.seek(SeekFrom::Start(offset)).map_err(|error| failure(&error))?;
        }
        Ok(Reading { file, stat, hasher, left: size - offset })
    }

    /// Whether the file is the same as when it was opened, and still the one of its name.
    fn check(&mut self, reading: &Reading) -> Result<(), Failure> {
        let now = fstat(&reading.file).map_err(|error| failure(&error.into()))?;
        let named = self.opener.look(&self.offer, self.at).map_err(|error| failure(&error))?;
        if now.st_size > reading.stat.st_size {
            return Err(Failure::Longer);
        }
        if now.st_size < reading.stat.st_size {
            return Err(Failure::Shorter);
        }
        let same = disk::modified(&now) == disk::modified(&reading.stat);
        if same && (named.st_dev, named.st_ino) == (now.st_dev, now.st_ino) { Ok(()) } else { Err(Failure::Changed) }
    }
}

impl Reading {
    /// Appends one frame of content that ends at `end` at the latest, and says how many bytes of the file it holds.
    fn read(&mut self, out: &mut Vec<u8>, end: usize) -> Result<u64, Failure> {
        let header = out.len();
        let room = (end - header - DATA_HEADER).min(MAX_FRAME) as u64;
        let len = usize::try_from(self.left.min(room)).expect("no more than the room");
        out.extend(data_header(len));
        let read = (&mut self.file).take(len as u64).read_to_end(out);
        let failed = match read {
            Ok(read) if read == len => None,
            Ok(_) => Some(Failure::Shorter),
            Err(error) => Some(failure(&error)),
        };
        if let Some(failed) = failed {
            out.truncate(header);
            return Err(failed);
        }
        self.hasher.update(&out[header + DATA_HEADER..]);
        self.left -= len as u64;
        Ok(len as u64)
    }
}

fn failure(error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::NotFound => Failure::Vanished,
        ErrorKind::PermissionDenied => Failure::NotPermitted,
        ErrorKind::NotADirectory | ErrorKind::IsADirectory => Failure::Changed,
        _ if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => Failure::Changed,
        _ => Failure::Unreadable,
    }
}
