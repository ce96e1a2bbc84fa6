//! How many frames more to hold back, so that packets can stand in for lost ones before them.

/// Time constant of forgetting, samples at 48 kHz: 10 s.
const MEMORY: u64 = 10 * 48_000;
/// One, in the fixed point of this file.
const ONE: u64 = 1 << 24;
/// Above this share of lost frames holding back pays: 0.5 %, which is three lost frames of 20 ms within the memory.
const FROM: u64 = ONE * 5 / 1_000;
/// Below this share it no longer does: 0.25 %.
const UNTIL: u64 = ONE * 5 / 2_000;
/// Most that is held back for redundancy: 120 ms. By the E-model (ITU-T G.107) they cost a conversation less than the loss
/// of one frame in a hundred.
const MOST: u64 = 120 * 48;

pub(super) struct Loss {
    /// Samples a frame.
    frame: u64,
    /// Frames before its own for which a packet can stand in.
    reach: u64,
    /// Share of lost frames, of [`ONE`].
    share: u64,
    /// Length of the runs of lost frames that covers most of them, of [`ONE`].
    usual_run: u64,
    /// The present run of lost frames.
    run: u64,
    worth: bool,
}

impl Loss {
    pub(super) const fn new(frame: u64) -> Self {
        Self { frame, reach: 0, share: 0, usual_run: ONE, run: 0, worth: false }
    }

    pub(super) fn reach(&mut self, frames: u32) {
        self.reach = u64::from(frames).min(MOST / self.frame);
    }

    /// A frame's turn came, and it was lost or not.
    pub(super) fn frame(&mut self, lost: bool) {
        self.share -= self.share * self.frame / MEMORY;
        if lost {
            self.run += 1;
            self.share += ONE * self.frame / MEMORY;
        } else if self.run > 0 {
            // A longer run counts at once, but not wholly: it may be the only one. Shorter ones make it fade.
            let run = self.run.min(2 * MOST / self.frame) * ONE;
            let weight = if run > self.usual_run { 8 } else { 1 };
            self.usual_run = (self.usual_run * (16 - weight) + run * weight) / 16;
            self.run = 0;
        }
        self.worth = self.share > if self.worth { UNTIL } else { FROM };
    }

    /// Frames to hold back above what the network's delays ask for.
    pub(super) fn extra(&self) -> u64 {
        if self.worth { self.reach.min((self.usual_run + ONE / 2) / ONE) } else { 0 }
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
        run(&mut loss, 2_000, |_| false);
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
        run(&mut loss, 600, |frame| frame % 60 < 2 + frame % 120 / 60 * 3);
        assert_eq!(loss.extra(), 5, "the longer ones count more");
        run(&mut loss, 600, |frame| frame % 30 < 12);
        assert_eq!(loss.extra(), 6, "at most 120 ms");
        loss.reach(1);
        assert_eq!(loss.extra(), 1);
    }
}
