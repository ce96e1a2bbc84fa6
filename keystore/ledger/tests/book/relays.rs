//! The same key for slaves at several KMEs: one link gives the bits, the others carry them under a pad.

use vernam_ledger::{Message, Wish};

use crate::support::{Site, for_each_place};
use crate::world::{End, LIMITS, at, bits, extent, ids, kme, sae, wish};

/// A in the middle, with links to B and C.
struct Star {
    a: End,
    b: End,
    c: End,
}

impl Star {
    fn new(site: &Site) -> Self {
        let star = Self {
            a: End::new(site, "kme-a", LIMITS),
            b: End::new(site, "kme-b", LIMITS),
            c: End::new(site, "kme-c", LIMITS),
        };
        star.a.deposit_at("kme-b", 0, bits("a-b", 0, 64), at(0)).unwrap();
        star.b.deposit_at("kme-a", 0, bits("a-b", 0, 64), at(0)).unwrap();
        star.a.deposit_at("kme-c", 0, bits("a-c", 0, 64), at(0)).unwrap();
        star.c.deposit_at("kme-a", 0, bits("a-c", 0, 64), at(0)).unwrap();
        star
    }
}

fn multicast() -> Wish {
    Wish { relays: vec![kme("kme-c")], ..wish("kme-b", 2, 8) }
}

#[test]
fn the_key_is_the_same_at_three_kmes() {
    for_each_place(|site| {
        let star = Star::new(site);
        let cut = star.a.cut(&Wish { local: vec![sae("dave")], ..multicast() });
        let (link, carried) = &cut.relays[0];
        assert_eq!((link, carried[1].extents.as_slice()), (&kme("kme-c"), &[extent(0, 8, 8)][..]));
        assert_eq!(ids(carried), ids(&cut.keys));
        star.b.reserve("kme-a", &cut.keys).unwrap();
        star.c.reserve_for("kme-a", &["carol"], carried, at(0)).unwrap();
        star.c.reserve_for("kme-a", &["carol"], carried, at(0)).unwrap();
        let master = star.a.deliver(cut.reservation, at(0)).unwrap();
        assert_eq!(master[0].key, bits("a-b", 0, 64)[..8]);
        assert_eq!(star.b.collect("bob", &ids(&cut.keys)).unwrap(), master);
        assert_eq!(star.c.collect("carol", &ids(&cut.keys)).unwrap(), master);
        assert_eq!(star.a.collect("dave", &ids(&cut.keys)).unwrap(), master);
        assert_eq!(star.a.messages("kme-b"), [Message::Delivered(ids(&cut.keys))]);
        assert_eq!(star.a.messages("kme-c"), [Message::Delivered(ids(&cut.keys))]);
        let (main, relay) = (star.a.books("kme-b"), star.a.books("kme-c"));
        assert_eq!((main.delivered_to_master, main.relayed, main.reserved), (128, 0, 0));
        assert_eq!((relay.delivered_to_master, relay.relayed, relay.reserved), (0, 128, 0));
        assert_eq!(star.c.books("kme-a").delivered_to_slave, 128);
    });
}

#[test]
fn another_wrapped_text_is_another_key() {
    for_each_place(|site| {
        let star = Star::new(site);
        let cut = star.a.cut(&multicast());
        let carried = &cut.relays[0].1;
        star.c.reserve("kme-a", carried).unwrap();
        let mut forged = carried.clone();
        forged[0].wrapped.as_mut().unwrap()[0] ^= 1;
        assert!(star.c.reserve("kme-a", &forged).is_err());
        assert!(!star.c.is_reserved("kme-a", "bob", &forged));
    });
}

#[test]
fn a_void_multicast_is_void_everywhere() {
    for_each_place(|site| {
        let star = Star::new(site);
        let cut = star.a.cut(&multicast());
        star.b.reserve("kme-a", &cut.keys).unwrap();
        star.c.reserve("kme-a", &cut.relays[0].1).unwrap();
        star.a.void_cut(cut.reservation);
        for (end, link) in [(&star.b, "kme-b"), (&star.c, "kme-c")] {
            for message in star.a.messages(link) {
                end.hear("kme-a", &message, at(0));
            }
            assert_eq!((end.books("kme-a").voided, end.books("kme-a").reserved), (128, 0));
            assert_eq!((star.a.books(link).voided, star.a.books(link).reserved), (128, 0));
        }
    });
}

#[test]
fn a_relaying_peer_that_lost_its_pads_voids_the_cut() {
    for_each_place(|site| {
        let star = Star::new(site);
        let cut = star.a.cut(&multicast());
        star.a.void("kme-c", &cut.relays[0].1);
        assert_eq!(star.a.deliver(cut.reservation, at(0)), None);
        assert_eq!((star.a.books("kme-b").voided, star.a.books("kme-c").voided), (128, 128));
    });
}

#[test]
fn a_key_that_may_have_been_seen_wrapped_never_goes_back() {
    for_each_place(|site| {
        let star = Star::new(site);
        let cut = star.a.cut(&multicast());
        star.a.restore(cut.reservation, &[]);
        assert_eq!((star.a.books("kme-b").voided, star.a.books("kme-c").voided), (128, 128));
        assert_eq!(star.a.cut(&wish("kme-b", 1, 8)).keys[0].extents, [extent(0, 16, 8)]);
        assert_eq!(star.a.cut(&wish("kme-c", 1, 8)).keys[0].extents, [extent(0, 16, 8)]);
    });
}

#[test]
fn a_relay_without_enough_key_leaves_everything_as_it_was() {
    for_each_place(|site| {
        let star = Star::new(site);
        let rest = star.a.cut(&wish("kme-c", 1, 20));
        let books = (star.a.books("kme-b"), star.a.books("kme-c"));
        let short = star.a.try_cut(&multicast(), at(0)).unwrap_err();
        assert_eq!((short.link, short.wanted, short.pooled), (kme("kme-c"), 128, 96));
        let unknown = star.a.try_cut(&Wish { relays: vec![kme("kme-z")], ..multicast() }, at(0)).unwrap_err();
        assert_eq!(unknown.link, kme("kme-z"));
        assert_eq!((star.a.books("kme-b"), star.a.books("kme-c")), books);
        star.a.restore(rest.reservation, &[]);
        // The same link twice, and the key's own link: as much more is cut from it, and no byte twice.
        let twice = Wish { relays: vec![kme("kme-c"), kme("kme-c"), kme("kme-b")], ..multicast() };
        let cut = star.a.cut(&twice);
        let mut seen = std::collections::BTreeSet::new();
        let mut parts = vec![(kme("kme-b"), cut.keys.clone())];
        parts.extend(cut.relays.clone());
        for (link, keys) in parts {
            for extent in keys.iter().flat_map(|key| &key.extents) {
                assert!((extent.offset..extent.offset + extent.len).all(|byte| seen.insert((link.clone(), byte))));
            }
        }
        assert_eq!(seen.len(), 64);
        assert!(star.a.try_cut(&wish("kme-b", 1, 1), at(0)).is_err());
        star.a.deliver(cut.reservation, at(0)).unwrap();
        assert_eq!((star.a.books("kme-b").relayed, star.a.books("kme-c").relayed), (128, 256));
    });
}
