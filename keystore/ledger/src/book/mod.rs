//! The book: every decision of the ledger, as statements inside one transaction.
//!
//! Each block of a link is cut in two halves. The first belongs to the KME whose ID sorts first, the second to the other;
//! a KME cuts keys for its own masters from its own half alone, so two masters never get the same bits.
//!
//! ```text
//! deposit ─┬► own half ───► cut ─┬► delivered to the master (and kept for slaves served here)
//!          │      ▲              ├► back to the pool: no peer reserved its copies, for certain
//!          │      └──────────────┤
//!          │                     └► void: a peer may have reserved them, or time is over
//!          └► peer's half ► reserved ► confirmed ► collected by the slave, or void
//! ```
//!
//! Work for an operation grows with the keys it names, never with what lies in the pools: there is no sum and no count
//! over a table, the tallies stand in the link's row.

mod chunks;
mod codec;
mod collect;
mod cut;
mod link;
mod outbox;
mod plan;
mod pool;
mod report;
mod reserve;
mod runs;
pub(crate) mod schema;
mod settle;
mod share;
mod sql;
mod usage;
mod voids;
mod waiting;

use std::collections::BTreeMap;
use std::time::Duration;

use vernam_etsi014::KmeId;

use crate::database::Database;
use crate::seal::{ChunkPlace, DataKey};
use crate::{Fault, LedgerLimits};

/// One transaction of the ledger. Every method checks before it writes, so that a refusal has changed nothing (but that
/// bits found unreadable on the way are void from then on).
pub struct Book<'a> {
    pub(crate) database: &'a mut dyn Database,
    pub(crate) key: &'a DataKey,
    pub(crate) here: &'a KmeId,
    pub(crate) limits: &'a LedgerLimits,
    state: State,
}

/// What this transaction has read or changed and will write once, at its end.
#[derive(Default)]
struct State {
    links: BTreeMap<i64, link::Link>,
    link_ids: BTreeMap<KmeId, i64>,
    has_links: bool,
    counters: link::Counters,
    has_counters: bool,
    shares: share::Shares,
    chunks: BTreeMap<ChunkPlace, chunks::Chunk>,
    /// By link and block: the bytes that were erased.
    spent: BTreeMap<(i64, u64), u64>,
}

/// Whose half of the link's blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// Keys for masters here are cut from it.
    Own,
    /// Keys for masters at the peer.
    Peer,
}

impl Side {
    fn number(self) -> i64 {
        match self {
            Self::Own => 0,
            Self::Peer => 1,
        }
    }
}

impl<'a> Book<'a> {
    /// The longest block of a link, in bytes.
    pub const MAX_BLOCK_BYTES: u32 = 1 << 28;
    /// The highest number of a block: the next one must still fit a `BIGINT`.
    pub const MAX_BLOCK_NUMBER: u64 = i64::MAX as u64 - 1;
    /// The longest time a cut may wait for its peers; a later deadline is brought forward.
    pub const MAX_CUT: Duration = Duration::from_hours(1);
    /// The most runs of bytes that are remembered as void before their block has come, per link. What comes beyond is
    /// passed over: such bits are found void when the peer does not reserve them.
    pub const MAX_EARLY_VOIDS: u64 = 4096;
    /// The most voids that may wait for one peer before nothing more is cut or reserved on its link.
    pub const MAX_WAITING_VOIDS: u64 = 16_384;
    /// The most blocks without room of which a peer is still to be told; later ones are not told of. The peer then finds
    /// out when it cuts from them.
    pub const MAX_WAITING_BLOCKS: u64 = 65_536;
    /// The most "delivered" that may wait for one peer; beyond, the oldest is dropped (it only extends a deadline).
    pub const MAX_WAITING_DELIVERED: u64 = 16_384;
    /// One master's keys may take up at most this part of [`LedgerLimits::max_waiting_keys`] of a link, so that slaves that
    /// never collect do not stop everybody else: a quarter.
    pub const MASTERS_PART: u64 = 4;
    /// The longest report of a link, in bytes.
    pub const MAX_REPORT_BYTES: usize = 8192;
    /// The most runs of bytes in one request of a peer.
    pub const MAX_EXTENTS: usize = 65_536;

    /// A book over a transaction that is open.
    pub(crate) fn new(
        database: &'a mut dyn Database,
        key: &'a DataKey,
        here: &'a KmeId,
        limits: &'a LedgerLimits,
    ) -> Self {
        Self { database, key, here, limits, state: State::default() }
    }

    /// Writes what was changed in memory only. The ledger calls it before each commit.
    pub(crate) fn finish(&mut self) -> Result<(), Fault> {
        self.flush_chunks()?;
        self.flush_shares()?;
        self.flush_links()
    }

    /// Whether the first half of the blocks of the link to `peer` is ours.
    fn owns_first_half(&self, peer: &KmeId) -> bool {
        self.here < peer
    }
}

/// Moves `bytes` from one tally to another, so that the sum stays what it is.
fn shift(from: &mut u64, to: &mut u64, bytes: u64) -> Result<(), Fault> {
    *from = from.checked_sub(bytes).ok_or_else(|| sql::broken("tallies"))?;
    *to += bytes;
    Ok(())
}
