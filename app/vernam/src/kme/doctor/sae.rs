//! An SAE's files, read: certificates, private key, and the ID that stands in the certificate.

use std::{fs, path::Path, sync::Arc};

use rustls::{ClientConfig, RootCertStore, client::WebPkiServerVerifier, crypto::aws_lc_rs, pki_types::PrivateKeyDer};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use vernam_etsi014::SaeId;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::cli::SaeChoice;

/// A prefix that some issuers put before the ID.
const SAE_ID_PREFIX: &str = "sae-id:";

/// The holder of a certificate, ready to connect.
pub(super) struct Sae {
    pub(super) id: SaeId,
    pub(super) tls: Arc<ClientConfig>,
}

/// Reads what `choice` names. The error says which file, and what to do.
pub(super) fn read(choice: &SaeChoice, roots: &Arc<RootCertStore>) -> Result<Sae, String> {
    let chain = certificates(&choice.chain)?;
    let shown = choice.key.display();
    let pem = zeroize::Zeroizing::new(fs::read(&choice.key).map_err(|error| format!("{shown}: {error}"))?);
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
        format!("{shown} holds no private key in PEM (PKCS#8, SEC1 or PKCS#1, without a passphrase): {error}")
    })?;
    let id = match &choice.id {
        Some(id) => id.clone(),
        None => id_of(&chain[0]).map_err(|wrong| format!("{}: {wrong}", choice.chain.display()))?,
    };
    let files = format!("{} and {shown}", choice.chain.display());
    let tls = config(roots, Some((chain, key))).map_err(|error| format!("{files} cannot be used together: {error}"))?;
    Ok(Sae { id, tls })
}

/// The certificates that are trusted to sign a KME's.
pub(super) fn read_roots(path: &Path) -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    for root in certificates(path)? {
        roots.add(root).map_err(|error| format!("{} holds a certificate that is no root: {error}", path.display()))?;
    }
    Ok(Arc::new(roots))
}

/// How to connect with a certificate, or without one.
pub(super) fn config(
    roots: &Arc<RootCertStore>,
    who: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_webpki_verifier(verifier);
    let mut config = match who {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Each connection shows what a full handshake does.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let wrong = |error: rustls_pki_types::pem::Error| format!("{shown} holds no certificate in PEM: {error}");
    let found = CertificateDer::pem_file_iter(path).map_err(wrong)?.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    if found.is_empty() {
        return Err(format!("{shown} holds no certificate in PEM"));
    }
    Ok(found)
}

fn id_of(leaf: &CertificateDer<'_>) -> Result<SaeId, String> {
    const ADVICE: &str = "give the SAE's ID with --master-id, --slave-id or --third-id";
    let (_, certificate) = X509Certificate::from_der(leaf)
        .map_err(|error| format!("the certificate cannot be read ({error}); {ADVICE}"))?;
    let name = certificate.subject().iter_common_name().find_map(|name| name.as_str().ok());
    let name = name.ok_or_else(|| format!("the certificate has no common name; {ADVICE}"))?;
    SaeId::new(name.strip_prefix(SAE_ID_PREFIX).unwrap_or(name)).map_err(|error| format!("{error}; {ADVICE}"))
}
