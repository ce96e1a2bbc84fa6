//! Transfers in which nothing goes wrong, and those that are cut and taken up again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use vernam_files::limits::MAX_RECEIPTS;
use vernam_files::{DeskError, IncomingError, Outgoing, Pace, Receipt, ResumePoint, TransferId};

use super::support::{ID, PIECE, World, carry, carry_all, contents, plant};

#[test]
fn a_folder_arrives_bit_for_bit_with_times_and_permissions() {
    for seed in 1..=6 {
        println!("seed {seed}");
        let world = World::new();
        plant(&world.from("tree"), &mut ChaCha8Rng::seed_from_u64(seed));
        let offer = world.offer("tree");
        let (files, bytes) = (offer.manifest().files(), offer.manifest().bytes());
        let incoming = world.accept(&offer, Pace::default()).unwrap();
        let (ends, received) = carry_all(offer, incoming);
        assert_eq!(received.placed, [world.to("tree")]);
        assert_eq!((received.files, received.bytes, received.failed.len()), (files, bytes, 0));
        assert_eq!(ends.len(), files as usize);
        assert_eq!(contents(&world.from("tree")), contents(&world.to("tree")));
        world.assert_tidy();
    }
}

#[test]
fn the_hash_of_a_file_is_that_of_its_content() {
    let world = World::new();
    let content = vec![7; 200_000];
    world.put("a.bin", &content);
    let offer = world.offer("a.bin");
    let incoming = world.accept(&offer, Pace::default()).unwrap();
    let (ends, _) = carry_all(offer, incoming);
    assert_eq!(ends[0].outcome.unwrap().to_string(), blake3::hash(&content).to_hex().as_str());
}

#[test]
fn what_has_the_name_already_stays_and_the_new_one_gets_a_number() {
    let world = World::new();
    world.put("report.pdf", "new");
    world.put("photos/a.jpg", "new");
    fs::write(world.to("report.pdf"), "old").unwrap();
    fs::write(world.to("report (1).pdf"), "old").unwrap();
    // Even what is only a link to nowhere, and an empty folder.
    std::os::unix::fs::symlink("nowhere", world.to("report (2).pdf")).unwrap();
    fs::create_dir(world.to("photos")).unwrap();
    let offer = vernam_files::Offer::walk(&[world.from("report.pdf"), world.from("photos")]).unwrap();
    let incoming = world.accept(&offer, Pace::default()).unwrap();
    let (_, received) = carry_all(offer, incoming);
    assert_eq!(received.placed, [world.to("photos (1)"), world.to("report (3).pdf")]);
    assert_eq!(fs::read(world.to("report.pdf")).unwrap(), b"old");
    assert_eq!(fs::read(world.to("report (3).pdf")).unwrap(), b"new");
    assert_eq!(fs::read_dir(world.to("photos")).unwrap().count(), 0);
    assert_eq!(fs::read(world.to("photos (1)/a.jpg")).unwrap(), b"new");
    assert!(!world.to("nowhere").exists());
}

#[test]
fn while_it_comes_only_its_owner_can_look_at_it() {
    let world = World::new();
    world.put("secret.txt", vec![1; 100_000]);
    let offer = world.offer("secret.txt");
    let mut incoming = world.accept(&offer, Pace::default()).unwrap();
    carry(&mut Outgoing::new(offer), &mut incoming, 1).unwrap();
    let part = world.to(&format!(".vernam-{ID}.part"));
    assert_eq!(part.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let file = fs::read_dir(part.join("files")).unwrap().next().unwrap().unwrap();
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(file.file_name(), "0000000");
}

/// The stream is cut at a random piece, many times; sometimes the receiver is thrown away, too.
#[test]
fn a_transfer_that_is_cut_again_and_again_arrives_whole() {
    for seed in 1..=8 {
        println!("seed {seed}");
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let world = World::in_memory();
        plant(&world.from("tree"), &mut random);
        world.put("tree/large", vec![random.random(); 1_500_000]);
        let offer = world.offer("tree");
        world.desk().keep_offer(ID, &offer, b"").unwrap();
        let pace = Pace { bytes: 100_000, time: Duration::from_secs(2) };
        let mut incoming = world.accept(&offer, pace).unwrap();
        drop(offer);
        let mut point = ResumePoint::start();
        let mut cuts = 0;
        loop {
            // The sender starts from what it kept.
            let offer = world.desk().offer(ID).unwrap().0;
            let mut outgoing = Outgoing::resume(offer, &point, |_| true).unwrap();
            let (_, more) = carry(&mut outgoing, &mut incoming, random.random_range(1..6)).unwrap();
            if !more {
                break;
            }
            cuts += 1;
            if random.random() {
                drop(incoming);
                incoming = world.reopen(pace).unwrap();
                point = incoming.resume_point();
            } else {
                point = incoming.pause().unwrap();
            }
        }
        assert!(cuts > 5);
        incoming.finish().unwrap();
        assert_eq!(contents(&world.from("tree")), contents(&world.to("tree")));
        world.assert_tidy();
    }
}

type Change = fn(&std::path::Path);

#[test]
fn a_part_that_was_changed_behind_our_back_comes_anew() {
    let world = World::new();
    world.put("tree/a", vec![1; 100_000]);
    world.put("tree/b", vec![2; 300_000]);
    let pace = Pace { bytes: 1, time: Duration::ZERO };
    let changes: [(Change, u32, u64); 4] = [
        (|_| {}, 2, 164_773),
        (|files| fs::write(files.join("0000002"), vec![9; 200_000]).unwrap(), 2, 0),
        (|files| fs::write(files.join("0000002"), vec![2; 9]).unwrap(), 2, 0),
        (|files| fs::remove_file(files.join("0000001")).unwrap(), 1, 0),
    ];
    for (change, entry, offset) in changes {
        let offer = world.offer("tree");
        let mut incoming = world.accept(&offer, pace).unwrap();
        carry(&mut Outgoing::new(offer), &mut incoming, 4).unwrap();
        drop(incoming);
        change(&world.to(&format!(".vernam-{ID}.part/files")));
        let mut incoming = world.reopen(pace).unwrap();
        let point = incoming.resume_point();
        assert_eq!(point.entry, entry);
        assert_eq!(point.offset > 0, offset > 0, "{point:?}");
        let mut outgoing = Outgoing::resume(world.offer("tree"), &point, |_| true).unwrap();
        carry(&mut outgoing, &mut incoming, usize::MAX).unwrap();
        let placed = incoming.finish().unwrap().placed;
        assert_eq!(contents(&world.from("tree")), contents(&placed[0]));
    }
}

#[test]
fn progress_is_recorded_after_the_time_that_was_asked_for() {
    let world = World::new();
    world.put("a", vec![1; 300_000]);
    let pace = Pace { bytes: u64::MAX, time: Duration::from_secs(5) };
    let mut incoming = world.accept(&world.offer("a"), pace).unwrap();
    let mut outgoing = Outgoing::new(world.offer("a"));
    for (seconds, recorded) in [(100, 0), (104, 0), (105, 150_000 - 3 * 5 - 13), (109, 150_000 - 3 * 5 - 13)] {
        let mut piece = Vec::new();
        outgoing.read(&mut piece, 50_000);
        incoming.push(&piece, Duration::from_secs(seconds)).unwrap();
        assert_eq!(world.desk().parts().unwrap()[0].there, recorded, "{seconds} s");
    }
}

#[test]
fn whoever_waits_for_hashing_may_stop_it() {
    let world = World::new();
    world.put("a", vec![1; 3_000_000]);
    let pace = Pace { bytes: 1, time: Duration::ZERO };
    let mut incoming = world.accept(&world.offer("a"), pace).unwrap();
    carry(&mut Outgoing::new(world.offer("a")), &mut incoming, 40).unwrap();
    let point = incoming.pause().unwrap();
    assert!(point.offset > 2_000_000);
    let stop = Outgoing::resume(world.offer("a"), &point, |done| done < 1_000_000).err().unwrap();
    assert_eq!(stop.to_string(), "the check of what is there already was cancelled");
    drop(incoming);
    let stop = vernam_files::Incoming::reopen(&world.desk(), ID, pace, |done| done < 1_000_000).err().unwrap();
    assert!(matches!(stop, IncomingError::Cancelled));
    assert_eq!(world.reopen(pace).unwrap().resume_point(), point);
}

#[test]
fn old_parts_are_listed_and_removed() {
    let world = World::new();
    world.put("a", vec![1; 300_000]);
    let offer = world.offer("a");
    let hash = offer.manifest().hash();
    let pace = Pace { bytes: 1, time: Duration::ZERO };
    let mut incoming = world.accept(&offer, pace).unwrap();
    assert!(matches!(world.accept(&offer, pace), Err(IncomingError::Desk(DeskError::Known))));
    carry(&mut Outgoing::new(offer), &mut incoming, 2).unwrap();
    assert!(matches!(world.desk().remove_part(ID), Err(DeskError::Busy)));
    assert!(matches!(world.reopen(pace), Err(IncomingError::Desk(DeskError::Busy))));
    assert!(matches!(incoming.finish(), Err(IncomingError::Incomplete)));
    let parts = world.desk().parts().unwrap();
    assert_eq!((parts.len(), parts[0].id, parts[0].manifest), (1, ID, Some(hash)));
    assert_eq!((parts[0].bytes, parts[0].folder.join("")), (300_000, world.to("")));
    assert!(parts[0].there > 100_000 && parts[0].there < 300_000);
    world.desk().remove_part(ID).unwrap();
    world.assert_tidy();
    assert!(matches!(world.reopen(pace), Err(IncomingError::Desk(DeskError::Unknown))));
}

#[test]
fn ten_thousand_small_files_need_a_few_hundred_pieces() {
    let world = World::in_memory();
    fs::create_dir(world.from("many")).unwrap();
    for number in 0..10_000 {
        fs::write(world.from("many").join(format!("{number}.txt")), format!("file {number}").repeat(10)).unwrap();
    }
    let begin = Instant::now();
    let offer = world.offer("many");
    let walked = begin.elapsed();
    let incoming = world.accept(&offer, Pace::default()).unwrap();
    let pieces = offer.manifest().bytes() / PIECE as u64;
    assert!(pieces < 100, "{pieces}");
    let (ends, received) = carry_all(offer, incoming);
    let took = begin.elapsed();
    println!("10,000 files: {walked:?} to walk, {took:?} in all, {:.0} files/s", 10_000.0 / took.as_secs_f64());
    assert_eq!((ends.len(), received.files), (10_000, 10_000));
    assert_eq!(contents(&world.from("many")), contents(&world.to("many")));
}

#[test]
fn a_large_file_goes_in_pieces_of_one_size() {
    const SIZE: u32 = 200 << 20;
    let world = World::new();
    let file = fs::File::create(world.from("large")).unwrap();
    file.set_len(SIZE.into()).unwrap();
    let begin = Instant::now();
    let offer = world.offer("large");
    let incoming = world.accept(&offer, Pace::default()).unwrap();
    let (_, received) = carry_all(offer, incoming);
    println!("200 MiB: {:.0} MB/s with flush", f64::from(SIZE) / 1e6 / begin.elapsed().as_secs_f64());
    assert_eq!((received.bytes, world.to("large").metadata().unwrap().len()), (SIZE.into(), SIZE.into()));
}

/// A sender that never heard that all is in place offers it again; it must not come twice.
#[test]
fn what_was_placed_leaves_a_receipt_and_the_oldest_are_forgotten() {
    let world = World::in_memory();
    world.put("a", "content");
    let desk = world.desk();
    assert_eq!(desk.receipt(ID), None);
    let (_, received) = carry_all(world.offer("a"), world.accept(&world.offer("a"), Pace::default()).unwrap());
    assert_eq!(received.files, 1);
    assert_eq!(desk.receipt(ID), Some(Receipt::Placed { files: 1, failed: 0, bytes: 7 }));
    let long_ago = std::time::UNIX_EPOCH + Duration::from_secs(1);
    let path = world.folder.path().join(format!("desk/{ID}.done"));
    fs::File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
    for number in 0..u128::try_from(MAX_RECEIPTS).unwrap() {
        desk.keep_receipt(TransferId(number.to_be_bytes()), &Receipt::Cancelled).unwrap();
    }
    assert_eq!(desk.receipt(ID), None);
    assert_eq!(desk.receipt(TransferId([0; 16])), Some(Receipt::Cancelled));
}

/// Key is counted before the first byte, so the estimate must hold, whatever the files are like.
#[test]
fn a_stream_is_never_longer_than_was_said_and_hardly_shorter() {
    let world = World::in_memory();
    for (number, size) in [0, 1, 100, 65_536, 300_000, 7].into_iter().enumerate() {
        world.put(&format!("tree/{number}"), vec![1; size]);
    }
    let offer = world.offer("tree");
    let manifest = offer.manifest();
    for piece in [1 << 10, PIECE] {
        let said = vernam_files::stream_len(manifest.files(), manifest.bytes(), piece);
        let mut outgoing = Outgoing::new(world.offer("tree"));
        assert_eq!(outgoing.left(piece), said);
        let (mut bytes, mut out) = (0, Vec::new());
        while outgoing.read(&mut out, piece) {
            bytes += out.len() as u64;
            // The frames around the file that is being read are counted once more.
            assert!(bytes + outgoing.left(piece) <= said + 64);
            out.clear();
        }
        assert!(bytes <= said && said - bytes < said / 16, "{bytes} of {said}");
        assert_eq!(outgoing.left(piece), 0);
    }
}
