//! Another program that is killed: its lock goes with it, and what it was given is not given again.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::env;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use common::{keys, open, temp, try_open};
use vernam_store::{Error, SpentOn, Stock};

/// Where the child finds the store; without it, the child's part is not run.
const DIR: &str = "VERNAM_STORE_KILL_TEST_DIR";
const MARK: &str = "taken up to ";
const TAKES: usize = 100;
/// Enough for every child.
const STOCK: usize = 1_000_000;

#[test]
fn a_killed_program_leaves_no_lock_and_no_byte_to_be_given_twice() {
    let dir = temp();
    open(dir.path()).append(keys(1, &[STOCK])).unwrap();
    let mut given_up_to = 0;
    for takes in 1..6 {
        let child = ["--exact", "the_program_that_is_killed", "--nocapture"];
        let mut child = Command::new(env::current_exe().unwrap())
            .args(child)
            .env(DIR, dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Killed at once after its so-many-th take, so somewhere in the next one.
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut reports = lines.filter_map(|line| line.split_once(MARK).map(|(_, pos)| pos.parse::<u64>().unwrap()));
        let first = reports.next().unwrap();
        assert!(first >= given_up_to + 1_000, "position {first} was given already, up to {given_up_to}");
        let last_seen = reports.by_ref().take(takes).last().unwrap();
        assert!(matches!(try_open(dir.path()), Err(Error::Locked { .. })));
        child.kill().unwrap();
        child.wait().unwrap();
        // What it wrote before it was killed counts too.
        given_up_to = reports.last().unwrap_or(last_seen);
        assert!(open(dir.path()).status().cursor >= given_up_to);
    }
    let status = open(dir.path()).status();
    assert_eq!(status.end, status.spent + status.forfeited + status.available);
}

/// Not a test of its own: takes [`TAKES`] times, or until it is killed.
#[test]
fn the_program_that_is_killed() {
    let Some(dir) = env::var_os(DIR) else { return };
    let mut stock = open(Path::new(&dir));
    for _ in 0..TAKES {
        println!("{MARK}{}", stock.take(1_000, SpentOn::Voice).unwrap().start + 1_000);
    }
    // Was not killed yet: keeps the store until it is, or until the one who should do it is gone.
    let _end_of_input = io::stdin().read_line(&mut String::new());
}
