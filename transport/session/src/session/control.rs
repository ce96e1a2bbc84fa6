//! The two ends of the control stream: cutting bytes into records, and keeping messages until there is pad for them.

use std::collections::VecDeque;
use std::time::Duration;

use vernam_key::{Control, Inbound, Outbound};

use super::{Common, Output};
use crate::error::{Refusal, SessionError};
use crate::flow::KeyBlock;
use crate::limits::{
    ANNOUNCED_KEY_LEN, CONTROL_KEY_RESERVE, CONTROL_LAST_WORDS, CONTROL_REFILL_BELOW, CONTROL_RESERVE,
    MAX_ANNOUNCED_KEYS, MAX_CONTROL_PLAINTEXT, MAX_QUEUED_CONTROL, RECORD_HEADER_LEN,
};
use crate::message::{KeyOffer, Message};
use crate::record::{RecordHeader, RecordOpener, RecordSealer};

/// Our side of the control stream.
///
/// Under one-time pad its messages have ranks, each of which may use more of the last pad than the one before. So
/// neither an empty stock nor a talkative peer can take away the means to fill the stock again, or to hang up.
pub(super) struct ControlOut {
    sealer: RecordSealer<Control>,
    /// Messages that wait for pad, by rank, each rank in order.
    waiting: [VecDeque<Message>; 3],
}

/// What a message is for, the most dispensable first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rank {
    Ordinary = 0,
    /// Tells of keys.
    Stock = 1,
    /// Brings key to the control stream itself.
    ControlKey = 2,
    LastWords = 3,
}

impl Rank {
    fn of(message: &Message) -> Self {
        match message {
            Message::HangUp { .. } | Message::Bye => Self::LastWords,
            Message::StockAnnounce { .. } | Message::StockReady { .. } | Message::StockRefused { .. } => Self::Stock,
            Message::KeyOffer(KeyOffer { flow, .. })
            | Message::KeyReady { flow, .. }
            | Message::KeyRefused { flow, .. }
                if *flow == Common::control() =>
            {
                Self::ControlKey
            }
            _ => Self::Ordinary,
        }
    }

    /// Bytes of pad that a message of this rank must leave.
    fn leaves(self) -> usize {
        match self {
            Self::Ordinary => CONTROL_RESERVE,
            Self::Stock => CONTROL_KEY_RESERVE,
            Self::ControlKey => CONTROL_LAST_WORDS,
            Self::LastWords => 0,
        }
    }
}

impl ControlOut {
    pub(super) fn new(sealer: RecordSealer<Control>) -> Self {
        Self { sealer, waiting: [const { VecDeque::new() }; 3] }
    }

    pub(super) fn install(&mut self, block: KeyBlock<Outbound>) -> Result<(), SessionError> {
        Ok(self.sealer.install(block)?)
    }

    /// Whether it is time to ask for the next key.
    pub(super) fn wants_key(&self, now: Duration) -> bool {
        self.sealer.pad_left(now).is_some_and(|left| left < CONTROL_REFILL_BELOW)
    }

    /// How many keys the next announcement should name, so that the pad at hand is enough for it.
    pub(super) fn announceable(&self, now: Duration) -> usize {
        let fixed = Message::StockAnnounce { start: 0, keys: Vec::new() }.encode().len();
        let fits = |keys: &usize| self.sealer.has_room_for(fixed + keys * ANNOUNCED_KEY_LEN, CONTROL_KEY_RESERVE, now);
        // Where none fits, the announcement waits for pad, which then is enough for a long one.
        (1..=MAX_ANNOUNCED_KEYS).rev().find(fits).unwrap_or(MAX_ANNOUNCED_KEYS)
    }

    /// Sends `message`, or keeps it until there is pad.
    pub(super) fn send(
        &mut self,
        message: Message,
        now: Duration,
        out: &mut VecDeque<Output>,
    ) -> Result<(), SessionError> {
        if let Message::HangUp { call: over, .. } = &message {
            self.waiting[Rank::Ordinary as usize].retain(|kept| kept.call() != Some(*over));
        }
        let has_room = self.has_room(&message, now);
        let waiting: usize = self.waiting.iter().map(VecDeque::len).sum();
        match self.waiting.get_mut(Rank::of(&message) as usize) {
            // Last words do not wait. Without any pad they stay unsaid: the end of the stream says it.
            None if !has_room => Ok(()),
            Some(queue) if !queue.is_empty() || !has_room => {
                if waiting >= MAX_QUEUED_CONTROL {
                    return Err(SessionError::ControlStarved);
                }
                queue.push_back(message);
                Ok(())
            }
            _ => self.seal(&message, now, out),
        }
    }

    /// Sends what was kept, as far as the pad goes, the highest rank first.
    pub(super) fn flush(&mut self, now: Duration, out: &mut VecDeque<Output>) -> Result<(), SessionError> {
        for rank in [Rank::ControlKey, Rank::Stock, Rank::Ordinary] {
            while let Some(message) = self.waiting[rank as usize].pop_front() {
                if !self.has_room(&message, now) {
                    self.waiting[rank as usize].push_front(message);
                    return Ok(());
                }
                self.seal(&message, now, out)?;
            }
        }
        Ok(())
    }

    fn has_room(&self, message: &Message, now: Duration) -> bool {
        self.sealer.has_room_for(message.encode().len(), Rank::of(message).leaves(), now)
    }

    fn seal(&mut self, message: &Message, now: Duration, out: &mut VecDeque<Output>) -> Result<(), SessionError> {
        let mut bytes = Vec::new();
        let last = matches!(message, Message::Bye);
        self.sealer.seal(&message.encode(), last, &mut bytes, now)?;
        out.push_back(Output::Send(bytes));
        Ok(())
    }
}

/// The peer's side of the control stream.
pub(super) struct ControlIn {
    opener: RecordOpener<Control>,
    received: Vec<u8>,
}

impl ControlIn {
    pub(super) fn new(opener: RecordOpener<Control>) -> Self {
        Self { opener, received: Vec::new() }
    }

    pub(super) fn install(&mut self, block: KeyBlock<Inbound>) -> bool {
        self.opener.install(block).is_ok()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.opener.is_complete()
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    /// The next message, once its record is whole. Refused records are reported and passed over.
    pub(super) fn next(&mut self, out: &mut VecDeque<Output>) -> Result<Option<Message>, SessionError> {
        loop {
            if self.opener.is_closed() {
                return Err(SessionError::TamperedControl);
            }
            let Some(header) = self.received.first_chunk::<RECORD_HEADER_LEN>() else { return Ok(None) };
            // A broken length leaves no way to find the next record: the stream is lost.
            let header = RecordHeader::parse(header)
                .ok()
                .filter(|header| header.len as usize <= MAX_CONTROL_PLAINTEXT)
                .ok_or(SessionError::Protocol { what: "a control record is malformed" })?;
            let end = RECORD_HEADER_LEN + header.body_len();
            if self.received.len() < end {
                return Ok(None);
            }
            let mut record: Vec<u8> = self.received.drain(..end).collect();
            match self.opener.open(&header, &mut record[RECORD_HEADER_LEN..]) {
                Ok(plaintext) => return Message::decode(plaintext).map(Some),
                Err(Refusal::UnknownKey | Refusal::BeyondKey) => {
                    return Err(SessionError::Protocol {
                        what: "a control record is under a key that was not offered",
                    });
                }
                Err(why) => out.push_back(Output::Refused(why)),
            }
        }
    }
}
