//! `vernam kme doctor`: what it says of our own KMEs, and of a KME with faults that are known.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::process::{Command, Output};

use serde_json::Value;
use vernam::cli::{self, Action, DoctorOptions, KmeOptions};
use vernam::kme::doctor::{Outcome, Report, catalogue, examine};

use super::bad_kme::{BadKme, Fault};
use super::world::{World, listener, output};

fn options(args: &[String]) -> DoctorOptions {
    let args = ["vernam", "kme", "doctor"].into_iter().map(str::to_owned).chain(args.iter().cloned());
    let Action::Kme(options) = cli::parse(args).unwrap().action else { panic!("not the doctor") };
    match *options {
        KmeOptions::Doctor(options) => *options,
        _ => panic!("not the doctor"),
    }
}

/// The program itself, as a person runs it.
async fn run(args: &[String], more: &[&str]) -> Output {
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_vernam-under-test"));
    doctor.args(["kme", "doctor"]).args(args).args(more);
    output(doctor).await
}

async fn of(faults: &[Fault], more: &[&str]) -> Report {
    let kme = BadKme::new(faults).await;
    let args: Vec<String> = kme.doctor_args().into_iter().chain(more.iter().map(|arg| (*arg).to_owned())).collect();
    examine(&options(&args)).await.unwrap()
}

/// Rows that did not pass, for a person who reads a failed test.
fn complaints(report: &Report) -> String {
    let rows = report.rows.iter().filter(|row| row.outcome != Outcome::Pass);
    let lines: Vec<String> = rows.map(|row| format!("{} {}: {}", row.outcome.name(), row.check.id, row.seen)).collect();
    lines.join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_kmes_are_well() {
    let world = World::new().await;
    let args = world.doctor_args();
    let report = examine(&options(&args)).await.unwrap();
    let none: [&str; 0] = [];
    assert_eq!(report.ids(Outcome::Fail), none, "{}", complaints(&report));
    assert_eq!(report.ids(Outcome::Differs), none, "{}", complaints(&report));
    assert_eq!(report.ids(Outcome::Skipped), ["empty-stock"], "{}", complaints(&report));
    let ids: Vec<&str> = report.rows.iter().map(|row| row.check.id).collect();
    assert_eq!(ids, catalogue::ALL.iter().map(|check| check.id).collect::<Vec<_>>(), "every check has one row");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_and_the_json_say_the_same() {
    let world = World::new().await;
    let args = world.doctor_args();
    let said = run(&args, &["--drain"]).await;
    let table = String::from_utf8(said.stdout).unwrap();
    assert_eq!(said.status.code(), Some(0), "{table}{}", String::from_utf8_lossy(&said.stderr));
    assert!(table.starts_with(&format!("master alice at https://{}\nslave  bob at https://{}\n", world.a, world.b)));
    assert!(!table.contains('\u{1b}'), "colours are for terminals");
    assert!(table.contains("Retry-After"), "{table}");
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines.iter().all(|line| line.chars().count() <= 110), "{table}");
    for check in catalogue::ALL {
        let row =
            lines.iter().filter(|line| line.get(10..).is_some_and(|rest| rest.starts_with(&format!("{} ", check.id))));
        let outcomes: Vec<&str> = row.map(|line| line[2..9].trim_end()).collect();
        assert_eq!(outcomes, ["pass"], "{}\n{table}", check.id);
    }
    shows_no_key(&table);
    world.end().await;

    let world = World::new().await;
    let said = run(&world.doctor_args(), &["--json"]).await;
    let json = String::from_utf8(said.stdout).unwrap();
    assert_eq!(said.status.code(), Some(0), "{json}");
    shows_no_key(&json);
    let document: Value = serde_json::from_str(&json).unwrap();
    let checks = document["checks"].as_array().unwrap();
    assert_eq!(checks.len(), catalogue::ALL.len());
    let count = |outcome: &str| checks.iter().filter(|check| check["outcome"] == outcome).count();
    for outcome in ["pass", "fail", "differs", "skipped"] {
        assert_eq!(document["counts"][outcome], count(outcome), "{outcome}");
    }
    assert!(
        checks.iter().all(|check| ["id", "title", "seen", "standard"].iter().all(|field| check[field].is_string()))
    );
    assert_eq!(document["askers"]["third"]["SAE_ID"], "dave");
    world.end().await;
}

/// The shortest key of these runs that could be known again has 16 bytes: 22 characters of base64, 32 of hexadecimal.
#[track_caller]
fn shows_no_key(text: &str) {
    let encoded = |c: char| c.is_ascii_alphanumeric() || c == '+' || c == '/' || c == '=';
    let long = |word: &&str| word.len() >= 22 && word.chars().any(|c| c.is_ascii_digit());
    let suspects: Vec<&str> = text.split(|c: char| !encoded(c)).filter(long).collect();
    assert_eq!(suspects, Vec::<&str>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kme_without_faults_has_none() {
    let report = of(&[], &[]).await;
    assert_eq!(report.count(Outcome::Fail) + report.count(Outcome::Differs), 0, "{}", complaints(&report));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_is_found_and_nothing_else() {
    for (fault, expected) in [
        (Fault::Replays, ["replay", "replay-many"].as_slice()),
        (Fault::DerivedIds, &["key-id-not-derived"]),
        (
            Fault::TextErrors,
            &["size-not-multiple-of-8", "unknown-key-id", "extension-mandatory", "errors-json", "content-type"],
        ),
        (Fault::AnySae, &["wrong-sae"]),
        (Fault::Zeros, &["keys-differ", "keys-even", "concurrent", "concurrent-both-ways"]),
        (Fault::Partial, &["all-or-nothing"]),
        (Fault::PassesOverMandatory, &["extension-mandatory"]),
        (Fault::Open, &["tls-no-certificate"]),
    ] {
        let report = of(&[fault], &[]).await;
        let mut found = report.ids(Outcome::Fail);
        let mut expected = expected.to_vec();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{fault:?}\n{}", complaints(&report));
        assert_eq!(report.exit_status(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_told_apart_when_they_come_together() {
    let faults = [Fault::Replays, Fault::DerivedIds, Fault::TextErrors, Fault::AnySae];
    let kme = BadKme::new(&faults).await;
    let said = run(&kme.doctor_args(), &["--json"]).await;
    assert_eq!(said.status.code(), Some(1));
    let document: Value = serde_json::from_slice(&said.stdout).unwrap();
    let failed: Vec<&str> = document["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["outcome"] == "fail")
        .map(|check| check["id"].as_str().unwrap())
        .collect();
    let expected = [
        "size-not-multiple-of-8",
        "key-id-not-derived",
        "replay",
        "replay-many",
        "wrong-sae",
        "unknown-key-id",
        "extension-mandatory",
        "errors-json",
        "content-type",
    ];
    assert_eq!(failed, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_stock_that_is_told_badly_is_found() {
    let report = of(&[Fault::EndsBadly], &["--drain"]).await;
    let mut found = report.ids(Outcome::Fail);
    found.sort_unstable();
    assert_eq!(found, ["empty-stock", "status-codes"], "{}", complaints(&report));
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_and_absence_have_their_own_exit_status() {
    let world = World::new().await;
    let mut args = world.doctor_args();
    let gone = listener().await;
    args[0] = format!("https://{}", gone.local_addr().unwrap());
    drop(gone);
    let said = run(&args, &[]).await;
    let words = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.code() == Some(3) && words.contains("master cannot reach the KME"), "{words}");
    assert_eq!(run(&args, &["--timeout", "0"]).await.status.code(), Some(2));
    args[0] = "http://127.0.0.1".to_owned();
    let said = run(&args, &[]).await;
    let words = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.code() == Some(2) && words.contains("https"), "{words}");
    let args = world.doctor_args();
    let swapped: Vec<String> = args.iter().map(|arg| arg.replace("bob.key", "bob.pem")).collect();
    let said = run(&swapped, &[]).await;
    let words = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.code() == Some(2) && words.contains("bob.pem holds no private key"), "{words}");
    assert_eq!(run(&args[..1], &[]).await.status.code(), Some(2), "certificates are needed");
    world.end().await;
}
