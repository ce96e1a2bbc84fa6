//! Networks that lose, reorder, repeat and corrupt, and one that goes away.

use std::time::Duration;

use vernam_tests::wire::{Impairment, Loss, Way};

use super::{FAR, Place, last, spent, stands};

/// The whole of a transfer over a wire like this, under one-time pad.
#[test]
fn a_file_arrives_whole_over_a_wire_that_loses_reorders_repeats_and_corrupts() {
    let place = Place::new(96);
    let (path, text) = place.file("long.bin", 1_500_000, 611);
    let bad = Impairment::NONE
        .losing(Loss::Bursts { share: 0.03, length: 1.5 })
        .taking(Duration::from_millis(5), Duration::from_millis(3))
        .reordering(0.05, Duration::from_millis(15))
        .repeating(0.02)
        .corrupting(0.02);
    let (alice, bob, wire) = place.transfer(bad, &[&text, "--suite", "otp", "--wait-for-key"], &["--once"]);
    let ((status, told), (received, _)) = (alice.status().unwrap(), bob.status().unwrap());
    assert_eq!((status, received), (0, 0), "{told:?}");
    let counts = wire.counts(Way::Forth);
    println!("{counts:?}");
    assert!(counts.lost > 0 && counts.held_back > 0 && counts.repeated > 0 && counts.corrupted > 0, "{counts:?}");
    assert_eq!(std::fs::read(place.inbox.join("long.bin")).unwrap(), std::fs::read(path).unwrap());
    spent::audit(&place.town);
}

#[test]
fn a_network_that_goes_away_and_comes_back_costs_nothing_but_time() {
    let place = Place::new(64);
    let (path, text) = place.file("long.bin", 20_000_000, 612);
    let (alice, bob, wire) = place.transfer(FAR, &[&text, "--suite", "aes-256-gcm"], &["--once"]);
    stands(&alice, "moving");
    wire.set_dead(true);
    std::thread::sleep(Duration::from_secs(2));
    assert!(wire.counts(Way::Forth).swallowed > 0);
    wire.set_dead(false);
    let ((status, told), (received, _)) = (alice.status().unwrap(), bob.status().unwrap());
    assert_eq!((status, received), (0, 0), "{told:?}");
    assert_eq!(last(&told, "ended")["whole"], true);
    assert_eq!(std::fs::read(place.inbox.join("long.bin")).unwrap(), std::fs::read(path).unwrap());
}
