//! Time passes, and jumps.

use std::time::Duration;

use vernam_ledger::{Book, Expired, StoredReport};

use crate::support::{for_each_durable_place, for_each_place};
use crate::world::{End, LIMITS, Pair, at, bits, ids, kme, sae, wish};

#[test]
fn housekeeping_goes_in_steps() {
    for_each_place(|site| {
        let pair = Pair::with_blocks(site, &[256]);
        for _ in 0..6 {
            let cut = pair.a.cut(&wish("kme-b", 3, 4));
            pair.b.reserve("kme-a", &cut.keys).unwrap();
        }
        let step = |end: &End, most| end.ledger.run_blocking(move |book| book.expire(at(5000), most)).unwrap();
        let first = step(&pair.a, 7);
        assert_eq!((first.cut, first.waiting, first.more), (9, 0, true), "whole reservations, a few more if need be");
        let second = step(&pair.a, 9);
        assert_eq!((second.cut, second.more), (9, false));
        assert_eq!(step(&pair.a, 9), Expired::default());
        let theirs = step(&pair.b, 0);
        assert_eq!((theirs.waiting, theirs.more), (0, true));
        assert_eq!(step(&pair.b, u32::MAX).waiting, 18);
        assert_eq!(pair.b.links()[0].waiting_keys, 0);
        pair.talk(at(5000));
        assert_eq!(pair.mirrored().0.voided, 72 * 8);
    });
}

#[test]
fn a_deadline_beyond_all_measure_is_past() {
    for_each_place(|site| {
        let pair = Pair::with_blocks(site, &[256]);
        let future = Duration::from_hours(24 * 365);
        let mut far = wish("kme-b", 1, 4);
        far.deadline = at(60) + future;
        // The clock is a year ahead for a while.
        let cut = pair.a.try_cut(&far, at(0) + future).unwrap();
        pair.b.reserve_for("kme-a", &["bob"], &cut.keys, at(0) + future).unwrap();
        let mut local = far.clone();
        local.local = vec![sae("carol")];
        let kept = pair.a.try_cut(&local, at(0) + future).unwrap();
        pair.a.deliver(kept.reservation, at(0) + future).unwrap();
        let confirmed = pair.a.try_cut(&far, at(0) + future).unwrap();
        pair.b.reserve_for("kme-a", &["bob"], &confirmed.keys, at(0) + future).unwrap();
        pair.b.confirm("kme-a", &ids(&confirmed.keys), at(0) + future);
        // Then it is right again.
        let fresh = pair.a.cut(&wish("kme-b", 1, 4));
        pair.b.reserve("kme-a", &fresh.keys).unwrap();
        let (a, b) = (pair.a.expire(at(1)), pair.b.expire(at(1)));
        assert_eq!((a.cut, a.waiting, b.waiting), (2, 1, 2));
        assert!(pair.a.deliver(fresh.reservation, at(1)).is_some(), "what was begun since goes on");
        assert!(pair.b.collect("bob", &ids(&fresh.keys)).is_ok());
    });
}

#[test]
fn clocks_that_differ_a_little_void_nothing() {
    for_each_place(|site| {
        let pair = Pair::with_blocks(site, &[64]);
        let mut patient = wish("kme-b", 1, 4);
        patient.deadline = at(120) + Book::MAX_CUT;
        let cut = pair.a.try_cut(&patient, at(120)).unwrap();
        pair.b.reserve_for("kme-a", &["bob"], &cut.keys, at(120)).unwrap();
        assert_eq!((pair.a.expire(at(0)), pair.b.expire(at(0))), (Expired::default(), Expired::default()));
    });
}

#[test]
fn everything_is_as_it_was_after_a_restart() {
    for_each_durable_place(|site| {
        let mut pair = Pair::with_blocks(site, &[256, 256]);
        let delivered = pair.a.cut(&wish("kme-b", 3, 8));
        let open = pair.a.cut(&wish("kme-b", 1, 8));
        pair.b.reserve("kme-a", &delivered.keys).unwrap();
        let master = pair.a.deliver(delivered.reservation, at(0)).unwrap();
        let before = (pair.a.links(), pair.b.links(), pair.a.outgoing("kme-b"));
        drop(pair);
        pair = Pair::new(site);
        assert_eq!((pair.a.links(), pair.b.links(), pair.a.outgoing("kme-b")), before);
        let cut = pair.a.cut(&wish("kme-b", 1, 8));
        assert!(cut.reservation > open.reservation, "no number is used twice");
        assert!(pair.a.deposit_at("kme-b", 1, bits("a-b", 1, 64), at(0)).is_err(), "nor any block");
        assert_eq!(pair.b.collect("bob", &ids(&delivered.keys)).unwrap(), master);
        assert!(pair.a.deliver(open.reservation, at(0)).is_some());
        pair.talk(at(0));
        drop(pair);
        let pair = Pair::with(site, LIMITS);
        assert!(pair.b.collect("bob", &ids(&delivered.keys)).is_err(), "once, whatever happens between");
        assert!(pair.a.deliver(open.reservation, at(0)).is_none());
    });
}

#[test]
fn the_latest_report_of_a_link_is_kept() {
    for_each_durable_place(|site| {
        let end = End::new(site, "kme-a", LIMITS);
        let set = |end: &End, link: &str, body: &'static [u8], now| {
            let link = kme(link);
            end.ledger.run_blocking(move |book| book.set_report(&link, body, now))
        };
        let stored =
            |end: &End, link: &str| end.ledger.snapshot().link(&kme(link)).and_then(|view| view.report.clone());
        assert_eq!(set(&end, "kme-b", b"all is well", at(5)), Ok(1));
        assert_eq!(set(&end, "kme-b", b"alarm", at(3)), Ok(2), "the clock went back, and it is the later one");
        assert_eq!(set(&end, "kme-c", b"", at(4)), Ok(1), "each link has its own");
        let latest = StoredReport { number: 2, at: at(3), body: b"alarm".to_vec() };
        assert_eq!(stored(&end, "kme-b"), Some(latest.clone()));
        assert!(set(&end, "kme-b", &[b'x'; Book::MAX_REPORT_BYTES + 1], at(6)).is_err());
        end.deposit_at("kme-b", 0, vec![1; 64], at(7)).unwrap();
        drop(end);
        let end = End::new(site, "kme-a", LIMITS);
        let read = end.ledger.run_blocking(|book| Ok((book.report(&kme("kme-b"))?, book.report(&kme("kme-d"))?)));
        assert_eq!(read, Ok((Some(latest), None)));
        assert_eq!(stored(&end, "kme-c").map(|report| report.body), Some(Vec::new()));
    });
}
