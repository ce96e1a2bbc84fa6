//! The ledger alone, in a SQLite file: whether a key costs the same however much lies in the pool, and what memory is
//! needed for ten million keys.
//!
//! The baseline of each row is the smallest pool, in rounds that take turns.

#![expect(clippy::cast_precision_loss, reason = "figures of a table, far below 2^52")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use vernam_etsi014::KmeId;
use vernam_key::SecretBytes;
use vernam_ledger::{Kek, Ledger, LedgerLimits, Options, Place, Wish};

use super::timing::median;

const SEED: u64 = 104;
/// Bytes of a key.
const KEY: u32 = 32;
const BLOCK: usize = 1 << 20;
/// Keys in our half of the pool.
const POOLS: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];
const ROUNDS: usize = 15;
/// Requests of a round, each of one key: as many keys as the smallest pool can spare.
const REQUESTS: u32 = 60;
/// Keys in a request of the long run.
const MANY: u32 = 128;
const MANY_KEYS: u64 = 10_000_000;

struct Site {
    ledger: Ledger,
    link: KmeId,
    rng: ChaCha8Rng,
    next: u64,
}

impl Site {
    fn new(folder: &Path, name: &str) -> anyhow::Result<Self> {
        let ledger = Ledger::open(Options {
            place: Place::Sqlite(folder.join(name)),
            kme: "kme-a".parse()?,
            kek: Kek::from_secret(SecretBytes::from_vec(vec![4; 32])).expect("32 bytes"),
            limits: LedgerLimits { max_pool_bits: 1 << 40, ..LedgerLimits::default() },
            scrub_within: Duration::from_secs(10),
            anchor: None,
        })?;
        Ok(Self { ledger, link: "kme-b".parse()?, rng: ChaCha8Rng::seed_from_u64(SEED), next: 0 })
    }

    /// Adds `keys` keys to our half.
    fn fill(&mut self, keys: u64) -> anyhow::Result<()> {
        let mut left = usize::try_from(keys * u64::from(KEY) * 2)?;
        while left > 0 {
            let mut bits = vec![0; left.min(BLOCK)];
            left -= bits.len();
            self.rng.fill_bytes(&mut bits);
            let (link, number, bits) = (self.link.clone(), self.next, SecretBytes::from_vec(bits));
            self.next += 1;
            self.ledger.run_blocking(move |book| book.deposit(&link, number, &bits, now()))??;
        }
        Ok(())
    }

    /// Cuts and delivers `number` keys, as one request does.
    fn draw(&mut self, number: u32) -> anyhow::Result<()> {
        let wish = Wish {
            link: self.link.clone(),
            master: "alice".parse()?,
            remote: vec!["bob".parse()?],
            local: Vec::new(),
            relays: Vec::new(),
            number,
            bytes: KEY,
            not_before: None,
            leave_bits: 0,
            deadline: now() + Duration::from_mins(1),
        };
        let mut rng = ChaCha8Rng::seed_from_u64(self.rng.next_u64());
        let cut = self.ledger.run_blocking(move |book| book.cut(&wish, now(), &mut rng))?;
        let cut = cut.map_err(|short| anyhow::anyhow!("{short:?}"))?.reservation;
        let keys = self.ledger.run_blocking(move |book| book.deliver(cut, now()))?;
        anyhow::ensure!(keys.is_some_and(|keys| keys.len() == number as usize));
        // The peer has heard: else its messages would pile up.
        let link = self.link.clone();
        self.ledger.run_blocking(move |book| {
            let heard: Vec<i64> = book.outbox(&link, 16)?.iter().map(|message| message.seq).collect();
            book.heard(&heard)
        })?;
        Ok(())
    }
}

fn now() -> Duration {
    Duration::from_hours(24 * 365 * 50)
}

pub(crate) fn run() {
    println!("ledger: a request for one key (cut, delivered, heard: three durable steps), SQLite, by keys in the pool");
    if let Err(error) = pools() {
        println!("  could not be measured: {error:#}");
    }
    println!();
}

fn pools() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut sites = Vec::new();
    for keys in POOLS {
        let mut site = Site::new(folder.path(), &format!("{keys}.db"))?;
        site.fill(keys)?;
        sites.push((keys, site, Vec::new()));
    }
    for _round in 0..ROUNDS {
        for (_, site, times) in &mut sites {
            let began = Instant::now();
            for _request in 0..REQUESTS {
                site.draw(1)?;
            }
            times.push(began.elapsed().as_secs_f64() / f64::from(REQUESTS));
        }
    }
    let first = median(sites[0].2.clone());
    for (keys, _, times) in &sites {
        let time = median(times.clone());
        println!("  {keys:>9} keys {:>8.0} us   {:>5.2} of the smallest (mark: 0.8 to 1.2)", time * 1e6, time / first);
    }
    Ok(())
}

/// Ten million keys through one ledger: only when it is named.
pub(crate) fn long() {
    println!("ledger-long: {MANY_KEYS} keys through a SQLite ledger, {MANY} a request");
    if let Err(error) = through() {
        println!("  could not be measured: {error:#}");
    }
    println!();
}

fn through() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut site = Site::new(folder.path(), "ledger.db")?;
    let began = Instant::now();
    let (mut drawn, mut stocked, mut told) = (0, 0, 0);
    while drawn < MANY_KEYS {
        if stocked < u64::from(MANY) {
            site.fill(500_000)?;
            stocked += 500_000;
        }
        site.draw(MANY)?;
        drawn += u64::from(MANY);
        stocked -= u64::from(MANY);
        if drawn / 2_000_000 > told {
            told = drawn / 2_000_000;
            let megabytes = fs::metadata(folder.path().join("ledger.db"))?.len() as f64 / 1e6;
            let rate = drawn as f64 / began.elapsed().as_secs_f64();
            println!("  {drawn:>9} keys: {rate:>7.0} keys/s, memory {:.1} MiB, file {megabytes:.1} MB", resident_mib());
        }
    }
    Ok(())
}

/// Resident memory of this process.
fn resident_mib() -> f64 {
    super::kme::memory_of(std::process::id()) as f64 / 1_048_576.0
}
