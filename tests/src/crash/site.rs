//! One site: its KME processes, their folder, and the machine they believe to run on.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use vernam_ca::LabCa;
use vernam_ledger::{Kek, Ledger, LedgerLimits, LinkView, Options, Place};

use super::{Ledgers, PATIENCE};
use crate::power::Faults;

const IDS: [&str; 2] = ["kme-a", "kme-b"];

/// One site.
pub struct Site {
    id: &'static str,
    program: PathBuf,
    folder: PathBuf,
    keys: PathBuf,
    place: Place,
    ports: Vec<u16>,
    children: Vec<Option<Child>>,
    front: Front,
    is_faulty: bool,
    /// The machine that its processes believe to run on.
    pub faults: Faults,
}

/// The certificates of two KMEs and their SAEs: `root.pem`, and `NAME.pem` and `NAME.key` for each of `saes` and the KMEs.
pub fn certificates(folder: &Path, saes: &[String]) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    let ca = LabCa::new("test network")?;
    fs::write(folder.join("root.pem"), ca.root_pem())?;
    for name in saes.iter().map(String::as_str).chain(IDS) {
        let identity = ca.issue(name)?;
        fs::write(folder.join(format!("{name}.pem")), identity.chain_pem())?;
        write_private(&folder.join(format!("{name}.key")), identity.key_pem().as_bytes())?;
    }
    Ok(())
}

/// What both sites have in common.
pub struct Plot<'a> {
    /// The program `vernam`.
    pub program: &'a Path,
    /// Where the ledgers are.
    pub ledgers: &'a Ledgers,
    /// The SAEs of each site.
    pub saes: [Vec<String>; 2],
    /// Where [`certificates`] put them.
    pub certificates: &'a Path,
    /// Whether the sites stand on a machine with faults.
    pub is_faulty: bool,
    /// More lines for the configuration files, section and all.
    pub settings: &'a str,
}

/// Both sites, set up in `folder` and not started.
pub fn pair(plan: &Plot<'_>, folder: &Path) -> anyhow::Result<[Site; 2]> {
    let processes = if matches!(plan.ledgers, Ledgers::Sqlite) { 1 } else { 2 };
    let fronts = [Front::new(processes)?, Front::new(processes)?];
    let addresses = [fronts[0].address, fronts[1].address];
    let mut sites = Vec::new();
    for (end, front) in fronts.into_iter().enumerate() {
        sites.push(Site::set_up(plan, end, front, addresses[1 - end], folder)?);
    }
    sites.try_into().map_err(|_two| anyhow::anyhow!("there are two sites"))
}

impl Site {
    fn set_up(plan: &Plot<'_>, end: usize, front: Front, peer: SocketAddr, folder: &Path) -> anyhow::Result<Self> {
        let id = IDS[end];
        let folder = folder.join(id);
        let root = folder.join("disk");
        let keys = root.join("keys");
        let faults = Faults::new(&root, &folder.join("beside"))?;
        make_private_folder(&keys)?;
        let kek = folder.join("kek");
        write_private(&kek, &[7; 32])?;
        let place = match &plan.ledgers {
            Ledgers::Sqlite => Place::Sqlite(root.join("ledger.db")),
            Ledgers::Postgres(urls) => Place::Postgres(urls[end].clone()),
        };
        let mut site = Self {
            id,
            program: plan.program.to_owned(),
            folder,
            keys,
            place,
            ports: Vec::new(),
            children: Vec::new(),
            front,
            is_faulty: plan.is_faulty,
            faults,
        };
        for which in 0..site.front.backends.len() {
            let port = free_port()?;
            site.front.backends[which].store(port.into(), Ordering::Relaxed);
            site.ports.push(port);
            site.children.push(None);
            fs::write(site.config_path(which), site.config(plan, end, which, peer))?;
        }
        Ok(site)
    }

    fn config_path(&self, which: usize) -> PathBuf {
        self.folder.join(format!("kme-{which}.toml"))
    }

    /// The configuration file of one process.
    fn config(&self, plan: &Plot<'_>, end: usize, which: usize, peer: SocketAddr) -> String {
        let other = 1 - end;
        let (id, peer_id) = (IDS[end], IDS[other]);
        let names = |end: usize| format!("\"{}\"", plan.saes[end].join("\", \""));
        let (saes, peer_saes) = (names(end), names(other));
        let (port, certificates, folder) = (self.ports[which], plan.certificates.display(), self.folder.display());
        let settings = plan.settings;
        let place = match &self.place {
            Place::Postgres(connection) => format!("kind = \"postgres\"\nconnection = \"{connection}\""),
            _ => "path = \"disk/ledger.db\"".to_owned(),
        };
        // One process of a site takes the blocks; the others share what is in the ledger.
        let source = if which == 0 {
            "[peer.source]\nkind = \"directory\"\nfolder = \"disk/keys\"\nevery = \"100ms\"\n"
        } else {
            ""
        };
        format!(
            "id = \"{id}\"\nlisten = \"127.0.0.1:{port}\"\nsaes = [{saes}]\n\n\
             [tls]\ncertificate = \"{certificates}/{id}.pem\"\nkey = \"{certificates}/{id}.key\"\n\
             roots = \"{certificates}/root.pem\"\n\n\
             [[peer]]\nid = \"{peer_id}\"\naddress = \"{peer}\"\nsaes = [{peer_saes}]\n{source}\n\
             [ledger]\n{place}\n[ledger.kek]\nfile = \"{folder}/kek\"\n\n\
             [audit]\nfile = \"disk/audit-{which}.jsonl\"\n\n{settings}\n"
        )
    }

    /// Where its SAEs and its peer connect: `127.0.0.1:port`.
    pub fn address(&self) -> SocketAddr {
        self.front.address
    }

    /// How many processes it has.
    pub fn processes(&self) -> usize {
        self.children.len()
    }

    /// Starts every process.
    pub fn start_all(&mut self) -> anyhow::Result<()> {
        (0..self.processes()).try_for_each(|which| self.start(which))
    }

    /// Starts a process, and waits until it listens.
    pub fn start(&mut self, which: usize) -> anyhow::Result<()> {
        let log =
            fs::OpenOptions::new().create(true).append(true).open(self.folder.join(format!("kme-{which}.out")))?;
        let mut command = Command::new(&self.program);
        command.args(["--log", "info", "kme", "run", "--config"]).arg(self.config_path(which));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        if self.is_faulty {
            self.faults.infect(&mut command);
        }
        self.children[which] = Some(command.spawn().context("the program cannot be started")?);
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.ports[which])).is_err() {
            self.check_alive()?;
            anyhow::ensure!(Instant::now() < end, "{} does not listen; see its folder", self.id);
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Fails if a process ended by itself.
    pub fn check_alive(&mut self) -> anyhow::Result<()> {
        for child in self.children.iter_mut().flatten() {
            if let Some(status) = child.try_wait()? {
                bail!("{} ended by itself: {status}; see kme-*.out in {}", self.id, self.folder.display());
            }
        }
        Ok(())
    }

    /// kill -9.
    pub fn kill(&mut self, which: usize) -> anyhow::Result<()> {
        if let Some(mut child) = self.children[which].take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// kill -9 to all.
    pub fn kill_all(&mut self) -> anyhow::Result<()> {
        (0..self.processes()).try_for_each(|which| self.kill(which))
    }

    /// The process IDs, for their CPU times.
    pub fn pids(&self) -> Vec<u32> {
        self.children.iter().flatten().map(Child::id).collect()
    }

    /// Asks every process to end, and waits for it.
    pub fn stop_all(&mut self) -> anyhow::Result<()> {
        for child in &mut self.children {
            let Some(mut child) = child.take() else { continue };
            let asked = Command::new("kill").arg(child.id().to_string()).status()?;
            anyhow::ensure!(asked.success(), "the program cannot be asked to end");
            let status = child.wait()?;
            anyhow::ensure!(status.success(), "{} ended with {status}", self.id);
        }
        Ok(())
    }

    /// How every link stands, read by the test itself. No process of the site runs.
    pub fn books(&self) -> anyhow::Result<Vec<LinkView>> {
        let ledger = Ledger::open(Options {
            place: self.place.clone(),
            kme: self.id.parse()?,
            kek: Kek::from_file(&self.folder.join("kek"))?,
            limits: LedgerLimits::default(),
            scrub_within: Duration::from_secs(1),
            anchor: None,
        })?;
        #[expect(
            clippy::redundant_closure_for_method_calls,
            reason = "the method has one lifetime, and all are wanted"
        )]
        let views = ledger.run_blocking(|book| book.links())?;
        Ok(views)
    }

    /// Blocks that were offered and not taken yet.
    pub fn waiting_blocks(&self) -> usize {
        let is_block = |entry: &fs::DirEntry| entry.file_name() != ".kme-lock";
        fs::read_dir(&self.keys).map_or(0, |entries| entries.flatten().filter(is_block).count())
    }

    /// Puts a block of the link into its folder.
    pub fn offer_block(&self, number: u64, bits: &[u8]) -> anyhow::Result<()> {
        let unfinished = self.folder.join("unfinished");
        write_private(&unfinished, bits)?;
        Ok(fs::rename(unfinished, self.keys.join(format!("block-{number:020}.key")))?)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ended_already = self.kill_all();
    }
}

/// Writes a file that its owner alone can read.
pub fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let _not_there = fs::remove_file(path);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    Ok(file.write_all(bytes)?)
}

fn make_private_folder(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    Ok(fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?)
}

/// The one address of a site: hands each connection to a process that listens.
struct Front {
    address: SocketAddr,
    backends: Arc<Vec<AtomicUsize>>,
    stop: Arc<AtomicBool>,
}

impl Front {
    fn new(processes: usize) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let backends: Arc<Vec<AtomicUsize>> = Arc::new((0..processes).map(|_| AtomicUsize::new(0)).collect());
        let stop = Arc::new(AtomicBool::new(false));
        let (ports, stopped) = (Arc::clone(&backends), Arc::clone(&stop));
        std::thread::spawn(move || {
            for (turn, near) in listener.incoming().enumerate() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(near) = near else { continue };
                let far = (0..ports.len()).find_map(|step| {
                    let port = ports[(turn + step) % ports.len()].load(Ordering::Relaxed);
                    TcpStream::connect(("127.0.0.1", u16::try_from(port).ok()?)).ok()
                });
                let Some(far) = far else { continue };
                for (from, to) in [(near.try_clone(), far.try_clone()), (Ok(far), Ok(near))] {
                    let (Ok(from), Ok(to)) = (from, to) else { continue };
                    std::thread::spawn(move || pass_on(from, to));
                }
            }
        });
        Ok(Self { address, backends, stop })
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _wakes_it = TcpStream::connect(self.address);
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 16 << 10];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..len]).is_err() {
            break;
        }
    }
    let _closed_already = (from.shutdown(std::net::Shutdown::Both), to.shutdown(std::net::Shutdown::Both));
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
