//! A quantum link as two programs, `vernam link alice` and `vernam link bob`, as a person or a script runs them.
#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure is the test's own")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use vernam_tests::hex;

/// The longest that a test waits for anything.
const LIMIT: Duration = Duration::from_secs(90);
/// Lines that may wait for a test; a run prints a few dozen.
const LINES: usize = 1 << 12;

/// Blocks of half a second, with much key in each and little to compute.
const LINK: [&str; 6] = ["--device", "metro-625mhz", "--length", "15", "--block", "0.5"];

/// A folder with both ends in it.
struct Lab {
    tmp: TempDir,
}

impl Lab {
    fn new() -> Self {
        let tmp = tempfile::Builder::new().prefix("vernam-link-test-").tempdir().unwrap();
        let lab = Self { tmp };
        let made = lab.vernam(&["link", "setup", &lab.path("lab")]);
        assert!(made.status.success(), "{made:?}");
        lab
    }

    fn path(&self, name: &str) -> String {
        self.tmp.path().join(name).display().to_string()
    }

    /// Runs the program to its end, which must come by itself.
    fn vernam(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_vernam-under-test")).current_dir(self.tmp.path()).args(args).output().unwrap()
    }

    /// Starts an end, with its key in a folder of its own.
    fn end(&self, role: &'static str, connect: &[&str], more: &[&str]) -> End {
        let (folder, keys) = (self.path("lab") + "/" + role, self.path(role) + "-keys");
        let mut program = Command::new(env!("CARGO_BIN_EXE_vernam-under-test"));
        program.args(["link", role, &folder, "--json", "--keys", &keys]).args(connect).args(more);
        let mut child = program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (tell, lines) = mpsc::sync_channel(LINES);
        let reader = std::thread::spawn(move || read(stdout, &tell));
        let keys = PathBuf::from(keys);
        End { role, child, lines, reader: Some(reader), seen: Vec::new(), keys, began: Instant::now() }
    }
}

fn read(stdout: ChildStdout, tell: &mpsc::SyncSender<String>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        if tell.send(line).is_err() {
            return;
        }
    }
}

/// A running end. It does not outlive its test.
struct End {
    role: &'static str,
    child: Child,
    lines: mpsc::Receiver<String>,
    reader: Option<JoinHandle<()>>,
    seen: Vec<Value>,
    keys: PathBuf,
    began: Instant,
}

impl Drop for End {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl End {
    /// The next line; `None` at the end.
    fn next(&mut self) -> Option<Value> {
        match self.lines.recv_timeout(LIMIT.saturating_sub(self.began.elapsed())) {
            Ok(line) => {
                let value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("not JSON ({error}): {line}"));
                self.seen.push(value);
                self.seen.last().cloned()
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("{} is stuck: {}", self.role, self.story()),
        }
    }

    #[track_caller]
    fn until(&mut self, event: &str) -> Value {
        self.until_it(event, |value| value["event"] == event)
    }

    #[track_caller]
    fn until_it(&mut self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        while let Some(value) = self.next() {
            if is(&value) {
                return value;
            }
        }
        panic!("{} ended without {what}: {}", self.role, self.story());
    }

    /// What it told last.
    fn story(&self) -> String {
        let last: Vec<String> = self.seen.iter().rev().take(6).rev().map(Value::to_string).collect();
        last.join("\n  ")
    }

    /// Numbers of the blocks that it told of.
    fn blocks(&self) -> Vec<u64> {
        let blocks = self.seen.iter().filter(|value| value["event"] == "block");
        blocks.map(|value| value["block"].as_u64().unwrap()).collect()
    }

    /// Waits until it has told of so many blocks with numbers above `above`.
    #[track_caller]
    fn until_blocks(&mut self, many: usize, above: u64) {
        while self.blocks().iter().filter(|number| **number > above).count() < many {
            assert!(self.next().is_some(), "{} ended too early: {}", self.role, self.story());
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Reads what is left to be read, and waits for the process: its exit status.
    fn end(&mut self) -> Option<i32> {
        while self.next().is_some() {}
        self.reader.take().unwrap().join().unwrap();
        self.child.wait().unwrap().code()
    }

    /// Where it listens, which it says first.
    #[track_caller]
    fn address(&mut self) -> String {
        self.until("end_started")["listen"].as_str().unwrap().to_owned()
    }

    /// Its key files by name: inode and content.
    fn files(&self) -> BTreeMap<String, (u64, Vec<u8>)> {
        let entries = fs::read_dir(&self.keys).unwrap().flatten();
        let files = entries.map(|entry| {
            let metadata = entry.metadata().unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{}", entry.path().display());
            let name = entry.file_name().into_string().unwrap();
            (name, (metadata.ino(), fs::read(entry.path()).unwrap()))
        });
        // How the link stands is written anew as it changes; it is no key.
        files.filter(|(name, _)| !name.starts_with('.') && name != "link.json").collect()
    }
}

fn file(number: u64) -> String {
    format!("block-{number:020}.key")
}

const SET_ASIDE: &str = ".unsettled";

/// Whether all of `before` is there still, the same files with the same content, also those that were set aside.
#[track_caller]
fn nothing_was_written_over(end: &End, before: &BTreeMap<String, (u64, Vec<u8>)>) {
    let now = end.files();
    for (name, file) in before {
        let found = now.get(name).or_else(|| now.get(&format!("{name}{SET_ASIDE}")));
        assert!(found == Some(file), "{name} at {} is not what it was", end.role);
    }
}

/// Waits until `alice` says that the far end may not have her last block, and looks for its file.
#[track_caller]
fn last_block_is_set_aside(alice: &mut End, last: u64) {
    let unsettled = alice.until("unsettled");
    assert_eq!((unsettled["block"].as_u64(), unsettled["file"].as_str()), (Some(last), Some("set_aside")));
    let files = alice.files();
    assert!(files.contains_key(&format!("{}{SET_ASIDE}", file(last))) && !files.contains_key(&file(last)));
}

#[test]
fn two_programs_write_the_same_key_files_also_after_one_was_killed() {
    let lab = Lab::new();
    let mut bob = lab.end("bob", &["--listen", "127.0.0.1:0"], &LINK);
    let address = bob.address();
    let mut alice = lab.end("alice", &["--dial", &address], &LINK);
    // One more, for Alice's last one is set aside when it is over.
    alice.until_blocks(4, 0);
    bob.until_blocks(4, 0);
    let first = alice.blocks()[..3].to_vec();
    assert_eq!(bob.blocks()[..3], first);
    assert_eq!(first[0], (1 << 32) + 1, "run 1, block 1");

    // In the middle of a block, with nothing to say goodbye with.
    alice.until("progress");
    alice.child.kill().unwrap();
    assert_eq!(alice.end(), None, "killed");
    bob.until("lost");
    let (kept_alice, kept_bob) = (alice.files(), bob.files());
    let last = alice.blocks().into_iter().chain(bob.blocks()).max().unwrap();
    let alice_keys = alice.keys.clone();
    drop(alice);

    let unsettled = fs::read_to_string(alice_keys.join(".unsettled")).unwrap().trim().parse().unwrap();
    let mut alice = lab.end("alice", &["--dial", &address], &LINK);
    // Unless it was killed just before the file of the next block was there.
    if kept_alice.contains_key(&file(unsettled)) {
        last_block_is_set_aside(&mut alice, unsettled);
    }
    let connected = alice.until("connected");
    assert_eq!((connected["run"].as_u64(), connected["resumed"].as_bool()), (Some(2), Some(false)));
    alice.until_blocks(4, last);
    bob.until_blocks(4, last);
    let second = alice.blocks()[..3].to_vec();
    assert!(second[0] > last, "block numbers go on: {second:?} after {last}");

    alice.signal("-TERM");
    assert_eq!(alice.end(), Some(130), "{}", alice.story());
    let set_aside = alice.seen.iter().rev().find(|value| value["event"] == "unsettled").unwrap();
    assert_eq!(set_aside["block"].as_u64(), alice.blocks().last().copied(), "{}", alice.story());
    assert_eq!(alice.seen.last().unwrap()["event"], "ended");
    bob.until("lost");
    bob.signal("-INT");
    assert_eq!(bob.end(), Some(130), "{}", bob.story());

    nothing_was_written_over(&alice, &kept_alice);
    nothing_was_written_over(&bob, &kept_bob);
    let (ours, theirs) = (alice.files(), bob.files());
    for number in first.iter().chain(&second) {
        let name = file(*number);
        assert!(ours.contains_key(&name) && theirs.contains_key(&name), "{name} is missing");
    }
    let said = format!("{:?}{:?}", alice.seen, bob.seen);
    for (name, (_, key)) in &ours {
        assert!(key.len() > 100, "{name} holds no key to speak of");
        if let Some((_, far)) = theirs.get(name.trim_end_matches(SET_ASIDE)) {
            assert!(key == far, "{name} differs between the ends");
        }
        assert!(!said.contains(&hex::encode(&key[..8])), "{name} was shown");
    }
    assert_eq!(fs::metadata(&alice.keys).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn ends_that_do_not_fit_say_why_and_go_on_waiting() {
    let lab = Lab::new();
    let mut bob = lab.end("bob", &["--listen", "127.0.0.1:0"], &LINK);
    let address = bob.address();
    let refusal = |end: &mut End, words: &str| {
        let refused = end.until_it(words, |value| {
            value["event"] == "refused" && value["reason"].as_str().is_some_and(|reason| reason.contains(words))
        });
        refused["reason"].as_str().unwrap().to_owned()
    };

    let other: Vec<&str> = LINK.iter().map(|word| if *word == "15" { "16" } else { word }).collect();
    let mut alice = lab.end("alice", &["--dial", &address], &other);
    for end in [&mut alice, &mut bob] {
        let reason = refusal(end, "make them equal");
        assert!(reason.contains("metro-625mhz at 16 km") && reason.contains("metro-625mhz at 15 km"), "{reason}");
    }
    drop(alice);

    let mut alice = lab.end("alice", &["--dial", &address, "--peer", "kme-c"], &LINK);
    let reason = refusal(&mut alice, "shows a certificate of");
    assert!(reason.contains("kme-b") && reason.contains("must be kme-c"), "{reason}");
    drop(alice);

    // One that fits comes through nevertheless, for as long as it was asked to.
    let mut alice = lab.end("alice", &["--dial", &address, "--duration", "1", "--eve", "intercept-resend"], &LINK);
    alice.until("connected");
    alice.until("disturbed");
    assert_eq!(alice.end(), Some(0), "{}", alice.story());
    bob.until("connected");
}

#[test]
fn what_cannot_be_used_is_said_at_once() {
    let lab = Lab::new();
    let refused = |args: &[&str]| {
        let output = lab.vernam(args);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let again = refused(&["link", "setup", "lab"]);
    assert!(again.contains("never overwritten"), "{again}");

    let mut bob = lab.end("bob", &["--listen", "127.0.0.1:0"], &LINK);
    let address = bob.address();
    let alice = ["link", "alice", "lab/alice", "--duration", "1", "--listen"];
    let in_use = refused(&[&alice[..], &[&address]].concat());
    assert!(in_use.contains("nobody can be waited for at") && in_use.contains("in use"), "{in_use}");
    let shared = refused(&[&alice[..], &["127.0.0.1:0", "--keys", "bob-keys"]].concat());
    assert!(shared.contains("give each end a folder of its own"), "{shared}");
    let twice = refused(&["link", "bob", "lab/bob", "--listen", "127.0.0.1:0"]);
    assert!(twice.contains("another process uses the start-up secret"), "{twice}");
    fs::create_dir(lab.path("others")).unwrap();
    fs::set_permissions(lab.path("others"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(lab.path("others") + "/" + &file(1), [1; 40]).unwrap();
    let mixed = refused(&[&alice[..], &["127.0.0.1:0", "--keys", "others"]].concat());
    assert!(mixed.contains("holds key of another start-up secret") && mixed.contains("give another --keys"), "{mixed}");
    let nowhere = refused(&["link", "bob", "nowhere", "--listen", "127.0.0.1:0"]);
    assert!(nowhere.contains("vernam link setup makes it"), "{nowhere}");

    let secret = Path::new(&lab.path("lab")).join("alice/startup-secret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let open = refused(&[&alice[..], &["127.0.0.1:0"]].concat());
    assert!(open.contains("others may read the start-up secret") && open.contains("chmod 600"), "{open}");
}
