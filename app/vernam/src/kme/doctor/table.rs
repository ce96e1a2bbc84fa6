//! The report as a table for a terminal.

use std::fmt::Write as _;

use super::{
    catalogue::Check,
    report::{Outcome, Report, Row},
};

/// The narrowest table; a narrower terminal wraps it.
const MIN_WIDTH: usize = 60;
/// The widest: longer lines are hard to read.
const MAX_WIDTH: usize = 132;
/// Columns before the text: two spaces, outcome, a space, id, a space.
const OUTCOME_COLUMNS: usize = 7;
const ID_COLUMNS: usize = 24;
const INDENT: usize = 2 + OUTCOME_COLUMNS + 1 + ID_COLUMNS + 1;

/// The table, for a terminal of `width` columns; with `colour`, outcomes have the terminal's own colours.
pub fn table(report: &Report, width: usize, colour: bool) -> String {
    let width = width.clamp(MIN_WIDTH, MAX_WIDTH);
    let mut out = String::new();
    for asker in &report.askers {
        line(&mut out, &format!("{:<7}{} at {}", asker.role, asker.id, asker.url));
    }
    let mut group = None;
    for row in &report.rows {
        if group != Some(row.check.group) {
            group = Some(row.check.group);
            let title = row.check.group.title();
            line(&mut out, &if colour { format!("\n\u{1b}[1m{title}\u{1b}[0m") } else { format!("\n{title}") });
        }
        write_row(&mut out, row, width, colour);
    }
    line(&mut out, "");
    line(&mut out, &summary(report));
    out
}

/// How many of each, and what was used for it.
fn summary(report: &Report) -> String {
    let of = |outcome| report.count(outcome);
    format!(
        "{} passed, {} failed, {} differ where the standard is open, {} skipped. {} keys were drawn, {} bits.",
        of(Outcome::Pass),
        of(Outcome::Fail),
        of(Outcome::Differs),
        of(Outcome::Skipped),
        report.keys,
        report.bits
    )
}

fn line(out: &mut String, text: &str) {
    // Writing to a String cannot fail.
    let _infallible = writeln!(out, "{text}");
}

fn write_row(out: &mut String, row: &Row, width: usize, colour: bool) {
    let Row { check, outcome, seen, advice } = row;
    let name = format!("{:<OUTCOME_COLUMNS$}", outcome.name());
    let name = match (colour, outcome) {
        (true, Outcome::Pass) => format!("\u{1b}[32m{name}\u{1b}[0m"),
        (true, Outcome::Fail) => format!("\u{1b}[1;31m{name}\u{1b}[0m"),
        (true, Outcome::Differs) => format!("\u{1b}[33m{name}\u{1b}[0m"),
        _ => name,
    };
    let mut head = format!("  {name} {:<ID_COLUMNS$} ", check.id);
    let mut text = vec![format!("{}: {seen}", check.title)];
    if matches!(outcome, Outcome::Fail | Outcome::Differs) {
        text.push(says(check));
        text.push(format!("Do: {advice}"));
    }
    for part in text.iter().flat_map(|part| wrapped(part, width - INDENT)) {
        line(out, format!("{head}{part}").trim_end());
        head = " ".repeat(INDENT);
    }
}

fn says(check: &Check) -> String {
    match check.clause {
        "" => check.says.to_owned(),
        clause => format!("Standard, clause {clause}: {}", check.says),
    }
}

/// `text` in lines of at most `width` characters; a longer word is cut.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut current, mut used) = (String::new(), 0);
    for word in text.split_whitespace() {
        let mut rest: Vec<char> = word.chars().collect();
        if used > 0 && used + 1 + rest.len() > width {
            lines.push(std::mem::take(&mut current));
            used = 0;
        }
        while rest.len() > width {
            let tail = rest.split_off(width);
            lines.push(rest.into_iter().collect());
            rest = tail;
        }
        if used > 0 {
            current.push(' ');
            used += 1;
        }
        used += rest.len();
        current.extend(rest);
    }
    if used > 0 {
        lines.push(current);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kme::doctor::{
        catalogue::{KEEP_ALIVE, REPLAY, TLS_VERSION},
        report::Asker,
    };

    fn report() -> Report {
        let row = |check, outcome, seen: &str, advice: &str| Row {
            check,
            outcome,
            seen: seen.to_owned(),
            advice: advice.to_owned(),
        };
        Report {
            askers: vec![Asker { role: "master", id: "alice".to_owned(), url: "https://kme-a:8443".to_owned() }],
            rows: vec![
                row(TLS_VERSION, Outcome::Pass, "TLS 1.3", ""),
                row(REPLAY, Outcome::Fail, "collected again: 200", "erase a key before its answer is sent."),
                row(KEEP_ALIVE, Outcome::Skipped, "no key could be had", ""),
            ],
            keys: 3,
            bits: 768,
        }
    }

    #[test]
    fn the_table_is_aligned_and_wraps() {
        let expected = "\
master alice at https://kme-a:8443

Connecting
  pass    tls-version              TLS 1.2 or later is spoken: TLS 1.3

Get key with key IDs
  fail    replay                   A key is collected once: collected again:
                                   200
                                   Standard, clause 5.4: After it was
                                   delivered a key is gone: asked again, it
                                   is not found, 400.
                                   Do: erase a key before its answer is
                                   sent.

Under load
  skipped keep-alive               A connection serves several requests: no
                                   key could be had

1 passed, 1 failed, 0 differ where the standard is open, 1 skipped. 3 keys were drawn, 768 bits.
";
        assert_eq!(table(&report(), 76, false), expected);
        let wide = table(&report(), 110, false);
        assert!(wide.lines().all(|line| line.chars().count() <= 110), "{wide}");
        let coloured = table(&report(), 76, true);
        assert!(coloured.contains("\u{1b}[1;31mfail   \u{1b}[0m replay"), "{coloured}");
    }

    #[test]
    fn long_words_are_cut() {
        assert_eq!(wrapped("ab cdefghij k", 4), ["ab", "cdef", "ghij", "k"]);
        assert!(wrapped("  ", 4).is_empty());
    }
}
