//! How many frames more to hold back, so that packets can stand in for lost ones before them.
//!
//! Where `n` frames are lost in a row and the packet after them comes in time for the last `k` of them, those `k` can be
//! filled. What each further frame of delay is worth is therefore a share: of all frames, those that are the `k`th from
//! the end of a run of losses. By the E-model (ITU-T G.107) 20 ms of delay cost a conversation less than one lost frame
//! in 200. A frame is held back when it is worth that, and let go when it is worth half as much: in between nothing moves,
//! since a delay that changes back and forth is heard, too.

/// Time constant of forgetting, samples at 48 kHz: 30 s, so that runs that are rare at this loss neither come nor go by
/// chance alone.
const MEMORY: u64 = 30 * 48_000;
/// The same while a call is younger: what was seen counts for more.
const YOUNG: u64 = 10 * 48_000;
/// One, in the fixed point of this file.
const ONE: u64 = 1 << 24;
/// From this share of frames on that a further frame of delay fills, it is held back: 0.6 %.
const FROM: u64 = ONE * 6 / 1_000;
/// Below this share it no longer is: 0.3 %.
const UNTIL: u64 = ONE * 3 / 1_000;
/// Most that is held back for redundancy: 120 ms. By the E-model they cost a conversation less than the loss of one frame
/// in a hundred.
const MOST: u64 = 120 * 48;
/// Frames of the shortest length in [`MOST`].
const MOST_FRAMES: usize = 12;

pub(super) struct Loss {
    /// Samples a frame.
    frame: u64,
    /// Frames before its own for which a packet can stand in.
    reach: u64,
    /// Shares of all frames, of [`ONE`]: those that are lost and the last of a run, the last but one, and so on.
    shares: [u64; MOST_FRAMES],
    /// Samples so far, up to [`MEMORY`].
    age: u64,
    /// The present run of lost frames.
    run: usize,
    /// Frames held back.
    extra: u64,
}

impl Loss {
    pub(super) const fn new(frame: u64) -> Self {
        Self { frame, reach: 0, shares: [0; MOST_FRAMES], age: 0, run: 0, extra: 0 }
    }

    pub(super) fn reach(&mut self, frames: u32) {
        self.reach = u64::from(frames).min(MOST / self.frame);
    }

    /// A frame's turn came, and it was lost or not.
    pub(super) fn frame(&mut self, lost: bool) {
        self.age = (self.age + self.frame).min(MEMORY);
        let memory = self.age.max(YOUNG);
        for share in &mut self.shares {
            *share -= *share * self.frame / memory;
        }
        if lost {
            self.run += 1;
            return;
        }
        let run = std::mem::take(&mut self.run).min(MOST_FRAMES);
        for share in &mut self.shares[..run] {
            *share += ONE * self.frame / memory;
        }
        // The shares fall from each to the next: a run that has a last frame but one has a last one, too.
        let worth = |least: u64| self.shares.iter().take_while(|share| **share > least).count() as u64;
        self.extra = self.extra.clamp(worth(FROM), worth(UNTIL));
    }

    /// Frames to hold back above what the network's delays ask for.
    pub(super) fn extra(&self) -> u64 {
        self.extra.min(self.reach)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(loss: &mut Loss, frames: u64, fate: impl Fn(u64) -> bool) {
        (0..frames).for_each(|frame| loss.frame(fate(frame)));
    }

    #[test]
    fn losses_are_worth_a_frame_if_packets_carry_copies() {
        let mut loss = Loss::new(960);
        run(&mut loss, 500, |frame| frame % 20 == 0);
        assert_eq!(loss.extra(), 0, "there is nothing to wait for");
        loss.reach(1);
        assert_eq!(loss.extra(), 1);
        run(&mut loss, 6_000, |_| false);
        assert_eq!(loss.extra(), 0);
        run(&mut loss, 1, |_| true);
        assert_eq!(loss.extra(), 0, "one loss alone is nothing");
    }

    #[test]
    fn long_runs_are_worth_more_where_packets_reach_further() {
        let mut loss = Loss::new(960);
        loss.reach(8);
        run(&mut loss, 600, |frame| frame % 30 < 3);
        assert_eq!(loss.extra(), 3);
        run(&mut loss, 3_000, |frame| frame % 60 < 2 + frame % 120 / 60 * 3);
        assert_eq!(loss.extra(), 5, "the longer ones count more");
        run(&mut loss, 600, |frame| frame % 30 < 12);
        assert_eq!(loss.extra(), 6, "at most 120 ms");
        loss.reach(1);
        assert_eq!(loss.extra(), 1);
    }
}
