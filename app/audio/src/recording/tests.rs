use std::fs;
use std::io::{self, Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};

use super::format::{self, Ending, Key, SALT, TAG};
use super::recorder::Disk;
use super::*;
use crate::Error;
use crate::error::RecordingError;

const PASSPHRASE: &str = "correct horse battery staple";
/// Small pieces, so that every byte of a file can be tried: 16 samples of both voices.
const PIECE: usize = 64;

fn key() -> Key {
    Key::from_bytes(&[7; 32])
}

/// A file in memory, with room for so many bytes, slow if there is something to wait for.
struct Memory {
    bytes: Arc<Mutex<Vec<u8>>>,
    room: usize,
    gate: Option<Receiver<()>>,
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut file = self.bytes.lock().unwrap();
        let len = bytes.len().min(self.room - file.len());
        if len == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.extend_from_slice(&bytes[..len]);
        drop(file);
        if let Some(gate) = self.gate.take_if(|_| len > format::HEAD) {
            // Opens when the other end is dropped.
            let _ = gate.recv();
        }
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Disk for Memory {
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

type Bytes = Arc<Mutex<Vec<u8>>>;

fn recorder(room: usize, gate: Option<Receiver<()>>) -> (Recorder, Bytes) {
    let bytes = Bytes::default();
    let memory = Memory { bytes: Arc::clone(&bytes), room, gate };
    (Recorder::start(memory, key(), &[9; SALT], PIECE).unwrap(), bytes)
}

/// What a file in memory holds, and how it ends.
fn read(bytes: &[u8]) -> Result<(Vec<i16>, Ending), RecordingError> {
    let mut file = Cursor::new(bytes);
    let key = format::read_head(&mut file, |_| Ok(key()))?;
    let mut sound = Vec::new();
    let ending = format::read_pieces(&mut file, &key, PIECE, |piece| {
        sound.extend(piece.as_chunks().0.iter().map(|sample| i16::from_le_bytes(*sample)));
        Ok::<_, RecordingError>(())
    })?;
    Ok((sound, ending))
}

/// Both voices by turns, `len` samples of each, different everywhere.
fn voices(len: i16) -> (Vec<i16>, Vec<i16>, Vec<i16>) {
    let said: Vec<i16> = (1..=len).collect();
    let heard: Vec<i16> = (1..=len).map(|sample| -sample).collect();
    let both = said.iter().zip(&heard).flat_map(|(said, heard)| [*said, *heard]).collect();
    (said, heard, both)
}

/// A small recording, whole.
fn small(len: i16) -> (Vec<u8>, Vec<i16>) {
    let (said, heard, both) = voices(len);
    let (mut recorder, bytes) = recorder(usize::MAX, None);
    for (said, heard) in said.chunks(10).zip(heard.chunks(10)) {
        recorder.write(said, heard);
    }
    recorder.finish().unwrap();
    let bytes = bytes.lock().unwrap().clone();
    (bytes, both)
}

const WHOLE: Ending = Ending { cut_short: false, damaged: 0 };

#[test]
fn what_is_recorded_can_be_read_at_every_length() {
    for len in 0..=70 {
        let (bytes, both) = small(len);
        assert_eq!(read(&bytes).unwrap(), (both, WHOLE), "{len} samples");
        let pieces = usize::try_from(len).unwrap() * 4 / PIECE;
        let last = usize::try_from(len).unwrap() * 4 % PIECE;
        assert_eq!(bytes.len(), format::HEAD + pieces * (PIECE + TAG) + last + TAG, "as documented");
    }
}

#[test]
fn a_recording_cut_anywhere_gives_its_whole_pieces_and_says_so() {
    let (bytes, both) = small(70);
    for len in 0..bytes.len() {
        let Ok((sound, ending)) = read(&bytes[..len]) else {
            assert!(len < format::HEAD, "cut at {len}");
            continue;
        };
        assert!(ending.cut_short, "cut at {len}");
        assert_eq!(ending.damaged, 0);
        let whole = (len - format::HEAD) / (PIECE + TAG) * (PIECE / 2);
        assert_eq!(sound, both[..whole], "cut at {len}");
    }
}

#[test]
fn a_changed_bit_anywhere_is_noticed() {
    let (bytes, both) = small(70);
    for bit in 0..8 * bytes.len() {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let place = bit / 8;
        match read(&changed) {
            Err(RecordingError::NotARecording) => assert!(place < 7, "bit {bit}"),
            Err(RecordingError::Version { .. }) => assert_eq!(place, 7, "bit {bit}"),
            Err(RecordingError::WrongPassphrase) => assert!((8..format::HEAD).contains(&place), "bit {bit}"),
            Err(other) => panic!("bit {bit}: {other}"),
            Ok((sound, ending)) => {
                assert_ne!(ending, WHOLE, "bit {bit}");
                let piece = (place - format::HEAD) / (PIECE + TAG);
                let silent = piece * (PIECE / 2)..both.len().min((piece + 1) * (PIECE / 2));
                for (i, (sample, was)) in sound.iter().zip(&both).enumerate() {
                    assert_eq!(
                        *sample,
                        if silent.contains(&i) { 0 } else { *was },
                        "bit {bit}: what else is there holds"
                    );
                }
            }
        }
    }
}

#[test]
fn pieces_cannot_change_places_nor_be_left_out() {
    let (bytes, both) = small(70);
    let (head, pieces) = bytes.split_at(format::HEAD);
    let pieces: Vec<&[u8]> = pieces.chunks(PIECE + TAG).collect();
    let file = |order: &[usize]| {
        let parts: Vec<&[u8]> = std::iter::once(head).chain(order.iter().map(|i| pieces[*i])).collect();
        read(&parts.concat()).unwrap()
    };
    assert_eq!(file(&[0, 1, 2, 3, 4]), (both, WHOLE));
    assert_eq!(file(&[1, 0, 2, 3, 4]).1, Ending { cut_short: false, damaged: 2 });
    assert_eq!(file(&[0, 2, 3, 4]).1, Ending { cut_short: true, damaged: 2 });
    assert_eq!(file(&[0, 0, 1, 2, 3, 4]).1, Ending { cut_short: true, damaged: 4 - 1 + 1 });
    // The last piece in another place is no last piece.
    assert_eq!(file(&[0, 1, 4]).1, Ending { cut_short: true, damaged: 0 });
    // Nor is a piece of another recording under the same key: every recording has its own.
    let other = Key::from_bytes(&[8; 32]);
    assert!(matches!(
        format::read_head(&mut Cursor::new(&bytes), |_| Ok(other)).map(|_| ()),
        Err(RecordingError::WrongPassphrase)
    ));
}

#[test]
fn a_full_disk_is_told_and_what_fitted_is_there() {
    let (_, _, both) = voices(400);
    for room in [format::HEAD, format::HEAD + 1, 300, 600, 1_000] {
        let (said, heard, _) = voices(400);
        let (mut recorder, bytes) = recorder(room, None);
        for (said, heard) in said.chunks(10).zip(heard.chunks(10)) {
            recorder.write(said, heard);
        }
        let error = recorder.finish().unwrap_err();
        assert!(matches!(error, Error::Recording(RecordingError::Write { .. })), "{error}");
        let (sound, ending) = read(&bytes.lock().unwrap()).unwrap();
        assert!(ending.cut_short);
        assert_eq!(sound, both[..(room - format::HEAD) / (PIECE + TAG) * (PIECE / 2)]);
    }
    // And not even a head.
    let memory = Memory { bytes: Bytes::default(), room: 12, gate: None };
    assert!(matches!(Recorder::start(memory, key(), &[9; SALT], PIECE), Err(RecordingError::Write { .. })));
}

#[test]
fn a_full_disk_is_seen_during_the_call() {
    let (mut recorder, _) = recorder(200, None);
    let frame = [5; 480];
    while !recorder.has_stopped() {
        recorder.write(&frame, &frame);
    }
    let lost = recorder.lost_frames();
    recorder.write(&frame, &frame);
    assert_eq!(recorder.lost_frames(), lost + 1);
    recorder.finish().unwrap_err();
}

#[test]
fn a_disk_that_stands_still_holds_nobody_up_and_time_stays_right() {
    const FRAMES: i16 = 2_000;
    let (gate, wait) = sync_channel(1);
    let (mut recorder, bytes) = recorder(usize::MAX, Some(wait));
    for number in 1..=FRAMES {
        recorder.write(&[number; 10], &[-number; 10]);
    }
    let lost = recorder.lost_frames();
    assert!(lost >= u64::try_from(FRAMES).unwrap() - MAX_QUEUE as u64 - 2, "{lost}");
    drop(gate);
    recorder.finish().unwrap();
    let (sound, ending) = read(&bytes.lock().unwrap()).unwrap();
    assert_eq!(ending, WHOLE);
    assert_eq!(sound.len(), 20 * usize::try_from(FRAMES).unwrap(), "as long as the call");
    let mut silent = 0;
    for (number, frame) in (1..).zip(sound.chunks(20)) {
        if frame == [0; 20] {
            silent += 1;
        } else {
            assert_eq!(frame, [number, -number].repeat(10), "in its place");
        }
    }
    assert_eq!(silent, lost);
}

#[test]
fn voices_of_any_length_are_taken() {
    let (mut recorder, bytes) = recorder(usize::MAX, None);
    recorder.write(&[1, 2, 3], &[4]);
    recorder.write(&[], &[]);
    recorder.write(&[], &[5]);
    recorder.write(&vec![6; 10_000], &vec![7; 10_000]);
    recorder.finish().unwrap();
    let (sound, _) = read(&bytes.lock().unwrap()).unwrap();
    assert_eq!(sound[..8], [1, 4, 2, 0, 3, 0, 0, 5]);
    assert_eq!(sound[8..], [6, 7].repeat(10_000));
}

#[test]
fn a_drop_ends_the_file_too() {
    let (mut recorder, bytes) = recorder(usize::MAX, None);
    recorder.write(&[1; 20], &[2; 20]);
    drop(recorder);
    // The thread holds the other handle to the bytes until it has written them.
    while Arc::strong_count(&bytes) > 1 {
        std::thread::yield_now();
    }
    assert_eq!(read(&bytes.lock().unwrap()).unwrap(), ([1, 2].repeat(20), WHOLE));
}

fn wav(path: &Path) -> Vec<i16> {
    let mut wav = hound::WavReader::open(path).unwrap();
    assert_eq!((wav.spec().channels, wav.spec().sample_rate, wav.spec().bits_per_sample), (2, 48_000, 16));
    wav.samples::<i16>().map(Result::unwrap).collect()
}

fn names(folder: &tempfile::TempDir) -> (PathBuf, PathBuf) {
    (folder.path().join("call.vernam"), folder.path().join("call.wav"))
}

#[test]
fn a_call_is_written_and_exported() {
    let folder = tempfile::tempdir().unwrap();
    let (path, out) = names(&folder);
    let mut recorder = Recorder::create(&path, PASSPHRASE).unwrap();
    let (said, heard, both) = voices(30_000);
    for (said, heard) in said.chunks(120).zip(heard.chunks(120)) {
        recorder.write(said, heard);
    }
    assert_eq!(recorder.lost_frames(), 0);
    recorder.finish().unwrap();
    let exported = export(&path, PASSPHRASE, &out).unwrap();
    assert!(exported.is_whole());
    assert_eq!(exported.duration, std::time::Duration::from_millis(625));
    assert!(wav(&out) == both);
    let bytes = fs::read(&path).unwrap();
    assert_eq!(bytes.len(), 40 + (96_000 + 16) + 24_000 + 16);
    let plain: Vec<u8> = both[..8].iter().flat_map(|sample| sample.to_le_bytes()).collect();
    assert!(!bytes.windows(plain.len()).any(|window| window == plain), "encrypted");
    #[cfg(unix)]
    for path in [&path, &out] {
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }

    // Cut short on the disk, it still gives what is whole.
    let cut = folder.path().join("cut.vernam");
    fs::write(&cut, &bytes[..bytes.len() - 1]).unwrap();
    let out = folder.path().join("cut.wav");
    let exported = export(&cut, PASSPHRASE, &out).unwrap();
    assert!(exported.cut_short && !exported.is_whole());
    assert!(wav(&out) == both[..48_000]);
}

#[test]
fn nothing_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let (path, out) = names(&folder);
    Recorder::create(&path, PASSPHRASE).unwrap().finish().unwrap();
    let before = fs::read(&path).unwrap();
    let error = Recorder::create(&path, PASSPHRASE).err().unwrap();
    assert!(matches!(error, Error::Recording(RecordingError::Exists { .. })), "{error}");
    fs::write(&out, "precious").unwrap();
    let error = export(&path, PASSPHRASE, &out).unwrap_err();
    assert!(matches!(error, Error::Recording(RecordingError::Exists { .. })), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read(&out).unwrap(), b"precious");
}

#[test]
fn a_wrong_passphrase_opens_nothing_and_no_text_holds_one() {
    let folder = tempfile::tempdir().unwrap();
    let (path, out) = names(&folder);
    Recorder::create(&path, PASSPHRASE).unwrap().finish().unwrap();
    let wrong = "incorrect horse";
    let error = export(&path, wrong, &out).unwrap_err();
    assert!(matches!(error, Error::Recording(RecordingError::WrongPassphrase)), "{error}");
    assert!(!out.exists());
    let short = "seven77";
    let mut texts = vec![format!("{error} {error:?}")];
    let missing = folder.path().join("missing/call.vernam");
    let long = "long".repeat(257);
    for error in [
        Recorder::create(&folder.path().join("new"), short).err().unwrap(),
        Recorder::create(&folder.path().join("new"), &long).err().unwrap(),
        Recorder::create(&missing, PASSPHRASE).err().unwrap(),
        export(&missing, PASSPHRASE, &out).unwrap_err(),
        export(&path, short, &out).unwrap_err(),
    ] {
        texts.push(format!("{error} {error:?}"));
    }
    for text in texts {
        assert!([PASSPHRASE, wrong, short, &long].iter().all(|word| !text.contains(word)), "{text}");
    }
    assert!(!folder.path().join("new").exists());
    fs::write(&path, "RIFF, or anything else that is no recording at all").unwrap();
    let error = export(&path, PASSPHRASE, &out).unwrap_err();
    assert!(matches!(error, Error::Recording(RecordingError::NotARecording)), "{error}");
}
