//! How fast sealing, opening, streams and the quantum link are, and how long a call's sound takes, as ratios within one
//! run: `make bench`. Never a pass or fail on seconds.
//!
//! `cargo bench -p vernam-tests -- cipher` (or `stream`, `files`, `delay`, `call`, `crowd`, `link`, `kme`, `ledger`) runs one part. `kme-crowd`
//! (ten minutes) and `ledger-long` (some minutes) run only when they are named.

#![expect(clippy::print_stdout, reason = "the tables are what this program is for")]

mod call;
mod cipher;
mod crowd;
mod delay;
mod files;
mod flow;
mod kme;
mod ledger;
mod link;
mod stream;
mod timing;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some((call::bare::NAME, rest)) = args.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        if let Err(error) = call::bare::run(rest) {
            println!("{}: {error:#}", call::bare::NAME);
        }
        return;
    }
    let wanted: Vec<String> = args.into_iter().filter(|argument| !argument.starts_with('-')).collect();
    let is_wanted = |part: &str| wanted.is_empty() || wanted.iter().any(|name| name == part);
    println!("Medians of rounds in which the cases take turns; x is speed beside the first case of the same round.\n");
    if is_wanted("cipher") {
        cipher::run();
    }
    if is_wanted("stream") {
        stream::run();
    }
    if is_wanted("files") {
        files::run();
    }
    if is_wanted("delay") {
        delay::run();
    }
    if is_wanted("call") {
        call::run();
    }
    if is_wanted("crowd") {
        crowd::run();
    }
    if is_wanted("link") {
        link::run();
    }
    if is_wanted("kme") {
        kme::run();
    }
    if is_wanted("ledger") {
        ledger::run();
    }
    if wanted.iter().any(|name| name == "kme-crowd") {
        kme::crowd();
    }
    if wanted.iter().any(|name| name == "ledger-long") {
        ledger::long();
    }
}
