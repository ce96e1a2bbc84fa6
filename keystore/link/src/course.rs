//! Which run two ends go on with: both come to the same end by themselves, from what each told of itself.
//!
//! Whoever cuts connections, without any key, must not make the ends strike piece after piece out of their start-up
//! secret. So what was struck out for a run that never began is kept, *prepared*, and used at the next greeting:
//!
//! 1. Both are in the same run: it goes on.
//! 2. Both have the same run prepared, or one has begun it and the other, that missed the last word, has it prepared:
//!    it is used. Its pads are new to the end that begins, and the other goes on behind those that it used.
//! 3. One has a run prepared, and the other has not struck out so far: it does.
//! 4. Else both take a new piece, behind all that either has used.

use crate::limits::MAX_STARTS_AHEAD;
use crate::secret::START_BYTES;

const PIECE: u64 = START_BYTES as u64;

/// Where an end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Bytes of the start-up secret that are used.
    pub(crate) used: u64,
    /// The run that this end is in; 0 for none.
    pub(crate) run: u64,
    /// Slots of light in it: sent by Alice, measured by Bob.
    pub(crate) slot: u64,
    /// The run whose piece is struck out, and that never began; 0 for none.
    pub(crate) prepared: u64,
}

/// What an end is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    /// Go on with this run, or begin it, for which everything is there.
    Use(u64),
    /// Strike out the piece that begins there, and begin the run that it gives.
    Take { from: u64 },
}

impl Place {
    /// What this end does about a far end at `theirs`, which does the same about this one. `we_send`: this end is
    /// Alice's. The error says why they do not fit.
    pub(crate) fn course(&self, theirs: &Self, we_send: bool) -> Result<Course, String> {
        let ahead = self.used.abs_diff(theirs.used);
        if ahead > MAX_STARTS_AHEAD * PIECE {
            let (which, other) = if theirs.used > self.used { ("the far", "this") } else { ("this", "the far") };
            return Err(format!(
                "{which} end's copy of the start-up secret is {} starts further than {other} one's: an old copy was \
                 put back, which is not safe to use; make a new secret for both ends",
                ahead / PIECE
            ));
        }
        if self.run != 0 && self.run == theirs.run && self.light_fits(theirs, self.run, we_send) {
            return Ok(Course::Use(self.run));
        }
        let common = [self.run, self.prepared].into_iter().filter(|run| {
            let there = [theirs.run, theirs.prepared].contains(run);
            *run != 0 && there && self.light_fits(theirs, *run, we_send)
        });
        if let Some(run) = common.max() {
            return Ok(Course::Use(run));
        }
        if self.leads(theirs) {
            return Ok(Course::Use(self.prepared));
        }
        if theirs.leads(self) {
            return Ok(Course::Take { from: theirs.used - PIECE });
        }
        Ok(Course::Take { from: self.used.max(theirs.used) })
    }

    /// Slots of light in `run`.
    pub(crate) fn slot_in(&self, run: u64) -> u64 {
        if run == self.run { self.slot } else { 0 }
    }

    /// Whether Bob has measured no light that Alice has yet to send.
    fn light_fits(&self, theirs: &Self, run: u64, we_send: bool) -> bool {
        let (ours, theirs) = (self.slot_in(run), theirs.slot_in(run));
        if we_send { ours >= theirs } else { theirs >= ours }
    }

    /// Whether what is prepared here comes after all that the other end has used.
    fn leads(&self, other: &Self) -> bool {
        self.prepared != 0 && self.prepared == self.used / PIECE && other.used <= self.used.saturating_sub(PIECE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Place = Place { used: 0, run: 0, slot: 0, prepared: 0 };

    fn used(pieces: u64) -> Place {
        Place { used: pieces * PIECE, ..NEW }
    }

    /// What both do; Alice's first.
    fn both(alice: Place, bob: Place) -> (Course, Course) {
        (alice.course(&bob, true).unwrap(), bob.course(&alice, false).unwrap())
    }

    fn alike(alice: Place, bob: Place) -> Course {
        let (a, b) = both(alice, bob);
        assert_eq!(a, b);
        a
    }

    #[test]
    fn a_run_goes_on_or_a_new_one_begins_behind_all_others() {
        let run = Place { run: 3, slot: 70, ..used(3) };
        assert_eq!(alike(run, Place { slot: 60, ..run }), Course::Use(3));
        assert_eq!(alike(NEW, NEW), Course::Take { from: 0 });
        assert_eq!(alike(run, used(3)), Course::Take { from: 3 * PIECE });
        assert_eq!(alike(used(5), used(4)), Course::Take { from: 5 * PIECE });
        let ahead = Place { slot: 71, ..run };
        assert_eq!(alike(run, ahead), Course::Take { from: 3 * PIECE }, "Bob saw light that was never sent");
    }

    #[test]
    fn what_was_prepared_is_used_whoever_missed_the_last_word() {
        let prepared = Place { prepared: 4, ..used(4) };
        let in_old_run = Place { run: 3, slot: 9, ..prepared };
        let began = Place { run: 4, ..used(4) };
        for (alice, bob) in [(prepared, prepared), (prepared, in_old_run)] {
            assert_eq!(both(alice, bob), (Course::Use(4), Course::Use(4)));
            assert_eq!(both(bob, alice), (Course::Use(4), Course::Use(4)));
        }
        assert_eq!(alike(began, prepared), Course::Use(4));
        assert_eq!(alike(prepared, began), Course::Use(4));
        assert_eq!(alike(Place { slot: 50, ..began }, in_old_run), Course::Use(4), "Alice has sent light meanwhile");
    }

    #[test]
    fn who_is_behind_strikes_out_as_far_as_the_other() {
        let prepared = Place { prepared: 4, ..used(4) };
        for behind in [used(3), NEW, Place { run: 2, slot: 8, ..used(3) }, Place { prepared: 3, ..used(3) }] {
            let follow = Course::Take { from: 3 * PIECE };
            assert_eq!(both(prepared, behind), (Course::Use(4), follow));
            assert_eq!(both(behind, prepared), (follow, Course::Use(4)));
        }
        // What lies behind another's use, or across it, is nobody's any more.
        let across = Place { used: 3 * PIECE + 1, ..NEW };
        for beyond in [used(4), used(5), across] {
            let from = beyond.used.max(prepared.used);
            assert_eq!(alike(prepared, beyond), Course::Take { from });
        }
        // A run that began is not given to an end that has not struck it out: its file was put back.
        assert_eq!(alike(Place { run: 4, ..used(4) }, used(3)), Course::Take { from: 4 * PIECE });
    }

    #[test]
    fn an_end_that_is_far_behind_is_told_why() {
        let far = used(MAX_STARTS_AHEAD + 1);
        let text = NEW.course(&far, true).unwrap_err();
        assert!(text.contains("the far end's copy") && text.contains("17 starts further than this one's"), "{text}");
        let text = far.course(&NEW, true).unwrap_err();
        assert!(text.contains("this end's copy") && text.contains("than the far one's"), "{text}");
        assert!(NEW.course(&Place { used: u64::MAX, ..NEW }, false).is_err());
        assert!(used(MAX_STARTS_AHEAD).course(&NEW, true).is_ok());
    }
}
