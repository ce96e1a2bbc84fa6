//! TLS 1.3 as both lanes use it: one key exchange, certificates on both sides, the peer checked by its name.

use std::sync::{Arc, Mutex, PoisonError};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, KeyLog, NamedGroup, OtherError,
    RootCertStore, ServerConfig, SignatureScheme, quic, version,
};

use crate::error::QuicError;
use crate::identity::{QuicIdentity, name_in};
use crate::lane::Lane;

/// The server name in every hello.
///
/// The hello of QUIC can be read by everyone on the path (its keys follow from the packet itself, RFC 9001, section
/// 5.2), and so can the server name in it. The contact's name there would tell who calls whom, so all clients send this
/// one. The peer is told by the name in its certificate instead, which travels encrypted: see [`ContactVerifier`].
pub(crate) const SERVER_NAME: &str = "vernam";

/// The one key exchange: X25519 and ML-KEM-768 together, so that what is recorded now stays closed unless both break.
pub(crate) const KEY_EXCHANGE: NamedGroup = NamedGroup::X25519MLKEM768;

/// What all handshakes of an endpoint share.
pub(crate) struct Tls {
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    ours: Arc<SingleCertAndKey>,
    key_log: Option<Arc<dyn KeyLog>>,
    name: Box<str>,
}

impl Tls {
    pub(crate) fn new(
        identity: QuicIdentity,
        roots: &[CertificateDer<'_>],
        key_log: Option<Arc<dyn KeyLog>>,
    ) -> Result<Self, QuicError> {
        let provider = Arc::new(provider());
        let ours = |reason: String| QuicError::Identity { reason };
        let leaf = identity.chain.first().ok_or_else(|| ours("there is no certificate".to_owned()))?;
        let name = name_in(leaf).map_err(|error| ours(error.to_string()))?;
        let certified =
            CertifiedKey::from_der(identity.chain, identity.key, &provider).map_err(|error| ours(error.to_string()))?;
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root.clone().into_owned()).map_err(|error| QuicError::Roots { reason: error.to_string() })?;
        }
        if store.is_empty() {
            return Err(QuicError::Roots { reason: "there is none".to_owned() });
        }
        Ok(Self { provider, roots: Arc::new(store), ours: Arc::new(SingleCertAndKey::from(certified)), key_log, name })
    }

    /// The name in our own certificate.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The side that dials `expected`, and the verifier that afterwards knows why it refused.
    pub(crate) fn client(&self, expected: &str, lane: Lane) -> Result<(ClientConfig, Arc<ContactVerifier>), QuicError> {
        let verifier = Arc::new(ContactVerifier {
            roots: Arc::clone(&self.roots),
            algorithms: self.provider.signature_verification_algorithms,
            expected: expected.into(),
            refusal: Mutex::new(None),
        });
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|error| QuicError::Identity { reason: error.to_string() })?
            .dangerous() // "custom verifier": it checks more than the usual one, not less
            .with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<dyn ServerCertVerifier>)
            .with_client_cert_resolver(Arc::clone(&self.ours) as Arc<_>);
        config.alpn_protocols = vec![lane.alpn().into()];
        // Sessions are remembered by server name, which is the same for everyone here; and each call gets fresh keys.
        config.resumption = Resumption::disabled();
        if let Some(log) = &self.key_log {
            config.key_log = Arc::clone(log);
        }
        Ok((config, verifier))
    }

    /// The side that is dialled.
    pub(crate) fn server(&self) -> Result<ServerConfig, QuicError> {
        let chain = WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.roots), Arc::clone(&self.provider))
            .clear_root_hint_subjects() // a prober need not learn which network we belong to
            .build()
            .map_err(|error| QuicError::Roots { reason: error.to_string() })?;
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|error| QuicError::Identity { reason: error.to_string() })?
            .with_client_cert_verifier(Arc::new(NamedVerifier { chain }))
            .with_cert_resolver(Arc::clone(&self.ours) as Arc<_>);
        config.alpn_protocols = Lane::ALL.map(|lane| lane.alpn().into()).to_vec();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        if let Some(log) = &self.key_log {
            config.key_log = Arc::clone(log);
        }
        Ok(config)
    }
}

/// For quinn: [`Tls::client`]'s half.
pub(crate) fn quic_client(config: ClientConfig) -> QuicClientConfig {
    QuicClientConfig::with_initial(Arc::new(config), initial_suite()).expect("the suite is the one RFC 9001 names")
}

/// For quinn: [`Tls::server`]'s half.
pub(crate) fn quic_server(config: ServerConfig) -> QuicServerConfig {
    QuicServerConfig::with_initial(Arc::new(config), initial_suite()).expect("the suite is the one RFC 9001 names")
}

/// The suite of the first packets, before there are keys: RFC 9001, section 5.2 fixes AES-128-GCM. It hides nothing.
fn initial_suite() -> quic::Suite {
    aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256
        .tls13()
        .and_then(rustls::Tls13CipherSuite::quic_suite)
        .expect("aws-lc-rs has AES-128-GCM for QUIC")
}

/// aws-lc-rs with one key exchange and the two 256-bit ciphers, named here and never taken from the process default.
fn provider() -> CryptoProvider {
    CryptoProvider {
        kx_groups: vec![aws_lc_rs::kx_group::X25519MLKEM768],
        cipher_suites: vec![
            aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
            aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        ..aws_lc_rs::default_provider()
    }
}

/// Checks the one we dial: its chain against the network's roots, then its name against the contact's.
///
/// The dialling side sends its own certificate only after this, so whoever else answers does not learn who called.
#[derive(Debug)]
pub(crate) struct ContactVerifier {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
    expected: Box<str>,
    refusal: Mutex<Option<QuicError>>,
}

impl ContactVerifier {
    /// Why the peer was refused, where this verifier did it. QUIC itself only passes a text on.
    pub(crate) fn refusal(&self) -> Option<QuicError> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn check(&self, leaf: &CertificateDer<'_>, more: &[CertificateDer<'_>], now: UnixTime) -> Result<(), QuicError> {
        let untrusted = |error: Error| QuicError::UntrustedPeer { reason: error.to_string() };
        let parsed = ParsedCertificate::try_from(leaf).map_err(untrusted)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, more, now, self.algorithms.all)
            .map_err(untrusted)?;
        let found = name_in(leaf)?;
        if found == self.expected {
            return Ok(());
        }
        Err(QuicError::WrongPeer { expected: self.expected.to_string(), found: found.into() })
    }
}

impl ServerCertVerifier for ContactVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates, now).map_err(|refusal| {
            *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
            // The alert says only "not accepted": the one who answered need not learn whom we wanted.
            Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
        })?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Checks whoever dials us: a chain to the network's roots, and a name that can be shown.
#[derive(Debug)]
struct NamedVerifier {
    chain: Arc<dyn ClientCertVerifier>,
}

impl ClientCertVerifier for NamedVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        name_in(end_entity)
            .map_err(|error| Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error)))))?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use rustls::{CipherSuite, ClientConnection, CommonState, HandshakeKind, ProtocolVersion, ServerConnection};

    use super::*;

    fn party(ca: &vernam_ca::LabCa, name: &str) -> Tls {
        let issued = ca.issue(name).unwrap();
        Tls::new(QuicIdentity { chain: issued.chain, key: issued.key }, &[ca.root()], None).unwrap()
    }

    /// Runs a handshake in memory, until neither side has anything more to say.
    fn shake(client: ClientConfig, server: &Arc<ServerConfig>) -> (ClientConnection, ServerConnection) {
        let name = ServerName::try_from(SERVER_NAME).unwrap();
        let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
        let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
        while client.wants_write() || server.wants_write() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets().unwrap();
            wire.clear();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            let mut left = wire.as_slice();
            while !left.is_empty() {
                client.read_tls(&mut left).unwrap();
                client.process_new_packets().unwrap();
            }
        }
        (client, server)
    }

    #[test]
    fn the_handshake_is_tls_1_3_with_the_hybrid_exchange_and_a_256_bit_cipher() {
        let ca = vernam_ca::LabCa::new("test network").unwrap();
        let (alice, bob) = (party(&ca, "alice"), party(&ca, "bob"));
        let (client, server) = shake(alice.client("bob", Lane::Main).unwrap().0, &Arc::new(bob.server().unwrap()));
        let sides: [&CommonState; 2] = [&client, &server];
        for side in sides {
            assert_eq!(side.protocol_version(), Some(ProtocolVersion::TLSv1_3));
            assert_eq!(
                side.negotiated_key_exchange_group().map(rustls::crypto::SupportedKxGroup::name),
                Some(KEY_EXCHANGE)
            );
            let suite = side.negotiated_cipher_suite().map(|suite| suite.suite());
            assert_eq!(suite, Some(CipherSuite::TLS13_AES_256_GCM_SHA384));
            assert_eq!(side.alpn_protocol(), Some(Lane::Main.alpn().as_bytes()));
        }
    }

    #[test]
    fn no_handshake_continues_an_earlier_one() {
        let ca = vernam_ca::LabCa::new("test network").unwrap();
        let (alice, server) = (party(&ca, "alice"), Arc::new(party(&ca, "bob").server().unwrap()));
        let (client, _) = alice.client("bob", Lane::Main).unwrap();
        for _ in 0..3 {
            let (mut called, mut answered) = shake(client.clone(), &server);
            // Whatever tickets there were would be read with the first data.
            answered.writer().write_all(b"x").unwrap();
            let mut wire = Vec::new();
            answered.write_tls(&mut wire).unwrap();
            called.read_tls(&mut wire.as_slice()).unwrap();
            called.process_new_packets().unwrap();
            called.reader().read_exact(&mut [0]).unwrap();
            assert_eq!(called.handshake_kind(), Some(HandshakeKind::Full));
        }
    }
}
