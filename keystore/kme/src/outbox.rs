//! What the peer must still be told. Kept until it has heard it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use vernam_key::KeyId;

use crate::{Extent, KeyPositions};

/// The most messages of each kind that are kept for a peer that is away. Beyond this the oldest are dropped: the peer
/// then lets the keys expire, which costs key and is safe.
const MAX_KEPT: usize = 1 << 16;

#[derive(Default)]
pub(crate) struct Outbox {
    messages: Mutex<Messages>,
    news: Notify,
}

#[derive(Default)]
pub(crate) struct Messages {
    pub(crate) voids: Vec<KeyPositions>,
    pub(crate) extents: Vec<Extent>,
    pub(crate) delivered: Vec<KeyId>,
}

impl Outbox {
    /// Changes the messages and wakes who sends them.
    pub(crate) fn post(&self, change: impl FnOnce(&mut Messages)) {
        let mut messages = self.lock();
        change(&mut messages);
        let Messages { voids, extents, delivered } = &mut *messages;
        keep_newest(voids);
        keep_newest(extents);
        keep_newest(delivered);
        drop(messages);
        self.news.notify_one();
    }

    pub(crate) fn has_voids(&self) -> bool {
        !self.lock().voids.is_empty()
    }

    /// Takes up to `max` messages of each kind; what is not sent comes back with [`Self::post`].
    pub(crate) fn take(&self, max: usize) -> Messages {
        let mut messages = self.lock();
        Messages {
            voids: first(&mut messages.voids, max),
            extents: first(&mut messages.extents, max),
            delivered: first(&mut messages.delivered, max),
        }
    }

    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Messages> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Messages {
    pub(crate) fn is_empty(&self) -> bool {
        self.voids.is_empty() && self.extents.is_empty() && self.delivered.is_empty()
    }

    /// Puts what was not sent back, before what came since.
    pub(crate) fn put_back(&mut self, unsent: Self) {
        self.voids.splice(0..0, unsent.voids);
        self.extents.splice(0..0, unsent.extents);
        self.delivered.splice(0..0, unsent.delivered);
    }
}

fn first<T>(all: &mut Vec<T>, max: usize) -> Vec<T> {
    all.drain(..all.len().min(max)).collect()
}

fn keep_newest<T>(all: &mut Vec<T>) {
    let excess = all.len().saturating_sub(MAX_KEPT);
    all.drain(..excess);
}
