//! Who calls, by the certificate: the only source of an identity (ETSI GS QKD 014 V1.1.1, clause 5.1).

use rustls_pki_types::CertificateDer;
use vernam_etsi014::SaeId;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::KmeConfig;

/// The holder of a verified certificate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Caller {
    /// An SAE that is served here.
    Sae(SaeId),
    /// The KME at the far end.
    Peer,
    /// Somebody whom our roots vouch for, but who has no business here. Holds the name for the refusal.
    Unknown(String),
}

/// A prefix that some issuers put before the ID.
const SAE_ID_PREFIX: &str = "sae-id:";

/// The most names of a certificate that are looked at.
const MAX_NAMES: usize = 32;

/// Finds who the certificate belongs to: the first of its names that is known here, common name first.
pub(crate) fn caller(config: &KmeConfig, leaf: &CertificateDer<'_>) -> Caller {
    let names = names(leaf);
    for name in &names {
        if let Some(sae) = config.certificate_names.get(name) {
            return Caller::Sae(sae.clone());
        }
        if name == config.peer.kme_id.as_str() {
            return Caller::Peer;
        }
        let bare = name.strip_prefix(SAE_ID_PREFIX).unwrap_or(name);
        if let Some(sae) = SaeId::new(bare).ok().filter(|sae| config.saes.contains(sae)) {
            return Caller::Sae(sae);
        }
    }
    Caller::Unknown(names.into_iter().next().unwrap_or_else(|| "a certificate without names".to_owned()))
}

fn names(leaf: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return Vec::new() };
    let mut names: Vec<String> =
        certificate.subject().iter_common_name().filter_map(|name| Some(name.as_str().ok()?.to_owned())).collect();
    if let Ok(Some(alternatives)) = certificate.subject_alternative_name() {
        names.extend(alternatives.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(text) | GeneralName::URI(text) | GeneralName::RFC822Name(text) => {
                Some((*text).to_owned())
            }
            _ => None,
        }));
    }
    names.truncate(MAX_NAMES);
    names.push(certificate.subject().to_string());
    names.push(format!("{}#{}", certificate.issuer(), certificate.serial.to_str_radix(16)));
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PeerConfig;
    use vernam_ca::LabCa;

    fn config() -> KmeConfig {
        let peer = PeerConfig::new("kme-b".parse().unwrap(), "127.0.0.1:1", []);
        KmeConfig::new("kme-a".parse().unwrap(), ["alice".parse().unwrap()], peer)
    }

    fn leaf(name: &str) -> CertificateDer<'static> {
        LabCa::new("Root One").unwrap().issue(name).unwrap().chain.remove(0)
    }

    fn alice() -> Caller {
        Caller::Sae("alice".parse().unwrap())
    }

    #[test]
    fn common_names() {
        assert_eq!(caller(&config(), &leaf("alice")), alice());
        assert_eq!(caller(&config(), &leaf("sae-id:alice")), alice());
        assert_eq!(caller(&config(), &leaf("kme-b")), Caller::Peer);
        assert_eq!(caller(&config(), &leaf("mallory")), Caller::Unknown("mallory".to_owned()));
        assert!(matches!(caller(&config(), &CertificateDer::from(vec![1, 2, 3])), Caller::Unknown(_)));
    }

    #[test]
    fn an_alternative_name_is_looked_at_after_the_common_name() {
        let mut config = config();
        config.saes.insert("localhost".parse().unwrap()); // stands in every certificate of the lab CA
        assert_eq!(caller(&config, &leaf("alice")), alice());
        assert_eq!(caller(&config, &leaf("phone-17")), Caller::Sae("localhost".parse().unwrap()));
    }

    #[test]
    fn other_spellings_are_a_matter_of_the_map() {
        let leaf = leaf("phone-17");
        let serial = X509Certificate::from_der(&leaf).unwrap().1.serial.to_str_radix(16);
        for name in ["phone-17", "CN=phone-17", &format!("CN=Root One#{serial}")] {
            let mut config = config();
            config.certificate_names.insert(name.to_owned(), "alice".parse().unwrap());
            assert_eq!(caller(&config, &leaf), alice(), "{name}");
        }
    }
}
