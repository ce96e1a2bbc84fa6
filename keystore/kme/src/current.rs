//! The configuration and certificates in force, which a reload replaces as one.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio_rustls::TlsAcceptor;
use vernam_etsi014::KmeId;

use crate::identity::{self, Caller};
use crate::peer::Peer;
use crate::{KmeConfig, KmeError, TlsIdentity, tls};

/// What is in force. A request works with the one it found when it came.
pub(crate) struct Current {
    /// Rises with each reload.
    pub(crate) generation: u64,
    pub(crate) config: KmeConfig,
    /// By their IDs; empty before the KME serves.
    pub(crate) peers: BTreeMap<KmeId, Arc<Peer>>,
    /// None before the KME serves.
    pub(crate) door: Option<Door>,
}

/// How callers are let in.
pub(crate) struct Door {
    pub(crate) acceptor: TlsAcceptor,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl Current {
    /// Before the KME serves.
    pub(crate) fn closed(config: KmeConfig) -> Self {
        Self { generation: 0, config, peers: BTreeMap::new(), door: None }
    }

    pub(crate) fn open(generation: u64, config: KmeConfig, identity: &TlsIdentity) -> Result<Self, KmeError> {
        let mut peers = BTreeMap::new();
        for peer in &config.peers {
            let made = Peer::new(&config, peer, identity)
                .map_err(|reason| KmeError::Peer { kme: peer.kme_id.clone(), reason })?;
            peers.insert(peer.kme_id.clone(), Arc::new(made));
        }
        let acceptor = TlsAcceptor::from(Arc::new(tls::server_config(identity)?));
        let door = Some(Door { acceptor, verifier: tls::client_verifier(identity)? });
        Ok(Self { generation, config, peers, door })
    }

    /// Who holds the certificate of a connection that was let in before; `None` if it is not good any more.
    pub(crate) fn caller_again(&self, chain: &[CertificateDer<'_>]) -> Option<Caller> {
        let (leaf, intermediates) = chain.split_first()?;
        let door = self.door.as_ref()?;
        door.verifier.verify_client_cert(leaf, intermediates, UnixTime::now()).ok()?;
        Some(identity::caller(&self.config, leaf))
    }
}
