//! Who we are, and the name in a certificate.

use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::limits::PEER_NAME_MAX;

/// Our certificate chain (leaf first, without the root) and its private key, as the endpoint needs them.
///
/// Neither `Clone` nor `Debug`: it holds the private key.
pub struct QuicIdentity {
    /// The leaf certificate and any intermediates, DER.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's private key, in any form that rustls loads: PKCS#8, SEC1 or PKCS#1.
    pub key: PrivateKeyDer<'static>,
}

/// Why a certificate gives no name to call its holder by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The bytes are not an X.509 certificate.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// Neither a common name nor a DNS name.
    #[error("the certificate carries no name (common name or DNS name)")]
    Missing,
    /// More than one candidate, so that two readers could understand two different people.
    #[error("the certificate carries more than one name, so it does not say which one is meant")]
    Ambiguous,
    /// Empty, too long, not text, or with control characters that could deceive on a screen.
    #[error("the name in the certificate is empty, longer than {PEER_NAME_MAX} bytes or has unprintable characters")]
    Unusable,
}

/// The name (SAE ID) of a certificate's holder: its one common name or, when it has none, its one DNS name.
pub(crate) fn name_in(certificate: &CertificateDer<'_>) -> Result<Box<str>, NameError> {
    let (_, parsed) = X509Certificate::from_der(certificate).or(Err(NameError::Unreadable))?;
    let common = parsed.subject().iter_common_name().map(|name| name.as_str().or(Err(NameError::Unusable)));
    if let Some(name) = only(common)? {
        return usable(name?);
    }
    let alternative = parsed.subject_alternative_name().or(Err(NameError::Unreadable))?;
    let general = alternative.iter().flat_map(|extension| &extension.value.general_names);
    let dns = general.filter_map(|name| if let GeneralName::DNSName(name) = name { Some(*name) } else { None });
    only(dns)?.map_or(Err(NameError::Missing), usable)
}

fn only<T>(mut names: impl Iterator<Item = T>) -> Result<Option<T>, NameError> {
    let first = names.next();
    if names.next().is_some() { Err(NameError::Ambiguous) } else { Ok(first) }
}

fn usable(name: &str) -> Result<Box<str>, NameError> {
    let printable = !name.chars().any(|c| c.is_control() || deceptive(c));
    let sized = !name.trim().is_empty() && name.len() <= PEER_NAME_MAX;
    if printable && sized { Ok(name.into()) } else { Err(NameError::Unusable) }
}

/// Characters that reorder, break or hide text on a screen: zero-width and bidirectional marks, line separators.
pub(crate) fn deceptive(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn certificate(common: &[&str], dns: &[&str]) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(dns.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for name in common {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn the_common_name_comes_before_the_dns_names() {
        assert_eq!(name_in(&certificate(&["alice"], &["other", "localhost"])).as_deref(), Ok("alice"));
    }

    #[test]
    fn one_dns_name_serves_where_there_is_no_common_name() {
        assert_eq!(name_in(&certificate(&[], &["alice"])).as_deref(), Ok("alice"));
        assert_eq!(name_in(&certificate(&[], &["alice", "bob"])), Err(NameError::Ambiguous));
        assert_eq!(name_in(&certificate(&[], &[])), Err(NameError::Missing));
    }

    #[test]
    fn names_that_deceive_are_refused() {
        for name in ["", "  ", "ali\u{7}ce", "alice\nbob", "\u{202e}ecila", "al\u{200b}ice", &"a".repeat(254)] {
            assert_eq!(name_in(&certificate(&[name], &["alice"])), Err(NameError::Unusable), "{name:?}");
        }
        assert_eq!(name_in(&CertificateDer::from(vec![0x30, 0x00])), Err(NameError::Unreadable));
    }
}
