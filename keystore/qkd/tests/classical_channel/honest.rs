//! Nobody meddles.

use vernam_qkd::distil::cascade::Variant;
use vernam_qkd::distil::{AuthKey, EndConfig};
use vernam_qkd::finite::{Analysis, Decoys, Intensities, PhaseBound, Security, Tail};

use super::world::{STRETCH, World, kind, small};

#[test]
fn blocks_come_out_equal_with_equal_reports_and_books_that_balance() {
    let mut world = World::new(small(), 1, 1024);
    world.honest(30);
    let (alice, bob) = (&world.from_alice, &world.from_bob);
    assert_eq!(bob.keys.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6], "{:?}", bob.discarded);
    assert_eq!(alice.keys, bob.keys);
    assert_eq!(alice.reports, bob.reports);
    assert_eq!((alice.progress.len(), &alice.progress), (30, &bob.progress));
    assert!(alice.void.is_empty() && alice.discarded.is_empty());
    for report in &bob.reports {
        assert_eq!(report.pulses, 5 * STRETCH);
        assert_eq!(report.end.saturating_sub(report.start).as_micros(), 200_000);
        assert_eq!((report.auth.tags, report.auth.bits), (3, 3 * 128), "as many pads come in as go out");
        assert!((0.005..0.05).contains(&report.qber_x) && (0.0..0.08).contains(&report.qber_z), "{report:?}");
        let least = 0.1 * report.counts.x.total();
        assert!((least..3.0 * least).contains(&report.leakage.parities), "{report:?}");
        let errors: f64 = report.counts.x.errors.iter().sum();
        assert!((errors / report.counts.x.total() - report.qber_x).abs() < 1e-12);
        assert!(report.epsilon.correctness < 1e-35 && report.epsilon.authentication < 2e-35, "{:?}", report.epsilon);
        assert!(report.key_bits >= 64 && report.rate_bps > 1_000.0, "{report:?}");
        assert!((report.gains[0] / 0.6 - 1.0).abs() < 0.1, "{:?}", report.gains);
    }
    let distinct: std::collections::BTreeSet<_> = bob.keys.values().collect();
    assert_eq!(distinct.len(), 6);
    assert!(format!("{:?}", world.alice).contains("pads: (40, 19)"), "{:?}, of 42 and 20", world.alice);
    assert!(format!("{:?}", world.bob).contains("pads: (20, 42)"), "{:?}", world.bob);
}

#[test]
fn numbers_go_on_from_where_the_ends_are_told() {
    let mut world = World::new(EndConfig { first_block: 1_000, ..small() }, 3, 1024);
    world.honest(15);
    world.assert_all_equal();
    assert_eq!(world.from_bob.keys.keys().copied().collect::<Vec<_>>(), [1_000, 1_001, 1_002]);
}

#[test]
fn every_analysis_and_variant_gives_key() {
    let one = Intensities { mu: [0.4, 0.1, 0.0], p: [0.4, 0.6, 0.0] };
    for (analysis, intensities) in [
        (Analysis { decoys: Decoys::Two, tail: Tail::Hoeffding, phase: PhaseBound::Serfling }, small().intensities),
        (Analysis { decoys: Decoys::One, tail: Tail::Chernoff, phase: PhaseBound::Gamma }, one),
    ] {
        let mut config = small();
        (config.analysis, config.intensities, config.cascade) = (analysis, intensities, Variant::NearShannon);
        config.block_slots = 20 * STRETCH;
        let mut world = World::new(config, 2, 1024);
        world.errors = [0.005; 2];
        world.honest(20);
        world.assert_all_equal();
        assert_eq!(world.from_alice.reports, world.from_bob.reports);
        assert_eq!(world.from_bob.keys.len(), 1, "{:?}", world.from_bob.discarded);
    }
}

#[test]
fn a_block_ends_by_its_bits_too_and_stretches_wait_for_their_turn() {
    let mut config = small();
    (config.block_slots, config.block_bits) = (1 << 40, 9_000);
    let mut world = World::new(config, 3, 1024);
    // Twelve stretches before the first message arrives: they go in one message.
    for _ in 0..12 {
        world.stretch();
    }
    world.deliver(|_, message| vec![message]);
    world.honest(10);
    let pulses: Vec<_> = world.from_bob.reports.iter().map(|report| report.pulses / STRETCH).collect();
    assert_eq!(pulses, [12, 5, 5], "{:?}", world.from_bob.discarded);
    world.assert_all_equal();
}

#[test]
fn light_that_leaks_out_of_the_box_costs_key() {
    let key_bits = |trojan_photons| {
        let mut config = small();
        config.trojan_photons = trojan_photons;
        let mut world = World::new(config, 4, 1024);
        world.honest(5);
        world.from_bob.reports.first().map_or(0, |report| report.key_bits)
    };
    let (without, with) = (key_bits(0.0), key_bits(1e-4));
    assert!(with < without && without > 0, "{with} of {without}");
}

#[test]
fn a_lost_confirmation_or_last_word_is_said_again() {
    for lost in [kind::CONFIRM, kind::COMMIT] {
        let mut world = World::new(small(), 5, 1024);
        world.with_one_changed(5, lost, |_| vec![]);
        world.assert_all_equal();
        assert_eq!((world.from_bob.keys.len(), world.from_bob.discarded.len()), (1, 0));
        world.honest(5);
        world.assert_all_equal();
        assert_eq!(world.from_bob.keys.len(), 2);
        assert!(world.from_alice.void.is_empty());
    }
}

#[test]
fn a_block_whose_last_word_never_came_is_void_as_soon_as_the_next_one_passes() {
    let mut world = World::new(small(), 6, 1024);
    world.honest(5);
    for _ in 0..5 {
        world.stretch();
        world.deliver(|_, message| if message[0] == kind::COMMIT { vec![] } else { vec![message] });
    }
    while world.pass_time() {
        world.deliver(|_, message| if message[0] == kind::COMMIT { vec![] } else { vec![message] });
    }
    world.assert_no_unequal_keys();
    assert_eq!((world.from_alice.keys.len(), world.from_bob.keys.len()), (2, 1));
    assert!(world.from_bob.discarded[0].1.to_string().contains("no last word came"), "{:?}", world.from_bob.discarded);
    world.honest(15);
    world.assert_all_equal();
    assert_eq!(world.from_alice.void.iter().copied().collect::<Vec<_>>(), [2]);
    assert_eq!(world.from_bob.keys.keys().copied().collect::<Vec<_>>(), [1, 3, 4, 5]);
    let bits: Vec<_> = world.from_bob.reports.iter().map(|report| report.auth.bits / 128).collect();
    assert_eq!(bits, [3, 3, 6, 3], "what the lost block took comes back once it is known to be lost");
    let seen: Vec<_> = world.from_alice.reports.iter().map(|report| report.number).collect();
    assert_eq!(seen, [1, 2, 3, 4, 5]);
}

#[test]
fn debug_shows_no_secret() {
    let world = World::new(small(), 7, 2048);
    let text = format!("{:?} {:?}", world.alice, world.bob);
    assert!(text.len() < 200, "{text}");
    let key = AuthKey::new(vernam_key::SecretBytes::from_vec(vec![0xA7; 1024])).unwrap();
    assert_eq!(format!("{key:?}"), "AuthKey(<1024 secret bytes>)");
}

#[test]
fn settings_that_cannot_be_say_what_to_do() {
    type Change = fn(&mut EndConfig);
    let changes: [(&str, Change); 12] = [
        ("p_x", |c| c.p_x = 1.0),
        ("qber_alarm", |c| c.qber_alarm = f64::NAN),
        ("block_slots", |c| c.block_slots = 0),
        ("first_block", |c| c.first_block = 0),
        ("block_bits", |c| c.block_bits = 1 << 30),
        ("min_detections", |c| c.min_detections = 0),
        ("slots_per_second", |c| c.slots_per_second = 0.0),
        ("trojan_photons", |c| c.trojan_photons = -1.0),
        ("timeout", |c| c.timeout = std::time::Duration::ZERO),
        ("photons", |c| c.intensities.mu = [0.1, 0.5, 0.0]),
        ("eps_cor", |c| c.security.eps_cor = 1e-38),
        ("eps_sec", |c| c.security = Security { eps_sec: 0.0, eps_cor: 1e-10 }),
    ];
    for (field, change) in changes {
        let mut config = small();
        change(&mut config);
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains(field) && error.len() > 30, "{error}");
    }
}
