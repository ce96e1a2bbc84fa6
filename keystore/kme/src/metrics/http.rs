//! The listener for metrics and health: plain HTTP/1.1, GET, three paths; bounded in connections and time.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The most connections at once: a few scrapers, and somebody who looks.
const MAX_CONNECTIONS: usize = 32;
/// How long the head of a request may take, and how long a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may live.
const LIFETIME: Duration = Duration::from_mins(10);
/// The longest head of a request, in bytes (hyper takes no less).
const MAX_HEAD: usize = 8 << 10;
/// The most header lines.
const MAX_HEADERS: usize = 32;
/// How long to wait when the system refuses to accept connections (too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is shown.
pub trait MetricsPage: Send + Sync + 'static {
    /// `/metrics`: as [`crate::Metrics::text`] gives it.
    fn metrics(&self) -> String;

    /// `/readyz`: whether requests for key make sense now; if not, why, in plain words. It may take a while, and must end.
    fn ready(&self) -> Readiness<'_>;
}

/// Resolves to whether a KME is ready, and why not.
pub type Readiness<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;

/// Answers on `listener` until `shutdown` resolves: `/metrics`, `/healthz` (the process lives), `/readyz` (it can serve).
pub async fn serve_metrics(listener: TcpListener, page: Arc<dyn MetricsPage>, shutdown: impl Future<Output = ()>) {
    let seats = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => return, // what is left is aborted with the set
            Some(_ended) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((tcp, _)) => {
                    // One too many is closed at once: whoever holds the others open does not block for ever, see LIFETIME.
                    let Ok(seat) = Arc::clone(&seats).try_acquire_owned() else { continue };
                    let page = Arc::clone(&page);
                    connections.spawn(async move {
                        let _taken = seat;
                        connection(tcp, page).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "no connection for metrics could be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

async fn connection(tcp: TcpStream, page: Arc<dyn MetricsPage>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let page = Arc::clone(&page);
        async move { Ok::<_, Infallible>(answer(page.as_ref(), request.method(), request.uri().path()).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    http.max_headers(MAX_HEADERS).max_buf_size(MAX_HEAD);
    if let Ok(Err(error)) = timeout(LIFETIME, http.serve_connection(TokioIo::new(tcp), service)).await {
        tracing::debug!(%error, "a connection for metrics ended badly");
    }
}

async fn answer(page: &dyn MetricsPage, method: &Method, path: &str) -> Response<Full<Bytes>> {
    const OPENMETRICS: HeaderValue =
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
    let (status, kind, text) = match path {
        "/metrics" | "/healthz" | "/readyz" if !matches!(*method, Method::GET | Method::HEAD) => {
            (StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET\n".to_owned())
        }
        "/metrics" => (StatusCode::OK, OPENMETRICS, page.metrics()),
        "/healthz" => (StatusCode::OK, PLAIN, "alive\n".to_owned()),
        "/readyz" => match page.ready().await {
            Ok(()) => (StatusCode::OK, PLAIN, "ready\n".to_owned()),
            Err(why) => (StatusCode::SERVICE_UNAVAILABLE, PLAIN, format!("{why}\n")),
        },
        _ => (StatusCode::NOT_FOUND, PLAIN, "there is /metrics, /healthz and /readyz\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::oneshot;

    use super::*;

    struct Page;

    impl MetricsPage for Page {
        fn metrics(&self) -> String {
            "# EOF\n".to_owned()
        }

        fn ready(&self) -> Readiness<'_> {
            Box::pin(async { Err("the ledger does not answer".to_owned()) })
        }
    }

    async fn ask(address: SocketAddr, head: &str) -> String {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        tcp.write_all(format!("{head} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn serving() -> (SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve_metrics(listener, Arc::new(Page), async move { drop(stopped.await) }));
        (address, stop, task)
    }

    #[tokio::test]
    async fn three_paths_and_nothing_else() {
        let (address, stop, task) = serving().await;
        for (head, status, body) in [
            ("GET /metrics", "200 OK", "# EOF\n"),
            ("GET /metrics?x=1", "200 OK", "# EOF\n"),
            ("GET /healthz", "200 OK", "alive\n"),
            ("GET /readyz", "503 Service Unavailable", "the ledger does not answer\n"),
            ("POST /metrics", "405 Method Not Allowed", "only GET\n"),
            ("GET /", "404 Not Found", "there is /metrics, /healthz and /readyz\n"),
        ] {
            let answer = ask(address, head).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}\r\n")) && answer.ends_with(body),
                "{head}: {answer}"
            );
        }
        stop.send(()).unwrap();
        task.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err(), "it has stopped");
    }

    #[tokio::test]
    async fn silent_connections_are_bounded_and_the_next_one_is_closed() {
        let (address, _stop, task) = serving().await;
        let mut silent = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            let mut tcp = TcpStream::connect(address).await.unwrap();
            tcp.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            let mut first = [0; 8];
            tcp.read_exact(&mut first).await.unwrap(); // it has its seat
            silent.push(tcp);
        }
        let mut one_more = TcpStream::connect(address).await.unwrap();
        let mut nothing = Vec::new();
        let closed = one_more.read_to_end(&mut nothing).await;
        assert!(closed.is_err() || nothing.is_empty());
        drop(silent);
        task.abort();
    }
}
