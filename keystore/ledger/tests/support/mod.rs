//! Where ledgers can lie, for tests that must hold in all of these places: in memory, in SQLite files, in PostgreSQL.
//!
//! It needs the PostgreSQL server of the system's package (`tests/setup.sh test` installs it) and fails where there is
//! none.

#![allow(dead_code, reason = "not every test binary uses all of it")]
#![allow(clippy::allow_attributes, reason = "what is used differs from binary to binary, so nothing can be expected")]

mod postgres;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tempfile::TempDir;
use vernam_key::SecretBytes;
use vernam_ledger::{Kek, Ledger, LedgerLimits, Options, Place};

pub(crate) use postgres::Server;

/// A place for the ledgers of several KMEs, which goes with this value.
pub(crate) struct Site {
    /// "memory", "SQLite" or "PostgreSQL".
    pub(crate) name: &'static str,
    folder: Option<TempDir>,
    server: Option<Server>,
    /// By KME: the target of its database.
    databases: Mutex<BTreeMap<String, String>>,
}

impl Site {
    /// In memory.
    pub(crate) fn memory() -> Self {
        Self { name: "memory", folder: None, server: None, databases: Mutex::default() }
    }

    /// SQLite files in a folder of their own.
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        Self { name: "SQLite", folder: Some(folder), ..Self::memory() }
    }

    /// New databases in the PostgreSQL server of this test process.
    pub(crate) fn postgres() -> Self {
        Self::of_server(Server::shared())
    }

    /// New databases in a server that is this test's alone, and that it may kill.
    pub(crate) fn own_postgres() -> Self {
        Self::of_server(Server::own())
    }

    fn of_server(server: Server) -> Self {
        Self { name: "PostgreSQL", server: Some(server), ..Self::memory() }
    }

    /// Where the ledger of the KME `kme` lies. The same for the same KME, but that memory is always fresh.
    pub(crate) fn place(&self, kme: &str) -> Place {
        if let Some(folder) = &self.folder {
            return Place::Sqlite(folder.path().join(format!("{kme}.db")));
        }
        let Some(server) = &self.server else { return Place::Memory };
        let mut databases = self.databases.lock().unwrap_or_else(PoisonError::into_inner);
        Place::Postgres(databases.entry(kme.to_owned()).or_insert_with(|| server.new_database()).clone())
    }

    /// How to open the ledger of `kme`.
    pub(crate) fn options(&self, kme: &str, limits: LedgerLimits) -> Options {
        Options {
            place: self.place(kme),
            kme: kme.parse().expect("a KME's ID"),
            kek: kek(7),
            limits,
            scrub_within: Duration::from_secs(1),
            anchor: None,
        }
    }

    /// Opens the ledger of `kme`, or makes it.
    pub(crate) fn open(&self, kme: &str, limits: LedgerLimits) -> Ledger {
        Ledger::open(self.options(kme, limits)).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Whether what is in it outlives the process.
    pub(crate) fn is_durable(&self) -> bool {
        self.name != "memory"
    }

    /// The folder with all of its raw files; none for memory.
    pub(crate) fn files(&self) -> Option<&Path> {
        self.folder.as_ref().map(TempDir::path).or(self.server.as_ref().map(Server::files))
    }

    /// The server, for PostgreSQL.
    pub(crate) fn server(&self) -> Option<&Server> {
        self.server.as_ref()
    }
}

/// A key-encryption key of 32 equal bytes.
pub(crate) fn kek(byte: u8) -> Kek {
    Kek::from_secret(SecretBytes::from_vec(vec![byte; 32])).expect("32 bytes")
}

/// Runs `test` in each place, one after the other. Where it fails, the place is said.
pub(crate) fn for_each_place(test: impl Fn(&Site)) {
    for make in [Site::memory, Site::sqlite, Site::postgres] {
        in_place(make, &test);
    }
}

/// As [`for_each_place`], but for memory.
pub(crate) fn for_each_durable_place(test: impl Fn(&Site)) {
    for make in [Site::sqlite, Site::postgres] {
        in_place(make, &test);
    }
}

fn in_place(make: fn() -> Site, test: impl Fn(&Site)) {
    struct Say(&'static str);
    impl Drop for Say {
        fn drop(&mut self) {
            if std::thread::panicking() {
                let words = format!("this happened with the ledger in {}\n", self.0);
                let _ = std::io::Write::write_all(&mut std::io::stderr(), words.as_bytes());
            }
        }
    }
    let site = make();
    let _say = Say(site.name);
    test(&site);
}
