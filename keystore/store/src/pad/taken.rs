//! The record that somebody's file of a pad was taken in, kept with the anchors: so also when the store is gone, or for
//! another store of the same user.
//!
//! ```text
//!   ANCHORS/pads/PAD_ID-first or -second     magic 8 │ step 1 │ store id 16 │ length 1 │ contact
//! ```
//!
//! It is durable before the first byte of pad is in the store, and is never removed. It does not know of other users
//! and other computers, whose anchors are elsewhere, nor of anything once the folder of the anchors is lost.

use std::fs::TryLockError;
use std::io;
use std::path::{Path, PathBuf};

use super::{Half, PadId};
use crate::anchor::StoreId;
use crate::disk::{self, DiskFile};
use crate::{Error, MAX_CONTACT_BYTES, Result};

/// The folder of the records, in that of the anchors.
const FOLDER: &str = "pads";
const MAGIC: [u8; 8] = *b"VRNMPTK\x01";
/// Where the step is.
const STEP: usize = MAGIC.len();
const STORE: usize = STEP + 1;
/// Bytes before the contact.
const FIXED: usize = STORE + size_of::<StoreId>() + 1;

/// How far an import came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// Nothing of the pad is in the store.
    Begun,
    /// The store knows the pad, and some of its bytes may be there.
    Filling,
    /// All of it was there.
    Done,
}

/// The record of one person's file of one pad, which names the store and contact that asked for it. No other program
/// can have it while it is open.
pub(super) struct Taken {
    file: DiskFile,
    step: Step,
}

/// What a record says.
enum Said {
    /// A crash came before all of it was written, so nothing was taken in.
    Nothing,
    /// This.
    Whole { step: Step, store: StoreId, contact: String },
}

impl Taken {
    /// Records durably that `store` takes the pad in for `contact`, or finds that this very import was begun before.
    ///
    /// # Errors
    /// [`Error::PadTaken`] where it was begun by another store or for another contact, [`Error::Locked`] while another
    /// program does so, [`Error::Damaged`], or the disk's.
    pub(super) fn by(anchors: &Path, store: StoreId, (id, half): (PadId, Half), contact: &str) -> Result<Self> {
        let path = path(anchors, id, half);
        disk::make_dir(disk::parent(&path))?;
        let file = match DiskFile::create_new(&path) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => DiskFile::open(&path)?,
            made => made?,
        };
        match file.try_lock() {
            Ok(()) | Err(TryLockError::Error(_)) => {} // some file systems have no locks
            Err(TryLockError::WouldBlock) => return Err(Error::Locked { dir: path }),
        }
        // Only now: between making the file and locking it another program may have written it.
        let step = match read(&file)? {
            Said::Nothing => {
                let len = u8::try_from(contact.len()).map_err(|_long| Error::ContactName { len: contact.len() })?;
                let begun = [MAGIC.as_slice(), &[Step::Begun.code()], &store, &[len], contact.as_bytes()].concat();
                file.write_at(&begun, 0)?;
                Step::Begun
            }
            Said::Whole { step, store: whose, contact: with } if whose == store && with == contact => step,
            Said::Whole { contact, .. } => return Err(Error::PadTaken { id, contact }),
        };
        // Also what a program that was killed had written and not synced.
        file.sync()?;
        disk::sync_dir(disk::parent(&path))?;
        disk::sync_dir(anchors)?;
        Ok(Self { file, step })
    }

    pub(super) fn step(&self) -> Step {
        self.step
    }

    /// Notes durably how far the import came.
    pub(super) fn reach(&mut self, step: Step) -> Result<()> {
        if step > self.step {
            self.file.write_at(&[step.code()], STEP as u64)?;
            self.file.sync()?;
            self.step = step;
        }
        Ok(())
    }
}

impl Step {
    const ALL: [Self; 3] = [Self::Begun, Self::Filling, Self::Done];

    fn code(self) -> u8 {
        match self {
            Self::Begun => 1,
            Self::Filling => 2,
            Self::Done => 3,
        }
    }
}

fn path(anchors: &Path, id: PadId, half: Half) -> PathBuf {
    let half = match half {
        Half::First => "first",
        Half::Second => "second",
    };
    anchors.join(FOLDER).join(format!("{id}-{half}"))
}

fn read(file: &DiskFile) -> Result<Said> {
    let mut found = [0; FIXED + MAX_CONTACT_BYTES];
    file.read_at(&mut found, 0)?;
    let len = file.len()?;
    let whole = FIXED as u64 + u64::from(found[FIXED - 1]);
    if len < FIXED as u64 || len < whole || found.iter().all(|byte| *byte == 0) {
        return Ok(Said::Nothing);
    }
    let what = "it tells of a pad that was taken in, and was altered: do not take this pad in, make a new one";
    parse(&found).ok_or_else(|| Error::damaged(file.path(), what))
}

/// What is beyond the contact was left by a longer record that was not whole.
fn parse(found: &[u8]) -> Option<Said> {
    let found = found.strip_prefix(&MAGIC)?;
    let (code, rest) = found.split_first()?;
    let (store, rest) = rest.split_first_chunk()?;
    let (len, rest) = rest.split_first()?;
    let contact = str::from_utf8(rest.get(..usize::from(*len))?).ok()?;
    let step = Step::ALL.into_iter().find(|step| step.code() == *code)?;
    Some(Said::Whole { step, store: *store, contact: contact.to_owned() })
}
