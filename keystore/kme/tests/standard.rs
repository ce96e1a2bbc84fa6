//! The API by the book, over real sockets and certificates.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod world;

use serde_json::{Value, json};
use vernam_ca::LabCa;
use vernam_etsi014::{ClientError, messages};
use vernam_key::KeyId;
use vernam_kme::Choices;
use world::{World, get, post, raw, refused, sae};

#[tokio::test]
async fn a_key_reaches_both_ends_once() {
    let mut world = World::new().await;
    world.make_block().await;
    let (alice, bob) = (world.alice(), world.bob());
    let sent = alice.enc_keys(&sae("bob"), 3, 256).await.unwrap();
    let ids: Vec<KeyId> = sent.iter().map(|key| key.key_id).rev().collect();
    let received = bob.dec_keys(&sae("alice"), &ids).await.unwrap();
    for (sent, received) in sent.iter().rev().zip(&received) {
        assert_eq!(sent.key_id, received.key_id);
        assert_eq!(sent.key.expose("test"), received.key.expose("test"));
        assert_eq!(sent.key.len(), 32);
    }
    let again = refused(bob.dec_keys(&sae("alice"), &ids[..1]).await);
    assert_eq!(again, (400, messages::KEYS_NOT_FOUND.to_owned()));
    let (a, b) = world.books().await;
    assert_eq!((a.delivered_to_master, b.delivered_to_slave, a.reserved, b.reserved), (768, 768, 0, 0));
    world.end().await;
}

#[tokio::test]
async fn get_and_post_mean_the_same() {
    let mut world = World::new().await;
    world.make_block().await;
    let (a, b) = (world.a().addr, world.b().addr);
    let odd = r#"{"number":2,"size":128,"additional_target_sae_ids":[],"additional_slave_SAE_IDs":[],"abc_x":{"y":[]},
        "extension_optional":[{"abc_route_type":"direct"}]}"#;
    for (request, count, bytes) in [
        (get("/api/v1/keys/bob/enc_keys"), 1, 32),
        (get("/api/v1/keys/bob/enc_keys?number=2&size=1024&abc_z=1"), 2, 128),
        (post("/api/v1/keys/bob/enc_keys", "{}"), 1, 32),
        (post("/api/v1/keys/bob/enc_keys", ""), 1, 32),
        (post("/api/v1/keys/b%6Fb/enc_keys", odd), 2, 16),
    ] {
        let answer = world.raw(Some("alice"), a, &request).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(!answer.body.contains(' ') && !answer.body.contains('\n'), "compact JSON");
        let sent: Value = serde_json::from_str(&answer.body).unwrap();
        let sent = sent["keys"].as_array().unwrap();
        assert_eq!(sent.len(), count);
        assert!(sent.iter().all(|key| key["key"].as_str().unwrap().len() == usize::div_ceil(bytes, 3) * 4));
        let path = format!("/api/v1/keys/alice/dec_keys?key_ID={}", sent[0]["key_ID"].as_str().unwrap());
        let received = world.raw(Some("bob"), b, &get(&path)).await.unwrap();
        assert_eq!(serde_json::from_str::<Value>(&received.body).unwrap(), json!({"keys": [sent[0]]}));
        if let Some(second) = sent.get(1) {
            let body = json!({"key_IDs": [{"key_ID": second["key_ID"], "abc_hint": 1}], "abc_more": null}).to_string();
            let received = world.raw(Some("bob"), b, &post("/api/v1/keys/alice/dec_keys", &body)).await.unwrap();
            assert_eq!(serde_json::from_str::<Value>(&received.body).unwrap(), json!({"keys": [second]}));
        }
    }
    world.end().await;
}

#[tokio::test]
async fn sizes_and_numbers_have_limits() {
    let mut world = World::new().await;
    for _ in 0..3 {
        world.make_block().await;
    }
    let alice = world.alice();
    for size in [8, 256, 65_536] {
        assert_eq!(alice.enc_keys(&sae("bob"), 1, size).await.unwrap()[0].key.len(), size as usize / 8);
    }
    assert_eq!(alice.enc_keys(&sae("bob"), 128, 8).await.unwrap().len(), 128);
    assert!(matches!(alice.enc_keys(&sae("bob"), 1, 12).await, Err(ClientError::BadRequest { .. })));
    assert_eq!(refused(alice.enc_keys(&sae("bob"), 129, 8).await).0, 400);
    assert_eq!(refused(alice.enc_keys(&sae("bob"), 1, 65_544).await).0, 400);
    for (body, words) in [
        (r#"{"size":12}"#, messages::SIZE_MULTIPLE_OF_8),
        (r#"{"size":0}"#, "size must be 8 to 65536"),
        (r#"{"number":0}"#, "number must be 1 to 128"),
        (r#"{"number":-1}"#, "not a key request"),
        (r#"{"number":"1"}"#, "not a key request"),
        ("[1", "not a key request"),
        ("[]", "must be a JSON object"),
        ("[1,256]", "must be a JSON object"),
        (r#"{"extension_mandatory":[{"abc_x":1}]}"#, messages::EXTENSION_UNSUPPORTED),
    ] {
        let answer = world.raw(Some("alice"), world.a().addr, &post("/api/v1/keys/bob/enc_keys", body)).await.unwrap();
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.message().contains(words), "{body}: {}", answer.message());
    }
    for body in [
        "[]",
        r#"[["bc490419-7d60-487f-adc1-4ddcc177c139"]]"#,
        r#"{"key_IDs":[["bc490419-7d60-487f-adc1-4ddcc177c139"]]}"#,
    ] {
        let answer = world.raw(Some("alice"), world.a().addr, &post("/api/v1/keys/bob/dec_keys", body)).await.unwrap();
        assert!(answer.status == 400 && answer.message().contains("not a list of key_IDs"), "{body}: {answer:?}");
    }
    let encoded =
        world.raw(Some("alice"), world.a().addr, &get("/api/v1/keys/bob/enc_keys?%73ize=%31%36")).await.unwrap();
    assert!(encoded.status == 200 && encoded.body.contains("\"key\":"), "{encoded:?}");
    for query in ["size=12", "size=x", "number=1&number=2", "number=99999999999", "number=+3", "number=%2B3", "size="] {
        let path = format!("/api/v1/keys/bob/enc_keys?{query}");
        let answer = world.raw(Some("alice"), world.a().addr, &get(&path)).await.unwrap();
        assert_eq!(answer.status, 400, "{query}: {}", answer.message());
    }
    world.end().await;
}

#[tokio::test]
async fn status_tells_limits_and_stock() {
    let mut world = World::with(|config| config.limits.max_pool_bits = 4 * 8 * world::BLOCK as u64).await;
    world.make_block().await;
    let status = world.alice().status(&sae("bob")).await.unwrap();
    assert_eq!((status.source_kme_id.as_str(), status.target_kme_id.as_str()), ("kme-a", "kme-b"));
    assert_eq!((status.master_sae_id, status.slave_sae_id), (sae("alice"), sae("bob")));
    assert_eq!((status.key_size, status.min_key_size, status.max_key_size), (256, 8, 65_536));
    assert_eq!((status.max_key_per_request, status.max_sae_id_count), (128, 16));
    assert_eq!((status.stored_key_count, status.max_key_count), (1024, 4096));
    let link = &status.status_extension.unwrap()["vernam_link"];
    assert_eq!((&link["state"], &link["qber"], &link["rate_bps"]), (&json!("up"), &json!(0.021), &json!(10_000.0)));
    world.end().await;
}

#[tokio::test]
async fn only_the_named_slave_gets_a_key() {
    let mut world = World::with(|config| {
        let saes = if config.id.as_str() == "kme-b" { &mut config.saes } else { &mut config.peers[0].saes };
        saes.insert(sae("mallory"));
    })
    .await;
    world.make_block().await;
    let key = world.alice().enc_keys(&sae("bob"), 1, 256).await.unwrap().remove(0);
    let mallory = world.client("mallory", world.b().addr);
    assert_eq!(refused(mallory.dec_keys(&sae("alice"), &[key.key_id]).await).0, 401);
    assert_eq!(refused(world.bob().dec_keys(&sae("carol"), &[key.key_id]).await).0, 400, "not from this master");
    let unknown = "bc490419-7d60-487f-adc1-4ddcc177c139".parse().unwrap();
    assert_eq!(refused(world.bob().dec_keys(&sae("alice"), &[key.key_id, unknown]).await).0, 400);
    let got = world.bob().dec_keys(&sae("alice"), &[key.key_id]).await.unwrap();
    assert_eq!(got[0].key.expose("test"), key.key.expose("test"), "refusals cost nothing");
    world.end().await;
}

#[tokio::test]
async fn callers_without_a_known_identity_are_refused() {
    let world = World::new().await;
    let path = get("/api/v1/keys/bob/status");
    assert!(world.raw(None, world.a().addr, &path).await.is_err(), "no certificate, no answer");
    let foreign = LabCa::new("another network").unwrap().issue("alice").unwrap();
    assert!(raw(Some(foreign), world.ca.root(), world.a().addr, &path, rustls::DEFAULT_VERSIONS).await.is_err());
    for (who, words) in [("nobody", "nobody is not an SAE"), ("bob", "bob is not an SAE"), ("kme-b", "a KME is not")] {
        let answer = world.raw(Some(who), world.a().addr, &path).await.unwrap();
        assert_eq!(answer.status, 401);
        assert!(answer.message().contains(words), "{}", answer.message());
    }
    let header = "GET /api/v1/keys/bob/status HTTP/1.1\r\nhost: kme\r\nx-sae-id: alice\r\nconnection: close\r\n\r\n";
    assert_eq!(world.raw(Some("nobody"), world.a().addr, header).await.unwrap().status, 401);
    for path in ["/kmapi/v1/ext_keys", "/kmapi/v1/ack", "/kmapi/v1/void", "/kmapi/v1/vernam_source"] {
        for who in ["alice", "nobody", "kme-a"] {
            let answer = world.raw(Some(who), world.a().addr, &post(path, "{}")).await.unwrap();
            assert_eq!(answer.status, 401, "{who} {path}");
        }
    }
    world.end().await;
}

#[tokio::test]
async fn every_error_is_json() {
    let world = World::with(|config| config.choices = Choices::strict()).await;
    let put = "PUT /api/v1/keys/bob/enc_keys HTTP/1.1\r\nhost: kme\r\nconnection: close\r\n\r\n";
    for (request, status) in [
        (get("/"), 404),
        (get("/api/v2/keys/bob/status"), 404),
        (get("/api/v1/keys/bob/other"), 404),
        (put.to_owned(), 405),
        (post("/api/v1/keys/bob/status", "{}"), 405),
        (get("/api/v1/keys/dave/status"), 400),
        (get("/api/v1/keys/alice/status"), 400),
        (get("/api/v1/keys/carol/status"), 400),
        (get("/api/v1/keys/%ff/status"), 400),
        (get("/api/v1/keys/bob/dec_keys"), 400),
        (get("/api/v1/keys/bob/dec_keys?key_ID=17"), 400),
        (post("/api/v1/keys/bob/dec_keys", r#"{"key_IDs":[]}"#), 400),
        (post("/api/v1/keys/bob/enc_keys", &format!("{{\"x\":\"{}\"}}", "y".repeat(100_000))), 400),
        (get("/api/v1/keys/bob/enc_keys"), 503),
    ] {
        let answer = world.raw(Some("alice"), world.a().addr, &request).await.unwrap();
        assert_eq!(answer.status, status, "{}", request.lines().next().unwrap());
        assert!(!answer.message().is_empty());
        assert_eq!(answer.head.contains("retry-after"), status == 503);
    }
    world.end().await;
}

#[tokio::test]
async fn tls_1_2_is_served_too() {
    let world = World::new().await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let alice = world.ca.issue("alice").unwrap();
        let status = get("/api/v1/keys/bob/status");
        let answer = raw(Some(alice), world.ca.root(), world.a().addr, &status, &[version]).await.unwrap();
        assert_eq!(answer.status, 200);
    }
    world.end().await;
}
