//! The summary as a table for a person, at the end of a run.

use std::fmt::{self, Write as _};

use super::{
    events::Person,
    plain::{bytes, minutes},
    summary::{CallSummary, Flow, Holding, KeyBook, Summary, grouped},
};

/// The table. With `colour`, ticks and crosses are coloured with the terminal's own green and red.
pub fn table(summary: &Summary, colour: bool) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = Table { summary, colour }.write(&mut out);
    out
}

struct Table<'a> {
    summary: &'a Summary,
    colour: bool,
}

impl Table<'_> {
    fn write(&self, out: &mut String) -> fmt::Result {
        self.keys(out)?;
        self.calls(out)?;
        self.files(out)?;
        self.promises(out)
    }

    fn head(&self, out: &mut String, text: &str) -> fmt::Result {
        if self.colour { writeln!(out, "\n\u{1b}[1m{text}\u{1b}[0m") } else { writeln!(out, "\n{text}") }
    }

    fn tick(&self, kept: bool) -> &'static str {
        match (kept, self.colour) {
            (true, true) => "\u{1b}[32m\u{2713}\u{1b}[0m",
            (false, true) => "\u{1b}[31m\u{2717}\u{1b}[0m",
            (true, false) => "\u{2713}",
            (false, false) => "\u{2717}",
        }
    }

    fn keys(&self, out: &mut String) -> fmt::Result {
        if self.summary.books.is_empty() {
            return Ok(());
        }
        self.head(out, "Key, in bits")?;
        write!(out, "  {:<24}", "")?;
        for book in &self.summary.books {
            write!(out, "{:>20}", way(book.from))?;
        }
        writeln!(out)?;
        let mut line = |label: &str, bits: &dyn Fn(&KeyBook) -> u64| -> fmt::Result {
            write!(out, "  {label:<24}")?;
            for book in &self.summary.books {
                write!(out, "{:>20}", grouped(bits(book)))?;
            }
            writeln!(out)
        };
        line("made by the link", &|book| book.made_bits)?;
        line("  left in the KME's pool", &|book| book.in_pool_bits)?;
        line("  delivered", &|book| book.delivered_bits)?;
        for flow in [Flow::Voice, Flow::File, Flow::Text, Flow::Control, Flow::Handshake] {
            line(&format!("    spent on {}", flow.title()), &|book| spent_on(&book.sender, flow))?;
        }
        line("    forfeited, erased", &|book| book.sender.forfeited_bits)?;
        line("    still in stock", &|book| book.sender.in_stock_bits)?;
        let holding = self.summary.sums.iter().filter(|sum| sum.holds).count();
        let all = self.summary.sums.len();
        let mark = self.tick(holding == all);
        writeln!(out, "  {mark} {holding} of {all} sums hold, to the bit, for both copies of every key")?;
        if self.summary.discarded_sifted_bits > 0 {
            let bits = grouped(self.summary.discarded_sifted_bits);
            writeln!(out, "  {bits} sifted bits were thrown away because of errors on the link")?;
        }
        Ok(())
    }

    fn calls(&self, out: &mut String) -> fmt::Result {
        if self.summary.calls.is_empty() {
            return Ok(());
        }
        self.head(out, "Calls                                                            delay, ms      as decoded")?;
        writeln!(
            out,
            "  {:<18}{:<14}{:>6}{:>6}{:>6}{:>8}{:>7}{:>6}{:>5}{:>5}   locally",
            "", "", "sent", "got", "lost", "refused", "mended", "p50", "p95", "p99"
        )?;
        for call in &self.summary.calls {
            self.call(out, call)?;
        }
        Ok(())
    }

    fn call(&self, out: &mut String, call: &CallSummary) -> fmt::Result {
        for (index, voice) in call.directions.iter().enumerate() {
            let name = if index == 0 { format!("{} {}", call.call, call.suite.title()) } else { String::new() };
            let same = match voice.identical {
                Some(same) => self.tick(same),
                None => "-",
            };
            writeln!(
                out,
                "  {name:<20}{:<12}{:>6}{:>6}{:>6}{:>8}{:>7}{:>6.0}{:>5.0}{:>5.0}   {same}",
                way(voice.from),
                voice.sent,
                voice.received,
                voice.lost,
                voice.rejected,
                voice.concealed,
                voice.delay.p50_ms,
                voice.delay.p95_ms,
                voice.delay.p99_ms,
            )?;
        }
        let tapped = if call.tapped { ", the link tapped" } else { "" };
        writeln!(out, "    {} of talk{tapped}; {}", minutes(call.lasted_s), call.reason)
    }

    fn files(&self, out: &mut String) -> fmt::Result {
        if !self.summary.files.is_empty() {
            self.head(out, "Files")?;
        }
        for file in &self.summary.files {
            writeln!(
                out,
                "  {} {}, {} in {:.1} s, {:.1} MB/s, under {}; hash {}",
                self.tick(file.hash_equal),
                file.name,
                bytes(file.bytes),
                file.seconds,
                file.mb_per_s(),
                file.suite.title(),
                if file.hash_equal { "equal" } else { "DIFFERS" },
            )?;
        }
        Ok(())
    }

    fn promises(&self, out: &mut String) -> fmt::Result {
        self.head(out, "Promises")?;
        for check in &self.summary.promises {
            writeln!(out, "  {} {}: {}", self.tick(check.kept), check.promise, check.detail)?;
        }
        let broken = self.summary.broken().count();
        let all = self.summary.promises.len();
        writeln!(out)?;
        if self.summary.cancelled {
            writeln!(out, "Stopped early.")?;
        }
        if broken == 0 {
            writeln!(out, "{} All {all} promises kept, in {:.0} s.", self.tick(true), self.summary.took_s)?;
        } else {
            writeln!(out, "{} {broken} of {all} promises BROKEN:", self.tick(false))?;
            for check in self.summary.broken() {
                writeln!(out, "    {}: {}", check.promise, check.detail)?;
            }
        }
        if !self.summary.out_dir.is_empty() {
            writeln!(out, "  What was heard, and report.json: {}", self.summary.out_dir)?;
        }
        Ok(())
    }
}

fn way(from: Person) -> String {
    format!("{from} \u{2192} {}", from.other())
}

fn spent_on(holding: &Holding, flow: Flow) -> u64 {
    holding.spent.iter().filter(|spend| spend.flow == flow).fold(0, |sum, spend| sum.saturating_add(spend.bits))
}
