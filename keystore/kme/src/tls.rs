//! TLS 1.2 and 1.3 with certificates on both sides, and refused handshakes in words.
//!
//! Everybody must show a certificate that the roots vouch for (ETSI GS QKD 014 V1.1.1, clause 5.1); whose it is, is not
//! decided here.
//!
//! **Revocation.** Where lists (CRLs) are given, every certificate of a chain is looked up, and one whose issuer has no
//! list among them is refused: who sets up revocation means all issuers, and a forgotten list must not go unnoticed.
//! A list past its `nextUpdate` still counts: what it names stays revoked, and a KME must not fall silent because a
//! download did. The configuration's check warns of it.

use std::io;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{AlertDescription, CertificateError, PeerIncompatible, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};

use crate::identity::names::shown;
use crate::{KmeError, TlsIdentity};

/// What a KME listens with.
pub(crate) fn server_config(tls: &TlsIdentity) -> Result<ServerConfig, KmeError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| KmeError::Tls(error.to_string()))?
        .with_client_cert_verifier(client_verifier(tls)?)
        .with_single_cert(tls.chain.clone(), tls.key.clone_key())
        .map_err(|error| KmeError::Tls(format!("certificate chain and private key: {}", reason(&error))))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Checks the certificates of callers.
pub(crate) fn client_verifier(tls: &TlsIdentity) -> Result<Arc<dyn ClientCertVerifier>, KmeError> {
    verifier(&tls.roots, &tls.crls)
}

/// As [`client_verifier`], for who has no certificate of our own at hand.
pub(crate) fn verifier(
    roots: &[CertificateDer<'static>],
    crls: &[CertificateRevocationListDer<'static>],
) -> Result<Arc<dyn ClientCertVerifier>, KmeError> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone()).map_err(|error| KmeError::Tls(format!("root certificate: {}", reason(&error))))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(store), Arc::new(aws_lc_rs::default_provider()))
        .with_crls(crls.iter().cloned())
        .build()
        .map_err(|error| KmeError::Tls(format!("root certificates and revocation lists: {error}")))
}

/// Whether callers can sign with a key of this kind: whether the verifier knows one of `schemes`.
pub(crate) fn knows_any(schemes: &[SignatureScheme]) -> bool {
    let known = aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes();
    schemes.iter().any(|scheme| known.contains(scheme))
}

/// Whether a chain (leaf first) would be let in at `now`; if not, why and what to do.
pub(crate) fn verify_client(
    verifier: &dyn ClientCertVerifier,
    chain: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<(), String> {
    let Some((leaf, intermediates)) = chain.split_first() else { return Err("there is no certificate".to_owned()) };
    verifier.verify_client_cert(leaf, intermediates, now).map(|_verified| ()).map_err(|error| reason(&error))
}

/// A refused handshake in words: why, and what to do. The far side may be an SAE or a KME, calling or called.
pub(crate) fn refused_in_words(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(tls) => reason(tls),
        None => match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                "the far side hung up during the TLS handshake: often it does not trust our certificate, or was no \
                 TLS client"
                    .to_owned()
            }
            _ => shown(&error.to_string()),
        },
    }
}

/// Why TLS failed, and what to do.
pub(crate) fn reason(error: &rustls::Error) -> String {
    use rustls::Error as Tls;
    match error {
        Tls::NoCertificatesPresented => {
            "no client certificate was shown, and this service demands one: give the client its certificate and \
             private key (curl: --cert and --key)"
                .to_owned()
        }
        Tls::InvalidCertificate(error) => certificate_reason(error),
        Tls::InvalidCertRevocationList(error) => {
            format!("a revocation list cannot be used ({error:?}): fetch it anew from its issuer")
        }
        Tls::AlertReceived(alert) => alert_reason(*alert),
        Tls::PeerIncompatible(PeerIncompatible::Tls12NotOfferedOrEnabled | PeerIncompatible::Tls12NotOffered) => {
            "the far side speaks only TLS 1.1 or older; 1.2 or 1.3 is needed (ETSI GS QKD 014, clause 5.1)".to_owned()
        }
        Tls::PeerIncompatible(what) => {
            format!("the far side has no TLS version, cipher or signature in common with us ({what:?}): update it")
        }
        Tls::InvalidMessage(_) => {
            "what came is not TLS: the client must use https, and no proxy may take TLS off on the way".to_owned()
        }
        Tls::InconsistentKeys(_) => {
            "the private key does not belong to the certificate: give the two that were made together, leaf first"
                .to_owned()
        }
        other => shown(&other.to_string()),
    }
}

fn certificate_reason(error: &CertificateError) -> String {
    use CertificateError as Wrong;
    match error {
        Wrong::BadEncoding => "the certificate is not well-formed X.509: issue it anew".to_owned(),
        Wrong::Expired | Wrong::ExpiredContext { .. } => {
            "the certificate has expired: issue a new one (and see that the clocks are right)".to_owned()
        }
        Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => {
            "the certificate is not valid yet: see that the clocks are right, here and where it was issued".to_owned()
        }
        Wrong::Revoked => "the certificate was revoked by its issuer: its holder needs a new one".to_owned(),
        Wrong::UnknownIssuer => {
            "no root given here has signed the certificate: have it issued by one of them, add its root to the roots, \
             or have the intermediate certificates sent along"
                .to_owned()
        }
        Wrong::BadSignature => {
            "the certificate is not signed by the issuer that it names: it was altered, or the issuer's key was \
             replaced under the same name"
                .to_owned()
        }
        Wrong::UnknownRevocationStatus => {
            "revocation lists are set up, but none is of the certificate's issuer: add the issuer's list to tls.crl, \
             or give no lists at all"
                .to_owned()
        }
        Wrong::ExpiredRevocationList | Wrong::ExpiredRevocationListContext { .. } => {
            "the revocation list is out of date: fetch a new one from its issuer".to_owned()
        }
        Wrong::UnhandledCriticalExtension => {
            "the certificate has a critical extension that is not known here: issue it without, or not as critical"
                .to_owned()
        }
        Wrong::InvalidPurpose | Wrong::InvalidPurposeContext { .. } => {
            "the certificate's extended key usage does not allow this use: an SAE needs clientAuth, a KME both \
             serverAuth and clientAuth; issue it with them, or without extended key usage"
                .to_owned()
        }
        Wrong::NotValidForName | Wrong::NotValidForNameContext { .. } => {
            "the certificate is not valid for the name that was called: correct the name, or issue it with that name \
             as subject alternative name"
                .to_owned()
        }
        other => other_reason(other),
    }
}

/// What the verifier has no words of its own for; it is known by the text of the library below it.
fn other_reason(error: &CertificateError) -> String {
    let text = format!("{error:?}");
    if text.contains("UnsupportedCertVersion") {
        return X509_V1.to_owned();
    }
    if text.contains("CaUsedAsEndEntity") {
        return "the certificate is that of an authority (CA): an SAE or KME needs one of its own, signed by it"
            .to_owned();
    }
    if text.contains("SignatureAlgorithm") {
        return "the certificate is signed in a way that is not trusted any more (SHA-1, RSA below 2048 bits) or not \
                known: issue it with ECDSA P-256, Ed25519, or RSA of 2048 bits and SHA-256"
            .to_owned();
    }
    shown(&error.to_string())
}

/// What is said of X.509 version 1, which puzzles people most.
pub(crate) const X509_V1: &str = "the certificate is X.509 version 1, and version 3 is needed: issue it anew with \
                                  extensions (`openssl x509 -req` makes version 1 unless it is given -extfile, such as \
                                  one with subjectAltName=DNS:alice)";

/// What the far side says of us.
fn alert_reason(alert: AlertDescription) -> String {
    let about_us = match alert {
        AlertDescription::CertificateExpired => "it takes our certificate for expired: renew it, and see to the clocks",
        AlertDescription::CertificateRevoked => "our certificate was revoked: get a new one",
        AlertDescription::UnknownCA => "it does not trust the root of our certificate: give it that root",
        AlertDescription::CertificateRequired => "it wants a certificate of ours, and there is none",
        AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
            "it does not accept our certificate: see that it trusts our root, and that the name it calls stands in our \
             certificate"
        }
        AlertDescription::UnsupportedCertificate => "it cannot use a certificate like ours, such as for its key usage",
        AlertDescription::AccessDenied => "it does not let us in",
        AlertDescription::DecryptError => "a signature did not fit: certificate and private key are not of one pair",
        AlertDescription::ProtocolVersion => "it has no version of TLS in common with us: 1.2 or 1.3 is needed",
        AlertDescription::HandshakeFailure => "it has no cipher or signature in common with us",
        _ => return format!("the far side broke off the TLS handshake ({alert:?})"),
    };
    format!("the far side refuses us: {about_us}")
}

#[cfg(test)]
mod tests {
    use rustls::{CertRevocationListError, OtherError};

    use super::*;

    fn in_words(error: rustls::Error) -> String {
        refused_in_words(&io::Error::new(io::ErrorKind::InvalidData, error))
    }

    #[test]
    fn what_people_meet_says_what_to_do() {
        let other = |text: &str| CertificateError::Other(OtherError(Arc::new(io::Error::other(text.to_owned()))));
        for (error, words) in [
            (rustls::Error::NoCertificatesPresented, ["--cert", "no client certificate"]),
            (CertificateError::Expired.into(), ["expired", "new one"]),
            (CertificateError::NotValidYet.into(), ["not valid yet", "clocks"]),
            (CertificateError::Revoked.into(), ["revoked", "new one"]),
            (CertificateError::UnknownIssuer.into(), ["no root", "add its root"]),
            (CertificateError::UnknownRevocationStatus.into(), ["tls.crl", "issuer's list"]),
            (CertificateError::InvalidPurpose.into(), ["clientAuth", "serverAuth"]),
            (CertificateError::NotValidForName.into(), ["name", "subject alternative name"]),
            (other("UnsupportedCertVersion").into(), ["version 1", "-extfile"]),
            (other("CaUsedAsEndEntity").into(), ["authority", "of its own"]),
            (rustls::Error::InvalidCertRevocationList(CertRevocationListError::ParseError), ["list", "anew"]),
            (rustls::Error::AlertReceived(AlertDescription::UnknownCA), ["far side refuses us", "root"]),
            (rustls::Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered), ["1.1", "1.3"]),
            (rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType), ["not TLS", "https"]),
        ] {
            let said = in_words(error);
            assert!(words.iter().all(|word| said.contains(word)), "{words:?}: {said}");
        }
        let hung_up = refused_in_words(&io::ErrorKind::UnexpectedEof.into());
        assert!(hung_up.contains("hung up"), "{hung_up}");
    }
}
