//! The folder itself: what is in it, how a file is taken and how it is erased. Blocks; called on a blocking thread.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Deserializer, de::Error as _};
use vernam_key::SecretBytes;

use super::{DirectoryConfig, MAX_ERA};
use crate::LinkState;
use crate::sources::{MAX_BLOCK_BYTES, MAX_NUMBER, SourceError};

/// The block of Alice's that the far end may not have, as `vernam link` notes it.
const UNSETTLED: &str = ".unsettled";
/// The start-up secret that the blocks belong to, as `vernam link` notes it.
const SECRET_ID: &str = ".startup-secret-id";
/// The secret and the era under which blocks were last taken.
const ERA: &str = ".kme-era";
const ERA_UNFINISHED: &str = ".kme-era.unfinished";
/// Held while a KME reads the folder.
const LOCK: &str = ".kme-lock";
/// How the link stands, if the exporter says so.
const SIDECAR: &str = "link.json";
/// A file that is ours: `.kme-NUMBER.taken`, with the number under which it is deposited.
const TAKEN: (&str, &str) = (".kme-", ".taken");
/// What a file that cannot be used is renamed to.
const REFUSED: &str = ".refused";

/// Longer than any note, bytes.
const MAX_NOTE: u64 = 256;
/// Longer than any sidecar, bytes.
const MAX_SIDECAR: u64 = 4 << 10;
/// Files that are remembered of one look into the folder; those with the lowest numbers.
const MAX_LISTED: usize = 1 << 16;
/// Files of one name that are set aside.
const MAX_REFUSED: u32 = 1000;
/// The clocks of file systems are coarser than that of the processor: what changed as recently as this when the folder
/// was looked at may have changed once more since, without a trace.
const COARSE: Duration = Duration::from_secs(2);
/// Bits of a number that the file's name gives, where there are eras.
const ERA_SHIFT: u32 = 41;
const ZEROS: [u8; 4096] = [0; 4096];

/// What a step came to.
pub(super) enum Found {
    /// A block, whose file is ours now.
    Block { number: u64, bits: SecretBytes },
    /// There is none to take now; in the way of some is this, in words for people.
    Nothing(Option<String>),
    /// What was to be done with the block before is done.
    Done,
}

/// What the exporter says of its link.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Sidecar {
    /// Quantum bit error rate of the latest block, 0 to 1.
    #[serde(default)]
    pub qber: Option<f64>,
    /// The error rate at which blocks are discarded, 0 to 1.
    #[serde(default)]
    pub threshold: f64,
    /// Its condition: `up`, `down` or `alarm`.
    #[serde(deserialize_with = "state")]
    pub state: LinkState,
    /// Why, in plain words.
    #[serde(default)]
    pub reason: String,
}

impl Sidecar {
    fn parse(text: &[u8]) -> Option<Self> {
        let parsed: Self = serde_json::from_slice(text).ok()?;
        let share = 0.0..=1.0;
        let possible = share.contains(&parsed.threshold) && parsed.qber.is_none_or(|qber| share.contains(&qber));
        let reason = parsed.reason.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect();
        possible.then_some(Self { reason, ..parsed })
    }
}

fn state<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LinkState, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "up" => Ok(LinkState::Up),
        "down" => Ok(LinkState::Down),
        "alarm" => Ok(LinkState::Alarm),
        _ => Err(D::Error::custom("no such state")),
    }
}

/// A file that waits to be taken.
struct Listed {
    name: String,
    /// How it looked, and since when; only where files must have been left alone for a while.
    looked: Option<(u64, SystemTime, Instant)>,
}

/// A file that was renamed to be ours, before it is known that it may be taken.
struct Claim {
    in_name: u64,
    number: u64,
    /// The start-up secret when it was renamed.
    secret: Option<String>,
}

/// The folder, locked against a second reader.
pub(super) struct Shelf {
    config: DirectoryConfig,
    handle: File,
    /// Locked as long as it is open.
    _lock: File,
    /// Numbers of files that are ours already: left by a crash, or offered and not settled.
    ours: VecDeque<u64>,
    /// What is to be looked at again before it is ours. No later number goes before it.
    claim: Option<Claim>,
    /// The latest of them came from the folder in this process, not from one before.
    fresh: bool,
    listed: BTreeMap<u64, Listed>,
    /// How the folder looked when it was listed.
    seen: Option<SystemTime>,
    looked: Option<Instant>,
    sidecar: Option<Sidecar>,
    sidecar_seen: Option<(SystemTime, u64)>,
    /// Files set aside since the start.
    pub(super) refused: u64,
    /// Files erased because their number came too late.
    pub(super) late: u64,
}

impl Shelf {
    pub(super) fn open(config: DirectoryConfig) -> Result<Self, SourceError> {
        check(&config)?;
        let path = config.path.clone();
        let unusable = |reason: String| SourceError::Folder { path: path.clone(), reason };
        let failed = |error: io::Error| unusable(error.to_string());
        let made = DirBuilder::new().recursive(true).mode(if config.allow_group { 0o770 } else { 0o700 }).create(&path);
        made.map_err(failed)?;
        let handle = File::open(&path).map_err(failed)?;
        if !handle.metadata().map_err(failed)?.is_dir() {
            return Err(unusable("it is not a folder".to_owned()));
        }
        let mut options = OpenOptions::new();
        let lock =
            options.write(true).create(true).truncate(false).mode(0o600).open(path.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(unusable("another KME reads it".to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let mut shelf = Self {
            config,
            handle,
            _lock: lock,
            ours: VecDeque::new(),
            claim: None,
            fresh: false,
            listed: BTreeMap::new(),
            seen: None,
            looked: None,
            sidecar: None,
            sidecar_seen: None,
            refused: 0,
            late: 0,
        };
        shelf.check_modes().map_err(&unusable)?;
        shelf.ours = shelf.left_behind().map_err(failed)?.into();
        Ok(shelf)
    }

    pub(super) fn config(&self) -> &DirectoryConfig {
        &self.config
    }

    pub(super) fn sidecar(&self) -> Option<&Sidecar> {
        self.sidecar.as_ref()
    }

    /// The next block: first of what is ours already, else of what can be taken.
    pub(super) fn take(&mut self) -> Found {
        self.read_sidecar();
        while let Some(number) = self.ours.front().copied() {
            match self.read_ours(number) {
                Ok(bits) => return Found::Block { number, bits },
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.ours.pop_front();
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    self.ours.pop_front();
                    if let Err(error) = self.refuse(&taken_name(number), &error.to_string()) {
                        return Found::Nothing(Some(error));
                    }
                }
                Err(error) => {
                    let name = taken_name(number);
                    return Found::Nothing(Some(format!("{name} cannot be read: {error}")));
                }
            }
        }
        match self.claim_next() {
            Ok(Some(number)) => match self.read_ours(number) {
                Ok(bits) => Found::Block { number, bits },
                Err(error) => Found::Nothing(Some(format!("{} cannot be read: {error}", taken_name(number)))),
            },
            Ok(None) => Found::Nothing(None),
            Err(trouble) => Found::Nothing(Some(trouble)),
        }
    }

    /// The ledger has the block, or never will: erases its file.
    pub(super) fn erase_ours(&mut self, number: u64, too_late: bool) -> Found {
        let name = taken_name(number);
        if too_late && self.fresh {
            self.late += 1;
            tracing::warn!(
                number,
                folder = %self.config.path.display(),
                "a key file came too late and is erased unused: files must come in ascending order, each number once"
            );
        }
        match erase(&self.config.path.join(&name)).and_then(|()| self.handle.sync_all()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                // It stays ours, and is offered again: then it is too late, and erased at last.
                self.fresh = false;
                Found::Nothing(Some(format!("{name} is used, and cannot be erased: {error}")))
            }
            _ => {
                self.ours.retain(|ours| *ours != number);
                Found::Done
            }
        }
    }

    /// Takes the file with the lowest number, and tells that number, or nothing where it has to wait.
    fn claim_next(&mut self) -> Result<Option<u64>, String> {
        loop {
            if let Some(number) = self.finish_claim()? {
                return Ok(Some(number));
            }
            if !self.claim_lowest()? {
                return Ok(None);
            }
        }
    }

    /// Makes sure of the file that was claimed, and tells its number. If a step fails, the claim stands and is tried
    /// again.
    fn finish_claim(&mut self) -> Result<Option<u64>, String> {
        let Some(Claim { in_name, number, secret }) = &self.claim else { return Ok(None) };
        let (in_name, number) = (*in_name, *number);
        self.handle.sync_all().map_err(|error| format!("the folder cannot be written: {error}"))?;
        let now = self.notes()?;
        if now.secret != *secret || now.unsettled == Some(in_name) {
            // A new secret came between two looks, and its block has the same number.
            let name = taken_name(number);
            match erase(&self.config.path.join(&name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(format!("{name} cannot be erased: {error}"));
                }
                _ => self.claim = None,
            }
            return Ok(None);
        }
        self.claim = None;
        self.fresh = true;
        self.ours.push_back(number);
        Ok(Some(number))
    }

    /// Renames the file with the lowest number to be ours; whether there is one that need not wait.
    fn claim_lowest(&mut self) -> Result<bool, String> {
        self.list_if_due()?;
        loop {
            // Notes are read after the folder: what was in it before is settled unless a note still says otherwise.
            let Some((&in_name, _)) = self.listed.first_key_value() else { return Ok(false) };
            let notes = self.notes()?;
            if notes.unsettled == Some(in_name) {
                return Ok(false);
            }
            self.check_era(&notes)?;
            let Some(listed) = self.listed.get_mut(&in_name) else { return Ok(false) };
            let path = self.config.path.join(&listed.name);
            let meta = match path.symlink_metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.listed.remove(&in_name);
                    continue;
                }
                found => found.map_err(|error| format!("{} cannot be looked at: {error}", listed.name))?,
            };
            if !is_rested(&meta, listed, self.config.rest) {
                return Ok(false);
            }
            let name = listed.name.clone();
            let number = match self.deposit_number(in_name).and_then(|number| self.is_usable(&meta).map(|()| number)) {
                Ok(number) => number,
                Err(why) => {
                    self.listed.remove(&in_name);
                    self.refuse(&name, &why)?;
                    continue;
                }
            };
            let ours = self.config.path.join(taken_name(number));
            match fs::rename(&path, &ours) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.listed.remove(&in_name);
                    continue;
                }
                renamed => renamed.map_err(|error| format!("{name} cannot be taken: {error}"))?,
            }
            self.listed.remove(&in_name);
            self.claim = Some(Claim { in_name, number, secret: notes.secret });
            return Ok(true);
        }
    }

    /// Looks into the folder unless nothing has changed in it.
    fn list_if_due(&mut self) -> Result<(), String> {
        let now = Instant::now();
        let is_due = self.looked.is_none_or(|looked| now.saturating_duration_since(looked) >= self.config.poll);
        if !is_due {
            return Ok(());
        }
        self.looked = Some(now);
        self.check_modes()?;
        let failed = |error: io::Error| format!("the folder cannot be read: {error}");
        let changed = fs::metadata(&self.config.path).and_then(|meta| meta.modified()).map_err(failed)?;
        if self.seen == Some(changed) {
            return Ok(());
        }
        let mut listed = BTreeMap::new();
        for entry in fs::read_dir(&self.config.path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let Some(name) = name.to_str() else { continue };
            let Some(number) = self.config.pattern.number(name) else { continue };
            let before = self.listed.remove(&number).filter(|before| before.name == name);
            listed
                .entry(number)
                .or_insert_with(|| before.unwrap_or_else(|| Listed { name: name.to_owned(), looked: None }));
            if listed.len() > MAX_LISTED {
                listed.pop_last();
            }
        }
        let is_full = listed.len() == MAX_LISTED;
        self.listed = listed;
        let age = SystemTime::now().duration_since(changed).unwrap_or_default();
        self.seen = (age > COARSE && !is_full).then_some(changed);
        Ok(())
    }

    fn notes(&self) -> Result<Notes, String> {
        let unsettled = self.read_note(UNSETTLED)?.map(|text| {
            text.parse().map_err(|_not| format!("{UNSETTLED} names no block: compare both ends' last blocks"))
        });
        Ok(Notes { unsettled: unsettled.transpose()?, secret: self.read_note(SECRET_ID)? })
    }

    /// Sees to it that a new start-up secret, whose numbers begin anew, does not come under numbers that were used.
    fn check_era(&self, notes: &Notes) -> Result<(), String> {
        let Some(secret) = &notes.secret else { return Ok(()) };
        let era = self.config.era;
        let line = format!("{secret} {era}");
        let before = self.read_note(ERA)?;
        if before.as_ref() == Some(&line) {
            return Ok(());
        }
        if let Some(before) = before {
            let parsed = before.rsplit_once(' ').and_then(|(id, era)| Some((id, era.parse::<u32>().ok()?)));
            let (id, last) = parsed.ok_or_else(|| format!("{ERA} is damaged: it should hold a secret and an era"))?;
            if era < last {
                return Err(format!("era {era} is set, and era {last} was before it: set it to {last} or higher"));
            }
            if id != secret && era == last {
                return Err(format!(
                    "these files belong to a new start-up secret, whose block numbers begin anew: set era to {} for \
                     this link at both KMEs",
                    last + 1
                ));
            }
        }
        self.write_era(&line).map_err(|error| format!("{ERA} cannot be written: {error}"))
    }

    fn write_era(&self, line: &str) -> io::Result<()> {
        let unfinished = self.config.path.join(ERA_UNFINISHED);
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, self.config.path.join(ERA))?;
        self.handle.sync_all()
    }

    fn deposit_number(&self, in_name: u64) -> Result<u64, String> {
        let era = u64::from(self.config.era);
        let too_high = era > 0 && in_name >> ERA_SHIFT > 0;
        let number = Some((era << ERA_SHIFT) | in_name).filter(|number| !too_high && *number <= MAX_NUMBER);
        number.ok_or_else(|| format!("its number is too high for era {era}"))
    }

    fn is_usable(&self, meta: &Metadata) -> Result<(), String> {
        let mode = meta.permissions().mode() & 0o7777;
        if !meta.is_file() {
            return Err("it is not a file".to_owned());
        }
        if mode & self.forbidden() != 0 {
            return Err(format!("others may read or write it (mode {mode:04o}), so its key may be known"));
        }
        if meta.len() == 0 || meta.len() > self.config.max_file_bytes {
            return Err(format!("it has {} bytes; 1 to {} are possible", meta.len(), self.config.max_file_bytes));
        }
        Ok(())
    }

    fn forbidden(&self) -> u32 {
        if self.config.allow_group { 0o007 } else { 0o077 }
    }

    fn check_modes(&self) -> Result<(), String> {
        let meta = fs::metadata(&self.config.path).map_err(|error| format!("it cannot be looked at: {error}"))?;
        let mode = meta.permissions().mode() & 0o7777;
        if mode & self.forbidden() == 0 {
            return Ok(());
        }
        let right = if self.config.allow_group { "770" } else { "700" };
        Err(format!("others may use the folder (mode {mode:04o}): chmod {right} it"))
    }

    fn left_behind(&self) -> io::Result<Vec<u64>> {
        let mut left = Vec::new();
        for entry in fs::read_dir(&self.config.path)? {
            let name = entry?.file_name();
            let digits = name.to_str().and_then(|name| name.strip_prefix(TAKEN.0)?.strip_suffix(TAKEN.1));
            left.extend(digits.and_then(|digits| digits.parse::<u64>().ok()));
        }
        left.sort_unstable();
        Ok(left)
    }

    fn read_ours(&self, number: u64) -> io::Result<SecretBytes> {
        let mut file = File::open(self.config.path.join(taken_name(number)))?;
        let len = file.metadata()?.len();
        let wrong = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
        if len == 0 || len > MAX_BLOCK_BYTES {
            return Err(wrong("it is empty, or too long"));
        }
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let mut bits = SecretBytes::from_vec(vec![0; len]);
        file.read_exact(bits.expose_mut("to read a key file into it"))?;
        if file.read(&mut [0])? != 0 {
            return Err(wrong("it grew while it was read: its exporter must write under another name, and rename"));
        }
        Ok(bits)
    }

    /// Sets a file aside, for a person to look at.
    fn refuse(&mut self, name: &str, why: &str) -> Result<(), String> {
        let base = format!("{}{REFUSED}", name.trim_start_matches('.'));
        let aside = (1..=MAX_REFUSED).map(|n| if n == 1 { base.clone() } else { format!("{base}-{n}") });
        let aside = aside.map(|name| self.config.path.join(name)).find(|path| path.symlink_metadata().is_err());
        let failed = |reason: String| format!("{name} cannot be used ({why}), nor set aside: {reason}");
        let aside = aside.ok_or_else(|| failed("too many of that name were".to_owned()))?;
        match fs::rename(self.config.path.join(name), &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            renamed => renamed.map_err(|error| failed(error.to_string()))?,
        }
        self.refused += 1;
        tracing::warn!(file = name, why, aside = %aside.display(), "a key file cannot be used, and is set aside");
        Ok(())
    }

    fn read_note(&self, name: &str) -> Result<Option<String>, String> {
        let text = read_small(&self.config.path.join(name), MAX_NOTE);
        let text = text.map_err(|error| format!("the note {name} cannot be read: {error}"))?;
        let text = text.map(String::from_utf8).transpose();
        Ok(text.map_err(|_not_text| format!("the note {name} is damaged"))?.map(|text| text.trim_end().to_owned()))
    }

    fn read_sidecar(&mut self) {
        let path = self.config.path.join(SIDECAR);
        let seen = fs::metadata(&path).ok().and_then(|meta| Some((meta.modified().ok()?, meta.ino())));
        if seen.is_some() && seen == self.sidecar_seen {
            return;
        }
        self.sidecar_seen = seen;
        let read = read_small(&path, MAX_SIDECAR);
        self.sidecar = match read.as_ref().map(Option::as_deref) {
            Ok(None) => None,
            Ok(Some(text)) => {
                let parsed = Sidecar::parse(text);
                if parsed.is_none() {
                    tracing::warn!(file = %path.display(), "what the exporter says of its link cannot be understood");
                }
                parsed
            }
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "what the exporter says of its link cannot be read");
                None
            }
        };
    }
}

/// What `vernam link` notes in its folder.
struct Notes {
    unsettled: Option<u64>,
    secret: Option<String>,
}

fn check(config: &DirectoryConfig) -> Result<(), SourceError> {
    let wrong = |setting, reason: String| Err(SourceError::Setting { setting, reason });
    if config.era > MAX_ERA {
        return wrong("era", format!("{} is too high; {MAX_ERA} is the highest", config.era));
    }
    if config.max_file_bytes == 0 || config.max_file_bytes > MAX_BLOCK_BYTES {
        return wrong("max_file_bytes", format!("1 to {MAX_BLOCK_BYTES} are possible"));
    }
    if config.poll.is_zero() {
        return wrong("poll", "it must be longer than nothing".to_owned());
    }
    Ok(())
}

/// Whether the file was left alone for long enough, by our own clock: file times may be anything.
fn is_rested(meta: &Metadata, listed: &mut Listed, rest: Duration) -> bool {
    if rest.is_zero() {
        return true;
    }
    let now = Instant::now();
    let look = (meta.len(), meta.modified().unwrap_or(SystemTime::UNIX_EPOCH));
    match listed.looked {
        Some((len, modified, since)) if (len, modified) == look => now.saturating_duration_since(since) >= rest,
        _ => {
            listed.looked = Some((look.0, look.1, now));
            false
        }
    }
}

fn taken_name(number: u64) -> String {
    format!("{}{number:020}{}", TAKEN.0, TAKEN.1)
}

/// A small file; `None` if it is not there.
fn read_small(path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => {
            opened?.take(most + 1).read_to_end(&mut bytes)?;
            if bytes.len() as u64 > most { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(Some(bytes)) }
        }
    }
}

/// Overwrites a file with zeros, and removes it. Best effort: some disks write elsewhere than they are told.
fn erase(path: &PathBuf) -> io::Result<()> {
    if path.symlink_metadata()?.is_file() {
        let mut file = OpenOptions::new().write(true).open(path)?;
        let mut left = file.metadata()?.len();
        while left > 0 {
            let part = ZEROS.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            file.write_all(&ZEROS[..part])?;
            left -= part as u64;
        }
        file.sync_all()?;
    }
    fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf(folder: &Path) -> Shelf {
        Shelf::open(DirectoryConfig { poll: Duration::from_nanos(1), ..DirectoryConfig::new(folder) }).unwrap()
    }

    fn put(folder: &Path, name: &str, bytes: &[u8]) {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(folder.join(name));
        file.as_mut().unwrap().write_all(bytes).unwrap();
    }

    fn number(found: &Found) -> Option<u64> {
        if let Found::Block { number, .. } = found { Some(*number) } else { None }
    }

    /// After the file was renamed a step can fail; it must still be the next that is taken, in this process too.
    #[test]
    fn a_claim_that_cannot_be_finished_keeps_its_place() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("keys");
        let mut shelf = shelf(&folder);
        put(&folder, "block-00000000000000000001.key", b"one");
        put(&folder, "block-00000000000000000002.key", b"two");
        assert!(shelf.claim_lowest().unwrap());
        put(&folder, UNSETTLED, b"no number");
        for _again in 0..2 {
            assert!(matches!(shelf.take(), Found::Nothing(Some(_))), "the note cannot be read");
        }
        fs::remove_file(folder.join(UNSETTLED)).unwrap();
        assert_eq!(number(&shelf.take()), Some(1));
        assert!(matches!(shelf.erase_ours(1, false), Found::Done));
        assert_eq!(number(&shelf.take()), Some(2));
    }

    #[test]
    fn a_claim_that_turns_out_unsettled_is_erased() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("keys");
        let mut shelf = shelf(&folder);
        put(&folder, "block-00000000000000000001.key", b"one");
        assert!(shelf.claim_lowest().unwrap());
        put(&folder, UNSETTLED, b"1");
        assert!(number(&shelf.take()).is_none());
        assert!(!folder.join(taken_name(1)).exists());
    }
}
