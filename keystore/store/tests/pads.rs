//! Pads carried by hand: made, taken in once, and given out once on either side.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use common::{Temp, copy_dir, files, store, temp};
use vernam_key::{KeyId, SecretBytes};
use vernam_store::pad::{self, Cost, Imported, LockedPad, MAX_PAD_KEY, MIN_PAD_BYTES, Made, PadStock, Person};
use vernam_store::{Error, Result, StockKey, Store};

const BYTES: u64 = 300_001;
const EACH_WAY: u64 = 150_000;
const PASSPHRASES: [&str; 2] = ["alice's own words", "bob's own words"];

fn secret(words: &str) -> SecretBytes {
    SecretBytes::copy_of(words.as_bytes())
}

fn make(dir: &Path) -> Result<Made> {
    let [hers, his] = PASSPHRASES.map(secret);
    let people = [Person { name: "alice", passphrase: &hers }, Person { name: "bob", passphrase: &his }];
    pad::make(dir, &people, BYTES, Cost::for_tests())
}

fn import(store: &Store, path: &Path, words: &str, contact: &str) -> Result<Imported> {
    store.import_pad(LockedPad::open(path)?.unlock(&secret(words))?, contact, None)
}

/// Two homes with one pad, and the files it came in.
struct Two {
    homes: [Temp; 2],
    paths: [PathBuf; 2],
    _folder: tempfile::TempDir,
}

impl Two {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = make(folder.path()).unwrap();
        let homes = [temp(), temp()];
        for (index, contact) in [(0, "bob"), (1, "alice")] {
            let store = store(homes[index].path());
            let imported = import(&store, &made.paths[index], PASSPHRASES[index], contact).unwrap();
            assert_eq!((imported.each_way, imported.fingerprint), (EACH_WAY, made.fingerprint));
        }
        Self { homes, paths: made.paths, _folder: folder }
    }

    fn open(&self) -> [PadStock; 2] {
        [0, 1].map(|index| store(self.homes[index].path()).pad_stock(["bob", "alice"][index]).unwrap())
    }
}

fn ids(keys: &[StockKey]) -> Vec<KeyId> {
    keys.iter().map(|key| key.id).collect()
}

fn bytes(keys: &[StockKey]) -> Vec<Vec<u8>> {
    keys.iter().map(|key| key.bytes.expose("test").to_vec()).collect()
}

#[test]
fn what_one_takes_the_other_collects_and_nobody_twice() {
    let two = Two::new();
    let mut seen = HashSet::new();
    for round in 0..3 {
        let [mut alice, mut bob] = two.open(); // anew each time: all of it is on disk
        for _each_way in 0..2 {
            std::mem::swap(&mut alice, &mut bob);
            let (giver, other) = (&mut alice, &mut bob);
            let taken = giver.take(7, 4_097).unwrap();
            assert_eq!(taken.len(), 7);
            let collected = other.collect(&ids(&taken)).unwrap();
            assert_eq!((ids(&taken), bytes(&taken)), (ids(&collected), bytes(&collected)));
            for key in bytes(&taken) {
                assert!(key.iter().any(|byte| *byte != 0) && seen.insert(key), "round {round}: a key twice");
            }
            assert!(matches!(other.collect(&ids(&taken)).err().unwrap(), Error::AlreadySpent { .. }));
            // A key for the other direction is no key of ours.
            assert!(matches!(giver.collect(&ids(&taken)).err().unwrap(), Error::PadUnknownKey { .. }));
        }
        let left = EACH_WAY - (round + 1) * 7 * 4_097;
        assert_eq!((alice.left(), bob.left()), ((left, left), (left, left)));
    }
}

#[test]
fn keys_are_collected_in_any_order() {
    let two = Two::new();
    let [mut alice, mut bob] = two.open();
    let taken = alice.take(6, 1_000).unwrap();
    let (names, truth) = (ids(&taken), bytes(&taken));
    for order in [vec![4], vec![1, 0], vec![5, 3], vec![2]] {
        let asked: Vec<KeyId> = order.iter().map(|index| names[*index]).collect();
        let wanted: Vec<Vec<u8>> = order.iter().map(|index| truth[*index].clone()).collect();
        assert_eq!(bytes(&bob.collect(&asked).unwrap()), wanted);
    }
    for id in names {
        assert!(matches!(bob.collect(&[id]).err().unwrap(), Error::AlreadySpent { .. }));
    }
    // What a restart finds passed over is spent: it was held in memory only.
    let taken = ids(&alice.take(2, 1_000).unwrap());
    bob.collect(&taken[1..]).unwrap();
    drop((alice, bob));
    let [_, mut bob] = two.open();
    assert!(matches!(bob.collect(&taken[..1]).err().unwrap(), Error::AlreadySpent { .. }));
}

#[test]
fn a_made_up_name_spends_nothing() {
    let two = Two::new();
    let [mut alice, mut bob] = two.open();
    let taken = ids(&alice.take(1, 1_000).unwrap());
    let left = bob.left();
    for (byte, bit) in [(0, 1), (4, 1), (6, 1), (8, 0x20), (15, 1)] {
        let mut name = taken[0].to_bytes();
        name[byte] ^= bit;
        let asked = [taken[0], KeyId::from_bytes(name)];
        assert!(matches!(bob.collect(&asked).err().unwrap(), Error::PadUnknownKey { .. }));
    }
    assert_eq!(bob.left(), left);
    bob.collect(&taken).unwrap();
}

#[test]
fn a_pad_ends_and_the_next_one_goes_on() {
    let two = Two::new();
    let more = tempfile::tempdir().unwrap();
    let made = make(more.path()).unwrap();
    for (index, contact) in [(0, "bob"), (1, "alice")] {
        import(&store(two.homes[index].path()), &made.paths[index], PASSPHRASES[index], contact).unwrap();
    }
    let [mut alice, mut bob] = two.open();
    assert_eq!(alice.left(), (2 * EACH_WAY, 2 * EACH_WAY));
    let mut total = 0;
    loop {
        let room = alice.room(5_000);
        if room < 5_000 {
            break;
        }
        let taken = alice.take(16, 5_000).unwrap();
        assert_eq!(taken.len() as u64, (room / 5_000).min(16), "no key spans two pads");
        assert_eq!(bytes(&bob.collect(&ids(&taken)).unwrap()), bytes(&taken));
        total += taken.len() as u64 * 5_000;
    }
    assert_eq!(total, 2 * EACH_WAY);
    let error = alice.take(1, 5_000).err().unwrap();
    assert!(matches!(error, Error::PadUsedUp { wanted: 5_000, left: 0 }) && error.to_string().contains("new pad"));
    for wrong in [0, MAX_PAD_KEY + 1, u32::MAX] {
        assert!(matches!(alice.take(1, wrong).err().unwrap(), Error::PadKeySize { .. }));
    }
}

#[test]
fn the_files_hold_no_plain_pad_and_only_the_owner_reads_them() {
    let two = Two::new();
    let [mut alice, _bob] = two.open();
    let truth = bytes(&alice.take(30, 5_000).unwrap()).concat();
    let windows: HashSet<&[u8]> = truth.windows(16).step_by(16).collect();
    let all = two.homes.iter().flat_map(|home| files(home.path())).chain(two.paths.iter().cloned());
    for path in all {
        let content = fs::read(&path).unwrap();
        assert!(!content.windows(16).any(|window| windows.contains(window)), "{}", path.display());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
    }
    assert_ne!(fs::read(&two.paths[0]).unwrap()[300..], fs::read(&two.paths[1]).unwrap()[300..]);
}

#[test]
fn a_pad_is_taken_in_once_whatever_is_deleted_or_put_back() {
    let two = Two::new();
    let home = two.homes[0].path();
    let again = || import(&store(home), &two.paths[0], PASSPHRASES[0], "bob").err().unwrap();
    assert!(matches!(again(), Error::PadKnown { .. }));
    let other_name = import(&store(home), &two.paths[0], PASSPHRASES[0], "robert").err().unwrap();
    assert!(matches!(other_name, Error::PadKnown { .. }));
    let [mut alice, bob] = two.open();
    alice.take(1, 1_000).unwrap();
    drop((alice, bob));
    assert!(matches!(again(), Error::PadKnown { .. }));
    fs::remove_dir_all(home.join("pads")).unwrap();
    assert!(matches!(again(), Error::PadKnown { .. }));
    assert!(store(home).pads().unwrap().is_empty());
}

/// The record in the anchors' folder that a pad was taken in.
fn record(home: &Path, half: &str) -> PathBuf {
    let all = files(&common::anchors(home).join("pads"));
    all.into_iter().find(|path| path.to_string_lossy().ends_with(half)).unwrap()
}

#[test]
fn a_pad_is_taken_in_once_also_when_the_store_is_lost() {
    let two = Two::new();
    let home = two.homes[0].path();
    assert_eq!(fs::metadata(record(home, "-first")).unwrap().permissions().mode() & 0o777, 0o600);
    for name in ["bob", "zoe"] {
        fs::remove_dir_all(home).unwrap();
        let error = import(&store(home), &two.paths[0], PASSPHRASES[0], name).err().unwrap();
        assert!(matches!(&error, Error::PadTaken { contact, .. } if contact == "bob"), "{error}");
        assert!(error.to_string().contains("\"bob\"") && error.to_string().contains("make a new pad"), "{error}");
        assert!(store(home).pads().unwrap().is_empty());
    }
    // Also when the anchor of the store is lost with the pads in it.
    let home = two.homes[1].path();
    fs::remove_dir_all(home.join("pads")).unwrap();
    let anchor = files(&common::anchors(home)).remove(0);
    fs::remove_file(anchor).unwrap();
    let store = Store::accept_lost_anchor(home, common::anchors(home), common::store_key(7)).unwrap();
    let error = import(&store, &two.paths[1], PASSPHRASES[1], "alice").err().unwrap();
    assert!(matches!(error, Error::PadKnown { .. }), "{error}");
}

#[test]
fn a_second_home_of_the_same_user_takes_the_other_half_only() {
    let two = Two::new();
    let elsewhere = store(&two.homes[0].path().with_file_name("elsewhere"));
    for name in ["zoe", "bob"] {
        let error = import(&elsewhere, &two.paths[0], PASSPHRASES[0], name).err().unwrap();
        assert!(matches!(error, Error::PadTaken { .. }), "{error}");
    }
    assert!(elsewhere.pads().unwrap().is_empty());
    // Alice and Bob on one computer, as in a demonstration.
    import(&elsewhere, &two.paths[1], PASSPHRASES[1], "alice").unwrap();
    let mut alice = store(two.homes[0].path()).pad_stock("bob").unwrap();
    let mut bob = elsewhere.pad_stock("alice").unwrap();
    let taken = alice.take(2, 1_000).unwrap();
    assert_eq!(bytes(&bob.collect(&ids(&taken)).unwrap()), bytes(&taken));
}

#[test]
fn an_interrupted_import_goes_on_where_it_was_begun() {
    let folder = tempfile::tempdir().unwrap();
    let made = make(folder.path()).unwrap();
    let path = &made.paths[0];
    let good = fs::read(path).unwrap();
    let home = temp();
    let begun = store(home.path());
    // The file ends in the middle of the second half: the stick was pulled out.
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[good[good.len() - 1] ^ 1], good.len() as u64 - 1).unwrap();
    assert!(matches!(import(&begun, path, PASSPHRASES[0], "bob").err().unwrap(), Error::Damaged { .. }));
    assert_eq!(begun.pad_stock("bob").unwrap().left(), (0, 0), "a part of a pad is not used");
    fs::write(path, &good).unwrap();
    let elsewhere = store(&home.path().with_file_name("elsewhere"));
    assert!(matches!(import(&elsewhere, path, PASSPHRASES[0], "bob").err().unwrap(), Error::PadTaken { .. }));
    assert!(matches!(import(&begun, path, PASSPHRASES[0], "zoe").err().unwrap(), Error::PadKnown { .. }));
    drop(begun);
    let again = store(home.path());
    assert_eq!(import(&again, path, PASSPHRASES[0], "bob").unwrap().fingerprint, made.fingerprint);
    assert_eq!(again.pad_stock("bob").unwrap().left(), (EACH_WAY, EACH_WAY));
}

#[test]
fn an_altered_record_of_a_pad_refuses_it() {
    let two = Two::new();
    let home = two.homes[0].path();
    let path = record(home, "-first");
    let good = fs::read(&path).unwrap();
    fs::remove_dir_all(home).unwrap();
    let fresh = store(home);
    for at in [0, 8, 9, 25, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 0x80;
        if at == 25 {
            bad[at] = 1; // another length
        }
        fs::write(&path, &bad).unwrap();
        let error = import(&fresh, &two.paths[0], PASSPHRASES[0], "bob").err().unwrap();
        assert!(matches!(error, Error::Damaged { .. } | Error::PadTaken { .. }), "{at}: {error}");
    }
    let real = path.with_file_name("real");
    fs::write(&real, []).unwrap();
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&real, &path).unwrap();
    let error = import(&fresh, &two.paths[0], PASSPHRASES[0], "bob").err().unwrap();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
}

#[test]
fn a_pad_put_back_from_an_old_copy_loses_what_could_have_been_used() {
    let two = Two::new();
    let home = two.homes[0].path();
    let old = home.with_file_name("old");
    copy_dir(home, &old);
    let [mut alice, mut bob] = two.open();
    let first = alice.take(2, 10_000).unwrap();
    bob.collect(&ids(&first)).unwrap();
    drop(alice);
    copy_dir(&old, home);
    let held = store(home);
    let mut alice = held.pad_stock("bob").unwrap();
    assert_eq!(alice.left(), (EACH_WAY - 20_000, EACH_WAY));
    let notice = alice.take_notice().unwrap().to_string();
    assert!(notice.contains("pad") && notice.contains("20000"), "{notice}");
    let next = alice.take(2, 10_000).unwrap();
    assert!(bytes(&next).iter().all(|key| !bytes(&first).contains(key)));
    assert_eq!(bytes(&bob.collect(&ids(&next)).unwrap()), bytes(&next));
}

#[test]
fn the_wrong_persons_half_is_refused_with_words() {
    let two = Two::new();
    let made = tempfile::tempdir().unwrap();
    let made_there = make(made.path()).unwrap();
    // Bob's file of another pad, in Alice's home: she has a pad of hers already.
    let store = store(two.homes[0].path());
    let error = import(&store, &made_there.paths[1], PASSPHRASES[1], "alice").err().unwrap();
    assert!(matches!(error, Error::PadNotYours { .. }));
    let words = error.to_string();
    assert!(words.contains("is for bob") && words.contains("home of alice"), "{words}");
    // The other half of the same pad.
    assert!(matches!(import(&store, &two.paths[1], PASSPHRASES[1], "bob").err().unwrap(), Error::PadNotYours { .. }));
    // And in a home that says whose it is, without any pad yet.
    let fresh = temp();
    let locked = LockedPad::open(&made_there.paths[1]).unwrap();
    assert_eq!(locked.owner(), "bob");
    let reader = locked.unlock(&secret(PASSPHRASES[1])).unwrap();
    let error = common::store(fresh.path()).import_pad(reader, "alice", Some("carol")).err().unwrap();
    assert!(error.to_string().contains("home of carol"), "{error}");
    assert!(common::store(fresh.path()).pads().unwrap().is_empty());
}

#[test]
fn a_wrong_passphrase_and_any_alteration_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let made = make(folder.path()).unwrap();
    let path = &made.paths[0];
    let good = fs::read(path).unwrap();
    let home = temp();
    let store = store(home.path());
    assert!(matches!(import(&store, path, PASSPHRASES[1], "bob").err().unwrap(), Error::PadLocked { .. }));
    for words in ["", "short"] {
        assert!(matches!(import(&store, path, words, "bob").err().unwrap(), Error::Passphrase));
    }
    // Magic, length, id, half, bytes, salt, name, tag, secret, first chunk, last tag.
    for at in [0, 11, 12, 28, 36, 50, 66, 85, 120, 1_000, good.len() - 1] {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&[good[at] ^ 1], at as u64).unwrap();
        let error = import(&store, path, PASSPHRASES[0], "bob").err().unwrap();
        assert!(
            matches!(error, Error::PadLocked { .. } | Error::Damaged { .. } | Error::PadNotYours { .. }),
            "{at}: {error}"
        );
        file.write_all_at(&good[at..=at], at as u64).unwrap();
    }
    for len in [0, 7, 60, 200, good.len() - 1] {
        fs::write(path, &good[..len]).unwrap();
        assert!(matches!(import(&store, path, PASSPHRASES[0], "bob").err().unwrap(), Error::Damaged { .. }), "{len}");
    }
    // Two chunks change places.
    let header = good.len() - usize::try_from(BYTES - 1).unwrap() - 16 * 5;
    let (first, second) = (header, header + 65_552);
    let swapped =
        [&good[..first], &good[second..second + 65_552], &good[first..second], &good[second + 65_552..]].concat();
    fs::write(path, swapped).unwrap();
    assert!(matches!(import(&store, path, PASSPHRASES[0], "bob").err().unwrap(), Error::Damaged { .. }));
    // What was begun goes on with the good file.
    fs::write(path, &good).unwrap();
    let imported = import(&store, path, PASSPHRASES[0], "bob").unwrap();
    assert_eq!(imported.fingerprint, made.fingerprint);
    pad::erase_file(&imported.file).unwrap();
    assert!(!path.exists());
    assert_eq!(store.pad_stock("bob").unwrap().left(), (EACH_WAY, EACH_WAY));
}

#[test]
fn the_recommended_cost_opens_too() {
    let folder = tempfile::tempdir().unwrap();
    let words = secret(PASSPHRASES[0]);
    let people = ["alice", "bob"].map(|name| Person { name, passphrase: &words });
    let made = pad::make(folder.path(), &people, MIN_PAD_BYTES, Cost::recommended()).unwrap();
    let reader = LockedPad::open(&made.paths[1]).unwrap().unlock(&words).unwrap();
    assert_eq!((reader.owner(), reader.contact(), reader.each_way()), ("bob", "alice", MIN_PAD_BYTES / 2));
}

#[test]
fn making_refuses_what_cannot_be_and_overwrites_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (long, short) = (secret(PASSPHRASES[0]), secret("short"));
    let people =
        |first, second| [Person { name: first, passphrase: &long }, Person { name: second, passphrase: &long }];
    let refused =
        |people: &[Person<'_>; 2], bytes| pad::make(folder.path(), people, bytes, Cost::recommended()).err().unwrap();
    assert!(matches!(refused(&people("alice", "bob"), MIN_PAD_BYTES - 1), Error::PadSize { .. }));
    assert!(matches!(refused(&people("alice", "bob"), u64::MAX), Error::PadSize { .. }));
    for (first, second) in [("alice", "alice"), ("", "bob"), ("a\nb", "bob"), ("a b", "a_b")] {
        assert!(matches!(refused(&people(first, second), BYTES), Error::PadNames), "{first:?} {second:?}");
    }
    let weak = [Person { name: "alice", passphrase: &long }, Person { name: "bob", passphrase: &short }];
    assert!(matches!(refused(&weak, BYTES), Error::Passphrase));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    make(folder.path()).unwrap();
    assert!(matches!(make(folder.path()).err().unwrap(), Error::PadExists { .. }));
    fs::remove_file(folder.path().join("alice-with-bob.pad")).unwrap();
    assert!(matches!(make(folder.path()).err().unwrap(), Error::PadExists { .. }));
    assert!(!folder.path().join("alice-with-bob.pad").exists());
}
