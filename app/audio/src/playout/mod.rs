//! From packets to sound: asks the jitter buffer what to decode, lets Opus decode, recover or conceal, changes the length
//! of what waits where the delay should change, and hands out one frame's time of it a pull.
//!
//! ```text
//!  packets ─► JitterBuffer ─► VoiceDecoder ─► [played │ waiting sound] ─► pull
//!                  └────── shorten, lengthen ──────────────┘
//! ```
//!
//! It can write down what was decided, so that anybody with the packets can make the same sound again, bit for bit.
//!
//! A lost frame is filled with the best that is at hand: the coarse copy in the next packet, the deep redundancy in a
//! later one, Opus' concealment. Concealment fades out between 120 and 180 ms, and sound that comes back rises over 5 ms.

mod log;
mod maker;

use std::time::Duration;

pub use self::log::{Decision, MAX_LOGGED_DECISIONS, PlayoutLog};
use self::maker::{Maker, splice};
use crate::codec::{DecoderEffort, has_recovery};
use crate::error::CodecError;
use crate::jitter::{Adjustment, JitterBuffer, JitterSettings, JitterStats, Later, Playout, Pushed};
use crate::stretch::{ENOUGH, Ear, LONGEST_PIECE, Splice, Way};
use crate::{Error, FrameLength, Result};

/// Most decisions of one pull.
pub const MAX_DECISIONS: usize = 12;
/// Samples played that are kept, so that a piece of them can be repeated.
const HISTORY: usize = 2 * LONGEST_PIECE;
/// Samples between two changes of the sound's length: 60 ms. Then speech sounds as it was spoken.
const REST: usize = 2_880;
/// The same in haste: 20 ms.
const REST_IN_HASTE: usize = 960;
/// A change that found no good place for so many samples (1 s) takes the best there is.
const FRUITLESS: usize = 48_000;
/// Frames for which it is believed that packets carry copies after one did.
const COPIES_BELIEVED: u32 = 250;
/// What is believed after deep redundancy was of use: frames before its own that a packet can stand in for. Mostly it
/// reaches as far as it is worth waiting for.
const REVIVAL_REACH: u32 = 8;

/// Counts since the start of the call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlayoutStats {
    /// The jitter buffer's own counts, and its present delay and target.
    pub jitter: JitterStats,
    /// Lost frames that the next packet's coarse copy stood in for.
    pub recovered: u64,
    /// Lost frames that a later packet's deep redundancy stood in for.
    pub revived: u64,
    /// Frames that Opus concealed: lost without a copy, or damaged. Frames waited for are in the jitter buffer's count.
    pub concealed: u64,
    /// Packets played in their turn that Opus refused; each is also counted as concealed.
    pub damaged: u64,
    /// Samples taken out of the sound to shorten the delay.
    pub shortened: u64,
    /// Samples put into the sound to lengthen the delay.
    pub lengthened: u64,
}

/// A jitter buffer with a decoder behind it.
pub struct PlayoutDecoder {
    jitter: JitterBuffer,
    maker: Maker,
    /// Sound played, then from `played` on sound that waits.
    sound: Vec<i16>,
    played: usize,
    ear: Ear,
    /// Whether the sound's end is speech that came, which may be stretched.
    genuine: bool,
    /// Samples played since the sound's length was changed.
    rested: usize,
    /// Samples played since a change has been wanted.
    wanted: usize,
    copies: u32,
    revivals: u32,
    counts: PlayoutStats,
    decisions: Vec<Decision>,
    log: Option<PlayoutLog>,
}

impl PlayoutDecoder {
    /// An empty buffer and a decoder in its first state.
    pub fn new(settings: JitterSettings) -> Result<Self> {
        Self::with_effort(settings, DecoderEffort::default())
    }

    /// The same with another effort of the decoder.
    pub fn with_effort(settings: JitterSettings, effort: DecoderEffort) -> Result<Self> {
        let frame = settings.frame();
        Ok(Self {
            jitter: JitterBuffer::new(settings),
            maker: Maker::new(frame, effort)?,
            sound: Vec::with_capacity(2 * HISTORY + ENOUGH + 4 * frame.samples()),
            played: 0,
            ear: Ear::default(),
            genuine: false,
            rested: 0,
            wanted: 0,
            copies: 0,
            revivals: 0,
            counts: PlayoutStats::default(),
            decisions: Vec::with_capacity(MAX_DECISIONS),
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

    /// Fills `pcm`, and says what was decided for it: nothing, where enough sound waited, and at most [`MAX_DECISIONS`].
    ///
    /// `pcm` holds one frame's time, [`FrameLength::samples`], or a whole part of it: pulls of 10 ms make less delay
    /// than pulls of 60. To be called each time that much sound was played, whatever came in.
    pub fn pull(&mut self, now: Duration, pcm: &mut [i16]) -> Result<&[Decision]> {
        let expected = self.jitter.settings().frame().samples();
        let actual = pcm.len();
        if actual == 0 || !expected.is_multiple_of(actual) {
            return Err(CodecError::BufferSize { what: "a frame of sound", expected, actual, unit: "samples" }.into());
        }
        self.decisions.clear();
        self.jitter.tick(now, actual);
        self.fill(actual)?;
        self.adjust(actual)?;
        self.fill(actual)?;
        pcm.copy_from_slice(&self.sound[self.played..self.played + actual]);
        self.played += actual;
        self.rested = self.rested.saturating_add(actual);
        self.forget();
        if let Some(log) = &mut self.log {
            self.decisions.iter().for_each(|decision| log.add(*decision));
        }
        Ok(&self.decisions)
    }

    /// Counts and present state.
    pub fn stats(&self) -> PlayoutStats {
        PlayoutStats { jitter: self.jitter.stats(), ..self.counts }
    }

    fn waiting(&self) -> usize {
        self.sound.len() - self.played
    }

    /// Makes sound until `least` samples wait.
    fn fill(&mut self, least: usize) -> Result<()> {
        while self.waiting() < least {
            self.make(least)?;
        }
        Ok(())
    }

    /// Makes the next frame, or the silence that is lacking.
    fn make(&mut self, least: usize) -> Result<()> {
        let begin = self.sound.len();
        let waiting = begin - self.played;
        let Self { jitter, maker, sound, counts, .. } = self;
        let mut copies = None;
        let ask_first = self.revivals == 0 && !self.genuine;
        let decision = match jitter.next(waiting) {
            Playout::Packet { seq, packet } => {
                copies = Some(has_recovery(packet));
                match maker.packet(packet, sound) {
                    Ok(()) => Decision::Packet(seq),
                    Err(error) => {
                        tracing::debug!(seq, %error, "a voice packet could not be decoded and is concealed");
                        counts.damaged += 1;
                        maker.conceal(sound)?;
                        Decision::Concealed(seq)
                    }
                }
            }
            Playout::Lost { seq, later } => mend(maker, seq, later, ask_first, sound)?,
            Playout::Waiting { seq } => {
                maker.conceal(sound)?;
                Decision::Waited(seq)
            }
            Playout::Filling => {
                let lacking = u16::try_from(least - waiting).expect("at most a frame");
                maker.silence(lacking, sound);
                Decision::Silence(lacking)
            }
        };
        self.count(decision, copies);
        self.genuine = matches!(decision, Decision::Packet(_) | Decision::Recovered(_) | Decision::Revived { .. });
        if self.genuine {
            self.ear.hear(&self.sound[begin..]);
        }
        self.decisions.push(decision);
        Ok(())
    }

    fn count(&mut self, decision: Decision, copies: Option<bool>) {
        match decision {
            Decision::Recovered(_) => self.counts.recovered += 1,
            Decision::Revived { .. } => self.counts.revived += 1,
            Decision::Concealed(_) => self.counts.concealed += 1,
            Decision::Shortened { samples, .. } => self.counts.shortened += u64::from(samples),
            Decision::Lengthened { samples, .. } => self.counts.lengthened += u64::from(samples),
            Decision::Packet(_) | Decision::Waited(_) | Decision::Silence(_) => {}
        }
        let believed = |of_use: bool, left: u32| if of_use { COPIES_BELIEVED } else { left.saturating_sub(1) };
        if let Some(copies) = copies {
            self.copies = believed(copies, self.copies);
        }
        self.revivals = believed(matches!(decision, Decision::Revived { .. }), self.revivals);
        let reach = if self.revivals > 0 { REVIVAL_REACH } else { u32::from(self.copies > 0) };
        self.jitter.reach(reach);
    }

    /// Brings the delay closer to what is aimed at, where that will not be heard.
    fn adjust(&mut self, step: usize) -> Result<()> {
        let (way, most, haste) = match self.jitter.adjustment(self.waiting()) {
            Adjustment::Keep => {
                self.wanted = 0;
                return Ok(());
            }
            Adjustment::Shorten { most, haste } => (Way::Shorten, most, haste),
            Adjustment::Lengthen { most } => (Way::Lengthen, most, false),
        };
        self.wanted = self.wanted.saturating_add(step);
        if !self.genuine || self.rested < if haste { REST_IN_HASTE } else { REST } {
            return Ok(());
        }
        if way == Way::Shorten {
            while self.genuine && self.waiting() < ENOUGH && self.jitter.next_is_held() {
                self.make(step)?;
            }
            // What is taken out must not be lacking afterwards.
            if !self.genuine || (!self.jitter.next_is_held() && self.waiting() < step + most.min(LONGEST_PIECE)) {
                return Ok(());
            }
        }
        let haste = haste || self.wanted > FRUITLESS;
        let Some(at) = self.ear.find(&self.sound, self.played, way, most, haste) else { return Ok(()) };
        if splice(&mut self.sound, way, at) {
            let decision = match way {
                Way::Shorten => Decision::shortened(at),
                Way::Lengthen => Decision::lengthened(at),
            };
            self.count(decision, None);
            self.decisions.push(decision);
            self.rested = 0;
        }
        Ok(())
    }

    /// Drops what was played, but for the last of it.
    fn forget(&mut self) {
        if self.played >= 2 * HISTORY {
            let over = self.played - HISTORY;
            self.sound.copy_within(over.., 0);
            self.sound.truncate(self.sound.len() - over);
            self.played = HISTORY;
        }
    }
}

/// Fills a lost frame with the best that is at hand.
///
/// The coarse copy in the next packet is taken before deep redundancy. But while nothing is held back for deep redundancy,
/// the last frame of a burst is all that is left to fill when the packet after it comes: with `ask_first`, deep
/// redundancy goes first there, and so it is seen that there is any to hold back for.
fn mend(maker: &mut Maker, seq: u32, later: Later<'_>, ask_first: bool, sound: &mut Vec<i16>) -> Result<Decision> {
    let frames_before = later.seq.saturating_sub(seq);
    let copied = frames_before == 1 && has_recovery(later.packet);
    if copied && !ask_first && maker.recover(later.packet, sound).is_ok() {
        return Ok(Decision::Recovered(seq));
    }
    match maker.revive(later.packet, frames_before, sound) {
        Ok(true) => return Ok(Decision::Revived { seq, from: later.seq }),
        Ok(false) => {}
        Err(error) => tracing::debug!(seq, %error, "the deep redundancy of a voice packet could not be used"),
    }
    if copied && ask_first && maker.recover(later.packet, sound).is_ok() {
        return Ok(Decision::Recovered(seq));
    }
    maker.conceal(sound)?;
    Ok(Decision::Concealed(seq))
}

/// Makes the sound of a call again from its log and its packets.
///
/// `packet` gives the packet of a number. The result is the same, bit for bit, as what [`PlayoutDecoder::pull`] gave on
/// the same machine, one pull after the other: nothing was heard that Opus and these decisions did not make out of these
/// packets. At its end it may be longer by what was decoded and not yet pulled.
pub fn replay<'a>(frame: FrameLength, log: &PlayoutLog, packet: impl Fn(u32) -> Option<&'a [u8]>) -> Result<Vec<i16>> {
    let packet = |seq| packet(seq).ok_or(Error::MissingPacket { seq });
    let mut maker = Maker::new(frame, DecoderEffort::default())?;
    let mut sound = Vec::new();
    for (index, decision) in log.decisions().iter().enumerate() {
        let fits = match *decision {
            Decision::Packet(seq) => maker.packet(packet(seq)?, &mut sound).map(|()| true)?,
            Decision::Recovered(seq) => maker.recover(packet(seq.saturating_add(1))?, &mut sound).map(|()| true)?,
            Decision::Revived { seq, from } => maker.revive(packet(from)?, from.saturating_sub(seq), &mut sound)?,
            Decision::Concealed(_) | Decision::Waited(_) => maker.conceal(&mut sound).map(|()| true)?,
            Decision::Silence(samples) => {
                maker.silence(samples, &mut sound);
                true
            }
            Decision::Shortened { samples, back } => splice(&mut sound, Way::Shorten, Splice { back, samples }),
            Decision::Lengthened { samples, back } => splice(&mut sound, Way::Lengthen, Splice { back, samples }),
        };
        if !fits {
            return Err(Error::WrongLog { index });
        }
    }
    Ok(sound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CodecSettings, VoiceEncoder};

    /// Stalls, losses and a gap make the sound longer and shorter in every way there is, in the memory of the beginning.
    #[test]
    fn after_the_beginning_no_memory_is_asked_for() {
        for frame in FrameLength::ALL {
            let codec = CodecSettings::standard().with_frame(frame);
            let mut encoder = VoiceEncoder::new(codec).unwrap();
            let mut packet = vec![0; codec.packet_len()];
            encoder.encode(&vec![0; frame.samples()], &mut packet).unwrap();
            let mut playout = PlayoutDecoder::new(JitterSettings::standard(frame)).unwrap();
            let memory = |playout: &PlayoutDecoder| (playout.sound.capacity(), playout.decisions.capacity());
            let before = memory(&playout);
            let mut pcm = vec![0; frame.samples()];
            let mut arrived = 0;
            for tick in 0..3_000_u32 {
                let now = frame.duration() * tick;
                // Every 300 frames nothing comes for 10.
                if tick % 300 >= 10 {
                    for seq in arrived..=tick {
                        if seq % 13 != 5 {
                            let _fate = playout.push(seq, &packet, now);
                        }
                    }
                    arrived = tick + 1;
                }
                assert!(playout.pull(now, &mut pcm).unwrap().len() <= MAX_DECISIONS);
            }
            let stats = playout.stats();
            println!("{frame:?}: {stats:?}");
            assert!(stats.shortened > 0 && stats.jitter.waited > 0 && stats.jitter.lost > 0);
            assert_eq!(memory(&playout), before, "{frame:?}");
        }
    }

    #[test]
    fn a_pull_is_a_whole_part_of_a_frame() {
        let mut playout = PlayoutDecoder::new(JitterSettings::standard(FrameLength::Ms60)).unwrap();
        for samples in [480, 960, 1_440, 2_880] {
            assert_eq!(playout.pull(Duration::ZERO, &mut vec![1; samples]).unwrap().len(), 1);
        }
        for samples in [0, 481, 5_760] {
            let error = playout.pull(Duration::ZERO, &mut vec![1; samples]).unwrap_err();
            assert!(matches!(error, Error::Codec(CodecError::BufferSize { .. })), "{error}");
        }
    }
}
