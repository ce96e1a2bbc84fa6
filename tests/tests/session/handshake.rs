//! Meeting: who is let in, how they agree, and what happens to stocks that reach differently far.

use vernam_session::limits::CONFIRM_KEY_LEN;
use vernam_session::{SessionError, Suite};
use vernam_store::{MemoryStock, Stock};
use vernam_tests::world::{CONTROL, Path, Seen, Setup, Side, Unit, WireTerms, World};

#[test]
fn two_people_with_the_same_key_meet() {
    for suite in Suite::ALL {
        let world = World::established(Setup::with(suite));
        for side in Side::BOTH {
            assert_eq!(world[side].seen[0], Seen::Established(suite));
        }
        assert_eq!(world[Side::Alice].session.session_id(), world[Side::Bob].session.session_id());
    }
}

#[test]
fn they_meet_though_every_byte_comes_alone() {
    let wire = WireTerms { pieces: 1..2, ..WireTerms::default() };
    World::established(Setup { wire, ..Setup::with(Suite::Otp) });
}

#[test]
fn one_wrong_bit_of_key_is_noticed_before_anything_is_said() {
    for suite in Suite::ALL {
        let mut world = World::new(Setup::with(suite));
        world.around.source.corrupt_next(Side::Bob);
        world.run();
        assert_eq!(world[Side::Bob].closed(), Some(&Some(SessionError::NotConfirmed)), "{suite}");
        assert!(!world[Side::Bob].session.is_established());
    }
}

#[test]
fn somebody_between_the_two_connections_is_noticed() {
    for suite in Suite::ALL {
        let mut world = World::new(Setup { relayed: true, ..Setup::with(suite) });
        world.run();
        for side in Side::BOTH {
            assert_eq!(world[side].closed(), Some(&Some(SessionError::NotConfirmed)), "{suite}");
        }
    }
}

#[test]
fn a_hello_changed_on_the_way_is_noticed() {
    // Byte 5 + 3 + 4 + 2 is the first of the nonce; the suites and stock positions follow it.
    for at in [14, 30, 48, 60, 75] {
        let mut world =
            World::new(Setup { suites: [Suite::ALL.to_vec(), Suite::ALL.to_vec()], ..Setup::with(Suite::Otp) });
        let mut first = true;
        world.intercept(move |unit| {
            let mut unit = unit.clone();
            if unit.from == Side::Alice && unit.path == Path::Stream(CONTROL) && std::mem::take(&mut first) {
                unit.bytes[at] ^= 1;
            }
            vec![unit]
        });
        world.run();
        assert!(Side::BOTH.iter().all(|side| !world[*side].session.is_established()), "byte {at}");
    }
}

#[test]
fn a_suite_struck_from_the_hello_does_not_downgrade_the_call() {
    let both = || vec![Suite::Otp, Suite::Aes256Gcm];
    let mut world = World::new(Setup { suites: [both(), both()], ..Setup::with(Suite::Otp) });
    let mut hellos = 0;
    world.intercept(move |unit| {
        let mut unit = unit.clone();
        if unit.path == Path::Stream(CONTROL) && hellos < 2 {
            hellos += 1;
            // Stream header 5, message header 3, magic 4, version 2, nonce 32, count 1: the first suite's code.
            assert_eq!(unit.bytes[47], Suite::Otp.code());
            unit.bytes[47] = Suite::Aes256Gcm.code();
        }
        vec![unit]
    });
    world.run();
    for side in Side::BOTH {
        assert_eq!(world[side].closed(), Some(&Some(SessionError::NotConfirmed)));
    }
}

#[test]
fn a_hello_sent_back_to_its_sender_is_refused() {
    let mut world = World::new(Setup::with(Suite::Otp));
    world.intercept(|unit| vec![Unit { from: unit.from.other(), ..unit.clone() }]);
    world.run();
    for side in Side::BOTH {
        let what = "our own hello came back";
        assert_eq!(world[side].closed(), Some(&Some(SessionError::Protocol { what })));
    }
}

#[test]
fn the_initiators_first_choice_that_both_allow_is_taken() {
    let suites =
        [vec![Suite::Otp, Suite::ChaCha20Poly1305, Suite::Aes256Gcm], vec![Suite::Aes256Gcm, Suite::ChaCha20Poly1305]];
    let world = World::established(Setup { suites, ..Setup::with(Suite::Otp) });
    assert_eq!(world[Side::Bob].seen[0], Seen::Established(Suite::ChaCha20Poly1305));
    assert!(!world[Side::Alice].session.allows(Suite::Otp) && world[Side::Alice].session.allows(Suite::Aes256Gcm));
}

#[test]
fn without_a_common_suite_both_are_told_what_the_other_allows() {
    let mut world = World::new(Setup { suites: [vec![Suite::Otp], vec![Suite::Aes256Gcm]], ..Setup::with(Suite::Otp) });
    world.run();
    let error = world[Side::Bob].closed().cloned().flatten().expect("it is over");
    assert_eq!(error, SessionError::NoCommonSuite { ours: "aes-256-gcm".to_owned(), theirs: "otp".to_owned() });
    assert!(world[Side::Alice].closed().is_some_and(Option::is_some));
}

#[test]
fn a_kme_that_gives_no_handshake_key_is_named_as_the_reason() {
    let mut world = World::new(Setup::with(Suite::Otp));
    world.around.source.refuse(Some(Side::Alice));
    world.run();
    let error = world[Side::Alice].closed().cloned().flatten().expect("it is over");
    assert!(error.to_string().contains("the link is in alarm"), "{error}");
}

#[test]
fn too_short_a_handshake_key_is_refused() {
    let mut world = World::new(Setup { handshake_keys: (1, CONFIRM_KEY_LEN), ..Setup::with(Suite::Otp) });
    world.run();
    for side in Side::BOTH {
        assert!(matches!(world[side].closed(), Some(Some(SessionError::NoHandshakeKey { .. }))));
    }
}

#[test]
fn a_stranger_who_never_stops_talking_is_cut_off() {
    let mut world = World::new(Setup::with(Suite::Otp));
    world.around.source.refuse(None);
    let bytes = vec![b'H'; 200 * 1024];
    world.forge(Unit { from: Side::Alice, path: Path::Stream(CONTROL), bytes });
    world.run();
    assert!(matches!(world[Side::Bob].closed(), Some(Some(_))));
}

#[test]
fn after_one_sides_restart_the_same_positions_hold_the_same_bytes() {
    let mut world = World::established(Setup::with(Suite::Otp));
    world.write(Side::Alice, 1, Suite::Otp, "one");
    world.announce(Side::Bob, 3);
    world.run();
    // Alice takes key and dies before Bob hears of it; Bob's announcement is lost on the way.
    world.write(Side::Alice, 2, Suite::Otp, "two, never received");
    world.announce(Side::Bob, 2);
    let cursors = Side::BOTH.map(|side| world[side].outbound.status().cursor);
    world.reconnect();
    assert_aligned(&world);
    for (side, before) in Side::BOTH.into_iter().zip(cursors) {
        let cursor = world[side].outbound.status().cursor;
        assert!(cursor >= before, "the cursor never goes back");
        assert_eq!(world[side.other()].inbound.status().cursor, cursor, "what one side spent, the other erases");
    }
    world.write(Side::Alice, 1, Suite::Otp, "three");
    world.write(Side::Bob, 1, Suite::Otp, "four");
    world.announce(Side::Bob, 2);
    world.run();
    assert_eq!(world[Side::Bob].texts(), ["three"]);
    assert_eq!(world[Side::Alice].texts(), ["four"]);
    assert_aligned(&world);
    world.around.audit.check().expect("no byte twice, over both sessions");
}

#[test]
fn a_side_that_lost_its_stock_costs_the_other_side_its_half_and_no_more() {
    let mut world = World::established(Setup::with(Suite::Otp));
    world.write(Side::Alice, 1, Suite::Otp, "before");
    world.run();
    world[Side::Bob].inbound = MemoryStock::new();
    world.reconnect();
    assert_aligned(&world);
    assert_eq!(world[Side::Alice].outbound.status().available, 0);
    assert!(world[Side::Bob].outbound.status().available > 0);
    world.announce(Side::Alice, 4);
    world.run();
    world.write(Side::Alice, 1, Suite::Otp, "after");
    world.run();
    assert_eq!(world[Side::Bob].texts(), ["after"]);
    assert_aligned(&world);
    world.around.audit.check().expect("no byte twice");
}

/// What both sides still have is the same keys at the same positions.
pub(super) fn assert_aligned(world: &World) {
    for side in Side::BOTH {
        let (sender, receiver) = (&world[side].outbound, &world[side.other()].inbound);
        let from = sender.status().cursor.max(receiver.status().cursor);
        assert_eq!(sender.keys_from(from), receiver.keys_from(from), "{side:?}");
    }
}
