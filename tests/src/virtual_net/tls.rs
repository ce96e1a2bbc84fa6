//! Certificates and TLS for a virtual network: one authority, one server.

use std::sync::Arc;

use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::crypto::aws_lc_rs;
use vernam_ca::{Identity, LabCa};

/// The name in the server's certificate.
pub(super) const SERVER: &str = "server";

/// The TLS of all ends.
pub(super) struct Certificates {
    pub(super) client: Arc<QuicClientConfig>,
    pub(super) server: Arc<QuicServerConfig>,
}

impl Certificates {
    pub(super) fn new() -> Self {
        let ca = LabCa::new("virtual network").expect("a fresh authority");
        let Identity { chain, key, .. } = ca.issue(SERVER).expect("a fresh certificate");
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca.root()).expect("a valid root");
        let client = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3 is built in")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let server = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3 is built in")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("the key fits the certificate");
        Self {
            client: Arc::new(QuicClientConfig::try_from(client).expect("TLS 1.3 with AES-128-GCM")),
            server: Arc::new(QuicServerConfig::try_from(server).expect("TLS 1.3 with AES-128-GCM")),
        }
    }
}
