//! The network between the two, in virtual time: streams are reliable and ordered as QUIC's are, datagrams are not.
//!
//! Whoever holds the outer layer's keys can do more, and the inner protocol must stand it: an [`Interceptor`] sees every
//! unit before it travels, and says what travels in its place.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use vernam_session::{AnnouncedKey, FlowId};

use super::Side;

/// What travels in one piece.
#[derive(Clone, PartialEq, Eq)]
pub struct Unit {
    /// Who sent it, or seems to have.
    pub from: Side,
    /// On which way.
    pub path: Path,
    /// A stream's header, one record, or one datagram.
    pub bytes: Vec<u8>,
}

/// How a unit travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    /// On the unidirectional stream of this flow.
    Stream(FlowId),
    /// As a datagram.
    Datagram,
}

/// Sees a unit and says what travels in its place: itself, nothing, or others.
pub type Interceptor = Box<dyn FnMut(&Unit) -> Vec<Unit>>;

/// How good the network is.
#[derive(Debug, Clone)]
pub struct WireTerms {
    /// One-way delay.
    pub latency: Duration,
    /// Up to so much more, for each datagram on its own: this is what reorders them.
    pub jitter: Duration,
    /// Of 1,000 datagrams, so many get lost.
    pub loss_per_mille: u32,
    /// Of 1,000 datagrams, so many come twice.
    pub duplicate_per_mille: u32,
    /// Streams arrive in pieces of such lengths; an empty range leaves them whole.
    pub pieces: Range<usize>,
}

impl Default for WireTerms {
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(20),
            jitter: Duration::ZERO,
            loss_per_mille: 0,
            duplicate_per_mille: 0,
            pieces: 0..0,
        }
    }
}

/// Something that will happen to a party.
pub(super) enum Delivery {
    Bytes(Side, FlowId, Vec<u8>),
    End(Side, FlowId),
    Datagram(Side, Vec<u8>),
    /// The answer of `side`'s KME is due.
    HandshakeKeys(Side, Vec<AnnouncedKey>),
    Stock(Side, u64, Vec<AnnouncedKey>),
}

/// The network, the KMEs' delays, and a record of what was sent.
pub struct Wire {
    terms: WireTerms,
    rng: ChaCha20Rng,
    queue: BTreeMap<(Duration, u64), Delivery>,
    counter: u64,
    interceptor: Option<Interceptor>,
    sent: Vec<Unit>,
}

impl Wire {
    pub(super) fn new(terms: WireTerms, seed: u64) -> Self {
        let rng = ChaCha20Rng::seed_from_u64(seed ^ 0x7769_7265);
        Self { terms, rng, queue: BTreeMap::new(), counter: 0, interceptor: None, sent: Vec::new() }
    }

    pub(super) fn intercept(&mut self, interceptor: Option<Interceptor>) {
        self.interceptor = interceptor;
    }

    /// Everything the parties sent, in order.
    pub fn sent(&self) -> &[Unit] {
        &self.sent
    }

    pub(super) fn send(&mut self, unit: Unit, now: Duration) {
        let travels = match &mut self.interceptor {
            Some(interceptor) => interceptor(&unit),
            None => vec![unit.clone()],
        };
        self.sent.push(unit);
        for unit in travels {
            self.forward(unit, now);
        }
    }

    /// Puts a unit on the wire past the interceptor, as an attacker does.
    pub(super) fn forward(&mut self, unit: Unit, now: Duration) {
        let to = unit.from.other();
        match unit.path {
            Path::Stream(flow) => {
                // One delay for all keeps streams in order.
                let mut rest = unit.bytes;
                while !rest.is_empty() {
                    let piece = if self.terms.pieces.is_empty() {
                        rest.len()
                    } else {
                        self.rng.random_range(self.terms.pieces.clone()).clamp(1, rest.len())
                    };
                    let later = rest.split_off(piece);
                    self.schedule(now + self.terms.latency, Delivery::Bytes(to, flow, rest));
                    rest = later;
                }
            }
            Path::Datagram => {
                let copies = if self.chance(self.terms.loss_per_mille) {
                    0
                } else if self.chance(self.terms.duplicate_per_mille) {
                    2
                } else {
                    1
                };
                for _ in 0..copies {
                    let jitter = u64::try_from(self.terms.jitter.as_micros()).unwrap_or(0);
                    let jitter = Duration::from_micros(self.rng.next_u64() % (jitter + 1));
                    let at = now + self.terms.latency + jitter;
                    self.schedule(at, Delivery::Datagram(to, unit.bytes.clone()));
                }
            }
        }
    }

    pub(super) fn end_stream(&mut self, from: Side, flow: FlowId, now: Duration) {
        self.schedule(now + self.terms.latency, Delivery::End(from.other(), flow));
    }

    /// A KME's answer takes as long as a network round trip.
    pub(super) fn ask_kme(&mut self, delivery: Delivery, now: Duration) {
        self.schedule(now + self.terms.latency, delivery);
    }

    /// The next delivery that is due by `until`, and its time.
    pub(super) fn next(&mut self, until: Duration) -> Option<(Duration, Delivery)> {
        let entry = self.queue.first_entry().filter(|entry| entry.key().0 <= until)?;
        let (at, _) = *entry.key();
        Some((at, entry.remove()))
    }

    pub(super) fn next_at(&self) -> Option<Duration> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    fn schedule(&mut self, at: Duration, delivery: Delivery) {
        self.counter += 1;
        self.queue.insert((at, self.counter), delivery);
    }

    fn chance(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.rng.random_range(0..1_000) < per_mille
    }
}
