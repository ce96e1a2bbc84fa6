//! A file's stream with the session layer and without, beside plain quinn, in one run over loopback.
//!
//! Each batch sends [`BATCH`] bytes in pieces of 64 KiB over a connection that is warm. Every sender copies the piece out
//! of a source buffer first, as reading a file does, and every receiver reads into one buffer, as writing a file does.
//! Counted with the session layer: installing key blocks, sealing, opening, wiping pad. Not counted: making the pad.

pub(crate) mod lanes;
mod transfer;

use vernam_session::Suite;

use self::lanes::Lanes;
use crate::timing::{Case, Mark, Work, compare};

/// Rounds of the comparison; the median round is reported.
const ROUNDS: usize = 15;
/// Bytes of a record's plaintext.
const PIECE: usize = 64 << 10;
/// Bytes a batch.
const BATCH: usize = 128 << 20;

/// Prints the table.
pub(crate) fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let lanes = runtime.block_on(Lanes::open());
    let work = Work { operations: BATCH / PIECE, bytes: PIECE };
    let mut cases = vec![
        Case::new("no session layer", || runtime.block_on(transfer::bare(lanes.ours(), work))),
        Case::new("no session layer, quinn as it comes", || runtime.block_on(transfer::bare(lanes.plain(), work))),
    ];
    for suite in Suite::ALL {
        let (runtime, lanes) = (&runtime, &lanes);
        cases.push(Case::new(suite.name(), move || runtime.block_on(transfer::sealed(lanes.ours(), suite, work))));
    }
    let marks = [("aes-256-gcm", Mark::Speed(0.8)), ("otp", Mark::Speed(0.65))];
    println!("{}", compare("A file over loopback, 64 KiB a record", work, ROUNDS, &mut cases, &marks));
}
