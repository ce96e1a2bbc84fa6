//! How contents of files stand in one stream of bytes: frames, and how they are read out of pieces of any size. It knows
//! the format, not the files; `README.md` has the table.

use std::fmt;

use thiserror::Error;

use crate::error::FrameError;
use crate::limits::{MAX_FRAME, MIN_PIECE};

const BEGIN: u8 = 1;
const DATA: u8 = 2;
const END: u8 = 3;
const FAILED: u8 = 4;
const DONE: u8 = 5;
/// Bytes before the content in a frame of content.
pub(crate) const DATA_HEADER: usize = 5;
/// The longest frame but for content: type, two counts and a hash.
const LONGEST: usize = 41;

/// A transfer's name, the same on both sides: random, from whoever offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferId(pub [u8; 16]);

impl TransferId {
    /// From its 32 hexadecimal digits, as it is printed.
    pub fn parse(text: &str) -> Option<Self> {
        let lower = text.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit));
        let number = (text.len() == 32 && lower).then(|| u128::from_str_radix(text, 16).ok()).flatten()?;
        Some(Self(number.to_be_bytes()))
    }
}

impl fmt::Display for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// A BLAKE3 hash, as `b3sum` prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl From<blake3::Hash> for Hash {
    fn from(hash: blake3::Hash) -> Self {
        Self(*hash.as_bytes())
    }
}

/// Why one file of a transfer did not come, while the others go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Failure {
    /// It is not there any more.
    #[error("it vanished")]
    Vanished,
    /// It is not the file that was offered, or was written to, since it was offered or while it was read.
    #[error("it was changed while it was on its way")]
    Changed,
    /// It ended early.
    #[error("it became shorter while it was on its way")]
    Shorter,
    /// It went on after its end.
    #[error("it grew while it was on its way")]
    Longer,
    /// The system forbids it.
    #[error("reading it is not permitted")]
    NotPermitted,
    /// The disk, or what it stands for, failed.
    #[error("it could not be read")]
    Unreadable,
    /// What came is not what was read: some memory or program between the two disks is faulty.
    #[error("what came is not what was read")]
    Damaged,
}

const FAILURES: [Failure; 7] = [
    Failure::Vanished,
    Failure::Changed,
    Failure::Shorter,
    Failure::Longer,
    Failure::NotPermitted,
    Failure::Unreadable,
    Failure::Damaged,
];

impl Failure {
    pub(crate) fn code(self) -> u8 {
        (1..).zip(FAILURES).find(|(_, one)| *one == self).map_or(0, |(code, _)| code)
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        FAILURES.get(usize::from(code).checked_sub(1)?).copied()
    }
}

/// One file has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileEnd {
    /// Which entry of the manifest.
    pub entry: u32,
    /// Its hash, or why it did not come.
    pub outcome: Result<Hash, Failure>,
}

/// Where the receiver is: all files before `entry` are there, or failed; of that one, `offset` bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResumePoint {
    /// The first file that is not complete; the number of entries if none is.
    pub entry: u32,
    /// Bytes of it that are there.
    pub offset: u64,
    /// BLAKE3 of these bytes.
    pub prefix: Hash,
}

impl ResumePoint {
    /// Bytes of an encoded one.
    pub const LEN: usize = 44;

    /// From the very beginning.
    pub fn start() -> Self {
        Self { entry: 0, offset: 0, prefix: blake3::hash(b"").into() }
    }

    /// For the wire: entry and offset, big-endian, and the hash.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..4].copy_from_slice(&self.entry.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.offset.to_be_bytes());
        bytes[12..].copy_from_slice(&self.prefix.0);
        bytes
    }

    /// From the wire. Whether the offer has such a place shows [`Outgoing::resume`](crate::Outgoing::resume).
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        Self { entry: u32_at(bytes, 0), offset: u64_at(bytes, 4), prefix: Hash(array_at(bytes, 12)) }
    }
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

/// Four bytes, big-endian; the caller knows that they are there.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(array_at(bytes, at))
}

/// Eight bytes, big-endian; the caller knows that they are there.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(array_at(bytes, at))
}

/// One step of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// The next bytes are of this file, from here on.
    Begin { entry: u32, offset: u64 },
    /// Content.
    Data(&'a [u8]),
    /// The file is complete, and this is what was read.
    End(Hash),
    /// The file does not come.
    Failed(Failure),
    /// All files have had their end: so many came whole, so many failed, since the stream began, and what [`Root`] made of
    /// all ends.
    Done { sent: u32, failed: u32, root: Hash },
}

impl Frame<'_> {
    /// Appends the frame.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Begin { entry, offset } => {
                out.push(BEGIN);
                out.extend(entry.to_be_bytes());
                out.extend(offset.to_be_bytes());
            }
            Self::Data(content) => {
                out.extend(data_header(content.len()));
                out.extend(*content);
            }
            Self::End(hash) => {
                out.push(END);
                out.extend(hash.0);
            }
            Self::Failed(failure) => out.extend([FAILED, failure.code()]),
            Self::Done { sent, failed, root } => {
                out.push(DONE);
                out.extend(sent.to_be_bytes());
                out.extend(failed.to_be_bytes());
                out.extend(root.0);
            }
        }
    }
}

/// The most that the rest of a stream has, bytes: so many files, with so many bytes of content, read in pieces of `piece`
/// bytes. What it costs under one-time pad follows from it, before the first byte.
pub fn stream_len(files: u32, bytes: u64, piece: usize) -> u64 {
    /// Begin, End, and the header of the first content.
    const FILE: u64 = 13 + 33 + DATA_HEADER as u64;
    let whole = bytes.saturating_add(u64::from(files) * FILE).saturating_add(LONGEST as u64);
    // A piece is filled up to the least room that a step needs, and breaks at most one frame of content.
    let pieces = whole.div_ceil((piece.max(2 * MIN_PIECE) - MIN_PIECE - DATA_HEADER) as u64);
    whole.saturating_add(pieces * DATA_HEADER as u64)
}

/// One hash of how all files of a stream ended, in their order: BLAKE3 of entry (4 bytes) and 0 and the file's hash, or
/// entry and why it failed, of each.
#[derive(Default)]
pub(crate) struct Root(blake3::Hasher);

impl Root {
    pub(crate) fn file(&mut self, entry: u32, end: Result<Hash, Failure>) {
        self.0.update(&entry.to_be_bytes());
        match end {
            Ok(hash) => self.0.update(&[0]).update(&hash.0),
            Err(failure) => self.0.update(&[failure.code()]),
        };
    }

    pub(crate) fn hash(&self) -> Hash {
        self.0.finalize().into()
    }
}

/// What stands before `len` bytes of content.
pub(crate) fn data_header(len: usize) -> [u8; DATA_HEADER] {
    let len = u32::try_from(len).expect("a frame is far shorter than 4 GiB").to_be_bytes();
    [DATA, len[0], len[1], len[2], len[3]]
}

/// Takes frames out of pieces. Content is passed on as it comes; of other frames at most one is kept.
pub(crate) struct Parser {
    partial: [u8; LONGEST],
    filled: usize,
    /// Bytes of a frame of content that are still to come.
    content: usize,
}

impl Default for Parser {
    fn default() -> Self {
        Self { partial: [0; LONGEST], filled: 0, content: 0 }
    }
}

impl Parser {
    /// The next frame in `piece`, which is moved on behind it; `None` when the piece is used up.
    pub(crate) fn next<'a>(&mut self, piece: &mut &'a [u8]) -> Result<Option<Frame<'a>>, FrameError> {
        loop {
            if self.content > 0 {
                let (content, rest) = piece.split_at(self.content.min(piece.len()));
                *piece = rest;
                self.content -= content.len();
                return Ok((!content.is_empty()).then_some(Frame::Data(content)));
            }
            let Some(len) = self.length()? else {
                let Some((first, rest)) = piece.split_first() else { return Ok(None) };
                (self.partial[0], self.filled, *piece) = (*first, 1, rest);
                continue;
            };
            let (taken, rest) = piece.split_at((len - self.filled).min(piece.len()));
            self.partial[self.filled..self.filled + taken.len()].copy_from_slice(taken);
            self.filled += taken.len();
            *piece = rest;
            if self.filled < len {
                return Ok(None);
            }
            self.filled = 0;
            if let Some(frame) = self.frame()? {
                return Ok(Some(frame));
            }
        }
    }

    /// Bytes of the frame that has begun, without content.
    fn length(&self) -> Result<Option<usize>, FrameError> {
        if self.filled == 0 {
            return Ok(None);
        }
        match self.partial[0] {
            BEGIN => Ok(Some(13)),
            DATA => Ok(Some(DATA_HEADER)),
            END => Ok(Some(33)),
            FAILED => Ok(Some(2)),
            DONE => Ok(Some(LONGEST)),
            other => Err(FrameError::Unknown(other)),
        }
    }

    /// The frame that is complete; none if content follows.
    fn frame(&mut self) -> Result<Option<Frame<'static>>, FrameError> {
        let bytes = &self.partial;
        Ok(Some(match bytes[0] {
            BEGIN => Frame::Begin { entry: u32_at(bytes, 1), offset: u64_at(bytes, 5) },
            DATA => {
                let len = u32_at(bytes, 1);
                self.content = usize::try_from(len).unwrap_or(usize::MAX);
                if self.content == 0 || self.content > MAX_FRAME {
                    return Err(FrameError::Length(len));
                }
                return Ok(None);
            }
            END => Frame::End(Hash(array_at(bytes, 1))),
            FAILED => Frame::Failed(Failure::from_code(bytes[1]).ok_or(FrameError::Unknown(FAILED))?),
            _ => Frame::Done { sent: u32_at(bytes, 1), failed: u32_at(bytes, 5), root: Hash(array_at(bytes, 9)) },
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream() -> Vec<u8> {
        let mut out = Vec::new();
        Frame::Begin { entry: 3, offset: 1 << 40 }.put(&mut out);
        Frame::Data(b"content of a file").put(&mut out);
        Frame::End(Hash([5; 32])).put(&mut out);
        Frame::Begin { entry: 4, offset: 0 }.put(&mut out);
        Frame::Failed(Failure::Longer).put(&mut out);
        Frame::Done { sent: 1, failed: 1, root: Hash([6; 32]) }.put(&mut out);
        out
    }

    /// The frames of a stream that comes in pieces, content joined.
    fn parsed(pieces: &[&[u8]]) -> Result<(Vec<String>, Vec<u8>), FrameError> {
        let (mut parser, mut frames, mut content) = (Parser::default(), Vec::new(), Vec::new());
        for mut piece in pieces.iter().copied() {
            while let Some(frame) = parser.next(&mut piece)? {
                match frame {
                    Frame::Data(bytes) => content.extend(bytes),
                    other => frames.push(format!("{other:?}")),
                }
            }
            assert!(piece.is_empty());
        }
        Ok((frames, content))
    }

    proptest! {
        #[test]
        fn frames_come_whole_out_of_pieces_of_any_size(cuts in prop::collection::vec(1_usize..20, 1..80)) {
            let bytes = stream();
            let (mut pieces, mut rest) = (Vec::new(), bytes.as_slice());
            for cut in cuts {
                let (piece, more) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = more;
            }
            pieces.push(rest);
            prop_assert_eq!(parsed(&pieces), parsed(&[&bytes]));
            prop_assert_eq!(parsed(&pieces).unwrap().1, b"content of a file");
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parsed(&[&bytes]);
        }
    }

    #[test]
    fn frames_that_are_none_are_refused() {
        assert_eq!(parsed(&[&[0]]), Err(FrameError::Unknown(0)));
        assert_eq!(parsed(&[&[DATA, 0, 0, 0, 0]]), Err(FrameError::Length(0)));
        assert_eq!(parsed(&[&[DATA, 255, 255, 255, 255]]), Err(FrameError::Length(u32::MAX)));
        assert_eq!(parsed(&[&[FAILED, 0]]), Err(FrameError::Unknown(FAILED)));
        for failure in FAILURES {
            assert_eq!(Failure::from_code(failure.code()), Some(failure));
        }
    }

    #[test]
    fn names_and_places_come_back() {
        let id = TransferId([0xab; 16]);
        assert_eq!(TransferId::parse(&id.to_string()), Some(id));
        assert_eq!(TransferId::parse("AB"), None);
        let point = ResumePoint { entry: 9, offset: u64::MAX, prefix: Hash([1; 32]) };
        assert_eq!(ResumePoint::from_bytes(&point.to_bytes()), point);
    }
}
