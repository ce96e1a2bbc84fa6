//! What peers must still be told.

use rand::SeedableRng;
use rand::rngs::StdRng;
use vernam_ledger::{Book, Message, ReserveError};

use crate::support::{Site, for_each_place};
use crate::world::{Pair, at, extent, ids, kme, positions, wish};

#[test]
fn messages_keep_their_order_until_they_are_heard() {
    for_each_place(|site| {
        let pair = Pair::with_blocks(site, &[64]);
        let cuts: Vec<_> = (0..4).map(|_| pair.a.cut(&wish("kme-b", 1, 4))).collect();
        pair.a.void_cut(cuts[2].reservation);
        pair.a.deliver(cuts[0].reservation, at(0)).unwrap();
        pair.a.void_cut(cuts[1].reservation);
        let all = pair.a.outgoing("kme-b");
        let expected = [
            Message::Void(cuts[2].keys.clone()),
            Message::Delivered(ids(&cuts[0].keys)),
            Message::Void(cuts[1].keys.clone()),
        ];
        assert_eq!(all.iter().map(|outgoing| outgoing.message.clone()).collect::<Vec<_>>(), expected);
        assert!(all.windows(2).all(|two| two[0].seq < two[1].seq));
        let first = pair.a.ledger.run_blocking(|book| book.outbox(&kme("kme-b"), 1)).unwrap();
        assert_eq!(first, all[..1]);
        assert_eq!(pair.a.links()[0].outbox, 3);
        let has_voids = || pair.a.ledger.run_blocking(|book| book.has_voids(&kme("kme-b"))).unwrap();
        assert!(has_voids());
        pair.a.heard(&[all[0].seq, all[2].seq]);
        pair.a.heard(&[all[0].seq]);
        assert_eq!(pair.a.outgoing("kme-b"), all[1..2]);
        assert_eq!((has_voids(), pair.a.links()[0].outbox), (false, 1));
        pair.a.void_cut(cuts[3].reservation);
        assert!(pair.a.outgoing("kme-b")[1].seq > all[2].seq, "no number is used twice");
        assert!(pair.a.outgoing("kme-z").is_empty());
    });
}

#[test]
fn the_outbox_of_a_silent_peer_has_an_end() {
    // The same statements in all places, thousands of them: memory is enough.
    let site = Site::memory();
    let pair = Pair::with_blocks(&site, &[100_000]);
    let rounds = Book::MAX_WAITING_DELIVERED + 5;
    let first = pair.a.cut(&wish("kme-b", 1, 1));
    pair.a.deliver(first.reservation, at(0)).unwrap();
    pair.a
        .ledger
        .run_blocking(move |book| {
            let mut rng = StdRng::seed_from_u64(1);
            for _ in 0..rounds {
                let cut = book.cut(&wish("kme-b", 1, 1), at(0), &mut rng)?.unwrap();
                book.deliver(cut.reservation, at(0))?.unwrap();
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(pair.a.links()[0].outbox, Book::MAX_WAITING_DELIVERED);
    let oldest = pair.a.messages("kme-b");
    assert_ne!(oldest[0], Message::Delivered(ids(&first.keys)), "the oldest word was dropped");

    // Voids are never dropped: nothing more is cut or reserved until the peer hears of them.
    let voids = Book::MAX_WAITING_VOIDS;
    pair.a
        .ledger
        .run_blocking(move |book| {
            let mut rng = StdRng::seed_from_u64(2);
            for _ in 0..voids {
                let cut = book.cut(&wish("kme-b", 1, 1), at(0), &mut rng)?.unwrap();
                book.void_cut(cut.reservation)?;
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(pair.a.links()[0].outbox, Book::MAX_WAITING_DELIVERED + voids);
    assert_eq!(pair.a.try_cut(&wish("kme-b", 1, 1), at(0)).unwrap_err().pooled, 0);
    let theirs = positions(1, &[extent(0, 99_000, 8)]);
    assert_eq!(pair.a.reserve("kme-b", std::slice::from_ref(&theirs)), Err(ReserveError::Full));
    let void = pair.a.ledger.run_blocking(|book| book.outbox(&kme("kme-b"), u32::MAX)).unwrap();
    let void = void.iter().find(|outgoing| matches!(outgoing.message, Message::Void(_))).unwrap();
    pair.a.heard(&[void.seq]);
    pair.a.reserve("kme-b", &[theirs]).unwrap();
    assert!(pair.a.try_cut(&wish("kme-b", 1, 1), at(0)).is_ok());
}
