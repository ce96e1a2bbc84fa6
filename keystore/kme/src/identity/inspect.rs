//! A certificate as a KME sees it: what it says, who it would be here, and why it would be refused.
//!
//! Nothing is decided here: the verifier of [`crate::tls`] and the rules of [`super`] are asked, as they are for a real
//! connection.

use std::collections::BTreeMap;

use rustls::SignatureScheme;
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use x509_parser::prelude::{FromDer as _, X509Certificate, X509Version};
use x509_parser::public_key::PublicKey;

use super::names::{Name, NameKind, names, shown};
use super::{Caller, Recognised, Rule, recognise};
use crate::{KmeConfig, KmeError, tls};

/// The most certificates of a file that are looked at.
const MAX_CHAIN: usize = 16;
/// The smallest RSA key that the verifier takes, bits.
const MIN_RSA_BITS: usize = 2048;

/// A certificate, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// X.509 version: 3 is what is needed.
    pub version: u32,
    /// Whose it is.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Serial number, hex.
    pub serial: String,
    /// Every form of name that is looked at, in order: what kind, and its text.
    pub names: Vec<(NameKind, String)>,
    /// From when, for people (UTC).
    pub not_before: String,
    /// Until when, for people (UTC).
    pub not_after: String,
    /// Seconds from now until it ends; negative if it is over.
    pub seconds_left: i64,
    /// Such as `ECDSA P-256`.
    pub key: String,
    /// Whether it is an authority's.
    pub is_ca: bool,
    /// Extended key usage; empty if it says nothing about it, which allows all.
    pub usages: Vec<String>,
}

/// What was found, for better or worse.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// It would be refused, and why.
    Refused(String),
    /// It works, but somebody should look at it.
    Warning(String),
}

/// What [`inspect`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The chain, leaf first.
    pub chain: Vec<Certificate>,
    /// Who it is here; `None` without a configuration.
    pub holder: Option<Recognised>,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
}

impl Inspection {
    /// Whether a KME would refuse it.
    pub fn is_refused(&self) -> bool {
        self.findings.iter().any(|finding| matches!(finding, Finding::Refused(_)))
    }
}

/// Why there is nothing to inspect.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// It is no certificate.
    #[error("it holds no certificate: give a PEM file (-----BEGIN CERTIFICATE-----) or one certificate in DER")]
    NoCertificate,
    /// It is a private key.
    #[error("it holds a private key and no certificate: give the certificate's file, and keep this one to yourself")]
    PrivateKey,
    /// It is a certificate signing request.
    #[error("it holds a request for a certificate (CSR): have it signed first, and give what comes back")]
    Request,
    /// It is longer than any chain.
    #[error("it holds more than {MAX_CHAIN} certificates: give one chain, not a bundle of roots")]
    TooMany,
    /// It is not well-formed.
    #[error("certificate {number} in it is not well-formed: {reason}")]
    Malformed {
        /// Which one, from 1.
        number: usize,
        /// In the parser's words.
        reason: String,
    },
    /// The roots or lists of the configuration cannot be used.
    #[error(transparent)]
    Roots(#[from] KmeError),
}

/// The certificates in a file, PEM or DER, leaf first.
pub fn read_certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, InspectError> {
    if X509Certificate::from_der(bytes).is_ok() {
        return Ok(vec![CertificateDer::from(bytes.to_vec())]);
    }
    let chain: Vec<_> = CertificateDer::pem_slice_iter(bytes).take(MAX_CHAIN + 1).filter_map(Result::ok).collect();
    if chain.len() > MAX_CHAIN {
        return Err(InspectError::TooMany);
    }
    if !chain.is_empty() {
        return Ok(chain);
    }
    let mut rest = bytes;
    Err(match rustls_pki_types::pem::from_buf(&mut rest) {
        Ok(Some((SectionKind::Csr, _))) => InspectError::Request,
        Ok(Some((SectionKind::PrivateKey | SectionKind::EcPrivateKey | SectionKind::RsaPrivateKey, _))) => {
            InspectError::PrivateKey
        }
        _ => InspectError::NoCertificate,
    })
}

/// Looks at a chain as the KME of `config` would at `now`, with these roots and revocation lists. Without them it says
/// what any KME of this kind would say: form, time, purpose.
pub fn inspect(
    chain: &[CertificateDer<'static>],
    here: Option<(&KmeConfig, &[CertificateDer<'static>], &[CertificateRevocationListDer<'static>])>,
    now: UnixTime,
) -> Result<Inspection, InspectError> {
    let described: Result<Vec<_>, _> =
        chain.iter().enumerate().map(|(index, der)| describe(der, index + 1, now)).collect();
    let described = described?;
    let Some((leaf, first)) = chain.first().zip(described.first()) else { return Err(InspectError::NoCertificate) };
    let mut findings = by_itself(first);
    let mut holder = None;
    if let Some((config, roots, crls)) = here {
        let verifier = tls::verifier(roots, crls)?;
        if let Err(why) = tls::verify_client(verifier.as_ref(), chain, now) {
            // What was found without the roots is said in more detail already.
            let said = findings.iter().any(|finding| matches!(finding, Finding::Refused(_)));
            if !said {
                findings.push(Finding::Refused(why));
            }
        }
        let recognised = recognise(config, leaf);
        findings.extend(about_holder(config, first, &recognised));
        holder = Some(recognised);
    }
    Ok(Inspection { chain: described, holder, findings })
}

fn describe(der: &CertificateDer<'_>, number: usize, now: UnixTime) -> Result<Certificate, InspectError> {
    let malformed = |reason: String| InspectError::Malformed { number, reason };
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| malformed(error.to_string()))?;
    let validity = certificate.validity();
    let shown_time = |time: x509_parser::time::ASN1Time| time.to_rfc2822().unwrap_or_else(|_unusual| time.to_string());
    let mut usages = Vec::new();
    if let Ok(Some(usage)) = certificate.extended_key_usage() {
        let usage = usage.value;
        let named = [
            (usage.any, "any"),
            (usage.server_auth, "serverAuth"),
            (usage.client_auth, "clientAuth"),
            (usage.code_signing, "codeSigning"),
            (usage.email_protection, "emailProtection"),
            (usage.time_stamping, "timeStamping"),
            (usage.ocsp_signing, "OCSPSigning"),
        ];
        usages.extend(named.into_iter().filter(|(has, _)| *has).map(|(_, name)| name.to_owned()));
        usages.extend(usage.other.iter().map(ToString::to_string));
    }
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    Ok(Certificate {
        version: match certificate.version() {
            X509Version::V1 => 1,
            X509Version::V2 => 2,
            X509Version::V3 => 3,
            X509Version(other) => other.saturating_add(1),
        },
        subject: shown_long(&certificate.subject().to_string()),
        issuer: shown_long(&certificate.issuer().to_string()),
        serial: certificate.serial.to_str_radix(16),
        names: names(der).iter().map(|Name { kind, text, .. }| (*kind, shown_long(text))).collect(),
        not_before: shown_time(validity.not_before),
        not_after: shown_time(validity.not_after),
        seconds_left: validity.not_after.timestamp().saturating_sub(now),
        key: key(&certificate),
        is_ca: certificate.is_ca(),
        usages,
    })
}

fn key(certificate: &X509Certificate<'_>) -> String {
    /// Object identifiers (RFC 5480, RFC 8410).
    const KNOWN: [(&str, &str); 6] = [
        ("1.2.840.10045.3.1.7", "ECDSA P-256"),
        ("1.3.132.0.34", "ECDSA P-384"),
        ("1.3.132.0.35", "ECDSA P-521"),
        ("1.3.132.0.10", "ECDSA secp256k1"),
        ("1.3.101.112", "Ed25519"),
        ("1.3.101.113", "Ed448"),
    ];
    let info = certificate.public_key();
    if let Ok(PublicKey::RSA(rsa)) = info.parsed() {
        return format!("RSA {} bits", rsa.key_size());
    }
    let curve = info.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
    let oid = curve.as_ref().unwrap_or(&info.algorithm.algorithm).to_id_string();
    let known = KNOWN.iter().find(|(id, _)| *id == oid);
    known.map_or_else(|| format!("another algorithm ({oid})"), |(_, name)| (*name).to_owned())
}

/// What the holder of such a key (as [`key`] names it) can sign a handshake with; nothing, if it is not known.
fn schemes(key: &str) -> &'static [SignatureScheme] {
    match key {
        // TLS 1.3 binds each curve to one hash (RFC 8446, section 4.2.3).
        "ECDSA P-256" => &[SignatureScheme::ECDSA_NISTP256_SHA256],
        "ECDSA P-384" => &[SignatureScheme::ECDSA_NISTP384_SHA384],
        "ECDSA P-521" => &[SignatureScheme::ECDSA_NISTP521_SHA512],
        "Ed25519" => &[SignatureScheme::ED25519],
        "Ed448" => &[SignatureScheme::ED448],
        key if key.starts_with("RSA ") => &[SignatureScheme::RSA_PSS_SHA256],
        _ => &[],
    }
}

/// What can be said without a configuration.
fn by_itself(leaf: &Certificate) -> Vec<Finding> {
    const SOON: i64 = 30 * 24 * 3600;
    let mut findings = Vec::new();
    let mut refuse = |why: &str| findings.push(Finding::Refused(why.to_owned()));
    if leaf.version != 3 {
        refuse(tls::X509_V1);
    }
    if leaf.is_ca {
        refuse("the certificate is that of an authority (CA): an SAE or KME needs one of its own, signed by it");
    }
    if leaf.seconds_left < 0 {
        refuse(&format!("the certificate expired on {}: issue a new one", leaf.not_after));
    }
    let allowed = |usage: &str| leaf.usages.is_empty() || leaf.usages.iter().any(|has| has == usage);
    if !allowed("clientAuth") {
        let has = leaf.usages.join(", ");
        refuse(&format!("its extended key usage ({has}) does not allow clientAuth: issue it with clientAuth"));
    }
    if let Some(bits) = leaf.key.strip_prefix("RSA ").and_then(|rest| rest.split(' ').next()?.parse::<usize>().ok())
        && bits < MIN_RSA_BITS
    {
        refuse(&format!("its RSA key has {bits} bits: at least {MIN_RSA_BITS} are needed"));
    }
    if !tls::knows_any(schemes(&leaf.key)) {
        refuse(&format!(
            "its key ({}) cannot be used in TLS here: issue it for a key of ECDSA P-256, Ed25519, or RSA of 2048 bits",
            leaf.key
        ));
    }
    if !leaf.names.iter().any(|(kind, _)| kind.is_a_name()) {
        let known = "it has no common name and no alternative name (DNS, URI, e-mail), so it can be known by the map \
                     (certificate_names) only";
        findings.push(Finding::Warning(known.to_owned()));
    }
    if (0..SOON).contains(&leaf.seconds_left) {
        findings.push(Finding::Warning(format!("it expires soon, on {}", leaf.not_after)));
    }
    findings
}

fn about_holder(config: &KmeConfig, leaf: &Certificate, holder: &Recognised) -> Vec<Finding> {
    let mut findings = Vec::new();
    match &holder.caller {
        Caller::Unknown(name) => findings.push(Finding::Refused(unknown(config, leaf, name))),
        Caller::Peer(peer) if !leaf.usages.is_empty() && !leaf.usages.iter().any(|usage| usage == "serverAuth") => {
            findings.push(Finding::Warning(format!(
                "{peer} can call us with it, but we could not call {peer}: its extended key usage lacks serverAuth"
            )));
        }
        _ => {}
    }
    if let Some(rule) = holder.rule.as_ref().filter(|_| !holder.also.is_empty()) {
        let others: Vec<String> = holder.also.iter().map(|(who, by)| format!("{} ({})", name(who), what(by))).collect();
        findings.push(Finding::Warning(format!(
            "it is ambiguous: it is taken for {} because its {} decides first; later names say {}",
            name(&holder.caller),
            what(rule),
            others.join(", ")
        )));
    }
    findings
}

/// Why nobody here has such a certificate, and how to change that.
fn unknown(config: &KmeConfig, leaf: &Certificate, name: &str) -> String {
    let behind: BTreeMap<&str, &str> =
        config.peers.iter().flat_map(|peer| peer.saes.iter().map(|sae| (sae.as_str(), peer.kme_id.as_str()))).collect();
    if name == config.id.as_str() {
        return format!("it carries the ID of this KME itself, {name}: a KME does not call itself");
    }
    if let Some(peer) = behind.get(name) {
        return format!("SAE {name} is served by {peer}, not here: it must call {peer}, or be listed in saes here");
    }
    let mapped = leaf.names.iter().find(|(kind, _)| *kind == NameKind::Fingerprint).map_or("", |(_, text)| text);
    format!(
        "nobody here is known by any of its names ({name}): add the SAE to saes, or map this certificate: \
         \"{mapped}\" = \"<SAE ID>\" in [certificate_names]"
    )
}

fn name(caller: &Caller) -> String {
    match caller {
        Caller::Sae(sae) => format!("SAE {sae}"),
        Caller::Peer(kme) => format!("KME {kme}"),
        Caller::Unknown(name) => name.clone(),
    }
}

fn what(rule: &Rule) -> String {
    let map = if rule.mapped { ", by the map" } else { "" };
    format!("{} \u{201c}{}\u{201d}{map}", rule.kind, shown(&rule.text))
}

/// As [`shown`], for what may be longer: a whole subject.
fn shown_long(text: &str) -> String {
    const MAX: usize = 512;
    let cut: String = text.chars().take(MAX).collect();
    cut.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

impl std::fmt::Display for Recognised {
    /// Who it is and by which rule, as one sentence's end.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.rule {
            Some(rule) => write!(f, "{}, by its {}", name(&self.caller), what(rule)),
            None => f.write_str("nobody who is known here"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
        ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
        date_time_ymd,
    };

    use super::*;
    use crate::testing::config;

    const V1: &[u8] = include_bytes!("../../tests/certificates/v1.pem");
    const ED448: &[u8] = include_bytes!("../../tests/certificates/ed448.pem");
    const V1_ROOT: &[u8] = include_bytes!("../../tests/certificates/v1-root.pem");

    struct Ca(CertifiedIssuer<'static, KeyPair>);

    impl Ca {
        fn new() -> Self {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.distinguished_name.push(DnType::CommonName, "Root One");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
        }

        fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> Vec<CertificateDer<'static>> {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, "alice");
            params.serial_number = Some(SerialNumber::from(77_u64));
            change(&mut params);
            vec![params.signed_by(&KeyPair::generate().unwrap(), &self.0).unwrap().der().clone()]
        }

        fn crl(&self, revoked: &[u64]) -> CertificateRevocationListDer<'static> {
            let revoked_certs = revoked
                .iter()
                .map(|serial| RevokedCertParams {
                    serial_number: SerialNumber::from(*serial),
                    revocation_time: date_time_ymd(2024, 1, 1),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect();
            let params = CertificateRevocationListParams {
                this_update: date_time_ymd(2024, 1, 1),
                next_update: date_time_ymd(2024, 2, 1), // long over: it counts all the same
                crl_number: SerialNumber::from(1_u64),
                issuing_distribution_point: None,
                revoked_certs,
                key_identifier_method: KeyIdMethod::Sha256,
            };
            params.signed_by(&self.0).unwrap().der().clone()
        }

        fn look(
            &self,
            chain: &[CertificateDer<'static>],
            crls: &[CertificateRevocationListDer<'static>],
        ) -> Inspection {
            inspect(chain, Some((&config(), &[self.0.der().clone()], crls)), now()).unwrap()
        }

        /// Why it is refused, in one text.
        fn refusal(&self, chain: &[CertificateDer<'static>]) -> String {
            refusals(&self.look(chain, &[]))
        }
    }

    fn refusals(inspection: &Inspection) -> String {
        let refused: Vec<&str> = inspection
            .findings
            .iter()
            .filter_map(|finding| match finding {
                Finding::Refused(why) => Some(why.as_str()),
                Finding::Warning(_) => None,
            })
            .collect();
        refused.join("; ")
    }

    fn now() -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(1_780_000_000)) // in May 2026
    }

    #[test]
    fn a_good_certificate() {
        let ca = Ca::new();
        let inspection = ca.look(&ca.issue(|_as_it_is| {}), &[]);
        assert!(!inspection.is_refused(), "{:?}", inspection.findings);
        let leaf = &inspection.chain[0];
        assert_eq!((leaf.version, leaf.key.as_str(), leaf.serial.as_str()), (3, "ECDSA P-256", "4d"));
        assert_eq!(leaf.issuer, "CN=Root One");
        let holder = inspection.holder.unwrap().to_string();
        assert_eq!(holder, "SAE alice, by its common name \u{201c}alice\u{201d}");
    }

    #[test]
    fn each_refusal_says_why() {
        let ca = Ca::new();
        let stranger = Ca::new();
        let cases: [(&str, Vec<CertificateDer<'static>>); 7] = [
            ("expired", ca.issue(|params| params.not_after = date_time_ymd(2020, 1, 1))),
            ("not valid yet", ca.issue(|params| params.not_before = date_time_ymd(2090, 1, 1))),
            ("clientAuth", ca.issue(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth])),
            ("authority (CA)", ca.issue(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))),
            // Another authority of the same name: its signature is not that of ours.
            ("not signed by the issuer that it names", stranger.issue(|_as_it_is| {})),
            ("add the SAE to saes", ca.issue(|params| params.distinguished_name.push(DnType::CommonName, "mallory"))),
            ("served by kme-b, not here", ca.issue(|params| params.distinguished_name.push(DnType::CommonName, "bob"))),
        ];
        for (words, chain) in cases {
            let refusal = ca.refusal(&chain);
            assert!(refusal.contains(words), "{words}: {refusal}");
        }
        let own = ca.issue(|params| params.distinguished_name.push(DnType::CommonName, "kme-a"));
        assert!(ca.refusal(&own).contains("this KME itself"));
    }

    #[test]
    fn x509_v1_says_how_to_issue_anew() {
        let chain = read_certificates(V1).unwrap();
        let roots = read_certificates(V1_ROOT).unwrap();
        let inspection = inspect(&chain, Some((&config(), &roots, &[])), now()).unwrap();
        assert_eq!(inspection.chain[0].version, 1);
        assert!(refusals(&inspection).contains("version 1") && refusals(&inspection).contains("-extfile"));
        // What a client meets in a real handshake is told in the same words.
        let verifier = tls::verifier(&roots, &[]).unwrap();
        let met = tls::verify_client(verifier.as_ref(), &chain, now()).unwrap_err();
        assert!(met.contains("version 1") && met.contains("-extfile"), "{met}");
    }

    #[test]
    fn a_key_that_tls_cannot_use_is_refused() {
        let inspection = inspect(&read_certificates(ED448).unwrap(), None, now()).unwrap();
        assert_eq!(inspection.chain[0].key, "Ed448");
        assert!(refusals(&inspection).contains("its key (Ed448) cannot be used in TLS here"), "{inspection:?}");
        for good in ["ECDSA P-256", "ECDSA P-384", "Ed25519", "RSA 2048 bits"] {
            assert!(tls::knows_any(schemes(good)), "{good}");
        }
        for bad in ["ECDSA secp256k1", "another algorithm (1.2.840.10040.4.1)"] {
            assert!(!tls::knows_any(schemes(bad)), "{bad}");
        }
    }

    #[test]
    fn revocation_counts_also_by_an_old_list_and_every_issuer_needs_one() {
        let ca = Ca::new();
        let chain = ca.issue(|_as_it_is| {});
        assert!(refusals(&ca.look(&chain, &[ca.crl(&[77])])).contains("revoked"));
        assert!(!ca.look(&chain, &[ca.crl(&[78])]).is_refused());
        let other = {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.distinguished_name.push(DnType::CommonName, "Root Two");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            Ca(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
        };
        let unknown = refusals(&ca.look(&chain, &[other.crl(&[1])]));
        assert!(unknown.contains("none is of the certificate's issuer"), "{unknown}");
    }

    #[test]
    fn an_ambiguous_certificate_and_one_that_ends_soon_are_told_of() {
        let ca = Ca::new();
        let chain = ca.issue(|params| {
            params.subject_alt_names = vec![rcgen::SanType::DnsName("carol".try_into().unwrap())];
            params.not_after = date_time_ymd(2026, 6, 10);
        });
        let inspection = ca.look(&chain, &[]);
        assert!(!inspection.is_refused());
        let warnings = format!("{:?}", inspection.findings);
        assert!(warnings.contains("ambiguous") && warnings.contains("SAE carol"), "{warnings}");
        assert!(warnings.contains("expires soon"), "{warnings}");
    }

    #[test]
    fn what_is_no_certificate_is_told_apart() {
        let key = KeyPair::generate().unwrap();
        let request = CertificateParams::new(Vec::new()).unwrap().serialize_request(&key).unwrap();
        for (bytes, words) in [
            (b"hello".to_vec(), "no certificate"),
            (Vec::new(), "no certificate"),
            (key.serialize_pem().into_bytes(), "private key"),
            (request.pem().unwrap().into_bytes(), "request"),
            (V1.repeat(MAX_CHAIN + 1), "more than"),
        ] {
            let error = read_certificates(&bytes).unwrap_err().to_string();
            assert!(error.contains(words), "{words}: {error}");
        }
        let malformed = inspect(&[CertificateDer::from(vec![1, 2, 3])], None, now()).unwrap_err().to_string();
        assert!(malformed.contains("certificate 1"), "{malformed}");
        assert_eq!(read_certificates(&read_certificates(V1).unwrap()[0]).unwrap().len(), 1, "DER");
    }
}
