//! Two KMEs and two clients, each a process of its own, under load from both sides, that are killed, lose power, run out
//! of disk and have their clocks moved; and the books afterwards.
//!
//! The blocks of the link are known to the test, so that every 8 bytes of key can be told from every other 8 bytes: what
//! is given out twice is seen even where the `key_ID`s differ.

#![expect(clippy::print_stdout, reason = "a run shows its seed, and what it found")]

pub mod client;
mod evidence;
pub mod site;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::power::Loss;
use client::{ORDERS, Orders};
pub use evidence::Verdict;
use site::Site;

/// Bytes of each block of the link.
const BLOCK: usize = 64 << 10;
/// Blocks that may wait in a folder before no more are made.
const MOST_WAITING_BLOCKS: usize = 4;
/// How long anything may take that is not under attack.
const PATIENCE: Duration = Duration::from_mins(1);

/// Where the KMEs keep their ledgers.
#[derive(Debug, Clone)]
pub enum Ledgers {
    /// One process a site, a file each.
    Sqlite,
    /// Two processes a site behind one address; the connection strings of the sites' databases.
    Postgres([String; 2]),
}

/// What is done to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// kill -9 to a KME.
    KillKme,
    /// kill -9 to a client.
    KillClient,
    /// A site loses its power.
    CutPower(Loss),
    /// A site's disk refuses to sync for a while.
    FailSyncs,
    /// A site's disk is full for a while.
    FillDisk,
    /// A site's clock jumps.
    MoveClock,
}

/// One run.
pub struct Plan<'a> {
    /// The program `vernam`.
    pub program: &'a Path,
    /// How to start a client process: program and arguments.
    pub client: Vec<String>,
    /// The ledgers.
    pub ledgers: Ledgers,
    /// What can happen, each as likely as any other.
    pub blows: Vec<Blow>,
    /// How often something happens.
    pub times: usize,
    /// Of every choice.
    pub seed: u64,
}

/// Runs the plan and returns what was found.
///
/// # Errors
/// What could not be set up, or a process that ended by itself.
pub fn run(plan: &Plan<'_>, folder: &Path) -> anyhow::Result<Verdict> {
    println!("seed {} ({} blows of {:?}, {:?})", plan.seed, plan.times, plan.blows, plan.ledgers);
    let mut world = World::start(plan, folder)?;
    world.until("keys flow both ways", |world| world.evidence().is_ok_and(|found| found.is_flowing()))?;
    for number in 0..plan.times {
        let pause = world.rng.random_range(5..120);
        world.wait(Duration::from_millis(pause))?;
        let blow = *plan.blows.choose(&mut world.rng).context("a plan has blows")?;
        world.strike(blow).with_context(|| format!("blow {number}: {blow:?}"))?;
    }
    world.heal()?;
    world.finish()
}

struct World {
    folder: PathBuf,
    sites: [Site; 2],
    clients: [Runner; 2],
    blocks: u64,
    source: ChaCha8Rng,
    rng: ChaCha8Rng,
    /// How many keys lost answers can explain; `None` where a clock jumped, which makes keys expire.
    most_gone: Option<usize>,
}

/// A process that is started again after each kill.
struct Runner {
    command: Vec<String>,
    orders: Orders,
    child: Option<Child>,
    lives: u64,
}

const NAMES: [&str; 2] = ["alice", "bob"];

impl World {
    fn start(plan: &Plan<'_>, folder: &Path) -> anyhow::Result<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(plan.seed);
        let certificates = folder.join("certificates");
        let saes = NAMES.map(str::to_owned);
        site::certificates(&certificates, &saes)?;
        let Plan { program, ledgers, .. } = plan;
        let saes = saes.map(|sae| vec![sae]);
        let plot = site::Plot { program, ledgers, saes, certificates: &certificates, is_faulty: true, settings: "" };
        let sites = site::pair(&plot, folder)?;
        let client = |end: usize| {
            let (name, other) = (NAMES[end], NAMES[1 - end]);
            let orders = Orders {
                name: name.to_owned(),
                other: other.to_owned(),
                kme: format!("https://{}", sites[end].address()),
                certificates: certificates.clone(),
                log: folder.join(format!("{name}.log")),
                other_log: folder.join(format!("{other}.log")),
                rest: folder.join("rest"),
                seed: 0,
            };
            Runner { command: plan.client.clone(), orders, child: None, lives: 0 }
        };
        let clients = [client(0), client(1)];
        // Each blow can lose the answer to one request of each client, or those of a second when they share a connection.
        let most_gone = (!plan.blows.contains(&Blow::MoveClock)).then_some(plan.times * 2 * client::MOST as usize);
        let source = ChaCha8Rng::seed_from_u64(rng.next_u64());
        let mut world = Self { folder: folder.to_owned(), sites, clients, blocks: 0, source, rng, most_gone };
        for site in &mut world.sites {
            site.start_all()?;
        }
        for end in 0..2 {
            world.start_client(end)?;
        }
        Ok(world)
    }

    fn start_client(&mut self, end: usize) -> anyhow::Result<()> {
        let seed = self.rng.next_u64();
        let Runner { command, orders, child, lives } = &mut self.clients[end];
        *lives += 1;
        orders.seed = seed;
        let (program, arguments) = command.split_first().context("a client has a program")?;
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder.join("clients.out"))?;
        *child = Some(
            Command::new(program)
                .args(arguments)
                .env(ORDERS, serde_json::to_string(orders)?)
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()?,
        );
        Ok(())
    }

    /// Makes key while there is room for it.
    fn make_blocks(&mut self) -> anyhow::Result<()> {
        while self.sites.iter().all(|site| site.waiting_blocks() < MOST_WAITING_BLOCKS) {
            let mut bits = vec![0; BLOCK];
            self.source.fill_bytes(&mut bits);
            for site in &self.sites {
                site.offer_block(self.blocks, &bits)?;
            }
            self.blocks += 1;
        }
        Ok(())
    }

    /// Lets everybody work for `time`.
    fn wait(&mut self, time: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + time;
        loop {
            self.make_blocks()?;
            for site in &mut self.sites {
                site.check_alive()?;
            }
            for (end, client) in self.clients.iter_mut().enumerate() {
                if let Some(child) = &mut client.child
                    && let Some(status) = child.try_wait()?
                {
                    bail!("the client of {} ended by itself: {status}; see clients.out", NAMES[end]);
                }
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(Duration::from_millis(10)));
        }
    }

    fn until(&mut self, what: &str, mut reached: impl FnMut(&mut Self) -> bool) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        while !reached(self) {
            ensure!(Instant::now() < end, "waited in vain: {what}");
            self.wait(Duration::from_millis(50))?;
        }
        Ok(())
    }

    fn strike(&mut self, blow: Blow) -> anyhow::Result<()> {
        let end = self.rng.random_range(0..2);
        let site = &mut self.sites[end];
        match blow {
            Blow::KillKme => {
                let which = self.rng.random_range(0..site.processes());
                site.kill(which)?;
                // Sometimes the other side has to do without it for a while.
                let pause = [0, 0, 30, 300][self.rng.random_range(0..4)];
                self.wait(Duration::from_millis(pause))?;
                self.sites[end].start(which)
            }
            Blow::KillClient => {
                if let Some(mut child) = self.clients[end].child.take() {
                    child.kill()?;
                    child.wait()?;
                }
                self.start_client(end)
            }
            Blow::CutPower(loss) => {
                site.kill_all()?;
                site.faults.cut_power(loss, &mut self.rng)?;
                site.start_all()
            }
            Blow::FailSyncs => {
                site.faults.fail_syncs_after(self.rng.random_range(0..4))?;
                self.wait(Duration::from_millis(150))?;
                self.sites[end].faults.heal()
            }
            Blow::FillDisk => {
                site.faults.fill_disk_after(self.rng.random_range(0..20_000))?;
                self.wait(Duration::from_millis(300))?;
                self.sites[end].faults.heal()
            }
            Blow::MoveClock => {
                const DAY: i64 = 86_400;
                let jumps = [0, 61, -61, 3 * DAY, -3 * DAY, 400 * DAY, -400 * DAY];
                site.faults.set_clock(jumps[self.rng.random_range(0..jumps.len())])
            }
        }
    }

    /// Everything works again; the clients stop drawing and collect what is left.
    fn heal(&mut self) -> anyhow::Result<()> {
        for site in &self.sites {
            site.faults.heal()?;
            site.faults.set_clock(0)?;
        }
        // Both must still be at work after all that: fresh keys flow.
        let before = self.evidence()?;
        self.until("keys flow again after the last blow", |world| {
            world.evidence().is_ok_and(|now| now.is_further_than(&before))
        })?;
        fs::write(self.folder.join("rest"), [])?;
        self.until("every key that was drawn is collected or known to be gone", |world| {
            world.evidence().is_ok_and(|now| now.is_settled())
        })
    }

    fn evidence(&self) -> anyhow::Result<evidence::Evidence> {
        let [alice, bob] = &self.clients;
        evidence::Evidence::read(&alice.orders.log, &bob.orders.log)
    }

    /// Ends the clients; moves the clocks on, so that all that nobody collects expires; ends the KMEs; reads the books.
    fn finish(mut self) -> anyhow::Result<Verdict> {
        for client in &mut self.clients {
            if let Some(mut child) = client.child.take() {
                child.kill()?;
                child.wait()?;
            }
        }
        // What expires at one end is told to the other: a few rounds of the housekeeping.
        let end = Instant::now() + PATIENCE;
        let mut days = 0;
        let verdict = loop {
            // A word that arrives late gives a key another month.
            days += 60;
            for site in &self.sites {
                site.faults.set_clock(days * 86_400)?;
            }
            std::thread::sleep(Duration::from_secs(3));
            for site in &mut self.sites {
                site.stop_all()?;
            }
            let books = [self.sites[0].books()?, self.sites[1].books()?];
            let verdict = self.evidence()?.verdict(&books, self.most_gone);
            if verdict.is_clean() || Instant::now() > end {
                break verdict;
            }
            for site in &mut self.sites {
                site.start_all()?;
            }
        };
        println!("{verdict}");
        Ok(verdict)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for client in &mut self.clients {
            if let Some(mut child) = client.child.take() {
                let _ended_already = child.kill();
                let _status = child.wait();
            }
        }
    }
}
