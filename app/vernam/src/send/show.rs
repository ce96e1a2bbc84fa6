//! How transfers are shown: lines for people, with one line of progress on a terminal, or JSON Lines for programs.
//!
//! The first JSON line is the header `{"schema":"vernam-files","version":1}`. Every other line is one event: `"event"`,
//! and its fields. Units stand in the names: `_bytes`, `_s`. The last line is `stopped`, with the exit status. A field may
//! be added under the same version; none changes its meaning or goes away.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _, stderr, stdout};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use vernam_engine::{Event, FileDone, FileError, FileStatus, IfShort, OfferedFiles, Shortage};

/// Changed names that are shown one by one.
const CHANGES_SHOWN: usize = 10;
/// Names of an offer that are shown one by one.
const NAMES_SHOWN: u32 = 20;

/// The header line.
const HEADER: &str = r#"{"schema":"vernam-files","version":1}"#;

/// One thing that is said.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Said<'a> {
    /// It waits for contacts.
    Listening { address: String, folder: PathBuf },
    /// Nothing is unfinished.
    Nothing { contact: &'a str },
    /// What was unfinished was given up.
    Forgotten { transfers: usize },
    /// Files are about to be offered.
    Prepared {
        name: &'a str,
        files: u32,
        folders: u32,
        size_bytes: u64,
        suite: &'static str,
        pad_bytes: u64,
        remains_bytes: u64,
        left_out: u64,
    },
    /// There is not enough key.
    Short { needed_bytes: u64, usable_bytes: u64, missing_bytes: u64, wait_s: Option<f64>, done: &'static str },
    /// A contact offers files.
    Offered {
        contact: &'a str,
        name: &'a str,
        files: u32,
        folders: u32,
        size_bytes: u64,
        suite: &'static str,
        renamed: u32,
    },
    /// A person is asked.
    Question { contact: &'a str },
    /// Where a transfer stands.
    Status { text: String },
    /// How far it is.
    Progress { done_bytes: u64, size_bytes: u64, rate_bytes_per_s: u64, left_s: Option<u64> },
    /// It is over.
    Ended {
        whole: bool,
        error: Option<String>,
        places: &'a [PathBuf],
        files: u32,
        failed: u32,
        size_bytes: u64,
        blake3: Option<String>,
        took_s: f64,
    },
    /// The contact is away.
    Away { contact: &'a str, why: Option<String> },
    /// Something a person should know.
    Warning { text: &'a str },
    /// The end.
    Stopped { status: u8 },
}

/// Where it is shown.
pub(super) struct Show {
    json: bool,
    /// A line of progress stands on the terminal, of so many characters.
    line: Option<usize>,
    terminal: bool,
}

impl Show {
    pub(super) fn open(json: bool) -> anyhow::Result<Self> {
        if json {
            writeln!(stdout(), "{HEADER}")?;
        }
        Ok(Self { json, line: None, terminal: !json && stderr().is_terminal() })
    }

    pub(super) fn tell(&mut self, said: &Said<'_>) -> anyhow::Result<()> {
        if self.json {
            return Ok(writeln!(stdout(), "{}", serde_json::to_string(said)?)?);
        }
        if let Said::Progress { done_bytes, size_bytes, rate_bytes_per_s, left_s } = said {
            let left = left_s.map_or(String::new(), |left| format!(", {} left", span(left)));
            let percent = done_bytes.saturating_mul(100) / (*size_bytes).max(1);
            let (done, size, rate) = (amount(*done_bytes), amount(*size_bytes), amount(*rate_bytes_per_s));
            return self.progress(&format!("{percent:>3} %  {done} of {size}, {rate}/s{left}"));
        }
        self.clear()?;
        for line in words(said) {
            writeln!(stdout(), "{line}")?;
        }
        Ok(())
    }

    /// Anything about files that is not said elsewhere.
    pub(super) fn event(&mut self, event: &Event) -> anyhow::Result<()> {
        match event {
            Event::FilePrepared { files, .. } => self.tell(&Said::Prepared {
                name: &files.name,
                files: files.totals.files,
                folders: files.totals.folders,
                size_bytes: files.totals.bytes,
                suite: files.suite.name(),
                pad_bytes: files.cost,
                remains_bytes: files.remains,
                left_out: files.left_out_count,
            }),
            Event::FileStatus { status, .. } => match status {
                FileStatus::Offered => self.tell(&Said::Status { text: "offered".to_owned() }),
                FileStatus::Moving { there: 0 } => Ok(()),
                FileStatus::Moving { there } => {
                    self.tell(&Said::Status { text: format!("goes on: {} are there already", amount(*there)) })
                }
                FileStatus::Paused { here: false, there: false } => {
                    self.tell(&Said::Status { text: "goes on".to_owned() })
                }
                FileStatus::Paused { .. } => self.tell(&Said::Status { text: "paused".to_owned() }),
                FileStatus::Waits(wait) => self.tell(&Said::Status { text: wait.to_string() }),
                FileStatus::NotTaken(why) => self.tell(&Said::Status { text: format!("not taken: {why}") }),
                _ => Ok(()),
            },
            Event::FileProgress { done, size, rate, .. } => {
                let left_s = size.saturating_sub(*done).checked_div(*rate);
                let (done_bytes, size_bytes, rate_bytes_per_s) = (*done, *size, *rate);
                self.tell(&Said::Progress { done_bytes, size_bytes, rate_bytes_per_s, left_s })
            }
            Event::Warning { text, .. } => self.tell(&Said::Warning { text }),
            _ => Ok(()),
        }
    }

    pub(super) fn short(&mut self, shortage: &Shortage, choice: IfShort) -> anyhow::Result<()> {
        let done = match choice {
            IfShort::Ask => "nothing is sent",
            IfShort::Wait => "waits for key",
            IfShort::Under(_) => "sent under AES instead",
        };
        let Shortage { cost, usable, missing, wait, .. } = *shortage;
        let wait_s = wait.map(|wait| wait.as_secs_f64());
        self.tell(&Said::Short { needed_bytes: cost, usable_bytes: usable, missing_bytes: missing, wait_s, done })
    }

    pub(super) fn offered(&mut self, contact: &str, offer: &OfferedFiles) -> anyhow::Result<()> {
        let totals = offer.totals;
        self.tell(&Said::Offered {
            contact,
            name: &offer.name,
            files: totals.files,
            folders: totals.folders,
            size_bytes: totals.bytes,
            suite: offer.suite.name(),
            renamed: offer.layout.changed(),
        })?;
        if self.json {
            return Ok(());
        }
        let shown = offer.manifest.len().min(NAMES_SHOWN);
        for entry in 0..shown {
            let path = vernam_engine::display(&offer.layout.path(&offer.manifest, entry)).into_owned();
            let size = offer.manifest.get(entry).filter(|entry| entry.is_file()).map(|entry| amount(entry.size()));
            writeln!(stdout(), "  {path}{}", size.map_or("/".to_owned(), |size| format!("  {size}")))?;
        }
        if shown < offer.manifest.len() {
            writeln!(stdout(), "  and {} more", offer.manifest.len() - shown)?;
        }
        for change in offer.layout.changes().iter().take(CHANGES_SHOWN) {
            writeln!(stdout(), "  \u{201c}{}\u{201d} will be called {}", change.offered, change.name)?;
        }
        if offer.weaker {
            writeln!(stdout(), "  It was accepted under one-time pad; the rest would come under less.")?;
        }
        Ok(())
    }

    pub(super) fn ended(&mut self, result: &Result<FileDone, FileError>) -> anyhow::Result<()> {
        match result {
            Ok(done) => {
                self.tell(&Said::Ended {
                    whole: done.failed == 0,
                    error: None,
                    places: &done.places,
                    files: done.files,
                    failed: done.failed,
                    size_bytes: done.bytes,
                    blake3: done.hash.map(hex),
                    took_s: done.took.as_secs_f64(),
                })?;
                for failed in &done.failures {
                    self.tell(&Said::Warning { text: &format!("{}: {}", failed.path, failed.why) })?;
                }
                Ok(())
            }
            Err(error) => self.tell(&Said::Ended {
                whole: false,
                error: Some(error.to_string()),
                places: &[],
                files: 0,
                failed: 0,
                size_bytes: 0,
                blake3: None,
                took_s: 0.0,
            }),
        }
    }

    fn progress(&mut self, text: &str) -> anyhow::Result<()> {
        if self.terminal {
            let before = self.line.replace(text.len()).unwrap_or(0);
            write!(stderr(), "\r{text:<before$}")?;
            stderr().flush()?;
        }
        Ok(())
    }

    fn clear(&mut self) -> anyhow::Result<()> {
        if let Some(len) = self.line.take() {
            write!(stderr(), "\r{:len$}\r", "")?;
            stderr().flush()?;
        }
        Ok(())
    }
}

/// What people read.
fn words(said: &Said<'_>) -> Vec<String> {
    match said {
        Said::Listening { address, folder } => {
            vec![format!("waiting at {address}; files go into {}", folder.display())]
        }
        Said::Nothing { contact } => vec![format!("nothing for {contact} is unfinished")],
        Said::Forgotten { transfers } => vec![format!("{transfers} unfinished transfers were given up")],
        Said::Prepared { name, files, folders, size_bytes, suite, pad_bytes, remains_bytes, left_out } => {
            let mut lines = vec![format!("{} under {suite}", summary(name, *files, *folders, *size_bytes))];
            if *pad_bytes > 0 {
                lines.push(format!("costs {} of key; {} remain", amount(*pad_bytes), amount(*remains_bytes)));
            }
            if *left_out > 0 {
                lines.push(format!("{left_out} links, sockets or devices in it are not sent"));
            }
            lines
        }
        Said::Short { needed_bytes, usable_bytes, missing_bytes, wait_s, done } => {
            let wait = match wait_s {
                Some(wait) => format!("they come in {}", span(Duration::from_secs_f64(*wait).as_secs())),
                None => "none comes at the moment".to_owned(),
            };
            let (needed, usable, missing) = (amount(*needed_bytes), amount(*usable_bytes), amount(*missing_bytes));
            vec![
                format!("not enough key: {needed} are needed, {usable} are there, {missing} are missing ({wait})"),
                format!("{done}; --wait-for-key waits, --allow-aes takes AES-256-GCM"),
            ]
        }
        Said::Offered { contact, name, files, folders, size_bytes, suite, renamed } => {
            let mut lines =
                vec![format!("{contact} offers {} under {suite}", summary(name, *files, *folders, *size_bytes))];
            if *renamed > 0 {
                lines.push(format!("{renamed} names are changed, to be safe"));
            }
            lines
        }
        Said::Question { contact } => vec![format!("take it from {contact}? y or n, and Enter")],
        Said::Ended { error: Some(error), .. } => vec![error.clone()],
        Said::Ended { places, files, failed, size_bytes, blake3, took_s, .. } => {
            let mut lines = vec![format!("{files} files, {} in {took_s:.1} s, verified", amount(*size_bytes))];
            lines.extend(places.iter().map(|place| format!("  {}", place.display())));
            lines.extend(blake3.iter().map(|hash| format!("  BLAKE3 {hash}")));
            if *failed > 0 {
                lines.push(format!("{failed} files did not come:"));
            }
            lines
        }
        Said::Away { contact, why: Some(why) } => vec![format!("{contact} is away: {why}")],
        Said::Away { contact, why: None } => vec![format!("{contact} has left")],
        Said::Status { text } => vec![text.clone()],
        Said::Warning { text } => vec![(*text).to_owned()],
        Said::Progress { .. } | Said::Stopped { .. } => Vec::new(),
    }
}

fn summary(name: &str, files: u32, folders: u32, bytes: u64) -> String {
    let size = amount(bytes);
    match (files, folders) {
        (1, 0) => format!("{name}, {size}"),
        _ => format!("{name} and what is with it: {files} files in {folders} folders, {size}"),
    }
}

/// As `b3sum` prints it.
fn hex(hash: [u8; 32]) -> String {
    hash.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _to_memory = write!(text, "{byte:02x}");
        text
    })
}

/// Bytes for people.
fn amount(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    let (mut whole, mut tenths, mut unit) = (bytes, 0, "bytes");
    for next in UNITS {
        if whole < 1_000 {
            break;
        }
        (tenths, whole, unit) = (whole % 1_000 / 100, whole / 1_000, next);
    }
    if unit == "bytes" { format!("{whole} bytes") } else { format!("{whole}.{tenths} {unit}") }
}

/// Seconds for people.
fn span(seconds: u64) -> String {
    match seconds {
        0..=90 => format!("{seconds} s"),
        91..=5_400 => format!("{} min", seconds / 60),
        5_401..=172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_and_spans_are_as_people_say_them() {
        let said = [0, 999, 1_000, 65_536, 1_500_000, 10_000_000_000].map(amount);
        assert_eq!(said, ["0 bytes", "999 bytes", "1.0 kB", "65.5 kB", "1.5 MB", "10.0 GB"]);
        assert_eq!([0, 90, 600, 7_200, 864_000].map(span), ["0 s", "90 s", "10 min", "2 h", "10 days"]);
    }
}
