//! The history of calls: with whom, when, how long, why it ended and how it sounded.
//!
//! It does not hold what was said, nor any key. The file `HOME/history` only grows, an entry at a time, each of one
//! size and sealed under a key made from the store's ([`vernam_store::StoreKey::beside`]), so that a file without the
//! key tells how many calls there were and nothing else. It is bounded, for each contact too: when it is full, room for a
//! tenth is made, and whoever has the most entries gives up the oldest. Somebody who rings a thousand times pushes out
//! his own calls, not the others'.

mod show;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, MAX_TAG_LEN, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use vernam_session::{HangUpReason, Suite};
use vernam_store::StoreKey;

pub use self::show::calls;
use crate::call::words;
use crate::stock::home::Home;

/// Entries that are kept.
pub const MAX_ENTRIES: u64 = 5_000;
/// Entries with one contact that are kept when the file is full.
pub const MAX_OF_CONTACT: usize = 1_000;
/// What the file begins with: its kind and version.
const MAGIC: &[u8; 16] = b"vernam history 1";
/// Bytes of an entry, sealed: the longest contact's name fits ([`vernam_store::MAX_CONTACT_BYTES`]), escaped.
const ENTRY: usize = 1_024;
const ENTRY_U64: u64 = ENTRY as u64;
const PLAIN: usize = ENTRY - NONCE_LEN - MAX_TAG_LEN;
/// What the key is for.
const PURPOSE: &str = "history of calls";

/// A call that is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PastCall {
    /// With whom.
    pub contact: String,
    /// Whether we called.
    pub ours: bool,
    /// When it began to ring, seconds since 1970 (UTC).
    pub began_unix_s: u64,
    /// How long both were heard, seconds; none if it was never taken.
    pub lasted_s: Option<f64>,
    /// Why it ended, as `vernam call --json` has it.
    pub reason: String,
    /// Whether the contact ended it.
    pub by_contact: bool,
    /// The suites it went under, in order.
    pub suites: Vec<String>,
    /// How often the connection came back.
    pub resumed: u32,
    /// How it sounded, if it was taken.
    pub quality: Option<Quality>,
}

/// How a call sounded.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Packets that came.
    pub received: u64,
    /// Packets that did not.
    pub lost: u64,
    /// Lost frames made up for from other packets.
    pub recovered: u64,
    /// Lost frames that were guessed.
    pub concealed: u64,
    /// From mouth to ear at the end, estimated.
    pub delay_ms: f64,
    /// At the end.
    pub jitter_ms: f64,
    /// Key spent on what we said.
    pub key_used_bytes: u64,
}

impl PastCall {
    /// Whether it came in and the person had no part in its ending.
    pub fn is_missed(&self) -> bool {
        !self.ours && self.lasted_s.is_none() && self.reason != words::reason_name(HangUpReason::Declined)
    }

    /// The suite's name as it stands in an entry.
    pub fn suite_name(suite: Suite) -> String {
        suite.name().to_owned()
    }
}

/// One entry of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Entry {
    /// A call.
    Call(PastCall),
    /// The person was shown what was missed, at this time.
    Seen(u64),
}

/// The history of one home.
pub struct History {
    path: PathBuf,
    key: LessSafeKey,
}

/// What a history holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Past {
    /// The calls, the oldest first.
    pub calls: Vec<PastCall>,
    /// How many of them, from the end, came after the person last looked.
    pub since_seen: usize,
    /// Entries that cannot be read: damaged, or of another key.
    pub unreadable: u64,
}

impl Past {
    /// The missed calls that the person has not been shown.
    pub fn missed(&self) -> impl Iterator<Item = &PastCall> {
        let first = self.calls.len().saturating_sub(self.since_seen);
        self.calls.iter().skip(first).filter(|call| call.is_missed())
    }

    /// The same, of each contact the newest `each` only: whoever rang a thousand times is not to hide who rang once. And
    /// for those that called more often, how much.
    pub fn newest_missed(&self, each: usize) -> (Vec<&PastCall>, Vec<(&str, usize)>) {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        let mut newest: Vec<&PastCall> = Vec::new();
        for call in self.missed().collect::<Vec<_>>().into_iter().rev() {
            let count = counts.entry(&call.contact).or_default();
            *count += 1;
            if *count <= each {
                newest.push(call);
            }
        }
        newest.reverse();
        let more = counts.into_iter().filter(|(_, count)| *count > each);
        (newest, more.map(|(contact, count)| (contact, count - each)).collect())
    }
}

impl History {
    /// The history of a home.
    ///
    /// # Errors
    /// If the store's key cannot be read.
    pub fn of(home: &Home) -> anyhow::Result<Self> {
        Self::open(home.dir().join("history"), &home.key()?)
    }

    fn open(path: PathBuf, key: &StoreKey) -> anyhow::Result<Self> {
        let secret = key.beside(PURPOSE);
        let key = UnboundKey::new(&AES_256_GCM, secret.expose("to seal the history"));
        let key = key.map_err(|_unspecified| anyhow::anyhow!("the history's key has the wrong length"))?;
        Ok(Self { path, key: LessSafeKey::new(key) })
    }

    /// What it holds; nothing if there is none yet.
    ///
    /// # Errors
    /// If the file cannot be read, or is no history.
    pub fn read(&self) -> anyhow::Result<Past> {
        let mut past = Past::default();
        let Some((mut file, entries)) = self.existing(OpenOptions::new().read(true))? else { return Ok(past) };
        let mut sealed = vec![0; ENTRY];
        for index in entries.saturating_sub(2 * MAX_ENTRIES)..entries {
            file.seek(SeekFrom::Start(place(index)))
                .and_then(|_| file.read_exact(&mut sealed))
                .with_context(|| format!("cannot read {}", self.path.display()))?;
            match self.unseal(index, &mut sealed) {
                Some(Entry::Call(call)) => {
                    past.calls.push(call);
                    past.since_seen += 1;
                }
                Some(Entry::Seen(_)) => past.since_seen = 0,
                None => past.unreadable += 1,
            }
        }
        Ok(past)
    }

    /// Adds a call.
    ///
    /// # Errors
    /// If the file cannot be written, or is no history.
    pub fn add(&self, call: PastCall) -> anyhow::Result<()> {
        self.append(&Entry::Call(call))
    }

    /// The person was shown what was missed.
    ///
    /// # Errors
    /// If the file cannot be written, or is no history.
    pub fn seen(&self) -> anyhow::Result<()> {
        self.append(&Entry::Seen(now_unix_s()))
    }

    fn append(&self, entry: &Entry) -> anyhow::Result<()> {
        let writing = || format!("cannot write {}", self.path.display());
        let found = self.existing(OpenOptions::new().read(true).write(true))?;
        let (mut file, entries) = match found {
            Some((_full, entries)) if entries >= MAX_ENTRIES => self.shortened()?,
            Some(found) => found,
            None => (created(&self.path).with_context(writing)?, 0),
        };
        let sealed = self.seal(entries, entry)?;
        // What a crash left of an entry is written over.
        file.set_len(place(entries))
            .and_then(|()| file.seek(SeekFrom::Start(place(entries))))
            .and_then(|_| file.write_all(&sealed))
            .and_then(|()| file.sync_data())
            .with_context(writing)
    }

    /// The file and how many whole entries it has; `None` where there is no file.
    fn existing(&self, how: &OpenOptions) -> anyhow::Result<Option<(File, u64)>> {
        let reading = || format!("cannot read {}", self.path.display());
        let mut file = match how.open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(reading),
        };
        let mut magic = [0; MAGIC.len()];
        if file.read_exact(&mut magic).is_err() || magic != *MAGIC {
            bail!("{} is no history of calls of this version: move it away", self.path.display());
        }
        let length = file.metadata().with_context(reading)?.len();
        Ok(Some((file, length.saturating_sub(MAGIC.len() as u64) / ENTRY_U64)))
    }

    /// A new file with nine tenths at most, in the place of the old one: see [`kept`].
    fn shortened(&self) -> anyhow::Result<(File, u64)> {
        let writing = || format!("cannot shorten {}", self.path.display());
        let past = self.read()?;
        let unfinished = self.path.with_extension("unfinished");
        let _left_by_a_crash = std::fs::remove_file(&unfinished);
        let mut file = created(&unfinished).with_context(writing)?;
        let room = usize::try_from(MAX_ENTRIES - MAX_ENTRIES / 10).unwrap_or(usize::MAX);
        let keep = kept(&past.calls, room);
        let seen = past.calls.len() - past.since_seen.min(past.calls.len());
        let mut entries = 0;
        let mut write = |file: &mut File, entry: &Entry| -> anyhow::Result<()> {
            file.write_all(&self.seal(entries, entry)?).with_context(writing)?;
            entries += 1;
            Ok(())
        };
        let mut calls: Vec<(bool, PastCall)> = keep.into_iter().zip(past.calls).collect();
        let unseen = calls.split_off(seen);
        for (part, is_seen) in [(calls, true), (unseen, false)] {
            for (_, call) in part.into_iter().filter(|(keep, _)| *keep) {
                write(&mut file, &Entry::Call(call))?;
            }
            if is_seen {
                write(&mut file, &Entry::Seen(now_unix_s()))?;
            }
        }
        file.sync_all().and_then(|()| std::fs::rename(&unfinished, &self.path)).with_context(writing)?;
        Ok((file, entries))
    }

    /// An entry as it stands at `index`: nonce, sealed text, tag.
    fn seal(&self, index: u64, entry: &Entry) -> anyhow::Result<Vec<u8>> {
        let mut text = serde_json::to_vec(entry).context("an entry of the history cannot be written")?;
        if text.len() > PLAIN {
            bail!("an entry of the history has {} bytes, and {PLAIN} fit", text.len());
        }
        text.resize(PLAIN, b' ');
        let mut nonce = [0; NONCE_LEN];
        let random = SystemRandom::new().fill(&mut nonce);
        random.map_err(|_unspecified| anyhow::anyhow!("the operating system gives no random bytes"))?;
        let sealed = self.key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(position(index)),
            &mut text,
        );
        sealed.map_err(|_unspecified| anyhow::anyhow!("an entry of the history cannot be sealed"))?;
        Ok([nonce.as_slice(), &text].concat())
    }

    fn unseal(&self, index: u64, sealed: &mut [u8]) -> Option<Entry> {
        let (nonce, text) = sealed.split_at_mut(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let text = self.key.open_in_place(nonce, Aad::from(position(index)), text).ok()?;
        serde_json::from_slice(text).ok()
    }
}

/// Which calls stay when so many have room: of each contact the newest, at most [`MAX_OF_CONTACT`] and no more than makes
/// room for everybody. A contact with few calls keeps them all, however many another one has.
fn kept(calls: &[PastCall], room: usize) -> Vec<bool> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for call in calls {
        *counts.entry(&call.contact).or_default() += 1;
    }
    let total = |most: usize| counts.values().map(|count| *count.min(&most)).sum::<usize>();
    // The largest share of one contact with which all of them have room; it is in 0..=MAX_OF_CONTACT.
    let (mut fits, mut too_many) = (0, MAX_OF_CONTACT + 1);
    while too_many - fits > 1 {
        let middle = usize::midpoint(fits, too_many);
        if total(middle) <= room {
            fits = middle;
        } else {
            too_many = middle;
        }
    }
    let mut keep = vec![false; calls.len()];
    let mut left: BTreeMap<&str, usize> = counts.keys().map(|contact| (*contact, fits)).collect();
    for (keep, call) in keep.iter_mut().zip(calls).rev() {
        if let Some(left) = left.get_mut(call.contact.as_str()).filter(|left| **left > 0) {
            *left -= 1;
            *keep = true;
        }
    }
    keep
}

fn created(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(MAGIC)?;
    Ok(file)
}

/// Binds an entry to its place, so that none can be moved, or taken out of the middle, unseen.
fn position(index: u64) -> [u8; 24] {
    let mut position = [0; 24];
    position[..16].copy_from_slice(MAGIC);
    position[16..].copy_from_slice(&index.to_be_bytes());
    position
}

fn place(index: u64) -> u64 {
    MAGIC.len() as u64 + index * ENTRY_U64
}

/// Seconds since 1970 (UTC); 0 where the clock stands before.
pub(crate) fn now_unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use vernam_key::SecretBytes;

    fn key(byte: u8) -> StoreKey {
        StoreKey::from_secret(SecretBytes::from_vec(vec![byte; 32])).expect("32 bytes")
    }

    fn call(contact: &str, began_unix_s: u64) -> PastCall {
        PastCall {
            contact: contact.to_owned(),
            ours: false,
            began_unix_s,
            lasted_s: None,
            reason: "no_answer".to_owned(),
            by_contact: true,
            suites: vec![PastCall::suite_name(Suite::Otp)],
            resumed: 0,
            quality: None,
        }
    }

    fn history(folder: &Path, byte: u8) -> History {
        History::open(folder.join("history"), &key(byte)).expect("a key")
    }

    /// The same file, with another key.
    fn other(folder: &Path) -> History {
        history(folder, 2)
    }

    #[test]
    fn what_is_added_comes_out_again_and_missed_ones_are_told_once() {
        let temp = tempfile::tempdir().expect("a folder");
        let history = history(temp.path(), 1);
        assert_eq!(history.read().expect("nothing yet"), Past::default());
        let taken = PastCall { lasted_s: Some(12.5), ..call("bob", 2) };
        let declined = PastCall { reason: "declined".to_owned(), ..call("bob", 3) };
        let ours = PastCall { ours: true, ..call("bob", 4) };
        for call in [call("carol", 1), taken.clone(), declined, ours] {
            history.add(call).expect("there is room");
        }
        let past = history.read().expect("it can be read");
        assert_eq!((past.calls.len(), past.unreadable), (4, 0));
        assert_eq!(past.calls[1], taken);
        assert_eq!(past.missed().map(|call| call.began_unix_s).collect::<Vec<_>>(), [1]);
        history.seen().expect("there is room");
        assert_eq!(history.read().expect("it can be read").missed().count(), 0);
        history.add(call("dave", 9)).expect("there is room");
        assert_eq!(history.read().expect("it can be read").missed().count(), 1);
    }

    #[test]
    fn many_missed_calls_of_one_do_not_hide_those_of_another() {
        let times = [("bob", 1), ("carol", 2), ("bob", 3), ("bob", 4), ("bob", 5)];
        let calls = times.map(|(contact, began)| call(contact, began)).to_vec();
        let past = Past { since_seen: calls.len(), calls, unreadable: 0 };
        let (newest, more) = past.newest_missed(2);
        assert_eq!(newest.iter().map(|call| call.began_unix_s).collect::<Vec<_>>(), [2, 4, 5]);
        assert_eq!(more, [("bob", 2)]);
    }

    #[test]
    fn nothing_is_readable_without_the_key_and_nothing_can_be_moved() {
        let temp = tempfile::tempdir().expect("a folder");
        let history = history(temp.path(), 1);
        for began in 0..3 {
            history.add(call("a-name-that-shows", began)).expect("there is room");
        }
        let path = temp.path().join("history");
        let mut bytes = std::fs::read(&path).expect("it is there");
        assert!(!bytes.windows(9).any(|window| window == b"that-show"));
        assert_eq!(other(temp.path()).read().expect("whole").unreadable, 3);
        let first = MAGIC.len();
        let (one, two) = (first..first + ENTRY, first + ENTRY..first + 2 * ENTRY);
        let kept = bytes[one.clone()].to_vec();
        bytes.copy_within(two.clone(), one.start);
        bytes[two].copy_from_slice(&kept);
        std::fs::write(&path, &bytes).expect("it can be written");
        let past = history.read().expect("whole");
        assert_eq!((past.calls.len(), past.unreadable), (1, 2));
    }

    #[test]
    fn half_an_entry_is_written_over_and_another_file_is_left_alone() {
        let temp = tempfile::tempdir().expect("a folder");
        let history = history(temp.path(), 1);
        history.add(call("bob", 1)).expect("there is room");
        let path = temp.path().join("history");
        let mut bytes = std::fs::read(&path).expect("it is there");
        bytes.extend([7; 100]);
        std::fs::write(&path, &bytes).expect("it can be written");
        history.add(call("bob", 2)).expect("there is room");
        let past = history.read().expect("whole");
        assert_eq!((past.calls.len(), past.unreadable), (2, 0));
        std::fs::write(&path, "my own notes, longer than a header").expect("it can be written");
        let refused = history.add(call("bob", 3)).expect_err("it is no history").to_string();
        assert!(refused.contains("move it away"), "{refused}");
        assert!(std::fs::read(&path).expect("it is there").starts_with(b"my own notes"));
    }

    /// A full file at once, of calls with `contact(number)`: an entry at a time would be as many writes to the disk.
    fn fill(folder: &Path, history: &History, contact: impl Fn(u64) -> &'static str) {
        let mut bytes = MAGIC.to_vec();
        for began in 0..MAX_ENTRIES {
            bytes.extend(history.seal(began, &Entry::Call(call(contact(began), began))).expect("it fits"));
        }
        std::fs::write(folder.join("history"), bytes).expect("it can be written");
    }

    #[test]
    fn the_oldest_go_when_it_is_full() {
        let temp = tempfile::tempdir().expect("a folder");
        let history = history(temp.path(), 1);
        let contacts = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
        fill(temp.path(), &history, |began| contacts[usize::try_from(began % 10).expect("small")]);
        history.add(call("carol", MAX_ENTRIES)).expect("room is made");
        let past = history.read().expect("whole");
        let kept = usize::try_from(MAX_ENTRIES - MAX_ENTRIES / 10).expect("small") + 1;
        assert_eq!((past.calls.len(), past.unreadable), (kept, 0));
        assert_eq!(past.calls[0].began_unix_s, MAX_ENTRIES / 10);
        assert_eq!(past.calls.last().map(|call| call.contact.as_str()), Some("carol"));
    }

    #[test]
    fn whoever_rings_a_thousand_times_pushes_out_nobody_else() {
        let temp = tempfile::tempdir().expect("a folder");
        let history = history(temp.path(), 1);
        // Three old calls of somebody else, and then only the one who rings and rings.
        fill(temp.path(), &history, |began| if began < 3 { "grandmother" } else { "pest" });
        history.add(call("pest", MAX_ENTRIES)).expect("room is made");
        let past = history.read().expect("whole");
        let of = |name: &str| -> Vec<u64> {
            past.calls.iter().filter(|call| call.contact == name).map(|call| call.began_unix_s).collect()
        };
        assert_eq!(of("grandmother"), [0, 1, 2]);
        assert_eq!((of("pest").len(), of("pest").last()), (MAX_OF_CONTACT + 1, Some(&MAX_ENTRIES)));
        assert_eq!(past.missed().count(), past.calls.len(), "nobody was shown them, and shortening does not count");
        let most = usize::try_from(MAX_ENTRIES + 1).expect("small") * ENTRY;
        assert!(std::fs::metadata(temp.path().join("history")).expect("it is there").len() <= most as u64);
    }

    #[test]
    fn what_was_shown_stays_shown_when_room_is_made() {
        let temp = tempfile::tempdir().expect("a folder");
        let history = history(temp.path(), 1);
        fill(temp.path(), &history, |_| "bob");
        let mut bytes = std::fs::read(temp.path().join("history")).expect("it is there");
        bytes.truncate(MAGIC.len() + usize::try_from(MAX_ENTRIES - 1).expect("small") * ENTRY);
        bytes.extend(history.seal(MAX_ENTRIES - 1, &Entry::Seen(9)).expect("it fits"));
        std::fs::write(temp.path().join("history"), bytes).expect("it can be written");
        history.add(call("bob", MAX_ENTRIES)).expect("room is made");
        let past = history.read().expect("whole");
        assert_eq!(past.missed().map(|call| call.began_unix_s).collect::<Vec<_>>(), [MAX_ENTRIES]);
    }

    #[test]
    fn shares_are_as_large_as_fits() {
        let named = |contact: &str, count: usize| (0..count).map(|_| call(contact, 0)).collect::<Vec<_>>();
        let calls = [named("a", 100), named("b", 10), named("c", 40)].concat();
        for (room, expected) in [(150, [100, 10, 40]), (100, [50, 10, 40]), (60, [25, 10, 25]), (2, [0, 0, 0])] {
            let keep = kept(&calls, room);
            let count = |from: usize, to: usize| keep[from..to].iter().filter(|keep| **keep).count();
            assert_eq!([count(0, 100), count(100, 110), count(110, 150)], expected, "{room}");
            assert!(keep[100 - expected[0]..100].iter().all(|keep| *keep), "the newest stay");
        }
    }

    #[test]
    fn the_longest_name_fits() {
        let temp = tempfile::tempdir().expect("a folder");
        let history = history(temp.path(), 1);
        let suites = Suite::ALL.into_iter().cycle().take(12).map(PastCall::suite_name).collect();
        let quality = Some(Quality {
            received: u64::MAX,
            lost: u64::MAX,
            recovered: u64::MAX,
            concealed: u64::MAX,
            delay_ms: 123.456_789_012_345,
            jitter_ms: 123.456_789_012_345,
            key_used_bytes: u64::MAX,
        });
        let longest =
            PastCall { contact: "\"".repeat(vernam_store::MAX_CONTACT_BYTES), suites, quality, ..call("", u64::MAX) };
        history.add(longest.clone()).expect("it fits");
        assert_eq!(history.read().expect("whole").calls, [longest]);
    }
}
