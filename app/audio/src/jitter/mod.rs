//! Takes packets whenever they come, says what to decode next, in order and with a bounded delay that adapts.
//!
//! It holds no sound and decodes nothing; it reads no clock: `now` is the time since any fixed moment, the same for
//! all calls.
//!
//! Packets live in a ring of slots between the *play head* (the number due next) and the newest number received:
//!
//! ```text
//!   late │ play head            newest │ far ahead
//!  ──────┼──[5]──[6]── ─ ──[8]──[9]────┼───────────►  number
//!        └── at most the longest delay ┘
//! ```
//!
//! **How long** to hold sound back is learned from the times at which packets came (`delays.rs`): long enough for 199
//! of 200 packets, and by a frame or more longer where packets get lost and the ones after them can stand in for them.
//! Of that the first step is taken that a pull can make use of (`pace.rs`). The delay follows this *goal* without a gap:
//! [`JitterBuffer::adjustment`] says that sound should be shortened or lengthened, and whoever holds the sound does so
//! where it is not heard.
//!
//! **What** to decode when a frame is due:
//! - Its packet is there: that.
//! - It is missing, and so is every later one (a stall): wait. The play head stays, the delay grows, and packets that
//!   were only late are heard. After 180 ms there is silence, until packets come again.
//! - It is missing and a later one is there: it is lost. Go on without it. Frames for which something was made up while
//!   waiting are passed over, as far as the delay is above the need. So is a gap in the numbers that cost no time: a
//!   sender may leave numbers out.
//!
//! Numbers are `u32` and must not go back within a call: at 100 frames a second they last 497 days, so they are not
//! made to wrap around; a sender that starts again at a lower number starts a new call.

mod delays;
mod loss;
mod pace;
mod settings;

use std::time::Duration;

use self::delays::Delays;
use self::loss::Loss;
use self::pace::Pace;
pub use self::settings::{JitterSettings, MAX_BUFFERED_FRAMES, MAX_JITTER_PACKET_LEN};
use crate::SAMPLE_RATE;

/// How long a stalled stream is bridged by concealment before silence. By then the concealment has faded out.
pub const PATIENCE: Duration = Duration::from_millis(180);
/// From so many frames above the longest delay on, one packet alone is not believed: the play head jumps only when a
/// second packet near it follows.
const FAR_AHEAD: u64 = 500;
const SAMPLES_PER_MS: i64 = SAMPLE_RATE as i64 / 1_000;
/// How far the delay may be above the goal. Less is not worth a change of the sound.
const SLACK: i64 = 7 * SAMPLES_PER_MS;
/// So many numbers missing in a row, with no time lost over them, are taken to be left out by the sender. Of fewer that
/// got lost, most can be mended.
const LEFT_OUT: u64 = 4;
/// From so far above the goal on, getting back to it is worth more than the finest sound.
const HASTE_FROM: i64 = 60 * SAMPLES_PER_MS;

/// What became of a packet handed to [`JitterBuffer::push`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Pushed {
    /// It waits for its turn.
    Kept,
    /// Its turn is over.
    Late,
    /// It is already there, or was played.
    Duplicate,
    /// Empty or longer than [`MAX_JITTER_PACKET_LEN`].
    BadLength,
    /// So far ahead that it is only believed when another follows.
    FarAhead,
}

/// What to decode next.
#[derive(PartialEq, Eq)]
#[must_use]
pub enum Playout<'a> {
    /// This packet.
    Packet {
        /// Its number.
        seq: u32,
        /// Its bytes.
        packet: &'a [u8],
    },
    /// This frame did not come, and will not be waited for.
    Lost {
        /// Its number.
        seq: u32,
        /// The first packet held after it: it may carry a copy of the lost frame.
        later: Later<'a>,
    },
    /// This frame is due and may still come: conceal, without going on to the next.
    Waiting {
        /// Its number.
        seq: u32,
    },
    /// Nothing to play: before the first packet's delay is over, or in a long pause.
    Filling,
}

/// A packet that is held while an earlier one is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Later<'a> {
    /// Its number.
    pub seq: u32,
    /// Its bytes.
    pub packet: &'a [u8],
}

/// How the sound that waits to be played should change, so that the delay comes closer to what is aimed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Adjustment {
    /// Not at all.
    Keep,
    /// It should get shorter.
    Shorten {
        /// By at most so many samples.
        most: usize,
        /// Whether this should be soon rather than unnoticed.
        haste: bool,
    },
    /// It should get longer.
    Lengthen {
        /// By at most so many samples.
        most: usize,
    },
}

/// Counts since the buffer was made, and its present state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JitterStats {
    /// Packets handed in, of whatever fate.
    pub received: u64,
    /// Packets handed out to be played.
    pub played: u64,
    /// Frames given up as lost, one by one.
    pub lost: u64,
    /// Frame times bridged while waiting.
    pub waited: u64,
    /// Pulls filled up with silence, the ones before the first packet included.
    pub filling: u64,
    /// Packets that came after their turn.
    pub late: u64,
    /// Packets that came twice.
    pub duplicate: u64,
    /// Packets of impossible length, or alone and far ahead.
    pub refused: u64,
    /// Frames passed over unplayed: cut because the delay was too long, or left out by the sender.
    pub skipped: u64,
    /// Frames between the play head and the newest packet, gaps included.
    pub depth: u64,
    /// How long sound is held back at present, from the earliest that packets come lately to their playing.
    pub delay: Duration,
    /// The delay that the network asks for.
    pub target: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing is played.
    Filling,
    /// One frame after the other.
    Playing,
}

#[derive(Default)]
struct Slot {
    seq: Option<u64>,
    /// The last number played from here, to tell a packet that comes again from one that comes too late.
    played: Option<u64>,
    packet: Vec<u8>,
}

/// The buffer. To be used so: [`tick`](Self::tick) once each pull, then [`next`](Self::next) as often as sound is
/// lacking, with the number of samples decoded and not yet played.
pub struct JitterBuffer {
    settings: JitterSettings,
    /// Samples a frame.
    frame: i64,
    slots: Box<[Slot]>,
    phase: Phase,
    /// The play head: every number below it is over. `u64`, to stand above the last `u32`.
    head: u64,
    /// One above the newest number held or passed.
    end: u64,
    /// The lowest number ever kept.
    lowest: u64,
    /// Frames waited in a row.
    waited: u64,
    far_ahead: Option<u64>,
    delays: Delays,
    loss: Loss,
    pace: Pace,
    /// The delay aimed at, as a transit.
    goal: Option<i64>,
    stats: JitterStats,
}

impl JitterBuffer {
    /// An empty buffer.
    pub fn new(settings: JitterSettings) -> Self {
        let slot = || Slot { packet: Vec::with_capacity(MAX_JITTER_PACKET_LEN), ..Slot::default() };
        let slots = (0..settings.max_frames()).map(|_| slot()).collect();
        let frame = settings.frame().samples();
        let [start, longest] = [settings.start_delay(), settings.max_delay()].map(samples_in);
        Self {
            settings,
            frame: i64::try_from(frame).expect("at most 2,880"),
            slots,
            phase: Phase::Filling,
            head: 0,
            end: 0,
            lowest: u64::MAX,
            waited: 0,
            far_ahead: None,
            delays: Delays::new(frame as u64, start, longest),
            loss: Loss::new(frame as u64),
            pace: Pace::new(),
            goal: None,
            stats: JitterStats::default(),
        }
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &JitterSettings {
        &self.settings
    }

    /// Counts and present state.
    pub fn stats(&self) -> JitterStats {
        let depth = self.end.saturating_sub(self.low_edge());
        JitterStats { depth, target: duration_of(self.target()), ..self.stats }
    }

    /// How many frames before its own the packets of this call can stand in for: none, one with the coarse copies of
    /// Opus, more with deep redundancy. Where packets get lost, the delay grows so that they are there in time.
    pub fn reach(&mut self, frames: u32) {
        self.loss.reach(frames);
    }

    /// Takes a packet that came at `now`.
    pub fn push(&mut self, seq: u32, packet: &[u8], now: Duration) -> Pushed {
        self.stats.received += 1;
        let pushed = self.place(u64::from(seq), packet);
        match pushed {
            Pushed::Kept => {}
            Pushed::Late => self.stats.late += 1,
            Pushed::Duplicate => self.stats.duplicate += 1,
            Pushed::BadLength | Pushed::FarAhead => self.stats.refused += 1,
        }
        if matches!(pushed, Pushed::Kept | Pushed::Late) {
            let now = samples_in(now);
            self.delays.packet(now, now - self.due(u64::from(seq)));
        }
        pushed
    }

    /// A pull of so many samples begins.
    pub fn tick(&mut self, now: Duration, samples: usize) {
        self.pace.pull(samples_in(now), to_i64(samples));
        if let Some(need) = self.need() {
            self.goal = Some(self.pace.goal(need, self.goal));
        }
    }

    /// What to decode next, where `queued` samples are decoded and not yet played.
    pub fn next(&mut self, queued: usize) -> Playout<'_> {
        if self.phase == Phase::Filling {
            let low = self.low_edge();
            let due = self.end > low && self.need().is_some_and(|need| self.pace.at() - self.due(low) >= need);
            if !due {
                self.stats.filling += 1;
                return Playout::Filling;
            }
            self.skip_to(low);
            self.phase = Phase::Playing;
        }
        if !self.holds(self.head) {
            let Some(gap) = (1..self.end - self.head).find(|gap| self.holds(self.head + gap)) else {
                return self.wait();
            };
            self.pass_over(gap, queued);
        }
        self.advance(queued)
    }

    /// Whether the frame that is due next is there.
    pub fn next_is_held(&self) -> bool {
        self.phase == Phase::Playing && self.holds(self.head)
    }

    /// How the `queued` samples should change.
    pub fn adjustment(&self, queued: usize) -> Adjustment {
        let Some(goal) = self.goal.filter(|_| self.phase == Phase::Playing) else { return Adjustment::Keep };
        let excess = self.delay(queued) - goal;
        let samples = |count: i64| usize::try_from(count).unwrap_or(0);
        if excess > SLACK {
            Adjustment::Shorten { most: samples(excess), haste: excess > HASTE_FROM }
        } else if excess < 0 {
            Adjustment::Lengthen { most: samples(SLACK - excess) }
        } else {
            Adjustment::Keep
        }
    }

    /// The packet that is due, or its loss.
    fn advance(&mut self, queued: usize) -> Playout<'_> {
        let delay = self.delay(queued) - self.delays.base().unwrap_or(0);
        self.stats.delay = duration_of(delay);
        let head = self.head;
        let seq = to_u32(head);
        self.head += 1;
        self.waited = 0;
        let lost = !self.holds(head);
        self.loss.frame(lost);
        if !lost {
            self.stats.played += 1;
            let slot = self.slot_index(head);
            self.slots[slot].played = self.slots[slot].seq.take();
            return Playout::Packet { seq, packet: &self.slots[slot].packet };
        }
        self.stats.lost += 1;
        let later = (self.head..self.end).find(|seq| self.holds(*seq)).expect("else it would be waited for");
        Playout::Lost { seq, later: Later { seq: to_u32(later), packet: &self.slots[self.slot_index(later)].packet } }
    }

    /// Nothing is there at all.
    fn wait(&mut self) -> Playout<'_> {
        if self.waited < self.settings.frame().frames_in(PATIENCE) {
            self.waited += 1;
            self.stats.waited += 1;
            return Playout::Waiting { seq: to_u32(self.head) };
        }
        self.phase = Phase::Filling;
        self.waited = 0;
        self.stats.filling += 1;
        Playout::Filling
    }

    /// `gap` frames are missing, then one is there. What was made up while waiting stands for some of them, and a long
    /// gap for which there is no time was left by the sender.
    fn pass_over(&mut self, gap: u64, queued: usize) {
        let room = self.delay(queued) - self.need().unwrap_or(i64::MAX);
        let room = u64::try_from(room / self.frame).unwrap_or(0);
        if gap >= LEFT_OUT && room >= gap {
            self.skip_to(self.head + gap);
        } else {
            let made_up = self.waited.min(gap).min(room);
            (0..made_up).for_each(|_| self.loss.frame(true));
            self.stats.lost += made_up;
            self.head += made_up;
        }
        self.waited = 0;
    }

    /// When the packet of this number is due, on the sender's clock.
    fn due(&self, seq: u64) -> i64 {
        i64::try_from(seq).unwrap_or(i64::MAX).saturating_mul(self.frame)
    }

    /// The play head's delay, as a transit: when its first sample will be played less when it was due.
    fn delay(&self, queued: usize) -> i64 {
        self.pace.at() + to_i64(queued) - self.due(self.head)
    }

    /// The delay that the network asks for, from the base on.
    fn target(&self) -> i64 {
        let longest = self.due(self.settings.max_frames() - 2);
        let extra = self.due(self.loss.extra());
        let least = samples_in(self.settings.min_delay());
        (self.delays.target().max(least) + extra).min(longest)
    }

    fn need(&self) -> Option<i64> {
        Some(self.delays.base()? + self.target())
    }

    /// Gives up every frame below `head`.
    fn skip_to(&mut self, head: u64) {
        for slot in &mut self.slots {
            if slot.seq.is_some_and(|held| held < head) {
                slot.seq = None;
            }
        }
        // The stream begins with the lowest number that came, not with 0.
        self.stats.skipped += head - self.head.max(self.lowest.min(head));
        self.head = head;
        self.end = self.end.max(head);
        self.waited = 0;
    }

    fn place(&mut self, seq: u64, packet: &[u8]) -> Pushed {
        if packet.is_empty() || packet.len() > MAX_JITTER_PACKET_LEN {
            return Pushed::BadLength;
        }
        if seq < self.head {
            let again = self.slots[self.slot_index(seq)].played == Some(seq);
            return if again { Pushed::Duplicate } else { Pushed::Late };
        }
        if self.holds(seq) {
            return Pushed::Duplicate;
        }
        let max = self.settings.max_frames();
        let anything_held = self.end > self.low_edge();
        if anything_held || self.phase == Phase::Playing {
            let newest_possible = self.low_edge() + max;
            if seq >= newest_possible + FAR_AHEAD && !self.is_confirmed(seq) {
                self.far_ahead = Some(seq);
                return Pushed::FarAhead;
            }
            if seq >= newest_possible {
                self.cut(seq, newest_possible);
            } else if seq + max < self.end {
                // Still filling, and this one is older than anything that the buffer may hold back.
                return Pushed::Late;
            }
        }
        self.far_ahead = None;
        if !anything_held && self.phase == Phase::Filling {
            self.end = seq;
        }
        let slot = self.slot_index(seq);
        let slot = &mut self.slots[slot];
        slot.seq = Some(seq);
        slot.packet.clear();
        slot.packet.extend_from_slice(packet);
        self.end = self.end.max(seq + 1);
        self.lowest = self.lowest.min(seq);
        Pushed::Kept
    }

    /// `seq` lies over the longest delay: keeps the newest, as much as the target.
    fn cut(&mut self, seq: u64, newest_possible: u64) {
        let target = u64::try_from(self.target() / self.frame).unwrap_or(0) + 1;
        self.skip_to(seq + 1 - target.min(self.settings.max_frames() - 1));
        let first = (self.head..seq).find(|held| self.holds(*held)).unwrap_or(seq);
        self.skip_to(first);
        if seq >= newest_possible + FAR_AHEAD {
            self.delays.restart();
        }
    }

    fn is_confirmed(&self, seq: u64) -> bool {
        self.far_ahead.is_some_and(|other| other != seq && other.abs_diff(seq) < self.settings.max_frames())
    }

    /// The oldest number that counts for the delay: the play head, or while filling the oldest packet held.
    fn low_edge(&self) -> u64 {
        match self.phase {
            Phase::Playing => self.head,
            Phase::Filling => self.slots.iter().filter_map(|slot| slot.seq).min().unwrap_or(self.end),
        }
    }

    fn holds(&self, seq: u64) -> bool {
        self.slots[self.slot_index(seq)].seq == Some(seq)
    }

    fn slot_index(&self, seq: u64) -> usize {
        let index = seq % self.settings.max_frames();
        usize::try_from(index).expect("below MAX_BUFFERED_FRAMES")
    }
}

fn to_u32(seq: u64) -> u32 {
    u32::try_from(seq).unwrap_or(u32::MAX)
}

fn to_i64(samples: usize) -> i64 {
    i64::try_from(samples).unwrap_or(i64::MAX)
}

/// Samples in a time. Times from 3 million years on are all the same.
fn samples_in(time: Duration) -> i64 {
    const LONGEST: i64 = 1 << 62;
    let samples = time.as_nanos() * u128::from(SAMPLE_RATE) / 1_000_000_000;
    i64::try_from(samples).unwrap_or(LONGEST).min(LONGEST)
}

fn duration_of(samples: i64) -> Duration {
    let samples = u64::try_from(samples).unwrap_or(0);
    Duration::from_micros(samples.saturating_mul(1_000) / SAMPLES_PER_MS.unsigned_abs())
}

#[cfg(test)]
mod tests;
