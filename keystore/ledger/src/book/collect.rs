//! Keys for slaves here: given once, and wiped before they are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vernam_etsi014::{DeliveredKey, SaeId};
use vernam_key::{KeyId, SecretBytes};

use super::Book;
use super::cut::{State, xor};
use super::sql::millis;
use super::waiting::{Waiting, clear, is_set};
use crate::database::Value;
use crate::{CollectError, Extent, Fault};

const SET_MASK: &str = "UPDATE waiting_key SET waiting = $1 WHERE id = $2";

impl Book<'_> {
    /// Gives `caller` the keys that `master` took for it, wherever their link ends: all of them or none, and once. Keys
    /// whose bits are lost are void from then on.
    pub fn collect(
        &mut self,
        caller: &SaeId,
        master: &SaeId,
        ids: &[KeyId],
        now: Duration,
    ) -> Result<Result<Vec<DeliveredKey>, CollectError>, Fault> {
        let known = self.waiting(ids)?;
        let mut once = BTreeSet::new();
        for id in ids {
            let Some(key) = known.get(id) else { return Ok(Err(CollectError::NotFound)) };
            let Some(place) = key.slaves.iter().position(|slave| slave == caller) else {
                return Ok(Err(CollectError::NotYours));
            };
            let ready = key.state != State::Cut && key.deadline > millis(now);
            if key.master != master.as_str() || !ready || !is_set(&key.mask, place) || !once.insert(*id) {
                return Ok(Err(CollectError::NotFound));
            }
        }
        let mut by_link: BTreeMap<i64, Vec<Extent>> = BTreeMap::new();
        for key in known.values() {
            by_link.entry(key.link).or_default().extend(&key.extents);
        }
        for (link, extents) in by_link {
            self.load(link, &extents)?;
        }
        let mut keys = Vec::with_capacity(ids.len());
        let mut lost = Vec::new();
        for id in ids {
            let key = &known[id];
            match self.read(key.link, &key.extents)? {
                Some(bytes) => keys.push(DeliveredKey { key_id: *id, key: unwrap(bytes, key.wrapped.as_deref()) }),
                None => lost.push(key),
            }
        }
        if !lost.is_empty() {
            self.void_waiting(&lost)?;
            return Ok(Err(CollectError::NotFound));
        }
        self.take_away(caller, &known)?;
        Ok(Ok(keys))
    }

    /// Notes that `caller` has collected these keys, and erases those that nobody else waits for.
    fn take_away(&mut self, caller: &SaeId, keys: &BTreeMap<KeyId, Waiting>) -> Result<(), Fault> {
        let mut done = Vec::new();
        for key in keys.values() {
            if key.is_peers() && key.is_untouched() {
                self.spend(key.link, key.len(), |link| &mut link.to_slave)?;
            }
            let mut mask = key.mask.clone();
            let others = key.slaves.iter().enumerate().filter(|(_, slave)| *slave == caller);
            others.for_each(|(place, _)| clear(&mut mask, place));
            if mask.iter().all(|byte| *byte == 0) {
                done.push(key);
            } else {
                let id = key.key_id.to_bytes();
                self.database.execute(SET_MASK, &[Value::Bytes(&mask), Value::Bytes(&id)])?;
            }
        }
        self.forget(&done)
    }
}

/// The key under its pad, or the bytes themselves where nothing is wrapped.
fn unwrap(bytes: SecretBytes, wrapped: Option<&[u8]>) -> SecretBytes {
    match wrapped {
        None => bytes,
        Some(wrapped) => SecretBytes::from_vec(xor(bytes.expose("the pad of a key carried over this link"), wrapped)),
    }
}
