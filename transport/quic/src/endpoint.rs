//! One UDP socket that both dials and is dialled.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quinn::{AsyncUdpSocket, EndpointConfig, Incoming, NoneTokenStore, TokioRuntime, ValidationTokenConfig, VarInt};
use rustls_pki_types::CertificateDer;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::connection::Connection;
use crate::error::QuicError;
use crate::identity::QuicIdentity;
use crate::impair::{DelayLine, WireCounts};
use crate::lane::{self, Lane};
use crate::limits::{
    HANDSHAKE_TIMEOUT, MAX_CONNECTIONS, MAX_HANDSHAKES, MAX_WAITING, RETRY_FROM_HANDSHAKES, WAITING_BUFFER,
};
use crate::pace::{CallSwitch, Pace};
use crate::reset::ResetKey;
use crate::tls::{SERVER_NAME, Tls, quic_client, quic_server};
use crate::wire::{SocketBuffers, Wire, WireSettings};

/// A client's one socket. Clones are handles to the same endpoint.
#[derive(Clone)]
pub struct Endpoint {
    inner: Arc<Inner>,
}

struct Inner {
    quic: quinn::Endpoint,
    tls: Tls,
    /// The settings of connections that are dialled to us, but for their congestion control.
    server: quinn::ServerConfig,
    call: CallSwitch,
    delay_line: Option<Arc<DelayLine>>,
    buffers: SocketBuffers,
    pad_packets: bool,
    settings: WireSettings,
    socket: Arc<dyn AsyncUdpSocket>,
    /// Where the socket was opened.
    bound: SocketAddr,
    handshakes: Mutex<JoinSet<Result<Connection, QuicError>>>,
    retried: AtomicU64,
    refused: AtomicU64,
}

/// Callers that were not let straight in, because of a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IncomingCounts {
    /// Asked first to show that they receive at their address: [`RETRY_FROM_HANDSHAKES`] others were being served.
    pub retried: u64,
    /// Refused: [`MAX_CONNECTIONS`] were open. Those beyond [`MAX_WAITING`] are refused uncounted.
    pub refused: u64,
}

impl Endpoint {
    /// Opens a socket at `addr` (port 0: any free one), where peers with a certificate under one of `roots` may call.
    ///
    /// Must be called inside a tokio runtime. Nobody is answered until [`Self::accept`] is awaited.
    pub fn bind(
        addr: SocketAddr,
        identity: QuicIdentity,
        roots: &[CertificateDer<'_>],
        settings: WireSettings,
    ) -> Result<Self, QuicError> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(QuicError::NoRuntime);
        }
        if let Some(impairment) = &settings.impairment {
            impairment.check()?;
        }
        let socket_error = |source| QuicError::Socket { addr, source };
        let wire = Wire::open(addr, &settings).map_err(socket_error)?;
        let bound = wire.socket.local_addr().map_err(socket_error)?;
        let reset_key = Arc::new(ResetKey::of(&identity.key));
        let tls = Tls::new(identity, roots, settings.key_log.clone())?;
        let call = CallSwitch::new();
        let server = server_config(&tls)?;
        let config = EndpointConfig::new(reset_key);
        let quic = quinn::Endpoint::new_with_abstract_socket(
            config,
            Some(server.clone()),
            Arc::clone(&wire.socket),
            Arc::new(TokioRuntime),
        )
        .map_err(socket_error)?;
        Ok(Self {
            inner: Arc::new(Inner {
                quic,
                tls,
                server,
                call,
                delay_line: wire.delay_line,
                buffers: wire.buffers,
                pad_packets: settings.pad_packets,
                settings,
                socket: wire.socket,
                bound,
                handshakes: Mutex::default(),
                retried: AtomicU64::new(0),
                refused: AtomicU64::new(0),
            }),
        })
    }

    /// Our own name (SAE ID), from our certificate.
    pub fn name(&self) -> &str {
        self.inner.tls.name()
    }

    /// The switch by which all files that are sent from here give way while a call is up.
    pub fn call_switch(&self) -> &CallSwitch {
        &self.inner.call
    }

    /// The address of the socket.
    pub fn local_addr(&self) -> Result<SocketAddr, QuicError> {
        let unspecified = SocketAddr::from(([0, 0, 0, 0], 0));
        self.inner.quic.local_addr().map_err(|source| QuicError::Socket { addr: unspecified, source })
    }

    /// Lets the connections that we dialled go on from this machine's new address (RFC 9000, section 9): each tells its
    /// peer at once. Those that we accepted cannot move by themselves; their peers dial anew.
    ///
    /// A socket at the unspecified address serves every address of the machine and is kept. One at a single address is
    /// replaced: at that address if it is still there, else at all, on another port. Must be called inside a tokio runtime.
    pub fn rebind(&self) -> Result<(), QuicError> {
        let (inner, addr) = (&self.inner, self.inner.bound);
        let socket = if addr.ip().is_unspecified() {
            Arc::clone(&inner.socket)
        } else {
            let any = if addr.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0_u16; 8]) };
            let opened = [addr.ip(), any].map(|ip| SocketAddr::new(ip, 0));
            let wire = Wire::open(opened[0], &inner.settings).or_else(|_gone| Wire::open(opened[1], &inner.settings));
            wire.map_err(|source| QuicError::Socket { addr, source })?.socket
        };
        inner.quic.rebind_abstract(socket).map_err(|source| QuicError::Socket { addr, source })
    }

    /// What the operating system gave the socket.
    pub fn socket_buffers(&self) -> SocketBuffers {
        self.inner.buffers
    }

    /// What the impairment has done so far; all zero without one.
    pub fn wire_counts(&self) -> WireCounts {
        Wire::counts(self.inner.delay_line.as_ref())
    }

    /// Calls the contact `expected_peer` at `addr`.
    ///
    /// Succeeds only if the one who answers has a certificate of the network with exactly that name. Whether it accepts
    /// *our* certificate shows with the first thing that is read from it: TLS 1.3 lets the dialling side finish first.
    pub async fn dial(&self, addr: SocketAddr, expected_peer: &str, lane: Lane) -> Result<Connection, QuicError> {
        let inner = &self.inner;
        if inner.quic.open_connections() >= MAX_CONNECTIONS {
            return Err(QuicError::TooManyConnections);
        }
        let (tls, verifier) = inner.tls.client(expected_peer, lane)?;
        let mut config = quinn::ClientConfig::new(Arc::new(quic_client(tls)));
        config.transport_config(lane::dialled(lane, inner.pad_packets, &inner.call));
        // Address tokens are remembered by server name, which is the same for everyone; and they link calls.
        config.token_store(Arc::new(NoneTokenStore));
        let connecting = inner
            .quic
            .connect_with(config, addr, SERVER_NAME)
            .map_err(|error| QuicError::Undiallable { addr, reason: error.to_string() })?;
        let quic = match timeout(HANDSHAKE_TIMEOUT, connecting).await {
            Err(_elapsed) => return Err(QuicError::TimedOut),
            Ok(Err(error)) => return Err(verifier.refusal().unwrap_or_else(|| error.into())),
            Ok(Ok(quic)) => quic,
        };
        let connection = Connection::new(quic)?;
        if connection.lane() != lane {
            return Err(QuicError::UnknownLane);
        }
        lane::widen(connection.quic(), lane);
        tracing::debug!(?lane, "dialled");
        Ok(connection)
    }

    /// The next peer that called and proved its name, or the reason why a caller was turned away (a stranger can cause
    /// these: count them, and go on). `None` when the endpoint is closed. Cancel-safe.
    ///
    /// Up to [`MAX_HANDSHAKES`] callers are served side by side, so that a slow one holds nobody up.
    pub async fn accept(&self) -> Option<Result<Connection, QuicError>> {
        let mut handshakes = self.inner.handshakes.lock().await;
        let mut open = true;
        loop {
            tokio::select! {
                Some(finished) = handshakes.join_next() => {
                    return Some(finished.unwrap_or_else(|error| Err(QuicError::Broken { detail: error.to_string() })));
                }
                incoming = self.inner.quic.accept(), if open && handshakes.len() < MAX_HANDSHAKES => match incoming {
                    Some(incoming) => self.serve(incoming, &mut handshakes),
                    None => open = false,
                },
                else => return None,
            }
        }
    }

    /// What the limits on callers have done so far.
    pub fn incoming_counts(&self) -> IncomingCounts {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        IncomingCounts { retried: count(&self.inner.retried), refused: count(&self.inner.refused) }
    }

    /// Connections open now, dialled and accepted, with those whose handshake is under way.
    pub fn open_connections(&self) -> usize {
        self.inner.quic.open_connections()
    }

    /// Closes all connections with `code` and `reason`, and stops listening.
    pub fn close(&self, code: u32, reason: &str) {
        self.inner.quic.close(VarInt::from_u32(code), reason.as_bytes());
    }

    /// Waits until all connections are over and their peers were told; after [`Self::close`], before the program ends.
    ///
    /// To be bounded by a timeout of the caller's own. A caller who gives up while the network is away may be heard by
    /// its last word alone, the one that closes (after an outage, say). quinn-proto 0.11.19 makes a connection of it that
    /// is over from its first packet on and for which it starts no timer but the idle one (`handle_first_packet` does not
    /// do what `handle_packet` does after a close), so that [`Self::close`] passes it over and it lingers for
    /// [`IDLE_TIMEOUT`](crate::limits::IDLE_TIMEOUT). There is nothing left to tell its peer.
    pub async fn wait_idle(&self) {
        self.inner.quic.wait_idle().await;
    }

    fn serve(&self, incoming: Incoming, handshakes: &mut JoinSet<Result<Connection, QuicError>>) {
        if self.inner.quic.open_connections() >= MAX_CONNECTIONS {
            self.inner.refused.fetch_add(1, Ordering::Relaxed);
            incoming.refuse();
        } else if handshakes.len() >= RETRY_FROM_HANDSHAKES && incoming.may_retry() {
            self.inner.retried.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = incoming.retry() {
                error.into_incoming().refuse();
            }
        } else {
            let pace = Pace::new(&self.inner.call, None);
            let mut server = self.inner.server.clone();
            server.transport_config(lane::accepted(self.inner.pad_packets, pace.clone()));
            handshakes.spawn(answer(incoming, server, pace));
        }
    }
}

/// Our own address from which packets to `remote` leave at the moment; `None` without a way there. Sends nothing.
pub fn source_address(remote: SocketAddr) -> Option<IpAddr> {
    let any = if remote.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0_u16; 8]) };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(remote).ok()?;
    socket.local_addr().ok().map(|addr| addr.ip())
}

async fn answer(incoming: Incoming, server: quinn::ServerConfig, pace: Pace) -> Result<Connection, QuicError> {
    let connecting = incoming.accept_with(Arc::new(server))?;
    let quic = timeout(HANDSHAKE_TIMEOUT, connecting).await.or(Err(QuicError::TimedOut))??;
    let connection = Connection::new(quic)?;
    pace.set_lane(connection.lane());
    lane::widen(connection.quic(), connection.lane());
    tracing::debug!(lane = ?connection.lane(), "answered");
    Ok(connection)
}

fn server_config(tls: &Tls) -> Result<quinn::ServerConfig, QuicError> {
    let mut no_tokens = ValidationTokenConfig::default();
    no_tokens.sent(0);
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(quic_server(tls.server()?)));
    config
        .validation_token_config(no_tokens)
        .max_incoming(MAX_WAITING)
        .incoming_buffer_size(WAITING_BUFFER)
        .incoming_buffer_size_total(WAITING_BUFFER * MAX_WAITING as u64);
    Ok(config)
}
