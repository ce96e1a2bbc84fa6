//! One key for several slaves: behind one peer, behind several, and here.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod world;

use serde_json::{Value, json};
use vernam_kme::{Choices, LinkState};
use vernam_ledger::LedgerLimits;
use world::{Answer, THREE, World, kme_id, post, report, sae};

async fn three() -> World {
    let mut world = World::of(THREE, LedgerLimits::default(), |_config| {}).await;
    world.make_block().await;
    world
}

async fn ask(world: &World, slave: &str, body: Value) -> Answer {
    let path = format!("/api/v1/keys/{slave}/enc_keys");
    world.raw(Some("alice"), world.a().addr, &post(&path, &body.to_string())).await.unwrap()
}

fn keys(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_str::<Value>(&answer.body).unwrap()["keys"].clone()
}

/// What `slave` gets at `site` of Alice's `keys`.
async fn collect(world: &World, slave: &str, site: usize, keys: &Value) -> Answer {
    let ids: Vec<Value> = keys.as_array().unwrap().iter().map(|key| json!({"key_ID": key["key_ID"]})).collect();
    let body = json!({ "key_IDs": ids }).to_string();
    let request = post("/api/v1/keys/alice/dec_keys", &body);
    world.raw(Some(slave), world.sites[site].addr, &request).await.unwrap()
}

#[tokio::test]
async fn every_slave_gets_the_same_key_at_its_own_kme() {
    let world = three().await;
    let body = json!({"number": 3, "size": 512, "additional_slave_SAE_IDs": ["dave", "carol", "erin", "alice"]});
    let sent = keys(&ask(&world, "bob", body).await);
    assert_eq!(sent.as_array().unwrap().len(), 3);
    for (slave, site) in [("bob", 1), ("dave", 2), ("erin", 2), ("carol", 0), ("alice", 0)] {
        assert_eq!(keys(&collect(&world, slave, site, &sent).await), sent, "{slave}");
        let again = collect(&world, slave, site, &sent).await;
        assert_eq!(again.status, 400, "{slave} gets it once");
    }
    // Nobody else's key: not at another KME, and not for an SAE that was not named.
    let stranger = keys(&ask(&world, "bob", json!({"additional_slave_SAE_IDs": ["dave"]})).await);
    assert_eq!(collect(&world, "erin", 2, &stranger).await.status, 401);
    world.all_told().await;
    let (ab, ac) = (world.a().books_with("kme-b").await, world.a().books_with("kme-c").await);
    let (b, c) = (world.b().books_with("kme-a").await, world.sites[2].books_with("kme-a").await);
    assert_eq!((ab.delivered_to_master, ac.relayed), (3 * 512 + 256, 3 * 512 + 256), "{ab:?} {ac:?}");
    assert_eq!((b.reserved, c.reserved, ab.reserved, ac.reserved), (256, 256, 0, 0));
    assert_eq!((ab.pooled_own, ac.pooled_own), (b.pooled_peer, c.pooled_peer));
    world.end().await;
}

#[tokio::test]
async fn a_key_for_slaves_here_alone_is_void_at_the_far_end() {
    let world = three().await;
    let sent = keys(&ask(&world, "carol", json!({"size": 128})).await);
    assert_eq!(keys(&collect(&world, "carol", 0, &sent).await), sent);
    world.all_told().await;
    for (site, peer) in [(1, "kme-b"), (2, "kme-c")] {
        let (here, there) = (world.a().books_with(peer).await, world.sites[site].books_with("kme-a").await);
        assert_eq!((here.pooled_own, here.pooled_peer), (there.pooled_peer, there.pooled_own), "{peer}");
    }
    world.end().await;
}

#[tokio::test]
async fn one_kme_that_is_away_costs_the_others_nothing_they_keep() {
    let mut world = three().await;
    world.sites[2].stop().await;
    let body = json!({"additional_slave_SAE_IDs": ["dave"]});
    let refused = ask(&world, "bob", body.clone()).await;
    assert!(refused.status == 503 && refused.message().contains("dave"), "{refused:?}");
    // B had reserved: it must not keep a key that nobody will ever ask for. For C it is as if nothing had been.
    world.sites[2].serve_as(&world.ca, "kme-c");
    world.all_told().await;
    for (site, peer) in [(1, "kme-b"), (2, "kme-c")] {
        let (here, there) = (world.a().books_with(peer).await, world.sites[site].books_with("kme-a").await);
        assert_eq!((here.reserved, there.reserved, here.delivered_to_master), (0, 0, 0), "{peer}");
        assert_eq!((here.pooled_own, here.voided), (there.pooled_peer, there.voided), "{peer}");
    }
    assert_eq!(ask(&world, "bob", body).await.status, 200);
    world.end().await;
}

#[tokio::test]
async fn an_alarm_on_any_of_the_links_stops_it() {
    let world = three().await;
    world.a().kme.set_link_report(&kme_id("kme-c"), report(LinkState::Alarm, "somebody listens"));
    let refused = ask(&world, "bob", json!({"additional_slave_SAE_IDs": ["dave"]})).await;
    assert!(refused.status == 503 && refused.message().contains("somebody listens"), "{refused:?}");
    assert_eq!(ask(&world, "bob", json!({})).await.status, 200, "the other link is well");
    world.end().await;
}

#[tokio::test]
async fn who_may_be_a_slave_is_checked() {
    let many: Vec<String> = (0..17).map(|number| format!("sae-{number}")).collect();
    for (strict, additional, words) in [
        (false, json!(["nobody"]), "no SAE named nobody"),
        (false, json!(many), "at most 16"),
        (true, json!([]), "is empty"),
        (true, json!(["bob"]), "more than once"),
        (true, json!(["dave", "dave"]), "more than once"),
        (true, json!(["alice"]), "its own slave"),
        (true, json!(["carol"]), "served by this KME too"),
    ] {
        let mut world = World::of(THREE, LedgerLimits::default(), |config| {
            config.choices = if strict { Choices::strict() } else { Choices::lenient() };
        })
        .await;
        world.make_block().await;
        let refused = ask(&world, "bob", json!({"additional_slave_SAE_IDs": additional})).await;
        assert!(refused.status == 400 && refused.message().contains(words), "{additional}: {refused:?}");
        if strict {
            world.end().await;
            continue;
        }
        let merged = ask(&world, "bob", json!({"additional_slave_SAE_IDs": ["bob", "dave", "dave"]})).await;
        assert_eq!(merged.status, 200, "twice the same counts once");
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ends_may_draw_at_once() {
    let mut world = three().await;
    world.make_block().await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        for (master, site, slave, more) in
            [("alice", 0, "bob", "dave"), ("bob", 1, "alice", "erin"), ("dave", 2, "bob", "carol")]
        {
            let (who, root, addr) = (world.ca.issue(master).unwrap(), world.ca.root(), world.sites[site].addr);
            let body = json!({"number": 2, "additional_slave_SAE_IDs": [more]}).to_string();
            let request = post(&format!("/api/v1/keys/{slave}/enc_keys"), &body);
            tasks.spawn(
                async move { world::raw(Some(who), root, addr, &request, rustls::DEFAULT_VERSIONS).await.unwrap() },
            );
        }
    }
    while let Some(answer) = tasks.join_next().await {
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    world.all_told().await;
    assert_eq!(
        world.client("alice", world.a().addr).status(&sae("dave")).await.unwrap().target_kme_id,
        kme_id("kme-c")
    );
    world.end().await;
}
