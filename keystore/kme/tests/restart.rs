//! A KME that ends in the middle of traffic, and comes back on the same `SQLite` file.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use vernam_etsi014::DeliveredKey;
use vernam_key::KeyId;
use world::{TWO, World, refused, sae, unavailable, until};

#[tokio::test]
async fn nothing_is_forgotten_and_nothing_is_given_again() {
    let mut world = World::on_disk(TWO, |_config| {}).await;
    world.make_block().await;
    let keys = world.alice().enc_keys(&sae("bob"), 4, 256).await.unwrap();
    let ids: Vec<KeyId> = keys.iter().map(|key| key.key_id).collect();
    world.bob().dec_keys(&sae("alice"), &ids[..2]).await.unwrap();
    let before = world.books().await;
    for site in [0, 1] {
        world.kill(site).await;
        world.revive(site).await;
    }
    assert_eq!(world.books().await, before);
    assert_eq!(refused(world.bob().dec_keys(&sae("alice"), &ids[..1]).await).0, 400, "once is once");
    let got = world.bob().dec_keys(&sae("alice"), &ids[2..]).await.unwrap();
    assert_eq!(got[0].key.expose("test"), keys[2].key.expose("test"), "what waits can be collected");
    let more = world.alice().enc_keys(&sae("bob"), 100, 256).await.unwrap();
    let words = |keys: &[DeliveredKey]| -> Vec<Vec<u8>> {
        keys.iter().flat_map(|key| key.key.expose("test").chunks(8).map(<[u8]>::to_vec)).collect()
    };
    let used: BTreeSet<_> = words(&keys).into_iter().collect();
    assert!(words(&more).iter().all(|word| !used.contains(word)), "none of the used bits comes again");
    world.end().await;
}

#[tokio::test]
async fn a_cut_in_doubt_is_void_on_both_sides() {
    let mut world = World::on_disk(TWO, |_config| {}).await;
    world.make_block().await;
    let alice = world.alice();
    alice.enc_keys(&sae("bob"), 1, 256).await.unwrap(); // opens the connection between the KMEs
    world.wire().mute(true);
    let wish = tokio::spawn(async move { alice.enc_keys(&sae("bob"), 2, 256).await.is_err() });
    until("B reserves", async || world.b().books().await.reserved == 768).await;
    world.kill(0).await; // B holds the keys ready; A never heard so
    assert!(wish.await.unwrap());
    world.wire().mute(false);
    world.revive(0).await;
    assert_eq!(world.a().books().await.voided, 512);
    world.all_told().await;
    let (a, b) = world.books().await;
    assert_eq!((a.reserved, b.reserved, b.voided, a.pooled_own), (0, 256, 512, b.pooled_peer));
    assert_eq!(world.alice().enc_keys(&sae("bob"), 1, 256).await.unwrap().len(), 1);
    world.end().await;
}

#[tokio::test]
async fn what_the_peer_must_hear_is_told_after_the_restart() {
    let mut world = World::on_disk(TWO, |config| config.limits.peer_timeout = Duration::from_millis(300)).await;
    world.make_block().await;
    let alice = world.alice();
    alice.enc_keys(&sae("bob"), 1, 256).await.unwrap();
    world.wire().mute(true);
    unavailable(alice.enc_keys(&sae("bob"), 2, 256).await);
    world.kill(0).await;
    world.wire().mute(false);
    world.revive(0).await;
    world.all_told().await;
    let (a, b) = world.books().await;
    assert_eq!((a.voided, b.voided, b.reserved), (512, 512, 256));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn either_kme_may_end_in_the_middle_of_traffic() {
    let mut world = World::on_disk(TWO, |config| config.limits.peer_timeout = Duration::from_millis(500)).await;
    for _ in 0..2 {
        world.make_block().await;
    }
    let (alice, bob) = (Arc::new(world.alice()), Arc::new(world.bob()));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..3 {
        for (client, slave) in [(&alice, "bob"), (&bob, "alice")] {
            let client = Arc::clone(client);
            tasks.spawn(async move {
                let mut keys = Vec::new();
                for _ in 0..30 {
                    if let Ok(more) = client.enc_keys(&sae(slave), 2, 256).await {
                        keys.extend(more);
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                (slave, keys)
            });
        }
    }
    for site in [0, 1, 0, 1] {
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.kill(site).await;
        world.revive(site).await;
    }
    let mut sent: BTreeMap<&str, Vec<DeliveredKey>> = BTreeMap::new();
    while let Some(done) = tasks.join_next().await {
        let (slave, keys) = done.unwrap();
        sent.entry(slave).or_default().extend(keys);
    }
    let mut words = BTreeSet::new();
    for key in sent.values().flatten() {
        let bytes = key.key.expose("test");
        assert!(bytes.chunks(8).all(|word| words.insert(word.to_vec())), "bits were given twice");
    }
    world.all_told().await;
    for (slave, client, master) in [("bob", &bob, "alice"), ("alice", &alice, "bob")] {
        let keys = sent.remove(slave).unwrap_or_default();
        assert!(!keys.is_empty());
        for batch in keys.chunks(64) {
            let ids: Vec<KeyId> = batch.iter().map(|key| key.key_id).collect();
            let got = client.dec_keys(&sae(master), &ids).await.unwrap();
            assert!(batch.iter().zip(&got).all(|(sent, got)| sent.key.expose("test") == got.key.expose("test")));
        }
    }
    // What was delivered durably but lost with the process still waits for its slave: nothing else is reserved.
    let (a, b) = world.books().await;
    assert_eq!((a.pooled_own, a.pooled_peer), (b.pooled_peer, b.pooled_own), "{a:?} {b:?}");
    assert_eq!(b.reserved, a.delivered_to_master - b.delivered_to_slave, "{a:?} {b:?}");
    assert_eq!(a.reserved, b.delivered_to_master - a.delivered_to_slave, "{a:?} {b:?}");
    world.end().await;
}
