//! A call written down, encrypted as it is written: both voices, one a channel.
//!
//! It does not ask the two for their consent and plays no tone: that is the call's (`ToneKind::Recording`).
//!
//! ```text
//!   write(said, heard) ─► queue of MAX_QUEUE frames ─► thread: pieces of half a second, sealed ─► file, mode 0600
//!                          full? counted as lost, silence in its place          export() ─► WAV of two channels
//! ```
//!
//! # The file
//!
//! ```text
//!   magic 8 "VRNMREC\x01" │ salt 16 │ tag 16                               40 bytes; the tag is over all before it
//!   piece 0 │ tag 16 │ piece 1 │ tag 16 │ … │ last piece │ tag 16
//! ```
//!
//! A piece is sound: 48 kHz, two channels, what was said and what was heard by turns, 16 bits, little-endian, not
//! compressed. Every piece but the last has exactly [`PIECE_BYTES`]; the last one has fewer, perhaps none. That makes
//! 11.5 MB (11.0 MiB) a minute.
//!
//! The key is Argon2id (RFC 9106, version 0x13, the second recommended choice: 64 MiB, three passes, four lanes) of the
//! passphrase's UTF-8 bytes and the salt, 32 bytes. The salt is random, so the key is of this file alone. All is sealed
//! with AES-256-GCM; the nonce is 7 bytes of zero, the piece's number from 0 as four bytes, big-endian, and one byte: 0
//! for a piece, 1 for the last piece, 2 for the head (number 0, nothing encrypted, magic and salt authenticated).
//! This is the construction STREAM of Hoang, Reyhanitabar, Rogaway and Vizár (CRYPTO 2015): pieces cannot change places,
//! none can be left out, and a file that was cut has no last piece.
//!
//! So a recording that ends in the middle (a crash, a full disk) can be read up to its last whole piece, and
//! [`Exported::cut_short`] says so. Nobody without the passphrase can make a shorter recording that looks whole.

mod export;
mod format;
mod recorder;

pub use self::export::{Exported, export};
pub use self::recorder::Recorder;

/// Bytes of a piece: half a second of both voices.
pub const PIECE_BYTES: usize = 96_000;
/// Longest recording: what a WAV file can hold, whose header counts bytes in 32 bits.
pub const MAX_RECORDING_HOURS: u32 = 6;
/// Most frames that wait for the disk: 2.5 s of the shortest frames, 3 MB of the longest.
pub const MAX_QUEUE: usize = 256;
/// Fewest bytes of a passphrase.
pub const MIN_PASSPHRASE: usize = 8;
/// Most bytes of a passphrase.
pub const MAX_PASSPHRASE: usize = 1_024;

/// Most pieces, the last one included.
const MAX_PIECES: u32 = MAX_RECORDING_HOURS * 3_600 * 2;

#[cfg(test)]
mod tests;
