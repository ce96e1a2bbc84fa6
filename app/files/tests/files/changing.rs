//! Files that change, shrink, grow, vanish or are replaced while they are read: each fails alone, with its reason.

use std::fs;
use std::path::Path;

use vernam_files::{Failure, Offer, Outgoing, Pace};

use super::support::{World, carry};

/// A change, made when the middle file of three was read in part, or before it was opened.
type Change = fn(&Path);

const CHANGES: [(&str, Change, Failure); 7] = [
    ("shorter", |path| fs::File::options().write(true).open(path).unwrap().set_len(70_000).unwrap(), Failure::Shorter),
    ("longer", |path| fs::File::options().write(true).open(path).unwrap().set_len(400_000).unwrap(), Failure::Longer),
    (
        "written to",
        |path| {
            fs::write(path, vec![9; 300_000]).unwrap();
            let later = std::time::SystemTime::now() + std::time::Duration::from_secs(9);
            fs::File::options().write(true).open(path).unwrap().set_modified(later).unwrap();
        },
        Failure::Changed,
    ),
    (
        "replaced by another of the same size and time",
        |path| {
            let time = path.metadata().unwrap().modified().unwrap();
            let other = path.with_extension("new");
            fs::write(&other, vec![9; 300_000]).unwrap();
            fs::File::options().write(true).open(&other).unwrap().set_modified(time).unwrap();
            fs::rename(other, path).unwrap();
        },
        Failure::Changed,
    ),
    ("vanished", |path| fs::remove_file(path).unwrap(), Failure::Vanished),
    (
        "a link now",
        |path| {
            fs::remove_file(path).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", path).unwrap();
        },
        Failure::Changed,
    ),
    (
        "a folder now",
        |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        },
        Failure::Changed,
    ),
];

#[test]
fn a_file_that_changes_fails_alone() {
    for while_read in [false, true] {
        for (what, change, expected) in CHANGES {
            println!("{what}, while it is read: {while_read}");
            let world = World::new();
            world.put("tree/a", "first");
            let middle = world.put("tree/b", vec![2; 300_000]);
            world.put("tree/c", "last");
            let offer = world.offer("tree");
            let mut incoming = world.accept(&offer, Pace::default()).unwrap();
            let mut outgoing = Outgoing::new(offer);
            let mut ends = Vec::new();
            if while_read {
                let mut piece = Vec::new();
                assert!(outgoing.read(&mut piece, 100_000));
                incoming.push(&piece, std::time::Duration::ZERO).unwrap();
                ends.extend(incoming.drain_ends());
                assert_eq!(outgoing.drain_ends().count(), 1);
            }
            change(&middle);
            ends.extend(carry(&mut outgoing, &mut incoming, usize::MAX).unwrap().0);
            assert_eq!(ends.iter().map(|end| end.outcome.is_ok()).collect::<Vec<_>>(), [true, false, true]);
            assert_eq!(ends[1].outcome, Err(expected));
            assert_eq!((outgoing.sent().files, outgoing.sent().failed), (2, 1));
            let received = incoming.finish().unwrap();
            assert_eq!((received.files, received.bytes, received.failed), (2, 9, vec![(2, expected)]));
            assert_eq!(fs::read(world.to("tree/c")).unwrap(), b"last");
            assert!(!world.to("tree/b").exists());
            world.assert_tidy();
        }
    }
}

#[test]
fn a_folder_that_becomes_a_link_leads_nowhere_else() {
    let world = World::new();
    world.put("tree/inner/a", "mine");
    world.put("other/a", "else");
    let time = world.from("tree/inner/a").metadata().unwrap().modified().unwrap();
    fs::File::options().write(true).open(world.from("other/a")).unwrap().set_modified(time).unwrap();
    let offer = world.offer("tree");
    let mut incoming = world.accept(&offer, Pace::default()).unwrap();
    fs::rename(world.from("tree/inner"), world.from("tree/moved")).unwrap();
    std::os::unix::fs::symlink(world.from("other"), world.from("tree/inner")).unwrap();
    let (ends, _) = carry(&mut Outgoing::new(offer), &mut incoming, usize::MAX).unwrap();
    assert_eq!(ends[0].outcome, Err(Failure::Changed));
    // Nor does one that was always a link.
    let (offer, moved) = (world.offer("tree"), world.from("tree/moved"));
    assert_eq!((offer.left_out_count(), offer.path(2)), (1, moved.canonicalize().unwrap().join("a")));
}

#[test]
fn a_file_that_changed_since_the_cut_starts_anew_or_fails() {
    let world = World::new();
    let path = world.put("a", vec![1; 300_000]);
    let mut incoming = world.accept(&world.offer("a"), Pace::default()).unwrap();
    carry(&mut Outgoing::new(world.offer("a")), &mut incoming, 2).unwrap();
    let point = incoming.pause().unwrap();
    // Same size and time, other content: only the hash tells, and what came is dropped.
    let time = path.metadata().unwrap().modified().unwrap();
    fs::write(&path, vec![2; 300_000]).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    let mut outgoing = Outgoing::resume(Offer::walk(&[path]).unwrap(), &point, |_| true).unwrap();
    carry(&mut outgoing, &mut incoming, usize::MAX).unwrap();
    incoming.finish().unwrap();
    assert_eq!(fs::read(world.to("a")).unwrap(), vec![2; 300_000]);
}
