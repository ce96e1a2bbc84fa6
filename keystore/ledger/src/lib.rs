//! The ledger of a key management entity (KME): who may have which bits of which quantum link, and what became of them,
//! durable before anybody is told.
//!
//! It decides and remembers. It does not speak to SAEs or other KMEs, makes no key and reads no clock: time and
//! randomness are passed in.

mod book;
mod database;
mod handle;
mod kek;
mod seal;
mod types;

pub use book::Book;
pub use handle::{Ledger, Options, Place, Snapshot};
pub use kek::{Kek, KekError, Passphrase};
pub use types::{
    Accounting, CollectError, Cut, DepositError, Deposited, Expired, Extent, Fault, KeyPositions, LedgerLimits,
    LinkView, Message, OpenError, Outgoing, ReservationId, ReserveError, Short, StoredReport, Unavailable, Wish,
};
