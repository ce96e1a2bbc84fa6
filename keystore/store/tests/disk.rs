//! What stands in the files, who may open them, and what happens when they are damaged.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use common::{anchors, files, keys, open, plain, reveal, segments, stock_dir, temp, try_open, try_store};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::RngSeed;
use vernam_key::SecretBytes;
use vernam_store::{Error, FileStock, MAX_CONTACT_BYTES, SpentOn, Stock, Store, StoreKey};

/// Of the random damage.
const SEED: u64 = 42;
const BLOCK: usize = 4_096;
/// Key bytes in a record, by the description in the README.
const DATA: u64 = 4_064;

/// Whether any 16 bytes in a row of `needle` (at steps of 16) stand in any file below `dir`.
fn stands_in_files(needle: &[u8], dir: &Path) -> bool {
    let needles: HashSet<&[u8]> = needle.windows(16).step_by(16).collect();
    files(dir).iter().any(|path| fs::read(path).unwrap().windows(16).any(|window| needles.contains(window)))
}

/// The blocks of the first segment that hold records.
fn records(dir: &Path) -> Vec<Vec<u8>> {
    let content = fs::read(&segments(dir)[0]).unwrap();
    content[BLOCK..].chunks(BLOCK).map(<[u8]>::to_vec).collect()
}

#[test]
fn no_plain_key_stands_in_the_files_and_no_trace_of_a_spent_one() {
    let dir = temp();
    let truth = plain(1, &[30_000]);
    let mut stock = open(dir.path());
    stock.append(keys(1, &[30_000])).unwrap();
    assert!(!stands_in_files(&truth, dir.path()));

    // One byte, a record's part, several records, and all the rest.
    for len in [1, 100, 3_000, 9_000, 17_899] {
        let before = records(dir.path());
        let from = stock.status().cursor;
        let taken = stock.take(len, SpentOn::Voice).unwrap();
        assert_eq!(reveal(taken.material), truth[usize::try_from(from).unwrap()..][..usize::try_from(len).unwrap()]);
        assert!(!stands_in_files(&truth, dir.path()));
        let touched = from / DATA..(from + len).div_ceil(DATA);
        for index in touched {
            let old = &before[usize::try_from(index).unwrap()];
            assert!(old[..4_000].iter().any(|byte| *byte != 0), "the record was sealed before");
            assert!(!stands_in_files(nonzero(old), dir.path()), "old ciphertext of record {index} stands after {len}");
        }
    }
    assert!(segments(dir.path()).is_empty(), "a spent segment is removed");
}

/// All of a sealed record: zeros, which stand in many files, do not occur 16 in a row in it.
fn nonzero(record: &[u8]) -> &[u8] {
    assert!(record.windows(16).all(|window| window.iter().any(|byte| *byte != 0)));
    record
}

#[test]
fn discarded_key_leaves_no_trace_either() {
    let dir = temp();
    let mut stock = open(dir.path());
    stock.append(keys(1, &[30_000])).unwrap();
    let before = records(dir.path());
    stock.discard_before(5_000).unwrap();
    stock.discard_from(20_000).unwrap();
    for index in [0, 1, 4, 5, 6, 7] {
        assert!(!stands_in_files(&before[index], dir.path()), "record {index}");
    }
    assert!(stands_in_files(&before[2], dir.path()) && stands_in_files(&before[3], dir.path()));
    assert_eq!(reveal(stock.take(15_000, SpentOn::Voice).unwrap().material), plain(1, &[30_000])[5_000..20_000]);
}

#[test]
fn an_append_is_one_segment_and_only_the_owner_reads_it() {
    let dir = temp();
    let root = dir.path().join("a/store");
    let mut stock = open(&root);
    stock.append(keys(1, &[8_192; 128])).unwrap();
    assert_eq!(segments(&root).len(), 1);
    for path in files(&root) {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
    }
    assert_eq!(fs::metadata(stock_dir(&root)).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn everything_is_there_after_reopening() {
    let dir = temp();
    let lens = [5_000, 3, 9_000];
    let truth = plain(1, &lens);
    let reopened = |stock: FileStock<_>| {
        let (status, listed) = (stock.status(), stock.keys_from(0));
        drop(stock);
        let stock = open(dir.path());
        assert_eq!((stock.status(), stock.keys_from(0)), (status, listed));
        stock
    };
    let mut stock = reopened(open(dir.path()));
    stock.append(keys(1, &lens)).unwrap();
    let mut stock = reopened(stock);
    assert_eq!(reveal(stock.take(4_500, SpentOn::Voice).unwrap().material), truth[..4_500]);
    let mut stock = reopened(stock);
    stock.hole(77).unwrap();
    let mut stock = reopened(stock);
    stock.discard_before(5_001).unwrap();
    let mut stock = reopened(stock);
    stock.discard_from(12_000).unwrap();
    let mut stock = reopened(stock);
    stock.append(keys(2, &lens)).unwrap();
    let mut stock = reopened(stock);
    assert_eq!(reveal(stock.take_at(6_000, 6_000, SpentOn::Voice).unwrap()), truth[6_000..12_000]);
    let mut stock = reopened(stock);
    let taken = stock.take(14_003, SpentOn::Voice).unwrap();
    assert_eq!((taken.start, reveal(taken.material)), (14_003 + 77, plain(2, &lens)));
    let stock = reopened(stock);
    assert_eq!(stock.status().available, 0);
    assert!(segments(dir.path()).is_empty());
}

#[test]
fn one_program_one_stock() {
    let dir = temp();
    let store = try_store(dir.path(), 7).unwrap();
    let error = try_store(dir.path(), 7).err().unwrap();
    assert!(matches!(error, Error::Locked { .. }));
    assert!(error.to_string().contains(&dir.path().display().to_string()), "{error}");

    let outbound = store.outbound("bob").unwrap();
    assert!(matches!(store.outbound("bob").err().unwrap(), Error::AlreadyOpen { .. }));
    let others = (store.inbound("bob").unwrap(), store.outbound("carol").unwrap());
    drop(outbound);
    let outbound = store.outbound("bob").unwrap();
    drop((store, others));
    assert!(matches!(try_store(dir.path(), 7).err().unwrap(), Error::Locked { .. }));
    drop(outbound);
    try_store(dir.path(), 7).unwrap();
}

#[test]
fn another_store_key_is_refused_and_harms_nothing() {
    let dir = temp();
    open(dir.path()).append(keys(1, &[5_000])).unwrap();
    assert!(matches!(try_store(dir.path(), 8).err().unwrap(), Error::WrongStoreKey { .. }));
    assert_eq!(open(dir.path()).status().available, 5_000);
    fs::remove_file(dir.path().join("store")).unwrap();
    assert!(matches!(try_store(dir.path(), 8).err().unwrap(), Error::Damaged { .. }));
}

#[test]
fn hostile_names_stay_in_the_folder_and_apart() {
    let dir = temp();
    let root = dir.path().join("store");
    let store = try_store(&root, 7).unwrap();
    let long = "\u{fc}".repeat(MAX_CONTACT_BYTES / 2);
    let names = ["..", ".", "/", "../../etc", "a/b", "a%2fb", "A", "a", "a\0b", "con", "lock", "~", " ", "\n", &long];
    let mut stocks = Vec::new();
    for (seed, name) in (0..).zip(names) {
        let mut stock = store.outbound(name).unwrap_or_else(|error| panic!("{name:?}: {error}"));
        stock.append(keys(seed, &[10])).unwrap();
        stocks.push(stock);
    }
    let folders = fs::read_dir(root.join("contacts")).unwrap();
    let folders: HashSet<String> = folders.map(|dir| dir.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(folders.len(), names.len());
    let safe = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-%".contains(&byte);
    assert!(folders.iter().all(|name| name.bytes().all(safe) && name.starts_with("contact-")));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "the store and its anchors");
    for name in [String::new(), "a".repeat(MAX_CONTACT_BYTES + 1)] {
        assert!(matches!(store.inbound(&name).err().unwrap(), Error::ContactName { .. }));
    }
}

#[test]
fn a_damaged_record_is_forfeited_and_the_rest_goes_on() {
    for damage in [0, 13, 100, 4_090] {
        let dir = temp();
        open(dir.path()).append(keys(1, &[30_000])).unwrap();
        flip(&segments(dir.path())[0], BLOCK * 3 + damage); // the third record: 8,128 to 12,192
        let mut stock = open(dir.path());
        let status = stock.status();
        assert_eq!((status.available, status.contiguous, status.forfeited), (30_000 - DATA, 2 * DATA, DATA));
        assert!(matches!(stock.take_at(8_000, 500, SpentOn::Voice), Err(Error::NoKeyThere { .. })));
        assert_eq!(reveal(stock.take(10_000, SpentOn::Voice).unwrap().material), plain(1, &[30_000])[12_192..22_192]);
        assert_eq!(stock.status().forfeited, 12_192);
    }
}

#[test]
fn a_record_damaged_while_the_stock_is_open_is_forfeited_when_met() {
    let dir = temp();
    let mut stock = open(dir.path());
    stock.append(keys(1, &[30_000])).unwrap();
    flip(&segments(dir.path())[0], BLOCK * 3);
    flip(&segments(dir.path())[0], BLOCK * 6);
    assert!(matches!(stock.take_at(8_000, 500, SpentOn::Voice), Err(Error::NoKeyThere { .. })));
    assert_eq!((stock.status().cursor, stock.status().forfeited), (0, DATA));
    // The first run is long enough only without the record that turns out damaged; the next one is.
    let taken = stock.take(9_000, SpentOn::Voice).err().unwrap();
    assert!(matches!(taken, Error::NotEnough { wanted: 9_000, longest: 8_128 }), "{taken}");
    assert_eq!(stock.status().forfeited, 2 * DATA);
    assert_eq!(reveal(stock.take(8_128, SpentOn::Voice).unwrap().material), plain(1, &[8_128]));
    // The cursor lands in a record that is damaged now.
    flip(&segments(dir.path())[0], BLOCK * 4);
    assert_eq!(stock.discard_before(13_000).unwrap(), 13_000 - 12_192);
    assert_eq!(stock.contiguous(), DATA);
    let status = stock.status();
    drop(stock);
    assert_eq!(open(dir.path()).status(), status);
}

#[test]
fn records_cannot_change_places() {
    let dir = temp();
    let mut stock = open(dir.path());
    stock.append(keys(1, &[8_128])).unwrap();
    stock.append(keys(2, &[8_128])).unwrap();
    drop(stock);
    let paths = segments(dir.path());
    let [one, two] = [0, 1].map(|index| fs::read(&paths[index]).unwrap());
    let swapped = [&one[..BLOCK], &one[2 * BLOCK..], &one[BLOCK..2 * BLOCK]].concat();
    fs::write(&paths[0], swapped).unwrap();
    fs::write(&paths[1], [&two[..BLOCK], &one[BLOCK..]].concat()).unwrap();
    assert_eq!(open(dir.path()).status().forfeited, 2 * 8_128);
}

#[test]
fn segments_cannot_change_places() {
    let dir = temp();
    let mut stock = open(dir.path());
    stock.append(keys(1, &[100])).unwrap();
    stock.append(keys(2, &[100])).unwrap();
    drop(stock);
    let paths = segments(dir.path());
    fs::copy(&paths[0], &paths[1]).unwrap();
    assert!(matches!(try_open(dir.path()).err().unwrap(), Error::Damaged { .. }));

    // Into the stock of another contact.
    fs::remove_file(&paths[1]).unwrap();
    let store = try_store(dir.path(), 7).unwrap();
    drop(store.outbound("carol").unwrap());
    let there = dir.path().join("contacts/contact-carol/outbound").join(paths[0].file_name().unwrap());
    fs::copy(&paths[0], there).unwrap();
    assert!(matches!(store.outbound("carol").err().unwrap(), Error::Damaged { .. }));
    assert_eq!(store.outbound("bob").unwrap().status().forfeited, 100, "the segment that was removed");
}

#[test]
fn a_damaged_header_is_an_error_that_says_what_to_do() {
    for byte in [0, 8, 11, 12, 30, 70, 4_000, 4_095] {
        let dir = temp();
        let mut stock = open(dir.path());
        stock.append(keys(1, &[100])).unwrap();
        stock.append(keys(2, &[100])).unwrap();
        drop(stock);
        let path = &segments(dir.path())[1];
        flip(path, byte);
        let error = try_open(dir.path()).err().unwrap();
        assert!(matches!(error, Error::Damaged { .. }) && error.to_string().contains("delete it"), "{error}");
        fs::remove_file(path).unwrap();
        let mut stock = open(dir.path());
        let status = stock.status();
        assert_eq!((status.end, status.available, status.forfeited), (200, 100, 100));
        assert_eq!(stock.append(keys(3, &[1])).unwrap(), 200..201);
    }
}

#[test]
fn truncated_and_alien_files_do_not_panic() {
    let dir = temp();
    open(dir.path()).append(keys(1, &[30_000])).unwrap();
    let path = &segments(dir.path())[0];
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(3 * BLOCK as u64 + 99).unwrap();
    fs::write(stock_dir(dir.path()).join("notes.txt"), "not ours").unwrap();
    fs::write(stock_dir(dir.path()).join("00000000000000000009.segment.unfinished"), "a crash left this").unwrap();
    let status = open(dir.path()).status();
    assert_eq!((status.available, status.forfeited), (2 * DATA, 30_000 - 2 * DATA));
    assert!(!stock_dir(dir.path()).join("00000000000000000009.segment.unfinished").exists());
    for len in [0, 5, 30, 4_000] {
        fs::OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
        assert!(matches!(try_open(dir.path()).err().unwrap(), Error::Damaged { .. }));
    }
}

#[test]
fn a_damaged_cursor_costs_the_stock_and_a_lost_one_is_an_error() {
    let dir = temp();
    let mut stock = open(dir.path());
    stock.append(keys(1, &[30_000])).unwrap(); // turn 1
    stock.take(5_000, SpentOn::Voice).unwrap(); // turn 2, in the first slot
    drop(stock);
    let cursor = stock_dir(dir.path()).join("cursor");
    let saved = fs::read(&cursor).unwrap();
    flip(&cursor, 20);
    let stock = open(dir.path());
    // What is left is older than the anchor says: the key in stock could be spent already.
    let status = stock.status();
    assert_eq!((status.cursor, status.end, status.available), (5_000, 30_000, 0));
    assert_eq!((status.spent, status.forfeited), (5_000, 25_000));
    drop(stock);

    fs::write(&cursor, saved).unwrap();
    flip(&cursor, 20);
    flip(&cursor, BLOCK + 20);
    assert!(matches!(try_open(dir.path()).err().unwrap(), Error::Damaged { .. }));
    fs::write(&cursor, "").unwrap();
    assert!(matches!(try_open(dir.path()).err().unwrap(), Error::Damaged { .. }));
    fs::remove_file(&cursor).unwrap();
    fs::write(stock_dir(dir.path()).join("00000000000000030000.segment"), "something").unwrap();
    assert!(matches!(try_open(dir.path()).err().unwrap(), Error::Damaged { .. }));
}

#[test]
fn a_segment_put_back_from_a_copy_brings_nothing_spent_back() {
    let dir = temp();
    let mut stock = open(dir.path());
    stock.append(keys(1, &[30_000])).unwrap();
    let path = segments(dir.path()).remove(0);
    let copy = fs::read(&path).unwrap();
    for len in [5_000, 25_000] {
        stock.take(len, SpentOn::Voice).unwrap();
        let status = stock.status();
        drop(stock);
        fs::write(&path, &copy).unwrap();
        stock = open(dir.path());
        assert_eq!(stock.status(), status);
        assert!(!stands_in_files(&copy[BLOCK..2 * BLOCK], dir.path()), "opening erases it again");
    }
    assert!(segments(dir.path()).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(SEED),
        ..ProptestConfig::default()
    })]

    /// Whatever is flipped in whichever file, opening refuses or what comes out is true, and it comes out once.
    #[test]
    fn damage_anywhere_gives_no_wrong_byte(flips in prop::collection::vec((any::<Index>(), any::<Index>()), 1..6)) {
        let dir = temp();
        let truth = [plain(1, &[9_000]), plain(2, &[20_000])].concat();
        let mut stock = open(dir.path());
        stock.append(keys(1, &[9_000])).unwrap();
        stock.append(keys(2, &[20_000])).unwrap();
        stock.take(3_000, SpentOn::Voice).unwrap();
        drop(stock);
        let not_empty = |path: &PathBuf| fs::metadata(path).unwrap().len() > 0;
        let paths: Vec<PathBuf> = files(dir.path()).into_iter().filter(not_empty).collect();
        for (file, at) in flips {
            let path = file.get(&paths);
            flip(path, at.index(usize::try_from(fs::metadata(path).unwrap().len()).unwrap()));
        }
        if let Ok(mut stock) = try_open(dir.path()) {
            let mut next = 3_000;
            while stock.contiguous() > 0 {
                let len = stock.contiguous().min(5_000);
                let taken = stock.take(len, SpentOn::Voice).unwrap();
                prop_assert!(taken.start >= next);
                next = taken.start + len;
                let expected = &truth[usize::try_from(taken.start).unwrap()..usize::try_from(next).unwrap()];
                prop_assert_eq!(&reveal(taken.material), expected);
            }
            let status = stock.status();
            prop_assert_eq!(status.end, status.spent + status.forfeited + status.holes + status.available);
        }
    }
}

#[test]
fn a_store_key_is_made_once_and_kept_from_others() {
    let dir = temp();
    let path = dir.path().join("store.key");
    drop(Store::open(dir.path().join("store"), anchors(dir.path()), StoreKey::load_or_create(&path).unwrap()).unwrap());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "no file in the making is left");
    drop(Store::open(dir.path().join("store"), anchors(dir.path()), StoreKey::load_or_create(&path).unwrap()).unwrap());

    for mode in [0o640, 0o604, 0o644, 0o660] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = StoreKey::load_or_create(&path).err().unwrap();
        assert!(matches!(error, Error::KeyFileMode { .. }) && error.to_string().contains("chmod 600"), "{error}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    StoreKey::load_or_create(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, [0; 31]).unwrap();
    assert!(matches!(StoreKey::load_or_create(&path).err().unwrap(), Error::KeyFileLength { found: 31, .. }));
    assert!(StoreKey::from_secret(SecretBytes::from_vec(vec![0; 31])).is_none());
}

#[test]
fn a_deleted_lock_file_lets_no_second_one_in() {
    let dir = temp();
    let stock = open(dir.path());
    fs::remove_file(dir.path().join("lock")).unwrap();
    assert!(matches!(try_open(dir.path()).err().unwrap(), Error::Locked { .. }));
    fs::write(dir.path().join("lock"), "").unwrap();
    assert!(matches!(try_open(dir.path()).err().unwrap(), Error::Locked { .. }));
    drop(stock);
    open(dir.path());
}

#[test]
fn links_are_not_followed() {
    let dir = temp();
    open(dir.path()).append(keys(1, &[30_000])).unwrap();
    let stranger = dir.path().join("a file of somebody");
    fs::write(&stranger, "precious").unwrap();
    let stock = stock_dir(dir.path());
    let segment = segments(dir.path()).remove(0);
    let names = [
        stock.join("00000000000000000009.segment.unfinished"),
        stock.join("00000000000000090000.segment"),
        stock.join("cursor"),
        segment,
        dir.path().join("store"),
        dir.path().join("lock"),
    ];
    for name in names {
        let aside = dir.path().join("aside");
        let was_there = fs::rename(&name, &aside).is_ok();
        // To a file of others, and to the right file: what one cannot trust is refused all the same.
        for target in [&stranger, &aside].into_iter().take(if was_there { 2 } else { 1 }) {
            std::os::unix::fs::symlink(target, &name).unwrap();
            let error = try_open(dir.path()).err().unwrap();
            assert!(matches!(&error, Error::Damaged { path, .. } if *path == name), "{name:?}: {error}");
            assert_eq!(fs::read(&stranger).unwrap(), b"precious");
            fs::remove_file(&name).unwrap();
        }
        if was_there {
            fs::rename(&aside, &name).unwrap();
        }
        assert_eq!(open(dir.path()).status().available, 30_000);
    }
}

#[test]
fn a_link_where_a_segment_is_to_be_written_is_refused_and_a_leftover_replaced() {
    let dir = temp();
    let mut stock = open(dir.path());
    stock.append(keys(1, &[100])).unwrap();
    let next = stock_dir(dir.path()).join("00000000000000000100.segment.unfinished");
    let stranger = dir.path().join("a file of somebody");
    fs::write(&stranger, "precious").unwrap();
    std::os::unix::fs::symlink(&stranger, &next).unwrap();
    assert!(matches!(stock.append(keys(2, &[100])).err().unwrap(), Error::Damaged { path, .. } if path == next));
    assert_eq!(fs::read(&stranger).unwrap(), b"precious");
    fs::remove_file(&next).unwrap();
    drop(stock);

    let mut stock = open(dir.path());
    fs::write(&next, vec![7; 100_000]).unwrap();
    stock.append(keys(3, &[100])).unwrap();
    assert!(!next.exists());
    drop(stock);
    assert_eq!(open(dir.path()).status().available, 200);
}

fn flip(path: &Path, at: usize) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at as u64).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], at as u64).unwrap();
}

/// Not a test of a promise: what a take costs, for `cargo test -p vernam-store --test disk cost -- --ignored
/// --nocapture`.
#[test]
#[ignore = "it measures the disk"]
fn the_cost_of_a_take() {
    let dir = temp();
    let mut stock = open(dir.path());
    stock.append(keys(1, &[1_000_000])).unwrap();
    let begin = std::time::Instant::now();
    for _ in 0..200 {
        stock.take(4_816, SpentOn::Voice).unwrap();
    }
    println!("{:?} a take, of a second's voice", begin.elapsed() / 200);
}
