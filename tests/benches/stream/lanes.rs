//! Two connections over loopback: one of plain quinn, one of `vernam-quic`.

use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::crypto::aws_lc_rs;
use vernam_ca::{Identity, LabCa};
use vernam_quic::{Endpoint, Lane, QuicIdentity, RecvStream, SendStream, WireSettings};

const ALPN: &[u8] = b"bench";

/// Both connections, open for as long as the bench runs.
pub(crate) struct Lanes {
    plain: (quinn::Connection, quinn::Connection),
    ours: (vernam_quic::Connection, vernam_quic::Connection),
    _endpoints: (quinn::Endpoint, quinn::Endpoint, Endpoint, Endpoint),
}

impl Lanes {
    /// Connects both.
    pub(crate) async fn open() -> Self {
        let ca = LabCa::new("bench network").expect("a fresh authority");
        let (client, server) = (plain_client(&ca), plain_server(&ca));
        let calling = client.connect(server.local_addr().expect("it is bound"), "server").expect("a valid name");
        let (called, answered) = tokio::join!(calling, async { server.accept().await.expect("it is open").await });
        let plain = (called.expect("a connection"), answered.expect("a connection"));

        let (alice, bob) = (ours(&ca, "alice"), ours(&ca, "bob"));
        let address = bob.local_addr().expect("it is bound");
        let (called, answered) = tokio::join!(alice.dial(address, "bob", Lane::Files), bob.accept());
        let ours = (called.expect("a connection"), answered.expect("it is open").expect("a connection"));
        Self { plain, ours, _endpoints: (client, server, alice, bob) }
    }

    /// A new stream of plain quinn.
    pub(crate) async fn plain(&self) -> (SendStream, RecvStream) {
        let mut send = self.plain.0.open_uni().await.expect("the connection lives");
        begin(&mut send).await;
        (send, begun(self.plain.1.accept_uni().await.expect("the connection lives")).await)
    }

    /// A new stream of ours.
    pub(crate) async fn ours(&self) -> (SendStream, RecvStream) {
        let mut send = self.ours.0.open_uni().await.expect("the connection lives");
        begin(&mut send).await;
        (send, begun(self.ours.1.accept_uni().await.expect("the connection lives")).await)
    }
}

/// The other side hears of a stream with its first byte.
async fn begin(send: &mut SendStream) {
    send.write_all(&[0]).await.expect("the connection lives");
}

async fn begun(mut receive: RecvStream) -> RecvStream {
    receive.read_exact(&mut [0]).await.expect("the first byte was sent");
    receive
}

fn ours(ca: &LabCa, name: &str) -> Endpoint {
    let Identity { chain, key, .. } = ca.issue(name).expect("a fresh certificate");
    let settings = WireSettings::default();
    Endpoint::bind(([127, 0, 0, 1], 0).into(), QuicIdentity { chain, key }, &[ca.root()], settings).expect("a socket")
}

fn plain_client(ca: &LabCa) -> quinn::Endpoint {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.root()).expect("a valid root");
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3 is built in")
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let mut endpoint = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).expect("a socket");
    let tls = QuicClientConfig::try_from(tls).expect("TLS 1.3 with AES-128-GCM");
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(tls)));
    endpoint
}

fn plain_server(ca: &LabCa) -> quinn::Endpoint {
    let Identity { chain, key, .. } = ca.issue("server").expect("a fresh certificate");
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3 is built in")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("the key fits the certificate");
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let tls = QuicServerConfig::try_from(tls).expect("TLS 1.3 with AES-128-GCM");
    quinn::Endpoint::server(quinn::ServerConfig::with_crypto(Arc::new(tls)), ([127, 0, 0, 1], 0).into())
        .expect("a socket")
}
