//! One set of tests over both stocks.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{keys, open, plain, reveal, temp};
use vernam_key::Outbound;
use vernam_store::{
    Error, MAX_APPEND_BYTES, MAX_APPEND_KEYS, MAX_HOLE, MAX_POSITION, MemoryStock, SpentOn, Stock, StockKey,
    StockStatus,
};

macro_rules! on_both_stocks {
    ($($name:ident,)*) => {
        mod memory {
            $(#[test] fn $name() { super::$name(&mut super::MemoryStock::new()); })*
        }
        mod file {
            $(#[test] fn $name() {
                let dir = super::temp();
                super::$name(&mut super::open(dir.path()));
            })*
        }
    };
}

on_both_stocks! {
    an_empty_stock_has_nothing,
    bytes_come_in_the_order_they_went_in,
    a_take_crosses_appends_but_no_hole,
    a_take_goes_on_to_a_run_long_enough_and_forfeits_what_it_passes,
    a_take_at_a_position_forfeits_the_gap,
    spent_positions_stay_spent,
    a_hole_gives_nothing,
    discarding_before_moves_the_cursor,
    discarding_from_leaves_a_hole,
    the_end_advances_and_never_goes_back,
    keys_are_listed_while_bytes_are_left,
    empty_and_repeated_keys_are_refused,
    no_bytes_are_no_change,
    huge_numbers_are_errors,
    limits_hold,
}

fn status(cursor: u64, end: u64, contiguous: u64, [spent, forfeited, holes]: [u64; 3]) -> StockStatus {
    StockStatus { cursor, end, available: end - spent - forfeited - holes, contiguous, spent, forfeited, holes }
}

fn an_empty_stock_has_nothing(stock: &mut impl Stock<Outbound>) {
    assert_eq!(stock.status(), status(0, 0, 0, [0, 0, 0]));
    assert!(matches!(stock.take(1, SpentOn::Voice), Err(Error::NotEnough { wanted: 1, longest: 0 })));
    assert!(stock.keys_from(0).is_empty());
}

fn bytes_come_in_the_order_they_went_in(stock: &mut impl Stock<Outbound>) {
    let truth = plain(1, &[32, 8_192, 1]);
    assert_eq!(stock.append(keys(1, &[32, 8_192, 1])).unwrap(), 0..8_225);
    for (start, len) in [(0_usize, 1_usize), (1, 4_063), (4_064, 1), (4_065, 4_160)] {
        let taken = stock.take(len as u64, SpentOn::Voice).unwrap();
        assert_eq!(taken.start, start as u64);
        assert_eq!(reveal(taken.material), truth[start..start + len]);
    }
    assert_eq!(stock.status(), status(8_225, 8_225, 0, [8_225, 0, 0]));
}

fn a_take_crosses_appends_but_no_hole(stock: &mut impl Stock<Outbound>) {
    stock.append(keys(1, &[100])).unwrap();
    assert_eq!(stock.append(keys(2, &[100])).unwrap(), 100..200);
    assert_eq!(stock.hole(50).unwrap(), 200..250);
    stock.append(keys(3, &[100])).unwrap();
    assert_eq!(stock.contiguous(), 200);
    assert!(matches!(stock.take(201, SpentOn::Voice), Err(Error::NotEnough { wanted: 201, longest: 200 })));
    assert_eq!(reveal(stock.take(150, SpentOn::Voice).unwrap().material), [plain(1, &[100]), plain(2, &[50])].concat());
    assert_eq!(stock.status(), status(150, 350, 50, [150, 0, 50]));
}

fn a_take_goes_on_to_a_run_long_enough_and_forfeits_what_it_passes(stock: &mut impl Stock<Outbound>) {
    stock.append(keys(1, &[100])).unwrap();
    stock.hole(10).unwrap();
    stock.append(keys(2, &[200])).unwrap();
    let taken = stock.take(101, SpentOn::Voice).unwrap();
    assert_eq!(taken.start, 110);
    assert_eq!(reveal(taken.material), plain(2, &[200])[..101]);
    assert_eq!(stock.status(), status(211, 310, 99, [101, 100, 10]));
}

fn a_take_at_a_position_forfeits_the_gap(stock: &mut impl Stock<Outbound>) {
    stock.append(keys(1, &[10_000])).unwrap();
    assert_eq!(reveal(stock.take_at(5_000, 1_000, SpentOn::Voice).unwrap()), plain(1, &[10_000])[5_000..6_000]);
    assert_eq!(stock.status(), status(6_000, 10_000, 4_000, [1_000, 5_000, 0]));
}

fn spent_positions_stay_spent(stock: &mut impl Stock<Outbound>) {
    stock.append(keys(1, &[100])).unwrap();
    stock.take_at(10, 10, SpentOn::Voice).unwrap();
    for start in [0, 9, 10, 19] {
        assert!(matches!(stock.take_at(start, 5, SpentOn::Voice), Err(Error::AlreadySpent { cursor: 20, .. })));
    }
    assert!(matches!(stock.take_at(96, 5, SpentOn::Voice), Err(Error::NotYetHere { start: 96, len: 5, end: 100 })));
    assert_eq!(stock.status(), status(20, 100, 80, [10, 10, 0]));
    assert_eq!(stock.take_at(20, 80, SpentOn::Voice).unwrap().len(), 80);
}

fn a_hole_gives_nothing(stock: &mut impl Stock<Outbound>) {
    stock.hole(20).unwrap();
    stock.append(keys(1, &[100])).unwrap();
    stock.hole(20).unwrap();
    for (start, len) in [(0, 10), (10, 20), (100, 30), (125, 1), (0, 140)] {
        assert!(matches!(stock.take_at(start, len, SpentOn::Voice), Err(Error::NoKeyThere { .. })), "{start} {len}");
    }
    assert_eq!(stock.status(), status(0, 140, 100, [0, 0, 40]));
    assert_eq!(stock.take(100, SpentOn::Voice).unwrap().start, 20);
}

fn discarding_before_moves_the_cursor(stock: &mut impl Stock<Outbound>) {
    stock.append(keys(1, &[100])).unwrap();
    stock.hole(10).unwrap();
    stock.append(keys(2, &[100])).unwrap();
    assert_eq!(stock.discard_before(120).unwrap(), 110);
    assert_eq!(stock.discard_before(60).unwrap(), 0);
    assert!(matches!(stock.discard_before(211), Err(Error::NotYetHere { start: 211, len: 0, end: 210 })));
    assert_eq!(stock.status(), status(120, 210, 90, [0, 110, 10]));
    assert_eq!(reveal(stock.take(90, SpentOn::Voice).unwrap().material), plain(2, &[100])[10..]);
}

fn discarding_from_leaves_a_hole(stock: &mut impl Stock<Outbound>) {
    stock.append(keys(1, &[5_000, 5_000])).unwrap();
    stock.append(keys(2, &[100])).unwrap();
    stock.take(1_000, SpentOn::Voice).unwrap();
    assert_eq!(stock.discard_from(3_000).unwrap(), 7_100);
    assert_eq!(stock.discard_from(3_000).unwrap(), 0);
    assert_eq!(stock.discard_from(20_000).unwrap(), 0);
    assert_eq!(stock.status(), status(1_000, 10_100, 2_000, [1_000, 7_100, 0]));
    assert_eq!(stock.append(keys(3, &[100])).unwrap(), 10_100..10_200);
    assert!(matches!(stock.take_at(2_900, 200, SpentOn::Voice), Err(Error::NoKeyThere { .. })));
    assert_eq!(reveal(stock.take(2_000, SpentOn::Voice).unwrap().material), plain(1, &[5_000])[1_000..3_000]);
    assert_eq!(reveal(stock.take(100, SpentOn::Voice).unwrap().material), plain(3, &[100]));
    stock.append(keys(4, &[100])).unwrap();
    assert_eq!(stock.discard_from(0).unwrap(), 100);
    assert_eq!(stock.status(), status(10_200, 10_300, 0, [3_100, 7_200, 0]));
}

fn the_end_advances_and_never_goes_back(stock: &mut impl Stock<Outbound>) {
    stock.advance_end_to(100).unwrap();
    stock.advance_end_to(50).unwrap();
    assert_eq!(stock.status(), status(0, 100, 0, [0, 0, 100]));
    assert_eq!(stock.append(keys(1, &[10])).unwrap(), 100..110);
    stock.discard_from(0).unwrap();
    assert_eq!(stock.append(keys(2, &[10])).unwrap(), 110..120);
}

fn keys_are_listed_while_bytes_are_left(stock: &mut impl Stock<Outbound>) {
    let ids: Vec<_> = keys(1, &[100, 100, 100]).iter().map(|key| key.id).collect();
    stock.hole(10).unwrap();
    stock.append(keys(1, &[100, 100, 100])).unwrap();
    let listed = |stock: &mut dyn Stock<Outbound>, pos| -> Vec<(usize, u64, u64)> {
        let index = |id| ids.iter().position(|known| *known == id).unwrap();
        stock.keys_from(pos).iter().map(|span| (index(span.id), span.start, span.len)).collect()
    };
    let all = [(0, 10, 100), (1, 110, 100), (2, 210, 100)];
    assert_eq!(listed(stock, 0), all);
    assert_eq!(listed(stock, 109), all);
    assert_eq!(listed(stock, 110), all[1..]);
    assert_eq!(listed(stock, u64::MAX), []);
    stock.take(100, SpentOn::Voice).unwrap();
    assert_eq!(listed(stock, 0), all[1..]);
    stock.take(1, SpentOn::Voice).unwrap();
    assert_eq!(listed(stock, 0), all[1..]);
    stock.discard_from(210).unwrap();
    assert_eq!(listed(stock, 0), all[1..2]);
    assert_eq!(listed(stock, 210), []);
}

fn empty_and_repeated_keys_are_refused(stock: &mut impl Stock<Outbound>) {
    let id = keys(1, &[10])[0].id;
    assert!(matches!(stock.append(keys(9, &[10, 0])), Err(Error::EmptyKey { .. })));
    assert_eq!(stock.status(), status(0, 0, 0, [0, 0, 0]));
    stock.append(keys(1, &[10])).unwrap();
    assert!(matches!(stock.append(keys(1, &[10])), Err(Error::DuplicateKey { id: named }) if named == id));
    let twice = || keys(2, &[10]).into_iter().chain(keys(2, &[10])).collect::<Vec<StockKey>>();
    assert!(matches!(stock.append(twice()), Err(Error::DuplicateKey { .. })));
    assert_eq!(stock.status(), status(0, 10, 10, [0, 0, 0]));
}

fn no_bytes_are_no_change(stock: &mut impl Stock<Outbound>) {
    stock.append(keys(1, &[10])).unwrap();
    stock.take(2, SpentOn::Voice).unwrap();
    let before = stock.status();
    assert_eq!(stock.append(Vec::new()).unwrap(), 10..10);
    assert_eq!(stock.hole(0).unwrap(), 10..10);
    let taken = stock.take(0, SpentOn::Voice).unwrap();
    assert!(taken.start == 2 && taken.material.is_empty());
    assert!(stock.take_at(5, 0, SpentOn::Voice).unwrap().is_empty());
    assert!(stock.take_at(10, 0, SpentOn::Voice).unwrap().is_empty());
    assert!(matches!(stock.take_at(1, 0, SpentOn::Voice), Err(Error::AlreadySpent { .. })));
    assert!(matches!(stock.take_at(11, 0, SpentOn::Voice), Err(Error::NotYetHere { .. })));
    assert_eq!(stock.discard_before(0).unwrap(), 0);
    assert_eq!(stock.status(), before);
}

fn huge_numbers_are_errors(stock: &mut impl Stock<Outbound>) {
    stock.append(keys(1, &[10])).unwrap();
    let before = stock.status();
    assert!(matches!(stock.take(u64::MAX, SpentOn::Voice), Err(Error::NotEnough { .. })));
    for (start, len) in [(u64::MAX, u64::MAX), (0, u64::MAX), (u64::MAX, 0), (5, u64::MAX)] {
        assert!(matches!(stock.take_at(start, len, SpentOn::Voice), Err(Error::NotYetHere { .. })));
    }
    assert!(matches!(stock.hole(u64::MAX), Err(Error::HoleTooLong { .. })));
    assert!(matches!(stock.advance_end_to(u64::MAX), Err(Error::HoleTooLong { .. })));
    assert!(matches!(stock.discard_before(u64::MAX), Err(Error::NotYetHere { .. })));
    assert_eq!(stock.discard_from(u64::MAX).unwrap(), 0);
    assert!(stock.keys_from(u64::MAX).is_empty());
    assert_eq!(stock.status(), before);
}

fn limits_hold(stock: &mut impl Stock<Outbound>) {
    let too_many = keys(1, &vec![1; MAX_APPEND_KEYS + 1]);
    assert!(matches!(stock.append(too_many), Err(Error::AppendTooLarge)));
    assert_eq!(stock.append(keys(1, &vec![1; MAX_APPEND_KEYS])).unwrap(), 0..MAX_APPEND_KEYS as u64);
    let too_long = usize::try_from(MAX_APPEND_BYTES).unwrap() + 1;
    assert!(matches!(stock.append(keys(2, &[too_long])), Err(Error::AppendTooLarge)));
    assert!(matches!(stock.hole(MAX_HOLE + 1), Err(Error::HoleTooLong { .. })));
    let end = stock.hole(MAX_HOLE).unwrap().end;
    assert!(end < MAX_POSITION);
    assert_eq!(
        reveal(stock.take(1_000, SpentOn::Voice).unwrap().material),
        plain(1, &vec![1; MAX_APPEND_KEYS])[..1_000]
    );
}
