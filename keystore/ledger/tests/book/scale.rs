//! The work for a request does not grow with the pool: the rows it touches are as many in a large one as in a small.

use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::StdRng;
use vernam_ledger::LedgerLimits;

use crate::support::{Site, for_each_place};
use crate::world::{LIMITS, Pair, at, ids, wish};

const ROUNDS: u64 = 200;

/// Milliseconds for so many keys cut, reserved, delivered, confirmed and collected.
fn rounds(pair: &Pair) -> f64 {
    let started = Instant::now();
    for round in 0..ROUNDS {
        let cut = pair
            .a
            .ledger
            .run_blocking(move |book| book.cut(&wish("kme-b", 2, 32), at(0), &mut StdRng::seed_from_u64(round)))
            .unwrap()
            .unwrap();
        pair.b.reserve("kme-a", &cut.keys).unwrap();
        pair.a.deliver(cut.reservation, at(0)).unwrap();
        pair.b.confirm("kme-a", &ids(&cut.keys), at(0));
        pair.b.collect("bob", &ids(&cut.keys)).unwrap();
        pair.a.void_all_cuts();
    }
    started.elapsed().as_secs_f64() * 1000.0
}

fn pair(site: &Site, blocks: u64) -> Pair {
    let pair = Pair::with(site, LedgerLimits { max_pool_bits: u64::MAX, max_waiting_keys: u64::MAX, ..LIMITS });
    for number in 0..blocks {
        pair.block(number, 65_536);
    }
    // Many keys wait, and many messages.
    for number in 0..blocks {
        let cut = pair.a.cut(&wish("kme-b", 64, 32));
        pair.b.reserve("kme-a", &cut.keys).unwrap();
        if number % 2 == 0 {
            pair.a.deliver(cut.reservation, at(0)).unwrap();
        }
    }
    pair
}

#[test]
fn work_does_not_grow_with_the_pool() {
    for_each_place(|site| {
        let small_took = rounds(&pair(site, 2));
        let fresh = match site.name {
            "memory" => Site::memory(),
            "SQLite" => Site::sqlite(),
            _ => Site::postgres(),
        };
        let large_took = rounds(&pair(&fresh, 48));
        println!(
            "{}: {ROUNDS} rounds over 2 blocks {small_took:.0} ms, over 48 blocks {large_took:.0} ms, ratio {:.2}",
            site.name,
            large_took / small_took
        );
    });
}
