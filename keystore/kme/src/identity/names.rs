//! What a certificate calls its holder, in every form that is looked at.

use std::fmt;

use ring::digest::{SHA256, digest};
use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The most names of a certificate that are looked at.
const MAX_NAMES: usize = 32;
/// The longest part of a name that is shown, in characters.
const MAX_SHOWN: usize = 64;
/// What the fingerprint of a certificate begins with in the map.
const FINGERPRINT: &str = "sha256:";

/// What in a certificate it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum NameKind {
    /// SHA-256 of the whole certificate: `sha256:` and 64 hex digits.
    Fingerprint,
    /// `<issuer>#<serial number in hex>`.
    IssuerAndSerial,
    /// The whole subject.
    Subject,
    /// A common name (RFC 5280, appendix A.1).
    CommonName,
    /// An alternative name: DNS (RFC 5280, section 4.2.1.6, as the following).
    Dns,
    /// An alternative name: URI.
    Uri,
    /// An alternative name: e-mail.
    Email,
}

impl NameKind {
    /// Whether it can be an ID as it stands; the others name a certificate, and are a matter of the map alone.
    pub fn is_a_name(self) -> bool {
        matches!(self, Self::CommonName | Self::Dns | Self::Uri | Self::Email)
    }
}

impl fmt::Display for NameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fingerprint => "fingerprint",
            Self::IssuerAndSerial => "issuer and serial number",
            Self::Subject => "subject",
            Self::CommonName => "common name",
            Self::Dns => "alternative name (DNS)",
            Self::Uri => "alternative name (URI)",
            Self::Email => "alternative name (e-mail)",
        })
    }
}

/// One form of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) kind: NameKind,
    pub(crate) text: String,
    /// As it stands in a map that was read from a file, where that may differ.
    canonical: Option<String>,
}

impl Name {
    fn new(kind: NameKind, text: impl Into<String>) -> Self {
        let text = text.into();
        let canonical = Some(canonical(&text)).filter(|canonical| *canonical != text);
        Self { kind, text, canonical }
    }

    /// How it may stand in the map.
    pub(crate) fn spellings(&self) -> impl Iterator<Item = &str> {
        [Some(self.text.as_str()), self.canonical.as_deref()].into_iter().flatten()
    }

    pub(crate) fn shown(&self) -> String {
        shown(&self.text)
    }
}

/// Text of a stranger, fit for a log or an error: bounded, and without control characters.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String =
        text.chars().take(MAX_SHOWN).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
    if text.chars().nth(MAX_SHOWN).is_some() {
        shown.push('\u{2026}');
    }
    shown
}

/// Lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// A name in the map (`certificate_names`) in the one spelling that is looked up: fingerprints and serial numbers in
/// lower case without colons and leading zeros, whole subjects without space around `,`, `+` and `=`. Other names stay
/// as they are.
pub(crate) fn canonical(text: &str) -> String {
    if let Some((prefix, digits)) = text.split_at_checked(FINGERPRINT.len())
        && prefix.eq_ignore_ascii_case(FINGERPRINT)
    {
        return format!("{FINGERPRINT}{}", digits.replace(':', "").to_ascii_lowercase());
    }
    if let Some((issuer, serial)) = text.rsplit_once('#')
        && issuer.contains('=')
    {
        let digits = serial.trim().replace(':', "").to_ascii_lowercase();
        let digits = digits.strip_prefix("0x").unwrap_or(&digits).trim_start_matches('0');
        return format!("{}#{digits}", canonical(issuer));
    }
    if !text.contains('=') || text.contains("://") {
        return text.to_owned();
    }
    let mut canonical = String::with_capacity(text.len());
    for c in text.trim().chars() {
        if matches!(c, ',' | '+' | '=') {
            canonical.truncate(canonical.trim_end().len());
        } else if c == ' ' && canonical.ends_with([',', '+', '=']) {
            continue;
        }
        canonical.push(c);
    }
    canonical
}

/// All forms, in the order in which they decide.
pub(crate) fn names(leaf: &CertificateDer<'_>) -> Vec<Name> {
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return Vec::new() };
    let mut names = vec![
        Name::new(NameKind::Fingerprint, format!("{FINGERPRINT}{}", hex(digest(&SHA256, leaf).as_ref()))),
        Name::new(
            NameKind::IssuerAndSerial,
            format!("{}#{}", certificate.issuer(), certificate.serial.to_str_radix(16)),
        ),
        Name::new(NameKind::Subject, certificate.subject().to_string()),
    ];
    let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    names.extend(common.take(MAX_NAMES).map(|text| Name::new(NameKind::CommonName, text)));
    if let Ok(Some(alternatives)) = certificate.subject_alternative_name() {
        let alternatives = alternatives.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(text) => Some(Name::new(NameKind::Dns, *text)),
            GeneralName::URI(text) => Some(Name::new(NameKind::Uri, *text)),
            GeneralName::RFC822Name(text) => Some(Name::new(NameKind::Email, *text)),
            _ => None,
        });
        names.extend(alternatives.take(MAX_NAMES));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_of_many() {
        for (text, expected) in [
            ("alice", "alice"),
            ("sae-id:alice", "sae-id:alice"),
            ("CN = phone-17,  O =Example Ltd", "CN=phone-17,O=Example Ltd"),
            ("CN=phone-17, O=Example Ltd", "CN=phone-17,O=Example Ltd"),
            ("SHA256:AB:cd:01", "sha256:abcd01"),
            ("CN=Root, C=DE#00:1F", "CN=Root,C=DE#1f"),
            ("CN=Root#0x1F", "CN=Root#1f"),
            ("alice#00F", "alice#00F"),
            ("https://example.org/?a = b", "https://example.org/?a = b"),
            ("", ""),
        ] {
            assert_eq!(canonical(text), expected, "{text}");
            assert_eq!(canonical(expected), expected, "{expected}");
        }
    }

    #[test]
    fn bytes_as_hex() {
        assert_eq!(hex(&[0, 0x1f, 0xff]), "001fff");
    }
}
