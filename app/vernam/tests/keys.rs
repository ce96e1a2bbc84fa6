//! `vernam keys` and `vernam pad`, as a person sees them.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod kept;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use kept::golden;
use vernam::stock::home::Home;
use vernam::stock::report::{RATES, Report, minutes};
use vernam_key::{KeyId, SecretBytes};
use vernam_store::{SpentOn, Stock as _, StockKey, Store};

fn key(number: u8, len: usize) -> Vec<StockKey> {
    vec![StockKey { id: KeyId::from_bytes([number; 16]), bytes: SecretBytes::from_vec(vec![number; len]) }]
}

fn with_stock(home: &Home) -> Store {
    let store = home.store().unwrap();
    let mut outbound = store.outbound("bob").unwrap();
    outbound.append(key(1, 2_000_000)).unwrap();
    outbound.append(key(2, 500_000)).unwrap();
    outbound.note_matched(2_000_000).unwrap();
    for (len, on) in
        [(8_192, SpentOn::Control), (300_000, SpentOn::Voice), (100_000, SpentOn::File), (1_024, SpentOn::Text)]
    {
        outbound.take(len, on).unwrap();
    }
    let mut inbound = store.inbound("bob").unwrap();
    inbound.append(key(3, 1_000_000)).unwrap();
    inbound.note_matched(1_000_000).unwrap();
    inbound.take_at(4_000, 40_000, SpentOn::Voice).unwrap();
    drop(store.outbound("carol").unwrap());
    store
}

#[test]
fn the_report_of_a_stock() {
    let temp = tempfile::tempdir().unwrap();
    let home = Home::new(temp.path().join("home"), temp.path().join("anchors"));
    let store = with_stock(&home);
    golden("keys.txt", &Report::of(&store, None).unwrap().text());
    golden("keys.json", &Report::of(&store, Some("bob")).unwrap().json().unwrap());
    let nobody = Report::of(&store, Some("mallory")).unwrap_err().to_string();
    assert!(nobody.contains("mallory"), "{nobody}");
}

#[test]
fn minutes_are_those_of_the_voice_format() {
    // 16 kb/s in packets of 20 ms: 40 bytes and a tag of 8, and 16 bytes for each 100 packets, which is two seconds.
    assert!((minutes(4_816, 16_000) - 2.0 / 60.0).abs() < 1e-9);
    assert!((minutes(4_816 * 30, 16_000) - 1.0).abs() < 1e-9);
    assert!((minutes(16 + 48, 16_000) - 0.02 / 60.0).abs() < 1e-9);
    assert!(minutes(63, 16_000) <= 0.0 && minutes(0, 6_000) <= 0.0);
    for rates in RATES.windows(2) {
        assert!(minutes(1_000_000, rates[0]) > minutes(1_000_000, rates[1]));
    }
}

fn vernam(temp: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vernam"));
    command.args(args).current_dir(temp).env_remove("VERNAM_HOME").env("XDG_DATA_HOME", temp.join("data"));
    command.env("XDG_STATE_HOME", temp.join("state")).stdin(std::process::Stdio::null()).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_pad_is_made_carried_and_taken_in() {
    let temp = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| vernam(temp.path(), args);
    fs::write(temp.path().join("a.txt"), "alice's own words\n").unwrap();
    fs::write(temp.path().join("b.txt"), "bob's own words\n").unwrap();
    let files = ["--passphrase-file", "a.txt", "--passphrase-file", "b.txt"];
    let made = run(&[&["pad", "make", "alice", "bob", "--size", "2MB", "--out", "usb"], files.as_slice()].concat());
    assert_eq!(made.status.code(), Some(0), "{}", said(&made));
    let words = said(&made).lines().find_map(|line| Some(line.split_once("Fingerprint: ")?.1.to_owned())).unwrap();
    assert_eq!(words.split(' ').count(), 4, "{words}");
    let again = run(&[&["pad", "make", "alice", "bob", "--out", "usb"], files.as_slice()].concat());
    assert!(again.status.code() == Some(1) && said(&again).contains("never overwritten"), "{}", said(&again));

    let import = |file: &str, words: &str, more: &[&str]| {
        run(&[&["pad", "import", file, "--passphrase-file", words], more].concat())
    };
    let kept = import("usb/alice-with-bob.pad", "a.txt", &["--keep"]);
    assert!(kept.status.code() == Some(0) && said(&kept).contains("Warning"), "{}", said(&kept));
    assert!(said(&kept).contains(&words), "{}", said(&kept));
    let twice = import("usb/alice-with-bob.pad", "a.txt", &[]);
    assert!(twice.status.code() == Some(1) && said(&twice).contains("already"), "{}", said(&twice));
    let elsewhere = import("usb/alice-with-bob.pad", "a.txt", &["--home", "other", "--as", "zoe"]);
    assert!(elsewhere.status.code() == Some(1) && said(&elsewhere).contains("\"bob\""), "{}", said(&elsewhere));
    let wrong = import("usb/bob-with-alice.pad", "b.txt", &[]);
    assert!(wrong.status.code() == Some(1) && said(&wrong).contains("is for bob"), "{}", said(&wrong));
    let his = import("usb/bob-with-alice.pad", "b.txt", &["--home", "bobs", "--as", "ally"]);
    assert!(his.status.code() == Some(0) && said(&his).contains(&words), "{}", said(&his));
    assert!(!temp.path().join("usb/bob-with-alice.pad").exists());

    let keys = run(&["keys", "--home", "bobs"]);
    assert!(
        keys.status.code() == Some(0) && said(&keys).contains("ally") && said(&keys).contains("1,000,000"),
        "{}",
        said(&keys)
    );
    let nowhere = run(&["keys", "--home", "nowhere"]);
    assert!(nowhere.status.code() == Some(1) && !temp.path().join("nowhere").exists(), "{}", said(&nowhere));
    // The kept file after the store is lost.
    fs::remove_dir_all(temp.path().join("data/vernam/store")).unwrap();
    let lost = import("usb/alice-with-bob.pad", "a.txt", &[]);
    assert!(lost.status.code() == Some(1) && said(&lost).contains("make a new pad"), "{}", said(&lost));
    // An empty passphrase.
    fs::write(temp.path().join("empty.txt"), "\nalice's own words\n").unwrap();
    let empty = import("usb/alice-with-bob.pad", "empty.txt", &[]);
    assert!(empty.status.code() == Some(1) && said(&empty).contains("is empty"), "{}", said(&empty));
    let files = ["--passphrase-file", "a.txt", "--passphrase-file", "empty.txt"];
    let made = run(&[&["pad", "make", "alice", "bob", "--out", "more"], files.as_slice()].concat());
    assert!(made.status.code() == Some(1) && said(&made).contains("is empty"), "{}", said(&made));
    assert!(!temp.path().join("more").exists());
    // No passphrase and no terminal.
    let asked = run(&["pad", "import", "usb/alice-with-bob.pad"]);
    assert!(asked.status.code() == Some(1) && said(&asked).contains("--passphrase-file"), "{}", said(&asked));
}

#[test]
fn a_store_that_is_open_elsewhere_and_an_old_copy_are_said() {
    let temp = tempfile::tempdir().unwrap();
    let home = Home::new(temp.path().join("data/vernam"), temp.path().join("state/vernam/anchors"));
    let store = with_stock(&home);
    let busy = vernam(temp.path(), &["keys"]);
    assert!(busy.status.code() == Some(1) && said(&busy).contains("in use by another program"), "{}", said(&busy));
    drop(store);
    assert_eq!(vernam(temp.path(), &["keys", "bob"]).status.code(), Some(0));

    fs::remove_dir_all(temp.path().join("data/vernam/store/contacts")).unwrap();
    let empty = vernam(temp.path(), &["keys"]);
    assert!(empty.status.code() == Some(0), "{}", said(&empty));
    fs::remove_dir_all(temp.path().join("state")).unwrap();
    let lost = vernam(temp.path(), &["keys"]);
    assert!(lost.status.code() == Some(1) && said(&lost).contains("--accept-lost-anchor"), "{}", said(&lost));
    assert_eq!(vernam(temp.path(), &["keys", "--accept-lost-anchor"]).status.code(), Some(0));
    assert_eq!(vernam(temp.path(), &["keys"]).status.code(), Some(0));
}
