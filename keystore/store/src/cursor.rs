//! The cursor file: two slots that take turns, so that a torn write leaves the state before it.

use std::path::Path;

use ring::hmac;

use crate::book::Totals;
use crate::disk::{self, DiskFile};
use crate::store_key::Keyring;
use crate::{Error, Result};

/// The file's name in the stock's folder.
pub(crate) const NAME: &str = "cursor";

/// Each slot has its own disk block.
const SLOT: u64 = 4096;
const MAGIC: [u8; 8] = *b"VRNMCUR\x01";
/// Magic, turn, cursor, end, spent, holes; big-endian.
const BODY: usize = 6 * 8;
const TAG: usize = 32;

/// The durable [`Totals`] of one stock.
pub(crate) struct CursorFile {
    file: DiskFile,
    keyring: Keyring,
    /// How many times it was written; the slot is its lowest bit.
    turn: u64,
}

impl CursorFile {
    /// Makes the file of an empty stock.
    pub(crate) fn create(dir: &Path, keyring: &Keyring) -> Result<Self> {
        let path = dir.join(NAME);
        disk::create(&path, |file| {
            file.zero(0, 2 * SLOT)?;
            file.write_at(&encode(0, Totals::default(), keyring), 0)
        })?;
        Ok(Self { file: DiskFile::open(&path)?, keyring: keyring.clone(), turn: 0 })
    }

    /// Reads the newer of the slots that are whole.
    pub(crate) fn open(path: &Path, keyring: &Keyring) -> Result<(Self, Totals)> {
        let file = DiskFile::open(path)?;
        let newest = [0, SLOT]
            .into_iter()
            .map(|offset| {
                let mut slot = [0; BODY + TAG];
                file.read_at(&mut slot, offset)?;
                Ok(decode(&slot, keyring))
            })
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .flatten()
            .max_by_key(|(turn, _)| *turn);
        let what = "without it nobody knows which keys are spent; delete the folder it is in, and pair anew";
        let (turn, totals) = newest.ok_or_else(|| Error::damaged(path, what))?;
        file.sync()?; // a program that was killed may have written the slot and not synced it
        Ok((Self { file, keyring: keyring.clone(), turn }, totals))
    }

    /// Writes `totals` durably.
    pub(crate) fn write(&mut self, totals: Totals) -> Result<()> {
        self.turn += 1;
        self.file.write_at(&encode(self.turn, totals, &self.keyring), (self.turn % 2) * SLOT)?;
        self.file.sync()
    }
}

fn encode(turn: u64, totals: Totals, keyring: &Keyring) -> [u8; BODY + TAG] {
    let mut slot = [0; BODY + TAG];
    slot[..8].copy_from_slice(&MAGIC);
    for (field, value) in slot[8..BODY].chunks_exact_mut(8).zip(fields(turn, totals)) {
        field.copy_from_slice(&value.to_be_bytes());
    }
    let tag = hmac::sign(&keyring.cursor(), &slot[..BODY]);
    slot[BODY..].copy_from_slice(tag.as_ref());
    slot
}

fn fields(turn: u64, Totals { cursor, end, spent, holes }: Totals) -> [u64; 5] {
    [turn, cursor, end, spent, holes]
}

fn decode(slot: &[u8; BODY + TAG], keyring: &Keyring) -> Option<(u64, Totals)> {
    let (body, tag) = slot.split_at(BODY);
    hmac::verify(&keyring.cursor(), body, tag).ok()?;
    let (magic, fields) = body.split_at(8);
    let mut fields = fields.as_chunks().0.iter().map(|field| u64::from_be_bytes(*field));
    let (turn, cursor, end, spent, holes) =
        (fields.next()?, fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    (magic == MAGIC && turn < u64::MAX).then_some((turn, Totals { cursor, end, spent, holes }))
}
