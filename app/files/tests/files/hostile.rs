//! Peers that do not keep to the format, and neighbours on the same disk.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use vernam_files::{Failure, FrameError, IncomingError, Outgoing, Pace};

use super::support::{ID, World, carry, contents};

fn stream(world: &World) -> Vec<u8> {
    let (mut stream, mut outgoing) = (Vec::new(), Outgoing::new(world.offer("tree")));
    while outgoing.read(&mut stream, 10_000) {}
    stream
}

fn planted() -> World {
    let world = World::in_memory();
    world.put("tree/a", "one");
    world.put("tree/b", "");
    world.put("tree/c", vec![3; 5_000]);
    world
}

#[test]
fn streams_that_break_the_rules_are_refused_and_the_next_one_is_taken() {
    let world = planted();
    let mut incoming = world.accept(&world.offer("tree"), Pace::default()).unwrap();
    let begin = |entry: u32, offset: u64| [[1].as_slice(), &entry.to_be_bytes(), &offset.to_be_bytes()].concat();
    let data = |bytes: &[u8]| [[2].as_slice(), &u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
    let end = |bytes: &[u8]| [[3].as_slice(), blake3::hash(bytes).as_bytes()].concat();
    let early_end = |files: u8| [[5, 0, 0, 0, files, 0, 0, 0, 0].as_slice(), &[0; 32]].concat();
    let cases: [(&str, Vec<u8>, FrameError); 10] = [
        ("content first", data(b"x"), FrameError::Order),
        ("a folder", begin(0, 0), FrameError::Begin { entry: 0, offset: 0 }),
        ("the second file", begin(2, 0), FrameError::Begin { entry: 2, offset: 0 }),
        ("no file at all", begin(u32::MAX, 0), FrameError::Begin { entry: u32::MAX, offset: 0 }),
        ("the middle of the file", begin(1, 1), FrameError::Begin { entry: 1, offset: 1 }),
        ("more than there is", [begin(1, 0), data(b"four")].concat(), FrameError::TooMuch(1)),
        ("less than there is", [begin(1, 0), data(b"on"), end(b"on")].concat(), FrameError::TooLittle(1)),
        ("two beginnings", [begin(1, 0), begin(1, 0)].concat(), FrameError::Order),
        ("an early end", early_end(0), FrameError::Count),
        ("nonsense", vec![77], FrameError::Unknown(77)),
    ];
    for (what, bytes, expected) in cases {
        let error = incoming.push(&bytes, Duration::ZERO).unwrap_err();
        assert!(matches!(error, IncomingError::Frame(error) if error == expected), "{what}: {error}");
        let after = incoming.push(&begin(1, 0), Duration::ZERO).unwrap_err();
        assert!(matches!(after, IncomingError::Stopped), "{what}: {after}");
        incoming.pause().unwrap();
        if incoming.resume_point().offset > 0 {
            incoming.push(&begin(1, 0), Duration::ZERO).unwrap();
            incoming.pause().unwrap();
        }
    }
    incoming.push(&stream(&world), Duration::ZERO).unwrap();
    let error = incoming.push(&[5; 41], Duration::ZERO).unwrap_err();
    assert!(matches!(error, IncomingError::Frame(FrameError::AfterEnd)));
    incoming.pause().unwrap();
}

#[test]
fn a_sender_that_says_it_ended_other_files_than_came_is_not_believed() {
    let world = planted();
    let mut incoming = world.accept(&world.offer("tree"), Pace::default()).unwrap();
    let mut bytes = stream(&world);
    *bytes.last_mut().unwrap() ^= 1;
    let error = incoming.push(&bytes, Duration::ZERO).unwrap_err();
    assert!(matches!(error, IncomingError::Frame(FrameError::Root)), "{error}");
    assert!(!incoming.is_complete());
}

#[test]
fn content_that_is_not_what_was_read_is_not_kept() {
    let world = planted();
    let mut incoming = world.accept(&world.offer("tree"), Pace::default()).unwrap();
    let mut bytes = stream(&world);
    let at = bytes.windows(3).position(|window| window == b"one").unwrap();
    bytes[at] ^= 1;
    incoming.push(&bytes, Duration::ZERO).unwrap();
    let received = incoming.finish().unwrap();
    assert_eq!((received.files, received.failed), (2, vec![(1, Failure::Damaged)]));
    assert!(!world.to("tree/a").exists() && world.to("tree/b").exists());
}

/// Random damage to a stream: an error or failed files, never a file that differs, never anything outside.
#[test]
fn damaged_streams_never_become_wrong_files() {
    for seed in 1..=60 {
        let world = planted();
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut bytes = stream(&world);
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..bytes.len());
            // Most of the stream is content: half of the faults hit what is around it.
            let at = if random.random() { at } else { at % 100 };
            bytes[at] ^= 1 << random.random_range(0..8);
        }
        let mut incoming = world.accept(&world.offer("tree"), Pace::default()).unwrap();
        let piece = random.random_range(1..3_000);
        let taken = bytes.chunks(piece).try_for_each(|piece| incoming.push(piece, Duration::ZERO));
        if taken.is_ok() && incoming.is_complete() {
            incoming.finish().unwrap();
            let sent = contents(&world.from(""));
            for (path, found) in contents(&world.to("")) {
                assert!(path == std::path::Path::new("") || sent.get(&path) == Some(&found), "seed {seed}: {path:?}");
            }
        } else {
            drop(incoming);
            assert_eq!(fs::read_dir(world.to("")).unwrap().count(), 1, "seed {seed}");
        }
    }
}

#[test]
fn links_that_somebody_placed_are_not_followed() {
    let world = planted();
    let elsewhere = world.folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("kept"), "kept").unwrap();
    let part = world.to(&format!(".vernam-{ID}.part"));

    // In the place of the hidden folder.
    symlink(&elsewhere, &part).unwrap();
    let refused = world.accept(&world.offer("tree"), Pace::default()).err().unwrap();
    assert!(matches!(refused, IncomingError::Tampered { .. }), "{refused}");
    fs::remove_file(&part).unwrap();

    // In the place of a file that comes, of the folder that is built, and of a folder in it.
    let pace = Pace { bytes: 1, time: Duration::ZERO };
    let mut incoming = world.accept(&world.offer("tree"), pace).unwrap();
    symlink(elsewhere.join("kept"), part.join("files/0000003")).unwrap();
    carry(&mut Outgoing::new(world.offer("tree")), &mut incoming, usize::MAX).unwrap();
    symlink(&elsewhere, part.join("tree")).unwrap();
    incoming.finish().unwrap_err();
    fs::remove_file(part.join("tree")).unwrap();
    fs::create_dir(part.join("tree")).unwrap();
    symlink(&elsewhere, part.join("tree/tree")).unwrap();
    world.reopen(pace).unwrap().finish().unwrap_err();
    fs::remove_file(part.join("tree/tree")).unwrap();
    world.reopen(pace).unwrap().finish().unwrap();
    assert_eq!(contents(&world.from("tree")), contents(&world.to("tree")));

    // In the place of what was received: it gets a number.
    symlink(&elsewhere, world.to("tree (1)")).unwrap();
    let mut incoming = world.accept(&world.offer("tree"), pace).unwrap();
    carry(&mut Outgoing::new(world.offer("tree")), &mut incoming, usize::MAX).unwrap();
    assert_eq!(incoming.finish().unwrap().placed, [world.to("tree (2)")]);
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1);
    assert_eq!(fs::read(elsewhere.join("kept")).unwrap(), b"kept");
}

#[test]
fn a_part_with_a_second_name_is_not_written_to() {
    let world = World::new();
    world.put("a", vec![1; 300_000]);
    let pace = Pace { bytes: 1, time: Duration::ZERO };
    let mut incoming = world.accept(&world.offer("a"), pace).unwrap();
    carry(&mut Outgoing::new(world.offer("a")), &mut incoming, 2).unwrap();
    drop(incoming);
    let file = world.to(&format!(".vernam-{ID}.part/files/0000000"));
    fs::hard_link(&file, world.to("second")).unwrap();
    assert!(matches!(world.reopen(pace), Err(IncomingError::Disk { .. })));
    fs::remove_file(world.to("second")).unwrap();
    assert!(world.reopen(pace).unwrap().resume_point().offset > 0);
}
