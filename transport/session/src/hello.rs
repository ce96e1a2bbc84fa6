//! The first message of each side, and the transcript that both confirm.

use ring::digest;

use crate::error::SessionError;
use crate::flow::Role;
use crate::labels;
use crate::limits::{MAX_HANDSHAKE_KEYS, MAX_NAME, VERSION};
use crate::message::{AnnouncedKey, put_keys, read_keys};
use crate::suite::{Exporter, Suite};
use crate::wire::{Malformed, Reader};

/// The first bytes of every `Hello`.
const MAGIC: &[u8; 4] = b"VRNM";

/// How far a stock reaches: everything before `cursor` is spent, everything before `end` is or was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StockReach {
    /// Position of the first unspent byte.
    pub cursor: u64,
    /// Position after the last byte.
    pub end: u64,
}

/// What a side says before anything is confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) nonce: [u8; 32],
    /// What this side's policy allows for this contact, best first.
    pub(crate) suites: Vec<Suite>,
    pub(crate) outbound: StockReach,
    pub(crate) inbound: StockReach,
    /// The keys, of which this side is the ETSI master, that the handshake itself uses.
    pub(crate) keys: Vec<AnnouncedKey>,
}

impl Hello {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&self.nonce);
        out.push(u8::try_from(self.suites.len()).unwrap_or(0));
        out.extend(self.suites.iter().map(|suite| suite.code()));
        for position in [self.outbound.cursor, self.outbound.end, self.inbound.cursor, self.inbound.end] {
            out.extend_from_slice(&position.to_be_bytes());
        }
        put_keys(&mut out, &self.keys);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, SessionError> {
        Self::parse(bytes).map_err(|Malformed| SessionError::NotOurProtocol)
    }

    fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes);
        if from.array::<4>()? != *MAGIC || from.u16()? != VERSION {
            return Err(Malformed);
        }
        let nonce = from.array()?;
        let count = usize::from(from.u8()?);
        // Suites that we do not know are a newer peer's: they are passed over, and are in the transcript all the same.
        let suites = from.bytes(count)?.iter().filter_map(|code| Suite::from_code(*code)).collect();
        let mut reach = || -> Result<StockReach, Malformed> {
            let reach = StockReach { cursor: from.u64()?, end: from.u64()? };
            if reach.cursor > reach.end { Err(Malformed) } else { Ok(reach) }
        };
        let (outbound, inbound) = (reach()?, reach()?);
        let keys = read_keys(&mut from, MAX_HANDSHAKE_KEYS)?;
        from.end()?;
        Ok(Self { nonce, suites, outbound, inbound, keys })
    }
}

/// The suite of the control stream: the first of the initiator's that the responder allows too.
pub(crate) fn agree(initiator: &[Suite], responder: &[Suite]) -> Option<Suite> {
    initiator.iter().copied().find(|suite| responder.contains(suite))
}

/// Everything that both sides must agree on, in one string of bytes.
pub(crate) struct Transcript(Vec<u8>);

impl Transcript {
    /// `names` and `hellos`: the initiator's first. The TLS exporter ties the transcript to this very connection.
    pub(crate) fn new(exporter: &Exporter, names: [&str; 2], hellos: [&[u8]; 2]) -> Self {
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(labels::TRANSCRIPT);
        out.extend_from_slice(exporter.bytes());
        let cut = |name: &str| name.as_bytes()[..name.len().min(MAX_NAME)].to_vec();
        for part in [&cut(names[0])[..], &cut(names[1])[..], hellos[0], hellos[1]] {
            out.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            out.extend_from_slice(part);
        }
        Self(out)
    }

    /// What `role` confirms: the transcript and who speaks.
    pub(crate) fn confirmed_by(&self, role: Role) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.0.len() + 1);
        out.extend_from_slice(&self.0);
        out.push(role.code());
        out
    }

    /// The first half of the transcript's SHA-256: names the session in every tag.
    pub(crate) fn session_id(&self) -> [u8; 16] {
        let hash = digest::digest(&digest::SHA256, &self.0);
        let mut id = [0; 16];
        id.copy_from_slice(&hash.as_ref()[..16]);
        id
    }

    /// SHA-256 of a label and the transcript: what the verification words are made of.
    pub(crate) fn verification(&self) -> [u8; 32] {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(labels::WORDS);
        hash.update(&self.0);
        let mut out = [0; 32];
        out.copy_from_slice(hash.finish().as_ref());
        out
    }
}

impl Drop for Transcript {
    /// The exporter is in it.
    fn drop(&mut self) {
        zeroize::zeroize_bytes(&mut self.0);
    }
}
