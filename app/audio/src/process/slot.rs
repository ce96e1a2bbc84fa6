//! The place of one stage in the chain: switches it without a click, and survives its breaking.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Samples of a block: 10 ms at 48 kHz, what every stage works on.
pub(super) const BLOCK: usize = 480;

/// One block of sound; full scale is 1.
pub(super) type Block = [f32; BLOCK];

/// Blocks that a fresh stage runs unheard, so that its filters have settled when it is faded in.
const WARM_UP: u32 = 10;
/// Blocks from a stage's breaking to the next try: a stage that breaks at once shall not cost a building each block.
const REST: u32 = 50;

/// Something that is done to sound, block by block.
pub(super) trait Stage: Sized {
    /// In its first state. None if it cannot be built.
    fn build() -> Option<Self>;

    /// Works on one block in place. None if it could not.
    fn run(&mut self, block: &mut Block) -> Option<()>;
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// No stage.
    Off,
    /// The stage runs unheard for so many more blocks.
    Warming(u32),
    /// The stage is heard.
    On,
    /// It broke; so many blocks until it is built again.
    Resting(u32),
}

/// The place of one stage.
pub(super) struct Slot<S> {
    /// Boxed: some have tens of kilobytes.
    stage: Option<Box<S>>,
    state: State,
    broken: u64,
}

impl<S: Stage> Slot<S> {
    /// Empty.
    pub(super) fn new() -> Self {
        Self { stage: None, state: State::Off, broken: 0 }
    }

    /// How often the stage broke.
    pub(super) fn broken(&self) -> u64 {
        self.broken
    }

    /// Whether there is a stage, heard or not.
    pub(super) fn is_running(&self) -> bool {
        self.stage.is_some()
    }

    /// Lets the stage, if there is one, take notice of something else than the block.
    pub(super) fn with(&mut self, notice: impl FnOnce(&mut S) -> Option<()>) {
        let Some(stage) = self.stage.as_mut() else { return };
        if guarded(|| notice(stage)).is_none() {
            self.break_down();
        }
    }

    /// One block through the stage if it is `wanted`, past it if not.
    pub(super) fn run(&mut self, wanted: bool, block: &mut Block) {
        match self.state {
            State::Off | State::Resting(1) if wanted => self.build(),
            State::Resting(left) if wanted => self.state = State::Resting(left - 1),
            State::Warming(_) | State::Resting(_) if !wanted => self.empty(),
            _ => {}
        }
        let Some(stage) = self.stage.as_mut() else { return };
        let mut wet = *block;
        let whole = guarded(|| stage.run(&mut wet)).is_some() && wet.iter().all(|value| value.is_finite());
        if !whole {
            self.break_down();
            return;
        }
        match self.state {
            State::Warming(0) => {
                *block = fade(block, &wet);
                self.state = State::On;
            }
            State::Warming(left) => self.state = State::Warming(left - 1),
            State::On if wanted => *block = wet,
            State::On => {
                *block = fade(&wet, block);
                self.empty();
            }
            State::Off | State::Resting(_) => {}
        }
    }

    fn build(&mut self) {
        match guarded(S::build) {
            Some(stage) => {
                self.stage = Some(Box::new(stage));
                self.state = State::Warming(WARM_UP);
            }
            None => self.break_down(),
        }
    }

    fn break_down(&mut self) {
        self.empty();
        self.state = State::Resting(REST);
        self.broken += 1;
        tracing::warn!(broken = self.broken, "a stage of the sound processing broke; the sound goes past it");
    }

    fn empty(&mut self) {
        let stage = self.stage.take();
        // What broke may break again while it is dropped.
        let _ = guarded(|| {
            drop(stage);
            Some(())
        });
        self.state = State::Off;
    }
}

/// Runs other people's code. What it leaves behind when it panics is dropped and not looked at again, hence the
/// assertion.
fn guarded<T>(code: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(code)).ok().flatten()
}

/// From one sound to another over one block, along a raised cosine.
fn fade(from: &Block, to: &Block) -> Block {
    #[expect(clippy::cast_precision_loss, reason = "at most 480")]
    let share = |i: usize| 0.5 - 0.5 * (std::f32::consts::PI * (i as f32 + 0.5) / BLOCK as f32).cos();
    std::array::from_fn(|i| from[i] + (to[i] - from[i]) * share(i))
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "what passes unchanged passes bit for bit")]
mod tests {
    use super::*;

    /// Negates the sound; breaks as told by the first value of a block.
    struct Fragile;

    impl Stage for Fragile {
        fn build() -> Option<Self> {
            Some(Self)
        }

        fn run(&mut self, block: &mut Block) -> Option<()> {
            assert!(block[0] < 0.9, "told to break");
            if block[0] > 0.8 {
                block[7] = f32::NAN;
            }
            for value in block.iter_mut() {
                *value = -*value;
            }
            (block[0] > -0.7).then_some(())
        }
    }

    fn run(slot: &mut Slot<Fragile>, wanted: bool, value: f32) -> Block {
        let mut block = [value; BLOCK];
        slot.run(wanted, &mut block);
        block
    }

    #[test]
    fn a_stage_is_faded_in_after_its_warm_up_and_out_again() {
        let mut slot = Slot::new();
        for _ in 0..WARM_UP {
            assert_eq!(run(&mut slot, true, 0.5), [0.5; BLOCK]);
        }
        let fade_in = run(&mut slot, true, 0.5);
        assert!(fade_in.windows(2).all(|pair| pair[1] <= pair[0]), "one way only");
        assert!((fade_in[0] - 0.5).abs() < 1e-4 && (fade_in[BLOCK - 1] + 0.5).abs() < 1e-4);
        assert_eq!(run(&mut slot, true, 0.5), [-0.5; BLOCK]);
        let fade_out = run(&mut slot, false, 0.5);
        assert!(fade_out.windows(2).all(|pair| pair[1] >= pair[0]), "one way only");
        assert_eq!(run(&mut slot, false, 0.5), [0.5; BLOCK]);
        assert!(!slot.is_running());
        assert_eq!(slot.broken(), 0);
    }

    #[test]
    fn what_breaks_is_passed_by_and_built_anew() {
        // A panic, something that is not a number, and an error.
        for (broken, trouble) in (1..).zip([0.95_f32, 0.85, 0.75]) {
            let mut slot = Slot::new();
            for _ in 0..=WARM_UP {
                run(&mut slot, true, 0.5);
            }
            assert_eq!(run(&mut slot, true, trouble), [trouble; BLOCK], "the sound passes, case {broken}");
            assert!(!slot.is_running());
            assert_eq!(slot.broken(), 1);
            for _ in 0..REST + WARM_UP - 1 {
                assert_eq!(run(&mut slot, true, 0.5), [0.5; BLOCK]);
            }
            run(&mut slot, true, 0.5);
            assert_eq!(run(&mut slot, true, 0.5), [-0.5; BLOCK], "built anew");
            // And it can be switched off while it rests.
            run(&mut slot, true, trouble);
            run(&mut slot, false, 0.5);
            assert_eq!(slot.state, State::Off);
            assert_eq!(slot.broken(), 2);
        }
    }

    #[test]
    fn what_breaks_at_every_block_is_not_built_at_every_block() {
        let mut slot = Slot::new();
        for _ in 0..1_000 {
            assert_eq!(run(&mut slot, true, 0.95), [0.95; BLOCK]);
        }
        assert_eq!(slot.broken(), 1_000 / u64::from(REST));
    }
}
