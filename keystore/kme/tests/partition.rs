//! KMEs that lose each other for a while: after healing, both account for every key.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod world;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use vernam_etsi014::DeliveredKey;
use vernam_key::KeyId;
use vernam_kme::{KmeEvent, Observer};
use vernam_ledger::LedgerLimits;
use world::{TWO, World, kme_id, post, sae, unavailable, until};

/// A peer is given up on quickly, so that a test need not wait.
fn brief(config: &mut vernam_kme::KmeConfig) {
    config.limits.peer_timeout = Duration::from_millis(300);
}

/// Both ends agree on every bit: nothing is reserved but what waits for its slave.
async fn check_healed(world: &World, waiting_at_b: u64, waiting_at_a: u64) {
    world.all_told().await;
    let (a, b) = world.books().await;
    assert!(a.balances() && b.balances(), "{a:?} {b:?}");
    assert_eq!((a.reserved, b.reserved), (waiting_at_a, waiting_at_b), "{a:?} {b:?}");
    assert_eq!((a.pooled_own, a.pooled_peer), (b.pooled_peer, b.pooled_own), "{a:?} {b:?}");
}

async fn collect(world: &World, keys: &[DeliveredKey]) {
    let ids: Vec<KeyId> = keys.iter().map(|key| key.key_id).collect();
    let got = world.bob().dec_keys(&sae("alice"), &ids).await.unwrap();
    assert!(keys.iter().zip(&got).all(|(sent, got)| sent.key.expose("test") == got.key.expose("test")));
}

#[tokio::test]
async fn a_peer_that_is_away_during_ext_keys() {
    let mut world = World::with(brief).await;
    world.make_block().await;
    world.wire().cut(true);
    for _ in 0..3 {
        unavailable(world.alice().enc_keys(&sae("bob"), 1, 256).await);
    }
    assert_eq!(world.a().books().await.voided, 0, "the peer never heard of it");
    world.wire().cut(false);
    let keys = world.alice().enc_keys(&sae("bob"), 2, 256).await.unwrap();
    check_healed(&world, 512, 0).await;
    collect(&world, &keys).await;
    check_healed(&world, 0, 0).await;
    world.end().await;
}

#[tokio::test]
async fn an_answer_to_ext_keys_that_is_lost() {
    let mut world = World::with(brief).await;
    world.make_block().await;
    let alice = world.alice();
    let early = alice.enc_keys(&sae("bob"), 1, 256).await.unwrap();
    world.wire().mute(true);
    assert!(unavailable(alice.enc_keys(&sae("bob"), 3, 256).await).contains("erased"));
    let (a, b) = world.books().await;
    assert_eq!((a.voided, b.reserved), (768, 256 + 768), "B holds them ready, and cannot know better yet");
    for _ in 0..3 {
        unavailable(alice.enc_keys(&sae("bob"), 3, 256).await);
    }
    assert_eq!(world.a().books().await.voided, 768, "one doubt costs one cut");
    world.wire().mute(false);
    check_healed(&world, 256, 0).await;
    collect(&world, &early).await;
    collect(&world, &alice.enc_keys(&sae("bob"), 1, 256).await.unwrap()).await;
    check_healed(&world, 0, 0).await;
    world.end().await;
}

#[tokio::test]
async fn an_ack_that_is_lost_is_said_again() {
    let limits = LedgerLimits { confirm_within: Duration::from_mins(5), ..LedgerLimits::default() };
    let mut world = World::of(TWO, limits, brief).await;
    world.make_block().await;
    let keys = world.alice().enc_keys(&sae("bob"), 2, 256).await.unwrap();
    world.wire().cut(true); // before the ack has gone, or after: both must do
    tokio::time::sleep(Duration::from_millis(200)).await;
    world.wire().cut(false);
    check_healed(&world, 512, 0).await;
    // Confirmed keys outlive the time within which the master's KME must confirm.
    world.clock.forward(Duration::from_mins(10));
    tokio::time::sleep(Duration::from_millis(2_300)).await;
    collect(&world, &keys).await;
    check_healed(&world, 0, 0).await;
    world.end().await;
}

#[tokio::test]
async fn keys_that_nobody_collects_are_void_at_both_ends() {
    let limits = LedgerLimits { keep_for: Duration::from_mins(5), ..LedgerLimits::default() };
    let mut world = World::of(TWO, limits, |_config| {}).await;
    world.make_block().await;
    let keys = world.alice().enc_keys(&sae("bob"), 2, 256).await.unwrap();
    world.all_told().await;
    world.clock.forward(Duration::from_mins(6));
    until("B expires them", async || world.b().books().await.reserved == 0).await;
    assert_eq!(world::refused(world.bob().dec_keys(&sae("alice"), &[keys[0].key_id]).await).0, 400);
    check_healed(&world, 0, 0).await;
    world.end().await;
}

#[tokio::test]
async fn clocks_that_jump_never_bring_a_key_back() {
    let mut world = World::with(|_config| {}).await;
    world.make_block().await;
    let alice = world.alice();
    let mut seen = std::collections::BTreeSet::new();
    for step in 0..6 {
        match step % 3 {
            0 => world.clock.forward(Duration::from_hours(24 * 365)),
            1 => world.clock.back(Duration::from_hours(24 * 400)),
            _ => {}
        }
        // Granted or not: never the same bits.
        if let Ok(keys) = alice.enc_keys(&sae("bob"), 4, 64).await {
            assert!(keys.iter().all(|key| seen.insert(key.key.expose("test").to_vec())), "bits were given twice");
        }
    }
    assert!(!seen.is_empty());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_in_both_directions_through_a_storm() {
    let mut world = World::with(brief).await;
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
                for _ in 0..12 {
                    if let Ok(more) = client.enc_keys(&sae(slave), 2, 256).await {
                        keys.extend(more);
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                (slave, keys)
            });
        }
    }
    for round in 0..4 {
        let (from, to) = [(0, 1), (1, 0)][round % 2];
        match round / 2 {
            0 => world.wire_of(from, to).mute(true),
            _ => world.wire_of(from, to).cut(true),
        }
        tokio::time::sleep(Duration::from_millis(120)).await;
        world.wire_of(from, to).cut(false);
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    let mut sent: BTreeMap<&str, Vec<DeliveredKey>> = BTreeMap::new();
    while let Some(done) = tasks.join_next().await {
        let (slave, keys) = done.unwrap();
        sent.entry(slave).or_default().extend(keys);
    }
    let bits = |slave| sent.get(slave).map_or(0, |keys| keys.len() as u64 * 256);
    check_healed(&world, bits("bob"), bits("alice")).await;
    for (slave, client, master) in [("bob", &bob, "alice"), ("alice", &alice, "bob")] {
        for batch in sent.get(slave).into_iter().flat_map(|keys| keys.chunks(64)) {
            let ids: Vec<KeyId> = batch.iter().map(|key| key.key_id).collect();
            let got = client.dec_keys(&sae(master), &ids).await.unwrap();
            assert!(batch.iter().zip(&got).all(|(sent, got)| sent.key.expose("test") == got.key.expose("test")));
        }
    }
    check_healed(&world, 0, 0).await;
    world.end().await;
}

#[tokio::test]
async fn a_message_that_a_peer_never_understands_does_not_keep_the_others() {
    let mut world = World::with(|config| {
        // B reads no long message from a peer.
        if config.id.as_str() == "kme-b" {
            config.limits.max_peer_body = 4_000;
        }
    })
    .await;
    world.make_block().await;
    world.wire().cut(true);
    // Void at A alone, in one message that is too long for B: then one that is not.
    let link = kme_id("kme-b");
    let ledger = world.a().kme.ledger().clone();
    let now = Duration::from_hours(500_000);
    let wish = |number| vernam_ledger::Wish {
        link: link.clone(),
        master: sae("alice"),
        remote: vec![sae("bob")],
        local: Vec::new(),
        relays: Vec::new(),
        number,
        bytes: 8,
        not_before: None,
        leave_bits: 0,
        deadline: now + Duration::from_secs(10),
    };
    for number in [100, 1] {
        let wish = wish(number);
        let mut rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(7);
        ledger
            .run(move |book| {
                let cut = book.cut(&wish, now, &mut rng)?.expect("there is enough");
                book.void_cut(cut.reservation)
            })
            .await
            .unwrap();
    }
    world.wire().cut(false);
    world.all_told().await;
    assert_eq!(world.a().kme.dropped_messages(&link), 1);
    let (a, b) = world.books().await;
    assert_eq!((a.voided, b.voided), (101 * 64, 64), "the short one was heard");
    // The bits that B was not told of are still never given: A does not have them any more.
    assert_eq!(world.alice().enc_keys(&sae("bob"), 1, 256).await.unwrap().len(), 1);
    world.end().await;
}

#[tokio::test]
async fn a_dead_peer_delays_no_other() {
    let mut world = World::of(world::THREE, LedgerLimits::default(), |config| {
        config.limits.peer_timeout = Duration::from_mins(1);
        config.limits.max_peer_requests = 2;
        config.limits.max_peer_requests_per_sae = 1;
        config.limits.shutdown_grace = Duration::from_millis(100);
    })
    .await;
    world.make_block().await;
    world.wire_of(0, 2).mute(true);
    let (alice, hanging) = (world.alice(), world.alice());
    let hangs = tokio::spawn(async move { hanging.enc_keys(&sae("dave"), 1, 256).await.is_ok() });
    until("A asks C", async || world.a().books_with("kme-c").await.reserved > 0).await;
    let keys = alice.enc_keys(&sae("bob"), 1, 256).await.unwrap();
    let b = kme_id("kme-b");
    until("B hears", async || world.a().kme.ledger().snapshot().link(&b).unwrap().outbox == 0).await;
    collect(&world, &keys).await;
    hangs.abort();
    world.end().await;
}

#[derive(Default)]
struct Reserved(Mutex<Vec<KeyId>>);

impl Observer for Reserved {
    fn on(&self, event: &KmeEvent<'_>) {
        if let KmeEvent::Reserved { keys, .. } = event {
            self.0.lock().unwrap().extend(*keys);
        }
    }
}

#[tokio::test]
async fn the_peers_void_stops_a_cut_that_is_under_way() {
    let mut world = World::new().await;
    world.make_block().await;
    let reserved = Arc::new(Reserved::default());
    world.b().kme.add_observer(reserved.clone());
    let alice = world.alice();
    alice.enc_keys(&sae("bob"), 1, 256).await.unwrap(); // opens the connection between the KMEs
    world.wire().mute(true);
    let wish = tokio::spawn(async move { unavailable(alice.enc_keys(&sae("bob"), 1, 256).await) });
    until("B reserves", async || reserved.0.lock().unwrap().len() == 2).await;
    assert_eq!(world.a().books().await.reserved, 256);
    let id = reserved.0.lock().unwrap()[1].to_string();
    let positions = json!([{"block": 0, "offset": 32, "length": 32}]); // of A's half, after the first key
    let void = json!({"keys": [{"key_ID": id, "vernam_positions": positions}]}).to_string();
    let answer = world.raw(Some("kme-b"), world.a().addr, &post("/kmapi/v1/void", &void)).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let a = world.a().books().await;
    assert_eq!((a.reserved, a.voided), (0, 256));
    world.wire().mute(false);
    wish.await.unwrap();
    check_healed(&world, 256, 0).await;
    world.end().await;
}
