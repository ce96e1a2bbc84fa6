//! Pads carried by hand, and no KME at all.

#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure is the test's own")]

use std::sync::Arc;

use vernam_engine::{Event, KeySource as _, PadSource};
use vernam_key::SecretBytes;
use vernam_session::Suite;
use vernam_store::pad::{self, Cost, LockedPad, Person as PadPerson};
use vernam_store::{Store, StoreKey};
use vernam_tests::lab::voice::{Mouth, check};
use vernam_tests::lab::{Lab, Setup, filled, part};

use super::converse;

const MARK: u64 = 256 << 10;

/// A store of `name` beside the one for stocks, with the pad in it that `path` holds.
fn home(lab: &Lab, name: &str, contact: &str, path: &std::path::Path, words: &SecretBytes) -> Arc<Store> {
    let home = lab.folder(&format!("{name} pads"));
    let key = StoreKey::load_or_create(home.join("store.key")).unwrap();
    let store = Store::open(home.join("store"), lab.folder("pad anchors").join(name), key).unwrap();
    store.import_pad(LockedPad::open(path).unwrap().unlock(words).unwrap(), contact, Some(name)).unwrap();
    Arc::new(store)
}

#[tokio::test]
async fn the_last_of_a_pad_is_kept_for_handshakes() {
    let lab = Lab::new(172);
    let words = SecretBytes::copy_of(b"words for a test");
    let people = ["alice", "bob"].map(|name| PadPerson { name, passphrase: &words });
    let made = pad::make(&lab.folder("carried"), &people, 256 << 10, Cost::for_tests()).unwrap();
    let source = PadSource::new(home(&lab, "alice", "bob", &made.paths[0], &words));
    // What a stock takes until the source says that there is no more.
    let mut stocked = 0;
    loop {
        let room = source.room("bob").await.unwrap();
        let len = room.for_stock().min(u64::from(room.max_key));
        if len < 256 {
            break;
        }
        let keys = source.take("bob", 1, u32::try_from(len).unwrap()).await.unwrap();
        stocked += keys.iter().map(|key| key.bytes.len() as u64).sum::<u64>();
    }
    assert!(stocked > 32 << 10, "most of it is for the stock: {stocked}");
    // Two handshakes' keys of full length are left, or four of the least.
    let mut handshakes = 0;
    while source.take("bob", 1, 4 << 10).await.is_ok() {
        handshakes += 1;
    }
    assert!((4..=5).contains(&handshakes), "{handshakes}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_people_with_a_pad_call_and_write_under_one_time_pad_without_a_kme() {
    let lab = Lab::new(171);
    lab.vault.refuse("alice", Some("there is no KME"));
    lab.vault.refuse("bob", Some("there is no KME"));
    let words = SecretBytes::copy_of(b"words for a test");
    let people = ["alice", "bob"].map(|name| PadPerson { name, passphrase: &words });
    let made = pad::make(&lab.folder("carried"), &people, 4 << 20, Cost::for_tests()).unwrap();
    let stores =
        [home(&lab, "alice", "bob", &made.paths[0], &words), home(&lab, "bob", "alice", &made.paths[1], &words)];
    let [hers, his] = stores.map(|store| {
        let source = Some(Arc::new(PadSource::new(store)) as _);
        Setup { suites: vec![Suite::Otp], source, ..Setup::with_mark(MARK) }
    });
    // A second conversation goes on where the first one stopped: nothing is used again, and both still match.
    for round in 0..2 {
        let pair = lab.pair(hers.clone(), his.clone());
        pair[0].connect("bob", pair[1].addr).await;
        filled(&pair, [MARK; 2]).await;
        let (tapes, _) =
            converse(&pair, Suite::Otp, [Mouth::recorded("reader"), Mouth::recorded("commands")], 40).await;
        check(&tapes[0], &tapes[1]);
        check(&tapes[1], &tapes[0]);
        pair[1].write("alice", &format!("from a pad, {round}")).await;
        assert_eq!(pair[0].text().await, format!("from a pad, {round}"));
        for person in &pair {
            assert_eq!(person.count(|event| matches!(event, Event::Refused { .. })), 0, "{}", person.name);
        }
        part(pair).await;
    }
    assert!(lab.vault.given().is_empty(), "no key came from a KME");
}
