//! How a KME is set up, and every limit that a stranger could strain, in one place.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use vernam_etsi014::{KmeId, SaeId};

use crate::LedgerLimits;

/// The set-up of one KME.
#[derive(Debug, Clone)]
pub struct KmeConfig {
    /// Our ID.
    pub id: KmeId,
    /// The SAEs that are served here.
    pub saes: BTreeSet<SaeId>,
    /// SAEs whose certificates do not carry their ID as common name or alternative name. The key is such a name, or the
    /// whole subject (`CN=...,O=...` as x509-parser writes it), or issuer and serial (`<issuer>#<serial in hex>`).
    pub certificate_names: BTreeMap<String, SaeId>,
    /// The KME at the far end of the link.
    pub peer: PeerConfig,
    /// What is granted and held.
    pub limits: Limits,
    /// Where readers of the standard disagree.
    pub choices: Choices,
}

impl KmeConfig {
    /// With the limits and choices that fit most.
    pub fn new(id: KmeId, saes: impl IntoIterator<Item = SaeId>, peer: PeerConfig) -> Self {
        Self {
            id,
            saes: saes.into_iter().collect(),
            certificate_names: BTreeMap::new(),
            peer,
            limits: Limits::default(),
            choices: Choices::default(),
        }
    }
}

/// The KME at the far end of the link.
#[derive(Debug, Clone)]
pub struct PeerConfig {
    /// Its ID, which its certificate must carry.
    pub kme_id: KmeId,
    /// Where it listens: `host:port`.
    pub authority: String,
    /// The name that its server certificate must be valid for; `None`: its ID.
    pub server_name: Option<String>,
    /// The SAEs that it serves.
    pub saes: BTreeSet<SaeId>,
}

impl PeerConfig {
    /// A peer whose certificate is valid for its ID as a host name.
    pub fn new(kme_id: KmeId, authority: impl Into<String>, saes: impl IntoIterator<Item = SaeId>) -> Self {
        Self { kme_id, authority: authority.into(), server_name: None, saes: saes.into_iter().collect() }
    }
}

/// What is granted and held at most. Sizes of keys are in bits.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The size of a key when none is asked for.
    pub key_size: u32,
    /// The smallest key.
    pub min_key_size: u32,
    /// The largest key.
    pub max_key_size: u32,
    /// The most keys in one request.
    pub max_key_per_request: u32,
    /// The pools and the waiting keys.
    pub ledger: LedgerLimits,
    /// The most connections whose holder is not known yet; beyond this the oldest of them is closed.
    pub max_handshakes: usize,
    /// The most connections with known holders at once.
    pub max_connections: usize,
    /// The most connections of one holder of a certificate.
    pub max_connections_per_caller: usize,
    /// The most requests to the peer under way at once.
    pub max_peer_requests: usize,
    /// The most of them for one SAE: with less than all, a peer that hangs on one SAE's wishes blocks no other.
    pub max_peer_requests_per_sae: usize,
    /// The longest body of an SAE's request, in bytes.
    pub max_body: usize,
    /// The longest body of the peer's request, in bytes.
    pub max_peer_body: usize,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long the head of a request may take, and how long a connection may be idle between two.
    pub idle_timeout: Duration,
    /// How long a connection may live; then its holder has to open another.
    pub connection_lifetime: Duration,
    /// How long the body of a request may take.
    pub body_timeout: Duration,
    /// How long a request may wait until it is its turn to be brought before the peer; then it is refused (503).
    pub peer_turn_timeout: Duration,
    /// How long to wait for a TCP connection to the peer.
    pub peer_connect_timeout: Duration,
    /// How long to wait for the peer's answer.
    pub peer_timeout: Duration,
    /// How long requests under way may take to end at a shutdown.
    pub shutdown_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            key_size: 256,
            min_key_size: 8,
            max_key_size: 65_536,
            max_key_per_request: 128,
            ledger: LedgerLimits {
                max_pool_bits: 1 << 31, // 256 MiB, days of a good metro link
                max_reservations: 1 << 20,
                confirm_within: Duration::from_hours(24),
                keep_for: Duration::from_hours(30 * 24),
            },
            max_handshakes: 256,
            max_connections: 512,
            max_connections_per_caller: 64,
            max_peer_requests: 64,
            max_peer_requests_per_sae: 16,
            max_body: 64 << 10,     // 128 key_IDs take 7 KiB
            max_peer_body: 4 << 20, // 128 keys in many pieces
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_mins(1),
            connection_lifetime: Duration::from_hours(1),
            body_timeout: Duration::from_secs(10),
            peer_turn_timeout: Duration::from_secs(2),
            peer_connect_timeout: Duration::from_secs(3),
            peer_timeout: Duration::from_secs(10),
            shutdown_grace: Duration::from_secs(5),
        }
    }
}

/// Where readers of the standard disagree, and conformance suites with them.
#[derive(Debug, Clone, Copy)]
pub struct Choices {
    /// Whether an empty body of "Get key" means `{}`; else it is an error.
    pub empty_body_is_default: bool,
    /// Whether an empty list of additional slaves means none; else it is an error, as any multicast is.
    pub empty_multicast_is_none: bool,
}

impl Default for Choices {
    fn default() -> Self {
        Self { empty_body_is_default: true, empty_multicast_is_none: true }
    }
}

/// The certificates with which a KME serves, and calls its peer.
pub struct TlsIdentity {
    /// The roots that sign the certificates of SAEs and of the peer.
    pub roots: Vec<CertificateDer<'static>>,
    /// Our certificate chain, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Our private key.
    pub key: PrivateKeyDer<'static>,
}

/// A KME cannot be set up or started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KmeError {
    /// The configuration contradicts itself.
    #[error("the KME's configuration is wrong: {0}")]
    Config(String),
    /// A certificate or key cannot be used.
    #[error("the KME's certificates cannot be used: {0}")]
    Tls(String),
    /// The client for the peer KME cannot be made.
    #[error("the peer KME cannot be called: {0}")]
    Peer(#[from] vernam_etsi014::SetupError),
    /// The listening socket is of no use.
    #[error("the KME's listening socket failed: {0}")]
    Listener(#[from] std::io::Error),
    /// The operating system gives no random bytes.
    #[error("the operating system gives no random bytes: {0}")]
    Random(String),
}

/// More than any KME can use; a semaphore counts farther.
const MAX_PEER_REQUESTS: usize = 1 << 20;

pub(crate) fn check(config: &KmeConfig) -> Result<(), KmeError> {
    let limits = &config.limits;
    let wrong = |text: String| Err(KmeError::Config(text));
    if config.id == config.peer.kme_id {
        return wrong(format!("the peer has our own ID, {}", config.id));
    }
    if let Some(both) = config.saes.intersection(&config.peer.saes).next() {
        return wrong(format!("SAE {both} is both here and behind the peer"));
    }
    let sizes = [limits.min_key_size, limits.key_size, limits.max_key_size];
    if sizes.iter().any(|size| *size == 0 || size % 8 != 0) || !sizes.is_sorted() {
        return wrong(format!("the key sizes {sizes:?} must be multiples of 8 and in ascending order"));
    }
    if limits.max_key_per_request == 0 {
        return wrong("max_key_per_request must be at least 1".to_owned());
    }
    let (all, per_sae) = (limits.max_peer_requests, limits.max_peer_requests_per_sae);
    if !(1..=MAX_PEER_REQUESTS).contains(&all) || !(1..=all).contains(&per_sae) {
        return wrong(format!(
            "max_peer_requests ({all}) must be 1 to {MAX_PEER_REQUESTS}, \
             and max_peer_requests_per_sae ({per_sae}) 1 to that"
        ));
    }
    Ok(())
}
