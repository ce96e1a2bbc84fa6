//! Bytes that are wiped when dropped and never shown by accident.

use rand::CryptoRng;
use zeroize::Zeroize;

/// Secret bytes on the heap: neither `Clone` nor `Debug`, wiped on drop.
pub struct SecretBytes(Box<[u8]>);

impl SecretBytes {
    /// Takes over `bytes`. Where the vector's spare capacity would force a move, the old buffer is wiped.
    pub fn from_vec(mut bytes: Vec<u8>) -> Self {
        if bytes.capacity() == bytes.len() {
            return Self(bytes.into_boxed_slice());
        }
        let exact = Self(Box::from(bytes.as_slice()));
        bytes.zeroize();
        exact
    }

    /// Copies `bytes`, and leaves the wiping of the original to the caller, who owns it.
    pub fn copy_of(bytes: &[u8]) -> Self {
        Self(Box::from(bytes))
    }

    /// `len` fresh bytes from `rng`.
    pub fn random(len: usize, rng: &mut impl CryptoRng) -> Self {
        let mut bytes = vec![0; len].into_boxed_slice();
        rng.fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Cuts the first `at` bytes off and returns them; `self` keeps the rest. All of them if `at` exceeds the length.
    #[must_use]
    pub fn split_to(&mut self, at: usize) -> Self {
        let at = at.min(self.len());
        let (head, tail) = self.0.split_at(at);
        let (head, tail) = (Self(Box::from(head)), Self(Box::from(tail)));
        *self = tail; // drops, and so wipes, the old buffer
        head
    }

    /// The bytes in the open. `why` says, at the call, which rule of the product allows it; it has no effect at run time.
    pub fn expose(&self, why: &'static str) -> &[u8] {
        let _ = why;
        &self.0
    }

    /// As [`Self::expose`], for filling or transforming in place.
    pub fn expose_mut(&mut self, why: &'static str) -> &mut [u8] {
        let _ = why;
        &mut self.0
    }

    pub(crate) fn into_boxed(mut self) -> Box<[u8]> {
        std::mem::take(&mut self.0)
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        zeroize::zeroize_bytes(&mut self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitting_keeps_every_byte_in_order() {
        let mut all = SecretBytes::from_vec((0..10).collect());
        let head = all.split_to(4);
        assert_eq!(head.expose("test"), [0, 1, 2, 3]);
        assert_eq!(all.expose("test"), [4, 5, 6, 7, 8, 9]);
        assert_eq!(all.split_to(100).len(), 6);
        assert!(all.is_empty());
    }

    #[test]
    fn spare_capacity_does_not_survive() {
        let mut roomy = Vec::with_capacity(64);
        roomy.extend_from_slice(&[1, 2, 3]);
        assert_eq!(SecretBytes::from_vec(roomy).expose("test"), [1, 2, 3]);
    }
}
