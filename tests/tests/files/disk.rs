//! A disk of some megabytes: what is missing is said at both ends, what came is kept, and it goes on when there is room.

use std::path::{Path, PathBuf};
use std::process::Command;

use rand::SeedableRng as _;
use rand_chacha::ChaCha20Rng;

use super::{FAR, Place, stands, tree};

/// A file system of 8 MiB, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(folder: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(folder);
        mount.output().is_ok_and(|output| output.status.success()).then(|| Self(folder.to_owned()))
    }

    /// Takes all room but so much.
    fn fill(&self, but: u64) {
        let free = vernam_files::free_bytes(&self.0).unwrap();
        let taken = usize::try_from(free.saturating_sub(but)).unwrap();
        std::fs::write(self.0.join("other"), vec![0; taken]).unwrap();
    }

    fn clear(&self) {
        std::fs::remove_file(self.0.join("other")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg(&self.0).output();
    }
}

#[test]
fn a_full_disk_is_told_at_both_ends_and_keeps_what_came_even_when_the_receiver_dies() {
    let place = Place::new(64);
    let Some(disk) = SmallDisk::mount(&place.inbox) else {
        println!("SKIPPED: no small file system can be mounted here (not root)");
        return;
    };
    let top = place.plant("tree", &mut ChaCha20Rng::seed_from_u64(621), 30, 300_000);
    // From the beginning: it is said, and taken as soon as there is room.
    disk.fill(1_000_000);
    let text = top.display().to_string();
    let (alice, bob, wire) = place.transfer(FAR, &[&text, "--suite", "aes-256-gcm"], &[]);
    let said = stands(&bob, "not_taken");
    assert!(said["text"].as_str().unwrap().contains("bytes of room are missing"), "{said}");
    disk.clear();
    stands(&bob, "moving");
    // In the middle: somebody else takes the room. He holds the files back until it is gone.
    bob.signal("USR1").unwrap();
    stands(&bob, "paused");
    disk.fill(100_000);
    bob.signal("USR1").unwrap();
    let full = stands(&bob, "waits_for_room");
    assert!(full["missing_bytes"].as_u64().unwrap() > 0, "{full}");
    let told = stands(&alice, "waits_for_room_at_contact");
    assert!(told["missing_bytes"].as_u64().unwrap() > 0, "{told}");
    // What came outlives him.
    bob.kill().unwrap();
    disk.clear();
    let (bob, _) = place.receive(wire.target(), &["--once"]);
    let moving = stands(&bob, "moving");
    assert!(moving["there_bytes"].as_u64().unwrap() > 0, "what had come is there: {moving}");
    assert_eq!((alice.status().unwrap().0, bob.status().unwrap().0), (0, 0));
    assert_eq!(tree(&place.inbox.join("tree")), tree(&top));
}
