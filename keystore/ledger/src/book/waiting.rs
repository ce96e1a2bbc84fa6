//! Keys that wait for slaves here, by name: how they stand, and how they are forgotten.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use vernam_etsi014::SaeId;
use vernam_key::KeyId;

use super::cut::State;
use super::settle::{DELETE_RESERVATION, count};
use super::sql::{broken, groups, many_values};
use super::{Book, codec};
use crate::database::Value;
use crate::{Extent, Fault, KeyPositions};

/// A waiting key with what it needs of its reservation.
pub(super) struct Waiting {
    pub(super) key_id: KeyId,
    pub(super) extents: Vec<Extent>,
    pub(super) wrapped: Option<Vec<u8>>,
    /// A bit for each slave that has not collected it.
    pub(super) mask: Vec<u8>,
    pub(super) reservation: i64,
    pub(super) link: i64,
    pub(super) state: State,
    pub(super) deadline: i64,
    pub(super) master: String,
    pub(super) slaves: Vec<SaeId>,
}

const WAITING_COLUMNS: &str = "SELECT waiting_key.id, extents, wrapped, waiting, reservation, link, state, deadline, \
     master, slaves FROM waiting_key JOIN reservation ON reservation.id = waiting_key.reservation WHERE waiting_key.id";
static WAITING_KEY: LazyLock<String> = LazyLock::new(|| format!("{WAITING_COLUMNS} = $1"));
static WAITING_KEYS: LazyLock<String> = LazyLock::new(|| many_values(&format!("{WAITING_COLUMNS} IN"), ""));
const DELETE_KEY: &str = "DELETE FROM waiting_key WHERE id = $1";
static DELETE_KEYS: LazyLock<String> = LazyLock::new(|| many_values("DELETE FROM waiting_key WHERE id IN", ""));
const LESS_LIVE: &str = "UPDATE reservation SET live = live - $1 WHERE id = $2 RETURNING live";

impl Waiting {
    pub(super) fn len(&self) -> u64 {
        self.extents.iter().map(|extent| u64::from(extent.len)).sum()
    }

    /// Whether no slave has collected it.
    pub(super) fn is_untouched(&self) -> bool {
        self.mask == everybody(self.slaves.len())
    }

    /// Whether it was cut by a peer.
    pub(super) fn is_peers(&self) -> bool {
        matches!(self.state, State::Reserved | State::Confirmed)
    }

    fn positions(&self) -> KeyPositions {
        KeyPositions { key_id: self.key_id, extents: self.extents.clone(), wrapped: None }
    }

    pub(super) fn is_for(&self, link: i64, master: &SaeId, slaves: &[SaeId], key: &KeyPositions) -> bool {
        self.is_peers()
            && self.link == link
            && self.master == master.as_str()
            && self.slaves == slaves
            && self.extents == key.extents
            && self.wrapped == key.wrapped
    }
}

impl Book<'_> {
    /// Voids waiting keys: bits that some slave has, or a master here, stay counted as delivered. Peers whose masters may
    /// not have their keys yet are told.
    pub(super) fn void_waiting(&mut self, keys: &[&Waiting]) -> Result<(), Fault> {
        let mut told: BTreeMap<(i64, i64), Vec<KeyPositions>> = BTreeMap::new();
        for key in keys {
            if key.is_peers() && key.is_untouched() {
                self.spend(key.link, key.len(), |link| &mut link.voided)?;
            }
            if key.state == State::Reserved {
                told.entry((key.link, key.reservation)).or_default().push(key.positions());
            }
        }
        self.forget(keys)?;
        told.into_iter().try_for_each(|((link, _), positions)| self.tell_void(link, &positions))
    }

    /// Erases waiting keys that are settled, and their reservations with the last of them.
    pub(super) fn forget(&mut self, keys: &[&Waiting]) -> Result<(), Fault> {
        let mut by_reservation: BTreeMap<(i64, i64), Vec<&Waiting>> = BTreeMap::new();
        for key in keys {
            by_reservation.entry((key.link, key.reservation)).or_default().push(key);
        }
        for ((link, reservation), keys) in by_reservation {
            let extents: Vec<_> = keys.iter().flat_map(|key| key.extents.iter().copied()).collect();
            self.erase_all(link, &extents)?;
            let ids: Vec<_> = keys.iter().map(|key| key.key_id).collect();
            let master = keys.first().map_or("", |key| key.master.as_str());
            self.delete_waiting(link, master, &ids)?;
            let live = self.one(LESS_LIVE, &[count(ids.len()), reservation].map(Value::Int))?;
            if live.is_none_or(|live| live <= 0) {
                self.database.execute(DELETE_RESERVATION, &[Value::Int(reservation)])?;
            }
        }
        Ok(())
    }

    /// Forgets keys of one master.
    pub(super) fn delete_waiting(&mut self, link: i64, master: &str, ids: &[KeyId]) -> Result<(), Fault> {
        let ids: Vec<_> = ids.iter().map(|id| id.to_bytes()).collect();
        let values: Vec<_> = ids.iter().map(|id| Value::Bytes(id)).collect();
        let mut deleted = 0;
        for group in groups(&values) {
            let sql = if group.len() == 1 { DELETE_KEY } else { DELETE_KEYS.as_str() };
            deleted += self.database.execute(sql, &group)?;
        }
        self.remove_waiting(link, master, deleted)
    }

    /// Those of `ids` that wait here, by name.
    pub(super) fn waiting(&mut self, ids: &[KeyId]) -> Result<BTreeMap<KeyId, Waiting>, Fault> {
        let ids: Vec<_> = ids.iter().map(|id| id.to_bytes()).collect();
        let values: Vec<_> = ids.iter().map(|id| Value::Bytes(id)).collect();
        let mut found = BTreeMap::new();
        for group in groups(&values) {
            let sql = if group.len() == 1 { WAITING_KEY.as_str() } else { WAITING_KEYS.as_str() };
            self.database.query(sql, &group, &mut |row| {
                let id = row.bytes(0)?.try_into().map_err(|_len| broken("the name of a key"))?;
                let key = Waiting {
                    key_id: KeyId::from_bytes(id),
                    extents: codec::extents(&row.bytes(1)?)?,
                    wrapped: row.maybe_bytes(2)?,
                    mask: row.bytes(3)?,
                    reservation: row.int(4)?,
                    link: row.int(5)?,
                    state: State::read(row.int(6)?)?,
                    deadline: row.int(7)?,
                    master: row.text(8)?,
                    slaves: codec::names(&row.bytes(9)?)?,
                };
                found.insert(key.key_id, key);
                Ok(())
            })?;
        }
        Ok(found)
    }
}

/// The mask of a key that none of so many slaves has collected.
pub(super) fn everybody(slaves: usize) -> Vec<u8> {
    let mut mask = vec![0; slaves.div_ceil(8)];
    (0..slaves).for_each(|place| mask[place / 8] |= 1 << (place % 8));
    mask
}

pub(super) fn is_set(mask: &[u8], place: usize) -> bool {
    mask.get(place / 8).is_some_and(|byte| byte & (1 << (place % 8)) != 0)
}

pub(super) fn clear(mask: &mut [u8], place: usize) {
    if let Some(byte) = mask.get_mut(place / 8) {
        *byte &= !(1 << (place % 8));
    }
}
