//! Reloading, observers, and the two ends of a key source.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod world;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use vernam_ca::LabCa;
use vernam_key::SecretBytes;
use vernam_kme::{
    Endpoint, KeySource, KmeEvent, LinkState, Observer, Settled, SourceEvent, SourceFuture, SourceTalk, TlsIdentity,
};
use world::{World, identity, kme_id, report, sae};

const STATUS: &str = "GET /api/v1/keys/bob/status HTTP/1.1\r\nhost: kme\r\n\r\n";

/// Asks for the status on an open connection: whether it is granted.
async fn status(tls: &mut tokio_rustls::client::TlsStream<tokio::net::TcpStream>) -> bool {
    if tls.write_all(STATUS.as_bytes()).await.is_err() {
        return false;
    }
    let mut buffer = vec![0; 4096];
    matches!(tls.read(&mut buffer).await, Ok(len) if buffer[..len].starts_with(b"HTTP/1.1 200"))
}

#[tokio::test]
async fn a_reload_closes_the_connections_of_those_who_are_no_longer_known() {
    let world = World::new().await;
    let mut config = world.config(0);
    let connect = async |name: &str| {
        let who = world.ca.issue(name).unwrap();
        world::tls(Some(who), world.ca.root(), world.a().addr, rustls::DEFAULT_VERSIONS).await.unwrap()
    };
    let (mut alice, mut carol) = (connect("alice").await, connect("carol").await);
    assert!(status(&mut alice).await && status(&mut carol).await);
    config.saes.remove(&sae("carol"));
    world.a().kme.reload(config.clone(), identity(&world.ca, "kme-a")).unwrap();
    assert!(status(&mut alice).await, "nothing has changed for her");
    assert!(!status(&mut carol).await);
    let mut closed = Vec::new();
    let _eof_or_reset = carol.read_to_end(&mut closed).await;
    // Alice's certificate now stands for somebody else.
    config.certificate_names.insert("alice".to_owned(), sae("anna"));
    world.a().kme.reload(config.clone(), identity(&world.ca, "kme-a")).unwrap();
    assert!(!status(&mut alice).await);
    let mut anna = connect("alice").await;
    assert!(status(&mut anna).await);
    // Other roots: nobody of the old network is let in.
    let other = LabCa::new("another network").unwrap();
    let tls = TlsIdentity { roots: vec![other.root()], ..identity(&world.ca, "kme-a") };
    world.a().kme.reload(config.clone(), tls).unwrap();
    assert!(!status(&mut anna).await);
    // What makes no sense changes nothing.
    let mut wrong = config.clone();
    wrong.limits.key_size = 7;
    assert!(world.a().kme.reload(wrong, identity(&world.ca, "kme-a")).is_err());
    config.id = kme_id("kme-x");
    assert!(world.a().kme.reload(config, identity(&world.ca, "kme-a")).is_err());
    world.end().await;
}

#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Observer for Notes {
    fn on(&self, event: &KmeEvent<'_>) {
        let note = match event {
            KmeEvent::Request { who, endpoint: Endpoint::GetKey, status, refusal, .. } => {
                format!("{who} asked: {status} {}", refusal.unwrap_or("granted"))
            }
            KmeEvent::Delivered { master, slaves, keys, bits, .. } => {
                format!("{master} has {} of {bits} with {}", keys.len(), slaves[0])
            }
            KmeEvent::Collected { slave, keys, bits, .. } => format!("{slave} has {} of {bits}", keys.len()),
            KmeEvent::Reserved { slaves, keys, .. } => format!("{} wait for {}", keys.len(), slaves[0]),
            KmeEvent::Deposited { block, bits, kept, .. } => format!("block {block} of {bits}: {kept}"),
            KmeEvent::Link { report, .. } => format!("link: {}", report.reason),
            KmeEvent::Reloaded => "reloaded".to_owned(),
            KmeEvent::Stopping => "stopping".to_owned(),
            _ => return,
        };
        self.0.lock().unwrap().push(note);
    }
}

#[tokio::test]
async fn observers_are_told_what_is_durable() {
    let mut world = World::new().await;
    let (at_a, at_b) = (Arc::new(Notes::default()), Arc::new(Notes::default()));
    world.a().kme.add_observer(at_a.clone());
    world.b().kme.add_observer(at_b.clone());
    world.make_block().await;
    let keys = world.alice().enc_keys(&sae("bob"), 2, 256).await.unwrap();
    let ids: Vec<_> = keys.iter().map(|key| key.key_id).collect();
    world.bob().dec_keys(&sae("alice"), &ids).await.unwrap();
    world.a().report(&report(LinkState::Alarm, "eve"));
    world.a().report(&report(LinkState::Alarm, "eve"));
    world::unavailable(world.alice().enc_keys(&sae("bob"), 1, 256).await);
    world.sites[0].stop().await;
    let expected_at_a = [
        "block 0 of 524288: true",
        "alice has 2 of 256 with bob",
        "alice asked: 200 granted",
        "link: eve",
        "alice asked: 503 no key is delivered while the quantum link is in alarm: eve",
        "stopping",
    ];
    assert_eq!(*at_a.0.lock().unwrap(), expected_at_a);
    let at_b = at_b.0.lock().unwrap().clone();
    assert_eq!(at_b, ["block 0 of 524288: true", "2 wait for bob", "bob has 2 of 512"]);
    world.end().await;
}

struct Echo;

impl SourceTalk for Echo {
    fn answer(&self, message: Value) -> SourceFuture<'_, Result<Value, String>> {
        Box::pin(async move {
            if message == json!("no") {
                Err("I have no such block".to_owned())
            } else {
                Ok(json!({ "you said": message }))
            }
        })
    }
}

#[tokio::test]
async fn the_two_ends_of_a_source_can_talk() {
    let world = World::new().await;
    let (a, b) = (kme_id("kme-a"), kme_id("kme-b"));
    let silent = world.a().kme.ask_source(&b, json!(1)).await.unwrap_err();
    assert!(silent.contains("no key source"), "{silent}");
    world.b().kme.set_source_talk(&a, Arc::new(Echo));
    assert_eq!(world.a().kme.ask_source(&b, json!([7])).await.unwrap(), json!({"you said": [7]}));
    let words = world.a().kme.ask_source(&b, json!("no")).await.unwrap_err();
    assert!(words.contains("I have no such block"), "{words}");
    assert!(world.a().kme.ask_source(&kme_id("kme-z"), json!(1)).await.is_err());
    world.end().await;
}

/// Plays a script, and notes what became of each block.
struct Script {
    events: VecDeque<SourceEvent>,
    settled: Arc<Mutex<Vec<(u64, Settled)>>>,
}

impl KeySource for Script {
    fn next(&mut self) -> SourceFuture<'_, SourceEvent> {
        let event = self.events.pop_front().unwrap_or_else(|| SourceEvent::Ended("all is said".to_owned()));
        Box::pin(async move { event })
    }

    fn settled(&mut self, number: u64, settled: Settled) -> SourceFuture<'_, ()> {
        self.settled.lock().unwrap().push((number, settled));
        Box::pin(async {})
    }
}

#[tokio::test]
async fn a_source_feeds_its_link() {
    let world = World::new().await;
    let settled = Arc::new(Mutex::new(Vec::new()));
    let block = |number| SourceEvent::Block { number, bits: SecretBytes::from_vec(vec![3; 100]) };
    let events = [
        SourceEvent::Report(report(LinkState::Up, "fine")),
        block(1),
        block(2),
        block(1),
        SourceEvent::Void { number: 2 },
        SourceEvent::Void { number: 3 },
        block(3),
    ];
    let source = Script { events: events.into(), settled: Arc::clone(&settled) };
    let why = world.a().kme.feed(kme_id("kme-b"), Box::new(source)).await;
    assert_eq!(why, "all is said");
    let expected = [(1, Settled::Taken), (2, Settled::Taken), (1, Settled::TooLate), (3, Settled::Taken)];
    assert_eq!(*settled.lock().unwrap(), expected);
    let books = world.a().books().await;
    assert_eq!((books.made, books.voided, books.pooled()), (2400, 1600, 800));
    assert_eq!(world.a().kme.link_report(&kme_id("kme-b")).state, LinkState::Down);
    let nowhere = Script { events: [block(9)].into(), settled };
    let why = world.a().kme.feed(kme_id("kme-z"), Box::new(nowhere)).await;
    assert!(why.contains("kme-z"), "{why}");
    world.end().await;
}
