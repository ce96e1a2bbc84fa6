//! Writes a recording: a queue that never waits, and a thread that does.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use zeroize::Zeroizing;

use super::format::{self, Key, Sealer, TAG};
use super::{MAX_QUEUE, MAX_RECORDING_HOURS, PIECE_BYTES};
use crate::error::RecordingError;
use crate::{FrameLength, Result};

/// Pieces from one flush to the disk to the next: 10 s, what a power failure may take.
const PIECES_A_SYNC: u32 = 20;
/// Bytes of one sample of both voices.
const BOTH: usize = 4;

/// Writes a recording. A thread of its own encrypts and writes; what is not finished can be read up to its last whole
/// piece.
///
/// A drop ends the file too, but neither waits for it nor tells what went wrong.
pub struct Recorder {
    queue: SyncSender<Frame>,
    thread: JoinHandle<std::result::Result<(), RecordingError>>,
    lost: u64,
    /// Samples that the queue had no room for; they become silence before the next frame that finds room.
    gap: u64,
}

/// One frame on its way to the thread.
struct Frame {
    /// Samples of silence before it.
    gap: u64,
    /// Said and heard by turns.
    sound: Zeroizing<Vec<i16>>,
}

impl Recorder {
    /// Creates the file (never overwrites), readable only with `passphrase` ([`MIN_PASSPHRASE`](super::MIN_PASSPHRASE)
    /// to [`MAX_PASSPHRASE`](super::MAX_PASSPHRASE) bytes).
    ///
    /// Stretching the passphrase takes some tenths of a second and 64 MiB: not to be called where sound must flow.
    pub fn create(path: &Path, passphrase: &str) -> Result<Self> {
        let salt = format::random_salt()?;
        let key = Key::derive(passphrase, &salt)?;
        let file = create_private(path)?;
        let started = Self::start(file, key, &salt, PIECE_BYTES);
        if started.is_err() {
            // Ours, and empty or nearly so.
            let _ = fs::remove_file(path);
        }
        sync_folder(path);
        Ok(started?)
    }

    /// Writes the head, and starts the thread.
    pub(super) fn start(
        mut disk: impl Disk,
        key: Key,
        salt: &[u8; format::SALT],
        piece: usize,
    ) -> std::result::Result<Self, RecordingError> {
        disk.write_all(&format::head(&key, salt)).and_then(|()| disk.sync()).map_err(RecordingError::writing)?;
        let (queue, frames) = sync_channel(MAX_QUEUE);
        let sealer = Sealer::new(key, piece);
        let thread = thread::Builder::new()
            .name("recording".to_owned())
            .spawn(move || write_pieces(disk, sealer, &frames))
            .map_err(RecordingError::writing)?;
        Ok(Self { queue, thread, lost: 0, gap: 0 })
    }

    /// Adds one frame of each voice, both of one length; a shorter one is filled up with silence. Never waits: what
    /// the disk cannot follow is counted as lost, and silence stands in its place.
    pub fn write(&mut self, said: &[i16], heard: &[i16]) {
        const MOST: usize = FrameLength::Ms60.samples();
        let len = said.len().max(heard.len());
        for begin in (0..len).step_by(MOST) {
            let end = len.min(begin + MOST);
            let at = |voice: &[i16], i| voice.get(i).copied().unwrap_or(0);
            let sound = (begin..end).flat_map(|i| [at(said, i), at(heard, i)]).collect();
            let frame = Frame { gap: self.gap, sound: Zeroizing::new(sound) };
            if self.queue.try_send(frame).is_ok() {
                self.gap = 0;
            } else {
                self.lost += 1;
                self.gap += (end - begin) as u64;
            }
        }
    }

    /// Frames that were not written because the disk could not follow, or failed.
    pub fn lost_frames(&self) -> u64 {
        self.lost
    }

    /// Whether nothing more is written: the disk is full or failed, or the recording has its greatest length.
    /// [`finish`](Self::finish) says which.
    pub fn has_stopped(&self) -> bool {
        self.thread.is_finished()
    }

    /// Ends the file and makes it durable. Waits for the disk.
    pub fn finish(self) -> Result<()> {
        let Self { queue, thread, gap, .. } = self;
        // A thread that stopped takes nothing; its reason follows.
        let _ = queue.send(Frame { gap, sound: Zeroizing::new(Vec::new()) });
        drop(queue);
        Ok(thread.join().map_err(|_panic| RecordingError::Stopped)??)
    }
}

/// Where a recording is written to.
pub(super) trait Disk: Write + Send + 'static {
    /// Waits until what was written will survive a loss of power.
    fn sync(&mut self) -> io::Result<()>;
}

impl Disk for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

fn write_pieces(
    mut disk: impl Disk,
    mut sealer: Sealer,
    frames: &Receiver<Frame>,
) -> std::result::Result<(), RecordingError> {
    let mut piece = Zeroizing::new(Vec::with_capacity(sealer.piece + TAG));
    let mut since_sync = 0;
    let mut full = false;
    'call: for frame in frames {
        let silence = (0..frame.gap).map(|_| [0, 0]);
        for [said, heard] in silence.chain(frame.sound.as_chunks().0.iter().copied()) {
            piece.extend(said.to_le_bytes());
            piece.extend(heard.to_le_bytes());
            if piece.len() + BOTH >= sealer.piece && sealer.is_full() {
                full = true;
                break 'call;
            }
            if piece.len() >= sealer.piece {
                sealer.seal(&mut piece);
                disk.write_all(&piece).map_err(RecordingError::writing)?;
                piece.clear();
                since_sync += 1;
            }
        }
        if since_sync >= PIECES_A_SYNC {
            disk.sync().map_err(RecordingError::writing)?;
            since_sync = 0;
        }
    }
    sealer.seal_last(&mut piece);
    disk.write_all(&piece).and_then(|()| disk.sync()).map_err(RecordingError::writing)?;
    if full { Err(RecordingError::Full { max_hours: MAX_RECORDING_HOURS }) } else { Ok(()) }
}

/// Creates a file that only its owner can read. Never overwrites.
pub(super) fn create_private(path: &Path) -> std::result::Result<File, RecordingError> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|source| {
        let path = path.to_owned();
        if source.kind() == io::ErrorKind::AlreadyExists {
            RecordingError::Exists { path }
        } else {
            RecordingError::Create { path, source }
        }
    })
}

/// Makes the file's name durable, where the system knows such a thing. Not being able to is no reason not to record.
fn sync_folder(path: &Path) {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if cfg!(unix)
        && let Ok(folder) = File::open(folder)
        && let Err(error) = folder.sync_all()
    {
        tracing::debug!(%error, "the folder of a recording could not be synced");
    }
}
