//! What survives a crash of a transfer that was accepted: what it is, where it goes, and how far it is surely on the
//! disk. Records are appended, each with a checksum, so that a torn end is noticed and cut off. It knows no files but its
//! own.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use crate::error::DeskError;
use crate::limits::{MAX_JOURNAL, MAX_NOTE, MAX_RECORD};
use crate::manifest::{Manifest, ManifestDecoder};
use crate::name::Rules;
use crate::stream::{Failure, Hash, ResumePoint, u32_at};

const MAGIC: [u8; 4] = *b"VFJ1";
/// Length and checksum before a record.
const HEAD: usize = 12;
const ACCEPTED: u8 = 1;
const MANIFEST: u8 = 2;
const SEALED: u8 = 3;
const PROGRESS: u8 = 4;
const FAILED: u8 = 5;
const PLACING: u8 = 6;
const BUILT: u8 = 7;
const PLACED: u8 = 8;

/// One thing to remember.
#[derive(Debug)]
pub(crate) enum Record<'a> {
    /// The person said yes: these rules for names, into this folder.
    Accepted { rules: Rules, note: &'a [u8], folder: &'a Path },
    /// Some of the encoded manifest.
    Manifest(&'a [u8]),
    /// The manifest is complete and has this hash; from here on the acceptance counts.
    Sealed(Hash),
    /// So much is surely on the disk.
    Progress(ResumePoint),
    /// This file does not come.
    Failed { entry: u32, failure: Failure },
    /// All that will come is on the disk; files get their names from here on.
    Placing,
    /// All files have their names below each other; what is at the top goes to its place from here on.
    Built,
    /// What is called `from` in the parts is about to be called `to` in the folder.
    Placed { from: &'a OsStr, to: &'a OsStr },
}

impl Record<'_> {
    fn body(&self) -> Vec<u8> {
        let (kind, parts): (u8, [&[u8]; 2]) = match self {
            Self::Accepted { rules, note, folder } => {
                let note = &note[..note.len().min(MAX_NOTE)];
                let len = u8::try_from(note.len()).expect("MAX_NOTE fits a byte");
                let head = [ACCEPTED, u8::from(*rules == Rules::Native), len];
                return [head.as_slice(), note, folder.as_os_str().as_bytes()].concat();
            }
            Self::Manifest(piece) => (MANIFEST, [piece, &[]]),
            Self::Sealed(hash) => (SEALED, [&hash.0, &[]]),
            Self::Progress(point) => (PROGRESS, [&point.to_bytes(), &[]]),
            Self::Failed { entry, failure } => (FAILED, [&entry.to_be_bytes(), &[failure.code()]]),
            Self::Placing => (PLACING, [&[], &[]]),
            Self::Built => (BUILT, [&[], &[]]),
            Self::Placed { from, to } => {
                // A name is at most 255 bytes on every file system that we write to.
                let len = [u8::try_from(from.len()).unwrap_or(u8::MAX)];
                return [[PLACED].as_slice(), &len, from.as_bytes(), to.as_bytes()].concat();
            }
        };
        [[kind].as_slice(), parts[0], parts[1]].concat()
    }
}

/// How far a transfer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Content comes.
    Receiving,
    /// All of it is on the disk; files get their names.
    Placing,
    /// They have them; what is at the top goes to its place.
    Built,
}

/// What a journal says.
#[derive(Debug)]
pub(crate) struct Remembered {
    pub(crate) rules: Rules,
    /// What the application keeps with it.
    pub(crate) note: Vec<u8>,
    pub(crate) folder: PathBuf,
    pub(crate) manifest: Manifest,
    pub(crate) hash: Hash,
    pub(crate) progress: ResumePoint,
    /// Files before `progress` that do not come.
    pub(crate) failed: Vec<(u32, Failure)>,
    /// Failures since then, which count when progress passes them.
    newly_failed: Vec<(u32, Failure)>,
    pub(crate) stage: Stage,
    /// The last name that each was about to get.
    pub(crate) placed: BTreeMap<OsString, OsString>,
}

/// A journal that is open, and nobody else's meanwhile.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    path: PathBuf,
    /// Records so far; each one's checksum covers its number.
    records: u64,
    /// Bytes that are written in full.
    written: u64,
    /// Records that wait to be written.
    waiting: Vec<u8>,
}

impl Journal {
    /// A new one; there must be none.
    pub(crate) fn create(path: &Path) -> Result<Self, DeskError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = match options.open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(DeskError::Known),
            Err(error) => return Err(failed("could not create", path)(error)),
        };
        lock(&file, path)?;
        Ok(Self { file, path: path.to_owned(), records: 0, written: 0, waiting: MAGIC.to_vec() })
    }

    /// One that is there; what a crash left torn at its end is cut off.
    pub(crate) fn open(path: &Path) -> Result<(Self, Remembered), DeskError> {
        let file = open(path, true)?;
        lock(&file, path)?;
        let (reader, remembered) = replay(&file, path)?;
        file.set_len(reader.good).map_err(failed("could not repair", path))?;
        let journal =
            Self { file, path: path.to_owned(), records: reader.records, written: reader.good, waiting: Vec::new() };
        Ok((journal, remembered))
    }

    /// What it says, without keeping anybody else off.
    pub(crate) fn peek(path: &Path) -> Result<Remembered, DeskError> {
        Ok(replay(&open(path, false)?, path)?.1)
    }

    /// Remembers a record with the next [`Self::write`] or [`Self::sync`].
    pub(crate) fn append(&mut self, record: &Record<'_>) {
        let body = record.body();
        let len = u32::try_from(body.len()).expect("records are at most MAX_RECORD long");
        self.waiting.extend(len.to_be_bytes());
        self.waiting.extend(checksum(self.records, &body));
        self.waiting.extend(body);
        self.records += 1;
    }

    /// Writes what waits. If that fails it still waits, and what was half written is taken back.
    pub(crate) fn write(&mut self) -> Result<(), DeskError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let outcome = self.file.seek(SeekFrom::Start(self.written)).and_then(|_at| self.file.write_all(&self.waiting));
        match outcome {
            Ok(()) => {
                self.written += self.waiting.len() as u64;
                self.waiting.clear();
                Ok(())
            }
            Err(error) => {
                // If that fails as well, the torn end is cut off when the journal is opened next.
                let _torn = self.file.set_len(self.written);
                Err(failed("could not write to", &self.path)(error))
            }
        }
    }

    /// Writes what waits, and returns when it is on the disk.
    pub(crate) fn sync(&mut self) -> Result<(), DeskError> {
        self.write()?;
        self.file.sync_data().map_err(failed("could not flush", &self.path))
    }

    /// Forgets the transfer.
    pub(crate) fn remove(self) -> Result<(), DeskError> {
        let remove = || {
            std::fs::remove_file(&self.path)?;
            self.path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
        };
        remove().map_err(failed("could not remove", &self.path))
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DeskError {
    move |source| DeskError::Io { doing, path: path.to_owned(), source }
}

fn open(path: &Path, write: bool) -> Result<File, DeskError> {
    let no_link = OFlags::NOFOLLOW.bits().cast_signed();
    match OpenOptions::new().read(true).write(write).custom_flags(no_link).open(path) {
        Ok(file) => Ok(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(DeskError::Unknown),
        Err(error) => Err(failed("could not open", path)(error)),
    }
}

fn lock(file: &File, path: &Path) -> Result<(), DeskError> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => Err(DeskError::Busy),
        Err(error) => Err(failed("could not lock", path)(error.into())),
    }
}

fn checksum(number: u64, body: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&number.to_be_bytes());
    hasher.update(body);
    let mut sum = [0; 8];
    sum.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    sum
}

/// Reads records until the end, or until what is torn.
struct Reader {
    from: BufReader<io::Take<File>>,
    records: u64,
    good: u64,
}

impl Reader {
    fn new(file: &File) -> io::Result<Self> {
        let mut file = file.try_clone()?;
        file.rewind()?;
        let mut from = BufReader::with_capacity(MAX_RECORD, file.take(MAX_JOURNAL));
        let good = if fill(&mut from, &mut [0; MAGIC.len()])? { MAGIC.len() as u64 } else { 0 };
        Ok(Self { from, records: 0, good })
    }

    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut head = [0; HEAD];
        if !fill(&mut self.from, &mut head)? {
            return Ok(None);
        }
        let len = u32_at(&head, 0) as usize;
        if len == 0 || len > MAX_RECORD {
            return Ok(None);
        }
        let mut body = vec![0; len];
        if !fill(&mut self.from, &mut body)? || checksum(self.records, &body) != head[4..] {
            return Ok(None);
        }
        self.records += 1;
        self.good += (HEAD + len) as u64;
        Ok(Some(body))
    }
}

/// Whether there was enough to fill it.
fn fill(from: &mut impl Read, into: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(into) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn replay(file: &File, path: &Path) -> Result<(Reader, Remembered), DeskError> {
    let unreadable = || failed("could not read", path);
    let mut reader = Reader::new(file).map_err(unreadable())?;
    let mut accepted = None;
    let mut decoder = ManifestDecoder::default();
    let hash = loop {
        let Some(body) = reader.next().map_err(unreadable())? else { return Err(DeskError::Unknown) };
        let rest = &body[1..];
        match body[0] {
            ACCEPTED => {
                let [rules, note, more @ ..] = rest else { return Err(DeskError::Unknown) };
                let rules = if *rules == 0 { Rules::Portable } else { Rules::Native };
                let (note, folder) = more.split_at_checked(usize::from(*note)).ok_or(DeskError::Unknown)?;
                accepted = Some((rules, note.to_vec(), PathBuf::from(OsString::from_vec(folder.to_vec()))));
            }
            MANIFEST => decoder.push(rest).map_err(|_damaged| DeskError::Unknown)?,
            SEALED => break Hash(rest.try_into().map_err(|_length| DeskError::Unknown)?),
            _ => return Err(DeskError::Unknown),
        }
    };
    let manifest = decoder.finish().map_err(|_damaged| DeskError::Unknown)?;
    let (rules, note, folder) = accepted.ok_or(DeskError::Unknown)?;
    if manifest.hash() != hash {
        return Err(DeskError::Unknown);
    }
    let progress = ResumePoint::start();
    let mut remembered = Remembered {
        rules,
        note,
        folder,
        manifest,
        hash,
        progress,
        failed: Vec::new(),
        newly_failed: Vec::new(),
        stage: Stage::Receiving,
        placed: BTreeMap::new(),
    };
    while let Some(body) = reader.next().map_err(unreadable())? {
        remembered.apply(body[0], &body[1..]);
    }
    Ok((reader, remembered))
}

impl Remembered {
    /// Takes one record in. A record that its checksum vouches for is one that we wrote.
    fn apply(&mut self, kind: u8, rest: &[u8]) {
        match kind {
            PROGRESS => {
                if let Ok(point) = rest.try_into() {
                    self.progress = ResumePoint::from_bytes(point);
                    self.failed.append(&mut self.newly_failed);
                    self.failed.retain(|(entry, _)| *entry < self.progress.entry);
                }
            }
            FAILED => {
                if let Ok([a, b, c, d, code]) = <[u8; 5]>::try_from(rest)
                    && let Some(failure) = Failure::from_code(code)
                {
                    self.newly_failed.push((u32::from_be_bytes([a, b, c, d]), failure));
                }
            }
            PLACING => self.stage = Stage::Placing,
            BUILT => self.stage = Stage::Built,
            PLACED => {
                if let Some((len, names)) = rest.split_first()
                    && let Some((from, to)) = names.split_at_checked(usize::from(*len))
                {
                    self.placed.insert(OsString::from_vec(from.to_vec()), OsString::from_vec(to.to_vec()));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Kind, Time};

    fn written(path: &Path) -> (Vec<u64>, Manifest) {
        let mut manifest = Manifest::default();
        for name in ["a", "b"] {
            manifest.add(0, name.into(), Kind::File { size: 100 }, Time::default(), 0o644).unwrap();
        }
        let mut journal = Journal::create(path).unwrap();
        journal.append(&Record::Accepted { rules: Rules::Native, note: b"aes", folder: Path::new("/somewhere") });
        manifest.pieces().for_each(|piece| journal.append(&Record::Manifest(&piece)));
        journal.append(&Record::Sealed(manifest.hash()));
        let mut ends = Vec::new();
        for offset in [10, 20, 30] {
            journal.sync().unwrap();
            ends.push(journal.written);
            journal.append(&Record::Failed { entry: 0, failure: Failure::Vanished });
            journal.append(&Record::Progress(ResumePoint { entry: 1, offset, prefix: Hash([3; 32]) }));
        }
        journal.sync().unwrap();
        ends.push(journal.written);
        (ends, manifest)
    }

    #[test]
    fn a_torn_end_costs_only_what_is_torn() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("whole");
        let (ends, manifest) = written(&path);
        let whole = std::fs::read(&path).unwrap();
        let torn = folder.path().join("torn");
        for len in 0..=whole.len() {
            std::fs::write(&torn, &whole[..len]).unwrap();
            if (len as u64) < ends[0] {
                assert!(matches!(Journal::open(&torn), Err(DeskError::Unknown)), "{len}");
                continue;
            }
            let (mut journal, remembered) = Journal::open(&torn).unwrap();
            assert_eq!(remembered.manifest.hash(), manifest.hash());
            assert_eq!((remembered.rules, remembered.folder.as_path()), (Rules::Native, Path::new("/somewhere")));
            assert_eq!(remembered.note, b"aes");
            let point = ends.iter().skip(1).filter(|end| len as u64 >= **end).count() as u64 * 10;
            assert_eq!(remembered.progress.offset, point, "{len}");
            // A failure counts with the progress that comes after it.
            assert_eq!(remembered.failed.len() as u64, point / 10, "{len}");
            journal.append(&Record::Placing);
            journal.append(&Record::Placed { from: "a".as_ref(), to: "a (1)".as_ref() });
            journal.sync().unwrap();
            drop(journal);
            let again = Journal::peek(&torn).unwrap();
            assert!(again.stage == Stage::Placing && again.progress.offset == point);
            assert_eq!(again.placed, [("a".into(), "a (1)".into())].into());
        }
    }

    #[test]
    fn a_flipped_bit_costs_what_follows_and_never_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("whole");
        let (ends, _) = written(&path);
        let whole = std::fs::read(&path).unwrap();
        for at in (0..whole.len()).skip(4) {
            let mut bad = whole.clone();
            bad[at] ^= 0x40;
            let damaged = folder.path().join("damaged");
            std::fs::write(&damaged, &bad).unwrap();
            match Journal::peek(&damaged) {
                Ok(remembered) => {
                    let intact = ends.iter().filter(|end| **end <= at as u64).count() as u64 - 1;
                    assert!((intact * 10..=30).contains(&remembered.progress.offset), "{at}");
                    assert!(remembered.failed.len() < 3, "{at}");
                }
                Err(error) => assert!((at as u64) < ends[0] && matches!(error, DeskError::Unknown), "{at}: {error}"),
            }
        }
    }

    /// What follows a damaged record is gone for good, even if what is written instead is as long.
    #[test]
    fn records_behind_a_damaged_one_do_not_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (ends, _) = written(&path);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[usize::try_from(ends[1]).unwrap() + HEAD] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let (mut journal, _) = Journal::open(&path).unwrap();
        journal.append(&Record::Failed { entry: 0, failure: Failure::Longer });
        journal.sync().unwrap();
        drop(journal);
        assert_eq!(Journal::peek(&path).unwrap().progress.offset, 10);
    }

    #[test]
    fn a_failure_that_progress_did_not_pass_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        drop(written(&path));
        let point = |entry| Record::Progress(ResumePoint { entry, offset: 0, prefix: Hash([3; 32]) });
        let failed = |path: &Path| Journal::peek(path).unwrap().failed;
        let before = failed(&path).len();
        let (mut journal, _) = Journal::open(&path).unwrap();
        journal.append(&Record::Failed { entry: 1, failure: Failure::Longer });
        // A crash here; the file comes again, and comes whole.
        journal.append(&point(1));
        journal.append(&point(2));
        journal.sync().unwrap();
        assert_eq!(failed(&path).len(), before);
        // Files before it are missing: failures after them will be told of again.
        journal.append(&point(0));
        journal.sync().unwrap();
        assert_eq!(failed(&path).len(), 0);
    }

    #[test]
    fn only_one_works_on_it_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        written(&path);
        let (held, _) = Journal::open(&path).unwrap();
        assert!(matches!(Journal::open(&path), Err(DeskError::Busy)));
        assert!(matches!(Journal::create(&path), Err(DeskError::Known)));
        drop(held);
        Journal::open(&path).unwrap();
    }
}
