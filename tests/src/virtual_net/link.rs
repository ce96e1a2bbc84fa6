//! One direction of a link: a rate, a queue that drops what does not fit, a way, and chance.

use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

/// Bytes of an IPv4 and a UDP header, which the link carries with each datagram.
const HEADERS: u64 = 28;

/// What a link is like.
#[derive(Clone, Copy, Debug)]
pub struct LinkTerms {
    /// Bits per second.
    pub rate: u64,
    /// From one end to the other.
    pub way: Duration,
    /// How long the longest queue takes to be sent; what would have to wait longer is dropped.
    pub queue: Duration,
    /// The share of datagrams that is lost by chance, before the queue.
    pub loss: f64,
}

/// What has happened on a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounts {
    /// Datagrams carried.
    pub carried: u64,
    /// Dropped because the queue was full.
    pub dropped: u64,
    /// Lost by chance.
    pub lost: u64,
}

/// One direction of a link, first in, first out.
pub struct Link {
    terms: LinkTerms,
    chance: ChaCha20Rng,
    /// When the last bit of the queue will have been sent.
    busy_until: Option<Instant>,
    counts: LinkCounts,
}

impl Link {
    /// An empty one.
    pub fn new(terms: LinkTerms, seed: u64) -> Self {
        Self { terms, chance: ChaCha20Rng::seed_from_u64(seed), busy_until: None, counts: LinkCounts::default() }
    }

    /// Another path from now on. What is under way arrives as it would have.
    pub fn change(&mut self, terms: LinkTerms) {
        self.terms = terms;
    }

    /// What has happened so far.
    pub fn counts(&self) -> LinkCounts {
        self.counts
    }

    /// When a datagram of `len` bytes that is sent now arrives; `None` if it is lost.
    pub fn carry(&mut self, now: Instant, len: usize) -> Option<Instant> {
        if self.terms.loss > 0.0 && self.chance.random::<f64>() < self.terms.loss {
            self.counts.lost += 1;
            return None;
        }
        let bits = 8 * (HEADERS + len as u64);
        let sending = Duration::from_nanos(bits.saturating_mul(1_000_000_000) / self.terms.rate);
        let start = self.busy_until.map_or(now, |until| until.max(now));
        if start + sending > now + self.terms.queue.max(2 * sending) {
            self.counts.dropped += 1;
            return None;
        }
        self.busy_until = Some(start + sending);
        self.counts.carried += 1;
        Some(start + sending + self.terms.way)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_waits_for_those_before_it_and_the_last_straw_is_dropped() {
        let ms = Duration::from_millis;
        let terms = LinkTerms { rate: 8_000_000, way: ms(10), queue: ms(3), loss: 0.0 };
        let (mut link, now) = (Link::new(terms, 1), Instant::now());
        let arrivals: Vec<_> = (0..4).map(|_| link.carry(now, 972).map(|at| at - now)).collect();
        assert_eq!(arrivals, [Some(ms(11)), Some(ms(12)), Some(ms(13)), None]);
        assert_eq!(link.carry(now + ms(2), 972), Some(now + ms(14)));
        assert_eq!(link.counts(), LinkCounts { carried: 4, dropped: 1, lost: 0 });
    }
}
