//! Where a link's bits come from: one trait for every source.

use std::future::Future;
use std::pin::Pin;

use serde_json::Value;
use vernam_key::SecretBytes;

use crate::LinkReport;

/// A future of a source.
pub type SourceFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a source has to say.
pub enum SourceEvent {
    /// A block of key. Both ends of the link get the same bits under the same number, in ascending order.
    Block {
        /// Its number.
        number: u64,
        /// Its bits.
        bits: SecretBytes,
    },
    /// The block of this number, delivered before or not, must not be used.
    Void {
        /// Its number.
        number: u64,
    },
    /// How the link stands.
    Report(LinkReport),
    /// Nothing more will come, and why.
    Ended(String),
}

/// What became of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It is durably in the ledger, or durably void for want of room: the source can erase its copy.
    Taken,
    /// The ledger had its number before: the source can erase its copy.
    TooLate,
    /// The ledger could not be written: offer it again.
    Again,
}

/// A source of key blocks for one link.
pub trait KeySource: Send {
    /// The next event. Dropping the future loses nothing.
    fn next(&mut self) -> SourceFuture<'_, SourceEvent>;

    /// The block that [`Self::next`] gave last was dealt with. Called before the next call of `next`.
    fn settled(&mut self, number: u64, settled: Settled) -> SourceFuture<'_, ()>;
}

/// The side of a source that answers its other end, whose words come through the two KMEs (`/kmapi/v1/vernam_source`).
pub trait SourceTalk: Send + Sync {
    /// Answers a message from the other end; an error is told to it in plain words (503).
    fn answer(&self, message: Value) -> SourceFuture<'_, Result<Value, String>>;
}
