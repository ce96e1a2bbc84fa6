//! The listening side: TLS and connections.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::identity::{self, Caller};
use crate::kme::Shared;
use crate::peer::Peer;
use crate::{KmeError, TlsIdentity, route};

/// The most header lines of a request.
const MAX_HEADERS: usize = 64;
/// The longest head of a request, in bytes; also hyper's read buffer.
const MAX_HEAD: usize = 32 << 10;
/// How long to wait when the system refuses to accept connections (too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often expired keys are erased and unheard messages sent again.
const HOUSEKEEPING: Duration = Duration::from_secs(2);

/// A serving KME. Dropping the handle does not stop it.
pub struct KmeHandle {
    local_addr: SocketAddr,
    stop: Arc<Notify>,
    task: JoinHandle<()>,
}

impl KmeHandle {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Takes no more connections, lets requests under way end, and returns when all is closed.
    pub async fn shutdown(self) {
        self.stop.notify_one();
        self.finished().await;
    }

    /// Waits for the end that the shutdown signal brings.
    pub async fn finished(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the KME's server ended badly");
        }
    }
}

struct Service {
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    acceptor: TlsAcceptor,
    callers: Mutex<BTreeMap<Caller, usize>>,
}

pub(crate) fn start(
    shared: Arc<Shared>,
    listener: TcpListener,
    tls: &TlsIdentity,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<KmeHandle, KmeError> {
    let local_addr = listener.local_addr()?;
    let peer = Arc::new(Peer::new(&shared.config, tls)?);
    let acceptor = TlsAcceptor::from(Arc::new(server_config(tls)?));
    let service = Arc::new(Service { shared, peer, acceptor, callers: Mutex::default() });
    let stop = Arc::new(Notify::new());
    let stopped = Arc::clone(&stop);
    let task = tokio::spawn(async move {
        let shutdown = async {
            tokio::select! {
                () = shutdown => {}
                () = stopped.notified() => {}
            }
        };
        service.run(listener, shutdown).await;
    });
    Ok(KmeHandle { local_addr, stop, task })
}

fn server_config(tls: &TlsIdentity) -> Result<ServerConfig, KmeError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for root in &tls.roots {
        roots.add(root.clone()).map_err(|error| KmeError::Tls(format!("root certificate: {error}")))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| KmeError::Tls(format!("root certificates: {error}")))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| KmeError::Tls(error.to_string()))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(tls.chain.clone(), tls.key.clone_key())
        .map_err(|error| KmeError::Tls(format!("certificate chain and private key: {error}")))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

impl Service {
    async fn run(self: Arc<Self>, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let limits = self.shared.config.limits;
        let slots = Arc::new(Semaphore::new(limits.max_connections));
        let mut handshakes = Handshakes::default();
        let (stop, stopping) = watch::channel(false);
        let mut connections = JoinSet::new();
        let (requests_ended, ended) = watch::channel(false);
        let housekeeping = tokio::spawn(Arc::clone(&self).keep_house(ended));
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(_ended) = connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((tcp, _)) => {
                        let done = Arc::new(AtomicBool::new(false));
                        let connection = self.clone().connection(tcp, slots.clone(), done.clone(), stopping.clone());
                        handshakes.admit(done, connections.spawn(connection), limits.max_handshakes);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "no connection could be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        stop.send_replace(true);
        let end = async {
            while connections.join_next().await.is_some() {}
            self.peer.turns.all_over().await;
        };
        if timeout(limits.shutdown_grace, end).await.is_err() {
            tracing::warn!("some requests did not end in time");
        }
        connections.shutdown().await;
        requests_ended.send_replace(true);
        if timeout(limits.shutdown_grace, housekeeping).await.is_err() {
            tracing::debug!("the peer does not hear our last messages");
        }
    }

    /// Erases what has expired, and tells the peer what it must still be told; a last time after `stopping`.
    async fn keep_house(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        loop {
            let stop = tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => true,
                _either = timeout(HOUSEKEEPING, self.shared.outbox.news()) => false,
            };
            let expired = self.shared.ledger().expire(self.shared.now());
            if expired > 0 {
                tracing::info!(expired, "keys that nobody collected were erased");
            }
            let sent = self.peer.send(&self.shared.outbox).await;
            if stop {
                return;
            }
            if let Err(error) = sent {
                tracing::debug!(%error, "the peer will be told later");
                let _either = timeout(HOUSEKEEPING, stopping.wait_for(|stop| *stop)).await;
            }
        }
    }

    async fn connection(
        self: Arc<Self>,
        tcp: TcpStream,
        slots: Arc<Semaphore>,
        handshake_done: Arc<AtomicBool>,
        mut stopping: watch::Receiver<bool>,
    ) {
        let limits = &self.shared.config.limits;
        let _best_effort = tcp.set_nodelay(true);
        let tls = tokio::select! {
            tls = timeout(limits.handshake_timeout, self.acceptor.accept(tcp)) => tls,
            _ = stopping.wait_for(|stop| *stop) => return,
        };
        let tls = match tls {
            Ok(Ok(tls)) => tls,
            Ok(Err(error)) => return tracing::debug!(error = refused_in_words(&error), "a TLS handshake failed"),
            Err(_late) => return tracing::debug!("a TLS handshake took too long"),
        };
        let Some(leaf) = tls.get_ref().1.peer_certificates().and_then(|chain| chain.first()) else { return };
        let caller = identity::caller(&self.shared.config, leaf);
        let (Ok(_slot), Some(_seat)) = (slots.try_acquire(), Seat::take(&self, &caller)) else {
            return tracing::warn!(?caller, "too many connections, or too many of one caller");
        };
        handshake_done.store(true, Ordering::Relaxed);
        let service = service_fn(|request| {
            let (service, caller) = (Arc::clone(&self), caller.clone());
            async move { Ok::<_, Infallible>(route::respond(&service.shared, &service.peer, &caller, request).await) }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(limits.idle_timeout);
        http.max_headers(MAX_HEADERS).max_buf_size(MAX_HEAD);
        let mut connection = pin!(http.serve_connection(TokioIo::new(tls), service));
        tokio::select! {
            ended = connection.as_mut() => return log_end(ended),
            _ = stopping.wait_for(|stop| *stop) => {}
            () = tokio::time::sleep(limits.connection_lifetime) => {}
        }
        connection.as_mut().graceful_shutdown();
        if let Ok(ended) = timeout(limits.shutdown_grace, connection).await {
            log_end(ended);
        }
    }
}

/// Connections whose holder is not known yet. When there are too many, the oldest has to go: a handshake takes
/// milliseconds, so whoever takes long is the one to lose, and strangers who connect and stay silent block nobody.
#[derive(Default)]
struct Handshakes(VecDeque<(Arc<AtomicBool>, AbortHandle)>);

impl Handshakes {
    fn admit(&mut self, done: Arc<AtomicBool>, task: AbortHandle, max: usize) {
        self.0.retain(|(done, task)| !done.load(Ordering::Relaxed) && !task.is_finished());
        if self.0.len() >= max.max(1)
            && let Some((_, oldest)) = self.0.pop_front()
        {
            tracing::debug!("a TLS handshake was broken off: there are too many");
            oldest.abort();
        }
        self.0.push_back((done, task));
    }
}

/// One of a caller's connections; gives its place free when dropped.
struct Seat<'a> {
    service: &'a Service,
    caller: Caller,
}

impl<'a> Seat<'a> {
    fn take(service: &'a Service, caller: &Caller) -> Option<Self> {
        let mut callers = service.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = callers.entry(caller.clone()).or_default();
        if *taken >= service.shared.config.limits.max_connections_per_caller {
            return None;
        }
        *taken += 1;
        Some(Self { service, caller: caller.clone() })
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut callers = self.service.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = callers.get_mut(&self.caller) {
            *taken -= 1;
            if *taken == 0 {
                callers.remove(&self.caller);
            }
        }
    }
}

/// A refused handshake in words, with what to do about the one that puzzles people most.
fn refused_in_words(error: &std::io::Error) -> String {
    let text = error.to_string();
    if text.contains("UnsupportedCertVersion") {
        return format!("{text} (the SAE shows an X.509 version 1 certificate; version 3 is needed: issue it anew)");
    }
    text
}

fn log_end(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended badly");
    }
}
