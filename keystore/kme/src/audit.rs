//! The audit trail: who was given which key when, in lines that cannot be altered unseen. Names of keys, never key.
//!
//! The file is JSON Lines. Each line has a number (`seq`), the time, what happened, the SHA-256 of the line before
//! (`prev`), and an HMAC-SHA256 over all of that (`mac`) under a key derived from the ledger's key-encryption key.
//!
//! | who alters the file | what shows it |
//! |---|---|
//! | somebody without the key, who edits, removes, inserts or moves lines | `prev` and `seq`, without any key |
//! | the same, who computes all later `prev` anew | `mac` |
//! | somebody who cuts lines off at the end | `FILE.head`: number and hash of the last line, under a MAC of its own |
//!
//! What it cannot show: that FILE and FILE.head were both put back to an older state together (keep copies of the head,
//! or of the lines, elsewhere; the log tells the head at each start and end), what somebody does who has the
//! key-encryption key, and the loss of the last second at a power cut: lines are made durable once a second, and at the
//! end. What such a cut left of later lines is set aside (`FILE.cut-after-N`, `FILE.cut-after-N.2` ...), and the trail says so.
//!
//! Lines are written by a thread of their own; nobody who is served waits for it. If the file cannot be written, lines
//! wait in a queue of [`QUEUE`] records; what does not fit is counted, and the count is written when it is possible again
//! (`lost`). With `required`, the KME does not go on without its trail: it says so by [`Audit::failed`], on which the
//! program stops serving and ends, for its service manager to start it when the disk is good.

mod line;
mod verify;
mod writer;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rand::TryRng as _;
use rand::rngs::SysRng;
use serde_json::{Map, Value, json};
use vernam_etsi014::KmeId;
use vernam_key::{KeyId, SecretBytes};

use self::line::{Chain, Head, Sealer};
use self::writer::Writer;
use crate::identity::names::shown;
use crate::{KmeEvent, Observer};

pub use self::verify::{AuditReport, Broken, verify_audit};

/// The most records that wait to be written.
pub(crate) const QUEUE: usize = 1 << 14;
/// The most refusals (401) a second that are written one by one; the rest is counted, so that a stranger who knocks all
/// day does not fill the disk.
const REFUSALS_PER_SECOND: u64 = 20;
/// The most files that are set aside under one name.
const MOST_ASIDE: u32 = 1000;
/// Length of the salt under which the trail's key is derived; it stands in the first line.
pub(crate) const SALT_LEN: usize = 16;
/// For what the trail's key is derived.
pub const PURPOSE: &str = "vernam audit trail 1";

/// An event, and what is said of it.
type Said = (&'static str, Map<String, Value>);

/// Derives the trail's key (32 bytes) from a salt, for [`PURPOSE`]: `Kek::derive` of the ledger.
pub type DeriveKey<'a> = dyn FnMut(&[u8; 16]) -> Result<SecretBytes, String> + 'a;

/// Why there is no audit trail.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// Another process writes it.
    #[error("the audit trail {} is written by another process: give each its own", .0.display())]
    InUse(PathBuf),
    /// The file cannot be used.
    #[error("the audit trail {} cannot be used: {reason}", file.display())]
    File {
        /// Which one.
        file: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// It is not as it was left.
    #[error(
        "the audit trail {} is not as it was left: {reason}. Move it and its .head away and keep them as evidence (vernam \
         kme audit verify says more); a new one begins then", file.display()
    )]
    Broken {
        /// Which one.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Its key cannot be derived.
    #[error("the audit trail's key cannot be derived: {0}")]
    Key(String),
}

/// The audit trail of one KME. Give it to the KME as an [`Observer`], and end it last.
pub struct Audit {
    queue: SyncSender<Item>,
    state: Arc<State>,
    thread: Mutex<Option<JoinHandle<()>>>,
    refusals: Mutex<Refusals>,
}

/// What the thread and its callers share.
#[derive(Default)]
struct State {
    /// Records that were lost since the last line, because the queue was full.
    lost: AtomicU64,
    failing: AtomicBool,
}

/// What goes to the thread.
enum Item {
    Record(Record),
    /// The trail ends.
    End,
}

/// A line to be.
struct Record {
    /// Since the Unix epoch.
    at: Duration,
    event: &'static str,
    about: Map<String, Value>,
}

/// How many refusals were written in which second.
#[derive(Default)]
struct Refusals {
    second: u64,
    written: u64,
    /// Those that were not written.
    more: u64,
}

impl Audit {
    /// Opens the trail `file`, or begins one (mode 0600), and goes on where it ended. Blocks, on the disk.
    pub fn open(file: &Path, kme: &KmeId, derive: &mut DeriveKey<'_>) -> Result<Self, AuditError> {
        let failed = |reason: io::Error| AuditError::File { file: file.to_owned(), reason };
        let handle = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(file).map_err(failed)?;
        match handle.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(AuditError::InUse(file.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let (writer, first) = Self::go_on(file, handle, kme, derive)?;
        let (queue, items) = sync_channel(QUEUE);
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let thread = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(&items, &shared))
            .map_err(failed)?;
        let audit = Self { queue, state, thread: Mutex::new(Some(thread)), refusals: Mutex::default() };
        for (event, about) in first {
            audit.record(event, about);
        }
        Ok(audit)
    }

    /// Finds where the trail ended, and what must be said first.
    fn go_on(
        file: &Path,
        handle: File,
        kme: &KmeId,
        derive: &mut DeriveKey<'_>,
    ) -> Result<(Writer, Vec<Said>), AuditError> {
        let failed = |reason: io::Error| AuditError::File { file: file.to_owned(), reason };
        let broken = |reason: String| AuditError::Broken { file: file.to_owned(), reason };
        let head_file = Head::file_of(file);
        let head = Head::read(&head_file).map_err(failed)?;
        let length = handle.metadata().map_err(failed)?.len();
        let Some(salt) = line::first(&handle).map_err(failed)?.and_then(|line| line::salt(&line)) else {
            if head.is_some() {
                return Err(broken(
                    "its first line is none of a trail, but its .head says that there were lines".to_owned(),
                ));
            }
            // Nothing was durable when the power failed in a trail's first second.
            return Self::begin(file, handle, head_file, kme, derive);
        };
        let sealer = Sealer::new(&derive(&salt).map_err(AuditError::Key)?);
        // What the head tells of was durable, and must be there as it was.
        let (from, chain) = match head {
            Some(head) => {
                let ended = sealer.check_head(&head).map_err(|what| broken(format!("its .head {what}")))?;
                if head.length > length {
                    return Err(broken(format!("it was cut off: number {ended} was written, and is not there")));
                }
                let last = line::last_before(&handle, head.length).map_err(failed)?;
                let last = last.filter(|last| line::hash(last) == head.hash);
                let last = last.ok_or_else(|| broken(format!("number {ended} is not the line that was written")))?;
                (head.length, Chain::after(ended, &last))
            }
            None => (0, Chain::start()),
        };
        // What came after it may be there in part: it was not durable when the process was killed, or the power failed.
        let (chain, whole) = line::follow(&handle, &sealer, from, chain).map_err(failed)?;
        if chain.seq == 0 {
            return Err(broken(
                "its first line was altered, or was written under another key-encryption key".to_owned(),
            ));
        }
        let mut first = Vec::new();
        if whole < length {
            let aside = file.with_added_extension(format!("cut-after-{}", chain.seq - 1));
            set_aside(&handle, whole, &aside).map_err(failed)?;
            handle.set_len(whole).map_err(failed)?;
            let mut about = Map::new();
            about.insert("bytes".to_owned(), json!(length - whole));
            first.push(("torn_lines_removed", about));
        }
        tracing::info!(seq = chain.seq - 1, hash = chain.prev, "the audit trail goes on");
        Ok((Writer::new(handle, head_file, sealer, chain, whole), first))
    }

    /// Begins a trail; what stands in the file, and is none, is set aside.
    fn begin(
        file: &Path,
        handle: File,
        head_file: PathBuf,
        kme: &KmeId,
        derive: &mut DeriveKey<'_>,
    ) -> Result<(Writer, Vec<Said>), AuditError> {
        let failed = |reason: io::Error| AuditError::File { file: file.to_owned(), reason };
        let length = handle.metadata().map_err(failed)?.len();
        let mut salt = [0; SALT_LEN];
        SysRng.try_fill_bytes(&mut salt).map_err(|error| failed(io::Error::other(error.to_string())))?;
        let sealer = Sealer::new(&derive(&salt).map_err(AuditError::Key)?);
        let mut about = Map::new();
        about.insert("kme".to_owned(), json!(kme));
        about.insert("salt".to_owned(), json!(crate::identity::names::hex(&salt)));
        if length > 0 {
            set_aside(&handle, 0, &file.with_added_extension("cut-before-0")).map_err(failed)?;
            handle.set_len(0).map_err(failed)?;
            about.insert("bytes_set_aside".to_owned(), json!(length));
        }
        Ok((Writer::new(handle, head_file, sealer, Chain::start(), 0), vec![("opened", about)]))
    }

    /// Whether the trail cannot be written at the moment, or lines were lost that are not accounted for yet.
    pub fn failed(&self) -> bool {
        self.state.failing.load(Ordering::Acquire)
    }

    /// Writes what waits, durably, and ends the trail.
    pub fn end(&self) {
        let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        if self.queue.send(Item::End).is_ok() && thread.join().is_err() {
            tracing::error!("the audit trail's thread panicked");
        }
    }

    fn record(&self, event: &'static str, about: Map<String, Value>) {
        let at = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        self.send(Record { at, event, about });
    }

    fn send(&self, record: Record) {
        match self.queue.try_send(Item::Record(record)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.state.lost.fetch_add(1, Ordering::AcqRel);
                self.state.failing.store(true, Ordering::Release);
            }
        }
    }

    /// Whether a refusal now is written on its own; also, how many before it were not.
    fn admit_refusal(&self) -> (bool, u64) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let mut more = 0;
        if refusals.second != now {
            more = refusals.more;
            *refusals = Refusals { second: now, ..Refusals::default() };
        }
        let admitted = refusals.written < REFUSALS_PER_SECOND;
        if admitted {
            refusals.written += 1;
        } else {
            refusals.more += 1;
        }
        (admitted, more)
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.end();
    }
}

/// Copies what stands after the trail's last whole line to a file of its own, durably: it may be evidence. So may what an
/// earlier accident left under the name `aside`: then the copy is `aside.2`, and so on.
fn set_aside(mut trail: &File, from: u64, aside: &Path) -> io::Result<()> {
    let mut copy = new_file(aside)?;
    trail.seek(SeekFrom::Start(from))?;
    io::copy(&mut trail, &mut copy)?;
    copy.sync_all()
}

/// A new file (mode 0600) named `path`, or with the first number at its end that is free.
fn new_file(path: &Path) -> io::Result<File> {
    let numbered = (2..=MOST_ASIDE).map(|number| path.with_added_extension(number.to_string()));
    for path in std::iter::once(path.to_owned()).chain(numbered) {
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made_or_failed => return made_or_failed,
        }
    }
    let words = format!("{} and {} more of its name are there: move them away", path.display(), MOST_ASIDE - 1);
    Err(io::Error::new(io::ErrorKind::AlreadyExists, words))
}

fn ids(keys: &[KeyId]) -> Value {
    keys.iter().map(|id| Value::from(id.to_string())).collect()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

impl Observer for Audit {
    fn on(&self, event: &KmeEvent<'_>) {
        let (name, about) = match *event {
            KmeEvent::Delivered { master, slaves, link, keys, bits } => (
                "delivered",
                json!({ "master": master, "slaves": slaves, "link": link, "bits": bits, "key_IDs": ids(keys) }),
            ),
            KmeEvent::Reserved { link, master, slaves, keys } => {
                ("reserved", json!({ "master": master, "slaves": slaves, "link": link, "key_IDs": ids(keys) }))
            }
            KmeEvent::Collected { slave, master, keys, bits } => {
                ("collected", json!({ "slave": slave, "master": master, "all_bits": bits, "key_IDs": ids(keys) }))
            }
            KmeEvent::Voided { link, keys, why } => ("voided", json!({ "link": link, "keys": keys, "why": why })),
            KmeEvent::Request { who, endpoint, status: 401, refusal, .. } => {
                let (admitted, more) = self.admit_refusal();
                if more > 0 {
                    self.record("refused_more", object(json!({ "requests": more })));
                }
                if !admitted {
                    return;
                }
                let why = refusal.map(shown);
                ("refused", json!({ "who": shown(who), "endpoint": format!("{endpoint:?}"), "why": why }))
            }
            KmeEvent::Started => ("started", Value::Null),
            KmeEvent::Reloaded => ("reloaded", Value::Null),
            KmeEvent::Stopping => ("stopping", Value::Null),
            KmeEvent::Request { .. }
            | KmeEvent::Deposited { .. }
            | KmeEvent::Link { .. }
            | KmeEvent::HandshakeRefused { .. } => return,
        };
        self.record(name, object(about));
    }
}

#[cfg(test)]
mod tests;
