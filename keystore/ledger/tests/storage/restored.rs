//! A SQLite ledger that was put back from an older copy.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use vernam_key::SecretBytes;
use vernam_ledger::{Kek, Ledger, LedgerLimits, OpenError, Options, Place};

fn open(folder: &Path) -> Result<Ledger, OpenError> {
    Ledger::open(Options {
        place: Place::Sqlite(folder.join("ledger.db")),
        kme: "KME_A".parse().unwrap(),
        kek: Kek::from_secret(SecretBytes::from_vec(vec![3; 32])).unwrap(),
        limits: LedgerLimits::default(),
        scrub_within: Duration::from_secs(10),
        anchor: Some(folder.join("elsewhere").join("anchor")),
    })
}

/// Uses the ledger and ends it.
fn use_it(folder: &Path) {
    let ledger = open(folder).unwrap();
    let link = "KME_B".parse().unwrap();
    let number = ledger.snapshot().link(&link).map_or(0, |view| view.next_block);
    let block = SecretBytes::from_vec(vec![5; 4096]);
    ledger.run_blocking(move |book| book.deposit(&link, number, &block, Duration::from_secs(1))).unwrap().unwrap();
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("elsewhere")).unwrap();
    folder
}

fn anchor(folder: &Path) -> PathBuf {
    folder.join("elsewhere").join("anchor")
}

#[test]
fn an_older_copy_is_never_used_again() {
    let folder = folder();
    let folder = folder.path();
    use_it(folder);
    let copy = fs::read(folder.join("ledger.db")).unwrap();
    use_it(folder);
    let newest = fs::read(folder.join("ledger.db")).unwrap();
    fs::write(folder.join("ledger.db"), copy).unwrap();
    for _again in 0..2 {
        let refused = open(folder).err().unwrap();
        assert!(matches!(refused, OpenError::Restored { .. }), "{refused}");
        assert!(refused.to_string().contains("older copy"), "{refused}");
    }
    fs::write(folder.join("ledger.db"), newest).unwrap();
    use_it(folder);
}

#[test]
fn a_copy_taken_while_it_ran_is_noticed_after_a_clean_end() {
    let folder = folder();
    let folder = folder.path();
    use_it(folder);
    let running = open(folder).unwrap();
    let copies = ["ledger.db", "ledger.db-wal"].map(|name| (name, fs::read(folder.join(name)).unwrap_or_default()));
    drop(running);
    for (name, bytes) in copies {
        fs::write(folder.join(name), bytes).unwrap();
    }
    assert!(matches!(open(folder), Err(OpenError::Restored { .. })));
}

#[test]
fn a_lost_anchor_is_told_of_and_can_be_accepted() {
    let folder = folder();
    let folder = folder.path();
    use_it(folder);
    fs::remove_file(anchor(folder)).unwrap();
    let refused = open(folder).err().unwrap();
    assert!(matches!(refused, OpenError::AnchorLost { .. }) && refused.to_string().contains("empty file"), "{refused}");
    fs::write(anchor(folder), "").unwrap();
    use_it(folder);
    // Another ledger's anchor is no anchor.
    let ours = fs::read_to_string(anchor(folder)).unwrap();
    let mut lines: Vec<_> = ours.lines().collect();
    lines[1] = "0000000000000000";
    fs::write(anchor(folder), lines.join("\n")).unwrap();
    assert!(matches!(open(folder), Err(OpenError::AnchorLost { .. })));
}

#[test]
fn a_new_ledger_takes_the_place_of_an_old_anchor() {
    let folder = folder();
    let folder = folder.path();
    use_it(folder);
    fs::remove_file(folder.join("ledger.db")).unwrap();
    use_it(folder);
    use_it(folder);
}
