//! The bytes of a recording: key, head, pieces. No file and no thread here.

use std::io::{self, Read};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::{Zeroize, Zeroizing};

use super::{MAX_PASSPHRASE, MAX_PIECES, MIN_PASSPHRASE};
use crate::error::RecordingError;

pub(super) const TAG: usize = 16;
pub(super) const SALT: usize = 16;
pub(super) const HEAD: usize = MAGIC.len() + SALT + TAG;
/// The last byte is the version of all that the module's documentation says.
const MAGIC: [u8; 8] = *b"VRNMREC\x01";
const KEY: usize = 32;

/// RFC 9106, section 4, the second recommended choice.
const MEMORY_KIB: u32 = 64 << 10;
const PASSES: u32 = 3;
const LANES: u32 = 4;

/// The key of one recording.
pub(super) struct Key(LessSafeKey);

/// What a seal is over; the last byte of its nonce.
#[derive(Clone, Copy)]
enum Kind {
    Piece = 0,
    LastPiece = 1,
    Head = 2,
}

impl Key {
    /// Stretches the passphrase: a tenth of a second or more, and 64 MiB for as long.
    pub(super) fn derive(passphrase: &str, salt: &[u8; SALT]) -> Result<Self, RecordingError> {
        if !(MIN_PASSPHRASE..=MAX_PASSPHRASE).contains(&passphrase.len()) {
            return Err(RecordingError::Passphrase { min: MIN_PASSPHRASE, max: MAX_PASSPHRASE });
        }
        let failed = |error: argon2::Error| RecordingError::Stretch { reason: error.to_string() };
        let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(KEY)).map_err(failed)?;
        let mut memory = vec![Block::new(); params.block_count()];
        let mut key = Zeroizing::new([0; KEY]);
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let done = argon2.hash_password_into_with_memory(passphrase.as_bytes(), salt, &mut *key, memory.as_mut_slice());
        memory.zeroize();
        done.map_err(failed)?;
        Ok(Self::from_bytes(&key))
    }

    pub(super) fn from_bytes(key: &[u8; KEY]) -> Self {
        Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("32 bytes are a key of AES-256")))
    }

    fn seal(&self, kind: Kind, number: u32, aad: &[u8], bytes: &mut Vec<u8>) {
        self.0
            .seal_in_place_append_tag(nonce(kind, number), Aad::from(aad), bytes)
            .expect("half a second is far below the limit of AES-GCM");
    }

    /// The plaintext's length; the plaintext is at the beginning of `bytes`.
    fn open(&self, kind: Kind, number: u32, aad: &[u8], bytes: &mut [u8]) -> Option<usize> {
        self.0.open_in_place(nonce(kind, number), Aad::from(aad), bytes).ok().map(|plain| plain.len())
    }
}

fn nonce(kind: Kind, number: u32) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[7..11].copy_from_slice(&number.to_be_bytes());
    nonce[11] = kind as u8;
    Nonce::assume_unique_for_key(nonce)
}

pub(super) fn random_salt() -> Result<[u8; SALT], RecordingError> {
    let mut salt = [0; SALT];
    SystemRandom::new().fill(&mut salt).map_err(|_no_reason_given| RecordingError::NoRandomness)?;
    Ok(salt)
}

/// The first bytes of a recording.
pub(super) fn head(key: &Key, salt: &[u8; SALT]) -> Vec<u8> {
    let mut head = [MAGIC.as_slice(), salt].concat();
    let mut tag = Vec::new();
    key.seal(Kind::Head, 0, &head, &mut tag);
    head.extend(tag);
    head
}

/// Reads the first bytes of a recording, and finds its key.
pub(super) fn read_head(
    file: &mut impl Read,
    derive: impl FnOnce(&[u8; SALT]) -> Result<Key, RecordingError>,
) -> Result<Key, RecordingError> {
    let mut head = [0; HEAD];
    if fill(file, &mut head).map_err(RecordingError::reading)? < HEAD {
        return Err(RecordingError::NotARecording);
    }
    let (known, tag) = head.split_at_mut(HEAD - TAG);
    let (magic, salt) = known.split_at(MAGIC.len());
    if magic[..7] != MAGIC[..7] {
        return Err(RecordingError::NotARecording);
    }
    if magic != MAGIC {
        return Err(RecordingError::Version { found: magic[7] });
    }
    let key = derive(salt.try_into().expect("split at its length"))?;
    match key.open(Kind::Head, 0, known, tag) {
        Some(_) => Ok(key),
        None => Err(RecordingError::WrongPassphrase),
    }
}

/// Seals the pieces of a recording, one after the other.
pub(super) struct Sealer {
    key: Key,
    next: u32,
    /// Bytes of every piece but the last.
    pub(super) piece: usize,
}

impl Sealer {
    /// From the first piece on.
    pub(super) fn new(key: Key, piece: usize) -> Self {
        Self { key, next: 0, piece }
    }

    /// Whether only the last piece has room.
    pub(super) fn is_full(&self) -> bool {
        self.next + 1 >= MAX_PIECES
    }

    /// Encrypts a piece and puts its tag behind it.
    pub(super) fn seal(&mut self, piece: &mut Vec<u8>) {
        debug_assert!(piece.len() == self.piece && !self.is_full());
        self.key.seal(Kind::Piece, self.next, &[], piece);
        self.next += 1;
    }

    /// The same for the last piece.
    pub(super) fn seal_last(self, piece: &mut Vec<u8>) {
        debug_assert!(piece.len() < self.piece);
        self.key.seal(Kind::LastPiece, self.next, &[], piece);
    }
}

/// How the reading of pieces ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ending {
    /// The last piece was not there, or not whole.
    pub(super) cut_short: bool,
    /// Pieces that are silence, because what is in the file is not what was written.
    pub(super) damaged: u32,
}

/// Reads all pieces and gives their plaintext, in order, to `take`.
pub(super) fn read_pieces<E: From<RecordingError>>(
    file: &mut impl Read,
    key: &Key,
    piece: usize,
    mut take: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<Ending, E> {
    let mut buffer = Zeroizing::new(vec![0; piece + TAG]);
    let mut damaged = 0;
    for number in 0..MAX_PIECES {
        let len = fill(file, &mut buffer).map_err(RecordingError::reading)?;
        if len < buffer.len() {
            let plain = key.open(Kind::LastPiece, number, &[], &mut buffer[..len]);
            if let Some(plain) = plain {
                take(&buffer[..plain])?;
            }
            return Ok(Ending { cut_short: plain.is_none(), damaged });
        }
        if key.open(Kind::Piece, number, &[], &mut buffer).is_none() {
            damaged += 1;
            buffer.fill(0);
        }
        take(&buffer[..piece])?;
    }
    Ok(Ending { cut_short: true, damaged })
}

/// Reads until `buffer` is full or the file ends; how many bytes came.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(len) => filled += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
