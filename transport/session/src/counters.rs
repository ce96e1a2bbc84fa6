//! What a flow counts.

use std::collections::BTreeMap;

use crate::error::Refusal;

/// What a flow sealed, opened and refused so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records or datagrams that passed.
    pub accepted: u64,
    /// Their plaintext bytes.
    pub accepted_bytes: u64,
    /// Refused ones, by reason.
    pub refused: BTreeMap<Refusal, u64>,
}

impl Counters {
    pub(crate) fn accept(&mut self, len: usize) {
        self.accepted += 1;
        self.accepted_bytes += len as u64;
    }

    pub(crate) fn refuse(&mut self, why: Refusal) {
        *self.refused.entry(why).or_default() += 1;
    }

    /// All refused ones.
    pub fn refused_total(&self) -> u64 {
        self.refused.values().sum()
    }
}
