//! The search in one frame.

use super::CascadeError;
use super::leaves::{Leaves, Word, ones, words_for};
use super::plan::{Pass, Plan};

/// A question: what is the parity of the places `from..to` of a frame in the order of a pass?
#[derive(Clone, Copy)]
pub(super) struct Question {
    frame: u32,
    from: u16,
    to: u16,
    pass: u8,
}

impl Question {
    #[inline]
    fn new(frame: u32, pass: usize, from: usize, to: usize) -> Self {
        let place = |at| u16::try_from(at).expect("MAX_FRAME_BITS and a half fit 16 bits");
        let pass = u8::try_from(pass).expect("no variant has more than 22 passes");
        Self { frame, from: place(from), to: place(to), pass }
    }

    #[inline]
    pub(super) fn frame(self) -> usize {
        self.frame as usize
    }

    #[inline]
    pub(super) fn pass(self) -> usize {
        self.pass.into()
    }

    /// First place, and the one after the last.
    #[inline]
    pub(super) fn run(self) -> (usize, usize) {
        (self.from.into(), self.to.into())
    }
}

/// Where a frame's search stands.
#[derive(Clone, Copy, Default)]
pub(super) struct Progress {
    /// Passes started.
    started: u8,
    /// The passes that have an odd leaf, one bit each.
    odd_passes: u32,
}

/// Words that the leaves of one frame take, in all passes.
pub(super) fn leaves_len(plan: &Plan) -> usize {
    plan.passes.len() * words_for(plan.frame_bits)
}

/// One frame's search: what is known of it, and where.
pub(super) struct Frame<'a> {
    pub(super) plan: &'a Plan,
    pub(super) index: u32,
    pub(super) progress: &'a mut Progress,
    /// The leaves, pass by pass: [`leaves_len`] words.
    pub(super) leaves: &'a mut [Word],
    /// The bits found wrong, one bit each.
    pub(super) wrong: &'a mut [u64],
}

impl Frame<'_> {
    #[inline]
    fn leaves(&mut self, pass: usize) -> Leaves<'_> {
        let len = words_for(self.plan.frame_bits);
        Leaves::new(&mut self.leaves[pass * len..(pass + 1) * len], self.plan.frame_bits)
    }

    /// Takes the answer to a question, and splits the leaf it was about.
    #[inline]
    pub(super) fn split(&mut self, question: Question, left_odd: bool) {
        let (pass, (from, to), end) = (question.pass(), question.run(), self.plan.frame_bits);
        let mut leaves = self.leaves(pass);
        let right_odd = leaves.is_odd(from) != left_odd;
        leaves.set_odd(from, left_odd);
        if to < end {
            // While a pass starts, this is the rest of the frame, and the next answer splits it further.
            leaves.cut(to);
            leaves.set_odd(to, right_odd);
        }
        let any = leaves.any_odd();
        self.note(pass, any);
    }

    /// Corrects what the answer to a question has shown to be wrong, once all of the round's answers are in: returns
    /// the bits, at most two.
    #[inline]
    pub(super) fn correct(&mut self, question: Question) -> Result<[Option<u16>; 2], CascadeError> {
        let (from, to) = question.run();
        let left = if to - from == 1 { self.correct_single(question.pass(), from)? } else { None };
        let right = if to < self.plan.frame_bits { self.correct_single(question.pass(), to)? } else { None };
        Ok([left, right])
    }

    #[inline]
    fn note(&mut self, pass: usize, any_odd: bool) {
        self.progress.odd_passes &= !(1 << pass);
        self.progress.odd_passes |= u32::from(any_odd) << pass;
    }

    /// If the leaf that starts here is odd and of one place, then the bit at it is wrong: corrects and returns it.
    #[inline]
    fn correct_single(&mut self, pass: usize, place: usize) -> Result<Option<u16>, CascadeError> {
        let leaves = self.leaves(pass);
        if leaves.is_odd(place) && leaves.is_single(place) { self.flip(pass, place).map(Some) } else { Ok(None) }
    }

    fn flip(&mut self, pass: usize, place: usize) -> Result<u16, CascadeError> {
        let bit = self.plan.passes[pass].order[place];
        let at = usize::from(bit);
        let (word, mask) = (&mut self.wrong[at / 64], 1 << (at % 64));
        // True answers find no bit wrong twice, and none behind the end of the key.
        if *word & mask != 0 || self.plan.key_index(self.index as usize, at).is_none() {
            return Err(CascadeError::Contradiction);
        }
        *word |= mask;
        for (pass, Pass { place, .. }) in self.plan.passes[..self.progress.started.into()].iter().enumerate() {
            let mut leaves = self.leaves(pass);
            let start = leaves.start(place[at].into());
            let odd = !leaves.is_odd(start);
            leaves.set_odd(start, odd);
            if odd && leaves.is_single(start) {
                return Err(CascadeError::Contradiction); // This pass had shown that the bit was right.
            }
            let any = leaves.any_odd();
            self.note(pass, any);
        }
        Ok(bit)
    }

    /// Adds this round's questions; none once the search is over.
    ///
    /// Of the passes with odd leaves, that with the shortest is searched, in all of its odd leaves at once: these have
    /// no place in common, so that no two questions look for the same error.
    pub(super) fn ask(&mut self, questions: &mut Vec<Question>) {
        if self.progress.odd_passes == 0 {
            self.start(questions);
            return;
        }
        let (index, before, mut shortest) = (self.index, questions.len(), usize::MAX);
        for pass in ones(self.progress.odd_passes.into()) {
            let (this, mut shortest_here) = (questions.len(), usize::MAX);
            self.leaves(pass).each_odd(|from, to| {
                shortest_here = shortest_here.min(to - from);
                questions.push(Question::new(index, pass, from, usize::midpoint(from, to)));
            });
            if shortest_here < shortest {
                shortest = shortest_here;
                questions.drain(before..this);
            } else {
                questions.truncate(this);
            }
        }
    }

    /// Starts the next pass, and those that start together with it.
    fn start(&mut self, questions: &mut Vec<Question>) {
        let before = questions.len();
        while let Some(pass) = self.plan.passes.get(usize::from(self.progress.started)) {
            let (number, end) = (usize::from(self.progress.started), self.plan.frame_bits);
            if questions.len() > before && number < self.plan.together_from {
                return;
            }
            self.progress.started += 1;
            self.leaves(number).cut(0);
            for from in (0..end).step_by(pass.block) {
                let to = (from + pass.block).min(end);
                // The parity of the last block follows from that of the frame, which the first pass gives.
                if to < end || number == 0 {
                    questions.push(Question::new(self.index, number, from, to));
                }
            }
        }
    }
}
