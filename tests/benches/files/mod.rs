//! Files between two `vernam` processes over loopback, file to file, flushed and in place, beside a bare quinn stream and
//! what people use otherwise: `scp` and `rsync` over an sshd of this bench's own, `sendme` where it is installed.
//!
//! What is timed of ours begins when the first byte may go (the offer is accepted) and ends when the receiver has hashed,
//! flushed and renamed everything. Of the others it is the whole command, less what it takes for an empty file: neither
//! flushes. CPU is that of all processes of a side. Each row is the median of its rounds; the cases take turns.
//!
//! `TMPDIR` says on which file system; `VERNAM_BENCH_MIB` how much other than 1,024. One-time pad takes pads carried by
//! hand (`vernam pad`), which need five times the file's room.

mod bare;
mod others;
mod ours;
mod process;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use self::others::Ssh;
use crate::timing::median;

const SEED: u64 = 1_024;
/// Rounds; the median of each case is shown.
const ROUNDS: usize = 3;
/// Small files in one transfer.
const MANY: usize = 10_000;
/// The longest of them, bytes.
const SMALL: usize = 2_000;

/// What one run of one tool came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Run {
    pub(crate) took: Duration,
    /// CPU of the sender's side, and of the receiver's; where only their sum is known it stands in the first.
    pub(crate) cpu: [Option<Duration>; 2],
    /// Most memory of any process of a side, bytes.
    pub(crate) memory: [Option<u64>; 2],
}

/// A tool, and what its runs came to.
struct Case {
    name: &'static str,
    runs: Vec<Run>,
}

pub(crate) fn run() {
    println!("files: file to file over loopback, in MB/s (10^6), CPU seconds a GB (10^9), most memory of a process");
    if let Err(error) = table().and_then(|()| many()) {
        println!("  could not be measured: {error:#}");
    }
    println!();
}

fn table() -> anyhow::Result<()> {
    let mib = std::env::var("VERNAM_BENCH_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(1_024_usize);
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("source.bin");
    let bytes = fill(&source, mib << 20)?;
    println!("  {mib} MiB, in {}", folder.path().parent().unwrap_or(Path::new("?")).display());
    let ssh = Ssh::start(folder.path()).map_err(|why| println!("  no scp and rsync: {why:#}")).ok();
    let mut cases: Vec<Case> = Vec::new();
    for round in 0..ROUNDS {
        let mut note = |name: &'static str, run: anyhow::Result<Run>| match run {
            Ok(run) => match cases.iter_mut().find(|case| case.name == name) {
                Some(case) => case.runs.push(run),
                None => cases.push(Case { name, runs: vec![run] }),
            },
            Err(why) => println!("  {name}, round {round}: {why:#}"),
        };
        if let Some(ssh) = &ssh {
            note(others::SCP, ssh.scp(&source));
            if others::is_installed("rsync") {
                note(others::RSYNC, ssh.rsync(&source));
            }
        }
        note("bare quinn, memory to memory", bare::run(bytes));
        for suite in ["aes-256-gcm", "chacha20-poly1305", "otp"] {
            note(ours::name(suite), ours::run(&source, suite, bytes));
        }
        if others::is_installed("sendme") {
            note(others::SENDME, others::sendme(&source, folder.path()));
        }
    }
    if !others::is_installed("sendme") {
        println!("  no sendme: it is not installed (cargo install sendme)");
    }
    let scp = cases.iter().find(|case| case.name == others::SCP);
    for case in &cases {
        println!("{}", row(case, scp, bytes));
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "figures of a table")]
fn row(case: &Case, scp: Option<&Case>, bytes: u64) -> String {
    let gigabytes = bytes as f64 / 1e9;
    let seconds = |case: &Case| median(case.runs.iter().map(|run| run.took.as_secs_f64()).collect());
    let cpu = |case: &Case, side: usize| {
        let known: Option<Vec<f64>> =
            case.runs.iter().map(|run| Some(run.cpu[side]?.as_secs_f64() / gigabytes)).collect();
        known.map(median)
    };
    let both = |case: &Case| [0, 1].into_iter().filter_map(|side| cpu(case, side)).sum::<f64>();
    let memory = |side: usize| case.runs.iter().filter_map(|run| run.memory[side]).max();
    let shown = |figure: Option<f64>| figure.map_or("-".to_owned(), |figure| format!("{figure:.2}"));
    let mib = |side: usize| memory(side).map_or("-".to_owned(), |bytes| format!("{:.0}", bytes as f64 / 1_048_576.0));
    let mut line = format!(
        "  {:<32} {:>6.0} MB/s  CPU {:>5} + {:>5} s/GB  memory {:>4} / {:>4} MiB",
        case.name,
        gigabytes * 1e3 / seconds(case),
        shown(cpu(case, 0)),
        shown(cpu(case, 1)),
        mib(0),
        mib(1)
    );
    if let Some(scp) = scp {
        let ratio = seconds(scp) / seconds(case);
        let _to_memory = write!(line, "  {ratio:>5.2} x scp");
        if let Some(mark) = ours::mark(case.name) {
            let met = |is: bool| if is { "met" } else { "MISSED" };
            let small = [0, 1].into_iter().filter_map(memory).all(|bytes| bytes < 64 << 20);
            let _to_memory = write!(
                line,
                "  mark {mark:.1}: {}; CPU below scp's {:.2}: {}; under 64 MiB: {}",
                met(ratio >= mark),
                both(scp),
                met(both(case) < both(scp)),
                met(small)
            );
        }
    }
    line
}

/// Ten thousand small files in one transfer.
fn many() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let top = folder.path().join("many");
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut bytes = 0;
    for number in 0..MANY {
        let below = top.join(format!("{:02}", number % 100));
        std::fs::create_dir_all(&below)?;
        let mut content = vec![0; usize::try_from(random.next_u32())? % SMALL];
        random.fill_bytes(&mut content);
        bytes += content.len() as u64;
        std::fs::write(below.join(format!("{number}.txt")), content)?;
    }
    let mut runs = Vec::new();
    for _round in 0..ROUNDS {
        runs.push(ours::run(&top, "aes-256-gcm", bytes)?.took.as_secs_f64());
    }
    let rate = f64::from(u32::try_from(MANY)?) / median(runs);
    let met = if rate >= 2_000.0 { "met" } else { "MISSED" };
    println!("  {MANY} files of up to {SMALL} bytes, aes-256-gcm: {rate:.0} files/s  mark 2000: {met}");
    Ok(())
}

/// Writes a file of random bytes, and gives its length.
fn fill(path: &PathBuf, len: usize) -> anyhow::Result<u64> {
    use std::io::Write as _;
    let mut file = std::fs::File::create(path).with_context(|| format!("{} cannot be made", path.display()))?;
    let (mut random, mut piece) = (ChaCha8Rng::seed_from_u64(SEED), vec![0; 1 << 20]);
    for _mebibyte in 0..len >> 20 {
        random.fill_bytes(&mut piece);
        file.write_all(&piece)?;
    }
    file.sync_all()?;
    Ok(len as u64)
}
