//! What we offer: the files and folders that a person named, walked once, without following a link inside them. It reads
//! names and properties; contents are [`Outgoing`](crate::Outgoing)'s.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat, fstat};

use crate::disk;
use crate::error::{ManifestError, OfferError};
use crate::limits::{MAX_ENTRIES, MAX_NOTE, MAX_TOLD};
use crate::manifest::{Entry, Kind, Manifest, ManifestDecoder};
use crate::name;
use crate::stream::u32_at;

const MAGIC: [u8; 4] = *b"VFO1";

/// Files and folders of ours, and where they are.
#[derive(Debug, Default)]
pub struct Offer {
    manifest: Manifest,
    /// Where the entries at the top are, links resolved.
    roots: BTreeMap<u32, PathBuf>,
    /// Names on the disk of entries that are offered under another one.
    local: BTreeMap<u32, OsString>,
    /// Device and inode of each entry; empty if the offer was kept and loaded.
    identities: Vec<(u64, u64)>,
    left_out: Vec<LeftOut>,
    left_out_count: u64,
}

/// Something that is not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub kind: SkippedKind,
}

/// What is not sent when it is found in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SkippedKind {
    /// A symbolic link.
    Link,
    /// A socket.
    Socket,
    /// A pipe with a name.
    Pipe,
    /// A device, or something else that is no file.
    Device,
}

impl Offer {
    /// Looks at files and folders, in folders too, and checks that each can be read. What a person names may be a link
    /// to what they mean; links inside folders are left out, and so is all that is neither file nor folder.
    pub fn walk(paths: &[PathBuf]) -> Result<Self, OfferError> {
        let mut tops = Vec::new();
        for path in paths {
            let unreadable = |source| OfferError::Unreadable { path: path.clone(), source };
            let real = path.canonicalize().map_err(unreadable)?;
            let named = path.file_name().or_else(|| real.file_name());
            let offered = name::offered(named.ok_or_else(|| OfferError::Nameless(path.clone()))?, true);
            tops.push((offered, real));
        }
        tops.sort();
        let (mut offer, mut taken) = (Self::default(), BTreeSet::new());
        for (offered, real) in tops {
            let folder = real.is_dir();
            let numbers = (0..).map(|number| name::numbered(&offered, number, folder));
            let unique = numbers.into_iter().find(|name| !taken.contains(name)).expect("finitely many are taken");
            taken.insert(unique.clone());
            offer.top(&unique, &real)?;
        }
        if offer.manifest.is_empty() { Err(OfferError::Nothing) } else { Ok(offer) }
    }

    /// What the peer is told.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What was left out; the first [`MAX_TOLD`] of it.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// How much was left out.
    pub fn left_out_count(&self) -> u64 {
        self.left_out_count
    }

    /// Where an entry is on our disk.
    pub fn path(&self, index: u32) -> PathBuf {
        let (mut names, mut at) = (Vec::new(), index);
        while let Some(parent) = self.manifest.get(at).and_then(Entry::parent) {
            names.push(self.local_name(at));
            at = parent;
        }
        let mut path = self.roots.get(&at).cloned().unwrap_or_default();
        path.extend(names.iter().rev());
        path
    }

    fn local_name(&self, index: u32) -> &OsStr {
        let offered = || self.manifest.get(index).map_or("", Entry::offered_name).as_ref();
        self.local.get(&index).map_or_else(offered, OsString::as_os_str)
    }

    /// Whether this is the file that was walked, as far as that is known.
    pub(crate) fn is_same(&self, index: u32, stat: &Stat) -> bool {
        self.identities.get(index as usize).is_none_or(|identity| *identity == (stat.st_dev, stat.st_ino))
    }

    fn top(&mut self, offered: &str, real: &Path) -> Result<(), OfferError> {
        let unreadable = |source| OfferError::Unreadable { path: real.to_owned(), source };
        let Some((parent, local)) = real.parent().zip(real.file_name()) else {
            return Err(OfferError::Nameless(real.to_owned()));
        };
        let parent = disk::open_folder(parent).map_err(unreadable)?;
        let stat = disk::look(&parent, local).map_err(unreadable)?;
        if !disk::is_file(&stat) && !disk::is_folder(&stat) {
            return Err(OfferError::Neither(real.to_owned()));
        }
        self.roots.insert(self.manifest.len(), real.to_owned());
        self.entry(&parent, local, offered, 0, &mut real.to_owned())
    }

    /// Adds what is called `local` in `parent`, and all in it. `path` is for messages.
    fn entry(
        &mut self,
        parent: &OwnedFd,
        local: &OsStr,
        offered: &str,
        depth: usize,
        path: &mut PathBuf,
    ) -> Result<(), OfferError> {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            |source| OfferError::Unreadable { path, source }
        };
        let stat = disk::look(parent, local).map_err(unreadable(path))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let file = disk::open_to_read(parent, local).map_err(unreadable(path))?;
                let stat = fstat(&file).map_err(|error| unreadable(path)(error.into()))?;
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                self.add(local, offered, depth, Kind::File { size }, &stat, path)
            }
            FileType::Directory => {
                let folder = disk::open_child(parent, local).map_err(unreadable(path))?;
                let stat = fstat(&folder).map_err(|error| unreadable(path)(error.into()))?;
                self.add(local, offered, depth, Kind::Folder, &stat, path)?;
                for name in disk::names(&folder, MAX_ENTRIES as usize).map_err(unreadable(path))? {
                    path.push(&*name);
                    self.entry(&folder, &name, &name::offered(&name, false), depth + 1, path)?;
                    path.pop();
                }
                Ok(())
            }
            other => {
                let kind = match other {
                    FileType::Symlink => SkippedKind::Link,
                    FileType::Socket => SkippedKind::Socket,
                    FileType::Fifo => SkippedKind::Pipe,
                    _ => SkippedKind::Device,
                };
                self.left_out_count += 1;
                if self.left_out.len() < MAX_TOLD {
                    self.left_out.push(LeftOut { path: path.clone(), kind });
                }
                Ok(())
            }
        }
    }

    fn add(
        &mut self,
        local: &OsStr,
        offered: &str,
        depth: usize,
        kind: Kind,
        stat: &Stat,
        path: &Path,
    ) -> Result<(), OfferError> {
        let mode = u16::try_from(stat.st_mode & 0o7777).expect("twelve bits");
        let index = self
            .manifest
            .add(depth, offered.into(), kind, disk::modified(stat), mode)
            .map_err(|source| OfferError::Limit { path: path.to_owned(), source })?;
        self.identities.push((stat.st_dev, stat.st_ino));
        if depth > 0 && local != OsStr::new(offered) {
            self.local.insert(index, local.to_owned());
        }
        Ok(())
    }

    /// The offer as bytes, to be kept until the transfer is over, so that it survives us.
    pub(crate) fn to_bytes(&self, note: &[u8]) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        let note = &note[..note.len().min(MAX_NOTE)];
        out.push(u8::try_from(note.len()).expect("MAX_NOTE fits a byte"));
        out.extend(note);
        put_texts(&mut out, self.roots.iter().map(|(index, path)| (*index, path.as_os_str())));
        put_texts(&mut out, self.local.iter().map(|(index, name)| (*index, name.as_os_str())));
        self.manifest.pieces().for_each(|piece| out.extend(piece));
        out.extend(blake3::hash(&out).as_bytes());
        out
    }

    /// From the bytes that were kept, and the application's own.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<(Self, Vec<u8>), OfferError> {
        let (body, sum) = bytes.split_last_chunk::<32>().ok_or(OfferError::Damaged)?;
        if blake3::hash(body) != *sum {
            return Err(OfferError::Damaged);
        }
        let (len, rest) =
            body.strip_prefix(MAGIC.as_slice()).and_then(<[u8]>::split_first).ok_or(OfferError::Damaged)?;
        let (note, mut rest) = rest.split_at_checked(usize::from(*len)).ok_or(OfferError::Damaged)?;
        let roots = take_texts(&mut rest).ok_or(OfferError::Damaged)?;
        let local = take_texts(&mut rest).ok_or(OfferError::Damaged)?;
        let mut decoder = ManifestDecoder::default();
        let damaged = |_error: ManifestError| OfferError::Damaged;
        decoder.push(rest).map_err(damaged)?;
        let manifest = decoder.finish().map_err(damaged)?;
        let roots = roots.into_iter().map(|(index, path)| (index, path.into())).collect();
        Ok((Self { manifest, roots, local, ..Self::default() }, note.to_vec()))
    }
}

fn put_texts<'a>(out: &mut Vec<u8>, texts: impl ExactSizeIterator<Item = (u32, &'a OsStr)>) {
    let number = |len: usize| u32::try_from(len).expect("a manifest is far shorter than 4 GiB").to_be_bytes();
    out.extend(number(texts.len()));
    for (index, text) in texts {
        out.extend(index.to_be_bytes());
        out.extend(number(text.len()));
        out.extend(text.as_bytes());
    }
}

fn take_texts(from: &mut &[u8]) -> Option<BTreeMap<u32, OsString>> {
    let mut take = |len: usize| {
        let (taken, rest) = from.split_at_checked(len)?;
        *from = rest;
        Some(taken)
    };
    let count = u32_at(take(4)?, 0);
    let mut texts = BTreeMap::new();
    for _ in 0..count {
        let head = take(8)?;
        let text = take(usize::try_from(u32_at(head, 4)).ok()?)?;
        texts.insert(u32_at(head, 0), OsString::from_vec(text.to_vec()));
    }
    Some(texts)
}

/// Opens the entries of an offer one after another, by handles of the folders that they are in.
#[derive(Default)]
pub(crate) struct Opener {
    /// The folders on the way to the last entry; the first is the one that holds the root.
    open: Vec<(Option<u32>, OwnedFd)>,
}

impl Opener {
    /// Opens a file.
    pub(crate) fn file(&mut self, offer: &Offer, index: u32) -> io::Result<File> {
        let (folder, name) = self.folder_of(offer, index)?;
        disk::open_to_read(folder, name)
    }

    /// What stands under a file's name now.
    pub(crate) fn look(&mut self, offer: &Offer, index: u32) -> io::Result<Stat> {
        let (folder, name) = self.folder_of(offer, index)?;
        disk::look(folder, name)
    }

    /// The folder that an entry is in, and its name there.
    fn folder_of<'a>(&'a mut self, offer: &'a Offer, index: u32) -> io::Result<(&'a OwnedFd, &'a OsStr)> {
        let mut way = Vec::new();
        let mut top = index;
        while let Some(parent) = offer.manifest.get(top).and_then(Entry::parent) {
            way.push(parent);
            top = parent;
        }
        let root = offer.roots.get(&top).ok_or(ErrorKind::NotFound)?;
        let (above, root_name) = root.parent().zip(root.file_name()).ok_or(ErrorKind::NotFound)?;
        // All that is on the way from the top, as far as it is open already. A root that is a file has a folder of its own.
        way.reverse();
        let keep = self.open.iter().skip(1).zip(&way).take_while(|((open, _), wanted)| *open == Some(**wanted)).count();
        if keep == 0 {
            self.open = vec![(None, disk::open_folder(above)?)];
        }
        self.open.truncate(keep + 1);
        for folder in &way[keep..] {
            let name = if *folder == top { root_name } else { offer.local_name(*folder) };
            let parent = &self.open.last().expect("the root's folder is open").1;
            let opened = disk::open_child(parent, name)?;
            if !offer.is_same(*folder, &fstat(&opened)?) {
                return Err(ErrorKind::NotADirectory.into());
            }
            self.open.push((Some(*folder), opened));
        }
        let name = if index == top { root_name } else { offer.local_name(index) };
        Ok((&self.open.last().expect("the root's folder is open").1, name))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::limits::MAX_DEPTH;

    fn offered(offer: &Offer) -> Vec<String> {
        (0..offer.manifest().len()).map(|index| offer.manifest().offered_path(index)).collect()
    }

    #[test]
    fn a_tree_is_walked_in_order_without_links_and_pipes() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("tree/b/empty")).unwrap();
        fs::write(path("tree/z"), "zz").unwrap();
        fs::write(path("tree/a"), "").unwrap();
        fs::write(path("tree/b/script"), "#!").unwrap();
        fs::set_permissions(path("tree/b/script"), fs::Permissions::from_mode(0o6777)).unwrap();
        symlink("/etc/passwd", path("tree/link")).unwrap();
        symlink("/etc", path("tree/folder link")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, path("tree/pipe"), FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("tree/socket")).unwrap();
        symlink(path("tree"), path("named")).unwrap();

        let offer = Offer::walk(&[path("tree"), path("named")]).unwrap();
        let below = ["", "/a", "/b", "/b/empty", "/b/script", "/z"];
        let expected: Vec<_> =
            ["named", "tree"].iter().flat_map(|top| below.map(|path| format!("{top}{path}"))).collect();
        assert_eq!(offered(&offer), expected);
        let kinds: BTreeMap<_, _> = offer.left_out().iter().map(|one| (one.path.clone(), one.kind)).collect();
        let skipped = [
            ("link", SkippedKind::Link),
            ("folder link", SkippedKind::Link),
            ("pipe", SkippedKind::Pipe),
            ("socket", SkippedKind::Socket),
        ];
        let real = folder.path().canonicalize().unwrap().join("tree");
        assert_eq!(kinds, skipped.into_iter().map(|(name, kind)| (real.join(name), kind)).collect());
        assert_eq!(offer.left_out_count(), 8);
        let script = offer.manifest().get(4).unwrap();
        assert_eq!((script.mode(), script.size()), (0o755, 2));
        assert_eq!((offer.manifest().bytes(), offer.manifest().files(), offer.manifest().folders()), (8, 6, 6));
        assert_eq!(offer.path(10), real.join("b/script"));

        let (kept, note) = Offer::from_bytes(&offer.to_bytes(b"otp")).unwrap();
        assert_eq!(note, b"otp");
        assert_eq!(kept.manifest().hash(), offer.manifest().hash());
        assert_eq!(kept.path(10), offer.path(10));
        let mut damaged = offer.to_bytes(b"otp");
        damaged[40] ^= 1;
        assert!(matches!(Offer::from_bytes(&damaged), Err(OfferError::Damaged)));
    }

    #[test]
    fn names_that_a_peer_would_refuse_are_offered_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        fs::create_dir_all(tree.join(".. ")).unwrap();
        fs::write(tree.join("a\\b"), "1").unwrap();
        fs::write(tree.join(OsStr::from_bytes(b"caf\xe9")), "2").unwrap();
        fs::write(folder.path().join("C:x"), "3").unwrap();
        let offer = Offer::walk(&[tree.clone(), folder.path().join("C:x")]).unwrap();
        assert_eq!(offered(&offer), ["C_x", "tree", "tree/_.. ", "tree/a_b", "tree/caf\u{fffd}"]);
        assert_eq!(offer.path(4), tree.canonicalize().unwrap().join(OsStr::from_bytes(b"caf\xe9")));
        crate::Layout::new(offer.manifest(), crate::Rules::Portable).unwrap();
        let mut opener = Opener::default();
        for index in [0, 3, 4] {
            opener.file(&offer, index).unwrap();
        }
    }

    #[test]
    fn two_of_one_name_at_the_top_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["x/a.txt", "y/a.txt"] {
            fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
            fs::write(folder.path().join(name), name).unwrap();
        }
        let offer = Offer::walk(&["x/a.txt", "y/a.txt"].map(|name| folder.path().join(name))).unwrap();
        assert_eq!(offered(&offer), ["a.txt", "a (1).txt"]);
    }

    #[test]
    fn what_cannot_be_sent_is_an_error_before_anything_is() {
        let folder = tempfile::tempdir().unwrap();
        let walk = |path: PathBuf| Offer::walk(&[path]).map(|_offer| ());
        assert!(matches!(walk(folder.path().join("missing")), Err(OfferError::Unreadable { .. })));
        assert!(matches!(walk("/".into()), Err(OfferError::Nameless(_))));
        assert!(matches!(walk("/dev/null".into()), Err(OfferError::Neither(_))));
        assert!(matches!(Offer::walk(&[]), Err(OfferError::Nothing)));
        let deep: PathBuf = std::iter::repeat_n("d", MAX_DEPTH).collect();
        fs::create_dir_all(folder.path().join("top").join(deep)).unwrap();
        let error = Offer::walk(&[folder.path().join("top")]).unwrap_err();
        assert!(matches!(error, OfferError::Limit { source: ManifestError::Depth(64), .. }), "{error}");
        if !rustix::process::geteuid().is_root() {
            fs::write(folder.path().join("closed"), "x").unwrap();
            fs::set_permissions(folder.path().join("closed"), fs::Permissions::from_mode(0o0)).unwrap();
            assert!(matches!(walk(folder.path().join("closed")), Err(OfferError::Unreadable { .. })));
        }
    }
}
