//! Load from both ends, a peer that is away or half-heard, an alarm, idle strangers.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod world;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use vernam_etsi014::{ClientError, DeliveredKey};
use vernam_kme::{KmeConfig, LinkState, PeerConfig};
use vernam_ledger::{Deposited, LedgerLimits};
use world::{TWO, World, report, sae, unavailable};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_masters_never_share_a_bit() {
    const TASKS: usize = 12;
    const ROUNDS: usize = 4;
    let mut world = World::new().await;
    for _ in 0..4 {
        world.make_block().await;
    }
    let (alice, bob) = (Arc::new(world.alice()), Arc::new(world.bob()));
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        for (client, slave) in [(&alice, "bob"), (&bob, "alice")] {
            let client = Arc::clone(client);
            tasks.spawn(async move {
                let mut keys = Vec::new();
                for round in 0..ROUNDS {
                    let size = [64, 256, 1024, 8192][(task + round) % 4];
                    keys.extend(client.enc_keys(&sae(slave), 3, size).await.unwrap());
                }
                (slave, keys)
            });
        }
    }
    let (mut words, mut by_slave) = (HashSet::new(), HashMap::<_, Vec<DeliveredKey>>::new());
    while let Some(done) = tasks.join_next().await {
        let (slave, keys) = done.unwrap();
        for key in &keys {
            assert!(key.key.expose("test").chunks(8).all(|word| words.insert(word.to_vec())), "bits were given twice");
        }
        by_slave.entry(slave).or_default().extend(keys);
    }
    for (client, me, master) in [(&bob, "bob", "alice"), (&alice, "alice", "bob")] {
        let sent = &by_slave[me];
        assert_eq!(sent.len(), TASKS * ROUNDS * 3);
        for batch in sent.chunks(100) {
            let ids: Vec<_> = batch.iter().map(|key| key.key_id).collect();
            let received = client.dec_keys(&sae(master), &ids).await.unwrap();
            let same = |(a, b): (&DeliveredKey, &DeliveredKey)| a.key.expose("test") == b.key.expose("test");
            assert!(batch.iter().zip(&received).all(same));
        }
    }
    let (a, b) = world.books().await;
    assert_eq!((a.delivered_to_master, b.delivered_to_master), (b.delivered_to_slave, a.delivered_to_slave));
    assert_eq!((a.voided, b.voided, a.reserved, b.reserved), (0, 0, 0, 0));
    assert_eq!((a.pooled_own, a.pooled_peer), (b.pooled_peer, b.pooled_own));
    world.end().await;
}

#[tokio::test]
async fn a_peer_that_is_down_costs_no_key() {
    let mut world = World::new().await;
    world.make_block().await;
    let alice = world.alice();
    let key = alice.enc_keys(&sae("bob"), 1, 256).await.unwrap().remove(0);
    world.stop_b().await;
    let before = world.b().books().await;
    for _ in 0..3 {
        let words = unavailable(alice.enc_keys(&sae("bob"), 1, 256).await);
        assert!(words.contains("bob"), "{words}");
    }
    world.start_b();
    let later = alice.enc_keys(&sae("bob"), 1, 256).await.unwrap().remove(0);
    let got = world.bob().dec_keys(&sae("alice"), &[later.key_id, key.key_id]).await.unwrap();
    assert_eq!(got[0].key.expose("test"), later.key.expose("test"));
    assert_eq!(got[1].key.expose("test"), key.key.expose("test"));
    let (a, b) = world.books().await;
    assert_eq!((a.pooled_own, a.voided), (b.pooled_peer, b.voided), "nothing leaked; {before:?}");
    world.end().await;
}

#[tokio::test]
async fn who_stands_in_for_the_peer_gets_nothing() {
    let mut world = World::new().await;
    world.make_block().await;
    let before = world.a().books().await;
    world.stop_b().await;
    world.sites[1].serve_as(&world.ca, "bob"); // of the same network, but not kme-b
    unavailable(world.alice().enc_keys(&sae("bob"), 1, 256).await);
    assert_eq!(world.a().books().await, before);
    world.end().await;
}

#[tokio::test]
async fn nonsense_from_the_peer_is_refused_and_changes_nothing() {
    let mut world = World::new().await;
    world.make_block().await;
    let before = world.a().books().await;
    let id = "bc490419-7d60-487f-adc1-4ddcc177c139";
    let ask = |master: &str, slaves: &str, extents: &str| {
        format!(
            r#"{{"initiator_SAE_ID":"{master}","target_SAE_IDs":{slaves},
            "keys":[{{"key_ID":"{id}","vernam_positions":{extents}}}]}}"#
        )
    };
    let (fits, ours) = (r#"[{"block":0,"offset":32768,"length":32}]"#, r#"[{"block":0,"offset":0,"length":32}]"#);
    for (path, body, status) in [
        ("/kmapi/v1/ext_keys", "nonsense".to_owned(), 400),
        ("/kmapi/v1/ext_keys", ask("mallory", r#"["alice"]"#, fits), 400),
        ("/kmapi/v1/ext_keys", ask("bob", r#"["mallory"]"#, fits), 400),
        ("/kmapi/v1/ext_keys", ask("bob", r#"["alice","alice"]"#, fits), 400),
        ("/kmapi/v1/ext_keys", ask("bob", r#"["alice","bob"]"#, fits), 400),
        ("/kmapi/v1/ext_keys", ask("bob", "[]", fits), 400),
        ("/kmapi/v1/ext_keys", ask("bob", r#"["alice"]"#, "[]"), 400),
        ("/kmapi/v1/ext_keys", ask("bob", r#"["alice"]"#, ours), 503),
        ("/kmapi/v1/ack", format!(r#"{{"key_IDs":[{{"key_ID":"{id}"}}],"ack_status":"reserved"}}"#), 400),
        ("/kmapi/v1/ack", format!(r#"{{"key_IDs":[{{"key_ID":"{id}"}}],"ack_status":"delivered"}}"#), 200),
        ("/kmapi/v1/void", "[]".repeat(9), 400),
    ] {
        let answer = world.raw(Some("kme-b"), world.a().addr, &world::post(path, &body)).await.unwrap();
        assert_eq!(answer.status, status, "{path} {body}: {answer:?}");
        assert!(status == 200 || !answer.message().is_empty());
    }
    assert_eq!(world.a().books().await, before);
    world.end().await;
}

#[tokio::test]
async fn a_key_whose_fate_is_unclear_is_erased_at_both_ends() {
    let mut world = World::with(|config| config.limits.peer_timeout = Duration::from_millis(300)).await;
    world.make_block().await;
    let alice = world.alice();
    alice.enc_keys(&sae("bob"), 1, 256).await.unwrap();
    world.wire().mute(true);
    // The first wish reaches B, whose answer is lost. The second is not even cut: B must hear of the first's end first.
    let words = unavailable(alice.enc_keys(&sae("bob"), 2, 256).await);
    assert!(words.contains("erased"), "{words}");
    assert_eq!(world.a().books().await.voided, 512);
    unavailable(alice.enc_keys(&sae("bob"), 2, 256).await);
    assert_eq!(world.a().books().await.voided, 512);
    world.wire().mute(false);
    alice.enc_keys(&sae("bob"), 1, 256).await.unwrap();
    let (a, b) = world.books().await;
    assert_eq!((a.voided, b.voided, a.pooled_own), (512, 512, b.pooled_peer));
    assert_eq!((a.delivered_to_master, b.reserved), (512, 512));
    world.end().await;
}

#[tokio::test]
async fn ends_out_of_step_find_each_other_again() {
    let mut world = World::new().await;
    world.make_block().await;
    world.make_block().await;
    // A has a block more than B: a wish that reaches into it waits, and costs nothing.
    let extra = vec![7; world::BLOCK];
    world.a().deposit("kme-b", 2, &extra).await;
    let alice = world.alice();
    let all_shared = u32::try_from(world::BLOCK).unwrap(); // half of two blocks
    for _ in 0..all_shared / 8192 {
        alice.enc_keys(&sae("bob"), 1, 65_536).await.unwrap();
    }
    let words = unavailable(alice.enc_keys(&sae("bob"), 1, 256).await);
    assert!(words.contains("not arrived"), "{words}");
    assert_eq!(world.a().books().await.voided, 0);
    // B goes on without that block: the bits are of no use, and A finds it out by itself.
    let next = [9; 4096];
    world.b().deposit("kme-a", 3, &[9; 4096]).await;
    world.a().deposit("kme-b", 3, &next).await;
    let mut keys = Vec::new();
    while keys.is_empty() {
        match alice.enc_keys(&sae("bob"), 1, 16_384).await {
            Ok(got) => keys = got,
            Err(ClientError::Refused { status: 503, message, .. }) => assert!(message.contains("step"), "{message}"),
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(keys[0].key.expose("test"), [9; 2048]);
    assert!(world.a().books().await.voided > 0);
    world.end().await;
}

#[tokio::test]
async fn a_block_without_room_is_erased_at_both_ends() {
    let mut world = World::with(|config| {
        if config.id.as_str() == "kme-a" {
            config.limits.max_pool_bits = 100;
        }
    })
    .await;
    let bits = [5; 64];
    assert_eq!(world.a().deposit("kme-b", 0, &bits).await, Deposited::NoRoom);
    assert_eq!(world.b().deposit("kme-a", 0, &bits).await, Deposited::Pooled);
    world.sites[0].stop().await; // tells the peer before it ends
    assert_eq!((world.a().books().await.voided, world.b().books().await.voided), (512, 512));
    world.end().await;
}

#[tokio::test]
async fn an_alarm_stops_new_keys_and_says_why() {
    let mut world = World::new().await;
    world.make_block().await;
    let (alice, bob) = (world.alice(), world.bob());
    let early = alice.enc_keys(&sae("bob"), 1, 256).await.unwrap().remove(0);
    world.a().report(&report(LinkState::Alarm, "17 % of the bits are wrong: somebody may be listening"));
    match alice.enc_keys(&sae("bob"), 1, 256).await {
        Err(ClientError::Refused { status: 503, message, details, retry_after: Some(_) }) => {
            assert!(message.contains("somebody may be listening"), "{message}");
            assert_eq!(details[0]["vernam_link"]["state"], "alarm");
        }
        _ => panic!("not refused as it should be"),
    }
    // B has not noticed, but asks A, who refuses.
    assert!(unavailable(bob.enc_keys(&sae("alice"), 1, 256).await).contains("somebody may be listening"));
    assert_eq!(alice.status(&sae("bob")).await.unwrap().status_extension.unwrap()["vernam_link"]["state"], "alarm");
    assert_eq!(bob.dec_keys(&sae("alice"), &[early.key_id]).await.unwrap().len(), 1, "reserved keys can be collected");
    world.a().report(&report(LinkState::Down, "no light"));
    assert_eq!(alice.enc_keys(&sae("bob"), 1, 256).await.unwrap().len(), 1, "what is in store is good");
    assert_eq!(world.a().books().await.voided, 0);
    world.end().await;
}

#[tokio::test]
async fn a_shortage_is_503_with_numbers() {
    let mut world = World::new().await;
    world.make_block().await;
    let before = world.a().books().await;
    let words = unavailable(world.alice().enc_keys(&sae("bob"), 128, 65_536).await);
    assert!(words.contains("8388608 bits were asked for and 262144 are in store"), "{words}");
    assert_eq!(world.a().books().await, before);
    world.end().await;
}

#[tokio::test]
async fn idle_connections_block_nobody() {
    let mut world = World::with(|config| {
        config.limits.handshake_timeout = Duration::from_hours(1);
        config.limits.max_handshakes = 8;
        config.limits.max_connections_per_caller = 5;
    })
    .await;
    world.make_block().await;
    let mut idle = Vec::new();
    for _ in 0..50 {
        idle.push(TcpStream::connect(world.a().addr).await.unwrap());
    }
    let mut silent = Vec::new();
    for _ in 0..5 {
        let alice = world.ca.issue("alice").unwrap();
        silent.push(world::tls(Some(alice), world.ca.root(), world.a().addr, rustls::DEFAULT_VERSIONS).await.unwrap());
    }
    assert_eq!(world.client("carol", world.a().addr).enc_keys(&sae("bob"), 1, 256).await.unwrap().len(), 1);
    world.end().await;
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_the_books_in_order() {
    let mut world = World::new().await;
    world.make_block().await;
    let alice = world.alice();
    for _ in 0..20 {
        let slave = sae("bob");
        let wish = alice.enc_keys(&slave, 1, 256);
        let _gave_up = tokio::time::timeout(Duration::from_micros(300), wish).await;
    }
    world.sites[0].stop().await; // lets what is under way end
    let (a, b) = world.books().await;
    assert_eq!((a.reserved, a.pooled_own, a.delivered_to_master), (0, b.pooled_peer, b.reserved + b.voided - a.voided));
    world.end().await;
}

/// Waits until A has set bits aside for a request of Alice, and asks B, whose answer is not heard.
async fn one_hangs(world: &World) {
    world::until("A asks B", async || world.a().books().await.reserved > 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_sae_whose_requests_hang_blocks_no_other() {
    let mut world = World::with(|config| {
        config.limits.max_peer_requests = 2;
        config.limits.max_peer_requests_per_sae = 1;
        config.limits.peer_turn_timeout = Duration::from_millis(50);
        config.limits.peer_timeout = Duration::from_mins(1);
        config.limits.shutdown_grace = Duration::from_millis(100);
    })
    .await;
    world.make_block().await;
    world.wire().mute(true);
    let alice = Arc::new(world.alice());
    let hanging = Arc::clone(&alice);
    let hanging = tokio::spawn(async move { hanging.enc_keys(&sae("bob"), 1, 256).await.is_ok() });
    one_hangs(&world).await;
    for _ in 0..3 {
        let words = unavailable(alice.enc_keys(&sae("bob"), 1, 256).await);
        assert!(words.contains("alice") && words.contains("under way"), "{words}");
    }
    world.wire().mute(false);
    assert_eq!(world.client("carol", world.a().addr).enc_keys(&sae("bob"), 1, 256).await.unwrap().len(), 1);
    hanging.abort();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_were_given_up_while_they_waited_are_gone() {
    let mut world = World::with(|config| {
        config.limits.max_peer_requests = 1;
        config.limits.max_peer_requests_per_sae = 1;
        config.limits.peer_turn_timeout = Duration::from_mins(1);
        config.limits.peer_timeout = Duration::from_secs(3);
    })
    .await;
    world.make_block().await;
    world.wire().mute(true);
    let alice = Arc::new(world.alice());
    let hanging = Arc::clone(&alice);
    let hanging = tokio::spawn(async move { unavailable(hanging.enc_keys(&sae("bob"), 1, 256).await) });
    one_hangs(&world).await;
    let slave = sae("bob");
    let given_up = (0..10).map(|_| tokio::time::timeout(Duration::from_millis(20), alice.enc_keys(&slave, 1, 256)));
    for wish in given_up {
        assert!(wish.await.is_err(), "it waits for its turn");
    }
    world.wire().mute(false);
    assert!(hanging.await.unwrap().contains("bob"));
    world.client("carol", world.a().addr).enc_keys(&slave, 1, 256).await.unwrap();
    assert_eq!(world.a().books().await.delivered_to_master, 256, "no key for those who had gone");
    world.end().await;
}

#[test]
fn shares_that_make_no_sense_are_refused() {
    for (all, share) in [(0, 0), (4, 5), (4, 0), (usize::MAX, 1)] {
        let peer = PeerConfig::new(world::kme_id("kme-b"), "127.0.0.1:1", [sae("bob")]);
        let mut config = KmeConfig::new(world::kme_id("kme-a"), [sae("alice")], [peer]);
        config.limits.max_peer_requests = all;
        config.limits.max_peer_requests_per_sae = share;
        assert!(world::refuses(config), "{all} {share}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_nobody_collects_stop_their_own_master_alone() {
    let limits = LedgerLimits { max_waiting_keys: 8, ..LedgerLimits::default() };
    let mut world = World::of(TWO, limits, |_config| {}).await;
    world.make_block().await;
    let (alice, carol) = (world.alice(), world.client("carol", world.a().addr));
    let keys = alice.enc_keys(&sae("bob"), 2, 256).await.unwrap();
    let books = world.a().books().await;
    let Err(ClientError::Refused { status, message, retry_after, .. }) = alice.enc_keys(&sae("bob"), 1, 256).await
    else {
        panic!("granted, or no answer");
    };
    let words = "the KME of bob cannot hold its keys ready: too many keys of alice wait to be collected here";
    assert_eq!((status, message.as_str(), retry_after), (503, words, Some(Duration::from_mins(1))));
    assert_eq!(world.a().books().await, books, "the bits went back");
    carol.enc_keys(&sae("bob"), 2, 256).await.unwrap();
    world.bob().dec_keys(&sae("alice"), &[keys[0].key_id]).await.unwrap();
    alice.enc_keys(&sae("bob"), 1, 256).await.unwrap();
    world.end().await;
}
