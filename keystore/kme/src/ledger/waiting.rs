//! The ledger's other side: keys cut by the peer KME, which wait here for their slaves.

use std::collections::HashSet;
use std::time::Duration;

use vernam_etsi014::{DeliveredKey, SaeId};
use vernam_key::{KeyId, SecretBytes};

use super::{Extent, KeyPositions, Ledger};

/// The most extents that are remembered as void before their block has arrived.
const MAX_EARLY_VOIDS: usize = 4096;

/// A key that waits for its slave.
pub(super) struct Reservation {
    master: SaeId,
    slave: SaeId,
    extents: Vec<Extent>,
    key: SecretBytes,
    deadline: Duration,
    confirmed: bool,
}

/// Why the peer's keys cannot be reserved. Nothing was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReserveError {
    /// Their block has not come yet.
    #[error("a block of the link has not arrived here yet")]
    NotYet,
    /// Their bits are not free here, and never will be again.
    #[error("{} of the keys lie on bits that are spent or void here", .0.len())]
    Gone(Vec<KeyId>),
    /// A `key_ID` names another key here.
    #[error("a key_ID is in use for another key")]
    Conflict,
    /// Too many keys wait for their slaves.
    #[error("too many keys wait to be collected here")]
    Full,
}

/// Why keys are not given to a slave. None of them was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CollectError {
    /// One of them is unknown here, was collected, or is not from this master.
    #[error("{}", vernam_etsi014::messages::KEYS_NOT_FOUND)]
    NotFound,
    /// One of them is for another SAE.
    #[error("one or more keys specified were not made for this SAE")]
    NotYours,
}

impl Ledger {
    /// Sets the peer's `keys` aside for `slave`: all of them or none. Asking twice for the same is granted twice.
    pub fn reserve(
        &mut self,
        master: &SaeId,
        slave: &SaeId,
        keys: &[KeyPositions],
        now: Duration,
    ) -> Result<(), ReserveError> {
        if self.is_reserved(master, slave, keys) {
            return Ok(());
        }
        let mut once = HashSet::with_capacity(keys.len());
        if keys.iter().any(|key| self.reservations.contains_key(&key.key_id) || !once.insert(key.key_id)) {
            return Err(ReserveError::Conflict);
        }
        if self.reservations.len() + keys.len() > self.limits.max_reservations {
            return Err(ReserveError::Full);
        }
        if keys.iter().flat_map(|key| &key.extents).any(|extent| extent.block >= self.next_block) {
            return Err(ReserveError::NotYet);
        }
        let taken: Vec<_> = keys.iter().map(|key| self.peer.take_exact(&key.extents)).collect();
        if taken.iter().any(Option::is_none) {
            let gone = keys.iter().zip(&taken).filter(|(_, bits)| bits.is_none()).map(|(key, _)| key.key_id).collect();
            for (key, bits) in keys.iter().zip(taken) {
                if let Some(bits) = bits {
                    self.peer.put_back(&key.extents, &bits);
                }
            }
            return Err(ReserveError::Gone(gone));
        }
        let deadline = now.saturating_add(self.limits.confirm_within);
        for (positions, key) in keys.iter().zip(taken.into_iter().flatten()) {
            self.peer.settle(&positions.extents);
            self.tally.waiting += key.len() as u64;
            self.deadlines.insert((deadline, positions.key_id));
            let (master, slave, extents) = (master.clone(), slave.clone(), positions.extents.clone());
            let reservation = Reservation { master, slave, extents, key, deadline, confirmed: false };
            self.reservations.insert(positions.key_id, reservation);
        }
        Ok(())
    }

    /// Whether exactly these keys are reserved already.
    pub fn is_reserved(&self, master: &SaeId, slave: &SaeId, keys: &[KeyPositions]) -> bool {
        keys.iter().all(|key| {
            self.reservations.get(&key.key_id).is_some_and(|reservation| {
                (&reservation.master, &reservation.slave) == (master, slave) && reservation.extents == key.extents
            })
        })
    }

    /// The peer's masters have these keys: they wait for their slaves from now on. Unknown ones are passed over, for
    /// a slave may be quicker than the peer's word.
    pub fn confirm(&mut self, ids: &[KeyId], now: Duration) {
        for id in ids {
            let Some(reservation) = self.reservations.get_mut(id).filter(|reservation| !reservation.confirmed) else {
                continue;
            };
            self.deadlines.remove(&(reservation.deadline, *id));
            reservation.confirmed = true;
            reservation.deadline = now.saturating_add(self.limits.keep_for);
            self.deadlines.insert((reservation.deadline, *id));
        }
    }

    /// Erases keys that the peer will not deliver, whether they are reserved, free or not here yet.
    pub fn void(&mut self, keys: &[KeyPositions]) {
        for key in keys {
            if self.reservations.get(&key.key_id).is_some_and(|reservation| !reservation.confirmed) {
                self.void_reservation(key.key_id);
            }
            for &extent in &key.extents {
                self.void_extent(extent);
            }
        }
    }

    /// Erases whatever is free of `extent`, in both halves; if its block is yet to come, then when it comes.
    pub fn void_extent(&mut self, extent: Extent) {
        if extent.block >= self.next_block {
            if self.early_voids.len() < MAX_EARLY_VOIDS {
                self.early_voids.push(extent);
            }
            return;
        }
        self.tally.voided += self.own.void(extent) + self.peer.void(extent);
    }

    pub(super) fn apply_early_voids(&mut self) {
        let next_block = self.next_block;
        let (due, early) = std::mem::take(&mut self.early_voids).into_iter().partition(|void| void.block < next_block);
        self.early_voids = early;
        let due: Vec<Extent> = due;
        for extent in due {
            self.void_extent(extent);
        }
    }

    /// Gives `caller` the keys that `master` took for it: all of them or none, and once.
    pub fn collect(
        &mut self,
        caller: &SaeId,
        master: &SaeId,
        ids: &[KeyId],
    ) -> Result<Vec<DeliveredKey>, CollectError> {
        let mut once = HashSet::with_capacity(ids.len());
        for id in ids {
            let reservation = self.reservations.get(id).ok_or(CollectError::NotFound)?;
            if &reservation.slave != caller {
                return Err(CollectError::NotYours);
            }
            if &reservation.master != master || !once.insert(*id) {
                return Err(CollectError::NotFound);
            }
        }
        let mut keys = Vec::with_capacity(ids.len());
        for &key_id in ids {
            let reservation = self.reservations.remove(&key_id).expect("looked up above, each once");
            self.deadlines.remove(&(reservation.deadline, key_id));
            self.tally.waiting -= reservation.key.len() as u64;
            self.tally.delivered_to_slave += reservation.key.len() as u64;
            keys.push(DeliveredKey { key_id, key: reservation.key });
        }
        Ok(keys)
    }

    /// Erases the keys that have waited too long. Returns how many.
    pub fn expire(&mut self, now: Duration) -> usize {
        let mut expired = 0;
        while let Some(&(deadline, key_id)) = self.deadlines.first()
            && deadline <= now
        {
            self.void_reservation(key_id);
            expired += 1;
        }
        expired
    }

    fn void_reservation(&mut self, key_id: KeyId) {
        let Some(reservation) = self.reservations.remove(&key_id) else { return };
        self.deadlines.remove(&(reservation.deadline, key_id));
        self.tally.waiting -= reservation.key.len() as u64;
        self.tally.voided += reservation.key.len() as u64;
    }
}
