//! Files: whole, verified and in their place, or not there at all.
#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure is the test's own")]

use std::path::{Path, PathBuf};
use std::process::Command as Program;

use rand::{Rng, SeedableRng};
use vernam_engine::{Command, Event, FileDone, file_pad_cost};
use vernam_session::Suite;
use vernam_tests::lab::{Lab, Person, Setup, part};

fn random(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rand_chacha::ChaCha20Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// Alice offers, Bob takes; what each was told at the end.
async fn send(pair: &[Person; 2], path: &Path, suite: Suite, into: &Path) -> [Result<FileDone, String>; 2] {
    let [alice, bob] = pair;
    alice.forget();
    bob.forget();
    alice.tell(Command::SendFile { contact: "bob".to_owned(), path: path.to_owned(), suite }).await;
    let (transfer, _) = bob.file_offered().await;
    bob.tell(Command::AcceptFile { contact: "alice".to_owned(), transfer, folder: into.to_owned() }).await;
    [alice.file_ended().await, bob.file_ended().await]
}

fn leftovers(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|ending| ending == "part")).collect()
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
        assert_eq!(received.path, inbox.join(&name));
        assert_eq!(std::fs::read(&received.path).unwrap(), content, "{len} bytes");
        assert_eq!((sent.hash, sent.size), (*blake3::hash(&content).as_bytes(), len as u64));
        assert_eq!((received.hash, received.size), (sent.hash, sent.size));
        let charged = pair[0].account("bob").await.outbound[&("file", Suite::Otp)];
        let cost = charged - before;
        before = charged;
        assert!(cost > len as u64 && cost <= file_pad_cost(len as u64), "{len} bytes cost {cost}");
    }
    let [_, received] = send(&pair, &lab.file("aes.bin", &random(500_000, 9)), Suite::Aes256Gcm, &inbox).await;
    assert_eq!(std::fs::read(received.unwrap().path).unwrap(), random(500_000, 9));
    assert_eq!(leftovers(&inbox), Vec::<PathBuf>::new());
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_is_taken_gets_a_number_and_nothing_is_overwritten() {
    let lab = Lab::new(62);
    let pair = lab.talking(Setup::with_mark(16 << 10), Setup::with_mark(16 << 10)).await;
    let inbox = lab.folder("inbox");
    std::fs::write(inbox.join("plan.txt"), "mine").unwrap();
    let path = lab.file("plan.txt", b"yours");
    for expected in ["plan (1).txt", "plan (2).txt"] {
        let [_, received] = send(&pair, &path, Suite::Aes256Gcm, &inbox).await;
        assert_eq!(received.unwrap().path, inbox.join(expected));
    }
    assert_eq!(std::fs::read(inbox.join("plan.txt")).unwrap(), b"mine");
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_for_which_the_stock_is_too_small_is_refused_with_numbers_before_its_first_byte() {
    let lab = Lab::new(63);
    let setup = || Setup::with_mark(32 << 10).preferring(Suite::Otp);
    let pair = lab.talking(setup(), setup()).await;
    let path = lab.file("long.bin", &random(100_000, 1));
    pair[0].tell(Command::SendFile { contact: "bob".to_owned(), path: path.clone(), suite: Suite::Otp }).await;
    let words = pair[0].warned("key under one-time pad").await;
    assert!(words.contains(&file_pad_cost(100_000).to_string()) && words.contains("AES"), "{words}");
    // Under AES it goes; and the first one was never heard of.
    let inbox = lab.folder("inbox");
    let [sent, received] = send(&pair, &path, Suite::Aes256Gcm, &inbox).await;
    assert!(sent.is_ok() && received.is_ok());
    assert_eq!(pair[1].count(|event| matches!(event, Event::FileOffered { .. })), 1);
    assert!(!pair[0].account("bob").await.outbound.contains_key(&("file", Suite::Otp)));
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_declined_file_stays_where_it_is() {
    let lab = Lab::new(64);
    let pair = lab.talking(Setup::with_mark(16 << 10), Setup::with_mark(16 << 10)).await;
    let path = lab.file("unwanted.bin", b"unwanted");
    pair[0].tell(Command::SendFile { contact: "bob".to_owned(), path, suite: Suite::Aes256Gcm }).await;
    let (transfer, name) = pair[1].file_offered().await;
    assert_eq!(name, "unwanted.bin");
    pair[1].tell(Command::DeclineFile { contact: "alice".to_owned(), transfer }).await;
    let why = pair[0].file_ended().await.unwrap_err();
    assert!(why.contains("declined"), "{why}");
    // Taking it after all is too late.
    let folder = lab.folder("inbox");
    pair[1].tell(Command::AcceptFile { contact: "alice".to_owned(), transfer, folder }).await;
    pair[1].warned("no such offer").await;
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_file_and_what_is_no_folder_is_said_so() {
    let lab = Lab::new(65);
    let pair = lab.talking(Setup::with_mark(16 << 10), Setup::with_mark(16 << 10)).await;
    let suite = Suite::Aes256Gcm;
    for (path, words) in [(lab.home().join("nowhere"), "cannot be read"), (lab.folder("folder"), "is not a file")] {
        pair[0].tell(Command::SendFile { contact: "bob".to_owned(), path, suite }).await;
        pair[0].warned(words).await;
    }
    let path = lab.file("good.bin", b"good");
    pair[0].tell(Command::SendFile { contact: "bob".to_owned(), path: path.clone(), suite }).await;
    let (transfer, _) = pair[1].file_offered().await;
    pair[1].tell(Command::AcceptFile { contact: "alice".to_owned(), transfer, folder: path }).await;
    pair[1].warned("is not a folder").await;
    let folder = lab.folder("inbox");
    pair[1].tell(Command::AcceptFile { contact: "alice".to_owned(), transfer, folder }).await;
    pair[1].file_ended().await.unwrap();
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn taking_a_file_twice_takes_it_once() {
    let lab = Lab::new(66);
    let pair = lab.talking(Setup::with_mark(16 << 10), Setup::with_mark(16 << 10)).await;
    let (inbox, content) = (lab.folder("inbox"), random(8_000_000, 3));
    let path = lab.file("long.bin", &content);
    pair[0].tell(Command::SendFile { contact: "bob".to_owned(), path, suite: Suite::Aes256Gcm }).await;
    let (transfer, _) = pair[1].file_offered().await;
    for _ in 0..20 {
        let folder = inbox.clone();
        pair[1].tell(Command::AcceptFile { contact: "alice".to_owned(), transfer, folder }).await;
        tokio::task::yield_now().await;
    }
    let done = pair[1].file_ended().await.unwrap();
    assert_eq!(std::fs::read(&done.path).unwrap(), content);
    assert_eq!(std::fs::read_dir(&inbox).unwrap().count(), 1);
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_whose_connection_is_lost_ends_at_both_sides() {
    let lab = Lab::new(67);
    let pair = lab.talking(Setup::with_mark(16 << 10), Setup::with_mark(16 << 10)).await;
    let (inbox, path) = (lab.folder("inbox"), lab.file("long.bin", &random(60_000_000, 4)));
    pair[0].tell(Command::SendFile { contact: "bob".to_owned(), path, suite: Suite::Aes256Gcm }).await;
    let (transfer, _) = pair[1].file_offered().await;
    pair[1].tell(Command::AcceptFile { contact: "alice".to_owned(), transfer, folder: inbox.clone() }).await;
    pair[1]
        .saw("progress", |event| matches!(event, Event::FileProgress { sending: false, .. } | Event::FileEnded { .. }))
        .await;
    pair[0].cut();
    for person in &pair {
        // On a very fast machine it may have been through.
        let _why_or_done = person.file_ended().await;
        person.disconnected().await;
    }
    let [alice, bob] = pair;
    alice.stop().await;
    bob.stop().await;
    for _ in 0..200 {
        if leftovers(&inbox).is_empty() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("a partial file is left behind");
}

/// A folder on a file system of its own, of 256 KiB; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(folder: PathBuf) -> Option<Self> {
        let mut mount = Program::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(&folder);
        mount.output().is_ok_and(|output| output.status.success()).then_some(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _unmounted = Program::new("umount").arg(&self.0).output();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_said_at_both_ends_and_leaves_nothing_behind() {
    let lab = Lab::new(68);
    let Some(disk) = SmallDisk::mount(lab.folder("small")) else {
        println!("SKIPPED: no small file system can be mounted here (not root)");
        return;
    };
    let pair = lab.talking(Setup::with_mark(16 << 10), Setup::with_mark(16 << 10)).await;
    let path = lab.file("long.bin", &random(3_000_000, 5));
    let [sent, received] = send(&pair, &path, Suite::Aes256Gcm, &disk.0).await;
    let (here, there) = (received.unwrap_err(), sent.unwrap_err());
    assert!(here.contains("could not be written"), "{here}");
    assert!(there.contains("could not keep") || there.contains("stopped taking"), "{there}");
    assert_eq!(std::fs::read_dir(&disk.0).unwrap().count(), 0, "nothing is left behind");
    // A smaller one fits afterwards.
    let [_, received] = send(&pair, &lab.file("short.bin", &[7; 1_000]), Suite::Aes256Gcm, &disk.0).await;
    assert_eq!(std::fs::read(received.unwrap().path).unwrap(), [7; 1_000]);
    part(pair).await;
}
