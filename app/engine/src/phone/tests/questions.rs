//! Questions to the person that nobody answers, who holds whom, and who is named at the end of a call.

use super::stories::{
    ALICE, BOB, CAROL, answer, call, change, hang_up, hold, last_told, name, reconnect, rings, talks,
};
use super::world::World;
use super::*;

/// What `i` was told since the first `before` events.
fn told_since(world: &World, before: usize, i: usize) -> Vec<PhoneEvent> {
    world.told[before..].iter().filter(|(own, ..)| *own == i).map(|(.., event)| event.clone()).collect()
}

fn lapsed(question: Question) -> PhoneEvent {
    PhoneEvent::Lapsed { question }
}

#[test]
fn a_question_about_terms_lapses_when_nobody_answers_it() {
    let mut world = talks(2, otp());
    change(&mut world, ALICE, BOB, aes());
    world.deliver_all();
    world.pass(secs(30));
    assert_eq!(last_told(&world, BOB), Some(&lapsed(Question::Change)));
    world.deliver_all();
    assert_eq!(last_told(&world, ALICE), Some(&PhoneEvent::ChangeDeclined));
}

#[test]
fn a_wish_to_record_that_is_taken_back_takes_the_question_along() {
    let mut world = talks(2, otp());
    for on in [true, false] {
        world.input(ALICE, Input::Record { contact: name(BOB), on });
        world.deliver_all();
    }
    assert_eq!(last_told(&world, BOB), Some(&lapsed(Question::Record)));
    world.input(BOB, Input::AnswerRecord { contact: name(ALICE), yes: true });
    assert!(matches!(last_told(&world, BOB), Some(PhoneEvent::Refused { .. })));
}

#[test]
fn a_wish_to_record_that_is_taken_back_over_a_new_conversation_is_not_left_on_the_screen() {
    let mut world = talks(2, otp());
    world.input(ALICE, Input::Record { contact: name(BOB), on: true });
    world.deliver_all();
    world.lose(ALICE, BOB);
    world.input(ALICE, Input::Record { contact: name(BOB), on: false });
    let before = world.told.len();
    reconnect(&mut world, ALICE, BOB);
    let told = told_since(&world, before, BOB);
    assert_eq!(told[..2], [lapsed(Question::Record), PhoneEvent::Reconnecting]);
    assert!(!told.contains(&PhoneEvent::RecordAsked), "{told:?}");
}

#[test]
fn every_question_lapses_with_the_connection_and_what_still_stands_is_asked_again() {
    let mut world = talks(2, otp());
    world.input(BOB, Input::TalkLeft { contact: name(ALICE), seconds: 50 });
    world.input(ALICE, Input::Record { contact: name(BOB), on: true });
    change(&mut world, ALICE, BOB, aes());
    world.deliver_all();
    let before = world.told.len();
    world.lose(BOB, ALICE);
    world.input(BOB, Input::AnswerRecord { contact: name(ALICE), yes: true });
    world.deliver_all();
    world.back(BOB, ALICE);
    world.input(BOB, Input::TalkLeft { contact: name(ALICE), seconds: 50 });
    let told = told_since(&world, before, BOB);
    let all = [Question::Change, Question::Weaker, Question::Record].map(lapsed);
    assert_eq!(told[..3], all, "before the outage is told of");
    assert_eq!(told[3], PhoneEvent::Reconnecting);
    assert!(matches!(told[4], PhoneEvent::Refused { .. }), "{told:?}");
    assert_eq!(told[5..], [PhoneEvent::Answered { terms: otp() }, PhoneEvent::RecordAsked, PhoneEvent::WeakerWanted]);
    assert_eq!(last_told(&world, ALICE), Some(&PhoneEvent::ChangeDeclined), "and may ask again");
    world.settle();
    assert!(world.view(ALICE, BOB).is_some());
}

#[test]
fn nobody_is_asked_for_less_while_the_connection_is_away() {
    let mut world = talks(2, otp());
    world.lose(BOB, ALICE);
    change(&mut world, ALICE, BOB, aes());
    world.deliver_all();
    assert_eq!(last_told(&world, BOB), Some(&PhoneEvent::Reconnecting));
    assert_eq!(last_told(&world, ALICE), Some(&PhoneEvent::ChangeDeclined));
}

#[test]
fn less_is_no_longer_wanted_once_there_is_pad_again() {
    let mut world = talks(2, otp());
    let mut tell = |seconds| {
        let before = world.told.len();
        world.input(ALICE, Input::TalkLeft { contact: name(BOB), seconds });
        told_since(&world, before, ALICE)
    };
    assert_eq!(tell(55), [PhoneEvent::TalkLeft { seconds: 55 }, PhoneEvent::WeakerWanted]);
    assert_eq!(tell(119), []);
    assert_eq!(tell(120), [lapsed(Question::Weaker)]);
    assert_eq!(tell(120), []);
    assert_eq!(tell(59), [PhoneEvent::TalkLeft { seconds: 59 }, PhoneEvent::WeakerWanted], "it is little once more");
    world.input(ALICE, Input::Policy { contact: name(BOB), policy: Policy::OtpOnly });
    let before = world.told.len();
    world.input(ALICE, Input::TalkLeft { contact: name(BOB), seconds: 58 });
    assert_eq!(told_since(&world, before, ALICE), [lapsed(Question::Weaker)], "nobody may say yes any longer");
}

#[test]
fn an_outage_while_somebody_thinks_about_less_does_not_end_a_call_without_pad() {
    let mut world = talks(2, otp());
    change(&mut world, ALICE, BOB, aes());
    world.deliver_all();
    let call = world.view(BOB, ALICE).unwrap().call;
    world.input(BOB, Input::KeyUsedUp { contact: name(ALICE), call });
    world.lose(BOB, ALICE);
    world.back(BOB, ALICE);
    assert_eq!(world.state(BOB, ALICE), Some(CallState::Active));
    // The sound says again that there is none, and now nobody is asked.
    world.input(BOB, Input::KeyUsedUp { contact: name(ALICE), call });
    assert_eq!(world.view(BOB, ALICE), None);
}

#[test]
fn who_holds_is_told_whatever_the_reason() {
    let held = |on| PhoneEvent::HeldHere { on };
    let mut world = talks(3, otp());
    // The person's own key.
    for on in [true, false] {
        hold(&mut world, BOB, ALICE, on);
        assert_eq!(last_told(&world, BOB), Some(&held(on)));
    }
    // A second call is taken, and the first one gone on with.
    call(&mut world, CAROL, BOB, otp());
    world.deliver_all();
    let before = world.told.len();
    answer(&mut world, BOB, CAROL);
    let told: Vec<_> = world.told[before..].iter().filter(|(own, ..)| *own == BOB).cloned().collect();
    assert_eq!(told, [(BOB, name(ALICE), held(true)), (BOB, name(CAROL), PhoneEvent::Answered { terms: otp() })]);
    let before = world.told.len();
    hold(&mut world, BOB, ALICE, false);
    let told: Vec<_> = world.told[before..].iter().filter(|(own, ..)| *own == BOB).cloned().collect();
    assert_eq!(told, [(BOB, name(CAROL), held(true)), (BOB, name(ALICE), held(false))]);
    // A held call whose connection comes back is still held.
    let before = world.told.len();
    reconnect(&mut world, BOB, CAROL);
    let told = told_since(&world, before, BOB);
    assert_eq!(told[told.len() - 2..], [PhoneEvent::Answered { terms: otp() }, held(true)]);
}

#[test]
fn a_call_of_ours_that_is_taken_while_another_is_heard_is_told_as_held() {
    let mut world = talks(3, otp());
    call(&mut world, ALICE, CAROL, otp());
    world.deliver_all();
    hold(&mut world, ALICE, BOB, false);
    answer(&mut world, CAROL, ALICE);
    let told = told_since(&world, 0, ALICE);
    assert_eq!(told[told.len() - 2..], [PhoneEvent::Answered { terms: otp() }, PhoneEvent::HeldHere { on: true }]);
}

/// What `i` was told at the end: why, whether the contact ended it, whether `i` had called, and whether it was taken.
fn end_at(world: &World, i: usize) -> (HangUpReason, bool, bool, bool) {
    match *last_told(world, i).unwrap() {
        PhoneEvent::Ended { reason, by_contact, ours, carried } => {
            let note = &world.notes.iter().rev().find(|(own, _)| *own == i).unwrap().1;
            assert_eq!(
                (note.reason, note.by_contact, note.ours),
                (reason, by_contact, ours),
                "the history says the same"
            );
            assert_eq!(note.answered.is_some(), carried.is_some());
            (reason, by_contact, ours, carried.is_some())
        }
        ref other => panic!("{other:?} is no end"),
    }
}

#[test]
fn both_ends_know_who_did_not_answer_and_who_is_not_to_be_disturbed() {
    // The caller gives up first.
    let mut world = rings(2, otp());
    world.pass(RING_FOR);
    world.deliver_all();
    assert_eq!(end_at(&world, ALICE), (HangUpReason::NoAnswer, false, true, false));
    assert_eq!(end_at(&world, BOB), (HangUpReason::NoAnswer, true, false, false));
    // The called one does, since nothing is heard from the caller.
    let mut world = rings(2, otp());
    world.phones[ALICE] = Phone::new(settings("alice", 4));
    world.pass(RING_FOR + secs(10));
    assert_eq!(end_at(&world, BOB), (HangUpReason::NoAnswer, false, false, false));
    // Not to be disturbed any longer.
    let mut world = rings(2, otp());
    world.input(BOB, Input::DoNotDisturb(true));
    world.deliver_all();
    assert_eq!(end_at(&world, ALICE), (HangUpReason::NotDisturbed, true, true, false));
    assert_eq!(end_at(&world, BOB), (HangUpReason::NotDisturbed, false, false, false));
    // Not to be disturbed from the start: the history alone tells.
    world.pass(secs(1));
    call(&mut world, ALICE, BOB, otp());
    world.deliver_all();
    let note = &world.notes.iter().rev().find(|(own, _)| *own == BOB).unwrap().1;
    assert_eq!((note.reason, note.by_contact, note.ours), (HangUpReason::NotDisturbed, false, false));
    // A call that was taken.
    let mut world = talks(2, otp());
    hang_up(&mut world, BOB, ALICE);
    assert_eq!(end_at(&world, ALICE), (HangUpReason::HungUp, true, true, true));
    assert_eq!(end_at(&world, BOB), (HangUpReason::HungUp, false, false, true));
}
