//! A folder of key files as a source: real files, crashes, and whatever else an exporter may leave there.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

#[expect(dead_code, reason = "each test program uses its part of this")]
mod feeding;
mod world;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use feeding::Seen;
use tempfile::TempDir;
use vernam_kme::sources::{Directory, DirectoryConfig, SourceError};
use vernam_kme::{KeySource, LinkState, Settled, SourceEvent};

/// A folder for key, and what a test puts into it.
struct Keys {
    _tmp: TempDir,
    path: PathBuf,
}

impl Keys {
    fn new() -> Self {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("keys");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        Self { _tmp: tmp, path }
    }

    fn name(number: u64) -> String {
        format!("block-{number:020}.key")
    }

    /// Puts a block there as an exporter does: whole, by its new name.
    fn put(&self, number: u64, bytes: &[u8]) {
        self.put_as(&Self::name(number), bytes);
    }

    fn put_as(&self, name: &str, bytes: &[u8]) {
        let (hidden, path) = (self.path.join(".new"), self.path.join(name));
        fs::write(&hidden, bytes).unwrap();
        fs::set_permissions(&hidden, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(hidden, path).unwrap();
    }

    fn config(&self) -> DirectoryConfig {
        let mut config = DirectoryConfig::new(&self.path);
        config.poll = Duration::from_millis(5);
        config
    }

    fn source(&self) -> Directory {
        Directory::open(self.config()).unwrap()
    }

    /// What a person sees there, without notes.
    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(&self.path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| !name.starts_with(".kme-lock") && name != ".kme-era").collect();
        names.sort();
        names
    }
}

/// The next block, settled so; reports before it go to `seen`.
async fn block(source: &mut impl KeySource, settled: Settled, seen: &mut Seen) -> (u64, Vec<u8>) {
    loop {
        match feeding::soon(source.next()).await {
            SourceEvent::Block { number, bits } => {
                source.settled(number, settled).await;
                return (number, bits.expose("test").to_vec());
            }
            SourceEvent::Report(report) => seen.reports.push(report),
            SourceEvent::Void { number } => panic!("block {number} is void"),
            SourceEvent::Ended(why) => panic!("ended: {why}"),
        }
    }
}

/// Listens until a report says this.
async fn until_told(source: &mut impl KeySource, words: &str) -> vernam_kme::LinkReport {
    loop {
        match feeding::soon(source.next()).await {
            SourceEvent::Report(report) if report.reason.contains(words) => return report,
            SourceEvent::Report(_) => {}
            SourceEvent::Block { number, .. } => panic!("block {number} was taken"),
            SourceEvent::Void { .. } | SourceEvent::Ended(_) => panic!("it ended"),
        }
    }
}

#[tokio::test]
async fn files_are_taken_in_order_and_erased_only_once_they_are_safe() {
    let keys = Keys::new();
    for number in [12, 3, 700] {
        keys.put(number, &[u8::try_from(number % 251).unwrap(); 5000]);
    }
    keys.put_as("block-00000000000000000001.key.unsettled", b"not ours");
    keys.put_as("notes.txt", b"not ours");
    // A second name shows what becomes of the bits.
    let witness = keys.path.parent().unwrap().join("witness");
    fs::hard_link(keys.path.join(Keys::name(3)), &witness).unwrap();
    let (mut source, mut seen) = (keys.source(), Seen::default());
    assert_eq!(block(&mut source, Settled::Again, &mut seen).await, (3, vec![3; 5000]));
    assert_eq!(fs::read(&witness).unwrap(), [3; 5000], "the ledger could not be written, so the file stays");
    assert_eq!(block(&mut source, Settled::Taken, &mut seen).await, (3, vec![3; 5000]));
    assert_eq!(fs::read(&witness).unwrap(), [0; 5000]);
    assert_eq!(block(&mut source, Settled::Taken, &mut seen).await.0, 12);
    keys.put(13, &[13; 8]);
    keys.put(5, &[5; 8]);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(block(&mut source, Settled::Taken, &mut seen).await.0, 5, "what the listing shows, in order");
    assert_eq!(block(&mut source, Settled::Taken, &mut seen).await.0, 13);
    assert_eq!(block(&mut source, Settled::TooLate, &mut seen).await.0, 700);
    let report = until_told(&mut source, "1 came too late").await;
    assert_eq!((report.state, report.qber), (LinkState::Up, None));
    assert!((report.rate_bps - f64::from((5000 * 2 + 16) * 8) / 60.0).abs() < 1e3, "{report:?}");
    assert_eq!(keys.names(), ["block-00000000000000000001.key.unsettled", "notes.txt"]);
}

#[tokio::test]
async fn what_may_still_be_void_is_left_alone() {
    let keys = Keys::new();
    let note = |number: u64| fs::write(keys.path.join(".unsettled"), format!("{number}\n")).unwrap();
    note(2);
    keys.put(1, &[1; 8]);
    keys.put(2, &[2; 8]);
    let (mut source, mut seen) = (keys.source(), Seen::default());
    assert_eq!(block(&mut source, Settled::Taken, &mut seen).await.0, 1);
    assert!(feeding::briefly(source.next()).await.is_none_or(|event| matches!(event, SourceEvent::Report(_))));
    assert_eq!(keys.names(), [".unsettled".to_owned(), Keys::name(2)]);
    // It turns out void; the next one is settled by the one after.
    fs::remove_file(keys.path.join(Keys::name(2))).unwrap();
    note(3);
    keys.put(3, &[3; 8]);
    note(4);
    keys.put(4, &[4; 8]);
    assert_eq!(block(&mut source, Settled::Taken, &mut seen).await.0, 3);
    fs::write(keys.path.join(".unsettled"), "four").unwrap();
    until_told(&mut source, "names no block").await;
    fs::remove_file(keys.path.join(".unsettled")).unwrap();
    assert_eq!(block(&mut source, Settled::Taken, &mut seen).await.0, 4);
}

#[tokio::test]
async fn a_crash_between_deposit_and_erasing_is_found_at_the_next_start() {
    let keys = Keys::new();
    keys.put(7, &[7; 64]);
    keys.put(8, &[8; 64]);
    let mut source = keys.source();
    while !matches!(feeding::soon(source.next()).await, SourceEvent::Block { number: 7, .. }) {}
    drop(source); // the ledger has it, or not: nobody knows
    assert_eq!(keys.names(), [".kme-00000000000000000007.taken".to_owned(), Keys::name(8)]);
    let (mut source, mut seen) = (keys.source(), Seen::default());
    assert_eq!(block(&mut source, Settled::TooLate, &mut seen).await, (7, vec![7; 64]));
    assert_eq!(block(&mut source, Settled::Taken, &mut seen).await, (8, vec![8; 64]));
    assert!(keys.names().is_empty());
    assert!(seen.reports.iter().all(|report| !report.reason.contains("too late")), "that was no surprise");
}

#[tokio::test]
async fn dropping_the_wait_for_a_block_loses_nothing() {
    let keys = Keys::new();
    for number in 1..=200 {
        keys.put(number, &number.to_be_bytes());
    }
    let (mut source, mut got) = (keys.source(), Vec::new());
    while got.len() < 200 {
        let event = tokio::select! {
            biased;
            event = source.next() => event,
            () = tokio::task::yield_now() => continue,
        };
        match event {
            SourceEvent::Block { number, bits } => {
                assert_eq!(bits.expose("test"), number.to_be_bytes());
                source.settled(number, Settled::Taken).await;
                got.push(number);
            }
            SourceEvent::Ended(why) => panic!("{why}"),
            _ => {}
        }
    }
    assert!(got.iter().copied().eq(1..=200), "{got:?}");
    assert!(keys.names().is_empty());
}

#[tokio::test]
async fn numbers_that_begin_anew_are_not_taken_for_old_ones() {
    let keys = Keys::new();
    let secret = |id: &str| fs::write(keys.path.join(".startup-secret-id"), format!("{id}\n")).unwrap();
    secret("aaaa");
    keys.put(1 << 32, &[1; 8]);
    let (mut source, mut seen) = (keys.source(), Seen::default());
    assert_eq!(block(&mut source, Settled::Taken, &mut seen).await.0, 1 << 32);
    secret("bbbb");
    keys.put(1 << 32, &[2; 8]);
    let said = until_told(&mut source, "new start-up secret").await;
    assert!(said.state == LinkState::Down && said.reason.contains("set era to 1"), "{said:?}");
    drop(source);
    assert!(keys.names().contains(&Keys::name(1 << 32)));
    let mut config = keys.config();
    config.era = 1;
    let mut source = Directory::open(config).unwrap();
    // A crash, and another era: the number is still the one under which it was offered.
    while !matches!(feeding::soon(source.next()).await, SourceEvent::Block { number, .. } if number == (1 << 41 | 1 << 32))
    {
    }
    drop(source);
    let mut config = keys.config();
    config.era = 2;
    let mut source = Directory::open(config).unwrap();
    assert_eq!(block(&mut source, Settled::TooLate, &mut seen).await.0, (1 << 41) | (1 << 32));
    drop(source);
    keys.put(2 << 32, &[3; 8]);
    let mut source = Directory::open(keys.config()).unwrap();
    until_told(&mut source, "era 1 was before it").await;
}

#[tokio::test]
async fn what_cannot_be_used_is_set_aside_and_counted() {
    let keys = Keys::new();
    keys.put(1, &[]);
    keys.put(2, &vec![2; (1 << 20) + 1]);
    keys.put(3, &[3; 8]);
    fs::set_permissions(keys.path.join(Keys::name(3)), fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", keys.path.join(Keys::name(4))).unwrap();
    fs::create_dir(keys.path.join(Keys::name(5))).unwrap();
    keys.put(6, &[6; 8]);
    let (mut source, mut seen) = (keys.source(), Seen::default());
    assert_eq!(block(&mut source, Settled::Taken, &mut seen).await, (6, vec![6; 8]));
    keys.put(u64::MAX, &[9; 8]);
    until_told(&mut source, "6 could not be used and were set aside").await;
    let refused: Vec<_> =
        [1, 2, 3, 4, 5, u64::MAX].into_iter().map(|number| format!("{}.refused", Keys::name(number))).collect();
    assert_eq!(keys.names(), refused);
    // None of them covers another.
    keys.put(1, &[]);
    until_told(&mut source, "7 could not").await;
    assert!(keys.names().contains(&format!("{}.refused-2", Keys::name(1))));
}

#[tokio::test]
async fn a_folder_that_others_may_use_or_that_is_read_already_is_refused() {
    let keys = Keys::new();
    let why = |config| match Directory::open(config) {
        Err(error @ (SourceError::Folder { .. } | SourceError::Setting { .. })) => error.to_string(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was opened"),
    };
    let mode = |mode| fs::set_permissions(&keys.path, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o750);
    assert!(why(keys.config()).contains("chmod 700"));
    let mut config = keys.config();
    config.allow_group = true;
    drop(Directory::open(config).unwrap());
    mode(0o700);
    let mut source = keys.source();
    assert!(why(keys.config()).contains("another KME reads it"));
    keys.put(1, &[1; 8]);
    mode(0o701);
    until_told(&mut source, "mode 0701").await;
    mode(0o700);
    assert_eq!(block(&mut source, Settled::Taken, &mut Seen::default()).await.0, 1);
    let mut config = keys.config();
    config.era = 1 << 21;
    assert!(why(config).contains("era"));
}

#[tokio::test]
async fn another_exporter_may_name_its_files_and_its_state_as_it_does() {
    let keys = Keys::new();
    let mut config = keys.config();
    config.pattern = "qkd_{}.bin".parse().unwrap();
    config.rest = Duration::from_millis(500);
    config.down_after = Duration::from_millis(200);
    let mut source = Directory::open(config).unwrap();
    // It does not rename: the file grows under the reader's eyes.
    let path = keys.path.join("qkd_10.bin");
    for len in 1..=5 {
        fs::write(&path, vec![1; len * 100]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(feeding::briefly(source.next()).await.is_none_or(|event| matches!(event, SourceEvent::Report(_))));
    }
    keys.put_as("qkd_9.bin", &[9; 8]);
    let mut seen = Seen::default();
    assert_eq!(block(&mut source, Settled::Taken, &mut seen).await, (9, vec![9; 8]));
    assert_eq!(block(&mut source, Settled::Taken, &mut seen).await, (10, vec![1; 500]));
    keys.put_as("link.json", br#"{"qber":0.02,"threshold":0.11,"state":"up","vendor":"any"}"#);
    let report = until_told(&mut source, "no key file came for").await;
    assert_eq!((report.state, report.qber), (LinkState::Down, Some(0.02)), "that it is up does not help");
    keys.put_as("link.json", br#"{"qber":0.3,"threshold":0.11,"state":"alarm","reason":"somebody listens"}"#);
    let report = until_told(&mut source, "somebody listens").await;
    assert_eq!((report.state, report.qber, report.threshold), (LinkState::Alarm, Some(0.3), 0.11));
    for nonsense in [&b"{"[..], br#"{"state":"sideways"}"#, br#"{"qber":7,"state":"alarm"}"#, &[b' '; 5000]] {
        keys.put_as("link.json", nonsense);
        let report = until_told(&mut source, "no key file came for").await;
        assert_eq!((report.state, report.qber), (LinkState::Down, None));
        keys.put_as("link.json", br#"{"state":"alarm","reason":"again"}"#);
        until_told(&mut source, "again").await;
    }
}

#[tokio::test]
async fn many_files_come_in_order() {
    const FILES: u64 = 300;
    let keys = Keys::new();
    for number in 0..FILES {
        // In no order of their own.
        let number = number * 1237 % FILES;
        keys.put(number, &number.to_be_bytes());
    }
    let (mut source, mut seen) = (keys.source(), Seen::default());
    for number in 0..FILES {
        assert_eq!(block(&mut source, Settled::Taken, &mut seen).await, (number, number.to_be_bytes().to_vec()));
    }
    assert!(keys.names().is_empty());
}
