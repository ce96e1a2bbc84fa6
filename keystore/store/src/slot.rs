//! A durable record of where a stock stands: two slots that take turns, so that a torn write leaves the state before
//! it.
//!
//! ```text
//!   magic 8 │ scope 32 │ turn │ cursor │ end │ spent: control, voice, file, text, other │ holes │ matched │ MAC 32
//! ```
//!
//! Numbers are u64, big-endian. The cursor file has one such pair, the anchor file one for each stock.

use ring::{digest, hmac};

use crate::Result;
use crate::book::Totals;
use crate::disk::DiskFile;
use crate::stock::Spent;

/// Each slot has its own disk block.
pub(crate) const SLOT: u64 = 4096;
/// Both slots.
pub(crate) const PAIR: u64 = 2 * SLOT;

const MAGIC: usize = 8;
const SCOPE: usize = 32;
const NUMBERS: usize = 10;
const BODY: usize = MAGIC + SCOPE + NUMBERS * 8;
const TAG: usize = 32;

/// What one slot says: how often the state was written, and the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) turn: u64,
    pub(crate) totals: Totals,
}

/// What a slot is: of which file, and of which stock.
pub(crate) struct Kind {
    pub(crate) magic: [u8; MAGIC],
    pub(crate) scope: [u8; SCOPE],
    pub(crate) mac: hmac::Key,
}

/// A stock's name at a fixed length.
pub(crate) fn scope_hash(scope: &str) -> [u8; SCOPE] {
    let mut hash = [0; SCOPE];
    hash.copy_from_slice(digest::digest(&digest::SHA256, scope.as_bytes()).as_ref());
    hash
}

impl Mark {
    /// Writes the mark into its slot of the pair at `offset`, which the next [`DiskFile::sync`] makes durable.
    pub(crate) fn write(self, file: &DiskFile, offset: u64, kind: &Kind) -> Result<()> {
        file.write_at(&self.encode(kind), offset + (self.turn % 2) * SLOT)
    }

    /// The newer one of the slots at `offset` that are whole.
    pub(crate) fn read(file: &DiskFile, offset: u64, kind: &Kind) -> Result<Option<Self>> {
        let mut newest: Option<Self> = None;
        for at in [offset, offset + SLOT] {
            let mut slot = [0; BODY + TAG];
            file.read_at(&mut slot, at)?;
            let found = Self::decode(&slot, kind);
            newest = newest.into_iter().chain(found).max_by_key(|mark| mark.turn);
        }
        Ok(newest)
    }

    /// The scope that the pair at `offset` names, if a slot has one; not yet authenticated.
    pub(crate) fn scope_at(file: &DiskFile, offset: u64, magic: [u8; MAGIC]) -> Result<Vec<[u8; SCOPE]>> {
        let mut found = Vec::new();
        for at in [offset, offset + SLOT] {
            let mut start = [0; MAGIC + SCOPE];
            file.read_at(&mut start, at)?;
            if let Some((head, scope)) = start.split_first_chunk::<MAGIC>()
                && *head == magic
                && let Some(scope) = scope.first_chunk()
            {
                found.push(*scope);
            }
        }
        Ok(found)
    }

    fn encode(self, kind: &Kind) -> [u8; BODY + TAG] {
        let Totals { cursor, end, spent: Spent { control, voice, file, text, other }, holes, matched } = self.totals;
        let numbers: [u64; NUMBERS] = [self.turn, cursor, end, control, voice, file, text, other, holes, matched];
        let mut slot = [0; BODY + TAG];
        slot[..MAGIC].copy_from_slice(&kind.magic);
        slot[MAGIC..MAGIC + SCOPE].copy_from_slice(&kind.scope);
        for (field, number) in slot[MAGIC + SCOPE..BODY].chunks_exact_mut(8).zip(numbers) {
            field.copy_from_slice(&number.to_be_bytes());
        }
        let tag = hmac::sign(&kind.mac, &slot[..BODY]);
        slot[BODY..].copy_from_slice(tag.as_ref());
        slot
    }

    fn decode(slot: &[u8; BODY + TAG], kind: &Kind) -> Option<Self> {
        let (body, tag) = slot.split_at(BODY);
        hmac::verify(&kind.mac, body, tag).ok()?;
        let (magic, rest) = body.split_at(MAGIC);
        let (scope, numbers) = rest.split_at(SCOPE);
        if magic != kind.magic || scope != kind.scope {
            return None;
        }
        let mut numbers = numbers.as_chunks().0.iter().map(|number| u64::from_be_bytes(*number));
        let mut next = || numbers.next();
        let turn = next()?;
        let (cursor, end) = (next()?, next()?);
        let spent = Spent { control: next()?, voice: next()?, file: next()?, text: next()?, other: next()? };
        let totals = Totals { cursor, end, spent, holes: next()?, matched: next()? };
        (turn < u64::MAX && spent.checked_sum().is_some()).then_some(Self { turn, totals })
    }
}
