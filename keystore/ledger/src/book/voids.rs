//! Bits that will not be used: the peer says so, or their time is over.

use std::collections::BTreeMap;
use std::time::Duration;

use vernam_etsi014::KmeId;

use super::Book;
use super::chunks::{end, merged};
use super::codec;
use super::cut::State;
use super::settle::all_extents;
use super::sql::{int, millis, nat, nat32};
use crate::database::Value;
use crate::{Expired, Extent, Fault, KeyPositions, ReservationId};

/// How far the clocks of processes that share a ledger may differ.
const SKEW: Duration = Duration::from_mins(5);

const KEEP_EARLY: &str =
    "INSERT INTO early_void (link, block, start_at, len) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
const TAKE_EARLY: &str = "DELETE FROM early_void WHERE link = $1 AND block <= $2 RETURNING block, start_at, len";
const PAST: &str = "SELECT id, keys FROM reservation WHERE state = $1 AND deadline <= $2 ORDER BY deadline LIMIT $3";
const TOO_FAR_AHEAD: &str =
    "SELECT id, keys FROM reservation WHERE state = $1 AND deadline > $2 ORDER BY deadline LIMIT $3";

impl Book<'_> {
    /// Erases keys that the peer will not deliver, whether they are reserved, free or not here yet. A key that was
    /// confirmed or collected stays what it is. Where the peer names keys that we have cut and not delivered, it has
    /// voided its copies, and the cut is void.
    pub fn void(&mut self, link: &KmeId, keys: &[KeyPositions]) -> Result<(), Fault> {
        let id = self.link_to(link)?;
        let ids: Vec<_> = keys.iter().map(|key| key.key_id).collect();
        let waiting = self.waiting(&ids)?;
        let reserved =
            |key: &&super::waiting::Waiting| key.link == id && key.state == State::Reserved && key.is_untouched();
        let reserved: Vec<_> = waiting.values().filter(reserved).collect();
        for key in &reserved {
            self.spend(id, key.len(), |link| &mut link.voided)?;
        }
        self.forget(&reserved)?;
        let spans = merged(&all_extents(keys));
        self.void_own_cuts(id, self.owns_first_half(link), keys, &spans)?;
        spans.into_iter().try_for_each(|span| self.void_bytes(id, span))
    }

    /// Erases whatever is free of `extent`, in both halves; if its block is yet to come, then when it comes.
    pub fn void_extent(&mut self, link: &KmeId, extent: Extent) -> Result<(), Fault> {
        let id = self.link_to(link)?;
        self.void_bytes(id, extent)
    }

    /// Voids the cuts that have one of `keys`. They are looked for only where a key lies in our half.
    fn void_own_cuts(
        &mut self,
        link: i64,
        own_first: bool,
        keys: &[KeyPositions],
        spans: &[Extent],
    ) -> Result<(), Fault> {
        let mut halves = BTreeMap::new();
        let mut ours = false;
        for span in spans.iter().filter(|span| span.block <= Self::MAX_BLOCK_NUMBER) {
            if let std::collections::btree_map::Entry::Vacant(place) = halves.entry(span.block) {
                place.insert(self.own_half(link, own_first, span.block)?);
            }
            let half = halves.get(&span.block).copied().flatten();
            ours |= half.is_some_and(|(from, to)| span.offset < to && end(*span) > from);
        }
        if !ours {
            return Ok(());
        }
        let named: std::collections::BTreeSet<_> = keys.iter().map(|key| key.key_id).collect();
        for cut in self.all_cuts()? {
            let on_link = cut.link == link || cut.relays.iter().any(|relay| relay.link == link);
            if on_link && cut.keys.iter().any(|key| named.contains(&key.key_id)) {
                self.void_found(&cut)?;
            }
        }
        Ok(())
    }

    fn void_bytes(&mut self, link: i64, extent: Extent) -> Result<(), Fault> {
        if extent.len == 0 || extent.block > Self::MAX_BLOCK_NUMBER {
            return Ok(());
        }
        let row = self.link(link)?;
        if extent.block < row.next_block {
            return self.void_free(link, extent);
        }
        if row.early_voids < Self::MAX_EARLY_VOIDS {
            let values = [link, int(extent.block), extent.offset.into(), extent.len.into()].map(Value::Int);
            let kept = self.database.execute(KEEP_EARLY, &values)?;
            self.link(link)?.early_voids += kept;
        }
        Ok(())
    }

    /// Forgets the early voids of blocks up to `number`, and returns those of that one.
    pub(super) fn take_early_voids(&mut self, link: i64, number: u64) -> Result<Vec<Extent>, Fault> {
        if self.link(link)?.early_voids == 0 {
            return Ok(Vec::new());
        }
        let (mut due, mut taken) = (Vec::new(), 0);
        self.database.query(TAKE_EARLY, &[link, int(number)].map(Value::Int), &mut |row| {
            taken += 1;
            let (block, offset, len) = (nat(row.int(0)?)?, nat32(row.int(1)?)?, nat32(row.int(2)?)?);
            if block == number {
                due.push(Extent { block, offset, len });
            }
            Ok(())
        })?;
        let row = self.link(link)?;
        row.early_voids = row.early_voids.saturating_sub(taken);
        Ok(merged(&due))
    }

    /// Voids up to `most` keys whose time is over, cut or waiting; a reservation is never parted, so it may be a few
    /// more. A deadline further ahead than any that is set counts as past: the clock was wrong when it was set, or is now.
    pub fn expire(&mut self, now: Duration, most: u32) -> Result<Expired, Fault> {
        let mut expired = Expired::default();
        for state in State::ALL {
            let longest = match state {
                State::Cut => Self::MAX_CUT,
                State::Reserved => self.limits.confirm_within,
                State::Delivered | State::Confirmed => self.limits.keep_for,
            };
            let latest = now.saturating_add(longest).saturating_add(SKEW);
            for (sql, bound) in [(PAST, now), (TOO_FAR_AHEAD, latest)] {
                let mut due = Vec::new();
                let values = [state.number(), millis(bound), i64::from(most) + 1].map(Value::Int);
                self.database.query(sql, &values, &mut |row| {
                    due.push((row.int(0)?, row.bytes(1)?));
                    Ok(())
                })?;
                for (id, keys) in due {
                    if expired.cut + expired.waiting >= u64::from(most) {
                        expired.more = true;
                        return Ok(expired);
                    }
                    self.expire_one(state, id, &keys, &mut expired)?;
                }
            }
        }
        Ok(expired)
    }

    fn expire_one(&mut self, state: State, id: i64, keys: &[u8], expired: &mut Expired) -> Result<(), Fault> {
        if state == State::Cut {
            if let Some(cut) = self.find_cut(ReservationId(id))? {
                expired.cut += cut.keys.len() as u64;
                self.void_found(&cut)?;
            }
            return Ok(());
        }
        let waiting = self.waiting(&codec::ids(keys)?)?;
        let mine: Vec<_> = waiting.values().filter(|key| key.reservation == id).collect();
        expired.waiting += mine.len() as u64;
        if mine.is_empty() {
            self.database.execute(super::settle::DELETE_RESERVATION, &[Value::Int(id)])?;
        }
        self.void_waiting(&mine)
    }
}
