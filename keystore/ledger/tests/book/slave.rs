//! Keys for slaves: reserved, confirmed, collected.

use vernam_ledger::{CollectError, LedgerLimits, Message, ReserveError};

use crate::support::for_each_place;
use crate::world::{LIMITS, Pair, at, extent, ids, positions, wish};

#[test]
fn asking_twice_is_granted_twice_and_reserves_once() {
    for_each_place(|site| {
        let pair = Pair::with_blocks(site, &[64]);
        let cut = pair.a.cut(&wish("kme-b", 2, 8));
        assert!(!pair.b.is_reserved("kme-a", "bob", &cut.keys));
        pair.b.reserve("kme-a", &cut.keys).unwrap();
        let books = pair.b.books("kme-a");
        assert_eq!(books.reserved, 128);
        pair.b.reserve("kme-a", &cut.keys).unwrap();
        pair.b.reserve("kme-a", &cut.keys[..1]).unwrap();
        assert_eq!(pair.b.books("kme-a"), books);
        assert!(pair.b.is_reserved("kme-a", "bob", &cut.keys));
        assert!(!pair.b.is_reserved("kme-a", "carol", &cut.keys));
        assert_eq!(pair.b.reserve_for("kme-a", &["carol"], &cut.keys, at(0)), Err(ReserveError::Conflict));
        let mut other = cut.keys.clone();
        other[0].extents = vec![extent(0, 24, 8)];
        assert_eq!(pair.b.reserve("kme-a", &other), Err(ReserveError::Conflict));
        assert_eq!(pair.b.books("kme-a"), books, "a refusal changes nothing");
        pair.b.collect("bob", &ids(&cut.keys)).unwrap();
        assert_eq!(pair.b.reserve("kme-a", &cut.keys), Err(ReserveError::Gone(ids(&cut.keys))));
    });
}

#[test]
fn keys_of_a_block_that_has_not_come_must_wait() {
    for_each_place(|site| {
        let pair = Pair::with_blocks(site, &[64]);
        let early = positions(1, &[extent(1, 0, 8)]);
        assert_eq!(pair.b.reserve("kme-a", std::slice::from_ref(&early)), Err(ReserveError::NotYet));
        assert_eq!(pair.b.reserve("kme-z", std::slice::from_ref(&early)), Err(ReserveError::NotYet));
        pair.block(2, 64);
        let gone = Err(ReserveError::Gone(vec![early.key_id]));
        assert_eq!(pair.b.reserve("kme-a", std::slice::from_ref(&early)), gone, "that block never comes now");
    });
}

#[test]
fn a_slave_may_be_quicker_than_the_peers_word() {
    for_each_place(|site| {
        let pair = Pair::with_blocks(site, &[64]);
        let cut = pair.a.cut(&wish("kme-b", 2, 8));
        pair.b.reserve("kme-a", &cut.keys).unwrap();
        pair.b.collect("bob", &ids(&cut.keys[..1])).unwrap();
        let unknown = positions(9, &[]).key_id;
        pair.b.confirm("kme-a", &[cut.keys[0].key_id, unknown, cut.keys[1].key_id], at(1));
        pair.b.confirm("kme-a", &ids(&cut.keys), at(50));
        pair.b.confirm("kme-z", &ids(&cut.keys), at(50));
        assert_eq!(pair.b.expire(at(0) + LIMITS.confirm_within).waiting, 0, "it is confirmed");
        assert_eq!(pair.b.expire(at(1) + LIMITS.keep_for).waiting, 1, "at the time of the first word");
        assert_eq!(pair.b.books("kme-a").voided, 64);
        assert!(pair.b.messages("kme-a").is_empty(), "the master has the key: there is nothing to take back");
    });
}

#[test]
fn an_unconfirmed_key_expires_sooner_and_the_master_loses_it_too() {
    for_each_place(|site| {
        let pair = Pair::with_blocks(site, &[64]);
        let mut patient = wish("kme-b", 2, 8);
        patient.deadline = at(1000);
        let cut = pair.a.cut(&patient);
        pair.b.reserve("kme-a", &cut.keys).unwrap();
        assert_eq!(pair.b.expire(at(99)).waiting, 0);
        assert_eq!(pair.b.expire(at(100)).waiting, 2);
        assert_eq!(pair.b.messages("kme-a"), [Message::Void(cut.keys.clone())]);
        pair.talk(at(101));
        assert_eq!(pair.a.deliver(cut.reservation, at(101)), None, "its copies are gone");
        let (a, b) = pair.mirrored();
        assert_eq!((a.voided, b.voided), (128, 128));
    });
}

#[test]
fn collecting_is_all_or_nothing_and_names_what_is_wrong() {
    for_each_place(|site| {
        let pair = Pair::with_blocks(site, &[64, 64]);
        let bobs = pair.a.cut(&wish("kme-b", 2, 8)).keys;
        let carols = pair.a.cut(&wish("kme-b", 1, 8)).keys;
        pair.b.reserve("kme-a", &bobs).unwrap();
        pair.b.reserve_for("kme-a", &["carol"], &carols, at(0)).unwrap();
        let (one, two, hers) = (bobs[0].key_id, bobs[1].key_id, carols[0].key_id);
        let unknown = positions(9, &[]).key_id;
        for (asked, error) in [
            (vec![one, unknown], CollectError::NotFound),
            (vec![one, hers], CollectError::NotYours),
            (vec![hers, unknown], CollectError::NotYours),
            (vec![one, one], CollectError::NotFound),
        ] {
            assert_eq!(pair.b.collect("bob", &asked), Err(error), "{asked:?}");
        }
        assert_eq!(pair.b.collect_at("bob", &[one], at(100)), Err(CollectError::NotFound), "its time is over");
        let other_master = pair
            .b
            .ledger
            .run_blocking(move |book| {
                let (bob, mallory) = (crate::world::sae("bob"), crate::world::sae("mallory"));
                Ok(book.collect(&bob, &mallory, &[one], at(0))?.err())
            })
            .unwrap();
        assert_eq!(other_master, Some(CollectError::NotFound));
        assert_eq!(pair.b.collect("bob", &[two, one]).unwrap().len(), 2);
        assert_eq!(pair.b.collect("carol", &[hers]).unwrap().len(), 1);
        assert_eq!(pair.b.books("kme-a").delivered_to_slave, 24 * 8);
        assert_eq!(pair.b.links()[0].waiting_keys, 0);
    });
}

#[test]
fn several_slaves_collect_one_key_once_each() {
    for_each_place(|site| {
        let pair = Pair::with_blocks(site, &[64]);
        let names: Vec<String> = (0..19).map(|number| format!("slave-{number}")).collect();
        let slaves: Vec<&str> = names.iter().map(String::as_str).collect();
        let cut = pair.a.cut(&wish("kme-b", 2, 8));
        pair.b.reserve_for("kme-a", &slaves, &cut.keys, at(0)).unwrap();
        let master = pair.a.deliver(cut.reservation, at(0)).unwrap();
        assert_eq!(pair.b.books("kme-a").reserved, 128);
        for slave in &slaves {
            assert_eq!(pair.b.collect(slave, &ids(&cut.keys[..1])).unwrap(), master[..1], "{slave}");
            assert!(pair.b.collect(slave, &ids(&cut.keys[..1])).is_err(), "{slave}");
            assert_eq!(pair.b.books("kme-a").delivered_to_slave, 64, "each bit is counted once");
        }
        pair.b.collect(slaves[7], &ids(&cut.keys[1..])).unwrap();
        let books = pair.b.books("kme-a");
        assert_eq!((books.reserved, books.delivered_to_slave), (0, 128));
        pair.b.void("kme-a", &cut.keys);
        assert!(pair.b.collect(slaves[8], &ids(&cut.keys[1..])).is_ok(), "one has it: a void comes too late");
        assert_eq!(pair.b.expire(at(100)).waiting, 1);
        assert_eq!(pair.b.books("kme-a"), books);
    });
}

#[test]
fn only_so_many_keys_wait() {
    for_each_place(|site| {
        let pair = Pair::with(site, LedgerLimits { max_waiting_keys: 7, ..LIMITS });
        pair.block(0, 128);
        let cut = || pair.a.cut(&wish("kme-b", 2, 4)).keys;
        let by = |master: &str, keys: &[_]| pair.b.reserve_by("kme-a", master, &["bob"], keys, at(0));
        let (two, more) = (cut(), cut());
        by("alice", &two).unwrap();
        for master in ["dora", "emil"] {
            by(master, &cut()).unwrap();
        }
        assert_eq!(by("frieda", &more), Err(ReserveError::Full));
        by("alice", &two).unwrap();
        pair.b.collect("bob", &ids(&two[..1])).unwrap();
        by("frieda", &more).unwrap();
    });
}

#[test]
fn one_master_takes_no_more_than_its_share() {
    for_each_place(|site| {
        let pair = Pair::with(site, LedgerLimits { max_waiting_keys: 12, ..LIMITS });
        pair.block(0, 256);
        let cut = || pair.a.cut(&wish("kme-b", 2, 4)).keys;
        let by = |master: &str, keys: &[_], now| pair.b.reserve_by("kme-a", master, &["bob"], keys, now);
        let full = Err(ReserveError::MasterFull(crate::world::sae("alice")));
        let (two, more) = (cut(), cut());
        by("alice", &two, at(0)).unwrap();
        let books = pair.b.books("kme-a");
        assert_eq!(by("alice", &more, at(0)), full);
        assert_eq!(pair.b.books("kme-a"), books, "nothing was set aside");
        by("alice", &two, at(0)).unwrap();
        by("dora", &cut(), at(0)).unwrap();
        // Collected, void, or past its time: what does not wait any more makes room.
        pair.b.collect("bob", &ids(&two[..1])).unwrap();
        by("alice", &more, at(0)).unwrap();
        let next = cut();
        assert_eq!(by("alice", &next, at(0)), full);
        pair.b.void("kme-a", &more);
        by("alice", &next, at(1)).unwrap();
        let last = cut();
        assert_eq!(by("alice", &last, at(1)), full);
        pair.b.expire(at(200));
        by("alice", &last, at(200)).unwrap();
        assert_eq!(pair.b.links()[0].waiting_keys, 2);
    });
}

#[test]
fn a_hundred_and_more_keys_in_one_request() {
    for_each_place(|site| {
        let pair = Pair::with_blocks(site, &[9000]);
        let cut = pair.a.cut(&wish("kme-b", 131, 32));
        pair.b.reserve("kme-a", &cut.keys).unwrap();
        let master = pair.a.deliver(cut.reservation, at(0)).unwrap();
        pair.talk(at(0));
        let mut asked = ids(&cut.keys);
        asked.reverse();
        let mut slave = pair.b.collect("bob", &asked).unwrap();
        slave.reverse();
        assert_eq!(slave, master);
        let (_, b) = pair.mirrored();
        assert_eq!((b.reserved, b.delivered_to_slave, pair.b.links()[0].waiting_keys), (0, 131 * 256, 0));
    });
}
