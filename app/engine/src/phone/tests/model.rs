//! Every order of events that chance finds: what people do, what the network does, and time.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::world::{NAMES, World};
use super::*;

/// Of every random choice here.
const SEED: u64 = 20_261_123;

fn config(cases: u32) -> ProptestConfig {
    println!("seed {SEED}");
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(SEED),
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    }
}

/// Something that happens, at one telephone or on the way.
#[derive(Debug, Clone, Copy)]
enum Act {
    Call(CallTerms),
    Answer,
    HangUp,
    Hold(bool),
    Mute(bool),
    Deafen(bool),
    DoNotDisturb(bool),
    Policy(Policy),
    Change(CallTerms),
    AnswerChange(bool),
    Record(bool),
    AnswerRecord(bool),
    SoundFailed,
    KeyUsedUp,
    TalkLeft(u64),
    Deliver(u8),
    DeliverAll,
    Pass(u64),
    Lose,
    Back,
    NewSession,
    Establish,
    Over,
}

fn some_terms() -> impl Strategy<Value = CallTerms> {
    prop_oneof![
        3 => Just(otp()),
        3 => Just(aes()),
        1 => Just(terms(Suite::Otp, 12_000)),
        1 => Just(terms(Suite::ChaCha20Poly1305, 24_000)),
    ]
}

fn some_policy() -> impl Strategy<Value = Policy> {
    prop_oneof![Just(Policy::OtpOnly), Just(Policy::PreferOtp), Just(Policy::Aes)]
}

fn act() -> impl Strategy<Value = Act> {
    let person = prop_oneof![
        6 => some_terms().prop_map(Act::Call),
        8 => Just(Act::Answer),
        2 => Just(Act::HangUp),
        3 => any::<bool>().prop_map(Act::Hold),
        1 => any::<bool>().prop_map(Act::Mute),
        1 => any::<bool>().prop_map(Act::Deafen),
        1 => prop::bool::weighted(0.3).prop_map(Act::DoNotDisturb),
        1 => some_policy().prop_map(Act::Policy),
        5 => some_terms().prop_map(Act::Change),
        4 => any::<bool>().prop_map(Act::AnswerChange),
        4 => prop::bool::weighted(0.7).prop_map(Act::Record),
        4 => prop::bool::weighted(0.7).prop_map(Act::AnswerRecord),
    ];
    let fault = prop_oneof![
        1 => Just(Act::SoundFailed),
        1 => Just(Act::KeyUsedUp),
        3 => (0_u64..400).prop_map(Act::TalkLeft),
        5 => Just(Act::Lose),
        5 => Just(Act::Back),
        4 => Just(Act::NewSession),
        8 => Just(Act::Establish),
        1 => Just(Act::Over),
    ];
    let time = prop_oneof![
        20 => (1_u8..4).prop_map(Act::Deliver),
        4 => Just(Act::DeliverAll),
        2 => (0_u64..3).prop_map(Act::Pass),
        1 => (3_u64..45).prop_map(Act::Pass),
    ];
    prop_oneof![8 => person, 3 => fault, 9 => time]
}

/// Who, with whom, what. Most of it between the first two.
fn step(people: usize) -> impl Strategy<Value = (usize, usize, Act)> {
    (0..people, 1..people, act()).prop_map(move |(i, by, act)| (i, (i + by) % people, act))
}

fn happen(world: &mut World, i: usize, j: usize, act: Act) {
    let contact = NAMES[j].to_owned();
    let call = world.view(i, j).map_or(0, |view| view.call);
    let input = match act {
        Act::Call(terms) => Input::Call { contact, number: world.number(i, j), terms },
        Act::Answer => Input::Answer { contact },
        Act::HangUp => Input::HangUp { contact, reason: HangUpReason::HungUp },
        Act::Hold(on) => Input::Hold { contact, on },
        Act::Mute(on) => Input::Mute(on),
        Act::Deafen(on) => Input::Deafen(on),
        Act::DoNotDisturb(on) => Input::DoNotDisturb(on),
        Act::Policy(policy) => Input::Policy { contact, policy },
        Act::Change(terms) => Input::Change { contact, number: world.number(i, j), terms },
        Act::AnswerChange(yes) => Input::AnswerChange { contact, yes },
        Act::Record(on) => Input::Record { contact, on },
        Act::AnswerRecord(yes) => Input::AnswerRecord { contact, yes },
        Act::SoundFailed => Input::SoundFailed { contact, call },
        Act::KeyUsedUp => Input::KeyUsedUp { contact, call },
        Act::TalkLeft(seconds) => Input::TalkLeft { contact, seconds },
        Act::Deliver(count) => {
            for _message in 0..count {
                world.deliver(i, j);
            }
            return;
        }
        Act::DeliverAll => return world.deliver_all(),
        Act::Pass(seconds) => return world.pass(secs(seconds)),
        Act::Lose => return world.lose(i, j),
        Act::Back => return world.back(i, j),
        Act::NewSession => return world.new_session(i, j),
        Act::Establish => return world.establish(i, j),
        Act::Over => return world.over(i, j),
    };
    world.input(i, input);
}

/// What may happen around two calls that cross: nothing that any person wants, and nothing that takes long.
fn around() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (1_u8..3).prop_map(Act::Deliver),
        1 => Just(Act::DeliverAll),
        1 => Just(Act::Pass(0)),
        1 => Just(Act::Pass(1)),
        1 => Just(Act::Lose),
        2 => Just(Act::Back),
        1 => Just(Act::NewSession),
        2 => Just(Act::Establish),
    ]
}

fn run(people: usize, max_calls: usize, steps: Vec<(usize, usize, Act)>) -> World {
    let mut world = World::new(people, max_calls);
    for (i, j, act) in steps {
        happen(&mut world, i, j, act);
    }
    world.settle();
    world
}

proptest! {
    #![proptest_config(config(12_000))]

    /// Two telephones agree in the end, whatever happened, and never do what they must not.
    #[test]
    fn two_telephones_agree(steps in prop::collection::vec(step(2), 1..90)) {
        run(2, 4, steps);
    }
}

proptest! {
    #![proptest_config(config(12_000))]

    /// Two who call each other at about the same time talk, whatever crosses; and neither with less than asked for.
    #[test]
    fn two_who_call_each_other_talk(
        wishes in [some_terms(), some_terms()],
        first in 0..2_usize,
        before in prop::collection::vec((0..2_usize, around()), 0..6),
        between in prop::collection::vec((0..2_usize, around()), 0..12),
        after in prop::collection::vec((0..2_usize, around()), 0..12),
    ) {
        let mut world = World::new(2, 4);
        let all = |world: &mut World, acts: Vec<(usize, Act)>| {
            for (i, act) in acts {
                happen(world, i, 1 - i, act);
            }
        };
        all(&mut world, before);
        happen(&mut world, first, 1 - first, Act::Call(wishes[first]));
        all(&mut world, between);
        happen(&mut world, 1 - first, first, Act::Call(wishes[1 - first]));
        all(&mut world, after);
        // Who could not call or be called at all, for want of a connection, did not.
        let for_want = ["is not connected", "is away", "not in a way that is allowed"];
        let refused = world.told.iter().any(|(.., event)| {
            matches!(event, PhoneEvent::Refused { why } if for_want.iter().any(|words| why.contains(words)))
        });
        // One of two who want different protection may have to be asked.
        let [one, other] = wishes.map(|wish| wish.suite);
        let asks = terms::weaker(one, other) || terms::weaker(other, one);
        if !refused && !asks {
            world.settle();
            for (i, wish) in wishes.iter().enumerate() {
                let view = world.view(i, 1 - i).expect("a call");
                prop_assert_eq!(view.state, CallState::Active);
                prop_assert!(!terms::weaker(view.terms.suite, wish.suite));
            }
        }
    }
}

proptest! {
    #![proptest_config(config(6_000))]

    /// The same among three, each of whom may be in calls with both others.
    #[test]
    fn three_telephones_agree(max_calls in 1..3_usize, steps in prop::collection::vec(step(3), 1..120)) {
        run(3, max_calls, steps);
    }
}
