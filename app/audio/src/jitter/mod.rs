//! Takes packets whenever they come, gives one decision each frame's time, in order and with a bounded delay.
//!
//! Packets live in a ring of slots between the *play head* (the number due next) and the newest number received.
//! Their distance is the delay held back, counted in frames; everything is decided by it:
//!
//! ```text
//!   late │ play head            newest │ far ahead
//!  ──────┼──[5]──[6]── ─ ──[8]──[9]────┼───────────►  number
//!        └── span: 5 frames ───────────┘
//! ```
//! - The packet that is due is there: play it.
//! - It is missing and the span reaches the target: it is lost. Go on without it.
//! - It is missing and the span is below the target, most often because nothing at all is there (a stall): conceal,
//!   and keep the play head where it is. The delay grows by one frame, and a packet that was only late is heard.
//! - Nothing for longer than the patience: silence, and start afresh with the next packet.
//!
//! The target grows by what had to be waited for a packet that was only late, and by one frame for packets that came
//! when their turn was over. It shrinks by one for each calm while; when the span stayed above the target throughout
//! such a while, one frame is dropped.
//!
//! Numbers are `u32` and must not go back within a call: at 100 frames a second they last 497 days, so they are not
//! made to wrap around; a sender that starts again at a lower number starts a new call.

mod settings;

use std::time::Duration;

pub use self::settings::{JitterSettings, MAX_BUFFERED_FRAMES, MAX_JITTER_PACKET_LEN};

/// From so many frames above the longest delay on, one packet alone is not believed: the play head jumps only when a
/// second packet near it follows.
const FAR_AHEAD: u64 = 500;

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

/// What to play in this frame's time.
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
        /// The packet after it, if it is there: it may carry a coarse copy of the lost frame.
        next: Option<&'a [u8]>,
    },
    /// This frame is due and may still come: conceal, without going on to the next.
    Waiting {
        /// Its number.
        seq: u32,
    },
    /// Nothing to play: before the first packet's delay is over, or in a long pause.
    Filling,
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
    /// Frame times of silence, the ones before the first packet included.
    pub filling: u64,
    /// Packets that came after their turn.
    pub late: u64,
    /// Packets that came twice.
    pub duplicate: u64,
    /// Packets of impossible length, or alone and far ahead.
    pub refused: u64,
    /// Frames passed over unplayed: to shorten the delay, or because the stream jumped ahead.
    pub skipped: u64,
    /// Frames between the play head and the newest packet, gaps included: the delay held back at present.
    pub depth: u64,
    /// The depth aimed at, frames.
    pub target: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing is played; `since` is when the first packet of this phase came.
    Filling { since: Option<Duration> },
    /// One frame a pull.
    Playing,
}

#[derive(Default)]
struct Slot {
    seq: Option<u64>,
    /// The last number played from here, to tell a packet that comes again from one that comes too late.
    played: Option<u64>,
    packet: Vec<u8>,
}

/// The buffer. It reads no clock: `now` is the time since any fixed moment, the same for all calls.
pub struct JitterBuffer {
    settings: JitterSettings,
    slots: Box<[Slot]>,
    phase: Phase,
    /// The play head: every number below it is over. `u64`, to stand above the last `u32`.
    head: u64,
    /// One above the newest number held or passed.
    end: u64,
    target: u64,
    /// The lowest number ever kept.
    lowest: u64,
    /// Frames waited in a row.
    waited: u64,
    /// Whether the target grew since the last pull: a burst of late packets is one event.
    grown: bool,
    calm: Calm,
    far_ahead: Option<u64>,
    stats: JitterStats,
}

/// How the present while of calm went.
#[derive(Clone, Copy)]
struct Calm {
    frames: u64,
    least_span: u64,
}

impl Calm {
    const NEW: Self = Self { frames: 0, least_span: u64::MAX };
}

impl JitterBuffer {
    /// An empty buffer.
    pub fn new(settings: JitterSettings) -> Self {
        let slots = (0..settings.max_frames()).map(|_| Slot::default()).collect();
        Self {
            settings,
            slots,
            phase: Phase::Filling { since: None },
            head: 0,
            end: 0,
            target: settings.start_frames(),
            lowest: u64::MAX,
            waited: 0,
            grown: false,
            calm: Calm::NEW,
            far_ahead: None,
            stats: JitterStats::default(),
        }
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &JitterSettings {
        &self.settings
    }

    /// Counts and present state.
    pub fn stats(&self) -> JitterStats {
        JitterStats { depth: self.end.saturating_sub(self.low_edge()), target: self.target, ..self.stats }
    }

    /// Takes a packet that came at `now`.
    pub fn push(&mut self, seq: u32, packet: &[u8], now: Duration) -> Pushed {
        self.stats.received += 1;
        let pushed = self.place(u64::from(seq), packet, now);
        match pushed {
            Pushed::Kept => {}
            Pushed::Late => {
                self.stats.late += 1;
                self.grow_once();
            }
            Pushed::Duplicate => self.stats.duplicate += 1,
            Pushed::BadLength | Pushed::FarAhead => self.stats.refused += 1,
        }
        pushed
    }

    /// Decides what to play. To be called once each frame's time.
    pub fn pull(&mut self, now: Duration) -> Playout<'_> {
        self.grown = false;
        if let Phase::Filling { since } = self.phase {
            let due = since.is_some_and(|since| now.saturating_sub(since) >= self.settings.start_delay());
            let low = self.low_edge();
            if !due && self.end - low <= self.target {
                self.stats.filling += 1;
                return Playout::Filling;
            }
            self.start(low);
        }
        self.play()
    }

    fn start(&mut self, low: u64) {
        self.skip_to(low);
        self.phase = Phase::Playing;
        self.calm = Calm::NEW;
    }

    fn play(&mut self) -> Playout<'_> {
        self.shrink();
        let (head, span) = (self.head, self.end - self.head);
        let seq = to_u32(head);
        if self.holds(head) {
            self.grow(self.waited);
            self.advance();
            self.stats.played += 1;
            let slot = self.slot_index(head);
            self.slots[slot].played = self.slots[slot].seq.take();
            return Playout::Packet { seq, packet: &self.slots[slot].packet };
        }
        if span < self.target && self.waited < self.settings.patience_frames() {
            self.waited += 1;
            self.stats.waited += 1;
            self.calm = Calm::NEW;
            return Playout::Waiting { seq };
        }
        if span == 0 {
            self.phase = Phase::Filling { since: None };
            self.stats.filling += 1;
            return Playout::Filling;
        }
        self.advance();
        self.stats.lost += 1;
        let next = self.holds(head + 1).then(|| &*self.slots[self.slot_index(head + 1)].packet);
        Playout::Lost { seq, next }
    }

    fn advance(&mut self) {
        self.head += 1;
        self.end = self.end.max(self.head);
        self.waited = 0;
    }

    fn grow(&mut self, frames: u64) {
        self.target = (self.target + frames).min(self.settings.max_frames() - 1);
    }

    /// One frame more delay for packets that came too late, however many came since the last pull.
    fn grow_once(&mut self) {
        self.calm = Calm::NEW;
        if !self.grown {
            self.grown = true;
            self.grow(1);
        }
    }

    /// After a calm while, one frame less delay.
    fn shrink(&mut self) {
        self.calm.frames += 1;
        self.calm.least_span = self.calm.least_span.min(self.end - self.head);
        if self.calm.frames < self.settings.calm_frames() {
            return;
        }
        self.target = (self.target - 1).max(self.settings.start_frames());
        // Before a pull, steady traffic has one frame more than the target in the buffer, depending on the phase.
        if self.calm.least_span > self.target + 1 {
            self.skip_to(self.head + 1);
        }
        self.calm = Calm::NEW;
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

    fn place(&mut self, seq: u64, packet: &[u8], now: Duration) -> Pushed {
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
                // Over the longest delay: keep the newest, as much as the target.
                self.skip_to(seq + 1 - self.target);
            } else if seq + max < self.end {
                // Still filling, and this one is older than anything that the buffer may hold back.
                return Pushed::Late;
            }
        }
        self.far_ahead = None;
        if let Phase::Filling { since: since @ None } = &mut self.phase {
            *since = Some(now);
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

    fn is_confirmed(&self, seq: u64) -> bool {
        self.far_ahead.is_some_and(|other| other != seq && other.abs_diff(seq) < self.settings.max_frames())
    }

    /// The oldest number that counts for the delay: the play head, or while filling the oldest packet held.
    fn low_edge(&self) -> u64 {
        match self.phase {
            Phase::Playing => self.head,
            Phase::Filling { .. } => self.slots.iter().filter_map(|slot| slot.seq).min().unwrap_or(self.end),
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

#[cfg(test)]
mod tests;
