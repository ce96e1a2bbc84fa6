//! The search for errors in all frames, which both ends run alike.

use super::CascadeError;
use super::frame::{Frame, Progress, Question, leaves_len};
use super::leaves::{Word, ones};
use super::plan::Plan;

/// What both ends know about the errors. None of it is secret: an eavesdropper on the classical channel knows it too.
///
/// Everything here follows from the plan and from the answers so far, so that both ends ask themselves the same
/// questions without sending them.
pub(super) struct Search {
    plan: Plan,
    progress: Vec<Progress>,
    /// Every frame's leaves, one frame after the other.
    leaves: Vec<Word>,
    /// Every frame's bits that were found wrong, one frame after the other.
    wrong: Vec<u64>,
    questions: Vec<Question>,
    /// Room for the next round's.
    spare: Vec<Question>,
    /// Frame and bit of what the last round found wrong.
    found: Vec<(usize, u16)>,
    disclosed: u64,
    corrected: u64,
    rounds: u32,
    failed: Option<CascadeError>,
}

impl Search {
    pub(super) fn new(plan: Plan) -> Self {
        let mut search = Self {
            progress: vec![Progress::default(); plan.frames],
            leaves: vec![Word::default(); plan.frames * leaves_len(&plan)],
            wrong: vec![0; plan.frames * plan.frame_words()],
            questions: Vec::new(),
            spare: Vec::new(),
            found: Vec::new(),
            disclosed: 0,
            corrected: 0,
            rounds: 0,
            failed: None,
            plan,
        };
        let mut questions = Vec::new();
        (0..search.plan.frames).for_each(|frame| search.frame(frame).ask(&mut questions));
        search.questions = questions;
        search
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// This round's questions; none once the search is over.
    pub(super) fn questions(&self) -> &[Question] {
        &self.questions
    }

    /// Frame and bit of what the last round found wrong.
    pub(super) fn found(&self) -> &[(usize, u16)] {
        &self.found
    }

    /// All of a frame's bits that were found wrong, rising.
    pub(super) fn wrong_in(&self, frame: usize) -> impl Iterator<Item = usize> {
        let words = self.plan.frame_words();
        let words = self.wrong[frame * words..(frame + 1) * words].iter().enumerate();
        words.flat_map(|(at, &word)| ones(word).map(move |bit| at * 64 + bit))
    }

    /// All of the key's bits that were found wrong: indices, rising.
    pub(super) fn wrong(&self) -> Vec<u32> {
        let mut indices = Vec::with_capacity(usize::try_from(self.corrected).unwrap_or(0));
        for frame in 0..self.plan.frames {
            let in_key = self.wrong_in(frame).filter_map(|bit| self.plan.key_index(frame, bit));
            indices.extend(in_key.map(|index| u32::try_from(index).expect("MAX_KEY_BITS fits 32 bits")));
        }
        indices.sort_unstable();
        indices
    }

    /// Questions answered so far.
    pub(super) fn disclosed(&self) -> u64 {
        self.disclosed
    }

    /// Bits found wrong so far.
    pub(super) fn corrected(&self) -> u64 {
        self.corrected
    }

    /// Rounds of questions and answers so far.
    pub(super) fn rounds(&self) -> u32 {
        self.rounds
    }

    /// Why the search cannot go on, if so.
    pub(super) fn failed(&self) -> Option<CascadeError> {
        self.failed
    }

    /// Ends a round: takes for each question, one bit each, whether the parities of the two ends differ.
    pub(super) fn advance(&mut self, odd: &[u64]) -> Result<(), CascadeError> {
        self.rounds += 1;
        self.disclosed += self.questions.len() as u64;
        let result = self.take(odd);
        self.failed = result.err();
        result
    }

    fn take(&mut self, odd: &[u64]) -> Result<(), CascadeError> {
        let mut found = std::mem::take(&mut self.found);
        found.clear();
        let questions = std::mem::take(&mut self.questions);
        let mut next = std::mem::take(&mut self.spare);
        next.clear();
        let mut at = 0;
        for group in questions.chunk_by(|a, b| a.frame() == b.frame()) {
            let index = group[0].frame();
            let mut frame = self.frame(index);
            for &question in group {
                frame.split(question, odd[at / 64] >> (at % 64) & 1 == 1);
                at += 1;
            }
            for &question in group {
                found.extend(frame.correct(question)?.into_iter().flatten().map(|bit| (index, bit)));
            }
            frame.ask(&mut next);
        }
        self.found = found;
        self.corrected += self.found.len() as u64;
        self.questions = next;
        self.spare = questions;
        if self.disclosed + self.questions.len() as u64 > self.plan.key_bits as u64 {
            return Err(CascadeError::TooManyParities);
        }
        Ok(())
    }

    fn frame(&mut self, index: usize) -> Frame<'_> {
        let (leaves, words) = (leaves_len(&self.plan), self.plan.frame_words());
        Frame {
            plan: &self.plan,
            index: u32::try_from(index).expect("a key of at most MAX_KEY_BITS has not so many frames"),
            progress: &mut self.progress[index],
            leaves: &mut self.leaves[index * leaves..(index + 1) * leaves],
            wrong: &mut self.wrong[index * words..(index + 1) * words],
        }
    }
}
