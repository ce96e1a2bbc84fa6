//! What a transfer holds: every folder and file with its name, size, time and permissions, and how that list is written
//! and read. Names in it are what the sender says; what they become here is [`Layout`](crate::Layout)'s.
//!
//! A folder stands before what is in it, so an entry needs only its own name and how deep it is. No path is ever read
//! from a peer.

use crate::error::ManifestError;
use crate::limits::{MAX_BYTES, MAX_DEPTH, MAX_ENTRIES, MAX_MANIFEST, MAX_OFFERED_COMPONENT, MAX_PATH};
use crate::stream::{Hash, u32_at, u64_at};

const MAGIC: [u8; 4] = *b"VFM1";
/// Magic and number of entries.
const HEADER: usize = 8;
/// Type, depth, length of the name.
const ENTRY_HEAD: usize = 4;
/// Seconds, nanoseconds, permissions.
const FOLDER_TAIL: usize = 14;
/// And the size.
const FILE_TAIL: usize = 22;
/// What an entry's parent is at the top.
const TOP: u32 = u32::MAX;
/// Bytes of one piece of an encoded manifest, about.
const PIECE: usize = 32 << 10;

/// Permissions that travel: never setuid, setgid or sticky, and never for others to write.
pub(crate) const SAFE_MODE: u16 = 0o755;

/// When a file was last changed: seconds since 1970-01-01 UTC, and nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Time {
    /// Seconds; negative before 1970.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A folder; the entries that follow one deeper are in it.
    Folder,
    /// A file.
    File {
        /// Its bytes.
        size: u64,
    },
}

/// A folder or a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    parent: u32,
    depth: u8,
    mode: u16,
    name: Box<str>,
    /// What it is.
    pub kind: Kind,
    /// When it was last changed.
    pub modified: Time,
}

impl Entry {
    /// The folder it is in, by its place in the manifest; none at the top.
    pub fn parent(&self) -> Option<u32> {
        (self.parent != TOP).then_some(self.parent)
    }

    /// In how many folders it is.
    pub fn depth(&self) -> usize {
        usize::from(self.depth)
    }

    /// Its name as the sender says: to be shown through [`display`](crate::display) only, and never a path.
    pub fn offered_name(&self) -> &str {
        &self.name
    }

    /// Its permissions, `rwxr-xr-x` at most; a folder's owner may always do everything.
    pub fn mode(&self) -> u16 {
        self.mode
    }

    /// Bytes of the file; 0 for a folder.
    pub fn size(&self) -> u64 {
        match self.kind {
            Kind::Folder => 0,
            Kind::File { size } => size,
        }
    }

    /// Whether it is a file.
    pub fn is_file(&self) -> bool {
        matches!(self.kind, Kind::File { .. })
    }
}

/// Everything that a transfer holds, in the order in which it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Manifest {
    entries: Vec<Entry>,
    files: u32,
    bytes: u64,
    encoded: u64,
    /// The folders that the last entry is in, and that entry if it is a folder, with the lengths of their paths.
    open: Vec<(u32, usize)>,
}

impl Manifest {
    /// All entries, every folder before what is in it.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many entries there are; at most [`MAX_ENTRIES`].
    pub fn len(&self) -> u32 {
        u32::try_from(self.entries.len()).expect("at most MAX_ENTRIES were added")
    }

    /// Whether there are none, as there are in no manifest that was offered or decoded.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many of them are files.
    pub fn files(&self) -> u32 {
        self.files
    }

    /// How many are folders.
    pub fn folders(&self) -> u32 {
        self.len() - self.files
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The entry at `index`.
    pub fn get(&self, index: u32) -> Option<&Entry> {
        self.entries.get(index as usize)
    }

    /// The first file at or after `index`; the number of entries if there is none.
    pub(crate) fn file_from(&self, index: u32) -> u32 {
        let rest = self.entries.get(index as usize..).unwrap_or_default();
        rest.iter().position(Entry::is_file).map_or(self.len(), |at| index + u32::try_from(at).unwrap_or(u32::MAX))
    }

    /// The path of an entry as the sender says it, with `/`; to be shown only, through [`display`](crate::display).
    pub fn offered_path(&self, index: u32) -> String {
        self.path_by(index, |_, entry| entry.offered_name())
    }

    /// A path from names that are looked up.
    pub(crate) fn path_by<'a>(&'a self, index: u32, name: impl Fn(u32, &'a Entry) -> &'a str) -> String {
        let (mut names, mut at) = (Vec::new(), Some(index));
        while let Some((index, entry)) = at.and_then(|index| Some((index, self.get(index)?))) {
            names.push(name(index, entry));
            at = entry.parent();
        }
        names.reverse();
        names.join("/")
    }

    /// What the transfer is: the hash of the encoded manifest. Two offers with the same one are the same offer.
    pub fn hash(&self) -> Hash {
        let mut hasher = blake3::Hasher::new();
        self.pieces().for_each(|piece| {
            hasher.update(&piece);
        });
        hasher.finalize().into()
    }

    /// Bytes of the encoded manifest.
    pub fn encoded_len(&self) -> u64 {
        self.encoded + HEADER as u64
    }

    /// The encoded manifest, in pieces of at most 64 KiB; `README.md` has the format.
    pub fn pieces(&self) -> Pieces<'_> {
        Pieces { manifest: self, next: None }
    }

    /// Adds an entry, `depth` folders deep in the folders that came last.
    pub(crate) fn add(
        &mut self,
        depth: usize,
        name: Box<str>,
        kind: Kind,
        modified: Time,
        mode: u16,
    ) -> Result<u32, ManifestError> {
        let index = self.len();
        if index >= MAX_ENTRIES {
            return Err(ManifestError::Entries);
        }
        if depth >= MAX_DEPTH || depth > self.open.len() {
            return Err(ManifestError::Depth(index));
        }
        self.open.truncate(depth);
        let (parent, length) = self.open.last().map_or((TOP, 0), |(parent, length)| (*parent, length + 1));
        let length = length + name.len();
        if length > MAX_PATH {
            return Err(ManifestError::Path(index));
        }
        if name.len() > MAX_OFFERED_COMPONENT || modified.nanos >= 1_000_000_000 {
            return Err(ManifestError::Entry(index));
        }
        let (tail, mode) = match kind {
            Kind::Folder => {
                self.open.push((index, length));
                (FOLDER_TAIL, (mode & SAFE_MODE) | 0o700)
            }
            Kind::File { size } => {
                self.bytes =
                    self.bytes.checked_add(size).filter(|sum| *sum <= MAX_BYTES).ok_or(ManifestError::TooLarge)?;
                self.files += 1;
                (FILE_TAIL, mode & SAFE_MODE)
            }
        };
        self.encoded += (ENTRY_HEAD + name.len() + tail) as u64;
        if self.encoded_len() > MAX_MANIFEST {
            return Err(ManifestError::TooLong);
        }
        let depth = u8::try_from(depth).map_err(|_deeper| ManifestError::Depth(index))?;
        self.entries.push(Entry { parent, depth, mode, name, kind, modified });
        Ok(index)
    }
}

/// Pieces of an encoded manifest.
pub struct Pieces<'a> {
    manifest: &'a Manifest,
    next: Option<usize>,
}

impl Iterator for Pieces<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(PIECE + 1_024);
        let first = match self.next {
            Some(first) if first >= self.manifest.entries.len() => return None,
            Some(first) => first,
            None => {
                out.extend(MAGIC);
                out.extend(self.manifest.len().to_be_bytes());
                0
            }
        };
        let mut at = first;
        for entry in &self.manifest.entries[first..] {
            if out.len() >= PIECE {
                break;
            }
            put(entry, &mut out);
            at += 1;
        }
        self.next = Some(at);
        Some(out)
    }
}

fn put(entry: &Entry, out: &mut Vec<u8>) {
    let len = u16::try_from(entry.name.len()).expect("add() has checked the length");
    out.extend([u8::from(entry.is_file()), entry.depth]);
    out.extend(len.to_be_bytes());
    out.extend(entry.name.as_bytes());
    out.extend(entry.modified.seconds.to_be_bytes());
    out.extend(entry.modified.nanos.to_be_bytes());
    out.extend(entry.mode.to_be_bytes());
    if let Kind::File { size } = entry.kind {
        out.extend(size.to_be_bytes());
    }
}

/// Reads an encoded manifest from pieces of any size. It holds what came, and never room for what was only announced.
#[derive(Default)]
pub struct ManifestDecoder {
    manifest: Manifest,
    announced: Option<u32>,
    partial: Vec<u8>,
    broken: Option<ManifestError>,
}

impl ManifestDecoder {
    /// Takes the next piece. After an error all that follows is the same error.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), ManifestError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        self.partial.extend_from_slice(piece);
        let mut at = 0;
        let taken = loop {
            match self.take(at) {
                Ok(0) => break Ok(()),
                Ok(len) => at += len,
                Err(error) => break Err(error),
            }
        };
        self.partial.drain(..at);
        self.broken = taken.err();
        taken
    }

    /// Whether all announced entries have come.
    pub fn is_complete(&self) -> bool {
        self.announced == Some(self.manifest.len())
    }

    /// The manifest, if it has come in full.
    pub fn finish(self) -> Result<Manifest, ManifestError> {
        match self.broken {
            Some(error) => Err(error),
            None if self.is_complete() && self.partial.is_empty() => Ok(self.manifest),
            None => Err(ManifestError::Length),
        }
    }

    /// Takes what begins at `at` if it is all there, and says how long it was; 0 if more must come.
    fn take(&mut self, at: usize) -> Result<usize, ManifestError> {
        let bytes = &self.partial[at..];
        let Some(announced) = self.announced else {
            let known = bytes.len().min(MAGIC.len());
            if bytes[..known] != MAGIC[..known] {
                return Err(ManifestError::NotOne);
            }
            if bytes.len() < HEADER {
                return Ok(0);
            }
            let announced = u32_at(bytes, 4);
            if !(1..=MAX_ENTRIES).contains(&announced) {
                return Err(ManifestError::Entries);
            }
            self.announced = Some(announced);
            return Ok(HEADER);
        };
        if bytes.is_empty() {
            return Ok(0);
        }
        let index = self.manifest.len();
        if index == announced {
            return Err(ManifestError::Length);
        }
        if bytes.len() < ENTRY_HEAD {
            return Ok(0);
        }
        let (tag, depth) = (bytes[0], usize::from(bytes[1]));
        let name_len = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        if tag > 1 || name_len > MAX_OFFERED_COMPONENT {
            return Err(ManifestError::Entry(index));
        }
        let tail_at = ENTRY_HEAD + name_len;
        let len = tail_at + if tag == 1 { FILE_TAIL } else { FOLDER_TAIL };
        let Some(bytes) = bytes.get(..len) else { return Ok(0) };
        let name = str::from_utf8(&bytes[ENTRY_HEAD..tail_at]).map_err(|_error| ManifestError::Entry(index))?;
        let modified = Time { seconds: u64_at(bytes, tail_at).cast_signed(), nanos: u32_at(bytes, tail_at + 8) };
        let mode = u16::from_be_bytes([bytes[tail_at + 12], bytes[tail_at + 13]]);
        let kind = if tag == 1 { Kind::File { size: u64_at(bytes, tail_at + FOLDER_TAIL) } } else { Kind::Folder };
        let added = self.manifest.add(depth, name.into(), kind, modified, mode)?;
        // One list has one encoding, so that its hash names it.
        if self.manifest.entries[added as usize].mode != mode {
            return Err(ManifestError::Entry(index));
        }
        Ok(len)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn arbitrary() -> impl Strategy<Value = Manifest> {
        let entry = (
            0_usize..6,
            "\\PC{1,12}",
            prop::option::of(0_u64..1 << 40),
            any::<i64>(),
            0_u32..1_000_000_000,
            0_u16..0o10000,
        );
        prop::collection::vec(entry, 1..60).prop_map(|entries| {
            let mut manifest = Manifest::default();
            for (depth, name, size, seconds, nanos, mode) in entries {
                let kind = size.map_or(Kind::Folder, |size| Kind::File { size });
                let depth = depth.min(manifest.open.len());
                manifest.add(depth, name.into(), kind, Time { seconds, nanos }, mode).unwrap();
            }
            manifest
        })
    }

    pub(crate) fn encoded(manifest: &Manifest) -> Vec<u8> {
        manifest.pieces().flatten().collect()
    }

    fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Manifest, ManifestError> {
        let mut decoder = ManifestDecoder::default();
        pieces.into_iter().try_for_each(|piece| decoder.push(piece))?;
        decoder.finish()
    }

    proptest! {
        #[test]
        fn it_comes_back_from_pieces_of_any_size(manifest in arbitrary(), size in 1_usize..100) {
            let bytes = encoded(&manifest);
            prop_assert_eq!(bytes.len() as u64, manifest.encoded_len());
            let mut back = decode(bytes.chunks(size)).unwrap();
            prop_assert_eq!(back.hash(), manifest.hash());
            back.open.clone_from(&manifest.open);
            prop_assert_eq!(back, manifest);
        }

        #[test]
        fn a_changed_one_is_refused_or_is_another_one(
            manifest in arbitrary(), at in any::<prop::sample::Index>(), change in 1_u8..=255, cut in any::<bool>()
        ) {
            let mut bytes = encoded(&manifest);
            let at = at.index(bytes.len());
            if cut {
                bytes.truncate(at);
                prop_assert!(decode([bytes.as_slice()]).is_err());
            } else {
                bytes[at] ^= change;
                if let Ok(other) = decode([bytes.as_slice()]) {
                    prop_assert_eq!(encoded(&other), bytes);
                    prop_assert_ne!(other.hash(), manifest.hash());
                }
            }
        }
    }

    #[test]
    fn announced_numbers_cost_nothing() {
        let mut decoder = ManifestDecoder::default();
        decoder.push(b"VFM1").unwrap();
        decoder.push(&MAX_ENTRIES.to_be_bytes()).unwrap();
        assert_eq!(decoder.manifest.entries.capacity(), 0);
        assert_eq!(decoder.finish(), Err(ManifestError::Length));
        for announced in [0, MAX_ENTRIES + 1] {
            assert_eq!(decode([b"VFM1".as_slice(), &announced.to_be_bytes()]), Err(ManifestError::Entries));
        }
        assert_eq!(decode([b"VFM2".as_slice()]), Err(ManifestError::NotOne));
    }

    #[test]
    fn what_the_limits_forbid_is_no_entry() {
        let time = Time::default();
        let mut manifest = Manifest::default();
        assert_eq!(manifest.add(1, "x".into(), Kind::Folder, time, 0), Err(ManifestError::Depth(0)));
        for depth in 0..MAX_DEPTH {
            manifest.add(depth, "d".into(), Kind::Folder, time, 0).unwrap();
        }
        assert_eq!(manifest.add(MAX_DEPTH, "d".into(), Kind::Folder, time, 0), Err(ManifestError::Depth(64)));
        let mut manifest = Manifest::default();
        for depth in 0..5 {
            manifest.add(depth, "n".repeat(MAX_OFFERED_COMPONENT).into(), Kind::Folder, time, 0).unwrap();
        }
        assert_eq!(manifest.add(5, "n".repeat(270).into(), Kind::Folder, time, 0), Err(ManifestError::Path(5)));
        manifest.add(0, "a".into(), Kind::File { size: MAX_BYTES }, time, 0o7777).unwrap();
        assert_eq!(manifest.get(5).unwrap().mode(), 0o755);
        assert_eq!(manifest.add(0, "b".into(), Kind::File { size: 1 }, time, 0), Err(ManifestError::TooLarge));
        let late = Time { seconds: 0, nanos: 1_000_000_000 };
        assert_eq!(manifest.add(0, "b".into(), Kind::Folder, late, 0), Err(ManifestError::Entry(6)));
    }

    #[test]
    fn permissions_have_one_encoding() {
        let mut manifest = Manifest::default();
        manifest.add(0, "a".into(), Kind::Folder, Time::default(), 0o755).unwrap();
        let mut bytes = encoded(&manifest);
        *bytes.last_mut().unwrap() = 0o77;
        assert_eq!(decode([bytes.as_slice()]), Err(ManifestError::Entry(0)));
    }
}
