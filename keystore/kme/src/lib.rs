//! A key management entity (KME): an ETSI GS QKD 014 V1.1.1 server fed by a QKD link.
//!
//! A [`Kme`] takes the blocks of a link, and hands keys to SAEs over HTTPS with certificates on both sides; it settles
//! with the KME at the far end who gets which bits. It does not make key, knows one link and one peer (no relaying),
//! and holds everything in memory: what is in store is lost with the process, and never delivered twice.
//!
//! ```text
//!        link block n ──────────────┐            ┌────────────── link block n
//!                                   ▼            ▼
//!  master ──enc_keys──► Kme A: Ledger ──ext_keys──► Kme B: Ledger ◄──dec_keys── slave
//!                              │  ◄──reserved────        │
//!                              └─────ack, void──────────►┘      positions travel between KMEs, never bits
//! ```
//!
//! ```no_run
//! use vernam_key::SecretBytes;
//! use vernam_kme::{Kme, KmeConfig, PeerConfig, TlsIdentity};
//!
//! # async fn example(tls: TlsIdentity, block: SecretBytes) -> Result<(), Box<dyn std::error::Error>> {
//! let peer = PeerConfig::new("kme-b".parse()?, "kme-b.example:8443", ["bob".parse()?]);
//! let kme = Kme::new(KmeConfig::new("kme-a".parse()?, ["alice".parse()?], peer))?;
//! kme.deposit(1, block)?; // the far end deposits the same bits under the same number
//! let listener = tokio::net::TcpListener::bind("0.0.0.0:8443").await?;
//! let serving = kme.serve(listener, &tls, async { /* resolves when it is time to stop */ })?;
//! serving.finished().await;
//! assert!(kme.accounting().balances());
//! # Ok(())
//! # }
//! ```
//!
//! [`Ledger`] decides, without sockets or clock; the rest carries its decisions out. Start reading there.

mod api;
mod config;
mod identity;
mod input;
mod kmapi;
mod kme;
mod ledger;
mod link;
mod outbox;
mod peer;
mod reply;
mod route;
mod server;
mod turns;
mod wire;

pub use config::{Choices, KmeConfig, KmeError, Limits, PeerConfig, TlsIdentity};
pub use kme::Kme;
pub use ledger::{
    Accounting, CollectError, Cut, DepositError, Deposited, Extent, KeyPositions, Ledger, LedgerLimits, ReserveError,
    Short,
};
pub use link::{LinkReport, LinkState};
pub use server::KmeHandle;
