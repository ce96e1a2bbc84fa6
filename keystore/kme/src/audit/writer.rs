//! The thread that writes the trail: lines within some milliseconds, durably once a second.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde_json::json;

use super::line::{Chain, Sealer};
use super::{Item, Record, State, object};

/// How often lines are made durable, and how soon a failed write is tried again.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// How long lines gather before they are written together: what a killed process can lose of them.
const GATHER: Duration = Duration::from_millis(10);
/// Bytes that are written at once.
const BUFFER: usize = 256 << 10;
/// How often a failure is told in the log.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// Writes one trail.
pub(super) struct Writer {
    file: File,
    head_file: PathBuf,
    sealer: Sealer,
    chain: Chain,
    /// Length of all whole lines in the file.
    whole: u64,
    /// Lines that are not in the file yet.
    buffer: Vec<u8>,
    /// Whether there are lines that are not durable yet.
    is_dirty: bool,
    told: Option<Instant>,
}

impl Writer {
    pub(super) fn new(file: File, head_file: PathBuf, sealer: Sealer, chain: Chain, whole: u64) -> Self {
        Self { file, head_file, sealer, chain, whole, buffer: Vec::new(), is_dirty: false, told: None }
    }

    pub(super) fn run(mut self, items: &Receiver<Item>, state: &State) {
        let mut due = Instant::now() + SYNC_EVERY;
        loop {
            let wait = due.saturating_duration_since(Instant::now());
            let ended = match items.recv_timeout(wait) {
                Ok(Item::Record(record)) => {
                    self.add(&record);
                    std::thread::sleep(GATHER);
                    // What waits goes with it, as far as the buffer has room; the rest waits in the queue.
                    let mut ended = false;
                    while self.buffer.len() < BUFFER {
                        match items.try_recv() {
                            Ok(Item::Record(record)) => self.add(&record),
                            Ok(Item::End) => {
                                ended = true;
                                break;
                            }
                            Err(_nothing_waits) => break,
                        }
                    }
                    ended
                }
                Ok(Item::End) | Err(RecvTimeoutError::Disconnected) => true,
                Err(RecvTimeoutError::Timeout) => false,
            };
            self.add_lost(state);
            let is_due = ended || Instant::now() >= due;
            let done = self.write().and_then(|()| if is_due { self.sync() } else { Ok(()) });
            match done {
                Ok(()) => state.failing.store(false, Ordering::Release),
                Err(error) => {
                    state.failing.store(true, Ordering::Release);
                    self.tell(&error);
                    if !ended {
                        std::thread::sleep(SYNC_EVERY); // the queue takes what comes meanwhile
                    }
                }
            }
            if ended {
                tracing::info!(lines = self.chain.seq, hash = self.chain.prev, "the audit trail ends");
                return;
            }
            if is_due {
                due = Instant::now() + SYNC_EVERY;
            }
        }
    }

    fn add(&mut self, record: &Record) {
        let line = self.sealer.line(&mut self.chain, record.at, record.event, &record.about);
        self.buffer.extend_from_slice(&line);
        self.buffer.push(b'\n');
    }

    /// Says how many records were lost, once there is room for the word.
    fn add_lost(&mut self, state: &State) {
        if self.buffer.len() >= BUFFER {
            return;
        }
        let lost = state.lost.swap(0, Ordering::AcqRel);
        if lost > 0 {
            let at = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            self.add(&Record { at, event: "lost", about: object(json!({ "records": lost })) });
        }
    }

    /// Brings the buffer into the file, all of it or nothing.
    fn write(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.file.write_all(&self.buffer) {
            // Half a line must not stay before the next try; if it does, the next start removes it and says so.
            let _best_effort = self.file.set_len(self.whole);
            return Err(error);
        }
        self.whole += self.buffer.len() as u64;
        self.buffer.clear();
        self.is_dirty = true;
        Ok(())
    }

    /// Makes all lines durable, and then the head: it must never be ahead of them.
    fn sync(&mut self) -> io::Result<()> {
        if !self.is_dirty {
            return Ok(());
        }
        self.file.sync_data()?;
        if let Some(head) = self.sealer.head(&self.chain, self.whole) {
            head.write(&self.head_file)?;
        }
        self.is_dirty = false;
        Ok(())
    }

    fn tell(&mut self, error: &io::Error) {
        let now = Instant::now();
        if self.told.is_none_or(|told| now.saturating_duration_since(told) >= TELL_EVERY) {
            self.told = Some(now);
            tracing::error!(%error, "the audit trail cannot be written");
        }
    }
}
