//! Sealing and opening, beside a plain copy and ring alone, in one run.
//!
//! Every batch works through some 1 MiB of distinct records, as a sender reading a file or a receiver reading a stream
//! does. Counted: installing the key blocks (key derivation, hash key), the header, the tag, encryption or decryption,
//! and wiping the pad behind it. Not counted: making the plaintext, the ciphertext to be opened and the key bytes.

mod bare;
mod files;
mod voices;

use std::time::Duration;

use vernam_session::Suite;

use crate::timing::{Case, Mark, Work, compare};

/// Rounds of every comparison; the median round is reported.
const ROUNDS: usize = 101;
/// Bytes of plaintext a batch.
const BATCH: usize = 1 << 20;

/// Prints the tables.
pub(crate) fn run() {
    voice();
    for bytes in [1_200, 16 << 10, 64 << 10] {
        records(bytes);
    }
}

fn voice() {
    let work = Work { operations: voices::PACKETS, bytes: voices::FRAME };
    let marks = Suite::ALL.map(|suite| (suite.name(), Mark::Time(Duration::from_micros(1))));
    let mut seal = vec![bare::seal(work), bare::copy(work)];
    seal.extend(Suite::ALL.map(voices::seal));
    println!("{}", compare("Seal a voice frame of 40 B", work, ROUNDS, &mut seal, &marks));
    let mut open = vec![bare::open(work)];
    open.extend(Suite::ALL.map(voices::open));
    println!("{}", compare("Open a voice frame of 40 B", work, ROUNDS, &mut open, &marks));
}

fn records(bytes: usize) {
    let work = Work { operations: BATCH / bytes, bytes };
    let long = bytes == 64 << 10;
    let marks = [("otp", Mark::Speed(0.7)), ("aes-256-gcm", Mark::Speed(0.95))];
    let marks: &[(&str, Mark)] = if long { &marks } else { &[] };

    let mut seal: Vec<Case<'_>> = vec![bare::seal(work), bare::copy(work)];
    seal.extend(Suite::ALL.map(|suite| files::seal(suite, work)));
    seal.extend(Suite::ALL.map(|suite| files::seal_copying(suite, work)));
    println!("{}", compare(&format!("Seal a record of {bytes} B"), work, ROUNDS, &mut seal, marks));

    let mut open: Vec<Case<'_>> = vec![bare::open(work)];
    open.extend(Suite::ALL.map(|suite| files::open(suite, work)));
    println!("{}", compare(&format!("Open a record of {bytes} B"), work, ROUNDS, &mut open, marks));
}
