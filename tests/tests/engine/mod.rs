//! Two whole clients over real QUIC: what is heard, what shows on the wire, what leaks, and what happens when things fail.

mod adapting;
mod attacks;
mod calls;
mod crossing;
mod files;
mod heard;
mod hostile_names;
mod leaks;
mod pace;
mod pads;
mod people;
mod reconnecting;
mod stock;
mod telephone;
mod texts;

use vernam_engine::{CallStats, PhoneEvent};
use vernam_session::{HangUpReason, Suite};
use vernam_tests::lab::Person;
use vernam_tests::lab::voice::{Mouth, Tape};

/// A call from Alice to Bob, taken, in which each plays `packets` packets of the other, and which Alice ends.
async fn converse(pair: &[Person; 2], suite: Suite, mouths: [Mouth; 2], packets: usize) -> ([Tape; 2], [CallStats; 2]) {
    let tapes = begin(pair, suite, mouths).await;
    for tape in &tapes {
        tape.until_played(packets).await;
    }
    let stats = end(pair).await;
    (tapes, stats)
}

/// A call from Alice to Bob, taken.
async fn begin(pair: &[Person; 2], suite: Suite, mouths: [Mouth; 2]) -> [Tape; 2] {
    let [alice, bob] = pair;
    let tapes = [Tape::default(), Tape::default()];
    let [hers, his] = mouths;
    for person in pair {
        person.forget();
    }
    alice.call("bob", suite, tapes[0].head(hers)).await;
    bob.answer("alice", tapes[1].head(his)).await;
    for person in pair {
        person.called("the answer", |event| matches!(event, PhoneEvent::Answered { .. })).await;
    }
    tapes
}

/// Alice hangs up.
async fn end(pair: &[Person; 2]) -> [CallStats; 2] {
    pair[0].hang_up("bob", HangUpReason::HungUp).await;
    let [hers, his] = [pair[0].call_ended().await, pair[1].call_ended().await];
    assert_eq!((hers.0, hers.1), (HangUpReason::HungUp, false));
    assert_eq!((his.0, his.1), (HangUpReason::HungUp, true));
    [hers, his].map(|(_, _, stats)| stats.expect("a call that was taken has statistics"))
}
