//! The ledger in PostgreSQL, shared by several processes of one site.
//!
//! Every transaction takes the site's advisory lock first: one writer at a time, no deadlocks, and a killed process's lock
//! goes with its connection. There is no TLS here, so the server must be on this host. Erased rows stay in the server's
//! files, sealed, until it vacuums and recycles its write-ahead log.
//!
//! This is `tokio-postgres` on a runtime of the ledger's own thread, because every wait must end: a server that froze is a
//! failure, not a ledger that hangs.

use std::collections::HashMap;
use std::error::Error as _;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use ring::digest;
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::config::{Host, TargetSessionAttrs};
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Client, Config, Error, NoTls, Statement};
use vernam_etsi014::KmeId;

use super::{Database, Refusal, Row, Value};
use crate::Fault;

/// Debian's folder of the server's socket, where the target names no host.
const SOCKET_FOLDER: &str = "/var/run/postgresql";

/// How long connecting may take, together with the first words.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// How long we wait for any answer. Longer than the server's own limits below, whose words are better.
const ANSWER_WITHIN: Duration = Duration::from_secs(12);

/// For each session. `synchronous_commit`: a commit that is answered is on the server's disk, whatever its default says.
/// `lock_timeout` bounds the wait for the other processes of the site. `idle_in_transaction_session_timeout` frees the lock
/// of a process that is stopped (not killed) within a transaction.
const SETTINGS: &str = "
    SET synchronous_commit = on;
    SET statement_timeout = '10s';
    SET lock_timeout = '3s';
    SET idle_in_transaction_session_timeout = '10s';
    SET client_min_messages = warning;
";

/// A ledger in PostgreSQL.
pub(crate) struct PostgresDatabase {
    /// Declared before `runtime`, on which its connection runs.
    client: Option<Client>,
    statements: HashMap<&'static str, Statement>,
    begin: String,
    /// A statement failed in the transaction. PostgreSQL would take its COMMIT for a ROLLBACK, and call that a success.
    has_failed: bool,
    config: Config,
    runtime: Runtime,
}

impl PostgresDatabase {
    /// The target, for people: without user and password.
    pub(crate) fn name(target: &str) -> String {
        let mut name = "the ledger in PostgreSQL".to_owned();
        if let Ok(config) = parse(target) {
            if let Some(database) = config.get_dbname().or(config.get_user()) {
                let _ = write!(name, " database {database}");
            }
            match config.get_hosts().first() {
                Some(Host::Unix(folder)) => drop(write!(name, " at {}", folder.display())),
                Some(Host::Tcp(host)) => drop(write!(name, " at {host}")),
                None => {}
            }
        }
        name
    }

    /// Connects to the database `target`, for the site of `kme`.
    pub(crate) fn open(target: &str, kme: &KmeId) -> Result<Self, Refusal> {
        let config = parse(target).map_err(Refusal::Storage)?;
        if let Some(host) = remote_host(&config) {
            return Err(Refusal::Storage(format!(
                "{host} is not this host, and Vernam does not speak TLS to PostgreSQL: use a server on this host (a \
                 folder of its socket, localhost), or an encrypted tunnel that ends here"
            )));
        }
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Refusal::Storage(error.to_string()))?;
        let begin = format!("BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock({})", site_lock(kme));
        let mut database = Self { client: None, statements: HashMap::new(), begin, has_failed: false, config, runtime };
        database.reconnect().map_err(|fault| Refusal::Storage(fault.0))?;
        database.warn_if_not_durable();
        Ok(database)
    }

    /// A server that does not sync its disk makes every promise of the ledger void when the power goes.
    fn warn_if_not_durable(&mut self) {
        let mut is_on = true;
        let asked = self.query("SELECT current_setting('fsync')", &[], &mut |row| {
            is_on = row.text(0)? == "on";
            Ok(())
        });
        if asked.is_err() || !is_on {
            tracing::warn!("the PostgreSQL server runs with fsync off: after a power cut it may give keys twice");
        }
    }

    /// Runs one request, at most [`ANSWER_WITHIN`].
    fn ask<T>(&mut self, request: impl AsyncFnOnce(&Client) -> Result<T, Error>) -> Result<T, Fault> {
        let client = self.client.as_ref().ok_or_else(|| Fault("there is no connection to PostgreSQL".into()))?;
        let limited = async { tokio::time::timeout(ANSWER_WITHIN, request(client)).await };
        match self.runtime.block_on(limited) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                self.has_failed = true;
                Err(fault(&error))
            }
            Err(_elapsed) => {
                self.has_failed = true;
                self.client = None; // the transaction ends with its connection
                Err(Fault(format!("PostgreSQL did not answer within {} s", ANSWER_WITHIN.as_secs())))
            }
        }
    }

    /// The statement, prepared once in a connection. The types are those of the values, not what the server would guess.
    fn prepare(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<Statement, Fault> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let types: Vec<Type> = values.iter().map(type_of).collect();
        let statement = self.ask(async |client| client.prepare_typed(sql, &types).await)?;
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }
}

impl Database for PostgresDatabase {
    fn bytes_type(&self) -> &'static str {
        "BYTEA"
    }

    fn clustered(&self) -> &'static str {
        ""
    }

    fn run_script(&mut self, script: &str) -> Result<(), Fault> {
        self.ask(async |client| client.batch_execute(script).await)
    }

    fn begin(&mut self) -> Result<(), Fault> {
        self.has_failed = false;
        let begin = std::mem::take(&mut self.begin);
        let outcome = self.ask(async |client| client.batch_execute(&begin).await);
        self.begin = begin;
        outcome
    }

    fn commit(&mut self) -> Result<(), Fault> {
        if self.has_failed {
            return Err(Fault("a statement of the transaction failed, and nobody minded".into()));
        }
        self.ask(async |client| client.batch_execute("COMMIT").await)
    }

    fn rollback(&mut self) -> Result<(), Fault> {
        self.ask(async |client| client.batch_execute("ROLLBACK").await)
    }

    fn execute(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<u64, Fault> {
        let statement = self.prepare(sql, values)?;
        let parameters = parameters(values);
        self.ask(async |client| client.execute(&statement, &parameters).await)
    }

    fn query(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
        each: &mut dyn FnMut(&dyn Row) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let statement = self.prepare(sql, values)?;
        let parameters = parameters(values);
        let rows = self.ask(async |client| client.query(&statement, &parameters).await)?;
        rows.iter().try_for_each(|row| each(row))
    }

    /// Nothing to do: what the server's files hold is sealed, and overwriting them is the server's matter.
    fn scrub(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn reconnect(&mut self) -> Result<(), Fault> {
        self.client = None;
        self.statements.clear();
        let config = &self.config;
        let connect = async {
            let (client, connection) = config.connect(NoTls).await?;
            // It ends with the client; its error is also that of the request under way.
            tokio::spawn(connection);
            client.batch_execute(SETTINGS).await?;
            Ok(client)
        };
        let limited = async { tokio::time::timeout(CONNECT_WITHIN, connect).await };
        match self.runtime.block_on(limited) {
            Ok(connected) => {
                self.client = Some(connected.map_err(|error| fault(&error))?);
                Ok(())
            }
            Err(_elapsed) => Err(Fault(format!("PostgreSQL did not answer within {} s", CONNECT_WITHIN.as_secs()))),
        }
    }
}

impl Row for tokio_postgres::Row {
    fn int(&self, column: usize) -> Result<i64, Fault> {
        value(self, column)
    }

    fn text(&self, column: usize) -> Result<String, Fault> {
        value(self, column)
    }

    fn bytes(&self, column: usize) -> Result<Vec<u8>, Fault> {
        value(self, column)
    }

    fn maybe_bytes(&self, column: usize) -> Result<Option<Vec<u8>>, Fault> {
        value(self, column)
    }
}

fn value<'a, T: FromSql<'a>>(row: &'a tokio_postgres::Row, column: usize) -> Result<T, Fault> {
    row.try_get(column).map_err(|error| fault(&error))
}

fn type_of(value: &Value<'_>) -> Type {
    match value {
        Value::Int(_) => Type::INT8,
        Value::Text(_) => Type::TEXT,
        Value::Bytes(_) | Value::MaybeBytes(_) => Type::BYTEA,
    }
}

fn parameters<'a>(values: &'a [Value<'_>]) -> Vec<&'a (dyn ToSql + Sync)> {
    let parameter = |value: &'a Value<'_>| -> &'a (dyn ToSql + Sync) {
        match value {
            Value::Int(int) => int,
            Value::Text(text) => text,
            Value::Bytes(bytes) => bytes,
            Value::MaybeBytes(bytes) => bytes,
        }
    };
    values.iter().map(parameter).collect()
}

/// The target with what we ask of every connection.
fn parse(target: &str) -> Result<Config, String> {
    let mut config: Config = target.parse().map_err(|error: Error| words(&error))?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        config.host_path(SOCKET_FOLDER);
    }
    config.application_name("vernam");
    config.connect_timeout(CONNECT_WITHIN);
    config.keepalives(true).keepalives_idle(CONNECT_WITHIN).keepalives_interval(Duration::from_secs(2));
    config.keepalives_retries(3).tcp_user_timeout(ANSWER_WITHIN);
    config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    Ok(config)
}

/// The first host of the target that is not this one.
fn remote_host(config: &Config) -> Option<String> {
    let is_here = |name: &str| name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    let remote_name = config.get_hosts().iter().find_map(|host| match host {
        Host::Tcp(name) if !is_here(name) => Some(name.clone()),
        _ => None,
    });
    let remote_address = config.get_hostaddrs().iter().find(|address| !address.is_loopback());
    remote_address.map(IpAddr::to_string).or(remote_name)
}

/// The key of the site's advisory lock.
fn site_lock(kme: &KmeId) -> i64 {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"vernam-ledger 1 site\0");
    context.update(kme.as_str().as_bytes());
    let hash = context.finish();
    let first = hash.as_ref().first_chunk().expect("SHA-256 has 32 bytes");
    i64::from_be_bytes(*first)
}

fn fault(error: &Error) -> Fault {
    Fault(words(error))
}

/// What PostgreSQL says. Not its `DETAIL`, which may quote a row.
fn words(error: &Error) -> String {
    if let Some(refusal) = error.as_db_error() {
        return format!("PostgreSQL: {} ({})", refusal.message(), refusal.code().code());
    }
    let mut words = format!("PostgreSQL: {error}");
    let mut cause = error.source();
    while let Some(inner) = cause {
        let _ = write!(words, ": {inner}");
        cause = inner.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_on_this_host_is_spoken_to() {
        for here in [
            "postgres://kme@localhost/kme",
            "host=/run/postgresql user=kme dbname=kme",
            "postgres://kme@127.0.0.1:5433/kme",
            "host=::1 user=kme",
            "user=kme dbname=kme",
        ] {
            assert_eq!(remote_host(&parse(here).expect("a target")), None, "{here}");
        }
        for (elsewhere, host) in [
            ("postgres://kme@db.example/kme", "db.example"),
            ("host=localhost,10.0.0.7 user=kme", "10.0.0.7"),
            ("host=localhost hostaddr=10.0.0.7 user=kme", "10.0.0.7"),
        ] {
            assert_eq!(remote_host(&parse(elsewhere).expect("a target")).as_deref(), Some(host), "{elsewhere}");
            let kme = KmeId::new("KME_A").expect("a name");
            let refusal = PostgresDatabase::open(elsewhere, &kme).err().expect("there is no TLS");
            let Refusal::Storage(words) = refusal else { panic!("{refusal:?}") };
            assert!(words.contains("TLS") && words.contains(host), "{words}");
        }
    }

    #[test]
    fn the_name_for_people_holds_no_password() {
        let name = PostgresDatabase::name("postgres://kme:secret@localhost/stock");
        assert_eq!(name, "the ledger in PostgreSQL database stock at localhost");
        assert_eq!(PostgresDatabase::name("nonsense"), "the ledger in PostgreSQL");
    }

    #[test]
    fn each_site_has_its_own_lock() {
        let lock = |name: &str| site_lock(&KmeId::new(name).expect("a name"));
        assert_eq!(lock("KME_A"), lock("KME_A"));
        assert_ne!(lock("KME_A"), lock("KME_B"));
    }
}
