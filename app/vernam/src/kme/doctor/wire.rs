//! HTTP/1.1 over TLS, one request as it is: nothing is corrected, and every answer is kept for judging.
//!
//! `vernam_etsi014::KmeClient` sends only what the standard allows and takes only what it allows; here both ends of that
//! must be seen.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, Uri,
    client::conn::http1::{self, SendRequest},
    header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, RETRY_AFTER},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, ProtocolVersion};
use rustls_pki_types::ServerName;
use tokio::{net::TcpStream, sync::Mutex, task::JoinHandle, time::timeout};
use tokio_rustls::TlsConnector;
use vernam_etsi014::{MAX_REPLY_BYTES, WipingBuf};

/// The port of HTTPS (RFC 9110, section 4.2.2).
const HTTPS_PORT: u16 = 443;
/// The most characters of a stranger's words that are shown.
const MAX_SHOWN: usize = 160;

/// Where a KME is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// Host name or address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// As the header `host` has it.
    authority: String,
    /// The path before `/api`, without a slash at its end.
    prefix: String,
}

impl Target {
    /// From `https://host:port/prefix`, or just `host:port`.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let bad = |reason: &str| format!("\u{201c}{url}\u{201d} is not the address of a KME: {reason}");
        let full = if url.contains("://") { url.to_owned() } else { format!("https://{url}") };
        let uri: Uri = full.parse().map_err(|error: hyper::http::uri::InvalidUri| bad(&error.to_string()))?;
        if uri.scheme_str() != Some("https") {
            return Err(bad("keys travel over https only"));
        }
        let authority = uri.authority().ok_or_else(|| bad("it names no host"))?;
        if uri.query().is_some() || authority.as_str().contains('@') {
            return Err(bad("only host, port and a path before /api may be given"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(HTTPS_PORT);
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { host, port, authority: authority.to_string(), prefix })
    }

    /// `https://host:port/prefix`.
    pub(super) fn url(&self) -> String {
        format!("https://{}{}", self.authority, self.prefix)
    }

    pub(super) async fn tcp(&self, limit: Duration) -> Result<TcpStream, Trouble> {
        let connecting = timeout(limit, TcpStream::connect((self.host.as_str(), self.port)));
        let tcp = connecting.await.map_err(|_late| Trouble::Late)?.map_err(|error| Trouble::Broken(words(&error)))?;
        // A small request waits for nothing; were this refused, it would only be slower.
        let _best_effort = tcp.set_nodelay(true);
        Ok(tcp)
    }
}

/// No answer came.
#[derive(Debug, Clone)]
pub(super) enum Trouble {
    /// Not in time.
    Late,
    /// The connection could not be made, or ended.
    Broken(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Late => f.write_str("no answer in time"),
            Self::Broken(why) => write!(f, "no answer: {why}"),
        }
    }
}

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) method: Method,
    /// From `/api` on.
    pub(super) path: String,
    pub(super) body: Option<Vec<u8>>,
}

impl Ask {
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), body: None }
    }

    pub(super) fn post(path: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self { method: Method::POST, path: path.into(), body: Some(body.into()) }
    }
}

impl std::fmt::Display for Ask {
    /// What was asked, in few words: requests hold no secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = self.path.split_once("/keys/").map_or(self.path.as_str(), |(_, rest)| rest);
        write!(f, "{} {}", self.method, shown(path))?;
        match &self.body {
            Some(body) if body.len() <= 60 => write!(f, " {}", shown(&String::from_utf8_lossy(body))),
            Some(body) => write!(f, " ({} bytes)", body.len()),
            None => Ok(()),
        }
    }
}

/// One answer. Its body may hold keys: no `Debug`.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: Option<String>,
    pub(super) retry_after: Option<String>,
    pub(super) allow: bool,
    pub(super) body: WipingBuf,
    pub(super) took: Duration,
    /// Whether the KME closed the connection with the answer.
    pub(super) closed: bool,
}

/// One connection.
pub(super) struct Line {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
    pub(super) version: Option<ProtocolVersion>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Line {
    fn is_open(&self) -> bool {
        !self.sender.is_closed() && !self.driver.is_finished()
    }
}

/// Asks one KME as one SAE, over a connection that is kept, or over as many as wanted.
pub(super) struct Caller {
    pub(super) target: Target,
    tls: Arc<ClientConfig>,
    limit: Duration,
    kept: Mutex<Option<Line>>,
}

impl Caller {
    pub(super) fn new(target: Target, tls: Arc<ClientConfig>, limit: Duration) -> Self {
        Self { target, tls, limit, kept: Mutex::new(None) }
    }

    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// The same SAE at the same KME, with connections of its own.
    pub(super) fn another(&self) -> Self {
        self.at(&self.target)
    }

    /// The same SAE at another KME.
    pub(super) fn at(&self, target: &Target) -> Self {
        Self::new(target.clone(), Arc::clone(&self.tls), self.limit)
    }

    /// A TLS connection of its own on which nothing is said.
    pub(super) async fn silent(&self) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Trouble> {
        let host = ServerName::try_from(self.target.host.clone())
            .map_err(|error| Trouble::Broken(format!("{} is no host name: {error}", self.target.host)))?;
        let tcp = self.target.tcp(self.limit).await?;
        let shaking = TlsConnector::from(Arc::clone(&self.tls)).connect(host, tcp);
        let tls = timeout(self.limit, shaking).await.map_err(|_late| Trouble::Late)?;
        tls.map_err(|error| Trouble::Broken(words(&error)))
    }

    /// A new connection.
    pub(super) async fn line(&self) -> Result<Line, Trouble> {
        let tls = self.silent().await?;
        let version = tls.get_ref().1.protocol_version();
        let (sender, connection) =
            http1::handshake(TokioIo::new(tls)).await.map_err(|error| Trouble::Broken(words(&error)))?;
        let driver = tokio::spawn(async move {
            // What ends it is told to the request under way.
            let _told_there = connection.await;
        });
        Ok(Line { sender, driver, version })
    }

    /// Asks over the kept connection; over a new one if there is none, or if the KME closed it meanwhile.
    pub(super) async fn ask(&self, ask: &Ask) -> Result<Answer, Trouble> {
        let mut kept = self.kept.lock().await;
        if let Some(mut line) = kept.take().filter(Line::is_open)
            && let Ok(answer) = self.ask_over(&mut line, ask).await
        {
            *kept = (!answer.closed).then_some(line);
            return Ok(answer);
        }
        let mut line = self.line().await?;
        let answer = self.ask_over(&mut line, ask).await?;
        *kept = (!answer.closed).then_some(line);
        Ok(answer)
    }

    /// Asks over a connection of its own.
    pub(super) async fn ask_anew(&self, ask: &Ask) -> Result<Answer, Trouble> {
        self.ask_over(&mut self.line().await?, ask).await
    }

    /// Asks over `line`.
    pub(super) async fn ask_over(&self, line: &mut Line, ask: &Ask) -> Result<Answer, Trouble> {
        let began = Instant::now();
        let exchange = timeout(self.limit, self.exchange(line, ask)).await;
        let mut answer = exchange.map_err(|_late| Trouble::Late)??;
        answer.took = began.elapsed();
        Ok(answer)
    }

    async fn exchange(&self, line: &mut Line, ask: &Ask) -> Result<Answer, Trouble> {
        let broken = |error: &hyper::Error| Trouble::Broken(words(error));
        let mut request = Request::new(Full::new(Bytes::from(ask.body.clone().unwrap_or_default())));
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = format!("{}{}", self.target.prefix, ask.path)
            .parse()
            .map_err(|error| Trouble::Broken(format!("the path cannot be sent: {error}")))?;
        let host = HeaderValue::try_from(self.target.authority.as_str())
            .map_err(|error| Trouble::Broken(format!("the host cannot be sent: {error}")))?;
        request.headers_mut().insert(HOST, host);
        request.headers_mut().insert(ACCEPT, JSON);
        if ask.body.is_some() {
            request.headers_mut().insert(CONTENT_TYPE, JSON);
        }
        line.sender.ready().await.map_err(|error| broken(&error))?;
        let response = line.sender.send_request(request).await.map_err(|error| broken(&error))?;
        let (head, mut incoming) = response.into_parts();
        let mut body = WipingBuf::default();
        while let Some(frame) = incoming.frame().await {
            let Ok(data) = frame.map_err(|error| broken(&error))?.into_data() else { continue };
            if body.len() + data.len() > MAX_REPLY_BYTES {
                return Err(Trouble::Broken(format!("the answer is longer than {MAX_REPLY_BYTES} bytes")));
            }
            body.extend(&data);
        }
        Ok(Answer {
            status: head.status.as_u16(),
            content_type: text(&head.headers, CONTENT_TYPE.as_str()),
            retry_after: text(&head.headers, RETRY_AFTER.as_str()),
            allow: head.headers.contains_key("allow"),
            body,
            took: Duration::ZERO,
            closed: text(&head.headers, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close")),
        })
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| shown(&String::from_utf8_lossy(value.as_bytes())))
}

/// A stranger's text, fit for a terminal.
pub(super) fn shown(text: &str) -> String {
    let mut out: String =
        text.chars().take(MAX_SHOWN).map(|c| if c.is_control() || is_directional(c) { ' ' } else { c }).collect();
    if text.chars().nth(MAX_SHOWN).is_some() {
        out.push('\u{2026}');
    }
    out
}

/// Marks that turn the direction of a line (Unicode Standard Annex 9, section 2).
fn is_directional(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// An error and its causes in one line, with what to do about the most frequent.
pub(super) fn words(error: &(dyn std::error::Error + 'static)) -> String {
    const HINTS: &[(&str, &str)] = &[
        ("UnsupportedCertVersion", "an X.509 version 1 certificate; version 3 is needed: have it issued anew"),
        ("UnknownIssuer", "the KME's certificate is not signed by a certificate in --root"),
        ("NotValidForName", "the KME's certificate does not name the host in the URL"),
        ("not valid for name", "name in the URL a host that the KME's certificate names"),
        ("UnknownCA", "the KME does not trust the issuer of this certificate"),
        ("Expired", "the certificate must be renewed, or the clock set"),
    ];
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        cause = error.source();
    }
    let mut words = shown(&words);
    if let Some((_, hint)) = HINTS.iter().find(|(sign, _)| words.contains(sign)) {
        words = format!("{words} ({hint})");
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let ok = |url| Target::parse(url).unwrap();
        assert_eq!((ok("https://kme").port, ok("kme:8443").port), (443, 8443));
        assert_eq!(ok("https://[::1]:8443").host, "::1");
        assert_eq!(ok("https://kme.example/qkd/").url(), "https://kme.example/qkd");
        for bad in ["http://kme", "", "a b", "https://user@kme", "https://kme/?a=b", "ftp://kme"] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn strangers_words_do_not_steer_the_terminal() {
        assert_eq!(shown("a\u{1b}[31m\u{202e}b\n"), "a [31m b ");
        assert_eq!(shown(&"x".repeat(200)).chars().count(), MAX_SHOWN + 1);
    }
}
