//! What this process knows of one link besides what stands in the ledger.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, Notify};

use crate::SourceTalk;
use crate::report::Told;

/// One link's desk. It outlives a reload of the configuration.
pub(crate) struct Desk {
    /// What this process was told of the quantum link.
    told: Mutex<Told>,
    talk: Mutex<Option<Arc<dyn SourceTalk>>>,
    /// Something for the peer was put into the outbox.
    pub(crate) news: Notify,
    /// Held by whoever empties the outbox: messages go out in order.
    pub(crate) sending: AsyncMutex<()>,
    /// How often keys were voided because nobody knew whether the peer holds them.
    doubts: AtomicU64,
    /// Of those, how many the peer has heard of.
    settled: AtomicU64,
    /// Messages that the peer called malformed.
    dropped: AtomicU64,
}

impl Desk {
    /// After a start there may be voids in the outbox: it begins in doubt.
    pub(crate) fn new() -> Self {
        Self {
            told: Mutex::default(),
            talk: Mutex::default(),
            news: Notify::new(),
            sending: AsyncMutex::default(),
            doubts: AtomicU64::new(1),
            settled: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    pub(crate) fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn talk(&self) -> Option<Arc<dyn SourceTalk>> {
        self.talk.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_talk(&self, talk: Arc<dyn SourceTalk>) {
        *self.talk.lock().unwrap_or_else(PoisonError::into_inner) = Some(talk);
    }

    /// Keys were voided that the peer may hold: until it has heard so, no more are cut.
    pub(crate) fn doubt(&self) {
        self.doubts.fetch_add(1, Ordering::SeqCst);
    }

    /// For [`Self::settle`]: what is in doubt now.
    pub(crate) fn doubts(&self) -> u64 {
        self.doubts.load(Ordering::SeqCst)
    }

    /// The outbox was found without voids after [`Self::doubts`] said `seen`.
    pub(crate) fn settle(&self, seen: u64) {
        self.settled.fetch_max(seen, Ordering::SeqCst);
    }

    /// Whether the peer may not have heard of keys that were voided.
    pub(crate) fn in_doubt(&self) -> bool {
        self.settled.load(Ordering::SeqCst) < self.doubts()
    }

    pub(crate) fn drop_message(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
