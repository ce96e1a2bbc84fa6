//! The row of each link: its tallies, which stand in for counting, and the counters that never go back.

use vernam_etsi014::KmeId;

use super::sql::{broken, int, nat};
use super::usage::TOUCHED;
use super::{Book, Side};
use crate::database::{Row, Value};
use crate::{Accounting, Fault, LinkView, StoredReport};

/// One link's row, as it will be after this transaction. All sizes in bytes.
pub(super) struct Link {
    pub(super) id: i64,
    pub(super) peer: KmeId,
    /// The lowest block number that is still accepted.
    pub(super) next_block: u64,
    pub(super) made: u64,
    pub(super) pooled_own: u64,
    pub(super) pooled_peer: u64,
    pub(super) reserved: u64,
    pub(super) to_master: u64,
    pub(super) to_slave: u64,
    pub(super) relayed: u64,
    pub(super) voided: u64,
    /// Rows in `waiting_key`.
    pub(super) waiting_keys: u64,
    /// Rows in `early_void`.
    pub(super) early_voids: u64,
    /// Rows in `outbox` of kind "delivered".
    pub(super) outbox_delivered: u64,
    /// Rows in `outbox` of the other kinds.
    pub(super) outbox_voids: u64,
    pub(super) report: Option<StoredReport>,
    changed: bool,
}

/// Numbers given out once each, whatever happens.
#[derive(Clone, Copy)]
pub(super) enum Counter {
    Link,
    Reservation,
    Outbox,
}

/// The last number given out, and whether that is news to the database.
pub(super) type Counters = [Option<(i64, bool)>; 3];

impl Counter {
    const ALL: [Self; 3] = [Self::Link, Self::Reservation, Self::Outbox];

    fn name(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Reservation => "reservation",
            Self::Outbox => "outbox",
        }
    }
}

const LINKS: &str = "SELECT id, peer, next_block, made, pooled_own, pooled_peer, reserved, to_master, to_slave, \
     relayed, voided, waiting_keys, early_voids, outbox_delivered, outbox_voids, report_number, report_at, report FROM link";

const INSERT_LINK: &str = "INSERT INTO link (id, peer, next_block, made, pooled_own, pooled_peer, reserved, to_master, \
     to_slave, relayed, voided, waiting_keys, early_voids, outbox_delivered, outbox_voids) \
     VALUES ($1, $2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)";
const UPDATE_LINK: &str = "UPDATE link SET next_block = $1, made = $2, pooled_own = $3, pooled_peer = $4, reserved = $5, \
     to_master = $6, to_slave = $7, relayed = $8, voided = $9, waiting_keys = $10, early_voids = $11, \
     outbox_delivered = $12, outbox_voids = $13 WHERE id = $14";
const READ_COUNTERS: &str = "SELECT name, value FROM counter";
const WRITE_COUNTER: &str =
    "INSERT INTO counter (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";

impl Link {
    fn read(row: &dyn Row) -> Result<Self, Fault> {
        let tally = |column| nat(row.int(column)?);
        Ok(Self {
            id: row.int(0)?,
            peer: row.text(1)?.parse().map_err(|_invalid| broken("the name of a KME"))?,
            next_block: tally(2)?,
            made: tally(3)?,
            pooled_own: tally(4)?,
            pooled_peer: tally(5)?,
            reserved: tally(6)?,
            to_master: tally(7)?,
            to_slave: tally(8)?,
            relayed: tally(9)?,
            voided: tally(10)?,
            waiting_keys: tally(11)?,
            early_voids: tally(12)?,
            outbox_delivered: tally(13)?,
            outbox_voids: tally(14)?,
            report: StoredReport::read(row, 15)?,
            changed: false,
        })
    }

    fn empty(id: i64, peer: KmeId) -> Self {
        Self {
            id,
            peer,
            next_block: 0,
            made: 0,
            pooled_own: 0,
            pooled_peer: 0,
            reserved: 0,
            to_master: 0,
            to_slave: 0,
            relayed: 0,
            voided: 0,
            waiting_keys: 0,
            early_voids: 0,
            outbox_delivered: 0,
            outbox_voids: 0,
            report: None,
            changed: false,
        }
    }

    /// The free bytes of one half.
    pub(super) fn pooled(&mut self, side: Side) -> &mut u64 {
        match side {
            Side::Own => &mut self.pooled_own,
            Side::Peer => &mut self.pooled_peer,
        }
    }

    fn accounting(&self) -> Accounting {
        Accounting {
            made: self.made * 8,
            pooled_own: self.pooled_own * 8,
            pooled_peer: self.pooled_peer * 8,
            reserved: self.reserved * 8,
            delivered_to_master: self.to_master * 8,
            delivered_to_slave: self.to_slave * 8,
            relayed: self.relayed * 8,
            voided: self.voided * 8,
        }
    }

    fn view(&self) -> LinkView {
        LinkView {
            link: self.peer.clone(),
            accounting: self.accounting(),
            waiting_keys: self.waiting_keys,
            next_block: self.next_block,
            outbox: self.outbox_delivered + self.outbox_voids,
            report: self.report.clone(),
        }
    }
}

impl Book<'_> {
    /// The books of one link, in bits.
    pub fn accounting(&mut self, link: &KmeId) -> Result<Accounting, Fault> {
        Ok(self.find_link(link)?.map(|link| link.accounting()).unwrap_or_default())
    }

    /// Every link that ever had a block or a message, by the ID of its peer.
    pub fn links(&mut self) -> Result<Vec<LinkView>, Fault> {
        self.load_links()?;
        let mut views: Vec<_> = self.state.links.values().map(Link::view).collect();
        views.sort_by(|one, other| one.link.cmp(&other.link));
        Ok(views)
    }

    /// Reads the rows of all links, of which there are few, at once.
    fn load_links(&mut self) -> Result<(), Fault> {
        if self.state.has_links {
            return Ok(());
        }
        let mut found = Vec::new();
        self.database.query(LINKS, &[], &mut |row| {
            found.push(Link::read(row)?);
            Ok(())
        })?;
        for link in found {
            let _id = self.keep_link(link);
        }
        self.state.has_links = true;
        Ok(())
    }

    /// The link to `peer`, if it ever had a block or a message.
    pub(super) fn find_link(&mut self, peer: &KmeId) -> Result<Option<&mut Link>, Fault> {
        self.load_links()?;
        let Some(id) = self.state.link_ids.get(peer) else { return Ok(None) };
        Ok(self.state.links.get_mut(id))
    }

    /// The link to `peer`, which is made where there is none.
    pub(super) fn link_to(&mut self, peer: &KmeId) -> Result<i64, Fault> {
        if let Some(link) = self.find_link(peer)? {
            return Ok(link.id);
        }
        let id = self.count(Counter::Link)?;
        self.database.execute(INSERT_LINK, &[Value::Int(id), Value::Text(peer.as_str())])?;
        Ok(self.keep_link(Link::empty(id, peer.clone())))
    }

    /// The row of a link that is there, to be written at the end.
    pub(super) fn link(&mut self, id: i64) -> Result<&mut Link, Fault> {
        let link = self.link_by_id(id)?;
        link.changed = true;
        Ok(link)
    }

    /// The row of a link that is there.
    pub(super) fn link_by_id(&mut self, id: i64) -> Result<&mut Link, Fault> {
        self.load_links()?;
        self.state.links.get_mut(&id).ok_or_else(|| broken("a link"))
    }

    fn keep_link(&mut self, link: Link) -> i64 {
        let id = link.id;
        self.state.link_ids.insert(link.peer.clone(), id);
        self.state.links.entry(id).or_insert(link);
        id
    }

    /// The next number of `counter`.
    pub(super) fn count(&mut self, counter: Counter) -> Result<i64, Fault> {
        if !self.state.has_counters {
            let counters = &mut self.state.counters;
            self.database.query(READ_COUNTERS, &[], &mut |row| {
                let (name, last) = (row.text(0)?, row.int(1)?);
                if name == TOUCHED {
                    return Ok(());
                }
                let known = Counter::ALL.into_iter().find(|counter| counter.name() == name);
                counters[known.ok_or_else(|| broken("the counters"))? as usize] = Some((last, false));
                Ok(())
            })?;
            self.state.has_counters = true;
        }
        let last = self.state.counters[counter as usize].map(|(last, _)| last);
        let next = last.unwrap_or(0).checked_add(1).ok_or_else(|| broken("a counter"))?;
        self.state.counters[counter as usize] = Some((next, true));
        Ok(next)
    }

    /// Writes the rows that changed.
    pub(super) fn flush_links(&mut self) -> Result<(), Fault> {
        for link in self.state.links.values_mut().filter(|link| link.changed) {
            let tallies = [
                link.next_block,
                link.made,
                link.pooled_own,
                link.pooled_peer,
                link.reserved,
                link.to_master,
                link.to_slave,
                link.relayed,
                link.voided,
                link.waiting_keys,
                link.early_voids,
                link.outbox_delivered,
                link.outbox_voids,
            ];
            let mut values = tallies.map(|tally| Value::Int(int(tally))).to_vec();
            values.push(Value::Int(link.id));
            self.database.execute(UPDATE_LINK, &values)?;
            link.changed = false;
        }
        for counter in Counter::ALL {
            if let Some((last, changed @ true)) = &mut self.state.counters[counter as usize] {
                self.database.execute(WRITE_COUNTER, &[Value::Text(counter.name()), Value::Int(*last)])?;
                *changed = false;
            }
        }
        Ok(())
    }
}
