//! A lab certificate authority for a QKD network.
//!
//! One [`LabCa`] signs the certificates of the KMEs and of the people (SAEs) of a demonstration or a test. Its private
//! key lives in memory only and dies with it. It is not a CA for an organisation: there is no revocation and no audit.
//!
//! ```
//! let ca = vernam_ca::LabCa::new("demo network")?;
//! let alice = ca.issue("alice")?;
//! assert_eq!(alice.chain.len(), 1);
//! # Ok::<(), vernam_ca::CaError>(())
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaError {
    /// The name cannot stand in a certificate, or the key could not be made.
    #[error("no certificate can be made for \u{201c}{name}\u{201d}: {source}")]
    Certificate {
        /// The common name asked for.
        name: String,
        /// What the certificate library said.
        source: rcgen::Error,
    },
}

/// A certificate chain (leaf first, without the root) and its private key.
pub struct Identity {
    /// The leaf certificate, DER.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key, PKCS#8 (some 014 clients take no other form).
    pub key: PrivateKeyDer<'static>,
}

impl Identity {
    /// The chain in PEM (RFC 7468), leaf first.
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(|certificate| pem("CERTIFICATE", certificate)).collect()
    }

    /// The private key in PEM. It belongs in a file that its owner alone can read.
    pub fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(pem("PRIVATE KEY", self.key.secret_der()))
    }

    /// Another copy, for a second endpoint of the same holder.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

/// A root certificate and its key, in memory.
pub struct LabCa {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl LabCa {
    /// Makes a root with a fresh ECDSA P-256 key.
    pub fn new(name: &str) -> Result<Self, CaError> {
        let failed = |source| CaError::Certificate { name: name.to_owned(), source };
        let mut params = CertificateParams::new(Vec::new()).map_err(failed)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(failed)?;
        Ok(Self { issuer: CertifiedIssuer::self_signed(params, key).map_err(failed)? })
    }

    /// The root certificate that all parties trust, DER.
    pub fn root(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// The root certificate in PEM.
    pub fn root_pem(&self) -> String {
        pem("CERTIFICATE", &self.root())
    }

    /// A certificate for `name` (its common name and, as a DNS name, its subject alternative name), valid as server and
    /// as client, also for the names `localhost` and 127.0.0.1.
    pub fn issue(&self, name: &str) -> Result<Identity, CaError> {
        let failed = |source| CaError::Certificate { name: name.to_owned(), source };
        let mut params = CertificateParams::new(vec![name.to_owned(), "localhost".to_owned()]).map_err(failed)?;
        params.subject_alt_names.push(SanType::IpAddress(std::net::Ipv4Addr::LOCALHOST.into()));
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().map_err(failed)?;
        let cert = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(Identity { chain: vec![cert.der().clone()], key: PrivateKeyDer::Pkcs8(key.serialize_der().into()) })
    }
}

/// Characters in a line of PEM (RFC 7468, section 2).
const PEM_LINE: usize = 64;

/// DER as text (RFC 7468).
fn pem(label: &str, der: &[u8]) -> String {
    let text = Zeroizing::new(STANDARD.encode(der));
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(PEM_LINE) {
        pem.extend(line.iter().copied().map(char::from));
        pem.push('\n');
    }
    pem.extend(["-----END ", label, "-----\n"]);
    pem
}
