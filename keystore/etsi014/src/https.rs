//! HTTPS with certificates on both sides: what a 014 client and two KMEs among themselves need of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName};
use serde::Serialize;

use crate::client::{MAX_REPLY_BYTES, Timeouts};
use crate::error::in_words;
use crate::{ClientError, SetupError, WipingBuf};

/// Idle connections are closed here before the usual server does it (hyper, nginx: 60 s and more).
const POOL_IDLE: Duration = Duration::from_secs(20);
/// The most idle connections that are kept.
const POOL_SIZE: usize = 32;

/// Whose certificates a server may show.
pub struct Trust {
    /// The roots that sign them; at least one.
    pub roots: Vec<CertificateDer<'static>>,
    /// Which of them are no longer good, as their issuers say (RFC 5280, section 5). If there are any lists, there must
    /// be one of every issuer in a server's chain; one past its `nextUpdate` still counts.
    pub crls: Vec<CertificateRevocationListDer<'static>>,
}

impl Trust {
    /// All that `roots` sign: nothing is revoked.
    pub fn of(roots: Vec<CertificateDer<'static>>) -> Self {
        Self { roots, crls: Vec::new() }
    }
}

/// JSON over HTTP/1.1 over TLS 1.2 or 1.3, to one server, with a client certificate.
pub struct MutualTlsClient {
    base: String,
    authority: String,
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    timeouts: Timeouts,
}

impl MutualTlsClient {
    /// A client for the server at `address` (`https://host:port`, or just `host:port`). Nothing is sent yet.
    ///
    /// The server's certificate must be valid for `server_name`, or, without one, for the host in the address.
    pub fn new(
        address: &str,
        server_name: Option<&str>,
        trust: Trust,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        timeouts: Timeouts,
    ) -> Result<Self, SetupError> {
        let (base, authority) = parse_address(address)?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(timeouts.connect));
        let mut connector = HttpsConnectorBuilder::new().with_tls_config(tls_config(trust, chain, key)?).https_only();
        if let Some(name) = server_name {
            let name = ServerName::try_from(name.to_owned())
                .map_err(|error| SetupError::Address { address: name.to_owned(), reason: error.to_string() })?;
            connector = connector.with_server_name_resolver(FixedServerNameResolver::new(name));
        }
        let connector = connector.enable_http1().wrap_connector(tcp);
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_SIZE)
            .build(connector);
        Ok(Self { base, authority, http, timeouts })
    }

    /// The server's host and port.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// GET: the body of a 200.
    pub async fn get(&self, path: &str) -> Result<WipingBuf, ClientError> {
        self.send(Method::GET, path, Bytes::new()).await
    }

    /// POST of `body` as JSON: the body of a 200. The body must hold no keys.
    pub async fn post_json(&self, path: &str, body: &impl Serialize) -> Result<WipingBuf, ClientError> {
        let json = serde_json::to_vec(body).map_err(|error| ClientError::BadRequest { reason: error.to_string() })?;
        self.send(Method::POST, path, json.into()).await
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<WipingBuf, ClientError> {
        let late = |_elapsed| {
            let reason = format!("no answer within {} s", self.timeouts.request.as_secs_f32());
            self.unreachable(reason, true)
        };
        tokio::time::timeout(self.timeouts.request, self.exchange(method, path, body)).await.map_err(late)?
    }

    async fn exchange(&self, method: Method, path: &str, body: Bytes) -> Result<WipingBuf, ClientError> {
        let response = match self.attempt(&method, path, &body).await {
            // A kept connection that the server closed as we wrote. A fresh one decides: were the request carried out
            // and its answer lost, then its keys are lost either way.
            Err(error) if closed_under_us(&error) => self.attempt(&method, path, &body).await,
            first => first,
        }
        .map_err(|error| self.unreachable(in_words(&error), !error.is_connect()))?;
        let (head, body) = response.into_parts();
        let body = self.collect(body).await?;
        if head.status == StatusCode::OK {
            return Ok(body);
        }
        Err(ClientError::refused(head.status.as_u16(), body.as_ref(), retry_after(&head.headers)))
    }

    async fn attempt(
        &self,
        method: &Method,
        path: &str,
        body: &Bytes,
    ) -> Result<Response<Incoming>, hyper_util::client::legacy::Error> {
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = method.clone();
        *request.uri_mut() =
            format!("{}{path}", self.base).parse().expect("a checked base and percent-encoded segments make a URI");
        request.headers_mut().insert(ACCEPT, JSON);
        if method == Method::POST {
            request.headers_mut().insert(CONTENT_TYPE, JSON);
        }
        self.http.request(request).await
    }

    async fn collect(&self, mut body: Incoming) -> Result<WipingBuf, ClientError> {
        let mut all = WipingBuf::default();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| self.unreachable(in_words(&error), true))?;
            let Ok(data) = frame.into_data() else { continue };
            if all.len() + data.len() > MAX_REPLY_BYTES {
                let reason = format!("an answer of more than {MAX_REPLY_BYTES} bytes");
                return Err(ClientError::BadReply { kme: self.authority.clone(), reason });
            }
            all.extend(&data);
            if let Ok(mut ours_alone) = data.try_into_mut() {
                zeroize::Zeroize::zeroize(ours_alone.as_mut());
            }
        }
        Ok(all)
    }

    fn unreachable(&self, reason: String, maybe_sent: bool) -> ClientError {
        ClientError::Unreachable { kme: self.authority.clone(), reason, maybe_sent }
    }
}

const JSON: hyper::header::HeaderValue = hyper::header::HeaderValue::from_static("application/json");

fn closed_under_us(error: &hyper_util::client::legacy::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(hyper) = error.downcast_ref::<hyper::Error>() {
            return hyper.is_incomplete_message();
        }
        cause = error.source();
    }
    false
}

/// `Retry-After` in seconds; the form with a date is rare, and needs a clock.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

fn parse_address(address: &str) -> Result<(String, String), SetupError> {
    let bad = |reason: &str| SetupError::Address { address: address.to_owned(), reason: reason.to_owned() };
    let full = if address.contains("://") { address.to_owned() } else { format!("https://{address}") };
    let uri: Uri = full.parse().map_err(|error: hyper::http::uri::InvalidUri| bad(&error.to_string()))?;
    if uri.scheme_str() != Some("https") {
        return Err(bad("keys travel over https only"));
    }
    let authority = uri.authority().ok_or_else(|| bad("it names no host"))?;
    if uri.query().is_some() || authority.as_str().contains('@') {
        return Err(bad("only host, port and a path prefix may be given"));
    }
    Ok((full.trim_end_matches('/').to_owned(), authority.to_string()))
}

fn tls_config(
    trust: Trust,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, SetupError> {
    let bad = |what, error: &rustls::Error| SetupError::Certificate { what, reason: in_words(error) };
    let mut store = RootCertStore::empty();
    for root in trust.roots {
        store.add(root).map_err(|error| bad("root certificate", &error))?;
    }
    if store.is_empty() {
        return Err(SetupError::Certificate { what: "root certificates", reason: "there is none".to_owned() });
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let servers = WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(&provider))
        .with_crls(trust.crls)
        .build()
        .map_err(|error| SetupError::Certificate { what: "revocation lists", reason: in_words(&error) })?;
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| bad("TLS library", &error))?
        .with_webpki_verifier(servers)
        .with_client_auth_cert(chain, key)
        .map_err(|error| bad("certificate chain and private key", &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let ok = |text| parse_address(text).unwrap();
        assert_eq!(ok("127.0.0.1:80"), ("https://127.0.0.1:80".to_owned(), "127.0.0.1:80".to_owned()));
        assert_eq!(ok("https://kme.example/qkd/"), ("https://kme.example/qkd".to_owned(), "kme.example".to_owned()));
        for bad in ["http://kme", "", "a b", "https://user@kme", "https://kme/?a=b", "ftp://kme"] {
            assert!(parse_address(bad).is_err(), "{bad}");
        }
    }
}
