//! Extensions, and what the settings decide.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod world;

use std::time::Duration;

use serde_json::{Value, json};
use vernam_etsi014::messages;
use vernam_kme::{Choices, KmeConfig, SaePolicy};
use vernam_ledger::LedgerLimits;
use world::{Answer, THREE, World, get, post, sae, unavailable};

async fn three(adjust: impl Fn(&mut KmeConfig)) -> World {
    let mut world = World::of(THREE, LedgerLimits::default(), adjust).await;
    world.make_block().await;
    world
}

async fn ask(world: &World, body: Value) -> Answer {
    world.raw(Some("alice"), world.a().addr, &post("/api/v1/keys/bob/enc_keys", &body.to_string())).await.unwrap()
}

#[tokio::test]
async fn extensions_get_the_standards_own_words() {
    for strict in [false, true] {
        let world = three(|config| {
            config.choices = if strict { Choices::strict() } else { Choices::lenient() };
        })
        .await;
        let optional = if strict { 400 } else { 200 };
        let relay = json!(["dave"]);
        for (status, words, body) in [
            (200, "", json!({"extension_mandatory": [{"vernam_route_type": "direct"}, {}, {"vernam_max_age": 60}]})),
            (200, "", json!({"extension_mandatory": [], "extension_optional": [{"vernam_route_type": "any"}]})),
            (400, messages::EXTENSION_UNSUPPORTED, json!({"extension_mandatory": [{"abc_x": 1}]})),
            (400, messages::EXTENSION_UNMET, json!({"extension_mandatory": [{"vernam_route_type": "scenic"}]})),
            (400, messages::EXTENSION_UNMET, json!({"extension_mandatory": [{"vernam_max_age": -1}]})),
            (
                400,
                messages::EXTENSION_UNMET,
                json!({"additional_slave_SAE_IDs": relay, "extension_mandatory": [{"vernam_route_type": "direct"}]}),
            ),
            (
                200,
                "",
                json!({"additional_slave_SAE_IDs": relay, "extension_mandatory": [{"vernam_route_type": "any"}]}),
            ),
            (optional, messages::EXTENSION_OPTIONAL_UNHANDLED, json!({"extension_optional": [{"abc_x": 1}]})),
            (
                optional,
                messages::EXTENSION_OPTIONAL_UNHANDLED,
                json!({"additional_slave_SAE_IDs": relay, "extension_optional": [{"vernam_route_type": "direct"}]}),
            ),
        ] {
            let answer = ask(&world, body.clone()).await;
            assert_eq!(answer.status, status, "{body}: {answer:?}");
            assert!(status == 200 || answer.message() == words, "{body}: {answer:?}");
        }
        world.end().await;
    }
}

#[tokio::test]
async fn old_bits_are_not_given_where_young_ones_were_asked_for() {
    for ignore in [true, false] {
        let mut world = three(|config| config.choices.ignore_unhandled_optional = ignore).await;
        world.clock.forward(Duration::from_secs(100));
        let young = |age: u64| json!([{ "vernam_max_age": age }]);
        assert_eq!(ask(&world, json!({"extension_mandatory": young(200)})).await.status, 200);
        let refused = ask(&world, json!({"extension_mandatory": young(50)})).await;
        assert_eq!((refused.status, refused.message().as_str()), (400, messages::EXTENSION_UNMET));
        let wished = ask(&world, json!({"extension_optional": young(50)})).await;
        assert_eq!(wished.status, if ignore { 200 } else { 400 }, "{wished:?}");
        let both = ask(&world, json!({"extension_mandatory": young(60), "extension_optional": young(50)})).await;
        assert_eq!(both.status, 400, "{both:?}");
        world.make_block().await;
        assert_eq!(ask(&world, json!({"extension_mandatory": young(50)})).await.status, 200, "a block has come");
        world.end().await;
    }
}

#[tokio::test]
async fn strict_and_lenient_differ_where_suites_do() {
    for strict in [false, true] {
        let world = three(|config| {
            config.choices = if strict { Choices::strict() } else { Choices::lenient() };
        })
        .await;
        let status = if strict { 400 } else { 200 };
        for request in [
            post("/api/v1/keys/bob/enc_keys", ""),
            post("/api/v1/keys/bob/enc_keys", r#"{"additional_slave_SAE_IDs":[]}"#),
            post("/api/v1/keys/alice/enc_keys", "{}"),
            get("/api/v1/keys/carol/enc_keys"),
            get("/api/v1/keys/alice/status"),
            get("/api/v1/keys/carol/status"),
        ] {
            let answer = world.raw(Some("alice"), world.a().addr, &request).await.unwrap();
            assert_eq!(answer.status, status, "{}: {answer:?}", request.lines().next().unwrap());
        }
        world.end().await;
    }
}

#[tokio::test]
async fn quota_reserve_and_rate_are_503_with_details() {
    let world = three(|config| {
        config.policy.reserve_bits = 8 * world::BLOCK as u64 / 2 - 1024;
        let some = SaePolicy { daily_bits: Some(600), may_use_reserve: true, ..SaePolicy::default() };
        config.policy.saes.insert(sae("carol"), some);
        let few = SaePolicy { requests_per_second: Some(2), ..SaePolicy::default() };
        config.policy.saes.insert(sae("bob"), few);
    })
    .await;
    let alice = world.alice();
    assert_eq!(alice.status(&sae("bob")).await.unwrap().stored_key_count, 4, "what is above the reserve");
    assert_eq!(alice.enc_keys(&sae("bob"), 4, 256).await.unwrap().len(), 4);
    let answer = ask(&world, json!({})).await;
    assert!(answer.status == 503 && answer.head.contains("retry-after"), "{answer:?}");
    assert!(answer.body.contains("vernam_policy"), "{answer:?}");
    let carol = world.client("carol", world.a().addr);
    assert_eq!(carol.status(&sae("bob")).await.unwrap().stored_key_count, 1020);
    assert_eq!(carol.enc_keys(&sae("bob"), 2, 256).await.unwrap().len(), 2);
    assert!(unavailable(carol.enc_keys(&sae("bob"), 1, 256).await).contains("600"));
    assert_eq!(carol.enc_keys(&sae("bob"), 1, 88).await.unwrap().len(), 1, "a refusal costs nothing");
    world.clock.forward(Duration::from_hours(24));
    assert_eq!(carol.enc_keys(&sae("bob"), 2, 256).await.unwrap().len(), 2, "a new day");
    let bob = world.bob();
    for _ in 0..2 {
        bob.status(&sae("alice")).await.unwrap();
    }
    unavailable(bob.status(&sae("alice")).await);
    world.end().await;
}

#[tokio::test]
async fn what_is_no_http_gets_json_too() {
    let world = three(|config| config.limits.idle_timeout = Duration::from_secs(2)).await;
    let many = "x-line: 1\r\n".repeat(100);
    for request in [
        "nonsense\r\n\r\n".to_owned(),
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        format!("GET /api/v1/keys/bob/status HTTP/1.1\r\nhost: kme\r\n{many}\r\n"),
        "POST /api/v1/keys/bob/enc_keys HTTP/1.1\r\nhost: kme\r\ncontent-length: x\r\n\r\n".to_owned(),
    ] {
        let start: String = request.chars().take(40).collect();
        let answer = world.raw(Some("alice"), world.a().addr, &request).await;
        let answer = answer.unwrap_or_else(|error| panic!("{start}: {error}"));
        assert!(answer.status >= 400 && answer.status < 500, "{answer:?}");
        assert!(!answer.message().is_empty());
    }
    world.end().await;
}
