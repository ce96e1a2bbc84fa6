//! One `vernam call` or `vernam answer`: a process, what it told, and what it costs.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;

/// The longest that a wait takes for anything that should take a moment.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// Events shown when a wait was in vain.
const TAIL: usize = 12;

/// A running telephone.
pub struct Handset {
    name: &'static str,
    child: Child,
    stdin: Option<ChildStdin>,
    told: Arc<Told>,
    /// The first event that waits look at.
    from: usize,
    log: PathBuf,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Told {
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Default)]
struct State {
    events: Vec<(Instant, Value)>,
    is_over: bool,
}

impl Handset {
    pub(super) fn start(name: &'static str, mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let errors = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let mut child = command.spawn().context("vernam cannot be run")?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("stdout was asked for")?;
        let told = Arc::new(Told::default());
        let tape = Arc::clone(&told);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                tape.open().events.push((Instant::now(), event));
                tape.more.notify_all();
            }
            tape.open().is_over = true;
            tape.more.notify_all();
        });
        Ok(Self { name, child, stdin, told, from: 0, log: log.to_owned(), reader: Some(reader) })
    }

    /// From now on waits look only at what is told after this.
    pub fn forget(&mut self) {
        self.from = self.told.open().events.len();
    }

    /// Waits for an event of this kind (`"event"`), and gives it.
    #[track_caller]
    pub fn wait(&self, kind: &str) -> Value {
        self.wait_for(kind, |event| event["event"] == kind)
    }

    /// Waits for an event that is such, and gives it.
    #[track_caller]
    pub fn wait_for(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let begin = Instant::now();
        let mut state = self.told.open();
        loop {
            if let Some((_, event)) = state.events.iter().skip(self.from).find(|(_, event)| is(event)) {
                return event.clone();
            }
            if state.is_over || begin.elapsed() > PATIENCE {
                let why = if state.is_over { "ended" } else { "did not come" };
                drop(state);
                panic!("{}: {what} {why}; its last words:\n{}", self.name, self.tail());
            }
            let waited = self.told.more.wait_timeout(state, Duration::from_millis(200));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Every event of this kind so far, with when it came.
    pub fn all(&self, kind: &str) -> Vec<(Instant, Value)> {
        let state = self.told.open();
        state.events.iter().filter(|(_, event)| event["event"] == kind).cloned().collect()
    }

    /// The last `tick` so far.
    pub fn tick(&self) -> Option<Value> {
        self.all("tick").pop().map(|(_, tick)| tick)
    }

    /// What was told since it was started, a line each, with seconds; ticks are left out.
    pub fn story(&self) -> String {
        let state = self.told.open();
        let Some((first, _)) = state.events.first() else { return String::new() };
        let told = state.events.iter().filter(|(_, event)| event["event"] != "tick");
        let line =
            |(at, event): &(Instant, Value)| format!("  {:>7.3} {event}", at.duration_since(*first).as_secs_f64());
        told.map(line).collect::<Vec<_>>().join("\n")
    }

    /// Presses keys, as a person would at the telephone.
    pub fn press(&mut self, keys: &str) -> anyhow::Result<()> {
        let stdin = self.stdin.as_mut().context("the telephone has ended")?;
        stdin.write_all(keys.as_bytes())?;
        Ok(stdin.flush()?)
    }

    /// Asks it to end as Ctrl-C does, and waits until it has.
    pub fn end(mut self) -> anyhow::Result<()> {
        let asked = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status()?;
        ensure!(asked.success(), "{} cannot be asked to end", self.name);
        let begin = Instant::now();
        while self.child.try_wait()?.is_none() {
            ensure!(begin.elapsed() < PATIENCE, "{} does not end; its last words:\n{}", self.name, self.tail());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Sends it a signal by its name, such as `USR1`.
    pub fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status()?;
        ensure!(sent.success(), "{} cannot be sent {signal}", self.name);
        Ok(())
    }

    /// Ends it as a power cut would, for the process alone (`kill -9`).
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// The exit status, if it has ended.
    pub fn ended(&mut self) -> anyhow::Result<Option<i32>> {
        Ok(self.child.try_wait()?.map(|status| status.code().unwrap_or(-1)))
    }

    /// Waits until it ends by itself, and gives its exit status and all that it told.
    pub fn status(mut self) -> anyhow::Result<(i32, Vec<Value>)> {
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = self.ended()? {
                break status;
            }
            ensure!(begin.elapsed() < PATIENCE, "{} does not end; its last words:\n{}", self.name, self.tail());
            std::thread::sleep(Duration::from_millis(20));
        };
        if let Some(reader) = self.reader.take() {
            let _no_panic_in_it = reader.join();
        }
        let told = self.told.open().events.iter().map(|(_, event)| event.clone()).collect();
        Ok((status, told))
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// CPU time that it has used so far, all threads together.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        cpu_of(self.child.id())
    }

    /// Memory that it has in use now, bytes.
    pub fn memory(&self) -> anyhow::Result<u64> {
        memory_of(self.child.id())
    }

    fn tail(&self) -> String {
        let state = self.told.open();
        let told = state.events.iter().filter(|(_, event)| event["event"] != "tick");
        let lines: Vec<String> = told.map(|(_, event)| format!("  {event}")).collect();
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let log: Vec<&str> = log.lines().rev().take(TAIL).collect();
        let last = &lines[lines.len().saturating_sub(TAIL)..];
        let tick = state.events.iter().rev().find(|(_, event)| event["event"] == "tick");
        let tick = tick.map(|(_, tick)| format!("  {tick}\n")).unwrap_or_default();
        format!(
            "{}\n{tick}  and its log:\n  {}",
            last.join("\n"),
            log.into_iter().rev().collect::<Vec<_>>().join("\n  ")
        )
    }
}

impl Drop for Handset {
    fn drop(&mut self) {
        let _it_ended_already = self.child.kill();
        let _reaped = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _no_panic_in_it = reader.join();
        }
    }
}

impl Told {
    fn open(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// CPU time of a process so far, all its threads together, dead ones too (proc(5): `utime` and `stime` of `stat`, in
/// hundredths of a second on Linux).
pub fn cpu_of(process: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, in brackets, may hold anything; what follows does not.
    let (_, rest) = stat.rsplit_once(") ").context("a process has a name")?;
    let ticks: u64 = rest.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}

/// Memory that a process has in use now, bytes (proc(5): `VmRSS` of `status`).
pub fn memory_of(process: u32) -> anyhow::Result<u64> {
    memory_line(process, "VmRSS:")
}

/// The most memory that a process had in use so far, bytes (`VmHWM`).
pub fn peak_memory_of(process: u32) -> anyhow::Result<u64> {
    memory_line(process, "VmHWM:")
}

fn memory_line(process: u32, name: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).context("a process has memory")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1_024)
}
