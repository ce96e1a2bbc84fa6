//! A folder of key files as a source: whatever writes one file a block there feeds the KME.
//!
//! It takes files in ascending order of the numbers in their names, gives each to the ledger, and erases it once the
//! ledger has it. It makes no key, and does not compare the two ends: a file of one number must hold the same bits at
//! both, as any QKD device's exporter promises. Numbers may be missing at either end, for a while or for good: the two
//! KMEs find out which bits both have. A file whose number is lower than one that was taken before comes too late, and
//! is erased unused.
//!
//! # What an exporter must do
//! Write the raw bytes of a block under another name, and rename the file to one that fits [`NamePattern`] when it is
//! whole. An exporter that does not rename needs [`DirectoryConfig::rest`]. Folder and files must be closed to others.
//! It may tell how its link stands in `link.json`, see [`Sidecar`]; renamed into place too.
//!
//! # What `vernam link alice|bob --keys` does
//! It notes in `.unsettled` which block may still turn out void; that file is left alone until the note names another.
//! It sets aside what nobody can settle any more, as `*.key.unsettled`, which no pattern takes for a block. It notes in
//! `.startup-secret-id` whose blocks these are: numbers begin anew with each start-up secret, so the source stops, with
//! words that say what to do, until [`DirectoryConfig::era`] was raised.
//!
//! # What a crash leaves
//! A file is renamed to `.kme-NUMBER.taken` before it is read. What has that name at the next start is offered first; if
//! the ledger has it, it is erased. Files that cannot be used are set aside as `*.refused`, and counted in the report.

mod pattern;
mod shelf;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;

pub use pattern::{InvalidPattern, NamePattern};
pub use shelf::Sidecar;
use shelf::{Found, Shelf};

use super::report::{Rate, Reporter, plain, until};
use super::{MAX_BLOCK_BYTES, SourceError};
use crate::{KeySource, LinkReport, LinkState, Settled, SourceEvent, SourceFuture};

/// The highest [`DirectoryConfig::era`].
pub const MAX_ERA: u32 = (1 << 21) - 1;

/// How a folder is read.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DirectoryConfig {
    /// The folder. It is made if it is not there.
    pub path: PathBuf,
    /// Which files are meant.
    pub pattern: NamePattern,
    /// Goes in front of the numbers in names: a block's number is `era * 2^41 + number in the name`. To be raised by one,
    /// at both ends alike, when numbers begin anew: with each new start-up secret of a `vernam link`.
    pub era: u32,
    /// How often the folder is looked at.
    pub poll: Duration,
    /// How long a file must have been left alone before it is taken; zero for exporters that rename.
    pub rest: Duration,
    /// The link counts as down when no file came for so long.
    pub down_after: Duration,
    /// The largest file, in bytes; [`MAX_BLOCK_BYTES`] at most.
    pub max_file_bytes: u64,
    /// Whether the folder's group may read and write it and its files, for an exporter that is another user.
    pub allow_group: bool,
}

impl DirectoryConfig {
    /// For what `vernam link --keys` writes to `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            pattern: NamePattern::default(),
            era: 0,
            poll: Duration::from_millis(500),
            rest: Duration::ZERO,
            down_after: Duration::from_mins(10),
            max_file_bytes: MAX_BLOCK_BYTES,
            allow_group: false,
        }
    }
}

/// A folder of key files as a source.
pub struct Directory {
    bench: Bench,
    /// Nothing is looked for before.
    wake: Instant,
    rate: Rate,
    reporter: Reporter,
    /// When the last block came; at first, when the source was opened.
    came: Instant,
    has_come: bool,
    /// Bits of the block that was given last.
    offered: u64,
    trouble: Option<String>,
    news: VecDeque<SourceEvent>,
}

/// Where the folder is: here, or on a blocking thread.
enum Bench {
    Here(Box<Shelf>),
    Working(JoinHandle<(Box<Shelf>, Found)>),
    Broken,
}

impl Directory {
    /// Opens the folder, and locks it against a second KME. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If it cannot be read or written, others may use it, another KME reads it, or a setting cannot be.
    pub fn open(config: DirectoryConfig) -> Result<Self, SourceError> {
        let now = Instant::now();
        Ok(Self {
            bench: Bench::Here(Box::new(Shelf::open(config)?)),
            wake: now,
            rate: Rate::default(),
            reporter: Reporter::default(),
            came: now,
            has_come: false,
            offered: 0,
            trouble: None,
            news: VecDeque::new(),
        })
    }

    /// Does `job` on a blocking thread. If the future is dropped, the next call gives what came of it, and `job` of that
    /// call is not done.
    async fn work(&mut self, job: impl FnOnce(&mut Shelf) -> Found + Send + 'static) -> Result<Found, String> {
        self.bench = match std::mem::replace(&mut self.bench, Bench::Broken) {
            Bench::Here(mut here) => Bench::Working(spawn_blocking(move || {
                let found = job(&mut here);
                (here, found)
            })),
            under_way_or_broken => under_way_or_broken,
        };
        let Bench::Working(working) = &mut self.bench else {
            return Err("reading the key folder failed before".to_owned());
        };
        match working.await {
            Ok((here, found)) => {
                self.bench = Bench::Here(here);
                Ok(found)
            }
            Err(error) => {
                self.bench = Bench::Broken;
                Err(format!("reading the key folder failed: {error}"))
            }
        }
    }

    async fn step(&mut self) -> SourceEvent {
        loop {
            if let Some(event) = self.news.pop_front() {
                return event;
            }
            until(self.wake).await;
            let found = match self.work(Shelf::take).await {
                Ok(found) => found,
                Err(fault) => return SourceEvent::Ended(fault),
            };
            let now = Instant::now();
            match found {
                Found::Block { number, bits } => {
                    (self.offered, self.trouble) = (bits.len() as u64 * 8, None);
                    return SourceEvent::Block { number, bits };
                }
                Found::Nothing(trouble) => {
                    self.note_trouble(trouble);
                    self.wait();
                }
                Found::Done => {}
            }
            self.tell(now);
        }
    }

    fn wait(&mut self) {
        let poll = if let Bench::Here(shelf) = &self.bench { shelf.config().poll } else { Duration::ZERO };
        self.wake = Instant::now() + poll;
    }

    fn note_trouble(&mut self, trouble: Option<String>) {
        if let Some(trouble) = trouble.as_ref().filter(|trouble| self.trouble.as_ref() != Some(*trouble)) {
            tracing::warn!(%trouble, "no key is taken from the key folder");
        }
        self.trouble = trouble;
    }

    fn tell(&mut self, now: Instant) {
        if let Bench::Here(shelf) = &self.bench {
            let report = report(shelf, self.rate.bits_per_second(now), self.silence(now), self.trouble.as_deref());
            self.news.extend(self.reporter.news(report, now).map(SourceEvent::Report));
        }
    }

    /// How long nothing has come; `None` if nothing ever has.
    fn silence(&self, now: Instant) -> Option<Duration> {
        self.has_come.then(|| now.saturating_duration_since(self.came))
    }
}

impl KeySource for Directory {
    fn next(&mut self) -> SourceFuture<'_, SourceEvent> {
        Box::pin(self.step())
    }

    fn settled(&mut self, number: u64, settled: Settled) -> SourceFuture<'_, ()> {
        Box::pin(async move {
            let too_late = match settled {
                Settled::Taken => {
                    (self.came, self.has_come) = (Instant::now(), true);
                    self.rate.add(self.offered, self.came);
                    false
                }
                Settled::TooLate => true,
                Settled::Again => {
                    self.wait();
                    return;
                }
            };
            // A fault shows again with the next step.
            if let Ok(Found::Nothing(trouble)) = self.work(move |shelf| shelf.erase_ours(number, too_late)).await {
                self.note_trouble(trouble);
                self.wait();
            }
            self.tell(Instant::now());
        })
    }
}

/// How the link stands, as far as the folder shows.
fn report(shelf: &Shelf, rate_bps: f64, silence: Option<Duration>, trouble: Option<&str>) -> LinkReport {
    let (state, mut reason) = match (trouble, silence) {
        (Some(trouble), _) => (LinkState::Down, trouble.to_owned()),
        (None, None) => (LinkState::Down, "no key file has come yet".to_owned()),
        (None, Some(silence)) if silence >= shelf.config().down_after => {
            (LinkState::Down, format!("no key file came for {} s", shelf.config().down_after.as_secs()))
        }
        (None, Some(_)) => (LinkState::Up, "key files come".to_owned()),
    };
    for (count, what) in [(shelf.refused, "could not be used and were set aside"), (shelf.late, "came too late")] {
        if count > 0 {
            reason = format!("{reason}; {count} {what}");
        }
    }
    let mut report = plain(state, rate_bps, reason);
    if let Some(sidecar) = shelf.sidecar() {
        (report.qber, report.threshold) = (sidecar.qber, sidecar.threshold);
        // An alarm outranks all; that it is up does not help where no files come.
        let outranks = sidecar.state == LinkState::Alarm || (sidecar.state == LinkState::Down && trouble.is_none());
        if outranks {
            report.state = sidecar.state;
            report.reason = match sidecar.reason.as_str() {
                "" => "the link's exporter says so".to_owned(),
                reason => reason.to_owned(),
            };
        }
    }
    report
}
