//! What the tests share: a network with its authority, and strangers who do not play by our rules.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use vernam_ca::{Identity, LabCa};
use vernam_quic::{Connection, Endpoint, Lane, QuicError, QuicIdentity, WireSettings};

/// Nothing here takes this long; a test that does is stuck.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(1), future).await.expect("the test is stuck")
}

pub(crate) fn any_port() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

pub(crate) fn bind(identity: Identity, roots: &[&LabCa], settings: WireSettings) -> Endpoint {
    let roots: Vec<_> = roots.iter().map(|ca| ca.root()).collect();
    Endpoint::bind(any_port(), QuicIdentity { chain: identity.chain, key: identity.key }, &roots, settings).unwrap()
}

pub(crate) fn network() -> LabCa {
    LabCa::new("test network").unwrap()
}

/// Alice and Bob of one network.
pub(crate) fn pair(alice: WireSettings, bob: WireSettings) -> (Endpoint, Endpoint) {
    let ca = network();
    (bind(ca.issue("alice").unwrap(), &[&ca], alice), bind(ca.issue("bob").unwrap(), &[&ca], bob))
}

/// Alice calls Bob; her end and his.
pub(crate) async fn connect(alice: &Endpoint, bob: &Endpoint, lane: Lane) -> (Connection, Connection) {
    let address = bob.local_addr().unwrap();
    let (dialled, accepted) = soon(async { tokio::join!(alice.dial(address, "bob", lane), bob.accept()) }).await;
    (dialled.unwrap(), accepted.unwrap().unwrap())
}

/// What the next caller of `endpoint` is turned away for.
pub(crate) async fn turned_away(endpoint: &Endpoint) -> QuicError {
    soon(endpoint.accept()).await.expect("the endpoint is open").expect_err("a stranger got in")
}

/// A caller that is not ours: plain quinn, with what it should offer.
pub(crate) struct Stranger {
    pub(crate) key_exchange: &'static dyn rustls::crypto::SupportedKxGroup,
    pub(crate) identity: Option<Identity>,
    pub(crate) alpn: &'static str,
}

impl Stranger {
    /// One that would be let in.
    pub(crate) fn proper(ca: &LabCa) -> Self {
        let identity = Some(ca.issue("stranger").unwrap());
        Self { key_exchange: aws_lc_rs::kx_group::X25519MLKEM768, identity, alpn: "vernam/1" }
    }

    fn provider(&self) -> Arc<CryptoProvider> {
        Arc::new(CryptoProvider { kx_groups: vec![self.key_exchange], ..aws_lc_rs::default_provider() })
    }

    fn roots(ca: &LabCa) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(ca.root()).unwrap();
        roots
    }

    /// Calls `address`. The endpoint has to be kept while the connection is looked at.
    pub(crate) async fn call(
        self,
        ca: &LabCa,
        address: SocketAddr,
    ) -> (quinn::Endpoint, Result<quinn::Connection, quinn::ConnectionError>) {
        let builder = rustls::ClientConfig::builder_with_provider(self.provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(Self::roots(ca));
        let mut tls = match self.identity {
            Some(identity) => builder.with_client_auth_cert(identity.chain, identity.key).unwrap(),
            None => builder.with_no_client_auth(),
        };
        tls.alpn_protocols = vec![self.alpn.into()];
        let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        let endpoint = quinn::Endpoint::client(any_port()).unwrap();
        let outcome = soon(endpoint.connect_with(config, address, "localhost").unwrap()).await;
        (endpoint, outcome)
    }

    /// Listens as `self.identity`, and asks for no certificate.
    pub(crate) fn listen(self) -> quinn::Endpoint {
        let provider = self.provider();
        let identity = self.identity.expect("a listener has a certificate");
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(identity.chain, identity.key)
            .unwrap();
        tls.alpn_protocols = vec![self.alpn.into()];
        let config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
        quinn::Endpoint::server(config, any_port()).unwrap()
    }
}
