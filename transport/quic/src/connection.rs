//! One connection to one peer, of one lane.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use quinn::crypto::rustls::HandshakeData;
use quinn::{ConnectionError, RecvStream, SendDatagramError, SendStream, VarInt};
use rustls::NamedGroup;
use rustls_pki_types::CertificateDer;
use vernam_key::SecretBytes;

use crate::error::QuicError;
use crate::identity::name_in;
use crate::lane::Lane;
use crate::limits::{CLOSE_REASON_MAX, VOICE_DATAGRAM_MAX};
use crate::tls::KEY_EXCHANGE;

/// Length of an exported secret, in bytes.
pub const EXPORT_LEN: usize = 32;

/// A connection to a peer whose certificate was checked. Clones are handles to the same connection, which ends when it
/// is closed or when the last handle and stream is dropped.
#[derive(Clone, Debug)]
pub struct Connection {
    quic: quinn::Connection,
    lane: Lane,
    peer: Arc<str>,
    voice_offered: Arc<AtomicU64>,
}

/// How a connection is doing. Counts are since its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// The round-trip time, smoothed.
    pub rtt: Duration,
    /// The largest UDP payload that the path is known to take, in bytes.
    pub mtu: u16,
    /// The congestion window: bytes that may be on the way.
    pub congestion_window: u64,
    /// QUIC packets sent.
    pub sent_packets: u64,
    /// Of these, held for lost.
    pub lost_packets: u64,
    /// UDP payload sent, in bytes.
    pub sent_bytes: u64,
    /// UDP payload received, in bytes.
    pub received_bytes: u64,
    /// Voice frames given to [`Connection::send_voice`].
    pub voice_offered: u64,
    /// Of these, put into packets. The rest was dropped as stale, or still waits (at most a few frames).
    pub voice_sent: u64,
}

impl Connection {
    /// Takes a finished handshake over: reads the lane and the peer's name.
    pub(crate) fn new(quic: quinn::Connection) -> Result<Self, QuicError> {
        let handshake = quic.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
        let protocol = handshake.and_then(|data| data.protocol);
        let lane = protocol.as_deref().and_then(Lane::from_alpn).ok_or(QuicError::UnknownLane)?;
        let chain = quic.peer_identity().and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
        let leaf = chain.as_ref().and_then(|chain| chain.first());
        let leaf = leaf.ok_or_else(|| QuicError::UntrustedPeer { reason: "none was shown".to_owned() })?;
        let peer = name_in(leaf)?.into();
        Ok(Self { quic, lane, peer, voice_offered: Arc::default() })
    }

    pub(crate) fn quic(&self) -> &quinn::Connection {
        &self.quic
    }

    /// Which of the two connections to the peer this is.
    pub fn lane(&self) -> Lane {
        self.lane
    }

    /// The peer's name (SAE ID), from its certificate, which the network's authority signed.
    pub fn peer_name(&self) -> &str {
        &self.peer
    }

    /// Tells connections of an endpoint apart, as long as this one lives.
    pub fn stable_id(&self) -> usize {
        self.quic.stable_id()
    }

    /// The peer's address at the moment.
    pub fn remote_address(&self) -> SocketAddr {
        self.quic.remote_address()
    }

    /// The key exchange of the handshake: always [`NamedGroup::X25519MLKEM768`], because both sides offer nothing else.
    pub fn negotiated_key_exchange(&self) -> NamedGroup {
        KEY_EXCHANGE
    }

    /// A secret that only the two ends of this one connection can compute (RFC 8446, section 7.5): the same on both
    /// sides, another for every connection, label and context.
    pub fn exporter(&self, label: &[u8], context: &[u8]) -> Result<SecretBytes, QuicError> {
        let mut secret = SecretBytes::from_vec(vec![0; EXPORT_LEN]);
        let output = secret.expose_mut("filled in place, so that no copy is left behind");
        self.quic.export_keying_material(output, label, context).or(Err(QuicError::Exporter))?;
        Ok(secret)
    }

    /// Sends one voice frame as one datagram of at most [`VOICE_DATAGRAM_MAX`] bytes. Never waits: where the network is
    /// too slow, the oldest waiting frame is dropped.
    pub fn send_voice(&self, frame: Bytes) -> Result<(), QuicError> {
        if frame.len() > VOICE_DATAGRAM_MAX {
            return Err(QuicError::VoiceTooLong { len: frame.len() });
        }
        if self.lane != Lane::Main {
            return Err(QuicError::NoVoice);
        }
        let len = frame.len();
        self.quic.send_datagram(frame).map_err(|error| match error {
            SendDatagramError::TooLarge => QuicError::VoiceTooLong { len },
            SendDatagramError::UnsupportedByPeer | SendDatagramError::Disabled => QuicError::NoVoice,
            SendDatagramError::ConnectionLost(error) => error.into(),
        })?;
        self.voice_offered.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// The next voice frame, in the order of arrival. Cancel-safe.
    pub async fn read_voice(&self) -> Result<Bytes, QuicError> {
        if self.lane != Lane::Main {
            return Err(QuicError::NoVoice);
        }
        Ok(self.quic.read_datagram().await?)
    }

    /// Opens a one-way stream. Waits while the peer allows no more; the peer learns of it with the first bytes.
    pub async fn open_uni(&self) -> Result<SendStream, QuicError> {
        Ok(self.quic.open_uni().await?)
    }

    /// The next one-way stream that the peer opened. Cancel-safe.
    pub async fn accept_uni(&self) -> Result<RecvStream, QuicError> {
        Ok(self.quic.accept_uni().await?)
    }

    /// Opens a two-way stream; as [`Self::open_uni`].
    pub async fn open_bi(&self) -> Result<(SendStream, RecvStream), QuicError> {
        Ok(self.quic.open_bi().await?)
    }

    /// The next two-way stream that the peer opened. Cancel-safe.
    pub async fn accept_bi(&self) -> Result<(SendStream, RecvStream), QuicError> {
        Ok(self.quic.accept_bi().await?)
    }

    /// Ends the connection at once: what is not delivered yet is lost. The peer sees `code` and the first
    /// [`CLOSE_REASON_MAX`] bytes of `reason`.
    pub fn close(&self, code: u32, reason: &str) {
        let bytes = reason.as_bytes();
        self.quic.close(VarInt::from_u32(code), &bytes[..bytes.len().min(CLOSE_REASON_MAX)]);
    }

    /// Waits for the end of the connection, and says why it ended. Cancel-safe.
    pub async fn closed(&self) -> QuicError {
        self.quic.closed().await.into()
    }

    /// Why the connection ended, or `None` while it lives. A stream that fails with a lost connection finds the reason
    /// here.
    pub fn close_reason(&self) -> Option<QuicError> {
        self.quic.close_reason().map(ConnectionError::into)
    }

    /// How the connection is doing.
    pub fn stats(&self) -> Stats {
        let all = self.quic.stats();
        Stats {
            rtt: all.path.rtt,
            mtu: all.path.current_mtu,
            congestion_window: all.path.cwnd,
            sent_packets: all.path.sent_packets,
            lost_packets: all.path.lost_packets,
            sent_bytes: all.udp_tx.bytes,
            received_bytes: all.udp_rx.bytes,
            voice_offered: self.voice_offered.load(Ordering::Relaxed),
            voice_sent: all.frame_tx.datagram,
        }
    }
}
