//! Who has how many connections, and who must give one up when there is no room.
//!
//! It only counts: it closes nothing, and knows nothing of sockets. Who is told to leave has its place taken at once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use crate::Limits;
use crate::identity::Caller;

/// All places of a KME.
pub(crate) struct Seats {
    taken: Mutex<Taken>,
    began: Instant,
}

#[derive(Default)]
struct Taken {
    /// By the caller, then by a number that rises with each connection.
    by_caller: BTreeMap<Caller, BTreeMap<u64, Arc<Place>>>,
    /// All but those of peers.
    total: usize,
    next: u64,
}

/// What is known of one connection.
struct Place {
    leave: Notify,
    is_busy: AtomicBool,
    /// When a request last began or ended, in microseconds since [`Seats::began`].
    last_used: AtomicU64,
}

/// One of a caller's connections; gives its place free when dropped.
pub(crate) struct Seat {
    seats: Arc<Seats>,
    caller: Caller,
    number: u64,
    place: Arc<Place>,
}

/// A request is under way for as long as this lives.
pub(crate) struct Busy<'a>(&'a Seat);

impl Seats {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { taken: Mutex::default(), began: Instant::now() })
    }

    /// A place for one more connection of `caller`, if need be that of somebody who has more.
    pub(crate) fn take(self: &Arc<Self>, caller: &Caller, limits: &Limits) -> Option<Seat> {
        let mut taken = self.lock();
        let is_peer = is_peer(caller);
        let most = if is_peer { limits.max_connections_per_peer } else { limits.max_connections_per_caller };
        let own = taken.by_caller.get(caller).map_or(0, BTreeMap::len);
        if own >= most || (!is_peer && taken.total >= limits.max_connections && !taken.make_room(own + 1)) {
            return None;
        }
        let number = taken.next;
        taken.next += 1;
        let place = Arc::new(Place {
            leave: Notify::new(),
            is_busy: AtomicBool::new(false),
            last_used: AtomicU64::new(self.now()),
        });
        taken.by_caller.entry(caller.clone()).or_default().insert(number, Arc::clone(&place));
        taken.total += usize::from(!is_peer);
        Some(Seat { seats: Arc::clone(self), caller: caller.clone(), number, place })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

impl Taken {
    /// Has the longest idle connection closed of whoever has the most, if those are more than `fewer`. One with a
    /// request under way goes only if there is no other.
    fn make_room(&mut self, fewer: usize) -> bool {
        let callers = || self.by_caller.iter().filter(|(caller, _)| !is_peer(caller));
        let Some(most) = callers().map(|(_, places)| places.len()).max().filter(|most| *most > fewer) else {
            return false;
        };
        let longest_idle = callers()
            .filter(|(_, places)| places.len() == most)
            .flat_map(|(caller, places)| places.iter().map(move |(number, place)| (caller, *number, place)))
            .min_by_key(|(_, number, place)| {
                (place.is_busy.load(Ordering::Relaxed), place.last_used.load(Ordering::Relaxed), *number)
            });
        let Some((caller, number, place)) = longest_idle else { return false };
        tracing::debug!(?caller, most, "an idle connection makes room for somebody with fewer");
        place.leave.notify_one();
        let caller = caller.clone();
        self.free(&caller, number);
        true
    }

    /// Does nothing if the place was taken away before.
    fn free(&mut self, caller: &Caller, number: u64) {
        let Some(places) = self.by_caller.get_mut(caller) else { return };
        if places.remove(&number).is_none() {
            return;
        }
        if places.is_empty() {
            self.by_caller.remove(caller);
        }
        self.total -= usize::from(!is_peer(caller));
    }
}

impl Seat {
    /// Waits until somebody else has this place.
    pub(crate) async fn is_taken_away(&self) {
        self.place.leave.notified().await;
    }

    /// Notes a request. HTTP/1.1 has one at a time on a connection.
    pub(crate) fn busy(&self) -> Busy<'_> {
        self.touch(true);
        Busy(self)
    }

    fn touch(&self, is_busy: bool) {
        self.place.is_busy.store(is_busy, Ordering::Relaxed);
        self.place.last_used.store(self.seats.now(), Ordering::Relaxed);
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.touch(false);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.lock().free(&self.caller, self.number);
    }
}

/// Peers have places of their own, so that SAEs, however many, do not keep KMEs from each other.
fn is_peer(caller: &Caller) -> bool {
    matches!(caller, Caller::Peer(_))
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn caller(name: &str) -> Caller {
        Caller::Sae(name.parse().unwrap())
    }

    fn limits(all: usize, each: usize) -> Limits {
        Limits {
            max_connections: all,
            max_connections_per_caller: each,
            max_connections_per_peer: 1,
            ..Limits::default()
        }
    }

    fn must_leave(seat: &Seat) -> bool {
        pin!(seat.is_taken_away()).poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    /// The places in the order in which they were last used: time alone would make equals of those of a moment.
    fn in_order(seats: &[Seat]) {
        for (at, seat) in (0..).zip(seats) {
            seat.place.last_used.store(at, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_has_the_most_gives_way_to_who_has_fewer() {
        let (seats, limits) = (Seats::new(), limits(5, 4));
        let mut alice: Vec<Seat> = (0..4).map(|_| seats.take(&caller("alice"), &limits).unwrap()).collect();
        assert!(seats.take(&caller("alice"), &limits).is_none(), "her share is used up");
        let _bob = seats.take(&caller("bob"), &limits).unwrap();
        in_order(&alice);
        alice[0].place.last_used.store(100, Ordering::Relaxed); // the second has been idle longest now
        let _carol = seats.take(&caller("carol"), &limits).unwrap();
        let gone: Vec<bool> = alice.iter().map(must_leave).collect();
        assert_eq!(gone, [false, true, false, false]);
        let _bobs_second = seats.take(&caller("bob"), &limits).unwrap();
        assert!(must_leave(&alice[2]));
        // Two, two and one: a third one would be no less than anybody has.
        assert!(seats.take(&caller("bob"), &limits).is_none());
        assert!(seats.take(&caller("alice"), &limits).is_none());
        drop(alice.remove(2));
        assert_eq!(seats.lock().total, 5, "its place was given away before");
        drop(alice.remove(0));
        assert_eq!(seats.lock().total, 4);
        assert!(seats.take(&caller("alice"), &limits).is_some());
    }

    #[test]
    fn a_request_under_way_is_spared_while_there_is_an_idle_connection() {
        let (seats, limits) = (Seats::new(), limits(3, 3));
        let alice: Vec<Seat> = (0..3).map(|_| seats.take(&caller("alice"), &limits).unwrap()).collect();
        let first = alice[0].busy();
        let second = alice[1].busy();
        in_order(&alice);
        let _bob = seats.take(&caller("bob"), &limits).unwrap();
        assert!(must_leave(&alice[2]) && !must_leave(&alice[0]) && !must_leave(&alice[1]));
        drop((first, second));
        assert!(!alice[0].place.is_busy.load(Ordering::Relaxed));
        // Two of Alice, one of Bob: nobody who comes now has fewer than the one that Alice would have left, but Carol.
        let one = alice[0].busy();
        let two = alice[1].busy();
        in_order(&alice);
        let _carol = seats.take(&caller("carol"), &limits).unwrap();
        assert!(must_leave(&alice[0]), "all are busy: the one that began first goes");
        drop((one, two));
    }

    #[test]
    fn peers_and_saes_take_no_places_from_each_other() {
        let (seats, limits) = (Seats::new(), limits(1, 9));
        let peer = Caller::Peer("kme-b".parse().unwrap());
        let kme_b = seats.take(&peer, &limits).unwrap();
        assert!(seats.take(&peer, &limits).is_none());
        let alice = seats.take(&caller("alice"), &limits).unwrap();
        assert!(seats.take(&caller("bob"), &limits).is_none(), "nobody has more than he would have");
        assert!(!must_leave(&kme_b) && !must_leave(&alice));
        drop((kme_b, alice));
        let left = seats.lock();
        assert!(left.total == 0 && left.by_caller.is_empty());
    }
}
