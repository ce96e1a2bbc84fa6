//! Who calls, by the certificate: the only source of an identity (ETSI GS QKD 014 V1.1.1, clause 5.1).
//!
//! The standard leaves open how an ID stands in a certificate, so several forms are read, always in this order; the
//! first that is known here decides, whatever else the certificate says:
//!
//! 1. the operator's map, by what names one certificate only: its SHA-256 fingerprint, issuer and serial number, its
//!    whole subject;
//! 2. each of its names, common names first, then alternative names (DNS, URI, e-mail) as they stand: by the map, as
//!    the ID of a peer KME, as the ID of an SAE that is served here, with or without `sae-id:` before it.
//!
//! It does not verify certificates: [`crate::tls`] does, before anybody asks here.

use rustls_pki_types::CertificateDer;
use vernam_etsi014::{KmeId, SaeId};

use self::names::{Name, names};
use crate::KmeConfig;

pub(crate) mod inspect;
pub(crate) mod names;

pub use self::inspect::{Certificate, Finding, InspectError, Inspection, inspect, read_certificates};
pub use self::names::NameKind;

/// The holder of a verified certificate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Caller {
    /// An SAE that is served here.
    Sae(SaeId),
    /// A KME at the far end of a link.
    Peer(KmeId),
    /// Somebody whom our roots vouch for, but who has no business here. Holds the name for the refusal, fit to be shown.
    Unknown(String),
}

/// By which rule a certificate was recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What in the certificate it was.
    pub kind: NameKind,
    /// Its text.
    pub text: String,
    /// Whether the operator's map (`certificate_names`) says who that is; else it is the ID itself.
    pub mapped: bool,
}

/// A recognised certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recognised {
    /// Who it is.
    pub caller: Caller,
    /// By which rule; `None` if nobody was recognised.
    pub rule: Option<Rule>,
    /// Who else it could be taken for by rules that come later: the certificate is ambiguous if this is not empty.
    pub also: Vec<(Caller, Rule)>,
}

/// A prefix that some issuers put before the ID.
const SAE_ID_PREFIX: &str = "sae-id:";

/// Finds who the certificate belongs to.
pub(crate) fn caller(config: &KmeConfig, leaf: &CertificateDer<'_>) -> Caller {
    let names = names(leaf);
    names.iter().find_map(|name| known(config, name)).map_or_else(|| unknown(&names), |(caller, _rule)| caller)
}

/// Finds who the certificate belongs to, by which rule, and who else it could be.
pub fn recognise(config: &KmeConfig, leaf: &CertificateDer<'_>) -> Recognised {
    let names = names(leaf);
    let mut found = names.iter().filter_map(|name| known(config, name));
    let Some((caller, rule)) = found.next() else {
        return Recognised { caller: unknown(&names), rule: None, also: Vec::new() };
    };
    let mut also: Vec<(Caller, Rule)> = Vec::new();
    for (other, rule) in found {
        if other != caller && also.iter().all(|(seen, _)| *seen != other) {
            also.push((other, rule));
        }
    }
    Recognised { caller, rule: Some(rule), also }
}

/// Whom one name stands for here.
fn known(config: &KmeConfig, name: &Name) -> Option<(Caller, Rule)> {
    let rule = |mapped| Rule { kind: name.kind, text: name.text.clone(), mapped };
    if let Some(sae) = name.spellings().find_map(|text| config.certificate_names.get(text)) {
        return Some((Caller::Sae(sae.clone()), rule(true)));
    }
    if !name.kind.is_a_name() {
        return None;
    }
    if let Some(peer) = config.peers.iter().find(|peer| peer.kme_id.as_str() == name.text) {
        return Some((Caller::Peer(peer.kme_id.clone()), rule(false)));
    }
    let bare = name.text.strip_prefix(SAE_ID_PREFIX).unwrap_or(&name.text);
    let sae = SaeId::new(bare).ok().filter(|sae| config.saes.contains(sae))?;
    Some((Caller::Sae(sae), rule(false)))
}

fn unknown(names: &[Name]) -> Caller {
    let name = names
        .iter()
        .find(|name| name.kind.is_a_name())
        .or_else(|| names.iter().find(|name| name.kind == NameKind::Subject && !name.text.is_empty()));
    Caller::Unknown(name.map_or_else(|| "a certificate without names".to_owned(), Name::shown))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};
    use ring::digest::{SHA256, digest};
    use vernam_ca::LabCa;
    use x509_parser::prelude::{FromDer as _, X509Certificate};

    use super::*;
    use crate::testing::config;

    fn leaf(name: &str) -> CertificateDer<'static> {
        LabCa::new("Root One").unwrap().issue(name).unwrap().chain.remove(0)
    }

    /// A certificate with just these names.
    fn with_names(common: &[&str], others: Vec<SanType>) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for name in common {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        params.subject_alt_names = others;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn sae(name: &str) -> Caller {
        Caller::Sae(name.parse().unwrap())
    }

    #[test]
    fn common_names() {
        let config = config();
        assert_eq!(caller(&config, &leaf("alice")), sae("alice"));
        assert_eq!(caller(&config, &leaf("sae-id:alice")), sae("alice"));
        assert_eq!(caller(&config, &leaf("mallory")), Caller::Unknown("mallory".to_owned()));
        assert!(matches!(caller(&config, &CertificateDer::from(vec![1, 2, 3])), Caller::Unknown(_)));
        assert_eq!(caller(&config, &leaf("Alice")), Caller::Unknown("Alice".to_owned()), "case counts");
        assert_eq!(caller(&config, &leaf("bob")), Caller::Unknown("bob".to_owned()), "an SAE of the peer");
    }

    #[test]
    fn several_peers_are_told_apart_by_name() {
        let config = config();
        for name in ["kme-b", "kme-c"] {
            assert_eq!(caller(&config, &leaf(name)), Caller::Peer(name.parse().unwrap()));
        }
        assert_eq!(caller(&config, &leaf("kme-a")), Caller::Unknown("kme-a".to_owned()), "we do not call ourselves");
    }

    #[test]
    fn every_kind_of_alternative_name() {
        let config = config();
        let text = |text: &str| text.try_into().unwrap();
        for name in [
            SanType::DnsName(text("alice")),
            SanType::URI(text("sae-id:alice")),
            SanType::URI(text("alice")),
            SanType::Rfc822Name(text("alice")),
        ] {
            let shown = format!("{name:?}");
            assert_eq!(caller(&config, &with_names(&[], vec![name.clone()])), sae("alice"), "{shown}");
            assert_eq!(caller(&config, &with_names(&["Somebody"], vec![name])), sae("alice"), "{shown}");
        }
        let empty = with_names(&[], Vec::new());
        assert_eq!(caller(&config, &empty), Caller::Unknown("a certificate without names".to_owned()));
    }

    #[test]
    fn an_alternative_name_is_looked_at_after_the_common_name() {
        let mut config = config();
        config.saes.insert("localhost".parse().unwrap()); // stands in every certificate of the lab CA
        assert_eq!(caller(&config, &leaf("alice")), sae("alice"));
        assert_eq!(caller(&config, &leaf("phone-17")), sae("localhost"));
    }

    #[test]
    fn an_ambiguous_certificate_is_decided_the_same_way_each_time_and_told_of() {
        let config = config();
        let both = with_names(&["carol"], vec![SanType::DnsName("alice".try_into().unwrap())]);
        let found = recognise(&config, &both);
        assert_eq!(found.caller, sae("carol"));
        assert_eq!(found.also.iter().map(|(caller, _)| caller.clone()).collect::<Vec<_>>(), [sae("alice")]);
        assert_eq!(caller(&config, &both), found.caller);
        let two = with_names(&["carol"], vec![SanType::DnsName("carol".try_into().unwrap())]);
        assert!(recognise(&config, &two).also.is_empty(), "twice the same is not ambiguous");
    }

    #[test]
    fn the_map_knows_certificates_by_more_than_their_names() {
        let leaf = leaf("phone-17");
        let serial = X509Certificate::from_der(&leaf).unwrap().1.serial.to_str_radix(16);
        let fingerprint = names::hex(digest(&SHA256, &leaf).as_ref());
        for name in [
            "phone-17".to_owned(),
            "CN=phone-17".to_owned(),
            format!("CN=Root One#{serial}"),
            format!("sha256:{fingerprint}"),
        ] {
            let mut config = config();
            config.certificate_names.insert(name.clone(), "alice".parse().unwrap());
            let found = recognise(&config, &leaf);
            assert_eq!((found.caller, found.rule.unwrap().mapped), (sae("alice"), true), "{name}");
        }
    }

    #[test]
    fn what_names_one_certificate_only_goes_before_its_names() {
        let leaf = leaf("alice");
        let mut config = config();
        config.certificate_names.insert("CN=alice".to_owned(), "carol".parse().unwrap());
        assert_eq!(caller(&config, &leaf), sae("carol"));
        let fingerprint = format!("sha256:{}", names::hex(digest(&SHA256, &leaf).as_ref()));
        config.certificate_names.insert(fingerprint, "alice".parse().unwrap());
        assert_eq!(caller(&config, &leaf), sae("alice"));
    }

    #[test]
    fn a_hostile_name_is_made_fit_to_be_shown() {
        let long = format!("evil\n{}", "x".repeat(5000));
        let Caller::Unknown(shown) = caller(&config(), &with_names(&[&long], Vec::new())) else { panic!("unknown") };
        assert!(shown.len() < 200 && !shown.contains('\n'), "{shown}");
    }
}
