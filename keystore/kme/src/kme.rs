//! The KME as a value to embed.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rand::SeedableRng;
use rand::rngs::{StdRng, SysRng};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use vernam_etsi014::KmeId;
use vernam_key::SecretBytes;
use vernam_ledger::{Accounting, DepositError, Deposited, Ledger, Unavailable};

use crate::current::Current;
use crate::desk::Desk;
use crate::policy::Policy;
use crate::server::{self, KmeHandle};
use crate::{KeySource, KmeConfig, KmeError, KmeEvent, LinkReport, Observer, SourceTalk, TlsIdentity, config, feed};

/// What the wall clock says. The one place where a KME's time comes from.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// More requests than can ever be under way at once.
const MAX_UNDER_WAY: u32 = 1 << 24;

/// A key management entity. Cheap to clone; all clones are the same KME.
#[derive(Clone)]
pub struct Kme {
    shared: Arc<Shared>,
}

/// A block was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DepositRefused {
    /// No peer of this name is configured.
    #[error("there is no link to a KME named {0}")]
    NoSuchLink(KmeId),
    /// It comes too late, or is no block.
    #[error(transparent)]
    Block(#[from] DepositError),
    /// The ledger could not be written: offer the block again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) ledger: Ledger,
    /// Written by [`Shared::swap`] alone.
    pub(crate) current: watch::Sender<Arc<Current>>,
    /// Work that must come to its end even if its caller goes away holds a permit.
    pub(crate) under_way: Arc<Semaphore>,
    policy: Mutex<Policy>,
    rng: Mutex<StdRng>,
    desks: Mutex<BTreeMap<KmeId, Arc<Desk>>>,
    observers: RwLock<Vec<Arc<dyn Observer>>>,
    clock: Clock,
}

impl Kme {
    /// A KME on `ledger`, which must have been opened for `config.id`, with the same `max_pool_bits` as in its limits.
    ///
    /// If the ledger is this process's alone, then whatever an earlier process was about to deliver is void from here
    /// on: make one KME of one ledger. Blocks until that is durable.
    pub fn new(config: KmeConfig, ledger: Ledger) -> Result<Self, KmeError> {
        Self::with_clock(config, ledger, Arc::new(SystemTime::now))
    }

    /// As [`Self::new`], with another clock than the system's.
    pub fn with_clock(config: KmeConfig, ledger: Ledger, clock: Clock) -> Result<Self, KmeError> {
        config::check(&config)?;
        let rng = StdRng::try_from_rng(&mut SysRng).map_err(|error| KmeError::Random(error.to_string()))?;
        if !ledger.is_shared() {
            #[expect(
                clippy::redundant_closure_for_method_calls,
                reason = "the method's own lifetime is not general enough"
            )]
            let voided = ledger.run_blocking(|book| book.void_all_cuts())?;
            if voided > 0 {
                tracing::info!(voided, "keys whose delivery an earlier process had not finished are void");
            }
        }
        let shared = Shared {
            ledger,
            policy: Mutex::new(Policy::new(config.policy.clone())),
            current: watch::Sender::new(Arc::new(Current::closed(config))),
            under_way: Arc::new(Semaphore::new(MAX_UNDER_WAY as usize)),
            rng: Mutex::new(rng),
            desks: Mutex::default(),
            observers: RwLock::default(),
            clock,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Takes the block `number` of the link to `link`, durably. The far end deposits the same bits under the same
    /// number; numbers ascend.
    ///
    /// A block for which there is no room is void at both ends ([`Deposited::NoRoom`]).
    pub async fn deposit(&self, link: &KmeId, number: u64, bits: SecretBytes) -> Result<Deposited, DepositRefused> {
        if self.shared.current().config.peer(link).is_none() {
            return Err(DepositRefused::NoSuchLink(link.clone()));
        }
        let (peer, now, size) = (link.clone(), self.shared.now(), bits.len() as u64 * 8);
        let deposited = self.shared.ledger.run(move |book| book.deposit(&peer, number, &bits, now)).await??;
        let kept = deposited == Deposited::Pooled;
        if !kept {
            self.shared.desk(link).news.notify_one();
        }
        self.shared.tell(&KmeEvent::Deposited { link, block: number, bits: size, kept });
        Ok(deposited)
    }

    /// Feeds the link to `link` from `source` until the source has ended, or the link is no longer configured, and
    /// returns why.
    pub async fn feed(&self, link: KmeId, source: Box<dyn KeySource>) -> String {
        feed::run(self, &link, source).await
    }

    /// Takes the report of the link to `link`, for Status and for the alarm. On a ledger that several processes share it
    /// counts for all of them, as soon as it is stored there: for the others within about a second.
    pub fn set_link_report(&self, link: &KmeId, report: LinkReport) {
        if self.shared.take_report(link, report) {
            let report = self.link_report(link);
            self.shared.tell(&KmeEvent::Link { link, report: &report });
        }
    }

    /// The latest report of the link to `link`, by whichever process of this KME was told it.
    pub fn link_report(&self, link: &KmeId) -> LinkReport {
        self.shared.report(link)
    }

    /// The books of the link to `link`, in bits, as of the last commit; they do not wait for the disk.
    pub fn accounting(&self, link: &KmeId) -> Accounting {
        self.shared.ledger.snapshot().link(link).map_or_else(Accounting::default, |view| view.accounting)
    }

    /// The books of the link to `link`, in bits, after everything that was asked of the ledger before.
    pub async fn accounting_now(&self, link: &KmeId) -> Result<Accounting, Unavailable> {
        let link = link.clone();
        self.shared.ledger.run(move |book| book.accounting(&link)).await
    }

    /// How many messages the peer at the end of `link` has called malformed since the start. They were dropped.
    pub fn dropped_messages(&self, link: &KmeId) -> u64 {
        self.shared.desk(link).dropped()
    }

    /// The ledger, for its owner to close after the last server has ended.
    pub fn ledger(&self) -> &Ledger {
        &self.shared.ledger
    }

    /// From now on `observer` is told what happens.
    pub fn add_observer(&self, observer: Arc<dyn Observer>) {
        self.shared.observers.write().unwrap_or_else(PoisonError::into_inner).push(observer);
    }

    /// From now on `talk` answers what the other end of the link's key source says.
    pub fn set_source_talk(&self, link: &KmeId, talk: Arc<dyn SourceTalk>) {
        self.shared.desk(link).set_talk(talk);
    }

    /// Says `message` to the other end of the link's key source, and returns its answer. The error is for people.
    pub async fn ask_source(&self, link: &KmeId, message: Value) -> Result<Value, String> {
        let current = self.shared.current();
        let peer = current.peers.get(link).ok_or_else(|| format!("this KME does not serve a link to {link} yet"))?;
        peer.ask_source(message).await
    }

    /// Serves on `listener` until `shutdown` resolves or the handle says so. Must be called within a tokio runtime.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the caller need not keep the private key, so it is not invited to"
    )]
    pub fn serve(
        &self,
        listener: TcpListener,
        tls: TlsIdentity,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<KmeHandle, KmeError> {
        let local_addr = listener.local_addr()?;
        let config = self.shared.current().config.clone();
        self.shared.swap(config, &tls)?;
        Ok(server::start(Arc::clone(&self.shared), listener, local_addr, shutdown))
    }

    /// Puts a configuration and certificates into force. Requests that come from now on see the new ones; connections
    /// whose holder is no longer trusted, or is now known as somebody else, are closed. After an error nothing has changed.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the caller need not keep the private key, so it is not invited to"
    )]
    pub fn reload(&self, config: KmeConfig, tls: TlsIdentity) -> Result<(), KmeError> {
        config::check(&config)?;
        let current = self.shared.current();
        if config.id != current.config.id {
            let text = format!("the KME's ID can only change with its ledger: it is {}", current.config.id);
            return Err(KmeError::Config(text));
        }
        let policy = (config.policy != current.config.policy).then(|| config.policy.clone());
        self.shared.swap(config, &tls)?;
        if let Some(policy) = policy {
            self.shared.policy().reconfigure(policy);
        }
        self.shared.tell(&KmeEvent::Reloaded);
        Ok(())
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Shared {
    /// What is in force.
    pub(crate) fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.borrow())
    }

    fn swap(&self, config: KmeConfig, tls: &TlsIdentity) -> Result<(), KmeError> {
        let mut opened = Current::open(0, config, tls)?;
        self.current.send_modify(|current| {
            opened.generation = current.generation + 1;
            *current = Arc::new(opened);
        });
        Ok(())
    }

    /// The wall clock, since the Unix epoch: time for the ledger and the policy.
    pub(crate) fn now(&self) -> Duration {
        (self.clock)().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }

    pub(crate) fn policy(&self) -> MutexGuard<'_, Policy> {
        self.policy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn desk(&self, link: &KmeId) -> Arc<Desk> {
        let mut desks = self.desks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(desk) = desks.get(link) {
            return Arc::clone(desk);
        }
        Arc::clone(desks.entry(link.clone()).or_insert_with(|| Arc::new(Desk::new())))
    }

    /// Randomness for one operation of the ledger, which runs on the ledger's own thread.
    pub(crate) fn rng(&self) -> StdRng {
        StdRng::from_rng(&mut *self.rng.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn tell(&self, event: &KmeEvent<'_>) {
        for observer in &*self.observers.read().unwrap_or_else(PoisonError::into_inner) {
            observer.on(event);
        }
    }

    /// Runs `work` to its end in a task of its own, even if the caller stops waiting. `None` if it panicked.
    pub(crate) async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let permit = Arc::clone(&self.under_way).acquire_owned().await.ok()?;
        let task = tokio::spawn(async move {
            let _held = permit;
            work.await
        });
        task.await.ok()
    }

    /// Waits until nothing is under way.
    pub(crate) async fn all_over(&self) {
        drop(self.under_way.acquire_many(MAX_UNDER_WAY).await);
    }
}
