//! Turns files and folders into a stream of bytes, and such a stream back into files that are whole or not there. It
//! knows no network, no keys and no clock: whoever uses it carries the bytes, and says what time it is.
//!
//! ```text
//!  PATH... ─ Offer::walk ─ Manifest ──────── encoded pieces ────────► ManifestDecoder ─ Layout::new ─ "accept?"
//!               │                                                                          │
//!               └── Outgoing::read ─ content, hashes, failures ──────────────────► Incoming::push ─ files aside
//!                        ▲                                                                 │
//!                        └───────────────────── ResumePoint ◄──────────── Journal ◄────────┤
//!                                                                     Incoming::finish ────┴─► in place
//! ```
//!
//! Whatever a peer says has a bound in [`limits`], and no name of theirs touches the disk before all files are whole:
//! until then they are numbers in a hidden folder.
//!
//! ```
//! use std::time::Duration;
//! use vernam_files::{Acceptance, Desk, Incoming, Layout, ManifestDecoder, Offer, Outgoing, Pace, Rules, TransferId};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (from, to) = (tempfile::tempdir()?, tempfile::tempdir()?);
//! std::fs::write(from.path().join("a.txt"), "a word")?;
//! let offer = Offer::walk(&[from.path().join("a.txt")])?;
//!
//! // To the peer, who sees what it is and what the names will be, and says yes.
//! let mut decoder = ManifestDecoder::default();
//! for piece in offer.manifest().pieces() {
//!     decoder.push(&piece)?;
//! }
//! let manifest = decoder.finish()?;
//! assert!(Layout::new(&manifest, Rules::Portable)?.changes().is_empty());
//! let desk = Desk::open(&to.path().join("desk"))?;
//! let id = TransferId([7; 16]);
//! let acceptance = Acceptance { id, folder: to.path().into(), rules: Rules::Portable, note: Vec::new() };
//! let mut incoming = Incoming::accept(&desk, &acceptance, manifest, Pace::default())?;
//!
//! let mut outgoing = Outgoing::new(offer);
//! let mut piece = Vec::new();
//! while outgoing.read(&mut piece, 65_536) {
//!     incoming.push(&piece, Duration::ZERO)?;
//!     piece.clear();
//! }
//! let received = incoming.finish()?;
//! assert_eq!(received.placed, [to.path().canonicalize()?.join("a.txt")]);
//! # Ok(())
//! # }
//! ```

mod desk;
mod disk;
mod error;
mod incoming;
mod journal;
mod layout;
pub mod limits;
mod manifest;
pub mod name;
mod offer;
mod outgoing;
mod stream;

pub use desk::{Desk, Note, Part, Receipt};
pub use disk::free_bytes;
pub use error::{DeskError, FrameError, IncomingError, ManifestError, OfferError, Refusal, RefusedWhy, ResumeError};
pub use incoming::{Acceptance, Incoming, Pace, Received};
pub use layout::{Change, Layout};
pub use manifest::{Entry, Kind, Manifest, ManifestDecoder, Pieces, Time};
pub use name::{Rules, display};
pub use offer::{LeftOut, Offer, SkippedKind};
pub use outgoing::{Outgoing, Sent};
pub use stream::{Failure, FileEnd, Hash, ResumePoint, TransferId, stream_len};
