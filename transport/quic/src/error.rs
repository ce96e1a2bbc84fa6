//! What can go wrong between two clients, by whose fault it is.

use std::io;
use std::net::SocketAddr;

use quinn::ConnectionError;

use crate::identity::{NameError, deceptive};
use crate::lane::Lane;
use crate::limits::{CLOSE_REASON_MAX, VOICE_DATAGRAM_MAX};

/// Why an endpoint, a dial or a connection failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuicError {
    // Ours.
    /// Our own certificate or private key cannot be used.
    #[error("our own certificate cannot be used ({reason}); ask the network's administrator for a new one")]
    Identity {
        /// What is wrong with it.
        reason: String,
    },
    /// The network's root certificates cannot be used.
    #[error("the network's root certificate cannot be used ({reason}); fetch it again from the administrator")]
    Roots {
        /// What is wrong with them.
        reason: String,
    },
    /// A setting is out of its range.
    #[error("the setting {name} is out of range: {rule}")]
    Setting {
        /// The setting's name.
        name: &'static str,
        /// The range.
        rule: &'static str,
    },
    /// A voice datagram longer than [`VOICE_DATAGRAM_MAX`].
    #[error("a voice frame of {len} bytes does not fit a packet; the longest is {VOICE_DATAGRAM_MAX}")]
    VoiceTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// Voice on the files' connection, or to a peer that takes no datagrams.
    #[error("this connection carries no voice")]
    NoVoice,
    /// An exporter label or context that TLS does not take.
    #[error("no secret can be exported under this label and context")]
    Exporter,

    // The machine's.
    /// The socket could not be opened.
    #[error("no UDP socket at {addr} ({source}); is the port taken?")]
    Socket {
        /// The address asked for.
        addr: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// [`Endpoint::bind`](crate::Endpoint::bind) was called outside a tokio runtime.
    #[error("an endpoint can only be bound inside a tokio runtime")]
    NoRuntime,
    /// The address cannot be dialled from this endpoint.
    #[error("the address {addr} cannot be dialled: {reason}")]
    Undiallable {
        /// The address.
        addr: SocketAddr,
        /// Why not.
        reason: String,
    },
    /// All of [`MAX_CONNECTIONS`](crate::limits::MAX_CONNECTIONS) are in use.
    #[error("too many connections are open; end one first")]
    TooManyConnections,
    /// We closed the connection or the endpoint ourselves.
    #[error("the connection was closed on this side")]
    ClosedHere,

    // The peer's.
    /// Somebody of the network answered, but not the one we called.
    #[error("expected {expected}, but {found} answered; nothing was sent. Check the contact's address")]
    WrongPeer {
        /// The contact's name.
        expected: String,
        /// The name in the certificate of the one who answered.
        found: String,
    },
    /// The peer's certificate does not come from our network's authority, or is not valid now.
    #[error(
        "the peer's certificate was refused ({reason}); do both belong to the same network, and are the clocks right?"
    )]
    UntrustedPeer {
        /// What is wrong with it.
        reason: String,
    },
    /// The peer's certificate names nobody.
    #[error("the peer cannot be named: {0}")]
    UnnamedPeer(#[from] NameError),
    /// The peer refused our certificate, or the lack of one.
    #[error(
        "the peer refused our certificate ({reason}); do both belong to the same network, and are the clocks right?"
    )]
    RefusedByPeer {
        /// The alert it sent.
        reason: String,
    },
    /// The peer offers no X25519MLKEM768. There is no weaker fallback.
    #[error(
        "the peer does not offer the key exchange X25519MLKEM768, and nothing weaker is accepted; it needs a newer program"
    )]
    KeyExchange,
    /// The peer speaks none of our application protocols.
    #[error("the peer speaks neither {} nor {}; it is no client of ours, or of another version", Lane::Main.alpn(), Lane::Files.alpn())]
    UnknownLane,
    /// The peer takes no more connections now.
    #[error("the peer takes no more connections at the moment; try again later")]
    PeerBusy,
    /// The peer closed the connection.
    #[error("the peer closed the connection: {reason} (code {code})")]
    ClosedByPeer {
        /// Its code.
        code: u64,
        /// Its reason, cut to [`CLOSE_REASON_MAX`] bytes and without unprintable characters.
        reason: String,
    },
    /// The peer does not know the connection any more.
    #[error("the peer has forgotten the connection; it was probably started anew")]
    Forgotten,

    // The network's.
    /// Nothing was heard from the peer for too long.
    #[error("nothing was heard from the peer for too long; is it reachable?")]
    TimedOut,
    /// Something else broke the QUIC connection.
    #[error("the connection broke: {detail}")]
    Broken {
        /// What QUIC said, without unprintable characters.
        detail: String,
    },
}

/// TLS alerts (RFC 8446, section 6) stand in QUIC as error codes from 0x100 on (RFC 9001, section 4.8).
const CRYPTO: u64 = 0x100;
/// RFC 9000, section 20.1: the server takes no connection.
const CONNECTION_REFUSED: u64 = 0x02;

impl From<ConnectionError> for QuicError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => {
                Self::ClosedByPeer { code: close.error_code.into_inner(), reason: printable(&close.reason) }
            }
            ConnectionError::ConnectionClosed(close) => {
                let said = printable(&close.reason);
                match u64::from(close.error_code) {
                    CONNECTION_REFUSED => Self::PeerBusy,
                    code => from_alert(code, said, |reason| Self::RefusedByPeer { reason }),
                }
            }
            ConnectionError::TransportError(ours) => {
                let said = printable(ours.reason.as_bytes());
                from_alert(u64::from(ours.code), said, |reason| Self::UntrustedPeer { reason })
            }
            ConnectionError::Reset => Self::Forgotten,
            ConnectionError::TimedOut => Self::TimedOut,
            ConnectionError::LocallyClosed => Self::ClosedHere,
            other => Self::Broken { detail: printable(other.to_string().as_bytes()) },
        }
    }
}

fn from_alert(code: u64, said: String, certificate: impl FnOnce(String) -> QuicError) -> QuicError {
    match code.checked_sub(CRYPTO) {
        Some(40 | 71) => QuicError::KeyExchange, // handshake_failure, insufficient_security
        Some(120) => QuicError::UnknownLane,     // no_application_protocol
        Some(42..=46) => certificate(worded(said, "not valid")), // bad_certificate .. certificate_unknown
        Some(48) => certificate(worded(said, "another authority")), // unknown_ca
        Some(49) => certificate(worded(said, "not allowed")), // access_denied
        Some(116) => certificate(worded(said, "none was shown")), // certificate_required
        _ => QuicError::Broken { detail: worded(said, &format!("QUIC error {code:#x}")) },
    }
}

fn worded(said: String, otherwise: &str) -> String {
    if said.is_empty() { otherwise.to_owned() } else { said }
}

/// Text from a stranger, fit for a screen and a log: bounded, UTF-8, nothing that controls, reorders or hides text.
fn printable(bytes: &[u8]) -> String {
    let bounded = &bytes[..bytes.len().min(CLOSE_REASON_MAX)];
    String::from_utf8_lossy(bounded).chars().map(|c| if c.is_control() || deceptive(c) { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quinn::{ApplicationClose, VarInt};

    use super::*;

    #[test]
    fn a_close_reason_neither_reorders_nor_hides_text() {
        let reason = "no\u{202e}on\u{200b}\u{2066}\u{feff}\u{61c}\u{2028}\x1b[2J\n\u{e4}";
        let close = ApplicationClose { error_code: VarInt::from_u32(7), reason: Bytes::from_static(reason.as_bytes()) };
        let shown = QuicError::from(ConnectionError::ApplicationClosed(close));
        assert!(
            matches!(&shown, QuicError::ClosedByPeer { code: 7, reason } if reason == "no on      [2J \u{e4}"),
            "{shown:?}"
        );
    }

    #[test]
    fn what_is_printable_is_bounded() {
        assert!(printable(&[b'x'; 4 * CLOSE_REASON_MAX]).len() <= CLOSE_REASON_MAX);
    }
}
