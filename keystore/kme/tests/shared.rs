//! Two processes of one site on one `PostgreSQL` database, behind one address; one of them ends in the middle.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

#[path = "../../ledger/tests/support/mod.rs"]
mod support;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vernam_etsi014::DeliveredKey;
use vernam_key::KeyId;
use vernam_kme::LinkState;
use vernam_ledger::{LedgerLimits, Place};
use world::{TWO, World, kme_id, refused, report, sae, until};

/// A is on `PostgreSQL`, B in memory.
async fn world(database: &support::Site) -> World {
    let place = |kme: &str| if kme == "kme-a" { database.place(kme) } else { Place::Memory };
    let mut world = World::in_places(TWO, place, LedgerLimits::default(), |config| {
        config.limits.peer_timeout = Duration::from_millis(500);
    })
    .await;
    world.make_block().await;
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_of_a_sites_processes_serves_any_request() {
    let database = support::Site::postgres();
    let mut world = world(&database).await;
    let mut twin = world.twin(0).await;
    let (first, second) = (world.alice(), world.client("alice", twin.addr));
    let sent = [
        first.enc_keys(&sae("bob"), 1, 256).await.unwrap().remove(0),
        second.enc_keys(&sae("bob"), 1, 256).await.unwrap().remove(0),
    ];
    assert_ne!(sent[0].key.expose("test"), sent[1].key.expose("test"));
    let ids = sent.each_ref().map(|key| key.key_id);
    let got = world.bob().dec_keys(&sae("alice"), &ids).await.unwrap();
    assert!(sent.iter().zip(&got).all(|(sent, got)| sent.key.expose("test") == got.key.expose("test")));
    // A key that one of them holds ready is collected at the other, and once.
    let back = world.bob().enc_keys(&sae("alice"), 1, 256).await.unwrap().remove(0);
    second.dec_keys(&sae("bob"), &[back.key_id]).await.unwrap();
    assert_eq!(refused(first.dec_keys(&sae("bob"), &[back.key_id]).await).0, 400);
    world.all_told().await;
    let (a, b) = world.books().await;
    assert_eq!((a.delivered_to_master, a.delivered_to_slave, a.reserved), (512, 256, 0));
    assert_eq!((a.pooled_own, a.pooled_peer), (b.pooled_peer, b.pooled_own));
    twin.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alarm_told_to_one_process_stops_all_of_its_site() {
    let database = support::Site::postgres();
    let mut world = world(&database).await;
    let mut twin = world.twin(0).await;
    let link = kme_id("kme-b");
    let (first, second) = (world.alice(), world.client("alice", twin.addr));
    let state = |kme: &vernam_kme::Kme| kme.link_report(&link).state;
    second.enc_keys(&sae("bob"), 1, 256).await.unwrap();
    world.a().kme.set_link_report(&link, report(LinkState::Alarm, "somebody listens"));
    assert_eq!(state(&world.a().kme), LinkState::Alarm);
    // As soon as it is stored no process cuts a key, whether it has looked or not.
    let stored = async || {
        let of = link.clone();
        let report = world.a().kme.ledger().run(move |book| book.report(&of)).await.unwrap().unwrap();
        String::from_utf8(report.body).unwrap().contains("somebody listens")
    };
    until("the alarm is stored", stored).await;
    let books = world.a().books().await;
    for client in [&first, &second] {
        let (status, words) = refused(client.enc_keys(&sae("bob"), 1, 256).await);
        assert!(status == 503 && words.contains("alarm: somebody listens"), "{status} {words}");
    }
    until("the other process has seen it", async || state(&twin.kme) == LinkState::Alarm).await;
    let status = second.status(&sae("bob")).await.unwrap();
    assert_eq!(status.status_extension.unwrap()["vernam_link"]["reason"], "somebody listens");
    // Nor are keys held ready for the peer, at either process.
    for _ in 0..2 {
        assert_eq!(refused(world.bob().enc_keys(&sae("alice"), 1, 256).await).0, 503);
    }
    assert_eq!(world.a().books().await, books);
    // A process without a source says nothing about the alarm.
    twin.kme.set_link_report(&link, report(LinkState::Down, "no source"));
    assert_eq!(state(&twin.kme), LinkState::Alarm);
    assert_eq!(refused(second.enc_keys(&sae("bob"), 1, 256).await).0, 503);
    world.a().kme.set_link_report(&link, report(LinkState::Up, "nobody listens any more"));
    let is_over = async || [&twin.kme, &world.a().kme].into_iter().all(|kme| state(kme) == LinkState::Up);
    until("the alarm is over everywhere", is_over).await;
    for client in [&first, &second] {
        client.enc_keys(&sae("bob"), 1, 256).await.unwrap();
    }
    twin.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_ends_in_the_middle_takes_nothing_with_it() {
    let database = support::Site::postgres();
    let mut world = world(&database).await;
    let mut twin = world.twin(0).await;
    let address = world.wire_of(1, 0).addr; // where A's two processes are reached, in turn
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..3 {
        for (name, addr, slave) in [("alice", address, "bob"), ("bob", world.b().addr, "alice")] {
            let clients: Vec<_> = (0..2).map(|_| world.client(name, addr)).collect();
            tasks.spawn(async move {
                let mut keys = Vec::new();
                for round in 0..30 {
                    if let Ok(more) = clients[round % 2].enc_keys(&sae(slave), 2, 256).await {
                        keys.extend(more);
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                (slave, keys)
            });
        }
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    twin.kill().await;
    let mut sent: BTreeMap<&str, Vec<DeliveredKey>> = BTreeMap::new();
    while let Some(done) = tasks.join_next().await {
        let (slave, keys) = done.unwrap();
        sent.entry(slave).or_default().extend(keys);
    }
    let mut words = BTreeSet::new();
    for key in sent.values().flatten() {
        assert!(key.key.expose("test").chunks(8).all(|word| words.insert(word.to_vec())), "bits were given twice");
    }
    // What the lost process had cut is void when its time is over, by the one that is left.
    world.clock.forward(Duration::from_mins(2));
    until("no cut is left", async || {
        let (a, b) = world.books().await;
        a.reserved == b.delivered_to_master - a.delivered_to_slave
    })
    .await;
    world.all_told().await;
    for (slave, client, master) in [("bob", world.bob(), "alice"), ("alice", world.client("alice", address), "bob")] {
        let keys = &sent[slave];
        assert!(!keys.is_empty());
        for batch in keys.chunks(64) {
            let ids: Vec<KeyId> = batch.iter().map(|key| key.key_id).collect();
            let got = client.dec_keys(&sae(master), &ids).await.unwrap();
            assert!(batch.iter().zip(&got).all(|(sent, got)| sent.key.expose("test") == got.key.expose("test")));
        }
    }
    let (a, b) = world.books().await;
    assert_eq!((a.pooled_own, a.pooled_peer), (b.pooled_peer, b.pooled_own), "{a:?} {b:?}");
    assert_eq!(b.reserved, a.delivered_to_master - b.delivered_to_slave, "{a:?} {b:?}");
    assert_eq!(a.reserved, b.delivered_to_master - a.delivered_to_slave, "{a:?} {b:?}");
    world.end().await;
}
