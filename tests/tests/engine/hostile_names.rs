//! A contact that means harm offers files: names that lead out of the folder, deceive on a screen, or collide. Such an
//! offer is refused as a whole before a person sees it, or its names are made safe; nothing is written elsewhere.
#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure is the test's own")]

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use vernam_engine::Event;
use vernam_quic::Connection;
use vernam_session::{FileCancelReason, FilePoint, FileTerms, Message, Suite};
use vernam_tests::lab::{FileFlow, HandMade, Lab, Person, Setup};

/// An entry of a list of names: a folder (0), a file (1), or what there is none of; its depth; its name.
type Entry<'a> = (u8, u8, &'a [u8]);

/// What is in each file.
const CONTENT: &[u8] = b"gotcha";

/// The list as the format has it (`app/files/README.md`), made without the code that would refuse to.
fn list(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut out = b"VFM1".to_vec();
    out.extend_from_slice(&u32::try_from(entries.len()).unwrap().to_be_bytes());
    for (kind, depth, name) in entries {
        out.extend_from_slice(&[*kind, *depth]);
        out.extend_from_slice(&u16::try_from(name.len()).unwrap().to_be_bytes());
        out.extend_from_slice(name);
        out.extend_from_slice(&1_700_000_000_i64.to_be_bytes());
        out.extend_from_slice(&0_u32.to_be_bytes());
        let mode: u16 = if *kind == 0 { 0o755 } else { 0o644 };
        out.extend_from_slice(&mode.to_be_bytes());
        if *kind != 0 {
            out.extend_from_slice(&(CONTENT.len() as u64).to_be_bytes());
        }
    }
    out
}

/// The files of such a list as a stream.
fn stream(entries: &[Entry<'_>]) -> Vec<u8> {
    let (mut out, mut ends, mut files) = (Vec::new(), Vec::new(), 0_u32);
    let hash = blake3::hash(CONTENT);
    for (entry, _) in (0_u32..).zip(entries).filter(|(_, (kind, ..))| *kind == 1) {
        out.push(1);
        out.extend_from_slice(&entry.to_be_bytes());
        out.extend_from_slice(&0_u64.to_be_bytes());
        out.push(2);
        out.extend_from_slice(&u32::try_from(CONTENT.len()).unwrap().to_be_bytes());
        out.extend_from_slice(CONTENT);
        out.push(3);
        out.extend_from_slice(hash.as_bytes());
        ends.extend_from_slice(&entry.to_be_bytes());
        ends.push(0);
        ends.extend_from_slice(hash.as_bytes());
        files += 1;
    }
    out.push(5);
    out.extend_from_slice(&files.to_be_bytes());
    out.extend_from_slice(&0_u32.to_be_bytes());
    out.extend_from_slice(blake3::hash(&ends).as_bytes());
    out
}

/// Bob, and Alice's name and key in somebody else's hands.
struct Harm {
    bob: Person,
    alice: HandMade,
    lane: Connection,
    number: u32,
}

impl Harm {
    async fn new(lab: &Lab) -> Self {
        let bob = lab.start("bob", Setup::with_mark(16 << 10).preferring(Suite::Aes256Gcm));
        let mut alice = HandMade::talking(lab, "alice", "bob", bob.addr).await;
        alice.fill(4).await;
        let lane = alice.files_lane().await;
        Self { bob, alice, lane, number: 2 }
    }

    /// Offers a list, and says it when it is asked for.
    async fn offer(&mut self, entries: &[Entry<'_>]) -> ([u8; 16], FileFlow) {
        self.number += 2;
        let (transfer, list) = (self.number, list(entries));
        let count = |is: u8| u32::try_from(entries.iter().filter(|(kind, ..)| *kind == is).count()).unwrap();
        let files = count(1);
        let mut id = [7; 16];
        id[..4].copy_from_slice(&transfer.to_be_bytes());
        let terms = FileTerms {
            id,
            suite: Suite::Aes256Gcm,
            files,
            folders: count(0),
            bytes: u64::from(files) * CONTENT.len() as u64,
            list_len: u32::try_from(list.len()).unwrap(),
            list_hash: *blake3::hash(&list).as_bytes(),
        };
        self.alice.say(Message::FileOffer { transfer, terms }).await;
        self.alice.hear("that the names are wanted", |message| *message == Message::FileList { transfer }).await;
        let mut flow = self.alice.file_flow(&self.lane, transfer).await;
        flow.carry(&list, false).await;
        (id, flow)
    }
}

/// Every path below a folder.
fn paths(folder: &Path) -> BTreeSet<PathBuf> {
    let (mut found, mut open) = (BTreeSet::new(), vec![folder.to_owned()]);
    while let Some(path) = open.pop() {
        if path.symlink_metadata().unwrap().is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        found.insert(path);
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_lead_out_are_refused_before_anybody_sees_them() {
    let lab = Lab::new(201);
    let mut harm = Harm::new(&lab).await;
    let long = [b'x'; 766];
    let hostile: [&[Entry<'_>]; 17] = [
        &[(1, 0, b"..")],
        &[(1, 0, b".")],
        &[(1, 0, b"")],
        &[(1, 0, b"/etc/passwd")],
        &[(1, 0, b"../outside")],
        &[(1, 0, b"a/../../outside")],
        &[(1, 0, b"..\\outside")],
        &[(1, 0, b"C:outside")],
        &[(1, 0, b"nul\0byte")],
        &[(1, 0, b"\xff\xfe not text")],
        &[(1, 0, b".. ")],
        // What NFKC makes two dots of: U+2025, and U+2024 twice.
        &[(1, 0, "\u{2025}".as_bytes())],
        &[(1, 0, "\u{2024}\u{2024}".as_bytes())],
        &[(1, 0, &long)],
        // Below a folder; in something that is no folder; and a kind that there is none of, such as a link.
        &[(0, 0, b"good"), (1, 1, b"..")],
        &[(1, 0, b"file"), (1, 1, b"in a file")],
        &[(1, 0, b"good"), (2, 0, b"link")],
    ];
    for entries in hostile {
        let (id, _flow) = harm.offer(entries).await;
        let refused = Message::FileCancel { id, reason: FileCancelReason::Refused };
        harm.alice.hear(&format!("that {entries:?} is refused"), |message| *message == refused).await;
    }
    let Harm { bob, .. } = harm;
    bob.warned("are refused").await;
    assert_eq!(bob.count(|event| matches!(event, Event::FileOffered { .. })), 0);
    bob.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn awkward_names_are_made_safe_and_a_link_in_the_way_is_not_followed() {
    let lab = Lab::new(202);
    let mut harm = Harm::new(&lab).await;
    let inbox = lab.folder("inbox").canonicalize().unwrap();
    let outside = lab.folder("outside").canonicalize().unwrap();
    symlink(&outside, inbox.join("evil")).unwrap();
    std::fs::write(inbox.join("mine"), "mine").unwrap();
    let before = paths(lab.home());
    let long = [&[b'y'; 300][..], b".txt"].concat();
    let entries: &[Entry<'_>] = &[
        (1, 0, b"con.txt"),
        (1, 0, "invoice\u{202e}fdp.exe".as_bytes()),
        (1, 0, b"two\nlines\x1b[31m"),
        (1, 0, b".bashrc"),
        (1, 0, &long),
        (1, 0, b"Same"),
        (1, 0, b"same"),
        (1, 0, b"twice"),
        (1, 0, b"twice"),
        // Two spellings of one name: composed, and with a combining mark.
        (1, 0, "caf\u{e9}".as_bytes()),
        (1, 0, "cafe\u{301}".as_bytes()),
        (1, 0, "a\u{2215}b".as_bytes()),
        (1, 0, b"mine"),
        // Through the link, if it were followed.
        (0, 0, b"evil"),
        (1, 1, b"payload"),
    ];
    let (id, mut flow) = harm.offer(entries).await;
    let (transfer, offer) = harm.bob.files_offered().await;
    assert_eq!(transfer.0, id);
    assert!(offer.layout.changed() >= 8, "he is shown what changes: {}", offer.layout.changed());
    harm.bob.accept_files("alice", transfer, inbox.clone()).await;
    let number = harm.number;
    let yes = |message: &Message| matches!(message, Message::FileAccept { transfer, point: FilePoint { entry: 0, offset: 0, .. } } if *transfer == number);
    harm.alice.hear("his yes", yes).await;
    flow.carry(&stream(entries), true).await;
    let done = harm.bob.file_ended().await.unwrap();
    assert_eq!((done.files, done.failed), (14, 0));
    let new: Vec<PathBuf> = paths(lab.home()).difference(&before).cloned().collect();
    let desk = lab.home().join("bob");
    let came: Vec<&PathBuf> = new.iter().filter(|path| !path.starts_with(&desk)).collect();
    assert_eq!(came.len(), 15, "{came:?}");
    for path in &came {
        assert!(path.canonicalize().unwrap().starts_with(&inbox), "{} is elsewhere", path.display());
        let name = path.file_name().unwrap().to_str().unwrap();
        let deceives = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2215}');
        assert!(!name.chars().any(deceives) && name.len() <= 255 && !name.starts_with('.'), "{name:?}");
        if path.is_file() {
            assert_eq!(std::fs::read(path).unwrap(), CONTENT);
        }
    }
    let folded: BTreeSet<String> =
        came.iter().map(|path| path.strip_prefix(&inbox).unwrap().display().to_string().to_lowercase()).collect();
    assert_eq!(folded.len(), 15, "each has a name of its own, whatever the case: {folded:?}");
    assert!(!inbox.join("con.txt").exists() && !inbox.join(".bashrc").exists());
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "nothing went through the link");
    assert_eq!(std::fs::read(inbox.join("mine")).unwrap(), b"mine", "nothing is overwritten");
    harm.bob.stop().await;
}
