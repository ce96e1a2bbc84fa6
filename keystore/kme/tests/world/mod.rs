//! KMEs on loopback, each pair joined by a link, with wires between them that a test can cut or mute.
#![expect(dead_code, reason = "each test program uses its part of this")]

use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use vernam_ca::{Identity, LabCa};
use vernam_etsi014::{ClientError, KmeClient, KmeId, SaeId};
use vernam_key::SecretBytes;
use vernam_kme::{Clock, Kme, KmeConfig, KmeHandle, LinkReport, LinkState, PeerConfig, TlsIdentity};
use vernam_ledger::{Accounting, Deposited, Kek, Ledger, LedgerLimits, Options, Place};

pub(crate) const BLOCK: usize = 64 << 10;

/// A KME, its ledger, and the runtime that stands for its process.
pub(crate) struct Site {
    pub(crate) kme: Kme,
    pub(crate) addr: SocketAddr,
    pub(crate) server: Option<KmeHandle>,
    config: KmeConfig,
    place: Place,
    runtime: Option<Runtime>,
    clock: TestClock,
}

/// A wall clock that a test can set.
#[derive(Clone)]
pub(crate) struct TestClock(Arc<Mutex<Duration>>);

impl TestClock {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap())))
    }

    fn clock(&self) -> Clock {
        let now = Arc::clone(&self.0);
        Arc::new(move || SystemTime::UNIX_EPOCH + *now.lock().unwrap())
    }

    pub(crate) fn forward(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }

    pub(crate) fn back(&self, by: Duration) {
        *self.0.lock().unwrap() -= by;
    }
}

pub(crate) struct World {
    pub(crate) ca: LabCa,
    pub(crate) sites: Vec<Site>,
    /// On the way from one to another.
    wires: Vec<((usize, usize), Wire)>,
    next_block: u64,
    /// Goes after the ledgers in it.
    folder: Option<TempDir>,
    pub(crate) clock: TestClock,
}

/// Who is where: a KME's name and its SAEs.
pub(crate) type Plan<'a> = &'a [(&'a str, &'a [&'a str])];

pub(crate) const TWO: Plan<'_> = &[("kme-a", &["alice", "carol"]), ("kme-b", &["bob"])];
pub(crate) const THREE: Plan<'_> = &[("kme-a", &["alice", "carol"]), ("kme-b", &["bob"]), ("kme-c", &["dave", "erin"])];

pub(crate) fn sae(name: &str) -> SaeId {
    name.parse().unwrap()
}

pub(crate) fn kme_id(name: &str) -> KmeId {
    name.parse().unwrap()
}

impl Site {
    pub(crate) fn id(&self) -> &KmeId {
        &self.config.id
    }

    /// The books of the link to `peer`, after everything before.
    pub(crate) async fn books_with(&self, peer: &str) -> Accounting {
        self.kme.accounting_now(&kme_id(peer)).await.unwrap()
    }

    /// The books of the first link.
    pub(crate) async fn books(&self) -> Accounting {
        self.kme.accounting_now(&self.config.peers[0].kme_id).await.unwrap()
    }

    pub(crate) fn report(&self, report: &LinkReport) {
        for peer in &self.config.peers {
            self.kme.set_link_report(&peer.kme_id, report.clone());
        }
    }

    pub(crate) async fn deposit(&self, peer: &str, number: u64, bits: &[u8]) -> Deposited {
        self.kme.deposit(&kme_id(peer), number, SecretBytes::copy_of(bits)).await.unwrap()
    }

    /// Whether nothing is left to tell any peer.
    pub(crate) async fn has_told_all(&self) -> bool {
        for peer in &self.config.peers {
            let link = peer.kme_id.clone();
            if !self.kme.ledger().run(move |book| book.outbox(&link, 1)).await.unwrap().is_empty() {
                return false;
            }
        }
        true
    }

    pub(crate) fn serve_as(&mut self, ca: &LabCa, name: &str) {
        let _inside = self.runtime.as_ref().unwrap().enter();
        let listener = StdListener::bind(self.addr).unwrap();
        self.server = Some(serve(&self.kme, listener, ca, name));
    }

    pub(crate) async fn stop(&mut self) {
        self.server.take().unwrap().shutdown().await;
    }

    /// Ends the process that this stands for, without a word to anybody; the file stays.
    pub(crate) async fn kill(&mut self) {
        self.server = None;
        let runtime = self.runtime.take().unwrap();
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(5))).await.unwrap();
        self.kme.ledger().close().await.unwrap();
    }

    /// Starts another process on the same ledger.
    pub(crate) async fn revive(&mut self, ca: &LabCa) {
        self.runtime = Some(runtime());
        self.kme = open(&self.config, &self.place, LedgerLimits::default(), &self.clock).await;
        self.report(&report(LinkState::Up, "all is well"));
        let name = self.id().to_string();
        self.serve_as(ca, &name);
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Opens the ledger and makes the KME.
pub(crate) async fn open(config: &KmeConfig, place: &Place, limits: LedgerLimits, clock: &TestClock) -> Kme {
    let options = Options {
        place: place.clone(),
        kme: config.id.clone(),
        kek: Kek::from_secret(SecretBytes::from_vec(vec![17; 32])).unwrap(),
        limits: LedgerLimits { max_pool_bits: config.limits.max_pool_bits, ..limits },
        scrub_within: Duration::from_secs(10),
        anchor: None,
    };
    let (config, clock) = (config.clone(), clock.clock());
    let opened = tokio::task::spawn_blocking(move || {
        let ledger = Ledger::open(options).unwrap();
        Kme::with_clock(config, ledger, clock).unwrap()
    });
    opened.await.unwrap()
}

/// Whether no KME can be made of this.
pub(crate) fn refuses(config: KmeConfig) -> bool {
    let options = Options {
        place: Place::Memory,
        kme: config.id.clone(),
        kek: Kek::from_secret(SecretBytes::from_vec(vec![17; 32])).unwrap(),
        limits: LedgerLimits::default(),
        scrub_within: Duration::from_secs(10),
        anchor: None,
    };
    Kme::new(config, Ledger::open(options).unwrap()).is_err()
}

impl World {
    /// Alice and Carol at A, Bob at B.
    pub(crate) async fn new() -> Self {
        Self::with(|_config| {}).await
    }

    pub(crate) async fn with(adjust: impl Fn(&mut KmeConfig)) -> Self {
        Self::of(TWO, LedgerLimits::default(), adjust).await
    }

    /// On `SQLite` files, so that a KME can come back.
    pub(crate) async fn on_disk(plan: Plan<'_>, adjust: impl Fn(&mut KmeConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = |kme: &str| Place::Sqlite(folder.path().join(kme));
        let mut world = Self::in_places(plan, place, LedgerLimits::default(), adjust).await;
        world.folder = Some(folder);
        world
    }

    pub(crate) async fn of(plan: Plan<'_>, limits: LedgerLimits, adjust: impl Fn(&mut KmeConfig)) -> Self {
        Self::in_places(plan, |_kme| Place::Memory, limits, adjust).await
    }

    pub(crate) async fn in_places(
        plan: Plan<'_>,
        place: impl Fn(&str) -> Place,
        limits: LedgerLimits,
        adjust: impl Fn(&mut KmeConfig),
    ) -> Self {
        let ca = LabCa::new("test network").unwrap();
        let clock = TestClock::new();
        let listeners: Vec<_> = plan.iter().map(|_| StdListener::bind("127.0.0.1:0").unwrap()).collect();
        let addrs: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        let mut wires = Vec::new();
        for from in 0..plan.len() {
            for to in (0..plan.len()).filter(|to| *to != from) {
                wires.push(((from, to), Wire::new(addrs[to]).await));
            }
        }
        let mut sites = Vec::new();
        for (own, listener) in listeners.into_iter().enumerate() {
            let saes = |site: usize| plan[site].1.iter().map(|name| sae(name));
            let peers = wires
                .iter()
                .filter(|((from, _), _)| *from == own)
                .map(|((_, to), wire)| PeerConfig::new(kme_id(plan[*to].0), wire.addr.to_string(), saes(*to)));
            let mut config = KmeConfig::new(kme_id(plan[own].0), saes(own), peers);
            config.limits.peer_timeout = Duration::from_secs(2);
            adjust(&mut config);
            let place = place(plan[own].0);
            let kme = open(&config, &place, limits, &clock).await;
            let runtime = runtime();
            let server = {
                let _inside = runtime.enter();
                Some(serve(&kme, listener, &ca, plan[own].0))
            };
            let (runtime, clock) = (Some(runtime), clock.clone());
            let site = Site { kme, addr: addrs[own], server, config, place, runtime, clock };
            site.report(&report(LinkState::Up, "all is well"));
            sites.push(site);
        }
        Self { ca, sites, wires, next_block: 0, folder: None, clock }
    }

    pub(crate) fn a(&self) -> &Site {
        &self.sites[0]
    }

    pub(crate) fn b(&self) -> &Site {
        &self.sites[1]
    }

    /// The books of A and of B of the link between them.
    pub(crate) async fn books(&self) -> (Accounting, Accounting) {
        (self.a().books_with("kme-b").await, self.b().books_with("kme-a").await)
    }

    /// The wire from A to B.
    pub(crate) fn wire(&self) -> &Wire {
        self.wire_of(0, 1)
    }

    pub(crate) fn wire_of(&self, from: usize, to: usize) -> &Wire {
        &self.wires.iter().find(|(ends, _)| *ends == (from, to)).unwrap().1
    }

    /// A block for every link, in which every 8 bytes are unlike any other 8 bytes of this world.
    pub(crate) async fn make_block(&mut self) {
        let number = self.next_block;
        self.next_block += 1;
        for first in 0..self.sites.len() {
            for second in first + 1..self.sites.len() {
                let link = (first * 8 + second) as u64;
                let words =
                    (0..BLOCK as u64 / 8).map(|word| (1 << 63 | link << 48 | number << 32 | word).to_be_bytes());
                let bits: Vec<u8> = words.flatten().collect();
                for (here, there) in [(first, second), (second, first)] {
                    let there = self.sites[there].id().to_string();
                    assert_eq!(self.sites[here].deposit(&there, number, &bits).await, Deposited::Pooled);
                }
            }
        }
    }

    pub(crate) fn client(&self, name: &str, addr: SocketAddr) -> KmeClient {
        let Identity { chain, key } = self.ca.issue(name).unwrap();
        KmeClient::new(&addr.to_string(), vec![self.ca.root()], chain, key).unwrap()
    }

    pub(crate) fn alice(&self) -> KmeClient {
        self.client("alice", self.a().addr)
    }

    pub(crate) fn bob(&self) -> KmeClient {
        self.client("bob", self.b().addr)
    }

    pub(crate) async fn check_books(&self) {
        for site in &self.sites {
            for peer in &site.config.peers {
                let books = site.books_with(peer.kme_id.as_str()).await;
                assert!(books.balances(), "{} to {}: {books:?}", site.id(), peer.kme_id);
            }
        }
    }

    /// Waits until every KME has told its peers all.
    pub(crate) async fn all_told(&self) {
        for site in &self.sites {
            until("every message is heard", async || site.has_told_all().await).await;
        }
    }

    /// A second process of a site, on the same ledger and behind the same address.
    pub(crate) async fn twin(&mut self, site: usize) -> Site {
        let of = &self.sites[site];
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let kme = open(&of.config, &of.place, LedgerLimits::default(), &self.clock).await;
        let runtime = runtime();
        let server = {
            let _inside = runtime.enter();
            Some(serve(&kme, listener, &self.ca, of.id().as_str()))
        };
        let (config, place, clock) = (of.config.clone(), of.place.clone(), self.clock.clone());
        let twin = Site { kme, addr, server, config, place, runtime: Some(runtime), clock };
        twin.report(&report(LinkState::Up, "all is well"));
        for (_, wire) in self.wires.iter().filter(|((_, to), _)| *to == site) {
            wire.to.lock().unwrap().push(addr);
        }
        twin
    }

    pub(crate) fn config(&self, site: usize) -> KmeConfig {
        self.sites[site].config.clone()
    }

    pub(crate) async fn stop_b(&mut self) {
        self.sites[1].stop().await;
    }

    pub(crate) fn start_b(&mut self) {
        self.sites[1].serve_as(&self.ca, "kme-b");
    }

    pub(crate) async fn kill(&mut self, site: usize) {
        self.sites[site].kill().await;
    }

    pub(crate) async fn revive(&mut self, site: usize) {
        self.sites[site].revive(&self.ca).await;
    }

    pub(crate) async fn end(mut self) {
        self.check_books().await;
        for site in &mut self.sites {
            if let Some(server) = site.server.take() {
                server.shutdown().await;
            }
        }
    }

    /// Sends `request` as it is, as `name` (or without a certificate), and returns status and body.
    pub(crate) async fn raw(&self, name: Option<&str>, addr: SocketAddr, request: &str) -> std::io::Result<Answer> {
        let who = name.map(|name| self.ca.issue(name).unwrap());
        raw(who, self.ca.root(), addr, request, rustls::DEFAULT_VERSIONS).await
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Waits until `seen`, which must come before long.
pub(crate) async fn until(what: &str, seen: impl AsyncFn() -> bool) {
    let waiting = async {
        while !seen().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(30), waiting).await.is_ok(), "waited in vain: {what}");
}

pub(crate) fn report(state: LinkState, reason: &str) -> LinkReport {
    LinkReport { state, qber: Some(0.021), threshold: 0.11, rate_bps: 10_000.0, reason: reason.to_owned() }
}

pub(crate) fn identity(ca: &LabCa, name: &str) -> TlsIdentity {
    let Identity { chain, key } = ca.issue(name).unwrap();
    TlsIdentity { roots: vec![ca.root()], chain, key, crls: Vec::new() }
}

pub(crate) fn serve(kme: &Kme, listener: StdListener, ca: &LabCa, name: &str) -> KmeHandle {
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    kme.serve(listener, identity(ca, name), std::future::pending()).unwrap()
}

/// The status and the message of a refusal.
pub(crate) fn refused(result: Result<impl Sized, ClientError>) -> (u16, String) {
    match result {
        Err(ClientError::Refused { status, message, .. }) => (status, message),
        Err(other) => panic!("not a refusal: {other}"),
        Ok(_) => panic!("granted"),
    }
}

/// The message of a 503 with `Retry-After`.
pub(crate) fn unavailable(result: Result<impl Sized, ClientError>) -> String {
    match result {
        Err(ClientError::Refused { status: 503, message, retry_after: Some(_), .. }) => message,
        Err(other) => panic!("not 503: {other}"),
        Ok(_) => panic!("granted"),
    }
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
    tls.flush().await?;
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
const CUT: u8 = 2;

/// A TCP proxy, to one place or to several in turn. Muted, it swallows what comes back; cut, it lets nobody connect and
/// breaks what is open.
pub(crate) struct Wire {
    pub(crate) addr: SocketAddr,
    to: Arc<Mutex<Vec<SocketAddr>>>,
    mode: Arc<AtomicU8>,
    task: tokio::task::JoinHandle<()>,
}

impl Wire {
    async fn new(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, mode) = (listener.local_addr().unwrap(), Arc::new(AtomicU8::new(OPEN)));
        let to = Arc::new(Mutex::new(vec![to]));
        let (shared, targets) = (Arc::clone(&mode), Arc::clone(&to));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            let mut turn = 0;
            while let Ok((near, _)) = listener.accept().await {
                let mode = Arc::clone(&shared);
                if mode.load(Ordering::SeqCst) == CUT {
                    continue;
                }
                turn += 1;
                let mut targets = targets.lock().unwrap().clone();
                let first = turn % targets.len();
                targets.rotate_left(first);
                connections.spawn(async move {
                    let Some(far) = first_of(&targets).await else { return };
                    let (near_read, near_write) = near.into_split();
                    let (far_read, far_write) = far.into_split();
                    tokio::select! {
                        () = pipe(near_read, far_write, &mode, false) => {}
                        () = pipe(far_read, near_write, &mode, true) => {}
                    }
                });
            }
        });
        Self { addr, to, mode, task }
    }

    pub(crate) fn mute(&self, mute: bool) {
        self.mode.store(if mute { MUTE } else { OPEN }, Ordering::SeqCst);
    }

    pub(crate) fn cut(&self, cut: bool) {
        self.mode.store(if cut { CUT } else { OPEN }, Ordering::SeqCst);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn first_of(targets: &[SocketAddr]) -> Option<TcpStream> {
    for target in targets {
        if let Ok(far) = TcpStream::connect(target).await {
            return Some(far);
        }
    }
    None
}

async fn pipe(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin, mode: &AtomicU8, back: bool) {
    let mut buffer = [0; 4096];
    while let Ok(len) = from.read(&mut buffer).await {
        let mode = mode.load(Ordering::SeqCst);
        if len == 0 || mode == CUT {
            return;
        }
        if (mode == OPEN || !back) && to.write_all(&buffer[..len]).await.is_err() {
            return;
        }
    }
}
