//! Two desks and two folders, and what is in them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::{Rng, RngExt};
use vernam_files::{
    Acceptance, Desk, FileEnd, Incoming, IncomingError, Manifest, ManifestDecoder, Offer, Outgoing, Pace, Received,
    Rules, TransferId,
};

pub(crate) const ID: TransferId = TransferId([0x5a; 16]);
pub(crate) const PIECE: usize = 64 << 10;

/// Sender's files, receiver's folder and desk, in one temporary folder.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap())
    }

    /// In memory where there is such a place, for tests that flush often and do not ask what the disk does.
    pub(crate) fn in_memory() -> Self {
        Self::at(tempfile::tempdir_in("/dev/shm").or_else(|_none| tempfile::tempdir()).unwrap())
    }

    fn at(folder: tempfile::TempDir) -> Self {
        for name in ["from", "to"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Self { folder }
    }

    pub(crate) fn from(&self, name: &str) -> PathBuf {
        self.folder.path().join("from").join(name)
    }

    pub(crate) fn to(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join("to").join(name)
    }

    pub(crate) fn desk(&self) -> Desk {
        Desk::open(&self.folder.path().join("desk")).unwrap()
    }

    /// A file to send.
    pub(crate) fn put(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.from(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn offer(&self, name: &str) -> Offer {
        Offer::walk(&[self.from(name)]).unwrap()
    }

    pub(crate) fn accept(&self, offer: &Offer, pace: Pace) -> Result<Incoming, IncomingError> {
        accept(&self.desk(), &self.to(""), offer, pace)
    }

    pub(crate) fn reopen(&self, pace: Pace) -> Result<Incoming, IncomingError> {
        Incoming::reopen(&self.desk(), ID, pace, |_| true)
    }

    /// That nothing of the transfer is left but what was received.
    pub(crate) fn assert_tidy(&self) {
        assert!(self.desk().parts().unwrap().is_empty());
        let hidden = fs::read_dir(self.to("")).unwrap().flatten().map(|entry| entry.file_name());
        assert_eq!(hidden.filter(|name| name.to_string_lossy().starts_with(".vernam")).count(), 0);
    }
}

/// The manifest as the peer gets it.
pub(crate) fn sent(offer: &Offer) -> Manifest {
    let mut decoder = ManifestDecoder::default();
    offer.manifest().pieces().for_each(|piece| decoder.push(&piece).unwrap());
    decoder.finish().unwrap()
}

pub(crate) fn accept(desk: &Desk, folder: &Path, offer: &Offer, pace: Pace) -> Result<Incoming, IncomingError> {
    let acceptance = Acceptance { id: ID, folder: folder.to_owned(), rules: Rules::Portable, note: b"a note".to_vec() };
    Incoming::accept(desk, &acceptance, sent(offer), pace)
}

/// Carries at most `pieces` pieces; all ends that either side told of, and whether there are more pieces.
pub(crate) fn carry(
    outgoing: &mut Outgoing,
    incoming: &mut Incoming,
    pieces: usize,
) -> Result<(Vec<FileEnd>, bool), IncomingError> {
    let (mut piece, mut ends) = (Vec::new(), Vec::new());
    for _ in 0..pieces {
        piece.clear();
        if !outgoing.read(&mut piece, PIECE) {
            assert_eq!(ends, outgoing.drain_ends().collect::<Vec<_>>());
            return Ok((ends, false));
        }
        assert!(piece.len() <= PIECE);
        incoming.push(&piece, Duration::ZERO)?;
        ends.extend(incoming.drain_ends());
    }
    Ok((ends, true))
}

/// All of an offer, from the beginning.
pub(crate) fn carry_all(offer: Offer, mut incoming: Incoming) -> (Vec<FileEnd>, Received) {
    let (ends, more) = carry(&mut Outgoing::new(offer), &mut incoming, usize::MAX).unwrap();
    assert!(!more && incoming.is_complete());
    (ends, incoming.finish().unwrap())
}

/// Type and permissions, time, content.
type Found = (u32, (i64, i64), Vec<u8>);

/// Everything in a folder by path.
pub(crate) fn contents(folder: &Path) -> BTreeMap<PathBuf, Found> {
    let (mut found, mut open) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(path) = open.pop() {
        let data = path.symlink_metadata().unwrap();
        let content = if data.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        } else {
            fs::read(&path).unwrap()
        };
        let relative = path.strip_prefix(folder).unwrap().to_owned();
        found.insert(relative, (data.permissions().mode(), (data.mtime(), data.mtime_nsec()), content));
    }
    found
}

/// A folder of some tens of files of all sizes, empty ones and empty folders too, with odd times and permissions.
pub(crate) fn plant(top: &Path, random: &mut impl Rng) {
    fs::create_dir_all(top).unwrap();
    let mut folders = vec![top.to_owned()];
    for number in 0..random.random_range(2..8) {
        let parent = &folders[random.random_range(0..folders.len())];
        let folder = parent.join(format!("folder {number}"));
        fs::create_dir(&folder).unwrap();
        folders.push(folder);
    }
    for number in 0..random.random_range(5..30) {
        let parent = &folders[random.random_range(0..folders.len())];
        let size = match random.random_range(0..5) {
            0 => 0,
            1 => random.random_range(1..200_000),
            _ => random.random_range(1..5_000),
        };
        let mut content = vec![0; size];
        random.fill_bytes(&mut content);
        let path = parent.join(format!("file {number}.bin"));
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode([0o644, 0o600, 0o755][number % 3])).unwrap();
        let time = std::time::UNIX_EPOCH + Duration::new(random.random_range(1..2_000_000_000), 123_456_789);
        fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    }
    for folder in folders {
        let time = std::time::UNIX_EPOCH + Duration::new(random.random_range(1..2_000_000_000), 987_654_321);
        fs::File::open(&folder).unwrap().set_modified(time).unwrap();
    }
}
