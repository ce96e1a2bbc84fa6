//! Text messages: what a record of the text flow holds.

use crate::error::Refusal;
use crate::limits::MAX_TEXT;
use crate::wire::{Malformed, Reader};

/// One text message.
#[derive(Clone, PartialEq, Eq)]
pub struct TextMessage {
    /// The sender's number for it, counted up from 1.
    pub id: u64,
    /// When it was written, milliseconds since 1970, by the sender's clock.
    pub written_ms: u64,
    /// What it says.
    pub body: String,
}

impl TextMessage {
    /// Whether it fits a record; longer texts are sent as files.
    pub fn fits(&self) -> bool {
        self.body.len() <= MAX_TEXT
    }

    /// As the plaintext of a text record.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + self.body.len());
        out.extend_from_slice(&self.id.to_be_bytes());
        out.extend_from_slice(&self.written_ms.to_be_bytes());
        out.extend_from_slice(self.body.as_bytes());
        out
    }

    /// From the plaintext of a text record.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        let parse = || -> Result<Self, Malformed> {
            let mut from = Reader::new(bytes);
            let (id, written_ms) = (from.u64()?, from.u64()?);
            let body = from.rest();
            if body.len() > MAX_TEXT {
                return Err(Malformed);
            }
            let body = String::from_utf8(body.to_vec()).map_err(|_not_utf8| Malformed)?;
            Ok(Self { id, written_ms, body })
        };
        parse().map_err(|Malformed| Refusal::Malformed)
    }
}
