//! A tap on the socket: sizes and times of UDP datagrams, never their bytes.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What became of a datagram at the tap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// Handed to the network by us.
    Sent,
    /// Meant to be sent, and lost on purpose by the [`Impairment`](crate::Impairment).
    Dropped,
    /// Come in from the network.
    Received,
}

/// One UDP datagram as everyone on the path sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TapRecord {
    /// Since the tap was made. For what is sent: when QUIC sent it, before any delay of ours.
    pub at: Duration,
    /// UDP payload in bytes.
    pub len: usize,
    /// Which way it went.
    pub passage: Passage,
    /// The other side's address.
    pub peer: SocketAddr,
}

/// Records the datagrams of the sockets it is given to, up to its capacity. Clones share the records.
#[derive(Clone)]
pub struct Tap(Arc<Shared>);

struct Shared {
    start: Instant,
    capacity: usize,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    records: Vec<TapRecord>,
    missed: u64,
}

impl Tap {
    /// A tap that holds `capacity` records (some 64 bytes each); what comes when it is full is only counted.
    pub fn new(capacity: usize) -> Self {
        Self(Arc::new(Shared { start: Instant::now(), capacity, log: Mutex::default() }))
    }

    /// Time since the tap was made, on the clock of the records.
    pub fn elapsed(&self) -> Duration {
        self.0.start.elapsed()
    }

    /// Takes the records out, in the order in which they were made, and makes room for more.
    pub fn take(&self) -> Vec<TapRecord> {
        std::mem::take(&mut self.log().records)
    }

    /// Datagrams that passed while the tap was full.
    pub fn missed(&self) -> u64 {
        self.log().missed
    }

    pub(crate) fn record(&self, passage: Passage, peer: SocketAddr, len: usize) {
        let at = self.elapsed();
        let mut log = self.log();
        if log.records.len() < self.0.capacity {
            log.records.push(TapRecord { at, len, passage, peer });
        } else {
            log.missed += 1;
        }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.0.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").field("records", &self.log().records.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_tap_counts_and_taking_makes_room() {
        let tap = Tap::new(2);
        let peer = SocketAddr::from(([127, 0, 0, 1], 9));
        for len in 1..=3 {
            tap.record(Passage::Sent, peer, len);
        }
        assert_eq!(tap.take().iter().map(|record| record.len).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(tap.missed(), 1);
        tap.record(Passage::Received, peer, 4);
        assert_eq!(tap.take().len(), 1);
    }
}
