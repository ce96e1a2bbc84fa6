//! TLS 1.3 with certificates on both sides, and who is at the other end by them.

use std::io;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::hello::shown;
use crate::limits::HANDSHAKE;
use crate::{Error, Refusal, TlsIdentity};

/// Names of a certificate that a refusal lists at most.
const MAX_NAMES: usize = 4;

/// Opens connections to one peer, from either side.
#[derive(Clone)]
pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    peer_name: String,
    server_name: ServerName<'static>,
}

impl Tls {
    pub(crate) fn new(identity: &TlsIdentity, peer_name: &str) -> Result<Self, Error> {
        let bad = |what, error: &dyn std::fmt::Display| Error::Tls { what, reason: error.to_string() };
        let server_name = ServerName::try_from(peer_name.to_owned()).map_err(|_invalid| Error::Setting {
            what: "the name of the far end",
            value: format!("\u{201c}{}\u{201d}", shown(peer_name)),
            rule: "give a name as it stands in its certificate, such as kme-b",
        })?;
        let mut roots = RootCertStore::empty();
        for root in &identity.roots {
            roots.add(root.clone()).map_err(|error| bad("a root certificate", &error))?;
        }
        let (roots, provider) = (Arc::new(roots), Arc::new(aws_lc_rs::default_provider()));
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .build()
            .map_err(|error| bad("the root certificates", &error))?;
        let pair = "the certificate chain with the private key";
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| bad("TLS 1.3", &error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(identity.chain.clone(), identity.key.clone_key())
            .map_err(|error| bad(pair, &error))?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| bad("TLS 1.3", &error))?
            .with_root_certificates(roots)
            .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
            .map_err(|error| bad(pair, &error))?;
        Ok(Self {
            acceptor: Arc::new(server).into(),
            connector: Arc::new(client).into(),
            peer_name: peer_name.to_owned(),
            server_name,
        })
    }

    /// The handshake with somebody who called us.
    pub(crate) async fn accept(&self, tcp: TcpStream, peer: &str) -> Result<TlsStream<TcpStream>, Refusal> {
        let _best_effort = tcp.set_nodelay(true);
        let done = timeout(HANDSHAKE, self.acceptor.accept(tcp)).await;
        self.checked(done.map(|done| done.map(TlsStream::from)), peer)
    }

    /// Calls `address`, and shakes hands with who answers.
    pub(crate) async fn dial(&self, address: &str) -> Result<TlsStream<TcpStream>, Refusal> {
        let unreachable = |reason: String| Refusal::Unreachable { peer: address.to_owned(), reason };
        let tcp = match timeout(HANDSHAKE, TcpStream::connect(address)).await {
            Ok(tcp) => tcp.map_err(|error| unreachable(error.to_string()))?,
            Err(_late) => return Err(unreachable("no answer in time".to_owned())),
        };
        let _best_effort = tcp.set_nodelay(true);
        let done = timeout(HANDSHAKE, self.connector.connect(self.server_name.clone(), tcp)).await;
        self.checked(done.map(|done| done.map(TlsStream::from)), address)
    }

    fn checked(
        &self,
        done: Result<io::Result<TlsStream<TcpStream>>, tokio::time::error::Elapsed>,
        peer: &str,
    ) -> Result<TlsStream<TcpStream>, Refusal> {
        let refuse = |fault: String| Refusal::Identity { peer: peer.to_owned(), fault };
        let tls = match done {
            Ok(tls) => tls.map_err(|error| refuse(self.in_words(&error)))?,
            Err(_late) => return Err(refuse("did not finish its TLS handshake in time".to_owned())),
        };
        let names = tls.get_ref().1.peer_certificates().and_then(|chain| chain.first()).map(names).unwrap_or_default();
        if names.contains(&self.peer_name) {
            return Ok(tls);
        }
        Err(refuse(self.wrong_name(&names)))
    }

    fn wrong_name(&self, names: &[String]) -> String {
        let names: Vec<String> = names.iter().take(MAX_NAMES).map(|name| shown(name)).collect();
        format!(
            "shows a certificate of {}, but the far end must be {}: correct the address or the expected name, or give \
             the far end the right certificate",
            if names.is_empty() { "somebody else".to_owned() } else { names.join(", ") },
            self.peer_name
        )
    }

    /// A failed handshake as the rest of a sentence about the far end.
    pub(crate) fn in_words(&self, error: &io::Error) -> String {
        let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
            return match error.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                    "hung up in the middle of the TLS handshake: what it reports itself says why".to_owned()
                }
                _ => format!("broke the connection off: {error}"),
            };
        };
        match tls {
            rustls::Error::NoCertificatesPresented => {
                "shows no certificate: give the far end its certificate and private key".to_owned()
            }
            rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => {
                let names = match tls {
                    rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext {
                        presented, ..
                    }) => presented.as_slice(),
                    _ => &[],
                };
                self.wrong_name(names)
            }
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
                "shows a certificate that none of our roots vouches for: give both ends certificates of the same \
                 authority"
                    .to_owned()
            }
            rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
                "shows a certificate that has expired: issue it anew, or set the clock right".to_owned()
            }
            rustls::Error::InvalidCertificate(other) => {
                format!("shows a certificate that cannot be used ({other}): issue it anew")
            }
            rustls::Error::AlertReceived(
                alert @ (AlertDescription::CertificateRequired
                | AlertDescription::BadCertificate
                | AlertDescription::CertificateUnknown
                | AlertDescription::CertificateExpired
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied),
            ) => format!("refuses our certificate ({alert:?}): what it reports itself says why"),
            rustls::Error::InvalidMessage(_) => "does not speak TLS: is the port right?".to_owned(),
            rustls::Error::DecryptError => {
                "cannot have sent what arrived: somebody meddles with the connection, or it is damaged".to_owned()
            }
            rustls::Error::AlertReceived(AlertDescription::BadRecordMac) => {
                "got something else than was sent: somebody meddles with the connection, or it is damaged".to_owned()
            }
            other => format!("broke off TLS: {other}"),
        }
    }
}

/// The names in a certificate: common names, then DNS names.
fn names(leaf: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return Vec::new() };
    let mut names: Vec<String> =
        certificate.subject().iter_common_name().filter_map(|name| Some(name.as_str().ok()?.to_owned())).collect();
    if let Ok(Some(alternatives)) = certificate.subject_alternative_name() {
        names.extend(alternatives.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(text) => Some((*text).to_owned()),
            _ => None,
        }));
    }
    names
}
