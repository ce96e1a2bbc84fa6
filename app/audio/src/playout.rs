//! From packets to sound: asks the jitter buffer each frame's time, lets Opus decode, recover or conceal, and can
//! write down what was decided, so that anybody with the packets can make the same sound again, bit for bit.

use std::time::Duration;

use crate::codec::{VoiceDecoder, has_recovery};
use crate::jitter::{JitterBuffer, JitterSettings, JitterStats, Playout, Pushed};
use crate::{Error, FrameLength, Result};

/// Most decisions that a log keeps: 5.5 hours of 20 ms frames, 8 MB. It then says that it is no longer complete.
pub const MAX_LOGGED_DECISIONS: usize = 1_000_000;

/// How one frame's time was filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decision {
    /// With the packet of this number.
    Packet(u32),
    /// The frame of this number was lost; the coarse copy in the packet after it was used.
    Recovered(u32),
    /// The frame of this number was lost or damaged; Opus concealed it.
    Concealed(u32),
    /// The frame of this number was late; Opus concealed the waiting.
    Waited(u32),
    /// With silence; the decoder stood still.
    Silence,
}

/// What was decided, frame by frame from the first pull on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlayoutLog {
    decisions: Vec<Decision>,
    complete: bool,
}

impl Default for PlayoutLog {
    fn default() -> Self {
        Self { decisions: Vec::new(), complete: true }
    }
}

impl PlayoutLog {
    /// The decisions, one a frame.
    pub fn decisions(&self) -> &[Decision] {
        &self.decisions
    }

    /// False when the call was longer than [`MAX_LOGGED_DECISIONS`]: the log then holds its beginning.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    fn add(&mut self, decision: Decision) {
        if self.decisions.len() < MAX_LOGGED_DECISIONS {
            self.decisions.push(decision);
        } else {
            self.complete = false;
        }
    }
}

impl FromIterator<Decision> for PlayoutLog {
    /// For those who write the decisions down themselves.
    fn from_iter<I: IntoIterator<Item = Decision>>(decisions: I) -> Self {
        let mut log = Self::default();
        decisions.into_iter().for_each(|decision| log.add(decision));
        log
    }
}

/// Counts since the start of the call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlayoutStats {
    /// The jitter buffer's own counts.
    pub jitter: JitterStats,
    /// Lost frames that the next packet's coarse copy stood in for.
    pub recovered: u64,
    /// Frames that Opus concealed: lost without a copy, or damaged.
    pub concealed: u64,
    /// Packets played in their turn that Opus refused; each is also counted as concealed.
    pub damaged: u64,
}

/// A jitter buffer with a decoder behind it.
pub struct PlayoutDecoder {
    jitter: JitterBuffer,
    decoder: VoiceDecoder,
    recovered: u64,
    concealed: u64,
    damaged: u64,
    log: Option<PlayoutLog>,
}

impl PlayoutDecoder {
    /// An empty buffer and a decoder in its first state.
    pub fn new(settings: JitterSettings) -> Result<Self> {
        Ok(Self {
            jitter: JitterBuffer::new(settings),
            decoder: VoiceDecoder::new(settings.frame())?,
            recovered: 0,
            concealed: 0,
            damaged: 0,
            log: None,
        })
    }

    /// The same, writing down each decision from now on.
    #[must_use]
    pub fn with_log(mut self) -> Self {
        self.log.get_or_insert_default();
        self
    }

    /// The decisions so far, if they are written down.
    pub fn log(&self) -> Option<&PlayoutLog> {
        self.log.as_ref()
    }

    /// Takes the packet of number `seq`, which came at `now` (time since any fixed moment).
    pub fn push(&mut self, seq: u32, packet: &[u8], now: Duration) -> Pushed {
        self.jitter.push(seq, packet, now)
    }

    /// Fills one frame's time: `pcm` of exactly [`FrameLength::samples`] samples. To be called once each frame's
    /// time, whatever came in.
    pub fn pull(&mut self, now: Duration, pcm: &mut [i16]) -> Result<Decision> {
        let decision = match self.jitter.pull(now) {
            Playout::Packet { seq, packet } => match self.decoder.decode(packet, pcm) {
                Ok(()) => Decision::Packet(seq),
                Err(error @ Error::Codec(crate::CodecError::BufferSize { .. })) => return Err(error),
                Err(error) => {
                    tracing::debug!(seq, %error, "a voice packet could not be decoded and is concealed");
                    self.damaged += 1;
                    self.decoder.conceal(pcm)?;
                    Decision::Concealed(seq)
                }
            },
            Playout::Lost { seq, next: Some(next) }
                if has_recovery(next) && self.decoder.recover(next, pcm).is_ok() =>
            {
                Decision::Recovered(seq)
            }
            Playout::Lost { seq, .. } => {
                self.decoder.conceal(pcm)?;
                Decision::Concealed(seq)
            }
            Playout::Waiting { seq } => {
                self.decoder.conceal(pcm)?;
                Decision::Waited(seq)
            }
            Playout::Filling => {
                pcm.fill(0);
                Decision::Silence
            }
        };
        match decision {
            Decision::Recovered(_) => self.recovered += 1,
            Decision::Concealed(_) => self.concealed += 1,
            Decision::Packet(_) | Decision::Waited(_) | Decision::Silence => {}
        }
        if let Some(log) = &mut self.log {
            log.add(decision);
        }
        Ok(decision)
    }

    /// Counts and present state.
    pub fn stats(&self) -> PlayoutStats {
        PlayoutStats {
            jitter: self.jitter.stats(),
            recovered: self.recovered,
            concealed: self.concealed,
            damaged: self.damaged,
        }
    }
}

/// Makes the sound of a call again from its log and its packets.
///
/// `packet` gives the packet of a number. The result is the same, bit for bit, as what [`PlayoutDecoder::pull`] gave
/// on the same machine: nothing was heard that Opus did not make out of these packets by these decisions.
pub fn replay<'a>(frame: FrameLength, log: &PlayoutLog, packet: impl Fn(u32) -> Option<&'a [u8]>) -> Result<Vec<i16>> {
    let packet = |seq| packet(seq).ok_or(Error::MissingPacket { seq });
    let mut decoder = VoiceDecoder::new(frame)?;
    let mut sound = vec![0; frame.samples() * log.decisions.len()];
    for (decision, pcm) in log.decisions.iter().zip(sound.chunks_exact_mut(frame.samples())) {
        match *decision {
            Decision::Packet(seq) => decoder.decode(packet(seq)?, pcm)?,
            Decision::Recovered(seq) => decoder.recover(packet(seq.saturating_add(1))?, pcm)?,
            Decision::Concealed(_) | Decision::Waited(_) => decoder.conceal(pcm)?,
            Decision::Silence => {}
        }
    }
    Ok(sound)
}
