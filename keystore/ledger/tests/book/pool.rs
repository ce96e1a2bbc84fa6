//! Blocks come in.

use std::time::Duration;

use vernam_ledger::{Book, DepositError, Deposited, LedgerLimits, Message};

use crate::support::for_each_place;
use crate::world::{End, LIMITS, Pair, at, bits, extent, kme, wish};

#[test]
fn the_first_half_belongs_to_the_kme_that_sorts_first() {
    for_each_place(|site| {
        let pair = Pair::with_blocks(site, &[5]);
        let (a, b) = pair.mirrored();
        assert_eq!((a.made, a.pooled_own, a.pooled_peer), (40, 24, 16));
        assert_eq!((b.made, b.pooled_own, b.pooled_peer), (40, 16, 24));
        assert_eq!(pair.a.cut(&wish("kme-b", 1, 3)).keys[0].extents, [extent(0, 0, 3)]);
        assert_eq!(pair.b.cut(&wish("kme-a", 1, 2)).keys[0].extents, [extent(0, 3, 2)]);
    });
}

#[test]
fn a_block_comes_once_and_in_order() {
    for_each_place(|site| {
        let a = End::new(site, "kme-a", LIMITS);
        assert_eq!(a.deposit_at("kme-b", 7, bits("a-b", 7, 16), at(0)), Ok(Deposited::Pooled));
        for number in [7, 6, 0] {
            let late = a.deposit_at("kme-b", number, bits("a-b", 7, 16), at(0));
            assert_eq!(late, Err(DepositError::OutOfOrder { number, expected: 8 }));
        }
        assert_eq!(a.deposit_at("kme-b", 9, Vec::new(), at(0)), Err(DepositError::Length { number: 9, len: 0 }));
        assert_eq!(a.deposit_at("kme-b", u64::MAX, vec![0], at(0)), Err(DepositError::Number { number: u64::MAX }));
        assert_eq!(a.books("kme-b").made, 128, "a refusal changes nothing");
        let last = Book::MAX_BLOCK_NUMBER;
        assert_eq!(a.deposit_at("kme-b", last, vec![0, 1], at(0)), Ok(Deposited::Pooled));
        let after = a.deposit_at("kme-b", last + 1, vec![0, 1], at(0));
        assert_eq!(after, Err(DepositError::Number { number: last + 1 }));
        assert_eq!(a.links().len(), 1);
        assert_eq!((a.links()[0].link.clone(), a.links()[0].next_block), (kme("kme-b"), last + 1));
    });
}

#[test]
fn a_block_without_room_is_void_and_the_peer_is_told() {
    for_each_place(|site| {
        let limits = LedgerLimits { max_pool_bits: 100 * 8, ..LIMITS };
        let a = End::new(site, "kme-a", limits);
        assert_eq!(a.deposit_at("kme-b", 0, bits("a-b", 0, 60), at(0)), Ok(Deposited::Pooled));
        assert_eq!(a.deposit_at("kme-b", 1, bits("a-b", 1, 41), at(0)), Ok(Deposited::NoRoom));
        assert_eq!(a.deposit_at("kme-b", 2, bits("a-b", 2, 40), at(0)), Ok(Deposited::Pooled));
        assert_eq!((a.books("kme-b").voided, a.books("kme-b").pooled()), (41 * 8, 800));
        assert_eq!(a.messages("kme-b"), [Message::VoidExtent(extent(1, 0, 41))]);
        assert!(a.ledger.run_blocking(|book| book.has_voids(&kme("kme-b"))).unwrap());
    });
}

#[test]
fn voids_may_come_before_their_block() {
    for_each_place(|site| {
        let a = End::new(site, "kme-a", LIMITS);
        for early in [extent(3, 0, 16), extent(3, 8, 16), extent(3, 8, 16), extent(2, 0, 9), extent(9, 0, 4)] {
            a.void_extent("kme-b", early);
        }
        a.deposit_at("kme-b", 3, bits("a-b", 3, 64), at(0)).unwrap();
        let books = a.books("kme-b");
        assert_eq!((books.voided, books.pooled_own, books.pooled_peer), (24 * 8, 64, 256));
        assert_eq!(a.cut(&wish("kme-b", 1, 8)).keys[0].extents, [extent(3, 24, 8)]);
        a.deposit_at("kme-b", 9, bits("a-b", 9, 64), at(0)).unwrap();
        assert_eq!(a.books("kme-b").voided, 28 * 8);
    });
}

#[test]
fn early_voids_are_bounded() {
    for_each_place(|site| {
        let a = End::new(site, "kme-a", LIMITS);
        let most = u32::try_from(Book::MAX_EARLY_VOIDS).unwrap();
        a.ledger
            .run_blocking(move |book| {
                (0..most + 10).try_for_each(|offset| book.void_extent(&kme("kme-b"), extent(1, offset * 2, 1)))
            })
            .unwrap();
        a.deposit_at("kme-b", 1, bits("a-b", 1, 20_000), at(0)).unwrap();
        assert_eq!(a.books("kme-b").voided, u64::from(most) * 8);
        a.void_extent("kme-b", extent(5, 0, 1));
        a.deposit_at("kme-b", 5, bits("a-b", 5, 2), at(0)).unwrap();
        assert_eq!(a.books("kme-b").voided, u64::from(most) * 8 + 8, "there is room again");
    });
}

#[test]
fn only_young_bits_are_cut_where_an_age_is_asked_for() {
    for_each_place(|site| {
        let a = End::new(site, "kme-a", LIMITS);
        for (number, when) in [(0, 0), (1, 10), (2, 20)] {
            a.deposit_at("kme-b", number, bits("a-b", number, 64), at(when)).unwrap();
        }
        let mut young = wish("kme-b", 1, 16);
        young.not_before = Some(at(10));
        assert_eq!(a.try_cut(&young, at(30)).unwrap().keys[0].extents, [extent(1, 0, 16)]);
        young.not_before = Some(at(20));
        young.number = 3;
        let short = a.try_cut(&young, at(30)).unwrap_err();
        assert_eq!((short.wanted, short.pooled, short.young), (48 * 8, 80 * 8, 32 * 8));
        young.not_before = Some(at(21));
        assert_eq!(a.try_cut(&young, at(30)).unwrap_err().young, 0);
        // The clock goes back: the blocks cannot have been made later than now.
        young.number = 1;
        young.not_before = Some(at(5));
        assert_eq!(a.try_cut(&young, at(6)).unwrap().keys[0].extents, [extent(1, 16, 16)]);
        young.not_before = Some(at(7));
        assert_eq!(a.try_cut(&young, at(30)).unwrap_err().young, 0);
    });
}

#[test]
fn what_is_left_for_others_is_left() {
    for_each_place(|site| {
        let pair = Pair::with_blocks(site, &[64]);
        let mut greedy = wish("kme-b", 1, 16);
        greedy.leave_bits = 17 * 8;
        let short = pair.a.try_cut(&greedy, at(0)).unwrap_err();
        assert_eq!((short.wanted, short.pooled, short.young), (33 * 8, 256, 256));
        greedy.leave_bits = 16 * 8;
        assert!(pair.a.try_cut(&greedy, at(0)).is_ok());
    });
}

#[test]
fn a_trial_write_changes_nothing_that_counts() {
    for_each_place(|site| {
        let a = End::new(site, "kme-a", LIMITS);
        let touch = || {
            a.ledger.run_blocking(|book| {
                book.touch()?;
                Ok(())
            })
        };
        touch().unwrap();
        touch().unwrap();
        assert!(a.ledger.snapshot().links.is_empty());
        // The first link takes a number from the same table.
        a.deposit_at("kme-b", 0, vec![7; 64], at(0)).unwrap();
        touch().unwrap();
        assert_eq!(a.ledger.snapshot().links.len(), 1);
    });
}

#[test]
fn a_day_is_charged_and_forgotten() {
    for_each_place(|site| {
        let a = End::new(site, "kme-a", LIMITS);
        let charge =
            |day, bits| a.ledger.run_blocking(move |book| book.charge(&crate::world::sae("alice"), day, bits)).unwrap();
        let used = |day| a.ledger.run_blocking(move |book| book.used(&crate::world::sae("alice"), day)).unwrap();
        assert_eq!((used(5), charge(5, 100), charge(5, 11), charge(6, 1)), (0, 100, 111, 1));
        assert_eq!((used(5), used(6)), (111, 1));
        assert_eq!(charge(7, 0), 0);
        assert_eq!((used(5), used(6)), (0, 1), "the day before yesterday is forgotten");
        let other = a.ledger.run_blocking(|book| book.used(&crate::world::sae("bob"), 6)).unwrap();
        assert_eq!(other, 0);
    });
}

#[test]
fn a_large_block_over_many_chunks_reads_as_it_was_written() {
    for_each_place(|site| {
        let len = 70_001;
        let pair = Pair::with_blocks(site, &[len]);
        let half = 35_001;
        let wish = wish("kme-b", 5, 7000);
        let cut = pair.a.cut(&wish);
        let keys = pair.a.deliver(cut.reservation, at(1)).unwrap();
        let all: Vec<u8> = keys.into_iter().flat_map(|key| key.key).collect();
        assert_eq!(all, bits("a-b", 0, len)[..35_000]);
        assert_eq!(pair.a.books("kme-b").pooled_own, (half - 35_000) * 8);
        assert_eq!(pair.a.expire(at(0) + Duration::from_hours(1)), vernam_ledger::Expired::default());
    });
}
