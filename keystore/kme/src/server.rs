//! The listening side: TLS and connections.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::current::Current;
use crate::identity::{self, Caller};
use crate::kme::Shared;
use crate::mend::Mended;
use crate::reply::{Refusal, Reply};
use crate::seats::{Seat, Seats};
use crate::stall::Impatient;
use crate::{KmeEvent, house, route, tls};

/// The most header lines of a request.
const MAX_HEADERS: usize = 64;
/// The longest head of a request, in bytes; also hyper's read buffer, which alone would let longer ones pass at times.
const MAX_HEAD: usize = 32 << 10;
/// How long a connection that made room for another may take to end. It counts no more, so this bounds how many more
/// there are than [`crate::Limits::max_connections`].
const LEAVING: Duration = Duration::from_secs(1);
/// How long to wait when the system refuses to accept connections (too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How often at most the log tells of a refused handshake: a stranger who knocks all day must not fill the disk.
const TELL_EVERY: Duration = Duration::from_secs(10);

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
    seats: Arc<Seats>,
    refused: Mutex<Refused>,
}

pub(crate) fn start(
    shared: Arc<Shared>,
    listener: TcpListener,
    local_addr: SocketAddr,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> KmeHandle {
    let service = Arc::new(Service { shared, seats: Seats::new(), refused: Mutex::default() });
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
    KmeHandle { local_addr, stop, task }
}

impl Service {
    async fn run(self: Arc<Self>, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let mut handshakes = Handshakes::default();
        let (stop, stopping) = watch::channel(false);
        let mut connections = JoinSet::new();
        let (requests_ended, ended) = watch::channel(false);
        let housekeeping = tokio::spawn(house::keep(Arc::clone(&self.shared), ended));
        let mut shutdown = pin!(shutdown);
        self.shared.tell(&KmeEvent::Started);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(_ended) = connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((tcp, _)) => {
                        let max = self.shared.current().config.limits.max_handshakes;
                        let done = Arc::new(AtomicBool::new(false));
                        let connection = self.clone().connection(tcp, done.clone(), stopping.clone());
                        if handshakes.admit(done, connections.spawn(connection), max) {
                            self.refuse("it was broken off: there are too many at once");
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "no connection could be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        self.shared.tell(&KmeEvent::Stopping);
        drop(listener);
        stop.send_replace(true);
        let grace = self.shared.current().config.limits.shutdown_grace;
        let end = async {
            while connections.join_next().await.is_some() {}
            self.shared.all_over().await;
        };
        if timeout(grace, end).await.is_err() {
            tracing::warn!("some requests did not end in time");
        }
        connections.shutdown().await;
        requests_ended.send_replace(true);
        if timeout(grace, housekeeping).await.is_err() {
            tracing::debug!("a peer does not hear our last messages; the ledger keeps them");
        }
    }

    async fn connection(
        self: Arc<Self>,
        tcp: TcpStream,
        handshake_done: Arc<AtomicBool>,
        mut stopping: watch::Receiver<bool>,
    ) {
        let mut reloads = self.shared.current.subscribe();
        let current = Arc::clone(&reloads.borrow_and_update());
        let limits = current.config.limits;
        let Some(door) = &current.door else { return };
        let _best_effort = tcp.set_nodelay(true);
        let tcp = Impatient::new(tcp, limits.write_timeout);
        let tls = tokio::select! {
            tls = timeout(limits.handshake_timeout, door.acceptor.accept(tcp)) => tls,
            _ = stopping.wait_for(|stop| *stop) => return,
        };
        let tls = match tls {
            Ok(Ok(tls)) => tls,
            Ok(Err(error)) => return self.refuse(&tls::refused_in_words(&error)),
            Err(_late) => return self.refuse("it took too long"),
        };
        let Some(chain) = tls.get_ref().1.peer_certificates().map(<[_]>::to_vec) else { return };
        let Some(leaf) = chain.first() else { return };
        let caller = identity::caller(&current.config, leaf);
        let holder = Arc::new(Holder { chain, caller, checked: AtomicU64::new(current.generation) });
        drop(current);
        let Some(seat) = self.seats.take(&holder.caller, &limits) else {
            return tracing::warn!(caller = ?holder.caller, "too many connections, or too many of one caller");
        };
        let seat = Arc::new(seat);
        handshake_done.store(true, Ordering::Relaxed);
        let service = service_fn(|request| {
            let (service, holder, seat) = (Arc::clone(&self), Arc::clone(&holder), Arc::clone(&seat));
            async move { Ok::<_, Infallible>(service.answer(&holder, &seat, request).await) }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(limits.idle_timeout);
        http.max_headers(MAX_HEADERS).max_header_size(MAX_HEAD).max_buf_size(MAX_HEAD);
        let mut connection = pin!(http.serve_connection(TokioIo::new(Mended::new(tls)), service));
        let distrusted = async {
            while reloads.changed().await.is_ok() {
                let current = Arc::clone(&reloads.borrow_and_update());
                if !holder.is_trusted(&current) {
                    return;
                }
            }
            std::future::pending::<()>().await;
        };
        let grace = tokio::select! {
            ended = connection.as_mut() => return log_end(ended),
            _ = stopping.wait_for(|stop| *stop) => limits.shutdown_grace,
            () = tokio::time::sleep(limits.connection_lifetime) => limits.shutdown_grace,
            () = distrusted => limits.shutdown_grace,
            () = seat.is_taken_away() => limits.shutdown_grace.min(LEAVING),
        };
        connection.as_mut().graceful_shutdown();
        if let Ok(ended) = timeout(grace, connection).await {
            log_end(ended);
        }
    }

    /// Tells of a handshake that let nobody in.
    fn refuse(&self, why: &str) {
        self.shared.tell(&KmeEvent::HandshakeRefused { why });
        tracing::debug!(why, "a TLS handshake failed");
        let Some(more) = self.refused.lock().unwrap_or_else(PoisonError::into_inner).count(Instant::now()) else {
            return;
        };
        if more > 0 {
            tracing::warn!(more, "a TLS handshake failed, and {more} before it since the last such line: {why}");
        } else {
            tracing::warn!("a TLS handshake failed: {why}");
        }
    }

    /// Answers with the configuration in force. A holder whom it does not trust any more gets nothing, even if its
    /// connection is not closed yet.
    async fn answer(&self, holder: &Holder, seat: &Seat, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let _busy = seat.busy();
        let current = self.shared.current();
        if !holder.is_trusted(&current) {
            let refusal = Refusal::unauthorized("this certificate is not good any more; connect again");
            return Reply::from(refusal.and_close()).into_http();
        }
        route::respond(&self.shared, &current, &holder.caller, request).await
    }
}

/// Who holds the far end of a connection.
struct Holder {
    chain: Vec<CertificateDer<'static>>,
    caller: Caller,
    /// The generation of the configuration by which this was last found true.
    checked: AtomicU64,
}

impl Holder {
    fn is_trusted(&self, current: &Current) -> bool {
        if self.checked.load(Ordering::Relaxed) == current.generation {
            return true;
        }
        let still = current.caller_again(&self.chain).is_some_and(|caller| caller == self.caller);
        if still {
            self.checked.store(current.generation, Ordering::Relaxed);
        }
        still
    }
}

/// Connections whose holder is not known yet. When there are too many, the oldest has to go: a handshake takes
/// milliseconds, so whoever takes long is the one to lose, and strangers who connect and stay silent block nobody.
#[derive(Default)]
struct Handshakes(VecDeque<(Arc<AtomicBool>, AbortHandle)>);

impl Handshakes {
    /// Whether another one had to go for it.
    fn admit(&mut self, done: Arc<AtomicBool>, task: AbortHandle, max: usize) -> bool {
        self.0.retain(|(done, task)| !done.load(Ordering::Relaxed) && !task.is_finished());
        let oldest = if self.0.len() >= max.max(1) { self.0.pop_front() } else { None };
        if let Some((_, oldest)) = &oldest {
            oldest.abort();
        }
        self.0.push_back((done, task));
        oldest.is_some()
    }
}

/// Handshakes that failed since the log told of one.
#[derive(Default)]
struct Refused {
    told: Option<Instant>,
    more: u64,
}

impl Refused {
    /// One more, at `now`: if it is time to tell of it, how many were not told of before it.
    fn count(&mut self, now: Instant) -> Option<u64> {
        if self.told.is_some_and(|told| now.saturating_duration_since(told) < TELL_EVERY) {
            self.more += 1;
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.more))
    }
}

fn log_end(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended badly");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_handshakes_are_told_of_now_and_then_and_counted() {
        let (mut refused, start) = (Refused::default(), Instant::now());
        assert_eq!(refused.count(start), Some(0), "the first one at once");
        assert_eq!(refused.count(start), None);
        assert_eq!(refused.count(start + TELL_EVERY / 2), None);
        assert_eq!(refused.count(start + TELL_EVERY), Some(2));
        assert_eq!(refused.count(start + TELL_EVERY * 3), Some(0));
    }
}
