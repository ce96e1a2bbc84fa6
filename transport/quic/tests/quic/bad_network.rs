//! The impairment and the tap, under real connections.

use std::time::Duration;

use bytes::Bytes;
use vernam_quic::{Connection, Impairment, Lane, Passage, QuicError, Tap, TapRecord, WireCounts, WireSettings};

use crate::carrying::deliver;
use crate::world::{any_port, connect, network, pair, soon};

const CLEAN: Impairment = Impairment { loss: 0.0, delay: Duration::ZERO, jitter: Duration::ZERO, seed: 1 };

fn impaired(impairment: Impairment) -> WireSettings {
    WireSettings { impairment: Some(impairment), ..WireSettings::default() }
}

fn tapped(tap: &Tap) -> WireSettings {
    WireSettings { tap: Some(tap.clone()), ..WireSettings::default() }
}

// One way only: with 30 % lost both ways, half of the probes go unanswered and QUIC's timer, which doubles each time,
// now and then sleeps for half a minute. That is a property of QUIC and would make the test as long.
#[tokio::test]
async fn with_30_percent_lost_streams_still_deliver_everything() {
    let (alice, bob) = pair(impaired(Impairment { loss: 0.3, seed: 11, ..CLEAN }), WireSettings::default());
    let (called, answered) = connect(&alice, &bob, Lane::Main).await;
    let data: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    deliver(&called, &answered, &data).await;
    deliver(&answered, &called, &data).await;
    let counts = alice.wire_counts();
    println!("seed 11: {counts:?}");
    assert_eq!(counts.overflowed, 0);
    assert!(counts.offered >= 200, "{counts:?}");
    // Five standard deviations of a binomial around 30 %.
    let [sent, lost] = [counts.offered, counts.dropped].map(|count| f64::from(u32::try_from(count).unwrap()));
    assert!((lost - 0.3 * sent).abs() < 5.0 * (0.21 * sent).sqrt(), "{counts:?}");
    assert!(called.stats().lost_packets > 0);
    assert_eq!(bob.wire_counts(), WireCounts::default());
}

#[tokio::test]
async fn a_delay_shows_in_the_round_trip() {
    let slow = |seed| impaired(Impairment { delay: Duration::from_millis(40), seed, ..CLEAN });
    let (alice, bob) = pair(slow(1), slow(2));
    let (called, answered) = connect(&alice, &bob, Lane::Main).await;
    deliver(&called, &answered, b"there and back").await;
    let rtt = called.stats().rtt;
    // From above it is bounded loosely: the machine may be busy.
    assert!((Duration::from_millis(80)..Duration::from_millis(400)).contains(&rtt), "{rtt:?}");
}

#[tokio::test]
async fn overtaking_datagrams_do_no_harm() {
    let jitter = Duration::from_millis(15);
    let shuffled = |seed| impaired(Impairment { jitter, loss: 0.02, seed, ..CLEAN });
    let (alice, bob) = pair(shuffled(3), shuffled(4));
    let (called, answered) = connect(&alice, &bob, Lane::Files).await;
    deliver(&called, &answered, &vec![9; 200_000]).await;
}

#[tokio::test]
async fn what_is_sent_just_before_the_end_still_leaves_a_slow_wire() {
    let slow = |seed| impaired(Impairment { delay: Duration::from_millis(50), seed, ..CLEAN });
    let (alice, bob) = pair(slow(5), WireSettings::default());
    let (called, answered) = connect(&alice, &bob, Lane::Main).await;
    called.close(9, "bye");
    drop((called, alice));
    assert!(matches!(soon(answered.closed()).await, QuicError::ClosedByPeer { code: 9, .. }));
}

#[tokio::test]
async fn an_impossible_loss_is_refused() {
    let ca = network();
    let issued = ca.issue("alice").unwrap();
    let identity = vernam_quic::QuicIdentity { chain: issued.chain, key: issued.key };
    let settings = impaired(Impairment { loss: 30.0, ..CLEAN });
    let bound = vernam_quic::Endpoint::bind(any_port(), identity, &[ca.root()], settings);
    assert!(matches!(bound.err(), Some(QuicError::Setting { name: "loss", .. })));
}

#[tokio::test]
async fn what_one_tap_sends_the_other_receives() {
    let (hers, his) = (Tap::new(100_000), Tap::new(100_000));
    let (alice, bob) = pair(tapped(&hers), tapped(&his));
    let (called, answered) = connect(&alice, &bob, Lane::Files).await;
    deliver(&called, &answered, &vec![1; 2_000_000]).await;
    called.close(0, "");
    soon(answered.closed()).await;
    let sent = lengths(&hers.take(), Passage::Sent);
    let received = lengths(&his.take(), Passage::Received);
    assert!(sent.iter().sum::<usize>() > 2_000_000);
    // Loopback keeps the order; a full buffer may lose some, which QUIC then sends again.
    assert!(received.len() <= sent.len() && received.len() * 10 > sent.len() * 9);
    assert!(received.iter().all(|len| (1..=1500).contains(len)));
    assert_eq!((hers.missed(), his.missed()), (0, 0));
}

fn lengths(records: &[TapRecord], passage: Passage) -> Vec<usize> {
    records.iter().filter(|record| record.passage == passage).map(|record| record.len).collect()
}

/// One frame there, one back, as often as said.
async fn talk(one: &Connection, other: &Connection, rounds: usize) {
    for _ in 0..rounds {
        for (from, to) in [(one, other), (other, one)] {
            from.send_voice(Bytes::from(vec![0x33; 160])).unwrap();
            soon(to.read_voice()).await.unwrap();
        }
    }
}

/// Talks until both ends have found out how large packets may be, after which no probe is on the wire.
async fn settle(one: &Connection, other: &Connection) {
    while one.stats().mtu < 1452 || other.stats().mtu < 1452 {
        talk(one, other, 1).await;
    }
}

#[tokio::test]
async fn padded_voice_has_one_size_on_the_wire() {
    let taps = [Tap::new(10_000), Tap::new(10_000)];
    let padded = |tap: &Tap| WireSettings { pad_packets: true, ..tapped(tap) };
    let (alice, bob) = pair(padded(&taps[0]), padded(&taps[1]));
    let (called, answered) = connect(&alice, &bob, Lane::Main).await;
    settle(&called, &answered).await;
    for tap in &taps {
        drop(tap.take());
    }
    talk(&called, &answered, 100).await;
    for tap in &taps {
        let sent = lengths(&tap.take(), Passage::Sent);
        assert!(sent.len() >= 100);
        let sizes: std::collections::BTreeSet<_> = sent.into_iter().collect();
        println!("sizes: {sizes:?}");
        assert_eq!(sizes.len(), 1, "{sizes:?}");
    }
}

#[tokio::test]
async fn voice_without_padding_varies_only_by_an_acknowledgement() {
    let tap = Tap::new(10_000);
    let (alice, bob) = pair(tapped(&tap), WireSettings::default());
    let (called, answered) = connect(&alice, &bob, Lane::Main).await;
    settle(&called, &answered).await;
    drop(tap.take());
    talk(&called, &answered, 100).await;
    let voice: Vec<_> = lengths(&tap.take(), Passage::Sent).into_iter().filter(|len| *len >= 160).collect();
    let (least, most) = (voice.iter().min().unwrap(), voice.iter().max().unwrap());
    println!("{} packets of {least} to {most} bytes", voice.len());
    assert!(most - least <= 32, "{least} to {most}");
}
