//! A call over a bad network, and over a hostile one.

use std::time::Duration;

use vernam_key::{Purpose, Voice};
use vernam_session::{FlowId, NoKey, Refusal, Suite, voice_datagram_len};
use vernam_tests::world::{Path, Seen, Setup, Side, WireTerms, World};

const FRAME_LEN: usize = 60;

fn frame(at: u32) -> Vec<u8> {
    (0..60_u32).map(|byte| (at * 7 + byte).to_be_bytes()[3]).collect()
}

/// Both say `frames` frames of 20 ms.
fn talk(world: &mut World, frames: u32) {
    for at in 0..frames {
        for side in Side::BOTH {
            world.say(side, 1, &frame(at));
        }
        world.run_for(Duration::from_millis(20));
    }
    world.run();
}

/// What is heard is what was said under that number.
fn assert_true_to_life(world: &World) {
    for side in Side::BOTH {
        for seen in &world[side].seen {
            if let Seen::Voice(_, seq, bytes) = seen {
                assert_eq!(*bytes, frame(*seq), "{side:?} heard another frame under number {seq}");
            }
        }
    }
}

#[test]
fn every_frame_of_a_quiet_network_is_heard_in_order_over_many_key_blocks() {
    for suite in Suite::ALL {
        let mut world = World::established(Setup::with(suite));
        world.begin_call(1, suite, FRAME_LEN);
        talk(&mut world, 200);
        for side in Side::BOTH {
            assert_eq!(world[side].heard(), (0..200).collect::<Vec<_>>(), "{suite}");
        }
        assert_true_to_life(&world);
        world.around.audit.check().expect("no byte of key twice");
    }
}

#[test]
fn loss_reordering_and_repetition_cost_only_what_was_lost() {
    for suite in Suite::ALL {
        let wire = WireTerms {
            jitter: Duration::from_millis(90),
            loss_per_mille: 50,
            duplicate_per_mille: 100,
            ..WireTerms::default()
        };
        // Blocks of 20 frames at 20 ms and jitter of 90 ms: every change of key happens in a mess.
        let mut world = World::established(Setup { wire, stock_keys: 200, ..Setup::with(suite) });
        world.begin_call(1, suite, FRAME_LEN);
        talk(&mut world, 500);
        for side in Side::BOTH {
            let mut heard = world[side].heard();
            assert!(heard.windows(2).any(|pair| pair[0] > pair[1]), "the network reorders");
            heard.sort_unstable();
            let mut unique = heard.clone();
            unique.dedup();
            assert_eq!(heard, unique, "no frame twice");
            assert!((440..500).contains(&heard.len()), "{suite}: {} of 500 frames arrived", heard.len());
            let counted = world[side].calls[&1].opener.counters();
            assert_eq!(counted.accepted, heard.len() as u64);
            assert!(counted.refused.keys().all(|why| *why == Refusal::Replayed), "{suite}: {:?}", counted.refused);
        }
        assert_true_to_life(&world);
    }
}

#[test]
fn a_tampered_voice_packet_is_refused_and_the_call_goes_on() {
    for suite in Suite::ALL {
        let mut world = World::established(Setup::with(suite));
        world.begin_call(1, suite, FRAME_LEN);
        // Every third datagram is replaced by copies, each with one bit of one byte changed; then the genuine one comes.
        let mut count = 0;
        world.intercept(move |unit| {
            let mut units = Vec::new();
            if unit.path == Path::Datagram {
                count += 1;
                if count % 3 == 0 {
                    units.extend((0..unit.bytes.len()).step_by(5).map(|at| {
                        let mut unit = unit.clone();
                        unit.bytes[at] ^= 1 << (at % 8);
                        unit
                    }));
                }
            }
            units.push(unit.clone());
            units
        });
        talk(&mut world, 30);
        for side in Side::BOTH {
            assert_eq!(world[side].heard(), (0..30).collect::<Vec<_>>(), "{suite}");
            assert!(world[side].refused(Voice::CODE, Refusal::Forged) > 50);
        }
        assert_true_to_life(&world);
    }
}

#[test]
fn a_voice_packet_of_another_length_is_refused() {
    for suite in Suite::ALL {
        let mut world = World::established(Setup::with(suite));
        world.begin_call(1, suite, FRAME_LEN);
        world.intercept(|unit| {
            let (mut short, mut long) = (unit.clone(), unit.clone());
            short.bytes.pop();
            long.bytes.push(0);
            if unit.path == Path::Datagram { vec![short, long, unit.clone()] } else { vec![unit.clone()] }
        });
        talk(&mut world, 3);
        assert_eq!(world[Side::Bob].heard(), [0, 1, 2]);
        assert_eq!(world[Side::Bob].refused(Voice::CODE, Refusal::Malformed), 6, "{suite}");
    }
}

#[test]
fn every_datagram_of_a_call_has_one_size() {
    for suite in Suite::ALL {
        let mut world = World::established(Setup::with(suite));
        world.begin_call(1, suite, FRAME_LEN);
        talk(&mut world, 50);
        let datagrams = world.around.wire.sent().iter().filter(|unit| unit.path == Path::Datagram);
        assert!(datagrams.clone().all(|unit| unit.bytes.len() == voice_datagram_len(suite, FRAME_LEN)));
        assert_eq!(datagrams.count(), 100);
    }
}

#[test]
fn an_aead_key_is_replaced_after_a_minute_and_no_frame_is_lost_by_it() {
    for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
        let mut world = World::established(Setup::with(suite));
        world.begin_call(1, suite, FRAME_LEN);
        let calls = |world: &World| {
            let voice = world.around.audit.takes().iter().filter(|take| take.flow == FlowId::of::<Voice>(1));
            voice.filter(|take| take.outbound && take.side == Side::Alice).count()
        };
        assert_eq!(calls(&world), 1);
        for at in 0..1_300 {
            world.say(Side::Alice, 1, &frame(at));
            world.run_for(Duration::from_millis(100));
        }
        world.run();
        assert_eq!(calls(&world), 3, "{suite}: a key for each minute begun");
        assert_eq!(world[Side::Bob].heard(), (0..1_300).collect::<Vec<_>>());
        let generations = world.around.wire.sent().iter().filter(|unit| unit.path == Path::Datagram);
        let mut generations: Vec<u8> = generations.map(|unit| unit.bytes[8]).collect();
        generations.dedup();
        assert_eq!(generations, [0, 1, 2], "numbers go on, generations count up");
        assert_true_to_life(&world);
    }
}

#[test]
fn when_the_stock_is_used_up_the_voice_stops_and_the_session_lives() {
    let setup = Setup { stock_keys: 2, ..Setup::with(Suite::Otp) };
    let mut world = World::established(setup);
    world.begin_call(1, Suite::Otp, FRAME_LEN);
    talk(&mut world, 150);
    let voice = FlowId::of::<Voice>(1);
    for side in Side::BOTH {
        assert!(world[side].seen.contains(&Seen::NoKey(voice, NoKey::StockUsedUp)));
        assert!(world[side].calls[&1].unsent > 0);
        assert!(world[side].session.is_established());
        assert!((60..150).contains(&world[side].heard().len()));
    }
    // New key is made, announced and used; the numbers go on where they stopped.
    let before = world[Side::Bob].heard().len();
    world.announce(Side::Alice, 4);
    world.announce(Side::Bob, 4);
    world.run();
    for at in 0..20 {
        let next = world[Side::Alice].calls[&1].sealer.next_seq();
        world.say(Side::Alice, 1, &frame(next));
        assert_eq!(next as usize, before + at);
        world.run_for(Duration::from_millis(20));
    }
    world.run();
    assert_eq!(world[Side::Bob].heard().len(), before + 20);
    assert_true_to_life(&world);
    world.around.audit.check().expect("no byte of key twice");
}
