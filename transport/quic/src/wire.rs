//! The socket under an endpoint: the plain one, or one with an impairment or a tap in between.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};

use crate::impair::{DelayLine, Fate, Impairment, WireCounts};
use crate::limits::SOCKET_BUFFER;
use crate::tap::{Passage, Tap};

/// What lies between an endpoint and the network. The default is nothing: quinn's own socket at quinn's own speed.
#[derive(Clone, Default)]
pub struct WireSettings {
    /// Loses and delays what is sent.
    pub impairment: Option<Impairment>,
    /// Records sizes and times.
    pub tap: Option<Tap>,
    /// Pads every packet of the main connection to the largest size that the path takes.
    ///
    /// Without it a voice packet's size on the wire varies by the few bytes of an acknowledgement that rides along;
    /// that depends on when packets arrive and on nothing that is said. With it all but quinn's rare loss probes are the
    /// same, at the price of some
    /// 0.5 Mbit/s for a voice at 50 packets a second. For connections that are accepted it holds on both lanes.
    pub pad_packets: bool,
    /// Gets the TLS secrets of every connection, so that a test can decrypt its own capture. **For tests only**: whoever
    /// has these secrets reads the outer layer.
    pub key_log: Option<Arc<dyn rustls::KeyLog>>,
}

impl fmt::Debug for WireSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WireSettings")
            .field("impairment", &self.impairment)
            .field("tap", &self.tap)
            .field("pad_packets", &self.pad_packets)
            .field("key_log", &self.key_log.is_some())
            .finish()
    }
}

/// An opened socket and what is known of it.
pub(crate) struct Wire {
    pub(crate) socket: Arc<dyn AsyncUdpSocket>,
    pub(crate) delay_line: Option<Arc<DelayLine>>,
    pub(crate) buffers: SocketBuffers,
}

/// What the operating system gave, in bytes, of the [`SOCKET_BUFFER`] asked for. Below 1 MiB a fast file loses packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketBuffers {
    /// For what is sent.
    pub send: usize,
    /// For what is received.
    pub receive: usize,
}

impl Wire {
    pub(crate) fn open(addr: SocketAddr, settings: &WireSettings) -> io::Result<Self> {
        let socket = UdpSocket::bind(addr)?;
        let buffers = enlarge(&socket)?;
        let plain = TokioRuntime.wrap_udp_socket(socket)?;
        if settings.impairment.is_none() && settings.tap.is_none() {
            return Ok(Self { socket: plain, delay_line: None, buffers });
        }
        let delay_line = settings.impairment.map(|impairment| DelayLine::start(impairment, Arc::clone(&plain)));
        let tap = settings.tap.clone();
        let socket = Arc::new(WatchedSocket { plain, delay_line: delay_line.clone(), tap });
        Ok(Self { socket, delay_line, buffers })
    }

    pub(crate) fn counts(delay_line: Option<&Arc<DelayLine>>) -> WireCounts {
        delay_line.map(|line| line.counts()).unwrap_or_default()
    }
}

fn enlarge(socket: &UdpSocket) -> io::Result<SocketBuffers> {
    let state = UdpSocketState::new(socket.into())?;
    // Asking for more than the system allows is no error there: it gives what it has.
    for result in [
        state.set_send_buffer_size(socket.into(), SOCKET_BUFFER),
        state.set_recv_buffer_size(socket.into(), SOCKET_BUFFER),
    ] {
        if let Err(error) = result {
            tracing::debug!(%error, "the socket keeps its small buffer");
        }
    }
    Ok(SocketBuffers { send: state.send_buffer_size(socket.into())?, receive: state.recv_buffer_size(socket.into())? })
}

/// A socket with something in between. It sends one datagram at a time, so that each is seen and judged by itself.
#[derive(Debug)]
struct WatchedSocket {
    plain: Arc<dyn AsyncUdpSocket>,
    delay_line: Option<Arc<DelayLine>>,
    tap: Option<Tap>,
}

impl WatchedSocket {
    fn record(&self, passage: Passage, peer: SocketAddr, len: usize) {
        if let Some(tap) = &self.tap {
            tap.record(passage, peer, len);
        }
    }
}

impl AsyncUdpSocket for WatchedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        if self.delay_line.is_some() { Box::pin(AlwaysWritable) } else { Arc::clone(&self.plain).create_io_poller() }
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let Some(delay_line) = &self.delay_line else {
            self.plain.try_send(transmit)?;
            self.record(Passage::Sent, transmit.destination, transmit.contents.len());
            return Ok(());
        };
        let passage = match delay_line.offer(transmit, Instant::now()) {
            Fate::Held => Passage::Sent,
            Fate::Dropped => Passage::Dropped,
        };
        self.record(passage, transmit.destination, transmit.contents.len());
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let polled = self.plain.poll_recv(cx, bufs, meta);
        if let Poll::Ready(Ok(count)) = polled {
            for received in meta.iter().take(count) {
                // The kernel may hand over several datagrams of one size in a row, the last one shorter.
                let mut left = received.len;
                while left > 0 {
                    let len = received.stride.clamp(1, left);
                    self.record(Passage::Received, received.addr, len);
                    left -= len;
                }
            }
        }
        polled
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.plain.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        1
    }

    fn max_receive_segments(&self) -> usize {
        self.plain.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.plain.may_fragment()
    }
}

impl Drop for WatchedSocket {
    fn drop(&mut self) {
        if let Some(delay_line) = &self.delay_line {
            delay_line.close();
        }
    }
}

/// A delay line takes everything at once; what it cannot hold is lost, as on a network.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
