//! Ledgers of several KMEs, and short words for what is asked of them.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng};
use vernam_etsi014::{KmeId, SaeId};
use vernam_key::{KeyId, SecretBytes};
use vernam_ledger::{
    Accounting, Book, CollectError, Cut, DepositError, Deposited, Expired, Extent, KeyPositions, Ledger, LedgerLimits,
    LinkView, Message, Outgoing, ReservationId, ReserveError, Short, Wish,
};

use crate::support::Site;

/// When the stories begin: some day, in seconds since the Unix epoch.
pub(crate) const START: u64 = 1_800_000_000;

pub(crate) const LIMITS: LedgerLimits = LedgerLimits {
    max_pool_bits: 1 << 20,
    max_waiting_keys: 800,
    confirm_within: Duration::from_secs(100),
    keep_for: Duration::from_secs(1000),
};

/// So many seconds after the start.
pub(crate) fn at(seconds: u64) -> Duration {
    Duration::from_secs(START + seconds)
}

pub(crate) fn kme(name: &str) -> KmeId {
    name.parse().unwrap()
}

pub(crate) fn sae(name: &str) -> SaeId {
    name.parse().unwrap()
}

pub(crate) fn extent(block: u64, offset: u32, len: u32) -> Extent {
    Extent { block, offset, len }
}

pub(crate) fn positions(name: u8, extents: &[Extent]) -> KeyPositions {
    KeyPositions { key_id: KeyId::from_bytes([name; 16]), extents: extents.to_vec(), wrapped: None }
}

pub(crate) fn ids(keys: &[KeyPositions]) -> Vec<KeyId> {
    keys.iter().map(|key| key.key_id).collect()
}

/// The bits of a link's block: the same wherever they are asked for.
pub(crate) fn bits(link: &str, number: u64, len: usize) -> Vec<u8> {
    let salt = link.bytes().fold(number, |salt, byte| salt.wrapping_mul(257).wrapping_add(byte.into()));
    let mut bits = vec![0; len];
    StdRng::seed_from_u64(salt).fill_bytes(&mut bits);
    bits
}

/// A delivered key in the open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) key_id: KeyId,
    pub(crate) key: Vec<u8>,
}

/// One KME's ledger.
pub(crate) struct End {
    pub(crate) ledger: Ledger,
    /// Makes each cut's random numbers other ones.
    cuts: std::cell::Cell<u64>,
}

/// A wish for keys of the link to `link`, for a slave there.
pub(crate) fn wish(link: &str, number: u32, bytes: u32) -> Wish {
    Wish {
        link: kme(link),
        master: sae("alice"),
        remote: vec![sae("bob")],
        local: Vec::new(),
        relays: Vec::new(),
        number,
        bytes,
        not_before: None,
        leave_bits: 0,
        deadline: at(60),
    }
}

impl End {
    pub(crate) fn new(site: &Site, name: &str, limits: LedgerLimits) -> Self {
        Self { ledger: site.open(name, limits), cuts: std::cell::Cell::new(0) }
    }

    pub(crate) fn deposit_at(
        &self,
        link: &str,
        number: u64,
        bits: Vec<u8>,
        now: Duration,
    ) -> Result<Deposited, DepositError> {
        let link = kme(link);
        let run = move |book: &mut Book<'_>| book.deposit(&link, number, &SecretBytes::copy_of(&bits), now);
        let deposited = self.ledger.run_blocking(run).unwrap();
        self.check();
        deposited
    }

    pub(crate) fn try_cut(&self, wish: &Wish, now: Duration) -> Result<Cut, Short> {
        let seed = self.cuts.get();
        self.cuts.set(seed + 1);
        let wish = wish.clone();
        let cut = self
            .ledger
            .run_blocking(move |book| book.cut(&wish, now, &mut StdRng::seed_from_u64(seed ^ 0x00C0_FFEE)))
            .unwrap();
        self.check();
        cut
    }

    pub(crate) fn cut(&self, wish: &Wish) -> Cut {
        self.try_cut(wish, at(0)).unwrap()
    }

    /// Other `key_ID`s than those of another end.
    pub(crate) fn salted(self, salt: u64) -> Self {
        self.cuts.set(salt << 32);
        self
    }

    pub(crate) fn deliver(&self, cut: ReservationId, now: Duration) -> Option<Vec<Got>> {
        let keys = self.ledger.run_blocking(move |book| book.deliver(cut, now)).unwrap();
        self.check();
        keys.map(got)
    }

    pub(crate) fn restore(&self, cut: ReservationId, gone: &[KeyId]) {
        let gone = gone.to_vec();
        self.ledger.run_blocking(move |book| book.restore(cut, &gone)).unwrap();
        self.check();
    }

    pub(crate) fn void_cut(&self, cut: ReservationId) {
        self.ledger.run_blocking(move |book| book.void_cut(cut)).unwrap();
        self.check();
    }

    #[expect(clippy::redundant_closure_for_method_calls, reason = "a path is not general enough over lifetimes")]
    pub(crate) fn void_all_cuts(&self) -> u64 {
        let keys = self.ledger.run_blocking(|book| book.void_all_cuts()).unwrap();
        self.check();
        keys
    }

    pub(crate) fn reserve_for(
        &self,
        link: &str,
        slaves: &[&str],
        keys: &[KeyPositions],
        now: Duration,
    ) -> Result<(), ReserveError> {
        self.reserve_by(link, "alice", slaves, keys, now)
    }

    pub(crate) fn reserve_by(
        &self,
        link: &str,
        master: &str,
        slaves: &[&str],
        keys: &[KeyPositions],
        now: Duration,
    ) -> Result<(), ReserveError> {
        let (link, master, keys) = (kme(link), sae(master), keys.to_vec());
        let slaves: Vec<_> = slaves.iter().map(|name| sae(name)).collect();
        let reserved = self
            .ledger
            .run_blocking(move |book| {
                let reserved = book.reserve(&link, &master, &slaves, &keys, now)?;
                assert!(reserved.is_err() || book.is_reserved(&link, &master, &slaves, &keys)?);
                Ok(reserved)
            })
            .unwrap();
        self.check();
        reserved
    }

    pub(crate) fn reserve(&self, link: &str, keys: &[KeyPositions]) -> Result<(), ReserveError> {
        self.reserve_for(link, &["bob"], keys, at(0))
    }

    pub(crate) fn is_reserved(&self, link: &str, slave: &str, keys: &[KeyPositions]) -> bool {
        let (link, slave, keys) = (kme(link), sae(slave), keys.to_vec());
        self.ledger
            .run_blocking(move |book| book.is_reserved(&link, &sae("alice"), std::slice::from_ref(&slave), &keys))
            .unwrap()
    }

    pub(crate) fn confirm(&self, link: &str, ids: &[KeyId], now: Duration) {
        let (link, ids) = (kme(link), ids.to_vec());
        self.ledger.run_blocking(move |book| book.confirm(&link, &ids, now)).unwrap();
        self.check();
    }

    pub(crate) fn void(&self, link: &str, keys: &[KeyPositions]) {
        let (link, keys) = (kme(link), keys.to_vec());
        self.ledger.run_blocking(move |book| book.void(&link, &keys)).unwrap();
        self.check();
    }

    pub(crate) fn void_extent(&self, link: &str, extent: Extent) {
        let link = kme(link);
        self.ledger.run_blocking(move |book| book.void_extent(&link, extent)).unwrap();
        self.check();
    }

    pub(crate) fn collect_at(&self, caller: &str, ids: &[KeyId], now: Duration) -> Result<Vec<Got>, CollectError> {
        let (caller, ids) = (sae(caller), ids.to_vec());
        let keys = self.ledger.run_blocking(move |book| book.collect(&caller, &sae("alice"), &ids, now)).unwrap();
        self.check();
        keys.map(got)
    }

    pub(crate) fn collect(&self, caller: &str, ids: &[KeyId]) -> Result<Vec<Got>, CollectError> {
        self.collect_at(caller, ids, at(1))
    }

    pub(crate) fn expire(&self, now: Duration) -> Expired {
        let expired = self.ledger.run_blocking(move |book| book.expire(now, 1000)).unwrap();
        self.check();
        expired
    }

    pub(crate) fn outgoing(&self, link: &str) -> Vec<Outgoing> {
        let link = kme(link);
        self.ledger.run_blocking(move |book| book.outbox(&link, 1000)).unwrap()
    }

    pub(crate) fn messages(&self, link: &str) -> Vec<Message> {
        self.outgoing(link).into_iter().map(|outgoing| outgoing.message).collect()
    }

    pub(crate) fn heard(&self, seqs: &[i64]) {
        let seqs = seqs.to_vec();
        self.ledger.run_blocking(move |book| book.heard(&seqs)).unwrap();
        self.check();
    }

    /// Takes what the end at the other side of the link says.
    pub(crate) fn hear(&self, from: &str, message: &Message, now: Duration) {
        match message {
            Message::Delivered(ids) => self.confirm(from, ids, now),
            Message::Void(keys) => self.void(from, keys),
            Message::VoidExtent(extent) => self.void_extent(from, *extent),
        }
    }

    pub(crate) fn books(&self, link: &str) -> Accounting {
        let link = kme(link);
        self.ledger.run_blocking(move |book| book.accounting(&link)).unwrap()
    }

    #[expect(clippy::redundant_closure_for_method_calls, reason = "a path is not general enough over lifetimes")]
    pub(crate) fn links(&self) -> Vec<LinkView> {
        self.ledger.run_blocking(|book| book.links()).unwrap()
    }

    /// Every link's books balance, and so do the tallies of what waits.
    #[expect(clippy::redundant_closure_for_method_calls, reason = "a path is not general enough over lifetimes")]
    fn check(&self) {
        for link in self.links() {
            assert!(link.accounting.balances(), "{link:?}");
        }
        let adds_up = self.ledger.run_blocking(|book| book.waiting_adds_up()).unwrap();
        assert!(adds_up, "a tally of waiting keys is wrong");
    }
}

fn got(keys: Vec<vernam_etsi014::DeliveredKey>) -> Vec<Got> {
    keys.into_iter().map(|key| Got { key_id: key.key_id, key: key.key.expose("test").to_vec() }).collect()
}

/// Two KMEs and a link between them. A's half comes first.
pub(crate) struct Pair {
    pub(crate) a: End,
    pub(crate) b: End,
}

impl Pair {
    pub(crate) fn new(site: &Site) -> Self {
        Self::with(site, LIMITS)
    }

    pub(crate) fn with(site: &Site, limits: LedgerLimits) -> Self {
        Self { a: End::new(site, "kme-a", limits), b: End::new(site, "kme-b", limits).salted(1) }
    }

    /// With blocks 0, 1, ... of the lengths given.
    pub(crate) fn with_blocks(site: &Site, lengths: &[usize]) -> Self {
        let pair = Self::new(site);
        for (number, &len) in lengths.iter().enumerate() {
            pair.block(number as u64, len);
        }
        pair
    }

    pub(crate) fn block(&self, number: u64, len: usize) {
        for (end, peer) in [(&self.a, "kme-b"), (&self.b, "kme-a")] {
            assert_eq!(end.deposit_at(peer, number, bits("a-b", number, len), at(0)), Ok(Deposited::Pooled));
        }
    }

    /// Delivers every message of both, in order.
    pub(crate) fn talk(&self, now: Duration) {
        let ends = [(&self.a, "kme-a", &self.b, "kme-b"), (&self.b, "kme-b", &self.a, "kme-a")];
        while ends.iter().any(|(from, _, _, to)| !from.outgoing(to).is_empty()) {
            for (from, name, to, peer) in ends {
                for Outgoing { seq, message } in from.outgoing(peer) {
                    to.hear(name, &message, now);
                    from.heard(&[seq]);
                }
            }
        }
    }

    /// A's books and B's, which must mirror each other.
    pub(crate) fn mirrored(&self) -> (Accounting, Accounting) {
        let (a, b) = (self.a.books("kme-b"), self.b.books("kme-a"));
        assert_eq!((a.pooled_own, a.pooled_peer), (b.pooled_peer, b.pooled_own), "{a:?} {b:?}");
        (a, b)
    }
}
