//! The two connections between a pair of clients, and how the transport is set for each.

use std::sync::Arc;
use std::time::Duration;

use quinn::{IdleTimeout, TransportConfig, VarInt};

use crate::limits::{
    FILES_RATE, FILES_STREAM_WINDOW, FILES_WINDOW_MAX, FILES_WINDOW_MIN, IDLE_TIMEOUT, KEEP_ALIVE, MAIN_WINDOW,
    MAX_BIDI_STREAMS, MAX_UNI_STREAMS, VOICE_RECEIVE_BUFFER, VOICE_SEND_BUFFER,
};
use crate::pace::{CallSwitch, Pace};

/// Which of the two connections between a pair of clients.
///
/// They share the socket but not the congestion control, so that a file never queues in front of a voice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Control, voice and text. The application protocol is `vernam/1`.
    Main,
    /// Files. The application protocol is `vernam-files/1`.
    Files,
}

impl Lane {
    /// Both lanes.
    pub const ALL: [Self; 2] = [Self::Main, Self::Files];

    /// The name of the lane's application protocol in the TLS handshake (ALPN, RFC 7301).
    pub fn alpn(self) -> &'static str {
        match self {
            Self::Main => "vernam/1",
            Self::Files => "vernam-files/1",
        }
    }

    /// The transport settings of a connection that is dialled on this lane, its congestion control with them. Endpoints
    /// take them by themselves; they are here for whoever drives quinn without sockets, as a simulation does.
    ///
    /// When the handshake is done, [`Self::windows`] are to be set.
    pub fn transport(self, call: &CallSwitch) -> Arc<TransportConfig> {
        dialled(self, false, call)
    }

    /// The windows of a connection on this lane whose round-trip time is `rtt`.
    pub fn windows(self, rtt: Duration) -> Windows {
        match self {
            Self::Main => Windows { receive: MAIN_WINDOW, send: MAIN_WINDOW.into() },
            Self::Files => Windows { receive: files_window(rtt), send: FILES_WINDOW_MAX.into() },
        }
    }

    pub(crate) fn from_alpn(protocol: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|lane| lane.alpn().as_bytes() == protocol)
    }
}

/// How much may be under way on all streams of a connection together, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// What the peer may send ahead of our reading.
    pub receive: u32,
    /// What we keep until the peer has acknowledged it.
    pub send: u64,
}

/// The transport of a connection that we dial.
pub(crate) fn dialled(lane: Lane, pad_packets: bool, call: &CallSwitch) -> Arc<TransportConfig> {
    let mut transport = common(Pace::new(call, Some(lane)));
    match lane {
        Lane::Main => transport.pad_to_mtu(pad_packets),
        Lane::Files => transport.datagram_receive_buffer_size(None),
    };
    Arc::new(transport)
}

/// The transport of a connection that we accept, whose lane is not known before the peer's hello is read, and then told
/// to its `pace`.
pub(crate) fn accepted(pad_packets: bool, pace: Pace) -> Arc<TransportConfig> {
    let mut transport = common(pace);
    transport.pad_to_mtu(pad_packets);
    Arc::new(transport)
}

/// Gives a connection the windows of its lane, when the lane and the round-trip time are known. Every connection starts
/// with the main lane's.
pub(crate) fn widen(connection: &quinn::Connection, lane: Lane) {
    if lane == Lane::Files {
        let windows = lane.windows(connection.rtt());
        connection.set_receive_window(VarInt::from_u32(windows.receive));
        connection.set_send_window(windows.send);
    }
}

fn files_window(rtt: Duration) -> u32 {
    let on_the_way =
        u64::from(FILES_RATE).saturating_mul(u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)) / 1_000_000;
    u32::try_from(on_the_way).unwrap_or(u32::MAX).clamp(FILES_WINDOW_MIN, FILES_WINDOW_MAX)
}

fn common(pace: Pace) -> TransportConfig {
    let mut transport = TransportConfig::default();
    let idle = IdleTimeout::try_from(IDLE_TIMEOUT).expect("30 s fit a QUIC idle timeout");
    transport
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(idle))
        .max_concurrent_bidi_streams(VarInt::from_u32(MAX_BIDI_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(MAX_UNI_STREAMS))
        // Cannot be changed later, so it is the larger lane's; the window of the whole connection bounds what is held.
        .stream_receive_window(VarInt::from_u32(FILES_STREAM_WINDOW))
        .receive_window(VarInt::from_u32(MAIN_WINDOW))
        .send_window(MAIN_WINDOW.into())
        .datagram_send_buffer_size(VOICE_SEND_BUFFER)
        .datagram_receive_buffer_size(Some(VOICE_RECEIVE_BUFFER))
        .congestion_controller_factory(Arc::new(pace))
        // The spin bit would show the round-trip time to everyone on the path.
        .allow_spin(false);
    transport
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_way_gets_a_larger_window_within_bounds() {
        let of = |millis| files_window(Duration::from_millis(millis));
        assert_eq!((of(0), of(26)), (FILES_WINDOW_MIN, FILES_WINDOW_MIN));
        assert_eq!(of(100), 16_000_000);
        assert_eq!((of(1000), files_window(Duration::MAX)), (FILES_WINDOW_MAX, FILES_WINDOW_MAX));
    }

    #[test]
    fn the_two_protocols_are_told_apart() {
        for lane in Lane::ALL {
            assert_eq!(Lane::from_alpn(lane.alpn().as_bytes()), Some(lane));
        }
        assert_eq!(Lane::from_alpn(b"vernam/2"), None);
    }
}
