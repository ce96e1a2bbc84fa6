//! Pad files: two, made together, each sealed under its person's passphrase; written and read as a stream.
//!
//! ```text
//!   magic 8 │ header length u32 │ pad id 16 │ half u8 │ bytes a half u64 │ Argon2id: KiB u32, passes u32, lanes u32,
//!   salt 16 │ owner: length u8, UTF-8 │ contact: the same │ tag 16              header, authenticated
//!   then the pad's secret of 64 bytes, and the pad in chunks of 65,536 bytes, each followed by its tag of 16
//! ```
//!
//! Numbers are big-endian. AES-256-GCM under a key of this file alone (its salt is random): the nonce is the number of
//! the seal, header 0, secret 1, chunks from 2. So chunks cannot change places, and none can be left out.

use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use vernam_key::SecretBytes;
use zeroize::Zeroizing;

use super::names::SECRET as NAMES_SECRET;
use super::words::{Fingerprint, Hasher};
use super::{Half, MAX_PAD_BYTES, MAX_PAD_NAME, MAX_PASSPHRASE, MIN_PAD_BYTES, MIN_PASSPHRASE, PadId};
use crate::disk::{self, DiskFile};
use crate::store_key::fill_random;
use crate::{Error, Result};

const MAGIC: [u8; 8] = *b"VRNMPAD\x01";
const SALT: usize = 16;
const TAG: usize = 16;
/// Key bytes in a chunk.
const CHUNK: usize = 1 << 16;
/// Hash key and mask of the fingerprint, then the secret of the names.
const SECRET: usize = 32 + NAMES_SECRET;
/// Up to the names.
const FIXED: usize = 8 + 4 + 16 + 1 + 8 + 12 + SALT;
const MAX_HEADER: usize = FIXED + 2 * (1 + MAX_PAD_NAME) + TAG;

/// RFC 9106, section 4, the second recommended choice: 64 MiB, three passes, four lanes.
const RECOMMENDED: Cost = Cost { memory_kib: 64 << 10, passes: 3, lanes: 4 };
/// The dearest choice that a file may make us pay for: the memory of the first recommended choice, 2 GiB.
const MAX_COST: Cost = Cost { memory_kib: 2 << 20, passes: 16, lanes: 16 };

/// What it costs to try one passphrase (Argon2id, RFC 9106).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Cost {
    /// The second recommended choice of RFC 9106: 64 MiB, three passes, four lanes.
    pub const fn recommended() -> Self {
        RECOMMENDED
    }

    /// Next to nothing, for tests that are not about passphrases: whoever finds such a file can guess all day.
    pub const fn for_tests() -> Self {
        Self { memory_kib: 64, passes: 1, lanes: 1 }
    }
}

/// One of the two for whom a pad is made.
pub struct Person<'a> {
    /// Name.
    pub name: &'a str,
    /// What their file is sealed under.
    pub passphrase: &'a SecretBytes,
}

/// A pair of files that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The pad's name.
    pub id: PadId,
    /// The file of each.
    pub paths: [PathBuf; 2],
    /// Bytes of each half.
    pub each_way: u64,
    /// The words that both will see.
    pub fingerprint: Fingerprint,
}

/// Makes a pad of `bytes` bytes, half for each direction, from the operating system's random bytes, as two files in
/// `dir`.
///
/// Both are durable and readable by their owner only when this returns; after an error neither is there. Memory does
/// not grow with the pad.
///
/// # Errors
/// [`Error::PadSize`], [`Error::PadNames`], [`Error::Passphrase`], [`Error::PadExists`], or the disk's.
pub fn make(dir: &Path, people: &[Person<'_>; 2], bytes: u64, cost: Cost) -> Result<Made> {
    let [first, second] = people;
    if !(MIN_PAD_BYTES..=MAX_PAD_BYTES).contains(&bytes) {
        return Err(Error::PadSize { bytes });
    }
    if people.iter().any(|person| !is_name(person.name)) || first.name == second.name {
        return Err(Error::PadNames);
    }
    if !people.iter().all(|person| may_be_passphrase(person.passphrase)) {
        return Err(Error::Passphrase);
    }
    disk::make_dir(dir)?;
    let paths = [(first, second), (second, first)]
        .map(|(owner, contact)| dir.join(format!("{}-with-{}.pad", file_name(owner.name), file_name(contact.name))));
    if let Some(path) = paths.iter().find(|path| path.symlink_metadata().is_ok()) {
        return Err(Error::PadExists { path: path.clone() });
    }
    if paths[0] == paths[1] {
        return Err(Error::PadNames);
    }
    let mut created = Vec::new();
    let made = write_both(&paths, people, (bytes / 2, cost), &mut created);
    if made.is_err() {
        for path in created {
            let _best_effort = disk::erase_and_remove(&path); // the first error tells
        }
    }
    let (id, fingerprint) = made?;
    Ok(Made { id, paths, each_way: bytes / 2, fingerprint })
}

fn write_both(
    paths: &[PathBuf; 2],
    people: &[Person<'_>; 2],
    (each_way, cost): (u64, Cost),
    created: &mut Vec<PathBuf>,
) -> Result<(PadId, Fingerprint)> {
    let mut id = PadId([0; 16]);
    fill_random(&mut id.0)?;
    let [first, second] = people;
    let mut writers = Vec::new();
    for (path, half, names) in [(&paths[0], Half::First, [first, second]), (&paths[1], Half::Second, [second, first])] {
        let file = DiskFile::create_new(path)?;
        created.push(path.clone());
        writers.push(Writer::begin(file, id, half, each_way, cost, names)?);
    }
    let mut secret = Zeroizing::new([0; SECRET]);
    fill_random(secret.as_mut_slice())?;
    for writer in &mut writers {
        writer.write(secret.as_slice())?;
    }
    let mut hasher = Hasher::new(id, &*secret);
    let mut chunk = Zeroizing::new(vec![0; CHUNK]);
    let mut left = each_way * 2;
    while left > 0 {
        let now = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
        fill_random(&mut chunk[..now])?;
        hasher.update(&chunk[..now]);
        for writer in &mut writers {
            writer.write(&chunk[..now])?;
        }
        left -= now as u64;
    }
    for writer in writers {
        writer.file.sync()?;
    }
    for path in paths {
        disk::sync_dir(disk::parent(path))?;
    }
    Ok((id, hasher.finish()))
}

struct Writer {
    file: DiskFile,
    key: LessSafeKey,
    at: u64,
    seals: u64,
    sealed: Vec<u8>,
}

impl Writer {
    fn begin(
        file: DiskFile,
        id: PadId,
        half: Half,
        each_way: u64,
        cost: Cost,
        [owner, contact]: [&Person<'_>; 2],
    ) -> Result<Self> {
        let mut salt = [0; SALT];
        fill_random(&mut salt)?;
        let key = stretch(owner.passphrase, &salt, cost)?;
        let mut header = MAGIC.to_vec();
        header.extend([0; 4]);
        header.extend(id.0);
        header.push(half.code());
        header.extend(each_way.to_be_bytes());
        header.extend([cost.memory_kib, cost.passes, cost.lanes].iter().flat_map(|number| number.to_be_bytes()));
        header.extend(salt);
        for name in [owner.name, contact.name] {
            header.push(u8::try_from(name.len()).expect("a name has at most MAX_PAD_NAME bytes"));
            header.extend(name.as_bytes());
        }
        let len = u32::try_from(header.len() + TAG).expect("at most MAX_HEADER");
        header[8..12].copy_from_slice(&len.to_be_bytes());
        let tag = key
            .seal_in_place_separate_tag(nonce(0), Aad::from(&header), &mut [])
            .expect("a header is far shorter than AES-GCM's limit");
        header.extend(tag.as_ref());

        file.write_at(&header, 0)?;
        Ok(Self { file, key, at: u64::from(len), seals: 1, sealed: Vec::with_capacity(CHUNK + TAG) })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.sealed.clear();
        self.sealed.extend_from_slice(bytes);
        self.key
            .seal_in_place_append_tag(nonce(self.seals), Aad::empty(), &mut self.sealed)
            .expect("a chunk is far shorter than AES-GCM's limit");
        self.file.write_at(&self.sealed, self.at)?;
        self.at += self.sealed.len() as u64;
        self.seals += 1;
        Ok(())
    }
}

/// A pad file whose header was read, and not yet proved genuine.
pub struct LockedPad {
    file: DiskFile,
    header: Vec<u8>,
    said: Said,
}

struct Said {
    id: PadId,
    half: Half,
    each_way: u64,
    cost: Cost,
    salt: [u8; SALT],
    owner: String,
    contact: String,
}

/// A pad file that was opened with its passphrase; gives its bytes in order.
pub struct PadReader {
    file: DiskFile,
    key: LessSafeKey,
    said: Said,
    secret: SecretBytes,
    hasher: Hasher,
    at: u64,
    seals: u64,
    left: u64,
}

impl LockedPad {
    /// Opens the file at `path` as far as that goes without its passphrase.
    ///
    /// # Errors
    /// [`Error::Damaged`] where it is no pad file or was cut off, or the disk's.
    pub fn open(path: &Path) -> Result<Self> {
        let file = DiskFile::open(path)?;
        let what = "it is no pad file, or not whole; copy it again from where it was made";
        let no_pad = || Error::damaged(path, what);
        let mut header = vec![0; MAX_HEADER];
        file.read_at(&mut header, 0)?;
        let len = header[8..12].iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
        if header[..8] != MAGIC || !(FIXED..=MAX_HEADER).contains(&len) {
            return Err(no_pad());
        }
        header.truncate(len);
        let said = parse(&header).ok_or_else(no_pad)?;
        let pad = said.each_way * 2;
        let whole = len as u64 + (SECRET + TAG) as u64 + pad + pad.div_ceil(CHUNK as u64) * TAG as u64;
        if file.len()? != whole {
            return Err(no_pad());
        }
        Ok(Self { file, header, said })
    }

    /// Whose passphrase opens it, as it says.
    pub fn owner(&self) -> &str {
        &self.said.owner
    }

    /// Opens it.
    ///
    /// # Errors
    /// [`Error::PadLocked`] for another passphrase or an altered header, [`Error::Passphrase`] for one that no pad has,
    /// or the disk's.
    pub fn unlock(self, passphrase: &SecretBytes) -> Result<PadReader> {
        if !may_be_passphrase(passphrase) {
            return Err(Error::Passphrase);
        }
        let Self { file, header, said } = self;
        let locked = || Error::PadLocked { path: file.path().to_owned() };
        let key = stretch(passphrase, &said.salt, said.cost)?;
        let (body, tag) = header.split_at(header.len() - TAG);
        let mut tag = tag.to_vec();
        key.open_in_place(nonce(0), Aad::from(body), &mut tag).map_err(|_unspecified| locked())?;
        let at = header.len() as u64;
        let left = said.each_way * 2;
        let mut secret = Zeroizing::new(vec![0; SECRET + TAG]);
        file.read_at(&mut secret, at)?;
        let opened = key.open_in_place(nonce(1), Aad::empty(), &mut secret).map_err(|_unspecified| altered(&file))?;
        let hasher = Hasher::new(said.id, opened);
        let secret = SecretBytes::copy_of(&opened[32..]);
        let at = at + (SECRET + TAG) as u64;
        Ok(PadReader { file, key, said, secret, hasher, at, seals: 2, left })
    }
}

impl PadReader {
    /// The pad's name.
    pub fn id(&self) -> PadId {
        self.said.id
    }

    /// For whom the file is.
    pub fn owner(&self) -> &str {
        &self.said.owner
    }

    /// With whom it is shared.
    pub fn contact(&self) -> &str {
        &self.said.contact
    }

    /// Which half is for what the owner sends.
    pub fn outbound_half(&self) -> Half {
        self.said.half
    }

    /// Bytes of each half.
    pub fn each_way(&self) -> u64 {
        self.said.each_way
    }

    pub(super) fn names_secret(&self) -> SecretBytes {
        SecretBytes::copy_of(self.secret.expose("to name keys after it is imported"))
    }

    /// The next bytes, at most 64 KiB; nothing at the end.
    pub(super) fn next(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>> {
        if self.left == 0 {
            return Ok(None);
        }
        let now = usize::try_from(self.left).map_or(CHUNK, |left| left.min(CHUNK));
        let mut chunk = Zeroizing::new(vec![0; now + TAG]);
        self.file.read_at(&mut chunk, self.at)?;
        let opened = self.key.open_in_place(nonce(self.seals), Aad::empty(), &mut chunk);
        opened.map_err(|_unspecified| altered(&self.file))?;
        chunk.truncate(now);
        self.hasher.update(&chunk);
        self.at += (now + TAG) as u64;
        self.seals += 1;
        self.left -= now as u64;
        Ok(Some(chunk))
    }

    /// The words to compare, once all was read; and what is needed to do away with the file.
    pub(super) fn finish(self) -> (Fingerprint, PathBuf) {
        (self.hasher.finish(), self.file.path().to_owned())
    }
}

fn altered(file: &DiskFile) -> Error {
    Error::damaged(file.path(), "a part of it was altered; copy it again from where it was made")
}

fn parse(header: &[u8]) -> Option<Said> {
    let (id, rest) = header.get(12..header.len() - TAG)?.split_first_chunk()?;
    let (half, rest) = rest.split_first()?;
    let (each_way, rest) = rest.split_first_chunk()?;
    let (cost, rest) = rest.split_first_chunk::<12>()?;
    let (salt, rest) = rest.split_first_chunk()?;
    let (owner, rest) = name(rest)?;
    let (contact, rest) = name(rest)?;
    let mut numbers = cost.as_chunks().0.iter().map(|number| u32::from_be_bytes(*number));
    let cost = Cost { memory_kib: numbers.next()?, passes: numbers.next()?, lanes: numbers.next()? };
    let each_way = u64::from_be_bytes(*each_way);
    let payable =
        cost.memory_kib <= MAX_COST.memory_kib && cost.passes <= MAX_COST.passes && cost.lanes <= MAX_COST.lanes;
    let sound = rest.is_empty() && payable && (1..=MAX_PAD_BYTES / 2).contains(&each_way) && owner != contact;
    sound.then_some(Said { id: PadId(*id), half: Half::of_code(*half)?, each_way, cost, salt: *salt, owner, contact })
}

fn name(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (len, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*len))?;
    let name = str::from_utf8(name).ok().filter(|name| is_name(name))?;
    Some((name.to_owned(), rest))
}

/// Names are shown to people: no control characters.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_PAD_NAME && !name.chars().any(char::is_control)
}

/// A person's name as a part of a file's: whatever is special anywhere becomes `_`.
fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

/// Argon2id itself takes any, even an empty one.
fn may_be_passphrase(passphrase: &SecretBytes) -> bool {
    (MIN_PASSPHRASE..=MAX_PASSPHRASE).contains(&passphrase.len())
}

fn stretch(passphrase: &SecretBytes, salt: &[u8; SALT], cost: Cost) -> Result<LessSafeKey> {
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).map_err(|_error| Error::PadCost)?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.expose("to stretch it into a key"), salt, key.as_mut_slice())
        .map_err(|_error| Error::PadCost)?;
    let key = UnboundKey::new(&AES_256_GCM, key.as_slice()).expect("AES-256 has 32 bytes of key");
    Ok(LessSafeKey::new(key))
}

fn nonce(number: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}
