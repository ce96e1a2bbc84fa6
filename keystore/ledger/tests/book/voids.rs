//! What a peer may void, and what it may not.

use vernam_ledger::{Book, ReserveError};

use crate::support::for_each_place;
use crate::world::{End, LIMITS, Pair, at, bits, extent, ids, positions, wish};

#[test]
fn voiding_twice_or_what_nobody_knows_changes_nothing() {
    for_each_place(|site| {
        let pair = Pair::with_blocks(site, &[64]);
        let cut = pair.a.cut(&wish("kme-b", 2, 8));
        pair.b.reserve("kme-a", &cut.keys).unwrap();
        pair.b.void("kme-a", &cut.keys);
        let books = pair.b.books("kme-a");
        assert_eq!((books.voided, books.reserved), (128, 0));
        pair.b.void("kme-a", &cut.keys);
        pair.b.void("kme-a", &[positions(1, &[]), positions(2, &[extent(0, 0, 16)])]);
        assert_eq!(pair.b.books("kme-a"), books);
        assert!(pair.b.messages("kme-a").is_empty());
    });
}

#[test]
fn what_was_confirmed_or_collected_or_delivered_cannot_be_voided() {
    for_each_place(|site| {
        let pair = Pair::with_blocks(site, &[64]);
        let (first, second) = (pair.a.cut(&wish("kme-b", 1, 8)), pair.a.cut(&wish("kme-b", 1, 8)));
        pair.b.reserve("kme-a", &first.keys).unwrap();
        pair.b.reserve("kme-a", &second.keys).unwrap();
        pair.a.deliver(first.reservation, at(0)).unwrap();
        pair.a.deliver(second.reservation, at(0)).unwrap();
        pair.b.collect("bob", &ids(&first.keys)).unwrap();
        pair.b.confirm("kme-a", &ids(&second.keys), at(0));
        let books = (pair.a.books("kme-b"), pair.b.books("kme-a"));
        for keys in [&first.keys, &second.keys] {
            pair.a.void("kme-b", keys);
            pair.b.void("kme-a", keys);
        }
        assert_eq!((pair.a.books("kme-b"), pair.b.books("kme-a")), books);
        assert_eq!(pair.b.collect("bob", &ids(&second.keys)).unwrap().len(), 1);
    });
}

#[test]
fn a_peer_that_lost_its_copies_voids_our_cut() {
    for_each_place(|site| {
        let pair = Pair::with_blocks(site, &[64]);
        let (cut, other) = (pair.a.cut(&wish("kme-b", 2, 8)), pair.a.cut(&wish("kme-b", 1, 8)));
        pair.a.void("kme-b", &[positions(1, &[extent(0, 0, 8)])]);
        assert_eq!(pair.a.books("kme-b").voided, 0, "another name: what is cut is not free");
        pair.a.void("kme-b", &cut.keys[1..]);
        assert_eq!(pair.a.books("kme-b").voided, 128, "a cut is voided whole");
        assert_eq!(pair.a.deliver(cut.reservation, at(0)), None);
        assert_eq!(pair.a.messages("kme-b").len(), 1, "so that the rest is void there too");
        assert!(pair.a.deliver(other.reservation, at(0)).is_some());
    });
}

#[test]
fn a_peer_voids_nothing_of_another_link() {
    for_each_place(|site| {
        let pair = Pair::with_blocks(site, &[64]);
        for number in 0..2 {
            pair.b.deposit_at("kme-c", number, bits("b-c", number, 64), at(0)).unwrap();
        }
        let cut = pair.a.cut(&wish("kme-b", 1, 8));
        pair.b.reserve("kme-a", &cut.keys).unwrap();
        let mine = pair.b.cut(&wish("kme-a", 1, 8));
        let books = pair.b.books("kme-a");
        pair.b.void("kme-c", &cut.keys);
        pair.b.void("kme-c", &mine.keys);
        pair.b.confirm("kme-c", &ids(&cut.keys), at(0));
        assert_eq!(pair.b.reserve("kme-c", &cut.keys), Err(ReserveError::Conflict));
        assert_eq!(pair.b.books("kme-a"), books);
        assert!(pair.b.deliver(mine.reservation, at(0)).is_some());
        assert_eq!(pair.b.expire(at(100)).waiting, 1, "it was not confirmed by another peer");
    });
}

#[test]
fn void_bytes_take_what_is_free_and_no_more() {
    for_each_place(|site| {
        let pair = Pair::with_blocks(site, &[64]);
        let cut = pair.a.cut(&wish("kme-b", 1, 8));
        let mine = pair.b.cut(&wish("kme-a", 1, 8));
        pair.b.reserve("kme-a", &cut.keys).unwrap();
        pair.b.void_extent("kme-a", extent(0, 4, 40));
        let books = pair.b.books("kme-a");
        assert_eq!((books.voided, books.reserved), (28 * 8, 128));
        assert_eq!((books.pooled_own, books.pooled_peer), (20 * 8, 0));
        assert!(pair.b.deliver(mine.reservation, at(0)).is_some());
        assert_eq!(pair.b.collect("bob", &ids(&cut.keys)).unwrap()[0].key, bits("a-b", 0, 64)[..8]);
        pair.b.void_extent("kme-a", extent(0, 0, u32::MAX));
        assert_eq!(pair.b.books("kme-a").pooled(), 0);
        pair.b.void_extent("kme-a", extent(0, 0, 64));
        assert_eq!(pair.b.books("kme-a").made, 512);
    });
}

#[test]
fn absurd_extents_are_harmless() {
    for_each_place(|site| {
        let b = End::new(site, "kme-b", LIMITS);
        b.deposit_at("kme-a", 0, bits("a-b", 0, 64), at(0)).unwrap();
        let books = b.books("kme-a");
        for extent in [
            extent(0, 0, 0),
            extent(0, u32::MAX, u32::MAX),
            extent(0, 64, 1),
            extent(u64::MAX, 0, 8),
            extent(Book::MAX_BLOCK_NUMBER + 1, 0, 8),
            extent(Book::MAX_BLOCK_NUMBER, u32::MAX, u32::MAX),
        ] {
            b.void_extent("kme-a", extent);
            b.void("kme-a", &[positions(1, &[extent, extent])]);
        }
        assert_eq!(b.books("kme-a"), books);
        b.void("kme-a", &[]);
        b.void("kme-a", &[positions(1, &[extent(0, 60, 10), extent(0, 50, 12), extent(0, 0, 1)])]);
        assert_eq!(b.books("kme-a").voided, 15 * 8, "overlaps count once");
    });
}
