//! The messages of the control stream, one a record.

use vernam_key::KeyId;

use crate::error::SessionError;
use crate::flow::FlowId;
use crate::limits::{MAX_ANNOUNCED_KEYS, MAX_BLOCK_LEN, MAX_KEY_LEN, MAX_NAMED_BYTES};
use crate::suite::Suite;
use crate::transfer::{FileCancelReason, FilePoint, FileStopReason, FileTerms};
use crate::wire::{Malformed, Reader};

/// A key as its sender announces it: name and length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnnouncedKey {
    /// The `key_ID` at both KMEs.
    pub id: KeyId,
    /// Bytes.
    pub len: u32,
}

/// An offer of key for one generation of one flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyOffer {
    /// The flow.
    pub flow: FlowId,
    /// Its generation.
    pub generation: u32,
    /// How the key is to be used.
    pub suite: Suite,
    /// Where in the sender's outbound stock it begins.
    pub start: u64,
    /// Bytes.
    pub len: u32,
    /// Voice under one-time pad: the packet that its first slot is for.
    pub first_seq: u64,
}

/// Why a call is not to be, or is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HangUpReason {
    /// Somebody hung up.
    HungUp,
    /// The called person declined.
    Declined,
    /// The called person is in another call.
    Busy,
    /// Nobody answered.
    NoAnswer,
    /// The contact's policy allows one-time pad only, and the pad is used up.
    KeyUsedUp,
    /// Something failed.
    Failed,
    /// The called person does not want to be disturbed.
    NotDisturbed,
    /// The connection was lost and did not come back in time.
    Lost,
    /// It would be protected less than the called person takes without being asked, and nobody was there to ask.
    Weaker,
    /// The other side's client was started anew, knows nothing of the call, and calls again.
    StartedAnew,
}

impl HangUpReason {
    /// Every reason.
    pub const ALL: [Self; 10] = [
        Self::HungUp,
        Self::Declined,
        Self::Busy,
        Self::NoAnswer,
        Self::KeyUsedUp,
        Self::Failed,
        Self::NotDisturbed,
        Self::Lost,
        Self::Weaker,
        Self::StartedAnew,
    ];

    fn code(self) -> u8 {
        match self {
            Self::HungUp => 0,
            Self::Declined => 1,
            Self::Busy => 2,
            Self::NoAnswer => 3,
            Self::KeyUsedUp => 4,
            Self::Failed => 5,
            Self::NotDisturbed => 6,
            Self::Lost => 7,
            Self::Weaker => 8,
            Self::StartedAnew => 9,
        }
    }
}

/// What a call will sound like, and how it is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallTerms {
    /// The suite of its voice, both ways.
    pub suite: Suite,
    /// Opus bit rate, bit/s.
    pub bit_rate: u32,
    /// Length of a frame, milliseconds.
    pub frame_ms: u8,
    /// Bytes of every Opus packet.
    pub packet_len: u16,
}

/// One message of the control stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Keys appended to the sender's outbound stock from `start` on.
    StockAnnounce {
        /// Position of the first one.
        start: u64,
        /// The keys in order.
        keys: Vec<AnnouncedKey>,
    },
    /// All announced keys up to this position are in the receiver's inbound stock.
    StockReady {
        /// Position after the last one.
        through: u64,
    },
    /// The announced keys from here on could not be had; both sides drop them.
    StockRefused {
        /// Position of the first one.
        start: u64,
    },
    /// Key for a flow.
    KeyOffer(KeyOffer),
    /// The offered key is in place.
    KeyReady {
        /// The flow.
        flow: FlowId,
        /// Its generation.
        generation: u32,
    },
    /// The offered key is not here.
    KeyRefused {
        /// The flow.
        flow: FlowId,
        /// Its generation.
        generation: u32,
    },
    /// Please take a call.
    Ring {
        /// The caller's number for it; also the number of its voice flows.
        call: u32,
        /// What it will be.
        terms: CallTerms,
    },
    /// It rings at the called person's.
    Ringing {
        /// Which call.
        call: u32,
    },
    /// The call is taken.
    Answer {
        /// Which call.
        call: u32,
    },
    /// The call is over, or not to be.
    HangUp {
        /// Which call.
        call: u32,
        /// Why.
        reason: HangUpReason,
    },
    /// The sender's person listens no more, and is silent (or both again).
    Hold {
        /// Which call.
        call: u32,
        /// Whether it is held.
        on: bool,
    },
    /// The sender's microphone is off (or on again).
    Muted {
        /// Which call.
        call: u32,
        /// Whether it is off.
        on: bool,
    },
    /// May the call go on under other terms, in voice flows of another number?
    ChangeAsk {
        /// Which call, by the number that its voice flows have now.
        call: u32,
        /// The number of the new voice flows, from the sender's own.
        new: u32,
        /// What it would be.
        terms: CallTerms,
    },
    /// Whether it may.
    ChangeAnswer {
        /// The new number.
        new: u32,
        /// Whether it may.
        yes: bool,
    },
    /// May the call be recorded at the sender's?
    RecordAsk {
        /// Which call.
        call: u32,
    },
    /// Whether it may. No is also the end of a consent given before.
    RecordAnswer {
        /// Which call.
        call: u32,
        /// Whether it may.
        yes: bool,
    },
    /// The sender records no more.
    RecordStop {
        /// Which call.
        call: u32,
    },
    /// The call that an earlier session between the two had under the number `was` goes on, here.
    Resume {
        /// Its number in the earlier session.
        was: u32,
        /// Its number from now on.
        call: u32,
        /// As they were.
        terms: CallTerms,
    },
    /// How the receiver's voice arrives at the sender's; said now and then, when it has changed.
    Quality {
        /// Which call, by the number that its voice flows have now.
        call: u32,
        /// Voice packets missing lately, percent.
        lost_percent: u8,
        /// Their jitter (RFC 3550, section 6.4.1), milliseconds.
        jitter_ms: u16,
        /// How many of them are missing in a row, on average, in tenths of a packet; 255 also for more, 0 if none is.
        burst_tenths: u8,
    },
    /// Files for you, or the rest of some that were on their way.
    FileOffer {
        /// The sender's number for this try; also the number of its file flow.
        transfer: u32,
        /// What they are.
        terms: FileTerms,
    },
    /// Send the list of names, so that a person can look at it.
    FileList {
        /// Which transfer.
        transfer: u32,
    },
    /// Send the files, from here on.
    FileAccept {
        /// Which transfer.
        transfer: u32,
        /// What the receiver has.
        point: FilePoint,
    },
    /// Send nothing until further notice (or go on).
    FilePause {
        /// Which transfer.
        transfer: u32,
        /// Whether to pause.
        on: bool,
    },
    /// All that came lies on the receiver's disk, whole, verified and in its place.
    FileStored {
        /// Which transfer.
        transfer: u32,
        /// Files that are there.
        files: u32,
        /// Files that could not be read or came damaged.
        failed: u32,
    },
    /// This try is over. What came is kept, and the rest may be offered again.
    FileStop {
        /// Which transfer.
        transfer: u32,
        /// Why.
        reason: FileStopReason,
        /// [`FileStopReason::Full`]: bytes of room that are missing. Otherwise 0.
        missing: u64,
    },
    /// The transfer is over for good, and what came of it is removed.
    FileCancel {
        /// The sender's name for it.
        id: [u8; 16],
        /// Why.
        reason: FileCancelReason,
    },
    /// Please offer the rest of it again.
    FileResume {
        /// The sender's name for it.
        id: [u8; 16],
    },
    /// The initiator dialled this connection for files.
    FilesLane {
        /// The TLS exporter of that connection with the label [`crate::EXPORTER_LABEL`] and the context
        /// [`crate::FILES_LANE_CONTEXT`]: only its two ends know it.
        id: [u8; 32],
    },
    /// The responder has that very connection, too: files may go over it.
    FilesLaneReady {
        /// The same.
        id: [u8; 32],
    },
    /// A text message is on the receiver's screen.
    TextDelivered {
        /// The sender's number for it.
        id: u64,
    },
    /// The session ends.
    Bye,
}

impl Message {
    /// As the plaintext of a control record.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        match self {
            Self::StockAnnounce { start, keys } => {
                out.push(1);
                out.extend_from_slice(&start.to_be_bytes());
                put_keys(&mut out, keys);
            }
            Self::StockReady { through } => put_u64(&mut out, 2, *through),
            Self::StockRefused { start } => put_u64(&mut out, 3, *start),
            Self::KeyOffer(offer) => {
                put_flow(&mut out, 4, offer.flow, offer.generation);
                out.push(offer.suite.code());
                out.extend_from_slice(&offer.start.to_be_bytes());
                out.extend_from_slice(&offer.len.to_be_bytes());
                out.extend_from_slice(&offer.first_seq.to_be_bytes());
            }
            Self::KeyReady { flow, generation } => put_flow(&mut out, 5, *flow, *generation),
            Self::KeyRefused { flow, generation } => put_flow(&mut out, 6, *flow, *generation),
            Self::Ring { call, terms } => {
                put_u32(&mut out, 16, *call);
                put_terms(&mut out, *terms);
            }
            Self::Ringing { call } => put_u32(&mut out, 17, *call),
            Self::Answer { call } => put_u32(&mut out, 18, *call),
            Self::HangUp { call, reason } => {
                put_u32(&mut out, 19, *call);
                out.push(reason.code());
            }
            Self::Hold { call, on } => put_flag(&mut out, 20, *call, *on),
            Self::Muted { call, on } => put_flag(&mut out, 21, *call, *on),
            Self::ChangeAsk { call, new, terms } => {
                put_u32(&mut out, 22, *call);
                out.extend_from_slice(&new.to_be_bytes());
                put_terms(&mut out, *terms);
            }
            Self::ChangeAnswer { new, yes } => put_flag(&mut out, 23, *new, *yes),
            Self::RecordAsk { call } => put_u32(&mut out, 24, *call),
            Self::RecordAnswer { call, yes } => put_flag(&mut out, 25, *call, *yes),
            Self::RecordStop { call } => put_u32(&mut out, 26, *call),
            Self::Resume { was, call, terms } => {
                put_u32(&mut out, 27, *was);
                out.extend_from_slice(&call.to_be_bytes());
                put_terms(&mut out, *terms);
            }
            Self::Quality { call, lost_percent, jitter_ms, burst_tenths } => {
                put_u32(&mut out, 28, *call);
                out.push(*lost_percent);
                out.extend_from_slice(&jitter_ms.to_be_bytes());
                out.push(*burst_tenths);
            }
            Self::FileOffer { transfer, terms } => {
                put_u32(&mut out, 32, *transfer);
                terms.put(&mut out);
            }
            Self::FileList { transfer } => put_u32(&mut out, 33, *transfer),
            Self::FileAccept { transfer, point } => {
                put_u32(&mut out, 34, *transfer);
                point.put(&mut out);
            }
            Self::FilePause { transfer, on } => put_flag(&mut out, 35, *transfer, *on),
            Self::FileStored { transfer, files, failed } => {
                put_u32(&mut out, 36, *transfer);
                out.extend_from_slice(&files.to_be_bytes());
                out.extend_from_slice(&failed.to_be_bytes());
            }
            Self::FileStop { transfer, reason, missing } => {
                put_u32(&mut out, 37, *transfer);
                out.push(reason.code());
                out.extend_from_slice(&missing.to_be_bytes());
            }
            Self::FileCancel { id, reason } => {
                put_id(&mut out, 38, id);
                out.push(reason.code());
            }
            Self::FileResume { id } => put_id(&mut out, 39, id),
            Self::FilesLane { id } => put_id(&mut out, 40, id),
            Self::FilesLaneReady { id } => put_id(&mut out, 41, id),
            Self::TextDelivered { id } => put_u64(&mut out, 48, *id),
            Self::Bye => out.push(63),
        }
        out
    }

    /// Whether this is about files.
    pub fn is_about_files(&self) -> bool {
        matches!(
            self,
            Self::FileOffer { .. }
                | Self::FileList { .. }
                | Self::FileAccept { .. }
                | Self::FilePause { .. }
                | Self::FileStored { .. }
                | Self::FileStop { .. }
                | Self::FileCancel { .. }
                | Self::FileResume { .. }
        )
    }

    /// The call that this message is about, by the number that it has or will have.
    pub fn call(&self) -> Option<u32> {
        match self {
            Self::Ring { call, .. }
            | Self::Ringing { call }
            | Self::Answer { call }
            | Self::HangUp { call, .. }
            | Self::Hold { call, .. }
            | Self::Muted { call, .. }
            | Self::ChangeAsk { call, .. }
            | Self::ChangeAnswer { new: call, .. }
            | Self::RecordAsk { call }
            | Self::RecordAnswer { call, .. }
            | Self::RecordStop { call }
            | Self::Quality { call, .. }
            | Self::Resume { call, .. } => Some(*call),
            _ => None,
        }
    }

    /// From the plaintext of a control record.
    pub fn decode(bytes: &[u8]) -> Result<Self, SessionError> {
        parse(bytes).map_err(|Malformed| SessionError::Protocol { what: "a control message is malformed" })
    }
}

fn parse(bytes: &[u8]) -> Result<Message, Malformed> {
    let mut from = Reader::new(bytes);
    let message = match from.u8()? {
        1 => Message::StockAnnounce { start: from.u64()?, keys: read_keys(&mut from, MAX_ANNOUNCED_KEYS)? },
        2 => Message::StockReady { through: from.u64()? },
        3 => Message::StockRefused { start: from.u64()? },
        4 => {
            let (flow, generation) = read_flow(&mut from)?;
            Message::KeyOffer(KeyOffer {
                flow,
                generation,
                suite: read_suite(&mut from)?,
                start: from.u64()?,
                len: Some(from.u32()?).filter(|len| (1..=MAX_BLOCK_LEN).contains(len)).ok_or(Malformed)?,
                first_seq: from.u64()?,
            })
        }
        5 => read_flow(&mut from).map(|(flow, generation)| Message::KeyReady { flow, generation })?,
        6 => read_flow(&mut from).map(|(flow, generation)| Message::KeyRefused { flow, generation })?,
        16 => Message::Ring { call: from.u32()?, terms: read_terms(&mut from)? },
        17 => Message::Ringing { call: from.u32()? },
        18 => Message::Answer { call: from.u32()? },
        19 => {
            let (call, code) = (from.u32()?, from.u8()?);
            let reason = HangUpReason::ALL.into_iter().find(|reason| reason.code() == code).ok_or(Malformed)?;
            Message::HangUp { call, reason }
        }
        20 => Message::Hold { call: from.u32()?, on: read_bool(&mut from)? },
        21 => Message::Muted { call: from.u32()?, on: read_bool(&mut from)? },
        22 => Message::ChangeAsk { call: from.u32()?, new: from.u32()?, terms: read_terms(&mut from)? },
        23 => Message::ChangeAnswer { new: from.u32()?, yes: read_bool(&mut from)? },
        24 => Message::RecordAsk { call: from.u32()? },
        25 => Message::RecordAnswer { call: from.u32()?, yes: read_bool(&mut from)? },
        26 => Message::RecordStop { call: from.u32()? },
        27 => Message::Resume { was: from.u32()?, call: from.u32()?, terms: read_terms(&mut from)? },
        28 => {
            let (call, lost_percent) = (from.u32()?, from.u8()?);
            let lost_percent = Some(lost_percent).filter(|percent| *percent <= 100).ok_or(Malformed)?;
            Message::Quality { call, lost_percent, jitter_ms: from.u16()?, burst_tenths: from.u8()? }
        }
        32 => Message::FileOffer { transfer: from.u32()?, terms: FileTerms::read(&mut from)? },
        33 => Message::FileList { transfer: from.u32()? },
        34 => Message::FileAccept { transfer: from.u32()?, point: FilePoint::read(&mut from)? },
        35 => Message::FilePause { transfer: from.u32()?, on: read_bool(&mut from)? },
        36 => Message::FileStored { transfer: from.u32()?, files: from.u32()?, failed: from.u32()? },
        37 => {
            let (transfer, reason, missing) = (from.u32()?, FileStopReason::read(&mut from)?, from.u64()?);
            // One way of saying it.
            let fits = missing == 0 || reason == FileStopReason::Full;
            Some(Message::FileStop { transfer, reason, missing }).filter(|_| fits).ok_or(Malformed)?
        }
        38 => Message::FileCancel { id: from.array()?, reason: FileCancelReason::read(&mut from)? },
        39 => Message::FileResume { id: from.array()? },
        40 => Message::FilesLane { id: from.array()? },
        41 => Message::FilesLaneReady { id: from.array()? },
        48 => Message::TextDelivered { id: from.u64()? },
        63 => Message::Bye,
        _ => return Err(Malformed),
    };
    from.end()?;
    Ok(message)
}

fn put_u32(out: &mut Vec<u8>, kind: u8, value: u32) {
    out.push(kind);
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_u64(out: &mut Vec<u8>, kind: u8, value: u64) {
    out.push(kind);
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_flag(out: &mut Vec<u8>, kind: u8, value: u32, flag: bool) {
    put_u32(out, kind, value);
    out.push(u8::from(flag));
}

fn put_terms(out: &mut Vec<u8>, terms: CallTerms) {
    out.push(terms.suite.code());
    out.extend_from_slice(&terms.bit_rate.to_be_bytes());
    out.push(terms.frame_ms);
    out.extend_from_slice(&terms.packet_len.to_be_bytes());
}

fn put_id(out: &mut Vec<u8>, kind: u8, id: &[u8]) {
    out.push(kind);
    out.extend_from_slice(id);
}

fn put_flow(out: &mut Vec<u8>, kind: u8, flow: FlowId, generation: u32) {
    out.extend_from_slice(&[kind, flow.purpose]);
    out.extend_from_slice(&flow.number.to_be_bytes());
    out.extend_from_slice(&generation.to_be_bytes());
}

/// A list of keys: a count in two bytes, then `key_ID` and length of each.
pub(crate) fn put_keys(out: &mut Vec<u8>, keys: &[AnnouncedKey]) {
    out.extend_from_slice(&u16::try_from(keys.len()).unwrap_or(0).to_be_bytes());
    for key in keys {
        out.extend_from_slice(&key.id.to_bytes());
        out.extend_from_slice(&key.len.to_be_bytes());
    }
}

pub(crate) fn read_keys(from: &mut Reader<'_>, limit: usize) -> Result<Vec<AnnouncedKey>, Malformed> {
    let count = usize::from(from.u16()?);
    if count == 0 || count > limit {
        return Err(Malformed);
    }
    let mut keys = Vec::with_capacity(count);
    for _ in 0..count {
        let (id, len) = (KeyId::from_bytes(from.array()?), from.u32()?);
        if len == 0 || len as usize > MAX_KEY_LEN {
            return Err(Malformed);
        }
        keys.push(AnnouncedKey { id, len });
    }
    let all: u64 = keys.iter().map(|key| u64::from(key.len)).sum();
    if all > MAX_NAMED_BYTES {
        return Err(Malformed);
    }
    Ok(keys)
}

fn read_flow(from: &mut Reader<'_>) -> Result<(FlowId, u32), Malformed> {
    let flow = FlowId { purpose: from.u8()?, number: from.u32()? };
    Ok((flow, from.u32()?))
}

pub(crate) fn read_suite(from: &mut Reader<'_>) -> Result<Suite, Malformed> {
    Suite::from_code(from.u8()?).ok_or(Malformed)
}

fn read_terms(from: &mut Reader<'_>) -> Result<CallTerms, Malformed> {
    let (suite, bit_rate) = (read_suite(from)?, from.u32()?);
    Ok(CallTerms { suite, bit_rate, frame_ms: from.u8()?, packet_len: from.u16()? })
}

fn read_bool(from: &mut Reader<'_>) -> Result<bool, Malformed> {
    match from.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed),
    }
}
