//! A bad network of our own: seeded loss, delay and jitter for what a socket sends.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use quinn::AsyncUdpSocket;
use quinn::udp::{EcnCodepoint, Transmit};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::Notify;

use crate::error::QuicError;
use crate::limits::{DELAY_MAX, DELAY_QUEUE};

/// What happens to the datagrams that an endpoint sends. For a bad network both ways, both endpoints need one.
///
/// The nth datagram's fate follows from `seed` and n alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Impairment {
    /// The share of datagrams lost, each by its own draw: 0 to 1.
    pub loss: f64,
    /// Added to the way of every datagram, up to [`DELAY_MAX`].
    pub delay: Duration,
    /// A further delay, drawn evenly from nothing up to this. None overtakes another: most paths keep the order, and QUIC
    /// takes three that overtake for a loss (RFC 9002, section 6.1.1), so that a file would crawl.
    pub jitter: Duration,
    /// Where the draws start.
    pub seed: u64,
}

impl Impairment {
    pub(crate) fn check(&self) -> Result<(), QuicError> {
        if !(0.0..=1.0).contains(&self.loss) {
            return Err(QuicError::Setting { name: "loss", rule: "a share between 0 and 1" });
        }
        if self.delay > DELAY_MAX || self.jitter > DELAY_MAX {
            return Err(QuicError::Setting { name: "delay or jitter", rule: "at most 10 seconds" });
        }
        Ok(())
    }
}

/// What an [`Impairment`] has done so far, in datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireCounts {
    /// Handed over for sending. What became of them: dropped, overflowed, or sent (at once or later).
    pub offered: u64,
    /// Lost on purpose.
    pub dropped: u64,
    /// Lost because [`DELAY_QUEUE`] others were being held back.
    pub overflowed: u64,
}

/// The datagrams that are held back, and the draws for the next one.
#[derive(Debug)]
pub(crate) struct DelayLine {
    impairment: Impairment,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    draws: ChaCha8Rng,
    held: BinaryHeap<Reverse<Held>>,
    last_due: Option<Instant>,
    counts: WireCounts,
    closed: bool,
}

/// What became of a datagram when it was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Held,
    Dropped,
}

enum Next {
    Send(Held),
    WaitUntil(Instant),
    WaitForMore,
    Finished,
}

impl DelayLine {
    /// Starts the task that sends what is due through `socket`. It ends after [`Self::close`], when all is sent.
    pub(crate) fn start(impairment: Impairment, socket: Arc<dyn AsyncUdpSocket>) -> Arc<Self> {
        let line = Arc::new(Self::new(impairment));
        tokio::spawn(run(Arc::clone(&line), socket));
        line
    }

    fn new(impairment: Impairment) -> Self {
        let state = State {
            draws: ChaCha8Rng::seed_from_u64(impairment.seed),
            held: BinaryHeap::new(),
            last_due: None,
            counts: WireCounts::default(),
            closed: false,
        };
        Self { impairment, state: Mutex::new(state), changed: Notify::new() }
    }

    /// Takes one datagram over: drops it, or holds it back until it is due.
    pub(crate) fn offer(&self, transmit: &Transmit<'_>, now: Instant) -> Fate {
        let mut state = self.state();
        let (loss, jitter) = (state.draws.random::<f64>(), state.draws.random::<f64>());
        let number = state.counts.offered;
        state.counts.offered += 1;
        if loss < self.impairment.loss {
            state.counts.dropped += 1;
            return Fate::Dropped;
        }
        if state.held.len() >= DELAY_QUEUE {
            state.counts.overflowed += 1;
            return Fate::Dropped;
        }
        let due = now + self.impairment.delay + self.impairment.jitter.mul_f64(jitter);
        let due = state.last_due.map_or(due, |last| due.max(last));
        state.last_due = Some(due);
        state.held.push(Reverse(Held::new(due, number, transmit)));
        drop(state);
        self.changed.notify_one();
        Fate::Held
    }

    pub(crate) fn counts(&self) -> WireCounts {
        self.state().counts
    }

    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_one();
    }

    fn next(&self, now: Instant) -> Next {
        let mut state = self.state();
        match state.held.peek() {
            Some(Reverse(first)) if first.due > now => Next::WaitUntil(first.due),
            Some(_) => state.held.pop().map_or(Next::WaitForMore, |Reverse(first)| Next::Send(first)),
            None if state.closed => Next::Finished,
            None => Next::WaitForMore,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(line: Arc<DelayLine>, socket: Arc<dyn AsyncUdpSocket>) {
    loop {
        match line.next(Instant::now()) {
            Next::Send(datagram) => send(&socket, &datagram).await,
            Next::WaitUntil(due) => {
                let due = tokio::time::Instant::from_std(due);
                // An earlier one may come in while we wait.
                let _ = tokio::time::timeout_at(due, line.changed.notified()).await;
            }
            Next::WaitForMore => line.changed.notified().await,
            Next::Finished => return,
        }
    }
}

async fn send(socket: &Arc<dyn AsyncUdpSocket>, datagram: &Held) {
    loop {
        match socket.try_send(&datagram.transmit()) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                let mut poller = Arc::clone(socket).create_io_poller();
                if std::future::poll_fn(|context| poller.as_mut().poll_writable(context)).await.is_err() {
                    return;
                }
            }
            // As on any network: what cannot be sent is lost, and QUIC sends it again.
            Ok(()) | Err(_) => return,
        }
    }
}

/// A datagram that waits; ordered by when it is due, then by its number.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    due: Instant,
    number: u64,
    destination: SocketAddr,
    source: Option<IpAddr>,
    congestion: u8,
    contents: Box<[u8]>,
}

impl Held {
    fn new(due: Instant, number: u64, transmit: &Transmit<'_>) -> Self {
        Self {
            due,
            number,
            destination: transmit.destination,
            source: transmit.src_ip,
            congestion: transmit.ecn.map_or(0, |ecn| ecn as u8),
            contents: transmit.contents.into(),
        }
    }

    fn transmit(&self) -> Transmit<'_> {
        Transmit {
            destination: self.destination,
            ecn: EcnCodepoint::from_bits(self.congestion),
            contents: &self.contents,
            segment_size: None,
            src_ip: self.source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(loss: f64, jitter_ms: u64, seed: u64) -> DelayLine {
        let jitter = Duration::from_millis(jitter_ms);
        DelayLine::new(Impairment { loss, delay: Duration::from_millis(10), jitter, seed })
    }

    fn datagram(contents: &[u8]) -> Transmit<'_> {
        let destination = SocketAddr::from(([127, 0, 0, 1], 9));
        Transmit { destination, ecn: None, contents, segment_size: None, src_ip: None }
    }

    fn fates(line: &DelayLine, count: usize) -> Vec<Fate> {
        let now = Instant::now();
        (0..count).map(|_| line.offer(&datagram(b"x"), now)).collect()
    }

    #[test]
    fn the_seed_decides_which_are_lost() {
        assert_eq!(fates(&line(0.3, 0, 7), 2000), fates(&line(0.3, 50, 7), 2000));
        assert_ne!(fates(&line(0.3, 0, 7), 2000), fates(&line(0.3, 0, 8), 2000));
        let lossy = line(0.3, 0, 7);
        fates(&lossy, 10_000);
        let dropped = lossy.counts().dropped;
        assert!((2800..3200).contains(&dropped), "{dropped} of 10000 at 30 %, seed 7");
    }

    #[test]
    fn nothing_leaves_before_it_is_due_and_equal_delays_keep_the_order() {
        let (line, now) = (line(0.0, 0, 1), Instant::now());
        for contents in [b"a", b"b", b"c"] {
            line.offer(&datagram(contents), now);
        }
        assert!(matches!(line.next(now), Next::WaitUntil(due) if due == now + Duration::from_millis(10)));
        let later = now + Duration::from_millis(10);
        for expected in [b"a", b"b", b"c"] {
            let Next::Send(held) = line.next(later) else { panic!("one is due") };
            assert_eq!(*held.contents, expected[..]);
        }
        assert!(matches!(line.next(later), Next::WaitForMore));
        line.close();
        assert!(matches!(line.next(later), Next::Finished));
    }

    #[test]
    fn the_queue_is_bounded_and_says_so() {
        let line = line(0.0, 5, 1);
        fates(&line, DELAY_QUEUE + 3);
        assert_eq!(line.counts().overflowed, 3);
        assert_eq!(line.counts().dropped, 0);
    }

    #[test]
    fn impossible_settings_are_refused() {
        let good = Impairment { loss: 0.0, delay: Duration::ZERO, jitter: Duration::ZERO, seed: 0 };
        assert!(good.check().is_ok());
        for loss in [-0.1, 1.1, f64::NAN] {
            assert!(Impairment { loss, ..good }.check().is_err());
        }
        assert!(Impairment { delay: DELAY_MAX + Duration::from_nanos(1), ..good }.check().is_err());
    }
}
