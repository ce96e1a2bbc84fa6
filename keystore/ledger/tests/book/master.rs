//! Keys for masters: cut, delivered, put back, void.

use vernam_ledger::{Book, LedgerLimits, Message, ReservationId, ReserveError};

use crate::support::for_each_place;
use crate::world::{End, LIMITS, Pair, at, bits, extent, ids, wish};

#[test]
fn both_ends_get_the_same_key_once() {
    for_each_place(|site| {
        let pair = Pair::with_blocks(site, &[64, 64]);
        let cut = pair.a.cut(&wish("kme-b", 3, 16));
        assert_eq!(cut.keys.iter().map(vernam_ledger::KeyPositions::len).sum::<u64>(), 48);
        assert_eq!(cut.keys[2].extents, [extent(1, 0, 16)]);
        assert_eq!(pair.a.books("kme-b").reserved, 48 * 8);
        pair.b.reserve("kme-a", &cut.keys).unwrap();
        let master = pair.a.deliver(cut.reservation, at(1)).unwrap();
        assert_eq!(master.iter().map(|key| key.key_id).collect::<Vec<_>>(), ids(&cut.keys));
        assert_eq!(master[0].key, bits("a-b", 0, 64)[..16]);
        assert_eq!(pair.a.deliver(cut.reservation, at(1)), None, "once");
        let slave = pair.b.collect("bob", &ids(&cut.keys)).unwrap();
        assert_eq!(slave, master);
        assert!(pair.b.collect("bob", &ids(&cut.keys[..1])).is_err(), "once");
        pair.talk(at(2));
        let (a, b) = pair.mirrored();
        assert_eq!((a.delivered_to_master, a.reserved, a.voided), (48 * 8, 0, 0));
        assert_eq!((b.delivered_to_slave, b.reserved, b.voided), (48 * 8, 0, 0));
    });
}

#[test]
fn a_cut_runs_over_the_ends_of_blocks() {
    for_each_place(|site| {
        let pair = Pair::with_blocks(site, &[20, 3, 20]);
        let cut = pair.a.cut(&wish("kme-b", 1, 15));
        assert_eq!(cut.keys[0].extents, [extent(0, 0, 10), extent(1, 0, 2), extent(2, 0, 3)]);
        pair.b.reserve("kme-a", &cut.keys).unwrap();
        let key = pair.a.deliver(cut.reservation, at(1)).unwrap();
        let made = [&bits("a-b", 0, 20)[..10], &bits("a-b", 1, 3)[..2], &bits("a-b", 2, 20)[..3]].concat();
        assert_eq!(key[0].key, made);
        assert_eq!(pair.b.collect("bob", &ids(&cut.keys)).unwrap()[0].key, made);
    });
}

#[test]
fn what_was_put_back_is_cut_again_and_what_is_gone_there_is_void_at_both_ends() {
    for_each_place(|site| {
        let pair = Pair::with_blocks(site, &[64]);
        pair.b.void_extent("kme-a", extent(0, 8, 1));
        let cut = pair.a.cut(&wish("kme-b", 4, 8));
        let Err(ReserveError::Gone(gone)) = pair.b.reserve("kme-a", &cut.keys) else { panic!("one is gone") };
        assert_eq!(gone, [cut.keys[1].key_id]);
        pair.a.restore(cut.reservation, &gone);
        let books = pair.a.books("kme-b");
        assert_eq!((books.pooled_own, books.reserved, books.voided), (24 * 8, 0, 64));
        pair.talk(at(0));
        let (_, b) = pair.mirrored();
        assert_eq!(b.voided, 64);
        pair.a.restore(cut.reservation, &[]);
        pair.a.void_cut(cut.reservation);
        assert_eq!(pair.a.deliver(cut.reservation, at(0)), None);
        assert_eq!(pair.a.books("kme-b"), books, "a settled cut cannot be settled again");
        let again = pair.a.cut(&wish("kme-b", 1, 24));
        assert_eq!(again.keys[0].extents, [extent(0, 0, 8), extent(0, 16, 16)]);
        pair.b.reserve("kme-a", &again.keys).unwrap();
        let key = pair.a.deliver(again.reservation, at(0)).unwrap();
        assert_eq!(key, pair.b.collect("bob", &ids(&again.keys)).unwrap());
    });
}

#[test]
fn runs_that_were_put_back_in_any_order_are_whole_again() {
    for_each_place(|site| {
        let pair = Pair::with_blocks(site, &[64]);
        for order in [[0, 1, 2, 3], [3, 1, 2, 0], [0, 2, 1, 3], [1, 3, 0, 2]] {
            let cuts: Vec<_> = (0..4).map(|_| pair.a.cut(&wish("kme-b", 1, 8)).reservation).collect();
            for index in order {
                pair.a.restore(cuts[index], &[]);
            }
            let whole = pair.a.cut(&wish("kme-b", 1, 32));
            assert_eq!(whole.keys[0].extents, [extent(0, 0, 32)], "{order:?}");
            pair.a.restore(whole.reservation, &[]);
        }
    });
}

#[test]
fn a_void_cut_is_void_at_both_ends_whether_it_arrived_or_not() {
    for_each_place(|site| {
        let pair = Pair::with_blocks(site, &[64]);
        let arrived = pair.a.cut(&wish("kme-b", 2, 8));
        pair.b.reserve("kme-a", &arrived.keys).unwrap();
        let not = pair.a.cut(&wish("kme-b", 1, 8));
        pair.a.void_cut(arrived.reservation);
        pair.a.void_cut(not.reservation);
        assert_eq!(pair.a.messages("kme-b").len(), 2, "one message for a reservation");
        pair.talk(at(0));
        let (a, b) = pair.mirrored();
        assert_eq!((a.voided, a.reserved, b.voided, b.reserved), (24 * 8, 0, 24 * 8, 0));
        assert_eq!(pair.b.reserve("kme-a", &not.keys), Err(ReserveError::Gone(ids(&not.keys))), "it comes too late");
        assert!(pair.b.collect("bob", &ids(&arrived.keys)).is_err());
    });
}

#[test]
fn a_cut_past_its_deadline_is_void_even_before_housekeeping() {
    for_each_place(|site| {
        let pair = Pair::with_blocks(site, &[64]);
        let late = pair.a.cut(&wish("kme-b", 1, 8));
        assert_eq!(pair.a.deliver(late.reservation, at(60)), None);
        let expired = pair.a.cut(&wish("kme-b", 2, 8));
        assert_eq!(pair.a.expire(at(59)).cut, 0);
        assert_eq!(pair.a.expire(at(60)).cut, 2);
        assert_eq!(pair.a.deliver(expired.reservation, at(0)), None);
        assert_eq!((pair.a.books("kme-b").voided, pair.a.books("kme-b").reserved), (24 * 8, 0));
        assert_eq!(pair.a.messages("kme-b").len(), 2);
        // A deadline beyond all measure is brought forward.
        let mut patient = wish("kme-b", 1, 8);
        patient.deadline = at(0) + 1000 * Book::MAX_CUT;
        let cut = pair.a.cut(&patient);
        assert_eq!(pair.a.deliver(cut.reservation, at(0) + Book::MAX_CUT), None);
    });
}

#[test]
fn after_a_start_every_cut_is_in_doubt() {
    for_each_place(|site| {
        let pair = Pair::with_blocks(site, &[128]);
        let cuts = [pair.a.cut(&wish("kme-b", 3, 8)), pair.a.cut(&wish("kme-b", 1, 8))];
        let mut kept = wish("kme-b", 1, 8);
        kept.local = vec![crate::world::sae("carol")];
        kept.remote.clear();
        let kept = pair.a.cut(&kept);
        pair.a.deliver(kept.reservation, at(0)).unwrap();
        assert_eq!(pair.a.void_all_cuts(), 4);
        assert_eq!(pair.a.void_all_cuts(), 0);
        assert!(cuts.iter().all(|cut| pair.a.deliver(cut.reservation, at(0)).is_none()));
        assert!(pair.a.collect("carol", &ids(&kept.keys)).is_ok(), "what was delivered stays");
        pair.talk(at(0));
        assert_eq!((pair.mirrored().0.voided, pair.mirrored().1.voided), (32 * 8, 40 * 8));
    });
}

#[test]
fn slaves_here_collect_from_our_own_half() {
    for_each_place(|site| {
        let pair = Pair::with_blocks(site, &[64]);
        let mut local = wish("kme-b", 2, 8);
        local.remote.clear();
        local.local = vec![crate::world::sae("carol"), crate::world::sae("dave")];
        let cut = pair.a.cut(&local);
        assert!(pair.a.collect("carol", &ids(&cut.keys)).is_err(), "not before the master has it");
        let master = pair.a.deliver(cut.reservation, at(1)).unwrap();
        assert_eq!(pair.a.messages("kme-b"), [Message::Void(cut.keys.clone())], "nobody there will ask for it");
        assert_eq!(pair.a.collect("carol", &ids(&cut.keys)).unwrap(), master);
        assert!(pair.a.collect("carol", &ids(&cut.keys)).is_err(), "once each");
        assert_eq!(pair.a.links()[0].waiting_keys, 2);
        assert_eq!(pair.a.collect("dave", &ids(&cut.keys[1..])).unwrap(), master[1..]);
        assert_eq!(pair.a.links()[0].waiting_keys, 1);
        let books = pair.a.books("kme-b");
        assert_eq!((books.delivered_to_master, books.reserved), (128, 0), "each bit is counted once");
        assert_eq!(pair.a.expire(at(1) + LIMITS.keep_for).waiting, 1);
        assert!(pair.a.collect("dave", &ids(&cut.keys[..1])).is_err());
        assert_eq!((pair.a.books("kme-b"), pair.a.links()[0].waiting_keys), (books, 0));
        pair.talk(at(2));
        pair.mirrored();
    });
}

#[test]
fn a_cut_with_slaves_here_can_be_put_back_and_be_void() {
    for_each_place(|site| {
        let pair = Pair::with_blocks(site, &[64]);
        let mut local = wish("kme-b", 2, 8);
        local.local = vec![crate::world::sae("carol")];
        for settle in [|end: &End, cut| end.restore(cut, &[]), |end: &End, cut: ReservationId| end.void_cut(cut)] {
            let cut = pair.a.cut(&local);
            assert_eq!(pair.a.links()[0].waiting_keys, 2);
            settle(&pair.a, cut.reservation);
            assert_eq!(pair.a.links()[0].waiting_keys, 0);
            assert!(pair.a.collect("carol", &ids(&cut.keys)).is_err());
        }
        assert_eq!(pair.a.books("kme-b").voided, 128);
    });
}

#[test]
fn too_many_waiting_keys_make_a_cut_short() {
    for_each_place(|site| {
        let pair = Pair::with(site, LedgerLimits { max_waiting_keys: 12, ..LIMITS });
        pair.block(0, 64);
        let mut local = wish("kme-b", 2, 4);
        local.local = vec![crate::world::sae("carol")];
        let cut = pair.a.cut(&local);
        assert_eq!(pair.a.try_cut(&local, at(0)).unwrap_err().pooled, 0);
        assert!(pair.a.try_cut(&wish("kme-b", 2, 4), at(0)).is_ok(), "for slaves elsewhere there is room");
        let mut others = local.clone();
        others.master = crate::world::sae("dora");
        assert!(pair.a.try_cut(&others, at(0)).is_ok(), "for another master as well");
        pair.a.void_cut(cut.reservation);
        assert!(pair.a.try_cut(&local, at(0)).is_ok());
    });
}

#[test]
fn absurd_wishes_are_short() {
    for_each_place(|site| {
        let pair = Pair::with_blocks(site, &[64]);
        let books = pair.a.books("kme-b");
        for (number, bytes) in [(u32::MAX, u32::MAX), (0, 8), (8, 0), (1, 33)] {
            assert!(pair.a.try_cut(&wish("kme-b", number, bytes), at(0)).is_err(), "{number} of {bytes}");
        }
        assert_eq!(pair.a.try_cut(&wish("kme-z", 1, 1), at(0)).unwrap_err().pooled, 0);
        let mut greedy = wish("kme-b", 1, 1);
        greedy.leave_bits = u64::MAX;
        assert!(pair.a.try_cut(&greedy, at(0)).is_err());
        assert_eq!(pair.a.books("kme-b"), books);
        assert_eq!(pair.a.links().len(), 1, "asking makes no link");
    });
}
