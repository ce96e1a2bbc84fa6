//! Every number that bounds what a peer or a stranger can make this crate hold, wait for or remember.

use std::time::Duration;

/// How often an idle connection sends a packet, so that the address translators on the way keep its mapping (their
/// timeouts start at about 30 s) and so that a dead path is noticed.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A connection over which nothing was heard for this long is dead. Twice [`KEEP_ALIVE`].
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// A handshake that takes longer is given up, on either side. Enough for three losses in a row (the timer of QUIC
/// starts at 1 s and doubles).
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// Incoming handshakes worked on at the same time. Each costs a signature and holds some 20 KiB.
pub const MAX_HANDSHAKES: usize = 32;

/// From this many incoming handshakes on, a caller must first show, by a stateless retry (RFC 9000, section 8.1.2),
/// that it receives at the address it sends from.
pub const RETRY_FROM_HANDSHAKES: usize = 8;

/// Callers that wait for one of the [`MAX_HANDSHAKES`] places; more are refused at once.
pub const MAX_WAITING: usize = 64;

/// Bytes held for one waiting caller. A hello with an ML-KEM share fills two packets; four leave room for a repeat.
pub const WAITING_BUFFER: u64 = 6 * 1024;

/// Connections open at once over one endpoint, dialled and accepted.
pub const MAX_CONNECTIONS: usize = 256;

/// Two-way streams a peer may have open at once in one connection.
pub const MAX_BIDI_STREAMS: u32 = 8;

/// One-way streams a peer may have open at once in one connection.
pub const MAX_UNI_STREAMS: u32 = 64;

/// Bytes that a peer may send on the main connection ahead of our reading, over all streams: control and text are small.
pub const MAIN_WINDOW: u32 = 1024 * 1024;

/// Packets that the main connection may always have on the way, whatever was lost: as many as every new connection
/// starts with (RFC 9002, section 7.2). Cubic hardly grows for a sender who, as a voice, does not fill its window, but each
/// loss shrinks it, to two packets at last: simulated with 50 voice packets a second, a round trip of 300 ms and 3 % of
/// loss, the 99th percentile waited 257 ms in our own buffer.
pub const MAIN_WINDOW_PACKETS: u64 = 10;

/// As [`MAIN_WINDOW`] for the files' connection, at least: on a short path more would only wait in the socket's buffer
/// ([`SOCKET_BUFFER`]) and be lost where the reader is slow.
pub const FILES_WINDOW_MIN: u32 = 4 * 1024 * 1024;

/// As [`MAIN_WINDOW`] for the files' connection, at most.
pub const FILES_WINDOW_MAX: u32 = 32 * 1024 * 1024;

/// Between the two, a files' connection gets what lies on the way at this rate: bytes per second of round trip.
/// A little above 1 Gbit/s.
pub const FILES_RATE: u32 = 160_000_000;

/// Bytes that a peer may send on one stream of the files' connection ahead of our reading.
pub const FILES_STREAM_WINDOW: u32 = 16 * 1024 * 1024;

/// The longest voice datagram, in bytes. Fits the smallest packet QUIC allows (1200 bytes of UDP leave 1162).
pub const VOICE_DATAGRAM_MAX: usize = 1100;

/// Bytes of voice that wait for the network to take them; beyond, the oldest frame is dropped. Late voice is worse than
/// lost voice: simulated on a link of two thirds of the voice's rate, the median delay was 1.05 s with 4 KiB and 5 s with
/// quinn's default of 1 MiB. Must exceed [`VOICE_DATAGRAM_MAX`] and 32 bytes of quinn's bookkeeping.
pub const VOICE_SEND_BUFFER: usize = 4 * 1024;

/// Bytes of voice that wait for us to read them; beyond, the oldest frame is dropped. 64 frames of 200 bytes are more
/// than a second.
pub const VOICE_RECEIVE_BUFFER: usize = 16 * 1024;

/// What we ask of the operating system for the socket's send and receive buffers, each, in bytes; it may give less.
pub const SOCKET_BUFFER: usize = 4 * 1024 * 1024;

/// The longest name taken from a certificate, in bytes (the limit of a DNS name).
pub const PEER_NAME_MAX: usize = 253;

/// The longest close reason sent or shown, in bytes.
pub const CLOSE_REASON_MAX: usize = 256;

/// Datagrams that an [`Impairment`](crate::Impairment) holds back at once; further ones are lost, and counted apart.
pub const DELAY_QUEUE: usize = 16 * 1024;

/// The longest delay and the largest jitter of an [`Impairment`](crate::Impairment).
pub const DELAY_MAX: Duration = Duration::from_secs(10);
