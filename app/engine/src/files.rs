//! A file on its way: read, hashed, sealed; opened, checked, written aside, and renamed into place when it is whole.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use vernam_session::limits::{MAX_RECORD_PLAINTEXT, RECORD_HEADER_LEN, TAG_LEN};

use crate::event::FileDone;
use crate::limits::{FILE_BLOCK, KEY_TIMEOUT, TICK, TRANSFER_PATIENCE};
use crate::peer::Input;
use crate::records::{RecordReader, RecordWriter};

/// Pieces of a file between the disk's thread and the flow's task.
const PIECES: usize = 8;

/// Names that files may not have on Windows, whatever their ending.
const RESERVED: [&str; 22] = [
    "con", "prn", "aux", "nul", "com1", "com2", "com3", "com4", "com5", "com6", "com7", "com8", "com9", "lpt1", "lpt2",
    "lpt3", "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9",
];

/// A peer's name for a file, made safe to show and to use in a folder of ours: one component, no control or direction
/// characters, nothing reserved, never empty.
pub(crate) fn safe_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let steers = |c: char| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let forbidden = |c: char| c.is_control() || steers(c) || "<>:\"|?*".contains(c);
    let mut safe: String = last.chars().map(|c| if forbidden(c) { '_' } else { c }).collect();
    while safe.len() > 200 {
        safe.pop();
    }
    let safe = safe.trim_matches([' ', '.']).to_owned();
    let stem = safe.split('.').next().unwrap_or_default().to_lowercase();
    if safe.is_empty() {
        "file".to_owned()
    } else if RESERVED.contains(&stem.as_str()) {
        format!("_{safe}")
    } else {
        safe
    }
}

/// What is said of a transfer that stands still.
const STALLED: &str = "the other side stopped in the middle of the file";

/// Counts a transfer's bytes, and reports them a few times a second.
pub(crate) struct Progress {
    pub(crate) transfer: u32,
    pub(crate) sending: bool,
    pub(crate) size: u64,
    pub(crate) done: u64,
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) began: Instant,
    pub(crate) reported: Instant,
}

impl Progress {
    pub(crate) fn new(transfer: u32, sending: bool, size: u64, inputs: mpsc::Sender<Input>) -> Self {
        let began = Instant::now();
        Self { transfer, sending, size, done: 0, inputs, began, reported: began }
    }

    fn add(&mut self, len: usize) {
        self.done += len as u64;
        if self.reported.elapsed() >= TICK {
            self.reported = Instant::now();
            let Self { transfer, sending, size, done, .. } = *self;
            let _missed = self.inputs.try_send(Input::FileProgress { transfer, sending, done, size });
        }
    }
}

/// Sends the file at `path`; the flow is open and its stream header is written.
pub(crate) async fn send(
    path: PathBuf,
    mut writer: RecordWriter<vernam_key::File>,
    mut progress: Progress,
    epoch: Instant,
) -> Result<FileDone, String> {
    let size = progress.size;
    let (pieces, mut read) = mpsc::channel::<Vec<u8>>(PIECES);
    let reading = path.clone();
    let reader = tokio::task::spawn_blocking(move || read_pieces(&reading, size, &pieces));
    while let Some(record) = read.recv().await {
        let len = record.len() - RECORD_HEADER_LEN;
        let still = size.saturating_sub(progress.done + len as u64);
        let writing = writer.write_in_place(record, still == 0, still, FILE_BLOCK, epoch.elapsed());
        let written = timeout(TRANSFER_PATIENCE, writing).await.map_err(|_elapsed| STALLED)?;
        written.map_err(|error| error.to_string())?;
        progress.add(len);
    }
    let hash = reader.await.map_err(|error| error.to_string())??;
    writer.finish().await.map_err(|error| error.to_string())?;
    Ok(FileDone { path, hash, size, took: progress.began.elapsed() })
}

/// Reads `size` bytes in pieces of a record's length, each behind room for a record's header, and returns their hash.
/// An empty file is one empty piece. The last piece is only given if the file ends there.
fn read_pieces(path: &Path, size: u64, pieces: &mpsc::Sender<Vec<u8>>) -> Result<[u8; 32], String> {
    let failed = |error: std::io::Error| format!("{} could not be read: {error}", path.display());
    let mut file = File::open(path).map_err(failed)?;
    let mut hash = blake3::Hasher::new();
    let mut left = size;
    loop {
        let len = left.min(MAX_RECORD_PLAINTEXT as u64);
        let mut record = Vec::with_capacity(RECORD_HEADER_LEN + MAX_RECORD_PLAINTEXT + TAG_LEN);
        record.resize(RECORD_HEADER_LEN, 0);
        let read = (&mut file).take(len).read_to_end(&mut record).map_err(failed)?;
        if (read as u64) < len {
            return Err(format!("{} became shorter while it was being sent", path.display()));
        }
        left -= len;
        if left == 0 && file.read(&mut [0]).map_err(failed)? > 0 {
            return Err(format!("{} grew while it was being sent", path.display()));
        }
        hash.update(&record[RECORD_HEADER_LEN..]);
        if pieces.blocking_send(record).is_err() {
            return Err("the transfer ended".to_owned());
        }
        if left == 0 {
            return Ok(*hash.finalize().as_bytes());
        }
    }
}

/// Receives a file of `progress.size` bytes into `folder` as `name`. `expected` brings the sender's hash of the whole.
pub(crate) async fn receive(
    folder: PathBuf,
    name: String,
    mut reader: RecordReader<vernam_key::File>,
    mut progress: Progress,
    expected: oneshot::Receiver<[u8; 32]>,
) -> Result<FileDone, String> {
    let (pieces, written) = mpsc::channel::<Vec<u8>>(PIECES);
    let size = progress.size;
    let into = folder.clone();
    let writer = tokio::task::spawn_blocking(move || write_pieces(&into, size, written));
    let outcome = receive_pieces(&mut reader, &mut progress, &pieces).await;
    drop(pieces);
    let partial = writer.await.map_err(|error| error.to_string())?;
    outcome?;
    let (partial, hash) = partial.map_err(|error| format!("the file could not be written: {error}"))?;
    let theirs = timeout(KEY_TIMEOUT, expected).await;
    let theirs = theirs.ok().and_then(Result::ok).ok_or("the sender did not say what the whole file should be")?;
    if theirs != hash {
        return Err("the file is not the one that was sent (its BLAKE3 hash differs); nothing was kept".to_owned());
    }
    let path = tokio::task::spawn_blocking(move || put_in_place(partial, &folder, &name))
        .await
        .map_err(|error| error.to_string())?
        .map_err(|error| format!("the file could not be put in its place: {error}"))?;
    Ok(FileDone { path, hash, size, took: progress.began.elapsed() })
}

async fn receive_pieces(
    reader: &mut RecordReader<vernam_key::File>,
    progress: &mut Progress,
    pieces: &mpsc::Sender<Vec<u8>>,
) -> Result<(), String> {
    loop {
        let next = timeout(TRANSFER_PATIENCE, reader.next()).await.map_err(|_elapsed| STALLED)?;
        let Some(piece) = next.map_err(|error| error.to_string())? else { break };
        if progress.done + piece.len() as u64 > progress.size {
            return Err("more came than was offered".to_owned());
        }
        // A full disk closes the channel; the writer's own error says so.
        if pieces.send(piece.to_vec()).await.is_err() {
            return Ok(());
        }
        let len = piece.len();
        progress.add(len);
    }
    if !reader.is_complete() || progress.done != progress.size {
        return Err("the file was cut off before its end".to_owned());
    }
    Ok(())
}

/// Writes pieces to a file aside, flushed to the disk, and returns it with its hash. It vanishes unless it is put in
/// place.
fn write_pieces(
    folder: &Path,
    size: u64,
    mut pieces: mpsc::Receiver<Vec<u8>>,
) -> std::io::Result<(tempfile::NamedTempFile, [u8; 32])> {
    let mut partial = tempfile::Builder::new().prefix(".vernam-").suffix(".part").tempfile_in(folder)?;
    let mut hash = blake3::Hasher::new();
    let mut written = 0;
    while let Some(piece) = pieces.blocking_recv() {
        partial.write_all(&piece)?;
        hash.update(&piece);
        written += piece.len() as u64;
    }
    if written == size {
        partial.as_file().sync_all()?;
    }
    Ok((partial, *hash.finalize().as_bytes()))
}

/// Gives the file its name, or the first free one with a number; nothing is ever overwritten.
fn put_in_place(mut partial: tempfile::NamedTempFile, folder: &Path, name: &str) -> std::io::Result<PathBuf> {
    for number in 0..10_000_u32 {
        let path = folder.join(numbered(name, number));
        match partial.persist_noclobber(&path) {
            Ok(_file) => {
                File::open(folder)?.sync_all()?;
                return Ok(path);
            }
            Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => partial = error.file,
            Err(error) => return Err(error.error),
        }
    }
    Err(std::io::Error::new(std::io::ErrorKind::AlreadyExists, "ten thousand files of this name are there"))
}

/// `report.pdf`, `report (1).pdf`, ...
fn numbered(name: &str, number: u32) -> String {
    match (number, name.rsplit_once('.')) {
        (0, _) => name.to_owned(),
        (_, Some((stem, ending))) if !stem.is_empty() => format!("{stem} ({number}).{ending}"),
        _ => format!("{name} ({number})"),
    }
}

/// How much one-time pad a file costs, bytes.
pub fn pad_cost(size: u64) -> u64 {
    let records = size.div_ceil(MAX_RECORD_PLAINTEXT as u64).max(1);
    let blocks = size.div_ceil(FILE_BLOCK as u64).max(1) + 1;
    // Where a block ends inside a record, the record becomes two.
    size + 16 * (records + blocks) + 16 * blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_become_harmless() {
        for (hostile, safe) in [
            ("../../etc/passwd", "passwd"),
            ("C:\\Windows\\system.ini", "system.ini"),
            ("", "file"),
            ("...", "file"),
            ("a\u{202e}gpj.exe", "a_gpj.exe"),
            ("line\nbreak\u{0}", "line_break_"),
            ("CON.txt", "_CON.txt"),
            ("/", "file"),
            ("ok name.pdf", "ok name.pdf"),
        ] {
            assert_eq!(safe_name(hostile), safe, "{hostile:?}");
        }
        assert!(safe_name(&"é".repeat(5_000)).len() <= 200);
    }

    #[test]
    fn a_taken_name_gets_a_number() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.txt"), "old").unwrap();
        let partial = tempfile::NamedTempFile::new_in(folder.path()).unwrap();
        let path = put_in_place(partial, folder.path(), "a.txt").unwrap();
        assert_eq!(path, folder.path().join("a (1).txt"));
        assert_eq!(std::fs::read(folder.path().join("a.txt")).unwrap(), b"old");
    }
}
