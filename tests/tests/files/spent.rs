//! The audit of key after a run: no position of a stock was taken twice, and the durable ledgers have it all.
//!
//! A client writes down each piece of key that it takes out of a stock, before it is used: whose, which way, from which
//! position, how much (`--log info`). A process that is killed has written what it used; so the log of all its lives is the
//! record.

use vernam_tests::telephone::{CALLED, CALLER, Town};

/// A piece that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Piece {
    start: u64,
    len: u64,
}

/// Bytes that Alice and Bob took for what went from Alice to Bob.
pub(super) fn audit(town: &Town) -> [u64; 2] {
    let mut all = [0, 0];
    for (at, (owner, other)) in [(CALLER, CALLED), (CALLED, CALLER)].into_iter().enumerate() {
        let log = town.log(owner).unwrap();
        for way in ["out", "in"] {
            let mut pieces = pieces(&log, way);
            pieces.sort_unstable();
            for pair in pieces.windows(2) {
                let [first, second] = [pair[0], pair[1]];
                assert!(first.start + first.len <= second.start, "{owner}, {way}: {first:?} and {second:?} overlap");
            }
            let taken: u64 = pieces.iter().map(|piece| piece.len).sum();
            let end = pieces.last().map_or(0, |piece| piece.start + piece.len);
            let store = town.store(owner).unwrap();
            let status = match way {
                "out" => vernam_store::Stock::status(&store.outbound(other).unwrap()),
                _ => vernam_store::Stock::status(&store.inbound(other).unwrap()),
            };
            println!("{owner}, {way}: {} pieces, {taken} bytes; the ledger: {status:?}", pieces.len());
            assert!(status.cursor >= end, "{owner}, {way}: the ledger stands before what was taken: {end}, {status:?}");
            assert!(status.spent >= taken, "{owner}, {way}: {taken} bytes were taken, the ledger has {status:?}");
            if (way == "out") == (owner == CALLER) {
                all[at] = taken;
            }
        }
    }
    let [hers, his] = [CALLER, CALLED].map(|owner| town.log(owner).unwrap());
    for (from, to) in [(&hers, &his), (&his, &hers)] {
        let sent = pieces(from, "out");
        for piece in pieces(to, "in") {
            assert!(sent.contains(&piece), "{piece:?} was taken by the receiver only");
        }
    }
    all
}

/// What a log says was taken this way.
fn pieces(log: &str, way: &str) -> Vec<Piece> {
    let way = format!("way=\"{way}\"");
    let lines = log.lines().filter(|line| line.contains("key was taken") && line.contains(&way));
    lines.filter_map(|line| Some(Piece { start: number(line, "start=")?, len: number(line, "len=")? })).collect()
}

fn number(line: &str, name: &str) -> Option<u64> {
    let (_, rest) = line.split_once(name)?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[test]
fn what_a_log_says_is_read() {
    let log = "INFO vernam_engine::key: key was taken contact=bob way=\"out\" start=12 len=34 purpose=\"file\"\n\
               INFO vernam_engine::key: key was taken contact=bob way=\"in\" start=5 len=6 purpose=\"text\"\n";
    assert_eq!(pieces(log, "out"), [Piece { start: 12, len: 34 }]);
    assert_eq!(pieces(log, "in"), [Piece { start: 5, len: 6 }]);
}
