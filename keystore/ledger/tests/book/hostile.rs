//! Requests that no honest peer makes.

use vernam_key::KeyId;
use vernam_ledger::{Book, Extent, KeyPositions, ReserveError};

use crate::support::for_each_place;
use crate::world::{Pair, at, extent, ids, positions, wish};

#[test]
fn positions_that_no_peer_may_have_are_refused() {
    for_each_place(|site| {
        let pair = Pair::with_blocks(site, &[64]);
        let books = pair.b.books("kme-a");
        for extents in [
            &[extent(0, 32, 8)][..], // B's own half
            &[extent(0, 28, 8)],     // across the middle
            &[extent(0, u32::MAX, 8)],
            &[extent(0, 0, u32::MAX)],
            &[extent(0, 0, 8), extent(0, 7, 8)],
            &[extent(0, 0, 8), extent(0, 0, 8)],
            &[extent(0, 0, 32), extent(0, 3, 1), extent(0, 9, 2)],
            &[extent(0, 0, 0)],
            &[extent(0, 0, 8), extent(0, 8, 0)],
            &[extent(u64::MAX, 0, 8)],
            &[extent(Book::MAX_BLOCK_NUMBER + 1, 0, 8)],
            &[],
        ] {
            let key = positions(1, extents);
            let refused = pair.b.reserve("kme-a", std::slice::from_ref(&key));
            assert_eq!(refused, Err(ReserveError::Gone(vec![key.key_id])), "{extents:?}");
            assert_eq!(pair.b.books("kme-a"), books, "a refusal changes nothing: {extents:?}");
        }
        let not_yet = positions(1, &[extent(Book::MAX_BLOCK_NUMBER, 0, 8)]);
        assert_eq!(pair.b.reserve("kme-a", &[not_yet]), Err(ReserveError::NotYet));
        let fine = positions(1, &[extent(0, 0, 8)]);
        assert_eq!(pair.b.reserve("kme-a", &[fine.clone(), fine.clone()]), Err(ReserveError::Conflict), "a name twice");
        pair.b.reserve("kme-a", &[fine]).unwrap();
    });
}

#[test]
fn of_several_keys_the_bad_ones_are_named() {
    for_each_place(|site| {
        let pair = Pair::with_blocks(site, &[64]);
        let keys = [
            positions(1, &[extent(0, 0, 4)]),
            positions(2, &[extent(0, 4, 4)]),
            positions(3, &[extent(0, 7, 4)]), // claims a byte of the second
            positions(4, &[extent(0, 12, 4), extent(0, 30, 4)]),
            positions(5, &[extent(0, 16, 4), extent(0, 20, 2)]),
        ];
        let gone = vec![keys[1].key_id, keys[2].key_id, keys[3].key_id];
        assert_eq!(pair.b.reserve("kme-a", &keys), Err(ReserveError::Gone(gone)));
        let good = [keys[0].clone(), keys[4].clone()];
        pair.b.reserve("kme-a", &good).unwrap();
        assert_eq!(pair.b.books("kme-a").reserved, 80);
    });
}

#[test]
fn too_many_runs_in_one_request_are_refused() {
    for_each_place(|site| {
        let pair = Pair::with_blocks(site, &[64]);
        let many: Vec<Extent> = (0..=Book::MAX_EXTENTS).map(|_| extent(0, 0, 1)).collect();
        let key = positions(1, &many);
        let refused = pair.b.reserve("kme-a", std::slice::from_ref(&key));
        assert_eq!(refused, Err(ReserveError::Gone(vec![key.key_id])));
    });
}

#[test]
fn a_peer_cannot_take_the_name_of_a_key_that_waits_here() {
    for_each_place(|site| {
        let pair = Pair::with_blocks(site, &[64]);
        let mut local = wish("kme-b", 1, 8);
        local.local = vec![crate::world::sae("carol")];
        let cut = pair.a.cut(&local);
        // B has seen the name in the request, and uses it for bits of its own half.
        let forged = KeyPositions { extents: vec![extent(0, 32, 8)], ..cut.keys[0].clone() };
        assert_eq!(pair.a.reserve("kme-b", &[forged]), Err(ReserveError::Conflict));
        let master = pair.a.deliver(cut.reservation, at(0)).unwrap();
        assert_eq!(pair.a.collect("carol", &ids(&cut.keys)).unwrap(), master);
    });
}

#[test]
fn wrapped_bytes_of_another_length_are_refused() {
    for_each_place(|site| {
        let pair = Pair::with_blocks(site, &[64]);
        for len in [0, 7, 9] {
            let mut key = positions(1, &[extent(0, 0, 8)]);
            key.wrapped = Some(vec![0; len]);
            let refused = pair.b.reserve("kme-a", std::slice::from_ref(&key));
            assert_eq!(refused, Err(ReserveError::Gone(vec![key.key_id])), "{len}");
        }
    });
}

#[test]
fn nothing_asked_for_is_nothing_done() {
    for_each_place(|site| {
        let pair = Pair::with_blocks(site, &[64]);
        let books = pair.b.books("kme-a");
        assert_eq!(pair.b.reserve("kme-a", &[]), Ok(()));
        assert_eq!(pair.b.collect("bob", &[]).unwrap().len(), 0);
        pair.b.confirm("kme-a", &[], at(0));
        pair.b.confirm("kme-z", &[KeyId::from_bytes([1; 16])], at(0));
        pair.b.heard(&[]);
        pair.b.heard(&[17, -1]);
        assert_eq!((pair.b.books("kme-a"), pair.b.links().len()), (books, 1));
    });
}
