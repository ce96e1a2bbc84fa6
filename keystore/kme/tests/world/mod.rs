//! Two KMEs on loopback, joined by a link, with a wire between them that a test can cut or mute.
#![expect(dead_code, reason = "each test program uses its part of this")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use vernam_ca::{Identity, LabCa};
use vernam_etsi014::{KmeClient, KmeId, SaeId};
use vernam_key::SecretBytes;
use vernam_kme::{Deposited, Kme, KmeConfig, KmeHandle, LinkReport, LinkState, PeerConfig, TlsIdentity};

pub(crate) const BLOCK: usize = 64 << 10;

pub(crate) struct World {
    pub(crate) ca: LabCa,
    pub(crate) a: Kme,
    pub(crate) b: Kme,
    pub(crate) a_addr: SocketAddr,
    pub(crate) b_addr: SocketAddr,
    pub(crate) a_server: Option<KmeHandle>,
    pub(crate) b_server: Option<KmeHandle>,
    /// On the way from A to B.
    pub(crate) wire: Wire,
    next_block: u64,
}

pub(crate) fn sae(name: &str) -> SaeId {
    name.parse().unwrap()
}

pub(crate) fn kme_id(name: &str) -> KmeId {
    name.parse().unwrap()
}

impl World {
    /// Alice and Carol at A, Bob at B.
    pub(crate) async fn new() -> Self {
        Self::with(|_config| {}).await
    }

    pub(crate) async fn with(adjust: impl Fn(&mut KmeConfig)) -> Self {
        let ca = LabCa::new("test network").unwrap();
        let a_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let b_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (a_addr, b_addr) = (a_listener.local_addr().unwrap(), b_listener.local_addr().unwrap());
        let wire = Wire::new(b_addr).await;
        let config = |id: &str, saes: &[&str], peer: &str, peer_addr: SocketAddr, behind: &[&str]| {
            let peer = PeerConfig::new(kme_id(peer), peer_addr.to_string(), behind.iter().map(|name| sae(name)));
            let mut config = KmeConfig::new(kme_id(id), saes.iter().map(|name| sae(name)), peer);
            config.limits.peer_timeout = Duration::from_secs(2);
            adjust(&mut config);
            config
        };
        let a = Kme::new(config("kme-a", &["alice", "carol"], "kme-b", wire.addr, &["bob"])).unwrap();
        let b = Kme::new(config("kme-b", &["bob"], "kme-a", a_addr, &["alice", "carol"])).unwrap();
        for kme in [&a, &b] {
            kme.set_link_report(report(LinkState::Up, "all is well"));
        }
        let a_server = Some(serve(&a, a_listener, &ca, "kme-a"));
        let b_server = Some(serve(&b, b_listener, &ca, "kme-b"));
        Self { ca, a, b, a_addr, b_addr, a_server, b_server, wire, next_block: 0 }
    }

    /// A block in which every 8 bytes are unlike any other 8 bytes of this world.
    pub(crate) fn make_block(&mut self) {
        let number = self.next_block;
        self.next_block += 1;
        let words = (0..BLOCK as u64 / 8).map(|word| (number << 32 | word | 1 << 63).to_be_bytes());
        let bits: Vec<u8> = words.flatten().collect();
        assert_eq!(self.a.deposit(number, SecretBytes::copy_of(&bits)), Ok(Deposited::Pooled));
        assert_eq!(self.b.deposit(number, SecretBytes::from_vec(bits)), Ok(Deposited::Pooled));
    }

    pub(crate) fn client(&self, name: &str, addr: SocketAddr) -> KmeClient {
        let Identity { chain, key } = self.ca.issue(name).unwrap();
        KmeClient::new(&addr.to_string(), vec![self.ca.root()], chain, key).unwrap()
    }

    pub(crate) fn alice(&self) -> KmeClient {
        self.client("alice", self.a_addr)
    }

    pub(crate) fn bob(&self) -> KmeClient {
        self.client("bob", self.b_addr)
    }

    pub(crate) fn check_books(&self) {
        for kme in [&self.a, &self.b] {
            assert!(kme.accounting().balances(), "{:?}", kme.accounting());
        }
    }

    pub(crate) async fn stop_b(&mut self) {
        self.b_server.take().unwrap().shutdown().await;
    }

    pub(crate) async fn start_b(&mut self) {
        let listener = TcpListener::bind(self.b_addr).await.unwrap();
        self.b_server = Some(serve(&self.b, listener, &self.ca, "kme-b"));
    }

    pub(crate) async fn end(self) {
        self.check_books();
        for server in [self.a_server, self.b_server].into_iter().flatten() {
            server.shutdown().await;
        }
    }

    /// Sends `request` as it is, as `name` (or without a certificate), and returns status and body.
    pub(crate) async fn raw(&self, name: Option<&str>, addr: SocketAddr, request: &str) -> std::io::Result<Answer> {
        let who = name.map(|name| self.ca.issue(name).unwrap());
        raw(who, self.ca.root(), addr, request, rustls::DEFAULT_VERSIONS).await
    }
}

pub(crate) fn report(state: LinkState, reason: &str) -> LinkReport {
    LinkReport { state, qber: Some(0.021), threshold: 0.11, rate_bps: 10_000.0, reason: reason.to_owned() }
}

pub(crate) fn serve(kme: &Kme, listener: TcpListener, ca: &LabCa, name: &str) -> KmeHandle {
    let Identity { chain, key } = ca.issue(name).unwrap();
    let tls = TlsIdentity { roots: vec![ca.root()], chain, key };
    kme.serve(listener, &tls, std::future::pending()).unwrap()
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The message of an error in the standard's format.
    pub(crate) fn message(&self) -> String {
        assert!(self.head.contains("content-type: application/json"), "{self:?}");
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        body["message"].as_str().unwrap().to_owned()
    }
}

pub(crate) async fn raw(
    who: Option<Identity>,
    root: CertificateDer<'static>,
    addr: SocketAddr,
    request: &str,
    versions: &[&'static SupportedProtocolVersion],
) -> std::io::Result<Answer> {
    let mut tls = tls(who, root, addr, versions).await?;
    tls.write_all(request.as_bytes()).await?;
    let mut text = Vec::new();
    tls.read_to_end(&mut text).await?;
    let text = String::from_utf8(text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Ok(Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() })
}

pub(crate) async fn tls(
    who: Option<Identity>,
    root: CertificateDer<'static>,
    addr: SocketAddr,
    versions: &[&'static SupportedProtocolVersion],
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(root).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    let config = match who {
        Some(Identity { chain, key }) => builder.with_client_auth_cert(chain, key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    let tcp = TcpStream::connect(addr).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), tcp).await
}

pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: kme\r\nconnection: close\r\n\r\n")
}

pub(crate) fn post(path: &str, body: &str) -> String {
    let len = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: kme\r\nconnection: close\r\ncontent-length: {len}\r\n\r\n{body}")
}

const OPEN: u8 = 0;
const MUTE: u8 = 1;

/// A TCP proxy. Muted, it swallows what comes back.
pub(crate) struct Wire {
    pub(crate) addr: SocketAddr,
    mode: Arc<AtomicU8>,
    task: tokio::task::JoinHandle<()>,
}

impl Wire {
    async fn new(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, mode) = (listener.local_addr().unwrap(), Arc::new(AtomicU8::new(OPEN)));
        let shared = Arc::clone(&mode);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let mode = Arc::clone(&shared);
                connections.spawn(async move {
                    let Ok(far) = TcpStream::connect(to).await else { return };
                    let (near_read, near_write) = near.into_split();
                    let (far_read, far_write) = far.into_split();
                    tokio::select! {
                        () = pipe(near_read, far_write, Arc::new(AtomicU8::new(OPEN))) => {}
                        () = pipe(far_read, near_write, mode) => {}
                    }
                });
            }
        });
        Self { addr, mode, task }
    }

    pub(crate) fn mute(&self, mute: bool) {
        self.mode.store(if mute { MUTE } else { OPEN }, Ordering::SeqCst);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pipe(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin, mode: Arc<AtomicU8>) {
    let mut buffer = [0; 4096];
    while let Ok(len) = from.read(&mut buffer).await {
        if len == 0 {
            return;
        }
        if mode.load(Ordering::SeqCst) == OPEN && to.write_all(&buffer[..len]).await.is_err() {
            return;
        }
    }
}
