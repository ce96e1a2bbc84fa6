//! One person's client: calls, messages and transfers as commands in and events out.
//!
//! The engine owns the connections, the stocks of key and the running calls; the application (a window, a command line,
//! the demo) owns the sound and the screen. It cannot tell one vendor's KME from another: keys come through
//! [`KeySource`].
//!
//! ```text
//!   Command ─► Engine ─┬─ Peer (one task a contact) ─┬─ Session (sans-IO) ─ control stream
//!   Event  ◄─────┘     │      stocks, key source     └─ transfer tasks: file ─ records ─ stream, and back
//!                      └─ Switchboard ─ Phone (pure) ─── media tasks: capture ─ Opus ─ seal ─ datagram, and back
//! ```

mod command;
mod engine;
mod event;
mod files;
pub mod limits;
mod media;
mod pads;
mod peer;
mod phone;
mod records;
mod source;
mod stocks;
mod switchboard;
mod words;

pub use command::{CallProposal, Command, Effort, Tape, VoiceIo};
pub use engine::{Contact, Engine, EngineConfig, EngineError};
pub use event::{Account, CallStats, Event, MessageBody};
pub use files::{
    FailedFile, FileDone, FileError, FileStatus, FileTotals, FileWait, IfShort, OfferedFiles, PreparedFiles, Shortage,
    file_pad_cost,
};
pub use pads::PadSource;
pub use peer::transfers::{forget_files, paused_files, unfinished_files};
pub use phone::{
    CallRecord, CallState, CallView, Carried, Input as PhoneInput, Output as PhoneOutput, Phone, PhoneEvent,
    PhoneSettings, Policy, Question, Tone, Transmit,
};
pub use source::{KeySource, LinkHealth, Reply, Room, SourceError};
pub use stocks::{OpenStocks, StockPair};
pub use vernam_files::{Rules, TransferId, display};
