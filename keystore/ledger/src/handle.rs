//! The ledger as a value to share: operations queue up, and all that wait are one transaction (group commit).
//!
//! One thread has the database ([`worker`]); this is the handle to it. What an operation does is the book's matter.

mod anchor;
mod job;
mod opening;
#[cfg(test)]
mod tests;
mod worker;

use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use vernam_etsi014::KmeId;

use self::job::{Job, Operation, Reply};
use self::worker::Worker;
use crate::database::Database;
use crate::{Book, Fault, Kek, LedgerLimits, LinkView, OpenError, Unavailable};

/// The most operations that wait. One more is refused as [`Unavailable::Busy`].
const MAX_WAITING: usize = 4096;

/// Where a ledger lies.
#[derive(Debug, Clone)]
pub enum Place {
    /// In memory: gone with the process.
    Memory,
    /// A SQLite file, which one process has open at a time. Beside it lie the same name with `-wal` (what is not in the
    /// file yet) and `-lock` (empty, marks it as open).
    Sqlite(PathBuf),
    /// A PostgreSQL database, which several processes of one site may share: `postgres://user@host/name` or the keyword
    /// form. The server must be on this host: there is no TLS to it.
    Postgres(String),
}

/// How to open a ledger.
pub struct Options {
    /// Where it lies.
    pub place: Place,
    /// Whose it is.
    pub kme: KmeId,
    /// What it is sealed under.
    pub kek: Kek,
    /// What it may hold.
    pub limits: LedgerLimits,
    /// How long what was erased may at most stand in SQLite's write-ahead log, sealed.
    pub scrub_within: Duration,
    /// Where the anchor of a SQLite ledger lies, which tells a ledger that was put back from an older copy; best on
    /// another disk, and never in a backup. `None`: beside the ledger, with `-anchor` after its name.
    pub anchor: Option<PathBuf>,
}

/// How every link stands.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// By the ID of the peer.
    pub links: Vec<LinkView>,
}

impl Snapshot {
    /// The link to `peer`, if it ever had a block.
    pub fn link(&self, peer: &KmeId) -> Option<&LinkView> {
        self.links.iter().find(|view| view.link == *peer)
    }
}

/// A durable ledger. Cheap to clone; all clones are the same one. It is closed by [`Self::close`], or when the last clone
/// goes, which waits for it.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

struct Inner {
    /// `None` once the ledger is being closed.
    queue: RwLock<Option<SyncSender<Box<dyn Job>>>>,
    snapshot: Arc<RwLock<Arc<Snapshot>>>,
    is_shared: bool,
    /// How the thread ended, once it has.
    ended: watch::Receiver<Option<Result<(), Unavailable>>>,
    thread: Option<JoinHandle<()>>,
}

impl Ledger {
    /// Opens or makes a ledger. Blocks: on the disk, and for a passphrase on Argon2id.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        Self::over(options, opening::connect)
    }

    /// A ledger in the database that `connect` opens.
    fn over(
        options: Options,
        connect: impl FnOnce(&Place, &KmeId) -> Result<Box<dyn Database>, OpenError> + Send + 'static,
    ) -> Result<Self, OpenError> {
        let is_shared = matches!(options.place, Place::Postgres(_));
        let place = opening::name(&options.place);
        let failed = |reason: String| OpenError::Storage { place: place.clone(), reason };
        let (queue, jobs) = sync_channel(MAX_WAITING);
        let snapshot = Arc::new(RwLock::new(Arc::new(Snapshot::default())));
        let (opened, outcome) = sync_channel(1);
        let (end, ended) = watch::channel(None);

        // The database lives on its thread from the start: PostgreSQL's client cannot be used where async code runs.
        let published = Arc::clone(&snapshot);
        let open = move || Worker::open(connect(&options.place, &options.kme)?, options, published);
        let work = move || match open() {
            Ok(worker) => {
                // Nobody listens if the caller has gone; then nobody sends either, and the thread ends.
                let _ = opened.send(Ok(()));
                let outcome = worker.work(&jobs);
                end.send_replace(Some(outcome));
            }
            Err(error) => {
                let _ = opened.send(Err(error));
            }
        };
        let thread = std::thread::Builder::new().name("ledger".into()).spawn(work);
        let thread = thread.map_err(|error| failed(error.to_string()))?;
        match outcome.recv() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                // The files are closed when this returns.
                let _ = thread.join();
                return Err(error);
            }
            Err(_gone) => return Err(failed("the thread of the ledger has ended".into())),
        }
        let queue = RwLock::new(Some(queue));
        Ok(Self { inner: Arc::new(Inner { queue, snapshot, is_shared, ended, thread: Some(thread) }) })
    }

    /// Runs `operation` in a transaction with what else waits, and returns when all of it is durable. A fault rolls
    /// everything back; the operations are then run one by one, so `operation` may be called more than once. Once this
    /// was polled the operation runs, even if nobody waits for its end.
    pub async fn run<T: Send + 'static>(
        &self,
        operation: impl FnMut(&mut Book<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let (reply, answer) = oneshot::channel();
        self.submit(Operation::new(operation, Reply::Async(reply)))?;
        answer.await.unwrap_or(Err(Unavailable::Closed))
    }

    /// As [`Self::run`], for a thread that may block.
    pub fn run_blocking<T: Send + 'static>(
        &self,
        operation: impl FnMut(&mut Book<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let (reply, answer) = sync_channel(1);
        self.submit(Operation::new(operation, Reply::Blocking(reply)))?;
        answer.recv().unwrap_or(Err(Unavailable::Closed))
    }

    /// As [`Self::run`], for a caller that cannot wait: `done` is told the outcome, on the ledger's own thread, where it must
    /// be quick and must not block.
    pub fn post<T: Send + 'static>(
        &self,
        operation: impl FnMut(&mut Book<'_>) -> Result<T, Fault> + Send + 'static,
        done: impl FnOnce(Result<T, Unavailable>) + Send + 'static,
    ) -> Result<(), Unavailable> {
        self.submit(Operation::new(operation, Reply::Told(Box::new(done))))
    }

    /// How the links stand, without waiting for the disk.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.inner.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether several processes may share it.
    pub fn is_shared(&self) -> bool {
        self.inner.is_shared
    }

    /// Ends the ledger: what waits is done, what was erased is scrubbed, the files are closed.
    pub async fn close(&self) -> Result<(), Unavailable> {
        self.inner.stop_taking();
        let mut ended = self.inner.ended.clone();
        // The thread ends without a word only if it panicked.
        let outcome = ended.wait_for(Option::is_some).await.map_err(|_panicked| Unavailable::Closed)?;
        outcome.clone().unwrap_or(Ok(()))
    }

    fn submit(&self, job: impl Job + 'static) -> Result<(), Unavailable> {
        let queue = self.inner.queue.read().unwrap_or_else(PoisonError::into_inner);
        let queue = queue.as_ref().ok_or(Unavailable::Closed)?;
        queue.try_send(Box::new(job)).map_err(|error| match error {
            TrySendError::Full(_) => Unavailable::Busy,
            TrySendError::Disconnected(_) => Unavailable::Closed,
        })
    }
}

impl Inner {
    /// The thread does what waits and ends.
    fn stop_taking(&self) {
        self.queue.write().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop_taking();
        // An operation may hold the last handle: then this is the ledger's own thread, which cannot wait for itself.
        if let Some(thread) = self.thread.take().filter(|thread| thread.thread().id() != std::thread::current().id()) {
            let _ = thread.join();
        }
    }
}
