//! Chunks that do not open: their bits are void, and the books still balance.

use rusqlite::Connection;
use vernam_ledger::{Message, Place, ReserveError};

use crate::support::{Site, for_each_durable_place};
use crate::world::{Pair, at, bits, extent, ids, sae, wish};

/// Spoils, or takes away, the chunks of the KME's ledger that `which` names in SQL. The ledger must be closed.
fn spoil(site: &Site, kme: &str, which: &str, take_away: bool) {
    let sql = if take_away {
        format!("DELETE FROM chunk WHERE {which}")
    } else {
        format!("UPDATE chunk SET sealed = (SELECT value FROM meta LIMIT 1) WHERE {which}")
    };
    match site.place(kme) {
        Place::Sqlite(path) => assert!(Connection::open(path).unwrap().execute(&sql, []).unwrap() > 0),
        Place::Postgres(target) => {
            let database = target.split("dbname=").nth(1).unwrap();
            site.server().unwrap().sql(database, &sql);
        }
        Place::Memory => panic!("nothing lies at rest in memory"),
    }
}

#[test]
fn a_cut_skips_what_cannot_be_read_and_says_so() {
    for_each_durable_place(|site| {
        for take_away in [false, true] {
            let number = u64::from(take_away);
            let pair = Pair::new(site);
            pair.block(number, 6144);
            drop(pair);
            spoil(site, "kme-a", &format!("block = {number} AND start_at = 1024"), take_away);
            let pair = Pair::new(site);
            let cut = pair.a.cut(&wish("kme-b", 2, 600));
            assert_eq!(cut.keys[1].extents, [extent(number, 600, 424), extent(number, 2048, 176)]);
            assert_eq!(pair.a.messages("kme-b"), [Message::VoidExtent(extent(number, 1024, 1024))]);
            pair.b.reserve("kme-a", &cut.keys).unwrap();
            let master = pair.a.deliver(cut.reservation, at(0)).unwrap();
            assert_eq!(pair.b.collect("bob", &ids(&cut.keys)).unwrap(), master);
            pair.talk(at(0));
            let rest = pair.a.cut(&wish("kme-b", 1, 848));
            assert_eq!(rest.keys[0].extents, [extent(number, 2224, 848)]);
            pair.b.reserve("kme-a", &rest.keys).unwrap();
            assert!(pair.a.deliver(rest.reservation, at(0)).is_some());
            pair.b.collect("bob", &ids(&rest.keys)).unwrap();
            pair.talk(at(0));
            let (a, b) = pair.mirrored();
            assert_eq!((a.voided, b.voided), ((number + 1) * 8192, (number + 1) * 8192));
        }
    });
}

#[test]
fn a_cut_that_finds_too_little_is_short() {
    for_each_durable_place(|site| {
        drop(Pair::with_blocks(site, &[4096]));
        spoil(site, "kme-a", "start_at < 2048", false);
        let pair = Pair::new(site);
        let short = pair.a.try_cut(&wish("kme-b", 1, 8), at(0)).unwrap_err();
        assert_eq!((short.wanted, short.young), (64, 0));
        assert_eq!((pair.a.books("kme-b").pooled_own, pair.a.books("kme-b").voided), (0, 2048 * 8));
        assert_eq!(pair.a.messages("kme-b").len(), 2);
        pair.talk(at(0));
        pair.mirrored();
    });
}

#[test]
fn what_became_unreadable_after_the_cut_is_not_delivered() {
    for_each_durable_place(|site| {
        let pair = Pair::with_blocks(site, &[4096]);
        let cut = pair.a.cut(&wish("kme-b", 2, 1024));
        pair.b.reserve("kme-a", &cut.keys).unwrap();
        drop(pair);
        spoil(site, "kme-a", "start_at = 1024", false);
        let pair = Pair::new(site);
        assert_eq!(pair.a.deliver(cut.reservation, at(0)), None);
        pair.talk(at(0));
        let (a, b) = pair.mirrored();
        assert_eq!((a.voided, a.reserved, b.voided, b.reserved), (16384, 0, 16384, 0));
    });
}

#[test]
fn keys_on_unreadable_bits_are_gone_or_not_found() {
    for_each_durable_place(|site| {
        let pair = Pair::with_blocks(site, &[4096]);
        let early = pair.a.cut(&wish("kme-b", 2, 256));
        pair.b.reserve("kme-a", &early.keys).unwrap();
        let late = pair.a.cut(&wish("kme-b", 3, 512));
        drop(pair);
        spoil(site, "kme-b", "start_at = 0", false);
        let pair = Pair::new(site);
        let gone = Err(ReserveError::Gone(vec![late.keys[0].key_id]));
        assert_eq!(pair.b.reserve("kme-a", &late.keys), gone);
        pair.a.restore(late.reservation, &ids(&late.keys[..1]));
        assert!(pair.b.collect("bob", &ids(&early.keys[..1])).is_err());
        let books = pair.b.books("kme-a");
        assert_eq!((books.reserved, books.voided), (256 * 8, 256 * 8), "only the one that was asked for is looked at");
        pair.talk(at(0));
        assert_eq!(pair.a.deliver(early.reservation, at(0)), None, "its copy is void");
        pair.talk(at(0));
        let (a, b) = pair.mirrored();
        assert_eq!((a.voided, a.reserved, b.voided, b.reserved), (1024 * 8, 0, 1024 * 8, 0));
    });
}

#[test]
fn bits_next_to_lost_ones_are_good() {
    for_each_durable_place(|site| {
        let mut pair = Pair::with_blocks(site, &[4096]);
        let mut local = wish("kme-b", 3, 512);
        local.local = vec![sae("carol")];
        let cut = pair.a.cut(&local);
        let master = pair.a.deliver(cut.reservation, at(0)).unwrap();
        drop(pair);
        spoil(site, "kme-a", "start_at = 0", false);
        pair = Pair::new(site);
        assert!(pair.a.collect("carol", &ids(&cut.keys)).is_err());
        assert_eq!(pair.a.collect("carol", &ids(&cut.keys[2..])).unwrap(), master[2..]);
        assert_eq!(pair.a.links()[0].waiting_keys, 0);
        assert_eq!(master[2].key, bits("a-b", 0, 4096)[1024..1536]);
        assert_eq!(pair.a.books("kme-b").delivered_to_master, 1536 * 8, "the master has them still");
    });
}
