//! The words of the ledger. None of these types holds a key byte.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use vernam_etsi014::{KmeId, SaeId};
use vernam_key::KeyId;

/// A run of bytes of a link block. It says where key lies, never what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Extent {
    /// The number of the block, the same at both ends of the link.
    pub block: u64,
    /// Offset of the first byte in the block.
    pub offset: u32,
    /// Length in bytes.
    #[serde(rename = "length")]
    pub len: u32,
}

/// Where the bits of one key lie, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPositions {
    /// The key's name.
    #[serde(rename = "key_ID", with = "vernam_etsi014::key_id_text")]
    pub key_id: KeyId,
    /// Its bytes, end to end.
    #[serde(rename = "vernam_positions")]
    pub extents: Vec<Extent>,
    /// For a key that comes from another link: the key XORed with the bytes at these positions (base64 on the wire).
    /// A one-time-pad ciphertext: public as long as the positions are used for nothing else, which the ledger sees to.
    #[serde(default, rename = "vernam_wrapped", with = "wrapped_text", skip_serializing_if = "Option::is_none")]
    pub wrapped: Option<Vec<u8>>,
}

impl KeyPositions {
    /// Length of the key in bytes.
    pub fn len(&self) -> u64 {
        self.extents.iter().map(|extent| u64::from(extent.len)).sum()
    }

    /// Whether it has no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// [`KeyPositions::wrapped`] as base64.
mod wrapped_text {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    #[expect(clippy::ref_option, reason = "the form that serde asks for")]
    pub(super) fn serialize<S: Serializer>(wrapped: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        match wrapped {
            Some(bytes) => serializer.serialize_str(&STANDARD.encode(bytes)),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| STANDARD.decode(text).map_err(D::Error::custom)).transpose()
    }
}

/// What a ledger may hold, and how long it keeps what nobody collects.
#[derive(Debug, Clone, Copy)]
pub struct LedgerLimits {
    /// The most bits in the pools of one link, both halves together.
    pub max_pool_bits: u64,
    /// The most keys of one link that wait for their slaves; those of one master at most a quarter of that
    /// ([`Book::MASTERS_PART`](crate::Book::MASTERS_PART)).
    pub max_waiting_keys: u64,
    /// How long a key waits for the peer's word that the master has it.
    pub confirm_within: Duration,
    /// How long a key waits for its slave after that.
    pub keep_for: Duration,
}

impl Default for LedgerLimits {
    fn default() -> Self {
        Self {
            max_pool_bits: 1 << 31, // 256 MiB, days of a good metro link
            max_waiting_keys: 1 << 20,
            confirm_within: Duration::from_hours(24),
            keep_for: Duration::from_hours(30 * 24),
        }
    }
}

/// Bits of one link by what became of them. Every bit ever deposited is in exactly one of the lower rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Accounting {
    /// Bits the link has given us.
    pub made: u64,
    /// Bits free for keys whose masters are here.
    pub pooled_own: u64,
    /// Bits free for keys whose masters are at the peer.
    pub pooled_peer: u64,
    /// Bits set aside: cut for a master here while the peer is asked, or waiting for a slave here.
    pub reserved: u64,
    /// Bits given to masters here.
    pub delivered_to_master: u64,
    /// Bits given to slaves here.
    pub delivered_to_slave: u64,
    /// Bits used up to carry a key of another link over this one.
    pub relayed: u64,
    /// Bits erased unused: expired, out of step with the peer, not readable, or without room.
    pub voided: u64,
}

impl Accounting {
    /// Bits free in both halves.
    pub fn pooled(&self) -> u64 {
        self.pooled_own + self.pooled_peer
    }

    /// Whether every bit made is accounted for. It must be, always.
    pub fn balances(&self) -> bool {
        let delivered = self.delivered_to_master + self.delivered_to_slave;
        self.made == self.pooled() + self.reserved + delivered + self.relayed + self.voided
    }
}

/// What became of a deposited block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deposited {
    /// It is in the pools.
    Pooled,
    /// The pools are full: it was not kept, and the peer will be told that its bits are void.
    NoRoom,
}

/// Why a block was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DepositError {
    /// Bits are used once: a number that was there, or is lower than one that was, may have been used.
    #[error(
        "block {number} comes too late: blocks must come in ascending order, and {expected} is the lowest number left"
    )]
    OutOfOrder {
        /// The block offered.
        number: u64,
        /// The lowest number that is still accepted.
        expected: u64,
    },
    /// No link makes such blocks.
    #[error("block {number} has {len} bytes; 1 to {} are possible", crate::Book::MAX_BLOCK_BYTES)]
    Length {
        /// The block offered.
        number: u64,
        /// Its length in bytes.
        len: usize,
    },
    /// No database column holds such a number.
    #[error("block {number} has too high a number; {} is the highest possible", crate::Book::MAX_BLOCK_NUMBER)]
    Number {
        /// The block offered.
        number: u64,
    },
}

/// What a master wants.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The link whose key it is to be: to the KME of the slave.
    pub link: KmeId,
    /// Who asks.
    pub master: SaeId,
    /// The slaves at the far end of that link. If there is none, the far end is told that the positions are void.
    pub remote: Vec<SaeId>,
    /// The slaves that are served here: they collect the same keys at this KME.
    pub local: Vec<SaeId>,
    /// Further links over which the same keys are to be carried, under a pad of as many bytes of each.
    pub relays: Vec<KmeId>,
    /// How many keys, at least one.
    pub number: u32,
    /// Length of each in bytes, at least one.
    pub bytes: u32,
    /// Only bits of blocks that were deposited at or after this instant (since the Unix epoch).
    pub not_before: Option<Duration>,
    /// How many bits of the pool of [`Self::link`] must remain for others.
    pub leave_bits: u64,
    /// When the keys are void if they were neither delivered nor restored (since the Unix epoch); at most
    /// [`Book::MAX_CUT`](crate::Book::MAX_CUT) from now.
    pub deadline: Duration,
}

/// Which cut it is; never used twice in one ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReservationId(pub i64);

/// Keys cut from our half, while the peers are asked to reserve theirs. Ends in `Book::deliver`, `Book::restore` or
/// `Book::void_cut`, or at its deadline as void.
#[derive(Debug, Clone)]
#[must_use = "cut bits must be delivered, restored or voided"]
pub struct Cut {
    /// Its name here.
    pub reservation: ReservationId,
    /// What the peer of the wish's link is told.
    pub keys: Vec<KeyPositions>,
    /// What the peers of the relaying links are told, in the wish's order.
    pub relays: Vec<(KmeId, Vec<KeyPositions>)>,
}

/// The pool of a link holds less than was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Short {
    /// The link: the wish's own, or one that was to relay.
    pub link: KmeId,
    /// Bits asked for, with those that must remain.
    pub wanted: u64,
    /// Bits free in our half.
    pub pooled: u64,
    /// Bits free in our half that are young enough, counted up to as many as the keys need; equal to `pooled` where no
    /// age was asked for.
    pub young: u64,
}

/// Why the peer's keys cannot be reserved. Nothing was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReserveError {
    /// Their block has not come yet.
    #[error("a block of the link has not arrived here yet")]
    NotYet,
    /// Their bits are not free here, and never will be again.
    #[error("{} of the keys lie on bits that are spent or void here", .0.len())]
    Gone(Vec<KeyId>),
    /// A `key_ID` names another key here.
    #[error("a key_ID is in use for another key")]
    Conflict,
    /// Too many keys wait for their slaves.
    #[error("too many keys wait to be collected here")]
    Full,
    /// Too many keys of this master wait for their slaves
    /// ([`Book::MASTERS_PART`](crate::Book::MASTERS_PART)).
    #[error("too many keys of {0} wait to be collected here")]
    MasterFull(SaeId),
}

/// Why keys are not given to a slave. None of them was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CollectError {
    /// One of them is unknown here, was collected, or is not from this master.
    #[error("{}", vernam_etsi014::messages::KEYS_NOT_FOUND)]
    NotFound,
    /// One of them is for another SAE.
    #[error("one or more keys specified were not made for this SAE")]
    NotYours,
}

/// What housekeeping voided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Expired {
    /// Keys cut here whose delivery was never settled.
    pub cut: u64,
    /// Keys that nobody collected, and that nobody confirmed.
    pub waiting: u64,
    /// Whether there is more to void than was asked for.
    pub more: bool,
}

/// What a peer must still be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// The masters here have these keys.
    Delivered(Vec<KeyId>),
    /// These keys and positions will not be used.
    Void(Vec<KeyPositions>),
    /// These bytes will not be used: blocks that found no room.
    VoidExtent(Extent),
}

/// A [`Message`] with its place in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// For `Book::heard`.
    pub seq: i64,
    /// What to say.
    pub message: Message,
}

/// Where one link stands, as of the last commit of this process (and, with PostgreSQL, the last look).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkView {
    /// The KME at its far end.
    pub link: KmeId,
    /// The books, in bits.
    pub accounting: Accounting,
    /// Keys that wait for slaves here.
    pub waiting_keys: u64,
    /// The lowest block number that is still accepted.
    pub next_block: u64,
    /// Messages that the peer must still hear.
    pub outbox: u64,
    /// What was last said of the quantum link, by any process, if anything was.
    pub report: Option<StoredReport>,
}

/// A report of a quantum link, as one of the processes of a site left it for all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredReport {
    /// Which report of this link it is. The later of two has the higher number, whatever the clocks say.
    pub number: u64,
    /// When it was stored (since the Unix epoch).
    pub at: Duration,
    /// The report in the words of whoever stored it.
    pub body: Vec<u8>,
}

/// The database failed under an operation, which then has not happened. Return it with `?`: the ledger rolls back.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Fault(pub(crate) String);

/// The ledger could not do what was asked; nothing may be handed out on the strength of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// The disk or the database refuses. What was asked for has not happened, or will be undone as after a crash.
    #[error("the ledger cannot be written: {0}")]
    Storage(String),
    /// More operations wait than the ledger takes.
    #[error("the ledger is busy")]
    Busy,
    /// The ledger is closed.
    #[error("the ledger is closed")]
    Closed,
}

/// Why a ledger cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it.
    #[error("{place} is in use by another process; end that first (one SQLite ledger serves one process)")]
    InUse {
        /// Which one.
        place: String,
    },
    /// The key-encryption key is not the one it was sealed with.
    #[error("{place} is sealed under another key-encryption key than the one given")]
    WrongKek {
        /// Which one.
        place: String,
    },
    /// It is older than its anchor.
    #[error(
        "{place} was put back from an older copy: key that it holds may have been given out since, so it is never used \
         again. Move it and {anchor} away, and begin anew with an empty ledger, at both ends of each link"
    )]
    Restored {
        /// Which one.
        place: String,
        /// Its anchor.
        anchor: String,
    },
    /// There is no anchor to tell whether it is the newest.
    #[error(
        "{place} has no anchor: {anchor} is missing or another ledger's, so nobody can tell whether this ledger is the \
         one that ran last or an older copy. If it surely is the one that ran last, make {anchor} an empty file; else \
         begin anew with an empty ledger, at both ends of each link"
    )]
    AnchorLost {
        /// Which one.
        place: String,
        /// Where the anchor should be.
        anchor: String,
    },
    /// It belongs to another KME.
    #[error("{place} is the ledger of KME {found}, not of {expected}")]
    OtherKme {
        /// Which one.
        place: String,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
    /// It was written by another version.
    #[error("{place} has schema version {found}; this program reads version {expected}")]
    Version {
        /// Which one.
        place: String,
        /// The version found.
        found: i64,
        /// The version that is read.
        expected: i64,
    },
    /// The disk or the database refuses.
    #[error("{place} cannot be opened: {reason}")]
    Storage {
        /// Which one.
        place: String,
        /// In the database's words.
        reason: String,
    },
}
