//! ETSI GS QKD 014 V1.1.1 as types and a client.
//!
//! This crate speaks to the key management entity (KME) of any vendor: [`KmeClient`] asks for the status of a link and
//! for keys, over HTTPS with certificates on both sides. The types of the standard are here for the server as well
//! (`vernam-kme`). It stores nothing, retries no refusal and knows no route to another KME.
//!
//! ```text
//!   master SAE ── enc_keys ──► KME A ······ KME B ◄── dec_keys(key_IDs) ── slave SAE
//!        └────────────── key_IDs, over any channel ──────────────────────────┘
//! ```
//!
//! ```no_run
//! use vernam_etsi014::{KmeClient, SaeId};
//!
//! # async fn example(root: &[u8], chain: &[u8], key: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
//! let kme = KmeClient::from_pem("https://kme-a.example:8443", root, chain, key)?;
//! let bob: SaeId = "bob".parse()?;
//! let keys = kme.enc_keys(&bob, 2, 256).await?;
//! assert_eq!(keys.len(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! # Where key bytes lie
//! A key is decoded from base64 straight into a [`vernam_key::SecretBytes`]; the buffers in which this crate collects
//! or builds JSON with keys are wiped ([`WipingBuf`]). What remains, and cannot be reached from here: the read and write
//! buffers of hyper and rustls keep plaintext of a reply until they are reused or freed.

mod client;
mod container;
mod error;
mod https;
mod ids;
mod types;
mod wiping;

pub use client::{DEFAULT_TIMEOUTS, KmeClient, MAX_REPLY_BYTES, Timeouts};
pub use container::{BadContainer, DeliveredKey, KeyContainer};
pub use error::{ClientError, SetupError};
pub use https::{MutualTlsClient, Trust};
pub use ids::{InvalidId, KmeId, MAX_ID_BYTES, SaeId};
pub use types::{ErrorBody, Extension, KeyIdEntry, KeyIds, KeyRequest, Status, key_id_text, messages};
pub use wiping::WipingBuf;
