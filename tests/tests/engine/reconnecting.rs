//! Ends and new beginnings over the same stores: the stocks align, and no byte is used twice.

use std::collections::BTreeMap;
use std::time::Duration;

use vernam_engine::limits::HANDSHAKE_TIMEOUT;
use vernam_engine::{Account, Carried, Command, Event, PhoneEvent};
use vernam_session::{HangUpReason, Suite};
use vernam_tests::lab::voice::{Mouth, Tape, check};
use vernam_tests::lab::{Lab, Person, Relay, Setup, filled, part};

use super::{begin, converse};

const MARK: u64 = 48 << 10;

fn setup() -> Setup {
    Setup::with_mark(MARK).preferring(Suite::Otp)
}

/// A message each way and a short call, all under one-time pad.
async fn talk(pair: &[Person; 2]) {
    for person in pair {
        person.forget();
    }
    pair[0].write("bob", "from alice").await;
    pair[1].write("alice", "from bob").await;
    assert_eq!((pair[0].text().await.as_str(), pair[1].text().await.as_str()), ("from bob", "from alice"));
    let (tapes, _) = converse(pair, Suite::Otp, [Mouth::recorded("reader"), Mouth::recorded("commands")], 15).await;
    check(&tapes[0], &tapes[1]);
    check(&tapes[1], &tapes[0]);
}

/// What both spent in a conversation, from the outbound stocks.
async fn accounts(pair: &[Person; 2]) -> [Account; 2] {
    [pair[0].account("bob").await, pair[1].account("alice").await]
}

fn spent(account: &Account) -> u64 {
    account.outbound.values().sum()
}

/// Every byte that a stock says is spent was charged in one conversation, once; and nothing stands in doubt.
#[track_caller]
fn adds_up(conversations: &[[Account; 2]]) {
    for own in 0..2 {
        let charged: u64 = conversations.iter().map(|accounts| spent(&accounts[own])).sum();
        let last = conversations.last().expect("there was a conversation");
        let stock = last[own].outbound_stock.expect("a stock");
        assert_eq!(stock.spent, charged, "spent in stock, and charged");
        assert_eq!(stock.end, stock.spent + stock.forfeited + stock.holes + stock.available);
        let cursors: Vec<u64> =
            conversations.iter().filter_map(|accounts| Some(accounts[own].outbound_stock?.cursor)).collect();
        assert!(cursors.is_sorted(), "a cursor went back: {cursors:?}");
        // What one sent, the other opened: by purpose, byte for byte.
        let theirs: BTreeMap<_, _> = last[1 - own].inbound.clone().into_iter().collect();
        assert_eq!(last[own].outbound, theirs, "sent, and received");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conversations_in_a_row_go_on_where_the_last_one_ended() {
    let lab = Lab::new(81);
    let pair = lab.talking(setup(), setup()).await;
    let mut conversations = Vec::new();
    for round in 0..3 {
        if round > 0 {
            for person in &pair {
                person.forget();
            }
            // Each in turn.
            let (dialler, other) = (&pair[round % 2], &pair[1 - round % 2]);
            dialler.connect(other.name, other.addr).await;
            filled(&pair, [MARK; 2]).await;
        }
        talk(&pair).await;
        conversations.push(accounts(&pair).await);
        for person in &pair {
            person.forget();
        }
        pair[0].tell(Command::Disconnect { contact: "bob".to_owned() }).await;
        assert_eq!(pair[0].disconnected().await, None);
        assert_eq!(pair[1].disconnected().await, None);
    }
    adds_up(&conversations);
    assert_eq!(lab.vault.collected_twice(), 0);
    for person in pair {
        person.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_started_anew_finds_its_stock() {
    let lab = Lab::new(82);
    let [alice, bob] = lab.talking(setup(), setup()).await;
    let pair = [alice, bob];
    talk(&pair).await;
    let first = accounts(&pair).await;
    let [alice, bob] = pair;
    alice.stop().await;
    assert_eq!(bob.disconnected().await, None);
    // Nothing can be taken from the KME: what they talk with is what they had.
    let given = lab.vault.given().len();
    let mut frugal = setup();
    frugal.mark = 0;
    let alice = lab.start("alice", frugal);
    bob.forget();
    alice.connect("bob", bob.addr).await;
    alice.saw("the stock", |event| matches!(event, Event::Stock { usable, .. } if *usable > MARK / 2)).await;
    bob.saw("the conversation", |event| matches!(event, Event::Established { .. })).await;
    let pair = [alice, bob];
    talk(&pair).await;
    let second = accounts(&pair).await;
    let hers = lab.vault.given().iter().skip(given).filter(|key| key.master == "alice").count();
    assert_eq!(hers, 1, "the handshake's key alone");
    adds_up(&[first, second]);
    assert_eq!(lab.vault.collected_twice(), 0);
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_whose_line_went_dead_can_call_again_at_once() {
    let lab = Lab::new(83);
    let pair = lab.pair(setup(), setup());
    let relay = Relay::to(pair[1].addr).await;
    pair[0].connect("bob", relay.addr).await;
    filled(&pair, [MARK; 2]).await;
    let tapes = begin(&pair, Suite::Otp, [Mouth::recorded("reader"), Mouth::recorded("commands")]).await;
    tapes[1].until_played(10).await;
    relay.cut();
    let [alice, bob] = pair;
    alice.stop().await;
    // Bob has heard nothing and believes that he is in a call with her.
    assert_eq!(bob.count(|event| matches!(event, Event::Disconnected { .. } | Event::CallRecord { .. })), 0);
    bob.forget();
    let alice = lab.start("alice", setup());
    alice.connect("bob", bob.addr).await;
    assert_eq!(bob.call_ended().await.0, HangUpReason::Lost);
    alice.saw("the conversation", |event| matches!(event, Event::Established { .. })).await;
    let pair = [alice, bob];
    filled(&pair, [MARK; 2]).await;
    talk(&pair).await;
    assert_eq!(lab.vault.collected_twice(), 0);
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_was_killed_and_calls_again_rings_and_is_not_in_the_old_call() {
    let lab = Lab::new(76);
    let pair = lab.pair(setup(), setup());
    let relay = Relay::to(pair[1].addr).await;
    pair[0].connect("bob", relay.addr).await;
    filled(&pair, [MARK; 2]).await;
    let tapes = begin(&pair, Suite::Aes256Gcm, [Mouth::recorded("reader"), Mouth::recorded("commands")]).await;
    tapes[1].until_played(10).await;
    let [alice, bob] = pair;
    relay.cut();
    alice.cut();
    alice.stop().await;
    bob.forget();
    let alice = lab.start("alice", setup());
    alice.connect("bob", bob.addr).await;
    alice.saw("the conversation", |event| matches!(event, Event::Established { .. })).await;
    let hers = Tape::default();
    alice.call("bob", Suite::Aes256Gcm, hers.head(Mouth::recorded("reader"))).await;
    let (old, _) = bob.call_record().await;
    assert_eq!((old.reason, old.answered.is_some()), (HangUpReason::StartedAnew, true), "{old:?}");
    alice.called("that it rings", |event| *event == PhoneEvent::Ringing).await;
    assert_eq!(alice.count(|event| matches!(event, Event::Call { event: PhoneEvent::Answered { .. }, .. })), 0);
    let his = Tape::default();
    bob.answer("alice", his.head(Mouth::recorded("commands"))).await;
    for tape in [&hers, &his] {
        tape.until_played(10).await;
    }
    part([alice, bob]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_goes_dead_ends_the_call_by_itself() {
    // Takes as long as a call waits for its connection: 30 seconds, from the third on.
    let lab = Lab::new(84);
    let pair = lab.pair(setup(), setup());
    let relay = Relay::to(pair[1].addr).await;
    pair[0].connect("bob", relay.addr).await;
    filled(&pair, [MARK; 2]).await;
    let tapes = begin(&pair, Suite::Aes256Gcm, [Mouth::recorded("reader"), Mouth::recorded("commands")]).await;
    tapes[1].until_played(10).await;
    relay.cut();
    for person in &pair {
        let (reason, by_contact, stats) = person.call_ended().await;
        assert_eq!((reason, by_contact), (HangUpReason::Lost, false));
        assert!(stats.is_some());
        let why = person.disconnected().await.expect("no proper end");
        assert!(why.contains("nothing was heard"), "{why}");
    }
    check(&tapes[0], &tapes[1]);
    check(&tapes[1], &tapes[0]);
    for person in pair {
        person.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_under_one_time_pad_goes_on_when_the_network_is_back() {
    goes_on(85, Suite::Otp, Duration::from_millis(4_500)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_under_aes_goes_on_when_the_network_is_back() {
    goes_on(86, Suite::Aes256Gcm, Duration::from_millis(3_500)).await;
}

/// A call whose network is away for so long.
async fn goes_on(seed: u64, suite: Suite, away: Duration) {
    let lab = Lab::new(seed);
    // For some minutes of talk.
    let mark = 512 << 10;
    let pair = lab.pair(Setup { mark, ..setup() }, Setup { mark, ..setup() });
    let relay = Relay::to(pair[1].addr).await;
    pair[0].connect("bob", relay.addr).await;
    filled(&pair, [mark; 2]).await;
    let tapes = begin(&pair, suite, [Mouth::recorded("reader"), Mouth::recorded("commands")]).await;
    tapes[1].until_played(10).await;
    let words = [words(&pair[0]).await, words(&pair[1]).await];
    assert_eq!(words[0], words[1]);
    for person in &pair {
        person.forget();
    }
    relay.cut();
    for person in &pair {
        person.called("that the connection is away", |event| *event == PhoneEvent::Reconnecting).await;
    }
    tokio::time::sleep(away.saturating_sub(Duration::from_secs(3))).await;
    relay.mend();
    for person in &pair {
        person.called("that it goes on", |event| matches!(event, PhoneEvent::Answered { .. })).await;
    }
    let so_far = tapes.each_ref().map(Tape::packets_played);
    // The stock is the one there was: nobody is asked for less before it is known.
    for person in &pair {
        let asked = |event: &Event| matches!(event, Event::Call { event: PhoneEvent::WeakerWanted, .. });
        assert_eq!(person.count(asked), 0, "{}", person.name);
    }
    for (tape, so_far) in tapes.iter().zip(so_far) {
        tape.until_played(so_far + 50).await;
    }
    for person in &pair {
        person.forget();
    }
    pair[0].hang_up("bob", HangUpReason::HungUp).await;
    for person in &pair {
        person.called("what was carried", |event| carries(event, |carried| carried.received > 50)).await;
        let (record, stats) = person.call_record().await;
        assert_eq!((record.reason, record.resumed >= 1), (HangUpReason::HungUp, true), "{record:?}");
        let stats = stats.expect("a call that was taken has statistics");
        assert_eq!(stats.terms.suite, suite);
        // A second and more of frames was never on its way; nothing else was lost.
        assert!(stats.away >= 50 && stats.missing <= 2, "{} away, {} missing", stats.away, stats.missing);
    }
    check(&tapes[0], &tapes[1]);
    check(&tapes[1], &tapes[0]);
    assert_eq!(lab.vault.collected_twice(), 0);
    part(pair).await;
}

/// Whether this is the end of a call that carried so much.
fn carries(event: &PhoneEvent, enough: impl Fn(&Carried) -> bool) -> bool {
    matches!(event, PhoneEvent::Ended { carried: Some(carried), .. } if enough(carried))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_carried_nothing_says_so_at_its_end() {
    let lab = Lab::new(87);
    // No stock at all, and none to be had: the call is taken, and there is nothing to talk with.
    let pair = lab.talking(frugal(), frugal()).await;
    for person in &pair {
        person.forget();
    }
    let tapes = [Tape::default(), Tape::default()];
    pair[0].call("bob", Suite::Otp, tapes[0].head(Mouth::recorded("reader"))).await;
    pair[1].answer("alice", tapes[1].head(Mouth::recorded("commands"))).await;
    pair[0].called("the answer", |event| matches!(event, PhoneEvent::Answered { .. })).await;
    pair[0].hang_up("bob", HangUpReason::HungUp).await;
    for person in &pair {
        person.called("that nothing was", |event| carries(event, |carried| *carried == Carried::default())).await;
    }
    // One that was never taken is another thing.
    for person in &pair {
        person.forget();
    }
    pair[0].call("bob", Suite::Otp, tapes[0].head(Mouth::recorded("reader"))).await;
    pair[1].called("a ring", |event| matches!(event, PhoneEvent::Incoming { .. })).await;
    pair[1].hang_up("alice", HangUpReason::Declined).await;
    for (own, person) in pair.iter().enumerate() {
        let is_end = |event: &PhoneEvent| {
            matches!(event, PhoneEvent::Ended { carried: None, reason: HangUpReason::Declined, ours, by_contact }
                if (*ours, *by_contact) == (own == 0, own == 0))
        };
        person.called("the end", is_end).await;
    }
    part(pair).await;
}

fn frugal() -> Setup {
    Setup { mark: 0, ..setup() }
}

/// Has Alice take key from her KME until some is in her stock, and gives how many bytes she has then taken.
async fn takes_key(lab: &Lab, alice: &Person) -> u64 {
    lab.vault.set_max_key("alice", 256);
    alice.tell(Command::SetMark { contact: "bob".to_owned(), bytes: 32 << 10 }).await;
    alice.saw("key", |event| matches!(event, Event::Stock { outbound, .. } if outbound.available > 0)).await;
    of_alice(lab)
}

/// A conversation that begins with the key that Alice had `taken` before, and takes none but its handshake's.
async fn serves(lab: &Lab, pair: &[Person; 2], taken: u64) {
    // The first handshake's key, and a block for the control stream.
    let left = taken - (8 << 10) - (9 << 10);
    pair[0].saw("the same key", |event| matches!(event, Event::Stock { usable, .. } if *usable >= left)).await;
    let stock = pair[0].account("bob").await.outbound_stock.expect("a stock");
    assert_eq!(stock.forfeited, 0, "{stock:?}");
    assert_eq!(of_alice(lab), taken + (4 << 10), "this handshake's key alone");
    assert_eq!(lab.vault.collected_twice(), 0);
    pair[0].write("bob", "under it").await;
    assert_eq!(pair[1].text().await, "under it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_that_a_kme_is_just_giving_when_a_conversation_ends_serves_the_next_one() {
    let lab = Lab::new(88);
    let pair = lab.talking(frugal(), frugal()).await;
    lab.vault.delay_next_collection("bob", Duration::from_millis(1_500));
    let taken = takes_key(&lab, &pair[0]).await;
    for person in &pair {
        person.forget();
    }
    pair[0].tell(Command::Disconnect { contact: "bob".to_owned() }).await;
    for person in &pair {
        assert_eq!(person.disconnected().await, None);
        person.forget();
    }
    pair[0].connect("bob", pair[1].addr).await;
    serves(&lab, &pair, taken).await;
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_whose_announcement_was_lost_is_announced_again_in_the_next_conversation() {
    let lab = Lab::new(89);
    let pair = lab.pair(frugal(), frugal());
    let relay = Relay::to(pair[1].addr).await;
    pair[0].connect("bob", relay.addr).await;
    filled(&pair, [0; 2]).await;
    relay.cut();
    let taken = takes_key(&lab, &pair[0]).await;
    let [alice, bob] = pair;
    alice.stop().await;
    bob.forget();
    let pair = [lab.start("alice", frugal()), bob];
    pair[0].connect("bob", pair[1].addr).await;
    serves(&lab, &pair, taken).await;
    part(pair).await;
}

/// Bytes that Alice has taken from her KME.
fn of_alice(lab: &Lab) -> u64 {
    lab.vault.given().iter().filter(|key| key.master == "alice").map(|key| key.bytes.len() as u64).sum()
}

/// The words of a conversation that is in a call.
async fn words(person: &Person) -> [String; 4] {
    person
        .wait("the words", |events| {
            events.iter().find_map(|event| match event {
                Event::Words { words, .. } => Some(words.clone()),
                _ => None,
            })
        })
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_dial_each_other_at_once_get_one_conversation() {
    for seed in 0..5 {
        let lab = Lab::new(90 + seed);
        let pair = lab.pair(setup(), setup());
        let [alice, bob] = &pair;
        tokio::join!(alice.connect("bob", bob.addr), bob.connect("alice", alice.addr));
        filled(&pair, [MARK; 2]).await;
        // Whichever conversation lost is over by now; the one that won carries a message each way.
        for _ in 0..2 {
            for (person, other) in [(alice, "bob"), (bob, "alice")] {
                person.write(other, "hello").await;
            }
        }
        alice.text().await;
        bob.text().await;
        nobody_heard_of_an_end(&pair);
        part(pair).await;
    }
}

/// Whichever of two connections lost, it is no news.
fn nobody_heard_of_an_end(pair: &[Person; 2]) {
    for person in pair {
        let ends = person.count(|event| matches!(event, Event::Disconnected { .. }));
        assert_eq!(ends, 0, "{}: the connection that lost is no news", person.name);
    }
}

/// Alice's connection is on its way and hers, as the smaller name's, is the one that stands: she refuses Bob's before he
/// has ever seen it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_refused_for_one_that_is_still_on_its_way_is_no_news() {
    let lab = Lab::new(78);
    let pair = lab.pair(setup(), setup());
    let [alice, bob] = &pair;
    let relay = Relay::holding(bob.addr).await;
    alice.connect("bob", relay.addr).await;
    alice.saw("her connection", |event| matches!(event, Event::Connected { .. })).await;
    bob.connect("alice", alice.addr).await;
    bob.saw("his connection", |event| matches!(event, Event::Connected { .. })).await;
    // Until he has none any more.
    let is_gone = |event: &Event| matches!(event, Event::Warning { text, .. } if text.contains("is not connected"));
    while bob.count(is_gone) == 0 {
        bob.write("alice", "into the air").await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    relay.release();
    filled(&pair, [MARK; 2]).await;
    talk(&pair).await;
    nobody_heard_of_an_end(&pair);
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_refused_for_one_that_never_comes_is_told_of_in_the_end() {
    // Takes as long as the other one is waited for: 5 seconds.
    let lab = Lab::new(79);
    let bob = lab.start("bob", setup());
    let alice = lab.endpoint("alice");
    let addr = alice.local_addr().expect("a bound socket has an address");
    bob.connect("alice", addr).await;
    let connection = alice.accept().await.expect("an endpoint that listens").expect("Bob's connection");
    bob.saw("his connection", |event| matches!(event, Event::Connected { .. })).await;
    connection.close(3, "already connected");
    let why = bob.disconnected().await.expect("no proper end");
    assert!(why.contains("already connected"), "{why}");
    bob.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_older_than_any_handshake_ends_as_properly_as_a_young_one() {
    // Takes as long as a handshake may.
    let lab = Lab::new(77);
    let pair = lab.talking(setup(), setup()).await;
    tokio::time::sleep(HANDSHAKE_TIMEOUT + Duration::from_millis(500)).await;
    pair[0].tell(Command::Disconnect { contact: "bob".to_owned() }).await;
    for person in &pair {
        assert_eq!(person.disconnected().await, None, "{}", person.name);
    }
    for person in pair {
        person.stop().await;
    }
}
