//! A record: one disk block of sealed key bytes, which is zeroed or sealed anew as they are spent.
//!
//! ```text
//!   0      12     14   16                 4080   4096
//!   │ nonce │ from │ to │ sealed key bytes │ tag │      bytes outside from..to are zero under the seal
//! ```

use std::ops::Range;

use ring::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};

use crate::Result;
use crate::store_key::fill_random;

/// A record's length on disk in bytes: a block of most disks, so that it is rarely torn.
pub(crate) const RECORD: usize = 4096;
/// The key bytes in a full record.
pub(crate) const DATA: usize = DATA_END - DATA_START;

const DATA_START: usize = NONCE_LEN + 4;
const DATA_END: usize = RECORD - 16;

/// Seals the bytes that stand in the data part; those outside `live` are zeroed first.
pub(crate) fn seal(record: &mut [u8; RECORD], live: Range<u16>, key: &LessSafeKey, index: u64) -> Result<()> {
    record[DATA_START..][..usize::from(live.start)].fill(0);
    record[DATA_START + usize::from(live.end)..].fill(0);

    let mut nonce = [0; NONCE_LEN];
    fill_random(&mut nonce)?;
    record[..NONCE_LEN].copy_from_slice(&nonce);
    record[NONCE_LEN..][..2].copy_from_slice(&live.start.to_be_bytes());
    record[NONCE_LEN + 2..][..2].copy_from_slice(&live.end.to_be_bytes());

    let aad = aad(index, &live);
    let data = &mut record[DATA_START..DATA_END];
    let tag = key
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, data)
        .expect("a record is far shorter than AES-GCM's limit");
    record[DATA_END..].copy_from_slice(tag.as_ref());
    Ok(())
}

/// Opens in place and returns which of the data bytes are live; `None` if it is erased, torn, or not ours.
pub(crate) fn open(record: &mut [u8; RECORD], key: &LessSafeKey, index: u64) -> Option<Range<u16>> {
    let nonce = *record.first_chunk::<NONCE_LEN>()?;
    let [from, to] = [NONCE_LEN, NONCE_LEN + 2].map(|at| u16::from_be_bytes([record[at], record[at + 1]]));
    let live = from..to;
    if live.is_empty() || usize::from(to) > DATA {
        return None;
    }
    key.open_in_place(Nonce::assume_unique_for_key(nonce), aad(index, &live), &mut record[DATA_START..]).ok()?;
    Some(live)
}

/// The data bytes of an opened or not yet sealed record.
pub(crate) fn data(record: &[u8; RECORD]) -> &[u8; DATA] {
    record[DATA_START..].first_chunk().expect("the data part lies within a record")
}

/// As [`data`], to fill it.
pub(crate) fn data_mut(record: &mut [u8; RECORD]) -> &mut [u8; DATA] {
    record[DATA_START..].first_chunk_mut().expect("the data part lies within a record")
}

/// Binds a record to its place and to which of its bytes are live; the key binds it to segment, contact and direction.
fn aad(index: u64, live: &Range<u16>) -> Aad<[u8; 12]> {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&index.to_be_bytes());
    bytes[8..10].copy_from_slice(&live.start.to_be_bytes());
    bytes[10..].copy_from_slice(&live.end.to_be_bytes());
    Aad::from(bytes)
}

#[cfg(test)]
mod tests {
    use ring::aead::{AES_256_GCM, UnboundKey};

    use super::*;

    fn key(byte: u8) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[byte; 32]).unwrap())
    }

    #[test]
    fn spent_bytes_are_gone_under_the_seal_too() {
        let mut record = [0; RECORD];
        data_mut(&mut record).fill(9);
        seal(&mut record, 0..4_000, &key(1), 5).unwrap();
        assert_eq!(open(&mut record, &key(1), 5), Some(0..4_000));
        assert!(data(&record)[..4_000].iter().all(|byte| *byte == 9) && data(&record)[4_000..] == [0; 64]);

        seal(&mut record, 100..200, &key(1), 5).unwrap();
        assert_eq!(open(&mut record, &key(1), 5), Some(100..200));
        assert!(data(&record)[100..200].iter().all(|byte| *byte == 9));
        assert!(data(&record)[..100].iter().chain(&data(&record)[200..]).all(|byte| *byte == 0));
    }

    #[test]
    fn every_seal_has_its_own_nonce_and_its_place() {
        let mut first = [0; RECORD];
        seal(&mut first, 0..100, &key(1), 5).unwrap();
        let mut second = [0; RECORD];
        seal(&mut second, 0..100, &key(1), 5).unwrap();
        assert_ne!(first[..NONCE_LEN], second[..NONCE_LEN]);
        assert_eq!(open(&mut first.clone(), &key(1), 6), None);
        assert_eq!(open(&mut first.clone(), &key(2), 5), None);
        let mut widened = first;
        widened[NONCE_LEN + 3] = 101;
        assert_eq!(open(&mut widened, &key(1), 5), None);
        assert_eq!(open(&mut [0; RECORD], &key(1), 5), None);
        assert_eq!(open(&mut [0xff; RECORD], &key(1), 5), None);
        assert_eq!(open(&mut first, &key(1), 5), Some(0..100));
    }
}
