//! What can go wrong, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use vernam_key::KeyId;

use crate::pad::{MAX_PAD_BYTES, MAX_PAD_KEY, MAX_PAD_NAME, MAX_PASSPHRASE, MIN_PAD_BYTES, MIN_PASSPHRASE, PadId};
use crate::{MAX_APPEND_BYTES, MAX_APPEND_KEYS, MAX_CONTACT_BYTES, MAX_HOLE};

/// The result of every fallible call in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a stock or a store refused. Unless the variant says otherwise, nothing has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No run of unspent key is long enough.
    #[error("{wanted} bytes of key in a row are needed, the longest run in stock has {longest}: wait for more key")]
    NotEnough {
        /// Bytes asked for.
        wanted: u64,
        /// The longest run that a take could have got.
        longest: u64,
    },
    /// The position is before the cursor: its byte was spent or forfeited, and is erased.
    #[error("the key at position {start} is spent already (the cursor is at {cursor}): it is never given out again")]
    AlreadySpent {
        /// The first position asked for.
        start: u64,
        /// The first position not yet spent.
        cursor: u64,
    },
    /// The range reaches beyond what was appended so far.
    #[error("{len} bytes at position {start} reach beyond the end of the stock at {end}: fetch the peer's keys first")]
    NotYetHere {
        /// The first position asked for.
        start: u64,
        /// Bytes asked for.
        len: u64,
        /// The first position not yet appended.
        end: u64,
    },
    /// Part of the range is a hole, was discarded, or could not be read back from disk.
    #[error("there is no key for some of the {len} bytes at position {start}: ask the peer to use later ones")]
    NoKeyThere {
        /// The first position asked for.
        start: u64,
        /// Bytes asked for.
        len: u64,
    },
    /// An append beyond [`MAX_APPEND_KEYS`] or [`MAX_APPEND_BYTES`].
    #[error("one append takes at most {MAX_APPEND_KEYS} keys and {MAX_APPEND_BYTES} bytes: append them in parts")]
    AppendTooLarge,
    /// A key without bytes.
    #[error("key {id} is empty: a key in stock has at least one byte")]
    EmptyKey {
        /// Its name.
        id: KeyId,
    },
    /// The key is in stock already; to have it twice would be to use it twice.
    #[error("key {id} is in stock already: a key is appended once")]
    DuplicateKey {
        /// Its name.
        id: KeyId,
    },
    /// A hole longer than [`MAX_HOLE`].
    #[error("a hole of {len} bytes is longer than the {MAX_HOLE} that are believable: the peer's positions are wrong")]
    HoleTooLong {
        /// Its length in bytes.
        len: u64,
    },
    /// The position space of this stock is used up ([`crate::MAX_POSITION`]).
    #[error("the stock's positions are used up: forget this contact and pair anew")]
    PositionsUsedUp,
    /// A contact's name that is empty or longer than [`MAX_CONTACT_BYTES`].
    #[error("a contact's name must have 1 to {MAX_CONTACT_BYTES} bytes, not {len}")]
    ContactName {
        /// Its length in bytes.
        len: usize,
    },
    /// Another process, or another part of this one, has the store open.
    #[error("the key store in {} is in use by another program: close it, or choose another folder", dir.display())]
    Locked {
        /// The store's folder.
        dir: PathBuf,
    },
    /// This stock is open already, and two of it could give out a byte twice.
    #[error("the stock in {} is open already in this program: share it, or drop it first", dir.display())]
    AlreadyOpen {
        /// The stock's folder.
        dir: PathBuf,
    },
    /// The file beside the store that tells whether it is an old copy is missing, damaged, or an old copy itself.
    #[error(
        "the anchor {} of the key store in {} is missing, damaged or older than the store, so nothing tells which key \
         was used already. If you moved or restored it, put the newest one back; otherwise accept the loss, which \
         erases all key in the store (`vernam keys --accept-lost-anchor`)",
        anchor.display(), dir.display()
    )]
    AnchorLost {
        /// The store's folder.
        dir: PathBuf,
        /// Where the anchor should be.
        anchor: PathBuf,
    },
    /// The folder for anchors lies in the store, with which it would be copied and restored.
    #[error("the anchors in {} lie in the key store itself, with which they would be restored: choose another folder",
        anchors.display())]
    AnchorInside {
        /// The folder for anchors.
        anchors: PathBuf,
    },
    /// A pad of another size than [`crate::pad::MIN_PAD_BYTES`] to [`crate::pad::MAX_PAD_BYTES`].
    #[error("a pad of {bytes} bytes cannot be made: {MIN_PAD_BYTES} to {MAX_PAD_BYTES} bytes are possible")]
    PadSize {
        /// Its size in bytes.
        bytes: u64,
    },
    /// The two people's names are empty, too long, not to be shown, or not two.
    #[error(
        "a pad is for two people with different names, of at most {MAX_PAD_NAME} bytes each and without control \
             characters"
    )]
    PadNames,
    /// A passphrase that is too short or too long.
    #[error("a passphrase must have {MIN_PASSPHRASE} to {MAX_PASSPHRASE} bytes: several words are best")]
    Passphrase,
    /// A pad file would be overwritten.
    #[error("{} is there already, and is never overwritten: give another folder", path.display())]
    PadExists {
        /// The file.
        path: PathBuf,
    },
    /// The passphrase is another one, or the file's header was altered.
    #[error("the passphrase does not open {}: try again, or the file was altered", path.display())]
    PadLocked {
        /// The pad file.
        path: PathBuf,
    },
    /// The memory that the passphrase's protection needs is not to be had.
    #[error("the passphrase cannot be stretched into a key: 64 MiB of free memory are needed")]
    PadCost,
    /// The pad was taken in before, by this store or a copy of it.
    #[error("the pad {id} was taken in already, and a pad is used once: make a new one")]
    PadKnown {
        /// The pad's name.
        id: PadId,
    },
    /// The pad was taken in, or that was begun, by another store of this user or one that is gone, or for another
    /// contact.
    #[error(
        "the pad {id} was taken in on this computer before, for the contact {contact:?}, into another home or one that \
         is gone. A pad taken in twice would be used twice: erase this file and every copy, meet, and make a new pad"
    )]
    PadTaken {
        /// The pad's name.
        id: PadId,
        /// For which contact that was.
        contact: String,
    },
    /// The file is the other person's.
    #[error(
        "this pad file is for {owner}, and this is the home of {me}: take the file that was made for {me}, and \
             leave this one to {owner}"
    )]
    PadNotYours {
        /// For whom the file is.
        owner: String,
        /// Who owns the store.
        me: String,
    },
    /// No pad has so much left.
    #[error("a key of {wanted} bytes is needed, and the pads have {left} bytes left: meet, and make a new pad")]
    PadUsedUp {
        /// Bytes of one key.
        wanted: u64,
        /// Bytes left in all pads for what we send.
        left: u64,
    },
    /// A key out of a pad has 1 to [`crate::pad::MAX_PAD_KEY`] bytes.
    #[error("a key of {bytes} bytes cannot be cut from a pad: 1 to {MAX_PAD_KEY} are possible")]
    PadKeySize {
        /// Its length in bytes.
        bytes: u32,
    },
    /// The name is not one that the other side's pad gives.
    #[error("key {id} is of none of the pads shared with this contact: both must have taken in the same pad")]
    PadUnknownKey {
        /// The name.
        id: KeyId,
    },
    /// [`crate::MAX_ANCHORS`] are reached.
    #[error("the key store has too many stocks: begin a new one")]
    TooManyStocks,
    /// The store was made with another [`crate::StoreKey`].
    #[error("the key store in {} belongs to another store key: give the one it was made with", dir.display())]
    WrongStoreKey {
        /// The store's folder.
        dir: PathBuf,
    },
    /// Others may read the file with the store key.
    #[error(
        "others can read the store key in {} (mode {mode:04o}): run `chmod 600` on it, \
         and if others use this machine consider the key known",
        path.display()
    )]
    KeyFileMode {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file does not hold a store key.
    #[error("{} is not a store key, which has 32 bytes ({found} found): restore it from a copy", path.display())]
    KeyFileLength {
        /// The key file.
        path: PathBuf,
        /// Its length in bytes.
        found: u64,
    },
    /// A file of the store is not what this crate wrote. Nothing was changed.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong, and what to do.
        what: &'static str,
    },
    /// An earlier write to this stock failed, so what is on disk is not known. It gives out no key until
    /// it is opened anew.
    #[error("an earlier write in {} failed: free the disk of its trouble, then reopen the stock", dir.display())]
    Failed {
        /// The stock's folder.
        dir: PathBuf,
    },
    /// The operating system's random number generator failed.
    #[error("the operating system gives no random bytes: nothing can be sealed without them")]
    Randomness,
    /// The operating system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Error {
    /// For `map_err` on a call to the operating system.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }

    pub(crate) fn damaged(path: &Path, what: &'static str) -> Self {
        Self::Damaged { path: path.to_owned(), what }
    }
}
