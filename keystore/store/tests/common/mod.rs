//! What the tests of this crate share.
#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use rand::SeedableRng;
use rand::rngs::StdRng;
use vernam_key::{Direction, File, KeyId, Material, Outbound, SecretBytes};
use vernam_store::{FileStock, Result, StockKey, Store, StoreKey};

/// Random keys of these lengths, the same for the same seed.
pub(crate) fn keys(seed: u64, lens: &[usize]) -> Vec<StockKey> {
    let rng = &mut StdRng::seed_from_u64(seed);
    lens.iter().map(|len| StockKey { id: KeyId::random(rng), bytes: SecretBytes::random(*len, rng) }).collect()
}

/// The bytes of [`keys`].
pub(crate) fn plain(seed: u64, lens: &[usize]) -> Vec<u8> {
    keys(seed, lens).iter().flat_map(|key| key.bytes.expose("test").to_vec()).collect()
}

/// The bytes of taken material.
pub(crate) fn reveal<D: Direction>(material: Material<D>) -> Vec<u8> {
    material.into_seed::<File>().derive(<[u8]>::to_vec)
}

pub(crate) fn store_key(byte: u8) -> StoreKey {
    StoreKey::from_secret(SecretBytes::from_vec(vec![byte; 32])).expect("32 bytes")
}

/// A folder for a store, and beside it room for its anchors.
pub(crate) struct Temp {
    _all: TempDir,
    store: PathBuf,
}

impl Temp {
    /// The store's folder.
    pub(crate) fn path(&self) -> &Path {
        &self.store
    }
}

pub(crate) fn temp() -> Temp {
    let all = tempfile::tempdir().expect("a temporary folder");
    let store = all.path().join("store");
    fs::create_dir(&store).expect("a folder in it");
    Temp { _all: all, store }
}

/// Where the anchors of the store in `dir` are: beside it.
pub(crate) fn anchors(dir: &Path) -> PathBuf {
    dir.parent().expect("a temporary folder is in another").join("anchors")
}

pub(crate) fn try_store(dir: &Path, key: u8) -> Result<Store> {
    Store::open(dir, anchors(dir), store_key(key))
}

pub(crate) fn store(dir: &Path) -> Store {
    try_store(dir, 7).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn try_open(dir: &Path) -> Result<FileStock<Outbound>> {
    try_store(dir, 7)?.outbound("bob")
}

pub(crate) fn open(dir: &Path) -> FileStock<Outbound> {
    try_open(dir).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn stock_dir(dir: &Path) -> PathBuf {
    dir.join("contacts/contact-bob/outbound")
}

/// Every file below `dir`, sorted.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Makes the folder `to` what `from` is.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).expect("it is ours");
    }
    fs::create_dir_all(to).expect("a folder in a temporary one");
    for entry in fs::read_dir(from).expect("it is there") {
        let path = entry.expect("it is there").path();
        let copy = to.join(path.file_name().expect("an entry has a name"));
        if path.is_dir() {
            copy_dir(&path, &copy);
        } else {
            fs::copy(&path, &copy).expect("there is room");
        }
    }
}

/// The segment files of the stock, sorted by position.
pub(crate) fn segments(dir: &Path) -> Vec<PathBuf> {
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "segment");
    files(&stock_dir(dir)).into_iter().filter(is_segment).collect()
}
