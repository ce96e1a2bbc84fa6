//! Random operations on both stocks and on a model that keeps one state a position and nothing else.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{copy_dir, keys, open, plain, reveal, temp};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use vernam_key::{KeyId, Outbound};
use vernam_store::{Error, KeySpan, MemoryStock, SpentOn, Stock, StockStatus};

/// Of the random operations.
const SEED: u64 = 42;

#[derive(Debug, Clone)]
enum Op {
    Append(Vec<usize>),
    Hole(u64),
    AdvanceEndTo(u64),
    Take(u64),
    TakeAt(u64, u64),
    DiscardBefore(u64),
    DiscardFrom(u64),
    KeysFrom(u64),
    Reopen,
    /// Keeps a copy of the store's folder.
    Copy,
    /// Puts the newest copy back.
    PutBack,
}

/// Positions and lengths are shares of what is there, so that most operations hit something.
fn op() -> impl Strategy<Value = Op> {
    let key_len = prop_oneof![4 => 1..300_usize, 1 => Just(4_064), 1 => 4_000..9_000_usize];
    let len = || prop_oneof![4 => 0..400_u64, 2 => 3_000..9_000_u64, 1 => Just(u64::MAX)];
    let pos = || prop_oneof![8 => 0..60_000_u64, 1 => Just(u64::MAX)];
    prop_oneof![
        6 => prop::collection::vec(key_len, 0..4).prop_map(Op::Append),
        1 => (0..500_u64).prop_map(Op::Hole),
        1 => (0..40_000_u64).prop_map(Op::AdvanceEndTo),
        5 => len().prop_map(Op::Take),
        4 => (pos(), len()).prop_map(|(start, len)| Op::TakeAt(start, len)),
        1 => pos().prop_map(Op::DiscardBefore),
        1 => pos().prop_map(Op::DiscardFrom),
        2 => pos().prop_map(Op::KeysFrom),
        2 => Just(Op::Reopen),
        1 => Just(Op::Copy),
        1 => Just(Op::PutBack),
    ]
}

/// What happened, in one form for all three.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Range(u64, u64),
    Bytes(u64, Vec<u8>),
    Count(u64),
    Keys(Vec<KeySpan>),
    Nothing,
    Refused(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Live(u8),
    Spent,
    Forfeited,
    Hole,
}

#[derive(Default)]
struct Model {
    positions: Vec<State>,
    cursor: usize,
    keys: Vec<KeySpan>,
}

impl Model {
    fn apply(&mut self, op: &Op, seed: u64) -> Outcome {
        let end = self.positions.len() as u64;
        match *op {
            Op::Append(ref lens) => {
                for (key, len) in keys(seed, lens).iter().zip(lens) {
                    self.keys.push(KeySpan { id: key.id, start: self.positions.len() as u64, len: *len as u64 });
                    self.positions.extend(key.bytes.expose("test").iter().map(|byte| State::Live(*byte)));
                }
                Outcome::Range(end, self.positions.len() as u64)
            }
            Op::Hole(len) => {
                self.positions.extend((0..len).map(|_| State::Hole));
                Outcome::Range(end, end + len)
            }
            Op::AdvanceEndTo(pos) => {
                self.positions.extend((end..pos).map(|_| State::Hole));
                Outcome::Nothing
            }
            Op::Take(0) => Outcome::Bytes(self.cursor as u64, Vec::new()),
            Op::Take(len) => match (self.cursor as u64..end).find(|start| self.bytes(*start, len).is_some()) {
                Some(start) => Outcome::Bytes(start, self.spend(start, len)),
                None => Outcome::Refused("not enough"),
            },
            Op::TakeAt(start, len) => {
                if start < self.cursor as u64 {
                    Outcome::Refused("already spent")
                } else if start.saturating_add(len) > end {
                    Outcome::Refused("not yet here")
                } else if self.bytes(start, len).is_none() {
                    Outcome::Refused("no key there")
                } else if len == 0 {
                    Outcome::Bytes(start, Vec::new())
                } else {
                    Outcome::Bytes(start, self.spend(start, len))
                }
            }
            Op::DiscardBefore(pos) if pos > end => Outcome::Refused("not yet here"),
            Op::DiscardBefore(pos) => {
                let pos = index(pos).max(self.cursor);
                let count = self.forfeit(self.cursor, pos);
                self.cursor = pos;
                Outcome::Count(count)
            }
            Op::DiscardFrom(pos) => Outcome::Count(self.forfeit(index(pos.min(end)), self.positions.len())),
            Op::KeysFrom(pos) => {
                let live = |span: &&KeySpan| {
                    let all = span.start.max(pos)..span.start + span.len;
                    all.into_iter().any(|pos| matches!(self.positions[index(pos)], State::Live(_)))
                };
                Outcome::Keys(self.keys.iter().filter(live).copied().collect())
            }
            Op::Reopen | Op::Copy | Op::PutBack => Outcome::Nothing,
        }
    }

    /// The bytes there, if all of them are live.
    fn bytes(&self, start: u64, len: u64) -> Option<Vec<u8>> {
        let last = start.checked_add(len).filter(|last| *last <= self.positions.len() as u64)?;
        let live = |state: &State| if let State::Live(byte) = state { Some(*byte) } else { None };
        self.positions[index(start)..index(last)].iter().map(live).collect()
    }

    fn spend(&mut self, start: u64, len: u64) -> Vec<u8> {
        let bytes = self.bytes(start, len).unwrap();
        self.forfeit(self.cursor, index(start));
        self.cursor = index(start + len);
        self.positions[index(start)..self.cursor].fill(State::Spent);
        bytes
    }

    fn forfeit(&mut self, from: usize, to: usize) -> u64 {
        let live = self.positions[from..to].iter_mut().filter(|state| matches!(state, State::Live(_)));
        live.map(|state| *state = State::Forfeited).count() as u64
    }

    fn status(&self) -> StockStatus {
        let is_live = |state: &&State| matches!(state, State::Live(_));
        let count = |wanted| self.positions.iter().filter(|state| **state == wanted).count() as u64;
        let gap = self.positions.iter().skip_while(|state| !is_live(state));
        StockStatus {
            cursor: self.cursor as u64,
            end: self.positions.len() as u64,
            available: self.positions.iter().filter(is_live).count() as u64,
            contiguous: gap.take_while(is_live).count() as u64,
            spent: count(State::Spent),
            forfeited: count(State::Forfeited),
            holes: count(State::Hole),
        }
    }
}

fn index(pos: u64) -> usize {
    usize::try_from(pos).unwrap()
}

fn apply(stock: &mut impl Stock<Outbound>, op: &Op, seed: u64) -> Outcome {
    let result = match *op {
        Op::Append(ref lens) => stock.append(keys(seed, lens)).map(|range| Outcome::Range(range.start, range.end)),
        Op::Hole(len) => stock.hole(len).map(|range| Outcome::Range(range.start, range.end)),
        Op::AdvanceEndTo(pos) => stock.advance_end_to(pos).map(|()| Outcome::Nothing),
        Op::Take(len) => {
            stock.take(len, SpentOn::Voice).map(|taken| Outcome::Bytes(taken.start, reveal(taken.material)))
        }
        Op::TakeAt(start, len) => {
            stock.take_at(start, len, SpentOn::Voice).map(|material| Outcome::Bytes(start, reveal(material)))
        }
        Op::DiscardBefore(pos) => stock.discard_before(pos).map(Outcome::Count),
        Op::DiscardFrom(pos) => stock.discard_from(pos).map(Outcome::Count),
        Op::KeysFrom(pos) => Ok(Outcome::Keys(stock.keys_from(pos))),
        Op::Reopen | Op::Copy | Op::PutBack => Ok(Outcome::Nothing),
    };
    result.unwrap_or_else(|error| {
        Outcome::Refused(match error {
            Error::NotEnough { .. } => "not enough",
            Error::AlreadySpent { .. } => "already spent",
            Error::NotYetHere { .. } => "not yet here",
            Error::NoKeyThere { .. } => "no key there",
            other => panic!("{other}"),
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(SEED),
        ..ProptestConfig::default()
    })]

    #[test]
    fn both_stocks_do_as_the_model(ops in prop::collection::vec(op(), 1..40)) {
        let dir = temp();
        let (mut model, mut memory) = (Model::default(), MemoryStock::new());
        let mut file = Some(open(dir.path()));
        let (copy, mut copied) = (dir.path().with_file_name("copy"), None);
        for (seed, op) in (0..).zip(&ops) {
            if matches!(op, Op::Reopen | Op::Copy | Op::PutBack) {
                drop(file.take());
            }
            if matches!(op, Op::Copy) {
                copy_dir(dir.path(), &copy);
                copied = Some((model.positions.clone(), model.cursor));
            }
            if let (Op::PutBack, Some(then)) = (op, &copied) {
                copy_dir(&copy, dir.path());
                if *then != (model.positions.clone(), model.cursor) {
                    // It is an old one: all in it is given up, and where it stands is what the anchor says.
                    let all = model.positions.len();
                    model.forfeit(0, all);
                    memory.discard_from(0).unwrap();
                }
            }
            let file = file.get_or_insert_with(|| open(dir.path()));
            let expected = model.apply(op, seed);
            prop_assert_eq!(&apply(&mut memory, op, seed), &expected, "memory: {:?}", op);
            prop_assert_eq!(&apply(file, op, seed), &expected, "file: {:?}", op);
            let status = model.status();
            prop_assert_eq!(memory.status(), status, "memory: {:?}", op);
            prop_assert_eq!(file.status(), status, "file: {:?}", op);
            prop_assert_eq!(status.end, status.spent + status.forfeited + status.holes + status.available);
        }
    }
}

#[test]
fn the_key_generator_of_these_tests_repeats_itself() {
    let ids = |seed| -> Vec<KeyId> { keys(seed, &[1, 2]).iter().map(|key| key.id).collect() };
    assert_eq!(ids(5), ids(5));
    assert_ne!(ids(5), ids(6));
    assert_eq!(plain(5, &[100]), plain(5, &[100]));
}
