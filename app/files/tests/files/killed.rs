//! `kill -9` of the receiver at random moments, while it writes and while it puts files in place.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use vernam_files::{Desk, DeskError, Incoming, IncomingError, Outgoing, Pace};

use super::support::{ID, World, accept, carry, contents, plant};

const FOLDER: &str = "VERNAM_FILES_FOLDER";
/// After so many pieces the child kills itself.
const PIECES: &str = "VERNAM_FILES_PIECES";
const PACE: Pace = Pace { bytes: 50_000, time: Duration::from_secs(1) };

/// Receives all in one process, from wherever the last one came to; `wait` makes each piece slow. After `pieces` of them
/// it dies, as by `kill -9`.
fn receive(folder: &Path, wait: Duration, mut pieces: u32) {
    let desk = Desk::open(&folder.join("desk")).unwrap();
    let offer = desk.offer(ID).unwrap().0;
    let reopened = Incoming::reopen(&desk, ID, PACE, |_| true);
    let mut incoming = match reopened {
        // Killed before it was accepted: what was cut off there is removed, and it is accepted again.
        Err(IncomingError::Desk(DeskError::Unknown)) => {
            desk.remove_part(ID).unwrap();
            accept(&desk, &folder.join("to"), &offer, PACE).unwrap()
        }
        other => other.unwrap(),
    };
    fs::write(folder.join("accepted"), "").unwrap();
    println!("begins");
    let mut outgoing = Outgoing::resume(offer, &incoming.resume_point(), |_| true).unwrap();
    while !incoming.is_complete() {
        if pieces == 0 {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
        }
        pieces -= 1;
        carry(&mut outgoing, &mut incoming, 1).unwrap();
        std::thread::sleep(wait);
    }
    println!("finishes");
    incoming.finish().unwrap();
}

/// What the child does; run alone it has nothing to do.
#[test]
#[ignore = "the child of the_receiver_may_die_at_any_moment"]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let pieces = std::env::var(PIECES).unwrap().parse().unwrap();
    receive(&PathBuf::from(folder), Duration::from_micros(100), pieces);
}

/// Starts a receiver that lives for so many pieces; kills it some time after it has said `said_first`. Whether it was killed
/// before its end.
fn kill_after(world: &World, pieces: u32, said_first: &str, wait: Duration) -> bool {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::child", "--ignored", "--nocapture"])
        .env(FOLDER, world.folder.path())
        .env(PIECES, pieces.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    said.by_ref().map_while(Result::ok).find(|line| line.contains(said_first));
    std::thread::sleep(wait);
    child.kill().unwrap();
    !child.wait().unwrap().success()
}

#[test]
fn the_receiver_may_die_at_any_moment() {
    let (mut kills, mut finished) = (0, 0);
    for seed in 1..=6_u64 {
        println!("seed {seed}");
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let world = World::in_memory();
        plant(&world.from("tree"), &mut random);
        world.put("tree/large", vec![random.random(); 1_000_000]);
        world.desk().keep_offer(ID, &world.offer("tree"), b"").unwrap();
        for _ in 0..12 {
            // By its own hand between two pieces, or by ours at any instruction.
            let own = random.random();
            let pieces = if own { random.random_range(1..6) } else { u32::MAX };
            let wait = Duration::from_micros(random.random_range(0..2_500));
            let said_first = if own { "finishes" } else { "begins" };
            kills += u32::from(kill_after(&world, pieces, said_first, wait));
            // Nothing has its name before all of it is there.
            if world.to("tree").exists() {
                assert_eq!(contents(&world.from("tree")), contents(&world.to("tree")));
            }
            if is_over(&world) {
                finished += 1;
                break;
            }
        }
        if !is_over(&world) {
            receive(world.folder.path(), Duration::ZERO, u32::MAX);
        }
        assert_eq!(contents(&world.from("tree")), contents(&world.to("tree")));
        assert_eq!(fs::read_dir(world.to("")).unwrap().count(), 1);
        world.assert_tidy();
    }
    println!("{kills} kills; {finished} of 6 transfers ended between them");
    assert!(kills > 6, "those that kill themselves do not depend on time");
}

#[test]
fn the_receiver_may_die_while_files_get_their_names() {
    let mut kills = 0;
    for seed in 1..=6_u64 {
        println!("seed {seed}");
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let world = World::in_memory();
        let tops: Vec<_> = (0..500).map(|number| world.put(&format!("{number}"), format!("{seed} {number}"))).collect();
        let deep = world.put("500/a/b/c", "deep");
        assert!(deep.exists());
        let tops: Vec<_> = tops.into_iter().chain([world.from("500")]).collect();
        world.desk().keep_offer(ID, &vernam_files::Offer::walk(&tops).unwrap(), b"").unwrap();
        for _ in 0..12 {
            let wait = Duration::from_micros(random.random_range(0..1_500));
            kills += u32::from(kill_after(&world, u32::MAX, "finishes", wait));
            if is_over(&world) {
                break;
            }
        }
        if !is_over(&world) {
            receive(world.folder.path(), Duration::ZERO, u32::MAX);
        }
        let mut expected = contents(&world.from(""));
        let mut found = contents(&world.to(""));
        // The two folders themselves are not part of it.
        expected.remove(Path::new(""));
        found.remove(Path::new(""));
        assert_eq!(expected, found);
        world.assert_tidy();
    }
    println!("{kills} kills while files got their names");
}

/// It was accepted, and it is over.
fn is_over(world: &World) -> bool {
    world.folder.path().join("accepted").exists() && world.desk().parts().unwrap().is_empty()
}

/// Death between any two steps of putting files in place, played with what is on the disk then.
#[test]
fn files_that_have_their_names_already_are_not_missed() {
    let world = World::new();
    world.put("a", "one");
    world.put("b/c", "two");
    world.put("b/d", "three");
    let offer = || vernam_files::Offer::walk(&[world.from("a"), world.from("b")]).unwrap();
    let mut incoming = world.accept(&offer(), PACE).unwrap();
    carry(&mut Outgoing::new(offer()), &mut incoming, usize::MAX).unwrap();
    // Its end is torn away while the folder is built: a name that cannot be made.
    let tree = world.to(&format!(".vernam-{ID}.part/tree"));
    fs::create_dir_all(&tree).unwrap();
    fs::write(tree.join("b"), "in the way").unwrap();
    incoming.finish().unwrap_err();
    fs::remove_file(tree.join("b")).unwrap();
    let incoming = world.reopen(PACE).unwrap();
    assert!(incoming.is_complete());
    let received = incoming.finish().unwrap();
    assert_eq!(received.placed, [world.to("a"), world.to("b")]);
    assert_eq!((received.files, received.bytes), (3, 11));
    assert_eq!(contents(&world.from("")).len(), contents(&world.to("")).len());
    world.assert_tidy();
}
