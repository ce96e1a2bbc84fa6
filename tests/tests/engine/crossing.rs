//! Two people who want each other at the same moment get one call, whatever crosses on the way.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;
use tokio::time::timeout;
use vernam_engine::{Event, PhoneEvent};
use vernam_session::{HangUpReason, Suite};
use vernam_tests::lab::voice::{Mouth, Tape};
use vernam_tests::lab::{Lab, PATIENCE, Person, Setup, part};

/// Of the moments at which both call.
const SEED: u64 = 20_261_124;
/// Calls of both, one after the other.
const ROUNDS: usize = 40;

fn setup() -> Setup {
    Setup::with_mark(16 << 10)
}

async fn call(person: &Person, contact: &str, after: Duration, suite: Suite, tape: &Tape) {
    tokio::time::sleep(after).await;
    person.call(contact, suite, tape.head(Mouth::recorded("reader"))).await;
}

fn is_answer(event: &PhoneEvent) -> bool {
    matches!(event, PhoneEvent::Answered { .. })
}

/// Both are in one call and hear each other; then one of them ends it.
async fn talk_and_end(pair: &[Person; 2], tapes: &[Tape; 2], ends: usize) {
    for (person, tape) in pair.iter().zip(tapes) {
        person.called("the answer", is_answer).await;
        if timeout(PATIENCE / 2, tape.until_played(2)).await.is_err() {
            let [alice, bob] = [&pair[0], &pair[1]].map(Person::last_words);
            panic!("{} hears nothing; alice's last words:\n{alice}\nbob's:\n{bob}", person.name);
        }
    }
    pair[ends].hang_up(["bob", "alice"][ends], HangUpReason::HungUp).await;
    for person in pair {
        assert_eq!(person.call_ended().await.0, HangUpReason::HungUp, "{}", person.name);
    }
}

fn was_refused(event: &Event) -> bool {
    matches!(event, Event::Call { event: PhoneEvent::Refused { .. }, .. })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_call_each_other_at_about_the_same_moment_talk() {
    println!("seed {SEED}");
    let mut rng = ChaCha20Rng::seed_from_u64(SEED);
    let lab = Lab::new(220);
    let pair = lab.talking(setup(), setup()).await;
    for round in 0..ROUNDS {
        for person in &pair {
            person.forget();
        }
        let tapes = [Tape::default(), Tape::default()];
        let [hers, his] = [(); 2].map(|()| Duration::from_micros(rng.random_range(0..3_000)));
        tokio::join!(
            call(&pair[0], "bob", hers, Suite::Aes256Gcm, &tapes[0]),
            call(&pair[1], "alice", his, Suite::Aes256Gcm, &tapes[1]),
        );
        talk_and_end(&pair, &tapes, round % 2).await;
    }
    for person in &pair {
        let calls = person.count(|event| matches!(event, Event::CallRecord { .. }));
        assert_eq!((person.count(was_refused), calls), (0, ROUNDS), "{}", person.name);
    }
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_calls_while_it_rings_from_there_takes_that_call() {
    let lab = Lab::new(221);
    let pair = lab.talking(setup(), setup()).await;
    for (caller, called) in [(0, 1), (1, 0)] {
        for person in &pair {
            person.forget();
        }
        let tapes = [Tape::default(), Tape::default()];
        let names = ["alice", "bob"];
        call(&pair[caller], names[called], Duration::ZERO, Suite::Aes256Gcm, &tapes[caller]).await;
        pair[called].called("a ring", |event| matches!(event, PhoneEvent::Incoming { .. })).await;
        call(&pair[called], names[caller], Duration::ZERO, Suite::Aes256Gcm, &tapes[called]).await;
        talk_and_end(&pair, &tapes, called).await;
    }
    assert!(pair.iter().all(|person| person.count(was_refused) == 0));
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_wants_more_protection_than_the_call_that_rings_is_asked_and_then_heard() {
    let lab = Lab::new(222);
    let pair = lab.talking(Setup::with_mark(64 << 10), Setup::with_mark(64 << 10)).await;
    let tapes = [Tape::default(), Tape::default()];
    call(&pair[0], "bob", Duration::ZERO, Suite::Aes256Gcm, &tapes[0]).await;
    pair[1].called("a ring", |event| matches!(event, PhoneEvent::Incoming { .. })).await;
    // The sound of a call that he does not get, and then that of the one that he takes.
    let unheard = Tape::default();
    call(&pair[1], "alice", Duration::ZERO, Suite::Otp, &unheard).await;
    let twice = |events: &[Event]| {
        let rings = |event: &&Event| matches!(event, Event::Call { event: PhoneEvent::Incoming { .. }, .. });
        (events.iter().filter(rings).count() == 2).then_some(())
    };
    pair[1].wait("the question again", twice).await;
    assert_eq!(pair[0].count(|event| matches!(event, Event::Call { event, .. } if is_answer(event))), 0);
    pair[1].answer("alice", tapes[1].head(Mouth::recorded("commands"))).await;
    talk_and_end(&pair, &tapes, 0).await;
    assert_eq!(unheard.packets_played(), 0);
    part(pair).await;
}
