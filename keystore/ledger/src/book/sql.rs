//! Numbers in and out of the database, and statements over many rows at once.

use std::time::Duration;

use crate::Fault;
use crate::database::{Database, Value};

/// How many rows a statement takes that takes many. A remote database is asked once for as many.
pub(super) const MANY: usize = 32;

/// `head ($1, $2, ...) tail` for [`MANY`] values; one that names fewer repeats its last.
pub(super) fn many_values(head: &str, tail: &str) -> String {
    format!("{head} {} {tail}", tuple(1, MANY))
}

/// `head VALUES ($1, ...), (...), ...` for [`MANY`] rows.
pub(super) fn many_rows(head: &str, columns: usize) -> String {
    let rows: Vec<String> = (0..MANY).map(|row| tuple(row * columns + 1, columns)).collect();
    format!("{head} VALUES {}", rows.join(", "))
}

/// `head VALUES ($1, ...)`.
pub(super) fn one_row(head: &str, columns: usize) -> String {
    format!("{head} VALUES {}", tuple(1, columns))
}

fn tuple(first: usize, count: usize) -> String {
    let names: Vec<String> = (first..first + count).map(|number| format!("${number}")).collect();
    format!("({})", names.join(", "))
}

/// Inserts rows, [`MANY`] at a time and the rest one by one.
pub(super) fn insert_rows<const N: usize>(
    database: &mut dyn Database,
    (one, many): (&'static str, &'static str),
    rows: &[[Value<'_>; N]],
) -> Result<(), Fault> {
    let mut groups = rows.chunks_exact(MANY);
    for group in groups.by_ref() {
        database.execute(many, group.as_flattened())?;
    }
    for row in groups.remainder() {
        database.execute(one, row)?;
    }
    Ok(())
}

/// Groups of values for [`many_values`]: each is one value, or [`MANY`] with the last repeated.
pub(super) fn groups<'a>(values: &[Value<'a>]) -> Vec<Vec<Value<'a>>> {
    if let [one] = values {
        return vec![vec![*one]];
    }
    values
        .chunks(MANY)
        .map(|group| {
            let mut group = group.to_vec();
            if let Some(&last) = group.last() {
                group.resize(MANY, last);
            }
            group
        })
        .collect()
}

/// For the database. What is stored never comes near the end of the range; a number that does stops there.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// From the database.
pub(super) fn nat(number: i64) -> Result<u64, Fault> {
    u64::try_from(number).map_err(|_negative| broken("a count"))
}

/// From the database: an offset or a length.
pub(super) fn nat32(number: i64) -> Result<u32, Fault> {
    u32::try_from(number).map_err(|_range| broken("an offset"))
}

/// An instant for the database.
pub(super) fn millis(instant: Duration) -> i64 {
    i64::try_from(instant.as_millis()).unwrap_or(i64::MAX)
}

/// What is stored is not what this program writes.
pub(super) fn broken(what: &str) -> Fault {
    Fault(format!("the ledger holds {what} that this program did not write; restore it from a good copy or start anew"))
}
