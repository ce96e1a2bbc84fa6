//! Each reason for which a block is dropped.

use vernam_key::SecretBytes;
use vernam_qkd::distil::{AuthKey, Bob, EndConfig};
use vernam_qkd::{Basis, DiscardReason};

use super::world::{World, kind, small};

#[test]
fn errors_far_above_the_alarm_end_a_block_at_once() {
    let mut world = World::new(small(), 11, 1024);
    world.errors = [0.25; 2];
    world.honest(1);
    let (report, reason) = world.the_discarded();
    let DiscardReason::QberTooHigh { block: 1, basis: Basis::Z, qber, threshold } = reason else {
        panic!("{reason}");
    };
    assert!((qber - report.qber_z).abs() < 1e-12 && qber > 0.2 && (threshold - 0.11).abs() < 1e-12);
    assert!(report.pulses < 200_000, "long before the end");
    world.errors = [0.02; 2];
    world.honest(5);
    assert!(world.from_bob.keys.contains_key(&2), "the next block passes");
    world.assert_all_equal();
}

#[test]
fn errors_a_little_above_the_alarm_end_it_when_it_is_full() {
    let mut config = small();
    config.min_detections = 5_000;
    let mut world = World::new(config, 12, 1024);
    world.errors = [0.13; 2];
    world.honest(5);
    let (report, reason) = world.the_discarded();
    assert!(matches!(reason, DiscardReason::QberTooHigh { basis: Basis::Z, .. }), "{reason}");
    assert_eq!(report.pulses, 200_000);
}

#[test]
fn errors_in_the_key_basis_alone_show_once_they_are_corrected() {
    let mut world = World::new(small(), 13, 1024);
    world.errors = [0.13, 0.001];
    world.honest(5);
    let (report, reason) = world.the_discarded();
    let DiscardReason::QberTooHigh { basis: Basis::X, qber, .. } = reason else { panic!("{reason}") };
    assert!(qber > 0.11 && report.leakage.parities > 1_000.0, "{report:?}");
}

#[test]
fn nothing_secret_is_left() {
    for (errors, corrected) in [(0.09, false), (0.036, true)] {
        let mut world = World::new(small(), 14, 1024);
        world.errors = [errors; 2];
        world.honest(5);
        let (report, reason) = world.the_discarded();
        assert!(matches!(reason, DiscardReason::NoSecretKey { single, .. } if single > 0.0), "{reason}");
        assert_eq!(report.leakage.parities > 0.0, corrected, "{report:?}");
        assert!(format!("{:?}", world.alice).contains("pads: (42, 20)"), "no pad was spent: {:?}", world.alice);
    }
}

#[test]
fn next_to_nothing_arrives() {
    let mut world = World::new(small(), 15, 1024);
    world.clicks = 2;
    world.honest(5);
    let (_, reason) = world.the_discarded();
    assert!(matches!(reason, DiscardReason::TooFewDetections { block: 1, sifted_bits: 1..=10 }), "{reason}");
    world.clicks = 0;
    world.honest(5);
    let (report, reason) = &world.from_alice.discarded[1];
    assert_eq!((*reason, report.pulses), (DiscardReason::TooFewDetections { block: 2, sifted_bits: 0 }, 200_000));
    assert_eq!(world.from_alice.discarded, world.from_bob.discarded);
}

#[test]
fn bright_light_ends_a_block_at_once() {
    let mut world = World::new(small(), 16, 1024);
    world.honest(1);
    world.bright = true;
    world.honest(1);
    let (report, reason) = world.the_discarded();
    assert_eq!((reason, report.pulses), (DiscardReason::BrightLight { block: 1 }, 80_000));
}

#[test]
fn hashes_that_differ() {
    let mut world = World::new(small(), 17, 1024);
    world.with_one_changed(5, kind::VERIFY, |mut message| {
        *message.last_mut().unwrap() ^= 1;
        vec![message]
    });
    let (report, reason) = world.the_discarded();
    assert_eq!(reason, DiscardReason::Unequal { block: 1 });
    assert!((report.leakage.verification - 128.0).abs() < 1e-12);
    assert!(format!("{:?}", world.alice).contains("pads: (42, 20)"), "{:?}", world.alice);
}

#[test]
fn what_nothing_else_notices_shows_in_the_tag() {
    // Of the answer to the sifting these are intensities and bits of the test basis; of the longest message, the seed.
    let altered = [(kind::SIFT_REPLY, 300, 1), (kind::SIFT_REPLY, 301, 2), (kind::SIFT_REPLY, 302, 4)];
    let mut in_the_tag = 0;
    for (kind, from_end, bit) in altered.into_iter().chain([(kind::AMPLIFY, 100, 1), (kind::CONFIRM, 1, 1)]) {
        let mut world = World::new(small(), 18, 1024);
        world.with_one_changed(5, kind, |mut message| {
            let place = message.len() - from_end;
            message[place] ^= bit;
            vec![message]
        });
        assert!(world.from_bob.keys.is_empty() && world.from_alice.keys.is_empty());
        let reason = world.from_bob.discarded[0].1;
        assert_eq!(world.from_alice.discarded[0].1, reason);
        in_the_tag += u32::from(reason.to_string().starts_with("a tag was wrong on the classical channel in block 1"));
        world.honest(10);
        assert_eq!(world.from_bob.keys.len(), 2, "blocks flow again");
        world.assert_all_equal();
    }
    assert!(in_the_tag >= 3, "{in_the_tag}");
}

#[test]
fn a_silent_far_end() {
    for (lost, waiting_for) in [
        (kind::SIFT, "answer to the sifting"),
        (kind::START, "start of error correction"),
        (kind::CORRECTED, "verification"),
        (kind::AMPLIFY, "privacy amplification"),
    ] {
        let mut world = World::new(small(), 20, 1024);
        world.with_one_changed(5, lost, |_| vec![]);
        let (_, reason) = &world.from_bob.discarded[0];
        let DiscardReason::TimedOut { block: 1, waiting_for: said } = reason else { panic!("{reason}") };
        assert!(said == &waiting_for || *said == "question in error correction", "{said}");
        assert!(world.from_bob.keys.is_empty() && world.from_alice.keys.is_empty());
        world.honest(6);
        world.assert_all_equal();
        assert_eq!(world.from_bob.keys.len(), 1);
    }
}

#[test]
fn a_message_left_out_is_missed_when_the_next_one_comes() {
    let mut world = World::new(small(), 23, 1024);
    world.with_one_changed(2, kind::ERRORS, |_| vec![]);
    for discarded in [&world.from_alice.discarded, &world.from_bob.discarded] {
        let reason = discarded[0].1;
        assert!(reason.to_string().starts_with("a message is missing"), "{reason}");
    }
}

#[test]
fn a_message_said_twice_does_no_harm() {
    for kind in [kind::SIFT, kind::SIFT_REPLY, kind::ERRORS, kind::START, kind::AMPLIFY, kind::CONFIRM, kind::COMMIT] {
        let mut world = World::new(small(), 24, 1024);
        world.with_one_changed(5, kind, |message| vec![message.clone(), message]);
        world.assert_all_equal();
        assert_eq!(world.from_bob.keys.len(), 1, "kind {kind}");
    }
}

#[test]
fn ends_with_different_secrets_or_settings_make_no_key() {
    let mut world = World::new(small(), 25, 1024);
    world.bob = Bob::new(small(), AuthKey::new(SecretBytes::from_vec(vec![1; 1024])).unwrap()).unwrap();
    world.honest(5);
    let (_, reason) = world.the_discarded();
    assert!(reason.to_string().starts_with("a tag was wrong"), "{reason}");

    let mut world = World::new(small(), 25, 1024);
    let other = EndConfig { block_slots: small().block_slots / 5 * 4, ..small() };
    world.bob = Bob::new(other, AuthKey::new(SecretBytes::from_vec(vec![1; 1024])).unwrap()).unwrap();
    world.honest(20);
    assert!(world.from_alice.keys.is_empty() && world.from_bob.keys.is_empty());
}

#[test]
fn a_reason_that_cannot_be_made_out() {
    let mut world = World::new(small(), 21, 1024);
    world.with_one_changed(5, kind::START, |mut message| {
        message.truncate(13);
        message[0] = kind::GIVE_UP;
        message.push(99);
        vec![message]
    });
    assert_eq!(world.from_bob.discarded[0].1, DiscardReason::PeerGaveUp { block: 1 });
    let reason = world.from_alice.discarded[0].1;
    assert!(matches!(reason, DiscardReason::TimedOut { block: 1, .. }), "{reason}");
}

#[test]
fn pads_run_out_where_somebody_spoils_every_block_at_the_last_step() {
    for (bytes, pads) in [(1024, 20), (2048, 42)] {
        let mut world = World::new(small(), 22, bytes);
        let spoil = |_, message: Vec<u8>| if message[0] == kind::COMMIT { vec![] } else { vec![message] };
        for _ in 0..=pads {
            for _ in 0..5 {
                world.stretch();
                world.deliver(spoil);
            }
            while world.pass_time() {
                world.deliver(spoil);
            }
        }
        world.assert_no_unequal_keys();
        // One end finds that it has no pad left. The other has only its word for that, which anybody could say in its
        // name: it goes on.
        let ends = [&world.from_alice.discarded, &world.from_bob.discarded];
        let blocks = |end: &&Vec<(_, DiscardReason)>| {
            let spent = end.iter().map(|(_, reason)| *reason);
            spent
                .filter(|reason| matches!(reason, DiscardReason::NoAuthenticationKey { .. }))
                .map(|r| r.block())
                .collect()
        };
        let spent: Vec<Vec<u64>> = ends.iter().map(blocks).collect();
        assert_eq!(spent.concat(), [pads + 1], "after as many blocks as there were pads");
        let told = ends.iter().any(|end| matches!(end.last(), Some((_, DiscardReason::PeerGaveUp { .. }))));
        assert!(told, "the other end is told that the block is gone");
        assert!(world.from_bob.keys.is_empty());
    }
}
