//! The demo as a person or a script runs it: `vernam demo`, a process of its own.
#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure is the test's own")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use vernam::demo::json;

/// The longest that any of these runs may take: they are asked for 24 seconds.
const LIMIT: Duration = Duration::from_secs(150);
/// Lines that may wait for a test; a run prints a few thousand.
const LINES: usize = 1 << 16;

/// A running demo, in a temporary folder of its own.
struct Run {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<Value>,
    tmp: TempDir,
    began: Instant,
}

/// What it left.
struct Ended {
    status: Option<i32>,
    events: Vec<Value>,
    out: PathBuf,
    tmp: TempDir,
}

impl Run {
    fn start(args: &[&str]) -> Self {
        let tmp = tempfile::Builder::new().prefix("vernam-demo-test-").tempdir().unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_vernam-under-test"));
        program.args(["demo", "--json", "--out"]).arg(tmp.path().join("out")).args(args);
        let mut child = program
            .env("TMPDIR", tmp.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = mpsc::sync_channel(LINES);
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, seen: Vec::new(), tmp, began: Instant::now() }
    }

    /// The next line; `None` at the end.
    fn next(&mut self) -> Option<Value> {
        let left = LIMIT.saturating_sub(self.began.elapsed());
        match self.lines.recv_timeout(left) {
            Ok(line) => {
                let value: Value =
                    serde_json::from_str(&line).unwrap_or_else(|error| panic!("not JSON ({error}): {line}"));
                self.seen.push(value.clone());
                Some(value)
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let _dead = self.child.kill();
                panic!("no end after {LIMIT:?}; the last line: {:?}", self.seen.last());
            }
        }
    }

    fn until(&mut self, event: &str) {
        while let Some(value) = self.next() {
            if value["event"] == event {
                return;
            }
        }
        panic!("the run ended without {event}; the last line: {:?}", self.seen.last());
    }

    fn interrupt(&self) {
        let sent = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    fn end(mut self) -> Ended {
        while self.next().is_some() {}
        let status = self.child.wait().unwrap().code();
        Ended { status, events: self.seen, out: self.tmp.path().join("out"), tmp: self.tmp }
    }
}

impl Ended {
    fn summary(&self) -> &Value {
        let last = self.events.last().expect("at least one line");
        assert_eq!(last["event"], "summary", "the last line");
        last
    }

    /// The whole of what the documentation says of every run.
    #[track_caller]
    fn is_sound(&self) {
        let header: Value = serde_json::from_str(json::HEADER).unwrap();
        assert_eq!(self.events[0], header);
        let mut before = 0.0;
        for event in &self.events[1..] {
            let kind = event["event"].as_str().unwrap_or_else(|| panic!("no kind: {event}"));
            assert!(json::EVENTS.contains(&kind), "{kind} is not documented");
            let at = event["t"].as_f64().unwrap_or_else(|| panic!("no time: {event}"));
            // Ticks are stamped where they happen, and may come a moment after later events of other tasks.
            assert!(at >= before - 5.0, "time goes back from {before} to {at}: {event}");
            before = at;
        }
        assert_eq!(self.events.iter().filter(|event| event["event"] == "summary").count(), 1);
        self.nothing_is_left();
    }

    #[track_caller]
    fn kept_every_promise(&self) {
        let summary = self.summary();
        let promises = summary["promises"].as_array().unwrap();
        let broken: Vec<_> = promises.iter().filter(|check| check["kept"] != true).collect();
        assert!(broken.is_empty() && promises.len() > 5, "broken: {broken:#?}, of {}", promises.len());
        let sums = summary["sums"].as_array().unwrap();
        for sum in sums {
            let parts: u64 = sum["parts"].as_array().unwrap().iter().map(|part| part["bits"].as_u64().unwrap()).sum();
            assert_eq!(sum["total"].as_u64(), Some(parts), "{sum}");
            assert_eq!(sum["holds"], true, "{sum}");
        }
        assert_eq!(sums.len(), 6, "made, spent and received, for each direction");
        assert_eq!(self.status, Some(0), "{summary:#}");
    }

    /// Suites of the calls, and that each was heard both ways.
    #[track_caller]
    fn calls(&self) -> Vec<String> {
        let calls = self.summary()["calls"].as_array().unwrap().clone();
        let mut wavs = BTreeSet::new();
        for direction in calls.iter().flat_map(|call| call["directions"].as_array().unwrap()) {
            assert!(direction["sent"].as_u64() > Some(20), "{direction}");
            assert_eq!(direction["rejected"], 0, "{direction}");
            let wav = direction["wav"].as_str().unwrap();
            is_audible(&self.out.join(wav));
            assert!(wavs.insert(wav.to_owned()), "{wav} was written twice");
        }
        calls.iter().map(|call| call["suite"].as_str().unwrap().to_owned()).collect()
    }

    /// No secret, no server.
    #[track_caller]
    fn nothing_is_left(&self) {
        let left = std::fs::read_dir(self.tmp.path()).unwrap().flatten().map(|entry| entry.file_name());
        let left: Vec<_> = left.filter(|name| name != "out").collect();
        assert!(left.is_empty(), "left in the temporary folder: {left:?}");
        let kmes: Vec<_> = self.events.iter().filter(|event| event["event"] == "kme_up").collect();
        for kme in &kmes {
            let port = u16::try_from(kme["port"].as_u64().unwrap()).unwrap();
            assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err(), "a KME still listens on port {port}");
        }
        assert_eq!(kmes.len(), 2);
    }
}

#[track_caller]
fn is_audible(wav: &Path) {
    let mut reader = hound::WavReader::open(wav).unwrap_or_else(|error| panic!("{}: {error}", wav.display()));
    let loudest = reader.samples::<i16>().map(|sample| sample.unwrap().unsigned_abs()).max().unwrap_or(0);
    assert!(loudest > 500, "{} is silent: its loudest sample is {loudest}", wav.display());
}

#[test]
fn the_demo_keeps_every_promise_and_says_so_to_machines() {
    let ended = Run::start(&["--duration", "24"]).end();
    ended.is_sound();
    ended.kept_every_promise();
    assert_eq!(ended.calls(), ["otp", "aes-256-gcm", "chacha20-poly1305", "otp"]);
    let tapped: Vec<bool> =
        ended.summary()["calls"].as_array().unwrap().iter().map(|call| call["tapped"] == true).collect();
    assert_eq!(tapped, [false, false, false, true]);
    let report: Value = serde_json::from_slice(&std::fs::read(ended.out.join("report.json")).unwrap()).unwrap();
    assert_eq!(&report, ended.summary());
}

#[test]
fn the_demo_keeps_every_promise_on_a_bad_network() {
    // A file of the usual size would take a minute on such a network.
    let bad =
        ["--duration", "24", "--loss", "5", "--delay", "20", "--jitter", "5", "--seed", "7", "--file-size", "500kB"];
    let ended = Run::start(&bad).end();
    ended.is_sound();
    ended.kept_every_promise();
    ended.calls();
    let directions =
        ended.summary()["calls"].as_array().unwrap().iter().flat_map(|call| call["directions"].as_array().unwrap());
    let lost: u64 = directions.map(|direction| direction["lost"].as_u64().unwrap()).sum();
    assert!(lost > 0, "nothing was lost at 5 %");
}

#[test]
fn the_demo_keeps_every_promise_when_the_line_is_tapped_from_the_start() {
    let ended = Run::start(&["--duration", "24", "--eve"]).end();
    ended.is_sound();
    ended.kept_every_promise();
    assert!(ended.events.iter().any(|event| event["event"] == "block_discarded"));
}

#[test]
fn the_demo_keeps_every_promise_with_one_suite_and_no_eavesdropper() {
    let ended = Run::start(&["--duration", "20", "--suite", "aes-256-gcm", "--no-eve", "--file-size", "300kB"]).end();
    ended.is_sound();
    ended.kept_every_promise();
    assert_eq!(ended.calls(), ["aes-256-gcm"]);
    assert!(!ended.events.iter().any(|event| event["event"] == "eavesdropper"));
}

#[test]
fn a_demo_that_is_interrupted_mid_call_ends_cleanly() {
    let mut run = Run::start(&["--duration", "60"]);
    run.until("call_tick");
    run.interrupt();
    let ended = run.end();
    assert_eq!(ended.status, Some(130));
    ended.is_sound();
    assert_eq!(ended.summary()["cancelled"], true);
}
