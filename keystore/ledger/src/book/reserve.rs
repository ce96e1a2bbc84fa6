//! The peer's keys: set aside here for slaves, at first on its request and then on its word that a master has them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vernam_etsi014::{KmeId, SaeId};
use vernam_key::KeyId;

use super::chunks::{end, merged};
use super::cut::{NewReservation, NewWaiting, State};
use super::settle::{all_extents, total};
use super::sql::{broken, millis};
use super::waiting::Waiting;
use super::{Book, Side, codec, shift};
use crate::database::Value;
use crate::{Extent, Fault, KeyPositions, ReserveError};

const CONFIRM: &str = "UPDATE reservation SET state = $1, deadline = $2 WHERE id = $3 AND link = $4 AND state = $5";

impl Book<'_> {
    /// Sets the peer's `keys` aside for `slaves`: all of them or none. Asking twice for the same is granted twice.
    pub fn reserve(
        &mut self,
        link: &KmeId,
        master: &SaeId,
        slaves: &[SaeId],
        keys: &[KeyPositions],
        now: Duration,
    ) -> Result<Result<(), ReserveError>, Fault> {
        let Some((id, next_block, waiting)) =
            self.find_link(link)?.map(|link| (link.id, link.next_block, link.waiting_keys))
        else {
            return Ok(if keys.is_empty() { Ok(()) } else { Err(ReserveError::NotYet) });
        };
        let ids: Vec<_> = keys.iter().map(|key| key.key_id).collect();
        let known = self.waiting(&ids)?;
        if all_match(&known, id, master, slaves, keys) {
            return Ok(Ok(()));
        }
        if !known.is_empty() || ids.iter().collect::<BTreeSet<_>>().len() < ids.len() {
            return Ok(Err(ReserveError::Conflict));
        }
        let more = keys.len() as u64;
        if waiting.saturating_add(more) > self.limits.max_waiting_keys || self.is_out_of_touch(id)? {
            return Ok(Err(ReserveError::Full));
        }
        if self.is_over_share(id, master.as_str(), more)? {
            return Ok(Err(ReserveError::MasterFull(master.clone())));
        }
        let extents = all_extents(keys);
        let ours = |extent: &Extent| extent.block <= Self::MAX_BLOCK_NUMBER && extent.block >= next_block;
        if extents.iter().any(ours) {
            return Ok(Err(ReserveError::NotYet));
        }
        if extents.len() > Self::MAX_EXTENTS {
            return Ok(Err(ReserveError::Gone(ids)));
        }
        let gone = self.not_free(id, keys)?;
        if !gone.is_empty() {
            return Ok(Err(ReserveError::Gone(gone.into_iter().map(|index| ids[index]).collect())));
        }
        for span in merged(&extents) {
            let run = self.run_around(id, Side::Peer, span)?.ok_or_else(|| broken("free runs"))?;
            self.carve(id, Side::Peer, span.block, run, (span.offset, end(span)))?;
        }
        let row = self.link(id)?;
        shift(&mut row.pooled_peer, &mut row.reserved, total(keys))?;
        let waiting: Vec<_> = keys
            .iter()
            .map(|key| NewWaiting {
                id: key.key_id.to_bytes(),
                extents: codec::put_extents(&key.extents),
                wrapped: key.wrapped.clone(),
            })
            .collect();
        let row = NewReservation {
            link: id,
            state: State::Reserved,
            deadline: now.saturating_add(self.limits.confirm_within),
            master,
            slaves,
            remote: true,
            live: more,
            keys: codec::put_ids(ids),
            relays: Vec::new(),
        };
        self.insert_reservation(&row, &waiting)?;
        Ok(Ok(()))
    }

    /// Whether exactly these keys are reserved already.
    pub fn is_reserved(
        &mut self,
        link: &KmeId,
        master: &SaeId,
        slaves: &[SaeId],
        keys: &[KeyPositions],
    ) -> Result<bool, Fault> {
        let Some(link) = self.find_link(link)?.map(|link| link.id) else { return Ok(keys.is_empty()) };
        let ids: Vec<_> = keys.iter().map(|key| key.key_id).collect();
        let known = self.waiting(&ids)?;
        Ok(all_match(&known, link, master, slaves, keys))
    }

    /// Which of `keys` do not lie on free, readable bytes of the peer's half that no other of them claims.
    fn not_free(&mut self, link: i64, keys: &[KeyPositions]) -> Result<BTreeSet<usize>, Fault> {
        let mut gone = BTreeSet::new();
        let mut claims = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            let fits = |extent: &Extent| {
                extent.block <= Self::MAX_BLOCK_NUMBER
                    && extent.len > 0
                    && extent.offset.checked_add(extent.len).is_some()
            };
            let wraps = key.wrapped.as_ref().is_none_or(|wrapped| wrapped.len() as u64 == key.len());
            if key.extents.is_empty() || !wraps || !key.extents.iter().all(fits) {
                gone.insert(index);
            } else {
                claims.extend(key.extents.iter().map(|&extent| (extent, index)));
            }
        }
        claims.sort_unstable();
        let mut reach: Option<(u64, u32, usize)> = None;
        for &(extent, index) in &claims {
            let stop = end(extent);
            match reach {
                Some((block, past, before)) if block == extent.block && extent.offset < past => {
                    gone.extend([before, index]);
                    reach = Some((block, past.max(stop), index));
                }
                _ => reach = Some((extent.block, stop, index)),
            }
        }
        // Neighbours are looked up together; only where that fails is each looked at.
        let extents: Vec<_> = claims.iter().map(|&(extent, _)| extent).collect();
        for span in merged(&extents) {
            if self.run_around(link, Side::Peer, span)?.is_some() && self.first_lost(link, span)?.is_none() {
                continue;
            }
            let from = claims.partition_point(|(extent, _)| *extent < Extent { len: 0, ..span });
            for &(extent, index) in &claims[from..] {
                if (extent.block, extent.offset) >= (span.block, end(span)) {
                    break;
                }
                if self.run_around(link, Side::Peer, extent)?.is_none() || self.first_lost(link, extent)?.is_some() {
                    gone.insert(index);
                }
            }
        }
        Ok(gone)
    }

    /// The peer's masters have these keys. Unknown ones are passed over, for a slave may be quicker than the peer's word.
    pub fn confirm(&mut self, link: &KmeId, ids: &[KeyId], now: Duration) -> Result<(), Fault> {
        let Some(link) = self.find_link(link)?.map(|link| link.id) else { return Ok(()) };
        let known = self.waiting(ids)?;
        let reserved = known.values().filter(|key| key.link == link && key.state == State::Reserved);
        let reservations: BTreeSet<_> = reserved.map(|key| key.reservation).collect();
        let deadline = millis(now.saturating_add(self.limits.keep_for));
        for id in reservations {
            let (from, to) = (State::Reserved.number(), State::Confirmed.number());
            self.database.execute(CONFIRM, &[to, deadline, id, link, from].map(Value::Int))?;
        }
        Ok(())
    }
}

fn all_match(
    known: &BTreeMap<KeyId, Waiting>,
    link: i64,
    master: &SaeId,
    slaves: &[SaeId],
    keys: &[KeyPositions],
) -> bool {
    let same =
        |key: &KeyPositions| known.get(&key.key_id).is_some_and(|waiting| waiting.is_for(link, master, slaves, key));
    keys.iter().all(same)
}
