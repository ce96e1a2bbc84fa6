//! The inner protocol between two people's clients: handshake, key schedule, records and voice packets, protected by
//! keys from quantum key distribution.
//!
//! It has no sockets, no clocks, no threads and no randomness of its own: bytes, key and time come in, [`Output`]s go
//! out. `transport/PROTOCOL.md` specifies what it speaks, to the byte.
//!
//! ```text
//!            Session ── control stream: hello, confirmation, key offers, calls, files
//!               │ KeyBlock<Outbound>, KeyBlock<Inbound>
//!      ┌────────┴─────────┬──────────────────────┐
//!  VoiceSealer/Opener   RecordSealer/Opener<Text>   RecordSealer/Opener<File>
//!   one datagram a frame   one stream                 one stream a file
//! ```
//!
//! Start reading at [`Session`], then [`suite`] for how a single record is protected.

mod counters;
mod error;
mod flow;
mod hello;
mod labels;
pub mod limits;
mod message;
mod record;
mod session;
pub mod suite;
mod text;
mod transfer;
mod voice;
mod wire;

pub use counters::Counters;
pub use error::{KeyError, Refusal, SessionError};
pub use flow::{Aad, FlowContext, FlowId, KeyBlock, Role};
pub use hello::StockReach;
pub use labels::{EXPORTER as EXPORTER_LABEL, FILES_LANE as FILES_LANE_CONTEXT};
pub use message::{AnnouncedKey, CallTerms, HangUpReason, KeyOffer, Message};
pub use record::{RecordHeader, RecordOpener, RecordSealer, StreamHeader};
pub use session::{Alignment, Config, KeyRequestError, NoKey, Output, Session};
pub use suite::{Exporter, Suite};
pub use text::TextMessage;
pub use transfer::{FileCancelReason, FilePoint, FileStopReason, FileTerms};
pub use voice::{VOICE_KIND, VoiceOpener, VoiceSealer, voice_datagram_len, voice_flow_of, voice_pad_len};
