//! What can go wrong, by whose fault it is.

use std::error::Error;
use std::fmt::Write;
use std::time::Duration;

use crate::{ErrorBody, Extension};

/// The client cannot be built from what it was given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// Not an address of a KME.
    #[error("\u{201c}{address}\u{201d} is not the address of a KME: {reason}")]
    Address {
        /// The text given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate or private key cannot be used.
    #[error("the {what} cannot be used: {reason}")]
    Certificate {
        /// Which of the files or values.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

/// A request to a KME failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Our fault: the request was not sent, because no KME could grant it.
    #[error("the request makes no sense to a KME: {reason}")]
    BadRequest {
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody answered, or not in time, or not the one we trust.
    #[error("the KME at {kme} cannot be reached: {reason}")]
    Unreachable {
        /// Host and port.
        kme: String,
        /// What went wrong, in plain words.
        reason: String,
        /// Whether the request may have arrived there, and so may have been carried out.
        maybe_sent: bool,
    },
    /// The KME understood and says no.
    #[error("the KME refused ({status}): {message}")]
    Refused {
        /// The HTTP status: 400, 401 or 503 by the standard.
        status: u16,
        /// The KME's words.
        message: String,
        /// The KME's details.
        details: Vec<Extension>,
        /// When to ask again, if the KME says so in seconds.
        retry_after: Option<Duration>,
    },
    /// The KME's fault: its answer breaks the standard. Keys that came with it are wiped and must count as lost.
    #[error("the KME at {kme} gave a bad answer: {reason}; ask its operator")]
    BadReply {
        /// Host and port.
        kme: String,
        /// What is wrong with the answer.
        reason: String,
    },
}

impl ClientError {
    /// From an answer other than 200. A body that is not the standard's error format is described, never quoted.
    pub(crate) fn refused(status: u16, body: &[u8], retry_after: Option<Duration>) -> Self {
        let parsed = serde_json::from_slice::<ErrorBody>(body);
        let (message, details) = parsed.map_or_else(
            |_not_json| (format!("no reason given ({} bytes that are not a JSON error)", body.len()), Vec::new()),
            |body| (body.message, body.details.unwrap_or_default()),
        );
        Self::Refused { status, message: printable(&message), details, retry_after }
    }
}

/// The most characters of a KME's message that are kept.
const MAX_MESSAGE_CHARS: usize = 500;

/// A stranger's text, fit for a terminal and a log line.
fn printable(text: &str) -> String {
    text.chars().take(MAX_MESSAGE_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// An error and its causes in one line, with a hint where rustls's words help nobody.
pub(crate) fn in_words(error: &(dyn Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !words.contains(&text) {
            let _ = write!(words, ": {text}");
        }
        cause = error.source();
    }
    if let Some(hint) = HINTS.iter().find(|(sign, _)| words.contains(sign)).map(|(_, hint)| hint) {
        let _ = write!(words, " ({hint})");
    }
    printable(&words)
}

/// Words of rustls and what to do about them.
const HINTS: &[(&str, &str)] = &[
    ("UnsupportedCertVersion", "this is an X.509 version 1 certificate; version 3 is needed: issue it anew"),
    ("UnknownIssuer", "the KME's certificate is not signed by the given root"),
    ("NotValidForName", "the KME's certificate does not name the host in the address"),
    ("CertificateRequired", "the KME wants a client certificate"),
    ("UnknownCA", "the KME does not trust the issuer of our certificate"),
    ("CertificateRevoked", "the KME says that our certificate was revoked: get a new one"),
    ("certificate: Revoked", "its issuer has revoked the KME's certificate: the KME needs a new one"),
    ("UnknownRevocationStatus", "there are revocation lists, but none of the certificate's issuer"),
    ("CertExpired", "renew the certificate, or set the clock"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_carry_the_kmes_words() {
        let body = br#"{"message":"short\u0007","details":[{"left":0}]}"#;
        let ClientError::Refused { status, message, details, .. } = ClientError::refused(503, body, None) else {
            panic!("not a refusal")
        };
        assert_eq!((status, message.as_str(), details.len()), (503, "short ", 1));
        let text = ClientError::refused(500, b"<html>oops</html>", None).to_string();
        assert!(text.contains("500") && text.contains("17 bytes") && !text.contains("oops"), "{text}");
    }
}
