//! Records on a stream: control, text and files.
//!
//! A stream opens with a [`StreamHeader`]; then come records, each with a 17-byte header, the ciphertext and a 16-byte
//! tag. Records are numbered from 0 without gaps, and the last one says so: a stream that ends without it was cut.

use std::collections::VecDeque;
use std::time::Duration;

use vernam_key::{Inbound, Outbound, Purpose};

use crate::counters::Counters;
use crate::error::{KeyError, Refusal};
use crate::flow::{FlowContext, FlowId, KeyBlock};
use crate::limits::{
    HASH_KEY_LEN, MAX_GENERATIONS, MAX_RECORD_PLAINTEXT, MAX_REFUSALS, MAX_WAITING_BLOCKS, RECORD_HEADER_LEN,
    STREAM_HEADER_LEN, TAG_LEN,
};
use crate::suite::{Exporter, Left, OpenKey, SealKey, Suite};

/// The flag of a flow's last record.
const FLAG_LAST: u8 = 1;

/// The five bytes that open every unidirectional stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamHeader(pub FlowId);

impl StreamHeader {
    /// As it stands on the wire.
    pub fn to_bytes(self) -> [u8; STREAM_HEADER_LEN] {
        let mut out = [self.0.purpose; STREAM_HEADER_LEN];
        out[1..].copy_from_slice(&self.0.number.to_be_bytes());
        out
    }

    /// From the wire. Any purpose and number is well-formed.
    pub fn parse(bytes: [u8; STREAM_HEADER_LEN]) -> Self {
        let [purpose, number @ ..] = bytes;
        Self(FlowId { purpose, number: u32::from_be_bytes(number) })
    }
}

/// The header of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// Whether the flow ends with this record.
    pub last: bool,
    /// The key block it is sealed under.
    pub generation: u32,
    /// Its number in the flow.
    pub seq: u64,
    /// Bytes of plaintext, and of ciphertext.
    pub len: u32,
}

impl RecordHeader {
    /// As it stands on the wire.
    pub fn to_bytes(self) -> [u8; RECORD_HEADER_LEN] {
        let mut out = [0; RECORD_HEADER_LEN];
        out[0] = self.flags();
        out[1..5].copy_from_slice(&self.generation.to_be_bytes());
        out[5..13].copy_from_slice(&self.seq.to_be_bytes());
        out[13..17].copy_from_slice(&self.len.to_be_bytes());
        out
    }

    /// From the wire. Lengths are checked here, before anything is allocated for the body.
    pub fn parse(bytes: &[u8; RECORD_HEADER_LEN]) -> Result<Self, Refusal> {
        let [flags, g0, g1, g2, g3, s0, s1, s2, s3, s4, s5, s6, s7, l0, l1, l2, l3] = *bytes;
        let len = u32::from_be_bytes([l0, l1, l2, l3]);
        if flags & !FLAG_LAST != 0 || len as usize > MAX_RECORD_PLAINTEXT {
            return Err(Refusal::Malformed);
        }
        Ok(Self {
            last: flags & FLAG_LAST != 0,
            generation: u32::from_be_bytes([g0, g1, g2, g3]),
            seq: u64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
            len,
        })
    }

    /// Bytes of ciphertext and tag that follow the header.
    pub fn body_len(&self) -> usize {
        self.len as usize + TAG_LEN
    }

    fn flags(self) -> u8 {
        if self.last { FLAG_LAST } else { 0 }
    }
}

/// Seals the records of one outgoing flow.
pub struct RecordSealer<P> {
    context: FlowContext,
    exporter: Exporter,
    next_seq: u64,
    next_generation: u32,
    current: Option<Current<P>>,
    waiting: VecDeque<KeyBlock<Outbound>>,
    ended: bool,
    counters: Counters,
}

struct Current<P> {
    key: SealKey<P>,
    generation: u32,
    suite: Suite,
}

impl<P: Purpose> RecordSealer<P> {
    /// A flow without key yet.
    pub fn new(context: FlowContext, exporter: &Exporter) -> Self {
        Self {
            context,
            exporter: exporter.duplicate(),
            next_seq: 0,
            next_generation: 0,
            current: None,
            waiting: VecDeque::new(),
            ended: false,
            counters: Counters::default(),
        }
    }

    /// Adds the flow's next key block. Pad is used up before the next block; an AEAD key gives way at once.
    pub fn install(&mut self, block: KeyBlock<Outbound>) -> Result<(), KeyError> {
        if block.flow != self.context.flow || block.generation != self.next_generation {
            return Err(KeyError::WrongBlock);
        }
        if self.waiting.len() >= MAX_WAITING_BLOCKS {
            return Err(KeyError::WrongBlock);
        }
        self.next_generation += 1;
        self.waiting.push_back(block);
        Ok(())
    }

    /// Bytes of plaintext that can still be sealed with the key at hand (records' own cost left out), and `None` where
    /// an AEAD key sets no bound. A worn AEAD key counts as nothing.
    pub fn pad_left(&self, now: Duration) -> Option<usize> {
        let waiting: usize = self.waiting.iter().map(|block| block.material.len().saturating_sub(HASH_KEY_LEN)).sum();
        match self.current.as_ref().map(|current| current.key.left(now)) {
            Some(Left::Pad(left)) => Some(left + waiting),
            Some(Left::Aead { worn: false }) => None,
            Some(Left::Aead { worn: true }) | None if self.waiting.is_empty() => Some(0),
            Some(Left::Aead { worn: true }) | None => {
                if self.waiting.iter().any(|block| block.suite != Suite::Otp) {
                    None
                } else {
                    Some(waiting)
                }
            }
        }
    }

    /// Whether a record of `len` bytes can be sealed now so that afterwards one block still has `reserve` bytes of pad.
    ///
    /// A record never spans two blocks, and what it does not fit into is passed over: so this asks block by block, where
    /// [`Self::pad_left`] adds them up. An AEAD key always has room.
    pub fn has_room_for(&self, len: usize, reserve: usize, now: Duration) -> bool {
        if !self.is_otp() {
            return true;
        }
        let current = self.current.as_ref().and_then(|current| match current.key.left(now) {
            Left::Pad(left) => Some(left),
            Left::Aead { .. } => None,
        });
        let waiting = self.waiting.iter().map(|block| block.material.len().saturating_sub(HASH_KEY_LEN));
        let mut blocks = current.into_iter().chain(waiting);
        let cost = len.saturating_add(TAG_LEN);
        blocks
            .find(|left| *left >= cost)
            .is_some_and(|left| left - cost >= reserve || blocks.any(|left| left >= reserve))
    }

    /// Longest plaintext that the next record can have, up to `wanted`: never 0 unless key is needed first.
    pub fn fit(&mut self, wanted: usize, now: Duration) -> Result<usize, KeyError> {
        self.advance(1.min(wanted), now)?;
        let room = self.current.as_ref().map_or(0, |current| current.key.room());
        Ok(wanted.min(room).min(MAX_RECORD_PLAINTEXT))
    }

    /// Seals `plaintext` as the next record and appends header, ciphertext and tag to `out`.
    pub fn seal(&mut self, plaintext: &[u8], last: bool, out: &mut Vec<u8>, now: Duration) -> Result<(), KeyError> {
        let start = out.len();
        out.reserve(RECORD_HEADER_LEN + plaintext.len() + TAG_LEN);
        out.extend_from_slice(&[0; RECORD_HEADER_LEN]);
        out.extend_from_slice(plaintext);
        let sealed = self.seal_from(start, last, out, now);
        if sealed.is_err() {
            zeroize::zeroize_bytes(&mut out[start..]);
            out.truncate(start);
        }
        sealed
    }

    /// Seals, as the next record, the plaintext that stands in `record` behind [`RECORD_HEADER_LEN`] bytes of room: puts
    /// the header there, encrypts in place and appends the tag. For files, whose bytes are read to where they are needed
    /// and never copied.
    ///
    /// [`KeyError::NeedKey`], [`KeyError::TooLong`] and [`KeyError::Ended`] leave `record` as it was, to be tried again.
    ///
    /// # Panics
    /// If `record` has no room for the header.
    pub fn seal_in_place(&mut self, record: &mut Vec<u8>, last: bool, now: Duration) -> Result<(), KeyError> {
        assert!(record.len() >= RECORD_HEADER_LEN, "the caller leaves room for the header");
        self.seal_from(0, last, record, now)
    }

    /// Seals what stands in `out` from `start` on, the room for the header first.
    fn seal_from(&mut self, start: usize, last: bool, out: &mut Vec<u8>, now: Duration) -> Result<(), KeyError> {
        if self.ended {
            return Err(KeyError::Ended);
        }
        let plaintext_len = out.len() - start - RECORD_HEADER_LEN;
        let len = u32::try_from(plaintext_len)
            .ok()
            .filter(|len| *len as usize <= MAX_RECORD_PLAINTEXT)
            .ok_or(KeyError::TooLong { len: plaintext_len })?;
        self.advance(plaintext_len, now)?;
        let current = self.current.as_mut().ok_or(KeyError::NeedKey)?;
        let header = RecordHeader { last, generation: current.generation, seq: self.next_seq, len };
        let next_seq = self.next_seq.checked_add(1).ok_or(KeyError::NumbersUsedUp)?;
        let aad = self.context.aad(header.generation, current.suite, header.seq, len, header.flags());
        let mut tag = [0; TAG_LEN];
        let (room, data) = out[start..].split_at_mut(RECORD_HEADER_LEN);
        current.key.seal(&aad, header.seq, data, &mut tag)?;
        room.copy_from_slice(&header.to_bytes());
        out.extend_from_slice(&tag);
        self.next_seq = next_seq;
        self.ended = last;
        self.counters.accept(plaintext_len);
        Ok(())
    }

    /// Whether the next record will be sealed under one-time pad.
    pub fn is_otp(&self) -> bool {
        let current = self.current.as_ref().map(|current| current.suite);
        current.or_else(|| self.waiting.front().map(|block| block.suite)) == Some(Suite::Otp)
    }

    /// What was sealed.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Moves to the next block if the current one has no room for `len` bytes, or if it is an AEAD key and a newer one
    /// is here.
    fn advance(&mut self, len: usize, now: Duration) -> Result<(), KeyError> {
        loop {
            let keep = self.current.as_ref().is_some_and(|current| match current.key.left(now) {
                Left::Pad(left) => left >= len.saturating_add(TAG_LEN),
                Left::Aead { .. } => self.waiting.is_empty(),
            });
            if keep {
                return Ok(());
            }
            let block = self.waiting.pop_front().ok_or(KeyError::NeedKey)?;
            let (generation, suite) = (block.generation, block.suite);
            let key = SealKey::new(&self.context, block, &self.exporter, TAG_LEN, now)?;
            self.current = Some(Current { key, generation, suite });
        }
    }
}

/// Opens the records of one incoming flow, in order.
pub struct RecordOpener<P> {
    context: FlowContext,
    exporter: Exporter,
    next_seq: u64,
    next_generation: u32,
    keys: VecDeque<(u32, Suite, OpenKey<P>)>,
    ended: bool,
    counters: Counters,
}

impl<P: Purpose> RecordOpener<P> {
    /// A flow without key yet.
    pub fn new(context: FlowContext, exporter: &Exporter) -> Self {
        Self {
            context,
            exporter: exporter.duplicate(),
            next_seq: 0,
            next_generation: 0,
            keys: VecDeque::new(),
            ended: false,
            counters: Counters::default(),
        }
    }

    /// Adds the flow's next key block.
    pub fn install(&mut self, block: KeyBlock<Inbound>) -> Result<(), KeyError> {
        let in_turn = block.flow == self.context.flow && block.generation == self.next_generation;
        if !in_turn || self.keys.len() >= MAX_GENERATIONS {
            return Err(KeyError::WrongBlock);
        }
        let (generation, suite) = (block.generation, block.suite);
        let key = OpenKey::new(&self.context, block, &self.exporter)?;
        self.next_generation += 1;
        self.keys.push_back((generation, suite, key));
        Ok(())
    }

    /// Whether [`Self::install`] has room. While it has not, its records are still on their way: leave the answer to
    /// [`crate::Output::TakeInbound`] until it has, so that the sender waits.
    pub fn has_room_for_key(&self) -> bool {
        self.keys.len() < MAX_GENERATIONS
    }

    /// Opens the record with `header` whose ciphertext and tag are `body`, in place, and returns the plaintext.
    ///
    /// A refused record changes nothing but the counters: the genuine one is still awaited.
    pub fn open<'body>(&mut self, header: &RecordHeader, body: &'body mut [u8]) -> Result<&'body mut [u8], Refusal> {
        match self.try_open(header, body) {
            Ok(()) => {
                self.next_seq += 1;
                self.ended = header.last;
                self.counters.accept(header.len as usize);
                Ok(&mut body[..header.len as usize])
            }
            Err(why) => {
                self.counters.refuse(why);
                Err(why)
            }
        }
    }

    /// Whether the last record was opened: a stream that ends before that was cut.
    pub fn is_complete(&self) -> bool {
        self.ended
    }

    /// Whether so many records were refused that the flow must be given up.
    pub fn is_closed(&self) -> bool {
        self.counters.refused_total() >= MAX_REFUSALS
    }

    /// What was opened and refused.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn try_open(&mut self, header: &RecordHeader, body: &mut [u8]) -> Result<(), Refusal> {
        if self.is_closed() {
            return Err(Refusal::Closed);
        }
        if self.ended {
            return Err(Refusal::AfterEnd);
        }
        if body.len() != header.body_len() {
            return Err(Refusal::Malformed);
        }
        if header.seq < self.next_seq {
            return Err(Refusal::Replayed);
        }
        if header.seq > self.next_seq || header.seq == u64::MAX {
            return Err(Refusal::Gap);
        }
        let (data, tag) = body.split_at_mut(header.len as usize);
        let at = self.keys.iter().position(|(generation, ..)| *generation == header.generation);
        let at = at.ok_or(Refusal::UnknownKey)?;
        let (generation, suite, key) = &mut self.keys[at];
        let aad = self.context.aad(*generation, *suite, header.seq, header.len, header.flags());
        key.open(&aad, header.seq, data, tag)?;
        // The sender never goes back to an earlier generation: wipe them, now that this one has proved genuine.
        self.keys.drain(..at);
        Ok(())
    }
}
