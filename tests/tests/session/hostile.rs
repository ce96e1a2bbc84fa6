//! Random acts of two people over a wire that does everything it can: nothing is accepted that was not sent, in order,
//! and exactly once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use vernam_key::{File, Text};
use vernam_session::{FlowId, Message, Suite, TextMessage};
use vernam_store::Stock;
use vernam_tests::world::{CONTROL, Path, Seen, Setup, Side, Unit, WireTerms, World};

const FRAME_LEN: usize = 20;

/// What one of the two does next.
#[derive(Debug, Clone)]
enum Act {
    Say,
    Write { flow: u32, len: usize },
    SendFile { len: usize },
    Tell,
    Announce { keys: usize },
    Wait { ms: u64 },
}

fn act() -> impl Strategy<Value = (Side, Act)> {
    let act = prop_oneof![
        6 => Just(Act::Say),
        3 => (1..4_u32, 0..300_usize).prop_map(|(flow, len)| Act::Write { flow, len }),
        1 => (0..6_000_usize).prop_map(|len| Act::SendFile { len }),
        2 => Just(Act::Tell),
        1 => (1..6_usize).prop_map(|keys| Act::Announce { keys }),
        3 => (1..30_000_u64).prop_map(|ms| Act::Wait { ms }),
    ];
    (prop_oneof![Just(Side::Alice), Just(Side::Bob)], act)
}

/// How often, of 100 units, the attacker does something.
#[derive(Debug, Clone)]
struct Hostility {
    percent: u32,
    /// Whether records are also altered in their place or lost, which ends a reliable stream.
    destructive: bool,
    seed: u64,
}

fn attacker(hostility: &Hostility) -> impl FnMut(&Unit) -> Vec<Unit> + 'static {
    let mut rng = StdRng::seed_from_u64(hostility.seed);
    let Hostility { percent, destructive, .. } = *hostility;
    let mut past: Vec<Unit> = Vec::new();
    move |unit| {
        let mut units = vec![unit.clone()];
        let is_header = matches!(unit.path, Path::Stream(_)) && unit.bytes.len() <= 5;
        if !is_header && rng.random_range(0..100) < percent {
            let mut forged = unit.clone();
            // Never the length of a record on a stream: that ends it, by design.
            let places: Vec<usize> = (0..unit.bytes.len())
                .filter(|at| unit.path == Path::Datagram || !(13..17).contains(at) && *at > 0)
                .collect();
            let at = places[rng.random_range(0..places.len())];
            let old = (!past.is_empty()).then(|| past[rng.random_range(0..past.len())].clone());
            match rng.random_range(0..if destructive { 8 } else { 6 }) {
                0 => {
                    forged.bytes[at] ^= 1 << rng.random_range(0..8);
                    units.insert(0, forged);
                }
                1 => units.push(forged),
                2 => units.push(Unit { from: unit.from.other(), ..forged }),
                3 if unit.path == Path::Datagram => {
                    forged.bytes.truncate(at);
                    units.insert(0, forged);
                }
                4 if unit.path != Path::Stream(CONTROL) => {
                    let flow = FlowId { number: rng.random_range(1..4), purpose: rng.random_range(3..5) };
                    units.insert(0, Unit { path: Path::Stream(flow), ..forged });
                }
                5 => units.extend(old),
                6 => units.clear(),
                7 => units[0].bytes[at] ^= 0x40,
                _ => units.insert(0, forged),
            }
        }
        if !is_header {
            past.push(unit.clone());
        }
        units
    }
}

/// What each side sent.
#[derive(Default)]
struct Sent {
    frames: BTreeMap<(Side, u32), Vec<u8>>,
    texts: BTreeMap<(Side, u32), Vec<String>>,
    files: BTreeMap<(Side, u32), Vec<u8>>,
    told: BTreeMap<Side, u32>,
}

fn perform(world: &mut World, suite: Suite, side: Side, act: &Act, sent: &mut Sent) {
    let flowing = world[side].session.is_established();
    match act {
        Act::Say => {
            let Some(seq) = world[side].calls.get(&1).map(|call| call.sealer.next_seq()) else { return };
            let mut frame = vec![side as u8; FRAME_LEN];
            frame[..4].copy_from_slice(&seq.to_be_bytes());
            sent.frames.insert((side, seq), frame.clone());
            world.say(side, 1, &frame);
        }
        Act::Write { flow, len } if flowing => {
            let texts = sent.texts.entry((side, *flow)).or_default();
            let body = format!("{side:?} {flow} {} {}", texts.len(), "x".repeat(*len));
            texts.push(body.clone());
            world.write(side, *flow, suite, &body);
        }
        Act::SendFile { len } if flowing => {
            let number = u32::try_from(sent.files.len()).expect("few") + 1;
            let bytes: Vec<u8> = (0..*len).map(|at| (at * 31 + number as usize).to_le_bytes()[0]).collect();
            world.send_file(side, number, suite, &bytes);
            sent.files.insert((side, number), bytes);
        }
        Act::Tell if flowing => {
            let call = sent.told.entry(side).or_default();
            let now = world.around.now;
            world[side].session.send(Message::Ringing { call: *call }, now);
            *call += 1;
            world.work();
        }
        Act::Announce { keys } if flowing => world.announce(side, *keys),
        Act::Wait { ms } => world.run_for(Duration::from_millis(*ms)),
        _ => {}
    }
}

fn check(world: &World, sent: &Sent) -> Result<(), TestCaseError> {
    for side in Side::BOTH {
        let (me, peer) = (&world[side], side.other());
        let mut heard = BTreeSet::new();
        let mut texts: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        let mut files: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        let mut told = 0;
        for seen in &me.seen {
            match seen {
                Seen::Voice(_, seq, frame) => {
                    prop_assert_eq!(sent.frames.get(&(peer, *seq)), Some(frame));
                    prop_assert!(heard.insert(*seq), "a frame was heard twice");
                }
                Seen::Record(flow, bytes) if *flow == FlowId::of::<Text>(flow.number) => {
                    let message = TextMessage::decode(bytes);
                    prop_assert!(message.is_ok());
                    texts.entry(flow.number).or_default().extend(message.map(|message| message.body));
                }
                Seen::Record(flow, bytes) if *flow == FlowId::of::<File>(flow.number) => {
                    files.entry(flow.number).or_default().extend_from_slice(bytes);
                }
                Seen::Message(message) => {
                    prop_assert_eq!(message, &Message::Ringing { call: told });
                    told += 1;
                }
                _ => {}
            }
        }
        prop_assert!(told <= sent.told.get(&peer).copied().unwrap_or(0));
        for (number, got) in texts {
            prop_assert!(sent.texts.get(&(peer, number)).is_some_and(|sent| sent.starts_with(&got)));
        }
        for (number, got) in files {
            prop_assert!(sent.files.get(&(peer, number)).is_some_and(|sent| sent.starts_with(&got)));
        }
        prop_assert!(me.texts_in.values().all(|stream| stream.buffered() < 70_000));
        let stock = me.outbound.status();
        prop_assert_eq!(stock.end, stock.spent + stock.forfeited + stock.holes + stock.available);
    }
    world.around.audit.check().map_err(TestCaseError::fail)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(20_260_101),
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_the_wire_does_only_what_was_sent_is_accepted_in_order_and_once(
        suite in prop::sample::select(Suite::ALL.to_vec()),
        acts in prop::collection::vec(act(), 1..120),
        percent in 0..60_u32,
        destructive in any::<bool>(),
        seed in any::<u64>(),
        stock_keys in 0..40_usize,
    ) {
        let wire = WireTerms {
            jitter: Duration::from_millis(100),
            loss_per_mille: 50,
            duplicate_per_mille: 50,
            pieces: 1..3_000,
            ..WireTerms::default()
        };
        let mut world = World::established(Setup { seed, stock_keys, wire, voice_block: 5, ..Setup::with(suite) });
        world.begin_call(1, suite, FRAME_LEN);
        world.intercept(attacker(&Hostility { percent, destructive, seed }));
        let mut sent = Sent::default();
        for (side, act) in &acts {
            perform(&mut world, suite, *side, act, &mut sent);
        }
        world.run();
        check(&world, &sent)?;
        if percent == 0 {
            let heard: usize = Side::BOTH.iter().map(|side| world[*side].heard().len()).sum();
            prop_assert!(heard <= sent.frames.len());
        }
    }

    #[test]
    fn noise_in_place_of_a_peer_never_panics_and_is_never_believed(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20),
        hello_first in any::<bool>(),
        established in any::<bool>(),
    ) {
        let mut world = World::new(Setup::with(Suite::Otp));
        if established {
            world.run();
        }
        for mut bytes in pieces {
            if hello_first && !established {
                bytes.splice(0..0, [b'H', 0, 100]);
            }
            world.forge(Unit { from: Side::Alice, path: Path::Stream(CONTROL), bytes: bytes.clone() });
            world.forge(Unit { from: Side::Alice, path: Path::Datagram, bytes });
            world.run();
        }
        prop_assert!(world[Side::Bob].messages().is_empty());
        prop_assert!(world[Side::Bob].heard().is_empty());
    }
}
