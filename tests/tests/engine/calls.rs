//! Calls that are not taken, not wanted, or over: every way out is said at both ends, and the next call works.

use vernam_engine::{Command, Event, PhoneEvent};
use vernam_session::{HangUpReason, Suite};
use vernam_tests::lab::voice::{Mouth, Tape, check};
use vernam_tests::lab::{Lab, Person, Setup, is_incoming, part};

use super::{begin, converse, end};

async fn two(seed: u64) -> (Lab, [Person; 2]) {
    let lab = Lab::new(seed);
    let setup = || Setup::with_mark(64 << 10).preferring(Suite::Otp);
    let pair = lab.talking(setup(), setup()).await;
    (lab, pair)
}

fn silence() -> Box<dyn vernam_engine::VoiceIo> {
    Tape::default().head(Mouth::Silence)
}

async fn still_works(pair: &[Person; 2]) {
    let (tapes, _) = converse(pair, Suite::Aes256Gcm, [Mouth::recorded("reader"), Mouth::Silence], 25).await;
    check(&tapes[0], &tapes[1]);
    check(&tapes[1], &tapes[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_declined_call_is_said_to_be_declined() {
    let (_lab, pair) = two(41).await;
    let [alice, bob] = &pair;
    alice.call("bob", Suite::Otp, silence()).await;
    alice.called("the ringing", |event| matches!(event, PhoneEvent::Ringing)).await;
    bob.hang_up("alice", HangUpReason::Declined).await;
    let (reason, by_contact, stats) = alice.call_ended().await;
    assert_eq!((reason, by_contact), (HangUpReason::Declined, true));
    assert!(stats.is_none(), "nothing was said");
    assert_eq!(bob.call_ended().await.0, HangUpReason::Declined);
    still_works(&pair).await;
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_hangs_up_while_it_rings_stops_the_ringing() {
    let (_lab, pair) = two(42).await;
    let [alice, bob] = &pair;
    alice.call("bob", Suite::Otp, silence()).await;
    bob.called("the call", |event| matches!(event, PhoneEvent::Incoming { .. })).await;
    alice.hang_up("bob", HangUpReason::HungUp).await;
    let (reason, by_contact, _) = bob.call_ended().await;
    assert_eq!((reason, by_contact), (HangUpReason::HungUp, true));
    // Too late: there is nothing to take any more.
    bob.tell(Command::Answer { contact: "alice".to_owned(), io: silence() }).await;
    bob.refused("alice is not calling").await;
    still_works(&pair).await;
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_call_in_the_same_conversation_is_refused_and_the_first_goes_on() {
    let (_lab, pair) = two(43).await;
    let tapes = begin(&pair, Suite::Otp, [Mouth::recorded("reader"), Mouth::recorded("commands")]).await;
    for (person, other) in [(&pair[0], "bob"), (&pair[1], "alice")] {
        person.call(other, Suite::Aes256Gcm, silence()).await;
        person.refused("there is a call").await;
    }
    tapes[0].until_played(50).await;
    tapes[1].until_played(50).await;
    end(&pair).await;
    check(&tapes[0], &tapes[1]);
    check(&tapes[1], &tapes[0]);
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_call_each_other_at_once_talk_at_once() {
    let (_lab, pair) = two(44).await;
    let [alice, bob] = &pair;
    let tapes = [Tape::default(), Tape::default()];
    tokio::join!(
        alice.call("bob", Suite::Otp, tapes[0].head(Mouth::recorded("reader"))),
        bob.call("alice", Suite::Otp, tapes[1].head(Mouth::recorded("commands")))
    );
    // Both wanted to talk: nobody has to answer. Where one call was there first it rings, and is taken.
    let talk = async |person: &Person, other: &str| {
        let rings = person.wait("an answer, or a call that came first", |events| {
            events.iter().find_map(|event| match event {
                Event::Call { event: PhoneEvent::Answered { .. }, .. } => Some(false),
                event => is_incoming(event).then_some(true),
            })
        });
        if rings.await {
            let tape = &tapes[usize::from(person.name == "bob")];
            person.tell(Command::Answer { contact: other.to_owned(), io: tape.head(Mouth::Silence) }).await;
        }
    };
    tokio::join!(talk(alice, "bob"), talk(bob, "alice"));
    for tape in &tapes {
        tape.until_played(25).await;
    }
    let calls: Vec<_> =
        pair.iter().map(|person| person.count(|event| matches!(event, Event::CallRecord { .. }))).collect();
    assert_eq!(calls, [0, 0], "one call, and it goes on");
    end(&pair).await;
    for (said, heard) in [(0, 1), (1, 0)] {
        check(&tapes[said], &tapes[heard]);
    }
    for person in &pair {
        person.forget();
    }
    still_works(&pair).await;
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suite_that_the_other_side_does_not_allow_is_not_used() {
    let lab = Lab::new(45);
    let mut only_otp = Setup::with_mark(32 << 10);
    only_otp.suites = vec![Suite::Otp];
    let pair = lab.talking(Setup::with_mark(32 << 10), only_otp).await;
    pair[0].call("bob", Suite::Aes256Gcm, silence()).await;
    pair[0].refused("not allowed").await;
    assert_eq!(pair[1].count(is_incoming), 0);
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_pulled_out_mid_call_leaves_the_other_told() {
    let (_lab, pair) = two(46).await;
    let tapes = begin(&pair, Suite::Otp, [Mouth::recorded("reader"), Mouth::recorded("commands")]).await;
    tapes[1].until_played(25).await;
    pair[0].cut();
    let (reason, _, stats) = pair[1].call_ended().await;
    assert_eq!(reason, HangUpReason::Lost);
    assert!(stats.is_some_and(|stats| stats.received >= 25));
    let why = pair[1].disconnected().await.expect("this is no proper end");
    assert!(why.contains("closed the connection"), "{why}");
    // She pulled it out herself; all the same she is told.
    pair[0].call_ended().await;
    pair[0].disconnected().await;
    check(&tapes[0], &tapes[1]);
    let [alice, bob] = pair;
    alice.stop().await;
    bob.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_ends_during_a_call_hangs_up() {
    let (_lab, pair) = two(47).await;
    let tapes = begin(&pair, Suite::Otp, [Mouth::recorded("reader"), Mouth::recorded("commands")]).await;
    tapes[1].until_played(10).await;
    let [alice, bob] = pair;
    alice.stop().await;
    let (reason, by_contact, _) = bob.call_ended().await;
    assert_eq!((reason, by_contact), (HangUpReason::HungUp, true));
    assert_eq!(bob.disconnected().await, None, "a proper end");
    bob.stop().await;
}
