//! QUIC endpoints between two clients, who know one another by certificate.
//!
//! This crate opens the one UDP socket of a client and gives connections to named peers: streams, voice datagrams, and a
//! secret that only the two ends share. It knows nothing of calls, files, QKD keys or the inner encryption; what it
//! carries is opaque bytes. It finds nobody (addresses are given) and crosses no NAT by itself.
//!
//! ```text
//!            Endpoint (one socket)                               Endpoint (one socket)
//!   alice ───┬─ Lane::Main  ═════ control streams, text, voice ═════ Lane::Main  ─┬─── bob
//!            └─ Lane::Files ═════ one stream a file ════════════════ Lane::Files ─┘
//!                   QUIC v1, TLS 1.3, X25519MLKEM768, certificates on both sides
//! ```
//!
//! ```
//! use vernam_quic::{Endpoint, Lane, QuicIdentity, WireSettings};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let ca = vernam_ca::LabCa::new("demo network")?;
//! let open = |name: &str| {
//!     let issued = ca.issue(name)?;
//!     let identity = QuicIdentity { chain: issued.chain, key: issued.key };
//!     let endpoint = Endpoint::bind(([127, 0, 0, 1], 0).into(), identity, &[ca.root()], WireSettings::default())?;
//!     Ok::<_, Box<dyn std::error::Error>>(endpoint)
//! };
//! let (alice, bob) = (open("alice")?, open("bob")?);
//!
//! let address = bob.local_addr()?;
//! let (called, answered) = tokio::join!(alice.dial(address, "bob", Lane::Main), bob.accept());
//! let (called, answered) = (called?, answered.ok_or("bob is closed")??);
//! assert_eq!((called.peer_name(), answered.peer_name()), ("bob", "alice"));
//!
//! called.send_voice(b"one frame".as_slice().into())?;
//! assert_eq!(answered.read_voice().await?, b"one frame".as_slice());
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! All limits are in [`limits`].

pub mod limits;

mod connection;
mod endpoint;
mod error;
mod identity;
mod impair;
mod lane;
mod pace;
mod reset;
mod tap;
mod tls;
mod wire;

pub use connection::{Connection, EXPORT_LEN, Stats};
pub use endpoint::{Endpoint, IncomingCounts, source_address};
pub use error::QuicError;
pub use identity::{NameError, QuicIdentity};
pub use impair::{Impairment, WireCounts};
pub use lane::{Lane, Windows};
pub use pace::CallSwitch;
pub use quinn::{RecvStream, SendStream, WriteError};
pub use tap::{Passage, Tap, TapRecord};
pub use wire::{SocketBuffers, WireSettings};
