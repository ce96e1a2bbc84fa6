//! Makes a ledger, or recognises one: whose it is, which version, and under which key-encryption key.

use vernam_etsi014::KmeId;

use super::Place;
use crate::book::schema;
use crate::database::postgres::PostgresDatabase;
use crate::database::sqlite::SqliteDatabase;
use crate::database::{Database, Refusal, Value};
use crate::kek::SALT_LEN;
use crate::seal::{DataKey, fill_random};
use crate::{Fault, Kek, OpenError};

// The rows of the table `meta`. Numbers and names are text.
const VERSION: &str = "version";
const KME: &str = "kme";
const KEK_FORM: &str = "kek_form";
const SALT: &str = "kek_salt";
const DATA_KEY: &str = "data_key";
const GENERATION: &str = "generation";

/// The place, for people: never with a password.
pub(super) fn name(place: &Place) -> String {
    match place {
        Place::Memory => "the ledger in memory".into(),
        Place::Sqlite(path) => format!("the ledger {}", path.display()),
        Place::Postgres(target) => PostgresDatabase::name(target),
    }
}

pub(super) fn storage(place: &str, fault: &Fault) -> OpenError {
    OpenError::Storage { place: place.to_owned(), reason: fault.0.clone() }
}

/// Opens the database itself.
pub(super) fn connect(place: &Place, kme: &KmeId) -> Result<Box<dyn Database>, OpenError> {
    let opened: Result<Box<dyn Database>, Refusal> = match place {
        Place::Memory => match SqliteDatabase::in_memory() {
            Ok(database) => Ok(Box::new(database)),
            Err(fault) => Err(Refusal::Storage(fault.0)),
        },
        Place::Sqlite(path) => SqliteDatabase::open(path).map(|database| Box::new(database) as Box<dyn Database>),
        Place::Postgres(target) => {
            PostgresDatabase::open(target, kme).map(|database| Box::new(database) as Box<dyn Database>)
        }
    };
    opened.map_err(|refusal| match refusal {
        Refusal::InUse => OpenError::InUse { place: name(place) },
        Refusal::Storage(reason) => OpenError::Storage { place: name(place), reason },
    })
}

/// What tells one ledger from another: its data key as it lies there.
pub(super) fn fingerprint(database: &mut dyn Database) -> Result<Option<Vec<u8>>, Fault> {
    meta(database, DATA_KEY)
}

/// How often the ledger was said to be the newest; see [`super::anchor`].
pub(super) fn generation(database: &mut dyn Database) -> Result<i64, Fault> {
    let text = meta_text(database, GENERATION)?;
    text.map_or(Ok(0), |text| text.parse().map_err(|_not_a_number| Fault("its generation is unreadable".into())))
}

/// Raises the generation, within a transaction, and returns it.
pub(super) fn raise(database: &mut dyn Database) -> Result<i64, Fault> {
    let next = generation(database)? + 1;
    let text = next.to_string();
    database.execute(RAISE, &[Value::Text(GENERATION), Value::Bytes(text.as_bytes())])?;
    Ok(next)
}

const RAISE: &str =
    "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";

/// Makes the ledger in an empty database, or checks that this is the right one. Returns its data key.
pub(super) fn identify(database: &mut dyn Database, place: &str, kme: &KmeId, kek: &Kek) -> Result<DataKey, OpenError> {
    let storage = |fault: Fault| storage(place, &fault);
    database.begin().map_err(storage)?;
    let known = recognise(database, place, kme, kek).and_then(|known| match known {
        Some(key) => Ok(key),
        None => make(database, kme, kek).map_err(storage),
    });
    match known {
        Ok(key) => {
            database.commit().map_err(storage)?;
            Ok(key)
        }
        Err(error) => {
            // Whatever it says: the error is the news, and the connection goes.
            let _ = database.rollback();
            Err(error)
        }
    }
}

fn recognise(database: &mut dyn Database, place: &str, kme: &KmeId, kek: &Kek) -> Result<Option<DataKey>, OpenError> {
    let storage = |fault: Fault| storage(place, &fault);
    let unreadable = |what: &str| storage(Fault(format!("it has no readable {what}: it is damaged, or no ledger")));
    let table =
        format!("CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value {} NOT NULL)", database.bytes_type());
    database.run_script(&table).map_err(storage)?;

    let Some(version) = meta_text(database, VERSION).map_err(storage)? else { return Ok(None) };
    let found: i64 = version.parse().map_err(|_not_a_number| unreadable("version"))?;
    if found != schema::VERSION {
        return Err(OpenError::Version { place: place.to_owned(), found, expected: schema::VERSION });
    }
    let found = meta_text(database, KME).map_err(storage)?.ok_or_else(|| unreadable("owner"))?;
    if found != kme.as_str() {
        return Err(OpenError::OtherKme { place: place.to_owned(), found, expected: kme.to_string() });
    }
    let wrong_kek = || OpenError::WrongKek { place: place.to_owned() };
    if meta_text(database, KEK_FORM).map_err(storage)?.as_deref() != Some(kek.form()) {
        return Err(wrong_kek());
    }
    let salt = meta(database, SALT).map_err(storage)?.ok_or_else(|| unreadable("salt"))?;
    let wrapped = meta(database, DATA_KEY).map_err(storage)?.ok_or_else(|| unreadable("data key"))?;
    let kek = kek.key(&salt).map_err(storage)?;
    DataKey::unwrap(&kek, kme, wrapped).map(Some).ok_or_else(wrong_kek)
}

fn make(database: &mut dyn Database, kme: &KmeId, kek: &Kek) -> Result<DataKey, Fault> {
    let schema = schema::schema(database.bytes_type(), database.clustered());
    database.run_script(&schema)?;
    let mut salt = [0; SALT_LEN];
    fill_random(&mut salt)?;
    let key = DataKey::random()?;
    let wrapped = key.wrap(&kek.key(&salt)?, kme)?;
    let version = schema::VERSION.to_string();
    let rows: [(&str, &[u8]); 5] = [
        (KME, kme.as_str().as_bytes()),
        (KEK_FORM, kek.form().as_bytes()),
        (SALT, &salt),
        (DATA_KEY, &wrapped),
        (VERSION, version.as_bytes()),
    ];
    for (name, value) in rows {
        let values = [Value::Text(name), Value::Bytes(value)];
        database.execute("INSERT INTO meta (name, value) VALUES ($1, $2)", &values)?;
    }
    Ok(key)
}

fn meta(database: &mut dyn Database, name: &str) -> Result<Option<Vec<u8>>, Fault> {
    let mut found = None;
    database.query("SELECT value FROM meta WHERE name = $1", &[Value::Text(name)], &mut |row| {
        found = Some(row.bytes(0)?);
        Ok(())
    })?;
    Ok(found)
}

fn meta_text(database: &mut dyn Database, name: &str) -> Result<Option<String>, Fault> {
    Ok(meta(database, name)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}
