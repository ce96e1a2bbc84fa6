//! What a stock is: one linear space of key bytes, spent from the front.

use std::ops::Range;

use vernam_key::{Direction, KeyId, Material, SecretBytes};

use crate::{Notice, Result};

/// Keys one append takes. ETSI GS QKD 014 servers hand out some hundred at once.
pub const MAX_APPEND_KEYS: usize = 16_384;
/// Bytes one append takes: it becomes one segment file.
pub const MAX_APPEND_BYTES: u64 = 64 << 20;
/// The longest hole in bytes that one call may make, so that a wrong number from a peer cannot use up the
/// positions.
pub const MAX_HOLE: u64 = 1 << 40;
/// No stock reaches this position: at 1 Gb/s of key it would take a thousand years.
pub const MAX_POSITION: u64 = 1 << 62;

/// A key as a key manager delivered it, on its way into stock.
pub struct StockKey {
    /// Its name.
    pub id: KeyId,
    /// Its bytes, at least one.
    pub bytes: SecretBytes,
}

/// Bytes taken from a stock, with their place in it, which the sender tells the receiver.
pub struct Taken<D> {
    /// The position of the first byte.
    pub start: u64,
    /// The bytes, spent in the stock already.
    pub material: Material<D>,
}

/// Where a key stands in the position space. Public.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySpan {
    /// The key's name.
    pub id: KeyId,
    /// The position of its first byte.
    pub start: u64,
    /// Its whole length in bytes, whether or not some of them are spent.
    pub len: u64,
}

/// Where a stock stands, in bytes. Exactly `end == spent + forfeited + holes + available`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StockStatus {
    /// The first position not yet passed: everything before it is erased, for ever.
    pub cursor: u64,
    /// The first position not yet appended. Never goes back.
    pub end: u64,
    /// Key bytes that can still be taken, all at or after the cursor.
    pub available: u64,
    /// The length of the first run of key without a gap, at the cursor or after the gap it stands in:
    /// a take of this many bytes succeeds and forfeits nothing.
    pub contiguous: u64,
    /// Key bytes marked spent by a take. After a crash some of them may never have reached the caller.
    pub spent: u64,
    /// Key bytes that were in stock and given up: skipped, discarded, or not readable any more.
    pub forfeited: u64,
    /// Positions for which there never was a key.
    pub holes: u64,
}

/// What key is taken for: the flows of `transport/PROTOCOL.md`, section 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpentOn {
    /// The control stream.
    Control,
    /// Voice.
    Voice,
    /// Files.
    File,
    /// Text messages.
    Text,
    /// Anything else, such as a handshake's keys out of a pad.
    Other,
}

impl SpentOn {
    /// From the code of a [`vernam_key::Purpose`].
    pub fn of_code(code: u8) -> Self {
        use vernam_key::{Control, File, Purpose as _, Text, Voice};
        match code {
            Control::CODE => Self::Control,
            Voice::CODE => Self::Voice,
            File::CODE => Self::File,
            Text::CODE => Self::Text,
            _ => Self::Other,
        }
    }
}

/// Bytes spent, by what they were spent on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// On the control stream.
    pub control: u64,
    /// On voice.
    pub voice: u64,
    /// On files.
    pub file: u64,
    /// On text messages.
    pub text: u64,
    /// On anything else.
    pub other: u64,
}

impl Spent {
    /// `len` bytes spent on one thing.
    pub fn on(what: SpentOn, len: u64) -> Self {
        let mut spent = Self::default();
        *match what {
            SpentOn::Control => &mut spent.control,
            SpentOn::Voice => &mut spent.voice,
            SpentOn::File => &mut spent.file,
            SpentOn::Text => &mut spent.text,
            SpentOn::Other => &mut spent.other,
        } = len;
        spent
    }

    /// All together.
    pub fn sum(self) -> u64 {
        self.checked_sum().unwrap_or(u64::MAX)
    }

    pub(crate) fn checked_sum(self) -> Option<u64> {
        let Self { control, voice, file, text, other } = self;
        [voice, file, text, other].into_iter().try_fold(control, u64::checked_add)
    }
}

impl std::ops::Add for Spent {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self {
            control: self.control + more.control,
            voice: self.voice + more.voice,
            file: self.file + more.file,
            text: self.text + more.text,
            other: self.other + more.other,
        }
    }
}

/// A stock of key bytes for one contact and direction.
///
/// Every byte has a position, and both sides have the same byte at the same position. A cursor moves forward over the
/// positions; what is before it is spent and erased. A *run* is a stretch of key without a gap; the border between two
/// appends is no gap.
///
/// A call that fails has changed nothing, except that bytes which cannot be read back from disk count as forfeited from
/// then on. A call that succeeds is durable when it returns, if the stock is.
pub trait Stock<D: Direction>: Send {
    /// Appends `keys` in order and returns their positions. No keys are no change.
    ///
    /// # Errors
    /// [`crate::Error::AppendTooLarge`], [`crate::Error::EmptyKey`], [`crate::Error::DuplicateKey`] (a key of this
    /// name has bytes left in stock), [`crate::Error::PositionsUsedUp`], or the disk's. The keys are wiped either way.
    /// After an error of the disk's that closed the stock the append may have happened: open it anew and see where it
    /// ends.
    fn append(&mut self, keys: Vec<StockKey>) -> Result<Range<u64>>;

    /// Appends `len` positions for which there is no key: the peer has one there, our key manager does not.
    ///
    /// # Errors
    /// [`crate::Error::HoleTooLong`], [`crate::Error::PositionsUsedUp`], or the disk's.
    fn hole(&mut self, len: u64) -> Result<Range<u64>>;

    /// Appends a hole up to `pos`, if the stock ends before it.
    ///
    /// # Errors
    /// As [`Self::hole`].
    fn advance_end_to(&mut self, pos: u64) -> Result<()>;

    /// Takes the next `len` bytes in one run. Where the first run is too short, it goes on to the first that is long
    /// enough and *forfeits* what it passes: ask for at most [`StockStatus::contiguous`] to forfeit nothing.
    /// The bytes are spent and erased before this returns. No bytes are no change.
    ///
    /// # Errors
    /// [`crate::Error::NotEnough`], or the disk's.
    fn take(&mut self, len: u64, on: SpentOn) -> Result<Taken<D>>;

    /// Takes the `len` bytes at `start`. What lies between the cursor and `start` is forfeited and erased.
    /// No bytes are no change, but the position is checked all the same.
    ///
    /// # Errors
    /// [`crate::Error::AlreadySpent`], [`crate::Error::NotYetHere`], [`crate::Error::NoKeyThere`], or the disk's.
    fn take_at(&mut self, start: u64, len: u64, on: SpentOn) -> Result<Material<D>>;

    /// Moves the cursor forward to `pos` and forfeits the key before it; returns how many bytes that were.
    ///
    /// # Errors
    /// [`crate::Error::NotYetHere`], or the disk's.
    fn discard_before(&mut self, pos: u64) -> Result<u64>;

    /// Forfeits the unspent key at and after `pos`; returns how many bytes that were. Neither the cursor nor the end
    /// moves, and the positions are never used again.
    ///
    /// # Errors
    /// The disk's; then part of the key may be forfeited.
    fn discard_from(&mut self, pos: u64) -> Result<u64>;

    /// The keys that have bytes left at or after `pos`, in order: what a sender announces to a receiver.
    fn keys_from(&self, pos: u64) -> Vec<KeySpan>;

    /// Notes that the peer is known to have the bytes before `pos`, for people who ask; no take depends on it.
    ///
    /// # Errors
    /// The disk's.
    fn note_matched(&mut self, pos: u64) -> Result<()>;

    /// Up to which position the peer is known to have the same bytes.
    fn matched(&self) -> u64;

    /// What the spent bytes were spent on. Together they are [`StockStatus::spent`].
    fn spent(&self) -> Spent;

    /// What its owner must be told, each once: see [`Notice`].
    fn take_notice(&mut self) -> Option<Notice> {
        None
    }

    /// Where the stock stands.
    fn status(&self) -> StockStatus;

    /// How many bytes [`Self::take`] gives without forfeiting any: [`StockStatus::contiguous`].
    fn contiguous(&self) -> u64 {
        self.status().contiguous
    }
}
