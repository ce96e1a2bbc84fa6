//! A recording on a disk that is full: a real one in memory, of a namespace of its own, and the kernel's limit on files.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use vernam_audio::recording::{PIECE_BYTES, Recorder, export};
use vernam_audio::{Error, RecordingError};

const PASSPHRASE: &str = "correct horse battery staple";
/// Where the inner test records, and where it has room to export to.
const FOLDERS: [&str; 2] = ["VERNAM_TEST_FULL", "VERNAM_TEST_ROOM"];
/// Bytes of a piece on the disk: with its tag.
const SEALED: u64 = PIECE_BYTES as u64 + 16;
const HEAD: u64 = 40;
/// Samples of each voice in a frame of 20 ms.
const FRAME: i16 = 960;

/// Runs the inner test by a shell script, in which `$FULL` is where it will record and `"$@"` is how it is run.
fn run(shell: &[&str], script: &str) {
    let (full, room) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).args(["-c", script, "sh"]).arg(program);
    command.args(["--exact", "inside", "--ignored", "--nocapture"]);
    let done = command.env("FULL", full.path()).env(FOLDERS[0], full.path()).env(FOLDERS[1], room.path()).status();
    assert!(done.unwrap().success(), "see above");
}

#[test]
fn a_full_disk_ends_a_recording_and_what_is_on_it_can_be_read() {
    let mut probe = Command::new("unshare");
    let probe = probe.args(["-rm", "mount", "-t", "tmpfs", "none", "/mnt"]).stderr(Stdio::null()).status();
    if probe.is_ok_and(|status| status.success()) {
        run(&["unshare", "-rm", "sh"], "mount -t tmpfs -o size=400k none \"$FULL\" && exec \"$@\"");
    } else {
        println!("skipped: this user may not make a disk in a namespace (unshare -rm mount)");
    }
}

#[test]
fn a_file_that_may_not_grow_ends_a_recording_too() {
    // Blocks of 512 bytes. Without the trap the signal would end the program.
    run(&["sh"], "trap '' XFSZ; ulimit -f 800; exec \"$@\"");
}

/// Frame `number` of what is said: no two frames of the recording are alike.
fn frame(number: i16) -> (Vec<i16>, Vec<i16>) {
    let said: Vec<i16> = (0..FRAME).map(|sample| number.wrapping_mul(31).wrapping_add(sample)).collect();
    let heard = said.iter().map(|sample| sample.wrapping_neg()).collect();
    (said, heard)
}

/// Both voices by turns, as they are exported.
fn both(samples: usize) -> Vec<i16> {
    let frames = (0..).map(frame);
    let pairs = frames.flat_map(|(said, heard)| said.into_iter().zip(heard));
    pairs.take(samples).flat_map(|(said, heard)| [said, heard]).collect()
}

fn folder(of: usize) -> PathBuf {
    std::env::var_os(FOLDERS[of]).expect("the tests above say where").into()
}

fn samples(path: &Path) -> Vec<i16> {
    hound::WavReader::open(path).unwrap().samples().map(Result::unwrap).collect()
}

#[test]
#[ignore = "runs where the tests above make a full disk"]
fn inside() {
    let path = folder(0).join("call.vrec");
    let mut recorder = Recorder::create(&path, PASSPHRASE).unwrap();
    let mut frames = (0..2_000).map(frame);
    while !recorder.has_stopped() {
        let (said, heard) = frames.next().expect("it stops long before");
        recorder.write(&said, &heard);
        std::thread::sleep(Duration::from_millis(1));
    }
    let error = recorder.finish().unwrap_err();
    println!("{error}");
    let Error::Recording(RecordingError::Write { source }) = &error else { panic!("{error:?}") };
    assert!(source.raw_os_error().is_some(), "the system's own reason: {source:?}");

    let pieces = (fs::metadata(&path).unwrap().len() - HEAD) / SEALED;
    assert!(pieces >= 2, "{pieces} pieces");
    let wav = folder(1).join("call.wav");
    let exported = export(&path, PASSPHRASE, &wav).unwrap();
    assert_eq!((exported.cut_short, exported.damaged), (true, 0), "{exported:?}");
    assert_eq!(exported.duration, Duration::from_millis(500) * u32::try_from(pieces).unwrap());
    assert!(samples(&wav) == both(usize::try_from(pieces).unwrap() * PIECE_BYTES / 4), "what was said");

    // Where there is no room beside it to export to, that is said, and nothing is left behind.
    if fs::write(folder(0).join("more"), vec![0; PIECE_BYTES]).is_err() {
        let wav = folder(0).join("call.wav");
        let error = export(&path, PASSPHRASE, &wav).unwrap_err();
        println!("{error}");
        assert!(!wav.exists(), "{error}");
    }
}
