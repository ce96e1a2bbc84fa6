//! What was decided: written down, so that the sound can be made again from it.

use crate::FrameLength;
use crate::stretch::Splice;

/// Most decisions that a log keeps: more than 5 hours of 20 ms frames, 12 MB. It then says that it is no longer complete.
pub const MAX_LOGGED_DECISIONS: usize = 1_000_000;

/// One step of making sound out of packets. Each appends to the sound or changes its end; most of them stand for one
/// frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decision {
    /// A frame: the packet of this number was decoded.
    Packet(u32),
    /// A frame: the one of this number was lost; the coarse copy in the packet after it was used.
    Recovered(u32),
    /// A frame that was lost; the deep redundancy in a later packet was used.
    Revived {
        /// The lost frame's number.
        seq: u32,
        /// The later packet's number.
        from: u32,
    },
    /// A frame: the one of this number was lost or damaged; Opus concealed it.
    Concealed(u32),
    /// A frame: the one of this number was late; Opus concealed the waiting.
    Waited(u32),
    /// So many samples of silence; the decoder stood still.
    Silence(u16),
    /// A piece was taken out of the sound that waited, to shorten the delay.
    Shortened {
        /// Samples taken out.
        samples: u16,
        /// Where: so many samples back from the end of the sound made so far.
        back: u16,
    },
    /// A piece of the sound was repeated, to lengthen the delay.
    Lengthened {
        /// Samples put in.
        samples: u16,
        /// Where: so many samples back from the end of the sound made so far.
        back: u16,
    },
}

impl Decision {
    /// By how many samples the sound got longer.
    pub fn samples(self, frame: FrameLength) -> i64 {
        match self {
            Self::Packet(_) | Self::Recovered(_) | Self::Revived { .. } | Self::Concealed(_) | Self::Waited(_) => {
                i64::from(frame.millis()) * i64::from(crate::SAMPLE_RATE / 1_000)
            }
            Self::Silence(samples) | Self::Lengthened { samples, .. } => i64::from(samples),
            Self::Shortened { samples, .. } => -i64::from(samples),
        }
    }

    pub(super) fn shortened(splice: Splice) -> Self {
        Self::Shortened { samples: splice.samples, back: splice.back }
    }

    pub(super) fn lengthened(splice: Splice) -> Self {
        Self::Lengthened { samples: splice.samples, back: splice.back }
    }
}

/// What was decided, from the first pull on.
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
    /// The decisions in their order.
    pub fn decisions(&self) -> &[Decision] {
        &self.decisions
    }

    /// False when the call was longer than [`MAX_LOGGED_DECISIONS`]: the log then holds its beginning.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    pub(super) fn add(&mut self, decision: Decision) {
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
