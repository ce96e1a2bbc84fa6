//! The header of a segment file: which keys it holds and where they stand. Nothing in it is secret, all is sealed.
//!
//! ```text
//!   magic 8 │ header length u32 │ segment id 16 │ start u64 │ keys u32 │ scope length u16 │ scope
//!   │ per key: key_ID 16, length u64 │ zeros to a whole block │ nonce 12 │ tag 16         (big-endian)
//! ```

use std::path::Path;

use ring::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};
use vernam_key::KeyId;

use crate::disk::DiskFile;
use crate::record::RECORD;
use crate::store_key::{Keyring, fill_random};
use crate::{Error, KeySpan, MAX_APPEND_BYTES, MAX_APPEND_KEYS, MAX_POSITION, Result};

const MAGIC: [u8; 8] = *b"VRNMSEG\x01";
/// Up to and with the segment's id, which chooses the key that the rest is read with.
const PREFIX: usize = 8 + 4 + ID;
const ID: usize = 16;
const SEAL: usize = NONCE_LEN + TAG;
const TAG: usize = 16;
/// Room for every key an append takes and the longest scope.
const MAX_HEADER: usize = MAX_APPEND_KEYS * 24 + RECORD;

/// What a segment says of itself.
pub(crate) struct Header {
    pub(crate) id: [u8; ID],
    pub(crate) spans: Vec<KeySpan>,
    /// Its own length in the file, in whole blocks.
    pub(crate) len: u64,
}

/// The header of a new segment, sealed.
pub(crate) fn encode(id: &[u8; ID], spans: &[KeySpan], keyring: &Keyring) -> Result<Vec<u8>> {
    let start = spans.first().map_or(0, |span| span.start);
    let keys = u32::try_from(spans.len()).expect("an append has at most MAX_APPEND_KEYS keys");
    let scope = keyring.scope.as_bytes();
    let scope_len = u16::try_from(scope.len()).expect("a scope is made of short names");

    let mut bytes = MAGIC.to_vec();
    bytes.extend([0; 4]);
    bytes.extend(id);
    bytes.extend(start.to_be_bytes());
    bytes.extend(keys.to_be_bytes());
    bytes.extend(scope_len.to_be_bytes());
    bytes.extend(scope);
    for span in spans {
        bytes.extend(span.id.to_bytes());
        bytes.extend(span.len.to_be_bytes());
    }
    let len = (bytes.len() + SEAL).next_multiple_of(RECORD);
    bytes.resize(len - SEAL, 0);
    bytes[8..12].copy_from_slice(&u32::try_from(len).expect("at most MAX_HEADER").to_be_bytes());

    let mut nonce = [0; NONCE_LEN];
    fill_random(&mut nonce)?;
    let tag = keyring
        .segment(id)
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&bytes), &mut [])
        .expect("a header is far shorter than AES-GCM's limit");
    bytes.extend(nonce);
    bytes.extend(tag.as_ref());
    Ok(bytes)
}

/// Reads and checks the header of the segment in `file`.
pub(crate) fn read(file: &DiskFile, keyring: &Keyring) -> Result<Header> {
    let what = "its header cannot be read; delete it, which forfeits the keys in it, and open the store again";
    let damaged = || Error::damaged(file.path(), what);

    let mut prefix = [0; PREFIX];
    file.read_at(&mut prefix, 0)?;
    let len = prefix[8..12].iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
    if prefix[..8] != MAGIC || !(RECORD..=MAX_HEADER).contains(&len) || len % RECORD != 0 {
        return Err(damaged());
    }
    let mut bytes = vec![0; len];
    file.read_at(&mut bytes, 0)?;
    let id = *bytes[12..].first_chunk().ok_or_else(damaged)?;
    let body = authentic(&bytes, &keyring.segment(&id)).ok_or_else(damaged)?;
    let spans = spans(body, keyring.scope.as_bytes()).ok_or_else(damaged)?;
    Ok(Header { id, spans, len: len as u64 })
}

/// What stands between prefix and seal, if the seal is genuine.
fn authentic<'a>(bytes: &'a [u8], key: &LessSafeKey) -> Option<&'a [u8]> {
    let (body, seal) = bytes.split_at_checked(bytes.len().checked_sub(SEAL)?)?;
    let (nonce, tag) = seal.split_first_chunk()?;
    let mut tag = *tag.first_chunk::<TAG>()?;
    key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(body), &mut tag).ok()?;
    body.get(PREFIX..)
}

fn spans(body: &[u8], scope: &[u8]) -> Option<Vec<KeySpan>> {
    let (start, rest) = body.split_first_chunk()?;
    let (keys, rest) = rest.split_first_chunk()?;
    let (scope_len, rest) = rest.split_first_chunk()?;
    let (found, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*scope_len)))?;
    let keys = usize::try_from(u32::from_be_bytes(*keys)).ok()?;
    if found != scope || keys == 0 || keys > MAX_APPEND_KEYS {
        return None;
    }

    let first = u64::from_be_bytes(*start);
    let mut start = first;
    let mut spans = Vec::with_capacity(keys);
    let (entries, _padding) = rest.as_chunks::<24>();
    for entry in entries.get(..keys)? {
        let (id, len) = entry.split_first_chunk()?;
        let len = u64::from_be_bytes(*len.first_chunk()?);
        spans.push(KeySpan { id: KeyId::from_bytes(*id), start, len });
        start = start.checked_add(len).filter(|end| len > 0 && *end <= MAX_POSITION)?;
    }
    (start - first <= MAX_APPEND_BYTES).then_some(spans)
}

/// The file name of the segment at `start`: sorts by position.
pub(crate) fn file_name(start: u64) -> String {
    format!("{start:020}.{EXTENSION}")
}

/// Whether the file looks like a segment.
pub(crate) fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == EXTENSION)
}

const EXTENSION: &str = "segment";
