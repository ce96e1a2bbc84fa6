//! `vernam kme run`: a KME as a service.
//!
//! It opens the ledger and the audit trail, serves, feeds each link from its source, and shows metrics, until SIGTERM or
//! Ctrl-C; then it lets requests under way end, closes the ledger and exits with status 0. A second signal ends it at
//! once. On SIGHUP, and when one of its files changes, it reads configuration and certificates anew: what is wrong is
//! told, and the old ones stay in force. systemd is told of each step (`sd_notify(3)`).

mod feeds;
mod notify;
mod page;
mod watch;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch as channel;
use vernam_kme::settings::{AuditSettings, Loaded, LogFormat, Settings};
use vernam_kme::{Audit, Kme, Metrics, TlsIdentity, serve_metrics};
use vernam_ledger::{Ledger, Options};

use self::feeds::Feeds;
use self::page::Page;
use self::watch::Watch;
use super::{audit, load};

/// How long after the first signal to end another one counts as the same.
const ONE_WISH: Duration = Duration::from_secs(1);

/// How long blocking work that is left over may keep the process, once all is closed.
const LETTING_GO: Duration = Duration::from_secs(2);
/// How often files and the audit trail are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Runs the KME of `loaded`, which was read from `config`; returns the exit status.
pub fn run(config: &Path, loaded: Loaded, format: LogFormat) -> anyhow::Result<u8> {
    let Loaded { settings, tls, warnings } = loaded;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    raise_open_files(&settings);
    let kek = || settings.ledger.kek.load().context("the key-encryption key cannot be had");
    // First the ledger: it tells a wrong key and a second process apart, which the trail would take for damage.
    let ledger = Ledger::open(Options {
        place: settings.ledger.place.load().context("the ledger's place cannot be had")?,
        kme: settings.kme.id.clone(),
        kek: kek()?,
        limits: settings.ledger.limits,
        scrub_within: settings.ledger.scrub_within,
        anchor: settings.ledger.anchor.clone(),
    })
    .context("the ledger cannot be opened")?;
    let trail = match &settings.audit {
        Some(named) => Some(audit::open(named, &settings.kme.id, &kek()?)?),
        None => None,
    };
    let kme = Kme::new(settings.kme.clone(), ledger)?;
    // Half of the machine: the ledger's thread does as much as all of these together, and on a machine of two cores a
    // second one here costs a tenth more for each request.
    let workers = std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .context("the worker threads cannot be started")?;
    let service = Service { config, settings, kme, trail: trail.map(Arc::new), format };
    let status = runtime.block_on(service.run(tls));
    runtime.shutdown_timeout(LETTING_GO);
    status
}

struct Service<'a> {
    config: &'a Path,
    settings: Settings,
    kme: Kme,
    trail: Option<Arc<Audit>>,
    format: LogFormat,
}

/// Why the service ends.
enum End {
    Asked,
    TrailFailed,
}

impl Service<'_> {
    async fn run(mut self, tls: TlsIdentity) -> anyhow::Result<u8> {
        // Signals that come from here on are not lost.
        let mut signals = Signals::new()?;
        let listener = bind(self.settings.listen).await?;
        let metrics_listener = match self.settings.metrics {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let metrics = Arc::new(Metrics::new(&self.settings.kme.id, env!("CARGO_PKG_VERSION")));
        self.kme.add_observer(Arc::clone(&metrics) as _);
        if let Some(trail) = &self.trail {
            self.kme.add_observer(Arc::clone(trail) as _);
        }
        let handle = self.kme.serve(listener, tls, std::future::pending())?;
        let mut feeds = Feeds::default();
        feeds.follow(&self.kme, &self.settings);

        let (stop, stopping) = channel::channel(false);
        let is_required = self.settings.audit.as_ref().is_some_and(|audit| audit.required);
        let trail = self.trail.clone().filter(|_| is_required);
        let page = Arc::new(Page::new(self.kme.clone(), metrics, &self.settings.kme, trail));
        let metrics_address = metrics_listener.as_ref().map(TcpListener::local_addr).transpose()?;
        let showing = metrics_listener.map(|listener| {
            let (page, mut stopping) = (Arc::clone(&page), stopping);
            tokio::spawn(serve_metrics(listener, page, async move {
                let _either = stopping.wait_for(|stop| *stop).await;
            }))
        });
        self.tell_where(handle.local_addr(), metrics_address);
        notify::ready();

        let end = self.attend(&mut signals, &page, &mut feeds).await;

        notify::stopping();
        tracing::info!("the KME ends: requests under way are finished");
        tokio::spawn(async move {
            // Some senders signal the process and its group, which is one wish.
            tokio::time::sleep(ONE_WISH).await;
            signals.stop().await;
            tracing::warn!("a second signal: ended at once");
            std::process::exit(1);
        });
        handle.shutdown().await;
        feeds.end().await;
        stop.send_replace(true);
        if let Some(showing) = showing {
            let _ended = showing.await;
        }
        let closed = self.kme.ledger().close().await;
        if let Some(trail) = self.trail.take() {
            let _blocking = tokio::task::spawn_blocking(move || trail.end()).await;
        }
        closed.context("the ledger could not be closed in order; nothing is lost that was promised")?;
        match end {
            End::Asked => Ok(0),
            End::TrailFailed => bail!("the audit trail cannot be written, and it is required"),
        }
    }

    /// Reads files anew when asked to, until it is time to end.
    async fn attend(&mut self, signals: &mut Signals, page: &Page, feeds: &mut Feeds) -> End {
        let mut watch = Watch::new(self.config, &self.settings);
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                asked = signals.next() => match asked {
                    Asked::Stop => return End::Asked,
                    Asked::Reload => {
                        let _either = watch.has_changed(); // what has changed until now is read now
                        self.reload(&mut watch, page, feeds).await;
                    }
                },
                _ = look.tick() => {
                    if watch.has_changed() {
                        self.reload(&mut watch, page, feeds).await;
                    }
                    if self.is_without_trail() {
                        return End::TrailFailed;
                    }
                }
            }
        }
    }

    fn is_without_trail(&self) -> bool {
        let is_required = self.settings.audit.as_ref().is_some_and(|audit| audit.required);
        is_required && self.trail.as_ref().is_some_and(|trail| trail.failed())
    }

    async fn reload(&mut self, watch: &mut Watch, page: &Page, feeds: &mut Feeds) {
        notify::reloading();
        let config = self.config.to_owned();
        let loaded = tokio::task::spawn_blocking(move || load(&config)).await;
        match loaded {
            Ok(Ok(loaded)) => self.put_into_force(loaded, watch, page, feeds),
            Ok(Err(error)) => tracing::error!("what was in force stays in force: {error:#}"),
            Err(error) => tracing::error!(%error, "the configuration could not be read"),
        }
        notify::ready();
    }

    fn put_into_force(&mut self, loaded: Loaded, watch: &mut Watch, page: &Page, feeds: &mut Feeds) {
        let Loaded { mut settings, tls, warnings } = loaded;
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        for what in needs_restart(&self.settings, &settings) {
            tracing::warn!("{what} has changed, which a restart puts into force");
        }
        // These stay as they are until then.
        settings.kme.limits.max_pool_bits = self.settings.kme.limits.max_pool_bits;
        settings.listen = self.settings.listen;
        settings.ledger = self.settings.ledger.clone();
        settings.metrics = self.settings.metrics;
        settings.audit.clone_from(&self.settings.audit);
        if let Err(error) = self.kme.reload(settings.kme.clone(), tls) {
            tracing::error!("what was in force stays in force: {error}");
            return;
        }
        raise_open_files(&settings);
        feeds.follow(&self.kme, &settings);
        page.follow(&settings.kme);
        watch.follow(&settings);
        self.settings = settings;
        tracing::info!("configuration and certificates were read anew");
    }

    /// For the person who started it; programs read the log.
    fn tell_where(&self, address: SocketAddr, metrics: Option<SocketAddr>) {
        let id = &self.settings.kme.id;
        tracing::info!(kme = %id, %address, metrics = metrics.map(tracing::field::display), "the KME serves");
        if self.format == LogFormat::Text {
            let metrics = metrics.map(|metrics| format!(", metrics at http://{metrics}/metrics")).unwrap_or_default();
            // It serves, whoever reads that.
            let _best_effort = writeln!(io::stdout(), "{id} serves at https://{address}{metrics}");
        }
    }
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen at {address}"))
}

/// What differs and cannot be changed while the KME runs.
fn needs_restart(old: &Settings, new: &Settings) -> Vec<&'static str> {
    let ledger = |settings: &Settings| format!("{:?}", settings.ledger);
    let audit =
        |settings: &Settings| settings.audit.as_ref().map(|AuditSettings { file, required }| (file.clone(), *required));
    [
        ("listen", old.listen != new.listen),
        ("[ledger]", ledger(old) != ledger(new)),
        ("[metrics]", old.metrics != new.metrics),
        ("[audit]", audit(old) != audit(new)),
        ("[log]", old.log != new.log),
    ]
    .into_iter()
    .filter_map(|(what, has_changed)| has_changed.then_some(what))
    .collect()
}

/// The signals that a service knows.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("signals cannot be waited for");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// The next one.
    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.hang_up.recv() => Asked::Reload,
        }
    }

    /// The next one that asks for the end.
    async fn stop(&mut self) {
        while !matches!(self.next().await, Asked::Stop) {}
    }
}

/// What a signal asks for.
enum Asked {
    Stop,
    Reload,
}

/// Allows as many open files as the system lets us, and says so if the limits of the configuration need more.
fn raise_open_files(settings: &Settings) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
    let (limits, peers) = (&settings.kme.limits, settings.kme.peers.len());
    let needed = limits.open_files(peers);
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if u64::try_from(needed).unwrap_or(u64::MAX) > allowed {
        tracing::warn!(
            "[limits] allows connections that need {needed} open files, and the system allows this process {allowed}: \
             allow more (LimitNOFILE= in the systemd unit, or ulimit -n before the start), or lower \
             limits.max_connections; once there are no more, nobody can connect"
        );
    }
}
