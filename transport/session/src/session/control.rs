//! The two ends of the control stream: cutting bytes into records, and keeping messages until there is pad for them.

use std::collections::VecDeque;
use std::time::Duration;

use vernam_key::{Control, Inbound, Outbound};

use super::Output;
use crate::error::{Refusal, SessionError};
use crate::flow::KeyBlock;
use crate::limits::{
    CONTROL_REFILL_BELOW, CONTROL_RESERVE, MAX_CONTROL_PLAINTEXT, MAX_QUEUED_CONTROL, RECORD_HEADER_LEN, TAG_LEN,
};
use crate::message::Message;
use crate::record::{RecordHeader, RecordOpener, RecordSealer};

/// Our side of the control stream.
pub(super) struct ControlOut {
    sealer: RecordSealer<Control>,
    queue: VecDeque<Message>,
}

impl ControlOut {
    pub(super) fn new(sealer: RecordSealer<Control>) -> Self {
        Self { sealer, queue: VecDeque::new() }
    }

    pub(super) fn install(&mut self, block: KeyBlock<Outbound>) -> Result<(), SessionError> {
        Ok(self.sealer.install(block)?)
    }

    /// Whether it is time to ask for the next key.
    pub(super) fn wants_key(&self, now: Duration) -> bool {
        self.sealer.pad_left(now).is_some_and(|left| left < CONTROL_REFILL_BELOW)
    }

    /// Sends `message`, or keeps it until there is pad. What ends things or brings key may use the reserve.
    pub(super) fn send(
        &mut self,
        message: Message,
        now: Duration,
        out: &mut VecDeque<Output>,
    ) -> Result<(), SessionError> {
        let urgent = matches!(
            message,
            Message::KeyOffer(_) | Message::KeyReady { .. } | Message::HangUp { .. } | Message::Bye
        );
        if !urgent && (!self.queue.is_empty() || !self.has_room(&message, now)) {
            if self.queue.len() >= MAX_QUEUED_CONTROL {
                return Err(SessionError::ControlStarved);
            }
            self.queue.push_back(message);
            return Ok(());
        }
        self.seal(&message, now, out)
    }

    /// Sends what was kept, as far as the pad goes.
    pub(super) fn flush(&mut self, now: Duration, out: &mut VecDeque<Output>) -> Result<(), SessionError> {
        while let Some(message) = self.queue.front() {
            if !self.has_room(message, now) {
                return Ok(());
            }
            if let Some(message) = self.queue.pop_front() {
                self.seal(&message, now, out)?;
            }
        }
        Ok(())
    }

    fn has_room(&self, message: &Message, now: Duration) -> bool {
        let cost = message.encode().len() + TAG_LEN + CONTROL_RESERVE;
        // A worn AEAD key still seals; only pad can be too short.
        self.sealer.pad_left(now).is_none_or(|left| left >= cost) || !self.sealer.is_otp()
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
                    return Err(SessionError::Protocol { what: "a control record is under a key that was not offered" });
                }
                Err(why) => out.push_back(Output::Refused(why)),
            }
        }
    }
}
