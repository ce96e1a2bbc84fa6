//! The trail under attack and after accidents.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use vernam_etsi014::SaeId;

use super::*;
use crate::Endpoint;
use crate::testing::{kme, sae};

const KEY: [u8; 32] = [7; 32];

struct Trail {
    _folder: tempfile::TempDir,
    file: PathBuf,
}

impl Trail {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.jsonl");
        Self { _folder: folder, file }
    }

    fn open(&self) -> Result<Audit, AuditError> {
        Audit::open(&self.file, &kme("kme-a"), &mut |_salt| Ok(SecretBytes::copy_of(&KEY)))
    }

    /// A trail of one run: opened, started, three deliveries, stopping.
    fn with_a_run() -> Self {
        let trail = Self::new();
        trail.run();
        trail
    }

    fn run(&self) {
        let audit = self.open().unwrap();
        audit.on(&KmeEvent::Started);
        for number in 0..3 {
            deliver(&audit, number);
        }
        audit.on(&KmeEvent::Stopping);
        audit.end();
    }

    fn verify(&self) -> Result<AuditReport, Broken> {
        verify_audit(&self.file, Some(&mut |_salt| Ok(SecretBytes::copy_of(&KEY))))
    }

    fn lines(&self) -> Vec<String> {
        fs::read_to_string(&self.file).unwrap().lines().map(str::to_owned).collect()
    }

    fn write(&self, lines: &[String]) {
        let text: String = lines.iter().map(|line| line.clone() + "\n").collect();
        fs::write(&self.file, text).unwrap();
    }

    /// The line in which `change` shows.
    fn broken_by(change: impl FnOnce(&mut Vec<String>)) -> u64 {
        let trail = Self::with_a_run();
        let mut lines = trail.lines();
        change(&mut lines);
        trail.write(&lines);
        match trail.verify() {
            Err(Broken::Line { line, .. }) => line,
            other => panic!("{other:?}"),
        }
    }
}

fn deliver(audit: &Audit, number: u8) {
    let keys = [KeyId::from_bytes([number; 16])];
    let (master, slaves): (SaeId, [SaeId; 1]) = (sae("alice"), [sae("bob")]);
    audit.on(&KmeEvent::Delivered { master: &master, slaves: &slaves, link: &kme("kme-b"), keys: &keys, bits: 256 });
}

fn events(lines: &[String]) -> Vec<String> {
    lines
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["event"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn what_happened_stands_there() {
    let trail = Trail::with_a_run();
    let lines = trail.lines();
    assert_eq!(events(&lines), ["opened", "started", "delivered", "delivered", "delivered", "stopping"]);
    let delivered: Value = serde_json::from_str(&lines[3]).unwrap();
    assert_eq!(delivered["key_IDs"], json!([KeyId::from_bytes([1; 16]).to_string()]));
    assert_eq!((&delivered["master"], &delivered["slaves"]), (&json!("alice"), &json!(["bob"])));
    let report = trail.verify().unwrap();
    assert_eq!((report.lines, report.torn, report.has_head, report.has_key), (6, 0, true, true));
    assert_eq!(fs::metadata(&trail.file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn it_goes_on_after_a_restart() {
    let trail = Trail::with_a_run();
    trail.run();
    assert_eq!(trail.verify().unwrap().lines, 11);
    assert_eq!(events(&trail.lines()).iter().filter(|event| *event == "opened").count(), 1);
}

#[test]
fn an_edit_a_deletion_an_insertion_and_a_move_are_found_and_the_line_is_named() {
    assert_eq!(Trail::broken_by(|lines| lines[2] = lines[2].replace("alice", "malic")), 3);
    assert_eq!(Trail::broken_by(|lines| drop(lines.remove(3))), 4);
    assert_eq!(Trail::broken_by(|lines| lines.insert(3, lines[2].clone())), 4);
    assert_eq!(Trail::broken_by(|lines| lines.swap(2, 3)), 3);
    assert_eq!(Trail::broken_by(|lines| lines[4] = "{}".to_owned()), 5);
    assert_eq!(Trail::broken_by(|lines| lines[0] = lines[0].replace("kme-a", "kme-x")), 1);
    assert_eq!(Trail::broken_by(|lines| drop(lines.remove(0))), 1);
}

#[test]
fn the_chain_alone_shows_an_edit_and_the_mac_a_chain_that_was_made_anew() {
    let trail = Trail::with_a_run();
    let mut lines = trail.lines();
    lines[2] = lines[2].replace("alice", "malic");
    trail.write(&lines);
    let by_chain = verify_audit(&trail.file, None);
    assert!(matches!(by_chain, Err(Broken::Line { line: 4, .. })), "{by_chain:?}");
    // Now with every later `prev` made to fit, and the head too: only the key tells.
    for at in 3..lines.len() {
        let parsed: Value = serde_json::from_str(&lines[at]).unwrap();
        let before = line::hash(lines[at - 1].as_bytes());
        lines[at] = lines[at].replace(parsed["prev"].as_str().unwrap(), &before);
    }
    trail.write(&lines);
    let head = Head::file_of(&trail.file);
    let mut text: Value = serde_json::from_slice(&fs::read(&head).unwrap()).unwrap();
    text["hash"] = json!(line::hash(lines[5].as_bytes()));
    fs::write(&head, text.to_string()).unwrap();
    assert!(verify_audit(&trail.file, None).is_ok());
    let by_mac = trail.verify();
    assert!(matches!(by_mac, Err(Broken::Line { line: 3, .. })), "{by_mac:?}");
}

#[test]
fn lines_cut_off_at_the_end_are_missed() {
    let trail = Trail::with_a_run();
    let lines = trail.lines();
    trail.write(&lines[..4]);
    let found = trail.verify();
    assert!(matches!(found, Err(Broken::CutOff { lines: 4, written: 6 })), "{found:?}");
    let refused = trail.open().err().unwrap().to_string();
    assert!(refused.contains("cut off: number 5 was written") && refused.contains("evidence"), "{refused}");
    fs::write(&trail.file, "").unwrap();
    assert!(matches!(trail.verify(), Err(Broken::CutOff { lines: 0, written: 6 })));
    assert!(matches!(trail.open(), Err(AuditError::Broken { .. })));
}

#[test]
fn a_forged_head_is_no_help() {
    let trail = Trail::with_a_run();
    let lines = trail.lines();
    trail.write(&lines[..4]);
    let head = Head::file_of(&trail.file);
    let mut text: Value = serde_json::from_slice(&fs::read(&head).unwrap()).unwrap();
    text["seq"] = json!(3);
    text["hash"] = json!(line::hash(lines[3].as_bytes()));
    fs::write(&head, text.to_string()).unwrap();
    assert!(matches!(trail.verify(), Err(Broken::Head(_))));
    assert!(matches!(trail.open(), Err(AuditError::Broken { .. })));
}

#[test]
fn a_line_torn_by_a_crash_is_removed_and_told_of() {
    let trail = Trail::with_a_run();
    let mut bytes = fs::read(&trail.file).unwrap();
    bytes.extend_from_slice(b"{\"seq\":6,\"time\":\"2026-");
    fs::write(&trail.file, bytes).unwrap();
    assert_eq!(trail.verify().unwrap().torn, 22);
    trail.run();
    let lines = trail.lines();
    assert_eq!(events(&lines)[6..8], ["torn_lines_removed", "started"]);
    assert_eq!(serde_json::from_str::<Value>(&lines[6]).unwrap()["bytes"], json!(22));
    assert_eq!((trail.verify().unwrap().torn, trail.verify().unwrap().lines), (0, 12));
}

#[test]
fn what_was_set_aside_before_stays() {
    let trail = Trail::with_a_run();
    let whole = fs::read(&trail.file).unwrap();
    let head = fs::read(Head::file_of(&trail.file)).unwrap();
    for torn in [&b"{\"seq\":6,\"first"[..], b"{\"seq\":6,\"second", b"third"] {
        // The same accident again, as after a restore.
        fs::write(&trail.file, [&whole, torn].concat()).unwrap();
        fs::write(Head::file_of(&trail.file), &head).unwrap();
        trail.open().unwrap().end();
    }
    let aside = trail.file.with_added_extension("cut-after-5");
    assert_eq!(fs::read(&aside).unwrap(), b"{\"seq\":6,\"first");
    assert_eq!(fs::read(aside.with_added_extension("2")).unwrap(), b"{\"seq\":6,\"second");
    assert_eq!(fs::read(aside.with_added_extension("3")).unwrap(), b"third");
}

#[test]
fn lines_after_the_head_are_what_a_kill_leaves() {
    let trail = Trail::with_a_run();
    let head = fs::read(Head::file_of(&trail.file)).unwrap();
    trail.run();
    fs::write(Head::file_of(&trail.file), head).unwrap();
    assert_eq!(trail.verify().unwrap().lines, 11);
    trail.run();
    assert_eq!(trail.verify().unwrap().lines, 16);
}

#[test]
fn another_key_is_noticed_and_so_is_a_second_process() {
    let trail = Trail::with_a_run();
    let other = Audit::open(&trail.file, &kme("kme-a"), &mut |_salt| Ok(SecretBytes::copy_of(&[8; 32])));
    assert!(matches!(other, Err(AuditError::Broken { .. })));
    let _first = trail.open().unwrap();
    assert!(matches!(trail.open(), Err(AuditError::InUse(_))));
}

#[test]
fn a_flood_of_refusals_does_not_fill_the_disk_and_is_counted() {
    let trail = Trail::new();
    let audit = trail.open().unwrap();
    let took = Duration::from_millis(1);
    let refusal =
        KmeEvent::Request { who: "mallory\n", endpoint: Endpoint::GetKey, status: 401, refusal: Some("no"), took };
    for _ in 0..5000 {
        audit.on(&refusal);
    }
    audit.on(&KmeEvent::Request { who: "alice", endpoint: Endpoint::GetKey, status: 503, refusal: Some("x"), took });
    audit.end();
    let refused = events(&trail.lines()).iter().filter(|event| *event == "refused").count();
    // The flood may fall into more than one second.
    assert!((1..5000).contains(&refused), "{refused}");
    assert!(!fs::read_to_string(&trail.file).unwrap().contains("mallory\\n"));
}

#[test]
fn a_queue_that_overflows_is_told_of() {
    let trail = Trail::new();
    let audit = trail.open().unwrap();
    audit.state.lost.store(5, Ordering::Release);
    deliver(&audit, 1);
    audit.end();
    let lost: Vec<String> = trail.lines().into_iter().filter(|line| line.contains("\"lost\"")).collect();
    assert!(lost.len() == 1 && lost[0].contains("\"records\":5"), "{lost:?}");
    assert!(trail.verify().is_ok() && !audit.failed());
}
