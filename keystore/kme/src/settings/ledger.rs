//! The ledger: where it lies, what it is sealed under, what it may hold.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml_span::Span;
use vernam_key::SecretBytes;
use vernam_ledger::{Kek, KekError, LedgerLimits, Passphrase, Place};

use super::files::{FileRef, file_ref};
use super::path;
use super::report::Sink;
use super::section::Section;
use super::values;

/// The longest passphrase that is read, in bytes.
const MAX_PASSPHRASE: usize = 1024;
/// The shortest passphrase that is taken, in bytes: Argon2id makes guessing slow, not impossible.
const MIN_PASSPHRASE: usize = 12;

/// The ledger.
#[derive(Debug, Clone)]
pub struct LedgerSettings {
    /// Where it lies.
    pub place: PlaceSettings,
    /// What it is sealed under.
    pub kek: KekSettings,
    /// What it may hold.
    pub limits: LedgerLimits,
    /// How long what was erased may at most stand in SQLite's write-ahead log, sealed.
    pub scrub_within: Duration,
    /// Where the anchor of a SQLite ledger lies; other ledgers have none.
    pub anchor: Option<PathBuf>,
}

/// Where a ledger lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlaceSettings {
    /// In memory: gone with the process.
    Memory,
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL database, without a password in its connection.
    Postgres(String),
    /// A PostgreSQL database whose connection stands in a file, for its password's sake.
    PostgresFile(FileRef),
}

impl PlaceSettings {
    /// For opening it.
    pub fn load(&self) -> Result<Place, KekError> {
        Ok(match self {
            Self::Memory => Place::Memory,
            Self::Sqlite(path) => Place::Sqlite(path.clone()),
            Self::Postgres(connection) => Place::Postgres(connection.clone()),
            Self::PostgresFile(file) => {
                let form = || KekError::Read { from: file.to_string(), reason: "is not UTF-8 text".to_owned() };
                let bytes = file.read_private()?;
                let text =
                    std::str::from_utf8(bytes.expose("the connection of the database")).map_err(|_not_text| form())?;
                Place::Postgres(text.trim().to_owned())
            }
        })
    }
}

/// Where the key-encryption key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KekSettings {
    /// A file with 32 bytes, raw, hex or base64.
    File(FileRef),
    /// An environment variable with 32 bytes, hex or base64.
    Environment(String),
    /// A passphrase in a file.
    PassphraseFile(FileRef),
    /// A passphrase that whoever starts the process writes to this open file descriptor.
    PassphraseFd(RawFd),
}

impl KekSettings {
    /// Reads it. A file descriptor can be read once.
    pub fn load(&self) -> Result<Kek, KekError> {
        match self {
            Self::File(file) => file.read_kek(),
            Self::Environment(variable) => Kek::from_environment(variable),
            Self::PassphraseFile(file) => passphrase(&file.read_private()?, &file.to_string()),
            Self::PassphraseFd(number) => {
                let from = format!("file descriptor {number}");
                let failed = |error: std::io::Error| KekError::Read { from: from.clone(), reason: error.to_string() };
                // Opening the descriptor by name needs no promise about who owns it.
                let file = File::open(format!("/dev/fd/{number}")).map_err(failed)?;
                let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(MAX_PASSPHRASE + 2));
                file.take(MAX_PASSPHRASE as u64 + 2).read_to_end(&mut bytes).map_err(failed)?;
                passphrase(&SecretBytes::copy_of(&bytes), &from)
            }
        }
    }
}

fn passphrase(bytes: &SecretBytes, from: &str) -> Result<Kek, KekError> {
    let text = bytes.expose("to take the line's end away");
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    if !(MIN_PASSPHRASE..=MAX_PASSPHRASE).contains(&text.len()) {
        let reason = format!("a passphrase has {MIN_PASSPHRASE} to {MAX_PASSPHRASE} bytes, this has {}", text.len());
        return Err(KekError::Read { from: from.to_owned(), reason });
    }
    Ok(Kek::from_passphrase(Passphrase::new(SecretBytes::copy_of(text))))
}

impl LedgerSettings {
    /// Looks at the files that hold secrets, without reading them.
    pub(super) fn check_files(&self, kek: &Span, sink: &mut Sink<'_>) {
        let (file, checked) = match &self.kek {
            KekSettings::File(file) => (file, file.check_owners_only()),
            KekSettings::PassphraseFile(file) => (file, file.check_private()),
            KekSettings::Environment(_) | KekSettings::PassphraseFd(_) => return,
        };
        if let Err(error) = checked {
            let help = format!(
                "a new key is made by: (umask 077; head -c 32 /dev/urandom > {file}) \u{2014} keep a copy in a safe \
                 place: without it the ledger cannot be read"
            );
            sink.wrong(*kek, error, if self.is_new() { help } else { String::new() });
        }
    }

    /// Whether there is no ledger yet that a new key would not fit.
    fn is_new(&self) -> bool {
        match &self.place {
            PlaceSettings::Sqlite(path) => !path.exists(),
            PlaceSettings::Memory => true,
            PlaceSettings::Postgres(_) | PlaceSettings::PostgresFile(_) => false,
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Sqlite,
    Postgres,
    Memory,
}

const KINDS: &[(&str, Kind)] = &[("sqlite", Kind::Sqlite), ("postgres", Kind::Postgres), ("memory", Kind::Memory)];

/// `[ledger]`; also gives where the key-encryption key is named.
pub(super) fn read(mut section: Section<'_>, folder: &Path, sink: &mut Sink<'_>) -> Option<(LedgerSettings, Span)> {
    let kind = section.parsed(sink, "kind", values::one_of(KINDS)).map_or(Kind::Sqlite, |kind| kind.value);
    let mut anchor = None;
    let place = match kind {
        Kind::Memory => Some(PlaceSettings::Memory),
        Kind::Sqlite => {
            section.need(sink, "path", "path = \"ledger.db\"");
            let named = path(&mut section, sink, "anchor", folder).map(|path| path.value);
            let ledger = path(&mut section, sink, "path", folder).map(|path| path.value);
            anchor = named.or_else(|| {
                let mut beside = ledger.clone()?.into_os_string();
                beside.push("-anchor");
                Some(beside.into())
            });
            ledger.map(PlaceSettings::Sqlite)
        }
        Kind::Postgres => postgres(&mut section, folder, sink),
    };
    let mut limits = LedgerLimits::default();
    if let Some(bits) = section.number(sink, "max_pool_bits", 1 << 16..=1 << 46) {
        limits.max_pool_bits = bits.value;
    }
    if let Some(keys) = section.number(sink, "max_waiting_keys", 1..=1 << 32) {
        limits.max_waiting_keys = keys.value;
    }
    let keep = Duration::from_secs(1)..=Duration::from_hours(10 * 365 * 24);
    if let Some(time) = section.duration(sink, "confirm_within", keep.clone()) {
        limits.confirm_within = time.value;
    }
    if let Some(time) = section.duration(sink, "keep_for", keep) {
        limits.keep_for = time.value;
    }
    let scrub = section.duration(sink, "scrub_within", Duration::from_millis(100)..=Duration::from_hours(24));
    let has_kek = section.need(sink, "kek", "[ledger.kek] with file = \"kek\"");
    let kek = has_kek.then(|| section.section(sink, "kek").and_then(|section| kek(section, folder, sink))).flatten();
    section.finish(sink);
    let (kek, kek_span) = kek?;
    let scrub_within = scrub.map_or(Duration::from_secs(10), |scrub| scrub.value);
    Some((LedgerSettings { place: place?, kek, limits, scrub_within, anchor }, kek_span))
}

fn postgres(section: &mut Section<'_>, folder: &Path, sink: &mut Sink<'_>) -> Option<PlaceSettings> {
    let connection = section.text(sink, "connection");
    let file = file_ref(section, sink, "connection_file", folder);
    match (connection, file) {
        (Some(connection), None) => {
            if has_password(&connection.value) {
                let help = "put the whole connection into a file of mode 0600, and name it: connection_file = \"...\"";
                sink.wrong_and_secret(connection.span, "a password must not stand in the configuration", help);
            }
            Some(PlaceSettings::Postgres(connection.value))
        }
        (None, Some(file)) => Some(PlaceSettings::PostgresFile(file.value)),
        (Some(_), Some(file)) => {
            sink.wrong(file.span, "connection and connection_file are both given", "keep one of them");
            None
        }
        (None, None) => {
            let help = "write connection = \"host=/run/postgresql dbname=kme\", or connection_file = \"...\" if there \
                        is a password in it";
            sink.wrong(section.header, "the database is not named", help);
            None
        }
    }
}

/// Whether a connection of libpq's URI or keyword form holds a password.
fn has_password(connection: &str) -> bool {
    let keyword = connection.to_ascii_lowercase().replace(' ', "").contains("password=");
    let in_uri = connection.split_once("://").is_some_and(|(_, rest)| {
        let authority = rest.split(['/', '?']).next().unwrap_or(rest);
        authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
    });
    keyword || in_uri
}

fn kek(mut section: Section<'_>, folder: &Path, sink: &mut Sink<'_>) -> Option<(KekSettings, Span)> {
    let file = file_ref(&mut section, sink, "file", folder);
    let variable = section.parsed(sink, "environment", |text| {
        let fits = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let help = "write the name of the variable, such as \"VERNAM_KEK\", not its value";
        if fits { Ok(text.to_owned()) } else { values::wrong("this is no name of an environment variable", help) }
    });
    let passphrase_file = file_ref(&mut section, sink, "passphrase_file", folder);
    let passphrase_fd = section.number(sink, "passphrase_fd", 0..=1023);
    let mut given = [
        file.map(|at| at.map(KekSettings::File)),
        variable.map(|at| at.map(KekSettings::Environment)),
        passphrase_file.map(|at| at.map(KekSettings::PassphraseFile)),
        passphrase_fd.map(|at| at.map(KekSettings::PassphraseFd)),
    ]
    .into_iter()
    .flatten();
    let first = given.next();
    if let Some(second) = given.next() {
        sink.wrong(second.span, "there is one key-encryption key, and this would be a second", "keep one of them");
    }
    drop(given);
    if first.is_none() && sink.is_empty() {
        let help = "write file = \"kek\" (mode 0600), environment = \"VERNAM_KEK\", passphrase_file = \"...\" or \
                    passphrase_fd = 3";
        sink.wrong(section.header, "[ledger.kek] does not say where the key-encryption key is", help);
    }
    section.finish(sink);
    first.map(|first| (first.value, first.span))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_connections_are_seen() {
        for text in ["postgres://kme:secret@db/kme", "host=db password=x", "host=db PASSWORD = x"] {
            assert!(has_password(text), "{text}");
        }
        for text in ["postgres://kme@db:5432/kme", "host=/run/postgresql dbname=kme", "postgres://db:5432/kme"] {
            assert!(!has_password(text), "{text}");
        }
    }
}
