//! Two ledgers and a bad wire between them: whatever happens, no bit is used twice and none is forgotten.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::collections::HashSet;
use std::time::Duration;

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use vernam_etsi014::{KmeId, SaeId};
use vernam_key::{KeyId, SecretBytes};
use vernam_kme::{Deposited, Extent, KeyPositions, Ledger, LedgerLimits, ReserveError};

const CONFIRM: Duration = Duration::from_secs(50);
const KEEP: Duration = Duration::from_secs(200);

#[derive(Debug, Clone)]
enum Event {
    /// A block of 8-byte words (an even number, so that halves are whole words) for A, for B, or both.
    Block {
        words: u16,
        at: (bool, bool),
    },
    /// A wish at one end, and what the wire does to the wish and to its answer.
    Wish {
        at_a: bool,
        number: u32,
        words: u32,
        arrives: bool,
        answered: bool,
        told: bool,
    },
    /// The slave collects its oldest key.
    Collect {
        at_a: bool,
    },
    /// Voids that the wire held up arrive.
    LateVoids {
        at_a: bool,
    },
    Wait {
        seconds: u8,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let often = prop::bool::weighted(0.85);
    prop_oneof![
        2 => (1..20_u16, prop::bool::weighted(0.9), prop::bool::weighted(0.9))
            .prop_map(|(words, a, b)| Event::Block { words: words * 2, at: (a, b) }),
        5 => (any::<bool>(), 1..4_u32, 1..8_u32, often, often, often).prop_map(
            |(at_a, number, words, arrives, answered, told)| {
                Event::Wish { at_a, number, words, arrives, answered, told }
            }
        ),
        4 => any::<bool>().prop_map(|at_a| Event::Collect { at_a }),
        1 => any::<bool>().prop_map(|at_a| Event::LateVoids { at_a }),
        1 => any::<u8>().prop_map(|seconds| Event::Wait { seconds }),
    ]
}

struct Side {
    ledger: Ledger,
    sae: SaeId,
    /// Keys that our SAE took as master and the other has not collected yet.
    announced: Vec<(KeyId, Vec<u8>)>,
    late_voids: Vec<KeyPositions>,
}

struct Pair {
    a: Side,
    b: Side,
    now: Duration,
    rng: StdRng,
    used: HashSet<Vec<u8>>,
    next_block: u64,
}

fn side(here: &str, there: &str, sae: &str) -> Side {
    let limits = LedgerLimits { max_pool_bits: 80 * 64, max_reservations: 20, confirm_within: CONFIRM, keep_for: KEEP };
    let id = |text: &str| text.parse::<KmeId>().unwrap();
    let ledger = Ledger::new(&id(here), &id(there), limits);
    Side { ledger, sae: sae.parse().unwrap(), announced: Vec::new(), late_voids: Vec::new() }
}

impl Pair {
    fn new() -> Self {
        let (a, b) = (side("kme-a", "kme-b", "alice"), side("kme-b", "kme-a", "bob"));
        Self { a, b, now: Duration::ZERO, rng: StdRng::seed_from_u64(1), used: HashSet::new(), next_block: 0 }
    }

    fn run(&mut self, event: &Event) {
        match *event {
            Event::Block { words, at } => self.block(words, at),
            Event::Wish { at_a, number, words, arrives, answered, told } => {
                let (master, slave) = if at_a { (&mut self.a, &mut self.b) } else { (&mut self.b, &mut self.a) };
                let Ok(cut) = master.ledger.cut(number, words * 8, &mut self.rng) else { return };
                let positions = cut.positions();
                let reserved = arrives.then(|| slave.ledger.reserve(&master.sae, &slave.sae, &positions, self.now));
                match reserved {
                    Some(Ok(())) if answered => {
                        for key in master.ledger.deliver(cut) {
                            let bytes = key.key.expose("test").to_vec();
                            assert_eq!(bytes.len(), words as usize * 8);
                            for word in bytes.chunks(8) {
                                assert!(self.used.insert(word.to_vec()), "bits were delivered twice");
                            }
                            if told {
                                slave.ledger.confirm(&[key.key_id], self.now);
                            }
                            master.announced.push((key.key_id, bytes));
                        }
                    }
                    Some(Err(error)) if answered => {
                        let gone = if let ReserveError::Gone(gone) = error { gone } else { Vec::new() };
                        let lost = positions.into_iter().filter(|key| gone.contains(&key.key_id));
                        master.late_voids.extend(lost);
                        master.ledger.restore(cut, &gone);
                    }
                    _ => {
                        master.late_voids.extend(positions);
                        master.ledger.void_cut(cut);
                    }
                }
            }
            Event::Collect { at_a } => {
                let (master, slave) = if at_a { (&mut self.b, &mut self.a) } else { (&mut self.a, &mut self.b) };
                if master.announced.is_empty() {
                    return;
                }
                let (id, bytes) = master.announced.remove(0);
                assert!(slave.ledger.collect(&master.sae, &master.sae, &[id]).is_err(), "not to another SAE");
                if let Ok(keys) = slave.ledger.collect(&slave.sae, &master.sae, &[id]) {
                    assert_eq!(keys[0].key.expose("test"), bytes);
                    assert!(slave.ledger.collect(&slave.sae, &master.sae, &[id]).is_err(), "once");
                }
            }
            Event::LateVoids { at_a } => {
                let (from, to) = if at_a { (&mut self.b, &mut self.a) } else { (&mut self.a, &mut self.b) };
                to.ledger.void(&std::mem::take(&mut from.late_voids));
            }
            Event::Wait { seconds } => {
                self.now += Duration::from_secs(seconds.into());
                self.a.ledger.expire(self.now);
                self.b.ledger.expire(self.now);
            }
        }
    }

    fn block(&mut self, words: u16, at: (bool, bool)) {
        let number = self.next_block;
        self.next_block += 1;
        let bits: Vec<u8> = (0..u64::from(words)).flat_map(|word| (number << 32 | word).to_be_bytes()).collect();
        let mut no_room = Vec::new();
        for (side, at) in [(&mut self.a, at.0), (&mut self.b, at.1)] {
            if at {
                match side.ledger.deposit(number, SecretBytes::copy_of(&bits)).unwrap() {
                    Deposited::NoRoom(extent) => no_room.push(extent),
                    Deposited::Pooled => {}
                }
                assert!(side.ledger.deposit(number, SecretBytes::copy_of(&bits)).is_err(), "a block comes once");
            }
        }
        for extent in no_room {
            self.a.ledger.void_extent(extent);
            self.b.ledger.void_extent(extent);
        }
    }

    fn check(&self) {
        for side in [&self.a, &self.b] {
            let books = side.ledger.accounting();
            assert!(books.balances(), "{books:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bit_is_used_twice_and_none_is_forgotten(events in prop::collection::vec(event(), 1..120)) {
        let mut pair = Pair::new();
        for event in &events {
            pair.run(event);
            pair.check();
        }
        // In the end everything that waits expires, and the books still balance.
        pair.run(&Event::LateVoids { at_a: true });
        pair.run(&Event::LateVoids { at_a: false });
        pair.now += CONFIRM + KEEP;
        pair.run(&Event::Wait { seconds: 0 });
        pair.check();
        prop_assert_eq!(pair.a.ledger.accounting().reserved, 0);
        prop_assert_eq!(pair.b.ledger.accounting().reserved, 0);
    }

    #[test]
    fn on_a_good_wire_both_ends_stay_alike(
        wishes in prop::collection::vec((any::<bool>(), 1..4_u32, 1..8_u32), 1..60),
    ) {
        let mut pair = Pair::new();
        for (at_a, number, words) in wishes {
            pair.run(&Event::Block { words: 10, at: (true, true) });
            pair.run(&Event::Wish { at_a, number, words, arrives: true, answered: true, told: true });
            pair.run(&Event::Collect { at_a: !at_a });
            let (a, b) = (pair.a.ledger.accounting(), pair.b.ledger.accounting());
            prop_assert_eq!((a.pooled_own, a.pooled_peer), (b.pooled_peer, b.pooled_own));
            prop_assert_eq!((a.made, a.voided), (b.made, b.voided));
        }
    }
}

#[test]
fn an_unconfirmed_key_waits_less_than_a_confirmed_one() {
    let mut pair = Pair::new();
    let wish = |told| Event::Wish { at_a: true, number: 1, words: 1, arrives: true, answered: true, told };
    pair.run(&Event::Block { words: 8, at: (true, true) });
    pair.run(&wish(false));
    pair.run(&wish(true));
    pair.now = CONFIRM;
    assert_eq!(pair.b.ledger.expire(pair.now), 1);
    assert_eq!(pair.b.ledger.accounting().voided, 64);
    assert_eq!(pair.b.ledger.expire(CONFIRM * 3), 0);
    assert_eq!(pair.b.ledger.expire(KEEP), 1);
    pair.check();
}

#[test]
fn voids_may_come_before_their_block() {
    let mut pair = Pair::new();
    let early = Extent { block: 0, offset: 0, len: 16 };
    pair.a.ledger.void_extent(early);
    pair.run(&Event::Block { words: 8, at: (true, true) });
    assert_eq!((pair.a.ledger.accounting().voided, pair.a.ledger.accounting().pooled_own), (128, 128));
    let far = Extent { block: 0, offset: u32::MAX, len: u32::MAX };
    pair.a.ledger.void_extent(far);
    pair.check();
}

#[test]
fn hostile_positions_are_refused() {
    let mut pair = Pair::new();
    pair.run(&Event::Block { words: 8, at: (true, true) });
    let (alice, bob) = (pair.a.sae.clone(), pair.b.sae.clone());
    let mut rng = StdRng::seed_from_u64(2);
    let key =
        |extents: &[Extent], rng: &mut StdRng| KeyPositions { key_id: KeyId::random(rng), extents: extents.to_vec() };
    let books = pair.b.ledger.accounting();
    for extents in [
        &[Extent { block: 0, offset: 32, len: 8 }][..], // B's own half
        &[Extent { block: 0, offset: 28, len: 8 }],     // across the middle
        &[Extent { block: 0, offset: u32::MAX, len: 8 }],
        &[Extent { block: 0, offset: 0, len: u32::MAX }],
        &[Extent { block: 0, offset: 0, len: 8 }, Extent { block: 0, offset: 7, len: 8 }],
        &[Extent { block: 0, offset: 0, len: 0 }],
    ] {
        let refused = pair.b.ledger.reserve(&alice, &bob, &[key(extents, &mut rng)], pair.now);
        assert!(matches!(refused, Err(ReserveError::Gone(_))), "{extents:?}");
    }
    let not_yet = key(&[Extent { block: 1, offset: 0, len: 8 }], &mut rng);
    assert_eq!(pair.b.ledger.reserve(&alice, &bob, &[not_yet], pair.now), Err(ReserveError::NotYet));
    let twice = key(&[Extent { block: 0, offset: 0, len: 8 }], &mut rng);
    let refused = pair.b.ledger.reserve(&alice, &bob, &[twice.clone(), twice.clone()], pair.now);
    assert_eq!(refused, Err(ReserveError::Conflict));
    assert_eq!(pair.b.ledger.accounting(), books, "a refusal changes nothing");
    let granted = pair.b.ledger.reserve(&alice, &bob, std::slice::from_ref(&twice), pair.now);
    assert_eq!(granted, Ok(()));
    assert_eq!(pair.b.ledger.reserve(&alice, &bob, &[twice], pair.now), Ok(()), "asked again after a lost answer");
    pair.check();
}
