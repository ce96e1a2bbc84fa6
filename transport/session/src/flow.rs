//! Names of flows, and what is bound into every tag.

use std::fmt;

use vernam_key::{Direction, Material, Purpose};

use crate::suite::Suite;

/// Which end of the QUIC connection a party is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The one that dialled.
    Initiator,
    /// The one that accepted.
    Responder,
}

impl Role {
    /// The byte on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Self::Initiator => 0,
            Self::Responder => 1,
        }
    }

    /// The other end.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Initiator => Self::Responder,
            Self::Responder => Self::Initiator,
        }
    }
}

/// A flow of one session in one direction: its purpose and a number that its sender gives out once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId {
    /// [`Purpose::CODE`].
    pub purpose: u8,
    /// Never used twice in one session and direction.
    pub number: u32,
}

impl FlowId {
    /// Flow `number` of purpose `P`.
    pub const fn of<P: Purpose>(number: u32) -> Self {
        Self { purpose: P::CODE, number }
    }
}

impl fmt::Debug for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.purpose {
            0 => "confirm",
            1 => "control",
            2 => "voice",
            3 => "file",
            4 => "text",
            other => return write!(f, "unknown-{other}/{}", self.number),
        };
        write!(f, "{name}/{}", self.number)
    }
}

/// What ties a record to its session, sender and flow. Public.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowContext {
    /// The first half of the SHA-256 of the handshake transcript.
    pub session_id: [u8; 16],
    /// Who seals the records of this flow.
    pub sender: Role,
    /// Which flow.
    pub flow: FlowId,
}

/// The 48 bytes authenticated with every record (`transport/PROTOCOL.md`, section 6).
pub type Aad = [u8; 48];

impl FlowContext {
    /// The 32 bytes that name one key of one flow: the HKDF info of AEAD keys, and the first part of every [`Aad`].
    pub fn key_context(&self, generation: u32, suite: Suite) -> [u8; 32] {
        let mut out = [0; 32];
        out[..16].copy_from_slice(&self.session_id);
        out[16] = self.sender.code();
        out[17] = self.flow.purpose;
        out[18..22].copy_from_slice(&self.flow.number.to_be_bytes());
        out[22..26].copy_from_slice(&generation.to_be_bytes());
        out[26] = suite.code();
        out
    }

    /// Adds a record's own place: number, plaintext length in bytes, and flags.
    pub fn aad(&self, generation: u32, suite: Suite, seq: u64, len: u32, flags: u8) -> Aad {
        let mut out = [0; 48];
        out[..32].copy_from_slice(&self.key_context(generation, suite));
        out[32..40].copy_from_slice(&seq.to_be_bytes());
        out[40..44].copy_from_slice(&len.to_be_bytes());
        out[44] = flags;
        out
    }
}

/// Key for one generation of one flow: what the session hands to a flow.
pub struct KeyBlock<D> {
    /// The flow it was offered for.
    pub flow: FlowId,
    /// Counts a flow's blocks from 0.
    pub generation: u32,
    /// How it is to be used.
    pub suite: Suite,
    /// Voice under one-time pad: the number of the packet that the first slot is for. Otherwise 0.
    pub first_seq: u64,
    /// The bytes.
    pub material: Material<D>,
}

impl<D: Direction> fmt::Debug for KeyBlock<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyBlock({} {} generation {}, {} bytes)", D::NAME, self.flow, self.generation, self.material.len())
    }
}
