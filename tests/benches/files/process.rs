//! A command that is timed: how long it ran, what CPU it and its children took, how much memory it had at most.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use vernam_tests::telephone::peak_memory_of;

/// How often a running command is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// What a command came to.
pub(crate) struct Timed {
    pub(crate) took: Duration,
    pub(crate) cpu: Duration,
    pub(crate) memory: u64,
}

/// Runs a command to its end.
pub(crate) fn time(command: &mut Command) -> anyhow::Result<Timed> {
    let (begin, mut memory) = (Instant::now(), 0);
    let mut child = command.spawn().with_context(|| format!("{command:?} cannot be run"))?;
    // A zombie still has its times, and those of its children.
    while state(&child)? != 'Z' {
        memory = memory.max(peak_memory_of(child.id()).unwrap_or(0));
        std::thread::sleep(LOOK);
    }
    let took = begin.elapsed();
    let cpu = with_children(child.id())?;
    let status = child.wait()?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(Timed { took, cpu, memory })
}

fn state(child: &Child) -> anyhow::Result<char> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id()))?;
    stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).context("a process has a state")
}

/// CPU time of a process and of its children that have ended (proc(5): fields 14 to 17 of `stat`, in hundredths of a
/// second on Linux).
pub(crate) fn with_children(process: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, rest) = stat.rsplit_once(") ").context("a process has a name")?;
    let ticks: u64 = rest.split(' ').skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}
