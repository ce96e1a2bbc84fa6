//! What people do during calls: hold, mute, push to talk, take a second call, record, and change how a call is
//! protected. Whatever they do, voice keeps its size and its pace.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use vernam_audio::CodecSettings;
use vernam_engine::{CallProposal, CallStats, Command, Event, PhoneEvent, Transmit};
use vernam_session::{HangUpReason, Suite};
use vernam_tests::lab::voice::{Mouth, Tape, check, loudest};
use vernam_tests::lab::{Lab, Person, Setup, part};

use super::pace::one_pace;
use super::{begin, end};

/// Where the meter has fallen to this, dB below full scale, nothing has been heard for a second and more: speech is as
/// loud as can be here.
const QUIET: f64 = -25.0;
/// Speech is above this.
const SPEECH: f64 = -15.0;

async fn two(seed: u64) -> (Lab, [Person; 2]) {
    let lab = Lab::new(seed);
    let setup = || Setup::with_mark(512 << 10).preferring(Suite::Otp);
    let pair = lab.talking(setup(), setup()).await;
    (lab, pair)
}

/// A call under `suite` in which both speak, and are heard.
async fn speaking(pair: &[Person; 2], suite: Suite) -> [Tape; 2] {
    let tapes = begin(pair, suite, [Mouth::loud("reader"), Mouth::loud("commands")]).await;
    for person in pair {
        person.ticked("speech", is_heard).await;
    }
    tapes
}

fn is_heard(stats: &CallStats) -> bool {
    stats.heard_dbfs > SPEECH && stats.sending
}

fn is_quiet(stats: &CallStats) -> bool {
    stats.heard_dbfs < QUIET
}

/// Does something to a call and waits for what both see of it from then on.
async fn then(pair: &[Person; 2], person: usize, command: Command, sees: [impl Fn(&CallStats) -> bool; 2]) {
    for person in pair {
        person.forget();
    }
    pair[person].tell(command).await;
    for (person, sees) in pair.iter().zip(sees) {
        person.ticked("what it should have come to", sees).await;
    }
}

/// What a call's statistics should show.
type Sees = fn(&CallStats) -> bool;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mute_and_hold_and_push_to_talk_send_silence_of_the_same_size_at_the_same_pace() {
    let (_lab, pair) = two(201).await;
    let tapes = speaking(&pair, Suite::Aes256Gcm).await;
    let bob = || "bob".to_owned();
    let (yes, no): (Sees, Sees) = (is_heard, |stats| !stats.sending);

    // Muted: the contact hears nothing and is told; she hears him all the same.
    then(&pair, 0, Command::Mute(true), [|stats: &CallStats| !stats.sending && stats.heard_dbfs > SPEECH, is_quiet])
        .await;
    pair[1].called("that she is muted", |event| *event == PhoneEvent::Muted { on: true }).await;
    then(&pair, 0, Command::Mute(false), [yes, yes]).await;

    // Held: nobody hears anything.
    let hold = |on| Command::Hold { contact: bob(), on };
    then(&pair, 0, hold(true), [|stats: &CallStats| !stats.sending && is_quiet(stats); 2]).await;
    pair[1].called("that she holds", |event| *event == PhoneEvent::Held { on: true }).await;
    then(&pair, 0, hold(false), [yes, yes]).await;

    // Push-to-talk: silent but while the key is pressed.
    then(&pair, 0, Command::Transmit(Transmit::PushToTalk), [no, is_quiet]).await;
    then(&pair, 0, Command::Talk(true), [yes, yes]).await;
    then(&pair, 0, Command::Transmit(Transmit::Voice), [yes, yes]).await;

    // Deafened: neither heard nor hearing.
    then(&pair, 0, Command::Deafen(true), [|stats: &CallStats| !stats.sending && is_quiet(stats), is_quiet]).await;
    end(&pair).await;
    assert_eq!(one_pace(&tapes[0]), one_pace(&tapes[1]), "of one size");
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_caller_rings_beside_the_call_and_is_taken_while_the_first_is_held() {
    let lab = Lab::new(202);
    let setup = || {
        let mut setup = Setup::with_mark(64 << 10).preferring(Suite::Otp);
        setup.contacts = ["alice", "bob", "carol"].map(str::to_owned).to_vec();
        setup
    };
    let pair = lab.talking(setup(), setup()).await;
    let carol = lab.start("carol", setup());
    carol.connect("alice", pair[0].addr).await;
    carol.saw("the conversation", |event| matches!(event, Event::Established { .. })).await;
    let tapes = begin(&pair, Suite::Aes256Gcm, [Mouth::recorded("reader"), Mouth::recorded("commands")]).await;
    tapes[1].until_played(10).await;
    let [alice, bob] = &pair;

    let carols = Tape::default();
    carol.call("alice", Suite::Aes256Gcm, carols.head(Mouth::recorded("commands"))).await;
    alice.called("a second call", |event| matches!(event, PhoneEvent::Incoming { waiting: true, .. })).await;
    let hers = Tape::default();
    alice.answer("carol", hers.head(Mouth::recorded("reader"))).await;
    bob.called("that he is held", |event| *event == PhoneEvent::Held { on: true }).await;
    carol.called("the answer", |event| matches!(event, PhoneEvent::Answered { .. })).await;
    hers.until_played(25).await;
    carols.until_played(25).await;

    // And back: now the other one is held.
    alice.tell(Command::Hold { contact: "bob".to_owned(), on: false }).await;
    carol.called("that she is held", |event| *event == PhoneEvent::Held { on: true }).await;
    bob.called("that it goes on", |event| *event == PhoneEvent::Held { on: false }).await;
    carol.hang_up("alice", HangUpReason::HungUp).await;
    carol.call_ended().await;
    alice.call_ended().await;
    alice.forget();
    alice.hang_up("bob", HangUpReason::HungUp).await;
    assert_eq!(alice.call_ended().await.0, HangUpReason::HungUp);
    assert_eq!(bob.call_ended().await.0, HangUpReason::HungUp);
    for tape in [&tapes[0], &tapes[1], &hers, &carols] {
        one_pace(tape);
    }
    assert!(loudest(&hers) > 1_000 && loudest(&carols) > 1_000, "they heard each other");

    // Not to be disturbed, she is not called at all.
    alice.tell(Command::DoNotDisturb(true)).await;
    carol.forget();
    carol.call("alice", Suite::Aes256Gcm, Tape::default().head(Mouth::Silence)).await;
    assert_eq!(carol.call_ended().await.0, HangUpReason::NotDisturbed);
    carol.stop().await;
    part(pair).await;
}

fn proposal(suite: Suite) -> CallProposal {
    let codec = if suite == Suite::Otp { CodecSettings::one_time_pad() } else { CodecSettings::standard() };
    CallProposal { suite, codec }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_goes_from_one_time_pad_to_aes_and_back_without_losing_a_frame() {
    let (lab, pair) = two(203).await;
    let tapes = begin(&pair, Suite::Otp, [Mouth::recorded("reader"), Mouth::recorded("commands")]).await;
    tapes[1].until_played(25).await;
    let [alice, bob] = &pair;
    let bobs = || "bob".to_owned();
    let under = |suite| move |stats: &CallStats| stats.sent_under == suite && stats.received_under == suite;

    // Less protection: his person is asked, and says no, then yes.
    for yes in [false, true] {
        bob.forget();
        alice.tell(Command::ChangeTerms { contact: bobs(), proposal: proposal(Suite::Aes256Gcm) }).await;
        bob.called("the question", |event| matches!(event, PhoneEvent::ChangeAsked { .. })).await;
        bob.tell(Command::AnswerChange { contact: "alice".to_owned(), yes }).await;
        if !yes {
            alice.called("the no", |event| *event == PhoneEvent::ChangeDeclined).await;
            bob.ticked("one-time pad still", under(Suite::Otp)).await;
        }
    }
    for person in &pair {
        person.ticked("AES both ways", under(Suite::Aes256Gcm)).await;
    }
    tapes[1].until_played(75).await;

    // More protection: nobody need be asked.
    for person in &pair {
        person.forget();
    }
    bob.tell(Command::ChangeTerms { contact: "alice".to_owned(), proposal: proposal(Suite::Otp) }).await;
    for person in &pair {
        person.ticked("one-time pad both ways", under(Suite::Otp)).await;
    }
    assert_eq!(alice.count(|event| matches!(event, Event::Call { event: PhoneEvent::ChangeAsked { .. }, .. })), 0);
    let so_far = tapes[1].packets_played();
    tapes[1].until_played(so_far + 25).await;
    for person in &pair {
        person.forget();
    }
    let stats = end(&pair).await;
    for (stats, (said, heard)) in stats.iter().zip([(&tapes[1], &tapes[0]), (&tapes[0], &tapes[1])]) {
        // Every frame left, with the next number, in packets of 40, then 80, then 40 bytes.
        let sent = said.sent();
        assert!(sent.keys().copied().eq(0..u32::try_from(sent.len()).expect("a short call")), "numbers go on");
        let mut sizes: Vec<usize> = sent.values().map(|(packet, _)| packet.len()).collect();
        sizes.dedup();
        assert_eq!(sizes, [40, 80, 40]);
        assert_eq!((stats.unsent, stats.missing), (0, 0), "{stats:?}");
        check(said, heard);
    }
    let (record, _) = alice.call_record().await;
    assert_eq!(record.suites, [Suite::Otp, Suite::Aes256Gcm, Suite::Otp]);
    assert_eq!(lab.vault.collected_twice(), 0);
    part(pair).await;
}

/// Counts the frames that it is given.
struct Counter(Arc<AtomicUsize>);

impl vernam_engine::Tape for Counter {
    fn write(&mut self, said: &[i16], heard: &[i16]) {
        assert_eq!(said.len(), heard.len());
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_recorded_only_with_the_contacts_consent_and_as_long_as_it_lasts() {
    let (_lab, pair) = two(204).await;
    let tapes = begin(&pair, Suite::Aes256Gcm, [Mouth::Silence, Mouth::Silence]).await;
    let [alice, bob] = &pair;
    let frames = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let record = |frames: &Arc<AtomicUsize>| Command::Record {
        contact: "bob".to_owned(),
        tape: Some(Box::new(Counter(Arc::clone(frames)))),
    };
    let answer = |yes| Command::AnswerRecord { contact: "alice".to_owned(), yes };

    alice.tell(record(&frames[0])).await;
    bob.called("the question", |event| *event == PhoneEvent::RecordAsked).await;
    bob.tell(answer(false)).await;
    alice.called("the no", |event| *event == PhoneEvent::RecordDeclined).await;
    bob.forget();

    alice.tell(record(&frames[1])).await;
    bob.called("the question", |event| *event == PhoneEvent::RecordAsked).await;
    bob.tell(answer(true)).await;
    alice.called("the recording", |event| *event == PhoneEvent::Recorded { ours: true, on: true }).await;
    bob.called("the recording", |event| *event == PhoneEvent::Recorded { ours: false, on: true }).await;
    // The tone that says so is heard by both.
    for person in &pair {
        person.ticked("the tone", |stats| stats.heard_dbfs > -50.0).await;
    }
    // He may think better of it.
    bob.tell(answer(false)).await;
    alice.called("its end", |event| *event == PhoneEvent::Recorded { ours: true, on: false }).await;
    let so_far = tapes[0].sent().len();
    tapes[0].until_sent(so_far + 2).await;
    let written = frames[1].load(Ordering::Relaxed);
    tapes[0].until_sent(so_far + 25).await;
    assert_eq!(frames[0].load(Ordering::Relaxed), 0, "not a frame without consent");
    assert!(written > 0 && written == frames[1].load(Ordering::Relaxed), "{written} frames, and none after its end");
    end(&pair).await;
    one_pace(&tapes[0]);
    part(pair).await;
}
