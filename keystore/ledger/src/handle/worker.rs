//! The ledger's thread: transactions, recovery after failures, and what is done when nothing else is.
//!
//! Nothing is answered before it is durable. After a failed commit nobody knows whether it is: the callers are told that
//! it failed, and the connection is opened anew before anything else.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use vernam_etsi014::KmeId;

use super::anchor::{self, Anchor};
use super::job::Job;
use super::{Options, Place, Snapshot, opening};
use crate::database::Database;
use crate::seal::DataKey;
use crate::{Book, Fault, LedgerLimits, LinkView, OpenError, Unavailable};

/// The most operations in one transaction: it bounds how much is rolled back when one of them fails.
const MAX_BATCH: usize = 256;

/// How long nothing must have been asked before erased rows are scrubbed from the raw files ahead of time.
const IDLE: Duration = Duration::from_millis(100);

/// How often a shared ledger looks what other processes did, and a failed one whether it works again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

type Batch = Vec<Box<dyn Job>>;

pub(super) struct Worker {
    database: Box<dyn Database>,
    key: DataKey,
    fingerprint: Option<Vec<u8>>,
    /// Only a SQLite file has one.
    anchor: Option<Anchor>,
    kme: KmeId,
    limits: LedgerLimits,
    scrub_within: Duration,
    is_shared: bool,
    snapshot: Arc<RwLock<Arc<Snapshot>>>,
    /// The connection must be opened anew before anything else.
    is_broken: bool,
    /// Since when raw files may hold something of erased rows.
    stained_since: Option<Instant>,
    /// Since when the ledger is newer than its anchor tells.
    unanchored_since: Option<Instant>,
    last_look: Instant,
}

/// Why a transaction came to nothing.
enum Failure {
    /// It has certainly not happened, and may work in parts or over a new connection.
    Before(Fault),
    /// There is no use in trying again, or nobody knows whether it happened.
    Final(Fault),
}

impl Failure {
    fn fault(self) -> Fault {
        match self {
            Self::Before(fault) | Self::Final(fault) => fault,
        }
    }
}

impl Worker {
    /// Makes the ledger in the database or recognises it, and takes the first snapshot.
    pub(super) fn open(
        mut database: Box<dyn Database>,
        options: Options,
        snapshot: Arc<RwLock<Arc<Snapshot>>>,
    ) -> Result<Self, OpenError> {
        let is_shared = matches!(options.place, Place::Postgres(_));
        let place = opening::name(&options.place);
        let key = opening::identify(&mut *database, &place, &options.kme, &options.kek)?;
        let fingerprint = opening::fingerprint(&mut *database).map_err(|fault| opening::storage(&place, &fault))?;
        let generation = opening::generation(&mut *database).map_err(|fault| opening::storage(&place, &fault))?;
        let anchor = match &options.place {
            Place::Sqlite(path) => {
                let path = options.anchor.unwrap_or_else(|| anchor::beside(path));
                let ledger = fingerprint.as_deref().unwrap_or_default();
                Some(Anchor::check(path, ledger, generation, &place)?)
            }
            Place::Memory | Place::Postgres(_) => None,
        };
        let mut worker = Self {
            database,
            key,
            fingerprint,
            anchor,
            kme: options.kme,
            limits: options.limits,
            scrub_within: options.scrub_within,
            is_shared,
            snapshot,
            is_broken: false,
            stained_since: Some(Instant::now()),
            unanchored_since: None,
            last_look: Instant::now(),
        };
        let first = worker.transaction(&mut []);
        first.map_err(|failure| opening::storage(&place, &failure.fault()))?;
        worker.raise_anchor().map_err(|fault| opening::storage(&place, &fault))?;
        Ok(worker)
    }

    /// Works until nobody can ask any more, then closes the ledger.
    pub(super) fn work(mut self, jobs: &Receiver<Box<dyn Job>>) -> Result<(), Unavailable> {
        loop {
            let batch = match jobs.recv_timeout(self.next_chore()) {
                Ok(job) => std::iter::once(job).chain(jobs.try_iter()).take(MAX_BATCH).collect(),
                Err(RecvTimeoutError::Timeout) => Batch::new(),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let is_idle = batch.is_empty();
            if !is_idle {
                self.settle(batch);
            }
            self.chores(is_idle);
        }
        self.close()
    }

    fn close(mut self) -> Result<(), Unavailable> {
        let anchored = self.heal().and_then(|()| self.raise_anchor());
        anchored.and_then(|()| self.database.scrub()).map_err(|fault| Unavailable::Storage(fault.0))
    }

    /// Runs the batch and answers each of its operations.
    fn settle(&mut self, mut batch: Batch) {
        self.stained_since.get_or_insert_with(Instant::now);
        self.unanchored_since.get_or_insert_with(Instant::now);
        let together = self.heal().map_err(Failure::Final).and_then(|()| self.transaction(&mut batch));
        match together {
            Ok(()) => batch.into_iter().for_each(|job| job.answer(Ok(()))),
            Err(Failure::Final(fault)) => {
                tracing::error!(operations = batch.len(), "the ledger cannot be written: {fault}");
                let refusal = Unavailable::Storage(fault.0);
                for job in batch {
                    job.answer(Err(refusal.clone()));
                }
            }
            // One of them may have hurt the others; or the connection had gone, and works again.
            Err(Failure::Before(fault)) => {
                tracing::warn!(operations = batch.len(), "a transaction failed, and is tried in parts: {fault}");
                for job in batch {
                    self.settle_alone(job);
                }
            }
        }
    }

    fn settle_alone(&mut self, job: Box<dyn Job>) {
        let mut alone = [job];
        let outcome = self.heal().map_err(Failure::Final).and_then(|()| self.transaction(&mut alone));
        let [job] = alone;
        job.answer(outcome.map_err(|failure| {
            let fault = failure.fault();
            tracing::error!("an operation of the ledger failed: {fault}");
            Unavailable::Storage(fault.0)
        }));
    }

    /// All of `jobs` in one transaction, and how the links stand after it.
    fn transaction(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), Failure> {
        if let Err(fault) = self.database.begin() {
            self.is_broken = self.database.rollback().is_err();
            // Over a connection that works it would be refused again: another process has the lock.
            return Err(if self.is_broken { Failure::Before(fault) } else { Failure::Final(fault) });
        }
        let links = match self.run(jobs) {
            Ok(links) => links,
            Err(fault) => {
                self.is_broken = self.database.rollback().is_err();
                return Err(Failure::Before(fault));
            }
        };
        self.database.commit().map_err(|fault| {
            self.is_broken = true;
            Failure::Final(fault)
        })?;
        self.last_look = Instant::now();
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Snapshot { links });
        Ok(())
    }

    fn run(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<Vec<LinkView>, Fault> {
        let mut book = Book::new(&mut *self.database, &self.key, &self.kme, &self.limits);
        for job in jobs {
            job.run(&mut book)?;
        }
        book.finish()?;
        book.links()
    }

    /// Raises the generation in the ledger, durably, and then in the anchor.
    fn raise_anchor(&mut self) -> Result<(), Fault> {
        let Some(anchor) = &self.anchor else { return Ok(()) };
        self.database.begin()?;
        let raised = match opening::raise(&mut *self.database) {
            Ok(raised) => raised,
            Err(fault) => {
                self.is_broken = self.database.rollback().is_err();
                return Err(fault);
            }
        };
        self.database.commit().inspect_err(|_fault| self.is_broken = true)?;
        anchor.write(raised).map_err(|error| Fault(format!("its anchor cannot be written: {error}")))
    }

    /// Opens the connection anew if it must be.
    fn heal(&mut self) -> Result<(), Fault> {
        if self.is_broken {
            self.last_look = Instant::now();
            self.database.reconnect()?;
            // Sealed under our key, nobody else could open it; and under another ledger's, we could not.
            if opening::fingerprint(&mut *self.database)? != self.fingerprint {
                return Err(Fault("there is another ledger now where this one was".into()));
            }
            self.is_broken = false;
        }
        Ok(())
    }

    /// How long to wait for operations until something else is to be done.
    fn next_chore(&self) -> Duration {
        let scrub = self.stained_since.map(|since| self.scrub_within.saturating_sub(since.elapsed()).min(IDLE));
        let anchor = self.unanchored_since.map(|since| self.scrub_within.saturating_sub(since.elapsed()));
        let look = (self.is_shared || self.is_broken).then(|| LOOK_EVERY.saturating_sub(self.last_look.elapsed()));
        // Without any there is nothing to wake up for but operations.
        [scrub, anchor, look].into_iter().flatten().min().unwrap_or(Duration::from_hours(1))
    }

    fn chores(&mut self, is_idle: bool) {
        if (self.is_shared || self.is_broken) && self.last_look.elapsed() >= LOOK_EVERY {
            let look = self.heal().map_err(Failure::Final).and_then(|()| self.transaction(&mut []));
            if let Err(failure) = look {
                self.last_look = Instant::now();
                tracing::warn!("the ledger cannot be read: {}", failure.fault());
            }
        }
        let is_unanchored = self.unanchored_since.is_some_and(|since| since.elapsed() >= self.scrub_within);
        if is_unanchored && !self.is_broken {
            self.unanchored_since = None;
            self.stained_since.get_or_insert_with(Instant::now);
            if let Err(fault) = self.raise_anchor() {
                tracing::warn!("a ledger that is put back would not be noticed: {fault}");
                self.unanchored_since = Some(Instant::now());
            }
        }
        let Some(since) = self.stained_since else { return };
        if self.is_broken || !(is_idle || since.elapsed() >= self.scrub_within) {
            return;
        }
        match self.database.scrub() {
            Ok(()) => self.stained_since = None,
            Err(fault) => {
                tracing::warn!("erased keys could not be scrubbed from the files yet: {fault}");
                self.stained_since = Some(Instant::now());
                self.is_broken = true;
            }
        }
    }
}
