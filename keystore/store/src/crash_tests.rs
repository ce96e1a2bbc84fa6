//! Whatever step is the last before a crash, no byte is given out twice and none that was given out is in the files.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand::rngs::StdRng;
use vernam_key::{KeyId, Outbound, SecretBytes};

use crate::crash::{self, Loss};
use crate::{FileStock, Result, SpentOn, Stock, StockKey, Store, StoreKey};

const SEED: u64 = 42;
const LOSSES: [Loss; 3] = [Loss::Nothing, Loss::Everything, Loss::EveryOther];

type Step = fn(&mut FileStock<Outbound>, &mut Given) -> Result<()>;

/// What left the stock: position and byte.
#[derive(Default)]
struct Given(Vec<(u64, Vec<u8>)>);

impl Given {
    fn take(&mut self, stock: &mut FileStock<Outbound>, len: u64) -> Result<()> {
        let taken = stock.take(len, SpentOn::File)?;
        taken.material.into_seed::<vernam_key::File>().derive(|bytes| self.0.push((taken.start, bytes.to_vec())));
        Ok(())
    }

    fn take_at(&mut self, stock: &mut FileStock<Outbound>, start: u64, len: u64) -> Result<()> {
        let material = stock.take_at(start, len, SpentOn::File)?;
        material.into_seed::<vernam_key::File>().derive(|bytes| self.0.push((start, bytes.to_vec())));
        Ok(())
    }
}

fn open(dir: &Path) -> Result<FileStock<Outbound>> {
    let store_key = StoreKey::from_secret(SecretBytes::from_vec(vec![7; 32])).unwrap();
    Store::open(dir.join("store"), dir.join("anchors"), store_key)?.outbound("bob")
}

/// Random, so that no byte string of 16 stands in two places by chance.
fn keys(seed: u64, lens: &[usize]) -> Vec<StockKey> {
    let rng = &mut StdRng::seed_from_u64(seed);
    lens.iter().map(|len| StockKey { id: KeyId::random(rng), bytes: SecretBytes::random(*len, rng) }).collect()
}

fn append(stock: &mut FileStock<Outbound>, seed: u64) -> Result<()> {
    stock.append(keys(seed, &[5_000, 9_000, 40])).map(drop)
}

/// Every byte that any append of these tests brings in, by position, provided that no append was lost.
fn truth() -> Vec<u8> {
    [SEED, SEED + 1]
        .into_iter()
        .flat_map(|seed| keys(seed, &[5_000, 9_000, 40]))
        .flat_map(|key| key.bytes.expose("test").to_vec())
        .collect()
}

const STEPS: [(&str, Step); 8] = [
    ("append", |stock, _given| append(stock, SEED + 1)),
    ("take a little", |stock, given| given.take(stock, 100)),
    ("take to the border", |stock, given| given.take(stock, 4_064 - 1_000)),
    ("take across records", |stock, given| given.take(stock, 9_001)),
    ("take all", |stock, given| given.take(stock, 13_040)),
    ("take ahead", |stock, given| given.take_at(stock, 6_000, 6_000)),
    ("discard the tail", |stock, _given| stock.discard_from(7_000).map(drop)),
    ("hole", |stock, _given| stock.hole(1_000).map(drop)),
];

/// What an old copy brings back after the crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Back {
    Nothing,
    /// The cursor file alone.
    Cursor,
    /// The cursor file and the anchors, so that nothing tells: what was given out is erased, not only passed.
    CursorAndAnchors,
    /// All of the store: what was given out is in it again.
    Store,
}

impl Back {
    fn parts(self) -> &'static [&'static str] {
        match self {
            Self::Nothing => &[],
            Self::Cursor => &[CURSOR],
            Self::CursorAndAnchors => &[CURSOR, "anchors"],
            Self::Store => &["store"],
        }
    }
}

const CURSOR: &str = "store/contacts/contact-bob/outbound/cursor";

/// Makes the file or folder `to` what `from` is.
fn copy(from: &Path, to: &Path) {
    if from.is_file() {
        fs::copy(from, to).unwrap();
        return;
    }
    let _may_be_missing = fs::remove_dir_all(to);
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        copy(&path, &to.join(path.file_name().unwrap()));
    }
}

#[test]
fn a_crash_before_any_step_gives_no_byte_twice() {
    for (name, step) in STEPS {
        for loss in LOSSES {
            for back in [Back::Nothing, Back::Cursor, Back::CursorAndAnchors, Back::Store] {
                let crashes = (0..1_000).take_while(|steps| crash_at(name, step, loss, *steps, back)).count();
                assert!((2..1_000).contains(&crashes), "{name}: {crashes} durable steps");
            }
        }
    }
}

/// Runs `step` with a crash after `steps` durable steps, opens the stock again and drains it. Says whether it crashed.
/// Then `back` is put back as it was before the step.
fn crash_at(name: &str, step: Step, loss: Loss, steps: u32, back: Back) -> bool {
    let context = format!("{name}, {loss:?}, crash at step {steps}, put back {back:?}, seed {SEED}");
    let temp = tempfile::tempdir().unwrap();
    let old = temp.path().join("old");
    let (mut given, truth) = (Given::default(), truth());
    let mut stock = open(temp.path()).unwrap();
    append(&mut stock, SEED).unwrap();
    given.take(&mut stock, 1_000).unwrap();
    let before = stock.status();
    for part in ["store", "anchors"] {
        copy(&temp.path().join(part), &old.join(part));
    }

    crash::arm(steps, loss);
    let result = step(&mut stock, &mut given);
    let done = stock.status();
    let next = stock.take(1, SpentOn::File).map(drop); // the crash may come here, after the step
    if !crash::disarm() {
        result.unwrap();
        return false;
    }
    next.expect_err("after the crash nothing goes on");
    drop(stock);
    assert_none_in_files(temp.path(), &given, &context);
    for part in back.parts() {
        copy(&old.join(part), &temp.path().join(part));
    }

    let mut stock = open(temp.path()).unwrap_or_else(|error| panic!("{context}: {error}"));
    let after = stock.status();
    let sum = after.spent + after.forfeited + after.holes + after.available;
    assert!(after.cursor >= before.cursor && after.end >= before.end, "{context}: {before:?} {after:?}");
    assert_eq!(sum, after.end, "{context}");
    if result.is_ok() {
        // The crash came after the step, which lasts; the take that it hit may have torn one record.
        let all_there = after.available + 4_064 >= done.available;
        match back {
            Back::Nothing => {
                assert!(
                    all_there && after.end == done.end && after.cursor >= done.cursor,
                    "{context}: {done:?} {after:?}"
                );
            }
            Back::CursorAndAnchors => assert!(all_there, "{context}: {done:?} {after:?}"),
            Back::Cursor | Back::Store => {
                // Noticed, and all given up.
                assert!(after.end == done.end && after.cursor >= done.cursor, "{context}: {done:?} {after:?}");
                assert_eq!(after.available, 0, "{context}");
            }
        }
    }
    while stock.contiguous() > 0 {
        let len = stock.contiguous().min(3_000);
        given.take(&mut stock, len).unwrap();
    }
    assert_none_in_files(temp.path(), &given, &context);

    let mut seen = HashSet::new();
    for (start, bytes) in &given.0 {
        for (pos, byte) in (*start..).zip(bytes) {
            assert!(seen.insert(pos), "{context}: position {pos} was given out twice");
            assert_eq!(truth[usize::try_from(pos).unwrap()], *byte, "{context}: position {pos}");
        }
    }
    true
}

#[test]
fn a_crash_while_opening_does_no_harm() {
    for loss in LOSSES {
        for steps in 0.. {
            let temp = tempfile::tempdir().unwrap();
            let mut given = Given::default();
            let mut stock = open(temp.path()).unwrap();
            append(&mut stock, SEED).unwrap();
            let segment = temp.path().join("store/contacts/contact-bob/outbound/00000000000000000000.segment");
            let before = fs::read(&segment).unwrap()[4_096..3 * 4_096].to_vec(); // two records
            // The cursor and its anchor are durable, the erasure is not: opening has to finish it.
            crash::arm(4, loss);
            given.take(&mut stock, 6_000).unwrap_err();
            crash::disarm();
            drop(stock);

            crash::arm(steps, loss);
            let opened = open(temp.path());
            let crashed = crash::disarm();
            assert_eq!(opened.is_err(), crashed);
            drop(opened);
            let mut stock = open(temp.path()).unwrap();
            let context = format!("{loss:?}, crash at step {steps} of opening");
            assert_not_in_files(temp.path(), &before, &context);
            assert_eq!(stock.status().cursor, 6_000, "{context}");
            // A record is sealed anew in place: where that write is torn, its rest (up to 8,128) is forfeited.
            let left = stock.contiguous();
            assert!(left == 14_040 - 6_000 || left == 14_040 - 8_128, "{context}: {left} left");
            given.take(&mut stock, left).unwrap();
            assert_eq!(given.0[0].1, truth()[14_040 - usize::try_from(left).unwrap()..14_040], "{context}");
            assert_none_in_files(temp.path(), &given, &context);
            if !crashed {
                break;
            }
        }
    }
}

#[test]
fn a_crash_while_an_old_copy_is_given_up_does_not_save_it() {
    for loss in LOSSES {
        for steps in 0.. {
            let temp = tempfile::tempdir().unwrap();
            let [store, old] = ["store", "old"].map(|name| temp.path().join(name));
            let mut given = Given::default();
            let mut stock = open(temp.path()).unwrap();
            append(&mut stock, SEED).unwrap();
            copy(&store, &old);
            given.take(&mut stock, 6_000).unwrap();
            drop(stock);
            copy(&old, &store);

            crash::arm(steps, loss);
            let opened = open(temp.path()).map(drop);
            let crashed = crash::disarm();
            assert_eq!(opened.is_err(), crashed);
            let context = format!("{loss:?}, crash at step {steps} of opening");
            let mut stock = open(temp.path()).unwrap_or_else(|error| panic!("{context}: {error}"));
            let status = stock.status();
            assert_eq!((status.cursor, status.end, status.available), (6_000, 14_040, 0), "{context}");
            append(&mut stock, SEED + 1).unwrap();
            given.take(&mut stock, 14_040).unwrap();
            assert_eq!(given.0[1].0, 14_040, "{context}");
            if !crashed {
                break;
            }
        }
    }
}

#[test]
fn a_crash_while_a_store_is_made_leaves_one_that_opens() {
    for loss in LOSSES {
        for steps in 0.. {
            let temp = tempfile::tempdir().unwrap();
            crash::arm(steps, loss);
            let opened = open(temp.path()).map(drop);
            let crashed = crash::disarm();
            assert_eq!(opened.is_err(), crashed);
            let context = format!("{loss:?}, crash at step {steps} of making");
            let mut stock = open(temp.path()).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_eq!(stock.take_notice(), None, "{context}");
            append(&mut stock, SEED).unwrap();
            drop(stock);
            assert_eq!(open(temp.path()).unwrap().status().available, 14_040, "{context}");
            if !crashed {
                break;
            }
        }
    }
}

#[test]
fn a_full_disk_at_an_append_does_not_close_the_stock() {
    let temp = tempfile::tempdir().unwrap();
    let mut stock = open(temp.path()).unwrap();
    append(&mut stock, SEED).unwrap();
    crash::arm(1, Loss::Nothing);
    append(&mut stock, SEED + 1).unwrap_err();
    crash::disarm();
    let mut given = Given::default();
    given.take(&mut stock, 14_040).unwrap();
    append(&mut stock, SEED + 1).unwrap();
    given.take(&mut stock, 14_040).unwrap();
    assert_eq!([given.0[0].1.clone(), given.0[1].1.clone()].concat(), truth());
}

fn assert_none_in_files(dir: &Path, given: &Given, context: &str) {
    assert_not_in_files(dir, &given.0.iter().flat_map(|(_, bytes)| bytes.clone()).collect::<Vec<u8>>(), context);
}

/// Searches every file below `dir` for any 16 bytes in a row of `secret` (at steps of 16).
fn assert_not_in_files(dir: &Path, secret: &[u8], context: &str) {
    let secret: HashSet<&[u8]> = secret.windows(16).step_by(16).collect();
    for path in files(dir) {
        let bytes = fs::read(&path).unwrap();
        let found = bytes.windows(16).any(|window| secret.contains(window));
        assert!(!found, "{context}: spent key stands in {}", path.display());
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
