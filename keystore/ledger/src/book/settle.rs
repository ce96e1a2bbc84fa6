//! How a cut ends: delivered, back in the pool, or void.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Duration;

use vernam_etsi014::DeliveredKey;
use vernam_key::KeyId;

use super::chunks::merged;
use super::codec;
use super::cut::{CutRow, State};
use super::link::Link;
use super::sql::{int, millis};
use super::{Book, Side, shift};
use crate::database::Value;
use crate::{Extent, Fault, KeyPositions, ReservationId};

static CUT_BY_ID: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {} FROM reservation WHERE id = $1 AND state = 0", CutRow::COLUMNS));
static ALL_CUTS: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {} FROM reservation WHERE state = 0 ORDER BY id", CutRow::COLUMNS));
const KEEP_FOR_SLAVES: &str = "UPDATE reservation SET state = $1, deadline = $2, keys = $3, relays = $4 WHERE id = $5";
pub(super) const DELETE_RESERVATION: &str = "DELETE FROM reservation WHERE id = $1";

impl Book<'_> {
    /// Every peer has reserved its copies: hands the keys out, once, and erases them unless slaves here wait for them.
    /// `None`: the cut was voided in the meantime, or is now, because its time is over or its bits are lost.
    pub fn deliver(&mut self, cut: ReservationId, now: Duration) -> Result<Option<Vec<DeliveredKey>>, Fault> {
        let Some(cut) = self.find_cut(cut)? else { return Ok(None) };
        let mut delivered = Vec::with_capacity(cut.keys.len());
        let late = cut.deadline <= millis(now);
        self.load(cut.link, &all_extents(&cut.keys))?;
        for key in cut.keys.iter().filter(|_| !late) {
            let Some(bytes) = self.read(cut.link, &key.extents)? else { break };
            delivered.push(DeliveredKey { key_id: key.key_id, key: bytes });
        }
        if delivered.len() < cut.keys.len() {
            self.void_found(&cut)?;
            return Ok(None);
        }
        let bytes = total(&cut.keys);
        self.spend(cut.link, bytes, |link| &mut link.to_master)?;
        for relay in &cut.relays {
            self.spend(relay.link, bytes, |link| &mut link.relayed)?;
            self.erase_all(relay.link, &relay.pads.concat())?;
            self.tell_delivered(relay.link, cut.keys.iter().map(|key| key.key_id))?;
        }
        if cut.remote {
            self.tell_delivered(cut.link, cut.keys.iter().map(|key| key.key_id))?;
        } else {
            self.tell_void(cut.link, &cut.keys)?;
        }
        if cut.live > 0 {
            let ids = codec::put_ids(cut.keys.iter().map(|key| key.key_id));
            let deadline = millis(now.saturating_add(self.limits.keep_for));
            let state = Value::Int(State::Delivered.number());
            let values = [state, Value::Int(deadline), Value::Bytes(&ids), Value::Bytes(&[]), Value::Int(cut.id)];
            self.database.execute(KEEP_FOR_SLAVES, &values)?;
        } else {
            self.erase_all(cut.link, &all_extents(&cut.keys))?;
            self.database.execute(DELETE_RESERVATION, &[Value::Int(cut.id)])?;
        }
        Ok(Some(delivered))
    }

    /// No peer has reserved its copies, for certain: the bits go back, but for the keys that are `gone` there, whose bits
    /// are erased and void at both ends.
    ///
    /// A cut with relays is voided instead. A relaying peer knows its pads and may have seen the keys under them, so
    /// neither can serve for anything else.
    pub fn restore(&mut self, cut: ReservationId, gone: &[KeyId]) -> Result<(), Fault> {
        let Some(cut) = self.find_cut(cut)? else { return Ok(()) };
        if !cut.relays.is_empty() {
            return self.void_found(&cut);
        }
        let gone: BTreeSet<_> = gone.iter().copied().collect();
        let (lost, kept): (Vec<_>, Vec<_>) = cut.keys.iter().cloned().partition(|key| gone.contains(&key.key_id));
        for span in merged(&all_extents(&kept)) {
            self.release(cut.link, Side::Own, span)?;
        }
        self.spend(cut.link, total(&kept), |link| &mut link.pooled_own)?;
        self.erase_all(cut.link, &all_extents(&lost))?;
        self.spend(cut.link, total(&lost), |link| &mut link.voided)?;
        self.tell_void(cut.link, &lost)?;
        self.forget_cut(&cut)
    }

    /// A peer may have reserved its copies: erases the bits, and tells every peer.
    pub fn void_cut(&mut self, cut: ReservationId) -> Result<(), Fault> {
        match self.find_cut(cut)? {
            Some(cut) => self.void_found(&cut),
            None => Ok(()),
        }
    }

    /// After a start: voids every cut of a process that is no more, and returns how many keys that was. Not for a
    /// ledger that several processes share: the others' cuts are theirs, and [`Self::expire`] voids what is past its
    /// deadline.
    pub fn void_all_cuts(&mut self) -> Result<u64, Fault> {
        let mut keys = 0;
        for cut in self.all_cuts()? {
            keys += cut.keys.len() as u64;
            self.void_found(&cut)?;
        }
        Ok(keys)
    }

    /// The cuts that are not settled. They are as many as requests are under way.
    pub(super) fn all_cuts(&mut self) -> Result<Vec<CutRow>, Fault> {
        let mut cuts = Vec::new();
        self.database.query(ALL_CUTS.as_str(), &[], &mut |row| {
            cuts.push(CutRow::read(row)?);
            Ok(())
        })?;
        Ok(cuts)
    }

    pub(super) fn find_cut(&mut self, id: ReservationId) -> Result<Option<CutRow>, Fault> {
        let mut cut = None;
        self.database.query(CUT_BY_ID.as_str(), &[Value::Int(id.0)], &mut |row| {
            cut = Some(CutRow::read(row)?);
            Ok(())
        })?;
        Ok(cut)
    }

    /// Erases a cut, and tells every peer.
    pub(super) fn void_found(&mut self, cut: &CutRow) -> Result<(), Fault> {
        let bytes = total(&cut.keys);
        self.erase_all(cut.link, &all_extents(&cut.keys))?;
        self.spend(cut.link, bytes, |link| &mut link.voided)?;
        self.tell_void(cut.link, &cut.keys)?;
        for relay in &cut.relays {
            self.erase_all(relay.link, &relay.pads.concat())?;
            self.spend(relay.link, bytes, |link| &mut link.voided)?;
            let pads = cut.keys.iter().zip(&relay.pads);
            let told: Vec<_> = pads
                .map(|(key, pad)| KeyPositions { key_id: key.key_id, extents: pad.clone(), wrapped: None })
                .collect();
            self.tell_void(relay.link, &told)?;
        }
        self.forget_cut(cut)
    }

    fn forget_cut(&mut self, cut: &CutRow) -> Result<(), Fault> {
        if cut.live > 0 {
            let ids: Vec<_> = cut.keys.iter().map(|key| key.key_id).collect();
            self.delete_waiting(cut.link, &cut.master, &ids)?;
        }
        self.database.execute(DELETE_RESERVATION, &[Value::Int(cut.id)])?;
        Ok(())
    }

    /// Moves reserved bytes to where they end.
    pub(super) fn spend(&mut self, link: i64, bytes: u64, to: impl FnOnce(&mut Link) -> &mut u64) -> Result<(), Fault> {
        let row = self.link(link)?;
        let mut reserved = row.reserved;
        shift(&mut reserved, to(row), bytes)?;
        row.reserved = reserved;
        Ok(())
    }
}

pub(super) fn all_extents(keys: &[KeyPositions]) -> Vec<Extent> {
    keys.iter().flat_map(|key| key.extents.iter().copied()).collect()
}

pub(super) fn total(keys: &[KeyPositions]) -> u64 {
    keys.iter().map(KeyPositions::len).sum()
}

/// How many, for the database.
pub(super) fn count(keys: usize) -> i64 {
    int(keys as u64)
}
