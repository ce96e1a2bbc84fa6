//! How a KME is set up, and every limit that a stranger could strain, in one place.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use vernam_etsi014::{KmeId, SaeId};
use vernam_ledger::Unavailable;

use crate::PolicyConfig;

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
    /// The KMEs at the far ends of our links. Every SAE is behind one of them, or here.
    pub peers: Vec<PeerConfig>,
    /// What is granted and held.
    pub limits: Limits,
    /// Where readers of the standard disagree.
    pub choices: Choices,
    /// Who may have how much.
    pub policy: PolicyConfig,
}

impl KmeConfig {
    /// With the limits, choices and policy that fit most.
    pub fn new(id: KmeId, saes: impl IntoIterator<Item = SaeId>, peers: impl IntoIterator<Item = PeerConfig>) -> Self {
        Self {
            id,
            saes: saes.into_iter().collect(),
            certificate_names: BTreeMap::new(),
            peers: peers.into_iter().collect(),
            limits: Limits::default(),
            choices: Choices::default(),
            policy: PolicyConfig::default(),
        }
    }

    /// The peer of this name.
    pub fn peer(&self, kme: &KmeId) -> Option<&PeerConfig> {
        self.peers.iter().find(|peer| peer.kme_id == *kme)
    }

    /// The peer that serves `sae`.
    pub fn peer_of(&self, sae: &SaeId) -> Option<&PeerConfig> {
        self.peers.iter().find(|peer| peer.saes.contains(sae))
    }

    /// Whether `sae` is served here.
    pub fn serves(&self, sae: &SaeId) -> bool {
        self.saes.contains(sae) || self.certificate_names.values().any(|named| named == sae)
    }
}

/// The KME at the far end of a link.
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
    /// The most additional slaves in one request; 0: no multicast.
    pub max_sae_id_count: u32,
    /// What the pools of one link may hold, in bits, both halves together: as in the ledger's own limits. Status tells
    /// half of it as `max_key_count`.
    pub max_pool_bits: u64,
    /// The most connections whose holder is not known yet; beyond this the oldest of them is closed.
    pub max_handshakes: usize,
    /// The most connections with known holders at once, but for those of peers. When there are so many, a newcomer
    /// takes the place of the longest idle connection of whoever has the most, if that is more than the newcomer has.
    /// Each takes an open file ([`Self::open_files`]) and, while it is idle, about 32 KiB of memory, or
    /// 60 if it has seen long requests.
    pub max_connections: usize,
    /// The most connections of one holder of a certificate.
    pub max_connections_per_caller: usize,
    /// The most connections of one peer KME. They do not count as [`Self::max_connections`], so that SAEs, however many,
    /// do not keep KMEs from each other. Must be more than the peer's `max_peer_requests`.
    pub max_connections_per_peer: usize,
    /// The most requests to one peer under way at once.
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
    /// How long what we send may find no room: who does not read an answer for so long is cut off.
    pub write_timeout: Duration,
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

/// Files besides connections: the ledger, the trail, certificates, the log, and connections that are about to close.
const SPARE_FILES: usize = 100;

impl Limits {
    /// How many files a KME with so many peers can have open at once: connections, and a few others.
    pub fn open_files(&self, peers: usize) -> usize {
        let of_a_peer = self.max_connections_per_peer.saturating_add(self.max_peer_requests);
        let of_peers = peers.saturating_mul(of_a_peer);
        [self.max_handshakes, self.max_connections, of_peers, SPARE_FILES].into_iter().fold(0, usize::saturating_add)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            key_size: 256,
            min_key_size: 8,
            max_key_size: 65_536,
            max_key_per_request: 128,
            max_sae_id_count: 16,
            max_pool_bits: 1 << 31, // 256 MiB, days of a good metro link
            max_handshakes: 256,
            max_connections: 4096,
            max_connections_per_caller: 64,
            max_connections_per_peer: 256,
            max_peer_requests: 64,
            max_peer_requests_per_sae: 16,
            max_body: 64 << 10,     // 128 key_IDs take 7 KiB
            max_peer_body: 4 << 20, // 128 keys in many pieces
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_mins(1),
            write_timeout: Duration::from_secs(10),
            connection_lifetime: Duration::from_hours(1),
            body_timeout: Duration::from_secs(10),
            peer_turn_timeout: Duration::from_secs(2),
            peer_connect_timeout: Duration::from_secs(3),
            peer_timeout: Duration::from_secs(10),
            shutdown_grace: Duration::from_secs(5),
        }
    }
}

/// Where readers of ETSI GS QKD 014 V1.1.1 disagree, and conformance suites with them. The default is
/// [`Choices::lenient`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a question of its own, answered yes or no")]
pub struct Choices {
    /// Whether an empty body of "Get key" means `{}`; else it is an error.
    pub empty_body_is_default: bool,
    /// Whether an empty list of additional slaves means none; else it is an error.
    pub empty_multicast_is_none: bool,
    /// Whether a slave that is named twice counts once; else it is an error.
    pub merge_duplicate_slaves: bool,
    /// Whether a master may be its own slave.
    pub master_may_be_slave: bool,
    /// Whether a slave may be served by the same KME as its master.
    pub local_slaves: bool,
    /// Whether an optional extension that is unknown, or cannot be met, is passed over; else it is an error (clause 6.2
    /// leaves the choice).
    pub ignore_unhandled_optional: bool,
}

impl Choices {
    /// Takes what has one sensible meaning.
    pub const fn lenient() -> Self {
        Self {
            empty_body_is_default: true,
            empty_multicast_is_none: true,
            merge_duplicate_slaves: true,
            master_may_be_slave: true,
            local_slaves: true,
            ignore_unhandled_optional: true,
        }
    }

    /// Refuses whatever the standard does not clearly allow.
    pub const fn strict() -> Self {
        Self {
            empty_body_is_default: false,
            empty_multicast_is_none: false,
            merge_duplicate_slaves: false,
            master_may_be_slave: false,
            local_slaves: false,
            ignore_unhandled_optional: false,
        }
    }
}

impl Default for Choices {
    fn default() -> Self {
        Self::lenient()
    }
}

/// The certificates with which a KME serves, and calls its peers.
pub struct TlsIdentity {
    /// The roots that sign the certificates of SAEs and of the peers.
    pub roots: Vec<CertificateDer<'static>>,
    /// Our certificate chain, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Our private key.
    pub key: PrivateKeyDer<'static>,
    /// Certificates that are no longer good, as their issuers say (RFC 5280, section 5).
    pub crls: Vec<CertificateRevocationListDer<'static>>,
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
    /// The client for a peer KME cannot be made.
    #[error("the peer KME {kme} cannot be called: {reason}")]
    Peer {
        /// Which one.
        kme: KmeId,
        /// Why.
        reason: vernam_etsi014::SetupError,
    },
    /// The listening socket is of no use.
    #[error("the KME's listening socket failed: {0}")]
    Listener(#[from] std::io::Error),
    /// The ledger does not answer.
    #[error("the KME cannot start: {0}")]
    Ledger(#[from] Unavailable),
    /// The operating system gives no random bytes.
    #[error("the operating system gives no random bytes: {0}")]
    Random(String),
}

/// The most keys in one request that any setting can allow: they are one transaction.
const MAX_KEYS_PER_REQUEST: u32 = 1 << 16;
/// The largest key that any setting can allow, in bits.
const MAX_KEY_SIZE: u32 = 1 << 26;
/// The most additional slaves that any setting can allow.
const MAX_SAE_IDS: u32 = 1 << 10;
/// More than any KME can use; a semaphore counts farther.
const MAX_PEER_REQUESTS: usize = 1 << 20;

pub(crate) fn check(config: &KmeConfig) -> Result<(), KmeError> {
    let limits = &config.limits;
    let wrong = |text: String| Err(KmeError::Config(text));
    let mut kmes = BTreeSet::from([&config.id]);
    let mut homes: BTreeMap<&SaeId, &KmeId> = config.saes.iter().map(|sae| (sae, &config.id)).collect();
    homes.extend(config.certificate_names.values().map(|sae| (sae, &config.id)));
    for peer in &config.peers {
        if peer.kme_id == config.id {
            return wrong(format!("a peer has our own ID, {}", config.id));
        }
        if !kmes.insert(&peer.kme_id) {
            return wrong(format!("two peers have the ID {}", peer.kme_id));
        }
        for sae in &peer.saes {
            if let Some(other) = homes.insert(sae, &peer.kme_id) {
                let here = if *other == config.id { "here".to_owned() } else { format!("behind {other}") };
                return wrong(format!("SAE {sae} is both {here} and behind {}", peer.kme_id));
            }
        }
    }
    // A certificate of that name would be a KME's, and the SAE never served; or the other way round.
    if let Some((sae, _)) = homes.iter().find(|(sae, _)| kmes.iter().any(|kme| kme.as_str() == sae.as_str())) {
        return wrong(format!("{sae} is both an SAE and a KME: give the SAE an ID of its own"));
    }
    config.policy.check().map_err(|error| KmeError::Config(format!("policy: {error}")))?;
    let sizes = [limits.min_key_size, limits.key_size, limits.max_key_size];
    if sizes.iter().any(|size| *size == 0 || size % 8 != 0) || !sizes.is_sorted() {
        return wrong(format!("the key sizes {sizes:?} must be multiples of 8 and in ascending order"));
    }
    if !(1..=MAX_KEYS_PER_REQUEST).contains(&limits.max_key_per_request) {
        return wrong(format!("max_key_per_request must be 1 to {MAX_KEYS_PER_REQUEST}"));
    }
    if limits.max_key_size > MAX_KEY_SIZE {
        return wrong(format!("max_key_size must be at most {MAX_KEY_SIZE} bits"));
    }
    if limits.max_sae_id_count > MAX_SAE_IDS {
        return wrong(format!("max_sae_id_count must be at most {MAX_SAE_IDS}"));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{config, sae};

    #[test]
    fn no_sae_has_the_id_of_a_kme() {
        check(&config()).unwrap();
        for name in ["kme-a", "kme-c"] {
            let mut listed = config();
            listed.saes.insert(sae(name));
            let mut mapped = config();
            mapped.certificate_names.insert("CN=somebody".to_owned(), sae(name));
            let mut behind = config();
            behind.peers[0].saes.insert(sae(name));
            for wrong in [listed, mapped, behind] {
                let said = check(&wrong).unwrap_err().to_string();
                assert!(said.contains(&format!("{name} is both an SAE and a KME")), "{said}");
            }
        }
    }
}
