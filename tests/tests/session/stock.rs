//! Where key comes from and what happens when it does not.

use std::fmt::{Debug, Write};
use std::time::Duration;

use vernam_key::{Direction, File, Inbound, Material, Outbound, Purpose, SecretBytes, Text, Voice};
use vernam_session::limits::{AEAD_SEED_LEN, MAX_BLOCK_LEN};
use vernam_session::{
    Exporter, FileTerms, FlowContext, FlowId, HangUpReason, KeyBlock, KeyRequestError, Message, NoKey, Role,
    SessionError, Suite, VoiceOpener, VoiceSealer, voice_pad_len,
};
use vernam_store::Stock;
use vernam_tests::hex;
use vernam_tests::world::{CONTROL, Path, Seen, Setup, Side, World};

use super::handshake::assert_aligned;

#[test]
fn all_flows_at_once_use_every_byte_of_key_at_most_once() {
    for suite in Suite::ALL {
        let mut world = World::established(Setup { stock_keys: 100, ..Setup::with(suite) });
        world.begin_call(1, suite, 60);
        for side in Side::BOTH {
            world.send_file(side, 1, suite, &vec![b'f'; 50_000]);
        }
        for at in 0..100_u32 {
            for side in Side::BOTH {
                world.say(side, 1, &[u8::try_from(at).unwrap(); 60]);
                if at % 10 == 0 {
                    world.write(side, 1 + at / 50, suite, &format!("message {at}"));
                }
            }
            world.run_for(Duration::from_millis(20));
        }
        world.run();
        for side in Side::BOTH {
            assert_eq!(world[side].heard(), (0..100).collect::<Vec<_>>(), "{suite}");
            assert_eq!(world[side].texts().len(), 10);
            assert_eq!(world[side].records::<File>().map(<[u8]>::len).sum::<usize>(), 50_000);
            assert!(!world[side].seen.iter().any(|seen| matches!(seen, Seen::Refused(..) | Seen::NoKey(..))));
        }
        world.around.audit.check().expect("no byte of key twice");
        assert!(world.around.audit.takes().len() >= 12);
    }
}

#[test]
fn a_file_larger_than_the_stock_waits_for_key_and_then_goes_on() {
    let mut world = World::established(Setup { stock_keys: 4, ..Setup::with(Suite::Otp) });
    world.send_file(Side::Alice, 1, Suite::Otp, &vec![b'x'; 30_000]);
    world.run();
    let flow = FlowId::of::<File>(1);
    assert_eq!(world[Side::Alice].seen.last(), Some(&Seen::NoKey(flow, NoKey::StockUsedUp)));
    assert!(world[Side::Alice].session.is_established() && !world[Side::Bob].files_in[&1].opener.is_complete());
    for _ in 0..6 {
        world.announce(Side::Alice, 2);
        world.run();
    }
    assert!(world[Side::Bob].files_in[&1].opener.is_complete());
    assert_eq!(world[Side::Bob].records::<File>().map(<[u8]>::len).sum::<usize>(), 30_000);
    world.around.audit.check().expect("no byte of key twice");
}

#[test]
fn key_that_the_peers_kme_does_not_give_is_dropped_by_both() {
    let mut world = World::established(Setup { stock_keys: 0, ..Setup::with(Suite::Otp) });
    world.around.source.refuse(Some(Side::Bob));
    world.announce(Side::Alice, 3);
    world.write(Side::Alice, 1, Suite::Otp, "patience");
    world.run();
    let text = FlowId::of::<Text>(1);
    assert_eq!(world[Side::Alice].outbound.status().available, 0);
    assert!(world[Side::Alice].seen.contains(&Seen::NoKey(text, NoKey::StockUsedUp)));
    assert!(world[Side::Bob].texts().is_empty() && world[Side::Bob].session.is_established());

    world.around.source.refuse(None);
    world.announce(Side::Alice, 3);
    world.run();
    assert_eq!(world[Side::Bob].texts(), ["patience"]);
    assert_eq!(world[Side::Bob].inbound.status().holes, 3 * 4_096, "the refused positions are never used");
    assert_aligned(&world);
    world.around.audit.check().expect("no byte of key twice");
}

#[test]
fn a_receiver_that_lost_a_block_says_so_and_the_next_block_serves() {
    let mut world = World::established(Setup::with(Suite::Otp));
    let cursor = world[Side::Bob].inbound.status().cursor;
    world[Side::Bob].inbound.discard_before(cursor + 6_000).expect("there is so much");
    world.write(Side::Alice, 1, Suite::Otp, "once more");
    world.run();
    assert_eq!(world[Side::Alice].seen.last(), Some(&Seen::NoKey(FlowId::of::<Text>(1), NoKey::PeerRefused)));
    world.announce(Side::Alice, 1);
    world.run();
    world.announce(Side::Alice, 1);
    world.run();
    assert_eq!(world[Side::Bob].texts(), ["once more"]);
    world.around.audit.check().expect("no byte of key twice");
}

#[test]
fn a_small_handshake_key_is_enough_to_fill_an_empty_stock() {
    // 35 keys of 256 bits, as a vendor's KME may give them; 60 keys do not fit one announcement under that pad.
    let setup = Setup { stock_keys: 0, handshake_keys: (35, 32), ..Setup::with(Suite::Otp) };
    let mut world = World::established(setup);
    world.announce(Side::Alice, 60);
    world.run();
    let ready = world[Side::Alice].seen.iter().filter(|seen| matches!(seen, Seen::StockReady(_))).count();
    assert!(ready >= 2, "in parts");
    world.write(Side::Alice, 1, Suite::Otp, "there is key now");
    world.run();
    assert_eq!(world[Side::Bob].texts(), ["there is key now"]);
}

#[test]
fn a_talkative_peer_cannot_take_away_the_means_to_hang_up() {
    let mut world = World::established(Setup { stock_keys: 0, handshake_keys: (1, 1_200), ..Setup::with(Suite::Otp) });
    let now = world.around.now;
    // Bob alone gets key, and each block of his voice asks Alice for an answer under pad that she does not have.
    world.announce(Side::Bob, 60);
    world.run();
    world.begin_call(1, Suite::Otp, 60);
    for at in 0..1_200_u32 {
        world.say(Side::Bob, 1, &[u8::try_from(at % 256).unwrap(); 60]);
        world.run_for(Duration::from_millis(20));
    }
    assert!(world[Side::Bob].calls[&1].unsent > 0, "Alice's answers wait");
    assert!(Side::BOTH.iter().all(|side| world[*side].session.is_established()));
    let hang_up = Message::HangUp { call: 1, reason: HangUpReason::KeyUsedUp };
    world[Side::Alice].session.send(hang_up.clone(), now);
    world.run();
    assert_eq!(world[Side::Bob].messages(), [&hang_up]);

    // Key for Alice comes after all, and everything goes on.
    world.announce(Side::Alice, 8);
    world.run();
    let heard = world[Side::Alice].heard().len();
    for _ in 0..40 {
        world.say(Side::Bob, 1, &[1; 60]);
        world.run_for(Duration::from_millis(20));
    }
    assert!(world[Side::Alice].heard().len() > heard);
    world[Side::Alice].session.bye(now);
    world.run();
    assert_eq!((world[Side::Alice].closed(), world[Side::Bob].closed()), (Some(&None), Some(&None)));
    world.around.audit.check().expect("no byte of key twice");
}

#[test]
fn a_call_taken_back_before_it_could_be_announced_does_not_ring_afterwards() {
    let mut world = World::established(Setup { stock_keys: 0, handshake_keys: (1, 1_100), ..Setup::with(Suite::Otp) });
    let now = world.around.now;
    for call in 0..60 {
        world[Side::Alice].session.send(Message::Ringing { call }, now);
    }
    world[Side::Alice].session.send(Message::HangUp { call: 59, reason: HangUpReason::HungUp }, now);
    world.announce(Side::Alice, 4);
    world.run();
    let messages = world[Side::Bob].messages();
    assert!(!messages.contains(&&Message::Ringing { call: 59 }) && messages.contains(&&Message::Ringing { call: 58 }));
}

#[test]
fn a_peer_that_changes_its_key_for_ever_cannot_take_away_the_last_words() {
    let setup = Setup { stock_keys: 100, handshake_keys: (1, 1_120), ..Setup::with(Suite::Otp) };
    let mut world = World::new(setup);
    world[Side::Alice].outbound.discard_from(0).expect("memory does not fail");
    world.run();
    let now = world.around.now;
    // Each block of Bob's control stream asks Alice, who has no stock, for an answer.
    let mut sent = 0;
    while world[Side::Alice].messages().len() == sent {
        for _ in 0..100 {
            world[Side::Bob].session.send(Message::Ringing { call: 1 }, now);
        }
        sent += 100;
        world.run();
    }
    assert!(sent > 5_000, "Alice answered for long, and then kept the rest of her pad");
    assert!(Side::BOTH.iter().all(|side| world[*side].session.is_established()));
    let hang_up = Message::HangUp { call: 1, reason: HangUpReason::KeyUsedUp };
    world[Side::Alice].session.send(hang_up.clone(), now);
    world[Side::Alice].session.bye(now);
    world.run();
    assert_eq!((world[Side::Bob].messages(), world[Side::Bob].closed()), (vec![&hang_up], Some(&None)));
}

#[test]
fn the_blocks_that_a_sealer_may_hold_all_have_room_in_the_opener() {
    let context = FlowContext { session_id: [1; 16], sender: Role::Initiator, flow: FlowId::of::<Voice>(1) };
    let exporter = Exporter::new([2; 32]);
    let mut sealer = VoiceSealer::new(context, Suite::Otp, 60, &exporter).expect("short frames");
    let mut opener = VoiceOpener::new(context, Suite::Otp, 60, &exporter).expect("short frames");
    let (mut generation, mut early, now) = (0, Vec::new(), Duration::ZERO);
    let mut datagram = Vec::new();
    for _ in 0..3 {
        // As many blocks as the sealer takes; then a packet of its oldest, which arrives after all of them.
        while sealer.install(voice_block(context.flow, generation)).is_ok() {
            opener.install(voice_block(context.flow, generation)).expect("its turn");
            generation += 1;
        }
        sealer.seal(&[7; 60], &mut datagram, now).expect("there is key");
        early.push(datagram.clone());
    }
    while sealer.seal(&[9; 60], &mut datagram, now).is_ok() {
        early.push(datagram.clone());
    }
    assert_eq!(early.len(), 20 * generation as usize);
    for datagram in &mut early {
        opener.open(datagram).expect("its key is still here");
    }
}

/// Key for 20 packets of 60 bytes.
fn voice_block<D: Direction>(flow: FlowId, generation: u32) -> KeyBlock<D> {
    let bytes = SecretBytes::from_vec(vec![7; voice_pad_len(60, 20)]);
    let first_seq = 20 * u64::from(generation);
    KeyBlock { flow, generation, suite: Suite::Otp, first_seq, material: Material::from_source(bytes) }
}

#[test]
fn the_control_stream_cannot_be_talked_into_a_weaker_suite() {
    let suites = || vec![Suite::Otp, Suite::Aes256Gcm];
    let mut world = World::established(Setup { suites: [suites(), suites()], ..Setup::with(Suite::Otp) });
    world.run_for(Duration::from_secs(2));
    let seed = u32::try_from(AEAD_SEED_LEN).unwrap();
    world[Side::Bob].session.request_key(CONTROL, Suite::Aes256Gcm, seed, 0).expect("none is under way");
    world.run();
    let mut takes = world.around.audit.takes().iter().filter(|take| !take.outbound && take.flow == CONTROL);
    assert!(takes.all(|take| take.positions.end - take.positions.start > 32), "Alice took no key for it");
    assert!(world[Side::Alice].session.is_established());
}

#[test]
fn impossible_lengths_of_key_are_refused_before_the_peer_hears_of_them() {
    let mut world =
        World::established(Setup { suites: [Suite::ALL.to_vec(), Suite::ALL.to_vec()], ..Setup::with(Suite::Otp) });
    let flow = FlowId::of::<File>(9);
    for (suite, len) in [(Suite::Otp, 0), (Suite::Otp, MAX_BLOCK_LEN + 1), (Suite::Aes256Gcm, 31)] {
        let asked = world[Side::Alice].session.request_key(flow, suite, len, 0);
        assert_eq!(asked, Err(KeyRequestError::Length { len }));
    }
    world.run();
    assert!(world[Side::Bob].session.is_established());
}

#[test]
fn nothing_that_can_be_printed_shows_key_or_words() {
    let secret = "meet me at the old bridge at nine";
    let mut world = World::established(Setup::with(Suite::Otp));
    world.begin_call(1, Suite::Otp, 33);
    world.intercept(|unit| {
        let mut forged = unit.clone();
        *forged.bytes.last_mut().expect("units are not empty") ^= 1;
        let control = unit.path == Path::Stream(CONTROL);
        if control || unit.bytes.len() < 6 { vec![unit.clone()] } else { vec![forged, unit.clone()] }
    });
    world.write(Side::Alice, 1, Suite::Otp, secret);
    world.say(Side::Alice, 1, secret.as_bytes());
    let now = world.around.now;
    let (id, list_hash, suite) = ([3; 16], [4; 32], Suite::Otp);
    let terms = FileTerms { id, suite, files: 1, folders: 0, bytes: 5, list_len: 60, list_hash };
    world[Side::Alice].session.send(Message::FileOffer { transfer: 1, terms }, now);
    world.send_file(Side::Alice, 1, Suite::Otp, secret.as_bytes());
    world.send_file(Side::Alice, 2, Suite::Otp, &vec![0; 400_000]);
    world.run();

    let bob = &world[Side::Bob];
    assert_eq!((bob.texts().len(), bob.heard().len()), (1, 1));
    let mut printed = String::new();
    for party in &world.parties {
        for seen in &party.seen {
            match seen {
                Seen::Record(..) | Seen::Voice(..) => {} // the world's own, for the tests' eyes
                other => print(&mut printed, other),
            }
            if let Seen::Refused(_, why) = seen {
                printed += &why.to_string();
            }
        }
        print(&mut printed, party.texts_in.get(&1).map(|stream| stream.opener.counters()));
        print(&mut printed, party.closed());
    }
    let key = world.around.source.all_given().next().expect("key was given").to_vec();
    let block = KeyBlock::<Outbound> {
        flow: CONTROL,
        generation: 0,
        suite: Suite::Otp,
        first_seq: 0,
        material: Material::from_source(SecretBytes::copy_of(&key)),
    };
    print(&mut printed, block);
    print(&mut printed, SessionError::NoHandshakeKey { reason: "none".to_owned() });
    assert!(printed.contains("FileOffer") && printed.contains("Refused") && printed.contains("NoKey"));
    for given in world.around.source.all_given().chain([secret.as_bytes()]) {
        for piece in given.chunks_exact(8) {
            assert!(!shows(&printed, piece), "secret bytes in what is printed");
        }
    }
}

fn print(to: &mut String, what: impl Debug) {
    writeln!(to, "{what:?}\n{what:#?}").expect("a string takes everything");
}

/// Whether `text` holds `bytes` as text, as hexadecimal digits or as a list of numbers.
fn shows(text: &str, bytes: &[u8]) -> bool {
    let list = |bytes: &[u8], between: &str| bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(between);
    let hex = hex::encode(bytes);
    std::str::from_utf8(bytes).is_ok_and(|plain| text.contains(plain))
        || text.contains(&hex)
        || text.contains(&hex.to_uppercase())
        || text.contains(&list(bytes, ", "))
        || text.contains(&list(bytes, ","))
}

#[test]
fn a_key_of_each_direction_is_the_senders_alone() {
    let world = World::established(Setup::with(Suite::Otp));
    for side in Side::BOTH {
        let (out, inward) = (world[side].outbound.keys_from(0), world[side].inbound.keys_from(0));
        assert!(!out.is_empty() && out.iter().all(|key| inward.iter().all(|other| other.id != key.id)));
    }
    // And by type: an inbound block is no outbound one.
    let _: fn(KeyBlock<Inbound>) = drop;
    assert_ne!(Voice::CODE, Text::CODE);
}

/// Regression: pad of several blocks was added up, although a record never spans two; with short keys and long
/// announcements the control stream then died of its own arithmetic.
#[test]
fn control_lives_on_whatever_the_length_of_keys() {
    for (key_len, keys, handshake) in [
        (32_usize, 128_usize, 8_192_usize),
        (32, 64, 8_192),
        (32, 128, 4_096),
        (64, 128, 8_192),
        (256, 10, 4_096),
        (700, 1, 8_192),
    ] {
        let mut setup = Setup::with(Suite::Otp);
        (setup.handshake_keys, setup.stock_key_len, setup.stock_keys, setup.block_len) =
            ((1, handshake), key_len, 1, 1_024);
        let mut world = World::established(setup);
        for round in 0..60 {
            world.announce(Side::Alice, keys);
            world.run();
            let words = (key_len * keys).saturating_sub(1_100).clamp(1, 900);
            world.write(Side::Alice, 0, Suite::Otp, &"x".repeat(words));
            world.run_for(Duration::from_secs(1));
            for side in Side::BOTH {
                assert!(
                    world[side].session.is_established(),
                    "{side:?} died in round {round}: {keys} keys of {key_len} bytes, handshake {handshake}: {:?}",
                    world[side].seen.last()
                );
            }
        }
    }
}
