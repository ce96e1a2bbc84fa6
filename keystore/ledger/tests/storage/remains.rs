//! What the raw files hold of keys that were used: nothing, once SQLite's are scrubbed; never plain bytes in PostgreSQL's.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use vernam_ledger::{Ledger, Options, Place};

use crate::support::Site;
use crate::world::{bits, cut, deliver, deposit, roomy};

/// So many bytes in a row are no accident.
const WINDOW: usize = 16;

/// Every file below `folder`.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() => files.push(entry.path()),
                _socket => {}
            }
        }
    }
    files
}

/// How many windows of `needles` occur in the files of `folder`.
///
/// SQLite splits rows over pages, and so may PostgreSQL; windows that begin at every eighth byte of a needle are looked
/// for at every byte of the files, so that whatever is left of 24 bytes in a row is found.
fn found(folder: &Path, needles: &[Vec<u8>]) -> usize {
    let windows: BTreeSet<&[u8]> = needles
        .iter()
        .flat_map(|needle| needle.windows(WINDOW).step_by(8))
        .filter(|window| window.iter().any(|&b| b != 0))
        .collect();
    let first: BTreeSet<[u8; 2]> = windows.iter().map(|window| [window[0], window[1]]).collect();
    let mut starts = vec![false; 1 << 16];
    for [high, low] in first {
        starts[usize::from(u16::from_be_bytes([high, low]))] = true;
    }
    let in_file = |path: &PathBuf| {
        // A temporary file of the server may be gone by now.
        let bytes = fs::read(path).unwrap_or_default();
        let candidates = bytes.windows(WINDOW).filter(|at| starts[usize::from(u16::from_be_bytes([at[0], at[1]]))]);
        candidates.filter(|at| windows.contains(at)).count()
    };
    files_below(folder).iter().map(in_file).sum()
}

/// The sealed chunks as they lie in the SQLite file, read through SQLite from a copy of it.
fn sealed_chunks(place: &Place) -> Vec<Vec<u8>> {
    let Place::Sqlite(path) = place else { unreachable!() };
    let copies = tempfile::tempdir().unwrap();
    let copy = copies.path().join("copy.db");
    fs::copy(path, &copy).unwrap();
    let _ = fs::copy(path.with_extension("db-wal"), copies.path().join("copy.db-wal"));
    let connection = rusqlite::Connection::open(copy).unwrap();
    let mut chunks = connection.prepare("SELECT sealed FROM chunk").unwrap();
    chunks.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

fn open_slow_to_scrub(site: &Site) -> Ledger {
    Ledger::open(Options { scrub_within: Duration::from_hours(1), ..site.options("KME_A", roomy()) }).unwrap()
}

#[test]
fn sqlite_keeps_nothing_of_keys_that_were_used() {
    let site = Site::sqlite();
    let folder = site.files().unwrap();
    let mut plain = Vec::new();
    let mut sealed = Vec::new();
    {
        let ledger = open_slow_to_scrub(&site);
        // Two blocks, used in an order that empties pages here and there: all of our half.
        for number in 0..2 {
            deposit(&ledger, number, 64 * 1024);
            plain.push(bits(number, 64 * 1024)[..32 * 1024].to_vec());
        }
        sealed.extend(sealed_chunks(&site.place("KME_A")));
        assert_eq!(sealed.len(), 128);
        let cuts: Vec<_> = (0..64).map(|seed| cut(&ledger, 32, 32, seed).unwrap()).collect();
        for cut in cuts.iter().step_by(3).chain(cuts.iter().skip(1).step_by(3)).chain(cuts.iter().skip(2).step_by(3)) {
            sealed.extend(sealed_chunks(&site.place("KME_A")));
            assert_eq!(deliver(&ledger, cut).unwrap().unwrap().len(), 32);
        }
        assert!(found(folder, &sealed) > 1000, "the search finds what there is: a process that is killed leaves it");
    }
    let still_here = sealed_chunks(&site.place("KME_A"));
    assert_eq!(still_here.len(), 64, "the peer's half");
    let kept: BTreeSet<_> = still_here.into_iter().collect();
    let used: Vec<_> = sealed.into_iter().filter(|chunk| !kept.contains(chunk)).collect();
    assert!(used.len() >= 64);
    assert_eq!(found(folder, &used), 0, "sealed bytes of used keys");
    assert_eq!(found(folder, &plain), 0, "plain bytes of used keys");
    assert!(found(folder, &kept.into_iter().collect::<Vec<_>>()) >= 64, "what is in store is still there");
}

#[test]
fn sqlite_is_scrubbed_while_it_works() {
    let site = Site::sqlite();
    let folder = site.files().unwrap();
    let options = Options { scrub_within: Duration::from_millis(50), ..site.options("KME_A", roomy()) };
    let ledger = Ledger::open(options).unwrap();
    deposit(&ledger, 0, 8 * 1024);
    let sealed = sealed_chunks(&site.place("KME_A"));
    assert!(found(folder, &sealed[..4]) > 4);
    let cut = cut(&ledger, 128, 32, 1).unwrap();
    deliver(&ledger, &cut).unwrap().unwrap();
    let begun = Instant::now();
    while found(folder, &sealed[..4]) > 0 {
        assert!(begun.elapsed() < Duration::from_mins(1), "it never is");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(found(folder, &sealed[4..]) > 0, "the peer's half is still there");
}

#[test]
fn a_killed_process_leaves_it_to_the_next() {
    let site = Site::sqlite();
    let ledger = open_slow_to_scrub(&site);
    deposit(&ledger, 0, 8 * 1024);
    let sealed = sealed_chunks(&site.place("KME_A"));
    let cut = cut(&ledger, 128, 32, 1).unwrap();
    deliver(&ledger, &cut).unwrap().unwrap();

    // The files as a killed process leaves them, in another folder.
    let after = Site::sqlite();
    for file in files_below(site.files().unwrap()) {
        fs::copy(&file, after.files().unwrap().join(file.file_name().unwrap())).unwrap();
    }
    assert!(found(after.files().unwrap(), &sealed[..4]) > 0);
    let next = after.open("KME_A", roomy());
    assert_eq!(next.snapshot().links[0].accounting.delivered_to_master, 8 * 4096);
    drop(next);
    assert_eq!(found(after.files().unwrap(), &sealed[..4]), 0);
}

#[test]
fn postgresql_never_sees_plain_bytes() {
    let site = Site::own_postgres();
    let ledger = site.open("KME_A", roomy());
    deposit(&ledger, 0, 32 * 1024);
    let cut = cut(&ledger, 64, 32, 1).unwrap();
    deliver(&ledger, &cut).unwrap().unwrap();
    drop(ledger);
    let Place::Postgres(target) = site.place("KME_A") else { unreachable!() };
    let (server, database) = (site.server().unwrap(), target.rsplit('=').next().unwrap());
    server.sql(database, "CREATE TABLE seen AS SELECT sealed FROM chunk; CHECKPOINT;");
    let sealed = server.sql(database, "SELECT encode(sealed, 'hex') FROM seen LIMIT 1");
    let digit = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
    let sealed: Vec<u8> = sealed.trim().as_bytes().chunks(2).map(digit).collect();
    assert!(found(site.files().unwrap(), &[sealed]) > 0, "the search finds what there is");
    assert_eq!(found(site.files().unwrap(), &[bits(0, 32 * 1024)]), 0);
}
