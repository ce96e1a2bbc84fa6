//! What an observer on the wire writes down: times, sizes and directions, and a packet capture for other tools.

use std::path::Path;
use std::time::Duration;

use super::Way;

/// Datagrams that are remembered at most: five hours of a call. It ends there, and says so.
pub const MAX_SEEN: usize = 2_000_000;
/// Bytes kept of each datagram: QUIC's header, behind which all is encrypted.
pub const KEPT: usize = 32;

/// One datagram as it set out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// When, since the wire was laid.
    pub at: Duration,
    /// In which direction.
    pub way: Way,
    /// Bytes of UDP payload.
    pub len: usize,
    /// Whether it was passed on (once or twice), and not lost or swallowed.
    pub passed: bool,
    pub(super) head: [u8; KEPT],
}

impl Seen {
    pub(super) fn new(at: Duration, way: Way, datagram: &[u8], passed: bool) -> Self {
        let mut head = [0; KEPT];
        let kept = datagram.len().min(KEPT);
        head[..kept].copy_from_slice(&datagram[..kept]);
        Self { at, way, len: datagram.len(), passed, head }
    }

    /// Whether it is a QUIC packet with a short header: everything after the handshake (RFC 9000, section 17.3).
    pub fn is_after_handshake(&self) -> bool {
        self.len > 0 && self.head[0] & 0x80 == 0
    }
}

/// Writes a packet capture: pcap 2.4, raw IPv4, each packet with its length and its first [`KEPT`] bytes of payload.
/// The caller is 10.0.0.1, port 40001; the called 10.0.0.2, port 4433. No checksums.
pub(super) fn write_pcap(seen: &[Seen], path: &Path) -> std::io::Result<()> {
    let mut out = Vec::with_capacity(24 + seen.len() * (16 + 28 + KEPT));
    // Magic, version 2.4, no zone, no accuracy, longest packet, link type 101: packets begin with an IP header.
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 0x0001_0000, 101] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    for one in seen {
        let kept = one.len.min(KEPT);
        let seconds = u32::try_from(one.at.as_secs()).unwrap_or(u32::MAX);
        let lengths = [kept, one.len].map(|len| u32::try_from(28 + len).unwrap_or(u32::MAX));
        for word in [seconds, one.at.subsec_micros(), lengths[0], lengths[1]] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&headers(one.way, one.len));
        out.extend_from_slice(&one.head[..kept]);
    }
    std::fs::write(path, out)
}

/// IPv4 (RFC 791) and UDP (RFC 768) headers for a payload of `len` bytes.
fn headers(way: Way, len: usize) -> Vec<u8> {
    let (alice, bob) = (([10, 0, 0, 1], 40_001_u16), ([10, 0, 0, 2], 4_433_u16));
    let (from, to) = if way == Way::Forth { (alice, bob) } else { (bob, alice) };
    let udp_len = u16::try_from(8 + len).unwrap_or(u16::MAX);
    let mut headers = vec![0x45, 0];
    headers.extend_from_slice(&udp_len.saturating_add(20).to_be_bytes());
    headers.extend_from_slice(&[0, 0, 0, 0, 64, 17, 0, 0]);
    headers.extend_from_slice(&from.0);
    headers.extend_from_slice(&to.0);
    for word in [from.1, to.1, udp_len, 0] {
        headers.extend_from_slice(&word.to_be_bytes());
    }
    headers
}
