//! A disk of four megabytes: it fills, nothing is lost, and it goes on when there is room.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::Mode;
use vernam_files::{Desk, IncomingError, Offer, Outgoing, Pace};

use super::support::{accept, carry, contents};

const FOLDER: &str = "VERNAM_FILES_SMALL_DISK";

/// Runs an ignored test with a small disk of its own, in namespaces of its own.
fn with_small_disk(test: &str) {
    let folder = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=4m,nr_inodes=60 small \"$0\" && exec \"$@\"";
    let exe = std::env::current_exe().unwrap();
    let allowed = Command::new("unshare").args(["-rm", "sh", "-c", script]).arg(folder.path()).arg("true").output();
    if !allowed.as_ref().is_ok_and(|output| output.status.success()) {
        println!("skipped: no namespace with a disk of its own may be made here: {allowed:?}");
        return;
    }
    let output = Command::new("unshare")
        .args(["-rm", "sh", "-c", script])
        .arg(folder.path())
        .arg(exe)
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

fn small_disk() -> Option<PathBuf> {
    Some(std::env::var_os(FOLDER)?.into())
}

#[test]
fn a_full_disk_says_how_much_is_missing_and_goes_on_later() {
    with_small_disk("full::fills_up");
}

#[test]
#[ignore = "the child of a_full_disk_says_how_much_is_missing_and_goes_on_later"]
fn fills_up() {
    let Some(small) = small_disk() else { return };
    let from = tempfile::tempdir().unwrap();
    let tree = from.path().join("tree");
    fs::create_dir(&tree).unwrap();
    for number in 0..30_u8 {
        fs::write(tree.join(format!("{number:02}")), vec![number; 100_000]).unwrap();
    }
    let offer = || Offer::walk(std::slice::from_ref(&tree)).unwrap();
    let desk = Desk::open(&from.path().join("desk")).unwrap();

    // Too little room at the start: seen before anything is written.
    let ballast = small.join("ballast");
    fs::write(&ballast, vec![1; 2 << 20]).unwrap();
    match accept(&desk, &small, &offer(), Pace::default()).err() {
        Some(IncomingError::NoRoom { needed, available, missing, .. }) => {
            assert!(needed >= 3_000_000 && available <= 2 << 20 && missing == needed - available);
        }
        other => panic!("{other:?}"),
    }
    assert!(desk.parts().unwrap().is_empty());
    assert_eq!(fs::read_dir(&small).unwrap().count(), 1);
    fs::remove_file(&ballast).unwrap();

    // Room for bytes, and none for names.
    let crowd = from.path().join("crowd");
    fs::create_dir(&crowd).unwrap();
    (0..70).for_each(|number| fs::write(crowd.join(format!("{number}")), "").unwrap());
    let crowded = accept(&desk, &small, &Offer::walk(&[crowd]).unwrap(), Pace::default()).err().unwrap();
    assert!(matches!(crowded, IncomingError::NoInodes { needed: 10..70, .. }), "{crowded}");

    // Somebody else fills it meanwhile.
    let mut incoming = accept(&desk, &small, &offer(), Pace::default()).unwrap();
    let mut outgoing = Outgoing::new(offer());
    carry(&mut outgoing, &mut incoming, 10).unwrap();
    fill(&ballast);
    let missing = stopped(carry(&mut outgoing, &mut incoming, usize::MAX).unwrap_err());
    let rest = 3_000_000 - incoming.bytes();
    assert!((rest..rest + 200_000).contains(&missing), "{missing} of {rest}");
    let point = incoming.pause().unwrap();
    assert!(point.entry >= 6);

    // Still full: the same again, and nothing is lost by trying.
    let mut outgoing = Outgoing::resume(offer(), &point, |_| true).unwrap();
    stopped(carry(&mut outgoing, &mut incoming, usize::MAX).unwrap_err());
    assert_eq!(incoming.pause().unwrap(), point);
    assert!(incoming.missing_room().unwrap() > 0);

    fs::remove_file(&ballast).unwrap();
    assert_eq!(incoming.missing_room().unwrap(), 0);
    let mut outgoing = Outgoing::resume(offer(), &point, |_| true).unwrap();
    carry(&mut outgoing, &mut incoming, usize::MAX).unwrap();
    incoming.finish().unwrap();
    assert_eq!(contents(&tree), contents(&small.join("tree")));
}

#[test]
fn room_for_a_large_file_is_kept_before_its_first_byte() {
    with_small_disk("full::shows_early");
}

#[test]
#[ignore = "the child of room_for_a_large_file_is_kept_before_its_first_byte"]
fn shows_early() {
    let Some(small) = small_disk() else { return };
    let from = tempfile::tempdir().unwrap();
    let file = from.path().join("large");
    fs::write(&file, vec![5; 3_000_000]).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let offer = || Offer::walk(std::slice::from_ref(&file)).unwrap();
    let desk = Desk::open(&from.path().join("desk")).unwrap();
    // This process is a test's own: what it forbids its files is its own, too.
    rustix::process::umask(Mode::RWXO | Mode::WGRP);
    let mut incoming = accept(&desk, &small, &offer(), Pace::default()).unwrap();
    let ballast = small.join("ballast");
    fs::write(&ballast, vec![1; 2 << 20]).unwrap();
    stopped(carry(&mut Outgoing::new(offer()), &mut incoming, 1).unwrap_err());
    assert_eq!(incoming.pause().unwrap().offset, 0);
    fs::remove_file(&ballast).unwrap();
    // With its room kept, nobody else's files can fill it.
    let mut outgoing = Outgoing::new(offer());
    carry(&mut outgoing, &mut incoming, 1).unwrap();
    fill(&ballast);
    carry(&mut outgoing, &mut incoming, usize::MAX).unwrap();
    fs::remove_file(&ballast).unwrap();
    incoming.finish().unwrap();
    assert_eq!(fs::read(small.join("large")).unwrap(), vec![5; 3_000_000]);
    assert_eq!(small.join("large").metadata().unwrap().permissions().mode() & 0o777, 0o640);
}

/// Takes all room that there is.
fn fill(ballast: &Path) {
    use std::io::Write;
    let mut file = fs::File::create(ballast).unwrap();
    while file.write_all(&[1; 4_096]).is_ok() {}
}

/// That it stopped because the disk is full, and how much is missing.
fn stopped(error: IncomingError) -> u64 {
    match error {
        IncomingError::DiskFull { missing } => missing,
        other => panic!("{other}"),
    }
}
