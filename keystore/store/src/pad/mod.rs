//! Pads carried by hand: random bytes that two people share before they part, for all who have no quantum link.
//!
//! It makes a matched pair of sealed files ([`make`]), takes one into a [`Store`](crate::Store)
//! ([`import`](crate::Store::import_pad)) and gives keys out of it ([`PadStock`]). It does not carry the files from one
//! person to the other, and cannot see whether somebody copied them on the way.
//!
//! ```text
//!   secret 64 │        first half        │        second half       │
//!             │ ALICE to BOB             │ BOB to ALICE             │   both files hold all of it, each under its own
//!                                                                       person's passphrase
//! ```
//!
//! The secret is never used as key: 16 bytes choose a hash of the pad and 16 mask it, which makes the words that both
//! people compare (Wegman and Carter 1981: they tell nothing of the pad, whatever the computer that looks at them), and
//! 32 authenticate the names of keys.
//!
//! A key out of a pad is named after its place: half, position and length, under a MAC, in the form of a UUID of
//! version 8 (RFC 9562). The name tells nothing of the key, and nobody without the pad can make one up that moves us
//! along it.

#[cfg(test)]
mod crash_tests;
mod file;
mod import;
mod names;
mod stock;
mod taken;
mod words;

pub use file::{Cost, LockedPad, Made, PadReader, Person, make};
pub use import::{Imported, PadSummary, erase_file};
pub use stock::{MAX_EARLY_BYTES, MAX_PAD_KEY, MAX_PAD_TAKE, PadStock};
pub use words::Fingerprint;

pub(crate) use import::FOLDER;

/// The smallest pad, bytes of both halves: a conversation spends 8 KiB a side before the first word.
pub const MIN_PAD_BYTES: u64 = 128 << 10;
/// The largest pad, bytes of both halves: what the names of keys have room for.
pub const MAX_PAD_BYTES: u64 = 1 << 40;
/// Bytes of the name of a person in a pad file.
pub const MAX_PAD_NAME: usize = crate::MAX_CONTACT_BYTES;
/// Bytes of the shortest passphrase (NIST SP 800-63B, section 5.1.1.2: eight characters).
pub const MIN_PASSPHRASE: usize = 8;
/// Bytes of the longest.
pub const MAX_PASSPHRASE: usize = 1_024;

/// The random name of a pad, the same in both files. Public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PadId([u8; 16]);

impl std::fmt::Display for PadId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One of a pad's two directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// What the first person sends.
    First,
    /// What the second person sends.
    Second,
}

impl Half {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    pub(crate) fn code(self) -> u8 {
        match self {
            Self::First => 0,
            Self::Second => 1,
        }
    }

    pub(crate) fn of_code(code: u8) -> Option<Self> {
        [Self::First, Self::Second].into_iter().find(|half| half.code() == code)
    }
}
