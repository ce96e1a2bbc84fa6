//! Power cuts, failing disks and a moving clock for a program that runs as a process of its own.
//!
//! `tests/shim/faults.c` is loaded into the program (`LD_PRELOAD`) and writes down what it wrote and did not sync;
//! [`Faults::cut_power`] takes that away again, as a power cut may: all of it, or any part. It works on programs that use
//! the C library dynamically, and watches the files below one folder.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, ensure};
use rand::{Rng, RngExt as _};

/// The offsets of the fields of `struct control`.
const CLOCK_OFFSET: u64 = 0;
const SYNCS_UNTIL_FAIL: u64 = 8;
const BYTES_UNTIL_FULL: u64 = 16;
const SYNCS: u64 = 24;

const NEVER: i64 = i64::MAX;

/// The faults of the machine that one or more programs believe to run on.
pub struct Faults {
    library: PathBuf,
    root: PathBuf,
    beside: PathBuf,
    control: File,
    /// Every program writes a log of its own.
    programs: AtomicU32,
}

/// What a power cut does with what was written and not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// All of it is gone.
    Everything,
    /// Each write and each name is kept or lost by chance.
    ByChance,
}

impl Faults {
    /// Watches the files below `root`; its own files go to `beside`, on the same file system. Compiles the shim.
    pub fn new(root: &Path, beside: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(root)?;
        fs::create_dir_all(beside)?;
        let library = beside.join("faults.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("shim/faults.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .arg(&library)
            .arg(&source)
            .arg("-lpthread")
            .status()
            .context("the C compiler cc cannot be run")?;
        ensure!(compiled.success(), "the shim does not compile");
        let path = beside.join("control");
        fs::write(&path, [0; 64])?;
        let control = OpenOptions::new().read(true).write(true).open(&path)?;
        let root = root.canonicalize()?;
        let faults = Self { library, root, beside: beside.canonicalize()?, control, programs: AtomicU32::new(0) };
        faults.heal()?;
        Ok(faults)
    }

    /// Makes `command` run on this machine.
    pub fn infect(&self, command: &mut Command) {
        let number = self.programs.fetch_add(1, Ordering::Relaxed);
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAULTS_ROOT", &self.root)
            .env("FAULTS_LOG", self.beside.join(format!("log-{number:06}")))
            .env("FAULTS_CONTROL", self.beside.join("control"));
    }

    /// Moves the wall clock of all programs to `seconds` beside the true time.
    pub fn set_clock(&self, seconds: i64) -> anyhow::Result<()> {
        self.set(CLOCK_OFFSET, seconds)
    }

    /// After `syncs` more, every sync fails.
    pub fn fail_syncs_after(&self, syncs: i64) -> anyhow::Result<()> {
        self.set(SYNCS_UNTIL_FAIL, syncs)
    }

    /// After files grew by `bytes` more, the disk is full.
    pub fn fill_disk_after(&self, bytes: i64) -> anyhow::Result<()> {
        self.set(BYTES_UNTIL_FULL, bytes)
    }

    /// The disk works and has room again. The clock stays.
    pub fn heal(&self) -> anyhow::Result<()> {
        self.set(SYNCS_UNTIL_FAIL, NEVER)?;
        self.set(BYTES_UNTIL_FULL, NEVER)
    }

    /// How many syncs there were.
    pub fn syncs(&self) -> anyhow::Result<i64> {
        let mut bytes = [0; 8];
        self.control.read_exact_at(&mut bytes, SYNCS)?;
        Ok(i64::from_ne_bytes(bytes))
    }

    fn set(&self, field: u64, value: i64) -> anyhow::Result<()> {
        Ok(self.control.write_all_at(&value.to_ne_bytes(), field)?)
    }

    /// Cuts the power: every program on this machine must have been killed. Returns how many writes and names were
    /// taken back.
    pub fn cut_power(&self, loss: Loss, rng: &mut impl Rng) -> anyhow::Result<usize> {
        // One program after the other: what an earlier one left unsynced, a later one may have synced.
        let mut written = Vec::new();
        for number in 0..self.programs.load(Ordering::Relaxed) {
            let log = self.beside.join(format!("log-{number:06}"));
            let Ok(records) = fs::read(&log) else { continue };
            written.push(records);
            fs::remove_file(&log)?;
        }
        let mut all = Vec::new();
        for program in &written {
            all.extend(records(program)?);
        }
        let undone = undo(&all, &self.root, &self.beside, loss, rng)?;
        self.forget_backups()?;
        Ok(undone)
    }

    /// The programs ended without a power cut: what they wrote stays.
    pub fn forget(&self) -> anyhow::Result<()> {
        for number in 0..self.programs.load(Ordering::Relaxed) {
            let _gone_already = fs::remove_file(self.beside.join(format!("log-{number:06}")));
        }
        self.forget_backups()
    }

    fn forget_backups(&self) -> anyhow::Result<()> {
        for entry in fs::read_dir(&self.beside)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("log-")) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

/// One record of the log.
struct Record<'a> {
    kind: u8,
    inode: u64,
    offset: u64,
    old_size: u64,
    a: &'a [u8],
    b: &'a [u8],
}

/// The records of a log. One that the kill cut off is left out: what it tells of did not happen, or is kept.
fn records(mut log: &[u8]) -> anyhow::Result<Vec<Record<'_>>> {
    let mut records = Vec::new();
    while let Some((len, rest)) = log.split_first_chunk() {
        let Some((mut record, rest)) = rest.split_at_checked(u32::from_ne_bytes(*len) as usize) else { break };
        log = rest;
        let kind = number(&mut record).map(u8::from_ne_bytes)?;
        let [inode, offset, old_size] =
            [number(&mut record)?, number(&mut record)?, number(&mut record)?].map(u64::from_ne_bytes);
        let a = piece(&mut record)?;
        let b = piece(&mut record)?;
        records.push(Record { kind, inode, offset, old_size, a, b });
    }
    Ok(records)
}

fn number<const N: usize>(from: &mut &[u8]) -> anyhow::Result<[u8; N]> {
    let (number, rest) = from.split_first_chunk().context("a record of the shim is too short")?;
    *from = rest;
    Ok(*number)
}

fn piece<'a>(from: &mut &'a [u8]) -> anyhow::Result<&'a [u8]> {
    let len = number(from).map(u32::from_ne_bytes)? as usize;
    let (piece, rest) = from.split_at_checked(len).context("a record of the shim is too short")?;
    *from = rest;
    Ok(piece)
}

/// Undoes what was not synced: the content of files first, then their names.
fn undo(records: &[Record<'_>], root: &Path, beside: &Path, loss: Loss, rng: &mut impl Rng) -> anyhow::Result<usize> {
    let mut goes = || loss == Loss::Everything || rng.random_bool(0.5);
    let mut undone = 0;

    let mut unsynced: BTreeMap<u64, Vec<&Record<'_>>> = BTreeMap::new();
    let mut names: Vec<&Record<'_>> = Vec::new();
    for record in records {
        match record.kind {
            b'W' | b'T' => unsynced.entry(record.inode).or_default().push(record),
            b'S' => drop(unsynced.remove(&record.inode)),
            b'D' => names.retain(|name| !is_in(name, record.a)),
            _ => names.push(record),
        }
    }
    let files = by_inode(&[root, beside])?;
    for (inode, changes) in unsynced {
        let Some(path) = files.get(&inode) else { continue }; // removed, and nobody can miss it
        let file = OpenOptions::new().write(true).open(path)?;
        for change in changes.iter().rev() {
            file.set_len(change.old_size)?; // longer: zeros, and the old tail or bytes below
            file.write_all_at(change.a, change.offset)?;
        }
        for change in changes {
            if goes() {
                undone += 1;
            } else if change.kind == b'W' {
                file.write_all_at(change.b, change.offset)?;
            } else {
                file.set_len(change.offset)?;
            }
        }
    }

    // A name's change is lost only with all later ones of the same name, or they would contradict each other.
    let mut keep = HashSet::new();
    for name in names.iter().rev() {
        let paths = [path(name.a), path(name.b)];
        if paths.iter().any(|path| keep.contains(path)) || !goes() {
            keep.extend(paths);
            continue;
        }
        undone += 1;
        let [a, b] = paths;
        match name.kind {
            b'C' => fs::remove_file(a).or_else(gone_is_fine)?,
            b'R' | b'U' => fs::rename(b, a).or_else(gone_is_fine)?,
            other => anyhow::bail!("the shim wrote a record of kind {other}"),
        }
    }
    Ok(undone)
}

fn gone_is_fine(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn path(bytes: &[u8]) -> PathBuf {
    OsString::from_vec(bytes.to_vec()).into()
}

/// Whether the name that was changed stands in `folder`.
fn is_in(record: &Record<'_>, folder: &[u8]) -> bool {
    let name = if record.kind == b'R' { record.b } else { record.a };
    path(name).parent() == Some(&path(folder))
}

fn by_inode(folders: &[&Path]) -> anyhow::Result<HashMap<u64, PathBuf>> {
    let mut files = HashMap::new();
    let mut left: Vec<PathBuf> = folders.iter().map(|folder| folder.to_path_buf()).collect();
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                left.push(entry.path());
            } else {
                files.insert(metadata.ino(), entry.path());
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn run(faults: &Faults, script: &str) -> bool {
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).current_dir(&faults.root);
        faults.infect(&mut command);
        command.status().unwrap().success()
    }

    fn machine(folder: &Path) -> Faults {
        Faults::new(&folder.join("disk"), &folder.join("beside")).unwrap()
    }

    #[test]
    fn what_was_synced_stays_and_the_rest_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let faults = machine(folder.path());
        let disk = faults.root.clone();
        let script = "printf old > $PWD/a; printf keep > $PWD/b; sync $PWD/a $PWD/b $PWD; \
            printf new-and-longer > $PWD/a; printf x >> $PWD/b; mv $PWD/b $PWD/c; printf y > $PWD/d; rm $PWD/a";
        assert!(run(&faults, script));
        assert_eq!(faults.syncs().unwrap(), 3);
        assert!(!disk.join("a").exists() && disk.join("c").exists());
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        assert!(faults.cut_power(Loss::Everything, &mut rng).unwrap() >= 5);
        assert_eq!(fs::read(disk.join("a")).unwrap(), b"old");
        assert_eq!(fs::read(disk.join("b")).unwrap(), b"keep");
        assert!(!disk.join("c").exists() && !disk.join("d").exists());
        assert_eq!(faults.cut_power(Loss::Everything, &mut rng).unwrap(), 0, "a log is used once");
    }

    #[test]
    fn disks_fail_and_fill_up_and_clocks_move() {
        let folder = tempfile::tempdir().unwrap();
        let faults = machine(folder.path());
        assert!(run(&faults, "printf 123 > $PWD/a && sync $PWD/a"));
        faults.fail_syncs_after(1).unwrap();
        assert!(run(&faults, "sync $PWD/a"));
        assert!(!run(&faults, "sync $PWD/a"));
        faults.fill_disk_after(2).unwrap();
        assert!(!run(&faults, "printf 123456 > $PWD/b"));
        faults.heal().unwrap();
        assert!(run(&faults, "printf 123456 > $PWD/b && sync $PWD/b"));
        faults.set_clock(-86_400 * 365).unwrap();
        assert!(run(&faults, "test $(date +%s) -lt $(($(stat -c %Y $PWD/b) - 86400 * 364))"));
    }
}
