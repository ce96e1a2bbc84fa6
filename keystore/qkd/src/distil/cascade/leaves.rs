//! The leaves of one frame in one pass, quick to search in both directions.

/// Of 64 places of a frame, or in a summary of 64 such words: which start a leaf, and which start an odd one.
#[derive(Clone, Copy, Default)]
pub(super) struct Word {
    starts: u64,
    odd: u64,
}

/// How one pass cuts a frame into *leaves*: runs of places whose parity is known, and of no part of which it is.
///
/// A leaf is odd if the two ends differ in its parity, that is if it holds an odd number of errors not yet corrected.
/// Lives in a slice of a larger allocation: a summary, one bit for each word that has any, and then the words.
pub(super) struct Leaves<'a> {
    summary: &'a mut [Word],
    words: &'a mut [Word],
    /// Places of the frame.
    len: usize,
}

/// Words that the leaves of a frame of `len` places take.
pub(super) fn words_for(len: usize) -> usize {
    len.div_ceil(64) + len.div_ceil(4096)
}

impl<'a> Leaves<'a> {
    /// The leaves that a slice of [`words_for`]`(len)` holds.
    #[inline]
    pub(super) fn new(slice: &'a mut [Word], len: usize) -> Self {
        let (summary, words) = slice.split_at_mut(len.div_ceil(4096));
        Self { summary, words, len }
    }

    /// Starts a leaf at a place; whether it is odd is to be set.
    #[inline]
    pub(super) fn cut(&mut self, at: usize) {
        self.words[at / 64].starts |= 1 << (at % 64);
        self.summary[at / 4096].starts |= 1 << (at / 64 % 64);
    }

    /// Whether the leaf that starts here is odd.
    #[inline]
    pub(super) fn is_odd(&self, start: usize) -> bool {
        self.words[start / 64].odd >> (start % 64) & 1 == 1
    }

    /// Sets whether the leaf that starts here is odd.
    #[inline]
    pub(super) fn set_odd(&mut self, start: usize, odd: bool) {
        let word = &mut self.words[start / 64].odd;
        *word = *word & !(1 << (start % 64)) | u64::from(odd) << (start % 64);
        let (shift, any) = (start / 64 % 64, u64::from(*word != 0));
        let summary = &mut self.summary[start / 4096].odd;
        *summary = *summary & !(1 << shift) | any << shift;
    }

    /// Whether any leaf is odd.
    #[inline]
    pub(super) fn any_odd(&self) -> bool {
        self.summary.iter().fold(0, |any, word| any | word.odd) != 0
    }

    /// Calls `f` with start and end of every odd leaf, rising.
    #[inline]
    pub(super) fn each_odd(&self, mut f: impl FnMut(usize, usize)) {
        for (chunk, full) in self.summary.iter().enumerate() {
            for word in ones(full.odd) {
                let word = chunk * 64 + word;
                for bit in ones(self.words[word].odd) {
                    let start = word * 64 + bit;
                    f(start, self.end(start));
                }
            }
        }
    }

    /// Whether the leaf that starts here is of one place.
    #[inline]
    pub(super) fn is_single(&self, start: usize) -> bool {
        let next = start + 1;
        next == self.len || self.words[next / 64].starts >> (next % 64) & 1 == 1
    }

    /// Where the leaf starts that holds this place: place 0 if none has been cut.
    #[inline]
    pub(super) fn start(&self, at: usize) -> usize {
        let word = at / 64;
        let below = self.words[word].starts & (u64::MAX >> (63 - at % 64));
        if below != 0 {
            return word * 64 + top(below);
        }
        let mut chunk = word / 64;
        let mut full = self.summary[chunk].starts & ((1 << (word % 64)) - 1);
        while full == 0 {
            let Some(before) = chunk.checked_sub(1) else { return 0 };
            chunk = before;
            full = self.summary[chunk].starts;
        }
        let word = chunk * 64 + top(full);
        word * 64 + top(self.words[word].starts)
    }

    /// Where the leaf ends that starts here: the place after its last.
    #[inline]
    pub(super) fn end(&self, start: usize) -> usize {
        let next = start + 1;
        let Some(word) = self.words.get(next / 64) else { return self.len };
        let above = word.starts & (u64::MAX << (next % 64));
        if above != 0 {
            return next / 64 * 64 + above.trailing_zeros() as usize;
        }
        let word = next / 64 + 1;
        let mut mask = u64::MAX << (word % 64);
        for chunk in word / 64..self.summary.len() {
            let full = self.summary[chunk].starts & mask;
            if full != 0 {
                let word = chunk * 64 + full.trailing_zeros() as usize;
                return word * 64 + self.words[word].starts.trailing_zeros() as usize;
            }
            mask = u64::MAX;
        }
        self.len
    }
}

/// The bits that are set, rising.
#[inline]
pub(super) fn ones(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (word != 0).then(|| word.trailing_zeros() as usize);
        word &= word.wrapping_sub(1);
        bit
    })
}

/// The highest bit that is set; there must be one.
#[inline]
fn top(word: u64) -> usize {
    word.ilog2() as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against the plain way: a list of starts, and a list of which are odd.
        #[test]
        fn finds_what_a_search_place_by_place_finds(
            len in 1_usize..10_000,
            cuts in proptest::collection::vec((any::<usize>(), any::<bool>()), 0..60),
            at: usize,
        ) {
            let mut words = vec![Word::default(); words_for(len)];
            let mut leaves = Leaves::new(&mut words, len);
            let mut plain = std::collections::BTreeMap::from([(0, false)]);
            leaves.cut(0);
            for (cut, odd) in cuts {
                leaves.cut(cut % len);
                leaves.set_odd(cut % len, odd);
                plain.insert(cut % len, odd);
            }
            let end = |start| plain.range(start + 1..).next().map_or(len, |(&end, _)| end);
            prop_assert_eq!(leaves.start(at % len), *plain.range(..=at % len).next_back().expect("place 0").0);
            for (&start, &odd) in &plain {
                prop_assert_eq!(leaves.is_odd(start), odd);
                prop_assert_eq!(leaves.end(start), end(start));
                prop_assert_eq!(leaves.is_single(start), end(start) == start + 1);
            }
            let mut odd = Vec::new();
            leaves.each_odd(|start, end| odd.push((start, end)));
            let expected: Vec<_> = plain.iter().filter(|leaf| *leaf.1).map(|(&start, _)| (start, end(start))).collect();
            prop_assert_eq!(leaves.any_odd(), !expected.is_empty());
            prop_assert_eq!(odd, expected);
        }
    }
}
