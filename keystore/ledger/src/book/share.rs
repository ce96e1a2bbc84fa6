//! How many keys of each master wait on each link, so that one whose slaves never collect does not take all the room.

use std::collections::BTreeMap;

use super::Book;
use super::sql::{broken, int, nat};
use crate::Fault;
use crate::database::Value;

/// By link and master: the tally as it will be after this transaction, and whether that is news to the database.
pub(super) type Shares = BTreeMap<(i64, String), (u64, bool)>;

const READ: &str = "SELECT keys FROM waiting_of WHERE link = $1 AND master = $2";
const WRITE: &str = "INSERT INTO waiting_of (link, master, keys) VALUES ($1, $2, $3) \
     ON CONFLICT (link, master) DO UPDATE SET keys = excluded.keys";
const FORGET: &str = "DELETE FROM waiting_of WHERE link = $1 AND master = $2";
const TALLIES: &str = "SELECT link, master, keys FROM waiting_of";
const COUNTS: &str = "SELECT reservation.link, reservation.master, COUNT(*) FROM waiting_key \
     JOIN reservation ON reservation.id = waiting_key.reservation GROUP BY reservation.link, reservation.master";

impl Book<'_> {
    /// Whether `more` keys of `master` would be more than its share of what may wait on a link.
    pub(super) fn is_over_share(&mut self, link: i64, master: &str, more: u64) -> Result<bool, Fault> {
        let share = self.limits.max_waiting_keys.div_ceil(Self::MASTERS_PART);
        Ok(self.share(link, master)?.0.saturating_add(more) > share)
    }

    /// Counts keys that wait from now on.
    pub(super) fn add_waiting(&mut self, link: i64, master: &str, keys: u64) -> Result<(), Fault> {
        if keys > 0 {
            self.link(link)?.waiting_keys += keys;
            let share = self.share(link, master)?;
            *share = (share.0 + keys, true);
        }
        Ok(())
    }

    /// Counts keys that wait no more.
    pub(super) fn remove_waiting(&mut self, link: i64, master: &str, keys: u64) -> Result<(), Fault> {
        if keys > 0 {
            let less = |tally: u64| tally.checked_sub(keys).ok_or_else(|| broken("tallies of waiting keys"));
            let row = self.link(link)?;
            row.waiting_keys = less(row.waiting_keys)?;
            let share = self.share(link, master)?;
            *share = (less(share.0)?, true);
        }
        Ok(())
    }

    fn share(&mut self, link: i64, master: &str) -> Result<&mut (u64, bool), Fault> {
        let place = (link, master.to_owned());
        if !self.state.shares.contains_key(&place) {
            let keys = nat(self.one(READ, &[Value::Int(link), Value::Text(master)])?.unwrap_or(0))?;
            self.state.shares.insert(place.clone(), (keys, false));
        }
        Ok(self.state.shares.entry(place).or_default())
    }

    /// Writes the tallies that changed.
    pub(super) fn flush_shares(&mut self) -> Result<(), Fault> {
        for ((link, master), (keys, changed)) in &mut self.state.shares {
            if !std::mem::take(changed) {
                continue;
            }
            let (link, master) = (Value::Int(*link), Value::Text(master));
            if *keys == 0 {
                self.database.execute(FORGET, &[link, master])?;
            } else {
                self.database.execute(WRITE, &[link, master, Value::Int(int(*keys))])?;
            }
        }
        Ok(())
    }

    /// Whether the tallies of waiting keys are what counting gives. They must be, always. For inspection: this reads every
    /// waiting key.
    pub fn waiting_adds_up(&mut self) -> Result<bool, Fault> {
        self.flush_shares()?;
        let [tallies, counts] = [TALLIES, COUNTS].map(|sql| {
            let mut found = BTreeMap::new();
            let read = self.database.query(sql, &[], &mut |row| {
                found.insert((row.int(0)?, row.text(1)?), nat(row.int(2)?)?);
                Ok(())
            });
            read.map(|()| found)
        });
        let (tallies, counts) = (tallies?, counts?);
        let mut by_link: BTreeMap<i64, u64> = BTreeMap::new();
        for ((link, _), keys) in &counts {
            *by_link.entry(*link).or_default() += keys;
        }
        self.links()?;
        let links = self.state.links.values();
        let same = |link: &super::link::Link| link.waiting_keys == by_link.get(&link.id).copied().unwrap_or(0);
        Ok(tallies == counts && links.into_iter().all(same))
    }
}
