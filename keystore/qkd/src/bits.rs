//! Strings of secret bits.

use std::fmt;

use zeroize::Zeroize as _;

/// A string of secret bits: raw, sifted or final key.
///
/// Bit `i` is bit `i % 64`, counted from the least significant, of word `i / 64`; bits of the last word beyond the
/// length are 0. Neither `Clone` nor shown by `Debug`; wiped when it is dropped and whenever it moves to grow.
#[derive(Default)]
pub struct BitString {
    words: Vec<u64>,
    len: usize,
}

impl BitString {
    /// An empty string.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty string with room for `bits`.
    pub fn with_capacity(bits: usize) -> Self {
        Self { words: Vec::with_capacity(bits.div_ceil(64)), len: 0 }
    }

    /// The first `len` bits of `words`; fewer if there are not so many.
    pub fn from_words(words: Vec<u64>, len: usize) -> Self {
        let len = len.min(words.len() * 64);
        let mut all = Self { words, len: 0 };
        all.len = all.words.len() * 64;
        all.truncate(len);
        all
    }

    /// How many bits.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bit `at`; `false` beyond the end.
    pub fn get(&self, at: usize) -> bool {
        self.words.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    /// The bits as words, see the type.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// The bits as words, to be changed. Bits beyond the length must stay 0.
    pub(crate) fn words_mut(&mut self) -> &mut [u64] {
        &mut self.words
    }

    /// Appends one bit.
    pub fn push(&mut self, bit: bool) {
        if self.len.is_multiple_of(64) {
            self.grow(1);
            self.words.push(0);
        }
        let (word, shift) = (self.len / 64, self.len % 64);
        self.words[word] |= u64::from(bit) << shift;
        self.len += 1;
    }

    /// Appends all of `other`.
    pub fn append(&mut self, other: &Self) {
        let shift = self.len % 64;
        self.grow(other.words.len());
        let total = self.len + other.len;
        for &word in &other.words {
            if shift == 0 {
                self.words.push(word);
            } else {
                if let Some(last) = self.words.last_mut() {
                    *last |= word << shift;
                }
                self.words.push(word >> (64 - shift));
            }
        }
        self.words.truncate(total.div_ceil(64));
        self.len = total;
    }

    /// Keeps the first `len` bits.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.len {
            return;
        }
        let words = len.div_ceil(64);
        self.words[words..].zeroize();
        self.words.truncate(words);
        if let Some(last) = self.words.last_mut().filter(|_| !len.is_multiple_of(64)) {
            *last &= (1 << (len % 64)) - 1;
        }
        self.len = len;
    }

    /// Room for `more` words. A vector that grows by itself would leave its old copy behind.
    fn grow(&mut self, more: usize) {
        let needed = self.words.len() + more;
        if needed > self.words.capacity() {
            let mut larger = Vec::with_capacity(needed.max(self.words.capacity() * 2));
            larger.extend_from_slice(&self.words);
            std::mem::swap(&mut self.words, &mut larger);
            larger.zeroize();
        }
    }
}

impl Drop for BitString {
    fn drop(&mut self) {
        self.words.zeroize();
    }
}

impl fmt::Debug for BitString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BitString(<{} secret bits>)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_by_bits_and_by_strings_and_shrinks() {
        let bit = |i: usize| i.is_multiple_of(3) || i % 7 == 2;
        for (first, second) in [(0, 5), (64, 64), (63, 130), (100, 28), (1, 0)] {
            let mut whole = BitString::new();
            (0..first).for_each(|i| whole.push(bit(i)));
            let mut tail = BitString::new();
            (first..first + second).for_each(|i| tail.push(bit(i)));
            whole.append(&tail);
            assert_eq!(whole.len(), first + second);
            assert!((0..first + second).all(|i| whole.get(i) == bit(i)));
            assert_eq!(whole.words().len(), (first + second).div_ceil(64));
            whole.truncate(first);
            assert_eq!(whole.len(), first);
            assert!(!whole.get(first), "what was cut off is gone");
        }
    }

    #[test]
    fn debug_shows_no_bits() {
        assert_eq!(format!("{:?}", BitString::from_words(vec![7], 3)), "BitString(<3 secret bits>)");
    }
}
