//! Key material between the stock and its use.

use std::marker::PhantomData;

use crate::{Direction, Pad, Purpose, SecretBytes};

/// Bytes taken from a stock for one direction, already marked spent there, and not yet bound to a purpose.
pub struct Material<D> {
    bytes: SecretBytes,
    direction: PhantomData<D>,
}

impl<D: Direction> Material<D> {
    /// For key sources and stocks alone: `bytes` must be nowhere else, or be spent there before this is used.
    pub fn from_source(bytes: SecretBytes) -> Self {
        Self { bytes, direction: PhantomData }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Cuts the first `at` bytes off and returns them; `self` keeps the rest.
    #[must_use]
    pub fn split_to(&mut self, at: usize) -> Self {
        Self::from_source(self.bytes.split_to(at))
    }

    /// Spends the material as a one-time pad for `P`.
    pub fn into_pad<P: Purpose>(self) -> Pad<D, P> {
        Pad::new(self.bytes.into_boxed())
    }

    /// Spends the material as input keying material for `P`.
    pub fn into_seed<P: Purpose>(self) -> Seed<D, P> {
        Seed { bytes: self.bytes, role: PhantomData }
    }
}

/// Input keying material for one key derivation, bound to a direction and a purpose.
pub struct Seed<D, P> {
    bytes: SecretBytes,
    role: PhantomData<(D, P)>,
}

impl<D: Direction, P: Purpose> Seed<D, P> {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Hands the bytes to `derive` once, then wipes them.
    pub fn derive<K>(self, derive: impl FnOnce(&[u8]) -> K) -> K {
        derive(self.bytes.expose("the one key derivation this seed exists for"))
    }
}
