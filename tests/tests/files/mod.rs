//! Files between two `vernam` processes over real KMEs and a wire that is bad at will: whole and verified at the end,
//! whoever dies, whatever the network does, however full the disk is; and no key twice.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test ends at the first surprise, and tells what it did"
)]

mod disk;
mod ends;
mod killed;
mod soak;
mod spent;
mod wires;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;
use serde_json::Value;
use vernam_tests::telephone::{Habits, Handset, Town};
use vernam_tests::wire::{Impairment, Wire};

/// The program.
const PROGRAM: &str = env!("CARGO_BIN_EXE_vernam-under-test");
/// A free port of loopback.
const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
/// A way on which a transfer of some megabytes takes a second or more: its controller begins with ten packets a round trip.
const FAR: Impairment = Impairment::NONE.taking(Duration::from_millis(40), Duration::ZERO);

/// Two homes, an outbox, an inbox.
struct Place {
    town: Town,
    inbox: PathBuf,
    outbox: PathBuf,
}

impl Place {
    /// With so many blocks of key between the KMEs.
    fn new(blocks: u64) -> Self {
        let town = Town::with_key(PROGRAM, &[Habits::default(), Habits::default()], blocks).unwrap();
        let [inbox, outbox] = ["inbox", "outbox"].map(|name| town.folder().join(name));
        for folder in [&inbox, &outbox] {
            std::fs::create_dir(folder).unwrap();
        }
        Self { town, inbox: inbox.canonicalize().unwrap(), outbox }
    }

    /// Bob, who takes what Alice sends.
    fn receive(&self, listen: SocketAddr, more: &[&str]) -> (Handset, SocketAddr) {
        self.town.receive(listen, &self.inbox, &[&["--from", "alice"], more].concat()).unwrap()
    }

    /// Alice, who sends.
    fn send(&self, address: SocketAddr, more: &[&str]) -> Handset {
        self.town.send(&address.to_string(), more).unwrap()
    }

    /// Both, over a wire like this; what is sent, and with what arguments.
    fn transfer(&self, terms: Impairment, send: &[&str], receive: &[&str]) -> (Handset, Handset, Wire) {
        let (bob, address) = self.receive(ANY, receive);
        let wire = Wire::to(address, 1).unwrap();
        wire.set_both(terms);
        (self.send(wire.addr, send), bob, wire)
    }

    /// A file of Alice's, and its path.
    fn file(&self, name: &str, len: usize, seed: u64) -> (PathBuf, String) {
        let path = self.outbox.join(name);
        let mut content = vec![0; len];
        ChaCha20Rng::seed_from_u64(seed).fill_bytes(&mut content);
        std::fs::write(&path, content).unwrap();
        let text = path.display().to_string();
        (path, text)
    }

    /// A folder with folders, an empty one too, and files of all sizes, empty ones too.
    fn plant(&self, name: &str, random: &mut ChaCha20Rng, files: usize, longest: usize) -> PathBuf {
        let top = self.outbox.join(name);
        let mut folders = vec![top.clone()];
        for number in 0..4 {
            let parent = &folders[random.random_range(0..folders.len())];
            folders.push(parent.join(format!("folder {number}")));
        }
        for folder in folders.iter().chain([&top.join("empty")]) {
            std::fs::create_dir_all(folder).unwrap();
        }
        for number in 0..files {
            let folder = &folders[random.random_range(0..folders.len())];
            let mut content = vec![0; if number % 7 == 0 { 0 } else { random.random_range(1..longest) }];
            random.fill_bytes(&mut content);
            let path = folder.join(format!("file {number}.bin"));
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode([0o644, 0o600, 0o755][number % 3]))
                .unwrap();
        }
        top
    }

    /// What is in the inbox beside `name`: parts of files that nobody wants any more.
    fn beside(&self, name: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.inbox).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.file_name().is_none_or(|found| found != name)).collect()
    }
}

/// Everything in a folder: permissions and hash of the content by path; a folder has no content.
fn tree(folder: &Path) -> BTreeMap<PathBuf, (u32, Option<blake3::Hash>)> {
    let (mut found, mut open) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(path) = open.pop() {
        let data = path.symlink_metadata().unwrap();
        let content = if data.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            None
        } else {
            Some(blake3::hash(&std::fs::read(&path).unwrap()))
        };
        found.insert(path.strip_prefix(folder).unwrap().to_owned(), (data.permissions().mode() & 0o777, content));
    }
    found
}

/// The event of a kind that was told last.
fn last<'a>(told: &'a [Value], kind: &str) -> &'a Value {
    told.iter().rev().find(|event| event["event"] == kind).unwrap_or(&Value::Null)
}

/// A transfer stands like this.
fn stands(handset: &Handset, state: &str) -> Value {
    handset.wait_for(state, |event| event["event"] == "status" && event["state"] == state)
}
