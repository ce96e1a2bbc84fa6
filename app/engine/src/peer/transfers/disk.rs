//! The disk's side of a transfer, on threads that may block: reading what goes, writing what comes. It knows no keys and
//! no messages; the flow's task takes its pieces, or brings them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};
use vernam_files::{
    Acceptance, Desk, FileEnd, Incoming, IncomingError, Manifest, Offer, Outgoing, Pace, Received, ResumePoint,
    TransferId,
};
use vernam_session::limits::{MAX_RECORD_PLAINTEXT, RECORD_HEADER_LEN, TAG_LEN};

use super::{FileInput, Input};

/// The next bytes of a stream of files.
pub(super) struct Piece {
    /// Behind room for a record's header.
    pub(super) record: Vec<u8>,
    /// The most that follows, bytes of stream.
    pub(super) left: u64,
    /// Bytes of files that are through with it, those of earlier tries too.
    pub(super) done: u64,
}

/// Bytes of all files before a place of an offer.
fn bytes_before(manifest: &Manifest, point: &ResumePoint) -> u64 {
    let before = manifest.entries().iter().take(point.entry as usize);
    before.map(vernam_files::Entry::size).sum::<u64>().saturating_add(point.offset)
}

/// Reads what the receiver does not have yet; gives how the files ended.
pub(super) fn read(
    offer: &Arc<Offer>,
    point: &ResumePoint,
    pieces: &mpsc::Sender<Piece>,
) -> Result<Vec<FileEnd>, String> {
    let mut outgoing =
        Outgoing::resume(Arc::clone(offer), point, |_done| !pieces.is_closed()).map_err(|error| error.to_string())?;
    let (before, mut ends) = (bytes_before(offer.manifest(), point), Vec::new());
    // One file's hash is worth telling; of many only what failed is.
    let single = offer.manifest().files() == 1;
    loop {
        let mut record = Vec::with_capacity(RECORD_HEADER_LEN + MAX_RECORD_PLAINTEXT + TAG_LEN);
        record.resize(RECORD_HEADER_LEN, 0);
        if !outgoing.read(&mut record, MAX_RECORD_PLAINTEXT) {
            return Ok(ends);
        }
        ends.extend(outgoing.drain_ends().filter(|end| single || end.outcome.is_err()));
        let (left, done) = (outgoing.left(MAX_RECORD_PLAINTEXT), before + outgoing.sent().bytes);
        if pieces.blocking_send(Piece { record, left, done }).is_err() {
            return Err("the transfer was broken off".to_owned());
        }
    }
}

/// How a transfer begins to be received.
pub(super) enum Begin {
    /// A person said yes.
    Accept(Acceptance, Arc<Manifest>),
    /// It goes on.
    Reopen(TransferId),
}

/// What is there when it begins.
#[derive(Clone, Copy)]
pub(super) struct Opened {
    /// Where the sender is to go on.
    pub(super) point: ResumePoint,
    /// Bytes of files that are there.
    pub(super) there: u64,
}

/// What comes of the flow: the next bytes, or its end.
pub(super) enum Arrival {
    /// Bytes of the stream, opened and checked.
    Bytes(Vec<u8>),
    /// The flow's last record was opened, or why none will be.
    Over(Result<(), String>),
}

/// How a try to receive ended.
pub(super) enum Written {
    /// All that came is in place.
    Placed(Received, Option<[u8; 32]>),
    /// The stream ended before its time; why, if it was not we who ended it.
    Cut(Option<String>),
    /// The disk is full: so many bytes of room are missing, and so many were free then.
    Full { missing: u64, free: u64 },
    /// The disk does not do what it should.
    Disk(String),
    /// What came makes no sense.
    Stream(String),
}

/// Where a writer tells how it goes.
pub(super) struct Telling {
    /// Once, when it has begun.
    pub(super) opened: oneshot::Sender<Result<Opened, String>>,
    /// Bytes of files that are there.
    pub(super) done: Arc<AtomicU64>,
    /// Times are since this.
    pub(super) epoch: Instant,
    /// Who is to look that it has begun.
    pub(super) inputs: mpsc::Sender<Input>,
}

/// Writes what comes, until it is all there and in its place, or the flow ends.
pub(super) fn write(desk: &Desk, begin: Begin, mut arrivals: mpsc::Receiver<Arrival>, telling: Telling) -> Written {
    let Telling { opened, done, epoch, inputs } = telling;
    let incoming = match begin {
        Begin::Accept(acceptance, manifest) => {
            Incoming::accept(desk, &acceptance, Arc::unwrap_or_clone(manifest), Pace::default())
        }
        Begin::Reopen(id) => Incoming::reopen(desk, id, Pace::default(), |_hashed| !arrivals.is_closed()),
    };
    let mut incoming = match incoming {
        Ok(incoming) => incoming,
        Err(error) => {
            let why = error.to_string();
            let _gone = opened.send(Err(why.clone()));
            return Written::Disk(why);
        }
    };
    done.store(incoming.bytes(), Ordering::Relaxed);
    let there = Opened { point: incoming.resume_point(), there: incoming.bytes() };
    if opened.send(Ok(there)).is_err() {
        return Written::Cut(None);
    }
    // Where it does not fit, the next tick looks.
    let _full = inputs.try_send(Input::Files(FileInput::Look));
    let (single, mut hash) = (incoming.manifest().files() == 1, None);
    let cut = loop {
        match arrivals.blocking_recv() {
            Some(Arrival::Bytes(piece)) => {
                let pushed = incoming.push(&piece, epoch.elapsed());
                done.store(incoming.bytes(), Ordering::Relaxed);
                for end in incoming.drain_ends() {
                    hash = end.outcome.ok().filter(|_| single).map(|hash| hash.0);
                }
                if let Err(error) = pushed {
                    // What came is flushed; if that fails too, what is there shows when it is opened again.
                    let _lost = incoming.pause();
                    return refused(&error, &incoming);
                }
            }
            Some(Arrival::Over(Ok(()))) if incoming.is_complete() => break None,
            Some(Arrival::Over(Ok(()))) => {
                break Some(Written::Stream("the stream of files ended before its end".to_owned()));
            }
            Some(Arrival::Over(Err(why))) => break Some(Written::Cut(Some(why))),
            None => break Some(Written::Cut(None)),
        }
    };
    // Where all has come it is put in place, whatever became of the flow meanwhile.
    if let Some(cut) = cut.filter(|_| !incoming.is_complete()) {
        return match incoming.pause() {
            Ok(_point) => cut,
            Err(error) => refused(&error, &incoming),
        };
    }
    let folder = incoming.folder().to_owned();
    match incoming.finish() {
        Ok(received) => Written::Placed(received, hash),
        Err(IncomingError::DiskFull { missing }) => {
            Written::Full { missing, free: vernam_files::free_bytes(&folder).unwrap_or(0) }
        }
        Err(error) => Written::Disk(error.to_string()),
    }
}

/// What an error of the writer means for the transfer.
fn refused(error: &IncomingError, incoming: &Incoming) -> Written {
    match error {
        IncomingError::DiskFull { missing } => {
            let free = vernam_files::free_bytes(incoming.folder()).unwrap_or(0);
            Written::Full { missing: incoming.missing_room().unwrap_or(0).max(*missing), free }
        }
        IncomingError::Frame(error) => Written::Stream(error.to_string()),
        other => Written::Disk(other.to_string()),
    }
}
