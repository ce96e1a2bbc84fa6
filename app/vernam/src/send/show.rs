//! How transfers are shown: lines for people, with a line of progress for each on a terminal, or JSON Lines for programs.
//!
//! The first JSON line is the header `{"schema":"vernam-files","version":1}`. Every other line is one event: `"event"`,
//! and its fields. Units stand in the names: `_bytes`, `_s`; `transfer` names a transfer, the same at both ends. The last
//! line is `stopped`, with the exit status. A field may be added under the same version; none changes its meaning or goes
//! away.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _, stderr, stdout};
use std::path::PathBuf;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Serialize;
use vernam_engine::{Event, FileDone, FileError, FileStatus, FileWait, IfShort, OfferedFiles, Shortage, TransferId};

/// Changed names that are shown one by one.
const CHANGES_SHOWN: usize = 10;
/// Names of an offer that are shown one by one.
const NAMES_SHOWN: u32 = 20;

/// Without a terminal, progress is told in steps of so many percent.
const STEP: u64 = 10;
/// The line of progress.
const LINE: &str = "{bar:24} {percent:>3} %  {msg}";

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
        transfer: String,
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
    Short {
        transfer: String,
        needed_bytes: u64,
        usable_bytes: u64,
        missing_bytes: u64,
        wait_s: Option<f64>,
        done: &'static str,
    },
    /// A contact offers files.
    Offered {
        transfer: String,
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
    Status { transfer: String, state: &'static str, there_bytes: Option<u64>, missing_bytes: Option<u64>, text: String },
    /// How far it is.
    Progress { transfer: String, done_bytes: u64, size_bytes: u64, rate_bytes_per_s: u64, left_s: Option<u64> },
    /// It is over.
    Ended {
        transfer: String,
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
    /// The lines of progress, where standard error is a terminal.
    lines: Option<MultiProgress>,
    under_way: BTreeMap<String, Progress>,
}

/// How one transfer is shown.
#[derive(Default)]
struct Progress {
    bar: Option<ProgressBar>,
    /// Percent that were told last.
    told: u64,
}

impl Show {
    pub(super) fn open(json: bool) -> anyhow::Result<Self> {
        if json {
            writeln!(stdout(), "{HEADER}")?;
        }
        let lines = (!json && stderr().is_terminal()).then(MultiProgress::new);
        Ok(Self { json, lines, under_way: BTreeMap::new() })
    }

    pub(super) fn tell(&mut self, said: &Said<'_>) -> anyhow::Result<()> {
        if self.json {
            return Ok(writeln!(stdout(), "{}", serde_json::to_string(said)?)?);
        }
        match said {
            Said::Progress { transfer, done_bytes, size_bytes, rate_bytes_per_s, left_s } => {
                let left = left_s.map_or(String::new(), |left| format!(", {} left", span(left)));
                let (done, size, rate) = (amount(*done_bytes), amount(*size_bytes), amount(*rate_bytes_per_s));
                let text = format!("{done} of {size}, {rate}/s{left}");
                self.progress(transfer, *done_bytes, *size_bytes, &text)
            }
            Said::Ended { transfer, .. } => {
                if let Some(bar) = self.under_way.remove(transfer).and_then(|progress| progress.bar) {
                    bar.finish_and_clear();
                }
                self.say(&words(said))
            }
            _ => self.say(&words(said)),
        }
    }

    /// Writes lines, above those of progress.
    fn say(&self, words: &[String]) -> anyhow::Result<()> {
        let write = || words.iter().try_for_each(|line| writeln!(stdout(), "{line}"));
        Ok(self.lines.as_ref().map_or_else(write, |lines| lines.suspend(write))?)
    }

    /// Anything about files that is not said elsewhere.
    pub(super) fn event(&mut self, event: &Event) -> anyhow::Result<()> {
        match event {
            Event::FilePrepared { transfer, files, .. } => self.tell(&Said::Prepared {
                transfer: transfer.to_string(),
                name: &files.name,
                files: files.totals.files,
                folders: files.totals.folders,
                size_bytes: files.totals.bytes,
                suite: files.suite.name(),
                pad_bytes: files.cost,
                remains_bytes: files.remains,
                left_out: files.left_out_count,
            }),
            Event::FileStatus { transfer, status, .. } => match stands(*transfer, status) {
                Some(said) => self.tell(&said),
                None => Ok(()),
            },
            Event::FileProgress { transfer, done, size, rate, .. } => {
                let left_s = size.saturating_sub(*done).checked_div(*rate);
                let (done_bytes, size_bytes, rate_bytes_per_s) = (*done, *size, *rate);
                let transfer = transfer.to_string();
                self.tell(&Said::Progress { transfer, done_bytes, size_bytes, rate_bytes_per_s, left_s })
            }
            Event::Warning { text, .. } => self.tell(&Said::Warning { text }),
            _ => Ok(()),
        }
    }

    pub(super) fn short(&mut self, transfer: TransferId, shortage: &Shortage, choice: IfShort) -> anyhow::Result<()> {
        let done = match choice {
            IfShort::Ask => "nothing is sent",
            IfShort::Wait => "waits for key",
            IfShort::Under(_) => "sent under AES instead",
        };
        let Shortage { cost, usable, missing, wait, .. } = *shortage;
        let wait_s = wait.map(|wait| wait.as_secs_f64());
        let (transfer, needed_bytes, usable_bytes, missing_bytes) = (transfer.to_string(), cost, usable, missing);
        self.tell(&Said::Short { transfer, needed_bytes, usable_bytes, missing_bytes, wait_s, done })
    }

    pub(super) fn offered(&mut self, contact: &str, transfer: TransferId, offer: &OfferedFiles) -> anyhow::Result<()> {
        let totals = offer.totals;
        self.tell(&Said::Offered {
            transfer: transfer.to_string(),
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
        let mut lines = Vec::new();
        for entry in 0..shown {
            let path = vernam_engine::display(&offer.layout.path(&offer.manifest, entry)).into_owned();
            let size = offer.manifest.get(entry).filter(|entry| entry.is_file()).map(|entry| amount(entry.size()));
            lines.push(format!("  {path}{}", size.map_or("/".to_owned(), |size| format!("  {size}"))));
        }
        if shown < offer.manifest.len() {
            lines.push(format!("  and {} more", offer.manifest.len() - shown));
        }
        for change in offer.layout.changes().iter().take(CHANGES_SHOWN) {
            lines.push(format!("  \u{201c}{}\u{201d} will be called {}", change.offered, change.name));
        }
        if offer.weaker {
            lines.push("  It was accepted under one-time pad; the rest would come under less.".to_owned());
        }
        self.say(&lines)
    }

    pub(super) fn ended(&mut self, id: TransferId, result: &Result<FileDone, FileError>) -> anyhow::Result<()> {
        let transfer = id.to_string();
        match result {
            Ok(done) => {
                self.tell(&Said::Ended {
                    transfer,
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
                transfer,
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

    fn progress(&mut self, transfer: &str, done: u64, size: u64, text: &str) -> anyhow::Result<()> {
        let progress = self.under_way.entry(transfer.to_owned()).or_default();
        if let Some(lines) = &self.lines {
            let bar = progress.bar.get_or_insert_with(|| {
                let style = ProgressStyle::with_template(LINE).unwrap_or_else(|_not_ours| ProgressStyle::default_bar());
                lines.add(ProgressBar::new(size).with_style(style))
            });
            bar.set_message(text.to_owned());
            bar.set_position(done);
            return Ok(());
        }
        let percent = done.saturating_mul(100).checked_div(size).unwrap_or(100);
        if percent < progress.told + STEP {
            return Ok(());
        }
        progress.told = percent - percent % STEP;
        Ok(writeln!(stdout(), "{percent:>3} %  {text}")?)
    }
}

/// Where a transfer stands, where that is worth a word.
fn stands(transfer: TransferId, status: &FileStatus) -> Option<Said<'static>> {
    let (mut there_bytes, mut missing_bytes) = (None, None);
    let (state, text) = match status {
        FileStatus::Offered => ("offered", "offered".to_owned()),
        FileStatus::Moving { there } => {
            there_bytes = Some(*there);
            let text = if *there == 0 {
                "it goes".to_owned()
            } else {
                format!("goes on: {} are there already", amount(*there))
            };
            ("moving", text)
        }
        FileStatus::Paused { here: false, there: false } => ("goes_on", "goes on".to_owned()),
        FileStatus::Paused { here: true, .. } => ("paused", "paused".to_owned()),
        FileStatus::Paused { .. } => ("paused", "paused by the contact".to_owned()),
        FileStatus::Waits(wait) => {
            missing_bytes = match wait {
                FileWait::Key { missing } | FileWait::Room { missing } | FileWait::RoomAtContact { missing } => {
                    Some(*missing)
                }
                _ => None,
            };
            let state = match wait {
                FileWait::Connection => "waits_for_connection",
                FileWait::Key { .. } => "waits_for_key",
                FileWait::Room { .. } => "waits_for_room",
                FileWait::RoomAtContact { .. } => "waits_for_room_at_contact",
                FileWait::Person(_) => "waits_for_person",
                _ => "waits",
            };
            (state, wait.to_string())
        }
        FileStatus::NotTaken(why) => ("not_taken", format!("not taken: {why}")),
        _ => return None,
    };
    Some(Said::Status { transfer: transfer.to_string(), state, there_bytes, missing_bytes, text })
}

/// What people read.
fn words(said: &Said<'_>) -> Vec<String> {
    match said {
        Said::Listening { address, folder } => {
            vec![format!("waiting at {address}; files go into {}", folder.display())]
        }
        Said::Nothing { contact } => vec![format!("nothing for {contact} is unfinished")],
        Said::Forgotten { transfers } => vec![format!("{transfers} unfinished transfers were given up")],
        Said::Prepared { name, files, folders, size_bytes, suite, pad_bytes, remains_bytes, left_out, .. } => {
            let mut lines = vec![format!("{} under {suite}", summary(name, *files, *folders, *size_bytes))];
            if *pad_bytes > 0 {
                lines.push(format!("costs {} of key; {} remain", amount(*pad_bytes), amount(*remains_bytes)));
            }
            if *left_out > 0 {
                lines.push(format!("{left_out} links, sockets or devices in it are not sent"));
            }
            lines
        }
        Said::Short { needed_bytes, usable_bytes, missing_bytes, wait_s, done, .. } => {
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
        Said::Offered { contact, name, files, folders, size_bytes, suite, renamed, .. } => {
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
        Said::Status { text, .. } => vec![text.clone()],
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
