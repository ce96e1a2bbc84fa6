//! Keys for a master here: cut from our half, durable before any peer is asked.

use std::sync::LazyLock;
use std::time::Duration;

use rand::Rng;
use vernam_etsi014::{KmeId, SaeId};
use vernam_key::KeyId;

use super::Book;
use super::codec::{self, Relay};
use super::link::Counter;
use super::plan::Plan;
use super::sql::{insert_rows, int, many_rows, millis, nat, one_row};
use crate::database::{Row, Value};
use crate::{Cut, Extent, Fault, KeyPositions, ReservationId, Short, Wish};

/// The life of a reservation, as it stands in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Cut for a master here; the peers are being asked.
    Cut,
    /// The master has the keys; slaves here wait for them.
    Delivered,
    /// Set aside for slaves here on the peer's word.
    Reserved,
    /// The peer's master has the keys.
    Confirmed,
}

impl State {
    pub(super) const ALL: [Self; 4] = [Self::Cut, Self::Delivered, Self::Reserved, Self::Confirmed];

    pub(super) fn number(self) -> i64 {
        match self {
            Self::Cut => 0,
            Self::Delivered => 1,
            Self::Reserved => 2,
            Self::Confirmed => 3,
        }
    }

    pub(super) fn read(number: i64) -> Result<Self, Fault> {
        let found = Self::ALL.into_iter().find(|state| state.number() == number);
        found.ok_or_else(|| super::sql::broken("the state of a reservation"))
    }
}

/// A row of `reservation` without its keys.
pub(super) struct NewReservation<'a> {
    pub(super) link: i64,
    pub(super) state: State,
    pub(super) deadline: Duration,
    pub(super) master: &'a SaeId,
    /// Those served here.
    pub(super) slaves: &'a [SaeId],
    /// Whether the peer of the link holds copies.
    pub(super) remote: bool,
    /// How many rows of `waiting_key` it has.
    pub(super) live: u64,
    /// Positions of a cut, names otherwise.
    pub(super) keys: Vec<u8>,
    pub(super) relays: Vec<u8>,
}

/// A row of `waiting_key`: a key that slaves here will collect.
pub(super) struct NewWaiting {
    pub(super) id: [u8; 16],
    pub(super) extents: Vec<u8>,
    pub(super) wrapped: Option<Vec<u8>>,
}

/// A cut as it stands in the database.
pub(super) struct CutRow {
    pub(super) id: i64,
    pub(super) link: i64,
    pub(super) deadline: i64,
    pub(super) remote: bool,
    pub(super) live: u64,
    pub(super) master: String,
    pub(super) keys: Vec<KeyPositions>,
    pub(super) relays: Vec<Relay>,
}

const INSERT_RESERVATION: &str = "INSERT INTO reservation \
     (id, link, state, deadline, master, slaves, remote, live, keys, relays) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
const INSERT_WAITING_HEAD: &str = "INSERT INTO waiting_key (id, reservation, extents, wrapped, waiting)";
static INSERT_WAITING: LazyLock<String> = LazyLock::new(|| one_row(INSERT_WAITING_HEAD, 5));
static INSERT_MANY_WAITING: LazyLock<String> = LazyLock::new(|| many_rows(INSERT_WAITING_HEAD, 5));

impl CutRow {
    /// The columns that [`Self::read`] reads.
    pub(super) const COLUMNS: &'static str = "id, link, deadline, remote, live, master, keys, relays";

    pub(super) fn read(row: &dyn Row) -> Result<Self, Fault> {
        Ok(Self {
            id: row.int(0)?,
            link: row.int(1)?,
            deadline: row.int(2)?,
            remote: row.int(3)? != 0,
            live: nat(row.int(4)?)?,
            master: row.text(5)?,
            keys: codec::positions(&row.bytes(6)?)?,
            relays: codec::relays(&row.bytes(7)?)?,
        })
    }
}

impl Book<'_> {
    /// Cuts keys from our half under fresh random `key_ID`s. Short as well while too many voids wait for one of the
    /// peers ([`Self::MAX_WAITING_VOIDS`]), and while too many keys wait for slaves here, of all
    /// masters or of this one: `pooled` is then given as 0.
    pub fn cut(&mut self, wish: &Wish, now: Duration, rng: &mut dyn Rng) -> Result<Result<Cut, Short>, Fault> {
        let total = u64::from(wish.number) * u64::from(wish.bytes);
        let wanted = total.saturating_mul(8).saturating_add(wish.leave_bits);
        let main = match self.find_source(wish, &wish.link, total, wanted, now)? {
            Ok(main) => main,
            Err(short) => return Ok(Err(short)),
        };
        // A link that relays twice is asked for twice as much, and one that is the wish's own for that as well.
        let mut sources = vec![(main, total)];
        let mut relays = Vec::with_capacity(wish.relays.len());
        for relay in &wish.relays {
            let source = match self.find_source(wish, relay, total, total.saturating_mul(8), now)? {
                Ok(source) => source,
                Err(short) => return Ok(Err(short)),
            };
            let known = sources.iter().position(|((link, _), _)| *link == source.0);
            let index = known.unwrap_or_else(|| {
                sources.push((source, 0));
                sources.len() - 1
            });
            sources[index].1 = sources[index].1.saturating_add(total);
            relays.push(index);
        }
        let mut plans = Vec::with_capacity(sources.len());
        for ((link, from), need) in sources {
            let plan = self.plan(link, need, from)?;
            if plan.found < need {
                let young = plan.found * 8;
                let row = self.link(link)?;
                let pooled = row.pooled_own * 8;
                let wanted =
                    need.saturating_mul(8).saturating_add(if row.peer == wish.link { wish.leave_bits } else { 0 });
                return Ok(Err(Short { link: row.peer.clone(), wanted, pooled, young }));
            }
            plans.push(plan);
        }
        self.cut_planned(wish, now, rng, &mut plans, &relays).map(Ok)
    }

    /// Whether a link may be cut from, and from which block on.
    fn find_source(
        &mut self,
        wish: &Wish,
        peer: &KmeId,
        total: u64,
        wanted: u64,
        now: Duration,
    ) -> Result<Result<(i64, u64), Short>, Fault> {
        let nothing = Short { link: peer.clone(), wanted, pooled: 0, young: 0 };
        let Some(row) = self.find_link(peer)? else { return Ok(Err(nothing)) };
        let (link, pooled, waiting) = (row.id, row.pooled_own * 8, row.waiting_keys);
        let more = if wish.local.is_empty() { 0 } else { u64::from(wish.number) };
        let keeps = *peer == wish.link && more > 0;
        let is_full = keeps
            && (waiting.saturating_add(more) > self.limits.max_waiting_keys
                || self.is_over_share(link, wish.master.as_str(), more)?);
        if total == 0 || is_full || self.is_out_of_touch(link)? {
            return Ok(Err(nothing));
        }
        let from = match wish.not_before {
            None => Some(0),
            Some(not_before) => self.first_young_block(link, not_before, now)?,
        };
        if pooled >= wanted
            && let Some(from) = from
        {
            return Ok(Ok((link, from)));
        }
        let young = match (wish.not_before, from) {
            (None, _) => pooled,
            (Some(_), None) => 0,
            (Some(_), Some(from)) => self.plan(link, total, from)?.found * 8,
        };
        let pooled = self.link(link)?.pooled_own * 8;
        Ok(Err(Short { link: peer.clone(), wanted, pooled, young: young.min(pooled) }))
    }

    fn cut_planned(
        &mut self,
        wish: &Wish,
        now: Duration,
        rng: &mut dyn Rng,
        plans: &mut [Plan],
        relays: &[usize],
    ) -> Result<Cut, Fault> {
        for plan in plans.iter() {
            self.carry_out(plan)?;
        }
        let mut rng = rng;
        let main = plans[0].link;
        let mut keys = Vec::new();
        let mut told: Vec<Vec<KeyPositions>> = vec![Vec::new(); relays.len()];
        for _ in 0..wish.number {
            let key_id = KeyId::random(&mut rng);
            let extents = plans[0].take(wish.bytes);
            for (told, &index) in told.iter_mut().zip(relays) {
                let pad = plans[index].take(wish.bytes);
                let wrapped = Some(self.wrap((main, &extents), (plans[index].link, &pad))?);
                told.push(KeyPositions { key_id, extents: pad, wrapped });
            }
            keys.push(KeyPositions { key_id, extents, wrapped: None });
        }
        let pads = told.iter().zip(relays).map(|(told, &index)| Relay {
            link: plans[index].link,
            pads: told.iter().map(|key| key.extents.clone()).collect(),
        });
        let relays = codec::put_relays(&pads.collect::<Vec<_>>());
        let live = if wish.local.is_empty() { 0 } else { u64::from(wish.number) };
        let row = NewReservation {
            link: main,
            state: State::Cut,
            deadline: wish.deadline.min(now.saturating_add(Self::MAX_CUT)),
            master: &wish.master,
            slaves: &wish.local,
            remote: !wish.remote.is_empty(),
            live,
            keys: codec::put_positions(&keys),
            relays,
        };
        let waiting = |key: &KeyPositions| NewWaiting {
            id: key.key_id.to_bytes(),
            extents: codec::put_extents(&key.extents),
            wrapped: None,
        };
        let waiting: Vec<_> = keys.iter().filter(|_| live > 0).map(waiting).collect();
        let reservation = self.insert_reservation(&row, &waiting)?;
        let relays = wish.relays.iter().cloned().zip(told).collect();
        Ok(Cut { reservation: ReservationId(reservation), keys, relays })
    }

    /// A key under a pad.
    fn wrap(&mut self, key: (i64, &[Extent]), pad: (i64, &[Extent])) -> Result<Vec<u8>, Fault> {
        let (Some(key), Some(pad)) = (self.read(key.0, key.1)?, self.read(pad.0, pad.1)?) else {
            return Err(super::sql::broken("chunks that open once and not twice, or something"));
        };
        Ok(xor(
            key.expose("a key is wrapped to be carried over another link"),
            pad.expose("the pad that wraps it, which is used for nothing else"),
        ))
    }

    /// Writes a reservation with the keys that wait under it.
    pub(super) fn insert_reservation(
        &mut self,
        row: &NewReservation<'_>,
        waiting: &[NewWaiting],
    ) -> Result<i64, Fault> {
        let id = self.count(Counter::Reservation)?;
        let slaves = codec::put_names(row.slaves);
        self.database.execute(
            INSERT_RESERVATION,
            &[
                Value::Int(id),
                Value::Int(row.link),
                Value::Int(row.state.number()),
                Value::Int(millis(row.deadline)),
                Value::Text(row.master.as_str()),
                Value::Bytes(&slaves),
                Value::Int(row.remote.into()),
                Value::Int(int(row.live)),
                Value::Bytes(&row.keys),
                Value::Bytes(&row.relays),
            ],
        )?;
        let mask = super::waiting::everybody(row.slaves.len());
        let rows: Vec<_> = waiting
            .iter()
            .map(|key| {
                let wrapped = Value::MaybeBytes(key.wrapped.as_deref());
                [Value::Bytes(&key.id), Value::Int(id), Value::Bytes(&key.extents), wrapped, Value::Bytes(&mask)]
            })
            .collect();
        insert_rows(self.database, (INSERT_WAITING.as_str(), INSERT_MANY_WAITING.as_str()), &rows)?;
        self.add_waiting(row.link, row.master.as_str(), int_len(waiting.len()))?;
        Ok(id)
    }
}

/// Two strings of bytes of one length, XORed.
pub(super) fn xor(one: &[u8], other: &[u8]) -> Vec<u8> {
    one.iter().zip(other).map(|(one, other)| one ^ other).collect()
}

fn int_len(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
