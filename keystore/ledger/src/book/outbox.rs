//! What the peers must still be told: one row a message, in order, and never without bound.

use std::sync::LazyLock;

use vernam_etsi014::KmeId;
use vernam_key::KeyId;

use super::link::Counter;
use super::sql::{broken, groups, many_values};
use super::{Book, codec};
use crate::database::Value;
use crate::{Extent, Fault, KeyPositions, Message, Outgoing};

const DELIVERED: i64 = 0;
const VOID: i64 = 1;
const VOID_EXTENT: i64 = 2;

const INSERT: &str = "INSERT INTO outbox (seq, link, kind, body) VALUES ($1, $2, $3, $4)";
const OLDEST: &str = "SELECT seq, kind, body FROM outbox WHERE link = $1 ORDER BY seq LIMIT $2";
const OLDEST_DELIVERED: &str = "SELECT seq FROM outbox WHERE link = $1 AND kind = 0 ORDER BY seq LIMIT 1";
const DELETE_ONE: &str = "DELETE FROM outbox WHERE seq = $1 RETURNING link, kind";
static DELETE_MANY: LazyLock<String> =
    LazyLock::new(|| many_values("DELETE FROM outbox WHERE seq IN", "RETURNING link, kind"));

impl Book<'_> {
    /// The oldest messages, at most `most`, that the peer at the end of `link` must still hear.
    pub fn outbox(&mut self, link: &KmeId, most: u32) -> Result<Vec<Outgoing>, Fault> {
        let Some(link) = self.find_link(link)?.map(|link| link.id) else { return Ok(Vec::new()) };
        let mut messages = Vec::new();
        self.database.query(OLDEST, &[Value::Int(link), Value::Int(most.into())], &mut |row| {
            let body = row.bytes(2)?;
            let message = match row.int(1)? {
                DELIVERED => Message::Delivered(codec::ids(&body)?),
                VOID => Message::Void(codec::positions(&body)?),
                VOID_EXTENT => match codec::extents(&body)?.as_slice() {
                    [extent] => Message::VoidExtent(*extent),
                    _ => return Err(broken("a message")),
                },
                _ => return Err(broken("a message")),
            };
            messages.push(Outgoing { seq: row.int(0)?, message });
            Ok(())
        })?;
        Ok(messages)
    }

    /// The peer has heard these: they are forgotten.
    pub fn heard(&mut self, seqs: &[i64]) -> Result<(), Fault> {
        let values: Vec<_> = seqs.iter().map(|&seq| Value::Int(seq)).collect();
        let mut gone = Vec::new();
        for group in groups(&values) {
            let sql = if group.len() == 1 { DELETE_ONE } else { DELETE_MANY.as_str() };
            self.database.query(sql, &group, &mut |row| {
                gone.push((row.int(0)?, row.int(1)?));
                Ok(())
            })?;
        }
        for (link, kind) in gone {
            let row = self.link(link)?;
            let tally = if kind == DELIVERED { &mut row.outbox_delivered } else { &mut row.outbox_voids };
            *tally = tally.saturating_sub(1);
        }
        Ok(())
    }

    /// Whether the peer must still hear that something is void.
    pub fn has_voids(&mut self, link: &KmeId) -> Result<bool, Fault> {
        Ok(self.find_link(link)?.is_some_and(|link| link.outbox_voids > 0))
    }

    /// Whether so many voids wait for the peer that nothing more is begun on its link.
    pub(super) fn is_out_of_touch(&mut self, link: i64) -> Result<bool, Fault> {
        Ok(self.link_by_id(link)?.outbox_voids >= Self::MAX_WAITING_VOIDS)
    }

    /// Tells the peer that the masters here have these keys.
    pub(super) fn tell_delivered(&mut self, link: i64, ids: impl IntoIterator<Item = KeyId>) -> Result<(), Fault> {
        self.post(link, DELIVERED, &codec::put_ids(ids))?;
        let row = self.link(link)?;
        row.outbox_delivered += 1;
        if row.outbox_delivered > Self::MAX_WAITING_DELIVERED
            && let Some(oldest) = self.one(OLDEST_DELIVERED, &[Value::Int(link)])?
        {
            self.heard(&[oldest])?;
        }
        Ok(())
    }

    /// Tells the peer that these keys are void.
    pub(super) fn tell_void(&mut self, link: i64, keys: &[KeyPositions]) -> Result<(), Fault> {
        if keys.is_empty() {
            return Ok(());
        }
        self.post(link, VOID, &codec::put_positions(keys))?;
        self.link(link)?.outbox_voids += 1;
        Ok(())
    }

    /// Tells the peer that these bytes are void, unless very much waits to be told already.
    pub(super) fn tell_void_extent(&mut self, link: i64, extent: Extent) -> Result<(), Fault> {
        if self.link(link)?.outbox_voids >= Self::MAX_WAITING_BLOCKS {
            return Ok(());
        }
        self.post(link, VOID_EXTENT, &codec::put_extents(&[extent]))?;
        self.link(link)?.outbox_voids += 1;
        Ok(())
    }

    fn post(&mut self, link: i64, kind: i64, body: &[u8]) -> Result<(), Fault> {
        let seq = self.count(Counter::Outbox)?;
        self.database.execute(INSERT, &[Value::Int(seq), Value::Int(link), Value::Int(kind), Value::Bytes(body)])?;
        Ok(())
    }
}
