//! `vernam send` to `vernam receive`: two processes, each with a home of its own.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use vernam_tests::telephone::{CALLED, CALLER, Habits, Handset, Town, cpu_of, peak_memory_of};

use super::Run;

const PROGRAM: &str = env!("CARGO_BIN_EXE_vernam-under-test");
/// What the pads are sealed under while they lie in the folder; nothing here is secret.
const PASSPHRASE: &str = "a passphrase for a bench\n";
/// How often the two are looked at.
const LOOK: Duration = Duration::from_millis(5);
/// The longest that a transfer, or filling a stock with its pad, may take.
const PATIENCE: Duration = Duration::from_mins(3);

/// What a row is called.
pub(crate) fn name(suite: &str) -> &'static str {
    match suite {
        "otp" => "vernam, one-time pad",
        "aes-256-gcm" => "vernam, AES-256-GCM",
        _ => "vernam, ChaCha20-Poly1305",
    }
}

/// How many times as fast as scp it is to be.
pub(crate) fn mark(name: &str) -> Option<f64> {
    match name {
        "vernam, one-time pad" => Some(1.4),
        "vernam, AES-256-GCM" => Some(1.8),
        _ => None,
    }
}

/// Sends `source`, of so many bytes, once.
pub(crate) fn run(source: &Path, suite: &str, bytes: u64) -> anyhow::Result<Run> {
    let town = Town::with_key(PROGRAM, &[Habits::default(), Habits::default()], 16)?;
    if suite == "otp" {
        carry_pads(&town, bytes)?;
    }
    let inbox = town.folder().join("inbox");
    std::fs::create_dir(&inbox)?;
    let any = ([127, 0, 0, 1], 0).into();
    let (bob, address) = town.receive(any, &inbox, &["--from", CALLER, "--native-names"])?;
    let path = source.display().to_string();
    let alice = town.send(&address.to_string(), &[&path, "--suite", suite, "--wait-for-key"])?;
    let sides = [alice.id(), bob.id()];
    let cpus = || -> anyhow::Result<[Duration; 2]> { Ok([cpu_of(sides[0])?, cpu_of(sides[1])?]) };
    let moves = |event: &Value| event["event"] == "status" && event["state"] == "moving";
    wait(&alice, moves)?;
    // What filling the stock cost is not the transfer's.
    let (start, before, mut memory) = (Instant::now(), cpus()?, [0, 0]);
    let over = loop {
        for (most, side) in memory.iter_mut().zip(sides) {
            *most = peak_memory_of(side).unwrap_or(0).max(*most);
        }
        if let Some((at, ended)) = bob.all("ended").pop() {
            ensure!(ended["whole"] == true, "{ended}");
            break at;
        }
        ensure!(start.elapsed() < PATIENCE, "it does not end");
        std::thread::sleep(LOOK);
    };
    let after = cpus()?;
    let first_byte = alice.all("status").into_iter().find(|(_, event)| moves(event)).context("it moved")?.0;
    let (status, _) = alice.status()?;
    ensure!(status == 0, "status {status}");
    let cpu = [0, 1].map(|side| Some(after[side].saturating_sub(before[side])));
    Ok(Run { took: over.duration_since(first_byte), cpu, memory: memory.map(Some) })
}

fn wait(handset: &Handset, is: impl Fn(&Value) -> bool) -> anyhow::Result<()> {
    let begin = Instant::now();
    while !handset.all("status").iter().any(|(_, event)| is(event)) {
        ensure!(begin.elapsed() < PATIENCE, "it does not begin: {}", handset.story());
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Gives both a pad that covers the file, and a mark up to which the sender's stock is filled with it beforehand.
fn carry_pads(town: &Town, bytes: u64) -> anyhow::Result<()> {
    let megabytes = bytes.div_ceil(1_000_000) + bytes / 100_000_000 + 8;
    let words = town.folder().join("passphrase");
    std::fs::write(&words, PASSPHRASE)?;
    let words = words.display().to_string();
    let pads = town.folder().join("pads");
    std::fs::create_dir(&pads)?;
    let (size, out) = (format!("{}MB", 2 * megabytes + 32), pads.display().to_string());
    let make = ["pad", "make", CALLER, CALLED, "--size", &size, "--out", &out];
    vernam(town, CALLER, &[&make[..], &["--passphrase-file", &words, "--passphrase-file", &words]].concat())?;
    for (owner, other, stock) in [(CALLER, CALLED, megabytes), (CALLED, CALLER, 1)] {
        let home = town.folder().join(owner);
        let settings = home.join("home.toml");
        let text = std::fs::read_to_string(&settings)?;
        let text = text.replace("stock = 1\n", &format!("stock = {stock}\nkeys = \"pad\"\n"));
        std::fs::write(&settings, text)?;
        let pad = pads.join(format!("{owner}-with-{other}.pad")).display().to_string();
        let home = home.display().to_string();
        vernam(town, owner, &["pad", "import", &pad, "--home", &home, "--passphrase-file", &words])?;
    }
    Ok(())
}

fn vernam(town: &Town, owner: &str, args: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new(PROGRAM);
    command.args(args).stdin(Stdio::null()).env("XDG_STATE_HOME", town.folder().join(format!("{owner}-state")));
    let output = command.output()?;
    ensure!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
