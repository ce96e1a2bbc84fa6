//! The KME as a value to embed.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::{StdRng, SysRng};
use tokio::net::TcpListener;
use vernam_key::SecretBytes;

use crate::outbox::Outbox;
use crate::server::{self, KmeHandle};
use crate::{Accounting, DepositError, Deposited, KmeConfig, KmeError, Ledger, LinkReport, TlsIdentity, config};

/// A key management entity. Cheap to clone; all clones are the same KME.
#[derive(Clone)]
pub struct Kme {
    shared: Arc<Shared>,
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) config: KmeConfig,
    pub(crate) outbox: Outbox,
    pub(crate) rng: Mutex<StdRng>,
    ledger: Mutex<Ledger>,
    link: Mutex<LinkReport>,
    epoch: Instant,
}

impl Kme {
    /// A KME with empty pools.
    pub fn new(config: KmeConfig) -> Result<Self, KmeError> {
        config::check(&config)?;
        let rng = StdRng::try_from_rng(&mut SysRng).map_err(|error| KmeError::Random(error.to_string()))?;
        let ledger = Ledger::new(&config.id, &config.peer.kme_id, config.limits.ledger);
        let shared = Shared {
            config,
            outbox: Outbox::default(),
            rng: Mutex::new(rng),
            ledger: Mutex::new(ledger),
            link: Mutex::new(LinkReport::unknown()),
            epoch: Instant::now(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Takes the block `number` of the link. The far end deposits the same bits under the same number; numbers ascend.
    ///
    /// A block for which there is no room is erased at both ends ([`Deposited::NoRoom`]).
    pub fn deposit(&self, number: u64, bits: SecretBytes) -> Result<Deposited, DepositError> {
        let deposited = self.shared.ledger().deposit(number, bits)?;
        if let Deposited::NoRoom(extent) = deposited {
            self.shared.outbox.post(|messages| messages.extents.push(extent));
        }
        Ok(deposited)
    }

    /// Takes the link's report, for Status and for the alarm.
    pub fn set_link_report(&self, report: LinkReport) {
        *self.shared.link.lock().unwrap_or_else(PoisonError::into_inner) = report;
    }

    /// The link's latest report.
    pub fn link_report(&self) -> LinkReport {
        self.shared.link_report()
    }

    /// The books, in bits.
    pub fn accounting(&self) -> Accounting {
        self.shared.ledger().accounting()
    }

    /// Serves on `listener` until `shutdown` resolves or the handle says so. Must be called within a tokio runtime.
    pub fn serve(
        &self,
        listener: TcpListener,
        tls: &TlsIdentity,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<KmeHandle, KmeError> {
        server::start(Arc::clone(&self.shared), listener, tls, shutdown)
    }
}

impl Shared {
    /// The ledger, locked. Never held across an await.
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("after a panic inside the ledger, going on could hand bits out twice")
    }

    pub(crate) fn link_report(&self) -> LinkReport {
        self.link.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Time for the ledger: since this KME was made.
    pub(crate) fn now(&self) -> Duration {
        self.epoch.elapsed()
    }
}
