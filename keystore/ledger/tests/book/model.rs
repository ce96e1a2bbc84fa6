//! Two ledgers and a bad wire between them: whatever happens, no bit is used twice, both ends get the same key, and in the
//! end nothing is left in limbo.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use vernam_key::KeyId;
use vernam_ledger::{Cut, Deposited, LedgerLimits, Message, Outgoing, ReserveError, Wish};

use crate::support::Site;
use crate::world::{End, Got, LIMITS, at, bits, ids, sae, wish};

/// Blocks, messages and cuts are named by numbers that are taken modulo how many there are.
#[derive(Debug, Clone)]
enum Event {
    /// A block for A, for B, or both.
    Block { bytes: usize, at: (bool, bool) },
    /// A wish at one end; with slaves there as well, and with none at the peer.
    Cut { at_a: bool, number: u32, bytes: u32, local: bool, remote: bool },
    /// The request for a cut arrives at the peer (again, or after the cut was settled), and the answer comes back or not.
    Ask { which: usize, answered: bool },
    /// The master's KME decides by what it knows.
    Settle { which: usize },
    /// A slave collects a key that was delivered.
    Collect { which: usize, local: bool },
    /// Some messages arrive; whether the sender learns of it.
    Talk { from_a: bool, most: usize, acknowledged: bool },
    /// An old message arrives once more.
    Replay { from_a: bool, which: usize },
    /// Time passes for both, and housekeeping is done.
    Wait { seconds: u64 },
    /// The clock of one end jumps.
    Jump { at_a: bool, seconds: i64 },
    /// One end starts anew.
    Restart { at_a: bool },
    /// A peer's void of any bytes.
    VoidExtent { at_a: bool, block: u64, offset: u32, len: u32 },
}

fn event() -> impl Strategy<Value = Event> {
    let often = prop::bool::weighted(0.85);
    let mostly = prop::bool::weighted(0.9);
    prop_oneof![
        3 => (1..3000_usize, mostly, mostly).prop_map(|(bytes, a, b)| Event::Block { bytes, at: (a, b) }),
        6 => (any::<bool>(), 1..5_u32, 1..300_u32, prop::bool::weighted(0.2), often).prop_map(
            |(at_a, number, bytes, local, remote)| Event::Cut { at_a, number, bytes, local, remote }
        ),
        8 => (any::<usize>(), often).prop_map(|(which, answered)| Event::Ask { which, answered }),
        6 => any::<usize>().prop_map(|which| Event::Settle { which }),
        5 => (any::<usize>(), any::<bool>()).prop_map(|(which, local)| Event::Collect { which, local }),
        3 => (any::<bool>(), 1..6_usize, often).prop_map(
            |(from_a, most, acknowledged)| Event::Talk { from_a, most, acknowledged }
        ),
        1 => (any::<bool>(), any::<usize>()).prop_map(|(from_a, which)| Event::Replay { from_a, which }),
        2 => (0..120_u64).prop_map(|seconds| Event::Wait { seconds }),
        1 => (any::<bool>(), -5000..5000_i64).prop_map(|(at_a, seconds)| Event::Jump { at_a, seconds }),
        1 => any::<bool>().prop_map(|at_a| Event::Restart { at_a }),
        1 => (any::<bool>(), 0..12_u64, 0..3000_u32, 0..400_u32).prop_map(
            |(at_a, block, offset, len)| Event::VoidExtent { at_a, block, offset, len }
        ),
    ]
}

/// What the master's KME knows of the peer's copies.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Known {
    /// Nothing was sent.
    Unasked,
    /// An answer is missing.
    InDoubt,
    Reserved,
    Refused(Vec<KeyId>),
}

struct Flight {
    at_a: bool,
    wish: Wish,
    cut: Cut,
    known: Known,
    settled: bool,
}

struct Side {
    end: End,
    name: &'static str,
    peer: &'static str,
    /// Seconds that this clock is off by.
    skew: i64,
    /// Everything it ever said.
    said: Vec<Message>,
}

struct World<'a> {
    site: &'a Site,
    sides: [Side; 2],
    now: u64,
    next_block: u64,
    /// How often one of them started anew.
    starts: u64,
    blocks: HashMap<u64, usize>,
    flights: Vec<Flight>,
    /// Every byte a master was given, with the key it went into.
    used: BTreeMap<(u64, u32), KeyId>,
    delivered: Vec<(bool, Wish, Got)>,
}

fn limits() -> LedgerLimits {
    LedgerLimits { max_pool_bits: 20_000 * 8, max_waiting_keys: 48, ..LIMITS }
}

impl<'a> World<'a> {
    fn new(site: &'a Site) -> Self {
        let start = |name, peer, salt| Side {
            end: End::new(site, name, limits()).salted(salt),
            name,
            peer,
            skew: 0,
            said: Vec::new(),
        };
        Self {
            site,
            sides: [start("kme-a", "kme-b", 1), start("kme-b", "kme-a", 2)],
            now: 100_000,
            next_block: 0,
            starts: 0,
            blocks: HashMap::new(),
            flights: Vec::new(),
            used: BTreeMap::new(),
            delivered: Vec::new(),
        }
    }

    fn side(&self, a: bool) -> &Side {
        &self.sides[usize::from(!a)]
    }

    fn clock(&self, a: bool) -> Duration {
        at(self.now.saturating_add_signed(self.side(a).skew))
    }

    fn run(&mut self, event: &Event) {
        match *event {
            Event::Block { bytes, at } => self.block(bytes, at),
            Event::Cut { at_a, number, bytes, local, remote } => self.cut(at_a, number, bytes, local, remote),
            Event::Ask { which, answered } => self.ask(which, answered),
            Event::Settle { which } => self.settle(which),
            Event::Collect { which, local } => self.collect(which, local),
            Event::Talk { from_a, most, acknowledged } => self.talk(from_a, most, acknowledged),
            Event::Replay { from_a, which } => {
                let said = &self.side(from_a).said;
                if let Some(message) = said.get(which % said.len().max(1)) {
                    let to = self.side(!from_a);
                    to.end.hear(self.side(from_a).name, message, self.clock(!from_a));
                }
            }
            Event::Wait { seconds } => {
                self.now += seconds;
                for a in [true, false] {
                    self.side(a).end.expire(self.clock(a));
                }
            }
            Event::Jump { at_a, seconds } => self.sides[usize::from(!at_a)].skew = seconds,
            Event::Restart { at_a } => self.restart(at_a),
            Event::VoidExtent { at_a, block, offset, len } => {
                let side = self.side(at_a);
                side.end.void_extent(side.peer, vernam_ledger::Extent { block, offset, len });
            }
        }
    }

    fn block(&mut self, bytes: usize, at: (bool, bool)) {
        let number = self.next_block;
        self.next_block += 1;
        self.blocks.insert(number, bytes);
        for (a, comes) in [(true, at.0), (false, at.1)] {
            if comes {
                let side = self.side(a);
                let deposited = side.end.deposit_at(side.peer, number, bits("a-b", number, bytes), self.clock(a));
                assert!(matches!(deposited, Ok(Deposited::Pooled | Deposited::NoRoom)), "{deposited:?}");
            }
        }
    }

    fn cut(&mut self, at_a: bool, number: u32, bytes: u32, local: bool, remote: bool) {
        let side = self.side(at_a);
        let mut wish = wish(side.peer, number, bytes);
        wish.deadline = self.clock(at_a) + Duration::from_mins(1);
        if local {
            wish.local = vec![sae("carol")];
        }
        if !remote {
            wish.remote.clear();
        }
        if let Ok(cut) = side.end.try_cut(&wish, self.clock(at_a)) {
            let known = Known::Unasked;
            self.flights.push(Flight { at_a, wish, cut, known, settled: false });
        }
    }

    fn ask(&mut self, which: usize, answered: bool) {
        let Some(index) = which.checked_rem(self.flights.len()) else { return };
        let flight = &self.flights[index];
        if flight.wish.remote.is_empty() {
            return;
        }
        let to = self.side(!flight.at_a);
        let outcome = to.end.reserve_for(to.peer, &["bob"], &flight.cut.keys, self.clock(!flight.at_a));
        let known = match outcome {
            Ok(()) if answered => Known::Reserved,
            // Refused for certain, unless an earlier request may have been granted and not answered.
            Err(error) if answered && matches!(flight.known, Known::Unasked | Known::Refused(_)) => {
                Known::Refused(if let ReserveError::Gone(gone) = error { gone } else { Vec::new() })
            }
            _ => Known::InDoubt,
        };
        self.flights[index].known = known;
    }

    fn settle(&mut self, which: usize) {
        let Some(index) = which.checked_rem(self.flights.len()) else { return };
        let flight = &mut self.flights[index];
        flight.settled = true;
        let (at_a, wish, cut, known) = (flight.at_a, flight.wish.clone(), flight.cut.clone(), flight.known.clone());
        let now = self.clock(at_a);
        let end = &self.side(at_a).end;
        let alone = wish.remote.is_empty();
        match known {
            Known::Reserved => {}
            Known::Unasked if alone => {}
            Known::Refused(gone) => return end.restore(cut.reservation, &gone),
            Known::InDoubt | Known::Unasked => return end.void_cut(cut.reservation),
        }
        let Some(keys) = end.deliver(cut.reservation, now) else { return };
        assert_eq!(keys.iter().map(|key| key.key_id).collect::<Vec<_>>(), ids(&cut.keys));
        for (positions, got) in cut.keys.iter().zip(keys) {
            let mut made = Vec::new();
            for extent in &positions.extents {
                let range = extent.offset..extent.offset + extent.len;
                let block = bits("a-b", extent.block, self.blocks[&extent.block]);
                made.extend_from_slice(&block[range.start as usize..range.end as usize]);
                for byte in range {
                    let before = self.used.insert((extent.block, byte), positions.key_id);
                    assert_eq!(before, None, "byte {byte} of block {} was delivered twice", extent.block);
                }
            }
            assert_eq!(got.key, made, "the key is not what the link made");
            self.delivered.push((at_a, wish.clone(), got));
        }
    }

    fn collect(&mut self, which: usize, local: bool) {
        let Some(index) = which.checked_rem(self.delivered.len()) else { return };
        let (at_a, wish, got) = &self.delivered[index];
        let (there, slave, is_for) =
            if local { (*at_a, "carol", !wish.local.is_empty()) } else { (!at_a, "bob", !wish.remote.is_empty()) };
        let (end, now) = (&self.side(there).end, self.clock(there));
        assert!(end.collect_at("mallory", &[got.key_id], now).is_err(), "not to another SAE");
        if let Ok(keys) = end.collect_at(slave, &[got.key_id], now) {
            assert!(is_for, "it was for nobody there");
            assert_eq!(&keys[0], got, "master and slave have different keys");
            assert!(end.collect_at(slave, &[got.key_id], now).is_err(), "once");
        }
    }

    fn talk(&mut self, from_a: bool, most: usize, acknowledged: bool) {
        let from = self.side(from_a);
        let mut said = Vec::new();
        for Outgoing { seq, message } in from.end.outgoing(from.peer).into_iter().take(most) {
            self.side(!from_a).end.hear(from.name, &message, self.clock(!from_a));
            if acknowledged {
                from.end.heard(&[seq]);
            }
            said.push(message);
        }
        self.sides[usize::from(!from_a)].said.extend(said);
    }

    fn restart(&mut self, at_a: bool) {
        if !self.site.is_durable() {
            return;
        }
        self.starts += 1;
        let salt = 10 + self.starts;
        let side = &mut self.sides[usize::from(!at_a)];
        let before = side.end.links();
        // The old one must be closed before the new one opens.
        let spare = End::new(&Site::memory(), side.name, limits());
        drop(std::mem::replace(&mut side.end, spare));
        side.end = End::new(self.site, side.name, limits()).salted(salt);
        assert_eq!(side.end.links(), before);
        side.end.void_all_cuts();
    }

    /// Everything is said, everybody's time is over.
    fn heal(&mut self) {
        for side in &mut self.sides {
            side.skew = 0;
        }
        for _ in 0..3 {
            // Each round: what was only now confirmed waits for its slave again.
            self.now += 1_000_000;
            for a in [true, false] {
                self.side(a).end.expire(self.clock(a));
                while !self.side(a).end.outgoing(self.side(a).peer).is_empty() {
                    self.talk(a, 100, true);
                }
            }
        }
        for side in &self.sides {
            let books = side.end.books(side.peer);
            assert!(books.balances() && books.reserved == 0, "{books:?}");
            assert!(side.end.links().iter().all(|link| link.waiting_keys == 0 && link.outbox == 0));
        }
        // What A's masters were given is what B's books say of A's half, and the other way round, at most.
        for (index, peer) in [(0, 1), (1, 0)] {
            let (master, slave) = (&self.sides[index], &self.sides[peer]);
            let (ours, theirs) = (master.end.books(master.peer), slave.end.books(slave.peer));
            assert!(theirs.delivered_to_slave <= ours.delivered_to_master, "{ours:?} {theirs:?}");
        }
    }
}

#[expect(clippy::print_stdout, reason = "whoever sees a failure needs the seed")]
fn try_many(make: fn() -> Site, cases: u32, events: usize) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let seed = [u8::try_from(cases).unwrap(); 32];
    println!("the seed is {seed:?}");
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let outcome = runner.run(&prop::collection::vec(event(), 1..events), |events| {
        let site = make();
        let mut world = World::new(&site);
        for event in &events {
            world.run(event);
        }
        world.heal();
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[test]
fn no_bit_is_used_twice_and_none_is_forgotten_in_memory() {
    try_many(Site::memory, 100, 160);
}

#[test]
fn no_bit_is_used_twice_and_none_is_forgotten_in_sqlite() {
    try_many(Site::sqlite, 12, 120);
}

#[test]
fn no_bit_is_used_twice_and_none_is_forgotten_in_postgresql() {
    let _server = crate::support::Server::shared();
    try_many(Site::postgres, 4, 100);
}
