//! What people expect of a telephone, one story each.

use super::world::{NAMES, World};
use super::*;

pub(super) const ALICE: usize = 0;
pub(super) const BOB: usize = 1;
pub(super) const CAROL: usize = 2;

pub(super) fn name(i: usize) -> String {
    NAMES[i].to_owned()
}

pub(super) fn call(world: &mut World, i: usize, j: usize, terms: CallTerms) {
    let number = world.number(i, j);
    world.input(i, Input::Call { contact: name(j), number, terms });
}

pub(super) fn answer(world: &mut World, i: usize, j: usize) {
    world.input(i, Input::Answer { contact: name(j) });
    world.deliver_all();
}

pub(super) fn hang_up(world: &mut World, i: usize, j: usize) {
    world.input(i, Input::HangUp { contact: name(j), reason: HangUpReason::HungUp });
    world.deliver_all();
}

pub(super) fn hold(world: &mut World, i: usize, j: usize, on: bool) {
    world.input(i, Input::Hold { contact: name(j), on });
    world.deliver_all();
}

pub(super) fn change(world: &mut World, i: usize, j: usize, terms: CallTerms) {
    let number = world.number(i, j);
    world.input(i, Input::Change { contact: name(j), number, terms });
}

pub(super) fn rings(people: usize, terms: CallTerms) -> World {
    let mut world = World::new(people, 4);
    call(&mut world, ALICE, BOB, terms);
    world.deliver_all();
    world
}

pub(super) fn talks(people: usize, terms: CallTerms) -> World {
    let mut world = rings(people, terms);
    answer(&mut world, BOB, ALICE);
    world
}

pub(super) fn reconnect(world: &mut World, i: usize, j: usize) {
    world.new_session(i, j);
    world.establish(i, j);
    world.establish(j, i);
    world.deliver_all();
}

/// The last thing that `i` was told.
pub(super) fn last_told(world: &World, i: usize) -> Option<&PhoneEvent> {
    world.told.iter().rev().find(|(own, ..)| *own == i).map(|(.., event)| event)
}

pub(super) fn was_told(world: &World, i: usize, event: &PhoneEvent) -> usize {
    world.told.iter().filter(|(own, _, told)| *own == i && told == event).count()
}

pub(super) fn last_note(world: &World, i: usize) -> &CallRecord {
    &world.notes.iter().rev().find(|(own, _)| *own == i).unwrap().1
}

/// Why the last call of `i` ended and whether its contact ended it, if that was told last.
pub(super) fn last_end(world: &World, i: usize) -> Option<(HangUpReason, bool)> {
    match *last_told(world, i)? {
        PhoneEvent::Ended { reason, by_contact, .. } => Some((reason, by_contact)),
        _ => None,
    }
}

#[test]
fn a_call_rings_is_taken_and_ends() {
    let mut world = rings(2, otp());
    assert_eq!(world.state(ALICE, BOB), Some(CallState::Ringing));
    assert_eq!(world.state(BOB, ALICE), Some(CallState::Incoming));
    assert_eq!(world.tones, [Some(Tone::Ringback), Some(Tone::Ring)]);
    assert_eq!(last_told(&world, BOB), Some(&PhoneEvent::Incoming { terms: otp(), waiting: false }));
    world.pass(secs(5));
    answer(&mut world, BOB, ALICE);
    assert_eq!(world.tones, [None, None]);
    assert_eq!((world.sound(ALICE, BOB), world.sound(BOB, ALICE)), (Some((true, true)), Some((true, true))));
    world.pass(secs(60));
    hang_up(&mut world, ALICE, BOB);
    assert_eq!(world.tones, [None, Some(Tone::Ended)], "whoever hangs up knows it");
    world.pass(secs(2));
    assert_eq!(world.tones, [None, None]);
    let note = last_note(&world, BOB);
    assert_eq!((note.began, note.answered, note.ended), (secs(100), Some(secs(105)), secs(165)));
    assert_eq!((note.ours, note.by_contact, note.reason), (false, true, HangUpReason::HungUp));
    assert_eq!((&note.suites, note.resumed), (&vec![Suite::Otp], 0));
    assert_eq!(world.notes.len(), 2);
}

#[test]
fn declining_is_heard_as_busy() {
    let mut world = rings(2, otp());
    hang_up(&mut world, BOB, ALICE);
    assert_eq!(last_end(&world, ALICE), Some((HangUpReason::Declined, true)));
    assert_eq!(world.tones, [Some(Tone::Busy), None]);
    world.pass(secs(4));
    assert_eq!(world.tones, [None, None]);
    assert_eq!(last_note(&world, BOB).reason, HangUpReason::Declined);
}

#[test]
fn nobody_answers_and_it_is_a_missed_call() {
    let mut world = rings(2, otp());
    world.pass(RING_FOR);
    world.deliver_all();
    assert_eq!(last_end(&world, ALICE), Some((HangUpReason::NoAnswer, false)));
    let missed = last_note(&world, BOB);
    assert_eq!((missed.answered, missed.reason, missed.ours), (None, HangUpReason::NoAnswer, false));
    assert!(missed.suites.is_empty());
}

#[test]
fn a_caller_that_vanishes_does_not_ring_for_ever() {
    let mut world = rings(2, otp());
    world.phones[ALICE] = Phone::new(settings("alice", 4));
    world.pass(RING_FOR + secs(10));
    assert_eq!(world.view(BOB, ALICE), None);
}

#[test]
fn who_cancels_while_the_other_answers_is_not_in_a_call() {
    let mut world = rings(2, otp());
    world.input(BOB, Input::Answer { contact: name(ALICE) });
    hang_up(&mut world, ALICE, BOB);
    assert_eq!((world.view(ALICE, BOB), world.view(BOB, ALICE)), (None, None));
    assert_eq!(last_note(&world, ALICE).answered, None);
}

#[test]
fn when_both_ring_the_smaller_name_s_call_stands_and_both_talk_at_once() {
    let mut world = World::new(2, 4);
    call(&mut world, BOB, ALICE, otp());
    call(&mut world, ALICE, BOB, terms(Suite::Otp, 12_000));
    world.deliver_all();
    for (i, j) in [(ALICE, BOB), (BOB, ALICE)] {
        let view = world.view(i, j).unwrap();
        assert_eq!((view.state, view.terms.bit_rate, view.ours), (CallState::Active, 12_000, i == ALICE));
    }
    world.settle();
    hang_up(&mut world, BOB, ALICE);
    assert_eq!(world.notes.len(), 2, "one call");
    assert!(world.notes.iter().all(|(_, note)| note.answered.is_some()));
}

#[test]
fn when_both_ring_nobody_gets_less_protection_than_asked_for_unasked() {
    let mut world = World::new(2, 4);
    call(&mut world, BOB, ALICE, otp());
    call(&mut world, ALICE, BOB, aes());
    world.deliver_all();
    assert_eq!(world.state(BOB, ALICE), Some(CallState::Incoming));
    assert_eq!(last_told(&world, BOB), Some(&PhoneEvent::Incoming { terms: aes(), waiting: false }));
    answer(&mut world, BOB, ALICE);
    assert_eq!(world.state(ALICE, BOB), Some(CallState::Active));
}

#[test]
fn who_calls_somebody_that_is_just_ringing_takes_that_call() {
    for (caller, called) in [(ALICE, BOB), (BOB, ALICE)] {
        let mut world = World::new(2, 4);
        call(&mut world, caller, called, otp());
        world.deliver_all();
        call(&mut world, called, caller, terms(Suite::Otp, 12_000));
        world.deliver_all();
        for (i, j) in [(ALICE, BOB), (BOB, ALICE)] {
            let view = world.view(i, j).unwrap();
            assert_eq!((view.state, view.terms, view.ours), (CallState::Active, otp(), i == caller));
        }
        world.settle();
        hang_up(&mut world, called, caller);
        assert_eq!(world.notes.len(), 2, "one call");
    }
}

#[test]
fn who_calls_somebody_that_rings_with_less_protection_is_asked_and_never_given_less() {
    let mut world = rings(2, aes());
    call(&mut world, BOB, ALICE, otp());
    world.deliver_all();
    assert_eq!(
        (world.state(BOB, ALICE), world.state(ALICE, BOB)),
        (Some(CallState::Incoming), Some(CallState::Ringing))
    );
    assert_eq!(last_told(&world, BOB), Some(&PhoneEvent::Incoming { terms: aes(), waiting: false }));
    answer(&mut world, BOB, ALICE);
    assert_eq!(world.state(ALICE, BOB), Some(CallState::Active));
    // More than was asked for is no question.
    let mut world = rings(2, otp());
    call(&mut world, BOB, ALICE, aes());
    assert_eq!(world.view(BOB, ALICE).unwrap().terms, otp());
    assert_eq!(world.state(BOB, ALICE), Some(CallState::Active));
}

#[test]
fn a_contact_that_was_started_anew_rings_and_is_not_in_the_old_call() {
    for taken in [true, false] {
        let mut world = rings(2, otp());
        if taken {
            answer(&mut world, BOB, ALICE);
        }
        world.lose(BOB, ALICE);
        world.phones[ALICE] = Phone::new(settings("alice", 4));
        world.forget(ALICE);
        reconnect(&mut world, ALICE, BOB);
        assert_eq!(world.state(BOB, ALICE), Some(CallState::Reconnecting));
        call(&mut world, ALICE, BOB, otp());
        world.deliver_all();
        let old = last_note(&world, BOB);
        assert_eq!((old.reason, old.answered.is_some()), (HangUpReason::StartedAnew, taken));
        assert_eq!((world.state(BOB, ALICE), world.tones[BOB]), (Some(CallState::Incoming), Some(Tone::Ring)));
        assert_eq!(world.state(ALICE, BOB), Some(CallState::Ringing));
        answer(&mut world, BOB, ALICE);
        assert_eq!(world.state(ALICE, BOB), Some(CallState::Active));
        world.settle();
    }
}

#[test]
fn a_caller_that_forgot_the_call_and_is_called_back_by_its_number_rings_too() {
    let mut world = talks(2, otp());
    world.lose(ALICE, BOB);
    world.phones[BOB] = Phone::new(settings("bob", 4));
    world.forget(BOB);
    reconnect(&mut world, ALICE, BOB);
    call(&mut world, BOB, ALICE, otp());
    world.deliver_all();
    assert_eq!(
        (world.state(ALICE, BOB), world.state(BOB, ALICE)),
        (Some(CallState::Incoming), Some(CallState::Ringing))
    );
    world.settle();
}

#[test]
fn a_call_that_nobody_had_heard_of_being_taken_goes_on_and_rings_no_more() {
    // Bob's answer is lost with the conversation: Alice rings again, by the number for that.
    let mut world = rings(2, otp());
    world.input(BOB, Input::Answer { contact: name(ALICE) });
    reconnect(&mut world, ALICE, BOB);
    assert_eq!((world.state(ALICE, BOB), world.state(BOB, ALICE)), (Some(CallState::Active), Some(CallState::Active)));
    assert!(world.notes.is_empty(), "the same call");
    world.settle();
}

#[test]
fn who_hangs_up_just_after_the_contact_did_is_told_nothing() {
    let mut world = talks(2, otp());
    hang_up(&mut world, ALICE, BOB);
    world.input(BOB, Input::HangUp { contact: name(ALICE), reason: HangUpReason::HungUp });
    assert_eq!(last_end(&world, BOB), Some((HangUpReason::HungUp, true)));
    world.pass(secs(2));
    world.input(BOB, Input::HangUp { contact: name(ALICE), reason: HangUpReason::HungUp });
    assert!(matches!(last_told(&world, BOB), Some(PhoneEvent::Refused { .. })));
}

#[test]
fn a_call_that_is_declined_as_too_weak_says_so_and_is_a_missed_one() {
    let mut world = rings(2, aes());
    world.input(BOB, Input::HangUp { contact: name(ALICE), reason: HangUpReason::Weaker });
    world.deliver_all();
    assert_eq!(last_end(&world, ALICE), Some((HangUpReason::Weaker, true)));
    assert_eq!((world.tones[ALICE], last_note(&world, BOB).answered), (Some(Tone::Busy), None));
}

#[test]
fn a_second_call_waits_and_taking_it_holds_the_first() {
    let mut world = talks(3, otp());
    call(&mut world, CAROL, BOB, aes());
    world.deliver_all();
    assert_eq!(world.tones[BOB], Some(Tone::Waiting));
    assert_eq!(last_told(&world, BOB), Some(&PhoneEvent::Incoming { terms: aes(), waiting: true }));
    answer(&mut world, BOB, CAROL);
    assert_eq!((world.sound(BOB, ALICE), world.sound(BOB, CAROL)), (Some((false, false)), Some((true, true))));
    assert_eq!((world.sound(ALICE, BOB), world.tones[ALICE]), (Some((false, false)), Some(Tone::OnHold)));
    let order: Vec<_> = world.phones[BOB].calls().into_iter().map(|view| view.contact).collect();
    assert_eq!(order, ["carol", "alice"], "the one that is heard first");
    hold(&mut world, BOB, ALICE, false);
    assert_eq!((world.state(BOB, ALICE), world.state(BOB, CAROL)), (Some(CallState::Active), Some(CallState::Held)));
    assert_eq!(world.tones, [None, None, Some(Tone::OnHold)]);
}

#[test]
fn who_calls_holds_and_what_was_taken_meanwhile_stays_heard() {
    let mut world = talks(3, otp());
    call(&mut world, ALICE, CAROL, otp());
    world.deliver_all();
    assert_eq!(world.state(ALICE, BOB), Some(CallState::Held));
    assert_eq!(world.tones[ALICE], Some(Tone::Ringback));
    hold(&mut world, ALICE, BOB, false);
    answer(&mut world, CAROL, ALICE);
    assert_eq!((world.state(ALICE, BOB), world.state(ALICE, CAROL)), (Some(CallState::Active), Some(CallState::Held)));
    assert_eq!(world.tones[CAROL], Some(Tone::OnHold));
}

#[test]
fn both_may_hold() {
    let mut world = talks(2, otp());
    hold(&mut world, ALICE, BOB, true);
    hold(&mut world, BOB, ALICE, true);
    hold(&mut world, ALICE, BOB, false);
    let view = world.view(ALICE, BOB).unwrap();
    assert_eq!((view.state, view.held_by_contact), (CallState::Active, true));
    assert_eq!(world.sound(ALICE, BOB), Some((false, false)));
    hold(&mut world, BOB, ALICE, false);
    assert_eq!((world.sound(ALICE, BOB), world.sound(BOB, ALICE)), (Some((true, true)), Some((true, true))));
}

#[test]
fn more_calls_than_there_may_be_are_busy() {
    let mut world = World::new(3, 1);
    call(&mut world, ALICE, BOB, otp());
    world.deliver_all();
    answer(&mut world, BOB, ALICE);
    call(&mut world, CAROL, BOB, otp());
    world.deliver_all();
    assert_eq!(last_end(&world, CAROL), Some((HangUpReason::Busy, true)));
    assert_eq!(world.tones[CAROL], Some(Tone::Busy));
    assert_eq!((last_note(&world, BOB).reason, last_note(&world, BOB).answered), (HangUpReason::Busy, None));
    call(&mut world, ALICE, CAROL, otp());
    assert!(matches!(last_told(&world, ALICE), Some(PhoneEvent::Refused { .. })));
}

#[test]
fn muted_and_deafened_send_silence_and_the_contact_knows() {
    let mut world = talks(2, otp());
    world.input(ALICE, Input::Mute(true));
    world.deliver_all();
    assert_eq!(world.sound(ALICE, BOB), Some((false, true)));
    assert_eq!(last_told(&world, BOB), Some(&PhoneEvent::Muted { on: true }));
    world.input(ALICE, Input::Deafen(true));
    assert_eq!(world.sound(ALICE, BOB), Some((false, false)));
    world.input(ALICE, Input::Mute(false));
    world.deliver_all();
    assert!(world.view(BOB, ALICE).unwrap().muted_by_contact, "a deafened telephone sends nothing");
    world.input(ALICE, Input::Deafen(false));
    world.deliver_all();
    assert_eq!(
        (world.sound(ALICE, BOB), was_told(&world, BOB, &PhoneEvent::Muted { on: true })),
        (Some((true, true)), 1)
    );
    assert!(!world.view(BOB, ALICE).unwrap().muted_by_contact);
}

#[test]
fn who_is_not_to_be_disturbed_sounds_busy_and_finds_the_missed_call() {
    let mut world = World::new(2, 4);
    world.input(BOB, Input::DoNotDisturb(true));
    call(&mut world, ALICE, BOB, otp());
    world.deliver_all();
    assert_eq!(last_end(&world, ALICE), Some((HangUpReason::NotDisturbed, true)));
    assert_eq!(world.tones, [Some(Tone::Busy), None]);
    assert_eq!(last_told(&world, BOB), None, "not a word");
    assert_eq!((last_note(&world, BOB).reason, last_note(&world, BOB).answered), (HangUpReason::NotDisturbed, None));
}

#[test]
fn a_call_that_the_policy_forbids_is_refused_at_both_ends() {
    let mut world = World::new(2, 4);
    world.input(ALICE, Input::Policy { contact: name(BOB), policy: Policy::OtpOnly });
    call(&mut world, ALICE, BOB, aes());
    assert!(matches!(last_told(&world, ALICE), Some(PhoneEvent::Refused { .. })));
    call(&mut world, BOB, ALICE, aes());
    world.deliver_all();
    assert_eq!(last_end(&world, BOB), Some((HangUpReason::Failed, true)));
    assert!(matches!(last_told(&world, ALICE), Some(PhoneEvent::Refused { .. })));
}

#[test]
fn stronger_terms_need_no_question() {
    let mut world = talks(2, aes());
    change(&mut world, ALICE, BOB, otp());
    world.deliver_all();
    for (i, j) in [(ALICE, BOB), (BOB, ALICE)] {
        assert_eq!(world.view(i, j).unwrap().terms, otp());
        assert_eq!(last_told(&world, i), Some(&PhoneEvent::Changed { terms: otp() }));
    }
    hang_up(&mut world, ALICE, BOB);
    assert_eq!(last_note(&world, BOB).suites, [Suite::Aes256Gcm, Suite::Otp]);
}

#[test]
fn weaker_terms_need_a_yes_of_both() {
    let mut world = talks(2, otp());
    for yes in [false, true] {
        change(&mut world, ALICE, BOB, aes());
        world.deliver_all();
        assert_eq!(last_told(&world, BOB), Some(&PhoneEvent::ChangeAsked { terms: aes() }));
        assert_eq!(world.view(BOB, ALICE).unwrap().terms, otp());
        world.input(BOB, Input::AnswerChange { contact: name(ALICE), yes });
        world.deliver_all();
        assert_eq!(world.view(ALICE, BOB).unwrap().terms, if yes { aes() } else { otp() });
    }
    assert_eq!(was_told(&world, ALICE, &PhoneEvent::ChangeDeclined), 1);
}

#[test]
fn silence_is_no_yes() {
    let mut world = talks(2, otp());
    change(&mut world, ALICE, BOB, aes());
    world.deliver_all();
    world.pass(secs(30));
    world.deliver_all();
    assert_eq!(last_told(&world, ALICE), Some(&PhoneEvent::ChangeDeclined));
}

#[test]
fn when_both_ask_the_smaller_name_s_wish_stands() {
    for (from, first, second) in
        [(aes(), otp(), terms(Suite::Otp, 12_000)), (otp(), aes(), terms(Suite::ChaCha20Poly1305, 24_000))]
    {
        let mut world = talks(2, from);
        change(&mut world, BOB, ALICE, second);
        change(&mut world, ALICE, BOB, first);
        world.deliver_all();
        assert_eq!((world.view(ALICE, BOB).unwrap().terms, world.view(BOB, ALICE).unwrap().terms), (first, first));
        world.settle();
    }
}

#[test]
fn who_asked_for_more_is_still_asked_before_getting_less() {
    let mut world = talks(2, otp());
    change(&mut world, BOB, ALICE, terms(Suite::Otp, 12_000));
    change(&mut world, ALICE, BOB, aes());
    world.deliver_all();
    assert_eq!(last_told(&world, BOB), Some(&PhoneEvent::ChangeAsked { terms: aes() }));
    world.settle();
    assert_eq!(world.view(ALICE, BOB).unwrap().terms, otp());
}

#[test]
fn terms_that_make_no_sense_are_refused() {
    let wrong = [
        terms(Suite::Otp, 5_999),
        terms(Suite::Otp, 128_001),
        CallTerms { packet_len: 41, ..otp() },
        CallTerms { frame_ms: 10, packet_len: 20, ..otp() },
        CallTerms { frame_ms: 0, packet_len: 0, ..otp() },
    ];
    let mut world = talks(2, otp());
    for (count, terms) in wrong.into_iter().enumerate() {
        change(&mut world, ALICE, BOB, terms);
        assert!(matches!(last_told(&world, ALICE), Some(PhoneEvent::Refused { .. })));
        let call = world.view(BOB, ALICE).unwrap().call;
        let new = 1_000 + u32::try_from(count).unwrap();
        world.input(BOB, Input::Message { contact: name(ALICE), message: Message::ChangeAsk { call, new, terms } });
        assert_eq!(world.sent.last(), Some(&(BOB, Message::ChangeAnswer { new, yes: false })));
    }
}

#[test]
fn the_end_of_the_pad_is_announced() {
    let mut world = talks(2, otp());
    for seconds in [400, 299, 200, 61, 60, 59, 45, 30, 29, 9, 3] {
        world.input(ALICE, Input::TalkLeft { contact: name(BOB), seconds });
    }
    let told: Vec<_> = world.told.iter().filter(|(own, ..)| *own == ALICE).map(|(.., event)| event.clone()).collect();
    let announced: Vec<_> = [299, 60, 30, 9].map(|seconds| PhoneEvent::TalkLeft { seconds }).to_vec();
    assert!(announced.iter().all(|event| told.contains(event)));
    assert_eq!(told.iter().filter(|event| matches!(event, PhoneEvent::TalkLeft { .. })).count(), 4);
    assert_eq!(was_told(&world, ALICE, &PhoneEvent::WeakerWanted), 1, "asked once");
}

#[test]
fn without_a_yes_the_call_ends_with_its_pad() {
    for policy in [Policy::OtpOnly, Policy::PreferOtp] {
        let mut world = talks(2, otp());
        world.input(ALICE, Input::Policy { contact: name(BOB), policy });
        world.input(ALICE, Input::TalkLeft { contact: name(BOB), seconds: 20 });
        assert_eq!(was_told(&world, ALICE, &PhoneEvent::WeakerWanted), usize::from(policy == Policy::PreferOtp));
        let call = world.view(ALICE, BOB).unwrap().call;
        world.input(ALICE, Input::KeyUsedUp { contact: name(BOB), call });
        world.deliver_all();
        assert_eq!(last_end(&world, BOB), Some((HangUpReason::KeyUsedUp, true)));
    }
}

#[test]
fn a_call_without_pad_waits_for_the_second_yes() {
    for yes in [Some(true), Some(false), None] {
        let mut world = talks(2, otp());
        change(&mut world, ALICE, BOB, aes());
        world.deliver_all();
        let call = world.view(ALICE, BOB).unwrap().call;
        world.input(ALICE, Input::KeyUsedUp { contact: name(BOB), call });
        assert_eq!(world.state(ALICE, BOB), Some(CallState::Active));
        if let Some(yes) = yes {
            world.input(BOB, Input::AnswerChange { contact: name(ALICE), yes });
        }
        world.settle();
        assert_eq!(world.view(ALICE, BOB).is_some(), yes == Some(true));
    }
}

#[test]
fn a_recording_needs_the_contact_s_yes_and_ends_with_it() {
    let mut world = talks(2, otp());
    world.input(ALICE, Input::Record { contact: name(BOB), on: true });
    world.deliver_all();
    assert!(!world.writes(ALICE, BOB));
    assert_eq!(last_told(&world, BOB), Some(&PhoneEvent::RecordAsked));
    world.input(BOB, Input::AnswerRecord { contact: name(ALICE), yes: true });
    world.deliver_all();
    assert!(world.writes(ALICE, BOB));
    hold(&mut world, BOB, ALICE, true);
    assert!(world.writes(ALICE, BOB), "a held call is still recorded: there is nothing to hear in it");
    world.input(BOB, Input::AnswerRecord { contact: name(ALICE), yes: false });
    world.deliver_all();
    assert!(!world.writes(ALICE, BOB));
    assert_eq!(last_told(&world, ALICE), Some(&PhoneEvent::Recorded { ours: true, on: false }));
    // Asked again, declined.
    world.input(ALICE, Input::Record { contact: name(BOB), on: true });
    world.deliver_all();
    world.input(BOB, Input::AnswerRecord { contact: name(ALICE), yes: false });
    world.deliver_all();
    assert_eq!(last_told(&world, ALICE), Some(&PhoneEvent::RecordDeclined));
}

#[test]
fn a_yes_to_an_earlier_wish_is_none_to_a_later_one() {
    let mut world = talks(2, otp());
    for on in [true, false, true] {
        world.input(ALICE, Input::Record { contact: name(BOB), on });
    }
    world.deliver(ALICE, BOB);
    world.input(BOB, Input::AnswerRecord { contact: name(ALICE), yes: true });
    world.deliver_all();
    assert!(!world.writes(ALICE, BOB) && !world.view(BOB, ALICE).unwrap().recorded_by_contact);
    world.input(BOB, Input::AnswerRecord { contact: name(ALICE), yes: true });
    world.deliver_all();
    assert!(world.writes(ALICE, BOB));
}

#[test]
fn a_call_survives_its_connection_with_all_that_was_agreed() {
    let mut world = talks(2, aes());
    world.input(ALICE, Input::Record { contact: name(BOB), on: true });
    world.deliver_all();
    world.input(BOB, Input::AnswerRecord { contact: name(ALICE), yes: true });
    world.deliver_all();
    world.input(BOB, Input::Mute(true));
    world.lose(ALICE, BOB);
    assert_eq!(
        (world.state(ALICE, BOB), world.tones[ALICE]),
        (Some(CallState::Reconnecting), Some(Tone::Reconnecting))
    );
    assert_eq!(last_told(&world, ALICE), Some(&PhoneEvent::Reconnecting));
    assert!(!world.writes(ALICE, BOB));
    world.lose(BOB, ALICE);
    hold(&mut world, ALICE, BOB, true);
    world.pass(secs(20));
    reconnect(&mut world, ALICE, BOB);
    assert_eq!(world.state(ALICE, BOB), Some(CallState::Held));
    let view = world.view(BOB, ALICE).unwrap();
    assert!(view.held_by_contact && view.recorded_by_contact && view.state == CallState::Active);
    assert!(world.writes(ALICE, BOB), "no new consent is needed");
    assert!(world.view(ALICE, BOB).unwrap().muted_by_contact);
    assert_eq!(was_told(&world, BOB, &PhoneEvent::RecordAsked), 1);
    hang_up(&mut world, ALICE, BOB);
    assert_eq!((last_note(&world, ALICE).resumed, last_note(&world, BOB).resumed), (1, 1));
}

#[test]
fn consent_taken_back_while_away_is_not_forgotten() {
    let mut world = talks(2, otp());
    world.input(ALICE, Input::Record { contact: name(BOB), on: true });
    world.deliver_all();
    world.input(BOB, Input::AnswerRecord { contact: name(ALICE), yes: true });
    world.deliver_all();
    world.lose(BOB, ALICE);
    world.input(BOB, Input::AnswerRecord { contact: name(ALICE), yes: false });
    reconnect(&mut world, ALICE, BOB);
    assert!(!world.writes(ALICE, BOB));
    assert_eq!(was_told(&world, BOB, &PhoneEvent::RecordAsked), 1, "nor is the person asked once more");
}

#[test]
fn a_silence_of_the_network_passes() {
    let mut world = talks(2, otp());
    world.lose(BOB, ALICE);
    world.pass(secs(10));
    world.back(BOB, ALICE);
    assert_eq!((world.state(BOB, ALICE), world.sound(BOB, ALICE)), (Some(CallState::Active), Some((true, true))));
    world.settle();
    assert!(world.view(ALICE, BOB).is_some());
}

#[test]
fn a_connection_that_does_not_come_back_ends_the_call() {
    let mut world = talks(2, otp());
    world.lose(ALICE, BOB);
    world.lose(BOB, ALICE);
    world.pass(RECONNECT_FOR.saturating_sub(secs(1)));
    assert_eq!(world.state(ALICE, BOB), Some(CallState::Reconnecting));
    world.pass(secs(1));
    for i in [ALICE, BOB] {
        assert_eq!(last_end(&world, i), Some((HangUpReason::Lost, false)));
        assert_eq!(last_note(&world, i).reason, HangUpReason::Lost);
    }
}

#[test]
fn who_hangs_up_while_away_ends_the_call_for_both() {
    for (i, j) in [(ALICE, BOB), (BOB, ALICE)] {
        let mut world = talks(2, otp());
        world.lose(ALICE, BOB);
        world.lose(BOB, ALICE);
        hang_up(&mut world, i, j);
        reconnect(&mut world, ALICE, BOB);
        assert_eq!(last_end(&world, j), Some((HangUpReason::HungUp, true)));
        assert_eq!((world.view(ALICE, BOB), world.view(BOB, ALICE)), (None, None));
    }
}

#[test]
fn it_goes_on_ringing_after_the_connection_was_away() {
    let mut world = rings(2, otp());
    world.lose(BOB, ALICE);
    assert_eq!(world.tones[BOB], None);
    reconnect(&mut world, ALICE, BOB);
    assert_eq!(world.tones, [Some(Tone::Ringback), Some(Tone::Ring)]);
    answer(&mut world, BOB, ALICE);
    assert_eq!(world.state(ALICE, BOB), Some(CallState::Active));
    hang_up(&mut world, BOB, ALICE);
    assert_eq!(world.notes.len(), 2);
}

#[test]
fn an_answer_lost_on_its_way_is_given_again() {
    let mut world = rings(2, otp());
    world.input(BOB, Input::Answer { contact: name(ALICE) });
    reconnect(&mut world, ALICE, BOB);
    assert_eq!((world.state(ALICE, BOB), world.state(BOB, ALICE)), (Some(CallState::Active), Some(CallState::Active)));
}

#[test]
fn terms_no_longer_allowed_end_a_lost_call() {
    let mut world = talks(2, aes());
    world.allow(&[Suite::Otp]);
    reconnect(&mut world, ALICE, BOB);
    assert_eq!((world.view(ALICE, BOB), world.view(BOB, ALICE)), (None, None));
    assert_eq!(last_note(&world, ALICE).reason, HangUpReason::Lost);
}

#[test]
fn a_goodbye_ends_the_call() {
    let mut world = talks(2, otp());
    world.over(BOB, ALICE);
    assert_eq!(last_end(&world, BOB), Some((HangUpReason::HungUp, true)));
    world.settle();
    assert_eq!(world.view(ALICE, BOB), None);
}

#[test]
fn messages_about_calls_that_are_not_are_passed_over() {
    let mut world = World::new(2, 4);
    let call = 77;
    let messages = [
        Message::Ringing { call },
        Message::Answer { call },
        Message::HangUp { call, reason: HangUpReason::HungUp },
        Message::Hold { call, on: true },
        Message::Muted { call, on: true },
        Message::ChangeAsk { call, new: 79, terms: otp() },
        Message::ChangeAnswer { new: call, yes: true },
        Message::RecordAsk { call },
        Message::RecordAnswer { call, yes: true },
        Message::RecordStop { call },
        Message::Bye,
    ];
    for message in messages {
        world.input(ALICE, Input::Message { contact: name(BOB), message });
        assert_eq!((&world.sent[..], &world.told[..]), (&[][..], &[][..]));
    }
    world.input(
        ALICE,
        Input::Message { contact: name(BOB), message: Message::Resume { was: 3, call: 81, terms: otp() } },
    );
    assert_eq!(world.sent, [(ALICE, Message::HangUp { call: 81, reason: HangUpReason::Lost })]);
    let wrong = CallTerms { packet_len: 1, ..otp() };
    world.input(ALICE, Input::Message { contact: name(BOB), message: Message::Ring { call: 83, terms: wrong } });
    assert_eq!(world.sent[1], (ALICE, Message::HangUp { call: 83, reason: HangUpReason::Failed }));
}

#[test]
fn who_is_not_connected_cannot_be_called() {
    let mut phone = Phone::new(settings("alice", 4));
    phone.handle(Input::Call { contact: name(BOB), number: 2, terms: otp() }, secs(1));
    assert!(matches!(phone.poll_output(), Some(Output::Tell { event: PhoneEvent::Refused { .. }, .. })));
    assert_eq!((phone.poll_output(), phone.deadline()), (None, None));
}

#[test]
fn a_yes_to_other_terms_that_was_lost_still_counts() {
    // Either side asks, for more or for less; the yes never arrives.
    for (i, j) in [(ALICE, BOB), (BOB, ALICE)] {
        for (from, to) in [(aes(), otp()), (otp(), aes())] {
            let mut world = talks(2, from);
            change(&mut world, i, j, to);
            world.deliver(i, j);
            if to == aes() {
                world.input(j, Input::AnswerChange { contact: name(i), yes: true });
            }
            assert_eq!(world.view(j, i).unwrap().terms, to);
            reconnect(&mut world, ALICE, BOB);
            // If the caller asked for less, the contact goes back to what protects more.
            let then = if i == ALICE && to == aes() { otp() } else { to };
            assert_eq!((world.view(ALICE, BOB).unwrap().terms, world.view(BOB, ALICE).unwrap().terms), (then, then));
        }
    }
}

#[test]
fn a_call_is_not_resumed_with_less() {
    let mut world = talks(2, otp());
    world.new_session(ALICE, BOB);
    world.establish(BOB, ALICE);
    let message = Message::Resume { was: 2, call: 4, terms: aes() };
    world.input(BOB, Input::Message { contact: name(ALICE), message });
    assert_eq!(last_end(&world, BOB), Some((HangUpReason::Failed, false)));
}
