//! The ledger: who may have which bits of the link, and what became of them. No sockets, no clock.
//!
//! Each block of the link is cut in two halves. The first belongs to the KME whose ID sorts first, the second to the
//! other; a KME cuts keys for its own masters from its own half alone, so two masters never get the same bits.
//!
//! ```text
//!  deposit ─┬► own half ──► Cut ──► delivered to the master      Cut ──► back to the pool, if the peer did not reserve
//!           └► peer's half ─► reserved ─► delivered to the slave      └─► voided, if it may have
//! ```

mod pool;
mod waiting;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use rand::Rng;
use serde::{Deserialize, Serialize};
use vernam_etsi014::{DeliveredKey, KmeId};
use vernam_key::{KeyId, SecretBytes};

pub use waiting::{CollectError, ReserveError};

use pool::Pool;
use waiting::Reservation;

/// A run of bytes of a link block. It says where key lies, never what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

/// What a ledger may hold, and how long it keeps what nobody collects.
#[derive(Debug, Clone, Copy)]
pub struct LedgerLimits {
    /// The most bits in the pools, both halves together.
    pub max_pool_bits: u64,
    /// The most keys that wait for their slaves.
    pub max_reservations: usize,
    /// How long a key waits for the peer's word that the master has it.
    pub confirm_within: Duration,
    /// How long a key waits for its slave after that.
    pub keep_for: Duration,
}

/// Bits by what became of them. Every bit ever deposited is in exactly one of the lower rows.
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
    /// Bits erased unused: expired, out of step with the peer, or without room.
    pub voided: u64,
}

impl Accounting {
    /// Bits free in both halves.
    pub fn pooled(&self) -> u64 {
        self.pooled_own + self.pooled_peer
    }

    /// Whether every bit made is accounted for. It must be, always.
    pub fn balances(&self) -> bool {
        self.made == self.pooled() + self.reserved + self.delivered_to_master + self.delivered_to_slave + self.voided
    }
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
    #[error("block {number} has {len} bytes; 1 to {} are possible", u32::MAX)]
    Length {
        /// The block offered.
        number: u64,
        /// Its length in bytes.
        len: usize,
    },
}

/// What became of a deposited block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deposited {
    /// It is in the pools.
    Pooled,
    /// The pools are full; it was erased, and the peer must be told of the extent.
    NoRoom(Extent),
}

/// The pool holds less than was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Short {
    /// Bits asked for.
    pub wanted: u64,
    /// Bits free in our half.
    pub pooled: u64,
}

/// Keys cut from our half, while the peer is asked to reserve theirs. Ends in [`Ledger::deliver`], [`Ledger::restore`]
/// or [`Ledger::void_cut`]; each takes it away.
#[must_use = "cut bits must be delivered, restored or voided"]
pub struct Cut {
    keys: Vec<(KeyPositions, SecretBytes)>,
}

impl Cut {
    /// Where the keys lie: all that the peer is told.
    pub fn positions(&self) -> Vec<KeyPositions> {
        self.keys.iter().map(|(positions, _)| positions.clone()).collect()
    }

    fn bytes(&self) -> u64 {
        self.keys.iter().map(|(_, key)| key.len() as u64).sum()
    }
}

/// The state of one KME at one link.
pub struct Ledger {
    limits: LedgerLimits,
    owns_first_half: bool,
    next_block: u64,
    own: Pool,
    peer: Pool,
    reservations: HashMap<KeyId, Reservation>,
    deadlines: BTreeSet<(Duration, KeyId)>,
    early_voids: Vec<Extent>,
    /// All in bytes.
    tally: Tally,
}

#[derive(Default)]
struct Tally {
    made: u64,
    cut: u64,
    waiting: u64,
    delivered_to_master: u64,
    delivered_to_slave: u64,
    voided: u64,
}

impl Ledger {
    /// An empty ledger of KME `here` for its link to KME `there`; the two must differ.
    pub fn new(here: &KmeId, there: &KmeId, limits: LedgerLimits) -> Self {
        Self {
            limits,
            owns_first_half: here < there,
            next_block: 0,
            own: Pool::default(),
            peer: Pool::default(),
            reservations: HashMap::new(),
            deadlines: BTreeSet::new(),
            early_voids: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// Takes a block of the link. Both ends deposit the same bits under the same number, in ascending order; numbers
    /// may be left out.
    pub fn deposit(&mut self, number: u64, mut bits: SecretBytes) -> Result<Deposited, DepositError> {
        let len = bits.len();
        let Some(bytes) = u32::try_from(len).ok().filter(|&bytes| bytes > 0) else {
            return Err(DepositError::Length { number, len });
        };
        if number < self.next_block || number == u64::MAX {
            return Err(DepositError::OutOfOrder { number, expected: self.next_block });
        }
        self.next_block = number + 1;
        self.tally.made += u64::from(bytes);
        if (self.own.free_bytes() + self.peer.free_bytes() + u64::from(bytes)) * 8 > self.limits.max_pool_bits {
            self.tally.voided += u64::from(bytes);
            return Ok(Deposited::NoRoom(Extent { block: number, offset: 0, len: bytes }));
        }
        let half = bytes.div_ceil(2);
        let first = bits.split_to(half as usize);
        let (own, peer) = if self.owns_first_half { ((0, first), (half, bits)) } else { ((half, bits), (0, first)) };
        self.own.insert(number, own.0, own.1);
        self.peer.insert(number, peer.0, peer.1);
        self.apply_early_voids();
        Ok(Deposited::Pooled)
    }

    /// Bits free for masters here.
    pub fn pooled_own_bits(&self) -> u64 {
        self.own.free_bytes() * 8
    }

    /// Cuts `number` keys of `bytes` bytes from our half, under fresh random `key_ID`s.
    pub fn cut(&mut self, number: u32, bytes: u32, rng: &mut impl Rng) -> Result<Cut, Short> {
        let wanted = u64::from(number) * u64::from(bytes);
        if wanted > self.own.free_bytes() {
            return Err(Short { wanted: wanted * 8, pooled: self.pooled_own_bits() });
        }
        let mut keys = Vec::with_capacity(number as usize);
        for _ in 0..number {
            let (extents, key) = self.own.take_front(bytes as usize).expect("the sum was checked");
            keys.push((KeyPositions { key_id: KeyId::random(rng), extents }, key));
        }
        self.tally.cut += wanted;
        Ok(Cut { keys })
    }

    /// The peer has reserved its copies: hands the keys out, once.
    pub fn deliver(&mut self, cut: Cut) -> Vec<DeliveredKey> {
        self.tally.cut -= cut.bytes();
        self.tally.delivered_to_master += cut.bytes();
        cut.keys
            .into_iter()
            .map(|(positions, key)| {
                self.own.settle(&positions.extents);
                DeliveredKey { key_id: positions.key_id, key }
            })
            .collect()
    }

    /// The peer certainly has not reserved its copies: the bits go back, but for the keys that are `gone` there, whose
    /// bits are erased.
    pub fn restore(&mut self, cut: Cut, gone: &[KeyId]) {
        self.tally.cut -= cut.bytes();
        for (positions, key) in cut.keys {
            if gone.contains(&positions.key_id) {
                self.tally.voided += key.len() as u64;
                self.own.settle(&positions.extents);
            } else {
                self.own.put_back(&positions.extents, &key);
            }
        }
    }

    /// The peer may have reserved its copies, or cannot: erases the bits.
    pub fn void_cut(&mut self, cut: Cut) {
        self.tally.cut -= cut.bytes();
        self.tally.voided += cut.bytes();
        for (positions, _key) in cut.keys {
            self.own.settle(&positions.extents);
        }
    }

    /// The books, in bits.
    pub fn accounting(&self) -> Accounting {
        let Tally { made, cut, waiting, delivered_to_master, delivered_to_slave, voided } = self.tally;
        Accounting {
            made: made * 8,
            pooled_own: self.own.free_bytes() * 8,
            pooled_peer: self.peer.free_bytes() * 8,
            reserved: (cut + waiting) * 8,
            delivered_to_master: delivered_to_master * 8,
            delivered_to_slave: delivered_to_slave * 8,
            voided: voided * 8,
        }
    }
}
