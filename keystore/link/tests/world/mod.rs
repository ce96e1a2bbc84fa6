//! Two ends on loopback, with a wire between them that a test can cut or damage.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};
use vernam_ca::{Identity, LabCa};
use vernam_link::{AliceEnd, BobEnd, Connect, EndSetup, LightSetup, Loss, Pace, PeerEvent, StartupSecret, TlsIdentity};
use vernam_qkd::distil::EndEvent;
use vernam_qkd::{BlockReport, DeviceProfile, DiscardReason, KeyBlock, LinkConfig};

/// A test that waits for so long will wait for ever.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) const SEED: u64 = 20_261_123;

pub(crate) struct World {
    pub(crate) ca: LabCa,
    folder: TempDir,
}

impl World {
    /// A copy of the start-up secret for each end.
    pub(crate) fn new() -> Self {
        println!("seed {SEED}");
        let world = Self { ca: LabCa::new("test network").unwrap(), folder: tempfile::tempdir().unwrap() };
        StartupSecret::generate(world.secret_path("kme-a")).unwrap();
        std::fs::copy(world.secret_path("kme-a"), world.secret_path("kme-b")).unwrap();
        world
    }

    pub(crate) fn secret_path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name).with_extension("secret")
    }

    pub(crate) fn identity(&self, name: &str) -> TlsIdentity {
        let Identity { chain, key } = self.ca.issue(name).unwrap();
        TlsIdentity { roots: vec![self.ca.root()], chain, key }
    }

    /// The end `name`, whose far end is `peer`.
    pub(crate) fn setup(&self, name: &str, peer: &str, connect: Connect) -> EndSetup {
        let secret = StartupSecret::load(self.secret_path(name)).unwrap();
        let mut setup = EndSetup::new(link(), connect, self.identity(name), peer, secret).unwrap();
        setup.seed = Some(SEED);
        setup
    }

    pub(crate) fn alice(&self, connect: Connect) -> AliceEnd {
        AliceEnd::start(self.setup("kme-a", "kme-b", connect), fast()).unwrap()
    }

    pub(crate) fn bob(&self, connect: Connect) -> BobEnd {
        BobEnd::start(self.setup("kme-b", "kme-a", connect)).unwrap()
    }
}

/// A laboratory's link whose blocks are as short as blocks with key in them can be.
pub(crate) fn link() -> LinkConfig {
    let mut device = DeviceProfile::named("lab-1ghz").unwrap();
    // Half of the clicks are for the test, and many are decoys: what a short block needs.
    device.q = 0.4;
    (device.p_signal, device.p_decoy) = (0.5, 0.3);
    device.block_bits = BLOCK_BITS;
    LinkConfig::new(device, 5.0)
}

const BLOCK_BITS: u32 = 100_000;

pub(crate) fn fast() -> LightSetup {
    LightSetup { pace: Pace::AsFastAsPossible { until: Duration::from_hours(1) }, ..LightSetup::default() }
}

pub(crate) async fn anywhere() -> (Connect, SocketAddr) {
    let connect = Connect::listen("127.0.0.1:0").await.unwrap();
    let addr = connect.local_addr().unwrap();
    (connect, addr)
}

pub(crate) fn dial(addr: SocketAddr) -> Connect {
    Connect::Dial(addr.to_string())
}

/// Either end, for what a test asks of both.
pub(crate) trait End {
    async fn next(&mut self) -> Option<PeerEvent>;
}

impl End for AliceEnd {
    async fn next(&mut self) -> Option<PeerEvent> {
        self.event().await
    }
}

impl End for BobEnd {
    async fn next(&mut self) -> Option<PeerEvent> {
        self.event().await
    }
}

/// What an end told until a test had enough.
#[derive(Default)]
pub(crate) struct Story {
    pub(crate) connected: Vec<(u64, bool)>,
    pub(crate) lost: Vec<Loss>,
    pub(crate) refused: Vec<String>,
    pub(crate) blocks: Vec<(u64, KeyBlock, BlockReport)>,
    pub(crate) discarded: Vec<DiscardReason>,
    pub(crate) void: Vec<(u64, u64)>,
    pub(crate) unsettled: Vec<u64>,
    pub(crate) progress: usize,
    pub(crate) failed: Option<String>,
    pub(crate) light_ended: bool,
}

impl Story {
    pub(crate) fn add(&mut self, event: PeerEvent) {
        match event {
            PeerEvent::Connected { run, resumed, .. } => self.connected.push((run, resumed)),
            PeerEvent::Lost(loss) => self.lost.push(loss),
            PeerEvent::Refused(refusal) => self.refused.push(refusal.to_string()),
            PeerEvent::Failed(error) => self.failed = Some(error.to_string()),
            PeerEvent::Unsettled { number } => self.unsettled.push(number),
            PeerEvent::LightEnded { .. } => self.light_ended = true,
            PeerEvent::Distil { run, event: EndEvent::Block { block, report } } => {
                self.blocks.push((run, block, report));
            }
            PeerEvent::Distil { event: EndEvent::Discarded { reason, .. }, .. } => self.discarded.push(reason),
            PeerEvent::Distil { run, event: EndEvent::Void { number } } => self.void.push((run, number)),
            PeerEvent::Distil { event: EndEvent::Progress(_), .. } => self.progress += 1,
            other => panic!("a new kind of event: {other:?}"),
        }
    }

    /// Goes on listening to `end` until `enough`.
    pub(crate) async fn hear(&mut self, end: &mut impl End, enough: impl Fn(&Self) -> bool) {
        let limit = Instant::now() + PATIENCE;
        while !enough(self) {
            let event =
                timeout_at(limit, end.next()).await.unwrap_or_else(|_late| panic!("still not: {}", self.gist()));
            let event = event.unwrap_or_else(|| panic!("the end stopped: {}", self.gist()));
            self.add(event);
        }
    }

    fn gist(&self) -> String {
        format!(
            "{:?}, lost {:?}, refused {:?}, blocks {:?}, {:?}",
            self.connected,
            self.lost,
            self.refused,
            self.names(),
            self.failed
        )
    }

    pub(crate) fn names(&self) -> Vec<(u64, u64)> {
        self.blocks.iter().map(|(run, block, _)| (*run, block.number)).collect()
    }
}

/// Compares the blocks that both ends have, and returns how many those are.
pub(crate) fn blocks_in_common(alice: &Story, bob: &Story) -> usize {
    let mut common = 0;
    for (run, block, report) in &alice.blocks {
        let same = |(other, far, _): &&(u64, KeyBlock, BlockReport)| other == run && far.number == block.number;
        let Some((_, far, far_report)) = bob.blocks.iter().find(same) else { continue };
        assert!(block.bits.expose("test") == far.bits.expose("test"), "block {} of run {run}", block.number);
        assert!(!block.bits.is_empty());
        assert_eq!(report, far_report);
        common += 1;
    }
    for names in [alice.names(), bob.names()] {
        assert!(names.is_sorted_by(|first, second| first < second), "{names:?}");
    }
    common
}

/// A TCP proxy that can be cut, in two ways, and that can flip a bit.
pub(crate) struct Wire {
    pub(crate) addr: SocketAddr,
    cut: watch::Sender<u64>,
    hang: watch::Sender<u64>,
    flip: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Wire {
    pub(crate) async fn new(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let ((cut, cuts), (hang, hangs)) = (watch::channel(0), watch::channel(0));
        let flip = Arc::new(Notify::new());
        let flips = Arc::clone(&flip);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let (mut cuts, mut hangs, flips) = (cuts.clone(), hangs.clone(), Arc::clone(&flips));
                cuts.mark_unchanged();
                hangs.mark_unchanged();
                connections.spawn(async move {
                    let Ok(far) = TcpStream::connect(to).await else { return };
                    near.set_nodelay(true).unwrap();
                    far.set_nodelay(true).unwrap();
                    let far = far.into_std().unwrap();
                    let kept = far.try_clone().unwrap();
                    let (near_read, near_write) = split(near);
                    let (far_read, far_write) = split(TcpStream::from_std(far).unwrap());
                    tokio::select! {
                        () = pipe(near_read, far_write, flips) => {}
                        () = pipe(far_read, near_write, Arc::new(Notify::new())) => {}
                        _ = cuts.changed() => {}
                        _ = hangs.changed() => {
                            tokio::spawn(async move {
                                let _kept = kept;
                                std::future::pending::<()>().await;
                            });
                        }
                    }
                });
            }
        });
        Self { addr, cut, hang, flip, task }
    }

    /// Cuts whatever connection there is.
    pub(crate) fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }

    /// Cuts it so that only the dialling end notices.
    pub(crate) fn hang(&self) {
        self.hang.send_modify(|hangs| *hangs += 1);
    }

    /// Flips a bit of what the dialling end sends next.
    pub(crate) fn flip(&self) {
        self.flip.notify_one();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pipe(mut from: ReadHalf<TcpStream>, mut to: WriteHalf<TcpStream>, flip: Arc<Notify>) {
    let mut buffer = [0; 4096];
    while let Ok(len) = from.read(&mut buffer).await {
        if len == 0 {
            return;
        }
        let flipped = timeout(Duration::ZERO, flip.notified()).await.is_ok();
        buffer[len / 2] ^= u8::from(flipped);
        if to.write_all(&buffer[..len]).await.is_err() {
            return;
        }
    }
}
