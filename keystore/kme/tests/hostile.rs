//! Hostile clients against a KME over TLS. While they go on, another SAE's Status and Get key work; memory stays bounded;
//! in the end every connection is closed.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test ends at the first surprise, and tells what it measured"
)]

mod world;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use vernam_ca::Identity;
use vernam_kme::{KmeConfig, Limits};
use world::{World, get, sae};

/// Connections of those who only hold them.
const IDLE: usize = 2_000;
/// Open files that the test itself and its KMEs need beside the idle connections, which take one at each end.
const SPARE_FILES: usize = 500;
/// What the process may grow by under each of the attacks, in KiB: 2,000 TLS connections at both of their ends, one of
/// the largest bodies for each of the connections that an SAE may have, and room for the allocator.
const MOST_GROWTH_KIB: u64 = 400 << 10;
/// Nothing here takes this long; who waits longer has been forgotten by the server.
const PATIENCE: Duration = Duration::from_secs(20);

type Tls = TlsStream<TcpStream>;

/// Connects as one SAE again and again, without a new certificate each time.
struct Dialer {
    connector: TlsConnector,
    addr: SocketAddr,
}

impl Dialer {
    fn new(world: &World, name: &str) -> Self {
        let Identity { chain, key } = world.ca.issue(name).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(world.ca.root()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .unwrap();
        Self { connector: TlsConnector::from(Arc::new(config)), addr: world.a().addr }
    }

    async fn connect(&self) -> std::io::Result<Tls> {
        self.over(TcpStream::connect(self.addr).await?).await
    }

    /// With so little room for answers that the server soon has to wait.
    async fn connect_with_little_room(&self) -> std::io::Result<Tls> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(4096)?;
        self.over(socket.connect(self.addr).await?).await
    }

    async fn over(&self, tcp: TcpStream) -> std::io::Result<Tls> {
        self.connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await
    }
}

/// Resident memory of this process, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

/// How many idle connections the limit on open files allows; says so if it is fewer than we want.
fn idle_connections() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let files = line.split_ascii_whitespace().nth(3).unwrap().parse().unwrap_or(usize::MAX);
    let possible = files.saturating_sub(SPARE_FILES) / 2;
    if possible < IDLE {
        println!("only {possible} of {IDLE} idle connections: {files} open files are allowed (ulimit -n)");
    }
    assert!(possible >= 100, "{files} open files are too few for this test");
    possible.min(IDLE)
}

/// A world with key, and short limits of time so that the test need not wait long.
async fn world() -> World {
    let mut world = World::with(|config: &mut KmeConfig| {
        config.limits.idle_timeout = Duration::from_secs(2);
        config.limits.body_timeout = Duration::from_secs(2);
        config.limits.handshake_timeout = Duration::from_secs(2);
        config.limits.write_timeout = Duration::from_secs(2);
    })
    .await;
    world.make_block().await;
    world
}

/// Limits of time that no test lives to see: what is closed was not closed for being idle.
fn patient(limits: &mut Limits) {
    limits.idle_timeout = Duration::from_hours(1);
    limits.body_timeout = Duration::from_hours(1);
    limits.handshake_timeout = Duration::from_hours(1);
    limits.write_timeout = Duration::from_hours(1);
}

/// What Carol asks for while Alice misbehaves: all that she needs, on a new connection.
async fn carol_is_served(world: &World) {
    let carol = world.client("carol", world.a().addr);
    timeout(PATIENCE, carol.status(&sae("bob"))).await.unwrap().unwrap();
    let keys = timeout(PATIENCE, carol.enc_keys(&sae("bob"), 1, 256)).await.unwrap().unwrap();
    let same = world.bob().dec_keys(&sae("carol"), &[keys[0].key_id]).await.unwrap();
    assert_eq!(keys[0].key.expose("test"), same[0].key.expose("test"));
}

/// Reads to the end, whatever it is; at most `most` bytes. Whether the server has ended the connection.
async fn is_closed(connection: &mut (impl AsyncReadExt + Unpin), most: usize) -> bool {
    let mut buffer = vec![0; 16 << 10];
    let mut read = 0;
    let reading = async {
        while read <= most {
            match connection.read(&mut buffer).await {
                Ok(0) | Err(_) => return true,
                Ok(len) => read += len,
            }
        }
        false
    };
    timeout(PATIENCE, reading).await.unwrap_or(false)
}

/// How many of the connections the server has not closed yet. Nothing is to be read from any.
async fn open(held: &mut [Tls]) -> usize {
    let mut open = 0;
    for connection in held {
        let mut byte = [0];
        // Without waiting: what is closed is ready.
        let read = connection.read(&mut byte);
        open += usize::from(timeout(Duration::ZERO, read).await.is_err());
    }
    open
}

/// Waits until so many are open, and no fewer.
async fn until_open(held: &mut [Tls], count: usize) {
    let falling = async {
        loop {
            let open = open(held).await;
            assert!(open >= count, "only {open} of {count} are left");
            if open == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(timeout(PATIENCE, falling).await.is_ok(), "{} are open instead of {count}", open(held).await);
}

fn assert_bounded(before: u64) {
    let grown = resident().saturating_sub(before);
    assert!(grown < MOST_GROWTH_KIB, "memory has grown by {grown} KiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_without_a_word() {
    let world = world().await;
    let (before, count) = (resident(), idle_connections());
    let mut held = Vec::new();
    for number in 0..count {
        held.push(TcpStream::connect(world.a().addr).await.unwrap());
        if number % 500 == 0 {
            carol_is_served(&world).await;
        }
    }
    carol_is_served(&world).await;
    assert_bounded(before);
    for connection in &mut held {
        assert!(is_closed(connection, 0).await);
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_of_one_sae() {
    const SHARE: usize = 30;
    let mut world = World::with(|config| {
        patient(&mut config.limits);
        config.limits.max_connections_per_caller = SHARE;
    })
    .await;
    world.make_block().await;
    let (before, count) = (resident(), idle_connections());
    let alice = Dialer::new(&world, "alice");
    let mut held = Vec::new();
    for number in 0..count {
        // Beyond her share of connections, Alice is cut off during the handshake or after it.
        held.extend(alice.connect().await.ok());
        if number % 500 == 0 {
            carol_is_served(&world).await;
        }
    }
    carol_is_served(&world).await;
    assert_bounded(before);
    until_open(&mut held, SHARE).await;
    held.retain_mut(|_all| false);
    let alice = world.alice();
    world::until("her places are free again", async || alice.status(&sae("bob")).await.is_ok()).await;
    world.end().await;
}

/// Nobody of them has more than a share, but together they have more than there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_of_many_saes() {
    const SAES: usize = 40;
    const ALL: usize = 200;
    let names: Vec<String> = (0..SAES).map(|number| format!("sae-{number:02}")).collect();
    let mut world = World::with(|config| {
        patient(&mut config.limits);
        config.limits.max_connections = ALL;
        // As a KME that serves them: behind the other one, they are nobody's business here.
        if config.id.as_str() == "kme-a" {
            config.saes.extend(names.iter().map(|name| sae(name)));
        }
    })
    .await;
    world.make_block().await;
    let each = idle_connections() / SAES;
    let before = resident();
    let dialers: Vec<Dialer> = names.iter().map(|name| Dialer::new(&world, name)).collect();
    let carol = Dialer::new(&world, "carol");
    let ask = get("/api/v1/keys/bob/status");
    let mut times = Vec::new();
    let mut held: Vec<Vec<Tls>> = dialers.iter().map(|_| Vec::new()).collect();
    for _ in 0..each {
        for (dialer, held) in dialers.iter().zip(&mut held) {
            held.extend(dialer.connect().await.ok());
        }
        for _ in 0..4 {
            let began = Instant::now();
            let mut connection = carol.connect().await.unwrap();
            connection.write_all(ask.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            timeout(PATIENCE, connection.read_to_end(&mut answer)).await.unwrap().unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
            times.push(began.elapsed());
        }
    }
    carol_is_served(&world).await;
    assert_bounded(before);
    times.sort_unstable();
    let of = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
    println!(
        "Status on a new connection while {SAES} SAEs hold {ALL} of {}: p50 {:?}, p99 {:?}, worst {:?} of {}",
        SAES * each,
        of(50),
        of(99),
        of(100),
        times.len()
    );
    // All have the same, but for the few who made room for Carol.
    let mut left = Vec::new();
    for held in &mut held {
        left.push(open(held).await);
    }
    assert!(left.iter().all(|left| (1..=ALL / SAES + 1).contains(left)), "{left:?}");
    assert!(left.iter().sum::<usize>() <= ALL, "{left:?}");
    world.end().await;
    for connection in held.iter_mut().flatten() {
        assert!(is_closed(connection, 0).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_that_stop_at_each_step() {
    let world = world().await;
    // A whole ClientHello, as rustls writes it, to be cut short everywhere.
    let hello = {
        let roots = Arc::new(RootCertStore::empty());
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        hello
    };
    let garbage: Vec<u8> = (0..4096_u32).map(|number| (number * 167 + 13).to_le_bytes()[0]).collect();
    let mut held = Vec::new();
    for bytes in
        (0..hello.len()).step_by(16).map(|end| &hello[..end]).chain([&hello[..], &garbage[..], b"GET / HTTP/1.1\r\n"])
    {
        let mut tcp = TcpStream::connect(world.a().addr).await.unwrap();
        let _refused = tcp.write_all(bytes).await;
        held.push(tcp);
    }
    carol_is_served(&world).await;
    for connection in &mut held {
        assert!(is_closed(connection, 1 << 20).await);
    }
    world.end().await;
}

/// Clients that hear all that the server has to say, and stop in the midst of their own certificate and signature.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_that_stop_in_the_second_flight() {
    let mut world = World::with(|config| {
        config.limits.handshake_timeout = Duration::from_secs(2);
        config.limits.idle_timeout = Duration::from_hours(1);
    })
    .await;
    world.make_block().await;
    let mut held = Vec::new();
    for share in [0, 1, 5, 50, 99] {
        for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
            let Identity { chain, key } = world.ca.issue("alice").unwrap();
            let mut roots = RootCertStore::empty();
            roots.add(world.ca.root()).unwrap();
            let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(roots)
                .with_client_auth_cert(chain, key)
                .unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
            let mut tcp = TcpStream::connect(world.a().addr).await.unwrap();
            let mut out = Vec::new();
            client.write_tls(&mut out).unwrap();
            tcp.write_all(&out).await.unwrap();
            while !client.wants_write() {
                let mut flight = vec![0; 8192];
                let len = timeout(PATIENCE, tcp.read(&mut flight)).await.unwrap().unwrap();
                assert!(len > 0, "the server has hung up");
                client.read_tls(&mut &flight[..len]).unwrap();
                client.process_new_packets().unwrap();
            }
            let mut out = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut out).unwrap();
            }
            tcp.write_all(&out[..out.len() * share / 100]).await.unwrap();
            held.push(tcp);
        }
    }
    carol_is_served(&world).await;
    for connection in &mut held {
        assert!(is_closed(connection, 1 << 20).await);
    }
    world.end().await;
}

/// Requests that never end, one byte at a time: heads and bodies. And requests that are too much of something.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_and_bodies_without_end() {
    let world = world().await;
    let before = resident();
    let alice = Arc::new(Dialer::new(&world, "alice"));
    let post = "POST /api/v1/keys/bob/enc_keys HTTP/1.1\r\nhost: kme\r\n";
    let (braces, letters, headers) = ("{".repeat(16_384), "a".repeat(16_384), "x-header: 1\r\n".repeat(1_000));
    let chunk = format!("4000\r\n{}\r\n", " ".repeat(0x4000));
    let slow = Duration::from_millis(20);
    let starts = [
        (String::new(), "G", slow),
        (format!("{post}content-length: 1000\r\n\r\n"), "{", slow),
        (format!("{post}content-length: 1073741824\r\n\r\n"), &braces, Duration::ZERO),
        (format!("{post}transfer-encoding: chunked\r\n\r\n"), &chunk, Duration::ZERO),
        (format!("{post}transfer-encoding: chunked\r\n\r\n"), "1\r\n \r\n", Duration::ZERO),
        ("GET /".to_owned(), &letters, Duration::ZERO),
        ("GET / HTTP/1.1\r\n".to_owned(), &headers, Duration::ZERO),
    ];
    let mut attacks = JoinSet::new();
    for (start, more, pause) in starts {
        let (alice, more) = (Arc::clone(&alice), more.to_owned());
        attacks.spawn(async move {
            let (mut read, mut write) = tokio::io::split(alice.connect().await.unwrap());
            let head = start.clone();
            let writing = tokio::spawn(async move {
                let _refused = write.write_all(head.as_bytes()).await;
                while write.write_all(more.as_bytes()).await.is_ok() && write.flush().await.is_ok() {
                    tokio::time::sleep(pause).await;
                }
            });
            let closed = is_closed(&mut read, 1 << 20).await;
            writing.abort();
            (start, closed)
        });
    }
    carol_is_served(&world).await;
    while let Some(ended) = attacks.join_next().await {
        let (what, closed) = ended.unwrap();
        assert!(closed, "{what}");
    }
    assert_bounded(before);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_a_row_and_answers_nobody_reads() {
    const REQUESTS: usize = 1_000;
    let world = world().await;
    let before = resident();
    let alice = Dialer::new(&world, "alice");
    let status = "GET /api/v1/keys/bob/status HTTP/1.1\r\nhost: kme\r\n\r\n";
    let mut unread = Vec::new();
    for _ in 0..20 {
        let mut connection = alice.connect().await.unwrap();
        // As much as the server takes: once nobody reads its answers, it stops reading.
        let flood = status.repeat(REQUESTS * 20);
        let _stuck = timeout(Duration::from_millis(100), connection.write_all(flood.as_bytes())).await;
        unread.push(connection);
    }
    carol_is_served(&world).await;
    assert_bounded(before);
    drop(unread);
    // A patient one gets an answer to each, in order.
    let mut connection = alice.connect().await.unwrap();
    let row = status.repeat(REQUESTS - 1) + &get("/api/v1/keys/bob/status");
    connection.write_all(row.as_bytes()).await.unwrap();
    let mut answers = Vec::new();
    timeout(PATIENCE, connection.read_to_end(&mut answers)).await.unwrap().unwrap();
    assert_eq!(String::from_utf8(answers).unwrap().matches("HTTP/1.1 200 OK").count(), REQUESTS);
    world.end().await;
}

/// The server cannot get rid of its answers, and must not wait for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_who_stop_are_cut_off() {
    let mut world = World::with(|config| {
        patient(&mut config.limits);
        config.limits.write_timeout = Duration::from_secs(1);
    })
    .await;
    world.make_block().await;
    let alice = Arc::new(Dialer::new(&world, "alice"));
    let status = "GET /api/v1/keys/bob/status HTTP/1.1\r\nhost: kme\r\n\r\n".repeat(100);
    let mut readers = JoinSet::new();
    for _ in 0..5 {
        let (alice, status) = (Arc::clone(&alice), status.clone());
        readers.spawn(async move {
            let mut connection = alice.connect_with_little_room().await.unwrap();
            // Ends when the server has gone: as long as it lives, there is room, or none and this waits.
            while connection.write_all(status.as_bytes()).await.is_ok() && connection.flush().await.is_ok() {}
        });
    }
    carol_is_served(&world).await;
    while let Some(ended) = timeout(PATIENCE, readers.join_next()).await.expect("the server does not cut them off") {
        ended.unwrap();
    }
    // Who reads slowly, but reads, gets all.
    let mut slow = alice.connect_with_little_room().await.unwrap();
    let row = status.clone() + &get("/api/v1/keys/bob/status");
    slow.write_all(row.as_bytes()).await.unwrap();
    let mut answers = Vec::new();
    let mut buffer = [0; 2048];
    loop {
        let len = timeout(PATIENCE, slow.read(&mut buffer)).await.unwrap().unwrap();
        if len == 0 {
            break;
        }
        answers.extend_from_slice(&buffer[..len]);
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    assert_eq!(String::from_utf8(answers).unwrap().matches("HTTP/1.1 200 OK").count(), 101);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_closed_connections() {
    let world = world().await;
    let alice = Dialer::new(&world, "alice");
    let mut held = Vec::new();
    for request in ["", "GET /api", &get("/api/v1/keys/bob/status")] {
        let mut connection = alice.connect().await.unwrap();
        connection.write_all(request.as_bytes()).await.unwrap();
        connection.shutdown().await.unwrap();
        held.push(connection);
    }
    for connection in &mut held {
        assert!(is_closed(connection, 1 << 20).await);
    }
    carol_is_served(&world).await;
    world.end().await;
}

/// One SAE asks for more than can be answered: it is refused with words, the other one is served meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_requests() {
    const CONNECTIONS: usize = 40;
    let world = world().await;
    let alice = Arc::new(Dialer::new(&world, "alice"));
    let mut flood = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let alice = Arc::clone(&alice);
        flood.spawn(async move {
            let mut connection = alice.connect().await.unwrap();
            let ask = "GET /api/v1/keys/bob/enc_keys?size=64 HTTP/1.1\r\nhost: kme\r\n\r\n";
            let row = ask.repeat(9) + &get("/api/v1/keys/bob/enc_keys?size=64");
            connection.write_all(row.as_bytes()).await.unwrap();
            let mut answers = Vec::new();
            timeout(PATIENCE, connection.read_to_end(&mut answers)).await.unwrap().unwrap();
            let answers = String::from_utf8(answers).unwrap();
            let count = |status: &str| answers.matches(status).count();
            (count("HTTP/1.1 200 OK"), count("HTTP/1.1 503 Service Unavailable"))
        });
    }
    carol_is_served(&world).await;
    let (mut granted, mut refused) = (0, 0);
    while let Some(answers) = flood.join_next().await {
        let (ok, not_now) = answers.unwrap();
        granted += ok;
        refused += not_now;
    }
    assert_eq!(granted + refused, CONNECTIONS * 10, "every request has its answer");
    assert!(granted > 0);
    world.end().await;
}

/// A head that hyper gives up on must neither pass nor leave its sender waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_are_too_long_hear_so_at_once() {
    // The usual limits: whoever waits for the idle timeout here has not been answered.
    let world = World::new().await;
    let line = |len: usize| format!("x-line: {}\r\n", "a".repeat(len - 10));
    for (what, middle) in [
        ("one long line", line(40 << 10)),
        ("many lines", line(1 << 10).repeat(40)),
        ("more lines than are allowed", line(20).repeat(100)),
        ("far too long", line(800 << 10)),
    ] {
        for end in ["\r\n", ""] {
            if end.is_empty() && middle.len() < 32 << 10 {
                continue; // it may yet become a good one
            }
            let request = format!("GET /api/v1/keys/bob/status HTTP/1.1\r\nhost: kme\r\n{middle}{end}");
            let asked = world.raw(Some("alice"), world.a().addr, &request);
            let answer = timeout(PATIENCE, asked).await.unwrap_or_else(|_late| panic!("{what}: no answer"));
            let answer = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(answer.status, 431, "{what}: {answer:?}");
            assert!(answer.message().contains("too long"), "{what}: {answer:?}");
        }
    }
    // Who is still writing when the answer comes hears it all the same.
    let mut writing = Dialer::new(&world, "alice").connect().await.unwrap();
    for part in [format!("GET / HTTP/1.1\r\n{}", line(40 << 10)), line(100 << 10), line(100 << 10)] {
        writing.write_all(part.as_bytes()).await.unwrap();
        writing.flush().await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut answer = Vec::new();
    timeout(PATIENCE, writing.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    let allowed = format!("GET /api/v1/keys/bob/status HTTP/1.1\r\nconnection: close\r\n{}\r\n", line(30 << 10));
    assert_eq!(world.raw(Some("alice"), world.a().addr, &allowed).await.unwrap().status, 200);
    world.end().await;
}
