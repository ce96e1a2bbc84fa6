//! The flows of one party, driven as an engine would drive them: key is asked for when it is needed, work waits for it.

use std::collections::VecDeque;
use std::time::Duration;

use vernam_key::{Inbound, Outbound, Purpose};
use vernam_session::limits::{AEAD_SEED_LEN, HASH_KEY_LEN, RECORD_HEADER_LEN, STREAM_HEADER_LEN, TAG_LEN};
use vernam_session::{
    FlowId, KeyBlock, KeyError, RecordHeader, RecordOpener, RecordSealer, Refusal, Session, StreamHeader, Suite,
    VoiceOpener, VoiceSealer, voice_pad_len,
};

use super::Seen;

/// Whether a flow waits for key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asking {
    Idle,
    Asked,
    /// There was none: it asks again when there is more stock.
    Starved,
}

/// What waits to be sealed.
struct Work {
    bytes: Vec<u8>,
    /// Must be one record, as a text is; otherwise it is cut to the pad at hand, as a file is.
    whole: bool,
    last: bool,
}

/// An outgoing stream of records.
pub struct StreamOut<P> {
    /// The session's part.
    pub sealer: RecordSealer<P>,
    flow: FlowId,
    suite: Suite,
    work: VecDeque<Work>,
    pub(super) asking: Asking,
}

impl<P: Purpose> StreamOut<P> {
    pub(super) fn new(sealer: RecordSealer<P>, flow: FlowId, suite: Suite) -> Self {
        Self { sealer, flow, suite, work: VecDeque::new(), asking: Asking::Idle }
    }

    pub(super) fn push(&mut self, bytes: Vec<u8>, whole: bool, last: bool) {
        self.work.push_back(Work { bytes, whole, last });
    }

    pub(super) fn install(&mut self, block: KeyBlock<Outbound>) {
        self.asking = Asking::Idle;
        self.sealer.install(block).expect("the session gives a flow its blocks in turn");
    }

    /// Seals what the key at hand allows, and asks for more key if something is left.
    pub(super) fn pump(&mut self, session: &mut Session, block_len: u32, now: Duration) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        while let Some(work) = self.work.front_mut() {
            let fits = if work.whole { Ok(work.bytes.len()) } else { self.sealer.fit(work.bytes.len(), now) };
            let mut record = Vec::new();
            let sealed = fits.and_then(|len| {
                let last = work.last && len == work.bytes.len();
                self.sealer.seal(&work.bytes[..len], last, &mut record, now).map(|()| len)
            });
            match sealed {
                Ok(len) => {
                    work.bytes.drain(..len);
                    if work.bytes.is_empty() {
                        self.work.pop_front();
                    }
                    records.push(record);
                }
                Err(KeyError::NeedKey) => break,
                Err(other) => panic!("{}: {other}", self.flow),
            }
        }
        let needs = self.work.front().map(|work| if work.whole { work.bytes.len() } else { 0 });
        let worn = self.suite != Suite::Otp && self.sealer.pad_left(now) == Some(0) && !records.is_empty();
        if self.asking == Asking::Idle && (needs.is_some() || worn) {
            let len = if self.suite == Suite::Otp {
                block_len.max(u32::try_from(needs.unwrap_or(0) + HASH_KEY_LEN + TAG_LEN).expect("work is short"))
            } else {
                u32::try_from(AEAD_SEED_LEN).expect("it is 32")
            };
            if session.request_key(self.flow, self.suite, len, 0).is_ok() {
                self.asking = Asking::Asked;
            }
        }
        records
    }
}

/// An incoming stream of records.
pub struct StreamIn<P> {
    /// The session's part.
    pub opener: RecordOpener<P>,
    flow: FlowId,
    buffer: Vec<u8>,
    header_seen: bool,
    lost: bool,
}

impl<P: Purpose> StreamIn<P> {
    pub(super) fn new(opener: RecordOpener<P>, flow: FlowId) -> Self {
        Self { opener, flow, buffer: Vec::new(), header_seen: false, lost: false }
    }

    pub(super) fn install(&mut self, block: KeyBlock<Inbound>) -> Result<(), KeyError> {
        self.opener.install(block)
    }

    /// Bytes that wait for the rest of their record.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    pub(super) fn push(&mut self, bytes: &[u8], seen: &mut Vec<Seen>) {
        if self.lost {
            return;
        }
        self.buffer.extend_from_slice(bytes);
        while let Some(event) = self.next() {
            self.lost |= matches!(event, Seen::Lost(_));
            seen.push(event);
        }
        if self.lost {
            self.buffer = Vec::new();
        }
    }

    pub(super) fn end(&self, seen: &mut Vec<Seen>) {
        seen.push(if self.opener.is_complete() { Seen::Ended(self.flow) } else { Seen::CutOff(self.flow) });
    }

    fn next(&mut self) -> Option<Seen> {
        if self.lost {
            return None;
        }
        if !self.header_seen {
            let header = *self.buffer.first_chunk::<STREAM_HEADER_LEN>()?;
            self.buffer.drain(..STREAM_HEADER_LEN);
            self.header_seen = true;
            if StreamHeader::parse(header).0 != self.flow {
                return Some(Seen::Lost(self.flow));
            }
        }
        if self.opener.is_closed() {
            return Some(Seen::Lost(self.flow));
        }
        let header = match RecordHeader::parse(self.buffer.first_chunk::<RECORD_HEADER_LEN>()?) {
            Ok(header) => header,
            // Without a length there is no next record.
            Err(_malformed) => return Some(Seen::Lost(self.flow)),
        };
        let end = RECORD_HEADER_LEN + header.body_len();
        if self.buffer.len() < end {
            return None;
        }
        let mut record: Vec<u8> = self.buffer.drain(..end).collect();
        Some(match self.opener.open(&header, &mut record[RECORD_HEADER_LEN..]) {
            Ok(plaintext) => Seen::Record(self.flow, plaintext.to_vec()),
            Err(why) => Seen::Refused(self.flow, why),
        })
    }
}

/// The voice of one call, both ways.
pub struct Call {
    /// What we say.
    pub sealer: VoiceSealer,
    /// What we hear.
    pub opener: VoiceOpener,
    flow: FlowId,
    suite: Suite,
    frame_len: usize,
    block_packets: usize,
    /// Packets that all key asked for so far is enough for.
    covered: u64,
    pub(super) asking: Asking,
    /// Frames that could not be sealed for want of key.
    pub unsent: usize,
}

impl Call {
    pub(super) fn new(sealer: VoiceSealer, opener: VoiceOpener, flow: FlowId, suite: Suite, terms: [usize; 2]) -> Self {
        let [frame_len, block_packets] = terms;
        Self { sealer, opener, flow, suite, frame_len, block_packets, covered: 0, asking: Asking::Idle, unsent: 0 }
    }

    pub(super) fn install(&mut self, block: KeyBlock<Outbound>) {
        self.asking = Asking::Idle;
        self.covered += self.block_packets as u64;
        self.sealer.install(block).expect("the session gives a flow its blocks in turn");
    }

    /// Asks for the next block when half of one is left, or when the AEAD key is due.
    pub(super) fn pump(&mut self, session: &mut Session, now: Duration) {
        let low = self.sealer.packets_left(now).is_some_and(|left| left <= self.block_packets / 2);
        if self.asking != Asking::Idle || !low {
            return;
        }
        let (len, first_seq) = if self.suite == Suite::Otp {
            (voice_pad_len(self.frame_len, self.block_packets), self.covered)
        } else {
            (AEAD_SEED_LEN, 0)
        };
        let len = u32::try_from(len).expect("blocks are short");
        if session.request_key(self.flow, self.suite, len, first_seq).is_ok() {
            self.asking = Asking::Asked;
        }
    }

    /// The datagram of one frame, or nothing where there is no key for it.
    pub(super) fn seal(&mut self, frame: &[u8], now: Duration) -> Option<Vec<u8>> {
        let mut datagram = Vec::new();
        match self.sealer.seal(frame, &mut datagram, now) {
            Ok(_seq) => Some(datagram),
            Err(KeyError::NeedKey) => {
                self.unsent += 1;
                None
            }
            Err(other) => panic!("{}: {other}", self.flow),
        }
    }

    pub(super) fn open(&mut self, datagram: &mut [u8]) -> Seen {
        match self.opener.open(datagram) {
            Ok((seq, frame)) => Seen::Voice(self.flow.number, seq, frame.to_vec()),
            Err(why) => Seen::Refused(self.flow, why),
        }
    }
}

/// A datagram for no call that there is.
pub(super) fn stray(flow: FlowId) -> Seen {
    Seen::Refused(flow, Refusal::WrongFlow)
}
