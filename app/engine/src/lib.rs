//! One person's client: calls, messages and transfers as commands in and events out.
//!
//! The engine owns the connections, the stocks of key and the running calls; the application (a window, a command line,
//! the demo) owns the sound and the screen. It cannot tell one vendor's KME from another: keys come through
//! [`KeySource`].
//!
//! ```text
//!   Command ─► Engine ─► Peer (one task a contact) ─┬─ Session (sans-IO) ─ control stream
//!   Event  ◄─────┘          │ stocks, key source    ├─ media task: capture ─ Opus ─ seal ─ datagram, and back
//!                           └───────────────────────┴─ transfer tasks: file ─ records ─ stream, and back
//! ```

mod engine;
mod event;
mod files;
pub mod limits;
mod media;
mod pads;
mod peer;
mod records;
mod source;
mod stocks;

pub use engine::{Contact, Engine, EngineConfig, EngineError};
pub use event::{Account, CallProposal, CallStats, Command, Event, FileDone, MessageBody, VoiceIo};
pub use files::pad_cost as file_pad_cost;
pub use pads::PadSource;
pub use source::{KeySource, LinkHealth, Reply, Room, SourceError};
pub use stocks::{OpenStocks, StockPair};
