//! The key under which a store seals everything, and the keys derived from it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use ring::rand::{SecureRandom, SystemRandom};
use ring::{aead, hkdf, hmac};
use vernam_key::SecretBytes;

use crate::{Error, Result, disk};

const LEN: usize = 32;

// Every label of a key derivation in this crate, HKDF-SHA256 (RFC 5869). The scope that follows has no control bytes.
const SALT: &[u8] = b"vernam-store 1";
const LABEL_STORE: &[u8] = b"store\0";
const LABEL_CURSOR: &[u8] = b"cursor\0";
const LABEL_SEGMENT: &[u8] = b"segment\0";
const LABEL_ANCHOR: &[u8] = b"anchor\0";
const LABEL_PAD: &[u8] = b"pad\0";
const LABEL_BESIDE: &[u8] = b"beside\0";

/// The 32 secret bytes that a store is sealed under. Whoever has them and the files has the keys in stock.
pub struct StoreKey(SecretBytes);

impl StoreKey {
    /// Takes 32 bytes of full entropy, such as a key from the system's keyring; `None` if it is another number.
    pub fn from_secret(bytes: SecretBytes) -> Option<Self> {
        (bytes.len() == LEN).then_some(Self(bytes))
    }

    /// Reads the key from the file at `path`, or makes one there that only the owner can read (mode 0600).
    ///
    /// # Errors
    /// [`Error::KeyFileMode`] where others may read it, [`Error::KeyFileLength`] where it is no key, or the disk's.
    pub fn load_or_create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        match File::open(path) {
            Ok(file) => Self::load(file, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::create(path),
            Err(error) => Err(Error::io("open the store key", path)(error)),
        }
    }

    fn load(mut file: File, path: &Path) -> Result<Self> {
        let metadata = file.metadata().map_err(Error::io("look at", path))?;
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(Error::KeyFileMode { path: path.to_owned(), mode });
        }
        if metadata.len() != LEN as u64 {
            return Err(Error::KeyFileLength { path: path.to_owned(), found: metadata.len() });
        }
        let mut key = SecretBytes::from_vec(vec![0; LEN]);
        file.read_exact(key.expose_mut("to read it from its file")).map_err(Error::io("read", path))?;
        Ok(Self(key))
    }

    /// Writes a new key beside `path` and links it there, which fails if another program was faster.
    fn create(path: &Path) -> Result<Self> {
        let mut key = SecretBytes::from_vec(vec![0; LEN]);
        fill_random(key.expose_mut("to make it"))?;
        disk::make_dir(disk::parent(path))?;
        let mut suffix = [0; 8];
        fill_random(&mut suffix)?;
        let unfinished = path.with_added_extension(format!("{:016x}", u64::from_be_bytes(suffix)));

        let mut options = OpenOptions::new();
        let options = options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(&unfinished).map_err(Error::io("create", &unfinished))?;
        let linked = file
            .write_all(key.expose("to keep it in its file"))
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::hard_link(&unfinished, path));
        fs::remove_file(&unfinished).map_err(Error::io("remove", &unfinished))?;
        match linked {
            Ok(()) => disk::sync_dir(disk::parent(path)).map(|()| Self(key)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Self::load(File::open(path).map_err(Error::io("open the store key", path))?, path)
            }
            Err(error) => Err(Error::io("write the store key", path)(error)),
        }
    }

    /// 32 bytes under which something beside the store is sealed, such as a person's history of calls. `purpose` names
    /// it: other purposes have other keys, and none of them is a key of the store.
    pub fn beside(&self, purpose: &str) -> SecretBytes {
        struct Length;
        impl hkdf::KeyType for Length {
            fn len(&self) -> usize {
                LEN
            }
        }
        let info = [LABEL_BESIDE, purpose.as_bytes()];
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(self.0.expose("to derive a key beside the store's"));
        let okm = prk.expand(&info, Length).expect("one key is far shorter than HKDF's limit");
        let mut key = SecretBytes::from_vec(vec![0; LEN]);
        okm.fill(key.expose_mut("to fill it")).expect("it has the length that was asked for");
        key
    }

    /// Under which a store recognises its own key.
    pub(crate) fn store_mac(&self) -> hmac::Key {
        self.derive(&[LABEL_STORE], hmac::HMAC_SHA256)
    }

    /// Authenticates the anchors of the store `id`.
    pub(crate) fn anchor_mac(&self, id: &[u8; 16]) -> hmac::Key {
        self.derive(&[LABEL_ANCHOR, id], hmac::HMAC_SHA256)
    }

    /// Seals what is kept of the imported pad `id`.
    pub(crate) fn pad(&self, id: &[u8; 16]) -> aead::LessSafeKey {
        aead::LessSafeKey::new(self.derive(&[LABEL_PAD, id], &aead::AES_256_GCM))
    }

    fn derive<L: hkdf::KeyType, K: for<'a> From<hkdf::Okm<'a, L>>>(&self, info: &[&[u8]], kind: L) -> K {
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(self.0.expose("to derive the store's keys"));
        K::from(prk.expand(info, kind).expect("one key is far shorter than HKDF's limit"))
    }
}

/// The keys of one stock. They are derived anew for each use, so that none lies about in memory between uses.
#[derive(Clone)]
pub(crate) struct Keyring {
    pub(crate) store_key: Arc<StoreKey>,
    /// The contact's folder and the direction, so that no file opens in the place of another stock's.
    pub(crate) scope: String,
}

impl Keyring {
    /// Authenticates the cursor.
    pub(crate) fn cursor(&self) -> hmac::Key {
        self.store_key.derive(&[LABEL_CURSOR, self.scope.as_bytes()], hmac::HMAC_SHA256)
    }

    /// Seals one segment: as each has its own, random nonces stay far below the limit of AES-GCM.
    pub(crate) fn segment(&self, id: &[u8; 16]) -> aead::LessSafeKey {
        let info = [LABEL_SEGMENT, self.scope.as_bytes(), b"\0", id];
        aead::LessSafeKey::new(self.store_key.derive(&info, &aead::AES_256_GCM))
    }
}

/// Fresh bytes from the operating system.
pub(crate) fn fill_random(bytes: &mut [u8]) -> Result<()> {
    SystemRandom::new().fill(bytes).map_err(|_unspecified| Error::Randomness)
}
