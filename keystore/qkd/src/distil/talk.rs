//! What one end says and hears: messages in their order, events, and how long it waits.

use std::collections::VecDeque;
use std::time::Duration;

use vernam_key::SecretBytes;

use super::EndEvent;
use super::auth::{Pads, TAG_BYTES, Transcript};
use super::limits::{MAX_EVENTS, MAX_OUTBOX};
use super::reason;
use super::wire::{Frame, Kind, Reader, header, put_varint};
use crate::bits::BitString;
use crate::block::DiscardReason;

/// What waits to be taken by the caller, and the time.
#[derive(Default)]
pub(super) struct Post {
    messages: VecDeque<Vec<u8>>,
    events: VecDeque<EndEvent>,
    now: Duration,
    deadline: Option<Duration>,
}

impl Post {
    pub(super) fn set_time(&mut self, now: Duration) {
        self.now = self.now.max(now);
    }

    /// Waits so long from now on; `None`: for ever.
    pub(super) fn wait(&mut self, time: Option<Duration>) {
        self.deadline = time.map(|time| self.now.saturating_add(time));
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    pub(super) fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= self.now)
    }

    /// Whether the caller has left so many events that nothing more may happen.
    pub(super) fn is_full(&self) -> bool {
        self.events.len() >= MAX_EVENTS
    }

    pub(super) fn tell(&mut self, event: EndEvent) {
        self.events.push_back(event);
    }

    pub(super) fn send(&mut self, message: Vec<u8>) {
        if self.messages.len() < MAX_OUTBOX {
            self.messages.push_back(message);
        }
    }

    /// Tells the far end that a block is given up.
    pub(super) fn give_up(&mut self, reason: &DiscardReason) {
        let mut message = header(Kind::GiveUp, reason.block(), 0);
        reason::encode(reason, &mut message);
        self.send(message);
    }

    pub(super) fn next_message(&mut self) -> Option<Vec<u8>> {
        self.messages.pop_front()
    }

    pub(super) fn next_event(&mut self) -> Option<EndEvent> {
        self.events.pop_front()
    }
}

/// The conversation about one block: what was said so far in both directions.
pub(super) struct Talk {
    block: u64,
    next_out: u32,
    next_in: u32,
    said: Transcript,
    heard: Transcript,
}

/// Where a message stands in the conversation.
pub(super) enum Turn {
    /// It is the next one.
    Next,
    /// It came before: a copy.
    Copy,
    /// One before it has not come.
    Early,
}

/// A message that ends in a tag: what comes before the index of the pad, the index, and the tag.
pub(super) struct Signed<'a> {
    pub(super) fields: &'a [u8],
    pub(super) index: u64,
    pub(super) tag: &'a [u8],
}

impl Talk {
    pub(super) fn new(block: u64, out: &Pads, into: &Pads) -> Self {
        Self { block, next_out: 0, next_in: 0, said: out.transcript(), heard: into.transcript() }
    }

    /// Says something.
    pub(super) fn say(&mut self, kind: Kind, post: &mut Post, fill: impl FnOnce(&mut Vec<u8>)) {
        let message = self.compose(kind, fill);
        self.said.add(&message);
        post.send(message);
    }

    /// Says something with a tag over it and all that was said before. Gives the message, too; `None` if there is no
    /// pad.
    pub(super) fn say_signed(
        &mut self,
        kind: Kind,
        post: &mut Post,
        pads: &mut Pads,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Option<Vec<u8>> {
        let (index, pad) = pads.take()?;
        let mut message = self.compose(kind, fill);
        message.extend_from_slice(&index.to_le_bytes());
        self.said.add(&message);
        message.extend_from_slice(&self.said.tag(pad.expose("a pad masks the tag that is sent")));
        post.send(message.clone());
        Some(message)
    }

    fn compose(&mut self, kind: Kind, fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut message = header(kind, self.block, self.next_out);
        self.next_out = self.next_out.wrapping_add(1);
        fill(&mut message);
        message
    }

    /// Takes a message of this block. What is the next one enters the transcript, without its tag if it has one.
    pub(super) fn hear(&mut self, frame: &Frame<'_>) -> Turn {
        if frame.sequence < self.next_in {
            return Turn::Copy;
        }
        if frame.sequence > self.next_in {
            return Turn::Early;
        }
        self.next_in = self.next_in.wrapping_add(1);
        let tag = if matches!(frame.kind, Kind::Amplify | Kind::Confirm | Kind::Commit) { TAG_BYTES } else { 0 };
        self.heard.add(&frame.bytes[..frame.bytes.len().saturating_sub(tag)]);
        Turn::Next
    }

    pub(super) fn heard(&self) -> &Transcript {
        &self.heard
    }

    pub(super) fn said(&self) -> &Transcript {
        &self.said
    }
}

impl<'a> Signed<'a> {
    /// `None` if the payload is too short.
    pub(super) fn parse(payload: &'a [u8]) -> Option<Self> {
        let (rest, tag) = payload.split_at_checked(payload.len().checked_sub(TAG_BYTES)?)?;
        let (fields, index) = rest.split_last_chunk()?;
        Some(Self { fields, index: u64::from_le_bytes(*index), tag })
    }
}

/// The output of privacy amplification as both ends divide it: pads for Alice's messages, pads for Bob's, key.
pub(super) fn divide(output: BitString, pads: (u16, u16)) -> [SecretBytes; 3] {
    let mut bytes = Vec::with_capacity(output.words().len() * 8);
    for word in output.words() {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.truncate(output.len() / 8);
    drop(output);
    let mut key = SecretBytes::from_vec(bytes);
    let for_alice = key.split_to(usize::from(pads.0) * TAG_BYTES);
    let for_bob = key.split_to(usize::from(pads.1) * TAG_BYTES);
    [for_alice, for_bob, key]
}

/// Three counts by intensity, as the ends tell them each other.
pub(super) fn put_counts(counts: [u64; 3], out: &mut Vec<u8>) {
    for count in counts {
        put_varint(count, out);
    }
}

/// See [`put_counts`].
pub(super) fn read_counts(reader: &mut Reader<'_>) -> Option<[u64; 3]> {
    Some([reader.varint()?, reader.varint()?, reader.varint()?])
}
