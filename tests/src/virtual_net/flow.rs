//! What flows over a connection, and how to judge it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What a near end sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// As much as the connection takes, on one stream.
    Bulk,
    /// A datagram of so many bytes every 20 ms; at least 8.
    Voice(usize),
}

/// A voice is sent so often.
pub(super) const FRAME: Duration = Duration::from_millis(20);

/// How a voice has fared.
#[derive(Clone, Debug)]
pub struct Delays {
    /// Frames sent.
    pub sent: usize,
    /// One-way delays of those that arrived, the shortest first.
    sorted: Vec<Duration>,
}

impl Delays {
    pub(super) fn new(sent: &BTreeMap<u64, Instant>, heard: &BTreeMap<u64, Instant>) -> Self {
        let mut sorted: Vec<_> =
            heard.iter().filter_map(|(number, at)| sent.get(number).map(|sent| *at - *sent)).collect();
        sorted.sort_unstable();
        Self { sent: sent.len(), sorted }
    }

    /// The delay that `share` of the frames that arrived did not exceed; the longest possible if none did.
    pub fn quantile(&self, share: f64) -> Duration {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "small"
        )]
        let rank = (share * self.sorted.len() as f64).ceil() as usize;
        self.sorted.get(rank.clamp(1, self.sorted.len().max(1)) - 1).copied().unwrap_or(Duration::MAX)
    }

    /// The longest delay.
    pub fn max(&self) -> Duration {
        self.quantile(1.0)
    }

    /// The share of frames that did not arrive.
    pub fn lost(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "small counts")]
        let share = |part: usize, all: usize| part as f64 / all.max(1) as f64;
        share(self.sent.saturating_sub(self.sorted.len()), self.sent)
    }
}
