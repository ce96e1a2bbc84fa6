//! Processes that are killed, lose power, run out of disk and have their clocks moved, under load from both sides.
//!
//! Short runs here; `make soak` is the long one (`VERNAM_SOAK`: how many blows of each kind).

#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure is the test's own")]

use std::path::Path;

use rand::RngExt as _;
use vernam_tests::crash::{Blow, Ledgers, Plan, Verdict, client, run};
use vernam_tests::power::Loss;

#[path = "../../keystore/ledger/tests/support/postgres.rs"]
#[expect(dead_code, reason = "the ledger's own tests use the rest")]
mod postgres;

const PROGRAM: &str = env!("CARGO_BIN_EXE_vernam-under-test");

/// What can happen to any ledger.
const KILLS: [Blow; 3] = [Blow::KillKme, Blow::KillKme, Blow::KillClient];

fn clean(ledgers: Ledgers, blows: &[Blow], times: usize, seed: u64) -> Verdict {
    let folder = tempfile::tempdir().unwrap();
    let this = std::env::current_exe().unwrap().to_string_lossy().into_owned();
    let client = [&*this, "--exact", "crash::a_client", "--ignored", "--nocapture"].map(str::to_owned).to_vec();
    let plan = Plan { program: Path::new(PROGRAM), client, ledgers, blows: blows.to_vec(), times, seed };
    let wrong = match run(&plan, folder.path()) {
        Ok(verdict) if verdict.is_clean() => return verdict,
        Ok(verdict) => verdict.to_string(),
        Err(error) => format!("{error:#}"),
    };
    panic!("seed {seed}: {wrong}; what is left stands in {}", folder.keep().display());
}

/// Not a test: one of the client processes of the others.
#[test]
#[ignore = "a process of the other tests here"]
fn a_client() {
    if let Some(orders) = client::orders().unwrap() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(client::follow(orders)).unwrap();
    }
}

#[test]
fn killed_kmes_and_clients_give_no_key_twice() {
    let verdict = clean(Ledgers::Sqlite, &KILLS, 24, 401);
    assert!(verdict.collected > 100);
}

#[test]
fn power_cuts_give_no_key_twice() {
    let cuts = [Blow::CutPower(Loss::Everything), Blow::CutPower(Loss::ByChance), Blow::KillClient];
    clean(Ledgers::Sqlite, &cuts, 16, 402);
}

#[test]
fn failing_and_full_disks_give_no_key_twice() {
    clean(Ledgers::Sqlite, &[Blow::FailSyncs, Blow::FillDisk, Blow::KillKme], 12, 403);
}

#[test]
fn jumping_clocks_give_no_key_twice() {
    clean(Ledgers::Sqlite, &[Blow::MoveClock, Blow::KillKme], 12, 404);
}

#[test]
fn killed_processes_of_a_site_give_no_key_twice() {
    let server = postgres::Server::own();
    let verdict = clean(two_databases(&server), &KILLS, 16, 405);
    assert!(verdict.collected > 100);
}

fn two_databases(server: &postgres::Server) -> Ledgers {
    Ledgers::Postgres([server.new_database(), server.new_database()])
}

/// The long run: `make soak`.
#[test]
#[ignore = "takes many minutes; `make soak` runs it"]
fn soak() {
    let times = std::env::var("VERNAM_SOAK").ok().and_then(|times| times.parse().ok()).unwrap_or(300);
    let seed = rand::rng().random();
    clean(Ledgers::Sqlite, &KILLS, times, seed);
    let server = postgres::Server::own();
    clean(two_databases(&server), &KILLS, times, seed);
    clean(
        Ledgers::Sqlite,
        &[Blow::CutPower(Loss::Everything), Blow::CutPower(Loss::ByChance), Blow::KillKme],
        times,
        seed,
    );
    clean(Ledgers::Sqlite, &[Blow::FailSyncs, Blow::FillDisk, Blow::KillKme, Blow::MoveClock], times, seed);
}
