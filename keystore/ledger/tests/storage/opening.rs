//! Opening: the right ledger, under the right key, by one process; and what was written is there again.

use vernam_key::SecretBytes;
use vernam_ledger::{Kek, Ledger, LedgerLimits, OpenError, Options, Passphrase, Place};

use crate::support::{Site, for_each_durable_place, for_each_place, kek};
use crate::world::{deposit, links, refused};

#[test]
fn what_was_written_is_there_after_opening_again() {
    for_each_durable_place(|site| {
        let ledger = site.open("KME_A", LedgerLimits::default());
        deposit(&ledger, 3, 4096);
        let before = ledger.snapshot();
        assert_eq!(before.links[0].accounting.made, 8 * 4096);
        drop(ledger);
        let again = site.open("KME_A", LedgerLimits::default());
        assert_eq!(again.snapshot().links, before.links, "the snapshot is there from the start");
    });
}

#[test]
fn each_ledger_belongs_to_one_kme_and_one_key() {
    for_each_durable_place(|site| {
        drop(site.open("KME_A", LedgerLimits::default()));
        let with = |change: fn(&mut Options)| {
            let mut options = site.options("KME_A", LedgerLimits::default());
            change(&mut options);
            refused(options)
        };
        let error = with(|options| options.kek = kek(8));
        assert!(matches!(error, OpenError::WrongKek { .. }), "{error}");
        let error = with(|options| options.kek = Kek::from_passphrase(passphrase("correct horse")));
        assert!(matches!(error, OpenError::WrongKek { .. }), "{error}");
        let error = with(|options| options.kme = "KME_B".parse().unwrap());
        assert!(
            matches!(&error, OpenError::OtherKme { found, expected, .. } if found == "KME_A" && expected == "KME_B")
        );
        // And none of that hurt it.
        drop(site.open("KME_A", LedgerLimits::default()));
    });
}

#[test]
fn a_passphrase_opens_what_it_sealed() {
    for_each_durable_place(|site| {
        let with = |words: &str| {
            let kek = Kek::from_passphrase(passphrase(words));
            Ledger::open(Options { kek, ..site.options("KME_A", LedgerLimits::default()) })
        };
        deposit(&with("correct horse").unwrap(), 0, 1024);
        let error = with("battery staple").err().unwrap();
        assert!(matches!(error, OpenError::WrongKek { .. }), "{error}");
        assert_eq!(with("correct horse").unwrap().snapshot().links[0].accounting.made, 8 * 1024);
    });
}

#[test]
fn another_version_is_not_read() {
    for_each_durable_place(|site| {
        drop(site.open("KME_A", LedgerLimits::default()));
        let update = |value: &str| format!("UPDATE meta SET value = {value} WHERE name = 'version'");
        match site.place("KME_A") {
            Place::Sqlite(path) => {
                assert_eq!(rusqlite::Connection::open(path).unwrap().execute(&update("x'393939'"), []).unwrap(), 1);
            }
            Place::Postgres(target) => {
                let database = target.rsplit('=').next().unwrap();
                site.server().unwrap().sql(database, &update("'999'"));
            }
            Place::Memory => unreachable!(),
        }
        let error = refused(site.options("KME_A", LedgerLimits::default()));
        assert!(matches!(error, OpenError::Version { found: 999, expected: 1, .. }), "{error}");
    });
}

#[test]
fn a_sqlite_ledger_serves_one_at_a_time() {
    let site = Site::sqlite();
    let ledger = site.open("KME_A", LedgerLimits::default());
    let error = refused(site.options("KME_A", LedgerLimits::default()));
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    // A link to it is no other ledger.
    let Place::Sqlite(path) = site.place("KME_A") else { unreachable!() };
    let link = path.with_file_name("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let through_link = Options { place: Place::Sqlite(link), ..site.options("KME_A", LedgerLimits::default()) };
    assert!(matches!(refused(through_link), OpenError::InUse { .. }));
    // The refusal has not let go of the first one's hold: SQLite itself still finds it taken.
    let other = rusqlite::Connection::open(&path).unwrap();
    other.busy_timeout(std::time::Duration::ZERO).unwrap();
    assert!(other.query_row("SELECT count(*) FROM meta", [], |_| Ok(())).is_err());
    drop(other);
    deposit(&ledger, 0, 1024);
    drop(ledger);
    drop(site.open("KME_A", LedgerLimits::default()));
}

#[test]
fn a_file_that_others_can_use_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;

    let site = Site::sqlite();
    drop(site.open("KME_A", LedgerLimits::default()));
    let Place::Sqlite(path) = site.place("KME_A") else { unreachable!() };
    let set = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    for mode in [0o666, 0o640, 0o602] {
        set(mode);
        let said = refused(site.options("KME_A", LedgerLimits::default())).to_string();
        assert!(said.contains(&format!("{mode:04o}")) && said.contains("chmod 600"), "{said}");
    }
    set(0o600);
    drop(site.open("KME_A", LedgerLimits::default()));
}

#[test]
fn a_file_that_another_program_has_open_is_in_use() {
    let site = Site::sqlite();
    drop(site.open("KME_A", LedgerLimits::default()));
    let Place::Sqlite(path) = site.place("KME_A") else { unreachable!() };
    let other = rusqlite::Connection::open(path).unwrap();
    other.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE;").unwrap();
    let error = refused(site.options("KME_A", LedgerLimits::default()));
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
}

#[test]
fn what_is_no_ledger_is_left_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let site = Site::sqlite();
    let Place::Sqlite(path) = site.place("KME_A") else { unreachable!() };
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE other (a); INSERT INTO other VALUES (1)")
        .unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let error = refused(site.options("KME_A", LedgerLimits::default()));
    assert!(error.to_string().contains("no ledger"), "{error}");
    std::fs::write(&path, vec![b'x'; 8192]).unwrap();
    let error = refused(site.options("KME_A", LedgerLimits::default()));
    assert!(error.to_string().contains("not a database"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), vec![b'x'; 8192]);

    let missing = Options {
        place: Place::Sqlite(path.with_file_name("none").join("a.db")),
        ..site.options("KME_A", LedgerLimits::default())
    };
    assert!(matches!(refused(missing), OpenError::Storage { .. }));
}

#[test]
fn only_the_owner_can_read_the_files() {
    use std::os::unix::fs::PermissionsExt as _;
    let site = Site::sqlite();
    let ledger = site.open("KME_A", LedgerLimits::default());
    deposit(&ledger, 0, 1024);
    let files: Vec<_> = std::fs::read_dir(site.files().unwrap()).unwrap().map(Result::unwrap).collect();
    assert_eq!(files.len(), 4, "the file, -wal, -lock and -anchor: {files:?}");
    for file in files {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
}

#[test]
fn several_processes_share_a_ledger_in_postgresql() {
    let site = Site::postgres();
    let (one, other) = (site.open("KME_A", LedgerLimits::default()), site.open("KME_A", LedgerLimits::default()));
    assert!(one.is_shared() && !Site::memory().open("KME_A", LedgerLimits::default()).is_shared());
    deposit(&one, 0, 1024);
    deposit(&other, 1, 1024);
    assert_eq!(other.snapshot().links[0].accounting.made, 2 * 8 * 1024);
    // What the other did is seen without asking the database, after a while.
    while one.snapshot().links[0].accounting.made < 2 * 8 * 1024 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn two_openers_of_a_new_database_make_one_ledger() {
    let site = Site::postgres();
    site.place("KME_A");
    let open = || drop(site.open("KME_A", LedgerLimits::default()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(open);
        }
    });
}

#[test]
fn closing_is_the_end() {
    for_each_place(|site| {
        let ledger = site.open("KME_A", LedgerLimits::default());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let clone = ledger.clone();
        runtime.block_on(async {
            ledger.run(links).await.unwrap();
            ledger.close().await.unwrap();
            clone.close().await.unwrap();
            assert_eq!(clone.run(links).await, Err(vernam_ledger::Unavailable::Closed));
        });
        assert_eq!(clone.run_blocking(links), Err(vernam_ledger::Unavailable::Closed));
        if site.is_durable() {
            // The files are free although there are handles still.
            drop(site.open("KME_A", LedgerLimits::default()));
        }
    });
}

fn passphrase(words: &str) -> Passphrase {
    Passphrase::new(SecretBytes::copy_of(words.as_bytes()))
}
