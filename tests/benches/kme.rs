//! Two KMEs on loopback, each a process with a durable SQLite ledger, mutual TLS: how many keys they hand out, how long
//! a request takes, and what it costs.
//!
//! The baselines are of the same run: Status, which waits for no disk, over the same connections; and how often this disk
//! can be synced by one writer, which bounds everything that is durable without group commit.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures of a table, far below 2^52"
)]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use vernam_etsi014::{KmeClient, SaeId};
use vernam_tests::crash::Ledgers;
use vernam_tests::crash::site::{self, Plot, Site};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vernam-under-test");
const SEED: u64 = 14;
/// Concurrent connections to each KME.
const CONNECTIONS: usize = 8;
/// How long each row is measured.
const ROUND: Duration = Duration::from_secs(5);
/// Key that both ends have at the start, in blocks of a mebibyte.
const BLOCKS: u64 = 96;
const BLOCK: usize = 1 << 20;
/// Identities that hold idle connections.
const IDLERS: usize = 40;
/// Idle connections altogether.
const IDLE: usize = 2_000;
/// SAEs of the long run, half of them at each end.
const CROWD: usize = 200;
/// Keys a second that they draw together.
const CROWD_RATE: f64 = 4_000.0;
/// Keys in each of their requests.
const CROWD_KEYS: u32 = 10;

/// Two KMEs and a full pool between them.
struct World {
    sites: [Site; 2],
    _folder: tempfile::TempDir,
    certificates: std::path::PathBuf,
}

impl World {
    fn new(saes: [Vec<String>; 2], extra: &[String], settings: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let certificates = folder.path().join("certificates");
        let all: Vec<String> = saes.iter().flatten().chain(extra).cloned().collect();
        site::certificates(&certificates, &all)?;
        let plot = Plot {
            program: Path::new(PROGRAM),
            ledgers: &Ledgers::Sqlite,
            saes,
            certificates: &certificates,
            is_faulty: false,
            settings,
        };
        let mut sites = site::pair(&plot, folder.path())?;
        for site in &mut sites {
            site.start_all()?;
        }
        let world = Self { sites, _folder: folder, certificates };
        world.fill(0, BLOCKS)?;
        Ok(world)
    }

    /// Gives both ends blocks, and waits until they have taken them.
    fn fill(&self, first: u64, number: u64) -> anyhow::Result<()> {
        let mut rng = ChaCha8Rng::seed_from_u64(SEED + first);
        let mut bits = vec![0; BLOCK];
        for block in first..first + number {
            rng.fill_bytes(&mut bits);
            self.sites.iter().try_for_each(|site| site.offer_block(block, &bits))?;
        }
        let end = Instant::now() + Duration::from_mins(2);
        while self.sites.iter().any(|site| site.waiting_blocks() > 0) {
            anyhow::ensure!(Instant::now() < end, "the KMEs do not take their blocks");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn client(&self, name: &str, end: usize) -> anyhow::Result<KmeClient> {
        let pem = |file: String| fs::read(self.certificates.join(file));
        let (root, chain) = (pem("root.pem".to_owned())?, pem(format!("{name}.pem"))?);
        let kme = self.sites[end].address().to_string();
        Ok(KmeClient::from_pem(&kme, &root, &chain, &pem(format!("{name}.key"))?)?)
    }

    /// User and system time of all KME processes so far.
    fn cpu(&self) -> Duration {
        self.sites.iter().flat_map(Site::pids).map(cpu_of).sum()
    }

    fn memory(&self) -> u64 {
        self.sites.iter().flat_map(Site::pids).map(memory_of).sum()
    }
}

/// What a row measured.
struct Row {
    done: u64,
    seconds: f64,
    latencies: Vec<Duration>,
    cpu: Duration,
}

impl Row {
    fn rate(&self) -> f64 {
        self.done as f64 / self.seconds
    }

    fn print(&mut self, name: &str, unit: &str, mark: &str) {
        self.latencies.sort();
        let at = |share: f64| {
            let index = (self.latencies.len() as f64 * share) as usize;
            self.latencies.get(index.min(self.latencies.len().saturating_sub(1))).map_or(0.0, Duration::as_secs_f64)
        };
        let cpu_ms = self.cpu.as_secs_f64() * 1e3 / self.done.max(1) as f64 / 2.0;
        println!(
            "  {name:<42}{:>9.0} {unit:<9} p50 {:>6.2} ms  p99 {:>6.2} ms  CPU {cpu_ms:>6.3} ms each and KME  {mark}",
            self.rate(),
            at(0.5) * 1e3,
            at(0.99) * 1e3,
        );
    }
}

pub(crate) fn run() {
    println!("kme: two processes, SQLite, mutual TLS, {CONNECTIONS} connections to each (seed {SEED})");
    if let Err(error) = pairs() {
        println!("  could not be measured: {error:#}");
    }
    println!();
}

fn pairs() -> anyhow::Result<()> {
    let idlers: Vec<String> = (0..IDLERS).map(|number| format!("idler-{number}")).collect();
    let mut at_a = vec!["alice".to_owned()];
    at_a.extend(idlers);
    let world = World::new([at_a.clone(), vec!["bob".to_owned()]], &[], "")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    println!("  {:<42}{:>9.0} a second", "this disk, one writer: append and fdatasync", syncs_a_second()?);

    let bob: SaeId = "bob".parse()?;
    let alice: SaeId = "alice".parse()?;
    let mut status = measure(&world, &runtime, |client, _other| {
        let bob = bob.clone();
        async move { client.status(&bob).await.map(|_status| 1).map_err(anyhow::Error::from) }
    })?;
    status.print("Status", "a second", "baseline");
    for (name, number, unit, mark) in [
        ("Get key, Get key with key IDs", 1, "pairs/s", "marks: 1,500 pairs/s, 0.3 ms"),
        ("the same, number=128", 128, "keys/s", "mark: 20,000 keys/s"),
    ] {
        let mut row = measure(&world, &runtime, |client, other| {
            let (alice, bob) = (alice.clone(), bob.clone());
            async move {
                let keys = client.enc_keys(&bob, number, 256).await?;
                let ids: Vec<_> = keys.iter().map(|key| key.key_id).collect();
                let same = other.dec_keys(&alice, &ids).await?;
                anyhow::ensure!(same.len() == keys.len());
                Ok(u64::from(number))
            }
        })?;
        row.print(name, unit, mark);
    }
    idle(&world, &runtime, &bob)
}

/// Status of one SAE while others hold idle connections.
fn idle(world: &World, runtime: &tokio::runtime::Runtime, bob: &SaeId) -> anyhow::Result<()> {
    let once = || -> anyhow::Result<Row> {
        measure(world, runtime, |client, _other| {
            let bob = bob.clone();
            async move { client.status(&bob).await.map(|_status| 1).map_err(anyhow::Error::from) }
        })
    };
    let mut without = once()?;
    without.print("Status, nobody else connected", "a second", "");
    let held = runtime.block_on(hold_idle(world))?;
    let mut with = once()?;
    with.print(&format!("Status, {} idle TLS connections", held.len()), "a second", "");
    let p99 = |row: &Row| row.latencies[row.latencies.len() * 99 / 100].as_secs_f64();
    println!("  p99 with them is {:.2} of p99 without (mark: at most 1.20)", p99(&with) / p99(&without));
    Ok(())
}

/// Connections on which a handshake was done, and nothing more.
async fn hold_idle(world: &World) -> anyhow::Result<Vec<tokio_rustls::client::TlsStream<tokio::net::TcpStream>>> {
    let mut held = Vec::with_capacity(IDLE);
    for number in 0..IDLE {
        let name = format!("idler-{}", number % IDLERS);
        let config = tls(&world.certificates, &name)?;
        let tcp = tokio::net::TcpStream::connect(world.sites[0].address()).await?;
        let server = rustls::pki_types::ServerName::try_from("localhost")?;
        held.push(tokio_rustls::TlsConnector::from(Arc::new(config)).connect(server, tcp).await?);
    }
    Ok(held)
}

fn tls(certificates: &Path, name: &str) -> anyhow::Result<rustls::ClientConfig> {
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_file(certificates.join("root.pem"))?)?;
    let chain = vec![rustls::pki_types::CertificateDer::from_pem_file(certificates.join(format!("{name}.pem")))?];
    let key = rustls::pki_types::PrivateKeyDer::from_pem_file(certificates.join(format!("{name}.key")))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?)
}

/// Runs `act` on [`CONNECTIONS`] connections at once for a while; it returns how much it did.
fn measure<F: Future<Output = anyhow::Result<u64>> + Send>(
    world: &World,
    runtime: &tokio::runtime::Runtime,
    act: impl Fn(Arc<KmeClient>, Arc<KmeClient>) -> F + Send + Sync,
) -> anyhow::Result<Row> {
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| Ok((Arc::new(world.client("alice", 0)?), Arc::new(world.client("bob", 1)?))))
        .collect::<anyhow::Result<_>>()?;
    let act = &act;
    runtime.block_on(async {
        let warm = clients.iter().map(|(alice, bob)| act(Arc::clone(alice), Arc::clone(bob)));
        for warmed in futures_join(warm).await {
            warmed?;
        }
        let (began, cpu) = (Instant::now(), world.cpu());
        let work = clients.iter().map(|(alice, bob)| async move {
            let (mut done, mut latencies) = (0, Vec::new());
            while began.elapsed() < ROUND {
                let start = Instant::now();
                done += act(Arc::clone(alice), Arc::clone(bob)).await?;
                latencies.push(start.elapsed());
            }
            anyhow::Ok((done, latencies))
        });
        let mut row = Row { done: 0, seconds: 0.0, latencies: Vec::new(), cpu: Duration::ZERO };
        for outcome in futures_join(work).await {
            let (done, latencies) = outcome?;
            row.done += done;
            row.latencies.extend(latencies);
        }
        row.seconds = began.elapsed().as_secs_f64();
        row.cpu = world.cpu().saturating_sub(cpu);
        Ok(row)
    })
}

/// All of them at once, on this thread.
async fn futures_join<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut left: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut is_done = true;
        for (future, output) in &mut left {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(ready) => *output = Some(ready),
                    std::task::Poll::Pending => is_done = false,
                }
            }
        }
        if is_done { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    left.into_iter().filter_map(|(_, output)| output).collect()
}

/// 200 SAEs that draw 4,000 keys a second together for ten minutes (`VERNAM_CROWD_SECONDS`): no refusal, stable memory.
pub(crate) fn crowd() {
    let seconds = std::env::var("VERNAM_CROWD_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(600);
    println!(
        "kme-crowd: {CROWD} SAEs draw {CROWD_RATE} keys/s together for {seconds} s, SQLite, mutual TLS (seed {SEED})"
    );
    if let Err(error) = crowd_for(Duration::from_secs(seconds)) {
        println!("  could not be measured: {error:#}");
    }
    println!();
}

fn crowd_for(time: Duration) -> anyhow::Result<()> {
    let names = |end: &str| (0..CROWD / 2).map(|number| format!("{end}-{number}")).collect::<Vec<_>>();
    let world = World::new([names("a"), names("b")], &[], "")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (drawn, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    let stop = AtomicBool::new(false);
    let cpu = world.cpu();
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let (world, stop_ref) = (&world, &stop);
        // Key comes in as it is used; a second thread feeds both ends.
        scope.spawn(move || {
            let mut next = BLOCKS;
            while !stop_ref.load(Ordering::Relaxed) {
                if world.fill(next, 1).is_err() {
                    break;
                }
                next += 1;
                std::thread::sleep(Duration::from_secs(4)); // 1 MiB in 4 s; half of it is each end's own
            }
        });
        let began = Instant::now();
        let watch = scope.spawn(move || {
            let mut peaks = Vec::new();
            while !stop_ref.load(Ordering::Relaxed) {
                peaks.push(world.memory());
                std::thread::sleep(Duration::from_secs(1));
            }
            peaks
        });
        runtime.block_on(async {
            let pause = Duration::from_secs_f64(CROWD as f64 * f64::from(CROWD_KEYS) / CROWD_RATE);
            let work = (0..CROWD).map(|number| {
                let (end, pair) = (number % 2, number / 2);
                let (drawn, refused) = (&drawn, &refused);
                async move {
                    let name = |end: usize| format!("{}-{pair}", ["a", "b"][end]);
                    let (own, other) = (world.client(&name(end), end)?, world.client(&name(1 - end), 1 - end)?);
                    let (master, slave): (SaeId, SaeId) = (name(end).parse()?, name(1 - end).parse()?);
                    tokio::time::sleep(pause.mul_f64(number as f64 / CROWD as f64)).await;
                    let mut due = tokio::time::interval(pause);
                    while began.elapsed() < time {
                        due.tick().await;
                        let Ok(keys) = own.enc_keys(&slave, CROWD_KEYS, 256).await else {
                            refused.fetch_add(1, Ordering::Relaxed);
                            continue;
                        };
                        let ids: Vec<_> = keys.iter().map(|key| key.key_id).collect();
                        match other.dec_keys(&master, &ids).await {
                            Ok(_) => drawn.fetch_add(u64::from(CROWD_KEYS), Ordering::Relaxed),
                            Err(_) => refused.fetch_add(1, Ordering::Relaxed),
                        };
                    }
                    anyhow::Ok(())
                }
            });
            futures_join(work).await.into_iter().collect::<anyhow::Result<()>>()
        })?;
        stop.store(true, Ordering::Relaxed);
        let peaks = watch.join().map_err(|_panic| anyhow::anyhow!("the watch failed"))?;
        let seconds = began.elapsed().as_secs_f64();
        let (first, last) = (peaks.get(peaks.len() / 10), peaks.last());
        let mib = |bytes: Option<&u64>| bytes.map_or(0.0, |bytes| *bytes as f64 / 1_048_576.0);
        println!(
            "  {:.0} keys/s drawn and collected, {} requests refused; memory of both KMEs {:.1} MiB after a tenth of the \
             time, {:.1} at the end, {:.1} at most; CPU {:.2} cores for both",
            drawn.load(Ordering::Relaxed) as f64 / seconds,
            refused.load(Ordering::Relaxed),
            mib(first),
            mib(last),
            mib(peaks.iter().max()),
            world.cpu().saturating_sub(cpu).as_secs_f64() / seconds,
        );
        Ok(())
    })
}

fn syncs_a_second() -> anyhow::Result<f64> {
    let mut file = tempfile::tempfile()?;
    let began = Instant::now();
    let mut syncs = 0.0;
    while began.elapsed() < Duration::from_secs(1) {
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        syncs += 1.0;
    }
    Ok(syncs / began.elapsed().as_secs_f64())
}

/// `utime` and `stime` of proc(5), in clock ticks of 10 ms.
fn cpu_of(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// Resident memory, in bytes.
pub(crate) fn memory_of(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|text| text.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}
