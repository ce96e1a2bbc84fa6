//! A database that fails on demand under a whole ledger.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use vernam_etsi014::KmeId;
use vernam_key::SecretBytes;

use super::{Ledger, Options, Place};
use crate::database::sqlite::SqliteDatabase;
use crate::database::{Database, Refusal, Row, Value};
use crate::{Book, Fault, Kek, LedgerLimits, LinkView, OpenError, Unavailable, Wish};

const NOW: Duration = Duration::from_hours(500_000);

/// What is to fail, and what was asked for.
#[derive(Default)]
struct Plan {
    /// The next commit fails; the transaction is durable all the same if the second is set.
    commit_fails: AtomicBool,
    commit_works_all_the_same: AtomicBool,
    reconnect_fails: AtomicBool,
    scrub_fails: AtomicBool,
    /// Statements of the database that still work, unless it is 0.
    statements_left: AtomicU32,
    calls: Mutex<Vec<&'static str>>,
}

impl Plan {
    fn called(&self, what: &'static str) {
        self.calls.lock().expect("no test panics with it").push(what);
    }

    fn calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.calls.lock().expect("no test panics with it"))
    }
}

struct Failing {
    inner: SqliteDatabase,
    plan: Arc<Plan>,
}

impl Failing {
    fn statement(&self) -> Result<(), Fault> {
        match self.plan.statements_left.load(Ordering::Relaxed) {
            0 => Ok(()),
            1 => Err(Fault("the statement fails on purpose".into())),
            left => {
                self.plan.statements_left.store(left - 1, Ordering::Relaxed);
                Ok(())
            }
        }
    }
}

impl Database for Failing {
    fn bytes_type(&self) -> &'static str {
        self.inner.bytes_type()
    }

    fn clustered(&self) -> &'static str {
        self.inner.clustered()
    }

    fn run_script(&mut self, script: &str) -> Result<(), Fault> {
        self.inner.run_script(script)
    }

    fn begin(&mut self) -> Result<(), Fault> {
        self.plan.called("begin");
        self.inner.begin()
    }

    fn commit(&mut self) -> Result<(), Fault> {
        self.plan.called("commit");
        if self.plan.commit_fails.swap(false, Ordering::Relaxed) {
            if self.plan.commit_works_all_the_same.load(Ordering::Relaxed) {
                self.inner.commit()?;
            }
            return Err(Fault("the commit fails on purpose".into()));
        }
        self.inner.commit()
    }

    fn rollback(&mut self) -> Result<(), Fault> {
        self.plan.called("rollback");
        self.inner.rollback()
    }

    fn execute(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<u64, Fault> {
        self.statement()?;
        self.inner.execute(sql, values)
    }

    fn query(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
        each: &mut dyn FnMut(&dyn Row) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.statement()?;
        self.inner.query(sql, values, each)
    }

    fn scrub(&mut self) -> Result<(), Fault> {
        if self.plan.scrub_fails.load(Ordering::Relaxed) {
            return Err(Fault("scrubbing fails on purpose".into()));
        }
        self.inner.scrub()
    }

    fn reconnect(&mut self) -> Result<(), Fault> {
        self.plan.called("reconnect");
        if self.plan.reconnect_fails.load(Ordering::Relaxed) {
            return Err(Fault("reconnecting fails on purpose".into()));
        }
        self.inner.reconnect()
    }
}

fn options(place: Place, scrub_within: Duration) -> Options {
    Options {
        place,
        kme: kme("KME_A"),
        kek: Kek::from_secret(SecretBytes::from_vec(vec![7; 32])).expect("32 bytes"),
        limits: LedgerLimits::default(),
        scrub_within,
        anchor: None,
    }
}

fn kme(name: &str) -> KmeId {
    name.parse().expect("a name")
}

fn failing(folder: &tempfile::TempDir) -> (Ledger, Arc<Plan>) {
    let plan = Arc::new(Plan::default());
    let for_thread = Arc::clone(&plan);
    let path = folder.path().join("ledger.db");
    let connect = move |_: &Place, _: &KmeId| match SqliteDatabase::open(&path) {
        Ok(inner) => Ok(Box::new(Failing { inner, plan: for_thread }) as Box<dyn Database>),
        Err(Refusal::InUse | Refusal::Storage(_)) => panic!("the folder is new"),
    };
    // It is never scrubbed for being idle while a test counts its calls: reconnecting and closing do that.
    let ledger = Ledger::over(options(Place::Memory, Duration::from_hours(1)), connect).expect("a new ledger");
    plan.calls();
    (ledger, plan)
}

fn deposit(number: u64, len: usize) -> impl FnMut(&mut Book<'_>) -> Result<(), Fault> + Send + 'static {
    move |book| {
        let bits = SecretBytes::from_vec(vec![0xa5; len]);
        book.deposit(&kme("KME_Z"), number, &bits, NOW)?.map(|_| ()).map_err(|error| Fault(error.to_string()))
    }
}

fn links(book: &mut Book<'_>) -> Result<Vec<LinkView>, Fault> {
    book.links()
}

fn made(ledger: &Ledger) -> u64 {
    let links = ledger.run_blocking(links).expect("it works again");
    links.first().map_or(0, |link| link.accounting.made / 8)
}

#[test]
fn after_a_failed_commit_the_connection_is_opened_anew_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ledger, plan) = failing(&folder);
    plan.commit_fails.store(true, Ordering::Relaxed);
    let refused = ledger.run_blocking(deposit(0, 1024));
    assert_eq!(refused, Err(Unavailable::Storage("the commit fails on purpose".into())));
    assert!(ledger.snapshot().links.is_empty(), "what may not be durable is not shown either");
    assert_eq!(plan.calls(), ["begin", "commit"], "a commit is never tried twice");
    assert_eq!(made(&ledger), 0);
    assert_eq!(plan.calls(), ["reconnect", "begin", "commit"]);
}

#[test]
fn a_commit_that_failed_may_have_worked() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ledger, plan) = failing(&folder);
    plan.commit_works_all_the_same.store(true, Ordering::Relaxed);
    plan.commit_fails.store(true, Ordering::Relaxed);
    assert!(matches!(ledger.run_blocking(deposit(0, 1024)), Err(Unavailable::Storage(_))));
    assert_eq!(made(&ledger), 1024, "the ledger knows what is true, whatever the caller was told");
    assert!(matches!(ledger.run_blocking(deposit(0, 1024)), Err(Unavailable::Storage(_))), "so the number is taken");
}

#[test]
fn while_the_database_is_away_all_are_refused_and_then_it_works_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ledger, plan) = failing(&folder);
    ledger.run_blocking(deposit(0, 1024)).expect("nothing fails yet");
    plan.reconnect_fails.store(true, Ordering::Relaxed);
    plan.commit_fails.store(true, Ordering::Relaxed);
    assert!(ledger.run_blocking(deposit(1, 1024)).is_err());
    plan.calls();
    for number in 2..5 {
        let refused = ledger.run_blocking(deposit(number, 1024));
        assert_eq!(refused, Err(Unavailable::Storage("reconnecting fails on purpose".into())));
    }
    assert!(plan.calls().iter().all(|&call| call == "reconnect"), "nothing is done on what may be broken");
    plan.reconnect_fails.store(false, Ordering::Relaxed);
    ledger.run_blocking(deposit(9, 1024)).expect("it works again");
    assert_eq!(made(&ledger), 2 * 1024);
}

#[test]
fn wherever_a_statement_fails_nothing_is_given_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ledger, plan) = failing(&folder);
    ledger.run_blocking(deposit(0, 8192)).expect("nothing fails yet");
    let wish = Wish {
        link: kme("KME_Z"),
        master: "alice".parse().expect("a name"),
        remote: vec!["bob".parse().expect("a name")],
        local: Vec::new(),
        relays: Vec::new(),
        number: 4,
        bytes: 32,
        not_before: None,
        leave_bits: 0,
        deadline: NOW + Duration::from_mins(1),
    };
    let mut given = 0;
    for statements in 2..100 {
        let before = ledger.snapshot().links.clone();
        plan.statements_left.store(statements, Ordering::Relaxed);
        let wish = wish.clone();
        let outcome = ledger.run_blocking(move |book| {
            let cut = book.cut(&wish, NOW, &mut StdRng::seed_from_u64(u64::from(statements)))?.expect("key enough");
            Ok(book.deliver(cut.reservation, NOW)?.expect("it was just cut").len())
        });
        let is_through = plan.statements_left.swap(0, Ordering::Relaxed) > 1;
        match outcome {
            Ok(keys) => given += keys,
            Err(Unavailable::Storage(words)) => {
                assert!(!is_through && words.contains("on purpose"), "{words}");
                assert_eq!(ledger.snapshot().links, before);
                assert!(ledger.run_blocking(links).expect("the next works") == before, "and nothing stays");
            }
            Err(other) => panic!("{other}"),
        }
        if is_through && given >= 12 {
            assert_eq!(ledger.snapshot().links[0].accounting.delivered_to_master, given as u64 * 256);
            return;
        }
    }
    panic!("the operation never came through");
}

#[test]
fn a_full_disk_gives_nothing_out_and_works_again_with_room() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.db");
    let connect = |pages: u32| {
        let path = path.clone();
        move |_: &Place, _: &KmeId| {
            let mut inner = SqliteDatabase::open(&path).expect("a folder of ours");
            inner.run_script(&format!("PRAGMA max_page_count = {pages}")).expect("a setting");
            Ok::<_, OpenError>(Box::new(inner) as Box<dyn Database>)
        }
    };
    let ledger = Ledger::over(options(Place::Memory, Duration::from_hours(1)), connect(64)).expect("a new ledger");
    let mut taken = 0;
    let refusal = loop {
        match ledger.run_blocking(deposit(taken, 16 * 1024)) {
            Ok(()) => taken += 1,
            Err(refusal) => break refusal,
        }
        assert!(taken < 100, "it never fills up");
    };
    assert!(matches!(&refusal, Unavailable::Storage(words) if words.contains("full")), "{refusal}");
    assert!(taken > 0);
    assert_eq!(made(&ledger), taken * 16 * 1024, "what was answered is there, and the rest is not");
    drop(ledger);
    let ledger = Ledger::over(options(Place::Memory, Duration::from_hours(1)), connect(1 << 16)).expect("the same one");
    ledger.run_blocking(deposit(taken, 16 * 1024)).expect("there is room now");
}

#[test]
fn closing_says_when_it_could_not_scrub() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ledger, plan) = failing(&folder);
    ledger.run_blocking(deposit(0, 1024)).expect("nothing fails yet");
    plan.scrub_fails.store(true, Ordering::Relaxed);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let closed = runtime.block_on(ledger.close());
    assert_eq!(closed, Err(Unavailable::Storage("scrubbing fails on purpose".into())));
}

#[test]
fn an_operation_may_hold_the_last_handle() {
    let ledger = Ledger::open(options(Place::Memory, Duration::from_hours(1))).expect("memory");
    let (done, is_done) = std::sync::mpsc::sync_channel(1);
    let held = ledger.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async move {
        let run = ledger.run(move |_| {
            let _ = (&held, done.send(()));
            Ok(())
        });
        // Polled once, then forgotten.
        tokio::select! { biased; _ = run => {}, () = std::future::ready(()) => {} }
    });
    is_done.recv().expect("it runs although nobody waits");
}
