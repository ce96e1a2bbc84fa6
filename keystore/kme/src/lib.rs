//! A key management entity (KME): an ETSI GS QKD 014 V1.1.1 server fed by QKD links.
//!
//! A [`Kme`] takes the blocks of its links, and hands keys to SAEs over HTTPS with certificates on both sides; it
//! settles with the KMEs at the far ends who gets which bits. Who has what stands in a `vernam_ledger::Ledger`, durable
//! before anybody is told. It does not make key, and it relays no further than from one of its links to another.
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
//! use vernam_ledger::Ledger;
//!
//! # async fn example(ledger: Ledger, tls: TlsIdentity, block: SecretBytes) -> Result<(), Box<dyn std::error::Error>> {
//! let peer = PeerConfig::new("kme-b".parse()?, "kme-b.example:8443", ["bob".parse()?]);
//! let link = peer.kme_id.clone();
//! let kme = Kme::new(KmeConfig::new("kme-a".parse()?, ["alice".parse()?], [peer]), ledger)?;
//! kme.deposit(&link, 1, block).await?; // the far end deposits the same bits under the same number
//! let listener = tokio::net::TcpListener::bind("0.0.0.0:8443").await?;
//! let serving = kme.serve(listener, tls, async { /* resolves when it is time to stop */ })?;
//! serving.finished().await;
//! assert!(kme.accounting_now(&link).await?.balances());
//! kme.ledger().close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! `agree` is the heart: how keys are cut, reserved at every KME concerned, and delivered. Start reading there.

mod agree;
mod api;
mod audit;
mod config;
mod current;
mod desk;
mod events;
mod feed;
mod house;
mod identity;
mod input;
mod kmapi;
mod kme;
mod link;
mod mend;
mod metrics;
mod outbox;
mod peer;
mod policy;
mod reply;
mod report;
mod route;
mod seats;
mod server;
pub mod settings;
mod source;
pub mod sources;
mod stall;
#[cfg(test)]
mod testing;
mod tls;
mod turns;
mod wire;
mod wish;

pub use audit::{Audit, AuditError, AuditReport, Broken, DeriveKey, PURPOSE as AUDIT_PURPOSE, verify_audit};
pub use config::{Choices, KmeConfig, KmeError, Limits, PeerConfig, TlsIdentity};
pub use events::{Endpoint, KmeEvent, Observer};
pub use identity::{
    Caller, Certificate, Finding, InspectError, Inspection, NameKind, Recognised, Rule, inspect, read_certificates,
    recognise,
};
pub use kme::{Clock, DepositRefused, Kme};
pub use link::{LinkReport, LinkState};
pub use metrics::{Metrics, MetricsPage, Readiness, serve_metrics};
pub use policy::{Denied, Grant, Policy, PolicyConfig, PolicyError, PoolView, SaePolicy};
pub use server::KmeHandle;
pub use source::{KeySource, Settled, SourceEvent, SourceFuture, SourceTalk};
