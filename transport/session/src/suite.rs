//! The cipher suites: how one key seals and opens one record.

mod aead;
mod otp;

use std::fmt;
use std::time::Duration;

use vernam_key::{Direction, Inbound, Material, Outbound, Pad, PadSlots, Purpose, SecretBytes};

pub use self::otp::OtpMac;
use self::{aead::AeadKey, otp::Tag};
use crate::error::{KeyError, Refusal};
use crate::flow::{Aad, FlowContext, KeyBlock};
use crate::limits::{AEAD_MAX_AGE, AEAD_MAX_BYTES, AEAD_SEED_LEN, HASH_KEY_LEN, TAG_LEN, VOICE_OTP_TAG_LEN};

/// How a flow is protected by its QKD key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Suite {
    /// One-time pad with a Wegman-Carter tag: information-theoretically secure, one byte of key a byte.
    Otp,
    /// AES-256-GCM (NIST SP 800-38D) under a key derived from QKD key and the TLS exporter.
    Aes256Gcm,
    /// ChaCha20-Poly1305 (RFC 8439) under a key derived from QKD key and the TLS exporter.
    ChaCha20Poly1305,
}

impl Suite {
    /// All suites, strongest promise first.
    pub const ALL: [Self; 3] = [Self::Otp, Self::Aes256Gcm, Self::ChaCha20Poly1305];

    /// The byte on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Self::Otp => 1,
            Self::Aes256Gcm => 2,
            Self::ChaCha20Poly1305 => 3,
        }
    }

    /// The suite of a byte from the wire.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.code() == code)
    }

    /// The name used in settings, logs and this project's documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Otp => "otp",
            Self::Aes256Gcm => "aes-256-gcm",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
        }
    }

    /// The suite of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name() == name)
    }

    /// Bytes of the tag on a voice datagram.
    pub const fn voice_tag_len(self) -> usize {
        match self {
            Self::Otp => VOICE_OTP_TAG_LEN,
            Self::Aes256Gcm | Self::ChaCha20Poly1305 => TAG_LEN,
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The TLS exporter of the outer connection: the salt of every AEAD key. Wiped on drop.
pub struct Exporter([u8; 32]);

impl Exporter {
    /// From the outer connection's TLS exporter with the label [`crate::EXPORTER_LABEL`] and no context.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The same from the outer layer's own wiped bytes; `None` if they are not 32.
    pub fn copy_of(secret: &SecretBytes) -> Option<Self> {
        secret.expose("copied into this wiped type").try_into().ok().map(Self)
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn duplicate(&self) -> Self {
        Self(self.0)
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        zeroize::zeroize_bytes(&mut self.0);
    }
}

/// What is left of a key before its flow should have the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Bytes of pad, tags included.
    Pad(usize),
    /// An AEAD key, and whether its age or its use says that it should be replaced.
    Aead {
        /// Whether a new key is due.
        worn: bool,
    },
}

/// Seals records of purpose `P`.
pub struct SealKey<P> {
    kind: SealKind<P>,
    tag_len: usize,
}

enum SealKind<P> {
    Otp { mac: OtpMac, pad: Pad<Outbound, P> },
    Aead { key: AeadKey, since: Duration, sealed: u64 },
}

impl<P: Purpose> SealKey<P> {
    /// Turns a key block into a sealing key; `now` starts the age of an AEAD key.
    pub fn new(
        context: &FlowContext,
        block: KeyBlock<Outbound>,
        exporter: &Exporter,
        tag_len: usize,
        now: Duration,
    ) -> Result<Self, KeyError> {
        let kind = if block.suite == Suite::Otp {
            let (mac, pad) = otp_parts::<Outbound, P>(block.material)?;
            SealKind::Otp { mac, pad }
        } else {
            SealKind::Aead { key: derive::<Outbound, P>(context, block, exporter)?, since: now, sealed: 0 }
        };
        Ok(Self { kind, tag_len })
    }

    /// What is left of the key.
    pub fn left(&self, now: Duration) -> Left {
        match &self.kind {
            SealKind::Otp { pad, .. } => Left::Pad(pad.remaining()),
            SealKind::Aead { since, sealed, .. } => {
                Left::Aead { worn: now.saturating_sub(*since) >= AEAD_MAX_AGE || *sealed >= AEAD_MAX_BYTES }
            }
        }
    }

    /// Gives up the next `len` bytes of one-time pad: they are wiped and never used. An AEAD key has none to give up.
    pub(crate) fn forfeit(&mut self, len: usize) -> Result<(), KeyError> {
        if let SealKind::Otp { pad, .. } = &mut self.kind
            && len > 0
        {
            let _wiped = pad.take(len)?;
        }
        Ok(())
    }

    /// Longest plaintext that one more record can have.
    pub fn room(&self) -> usize {
        match &self.kind {
            SealKind::Otp { pad, .. } => pad.remaining().saturating_sub(self.tag_len),
            SealKind::Aead { .. } => usize::MAX,
        }
    }

    /// Encrypts `data` in place and writes its tag to `tag`, whose length must be the tag length given at the start.
    ///
    /// Under one-time pad the record's pad is consumed; `seq` must be new for every record of an AEAD key, which
    /// [`crate::RecordSealer`] and [`crate::VoiceSealer`] see to.
    pub(crate) fn seal(&mut self, aad: &Aad, seq: u64, data: &mut [u8], tag: &mut [u8]) -> Result<(), KeyError> {
        match &mut self.kind {
            SealKind::Otp { mac, pad } => {
                let chunk = pad.take(data.len() + self.tag_len)?;
                let (text, mask) = chunk.split(data.len());
                let full = mac.encrypt(aad, text, data);
                tag.copy_from_slice(&full[..self.tag_len]);
                mask.xor_into(tag);
            }
            SealKind::Aead { key, sealed, .. } => {
                key.seal(aad, seq, data, tag)?;
                *sealed = sealed.saturating_add(data.len() as u64);
            }
        }
        Ok(())
    }
}

/// Opens records of purpose `P` that come in order.
pub struct OpenKey<P> {
    kind: OpenKind<P>,
}

enum OpenKind<P> {
    Otp { mac: OtpMac, pad: Pad<Inbound, P> },
    Aead(AeadKey),
}

impl<P: Purpose> OpenKey<P> {
    /// Turns a key block into an opening key.
    pub fn new(context: &FlowContext, block: KeyBlock<Inbound>, exporter: &Exporter) -> Result<Self, KeyError> {
        let kind = if block.suite == Suite::Otp {
            let (mac, pad) = otp_parts::<Inbound, P>(block.material)?;
            OpenKind::Otp { mac, pad }
        } else {
            OpenKind::Aead(derive::<Inbound, P>(context, block, exporter)?)
        };
        Ok(Self { kind })
    }

    /// Checks the tag, then decrypts `data` in place. A record that fails costs the genuine one nothing.
    pub(crate) fn open(&mut self, aad: &Aad, seq: u64, data: &mut [u8], tag: &[u8]) -> Result<(), Refusal> {
        match &mut self.kind {
            OpenKind::Otp { mac, pad } => {
                let pending = pad.pending(data.len(), TAG_LEN).map_err(|_exhausted| Refusal::BeyondKey)?;
                if mac.decrypt(aad, pending, data, tag) { Ok(()) } else { Err(Refusal::Forged) }
            }
            OpenKind::Aead(key) => key.open(aad, seq, data, tag),
        }
    }
}

/// Opens voice datagrams, in any order and each once.
pub(crate) struct VoiceOpenKey<P> {
    kind: VoiceOpenKind<P>,
}

enum VoiceOpenKind<P> {
    Otp { mac: OtpMac, slots: PadSlots<P>, first_seq: u64 },
    Aead(AeadKey),
}

impl<P: Purpose> VoiceOpenKey<P> {
    pub(crate) fn new(
        context: &FlowContext,
        block: KeyBlock<Inbound>,
        exporter: &Exporter,
        frame_len: usize,
    ) -> Result<Self, KeyError> {
        let kind = if block.suite == Suite::Otp {
            let first_seq = block.first_seq;
            let (mac, pad) = otp_parts::<Inbound, P>(block.material)?;
            VoiceOpenKind::Otp { mac, slots: pad.into_slots(frame_len, VOICE_OTP_TAG_LEN), first_seq }
        } else {
            VoiceOpenKind::Aead(derive::<Inbound, P>(context, block, exporter)?)
        };
        Ok(Self { kind })
    }

    pub(crate) fn suite_is_otp(&self) -> bool {
        matches!(self.kind, VoiceOpenKind::Otp { .. })
    }

    pub(crate) fn open(&mut self, aad: &Aad, seq: u64, data: &mut [u8], tag: &[u8]) -> Result<(), Refusal> {
        match &mut self.kind {
            VoiceOpenKind::Otp { mac, slots, first_seq } => {
                let index = seq.checked_sub(*first_seq).and_then(|index| usize::try_from(index).ok());
                let index = index.filter(|index| *index < slots.slots()).ok_or(Refusal::BeyondKey)?;
                let pending = slots.pending(index).ok_or(Refusal::Replayed)?;
                if mac.decrypt(aad, pending, data, tag) { Ok(()) } else { Err(Refusal::Forged) }
            }
            VoiceOpenKind::Aead(key) => key.open(aad, seq, data, tag),
        }
    }
}

/// A fresh hash key from the front of the block, and the pad that follows it.
fn otp_parts<D: Direction, P: Purpose>(material: Material<D>) -> Result<(OtpMac, Pad<D, P>), KeyError> {
    let mut pad = material.into_pad::<P>();
    let mac = pad.take(HASH_KEY_LEN)?.consume(OtpMac::new);
    Ok((mac, pad))
}

fn derive<D: Direction, P: Purpose>(
    context: &FlowContext,
    block: KeyBlock<D>,
    exporter: &Exporter,
) -> Result<AeadKey, KeyError> {
    if block.material.len() != AEAD_SEED_LEN {
        return Err(KeyError::SeedLength { len: block.material.len() });
    }
    let info = context.key_context(block.generation, block.suite);
    let suite = block.suite;
    block.material.into_seed::<P>().derive(|seed| AeadKey::derive(suite, exporter, seed, &info))
}

/// The tag of the key confirmation: POLYVAL of the transcript under the first half of `key`, masked with the second.
pub(crate) fn confirm_tag<D: Direction, P: Purpose>(
    key: Material<D>,
    transcript: &[u8],
) -> Result<[u8; TAG_LEN], KeyError> {
    let (mac, mut pad) = otp_parts::<D, P>(key)?;
    let mut tag: Tag = mac.transcript(transcript);
    pad.take(TAG_LEN)?.xor_into(&mut tag);
    Ok(tag)
}
