//! Which key was asked for, offered and answered.

use std::collections::BTreeMap;

use vernam_key::Outbound;

use crate::flow::{FlowId, KeyBlock};
use crate::limits::MAX_PENDING_OFFERS;
use crate::suite::Suite;

/// Why a flow gets no key now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoKey {
    /// The outbound stock is too small.
    #[error("the stock of key for this contact is used up")]
    StockUsedUp,
    /// The peer does not have it.
    #[error("the other side does not have this key")]
    PeerRefused,
    /// The store failed.
    #[error("the store of keys could not be read")]
    Store,
}

/// Why a key cannot be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyRequestError {
    /// The session is not established, or is over.
    #[error("the session is not established")]
    NotEstablished,
    /// The flow already waits for a key, or too many do.
    #[error("a key for this flow is on its way")]
    Busy,
    /// No bytes, more than [`crate::limits::MAX_BLOCK_LEN`], or for an AEAD suite another number than the seed has.
    #[error("a key block of {len} bytes cannot be used")]
    Length {
        /// Bytes asked for.
        len: u32,
    },
}

/// One outgoing flow's generations.
#[derive(Default)]
pub(super) struct Requests {
    next_generation: BTreeMap<FlowId, u32>,
    pending: BTreeMap<FlowId, Request>,
}

/// A key that was asked for and is not installed yet.
pub(super) struct Request {
    pub(super) generation: u32,
    pub(super) suite: Suite,
    pub(super) first_seq: u64,
    /// Taken from the stock and offered to the peer.
    pub(super) offered: Option<KeyBlock<Outbound>>,
}

impl Requests {
    /// The control flow's first generation came with the handshake.
    pub(super) fn new(control: FlowId) -> Self {
        Self { next_generation: BTreeMap::from([(control, 1)]), pending: BTreeMap::new() }
    }

    pub(super) fn is_pending(&self, flow: FlowId) -> bool {
        self.pending.contains_key(&flow)
    }

    pub(super) fn begin(&mut self, flow: FlowId, suite: Suite, first_seq: u64) -> Result<(), KeyRequestError> {
        if self.is_pending(flow) || self.pending.len() >= MAX_PENDING_OFFERS {
            return Err(KeyRequestError::Busy);
        }
        let generation = *self.next_generation.entry(flow).or_default();
        self.pending.insert(flow, Request { generation, suite, first_seq, offered: None });
        Ok(())
    }

    pub(super) fn pending_mut(&mut self, flow: FlowId) -> Option<&mut Request> {
        self.pending.get_mut(&flow)
    }

    /// The peer has the key: its generation is done. `None` if nothing of the kind was offered.
    pub(super) fn ready(&mut self, flow: FlowId, generation: u32) -> Option<KeyBlock<Outbound>> {
        let offered = self.pending.get(&flow)?.generation == generation;
        let block = self.pending.remove(&flow).filter(|_| offered)?.offered?;
        self.next_generation.insert(flow, generation + 1);
        Some(block)
    }

    /// The request came to nothing; its generation will be used by the next one. What was offered is wiped.
    pub(super) fn abandon(&mut self, flow: FlowId) -> bool {
        self.pending.remove(&flow).is_some()
    }
}
