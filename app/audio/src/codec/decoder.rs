//! Turns packets into frames of sound, and fills the gaps of those that did not come in four ways: out of the next
//! packet, out of one that came later, out of what was heard before, or not at all. Which of them is not decided here.

use super::libopus::{self, Decoder, Dred};
use super::{FrameLength, MAX_PACKET_LEN, check_len};
use crate::{Result, SAMPLE_RATE, error::CodecError};

/// How far back before a packet [`VoiceDecoder::revive`] looks, samples: 1 s, as far as libopus lets deep redundancy
/// reach.
pub const MAX_REVIVED: usize = SAMPLE_RATE as usize;

/// How much a decoder does for the sound beyond what RFC 6716 demands. More needs more of the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum DecoderEffort {
    /// The decoder of RFC 6716 alone, with its simple concealment: for weak machines.
    Plain,
    /// A neural network makes up for lost frames (deep PLC). Frames that came are decoded as in `Plain`.
    Concealment,
    /// And another takes the codec's own noise out of speech at low bit rates (`NoLACE`).
    #[default]
    Full,
}

impl DecoderEffort {
    /// Every effort, least first.
    pub const ALL: [Self; 3] = [Self::Plain, Self::Concealment, Self::Full];

    /// libopus' "complexity" of a decoder: deep PLC from 5 on, `NoLACE` from 7 on.
    const fn complexity(self) -> i32 {
        match self {
            Self::Plain => 0,
            Self::Concealment => 5,
            Self::Full => 10,
        }
    }
}

/// Turns packets into frames of sound, and makes up for the ones that did not come.
///
/// The calls must follow the order of the frames: each of [`decode`](Self::decode), [`recover`](Self::recover),
/// [`revive`](Self::revive) where it gives true, and [`conceal`](Self::conceal) stands for one frame of the call and
/// moves the decoder on by that frame. Packets of any bit rate follow each other freely.
///
/// The same calls on the same machine give the same sound, bit for bit.
pub struct VoiceDecoder {
    opus: Decoder,
    frame: FrameLength,
    redundancy: Option<Redundancy>,
}

/// The deep redundancy of one packet, kept because a gap of several frames asks for it several times.
struct Redundancy {
    dred: Dred,
    /// The packet that it was read from; at most [`MAX_PACKET_LEN`] bytes.
    packet: Vec<u8>,
    /// Samples before the packet at which it begins and ends. Both are 0 where there is none.
    begin: usize,
    end: usize,
}

impl VoiceDecoder {
    /// A decoder in its first state, for packets of this frame length, with [`DecoderEffort::Full`].
    pub fn new(frame: FrameLength) -> Result<Self> {
        Self::with_effort(frame, DecoderEffort::default())
    }

    /// The same with another effort.
    pub fn with_effort(frame: FrameLength, effort: DecoderEffort) -> Result<Self> {
        Ok(Self { opus: Decoder::new(effort.complexity())?, frame, redundancy: None })
    }

    /// The frame length it expects.
    pub fn frame(&self) -> FrameLength {
        self.frame
    }

    /// Decodes the frame in `packet` into `pcm` of exactly [`FrameLength::samples`] samples.
    ///
    /// A packet of another duration or one that is not Opus is refused before it touches the decoder, so that the
    /// caller can conceal the frame instead.
    pub fn decode(&mut self, packet: &[u8], pcm: &mut [i16]) -> Result<()> {
        self.check(packet, pcm)?;
        let samples = self.opus.decode("decode a frame of voice", packet, pcm, false)?;
        self.check_samples(samples)
    }

    /// Makes up for one frame that did not come, out of what was heard before (packet loss concealment).
    pub fn conceal(&mut self, pcm: &mut [i16]) -> Result<()> {
        self.check_sound(pcm)?;
        let samples = self.opus.decode("conceal a lost frame", &[], pcm, false)?;
        self.check_samples(samples)
    }

    /// Decodes the frame *before* `next` out of the coarse copy that `next` carries (Opus' in-band FEC).
    ///
    /// Where [`has_recovery`] is false Opus conceals instead. `next` itself must still be decoded afterwards.
    pub fn recover(&mut self, next: &[u8], pcm: &mut [i16]) -> Result<()> {
        self.check(next, pcm)?;
        let samples = self.opus.decode("recover a lost frame", next, pcm, true)?;
        self.check_samples(samples)
    }

    /// Decodes the frame that lies `frames_before` (1 and more) before the packet `later`, out of the deep redundancy
    /// (DRED) that `later` carries. `false`, with the decoder and `pcm` untouched, where it does not reach so far or
    /// there is none.
    ///
    /// `later` and what lies between must still be decoded or made up for afterwards. What was read from `later` is
    /// kept until another packet is asked about, so a gap of many frames costs the reading once.
    pub fn revive(&mut self, later: &[u8], frames_before: u32, pcm: &mut [i16]) -> Result<bool> {
        self.check(later, pcm)?;
        let frame = self.frame.samples();
        let before = (frames_before as usize).saturating_mul(frame);
        if before == 0 || before > MAX_REVIVED {
            return Ok(false);
        }
        let redundancy = match self.redundancy.take() {
            Some(redundancy) => self.redundancy.insert(redundancy),
            None => self.redundancy.insert(Redundancy::new()?),
        };
        redundancy.read(later);
        // What is asked for begins `before` samples before the packet and ends a frame later.
        if before - frame >= redundancy.begin || before <= redundancy.end {
            return Ok(false);
        }
        let samples = self.opus.revive(&mut redundancy.dred, before, pcm)?;
        self.check_samples(samples)?;
        Ok(true)
    }

    /// Refuses what must not reach the decoder.
    fn check(&self, packet: &[u8], pcm: &[i16]) -> Result<()> {
        self.check_sound(pcm)?;
        let len = packet.len();
        if len > MAX_PACKET_LEN {
            return Err(CodecError::PacketTooLong { len, max: MAX_PACKET_LEN }.into());
        }
        self.check_samples(opus::packet::get_nb_samples(packet, SAMPLE_RATE).ok().ok_or(CodecError::NotOpus { len })?)
    }

    fn check_sound(&self, pcm: &[i16]) -> Result<()> {
        check_len("a frame of sound", "samples", self.frame.samples(), pcm.len())
    }

    fn check_samples(&self, actual: usize) -> Result<()> {
        let expected = self.frame.samples();
        if actual == expected { Ok(()) } else { Err(CodecError::PacketDuration { expected, actual }.into()) }
    }
}

impl Redundancy {
    fn new() -> Result<Self> {
        Ok(Self { dred: Dred::new()?, packet: Vec::new(), begin: 0, end: 0 })
    }

    /// Reads what `packet` carries, unless that is what was read last. A damaged packet carries nothing.
    fn read(&mut self, packet: &[u8]) {
        if self.packet != packet {
            self.packet.clear();
            (self.begin, self.end) = self.dred.parse(packet, MAX_REVIVED).unwrap_or_default();
            self.packet.extend_from_slice(packet);
        }
    }
}

/// Whether `packet` carries a coarse copy of the frame before it (RFC 6716, section 2.1.7), which
/// [`VoiceDecoder::recover`] can use.
pub fn has_recovery(packet: &[u8]) -> bool {
    libopus::has_copy_of_last(packet)
}
