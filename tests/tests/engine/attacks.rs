//! Somebody with a stolen certificate, and a contact that means harm: neither gets key, files or a conversation's end.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, timeout};
use vernam_engine::{Command, Event};
use vernam_key::Control;
use vernam_quic::{Connection, Endpoint, Lane};
use vernam_session::{CallTerms, FileStopReason, FileTerms, FlowId, HangUpReason, Message, StreamHeader, Suite};
use vernam_tests::lab::voice::{Mouth, Tape};
use vernam_tests::lab::{HandMade, Lab, PATIENCE, Person, Setup, part};

fn setup() -> Setup {
    Setup::with_mark(16 << 10)
}

/// A client that keeps no stock of its own: whatever key it takes is for handshakes.
fn without_stock() -> Setup {
    Setup::with_mark(0)
}

async fn dial(eve: &Endpoint, bob: &Person, lane: Lane) -> Connection {
    eve.dial(bob.addr, "bob", lane).await.expect("a certificate makes a connection")
}

/// Waits for the end of a connection, and gives the reason.
async fn closed(connection: &Connection) -> String {
    timeout(PATIENCE, connection.closed()).await.expect("the other side closes it").to_string()
}

fn key_of(lab: &Lab, name: &str) -> u64 {
    lab.vault.given().iter().filter(|key| key.master == name).map(|key| key.bytes.len() as u64).sum()
}

fn was_cut(event: &Event) -> bool {
    matches!(event, Event::Disconnected { .. })
}

/// Bob offers, Alice takes, and it arrives whole.
async fn bob_sends(lab: &Lab, [alice, bob]: &[Person; 2], name: &str) {
    let content: Vec<u8> = (0..200_000_u32).flat_map(|n| n.wrapping_mul(0x9e37_79b9).to_be_bytes()).collect();
    alice.forget();
    bob.forget();
    let path = lab.file(name, &content);
    let transfer = bob.send_files("alice", &[path], Suite::Aes256Gcm).await;
    alice.file_offered().await;
    alice.accept_files("bob", transfer, lab.folder("inbox")).await;
    let received = alice.file_ended().await.expect("it arrives");
    assert_eq!(std::fs::read(&received.places[0]).expect("it lies there"), content);
    bob.file_ended().await.expect("he is told so");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_do_not_go_to_somebody_who_has_the_name_and_not_the_key() {
    let lab = Lab::new(91);
    let pair = lab.talking(setup(), setup()).await;
    bob_sends(&lab, &pair, "before.bin").await;
    let eve = lab.endpoint("alice");
    let mut lanes = Vec::new();
    // One more than Bob keeps: when he closes one, he has them all.
    for _ in 0..3 {
        lanes.push(dial(&eve, &pair[1], Lane::Files).await);
    }
    let gone = async {
        tokio::select! {
            () = async { lanes[0].closed().await; } => {}
            () = async { lanes[1].closed().await; } => {}
            () = async { lanes[2].closed().await; } => {}
        }
    };
    timeout(PATIENCE, gone).await.expect("Bob keeps few connections that nobody named");
    assert!(lanes.iter().any(|lane| lane.close_reason().is_none()), "and he keeps some");
    bob_sends(&lab, &pair, "after.bin").await;
    for lane in &lanes {
        let stream = timeout(Duration::from_millis(100), lane.accept_uni()).await;
        assert!(!matches!(stream, Ok(Ok(_))), "a stream went to somebody who proved no key");
    }
    for person in &pair {
        assert_eq!(person.count(was_cut), 0);
    }
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_alone_ends_no_conversation_and_costs_no_key() {
    let lab = Lab::new(92);
    let pair = lab.talking(setup(), setup()).await;
    let [alice, bob] = &pair;
    let eve = lab.endpoint("alice");
    for _round in 0..2 {
        let mut mains = Vec::new();
        for _ in 0..5 {
            mains.push(dial(&eve, bob, Lane::Main).await);
        }
        for main in &mains {
            let why = closed(main).await;
            assert!(why.contains("already connected"), "{why}");
        }
    }
    alice.write("bob", "are you there?").await;
    assert_eq!(bob.text().await, "are you there?");
    bob.write("alice", "I am").await;
    assert_eq!(alice.text().await, "I am");
    for person in &pair {
        assert_eq!(person.count(was_cut), 0);
        assert_eq!(person.count(|event| matches!(event, Event::Connected { .. })), 1);
    }
    // All key that Bob ever took went into this conversation. What he is taking just now has not been counted yet.
    let began = std::time::Instant::now();
    loop {
        let account = bob.account("alice").await;
        let (taken, used) = (key_of(&lab, "bob"), account.handshake_outbound + account.stocked_outbound + account.lost);
        if taken == used {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{taken} bytes of key were taken and {used} used");
        tokio::task::yield_now().await;
    }
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_connects_again_and_again_without_proving_a_key_has_to_wait() {
    const TRIES: usize = 40;
    let lab = Lab::new(93);
    let [alice, bob] = lab.pair(without_stock(), without_stock());
    let eve = lab.endpoint("alice");
    let mut served = 0;
    for _ in 0..TRIES {
        let main = dial(&eve, &bob, Lane::Main).await;
        // Bob opens his control stream when he has taken a key for the handshake.
        let stream = timeout(PATIENCE, main.accept_uni()).await.expect("an answer");
        match stream {
            Ok(_) => {
                served += 1;
                main.close(0, "no key");
                let ended =
                    |events: &[Event]| (events.iter().filter(|event| was_cut(event)).count() >= served).then_some(());
                bob.wait("the end of an attempt", ended).await;
            }
            Err(why) => assert!(why.to_string().contains("too soon"), "{why}"),
        }
    }
    let taken = lab.vault.given().iter().filter(|key| key.master == "bob").count();
    assert_eq!(taken, served, "no key but for those who were served");
    // The pauses double: in a minute there are seven such, and these tries take a few moments.
    assert!((2..=8).contains(&taken), "{taken} keys for {TRIES} tries");
    // It is a pause, and no end: the true one comes through.
    let began = std::time::Instant::now();
    let is_there = |event: &Event| matches!(event, Event::Established { .. });
    while alice.count(is_there) == 0 {
        assert!(began.elapsed() < PATIENCE, "{}", alice.told());
        alice.forget();
        alice.connect("bob", bob.addr).await;
        alice.saw("an answer", |event| is_there(event) || was_cut(event)).await;
    }
    part([alice, bob]).await;
}

/// Bob, and a hand-made Alice in a conversation with him.
async fn bob_and_handmade_alice(seed: u64) -> (Lab, Person, HandMade) {
    let lab = Lab::new(seed);
    let bob = lab.start("bob", without_stock());
    let alice = HandMade::talking(&lab, "alice", "bob", bob.addr).await;
    (lab, bob, alice)
}

fn terms() -> CallTerms {
    CallTerms { suite: Suite::Aes256Gcm, bit_rate: 16_000, frame_ms: 20, packet_len: 40 }
}

fn offer(transfer: u32) -> Message {
    let (id, list_hash) = ([u8::try_from(transfer).expect("few"); 16], [7; 32]);
    let (suite, files, folders, bytes, list_len) = (Suite::Aes256Gcm, 1, 0, 1_000, 60);
    Message::FileOffer { transfer, terms: FileTerms { id, suite, files, folders, bytes, list_len, list_hash } }
}

/// A call rings at Bob's and is declined: the conversation lives.
async fn still_talks(bob: &Person, alice: &mut HandMade, call: u32) {
    alice.say(Message::Ring { call, terms: terms() }).await;
    alice.hear("the ringing", |message| *message == Message::Ringing { call }).await;
    bob.hang_up("alice", HangUpReason::Declined).await;
    let declined = Message::HangUp { call, reason: HangUpReason::Declined };
    alice.hear("that it is declined", |message| *message == declined).await;
    assert_eq!(bob.count(was_cut), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_a_thousand_forged_voice_packets_end_the_call_with_a_warning() {
    let (_lab, bob, mut alice) = bob_and_handmade_alice(97).await;
    alice.fill(1).await;
    let call = 2;
    alice.say(Message::Ring { call, terms: terms() }).await;
    bob.answer("alice", Tape::default().head(Mouth::Silence)).await;
    alice.hear("the answer", |message| *message == Message::Answer { call }).await;
    let mut sealer = alice.voice(call, 40).await;

    // True ones are heard. (Datagrams may be lost, so both are sent until they have done what they do.)
    let mut clock = interval(Duration::from_millis(2));
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut datagram = Vec::new();
    let heard = bob.saw("true packets", |event| matches!(event, Event::CallTick { stats, .. } if stats.received > 0));
    let mut heard = Box::pin(heard);
    loop {
        tokio::select! {
            () = &mut heard => break,
            _ = clock.tick() => {
                sealer.seal(&[1; 40], &mut datagram, alice.now()).expect("a fresh key");
                alice.connection.send_voice(datagram.clone().into()).expect("a connection");
            }
        }
    }
    drop(heard);
    // Forged ones have the right form, names and numbers, and a wrong tag.
    let mut seq = sealer.next_seq();
    *datagram.last_mut().expect("a tag") ^= 1;
    let mut ended = Box::pin(bob.call_ended());
    let (reason, by_contact, stats) = loop {
        tokio::select! {
            end = &mut ended => break end,
            _ = clock.tick() => for _ in 0..10 {
                seq += 1;
                datagram[9..13].copy_from_slice(&seq.to_be_bytes());
                alice.connection.send_voice(datagram.clone().into()).expect("a connection");
            }
        }
    };
    drop(ended);
    assert_eq!((reason, by_contact), (HangUpReason::Failed, false));
    let refused: u64 = stats.expect("a call that was taken").refused.values().sum();
    assert!(refused >= 1_024, "{refused} refused");
    bob.warned("too many forged voice packets").await;
    alice.hear("the end of the call", |message| matches!(message, Message::HangUp { .. })).await;
    still_talks(&bob, &mut alice, call + 2).await;
    bob.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_serves_one_call_and_one_transfer() {
    let (_lab, bob, mut alice) = bob_and_handmade_alice(96).await;
    still_talks(&bob, &mut alice, 40).await;
    // Used, lower than the last, and one of Bob's own.
    for call in [40, 38, 43] {
        alice.say(Message::Ring { call, terms: terms() }).await;
        let refused = Message::HangUp { call, reason: HangUpReason::Failed };
        alice.hear("that the call is refused", |message| *message == refused).await;
    }
    assert_eq!(bob.count(vernam_tests::lab::is_incoming), 1);

    alice.say(offer(42)).await;
    alice.hear("that the names are wanted", |message| *message == Message::FileList { transfer: 42 }).await;
    for transfer in [42, 40, 45] {
        alice.say(offer(transfer)).await;
        let refused = Message::FileStop { transfer, reason: FileStopReason::Number, missing: 0 };
        alice.hear("that the offer is refused", |message| *message == refused).await;
    }
    assert_eq!(bob.count(|event| matches!(event, Event::FileOffered { .. })), 0, "nobody has seen a name");
    still_talks(&bob, &mut alice, 44).await;
    bob.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_control_stream_is_not_listened_to() {
    let (_lab, bob, mut alice) = bob_and_handmade_alice(95).await;
    still_talks(&bob, &mut alice, 2).await;
    let mut second = alice.connection.open_uni().await.expect("a connection");
    second.write_all(&StreamHeader(FlowId::of::<Control>(0)).to_bytes()).await.expect("a connection");
    // Bob stops it: from then on nothing can be written to it.
    let stopped = async { while second.write_all(&[0x55; 1_000]).await.is_ok() {} };
    timeout(PATIENCE, stopped).await.expect("Bob stops the second stream");
    still_talks(&bob, &mut alice, 4).await;
    // One that is over at once ends nothing either.
    let mut third = alice.connection.open_uni().await.expect("a connection");
    third.write_all(&StreamHeader(FlowId::of::<Control>(0)).to_bytes()).await.expect("a connection");
    third.finish().expect("it is open");
    let _read_or_stopped = timeout(PATIENCE, third.stopped()).await.expect("Bob is done with it");
    still_talks(&bob, &mut alice, 6).await;
    assert_eq!(bob.count(|event| matches!(event, Event::Refused { .. })), 0);
    bob.stop().await;
}

/// How soon Bob's own commands are obeyed, whatever the other side does.
const SOON: Duration = Duration::from_secs(10);

/// Says what Bob answers, and reads no answer; in small heaps, so that what fills is her window, and not Bob's queue at
/// once. How many were said, and whether Bob still listens.
async fn flood(bob: &Person, alice: &mut HandMade, number: u32) -> (u32, bool) {
    for said in 0..number {
        if !alice.say(Message::Ring { call: 2, terms: terms() }).await {
            return (said, false);
        }
        if said.is_multiple_of(50) {
            let (reply, account) = oneshot::channel();
            bob.tell(Command::Account { contact: "alice".to_owned(), reply }).await;
            // Without a conversation there is no account, and the way for it is closed.
            let _account_or_over = timeout(SOON, account).await.expect("Bob obeys his own person all the while");
        }
    }
    (number, true)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_contact_that_floods_and_never_reads_is_given_up_with_words() {
    let (_lab, bob, mut alice) = bob_and_handmade_alice(94).await;
    still_talks(&bob, &mut alice, 2).await;
    let (said, listens) = flood(&bob, &mut alice, 200_000).await;
    assert!(!listens, "Bob keeps answers without an end");
    let why = bob.disconnected().await.expect("this is no proper end");
    assert!(why.contains("takes nothing any more"), "{why} (after {said})");
    timeout(SOON, bob.tell(Command::Disconnect { contact: "alice".to_owned() })).await.expect("it is taken");
    bob.warned("not connected").await;
    bob.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_contact_that_says_too_much_about_a_call_is_given_up() {
    let (_lab, bob, mut alice) = bob_and_handmade_alice(99).await;
    alice.say(Message::Ring { call: 2, terms: terms() }).await;
    bob.answer("alice", Tape::default().head(Mouth::Silence)).await;
    alice.hear("the answer", |message| *message == Message::Answer { call: 2 }).await;
    for said in 0..10_000 {
        if !alice.say(Message::Hold { call: 2, on: said % 2 == 0 }).await {
            break;
        }
    }
    let why = bob.disconnected().await.expect("this is no proper end");
    assert!(why.contains("too much about calls"), "{why}");
    assert_eq!(bob.call_ended().await.0, HangUpReason::Lost);
    let told = bob.count(|event| matches!(event, Event::Call { .. }));
    assert!(told < 200, "his person is told {told} things");
    bob.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bob_can_leave_a_contact_that_never_reads() {
    let (_lab, bob, mut alice) = bob_and_handmade_alice(98).await;
    still_talks(&bob, &mut alice, 2).await;
    // Not so many that Bob gives up by himself.
    let (_, listens) = flood(&bob, &mut alice, 400).await;
    assert!(listens);
    bob.tell(Command::Disconnect { contact: "alice".to_owned() }).await;
    let why = timeout(SOON, bob.disconnected()).await.expect("a conversation ends when it is told to");
    assert_eq!(why, None, "a proper end");
    bob.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pause_is_not_passed_by_taking_over_from_oneself() {
    let lab = Lab::new(193);
    let bob = lab.start("bob", without_stock());
    let eve = lab.endpoint("alice");
    let mut first = dial(&eve, &bob, Lane::Main).await;
    let mut served = 0;
    for _ in 0..12 {
        // Served is whoever is sent a control stream, which takes a handshake's key.
        match timeout(Duration::from_secs(8), first.accept_uni()).await {
            Ok(Ok(_stream)) => served += 1,
            _refused_or_late => break,
        }
        let second = dial(&eve, &bob, Lane::Main).await;
        first.close(0, "to be followed by the other");
        first = second;
    }
    assert!(served <= 4, "{served} of 12 were given a handshake's key without a pause");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_alone_does_not_cut_a_conversation_that_has_just_begun() {
    let lab = Lab::new(194);
    let [alice, bob] = lab.pair(setup(), setup());
    bob.connect("alice", alice.addr).await;
    for person in [&alice, &bob] {
        person.saw("the conversation", |event| matches!(event, Event::Established { .. })).await;
    }
    let eve = lab.endpoint("alice");
    let main = dial(&eve, &bob, Lane::Main).await;
    let answer = timeout(Duration::from_secs(20), main.closed()).await.unwrap().to_string();
    assert!(answer.contains("already connected"), "{answer}");
    assert_eq!((bob.count(was_cut), alice.count(was_cut)), (0, 0), "nobody is cut off");
}
