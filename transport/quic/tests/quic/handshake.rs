//! Who gets in, who does not, and what each side is told.

use std::sync::{Arc, Mutex};

use quinn::crypto::rustls::HandshakeData;
use rustls::NamedGroup;
use rustls::crypto::aws_lc_rs::kx_group::{X25519, X25519MLKEM768};
use vernam_ca::LabCa;
use vernam_quic::{Endpoint, Lane, QuicError, QuicIdentity, WireSettings};

use crate::world::{Stranger, any_port, bind, connect, network, pair, soon, turned_away};

#[tokio::test]
async fn both_sides_know_the_name_of_the_other() {
    let (alice, bob) = pair(WireSettings::default(), WireSettings::default());
    assert_eq!((alice.name(), bob.name()), ("alice", "bob"));
    for lane in Lane::ALL {
        let (called, answered) = connect(&alice, &bob, lane).await;
        assert_eq!((called.peer_name(), answered.peer_name()), ("bob", "alice"));
        assert_eq!((called.lane(), answered.lane()), (lane, lane));
        assert_eq!(called.negotiated_key_exchange(), NamedGroup::X25519MLKEM768);
    }
}

#[tokio::test]
async fn a_callee_of_another_network_is_refused() {
    let (ours, theirs) = (network(), LabCa::new("test network").unwrap());
    let alice = bind(ours.issue("alice").unwrap(), &[&ours], WireSettings::default());
    let bob = bind(theirs.issue("bob").unwrap(), &[&theirs], WireSettings::default());
    let address = bob.local_addr().unwrap();
    let (dialled, away) = tokio::join!(soon(alice.dial(address, "bob", Lane::Main)), turned_away(&bob));
    assert!(matches!(dialled, Err(QuicError::UntrustedPeer { .. })), "{dialled:?}");
    assert!(matches!(away, QuicError::RefusedByPeer { .. }), "{away:?}");
}

#[tokio::test]
async fn a_caller_of_another_network_is_refused_and_told_so() {
    let (ours, theirs) = (network(), LabCa::new("another network").unwrap());
    // This caller trusts our network, but is not of it.
    let alice = bind(theirs.issue("alice").unwrap(), &[&ours, &theirs], WireSettings::default());
    let bob = bind(ours.issue("bob").unwrap(), &[&ours], WireSettings::default());
    let address = bob.local_addr().unwrap();
    let (dialled, away) = tokio::join!(soon(alice.dial(address, "bob", Lane::Main)), turned_away(&bob));
    assert!(matches!(away, QuicError::UntrustedPeer { .. }), "{away:?}");
    let told = match dialled {
        Ok(connection) => soon(connection.closed()).await,
        Err(error) => error,
    };
    assert!(matches!(told, QuicError::RefusedByPeer { .. }), "{told:?}");
}

#[tokio::test]
async fn the_wrong_person_of_the_right_network_is_refused_and_learns_nothing() {
    let ca = network();
    let alice = bind(ca.issue("alice").unwrap(), &[&ca], WireSettings::default());
    let mallory = bind(ca.issue("mallory").unwrap(), &[&ca], WireSettings::default());
    let address = mallory.local_addr().unwrap();
    let (dialled, away) = tokio::join!(soon(alice.dial(address, "bob", Lane::Main)), turned_away(&mallory));
    let Err(QuicError::WrongPeer { expected, found }) = dialled else { panic!("{dialled:?}") };
    assert_eq!((expected.as_str(), found.as_str()), ("bob", "mallory"));
    // Mallory sees a refusal that names neither Alice nor Bob.
    let seen = format!("{away} {away:?}");
    assert!(!seen.contains("alice") && !seen.contains("bob"), "{seen}");
}

#[tokio::test]
async fn names_are_compared_to_the_letter() {
    let ca = network();
    let alice = bind(ca.issue("alice").unwrap(), &[&ca], WireSettings::default());
    let bob = bind(ca.issue("bob").unwrap(), &[&ca], WireSettings::default());
    let address = bob.local_addr().unwrap();
    // "localhost" stands in Bob's certificate too, as an alternative name; his name it is not.
    for almost in ["Bob", "bob ", "bo", "localhost", "", "*"] {
        let (dialled, _) = tokio::join!(soon(alice.dial(address, almost, Lane::Main)), turned_away(&bob));
        assert!(matches!(dialled, Err(QuicError::WrongPeer { .. })), "{almost:?}: {dialled:?}");
    }
}

#[tokio::test]
async fn a_caller_without_certificate_is_refused() {
    let ca = network();
    let bob = bind(ca.issue("bob").unwrap(), &[&ca], WireSettings::default());
    let stranger = Stranger { identity: None, ..Stranger::proper(&ca) };
    let ((_endpoint, outcome), away) = tokio::join!(stranger.call(&ca, bob.local_addr().unwrap()), turned_away(&bob));
    assert!(matches!(away, QuicError::UntrustedPeer { .. }), "{away:?}");
    let told = match outcome {
        Ok(connection) => soon(connection.closed()).await,
        Err(error) => error,
    };
    let quinn::ConnectionError::ConnectionClosed(close) = told else { panic!("{told:?}") };
    assert_eq!(u64::from(close.error_code), 0x100 + 116, "certificate_required");
}

#[tokio::test]
async fn a_caller_with_only_x25519_is_refused() {
    let ca = network();
    let bob = bind(ca.issue("bob").unwrap(), &[&ca], WireSettings::default());
    let stranger = Stranger { key_exchange: X25519, ..Stranger::proper(&ca) };
    let ((_endpoint, outcome), away) = tokio::join!(stranger.call(&ca, bob.local_addr().unwrap()), turned_away(&bob));
    assert!(outcome.is_err());
    assert!(matches!(away, QuicError::KeyExchange), "{away:?}");
    // The same stranger with the right key exchange is let in, so it was that.
    let proper = Stranger::proper(&ca);
    assert_eq!(proper.key_exchange.name(), X25519MLKEM768.name());
    let ((_endpoint, outcome), accepted) =
        tokio::join!(proper.call(&ca, bob.local_addr().unwrap()), soon(bob.accept()));
    assert!(outcome.is_ok());
    assert_eq!(accepted.unwrap().unwrap().peer_name(), "stranger");
}

#[tokio::test]
async fn a_callee_with_only_x25519_is_refused() {
    let ca = network();
    let alice = bind(ca.issue("alice").unwrap(), &[&ca], WireSettings::default());
    let old = Stranger { key_exchange: X25519, ..Stranger::proper(&ca) }.listen();
    let answering = async { old.accept().await.unwrap().await };
    let address = old.local_addr().unwrap();
    let (dialled, answered) = tokio::join!(soon(alice.dial(address, "stranger", Lane::Main)), soon(answering));
    assert!(matches!(dialled, Err(QuicError::KeyExchange)), "{dialled:?}");
    assert!(answered.is_err());
}

#[tokio::test]
async fn an_unknown_protocol_is_refused() {
    let ca = network();
    let bob = bind(ca.issue("bob").unwrap(), &[&ca], WireSettings::default());
    let stranger = Stranger { alpn: "h3", ..Stranger::proper(&ca) };
    let ((_endpoint, outcome), away) = tokio::join!(stranger.call(&ca, bob.local_addr().unwrap()), turned_away(&bob));
    assert!(outcome.is_err());
    assert!(matches!(away, QuicError::UnknownLane), "{away:?}");
}

#[tokio::test]
async fn a_callee_that_speaks_something_else_is_refused() {
    let ca = network();
    let alice = bind(ca.issue("alice").unwrap(), &[&ca], WireSettings::default());
    let other = Stranger { alpn: "h3", ..Stranger::proper(&ca) }.listen();
    let answering = async { other.accept().await.unwrap().await };
    let address = other.local_addr().unwrap();
    let (dialled, _) = tokio::join!(soon(alice.dial(address, "stranger", Lane::Main)), soon(answering));
    assert!(matches!(dialled, Err(QuicError::UnknownLane)), "{dialled:?}");
}

#[tokio::test]
async fn the_hello_does_not_name_the_one_called() {
    let ca = network();
    let alice = bind(ca.issue("alice").unwrap(), &[&ca], WireSettings::default());
    let listener = Stranger { alpn: "vernam-files/1", ..Stranger::proper(&ca) }.listen();
    let answering = async { listener.accept().await.unwrap().await.unwrap() };
    let address = listener.local_addr().unwrap();
    let (dialled, answered) = tokio::join!(soon(alice.dial(address, "stranger", Lane::Files)), soon(answering));
    assert_eq!(dialled.unwrap().peer_name(), "stranger");
    let hello = answered.handshake_data().unwrap().downcast::<HandshakeData>().unwrap();
    assert_eq!(hello.server_name.as_deref(), Some("vernam"));
    assert_eq!(hello.protocol.as_deref(), Some(b"vernam-files/1".as_slice()));
}

#[tokio::test]
async fn an_exported_secret_is_shared_by_the_two_ends_alone() {
    let (alice, bob) = pair(WireSettings::default(), WireSettings::default());
    let mut seen = Vec::new();
    for lane in [Lane::Main, Lane::Main, Lane::Files] {
        let (called, answered) = connect(&alice, &bob, lane).await;
        for (label, context) in [("one", "a"), ("one", "b"), ("two", "a"), ("two", "")] {
            let hers = called.exporter(label.as_bytes(), context.as_bytes()).unwrap();
            let his = answered.exporter(label.as_bytes(), context.as_bytes()).unwrap();
            assert_eq!(hers.expose("test"), his.expose("test"));
            assert_eq!(hers.len(), vernam_quic::EXPORT_LEN);
            seen.push(hers.expose("test").to_vec());
        }
    }
    let all = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), all, "two secrets are the same");
}

#[tokio::test]
async fn many_callers_at_once_all_get_in() {
    // More than are let in without proving their address, fewer than wait: some take the detour of a retry.
    const CALLERS: usize = 24;
    let (alice, bob) = pair(WireSettings::default(), WireSettings::default());
    let address = bob.local_addr().unwrap();
    let calls: Vec<_> = (0..CALLERS)
        .map(|_| {
            let alice = alice.clone();
            tokio::spawn(async move { alice.dial(address, "bob", Lane::Main).await })
        })
        .collect();
    let mut answered = Vec::new();
    for _ in 0..CALLERS {
        answered.push(soon(bob.accept()).await.unwrap().unwrap());
    }
    let counts = bob.incoming_counts();
    assert!(counts.retried > 0, "{counts:?}");
    assert_eq!(counts.refused, 0);
    for call in calls {
        assert_eq!(soon(call).await.unwrap().unwrap().peer_name(), "bob");
    }
}

#[tokio::test]
async fn noise_on_the_port_disturbs_nobody() {
    let (alice, bob) = pair(WireSettings::default(), WireSettings::default());
    let noise = std::net::UdpSocket::bind(any_port()).unwrap();
    for len in [0, 1, 20, 1200, 1452] {
        // The first byte of a long header, then of a short one.
        for first in [0xc0, 0x40, 0x00] {
            let mut datagram = vec![0xa5; len];
            datagram.iter_mut().take(1).for_each(|byte| *byte = first);
            noise.send_to(&datagram, bob.local_addr().unwrap()).unwrap();
        }
    }
    let (called, _answered) = connect(&alice, &bob, Lane::Main).await;
    assert_eq!(called.peer_name(), "bob");
}

#[tokio::test]
async fn what_cannot_work_is_said_before_anything_is_sent() {
    let ca = network();
    let issued = |name: &str| ca.issue(name).unwrap();
    let bound = |chain, key, roots: &[_]| {
        Endpoint::bind(any_port(), QuicIdentity { chain, key }, roots, WireSettings::default()).err()
    };
    let alice = issued("alice");
    assert!(matches!(bound(alice.chain, issued("alice").key, &[ca.root()]), Some(QuicError::Identity { .. })));
    assert!(matches!(bound(Vec::new(), issued("alice").key, &[ca.root()]), Some(QuicError::Identity { .. })));
    let alice = issued("alice");
    assert!(matches!(bound(alice.chain, alice.key, &[]), Some(QuicError::Roots { .. })));
}

#[test]
fn without_a_runtime_there_is_an_error_and_no_panic() {
    let ca = network();
    let alice = ca.issue("alice").unwrap();
    let identity = QuicIdentity { chain: alice.chain, key: alice.key };
    let bound = Endpoint::bind(any_port(), identity, &[ca.root()], WireSettings::default());
    assert!(matches!(bound.err(), Some(QuicError::NoRuntime)));
}

/// Label, client random and secret.
type Line = (String, Vec<u8>, Vec<u8>);

#[derive(Debug, Default)]
struct Lines(Mutex<Vec<Line>>);

impl rustls::KeyLog for Lines {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        self.0.lock().unwrap().push((label.to_owned(), client_random.to_vec(), secret.to_vec()));
    }
}

#[tokio::test]
async fn a_key_log_gets_the_same_secrets_on_both_sides() {
    let (hers, his) = (Arc::new(Lines::default()), Arc::new(Lines::default()));
    let logged = |lines: &Arc<Lines>| WireSettings { key_log: Some(Arc::clone(lines) as _), ..WireSettings::default() };
    let (alice, bob) = pair(logged(&hers), logged(&his));
    let _ends = connect(&alice, &bob, Lane::Main).await;
    let mut hers = hers.0.lock().unwrap().clone();
    let mut his = his.0.lock().unwrap().clone();
    hers.sort_unstable();
    his.sort_unstable();
    assert!(hers.iter().any(|(label, ..)| label == "CLIENT_TRAFFIC_SECRET_0"));
    assert_eq!(hers, his);
}
