//! A wire between two clients that run as processes of their own: a UDP relay that loses, delays, reorders and repeats
//! datagrams, goes dead and comes back, moves the caller to another address, and writes down what an observer would see.
//!
//! It stands in for the kernel's network emulator, which not every machine has. Losses and delays follow from a seed
//! ([`Impairment`], [`Fates`]); which datagram meets which fate depends on the order in which the clients send.
//!
//! ```text
//!   caller ── front socket │ Fates (Forth) ─► queue by time ─► back socket ── called
//!             (Wire::addr)  │ Fates (Back)  ─► queue by time ─► front socket
//! ```

mod capture;
mod impairment;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use self::capture::{KEPT, MAX_SEEN, Seen};
pub use self::impairment::{Fate, Fates, Impairment, Loss};

/// Longest datagram.
const LONGEST: usize = 65_536;
/// How often a thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);
/// Datagrams under way at most; what comes above is lost, as in a router.
const MAX_UNDER_WAY: usize = 100_000;

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// From the caller to the called.
    Forth,
    /// From the called to the caller.
    Back,
}

impl Way {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Forth, Self::Back];
}

/// What happened to one direction's datagrams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Came from the sender.
    pub came: u64,
    /// Lost by the impairment.
    pub lost: u64,
    /// Swallowed while the wire was dead.
    pub swallowed: u64,
    /// Held back so that others overtook them.
    pub held_back: u64,
    /// Delivered a second time.
    pub repeated: u64,
    /// With a bit turned over.
    pub corrupted: u64,
    /// Handed to the receiver, repetitions included.
    pub delivered: u64,
}

/// The wire, until it is dropped.
pub struct Wire {
    /// What the caller dials instead of the called's own address.
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    front: UdpSocket,
    target: SocketAddr,
    start: Instant,
    stop: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    ways: [Direction; 2],
    dead: bool,
    /// Where the caller was last heard from.
    caller: Option<SocketAddr>,
    /// The caller as the called sees it. Replaced when the caller moves; what arrives at an old one is lost.
    back: Arc<UdpSocket>,
    queue: BinaryHeap<Reverse<Parcel>>,
    /// Parcels queued so far: of two for one moment the earlier goes first.
    queued: u64,
    seen: Vec<Seen>,
    overflowed: bool,
}

struct Direction {
    impairment: Impairment,
    fates: Fates,
    counts: Counts,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Parcel {
    due: Duration,
    number: u64,
    forth: bool,
    datagram: Vec<u8>,
}

impl Wire {
    /// A wire to `target`, a client's socket on loopback, for one caller. It is perfect until [`Self::set`].
    pub fn to(target: SocketAddr, seed: u64) -> io::Result<Self> {
        let front = socket()?;
        let addr = front.local_addr()?;
        let back = Arc::new(socket()?);
        let direction =
            |seed| Direction { impairment: Impairment::NONE, fates: Fates::new(seed), counts: Counts::default() };
        let state = State {
            // Two directions, two seeds.
            ways: [direction(seed), direction(!seed)],
            dead: false,
            caller: None,
            back: Arc::clone(&back),
            queue: BinaryHeap::new(),
            queued: 0,
            seen: Vec::new(),
            overflowed: false,
        };
        let shared = Arc::new(Shared {
            front,
            target,
            start: Instant::now(),
            stop: AtomicBool::new(false),
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let [near, far, delivers] = [(); 3].map(|()| Arc::clone(&shared));
        let threads = vec![
            std::thread::spawn(move || near.hear_caller()),
            std::thread::spawn(move || far.hear_called(&back)),
            std::thread::spawn(move || delivers.deliver()),
        ];
        Ok(Self { addr, shared, threads })
    }

    /// From now on datagrams of this direction fare so. What is under way already is not touched.
    pub fn set(&self, way: Way, impairment: Impairment) {
        self.shared.open().way(way).impairment = impairment;
    }

    /// The same for both directions.
    pub fn set_both(&self, impairment: Impairment) {
        for way in Way::BOTH {
            self.set(way, impairment);
        }
    }

    /// Dead: nothing passes and nobody is told. What is under way is lost too.
    pub fn set_dead(&self, dead: bool) {
        let mut state = self.shared.open();
        state.dead = dead;
        if dead {
            state.queue.clear();
        }
    }

    /// From now on the called sees the caller at another address, as after a change of network or of a router's mind. What
    /// is sent to the old one is lost.
    pub fn move_caller(&mut self) -> io::Result<SocketAddr> {
        let back = Arc::new(socket()?);
        let moved = back.local_addr()?;
        self.shared.open().back = Arc::clone(&back);
        let shared = Arc::clone(&self.shared);
        self.threads.push(std::thread::spawn(move || shared.hear_called(&back)));
        Ok(moved)
    }

    /// Where it leads to.
    pub fn target(&self) -> SocketAddr {
        self.shared.target
    }

    /// What happened so far.
    pub fn counts(&self, way: Way) -> Counts {
        self.shared.open().way(way).counts
    }

    /// Time since the wire was laid: that of [`Seen::at`].
    pub fn now(&self) -> Duration {
        self.shared.start.elapsed()
    }

    /// What an observer saw since `from`, beside each sender: in the order of sending, before any loss or delay.
    pub fn seen(&self, from: Duration) -> Vec<Seen> {
        let state = self.shared.open();
        assert!(!state.overflowed, "more than {MAX_SEEN} datagrams passed: this capture is not whole");
        state.seen.iter().filter(|one| one.at >= from).copied().collect()
    }

    /// Writes all of it as a packet capture, which tshark and Wireshark read.
    pub fn write_pcap(&self, path: &Path) -> io::Result<()> {
        capture::write_pcap(&self.seen(Duration::ZERO), path)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            let _its_panic_was_printed = thread.join();
        }
    }
}

fn socket() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(("127.0.0.1", 0))?;
    socket.set_read_timeout(Some(LOOK))?;
    Ok(socket)
}

impl State {
    fn way(&mut self, way: Way) -> &mut Direction {
        &mut self.ways[usize::from(way == Way::Back)]
    }

    /// Takes a datagram in; true when one may now be due earlier than any before.
    fn take(&mut self, way: Way, datagram: &[u8], now: Duration) -> bool {
        let dead = self.dead;
        let direction = self.way(way);
        direction.counts.came += 1;
        let fate = if dead { Fate::Lost } else { direction.fates.draw(&direction.impairment, now) };
        let (first, again) = match fate {
            Fate::Lost if dead => {
                direction.counts.swallowed += 1;
                (None, None)
            }
            Fate::Lost => {
                direction.counts.lost += 1;
                (None, None)
            }
            Fate::Arrives { at, held_back, again } => {
                direction.counts.held_back += u64::from(held_back);
                direction.counts.repeated += u64::from(again.is_some());
                (Some(at), again)
            }
        };
        if self.seen.len() < MAX_SEEN {
            self.seen.push(Seen::new(now, way, datagram, first.is_some()));
        } else {
            self.overflowed = true;
        }
        for due in [first, again].into_iter().flatten() {
            if self.queue.len() < MAX_UNDER_WAY {
                let mut datagram = datagram.to_vec();
                let direction = self.way(way);
                let corrupted = direction.fates.corrupt(&direction.impairment, &mut datagram);
                direction.counts.corrupted += u64::from(corrupted);
                let parcel = Parcel { due, number: self.queued, forth: way == Way::Forth, datagram };
                self.queue.push(Reverse(parcel));
                self.queued += 1;
            }
        }
        first.is_some()
    }

    /// The next parcel, if its time has come, or how long until then.
    fn next(&mut self, now: Duration) -> Result<Parcel, Duration> {
        match self.queue.peek() {
            Some(Reverse(parcel)) if parcel.due <= now => {}
            Some(Reverse(parcel)) => return Err(parcel.due.saturating_sub(now).min(LOOK)),
            None => return Err(LOOK),
        }
        self.queue.pop().map(|Reverse(parcel)| parcel).ok_or(LOOK)
    }
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn take(&self, way: Way, datagram: &[u8], from: Option<SocketAddr>) {
        let mut state = self.open();
        // The time is taken under the lock, so that times in the capture never go back.
        let now = self.start.elapsed();
        state.caller = from.or(state.caller);
        if state.take(way, datagram, now) {
            self.changed.notify_one();
        }
    }

    fn hear_caller(&self) {
        let mut datagram = vec![0; LONGEST];
        while !self.is_over() {
            if let Ok((len, from)) = self.front.recv_from(&mut datagram) {
                self.take(Way::Forth, &datagram[..len], Some(from));
            }
        }
    }

    fn hear_called(&self, back: &Arc<UdpSocket>) {
        let mut datagram = vec![0; LONGEST];
        while !self.is_over() {
            let heard = back.recv_from(&mut datagram);
            if !Arc::ptr_eq(&self.open().back, back) {
                return;
            }
            if let Ok((len, from)) = heard
                && from == self.target
            {
                self.take(Way::Back, &datagram[..len], None);
            }
        }
    }

    fn deliver(&self) {
        let mut state = self.open();
        while !self.is_over() {
            match state.next(self.start.elapsed()) {
                Err(wait) => {
                    let waited = self.changed.wait_timeout(state, wait);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                Ok(Parcel { forth: true, datagram, .. }) => {
                    state.way(Way::Forth).counts.delivered += 1;
                    let back = Arc::clone(&state.back);
                    drop(state);
                    let _lost_as_on_a_network = back.send_to(&datagram, self.target);
                    state = self.open();
                }
                Ok(Parcel { forth: false, datagram, .. }) => {
                    state.way(Way::Back).counts.delivered += 1;
                    let caller = state.caller;
                    drop(state);
                    if let Some(caller) = caller {
                        let _lost_as_on_a_network = self.front.send_to(&datagram, caller);
                    }
                    state = self.open();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
