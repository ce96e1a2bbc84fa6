//! When key is short, late, or not to be had.

use std::sync::Arc;
use std::time::Duration;

use vernam_engine::limits::KEY_RESERVE;
use vernam_engine::{Command, Event, LinkHealth, PhoneEvent};
use vernam_etsi014::KmeClient;
use vernam_session::{HangUpReason, Suite};
use vernam_tests::lab::voice::{Mouth, check};
use vernam_tests::lab::{Lab, Person, Relay, Setup, filled, part};

use super::{begin, converse};

const REASON: &str = "the quantum link to the other side is in alarm: 25 % of the bits are wrong";

fn setup(mark: u64) -> Setup {
    Setup::with_mark(mark).preferring(Suite::Otp)
}

async fn stop(pair: [Person; 2]) {
    for person in pair {
        person.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kme_that_refuses_at_the_start_is_quoted() {
    for (refuses, collects) in [("alice", false), ("bob", false), ("bob", true)] {
        let lab = Lab::new(101);
        if collects {
            lab.vault.refuse_collecting(refuses, Some(REASON));
        } else {
            lab.vault.refuse(refuses, Some(REASON));
        }
        let pair = lab.pair(setup(32 << 10), setup(32 << 10));
        pair[0].connect("bob", pair[1].addr).await;
        let whys = [pair[0].disconnected().await, pair[1].disconnected().await];
        let own = usize::from(refuses == "bob");
        assert!(whys[own].as_deref().is_some_and(|why| why.contains(REASON)), "{whys:?}");
        // The other side is told why, in words of ours.
        assert!(whys[1 - own].as_deref().is_some_and(|why| why.contains("source of keys")), "{whys:?}");
        assert!(whys[1 - own].as_deref().is_some_and(|why| !why.contains(REASON)), "{whys:?}");
        // When it gives again, they can talk.
        lab.vault.refuse(refuses, None);
        lab.vault.refuse_collecting(refuses, None);
        for person in &pair {
            person.forget();
        }
        pair[0].connect("bob", pair[1].addr).await;
        filled(&pair, [32 << 10; 2]).await;
        part(pair).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kme_that_is_not_there_is_said_so() {
    let lab = Lab::new(102);
    // A port on which nobody listens: it was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let identity = lab.ca.issue("alice").unwrap();
    let kme = format!("127.0.0.1:{port}");
    let client = KmeClient::new(&kme, vec![lab.ca.root()], identity.chain, identity.key).unwrap();
    let hers = Setup { source: Some(Arc::new(client)), ..setup(32 << 10) };
    let pair = lab.pair(hers, setup(32 << 10));
    pair[0].connect("bob", pair[1].addr).await;
    let why = pair[0].disconnected().await.expect("no proper end");
    assert!(why.contains(&port.to_string()), "it says which KME: {why}");
    assert!(pair[1].disconnected().await.is_some());
    stop(pair).await;
}

/// Whether a new conversation waits for key.
fn waits(event: &Event) -> bool {
    matches!(event, Event::WaitingForKey { .. })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_stock_leaves_a_kme_with_the_key_for_the_next_conversations() {
    const POOL: u64 = 60 << 10;
    let lab = Lab::new(108);
    for name in ["alice", "bob"] {
        lab.vault.set_pool(name, POOL);
    }
    let pair = lab.pair(setup(1 << 20), setup(1 << 20));
    let relay = Relay::to(pair[1].addr).await;
    pair[0].connect("bob", relay.addr).await;
    // All but a handshake's key, a block of control pad, and the reserve.
    let most = POOL - (8 << 10) - (9 << 10) - KEY_RESERVE;
    filled(&pair, [most; 2]).await;
    // Two in a row that are not told of each other's end, and no key comes meanwhile.
    let [mut alice, bob] = pair;
    relay.cut();
    for _again in 0..2 {
        alice.cut();
        alice.stop().await;
        bob.forget();
        alice = lab.start("alice", setup(1 << 20));
        alice.connect("bob", bob.addr).await;
        for person in [&alice, &bob] {
            person.saw("a conversation", |event| matches!(event, Event::Established { .. })).await;
            assert_eq!(person.count(waits), 0, "{} had to wait for key", person.name);
        }
    }
    stop([alice, bob]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_waits_for_the_key_that_it_begins_with() {
    for short in ["alice", "bob"] {
        let lab = Lab::new(109);
        lab.vault.set_pool(short, 152);
        let pair = lab.pair(setup(0), setup(0));
        pair[0].connect("bob", pair[1].addr).await;
        let own = usize::from(short == "bob");
        pair[own].saw("that it waits", waits).await;
        lab.vault.set_pool(short, 8 << 10);
        for person in &pair {
            person.saw("a conversation", |event| matches!(event, Event::Established { .. })).await;
        }
        assert_eq!((pair[own].count(waits), pair[1 - own].count(waits)), (1, 0), "told once");
        part(pair).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_want_to_wait_for_key_leaves_at_once() {
    let lab = Lab::new(110);
    lab.vault.set_pool("alice", 0);
    let pair = lab.pair(setup(0), setup(0));
    pair[0].connect("bob", pair[1].addr).await;
    pair[0].saw("that it waits", waits).await;
    pair[0].tell(Command::Disconnect { contact: "bob".to_owned() }).await;
    assert_eq!(pair[0].disconnected().await, None);
    assert!(pair[1].disconnected().await.is_some());
    stop(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kme_that_refuses_midway_is_quoted_and_the_pad_call_goes_on_from_stock() {
    let lab = Lab::new(103);
    let pair = lab.talking(setup(64 << 10), setup(64 << 10)).await;
    let tapes = begin(&pair, Suite::Otp, [Mouth::recorded("reader"), Mouth::recorded("commands")]).await;
    for name in ["alice", "bob"] {
        lab.vault.refuse(name, Some(REASON));
    }
    for person in &pair {
        person
            .saw("the refusal", |event| matches!(event, Event::Source { refusal: Some(why), .. } if why == REASON))
            .await;
    }
    let before = [tapes[0].packets_played(), tapes[1].packets_played()];
    for (tape, before) in tapes.iter().zip(before) {
        // Longer than the key that was with the call already.
        tape.until_played(before + 120).await;
    }
    super::end(&pair).await;
    check(&tapes[0], &tapes[1]);
    check(&tapes[1], &tapes[0]);
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_alarm_of_a_link_is_told_once_in_plain_words_and_its_end_too() {
    let lab = Lab::new(104);
    let pair = lab.talking(setup(16 << 10), setup(16 << 10)).await;
    let link = |state: &str, qber| LinkHealth {
        qber,
        threshold: 0.11,
        rate_bps: 0.0,
        state: state.to_owned(),
        reason: Some(REASON.to_owned()),
    };
    lab.vault.set_link("alice", Some(link("alarm", 0.25)));
    let words = pair[0].warned("no new key comes").await;
    assert!(words.contains(REASON), "{words}");
    lab.vault.set_link("alice", Some(link("up", 0.01)));
    pair[0].warned("makes key again").await;
    let told = |event: &Event| matches!(event, Event::Warning { text, .. } if text.contains("no new key comes"));
    assert_eq!(pair[0].count(told), 1);
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pad_call_whose_stock_runs_out_ends_as_such_at_both_ends_after_a_warning() {
    let lab = Lab::new(105);
    let pair = lab.talking(setup(24 << 10), setup(24 << 10)).await;
    for name in ["alice", "bob"] {
        lab.vault.refuse(name, Some(REASON));
    }
    let tapes = begin(&pair, Suite::Otp, [Mouth::recorded("reader"), Mouth::recorded("commands")]).await;
    let ends = [pair[0].call_ended().await, pair[1].call_ended().await];
    for (reason, _, stats) in &ends {
        assert_eq!(*reason, HangUpReason::KeyUsedUp, "{stats:?}");
    }
    assert!(ends[0].1 != ends[1].1 || ends.iter().all(|end| !end.1), "one of them, or both, ran out");
    for person in &pair {
        // Before the end, not after it.
        person
            .wait("a warning before the end", |events| {
                let end = events.iter().position(|event| matches!(event, Event::CallRecord { .. }))?;
                let warned = |event: &Event| matches!(event, Event::Call { event: PhoneEvent::TalkLeft { .. }, .. });
                events[..end].iter().any(warned).then_some(())
            })
            .await;
    }
    for (speaker, listener) in [(0, 1), (1, 0)] {
        let heard = check(&tapes[speaker], &tapes[listener]);
        assert!(heard.packets > 50, "{heard:?}");
    }
    // What is left is enough to say so, and to part properly.
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn announcements_whose_keys_are_slow_to_collect_leave_both_stocks_alike() {
    let lab = Lab::new(106);
    // Short keys: an announcement of many does not fit the control stream's pad, and becomes several.
    for name in ["alice", "bob"] {
        lab.vault.set_max_key(name, 256);
    }
    let pair = lab.talking(setup(0), setup(0)).await;
    lab.vault.delay_next_collection("bob", Duration::from_secs(1));
    pair[0].tell(Command::SetMark { contact: "bob".to_owned(), bytes: 30 << 10 }).await;
    pair[0].saw("stock", |event| matches!(event, Event::Stock { usable, .. } if *usable >= 28 << 10)).await;
    for number in 0..8 {
        pair[0].forget();
        pair[1].forget();
        pair[0].write("bob", &format!("message {number} {}", "x".repeat(1_500))).await;
        assert!(pair[1].text().await.starts_with(&format!("message {number}")));
    }
    for person in &pair {
        let (apart, refused) = (
            person.count(|event| matches!(event, Event::Warning { text, .. } if text.contains("come apart"))),
            person.count(|event| matches!(event, Event::Refused { .. })),
        );
        assert_eq!((apart, refused), (0, 0), "{}", person.name);
    }
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rest_before_a_gap_does_not_block_the_key_behind_it() {
    let lab = Lab::new(107);
    let pair = lab.talking(setup(16 << 10), setup(16 << 10)).await;
    // Bob's KME does not have what Alice's gave: that stretch is dropped at both ends, and leaves a gap.
    lab.vault.refuse_collecting("bob", Some(REASON));
    pair[0].tell(Command::SetMark { contact: "bob".to_owned(), bytes: 64 << 10 }).await;
    pair[0].warned("was dropped").await;
    lab.vault.refuse_collecting("bob", None);
    pair[0].forget();
    pair[0]
        .saw("stock behind the gap", |event| {
            matches!(event, Event::Stock { outbound, usable, .. } if *usable >= 60 << 10 && outbound.contiguous < 20 << 10)
        })
        .await;
    let content: Vec<u8> = (0..30_000_u32).map(|n| n.to_be_bytes()[3]).collect();
    let (path, inbox) = (lab.file("over the gap.bin", &content), lab.folder("inbox"));
    let transfer = pair[0].send_files("bob", &[path], Suite::Otp).await;
    pair[1].file_offered().await;
    pair[1].accept_files("alice", transfer, inbox).await;
    assert_eq!(std::fs::read(&pair[1].file_ended().await.unwrap().places[0]).unwrap(), content);
    // And a call, with what is left.
    let (tapes, _) = converse(&pair, Suite::Otp, [Mouth::recorded("reader"), Mouth::recorded("commands")], 20).await;
    check(&tapes[0], &tapes[1]);
    part(pair).await;
}
