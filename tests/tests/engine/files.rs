//! Files: whole, verified and in their place, or not there at all; whatever becomes of the connection meanwhile.
#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure is the test's own")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command as Program;
use std::time::Duration;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use vernam_engine::{Command, Event, FileDone, FileError, FileStatus, FileWait, IfShort, Rules, file_pad_cost};
use vernam_quic::{Impairment, WireSettings};
use vernam_session::Suite;
use vernam_tests::lab::{Lab, Person, Relay, Setup, filled, part};

fn random(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    ChaCha20Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// Alice offers, Bob takes; what each was told at the end.
async fn send(pair: &[Person; 2], path: &Path, suite: Suite, into: &Path) -> [Result<FileDone, FileError>; 2] {
    let [alice, bob] = pair;
    alice.forget();
    bob.forget();
    let transfer = alice.send_files("bob", &[path.to_owned()], suite).await;
    bob.file_offered().await;
    bob.accept_files("alice", transfer, into.to_owned()).await;
    [alice.file_ended().await, bob.file_ended().await]
}

/// What is hidden in a folder: parts of files.
fn leftovers(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|ending| ending == "part")).collect()
}

/// Everything in a folder: permissions and content by path; a folder has no content.
fn tree(folder: &Path) -> BTreeMap<PathBuf, (u32, Option<Vec<u8>>)> {
    let (mut found, mut open) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(path) = open.pop() {
        let data = path.symlink_metadata().unwrap();
        let content = if data.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            None
        } else {
            Some(std::fs::read(&path).unwrap())
        };
        let relative = path.strip_prefix(folder).unwrap().to_owned();
        found.insert(relative, (data.permissions().mode() & 0o777, content));
    }
    found
}

/// A folder with folders, empty ones too, and files of all sizes.
fn plant(lab: &Lab, name: &str, seed: u64, files: usize, longest: usize) -> PathBuf {
    let mut random = ChaCha20Rng::seed_from_u64(seed);
    let top = lab.folder("outbox").join(name);
    let mut folders = vec![top.clone()];
    for number in 0..5 {
        let parent = &folders[random.random_range(0..folders.len())];
        folders.push(parent.join(format!("folder {number}")));
    }
    folders.push(top.join("empty"));
    for folder in &folders {
        std::fs::create_dir_all(folder).unwrap();
    }
    for number in 0..files {
        let folder = &folders[random.random_range(0..folders.len() - 1)];
        let mut content = vec![0; if number % 5 == 0 { 0 } else { random.random_range(1..longest) }];
        random.fill_bytes(&mut content);
        let path = folder.join(format!("file {number}.bin"));
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode([0o644, 0o600, 0o755][number % 3])).unwrap();
    }
    top
}

/// No position of a stock was spent twice, and both sides spent the same: whatever was sealed again has other key.
async fn audit(pair: &[Person; 2]) {
    let [hers, his] = [pair[0].account("bob").await, pair[1].account("alice").await];
    for (mine, theirs) in [(&hers, &his), (&his, &hers)] {
        let stock = mine.outbound_stock.unwrap();
        let spent: u64 = mine.outbound.values().sum();
        assert!(stock.cursor >= spent, "{spent} bytes were handed out before position {}", stock.cursor);
        for (flow, bytes) in &theirs.inbound {
            assert!(mine.outbound.get(flow).is_some_and(|sent| sent >= bytes), "{flow:?}: {bytes} came");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_arrive_whole_and_cost_no_more_pad_than_was_said() {
    let lab = Lab::new(61);
    let setup = || Setup::with_mark(1 << 20).preferring(Suite::Otp);
    let pair = lab.talking(setup(), setup()).await;
    let inbox = lab.folder("inbox");
    let mut before = 0;
    for (number, len) in [0, 1, 65_535, 65_536, 65_537, 300_000].into_iter().enumerate() {
        let content = random(len, number as u64);
        let name = format!("file {number}.bin");
        let [sent, received] = send(&pair, &lab.file(&name, &content), Suite::Otp, &inbox).await;
        let (sent, received) = (sent.unwrap(), received.unwrap());
        assert_eq!(received.places, [inbox.canonicalize().unwrap().join(&name)]);
        assert_eq!(std::fs::read(&received.places[0]).unwrap(), content, "{len} bytes");
        assert_eq!((sent.hash, sent.bytes), (Some(*blake3::hash(&content).as_bytes()), len as u64));
        assert_eq!((received.hash, received.bytes), (sent.hash, sent.bytes));
        assert_eq!((sent.files, sent.failed, received.files, received.failed), (1, 0, 1, 0));
        let charged = pair[0].account("bob").await.outbound[&("file", Suite::Otp)];
        let cost = charged - before;
        before = charged;
        let said = pair[0].prepared().await.cost;
        assert!(cost > len as u64 && cost <= said, "{len} bytes cost {cost}, and {said} were said");
        assert!(said <= file_pad_cost(len as u64));
    }
    let [_, received] = send(&pair, &lab.file("aes.bin", &random(500_000, 9)), Suite::Aes256Gcm, &inbox).await;
    assert_eq!(std::fs::read(&received.unwrap().places[0]).unwrap(), random(500_000, 9));
    assert_eq!(leftovers(&inbox), Vec::<PathBuf>::new());
    audit(&pair).await;
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_arrive_as_they_are_under_either_protection() {
    let lab = Lab::new(69);
    let setup = || Setup::with_mark(3 << 20).preferring(Suite::Otp);
    let pair = lab.talking(setup(), setup()).await;
    for (seed, suite) in [(1, Suite::Otp), (2, Suite::Aes256Gcm), (3, Suite::ChaCha20Poly1305)] {
        let top = plant(&lab, &format!("tree {seed}"), seed, 60, 60_000);
        let inbox = lab.folder("inbox");
        let [sent, received] = send(&pair, &top, suite, &inbox).await;
        let (sent, received) = (sent.unwrap(), received.unwrap());
        assert_eq!((sent.files, received.files, received.failed), (60, 60, 0));
        assert_eq!(tree(&received.places[0]), tree(&top), "{suite}");
        assert_eq!((sent.places, sent.hash), (vec![top.canonicalize().unwrap()], None));
    }
    audit(&pair).await;
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_transfers_both_ways_go_at_once() {
    let lab = Lab::new(70);
    let pair = lab.talking(Setup::with_mark(16 << 10), Setup::with_mark(16 << 10)).await;
    let mut wanted = Vec::new();
    for number in 0..6_u8 {
        let (from, to) = if number % 2 == 0 { (0, 1) } else { (1, 0) };
        let path = lab.file(&format!("{number}.bin"), &random(2_000_000, u64::from(number)));
        let transfer = pair[from].send_files(pair[to].name, std::slice::from_ref(&path), Suite::Aes256Gcm).await;
        wanted.push((from, to, transfer, path));
    }
    for (from, to, transfer, _) in &wanted {
        let is = |event: &Event| matches!(event, Event::FileOffered { transfer: one, .. } if one == transfer);
        pair[*to].saw("the offer", is).await;
        pair[*to].accept_files(pair[*from].name, *transfer, lab.folder("inbox")).await;
    }
    for (from, to, transfer, path) in &wanted {
        for side in [from, to] {
            let done = pair[*side].ended(*transfer).await.unwrap();
            if side == to {
                assert_eq!(std::fs::read(&done.places[0]).unwrap(), std::fs::read(path).unwrap());
            }
        }
    }
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_is_taken_gets_a_number_and_nothing_is_overwritten() {
    let lab = Lab::new(62);
    let pair = lab.talking(Setup::with_mark(16 << 10), Setup::with_mark(16 << 10)).await;
    let inbox = lab.folder("inbox").canonicalize().unwrap();
    std::fs::write(inbox.join("plan.txt"), "mine").unwrap();
    let path = lab.file("plan.txt", b"yours");
    for expected in ["plan (1).txt", "plan (2).txt"] {
        let [_, received] = send(&pair, &path, Suite::Aes256Gcm, &inbox).await;
        assert_eq!(received.unwrap().places, [inbox.join(expected)]);
    }
    assert_eq!(std::fs::read(inbox.join("plan.txt")).unwrap(), b"mine");
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn awkward_names_are_shown_as_they_will_be_before_anybody_says_yes() {
    let lab = Lab::new(71);
    let pair = lab.talking(Setup::with_mark(16 << 10), Setup::with_mark(16 << 10)).await;
    let top = lab.folder("outbox").join("tree");
    std::fs::create_dir(&top).unwrap();
    for name in ["con.txt", "a\u{202e}gpj.exe", "what?.txt", "A", "a"] {
        std::fs::write(top.join(name), name).unwrap();
    }
    let transfer = pair[0].send_files("bob", std::slice::from_ref(&top), Suite::Aes256Gcm).await;
    let (_, offer) = pair[1].files_offered().await;
    let mut shown: Vec<String> = (0..6).map(|entry| offer.layout.path(&offer.manifest, entry)).collect();
    shown.sort();
    assert_eq!(shown, ["tree", "tree/A", "tree/_con.txt", "tree/a (1)", "tree/a_gpj.exe", "tree/what_.txt"]);
    assert_eq!(offer.layout.changed(), 4);
    pair[1].accept_files("alice", transfer, lab.folder("inbox")).await;
    let done = pair[1].file_ended().await.unwrap();
    let mut there: Vec<_> = std::fs::read_dir(&done.places[0])
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    there.sort();
    assert_eq!(there, ["A", "_con.txt", "a (1)", "a_gpj.exe", "what_.txt"]);
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_that_is_too_small_is_said_with_numbers_before_the_first_byte() {
    let lab = Lab::new(63);
    let setup = || Setup::with_mark(32 << 10).preferring(Suite::Otp);
    let pair = lab.talking(setup(), setup()).await;
    let [alice, bob] = &pair;
    // What the stock has is all there is; the engine hears of it when it asks next.
    lab.vault.set_pool("alice", 0);
    alice.told_of_source(2).await;
    let inbox = lab.folder("inbox");
    let content = random(100_000, 1);
    let path = lab.file("long.bin", &content);
    let asked = alice.send_files_or("bob", std::slice::from_ref(&path), Suite::Otp, IfShort::Ask).await;
    let (shortage, choice) = alice.short().await;
    assert_eq!((choice, shortage.instead), (IfShort::Ask, Some(Suite::Aes256Gcm)));
    assert!(shortage.cost > 100_000 && shortage.cost <= file_pad_cost(100_000), "{shortage:?}");
    assert_eq!(shortage.missing, shortage.cost - shortage.usable);
    assert_eq!(shortage.wait, None, "no key comes: {shortage:?}");
    assert!(!alice.account("bob").await.outbound.contains_key(&("file", Suite::Otp)));
    assert_eq!(bob.count(|event| matches!(event, Event::FileOffered { .. })), 0);

    // A person decides for AES.
    let choice = IfShort::Under(Suite::Aes256Gcm);
    alice.tell(Command::DecideFiles { contact: "bob".to_owned(), transfer: asked, choice }).await;
    let (transfer, offer) = bob.files_offered().await;
    assert_eq!((transfer, offer.suite), (asked, Suite::Aes256Gcm));
    bob.accept_files("alice", transfer, inbox.clone()).await;
    assert_eq!(std::fs::read(&bob.file_ended().await.unwrap().places[0]).unwrap(), content);
    alice.file_ended().await.unwrap();

    // Or for waiting: the stock is filled for it beyond its mark, and it goes by itself.
    bob.forget();
    alice.forget();
    let waiting = alice.send_files_or("bob", &[path], Suite::Otp, IfShort::Wait).await;
    assert_eq!(alice.short().await.1, IfShort::Wait);
    lab.vault.set_pool("alice", 1 << 20);
    let (transfer, offer) = bob.files_offered().await;
    assert_eq!((transfer, offer.suite), (waiting, Suite::Otp));
    let prepared = alice.prepared().await;
    assert_eq!(prepared.cost, shortage.cost);
    alice.saw("the reservation", |event| matches!(event, Event::Stock { reserved, .. } if *reserved > 90_000)).await;
    bob.accept_files("alice", transfer, inbox).await;
    assert_eq!(std::fs::read(&bob.file_ended().await.unwrap().places[0]).unwrap(), content);
    alice.file_ended().await.unwrap();
    alice.forget();
    alice.saw("its end", |event| matches!(event, Event::Stock { reserved: 0, .. })).await;
    audit(&pair).await;
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn declined_and_cancelled_files_leave_nothing_on_either_side() {
    let lab = Lab::new(64);
    let pair = lab.talking(Setup::with_mark(16 << 10), Setup::with_mark(16 << 10)).await;
    let [alice, bob] = &pair;
    let inbox = lab.folder("inbox");
    let path = lab.file("unwanted.bin", &random(30_000_000, 7));
    // Bob declines.
    let transfer = alice.send_files("bob", std::slice::from_ref(&path), Suite::Aes256Gcm).await;
    assert_eq!(bob.file_offered().await, (transfer, "unwanted.bin".to_owned()));
    bob.cancel_files("alice", transfer).await;
    assert_eq!(alice.file_ended().await.unwrap_err(), FileError::Declined);
    assert_eq!(bob.file_ended().await.unwrap_err(), FileError::Cancelled);
    // Taking it after all is too late.
    bob.accept_files("alice", transfer, inbox.clone()).await;
    bob.warned("no such offer").await;
    // Either cancels in the middle.
    for who in [0, 1] {
        alice.forget();
        bob.forget();
        let transfer = alice.send_files("bob", std::slice::from_ref(&path), Suite::Aes256Gcm).await;
        bob.file_offered().await;
        bob.accept_files("alice", transfer, inbox.clone()).await;
        bob.file_stands("moving", |status| matches!(status, FileStatus::Moving { .. })).await;
        bob.pause_files("alice", transfer, true).await;
        pair[who].cancel_files(pair[1 - who].name, transfer).await;
        let [here, there] = [&pair[who], &pair[1 - who]];
        assert_eq!(here.file_ended().await.unwrap_err(), FileError::Cancelled);
        assert_eq!(there.file_ended().await.unwrap_err(), FileError::CancelledByContact);
        assert_eq!(std::fs::read_dir(&inbox).unwrap().count(), 0);
    }
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn either_side_pauses_and_goes_on() {
    let lab = Lab::new(72);
    let pair = lab.talking(Setup::with_mark(16 << 10), Setup::with_mark(16 << 10)).await;
    let [alice, bob] = &pair;
    let content = random(40_000_000, 8);
    let path = lab.file("long.bin", &content);
    let transfer = alice.send_files("bob", &[path], Suite::Aes256Gcm).await;
    bob.file_offered().await;
    bob.accept_files("alice", transfer, lab.folder("inbox")).await;
    for (person, contact) in [(alice, "bob"), (bob, "alice")] {
        person.file_stands("moving", |status| matches!(status, FileStatus::Moving { .. })).await;
        person.pause_files(contact, transfer, true).await;
    }
    alice.file_stands("both paused", |status| *status == FileStatus::Paused { here: true, there: true }).await;
    bob.file_stands("both paused", |status| *status == FileStatus::Paused { here: true, there: true }).await;
    assert_eq!(bob.count(|event| matches!(event, Event::FileEnded { .. })), 0);
    alice.pause_files("bob", transfer, false).await;
    bob.file_stands("his pause", |status| *status == FileStatus::Paused { here: true, there: false }).await;
    bob.pause_files("alice", transfer, false).await;
    let [sent, received] = [alice.file_ended().await.unwrap(), bob.file_ended().await.unwrap()];
    assert_eq!(std::fs::read(&received.places[0]).unwrap(), content);
    assert_eq!(sent.hash, received.hash);
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_sent_and_where_nothing_can_be_put_is_said_so() {
    let lab = Lab::new(65);
    let pair = lab.talking(Setup::with_mark(16 << 10), Setup::with_mark(16 << 10)).await;
    let [alice, bob] = &pair;
    for (path, words) in [(lab.home().join("nowhere"), "cannot be read"), (PathBuf::from("/dev/null"), "neither")] {
        alice.forget();
        let transfer = alice.send_files("bob", &[path], Suite::Aes256Gcm).await;
        let why = alice.ended(transfer).await.unwrap_err().to_string();
        assert!(why.contains(words), "{why}");
    }
    let path = lab.file("good.bin", b"good");
    let transfer = alice.send_files("bob", std::slice::from_ref(&path), Suite::Aes256Gcm).await;
    bob.file_offered().await;
    // The offer stands, and another folder serves.
    bob.accept_files("alice", transfer, path).await;
    bob.file_stands("not taken", |status| matches!(status, FileStatus::NotTaken(_))).await;
    let (folder, names) = (lab.folder("inbox"), Rules::Native);
    bob.tell(Command::AcceptFiles { contact: "alice".to_owned(), transfer, folder, names }).await;
    bob.file_ended().await.unwrap();
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn taking_a_file_twice_takes_it_once() {
    let lab = Lab::new(66);
    let pair = lab.talking(Setup::with_mark(16 << 10), Setup::with_mark(16 << 10)).await;
    let (inbox, content) = (lab.folder("inbox"), random(8_000_000, 3));
    let transfer = pair[0].send_files("bob", &[lab.file("long.bin", &content)], Suite::Aes256Gcm).await;
    pair[1].file_offered().await;
    for _ in 0..20 {
        pair[1].accept_files("alice", transfer, inbox.clone()).await;
        tokio::task::yield_now().await;
    }
    let done = pair[1].file_ended().await.unwrap();
    assert_eq!(std::fs::read(&done.places[0]).unwrap(), content);
    assert_eq!(std::fs::read_dir(&inbox).unwrap().count(), 1);
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_changes_after_it_was_offered_fails_alone() {
    let lab = Lab::new(73);
    let pair = lab.talking(Setup::with_mark(16 << 10), Setup::with_mark(16 << 10)).await;
    let top = plant(&lab, "tree", 5, 6, 5_000);
    std::fs::write(top.join("diary"), "short").unwrap();
    let transfer = pair[0].send_files("bob", std::slice::from_ref(&top), Suite::Aes256Gcm).await;
    pair[1].file_offered().await;
    std::fs::write(top.join("diary"), "a longer story").unwrap();
    pair[1].accept_files("alice", transfer, lab.folder("inbox")).await;
    for person in &pair {
        let done = person.file_ended().await.unwrap();
        assert_eq!((done.files, done.failed), (6, 1));
        let told: Vec<_> = done.failures.iter().map(|failed| failed.path.as_str()).collect();
        assert_eq!(told, ["tree/diary"]);
    }
    part(pair).await;
}

/// The connection is lost in the middle, twice; nobody is asked again, and no pad byte serves twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lost_connection_cut_goes_on_when_it_is_back() {
    for (seed, suite) in [(67, Suite::Aes256Gcm), (68, Suite::Otp)] {
        let lab = Lab::new(seed);
        let setup = || slow(Setup::with_mark(12 << 20).preferring(Suite::Otp));
        let pair = lab.pair(setup(), setup());
        let relay = Relay::to(pair[1].addr).await;
        pair[0].connect("bob", relay.addr).await;
        filled(&pair, [12 << 20; 2]).await;
        let [alice, bob] = &pair;
        let top = plant(&lab, "tree", seed, 40, 400_000);
        let transfer = alice.send_files("bob", std::slice::from_ref(&top), suite).await;
        bob.file_offered().await;
        bob.accept_files("alice", transfer, lab.folder("inbox")).await;
        for _ in 0..2 {
            bob.saw("some of it", |event| matches!(event, Event::FileProgress { .. } | Event::FileEnded { .. })).await;
            alice.forget();
            bob.forget();
            alice.tell(Command::Disconnect { contact: "bob".to_owned() }).await;
            alice.disconnected().await;
            bob.disconnected().await;
            alice.connect("bob", relay.addr).await;
            bob.saw("the rest", |event| {
                let moving = matches!(event, Event::FileStatus { status: FileStatus::Moving { .. }, .. });
                moving || matches!(event, Event::FileEnded { .. })
            })
            .await;
        }
        let [sent, received] = [alice.ended(transfer).await.unwrap(), bob.ended(transfer).await.unwrap()];
        assert_eq!(tree(&received.places[0]), tree(&top), "{suite}");
        assert_eq!((sent.files, received.files), (40, 40));
        assert_eq!(bob.count(|event| matches!(event, Event::FileOffered { .. })), 1, "asked once");
        assert!(bob.count(went_on) > 0, "what had come was not sent again");
        assert_eq!(std::fs::read_dir(lab.folder("inbox")).unwrap().count(), 1, "once");
        audit(&pair).await;
        part(pair).await;
    }
}

/// Either client ends in the middle and is started anew, and finds what it had promised.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_end_of_a_client_cut_goes_on_when_it_is_started_anew() {
    for (seed, who, suite) in [(74, "alice", Suite::Aes256Gcm), (75, "bob", Suite::Otp)] {
        let lab = Lab::new(seed);
        let setup = || Setup::with_mark(12 << 20).preferring(Suite::Otp);
        let [mut alice, mut bob] = lab.talking(slow(setup()), slow(setup())).await;
        let top = plant(&lab, "tree", seed, 40, 400_000);
        let transfer = alice.send_files("bob", std::slice::from_ref(&top), suite).await;
        bob.file_offered().await;
        bob.accept_files("alice", transfer, lab.folder("inbox")).await;
        bob.saw("some of it", |event| matches!(event, Event::FileProgress { .. } | Event::FileEnded { .. })).await;
        if who == "alice" {
            alice.cut();
            alice.stop().await;
            bob.disconnected().await;
            alice = lab.start("alice", setup());
        } else {
            bob.cut();
            bob.stop().await;
            alice.disconnected().await;
            bob = lab.start("bob", setup());
        }
        bob.forget();
        alice.connect("bob", bob.addr).await;
        // The last word may be all that was missing.
        let sent = alice.ended(transfer).await.unwrap();
        assert_eq!(sent.files + sent.failed, 40);
        let came = lab.folder("inbox").join("tree");
        assert_eq!(tree(&came), tree(&top), "{who}");
        assert_eq!(leftovers(&lab.folder("inbox")), Vec::<PathBuf>::new());
        assert_eq!(bob.count(|event| matches!(event, Event::FileOffered { .. })), usize::from(who == "alice"));
        assert!(bob.count(went_on) > 0, "{who}: what had come was not sent again");
        let pair = [alice, bob];
        part(pair).await;
        assert_eq!(lab.vault.collected_twice(), 0);
    }
}

/// A wire on which a transfer takes a while: its controller begins with a few packets a round trip.
fn slow(setup: Setup) -> Setup {
    let impairment = Impairment { loss: 0.0, delay: Duration::from_millis(25), jitter: Duration::ZERO, seed: 1 };
    setup.over(WireSettings { impairment: Some(impairment), ..WireSettings::default() })
}

/// A try that began with something already there.
fn went_on(event: &Event) -> bool {
    matches!(event, Event::FileStatus { sending: false, status: FileStatus::Moving { there }, .. } if *there > 0)
}

/// A folder on a file system of its own, of 8 MiB; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(folder: PathBuf) -> Option<Self> {
        let mut mount = Program::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(&folder);
        mount.output().is_ok_and(|output| output.status.success()).then_some(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _unmounted = Program::new("umount").arg(&self.0).output();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_becomes_full_keeps_what_came_and_goes_on_when_there_is_room() {
    let lab = Lab::new(76);
    let Some(disk) = SmallDisk::mount(lab.folder("small")) else {
        println!("SKIPPED: no small file system can be mounted here (not root)");
        return;
    };
    let pair = lab.talking(Setup::with_mark(16 << 10), Setup::with_mark(16 << 10)).await;
    let [alice, bob] = &pair;
    // Too much from the beginning is not begun.
    let large = lab.file("large.bin", &random(9 << 20, 5));
    let transfer = alice.send_files("bob", &[large], Suite::Aes256Gcm).await;
    bob.file_offered().await;
    bob.accept_files("alice", transfer, disk.0.clone()).await;
    bob.file_stands(
        "too little room",
        |status| matches!(status, FileStatus::NotTaken(why) if why.contains("bytes of room are missing")),
    )
    .await;
    bob.cancel_files("alice", transfer).await;
    alice.ended(transfer).await.unwrap_err();
    // What fits at first, until somebody else takes the room.
    bob.forget();
    let top = plant(&lab, "tree", 76, 30, 300_000);
    let transfer = alice.send_files("bob", std::slice::from_ref(&top), Suite::Aes256Gcm).await;
    bob.file_offered().await;
    bob.accept_files("alice", transfer, disk.0.clone()).await;
    bob.pause_files("alice", transfer, true).await;
    bob.file_stands("paused", |status| matches!(status, FileStatus::Paused { here: true, .. })).await;
    let free = vernam_files_free(&disk.0);
    std::fs::write(disk.0.join("other"), vec![0; free]).ok();
    bob.pause_files("alice", transfer, false).await;
    let full = |status: &FileStatus| matches!(status, FileStatus::Waits(FileWait::Room { missing }) if *missing > 0);
    bob.file_stands("the full disk", full).await;
    let told =
        |status: &FileStatus| matches!(status, FileStatus::Waits(FileWait::RoomAtContact { missing }) if *missing > 0);
    alice.file_stands("the contact's full disk", told).await;
    std::fs::remove_file(disk.0.join("other")).unwrap();
    let done = bob.ended(transfer).await.unwrap();
    assert_eq!(tree(&done.places[0]), tree(&top));
    alice.ended(transfer).await.unwrap();
    part(pair).await;
}

/// Free bytes of a small disk.
fn vernam_files_free(folder: &Path) -> usize {
    usize::try_from(vernam_files::free_bytes(folder).unwrap()).unwrap()
}
